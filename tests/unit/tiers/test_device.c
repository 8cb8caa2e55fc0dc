/*
 * Both back ends by the same tests; then what only a file can do wrong. io_submit and io_getevents are
 * this program's own (they shadow libaio's), so that a test can shorten, refuse and split submissions.
 */
#include "tiers/device.h"

#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/base/fault.h"
#include "engine/base/metrics.h"
#include "tests/support/unit.h"

#define PAGE DEVICE_ALIGN
#define DEVICE_BYTES (UINT64_C(8) << 20)

/* --- a kernel that misbehaves -------------------------------------------------------------------- */

static struct {
    unsigned n_submits;
    long at_most;     /* accepted per call; 0: all */
    unsigned n_again; /* calls that say EAGAIN first */
    int refuse_with;  /* errno for the request at refuse_offset; 0: none */
    long long refuse_offset;
    size_t shorten; /* transfers end after so many bytes; 0: not */
    long fail_with; /* errno of completions; 0: none */
} kernel;

int io_submit(io_context_t ctx, long nr, struct iocb *ios[])
{
    kernel.n_submits++;
    if (kernel.n_again > 0) {
        kernel.n_again--;
        return -EAGAIN;
    }
    if (kernel.at_most != 0 && nr > kernel.at_most) {
        nr = kernel.at_most;
    }
    for (long i = 0; i < nr; i++) {
        if (kernel.refuse_with != 0 && ios[i]->u.c.offset == kernel.refuse_offset) {
            if (i == 0) {
                return -kernel.refuse_with;
            }
            nr = i;
        }
        if (kernel.shorten != 0 && ios[i]->u.c.nbytes > kernel.shorten) {
            ios[i]->u.c.nbytes = kernel.shorten;
        }
    }
    long taken = syscall(SYS_io_submit, ctx, nr, ios);
    return taken < 0 ? -errno : (int)taken;
}

int io_getevents(io_context_t ctx, long min_nr, long nr, struct io_event *events,
                 struct timespec *timeout)
{
    long n = syscall(SYS_io_getevents, ctx, min_nr, nr, events, timeout);
    for (long i = 0; i < n && kernel.fail_with != 0; i++) {
        events[i].res = (unsigned long)-kernel.fail_with;
    }
    return n < 0 ? -errno : (int)n;
}

/* --- devices ------------------------------------------------------------------------------------- */

static char path[64];

static void path_make(void)
{
    char dir[] = "/var/tmp/hearth-device-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/segments", dir);
}

static void path_remove(void)
{
    unlink(path);
    *strrchr(path, '/') = '\0';
    ck_assert_int_eq(rmdir(path), 0); /* nothing else was left there */
}

enum kind { KIND_FILE, KIND_MEMORY, KIND_SHUFFLED, KINDS };

static struct device *dev_open(enum kind kind)
{
    struct device *dev;
    if (kind == KIND_FILE) {
        path_make();
        ck_assert_int_eq(device_open(path, DEVICE_BYTES, &dev), OK);
    } else {
        ck_assert_int_eq(device_open_memory(DEVICE_BYTES, NULL, kind == KIND_SHUFFLED ? 42 : 0,
                                            &dev),
                         OK);
    }
    ck_assert_uint_eq(device_size(dev), DEVICE_BYTES);
    return dev;
}

static void dev_close(enum kind kind, struct device *dev)
{
    device_close(&dev);
    ck_assert_ptr_null(dev);
    if (kind == KIND_FILE) {
        path_remove();
    }
}

/* --- requests ------------------------------------------------------------------------------------ */

#define REQUESTS_MAX 300

struct request {
    struct device_io io;
    enum status st;
    unsigned n_done;
    unsigned order;
};

static struct request requests[REQUESTS_MAX];
static unsigned n_done;

static void done(struct device_io *io, enum status st)
{
    struct request *r = (struct request *)io;
    r->st = st;
    r->n_done++;
    r->order = n_done++;
    ck_assert(st != OK || io->transferred == io->len);
}

