/*
 * INFO: Redis' field names, so that redis-cli --stat, redis_exporter and client libraries find what they
 * look for, filled with what this server has; and the section "Tiers" for what Redis has not. Fields of
 * features that do not exist here are printed with their idle value. All numbers come from the metrics
 * registry, the engine's statistics or the workers' command statistics.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/mem.h"
#include "engine/base/metrics.h"
#include "engine/base/options.h"
#include "net/loop.h"
#include "net/table.h"

#define PATH_MAX_TEXT 1024

struct info {
    struct client *client;
    struct net *net;
    struct engine_stats stats;
    char *text;
    size_t len, cap;
    bool is_broken; /* out of memory */
};

__attribute__((format(printf, 2, 3))) static void put(struct info *i, const char *fmt, ...)
{
    char line[2 * PATH_MAX_TEXT];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    size_t len = (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1;
    if (i->cap - i->len < len) {
        size_t cap = i->cap * 2 + sizeof(line);
        char *text = mem_realloc(i->text, cap);
        if (text == NULL) {
            i->is_broken = true;
            return;
        }
        i->text = text;
        i->cap = cap;
    }
    memcpy(i->text + i->len, line, len);
    i->len += len;
}

static void number(struct info *i, const char *name, uint64_t value)
{
    put(i, "%s:%lu\r\n", name, (unsigned long)value);
}

static void metric(struct info *i, const char *name, enum metric_id id)
{
    put(i, "%s:%.0f\r\n", name, metric_value(id));
}

static void human(struct info *i, const char *name, uint64_t bytes)
{
    static const char units[] = "BKMGTP";
    double v = (double)bytes;
    unsigned unit = 0;
    while (v >= 1024 && unit < sizeof(units) - 2) {
        v /= 1024;
        unit++;
    }
    if (unit == 0) {
        put(i, "%s:%luB\r\n", name, (unsigned long)bytes);
    } else {
        put(i, "%s:%.2f%c\r\n", name, v, units[unit]);
    }
}

static void bytes(struct info *i, const char *name, uint64_t value)
{
    char human_name[64];
    (void)snprintf(human_name, sizeof(human_name), "%s_human", name);
    number(i, name, value);
    human(i, human_name, value);
}

static double ratio(double a, double b)
{
    return b > 0 ? a / b : 0;
}

/* --- sections ----------------------------------------------------------------------------------- */

static void info_server(struct info *i)
{
    static struct utsname uts; /* the same for everybody, every time */
    char path[PATH_MAX_TEXT] = "";
    (void)uname(&uts);
    int64_t up_s = (clock_mono_us() - i->net->started_mono_us) / 1000000;
    ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);
    path[len > 0 ? len : 0] = '\0';
    put(i, "redis_version:%s\r\nhearth_version:%s\r\n", NET_REDIS_VERSION, HEARTH_VERSION);
    put(i, "redis_git_sha1:00000000\r\nredis_git_dirty:0\r\nredis_build_id:0\r\n");
    put(i, "redis_mode:standalone\r\nos:%s %s %s\r\narch_bits:%zu\r\n", uts.sysname, uts.release,
        uts.machine, sizeof(void *) * 8);
    put(i, "monotonic_clock:%s\r\n",
        i->net->cycles.has_counter ? "X86 TSC" : "POSIX clock_gettime");
    put(i, "multiplexing_api:%s\r\natomicvar_api:c11-builtin\r\ngcc_version:%d.%d.%d\r\n",
        event_base_get_method(i->client->worker->base), __GNUC__, __GNUC_MINOR__,
        __GNUC_PATCHLEVEL__);
    put(i, "process_id:%d\r\nprocess_supervised:no\r\nrun_id:%s\r\ntcp_port:%d\r\n", getpid(),
        i->net->run_id, (int)option_i64(OPT_PORT));
    put(i, "server_time_usec:%lld\r\nuptime_in_seconds:%lld\r\nuptime_in_days:%lld\r\n",
        (long long)clock_wall_us(), (long long)up_s, (long long)up_s / 86400);
    put(i, "hz:10\r\nconfigured_hz:10\r\nlru_clock:%lu\r\nexecutable:%s\r\nconfig_file:%s\r\n",
        (unsigned long)(clock_wall_ms() / 1000) & 0xffffff, path, options_file());
    put(i, "io_threads_active:%d\r\nworker_threads:%u\r\n", i->net->n_workers > 1,
        i->net->n_workers);
}

