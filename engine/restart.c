/*
 * A clean stop and the start after it. The stop sends everything dirty down, writes the index, the
 * namespaces and the segments' state into one snapshot file, and then sets the clean mark, which names
 * that file by its random id, in the catalogue. The start takes the mark away durably before it trusts
 * the snapshot: a crash later finds no mark and, in mode `volatile`, starts with an empty warm tier.
 *
 *      drain -> snapshot written, fsync, renamed -> mark durable -> exit
 *      start -> mark read, removed durably -> snapshot with that id loaded -> serve
 *                 +- no mark, or the snapshot does not verify: cold, generations raised
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "engine/base/bytes.h"
#include "engine/base/clock.h"
#include "engine/base/fault.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/options.h"
#include "engine/engine_impl.h"

#define TAG_ENGINE 0x31474e45u /* "ENG1" */
#define TAG_CELL 0x4c4c4543u   /* "CELL" */
#define CELL_FIXED 16u
#define ENGINE_FIXED 40u
#define DB_BYTES 16u

static const char clean_key[] = "clean";

static void snapshot_path(struct engine *e, char *out, size_t cap)
{
    (void)snprintf(out, cap, "%s/index.snapshot", e->dir);
}

/* ---- drain ---- */

struct drain {
    struct engine *e;
    struct log_writer *writer;
    uint64_t n_items, n_done, n_lost;
    int64_t started_us, reported_us, deadline_us;
    struct item *found[64];
    unsigned n_found;
};

static void drain_visit(void *arg, struct item *it)
{
    struct drain *d = arg;
    if (d->n_found < 64) {
        d->found[d->n_found++] = it;
    }
}

static void drain_item(struct drain *d, struct shard *s, struct item *it)
{
    struct engine *e = d->e;
    uint64_t hash = item_hash(e, it);
    bool is_gone = (item_flags(it) & (ITEM_CLEAN | ITEM_DEMOTING | ITEM_TOMBSTONE)) != 0 ||
                   item_is_expired(it, clock_wall_ms()) ||
                   !namespace_is_alive(&e->namespaces[it->ns_slot]);
    lock_acquire(&s->lock);
    if (!is_gone) {
        struct policy_instance *p = shard_policy(e, s);
        lock_acquire(&p->lock);
        policy_remove(p->policy, (struct policy_node *)(void *)it, item_charge(it));
        lock_release(&p->lock);
        item_set_flag(it, ITEM_DEMOTING);
        __atomic_store_n(&it->policy, 0, __ATOMIC_RELAXED);
        atomic_fetch_add_explicit(&e->demoting_bytes, item_charge(it), memory_order_relaxed);
    }
    lock_release(&s->lock);
    if (!is_gone) {
        large_demote(e, d->writer, it, hash);
    }
    d->n_done++;
}

static void drain_report(struct drain *d)
{
    int64_t now_us = clock_mono_us();
    if (now_us - d->reported_us < 1000000) {
        return;
    }
    d->reported_us = now_us;
    double share = d->n_items == 0 ? 1 : (double)d->n_done / (double)d->n_items;
    log_write(LOG_INFO, NULL, "engine", "draining", "percent=%.0f items=%llu of=%llu seconds=%.1f",
              share * 100, (unsigned long long)d->n_done, (unsigned long long)d->n_items,
              (double)(now_us - d->started_us) / 1e6);
}

static bool drain_is_over(const struct drain *d)
{
    return d->deadline_us != 0 && clock_mono_us() > d->deadline_us;
}

static void drain_shard(struct drain *d, struct shard *s)
{
    uint32_t position = 0;
    while (position < TABLE_END && !drain_is_over(d)) {
        d->n_found = 0;
        lock_acquire(&s->lock);
        position = table_visit(&s->table, position, drain_visit, d);
        lock_release(&s->lock);
        for (unsigned i = 0; i < d->n_found; i++) {
            drain_item(d, s, d->found[i]);
        }
        drain_report(d);
    }
}

static uint64_t dirty_bytes(struct engine *e)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < e->n_policies; i++) {
        struct policy_stats stats;
        policy_stats(e->policies[i].policy, &stats);
        for (unsigned q = 0; q < POLICY_QUEUES; q++) {
            bytes += stats.bytes[q];
        }
    }
    return bytes;
}

