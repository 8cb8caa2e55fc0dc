/*
 * Design: a block as it lies on the device, and those who walk: reclaim reads whole blocks, SCAN and
 *   recovery only footers, which lie at the end of the block so that their place follows from the
 *   block's length.
 *
 *       0                64                                                    total_len
 *      +--------+-----------+---+--------+--- zeros ---+---------+-----+---------+
 *      | header | record    |gap| record |             | entry   | ... | trailer |
 *      +--------+-----------+---+--------+-------------+---------+-----+---------+
 *                                                       `------ footer_len ------'
 *
 *      entry:  | hash 8 | seq 48, kind 4, flags 12 | ns 4 | offset 17, size 17, key_len 16, zero 14 |
 *              | expiry 8 (flag 1) | key |                     offset and size in 16-byte units
 *
 * Invariants
 *   1. Header and footer each carry a CRC seeded with segment, generation and place, so either alone
 *      proves what it belongs to.
 *   2. After verification every entry is still checked against the bounds of its block.
 *   3. Nothing is returned from a segment that was reclaimed while it was read.
 */
#include "tiers/log_impl.h"

#include <string.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"
#include "engine/base/metrics.h"
#include "tiers/crc32c.h"

struct entry {
    uint64_t hash;
    uint64_t identity; /* seq 48 | kind 4 | flags 12 */
    uint64_t place;    /* offset 17 | size 17 | key_len 16 | zero 14; offset, size in units */
    uint32_t ns;
};
#define ENTRY_BYTES 28u
static_assert(offsetof(struct entry, ns) + sizeof(uint32_t) == ENTRY_BYTES, "on disk");

#define ENTRY_KIND_SHIFT 48
#define ENTRY_FLAGS_SHIFT 52
#define ENTRY_SIZE_SHIFT 17
#define ENTRY_KEY_SHIFT 34
#define ENTRY_SPARE_SHIFT 50
#define ENTRY_UNITS_MASK ((UINT64_C(1) << 17) - 1)
#define ENTRY_FLAG_EXPIRY 1u
static_assert(LOG_BLOCK_BYTES_MAX / RECORD_ALIGN < 1u << 17, "offset and size have 17 bits");

/* ---- writing ---- */

size_t log_footer_entry_bytes(uint32_t key_len, int64_t expire_at_ms)
{
    return ENTRY_BYTES + (expire_at_ms != RECORD_NO_EXPIRY ? sizeof(expire_at_ms) : 0) + key_len;
}

void log_footer_entry_encode(const struct record *r, uint64_t hash, uint32_t offset,
                             uint32_t record_bytes, char *dst)
{
    bool has_expiry = r->expire_at_ms != RECORD_NO_EXPIRY;
    struct entry e = {
        .hash = hash,
        .identity = r->seq | (uint64_t)r->kind << ENTRY_KIND_SHIFT |
                    (uint64_t)(has_expiry ? ENTRY_FLAG_EXPIRY : 0) << ENTRY_FLAGS_SHIFT,
        .place = offset / RECORD_ALIGN |
                 (uint64_t)(record_bytes / RECORD_ALIGN) << ENTRY_SIZE_SHIFT |
                 (uint64_t)r->key_len << ENTRY_KEY_SHIFT,
        .ns = r->ns,
    };
    memcpy(dst, &e, ENTRY_BYTES);
    dst += ENTRY_BYTES;
    if (has_expiry) {
        memcpy(dst, &r->expire_at_ms, sizeof(r->expire_at_ms));
        dst += sizeof(r->expire_at_ms);
    }
    if (r->key_len != 0) {
        memcpy(dst, r->key, r->key_len);
    }
}

/* From behind the field itself to the end of the struct. */
static uint32_t header_crc(const struct log_block_header *h, uint32_t seed)
{
    size_t from = offsetof(struct log_block_header, format);
    return crc32c(seed, (const char *)h + from, sizeof(*h) - from);
}

