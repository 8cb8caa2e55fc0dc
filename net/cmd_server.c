/*
 * Commands about the server: TIME SHUTDOWN SWAPDB SLOWLOG MEMORY DEBUG. INFO, CONFIG, COMMAND and
 * LATENCY have files of their own; MEMORY USAGE is in cmd_object.c.
 */
#include <stdio.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/mem.h"
#include "engine/base/options.h"
#include "net/args.h"
#include "net/cmd_data.h"
#include "net/loop.h"
#include "net/table.h"

void cmd_time(struct client *c)
{
    int64_t us = clock_wall_us();
    char text[ARG_I64_TEXT_MAX];
    reply_array(c, 2);
    reply_bulk(c, text, arg_format_i64(us / 1000000, text));
    reply_bulk(c, text, arg_format_i64(us % 1000000, text));
}

void cmd_debug(struct client *c)
{
    reply_error(c, "ERR DEBUG command not allowed. If the enable-debug-command option is set to "
                   "\"local\", you can run it from a local connection, otherwise you need to set "
                   "this option in the configuration file, and then restart the server.");
}

/* --- SHUTDOWN ----------------------------------------------------------------------------------- */

enum shutdown_flags {
    SHUTDOWN_SAVE = 1,
    SHUTDOWN_NOSAVE = 2,
    SHUTDOWN_NOW = 4,
    SHUTDOWN_FORCE = 8,
    SHUTDOWN_ABORT = 16,
};

static bool shutdown_parse(const struct command_context *ctx, unsigned *flags)
{
    static const struct {
        const char *word;
        unsigned flag;
    } words[] = {
        {"NOSAVE", SHUTDOWN_NOSAVE}, {"SAVE", SHUTDOWN_SAVE},   {"NOW", SHUTDOWN_NOW},
        {"FORCE", SHUTDOWN_FORCE},   {"ABORT", SHUTDOWN_ABORT},
    };
    for (int i = 1; i < ctx->argc; i++) {
        unsigned flag = 0;
        for (size_t w = 0; w < sizeof(words) / sizeof(words[0]); w++) {
            flag = arg_is(&ctx->argv[i], words[w].word) ? words[w].flag : flag;
        }
        if (flag == 0) {
            return false;
        }
        *flags |= flag;
    }
    bool is_abort_with_more = (*flags & SHUTDOWN_ABORT) != 0 && *flags != SHUTDOWN_ABORT;
    bool is_both = (*flags & SHUTDOWN_SAVE) != 0 && (*flags & SHUTDOWN_NOSAVE) != 0;
    return !is_abort_with_more && !is_both;
}

void cmd_shutdown(struct client *c)
{
    unsigned flags = 0;
    if (!shutdown_parse(&c->context, &flags)) {
        reply_syntax_error(c);
        return;
    }
    if ((flags & SHUTDOWN_ABORT) != 0) {
        reply_error(c, "ERR No shutdown in progress.");
        return;
    }
    /* As in Redis success has no reply: the connection ends with the server. */
    struct net *net = client_net(c);
    if (!atomic_exchange_explicit(&net->is_shutting_down, true, memory_order_relaxed)) {
        net->config.on_shutdown(net->config.arg, (flags & SHUTDOWN_NOSAVE) == 0);
    }
}

/* --- SWAPDB ------------------------------------------------------------------------------------- */

static bool db_index(struct client *c, const struct arg *a, const char *not_a_number, int *out)
{
    int64_t db = 0;
    if (!arg_i64(a, &db) || db < INT32_MIN || db > INT32_MAX) {
        reply_error(c, not_a_number);
        return false;
    }
    *out = (int)db;
    return true;
}

