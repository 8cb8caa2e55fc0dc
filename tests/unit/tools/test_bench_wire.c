/* hearth-bench's sources are no library, so the test takes them in whole. */
#include "tools/hearth-bench/wire.c"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/unit.h"

void bench_die(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    abort();
}

void *bench_realloc(void *p, size_t size)
{
    p = realloc(p, size);
    ck_assert_ptr_nonnull(p);
    return p;
}

struct expectation {
    enum bench_protocol protocol;
    const char *bytes;
    enum reply_kind kind;
    const char *data; /* NULL: not looked at */
};

static const struct expectation expectations[] = {
    {PROTOCOL_RESP, "+OK\r\n", REPLY_OK, NULL},
    {PROTOCOL_RESP, ":1\r\n", REPLY_OK, NULL},
    {PROTOCOL_RESP, "$5\r\nhello\r\n", REPLY_VALUE, "hello"},
    {PROTOCOL_RESP, "$0\r\n\r\n", REPLY_VALUE, ""},
    {PROTOCOL_RESP, "$-1\r\n", REPLY_MISS, NULL},
    {PROTOCOL_RESP, "_\r\n", REPLY_MISS, NULL},
    {PROTOCOL_RESP, "-OOM no\r\n", REPLY_ERROR, "OOM no"},
    {PROTOCOL_RESP, "$-2\r\n", REPLY_GARBAGE, NULL},
    {PROTOCOL_RESP, "$5x\r\nhello\r\n", REPLY_GARBAGE, NULL},
    {PROTOCOL_RESP, "$5\r\nhelloxx", REPLY_GARBAGE, NULL},
    {PROTOCOL_RESP, "$99999999999999999999\r\n", REPLY_GARBAGE, NULL},
    {PROTOCOL_RESP, "HTTP/1.1 400 Bad Request\r\n", REPLY_GARBAGE, NULL},
    {PROTOCOL_RESP, "+OK\n", REPLY_GARBAGE, NULL},
    {PROTOCOL_MEMCACHED, "STORED\r\n", REPLY_OK, NULL},
    {PROTOCOL_MEMCACHED, "END\r\n", REPLY_MISS, NULL},
    {PROTOCOL_MEMCACHED, "VALUE k 0 5\r\nhello\r\nEND\r\n", REPLY_VALUE, "hello"},
    {PROTOCOL_MEMCACHED, "VALUE k 0 x\r\nhello\r\nEND\r\n", REPLY_GARBAGE, NULL},
    {PROTOCOL_MEMCACHED, "SERVER_ERROR out of memory\r\n", REPLY_ERROR, NULL},
    {PROTOCOL_META, "HD\r\n", REPLY_OK, NULL},
    {PROTOCOL_META, "EN\r\n", REPLY_MISS, NULL},
    {PROTOCOL_META, "NS\r\n", REPLY_ERROR, NULL},
    {PROTOCOL_META, "VA 5\r\nhello\r\n", REPLY_VALUE, "hello"},
    {PROTOCOL_META, "VA 5 f1 t-1\r\nhello\r\n", REPLY_VALUE, "hello"},
};

START_TEST(replies)
{
    for (size_t i = 0; i < sizeof(expectations) / sizeof(expectations[0]); i++) {
        const struct expectation *e = &expectations[i];
        size_t n = strlen(e->bytes);
        struct reply reply;
        wire_parse(e->protocol, e->bytes, n, &reply);
        ck_assert_msg(reply.kind == e->kind, "%s: kind %d", e->bytes, (int)reply.kind);
        if (e->kind != REPLY_GARBAGE) {
            ck_assert_uint_eq(reply.length, n);
        }
        if (e->data != NULL) {
            ck_assert_uint_eq(reply.n_data, strlen(e->data));
            ck_assert_mem_eq(reply.data, e->data, reply.n_data);
        }
    }
}
END_TEST

/* Cut anywhere, a reply is partial, and its length is right as soon as it is told. Copies of the exact
 * length let the sanitizer see a read beyond. */
START_TEST(cut_replies_are_partial)
{
    for (size_t i = 0; i < sizeof(expectations) / sizeof(expectations[0]); i++) {
        const struct expectation *e = &expectations[i];
        for (size_t n = 0; n < strlen(e->bytes) && e->kind != REPLY_GARBAGE; n++) {
            char *cut = malloc(n + 1);
            struct reply reply;
            memcpy(cut, e->bytes, n);
            char *exact = realloc(cut, n > 0 ? n : 1);
            wire_parse(e->protocol, exact, n, &reply);
            ck_assert_msg(reply.kind == REPLY_PARTIAL, "%s cut at %zu", e->bytes, n);
            ck_assert(reply.length == 0 || reply.length == strlen(e->bytes));
            free(exact);
        }
    }
}
END_TEST

static void check_request(enum bench_protocol protocol, uint64_t ttl, const char *expected)
{
    struct buffer out = {0};
    memcpy(wire_put_set(protocol, &out, "k1", 2, 5, ttl), "hello", 5);
    wire_put_get(protocol, &out, "k1", 2);
    ck_assert_uint_eq(out.length, strlen(expected));
    ck_assert_mem_eq(out.data, expected, out.length);
    free(out.data);
}

START_TEST(requests)
{
    check_request(PROTOCOL_RESP, 0,
                  "*3\r\n$3\r\nSET\r\n$2\r\nk1\r\n$5\r\nhello\r\n*2\r\n$3\r\nGET\r\n$2\r\nk1\r\n");
    check_request(PROTOCOL_RESP, 60,
                  "*5\r\n$3\r\nSET\r\n$2\r\nk1\r\n$5\r\nhello\r\n$2\r\nEX\r\n$2\r\n60\r\n"
                  "*2\r\n$3\r\nGET\r\n$2\r\nk1\r\n");
    check_request(PROTOCOL_MEMCACHED, 60, "set k1 0 60 5\r\nhello\r\nget k1\r\n");
    check_request(PROTOCOL_META, 0, "ms k1 5 T0\r\nhello\r\nmg k1 v\r\n");
}
END_TEST

UNIT_MAIN("hearth-bench: wire", {replies}, {cut_replies_are_partial}, {requests})
