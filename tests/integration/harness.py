"""Starts real servers for the tests, and judges how they end.

A test is a function test_*(t) of a module test_*.py; t is a Test: it starts servers (t.hearth(),
t.redis()), has a seeded t.random and a temporary t.dir, and is cleaned up by the runner. A server
that died, did not stop when asked, or printed a sanitizer's report fails the test.

HEARTH_SERVER names the program under test (else the newest build). Given redis-server, the tests
run with Redis on both sides: that proves the tests, not Hearth; tier commands are then left out.
"""

import contextlib
import glob
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import time

import resp

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SLOWNESS = float(os.environ.get("HEARTH_SLOWNESS", "1"))  # raise it for sanitizer builds
START_SECONDS = 30 * SLOWNESS
STOP_SECONDS = 60 * SLOWNESS
SANITIZER = re.compile(
    rb"(ERROR: (Address|Leak|Memory)Sanitizer|WARNING: (Thread|Memory)Sanitizer|runtime error: "
    rb"|DEADLYSIGNAL|CHECK failed|DCHECK failed)"
)
# What only Hearth knows; left out when redis-server stands in.
HEARTH_ONLY = {
    "admin-port", "admin-bind", "threads", "memory", "warm-size", "warm-path", "segment-size",
    "warm-compression", "durability", "log-format", "shutdown-timeout",
}  # fmt: skip


class Skip(Exception):
    """Raised by a test that cannot run here; says why."""


def limit(seconds):
    """Decorator: how long the test may take before it is killed (default 120 s)."""

    def mark(function):
        function.limit = seconds
        return function

    return mark


def hearth_binary():
    """The program under test, or None."""
    named = os.environ.get("HEARTH_SERVER")
    if named:
        return shutil.which(named) or named
    found = glob.glob(os.path.join(ROOT, "build", "*", "hearth-server"))
    found += glob.glob(os.path.join(ROOT, "build", "*", "tools", "hearth-server"))
    found = [f for f in found if os.path.isfile(f) and os.access(f, os.X_OK)]
    return max(found, key=os.path.getmtime) if found else None


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_until(condition, seconds, what, step=0.01):
    """Polls until condition() is true; returns its value."""
    deadline = time.monotonic() + seconds * SLOWNESS
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError("waited %.0f s in vain: %s" % (seconds * SLOWNESS, what))
        time.sleep(step)


class Server:
    """One server process."""

    def __init__(self, program, directory, options, is_hearth):
        self.program = program
        self.dir = directory
        self.is_hearth = is_hearth
        self.is_redis = os.path.basename(program).startswith("redis-server")
        self.options = options
        self.log_path = os.path.join(directory, "server.log")
        self.expected_end = None  # "stop" or "kill" once the test asked for it
        self.process = None
        self._log_offset = 0

    # -- life ------------------------------------------------------------------------------

    @property
    def pid(self):
        return self.process.pid

    @property
    def port(self):
        return int(self.options["port"])

    @property
    def admin_port(self):
        return int(self.options["admin-port"])

    def command_line(self):
        line = [self.program]
        for name, value in self.options.items():
            if self.is_redis and (name in HEARTH_ONLY or "tinylfu" in str(value)):
                continue
            values = value if isinstance(value, (list, tuple)) else [value]
            line += ["--" + name] + [str(v) for v in values]
        return line

    def spawn(self):
        self.expected_end = None
        env = dict(os.environ)
        env.setdefault("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0:exitcode=99")
        env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1:halt_on_error=0")
        env.setdefault("TSAN_OPTIONS", "halt_on_error=0:exitcode=98")
        log = open(self.log_path, "ab")
        self._log_offset = log.tell()
        self.process = subprocess.Popen(
            self.command_line(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.dir,
            env=env,
        )  # fmt: skip
        log.close()

    def start(self):
        """Starts it and returns when it answers PING; until then it may be loading."""
        self.spawn()
        deadline = time.monotonic() + START_SECONDS
        while True:
            if self.process.poll() is not None:
                raise AssertionError(
                    "server ended at start with %d:\n%s" % (self.process.returncode, self.log())
                )
            if self._answers():
                return self
            if time.monotonic() > deadline:
                raise AssertionError("no PONG within %.0f s:\n%s" % (START_SECONDS, self.log()))
            time.sleep(0.005)

    def _answers(self):
        try:
            with resp.Connection(self.address(), timeout=1) as c:
                c.sock.sendall(b"*1\r\n$4\r\nPING\r\n")
                return c.read().startswith((b"+PONG", b"-NOAUTH", b"-DENIED"))
        except (OSError, resp.Closed):
            return False

    def address(self):
        if self.port == 0:
            return self.options["unixsocket"]
        return ("127.0.0.1", self.port)

    def terminate(self, seconds=STOP_SECONDS):
        """SIGTERM; a clean stop must end with status 0."""
        self.expected_end = "stop"
        self.process.send_signal(signal.SIGTERM)
        return self.wait_stopped(seconds)

    def wait_stopped(self, seconds=STOP_SECONDS):
        self.expected_end = "stop"
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("server did not stop within %.0f s" % seconds) from None
        if code != 0:
            raise AssertionError("server stopped with status %d" % code)
        return code

    def kill(self):
        """kill -9, by pid."""
        self.expected_end = "kill"
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    # -- looking at it ---------------------------------------------------------------------

    def log(self, this_run_only=False):
        with open(self.log_path, "rb") as f:
            f.seek(self._log_offset if this_run_only else 0)
            return f.read().decode("utf-8", "replace")

    def rss(self):
        """Resident bytes, from /proc/pid/status."""
        with open("/proc/%d/status" % self.pid, encoding="ascii") as f:
            return 1024 * int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))

    def faults(self):
        """What is wrong with how it ended or what it printed; '' when nothing."""
        if self.process is None:
            return ""
        code = self.process.poll()
        wrong = []
        if code is not None and self.expected_end is None:
            wrong.append("died by itself with status %d" % code)
        elif code is not None and self.expected_end == "stop" and code != 0:
            wrong.append("asked to stop, it ended with status %d" % code)
        with open(self.log_path, "rb") as f:
            report = SANITIZER.search(f.read())
        if report:
            wrong.append("printed a report: %s" % report.group(0).decode())
        return "; ".join(wrong)

    # -- talking to it ---------------------------------------------------------------------

    def connect(self, resp3=False, password=None, timeout=60.0):
        c = resp.Connection(self.address(), timeout=timeout * SLOWNESS)
        if password:
            c.ok("AUTH", password)
        if resp3:
            c.ok("HELLO", "3")
        return c

    def call(self, *args):
        """One command on a connection of its own."""
        with self.connect(password=self.options.get("requirepass")) as c:
            return c.call(*args)

    def info(self, section="everything"):
        text = self.call("INFO", section)
        pairs = (line.split(":", 1) for line in text.decode().split("\r\n") if ":" in line)
        return {name: value for name, value in pairs}


