/*
 * Writing: engine_put, engine_edit, engine_set_expiry and engine_remove, with the shards locked.
 *
 * A value is overwritten in place when it keeps its size class and nobody else looks at it; otherwise a
 * new item takes the old one's place (table slot, queue position, hit bits). What lies on NVMe of the
 * key becomes dead at the same moment: its slot is removed when it is known for sure (clean item with
 * one match, or a fetched copy), else the item is unsettled and hides it (op.c, invariant 1).
 */
#include "engine/mutate.h"

#include <stdlib.h>

#include "engine/base/options.h"
#include "engine/base/mem.h"

static uint64_t next_version(struct shard *s)
{
    return ++s->seq & ((UINT64_C(1) << 48) - 1);
}

static struct shard *key_shard(struct engine_op *op, const struct engine_key *key)
{
    return &op->worker->engine->shards[key->shard];
}

/* A new item for a key that has no hot item: what the device holds of the key is settled now, or
 * later by a read. */
static enum status link_fresh(struct engine_op *op, uint32_t i, struct item *fresh)
{
    struct engine_worker *w = op->worker;
    struct engine *e = w->engine;
    struct engine_key *key = &op->keys[i];
    struct shard *s = key_shard(op, key);
    struct namespace *ns = &e->namespaces[key->ns_slot];
    struct warm_value *v = op_warm(op, i);
    enum status st = item_link_locked(w, s, key->hash, fresh);
    if (st != OK) {
        return st;
    }
    key->item = fresh;
    if (v != NULL) {
        struct index_slot slot = {.location = v->location, .len_class = v->len_class};
        (void)warm_remove_locked(e, s, key->hash, slot);
        return OK; /* the key existed: counted already */
    }
    namespace_count(ns, 1);
    bool is_known_absent = key->warm != NULL && key->warm->is_absent && !key->warm->had_error;
    struct index_slot slots[INDEX_MATCH_MAX];
    if (!is_known_absent && s->index.n_slots != 0 &&
        index_match(&s->index, key->hash, slots) != 0) {
        item_set_flag(fresh, ITEM_UNSETTLED);
        atomic_fetch_add_explicit(&ns->n_unsettled, 1, memory_order_relaxed);
        fetch_settle_locked(w, s, key->hash, fresh);
    }
    return OK;
}

/* Installs a freshly made item as the key's value. Owns it on OK. */
static enum status install(struct engine_op *op, uint32_t i, struct item *fresh)
{
    struct engine_worker *w = op->worker;
    struct engine_key *key = &op->keys[i];
    struct shard *s = key_shard(op, key);
    struct item *old = op_item(op, i);
    if (old == NULL) {
        return link_fresh(op, i, fresh);
    }
    if ((item_flags(old) & ITEM_TOMBSTONE) != 0) {
        namespace_count(&w->engine->namespaces[key->ns_slot], 1);
    } else if ((item_flags(old) & ITEM_CLEAN) != 0) {
        item_unlink_warm_locked(w, s, key->hash, old);
    }
    item_replace_locked(w, s, key->hash, old, fresh);
    key->item = fresh;
    return OK;
}

/* Neither shared nor on its way down: its bytes may change under the shard's lock. */
static bool is_own(const struct item *it)
{
    return it != NULL && (item_flags(it) & (ITEM_DEMOTING | ITEM_TOMBSTONE)) == 0;
}

static void changed_in_place(struct engine_op *op, struct engine_key *key, struct item *it)
{
    struct shard *s = key_shard(op, key);
    if ((item_flags(it) & ITEM_CLEAN) != 0) {
        item_unlink_warm_locked(op->worker, s, key->hash, it);
    }
    item_set_version(it, next_version(s));
}

/* A write is a request like a read: of an item that is there, or of an absent key. */
static void count_write(struct engine_op *op, struct engine_key *key, struct item *it)
{
    struct policy *policy = shard_policy(op->worker->engine, key_shard(op, key))->policy;
    if (it != NULL) {
        policy_hit(policy, (struct policy_node *)(void *)it, key->hash);
    } else {
        policy_record_miss(policy, key->hash);
    }
}

static bool put_in_place(struct engine_op *op, struct engine_key *key, struct item *it,
                         const struct engine_put *put, int64_t expire_at_ms)
{
    bool has_expiry = expire_at_ms != ENGINE_NO_EXPIRY;
    if (!is_own(it) || (item_flags(it) & ITEM_BLOB) != 0 || put->blob != NULL ||
        has_expiry != ((item_flags(it) & ITEM_EXPIRY) != 0) ||
        item_bytes_for(key->len, (uint32_t)put->len, has_expiry, false) != item_bytes(it)) {
        return false;
    }
    changed_in_place(op, key, it);
    if (has_expiry) {
        memcpy(it->data, &expire_at_ms, sizeof(expire_at_ms));
    }
    item_set_value_len(it, (uint32_t)put->len);
    if (put->len != 0) {
        memmove(item_inline_value(it), put->data, put->len);
    }
    count_write(op, key, it);
    return true;
}