static void drain_warn(struct engine *e)
{
    struct log_stats stats;
    log_stats(e->log, &stats);
    uint64_t room = stats.n_segments * stats.segment_bytes - stats.live_bytes;
    uint64_t dirty = dirty_bytes(e);
    if (dirty > room) {
        log_write(LOG_WARN, NULL, "engine", "hot tier may not fit below",
                  "hot_bytes=%llu room_bytes=%llu older warm data will be evicted",
                  (unsigned long long)dirty, (unsigned long long)room);
    }
}

void restart_drain(struct engine *e)
{
    struct drain d = {.e = e, .started_us = clock_mono_us()};
    struct codec *codec = NULL;
    int64_t timeout_s = option_i64(OPT_SHUTDOWN_TIMEOUT);
    uint64_t n_left = 0;
    for (unsigned i = 0; i < SHARDS; i++) {
        d.n_items += e->shards[i].table.n_items;
    }
    if (e->log == NULL) {
        return;
    }
    drain_warn(e);
    d.deadline_us = timeout_s == 0 ? 0 : d.started_us + timeout_s * 1000000;
    if (codec_create(&codec) != OK ||
        log_writer_create(e->log, NULL, codec, 1, false, large_block_done, e, &d.writer) != OK) {
        log_error("engine", "cannot drain", "items=%llu are lost", (unsigned long long)d.n_items);
        codec_destroy(&codec);
        return;
    }
    for (unsigned i = 0; i < SHARDS && !drain_is_over(&d); i++) {
        drain_shard(&d, &e->shards[i]);
    }
    IGNORE(log_flush(d.writer)); /* what failed is still in its table: counted below */
    log_writer_destroy(&d.writer);
    codec_destroy(&codec);
    for (unsigned i = 0; i < SHARDS; i++) {
        n_left += e->shards[i].table.n_items;
    }
    log_info("engine", "drained", "items=%llu seconds=%.1f", (unsigned long long)d.n_done,
             (double)(clock_mono_us() - d.started_us) / 1e6);
    (void)n_left;
}

/* ---- save ---- */

struct cell_writer {
    struct snapshot_writer *w;
    uint32_t shard;
};

static enum status cell_save(void *arg, uint32_t position, uint8_t depth, const uint64_t *slots,
                             uint32_t n_slots)
{
    struct cell_writer *cw = arg;
    size_t len = CELL_FIXED + (size_t)n_slots * 8;
    char *out = mem_alloc(len);
    if (out == NULL) {
        return NO_MEMORY;
    }
    bytes_store_u32(out, cw->shard);
    bytes_store_u32(out + 4, position);
    bytes_store_u32(out + 8, depth);
    bytes_store_u32(out + 12, n_slots);
    for (uint32_t i = 0; i < n_slots; i++) {
        bytes_store_u64(out + CELL_FIXED + i * 8, slots[i]);
    }
    enum status st = snapshot_write(cw->w, TAG_CELL, out, len);
    mem_free(out);
    return st;
}

/* Items still hot at the end (not fitting below) cease to exist: they do not count any more. */
static int64_t keys_that_stay(struct engine *e, uint16_t ns_slot)
{
    int64_t n = atomic_load_explicit(&e->namespaces[ns_slot].n_keys, memory_order_relaxed);
    for (unsigned i = 0; i < SHARDS; i++) {
        uint32_t position = 0;
        struct drain d = {.e = e};
        while (position < TABLE_END) {
            d.n_found = 0;
            position = table_visit(&e->shards[i].table, position, drain_visit, &d);
            for (unsigned j = 0; j < d.n_found; j++) {
                const struct item *it = d.found[j];
                n -=
                    it->ns_slot == ns_slot && (item_flags(it) & (ITEM_CLEAN | ITEM_TOMBSTONE)) == 0;
            }
        }
    }
    return n;
}

