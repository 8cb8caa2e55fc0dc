"""Cases that are products of tables: options by key states, integers by integers, and so on."""

import itertools

from cases import Case

COMMANDS = (
    "get set setex psetex setnx getset getdel getex mget mset msetnx append strlen getrange substr "
    "setrange incr decr incrby decrby incrbyfloat del unlink exists touch type expire pexpire "
    "expireat pexpireat ttl pttl expiretime pexpiretime persist keys scan randomkey rename "
    "renamenx copy flushdb flushall dbsize select object memory ping echo auth hello client "
    "command config info time slowlog reset quit"
).split()
# How a command's number arguments look in all their bad and good ways.
NUMBERS = [
    "0", "1", "-1", "100000", "-0", "+1", "01", " 1", "1 ", "1.0", "1e3", "0x10", "", "abc",
    "9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809",
    "9223372036854775", "9223372036854776", "18446744073709551615", "1\0", "--1", "1-", "١",
]  # fmt: skip
NUMBERS = [n.encode().decode("latin-1") for n in NUMBERS]
STATES = {
    "absent": [],
    "plain": [["SET", "k", "old"]],
    "ttl": [["SET", "k", "old", "EX", "1000"]],
}
LOOK = [["GET", "k"], ["TTL", "k"], ["EXISTS", "k"], ["DBSIZE"]]


def arity():
    """Every command with 0 to 4 arguments it cannot understand, in three spellings."""
    for name in COMMANDS:
        for spelled in (name, name.upper(), name.capitalize()):
            yield Case("arity", [[spelled]])
        if name in ("quit", "reset", "hello"):
            continue
        for n in range(1, 5):
            yield Case("arity", [[name] + ["zz%d" % i for i in range(n)], ["DBSIZE"]])


def set_options():
    words = [
        ["NX"], ["XX"], ["GET"], ["KEEPTTL"], ["EX", "500"], ["PX", "500000"],
        ["EXAT", "@now+500"], ["PXAT", "@nowms+500000"], ["PERSIST"], ["foo"], ["EX"],
    ]  # fmt: skip
    chosen = itertools.chain(
        itertools.combinations(words, 1),
        itertools.permutations(words, 2),
        itertools.combinations(words, 3),
    )
    for options in chosen:
        flat = [w for option in options for w in option]
        for state, setup in STATES.items():
            yield Case("SET on " + state, setup + [["SET", "k", "new"] + flat] + LOOK)
            yield Case("GETEX on " + state, setup + [["GETEX", "k"] + flat] + LOOK)


def set_numbers():
    for number, state in itertools.product(NUMBERS, STATES):
        for option in ("EX", "PX", "EXAT", "PXAT"):
            value = "100000" if option == "PX" and number == "1" else number
            setup = STATES[state]
            yield Case("SET number", setup + [["SET", "k", "new", option, value]] + LOOK)
            yield Case("GETEX number", setup + [["GETEX", "k", option, value]] + LOOK)
        for name in ("SETEX", "PSETEX"):
            value = "100000" if name == "PSETEX" and number == "1" else number
            yield Case(name + " number", STATES[state] + [[name, "k", value, "new"]] + LOOK)


def expire_options():
    states = dict(STATES, short=[["SET", "k", "old", "EX", "50"]])
    options = [
        [], ["NX"], ["XX"], ["GT"], ["LT"], ["NX", "XX"], ["GT", "LT"], ["NX", "GT"],
        ["NX", "LT"], ["XX", "GT"], ["XX", "LT"], ["LT", "XX"], ["gt"], ["foo"], ["GT", "GT"],
        ["NX", "NX"], ["XX", "foo"],
    ]  # fmt: skip
    times = {
        "EXPIRE": ["500", "-500", "0"],
        "PEXPIRE": ["500000", "-500000", "0"],
        "EXPIREAT": ["@now+500", "@now-500", "0"],
        "PEXPIREAT": ["@nowms+500000", "@nowms-500000", "0"],
    }
    for name, values in times.items():
        for value, option, (state, setup) in itertools.product(values, options, states.items()):
            yield Case("expire on " + state, setup + [[name, "k", value] + option] + LOOK)
        for number, (state, setup) in itertools.product(NUMBERS, states.items()):
            value = "100000" if name == "PEXPIRE" and number == "1" else number
            yield Case("expire number on " + state, setup + [[name, "k", value]] + LOOK)


