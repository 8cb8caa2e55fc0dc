/*
 * Design: the segments' rows in the catalogue (written at READY, seal and reclaim) and in the snapshot
 * (written at a clean stop). Both use one encoding, pictured in FORMAT.md:
 *
 *      catalogue  "log"            -> struct geometry
 *                 "seg/" 8 hex     -> struct row, block references
 *      snapshot   section "SLOG"   -> struct table
 *                 section "SSEG"   -> struct listed, struct row, block references; one per segment that
 *                                     holds blocks
 *
 * Invariants
 *   1. A segment without a row has the generation of the geometry's floor; a cold start deletes all rows
 *      and raises the floor above every generation there was, in one durable batch.
 *   2. A snapshot is believed only where it agrees with the catalogue: geometry, uuid, the generation of
 *      every segment, and every sealed segment listed.
 *   3. The first floor of a new catalogue comes from the uuid, so what an earlier life left on the device
 *      does not verify.
 *
 * Errors: CORRUPT for bytes that do not fit together; INVALID for another geometry.
 */
#include "tiers/log_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"
#include "tiers/crc32c.h"

#define GEOMETRY_KEY "log"
#define ROW_PREFIX "seg/"
#define ROW_KEY_BYTES (sizeof(ROW_PREFIX) - 1 + 8)

static const uint32_t tag_table = 0x474f4c53;   /* "SLOG" */
static const uint32_t tag_segment = 0x47455353; /* "SSEG" */

struct geometry {
    uint32_t format;
    uint32_t n_segments;
    uint64_t segment_bytes;
    uint32_t generation_floor;
    uint32_t zero;
    uint8_t uuid[16];
};
static_assert(sizeof(struct geometry) == 40, "on disk");

struct row {
    uint32_t generation;
    uint8_t state;
    uint8_t is_quarantined;
    uint16_t zero;
    uint64_t seq;
    uint32_t n_blocks;
    uint32_t used_bytes;
};
static_assert(sizeof(struct row) == 24, "on disk");

struct table {
    struct geometry geometry;
    uint64_t next_seq;
    uint32_t n_listed;
    uint32_t zero;
};
static_assert(sizeof(struct table) == 56, "on disk");

struct listed {
    uint32_t segment;
    uint32_t zero;
    int64_t live_bytes;
};
static_assert(sizeof(struct listed) == 16, "on disk");

static struct geometry geometry_of(const struct log *log)
{
    struct geometry g = {
        .format = LOG_FORMAT,
        .n_segments = log->n_segments,
        .segment_bytes = log->config.segment_bytes,
        .generation_floor = log->generation_floor,
    };
    memcpy(g.uuid, log->config.uuid, sizeof(g.uuid));
    return g;
}

/* ---- rows ---- */

/* malloc'ed: `prefix` bytes left free, then the row in `state` with its blocks. NULL: no memory. */
static char *row_encode(struct log *log, uint32_t segment, enum log_segment_state state,
                        uint32_t generation, size_t prefix, size_t *len_out) EXCLUDES(log->lock)
{
    const struct log_segment *seg = &log->segments[segment];
    bool has_blocks = state != LOG_SEG_FREE && state != LOG_SEG_READY;
    uint32_t cap = log_segment_blocks(log, segment);
    /* A segment that is sealed or reclaimed gets no more blocks between the two looks. */
    size_t cap_bytes = prefix + sizeof(struct row) + cap * sizeof(struct log_block_ref);
    char *out = mem_zalloc(1, cap_bytes);
    if (out == NULL) {
        return NULL;
    }
    struct row row = {.generation = generation, .state = (uint8_t)state};
    lock_acquire(&log->lock);
    if (has_blocks) {
        CHECK(seg->n_blocks == cap);
        row.is_quarantined = seg->is_quarantined;
        row.seq = seg->seq;
        row.n_blocks = cap;
        row.used_bytes = seg->used_bytes;
        if (cap != 0) {
            memcpy(out + prefix + sizeof(row), seg->blocks, cap * sizeof(seg->blocks[0]));
        }
    }
    lock_release(&log->lock);
    memcpy(out + prefix, &row, sizeof(row));
    *len_out = prefix + sizeof(row) + row.n_blocks * sizeof(struct log_block_ref);
    return out;
}