static enum status engine_save(struct engine *e, struct snapshot_writer *w)
{
    char out[ENGINE_FIXED + ENGINE_DATABASES * DB_BYTES + SHARDS * 8] = {0};
    bytes_store_u32(out, SHARDS);
    bytes_store_u32(out + 4, e->index_depth);
    bytes_store_u64(out + 8, e->secret);
    bytes_store_u32(out + 16, e->next_ns_id);
    char *p = out + ENGINE_FIXED;
    for (unsigned db = 0; db < ENGINE_DATABASES; db++, p += DB_BYTES) {
        uint16_t ns_slot = e->db_slot[db];
        bytes_store_u32(p, e->namespaces[ns_slot].id);
        bytes_store_u64(p + 8, (uint64_t)keys_that_stay(e, ns_slot));
    }
    for (unsigned i = 0; i < SHARDS; i++, p += 8) {
        bytes_store_u64(p, e->shards[i].seq);
    }
    return snapshot_write(w, TAG_ENGINE, out, sizeof(out));
}

static enum status mark_clean(struct engine *e, const uint8_t id[16])
{
    struct rocks_batch *b = rocks_batch_create();
    if (b == NULL) {
        return NO_MEMORY;
    }
    rocks_batch_put(b, clean_key, sizeof(clean_key) - 1, id, 16);
    enum status st = rocks_write(e->catalog, b, true);
    rocks_batch_destroy(&b);
    return st;
}

enum status restart_save(struct engine *e)
{
    struct snapshot_writer *w = NULL;
    char path[600];
    uint8_t id[16];
    enum status st = OK;
    snapshot_path(e, path, sizeof(path));
    if (getrandom(id, sizeof(id), 0) != (ssize_t)sizeof(id)) {
        return IO;
    }
    KILL_POINT(STOP_BEFORE_SNAPSHOT);
    TRY(snapshot_create(path, id, &w));
    TRY(engine_save(e, w));
    TRY(log_save(e->log, w));
    TRY(large_save(e, w));
    for (unsigned i = 0; i < SHARDS; i++) {
        struct cell_writer cw = {.w = w, .shard = i};
        TRY(index_save(&e->shards[i].index, cell_save, &cw));
    }
    TRY(snapshot_finish(&w));
    KILL_POINT(STOP_BEFORE_CLEAN);
    TRY(mark_clean(e, id));
out:
    snapshot_abort(&w);
    return st;
}

/* ---- load ---- */

static enum status cell_load(struct engine *e, const char *in, size_t len)
{
    if (len < CELL_FIXED) {
        return CORRUPT;
    }
    uint32_t shard = bytes_load_u32(in);
    uint32_t n = bytes_load_u32(in + 12);
    if (shard >= SHARDS || len != CELL_FIXED + (size_t)n * 8) {
        return CORRUPT;
    }
    uint64_t *slots = mem_alloc((size_t)n * 8);
    if (slots == NULL) {
        return NO_MEMORY;
    }
    for (uint32_t i = 0; i < n; i++) {
        slots[i] = bytes_load_u64(in + CELL_FIXED + i * 8);
    }
    enum status st = index_load_cell(&e->shards[shard].index, bytes_load_u32(in + 4),
                                     (uint8_t)bytes_load_u32(in + 8), slots, n);
    mem_free(slots);
    return st;
}

static enum status index_reset(struct engine *e, unsigned depth)
{
    e->index_depth = depth;
    for (unsigned i = 0; i < SHARDS; i++) {
        large_clear(e, &e->shards[i]);
        index_deinit(&e->shards[i].index);
        enum status st = index_init(&e->shards[i].index, depth);
        if (st != OK) {
            return st;
        }
    }
    return OK;
}

static enum status engine_load(struct engine *e, const char *in, size_t len)
{
    if (len != ENGINE_FIXED + ENGINE_DATABASES * DB_BYTES + SHARDS * 8 ||
        bytes_load_u32(in) != SHARDS || bytes_load_u32(in + 4) > 20) {
        return CORRUPT;
    }
    e->secret = bytes_load_u64(in + 8);
    e->next_ns_id = bytes_load_u32(in + 16);
    const char *p = in + ENGINE_FIXED;
    for (unsigned db = 0; db < ENGINE_DATABASES; db++, p += DB_BYTES) {
        namespace_restore(e, db, bytes_load_u32(p), (int64_t)bytes_load_u64(p + 8));
    }
    for (unsigned i = 0; i < SHARDS; i++, p += 8) {
        e->shards[i].seq = bytes_load_u64(p);
    }
    return index_reset(e, bytes_load_u32(in + 4));
}

