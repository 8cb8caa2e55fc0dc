#include "net/slowlog.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/options.h"
#include "tests/support/unit.h"

static struct arg text_arg(const char *text)
{
    return (struct arg){.data = (char *)(uintptr_t)text, .len = strlen(text), .blob = NULL};
}

static void check_text(const struct slowlog_text *text, const char *expected)
{
    ck_assert_uint_eq(text->len, strlen(expected));
    ck_assert_mem_eq(text->data, expected, text->len);
}

START_TEST(newest_first_and_not_too_many)
{
    struct slowlog log;
    options_init();
    slowlog_init(&log);
    for (int i = 0; i < 200; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "cmd%d", i);
        struct arg argv[2] = {text_arg(name), text_arg("k")};
        slowlog_add(&log, argv, 2, 1000u + (uint64_t)i, "127.0.0.1:1", "me");
    }
    ck_assert_uint_eq(slowlog_len(&log), 128);
    struct slowlog_entry **entries = NULL;
    uint32_t n = 0;
    ck_assert_int_eq(slowlog_read(&log, 3, &entries, &n), OK);
    slowlog_reset(&log); /* what was read stays */
    ck_assert_uint_eq(slowlog_len(&log), 0);
    ck_assert_uint_eq(n, 3);
    ck_assert_int_eq(entries[0]->id, 199);
    ck_assert_uint_eq(entries[0]->duration_us, 1199);
    check_text(&entries[0]->argv[0], "cmd199");
    check_text(&entries[2]->argv[0], "cmd197");
    check_text(&entries[0]->peer, "127.0.0.1:1");
    check_text(&entries[0]->name, "me");
    slowlog_release(entries, n);
    slowlog_deinit(&log);
}
END_TEST

START_TEST(long_requests_are_cut)
{
    struct slowlog log;
    char big[300];
    struct arg argv[40];
    options_init();
    slowlog_init(&log);
    memset(big, 'x', sizeof(big));
    for (int i = 0; i < 40; i++) {
        argv[i] = text_arg("a");
    }
    argv[1] = (struct arg){.data = big, .len = sizeof(big), .blob = NULL};
    argv[2] = (struct arg){.data = NULL, .len = 50000, .blob = NULL}; /* became a value */
    slowlog_add(&log, argv, 40, 1, "", "");
    struct slowlog_entry **entries = NULL;
    uint32_t n = 0;
    ck_assert_int_eq(slowlog_read(&log, -1, &entries, &n), OK);
    ck_assert_uint_eq(n, 1);
    ck_assert_int_eq(entries[0]->argc, SLOWLOG_ARGS_MAX);
    ck_assert_mem_eq(entries[0]->argv[1].data + SLOWLOG_ARG_BYTES, "... (172 more bytes)", 20);
    check_text(&entries[0]->argv[2], "(50000 bytes)");
    check_text(&entries[0]->argv[31], "... (9 more arguments)");
    slowlog_release(entries, n);
    slowlog_deinit(&log);
}
END_TEST

UNIT_MAIN("slowlog", {newest_first_and_not_too_many}, {long_requests_are_cut})