def increments():
    stored = [
        None, "0", "-1", "10", "9223372036854775807", "-9223372036854775808", "abc", "", " 1",
        "1 ", "+1", "01", "-0", "1.5", "1e3", "nan", "inf", "0x1f",
        "123456789012345678901234567890", "3.0000000000000000", "0.1", "1\0",
        "1.7976931348623157e308", "5e-324", "12345678901234567.5",
    ]  # fmt: skip
    floats = [
        "0.1", "-0.1", "1e-20", "1e17", "1e18", "123456789.123456789", "-1.5", "1e308", ".5", "5.",
        "1e-400", "infinity", "NaN", "1e", "1_0", "1,5", "3.14159265358979323846",
    ]  # fmt: skip
    for value in stored:
        setup = [] if value is None else [["SET", "k", value]]
        for name in ("INCR", "DECR"):
            yield Case(name, setup + [[name, "k"], ["GET", "k"]])
        for name, number in itertools.product(("INCRBY", "DECRBY"), NUMBERS):
            yield Case(name, setup + [[name, "k", number], ["GET", "k"]])
        for number in NUMBERS + floats:
            yield Case("INCRBYFLOAT", setup + [["INCRBYFLOAT", "k", number], ["GET", "k"]])


def ranges():
    edges = [
        "-100", "-12", "-11", "-10", "-2", "-1", "0", "1", "2", "9", "10", "11", "100",
        "9223372036854775807", "-9223372036854775808", "9223372036854775808", "abc", "", "1.0",
    ]  # fmt: skip
    for value in (None, "", "x", "Hello World", "1234567890", "a\0b\r\n\xff"):
        setup = [] if value is None else [["SET", "k", value]]
        for name in ("GETRANGE", "SUBSTR"):
            for start in edges:
                yield Case(name, setup + [[name, "k", start, end] for end in edges])
        for offset in ("-1", "0", "1", "5", "11", "20", "1000", "abc", "9223372036854775807"):
            for patch in ("", "p", "patch", "\0"):
                yield Case("SETRANGE", setup + [["SETRANGE", "k", offset, patch]] + LOOK)


def moves():
    """RENAME, RENAMENX, COPY: source state by target state by options."""
    sources = {
        "absent": [], "plain": [["SET", "a", "1"]], "ttl": [["SET", "a", "1", "EX", "700"]],
        "empty": [["SET", "a", ""]], "large": [["SET", "a", "@L*100000"]],
    }  # fmt: skip
    targets = {"absent": [], "plain": [["SET", "b", "2"]], "ttl": [["SET", "b", "2", "EX", "300"]]}
    copies = [
        [], ["REPLACE"], ["DB", "1"], ["DB", "0"], ["DB", "1", "REPLACE"], ["REPLACE", "REPLACE"],
        ["DB", "16"], ["DB", "-1"], ["DB", "x"], ["DB"], ["replace", "db", "2"],
    ]  # fmt: skip
    look = [["GET", "a"], ["TTL", "a"], ["GET", "b"], ["TTL", "b"], ["DBSIZE"], ["SELECT", "1"],
            ["GET", "b"], ["TTL", "b"], ["DBSIZE"]]  # fmt: skip
    for (s, source), (d, target) in itertools.product(sources.items(), targets.items()):
        for name, to in itertools.product(("RENAME", "RENAMENX"), ("b", "a")):
            yield Case("%s %s to %s" % (name, s, d), source + target + [[name, "a", to]] + look)
        for option, to in itertools.product(copies, ("b", "a")):
            command = ["COPY", "a", to] + option
            yield Case("COPY %s to %s" % (s, d), source + target + [command] + look)


