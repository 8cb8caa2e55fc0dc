/*
 * Design: the half of a device that does not depend on where the bytes are: the queue with its three
 * lists (device_impl.h has the picture), short transfers, metrics and the buffer pool. A back end only
 * moves requests in and results out.
 *
 * Invariants
 *   1. done is called exactly once per device_begin, from device_reap or device_queue_destroy only.
 *   2. n_in_flight = begun + running + failed.
 *   3. Whenever done is owed and nothing runs, event_fd is readable: an owner that sleeps on it wakes.
 *   4. A request outside of the device reaches no back end; it ends with IO.
 *   5. buffer_bytes is what all pools and callers hold.
 *
 * Cost: an idle queue's reap is two loads; a busy one's one clock reading, one read of the eventfd and
 * two of the completion ring, however many completions there are.
 * Rejected: submitting from device_begin (one by one costs 6.0 us per read, once per turn 4.1).
 */
#include "tiers/device_impl.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "engine/base/bytes.h"
#include "engine/base/check.h"
#include "engine/base/clock.h"
#include "engine/base/mem.h"
#include "engine/base/metrics.h"

/* Free buffers a queue keeps: 64 reads of two pages and one block of 1 MiB, with some to spare. */
#define POOL_IDLE_BYTES_MAX (UINT64_C(2) << 20)

/* atomic, relaxed: a statistic that every thread adds to */
static _Atomic uint64_t buffer_bytes;

/* --- lists --------------------------------------------------------------------------------------- */

static void list_init(struct device_list *list)
{
    list->head = NULL;
    list->tail = &list->head;
}

void device_list_push(struct device_list *list, struct device_io *io)
{
    io->next = NULL;
    *list->tail = io;
    list->tail = &io->next;
}

struct device_io *device_list_pop(struct device_list *list)
{
    struct device_io *io = list->head;
    list->head = io->next;
    if (list->head == NULL) {
        list->tail = &list->head;
    }
    return io;
}

/* --- devices ------------------------------------------------------------------------------------- */

void device_close(struct device **dev)
{
    if (*dev != NULL) {
        (*dev)->ops->close(*dev);
        *dev = NULL;
    }
}

uint64_t device_size(const struct device *dev)
{
    return dev->size_bytes;
}

/* Misaligned transfers are refused here, since RAM would take them and O_DIRECT would not. */
static bool is_possible(const struct device *dev, uint64_t offset, const void *buf, uint64_t len)
{
    return len != 0 && ((offset | len | (uintptr_t)buf) & (DEVICE_ALIGN - 1)) == 0 &&
           offset <= dev->size_bytes && len <= dev->size_bytes - offset;
}

static void count_ended(bool is_write, enum status st, int64_t us)
{
    metric_add(is_write ? M_DEVICE_WRITES : M_DEVICE_READS, 1);
    metric_observe_us(is_write ? M_DEVICE_WRITE_DURATION : M_DEVICE_READ_DURATION,
                      us > 0 ? (uint64_t)us : 0);
    if (st != OK) {
        metric_add(M_DEVICE_ERRORS_IO, 1);
    }
}

enum status device_read(struct device *dev, uint64_t offset, void *buf, uint32_t len)
{
    int64_t started_us = clock_mono_us();
    enum status st = IO;
    if (is_possible(dev, offset, buf, len)) {
        st = dev->ops->read(dev, offset, buf, len);
    }
    count_ended(false, st, clock_mono_us() - started_us);
    return st;
}

enum status device_write(struct device *dev, uint64_t offset, const void *buf, uint32_t len)
{
    int64_t started_us = clock_mono_us();
    enum status st = IO;
    if (is_possible(dev, offset, buf, len)) {
        st = dev->ops->write(dev, offset, buf, len);
    }
    count_ended(true, st, clock_mono_us() - started_us);
    return st;
}

