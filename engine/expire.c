/*
 * Expiry of keys that nobody touches.
 *
 * Hot: every tick (100 ms) a worker walks some buckets of those of its shards that hold items with an
 * expiry; a whole round takes about a second at any size, since the number of buckets per tick grows
 * with the table.
 *
 * Warm: the index knows no expiry, the footers do. Of every segment the earliest expiry is remembered;
 * when it has passed, the reclaimer reads the segment's footers, removes the slots of what has expired
 * and remembers the next. At most one segment per half second, the most overdue first. (Reads and
 * reclaim need no such walk: they see the expiry in the record.)
 */
#include "engine/base/clock.h"
#include "engine/base/mem.h"
#include "engine/engine_impl.h"

#define ROUND_TICKS 10u /* a whole table in about a second */
#define HOLD_POSITIONS 64u

struct expire_walk {
    struct engine_worker *w;
    struct shard *s;
    int64_t now_ms;
};

static void expire_item(void *arg, struct item *it)
{
    struct expire_walk *walk = arg;
    if ((item_flags(it) & (ITEM_EXPIRY | ITEM_TOMBSTONE)) == ITEM_EXPIRY &&
        item_is_expired(it, walk->now_ms)) {
        metric_add(M_EXPIRED_KEYS, 1);
        metric_add(M_HOT_EXPIRED, 1);
        item_remove_locked(walk->w, walk->s, item_hash(walk->w->engine, it), it);
    }
}

static void expire_shard(struct engine_worker *w, struct shard *s)
{
    struct expire_walk walk = {.w = w, .s = s, .now_ms = engine_worker_now_ms(w)};
    uint32_t left = 1;
    lock_acquire(&s->lock);
    if (s->n_expires != 0) {
        left = s->table.n_buckets / ROUND_TICKS + 2;
    }
    for (uint32_t n = 0; s->n_expires != 0 && n < left; n++) {
        s->expire_position = table_visit(&s->table, s->expire_position, expire_item, &walk);
        if (s->expire_position >= TABLE_END) {
            s->expire_position = 0;
        }
        if (n % HOLD_POSITIONS == HOLD_POSITIONS - 1) {
            lock_release(&s->lock);
            lock_acquire(&s->lock);
        }
    }
    lock_release(&s->lock);
}

void expire_tick(struct engine_worker *w)
{
    struct engine *e = w->engine;
    for (unsigned i = w->id; i < SHARDS; i += e->n_workers) {
        if (atomic_load_explicit(&e->shards[i].n_expires, memory_order_relaxed) != 0) {
            expire_shard(w, &e->shards[i]);
        }
    }
}

/* ---- warm ---- */

#define WARM_INTERVAL_US 500000
#define NEVER INT64_MAX

struct warm_expiry {
    uint64_t segment_bytes;
    uint32_t n_segments;
    int64_t swept_us; /* reclaimer */
    _Atomic int64_t
        earliest_ms[]; /* relaxed: a lost race delays a sweep until the next publication */
};

enum status expire_open(struct engine *e)
{
    struct log_stats stats;
    log_stats(e->log, &stats);
    size_t bytes = sizeof(struct warm_expiry) + stats.n_segments * sizeof(_Atomic int64_t);
    struct warm_expiry *x = mem_zalloc(1, bytes);
    if (x == NULL) {
        return NO_MEMORY;
    }
    for (uint32_t i = 0; i < stats.n_segments; i++) { /* 0: from before the start, unknown */
        x->earliest_ms[i] = log_segment_blocks(e->log, i) == 0 ? NEVER : 0;
    }
    x->segment_bytes = stats.segment_bytes;
    x->n_segments = (uint32_t)stats.n_segments;
    e->warm_expiry = x;
    return OK;
}

void expire_close(struct engine *e)
{
    mem_free(e->warm_expiry);
    e->warm_expiry = NULL;
}

