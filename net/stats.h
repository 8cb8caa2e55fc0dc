/*
 * Purpose: what INFO tells of commands: calls, time, failures and a latency histogram each; errors
 *   by code; and rates per second.
 * Threads: a worker writes its own struct worker_stats (relaxed stores), any thread reads; rates
 *   are sampled by worker 0.
 * Errors: without memory for a histogram its command goes without one.
 */
#ifndef HEARTH_NET_STATS_H
#define HEARTH_NET_STATS_H

#include <stdatomic.h>
#include <stdint.h>

#include "net/cycles.h"
#include "net/table.h"

#define STATS_BUCKETS 256
#define STATS_ERROR_CODES 64
#define STATS_ERROR_CODE_MAX 32

/* Nanoseconds, log-linear: 8 steps in each power of two. */
struct stats_hist {
    _Atomic uint32_t bucket[STATS_BUCKETS];
};

struct stats_command {
    _Atomic uint64_t calls, cycles, rejected, failed;
    _Atomic(struct stats_hist *) hist; /* created at the first call */
};

struct stats_error {
    _Atomic uint32_t state; /* 0 free, 1 named: code is immutable from then on */
    char code[STATS_ERROR_CODE_MAX];
    _Atomic uint64_t count;
};

struct worker_stats {
    struct stats_command commands[COMMAND_COUNT];
    struct stats_error errors[STATS_ERROR_CODES];
    _Atomic uint64_t n_errors;
    _Atomic uint64_t n_reads, n_writes;
    _Atomic uint64_t reset_epoch; /* RESETSTAT: the worker clears its numbers itself */
    _Atomic uint64_t peak_input_bytes, peak_output_bytes;
};

/* Totals of one command over all workers. */
struct stats_totals {
    uint64_t calls, cycles, rejected, failed;
    uint32_t hist[STATS_BUCKETS];
};

static inline void stats_bump(_Atomic uint64_t *cell, uint64_t n)
{
    atomic_store_explicit(cell, atomic_load_explicit(cell, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

void stats_record(struct worker_stats *s, const struct cycles *clock, int16_t id, uint64_t cycles);
void stats_error(struct worker_stats *s, const char *text, size_t len);
void stats_clear(struct worker_stats *s);
void stats_deinit(struct worker_stats *s);
/* Adds s to the totals of command id. */
void stats_add(struct worker_stats *s, int16_t id, struct stats_totals *totals);
/* Microseconds below which a share q of the calls took; 0 when there are none. */
double stats_quantile_us(const struct stats_totals *totals, double q);
/* Upper bound of a bucket in nanoseconds. */
uint64_t stats_bucket_ns(unsigned bucket);

/* instantaneous_ops_per_sec and its kin: mean of the last 16 samples, 100 ms apart. */
enum rate { RATE_COMMANDS, RATE_INPUT, RATE_OUTPUT, RATE_COUNT };
#define RATE_SAMPLES 16
struct rates {
    _Atomic uint64_t per_second[RATE_COUNT];
    /* worker 0 */
    uint64_t last[RATE_COUNT];
    int64_t last_us;
    uint64_t sample[RATE_COUNT][RATE_SAMPLES];
    unsigned next;
};
void rates_sample(struct rates *rates, int64_t now_us, const uint64_t totals[RATE_COUNT]);
static inline uint64_t rate_read(struct rates *rates, enum rate which)
{
    return atomic_load_explicit(&rates->per_second[which], memory_order_relaxed);
}

#endif
