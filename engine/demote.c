/*
 * The way down. A victim of the policy leaves the hot tier: dropped when it is clean (its copy on NVMe
 * is valid) or has expired, else compressed into the worker's write buffer. It stays in the hash table,
 * flagged DEMOTING and readable, until its block is on the device; only then the index learns of it and
 * the item goes. A hit meanwhile rescues it: it then stays, clean.
 *
 *      HOT -> DEMOTING -> (block on the device) -> warm slot published, item freed
 *                 |             +- hit meanwhile  -> slot published, HOT and clean
 *                 |             +- device error   -> HOT again, or dropped
 *                 +- overwritten, deleted, flushed -> DEAD: the record is never published
 *
 * Invariants
 *  1. Lock order is shard before policy; a victim is found under the policy's lock, so its shard is only
 *     tried. An item in a policy queue cannot be freed without that lock.
 *  2. Publishing order: the block is on the device before the index names it.
 *  3. Between DEMOTING and done the write buffer owns one reference to the item (DEAD or not).
 *
 * A worker whose write buffers are all in flight is choked: its writers are delayed, its promotions
 * skipped, until a block is done. RAM therefore never grows past its budget by more than one command.
 */
#include <stdlib.h>

#include "engine/base/clock.h"
#include "engine/base/fault.h"
#include "engine/base/options.h"
#include "engine/engine_impl.h"

enum eviction { EVICT_ALLKEYS, EVICT_VOLATILE, EVICT_NONE }; /* order of options.def */

static bool may_drop(const struct item *it)
{
    switch (option_i64(OPT_MAXMEMORY_POLICY)) {
    case EVICT_ALLKEYS:
        return true;
    case EVICT_VOLATILE:
        return (item_flags(it) & ITEM_EXPIRY) != 0;
    default:
        return false;
    }
}

static struct policy_node *node_of(struct item *it)
{
    return (struct policy_node *)(void *)it;
}

static void clear_hit(struct item *it)
{
    __atomic_and_fetch(&it->policy, (uint8_t)~POLICY_HIT, __ATOMIC_RELAXED);
}

static bool was_hit(struct item *it)
{
    return (__atomic_load_n(&it->policy, __ATOMIC_RELAXED) & POLICY_HIT) != 0;
}

static void policy_relink(struct engine *e, struct shard *s, struct item *it)
{
    struct policy_instance *p = shard_policy(e, s);
    lock_acquire(&p->lock);
    policy_insert(p->policy, node_of(it), item_charge(it));
    lock_release(&p->lock);
}

static void evict_drop(struct engine *e, struct shard *s, uint64_t hash, struct item *it)
{
    item_drop_locked(e, s, hash, it, true);
    metric_add(M_HOT_EVICT_DROPPED, 1);
    metric_add(M_EVICTED_KEYS, 1);
}

/* ---- undoing ---- */

void demote_abandon(struct engine *e, struct item *it, uint64_t hash, enum status why)
{
    struct shard *s = shard_of(e, hash);
    size_t charge = item_charge(it);
    lock_acquire(&s->lock);
    if ((item_flags(it) & ITEM_DEAD) != 0) {
        item_destroy(it);
    } else {
        item_clear_flag(it, ITEM_DEMOTING);
        if (why != AGAIN && may_drop(it)) {
            metric_add(why == TOO_BIG ? M_WARM_REJECT_SIZE : M_WARM_REJECT_DEVICE, 1);
            evict_drop(e, s, hash, it);
        } else {
            policy_relink(e, s, it);
            if (why != AGAIN) {
                atomic_store_explicit(&e->refuses_writes, true, memory_order_relaxed);
            }
        }
    }
    lock_release(&s->lock);
    atomic_fetch_sub_explicit(&e->demoting_bytes, charge, memory_order_relaxed);
}

/* ---- publishing ---- */

/* REQUIRES the shard's lock. The item is on the device; afterwards it is clean or gone. */
static bool publish_locked(struct engine *e, struct shard *s, struct item *it,
                           const struct log_entry *entry)
{
    struct namespace *ns = &e->namespaces[it->ns_slot];
    if ((item_flags(it) & ITEM_DEAD) == 0 && !namespace_is_alive(ns)) {
        item_drop_locked(e, s, entry->hash, it, true);
    }
    if ((item_flags(it) & ITEM_DEAD) != 0) {
        metric_add(M_DEMOTIONS_STALE, 1);
        item_destroy(it);
        return false;
    }
    struct index_slot slot = {.location = entry->location,
                              .len_class = index_class(entry->record_bytes)};
    item_clear_flag(it, ITEM_DEMOTING);
    if (warm_insert_locked(e, s, ns, entry->hash, slot) != OK) {
        policy_relink(e, s, it);
        return false;
    }
    expire_note_warm(e, slot.location, item_expiry(it));
    metric_add(M_DEMOTIONS, 1);
    metric_add(M_WARM_ADMIT_DEMOTE, 1);
    item_set_flag(it, ITEM_CLEAN);
    if (was_hit(it)) {
        policy_relink(e, s, it);
    } else {
        item_drop_locked(e, s, entry->hash, it, false);
    }
    return true;
}

