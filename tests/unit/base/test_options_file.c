#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/options.h"
#include "tests/support/unit.h"

static char error[OPTION_ERROR_MAX];
static char text[4096];
static char folder[] = "/tmp/hearth-options-XXXXXX";

/* Every test works in an empty folder of its own, with defaults. */
static void begin(void)
{
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(chdir(folder), 0);
    options_init();
}

static void end(void)
{
    char command[64];
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
}

static void write_file(const char *name, const char *content)
{
    FILE *out = fopen(name, "w");
    ck_assert_ptr_nonnull(out);
    fputs(content, out);
    fclose(out);
}

static const char *read_file(const char *name)
{
    FILE *in = fopen(name, "r");
    ck_assert_ptr_nonnull(in);
    size_t n = fread(text, 1, sizeof(text) - 1, in);
    text[n] = '\0';
    fclose(in);
    return text;
}

static const char *value_of(enum option_id id)
{
    static char value[512];
    option_text(id, value, sizeof(value));
    return value;
}

static void load_ok(const char *content)
{
    write_file("h.conf", content);
    enum status st = options_load_file("h.conf", error);
    ck_assert_msg(st == OK, "%s", error);
}

static void load_bad(const char *content, const char *wanted_error)
{
    options_init();
    write_file("h.conf", content);
    ck_assert_msg(options_load_file("h.conf", error) == INVALID, "accepted: %s", content);
    ck_assert_str_eq(error, wanted_error);
    ck_assert_str_eq(options_file(), "");
}

static enum status load_args(const char *first, ...)
{
    char *argv[16] = {(char *)"hearth-server"};
    int argc = 1;
    va_list args;
    va_start(args, first);
    for (const char *arg = first; arg != NULL; arg = va_arg(args, const char *)) {
        argv[argc++] = (char *)arg;
    }
    va_end(args);
    error[0] = '\0';
    return options_load_args(argc, argv, error);
}

START_TEST(a_file_sets_options)
{
    begin();
    load_ok("# comment\n"
            "\n"
            "  port   7000  \n"
            "BIND 10.0.0.1   ::1\r\n"
            "\tmaxmemory 100mb\n"
            "dir \"/tmp/with blank\"\n"
            "requirepass 'it\\'s'\n"
            "unixsocket \"\"\n"
            "tcp-backlog 9");
    ck_assert_str_eq(value_of(OPT_PORT), "7000");
    ck_assert_str_eq(value_of(OPT_BIND), "10.0.0.1 ::1");
    ck_assert_int_eq(option_i64(OPT_MEMORY), 100 << 20);
    ck_assert_str_eq(value_of(OPT_DIR), "/tmp/with blank");
    ck_assert_str_eq(value_of(OPT_REQUIREPASS), "it's");
    ck_assert_str_eq(value_of(OPT_UNIXSOCKET), "");
    ck_assert_str_eq(value_of(OPT_TCP_BACKLOG), "9");
    char wanted[64];
    snprintf(wanted, sizeof(wanted), "%s/h.conf", folder);
    ck_assert_str_eq(options_file(), wanted);
    end();
}
END_TEST

START_TEST(quoting_is_that_of_redis)
{
    begin();
    load_ok("requirepass \"\\x41\\n\\r\\t\\a\\b\\\"\\\\\\q\\x4\"\n");
    ck_assert_str_eq(value_of(OPT_REQUIREPASS), "A\n\r\t\a\b\"\\qx4");
    load_ok("requirepass '\\n\"\\x41'\n");
    ck_assert_str_eq(value_of(OPT_REQUIREPASS), "\\n\"\\x41");
    load_ok("requirepass a#b # c\n"); /* only a line may be a comment */
    ck_assert_str_eq(value_of(OPT_REQUIREPASS), "a#b # c");
    end();
}
END_TEST

