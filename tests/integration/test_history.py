"""The value-history check (tests/history) against the server: 0 violations."""

import glob
import os
import re
import subprocess

import harness

N_OPS = os.environ.get("HEARTH_HISTORY_OPS", "1000000")


def checker():
    named = os.environ.get("HEARTH_HISTORY")
    found = [named] if named else glob.glob(os.path.join(harness.ROOT, "build/*/hearth-history"))
    if not found:
        raise harness.Skip("no hearth-history in build/*")
    return max(found, key=os.path.getmtime)


def check(t, server, *options, is_roomy=False):
    """is_roomy: everything fits into the hot tier, so no PROMOTE may be refused."""
    seed = str(t.random.randrange(1 << 31))
    command = [checker(), "--port", str(server.port), "--seed", seed, "--ops", N_OPS, "--flush"]
    command += ["--slack-ms", str(int(15 * harness.SLOWNESS)), *options]
    if not t.stands_in():
        command.append("--tiers")
    ended = subprocess.run(command, capture_output=True, check=False)
    text = (ended.stdout + ended.stderr).decode("utf-8", "replace")
    last = re.search(r"history: \d+ operations.*", text)
    t.note(last.group(0)[9:] if last else "no summary")
    if ended.returncode != 0 or (is_roomy and " 0 refused shifts" not in text):
        raise AssertionError("%s\nended with %d:\n%s" % (" ".join(command), ended.returncode,
                                                         text[-6000:]))  # fmt: skip


@harness.limit(600)
def test_all_hot(t):
    check(t, t.hearth(memory="512mb", warm_size="1gb"), "--keys", "20000", is_roomy=True)


@harness.limit(600)
def test_larger_than_memory(t):
    """Keys move between the tiers by themselves and by command."""
    check(t, t.hearth(memory="64mb", warm_size="2gb"), "--keys", "400000", "--zipf", "0.7")


@harness.limit(600)
def test_few_keys_one_by_one(t):
    """Many clients on few keys, small pipelines: races of promotion, demotion and writes."""
    server = t.hearth(memory="64mb", warm_size="1gb", threads=4)
    check(t, server, "--keys", "300", "--pipeline", "4", "--connections", "16", is_roomy=True)


@harness.limit(600)
def test_large_values(t):
    check(t, t.hearth(memory="128mb", warm_size="4gb"), "--keys", "2000", "--value-max", "1500000")


@harness.limit(600)
def test_tier_full(t):
    """A warm tier too small for the data: reclaim runs all the time; misses are allowed."""
    check(t, t.hearth(memory="64mb", warm_size="128mb"), "--keys", "600000", "--zipf", "0.6",
          "--cache")  # fmt: skip
