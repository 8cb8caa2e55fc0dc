/*
 * Purpose: what the log's own files share: the segment table, extents, blocks on disk, health.
 *   log.c: segment table and states · log_store.c: its rows in catalogue and snapshot ·
 *   log_write.c: writers · log_read.c: records · log_block.c: whole blocks and footers ·
 *   log_health.c: ok, degraded, failed.
 * Threads: as in tiers/log.h; fields name their regime.
 * Errors: as in tiers/log.h. Private: only tiers/log*.c, their unit tests and fuzz targets.
 */
#ifndef HEARTH_TIERS_LOG_IMPL_H
#define HEARTH_TIERS_LOG_IMPL_H

#include <assert.h>
#include <stdatomic.h>

#include "engine/base/bytes.h"
#include "engine/base/lock.h"
#include "tiers/index.h"
#include "tiers/log.h"

#define LOG_PAGE DEVICE_ALIGN
#define LOG_FORMAT 1
#define LOG_NONE UINT32_MAX
#define LOG_SEGMENTS_MIN 8
#define LOG_SEGMENT_BYTES_MIN (UINT32_C(2) << 20)   /* holds the largest block */
#define LOG_SEGMENT_BYTES_MAX (UINT32_C(256) << 20) /* pages of a segment fit 16 bits */
#define LOG_DEVICE_BYTES_MAX ((UINT64_C(1) << INDEX_LOCATION_BITS) * INDEX_UNIT_BYTES)

/*
 *   FREE --log_maintain--> READY --log_reserve--> OPEN --full, or a write failed--> SEALING
 *   SEALING --log_maintain--> SEALED <--begin/abort--> RECLAIMING --log_reclaim_finish--> FREE
 *
 *   FREE        nothing refers to it; its generation is durable and was never written under
 *   READY       the catalogue has its row
 *   OPEN        the one segment blocks are taken from
 *   SEALING     no block is taken any more; some may still be in flight (n_reserved > 0)
 *   SEALED      all blocks have landed or failed; the catalogue has its manifest
 *   RECLAIMING  the engine takes its slots out of the index; still readable
 *   segment_set_state() is the only writer.
 */
enum log_segment_state { /* in catalogue and snapshot; never renumber */
                         LOG_SEG_FREE = 0,
                         LOG_SEG_READY = 1,
                         LOG_SEG_OPEN = 2,
                         LOG_SEG_SEALING = 3,
                         LOG_SEG_SEALED = 4,
                         LOG_SEG_RECLAIMING = 5,
};
#define LOG_SEG_STATES 6

struct log_block_ref { /* one landed block; on disk in manifests */
    uint16_t page;     /* from the segment's start */
    uint16_t pages;
    uint32_t footer_len; /* entries and trailer; they end where the block ends */
};
static_assert(sizeof(struct log_block_ref) == 8, "on disk");

struct log_segment {
    /* atomic, written under the log lock: release, so that a reader that sees the new generation or
     * state also sees what came before; readers take no lock */
    _Atomic uint8_t state;
    _Atomic uint32_t generation;
    /* atomic, relaxed: a statistic */
    _Atomic int64_t live_bytes;
    /* log lock */
    uint8_t row_state; /* as the catalogue knows it */
    bool is_quarantined;
    uint64_t seq;
    uint32_t tail;       /* bytes from the start that were ever reserved */
    uint32_t n_reserved; /* blocks reserved and neither landed nor failed nor given back */
    uint32_t n_numbered; /* block numbers given out */
    uint32_t n_blocks;   /* landed */
    uint32_t cap_blocks; /* >= n_blocks + n_reserved */
    uint32_t used_bytes; /* of landed blocks */
    struct log_block_ref *blocks;
};

struct log_extent { /* room for one block */
    uint32_t segment;
    uint32_t generation;
    uint64_t segment_seq;
    uint64_t offset; /* on the device */
    uint32_t bytes;
    uint32_t block_no;
};

struct log_hole { /* of the open segment, in bytes from its start */
    uint32_t offset;
    uint32_t bytes;
};
#define LOG_HOLES_MAX 32

struct log {
    /* immutable after open */
    struct log_config config;
    struct device *device;
    struct rocks *catalog;
    uint32_t n_segments;
    uint32_t low_watermark;
    uint32_t ready_target;
    uint32_t generation_floor; /* of segments without a row */
    struct log_segment *segments;

    struct lock lock;
    /* log lock */
    uint32_t open;   /* LOG_NONE */
    uint32_t *order; /* segments by seq; those that are OPEN or later */
    uint32_t n_order;
    uint32_t last_opened;
    uint32_t next_free; /* where the search for a FREE one begins */
    uint64_t next_seq;
    struct log_hole holes[LOG_HOLES_MAX];
    uint32_t n_holes;
    uint32_t n_to_load; /* segments log_load still has to bring */
    int64_t burst_started_us, last_error_us;
    uint32_t burst_errors;

    /* atomic, relaxed: written under the log lock, read for statistics and early answers */
    _Atomic uint32_t n_state[LOG_SEG_STATES];
    _Atomic uint64_t used_bytes;
    _Atomic uint64_t memory_bytes;
    _Atomic bool is_loaded;
    _Atomic bool is_catalog_failing; /* the last log_maintain was refused */
    /* atomic, relaxed: health; see log_health.c */
    _Atomic int health;
    _Atomic uint32_t write_failures, read_failures; /* in a row */
    _Atomic int64_t next_probe_us;
};