struct client_peaks {
    uint64_t n, n_parked, input, output;
};

static bool note_peaks(void *arg, struct client *c)
{
    struct client_peaks *p = arg;
    const struct client_shown *s = &c->shown;
    uint64_t input = atomic_load_explicit(&s->input_bytes, memory_order_relaxed) +
                     atomic_load_explicit(&s->input_free, memory_order_relaxed);
    uint64_t output = atomic_load_explicit(&s->output_bytes, memory_order_relaxed);
    p->n_parked += (atomic_load_explicit(&s->flags, memory_order_relaxed) & CLIENT_IS_PARKED) != 0;
    p->input = input > p->input ? input : p->input;
    p->output = output > p->output ? output : p->output;
    p->n += atomic_load_explicit(&c->kill_reason, memory_order_relaxed) == CLOSE_NOT_KILLED;
    return true;
}

static void info_clients(struct info *i)
{
    struct client_peaks p = {0};
    net_visit_clients(i->net, note_peaks, &p);
    number(i, "connected_clients", p.n);
    put(i, "cluster_connections:0\r\nmaxclients:%lld\r\n", (long long)option_i64(OPT_MAXCLIENTS));
    number(i, "client_recent_max_input_buffer", p.input);
    number(i, "client_recent_max_output_buffer", p.output);
    put(i, "blocked_clients:0\r\ntracking_clients:0\r\nclients_in_timeout_table:0\r\n");
    number(i, "clients_waiting_for_device", p.n_parked);
}

static void info_memory(struct info *i)
{
    const struct engine_stats *s = &i->stats;
    struct mem_stats m = {0};
    char policy[64];
    if (mem_stats_read(&m) != OK) {
        m.allocated_bytes = m.active_bytes = m.resident_bytes = s->rss_bytes;
    }
    (void)option_text(OPT_MAXMEMORY_POLICY, policy, sizeof(policy));
    uint64_t total = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t overhead = s->used_bytes > s->hot_bytes ? s->used_bytes - s->hot_bytes : 0;
    bytes(i, "used_memory", s->used_bytes);
    bytes(i, "used_memory_rss", s->rss_bytes);
    bytes(i, "used_memory_peak", s->peak_rss_bytes);
    put(i, "used_memory_peak_perc:%.2f%%\r\n",
        100 * ratio((double)s->rss_bytes, (double)s->peak_rss_bytes));
    number(i, "used_memory_overhead", overhead);
    number(i, "used_memory_startup", s->base_bytes);
    number(i, "used_memory_dataset", s->hot_bytes);
    put(i, "used_memory_dataset_perc:%.2f%%\r\n",
        100 * ratio((double)s->hot_bytes, (double)s->used_bytes));
    number(i, "allocator_allocated", m.allocated_bytes);
    number(i, "allocator_active", m.active_bytes);
    number(i, "allocator_resident", m.resident_bytes);
    bytes(i, "total_system_memory", total);
    bytes(i, "used_memory_lua", 0);
    bytes(i, "used_memory_scripts", 0);
    put(i, "number_of_cached_scripts:0\r\n");
    bytes(i, "maxmemory", s->memory_limit);
    put(i, "maxmemory_policy:%s\r\n", policy);
    put(i, "allocator_frag_ratio:%.2f\r\nallocator_frag_bytes:%lld\r\n",
        ratio((double)m.active_bytes, (double)m.allocated_bytes),
        (long long)(m.active_bytes - m.allocated_bytes));
    put(i, "allocator_rss_ratio:%.2f\r\nallocator_rss_bytes:%lld\r\n",
        ratio((double)m.resident_bytes, (double)m.active_bytes),
        (long long)(m.resident_bytes - m.active_bytes));
    put(i, "rss_overhead_ratio:%.2f\r\nrss_overhead_bytes:%lld\r\n",
        ratio((double)s->rss_bytes, (double)m.resident_bytes),
        (long long)(s->rss_bytes - m.resident_bytes));
    put(i, "mem_fragmentation_ratio:%.2f\r\nmem_fragmentation_bytes:%lld\r\n",
        ratio((double)s->rss_bytes, (double)s->used_bytes),
        (long long)(s->rss_bytes - s->used_bytes));
    put(i, "mem_not_counted_for_evict:0\r\nmem_replication_backlog:0\r\n"
           "mem_total_replication_buffers:0\r\nmem_clients_slaves:0\r\n");
    number(i, "mem_clients_normal", s->client_bytes);
    put(i, "mem_cluster_links:0\r\nmem_aof_buffer:0\r\nmem_allocator:%s\r\n",
        mem_has_jemalloc() ? "jemalloc" : "libc");
    put(i, "active_defrag_running:0\r\nlazyfree_pending_objects:0\r\nlazyfreed_objects:0\r\n");
}

