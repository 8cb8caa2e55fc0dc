/*
 * What happens to one item or one index slot, with its shard locked: linked, dropped, removed, made
 * dirty. All counts of keys, items and live bytes change here and nowhere else.
 */
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/engine_impl.h"
#include "engine/hash.h"

static_assert(offsetof(struct item, policy) == POLICY_BITS_OFFSET, "the policy's byte");

struct policy_instance *shard_policy(struct engine *e, const struct shard *s)
{
    return &e->policies[s->policy_id];
}

uint64_t item_hash(struct engine *e, const struct item *it)
{
    return hash_key(e->namespaces[it->ns_slot].seed, item_key(it), item_key_len(it));
}

size_t item_charge(const struct item *it)
{
    size_t bytes = item_bytes(it);
    if ((item_flags(it) & ITEM_BLOB) != 0) {
        bytes += sizeof(struct engine_blob) + item_value_len(it);
    }
    return bytes;
}

size_t engine_item_bytes(size_t key_len, size_t value_len, bool has_expiry)
{
    bool is_blob = value_len >= ENGINE_BLOB_MIN;
    size_t table_bytes = 12;
    return item_bytes_for((uint32_t)key_len, (uint32_t)value_len, has_expiry, is_blob) +
           (is_blob ? sizeof(struct engine_blob) + value_len : 0) + table_bytes;
}

bool item_is_expired(const struct item *it, int64_t now_ms)
{
    return (item_flags(it) & ITEM_EXPIRY) != 0 && item_expiry(it) <= now_ms;
}

void item_destroy(struct item *it)
{
    if ((item_flags(it) & ITEM_BLOB) != 0) {
        memory_blob_in_item(item_blob(it), -1);
        engine_blob_release(item_blob(it));
    }
    item_free(it);
}

void policy_touch(struct engine_worker *w, const struct shard *s)
{
    w->touched |= 1u << s->policy_id;
}

static void count_expiry(struct engine *e, struct shard *s, const struct item *it, int n)
{
    if ((item_flags(it) & ITEM_EXPIRY) != 0) {
        atomic_fetch_add_explicit(&s->n_expires, (uint64_t)(int64_t)n, memory_order_relaxed);
        atomic_fetch_add_explicit(&e->namespaces[it->ns_slot].n_expires, n, memory_order_relaxed);
    }
}

enum status item_link_locked(struct engine_worker *w, struct shard *s, uint64_t hash,
                             struct item *it)
{
    struct engine *e = w->engine;
    enum status st = table_insert(&s->table, hash, it);
    if (st != OK) {
        return st;
    }
    struct policy_instance *p = shard_policy(e, s);
    lock_acquire(&p->lock);
    policy_insert(p->policy, (struct policy_node *)(void *)it, item_charge(it));
    bool needs_eviction = policy_needs_eviction(p->policy);
    lock_release(&p->lock);
    if (needs_eviction) {
        policy_touch(w, s);
    }
    count_expiry(e, s, it, 1);
    return OK;
}

static void policy_unlink(struct engine *e, struct shard *s, struct item *it)
{
    struct policy_instance *p = shard_policy(e, s);
    lock_acquire(&p->lock);
    policy_remove(p->policy, (struct policy_node *)(void *)it, item_charge(it));
    lock_release(&p->lock);
}

void item_drop_locked(struct engine *e, struct shard *s, uint64_t hash, struct item *it,
                      bool is_counted)
{
    struct namespace *ns = &e->namespaces[it->ns_slot];
    CHECK(table_remove(&s->table, hash, it));
    count_expiry(e, s, it, -1);
    if (is_counted && (item_flags(it) & ITEM_TOMBSTONE) == 0) {
        namespace_count(ns, -1);
    }
    if ((item_flags(it) & ITEM_UNSETTLED) != 0) {
        atomic_fetch_sub_explicit(&ns->n_unsettled, 1, memory_order_relaxed);
    }
    if ((item_flags(it) & ITEM_DEMOTING) != 0) {
        item_set_flag(it, ITEM_DEAD); /* its write buffer frees it */
        return;
    }
    policy_unlink(e, s, it);
    item_destroy(it);
}

