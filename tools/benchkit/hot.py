"""hot: everything in RAM. What does one GET, one SET cost the server, by pipeline depth?

All servers run and are loaded once; then, round by round, each workload visits each server in turn,
so that whatever else the machine does meets all of them alike. Medians over the rounds.
"""

import statistics

from . import chart, load, results, servers

N_KEYS = 1_000_000
VALUE_BYTES = 100
PIPELINES = (1, 16, 64)
MEMORY = 1 << 30  # ample: nothing is evicted


def start_all(fleet, wanted, threads):
    made = []
    if "redis" in wanted:
        made.append(servers.Redis(fleet, "Redis"))
    if "memcached" in wanted:
        made.append(servers.Memcached(fleet, MEMORY, threads, label="memcached"))
    if "hearth" in wanted:
        made.append(servers.Hearth(fleet, MEMORY, 1 << 30, threads, label="Hearth"))
    return [fleet.start(server) for server in made]


def run(options, say):
    workloads = [(op, p) for p in PIPELINES for op in ("GET", "SET")]
    found = {}  # (server, op, pipeline) -> [result]
    with servers.Fleet() as fleet:
        fleet_servers = start_all(fleet, options.servers, options.threads)
        versions = [server.version() for server in fleet_servers]
        for server in fleet_servers:
            say("loading %s" % server.label)
            load.run(server, "--load", keys=N_KEYS, value_size=VALUE_BYTES, pipeline=16)
        for round_number in range(options.rounds):
            for op, pipeline in workloads:
                for server in fleet_servers:
                    result = load.run(
                        server, keys=N_KEYS, value_size=VALUE_BYTES, pipeline=pipeline,
                        connections=50, reads=100 if op == "GET" else 0,
                        seconds=options.seconds, warmup=0.5)  # fmt: skip
                    found.setdefault((server.label, op, pipeline), []).append(result)
                    say("round %d: %s P%d %-10s %6.2f µs/op %8.0f op/s" % (
                        round_number + 1, op, pipeline, server.label,
                        result["server"]["cpu_us_per_op"], result["ops_per_second"]))  # fmt: skip
        labels = [server.label for server in fleet_servers]
    return report(labels, versions, workloads, found, options)


def median_of(found, key, pick):
    return statistics.median(pick(r) for r in found[key])


def report(labels, versions, workloads, found, options):
    def cpu(label, op, p):
        return median_of(found, (label, op, p), lambda r: r["server"]["cpu_us_per_op"])

    def rate(label, op, p):
        return median_of(found, (label, op, p), lambda r: r["ops_per_second"])

    header = ["Server CPU µs per operation (op/s)"] + ["%s P%d" % w for w in workloads]
    rows = []
    for label in labels:
        cells = ["%.2f (%.0f K)" % (cpu(label, *w), rate(label, *w) / 1000) for w in workloads]
        rows.append([label] + cells)
    settings = "%d B values, 1 M keys, uniform, 50 connections, %d server thread%s" % (
        VALUE_BYTES, options.threads, "" if options.threads == 1 else "s")  # fmt: skip
    how = "%s of %g s" % (results.rounds(options), options.seconds)
    markdown = (
        "## Hot: everything in RAM\n\n%s\nP is the pipeline depth. %s; %s, taken in turn. memcached is "
        "asked with `mg` and `ms`, which it answers in batches, as it does not `get`.\n\n%s; %s.\n"
    ) % (results.table(header, rows), settings, how, ", ".join(versions), results.machine())
    panels = [
        ("%s, pipeline %d" % (op, p), [(label, cpu(label, op, p)) for label in labels])
        for op, p in workloads
    ]
    svg = chart.bars(
        "Server CPU per operation, µs (less is better)", settings + "; " + how, panels
    )
    raw = {"%s %s P%d" % key: rounds for key, rounds in found.items()}
    return "hot", markdown, {"hot.svg": svg}, raw
