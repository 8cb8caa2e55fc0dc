/*
 * Large values. From LARGE_MIN bytes on the background thread compresses and writes them, so that no
 * worker stands still; from LARGE_SINGLE on they are cut:
 *
 *      chunk 0 | chunk 1 | ... | chunk n-1 | head        all with the item's hash and sequence
 *      head's payload:  total u64 | n u32 | chunk bytes u32 | n x (location 56 bits, length class 8)
 *
 * The index names the head alone. Every shard keeps a list of its large values, so that the death of a
 * head kills its chunks' bytes, and reclaim, meeting a chunk, finds the value it belongs to.
 *
 * Invariant: a head is appended only when all its chunks are on the device; a value is published when its
 * head is. A chunk counts only if it carries the head's hash, sequence, namespace and its own number.
 */
#include <stdlib.h>

#include "engine/base/bytes.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/options.h"
#include "engine/engine_impl.h"

#define HEAD_FIXED 16u
#define COOKIE_CHUNK 1u
#define COOKIE_HEAD 2u
#define COOKIE_MOVED 3u
#define COOKIE_MASK 3u

struct head_job { /* the head of an item on its way */
    struct item *item;
    struct large_value *large;
};

struct moved_head { /* the head of a value that reclaim moves */
    struct index_slot slot;
    bool is_written;
};

struct demote_job {
    struct background_job job;
    struct item *item;
    uint64_t hash;
};

/* ---- the list of a shard ---- */

static void large_free(struct large_value *lv)
{
    if (lv != NULL) {
        mem_free(lv->key);
        mem_free(lv);
    }
}

static struct large_value *large_create(uint64_t hash, uint64_t seq, uint32_t ns_id, uint32_t total,
                                        const char *key, uint32_t key_len)
{
    uint32_t n = (total + LARGE_CHUNK - 1) / LARGE_CHUNK;
    struct large_value *lv = mem_zalloc(1, sizeof(*lv) + n * sizeof(lv->chunks[0]));
    if (lv == NULL || (lv->key = mem_alloc(key_len)) == NULL) {
        mem_free(lv);
        return NULL;
    }
    memcpy(lv->key, key, key_len);
    lv->key_len = key_len;
    lv->hash = hash;
    lv->seq = seq;
    lv->ns_id = ns_id;
    lv->total = total;
    lv->n_chunks = n;
    return lv;
}

static void chunks_note(struct engine *e, const struct large_value *lv, bool is_live)
{
    for (uint32_t i = 0; i < lv->n_chunks; i++) {
        uint32_t bytes = index_class_bytes(lv->chunks[i].len_class);
        if (is_live) {
            log_note_live(e->log, lv->chunks[i].location, bytes);
        } else {
            log_note_dead(e->log, lv->chunks[i].location, bytes);
        }
    }
}

void large_link_locked(struct engine *e, struct shard *s, struct large_value *lv,
                       const struct log_entry *head)
{
    lv->head_location = head->location;
    lv->next = s->large;
    s->large = lv;
    chunks_note(e, lv, true);
}

void large_forget_locked(struct engine *e, struct shard *s, uint64_t location)
{
    for (struct large_value **link = &s->large; *link != NULL; link = &(*link)->next) {
        struct large_value *lv = *link;
        if (lv->head_location == location) {
            *link = lv->next;
            chunks_note(e, lv, false);
            large_free(lv);
            return;
        }
    }
}

struct large_value *large_find_locked(struct shard *s, uint64_t hash, uint64_t seq)
{
    struct large_value *lv = s->large;
    while (lv != NULL && (lv->hash != hash || lv->seq != seq)) {
        lv = lv->next;
    }
    return lv;
}

void large_clear(struct engine *e, struct shard *s)
{
    while (s->large != NULL) {
        struct large_value *lv = s->large;
        s->large = lv->next;
        chunks_note(e, lv, false);
        large_free(lv);
    }
}

/* ---- the head ---- */

static size_t head_size(uint32_t n_chunks)
{
    return HEAD_FIXED + (size_t)n_chunks * 8;
}

