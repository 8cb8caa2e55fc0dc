"""hearth-bench itself: what it says of an honest server, and that it finds a lying one out.

The liar is a small RESP server that keeps keys in a dictionary and tells one kind of lie.
"""

import glob
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

import harness
from harness import Skip, same


def program():
    named = os.environ.get("HEARTH_BENCH")
    found = [named] if named else glob.glob(os.path.join(harness.ROOT, "build", "*", "hearth-bench"))
    if not found:
        raise Skip("hearth-bench is not built")
    return max(found, key=os.path.getmtime)


def bench(*options, status=0):
    """Runs it; returns its JSON, or what it complained of when it could not run."""
    line = [program(), "--json", "--quiet", "--seed", "7", *options]
    done = subprocess.run(line, capture_output=True, text=True, timeout=100 * harness.SLOWNESS)
    if done.returncode != status:
        raise AssertionError("%s\nstatus %d\n%s%s" % (
            " ".join(line), done.returncode, done.stdout, done.stderr))  # fmt: skip
    return done.stderr if status == 2 else json.loads(done.stdout)


class Liar:
    """Serves GET, SET and PING, one thread per connection; lie(key, value, older) may change what a
    GET brings: bytes, None for a miss, or ('raw', bytes) to be sent as they are."""

    def __init__(self, lie):
        self.lie = lie
        self.values = {}
        self.older = {}
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()

    def _accept(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer):
        stream = peer.makefile("rb")
        try:
            while True:
                header = stream.readline()
                if not header:
                    return
                args = []
                for _ in range(int(header[1:])):
                    length = int(stream.readline()[1:])
                    args.append(stream.read(length + 2)[:-2])
                peer.sendall(self._answer(args))
        except (OSError, ValueError):
            return

    def _answer(self, args):
        with self.lock:
            if args[0] == b"PING":
                return b"+PONG\r\n"
            key = args[1]
            if args[0] == b"SET":
                self.older[key] = self.values.get(key)
                self.values[key] = args[2]
                return b"+OK\r\n"
            value = self.lie(self, key, self.values.get(key))
        if value is None:
            return b"$-1\r\n"
        if isinstance(value, tuple):
            return value[1]
        return b"$%d\r\n%s\r\n" % (len(value), value)


def flip(value):
    return value[:-1] + bytes([value[-1] ^ 1])


def sometimes(t, lie):
    """Tells the lie of every tenth value."""

    def choose(liar, key, value):
        return lie(liar, key, value) if value is not None and t.random.random() < 0.1 else value

    return choose


VERIFY = ["--verify", "--reads", "50", "--keys", "20", "--connections", "4", "--requests", "4000",
          "--value-size", "32:300"]  # fmt: skip


def test_an_honest_server_passes(t):
    with Liar(lambda liar, key, value: value) as liar:
        result = bench("--port", str(liar.port), *VERIFY)
    same(4000, result["operations"], "operations")
    same((0, 0, 0), (result["wrong"], result["stale"], result["errors"]), "wrong, stale, errors")
    assert result["verified"] == result["hits"] > 1500, result


def test_misses_are_no_lies(t):
    with Liar(sometimes(t, lambda liar, key, value: None)) as liar:
        result = bench("--port", str(liar.port), *VERIFY)
    assert result["misses"] > 50, result


def test_every_lie_is_found_out(t):
    lies = {
        "an older version": ("stale", "older", lambda liar, key, value: liar.older[key] or value),
        "a flipped bit": ("wrong", "checksum", lambda liar, key, value: flip(value)),
        "a lost byte": ("wrong", "length", lambda liar, key, value: value[:-1]),
        "another key's value": ("wrong", "another key",
                                lambda liar, key, value: liar.values[max(liar.values)]),
        "an empty value": ("wrong", "shorter", lambda liar, key, value: b""),
    }  # fmt: skip
    for name, (kind, word, lie) in lies.items():
        with Liar(sometimes(t, lie)) as liar:
            result = bench("--port", str(liar.port), *VERIFY, status=1)
        assert result[kind] > 0 and word in result["first_" + kind], (name, result)
        same(0, result["errors"], name)


def test_errors_and_broken_connections_are_told(t):
    def refuse(liar, key, value):
        return ("raw", b"-OOM not today\r\n")

    with Liar(sometimes(t, refuse)) as liar:
        result = bench("--port", str(liar.port), *VERIFY, status=1)
    assert result["errors"] > 50 and "OOM not today" in result["first_errors"], result
    with Liar(sometimes(t, lambda liar, key, value: ("raw", b"nonsense\r\n"))) as liar:
        result = bench("--port", str(liar.port), *VERIFY, status=1)
    assert "nonsense" in result["first_errors"], result