/* The row at `data`, bounds checked. Its blocks follow it. */
static enum status row_decode(const struct log *log, const void *data, size_t len,
                              struct row *row_out)
{
    if (len < sizeof(*row_out)) {
        return CORRUPT;
    }
    memcpy(row_out, data, sizeof(*row_out));
    uint64_t pages = log->config.segment_bytes / LOG_PAGE;
    if (row_out->n_blocks > pages || row_out->state >= LOG_SEG_STATES || row_out->zero != 0 ||
        row_out->is_quarantined > 1 || row_out->used_bytes > log->config.segment_bytes ||
        len - sizeof(*row_out) != row_out->n_blocks * sizeof(struct log_block_ref)) {
        return CORRUPT;
    }
    return OK;
}

enum status log_store_put(struct log *log, struct rocks_batch *b, uint32_t segment,
                          enum log_segment_state state, uint32_t generation)
{
    size_t len;
    char *row = row_encode(log, segment, state, generation, 0, &len);
    if (row == NULL) {
        return NO_MEMORY;
    }
    char key[ROW_KEY_BYTES + 1];
    snprintf(key, sizeof(key), ROW_PREFIX "%08x", segment);
    rocks_batch_put(b, key, ROW_KEY_BYTES, row, len);
    mem_free(row);
    return OK;
}

/* ---- catalogue at open ---- */

struct rows {
    struct log *log;
    uint32_t generation_max;
    struct rocks_batch *deletes; /* cold */
};

static enum status row_segment(const void *key, size_t key_len, uint32_t *segment_out)
{
    char text[9] = {0};
    char *end;
    if (key_len != ROW_KEY_BYTES) {
        return CORRUPT;
    }
    memcpy(text, (const char *)key + sizeof(ROW_PREFIX) - 1, 8);
    *segment_out = (uint32_t)strtoul(text, &end, 16);
    return *end == 0 ? OK : CORRUPT;
}

/* Any geometry: only the generation is looked at. */
static enum status row_visit_cold(void *arg, const void *key, size_t key_len, const void *value,
                                  size_t value_len)
{
    struct rows *rows = arg;
    struct row row;
    if (value_len < sizeof(row)) {
        return CORRUPT;
    }
    memcpy(&row, value, sizeof(row));
    if (row.generation > rows->generation_max) {
        rows->generation_max = row.generation;
    }
    rocks_batch_delete(rows->deletes, key, key_len);
    return OK;
}

static enum status row_visit_warm(void *arg, const void *key, size_t key_len, const void *value,
                                  size_t value_len)
{
    struct rows *rows = arg;
    struct log *log = rows->log;
    struct row row;
    uint32_t segment;
    enum status st = row_segment(key, key_len, &segment);
    if (st != OK || segment >= log->n_segments || row_decode(log, value, value_len, &row) != OK) {
        return CORRUPT;
    }
    log->segments[segment].row_state = row.state;
    atomic_store(&log->segments[segment].generation, row.generation);
    return OK;
}

static enum status store_open_cold(struct log *log, const struct geometry *old)
{
    enum status st = OK;
    struct rows rows = {.log = log, .deletes = rocks_batch_create()};
    if (rows.deletes == NULL) {
        return NO_MEMORY;
    }
    if (old == NULL) {
        rows.generation_max = crc32c(0, log->config.uuid, sizeof(log->config.uuid)) >> 2;
    } else {
        rows.generation_max = old->generation_floor;
    }
    TRY(rocks_visit(log->catalog, ROW_PREFIX, sizeof(ROW_PREFIX) - 1, row_visit_cold, &rows));
    log->generation_floor = rows.generation_max + 1;
    struct geometry g = geometry_of(log);
    rocks_batch_put(rows.deletes, GEOMETRY_KEY, sizeof(GEOMETRY_KEY) - 1, &g, sizeof(g));
    TRY(rocks_write(log->catalog, rows.deletes, true));
    for (uint32_t i = 0; i < log->n_segments; i++) {
        atomic_store(&log->segments[i].generation, log->generation_floor);
    }
out:
    rocks_batch_destroy(&rows.deletes);
    return st;
}