static void pattern(unsigned i, char *buf, uint32_t len)
{
    for (uint32_t at = 0; at < len; at += 8) {
        uint64_t word = (uint64_t)i << 32 | at;
        memcpy(buf + at, &word, 8);
    }
}

static void begin(struct device_queue *q, unsigned i, bool is_write, uint64_t offset, uint32_t len)
{
    struct request *r = &requests[i];
    char *buf = device_buffer_get(q, len);
    ck_assert_ptr_nonnull(buf);
    memset(buf, 0xee, len);
    if (is_write) {
        pattern(i, buf, len);
    }
    *r = (struct request){
        .io = {.is_write = is_write, .offset = offset, .len = len, .buf = buf, .done = done}};
    device_begin(q, &r->io);
    ck_assert_uint_eq(r->n_done, 0); /* never from inside */
}

static void wait_all(struct device_queue *q)
{
    while (device_in_flight(q) != 0) {
        device_submit(q);
        struct pollfd p = {.fd = device_queue_fd(q), .events = POLLIN};
        ck_assert_int_eq(poll(&p, 1, 20000), 1); /* a completion always wakes its owner */
        (void)device_reap(q);
    }
}

static uint32_t len_of(unsigned i)
{
    return PAGE * (1 + i % 3);
}

static uint64_t offset_of(unsigned i)
{
    return (uint64_t)i * 4 * PAGE;
}

static void all_done_with(unsigned n, enum status st)
{
    for (unsigned i = 0; i < n; i++) {
        ck_assert_uint_eq(requests[i].n_done, 1);
        ck_assert_int_eq(requests[i].st, st);
    }
}

static void put_all(struct device_queue *q, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        device_buffer_put(q, requests[i].io.buf, requests[i].io.len);
    }
}

static void write_all(struct device_queue *q, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        begin(q, i, true, offset_of(i), len_of(i));
    }
    ck_assert_uint_eq(device_in_flight(q), n);
    wait_all(q);
    all_done_with(n, OK);
    put_all(q, n);
}

static void read_all(struct device_queue *q, unsigned n)
{
    static char expected[3 * PAGE];
    for (unsigned i = 0; i < n; i++) {
        begin(q, i, false, offset_of(i), len_of(i));
    }
    wait_all(q);
    all_done_with(n, OK);
    for (unsigned i = 0; i < n; i++) {
        pattern(i, expected, len_of(i));
        ck_assert_mem_eq(requests[i].io.buf, expected, len_of(i));
    }
    put_all(q, n);
}

/* --- both kinds ---------------------------------------------------------------------------------- */

START_TEST(what_was_written_is_read)
{
    for (enum kind kind = 0; kind < KINDS; kind++) {
        struct device *dev = dev_open(kind);
        struct device_queue *q;
        ck_assert_int_eq(device_queue_create(dev, 8, &q), OK); /* far fewer than requests */
        ck_assert_uint_eq(device_reap(q), 0);
        device_submit(q); /* nothing to do */
        write_all(q, REQUESTS_MAX);
        read_all(q, REQUESTS_MAX);
        device_queue_destroy(&q);
        ck_assert_ptr_null(q);
        device_queue_destroy(&q);
        dev_close(kind, dev);
    }
}
END_TEST

START_TEST(blocking_transfers)
{
    for (enum kind kind = 0; kind < KINDS; kind++) {
        struct device *dev = dev_open(kind);
        char *a = device_buffer_get(NULL, 1 << 20);
        char *b = device_buffer_get(NULL, 1 << 20);
        pattern(7, a, 1 << 20);
        ck_assert_int_eq(device_write(dev, PAGE, a, 1 << 20), OK);
        ck_assert_int_eq(device_sync(dev), OK);
        ck_assert_int_eq(device_read(dev, PAGE, b, 1 << 20), OK);
        ck_assert_mem_eq(a, b, 1 << 20);
        ck_assert_int_eq(device_read(dev, DEVICE_BYTES - PAGE, b, PAGE), OK);
        ck_assert_int_eq(device_read(dev, DEVICE_BYTES - PAGE, b, 2 * PAGE), IO);
        ck_assert_int_eq(device_write(dev, DEVICE_BYTES, a, PAGE), IO);
        ck_assert_int_eq(device_write(dev, UINT64_MAX - PAGE + 1, a, PAGE), IO);
        ck_assert_int_eq(device_write(dev, 512, a, PAGE), IO);
        ck_assert_int_eq(device_write(dev, 0, a + 512, PAGE), IO);
        ck_assert_int_eq(device_read(dev, 0, b, 100), IO);
        device_buffer_put(NULL, a, 1 << 20);
        device_buffer_put(NULL, b, 1 << 20);
        dev_close(kind, dev);
    }
}
END_TEST

