"""Commands about the server and its clients: CLIENT, CONFIG, COMMAND, INFO, SLOWLOG, HELLO …"""

import os
import re
import socket
import time

import cases
import harness
import resp
from harness import same, wait_until

# Fields that clients and redis_exporter read; values differ, names must be there.
INFO_FIELDS = {
    "Server": "redis_version redis_git_sha1 redis_git_dirty redis_build_id redis_mode os arch_bits "
    "multiplexing_api gcc_version process_id run_id tcp_port server_time_usec uptime_in_seconds "
    "uptime_in_days hz executable config_file",
    "Clients": "connected_clients maxclients client_recent_max_input_buffer "
    "client_recent_max_output_buffer blocked_clients",
    "Memory": "used_memory used_memory_human used_memory_rss used_memory_peak "
    "total_system_memory maxmemory maxmemory_human maxmemory_policy mem_fragmentation_ratio "
    "mem_allocator",
    "Persistence": "loading rdb_changes_since_last_save rdb_bgsave_in_progress rdb_last_save_time "
    "rdb_last_bgsave_status aof_enabled",
    "Stats": "total_connections_received total_commands_processed instantaneous_ops_per_sec "
    "total_net_input_bytes total_net_output_bytes rejected_connections expired_keys evicted_keys "
    "keyspace_hits keyspace_misses total_error_replies",
    "Replication": "role connected_slaves master_replid master_repl_offset",
    "CPU": "used_cpu_sys used_cpu_user",
    "Keyspace": "",
}


def sections(text):
    """{section: {field: value}} of INFO's text."""
    found, current = {}, None
    for line in text.decode().split("\r\n"):
        if line.startswith("# "):
            current = found.setdefault(line[2:], {})
        elif ":" in line:
            name, value = line.split(":", 1)
            current[name] = value
    return found


def fields(line):
    """{name: value} of one line of CLIENT LIST."""
    return dict(word.split("=", 1) for word in line.decode().strip().split(" "))


def test_info(t):
    """INFO: sections and the field names that clients and exporters read."""
    hearth = t.hearth(requirepass="")
    with hearth.connect() as c:
        c.ok("SET", "k", "v")
        c.ok("SET", "j", "v", "EX", "100")
        c.ok("GET", "k"), c.ok("GET", "missing"), c.call("NOSUCH")
        info = sections(c.ok("INFO"))
        for section, names in INFO_FIELDS.items():
            same(True, section in info, "section " + section)
            missing = [n for n in names.split() if n not in info[section]]
            same([], missing, "fields missing from # " + section)
        same("7.0.15", info["Server"]["redis_version"], "redis_version")
        same(str(hearth.pid), info["Server"]["process_id"], "process_id")
        same(str(hearth.port), info["Server"]["tcp_port"], "tcp_port")
        same("standalone", info["Server"]["redis_mode"], "redis_mode")
        same("master", info["Replication"]["role"], "role")
        same("0", info["Persistence"]["loading"], "loading")
        same(True, info["Keyspace"]["db0"].startswith("keys=2,expires=1,"), "db0's line")
        same(("1", "1"), (info["Stats"]["keyspace_hits"], info["Stats"]["keyspace_misses"]), "hits")
        if not t.stands_in():
            same(True, "Tiers" in info, "section Tiers")
            same(64 << 20, int(info["Memory"]["maxmemory"]), "maxmemory")
        same(["Server"], list(sections(c.ok("INFO", "server"))), "INFO server")
        both = list(sections(c.ok("INFO", "clients", "SERVER")))
        same(["Server", "Clients"], both, "two of them")
        same(b"", c.ok("INFO", "nosuch"), "unknown section")
        for name in ("all", "everything", "default"):
            same(True, set(INFO_FIELDS) <= set(sections(c.ok("INFO", name))), "INFO " + name)
        same(True, "Commandstats" in sections(c.ok("INFO", "all")), "Commandstats in all")
        same(False, "Commandstats" in sections(c.ok("INFO")), "Commandstats by default")
        line = sections(c.ok("INFO", "commandstats"))["Commandstats"]["cmdstat_get"]
        same(True, line.startswith("calls=2,usec="), "cmdstat_get: " + line)
        c.ok("CONFIG", "RESETSTAT")
        after = sections(c.ok("INFO"))["Stats"]
        same(("0", "0"), (after["keyspace_hits"], after["keyspace_misses"]), "after RESETSTAT")


