/*
 * Design: a writer fills one block buffer, compressing straight into it, and hands full ones to the
 *   device. The extent of a block is reserved when its buffer is opened, so that each record's location
 *   and CRC seed are known when it is encoded; the extent's unused rest goes back when the block is
 *   sealed.
 *
 *      buffer:  (none) --log_append--> open --full or log_flush--> in flight --device--> idle
 *                                                                     |  failed once
 *                                                                     +--> moved to a new extent,
 *                                                                          in flight again
 *
 * Invariants
 *   1. At most max_in_flight buffers are in flight and one is open: memory is bounded, log_append says
 *      AGAIN beyond that, and says so before it compresses anything.
 *   2. Only the writer's thread touches its buffers; the segment table has a lock of its own.
 *   3. Gaps are zeros: no byte of an earlier block reaches the device.
 *   4. done is called exactly once per record, with its final location, after the device has said OK, or
 *      with the error after one more attempt elsewhere.
 *   5. Space of a failed write is never written again under the same generation.
 *
 * Placement: a record is moved to the next page when it then crosses fewer pages and the gap costs at
 *   most 1/GAP_SHARE of it. A read of one page more is still one device read, so larger gaps are not
 *   worth their write amplification (numbers: tiers/README.md).
 * Large records (over half of block_bytes) get a block of their own of exactly the size needed, beside
 *   the open one.
 */
#include "tiers/log_impl.h"

#include <poll.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/clock.h"
#include "engine/base/mem.h"
#include "engine/base/metrics.h"

#define GAP_SHARE 8
#define WAIT_MS 10

struct log_buffer {
    struct device_io io;
    struct log_writer *writer;
    struct log_buffer *next; /* idle list */
    struct log_extent extent;
    char *bytes; /* DEVICE_ALIGN */
    uint32_t cap_bytes;
    uint32_t cursor; /* records end here */
    uint32_t entries_len, entries_cap;
    char *entries; /* the footer to be */
    uint32_t n_records, cap_records;
    struct log_entry *records;
    uint32_t total_len; /* once sealed */
    uint32_t footer_len;
    int64_t opened_us;
    bool is_second_attempt;
};

struct log_writer {
    /* immutable after create */
    struct log *log;
    struct device_queue *queue; /* NULL: blocking */
    struct codec *codec;
    unsigned max_in_flight;
    bool is_reinsert;
    log_block_done_fn done;
    void *arg;
    /* the writer's thread */
    struct log_buffer *open;
    struct log_buffer *idle;
    uint32_t n_in_flight;
    uint32_t n_pending;
    char *scratch; /* a value compressed before it is known where it fits */
    size_t scratch_bytes;
};

/* ---- buffers ---- */

static void memory_note(struct log *log, int64_t delta)
{
    atomic_fetch_add_explicit(&log->memory_bytes, (uint64_t)delta, memory_order_relaxed);
}

static void buffer_free(struct log_writer *w, struct log_buffer *b)
{
    if (b == NULL) {
        return;
    }
    memory_note(w->log, -(int64_t)(sizeof(*b) + b->cap_bytes + b->entries_cap +
                                   b->cap_records * sizeof(b->records[0])));
    mem_free(b->bytes);
    mem_free(b->entries);
    mem_free(b->records);
    mem_free(b);
}

static void buffer_recycle(struct log_writer *w, struct log_buffer *b)
{
    if (b->cap_bytes != w->log->config.block_bytes) { /* a large record's */
        buffer_free(w, b);
        return;
    }
    b->next = w->idle;
    w->idle = b;
}

/* Gives an unwritten buffer's extent back. */
static void buffer_drop(struct log_writer *w, struct log_buffer *b)
{
    log_trim(w->log, &b->extent, 0);
    buffer_recycle(w, b);
}

static struct log_buffer *buffer_create(struct log_writer *w, uint32_t bytes)
{
    struct log_buffer *b = mem_zalloc(1, sizeof(*b));
    if (b == NULL) {
        return NULL;
    }
    b->writer = w;
    b->bytes = mem_aligned_alloc(DEVICE_ALIGN, bytes);
    if (b->bytes == NULL) {
        mem_free(b);
        return NULL;
    }
    b->cap_bytes = bytes;
    memory_note(w->log, (int64_t)(sizeof(*b) + bytes));
    return b;
}