static void head_encode(const struct large_value *lv, char *out)
{
    bytes_store_u64(out, lv->total);
    bytes_store_u32(out + 8, lv->n_chunks);
    bytes_store_u32(out + 12, LARGE_CHUNK);
    for (uint32_t i = 0; i < lv->n_chunks; i++) {
        bytes_store_u64(out + HEAD_FIXED + i * 8,
                        lv->chunks[i].location << 8 | lv->chunks[i].len_class);
    }
}

enum status large_head_length(const char *head, uint32_t len, uint64_t *total_out)
{
    *total_out = 0;
    if (len < HEAD_FIXED) {
        return CORRUPT;
    }
    uint64_t total = bytes_load_u64(head);
    uint32_t n = bytes_load_u32(head + 8);
    if (total > UINT32_MAX || bytes_load_u32(head + 12) != LARGE_CHUNK ||
        n != (total + LARGE_CHUNK - 1) / LARGE_CHUNK || len != head_size(n)) {
        return CORRUPT;
    }
    *total_out = total;
    return OK;
}

/* ---- down ---- */

static const char *item_bytes_of(struct item *it)
{
    return (item_flags(it) & ITEM_BLOB) != 0 ? ((struct engine_blob *)item_blob(it))->data
                                             : item_inline_value(it);
}

static void *tagged(void *p, uintptr_t tag)
{
    return (void *)((uintptr_t)p | tag);
}

static void head_done(struct engine *e, enum status st, struct head_job *job,
                      const struct log_entry *entry)
{
    if (st != OK) {
        demote_abandon(e, job->item, entry->hash, st);
    }
    if (st != OK || !demote_publish(e, job->item, entry, job->large)) {
        large_free(job->large);
    }
    mem_free(job);
}

void large_block_done(void *engine, enum status st, const struct log_entry *entries, uint32_t n)
{
    struct engine *e = engine;
    for (uint32_t i = 0; i < n; i++) {
        uintptr_t tag = (uintptr_t)entries[i].cookie & COOKIE_MASK;
        void *p = (void *)((uintptr_t)entries[i].cookie & ~(uintptr_t)COOKIE_MASK);
        if (tag == COOKIE_CHUNK) {
            struct large_chunk *chunk = p;
            chunk->location = entries[i].location;
            chunk->len_class = index_class(entries[i].record_bytes);
            chunk->is_written = st == OK;
        } else if (tag == COOKIE_MOVED) {
            struct moved_head *moved = p;
            moved->slot = (struct index_slot){.location = entries[i].location,
                                              .len_class = index_class(entries[i].record_bytes)};
            moved->is_written = st == OK;
        } else if (tag == COOKIE_HEAD) {
            head_done(e, st, p, &entries[i]);
        } else if (st == OK) {
            (void)demote_publish(e, p, &entries[i], NULL);
        } else {
            demote_abandon(e, p, entries[i].hash, st);
        }
    }
    background_wake_workers(e);
}

/* Waits for a segment when there is none just now. */
static enum status append(struct engine *e, struct log_writer *writer, const struct log_put *put,
                          void *cookie)
{
    uint64_t location;
    uint32_t bytes;
    enum status st;
    unsigned attempt = 0;
    do {
        st = log_append(writer, put, cookie, &location, &bytes);
    } while ((st == AGAIN || st == NO_SPACE) && background_wait_for_space(e, attempt++));
    return st;
}

static struct log_put put_of(struct engine *e, struct item *it, uint64_t hash)
{
    return (struct log_put){.hash = hash,
                            .seq = item_version(it),
                            .ns = e->namespaces[it->ns_slot].id,
                            .expire_at_ms = item_expiry(it),
                            .key = item_key(it),
                            .key_len = item_key_len(it),
                            .value = item_bytes_of(it),
                            .value_len = it->value_len,
                            .kind = RECORD_VALUE,
                            .level = (int)option_i64(OPT_WARM_COMPRESSION)};
}

