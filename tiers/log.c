/*
 * Design: the segment table. One segment is open at a time; a writer reserves an extent of it when it
 * opens a block (records need their location from the start), gives back what the block did not need,
 * and reports landing or failure. The states and who changes them stand in log_impl.h.
 *
 * Invariants
 *   1. Bytes are written at most once per generation of their segment: an extent is given back only
 *      where nothing was written, and a failed write burns its extent.
 *   2. Generations only grow, and a new one is durable before anything is written under it.
 *   3. A block is in `blocks` exactly when it has landed; its number there never changes while the
 *      segment lives, so a position (seq, number) is stable.
 *   4. n_reserved blocks always find room in `blocks`: landing cannot fail.
 *   5. The last segment that is READY or FREE belongs to reinsertion: reclaim always has one segment's
 *      room to move what lives.
 *
 * Holes: with several writers, a small block leaves a hole when another has reserved behind it. Holes
 *   of the open segment are offered first, so slow trickles from many writers do not eat a segment in
 *   steps of block_bytes.
 * Cost: 64 bytes of RAM per segment and 8 per block; a reservation is one short critical section per
 *   block.
 * Rejected: one open segment per writer (RAM and half-filled segments grow with the threads),
 *   reserving at flush time (records would be sealed with CRCs in a second pass over the block).
 */
#include "tiers/log_impl.h"

#include <string.h>

#include "engine/base/check.h"
#include "engine/base/fault.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/metrics.h"

#define LOG_EXTENT_MIN                                                                             \
    (16u << 10) /* smaller rests of a segment are not worth a block's own bytes */

void log_wake(struct log *log)
{
    if (log->config.wake != NULL) {
        log->config.wake(log->config.wake_arg);
    }
}

/* ---- states ---- */

void log_set_state_locked(struct log *log, uint32_t segment, enum log_segment_state to)
{
    static const uint8_t allowed[LOG_SEG_STATES] = {
        /* to, by from; SEALED from FREE is log_load */
        [LOG_SEG_FREE] = 1 << LOG_SEG_READY | 1 << LOG_SEG_SEALED,
        [LOG_SEG_READY] = 1 << LOG_SEG_OPEN,
        [LOG_SEG_OPEN] = 1 << LOG_SEG_SEALING,
        [LOG_SEG_SEALING] = 1 << LOG_SEG_SEALED,
        [LOG_SEG_SEALED] = 1 << LOG_SEG_RECLAIMING,
        [LOG_SEG_RECLAIMING] = 1 << LOG_SEG_SEALED | 1 << LOG_SEG_FREE,
    };
    struct log_segment *seg = &log->segments[segment];
    unsigned from = atomic_load_explicit(&seg->state, memory_order_relaxed);
    CHECK((allowed[from] >> to & 1) != 0);
    CHECK(to != LOG_SEG_SEALED || seg->n_reserved == 0);
    atomic_fetch_sub_explicit(&log->n_state[from], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&log->n_state[to], 1, memory_order_relaxed);
    atomic_store_explicit(&seg->state, (uint8_t)to, memory_order_release);
}

static unsigned state_of(const struct log *log, uint32_t segment)
{
    return atomic_load_explicit(&log->segments[segment].state, memory_order_acquire);
}

static uint32_t n_in_state(const struct log *log, enum log_segment_state state)
{
    return atomic_load_explicit(&log->n_state[state], memory_order_relaxed);
}

static uint32_t n_spare(const struct log *log)
{
    return n_in_state(log, LOG_SEG_READY) + n_in_state(log, LOG_SEG_FREE);
}

void log_order_push_locked(struct log *log, uint32_t segment)
{
    CHECK(log->n_order < log->n_segments);
    log->order[log->n_order++] = segment;
}

