/*
 * A command's way through the engine.
 *
 *   engine_begin   hash the keys, lock their shards in address order, look: every key is hot, known
 *                  absent, or cold. A cold key that the command must know is read from the device
 *                  (fetch.c) while no lock is held; then everything is looked at again.
 *   find/put/...   plain synchronous code under the locks.
 *   engine_end     unlock; the evictions the command made necessary run after that.
 *
 * Invariants
 *  1. At most one index slot names a given key, or its hot item is flagged ITEM_UNSETTLED and hides
 *     all of them until the background has read them.
 *  2. An item that is DEMOTING is immutable: whoever changes the key puts another item in its place.
 *  3. A fetched value is used only if the index still holds exactly the location it came from; both are
 *     checked under the shard's lock (invariants 1 and 2 of the design).
 *  4. An unsettled or deleted-but-unsettled (tombstone) item is never demoted and never dropped.
 */
#include "engine/engine_impl.h"

#include <stdlib.h>

#include "engine/base/clock.h"
#include "engine/base/fault.h"
#include "engine/base/options.h"
#include "engine/hash.h"
#include "engine/mutate.h"

/* ---- begin ---- */

static bool is_live(const struct item *it)
{
    return it != NULL && (item_flags(it) & ITEM_TOMBSTONE) == 0;
}

/* True when the fetched copy still tells the truth about the key: the index says the same. */
static bool warm_is_current(struct shard *s, struct engine_key *key)
{
    struct warm_value *v = key->warm;
    if (v->no_memory) {
        return true;
    }
    if (!v->is_absent) {
        return index_has(&s->index, key->hash, v->location) &&
               !(v->head_only && key->need == ENGINE_VALUE);
    }
    struct index_slot now[INDEX_MATCH_MAX];
    unsigned n = index_match(&s->index, key->hash, now);
    for (unsigned i = 0; i < n; i++) {
        bool is_known = false;
        for (unsigned j = 0; j < v->n_tried; j++) {
            is_known = is_known || v->tried[j] == now[i].location;
        }
        if (!is_known) {
            return false;
        }
    }
    return true;
}

/* OK: hot, absent or copied; AGAIN: a device read has been started or joined. */
static enum status key_check_locked(struct engine_op *op, struct engine_key *key, struct shard *s)
{
    struct engine_worker *w = op->worker;
    struct item *it = table_find(&s->table, key->hash, key->ns_slot, key->data, key->len);
    if (it != NULL && UNLIKELY((item_flags(it) & ITEM_EXPIRY) != 0) &&
        (item_flags(it) & ITEM_TOMBSTONE) == 0 && item_is_expired(it, engine_worker_now_ms(w))) {
        metric_add(M_EXPIRED_KEYS, 1);
        metric_add(M_HOT_EXPIRED, 1);
        item_remove_locked(w, s, key->hash, it);
        it = table_find(&s->table, key->hash, key->ns_slot, key->data, key->len);
    }
    key->item = it;
    if (it != NULL || s->index.n_slots == 0 || key->need == ENGINE_BLIND) {
        return OK;
    }
    if (key->warm != NULL) {
        if (warm_is_current(s, key)) {
            return key->warm->no_memory ? NO_MEMORY : OK;
        }
        warm_value_release(key->warm);
        key->warm = NULL;
    }
    struct index_slot slots[INDEX_MATCH_MAX];
    if (index_match(&s->index, key->hash, slots) == 0) {
        return OK;
    }
    return fetch_join_locked(w, s, op, key);
}

static void park(struct engine_op *op)
{
    op->is_parked = 1;
    if (op->started_us == 0) {
        op->started_us = clock_mono_us();
    }
}

static void key_hash(struct engine *e, struct engine_key *key)
{
    key->ns_slot = namespace_slot(e, key->db);
    key->hash = hash_key(e->namespaces[key->ns_slot].seed, key->data, key->len);
    key->shard = (uint32_t)(key->hash >> (64 - SHARD_BITS));
}