static enum status write_chunks(struct engine *e, struct log_writer *writer, struct large_value *lv,
                                struct log_put base)
{
    const char *value = base.value;
    base.kind = RECORD_CHUNK;
    base.key_len = 0;
    for (uint32_t i = 0; i < lv->n_chunks; i++) {
        uint32_t at = i * LARGE_CHUNK;
        base.chunk_no = i;
        base.value = value + at;
        base.value_len = lv->total - at < LARGE_CHUNK ? lv->total - at : LARGE_CHUNK;
        enum status st = append(e, writer, &base, tagged(&lv->chunks[i], COOKIE_CHUNK));
        if (st != OK) {
            IGNORE(log_flush(writer)); /* nothing may name lv's chunks when it is freed */
            return st;
        }
    }
    enum status st = log_flush(writer);
    for (uint32_t i = 0; i < lv->n_chunks && st == OK; i++) {
        st = lv->chunks[i].is_written ? OK : IO;
    }
    return st;
}

static enum status write_head(struct engine *e, struct log_writer *writer, struct large_value *lv,
                              struct log_put base, void *cookie)
{
    size_t len = head_size(lv->n_chunks);
    char *head = mem_alloc(len);
    if (head == NULL) {
        return NO_MEMORY;
    }
    head_encode(lv, head);
    base.kind = RECORD_HEAD;
    base.value = head;
    base.value_len = (uint32_t)len;
    base.level = 0;
    enum status st = append(e, writer, &base, cookie);
    mem_free(head);
    return st;
}

static enum status demote_chunked(struct engine *e, struct log_writer *writer, struct item *it,
                                  uint64_t hash)
{
    struct log_put put = put_of(e, it, hash);
    struct head_job *job = mem_zalloc(1, sizeof(*job));
    enum status st = NO_MEMORY;
    if (job == NULL) {
        return NO_MEMORY;
    }
    job->item = it;
    job->large = large_create(hash, put.seq, put.ns, it->value_len, put.key, put.key_len);
    if (job->large == NULL) {
        goto out;
    }
    TRY(write_chunks(e, writer, job->large, put));
    TRY(write_head(e, writer, job->large, put, tagged(job, COOKIE_HEAD)));
    job = NULL; /* large_block_done's */
    IGNORE(log_flush(writer));
out:
    if (job != NULL) {
        large_free(job->large);
        mem_free(job);
    }
    return st;
}

void large_demote(struct engine *e, struct log_writer *writer, struct item *it, uint64_t hash)
{
    enum status st;
    if (it->value_len >= LARGE_SINGLE) {
        st = demote_chunked(e, writer, it, hash);
    } else {
        struct log_put put = put_of(e, it, hash);
        st = append(e, writer, &put, it);
    }
    if (st != OK) {
        demote_abandon(e, it, hash, st);
    }
}

static void demote_run(struct engine *e, struct background_job *job)
{
    struct demote_job *dj = (struct demote_job *)(void *)job;
    struct log_writer *writer = background_writer(e);
    large_demote(e, writer, dj->item, dj->hash);
    IGNORE(log_flush(writer)); /* failures arrive in large_block_done */
    mem_free(dj);
}

enum status large_demote_begin(struct engine *e, struct shard *s, struct item *it)
{
    struct demote_job *dj = mem_zalloc(1, sizeof(*dj));
    (void)s;
    if (dj == NULL) {
        return AGAIN;
    }
    dj->job.run = demote_run;
    dj->item = it;
    dj->hash = item_hash(e, it);
    background_post(e, &dj->job);
    return OK;
}

/* ---- up ---- */

static enum status read_chunk(struct engine *e, const struct large_fetch *lf, uint32_t i,
                              uint64_t word, char *dst, uint32_t len)
{
    struct record rec;
    void *buffer = NULL;
    enum status st = log_read_sync(e->log, word >> 8, (uint8_t)word, &rec, &buffer);
    if (st == OK) {
        bool is_right = rec.kind == RECORD_CHUNK && rec.seq == lf->seq && rec.ns == lf->ns_id &&
                        rec.chunk_no == i && rec.raw_len == len;
        st = !is_right ? CORRUPT
                       : codec_decompress(background_codec(e), rec.codec, rec.stored,
                                          rec.stored_len, dst, len);
    }
    free(buffer);
    return st;
}

