"""Every data command on a key in every state of the two tiers, answers compared with Redis' for the
same logical data; and afterwards the key is demoted once more and read, so that what the command
left behind is checked on both tiers."""

import itertools
import time

import cases
import harness
from harness import same, wait_until

VALUES = {"number": "17", "text": "Hello World", "empty": "", "binary": "\0\r\n\xff*1\r\n"}
LARGE = "L" * (2 << 20)
OTHER_DB = "5"
# K and J are keys. What each command needs of the engine differs: blind, meta or value.
COMMANDS = [
    ["GET", "K"], ["SET", "K", "new"], ["SET", "K", "new", "NX"], ["SET", "K", "new", "XX"],
    ["SET", "K", "new", "GET"], ["SET", "K", "new", "XX", "GET"], ["SET", "K", "new", "NX", "GET"],
    ["SET", "K", "new", "KEEPTTL"], ["SET", "K", "new", "EX", "500"], ["SET", "K", ""],
    ["SET", "K", "gone", "PXAT", "1"], ["SETEX", "K", "500", "new"],
    ["PSETEX", "K", "500000", "new"], ["SETNX", "K", "new"], ["GETSET", "K", "new"],
    ["GETDEL", "K"], ["GETEX", "K"], ["GETEX", "K", "EX", "500"], ["GETEX", "K", "PERSIST"],
    ["GETEX", "K", "PXAT", "1"], ["MGET", "K"], ["MGET", "K", "missing", "K"], ["MSET", "K", "new"],
    ["MSET", "K", "a", "K", "b"], ["MSETNX", "K", "new"], ["APPEND", "K", "tail"],
    ["APPEND", "K", ""], ["STRLEN", "K"], ["GETRANGE", "K", "1", "3"],
    ["GETRANGE", "K", "-3", "-1"],
    ["GETRANGE", "K", "0", "-1"], ["SUBSTR", "K", "0", "1"], ["SETRANGE", "K", "0", "P"],
    ["SETRANGE", "K", "20", "patch"], ["SETRANGE", "K", "5", ""], ["SETRANGE", "K", "-1", "x"],
    ["INCR", "K"], ["DECR", "K"], ["INCRBY", "K", "9223372036854775807"], ["INCRBY", "K", "5"],
    ["DECRBY", "K", "5"], ["INCRBYFLOAT", "K", "0.5"], ["DEL", "K"], ["DEL", "K", "K", "missing"],
    ["UNLINK", "K"], ["EXISTS", "K"], ["EXISTS", "K", "K", "missing"], ["TOUCH", "K"],
    ["TYPE", "K"],
    ["EXPIRE", "K", "500"], ["EXPIRE", "K", "-1"], ["EXPIRE", "K", "500", "NX"],
    ["EXPIRE", "K", "500", "XX"], ["EXPIRE", "K", "500", "GT"], ["EXPIRE", "K", "500", "LT"],
    ["EXPIRE", "K", "50000", "GT"], ["EXPIRE", "K", "50000", "LT"], ["PEXPIRE", "K", "500000"],
    ["PEXPIRE", "K", "0"], ["EXPIREAT", "K", "@now+500"], ["EXPIREAT", "K", "1"],
    ["PEXPIREAT", "K", "@nowms+500000"], ["TTL", "K"], ["PTTL", "K"], ["EXPIRETIME", "K"],
    ["PEXPIRETIME", "K"], ["PERSIST", "K"], ["RENAME", "K", "K"], ["RENAME", "K", "J"],
    ["RENAMENX", "K", "J"], ["COPY", "K", "J"], ["COPY", "K", "J", "REPLACE"],
    ["COPY", "K", "K", "DB", "7"], ["OBJECT", "ENCODING", "K"], ["OBJECT", "REFCOUNT", "K"],
    ["MEMORY", "USAGE", "K"], ["KEYS", "K"], ["GET", "K", "extra"], ["SET", "K", "v", "EX", "0"],
    ["EXPIRE", "K", "abc"], ["INCRBY", "K", "abc"], ["SETRANGE", "K", "536870912", "x"],
]  # fmt: skip
TWO_KEYS = [
    ["RENAME", "K", "J"], ["RENAMENX", "K", "J"], ["COPY", "K", "J"], ["COPY", "K", "J", "REPLACE"],
    ["MGET", "K", "J"], ["MGET", "J", "K", "J"], ["MSET", "K", "1", "J", "2"],
    ["MSETNX", "K", "1", "J", "2"], ["DEL", "K", "J"], ["UNLINK", "J", "K"], ["EXISTS", "K", "J"],
    ["TOUCH", "K", "J"],
]  # fmt: skip