void cmd_swapdb(struct client *c)
{
    struct command_context *ctx = &c->context;
    int a = 0;
    int b = 0;
    if (!db_index(c, &ctx->argv[1], "ERR invalid first DB index", &a) ||
        !db_index(c, &ctx->argv[2], "ERR invalid second DB index", &b)) {
        return;
    }
    if (a < 0 || b < 0 || a >= ENGINE_DATABASES || b >= ENGINE_DATABASES) {
        reply_error(c, "ERR DB index is out of range");
        return;
    }
    ctx->op.n_keys = 0;
    if (cmd_step(c, engine_swap(&ctx->op, a, b))) {
        reply_ok(c);
    }
}

/* --- SLOWLOG ------------------------------------------------------------------------------------ */

static void reply_entry(void *arg, const struct slowlog_entry *e)
{
    struct client *c = arg;
    reply_array(c, 6);
    reply_integer(c, e->id);
    reply_integer(c, e->at_s);
    reply_integer(c, (int64_t)e->duration_us);
    reply_array(c, (size_t)e->argc);
    for (int i = 0; i < e->argc; i++) {
        reply_bulk(c, e->argv[i].data, e->argv[i].len);
    }
    reply_bulk(c, e->peer.data, e->peer.len);
    reply_bulk(c, e->name.data, e->name.len);
}

void cmd_slowlog_get(struct client *c)
{
    const struct command_context *ctx = &c->context;
    int64_t n = 10;
    if (ctx->argc > 3) {
        reply_errorf(
            c, "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try SLOWLOG HELP.",
            (int)arg_text_len(&ctx->argv[1]), ctx->argv[1].data);
        return;
    }
    if (ctx->argc == 3 && (!arg_i64(&ctx->argv[2], &n) || n < -1)) {
        reply_error(c, "ERR count should be greater than or equal to -1");
        return;
    }
    struct slowlog *log = &client_net(c)->slowlog;
    struct slowlog_entry **entries = NULL;
    uint32_t n_entries = 0;
    if (slowlog_read(log, n, &entries, &n_entries) != OK) {
        reply_status(c, NO_MEMORY);
        return;
    }
    reply_array(c, n_entries);
    for (uint32_t i = 0; i < n_entries; i++) {
        reply_entry(c, entries[i]);
    }
    slowlog_release(entries, n_entries);
}

void cmd_slowlog_len(struct client *c)
{
    reply_integer(c, slowlog_len(&client_net(c)->slowlog));
}

void cmd_slowlog_reset(struct client *c)
{
    slowlog_reset(&client_net(c)->slowlog);
    reply_ok(c);
}

/* --- MEMORY ------------------------------------------------------------------------------------- */

void cmd_memory_malloc_stats(struct client *c)
{
    struct mem_stats m;
    if (mem_stats_read(&m) != OK) {
        reply_bulk_text(c, "Stats not supported for the current allocator");
        return;
    }
    char text[256];
    int n = snprintf(text, sizeof(text),
                     "Allocated: %lu, active: %lu, metadata: %lu, resident: %lu, mapped: %lu, "
                     "retained: %lu\n",
                     (unsigned long)m.allocated_bytes, (unsigned long)m.active_bytes,
                     (unsigned long)m.metadata_bytes, (unsigned long)m.resident_bytes,
                     (unsigned long)m.mapped_bytes, (unsigned long)m.retained_bytes);
    reply_verbatim(c, text, (size_t)n);
}

void cmd_memory_purge(struct client *c)
{
    IGNORE(mem_purge()); /* without jemalloc there is nothing to purge, which Redis calls OK too */
    reply_ok(c);
}

static void stat_integer(struct client *c, const char *name, uint64_t value)
{
    reply_bulk_text(c, name);
    reply_integer(c, (int64_t)value);
}

static void stat_double(struct client *c, const char *name, double value)
{
    reply_bulk_text(c, name);
    reply_double(c, value);
}

static double ratio(uint64_t a, uint64_t b)
{
    return b > 0 ? (double)a / (double)b : 0;
}

