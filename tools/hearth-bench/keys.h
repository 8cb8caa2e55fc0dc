/*
 * Purpose: random numbers, and which key comes next: uniform, Zipf (exact for any skew, O(1) set-up:
 *   rejection-inversion, Hörmann and Derflinger 1996), and the name of key number i.
 * Threads: struct rng is one thread's; struct keys is immutable after keys_init.
 * Errors: keys_init dies when a number does not fit into the key size.
 */
#ifndef HEARTH_BENCH_KEYS_H
#define HEARTH_BENCH_KEYS_H

#include <stddef.h>
#include <stdint.h>

#include "tools/hearth-bench/bench.h"

struct rng {
    uint64_t state;
};

/* splitmix64's finaliser: a bijection of 64 bits. */
static inline uint64_t mix64(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9ull;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

static inline uint64_t rng_next(struct rng *rng)
{
    return mix64(rng->state += 0x9e3779b97f4a7c15ull);
}

/* 0 <= result < 1. */
static inline double rng_real(struct rng *rng)
{
    return (double)(rng_next(rng) >> 11) * 0x1p-53;
}

static inline uint64_t rng_below(struct rng *rng, uint64_t n)
{
    return (uint64_t)(((unsigned __int128)rng_next(rng) * n) >> 64);
}

struct keys {
    uint64_t n_keys;
    enum bench_distribution distribution;
    const char *prefix;
    size_t prefix_length;
    size_t n_digits; /* zero-padded to this; 0: as many as needed */
    /* Zipf */
    double theta, h_x1, h_n, s;
    unsigned scatter_bits;
};

/* n_keys is given apart because records have a number of their own. */
void keys_init(struct keys *keys, const struct bench_config *config, uint64_t n_keys);
/* The key of request number `sequence` (used by sequential alone). */
uint64_t keys_next(const struct keys *keys, struct rng *rng, uint64_t sequence);
/* Bijection of 0..n_keys-1, the same in every run. */
uint64_t keys_scatter(const struct keys *keys, uint64_t rank);
/* Writes the name into BENCH_KEY_MAX bytes, without a NUL; returns its length. */
size_t keys_name(const struct keys *keys, uint64_t key, char *name_out);

#endif