def demote(key):
    return ["HEARTH", "DEMOTE", key]


def promote(key):
    return ["HEARTH", "PROMOTE", key]


# state -> commands that bring a key into it; HEARTH commands run on Hearth only, and must say :1
STATES = {
    "absent": lambda k, v: [],
    "hot": lambda k, v: [["SET", k, v]],
    "hot with ttl": lambda k, v: [["SET", k, v, "EX", "1000"]],
    "cold": lambda k, v: [["SET", k, v], demote(k)],
    "cold with ttl": lambda k, v: [["SET", k, v, "EX", "1000"], demote(k)],
    "clean": lambda k, v: [["SET", k, v], demote(k), promote(k)],
    "clean with ttl": lambda k, v: [["SET", k, v, "EX", "1000"], demote(k), promote(k)],
    "clean, demoted again": lambda k, v: [["SET", k, v], demote(k), promote(k), demote(k)],
    "hot over a cold one": lambda k, v: [["SET", k, "stale"], demote(k), ["SET", k, v]],
    "cold over a cold one": lambda k, v: [["SET", k, "stale"], demote(k), ["SET", k, v], demote(k)],
    "deleted cold": lambda k, v: [["SET", k, v], demote(k), ["DEL", k]],
    "expired cold": lambda k, v: [["SET", k, v, "PX", "1500"], demote(k)],
    "expired clean": lambda k, v: [["SET", k, v, "PX", "1500"], demote(k), promote(k)],
    "expired after demotion": lambda k, v: [["SET", k, v], demote(k), ["PEXPIRE", k, "1"]],
    "persisted cold": lambda k, v: [["SET", k, v, "PX", "1500"], demote(k), ["PERSIST", k]],
    "cold elsewhere": lambda k, v: [
        ["SELECT", OTHER_DB], ["SET", k, v], demote(k), ["SELECT", "0"],
    ],
    "appended cold": lambda k, v: [["SET", k, ""], demote(k), ["APPEND", k, v], demote(k)],
    "renamed cold": lambda k, v: [["SET", k + "-old", v], demote(k + "-old"),
                                  ["RENAME", k + "-old", k]],
    "copied cold": lambda k, v: [["SET", k + "-old", v], demote(k + "-old"),
                                 ["COPY", k + "-old", k]],
}  # fmt: skip


class Pair:
    """Redis and Hearth, given the same commands; HEARTH commands go to the latter only."""

    def __init__(self, t, resp3, **options):
        self.redis, self.hearth = t.redis().connect(), t.hearth(**options).connect()
        self.stands_in = t.stands_in()
        for c in (self.redis, self.hearth):
            c.ok("HELLO", "3" if resp3 else "2")

    def run(self, commands):
        """[(command, Redis' reply or None, Hearth's reply)]; one pipeline each."""
        now_ms = int(time.time() * 1000)
        commands = [cases.expand(args, now_ms) for args in commands]
        common = [args for args in commands if args[0] != "HEARTH"]
        expected = iter(self.redis.pipeline(common))
        if self.stands_in:
            got = iter(self.hearth.pipeline(common))
        else:
            got = iter(self.hearth.pipeline(commands))
        answers = []
        for args in commands:
            if args[0] != "HEARTH":
                answers.append((args, next(expected), next(got)))
            else:
                answers.append((args, None, None if self.stands_in else next(got)))
        return answers

    def prepare(self, commands):
        """Setup: everything must agree, every tier command must work."""
        for args, expected, got in self.run(commands):
            if expected is None:
                if got is not None:
                    same(b":1\r\n", got, "in the preparation: %r" % args)
            elif not cases.same_reply(args, expected, got):
                raise AssertionError("in the preparation: %r\n expected %r\n got %r"
                                     % (args[:3], expected[:200], got[:200]))  # fmt: skip


