/*
 * Purpose: what every part of hearth-bench shares: the configuration a command line becomes, and
 *   the one way to give up. A load generator has nobody to return an error to, so whatever makes
 *   the run pointless (cannot connect, cannot read the trace) ends it with one clear line.
 * Threads: the configuration is immutable once args_parse has returned.
 * Errors: bench_die does not return; exit status 2, results that failed exit with 1.
 */
#ifndef HEARTH_BENCH_H
#define HEARTH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

enum bench_protocol { PROTOCOL_RESP, PROTOCOL_MEMCACHED, PROTOCOL_META };
enum bench_workload { WORKLOAD_MIX, WORKLOAD_LOAD, WORKLOAD_LOOKASIDE };
enum bench_distribution { KEYS_UNIFORM, KEYS_ZIPF, KEYS_SEQUENTIAL };
enum bench_output { OUTPUT_TEXT, OUTPUT_CSV, OUTPUT_JSON };

#define BENCH_KEY_MAX 250u /* memcached's limit; Redis has none that matters here */

struct bench_config {
    /* target */
    enum bench_protocol protocol;
    const char *host;
    const char *unix_path; /* NULL: TCP */
    uint64_t port;         /* 0: the protocol's own */
    const char *password;  /* NULL: none */
    uint64_t database;
    uint64_t server_pid; /* 0: not measured */
    /* load */
    uint64_t n_threads;
    uint64_t n_connections;
    uint64_t pipeline;
    uint64_t n_requests; /* 0: not limited by count */
    double seconds;      /* 0: not limited by time */
    double warmup_seconds;
    double rate; /* requests per second over all connections; 0: as fast as replies come */
    double timeout_seconds;
    uint64_t seed;
    bool has_seed;
    /* workload */
    bool is_load, is_lookaside;
    enum bench_workload workload;
    double reads_pct;
    bool has_reads;
    bool is_verified;
    uint64_t ttl_seconds;
    /* keys */
    uint64_t n_keys;
    const char *key_prefix;
    uint64_t key_size;
    enum bench_distribution distribution;
    double theta;
    /* values */
    const char *value_size;
    double compressible; /* share of a value that zstd level 1 takes away */
    bool is_json_values;
    /* input */
    const char *trace_path;
    const char *records_path;
    uint64_t n_copies;
    /* results */
    bool is_csv, is_json, is_quiet;
    enum bench_output output;
};

void bench_die(const char *fmt, ...) __attribute__((noreturn, cold, format(printf, 1, 2)));
/* malloc, calloc and realloc that die instead of returning NULL. */
void *bench_alloc(size_t size);
void *bench_zalloc(size_t n, size_t size);
void *bench_realloc(void *p, size_t size);

static inline int64_t bench_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* Writes the decimal digits of value, at most 20; returns how many. */
static inline size_t bench_put_decimal(char *to, uint64_t value)
{
    char digits[20];
    size_t n = 0;
    do {
        digits[n++] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    for (size_t i = 0; i < n; i++) {
        to[i] = digits[n - 1 - i];
    }
    return n;
}

#endif
