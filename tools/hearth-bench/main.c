/*
 * hearth-bench: load generator for cache servers.
 *
 * The main thread connects, starts the workers and then only watches: it opens and closes the
 * measured span, reads the server's CPU clock at both ends and its memory in between, and prints.
 * Workers share nothing but the workload's counters.
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tools/hearth-bench/args.h"
#include "tools/hearth-bench/proc.h"
#include "tools/hearth-bench/report.h"

#define WATCH_NS 10000000ll /* how often the end of the run is looked for */
#define RSS_NS 100000000ll  /* how often the server's memory is read */
#define PROGRESS_NS 2000000000ll

static volatile sig_atomic_t is_interrupted;

void bench_die(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fputs("hearth-bench: ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    exit(2);
}

void *bench_realloc(void *p, size_t size)
{
    p = realloc(p, size > 0 ? size : 1);
    if (p == NULL) {
        bench_die("out of memory (%zu bytes)", size);
    }
    return p;
}

void *bench_alloc(size_t size)
{
    return bench_realloc(NULL, size);
}

void *bench_zalloc(size_t n, size_t size)
{
    void *p = calloc(n > 0 ? n : 1, size);
    if (p == NULL) {
        bench_die("out of memory (%zu times %zu bytes)", n, size);
    }
    return p;
}

static void on_signal(int number)
{
    (void)number;
    is_interrupted = 1;
}

static double own_cpu_seconds(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static uint64_t n_done(const struct worker *workers, unsigned n_workers)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < n_workers; i++) {
        n += atomic_load_explicit(&workers[i].n_done, memory_order_relaxed);
    }
    return n;
}

static bool are_over(struct worker *workers, unsigned n_workers)
{
    for (unsigned i = 0; i < n_workers; i++) {
        if (!atomic_load(&workers[i].is_over)) {
            return false;
        }
    }
    return true;
}

/* --- the measured span ----------------------------------------------------------------------------*/

struct watch {
    struct worker *workers;
    unsigned n_workers;
    const struct bench_config *config;
    struct report *report;
    struct proc_cpu cpu_first;
    double own_first;
    double rss_sum;
    unsigned n_rss;
};

static void read_rss(struct watch *watch)
{
    struct server_use *server = &watch->report->server;
    int64_t rss;
    if (server->is_known && proc_rss((int64_t)watch->config->server_pid, &rss)) {
        server->rss_first = watch->n_rss == 0 ? rss : server->rss_first;
        server->rss_last = rss;
        server->rss_max = rss > server->rss_max ? rss : server->rss_max;
        watch->rss_sum += (double)rss;
        watch->n_rss++;
    }
}

static void open_span(struct watch *watch)
{
    struct server_use *server = &watch->report->server;
    if (watch->config->server_pid != 0) {
        server->is_known = proc_cpu((int64_t)watch->config->server_pid, &watch->cpu_first);
        if (!server->is_known) {
            bench_die("--server-pid %llu: no such process",
                      (unsigned long long)watch->config->server_pid);
        }
    }
    watch->own_first = own_cpu_seconds();
    read_rss(watch);
}

static void close_span(struct watch *watch)
{
    struct server_use *server = &watch->report->server;
    struct proc_cpu cpu;
    watch->report->own_cpu_seconds = own_cpu_seconds() - watch->own_first;
    if (!server->is_known) {
        return;
    }
    read_rss(watch);
    if (!proc_cpu((int64_t)watch->config->server_pid, &cpu)) {
        server->is_known = false;
        fprintf(stderr, "hearth-bench: the server (process %llu) is gone\n",
                (unsigned long long)watch->config->server_pid);
        return;
    }
    server->cpu_seconds = (double)(cpu.total_ns - watch->cpu_first.total_ns) / 1e9;
    double system = (double)(cpu.system_ns - watch->cpu_first.system_ns) / 1e9;
    server->system_share = server->cpu_seconds > 0 ? system / server->cpu_seconds : 0;
    server->system_share = server->system_share > 1 ? 1 : server->system_share;
    server->rss_mean = watch->rss_sum / watch->n_rss;
}

static void print_progress(const struct watch *watch, double elapsed, double span, uint64_t n_new)
{
    const struct workload *workload = watch->report->workload;
    uint64_t n_next =
        atomic_load_explicit(&((struct workload *)workload)->next, memory_order_relaxed);
    fprintf(stderr, "%7.1f s %10.0f requests/s", elapsed, (double)n_new / span);
    if (workload->n_total != UINT64_MAX) {
        fprintf(stderr, " %5.1f %%", 100.0 * (double)n_next / (double)workload->n_total);
    }
    fputc('\n', stderr);
}

