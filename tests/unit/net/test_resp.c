#include "net/resp.h"

#include <stdio.h>

#include "engine/base/fault.h"
#include "tests/support/resp_feed.h"
#include "tests/support/unit.h"

static size_t at_once(void *arg)
{
    return SIZE_MAX;
}

static size_t one_by_one(void *arg)
{
    return 1;
}

/* "a b|c" for the requests [a, b] and [c]; "!text" for the error at the end. */
static char *readable(const struct resp *r, enum resp_result got, char *text)
{
    size_t n = strlen(text);
    if (got == RESP_ERROR) {
        (void)sprintf(text + n, "!%s", r->error);
        return text;
    }
    for (int i = 0; i < r->argc; i++) {
        n += (size_t)sprintf(text + n, "%s%.*s", i > 0 ? " " : "", (int)r->argv[i].len,
                             r->argv[i].data);
    }
    (void)sprintf(text + n, "%s|", r->is_oom ? "(oom)" : "");
    return text;
}

static void parse(const char *data, size_t len, size_t piece, char *text)
{
    struct resp r;
    resp_init(&r);
    text[0] = '\0';
    enum resp_result got = RESP_MORE;
    while (len > 0 && got != RESP_ERROR) {
        struct iovec iov[2];
        ck_assert_int_eq(resp_space(&r, iov), 1);
        size_t n = piece < len ? piece : len;
        n = n < iov[0].iov_len ? n : iov[0].iov_len;
        memcpy(iov[0].iov_base, data, n);
        resp_filled(&r, n);
        data += n;
        len -= n;
        while ((got = resp_next(&r)) == RESP_REQUEST) {
            readable(&r, got, text);
        }
    }
    if (got == RESP_ERROR) {
        readable(&r, got, text);
    }
    resp_deinit(&r);
}

#define PROTOCOL "!ERR Protocol error: "

/* As redis-server 7.0.15 takes them. */
static const struct vector {
    const char *input;
    const char *output;
} vectors[] = {
    {"\r\n", "|"},
    {"PING\n", "PING|"},
    {"PING\r\nPING\r\n", "PING|PING|"},
    {"*0\r\n*-10\r\nPING\r\n", "||PING|"},
    {"*abc\r\n", PROTOCOL "invalid multibulk length"},
    {"*2147483648\r\n", PROTOCOL "invalid multibulk length"},
    {"*+1\r\n", PROTOCOL "invalid multibulk length"},
    {"*01\r\n", PROTOCOL "invalid multibulk length"},
    {"*1 \r\n", PROTOCOL "invalid multibulk length"},
    {"*\r\n", PROTOCOL "invalid multibulk length"},
    {"*2147483647\r\n", ""},
    {"*1048577\r\n", ""},
    {"*1\r\nfoo\r\n", PROTOCOL "expected '$', got 'f'"},
    {"*1\r\n\r\n", PROTOCOL "expected '$', got ' '"},
    {"*1\r\n$-1\r\n", PROTOCOL "invalid bulk length"},
    {"*1\r\n$536870913\r\n", PROTOCOL "invalid bulk length"},
    {"*1\r\n$9223372036854775808\r\n", PROTOCOL "invalid bulk length"},
    {"*1\r\n$blabla\r\n", PROTOCOL "invalid bulk length"},
    {"*1\r\n$536870912\r\n", ""},
    {"*1\r\n$0\r\n\r\n", "|"},
    {"*2\r\n$0\r\n\r\n$1\r\na\r\n", " a|"},
    {"*1\r\n$4\r\nPINGXX*1\r\n$4\r\nPING\r\n", "PING|PING|"},
    {"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\na\r\nbc\r\n", "SET k a\r\nbc|"},
    {"ECHO \"\\x41\\n\"\r\n", "ECHO A\n|"},
    {"ECHO 'a\\'b' \"\" \"\\\\\\\"\"\r\n", "ECHO a'b  \\\"|"},
    {"ECHO '\\n'\r\n", "ECHO \\n|"},
    {"ECHO a\"b c\"\r\n", "ECHO ab c|"},
    {"  ECHO \t a  \r\n", "ECHO a|"},
    {"ECHO \"abc\r\n", PROTOCOL "unbalanced quotes in request"},
    {"ECHO 'abc\r\n", PROTOCOL "unbalanced quotes in request"},
    {"ECHO \"a\"b\r\n", PROTOCOL "unbalanced quotes in request"},
    {"ECHO \"a\\", ""},
};

START_TEST(vectors_of_redis)
{
    char text[256];
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        size_t len = strlen(vectors[i].input);
        for (size_t piece = 1; piece <= len; piece++) {
            parse(vectors[i].input, len, piece, text);
            ck_assert_msg(strcmp(text, vectors[i].output) == 0, "%s in pieces of %zu: %s",
                          vectors[i].input, piece, text);
        }
    }
}
END_TEST