static void fetch_run(struct engine *e, struct background_job *job)
{
    struct large_fetch *lf = (struct large_fetch *)(void *)job;
    uint64_t total = 0;
    lf->blob = NULL;
    lf->st = large_head_length(lf->head, lf->head_len, &total);
    if (lf->st == OK && (lf->blob = engine_blob_create(total)) == NULL) {
        lf->st = NO_MEMORY;
    }
    for (uint32_t i = 0; lf->st == OK && (uint64_t)i * LARGE_CHUNK < total; i++) {
        uint64_t at = (uint64_t)i * LARGE_CHUNK;
        uint64_t rest = total - at;
        lf->st = read_chunk(e, lf, i, bytes_load_u64(lf->head + HEAD_FIXED + i * 8),
                            lf->blob->data + at, rest < LARGE_CHUNK ? (uint32_t)rest : LARGE_CHUNK);
    }
    if (lf->st != OK) {
        engine_blob_release(lf->blob);
        lf->blob = NULL;
    }
    mailbox_post(&lf->worker->mailbox, &lf->mail);
}

void large_fetch_begin(struct engine *e, struct large_fetch *lf)
{
    lf->job.run = fetch_run;
    background_post(e, &lf->job);
}

/* ---- moving (reclaimer) ---- */

/* Copies what reclaim needs, so that no lock is held while the device is read. */
static struct large_value *large_copy(struct engine *e, uint64_t hash, uint64_t seq)
{
    struct shard *s = shard_of(e, hash);
    struct large_value *copy = NULL;
    lock_acquire(&s->lock);
    struct large_value *lv = large_find_locked(s, hash, seq);
    if (lv != NULL) {
        copy = large_create(hash, seq, lv->ns_id, lv->total, lv->key, lv->key_len);
        if (copy != NULL) {
            copy->head_location = lv->head_location;
            memcpy(copy->chunks, lv->chunks, lv->n_chunks * sizeof(lv->chunks[0]));
        }
    }
    lock_release(&s->lock);
    return copy;
}

static enum status move_chunk(struct engine *e, struct log_writer *writer, struct large_value *lv,
                              uint32_t i, int64_t *expire_out)
{
    struct record rec;
    void *buffer = NULL;
    struct large_chunk *chunk = &lv->chunks[i];
    enum status st = log_read_sync(e->log, chunk->location, chunk->len_class, &rec, &buffer);
    if (st == OK && (rec.kind != RECORD_CHUNK || rec.seq != lv->seq || rec.chunk_no != i)) {
        st = CORRUPT;
    }
    if (st == OK) {
        struct log_put put = {.hash = lv->hash,
                              .seq = lv->seq,
                              .ns = lv->ns_id,
                              .chunk_no = i,
                              .expire_at_ms = rec.expire_at_ms,
                              .key = "",
                              .value = rec.stored,
                              .value_len = rec.stored_len,
                              .raw_len = rec.raw_len,
                              .kind = RECORD_CHUNK,
                              .codec = rec.codec,
                              .is_stored = true};
        uint64_t location;
        uint32_t bytes;
        *expire_out = rec.expire_at_ms;
        st = log_append(writer, &put, tagged(chunk, COOKIE_CHUNK), &location, &bytes);
    }
    free(buffer);
    return st;
}

/* All chunks and the head into new blocks. The copy's locations are the new ones afterwards. */
static enum status move_parts(struct engine *e, struct log_writer *writer, struct large_value *lv,
                              struct moved_head *moved)
{
    int64_t expire_at_ms = ITEM_NO_EXPIRY;
    enum status st = OK;
    for (uint32_t i = 0; i < lv->n_chunks && st == OK; i++) {
        lv->chunks[i].is_written = false;
        st = move_chunk(e, writer, lv, i, &expire_at_ms);
    }
    IGNORE(log_flush(writer)); /* is_written tells */
    for (uint32_t i = 0; i < lv->n_chunks && st == OK; i++) {
        st = lv->chunks[i].is_written ? OK : IO;
    }
    if (st == OK) {
        struct log_put put = {.hash = lv->hash,
                              .seq = lv->seq,
                              .ns = lv->ns_id,
                              .expire_at_ms = expire_at_ms,
                              .key = lv->key,
                              .key_len = lv->key_len};
        st = write_head(e, writer, lv, put, tagged(moved, COOKIE_MOVED));
        IGNORE(log_flush(writer));
    }
    return st == OK && !moved->is_written ? IO : st;
}