START_TEST(impossible_requests_end_with_io)
{
    for (enum kind kind = 0; kind < KINDS; kind++) {
        struct device *dev = dev_open(kind);
        struct device_queue *q;
        ck_assert_int_eq(device_queue_create(dev, 8, &q), OK);
        begin(q, 0, false, DEVICE_BYTES, PAGE);
        begin(q, 1, true, DEVICE_BYTES - PAGE, 2 * PAGE);
        begin(q, 2, true, 512, PAGE);
        begin(q, 3, false, 0, PAGE / 2);
        begin(q, 4, false, PAGE, PAGE); /* this one is good */
        ck_assert_uint_eq(device_in_flight(q), 5);
        wait_all(q);
        all_done_with(4, IO);
        ck_assert_int_eq(requests[4].st, OK);
        put_all(q, 5);
        device_queue_destroy(&q);
        dev_close(kind, dev);
    }
}
END_TEST

START_TEST(destroy_delivers)
{
    for (enum kind kind = 0; kind < KINDS; kind++) {
        struct device *dev = dev_open(kind);
        struct device_queue *q;
        ck_assert_int_eq(device_queue_create(dev, 4, &q), OK);
        for (unsigned i = 0; i < 20; i++) {
            begin(q, i, true, offset_of(i), len_of(i));
            if (i == 10) {
                device_submit(q);
            }
        }
        struct device_queue *gone = q;
        device_queue_destroy(&gone);
        all_done_with(20, OK);
        put_all(NULL, 20);
        dev_close(kind, dev);
    }
}
END_TEST

static struct device_queue *chain_queue;
static unsigned chain_left;

/* A completion that begins the next request, and submits it, from inside device_reap. */
static void chain_done(struct device_io *io, enum status st)
{
    ck_assert_int_eq(st, OK);
    n_done++;
    if (chain_left > 0) {
        chain_left--;
        io->offset += PAGE;
        device_begin(chain_queue, io);
        device_submit(chain_queue);
    }
}

START_TEST(done_may_begin_more)
{
    for (enum kind kind = 0; kind < KINDS; kind++) {
        struct device *dev = dev_open(kind);
        ck_assert_int_eq(device_queue_create(dev, 2, &chain_queue), OK);
        begin(chain_queue, 0, false, 0, PAGE);
        begin(chain_queue, 1, false, 0, PAGE);
        requests[0].io.done = requests[1].io.done = chain_done;
        n_done = 0;
        chain_left = 50;
        wait_all(chain_queue);
        ck_assert_uint_eq(n_done, 52);
        begin(chain_queue, 2, false, 0, PAGE);
        requests[2].io.done = chain_done;
        chain_left = 3;
        put_all(chain_queue, 2);
        device_queue_destroy(&chain_queue);
        ck_assert_uint_eq(n_done, 56);
        device_buffer_put(NULL, requests[2].io.buf, PAGE);
        dev_close(kind, dev);
    }
}
END_TEST

START_TEST(nothing_to_reap_is_not_readable)
{
    for (enum kind kind = 0; kind < KINDS; kind++) {
        struct device *dev = dev_open(kind);
        struct device_queue *q;
        ck_assert_int_eq(device_queue_create(dev, 16, &q), OK);
        write_all(q, 50);
        while (device_reap(q) != 0) {
        }
        struct pollfd p = {.fd = device_queue_fd(q), .events = POLLIN};
        ck_assert_int_eq(poll(&p, 1, 0), 0); /* an owner would spin */
        device_queue_destroy(&q);
        dev_close(kind, dev);
    }
}
END_TEST

