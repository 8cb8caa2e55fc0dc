/*
 * Design: one record is one device read: from the page its location lies in to the page where the
 *   largest record of its length class would end, clipped to the segment's end.
 *
 * Invariants
 *   1. No lock on the way of a read: state and generation are atomics of the segment.
 *   2. The generation is taken before the read and compared after it, and seeds the CRC: what was
 *      reclaimed meanwhile does not verify. That is a race, not a fault of the device, and is not
 *      counted as one.
 *      So the caller must know that the location is live when it begins: the slot is in the index, under
 *      the shard's lock. A location from before may already be another record's place.
 *   3. The buffer belongs to the queue's pool and goes back there in log_read_finish only.
 */
#include "tiers/log_impl.h"

#include <string.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"
#include "engine/base/metrics.h"

enum status log_locate(const struct log *log, uint64_t location, uint32_t *segment_out,
                       uint32_t *generation_out)
{
    if (location >> INDEX_LOCATION_BITS != 0) {
        return INVALID;
    }
    uint64_t segment = location * INDEX_UNIT_BYTES / log->config.segment_bytes;
    if (segment >= log->n_segments) {
        return INVALID;
    }
    const struct log_segment *seg = &log->segments[segment];
    unsigned state = atomic_load_explicit(&seg->state, memory_order_acquire);
    if (state == LOG_SEG_FREE || state == LOG_SEG_READY) {
        return INVALID;
    }
    *segment_out = (uint32_t)segment;
    *generation_out = atomic_load_explicit(&seg->generation, memory_order_acquire);
    return OK;
}

void log_count_read(unsigned reason, uint64_t bytes)
{
    static const enum metric_id ids[] = {
        [LOG_REASON_LOOKUP] = M_DEVICE_READ_BYTES,
        [LOG_REASON_RECLAIM] = M_DEVICE_READ_BYTES_RECLAIM,
        [LOG_REASON_SCAN] = M_DEVICE_READ_BYTES_SCAN,
    };
    DCHECK(reason <= LOG_REASON_SCAN);
    metric_add(ids[reason], bytes);
}

struct span { /* of the device, aligned */
    uint64_t offset;
    uint32_t len;
    uint32_t skip; /* of the record in it */
    uint32_t segment;
    uint32_t generation;
};

static enum status span_of(const struct log *log, uint64_t location, uint8_t len_class,
                           struct span *out)
{
    enum status st = log_locate(log, location, &out->segment, &out->generation);
    if (st != OK) {
        return st;
    }
    uint64_t start = location * INDEX_UNIT_BYTES;
    uint64_t segment_end = log_segment_offset(log, out->segment) + log->config.segment_bytes;
    uint64_t end = start + index_class_bytes(len_class);
    end = bytes_min_u64(bytes_align_up(end, LOG_PAGE), segment_end);
    out->offset = bytes_align_down(start, LOG_PAGE);
    out->skip = (uint32_t)(start - out->offset);
    out->len = (uint32_t)(end - out->offset);
    return OK;
}

/* Verifies what was read for `location`. */
static enum status record_verify(struct log *log, uint64_t location, uint32_t generation,
                                 const char *bytes, size_t len, struct record *out)
{
    uint32_t segment = (uint32_t)(location * INDEX_UNIT_BYTES / log->config.segment_bytes);
    enum status st = record_decode(bytes, len, record_seed(segment, generation, location), out);
    if (atomic_load_explicit(&log->segments[segment].generation, memory_order_acquire) !=
        generation) {
        return CORRUPT;
    }
    if (st != OK) {
        metric_add(M_DEVICE_ERRORS_CHECKSUM, 1);
        log_note_io(log, false, CORRUPT);
    }
    return st;
}

static void on_read(struct device_io *io, enum status st)
{
    struct log_read *read = (struct log_read *)((char *)io - offsetof(struct log_read, io));
    log_note_io(read->log, false, st);
    if (st == OK) {
        log_count_read(read->reason, read->buffer_len);
    }
    read->done(read, st);
}

enum status log_read_begin(struct log *log, struct device_queue *q, struct log_read *read)
{
    struct span span;
    enum status st = span_of(log, read->location, read->len_class, &span);
    if (st != OK) {
        return st;
    }
    void *buf = device_buffer_get(q, span.len);
    if (buf == NULL) {
        return NO_MEMORY;
    }
    read->log = log;
    read->queue = q;
    read->generation = span.generation;
    read->buffer_len = span.len;
    read->skip = span.skip;
    read->io = (struct device_io){
        .offset = span.offset,
        .len = span.len,
        .buf = buf,
        .done = on_read,
    };
    device_begin(q, &read->io);
    return OK;
}

enum status log_read_record(const struct log_read *read, struct record *out)
{
    return record_verify(read->log, read->location, read->generation,
                         (const char *)read->io.buf + read->skip, read->buffer_len - read->skip,
                         out);
}

void log_read_finish(struct log_read *read)
{
    if (read->io.buf != NULL) {
        device_buffer_put(read->queue, read->io.buf, read->buffer_len);
        read->io.buf = NULL;
    }
}

enum status log_read_sync(struct log *log, uint64_t location, uint8_t len_class, struct record *out,
                          void **buffer_out)
{
    *buffer_out = NULL;
    struct span span;
    enum status st = span_of(log, location, len_class, &span);
    if (st != OK) {
        return st;
    }
    char *buf = mem_aligned_alloc(DEVICE_ALIGN, span.len);
    if (buf == NULL) {
        return NO_MEMORY;
    }
    st = device_read(log->device, span.offset, buf, span.len);
    log_note_io(log, false, st);
    TRY(st);
    log_count_read(LOG_REASON_LOOKUP, span.len);
    TRY(record_verify(log, location, span.generation, buf + span.skip, span.len - span.skip, out));
    *buffer_out = buf;
    return OK;
out:
    mem_free(buf);
    return st;
}
