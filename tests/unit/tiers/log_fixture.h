/*
 * Purpose: a log on a device in RAM with a catalogue in a temporary folder, one asynchronous writer,
 *   and a shadow of what its done callbacks said: for the log's unit tests.
 * Threads: one, unless a test says otherwise. Errors: a failed step fails the test.
 */
#ifndef HEARTH_TESTS_UNIT_TIERS_LOG_FIXTURE_H
#define HEARTH_TESTS_UNIT_TIERS_LOG_FIXTURE_H

#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/fault.h"
#include "engine/base/log.h"
#include "engine/base/metrics.h"
#include "tests/support/unit.h"
#include "tiers/index.h"
#include "tiers/log_impl.h"

#define MIB (UINT64_C(1) << 20)
#define FIXTURE_SEGMENT (2 * MIB)
#define FIXTURE_BLOCK (64u << 10)
#define FIXTURE_RECORDS 40000

struct shadow { /* one record as it was appended */
    uint64_t location;
    uint32_t bytes;
    uint32_t seed; /* of key and value */
    uint32_t key_len, value_len;
    enum status st; /* AGAIN: not done yet */
};

struct fixture {
    char dir[64];
    char *backing;
    uint64_t device_bytes;
    uint64_t shuffle_seed;
    bool is_file; /* a real one: several threads may move the same bytes */
    struct log_config config;
    struct device *dev;
    struct device_queue *queue;
    struct rocks *catalog;
    struct log *log;
    struct codec *codec;
    struct log_writer *writer;
    struct shadow *shadow;
    uint32_t n_shadow;
    uint32_t n_done;
    uint64_t next_seq;
    _Atomic unsigned n_wakes;
};

static inline uint32_t fixture_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*state >> 33);
}

/* Half compressible, reproducible. */
static inline void fixture_fill(char *out, uint32_t len, uint32_t seed)
{
    uint64_t state = seed;
    for (uint32_t i = 0; i < len; i++) {
        out[i] = (i & 63) < 32 ? (char)fixture_random(&state) : (char)('a' + seed % 26);
    }
}

static inline void fixture_wake(void *arg)
{
    atomic_fetch_add(&((struct fixture *)arg)->n_wakes, 1);
}

static inline void fixture_done(void *arg, enum status st, const struct log_entry *entries,
                                uint32_t n_entries)
{
    struct fixture *f = arg;
    for (uint32_t i = 0; i < n_entries; i++) {
        struct shadow *s = &f->shadow[(uintptr_t)entries[i].cookie];
        ck_assert_int_eq(s->st, AGAIN); /* once per record */
        ck_assert_uint_eq(s->bytes, entries[i].record_bytes);
        s->st = st;
        s->location = entries[i].location;
        if (st == OK) {
            log_note_live(f->log, s->location, s->bytes);
        }
        f->n_done++;
    }
}

/* Everything but the device's bytes and the catalogue. */
static inline enum status fixture_open_log(struct fixture *f, bool is_cold)
{
    if (f->is_file) {
        char path[100];
        snprintf(path, sizeof(path), "%s/device", f->dir);
        ck_assert_int_eq(device_open(path, f->device_bytes, &f->dev), OK);
    } else {
        ck_assert_int_eq(device_open_memory(f->device_bytes, f->backing, f->shuffle_seed, &f->dev),
                         OK);
    }
    ck_assert_int_eq(device_queue_create(f->dev, 64, &f->queue), OK);
    ck_assert_int_eq(rocks_open(f->dir, &f->catalog), OK);
    return log_open(&f->config, f->dev, f->catalog, is_cold, &f->log);
}

static inline void fixture_start_writer(struct fixture *f, unsigned max_in_flight)
{
    ck_assert_int_eq(log_writer_create(f->log, f->queue, f->codec, max_in_flight, false,
                                       fixture_done, f, &f->writer),
                     OK);
}

