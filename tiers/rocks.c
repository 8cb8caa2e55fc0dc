/*
 * Design: RocksDB behind five verbs, tuned to be small (the whole process may have 64 MB) and to survive
 *   what its packaged build does on faults (measured with Debian's 7.8.3-2, which has assertions on):
 *
 *      info_log_level FATAL     an ENOSPC or EIO while writing its own LOG aborts the process
 *      WAL recovery mode 0      the default silently rolls back to before a flipped bit; 0 refuses to
 *                               open, and still accepts a truncated tail
 *      recycle_log_file_num 0   recycled logs can bring old records back
 *      manual_wal_flush off     with it automatic recovery is broken
 *      close and reopen         after one failed write every later one fails; 7.8's C API has no Resume
 *      ballast file             with less free space than a memtable even reopening fails
 *      count errors ourselves   `rocksdb.background-errors` reads 0 while every write fails
 *
 * Invariants
 *   1. A failed write is "maybe written"; the database is closed and opened again before anything else
 *      is asked of it.
 *   2. No callback runs under the lock: rows for rocks_visit are copied in portions, so a callback may
 *      call anything here.
 *   3. While the ballast exists, BALLAST_BYTES of the file system are ours: freed on the first NO_SPACE,
 *      taken again when twice that is free.
 *
 * Cost: a memtable of 1 MB (two while one is flushed), 512 KB of block cache; a durable batch costs one
 *   fdatasync.
 */
#include "tiers/rocks.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <rocksdb/c.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "engine/base/check.h"
#include "engine/base/clock.h"
#include "engine/base/fault.h"
#include "engine/base/lock.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/metrics.h"

#define WRITE_BUFFER_BYTES (1u << 20)
#define BLOCK_CACHE_BYTES (512u << 10)
#define BALLAST_BYTES (4u << 20)
#define BALLAST_RETRY_US INT64_C(5000000)
#define VISIT_BYTES (256u << 10) /* of rows copied per turn */
#define CHECKSUM_XXH3 4          /* rocksdb::kXXH3 */
#define LOG_LEVEL_FATAL 4
static_assert(BALLAST_BYTES >= 2 * WRITE_BUFFER_BYTES, "reopening flushes a memtable");

struct rocks {
    /* immutable after open */
    char *dir;
    char *ballast_path;
    rocksdb_options_t *options;
    rocksdb_block_based_table_options_t *table;
    rocksdb_cache_t *cache;
    rocksdb_readoptions_t *read;
    rocksdb_writeoptions_t *write_durable, *write_lazy;

    struct lock lock;
    /* lock */
    rocksdb_t *db; /* NULL: closed by an error, the next call opens it */
    bool has_ballast;
    int64_t ballast_retry_us;
};

struct rocks_batch {
    rocksdb_writebatch_t *rep;
};

/* ---- errors ---- */

/* Translates and frees. */
static enum status status_take(char *error)
{
    enum status st = IO;
    if (error == NULL) {
        return OK;
    }
    if (strstr(error, "No space left") != NULL || strstr(error, "Disk quota") != NULL) {
        st = NO_SPACE;
    } else if (strncmp(error, "Corruption", 10) == 0) {
        st = CORRUPT;
    }
    log_warn("catalog", "rocksdb error", "status=\"%s\" error=\"%s\"", status_text(st), error);
    rocksdb_free(error);
    return st;
}

/* ---- ballast ---- */

static void ballast_free_locked(struct rocks *r) REQUIRES(r->lock)
{
    if (r->has_ballast) {
        (void)unlink(r->ballast_path); /* fails only if it is gone */
        r->has_ballast = false;
        r->ballast_retry_us = clock_mono_us() + BALLAST_RETRY_US;
    }
}

static void ballast_take_locked(struct rocks *r) REQUIRES(r->lock)
{
    struct statvfs fs;
    if (r->has_ballast || clock_mono_us() < r->ballast_retry_us) {
        return;
    }
    r->ballast_retry_us = clock_mono_us() + BALLAST_RETRY_US;
    int fd = open(r->ballast_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return;
    }
    /* One from an earlier life is as good. */
    bool is_room = fstatvfs(fd, &fs) == 0 && fs.f_bavail * fs.f_frsize >= 2 * BALLAST_BYTES;
    r->has_ballast = lseek(fd, 0, SEEK_END) >= (off_t)BALLAST_BYTES ||
                     (is_room && posix_fallocate(fd, 0, BALLAST_BYTES) == 0);
    close(fd);
    if (!r->has_ballast) {
        (void)unlink(r->ballast_path); /* no use in a part of it */
    }
}

