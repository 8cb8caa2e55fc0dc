#include "net/key_set.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/api_control.h"
#include "tests/support/unit.h"

/* The clients' share of memory, in place of the engine's. */
static int64_t charged_bytes;
static uint64_t limit_bytes = UINT64_MAX / 2;

void engine_client_memory_add(int64_t delta_bytes)
{
    charged_bytes += delta_bytes;
    ck_assert_int_ge(charged_bytes, 0);
}

uint64_t engine_client_memory_limit(void)
{
    return limit_bytes;
}

uint64_t engine_client_memory_used(void)
{
    return (uint64_t)charged_bytes;
}

static size_t make_key(char *out, unsigned i)
{
    return (size_t)snprintf(out, 64, "key-%u%.*s", i, (int)(i % 40),
                            "........................................");
}

START_TEST(a_key_is_kept_once_in_order_of_arrival)
{
    enum { N = 20000 };
    struct key_set set;
    char key[64];
    key_set_init(&set);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < N; i++) {
            size_t len = make_key(key, i);
            ck_assert_int_eq(key_set_add(&set, key, (uint32_t)len), OK);
        }
        ck_assert_uint_eq(set.n_keys, N);
    }
    size_t at = 0;
    uint32_t len;
    for (unsigned i = 0; i < N; i++) {
        size_t expected_len = make_key(key, i);
        const char *found = key_set_next(&set, &at, &len);
        ck_assert_uint_eq(len, expected_len);
        ck_assert_mem_eq(found, key, len);
    }
    ck_assert_ptr_null(key_set_next(&set, &at, &len));
    ck_assert_int_gt(charged_bytes, 0);
    key_set_deinit(&set);
    ck_assert_int_eq(charged_bytes, 0);
}
END_TEST

START_TEST(bytes_and_lengths_tell_keys_apart)
{
    struct key_set set;
    key_set_init(&set);
    ck_assert_int_eq(key_set_add(&set, "", 0), OK);
    ck_assert_int_eq(key_set_add(&set, "\0", 1), OK);
    ck_assert_int_eq(key_set_add(&set, "\0\0", 2), OK);
    ck_assert_int_eq(key_set_add(&set, "a", 1), OK);
    ck_assert_int_eq(key_set_add(&set, "", 0), OK);
    ck_assert_int_eq(key_set_add(&set, NULL, 0), OK);
    ck_assert_uint_eq(set.n_keys, 4);
    key_set_deinit(&set);
}
END_TEST

START_TEST(an_empty_set_has_nothing_and_costs_nothing)
{
    struct key_set set;
    size_t at = 0;
    uint32_t len;
    key_set_init(&set);
    ck_assert_ptr_null(key_set_next(&set, &at, &len));
    ck_assert_int_eq(charged_bytes, 0);
    key_set_deinit(&set);
    key_set_deinit(&set); /* zeroed: harmless */
    ck_assert_int_eq(charged_bytes, 0);
}
END_TEST

/* Every limit from nothing up to what the whole needs: refused, or complete; never lost or overdrawn. */
START_TEST(the_budget_is_never_exceeded)
{
    enum { N = 2000 };
    char key[64];
    bool was_complete = false;
    for (limit_bytes = 0; !was_complete; limit_bytes += 4096) {
        struct key_set set;
        unsigned i = 0;
        key_set_init(&set);
        while (i < N && key_set_add(&set, key, (uint32_t)make_key(key, i)) == OK) {
            ck_assert_uint_le((uint64_t)charged_bytes, limit_bytes);
            i++;
        }
        ck_assert_uint_eq(set.n_keys, i);
        size_t at = 0;
        uint32_t len;
        unsigned n = 0;
        while (key_set_next(&set, &at, &len) != NULL) {
            n++;
        }
        ck_assert_uint_eq(n, i);
        was_complete = i == N;
        key_set_deinit(&set);
        ck_assert_int_eq(charged_bytes, 0);
    }
}
END_TEST

UNIT_MAIN("key_set", {a_key_is_kept_once_in_order_of_arrival}, {bytes_and_lengths_tell_keys_apart},
          {an_empty_set_has_nothing_and_costs_nothing}, {the_budget_is_never_exceeded})
