"""Where results go: a folder with Markdown, SVG and the raw numbers as JSON."""

import datetime
import json
import os
import platform
import shutil

from . import servers

DEFAULT_DIR = os.path.join(servers.ROOT, "build", "bench")
PUBLISHED_DIR = os.path.join(servers.ROOT, "tools", "bench-results")


def machine():
    model = "?"
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    with open("/proc/meminfo") as f:
        memory_kib = int(f.readline().split()[1])
    return "%s, %d cores, %.0f GB, Linux %s, %s" % (
        model, os.cpu_count(), memory_kib / 1e6, platform.release(), datetime.date.today())  # fmt: skip


def table(header, rows):
    """A Markdown table; None is a dash."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for row in rows:
        lines.append("| " + " | ".join("–" if cell is None else str(cell) for cell in row) + " |")
    return "\n".join(lines) + "\n"


def rounds(options):
    return "median of %d rounds" % options.rounds if options.rounds > 1 else "one round"


class Results:
    def __init__(self, directory, is_published):
        self.dir = directory
        self.is_published = is_published
        os.makedirs(directory, exist_ok=True)

    def write(self, name, markdown, charts, raw):
        """charts: {file name: svg}. Returns the paths."""
        files = dict(charts)
        files[name + ".md"] = markdown
        files[name + ".json"] = json.dumps(raw, indent=1) + "\n"
        paths = []
        for file, text in files.items():
            paths.append(os.path.join(self.dir, file))
            with open(paths[-1], "w") as f:
                f.write(text)
            if self.is_published and not file.endswith(".json"):
                os.makedirs(PUBLISHED_DIR, exist_ok=True)
                shutil.copy(paths[-1], PUBLISHED_DIR)
        return paths