void cmd_memory_stats(struct client *c)
{
    struct engine_stats s;
    struct mem_stats m = {0};
    engine_stats(client_net(c)->config.engine, &s);
    if (mem_stats_read(&m) != OK) {
        m.allocated_bytes = m.active_bytes = m.resident_bytes = s.rss_bytes;
    }
    uint64_t overhead = s.used_bytes > s.hot_bytes ? s.used_bytes - s.hot_bytes : 0;
    uint64_t n_keys = s.hot_items + s.warm_items;
    reply_map(c, 26);
    stat_integer(c, "peak.allocated", s.peak_rss_bytes);
    stat_integer(c, "total.allocated", s.used_bytes);
    stat_integer(c, "startup.allocated", s.base_bytes);
    stat_integer(c, "replication.backlog", 0);
    stat_integer(c, "clients.slaves", 0);
    stat_integer(c, "clients.normal", s.client_bytes);
    stat_integer(c, "cluster.links", 0);
    stat_integer(c, "aof.buffer", 0);
    stat_integer(c, "lua.caches", 0);
    stat_integer(c, "functions.caches", 0);
    stat_integer(c, "overhead.total", overhead);
    stat_integer(c, "keys.count", n_keys);
    stat_integer(c, "keys.bytes-per-key", s.hot_items > 0 ? s.hot_bytes / s.hot_items : 0);
    stat_integer(c, "dataset.bytes", s.hot_bytes);
    stat_double(c, "dataset.percentage", 100 * ratio(s.hot_bytes, s.used_bytes));
    stat_double(c, "peak.percentage", 100 * ratio(s.rss_bytes, s.peak_rss_bytes));
    stat_integer(c, "allocator.allocated", m.allocated_bytes);
    stat_integer(c, "allocator.active", m.active_bytes);
    stat_integer(c, "allocator.resident", m.resident_bytes);
    stat_double(c, "allocator-fragmentation.ratio", ratio(m.active_bytes, m.allocated_bytes));
    stat_integer(c, "allocator-fragmentation.bytes", m.active_bytes - m.allocated_bytes);
    stat_double(c, "allocator-rss.ratio", ratio(m.resident_bytes, m.active_bytes));
    stat_integer(c, "allocator-rss.bytes", m.resident_bytes - m.active_bytes);
    stat_double(c, "rss-overhead.ratio", ratio(s.rss_bytes, m.resident_bytes));
    stat_double(c, "fragmentation", ratio(s.rss_bytes, s.used_bytes));
    stat_integer(c, "fragmentation.bytes", s.rss_bytes - s.used_bytes);
}

void cmd_memory_doctor(struct client *c)
{
    struct engine_stats s;
    engine_stats(client_net(c)->config.engine, &s);
    char text[1024];
    int n = snprintf(text, sizeof(text), "Memory: %.1f of %.1f MB in use (RSS %.1f MB).\n",
                     (double)s.used_bytes / 1e6, (double)s.memory_limit / 1e6,
                     (double)s.rss_bytes / 1e6);
    size_t len = (size_t)n;
    bool is_fine = true;
    if (s.rss_bytes > s.memory_limit + s.memory_limit / 20) {
        is_fine = false;
        len +=
            (size_t)snprintf(text + len, sizeof(text) - len,
                             "* RSS is more than 5 %% above the option memory: the allocator holds "
                             "pages; MEMORY PURGE gives them back.\n");
    }
    if (s.client_bytes > engine_client_memory_limit() / 2) {
        is_fine = false;
        len += (size_t)
            snprintf(text + len, sizeof(text) - len,
                     "* Clients' buffers take more than half of their share: see tot-mem in "
                     "CLIENT LIST.\n");
    }
    if (s.index_bytes > s.memory_limit * 2 / 5) {
        is_fine = false;
        len +=
            (size_t)snprintf(text + len, sizeof(text) - len,
                             "* The index of the warm tier takes more than 40 %% of memory: raise "
                             "memory or lower warm-size.\n");
    }
    if (is_fine) {
        len += (size_t)snprintf(text + len, sizeof(text) - len, "No problem found.\n");
    }
    reply_verbatim(c, text, len);
}