/* Puts `fresh` in the table's and the policy's place of `old`; flags UNSETTLED goes over. */
void item_replace_locked(struct engine_worker *w, struct shard *s, uint64_t hash, struct item *old,
                         struct item *fresh)
{
    struct engine *e = w->engine;
    struct policy_instance *p = shard_policy(e, s);
    if ((item_flags(old) & ITEM_UNSETTLED) != 0) {
        item_set_flag(fresh, ITEM_UNSETTLED);
    }
    CHECK(table_replace(&s->table, hash, old, fresh));
    count_expiry(e, s, old, -1);
    count_expiry(e, s, fresh, 1);
    lock_acquire(&p->lock);
    if ((item_flags(old) & ITEM_DEMOTING) != 0) {
        policy_insert(p->policy, (struct policy_node *)(void *)fresh, item_charge(fresh));
    } else {
        policy_replace(p->policy, (struct policy_node *)(void *)old, item_charge(old),
                       (struct policy_node *)(void *)fresh, item_charge(fresh));
    }
    bool needs_eviction = policy_needs_eviction(p->policy);
    lock_release(&p->lock);
    if (needs_eviction) {
        policy_touch(w, s);
    }
    if ((item_flags(old) & ITEM_DEMOTING) != 0) {
        item_set_flag(old, ITEM_DEAD); /* DEMOTING, so never UNSETTLED */
    } else {
        item_destroy(old);
    }
}

bool warm_remove_locked(struct engine *e, struct shard *s, uint64_t hash, struct index_slot slot)
{
    if (!index_remove(&s->index, hash, slot.location)) {
        return false;
    }
    log_note_dead(e->log, slot.location, index_class_bytes(slot.len_class));
    atomic_fetch_sub_explicit(&e->warm_items, 1, memory_order_relaxed);
    if (s->large != NULL) {
        large_forget_locked(e, s, slot.location);
    }
    return true;
}

enum status warm_insert_locked(struct engine *e, struct shard *s, struct namespace *ns,
                               uint64_t hash, struct index_slot slot)
{
    struct index_slot dropped = {0};
    enum status st = index_insert(&s->index, hash, slot, &dropped);
    if (st != OK) {
        return st;
    }
    log_note_live(e->log, slot.location, index_class_bytes(slot.len_class));
    if (dropped.location != 0) {
        log_note_dead(e->log, dropped.location, index_class_bytes(dropped.len_class));
        namespace_count(ns, -1); /* whose it was is unknown; its database almost surely */
        metric_add(M_WARM_EVICT_ERROR, 1);
        if (s->large != NULL) {
            large_forget_locked(e, s, dropped.location);
        }
    } else {
        atomic_fetch_add_explicit(&e->warm_items, 1, memory_order_relaxed);
    }
    return OK;
}

void item_unlink_warm_locked(struct engine_worker *w, struct shard *s, uint64_t hash,
                             struct item *it)
{
    struct engine *e = w->engine;
    struct index_slot slots[INDEX_MATCH_MAX];
    DCHECK((item_flags(it) & ITEM_CLEAN) != 0);
    item_clear_flag(it, ITEM_CLEAN);
    unsigned n = index_match(&s->index, hash, slots);
    if (n == 1) {
        (void)warm_remove_locked(e, s, hash, slots[0]);
    } else if (n > 1) { /* one of them is ours: the records will tell which */
        struct namespace *ns = &e->namespaces[it->ns_slot];
        item_set_flag(it, ITEM_UNSETTLED);
        namespace_count(ns, 1);
        atomic_fetch_add_explicit(&ns->n_unsettled, 1, memory_order_relaxed);
        fetch_settle_locked(w, s, hash, it);
    }
}

void item_remove_locked(struct engine_worker *w, struct shard *s, uint64_t hash, struct item *it)
{
    struct engine *e = w->engine;
    if ((item_flags(it) & ITEM_TOMBSTONE) != 0) {
        return;
    }
    if ((item_flags(it) & ITEM_CLEAN) != 0) {
        item_unlink_warm_locked(w, s, hash, it);
    }
    if ((item_flags(it) & ITEM_UNSETTLED) != 0) {
        item_set_flag(it, ITEM_TOMBSTONE);
        namespace_count(&e->namespaces[it->ns_slot], -1);
        return;
    }
    item_drop_locked(e, s, hash, it, true);
}
