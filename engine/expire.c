/*
 * Expiry of hot items that nobody touches. Every tick (100 ms) a worker walks some buckets of those of
 * its shards that hold items with an expiry; a whole round takes about a second at any size, since the
 * number of buckets per tick grows with the table. Warm records need no such walk: a read finds them
 * expired, and reclaim gives their space back.
 */
#include "engine/base/clock.h"
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
