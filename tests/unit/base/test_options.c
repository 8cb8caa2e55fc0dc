#include "engine/base/options.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/unit.h"

static char error[OPTION_ERROR_MAX];
static char text[256];

static const char *text_of(enum option_id id)
{
    size_t len = option_text(id, text, sizeof(text));
    ck_assert_uint_eq(len, strlen(text));
    return text;
}

static void set_ok(enum option_id id, const char *value)
{
    enum status st = option_set(id, value, error);
    ck_assert_msg(st == OK, "%s: %s", value, error);
}

static void set_invalid(enum option_id id, const char *value, const char *wanted_error)
{
    error[0] = '\0';
    ck_assert_msg(option_check(id, value, error) == INVALID, "accepted '%s'", value);
    ck_assert_str_eq(error, wanted_error);
    error[0] = '\0';
    ck_assert_int_eq(option_set(id, value, error), INVALID);
    ck_assert_str_eq(error, wanted_error);
}

START_TEST(defaults_are_valid_and_named_once)
{
    options_init();
    for (int i = 0; i < OPTION_COUNT; i++) {
        enum option_id id = (enum option_id)i;
        const struct option_info *info = option_info(id);
        enum option_id found;
        ck_assert_int_eq(option_lookup(info->name, &found), OK);
        if (info->flags & OPTION_ALIAS) {
            ck_assert_str_eq(option_info(found)->name, info->words);
            continue;
        }
        ck_assert_int_eq(found, id);
        ck_assert_int_eq(option_check(id, info->default_text, error), OK);
        ck_assert_uint_gt(strlen(info->help), 0);
        text_of(id);
        ck_assert_int_eq(option_check(id, text, error), OK); /* CONFIG GET, then CONFIG SET */
    }
    ck_assert_int_eq(option_i64(OPT_PORT), 6379);
    ck_assert_int_eq(option_i64(OPT_MEMORY), 256 << 20);
    ck_assert_str_eq(text_of(OPT_MEMORY), "268435456");
    ck_assert_str_eq(text_of(OPT_PROTECTED_MODE), "yes");
    ck_assert_str_eq(text_of(OPT_MAXMEMORY_POLICY), "allkeys-tinylfu");
    ck_assert_str_eq(text_of(OPT_BIND), "127.0.0.1 ::1");
    ck_assert_str_eq(text_of(OPT_UNIXSOCKET), "");
}
END_TEST

START_TEST(init_restores_defaults)
{
    options_init();
    set_ok(OPT_PORT, "1");
    set_ok(OPT_BIND, "::");
    options_init();
    ck_assert_int_eq(option_i64(OPT_PORT), 6379);
    ck_assert_str_eq(text_of(OPT_BIND), "127.0.0.1 ::1");
}
END_TEST

START_TEST(sizes)
{
    static const struct {
        const char *text;
        int64_t bytes; /* -1: invalid */
    } rows[] = {
        {"0", 0},
        {"512", 512},
        {"512b", 512},
        {"64k", 64000},
        {"64kb", 65536},
        {"64KB", 65536},
        {"64Mb", 64 << 20},
        {"64m", 64000000},
        {"10gb", INT64_C(10) << 30},
        {"10G", INT64_C(10000000000)},
        {"8589934591gb", INT64_C(8589934591) << 30},
        {"8589934592gb", -1},
        {"9223372036854775807", INT64_MAX},
        {"9223372036854775808", -1},
        {"", -1},
        {"mb", -1},
        {"-1", -1},
        {"+1", -1},
        {" 1", -1},
        {"1 mb", -1},
        {"1mb ", -1},
        {"1tb", -1},
        {"1.5gb", -1},
        {"0x10", -1},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int64_t bytes = 77;
        enum status st = option_parse_bytes(rows[i].text, &bytes);
        ck_assert_msg(st == (rows[i].bytes >= 0 ? OK : INVALID), "'%s'", rows[i].text);
        ck_assert_int_eq(bytes, rows[i].bytes >= 0 ? rows[i].bytes : 0);
    }
}
END_TEST

