"""Starts the servers that are compared, on spare loopback ports, and ends them by their process id.

A Fleet owns every server it started and one temporary folder below build/; leaving it, also by
Ctrl-C or SIGTERM, stops the servers and removes the folder. Should this program itself be killed,
the kernel ends the servers with it.
"""

import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
START_SECONDS = 60
STOP_SECONDS = 120  # Hearth drains its hot tier to the device on a clean stop
PR_SET_PDEATHSIG = 1


class Missing(Exception):
    """A program is not there; the message says how to get it."""


def find_program(name, advice):
    """A program of ours (build/release, or named by HEARTH_SERVER, HEARTH_BENCH) or of the system."""
    named = os.environ.get(name.upper().replace("-", "_"))
    built = os.path.join(ROOT, "build", "release", name)
    path = named or (built if name.startswith("hearth") else shutil.which(name))
    if path and os.access(path, os.X_OK):
        return path
    raise Missing("%s is not there: %s" % (name, advice))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def _end_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def parse_size(text):
    """'64mb' in bytes, as Hearth's options take it."""
    units = {"kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30}
    text = text.lower()
    return int(float(text[:-2]) * units[text[-2:]]) if text[-2:] in units else int(text)


def format_size(n_bytes):
    for unit, size in (("gb", 1 << 30), ("mb", 1 << 20), ("kb", 1 << 10)):
        if n_bytes % size == 0:
            return "%d%s" % (n_bytes // size, unit)
    return str(n_bytes)


class Server:
    """One server process. Subclasses give name, protocol and command()."""

    name = ""
    protocol = "resp"

    def __init__(self, fleet, label=None):
        self.label = label or self.name
        self.dir = tempfile.mkdtemp(prefix=self.name + "-", dir=fleet.dir)
        self.port = free_port()
        self.process = None
        self.cgroup = None

    def command(self):
        raise NotImplementedError

    def version(self):
        raise NotImplementedError

    @property
    def pid(self):
        return self.process.pid

    @property
    def log_path(self):
        return os.path.join(self.dir, "server.log")

    def start(self):
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                self.command(),
                cwd=self.dir,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_end_with_parent,
                start_new_session=True,  # Ctrl-C reaches us; we stop the servers in order
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                with open(self.log_path, errors="replace") as log:
                    tail = log.read()[-2000:]
                raise RuntimeError(
                    "%s did not start: %s\n%s" % (self.label, " ".join(self.command()), tail)
                )
            time.sleep(0.05)
        return self

    def _answers(self):
        if self.protocol == "resp":
            ask, answer = b"PING\r\n", b"+PONG"
        else:
            ask, answer = b"version\r\n", b"VERSION"
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as s:
                s.sendall(ask)
                return s.recv(64).startswith(answer)
        except OSError:
            return False

    def stop(self):
        if self.process is not None:
            if self.process.poll() is None:
                self.process.terminate()
                try:
                    self.process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    self.process.kill()
                    self.process.wait()
            self.process = None
        if self.cgroup is not None:
            self.cgroup.remove()
            self.cgroup = None

    def ask(self, line):
        """Sends one line, returns what comes back until the end of a memcached list or a reply."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as s:
            s.sendall(line.encode() + b"\r\n")
            got = b""
            while not got.endswith((b"END\r\n", b"OK\r\n", b"RESET\r\n")):
                part = s.recv(65536)
                if not part:
                    break
                got += part
            return got.decode(errors="replace")


class Redis(Server):
    name = "redis"
    protocol = "resp"

    def __init__(self, fleet, label=None):
        self.program = find_program("redis-server", "apt-get install redis-server")
        super().__init__(fleet, label)

    def command(self):
        return [self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.dir,
                "--save", "", "--appendonly", "no"]  # fmt: skip

    def version(self):
        text = subprocess.run([self.program, "--version"], capture_output=True, text=True).stdout
        return "Redis " + text.split("v=")[1].split()[0]


class Memcached(Server):
    name = "memcached"
    # its meta commands: it answers a pipeline of `mg` with one system call, of `get` with one each
    protocol = "meta"

    def __init__(self, fleet, memory, threads=1, flash_bytes=0, label=None):
        self.program = find_program("memcached", "apt-get install memcached")
        self.memory = memory
        self.threads = threads
        self.flash_bytes = flash_bytes
        super().__init__(fleet, label)

    def command(self):
        line = [self.program, "-l", "127.0.0.1", "-p", str(self.port), "-U", "0",
                "-m", str(self.memory >> 20), "-t", str(self.threads), "-c", "4096"]  # fmt: skip
        if os.geteuid() == 0:
            line += ["-u", "root"]  # it must write into our folder
        if self.flash_bytes:
            gigabytes = -(-self.flash_bytes // (1 << 30))
            line += ["-o", "ext_path=%s/flash:%dG" % (self.dir, gigabytes)]
        return line

    def version(self):
        text = subprocess.run([self.program, "-V"], capture_output=True, text=True).stdout
        return text.strip()

    def stats(self):
        words = (line.split() for line in self.ask("stats").splitlines())
        return {w[1]: float(w[2]) for w in words if len(w) == 3 and _is_number(w[2])}


class Hearth(Server):
    name = "hearth"
    protocol = "resp"

    def __init__(self, fleet, memory, warm_bytes, threads=1, label=None):
        self.program = find_program("hearth-server", "run tools/build")
        self.memory = memory
        self.warm_bytes = warm_bytes
        self.threads = threads
        self.admin_port = free_port()
        super().__init__(fleet, label)

    def command(self):
        return [self.program, "--port", str(self.port), "--bind", "127.0.0.1",
                "--admin-port", str(self.admin_port), "--dir", os.path.join(self.dir, "data"),
                "--memory", str(self.memory), "--warm-size", str(self.warm_bytes),
                "--threads", str(self.threads)]  # fmt: skip

    def version(self):
        text = subprocess.run([self.program, "--version"], capture_output=True, text=True).stdout
        number = re.search(r"\d+(\.\d+)+", text)
        return "Hearth " + (number.group() if number else "?")

    def metrics(self):
        return read_metrics("127.0.0.1", self.admin_port)


def _is_number(text):
    try:
        float(text)
        return True
    except ValueError:
        return False


def read_metrics(host, admin_port):
    """GET /metrics as {'name{label="x"}': value}."""
    with urllib.request.urlopen("http://%s:%d/metrics" % (host, admin_port), timeout=10) as reply:
        text = reply.read().decode()
    values = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition("} ") if "{" in line else line.partition(" ")
            name += "}" if "{" in line else ""
            values[name] = float(value.split()[0])
    return values


class Cgroup:
    """A memory limit that counts the page cache, so that a server which reads its flash tier through
    it does not get the whole machine's RAM for free. Version 1 of cgroups, as root; else None."""

    BASE = "/sys/fs/cgroup/memory"

    def __init__(self, path):
        self.path = path

    @classmethod
    def create(cls, name, limit_bytes):
        path = os.path.join(cls.BASE, name)
        try:
            if not os.path.exists(os.path.join(cls.BASE, "memory.limit_in_bytes")):
                return None
            os.mkdir(path)
            group = cls(path)
            group._write("memory.limit_in_bytes", limit_bytes)
            return group
        except OSError:
            return None

    def _write(self, name, value):
        with open(os.path.join(self.path, name), "w") as f:
            f.write(str(value))

    def add(self, pid):
        self._write("cgroup.procs", pid)

    def remove(self):
        for _ in range(50):
            try:
                os.rmdir(self.path)
                return
            except OSError:
                time.sleep(0.1)


class Fleet:
    """with Fleet() as fleet: fleet.start(Redis(fleet)) ..."""

    def __init__(self, parent=None):
        self.parent = parent or os.path.join(ROOT, "build", "bench")
        self.servers = []
        self.dir = None

    def __enter__(self):
        os.makedirs(self.parent, exist_ok=True)
        self.dir = tempfile.mkdtemp(prefix="data-", dir=self.parent)
        return self

    def start(self, server):
        self.servers.append(server)
        return server.start()

    def stop(self, server):
        server.stop()
        self.servers.remove(server)
        shutil.rmtree(server.dir, ignore_errors=True)

    def __exit__(self, *_):
        old = {s: signal.signal(s, signal.SIG_IGN) for s in (signal.SIGINT, signal.SIGTERM)}
        for server in reversed(self.servers):
            server.stop()
        shutil.rmtree(self.dir, ignore_errors=True)
        for number, handler in old.items():
            signal.signal(number, handler)


def exit_on_sigterm():
    """SIGTERM unwinds the stack as Ctrl-C does, so that fleets are taken down."""

    def handler(number, frame):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, handler)
