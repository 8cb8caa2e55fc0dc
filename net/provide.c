/*
 * Rows are told to the visitor under the list's lock: visitors append to a buffer of their own.
 */
#include "net/provide.h"

#include <string.h>

#include "engine/base/log.h"
#include "engine/base/provider.h"
#include "net/loop.h"
#include "net/table.h"

static void text(const struct provider_visitor *v, const char *name, const char *value)
{
    v->text(v->arg, name, value, strlen(value));
}

static bool provide_client(void *arg, struct client *c)
{
    const struct provider_visitor *v = arg;
    const struct client_shown *s = &c->shown;
    char address[CLIENT_ADDRESS_MAX];
#define SHOWN(field) atomic_load_explicit(&s->field, memory_order_relaxed)
    int64_t now_ms = clock_mono_us() / 1000;
    const struct command_row *row = SHOWN(row);
    v->row_begin(v->arg);
    v->integer(v->arg, "id", (int64_t)c->id);
    client_format_peer(c, address);
    text(v, "addr", address);
    client_format_local(c, address);
    text(v, "laddr", address);
    text(v, "name", c->name != NULL ? c->name : "");
    text(v, "lib_name", c->lib_name != NULL ? c->lib_name : "");
    text(v, "lib_version", c->lib_version != NULL ? c->lib_version : "");
    text(v, "command", row != NULL ? row->command.name : "");
    v->integer(v->arg, "db", SHOWN(db));
    v->integer(v->arg, "resp", SHOWN(resp));
    v->integer(v->arg, "worker", c->worker->id);
    v->number(v->arg, "age_seconds", (double)(now_ms - c->created_ms) / 1000);
    v->number(v->arg, "idle_seconds", (double)(now_ms - SHOWN(active_ms)) / 1000);
    v->integer(v->arg, "memory_bytes", (int64_t)SHOWN(memory_bytes));
    v->integer(v->arg, "output_bytes", (int64_t)SHOWN(output_bytes));
    v->boolean(v->arg, "waits_for_device", (SHOWN(flags) & CLIENT_IS_PARKED) != 0);
    v->row_end(v->arg);
#undef SHOWN
    return true;
}

static enum status provide_clients(void *arg, const struct provider_visitor *v)
{
    net_visit_clients(arg, provide_client, (void *)(uintptr_t)v);
    return OK;
}

static void provide_slow(const struct provider_visitor *v, const struct slowlog_entry *e)
{
    v->row_begin(v->arg);
    v->integer(v->arg, "id", e->id);
    v->integer(v->arg, "at_seconds", e->at_s);
    v->integer(v->arg, "duration_us", (int64_t)e->duration_us);
    char line[1024];
    size_t n = 0;
    for (int i = 0; i < e->argc && n < sizeof(line); i++) {
        size_t len = e->argv[i].len < sizeof(line) - n - 1 ? e->argv[i].len : sizeof(line) - n - 1;
        if (i > 0) {
            line[n++] = ' ';
            len -= len > 0 && n + len >= sizeof(line);
        }
        memcpy(line + n, e->argv[i].data, len);
        n += len;
    }
    v->text(v->arg, "command", line, n);
    v->text(v->arg, "addr", e->peer.data, e->peer.len);
    v->text(v->arg, "name", e->name.data, e->name.len);
    v->row_end(v->arg);
}

static enum status provide_slowlog(void *arg, const struct provider_visitor *v)
{
    struct net *net = arg;
    struct slowlog_entry **entries = NULL;
    uint32_t n = 0;
    enum status st = slowlog_read(&net->slowlog, -1, &entries, &n);
    for (uint32_t i = 0; i < n; i++) {
        provide_slow(v, entries[i]);
    }
    if (st == OK) {
        slowlog_release(entries, n);
    }
    return st;
}

void provide_start(struct net *net)
{
    if (provider_register("clients", provide_clients, net) != OK ||
        provider_register("slowlog", provide_slowlog, net) != OK) {
        log_warn("net", "provider refused", "names=clients,slowlog");
    }
}

void provide_stop(struct net *net)
{
    provider_unregister("clients");
    provider_unregister("slowlog");
}
