#include "net/args.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/unit.h"

/* A copy of exactly that size: AddressSanitizer sees a reader that goes on. */
static char *exact(const char *text, size_t len)
{
    char *copy = malloc(len == 0 ? 1 : len);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, text, len);
    return copy;
}

static bool parse_i64(const char *text, size_t len, int64_t *out)
{
    char *copy = exact(text, len);
    bool is_number = arg_i64(&(struct arg){.data = copy, .len = len}, out);
    free(copy);
    return is_number;
}

START_TEST(integers_have_one_spelling)
{
    static const int64_t values[] = {0,
                                     1,
                                     -1,
                                     9,
                                     10,
                                     -10,
                                     99,
                                     INT32_MAX,
                                     INT32_MIN,
                                     INT64_MAX,
                                     INT64_MIN,
                                     INT64_MAX - 1,
                                     1000000000,
                                     -999999999999999999,
                                     922337203685477580};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        char text[ARG_I64_TEXT_MAX];
        char expected[ARG_I64_TEXT_MAX + 1];
        int64_t back = 77;
        size_t len = arg_format_i64(values[i], text);
        (void)snprintf(expected, sizeof(expected), "%lld", (long long)values[i]);
        ck_assert_str_eq(text, expected);
        ck_assert_uint_eq(len, strlen(expected));
        ck_assert(parse_i64(text, len, &back));
        ck_assert_int_eq(back, values[i]);
    }
}
END_TEST

START_TEST(everything_else_is_no_integer)
{
    static const char *const texts[] = {
        "",
        "-",
        "+1",
        "01",
        "-0",
        "00",
        " 1",
        "1 ",
        "1.0",
        "1e3",
        "0x10",
        "a",
        "1a",
        "--1",
        "-01",
        "\t1",
        "1\n",
        "9223372036854775808",
        "-9223372036854775809",
        "18446744073709551615",
        "18446744073709551617",
        "99999999999999999999",
        "-99999999999999999999",
        "123456789012345678901",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        int64_t out = 42;
        ck_assert_msg(!parse_i64(texts[i], strlen(texts[i]), &out), "%s", texts[i]);
        ck_assert_int_eq(out, 42);
    }
    int64_t out = 42;
    ck_assert(!parse_i64("1\0", 2, &out));
    ck_assert(!parse_i64("\0", 1, &out));
}
END_TEST

static bool parse_long_double(const char *text, size_t len, long double *out)
{
    char *copy = exact(text, len);
    bool is_number = arg_long_double(&(struct arg){.data = copy, .len = len}, out);
    free(copy);
    return is_number;
}

START_TEST(floats_are_read_as_strtold)
{
    long double v = 0;
    ck_assert(parse_long_double("1.5", 3, &v) && v == 1.5L);
    ck_assert(parse_long_double("+1", 2, &v) && v == 1);
    ck_assert(parse_long_double(".5", 2, &v) && v == 0.5L);
    ck_assert(parse_long_double("5.", 2, &v) && v == 5);
    ck_assert(parse_long_double("3.0e3", 5, &v) && v == 3000);
    ck_assert(parse_long_double("0x1p3", 5, &v) && v == 8);
    ck_assert(parse_long_double("-inf", 4, &v) && isinf(v) && v < 0);
    ck_assert(parse_long_double("1e-4940", 7, &v) && v > 0); /* denormal: ERANGE, yet a number */
}
END_TEST

START_TEST(everything_else_is_no_float)
{
    static const char *const texts[] = {"",        " 1",   "\t1", "\v1",  "1 ",     "1,5",
                                        "abc",     "1e",   "nan", "-nan", "1e5000", "-1e5000",
                                        "1e-5000", "1.5x", "e5",  "-",    "."};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        long double v = 42;
        ck_assert_msg(!parse_long_double(texts[i], strlen(texts[i]), &v), "%s", texts[i]);
        ck_assert(v == 42);
    }
    long double v;
    ck_assert(!parse_long_double("1\0", 2, &v));
    char *long_text = malloc(ARG_LONG_DOUBLE_TEXT_MAX);
    memset(long_text, '0', ARG_LONG_DOUBLE_TEXT_MAX);
    ck_assert(parse_long_double(long_text, ARG_LONG_DOUBLE_TEXT_MAX - 1, &v) && v == 0);
    ck_assert(!parse_long_double(long_text, ARG_LONG_DOUBLE_TEXT_MAX, &v));
    free(long_text);
}
END_TEST

