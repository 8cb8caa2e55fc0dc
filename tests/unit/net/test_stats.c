#include "net/stats.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support/unit.h"

static const struct cycles nanoseconds = {.has_counter = false, .per_us = 1000, .ns_per_cycle = 1};

START_TEST(quantiles_within_a_step)
{
    struct worker_stats *s = calloc(1, sizeof(*s));
    struct stats_totals t;
    memset(&t, 0, sizeof(t));
    for (uint64_t ns = 1; ns <= 1000000; ns += 10) {
        stats_record(s, &nanoseconds, CMD_ID_GET, ns);
    }
    stats_add(s, CMD_ID_GET, &t);
    ck_assert_uint_eq(t.calls, 100000);
    double p50 = stats_quantile_us(&t, 0.5);
    double p99 = stats_quantile_us(&t, 0.99);
    ck_assert(p50 >= 500 && p50 < 500 * 1.13);
    ck_assert(p99 >= 990 && p99 < 990 * 1.13);
    stats_clear(s);
    memset(&t, 0, sizeof(t));
    stats_add(s, CMD_ID_GET, &t);
    ck_assert_uint_eq(t.calls + t.cycles, 0);
    ck_assert(stats_quantile_us(&t, 0.5) == 0);
    stats_deinit(s);
    free(s);
}
END_TEST

START_TEST(buckets_grow)
{
    for (unsigned b = 1; b < STATS_BUCKETS; b++) {
        ck_assert_uint_gt(stats_bucket_ns(b), stats_bucket_ns(b - 1));
    }
}
END_TEST

START_TEST(errors_by_code)
{
    struct worker_stats *s = calloc(1, sizeof(*s));
    stats_error(s, "ERR a", 5);
    stats_error(s, "WRONGTYPE b", 11);
    stats_error(s, "ERR c", 5);
    stats_error(s, "ERRX", 4);
    ck_assert_uint_eq(s->n_errors, 4);
    ck_assert_str_eq(s->errors[0].code, "ERR");
    ck_assert_uint_eq(s->errors[0].count, 2);
    ck_assert_str_eq(s->errors[1].code, "WRONGTYPE");
    ck_assert_str_eq(s->errors[2].code, "ERRX");
    /* More codes than there is room for are counted in all. */
    for (int i = 0; i < 200; i++) {
        char text[4] = {'A' + (char)(i % 26), 'A' + (char)(i / 26), 'Z', '\0'};
        stats_error(s, text, 3);
    }
    ck_assert_uint_eq(s->n_errors, 204);
    free(s);
}
END_TEST

START_TEST(rates_forget_the_past)
{
    static struct rates r;
    uint64_t totals[RATE_COUNT] = {0};
    int64_t now = 1000000;
    for (int i = 0; i < 40; i++) {
        rates_sample(&r, now, totals);
        totals[RATE_COMMANDS] += 100;
        now += 100000;
    }
    ck_assert_uint_eq(rate_read(&r, RATE_COMMANDS), 1000);
    totals[RATE_COMMANDS] = 5; /* CONFIG RESETSTAT */
    rates_sample(&r, now, totals);
    ck_assert_uint_le(rate_read(&r, RATE_COMMANDS), 1000);
    for (int i = 0; i < 20; i++) {
        now += 100000;
        rates_sample(&r, now, totals);
    }
    ck_assert_uint_eq(rate_read(&r, RATE_COMMANDS), 0);
}
END_TEST

UNIT_MAIN("stats", {quantiles_within_a_step}, {buckets_grow}, {errors_by_code},
          {rates_forget_the_past})
