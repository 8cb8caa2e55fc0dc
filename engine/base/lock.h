/*
 * Purpose: a small ranked mutex (one word, spins a little, then futex) with clang's thread-safety
 *   annotations. Ranks and their order: engine/LOCKING.md.
 * Threads: any. Errors: debug builds abort on a rank inversion; a lock never fails.
 * Source: the three-state futex mutex of U. Drepper, "Futexes Are Tricky" (2011), section 6.
 */
#ifndef HEARTH_BASE_LOCK_H
#define HEARTH_BASE_LOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/base/check.h"

#if defined(__clang__)
#define TSA(x) __attribute__((x))
#else
#define TSA(x)
#endif
#define CAPABILITY(x) TSA(capability(x))
#define GUARDED_BY(x) TSA(guarded_by(x))
#define REQUIRES(...) TSA(requires_capability(__VA_ARGS__))
#define EXCLUDES(...) TSA(locks_excluded(__VA_ARGS__))
#define ACQUIRES(...) TSA(acquire_capability(__VA_ARGS__))
#define RELEASES(...) TSA(release_capability(__VA_ARGS__))
#define TRY_ACQUIRES(...) TSA(try_acquire_capability(__VA_ARGS__))
#define NO_TSA TSA(no_thread_safety_analysis)

/* A thread may only acquire a lock of a higher rank than all it holds; SHARD locks among
 * themselves in ascending address order. */
enum lock_rank {
    LOCK_RANK_CONTROL, /* start, stop, configuration */
    LOCK_RANK_FLUSH,   /* namespace map */
    LOCK_RANK_SHARD,
    LOCK_RANK_POLICY,
    LOCK_RANK_LOG,   /* segment table */
    LOCK_RANK_QUEUE, /* mailboxes */
    LOCK_RANK_LEAF,  /* metrics, logging */
};

struct CAPABILITY("mutex") lock {
    _Atomic uint32_t word; /* 0 free, 1 held, 2 held with waiters */
    uint8_t rank;          /* immutable after init */
};

void lock_init(struct lock *l, enum lock_rank rank);
/* Slow paths, in lock.c. */
void lock_wait(struct lock *l);
void lock_wake(struct lock *l);
#ifdef HEARTH_DEBUG
void lock_note_acquired(const struct lock *l);
void lock_note_tried(const struct lock *l); /* cannot deadlock: no rank check */
void lock_note_released(const struct lock *l);
#else
#define lock_note_acquired(l) ((void)(l))
#define lock_note_tried(l) ((void)(l))
#define lock_note_released(l) ((void)(l))
#endif

static inline NO_TSA void lock_acquire(struct lock *l) ACQUIRES(l)
{
    uint32_t free_word = 0;
    if (UNLIKELY(!atomic_compare_exchange_strong_explicit(&l->word, &free_word, 1,
                                                          memory_order_acquire,
                                                          memory_order_relaxed))) {
        lock_wait(l);
    }
    lock_note_acquired(l);
}

static inline NO_TSA bool lock_try(struct lock *l) TRY_ACQUIRES(true, l)
{
    uint32_t free_word = 0;
    bool got = atomic_compare_exchange_strong_explicit(&l->word, &free_word, 1,
                                                       memory_order_acquire, memory_order_relaxed);
    if (got) {
        lock_note_tried(l);
    }
    return got;
}

static inline NO_TSA void lock_release(struct lock *l) RELEASES(l)
{
    lock_note_released(l);
    if (UNLIKELY(atomic_exchange_explicit(&l->word, 0, memory_order_release) == 2)) {
        lock_wake(l);
    }
}

#endif
