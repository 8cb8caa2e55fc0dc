"""Random commands from a printed seed on Redis and Hearth alike, with demotions, promotions and
memory pressure on Hearth's side; every answer compared. Commands go in pipelines of random length
whose values carry a running tag, so that a reply out of order shows."""

import os
import time

import cases
import harness

N_OPS = int(os.environ.get("HEARTH_MODEL_OPS", "20000"))
N_KEYS = 60
DATABASES = ("0", "1", "9")
FILLER_DB = "12"
FILLER_BYTES = 50000
N_FILLERS = 1500
FLOATS = ("0.5", "-1.25", "10", "3e2")


class Source:
    """Makes random commands."""

    def __init__(self, random):
        self.random = random
        self.tag = 0

    def key(self):
        # A few keys are much more used than the others.
        return "key:%d" % min(int(self.random.expovariate(8 / N_KEYS)), N_KEYS - 1)

    def value(self):
        self.tag += 1
        kind = self.random.random()
        if kind < 0.25:
            return str(self.random.randint(-1000, 1000))
        size = self.random.choice((0, 10, 100, 1000, 5000)) if kind < 0.98 else 300000
        return ("<%d>" % self.tag) + self.random.choice("abcdefgh") * size

    def some(self, function, low=1, high=5):
        return [function() for _ in range(self.random.randint(low, high))]

    def pairs(self):
        return [w for k in self.some(self.key) for w in (k, self.value())]

    def expiry(self):
        seconds = 10 * self.random.randint(100, 100000)
        return self.random.choice((
            ["EX", str(seconds)], ["PX", str(seconds * 1000)], ["EXAT", "@now+%d" % seconds],
            ["PXAT", "@nowms+%d" % (seconds * 1000)],
        ))  # fmt: skip

    def command(self):
        r = self.random
        name = r.choice(self.TABLE)
        return getattr(self, "_" + name)(r)

    # Weights by repetition.
    TABLE = (
        ["get"] * 10 + ["set"] * 8 + ["setopt"] * 4 + ["mget"] * 4 + ["mset"] * 3 + ["del"] * 3
        + ["append", "strlen", "range", "setrange", "incr", "incrfloat", "getdel", "getset"] * 2
        + ["exists", "touch", "expire", "expire", "ttl", "persist", "getex", "setnx"] * 2
        + ["rename", "copy", "type", "msetnx", "dbsize", "keys", "scan", "select", "unlink"]
        + ["bad"]
    )  # fmt: skip

    def _get(self, r):
        return ["GET", self.key()]

    def _set(self, r):
        return ["SET", self.key(), self.value()]

    def _setopt(self, r):
        options = r.choice(([], ["NX"], ["XX"])) + r.choice(([], [], ["GET"]))
        options += r.choice(([], ["KEEPTTL"], self.expiry()))
        return ["SET", self.key(), self.value()] + options

    def _mget(self, r):
        return ["MGET"] + self.some(self.key, 1, 20)

    def _mset(self, r):
        return ["MSET"] + self.pairs()

    def _msetnx(self, r):
        return ["MSETNX"] + self.pairs()

    def _del(self, r):
        return ["DEL"] + self.some(self.key, 1, 3)

    def _unlink(self, r):
        return ["UNLINK"] + self.some(self.key, 1, 3)

    def _append(self, r):
        return ["APPEND", self.key(), self.value()[:200]]

    def _strlen(self, r):
        return ["STRLEN", self.key()]

    def _range(self, r):
        return ["GETRANGE", self.key(), str(r.randint(-50, 50)), str(r.randint(-50, 50))]

    def _setrange(self, r):
        return ["SETRANGE", self.key(), str(r.randint(0, 200)), self.value()[:20]]

    def _incr(self, r):
        name = r.choice(("INCRBY", "DECRBY"))
        return [name, self.key(), str(r.randint(-100, 100))]

    def _incrfloat(self, r):
        return ["INCRBYFLOAT", self.key(), r.choice(FLOATS)]

    def _getdel(self, r):
        return ["GETDEL", self.key()]

    def _getset(self, r):
        return ["GETSET", self.key(), self.value()]

    def _exists(self, r):
        return ["EXISTS"] + self.some(self.key)

    def _touch(self, r):
        return ["TOUCH"] + self.some(self.key)

    def _expire(self, r):
        option = r.choice(([], [], ["NX"], ["XX"], ["GT"], ["LT"]))
        # Far apart from each other: GT and LT on equal times would be a question of milliseconds.
        return ["EXPIRE", self.key(), str(r.choice((-1, 10 * r.randint(100, 100000))))] + option

    def _ttl(self, r):
        return [r.choice(("TTL", "EXPIRETIME", "PTTL")), self.key()]

    def _persist(self, r):
        return ["PERSIST", self.key()]

    def _getex(self, r):
        options = r.choice(([], ["PERSIST"], self.expiry(), ["PXAT", "1"]))
        return ["GETEX", self.key()] + options

    def _setnx(self, r):
        return ["SETNX", self.key(), self.value()]

    def _rename(self, r):
        return [r.choice(("RENAME", "RENAMENX")), self.key(), self.key()]

    def _copy(self, r):
        options = r.choice(([], ["REPLACE"], ["DB", r.choice(DATABASES)]))
        return ["COPY", self.key(), self.key()] + options

    def _type(self, r):
        return ["TYPE", self.key()]

    def _dbsize(self, r):
        return ["DBSIZE"]

    def _keys(self, r):
        return ["KEYS", r.choice(("*", "key:1*", "key:?", "nothing*"))]

    def _scan(self, r):
        return ["SCANALL", "COUNT", r.choice(("1", "10", "1000"))]

    def _select(self, r):
        if r.random() < 0.1:
            return ["FLUSHDB"]
        return ["SELECT", r.choice(DATABASES)]

    def _bad(self, r):
        return r.choice((
            ["GET"], ["SET", self.key()], ["NOSUCH", self.key()], ["INCRBY", self.key(), "x"],
            ["SET", self.key(), "v", "EX", "0"], ["SELECT", "99"], ["EXPIRE", self.key(), "y"],
        ))  # fmt: skip