def test_command_table(t):
    """COMMAND INFO equals Redis' in what clients use: arity, flags, key positions."""
    redis, hearth = t.redis(), t.hearth()
    with redis.connect() as a, hearth.connect() as b:
        names = sorted(name for name in b.ok("COMMAND", "LIST") if b"|" not in name)
        same(b.ok("COMMAND", "COUNT"), len(names), "COUNT and LIST")
        same(len(names), len(b.ok("COMMAND")), "COMMAND without arguments")
        wrong = []
        for name in names:
            (expected,), (got,) = a.ok("COMMAND", "INFO", name), b.ok("COMMAND", "INFO", name)
            if expected is None:
                continue  # a command of Hearth's own
            # name, arity, flags, first key, last key, step
            shown = [(x[0], x[1], sorted(x[2]), x[3], x[4], x[5]) for x in (expected, got)]
            if shown[0] != shown[1]:
                wrong.append("%s: expected %r, got %r" % (name.decode(), *shown))
        same([], wrong, "COMMAND INFO")
        one = b.ok("COMMAND", "DOCS", "get")
        same(b"get", one[0], "COMMAND DOCS get")
        docs = dict(zip(one[1][::2], one[1][1::2]))
        same(True, {b"summary", b"since", b"group"} <= set(docs), "fields of COMMAND DOCS")
        needed = "get set del expire scan info client command hello ping config".split()
        same([], [n for n in needed if n.encode() not in names], "commands in COMMAND LIST")


def test_client_commands(t):
    """CLIENT LIST and INFO: Redis' fields in Redis' order; ids, names, databases, protocols."""
    names = []
    for server in (t.redis(), t.hearth()):
        with server.connect() as c:
            id_c = c.ok("CLIENT", "ID")  # answered before the other one connects
            d = server.connect(resp3=True)
            c.ok("CLIENT", "SETNAME", "first"), d.ok("SELECT", "3")
            id_d = d.ok("CLIENT", "ID")
            same(True, id_d > id_c > 0, "ids grow")
            mine = fields(c.ok("CLIENT", "INFO"))
            names.append(list(mine))
            same(str(id_c), mine["id"], "id")
            same("first", mine["name"], "name")
            same("client|info", mine["cmd"], "cmd")
            same("%s:%d" % c.sock.getsockname(), mine["addr"], "addr")
            same("127.0.0.1:%d" % server.port, mine["laddr"], "laddr")
            same(("0", "2", "default"), (mine["db"], mine["resp"], mine["user"]), "db, resp, user")
            lines = c.ok("CLIENT", "LIST").splitlines()
            by_id = {fields(line)["id"]: fields(line) for line in lines}
            same({str(id_c), str(id_d)}, set(by_id), "CLIENT LIST")
            same(("3", "3"), (by_id[str(id_d)]["db"], by_id[str(id_d)]["resp"]), "the other one")
            listed = c.ok("CLIENT", "LIST", "ID", id_d, "999").splitlines()
            same(1, len(listed), "CLIENT LIST ID")
            same(2, len(c.ok("CLIENT", "LIST", "TYPE", "normal").splitlines()), "TYPE normal")
    same(names[0], names[1], "fields of CLIENT INFO")


def is_closed(c):
    try:
        c.raw("PING")
        return False
    except resp.Closed:
        return True