/* Expected texts: INCRBYFLOAT of redis-server 7.0.15. */
START_TEST(floats_are_printed_as_redis_prints_them)
{
    static const struct row {
        long double value;
        const char *text;
    } rows[] = {
        {0, "0"},
        {-0.0L, "0"},
        {1, "1"},
        {-1, "-1"},
        {10, "10"},
        {100, "100"},
        {3.0e3L, "3000"},
        {10.5L, "10.5"},
        {-1.5L, "-1.5"},
        {0.1L, "0.1"},
        {1e-17L, "0.00000000000000001"},
        {1e-18L, "0"},
        {-1e-18L, "0"},
        {5e20L, "500000000000000000000"},
    };
    char text[ARG_LONG_DOUBLE_TEXT_MAX];
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        size_t len = arg_format_long_double(rows[i].value, text);
        ck_assert_str_eq(text, rows[i].text);
        ck_assert_uint_eq(len, strlen(rows[i].text));
    }
    size_t len = arg_format_long_double(-LDBL_MAX, text);
    ck_assert_uint_eq(len, 4933 + 1);
    ck_assert_uint_eq(strlen(text), len);
}
END_TEST

static bool parse_cursor(const char *text, size_t len, uint64_t *out)
{
    char *copy = exact(text, len);
    bool is_cursor = arg_parse_cursor(copy, len, out);
    free(copy);
    return is_cursor;
}

START_TEST(cursors_are_read_as_strtoul)
{
    uint64_t v = 7;
    ck_assert(parse_cursor("", 0, &v) && v == 0);
    ck_assert(parse_cursor("0", 1, &v) && v == 0);
    ck_assert(parse_cursor("0005", 4, &v) && v == 5);
    ck_assert(parse_cursor("+5", 2, &v) && v == 5);
    ck_assert(parse_cursor("-1", 2, &v) && v == UINT64_MAX);
    ck_assert(parse_cursor("18446744073709551615", 20, &v) && v == UINT64_MAX);
    ck_assert(parse_cursor("12\0x", 4, &v) && v == 12);
    ck_assert(parse_cursor("\0x", 2, &v) && v == 0);
    static const char *const bad[] = {"+",
                                      "-",
                                      " 1",
                                      "1 ",
                                      "0x1",
                                      "x",
                                      "--1",
                                      "1.0",
                                      "18446744073709551616",
                                      "99999999999999999999"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(!parse_cursor(bad[i], strlen(bad[i]), &v), "%s", bad[i]);
    }
}
END_TEST

static bool is_word(const char *text, size_t len, const char *word)
{
    char *copy = exact(text, len);
    bool is_same = arg_is(&(struct arg){.data = copy, .len = len}, word);
    free(copy);
    return is_same;
}

START_TEST(words_are_compared_as_c_strings_without_case)
{
    ck_assert(is_word("KEEPTTL", 7, "keepttl"));
    ck_assert(is_word("kEEpTtL", 7, "KEEPTTL"));
    ck_assert(!is_word("KEEPTT", 6, "KEEPTTL"));
    ck_assert(!is_word("KEEPTTLS", 8, "KEEPTTL"));
    ck_assert(!is_word("", 0, "NX"));
    ck_assert(is_word("nx\0more", 7, "NX")); /* Redis: strcasecmp */
    ck_assert(!is_word("n\0x", 3, "NX"));
    struct arg cut = {.data = (char[]){'a', 'b', '\0', 'c'}, .len = 4};
    ck_assert_uint_eq(arg_text_len(&cut), 2);
    cut.len = 1;
    ck_assert_uint_eq(arg_text_len(&cut), 1);
}
END_TEST

UNIT_MAIN("args", {integers_have_one_spelling}, {everything_else_is_no_integer},
          {floats_are_read_as_strtold}, {everything_else_is_no_float},
          {floats_are_printed_as_redis_prints_them}, {cursors_are_read_as_strtoul},
          {words_are_compared_as_c_strings_without_case})
