"""Limits and hostile clients: they are answered or closed as Redis does it, others are served on,
and no data is lost."""

import socket
import threading
import time

import harness
import resp
from harness import same, wait_until


def test_maxclients(t):
    answers = []
    for server in (t.redis(maxclients=20), t.hearth(maxclients=20)):
        # redis-server answers the PING of our start on a connection that it may still be closing
        wait_until(lambda s=server: count_clients(s) == 1, 5, "only us")
        full = [server.connect() for _ in range(20)]
        for c in full:
            same(b"PONG", c.ok("PING"), "within the limit")
        with server.connect() as c:
            answers.append(c.read_to_end())
        same(b"PONG", full[0].ok("PING"), "the others go on")
        full.pop().close()
        wait_until(lambda s=server: can_connect(s), 5, "room again")
        full[0].ok("CONFIG", "SET", "maxclients", "30")
        more = [server.connect() for _ in range(9)]
        same([b"PONG"] * 9, [c.ok("PING") for c in more], "raised at run time")
        for c in full + more:
            c.close()
    same(b"-ERR max number of clients reached\r\n", answers[0], "Redis itself")
    same(answers[0], answers[1], "beyond maxclients")


def count_clients(server):
    with server.connect() as c:
        return len(c.ok("CLIENT", "LIST").splitlines())


def can_connect(server):
    try:
        with server.connect() as c:
            return c.ok("PING") == b"PONG"
    except (resp.Closed, AssertionError):
        return False


def test_idle_timeout(t):
    """`timeout` closes idle connections and no others."""
    for server in (t.redis(timeout=1), t.hearth(timeout=1)):
        idle, busy = server.connect(), server.connect()
        idle.ok("PING")
        started = time.monotonic()
        while time.monotonic() - started < 2.5:
            busy.ok("PING")
            time.sleep(0.1)
        reply, is_closed = idle.read_available(2)
        same((b"", True), (reply, is_closed), "idle connection")
        same(b"PONG", busy.ok("PING"), "busy connection")


def load_keys(server, n=200):
    with server.connect() as c:
        c.pipeline([["SET", "kept:%d" % i, "value %d" % i] for i in range(n)])


def check_keys(server, n=200):
    with server.connect() as c:
        for i, raw in enumerate(c.pipeline([["GET", "kept:%d" % i] for i in range(n)])):
            same(b"value %d" % i, resp.decode(raw), "kept:%d" % i)