/* An empty buffer with room on the device for at least `need` bytes. */
static enum status buffer_open(struct log_writer *w, uint32_t need, bool is_exact,
                               struct log_buffer **out)
{
    uint32_t want = is_exact ? need : w->log->config.block_bytes;
    struct log_extent extent;
    enum status st = log_reserve(w->log, need, want, w->is_reinsert, &extent);
    if (st != OK) {
        return st;
    }
    struct log_buffer *b = NULL;
    if (want == w->log->config.block_bytes && w->idle != NULL) {
        b = w->idle;
        w->idle = b->next;
    } else {
        b = buffer_create(w, want);
    }
    if (b == NULL) {
        log_trim(w->log, &extent, 0);
        return NO_MEMORY;
    }
    b->extent = extent;
    b->cursor = sizeof(struct log_block_header);
    b->entries_len = b->n_records = 0;
    b->is_second_attempt = false;
    b->opened_us = clock_mono_us();
    *out = b;
    return OK;
}

static enum status entries_grow(struct log_buffer *b, size_t entry_bytes)
{
    struct log *log = b->writer->log;
    if (b->entries_len + entry_bytes > b->entries_cap) {
        uint32_t cap = b->entries_cap * 2 + (uint32_t)entry_bytes + 4096;
        char *entries = mem_realloc(b->entries, cap);
        if (entries == NULL) {
            return NO_MEMORY;
        }
        memory_note(log, (int64_t)cap - b->entries_cap);
        b->entries = entries;
        b->entries_cap = cap;
    }
    if (b->n_records == b->cap_records) {
        uint32_t cap = b->cap_records * 2 + 64;
        struct log_entry *records = mem_realloc(b->records, cap * sizeof(*records));
        if (records == NULL) {
            return NO_MEMORY;
        }
        memory_note(log, (int64_t)((cap - b->cap_records) * sizeof(*records)));
        b->records = records;
        b->cap_records = cap;
    }
    return OK;
}

/* ---- writing a block ---- */

static void buffer_seal(struct log_buffer *b)
{
    b->footer_len = b->entries_len + (uint32_t)sizeof(struct log_block_trailer);
    b->total_len = log_page_up(b->cursor + b->footer_len);
    log_trim(b->writer->log, &b->extent, b->total_len);
    log_block_seal(b->writer->log, &b->extent, b->bytes, b->cursor, b->entries, b->entries_len,
                   b->n_records);
}

/* Re-encodes a block for another place: positions within the block stay, seeds change. */
static enum status buffer_move(struct log_buffer *b, const struct log_extent *to)
{
    const struct log_extent *from = &b->extent;
    for (uint32_t i = 0; i < b->n_records; i++) {
        struct log_entry *e = &b->records[i];
        uint64_t place = e->location * INDEX_UNIT_BYTES - from->offset;
        uint64_t location = (to->offset + place) / INDEX_UNIT_BYTES;
        struct record r;
        if (record_decode(b->bytes + place, e->record_bytes,
                          record_seed(from->segment, from->generation, e->location), &r) != OK) {
            return IO; /* memory went bad: the caller still has the values */
        }
        record_encode(&r, record_seed(to->segment, to->generation, location), b->bytes + place);
        e->location = location;
    }
    b->extent = *to;
    log_block_seal(b->writer->log, to, b->bytes, b->cursor, b->entries, b->entries_len,
                   b->n_records);
    return OK;
}

static void buffer_finish(struct log_buffer *b, enum status st)
{
    struct log_writer *w = b->writer;
    if (w->queue != NULL) {
        w->n_in_flight--;
    }
    w->n_pending -= b->n_records;
    w->done(w->arg, st, b->records, b->n_records);
    buffer_recycle(w, b);
}

/* Books the outcome of one attempt. AGAIN: the block stands in a new extent and wants writing. */
static enum status buffer_written(struct log_buffer *b, enum status st)
{
    struct log_writer *w = b->writer;
    bool was_failed = log_health(w->log) == LOG_FAILED;
    log_note_io(w->log, true, st);
    if (st == OK) {
        metric_add(w->is_reinsert ? M_DEVICE_WRITE_BYTES_REINSERT : M_DEVICE_WRITE_BYTES,
                   b->total_len);
        log_landed(w->log, &b->extent, b->footer_len);
        return OK;
    }
    enum status error = st == NO_SPACE ? NO_SPACE : IO;
    /* A probe of a dead device says nothing about this segment. */
    log_write_failed(w->log, &b->extent, !was_failed);
    if (b->is_second_attempt || was_failed) {
        return error;
    }
    struct log_extent to;
    if (log_reserve(w->log, b->total_len, b->total_len, w->is_reinsert, &to) != OK) {
        return error;
    }
    b->is_second_attempt = true;
    if (buffer_move(b, &to) != OK) {
        log_trim(w->log, &to, 0);
        return error;
    }
    return AGAIN;
}