START_TEST(errors_say_where)
{
    begin();
    load_bad("port 1\n\nport x\n", "h.conf:3: port: 'x' is not a whole number");
    load_bad("prot 1\n", "h.conf:1: unknown option 'prot', did you mean 'port'?");
    load_bad("appendonly no\n", "h.conf:1: unknown option 'appendonly'");
    load_bad("port\n", "h.conf:1: 'port' has no value");
    load_bad("dir \"/tmp\n", "h.conf:1: unbalanced quotes");
    load_bad("dir \"/tmp\"x\n", "h.conf:1: unbalanced quotes");
    load_bad("dir '/tmp\n", "h.conf:1: unbalanced quotes");
    load_bad("dir \"a\\x00b\"\n", "h.conf:1: unbalanced quotes");
    load_bad("memory 1mb\n", "h.conf:1: memory: 1mb is out of bounds, 64mb to 16384gb");
    ck_assert_int_eq(options_load_file("missing.conf", error), NOT_FOUND);
    ck_assert_str_eq(error, "missing.conf: No such file or directory");
    ck_assert_int_eq(options_load_file("/", error), IO);
    ck_assert_str_eq(error, "/: Is a directory");
    FILE *out = fopen("nul.conf", "w");
    fwrite("port 1\0\n", 1, 8, out);
    fclose(out);
    ck_assert_int_eq(options_load_file("nul.conf", error), INVALID);
    ck_assert_str_eq(error, "nul.conf:1: a NUL byte");
    end();
}
END_TEST

START_TEST(the_last_line_wins_or_adds_up)
{
    begin();
    load_ok("port 1\nport 2\n"
            "client-output-buffer-limit normal 0 0 0\n"
            "client-output-buffer-limit replica 256mb 64mb 60\n"
            "client-output-buffer-limit pubsub 32mb 8mb 60\n");
    ck_assert_str_eq(value_of(OPT_PORT), "2");
    ck_assert_str_eq(value_of(OPT_OUTPUT_LIMIT),
                     "normal 0 0 0 replica 256mb 64mb 60 pubsub 32mb 8mb 60");
    end();
}
END_TEST

START_TEST(include_works)
{
    begin();
    ck_assert_int_eq(mkdir("conf.d", 0700), 0);
    write_file("one.conf", "port 1\ntimeout 5\n");
    write_file("conf.d/a.conf", "port 2\n");
    write_file("conf.d/b.conf", "maxclients 12\n");
    load_ok("port 9\ninclude one.conf\ninclude conf.d/*.conf\ninclude none.d/*.conf\n"
            "timeout 6\n");
    ck_assert_str_eq(value_of(OPT_PORT), "2");
    ck_assert_str_eq(value_of(OPT_TIMEOUT), "6");
    ck_assert_str_eq(value_of(OPT_MAXCLIENTS), "12");
    load_bad("port 1\ninclude no.conf\n", "no.conf: No such file or directory");
    end();
}
END_TEST

START_TEST(include_errors_name_the_inner_place)
{
    begin();
    write_file("bad.conf", "\nport x\n");
    load_bad("include bad.conf\n", "bad.conf:2: port: 'x' is not a whole number");
    load_bad("include h.conf\n", "h.conf: included too deeply");
    end();
}
END_TEST

START_TEST(arguments_after_a_file)
{
    begin();
    write_file("h.conf", "port 1\nbind 1.1.1.1\n");
    ck_assert_int_eq(load_args("h.conf", "--port", "2", "--BIND", "127.0.0.1", "-::1",
                               "--requirepass", "", NULL),
                     OK);
    ck_assert_str_eq(value_of(OPT_PORT), "2");
    ck_assert_str_eq(value_of(OPT_BIND), "127.0.0.1 -::1");
    ck_assert_str_eq(value_of(OPT_REQUIREPASS), "");
    ck_assert_str_ne(options_file(), "");
    end();
}
END_TEST

START_TEST(arguments_alone)
{
    begin();
    ck_assert_int_eq(load_args(NULL, NULL), OK);
    ck_assert_int_eq(load_args("--port", "3", "--slowlog-log-slower-than", "-1", NULL), OK);
    ck_assert_str_eq(value_of(OPT_PORT), "3");
    ck_assert_str_eq(value_of(OPT_SLOWLOG_SLOWER), "-1");
    ck_assert_str_eq(options_file(), "");
    ck_assert_int_eq(load_args("--prot", "3", NULL), INVALID);
    ck_assert_str_eq(error, "unknown option 'prot', did you mean 'port'?");
    ck_assert_int_eq(load_args("--port", NULL), INVALID);
    ck_assert_str_eq(error, "'--port' has no value");
    ck_assert_int_eq(load_args("--port", "--timeout", "3", NULL), INVALID);
    ck_assert_str_eq(error, "'--port' has no value");
    ck_assert_int_eq(load_args("--port", "x", NULL), INVALID);
    ck_assert_str_eq(error, "port: 'x' is not a whole number");
    ck_assert_int_eq(load_args("no.conf", "--port", "1", NULL), NOT_FOUND);
    end();
}
END_TEST