/* ---- open, close ---- */

static void options_fill(struct rocks *r)
{
    rocksdb_options_t *o = r->options;
    rocksdb_options_set_create_if_missing(o, 1);
    rocksdb_options_set_paranoid_checks(o, 1);
    rocksdb_options_set_info_log_level(o, LOG_LEVEL_FATAL);
    rocksdb_options_set_keep_log_file_num(o, 1);
    rocksdb_options_set_recycle_log_file_num(o, 0);
    rocksdb_options_set_wal_recovery_mode(o, rocksdb_tolerate_corrupted_tail_records_recovery);
    rocksdb_options_set_write_buffer_size(o, WRITE_BUFFER_BYTES);
    rocksdb_options_set_max_write_buffer_number(o, 2);
    rocksdb_options_set_max_total_wal_size(o, 4 * WRITE_BUFFER_BYTES);
    rocksdb_options_set_target_file_size_base(o, 2 * WRITE_BUFFER_BYTES);
    rocksdb_options_set_max_manifest_file_size(o, WRITE_BUFFER_BYTES);
    rocksdb_options_set_manifest_preallocation_size(o, 64 << 10);
    rocksdb_options_set_max_background_jobs(o, 2);
    rocksdb_options_set_max_file_opening_threads(o, 1);
    rocksdb_options_set_max_open_files(o, -1);
    rocksdb_options_set_table_cache_numshardbits(o, 0);
    rocksdb_options_set_level_compaction_dynamic_level_bytes(o, 1);
    rocksdb_options_set_compression(o, rocksdb_no_compression);
    rocksdb_options_set_stats_dump_period_sec(o, 0);
    rocksdb_options_set_stats_persist_period_sec(o, 0);

    rocksdb_block_based_options_set_checksum(r->table, CHECKSUM_XXH3);
    rocksdb_block_based_options_set_format_version(r->table, 5);
    rocksdb_block_based_options_set_block_size(r->table, 4096);
    rocksdb_block_based_options_set_block_cache(r->table, r->cache);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(r->table, 0);
    rocksdb_block_based_options_set_partition_filters(r->table, 0);
    /* The table options own the policy. */
    rocksdb_block_based_options_set_filter_policy(r->table,
                                                  rocksdb_filterpolicy_create_bloom_full(10));
    rocksdb_options_set_block_based_table_factory(o, r->table);

    rocksdb_readoptions_set_verify_checksums(r->read, 1);
    rocksdb_writeoptions_set_sync(r->write_durable, 1);
    rocksdb_writeoptions_set_sync(r->write_lazy, 0);
}

static enum status db_open_locked(struct rocks *r) REQUIRES(r->lock)
{
    enum status st = FAULT_POINT(CATALOG_OPEN);
    for (int attempt = 0; st == OK && attempt < 2; attempt++) {
        char *error = NULL;
        r->db = rocksdb_open(r->options, r->dir, &error);
        st = status_take(error);
        if (st != NO_SPACE || !r->has_ballast) {
            break;
        }
        ballast_free_locked(r);
        st = OK;
    }
    if (st != OK) {
        r->db = NULL;
    }
    return st;
}

static void db_close_locked(struct rocks *r) REQUIRES(r->lock)
{
    if (r->db != NULL) {
        rocksdb_close(r->db);
        r->db = NULL;
    }
}

/* Opens again what an error closed. */
static enum status db_ensure_locked(struct rocks *r) REQUIRES(r->lock)
{
    if (LIKELY(r->db != NULL)) {
        return OK;
    }
    enum status st = db_open_locked(r);
    if (st == OK) {
        metric_add(M_CATALOG_REOPENS, 1);
    } else {
        metric_add(M_CATALOG_ERRORS, 1);
    }
    return st;
}

