/*
 * The engine through its public headers: one worker, real files, real RocksDB.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/metrics.h"
#include "tests/support/engine_fixture.h"

/* Half compressible, and says whose and which it is. */
static size_t make_value(char *out, size_t len, unsigned n, unsigned version)
{
    int head = snprintf(out, len, "key %u version %u ", n, version);
    uint64_t x = n * 0x9e3779b97f4a7c15u + version + 1;
    for (size_t i = (size_t)head; i < len; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        out[i] = i % 2 == 0 ? (char)x : 'a';
    }
    return len;
}

static void expect(struct fixture *f, const char *key, const char *value, size_t len)
{
    size_t got_len = 0;
    char *got = fixture_get(f, 0, key, &got_len);
    ck_assert_msg(got != NULL, "%s is missing", key);
    ck_assert_uint_eq(got_len, len);
    ck_assert_msg(memcmp(got, value, len) == 0, "%s has another value", key);
    free(got);
}

START_TEST(set_get_delete_hot)
{
    struct fixture f;
    fixture_open(&f, NULL);
    fixture_set(&f, 0, "a", "1", 1, ENGINE_NO_EXPIRY);
    expect(&f, "a", "1", 1);
    fixture_set(&f, 0, "a", "22", 2, ENGINE_NO_EXPIRY);
    expect(&f, "a", "22", 2);
    ck_assert_ptr_null(fixture_get(&f, 1, "a", NULL));
    ck_assert_uint_eq(fixture_size(&f, 0), 1);
    ck_assert(fixture_delete(&f, 0, "a"));
    ck_assert(!fixture_delete(&f, 0, "a"));
    ck_assert_uint_eq(fixture_size(&f, 0), 0);
    fixture_close(&f);
}
END_TEST

START_TEST(demoted_value_is_read_back_with_one_read)
{
    struct fixture f;
    char value[1000];
    fixture_open(&f, NULL);
    make_value(value, sizeof(value), 1, 1);
    fixture_set(&f, 0, "k", value, sizeof(value), ENGINE_NO_EXPIRY);
    ck_assert_int_eq(fixture_demote(&f, 0, "k"), OK);
    double reads = metric_value(M_DEVICE_READS);
    expect(&f, "k", value, sizeof(value));
    ck_assert_double_eq(metric_value(M_DEVICE_READS) - reads, 1);
    expect(&f, "k", value, sizeof(value)); /* promoted: hot now */
    ck_assert_double_eq(metric_value(M_DEVICE_READS) - reads, 1);
    ck_assert_uint_eq(fixture_size(&f, 0), 1);
    double writes = metric_value(M_DEVICE_WRITES);
    ck_assert_int_eq(fixture_demote(&f, 0, "k"), OK); /* clean: nothing is written */
    ck_assert_double_eq(metric_value(M_DEVICE_WRITES) - writes, 0);
    expect(&f, "k", value, sizeof(value));
    fixture_close(&f);
}
END_TEST

START_TEST(blind_overwrite_of_a_cold_key_settles)
{
    struct fixture f;
    fixture_open(&f, NULL);
    fixture_set(&f, 0, "k", "old", 3, ENGINE_NO_EXPIRY);
    ck_assert_int_eq(fixture_demote(&f, 0, "k"), OK);
    fixture_set(&f, 0, "k", "new", 3, ENGINE_NO_EXPIRY);
    expect(&f, "k", "new", 3);
    ck_assert_uint_eq(fixture_size(&f, 0), 1);
    ck_assert_int_eq(fixture_demote(&f, 0, "k"), OK);
    expect(&f, "k", "new", 3);
    ck_assert(fixture_delete(&f, 0, "k"));
    ck_assert_ptr_null(fixture_get(&f, 0, "k", NULL));
    ck_assert_uint_eq(fixture_size(&f, 0), 0);
    fixture_close(&f);
}
END_TEST

START_TEST(delete_of_a_cold_key)
{
    struct fixture f;
    fixture_open(&f, NULL);
    fixture_set(&f, 0, "k", "v", 1, ENGINE_NO_EXPIRY);
    ck_assert_int_eq(fixture_demote(&f, 0, "k"), OK);
    ck_assert(fixture_delete(&f, 0, "k"));
    ck_assert_ptr_null(fixture_get(&f, 0, "k", NULL));
    ck_assert(!fixture_delete(&f, 0, "k"));
    ck_assert_uint_eq(fixture_size(&f, 0), 0);
    fixture_close(&f);
}
END_TEST

static const size_t large_sizes[] = {0,      1,      32767,  32768,   65535,
                                     65536,  524287, 524288, 1048576, 3 * 1048576 + 17,
                                     7 << 20};