START_TEST(metrics_count)
{
    for (enum kind kind = 0; kind < KINDS; kind++) {
        struct device *dev = dev_open(kind);
        struct device_queue *q;
        ck_assert_int_eq(device_queue_create(dev, 16, &q), OK);
        uint64_t reads = (uint64_t)metric_value(M_DEVICE_READS);
        uint64_t writes = (uint64_t)metric_value(M_DEVICE_WRITES);
        uint64_t errors = (uint64_t)metric_value(M_DEVICE_ERRORS_IO);
        write_all(q, 20);
        read_all(q, 20);
        begin(q, 0, false, DEVICE_BYTES, PAGE);
        wait_all(q);
        put_all(q, 1);
        ck_assert_uint_eq((uint64_t)metric_value(M_DEVICE_READS) - reads, 21);
        ck_assert_uint_eq((uint64_t)metric_value(M_DEVICE_WRITES) - writes, 20);
        ck_assert_uint_eq((uint64_t)metric_value(M_DEVICE_ERRORS_IO) - errors, 1);
        device_queue_destroy(&q);
        dev_close(kind, dev);
    }
}
END_TEST

START_TEST(buffers)
{
    struct device *dev = dev_open(KIND_MEMORY);
    struct device_queue *q;
    ck_assert_int_eq(device_queue_create(dev, 16, &q), OK);
    ck_assert_uint_eq(device_buffer_bytes(), 0);
    const uint32_t lens[] = {1, PAGE, PAGE + 1, 100000, 1 << 20, 5 << 20};
    const uint64_t held[] = {PAGE, PAGE, 2 * PAGE, 128 << 10, 1 << 20, 5 << 20};
    for (unsigned i = 0; i < 6; i++) {
        char *buf = device_buffer_get(q, lens[i]);
        ck_assert_uint_eq((uintptr_t)buf % DEVICE_ALIGN, 0);
        memset(buf, 1, lens[i]);
        uint64_t with = device_buffer_bytes();
        device_buffer_put(q, buf, lens[i]);
        char *again = device_buffer_get(q, lens[i]);
        if (lens[i] <= 1 << 20) {
            ck_assert_ptr_eq(again, buf); /* no allocation */
        }
        ck_assert_uint_eq(device_buffer_bytes(), with);
        ck_assert_uint_ge(with, held[i]);
        device_buffer_put(q, again, lens[i]);
    }
    static void *many[1000];
    for (unsigned i = 0; i < 1000; i++) {
        many[i] = device_buffer_get(q, 2 * PAGE);
    }
    ck_assert_uint_ge(device_buffer_bytes(), 1000 * 2 * PAGE);
    for (unsigned i = 0; i < 1000; i++) {
        device_buffer_put(q, many[i], 2 * PAGE);
    }
    ck_assert_uint_le(device_buffer_bytes(), 2 << 20); /* the pool is bounded */
    device_buffer_put(q, NULL, PAGE);
    device_queue_destroy(&q);
    ck_assert_uint_eq(device_buffer_bytes(), 0);
    dev_close(KIND_MEMORY, dev);
}
END_TEST

/* --- RAM only ------------------------------------------------------------------------------------ */

static void order_of(uint64_t shuffle_seed, unsigned *order_out, unsigned n)
{
    struct device *dev;
    struct device_queue *q;
    ck_assert_int_eq(device_open_memory(DEVICE_BYTES, NULL, shuffle_seed, &dev), OK);
    ck_assert_int_eq(device_queue_create(dev, n, &q), OK);
    n_done = 0;
    for (unsigned i = 0; i < n; i++) {
        begin(q, i, true, offset_of(i), len_of(i));
    }
    wait_all(q);
    for (unsigned i = 0; i < n; i++) {
        order_out[i] = requests[i].order;
    }
    put_all(q, n);
    device_queue_destroy(&q);
    device_close(&dev);
}

