/*
 * Purpose: a log-linear histogram of durations: 1/64 relative resolution (1.6 %) over all of 64 bits,
 *   32 KiB, one increment to record. (The registry's own, in engine/base/metrics.h, counts in
 *   microseconds and is four times coarser: right for a server, not for comparing servers.)
 * Threads: one writer; merge after it has ended. Errors: none.
 */
#ifndef HEARTH_BENCH_HIST_H
#define HEARTH_BENCH_HIST_H

#include <stdint.h>

#define HIST_STEP_BITS 6
#define HIST_STEPS (1u << HIST_STEP_BITS)
#define HIST_BUCKETS ((64u - HIST_STEP_BITS + 1u) * HIST_STEPS)

struct hist {
    uint64_t count;
    uint64_t sum_ns;
    uint64_t max_ns;
    uint64_t bucket[HIST_BUCKETS];
};

static inline uint32_t hist_index(uint64_t ns)
{
    if (ns < HIST_STEPS) {
        return (uint32_t)ns;
    }
    uint32_t shift = 63u - (uint32_t)__builtin_clzll(ns) - HIST_STEP_BITS;
    return (shift + 1u) * HIST_STEPS + (uint32_t)(ns >> shift) - HIST_STEPS;
}

static inline void hist_record(struct hist *hist, int64_t ns)
{
    uint64_t value = ns > 0 ? (uint64_t)ns : 0;
    hist->count++;
    hist->sum_ns += value;
    hist->max_ns = value > hist->max_ns ? value : hist->max_ns;
    hist->bucket[hist_index(value)]++;
}

void hist_merge(struct hist *into, const struct hist *from);
/* Microseconds at quantile q (0..1): the middle of its bucket, never above the maximum; 0 when
 * nothing was recorded. */
double hist_quantile_us(const struct hist *hist, double q);
double hist_mean_us(const struct hist *hist);

#endif
