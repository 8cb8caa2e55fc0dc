/*
 * SCAN without state in the server: the cursor says everything. Keys move while a walk goes on, mostly
 * downwards into newer segments, so the walk goes the other way round:
 *
 *      1  segments older than the one open at the start, old to new      (footers, read sequentially)
 *      2  the hot shards
 *      3  what was written from there until phase 2 was over
 *
 * A key that exists all the time is met: warm in an old segment it is met in 1; hot when its bucket is
 * visited, in 2; demoted before that, in 3. Reclaim only moves records into newer segments. A clean item
 * is passed over in 2, since its slot names a record of 1 or 3. In 3 a record that is dead by now is
 * reported if its key exists, for it may have been promoted and changed after 2. If segments of phase 3
 * are reclaimed under the walk, it returns to phase 2.
 *
 *      cursor   phase 2 | segments left 15 | segment 21 | block 14 | entry group 11      phases 1, 3
 *               phase 2 | 0 ............ 13 | segment 21 | shard 7 | position 20          phase 2
 *
 * 63 bits, so that clients with signed cursors can walk too. Segment numbers are cut to 21 bits and
 * completed from the log's end. Footers come through a cache of one per worker.
 */
#include <stdlib.h>

#include "engine/base/clock.h"
#include "engine/base/mem.h"
#include "engine/engine_impl.h"
#include "engine/hash.h"

#define SEQ_BITS 21
#define LEFT_BITS 15
#define BLOCK_BITS 14
#define GROUP_BITS 11
#define GROUP 32u
#define HOT_POSITIONS 64u
#define EMPTY_BLOCKS 16u /* read at most in one step that finds nothing */

enum phase { PHASE_LOG = 0, PHASE_HOT = 1, PHASE_SINCE = 2 };

struct place {
    enum phase phase;
    uint64_t seq;  /* segment; in PHASE_HOT where phase 3 begins */
    uint64_t left; /* segments to go after this one */
    uint32_t block, group;
    uint32_t shard, position;
};

struct scan_footer {
    struct log_footer_read read; /* first */
    struct engine_worker *worker;
    struct engine_op *op; /* waits for it */
    uint64_t segment_seq;
    uint32_t block;
    bool is_reading, is_valid;
};

/* ---- cursor ---- */

static uint64_t bits(uint64_t v, unsigned n)
{
    return v & ((UINT64_C(1) << n) - 1);
}

static uint64_t cursor_encode(const struct place *p)
{
    uint64_t c = p->phase;
    if (p->phase == PHASE_HOT) {
        return c << 61 | bits(p->seq, SEQ_BITS) << 27 | (uint64_t)p->shard << 20 | p->position;
    }
    return c << 61 | bits(p->left, LEFT_BITS) << 46 | bits(p->seq, SEQ_BITS) << 25 |
           bits(p->block, BLOCK_BITS) << 11 | bits(p->group, GROUP_BITS);
}

/* The full number next to the log's end. */
static uint64_t seq_complete(uint64_t low, uint64_t end)
{
    uint64_t seq = (end & ~((UINT64_C(1) << SEQ_BITS) - 1)) | low;
    return seq > end && seq >= UINT64_C(1) << SEQ_BITS ? seq - (UINT64_C(1) << SEQ_BITS) : seq;
}

static struct log_position end_of(struct engine *e)
{
    return e->log != NULL ? log_end(e->log) : (struct log_position){0};
}

static enum status cursor_decode(struct engine *e, uint64_t c, struct place *p)
{
    uint64_t end = end_of(e).segment_seq;
    memset(p, 0, sizeof(*p));
    p->phase = (enum phase)(c >> 61);
    if (c == 0) { /* the beginning: everything up to the open segment */
        struct log_position first = {0};
        uint32_t segment;
        if (e->log == NULL || !log_block_find(e->log, &first, &segment) ||
            first.segment_seq >= end) {
            p->phase = PHASE_HOT;
            p->seq = end;
        } else {
            p->seq = first.segment_seq;
            p->left = end - 1 - first.segment_seq;
        }
        return OK;
    }
    if (p->phase == PHASE_HOT) {
        p->seq = seq_complete(bits(c >> 27, SEQ_BITS), end);
        p->shard = (uint32_t)bits(c >> 20, 7);
        p->position = (uint32_t)bits(c, 20);
        return OK;
    }
    if (e->log == NULL || p->phase > PHASE_SINCE) {
        return INVALID;
    }
    p->left = bits(c >> 46, LEFT_BITS);
    p->seq = seq_complete(bits(c >> 25, SEQ_BITS), end);
    p->block = (uint32_t)bits(c >> 11, BLOCK_BITS);
    p->group = (uint32_t)bits(c, GROUP_BITS);
    return OK;
}

/* ---- collecting ---- */