/* Looks after the workers until all of them are over. */
static void watch_run(struct watch *watch, struct run *run)
{
    int64_t next_rss = 0;
    int64_t said_ns = bench_now_ns();
    uint64_t said_done = 0;
    int64_t began_ns = said_ns;
    while (!are_over(watch->workers, watch->n_workers)) {
        struct timespec pause = {.tv_nsec = WATCH_NS};
        nanosleep(&pause, NULL);
        int64_t now = bench_now_ns();
        if (is_interrupted) {
            atomic_store(&run->stop_ns, now);
        }
        if (now >= next_rss) {
            read_rss(watch);
            next_rss = now + RSS_NS;
        }
        if (!watch->config->is_quiet && now - said_ns >= PROGRESS_NS) {
            uint64_t done = n_done(watch->workers, watch->n_workers);
            print_progress(watch, (double)(now - began_ns) / 1e9, (double)(now - said_ns) / 1e9,
                           done - said_done);
            said_ns = now;
            said_done = done;
        }
    }
}

/* Everything runs, nothing counts, for --warmup seconds. */
static void warm_up(const struct bench_config *config, struct run *run)
{
    int64_t end = run->start_ns + (int64_t)(config->warmup_seconds * 1e9);
    while (!is_interrupted && bench_now_ns() < end) {
        struct timespec pause = {.tv_nsec = WATCH_NS};
        nanosleep(&pause, NULL);
    }
    workload_rewind(run->workload);
}

/* --- results --------------------------------------------------------------------------------------*/

static void merge_failure(struct failure *into, const struct failure *from)
{
    if (into->count == 0) {
        memcpy(into->first, from->first, sizeof(into->first));
    }
    into->count += from->count;
}

static void merge(struct worker_results *into, const struct worker_results *from)
{
    hist_merge(&into->get, &from->get);
    hist_merge(&into->set, &from->set);
    into->hits += from->hits;
    into->misses += from->misses;
    into->fills_left_out += from->fills_left_out;
    into->value_bytes_read += from->value_bytes_read;
    into->value_bytes_written += from->value_bytes_written;
    into->n_checked += from->n_checked;
    merge_failure(&into->errors, &from->errors);
    merge_failure(&into->wrong, &from->wrong);
    merge_failure(&into->stale, &from->stale);
}

static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void run_all(const struct bench_config *config, struct workload *workload,
                    struct report *report)
{
    unsigned n_workers = (unsigned)config->n_threads;
    struct worker *workers = bench_zalloc(n_workers, sizeof(*workers));
    struct run run = {.workload = workload};
    for (unsigned i = 0; i < n_workers; i++) {
        /* the remainder goes to the first threads */
        unsigned n =
            (unsigned)(config->n_connections / n_workers) + (i < config->n_connections % n_workers);
        worker_init(&workers[i], &run, i, n);
    }
    struct watch watch = {.workers = workers,
                          .n_workers = n_workers,
                          .config = config,
                          .report = report};
    run.start_ns = bench_now_ns();
    atomic_store(&run.stop_ns, INT64_MAX);
    bool has_warmup = config->warmup_seconds > 0;
    atomic_store(&run.measure_ns, has_warmup ? INT64_MAX : 0);
    if (has_warmup) {
        workload_warm_up(workload);
    } else {
        open_span(&watch);
    }
    for (unsigned i = 0; i < n_workers; i++) {
        worker_start(&workers[i]);
    }
    if (has_warmup) {
        warm_up(config, &run);
        open_span(&watch);
    }
    int64_t measure_ns = has_warmup ? bench_now_ns() : run.start_ns;
    if (config->seconds > 0) {
        atomic_store(&run.stop_ns, measure_ns + (int64_t)(config->seconds * 1e9));
    }
    atomic_store(&run.measure_ns, measure_ns);
    watch_run(&watch, &run);
    close_span(&watch);

    int64_t end_ns = measure_ns;
    for (unsigned i = 0; i < n_workers; i++) {
        worker_join(&workers[i]);
        end_ns = workers[i].end_ns > end_ns ? workers[i].end_ns : end_ns;
        merge(&report->results, &workers[i].results);
        worker_deinit(&workers[i]);
    }
    free(workers);
    report->seconds = (double)(end_ns - measure_ns) / 1e9;
    hist_merge(&report->all, &report->results.get);
    hist_merge(&report->all, &report->results.set);
}

int main(int argc, char **argv)
{
    static struct bench_config config;
    static struct workload workload;
    static struct report report;
    args_parse(argc, argv, &config);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    raise_file_limit();
    workload_init(&workload, &config);
    if (workload.n_total == UINT64_MAX && config.seconds == 0) {
        config.seconds = 10;
    }
    report.config = &config;
    report.workload = &workload;
    run_all(&config, &workload, &report);
    report_print(&report);
    bool is_well = report.results.errors.count == 0 && report.results.wrong.count == 0 &&
                   report.results.stale.count == 0;
    return is_well ? 0 : 1;
}