START_TEST(order_is_shuffled_by_seed)
{
    unsigned order[3][32];
    order_of(0, order[0], 32);
    for (unsigned i = 0; i < 32; i++) {
        ck_assert_uint_eq(order[0][i], i);
    }
    order_of(1, order[0], 32);
    order_of(1, order[1], 32);
    order_of(2, order[2], 32);
    ck_assert_mem_eq(order[0], order[1], sizeof(order[0]));
    ck_assert_mem_ne(order[0], order[2], sizeof(order[0]));
}
END_TEST

START_TEST(backing_survives)
{
    static char backing[16 * PAGE];
    struct device *dev;
    char *buf = device_buffer_get(NULL, PAGE);
    memset(buf, 7, PAGE);
    ck_assert_int_eq(device_open_memory(sizeof(backing), backing, 0, &dev), OK);
    ck_assert_int_eq(device_write(dev, 3 * PAGE, buf, PAGE), OK);
    device_close(&dev);
    ck_assert_int_eq(backing[3 * PAGE], 7);
    ck_assert_int_eq(device_open_memory(sizeof(backing), backing, 0, &dev), OK);
    memset(buf, 0, PAGE);
    ck_assert_int_eq(device_read(dev, 3 * PAGE, buf, PAGE), OK);
    ck_assert_int_eq(buf[PAGE - 1], 7);
    device_close(&dev);
    device_buffer_put(NULL, buf, PAGE);
    ck_assert_int_eq(device_open_memory(100, NULL, 0, &dev), INVALID);
    ck_assert_ptr_null(dev);
}
END_TEST

/* --- files only ---------------------------------------------------------------------------------- */

START_TEST(file_is_allocated_and_kept)
{
    path_make();
    struct device *dev;
    struct stat now;
    char *buf = device_buffer_get(NULL, PAGE);
    const uint64_t sizes[] = {1 << 20, 1 << 20, 3 << 20, 2 << 20};
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_int_eq(device_open(path, sizes[i], &dev), OK);
        ck_assert_int_eq(stat(path, &now), 0);
        ck_assert_uint_eq((uint64_t)now.st_size, sizes[i]);
        ck_assert_uint_ge((uint64_t)now.st_blocks * 512, sizes[i]);
        ck_assert_uint_eq(now.st_mode & 077, 0);
        ck_assert_int_eq(device_read(dev, 5 * PAGE, buf, PAGE), OK);
        ck_assert_int_eq(buf[0], i == 0 ? 0 : 9);
        memset(buf, 9, PAGE);
        ck_assert_int_eq(device_write(dev, 5 * PAGE, buf, PAGE), OK);
        device_close(&dev);
    }
    ck_assert_int_eq(truncate(path, 0), 0); /* sparse: a crash while it was being made */
    ck_assert_int_eq(truncate(path, 2 << 20), 0);
    ck_assert_int_eq(device_open(path, 2 << 20, &dev), OK);
    ck_assert_int_eq(stat(path, &now), 0);
    ck_assert_uint_ge((uint64_t)now.st_blocks * 512, 2 << 20);
    device_close(&dev);
    device_buffer_put(NULL, buf, PAGE);
    path_remove();
}
END_TEST

START_TEST(open_refuses)
{
    path_make();
    struct device *dev;
    ck_assert_int_eq(device_open(path, 100, &dev), INVALID);
    ck_assert_int_eq(device_open(path, 0, &dev), INVALID);
    ck_assert_int_eq(device_open("/var/tmp", PAGE, &dev), INVALID);
    ck_assert_int_eq(device_open("/var/tmp/no/such/folder", PAGE, &dev), NOT_FOUND);
    ck_assert_int_eq(device_open("/proc/self/mem", PAGE, &dev), INVALID);
    struct statvfs fs;
    ck_assert_int_eq(statvfs("/var/tmp", &fs), 0);
    uint64_t too_much = ((uint64_t)fs.f_blocks * fs.f_frsize + (1 << 20)) / PAGE * PAGE;
    ck_assert_int_eq(device_open(path, too_much, &dev), NO_SPACE);
    ck_assert_ptr_null(dev);
    ck_assert_int_ne(access(path, F_OK), 0); /* nothing is left behind */
    ck_assert_int_eq(device_open(path, PAGE, &dev), OK);
    device_close(&dev);
    ck_assert_int_eq(device_open(path, too_much, &dev), NO_SPACE);
    struct stat now;
    ck_assert_int_eq(stat(path, &now), 0);
    ck_assert_int_eq(now.st_size, PAGE); /* as it was */
    path_remove();
}
END_TEST