/* ---- log.c ---- */

static inline uint64_t log_segment_offset(const struct log *log, uint32_t segment)
{
    return (uint64_t)segment * log->config.segment_bytes;
}
void log_set_state_locked(struct log *log, uint32_t segment, enum log_segment_state to)
    REQUIRES(log->lock);
/* Room for a block of at least `need` and at most `want` bytes, both multiples of LOG_PAGE. Statuses
 * as log_append. */
MUST_CHECK enum status log_reserve(struct log *log, uint32_t need, uint32_t want, bool is_reinsert,
                                   struct log_extent *out);
/* The block takes only used_bytes of it; 0: there is no block. */
void log_trim(struct log *log, struct log_extent *extent, uint32_t used_bytes);
void log_landed(struct log *log, const struct log_extent *extent, uint32_t footer_len);
/* The write failed: the space is not used again in this generation; is_quarantine: nor is the rest of
 * the segment. */
void log_write_failed(struct log *log, const struct log_extent *extent, bool is_quarantine);
void log_wake(struct log *log);
/* Room for one more block reference. */
MUST_CHECK enum status log_blocks_grow_locked(struct log *log, struct log_segment *seg, uint32_t n)
    REQUIRES(log->lock);
void log_order_push_locked(struct log *log, uint32_t segment) REQUIRES(log->lock);

/* ---- log_store.c ---- */

/* Catalogue at open: reads geometry and rows; cold raises all generations first. INVALID: another
 * geometry. */
MUST_CHECK enum status log_store_open(struct log *log, bool is_cold);
/* Adds the segment's row in `state` with `generation` to the batch. */
MUST_CHECK enum status log_store_put(struct log *log, struct rocks_batch *b, uint32_t segment,
                                     enum log_segment_state state, uint32_t generation);

/* ---- log_health.c ---- */

void log_note_io(struct log *log, bool is_write, enum status st);
/* FAILED: true once a second, for the append that probes the device. */
bool log_probe_begin(struct log *log);

/* ---- blocks on disk (log_block.c) ---- */

#define LOG_BLOCK_MAGIC UINT32_C(0x4b4c4248)  /* "HBLK" */
#define LOG_FOOTER_MAGIC UINT32_C(0x544f4648) /* "HFOT" */

struct log_block_header {
    uint32_t magic;
    uint32_t crc32c; /* of all that follows, seeded with the block's place and generation */
    uint16_t format;
    uint16_t zero;
    uint32_t segment;
    uint32_t generation;
    uint32_t block_no; /* order of reservation in its segment */
    uint32_t total_len;
    uint32_t footer_offset;
    uint32_t footer_len;
    uint32_t n_records;
    uint64_t segment_seq;
    uint8_t uuid[16];
};
static_assert(sizeof(struct log_block_header) == 64, "on disk");
static_assert(offsetof(struct log_block_header, segment_seq) == 40, "on disk");
static_assert(sizeof(struct log_block_header) % RECORD_ALIGN == 0, "the first record is aligned");

struct log_block_trailer { /* the last bytes of a block */
    uint32_t magic;
    uint32_t crc32c; /* of the entries, then of what follows here; seeded as the header's */
    uint32_t n_records;
    uint32_t entries_len;
    uint32_t total_len;
    uint32_t zero;
};
static_assert(sizeof(struct log_block_trailer) == 24, "on disk");

/* Bytes of a footer entry. */
size_t log_footer_entry_bytes(uint32_t key_len, int64_t expire_at_ms);
void log_footer_entry_encode(const struct record *r, uint64_t hash, uint32_t offset,
                             uint32_t record_bytes, char *dst);
/* Fills header, footer and trailer of a block of extent->bytes whose records end at records_end. */
void log_block_seal(const struct log *log, const struct log_extent *extent, char *bytes,
                    uint32_t records_end, const char *entries, uint32_t entries_len,
                    uint32_t n_records);
/* Verifies the footer (trailer included) of a block whose segment, generation and offset are set, and
 * fills in the rest. CORRUPT. */
MUST_CHECK enum status log_footer_verify(struct log_block *b, const char *footer,
                                         uint32_t footer_len, uint32_t total_len);
MUST_CHECK enum status log_block_header_verify(const struct log *log, const struct log_block *b,
                                               const char *bytes, uint32_t total_len);

#define LOG_RECORD_BYTES_MAX (RECORD_STORED_MAX + RECORD_KEY_MAX + 1 + 64)
#define LOG_BLOCK_BYTES_MAX                                                                        \
    (LOG_RECORD_BYTES_MAX + RECORD_KEY_MAX + 1 + 64 + (uint32_t)sizeof(struct log_block_header) +  \
     (uint32_t)sizeof(struct log_block_trailer) + LOG_PAGE)
static_assert(LOG_BLOCK_BYTES_MAX < LOG_SEGMENT_BYTES_MIN, "a segment holds the largest block");

static inline uint32_t log_page_up(uint64_t n)
{
    return (uint32_t)bytes_align_up(n, LOG_PAGE);
}

/* Where a record at `location` lies. INVALID: outside, or nothing is there. */
MUST_CHECK enum status log_locate(const struct log *log, uint64_t location, uint32_t *segment_out,
                                  uint32_t *generation_out);
void log_count_read(unsigned reason, uint64_t bytes);

#endif
