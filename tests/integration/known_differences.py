"""The documented list of answers in which Hearth differs from Redis 7.0.15 on purpose.

Each entry: which command, how the two replies are compared instead of byte by byte, and why.
Everything not listed here must be equal. Keep it short: 20 entries at most.
"""

import re

import resp

SERVER_NAMES = (b"hearth", b"redis")


def _same_shape(expected, got):
    """Neither is an error, and both are of one type."""
    expected, got = resp.decode(expected), resp.decode(got)
    return type(expected) is type(got) and not isinstance(got, resp.ReplyError)


def _same_error_code(expected, got):
    return expected[:1] == got[:1] == b"-" and expected.split()[0] == got.split()[0]


def _refused(expected, got):
    return got.startswith(b"-ERR ")


def _same_hello(expected, got):
    """HELLO: the same fields in the same order; server, version and id have values of their own."""
    hide = re.compile(rb"(server\r\n\$\d+\r\n|version\r\n\$\d+\r\n|id\r\n:)[^\r]*")
    return hide.sub(b"\\1", expected) == hide.sub(b"\\1", got) or _hello_map(
        expected
    ) == _hello_map(got)


def _hello_map(raw):
    value = resp.decode(raw)
    if isinstance(value, list):
        value = dict(zip(value[::2], value[1::2]))
    if not isinstance(value, dict):
        return raw
    return {k: v for k, v in value.items() if k not in (b"server", b"version", b"id")}


# (command pattern, comparison, reason)
DIFFERENCES = [
    ("HELLO", _same_hello, "names its own server and version; ids are per server"),
    ("MEMORY USAGE", _same_shape, "an item costs less RAM than in Redis"),
    ("OBJECT FREQ", _same_shape, "TinyLFU counts to 15, Redis' LFU on a logarithmic scale to 255"),
    ("OBJECT ENCODING", _same_shape, "one string layout"),
    ("OBJECT REFCOUNT", _same_shape, "no shared integers"),
    ("OBJECT HELP", _same_shape, "help tells the subcommands that are there"),
    ("SLOWLOG HELP", _same_shape, "as above"),
    ("MEMORY HELP", _same_shape, "as above"),
    ("COMMAND HELP", _same_shape, "as above"),
    ("CONFIG HELP", _same_shape, "as above"),
    ("CLIENT HELP", _same_shape, "as above"),
    ("CONFIG SET proto-max-bulk-len 1", _same_error_code, "the message tells Hearth's own bounds"),
    ("CONFIG SET maxclients 0", _same_error_code, "as above"),
    ("SCAN -1", _refused, "a cursor that SCAN never returned; Redis reads it as 2^64-1"),
    ("CONFIG SET dir", _same_error_code, "the text after the code may name Hearth's options"),
]


def find(args):
    """The comparison for this command, or None when the replies must be equal."""
    text = " ".join(resp.to_bytes(a).decode("latin-1") for a in args[:4]).upper()
    for pattern, compare, _ in DIFFERENCES:
        if text == pattern.upper() or text.startswith(pattern.upper() + " "):
            return compare
    return None


def same_reply(args, expected, got):
    """Whether two raw replies to the command agree, this list considered."""
    if expected == got:
        return True
    compare = find(args)
    return compare is not None and compare(expected, got)


def same_stream(data, expected, got):
    """For raw input: whether two reply streams agree."""
    if expected == got:
        return True
    words = data.split(b"\r\n")[0].split(b" ")
    compare = find(words)
    return compare is not None and bool(expected) and bool(got) and compare(expected, got)