START_TEST(one_submission_per_turn)
{
    struct device *dev = dev_open(KIND_FILE);
    struct device_queue *q;
    ck_assert_int_eq(device_queue_create(dev, 64, &q), OK);
    kernel.n_submits = 0;
    for (unsigned i = 0; i < 64; i++) {
        begin(q, i, true, offset_of(i), len_of(i));
    }
    ck_assert_uint_eq(kernel.n_submits, 0);
    device_submit(q);
    ck_assert_uint_eq(kernel.n_submits, 1);
    wait_all(q);
    ck_assert_uint_eq(kernel.n_submits, 1);
    all_done_with(64, OK);
    put_all(q, 64);
    device_queue_destroy(&q);
    dev_close(KIND_FILE, dev);
}
END_TEST

START_TEST(partial_submissions_lose_nothing)
{
    for (long at_most = 1; at_most < 8; at_most += 3) {
        struct device *dev = dev_open(KIND_FILE);
        struct device_queue *q;
        ck_assert_int_eq(device_queue_create(dev, 16, &q), OK);
        kernel.at_most = at_most;
        write_all(q, 100);
        kernel.n_again = 5; /* with nothing in flight: the owner is woken to try again */
        read_all(q, 100);
        ck_assert_uint_eq(kernel.n_again, 0);
        kernel.at_most = 0;
        device_queue_destroy(&q);
        dev_close(KIND_FILE, dev);
    }
}
END_TEST

START_TEST(destroy_with_a_full_kernel)
{
    struct device *dev = dev_open(KIND_FILE);
    struct device_queue *q;
    ck_assert_int_eq(device_queue_create(dev, 16, &q), OK);
    for (unsigned i = 0; i < 10; i++) {
        begin(q, i, true, offset_of(i), len_of(i));
    }
    kernel.n_again = UINT32_MAX;
    device_queue_destroy(&q);
    kernel.n_again = 0;
    all_done_with(10, CLOSED);
    put_all(NULL, 10);
    dev_close(KIND_FILE, dev);
}
END_TEST

START_TEST(one_bad_request_fails_alone)
{
    const unsigned bad[] = {0, 5, 19};
    for (unsigned k = 0; k < 3; k++) {
        struct device *dev = dev_open(KIND_FILE);
        struct device_queue *q;
        ck_assert_int_eq(device_queue_create(dev, 32, &q), OK);
        write_all(q, 20);
        kernel.refuse_offset = (long long)offset_of(bad[k]);
        kernel.refuse_with = k == 2 ? ENOSPC : EINVAL;
        for (unsigned i = 0; i < 20; i++) {
            begin(q, i, true, offset_of(i), len_of(i));
        }
        wait_all(q);
        kernel.refuse_with = 0;
        for (unsigned i = 0; i < 20; i++) {
            enum status expected = i != bad[k] ? OK : k == 2 ? NO_SPACE : IO;
            ck_assert_uint_eq(requests[i].n_done, 1);
            ck_assert_int_eq(requests[i].st, expected);
        }
        put_all(q, 20);
        device_queue_destroy(&q);
        dev_close(KIND_FILE, dev);
    }
}
END_TEST

START_TEST(short_transfers_are_continued)
{
    const size_t lens[] = {512, 1536, PAGE, 2 * PAGE + 512};
    for (unsigned k = 0; k < 4; k++) {
        struct device *dev = dev_open(KIND_FILE);
        struct device_queue *q;
        ck_assert_int_eq(device_queue_create(dev, 8, &q), OK);
        kernel.shorten = lens[k];
        write_all(q, 40);
        kernel.shorten = 0;
        read_all(q, 40);
        kernel.shorten = lens[k];
        read_all(q, 40);
        for (unsigned i = 0; i < 10; i++) { /* and by a queue that is closing */
            begin(q, i, true, offset_of(i), len_of(i));
        }
        device_queue_destroy(&q);
        all_done_with(10, OK);
        kernel.shorten = 0;
        put_all(NULL, 10);
        dev_close(KIND_FILE, dev);
    }
}
END_TEST