class Test:
    """What a test function gets: servers, a seeded random, a directory."""

    def __init__(self, name, seed, directory):
        self.name = name
        self.seed = seed
        self.random = random.Random("%s/%s" % (seed, name))
        self.dir = directory
        self.servers = []
        self.notes = []

    def _server(self, program, options, is_hearth, directory):
        n = len(self.servers)
        if directory is None:
            directory = os.path.join(self.dir, "%d-%s" % (n, "hearth" if is_hearth else "redis"))
        os.makedirs(directory, exist_ok=True)
        plain = {"port": free_port(), "bind": "127.0.0.1", "dir": directory}
        if is_hearth:
            plain.update({"admin-port": 0, "memory": "64mb", "warm-size": "256mb"})
        if os.path.basename(program).startswith("redis-server"):
            # As stand-in it must keep its data over a clean stop, as Hearth does.
            plain.update({"save": "3600 100000000" if is_hearth else "", "appendonly": "no"})
            plain["loglevel"] = "warning"
        plain.update({k.replace("_", "-"): v for k, v in options.items()})
        server = Server(program, directory, plain, is_hearth)
        self.servers.append(server)
        return server

    def new_hearth(self, directory=None, **options):
        """A server under test, not started yet."""
        return self._server(hearth_binary(), options, True, directory)

    def hearth(self, directory=None, **options):
        return self.new_hearth(directory, **options).start()

    def redis(self, **options):
        return self._server("/usr/bin/redis-server", options, False, None).start()

    def note(self, text):
        """A line printed beside the test's result."""
        self.notes.append(text)

    def needs_hearth(self):
        if self.stands_in():
            raise Skip("redis-server stands in for hearth-server")

    def stands_in(self):
        return os.path.basename(hearth_binary()).startswith("redis-server")

    def finish(self):
        """Stops what runs; returns the list of faults."""
        faults = []
        for server in self.servers:
            if server.is_running():
                try:
                    server.terminate()
                except AssertionError as error:
                    faults.append("%s: %s" % (os.path.basename(server.dir), error))
        for server in self.servers:
            fault = server.faults()
            if fault:
                faults.append("%s: %s" % (os.path.basename(server.dir), fault))
        return faults


def same(expected, got, what):
    """Fails with both sides shown."""
    if expected != got:
        raise AssertionError("%s\n  expected %s\n  got      %s" % (what, show(expected), show(got)))


def show(value, limit_chars=600):
    text = repr(value)
    if len(text) > limit_chars:
        text = text[: limit_chars // 2] + " ... " + text[-limit_chars // 2 :]
    return text
