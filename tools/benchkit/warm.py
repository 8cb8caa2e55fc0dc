"""warm: ten times more data than RAM. What does a read cost that has to go to the device, how often
does it, what is written there, and does the RAM limit hold?

For each memory limit, Hearth and memcached with its flash tier (ext_path) are loaded with the same
values, 1 KB each, half compressible; then, in turn, uniform reads and Zipf reads. memcached reads its
flash file through the page cache, so where the machine lets us it runs in a cgroup that counts it.
"""

import shutil
import statistics
import time

from . import chart, load, results, servers

VALUE_BYTES = 1024
DATA_FACTOR = 10
CONNECTIONS = 32
VALUES = {"value_size": VALUE_BYTES, "compressible": 0.5}
PHASES = (("uniform", {}), ("zipf", {"theta": 0.99}))

READS = 'hearth_device_operations_total{op="read"}'
WARM_HITS = 'hearth_tier_hits_total{tier="warm"}'
INDEX_BYTES = 'hearth_memory_bytes{class="warm_index"}'
WARM_ITEMS = 'hearth_tier_items{tier="warm"}'
WARM_BYTES = 'hearth_tier_used_bytes{tier="warm"}'


class Subject:
    """A server under this test, with the counters it has its own names for."""

    def __init__(self, server, memory):
        self.server = server
        self.memory = memory
        self.load = None
        self.reads = {}  # distribution -> [row]
        self.sampler = load.RssSampler(server.pid)

    def counters(self):
        read_bytes, written_bytes = load.device_bytes(self.server.pid)
        if self.server.name == "hearth":
            metrics = self.server.metrics()
            device_reads, warm_hits = metrics.get(READS), metrics.get(WARM_HITS)
        else:
            stats = self.server.stats()
            device_reads = warm_hits = stats.get("get_extstore")
        return {"read_bytes": read_bytes, "written_bytes": written_bytes,
                "reads": device_reads, "warm_hits": warm_hits}  # fmt: skip

    def index_bytes_per_key(self):
        if self.server.name != "hearth":
            return None
        metrics = self.server.metrics()
        items = metrics.get(WARM_ITEMS, 0)
        return metrics.get(INDEX_BYTES, 0) / items if items else None

    def measure(self, **named):
        """One run of hearth-bench with what the counters grew by meanwhile."""
        before = self.counters()
        result = load.run(self.server, **named)
        after = self.counters()
        result["delta"] = {
            name: None if after[name] is None or before[name] is None else after[name] - before[name]
            for name in before
        }
        return result


def settle(subject, say):
    """Waits until the server stops writing: the load's tail must not be charged to the reads."""
    last = None
    for _ in range(60):
        now = load.device_bytes(subject.server.pid)[1]
        if now == last:
            return
        last = now
        time.sleep(1)
    say("%s still writes after a minute" % subject.server.label)


