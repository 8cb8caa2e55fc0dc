/*
 * Making room on NVMe. Segments are reclaimed whole, the oldest first: a record that was hit since it was
 * written goes into a new block (its hits start again at 0), everything else leaves the index. In
 * `noeviction` every live record moves, and the segment with the least of them is taken.
 *
 *      for each block: footer -> each entry, under its shard's lock:
 *          not in the index at exactly this location .......... dead, nothing to do
 *          namespace flushed, or expired ...................... slot removed
 *          also hot ........................................... slot removed, the item is dirty again
 *          not hit, and may be evicted ........................ slot removed: evicted
 *          else ............................................... moved: copied as stored, then, on the
 *                                                               device, slot compare-and-swapped
 *      all blocks done -> generation raised durably -> segment free
 *
 * Invariants
 *  1. A move happens only if the index still holds the identical location when the copy has landed.
 *  2. CLEAN is cleared under the shard's lock before, in the same hold, the slot goes.
 *  3. The segment is freed only when no slot can name it: every entry of every block was looked at. A
 *     block whose footer cannot be read makes its slots unreachable, not wrong: their reads will fail
 *     on the generation.
 */
#include <stdlib.h>

#include "engine/base/clock.h"
#include "engine/base/fault.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/options.h"
#include "engine/engine_impl.h"

enum { POLICY_ALLKEYS, POLICY_VOLATILE, POLICY_NOEVICTION };

struct reclaimer {
    struct codec *codec;
    struct log_writer *writer;
    struct log_writer *large_writer;
    struct log_block block;
    bool is_out_of_space; /* a live record could not be moved */
};

struct move { /* a record on its way to a new block */
    uint64_t old_location;
    uint8_t old_class;
    int64_t expire_at_ms;
};

enum verdict { RECORD_DEAD, RECORD_GONE, RECORD_KEPT, RECORD_KEPT_LARGE };

/* ---- moving ---- */

static void move_done(void *arg, enum status st, const struct log_entry *entries, uint32_t n)
{
    struct engine *e = arg;
    for (uint32_t i = 0; i < n; i++) {
        struct move *move = entries[i].cookie;
        struct index_slot slot = {.location = entries[i].location,
                                  .len_class = index_class(entries[i].record_bytes)};
        struct shard *s = shard_of(e, entries[i].hash);
        if (st != OK) {
            e->reclaimer->is_out_of_space = true;
        } else {
            lock_acquire(&s->lock);
            if (index_replace(&s->index, entries[i].hash, move->old_location, slot)) {
                log_note_live(e->log, slot.location, index_class_bytes(slot.len_class));
                expire_note_warm(e, slot.location, move->expire_at_ms);
                log_note_dead(e->log, move->old_location, index_class_bytes(move->old_class));
                metric_add(M_WARM_ADMIT_REINSERT, 1);
            }
            lock_release(&s->lock);
        }
        mem_free(move);
    }
}

static enum status move_record(struct engine *e, const struct log_footer_entry *entry,
                               struct index_slot slot)
{
    struct reclaimer *r = e->reclaimer;
    struct record rec;
    enum status st = log_block_record(e->log, &r->block, entry, &rec);
    if (st != OK) {
        return st;
    }
    struct move *move = mem_alloc(sizeof(*move));
    if (move == NULL) {
        return NO_MEMORY;
    }
    *move = (struct move){.old_location = slot.location,
                          .old_class = slot.len_class,
                          .expire_at_ms = rec.expire_at_ms};
    struct log_put put = {.hash = entry->hash,
                          .seq = rec.seq,
                          .ns = rec.ns,
                          .expire_at_ms = rec.expire_at_ms,
                          .key = rec.key,
                          .key_len = rec.key_len,
                          .value = rec.stored,
                          .value_len = rec.stored_len,
                          .raw_len = rec.raw_len,
                          .kind = rec.kind,
                          .codec = rec.codec,
                          .is_stored = true};
    uint64_t location;
    uint32_t bytes;
    SEQ_POINT(RECLAIM_BEFORE_REINSERT);
    KILL_POINT(RECLAIM_BEFORE_REINSERT);
    st = log_append(r->writer, &put, move, &location, &bytes);
    if (st != OK) {
        mem_free(move);
    }
    return st;
}

/* ---- judging ---- */

