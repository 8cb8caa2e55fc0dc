"""Ten times more data than RAM: every byte read back, counted exactly, scanned completely, within
the memory budget."""

import os
import random
import threading
import time

import harness
import resp
from harness import same

MEMORY = 64 << 20
FACTOR = float(os.environ.get("HEARTH_FACTOR", "10"))
VALUE_BYTES = 1000
BATCH = 200


def value_of(i, generation=0):
    """About half compressible, and unlike every other."""
    noise = random.Random(i * 1000003 + generation).randbytes(VALUE_BYTES // 2)
    text = b'{"id":%012d,"generation":%d,"text":"' % (i, generation)
    return text + noise + b" lorem ipsum dolor" * 20 + b'"}'


class Watch:
    """Samples the server's RSS until stopped."""

    def __init__(self, server):
        self.server = server
        self.peak = 0
        self.over = 0
        self.n = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._stop.wait(0.05):
            try:
                rss = self.server.rss()
            except (OSError, AttributeError):
                return
            self.peak = max(self.peak, rss)
            self.n += 1
            self.over += rss > 1.05 * MEMORY

    def stop(self):
        self._stop.set()
        self._thread.join()
        return "peak RSS %.1f MB of %.0f, %d of %d samples above 1.05x" % (
            self.peak / 1048576, MEMORY / 1048576, self.over, self.n)  # fmt: skip


def load(server, n, connections=4):
    """Writes n keys from several connections at once."""

    def work(first):
        with server.connect(timeout=120) as c:
            mine = range(first, n, connections)
            for start in range(0, len(mine), BATCH):
                part = mine[start : start + BATCH]
                for raw in c.pipeline([["SET", "key:%d" % i, value_of(i)] for i in part]):
                    same(b"+OK\r\n", raw, "SET")

    run_all(work, connections)


def run_all(work, n):
    failures = []

    def guarded(i):
        try:
            work(i)
        except BaseException as error:  # told by the main thread
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def read_all(server, order):
    with server.connect(timeout=120) as c:
        for start in range(0, len(order), BATCH):
            part = order[start : start + BATCH]
            for i, raw in zip(part, c.pipeline([["GET", "key:%d" % i] for i in part])):
                want = value_of(i)
                if raw != b"$%d\r\n%s\r\n" % (len(want), want):
                    same(want[:80], raw[:100], "value of key %d" % i)
                    raise AssertionError("value of key %d differs" % i)


def scan(c, *options):
    """All keys SCAN returns, with repetitions; and the number of steps."""
    keys, cursor, steps = [], b"0", 0
    while True:
        cursor, found = c.ok("SCAN", cursor, *options)
        keys += found
        steps += 1
        if cursor == b"0":
            return keys, steps


@harness.limit(600)
def test_ten_times_memory(t):
    n = int(FACTOR * MEMORY / 880)
    hearth = t.hearth(memory=MEMORY, warm_size="2gb")
    watch = Watch(hearth)
    started = time.monotonic()
    load(hearth, n)
    t.note("%d keys loaded in %.1f s" % (n, time.monotonic() - started))
    same(n, hearth.call("DBSIZE"), "DBSIZE")
    started = time.monotonic()
    read_all(hearth, range(n))
    order = list(range(n))
    t.random.shuffle(order)
    read_all(hearth, order[: n // 2])
    t.note("read in %.1f s" % (time.monotonic() - started))
    same(n, hearth.call("DBSIZE"), "DBSIZE after reading")
    with hearth.connect(timeout=120) as c:
        started = time.monotonic()
        keys, steps = scan(c, "COUNT", "1000")
        same(n, len(set(keys)), "different keys of SCAN")
        t.note("SCAN: %d steps, %.1f %% repeated, %.1f s" % (
            steps, 100.0 * (len(keys) - n) / n, time.monotonic() - started))  # fmt: skip
        same(n // 2 + n % 2, sum(c.ok("EXISTS", *["key:%d" % i for i in part]) for part in
             [range(s, min(s + 1000, n), 2) for s in range(0, n, 1000)]), "EXISTS")  # fmt: skip
        same(n // 2 // 100, c.ok("DEL", *["key:%d" % i for i in range(n // 2 // 100)]), "DEL")
        same(n - n // 2 // 100, c.ok("DBSIZE"), "DBSIZE after DEL")
        c.ok("FLUSHDB")
        same(0, c.ok("DBSIZE"), "DBSIZE after FLUSHDB")
        same(None, c.ok("GET", "key:%d" % (n - 1)), "a key after FLUSHDB")
        same([], scan(c, "COUNT", "100")[0], "SCAN after FLUSHDB")
    verdict = watch.stop()
    t.note(verdict)
    if not t.stands_in():
        same(0, watch.over, verdict)


@harness.limit(300)
def test_scan_while_others_write(t):
    """A key that is there all the time is returned at least once; none that never was."""
    hearth = t.hearth(memory=MEMORY, warm_size="1gb")
    n = 60000
    load(hearth, n)
    stop = threading.Event()

    def churn(number):
        choice = random.Random(number)
        with hearth.connect(timeout=120) as c:
            while not stop.is_set():
                commands = []
                for _ in range(50):
                    i = choice.randrange(n)
                    commands.append(choice.choice((
                        ["SET", "key:%d" % i, value_of(i)], ["GET", "key:%d" % i],
                        ["SET", "temporary:%d" % choice.randrange(3000), "v" * 500],
                        ["DEL", "temporary:%d" % choice.randrange(3000)],
                    )))  # fmt: skip
                c.pipeline(commands)

    threads = [threading.Thread(target=churn, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    try:
        wanted = {b"key:%d" % i for i in range(n)}
        with hearth.connect(timeout=120) as c:
            for count in ("10000", "500"):
                keys, _ = scan(c, "COUNT", count)
                seen = set(keys)
                missing = wanted - seen
                same([], sorted(missing)[:10], "%d keys not returned by SCAN" % len(missing))
                strange = {k for k in seen - wanted if not k.startswith(b"temporary:")}
                same(set(), strange, "keys that never were")
                t.note("COUNT %s: %.2f x as many as there are" % (count, len(keys) / n))
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@harness.limit(300)
def test_overwrite_and_delete(t):
    """Three generations of every key, interleaved with deletions: always the newest one."""
    hearth = t.hearth(memory=MEMORY, warm_size="1gb")
    n = 80000
    rounds = {}
    with hearth.connect(timeout=120) as c:
        for generation in range(3):
            keys = list(range(n))
            t.random.shuffle(keys)
            for start in range(0, n, BATCH):
                commands = []
                for i in keys[start : start + BATCH]:
                    if t.random.random() < 0.15:
                        commands.append(["DEL", "key:%d" % i])
                        rounds.pop(i, None)
                    else:
                        commands.append(["SET", "key:%d" % i, value_of(i, generation)])
                        rounds[i] = generation
                c.pipeline(commands)
        same(len(rounds), c.ok("DBSIZE"), "DBSIZE")
        keys = list(range(n))
        for start in range(0, n, BATCH):
            part = keys[start : start + BATCH]
            for i, raw in zip(part, c.pipeline([["GET", "key:%d" % i] for i in part])):
                want = value_of(i, rounds[i]) if i in rounds else None
                if resp.decode(raw) != want:
                    same(want and want[:60], (resp.decode(raw) or b"")[:60], "key %d" % i)
        found, _ = scan(c, "COUNT", "5000")
        same(len(rounds), len(set(found)), "SCAN")


@harness.limit(200)
def test_sixteen_databases(t):
    """The same keys in 16 databases, larger than memory together; flushes hit only their own."""
    hearth = t.hearth(memory=MEMORY, warm_size="1gb")
    n = 6000

    def value(db, i):
        return value_of(i * 16 + db)

    with hearth.connect(timeout=120) as c:

        def check(db, is_there):
            c.ok("SELECT", db)
            same(n if is_there else 0, c.ok("DBSIZE"), "DBSIZE of database %d" % db)
            for start in range(0, n, BATCH):
                part = range(start, start + BATCH)
                for i, raw in zip(part, c.pipeline([["GET", "k%d" % i] for i in part])):
                    want = value(db, i) if is_there else None
                    same(True, resp.decode(raw) == want, "database %d, key %d" % (db, i))

        for db in range(16):
            c.ok("SELECT", db)
            for start in range(0, n, BATCH):
                c.pipeline([["SET", "k%d" % i, value(db, i)] for i in range(start, start + BATCH)])
        for db in range(16):
            check(db, True)
        for db in (0, 7, 15):
            c.ok("SELECT", db)
            c.ok("FLUSHDB")
        for db in range(16):
            check(db, db not in (0, 7, 15))
        for db in (0, 7):
            c.ok("SELECT", db)
            for start in range(0, n, BATCH):
                c.pipeline([["SET", "k%d" % i, value(db, i)] for i in range(start, start + BATCH)])
        for db in range(16):
            check(db, db != 15)
        c.ok("FLUSHALL")
        for db in range(16):
            check(db, False)


@harness.limit(300)
def test_eviction_when_both_tiers_are_full(t):
    """More data than both tiers: what is gone is a miss, the rest is right, counted exactly."""
    t.needs_hearth()
    n = 300000
    hearth = t.hearth(memory=MEMORY, warm_size="96mb")
    load(hearth, n)
    with hearth.connect(timeout=120) as c:
        # Exactly equal as soon as no key is evicted between the two counts.
        parts = [range(s, s + 100) for s in range(0, n, 100)]
        for _ in range(10):
            size = c.ok("DBSIZE")
            there = sum(c.ok("EXISTS", *["key:%d" % i for i in part]) for part in parts)
            if size == c.ok("DBSIZE"):
                break
        same(size, there, "DBSIZE and EXISTS of every key")
        found = 0
        for start in range(0, n, BATCH):
            part = range(start, start + BATCH)
            for i, raw in zip(part, c.pipeline([["GET", "key:%d" % i] for i in part])):
                value = resp.decode(raw)
                same(True, value in (None, value_of(i)), "key %d" % i)
                found += value is not None
        t.note("%d of %d kept" % (found, n))
        same(True, found < n, "something had to go")
        same(True, found > n // 10, "but not nearly everything: %d" % found)


@harness.limit(300)
def test_noeviction_refuses(t):
    """Under noeviction full tiers refuse writes with -OOM, lose nothing, and recover by DEL."""
    t.needs_hearth()
    n = 300000
    strict = t.hearth(memory=MEMORY, warm_size="96mb", maxmemory_policy="noeviction")
    stored, refused = [], 0
    with strict.connect(timeout=120) as c:
        for start in range(0, n, BATCH):
            part = range(start, start + BATCH)
            replies = c.pipeline([["SET", "key:%d" % i, value_of(i)] for i in part])
            for i, raw in zip(part, replies):
                if raw == b"+OK\r\n":
                    stored.append(i)
                else:
                    same(b"-OOM", raw[:4], "refusal")
                    refused += 1
            if refused > 5000:
                break
        same(True, refused > 0, "noeviction refuses at last")
        same(len(stored), c.ok("DBSIZE"), "DBSIZE")
    read_all(strict, stored)
    with strict.connect() as c:
        c.ok("DEL", *["key:%d" % i for i in stored[:20000]])
        harness.wait_until(lambda: c.call("SET", "again", value_of(1)) == b"OK", 20, "room again")
    t.note("noeviction: %d stored, then refused" % len(stored))
