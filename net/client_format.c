/*
 * A connection in words: its addresses, and its line in CLIENT LIST with the fields of Redis 7.0.15 (and,
 * if the client told them, lib-name and lib-ver as Redis 7.2 has them).
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "engine/base/clock.h"
#include "engine/base/options.h"
#include "net/client.h"
#include "net/table.h"

static void format_address(const struct client_peer *peer, char *buf)
{
    char host[INET6_ADDRSTRLEN] = "?";
    switch (peer->any.sa_family) {
    case AF_INET:
        (void)inet_ntop(AF_INET, &peer->v4.sin_addr, host, sizeof(host));
        (void)snprintf(buf, CLIENT_ADDRESS_MAX, "%s:%d", host, ntohs(peer->v4.sin_port));
        break;
    case AF_INET6:
        (void)inet_ntop(AF_INET6, &peer->v6.sin6_addr, host, sizeof(host));
        (void)snprintf(buf, CLIENT_ADDRESS_MAX, "[%s]:%d", host, ntohs(peer->v6.sin6_port));
        break;
    default:
        (void)option_str(OPT_UNIXSOCKET, buf, CLIENT_ADDRESS_MAX - 2);
        strcat(buf, ":0");
        break;
    }
}

void client_format_peer(const struct client *c, char *buf)
{
    format_address(&c->peer, buf);
}

void client_format_local(const struct client *c, char *buf)
{
    struct client_peer local = {.any.sa_family = AF_UNIX};
    socklen_t len = sizeof(local);
    if (c->peer.any.sa_family != AF_UNIX) {
        (void)getsockname(c->fd, &local.any, &len);
    }
    format_address(&local, buf);
}

static void format_flags(uint32_t flags, char *buf)
{
    char *p = buf;
    if ((flags & CLIENT_IS_PARKED) != 0) {
        *p++ = 'b';
    }
    if ((flags & CLIENT_CLOSE_AFTER_REPLY) != 0) {
        *p++ = 'c';
    }
    if ((flags & CLIENT_IS_UNIX) != 0) {
        *p++ = 'U';
    }
    if ((flags & CLIENT_NO_EVICT) != 0) {
        *p++ = 'e';
    }
    if ((flags & CLIENT_NO_TOUCH) != 0) {
        *p++ = 'T';
    }
    if (p == buf) {
        *p++ = 'N';
    }
    *p = '\0';
}

size_t client_format(const struct client *c, char *buf)
{
    char peer[CLIENT_ADDRESS_MAX], local[CLIENT_ADDRESS_MAX], flags[8];
    const struct client_shown *s = &c->shown;
#define SHOWN(field) atomic_load_explicit(&s->field, memory_order_relaxed)
    uint32_t bits = SHOWN(flags);
    const struct command_row *row = SHOWN(row);
    int64_t now_ms = clock_mono_us() / 1000;
    client_format_peer(c, peer);
    client_format_local(c, local);
    format_flags(bits, flags);
    int n = snprintf(
        buf, CLIENT_LINE_MAX,
        "id=%lu addr=%s laddr=%s fd=%d name=%.256s age=%lld idle=%lld flags=%s db=%d sub=0 psub=0 "
        "ssub=0 multi=-1 qbuf=%zu qbuf-free=%zu argv-mem=%u multi-mem=0 rbs=0 rbp=0 obl=0 oll=%u "
        "omem=%zu tot-mem=%zu events=%s cmd=%s user=default redir=-1 resp=%d%s%.256s%s%.256s\n",
        (unsigned long)c->id, peer, local, c->fd, c->name != NULL ? c->name : "",
        (long long)(now_ms - c->created_ms) / 1000, (long long)(now_ms - SHOWN(active_ms)) / 1000,
        flags, SHOWN(db), SHOWN(input_bytes), SHOWN(input_free), SHOWN(argv_bytes), SHOWN(n_chunks),
        SHOWN(output_bytes), SHOWN(memory_bytes), (bits & CLIENT_WRITE_ON) != 0 ? "rw" : "r",
        row != NULL ? row->command.name : "NULL", SHOWN(resp),
        c->lib_name != NULL ? " lib-name=" : "", c->lib_name != NULL ? c->lib_name : "",
        c->lib_version != NULL ? " lib-ver=" : "", c->lib_version != NULL ? c->lib_version : "");
#undef SHOWN
    return n < CLIENT_LINE_MAX ? (size_t)n : CLIENT_LINE_MAX - 1;
}