static bool find_slot(struct shard *s, const struct log_footer_entry *entry, struct index_slot *out)
{
    struct index_slot slots[INDEX_MATCH_MAX];
    unsigned n = index_match(&s->index, entry->hash, slots);
    for (unsigned i = 0; i < n; i++) {
        if (slots[i].location == entry->location) {
            *out = slots[i];
            return true;
        }
    }
    return false;
}

static bool must_stay(int64_t expire_at_ms)
{
    int64_t policy = option_i64(OPT_MAXMEMORY_POLICY);
    return policy == POLICY_NOEVICTION ||
           (policy == POLICY_VOLATILE && expire_at_ms == RECORD_NO_EXPIRY);
}

/* REQUIRES the shard's lock. What becomes of a record whose slot is live. */
static enum verdict judge_live(struct engine *e, struct shard *s,
                               const struct log_footer_entry *entry, struct index_slot slot)
{
    uint16_t ns_slot;
    struct namespace *ns = namespace_of_id(e, entry->ns, &ns_slot);
    if (ns == NULL) {
        (void)warm_remove_locked(e, s, entry->hash, slot);
        return RECORD_GONE;
    }
    struct item *it = table_find(&s->table, entry->hash, ns_slot, entry->key, entry->key_len);
    bool is_expired =
        entry->expire_at_ms != RECORD_NO_EXPIRY && entry->expire_at_ms <= clock_wall_ms();
    if (it != NULL) {
        bool was_clean = (item_flags(it) & ITEM_CLEAN) != 0;
        item_clear_flag(it, ITEM_CLEAN);
        (void)warm_remove_locked(e, s, entry->hash, slot);
        namespace_count(ns, was_clean ? 0 : -1); /* an unsettled key had been counted twice */
        return RECORD_GONE;
    }
    if (!is_expired && (slot.hits > 0 || must_stay(entry->expire_at_ms))) {
        return entry->kind == RECORD_HEAD ? RECORD_KEPT_LARGE : RECORD_KEPT;
    }
    (void)warm_remove_locked(e, s, entry->hash, slot);
    namespace_count(ns, -1);
    metric_add(is_expired ? M_WARM_EXPIRED : M_WARM_EVICT_RECLAIM, 1);
    metric_add(is_expired ? M_EXPIRED_KEYS : M_EVICTED_KEYS, 1);
    return RECORD_GONE;
}

static enum verdict judge(struct engine *e, const struct log_footer_entry *entry,
                          struct index_slot *slot_out)
{
    struct shard *s = shard_of(e, entry->hash);
    enum verdict verdict = RECORD_DEAD;
    lock_acquire(&s->lock);
    if (entry->kind == RECORD_CHUNK) { /* stands for its whole value */
        struct large_value *lv = large_find_locked(s, entry->hash, entry->seq);
        if (lv != NULL) {
            struct log_footer_entry head = *entry;
            head.kind = RECORD_HEAD;
            head.location = lv->head_location;
            head.key = lv->key;
            head.key_len = lv->key_len;
            if (find_slot(s, &head, slot_out)) {
                verdict = judge_live(e, s, &head, *slot_out);
            }
        }
    } else if (find_slot(s, entry, slot_out)) {
        verdict = judge_live(e, s, entry, *slot_out);
    }
    lock_release(&s->lock);
    return verdict;
}

/* A record that had to stay could not be moved. */
static void move_failed(struct engine *e, const struct log_footer_entry *entry,
                        struct index_slot slot, enum status st)
{
    if ((st == NO_SPACE || st == AGAIN) && must_stay(entry->expire_at_ms)) {
        e->reclaimer->is_out_of_space = true;
        return;
    }
    struct shard *s = shard_of(e, entry->hash);
    uint16_t ns_slot;
    lock_acquire(&s->lock);
    if (warm_remove_locked(e, s, entry->hash, slot)) {
        struct namespace *ns = namespace_of_id(e, entry->ns, &ns_slot);
        if (ns != NULL) {
            namespace_count(ns, -1);
        }
        metric_add(M_EVICTED_KEYS, 1);
        metric_add(M_WARM_EVICT_RECLAIM, 1);
    }
    lock_release(&s->lock);
}

/* ---- a segment ---- */