def named(command, key, other):
    return [{"K": key, "J": other}.get(word, word) for word in command]


def look(key, other):
    """Reads what a command left, then demotes and reads again."""
    reads = [["GET", key], ["TTL", key], ["STRLEN", key], ["EXISTS", key, other], ["GET", other],
             ["TTL", other]]  # fmt: skip
    return reads + [demote(key), demote(other)] + reads


def judge(wrong, title, answers):
    for args, expected, got in answers:
        if expected is None:  # demoting what may be gone: only a dead server would be wrong
            continue
        if not cases.same_reply(args, expected, got):
            wrong.append("%s: %s\n    expected %s\n    got      %s" % (
                title, harness.show(args, 120), harness.show(expected, 200),
                harness.show(got, 200)))  # fmt: skip
            return


def run_matrix(t, resp3, plans):
    """plans: (title, setup commands, command, key, other key)."""
    pair = Pair(t, resp3, memory="128mb", warm_size="1gb")
    wrong = []
    plans = list(plans)
    for start in range(0, len(plans), 1500):
        batch = plans[start : start + 1500]
        for _, setup, _, _, _ in batch:
            pair.prepare(setup)
        if any("expired" in title for title, *_ in batch):
            time.sleep(1.6)
        for title, _, command, key, other in batch:
            title = "%s [RESP%d]" % (title, 3 if resp3 else 2)
            judge(wrong, title, pair.run([named(command, key, other)] + look(key, other)))
        elsewhere = [["SELECT", OTHER_DB], ["DBSIZE"], ["SELECT", "7"], ["DBSIZE"], ["FLUSHDB"],
                     ["SELECT", "0"], ["DBSIZE"], ["FLUSHALL"], ["DBSIZE"]]  # fmt: skip
        judge(wrong, "after the batch that ends with " + batch[-1][0], pair.run(elsewhere))
    if wrong:
        raise AssertionError("%d of %d differ, the first are:\n%s"
                             % (len(wrong), len(plans), "\n".join(wrong[:40])))  # fmt: skip
    t.note("%d combinations" % len(plans))


def single_plans():
    products = itertools.product(STATES.items(), VALUES.items(), COMMANDS)
    for i, ((state, setup), (kind, value), command) in enumerate(products):
        key = "key:%d" % i
        title = "%s on %s, %s" % (" ".join(command), state, kind)
        yield title, setup(key, value), command, key, "other:%d" % i


def pair_plans():
    products = itertools.product(STATES.items(), STATES.items(), TWO_KEYS)
    for i, ((s1, setup1), (s2, setup2), command) in enumerate(products):
        k, j = "key:%d" % i, "other:%d" % i
        title = "%s on %s and %s" % (" ".join(command), s1, s2)
        yield title, setup1(k, "1") + setup2(j, "two"), command, k, j


@harness.limit(300)
def test_matrix_resp2(t):
    run_matrix(t, False, single_plans())


@harness.limit(300)
def test_matrix_resp3(t):
    run_matrix(t, True, single_plans())


@harness.limit(300)
def test_two_keys(t):
    run_matrix(t, False, pair_plans())