static void info_persistence(struct info *i)
{
    put(i, "loading:%d\r\nasync_loading:0\r\n", i->stats.is_loading);
    put(i, "current_cow_peak:0\r\ncurrent_cow_size:0\r\ncurrent_cow_size_age:0\r\n"
           "current_fork_perc:0.00\r\ncurrent_save_keys_processed:0\r\n"
           "current_save_keys_total:0\r\nrdb_changes_since_last_save:0\r\n"
           "rdb_bgsave_in_progress:0\r\n");
    put(i, "rdb_last_save_time:%lld\r\n", (long long)(i->net->started_wall_us / 1000000));
    put(i, "rdb_last_bgsave_status:ok\r\nrdb_last_bgsave_time_sec:-1\r\n"
           "rdb_current_bgsave_time_sec:-1\r\nrdb_saves:0\r\nrdb_last_cow_size:0\r\n"
           "rdb_last_load_keys_expired:0\r\nrdb_last_load_keys_loaded:0\r\n");
    put(i, "aof_enabled:0\r\naof_rewrite_in_progress:0\r\naof_rewrite_scheduled:0\r\n"
           "aof_last_rewrite_time_sec:-1\r\naof_current_rewrite_time_sec:-1\r\n"
           "aof_last_bgrewrite_status:ok\r\naof_rewrites:0\r\n"
           "aof_rewrites_consecutive_failures:0\r\naof_last_write_status:ok\r\n"
           "aof_last_cow_size:0\r\nmodule_fork_in_progress:0\r\nmodule_fork_last_cow_size:0\r\n");
    if (i->stats.is_loading) {
        put(i, "loading_start_time:%lld\r\nloading_loaded_perc:%.2f\r\n",
            (long long)(i->net->started_wall_us / 1000000), i->stats.loading_ratio * 100);
    }
}

static uint64_t sum_workers(const struct net *net, size_t field)
{
    uint64_t sum = 0;
    for (unsigned w = 0; w < net->n_workers; w++) {
        const char *stats = (const char *)&net->workers[w].stats;
        sum += atomic_load_explicit((_Atomic uint64_t *)(uintptr_t)(stats + field),
                                    memory_order_relaxed);
    }
    return sum;
}

