/*
 * One device read per cold key. A fetch reads the records whose index slots match the key, newest
 * first (there is almost always just one), and ends when a record carries the key or none is left.
 * Everybody who wants the key meanwhile joins it; each is told on his own worker's thread.
 *
 *      join/settle -> READING -> verified, key compared
 *                        |           +- slot gone (moved, reclaimed, overwritten): look again
 *                        |           +- another key, or unreadable: next slot
 *                        |           +- this key: settle the slot, or promote, and deliver
 *                        +- head of a large value wanted: background reads the chunks -> deliver
 *
 * Invariants
 *  1. A result is delivered only if, under the shard's lock and after the read, the index still names
 *     the location it came from. Whoever uses it later checks that again (op.c, invariant 3).
 *  2. A fetch is in its shard's list from join to delivery; waiters are added under the shard's lock.
 *  3. The fetch owns its buffers and its copy of the key: clients may go at any time. A waiter whose
 *     client has gone is emptied on that client's worker and thrown away at delivery.
 *  4. While a settling fetch runs, its key has an ITEM_UNSETTLED item, which nobody demotes or drops
 *     (but a flush, after which the slots are another namespace's business).
 */
#include "engine/engine_impl.h"

#include <stdlib.h>

#include "engine/base/clock.h"
#include "engine/base/fault.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"

#define SETTLES_IN_FLIGHT 32

struct fetch {
    struct log_read read; /* first */
    struct large_fetch large;
    struct engine_worker *worker; /* whose queue reads; completions run there */
    struct shard *shard;
    uint64_t hash;
    uint32_t ns_id;
    uint16_t ns_slot;
    /* shard lock: */
    struct fetch *next;
    struct fetch_waiter *waiters;
    bool wants_value; /* somebody needs the bytes of a large value too */
    bool wants_promotion;
    bool is_settling;
    bool had_error;
    /* worker thread: */
    struct index_slot slot;
    unsigned n_tried;
    uint64_t tried[INDEX_MATCH_MAX];
    struct warm_value *value;   /* matched, waiting for its chunks */
    struct fetch *next_waiting; /* for its turn to read */
    uint32_t key_len;
    char key[];
};

/* ---- values ---- */

void warm_value_release(struct warm_value *v)
{
    if (v != NULL && atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) == 1) {
        engine_blob_release(v->blob);
        mem_free(v);
    }
}

static struct warm_value *value_create(size_t inline_len)
{
    struct warm_value *v = mem_alloc(sizeof(*v) + inline_len);
    if (v != NULL) {
        memset(v, 0, sizeof(*v));
        atomic_init(&v->refs, 1);
    }
    return v;
}

/* Decompresses a verified record. A head yields a value without its bytes. NULL: out of memory. */
static enum status value_from_record(struct fetch *f, const struct record *rec,
                                     struct warm_value **out)
{
    bool is_head = rec->kind == RECORD_HEAD;
    bool is_blob = !is_head && rec->raw_len >= ENGINE_BLOB_MIN;
    uint64_t total = rec->raw_len;
    *out = NULL;
    if (is_head && large_head_length(rec->stored, rec->stored_len, &total) != OK) {
        return CORRUPT;
    }
    struct warm_value *v = value_create(is_head || is_blob ? 0 : rec->raw_len);
    if (v == NULL) {
        return NO_MEMORY;
    }
    v->location = f->slot.location;
    v->len_class = f->slot.len_class;
    v->expire_at_ms = rec->expire_at_ms;
    v->seq = rec->seq;
    v->raw_len = (uint32_t)total;
    v->stored_len = rec->stored_len;
    v->head_only = is_head;
    enum status st = OK;
    if (is_blob && (v->blob = engine_blob_create(rec->raw_len)) == NULL) {
        v->no_memory = 1;
    } else if (!is_head) {
        st = codec_decompress(f->worker->codec, rec->codec, rec->stored, rec->stored_len,
                              is_blob ? v->blob->data : v->data, rec->raw_len);
    }
    if (st != OK) {
        warm_value_release(v);
        return CORRUPT;
    }
    *out = v;
    return OK;
}

static struct warm_value *value_absent(const struct fetch *f)
{
    struct warm_value *v = value_create(0);
    if (v != NULL) {
        v->is_absent = 1;
        v->had_error = f->had_error;
        v->n_tried = (uint8_t)f->n_tried;
        memcpy(v->tried, f->tried, sizeof(f->tried));
    }
    return v;
}

/* ---- delivery ---- */