START_TEST(bounds_and_forms)
{
    options_init();
    set_ok(OPT_PORT, "0");
    set_ok(OPT_PORT, "65535");
    set_invalid(OPT_PORT, "65536", "port: 65536 is out of bounds, 0 to 65535");
    set_invalid(OPT_PORT, "-1", "port: -1 is out of bounds, 0 to 65535");
    set_invalid(OPT_PORT, "", "port: '' is not a whole number");
    set_invalid(OPT_PORT, "12x", "port: '12x' is not a whole number");
    set_invalid(OPT_PORT, " 12", "port: ' 12' is not a whole number");
    set_invalid(OPT_PORT, "99999999999999999999",
                "port: '99999999999999999999' is not a whole number");
    set_ok(OPT_SLOWLOG_SLOWER, "-1");
    set_ok(OPT_SLOWLOG_SLOWER, "9223372036854775807");
    set_invalid(OPT_MEMORY, "63mb", "memory: 63mb is out of bounds, 64mb to 16384gb");
    set_invalid(OPT_MEMORY, "lots", "memory: 'lots' is not a size such as 512, 64mb or 10gb");
    set_ok(OPT_PROTECTED_MODE, "No");
    ck_assert_int_eq(option_i64(OPT_PROTECTED_MODE), 0);
    set_invalid(OPT_PROTECTED_MODE, "true", "protected-mode: 'true' is not yes or no");
    set_ok(OPT_LOGLEVEL, "VERBOSE");
    ck_assert_int_eq(option_i64(OPT_LOGLEVEL), 1);
    ck_assert_str_eq(text_of(OPT_LOGLEVEL), "verbose");
    set_invalid(OPT_LOGLEVEL, "verb",
                "loglevel: 'verb' is not one of debug|verbose|notice|warning");
    set_invalid(OPT_LOGLEVEL, "debug|verbose",
                "loglevel: 'debug|verbose' is not one of debug|verbose|notice|warning");
    ck_assert_int_eq(option_i64(OPT_PORT), 65535); /* what failed changed nothing */
    ck_assert_int_eq(option_set(OPT_PORT, "x", NULL), INVALID);
}
END_TEST

START_TEST(names_are_case_blind_and_aliased)
{
    enum option_id id;
    options_init();
    ck_assert_int_eq(option_lookup("PORT", &id), OK);
    ck_assert_int_eq(id, OPT_PORT);
    ck_assert_int_eq(option_lookup("maxmemory", &id), OK);
    ck_assert_int_eq(id, OPT_MEMORY);
    set_ok(OPT_MAXMEMORY, "100mb");
    ck_assert_int_eq(option_i64(OPT_MEMORY), 100 << 20);
    ck_assert_int_eq(option_i64(OPT_MAXMEMORY), 100 << 20);
    ck_assert_str_eq(text_of(OPT_MAXMEMORY), "104857600");
    ck_assert_int_eq(option_lookup("", &id), NOT_FOUND);
    ck_assert_int_eq(option_lookup("por", &id), NOT_FOUND);
}
END_TEST