static uint32_t trailer_crc(const struct log_block_trailer *t, const char *entries, uint32_t seed)
{
    size_t from = offsetof(struct log_block_trailer, n_records);
    return crc32c(crc32c(seed, entries, t->entries_len), (const char *)t + from, sizeof(*t) - from);
}

void log_block_seal(const struct log *log, const struct log_extent *extent, char *bytes,
                    uint32_t records_end, const char *entries, uint32_t entries_len,
                    uint32_t n_records)
{
    uint32_t seed =
        record_seed(extent->segment, extent->generation, extent->offset / INDEX_UNIT_BYTES);
    uint32_t footer_len = entries_len + (uint32_t)sizeof(struct log_block_trailer);
    uint32_t footer_offset = extent->bytes - footer_len;
    CHECK(records_end <= footer_offset);
    memset(bytes + records_end, 0, footer_offset - records_end);
    memcpy(bytes + footer_offset, entries, entries_len);
    struct log_block_trailer trailer = {
        .magic = LOG_FOOTER_MAGIC,
        .n_records = n_records,
        .entries_len = entries_len,
        .total_len = extent->bytes,
    };
    trailer.crc32c = trailer_crc(&trailer, entries, seed);
    memcpy(bytes + footer_offset + entries_len, &trailer, sizeof(trailer));
    struct log_block_header header = {
        .magic = LOG_BLOCK_MAGIC,
        .format = LOG_FORMAT,
        .segment = extent->segment,
        .generation = extent->generation,
        .block_no = extent->block_no,
        .total_len = extent->bytes,
        .footer_offset = footer_offset,
        .footer_len = footer_len,
        .n_records = n_records,
        .segment_seq = extent->segment_seq,
    };
    memcpy(header.uuid, log->config.uuid, sizeof(header.uuid));
    header.crc32c = header_crc(&header, seed);
    memcpy(bytes, &header, sizeof(header));
}

/* ---- verifying ---- */

static uint32_t block_seed(const struct log_block *b)
{
    return record_seed(b->segment, b->generation, b->offset / INDEX_UNIT_BYTES);
}

enum status log_footer_verify(struct log_block *b, const char *footer, uint32_t footer_len,
                              uint32_t total_len)
{
    struct log_block_trailer t;
    if (footer_len < sizeof(t) || footer_len > total_len) {
        return CORRUPT;
    }
    memcpy(&t, footer + footer_len - sizeof(t), sizeof(t));
    if (t.magic != LOG_FOOTER_MAGIC || t.entries_len != footer_len - sizeof(t) ||
        t.total_len != total_len || t.n_records > t.entries_len / ENTRY_BYTES || t.zero != 0 ||
        t.crc32c != trailer_crc(&t, footer, block_seed(b))) {
        return CORRUPT;
    }
    b->footer = footer;
    b->footer_len = t.entries_len;
    b->n_records = t.n_records;
    b->bytes_len = total_len;
    b->cursor = b->index = 0;
    return OK;
}

enum status log_block_header_verify(const struct log *log, const struct log_block *b,
                                    const char *bytes, uint32_t total_len)
{
    struct log_block_header h;
    if (total_len < sizeof(h)) {
        return CORRUPT;
    }
    memcpy(&h, bytes, sizeof(h));
    bool is_good = h.magic == LOG_BLOCK_MAGIC && h.crc32c == header_crc(&h, block_seed(b)) &&
                   h.format == LOG_FORMAT && h.segment == b->segment &&
                   h.generation == b->generation && h.total_len == total_len &&
                   (uint64_t)h.footer_offset + h.footer_len == total_len &&
                   memcmp(h.uuid, log->config.uuid, sizeof(h.uuid)) == 0;
    return is_good ? OK : CORRUPT;
}

