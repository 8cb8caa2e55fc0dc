#include "engine/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "tests/support/unit.h"

static char captured[1 << 20];
static int64_t times[2] = {INT64_C(1700000000123456), 1000000}; /* wall, mono */

static int64_t stored_wall(void *arg)
{
    return times[0];
}

static int64_t stored_mono(void *arg)
{
    return times[1];
}

static char path[] = "/tmp/hearth-log-XXXXXX";

/* stderr into a file, with a clock that stands still. */
static void capture_begin(void)
{
    static const struct clock_source source = {stored_wall, stored_mono, NULL};
    clock_set_source(&source);
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(dup2(fd, STDERR_FILENO), STDERR_FILENO);
    close(fd);
}

static const char *capture_read(void)
{
    int fd = open(path, O_RDONLY);
    ck_assert_int_ge(fd, 0);
    ssize_t n = read(fd, captured, sizeof(captured) - 1);
    ck_assert_int_ge(n, 0);
    captured[n] = '\0';
    close(fd);
    unlink(path);
    return captured;
}

static int count_of(const char *text, const char *part)
{
    int n = 0;
    for (const char *at = strstr(text, part); at != NULL; at = strstr(at + 1, part)) {
        n++;
    }
    return n;
}

START_TEST(text_line)
{
    capture_begin();
    log_info("tiers", "segment sealed", "segment=%d bytes=%d", 7, 42);
    log_error("net", "cannot listen", "addr=%s", "::1");
    log_warn("net", "nothing more to say", "%s", "");
    ck_assert_str_eq(capture_read(),
                     "2023-11-14T22:13:20.123Z info  tiers: segment sealed segment=7 bytes=42\n"
                     "2023-11-14T22:13:20.123Z error net: cannot listen addr=::1\n"
                     "2023-11-14T22:13:20.123Z warn  net: nothing more to say\n");
}
END_TEST

START_TEST(levels)
{
    capture_begin();
    log_debug("x", "hidden", "a=1");
    log_set_level(LOG_DEBUG);
    log_debug("x", "shown", "a=1");
    log_set_level(LOG_ERROR);
    log_warn("x", "hidden", "a=1");
    log_error("x", "shown", "a=1");
    const char *text = capture_read();
    ck_assert_int_eq(count_of(text, "shown"), 2);
    ck_assert_int_eq(count_of(text, "hidden"), 0);
}
END_TEST

START_TEST(a_message_stays_one_line)
{
    capture_begin();
    log_warn("net", "bad input", "data=%s", "a\nb\r\tc\x01\x7f\xff end");
    ck_assert_str_eq(capture_read(), "2023-11-14T22:13:20.123Z warn  net: bad input "
                                     "data=a\\nb\\r\\tc\\x01\\x7f\\xff end\n");
}
END_TEST

START_TEST(json_line)
{
    capture_begin();
    log_set_json(true);
    log_warn("tiers", "device failed", "path=%s error=%s", "/a \"b\"\\", "no space left: é \xc3");
    const char *text = capture_read();
    const char *start =
        "{\"@timestamp\":\"2023-11-14T22:13:20.123Z\",\"log.level\":\"warn\",\"message\":\"device "
        "failed path=/a \\\"b\\\"\\\\ error=no space left: é \\ufffd\",\"ecs.version\":\"1.6.0\","
        "\"log.logger\":\"hearth.tiers\",\"service.name\":\"hearth\",\"process.pid\":";
    ck_assert_int_eq(strncmp(text, start, strlen(start)), 0);
    const char *labels = strstr(text, ",\"labels\":");
    ck_assert_ptr_nonnull(labels);
    ck_assert_str_eq(labels,
                     ",\"labels\":{\"path\":\"/a \\\"b\\\"\\\\\",\"error\":\"no space left: "
                     "é \\ufffd\"}}\n");
}
END_TEST

START_TEST(json_without_pairs_has_no_labels)
{
    capture_begin();
    log_set_json(true);
    log_info("main", "ready", "%s", "");
    log_info("main", "said", "%s", "only words here");
    ck_assert_int_eq(count_of(capture_read(), "labels"), 0);
}
END_TEST

START_TEST(long_messages_are_cut_and_still_json)
{
    static char long_text[5000];
    memset(long_text, '\x02', sizeof(long_text) - 1);
    capture_begin();
    log_set_json(true);
    log_info("main", "long", "text=%s", long_text);
    const char *text = capture_read();
    ck_assert_str_eq(text + strlen(text) - 4, "\"}}\n");
}
END_TEST

static void complain(void)
{
    log_warn("tiers", "read failed", "n=%d", 1);
}

START_TEST(a_repeating_site_is_limited)
{
    capture_begin();
    for (int i = 0; i < 100; i++) {
        complain();
    }
    log_warn("tiers", "another site", "n=%d", 2);
    times[1] += 1000000;
    complain();
    complain();
    times[1] += 60000000; /* long quiet: the burst is back */
    for (int i = 0; i < 12; i++) {
        complain();
    }
    const char *text = capture_read();
    ck_assert_int_eq(count_of(text, "read failed"), 10 + 1 + 10);
    ck_assert_int_eq(count_of(text, "another site"), 1);
    ck_assert_int_eq(count_of(text, "n=1 suppressed=90\n"), 1);
    ck_assert_int_eq(count_of(text, "n=1 suppressed=1\n"), 1);
}
END_TEST

START_TEST(debug_is_not_limited)
{
    capture_begin();
    log_set_level(LOG_DEBUG);
    for (int i = 0; i < 100; i++) {
        log_debug("tiers", "detail", "n=%d", i);
    }
    ck_assert_int_eq(count_of(capture_read(), "detail"), 100);
}
END_TEST

START_TEST(errno_survives)
{
    capture_begin();
    errno = ENOSPC;
    log_error("tiers", "write failed", "error=%s", strerror(errno));
    ck_assert_int_eq(errno, ENOSPC);
    capture_read();
}
END_TEST

static void *log_many(void *arg)
{
    for (int i = 0; i < 500; i++) {
        log_write(LOG_INFO, NULL, "thread", "a line", "text=%s", (const char *)arg);
    }
    return NULL;
}

START_TEST(lines_of_threads_do_not_mix)
{
    static char words[4][64];
    pthread_t threads[4];
    capture_begin();
    for (int i = 0; i < 4; i++) {
        memset(words[i], 'a' + i, sizeof(words[i]) - 1);
        ck_assert_int_eq(pthread_create(&threads[i], NULL, log_many, words[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    char *rest = (char *)capture_read();
    int n_lines = 0;
    for (char *line = strsep(&rest, "\n"); line != NULL && *line != '\0';
         line = strsep(&rest, "\n")) {
        const char *word = strstr(line, "text=");
        ck_assert_ptr_nonnull(word);
        ck_assert_uint_eq(strspn(word + 5, (char[]){word[5], '\0'}), sizeof(words[0]) - 1);
        n_lines++;
    }
    ck_assert_int_eq(n_lines, 2000);
}
END_TEST

UNIT_MAIN("log", {text_line}, {levels}, {a_message_stays_one_line}, {json_line},
          {json_without_pairs_has_no_labels}, {long_messages_are_cut_and_still_json},
          {a_repeating_site_is_limited}, {debug_is_not_limited}, {errno_survives},
          {lines_of_threads_do_not_mix})