/* What strchr does not find, does not end a line. */
START_TEST(nul_hides_the_end_of_a_line)
{
    char text[256];
    parse("PING\0x\r\nPING\r\n", 14, 14, text);
    ck_assert_str_eq(text, "");
    parse("*1\0\r\n$4\r\nPING\r\n", 15, 15, text);
    ck_assert_str_eq(text, "");
}
END_TEST

static void long_line(char first, size_t len, const char *expected)
{
    char text[256];
    char *line = malloc(len);
    memset(line, '1', len);
    line[0] = first;
    parse(line, len, 1000, text);
    ck_assert_str_eq(text, expected);
    free(line);
}

START_TEST(lines_end_within_64_kb)
{
    char text[256];
    long_line('x', RESP_LINE_MAX, "");
    long_line('x', RESP_LINE_MAX + 1, PROTOCOL "too big inline request");
    long_line('*', RESP_LINE_MAX + 1, PROTOCOL "too big mbulk count string");
    char *bulk = malloc(RESP_LINE_MAX + 10);
    memset(bulk, '1', RESP_LINE_MAX + 10);
    memcpy(bulk, "*1\r\n$", 5);
    parse(bulk, RESP_LINE_MAX + 10, 1000, text);
    ck_assert_str_eq(text, PROTOCOL "too big bulk count string");
    free(bulk);
}
END_TEST

static void untrusted(const char *data, size_t len, const char *expected)
{
    struct resp r;
    struct story s = {0};
    resp_init(&r);
    r.is_trusted = false;
    feed(&r, data, len, at_once, NULL, &s);
    story_add(&s, "", 1);
    ck_assert_str_eq(s.text, expected);
    free(s.text);
    resp_deinit(&r);
}

START_TEST(strangers_may_send_little)
{
    untrusted("*11\r\n", 5, "ERR Protocol error: unauthenticated multibulk length");
    untrusted("*10\r\n", 5, "");
    untrusted("*1\r\n$16385\r\n", 12, "ERR Protocol error: unauthenticated bulk length");
    untrusted("*1\r\n$16384\r\n", 12, "");
}
END_TEST

/* --- large arguments ---------------------------------------------------------------------------- */

static size_t put_bulk(char *out, size_t len, char fill)
{
    size_t n = (size_t)sprintf(out, "$%zu\r\n", len);
    memset(out + n, fill, len);
    memcpy(out + n + len, "\r\n", 2);
    return n + len + 2;
}

START_TEST(a_large_argument_is_a_blob)
{
    static char stream[200000];
    size_t len = (size_t)sprintf(stream, "*4\r\n$4\r\nMSET\r\n");
    len += put_bulk(stream + len, ENGINE_BLOB_MIN, 'a');
    len += put_bulk(stream + len, 5, 'b');
    len += put_bulk(stream + len, 100000, 'c');
    len += (size_t)sprintf(stream + len, "PING\r\n");
    for (size_t piece = 700; piece < len; piece = piece * 2 + 1) {
        struct resp r;
        resp_init(&r);
        size_t done = 0;
        enum resp_result got = RESP_MORE;
        while (got == RESP_MORE) {
            struct iovec iov[2];
            int n_iov = resp_space(&r, iov);
            size_t n = 0;
            for (int i = 0; i < n_iov; i++) {
                size_t part = piece - n < iov[i].iov_len ? piece - n : iov[i].iov_len;
                part = part < len - done ? part : len - done;
                memcpy(iov[i].iov_base, stream + done, part);
                done += part;
                n += part;
            }
            resp_filled(&r, n);
            got = resp_next(&r);
        }
        ck_assert_int_eq(got, RESP_REQUEST);
        ck_assert_int_eq(r.argc, 4);
        ck_assert_ptr_nonnull(r.argv[1].blob);
        ck_assert_ptr_null(r.argv[2].blob);
        ck_assert_ptr_nonnull(r.argv[3].blob);
        ck_assert_uint_eq(r.argv[1].len, ENGINE_BLOB_MIN);
        ck_assert_uint_eq(r.argv[3].len, 100000);
        ck_assert_mem_eq(r.argv[2].data, "bbbbb", 5);
        for (size_t i = 0; i < 100000; i++) {
            ck_assert_int_eq(r.argv[3].data[i], 'c');
        }
        ck_assert_uint_eq(r.blob_bytes, ENGINE_BLOB_MIN + 100000);
        /* The command takes one of them over. */
        engine_blob_release(r.argv[1].blob);
        r.argv[1].blob = NULL;
        resp_deinit(&r);
        ck_assert_int_eq(blob_double_alive, 0);
    }
}
END_TEST