enum status log_store_open(struct log *log, bool is_cold)
{
    void *value = NULL;
    size_t len = 0;
    struct geometry old;
    enum status st = rocks_get(log->catalog, GEOMETRY_KEY, sizeof(GEOMETRY_KEY) - 1, &value, &len);
    if (st == NOT_FOUND && is_cold) {
        return store_open_cold(log, NULL);
    }
    if (st != OK) {
        goto out;
    }
    if (len != sizeof(old)) {
        st = CORRUPT;
        goto out;
    }
    memcpy(&old, value, sizeof(old));
    if (is_cold) {
        st = store_open_cold(log, &old);
        goto out;
    }
    log->generation_floor = old.generation_floor;
    struct geometry now = geometry_of(log);
    if (memcmp(&old, &now, sizeof(old)) != 0) {
        st = INVALID;
        goto out;
    }
    for (uint32_t i = 0; i < log->n_segments; i++) {
        atomic_store(&log->segments[i].generation, log->generation_floor);
    }
    struct rows rows = {.log = log};
    TRY(rocks_visit(log->catalog, ROW_PREFIX, sizeof(ROW_PREFIX) - 1, row_visit_warm, &rows));
    log->n_to_load = LOG_NONE; /* until the table came */
out:
    mem_free(value);
    return st;
}

/* ---- snapshot ---- */

/* The open segment becomes SEALING; then log_maintain can seal it. */
static enum status seal_all(struct log *log) EXCLUDES(log->lock)
{
    lock_acquire(&log->lock);
    if (log->open != LOG_NONE) {
        log_set_state_locked(log, log->open, LOG_SEG_SEALING);
        log->open = LOG_NONE;
        log->n_holes = 0;
    }
    lock_release(&log->lock);
    enum status st = log_maintain(log);
    return st == NO_SPACE ? OK : st; /* no READY ones are needed any more */
}

static enum status segment_save(struct log *log, struct snapshot_writer *w, uint32_t segment)
{
    const struct log_segment *seg = &log->segments[segment];
    struct listed listed = {
        .segment = segment,
        .live_bytes = atomic_load_explicit(&seg->live_bytes, memory_order_relaxed),
    };
    size_t len;
    char *bytes = row_encode(log, segment, LOG_SEG_SEALED,
                             atomic_load_explicit(&seg->generation, memory_order_relaxed),
                             sizeof(listed), &len);
    if (bytes == NULL) {
        return NO_MEMORY;
    }
    memcpy(bytes, &listed, sizeof(listed));
    enum status st = snapshot_write(w, tag_segment, bytes, len);
    mem_free(bytes);
    return st;
}

enum status log_save(struct log *log, struct snapshot_writer *w)
{
    enum status st = OK;
    TRY(seal_all(log));
    lock_acquire(&log->lock);
    struct table table = {
        .geometry = geometry_of(log),
        .next_seq = log->next_seq,
        .n_listed = log->n_order,
    };
    bool is_settled = atomic_load(&log->n_state[LOG_SEG_SEALING]) == 0;
    lock_release(&log->lock);
    if (!is_settled) { /* a writer still has a block */
        return AGAIN;
    }
    TRY(snapshot_write(w, tag_table, &table, sizeof(table)));
    /* In the order of opening: log_load pushes them in the same. Nothing changes `order` any more. */
    for (uint32_t i = 0; i < table.n_listed; i++) {
        lock_acquire(&log->lock);
        uint32_t segment = log->order[i];
        lock_release(&log->lock);
        TRY(segment_save(log, w, segment));
    }
out:
    return st;
}

static enum status table_load_locked(struct log *log, const void *data, size_t len)
    REQUIRES(log->lock)
{
    struct table table;
    if (len != sizeof(table) || log->n_to_load != LOG_NONE) {
        return CORRUPT;
    }
    memcpy(&table, data, sizeof(table));
    struct geometry now = geometry_of(log);
    if (memcmp(&table.geometry, &now, sizeof(now)) != 0) {
        return INVALID;
    }
    if (table.n_listed > log->n_segments || table.next_seq < 1 || table.zero != 0) {
        return CORRUPT;
    }
    log->next_seq = table.next_seq;
    log->n_to_load = table.n_listed;
    return OK;
}

