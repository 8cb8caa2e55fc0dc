#include "engine/base/clock.h"

#include <time.h>

#include "tests/support/unit.h"

static int64_t stored_wall(void *arg)
{
    return ((int64_t *)arg)[0];
}

static int64_t stored_mono(void *arg)
{
    return ((int64_t *)arg)[1];
}

START_TEST(system_clock_is_unix_time)
{
    int64_t before = (int64_t)time(NULL) - 1; /* time() lags up to a tick behind */
    int64_t now_us = clock_wall_us();
    ck_assert_int_ge(now_us, before * 1000000);
    ck_assert_int_le(now_us, ((int64_t)time(NULL) + 2) * 1000000);
    ck_assert_int_le(clock_wall_ms() - now_us / 1000, 1000);
}
END_TEST

START_TEST(monotone_never_steps_back)
{
    int64_t last = clock_mono_us();
    for (int i = 0; i < 100000; i++) {
        int64_t now = clock_mono_us();
        ck_assert_int_ge(now, last);
        last = now;
    }
}
END_TEST

START_TEST(a_test_replaces_and_restores_the_source)
{
    int64_t times[2] = {1700000000123456, 42};
    struct clock_source source = {stored_wall, stored_mono, times};
    clock_set_source(&source);
    ck_assert_int_eq(clock_wall_us(), 1700000000123456);
    ck_assert_int_eq(clock_wall_ms(), 1700000000123);
    ck_assert_int_eq(clock_mono_us(), 42);
    times[0] -= 1000000; /* wall clocks may step back */
    ck_assert_int_eq(clock_wall_ms(), 1699999999123);
    clock_set_source(NULL);
    ck_assert_int_gt(clock_wall_us(), 1700000000123456);
}
END_TEST

UNIT_MAIN("clock", {system_clock_is_unix_time}, {monotone_never_steps_back},
          {a_test_replaces_and_restores_the_source})