static void waiter_deliver(struct fetch_waiter *wt)
{
    struct engine_op *op = wt->op;
    if (op == NULL) {
        warm_value_release(wt->result);
        mem_free(wt);
        return;
    }
    wt->key->waiter = NULL;
    warm_value_release(wt->key->warm);
    wt->key->warm = wt->result;
    mem_free(wt);
    if (--op->n_waiting == 0) {
        op->resume(op);
    }
}

static void waiter_mail(struct mail *mail)
{
    waiter_deliver((struct fetch_waiter *)(void *)mail);
}

/* Takes the fetch out of its shard; then, unlocked, tells everybody. Owns `v`. */
static void fetch_finish(struct fetch *f, struct warm_value *v) RELEASES(f->shard->lock)
{
    struct fetch **link = &f->shard->fetches;
    while (*link != f) {
        link = &(*link)->next;
    }
    *link = f->next;
    struct fetch_waiter *wt = f->waiters;
    bool was_settling = f->is_settling;
    lock_release(&f->shard->lock);
    struct engine_worker *w = f->worker;
    while (wt != NULL) {
        struct fetch_waiter *next = wt->next;
        if (v != NULL) {
            atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
        }
        wt->result = v;
        if (wt->worker == w) {
            waiter_deliver(wt);
        } else {
            wt->mail.run = waiter_mail;
            mailbox_post(&wt->worker->mailbox, &wt->mail);
        }
        wt = next;
    }
    warm_value_release(v);
    w->n_fetches--;
    if (was_settling) {
        w->n_settling--;
    }
    mem_free(f->large.head);
    mem_free(f);
}

/* ---- choosing and reading slots ---- */

static void read_done(struct log_read *read, enum status st);

static bool was_tried(const struct fetch *f, uint64_t location)
{
    for (unsigned i = 0; i < f->n_tried; i++) {
        if (f->tried[i] == location) {
            return true;
        }
    }
    return false;
}

static void mark_tried(struct fetch *f)
{
    if (f->n_tried < INDEX_MATCH_MAX) {
        f->tried[f->n_tried++] = f->slot.location;
    }
}

/* Buffers of reads in flight are RAM that a command with thousands of cold keys could otherwise take. */
static uint64_t reading_max(void)
{
    return memory_limit() / 64;
}

static uint32_t read_bytes(struct index_slot slot)
{
    return index_class_bytes(slot.len_class) + 2 * DEVICE_ALIGN;
}

/* Begins reading the newest slot not yet tried. False: none is left. */
static bool read_next_locked(struct fetch *f)
{
    struct index_slot slots[INDEX_MATCH_MAX];
    unsigned n = index_match(&f->shard->index, f->hash, slots);
    while (n-- != 0 && f->n_tried < INDEX_MATCH_MAX) {
        if (was_tried(f, slots[n].location)) {
            continue;
        }
        f->slot = slots[n];
        f->read = (struct log_read){.location = slots[n].location,
                                    .len_class = slots[n].len_class,
                                    .reason = LOG_REASON_LOOKUP,
                                    .done = read_done};
        if (log_read_begin(f->worker->engine->log, f->worker->queue, &f->read) == OK) {
            f->worker->reading_bytes += read_bytes(f->slot);
            return true;
        }
        mark_tried(f);
        f->had_error = true;
    }
    return false;
}

/* No slot is left: absent, or everything settled. */
static void end_absent(struct fetch *f) RELEASES(f->shard->lock)
{
    struct engine *e = f->worker->engine;
    if (f->is_settling) {
        struct item *it = table_find(&f->shard->table, f->hash, f->ns_slot, f->key, f->key_len);
        if (it != NULL && (item_flags(it) & ITEM_UNSETTLED) != 0) {
            item_clear_flag(it, ITEM_UNSETTLED);
            atomic_fetch_sub_explicit(&e->namespaces[f->ns_slot].n_unsettled, 1,
                                      memory_order_release);
            if ((item_flags(it) & ITEM_TOMBSTONE) != 0) {
                item_drop_locked(e, f->shard, f->hash, it, false);
            }
        }
    }
    fetch_finish(f, value_absent(f));
}

static void go_on(struct fetch *f) RELEASES(f->shard->lock)
{
    if (read_next_locked(f)) {
        lock_release(&f->shard->lock);
    } else {
        end_absent(f);
    }
}

/* ---- completion ---- */

