/*
 * Purpose: the warm tier's log: segments of the device filled with blocks, each block written in one
 *   piece: header, records, footer (which lists hash, sequence, namespace, expiry, location, key of
 *   each record). Mechanism only: what is written, kept or dropped is decided by the engine.
 *
 *      segment  | block | block | block ...            (4 to 64 MiB, pre-allocated)
 *      block    | header | record | record ... | footer |   (at most block_bytes, multiple of 4 KiB)
 *
 *      FREE -> READY (generation durable) -> OPEN (being filled) -> SEALING -> SEALED (manifest in the
 *      catalogue) -> RECLAIMING -> FREE (generation + 1 durable)
 *
 * Threads: log_append and reads: the thread that owns the writer or queue. log_maintain, reclaim and
 *   *_sync functions: one background thread. Segment numbers (live bytes …) are atomics. Blocks are
 *   taken from the one open segment under the log's lock.
 * Errors: see each function. A failed block write quarantines the rest of its segment, and is retried
 *   once into another segment before the caller hears of it.
 */
#ifndef HEARTH_TIERS_LOG_H
#define HEARTH_TIERS_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"
#include "tiers/codec.h"
#include "tiers/device.h"
#include "tiers/record.h"
#include "tiers/rocks.h"
#include "tiers/snapshot.h"

struct log;
struct log_writer;

struct log_config {
    uint64_t segment_bytes; /* 0: by size, 4 to 64 MiB, at least 16 segments where possible */
    uint32_t block_bytes;   /* 64 KiB to 1 MiB */
    uint8_t uuid[16];       /* of the data directory: in every block header */
    /* Tells the background thread that log_maintain has work; from any thread, cheap. */
    void (*wake)(void *arg);
    void *wake_arg;
};

/* snapshot NULL: starts empty, all generations are raised durably first (blocks until done). Else the
 * segments' state comes from log_load. */
MUST_CHECK enum status log_open(const struct log_config *config, struct device *dev,
                                struct rocks *catalog, bool is_cold, struct log **out);
void log_close(struct log **log);
/* Segment table to and from a snapshot (section tags 'S...'). Blocks of an open segment are kept: it
 * is sealed as it is. */
MUST_CHECK enum status log_save(struct log *log, struct snapshot_writer *w);
MUST_CHECK enum status log_load(struct log *log, uint32_t tag, const void *data, size_t len);

/* ---- writing ---- */

struct log_entry { /* one record of a finished block */
    void *cookie;
    uint64_t hash;
    uint64_t location; /* INDEX_UNIT_BYTES units */
    uint64_t seq;
    uint32_t record_bytes;
};
/* OK: the block is on the device (written; volatile caches are the mode's business). IO, NO_SPACE:
 * it is not, the entries' values are only where the caller still has them. */
typedef void (*log_block_done_fn)(void *arg, enum status st, const struct log_entry *entries,
                                  uint32_t n_entries);

/* queue NULL: a background thread's writer, log_append and log_flush block and call done inline.
 * is_reinsert: counts bytes under the reason "reinsert". max_in_flight blocks at once. */
MUST_CHECK enum status log_writer_create(struct log *log, struct device_queue *queue,
                                         struct codec *codec, unsigned max_in_flight,
                                         bool is_reinsert, log_block_done_fn done, void *arg,
                                         struct log_writer **out);
/* Waits for blocks in flight. */
void log_writer_destroy(struct log_writer **w);

struct log_put {
    uint64_t hash;
    uint64_t seq;
    uint32_t ns;
    uint32_t chunk_no;
    int64_t expire_at_ms;
    const char *key;
    uint32_t key_len;
    const char *value; /* raw, compressed at `level`; or, is_stored, bytes as stored before */
    uint32_t value_len;
    uint32_t raw_len; /* is_stored */
    uint8_t kind;     /* enum record_kind */
    uint8_t codec;    /* is_stored */
    bool is_stored;
    int level;
};
/* Compresses into the open write buffer. OK: *location_out is where it will be once done says so.
 * AGAIN: all buffers are in flight, or no segment is READY but reclaim is under way: after the next
 * done or log_maintain. NO_SPACE: nothing can be freed. IO: the device has failed. TOO_BIG: key or
 * value beyond a record. */
MUST_CHECK enum status log_append(struct log_writer *w, const struct log_put *put, void *cookie,
                                  uint64_t *location_out, uint32_t *record_bytes_out);
/* Begins writing the partly filled block; nothing when it is empty. */
MUST_CHECK enum status log_flush(struct log_writer *w);
uint32_t log_writer_pending(const struct log_writer *w); /* records not yet done */
uint32_t log_writer_blocks_in_flight(const struct log_writer *w);
int64_t log_writer_oldest_us(const struct log_writer *w); /* of the open buffer; 0: empty */

/* ---- reading ---- */

