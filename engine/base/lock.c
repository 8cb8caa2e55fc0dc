/*
 * The slow half of lock.h: Drepper's mutex, third version. 2 means "held, and somebody may sleep":
 * whoever has slept takes the lock as 2, since it cannot know whether it was the last sleeper; the
 * price is one needless wake-up. A short spin comes first, because critical sections are a few
 * hundred nanoseconds and a futex round trip costs microseconds.
 *
 * Debug builds keep the thread's held locks and compare a new one with all of them: the last one need
 * not be the highest, since lock_try, which cannot deadlock, may take locks in any order.
 */
#include "engine/base/lock.h"

#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* About 1 us: several hold times of a shard lock, well under a context switch. */
#define LOCK_SPINS 50

void lock_init(struct lock *l, enum lock_rank rank)
{
    atomic_init(&l->word, 0);
    l->rank = (uint8_t)rank;
}

static inline void cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

void lock_wait(struct lock *l)
{
    for (int i = 0; i < LOCK_SPINS; i++) {
        uint32_t word = atomic_load_explicit(&l->word, memory_order_relaxed);
        if (word == 0 &&
            atomic_compare_exchange_weak_explicit(&l->word, &word, 1, memory_order_acquire,
                                                  memory_order_relaxed)) {
            return;
        }
        if (word == 2) {
            break;
        }
        cpu_relax();
    }
    while (atomic_exchange_explicit(&l->word, 2, memory_order_acquire) != 0) {
        /* Returns at once if the word is no longer 2; a signal or a stray wake only loops. */
        syscall(SYS_futex, &l->word, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
    }
}

void lock_wake(struct lock *l)
{
    syscall(SYS_futex, &l->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

#ifdef HEARTH_DEBUG

/* A command may hold every shard of the largest server (design: 2^n, at most 1024) and a few more. */
#define LOCK_HELD_MAX 2048

static _Thread_local const struct lock *held[LOCK_HELD_MAX];
static _Thread_local unsigned n_held;

static bool may_follow(const struct lock *l, const struct lock *other)
{
    if (l->rank == LOCK_RANK_SHARD && other->rank == LOCK_RANK_SHARD) {
        return (uintptr_t)l > (uintptr_t)other;
    }
    return l->rank > other->rank;
}

void lock_note_acquired(const struct lock *l)
{
    for (unsigned i = 0; i < n_held; i++) {
        if (!may_follow(l, held[i])) {
            dprintf(STDERR_FILENO,
                    "lock rank inversion: rank %u at %p taken while holding %u at %p\n", l->rank,
                    (const void *)l, held[i]->rank, (const void *)held[i]);
            check_failed("lock ranks rise", __FILE__, __LINE__);
        }
    }
    lock_note_tried(l);
}

void lock_note_tried(const struct lock *l)
{
    CHECK(n_held < LOCK_HELD_MAX);
    held[n_held++] = l;
}

void lock_note_released(const struct lock *l)
{
    unsigned i = n_held;
    while (i > 0 && held[i - 1] != l) {
        i--;
    }
    CHECK(i > 0); /* released by a thread that does not hold it */
    memmove(&held[i - 1], &held[i], (n_held - i) * sizeof(held[0]));
    n_held--;
}

#endif