def limit_page_cache(server, memory):
    """True where the cgroup could be made. The head-room is for the process' own code and buffers."""
    server.cgroup = servers.Cgroup.create(
        "hearth-bench-%d" % server.pid, memory + max(memory // 2, 64 << 20)
    )
    if server.cgroup:
        server.cgroup.add(server.pid)
    return server.cgroup is not None


def make_servers(fleet, memory, data_bytes, options, notes):
    made = []
    warm_bytes = 2 * data_bytes + (1 << 30)
    if "memcached" in options.servers:
        server = fleet.start(
            servers.Memcached(fleet, memory, options.threads, warm_bytes, "memcached extstore")
        )
        if not limit_page_cache(server, memory):
            notes.add("memcached's page cache could not be limited (needs root and cgroup v1), "
                      "so its reads are served from the machine's free RAM.")  # fmt: skip
        made.append(server)
    if "hearth" in options.servers:
        made.append(fleet.start(servers.Hearth(fleet, memory, warm_bytes, options.threads, "Hearth")))
    return made


def run_one(memory, options, say, notes):
    """All subjects with one memory limit."""
    n_keys = DATA_FACTOR * memory // VALUE_BYTES
    need = 5 * DATA_FACTOR * memory
    if shutil.disk_usage(servers.ROOT).free < need:
        say("memory %s left out: %d GB of free disk are needed" % (
            servers.format_size(memory), need >> 30))  # fmt: skip
        return []
    with servers.Fleet() as fleet:
        made = make_servers(fleet, memory, DATA_FACTOR * memory, options, notes)
        subjects = [Subject(server, memory) for server in made]
        for subject in subjects:
            with subject.sampler:
                measure_one_load(subject, n_keys, say)
                settle(subject, say)
        for distribution, named in PHASES:
            for round_number in range(options.rounds):
                for subject in subjects:
                    measure_reads(subject, n_keys, distribution, named, round_number, options, say)
        for subject in subjects:
            subject.index_bytes = subject.index_bytes_per_key()
            subject.label = subject.server.label
            subject.version = subject.server.version()
    return subjects


def measure_one_load(subject, n_keys, say):
    subject.load = subject.measure(
        load=True, keys=n_keys, connections=CONNECTIONS, pipeline=16, **VALUES
    )
    result = subject.load
    say("%-18s %s loaded: %.1f µs/op, %.2f device bytes per value byte, errors %d" % (
        subject.server.label, servers.format_size(subject.memory),
        result["server"]["cpu_us_per_op"],
        result["delta"]["written_bytes"] / max(1, result["value_bytes_written"]),
        result["errors"]))  # fmt: skip


def measure_reads(subject, n_keys, distribution, named, round_number, options, say):
    # Zipf's first round lets the server find its hot set before anything is measured
    is_first = round_number == 0 and distribution == "zipf"
    sampler = load.RssSampler(subject.server.pid)
    with sampler:
        if is_first:
            load.run(subject.server, distribution=distribution, keys=n_keys, reads=100,
                     connections=CONNECTIONS, seconds=4 * options.seconds, **named, **VALUES)  # fmt: skip
        result = subject.measure(
            distribution=distribution, keys=n_keys, reads=100, connections=CONNECTIONS,
            seconds=options.seconds, **named, **VALUES)  # fmt: skip
    offset = subject.sampler.samples[-1][0] if subject.sampler.samples else 0
    subject.sampler.samples += [(offset + t, b) for t, b in sampler.samples]
    gets = max(1, result["gets"])
    delta = result["delta"]
    row = {
        "cpu": result["server"]["cpu_us_per_op"],
        "rate": result["ops_per_second"],
        "p50": result["latency_us"]["get"]["p50"],
        "p99": result["latency_us"]["get"]["p99"],
        "hits": result["hit_ratio"],
        "cpu_per_hit": result["server"]["cpu_us_per_op"] / max(result["hit_ratio"], 1e-9),
        "reads": None if delta["reads"] is None else delta["reads"] / gets,
        "per_warm_hit": delta["reads"] / delta["warm_hits"] if delta["warm_hits"] else None,
        "read_bytes": delta["read_bytes"] / gets,
    }
    subject.reads.setdefault(distribution, []).append(row)
    say("%-18s %s %-8s %6.1f µs/op %8.0f op/s, hits %.3f, device reads per GET %s" % (
        subject.server.label, servers.format_size(subject.memory), distribution, row["cpu"],
        row["rate"], row["hits"], "?" if row["reads"] is None else "%.3f" % row["reads"]))  # fmt: skip


def middle(subject, distribution, name):
    values = [row[name] for row in subject.reads[distribution] if row[name] is not None]
    return statistics.median(values) if values else None


def show(value, form):
    return None if value is None else form % value


def read_table(subjects, distribution):
    header = ["%s reads" % distribution.capitalize(), "hit ratio", "CPU µs per GET", "per hit",
              "GET/s", "p50 / p99 µs", "device reads per GET", "per warm hit",
              "device KiB per GET"]  # fmt: skip
    rows = []
    for s in subjects:
        rows.append([
            "%s, %s" % (s.label, servers.format_size(s.memory)),
            show(middle(s, distribution, "hits"), "%.3f"),
            show(middle(s, distribution, "cpu"), "%.1f"),
            show(middle(s, distribution, "cpu_per_hit"), "%.1f"),
            show(middle(s, distribution, "rate"), "%.0f"),
            "%.0f / %.0f" % (middle(s, distribution, "p50"), middle(s, distribution, "p99")),
            show(middle(s, distribution, "reads"), "%.3f"),
            show(middle(s, distribution, "per_warm_hit"), "%.3f"),
            show(middle(s, distribution, "read_bytes") / 1024, "%.1f"),
        ])  # fmt: skip
    return results.table(header, rows)


def load_table(subjects):
    header = ["Loading, and memory", "CPU µs per SET", "SET/s",
              "device bytes written per value byte", "index RAM per cold key, B",
              "VmRSS / memory: mean", "max"]  # fmt: skip
    rows = []
    for s in subjects:
        rows.append([
            "%s, %s" % (s.label, servers.format_size(s.memory)),
            "%.1f" % s.load["server"]["cpu_us_per_op"],
            "%.0f" % s.load["ops_per_second"],
            "%.2f" % (s.load["delta"]["written_bytes"] / max(1, s.load["value_bytes_written"])),
            show(s.index_bytes, "%.1f"),
            "%.3f" % (s.sampler.mean() / s.memory),
            "%.3f" % (s.sampler.maximum() / s.memory),
        ])  # fmt: skip
    return results.table(header, rows)


def report(subjects, notes, options):
    settings = "%d-byte values, half compressible, %d times `memory`; %d connections, pipeline 1" % (
        VALUE_BYTES, DATA_FACTOR, CONNECTIONS)  # fmt: skip
    how = "%s of %g s, taken in turn" % (results.rounds(options), options.seconds)
    versions = dict.fromkeys(s.version for s in subjects)
    markdown = (
        "## Warm: ten times more data than RAM\n\n%s\n%s\n%s\n%s; %s. A server that has dropped a "
        "value answers a miss, which is cheap: compare costs per hit.%s\n\n%s; %s.\n"
    ) % (
        load_table(subjects), read_table(subjects, "uniform"), read_table(subjects, "zipf"),
        settings, how, "".join("\n" + n for n in sorted(notes)), ", ".join(versions),
        results.machine())  # fmt: skip
    names = ["%s, %s" % (s.label, servers.format_size(s.memory)) for s in subjects]
    panels = []
    for distribution, _ in PHASES:
        for name, heading in (("hits", "hit ratio"), ("cpu_per_hit", "server CPU µs per hit")):
            values = [(n, middle(s, distribution, name)) for n, s in zip(names, subjects)]
            panels.append(("%s: %s" % (distribution.capitalize(), heading), values))
    svg = chart.bars("Reading ten times more data than RAM", settings, panels)
    series = [(n, [(t, b / s.memory) for t, b in s.sampler.samples]) for n, s in zip(names, subjects)]
    rss = chart.lines("VmRSS against the limit", "While loading, then uniform and Zipf reads",
                      series, "VmRSS / memory", (1.0, "memory"))  # fmt: skip
    raw = [{"name": n, "load": s.load, "reads": s.reads, "rss": s.sampler.samples}
           for n, s in zip(names, subjects)]  # fmt: skip
    return "warm", markdown, {"warm.svg": svg, "warm-rss.svg": rss}, raw


def run(options, say):
    notes = set()
    subjects = []
    for memory in options.memory:
        subjects += run_one(memory, options, say, notes)
    if not subjects:
        raise load.LoadFailed("warm: nothing could be measured")
    return report(subjects, notes, options)