static int64_t current_expiry(struct engine_op *op, uint32_t i)
{
    struct item *it = op_item(op, i);
    if (it != NULL) {
        return (item_flags(it) & ITEM_TOMBSTONE) != 0 ? ENGINE_NO_EXPIRY : item_expiry(it);
    }
    struct warm_value *v = op_warm(op, i);
    return v != NULL ? v->expire_at_ms : ENGINE_NO_EXPIRY;
}

/* Without a warm tier a value must fit into one policy's share of the hot tier, or it would be lost. */
static enum status check_size(struct engine *e, const struct engine_key *key, size_t len)
{
    uint64_t max = memory_item_max();
    if (e->log == NULL) {
        uint64_t share = memory_hot_capacity() / e->n_policies;
        max = share - share / 4 < max ? share - share / 4 : max;
    }
    return len > UINT32_MAX || key->len + len + sizeof(struct item) > max ? TOO_BIG : OK;
}

/* A new item holding `len` bytes of `data` (or uninitialised), in a blob when large. */
static struct item *make_item(struct engine_op *op, struct engine_key *key, const char *data,
                              size_t len, struct engine_blob *blob, int64_t expire_at_ms)
{
    struct engine_blob *made = NULL;
    if (blob == NULL && len >= ENGINE_BLOB_MIN) {
        blob = made = engine_blob_create(len);
        if (blob == NULL) {
            return NULL;
        }
        if (data != NULL) {
            memcpy(blob->data, data, len);
        }
    }
    struct item_spec spec = {
        .key = key->data,
        .key_len = key->len,
        .ns_slot = key->ns_slot,
        .version = next_version(key_shard(op, key)),
        .expire_at_ms = expire_at_ms,
        .value_len = (uint32_t)len,
        .blob = blob,
        .value = data,
    };
    struct item *it = item_create(&spec);
    if (it == NULL) {
        engine_blob_release(made);
    } else if (blob != NULL) {
        memory_blob_in_item(blob, 1);
    }
    return it;
}

static enum status put_fresh(struct engine_op *op, uint32_t i, const struct engine_put *put,
                             int64_t expire_at_ms)
{
    struct engine_key *key = &op->keys[i];
    struct engine_blob *blob = put->len >= ENGINE_BLOB_MIN ? put->blob : NULL;
    const char *data = put->blob != NULL ? put->blob->data : put->data;
    struct item *fresh = make_item(op, key, data, put->len, blob, expire_at_ms);
    if (fresh == NULL) {
        return NO_MEMORY;
    }
    count_write(op, key, op_item(op, i));
    enum status st = install(op, i, fresh);
    if (st != OK) {
        if (blob != NULL) {
            engine_blob_acquire(blob); /* stays the caller's */
        }
        item_destroy(fresh);
        return st;
    }
    if (blob == NULL) {
        engine_blob_release(put->blob);
    }
    return OK;
}

enum status engine_put(struct engine_op *op, uint32_t i, const struct engine_put *put)
{
    struct engine_key *key = &op->keys[i];
    enum status st = check_size(op->worker->engine, key, put->len);
    if (st != OK) {
        return st;
    }
    int64_t expire_at_ms = put->expire_at_ms;
    if (expire_at_ms == ENGINE_KEEP_EXPIRY) {
        expire_at_ms = current_expiry(op, i);
    }
    if (!put_in_place(op, key, op_item(op, i), put, expire_at_ms)) {
        st = put_fresh(op, i, put, expire_at_ms);
    }
    if (st == OK && expire_at_ms != ENGINE_NO_EXPIRY &&
        expire_at_ms <= engine_worker_now_ms(op->worker)) {
        (void)engine_remove(op, i); /* over before it began; what NVMe holds of the key went too */
    }
    return st;
}

/* The bytes of the key's value, wherever they are; NULL when it has none. */
static const char *value_bytes(struct engine_op *op, uint32_t i, size_t *len_out,
                               struct engine_blob **blob_out)
{
    struct item *it = op_item(op, i);
    *len_out = 0;
    *blob_out = NULL;
    if (it != NULL) {
        if ((item_flags(it) & ITEM_TOMBSTONE) != 0) {
            return NULL;
        }
        *len_out = it->value_len;
        if ((item_flags(it) & ITEM_BLOB) != 0) {
            *blob_out = item_blob(it);
            return (*blob_out)->data;
        }
        return item_inline_value(it);
    }
    struct warm_value *v = op_warm(op, i);
    if (v == NULL) {
        return NULL;
    }
    CHECK(!v->head_only); /* the caller asked for META and now wants the bytes */
    *len_out = v->raw_len;
    *blob_out = v->blob;
    return v->blob != NULL ? v->blob->data : v->data;
}

static void policy_take_out(struct engine_op *op, const struct engine_key *key, struct item *it)
{
    struct policy_instance *p = shard_policy(op->worker->engine, key_shard(op, key));
    lock_acquire(&p->lock);
    policy_remove(p->policy, (struct policy_node *)(void *)it, item_charge(it));
    lock_release(&p->lock);
}