enum status rocks_open(const char *dir, struct rocks **out)
{
    enum status st = OK;
    *out = NULL;
    struct rocks *r = mem_zalloc(1, sizeof(*r));
    if (r == NULL) {
        return NO_MEMORY;
    }
    lock_init(&r->lock, LOCK_RANK_QUEUE);
    r->dir = strdup(dir);
    if (r->dir == NULL || asprintf(&r->ballast_path, "%s/ballast", dir) < 0) {
        r->ballast_path = NULL;
        st = NO_MEMORY;
        goto out;
    }
    r->options = rocksdb_options_create();
    r->table = rocksdb_block_based_options_create();
    r->cache = rocksdb_cache_create_lru(BLOCK_CACHE_BYTES);
    r->read = rocksdb_readoptions_create();
    r->write_durable = rocksdb_writeoptions_create();
    r->write_lazy = rocksdb_writeoptions_create();
    options_fill(r);
    lock_acquire(&r->lock);
    r->has_ballast = access(r->ballast_path, F_OK) == 0;
    st = db_open_locked(r);
    if (st == OK) {
        ballast_take_locked(r);
    }
    lock_release(&r->lock);
    TRY(st);
    *out = r;
    r = NULL;
out:
    rocks_close(&r);
    return st;
}

void rocks_close(struct rocks **rocks)
{
    struct rocks *r = *rocks;
    *rocks = NULL;
    if (r == NULL) {
        return;
    }
    lock_acquire(&r->lock);
    db_close_locked(r);
    lock_release(&r->lock);
    if (r->options != NULL) {
        rocksdb_options_destroy(r->options);
        rocksdb_block_based_options_destroy(r->table);
        rocksdb_cache_destroy(r->cache);
        rocksdb_readoptions_destroy(r->read);
        rocksdb_writeoptions_destroy(r->write_durable);
        rocksdb_writeoptions_destroy(r->write_lazy);
    }
    mem_free(r->dir);
    mem_free(r->ballast_path);
    mem_free(r);
}

/* ---- writing ---- */

struct rocks_batch *rocks_batch_create(void)
{
    struct rocks_batch *b = mem_zalloc(1, sizeof(*b));
    if (b != NULL) {
        b->rep = rocksdb_writebatch_create();
    }
    return b;
}

void rocks_batch_destroy(struct rocks_batch **batch)
{
    struct rocks_batch *b = *batch;
    *batch = NULL;
    if (b != NULL) {
        rocksdb_writebatch_destroy(b->rep);
        mem_free(b);
    }
}

void rocks_batch_put(struct rocks_batch *b, const void *key, size_t key_len, const void *value,
                     size_t value_len)
{
    rocksdb_writebatch_put(b->rep, key, key_len, value, value_len);
}

void rocks_batch_delete(struct rocks_batch *b, const void *key, size_t key_len)
{
    rocksdb_writebatch_delete(b->rep, key, key_len);
}

enum status rocks_write(struct rocks *r, struct rocks_batch *b, bool is_durable)
{
    char *error = NULL;
    lock_acquire(&r->lock);
    enum status st = db_ensure_locked(r);
    if (st == OK) {
        st = FAULT_POINT(CATALOG_WRITE);
        if (st == OK) {
            rocksdb_write(r->db, is_durable ? r->write_durable : r->write_lazy, b->rep, &error);
            st = status_take(error);
        }
        if (st == OK) {
            ballast_take_locked(r);
        } else {
            metric_add(M_CATALOG_ERRORS, 1);
            db_close_locked(r);
        }
    }
    if (st == NO_SPACE) {
        ballast_free_locked(r);
    }
    lock_release(&r->lock);
    return st;
}

/* ---- reading ---- */

enum status rocks_get(struct rocks *r, const void *key, size_t key_len, void **value_out,
                      size_t *value_len_out)
{
    enum status st = OK;
    char *error = NULL;
    rocksdb_pinnableslice_t *slice = NULL;
    *value_out = NULL;
    *value_len_out = 0;
    lock_acquire(&r->lock);
    TRY(db_ensure_locked(r));
    slice = rocksdb_get_pinned(r->db, r->read, key, key_len, &error);
    TRY(status_take(error));
    if (slice == NULL) {
        st = NOT_FOUND;
        goto out;
    }
    size_t len;
    const char *bytes = rocksdb_pinnableslice_value(slice, &len);
    void *copy = mem_alloc(len + 1);
    if (copy == NULL) {
        st = NO_MEMORY;
        goto out;
    }
    memcpy(copy, bytes, len);
    *value_out = copy;
    *value_len_out = len;
out:
    if (slice != NULL) {
        rocksdb_pinnableslice_destroy(slice);
    }
    lock_release(&r->lock);
    return st;
}