bool log_block_next(struct log_block *b, struct log_footer_entry *out)
{
    struct entry e = {0};
    uint32_t rest = b->footer_len - b->cursor;
    if (b->index >= b->n_records || rest < ENTRY_BYTES) {
        return false;
    }
    const char *p = b->footer + b->cursor;
    memcpy(&e, p, ENTRY_BYTES);
    unsigned flags = (unsigned)(e.identity >> ENTRY_FLAGS_SHIFT);
    bool has_expiry = (flags & ENTRY_FLAG_EXPIRY) != 0;
    uint32_t key_len = (uint32_t)(e.place >> ENTRY_KEY_SHIFT) & RECORD_KEY_MAX;
    uint32_t offset = (uint32_t)(e.place & ENTRY_UNITS_MASK) * RECORD_ALIGN;
    uint32_t size = (uint32_t)(e.place >> ENTRY_SIZE_SHIFT & ENTRY_UNITS_MASK) * RECORD_ALIGN;
    uint32_t fixed = ENTRY_BYTES + (has_expiry ? (uint32_t)sizeof(int64_t) : 0);
    if (rest < fixed + key_len || e.place >> ENTRY_SPARE_SHIFT != 0 ||
        (flags & ~ENTRY_FLAG_EXPIRY) != 0 || size == 0 ||
        offset < sizeof(struct log_block_header) || offset + size > b->bytes_len) {
        b->index = b->n_records; /* what follows cannot be trusted either */
        return false;
    }
    *out = (struct log_footer_entry){
        .hash = e.hash,
        .seq = e.identity & ((UINT64_C(1) << ENTRY_KIND_SHIFT) - 1),
        .location = (b->offset + offset) / INDEX_UNIT_BYTES,
        .expire_at_ms = RECORD_NO_EXPIRY,
        .ns = e.ns,
        .record_bytes = size,
        .kind = (uint8_t)(e.identity >> ENTRY_KIND_SHIFT & 15),
        .key = p + fixed,
        .key_len = key_len,
    };
    if (has_expiry) {
        memcpy(&out->expire_at_ms, p + ENTRY_BYTES, sizeof(out->expire_at_ms));
    }
    b->cursor += fixed + key_len;
    b->index++;
    return true;
}

enum status log_block_record(const struct log *log, const struct log_block *b,
                             const struct log_footer_entry *e, struct record *out)
{
    uint64_t offset = e->location * INDEX_UNIT_BYTES - b->offset;
    if (b->bytes == NULL || offset > b->bytes_len || e->record_bytes > b->bytes_len - offset) {
        return INVALID;
    }
    enum status st = record_decode(b->bytes + offset, e->record_bytes,
                                   record_seed(b->segment, b->generation, e->location), out);
    if (st != OK || out->seq != e->seq || out->ns != e->ns || out->key_len != e->key_len ||
        (e->key_len != 0 && memcmp(out->key, e->key, e->key_len) != 0)) {
        metric_add(M_DEVICE_ERRORS_CHECKSUM, 1);
        return CORRUPT;
    }
    out->hash = e->hash;
    return OK;
}

/* ---- reading ---- */

/* Place of a landed block. NOT_FOUND: there is none of this number (any more). */
static enum status block_locate(struct log *log, uint32_t segment, uint32_t block,
                                struct log_block *out, struct log_block_ref *ref_out)
    EXCLUDES(log->lock)
{
    enum status st = NOT_FOUND;
    if (segment >= log->n_segments) {
        return INVALID;
    }
    lock_acquire(&log->lock);
    const struct log_segment *seg = &log->segments[segment];
    if (block < seg->n_blocks) {
        *ref_out = seg->blocks[block];
        out->segment = segment;
        out->generation = atomic_load_explicit(&seg->generation, memory_order_relaxed);
        out->offset = log_segment_offset(log, segment) + (uint64_t)ref_out->page * LOG_PAGE;
        st = OK;
    }
    lock_release(&log->lock);
    return st;
}

static bool is_reclaimed(const struct log *log, const struct log_block *b)
{
    return atomic_load_explicit(&log->segments[b->segment].generation, memory_order_acquire) !=
           b->generation;
}

static void block_clear(struct log_block *b)
{
    b->footer = b->bytes = NULL;
    b->footer_len = b->bytes_len = b->n_records = b->cursor = b->index = 0;
}