START_TEST(a_refused_large_argument_is_swallowed)
{
    static char stream[200000];
    size_t len = (size_t)sprintf(stream, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n");
    len += put_bulk(stream + len, 100000, 'c');
    len += (size_t)sprintf(stream + len, "PING\r\n");
    blob_double_limit = 50000;
    struct resp r;
    struct story s = {0};
    resp_init(&r);
    feed(&r, stream, len, at_once, NULL, &s);
    ck_assert(!r.is_oom);
    ck_assert_int_eq(r.argc, 0);
    ck_assert_int_eq(s.text[0], true); /* is_oom of the first request */
    ck_assert_mem_eq(s.text + s.len - 4, "PING", 4);
    ck_assert_uint_le(resp_memory(&r), 70000);
    free(s.text);
    resp_deinit(&r);
}
END_TEST

/* --- memory ------------------------------------------------------------------------------------- */

START_TEST(an_idle_parser_holds_nothing)
{
    struct resp r;
    struct story s = {0};
    resp_init(&r);
    feed(&r, "PING\r\n", 6, at_once, NULL, &s);
    ck_assert_uint_eq(resp_memory(&r), 1024);
    resp_trim(&r);
    ck_assert_uint_eq(resp_memory(&r), 0);
    feed(&r, "PING\r\nPI", 8, at_once, NULL, &s);
    resp_trim(&r); /* half a request stays */
    ck_assert(resp_is_partial(&r));
    feed(&r, "NG\r\n", 4, at_once, NULL, &s);
    ck_assert(!resp_is_partial(&r));
    free(s.text);
    resp_deinit(&r);
}
END_TEST

START_TEST(many_arguments_grow_the_array)
{
    enum { N = 100000 };
    char *stream = malloc(N * 8 + 32);
    size_t len = (size_t)sprintf(stream, "*%d\r\n", N);
    for (int i = 0; i < N; i++) {
        len += (size_t)sprintf(stream + len, "$1\r\n%d\r\n", i % 10);
    }
    struct resp r;
    struct story whole = {0};
    struct story pieces = {0};
    resp_init(&r);
    feed(&r, stream, len, at_once, NULL, &whole);
    feed(&r, stream, len, one_by_one, NULL, &pieces);
    ck_assert_uint_eq(whole.len, pieces.len);
    ck_assert_mem_eq(whole.text, pieces.text, whole.len);
    resp_trim(&r);
    ck_assert_uint_eq(resp_memory(&r), 0);
    free(whole.text);
    free(pieces.text);
    free(stream);
    resp_deinit(&r);
}
END_TEST

#ifdef HEARTH_TEST
/* Whichever allocation fails: no room to read, or a request that says so; never a wrong one. */
START_TEST(every_allocation_may_fail)
{
    static char stream[200000];
    size_t len = (size_t)sprintf(stream, "*20\r\n");
    for (int i = 0; i < 19; i++) {
        len += put_bulk(stream + len, (size_t)i * 100, 'x');
    }
    len += put_bulk(stream + len, 40000, 'y');
    bool has_failed = true;
    for (int n = 1; has_failed; n++) {
        char spec[64];
        (void)snprintf(spec, sizeof(spec), "alloc=NO_MEMORY@%d", n);
        ck_assert_int_eq(fault_arm(spec), OK);
        struct resp r;
        struct story s = {0};
        resp_init(&r);
        size_t done = 0;
        while (done < len) {
            struct iovec iov[2];
            if (resp_space(&r, iov) == 0) {
                break; /* the client would be closed */
            }
            size_t part = iov[0].iov_len < len - done ? iov[0].iov_len : len - done;
            memcpy(iov[0].iov_base, stream + done, part);
            done += part;
            resp_filled(&r, part);
            if (resp_next(&r) == RESP_REQUEST) {
                ck_assert(r.is_oom || r.argc == 20);
            }
        }
        has_failed = fault_passages(FAULT_ALLOC) >= (uint64_t)n;
        IGNORE(fault_arm(NULL));
        free(s.text);
        resp_deinit(&r);
        ck_assert_int_eq(blob_double_alive, 0);
    }
}
END_TEST
#define FAULT_TESTS                                                                                \
    ,                                                                                              \
    {                                                                                              \
        every_allocation_may_fail                                                                  \
    }
#else
#define FAULT_TESTS
#endif

UNIT_MAIN("resp", {vectors_of_redis}, {nul_hides_the_end_of_a_line}, {lines_end_within_64_kb},
          {strangers_may_send_little}, {a_large_argument_is_a_blob},
          {a_refused_large_argument_is_swallowed}, {an_idle_parser_holds_nothing},
          {many_arguments_grow_the_array} FAULT_TESTS)
