#include "engine/base/metrics.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/unit.h"

#define N_THREADS 4
#define N_ADDS 50000

START_TEST(the_table_is_sound)
{
    for (int id = 0; id < METRIC_COUNT; id++) {
        const struct metric_info *info = metric_info((enum metric_id)id);
        ck_assert_uint_gt(strlen(info->family), 0);
        ck_assert_uint_gt(strlen(info->help), 0);
        /* OpenMetrics: _total is the exposition's suffix; rows of one family stand together and
         * agree on type, unit and help. */
        ck_assert_ptr_null(strstr(info->family, "_total"));
        for (int other = 0; other < id; other++) {
            const struct metric_info *o = metric_info((enum metric_id)other);
            if (strcmp(o->family, info->family) == 0) {
                ck_assert_str_eq(metric_info((enum metric_id)(id - 1))->family, info->family);
                ck_assert_int_eq(o->type, info->type);
                ck_assert_str_eq(o->unit, info->unit);
                ck_assert_str_eq(o->help, info->help);
                ck_assert_str_ne(o->labels, info->labels);
            }
        }
    }
}
END_TEST

START_TEST(counters_and_gauges)
{
    ck_assert_double_eq(metric_value(M_COMMANDS), 0);
    metric_add(M_COMMANDS, 2);
    metric_add(M_COMMANDS, 3);
    ck_assert_double_eq(metric_value(M_COMMANDS), 5);
    ck_assert_double_eq(metric_value(M_COMMAND_ERRORS), 0);
    metric_set(M_COMPRESSION_RATIO, 2.25);
    ck_assert_double_eq(metric_value(M_COMPRESSION_RATIO), 2.25);
    metric_set(M_COMPRESSION_RATIO, -1);
    ck_assert_double_eq(metric_value_raw(M_COMPRESSION_RATIO), -1);
}
END_TEST

static void *add_many(void *arg)
{
    for (int i = 0; i < N_ADDS; i++) {
        metric_add(M_COMMANDS, 1);
        metric_observe_us(M_COMMAND_DURATION, (uint64_t)i % 100);
    }
    return NULL;
}

static void run_threads(void *(*fn)(void *))
{
    pthread_t threads[N_THREADS];
    for (int i = 0; i < N_THREADS; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, fn, NULL), 0);
    }
    for (int i = 0; i < N_THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
}

START_TEST(threads_add_up_and_outlive_their_threads)
{
    for (int round = 1; round <= 3; round++) {
        run_threads(add_many);
        struct metric_hist hist;
        metric_hist_read(M_COMMAND_DURATION, &hist);
        uint64_t wanted = (uint64_t)round * N_THREADS * N_ADDS;
        ck_assert_double_eq(metric_value(M_COMMANDS), (double)wanted);
        ck_assert_uint_eq(hist.count, wanted);
        ck_assert_double_eq((double)hist.sum_us, (double)wanted * 49.5);
        ck_assert_double_eq(metric_value(M_COMMAND_DURATION), (double)wanted);
    }
}
END_TEST

static void *add_one(void *arg)
{
    metric_add(M_COMMANDS, 1);
    *(struct metric_cells **)arg = metric_cells_tl;
    return NULL;
}

START_TEST(cells_of_ended_threads_are_used_again)
{
    struct metric_cells *first = NULL;
    for (int i = 0; i < 1000; i++) {
        pthread_t thread;
        struct metric_cells *cells = NULL;
        ck_assert_int_eq(pthread_create(&thread, NULL, add_one, &cells), 0);
        pthread_join(thread, NULL);
        first = first == NULL ? cells : first;
        ck_assert_ptr_eq(cells, first);
    }
    ck_assert_double_eq(metric_value(M_COMMANDS), 1000);
}
END_TEST

static _Atomic int n_adding;

static void *add_and_leave(void *arg)
{
    add_many(arg);
    n_adding--;
    return NULL;
}