def slow_reader(server, requests):
    """A connection with a small receive buffer that sends requests and never reads."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", server.port))
    sock.setblocking(False)
    try:
        sock.send(requests)
    except BlockingIOError:
        pass
    return sock


def test_unread_replies(t):
    """Clients that do not read are closed at the limit; no key is evicted, nobody waits."""
    t.needs_hearth()
    hearth = t.hearth(memory="64mb", client_output_buffer_limit="normal 4mb 2mb 5")
    load_keys(hearth)
    with hearth.connect() as c:
        c.ok("SET", "big", "b" * 1000000)
        size = c.ok("DBSIZE")
        readers = [slow_reader(hearth, resp.encode(["GET", "big"]) * 40) for _ in range(10)]
        started, slowest = time.monotonic(), 0.0
        while time.monotonic() - started < 3:
            before = time.monotonic()
            same(b"value 7", c.ok("GET", "kept:7"), "served meanwhile")
            slowest = max(slowest, time.monotonic() - before)
            time.sleep(0.005)
        wait_until(lambda: count_clients(hearth) <= 3, 10, "the slow readers are closed")
        same(size, c.ok("DBSIZE"), "no key lost")
        t.note("slowest GET meanwhile %.1f ms, RSS %.0f MB" % (slowest * 1e3, hearth.rss() / 1e6))
        same(True, slowest < 0.5 * harness.SLOWNESS, "slowest GET meanwhile: %.3f s" % slowest)
        same(True, hearth.rss() <= 1.05 * (64 << 20), "RSS %d" % hearth.rss())
    for sock in readers:
        sock.close()
    check_keys(hearth)


def test_soft_output_limit(t):
    """Above the soft limit for longer than its seconds: closed; below: served."""
    for server in (t.redis(), t.hearth()):
        with server.connect() as c:
            c.ok("CONFIG", "SET", "client-output-buffer-limit", "normal 50mb 1mb 1")
            c.ok("SET", "big", "b" * 1000000)
            fits = slow_reader(server, resp.encode(["GET", "kept:1"]) * 5)
            stuck = slow_reader(server, resp.encode(["GET", "big"]) * 8)
            wait_until(lambda c=c: len(c.ok("CLIENT", "LIST").splitlines()) == 2, 15, "closed")
            fits.setblocking(True)
            same(b"$-1\r\n", fits.recv(5), "the small one is served")
            fits.close(), stuck.close()


def test_reads_large_replies(t):
    """A client that does read gets everything, although it is slow."""
    hearth = t.hearth(memory="128mb")
    with hearth.connect() as c:
        values = {"big%d" % i: bytes([65 + i]) * 1500000 for i in range(6)}
        for key, value in values.items():
            c.ok("SET", key, value)
        c.send_raw(b"".join(resp.encode(["GET", k]) for k in values))
        for value in values.values():
            time.sleep(0.1)
            same(True, resp.decode(c.read()) == value, "a large value")


def test_half_requests(t):
    """Many connections that never finish their request: others are served at once."""
    hearth = t.hearth()
    load_keys(hearth)
    stuck = []
    for i in range(300):
        c = hearth.connect()
        c.send_raw((b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000\r\nabc", b"*2\r\n$3", b"SE", b"*")[i % 4])
        stuck.append(c)
    started = time.monotonic()
    check_keys(hearth)
    same(True, time.monotonic() - started < 5 * harness.SLOWNESS, "served in time")
    for c in stuck:
        c.close()
    wait_until(lambda: count_clients(hearth) == 1, 10, "closed ones are gone")
    check_keys(hearth)


def test_disconnects_mid_flight(t):
    """Clients that go while their cold reads, writes and scans are under way."""
    hearth = t.hearth(memory="64mb", warm_size="1gb")
    load_keys(hearth)
    with hearth.connect() as c:
        for i in range(400):
            c.ok("SET", "cold:%d" % i, "%d" % i * 2000)
    for _ in range(150):
        if not t.stands_in():
            with hearth.connect() as c:
                c.pipeline([["HEARTH", "DEMOTE", "cold:%d" % t.random.randrange(400)]
                            for _ in range(20)])  # fmt: skip
        c = hearth.connect()
        commands = []
        for _ in range(30):
            key = "cold:%d" % t.random.randrange(400)
            commands.append(t.random.choice((["GET", key], ["MGET", key, "cold:1", "cold:2"],
                ["APPEND", "scratch", "x"], ["SCAN", "0"], ["GETEX", key], ["EXISTS", key],
                ["COPY", key, "copy", "REPLACE"])))  # fmt: skip
        c.send_raw(b"".join(resp.encode(a) for a in commands))
        if t.random.random() < 0.5:
            c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # reset
        if t.random.random() < 0.5:
            c.read()
        c.close()
    with hearth.connect() as c:
        for i in range(400):
            same(b"%d" % i * 2000, c.ok("GET", "cold:%d" % i), "cold:%d" % i)
    check_keys(hearth)


def test_many_connections(t):
    """2,000 connections at once, each served; memory comes back when they go."""
    hearth = t.hearth(memory="64mb")
    connections = [hearth.connect() for _ in range(2000)]
    for i, c in enumerate(connections):
        c.send("SET", "k%d" % i, i)
    for c in connections:
        same(b"+OK\r\n", c.read(), "SET")
    for i, c in enumerate(connections):
        same(b"%d" % i, c.ok("GET", "k%d" % i), "GET")
    t.note("RSS %.1f MB" % (hearth.rss() / 1e6))
    for c in connections:
        c.close()
    wait_until(lambda: count_clients(hearth) == 1, 20, "all closed")


def test_value_too_large(t):
    """A value over memory/8 is refused with -OOM, and nothing else is harmed."""
    t.needs_hearth()
    hearth = t.hearth(memory="64mb")
    load_keys(hearth)
    with hearth.connect(timeout=60) as c:
        reply = c.call("SET", "huge", b"h" * (20 << 20))
        same(True, isinstance(reply, resp.ReplyError) and reply.startswith("OOM"), repr(reply))
        same(0, c.ok("EXISTS", "huge"), "not stored")
        c.ok("SET", "fits", b"f" * (4 << 20))
        same(4 << 20, len(c.ok("GET", "fits")), "half the limit fits")
        reply = c.call("SETRANGE", "fits", 30 << 20, "x")
        same(True, isinstance(reply, resp.ReplyError), "SETRANGE beyond")
        same(4 << 20, c.ok("STRLEN", "fits"), "unchanged")
        same(True, hearth.rss() < 1.25 * (64 << 20), "RSS %d" % hearth.rss())
    check_keys(hearth)


@harness.limit(300)
def test_large_values(t):
    """Values up to 100 MB in both tiers, given the memory for them."""
    hearth = t.hearth(memory="2gb", warm_size="4gb")
    with hearth.connect(timeout=120) as c, hearth.connect() as other:
        for size in (1 << 20, (1 << 20) + 1, 5000001, 32 << 20, 100000000):
            value = t.random.randbytes(1 << 16) * (size // (1 << 16) + 1)
            value = value[:size]
            stop, slowest = threading.Event(), [0.0]

            def ping(stop=stop, slowest=slowest):
                while not stop.is_set():
                    before = time.monotonic()
                    other.ok("PING")
                    slowest[0] = max(slowest[0], time.monotonic() - before)

            thread = threading.Thread(target=ping)
            thread.start()
            try:
                same(b"OK", c.ok("SET", "v", value), "SET %d" % size)
                same(True, c.ok("GET", "v") == value, "hot GET of %d" % size)
                if not t.stands_in():
                    same(1, c.ok("HEARTH", "DEMOTE", "v"), "DEMOTE %d" % size)
                same(size, c.ok("STRLEN", "v"), "STRLEN %d" % size)
                same(value[-100:], c.ok("GETRANGE", "v", "-100", "-1"), "GETRANGE %d" % size)
                same(True, c.ok("GET", "v") == value, "cold GET of %d" % size)
            finally:
                stop.set()
                thread.join()
            t.note("%d bytes: slowest PING beside it %.0f ms" % (size, slowest[0] * 1e3))