def test_client_kill(t):
    """Every form of CLIENT KILL kills whom it names and nobody else."""
    for server in (t.redis(), t.hearth()):
        boss = server.connect()
        boss_id = boss.ok("CLIENT", "ID")

        def victim(server=server):
            c = server.connect()
            return c, c.ok("CLIENT", "ID"), "%s:%d" % c.sock.getsockname()

        a, _, address = victim()
        same(b"OK", boss.ok("CLIENT", "KILL", address), "old form")
        same(True, is_closed(a), "killed by address")
        same(True, "No such client" in boss.call("CLIENT", "KILL", address), "twice")
        a, id_a, _ = victim()
        b, _, address_b = victim()
        same(1, boss.ok("CLIENT", "KILL", "ID", id_a), "ID")
        same((True, False), (is_closed(a), is_closed(b)), "killed by id")
        same(1, boss.ok("CLIENT", "KILL", "ADDR", address_b), "ADDR")
        same(True, is_closed(b), "killed by ADDR")
        a, b = victim()[0], victim()[0]
        same(2, boss.ok("CLIENT", "KILL", "TYPE", "normal"), "TYPE normal, not me")
        same((True, True, False), (is_closed(a), is_closed(b), is_closed(boss)), "by TYPE")
        a, id_a, _ = victim()
        same(0, boss.ok("CLIENT", "KILL", "ID", id_a, "ADDR", "1.1.1.1:1"), "both must match")
        laddr = "127.0.0.1:%d" % server.port
        same(1, boss.ok("CLIENT", "KILL", "LADDR", laddr, "ID", id_a), "LADDR")
        same(True, is_closed(a), "killed by LADDR")
        a = victim()[0]
        same(1, boss.ok("CLIENT", "KILL", "USER", "default"), "USER")
        same(True, is_closed(a), "killed by USER")
        same(0, boss.ok("CLIENT", "KILL", "ID", boss_id), "not me by default")
        same(b":1\r\n", boss.raw("CLIENT", "KILL", "ID", boss_id, "SKIPME", "no"), "me")
        same(True, is_closed(boss), "killed itself")
        last = server.connect()
        address = "%s:%d" % last.sock.getsockname()
        same(b"+OK\r\n", last.raw("CLIENT", "KILL", address), "itself, old form")
        same(True, is_closed(last), "killed itself, old form")


def test_client_reply(t):
    """CLIENT REPLY OFF, SKIP and ON: exactly Redis' replies, in pipelines too."""
    streams = [
        [["CLIENT", "REPLY", "OFF"], ["SET", "a", "1"], ["GET", "a"], ["CLIENT", "REPLY", "ON"],
         ["GET", "a"]],
        [["CLIENT", "REPLY", "SKIP"], ["SET", "a", "2"], ["GET", "a"], ["ECHO", "x"]],
        [["CLIENT", "REPLY", "SKIP"], ["CLIENT", "REPLY", "SKIP"], ["GET", "a"], ["ECHO", "y"]],
        [["CLIENT", "REPLY", "OFF"], ["CLIENT", "REPLY", "SKIP"], ["GET", "a"],
         ["CLIENT", "REPLY", "ON"], ["ECHO", "z"]],
        [["CLIENT", "REPLY", "SKIP"], ["NOSUCH"], ["GET"], ["ECHO", "e"]],
        [["CLIENT", "REPLY", "OFF"], ["NOSUCH"], ["CLIENT", "REPLY", "BAD"],
         ["CLIENT", "REPLY", "ON"], ["ECHO", "f"]],
        [["CLIENT", "REPLY", "OFF"], ["HELLO", "3"], ["CLIENT", "REPLY", "ON"], ["GET", "no"]],
        [["CLIENT", "REPLY", "OFF"], ["RESET"], ["ECHO", "after reset"]],
        [["CLIENT", "REPLY", "OFF"], ["QUIT"]],
    ]  # fmt: skip
    redis, hearth = t.redis(), t.hearth()
    for stream in streams:
        data = b"".join(resp.encode(args) for args in stream)
        with redis.connect() as a, hearth.connect() as b:
            a.send_raw(data), b.send_raw(data)
            expected = a.read_available(0.2 * harness.SLOWNESS)
            got = b.read_available(0.2 * harness.SLOWNESS, len(expected[0]))
            same(expected, got, "CLIENT REPLY stream %r" % stream)


