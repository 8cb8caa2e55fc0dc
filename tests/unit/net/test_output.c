#include "net/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/fault.h"
#include "tests/support/blob_double.h"
#include "tests/support/unit.h"

#define STREAM_MAX (8 * 1024 * 1024)

static char scratch[OUTPUT_SCRATCH_BYTES];
static char filler[30000];

/* A socket that takes little, and all that came out of it. */
struct sink {
    int writer, reader;
    char *got;
    size_t len;
};

static void sink_open(struct sink *s)
{
    int fds[2];
    int small = 4096;
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    ck_assert_int_eq(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    *s = (struct sink){.writer = fds[0], .reader = fds[1], .got = malloc(STREAM_MAX)};
}

static void sink_read(struct sink *s)
{
    ssize_t n = 0;
    while ((n = read(s->reader, s->got + s->len, STREAM_MAX - s->len)) > 0) {
        s->len += (size_t)n;
    }
}

static void sink_close(struct sink *s)
{
    close(s->writer);
    close(s->reader);
    free(s->got);
}

static void flush_all(struct output *o, struct sink *s)
{
    uint64_t sent = 0;
    enum status st = AGAIN;
    while (st == AGAIN) {
        st = output_flush(o, s->writer, &sent);
        ck_assert_int_ne(st, CLOSED);
        sink_read(s);
    }
}

START_TEST(one_write_and_nothing_kept)
{
    struct sink s;
    struct output o;
    uint64_t sent = 0;
    sink_open(&s);
    output_init(&o);
    output_open(&o, scratch, sizeof(scratch));
    output_append(&o, "+OK\r\n", 5);
    output_append(&o, "", 0);
    memcpy(output_reserve(&o, 4), ":1\r\n", 4);
    output_advance(&o, 4);
    ck_assert_uint_eq(output_pending(&o), 9);
    ck_assert_int_eq(output_flush(&o, s.writer, &sent), OK);
    ck_assert_uint_eq(sent, 9);
    output_close(&o);
    ck_assert_uint_eq(o.memory_bytes, 0);
    sink_read(&s);
    ck_assert_mem_eq(s.got, "+OK\r\n:1\r\n", 9);
    output_deinit(&o);
    sink_close(&s);
}
END_TEST

static struct engine_blob *filled_blob(size_t len, char first)
{
    struct engine_blob *blob = engine_blob_create(len);
    for (size_t i = 0; i < len; i++) {
        blob->data[i] = (char)(first + (char)(i % 23));
    }
    return blob;
}

/* Random appends of all kinds through a socket that takes a little at a time, in batches: every byte
 * arrives once, in order, and no memory stays. */
START_TEST(bytes_keep_their_order)
{
    for (unsigned seed = 1; seed <= 60; seed++) {
        srandom(seed);
        struct sink s;
        struct output o;
        char *want = malloc(STREAM_MAX);
        size_t len = 0;
        uint64_t sent = 0;
        sink_open(&s);
        output_init(&o);
        for (int batch = 0; batch < 20; batch++) {
            output_open(&o, scratch, sizeof(scratch));
            for (int i = (int)(random() % 30); i > 0; i--) {
                size_t n = 1 + (size_t)random() % (random() % 10 == 0 ? 90000 : 900);
                if (len + n > STREAM_MAX) {
                    break;
                }
                char *to = want + len;
                if (random() % 6 == 0) {
                    struct engine_blob *blob = filled_blob(n + 10, (char)('a' + i % 3));
                    output_append_blob(&o, blob, blob->data + 5, n);
                    memcpy(to, blob->data + 5, n);
                    engine_blob_release(blob);
                } else {
                    memset(to, 'A' + i, n);
                    if (n <= OUTPUT_RESERVE_MAX && random() % 2 == 0) {
                        memcpy(output_reserve(&o, n), to, n);
                        output_advance(&o, n);
                    } else {
                        output_append(&o, to, n);
                    }
                }
                len += n;
                if (random() % 8 == 0) {
                    ck_assert_int_ne(output_flush(&o, s.writer, &sent), CLOSED);
                }
            }
            ck_assert_uint_eq(output_pending(&o) + sent, len);
            ck_assert_int_ne(output_flush(&o, s.writer, &sent), CLOSED);
            output_close(&o);
            ck_assert_uint_eq(o.queued_bytes + sent, len);
            if (random() % 2 == 0) {
                sink_read(&s);
            }
        }
        flush_all(&o, &s);
        ck_assert_uint_eq(s.len, len);
        ck_assert_mem_eq(s.got, want, len);
        ck_assert_uint_eq(o.memory_bytes + o.blob_bytes + o.n_chunks, 0);
        output_deinit(&o);
        sink_close(&s);
        free(want);
        ck_assert_int_eq(blob_double_alive, 0);
    }
}
END_TEST

START_TEST(muted_replies_are_dropped)
{
    struct sink s;
    struct output o;
    sink_open(&s);
    output_init(&o);
    output_open(&o, scratch, sizeof(scratch));
    output_append(&o, "first", 5);
    output_mute(&o);
    static char much[200000];
    struct engine_blob *blob = filled_blob(40000, 'a');
    output_append(&o, much, sizeof(much));
    output_append_blob(&o, blob, blob->data, blob->len);
    for (int i = 0; i < 1000; i++) {
        output_advance(&o, (size_t)(output_reserve(&o, 400) != NULL) * 400);
    }
    output_unmute(&o);
    output_append(&o, "last", 4);
    flush_all(&o, &s);
    output_close(&o);
    ck_assert_uint_eq(s.len, 9);
    ck_assert_mem_eq(s.got, "firstlast", 9);
    engine_blob_release(blob);
    ck_assert_int_eq(blob_double_alive, 0);
    output_deinit(&o);
    sink_close(&s);
}
END_TEST

START_TEST(a_client_that_goes_frees_all)
{
    struct output o;
    output_init(&o);
    output_open(&o, scratch, sizeof(scratch));
    struct engine_blob *blob = filled_blob(40000, 'a');
    for (int i = 0; i < 10; i++) {
        output_append(&o, filler, 30000);
        output_append_blob(&o, blob, blob->data, blob->len);
    }
    engine_blob_release(blob);
    ck_assert_uint_eq(o.blob_bytes, 400000);
    output_close(&o);
    output_deinit(&o);
    ck_assert_uint_eq(o.memory_bytes + o.blob_bytes + o.n_chunks, 0);
    ck_assert_int_eq(blob_double_alive, 0);
}
END_TEST

START_TEST(a_broken_socket_says_so)
{
    struct sink s;
    struct output o;
    uint64_t sent = 0;
    (void)signal(SIGPIPE, SIG_IGN);
    sink_open(&s);
    close(s.reader);
    output_init(&o);
    output_open(&o, scratch, sizeof(scratch));
    output_append(&o, "x", 1);
    ck_assert_int_eq(output_flush(&o, s.writer, &sent), CLOSED);
    output_close(&o);
    ck_assert_int_eq(output_flush(&o, s.writer, &sent), CLOSED);
    output_deinit(&o);
    s.reader = dup(s.writer);
    sink_close(&s);
}
END_TEST

#ifdef HEARTH_TEST
START_TEST(without_memory_it_is_broken)
{
    bool has_failed = true;
    for (int n = 1; has_failed; n++) {
        char spec[64];
        struct output o;
        uint64_t sent = 0;
        struct engine_blob *blob = filled_blob(40000, 'a');
        (void)snprintf(spec, sizeof(spec), "alloc=NO_MEMORY@%d", n);
        ck_assert_int_eq(fault_arm(spec), OK);
        output_init(&o);
        output_open(&o, scratch, sizeof(scratch));
        for (int i = 0; i < 5; i++) {
            output_append(&o, filler, 30000);
            output_append_blob(&o, blob, blob->data, blob->len);
            output_advance(&o, (size_t)(output_reserve(&o, 100) != NULL) * 100);
        }
        output_close(&o);
        has_failed = fault_passages(FAULT_ALLOC) >= (uint64_t)n;
        ck_assert(o.is_broken == has_failed);
        if (has_failed) {
            ck_assert_int_eq(output_flush(&o, -1, &sent), CLOSED);
        }
        IGNORE(fault_arm(NULL));
        output_deinit(&o);
        engine_blob_release(blob);
        ck_assert_int_eq(blob_double_alive, 0);
    }
}
END_TEST
#define FAULT_TESTS                                                                                \
    ,                                                                                              \
    {                                                                                              \
        without_memory_it_is_broken                                                                \
    }
#else
#define FAULT_TESTS
#endif

UNIT_MAIN("output", {one_write_and_nothing_kept}, {bytes_keep_their_order},
          {muted_replies_are_dropped}, {a_client_that_goes_frees_all},
          {a_broken_socket_says_so} FAULT_TESTS)
