/*
 * Purpose: the policy's clock. It counts effective requests (those that raised a count), and an
 *   epoch ends when there were so many that all counts should be halved.
 * Threads: epoch_tick and epoch_now any thread, no lock; epoch_advance one thread at a time.
 * Errors: none.
 */
#ifndef HEARTH_ENGINE_POLICY_EPOCH_H
#define HEARTH_ENGINE_POLICY_EPOCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Threads tick apart, on lines of their own. */
#define EPOCH_STRIPE_BITS 3
#define EPOCH_STRIPES (1 << EPOCH_STRIPE_BITS)

struct epoch_stripe {
    _Alignas(64) _Atomic uint64_t n_ticks; /* atomic: relaxed, nearly always one writer */
};

struct epoch {
    _Atomic unsigned now;  /* atomic: relaxed, a late reader halves late */
    uint64_t n_ticks_aged; /* the one in epoch_advance: ticks accounted for */
    struct epoch_stripe stripes[EPOCH_STRIPES];
};

/* Zero-filled memory is a fresh clock. */

/* The address of a thread-local object tells threads apart. */
static inline unsigned epoch_stripe(void)
{
    static _Thread_local char anchor;
    return (unsigned)((uintptr_t)&anchor * 0x9e3779b97f4a7c15u >> (64 - EPOCH_STRIPE_BITS));
}

static inline void epoch_tick(struct epoch *epoch)
{
    _Atomic uint64_t *n_ticks = &epoch->stripes[epoch_stripe()].n_ticks;
    uint64_t n = atomic_load_explicit(n_ticks, memory_order_relaxed);
    atomic_store_explicit(n_ticks, n + 1, memory_order_relaxed);
}

static inline unsigned epoch_now(const struct epoch *epoch)
{
    return atomic_load_explicit(&epoch->now, memory_order_relaxed);
}

/* Begins the next epoch if `sample` ticks came together; half a sample is carried over, as the
 * halved counts stand for it. */
static inline bool epoch_advance(struct epoch *epoch, uint64_t sample)
{
    uint64_t n_ticks = 0;
    for (unsigned i = 0; i < EPOCH_STRIPES; i++) {
        n_ticks += atomic_load_explicit(&epoch->stripes[i].n_ticks, memory_order_relaxed);
    }
    if (n_ticks - epoch->n_ticks_aged < sample) {
        return false;
    }
    epoch->n_ticks_aged = n_ticks - sample / 2;
    atomic_store_explicit(&epoch->now, epoch_now(epoch) + 1, memory_order_relaxed);
    return true;
}

#endif