static void info_stats(struct info *i)
{
    struct rates *r = &i->net->rates;
    metric(i, "total_connections_received", M_CONNECTIONS_ACCEPTED);
    put(i, "total_commands_processed:%.0f\r\n",
        metric_value(M_COMMANDS) + metric_value(M_COMMAND_ERRORS));
    number(i, "instantaneous_ops_per_sec", rate_read(r, RATE_COMMANDS));
    metric(i, "total_net_input_bytes", M_NET_RECEIVED);
    metric(i, "total_net_output_bytes", M_NET_SENT);
    put(i, "total_net_repl_input_bytes:0\r\ntotal_net_repl_output_bytes:0\r\n");
    put(i, "instantaneous_input_kbps:%.2f\r\ninstantaneous_output_kbps:%.2f\r\n",
        (double)rate_read(r, RATE_INPUT) / 1024, (double)rate_read(r, RATE_OUTPUT) / 1024);
    put(i, "instantaneous_input_repl_kbps:0.00\r\ninstantaneous_output_repl_kbps:0.00\r\n");
    number(i, "rejected_connections",
           atomic_load_explicit(&i->net->n_rejected, memory_order_relaxed));
    put(i, "sync_full:0\r\nsync_partial_ok:0\r\nsync_partial_err:0\r\n");
    metric(i, "expired_keys", M_EXPIRED_KEYS);
    put(i, "expired_stale_perc:0.00\r\nexpired_time_cap_reached_count:0\r\n"
           "expire_cycle_cpu_milliseconds:0\r\n");
    metric(i, "evicted_keys", M_EVICTED_KEYS);
    metric(i, "evicted_clients", M_CONN_CLOSED_OUTPUT);
    put(i, "total_eviction_exceeded_time:0\r\ncurrent_eviction_exceeded_time:0\r\n");
    put(i, "keyspace_hits:%.0f\r\n",
        metric_value(M_LOOKUP_HOT) + metric_value(M_LOOKUP_WARM) + metric_value(M_LOOKUP_BUFFER));
    metric(i, "keyspace_misses", M_LOOKUP_MISS);
    put(i, "pubsub_channels:0\r\npubsub_patterns:0\r\npubsubshard_channels:0\r\n"
           "latest_fork_usec:0\r\ntotal_forks:0\r\nmigrate_cached_sockets:0\r\n"
           "slave_expires_tracked_keys:0\r\nactive_defrag_hits:0\r\nactive_defrag_misses:0\r\n"
           "active_defrag_key_hits:0\r\nactive_defrag_key_misses:0\r\n"
           "total_active_defrag_time:0\r\ncurrent_active_defrag_time:0\r\n"
           "tracking_total_keys:0\r\ntracking_total_items:0\r\ntracking_total_prefixes:0\r\n"
           "unexpected_error_replies:0\r\n");
    number(i, "total_error_replies", sum_workers(i->net, offsetof(struct worker_stats, n_errors)));
    put(i, "dump_payload_sanitizations:0\r\n");
    number(i, "total_reads_processed", sum_workers(i->net, offsetof(struct worker_stats, n_reads)));
    number(i, "total_writes_processed",
           sum_workers(i->net, offsetof(struct worker_stats, n_writes)));
    put(i, "io_threaded_reads_processed:0\r\nio_threaded_writes_processed:0\r\n"
           "reply_buffer_shrinks:0\r\nreply_buffer_expands:0\r\n");
}

static void info_replication(struct info *i)
{
    put(i, "role:master\r\nconnected_slaves:0\r\nmaster_failover_state:no-failover\r\n");
    put(i, "master_replid:%s\r\nmaster_replid2:%040d\r\n", i->net->run_id, 0);
    put(i, "master_repl_offset:0\r\nsecond_repl_offset:-1\r\nrepl_backlog_active:0\r\n"
           "repl_backlog_size:0\r\nrepl_backlog_first_byte_offset:0\r\nrepl_backlog_histlen:0\r\n");
}

static void cpu(struct info *i, const char *name, struct timeval tv)
{
    put(i, "%s:%lld.%06lld\r\n", name, (long long)tv.tv_sec, (long long)tv.tv_usec);
}

static void info_cpu(struct info *i)
{
    struct rusage self, children;
    (void)getrusage(RUSAGE_SELF, &self);
    (void)getrusage(RUSAGE_CHILDREN, &children);
    cpu(i, "used_cpu_sys", self.ru_stime);
    cpu(i, "used_cpu_user", self.ru_utime);
    cpu(i, "used_cpu_sys_children", children.ru_stime);
    cpu(i, "used_cpu_user_children", children.ru_utime);
}