struct rows { /* a portion of consecutive rows: {u32 key_len, u32 value_len, key, value} each */
    char *bytes;
    size_t len, cap;
    bool is_last;
};

static enum status rows_add(struct rows *rows, const char *key, size_t key_len, const char *value,
                            size_t value_len)
{
    uint32_t lens[2] = {(uint32_t)key_len, (uint32_t)value_len};
    size_t need = rows->len + sizeof(lens) + key_len + value_len;
    if (need > rows->cap) {
        size_t cap = need > VISIT_BYTES ? need : VISIT_BYTES;
        char *bytes = mem_realloc(rows->bytes, cap);
        if (bytes == NULL) {
            return NO_MEMORY;
        }
        rows->bytes = bytes;
        rows->cap = cap;
    }
    char *p = rows->bytes + rows->len;
    memcpy(p, lens, sizeof(lens));
    memcpy(p + sizeof(lens), key, key_len);
    if (value_len != 0) {
        memcpy(p + sizeof(lens) + key_len, value, value_len);
    }
    rows->len = need;
    return OK;
}

/* Copies rows with the prefix, from behind `after` (NULL: from the first). */
static enum status rows_read_locked(struct rocks *r, const void *prefix, size_t prefix_len,
                                    const char *after, size_t after_len, struct rows *rows)
    REQUIRES(r->lock)
{
    enum status st = OK;
    char *error = NULL;
    rows->len = 0;
    rocksdb_iterator_t *it = rocksdb_create_iterator(r->db, r->read);
    rocksdb_iter_seek(it, after != NULL ? after : prefix, after != NULL ? after_len : prefix_len);
    for (rows->is_last = true; rocksdb_iter_valid(it); rocksdb_iter_next(it)) {
        size_t key_len, value_len;
        const char *key = rocksdb_iter_key(it, &key_len);
        if (key_len < prefix_len || memcmp(key, prefix, prefix_len) != 0) {
            break;
        }
        if (after != NULL && key_len == after_len && memcmp(key, after, after_len) == 0) {
            continue;
        }
        if (rows->len >= VISIT_BYTES) {
            rows->is_last = false;
            break;
        }
        const char *value = rocksdb_iter_value(it, &value_len);
        TRY(rows_add(rows, key, key_len, value, value_len));
    }
    rocksdb_iter_get_error(it, &error);
    st = status_take(error);
out:
    rocksdb_iter_destroy(it);
    return st;
}

enum status rocks_visit(struct rocks *r, const void *prefix, size_t prefix_len, rocks_visit_fn fn,
                        void *arg)
{
    enum status st = OK;
    struct rows rows = {0};
    char *after = NULL;
    size_t after_len = 0;
    do {
        lock_acquire(&r->lock);
        st = db_ensure_locked(r);
        if (st == OK) {
            st = rows_read_locked(r, prefix, prefix_len, after, after_len, &rows);
        }
        lock_release(&r->lock);
        TRY(st);
        for (size_t at = 0; at < rows.len;) {
            uint32_t lens[2];
            memcpy(lens, rows.bytes + at, sizeof(lens));
            const char *key = rows.bytes + at + sizeof(lens);
            at += sizeof(lens) + lens[0] + lens[1];
            TRY(fn(arg, key, lens[0], key + lens[0], lens[1]));
            if (at >= rows.len && !rows.is_last) { /* where the next portion begins */
                mem_free(after);
                after = mem_alloc(lens[0] + 1);
                if (after == NULL) {
                    st = NO_MEMORY;
                    goto out;
                }
                memcpy(after, key, lens[0]);
                after_len = lens[0];
            }
        }
    } while (!rows.is_last);
out:
    mem_free(rows.bytes);
    mem_free(after);
    return st;
}

uint64_t rocks_memory_bytes(struct rocks *r)
{
    static const char *const properties[] = {
        "rocksdb.cur-size-all-mem-tables",
        "rocksdb.estimate-table-readers-mem",
        "rocksdb.block-cache-usage",
    };
    uint64_t bytes = 0;
    lock_acquire(&r->lock);
    for (size_t i = 0; r->db != NULL && i < sizeof(properties) / sizeof(properties[0]); i++) {
        uint64_t n = 0;
        if (rocksdb_property_int(r->db, properties[i], &n) == 0) {
            bytes += n;
        }
    }
    lock_release(&r->lock);
    return bytes;
}
