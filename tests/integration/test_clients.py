"""Clients that people use: redis-py, redis-cli, redis-benchmark."""

import socket
import subprocess

import harness
from harness import same


def run(*command, data=None, seconds=60):
    ended = subprocess.run(command, input=data, capture_output=True, check=False,
                           timeout=seconds * harness.SLOWNESS)  # fmt: skip
    if ended.returncode != 0:
        raise AssertionError("%r ended with %d:\n%s%s" % (command, ended.returncode, ended.stdout,
                                                          ended.stderr))  # fmt: skip
    return ended.stdout


def test_redis_py(t):
    try:
        import redis
    except ImportError:
        raise harness.Skip("no python3-redis") from None
    server = t.hearth()
    r = redis.Redis(port=server.port, client_name="py", decode_responses=True)
    same(True, r.ping(), "ping")
    same(True, r.set("k", "v", ex=100), "set")
    same(("v", 100), (r.get("k"), r.ttl("k")), "get, ttl")
    same((None, None), (r.set("k", "w", nx=True), r.get("none")), "nx, none")
    same("v", r.set("k", "w", get=True), "set get")
    same(6, r.incrby("n", 6), "incrby")
    same(6.5, r.incrbyfloat("n", 0.5), "incrbyfloat")
    same(True, r.mset({"a": "1", "b": "2"}), "mset")
    same(["1", "2", None], r.mget("a", "b", "c"), "mget")
    same({"a", "b", "k", "n"}, set(r.scan_iter(count=2)), "scan_iter")
    same({"a"}, set(r.scan_iter(match="a*")), "scan_iter match")
    same(True, r.expire("a", 50, gt=False), "expire")
    same("1", r.getex("a", persist=True), "getex")
    same(-1, r.ttl("a"), "persisted")
    same("2", r.getdel("b"), "getdel")
    same("py", r.client_getname(), "client name")
    same(True, r.info()["redis_version"] == "7.0.15", "info")
    same(True, r.config_get("maxclients")["maxclients"].isdigit(), "config get")
    same(True, r.config_set("timeout", 9), "config set")
    same("string", r.type("a"), "type")
    pipe = r.pipeline(transaction=False)
    for i in range(500):
        pipe.set("p%d" % i, i).get("p%d" % i)
    replies = pipe.execute()
    same([str(i) for i in range(500)], replies[1::2], "pipeline")
    same([True, True], [r.rename("a", "z"), r.copy("z", "y")], "rename, copy")
    same(504, r.dbsize(), "dbsize")
    try:
        r.incr("k")
        raise AssertionError("INCR of a word")
    except redis.ResponseError as error:
        same("value is not an integer or out of range", str(error), "error")
    same(True, len(r.client_list()) >= 1, "client list")
    same(True, r.command()["get"]["arity"] == 2, "command")
    same(True, len(r.time()) == 2, "time")
    same([], r.slowlog_get(10) if not r.slowlog_reset() else [], "slowlog")
    binary = redis.Redis(port=server.port)
    same((True, bytes(range(256))), (binary.set(b"\0\xff", bytes(range(256))),
                                     binary.get(b"\0\xff")), "binary")  # fmt: skip
    same(True, r.flushall(), "flushall")
    protected = t.hearth(requirepass="pw")
    same(True, redis.Redis(port=protected.port, password="pw").ping(), "password")
    same(True, redis.Redis(port=protected.port, username="default", password="pw").ping(), "user")
    try:
        redis.Redis(port=protected.port, password="no").ping()
        raise AssertionError("a wrong password was let in")
    except (redis.AuthenticationError, redis.ResponseError):
        pass
    url = "redis://:pw@127.0.0.1:%d/3" % protected.port
    same(True, redis.Redis.from_url(url).set("x", 1), "by URL")


def test_redis_cli(t):
    server = t.hearth()
    cli = ["redis-cli", "-p", str(server.port)]
    same(b"OK\n", run(*cli, "set", "k", "v"), "set")
    same(b"v\n", run(*cli, "get", "k"), "get")
    same(b'"v"\n', run(*cli, "--no-raw", "get", "k"), "formatted")
    same(b"(nil)\n", run(*cli, "--no-raw", "-3", "get", "none"), "RESP3")
    same(b"v\n", run(*cli, "-3", "get", "k"), "RESP3")
    data = b"".join(b"SET pipe:%d value:%d\r\n" % (i, i) for i in range(20000))
    out = run(*cli, "--pipe", data=data)
    same(True, b"errors: 0, replies: 20000" in out, "--pipe: %r" % out)
    out = run(*cli, "--scan", "--pattern", "pipe:1999*")
    same(11, len(out.split()), "--scan")
    same(11, len(run(*cli, "-3", "--scan", "--pattern", "pipe:1999*").split()), "--scan, RESP3")
    run(*cli, "set", "fat", "x" * 5000)
    out = run(*cli, "--bigkeys")
    same(True, b"fat" in out, "--bigkeys")
    same(True, b"20002 strings" in out, "--bigkeys counts: %r" % out[-600:])
    same(True, b"fat" in run(*cli, "--memkeys"), "--memkeys")
    same(b"OK\n", run(*cli, "-n", "5", "set", "k", "five"), "-n")
    same(b"five\n", run(*cli, "-n", "5", "get", "k"), "-n")
    same(b"value:7\n", run(*cli, "-r", "1", "get", "pipe:7"), "-r")
    same(True, b"redis_version:7.0.15" in run(*cli, "info", "server"), "info")
    stat = subprocess.Popen(cli + ["--stat", "-i", "0.1"], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT)  # fmt: skip
    try:
        lines = [stat.stdout.readline() for _ in range(4)]
    finally:
        stat.kill()
        stat.wait()
    same(True, b"20003" in b"".join(lines), "--stat: %r" % lines)
    command = ["timeout", "2"] + cli + ["--latency"]
    latency = subprocess.run(command, capture_output=True, check=False)
    same(True, b"min" in latency.stdout or latency.stdout[:1].isdigit(), "--latency")


def test_redis_benchmark(t):
    for threads in ("1", "4"):
        server = t.hearth(threads=threads)
        out = run("redis-benchmark", "-p", str(server.port), "-t", "ping,get,set,incr,mset", "-P",
                  "16", "-q", "-n", "100000", "-r", "10000").decode()  # fmt: skip
        lines = [x for x in out.replace("\r", "\n").splitlines() if "requests per second" in x]
        same(6, len({line.split(":")[0] for line in lines}), "results in %r" % out)
        same(False, "ERR" in out or "error" in out.lower(), "errors in %r" % out)
        rates = ", ".join(line.split(" requests")[0] for line in lines)
        t.note("%s thread(s): %s" % (threads, rates))
        out = run("redis-benchmark", "-p", str(server.port), "-t", "set,get", "-d", "100000", "-n",
                  "5000", "-q", "-3", "-c", "20").decode()  # fmt: skip
        same(False, "ERR" in out, "errors in %r" % out)


def test_shell_pipelines(t):
    """nc-style use: inline commands through a plain socket that is closed for writing first."""
    server = t.hearth()
    with socket.create_connection(("127.0.0.1", server.port)) as s:
        s.sendall(b"SET a 1\r\nINCR a\r\nGET a\r\n")
        s.shutdown(socket.SHUT_WR)
        got = b""
        while True:
            part = s.recv(4096)
            if not part:
                break
            got += part
    same(b"+OK\r\n:2\r\n$1\r\n2\r\n", got, "replies after half a close")