START_TEST(reading_beside_writing_never_falls)
{
    pthread_t threads[N_THREADS];
    n_adding = N_THREADS;
    for (int i = 0; i < N_THREADS; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, add_and_leave, NULL), 0);
    }
    double last = 0;
    while (n_adding > 0) {
        double now = metric_value(M_COMMANDS);
        ck_assert_double_ge(now, last);
        last = now;
        struct metric_hist hist;
        metric_hist_read(M_COMMAND_DURATION, &hist);
        ck_assert_uint_eq(metric_hist_count_le(&hist, UINT64_MAX), hist.count);
    }
    for (int i = 0; i < N_THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    ck_assert_double_eq(metric_value(M_COMMANDS), (double)N_THREADS * N_ADDS);
}
END_TEST

/* The bucket an observation falls into, through the public face only. */
static void bounds_of(uint64_t us, double *low_out, double *high_out)
{
    struct metric_hist hist;
    metrics_reset();
    metric_observe_us(M_LATENCY_HOT, us);
    metric_hist_read(M_LATENCY_HOT, &hist);
    ck_assert_uint_eq(hist.count, 1);
    *low_out = metric_hist_quantile(&hist, 0);
    *high_out = metric_hist_quantile(&hist, 1);
}

START_TEST(buckets_are_exact_below_32_and_narrow_above)
{
    double low;
    double high;
    for (uint64_t us = 0; us < 32; us++) {
        bounds_of(us, &low, &high);
        ck_assert_double_eq(low, (double)us);
        ck_assert_double_eq(high, (double)us);
    }
    for (int power = 5; power < 64; power++) {
        for (int step = -1; step <= 1; step++) {
            uint64_t us = (UINT64_C(1) << power) + (uint64_t)(int64_t)step;
            bounds_of(us, &low, &high);
            ck_assert_double_le(low, (double)us);
            ck_assert_double_ge(high, (double)us);
            ck_assert_double_le(high - low, (double)us * 0.0625);
        }
    }
    bounds_of(UINT64_MAX, &low, &high);
    ck_assert_double_ge(high, 0x1p64 - 0x1p12);
}
END_TEST

START_TEST(quantiles_of_a_known_distribution)
{
    struct metric_hist hist;
    memset(&hist, 0, sizeof(hist));
    ck_assert_double_eq(metric_hist_quantile(&hist, 0.5), 0);
    for (uint64_t us = 1; us <= 100000; us++) {
        metric_observe_us(M_LATENCY_WARM, us);
    }
    metric_hist_read(M_LATENCY_WARM, &hist);
    ck_assert_uint_eq(hist.count, 100000);
    ck_assert_uint_eq(hist.sum_us, UINT64_C(100000) * 100001 / 2);
    const double qs[] = {0.01, 0.5, 0.9, 0.99, 0.999};
    double last = 0;
    for (size_t i = 0; i < sizeof(qs) / sizeof(qs[0]); i++) {
        double us = metric_hist_quantile(&hist, qs[i]);
        ck_assert_double_le(fabs(us - qs[i] * 100000), qs[i] * 100000 * 0.0625 + 1);
        ck_assert_double_ge(us, last);
        last = us;
    }
    ck_assert_double_eq(metric_hist_quantile(&hist, -1), metric_hist_quantile(&hist, 0));
    ck_assert_double_eq(metric_hist_quantile(&hist, 2), metric_hist_quantile(&hist, 1));
}
END_TEST

START_TEST(count_le_takes_whole_buckets)
{
    struct metric_hist hist;
    metric_observe_us(M_LATENCY_WARM, 0);
    metric_observe_us(M_LATENCY_WARM, 10);
    metric_observe_us(M_LATENCY_WARM, 1023);
    metric_observe_us(M_LATENCY_WARM, 1024);
    metric_hist_read(M_LATENCY_WARM, &hist);
    ck_assert_uint_eq(metric_hist_count_le(&hist, 0), 1);
    ck_assert_uint_eq(metric_hist_count_le(&hist, 9), 1);
    ck_assert_uint_eq(metric_hist_count_le(&hist, 10), 2);
    ck_assert_uint_eq(metric_hist_count_le(&hist, 1023), 3);
    ck_assert_uint_eq(metric_hist_count_le(&hist, 1024), 3); /* its bucket reaches to 1087 */
    ck_assert_uint_eq(metric_hist_count_le(&hist, 1087), 4);
    ck_assert_uint_eq(metric_hist_count_le(&hist, UINT64_MAX), 4);
}
END_TEST

