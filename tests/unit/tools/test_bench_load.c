/* hearth-bench's sources are no library, so the test takes them in whole. */
#include "tools/hearth-bench/hist.c"
#include "tools/hearth-bench/keys.c"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/unit.h"

void bench_die(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    abort();
}

START_TEST(histogram_buckets_are_in_order_and_narrow)
{
    uint32_t last = 0;
    for (uint64_t ns = 0; ns < 1u << 20; ns++) {
        uint32_t index = hist_index(ns);
        ck_assert(index == last || index == last + 1);
        last = index;
    }
    ck_assert_uint_lt(hist_index(UINT64_MAX), HIST_BUCKETS);
    for (uint64_t ns = 1; ns < 1ull << 62; ns = ns * 3 + 1) {
        double middle = bucket_middle_ns(hist_index(ns));
        ck_assert_double_le(fabs(middle - (double)ns), (double)ns / HIST_STEPS + 1);
    }
}
END_TEST

START_TEST(histogram_quantiles)
{
    static struct hist hist, other;
    ck_assert_double_eq(hist_quantile_us(&hist, 0.5), 0);
    for (int64_t us = 1; us <= 1000; us++) {
        hist_record(us % 2 == 0 ? &hist : &other, us * 1000);
    }
    hist_merge(&hist, &other);
    ck_assert_uint_eq(hist.count, 1000);
    ck_assert_double_eq_tol(hist_quantile_us(&hist, 0.5), 500, 500 * 0.02);
    ck_assert_double_eq_tol(hist_quantile_us(&hist, 0.99), 990, 990 * 0.02);
    ck_assert_double_eq_tol(hist_quantile_us(&hist, 1), 1000, 1000 * 0.02);
    ck_assert_double_le(hist_quantile_us(&hist, 1), 1000);
    ck_assert_double_eq_tol(hist_mean_us(&hist), 500.5, 0.01);
}
END_TEST

static struct bench_config config_of(enum bench_distribution distribution, double theta)
{
    return (struct bench_config){
        .key_prefix = "key:", .key_size = 16, .distribution = distribution, .theta = theta};
}

START_TEST(zipf_has_the_frequencies_of_its_formula)
{
    static const double thetas[] = {0.5, 0.99, 1.0, 1.5};
    enum { N_KEYS = 1000, N_DRAWS = 2000000 };
    for (size_t t = 0; t < sizeof(thetas) / sizeof(thetas[0]); t++) {
        struct bench_config config = config_of(KEYS_ZIPF, thetas[t]);
        struct keys keys;
        struct rng rng = {.state = 42};
        static uint64_t drawn[N_KEYS];
        double sum = 0;
        memset(drawn, 0, sizeof(drawn));
        keys_init(&keys, &config, N_KEYS);
        for (int i = 0; i < N_DRAWS; i++) {
            drawn[zipf_rank(&keys, &rng)]++;
        }
        for (int k = 1; k <= N_KEYS; k++) {
            sum += pow(k, -thetas[t]);
        }
        for (int k = 1; k <= N_KEYS; k *= 3) {
            double expected = N_DRAWS * pow(k, -thetas[t]) / sum;
            ck_assert_double_eq_tol((double)drawn[k - 1], expected, 5 * sqrt(expected));
        }
    }
}
END_TEST

START_TEST(scattering_is_a_bijection)
{
    static const uint64_t sizes[] = {1, 2, 3, 7, 64, 1000, 65537, 1000003};
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        uint64_t n = sizes[s];
        struct bench_config config = config_of(KEYS_ZIPF, 0.99);
        struct keys keys;
        char *is_taken = calloc(n, 1);
        keys_init(&keys, &config, n);
        for (uint64_t rank = 0; rank < n; rank++) {
            uint64_t key = keys_scatter(&keys, rank);
            ck_assert_uint_lt(key, n);
            ck_assert(!is_taken[key]);
            is_taken[key] = 1;
        }
        free(is_taken);
    }
}
END_TEST

START_TEST(names_have_the_asked_length)
{
    struct bench_config config = config_of(KEYS_SEQUENTIAL, 1);
    struct keys keys;
    char name[BENCH_KEY_MAX];
    keys_init(&keys, &config, 1000);
    ck_assert_uint_eq(keys_name(&keys, 42, name), 16);
    ck_assert_mem_eq(name, "key:000000000042", 16);
    ck_assert_uint_eq(keys_next(&keys, NULL, 1003), 3);
    config.trace_path = "t";
    keys_init(&keys, &config, 1000);
    ck_assert_uint_eq(keys_name(&keys, UINT64_MAX, name), 24);
    ck_assert_mem_eq(name, "key:18446744073709551615", 24);
}
END_TEST

START_TEST(a_key_size_too_small_for_its_numbers_is_refused)
{
    struct bench_config config = config_of(KEYS_UNIFORM, 1);
    struct keys keys;
    config.key_size = 6;
    keys_init(&keys, &config, 1000); /* 999 needs three digits */
}
END_TEST

UNIT_MAIN("hearth-bench: load", {histogram_buckets_are_in_order_and_narrow}, {histogram_quantiles},
          {zipf_has_the_frequencies_of_its_formula}, {scattering_is_a_bijection},
          {names_have_the_asked_length}, {a_key_size_too_small_for_its_numbers_is_refused, SIGABRT})
