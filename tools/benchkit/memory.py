"""memory: how much RAM does an item take beyond its key and value?

Each server is started empty for each value size; what its VmRSS grows by while a million items are
loaded, divided by their number, less key and value, is the answer. No tier below RAM.
"""

import statistics
import time

from . import chart, load, results, servers

KEY_BYTES = 16
# The last evens out how well single sizes happen to fit an allocator's size classes.
VALUE_SIZES = ("32", "100", "1000", "100:2000")
MEMORY = 4 << 30


def make(name, fleet, threads):
    if name == "redis":
        return servers.Redis(fleet, "Redis")
    if name == "memcached":
        return servers.Memcached(fleet, MEMORY, threads, label="memcached")
    return servers.Hearth(fleet, MEMORY, 0, threads, label="Hearth")


def overhead(name, fleet, n_keys, value_size, threads):
    """(label, version, bytes of RAM per item beyond key and value)."""
    server = fleet.start(make(name, fleet, threads))
    try:
        time.sleep(0.5)
        before = load.rss_bytes(server.pid)
        done = load.run(server, "--load", keys=n_keys, value_size=value_size, pipeline=16)
        if done["errors"]:
            raise load.LoadFailed("%s: %s" % (server.label, done["first_errors"]))
        time.sleep(0.5)
        grown = load.rss_bytes(server.pid) - before
        value_bytes = done["value_bytes_written"] / n_keys
        return server.label, server.version(), grown / n_keys - KEY_BYTES - value_bytes
    finally:
        fleet.stop(server)


def run(options, say):
    n_keys = 200_000 if options.quick else 1_000_000
    found = {}  # (label, size) -> [bytes]
    versions = {}
    with servers.Fleet() as fleet:
        for _ in range(options.rounds):
            for size in VALUE_SIZES:
                for name in options.servers:
                    label, version, extra = overhead(name, fleet, n_keys, size, options.threads)
                    versions[label] = version
                    found.setdefault((label, size), []).append(extra)
                    say("%-10s %8s B values: %.0f B beyond key and value" % (label, size, extra))
    labels = list(versions)

    def middle(label, size):
        return statistics.median(found[label, size])

    rows = [[label] + ["%.0f" % middle(label, size) for size in VALUE_SIZES] for label in labels]
    header = ["RAM per item beyond key + value, bytes"] + ["%s B values" % s for s in VALUE_SIZES]
    how = "VmRSS grown per item, %d keys of %d B; %s" % (
        n_keys, KEY_BYTES, results.rounds(options))  # fmt: skip
    markdown = "## Memory: what an item costs in RAM\n\n%s\n%s.\n\n%s; %s.\n" % (
        results.table(header, rows), how, ", ".join(versions.values()), results.machine())  # fmt: skip
    panels = [
        ("%s B values" % size, [(label, max(0, middle(label, size))) for label in labels])
        for size in VALUE_SIZES
    ]
    svg = chart.bars("RAM per item beyond key and value, bytes (less is better)", how, panels)
    raw = {"%s %s" % key: values for key, values in found.items()}
    return "memory", markdown, {"memory.svg": svg}, raw