enum status device_sync(struct device *dev)
{
    enum status st = dev->ops->sync(dev);
    if (st != OK) {
        metric_add(M_DEVICE_ERRORS_IO, 1);
    }
    return st;
}

/* --- buffers ------------------------------------------------------------------------------------- */

/* DEVICE_POOL_CLASSES: too large for the pool. */
static unsigned pool_class(uint32_t len)
{
    unsigned order = 0;
    while (order < DEVICE_POOL_CLASSES && (uint64_t)DEVICE_ALIGN << order < len) {
        order++;
    }
    return order;
}

static uint64_t pool_bytes(unsigned order, uint32_t len)
{
    return order < DEVICE_POOL_CLASSES ? (uint64_t)DEVICE_ALIGN << order
                                       : bytes_align_up(len, DEVICE_ALIGN);
}

void *device_buffer_get(struct device_queue *q, uint32_t len)
{
    unsigned order = pool_class(len);
    uint64_t bytes = pool_bytes(order, len);
    if (q != NULL && order < DEVICE_POOL_CLASSES && q->idle[order] != NULL) {
        void *buf = q->idle[order];
        memcpy(&q->idle[order], buf, sizeof(void *));
        q->idle_bytes -= bytes;
        return buf;
    }
    void *buf = mem_aligned_alloc(DEVICE_ALIGN, bytes);
    if (buf != NULL) {
        atomic_fetch_add_explicit(&buffer_bytes, bytes, memory_order_relaxed);
    }
    return buf;
}

static void buffer_free(void *buf, uint64_t bytes)
{
    atomic_fetch_sub_explicit(&buffer_bytes, bytes, memory_order_relaxed);
    mem_free(buf);
}

void device_buffer_put(struct device_queue *q, void *buf, uint32_t len)
{
    if (buf == NULL) {
        return;
    }
    unsigned order = pool_class(len);
    uint64_t bytes = pool_bytes(order, len);
    if (q == NULL || order == DEVICE_POOL_CLASSES || q->idle_bytes + bytes > POOL_IDLE_BYTES_MAX) {
        buffer_free(buf, bytes);
        return;
    }
    memcpy(buf, &q->idle[order], sizeof(void *));
    q->idle[order] = buf;
    q->idle_bytes += bytes;
}

static void pool_drain(struct device_queue *q)
{
    for (unsigned order = 0; order < DEVICE_POOL_CLASSES; order++) {
        while (q->idle[order] != NULL) {
            void *buf = q->idle[order];
            memcpy(&q->idle[order], buf, sizeof(void *));
            buffer_free(buf, pool_bytes(order, 1));
        }
    }
    q->idle_bytes = 0;
}

uint64_t device_buffer_bytes(void)
{
    return atomic_load_explicit(&buffer_bytes, memory_order_relaxed);
}

/* --- queues -------------------------------------------------------------------------------------- */

enum status device_queue_create(struct device *dev, unsigned depth, struct device_queue **out)
{
    *out = NULL;
    enum status st = OK;
    struct device_queue *q = mem_zalloc(1, sizeof(*q));
    if (q == NULL) {
        return NO_MEMORY;
    }
    q->dev = dev;
    q->depth = depth > 0 ? depth : 1;
    list_init(&q->begun);
    list_init(&q->failed);
    q->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (q->event_fd < 0) {
        st = status_from_errno(errno);
        goto out;
    }
    TRY(dev->ops->queue_open(dev, q));
    *out = q;
    q = NULL;
out:
    if (q != NULL) {
        if (q->event_fd >= 0) {
            close(q->event_fd);
        }
        mem_free(q);
    }
    return st;
}

void device_queue_signal(struct device_queue *q)
{
    q->may_be_signalled = true;
    (void)eventfd_write(q->event_fd, 1); /* cannot overflow: every reap resets it */
}

int device_queue_fd(const struct device_queue *q)
{
    return q->event_fd;
}

