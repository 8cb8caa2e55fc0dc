/*
 * Purpose: a clock cheap enough to be read around every command (9 ns against 20 for clock_gettime
 *   on the development machine): the time-stamp counter where it ticks evenly, else base's clock.
 * Threads: any after init. Errors: none.
 */
#ifndef HEARTH_NET_CYCLES_H
#define HEARTH_NET_CYCLES_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/clock.h"

struct cycles {
    bool has_counter;    /* immutable after init */
    double per_us;       /* immutable after init */
    double ns_per_cycle; /* immutable after init */
};

/* Takes about 5 ms: compares the counter with the clock. */
void cycles_init(struct cycles *c);

static inline uint64_t cycles_now(const struct cycles *c)
{
#if defined(__x86_64__)
    if (c->has_counter) {
        return __builtin_ia32_rdtsc();
    }
#endif
    return (uint64_t)clock_mono_us();
}

static inline uint64_t cycles_to_us(const struct cycles *c, uint64_t n)
{
    return (uint64_t)((double)n / c->per_us);
}

#endif