def test_it_says_why_it_cannot_run(t):
    port = harness.free_port()
    for options, word in [
        (["--port", str(port)], "cannot connect"),
        (["--unix", os.path.join(t.dir, "none")], "cannot connect"),
        (["--keys", "many"], "--keys"),
        (["--value-size", "9:1"], "--value-size"),
        (["--key-size", "3"], "--key-size"),
        (["--trace", os.path.join(t.dir, "none")], "cannot read"),
        (["--no-such-option"], "no-such-option"),
        (["--load", "--lookaside"], "--load"),
    ]:
        complaint = bench(*options, status=2)
        assert word in complaint, (options, complaint)
    redis = t.redis(requirepass="secret")
    assert "--auth" in bench("--port", str(redis.port), status=2)
    bench("--port", str(redis.port), "--auth", "secret", "--requests", "100")
    assert "--protocol" in bench("--port", str(redis.port), "--protocol", "memcached", status=2)


def test_load_and_read_back(t):
    redis = t.redis(unixsocket=os.path.join(t.dir, "socket"), unixsocketperm="700")
    where = ["--port", str(redis.port)]
    loaded = bench(*where, "--load", "--keys", "10k", "--value-size", "10:5kb", "--pipeline", "16",
                   "--server-pid", str(redis.pid))  # fmt: skip
    same((10000, 0), (loaded["sets"], loaded["gets"]), "sets, gets")
    same(b"10000", str(redis.call("DBSIZE")).encode(), "DBSIZE")
    assert 0.05 < loaded["server"]["cpu_us_per_op"] < 1000 * harness.SLOWNESS, loaded["server"]
    assert loaded["server"]["rss_last"] > loaded["server"]["rss_first"], loaded["server"]
    read = bench("--unix", os.path.join(t.dir, "socket"), "--reads", "100", "--keys", "10k",
                 "--distribution", "sequential", "--threads", "2")  # fmt: skip
    same((10000, 10000, 0), (read["gets"], read["hits"], read["misses"]), "gets, hits, misses")
    same(loaded["value_bytes_written"], read["value_bytes_read"], "bytes")


def test_lookaside_replays_a_trace(t):
    redis = t.redis()
    path = os.path.join(t.dir, "trace")
    with open(path, "w") as f:
        f.write("1,100\n2,200\nthird,300\n1,100\n2,200\n1\n")
    result = bench("--port", str(redis.port), "--trace", path, "--connections", "1")
    same((6, 3, 3, 3), tuple(result[n] for n in ("gets", "hits", "misses", "sets")), "trace")
    same(600, result["value_bytes_written"], "bytes written")
    same(200, redis.call("STRLEN", "key:2"), "size of key 2")


def test_records_come_back_byte_for_byte(t):
    redis = t.redis()
    path = os.path.join(t.dir, "records")
    with open(path, "w") as f:
        f.write("Package: one\nSize: 1\n\nPackage: two\nSize: 2\n\n\nPackage: one\nSize: 3\n")
    options = ["--port", str(redis.port), "--records", path, "--copies", "2", "--key-prefix", "p:"]
    same(6, bench(*options, "--load")["sets"], "records stored")
    same(b"Package: one\nSize: 3\nCopy: 1\n", redis.call("GET", "p:1:one#2"), "a record")
    back = [*options, "--reads", "100", "--distribution", "sequential", "--verify"]
    result = bench(*back)
    same((6, 6, 0), tuple(result[n] for n in ("gets", "verified", "wrong")), "read back")
    redis.call("APPEND", "p:0:two", "x")
    assert "length" in bench(*back, status=1)["first_wrong"]


def test_rate_counts_from_the_due_time(t):
    """A server asleep for half a second must show in the latency of all that was due meanwhile."""
    redis = t.redis()

    def sleep():
        time.sleep(0.7)
        os.kill(redis.pid, signal.SIGSTOP)
        time.sleep(0.5)
        os.kill(redis.pid, signal.SIGCONT)

    helper = threading.Thread(target=sleep)
    helper.start()
    result = bench("--port", str(redis.port), "--rate", "1000", "--seconds", "2", "--keys", "100")
    helper.join()
    same(2000, result["operations"], "operations at 1000 a second for 2 s")
    latency = result["latency_us"]["all"]
    assert latency["max"] > 400000, latency
    assert latency["p90"] > 100000, latency  # 500 of 2000 were due during the sleep


def test_values_are_as_compressible_as_asked(t):
    redis = t.redis()
    for size in ("100", "1kb", "lognormal:1kb:1"):
        result = bench("--port", str(redis.port), "--compressible", "0.5", "--value-size", size,
                       "--requests", "100")  # fmt: skip
        assert abs(result["zstd_saves"] - 0.5) < 0.03, (size, result["zstd_saves"])
    bench("--port", str(redis.port), "--json-values", "--load", "--keys", "300",
          "--value-size", "20:3000", "--key-size", "8")  # fmt: skip
    for key in range(300):
        json.loads(redis.call("GET", "key:%04d" % key))


def test_help_names_every_option_once(t):
    text = subprocess.run([program(), "--help"], capture_output=True, text=True, check=True).stdout
    options = text[: text.index("\nExamples:")]
    names = re.findall(r"^  (?:-., |    )(--[a-z-]+)", options, re.M)
    same(len(set(names)), len(names), "options")
    assert len(names) > 30 and "--verify" in names, names
    assert max(len(line) for line in text.splitlines()) <= 100