static enum status section_load(struct engine *e, uint32_t tag, const void *data, size_t len)
{
    switch (tag) {
    case TAG_ENGINE:
        return engine_load(e, data, len);
    case TAG_CELL:
        return cell_load(e, data, len);
    case LARGE_SNAPSHOT_TAG:
        return large_load(e, data, len);
    default:
        return log_load(e->log, tag, data, len);
    }
}

static enum status snapshot_load(struct engine *e, const uint8_t id[16])
{
    struct snapshot_reader *r = NULL;
    char path[600];
    uint32_t tag;
    const void *data;
    size_t len;
    snapshot_path(e, path, sizeof(path));
    enum status st = snapshot_open(path, id, &r);
    while (st == OK && (st = snapshot_next(r, &tag, &data, &len)) == OK) {
        st = section_load(e, tag, data, len);
    }
    snapshot_close(&r);
    return st == NOT_FOUND ? OK : st;
}

/* The mark is taken away before it is believed. */
static enum status mark_take(struct engine *e, uint8_t id[16])
{
    void *value = NULL;
    size_t len = 0;
    struct rocks_batch *b = rocks_batch_create();
    enum status st = b == NULL ? NO_MEMORY : OK;
    if (st == OK) {
        st = rocks_get(e->catalog, clean_key, sizeof(clean_key) - 1, &value, &len);
    }
    if (st == OK) {
        st = len == 16 ? OK : CORRUPT;
        rocks_batch_delete(b, clean_key, sizeof(clean_key) - 1);
        enum status removed = rocks_write(e->catalog, b, true);
        st = removed == OK ? st : removed;
    }
    if (st == OK) {
        memcpy(id, value, 16);
    }
    free(value);
    rocks_batch_destroy(&b);
    return st;
}

static uint64_t count_slots(struct engine *e)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < SHARDS; i++) {
        n += e->shards[i].index.n_slots;
    }
    return n;
}

static struct log_config log_config_of(struct engine *e)
{
    uint64_t block = bytes_align_down(memory_limit() / 256, 4096);
    struct log_config config = {.segment_bytes = (uint64_t)option_i64(OPT_SEGMENT_SIZE),
                                .block_bytes = (uint32_t)bytes_min_u64(block, 1u << 20),
                                .wake = background_wake,
                                .wake_arg = e};
    memcpy(config.uuid, e->uuid, sizeof(config.uuid));
    return config;
}

enum status restart_open_log(struct engine *e)
{
    struct log_config config = log_config_of(e);
    uint8_t id[16];
    unsigned depth = e->index_depth;
    uint64_t secret = e->secret;
    int64_t started_us = clock_mono_us();
    enum status st = mark_take(e, id);
    if (st == OK) {
        TRY(log_open(&config, e->device, e->catalog, false, &e->log));
        enum status loaded = snapshot_load(e, id);
        if (loaded == OK) {
            uint64_t n = count_slots(e);
            atomic_store_explicit(&e->warm_items, n, memory_order_relaxed);
            log_info("engine", "warm tier loaded", "keys=%llu seconds=%.2f", (unsigned long long)n,
                     (double)(clock_mono_us() - started_us) / 1e6);
            return OK;
        }
        log_warn("engine", "snapshot not usable", "reason=\"%s\" starting cold",
                 status_text(loaded));
        TRY(index_reset(e, depth));
        log_close(&e->log);
        for (unsigned db = 0; db < ENGINE_DATABASES; db++) {
            e->secret = secret;
            namespace_restore(e, db, e->next_ns_id++, 0);
        }
    } else if (st == NOT_FOUND) {
        log_info("engine", "warm tier starts empty",
                 "reason=\"no clean stop before\" mode=volatile");
    } else {
        goto out;
    }
    st = log_open(&config, e->device, e->catalog, true, &e->log);
out:
    return st;
}
