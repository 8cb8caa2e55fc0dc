/*
 * The counter is used if the processor says that it is invariant (same rate in every power state);
 * its rate is measured, not read: not every hypervisor reports it.
 */
#include "net/cycles.h"

#include <time.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#define CALIBRATION_NS 5000000L

static bool has_even_counter(void)
{
#if defined(__x86_64__)
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid(0x80000007, &a, &b, &c, &d) != 0 && (d & (1U << 8)) != 0;
#else
    return false;
#endif
}

void cycles_init(struct cycles *c)
{
    *c = (struct cycles){.has_counter = has_even_counter(), .per_us = 1, .ns_per_cycle = 1000};
    if (!c->has_counter) {
        return;
    }
    int64_t us = clock_mono_us();
    uint64_t count = cycles_now(c);
    nanosleep(&(struct timespec){.tv_nsec = CALIBRATION_NS}, NULL);
    us = clock_mono_us() - us;
    count = cycles_now(c) - count;
    if (us <= 0) { /* a test's clock stands still */
        *c = (struct cycles){.has_counter = false, .per_us = 1, .ns_per_cycle = 1000};
        return;
    }
    c->per_us = (double)count / (double)us;
    c->ns_per_cycle = 1000 / c->per_us;
}
