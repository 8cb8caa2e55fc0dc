/*
 * Design: a device in RAM for tests, harsher than a real one. Nothing is moved before the completion
 * is delivered, so what a request sees depends on the order of delivery; with a seed that order is
 * random, and each reap delivers only some. A write that a fault point fails has torn its target: a
 * random number of sectors from the front is new, as after a power cut.
 *
 * Invariants
 *   1. The same seed and the same calls give the same order and the same tears.
 *   2. What still runs signals the eventfd again: an owner that waits for it gets everything.
 */
#include "tiers/device_impl.h"

#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/fault.h"
#include "engine/base/mem.h"

struct memory_device {
    struct device base;
    char *bytes;
    bool is_backing_own;
    uint64_t random; /* queues' threads: tests with a seed use one */
    bool is_shuffled;
};

struct memory_queue {
    struct device_io **running; /* in order of submission */
    unsigned n;
};

static struct memory_device *memory_of(struct device *dev)
{
    return (struct memory_device *)dev;
}

/* xorshift64* (G. Marsaglia, 2003). */
static uint64_t random_next(struct memory_device *m)
{
    m->random ^= m->random >> 12;
    m->random ^= m->random << 25;
    m->random ^= m->random >> 27;
    return m->random * UINT64_C(0x2545F4914F6CDD1D);
}

static enum status memory_read(struct device *dev, uint64_t offset, char *buf, uint32_t len)
{
    enum status st = device_fault(false);
    if (st == OK) {
        memcpy(buf, memory_of(dev)->bytes + offset, len);
    }
    return st;
}

static enum status memory_write(struct device *dev, uint64_t offset, const char *buf, uint32_t len)
{
    struct memory_device *m = memory_of(dev);
    enum status st = device_fault(true);
    if (st != OK) {
        len = (uint32_t)(random_next(m) % (len / DEVICE_SECTOR + 1)) * DEVICE_SECTOR;
    }
    memcpy(m->bytes + offset, buf, len);
    return st;
}

static enum status memory_sync(struct device *dev)
{
    return FAULT_POINT(DEV_SYNC);
}

static enum status memory_queue_open(struct device *dev, struct device_queue *q)
{
    struct memory_queue *mq = mem_zalloc(1, sizeof(*mq));
    if (mq != NULL) {
        mq->running = mem_zalloc(q->depth, sizeof(struct device_io *));
    }
    if (mq == NULL || mq->running == NULL) {
        mem_free(mq);
        return NO_MEMORY;
    }
    q->backend = mq;
    return OK;
}

static void memory_queue_close(struct device_queue *q)
{
    struct memory_queue *mq = q->backend;
    mem_free(mq->running);
    mem_free(mq);
}

static void memory_submit(struct device_queue *q)
{
    struct memory_queue *mq = q->backend;
    int64_t now_us = clock_mono_us();
    while (q->begun.head != NULL && mq->n < q->depth) {
        enum status st = FAULT_POINT(DEV_SUBMIT);
        if (st == AGAIN) {
            break;
        }
        if (st != OK) {
            device_io_refuse(q, st);
            continue;
        }
        mq->running[mq->n++] = q->begun.head;
        device_io_runs(q, now_us);
    }
    if (mq->n != 0) {
        device_queue_signal(q);
    }
}

/* Takes one of the running out of the queue: the first, or any. */
static struct device_io *take(struct memory_device *m, struct memory_queue *mq)
{
    unsigned i = m->is_shuffled ? (unsigned)(random_next(m) % mq->n) : 0;
    struct device_io *io = mq->running[i];
    mq->n--;
    memmove(&mq->running[i], &mq->running[i + 1], (mq->n - i) * sizeof(io));
    return io;
}

static void memory_reap(struct device_queue *q, bool may_wait)
{
    struct memory_device *m = memory_of(q->dev);
    struct memory_queue *mq = q->backend;
    unsigned n = m->is_shuffled ? (unsigned)(random_next(m) % mq->n) + 1 : mq->n;
    int64_t now_us = clock_mono_us();
    while (n-- > 0) { /* what done begins and submits meanwhile waits for the next reap */
        struct device_io *io = take(m, mq);
        enum status st = io->is_write ? memory_write(&m->base, io->offset, io->buf, io->len)
                                      : memory_read(&m->base, io->offset, io->buf, io->len);
        device_io_ended(q, io, st, io->len, now_us);
    }
    if (mq->n != 0) {
        device_queue_signal(q);
    }
}

static void memory_close(struct device *dev)
{
    struct memory_device *m = memory_of(dev);
    if (m->is_backing_own) {
        mem_free(m->bytes);
    }
    mem_free(m);
}

static const struct device_ops memory_ops = {
    .close = memory_close,
    .queue_open = memory_queue_open,
    .queue_close = memory_queue_close,
    .submit = memory_submit,
    .reap = memory_reap,
    .read = memory_read,
    .write = memory_write,
    .sync = memory_sync,
};

enum status device_open_memory(uint64_t size_bytes, void *backing, uint64_t shuffle_seed,
                               struct device **out)
{
    *out = NULL;
    if (size_bytes == 0 || size_bytes % DEVICE_ALIGN != 0) {
        return INVALID;
    }
    struct memory_device *m = mem_zalloc(1, sizeof(*m));
    char *bytes = backing != NULL ? backing : mem_zalloc(1, size_bytes);
    if (m == NULL || bytes == NULL) {
        if (backing == NULL) {
            mem_free(bytes);
        }
        mem_free(m);
        return NO_MEMORY;
    }
    *m = (struct memory_device){
        .base = {.ops = &memory_ops, .size_bytes = size_bytes},
        .bytes = bytes,
        .is_backing_own = backing == NULL,
        .is_shuffled = shuffle_seed != 0,
        .random = shuffle_seed != 0 ? shuffle_seed : 1,
    };
    *out = &m->base;
    return OK;
}