def test_config(t):
    """CONFIG: what is set is got, and takes effect; REWRITE keeps it over a restart."""
    with t.hearth().connect() as c:
        everything = c.ok("CONFIG", "GET", "*")
        names = [n.decode() for n in everything[::2]]
        needed = ["bind", "port", "dir", "maxclients", "timeout", "requirepass", "maxmemory",
                  "maxmemory-policy", "databases", "client-output-buffer-limit", "unixsocket",
                  "proto-max-bulk-len", "slowlog-max-len", "loglevel", "tcp-keepalive", "save",
                  "appendonly"]  # fmt: skip
        same([], [n for n in needed if n not in names], "names of CONFIG GET *")
        for name, value in (("timeout", "77"), ("maxclients", "500"), ("slowlog-max-len", "9"),
                            ("loglevel", "warning"), ("tcp-keepalive", "60"),
                            ("client-output-buffer-limit", "normal 1048576 524288 5")):  # fmt: skip
            c.ok("CONFIG", "SET", name, value)
            got = c.ok("CONFIG", "GET", name)[1].decode()
            same(True, value in got, "CONFIG GET %s: %s" % (name, got))
        same(True, "can't set protected config" in c.call("CONFIG", "SET", "dir", "/tmp"), "dir")
        same(True, isinstance(c.call("CONFIG", "SET", "port", "x"), resp.ReplyError), "port x")


def test_config_rewrite(t):
    t.needs_hearth()
    path = os.path.join(t.dir, "hearth.conf")
    first = t.new_hearth()
    with open(path, "w", encoding="utf-8") as f:
        f.write("# a comment that stays\ntimeout 5\nmaxclients 321\n\n")
        for name in ("port", "bind", "dir", "memory", "warm-size", "admin-port"):
            f.write("%s %s\n" % (name, first.options[name]))
    line = first.command_line
    first.command_line = lambda: [line()[0], path]
    first.start()
    same([b"timeout", b"5"], first.call("CONFIG", "GET", "timeout"), "from the file")
    first.call("CONFIG", "SET", "timeout", "42")
    first.call("CONFIG", "SET", "slowlog-max-len", "7")
    same(b"OK", first.call("CONFIG", "REWRITE"), "REWRITE")
    with open(path, encoding="utf-8") as f:
        text = f.read()
    same(True, "# a comment that stays" in text, "comment kept")
    first.terminate()
    first.start()
    same([b"timeout", b"42"], first.call("CONFIG", "GET", "timeout"), "after the restart")
    same([b"slowlog-max-len", b"7"], first.call("CONFIG", "GET", "slowlog-max-len"), "appended")
    same([b"maxclients", b"321"], first.call("CONFIG", "GET", "maxclients"), "kept")


def test_slowlog(t):
    """Slow commands are kept, newest first, cut as in Redis."""
    answers = []
    for server in (t.redis(), t.hearth()):
        with server.connect() as c:
            c.ok("CLIENT", "SETNAME", "slow")
            c.ok("CONFIG", "SET", "slowlog-log-slower-than", "0")
            c.ok("CONFIG", "SET", "slowlog-max-len", "5")
            c.ok("SLOWLOG", "RESET")
            c.ok("SET", "k", "v")
            c.ok("SET", "long", "x" * 300)
            c.ok("MSET", *["w%d" % i for i in range(60)])
            entries = c.ok("SLOWLOG", "GET", "10")
            answers.append([(e[3], e[5]) for e in entries])
            same(6, len(entries[0]), "fields of an entry")
            ids = [e[0] for e in entries]
            same(sorted(ids, reverse=True), ids, "newest first")
            same(True, abs(entries[0][1] - time.time()) < 10, "time")
            same("%s:%d" % c.sock.getsockname(), entries[0][4].decode(), "address")
            for i in range(10):
                c.ok("GET", "k%d" % i)
            same(5, c.ok("SLOWLOG", "LEN"), "slowlog-max-len")
            same(2, len(c.ok("SLOWLOG", "GET", "2")), "SLOWLOG GET 2")
            c.ok("CONFIG", "SET", "slowlog-log-slower-than", "-1")
            c.ok("SLOWLOG", "RESET")
            c.ok("GET", "k")
            same(0, c.ok("SLOWLOG", "LEN"), "switched off")
    same(answers[0], answers[1], "SLOWLOG GET")


