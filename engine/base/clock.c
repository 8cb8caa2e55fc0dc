#include "engine/base/clock.h"

#include <stddef.h>
#include <time.h>

static int64_t read_us(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static int64_t system_wall_us(void *arg)
{
    return read_us(CLOCK_REALTIME);
}

static int64_t system_mono_us(void *arg)
{
    return read_us(CLOCK_MONOTONIC);
}

static const struct clock_source system_source = {system_wall_us, system_mono_us, NULL};
/* Written before threads start. */
static struct clock_source source = {system_wall_us, system_mono_us, NULL};

void clock_set_source(const struct clock_source *replacement)
{
    source = replacement != NULL ? *replacement : system_source;
}

int64_t clock_wall_us(void)
{
    return source.wall_us(source.arg);
}

int64_t clock_wall_ms(void)
{
    return clock_wall_us() / 1000;
}

int64_t clock_mono_us(void)
{
    return source.mono_us(source.arg);
}