START_TEST(stdin_is_no_file_to_rewrite)
{
    begin();
    write_file("in", "port 4\n");
    ck_assert_ptr_nonnull(freopen("in", "r", stdin));
    ck_assert_int_eq(load_args("-", "--timeout", "3", NULL), OK);
    ck_assert_str_eq(value_of(OPT_PORT), "4");
    ck_assert_str_eq(options_file(), "");
    ck_assert_int_eq(options_rewrite(error), NOT_FOUND);
    ck_assert_str_eq(error, "started without a config file");
    end();
}
END_TEST

static void set_ok(enum option_id id, const char *value)
{
    enum status st = option_set(id, value, error);
    ck_assert_msg(st == OK, "%s", error);
}

static void rewrite_ok(void)
{
    enum status st = options_rewrite(error);
    ck_assert_msg(st == OK, "%s", error);
}

START_TEST(rewriting_nothing_changes_nothing)
{
    static const char content[] = "# mine\nport   1\nPORT 2\n\n  bind '::1'\nmaxmemory 64mb";
    begin();
    load_ok(content);
    rewrite_ok();
    /* A last line without end gets one, and that is all. */
    ck_assert_int_eq(strncmp(read_file("h.conf"), content, strlen(content)), 0);
    ck_assert_str_eq(text + strlen(content), "\n");
    end();
}
END_TEST

START_TEST(rewriting_keeps_comments_and_order)
{
    begin();
    load_ok("# first\ntimeout 1\nport 1\n# second\nmaxmemory 64mb\ntimeout 2\n# last\n");
    set_ok(OPT_TIMEOUT, "3");
    set_ok(OPT_MEMORY, "128mb");
    set_ok(OPT_MAXCLIENTS, "77");
    set_ok(OPT_REQUIREPASS, "a  \"b\"\n\x01\xff");
    rewrite_ok();
    static const char wanted[] = "# first\nport 1\n# second\nmaxmemory 128mb\ntimeout 3\n# last\n"
                                 "# Generated by CONFIG REWRITE\n"
                                 "requirepass \"a  \\\"b\\\"\\x0a\\x01\\xff\"\n"
                                 "maxclients 77\n";
    ck_assert_str_eq(read_file("h.conf"), wanted);
    rewrite_ok(); /* once more: nothing left to do */
    ck_assert_str_eq(read_file("h.conf"), wanted);
    set_ok(OPT_TCP_KEEPALIVE, "0");
    rewrite_ok(); /* the mark stands once */
    ck_assert_str_eq(strstr(read_file("h.conf"), "maxclients 77\n"),
                     "maxclients 77\ntcp-keepalive 0\n");
    /* And it loads to the same values. */
    options_init();
    ck_assert_int_eq(options_load_file("h.conf", error), OK);
    ck_assert_str_eq(value_of(OPT_REQUIREPASS), "a  \"b\"\n\x01\xff");
    ck_assert_int_eq(option_i64(OPT_MEMORY), 128 << 20);
    ck_assert_str_eq(value_of(OPT_TIMEOUT), "3");
    ck_assert_str_eq(value_of(OPT_TCP_KEEPALIVE), "0");
    end();
}
END_TEST

START_TEST(rewriting_overrides_includes)
{
    begin();
    write_file("inner.conf", "timeout 5\nmaxclients 50\n");
    load_ok("timeout 1\ninclude inner.conf\n");
    rewrite_ok();
    ck_assert_str_eq(read_file("h.conf"), "timeout 1\ninclude inner.conf\n");
    set_ok(OPT_TIMEOUT, "0"); /* back to the default: still a change */
    rewrite_ok();
    ck_assert_str_eq(read_file("h.conf"),
                     "include inner.conf\n# Generated by CONFIG REWRITE\ntimeout 0\n");
    ck_assert_str_eq(read_file("inner.conf"), "timeout 5\nmaxclients 50\n");
    options_init();
    ck_assert_int_eq(options_load_file("h.conf", error), OK);
    ck_assert_str_eq(value_of(OPT_TIMEOUT), "0");
    ck_assert_str_eq(value_of(OPT_MAXCLIENTS), "50");
    end();
}
END_TEST

