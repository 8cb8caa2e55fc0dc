/*
 * Purpose: a cache without values around the policy, driven as the engine drives it, and seeded
 *   streams of keys for it.
 * Threads: one. Errors: ck_assert.
 */
#ifndef HEARTH_TESTS_UNIT_POLICY_DRIVER_H
#define HEARTH_TESTS_UNIT_POLICY_DRIVER_H

#include <math.h>
#include <stdlib.h>

#include "engine/policy/policy.h"
#include "tests/support/unit.h"

struct thing {
    struct policy_node node;
    uint8_t unused[7];
    _Atomic uint8_t policy;
    size_t size;
    uint64_t hash;
};
_Static_assert(offsetof(struct thing, policy) == POLICY_BITS_OFFSET, "the policy's byte");

struct driver {
    struct policy *policy;
    struct thing *things; /* [n_keys] */
    uint32_t n_keys;
    uint64_t n_requests, n_hits;
};

static unsigned n_size_calls; /* how much work the policy does */

static inline uint64_t thing_hash(const struct policy_node *node)
{
    return ((const struct thing *)node)->hash;
}

static inline size_t thing_size(const struct policy_node *node)
{
    n_size_calls++;
    return ((const struct thing *)node)->size;
}

static inline bool accept_any(struct policy_node *node, void *arg)
{
    return true;
}

static inline uint64_t scramble(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static inline void driver_init(struct driver *d, uint32_t n_keys, size_t capacity)
{
    const struct policy_ops ops = {.hash = thing_hash, .size = thing_size};
    *d = (struct driver){.n_keys = n_keys};
    ck_assert_int_eq(policy_create(capacity, capacity * 2, ops, &d->policy), OK);
    d->things = calloc(n_keys, sizeof *d->things);
    ck_assert_ptr_nonnull(d->things);
    for (uint32_t i = 0; i < n_keys; i++) {
        d->things[i].hash = scramble(i + 1);
        d->things[i].size = 1;
    }
}

static inline void driver_deinit(struct driver *d)
{
    policy_destroy(&d->policy);
    ck_assert_ptr_null(d->policy);
    free(d->things);
}

static inline unsigned queue_of_thing(const struct thing *thing)
{
    return thing->policy & POLICY_QUEUE_MASK;
}

static inline bool is_in(const struct driver *d, uint32_t key)
{
    return queue_of_thing(&d->things[key]) != POLICY_NONE;
}

static inline void driver_evict(struct driver *d)
{
    enum policy_victim_kind kind;
    while (policy_needs_eviction(d->policy)) {
        if (policy_victim(d->policy, accept_any, NULL, &kind) == NULL) {
            ck_abort_msg("over capacity, and no victim"); /* ck_assert writes to a file each time */
        }
    }
}

static inline bool driver_request(struct driver *d, uint32_t key)
{
    struct thing *thing = &d->things[key];
    d->n_requests++;
    if (is_in(d, key)) {
        d->n_hits++;
        policy_hit(d->policy, &thing->node, thing->hash);
        return true;
    }
    policy_record_miss(d->policy, thing->hash);
    policy_insert(d->policy, &thing->node, thing->size);
    driver_evict(d);
    return false;
}

static inline double driver_ratio(struct driver *d)
{
    double ratio = (double)d->n_hits / (double)d->n_requests;
    d->n_hits = d->n_requests = 0;
    return ratio;
}

/* --- streams -------------------------------------------------------------------------------- */

static inline uint64_t random_next(uint64_t *state)
{
    return scramble(*state += 0x9e3779b97f4a7c15u);
}

static inline double random_unit(uint64_t *state)
{
    return (double)(random_next(state) >> 11) * 0x1p-53;
}

/* Ranks 0..n-1 with probability proportional to (rank + 1)^-alpha. */
struct zipf {
    double *sums;
    uint32_t n;
};

static inline void zipf_init(struct zipf *z, uint32_t n, double alpha)
{
    double sum = 0;
    z->n = n;
    z->sums = malloc(n * sizeof *z->sums);
    ck_assert_ptr_nonnull(z->sums);
    for (uint32_t i = 0; i < n; i++) {
        z->sums[i] = sum += pow(i + 1.0, -alpha);
    }
}

static inline uint32_t zipf_next(const struct zipf *z, uint64_t *state)
{
    double x = random_unit(state) * z->sums[z->n - 1];
    uint32_t low = 0, high = z->n - 1;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (z->sums[middle] < x) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static inline void zipf_deinit(struct zipf *z)
{
    free(z->sums);
}

#endif