START_TEST(the_nearest_name_is_suggested)
{
    ck_assert_str_eq(option_nearest("prot"), "port");
    ck_assert_str_eq(option_nearest("Memry"), "memory");
    ck_assert_str_eq(option_nearest("max-clients"), "maxclients");
    ck_assert_str_eq(option_nearest("maxmemory-polcy"), "maxmemory-policy");
    ck_assert_str_eq(option_nearest("slowlog-maxlen"), "slowlog-max-len");
    ck_assert_ptr_null(option_nearest("appendfsync"));
    ck_assert_ptr_null(option_nearest("auto-aof-rewrite-percentage"));
    char long_name[300];
    memset(long_name, 'a', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    ck_assert_ptr_null(option_nearest(long_name));
}
END_TEST

START_TEST(strings_are_copied_and_cut)
{
    options_init();
    char small[4];
    char dir[] = "/var/lib/x";
    set_ok(OPT_DIR, dir);
    dir[0] = '?';
    ck_assert_str_eq(text_of(OPT_DIR), "/var/lib/x");
    ck_assert_uint_eq(option_str(OPT_DIR, small, sizeof(small)), 10);
    ck_assert_str_eq(small, "/va");
    ck_assert_uint_eq(option_str(OPT_DIR, NULL, 0), 10);
    ck_assert_uint_eq(option_text(OPT_LOGLEVEL, small, sizeof(small)), strlen("notice"));
    ck_assert_str_eq(small, "not");
}
END_TEST

static int n_calls;
static enum status hook_answer;

static enum status hook(enum option_id id, void *arg, char *error_out)
{
    n_calls++;
    ck_assert_ptr_eq(arg, &n_calls);
    ck_assert_int_eq(id, OPT_MEMORY);
    if (hook_answer == NO_MEMORY) {
        strcpy(error_out, "too little");
    }
    return hook_answer;
}

START_TEST(hooks_run_after_a_change_and_may_refuse)
{
    options_init();
    option_on_change(OPT_MAXMEMORY, hook, &n_calls); /* through the alias as well */
    set_ok(OPT_MEMORY, "100mb");
    ck_assert_int_eq(n_calls, 1);
    set_ok(OPT_MEMORY, "104857600"); /* the same value */
    ck_assert_int_eq(n_calls, 1);
    hook_answer = NO_MEMORY;
    ck_assert_int_eq(option_set(OPT_MEMORY, "200mb", error), NO_MEMORY);
    ck_assert_str_eq(error, "too little");
    ck_assert_int_eq(option_i64(OPT_MEMORY), 100 << 20);
    hook_answer = REJECTED;
    ck_assert_int_eq(option_set(OPT_MEMORY, "200mb", error), REJECTED);
    ck_assert_str_eq(error, "memory: refused");
    ck_assert_int_eq(option_set(OPT_MEMORY, "1", error), INVALID);
    ck_assert_int_eq(n_calls, 3);
    option_on_change(OPT_MEMORY, NULL, NULL);
    set_ok(OPT_MEMORY, "200mb");
    ck_assert_int_eq(n_calls, 3);
}
END_TEST

static enum status string_hook(enum option_id id, void *arg, char *error_out)
{
    char now[64];
    option_str(id, now, sizeof(now)); /* no lock is held */
    return strcmp(now, "bad") == 0 ? INVALID : option_set(OPT_TIMEOUT, "7", error_out);
}

START_TEST(a_hook_may_set_another_option)
{
    options_init();
    option_on_change(OPT_REQUIREPASS, string_hook, NULL);
    set_ok(OPT_REQUIREPASS, "good");
    ck_assert_int_eq(option_i64(OPT_TIMEOUT), 7);
    ck_assert_int_eq(option_set(OPT_REQUIREPASS, "bad", error), INVALID);
    ck_assert_str_eq(text_of(OPT_REQUIREPASS), "good");
}
END_TEST

static _Atomic bool is_over;

static void *set_on(void *arg)
{
    static const char *const dirs[] = {"aaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbb", ""};
    for (int i = 0; i < 3000; i++) {
        char number[16];
        snprintf(number, sizeof(number), "%d", i % 2 == 0 ? 1111 : 2222);
        if (option_set(OPT_DIR, dirs[i % 3], NULL) != OK ||
            option_set(OPT_TIMEOUT, number, NULL) != OK) {
            return arg;
        }
    }
    return NULL;
}

static void *read_on(void *arg)
{
    uintptr_t n_torn = 0;
    while (!atomic_load(&is_over)) {
        char dir[64];
        size_t len = option_str(OPT_DIR, dir, sizeof(dir));
        n_torn += len != strlen(dir) || strspn(dir, "a") + strspn(dir, "b") != len;
        int64_t number = option_i64(OPT_TIMEOUT);
        n_torn += number != 0 && number != 1111 && number != 2222;
    }
    return (void *)n_torn;
}

START_TEST(setters_beside_readers)
{
    pthread_t setters[2];
    pthread_t readers[2];
    options_init();
    set_ok(OPT_DIR, "");
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(pthread_create(&setters[i], NULL, set_on, &is_over), 0);
        ck_assert_int_eq(pthread_create(&readers[i], NULL, read_on, NULL), 0);
    }
    void *result;
    for (int i = 0; i < 2; i++) {
        pthread_join(setters[i], &result);
        ck_assert_ptr_null(result);
    }
    atomic_store(&is_over, true);
    for (int i = 0; i < 2; i++) {
        pthread_join(readers[i], &result);
        ck_assert_ptr_null(result);
    }
}
END_TEST

START_TEST(help_names_every_option_once)
{
    char *help = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&help, &len);
    ck_assert_ptr_nonnull(out);
    options_print_help(out);
    fclose(out);
    for (int id = 0; id < OPTION_COUNT; id++) {
        const struct option_info *info = option_info((enum option_id)id);
        char line[128];
        snprintf(line, sizeof(line), "  --%s\n", info->name);
        bool is_shown = (info->flags & OPTION_ALIAS) == 0;
        ck_assert_msg((strstr(help, line) != NULL) == is_shown, "%s", info->name);
    }
    ck_assert_ptr_nonnull(strstr(help, "default 256mb, 64mb to 16384gb; CONFIG SET at run time\n"));
    ck_assert_ptr_nonnull(strstr(help, "default empty\n"));
    free(help);
}
END_TEST

UNIT_MAIN("options", {defaults_are_valid_and_named_once}, {init_restores_defaults}, {sizes},
          {bounds_and_forms}, {names_are_case_blind_and_aliased}, {the_nearest_name_is_suggested},
          {strings_are_copied_and_cut}, {hooks_run_after_a_change_and_may_refuse},
          {a_hook_may_set_another_option}, {setters_beside_readers}, {help_names_every_option_once})