/* A hot, clean item for a value just read; the caller promotes it if nothing changed. */
static struct item *promoted_item(struct fetch *f, struct warm_value *v)
{
    if (v->raw_len > memory_item_max() || v->no_memory || v->head_only) {
        metric_add(M_HOT_REJECT_SIZE, 1);
        return NULL;
    }
    struct item_spec spec = {.key = f->key,
                             .key_len = f->key_len,
                             .ns_slot = f->ns_slot,
                             .version = v->seq,
                             .expire_at_ms = v->expire_at_ms,
                             .value_len = v->raw_len,
                             .blob = v->blob,
                             .value = v->data};
    struct item *it = item_create(&spec);
    if (it != NULL) {
        item_set_flag(it, ITEM_CLEAN);
        if (v->blob != NULL) {
            engine_blob_acquire(v->blob);
            memory_blob_in_item(v->blob, 1);
        }
    }
    return it;
}

static void promote_locked(struct fetch *f, struct warm_value *v)
{
    struct engine_worker *w = f->worker;
    struct shard *s = f->shard;
    if (!namespace_is_alive(&w->engine->namespaces[f->ns_slot]) ||
        table_find(&s->table, f->hash, f->ns_slot, f->key, f->key_len) != NULL) {
        metric_add(M_PROMOTIONS_STALE, 1);
        return;
    }
    if (w->is_choked) {
        metric_add(M_HOT_REJECT_BUSY, 1);
        return;
    }
    struct item *it = promoted_item(f, v);
    if (it == NULL) {
        return;
    }
    policy_record_miss(shard_policy(w->engine, s)->policy, f->hash);
    if (item_link_locked(w, s, f->hash, it) != OK) {
        item_destroy(it);
        return;
    }
    metric_add(M_PROMOTIONS, 1);
    metric_add(M_HOT_ADMIT_PROMOTE, 1);
}

/* The record is this key's and its slot is still there. Owns v, which is NULL when settling. */
static void end_matched(struct fetch *f, struct warm_value *v) RELEASES(f->shard->lock)
{
    struct engine *e = f->worker->engine;
    struct namespace *ns = &e->namespaces[f->ns_slot];
    bool is_expired = v != NULL && v->expire_at_ms != RECORD_NO_EXPIRY &&
                      v->expire_at_ms <= engine_worker_now_ms(f->worker);
    if (f->is_settling || is_expired) {
        (void)warm_remove_locked(e, f->shard, f->hash, f->slot);
        namespace_count(ns, -1);
        if (!f->is_settling) {
            metric_add(M_EXPIRED_KEYS, 1);
            metric_add(M_WARM_EXPIRED, 1);
        }
        warm_value_release(v);
        go_on(f);
        return;
    }
    if (v->head_only && f->wants_value) {
        f->value = v;
        lock_release(&f->shard->lock);
        large_fetch_begin(e, &f->large);
        return;
    }
    if (f->wants_promotion && !f->had_error) {
        promote_locked(f, v);
    }
    fetch_finish(f, v);
}

/* Bytes that cannot be this slot's record: the slot leads nowhere. */
static void slot_is_corrupt(struct fetch *f)
{
    struct engine *e = f->worker->engine;
    if (warm_remove_locked(e, f->shard, f->hash, f->slot)) {
        namespace_count(&e->namespaces[f->ns_slot], -1);
        metric_add(M_WARM_EVICT_ERROR, 1);
        metric_add(M_EVICTED_KEYS, 1);
    }
}

static bool is_this_key(const struct fetch *f, const struct record *rec)
{
    return rec->ns == f->ns_id && rec->kind != RECORD_CHUNK && rec->key_len == f->key_len &&
           memcmp(rec->key, f->key, f->key_len) == 0;
}

static enum status head_keep(struct fetch *f, const struct record *rec)
{
    mem_free(f->large.head);
    f->large.head = mem_alloc(rec->stored_len);
    if (f->large.head == NULL) {
        return NO_MEMORY;
    }
    memcpy(f->large.head, rec->stored, rec->stored_len);
    f->large.head_len = rec->stored_len;
    f->large.seq = rec->seq;
    f->large.hash = f->hash;
    f->large.ns_id = f->ns_id;
    f->large.worker = f->worker;
    return OK;
}