unsigned device_in_flight(const struct device_queue *q)
{
    return q->n_in_flight;
}

static void fail_later(struct device_queue *q, struct device_io *io, enum status st)
{
    io->iocb[0] = (uint64_t)st; /* nothing runs: the place is free */
    device_list_push(&q->failed, io);
    device_queue_signal(q);
}

void device_begin(struct device_queue *q, struct device_io *io)
{
    io->transferred = 0;
    io->started_us = 0;
    q->n_in_flight++;
    if (!is_possible(q->dev, io->offset, io->buf, io->len)) {
        fail_later(q, io, IO);
        return;
    }
    device_list_push(&q->begun, io);
}

void device_submit(struct device_queue *q)
{
    if (q->begun.head == NULL) {
        return;
    }
    q->dev->ops->submit(q);
    if (q->begun.head != NULL && q->n_running == 0) {
        device_queue_signal(q); /* no completion will wake the owner to try again */
    }
}

void device_io_refuse(struct device_queue *q, enum status st)
{
    fail_later(q, device_list_pop(&q->begun), st);
}

void device_io_runs(struct device_queue *q, int64_t now_us)
{
    struct device_io *io = device_list_pop(&q->begun);
    if (io->started_us == 0) {
        io->started_us = now_us;
    }
    q->n_running++;
    q->may_be_signalled = true;
}

static void deliver(struct device_queue *q, struct device_io *io, enum status st, int64_t now_us)
{
    count_ended(io->is_write, st, io->started_us != 0 ? now_us - io->started_us : 0);
    q->n_in_flight--;
    q->n_reaped++;
    io->done(io, st);
}

void device_io_ended(struct device_queue *q, struct device_io *io, enum status st, uint64_t bytes,
                     int64_t now_us)
{
    q->n_running--;
    uint32_t missing = io->len - io->transferred;
    if (st == OK && (bytes == 0 || bytes > missing || bytes % DEVICE_SECTOR != 0)) {
        st = IO; /* the end of the file, or nonsense */
    }
    if (st == OK) {
        io->transferred += (uint32_t)bytes;
        if (io->transferred < io->len) {
            q->has_continued = true;
            device_list_push(&q->begun, io);
            return;
        }
    }
    deliver(q, io, st, now_us);
}

static void reset_event(struct device_queue *q)
{
    eventfd_t ignored;
    (void)eventfd_read(q->event_fd, &ignored); /* EAGAIN: it was not readable */
    q->may_be_signalled = q->n_running != 0;
}

static unsigned reap(struct device_queue *q, bool may_wait)
{
    DCHECK(!q->is_reaping);
    if (!q->may_be_signalled) {
        return 0;
    }
    q->is_reaping = true;
    q->has_continued = false;
    q->n_reaped = 0;
    reset_event(q); /* before looking: what ends later signals again */
    struct device_io *failed = q->failed.head;
    list_init(&q->failed);
    while (failed != NULL) {
        struct device_io *io = failed;
        failed = io->next;
        deliver(q, io, (enum status)io->iocb[0], 0);
    }
    if (q->n_running != 0) {
        q->dev->ops->reap(q, may_wait && q->n_reaped == 0);
    }
    q->is_reaping = false;
    if (q->has_continued) {
        device_submit(q);
    }
    return q->n_reaped;
}

unsigned device_reap(struct device_queue *q)
{
    return reap(q, false);
}

void device_queue_destroy(struct device_queue **queue)
{
    struct device_queue *q = *queue;
    if (q == NULL) {
        return;
    }
    while (q->n_in_flight != 0) {
        device_submit(q);
        while (q->n_running == 0 && q->begun.head != NULL) {
            device_io_refuse(q, CLOSED);
        }
        (void)reap(q, true);
    }
    q->dev->ops->queue_close(q);
    pool_drain(q);
    close(q->event_fd);
    mem_free(q);
    *queue = NULL;
}