static void head_replace_locked(struct engine *e, struct shard *s, struct large_value *fresh,
                                struct index_slot slot)
{
    struct large_value *old = large_find_locked(s, fresh->hash, fresh->seq);
    if (old == NULL || old->head_location != fresh->head_location ||
        !index_replace(&s->index, fresh->hash, fresh->head_location, slot)) {
        return;
    }
    log_note_dead(e->log, old->head_location, index_class_bytes(slot.len_class));
    log_note_live(e->log, slot.location, index_class_bytes(slot.len_class));
    chunks_note(e, old, false);
    chunks_note(e, fresh, true);
    old->head_location = slot.location;
    memcpy(old->chunks, fresh->chunks, old->n_chunks * sizeof(old->chunks[0]));
    metric_add(M_WARM_ADMIT_REINSERT, 1);
}

enum status large_move(struct engine *e, struct log_writer *writer, uint64_t hash, uint64_t seq)
{
    struct shard *s = shard_of(e, hash);
    struct large_value *copy = large_copy(e, hash, seq);
    struct moved_head moved = {.is_written = false};
    if (copy == NULL) {
        return NOT_FOUND;
    }
    enum status st = move_parts(e, writer, copy, &moved);
    if (st == OK) {
        lock_acquire(&s->lock);
        head_replace_locked(e, s, copy, moved.slot);
        lock_release(&s->lock);
    }
    large_free(copy);
    return st;
}

/* ---- snapshot ---- */

/* One section per value: fixed fields, chunks, key. */
#define SAVED_FIXED 40u

static enum status large_save_one(struct snapshot_writer *w, const struct large_value *lv)
{
    size_t len = SAVED_FIXED + (size_t)lv->n_chunks * 8 + lv->key_len;
    char *out = mem_alloc(len);
    if (out == NULL) {
        return NO_MEMORY;
    }
    bytes_store_u64(out, lv->hash);
    bytes_store_u64(out + 8, lv->seq);
    bytes_store_u64(out + 16, lv->head_location);
    bytes_store_u32(out + 24, lv->ns_id);
    bytes_store_u32(out + 28, lv->total);
    bytes_store_u32(out + 32, lv->n_chunks);
    bytes_store_u32(out + 36, lv->key_len);
    char *p = out + SAVED_FIXED;
    for (uint32_t i = 0; i < lv->n_chunks; i++, p += 8) {
        bytes_store_u64(p, lv->chunks[i].location << 8 | lv->chunks[i].len_class);
    }
    memcpy(p, lv->key, lv->key_len);
    enum status st = snapshot_write(w, LARGE_SNAPSHOT_TAG, out, len);
    mem_free(out);
    return st;
}

enum status large_save(struct engine *e, struct snapshot_writer *w)
{
    for (unsigned i = 0; i < SHARDS; i++) {
        for (struct large_value *lv = e->shards[i].large; lv != NULL; lv = lv->next) {
            enum status st = large_save_one(w, lv);
            if (st != OK) {
                return st;
            }
        }
    }
    return OK;
}

enum status large_load(struct engine *e, const void *data, size_t len)
{
    const char *in = data;
    if (len < SAVED_FIXED) {
        return CORRUPT;
    }
    uint32_t n = bytes_load_u32(in + 32);
    uint32_t total = bytes_load_u32(in + 28);
    uint32_t key_len = bytes_load_u32(in + 36);
    if (n != ((uint64_t)total + LARGE_CHUNK - 1) / LARGE_CHUNK ||
        len != SAVED_FIXED + (size_t)n * 8 + key_len) {
        return CORRUPT;
    }
    uint64_t hash = bytes_load_u64(in);
    struct large_value *lv = large_create(hash, bytes_load_u64(in + 8), bytes_load_u32(in + 24),
                                          total, in + len - key_len, key_len);
    if (lv == NULL) {
        return NO_MEMORY;
    }
    lv->head_location = bytes_load_u64(in + 16);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t word = bytes_load_u64(in + SAVED_FIXED + i * 8);
        lv->chunks[i].location = word >> 8;
        lv->chunks[i].len_class = (uint8_t)word;
    }
    struct shard *s = shard_of(e, hash); /* live bytes came with the segments' own state */
    lv->next = s->large;
    s->large = lv;
    return OK;
}