static void on_written(struct device_io *io, enum status st);

static void buffer_begin(struct log_buffer *b)
{
    b->io = (struct device_io){
        .is_write = true,
        .offset = b->extent.offset,
        .len = b->total_len,
        .buf = b->bytes,
        .done = on_written,
    };
    device_begin(b->writer->queue, &b->io);
}

static void on_written(struct device_io *io, enum status st)
{
    struct log_buffer *b = (struct log_buffer *)((char *)io - offsetof(struct log_buffer, io));
    st = buffer_written(b, st);
    if (st == AGAIN) {
        buffer_begin(b);
    } else {
        buffer_finish(b, st);
    }
}

/* Takes the buffer over; blocks without a queue. */
static void buffer_write(struct log_writer *w, struct log_buffer *b)
{
    buffer_seal(b);
    if (w->queue != NULL) {
        w->n_in_flight++;
        buffer_begin(b);
        return;
    }
    enum status st;
    do {
        st = buffer_written(b,
                            device_write(w->log->device, b->extent.offset, b->bytes, b->total_len));
    } while (st == AGAIN);
    buffer_finish(b, st);
}

static bool has_flight(const struct log_writer *w)
{
    return w->queue == NULL || w->n_in_flight < w->max_in_flight;
}

enum status log_flush(struct log_writer *w)
{
    struct log_buffer *b = w->open;
    if (b == NULL) {
        return OK;
    }
    if (b->n_records == 0) { /* opened for a record that then failed: holds no segment up */
        w->open = NULL;
        buffer_drop(w, b);
        return OK;
    }
    if (!has_flight(w)) {
        return AGAIN;
    }
    w->open = NULL;
    buffer_write(w, b);
    return OK;
}

/* ---- appending ---- */

static uint32_t room_of(const struct log_buffer *b, size_t entry_bytes)
{
    size_t taken = b->cursor + b->entries_len + entry_bytes + sizeof(struct log_block_trailer);
    return taken < b->extent.bytes ? b->extent.bytes - (uint32_t)taken : 0;
}

/* Bytes of a block that holds only this. */
static uint32_t block_bytes_alone(size_t record_bytes, size_t entry_bytes)
{
    return log_page_up(sizeof(struct log_block_header) + record_bytes + entry_bytes +
                       sizeof(struct log_block_trailer));
}

static bool is_large(const struct log_writer *w, size_t record_bytes, size_t entry_bytes)
{
    return block_bytes_alone(record_bytes, entry_bytes) > w->log->config.block_bytes / 2;
}

/* Where in the block a record of this size begins; see Placement above. */
static uint32_t place_choose(const struct log_buffer *b, size_t size, size_t entry_bytes)
{
    uint32_t in_page = b->cursor % LOG_PAGE, gap = LOG_PAGE - in_page;
    uint32_t n_pages = (in_page + (uint32_t)size + LOG_PAGE - 1) / LOG_PAGE;
    uint32_t n_least = ((uint32_t)size + LOG_PAGE - 1) / LOG_PAGE;
    bool is_worth = n_pages > n_least && gap <= size / GAP_SHARE;
    return b->cursor + (is_worth && gap + size <= room_of(b, entry_bytes) ? gap : 0);
}

/* Encodes into the buffer, which has room. */
static void record_place(struct log_buffer *b, const struct record *r, uint64_t hash, void *cookie)
{
    uint32_t size = (uint32_t)record_size(r);
    size_t entry_bytes = log_footer_entry_bytes(r->key_len, r->expire_at_ms);
    uint32_t place = place_choose(b, size, entry_bytes);
    uint64_t location = (b->extent.offset + place) / INDEX_UNIT_BYTES;
    uint32_t gap_from = b->cursor;
    record_encode(r, record_seed(b->extent.segment, b->extent.generation, location),
                  b->bytes + place);
    memset(b->bytes + gap_from, 0, place - gap_from);
    log_footer_entry_encode(r, hash, place, size, b->entries + b->entries_len);
    b->entries_len += (uint32_t)entry_bytes;
    b->records[b->n_records++] = (struct log_entry){
        .cookie = cookie,
        .hash = hash,
        .location = location,
        .seq = r->seq,
        .record_bytes = size,
    };
    b->cursor = place + size;
    b->writer->n_pending++;
}