static void policy_put_back(struct engine_op *op, const struct engine_key *key, struct item *it)
{
    struct shard *s = key_shard(op, key);
    struct policy_instance *p = shard_policy(op->worker->engine, s);
    lock_acquire(&p->lock);
    policy_insert(p->policy, (struct policy_node *)(void *)it, item_charge(it));
    lock_release(&p->lock);
    policy_touch(op->worker, s);
}

static bool edit_in_place(struct engine_op *op, struct engine_key *key, struct item *it, size_t len,
                          char **data_out)
{
    if (!is_own(it)) {
        return false;
    }
    size_t old_len = it->value_len;
    if ((item_flags(it) & ITEM_BLOB) != 0) {
        struct engine_blob *blob = item_blob(it);
        if (len < ENGINE_BLOB_MIN) {
            return false;
        }
        policy_take_out(op, key, it); /* it may not look at the item while its size changes */
        bool is_resized = engine_blob_resize(&blob, len);
        if (is_resized) {
            item_set_blob(it, blob);
            item_set_value_len(it, (uint32_t)len);
        }
        policy_put_back(op, key, it);
        if (!is_resized) {
            return false;
        }
        *data_out = blob->data;
    } else {
        if (len >= ENGINE_BLOB_MIN ||
            item_bytes_for(key->len, (uint32_t)len, (item_flags(it) & ITEM_EXPIRY) != 0, false) !=
                item_bytes(it)) {
            return false;
        }
        item_set_value_len(it, (uint32_t)len);
        *data_out = item_inline_value(it);
    }
    if (len > old_len) {
        memset(*data_out + old_len, 0, len - old_len);
    }
    changed_in_place(op, key, it);
    return true;
}

enum status engine_edit(struct engine_op *op, uint32_t i, size_t len, char **data_out)
{
    struct engine_key *key = &op->keys[i];
    enum status st = check_size(op->worker->engine, key, len);
    *data_out = NULL;
    if (st != OK) {
        return st;
    }
    if (edit_in_place(op, key, op_item(op, i), len, data_out)) {
        return OK;
    }
    size_t old_len;
    struct engine_blob *old_blob;
    const char *old_data = value_bytes(op, i, &old_len, &old_blob);
    struct item *fresh = make_item(op, key, NULL, len, NULL, current_expiry(op, i));
    if (fresh == NULL) {
        return NO_MEMORY;
    }
    char *data = (item_flags(fresh) & ITEM_BLOB) != 0
                     ? ((struct engine_blob *)item_blob(fresh))->data
                     : item_inline_value(fresh);
    size_t kept = old_len < len ? old_len : len;
    if (kept != 0) {
        memcpy(data, old_data, kept);
    }
    memset(data + kept, 0, len - kept);
    st = install(op, i, fresh);
    if (st != OK) {
        item_destroy(fresh);
        return st;
    }
    *data_out = data;
    return OK;
}

enum status engine_set_expiry(struct engine_op *op, uint32_t i, int64_t expire_at_ms)
{
    struct engine_key *key = &op->keys[i];
    struct item *it = op_item(op, i);
    size_t len;
    struct engine_blob *blob;
    const char *data = value_bytes(op, i, &len, &blob);
    if ((it == NULL && op_warm(op, i) == NULL) ||
        (it != NULL && (item_flags(it) & ITEM_TOMBSTONE) != 0)) {
        return NOT_FOUND;
    }
    if (expire_at_ms != ENGINE_NO_EXPIRY && expire_at_ms <= engine_worker_now_ms(op->worker)) {
        (void)engine_remove(op, i);
        return OK;
    }
    if (expire_at_ms == ENGINE_NO_EXPIRY && current_expiry(op, i) == ENGINE_NO_EXPIRY) {
        return OK;
    }
    if (is_own(it) && (item_flags(it) & ITEM_EXPIRY) != 0 && expire_at_ms != ENGINE_NO_EXPIRY) {
        changed_in_place(op, key, it);
        memcpy(it->data, &expire_at_ms, sizeof(expire_at_ms));
        return OK;
    }
    if (blob != NULL) {
        engine_blob_acquire(blob);
    }
    struct item *fresh = make_item(op, key, data, len, blob, expire_at_ms);
    if (fresh == NULL) {
        engine_blob_release(blob);
        return NO_MEMORY;
    }
    enum status st = install(op, i, fresh);
    if (st != OK) {
        item_destroy(fresh);
    }
    return st;
}

bool engine_remove(struct engine_op *op, uint32_t i)
{
    struct engine_worker *w = op->worker;
    struct engine *e = w->engine;
    struct engine_key *key = &op->keys[i];
    struct shard *s = key_shard(op, key);
    struct item *it = op_item(op, i);
    if (it != NULL) {
        bool existed = (item_flags(it) & ITEM_TOMBSTONE) == 0;
        item_remove_locked(w, s, key->hash, it);
        key->item = table_find(&s->table, key->hash, key->ns_slot, key->data, key->len);
        return existed;
    }
    struct warm_value *v = op_warm(op, i);
    if (v == NULL) {
        return false;
    }
    struct index_slot slot = {.location = v->location, .len_class = v->len_class};
    (void)warm_remove_locked(e, s, key->hash, slot);
    namespace_count(&e->namespaces[key->ns_slot], -1);
    return true;
}