def test_hello_and_auth(t):
    """Passwords: AUTH, HELLO AUTH SETNAME, changes at run time; all answers as Redis'."""
    conversation = [
        ["PING"], ["GET", "k"], ["AUTH", "wrong"], ["AUTH", "nobody", "secret"],
        ["HELLO", "3", "AUTH", "default", "wrong"], ["GET", "k"],
        ["HELLO", "3", "AUTH", "default", "secret", "SETNAME", "me"], ["CLIENT", "GETNAME"],
        ["GET", "k"], ["RESET"], ["GET", "k"], ["AUTH", "secret"], ["GET", "k"],
        ["CONFIG", "GET", "requirepass"], ["CONFIG", "SET", "requirepass", "other"], ["GET", "k"],
        ["AUTH", "secret"], ["AUTH", "other"], ["AUTH", "default", "other"],
        ["CONFIG", "SET", "requirepass", ""], ["AUTH", "other"], ["RESET"], ["GET", "k"],
    ]  # fmt: skip
    answers = []
    for server in (t.redis(requirepass="secret"), t.hearth(requirepass="secret")):
        with server.connect() as c:
            answers.append([c.raw(*args) for args in conversation])
            server.options["requirepass"] = ""
    import known_differences

    for args, expected, got in zip(conversation, *answers):
        if not known_differences.same_reply(args, expected, got):
            same(expected, got, "%r" % args)


def test_hello_reply(t):
    """HELLO's map: the fields clients read."""
    with t.hearth().connect() as c:
        reply = c.ok("HELLO", "3")
        same({b"server", b"version", b"proto", b"id", b"mode", b"role", b"modules"}, set(reply),
             "fields")  # fmt: skip
        values = tuple(reply[k] for k in (b"proto", b"mode", b"role", b"modules"))
        same((3, b"standalone", b"master", []), values, "values")
        same(c.ok("CLIENT", "ID"), reply[b"id"], "id")
        again = c.ok("HELLO", "2")
        same(2, again[again.index(b"proto") + 1], "back to RESP2")


def test_unix_socket(t):
    path = os.path.join(t.dir, "s")
    hearth = t.hearth(unixsocket=path, unixsocketperm="700")
    same(0o700, os.stat(path).st_mode & 0o777, "permissions")
    with resp.Connection(path) as c, hearth.connect() as d:
        c.ok("SET", "k", "by unix socket")
        same(b"by unix socket", d.ok("GET", "k"), "seen by TCP")
        same(True, path in fields(c.ok("CLIENT", "INFO"))["addr"], "address in CLIENT INFO")
    hearth.terminate()
    same(False, os.path.exists(path), "socket file left behind")