/* The footer alone tells whether anything must be copied; only then the whole block is read. */
static void reclaim_block(struct engine *e, uint32_t segment, uint32_t n, bool is_whole)
{
    struct reclaimer *r = e->reclaimer;
    struct log_footer_entry entry;
    if (log_block_read(e->log, segment, n, !is_whole, LOG_REASON_RECLAIM, &r->block) != OK) {
        return;
    }
    while (log_block_next(&r->block, &entry)) {
        struct index_slot slot;
        enum verdict verdict = judge(e, &entry, &slot);
        if (verdict == RECORD_KEPT_LARGE) {
            enum status st = large_move(e, r->large_writer, entry.hash, entry.seq);
            if (st != OK && st != NOT_FOUND) {
                move_failed(e, &entry, slot, st);
            }
        } else if (verdict == RECORD_KEPT && !is_whole) {
            reclaim_block(e, segment, n, true); /* entries judged so far are judged again */
            return;
        } else if (verdict == RECORD_KEPT) {
            enum status st = move_record(e, &entry, slot);
            if (st != OK) {
                move_failed(e, &entry, slot, st);
            }
        }
    }
}

static enum status reclaim_segment(struct engine *e, uint32_t segment)
{
    struct reclaimer *r = e->reclaimer;
    r->is_out_of_space = false;
    uint32_t n = log_segment_blocks(e->log, segment);
    for (uint32_t i = 0; i < n && !r->is_out_of_space; i++) {
        if (log_segment_live_bytes(e->log, segment) == 0) {
            break;
        }
        reclaim_block(e, segment, i, false);
    }
    IGNORE(log_flush(r->writer)); /* failures arrive in move_done */
    if (r->is_out_of_space) {
        log_reclaim_abort(e->log, segment);
        return NO_SPACE;
    }
    return log_reclaim_finish(e->log, segment);
}

static void warm_is_full(struct engine *e, bool is_full)
{
    bool was_full = atomic_exchange_explicit(&e->warm_is_full, is_full, memory_order_relaxed);
    if (is_full && !was_full) {
        log_warn("warm", "tier full", "nothing may be evicted: writes will be refused");
    }
}

/* One segment. NOT_FOUND, NO_SPACE: no progress is possible just now. */
static enum status reclaim_one(struct engine *e)
{
    bool keeps_all = option_i64(OPT_MAXMEMORY_POLICY) != POLICY_ALLKEYS;
    uint32_t segment;
    enum status st =
        log_reclaim_begin(e->log, keeps_all ? LOG_VICTIM_LEAST_LIVE : LOG_VICTIM_OLDEST, &segment);
    if (st != OK) {
        return st;
    }
    struct log_stats stats;
    log_stats(e->log, &stats);
    uint64_t live = log_segment_live_bytes(e->log, segment);
    if (keeps_all && option_i64(OPT_MAXMEMORY_POLICY) == POLICY_NOEVICTION &&
        live > stats.segment_bytes - stats.segment_bytes / 16) {
        log_reclaim_abort(e->log, segment);
        return NO_SPACE;
    }
    return reclaim_segment(e, segment);
}

void reclaim_run(struct engine *e)
{
    enum status st = log_maintain(e->log);
    while (log_wants_reclaim(e->log) &&
           !atomic_load_explicit(&e->is_stopping, memory_order_relaxed)) {
        st = reclaim_one(e);
        if (st != OK) {
            break;
        }
        warm_is_full(e, false);
        IGNORE(log_maintain(e->log)); /* what it could not do it will be asked again */
        background_wake_workers(e);
    }
    if (st == NO_SPACE && log_wants_reclaim(e->log)) {
        warm_is_full(e, true);
    }
    background_wake_workers(e);
    expire_warm(e);
}

enum status reclaim_open(struct engine *e)
{
    struct reclaimer *r = mem_zalloc(1, sizeof(*r));
    enum status st = OK;
    if (r == NULL) {
        return NO_MEMORY;
    }
    e->reclaimer = r;
    TRY(expire_open(e));
    TRY(codec_create(&r->codec));
    TRY(log_writer_create(e->log, NULL, r->codec, 1, true, move_done, e, &r->writer));
    TRY(log_writer_create(e->log, NULL, r->codec, 1, true, large_block_done, e, &r->large_writer));
out:
    return st;
}

void reclaim_close(struct engine *e)
{
    struct reclaimer *r = e->reclaimer;
    if (r == NULL) {
        return;
    }
    log_writer_destroy(&r->writer);
    log_writer_destroy(&r->large_writer);
    codec_destroy(&r->codec);
    log_block_free(&r->block);
    expire_close(e);
    mem_free(r);
    e->reclaimer = NULL;
}