START_TEST(reset_hides_the_past_from_all_but_raw)
{
    struct metric_hist hist;
    metric_add(M_COMMANDS, 10);
    metric_observe_us(M_LATENCY_HOT, 5);
    metric_set(M_READY, 1);
    metrics_reset();
    ck_assert_double_eq(metric_value(M_COMMANDS), 0);
    ck_assert_double_eq(metric_value_raw(M_COMMANDS), 10);
    ck_assert_double_eq(metric_value(M_READY), 1);
    metric_hist_read(M_LATENCY_HOT, &hist);
    ck_assert_uint_eq(hist.count, 0);
    ck_assert_uint_eq(hist.sum_us, 0);
    metric_add(M_COMMANDS, 3);
    metric_observe_us(M_LATENCY_HOT, 7);
    ck_assert_double_eq(metric_value(M_COMMANDS), 3);
    ck_assert_double_eq(metric_value_raw(M_COMMANDS), 13);
    metric_hist_read(M_LATENCY_HOT, &hist);
    ck_assert_uint_eq(hist.count, 1);
    ck_assert_uint_eq(hist.sum_us, 7);
    ck_assert_double_eq(metric_hist_quantile(&hist, 0.5), 7);
    metric_hist_read_raw(M_LATENCY_HOT, &hist);
    ck_assert_uint_eq(hist.count, 2);
    ck_assert_uint_eq(hist.sum_us, 12);
}
END_TEST

static void count_call(void *arg)
{
    ++*(_Atomic int *)arg;
}

START_TEST(refresh_calls_who_asked)
{
    _Atomic int a = 0;
    _Atomic int b = 0;
    metrics_on_refresh(count_call, &a);
    metrics_on_refresh(count_call, &b);
    metrics_refresh();
    metrics_off_refresh(count_call, &a);
    metrics_off_refresh(count_call, &a); /* gone already */
    metrics_refresh();
    ck_assert_int_eq(a, 1);
    ck_assert_int_eq(b, 2);
}
END_TEST

START_TEST(too_many_refreshers_abort)
{
    _Atomic int a = 0;
    for (int i = 0; i < 17; i++) {
        metrics_on_refresh(count_call, &a);
    }
}
END_TEST

static _Atomic int is_alive;
static _Atomic int is_over;
static _Atomic int n_calls;
static _Atomic int n_dead_calls;

static void needs_alive(void *arg)
{
    n_calls++;
    for (int i = 0; i < 200; i++) { /* long enough to be overtaken */
        n_dead_calls += is_alive != 1;
    }
}

static void *refresh_on(void *arg)
{
    while (!is_over) {
        metrics_refresh();
    }
    return NULL;
}

START_TEST(off_refresh_waits_for_refreshes)
{
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, refresh_on, NULL), 0);
    }
    for (int i = 0; i < 50; i++) {
        is_alive = 1;
        int before = n_calls;
        metrics_on_refresh(needs_alive, NULL);
        while (n_calls == before) {
            sched_yield();
        }
        metrics_off_refresh(needs_alive, NULL); /* most likely while one is inside */
        is_alive = 0;
        usleep(20);
    }
    is_over = 1;
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    ck_assert_int_eq(n_dead_calls, 0);
}
END_TEST

UNIT_MAIN("metrics", {the_table_is_sound}, {counters_and_gauges},
          {threads_add_up_and_outlive_their_threads}, {cells_of_ended_threads_are_used_again},
          {reading_beside_writing_never_falls}, {buckets_are_exact_below_32_and_narrow_above},
          {quantiles_of_a_known_distribution}, {count_le_takes_whole_buckets},
          {reset_hides_the_past_from_all_but_raw}, {refresh_calls_who_asked},
          {too_many_refreshers_abort, SIGABRT}, {off_refresh_waits_for_refreshes})