bool demote_publish(struct engine *e, struct item *it, const struct log_entry *entry,
                    struct large_value *large)
{
    struct shard *s = shard_of(e, entry->hash);
    size_t charge = item_charge(it);
    SEQ_POINT(DEMOTE_BEFORE_PUBLISH);
    KILL_POINT(DEMOTE_BEFORE_PUBLISH);
    lock_acquire(&s->lock);
    bool is_published = publish_locked(e, s, it, entry);
    if (is_published && large != NULL) {
        large_link_locked(e, s, large, entry);
    }
    lock_release(&s->lock);
    atomic_fetch_sub_explicit(&e->demoting_bytes, charge, memory_order_relaxed);
    return is_published;
}

void demote_block_done(void *arg, enum status st, const struct log_entry *entries, uint32_t n)
{
    struct engine_worker *w = arg;
    for (uint32_t i = 0; i < n; i++) {
        struct item *it = entries[i].cookie;
        if (it == NULL) {
            continue;
        }
        if (st == OK) {
            (void)demote_publish(w->engine, it, &entries[i], NULL);
        } else {
            demote_abandon(w->engine, it, entries[i].hash, st);
        }
    }
}

/* ---- writing ---- */

static const char *value_of(struct item *it)
{
    return (item_flags(it) & ITEM_BLOB) != 0 ? ((struct engine_blob *)item_blob(it))->data
                                             : item_inline_value(it);
}

/* The item is DEMOTING, no lock is held. */
static enum status write_down(struct engine_worker *w, struct shard *s, struct item *it,
                              uint64_t hash)
{
    struct engine *e = w->engine;
    uint64_t location;
    uint32_t record_bytes;
    atomic_fetch_add_explicit(&e->demoting_bytes, item_charge(it), memory_order_relaxed);
    SEQ_POINT(DEMOTE_BEFORE_ENCODE);
    if (it->value_len >= LARGE_MIN) {
        return large_demote_begin(e, s, it);
    }
    struct log_put put = {.hash = hash,
                          .seq = item_version(it),
                          .ns = e->namespaces[it->ns_slot].id,
                          .expire_at_ms = item_expiry(it),
                          .key = item_key(it),
                          .key_len = item_key_len(it),
                          .value = value_of(it),
                          .value_len = it->value_len,
                          .kind = RECORD_VALUE,
                          .level = (int)option_i64(OPT_WARM_COMPRESSION)};
    enum status st = log_append(w->writer, &put, it, &location, &record_bytes);
    SEQ_POINT(DEMOTE_AFTER_ENCODE);
    KILL_POINT(DEMOTE_AFTER_ENCODE);
    return st;
}

/* No segment for it, rather than all buffers in flight. */
static bool is_short_of_segments(struct engine_worker *w, enum status st)
{
    return st == NO_SPACE || (st == AGAIN && log_writer_blocks_in_flight(w->writer) == 0);
}

/* Writes a DEMOTING item; undoes it when that is not possible. */
static enum status demote_write(struct engine_worker *w, struct shard *s, struct item *it,
                                uint64_t hash)
{
    struct engine *e = w->engine;
    enum status st = write_down(w, s, it, hash);
    if (st == OK) {
        return OK;
    }
    if (is_short_of_segments(w, st)) {
        bool is_full = atomic_load_explicit(&e->warm_is_full, memory_order_relaxed);
        st = is_full ? NO_SPACE : AGAIN; /* else reclaim is making room */
        background_wake(e);
    }
    demote_abandon(e, it, hash, st);
    return st;
}

/* ---- victims ---- */

struct victim {
    struct engine *e;
    struct shard *shard; /* locked when accepted */
    uint64_t hash;
};

static NO_TSA bool victim_accept(struct policy_node *node, void *arg)
{
    struct victim *v = arg;
    struct item *it = (struct item *)(void *)node;
    v->hash = item_hash(v->e, it);
    v->shard = shard_of(v->e, v->hash);
    if (!lock_try(&v->shard->lock)) {
        return false;
    }
    if ((item_flags(it) & (ITEM_UNSETTLED | ITEM_TOMBSTONE)) != 0) {
        lock_release(&v->shard->lock);
        return false;
    }
    return true;
}