static void info_modules(struct info *i)
{
}

static void totals_read(struct net *net, int16_t id, struct stats_totals *totals)
{
    memset(totals, 0, sizeof(*totals));
    for (unsigned w = 0; w < net->n_workers; w++) {
        stats_add(&net->workers[w].stats, id, totals);
    }
}

static void info_commandstats(struct info *i)
{
    struct stats_totals t;
    for (int16_t id = 0; id < COMMAND_COUNT; id++) {
        totals_read(i->net, id, &t);
        if (t.calls + t.rejected == 0) {
            continue;
        }
        uint64_t us = cycles_to_us(&i->net->cycles, t.cycles);
        put(i,
            "cmdstat_%s:calls=%lu,usec=%lu,usec_per_call=%.2f,rejected_calls=%lu,"
            "failed_calls=%lu\r\n",
            command_rows[id].command.name, (unsigned long)t.calls, (unsigned long)us,
            ratio((double)us, (double)t.calls), (unsigned long)t.rejected, (unsigned long)t.failed);
    }
}

struct error_count {
    const char *code;
    uint64_t count;
};

static void info_errorstats(struct info *i)
{
    struct error_count all[STATS_ERROR_CODES];
    size_t n = 0;
    for (unsigned w = 0; w < i->net->n_workers; w++) {
        struct worker_stats *s = &i->net->workers[w].stats;
        for (unsigned e = 0; e < STATS_ERROR_CODES; e++) {
            if (atomic_load_explicit(&s->errors[e].state, memory_order_acquire) == 0) {
                break;
            }
            size_t at = 0;
            while (at < n && strcmp(all[at].code, s->errors[e].code) != 0) {
                at++;
            }
            if (at == n && n < STATS_ERROR_CODES) {
                all[n++] = (struct error_count){.code = s->errors[e].code};
            }
            if (at < n) {
                all[at].count += atomic_load_explicit(&s->errors[e].count, memory_order_relaxed);
            }
        }
    }
    for (size_t e = 0; e < n; e++) {
        if (all[e].count > 0) {
            put(i, "errorstat_%s:count=%lu\r\n", all[e].code, (unsigned long)all[e].count);
        }
    }
}

static void info_latencystats(struct info *i)
{
    struct stats_totals t;
    for (int16_t id = 0; id < COMMAND_COUNT; id++) {
        totals_read(i->net, id, &t);
        if (t.calls > 0) {
            put(i, "latency_percentiles_usec_%s:p50=%.3f,p99=%.3f,p99.9=%.3f\r\n",
                command_rows[id].command.name, stats_quantile_us(&t, 0.5),
                stats_quantile_us(&t, 0.99), stats_quantile_us(&t, 0.999));
        }
    }
}

static void info_cluster(struct info *i)
{
    put(i, "cluster_enabled:0\r\n");
}

static void info_keyspace(struct info *i)
{
    for (int db = 0; db < ENGINE_DATABASES; db++) {
        const struct engine_db_stats *s = &i->stats.db[db];
        if (s->n_keys > 0) {
            put(i, "db%d:keys=%lu,expires=%lu,avg_ttl=0\r\n", db, (unsigned long)s->n_keys,
                (unsigned long)s->n_expires);
        }
    }
}