struct log_read { /* caller's; alive until done */
    uint64_t location;
    uint8_t len_class; /* tiers/index.h */
    uint8_t reason;    /* enum log_reason */
    void (*done)(struct log_read *read, enum status st);
    /* log's */
    struct device_io io;
    struct log *log;
    struct device_queue *queue;
    uint32_t generation;
    uint32_t buffer_len;
    uint32_t skip;
};
enum log_reason { LOG_REASON_LOOKUP, LOG_REASON_RECLAIM, LOG_REASON_SCAN };
/* One device read; submitted by the owner's next device_submit. INVALID: no such place (then done is
 * not called). */
MUST_CHECK enum status log_read_begin(struct log *log, struct device_queue *q,
                                      struct log_read *read);
/* In done, st OK: verifies CRC, segment and generation. CORRUPT otherwise (counted). Points into the
 * read's buffer. */
MUST_CHECK enum status log_read_record(const struct log_read *read, struct record *out);
void log_read_finish(struct log_read *read); /* gives the buffer back; after done, always */
/* The same, blocking; *buffer_out is freed with free(). Background threads. */
MUST_CHECK enum status log_read_sync(struct log *log, uint64_t location, uint8_t len_class,
                                     struct record *out, void **buffer_out);

/* ---- accounting, told by the engine when it publishes or removes a slot ---- */
void log_note_live(struct log *log, uint64_t location, uint32_t bytes);
void log_note_dead(struct log *log, uint64_t location, uint32_t bytes);

/* ---- background ---- */

/* Writes manifests of filled segments, keeps segments READY. Blocks. NO_SPACE: no FREE segment: the
 * engine should reclaim. IO: the catalogue refused. */
MUST_CHECK enum status log_maintain(struct log *log);
/* True when fewer than the low watermark of segments are READY or FREE. */
bool log_wants_reclaim(const struct log *log);

enum log_victim { LOG_VICTIM_OLDEST, LOG_VICTIM_LEAST_LIVE };
/* A SEALED segment becomes RECLAIMING. One without live bytes comes first. NOT_FOUND. */
MUST_CHECK enum status log_reclaim_begin(struct log *log, enum log_victim which,
                                         uint32_t *segment_out);
void log_reclaim_abort(struct log *log, uint32_t segment); /* back to SEALED */
/* Its slots are out of the index: new generation durable, then FREE. */
MUST_CHECK enum status log_reclaim_finish(struct log *log, uint32_t segment);
uint64_t log_segment_live_bytes(const struct log *log, uint32_t segment);

/* Walks the landed blocks from the oldest segment to the newest. Position 0 begins. */
struct log_position {
    uint64_t segment_seq; /* order of opening; never reused */
    uint32_t block;
};
/* Moves *pos to the next landed block at or after it; false: none (yet). */
bool log_block_find(struct log *log, struct log_position *pos, uint32_t *segment_out);
/* Same within one segment (any state but FREE). */
uint32_t log_segment_blocks(struct log *log, uint32_t segment);
struct log_position log_end(struct log *log); /* first position not yet landed */

struct log_block { /* a whole block, or its footer alone, in memory */
    uint32_t segment;
    uint32_t generation;
    uint64_t offset; /* of the block on the device */
    uint32_t n_records;
    const char *footer;
    uint32_t footer_len;
    const char *bytes; /* whole block, NULL when only the footer was read */
    uint32_t bytes_len;
    void *buffer; /* DEVICE_ALIGN; allocated at first use, reused, freed by log_block_free */
    uint32_t buffer_len;
    uint32_t cursor, index;
};
/* Blocks. CORRUPT: header or footer do not verify. */
MUST_CHECK enum status log_block_read(struct log *log, uint32_t segment, uint32_t block,
                                      bool footer_only, enum log_reason reason,
                                      struct log_block *out);
void log_block_free(struct log_block *b);
struct log_footer_entry {
    uint64_t hash, seq, location;
    int64_t expire_at_ms;
    uint32_t ns;
    uint32_t record_bytes;
    uint8_t kind;
    const char *key;
    uint32_t key_len;
};
/* Next entry of the footer; false at its end. Only after a successful read; bounds are checked. */
bool log_block_next(struct log_block *b, struct log_footer_entry *out);
/* The record of an entry; whole blocks only. */
MUST_CHECK enum status log_block_record(const struct log *log, const struct log_block *b,
                                        const struct log_footer_entry *e, struct record *out);

/* Footer alone, asynchronously (SCAN). */
struct log_footer_read {
    uint32_t segment;
    uint32_t block;
    void (*done)(struct log_footer_read *read, enum status st); /* OK: `result` is filled */
    struct log_block result;
    struct device_io io;
    struct log *log;
    struct device_queue *queue;
};
MUST_CHECK enum status log_footer_read_begin(struct log *log, struct device_queue *q,
                                             struct log_footer_read *read);
void log_footer_read_finish(struct log_footer_read *read);

/* ---- state ---- */
enum log_health { LOG_OK, LOG_DEGRADED, LOG_FAILED };
enum log_health log_health(const struct log *log);
struct log_stats {
    uint64_t n_segments, segment_bytes, n_free, n_open, n_sealed;
    uint64_t used_bytes, live_bytes; /* of OPEN and SEALED segments */
    uint64_t memory_bytes;           /* tables and write buffers */
};
void log_stats(const struct log *log, struct log_stats *out);

#endif
