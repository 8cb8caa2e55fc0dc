/*
 * Cells are written by one thread only, so counting is a load and a store without a bus lock.
 * CONFIG RESETSTAT clears from another thread: an increment that runs at that moment may survive
 * it, which nobody can tell from a command that came a moment later.
 */
#include "net/stats.h"

#include <string.h>

#include "engine/base/mem.h"

static unsigned bucket_of(uint64_t ns)
{
    if (ns < 8) {
        return (unsigned)ns;
    }
    unsigned power = 63 - (unsigned)__builtin_clzll(ns); /* >= 3 */
    unsigned bucket = (power - 2) * 8 + (unsigned)((ns >> (power - 3)) & 7);
    return bucket < STATS_BUCKETS ? bucket : STATS_BUCKETS - 1;
}

uint64_t stats_bucket_ns(unsigned bucket)
{
    if (bucket < 8) {
        return bucket;
    }
    unsigned power = bucket / 8 + 2;
    return ((UINT64_C(8) + bucket % 8 + 1) << (power - 3)) - 1;
}

void stats_record(struct worker_stats *s, const struct cycles *clock, int16_t id, uint64_t cycles)
{
    struct stats_command *cell = &s->commands[id];
    stats_bump(&cell->calls, 1);
    stats_bump(&cell->cycles, cycles);
    struct stats_hist *hist = atomic_load_explicit(&cell->hist, memory_order_relaxed);
    if (hist == NULL) {
        hist = mem_zalloc(1, sizeof(*hist));
        if (hist == NULL) {
            return;
        }
        atomic_store_explicit(&cell->hist, hist, memory_order_release);
    }
    uint64_t ns = (uint64_t)((double)cycles * clock->ns_per_cycle);
    _Atomic uint32_t *bucket = &hist->bucket[bucket_of(ns)];
    atomic_store_explicit(bucket, atomic_load_explicit(bucket, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

void stats_error(struct worker_stats *s, const char *text, size_t len)
{
    stats_bump(&s->n_errors, 1);
    const char *blank = memchr(text, ' ', len);
    size_t n = blank != NULL ? (size_t)(blank - text) : len;
    if (n >= STATS_ERROR_CODE_MAX) {
        return;
    }
    for (unsigned i = 0; i < STATS_ERROR_CODES; i++) {
        struct stats_error *e = &s->errors[i];
        if (atomic_load_explicit(&e->state, memory_order_relaxed) == 0) {
            memcpy(e->code, text, n);
            e->code[n] = '\0';
            atomic_store_explicit(&e->state, 1, memory_order_release);
        }
        if (strncmp(e->code, text, n) == 0 && e->code[n] == '\0') {
            stats_bump(&e->count, 1);
            return;
        }
    }
}

void stats_clear(struct worker_stats *s)
{
    for (int i = 0; i < COMMAND_COUNT; i++) {
        struct stats_command *cell = &s->commands[i];
        atomic_store_explicit(&cell->calls, 0, memory_order_relaxed);
        atomic_store_explicit(&cell->cycles, 0, memory_order_relaxed);
        atomic_store_explicit(&cell->rejected, 0, memory_order_relaxed);
        atomic_store_explicit(&cell->failed, 0, memory_order_relaxed);
        struct stats_hist *hist = atomic_load_explicit(&cell->hist, memory_order_acquire);
        for (unsigned b = 0; hist != NULL && b < STATS_BUCKETS; b++) {
            atomic_store_explicit(&hist->bucket[b], 0, memory_order_relaxed);
        }
    }
    for (unsigned i = 0; i < STATS_ERROR_CODES; i++) {
        atomic_store_explicit(&s->errors[i].count, 0, memory_order_relaxed);
    }
    atomic_store_explicit(&s->n_errors, 0, memory_order_relaxed);
    atomic_store_explicit(&s->n_reads, 0, memory_order_relaxed);
    atomic_store_explicit(&s->n_writes, 0, memory_order_relaxed);
}

void stats_deinit(struct worker_stats *s)
{
    for (int i = 0; i < COMMAND_COUNT; i++) {
        mem_free(atomic_load_explicit(&s->commands[i].hist, memory_order_relaxed));
        atomic_store_explicit(&s->commands[i].hist, NULL, memory_order_relaxed);
    }
}

void stats_add(struct worker_stats *s, int16_t id, struct stats_totals *totals)
{
    struct stats_command *cell = &s->commands[id];
    totals->calls += atomic_load_explicit(&cell->calls, memory_order_relaxed);
    totals->cycles += atomic_load_explicit(&cell->cycles, memory_order_relaxed);
    totals->rejected += atomic_load_explicit(&cell->rejected, memory_order_relaxed);
    totals->failed += atomic_load_explicit(&cell->failed, memory_order_relaxed);
    struct stats_hist *hist = atomic_load_explicit(&cell->hist, memory_order_acquire);
    for (unsigned b = 0; hist != NULL && b < STATS_BUCKETS; b++) {
        totals->hist[b] += atomic_load_explicit(&hist->bucket[b], memory_order_relaxed);
    }
}

double stats_quantile_us(const struct stats_totals *totals, double q)
{
    uint64_t n = 0;
    for (unsigned b = 0; b < STATS_BUCKETS; b++) {
        n += totals->hist[b];
    }
    uint64_t rank = (uint64_t)(q * (double)n + 0.5);
    rank = rank > 0 ? rank : 1;
    uint64_t seen = 0;
    for (unsigned b = 0; b < STATS_BUCKETS && n > 0; b++) {
        seen += totals->hist[b];
        if (seen >= rank) {
            return (double)stats_bucket_ns(b) / 1000;
        }
    }
    return 0;
}

void rates_sample(struct rates *rates, int64_t now_us, const uint64_t totals[RATE_COUNT])
{
    int64_t us = now_us - rates->last_us;
    for (int r = 0; r < RATE_COUNT && us > 0; r++) {
        /* A RESETSTAT makes the totals fall. */
        uint64_t n = totals[r] >= rates->last[r] ? totals[r] - rates->last[r] : totals[r];
        rates->sample[r][rates->next] = rates->last_us == 0 ? 0 : n * 1000000 / (uint64_t)us;
        rates->last[r] = totals[r];
        uint64_t sum = 0;
        for (unsigned i = 0; i < RATE_SAMPLES; i++) {
            sum += rates->sample[r][i];
        }
        atomic_store_explicit(&rates->per_second[r], sum / RATE_SAMPLES, memory_order_relaxed);
    }
    rates->last_us = now_us;
    rates->next = (rates->next + 1) % RATE_SAMPLES;
}
