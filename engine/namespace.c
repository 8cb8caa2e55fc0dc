/*
 * Databases and flushes. Each of the 16 databases maps to a namespace: a 32-bit id that stands in every
 * record and seeds the key hash. A flush gives the database a new id; everything of the old one is
 * unreachable from that moment, and is swept later: hot items by namespace_sweep, warm slots by reclaim
 * (FLUSHALL drops the whole index at once).
 *
 *      alive --flush--> dead --one whole sweep over all shards--> free slot
 *
 * Invariant: an item is linked only into a namespace that is alive under its shard's lock; the sweep
 * takes every shard's lock after the death; so after the sweep no item refers to the slot.
 */
#include <stdlib.h>

#include "engine/base/clock.h"
#include "engine/base/fault.h"
#include "engine/base/mem.h"
#include "engine/engine_impl.h"
#include "engine/hash.h"

#define SWEEP_POSITIONS 64 /* buckets per lock hold */

static uint16_t slot_create_locked(struct engine *e, uint32_t id)
{
    for (uint32_t n = 0; n < NAMESPACES; n++) {
        uint32_t slot = (e->ns_search + n) % NAMESPACES;
        struct namespace *ns = &e->namespaces[slot];
        if (ns->is_used) {
            continue;
        }
        e->ns_search = slot + 1;
        ns->is_used = true;
        ns->id = id;
        ns->seed = XXH3_64bits_withSeed(&id, sizeof(id), e->secret);
        atomic_store_explicit(&ns->n_keys, 0, memory_order_relaxed);
        atomic_store_explicit(&ns->n_expires, 0, memory_order_relaxed);
        atomic_store_explicit(&ns->n_unsettled, 0, memory_order_relaxed);
        atomic_store_explicit(&ns->is_alive, true, memory_order_release);
        return (uint16_t)slot;
    }
    return NAMESPACES;
}

void namespace_init(struct engine *e)
{
    lock_init(&e->flush_lock, LOCK_RANK_FLUSH);
    e->next_ns_id = 1;
    for (unsigned db = 0; db < ENGINE_DATABASES; db++) {
        e->db_slot[db] = slot_create_locked(e, e->next_ns_id++);
    }
}

void namespace_restore(struct engine *e, unsigned db, uint32_t id, int64_t n_keys)
{
    struct namespace *ns = &e->namespaces[e->db_slot[db]];
    ns->id = id;
    ns->seed = XXH3_64bits_withSeed(&id, sizeof(id), e->secret);
    atomic_store_explicit(&ns->n_keys, n_keys, memory_order_relaxed);
    if (id >= e->next_ns_id) {
        e->next_ns_id = id + 1;
    }
}

struct namespace *namespace_of_id(struct engine *e, uint32_t id, uint16_t *slot_out)
{
    for (unsigned db = 0; db < ENGINE_DATABASES; db++) {
        *slot_out = namespace_slot(e, db);
        if (e->namespaces[*slot_out].id == id) {
            return &e->namespaces[*slot_out];
        }
    }
    return NULL;
}

/* False: all slots wait for the sweep. */
static bool flush_one_locked(struct engine *e, unsigned db)
{
    uint16_t fresh = slot_create_locked(e, e->next_ns_id);
    if (fresh == NAMESPACES) {
        return false;
    }
    e->next_ns_id++;
    uint16_t old = atomic_exchange_explicit(&e->db_slot[db], fresh, memory_order_acq_rel);
    atomic_store_explicit(&e->namespaces[old].is_alive, false, memory_order_release);
    return true;
}

/* ---- dropping the whole index ---- */

struct index_drop {
    struct background_job job;
    struct index index;
};

static enum status cell_is_dead(void *arg, uint32_t position, uint8_t depth, const uint64_t *slots,
                                uint32_t n_slots)
{
    struct engine *e = arg;
    (void)position;
    (void)depth;
    for (uint32_t i = 0; i < n_slots; i++) {
        struct index_slot slot = index_slot_unpack(slots[i]);
        log_note_dead(e->log, slot.location, index_class_bytes(slot.len_class));
    }
    return OK;
}

