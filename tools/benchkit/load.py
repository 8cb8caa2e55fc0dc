"""Runs hearth-bench and reads what a process costs from /proc."""

import json
import subprocess
import threading
import time

from . import servers


class LoadFailed(Exception):
    """hearth-bench could not run."""


class WrongValues(LoadFailed):
    """It ran, and the server gave back values that are not what was stored."""


def run(server, *options, **named):
    """hearth-bench against `server`; named options in Python's spelling. Returns its JSON."""
    program = servers.find_program("hearth-bench", "run tools/build")
    line = [program, "--protocol", server.protocol, "--port", str(server.port), "--json", "--quiet"]
    if server.process is not None:
        line += ["--server-pid", str(server.pid)]
    line += options
    for name, value in named.items():
        line.append("--" + name.replace("_", "-"))
        line += [] if value is True else [str(value)]
    done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode not in (0, 1) or not done.stdout:
        raise LoadFailed("%s\n%s" % (" ".join(line), done.stderr.strip()))
    result = json.loads(done.stdout)
    for kind in ("wrong", "stale"):
        if result[kind]:
            raise WrongValues("%s: %d %s values: %s"
                             % (server.label, result[kind], kind, result["first_" + kind]))  # fmt: skip
    return result


def rss_bytes(pid):
    with open("/proc/%d/status" % pid) as f:
        for line in f:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    return 0


def device_bytes(pid):
    """(read, written) by the process on block devices, page cache hits left out."""
    values = {}
    with open("/proc/%d/io" % pid) as f:
        for line in f:
            name, value = line.split(": ")
            values[name] = int(value)
    return values["read_bytes"], values["write_bytes"] - values["cancelled_write_bytes"]


class RssSampler:
    """with RssSampler(pid) as s: ...; s.samples is [(seconds, bytes)], s.mark(text) names moments."""

    def __init__(self, pid, interval=0.2):
        self.pid = pid
        self.interval = interval
        self.samples = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        start = time.monotonic()
        while not self._stop.wait(self.interval):
            try:
                self.samples.append((time.monotonic() - start, rss_bytes(self.pid)))
            except OSError:
                return

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def maximum(self):
        return max((b for _, b in self.samples), default=0)

    def mean(self):
        return sum(b for _, b in self.samples) / max(1, len(self.samples))
