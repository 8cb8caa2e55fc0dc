/*
 * Purpose: what device.c (queues, buffers, completion) and its two back ends share: aio.c (libaio on
 *   a file) and device_memory.c (RAM, for tests).
 * Threads: as in tiers/device.h. Errors: as in tiers/device.h.
 * Private: only these three files.
 */
#ifndef HEARTH_TIERS_DEVICE_IMPL_H
#define HEARTH_TIERS_DEVICE_IMPL_H

#include "engine/base/fault.h"
#include "tiers/device.h"

#define DEVICE_SECTOR 512u /* a short transfer may end at any of these and is continued there */

/*
 * The life of a device_io, all on the queue's thread:
 *
 *   begun --submit--> running --reap--> done
 *     ^  \                 |
 *     |   \--cannot run----+--> failed --reap--> done
 *     +----short, reap-----+
 *
 *   begun     linked in q->begun, not yet accepted by the back end
 *   running   the back end (the kernel) owns the buffer
 *   failed    linked in q->failed with its status; reap delivers it, so that done never runs inside
 *             device_begin or device_submit
 */
struct device_list {
    struct device_io *head;
    struct device_io **tail; /* &head when empty */
};

struct device_ops {
    void (*close)(struct device *dev);
    enum status (*queue_open)(struct device *dev, struct device_queue *q);
    void (*queue_close)(struct device_queue *q); /* nothing runs any more */
    /* Moves what it can from q->begun on; stops at a full queue. */
    void (*submit)(struct device_queue *q);
    /* Ends what has run, by device_io_ended(). may_wait: blocks until at least one has. */
    void (*reap)(struct device_queue *q, bool may_wait);
    enum status (*read)(struct device *dev, uint64_t offset, char *buf, uint32_t len);
    enum status (*write)(struct device *dev, uint64_t offset, const char *buf, uint32_t len);
    enum status (*sync)(struct device *dev);
};

struct device { /* immutable after open; a back end's own struct begins with it */
    const struct device_ops *ops;
    uint64_t size_bytes;
};

#define DEVICE_POOL_CLASSES 9 /* 4 KiB << 0..8: up to 1 MiB */

struct device_queue { /* owner's thread */
    struct device *dev;
    void *backend; /* of queue_open */
    unsigned depth;
    int event_fd;
    bool is_reaping;
    bool has_continued;    /* the present device_reap began a short transfer again */
    bool may_be_signalled; /* event_fd was written, or something runs that will write it */
    unsigned n_in_flight;  /* begun, running or failed */
    unsigned n_running;
    unsigned n_reaped; /* by the present device_reap */
    struct device_list begun, failed;
    void *idle[DEVICE_POOL_CLASSES]; /* free buffers, linked through their first word */
    uint64_t idle_bytes;
};

void device_list_push(struct device_list *list, struct device_io *io);
struct device_io *device_list_pop(struct device_list *list);

/* The back end refuses the head of q->begun: it will be reaped with st. */
void device_io_refuse(struct device_queue *q, enum status st);
/* The head of q->begun now runs. */
void device_io_runs(struct device_queue *q, int64_t now_us);
/* A running io has moved `bytes` more bytes, or failed with st: calls done, or, short, begins it again. */
void device_io_ended(struct device_queue *q, struct device_io *io, enum status st, uint64_t bytes,
                     int64_t now_us);
/* What a test wants to happen to a transfer that would succeed. */
static inline enum status device_fault(bool is_write)
{
    return is_write ? FAULT_POINT(DEV_WRITE) : FAULT_POINT(DEV_READ);
}
/* Makes event_fd readable. */
void device_queue_signal(struct device_queue *q);

#endif
