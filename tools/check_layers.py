#!/usr/bin/env python3
"""Checks the rules of the code's layers; style.md, section 1, states them.

usage: tools/check_layers.py [top]      exit status 1 and one line per breach if there is one

  - a source file includes only what its layer may see, by the full path from the top
  - each outside library is included by its owner only
  - the top level holds exactly the known folders and files
  - no source file is longer than MAX_LINES
"""

import os
import re
import subprocess
import sys

MAX_LINES = 999

# Layer -> layers whose headers it may include. The order matters: the longest folder wins.
LAYERS = {
    "engine/base": {"engine/base"},
    "tiers": {"engine/base", "tiers"},
    "engine": {"engine/base", "tiers", "engine"},
    "net": {"engine/base", "net"},
    "admin": {"engine/base", "admin"},
    "tools": {"engine/base", "tiers", "engine", "net", "admin", "tools"},
    "tests": {"engine/base", "tiers", "engine", "net", "admin", "tools", "tests"},
}
# Of engine, net and admin see the public headers only.
ENGINE_PUBLIC = re.compile(r"engine/(engine|api_[a-z0-9_]+)\.h$")
SEES_ENGINE_PUBLIC = {"net", "admin"}
# Below the layer of a unit test: a test sees its own layer and what that one sees.
UNIT_TESTS = re.compile(r"tests/unit/(base|tiers|engine|net|admin|tools)/")

# Header -> where it may be included. tools/ and tests/ see everything.
OWNERS = [
    (re.compile(r"libaio\.h$"), "libaio", re.compile(r"tiers/aio\.c$")),
    (re.compile(r"rocksdb/"), "RocksDB", re.compile(r"tiers/rocks\.c$")),
    (re.compile(r"(zstd|zdict|zstd_errors)\.h$"), "zstd", re.compile(r"tiers/codec\.c$")),
    (re.compile(r"(event2/http|evhttp)"), "evhttp", re.compile(r"admin/http\.c$")),
    (re.compile(r"(event2/|event\.h$|evutil\.h$)"), "libevent",
     re.compile(r"(net/[^/]+\.[ch]|admin/http\.c)$")),
    (re.compile(r"openssl/"), "OpenSSL", re.compile(r"net/tls\.c$")),
    (re.compile(r"jansson\.h$"), "jansson", re.compile(r"admin/[^/]+\.[ch]$")),
    (re.compile(r"jemalloc/"), "jemalloc", re.compile(r"engine/base/mem\.c$")),
]
FREE_OF_OWNERS = {"tools", "tests"}

TOP_FOLDERS = {"engine", "tiers", "net", "admin", "tests", "tools"}
TOP_FILES = {"CMakeLists.txt", "CMakePresets.json", "README.md", "LICENSE", "CHANGELOG.md"}

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]')
SOURCE = (".c", ".h", ".S", ".def")
LIMITED = (".c", ".h", ".S", ".py", ".js", ".css", ".html", ".sh")


def layer_of(path):
    fitting = [layer for layer in LAYERS if path.startswith(layer + "/")]
    return max(fitting, key=len) if fitting else None


def viewpoint(path):
    """The layer by whose rules path includes, and what it may see beyond them."""
    unit = UNIT_TESTS.match(path)
    if unit is None:
        return layer_of(path), set()
    tested = "engine/base" if unit.group(1) == "base" else unit.group(1)
    return tested, {"tests"}


def check_include(path, quote, header, files):
    """Why path must not include header; None if it may."""
    layer = layer_of(path)
    if layer is None:
        return None
    for pattern, library, owner in OWNERS:
        if pattern.match(header) and quote == "<":
            if layer not in FREE_OF_OWNERS and not owner.match(path):
                return "%s is owned by %s" % (library, owner.pattern.replace("\\", ""))
            return None
    beside = os.path.normpath(os.path.join(os.path.dirname(path), header))
    if quote == '"' and header not in files and beside in files:
        return 'write "%s", the path from the top' % beside
    target = layer_of(header)
    if target is None:
        return None
    viewer, more = viewpoint(path)
    if target in LAYERS[viewer] | more:
        return None
    if target == "engine" and viewer in SEES_ENGINE_PUBLIC:
        if ENGINE_PUBLIC.match(header):
            return None
        return "of engine, %s sees engine.h and api_*.h only" % viewer
    return "%s may not know %s" % (viewer, target)


def check_top(names):
    for name in sorted(names):
        if name.startswith(".") or name in TOP_FOLDERS or name in TOP_FILES:
            continue
        yield "%s: does not belong to the top level" % name


def check_file(top, path, files):
    with open(os.path.join(top, path), encoding="utf-8", errors="replace") as source:
        lines = source.read().splitlines()
    if path.endswith(SOURCE):
        for number, line in enumerate(lines, 1):
            include = INCLUDE.match(line)
            why = include and check_include(path, include.group(1), include.group(2), files)
            if why:
                yield "%s:%d: includes %s: %s" % (path, number, include.group(2), why)
    if path.endswith(LIMITED) and len(lines) > MAX_LINES:
        yield "%s: %d lines, more than %d" % (path, len(lines), MAX_LINES)


def list_files(top):
    """What git would commit: tracked files and new ones that are not ignored."""
    command = ["git", "-C", top, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, check=True, capture_output=True).stdout.decode()
        paths = listed.split("\0")
    except (OSError, subprocess.CalledProcessError):  # not a checkout: a tarball
        paths = walk_files(top)
    return {p for p in paths if p and os.path.isfile(os.path.join(top, p))}


def walk_files(top):
    for folder, folders, names in os.walk(top):
        inside = os.path.relpath(folder, top)
        if inside == ".":
            folders[:] = [f for f in folders if not f.startswith(".") and f != "build"]
        for name in names:
            yield os.path.normpath(os.path.join(inside, name))


def check_tree(top):
    files = list_files(top)
    breaches = list(check_top({path.split("/")[0] for path in files}))
    for path in sorted(files):
        breaches.extend(check_file(top, path, files))
    return breaches


def main():
    default = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
    breaches = check_tree(sys.argv[1] if len(sys.argv) > 1 else default)
    for breach in breaches:
        print(breach)
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
