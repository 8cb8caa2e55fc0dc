/*
 * Questions to a whole database, and an operator's hand on one key. Each function is a small state
 * machine: what must outlive parking hangs on op->job.
 */
#include <stdlib.h>

#include "engine/base/clock.h"
#include "engine/base/mem.h"
#include "engine/hash.h"
#include "engine/mutate.h"

/* ---- size ---- */

#define SIZE_WAIT_US 1000000

enum status engine_db_size(struct engine_op *op, int db, uint64_t *n_keys_out)
{
    struct engine *e = op->worker->engine;
    struct namespace *ns = &e->namespaces[namespace_slot(e, (unsigned)db)];
    int64_t unsettled = atomic_load_explicit(&ns->n_unsettled, memory_order_acquire);
    if (unsettled != 0) {
        if (op->started_us == 0) {
            op->started_us = clock_mono_us();
        }
        if (clock_mono_us() - op->started_us < SIZE_WAIT_US) {
            op_delay(op);
            return AGAIN;
        }
    }
    op->started_us = 0;
    /* Under a storm of overwrites that never settles: nearly every match is the key's own. */
    int64_t n = atomic_load_explicit(&ns->n_keys, memory_order_relaxed) - unsettled;
    *n_keys_out = n > 0 ? (uint64_t)n : 0;
    return OK;
}

/* ---- a random key ---- */

#define RANDOM_TRIES 64

struct random_job {
    struct log_read read; /* first */
    struct engine_op *op; /* NULL: cancelled */
    struct shard *shard;
    struct engine_scan scan; /* the last resort: the first key there is */
    unsigned n_tries;
    int db;
    char *key;
    size_t key_len;
    bool is_found;
    bool is_scanning;
};

static uint64_t next_random(struct engine_worker *w)
{
    w->random ^= w->random << 13; /* xorshift64, Marsaglia 2003 */
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return w->random;
}

static bool key_keep(struct random_job *job, const char *key, size_t len)
{
    job->key = mem_alloc(len);
    if (job->key != NULL) {
        memcpy(job->key, key, len);
        job->key_len = len;
        job->is_found = true;
    }
    return job->is_found;
}

static void random_read_done(struct log_read *read, enum status st)
{
    struct random_job *job = (struct random_job *)(void *)read;
    struct engine_op *op = job->op;
    struct record rec;
    if (op != NULL && st == OK && log_read_record(read, &rec) == OK && rec.kind != RECORD_CHUNK) {
        struct engine *e = op->worker->engine;
        struct namespace *ns = &e->namespaces[namespace_slot(e, (unsigned)job->db)];
        bool is_dead = rec.ns != ns->id || (rec.expire_at_ms != RECORD_NO_EXPIRY &&
                                            rec.expire_at_ms <= engine_worker_now_ms(op->worker));
        uint64_t hash = hash_key(ns->seed, rec.key, rec.key_len);
        if (!is_dead && shard_of(e, hash) == job->shard) {
            lock_acquire(&job->shard->lock);
            bool is_live = index_has(&job->shard->index, hash, read->location);
            lock_release(&job->shard->lock);
            is_dead = !is_live || !key_keep(job, rec.key, rec.key_len);
        }
    }
    log_read_finish(read);
    if (op == NULL) {
        mem_free(job->key);
        mem_free(job);
        return;
    }
    op->resume(op);
}

/* OK: found; AGAIN: a read is under way; NOT_FOUND: this try brought nothing. */
static enum status random_try(struct engine_op *op, struct random_job *job)
{
    struct engine *e = op->worker->engine;
    uint16_t ns_slot = namespace_slot(e, (unsigned)job->db);
    uint64_t random = next_random(op->worker);
    struct shard *s = &e->shards[random >> (64 - SHARD_BITS)];
    struct index_slot slot;
    enum status st = NOT_FOUND;
    lock_acquire(&s->lock);
    uint64_t total = s->table.n_items + s->index.n_slots;
    if (total != 0 && random % total < s->table.n_items) {
        struct item *it = table_random(&s->table, random);
        if (it->ns_slot == ns_slot && (item_flags(it) & ITEM_TOMBSTONE) == 0 &&
            !item_is_expired(it, engine_worker_now_ms(op->worker))) {
            st = key_keep(job, item_key(it), item_key_len(it)) ? OK : NO_MEMORY;
        }
    } else if (total != 0 && index_random(&s->index, random, &slot)) {
        job->shard = s;
        job->read = (struct log_read){.location = slot.location,
                                      .len_class = slot.len_class,
                                      .reason = LOG_REASON_LOOKUP,
                                      .done = random_read_done};
        if (log_read_begin(e->log, op->worker->queue, &job->read) == OK) {
            st = AGAIN;
        }
    }
    lock_release(&s->lock);
    return st;
}