static void order_remove_locked(struct log *log, uint32_t segment) REQUIRES(log->lock)
{
    for (uint32_t i = 0; i < log->n_order; i++) {
        if (log->order[i] == segment) {
            memmove(&log->order[i], &log->order[i + 1],
                    (log->n_order - i - 1) * sizeof(log->order[0]));
            log->n_order--;
            return;
        }
    }
}

/* First position in `order` whose segment's seq is at least `seq`. */
static uint32_t order_find_locked(const struct log *log, uint64_t seq) REQUIRES(log->lock)
{
    uint32_t low = 0, high = log->n_order;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (log->segments[log->order[middle]].seq < seq) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

enum status log_blocks_grow_locked(struct log *log, struct log_segment *seg, uint32_t n)
{
    if (n <= seg->cap_blocks) {
        return OK;
    }
    uint32_t cap = seg->cap_blocks * 2 > n ? seg->cap_blocks * 2 : (n > 16 ? n : 16);
    struct log_block_ref *blocks = mem_realloc(seg->blocks, cap * sizeof(*blocks));
    if (blocks == NULL) {
        return NO_MEMORY;
    }
    atomic_fetch_add_explicit(&log->memory_bytes, (cap - seg->cap_blocks) * sizeof(*blocks),
                              memory_order_relaxed);
    seg->blocks = blocks;
    seg->cap_blocks = cap;
    return OK;
}

/* ---- reservation ---- */

static void open_close_locked(struct log *log) REQUIRES(log->lock)
{
    log_set_state_locked(log, log->open, LOG_SEG_SEALING);
    log->open = LOG_NONE;
    log->n_holes = 0;
}

/* Closes the open segment for the next READY one; without one it stays open for smaller blocks. */
static enum status open_next_locked(struct log *log, bool is_reinsert) REQUIRES(log->lock)
{
    uint32_t n_ready = n_in_state(log, LOG_SEG_READY), spare = n_spare(log);
    if (n_ready == 0 || (!is_reinsert && spare < 2)) {
        bool is_catalog_failing =
            atomic_load_explicit(&log->is_catalog_failing, memory_order_relaxed);
        if (n_ready == 0 && n_in_state(log, LOG_SEG_FREE) > 0) {
            return is_catalog_failing ? IO : AGAIN;
        }
        if (is_reinsert) {
            return NO_SPACE; /* only the caller itself could free some */
        }
        uint32_t n_freeable = n_in_state(log, LOG_SEG_SEALING) + n_in_state(log, LOG_SEG_SEALED) +
                              n_in_state(log, LOG_SEG_RECLAIMING);
        if (n_freeable == 0) {
            return NO_SPACE;
        }
        return is_catalog_failing ? IO : AGAIN;
    }
    for (uint32_t n = 0; n < log->n_segments; n++) { /* in turn: the device wears evenly */
        uint32_t i = (log->last_opened + 1 + n) % log->n_segments;
        struct log_segment *seg = &log->segments[i];
        if (state_of(log, i) != LOG_SEG_READY) {
            continue;
        }
        log->last_opened = i;
        if (log->open != LOG_NONE) {
            open_close_locked(log);
        }
        log_set_state_locked(log, i, LOG_SEG_OPEN);
        seg->seq = log->next_seq++;
        seg->tail = seg->n_numbered = seg->n_blocks = seg->used_bytes = 0;
        seg->is_quarantined = false;
        log_order_push_locked(log, i);
        log->open = i;
        log->n_holes = 0;
        return OK;
    }
    CHECK(!"n_state disagrees with the states");
    return NO_SPACE;
}

/* Takes an extent of the open segment; false: it has no room. Full size first, from the holes, then
 * from the tail; then whatever is large enough. */
static bool take_locked(struct log *log, uint32_t need, uint32_t want, uint32_t *offset_out,
                        uint32_t *bytes_out) REQUIRES(log->lock)
{
    struct log_segment *seg = &log->segments[log->open];
    uint32_t rest = (uint32_t)log->config.segment_bytes - seg->tail;
    uint32_t least = need > LOG_EXTENT_MIN ? need : LOG_EXTENT_MIN;
    least = least < want ? least : want;
    for (int is_last_try = 0; is_last_try < 2; is_last_try++) {
        uint32_t enough = is_last_try ? least : want;
        for (uint32_t i = 0; i < log->n_holes; i++) {
            struct log_hole *hole = &log->holes[i];
            if (hole->bytes < enough) {
                continue;
            }
            *offset_out = hole->offset;
            *bytes_out = hole->bytes < want ? hole->bytes : want;
            hole->offset += *bytes_out;
            hole->bytes -= *bytes_out;
            if (hole->bytes == 0) {
                *hole = log->holes[--log->n_holes];
            }
            return true;
        }
        if (rest >= enough) {
            *offset_out = seg->tail;
            *bytes_out = rest < want ? rest : want;
            seg->tail += *bytes_out;
            return true;
        }
    }
    return false;
}

enum status log_reserve(struct log *log, uint32_t need, uint32_t want, bool is_reinsert,
                        struct log_extent *out)
{
    DCHECK(need % LOG_PAGE == 0 && want % LOG_PAGE == 0 && need <= want);
    if (!atomic_load_explicit(&log->is_loaded, memory_order_relaxed)) {
        return CLOSED;
    }
    enum status st = OK;
    uint32_t offset = 0, bytes = 0;
    bool is_wake = false;
    lock_acquire(&log->lock);
    if (!is_reinsert && n_spare(log) == 0) { /* what is left is for reinsertion */
        st = atomic_load_explicit(&log->is_catalog_failing, memory_order_relaxed) ? IO : AGAIN;
        is_wake = true;
        goto out;
    }
    while (log->open == LOG_NONE || !take_locked(log, need, want, &offset, &bytes)) {
        is_wake = true;
        TRY(open_next_locked(log, is_reinsert));
    }
    struct log_segment *seg = &log->segments[log->open];
    /* Under the lock, yet bounded: a few KiB, doubling. */
    st = log_blocks_grow_locked(log, seg, seg->n_blocks + seg->n_reserved + 1);
    if (st != OK) {
        if (offset + bytes == seg->tail) {
            seg->tail = offset;
        }
        goto out;
    }
    seg->n_reserved++;
    *out = (struct log_extent){
        .segment = log->open,
        .generation = atomic_load_explicit(&seg->generation, memory_order_relaxed),
        .segment_seq = seg->seq,
        .offset = log_segment_offset(log, log->open) + offset,
        .bytes = bytes,
        .block_no = seg->n_numbered++,
    };
out:
    lock_release(&log->lock);
    if (is_wake) {
        log_wake(log);
    }
    return st;
}

static void hole_add_locked(struct log *log, uint32_t offset, uint32_t bytes) REQUIRES(log->lock)
{
    struct log_segment *seg = &log->segments[log->open];
    for (uint32_t i = 0; i < log->n_holes; i++) { /* joins its neighbours */
        struct log_hole *h = &log->holes[i];
        if (h->offset + h->bytes == offset || offset + bytes == h->offset) {
            offset = h->offset < offset ? h->offset : offset;
            bytes += h->bytes;
            *h = log->holes[--log->n_holes];
            i = UINT32_MAX; /* from the first again: the grown one may touch another */
        }
    }
    if (offset + bytes == seg->tail) {
        seg->tail = offset;
    } else if (log->n_holes < LOG_HOLES_MAX) {
        log->holes[log->n_holes++] = (struct log_hole){offset, bytes};
    }
}

void log_trim(struct log *log, struct log_extent *extent, uint32_t used_bytes)
{
    bool is_wake = false;
    lock_acquire(&log->lock);
    struct log_segment *seg = &log->segments[extent->segment];
    if (used_bytes < extent->bytes && log->open == extent->segment) {
        uint32_t offset = (uint32_t)(extent->offset - log_segment_offset(log, extent->segment));
        hole_add_locked(log, offset + used_bytes, extent->bytes - used_bytes);
    }
    extent->bytes = used_bytes;
    if (used_bytes == 0) {
        seg->n_reserved--;
        is_wake = seg->n_reserved == 0 && state_of(log, extent->segment) == LOG_SEG_SEALING;
    }
    lock_release(&log->lock);
    if (is_wake) {
        log_wake(log);
    }
}

void log_landed(struct log *log, const struct log_extent *extent, uint32_t footer_len)
{
    lock_acquire(&log->lock);
    struct log_segment *seg = &log->segments[extent->segment];
    CHECK(seg->n_reserved > 0 && seg->n_blocks < seg->cap_blocks);
    uint32_t offset = (uint32_t)(extent->offset - log_segment_offset(log, extent->segment));
    seg->blocks[seg->n_blocks++] = (struct log_block_ref){
        .page = (uint16_t)(offset / LOG_PAGE),
        .pages = (uint16_t)(extent->bytes / LOG_PAGE),
        .footer_len = footer_len,
    };
    seg->used_bytes += extent->bytes;
    seg->n_reserved--;
    atomic_fetch_add_explicit(&log->used_bytes, extent->bytes, memory_order_relaxed);
    bool is_wake = seg->n_reserved == 0 && state_of(log, extent->segment) == LOG_SEG_SEALING;
    lock_release(&log->lock);
    if (is_wake) {
        log_wake(log);
    }
}

void log_write_failed(struct log *log, const struct log_extent *extent, bool is_quarantine)
{
    lock_acquire(&log->lock);
    struct log_segment *seg = &log->segments[extent->segment];
    CHECK(seg->n_reserved > 0);
    seg->n_reserved--;
    bool is_news = is_quarantine && !seg->is_quarantined;
    if (is_quarantine) {
        seg->is_quarantined = true;
        if (log->open == extent->segment) {
            open_close_locked(log);
        }
    }
    lock_release(&log->lock);
    if (is_news) {
        log_warn("log", "segment quarantined", "segment=%u generation=%u offset=%llu bytes=%u",
                 extent->segment, extent->generation, (unsigned long long)extent->offset,
                 extent->bytes);
    }
    log_wake(log);
}

/* ---- open, close ---- */

static enum status geometry_choose(struct log_config *c, uint64_t device_bytes,
                                   uint32_t *n_segments_out)
{
    const uint64_t mib = UINT64_C(1) << 20;
    if (device_bytes > LOG_DEVICE_BYTES_MAX) {
        log_warn("log", "device larger than the index can address", "bytes=%llu used=%llu",
                 (unsigned long long)device_bytes, (unsigned long long)LOG_DEVICE_BYTES_MAX);
        device_bytes = LOG_DEVICE_BYTES_MAX;
    }
    uint64_t bytes = c->segment_bytes;
    if (bytes == 0) {
        bytes = device_bytes / 64;
        bytes = bytes < 4 * mib ? 4 * mib : bytes > 64 * mib ? 64 * mib : bytes;
        if (device_bytes / bytes < 16) {
            bytes = device_bytes / 16;
        }
        bytes = bytes < LOG_SEGMENT_BYTES_MIN ? LOG_SEGMENT_BYTES_MIN : bytes;
    }
    bytes -= bytes % LOG_PAGE;
    if (bytes < LOG_SEGMENT_BYTES_MIN || bytes > LOG_SEGMENT_BYTES_MAX ||
        device_bytes / bytes < LOG_SEGMENTS_MIN || c->block_bytes % LOG_PAGE != 0 ||
        c->block_bytes < 64u << 10 || c->block_bytes > 1u << 20) {
        log_error("log", "geometry refused", "device_bytes=%llu segment_bytes=%llu block_bytes=%u",
                  (unsigned long long)device_bytes, (unsigned long long)bytes, c->block_bytes);
        return INVALID;
    }
    c->segment_bytes = bytes;
    *n_segments_out = (uint32_t)(device_bytes / bytes);
    return OK;
}

enum status log_open(const struct log_config *config, struct device *dev, struct rocks *catalog,
                     bool is_cold, struct log **out)
{
    enum status st = OK;
    *out = NULL;
    struct log *log = mem_zalloc(1, sizeof(*log));
    if (log == NULL) {
        return NO_MEMORY;
    }
    log->config = *config;
    log->device = dev;
    log->catalog = catalog;
    log->open = LOG_NONE;
    log->last_opened = LOG_NONE; /* the first one comes next */
    log->next_seq = 1;
    lock_init(&log->lock, LOCK_RANK_LOG);
    TRY(geometry_choose(&log->config, device_size(dev), &log->n_segments));
    log->segments = mem_zalloc(log->n_segments, sizeof(log->segments[0]));
    log->order = mem_zalloc(log->n_segments, sizeof(log->order[0]));
    if (log->segments == NULL || log->order == NULL) {
        st = NO_MEMORY;
        goto out;
    }
    atomic_store(&log->memory_bytes, sizeof(*log) + log->n_segments * (sizeof(log->segments[0]) +
                                                                       sizeof(log->order[0])));
    uint32_t pct3 = (log->n_segments * 3 + 99) / 100;
    log->low_watermark = pct3 > 3 ? pct3 : 3;
    log->ready_target = log->n_segments >= 64 ? 4 : 2;
    atomic_store(&log->n_state[LOG_SEG_FREE], log->n_segments);
    TRY(log_store_open(log, is_cold));
    atomic_store(&log->is_loaded, is_cold);
    metric_set(M_DEVICE_STATE, LOG_OK);
    *out = log;
    log = NULL;
out:
    log_close(&log);
    return st;
}

void log_close(struct log **log)
{
    struct log *l = *log;
    *log = NULL;
    if (l == NULL) {
        return;
    }
    for (uint32_t i = 0; l->segments != NULL && i < l->n_segments; i++) {
        mem_free(l->segments[i].blocks);
    }
    mem_free(l->segments);
    mem_free(l->order);
    mem_free(l);
}

/* ---- maintenance ---- */

struct log_change { /* segments about to change state together */
    uint32_t segment;
    enum log_segment_state to;
};
#define LOG_CHANGES_MAX 16

static unsigned changes_collect(struct log *log, struct log_change out[LOG_CHANGES_MAX])
    EXCLUDES(log->lock)
{
    unsigned n = 0;
    lock_acquire(&log->lock);
    if (n_in_state(log, LOG_SEG_SEALING) > 0) {
        for (uint32_t i = 0; i < log->n_order && n < LOG_CHANGES_MAX; i++) {
            uint32_t s = log->order[i];
            if (state_of(log, s) == LOG_SEG_SEALING && log->segments[s].n_reserved == 0) {
                out[n++] = (struct log_change){s, LOG_SEG_SEALED};
            }
        }
    }
    uint32_t n_ready = n_in_state(log, LOG_SEG_READY);
    for (uint32_t i = 0; i < log->n_segments && n < LOG_CHANGES_MAX; i++) {
        if (n_ready >= log->ready_target || n_in_state(log, LOG_SEG_FREE) == 0) {
            break;
        }
        uint32_t s = (log->next_free + i) % log->n_segments;
        if (state_of(log, s) == LOG_SEG_FREE) {
            out[n++] = (struct log_change){s, LOG_SEG_READY};
            n_ready++;
        }
    }
    lock_release(&log->lock);
    return n;
}

static enum status changes_apply(struct log *log, const struct log_change *changes, unsigned n)
    EXCLUDES(log->lock)
{
    enum status st = OK;
    struct rocks_batch *batch = rocks_batch_create();
    if (batch == NULL) {
        return NO_MEMORY;
    }
    for (unsigned i = 0; i < n; i++) {
        uint32_t s = changes[i].segment;
        TRY(log_store_put(log, batch, s, changes[i].to,
                          atomic_load_explicit(&log->segments[s].generation,
                                               memory_order_relaxed)));
    }
    /* Not durable: a generation became so when it was raised, manifests serve a crash recovery that
     * the journal's fold makes durable. */
    TRY(rocks_write(log->catalog, batch, false));
    lock_acquire(&log->lock);
    for (unsigned i = 0; i < n; i++) {
        log->segments[changes[i].segment].row_state = (uint8_t)changes[i].to;
        log_set_state_locked(log, changes[i].segment, changes[i].to);
        if (changes[i].to == LOG_SEG_READY) {
            log->next_free = (changes[i].segment + 1) % log->n_segments;
        }
    }
    lock_release(&log->lock);
out:
    rocks_batch_destroy(&batch);
    return st;
}

enum status log_maintain(struct log *log)
{
    if (!atomic_load_explicit(&log->is_loaded, memory_order_relaxed)) {
        return CLOSED;
    }
    struct log_change changes[LOG_CHANGES_MAX];
    for (;;) {
        unsigned n = changes_collect(log, changes);
        if (n == 0) {
            break;
        }
        enum status st = changes_apply(log, changes, n);
        atomic_store_explicit(&log->is_catalog_failing, st != OK, memory_order_relaxed);
        if (st != OK) {
            log_warn("log", "catalogue refused a segment change", "status=\"%s\"", status_text(st));
            return st;
        }
    }
    return n_in_state(log, LOG_SEG_READY) < 2 ? NO_SPACE : OK;
}

bool log_wants_reclaim(const struct log *log)
{
    return n_spare(log) < log->low_watermark;
}

/* ---- reclaim ---- */

uint64_t log_segment_live_bytes(const struct log *log, uint32_t segment)
{
    int64_t live = atomic_load_explicit(&log->segments[segment].live_bytes, memory_order_relaxed);
    return live > 0 ? (uint64_t)live : 0;
}

enum status log_reclaim_begin(struct log *log, enum log_victim which, uint32_t *segment_out)
{
    uint32_t victim = LOG_NONE;
    uint64_t least = UINT64_MAX;
    lock_acquire(&log->lock);
    for (uint32_t i = 0; i < log->n_order; i++) {
        uint32_t s = log->order[i];
        if (state_of(log, s) != LOG_SEG_SEALED) {
            continue;
        }
        uint64_t live = log_segment_live_bytes(log, s);
        /* An empty one costs nothing to reclaim; otherwise the first in order is the oldest. */
        if (victim == LOG_NONE || live == 0 || (which == LOG_VICTIM_LEAST_LIVE && live < least)) {
            victim = s;
            least = live;
        }
        if (live == 0) {
            break;
        }
    }
    if (victim != LOG_NONE) {
        log_set_state_locked(log, victim, LOG_SEG_RECLAIMING);
    }
    lock_release(&log->lock);
    *segment_out = victim;
    return victim != LOG_NONE ? OK : NOT_FOUND;
}

void log_reclaim_abort(struct log *log, uint32_t segment)
{
    lock_acquire(&log->lock);
    log_set_state_locked(log, segment, LOG_SEG_SEALED);
    lock_release(&log->lock);
}

enum status log_reclaim_finish(struct log *log, uint32_t segment)
{
    enum status st = OK;
    struct log_segment *seg = &log->segments[segment];
    CHECK(state_of(log, segment) == LOG_SEG_RECLAIMING);
    uint32_t generation = atomic_load_explicit(&seg->generation, memory_order_relaxed) + 1;
    struct rocks_batch *batch = rocks_batch_create();
    if (batch == NULL) {
        return NO_MEMORY;
    }
    KILL_POINT(RECLAIM_BEFORE_GENERATION);
    TRY(log_store_put(log, batch, segment, LOG_SEG_FREE, generation));
    TRY(rocks_write(log->catalog, batch, true));
    KILL_POINT(RECLAIM_AFTER_GENERATION);

    lock_acquire(&log->lock);
    atomic_fetch_sub_explicit(&log->used_bytes, seg->used_bytes, memory_order_relaxed);
    atomic_store_explicit(&seg->live_bytes, 0, memory_order_relaxed);
    atomic_store_explicit(&seg->generation, generation, memory_order_release);
    seg->row_state = LOG_SEG_FREE;
    seg->n_blocks = seg->used_bytes = seg->tail = 0;
    order_remove_locked(log, segment);
    log_set_state_locked(log, segment, LOG_SEG_FREE);
    lock_release(&log->lock);
    metric_add(M_SEGMENTS_RECLAIMED, 1);
    log_wake(log);
out:
    rocks_batch_destroy(&batch);
    return st;
}

/* ---- accounting ---- */

static void live_add(struct log *log, uint64_t location, int64_t delta)
{
    uint64_t segment = location * INDEX_UNIT_BYTES / log->config.segment_bytes;
    if (segment < log->n_segments) {
        atomic_fetch_add_explicit(&log->segments[segment].live_bytes, delta, memory_order_relaxed);
    }
}

void log_note_live(struct log *log, uint64_t location, uint32_t bytes)
{
    live_add(log, location, bytes);
}

void log_note_dead(struct log *log, uint64_t location, uint32_t bytes)
{
    live_add(log, location, -(int64_t)bytes);
}

/* ---- walking ---- */

bool log_block_find(struct log *log, struct log_position *pos, uint32_t *segment_out)
{
    bool is_found = false;
    lock_acquire(&log->lock);
    for (uint32_t i = order_find_locked(log, pos->segment_seq); i < log->n_order; i++) {
        const struct log_segment *seg = &log->segments[log->order[i]];
        uint32_t block = seg->seq == pos->segment_seq ? pos->block : 0;
        if (block < seg->n_blocks) {
            *pos = (struct log_position){.segment_seq = seg->seq, .block = block};
            *segment_out = log->order[i];
            is_found = true;
            break;
        }
    }
    lock_release(&log->lock);
    return is_found;
}

uint32_t log_segment_blocks(struct log *log, uint32_t segment)
{
    lock_acquire(&log->lock);
    uint32_t n = log->segments[segment].n_blocks;
    lock_release(&log->lock);
    return n;
}

struct log_position log_end(struct log *log)
{
    lock_acquire(&log->lock);
    struct log_position end = {.segment_seq = log->next_seq, .block = 0};
    for (uint32_t i = 0; i < log->n_order; i++) {
        const struct log_segment *seg = &log->segments[log->order[i]];
        if (log->order[i] == log->open || seg->n_reserved > 0) {
            end = (struct log_position){.segment_seq = seg->seq, .block = seg->n_blocks};
            break;
        }
    }
    lock_release(&log->lock);
    return end;
}

void log_stats(const struct log *log, struct log_stats *out)
{
    *out = (struct log_stats){
        .n_segments = log->n_segments,
        .segment_bytes = log->config.segment_bytes,
        .n_free = n_spare(log),
        .n_open = n_in_state(log, LOG_SEG_OPEN) + n_in_state(log, LOG_SEG_SEALING),
        .n_sealed = n_in_state(log, LOG_SEG_SEALED) + n_in_state(log, LOG_SEG_RECLAIMING),
        .used_bytes = atomic_load_explicit(&log->used_bytes, memory_order_relaxed),
        .memory_bytes = atomic_load_explicit(&log->memory_bytes, memory_order_relaxed),
    };
    for (uint32_t i = 0; i < log->n_segments; i++) {
        out->live_bytes += log_segment_live_bytes(log, i);
    }
}