def test_protected_mode(t):
    """Bound to every address without a password, only this machine is served."""
    addresses = [a for a in re.findall(r"inet (\d+\.\d+\.\d+\.\d+)", os.popen("ip -4 addr").read())
                 if not a.startswith("127.")]  # fmt: skip
    if not addresses:
        raise harness.Skip("no address but loopback")
    answers = []
    for server in (t.redis(bind="0.0.0.0"), t.hearth(bind="0.0.0.0")):
        with resp.Connection((addresses[0], server.port)) as c:
            c.send("PING")
            answers.append((c.read_to_end()))
        with server.connect() as c:
            c.ok("CONFIG", "SET", "protected-mode", "no")
            with resp.Connection((addresses[0], server.port)) as d:
                same(b"PONG", d.ok("PING"), "protection off")
            c.ok("CONFIG", "SET", "protected-mode", "yes")
            c.ok("CONFIG", "SET", "requirepass", "pw")
            with resp.Connection((addresses[0], server.port)) as d:
                same(True, d.raw("PING").startswith(b"-NOAUTH"), "with a password")
        server.options["requirepass"] = "pw"
    same(True, answers[0].startswith(b"-DENIED Redis is running in protected mode"), "Redis itself")
    same(b"-DENIED", answers[1][:7], "Hearth")


def test_ipv6_and_many_addresses(t):
    hearth = t.hearth(bind=["127.0.0.1", "127.0.0.2", "-::1"])
    for address in ("127.0.0.1", "127.0.0.2"):
        with resp.Connection((address, hearth.port)) as c:
            same(b"PONG", c.ok("PING"), address)
    if os.path.exists("/proc/net/if_inet6") and socket.has_ipv6:
        with socket.socket(socket.AF_INET6) as s:
            if s.connect_ex(("::1", hearth.port)) == 0:
                s.sendall(b"PING\r\n")
                same(b"+PONG\r\n", s.recv(100), "::1")


def test_shutdown_command(t):
    """SHUTDOWN closes the connection without a reply and ends the process with 0."""
    for arguments in ([], ["NOSAVE"], ["SAVE"], ["NOW"], ["NOW", "FORCE"]):
        hearth = t.hearth()
        with hearth.connect() as c:
            c.ok("SET", "k", "v")
            c.send("SHUTDOWN", *arguments)
            hearth.expected_end = "stop"
            same(b"", c.read_to_end(), "reply to SHUTDOWN %r" % arguments)
        hearth.wait_stopped()


def test_idle_memory_and_banner(t):
    """The log says what it is, where it listens and its budget; an idle server uses little CPU."""
    t.needs_hearth()
    hearth = t.hearth()
    log = hearth.log().lower()
    for word in ("hearth", str(hearth.port), "memory"):
        same(True, word in log, "%r in the log:\n%s" % (word, log))

    def cpu_ticks():
        with open("/proc/%d/stat" % hearth.pid, encoding="ascii") as f:
            parts = f.read().rsplit(")", 1)[1].split()
        return int(parts[11]) + int(parts[12])

    before = cpu_ticks()
    time.sleep(2)
    used = (cpu_ticks() - before) / os.sysconf("SC_CLK_TCK") / 2
    t.note("idle CPU %.1f %%, RSS %.1f MB" % (100 * used, hearth.rss() / 1e6))
    same(True, used < 0.05, "idle CPU below 5 %%: %.3f" % used)


def test_expiry_happens(t):
    """Expired keys vanish for every command, hot or demoted, and DBSIZE comes down by itself."""
    hearth = t.hearth()
    with hearth.connect() as c:
        for i in range(200):
            c.ok("SET", "hot%d" % i, "v", "PX", "300")
            c.ok("SET", "cold%d" % i, "v", "PX", "300")
            if not t.stands_in():
                c.call("HEARTH", "DEMOTE", "cold%d" % i)
        c.ok("SET", "stays", "v")
        time.sleep(0.35)
        for i in range(0, 200, 2):
            for key in ("hot%d" % i, "cold%d" % i):
                same(None, c.ok("GET", key), key)
                same(-2, c.ok("TTL", key), key)
                same(0, c.ok("EXISTS", key), key)
        same([b"stays"], c.ok("KEYS", "*"), "KEYS")
        same([b"stays"], cases.scan_all(c, []), "SCAN")
        wait_until(lambda: c.ok("DBSIZE") == 1, 10, "DBSIZE counts expired keys")