static void read_done(struct log_read *read, enum status st)
{
    struct fetch *f = (struct fetch *)(void *)read;
    struct record rec;
    struct warm_value *v = NULL;
    bool is_match = false;
    if (st == OK) {
        st = log_read_record(read, &rec);
    }
    if (st == OK && is_this_key(f, &rec)) {
        is_match = true;
        if (!f->is_settling) { /* set by this thread only */
            st = value_from_record(f, &rec, &v);
            if (st == OK && v->head_only) {
                st = head_keep(f, &rec);
            }
        }
    }
    log_read_finish(read);
    f->worker->reading_bytes -= read_bytes(f->slot);
    SEQ_POINT(PROMOTE_AFTER_READ);
    if (f->is_settling) {
        metric_add(M_SETTLE_READS, 1);
        SEQ_POINT(SETTLE_AFTER_READ);
    }
    lock_acquire(&f->shard->lock);
    if (!index_has(&f->shard->index, f->hash, f->slot.location)) {
        warm_value_release(v); /* moved, reclaimed or overwritten meanwhile */
        go_on(f);
    } else if (is_match && st == OK) {
        end_matched(f, v);
    } else {
        warm_value_release(v);
        if (st == CORRUPT) {
            slot_is_corrupt(f);
        } else if (st == OK) {
            metric_add(M_INDEX_FALSE_MATCHES, 1);
        } else if (f->is_settling) {
            slot_is_corrupt(f); /* cannot be told apart from a stale copy: gone, a cache may miss */
        } else {
            f->had_error = true;
        }
        mark_tried(f);
        go_on(f);
    }
}

/* The background has read (or not) the chunks of a large value. */
static void large_done(struct mail *mail)
{
    struct large_fetch *lf =
        (struct large_fetch *)(void *)((char *)mail - offsetof(struct large_fetch, mail));
    struct fetch *f = (struct fetch *)(void *)((char *)lf - offsetof(struct fetch, large));
    struct warm_value *v = f->value;
    f->value = NULL;
    lock_acquire(&f->shard->lock);
    if (!index_has(&f->shard->index, f->hash, f->slot.location)) {
        engine_blob_release(lf->blob);
        lf->blob = NULL;
        warm_value_release(v);
        go_on(f);
        return;
    }
    if (lf->st == NO_MEMORY) {
        v->no_memory = 1;
    } else if (lf->st != OK) {
        slot_is_corrupt(f);
        mark_tried(f);
        warm_value_release(v);
        go_on(f);
        return;
    }
    v->blob = lf->blob;
    lf->blob = NULL;
    v->head_only = v->blob == NULL && v->raw_len != 0 && !v->no_memory;
    end_matched(f, v);
}

/* ---- joining ---- */

static struct fetch *fetch_find_locked(struct shard *s, uint64_t hash, uint16_t ns_slot,
                                       const char *key, uint32_t key_len)
{
    for (struct fetch *f = s->fetches; f != NULL; f = f->next) {
        if (f->hash == hash && f->ns_slot == ns_slot && f->key_len == key_len &&
            memcmp(f->key, key, key_len) == 0) {
            return f;
        }
    }
    return NULL;
}

static struct fetch *fetch_create_locked(struct engine_worker *w, struct shard *s, uint64_t hash,
                                         uint16_t ns_slot, const char *key, uint32_t key_len)
{
    struct fetch *f = mem_zalloc(1, sizeof(*f) + key_len);
    if (f == NULL) {
        return NULL;
    }
    f->worker = w;
    f->shard = s;
    f->hash = hash;
    f->ns_slot = ns_slot;
    f->ns_id = w->engine->namespaces[ns_slot].id;
    f->key_len = key_len;
    f->large.mail.run = large_done;
    memcpy(f->key, key, key_len);
    f->next = s->fetches;
    s->fetches = f;
    w->n_fetches++;
    return f;
}

enum status fetch_join_locked(struct engine_worker *w, struct shard *s, struct engine_op *op,
                              struct engine_key *key)
{
    struct fetch *f = fetch_find_locked(s, key->hash, key->ns_slot, key->data, key->len);
    struct fetch_waiter *wt = mem_zalloc(1, sizeof(*wt));
    if (wt == NULL) {
        return NO_MEMORY;
    }
    if (f != NULL) {
        metric_add(M_FAULT_IN_COALESCED, 1);
    } else {
        f = fetch_create_locked(w, s, key->hash, key->ns_slot, key->data, key->len);
        if (f == NULL) {
            mem_free(wt);
            return NO_MEMORY;
        }
        if (w->reading_bytes > reading_max()) {
            *w->fetches_tail = f;
            w->fetches_tail = &f->next_waiting;
        } else if (!read_next_locked(f)) { /* nothing readable: told as absent, with had_error */
            s->fetches = f->next;
            w->n_fetches--;
            key->warm = value_absent(f);
            mem_free(f);
            mem_free(wt);
            return key->warm == NULL ? NO_MEMORY : OK;
        }
    }
    f->wants_value |= key->need == ENGINE_VALUE;
    f->wants_promotion |= key->need == ENGINE_VALUE && (op->flags & ENGINE_OP_NO_TOUCH) == 0;
    wt->worker = w;
    wt->op = op;
    wt->key = key;
    wt->next = f->waiters;
    f->waiters = wt;
    key->waiter = wt;
    op->n_waiting++;
    return AGAIN;
}

