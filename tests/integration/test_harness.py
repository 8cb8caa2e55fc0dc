"""The tests' own tools: a server that lies in one reply is found out, and so is one that dies."""

import socket
import threading

import cases
import harness
import known_differences
import resp
from harness import same

MAX_DIFFERENCES = 20


class Liar:
    """Between client and server: changes the n-th appearance of some bytes in the replies."""

    def __init__(self, server, old, new, nth):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.server, self.old, self.new, self.left = server, old, new, nth
        threading.Thread(target=self.accept, daemon=True).start()

    def connect(self, resp3=False):
        c = resp.Connection(self.listener.getsockname())
        if resp3:
            c.ok("HELLO", "3")
        return c

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            upstream = socket.create_connection(self.server.address())
            for source, target, lies in ((client, upstream, False), (upstream, client, True)):
                arguments = (source, target, lies)
                threading.Thread(target=self.pump, args=arguments, daemon=True).start()

    def pump(self, source, target, lies):
        try:
            while data := source.recv(65536):
                if lies and self.left > 0:
                    self.left -= data.count(self.old)
                    if self.left <= 0:
                        data = data.replace(self.old, self.new, 1)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def test_lies_are_found(t):
    """One changed byte in one reply among thousands."""
    redis = t.redis()
    for old, new, nth in ((b":1\r\n", b":2\r\n", 5), (b"$-1\r\n", b"$0\r\n\r\n", 10),
                          (b"-ERR syntax", b"-ERR Syntax", 3), (b"+OK", b"+Ok", 40)):  # fmt: skip
        liar = Liar(t.redis(), old, new, nth)
        found = cases.compare(redis, liar, cases.load("strings"), False)
        same(True, len(found) > 0, "a changed %r was not noticed" % old)
    same([], cases.compare(redis, t.redis(), cases.load("strings"), False), "two honest servers")


def test_dead_servers_are_found(t):
    """A server that dies by itself, or prints a sanitizer's report, is a fault."""
    victim, reporter = t.redis(), t.redis()
    victim.process.kill()  # not through the harness: nobody asked for it
    victim.process.wait()
    same(True, "died by itself" in victim.faults(), victim.faults())
    with open(reporter.log_path, "a", encoding="ascii") as f:
        f.write("==1==ERROR: AddressSanitizer: heap-use-after-free\n")
    same(True, "AddressSanitizer" in reporter.faults(), reporter.faults())
    same(2, len(t.finish()), "faults that end the test")
    t.servers.clear()


def test_differences_are_few(t):
    """The documented list stays short, and each entry says why."""
    same(True, len(known_differences.DIFFERENCES) <= MAX_DIFFERENCES, "length of the list")
    for pattern, compare, reason in known_differences.DIFFERENCES:
        same(True, callable(compare) and len(reason) > 5, "the entry " + pattern)
        # A difference in kind is not waved through.
        same(False, compare(b"+OK\r\n", b"-NOAUTH no\r\n"), "%s accepts an odd error" % pattern)


def test_reply_reader(t):
    """resp.py reads every type, also when it comes byte by byte."""
    raws = [
        b"+OK\r\n", b"-ERR x\r\n", b":-5\r\n", b"$3\r\na\r\n\r\n", b"$-1\r\n", b"*-1\r\n", b"*0\r\n",
        b"*2\r\n:1\r\n*1\r\n$0\r\n\r\n", b"_\r\n", b"#t\r\n", b",1.5\r\n", b"(123456789012345\r\n",
        b"%1\r\n+a\r\n:1\r\n", b"~2\r\n+a\r\n+b\r\n", b">1\r\n+push\r\n", b"=7\r\ntxt:abc\r\n",
    ]  # fmt: skip
    values = [b"OK", "ERR x", -5, b"a\r\n", None, None, [], [1, [b""]], None, True, 1.5,
              123456789012345, {b"a": 1}, [b"a", b"b"], [b"push"], b"abc"]  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as listener:
        c = resp.Connection(listener.getsockname())
        peer, _ = listener.accept()
        stream = b"".join(raws)
        sender = threading.Thread(target=lambda: [peer.sendall(stream[i : i + 1])
                                                  for i in range(len(stream))])  # fmt: skip
        sender.start()
        for raw, value in zip(raws, values):
            got = c.read()
            same((raw, value), (got, resp.decode(got)), "reply %r" % raw)
        sender.join()
        peer.close()
        c.close()
    t.note("%d types" % len(raws))