static inline void fixture_close_log(struct fixture *f)
{
    log_writer_destroy(&f->writer);
    device_queue_destroy(&f->queue);
    log_close(&f->log); /* NULL after a failed open */
    rocks_close(&f->catalog);
    device_close(&f->dev);
}

static inline void fixture_begin(struct fixture *f, unsigned n_segments)
{
    *f = (struct fixture){.dir = "/tmp/hearth-log-XXXXXX", .next_seq = 1, .shuffle_seed = 7};
    log_set_level(LOG_ERROR); /* faults below are wanted */
    ck_assert_ptr_nonnull(mkdtemp(f->dir));
    f->device_bytes = n_segments * FIXTURE_SEGMENT;
    f->backing = aligned_alloc(DEVICE_ALIGN, f->device_bytes);
    f->shadow = calloc(FIXTURE_RECORDS, sizeof(*f->shadow));
    f->config = (struct log_config){
        .segment_bytes = FIXTURE_SEGMENT,
        .block_bytes = FIXTURE_BLOCK,
        .uuid = "fixture-uuid-16",
        .wake = fixture_wake,
        .wake_arg = f,
    };
    memset(f->backing, 0, f->device_bytes);
    ck_assert_int_eq(codec_create(&f->codec), OK);
    ck_assert_int_eq(fixture_open_log(f, true), OK);
    ck_assert_int_eq(log_maintain(f->log), OK);
    fixture_start_writer(f, 4);
}

static inline void fixture_remove_dir(const char *path)
{
    DIR *dir = opendir(path);
    for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;) {
        char name[400];
        snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
        (void)unlink(name); /* "." and ".." stay */
    }
    closedir(dir);
    (void)rmdir(path);
}

static inline void fixture_end(struct fixture *f)
{
    ck_assert_int_eq(fault_arm(NULL), OK);
    fixture_close_log(f);
    codec_destroy(&f->codec);
    free(f->backing);
    free(f->shadow);
    fixture_remove_dir(f->dir);
}

/* The same on libaio and a file; right after fixture_begin. */
static inline void fixture_use_file(struct fixture *f)
{
    fixture_close_log(f);
    f->is_file = true;
    ck_assert_int_eq(fixture_open_log(f, true), OK);
    ck_assert_int_eq(log_maintain(f->log), OK);
    fixture_start_writer(f, 4);
}

/* Submits and reaps until nothing is in flight. */
static inline void fixture_pump(struct fixture *f)
{
    while (device_in_flight(f->queue) > 0) {
        device_submit(f->queue);
        if (device_reap(f->queue) == 0) {
            struct pollfd p = {.fd = device_queue_fd(f->queue), .events = POLLIN};
            poll(&p, 1, 100);
        }
    }
}

static inline char *fixture_bytes(const struct shadow *s, char **value_out)
{
    char *key = malloc((size_t)s->key_len + s->value_len + 1);
    fixture_fill(key, s->key_len, s->seed);
    fixture_fill(key + s->key_len, s->value_len, s->seed + 1);
    *value_out = key + s->key_len;
    return key;
}

/* One attempt; on OK the record stands in the shadow. */
static inline enum status fixture_append(struct fixture *f, uint32_t key_len, uint32_t value_len,
                                         int level, int64_t expire_at_ms)
{
    ck_assert_uint_lt(f->n_shadow, FIXTURE_RECORDS);
    struct shadow *s = &f->shadow[f->n_shadow];
    *s = (struct shadow){
        .seed = f->n_shadow * 2 + 1,
        .key_len = key_len,
        .value_len = value_len,
        .st = AGAIN,
    };
    char *value, *key = fixture_bytes(s, &value);
    struct log_put put = {
        .hash = s->seed * UINT64_C(0x9e3779b97f4a7c15),
        .seq = f->next_seq,
        .ns = 42,
        .expire_at_ms = expire_at_ms,
        .key = key,
        .key_len = key_len,
        .value = value,
        .value_len = value_len,
        .kind = RECORD_VALUE,
        .level = level,
    };
    enum status st =
        log_append(f->writer, &put, (void *)(uintptr_t)f->n_shadow, &s->location, &s->bytes);
    if (st == OK) {
        f->n_shadow++;
        f->next_seq++;
    }
    free(key);
    return st;
}