static bool found_add(struct engine_scan *scan, const char *key, uint32_t len)
{
    if (scan->arena == NULL || scan->arena_used + len > scan->arena_cap) {
        size_t cap = (scan->arena_used + len) * 2 + 1024;
        char *arena = mem_realloc(scan->arena, cap);
        if (arena == NULL) {
            return false;
        }
        scan->arena = arena;
        scan->arena_cap = cap;
    }
    if (scan->n_found == scan->found_cap) {
        uint32_t cap = scan->found_cap * 2 + 32;
        void *found = mem_realloc(scan->found, cap * sizeof(*scan->found));
        if (found == NULL) {
            return false;
        }
        scan->found = found;
        scan->found_cap = cap;
    }
    memcpy(scan->arena + scan->arena_used, key, len);
    scan->found[scan->n_found++] = (struct engine_scan_key){.data = NULL, .len = len};
    scan->arena_used += len;
    return true;
}

/* The arena may have moved while it grew: pointers are set at the end. */
static void found_finish(struct engine_scan *scan)
{
    size_t at = 0;
    for (uint32_t i = 0; i < scan->n_found; i++) {
        scan->found[i].data = scan->arena + at;
        at += scan->found[i].len;
    }
}

void engine_scan_reset(struct engine_scan *scan)
{
    mem_free(scan->arena);
    mem_free(scan->found);
    scan->arena = NULL;
    scan->found = NULL;
    scan->arena_used = scan->arena_cap = 0;
    scan->n_found = scan->found_cap = 0;
    scan->state = NULL;
}

/* ---- hot shards ---- */

struct hot_walk {
    struct engine_scan *scan;
    uint16_t ns_slot;
    int64_t now_ms;
    bool is_short_of_memory;
};

static void hot_visit(void *arg, struct item *it)
{
    struct hot_walk *walk = arg;
    if (it->ns_slot == walk->ns_slot && (item_flags(it) & (ITEM_TOMBSTONE | ITEM_CLEAN)) == 0 &&
        !item_is_expired(it, walk->now_ms) &&
        !found_add(walk->scan, item_key(it), item_key_len(it))) {
        walk->is_short_of_memory = true;
    }
}

static enum status scan_hot(struct engine_op *op, struct engine_scan *scan, struct place *p)
{
    struct engine *e = op->worker->engine;
    struct hot_walk walk = {.scan = scan,
                            .ns_slot = namespace_slot(e, (unsigned)scan->db),
                            .now_ms = engine_worker_now_ms(op->worker)};
    unsigned n = HOT_POSITIONS + scan->count;
    while (p->shard < SHARDS && scan->n_found < scan->count && n != 0) {
        struct shard *s = &e->shards[p->shard];
        lock_acquire(&s->lock);
        while (p->position < TABLE_END && scan->n_found < scan->count && n != 0) {
            p->position = table_visit(&s->table, p->position, hot_visit, &walk);
            n--;
        }
        lock_release(&s->lock);
        if (p->position >= TABLE_END) {
            p->shard++;
            p->position = 0;
        }
    }
    return walk.is_short_of_memory ? NO_MEMORY : OK;
}

/* ---- segments ---- */

static void footer_done(struct log_footer_read *read, enum status st)
{
    struct scan_footer *f = (struct scan_footer *)(void *)read;
    struct engine_op *op = f->op;
    f->is_reading = false;
    f->is_valid = st == OK;
    f->op = NULL;
    if (op != NULL) {
        op->resume(op);
    }
}

void scan_cancel(struct engine_op *op)
{
    struct scan_footer *f = op->worker->scan_footer;
    if (f != NULL && f->op == op) {
        f->op = NULL;
    }
}

void scan_footer_destroy(struct engine_worker *w)
{
    if (w->scan_footer != NULL) {
        log_footer_read_finish(&w->scan_footer->read);
        mem_free(w->scan_footer);
        w->scan_footer = NULL;
    }
}

/* OK: the worker's cache holds the footer (is_valid tells whether it could be read). */
static enum status footer_get(struct engine_op *op, uint32_t segment, struct log_position pos)
{
    struct engine_worker *w = op->worker;
    struct scan_footer *f = w->scan_footer;
    if (f == NULL) {
        f = w->scan_footer = mem_zalloc(1, sizeof(*f));
        if (f == NULL) {
            return NO_MEMORY;
        }
        f->worker = w;
    }
    if (f->is_reading) { /* for another client */
        op_delay(op);
        return AGAIN;
    }
    if (f->segment_seq == pos.segment_seq && f->block == pos.block && f->read.log != NULL) {
        return OK;
    }
    if (f->read.log != NULL) {
        log_footer_read_finish(&f->read);
    }
    memset(&f->read, 0, sizeof(f->read));
    f->read.segment = segment;
    f->read.block = pos.block;
    f->read.done = footer_done;
    f->segment_seq = pos.segment_seq;
    f->block = pos.block;
    enum status st = log_footer_read_begin(w->engine->log, w->queue, &f->read);
    if (st != OK) {
        f->read.log = NULL;
        f->is_valid = false;
        return st;
    }
    f->is_reading = true;
    f->op = op;
    return AGAIN;
}

