/*
 * Buckets 0..63 are exact; from there on each power of two has 64 steps, so a bucket's number is
 * (position of the top bit, the six bits below it).
 */
#include "tools/hearth-bench/hist.h"

void hist_merge(struct hist *into, const struct hist *from)
{
    into->count += from->count;
    into->sum_ns += from->sum_ns;
    into->max_ns = from->max_ns > into->max_ns ? from->max_ns : into->max_ns;
    for (uint32_t i = 0; i < HIST_BUCKETS; i++) {
        into->bucket[i] += from->bucket[i];
    }
}

static double bucket_middle_ns(uint32_t index)
{
    if (index < HIST_STEPS) {
        return index;
    }
    uint32_t shift = index / HIST_STEPS - 1u;
    double low = (double)((uint64_t)(index % HIST_STEPS + HIST_STEPS) << shift);
    return low + (double)(1ull << shift) / 2;
}

double hist_quantile_us(const struct hist *hist, double q)
{
    if (hist->count == 0) {
        return 0;
    }
    uint64_t rank = (uint64_t)(q * (double)(hist->count - 1)) + 1;
    uint64_t seen = 0;
    uint32_t i = 0;
    while (i < HIST_BUCKETS - 1 && (seen += hist->bucket[i]) < rank) {
        i++;
    }
    double ns = bucket_middle_ns(i);
    double max_ns = (double)hist->max_ns;
    return (ns < max_ns ? ns : max_ns) / 1000;
}

double hist_mean_us(const struct hist *hist)
{
    return hist->count == 0 ? 0 : (double)hist->sum_ns / (double)hist->count / 1000;
}