void fetch_cancel(struct engine_key *key)
{
    key->waiter->op = NULL; /* same thread as delivery */
    key->waiter = NULL;
}

void fetch_start_waiting(struct engine_worker *w)
{
    while (w->fetches_waiting != NULL && w->reading_bytes <= reading_max()) {
        struct fetch *f = w->fetches_waiting;
        w->fetches_waiting = f->next_waiting;
        if (w->fetches_waiting == NULL) {
            w->fetches_tail = &w->fetches_waiting;
        }
        lock_acquire(&f->shard->lock);
        go_on(f);
    }
}

/* ---- settling ---- */

/* No room to remember the request: what matches goes, a cache may miss. */
static void settle_by_dropping(struct engine *e, struct shard *s, uint64_t hash, struct item *it)
{
    struct namespace *ns = &e->namespaces[it->ns_slot];
    struct index_slot slots[INDEX_MATCH_MAX];
    unsigned n = index_match(&s->index, hash, slots);
    for (unsigned i = 0; i < n; i++) {
        (void)warm_remove_locked(e, s, hash, slots[i]);
        namespace_count(ns, -1);
    }
    item_clear_flag(it, ITEM_UNSETTLED);
    atomic_fetch_sub_explicit(&ns->n_unsettled, 1, memory_order_relaxed);
}

void fetch_settle_locked(struct engine_worker *w, struct shard *s, uint64_t hash, struct item *it)
{
    uint32_t key_len = item_key_len(it);
    struct settle *settle = mem_alloc(sizeof(*settle) + key_len);
    if (settle == NULL) {
        settle_by_dropping(w->engine, s, hash, it);
        return;
    }
    *settle = (struct settle){.shard = s,
                              .hash = hash,
                              .ns_slot = it->ns_slot,
                              .ns_id = w->engine->namespaces[it->ns_slot].id,
                              .key_len = key_len};
    memcpy(settle->key, item_key(it), key_len);
    *w->settles_tail = settle;
    w->settles_tail = &settle->next;
    w->n_settles_queued++;
}

/* False: another worker is reading the key just now; ask again. */
static NO_TSA bool settle_start(struct engine_worker *w, const struct settle *settle)
{
    struct shard *s = settle->shard;
    lock_acquire(&s->lock);
    struct item *it =
        table_find(&s->table, settle->hash, settle->ns_slot, settle->key, settle->key_len);
    if (it == NULL || (item_flags(it) & ITEM_UNSETTLED) == 0 ||
        w->engine->namespaces[settle->ns_slot].id != settle->ns_id) {
        lock_release(&s->lock);
        return true;
    }
    struct fetch *f =
        fetch_find_locked(s, settle->hash, settle->ns_slot, settle->key, settle->key_len);
    if (f != NULL) {
        bool is_ours = f->worker == w;
        if (is_ours && !f->is_settling && f->value == NULL) {
            f->is_settling = true;
            w->n_settling++;
        }
        bool is_settling = f->is_settling;
        lock_release(&s->lock);
        return is_settling;
    }
    f = fetch_create_locked(w, s, settle->hash, settle->ns_slot, settle->key, settle->key_len);
    if (f == NULL) {
        lock_release(&s->lock);
        return false;
    }
    f->is_settling = true;
    w->n_settling++;
    go_on(f);
    return true;
}

void fetch_start_settles(struct engine_worker *w)
{
    uint32_t n = w->n_settles_queued;
    while (n-- != 0 && w->n_settling < SETTLES_IN_FLIGHT) {
        struct settle *settle = w->settles;
        w->settles = settle->next;
        settle->next = NULL;
        if (w->settles == NULL) {
            w->settles_tail = &w->settles;
        }
        if (settle_start(w, settle)) {
            w->n_settles_queued--;
            mem_free(settle);
        } else {
            *w->settles_tail = settle;
            w->settles_tail = &settle->next;
        }
    }
}