START_TEST(failed_completions)
{
    const long errors[] = {EIO, EAGAIN, EINVAL, ENOSPC};
    const enum status expected[] = {IO, IO, IO, NO_SPACE};
    struct device *dev = dev_open(KIND_FILE);
    struct device_queue *q;
    ck_assert_int_eq(device_queue_create(dev, 8, &q), OK);
    for (unsigned k = 0; k < 4; k++) {
        kernel.fail_with = errors[k];
        for (unsigned i = 0; i < 20; i++) {
            begin(q, i, i % 2 == 0, offset_of(i), len_of(i));
        }
        wait_all(q);
        all_done_with(20, expected[k]);
        put_all(q, 20);
    }
    kernel.fail_with = 0;
    write_all(q, 20);
    read_all(q, 20);
    device_queue_destroy(&q);
    dev_close(KIND_FILE, dev);
}
END_TEST

START_TEST(a_file_cut_off_underneath)
{
    struct device *dev = dev_open(KIND_FILE);
    struct device_queue *q;
    ck_assert_int_eq(device_queue_create(dev, 8, &q), OK);
    ck_assert_int_eq(truncate(path, 6 * PAGE), 0);
    begin(q, 0, false, 0, PAGE);
    begin(q, 1, false, 5 * PAGE, 2 * PAGE); /* short, then nothing */
    begin(q, 2, false, 100 * PAGE, PAGE);
    wait_all(q);
    ck_assert_int_eq(requests[0].st, OK);
    ck_assert_int_eq(requests[1].st, IO);
    ck_assert_int_eq(requests[2].st, IO);
    char *buf = device_buffer_get(q, 2 * PAGE);
    ck_assert_int_eq(device_read(dev, 5 * PAGE, buf, 2 * PAGE), IO);
    device_buffer_put(q, buf, 2 * PAGE);
    put_all(q, 3);
    device_queue_destroy(&q);
    dev_close(KIND_FILE, dev);
}
END_TEST

/* --- fault points -------------------------------------------------------------------------------- */

#ifdef HEARTH_TEST

static unsigned count_st(unsigned n, enum status st)
{
    unsigned found = 0;
    for (unsigned i = 0; i < n; i++) {
        ck_assert_uint_eq(requests[i].n_done, 1);
        found += requests[i].st == st;
    }
    return found;
}

START_TEST(the_nth_request_fails)
{
    for (enum kind kind = 0; kind < KINDS; kind++) {
        struct device *dev = dev_open(kind);
        struct device_queue *q;
        ck_assert_int_eq(device_queue_create(dev, 8, &q), OK);
        write_all(q, 20);
        for (unsigned nth = 1; nth <= 20; nth++) {
            char spec[64];
            for (unsigned is_write = 0; is_write < 2; is_write++) {
                snprintf(spec, sizeof(spec), "dev.%s=IO@%u", is_write ? "write" : "read", nth);
                ck_assert_int_eq(fault_arm(spec), OK);
                for (unsigned i = 0; i < 20; i++) {
                    begin(q, i, is_write, offset_of(i), len_of(i));
                }
                wait_all(q);
                ck_assert_uint_eq(count_st(20, IO), 1);
                ck_assert_uint_eq(count_st(20, OK), 19);
                put_all(q, 20);
            }
        }
        ck_assert_int_eq(fault_arm("dev.submit=IO@2,dev.sync=IO@1"), OK);
        for (unsigned i = 0; i < 20; i++) {
            begin(q, i, true, offset_of(i), len_of(i));
        }
        wait_all(q);
        ck_assert_uint_eq(count_st(20, IO), 1);
        put_all(q, 20);
        ck_assert_int_eq(device_sync(dev), IO);
        ck_assert_int_eq(device_sync(dev), OK);
        ck_assert_int_eq(fault_arm("dev.submit=AGAIN@1"), OK);
        read_all(q, 20);
        ck_assert_int_eq(fault_arm("dev.read=IO@1,dev.write=IO@1"), OK);
        char *buf = device_buffer_get(q, PAGE);
        ck_assert_int_eq(device_read(dev, 0, buf, PAGE), IO);
        ck_assert_int_eq(device_write(dev, 0, buf, PAGE), IO);
        ck_assert_int_eq(device_read(dev, 0, buf, PAGE), OK);
        device_buffer_put(q, buf, PAGE);
        ck_assert_int_eq(fault_arm(NULL), OK);
        device_queue_destroy(&q);
        dev_close(kind, dev);
    }
}
END_TEST