def press(c, random, n):
    """Hearth only: other data pushes the compared keys out of the hot tier."""
    commands = [["SELECT", FILLER_DB]]
    for _ in range(n):
        key = "filler:%d" % random.randrange(N_FILLERS)
        commands.append(["SET", key, random.choice("xyz") * FILLER_BYTES])
    c.pipeline(commands)


def shift(c, random, stands_in):
    """Hearth only: moves some keys between the tiers."""
    if stands_in:
        return
    for _ in range(random.randint(1, 20)):
        name = random.choice(("DEMOTE", "DEMOTE", "PROMOTE"))
        reply = c.call("HEARTH", name, "key:%d" % random.randrange(N_KEYS))
        if isinstance(reply, harness.resp.ReplyError):
            raise AssertionError("HEARTH %s: %s" % (name, reply))


def model(t, resp3):
    random = t.random
    redis, hearth = t.redis(), t.hearth(memory="64mb", warm_size="2gb")
    a, b = redis.connect(resp3=resp3), hearth.connect(resp3=resp3)
    side = hearth.connect()
    source, n, history = Source(random), 0, []
    while n < N_OPS:
        commands = [source.command() for _ in range(int(random.expovariate(1 / 15)) + 1)]
        if random.random() < 0.05:  # keys that expire soon, on both, and then have
            commands += [["PEXPIRE", source.key(), "1"] for _ in range(3)]
        now_ms = int(time.time() * 1000)
        commands = [cases.expand(args, now_ms) for args in commands]
        expected, got = cases.run(a, commands), cases.run(b, commands)
        history = (history + commands)[-40:]
        for args, e, g in zip(commands, expected, got):
            if not cases.same_reply(args, e, g):
                told = "\n".join("    " + harness.show(h, 150) for h in history)
                raise AssertionError(
                    "after %d commands, RESP%d: %s\n  expected %s\n  got      %s\n"
                    "  of the last:\n%s" % (n, 3 if resp3 else 2, harness.show(args, 200),
                                            harness.show(e), harness.show(g), told))  # fmt: skip
        gone = [args[1] for args in commands if args[0] == "PEXPIRE"]
        if gone:  # Redis counts an expired key until somebody asks for it
            time.sleep(0.01)
            harness.same(a.raw("EXISTS", *gone), b.raw("EXISTS", *gone), "expired keys")
        n += len(commands)
        if random.random() < 0.3:
            if random.random() < 0.3:
                side.ok("SELECT", random.choice(DATABASES))
            shift(side, random, t.stands_in())
        if random.random() < 0.1:
            with hearth.connect() as filler:
                press(filler, random, 20)
    for database in DATABASES:
        for c in (a, b):
            c.ok("SELECT", database)
        keys = ["key:%d" % i for i in range(N_KEYS)]
        for args in (["DBSIZE"], ["KEYS", "*"], ["MGET"] + keys):
            if not cases.same_reply(args, a.raw(*args), b.raw(*args)):
                raise AssertionError("at the end, database %s: %r differs" % (database, args[0]))
    t.note("%d commands" % n)


@harness.limit(300)
def test_random_resp2(t):
    model(t, False)


@harness.limit(300)
def test_random_resp3(t):
    model(t, True)


def test_reply_order(t):
    """Random pipelines over hot, cold and missing keys from several connections: every reply
    belongs to its request, and a GET sees the SET before it in the same pipeline."""
    hearth = t.hearth(memory="64mb", warm_size="1gb")
    random = t.random
    connections = [hearth.connect() for _ in range(4)]
    tag = 0
    for _ in range(150):
        for n, c in enumerate(connections):
            commands, expected = [], []
            for _ in range(random.randint(1, 60)):
                key, tag = "c%d:%d" % (n, random.randrange(200)), tag + 1
                what = random.randrange(5)
                if what == 0 and not t.stands_in():
                    commands.append(["HEARTH", "DEMOTE", key])
                    expected.append(None)
                elif what == 1:
                    commands.append(["ECHO", "e%d" % tag])
                    expected.append(b"e%d" % tag)
                else:
                    value = "%s=%d" % (key, tag) + "." * random.choice((0, 50, 5000))
                    commands += [["SET", key, value], ["GET", key], ["STRLEN", key]]
                    expected += [b"OK", value.encode(), len(value)]
            for args, want, raw in zip(commands, expected, c.pipeline(commands)):
                if want is not None:
                    harness.same(want, harness.resp.decode(raw), harness.show(args, 100))