static NO_TSA enum status begin_one(struct engine *e, struct engine_op *op)
{
    struct engine_key *key = &op->keys[0];
    struct shard *s;
    for (;;) {
        key_hash(e, key);
        s = &e->shards[key->shard];
        lock_acquire(&s->lock);
        if (LIKELY(namespace_is_alive(&e->namespaces[key->ns_slot]))) {
            break;
        }
        lock_release(&s->lock);
    }
    enum status st = key_check_locked(op, key, s);
    if (LIKELY(st == OK)) {
        op->is_locked = 1;
        return OK;
    }
    lock_release(&s->lock);
    if (st == AGAIN) {
        park(op);
    } else {
        engine_cancel(op);
    }
    return st;
}

static NO_TSA void shards_lock(struct engine *e, struct engine_op *op)
{
    for (uint32_t i = 0; i < SHARDS; i++) {
        if ((op->shards[i / 64] >> (i % 64) & 1) != 0) {
            lock_acquire(&e->shards[i].lock);
        }
    }
    op->is_locked = 1;
}

static NO_TSA void shards_unlock(struct engine *e, struct engine_op *op)
{
    for (uint32_t i = 0; i < SHARDS; i++) {
        if ((op->shards[i / 64] >> (i % 64) & 1) != 0) {
            lock_release(&e->shards[i].lock);
        }
    }
    op->is_locked = 0;
}

/* Locks all shards of the op with every key's namespace alive. */
static void keys_lock(struct engine *e, struct engine_op *op)
{
    for (;;) {
        memset(op->shards, 0, sizeof(op->shards));
        for (uint32_t i = 0; i < op->n_keys; i++) {
            key_hash(e, &op->keys[i]);
            op->shards[op->keys[i].shard / 64] |= UINT64_C(1) << (op->keys[i].shard % 64);
        }
        shards_lock(e, op);
        bool is_alive = true;
        for (uint32_t i = 0; i < op->n_keys && is_alive; i++) {
            is_alive = namespace_is_alive(&e->namespaces[op->keys[i].ns_slot]);
        }
        if (is_alive) {
            return;
        }
        shards_unlock(e, op);
    }
}

static enum status begin_many(struct engine *e, struct engine_op *op)
{
    keys_lock(e, op);
    enum status worst = OK;
    for (uint32_t i = 0; i < op->n_keys; i++) {
        enum status st = key_check_locked(op, &op->keys[i], &e->shards[op->keys[i].shard]);
        if (st != OK && (worst == OK || worst == AGAIN)) {
            worst = st;
        }
    }
    if (worst == OK) {
        return OK;
    }
    shards_unlock(e, op);
    if (worst == AGAIN) {
        park(op);
    } else {
        engine_cancel(op);
    }
    return worst;
}

enum status engine_begin(struct engine_op *op)
{
    struct engine *e = op->worker->engine;
    DCHECK(!op->is_locked && op->n_waiting == 0);
    op->is_parked = 0;
    if ((op->flags & ENGINE_OP_WRITE) != 0) {
        if (UNLIKELY(atomic_load_explicit(&e->refuses_writes, memory_order_relaxed))) {
            engine_cancel(op);
            return NO_MEMORY;
        }
        if (UNLIKELY(op->worker->is_choked)) {
            metric_add(M_WRITERS_DELAYED, op->phase == 0);
            op->phase = 1;
            op_delay(op);
            park(op);
            return AGAIN;
        }
    }
    SEQ_POINT(BEGIN_BEFORE_LOCK);
    if ((++op->worker->n_calls & 63) == 0) {
        op->worker->sampled_us = clock_mono_us();
    }
    if (op->n_keys == 1) {
        return begin_one(e, op);
    }
    return begin_many(e, op);
}

static void keys_forget(struct engine_op *op)
{
    for (uint32_t i = 0; i < op->n_keys; i++) {
        struct engine_key *key = &op->keys[i];
        key->item = NULL;
        if (key->waiter != NULL) {
            fetch_cancel(key);
        }
        if (key->warm != NULL) {
            warm_value_release(key->warm);
            key->warm = NULL;
        }
    }
    op->n_waiting = 0;
    op->is_parked = 0;
    op->phase = 0;
    op->started_us = 0;
}

