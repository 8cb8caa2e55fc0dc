"""Command cases: sequences of commands run on both servers, whose replies are compared.

A case file (cases/*.txt) holds cases separated by empty lines; a line is one command in redis-cli's
quoting. A line `# text` names the next case. Tokens made at run time, the same for both servers:
    @now+10 @nowms-500     Unix time in seconds or milliseconds, shifted
    @x*2097152             a character repeated
Pseudo-command SCANALL runs SCAN to its end and yields the sorted keys.
"""

import os
import re
import time

import known_differences
import resp

HERE = os.path.dirname(os.path.abspath(__file__))
ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "a": "\a"}
RELATIVE_SECONDS = {"TTL", "EXPIRETIME"}
RELATIVE_MS = {"PTTL", "PEXPIRETIME"}
TOLERANCE_MS = 5000
UNORDERED = {"KEYS", "CONFIG GET", "COMMAND LIST"}
# Only the reply's type is compared.
OWN_VALUES = {"TIME", "CLIENT ID", "SCAN", "INFO", "COMMAND", "COMMAND COUNT"}


class Case:
    """A name and a list of commands (each a list of arguments)."""

    def __init__(self, name, commands):
        self.name = name
        self.commands = commands


def split_line(line):
    """Words of one line, redis-cli's quoting."""
    words, i = [], 0
    while i < len(line):
        if line[i].isspace():
            i += 1
            continue
        if line[i] == '"':
            word, i = _double_quoted(line, i + 1)
        elif line[i] == "'":
            end = line.index("'", i + 1)
            word, i = line[i + 1 : end], end + 1
        else:
            end = i
            while end < len(line) and not line[end].isspace():
                end += 1
            word, i = line[i:end], end
        words.append(word)
    return words


def _double_quoted(line, i):
    out = []
    while line[i] != '"':
        if line[i] != "\\":
            out.append(line[i])
            i += 1
        elif line[i + 1] == "x":
            out.append(chr(int(line[i + 2 : i + 4], 16)))
            i += 4
        else:
            out.append(ESCAPES.get(line[i + 1], line[i + 1]))
            i += 2
    return "".join(out), i + 1


def load(name):
    """The cases of cases/<name>.txt."""
    cases, title, commands = [], None, []

    def flush():
        if commands:
            cases.append(Case(title or " ".join(commands[0])[:60], list(commands)))
            commands.clear()

    with open(os.path.join(HERE, "cases", name + ".txt"), encoding="utf-8") as f:
        for line in f.read().splitlines():
            if line.startswith("# "):
                flush()
                title = line[2:]
            elif not line.strip():
                flush()
                title = None
            else:
                commands.append(split_line(line))
    flush()
    return cases


def expand(args, now_ms):
    """Run-time tokens replaced."""
    out = []
    for arg in args:
        if isinstance(arg, str) and arg.startswith("@"):
            shift = re.fullmatch(r"@(now|nowms)([+-]\d+)?", arg)
            repeat = re.fullmatch(r"@(.)\*(\d+)", arg, re.S)
            if shift:
                unit = now_ms // 1000 if shift.group(1) == "now" else now_ms
                arg = str(unit + int(shift.group(2) or 0))
            elif repeat:
                arg = repeat.group(1) * int(repeat.group(2))
        out.append(arg)
    return out


def scan_all(connection, args):
    """All keys SCAN returns, sorted, as a list; or its raw error."""
    keys, cursor = set(), b"0"
    for _ in range(100000):
        reply = connection.call("SCAN", cursor, *args)
        if isinstance(reply, resp.ReplyError):
            return reply
        cursor = reply[0]
        keys.update(reply[1])
        if cursor == b"0":
            return sorted(keys)
    raise AssertionError("SCAN does not end: %r" % (args,))


def run(connection, commands):
    """Raw replies of a case's commands; for SCANALL the sorted list; "closed" once it is."""
    replies = []
    try:
        while len(replies) < len(commands):
            rest = commands[len(replies) :]
            if rest[0][0] == "SCANALL":
                replies.append(scan_all(connection, rest[0][1:]))
                continue
            n = next((i for i, args in enumerate(rest) if args[0] == "SCANALL"), len(rest))
            data = b"".join(resp.encode(args) for args in rest[:n])
            for raw in connection.replies(data, n):
                replies.append(raw)
    except resp.Closed:
        replies += ["closed"] * (len(commands) - len(replies))
    return replies


def _key_of(args):
    words = [resp.to_bytes(a).decode("latin-1").upper() for a in args[:2]]
    return words[0], " ".join(words)


def same_reply(args, expected, got):
    """Whether the two replies to one command agree."""
    if expected == got:
        return True
    if not isinstance(expected, bytes) or not isinstance(got, bytes):
        return False
    name, pair = _key_of(args)
    if expected[:1] == b"-" or got[:1] == b"-":
        return known_differences.same_reply(args, expected, got)
    if name in RELATIVE_SECONDS | RELATIVE_MS:
        a, b = resp.decode(expected), resp.decode(got)
        near = TOLERANCE_MS if name in RELATIVE_MS else 1 + TOLERANCE_MS // 1000
        return a >= 0 and b >= 0 and abs(a - b) <= near
    if name in UNORDERED or pair in UNORDERED:
        return _unordered(resp.decode(expected)) == _unordered(resp.decode(got))
    if name in OWN_VALUES or pair in OWN_VALUES:
        return type(resp.decode(expected)) is type(resp.decode(got))
    return known_differences.same_reply(args, expected, got)


def _unordered(value):
    if isinstance(value, dict):
        return value
    return sorted(value, key=repr) if isinstance(value, list) else value


def compare(redis, hearth, cases, resp3):
    """Runs every case on both; returns the list of differences as text."""
    wrong = []
    a, b = redis.connect(resp3=resp3), hearth.connect(resp3=resp3)
    for case in cases:
        now_ms = int(time.time() * 1000)
        commands = [["SELECT", "0"], ["FLUSHALL"]]
        commands += [expand(args, now_ms) for args in case.commands]
        expected, got = run(a, commands), run(b, commands)
        is_over = "closed" in expected or "closed" in got
        for args, e, g in zip(commands, expected, got):
            if not same_reply(args, e, g):
                shown = " ".join(repr(x if len(x) < 60 else x[:40] + "...") for x in map(str, args))
                wrong.append("[%s] %s\n    expected %s\n    got      %s"
                             % (case.name, shown, _show(e), _show(g)))  # fmt: skip
                break
        changes = ("RESET", "HELLO", "CLIENT")
        if is_over or any(args[0].upper() in changes for args in commands):
            a.close(), b.close()
            a, b = redis.connect(resp3=resp3), hearth.connect(resp3=resp3)
    a.close(), b.close()
    return wrong


def _show(value):
    text = repr(value)
    return text if len(text) <= 300 else text[:200] + " ... " + text[-80:]