START_TEST(a_failed_write_tears)
{
    static char backing[64 * PAGE];
    struct device *dev;
    ck_assert_int_eq(device_open_memory(sizeof(backing), backing, 3, &dev), OK);
    char *buf = device_buffer_get(NULL, 64 * PAGE);
    memset(buf, 1, 64 * PAGE);
    bool was_torn = false;
    for (unsigned i = 0; i < 20; i++) {
        memset(backing, 0, sizeof(backing));
        ck_assert_int_eq(fault_arm("dev.write=IO@1"), OK);
        ck_assert_int_eq(device_write(dev, 0, buf, 64 * PAGE), IO);
        size_t n_new = 0;
        while (n_new < sizeof(backing) && backing[n_new] == 1) {
            n_new++;
        }
        ck_assert_uint_eq(n_new % 512, 0);
        size_t n_old = 0;
        while (n_old < sizeof(backing) && backing[sizeof(backing) - 1 - n_old] == 0) {
            n_old++;
        }
        ck_assert_uint_eq(n_new + n_old, sizeof(backing));
        was_torn |= n_new % PAGE != 0;
    }
    ck_assert(was_torn);
    ck_assert_int_eq(fault_arm(NULL), OK);
    device_buffer_put(NULL, buf, 64 * PAGE);
    device_close(&dev);
}
END_TEST

START_TEST(allocations_fail)
{
    path_make();
    for (unsigned nth = 1; nth < 10; nth++) {
        char spec[64];
        snprintf(spec, sizeof(spec), "alloc=NO_MEMORY@%u", nth);
        for (enum kind kind = KIND_FILE; kind <= KIND_MEMORY; kind++) {
            struct device *dev;
            struct device_queue *q = NULL;
            ck_assert_int_eq(fault_arm(spec), OK);
            enum status st = kind == KIND_FILE ? device_open(path, PAGE, &dev)
                                               : device_open_memory(PAGE, NULL, 0, &dev);
            if (st == OK && (st = device_queue_create(dev, 4, &q)) == OK) {
                void *buf = device_buffer_get(q, PAGE);
                ck_assert_int_eq(buf == NULL, fault_passages(FAULT_ALLOC) == nth);
                device_buffer_put(q, buf, PAGE);
            }
            ck_assert(st == OK || st == NO_MEMORY);
            device_queue_destroy(&q);
            device_close(&dev);
        }
    }
    ck_assert_int_eq(fault_arm(NULL), OK);
    ck_assert_uint_eq(device_buffer_bytes(), 0);
    path_remove();
}
END_TEST

#else

START_TEST(the_nth_request_fails)
{
}
END_TEST
START_TEST(a_failed_write_tears)
{
}
END_TEST
START_TEST(allocations_fail)
{
}
END_TEST

#endif

UNIT_MAIN("device", {what_was_written_is_read}, {blocking_transfers},
          {impossible_requests_end_with_io}, {destroy_delivers}, {done_may_begin_more},
          {nothing_to_reap_is_not_readable}, {metrics_count}, {buffers},
          {order_is_shuffled_by_seed}, {backing_survives}, {file_is_allocated_and_kept},
          {open_refuses}, {one_submission_per_turn}, {partial_submissions_lose_nothing},
          {destroy_with_a_full_kernel}, {one_bad_request_fails_alone},
          {short_transfers_are_continued}, {failed_completions}, {a_file_cut_off_underneath},
          {the_nth_request_fails}, {a_failed_write_tears}, {allocations_fail})