/* The open buffer gets room for the record, by starting a new one if need be. */
static enum status room_ensure(struct log_writer *w, size_t size, size_t entry_bytes)
{
    enum status st = OK;
    if (w->open != NULL && room_of(w->open, entry_bytes) < size) {
        TRY(log_flush(w));
    }
    if (w->open == NULL) {
        TRY(buffer_open(w, block_bytes_alone(size, entry_bytes), false, &w->open));
    }
    st = entries_grow(w->open, entry_bytes);
out:
    return st;
}

static void count_compression(const struct log_put *put, const struct record *r)
{
    if (!put->is_stored) {
        metric_add(M_RAW_BYTES, r->raw_len);
        metric_add(M_STORED_BYTES, r->stored_len);
    }
}

/* Compresses into the place the payload will have, if it surely fits there. */
static bool payload_in_place(struct log_writer *w, const struct log_put *put, struct record *r,
                             size_t entry_bytes)
{
    struct log_buffer *b = w->open;
    if (b == NULL || put->is_stored || put->level == 0 ||
        put->value_len > w->log->config.block_bytes / 4) {
        return false;
    }
    size_t before = record_payload_offset(r->key_len, r->expire_at_ms, r->kind);
    size_t bound = codec_bound(put->value_len);
    if (room_of(b, entry_bytes) < before + bound + RECORD_ALIGN) {
        return false;
    }
    char *dst = b->bytes + b->cursor + before;
    size_t stored_len = 0;
    r->codec = (uint8_t)codec_compress(w->codec, put->level, put->value, put->value_len, dst, bound,
                                       &stored_len);
    r->stored = dst;
    r->stored_len = (uint32_t)stored_len;
    return true;
}

/* Points r at the bytes to store: as they are, or compressed in the scratch buffer. */
static enum status payload_prepare(struct log_writer *w, const struct log_put *put,
                                   struct record *r)
{
    r->stored = put->value;
    r->stored_len = put->value_len;
    r->codec = put->is_stored ? put->codec : CODEC_RAW;
    if (put->is_stored || put->level == 0 || put->value_len == 0) {
        return OK;
    }
    size_t bound = codec_bound(put->value_len);
    if (bound > w->scratch_bytes) {
        char *scratch = mem_realloc(w->scratch, bound);
        if (scratch == NULL) {
            return NO_MEMORY;
        }
        memory_note(w->log, (int64_t)(bound - w->scratch_bytes));
        w->scratch = scratch;
        w->scratch_bytes = bound;
    }
    size_t stored_len = 0;
    r->codec = (uint8_t)codec_compress(w->codec, put->level, put->value, put->value_len, w->scratch,
                                       bound, &stored_len);
    r->stored = w->scratch;
    r->stored_len = (uint32_t)stored_len;
    return OK;
}

/* A block of exactly the record's size, written at once. */
static enum status append_large(struct log_writer *w, const struct record *r, uint64_t hash,
                                void *cookie, uint64_t *location_out)
{
    size_t entry_bytes = log_footer_entry_bytes(r->key_len, r->expire_at_ms);
    if (!has_flight(w)) {
        return AGAIN;
    }
    struct log_buffer *b = NULL;
    enum status st = buffer_open(w, block_bytes_alone(record_size(r), entry_bytes), true, &b);
    if (st != OK) {
        return st;
    }
    st = entries_grow(b, entry_bytes);
    if (st != OK) {
        buffer_drop(w, b);
        return st;
    }
    record_place(b, r, hash, cookie);
    *location_out = b->records[0].location;
    buffer_write(w, b);
    return OK;
}

static enum status put_check(const struct log_put *put)
{
    uint32_t raw_len = put->is_stored ? put->raw_len : put->value_len;
    return put->key_len > RECORD_KEY_MAX || put->value_len > RECORD_STORED_MAX ||
                   raw_len > RECORD_STORED_MAX
               ? TOO_BIG
               : OK;
}

