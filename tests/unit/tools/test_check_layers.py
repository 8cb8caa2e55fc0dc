#!/usr/bin/env python3
"""tools/check_layers.py on trees that keep its rules and trees that break them, one at a time."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), *[".."] * 3))
SCRIPT = os.path.join(TOP, "tools", "check_layers.py")

# A tree that keeps every rule, each permission used.
GOOD = {
    "CMakeLists.txt": "",
    "CMakePresets.json": "",
    "README.md": "",
    "LICENSE": "",
    "CHANGELOG.md": "",
    ".gitignore": "",
    "engine/base/log.h": "",
    "engine/base/log.c": '#include "engine/base/log.h"\n#include <stdio.h>\n',
    "engine/engine.h": '#include "engine/base/log.h"\n',
    "engine/api_control.h": '#include "engine/engine.h"\n',
    "engine/shard.h": "",
    "engine/policy/tinylfu.h": "",
    "engine/shard.c": '#include "engine/shard.h"\n#include "engine/policy/tinylfu.h"\n'
                      '#include "tiers/aio.h"\n',
    "tiers/aio.h": "",
    "tiers/aio.c": '#include "tiers/aio.h"\n#include "engine/base/log.h"\n#include <libaio.h>\n',
    "tiers/rocks.c": "#include <rocksdb/c.h>\n",
    "tiers/codec.c": "#include <zstd.h>\n#include <zdict.h>\n",
    "net/loop.h": "#include <event2/event.h>\n",
    "net/loop.c": '#include "net/loop.h"\n#include "engine/engine.h"\n'
                  '#include "engine/api_control.h"\n#include "engine/base/log.h"\n',
    "net/tls.c": "#include <openssl/ssl.h>\n",
    "admin/http.c": '#include <event2/http.h>\n#include <event2/event.h>\n#include <jansson.h>\n'
                    '#include "engine/api_control.h"\n',
    "tools/hearth-server/main.c": '#include "net/loop.h"\n#include "tiers/aio.h"\n'
                                  '#include "engine/shard.h"\n#include <zstd.h>\n',
    "tests/support/unit.h": "",
    "tests/unit/base/test_log.c": '#include "engine/base/log.h"\n'
                                  '#include "tests/support/unit.h"\n',
    "tests/unit/net/test_loop.c": '#include "net/loop.h"\n#include "engine/engine.h"\n',
    "tests/fuzz/fuzz_all.c": '#include "net/loop.h"\n#include "engine/shard.h"\n',
}


def run(files):
    with tempfile.TemporaryDirectory() as top:
        for path, content in files.items():
            full = os.path.join(top, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "w", encoding="utf-8") as out:
                out.write(content)
        done = subprocess.run([sys.executable, SCRIPT, top], capture_output=True, text=True)
    return done.returncode, done.stdout.splitlines(), done.stderr


class CheckLayers(unittest.TestCase):
    def accepts(self, **changes):
        code, lines, errors = run({**GOOD, **changes.get("files", {})})
        self.assertEqual((code, lines, errors), (0, [], ""))

    def refuses(self, path, content, wanted):
        code, lines, errors = run({**GOOD, path: content})
        self.assertEqual((code, len(lines), errors), (1, 1, ""), lines)
        self.assertTrue(lines[0].startswith(path), lines[0])
        self.assertIn(wanted, lines[0])

    def test_a_good_tree(self):
        self.accepts()

    def test_upward_includes(self):
        for path, header, why in [
            ("engine/base/x.c", "tiers/aio.h", "engine/base may not know tiers"),
            ("engine/base/x.h", "engine/engine.h", "engine/base may not know engine"),
            ("tiers/x.c", "engine/shard.h", "tiers may not know engine"),
            ("tiers/x.c", "engine/policy/tinylfu.h", "tiers may not know engine"),
            ("tiers/x.c", "engine/engine.h", "tiers may not know engine"),
            ("tiers/x.c", "net/loop.h", "tiers may not know net"),
            ("engine/x.c", "net/loop.h", "engine may not know net"),
            ("engine/policy/x.c", "admin/http.h", "engine may not know admin"),
            ("net/x.c", "tiers/aio.h", "net may not know tiers"),
            ("net/x.c", "admin/http.h", "net may not know admin"),
            ("net/x.c", "engine/shard.h", "net sees engine.h and api_*.h only"),
            ("net/x.c", "engine/policy/tinylfu.h", "net sees engine.h and api_*.h only"),
            ("net/x.c", "engine/policy/api_x.h", "net sees engine.h and api_*.h only"),
            ("admin/x.c", "net/loop.h", "admin may not know net"),
            ("admin/x.c", "tiers/aio.h", "admin may not know tiers"),
            ("admin/x.S", "engine/shard.h", "admin sees engine.h and api_*.h only"),
            ("engine/x.c", "tests/support/unit.h", "engine may not know tests"),
            ("tools/x/x.c", "tests/support/unit.h", "tools may not know tests"),
            ("tests/unit/base/test_x.c", "tiers/aio.h", "engine/base may not know tiers"),
            ("tests/unit/tiers/test_x.c", "engine/engine.h", "tiers may not know engine"),
            ("tests/unit/net/test_x.c", "tiers/aio.h", "net may not know tiers"),
        ]:
            with self.subTest(path=path, header=header):
                self.refuses(path, '#include "%s"\n' % header, why)

    def test_angle_brackets_and_blanks_hide_nothing(self):
        self.refuses("tiers/x.c", "#include <engine/shard.h>\n", "tiers may not know engine")
        self.refuses("tiers/x.c", ' #  include"engine/shard.h"\n', "tiers may not know engine")

    def test_the_line_is_named(self):
        self.refuses("tiers/x.c", '\n\n#include "net/loop.h"\n', "tiers/x.c:3: ")

    def test_libraries_have_owners(self):
        for path, header, library in [
            ("tiers/x.c", "libaio.h", "libaio is owned by tiers/aio.c"),
            ("engine/x.c", "libaio.h", "libaio is owned by tiers/aio.c"),
            ("tiers/x.c", "rocksdb/c.h", "RocksDB is owned by tiers/rocks.c"),
            ("tiers/x.h", "zstd.h", "zstd is owned by tiers/codec.c"),
            ("tiers/x.c", "zdict.h", "zstd is owned by tiers/codec.c"),
            ("engine/x.c", "event2/event.h", "libevent is owned by"),
            ("admin/x.c", "event2/event.h", "libevent is owned by"),
            ("net/x.c", "event2/http.h", "evhttp is owned by admin/http.c"),
            ("net/x.c", "openssl/ssl.h", "OpenSSL is owned by net/tls.c"),
            ("net/x.c", "jansson.h", "jansson is owned by admin/"),
            ("engine/x.c", "jemalloc/jemalloc.h", "jemalloc is owned by engine/base/mem.c"),
        ]:
            with self.subTest(path=path, header=header):
                self.refuses(path, "#include <%s>\n" % header, library)

    def test_paths_start_at_the_top(self):
        self.refuses("engine/base/x.c", '#include "log.h"\n', 'write "engine/base/log.h"')
        self.refuses("tiers/x.c", '#include "../engine/base/log.h"\n',
                     'write "engine/base/log.h"')

    def test_the_top_level_is_closed(self):
        code, lines, _ = run({**GOOD, "src/x.txt": "", "notes.md": "", ".ci/run": ""})
        self.assertEqual(code, 1)
        self.assertEqual(lines, ["notes.md: does not belong to the top level",
                                 "src: does not belong to the top level"])

    def test_lengths(self):
        self.accepts(files={"net/x.c": "\n" * 999})
        self.refuses("net/x.c", "\n" * 1000, "1000 lines, more than 999")
        self.refuses("tests/x.py", "\n" * 1000, "1000 lines, more than 999")

    @unittest.skipUnless(shutil.which("git"), "no git here")
    def test_a_git_checkout_without_its_ignored_files(self):
        with tempfile.TemporaryDirectory() as top:
            for path, content in {**GOOD, ".gitignore": "/build/\n", "build/x": ""}.items():
                os.makedirs(os.path.dirname(os.path.join(top, path)) or top, exist_ok=True)
                with open(os.path.join(top, path), "w", encoding="utf-8") as out:
                    out.write(content)
            subprocess.run(["git", "init", "-q", top], check=True)
            done = subprocess.run([sys.executable, SCRIPT, top], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout), (0, ""))


if __name__ == "__main__":
    unittest.main()