void op_reset(struct engine_op *op)
{
    op->is_locked = 0;
    keys_forget(op);
}

NO_TSA void engine_end(struct engine_op *op)
{
    struct engine_worker *w = op->worker;
    if (op->n_keys == 1) {
        lock_release(&w->engine->shards[op->keys[0].shard].lock);
        op->is_locked = 0;
    } else {
        shards_unlock(w->engine, op);
    }
    if (UNLIKELY(op->started_us != 0)) {
        metric_observe_us(M_LATENCY_WARM, (uint64_t)(clock_mono_us() - op->started_us));
    } else if (UNLIKELY(w->sampled_us != 0)) {
        metric_observe_us(M_LATENCY_HOT, (uint64_t)(clock_mono_us() - w->sampled_us));
    }
    w->sampled_us = 0;
    if (op->n_keys == 1 && op->keys[0].warm == NULL) {
        op->started_us = 0;
        op->phase = 0;
    } else {
        keys_forget(op);
    }
    if (w->touched != 0) {
        demote_evict(w, 16);
    }
}

void engine_cancel(struct engine_op *op)
{
    DCHECK(!op->is_locked);
    if (op->job_cancel != NULL) {
        op->job_cancel(op);
        op->job_cancel = NULL;
    }
    scan_cancel(op);
    op_undelay(op);
    keys_forget(op);
}

/* ---- reading ---- */

static void count_read(struct engine_op *op, struct engine_key *key, const struct item *it,
                       bool is_found)
{
    struct engine *e = op->worker->engine;
    struct shard *s = &e->shards[key->shard];
    struct policy *policy = e->policies[s->policy_id].policy;
    bool was_warm = key->warm != NULL && !key->warm->is_absent;
    if (it != NULL && !was_warm) {
        metric_add(M_HOT_HITS, 1);
        metric_add((item_flags(it) & ITEM_DEMOTING) != 0 ? M_LOOKUP_BUFFER : M_LOOKUP_HOT, 1);
        if ((op->flags & ENGINE_OP_NO_TOUCH) == 0) {
            policy_hit(policy, (struct policy_node *)(void *)it, key->hash);
        }
        return;
    }
    metric_add(M_HOT_MISSES, 1);
    if (is_found) {
        metric_add(M_WARM_HITS, 1);
        metric_add(M_LOOKUP_WARM, 1);
        if ((op->flags & ENGINE_OP_NO_TOUCH) == 0) {
            (void)index_hit(&s->index, key->hash, key->warm->location);
        }
    } else {
        metric_add(M_WARM_MISSES, 1);
        metric_add(M_LOOKUP_MISS, 1);
    }
    if ((op->flags & ENGINE_OP_NO_TOUCH) == 0 && it == NULL) {
        policy_record_miss(policy,
                           key->hash); /* a promotion counted it before it linked the item */
    }
}

/* The hot item as it is now: an earlier key of the same command may have been the same key. */
struct item *op_item(struct engine_op *op, uint32_t i)
{
    struct engine_key *key = &op->keys[i];
    if (op->n_keys > 1) {
        struct shard *s = &op->worker->engine->shards[key->shard];
        key->item = table_find(&s->table, key->hash, key->ns_slot, key->data, key->len);
    }
    return key->item;
}

struct warm_value *op_warm(struct engine_op *op, uint32_t i)
{
    struct engine_key *key = &op->keys[i];
    struct warm_value *v = key->warm;
    struct shard *s = &op->worker->engine->shards[key->shard];
    if (v == NULL || v->is_absent || !index_has(&s->index, key->hash, v->location)) {
        return NULL;
    }
    return v;
}

