#include "net/output_limit.h"

#include "tests/support/unit.h"

START_TEST(reads_classes_as_redis)
{
    struct output_limit limit = {0};
    char why[256] = "";
    ck_assert_int_eq(output_limit_set(&limit, "normal 64mb 16mb 10", why, sizeof(why)), OK);
    ck_assert_uint_eq(limit.hard_bytes, 64 << 20);
    ck_assert_uint_eq(limit.soft_bytes, 16 << 20);
    ck_assert_uint_eq(limit.soft_ms, 10000);
    ck_assert_int_eq(output_limit_set(&limit, "replica 256mb 64mb 60 normal 1 2 3 pubsub 0 0 0",
                                      why, sizeof(why)),
                     OK);
    ck_assert_uint_eq(limit.hard_bytes, 1);
    static const char *const wrong[] = {"",
                                        "foo",
                                        "normal",
                                        "normal 1 2",
                                        "foo 1 2 3",
                                        "normal 1 x 3",
                                        "normal 1 2 x",
                                        "normal 1 2 -3",
                                        "normal 1 2 3 replica"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        ck_assert_msg(output_limit_set(&limit, wrong[i], why, sizeof(why)) == INVALID, "%s",
                      wrong[i]);
        ck_assert_uint_eq(limit.hard_bytes, 1);
    }
}
END_TEST

START_TEST(hard_at_once_soft_after_its_seconds)
{
    struct output_limit limit = {.hard_bytes = 100, .soft_bytes = 50, .soft_ms = 1000};
    int64_t since = 0;
    ck_assert(!output_limit_is_over_hard(&limit, 100));
    ck_assert(output_limit_is_over_hard(&limit, 101));
    ck_assert(!output_limit_is_over_soft(&limit, 51, 5000, &since));
    ck_assert(!output_limit_is_over_soft(&limit, 51, 6000, &since));
    ck_assert(output_limit_is_over_soft(&limit, 51, 6001, &since));
    ck_assert(!output_limit_is_over_soft(&limit, 50, 6002, &since));
    ck_assert(!output_limit_is_over_soft(&limit, 51, 9000, &since));
    struct output_limit none = {0};
    ck_assert(!output_limit_is_over_hard(&none, SIZE_MAX));
    ck_assert(!output_limit_is_over_soft(&none, SIZE_MAX, 1 << 30, &since));
}
END_TEST

UNIT_MAIN("output_limit", {reads_classes_as_redis}, {hard_at_once_soft_after_its_seconds})