/* Appends, waiting for buffers and preparing segments as an engine would. */
static inline void fixture_append_ok(struct fixture *f, uint32_t key_len, uint32_t value_len,
                                     int level)
{
    enum status st;
    while ((st = fixture_append(f, key_len, value_len, level, RECORD_NO_EXPIRY)) == AGAIN) {
        fixture_pump(f);
        st = log_maintain(f->log);
        ck_assert(st == OK || st == NO_SPACE);
    }
    ck_assert_int_eq(st, OK);
}

static inline void fixture_flush(struct fixture *f)
{
    while (log_flush(f->writer) == AGAIN) {
        fixture_pump(f);
    }
    fixture_pump(f);
    ck_assert_uint_eq(log_writer_pending(f->writer), 0);
}

/* The record is the one of the shadow. */
static inline void fixture_check_record(struct fixture *f, const struct shadow *s,
                                        const struct record *r)
{
    char *value, *key = fixture_bytes(s, &value);
    ck_assert_uint_eq(r->key_len, s->key_len);
    ck_assert_int_eq(memcmp(r->key, key, s->key_len), 0);
    ck_assert_uint_eq(r->raw_len, s->value_len);
    ck_assert_uint_eq(r->ns, 42);
    char *raw = malloc((size_t)r->raw_len + 1);
    ck_assert_int_eq(codec_decompress(f->codec, r->codec, r->stored, r->stored_len, raw,
                                      r->raw_len),
                     OK);
    ck_assert_int_eq(memcmp(raw, value, s->value_len), 0);
    free(raw);
    free(key);
}

static inline void fixture_note_read(struct log_read *read, enum status st);

struct fixture_read {
    struct log_read read;
    enum status st; /* AGAIN: not done */
};

static inline void fixture_note_read(struct log_read *read, enum status st)
{
    ((struct fixture_read *)(void *)read)->st = st;
}

static inline enum status fixture_read_begin(struct fixture *f, struct fixture_read *r,
                                             uint64_t location, uint32_t bytes)
{
    *r = (struct fixture_read){
        .read = {.location = location, .len_class = index_class(bytes), .done = fixture_note_read},
        .st = AGAIN,
    };
    return log_read_begin(f->log, f->queue, &r->read);
}

/* Reads through the queue; what log_read_record says. */
static inline enum status fixture_read(struct fixture *f, const struct shadow *s)
{
    struct fixture_read r;
    struct record record;
    enum status st = fixture_read_begin(f, &r, s->location, s->bytes);
    if (st != OK) {
        return st;
    }
    fixture_pump(f);
    st = r.st;
    if (st == OK) {
        st = log_read_record(&r.read, &record);
        if (st == OK) {
            fixture_check_record(f, s, &record);
        }
    }
    log_read_finish(&r.read);
    return st;
}

/* Shadow i's place holds nothing that verifies, or a record written after `seq`. True: the latter. */
static inline bool fixture_assert_gone(struct fixture *f, uint32_t i, uint64_t seq)
{
    const struct shadow *s = &f->shadow[i];
    struct record r;
    void *buffer;
    enum status st = log_read_sync(f->log, s->location, index_class(s->bytes), &r, &buffer);
    ck_assert(st == OK || st == CORRUPT || st == INVALID);
    ck_assert(st != OK || r.seq > seq);
    free(buffer);
    return st == OK;
}

/* Every record that is done OK reads back. */
static inline void fixture_read_all(struct fixture *f)
{
    for (uint32_t i = 0; i < f->n_shadow; i++) {
        if (f->shadow[i].st == OK) {
            ck_assert_msg(fixture_read(f, &f->shadow[i]) == OK, "record %u of %u", i, f->n_shadow);
        }
    }
}

#endif
