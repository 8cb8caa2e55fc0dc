"""Malformed and edge input: both servers must answer with the same bytes and then do the same with
the connection. The table's last column also pins what Redis 7.0.15 was measured to answer, so that
the oracle itself is checked."""

import contextlib
import socket
import time

import harness
import known_differences
from harness import same, show

OPEN, CLOSED, WAITS = "open", "closed", "waits"
TAG = b"tag-5db1"
ECHO = b"*2\r\n$4\r\nECHO\r\n$8\r\n" + TAG + b"\r\n"
QUIET_SECONDS = 0.15
PROTOCOL = b"-ERR Protocol error: "
BAD_MULTIBULK = PROTOCOL + b"invalid multibulk length\r\n"
BAD_BULK = PROTOCOL + b"invalid bulk length\r\n"
PONG = b"+PONG\r\n"


def bulk(*args):
    return harness.resp.encode(args)


def get_set(name):
    return b"*3\r\n$3\r\nSET\r\n$1\r\n" + name + b"\r\n"


# name, what is sent, the reply's beginning (None: only compared), what becomes of the connection
VECTORS = [
    ("empty line", b"\r\n", b"", OPEN),
    ("empty lines", b"\r\n\r\n\n\n \r\n", b"", OPEN),
    ("ping LF only", b"PING\n", PONG, OPEN),
    ("two pings LF", b"PING\nPING\n", PONG + PONG, OPEN),
    ("*0 then PING", b"*0\r\nPING\r\n", PONG, OPEN),
    ("*-10 then PING", b"*-10\r\nPING\r\n", PONG, OPEN),
    ("*-1 then PING", b"*-1\r\nPING\r\n", PONG, OPEN),
    ("*abc", b"*abc\r\n", BAD_MULTIBULK, CLOSED),
    ("*2147483648", b"*2147483648\r\n", BAD_MULTIBULK, CLOSED),
    ("*+1", b"*+1\r\n", BAD_MULTIBULK, CLOSED),
    ("*01", b"*01\r\n", BAD_MULTIBULK, CLOSED),
    ("*1 with blank", b"*1 \r\n", BAD_MULTIBULK, CLOSED),
    ("* alone", b"*\r\n", BAD_MULTIBULK, CLOSED),
    ("*-0", b"*-0\r\nPING\r\n", None, CLOSED),
    ("*1.5", b"*1.5\r\n", BAD_MULTIBULK, CLOSED),
    ("*99999999999999999999", b"*99999999999999999999\r\n", BAD_MULTIBULK, CLOSED),
    ("*-9223372036854775808", b"*-9223372036854775808\r\nPING\r\n", PONG, OPEN),
    ("*-9223372036854775809", b"*-9223372036854775809\r\n", BAD_MULTIBULK, CLOSED),
    ("*2147483647", b"*2147483647\r\n", b"", WAITS),
    ("*1048577", b"*1048577\r\n", b"", WAITS),
    ("*1 foo", b"*1\r\nfoo\r\n", PROTOCOL + b"expected '$', got 'f'\r\n", CLOSED),
    ("*1 then empty line", b"*1\r\n\r\n", None, CLOSED),
    ("*1 then NUL", b"*1\r\n\0\r\n", b"", WAITS),
    ("*1 then high byte", b"*1\r\n\xff\r\n", None, CLOSED),
    ("*1 then star", b"*1\r\n*1\r\n", None, CLOSED),
    ("*1 then colon", b"*1\r\n:1\r\n", None, CLOSED),
    ("$-1", get_set(b"k") + b"$-1\r\n", BAD_BULK, CLOSED),
    ("$536870913", get_set(b"k") + b"$536870913\r\n", BAD_BULK, CLOSED),
    ("$9223372036854775808", get_set(b"k") + b"$9223372036854775808\r\n", BAD_BULK, CLOSED),
    ("$blabla", get_set(b"k") + b"$blabla\r\n", BAD_BULK, CLOSED),
    ("$ alone", get_set(b"k") + b"$\r\n", BAD_BULK, CLOSED),
    ("$+1", get_set(b"k") + b"$+1\r\nx\r\n", BAD_BULK, CLOSED),
    ("$01", get_set(b"k") + b"$01\r\nx\r\n", BAD_BULK, CLOSED),
    ("$536870912", get_set(b"k") + b"$536870912\r\n", b"", WAITS),
    ("$1 without data", get_set(b"k") + b"$1\r\n", b"", WAITS),
    ("$3 with two bytes", get_set(b"k") + b"$3\r\nab", b"", WAITS),
    ("$0 command", b"*1\r\n$0\r\n\r\n",
     b"-ERR unknown command '', with args beginning with: \r\n", OPEN),
    ("$0 command with args", b"*2\r\n$0\r\n\r\n$1\r\na\r\n", None, OPEN),
    ("XX instead of CRLF", get_set(b"k") + b"$3\r\nabcXX", b"+OK\r\n", OPEN),
    ("XX after the key", b"*2\r\n$3\r\nGET\r\n$5\r\nkey-0XX", b"$-1\r\n", OPEN),
    ("unbalanced double", b'SET "k v\r\n', PROTOCOL + b"unbalanced quotes in request\r\n", CLOSED),
    ("unbalanced single", b"SET 'k v\r\n", PROTOCOL + b"unbalanced quotes in request\r\n", CLOSED),
    ("text after quote", b'ECHO "a"b\r\n', PROTOCOL + b"unbalanced quotes in request\r\n", CLOSED),
    ("text after single", b"ECHO 'a'b\r\n", PROTOCOL + b"unbalanced quotes in request\r\n", CLOSED),
    ("quote escapes", b'ECHO "\\x41\\n"\r\n', b"$2\r\nA\n\r\n", OPEN),
    ("all escapes", b'ECHO "\\r\\n\\t\\b\\a\\\\\\"\\q"\r\n', None, OPEN),
    ("single quotes", b"ECHO 'a b\\'c\\n'\r\n", None, OPEN),
    ("bad hex escape", b'ECHO "\\xzz\\x4"\r\n', None, OPEN),
    ("empty quotes", b'ECHO ""\r\n', b"$0\r\n\r\n", OPEN),
    ("quotes inside word", b'ECHO a"b c"\r\n', None, OPEN),
    ("escaped closing", b'ECHO "abc\\"\r\n', None, CLOSED),
    ("tabs and blanks", b"\t ECHO \t abc  \t\r\n", b"$3\r\nabc\r\n", OPEN),
    ("CR inside", b"ECHO a\rb\r\n", None, OPEN),
    ("NUL in an inline", b"ECHO a\0b\r\n", b"", WAITS),
    ("high bytes inline", b"ECHO \xff\xfe\r\n", b"$2\r\n\xff\xfe\r\n", OPEN),
    ("HTTP GET", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", None, CLOSED),
    ("POST", b"POST / HTTP/1.1\r\n\r\n", b"", CLOSED),
    ("Host:", b"Host: a\r\n", b"", CLOSED),
    ("post lower case", b"post x\r\n", b"", CLOSED),
    ("host: lower case", b"host: x\r\n", b"", CLOSED),
    ("POST as RESP", bulk("POST", "/"), b"", CLOSED),
    ("Host: as RESP", bulk("Host:", "x"), b"", CLOSED),
    ("unknown command", b"*2\r\n$3\r\nfoo\r\n$3\r\nbar\r\n",
     b"-ERR unknown command 'foo', with args beginning with: 'bar' \r\n", OPEN),
    ("unknown, 200 byte arg", bulk("foo", "a" * 200), None, OPEN),
    ("unknown, many args", bulk("foo", *["arg%d" % i for i in range(60)]), None, OPEN),
    ("unknown, 300 byte name", bulk("f" * 300, "x"), None, OPEN),
    ("unknown, exactly 128", bulk("foo", "a" * 125, "b", "c"), None, OPEN),
    ("unknown, 64 then 64", bulk("foo", "a" * 64, "b" * 64, "c"), None, OPEN),
    ("unknown, CR LF", bulk("fo\r\no", "a\r\nb\nc\rd"), None, OPEN),
    ("unknown, NUL", bulk("f\0o", "a\0b"), None, OPEN),
    ("unknown, quote", bulk("f'o", "a'b", ""), None, OPEN),
    ("unknown, high bytes", bulk("f\xffo", "\x80\x01"), None, OPEN),
    ("HELLO 4", b"HELLO 4\r\n", b"-NOPROTO unsupported protocol version\r\n", OPEN),
    ("HELLO 1", b"HELLO 1\r\n", b"-NOPROTO unsupported protocol version\r\n", OPEN),
    ("HELLO abc", b"HELLO abc\r\n", None, OPEN),
    ("HELLO 3 bad option", b"HELLO 3 FOO\r\n", None, OPEN),
    ("HELLO 3 AUTH short", b"HELLO 3 AUTH u\r\n", None, OPEN),
    ("HELLO 3 SETNAME short", b"HELLO 3 SETNAME\r\n", None, OPEN),
    ("HELLO 3 SETNAME blank", bulk("HELLO", "3", "SETNAME", "a b"), None, OPEN),
    ("EX 0", b"SET a b EX 0\r\n", b"-ERR invalid expire time in 'set' command\r\n", OPEN),
    ("EX max", b"SET a b EX 9223372036854775807\r\n",
     b"-ERR invalid expire time in 'set' command\r\n", OPEN),
    ("PX -1", b"SET a b PX -1\r\n", b"-ERR invalid expire time in 'set' command\r\n", OPEN),
    ("EXPIRE max", b"SET a b\r\nEXPIRE a 9223372036854775807\r\n",
     b"+OK\r\n-ERR invalid expire time in 'expire' command\r\n", OPEN),
    ("INCR max", b"SET a 9223372036854775807\r\nINCR a\r\n",
     b"+OK\r\n-ERR increment or decrement would overflow\r\n", OPEN),
    ("SETRANGE 512 MB", b"SETRANGE k 536870912 x\r\n",
     b"-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n", OPEN),
    ("QUIT then PING", b"QUIT\r\nPING\r\n", b"+OK\r\n", CLOSED),
    ("DEBUG SLEEP 0", b"DEBUG SLEEP 0\r\n", b"-ERR DEBUG command not allowed", OPEN),
    ("CONFIG SET dir", b"CONFIG SET dir /tmp\r\n", b"-ERR CONFIG SET failed", OPEN),
    ("pipeline across an error", b"SET k 1\r\nFOO\r\nGET k\r\n", None, OPEN),
    ("protocol error ends a pipeline", b"SET k 2\r\nGET k\r\n*x\r\nPING\r\n", None, CLOSED),
    ("RESP then inline then RESP", bulk("SET", "k", "9") + b"GET k\r\n" + bulk("PING"), None, OPEN),
    ("big inline, 60 KB", b"ECHO " + b"x" * 60000 + b"\r\n", None, OPEN),
    ("inline 64 KB and no newline", b"x" * 65537, PROTOCOL + b"too big inline request\r\n", CLOSED),
    ("exactly 64 KB, no newline", b"x" * 65536, b"", WAITS),
    ("* 64 KB and no newline", b"*" + b"1" * 65537,
     PROTOCOL + b"too big mbulk count string\r\n", CLOSED),
    ("$ 64 KB and no newline", b"*1\r\n$" + b"1" * 65537,
     PROTOCOL + b"too big bulk count string\r\n", CLOSED),
]  # fmt: skip

# @@@@ becomes a number of the connection's own, so that connections do not see each other's keys.
PIPELINES = {
    "resp": bulk("SET", "k@@@@", "v\r\nw") + bulk("GET", "k@@@@") + bulk("DEL", "k@@@@")
    + bulk("GET", "k@@@@"),
    "inline": b"SET k@@@@ 'a b'\r\nGET k@@@@\r\nECHO \"\\x41\"\nPING\r\n\r\nPING x\r\n",
    "mixed": b"*0\r\nPING\r\n" + bulk("ECHO", "") + b"*-1\r\nINCR n@@@@\r\n"
    + bulk("INCR", "n@@@@"),
    "errors": bulk("FOO", "bar") + bulk("GET") + bulk("SET", "k", "1", "EX", "x") + bulk("PING"),
    "protocol error": bulk("PING") + b"*2\r\n$3\r\nGET\r\n$x\r\n" + bulk("PING"),
    "quotes": bulk("PING") + b"GET 'k\r\n" + bulk("PING"),
    "resp3": bulk("HELLO", "3", "SETNAME", "c") + bulk("GET", "no") + bulk("CLIENT", "GETNAME"),
}  # fmt: skip


def converse(server, data, outcome, at_least=0):
    """(reply bytes, open|closed|waits) of one new connection. A reply of at_least so many bytes is
    worth waiting for."""
    with server.connect(timeout=10) as c:
        c.send_raw(data)
        if outcome == WAITS:
            reply, is_closed = c.read_available(QUIET_SECONDS * harness.SLOWNESS, at_least)
            return reply, CLOSED if is_closed else WAITS
        if outcome == OPEN:
            c.send_raw(ECHO)
        reply = b""
        try:
            while not reply.endswith(b"$8\r\n" + TAG + b"\r\n"):
                c._fill()
                reply += c.take()
        except harness.resp.Closed:
            return reply, CLOSED
        except socket.timeout:
            return reply, WAITS
        return reply[: -len(b"$8\r\n" + TAG + b"\r\n")], OPEN


def test_table(t):
    """Every line of resp-vectors.md, and their neighbours."""
    redis, hearth = t.redis(), t.hearth()
    wrong = []
    for name, data, start, outcome in VECTORS:
        expected = converse(redis, data, outcome)
        if start is not None and not (
            expected[0].startswith(start) if start else expected[0] == b""
        ):
            wrong.append("%s: Redis itself answered %s" % (name, show(expected[0])))
        if expected[1] != outcome:
            wrong.append("%s: Redis left the connection %s" % (name, expected[1]))
        got = converse(hearth, data, outcome, len(expected[0]))
        if not known_differences.same_stream(data, expected[0], got[0]) or expected[1] != got[1]:
            wrong.append("%s: expected %s, got %s" % (name, show(expected), show(got)))
        redis.call("FLUSHALL")
        hearth.call("FLUSHALL")
    if wrong:
        raise AssertionError("%d of %d differ:\n" % (len(wrong), len(VECTORS)) + "\n".join(wrong))
    t.note("%d vectors" % len(VECTORS))


def split_answers(server, data, pieces_of):
    """Sends `data` cut in the given ways, one connection a way, a pause between the pieces."""
    n_ways = len(pieces_of(data))
    ways = [pieces_of(data.replace(b"@@@@", b"%04d" % i))[i] for i in range(n_ways)]
    connections = [server.connect() for _ in ways]
    for step in range(max(len(way) for way in ways)):
        for connection, way in zip(connections, ways):
            if step < len(way):
                connection.send_raw(way[step])
        time.sleep(0.003)
    answers = []
    for connection in connections:
        with contextlib.suppress(OSError):  # the server may have closed it already
            connection.sock.shutdown(socket.SHUT_WR)
        answers.append(connection.read_to_end())
        connection.close()
    return answers


def halves(data):
    return [[data[:i], data[i:]] for i in range(1, len(data))]


def bytewise(data):
    return [[data[i : i + 1] for i in range(len(data))]]


def triples(data):
    return [[data[i : i + 3] for i in range(0, len(data), 3)]]


def test_split_points(t):
    """The same replies wherever the network cuts the request."""
    servers = {"redis": t.redis(), "hearth": t.hearth()}
    n = 0
    for name, data in PIPELINES.items():
        whole = {}
        for kind, server in servers.items():
            whole[kind] = split_answers(server, data, lambda d: [[d]])[0]
            for way in (halves, bytewise, triples):
                server.call("FLUSHALL")
                for i, answer in enumerate(split_answers(server, data, way)):
                    n += 1
                    same(without_id(whole[kind]), without_id(answer),
                         "%s, %s, cut %d of %s" % (kind, name, i, way.__name__))  # fmt: skip
        same(without_server(whole["redis"]), without_server(whole["hearth"]), name)
    t.note("%d ways to cut" % n)


def without_id(reply):
    """HELLO's reply tells the client id, which differs from connection to connection."""
    head, mark, tail = reply.partition(b"$2\r\nid\r\n:")
    return head + mark + tail.partition(b"\r\n")[2] if mark else reply


def without_server(reply):
    """HELLO's reply names the server: compare what comes after it."""
    return reply.partition(b"$7\r\nmodules\r\n*0\r\n")[2] or reply


def test_million_arguments(t):
    """The largest multibulk Redis takes at once, and one beyond its unauthenticated limit."""
    n = 1000000
    keys = b"".join(b"$7\r\n%07d\r\n" % i for i in range(n))
    for server in (t.redis(), t.hearth(memory="1gb")):
        with server.connect() as c:
            same([b":0\r\n"], c.exchange(b"*%d\r\n$6\r\nEXISTS\r\n" % (n + 1) + keys, 1), "EXISTS")
            pairs = b"".join(b"$7\r\n%07d\r\n$1\r\n%d\r\n" % (i, i % 10) for i in range(n // 2))
            same([b"+OK\r\n"], c.exchange(b"*%d\r\n$4\r\nMSET\r\n" % (n + 1) + pairs, 1), "MSET")
            same(n // 2, c.call("DBSIZE"), "DBSIZE")
            same([b":%d\r\n" % (n // 2)],
                 c.exchange(b"*%d\r\n$3\r\nDEL\r\n" % (n + 1) + keys, 1), "DEL")  # fmt: skip


def test_deep_pipeline(t):
    """200,000 commands in one stream, replies in order."""
    redis, hearth = t.redis(), t.hearth()
    n = 100000
    data = b"".join(bulk("SET", "k%d" % (i % 1000), i) + bulk("GET", "k%d" % (i % 1000))
                    for i in range(n))  # fmt: skip
    with redis.connect() as a, hearth.connect() as b:
        expected, got = a.exchange(data, 2 * n), b.exchange(data, 2 * n)
    for i, (e, g) in enumerate(zip(expected, got)):
        same(e, g, "reply %d" % i)


def test_before_auth(t):
    """Without a password given, requests are limited to 10 arguments of 16 KB, as Redis does."""
    options = {"requirepass": "secret"}
    servers = t.redis(**options), t.hearth(**options)
    table = [
        (b"*11\r\n", CLOSED), (b"*10\r\n", WAITS), (b"*1\r\n$16385\r\n", CLOSED),
        (b"*1\r\n$16384\r\n", WAITS), (bulk("GET", "k"), WAITS), (bulk("PING"), WAITS),
        (bulk("ECHO", "x"), WAITS), (b"FOO\r\n", WAITS), (bulk("QUIT"), CLOSED),
        (bulk("HELLO"), WAITS), (bulk("HELLO", "3"), WAITS), (bulk("RESET"), WAITS),
        (bulk("AUTH", "wrong"), WAITS), (bulk("AUTH", "a", "secret"), WAITS),
        (bulk("AUTH"), WAITS), (bulk("AUTH", "a", "b", "c"), WAITS),
        (bulk("AUTH", "default", "secret") + bulk("GET", "k"), WAITS),
        (bulk("AUTH", "secret") + bulk("GET", "k"), WAITS),
        (bulk("HELLO", "3", "AUTH", "default", "wrong"), WAITS),
        (bulk("CLIENT", "ID"), WAITS), (bulk("COMMAND", "COUNT"), WAITS),
        (bulk("SHUTDOWN", "NOSAVE"), WAITS), (bulk("GET"), WAITS), (bulk("CONFIG", "GET"), WAITS),
        (bulk("AUTH", "secret") + bulk("RESET") + bulk("GET", "k"), WAITS),
    ]  # fmt: skip
    for data, outcome in table:
        expected = converse(servers[0], data, WAITS)
        got = converse(servers[1], data, WAITS, len(expected[0]))
        same(expected, got, "before AUTH: %r" % data)
        same(outcome, expected[1], "Redis itself, before AUTH: %r" % data)