bool engine_find(struct engine_op *op, uint32_t i, struct engine_value *out)
{
    struct engine_key *key = &op->keys[i];
    struct item *it = op_item(op, i);
    bool is_found = false;
    memset(out, 0, sizeof(*out));
    out->expire_at_ms = ENGINE_NO_EXPIRY;
    if (is_live(it)) {
        is_found = true;
        out->len = it->value_len;
        out->expire_at_ms = item_expiry(it);
        out->version = item_version(it);
        if ((item_flags(it) & ITEM_BLOB) != 0) {
            out->blob = item_blob(it);
            out->data = out->blob->data;
        } else {
            out->data = item_inline_value(it);
        }
    } else if (it == NULL) {
        struct warm_value *v = op_warm(op, i);
        if (v != NULL) {
            is_found = true;
            out->len = v->raw_len;
            out->expire_at_ms = v->expire_at_ms;
            out->version = v->seq;
            out->is_warm = true;
            out->blob = v->blob;
            out->data = v->blob != NULL ? v->blob->data : v->head_only ? NULL : v->data;
        }
    }
    if ((op->flags & ENGINE_OP_READ) != 0) {
        count_read(op, key, is_live(it) ? it : NULL, is_found);
    }
    return is_found;
}

/* ---- explaining ---- */

static void explain_warm(struct engine_op *op, uint32_t i, struct engine_explain *out)
{
    struct engine *e = op->worker->engine;
    struct engine_key *key = &op->keys[i];
    struct index_slot slots[INDEX_MATCH_MAX];
    unsigned n = index_match(&e->shards[key->shard].index, key->hash, slots);
    struct warm_value *v = op_warm(op, i);
    if (n == 0 || e->log == NULL) {
        return;
    }
    struct log_stats stats;
    log_stats(e->log, &stats);
    uint64_t at = slots[n - 1].location * INDEX_UNIT_BYTES;
    out->stored_bytes = index_class_bytes(slots[n - 1].len_class);
    if (v != NULL) {
        at = v->location * INDEX_UNIT_BYTES;
        out->stored_bytes = v->stored_len;
        out->raw_bytes = v->raw_len;
    }
    out->segment = at / stats.segment_bytes;
    out->offset = at % stats.segment_bytes;
}

void engine_explain(struct engine_op *op, uint32_t i, struct engine_explain *out)
{
    static const char *const queues[] = {"none", "window", "probation", "protected"};
    struct engine *e = op->worker->engine;
    struct engine_key *key = &op->keys[i];
    struct item *it = op_item(op, i);
    struct warm_value *v = op_warm(op, i);
    memset(out, 0, sizeof(*out));
    out->queue = queues[0];
    out->expire_at_ms = ENGINE_NO_EXPIRY;
    out->frequency =
        policy_frequency(e->policies[e->shards[key->shard].policy_id].policy, key->hash);
    out->why = "no such key";
    if (is_live(it)) {
        uint8_t bits = __atomic_load_n(&it->policy, __ATOMIC_RELAXED);
        out->frequency = policy_node_frequency(e->policies[e->shards[key->shard].policy_id].policy,
                                               (const struct policy_node *)(const void *)it);
        out->exists = out->is_hot = true;
        out->is_warm = (item_flags(it) & ITEM_CLEAN) != 0;
        out->is_dirty = !out->is_warm;
        out->hot_bytes = item_charge(it);
        out->raw_bytes = it->value_len;
        out->queue = queues[bits & POLICY_QUEUE_MASK];
        out->expire_at_ms = item_expiry(it);
        out->version = item_version(it);
        out->why = (item_flags(it) & ITEM_DEMOTING) != 0
                       ? "on its way to NVMe: in a write buffer, still served from RAM"
                   : (item_flags(it) & ITEM_UNSETTLED) != 0
                       ? "overwritten without a read; older copies on NVMe are being settled"
                   : out->is_warm
                       ? "promoted: frequent enough for RAM, and its copy on NVMe is valid"
                       : "written or overwritten since it was last on NVMe";
    } else if (it == NULL && v != NULL) {
        out->exists = out->is_warm = true;
        out->expire_at_ms = v->expire_at_ms;
        out->version = v->seq;
        out->why = "less frequent than what is in RAM; one device read away";
    }
    if (out->is_warm) {
        explain_warm(op, i, out);
    }
}