static void index_drop_run(struct engine *e, struct background_job *job)
{
    struct index_drop *drop = (struct index_drop *)(void *)job;
    (void)index_save(&drop->index, cell_is_dead, e);
    index_deinit(&drop->index);
    mem_free(drop);
}

/* A fresh index takes the old one's place; the old one is freed by the background. */
static void index_drop_all(struct engine *e)
{
    for (unsigned i = 0; i < SHARDS; i++) {
        struct shard *s = &e->shards[i];
        struct index_drop *drop = mem_zalloc(1, sizeof(*drop));
        struct index fresh;
        if (drop == NULL || index_init(&fresh, e->index_depth) != OK) {
            mem_free(drop);
            continue; /* reclaim finds the slots' namespaces dead */
        }
        lock_acquire(&s->lock);
        drop->index = s->index;
        s->index = fresh;
        large_clear(e, s);
        lock_release(&s->lock);
        atomic_fetch_sub_explicit(&e->warm_items, drop->index.n_slots, memory_order_relaxed);
        drop->job.run = index_drop_run;
        background_post(e, &drop->job);
    }
}

enum status engine_flush(struct engine_op *op, int db)
{
    struct engine *e = op->worker->engine;
    bool is_done = true;
    if (db == ENGINE_ALL_DATABASES && e->log != NULL) {
        index_drop_all(e); /* before the switch: afterwards new keys could be among them */
    }
    SEQ_POINT(FLUSH_BEFORE_DURABLE);
    lock_acquire(&e->flush_lock);
    for (unsigned i = 0; i < ENGINE_DATABASES && is_done; i++) {
        if (db == ENGINE_ALL_DATABASES || (unsigned)db == i) {
            is_done = flush_one_locked(e, i);
        }
    }
    lock_release(&e->flush_lock);
    if (!is_done) { /* 4096 flushes within one sweep */
        namespace_sweep(e);
        return engine_flush(op, db);
    }
    background_wake(e);
    return OK;
}

enum status engine_swap(struct engine_op *op, int db_a, int db_b)
{
    struct engine *e = op->worker->engine;
    lock_acquire(&e->flush_lock);
    uint16_t a = e->db_slot[db_a];
    uint16_t b = atomic_exchange_explicit(&e->db_slot[db_b], a, memory_order_acq_rel);
    atomic_store_explicit(&e->db_slot[db_a], b, memory_order_release);
    lock_release(&e->flush_lock);
    return OK;
}

/* ---- sweeping ---- */

struct sweep {
    struct engine *e;
    struct shard *s;
};

static void sweep_item(void *arg, struct item *it)
{
    struct sweep *sw = arg;
    if (!namespace_is_alive(&sw->e->namespaces[it->ns_slot])) {
        item_drop_locked(sw->e, sw->s, item_hash(sw->e, it), it, true);
    }
}

static void sweep_shard(struct engine *e, struct shard *s)
{
    struct sweep sw = {.e = e, .s = s};
    uint32_t position = 0;
    while (position < TABLE_END) {
        lock_acquire(&s->lock);
        for (unsigned n = 0; n < SWEEP_POSITIONS && position < TABLE_END; n++) {
            position = table_visit(&s->table, position, sweep_item, &sw);
        }
        lock_release(&s->lock);
    }
}

void namespace_sweep(struct engine *e)
{
    bool dead[NAMESPACES];
    bool any = false;
    lock_acquire(&e->flush_lock);
    for (unsigned i = 0; i < NAMESPACES; i++) {
        struct namespace *ns = &e->namespaces[i];
        dead[i] = ns->is_used && !namespace_is_alive(ns);
        any = any || dead[i];
    }
    lock_release(&e->flush_lock);
    if (!any) {
        return;
    }
    for (unsigned i = 0; i < SHARDS; i++) {
        sweep_shard(e, &e->shards[i]);
    }
    lock_acquire(&e->flush_lock);
    for (unsigned i = 0; i < NAMESPACES; i++) {
        if (dead[i]) {
            e->namespaces[i].is_used = false;
        }
    }
    lock_release(&e->flush_lock);
}
