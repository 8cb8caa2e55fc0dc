/*
 * Purpose: all the time there is. Tests replace the source; nothing else calls clock_gettime.
 * Threads: any; clock_set_source before threads start.
 * Errors: none.
 */
#ifndef HEARTH_BASE_CLOCK_H
#define HEARTH_BASE_CLOCK_H

#include <stdint.h>

struct clock_source {
    int64_t (*wall_us)(void *arg); /* Unix time */
    int64_t (*mono_us)(void *arg); /* never steps back */
    void *arg;
};

/* NULL restores the system's clocks. */
void clock_set_source(const struct clock_source *source);
int64_t clock_wall_ms(void);
int64_t clock_wall_us(void);
int64_t clock_mono_us(void);

#endif