enum status log_append(struct log_writer *w, const struct log_put *put, void *cookie,
                       uint64_t *location_out, uint32_t *record_bytes_out)
{
    enum status st = OK;
    TRY(put_check(put));
    bool is_probe = log_health(w->log) == LOG_FAILED;
    if (UNLIKELY(is_probe) && !log_probe_begin(w->log)) {
        return IO;
    }
    struct record r = {
        .seq = put->seq,
        .ns = put->ns,
        .chunk_no = put->chunk_no,
        .expire_at_ms = put->expire_at_ms,
        .key = put->key,
        .key_len = put->key_len,
        .stored_len = put->value_len, /* at most */
        .raw_len = put->is_stored ? put->raw_len : put->value_len,
        .kind = put->kind,
    };
    size_t entry_bytes = log_footer_entry_bytes(put->key_len, put->expire_at_ms);
    /* Both before compressing for nothing: a free buffer, and room in a segment. */
    if (!has_flight(w) && (w->open == NULL || room_of(w->open, entry_bytes) < record_size(&r))) {
        return AGAIN;
    }
    if (w->open == NULL && !is_large(w, record_size(&r), entry_bytes)) {
        TRY(room_ensure(w, record_size(&r), entry_bytes));
    }
    if (!payload_in_place(w, put, &r, entry_bytes)) {
        TRY(payload_prepare(w, put, &r));
    }
    *record_bytes_out = (uint32_t)record_size(&r);
    if (is_large(w, *record_bytes_out, entry_bytes)) {
        TRY(append_large(w, &r, put->hash, cookie, location_out));
    } else {
        TRY(room_ensure(w, *record_bytes_out, entry_bytes));
        record_place(w->open, &r, put->hash, cookie);
        *location_out = w->open->records[w->open->n_records - 1].location;
    }
    count_compression(put, &r);
    if (UNLIKELY(is_probe)) {
        st = log_flush(w);
        st = st == AGAIN ? OK : st; /* what is in flight is a probe as well */
    }
out:
    return st;
}

/* ---- life ---- */

enum status log_writer_create(struct log *log, struct device_queue *queue, struct codec *codec,
                              unsigned max_in_flight, bool is_reinsert, log_block_done_fn done,
                              void *arg, struct log_writer **out)
{
    *out = NULL;
    if (max_in_flight == 0 || done == NULL) {
        return INVALID;
    }
    struct log_writer *w = mem_zalloc(1, sizeof(*w));
    if (w == NULL) {
        return NO_MEMORY;
    }
    w->log = log;
    w->queue = queue;
    w->codec = codec;
    w->max_in_flight = max_in_flight;
    w->is_reinsert = is_reinsert;
    w->done = done;
    w->arg = arg;
    *out = w;
    return OK;
}

void log_writer_destroy(struct log_writer **writer)
{
    struct log_writer *w = *writer;
    *writer = NULL;
    if (w == NULL) {
        return;
    }
    while (w->n_in_flight > 0) {
        device_submit(w->queue);
        if (device_reap(w->queue) == 0) {
            struct pollfd p = {.fd = device_queue_fd(w->queue), .events = POLLIN};
            (void)poll(&p, 1, WAIT_MS); /* an early or late return only costs a turn */
        }
    }
    if (w->open != NULL) { /* never flushed: its records are nowhere */
        struct log_buffer *b = w->open;
        w->open = NULL;
        log_trim(w->log, &b->extent, 0);
        w->n_pending -= b->n_records;
        w->done(w->arg, CLOSED, b->records, b->n_records);
        buffer_free(w, b);
    }
    while (w->idle != NULL) {
        struct log_buffer *b = w->idle;
        w->idle = b->next;
        buffer_free(w, b);
    }
    memory_note(w->log, -(int64_t)w->scratch_bytes);
    mem_free(w->scratch);
    mem_free(w);
}

uint32_t log_writer_pending(const struct log_writer *w)
{
    return w->n_pending;
}

uint32_t log_writer_blocks_in_flight(const struct log_writer *w)
{
    return w->n_in_flight;
}

int64_t log_writer_oldest_us(const struct log_writer *w)
{
    return w->open != NULL && w->open->n_records > 0 ? w->open->opened_us : 0;
}