/* Blocks within the segment, footers within their block; together no larger than the segment. */
static bool blocks_are_sane(const struct log *log, const struct row *row,
                            const struct log_block_ref *blocks)
{
    uint64_t segment_pages = log->config.segment_bytes / LOG_PAGE, used = 0;
    for (uint32_t i = 0; i < row->n_blocks; i++) {
        const struct log_block_ref *b = &blocks[i];
        used += b->pages;
        if (b->pages == 0 || (uint64_t)b->page + b->pages > segment_pages ||
            (uint64_t)b->pages * LOG_PAGE > LOG_BLOCK_BYTES_MAX ||
            b->footer_len < sizeof(struct log_block_trailer) ||
            b->footer_len > b->pages * LOG_PAGE - sizeof(struct log_block_header)) {
            return false;
        }
    }
    return used * LOG_PAGE == row->used_bytes && used <= segment_pages;
}

static enum status segment_load_locked(struct log *log, const char *data, size_t len)
    REQUIRES(log->lock)
{
    struct listed listed;
    struct row row;
    if (len < sizeof(listed) || log->n_to_load == 0 || log->n_to_load == LOG_NONE) {
        return CORRUPT;
    }
    memcpy(&listed, data, sizeof(listed));
    if (listed.segment >= log->n_segments || listed.zero != 0 ||
        row_decode(log, data + sizeof(listed), len - sizeof(listed), &row) != OK) {
        return CORRUPT;
    }
    struct log_segment *seg = &log->segments[listed.segment];
    uint64_t last_seq = log->n_order == 0 ? 0 : log->segments[log->order[log->n_order - 1]].seq;
    if (atomic_load(&seg->state) != LOG_SEG_FREE || seg->row_state != LOG_SEG_SEALED ||
        row.state != LOG_SEG_SEALED || row.generation != atomic_load(&seg->generation) ||
        row.seq <= last_seq || row.seq >= log->next_seq) {
        return CORRUPT;
    }
    enum status st = log_blocks_grow_locked(log, seg, row.n_blocks);
    if (st != OK) {
        return st;
    }
    if (row.n_blocks != 0) {
        memcpy(seg->blocks, data + sizeof(listed) + sizeof(row),
               row.n_blocks * sizeof(seg->blocks[0]));
    }
    if (!blocks_are_sane(log, &row, seg->blocks)) {
        return CORRUPT;
    }
    seg->seq = row.seq;
    seg->n_blocks = seg->n_numbered = row.n_blocks;
    seg->used_bytes = row.used_bytes;
    seg->is_quarantined = row.is_quarantined;
    atomic_store(&seg->live_bytes, listed.live_bytes);
    atomic_fetch_add(&log->used_bytes, row.used_bytes);
    log_set_state_locked(log, listed.segment, LOG_SEG_SEALED);
    log_order_push_locked(log, listed.segment);
    log->n_to_load--;
    return OK;
}

/* All listed segments came: is every one that the catalogue calls sealed among them? */
static enum status load_check(const struct log *log)
{
    for (uint32_t i = 0; i < log->n_segments; i++) {
        if (log->segments[i].row_state == LOG_SEG_SEALED &&
            atomic_load(&log->segments[i].state) != LOG_SEG_SEALED) {
            return CORRUPT;
        }
    }
    return OK;
}

enum status log_load(struct log *log, uint32_t tag, const void *data, size_t len)
{
    if (atomic_load(&log->is_loaded)) {
        return INVALID;
    }
    enum status st;
    lock_acquire(&log->lock);
    if (tag == tag_table) {
        st = table_load_locked(log, data, len);
    } else if (tag == tag_segment) {
        st = segment_load_locked(log, data, len);
    } else {
        st = INVALID;
    }
    bool is_all = st == OK && log->n_to_load == 0;
    if (is_all) {
        st = load_check(log);
    }
    lock_release(&log->lock);
    if (is_all && st == OK) {
        atomic_store(&log->is_loaded, true);
        log_wake(log);
    }
    return st;
}