def binary():
    """Keys and values that hold every kind of byte, through every data command."""
    odd = ["", "\0", "\0\0", "\r\n", "$5\r\nhello\r\n", "\xff" * 3, " ", "*", "a" * 300, "%s%n",
           "\x80\x81", "-1", "123", "'\"", "[a", "\\", "x" * 70000]  # fmt: skip
    for word in odd:
        yield Case("binary", [
            ["SET", word, word], ["GET", word], ["EXISTS", word, "k"], ["STRLEN", word],
            ["APPEND", word, word], ["GET", word], ["GETRANGE", word, "1", "-2"], ["TYPE", word],
            ["SETRANGE", word, "1", word], ["GET", word], ["EXPIRE", word, "100"], ["TTL", word],
            ["PERSIST", word], ["MSET", word, "1", "other", word], ["MGET", word, "other"],
            ["INCR", word], ["GETSET", word, word], ["COPY", word, word + "2"],
            ["RENAME", word, word + "3"], ["KEYS", "*"], ["SCANALL"], ["GETDEL", word + "3"],
            ["SETNX", word, word], ["GETEX", word, "EX", "10"], ["TOUCH", word], ["UNLINK", word],
            ["MSETNX", word, word, word + "4", word], ["DEL", word, word + "4"], ["KEYS", word],
            ["ECHO", word], ["PING", word], ["DBSIZE"],
        ])  # fmt: skip


def globs():
    keys = ["a", "b", "ab", "abc", "a*c", "a?c", "a[c", "a]c", "a-c", "a\\c", "a^c", "A", "",
            "aXbXc", "aaa", "aab", "\xffz", "a\0c", "-", "]", "^"]  # fmt: skip
    patterns = [
        "*", "?", "??", "a*", "*c", "a*c", "a?c", "a\\*c", "a\\?c", "a[*]c", "a[?]c", "a\\[c",
        "a[[]c", "a[]]c", "a[\\]]c", "a[a-z]c", "a[^a-z]c", "a[-]c", "a[\\-]c", "a[*-?]c", "[ab]",
        "[^ab]", "[^a]*", "[A-Z]", "[a-A]", "[z-a]", "[", "[a", "[^", "[]", "[]]", "[^]]", "\\",
        "a\\", "a*b*c", "*a*", "**", "a**b", "***", "?*", "*?", "?*?", "", "\xff*", "a\0c", "[\0]",
        "a[\0]c", "a\\c", "a\\\\c", "[\\]", "[a-", "[a-]", "[-a]", "[--a]", "a[^-z]c", "\\a",
    ]  # fmt: skip
    setup = [["MSET"] + [w for k in keys for w in (k, "v")]]
    for pattern in patterns:
        yield Case("glob", setup + [["KEYS", pattern], ["SCANALL", "MATCH", pattern]])
        yield Case("glob", [["CONFIG", "GET", pattern]] if pattern not in ("*",) and not any(
            c in pattern for c in "*?[") else [["PING"]])  # fmt: skip


def subcommands():
    containers = {
        "CLIENT": "id info list setname getname kill no-evict reply",
        "CONFIG": "get set rewrite resetstat",
        "COMMAND": "count info docs list getkeys",
        "OBJECT": "encoding freq idletime refcount",
        "MEMORY": "usage",
        "SLOWLOG": "get len reset",
    }
    for container, names in containers.items():
        for name in names.split():
            for n in range(2, 6):
                if (container, name, n) == ("CONFIG", "rewrite", 0):
                    continue
                yield Case("subcommand", [[container, name] + ["zz"] * (n - 1)])
        yield Case("subcommand", [[container, "nosuch"], [container, ""], [container, "get\n"]])


ALL = [arity, set_options, set_numbers, expire_options, increments, ranges, moves, binary, globs,
       subcommands]  # fmt: skip
