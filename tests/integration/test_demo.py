"""tools/demo on real data: twice `memory` of Debian's package index, then some of a real trace."""

import os
import subprocess
import sys

import harness
from harness import Skip, limit

MISSING = 2  # the demo's status when something outside it is not there


@limit(400)
def test_every_byte_comes_back(t):
    t.needs_hearth()
    server = harness.hearth_binary()
    env = dict(os.environ, HEARTH_SERVER=server)
    env.setdefault("HEARTH_BENCH", os.path.join(os.path.dirname(server), "hearth-bench"))
    demo = os.path.join(harness.ROOT, "tools", "demo")
    done = subprocess.run([sys.executable, demo, "--quick"], env=env, capture_output=True, text=True)
    if done.returncode == MISSING and ("apt" in done.stderr or "hearth-bench" in done.stderr):
        raise Skip(done.stderr.strip())
    for line in done.stdout.splitlines():
        t.note(line)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Every byte came back." in done.stdout, done.stdout
    assert "from NVMe" in done.stdout, done.stdout
