/*
 * Purpose: the segment file as a block device: aligned asynchronous reads and writes through libaio
 *   (aio.c), one submission per loop turn; a RAM device with injectable faults for tests
 *   (device_memory.c) behind the same functions.
 * Threads: a device_queue belongs to one thread; the sync functions may be called by any background
 *   thread; device_open and device_close from one thread.
 * Errors: IO, NO_SPACE (errno translated here), CLOSED. A short transfer is continued, a short one
 *   at the end of the device is IO. A full kernel queue (EAGAIN, partial submit) is retried by the
 *   next device_submit; nothing is lost.
 */
#ifndef HEARTH_TIERS_DEVICE_H
#define HEARTH_TIERS_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"

#define DEVICE_ALIGN 4096u /* offset, length and memory of every transfer */

struct device;
struct device_queue;

struct device_io {
    /* caller's; the whole struct and the buffer stay alive until done is called */
    bool is_write;
    uint64_t offset;
    uint32_t len;
    void *buf;
    void (*done)(struct device_io *io, enum status st); /* from device_reap, queue's thread */
    /* device's */
    uint32_t transferred;
    int64_t started_us;
    struct device_io *next;
    uint64_t iocb[8]; /* struct iocb, kept opaque; static_assert in aio.c */
};

/* Opens or creates the file, O_DIRECT, and pre-allocates size_bytes (never grows afterwards).
 * Blocks. NO_SPACE: cannot be allocated. INVALID: not a file, or the file system refuses O_DIRECT. */
MUST_CHECK enum status device_open(const char *path, uint64_t size_bytes, struct device **out);
/* Tests: RAM, contents survive device_close when `backing` (caller's memory) is given. Completions
 * are delivered by device_reap in a seeded random order when shuffle_seed != 0. */
MUST_CHECK enum status device_open_memory(uint64_t size_bytes, void *backing, uint64_t shuffle_seed,
                                          struct device **out);
void device_close(struct device **dev);
uint64_t device_size(const struct device *dev);

MUST_CHECK enum status device_queue_create(struct device *dev, unsigned depth,
                                           struct device_queue **out);
/* Waits for what is in flight, delivering completions. */
void device_queue_destroy(struct device_queue **q);
int device_queue_fd(const struct device_queue *q); /* eventfd: readable when device_reap has work */
void device_begin(struct device_queue *q, struct device_io *io); /* no system call yet */
void device_submit(struct device_queue *q);                      /* one io_submit for all begun */
unsigned device_reap(struct device_queue *q); /* calls done; returns how many; never blocks */
unsigned device_in_flight(const struct device_queue *q); /* begun and not yet done */

/* Background threads only: block until all bytes are transferred. */
MUST_CHECK enum status device_read(struct device *dev, uint64_t offset, void *buf, uint32_t len);
MUST_CHECK enum status device_write(struct device *dev, uint64_t offset, const void *buf,
                                    uint32_t len);
MUST_CHECK enum status device_sync(struct device *dev);

/* Aligned buffers; NULL when out of memory. Small pool per queue so that a read allocates nothing. */
void *device_buffer_get(struct device_queue *q, uint32_t len);
void device_buffer_put(struct device_queue *q, void *buf, uint32_t len);
/* Bytes of all pools and queues of the process, charged to io_buffers. */
uint64_t device_buffer_bytes(void);

#endif