static bool entry_exists(struct engine *e, const struct log_footer_entry *entry, uint16_t ns_slot,
                         int64_t now_ms, bool also_dead)
{
    struct shard *s = shard_of(e, entry->hash);
    bool is_expired = entry->expire_at_ms != RECORD_NO_EXPIRY && entry->expire_at_ms <= now_ms;
    lock_acquire(&s->lock);
    bool exists = !is_expired && index_has(&s->index, entry->hash, entry->location);
    struct item *it = NULL;
    if (exists || also_dead) { /* an unsettled item or a tombstone hides the record */
        it = table_find(&s->table, entry->hash, ns_slot, entry->key, entry->key_len);
    }
    if (it != NULL) {
        exists =
            (exists && (item_flags(it) & ITEM_CLEAN) != 0) ||
            (also_dead && (item_flags(it) & ITEM_TOMBSTONE) == 0 && !item_is_expired(it, now_ms));
    }
    lock_release(&s->lock);
    return exists;
}

/* Entries of the cached footer from the place's group on. */
static enum status scan_footer_entries(struct engine_op *op, struct engine_scan *scan,
                                       struct place *p)
{
    struct engine *e = op->worker->engine;
    struct log_block block = op->worker->scan_footer->read.result;
    uint16_t ns_slot = namespace_slot(e, (unsigned)scan->db);
    uint32_t ns_id = e->namespaces[ns_slot].id;
    int64_t now_ms = engine_worker_now_ms(op->worker);
    struct log_footer_entry entry;
    uint32_t i = 0;
    block.cursor = block.index = 0;
    while (log_block_next(&block, &entry)) {
        if (i % GROUP == 0 && i / GROUP > p->group && scan->n_found >= scan->count &&
            i / GROUP < UINT32_C(1) << GROUP_BITS) {
            p->group = i / GROUP;
            return OK;
        }
        if (i++ / GROUP < p->group || entry.ns != ns_id || entry.kind == RECORD_CHUNK ||
            !entry_exists(e, &entry, ns_slot, now_ms, p->phase == PHASE_SINCE)) {
            continue;
        }
        if (!found_add(scan, entry.key, entry.key_len)) {
            return NO_MEMORY;
        }
    }
    p->group = 0;
    p->block++;
    return OK;
}

static void to_hot(struct place *p, uint64_t since_seq)
{
    *p = (struct place){.phase = PHASE_HOT, .seq = since_seq};
}

/* One block. Moves *p behind it, or into the next phase. NOT_FOUND: the walk is over. */
static enum status scan_block(struct engine_op *op, struct engine_scan *scan, struct place *p)
{
    struct engine *e = op->worker->engine;
    uint64_t last = p->seq + p->left;
    struct log_position pos = {.segment_seq = p->seq, .block = p->block};
    uint32_t segment;
    bool is_found = log_block_find(e->log, &pos, &segment) && pos.segment_seq <= last;
    if (!is_found) {
        if (p->phase == PHASE_SINCE) {
            return NOT_FOUND;
        }
        to_hot(p, last + 1);
        return OK;
    }
    if (pos.segment_seq != p->seq || pos.block != p->block) {
        struct log_position oldest = {0};
        uint32_t ignored;
        bool was_reclaimed = pos.segment_seq != p->seq && p->phase == PHASE_SINCE &&
                             log_block_find(e->log, &oldest, &ignored) &&
                             oldest.segment_seq > p->seq;
        if (was_reclaimed) {
            to_hot(p, pos.segment_seq);
            return OK;
        }
        p->group = 0;
    }
    p->seq = pos.segment_seq;
    p->left = last - pos.segment_seq;
    p->block = pos.block;
    enum status st = footer_get(op, segment, pos);
    if (st == AGAIN || st == NO_MEMORY) {
        return st;
    }
    if (st != OK || !op->worker->scan_footer->is_valid) { /* unreadable, or reclaimed just now */
        p->group = 0;
        p->block++;
        return OK;
    }
    return scan_footer_entries(op, scan, p);
}

enum status engine_scan(struct engine_op *op, struct engine_scan *scan)
{
    struct engine *e = op->worker->engine;
    struct place p;
    unsigned n_blocks = 0;
    enum status st = OK;
    if (scan->state == NULL) { /* not resumed within a step */
        engine_scan_reset(scan);
    }
    TRY(cursor_decode(e, scan->cursor, &p));
    while (scan->n_found < scan->count || scan->n_found == 0) {
        if (p.phase == PHASE_HOT) {
            TRY(scan_hot(op, scan, &p));
            if (p.shard < SHARDS) {
                break;
            }
            uint64_t end = end_of(e).segment_seq;
            if (e->log == NULL) {
                st = NOT_FOUND;
                goto out;
            }
            p = (struct place){.phase = PHASE_SINCE,
                               .seq = p.seq,
                               .left = end > p.seq ? end - p.seq : 0};
        }
        scan->cursor = cursor_encode(&p); /* where a parked step goes on */
        scan->state = scan;
        TRY(scan_block(op, scan, &p));
        if (++n_blocks >= EMPTY_BLOCKS) {
            break;
        }
    }
    scan->next_cursor = cursor_encode(&p);
out:
    if (st == AGAIN) {
        return AGAIN;
    }
    scan->state = NULL;
    if (st == NOT_FOUND) {
        scan->next_cursor = 0;
        st = OK;
    }
    found_finish(scan);
    return st;
}
