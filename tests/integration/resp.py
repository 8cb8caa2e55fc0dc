"""A small RESP2/RESP3 client that keeps the raw bytes of every reply.

Tests compare servers byte by byte, so a reply is first of all its raw bytes; decode() turns them
into Python values for the tests that want to compute with them.
"""

import socket
import threading


class Closed(Exception):
    """The server closed the connection (or reset it)."""


class ReplyError(str):
    """An error reply as a value: "ERR unknown command ..."."""


class Status(bytes):
    """A simple string, so that +OK is told from $2 OK."""


class Push(list):
    """A RESP3 out-of-band message."""


class Verbatim(bytes):
    """A RESP3 verbatim string, without its three-letter format."""


def encode(args):
    """One command as an array of bulk strings; str is taken as Latin-1 so "\\xff" is one byte."""
    out = [b"*%d\r\n" % len(args)]
    for arg in args:
        data = to_bytes(arg)
        out.append(b"$%d\r\n" % len(data))
        out.append(data)
        out.append(b"\r\n")
    return b"".join(out)


def to_bytes(arg):
    if isinstance(arg, bytes):
        return arg
    if isinstance(arg, str):
        return arg.encode("latin-1")
    if isinstance(arg, (bytearray, memoryview)):
        return bytes(arg)
    return str(arg).encode()


def decode(raw):
    """The value of one raw reply. Maps become dicts when their keys can be hashed."""
    value, end = _decode_at(raw, 0)
    if end != len(raw):
        raise ValueError("bytes after the reply: %r" % raw[end : end + 60])
    return value


def _decode_at(raw, pos):
    eol = raw.index(b"\r\n", pos)
    kind, line, pos = raw[pos : pos + 1], raw[pos + 1 : eol], eol + 2
    if kind == b"+":
        return Status(line), pos
    if kind == b"-":
        return ReplyError(line.decode("latin-1")), pos
    if kind == b":":
        return int(line), pos
    if kind == b"_":
        return None, pos
    if kind == b"#":
        return line == b"t", pos
    if kind == b",":
        return float(line), pos
    if kind == b"(":
        return int(line), pos
    n = int(line)
    if n < 0:
        return None, pos
    if kind in b"$=!":
        data = raw[pos : pos + n]
        pos += n + 2
        if kind == b"=":
            return Verbatim(data[4:]), pos
        return (ReplyError(data.decode("latin-1")) if kind == b"!" else data), pos
    items = []
    for _ in range(2 * n if kind in b"%|" else n):
        item, pos = _decode_at(raw, pos)
        items.append(item)
    if kind in b"%|":
        try:
            return dict(zip(items[::2], items[1::2])), pos
        except TypeError:
            return list(zip(items[::2], items[1::2])), pos
    return (Push(items) if kind == b">" else items), pos


class Connection:
    """One client connection; every read has the connection's timeout (socket.timeout)."""

    def __init__(self, address, timeout=60.0):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.settimeout(timeout)
        try:
            self.sock.connect(address)
        except OSError:
            self.sock.close()
            raise
        if family == socket.AF_INET:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buf = bytearray()
        self._pos = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    # -- writing ---------------------------------------------------------------------------

    def send_raw(self, data):
        """Sends bytes as they are; a peer that has closed shows on the next read."""
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def send(self, *args):
        self.send_raw(encode(args))

    # -- reading ---------------------------------------------------------------------------

    def _fill(self):
        try:
            data = self.sock.recv(262144)
        except (ConnectionResetError, BrokenPipeError):
            data = b""
        if not data:
            raise Closed()
        self._buf += data

    def _line(self):
        while True:
            eol = self._buf.find(b"\r\n", self._pos)
            if eol >= 0:
                line = bytes(self._buf[self._pos : eol])
                self._pos = eol + 2
                return line
            self._fill()

    def _skip(self, n):
        while len(self._buf) - self._pos < n:
            self._fill()
        self._pos += n

    def _skip_reply(self):
        line = self._line()
        kind = line[:1]
        if kind in b"+-:_#,(" and kind:
            return
        if kind not in b"$=!*%~>|" or not kind:
            raise ValueError("not a reply: %r" % line[:80])
        n = int(line[1:])
        if n < 0:
            return
        if kind in b"$=!":
            self._skip(n + 2)
            return
        for _ in range(2 * n if kind in b"%|" else n):
            self._skip_reply()

    def read(self):
        """The raw bytes of the next reply."""
        if self._pos > 1 << 20 or self._pos == len(self._buf):
            del self._buf[: self._pos]
            self._pos = 0
        start = self._pos
        try:
            self._skip_reply()
        except (Closed, socket.timeout):
            self._pos = start
            raise
        return bytes(self._buf[start : self._pos])

    def read_to_end(self):
        """Everything that comes until the server closes."""
        try:
            while True:
                self._fill()
        except Closed:
            pass
        return self.take()

    def read_available(self, seconds, at_least=0):
        """What comes until nothing has come for so long; (bytes, closed). For the first at_least
        bytes it waits as long as for any reply."""
        old = self.sock.gettimeout()
        try:
            while True:
                is_enough = len(self._buf) - self._pos >= at_least
                self.sock.settimeout(seconds if is_enough else old)
                self._fill()
        except Closed:
            return self.take(), True
        except socket.timeout:
            return self.take(), False
        finally:
            self.sock.settimeout(old)

    def take(self):
        """Bytes received and not yet read as replies."""
        rest = bytes(self._buf[self._pos :])
        self._buf.clear()
        self._pos = 0
        return rest

    # -- both ------------------------------------------------------------------------------

    def raw(self, *args):
        """Sends one command, returns its raw reply."""
        self.send(*args)
        return self.read()

    def call(self, *args):
        """Sends one command, returns its decoded reply (an error is a ReplyError value)."""
        return decode(self.raw(*args))

    def ok(self, *args):
        """As call(), but an error reply is an AssertionError."""
        value = self.call(*args)
        if isinstance(value, ReplyError):
            raise AssertionError("%r answered -%s" % (args[:4], value))
        return value

    def replies(self, data, n_replies):
        """Sends bytes and yields n raw replies meanwhile, so that neither side blocks for ever."""
        if len(data) <= 65536:
            self.send_raw(data)
            for _ in range(n_replies):
                yield self.read()
            return
        sender = threading.Thread(target=self.send_raw, args=(data,), daemon=True)
        sender.start()
        for _ in range(n_replies):
            yield self.read()
        sender.join()

    def exchange(self, data, n_replies):
        """As replies(), all at once."""
        return list(self.replies(data, n_replies))

    def pipeline(self, commands):
        """Sends all commands at once, returns their raw replies in order."""
        return self.exchange(b"".join(encode(c) for c in commands), len(commands))