static void random_cancel(struct engine_op *op)
{
    struct random_job *job = op->job;
    op->job = NULL;
    if (job->is_scanning) {
        engine_scan_reset(&job->scan);
        mem_free(job);
    } else {
        job->op = NULL; /* the read frees it */
    }
}

static enum status random_by_scan(struct engine_op *op, struct random_job *job)
{
    job->is_scanning = true;
    job->scan.db = job->db;
    job->scan.count = 1;
    for (;;) {
        enum status st = engine_scan(op, &job->scan);
        if (st != OK) {
            return st;
        }
        if (job->scan.n_found != 0) {
            return key_keep(job, job->scan.found[0].data, job->scan.found[0].len) ? OK : NO_MEMORY;
        }
        if (job->scan.next_cursor == 0) {
            return NOT_FOUND;
        }
        job->scan.cursor = job->scan.next_cursor;
    }
}

static enum status random_step(struct engine_op *op, struct random_job *job)
{
    struct engine *e = op->worker->engine;
    if (job->is_found) {
        return OK;
    }
    if (atomic_load_explicit(&e->namespaces[namespace_slot(e, (unsigned)job->db)].n_keys,
                             memory_order_relaxed) <= 0) {
        return NOT_FOUND;
    }
    while (job->n_tries++ < RANDOM_TRIES) {
        enum status st = random_try(op, job);
        if (st != NOT_FOUND) {
            return st;
        }
    }
    return random_by_scan(op, job);
}

enum status engine_random_key(struct engine_op *op, int db, char **key_out, size_t *len_out)
{
    struct random_job *job = op->job;
    *key_out = NULL;
    *len_out = 0;
    if (job == NULL) {
        job = mem_zalloc(1, sizeof(*job));
        if (job == NULL) {
            return NO_MEMORY;
        }
        job->op = op;
        job->db = db;
        op->job = job;
        op->job_cancel = random_cancel;
    }
    enum status st = random_step(op, job);
    if (st == AGAIN) {
        return AGAIN;
    }
    if (st == OK) {
        *key_out = job->key;
        *len_out = job->key_len;
    }
    engine_scan_reset(&job->scan);
    mem_free(job);
    op->job = NULL;
    op->job_cancel = NULL;
    return st;
}

/* ---- by hand ---- */

#define PROMOTE_TRIES 100

enum status engine_demote(struct engine_op *op)
{
    struct engine_worker *w = op->worker;
    struct engine *e = w->engine;
    struct engine_value value;
    if (e->log == NULL) {
        return REJECTED;
    }
    op->keys[0].need = ENGINE_META;
    enum status st = engine_begin(op);
    if (st != OK) {
        return st;
    }
    struct item *it = op_item(op, 0);
    if (it == NULL || (item_flags(it) & ITEM_TOMBSTONE) != 0) {
        bool exists = it == NULL && engine_find(op, 0, &value);
        engine_end(op);
        return exists ? OK : NOT_FOUND;
    }
    st = demote_item(w, &e->shards[op->keys[0].shard], it); /* releases the shard */
    op_reset(op);
    if (st == AGAIN) {
        op_delay(op);
    }
    return st == OK || st == AGAIN ? st : REJECTED;
}

enum status engine_promote(struct engine_op *op)
{
    struct engine *e = op->worker->engine;
    struct engine_value value;
    op->keys[0].need = ENGINE_VALUE;
    enum status st = engine_begin(op);
    if (st != OK) {
        return st;
    }
    bool exists = engine_find(op, 0, &value);
    struct item *it = op_item(op, 0);
    if (it != NULL) { /* asked for by hand: as good as a hit */
        policy_hit(e->policies[e->shards[op->keys[0].shard].policy_id].policy,
                   (struct policy_node *)(void *)it, op->keys[0].hash);
    }
    bool may_fit = value.len + sizeof(struct item) + op->keys[0].len <= memory_item_max();
    engine_end(op);
    if (exists && it == NULL && may_fit && op->n_tries++ < PROMOTE_TRIES) {
        op_delay(op); /* write buffers were full, or it was evicted again at once */
        return AGAIN;
    }
    op->n_tries = 0;
    return !exists ? NOT_FOUND : it != NULL ? OK : REJECTED;
}