static void info_tiers(struct info *i)
{
    const struct engine_stats *s = &i->stats;
    put(i, "device_state:%s\r\ndurability:%s\r\n", s->device_state, s->durability);
    number(i, "hot_items", s->hot_items);
    number(i, "hot_bytes", s->hot_bytes);
    number(i, "hot_capacity_bytes", s->hot_capacity_bytes);
    number(i, "warm_items", s->warm_items);
    number(i, "warm_live_bytes", s->warm_live_bytes);
    number(i, "warm_used_bytes", s->warm_used_bytes);
    number(i, "warm_capacity_bytes", s->warm_capacity_bytes);
    number(i, "warm_index_bytes", s->index_bytes);
    put(i, "warm_index_bytes_per_key:%.2f\r\n",
        ratio((double)s->index_bytes, (double)s->warm_items));
    number(i, "io_buffer_bytes", s->io_buffer_bytes);
    number(i, "client_bytes", s->client_bytes);
    number(i, "client_pinned_bytes",
           atomic_load_explicit(&i->net->pinned_bytes, memory_order_relaxed));
    number(i, "segments_free", s->segments_free);
    number(i, "segments_open", s->segments_open);
    number(i, "segments_sealed", s->segments_sealed);
    number(i, "segment_bytes", s->segment_bytes);
    metric(i, "hits_hot", M_LOOKUP_HOT);
    metric(i, "hits_warm", M_LOOKUP_WARM);
    metric(i, "hits_write_buffer", M_LOOKUP_BUFFER);
    metric(i, "misses", M_LOOKUP_MISS);
    metric(i, "promotions", M_PROMOTIONS);
    metric(i, "demotions_written", M_DEMOTIONS);
    metric(i, "demotions_clean", M_DEMOTIONS_CLEAN);
    metric(i, "segments_reclaimed", M_SEGMENTS_RECLAIMED);
    put(i, "device_read_bytes:%.0f\r\n",
        metric_value(M_DEVICE_READ_BYTES) + metric_value(M_DEVICE_READ_BYTES_RECLAIM) +
            metric_value(M_DEVICE_READ_BYTES_SCAN));
    put(i, "device_written_bytes:%.0f\r\n",
        metric_value(M_DEVICE_WRITE_BYTES) + metric_value(M_DEVICE_WRITE_BYTES_REINSERT));
    put(i, "compression_ratio:%.2f\r\n",
        ratio(metric_value(M_RAW_BYTES), metric_value(M_STORED_BYTES)));
    metric(i, "device_io_errors", M_DEVICE_ERRORS_IO);
    metric(i, "device_checksum_errors", M_DEVICE_ERRORS_CHECKSUM);
    metric(i, "catalog_errors", M_CATALOG_ERRORS);
    metric(i, "writers_delayed", M_WRITERS_DELAYED);
}

/* --- the whole ---------------------------------------------------------------------------------- */

static const struct section {
    const char *name;
    void (*print)(struct info *i);
    bool is_default;
} sections[] = {
    {"Server", info_server, true},
    {"Clients", info_clients, true},
    {"Memory", info_memory, true},
    {"Persistence", info_persistence, true},
    {"Stats", info_stats, true},
    {"Replication", info_replication, true},
    {"CPU", info_cpu, true},
    {"Modules", info_modules, true},
    {"Commandstats", info_commandstats, false},
    {"Errorstats", info_errorstats, true},
    {"Latencystats", info_latencystats, false},
    {"Cluster", info_cluster, true},
    {"Keyspace", info_keyspace, true},
    {"Tiers", info_tiers, true},
};
#define N_SECTIONS (sizeof(sections) / sizeof(sections[0]))

static bool is_asked_for(const struct command_context *ctx, const struct section *s)
{
    if (ctx->argc == 1) {
        return s->is_default;
    }
    for (int i = 1; i < ctx->argc; i++) {
        const struct arg *a = &ctx->argv[i];
        bool is_all = arg_is(a, "all") || arg_is(a, "everything");
        if (is_all || (arg_is(a, "default") && s->is_default) || arg_is(a, s->name)) {
            return true;
        }
    }
    return false;
}

void cmd_info(struct client *c)
{
    struct info i = {.client = c, .net = client_net(c)};
    metrics_refresh();
    engine_stats(i.net->config.engine, &i.stats);
    for (size_t s = 0; s < N_SECTIONS; s++) {
        if (is_asked_for(&c->context, &sections[s])) {
            put(&i, "%s# %s\r\n", i.len > 0 ? "\r\n" : "", sections[s].name);
            sections[s].print(&i);
        }
    }
    if (i.is_broken) {
        reply_status(c, NO_MEMORY);
    } else {
        reply_verbatim(c, i.text != NULL ? i.text : "", i.len);
    }
    mem_free(i.text);
}