START_TEST(rewriting_folds_added_lines)
{
    begin();
    load_ok("client-output-buffer-limit normal 1 1 1\n# between\n"
            "client-output-buffer-limit pubsub 2 2 2\n");
    rewrite_ok();
    ck_assert_ptr_nonnull(strstr(read_file("h.conf"), "normal 1 1 1\n# between\n"));
    set_ok(OPT_OUTPUT_LIMIT, "normal 3 3 3");
    rewrite_ok();
    ck_assert_str_eq(read_file("h.conf"), "# between\nclient-output-buffer-limit normal 3 3 3\n");
    end();
}
END_TEST

START_TEST(rewriting_keeps_mode_and_link_and_leaves_no_rest)
{
    begin();
    write_file("real.conf", "port 1\n");
    ck_assert_int_eq(chmod("real.conf", 0640), 0);
    ck_assert_int_eq(symlink("real.conf", "h.conf"), 0);
    ck_assert_int_eq(options_load_file("h.conf", error), OK);
    ck_assert_int_eq(chdir("/"), 0); /* the path was resolved at loading */
    set_ok(OPT_PORT, "2");
    rewrite_ok();
    ck_assert_int_eq(chdir(folder), 0);
    struct stat st;
    ck_assert_int_eq(lstat("h.conf", &st), 0);
    ck_assert(S_ISLNK(st.st_mode));
    ck_assert_int_eq(stat("real.conf", &st), 0);
    ck_assert_int_eq(st.st_mode & 07777, 0640);
    ck_assert_str_eq(read_file("real.conf"), "port 2\n");
    ck_assert_int_eq(system("test $(ls -A | wc -l) -eq 2"), 0);
    end();
}
END_TEST

START_TEST(rewriting_a_lost_file_creates_it)
{
    begin();
    load_ok("port 1\n");
    set_ok(OPT_PORT, "2");
    ck_assert_int_eq(unlink("h.conf"), 0);
    rewrite_ok();
    ck_assert_str_eq(read_file("h.conf"), "# Generated by CONFIG REWRITE\nport 2\n");
    end();
}
END_TEST

START_TEST(rewriting_into_a_lost_folder_fails)
{
    begin();
    load_ok("port 1\n");
    end();
    ck_assert_int_eq(options_rewrite(error), NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(error, "h.conf: not found"));
}
END_TEST

/* Random printable and other bytes survive set, rewrite, load. */
START_TEST(any_string_survives_the_file)
{
    unsigned seed = 20240817;
    begin();
    for (int round = 0; round < 200; round++) {
        char value[24];
        size_t len = (size_t)rand_r(&seed) % (sizeof(value) - 1);
        for (size_t i = 0; i < len; i++) {
            static const char often[] = " \t\"'\\#\nx";
            value[i] = rand_r(&seed) % 2 == 0 ? often[rand_r(&seed) % (int)(sizeof(often) - 1)]
                                              : (char)(1 + rand_r(&seed) % 255);
        }
        value[len] = '\0';
        options_init();
        load_ok("requirepass seed\n");
        set_ok(OPT_REQUIREPASS, value);
        rewrite_ok();
        options_init();
        enum status st = options_load_file("h.conf", error);
        ck_assert_msg(st == OK, "round %d: %s", round, error);
        ck_assert_str_eq(value_of(OPT_REQUIREPASS), value);
    }
    end();
}
END_TEST

UNIT_MAIN("options_file", {a_file_sets_options}, {quoting_is_that_of_redis}, {errors_say_where},
          {the_last_line_wins_or_adds_up}, {include_works}, {include_errors_name_the_inner_place},
          {arguments_after_a_file}, {arguments_alone}, {stdin_is_no_file_to_rewrite},
          {rewriting_nothing_changes_nothing}, {rewriting_keeps_comments_and_order},
          {rewriting_overrides_includes}, {rewriting_folds_added_lines},
          {rewriting_keeps_mode_and_link_and_leaves_no_rest}, {rewriting_a_lost_file_creates_it},
          {rewriting_into_a_lost_folder_fails}, {any_string_survives_the_file})