START_TEST(values_of_every_size_survive_the_way_down)
{
    struct fixture f;
    size_t len = large_sizes[_i];
    char *value = malloc(len + 64);
    fixture_open(&f, NULL);
    make_value(value, len + 64, 7, 1);
    fixture_set(&f, 0, "large", value, len, ENGINE_NO_EXPIRY);
    expect(&f, "large", value, len);
    ck_assert_int_eq(fixture_demote(&f, 0, "large"), OK);
    expect(&f, "large", value, len);
    ck_assert(fixture_delete(&f, 0, "large"));
    ck_assert_ptr_null(fixture_get(&f, 0, "large", NULL));
    free(value);
    fixture_close(&f);
}
END_TEST

START_TEST(expiry_of_a_cold_large_value)
{
    struct fixture f;
    size_t len = 2 << 20;
    char *value = malloc(len);
    fixture_open(&f, NULL);
    make_value(value, len, 7, 1);
    fixture_set(&f, 0, "large", value, len, ENGINE_NO_EXPIRY);
    ck_assert_int_eq(fixture_demote(&f, 0, "large"), OK);
    fixture_expire(&f, 0, "large", clock_wall_ms() + 3600000);
    expect(&f, "large", value, len);
    ck_assert_uint_eq(fixture_size(&f, 0), 1);
    free(value);
    fixture_close(&f);
}
END_TEST

#define MANY 150000u

START_TEST(more_data_than_memory_is_all_read_back)
{
    struct fixture f;
    char key[32], value[1000];
    struct engine_stats stats;
    fixture_open(&f, NULL);
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(key, sizeof(key), "key:%u", i);
        make_value(value, sizeof(value), i, 1);
        fixture_set(&f, 0, key, value, sizeof(value), ENGINE_NO_EXPIRY);
        if (i % 64 == 0) {
            engine_worker_turn(f.worker);
            engine_worker_poll(f.worker);
        }
        if (i % 5000 == 0) {
            engine_worker_tick(f.worker);
        }
    }
    ck_assert_uint_eq(fixture_size(&f, 0), MANY);
    engine_stats(f.engine, &stats);
    ck_assert_uint_gt(stats.warm_items, MANY / 2);
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(key, sizeof(key), "key:%u", i);
        make_value(value, sizeof(value), i, 1);
        expect(&f, key, value, sizeof(value));
    }
    fixture_restart(&f);
    ck_assert_uint_eq(fixture_size(&f, 0), MANY);
    for (unsigned i = 0; i < MANY; i += 7) {
        snprintf(key, sizeof(key), "key:%u", i);
        make_value(value, sizeof(value), i, 1);
        expect(&f, key, value, sizeof(value));
    }
    fixture_close(&f);
}
END_TEST

START_TEST(expiry_is_kept_below_and_after_a_restart)
{
    struct fixture f;
    fixture_open(&f, NULL);
    int64_t now_ms = clock_wall_ms();
    fixture_set(&f, 0, "later", "v", 1, now_ms + 3600000);
    fixture_set(&f, 0, "gone", "v", 1, now_ms - 1);
    ck_assert_ptr_null(fixture_get(&f, 0, "gone", NULL));
    ck_assert_int_eq(fixture_demote(&f, 0, "later"), OK);
    fixture_restart(&f);
    struct engine_key k = {.data = "later", .len = 5, .need = ENGINE_META};
    struct engine_op op = {.worker = f.worker,
                           .keys = &k,
                           .n_keys = 1,
                           .flags = ENGINE_OP_NO_TOUCH};
    struct engine_value v;
    free(fixture_get(&f, 0, "later", NULL));
    ck_assert_int_eq(engine_begin(&op), OK);
    ck_assert(engine_find(&op, 0, &v));
    ck_assert_int_eq(v.expire_at_ms, now_ms + 3600000);
    engine_end(&op);
    fixture_close(&f);
}
END_TEST

static Suite *engine_suite(void)
{
    Suite *s = suite_create("engine");
    TCase *tc = tcase_create("engine");
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, set_get_delete_hot);
    tcase_add_test(tc, demoted_value_is_read_back_with_one_read);
    tcase_add_test(tc, blind_overwrite_of_a_cold_key_settles);
    tcase_add_test(tc, delete_of_a_cold_key);
    tcase_add_loop_test(tc, values_of_every_size_survive_the_way_down, 0,
                        (int)(sizeof(large_sizes) / sizeof(large_sizes[0])));
    tcase_add_test(tc, expiry_of_a_cold_large_value);
    tcase_add_test(tc, more_data_than_memory_is_all_read_back);
    tcase_add_test(tc, expiry_is_kept_below_and_after_a_restart);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    SRunner *runner = srunner_create(engine_suite());
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
