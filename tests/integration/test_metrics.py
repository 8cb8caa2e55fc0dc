"""The admin port: metrics that promtool accepts and that move, health, and its refusals."""

import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import subprocess

import harness
from harness import same, wait_until


def fetch(server, path, method="GET", headers=None):
    """(status, headers, body) of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", server.admin_port, timeout=10)
    try:
        connection.request(method, path, headers=headers or {})
        reply = connection.getresponse()
        return reply.status, dict(reply.getheaders()), reply.read()
    finally:
        connection.close()


def values(text):
    """{series: value}."""
    found = {}
    for line in text.decode().splitlines():
        if line and not line.startswith("#"):
            series, value = line.rsplit(" ", 1)
            found[series] = float(value)
    return found


def server_with_admin(t, **options):
    t.needs_hearth()
    return t.hearth(admin_port=harness.free_port(), **options)


def test_format(t):
    hearth = server_with_admin(t)
    with hearth.connect() as c:
        for i in range(100):
            c.ok("SET", "k%d" % i, "v" * 100), c.ok("GET", "k%d" % i)
            c.ok("HEARTH", "DEMOTE", "k%d" % i)
        c.ok("GET", "k1"), c.ok("GET", "none"), c.call("NOSUCH")
    status, headers, body = fetch(hearth, "/metrics")
    same((200, "text/plain"), (status, headers["Content-Type"].split(";")[0]), "by default")
    t.note("%d bytes" % len(body))
    if shutil.which("promtool"):
        ended = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True,
                               check=False)  # fmt: skip
        same((0, b""), (ended.returncode, ended.stdout + ended.stderr), "promtool check metrics")
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    status, headers, body = fetch(hearth, "/metrics", headers=accept)
    kind = headers["Content-Type"].split(";")[0]
    same((200, "application/openmetrics-text"), (status, kind), "when asked for OpenMetrics")
    lines = body.decode().splitlines()
    same("# EOF", lines[-1], "OpenMetrics ends with # EOF")
    typed = {line.split()[2]: line.split()[3] for line in lines if line.startswith("# TYPE")}
    helped = {line.split()[2] for line in lines if line.startswith("# HELP")}
    same(set(typed), helped, "every family has TYPE and HELP")
    same([], [n for n in typed if not n.startswith(("hearth_", "process_"))], "prefix")
    names = [line.rsplit(" ", 1)[0] for line in lines if not line.startswith("#")]
    same(len(names), len(set(names)), "no series twice")
    for family in ("hearth_tier_items", "hearth_tier_hits", "hearth_tier_misses",
                   "hearth_promotions", "hearth_demotions", "hearth_tier_evictions",
                   "hearth_tier_admissions", "hearth_tier_rejections", "hearth_compression_ratio",
                   "hearth_device_read_bytes", "hearth_device_written_bytes", "hearth_memory_bytes",
                   "hearth_command_duration_seconds", "hearth_connections"):  # fmt: skip
        same(True, family in typed or family + "_total" in typed, family)


def test_numbers_move(t):
    hearth = server_with_admin(t)
    with hearth.connect() as c:
        before = values(fetch(hearth, "/metrics")[2])
        for i in range(50):
            c.ok("SET", "k%d" % i, "v" * 500)
        for i in range(50):
            c.ok("GET", "k%d" % i)
            c.ok("GET", "none%d" % i)
        for i in range(50):
            same(1, c.ok("HEARTH", "DEMOTE", "k%d" % i), "DEMOTE")
        for i in range(50):
            c.ok("GET", "k%d" % i)
        after = values(fetch(hearth, "/metrics")[2])

        def grown(series):
            return after[series] - before[series]

        same(50, grown('hearth_lookups_total{result="miss"}'), "misses")
        hits = sum(grown('hearth_lookups_total{result="%s"}' % r) for r in
                   ("hot", "warm", "write_buffer"))  # fmt: skip
        same(100, hits, "hits")
        same(True, grown('hearth_commands_total{status="ok"}') >= 250, "commands")
        same(True, grown('hearth_device_written_bytes_total{reason="demote"}') > 0, "device bytes")
        info = hearth.info()
        same(50, int(info["keyspace_misses"]), "INFO and /metrics read one registry")
        same(100, int(info["keyspace_hits"]), "INFO and /metrics read one registry")


def test_info_agrees(t):
    """What INFO and /metrics both show is the same number."""
    hearth = server_with_admin(t)
    hearth.call("SET", "k", "v")
    series, info = values(fetch(hearth, "/metrics")[2]), hearth.info()
    same(float(info["maxmemory"]), series["hearth_memory_limit_bytes"], "memory limit")
    same(1.0, series['hearth_tier_items{tier="hot"}'], "one item")
    same(1.0, series["hearth_ready"], "ready")


def test_health(t):
    hearth = server_with_admin(t)
    for path in ("/healthz", "/readyz"):
        status, _, body = fetch(hearth, path)
        same(200, status, path)
        same(True, len(body) < 1000, "a short body: %r" % body)
    same(404, fetch(hearth, "/nosuch")[0], "unknown path")
    same(405, fetch(hearth, "/metrics", "DELETE")[0], "DELETE /metrics")
    same(200, fetch(hearth, "/metrics", "HEAD")[0], "HEAD /metrics")
    status = fetch(hearth, "/../../etc/passwd")[0]
    same(True, status in (400, 404), "a path out of the tree: %d" % status)
    status, _, body = fetch(hearth, "/v1/openapi.json")
    if status == 200:
        same(True, "paths" in json.loads(body), "/v1/openapi.json")


def test_admin_off(t):
    """admin-port 0: the process listens on its Redis port and nothing else."""
    t.needs_hearth()
    hearth = t.hearth(admin_port=0)
    inodes = set()
    for fd in os.listdir("/proc/%d/fd" % hearth.pid):
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            target = os.readlink("/proc/%d/fd/%s" % (hearth.pid, fd))
            inodes.update(re.findall(r"socket:\[(\d+)\]", target))
    with open("/proc/net/tcp", encoding="ascii") as f:
        rows = [line.split() for line in f.readlines()[1:]]
    ports = [int(row[1].split(":")[1], 16) for row in rows if row[3] == "0A" and row[9] in inodes]
    same([hearth.port], ports, "listening ports")


def test_bad_http(t):
    """Nonsense on the admin port harms nobody."""
    hearth = server_with_admin(t)
    for data in (b"\0" * 1000, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"x" * 200000,
                 b"GET /metrics HTTP/1.1\r\n" + b"A: b\r\n" * 20000 + b"\r\n",
                 b"*1\r\n$4\r\nPING\r\n",
                 b"POST /metrics HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n"):  # fmt: skip
        with socket.create_connection(("127.0.0.1", hearth.admin_port), timeout=10) as s:
            try:
                s.sendall(data)
                s.settimeout(0.3)
                s.recv(1000)
            except OSError:
                pass
    same(200, fetch(hearth, "/healthz")[0], "still healthy")
    same(b"PONG", hearth.call("PING"), "the server runs")


def test_ready_follows_loading(t):
    """/readyz turns 200 once the server accepts commands."""
    hearth = server_with_admin(t)
    wait_until(lambda: fetch(hearth, "/readyz")[0] == 200, 10, "ready")
