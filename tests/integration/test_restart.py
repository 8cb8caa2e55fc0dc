"""Stops and starts: a clean stop loses nothing, a crash in mode volatile starts empty, and a data
directory belongs to one server at a time."""

import hashlib
import os
import subprocess
import time

import cases
import harness
from harness import same

VALUE_BYTES = 2000


def value_of(i):
    seed = hashlib.md5(b"%d" % i).hexdigest().encode()
    return (seed * (VALUE_BYTES // 32 + 1))[: VALUE_BYTES - i % 700]


def load(server, n, batch=500):
    """n keys, every 10th with a time to live, every 7th in database 3."""
    with server.connect() as c, server.connect() as d:
        d.ok("SELECT", "3")
        for start in range(0, n, batch):
            mine = range(start, min(start + batch, n))
            for target, keys in ((c, [i for i in mine if i % 7]),
                                 (d, [i for i in mine if i % 7 == 0])):  # fmt: skip
                commands = []
                for i in keys:
                    ttl = ["EX", 100000 + i] if i % 10 == 0 else []
                    commands.append(["SET", "key:%d" % i, value_of(i)] + ttl)
                for raw in target.pipeline(commands):
                    same(b"+OK\r\n", raw, "SET")


def check(server, n, batch=500, gone=()):
    """Every key, its value, its time to live; DBSIZE exact."""
    with server.connect() as c, server.connect() as d:
        d.ok("SELECT", "3")
        expected = [i for i in range(n) if i not in gone]
        same(sum(1 for i in expected if i % 7), c.ok("DBSIZE"), "DBSIZE of database 0")
        same(sum(1 for i in expected if i % 7 == 0), d.ok("DBSIZE"), "DBSIZE of database 3")
        for start in range(0, n, batch):
            mine = range(start, min(start + batch, n))
            for target, keys in ((c, [i for i in mine if i % 7]),
                                 (d, [i for i in mine if i % 7 == 0])):  # fmt: skip
                commands = [w for i in keys for w in (["GET", "key:%d" % i], ["TTL", "key:%d" % i])]
                replies = target.pipeline(commands)
                for i, value, ttl in zip(keys, replies[::2], replies[1::2]):
                    if i in gone:
                        same(b"$-1\r\n", value, "deleted key %d" % i)
                        continue
                    want = value_of(i)
                    if value != b"$%d\r\n%s\r\n" % (len(want), want):
                        same(want[:60], value[:60], "value of key %d" % i)
                        raise AssertionError("value of key %d differs" % i)
                    seconds = harness.resp.decode(ttl)
                    if i % 10:
                        same(-1, seconds, "TTL of key %d" % i)
                    elif not 100000 + i - 300 <= seconds <= 100000 + i:
                        raise AssertionError("TTL of key %d is %d" % (i, seconds))


@harness.limit(300)
def test_clean_restart(t):
    """More data than memory, SHUTDOWN, start: all there, twice over, changes between included."""
    n = 100000  # 165 MB
    hearth = t.new_hearth(memory="64mb", warm_size="1gb")
    hearth.start()
    load(hearth, n)
    started = time.monotonic()
    hearth.terminate()
    t.note("stop %.1f s" % (time.monotonic() - started))
    started = time.monotonic()
    hearth.start()
    t.note("start %.1f s" % (time.monotonic() - started))
    check(hearth, n)
    gone = set(range(0, n, 13))
    with hearth.connect() as c, hearth.connect() as d:
        d.ok("SELECT", "3")
        for i in gone:
            same(1, (c if i % 7 else d).ok("DEL", "key:%d" % i), "DEL")
        c.ok("SET", "new", "after the restart")
        c.ok("SELECT", "5")
        c.ok("SET", "flushed", "v")
        c.ok("FLUSHDB")
        c.send("SHUTDOWN")
        hearth.expected_end = "stop"
        same(b"", c.read_to_end(), "reply to SHUTDOWN")
    hearth.wait_stopped()
    hearth.start()
    with hearth.connect() as c:
        same(b"after the restart", c.ok("GET", "new"), "written between the stops")
        c.ok("DEL", "new")
        c.ok("SELECT", "5")
        same(0, c.ok("DBSIZE"), "flushed before the stop")
    check(hearth, n, gone=gone)


def test_restart_of_hot_data(t):
    """Little data, all hot: kept over SIGTERM, several times; overwrites of cold keys too."""
    hearth = t.new_hearth()
    hearth.start()
    load(hearth, 500)
    for i in range(3):
        with hearth.connect() as c:
            c.ok("SET", "cold", "old %d" % i)
            if not t.stands_in():
                same(1, c.ok("HEARTH", "DEMOTE", "cold"), "DEMOTE")
            c.ok("SET", "cold", "new %d" % i)
            c.ok("SET", "deleted", "x")
            if not t.stands_in():
                c.ok("HEARTH", "DEMOTE", "deleted")
            c.ok("DEL", "deleted")
            c.ok("SET", "expires", "v", "PX", "50")
            c.ok("SET", "empty", "")
            c.ok("SET", "", "of the empty key")
        hearth.terminate()
        time.sleep(0.06)
        hearth.start()
        with hearth.connect() as c:
            same(b"new %d" % i, c.ok("GET", "cold"), "overwritten cold key")
            same(None, c.ok("GET", "deleted"), "deleted cold key")
            same(None, c.ok("GET", "expires"), "expired while the server was down")
            same((b"", b"of the empty key"), (c.ok("GET", "empty"), c.ok("GET", "")), "empty ones")
            c.ok("DEL", "cold", "deleted", "expires", "empty", "")
        check(hearth, 500)


def test_restart_keeps_large_values(t):
    hearth = t.new_hearth(memory="128mb", warm_size="1gb")
    hearth.start()
    values = {"large%d" % i: t.random.randbytes(100000) * (10 * i + 1) for i in range(1, 9)}
    with hearth.connect() as c:
        for key, value in values.items():
            c.ok("SET", key, value)
    hearth.terminate()
    hearth.start()
    with hearth.connect() as c:
        for key, value in values.items():
            same(True, c.ok("GET", key) == value, key)


def test_kill_starts_empty(t):
    """Mode volatile: after kill -9 nothing comes back, and the server works at once."""
    t.needs_hearth()
    hearth = t.new_hearth(memory="64mb", warm_size="512mb")
    for round_ in range(4):
        hearth.start()
        with hearth.connect() as c:
            same(0, c.ok("DBSIZE"), "DBSIZE after the start")
            same([], cases.scan_all(c, []), "SCAN after the start")
            same(None, c.ok("GET", "key:1"), "a key from before")
        load(hearth, 3000 + 20000 * (round_ % 2))
        hearth.kill()
    hearth.start()
    load(hearth, 3000)
    hearth.terminate()
    hearth.start()
    check(hearth, 3000)  # a clean stop after the crashes keeps everything again


def test_kill_during_stop(t):
    """kill -9 while the clean stop drains: the next start works, and shows nothing wrong."""
    t.needs_hearth()
    hearth = t.new_hearth(memory="64mb", warm_size="512mb")
    for delay in (0.0, 0.01, 0.05, 0.2):
        hearth.start()
        load(hearth, 20000)
        hearth.process.terminate()
        time.sleep(delay)
        hearth.kill()
        hearth.start()
        with hearth.connect() as c:
            n = c.ok("DBSIZE")
            for i in range(1, 20000, 97):
                if i % 7:
                    value = c.ok("GET", "key:%d" % i)
                    same(True, value in (None, value_of(i)), "value of key %d" % i)
            c.ok("FLUSHALL")
        t.note("killed after %.2f s: %d keys" % (delay, n))
        hearth.terminate()


def test_one_server_per_directory(t):
    """The second server on a directory says so in one line and leaves; the first goes on."""
    t.needs_hearth()
    first = t.hearth()
    first.call("SET", "k", "v")
    second = t.new_hearth(directory=os.path.join(t.dir, "second"), dir=first.dir)
    line = second.command_line()
    ended = subprocess.run(line, capture_output=True, timeout=20 * harness.SLOWNESS, cwd=second.dir)
    text = (ended.stdout + ended.stderr).decode()
    same(True, ended.returncode > 0, "exit status %d" % ended.returncode)
    about = [x for x in text.splitlines() if first.dir in x or "lock" in x.lower()]
    same(True, len(about) >= 1, "a line about the directory in:\n" + text)
    t.note("says: " + about[0].strip()[:150])
    same(b"v", first.call("GET", "k"), "the first server")
    first.terminate()
    second.options["dir"] = first.dir
    second.start()
    same(b"v", second.call("GET", "k"), "the directory is free after the first one's stop")


def test_other_sizes_after_restart(t):
    """Another memory, another number of threads: the data is still there."""
    t.needs_hearth()
    hearth = t.new_hearth(memory="64mb", warm_size="256mb", threads=1)
    hearth.start()
    load(hearth, 20000)
    for options in ({"threads": 4}, {"memory": "256mb"}, {"memory": "64mb", "threads": 2}):
        hearth.terminate()
        hearth.options.update(options)
        hearth.start()
        check(hearth, 20000)


def test_bad_options(t):
    """What cannot be is refused at start with one line that names it."""
    t.needs_hearth()
    for word, value in (("memory", "1mb"), ("port", "99999"), ("nosuch", "1"),
                        ("maxmemory-policy", "x"), ("durability", "x")):  # fmt: skip
        options = {word: value}
        server = t.new_hearth()
        server.options.update(options)
        ended = subprocess.run(server.command_line(), capture_output=True, cwd=server.dir,
                               timeout=20 * harness.SLOWNESS)  # fmt: skip
        text = (ended.stdout + ended.stderr).decode()
        same(True, ended.returncode > 0, "exit status of %r: %d" % (options, ended.returncode))
        same(True, word in text, "%r is named in: %s" % (word, text))