void expire_note_warm(struct engine *e, uint64_t location, int64_t expire_at_ms)
{
    struct warm_expiry *x = e->warm_expiry;
    if (x == NULL || expire_at_ms == ITEM_NO_EXPIRY) {
        return;
    }
    _Atomic int64_t *cell = &x->earliest_ms[location * INDEX_UNIT_BYTES / x->segment_bytes];
    int64_t old = atomic_load_explicit(cell, memory_order_relaxed);
    while (expire_at_ms < old &&
           !atomic_compare_exchange_weak_explicit(cell, &old, expire_at_ms, memory_order_relaxed,
                                                  memory_order_relaxed)) {
    }
}

/* The slot of an expired record goes. A hot item of the key goes its own way: it is clean, and has
 * expired too, or it is unsettled. */
static void expire_record(struct engine *e, const struct log_footer_entry *entry)
{
    struct shard *s = shard_of(e, entry->hash);
    struct index_slot slots[INDEX_MATCH_MAX];
    uint16_t ns_slot;
    lock_acquire(&s->lock);
    struct namespace *ns = namespace_of_id(e, entry->ns, &ns_slot);
    unsigned n = index_match(&s->index, entry->hash, slots);
    for (unsigned i = 0; i < n; i++) {
        if (slots[i].location != entry->location) {
            continue;
        }
        struct item *it =
            ns == NULL ? NULL
                       : table_find(&s->table, entry->hash, ns_slot, entry->key, entry->key_len);
        bool was_clean = it != NULL && (item_flags(it) & ITEM_CLEAN) != 0;
        if (was_clean) {
            item_clear_flag(it, ITEM_CLEAN);
        }
        (void)warm_remove_locked(e, s, entry->hash, slots[i]);
        if (ns != NULL && !was_clean) {
            namespace_count(ns, -1);
            metric_add(M_EXPIRED_KEYS, 1);
        }
        metric_add(M_WARM_EXPIRED, 1);
    }
    lock_release(&s->lock);
}

static void expire_segment(struct engine *e, uint32_t segment, int64_t now_ms)
{
    struct log_block block = {0};
    struct log_footer_entry entry;
    int64_t next_ms = NEVER;
    uint32_t n = log_segment_blocks(e->log, segment);
    atomic_store_explicit(&e->warm_expiry->earliest_ms[segment], NEVER, memory_order_relaxed);
    for (uint32_t i = 0; i < n; i++) {
        if (log_block_read(e->log, segment, i, true, LOG_REASON_RECLAIM, &block) != OK) {
            continue; /* reclaimed or unreadable: its slots fail when they are read */
        }
        while (log_block_next(&block, &entry)) {
            if (entry.kind == RECORD_CHUNK || entry.expire_at_ms == RECORD_NO_EXPIRY) {
                continue;
            }
            if (entry.expire_at_ms <= now_ms) {
                expire_record(e, &entry);
            } else if (entry.expire_at_ms < next_ms) {
                next_ms = entry.expire_at_ms;
            }
        }
    }
    log_block_free(&block);
    if (next_ms != NEVER) {
        expire_note_warm(e, (uint64_t)segment * e->warm_expiry->segment_bytes / INDEX_UNIT_BYTES,
                         next_ms);
    }
}

void expire_warm(struct engine *e)
{
    struct warm_expiry *x = e->warm_expiry;
    int64_t now_us = clock_mono_us();
    int64_t now_ms = clock_wall_ms();
    if (now_us - x->swept_us < WARM_INTERVAL_US) {
        return;
    }
    x->swept_us = now_us;
    uint32_t most_overdue = 0;
    int64_t earliest_ms = NEVER;
    for (uint32_t i = 0; i < x->n_segments; i++) {
        int64_t at_ms = atomic_load_explicit(&x->earliest_ms[i], memory_order_relaxed);
        if (at_ms < earliest_ms) {
            earliest_ms = at_ms;
            most_overdue = i;
        }
    }
    if (earliest_ms <= now_ms) {
        expire_segment(e, most_overdue, now_ms);
    }
}