@harness.limit(300)
def test_large_cold(t):
    """The same on values of 2 MB: chunk records in the warm tier."""
    pair = Pair(t, False, memory="256mb", warm_size="2gb")
    wrong = []
    states = ("hot", "cold", "cold with ttl", "clean", "hot over a cold one", "cold elsewhere",
              "deleted cold")  # fmt: skip
    for i, (state, command) in enumerate(itertools.product(states, COMMANDS)):
        key, other = "key:%d" % i, "other:%d" % i
        value = LARGE[:-20] + "%020d" % i
        pair.prepare(STATES[state](key, value))
        answers = pair.run([named(command, key, other)] + look(key, other))
        judge(wrong, "%s on large %s" % (" ".join(command), state), answers)
        pair.run([["FLUSHALL"]])
    if wrong:
        raise AssertionError("%d differ:\n%s" % (len(wrong), "\n".join(wrong[:30])))


def test_explain(t):
    """HEARTH DEMOTE, PROMOTE and EXPLAIN agree on where a key is."""
    t.needs_hearth()
    for resp3 in (False, True):
        with t.hearth().connect(resp3=resp3) as c:

            def tier(key, c=c):
                reply = c.ok("HEARTH", "EXPLAIN", key)
                pairs = reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2]))
                return pairs[b"tier"]

            same(b"none", tier("k"), "absent")
            c.ok("SET", "k", "v" * 100)
            same(b"hot", tier("k"), "after SET")
            same(1, c.ok("HEARTH", "DEMOTE", "k"), "DEMOTE")
            same(b"warm", tier("k"), "after DEMOTE")
            same(b"v" * 100, c.ok("GET", "k"), "GET of the cold key")
            c.ok("HEARTH", "DEMOTE", "k")
            same(1, c.ok("HEARTH", "PROMOTE", "k"), "PROMOTE")
            same(b"both", tier("k"), "after PROMOTE")
            c.ok("SET", "k", "w")
            same(b"hot", tier("k"), "after overwriting")
            c.ok("HEARTH", "DEMOTE", "k")
            c.ok("DEL", "k")
            same(b"none", tier("k"), "after DEL")
            same(0, c.ok("HEARTH", "DEMOTE", "k"), "DEMOTE of a missing key")
            same(0, c.ok("HEARTH", "PROMOTE", "k"), "PROMOTE of a missing key")
            for bad in (["HEARTH"], ["HEARTH", "FOO"], ["HEARTH", "DEMOTE"],
                        ["HEARTH", "EXPLAIN"], ["HEARTH", "PROMOTE", "a", "b"]):  # fmt: skip
                same(True, isinstance(c.call(*bad), harness.resp.ReplyError), repr(bad))


def test_one_device_read_per_cold_get(t):
    """A cold GET reads the device once; reading it while it is hot, never."""
    t.needs_hearth()
    hearth = t.hearth(memory="64mb", admin_port=harness.free_port())
    import urllib.request

    def device_reads():
        url = "http://127.0.0.1:%d/metrics" % hearth.admin_port
        with urllib.request.urlopen(url) as reply:
            lines = reply.read().decode().splitlines()
        found = [l for l in lines if l.startswith('hearth_device_operations_total{op="read"}')]
        return int(float(found[0].split()[-1]))

    with hearth.connect() as c:
        for i in range(500):
            c.ok("SET", "k%d" % i, "v%04d" % i * 100)
        for i in range(500):
            same(1, c.ok("HEARTH", "DEMOTE", "k%d" % i), "DEMOTE")
        wait_until(lambda: c.ok("PING"), 5, "alive")
        before = device_reads()
        for i in range(500):
            same(b"v%04d" % i * 100, c.ok("GET", "k%d" % i), "GET")
        n_cold = device_reads() - before
        for i in range(500):
            c.ok("GET", "no-such-%d" % i)
        n_missing = device_reads() - before - n_cold
    t.note("500 cold GETs: %d device reads; 500 misses: %d" % (n_cold, n_missing))
    if n_cold > 505 or n_missing > 5:
        raise AssertionError("500 cold GETs: %d reads; misses: %d" % (n_cold, n_missing))