/* AGAIN: stop for now; NOT_FOUND: nothing (more) to evict. Enters with the victim's shard locked. */
static NO_TSA enum status evict_item(struct engine_worker *w, struct victim *v, struct item *it)
{
    struct engine *e = w->engine;
    struct shard *s = v->shard;
    int64_t now_ms = engine_worker_now_ms(w);
    enum status st = OK;
    if (item_is_expired(it, now_ms) || !namespace_is_alive(&e->namespaces[it->ns_slot])) {
        metric_add(M_HOT_EXPIRED, 1);
        item_remove_locked(w, s, v->hash, it);
    } else if ((item_flags(it) & ITEM_CLEAN) != 0) {
        metric_add(M_DEMOTIONS_CLEAN, 1);
        item_drop_locked(e, s, v->hash, it, false);
    } else if (e->log != NULL) {
        item_set_flag(it, ITEM_DEMOTING);
        clear_hit(it);
        lock_release(&s->lock);
        return demote_write(w, s, it, v->hash);
    } else if (may_drop(it)) {
        evict_drop(e, s, v->hash, it);
    } else {
        policy_relink(e, s, it);
        atomic_store_explicit(&e->refuses_writes, true, memory_order_relaxed);
        st = NO_SPACE;
    }
    lock_release(&s->lock);
    return st;
}

static enum status evict_one(struct engine_worker *w, unsigned policy_id)
{
    struct engine *e = w->engine;
    struct policy_instance *p = &e->policies[policy_id];
    struct victim v = {.e = e};
    enum policy_victim_kind kind;
    lock_acquire(&p->lock);
    struct policy_node *node = NULL;
    if (policy_needs_eviction(p->policy)) {
        node = policy_victim(p->policy, victim_accept, &v, &kind);
    }
    lock_release(&p->lock);
    if (node == NULL) {
        return NOT_FOUND;
    }
    if (kind == POLICY_REJECTED) {
        metric_add(M_HOT_REJECT_FREQUENCY, 1);
    }
    return evict_item(w, &v, (struct item *)(void *)node);
}

static void choke(struct engine_worker *w)
{
    w->is_choked = true;
    if (log_writer_blocks_in_flight(w->writer) == 0) {
        IGNORE(log_flush(w->writer)); /* else nobody would ever be done */
    }
}

void demote_evict(struct engine_worker *w, unsigned max_items)
{
    struct engine *e = w->engine;
    uint32_t policies = w->touched;
    while (policies != 0 && max_items != 0) {
        unsigned id = (unsigned)__builtin_ctz(policies);
        if (atomic_load_explicit(&e->demoting_bytes, memory_order_relaxed) >
            memory_demoting_limit()) {
            choke(w);
            return;
        }
        enum status st = evict_one(w, id);
        if (st == AGAIN) {
            choke(w);
            return;
        }
        if (st != OK) {
            policies &= ~(1u << id);
            w->touched &= ~(1u << id);
        }
        max_items--;
    }
}

enum status demote_item(struct engine_worker *w, struct shard *s, struct item *it) NO_TSA
{
    struct engine *e = w->engine;
    uint64_t hash = item_hash(e, it);
    struct policy_instance *p = shard_policy(e, s);
    if ((item_flags(it) & (ITEM_DEMOTING | ITEM_UNSETTLED)) != 0) {
        lock_release(&s->lock);
        return AGAIN;
    }
    lock_acquire(&p->lock);
    policy_remove(p->policy, node_of(it), item_charge(it));
    lock_release(&p->lock);
    if ((item_flags(it) & ITEM_CLEAN) != 0) {
        metric_add(M_DEMOTIONS_CLEAN, 1);
        item_drop_locked(e, s, hash, it, false);
        lock_release(&s->lock);
        return OK;
    }
    item_set_flag(it, ITEM_DEMOTING);
    clear_hit(it);
    lock_release(&s->lock);
    enum status st = write_down(w, s, it, hash);
    if (st != OK) {
        demote_abandon(e, it, hash, AGAIN); /* asked for by a client: never a reason to drop */
        return st;
    }
    IGNORE(log_flush(w->writer));
    return AGAIN;
}

/* ---- choking ---- */

/* All that wait now; who waits again queues up behind them. */
static void delayed_resume(struct engine_worker *w)
{
    w->resuming = w->delayed;
    w->delayed = NULL;
    w->delayed_tail = &w->delayed;
    while (w->resuming != NULL) {
        struct engine_op *op = w->resuming;
        w->resuming = op->next;
        op->resume(op);
    }
}

void op_delay(struct engine_op *op)
{
    op->next = NULL;
    *op->worker->delayed_tail = op;
    op->worker->delayed_tail = &op->next;
}

void op_undelay(struct engine_op *op)
{
    struct engine_worker *w = op->worker;
    struct engine_op **lists[] = {&w->delayed, &w->resuming};
    for (unsigned i = 0; i < 2; i++) {
        for (struct engine_op **link = lists[i]; *link != NULL; link = &(*link)->next) {
            if (*link != op) {
                continue;
            }
            *link = op->next;
            if (i == 0 && op->next == NULL) {
                w->delayed_tail = link;
            }
            return;
        }
    }
}

void demote_unchoke(struct engine_worker *w)
{
    struct engine *e = w->engine;
    if (w->is_choked &&
        atomic_load_explicit(&e->demoting_bytes, memory_order_relaxed) <= memory_demoting_limit()) {
        w->is_choked = false;
    }
    if (w->touched != 0 && !w->is_choked) {
        demote_evict(w, 64);
    }
    if (!w->is_choked) {
        delayed_resume(w);
    }
}