/* The last pages of the block, as far as the footer reaches. */
static uint32_t footer_span(const struct log_block_ref *ref)
{
    uint32_t total = (uint32_t)ref->pages * LOG_PAGE, span = log_page_up(ref->footer_len);
    return span < total ? span : total;
}

/* What was read must verify, unless the segment is another one by now. */
static enum status verdict(struct log *log, const struct log_block *b, enum status st)
{
    if (st == CORRUPT && !is_reclaimed(log, b)) {
        metric_add(M_DEVICE_ERRORS_CHECKSUM, 1);
        log_note_io(log, false, CORRUPT);
    }
    return st == OK && is_reclaimed(log, b) ? CORRUPT : st;
}

static enum status buffer_ensure(struct log_block *b, uint32_t len)
{
    if (b->buffer_len >= len) {
        return OK;
    }
    mem_free(b->buffer);
    b->buffer_len = 0;
    b->buffer = mem_aligned_alloc(DEVICE_ALIGN, len);
    if (b->buffer == NULL) {
        return NO_MEMORY;
    }
    b->buffer_len = len;
    return OK;
}

enum status log_block_read(struct log *log, uint32_t segment, uint32_t block, bool footer_only,
                           enum log_reason reason, struct log_block *out)
{
    enum status st = OK;
    struct log_block_ref ref;
    block_clear(out);
    TRY(block_locate(log, segment, block, out, &ref));
    uint32_t total = (uint32_t)ref.pages * LOG_PAGE;
    uint32_t len = footer_only ? footer_span(&ref) : total;
    TRY(buffer_ensure(out, len));
    st = device_read(log->device, out->offset + total - len, out->buffer, len);
    log_note_io(log, false, st);
    TRY(st);
    log_count_read(reason, len);
    const char *bytes = out->buffer;
    if (!footer_only) {
        st = log_block_header_verify(log, out, bytes, total);
        out->bytes = bytes;
    }
    if (st == OK) {
        st = log_footer_verify(out, bytes + len - ref.footer_len, ref.footer_len, total);
    }
    st = verdict(log, out, st);
out:
    if (st != OK) {
        block_clear(out);
    }
    return st;
}

void log_block_free(struct log_block *b)
{
    mem_free(b->buffer);
    *b = (struct log_block){0};
}

/* ---- footers, asynchronously ---- */

static void on_footer(struct device_io *io, enum status st)
{
    struct log_footer_read *read =
        (struct log_footer_read *)((char *)io - offsetof(struct log_footer_read, io));
    struct log_block *b = &read->result;
    log_note_io(read->log, false, st);
    if (st == OK) {
        uint32_t footer_len = b->footer_len, total = b->bytes_len;
        log_count_read(LOG_REASON_SCAN, io->len);
        st = verdict(read->log, b,
                     log_footer_verify(b, (const char *)io->buf + io->len - footer_len, footer_len,
                                       total));
    }
    if (st != OK) {
        block_clear(b);
    }
    read->done(read, st);
}

enum status log_footer_read_begin(struct log *log, struct device_queue *q,
                                  struct log_footer_read *read)
{
    struct log_block_ref ref;
    struct log_block *b = &read->result;
    *b = (struct log_block){0};
    read->io.buf = NULL;
    enum status st = block_locate(log, read->segment, read->block, b, &ref);
    if (st != OK) {
        return st;
    }
    uint32_t total = (uint32_t)ref.pages * LOG_PAGE, len = footer_span(&ref);
    void *buf = device_buffer_get(q, len);
    if (buf == NULL) {
        return NO_MEMORY;
    }
    read->log = log;
    read->queue = q;
    b->footer_len = ref.footer_len; /* with the trailer, until it is verified */
    b->bytes_len = total;
    read->io = (struct device_io){
        .offset = b->offset + total - len,
        .len = len,
        .buf = buf,
        .done = on_footer,
    };
    device_begin(q, &read->io);
    return OK;
}

void log_footer_read_finish(struct log_footer_read *read)
{
    if (read->io.buf != NULL) {
        device_buffer_put(read->queue, read->io.buf, read->io.len);
        read->io.buf = NULL;
    }
    block_clear(&read->result);
}
