/* Several threads write, read and walk one log while another maintains and reclaims it. A table of
 * published locations stands for the index: one word per key, {version, location}, changed by
 * compare-and-swap; reclaim moves a key's record or drops it. Every read is judged: the bytes are the
 * key's, of the version its word named, and no newer version is ever replaced by an older one. */
#include "tests/unit/tiers/log_fixture.h"

#include <pthread.h>

#include "engine/base/check.h"

#define N_WRITERS 3
#define N_READERS 2
#define N_KEYS 3000
#define RUN_APPENDS 20000
#define VERSION_SHIFT INDEX_LOCATION_BITS /* 28 bits of version above the location */

static struct fixture f;
static _Atomic uint64_t published[N_KEYS]; /* 0: none */
static _Atomic bool is_stopping;
static _Atomic uint64_t n_begun_late, n_reads_ok, n_reads_raced, n_walked, n_failed, n_moved;
static _Atomic uint32_t next_version = 1;

struct put_cookie {
    uint32_t key, version;
    uint64_t old; /* reinsertion: only if the key still says so */
};

static uint64_t word_of(uint32_t version, uint64_t location)
{
    return (uint64_t)version << VERSION_SHIFT | location;
}

static uint32_t value_len_of(uint32_t key, uint32_t version)
{
    uint64_t state = key * 77u + version;
    uint32_t kind = fixture_random(&state) % 50;
    return kind == 0 ? 40000 + fixture_random(&state) % 60000 : fixture_random(&state) % 3000;
}

static void publish(void *arg, enum status st, const struct log_entry *entries, uint32_t n_entries)
{
    for (uint32_t i = 0; i < n_entries; i++) {
        struct put_cookie *c = entries[i].cookie;
        uint64_t new = word_of(c->version, entries[i].location);
        uint64_t old = atomic_load(&published[c->key]);
        bool is_mine = false;
        if (st != OK) {
            atomic_fetch_add(&n_failed, 1);
        }
        while (st == OK && !is_mine &&
               (c->old != 0 ? old == c->old : old >> VERSION_SHIFT < c->version)) {
            is_mine = atomic_compare_exchange_weak(&published[c->key], &old, new);
        }
        if (is_mine) {
            log_note_live(f.log, entries[i].location, entries[i].record_bytes);
        }
        atomic_fetch_add(&n_moved, is_mine && c->old != 0);
        free(c);
    }
}

static struct log_put put_of(uint32_t key, uint32_t version, char *bytes)
{
    uint32_t len = value_len_of(key, version);
    memcpy(bytes, &key, sizeof(key));
    fixture_fill(bytes + sizeof(key), len, key ^ version);
    return (struct log_put){
        .hash = key,
        .seq = version,
        .ns = key % 16,
        .expire_at_ms = RECORD_NO_EXPIRY,
        .key = bytes,
        .key_len = sizeof(key),
        .value = bytes + sizeof(key),
        .value_len = len,
        .kind = RECORD_VALUE,
        .level = 1,
    };
}

/* A worker: its own queue, codec and writer. */
static void *write_keys(void *arg)
{
    uint64_t random = (uintptr_t)arg + 100;
    struct device_queue *q;
    struct codec *codec;
    struct log_writer *w;
    char *bytes = malloc(200000);
    bool is_ok = device_queue_create(f.dev, 32, &q) == OK && codec_create(&codec) == OK &&
                 log_writer_create(f.log, q, codec, 3, false, publish, NULL, &w) == OK;
    CHECK(is_ok);
    for (int n = 0; n < RUN_APPENDS / N_WRITERS;) {
        struct put_cookie *c = malloc(sizeof(*c));
        *c = (struct put_cookie){
            .key = fixture_random(&random) % N_KEYS,
            .version = atomic_fetch_add(&next_version, 1),
        };
        struct log_put put = put_of(c->key, c->version, bytes);
        uint64_t location;
        uint32_t record_bytes;
        enum status st = log_append(w, &put, c, &location, &record_bytes);
        if (st == OK) {
            n++;
        } else {
            free(c);
            CHECK(st == AGAIN || st == IO);
            usleep(200);
        }
        if (n % 7 == 0 || st != OK) {
            device_submit(q);
            device_reap(q);
        }
        if (n % 501 == 0 || st != OK) {
            (void)!log_flush(w);
        }
    }
    while (log_flush(w) == AGAIN) {
        device_submit(q);
        device_reap(q);
    }
    log_writer_destroy(&w);
    codec_destroy(&codec);
    device_queue_destroy(&q);
    free(bytes);
    return NULL;
}

struct read_job {
    struct log_read read;
    uint32_t key;
    uint64_t word;
    struct codec *codec;
    bool is_done;
};

static void judge_read(struct log_read *read, enum status st)
{
    struct read_job *job = (struct read_job *)(void *)read;
    struct record r;
    job->is_done = true;
    if (st != OK || log_read_record(read, &r) != OK) {
        /* Only if the key moved on meanwhile, or the device was told to fail. */
        CHECK(st != OK || atomic_load(&published[job->key]) != job->word);
        atomic_fetch_add(&n_reads_raced, 1);
        return;
    }
    uint32_t version = (uint32_t)(job->word >> VERSION_SHIFT);
    uint32_t len = value_len_of(job->key, version);
    CHECK(r.seq == version);
    CHECK(r.key_len == sizeof(job->key));
    CHECK(memcmp(r.key, &job->key, sizeof(job->key)) == 0);
    CHECK(r.raw_len == len);
    char *expected = malloc(2 * (size_t)len + 1);
    fixture_fill(expected, len, job->key ^ version);
    CHECK(codec_decompress(job->codec, r.codec, r.stored, r.stored_len, expected + len, len) == OK);
    CHECK(memcmp(expected, expected + len, len) == 0);
    free(expected);
    atomic_fetch_add(&n_reads_ok, 1);
}

static void *read_keys(void *arg)
{
    uint64_t random = (uintptr_t)arg + 200;
    struct device_queue *q;
    struct codec *codec;
    CHECK(device_queue_create(f.dev, 32, &q) == OK && codec_create(&codec) == OK);
    while (!atomic_load(&is_stopping)) {
        struct read_job jobs[16] = {0};
        for (int i = 0; i < 16; i++) {
            struct read_job *job = &jobs[i];
            job->key = fixture_random(&random) % N_KEYS;
            job->word = atomic_load(&published[job->key]);
            job->codec = codec;
            uint32_t len = value_len_of(job->key, (uint32_t)(job->word >> VERSION_SHIFT));
            job->read = (struct log_read){
                .location = job->word & ((UINT64_C(1) << VERSION_SHIFT) - 1),
                .len_class = index_class(len + 64),
                .done = judge_read,
            };
            job->is_done = job->word == 0 || log_read_begin(f.log, q, &job->read) != OK;
            /* An engine holds the shard's lock here; without it the place may be another's already. */
            atomic_fetch_add(&n_begun_late, atomic_load(&published[job->key]) != job->word);
        }
        while (device_in_flight(q) > 0) {
            device_submit(q);
            device_reap(q);
        }
        for (int i = 0; i < 16; i++) {
            CHECK(jobs[i].is_done);
            log_read_finish(&jobs[i].read);
        }
        usleep(100);
    }
    codec_destroy(&codec);
    device_queue_destroy(&q);
    return NULL;
}

/* Walks from the oldest block on, again and again. */
static void *walk(void *arg)
{
    struct log_block block = {0};
    struct log_footer_entry e;
    while (!atomic_load(&is_stopping)) {
        struct log_position pos = {0};
        uint32_t segment;
        while (log_block_find(f.log, &pos, &segment) && !atomic_load(&is_stopping)) {
            enum status st =
                log_block_read(f.log, segment, pos.block, true, LOG_REASON_SCAN, &block);
            while (st == OK && log_block_next(&block, &e)) {
                uint32_t key;
                CHECK(e.key_len == sizeof(key));
                memcpy(&key, e.key, sizeof(key));
                CHECK(e.hash == key);
                CHECK(e.ns == key % 16);
                atomic_fetch_add(&n_walked, 1);
            }
            pos.block++;
        }
        usleep(500); /* the others want the processor, too */
    }
    log_block_free(&block);
    return NULL;
}

/* Moves a record that is still its key's, or takes it out. */
static void reclaim_entry(struct log_writer *w, const struct log_block *block,
                          const struct log_footer_entry *e, bool is_kept)
{
    struct record r;
    uint64_t old = word_of((uint32_t)e->seq, e->location), location;
    uint32_t key = (uint32_t)e->hash, bytes;
    if (atomic_load(&published[key]) != old) {
        return;
    }
    struct put_cookie *c = malloc(sizeof(*c));
    *c = (struct put_cookie){.key = key, .version = (uint32_t)e->seq, .old = old};
    if (is_kept && log_block_record(f.log, block, e, &r) == OK) {
        struct log_put put = {
            .hash = e->hash,
            .seq = e->seq,
            .ns = e->ns,
            .expire_at_ms = r.expire_at_ms,
            .key = r.key,
            .key_len = r.key_len,
            .value = r.stored,
            .value_len = r.stored_len,
            .raw_len = r.raw_len,
            .kind = r.kind,
            .codec = r.codec,
            .is_stored = true,
        };
        if (log_append(w, &put, c, &location, &bytes) == OK) {
            return;
        }
    }
    free(c);
}

static void reclaim_one(struct log_writer *w)
{
    struct log_block block = {0};
    struct log_footer_entry e;
    uint32_t segment;
    if (log_reclaim_begin(f.log, LOG_VICTIM_OLDEST, &segment) != OK) {
        return;
    }
    uint32_t n = log_segment_blocks(f.log, segment);
    for (uint32_t b = 0; b < n; b++) {
        if (log_block_read(f.log, segment, b, false, LOG_REASON_RECLAIM, &block) != OK) {
            continue;
        }
        for (uint32_t i = 0; log_block_next(&block, &e); i++) {
            reclaim_entry(w, &block, &e, i % 3 == 0);
        }
    }
    (void)!log_flush(w);
    for (uint32_t key = 0; key < N_KEYS; key++) { /* whatever still names it, goes */
        uint64_t word = atomic_load(&published[key]);
        uint64_t location = word & ((UINT64_C(1) << VERSION_SHIFT) - 1);
        if (word != 0 && location * INDEX_UNIT_BYTES / FIXTURE_SEGMENT == segment) {
            atomic_compare_exchange_strong(&published[key], &word, 0);
        }
    }
    CHECK(log_reclaim_finish(f.log, segment) == OK);
    log_block_free(&block);
}

static void *maintain(void *arg)
{
    struct codec *codec;
    struct log_writer *w;
    CHECK(codec_create(&codec) == OK);
    CHECK(log_writer_create(f.log, NULL, codec, 1, true, publish, NULL, &w) == OK);
    while (!atomic_load(&is_stopping)) {
        (void)!log_maintain(f.log);
        if (log_wants_reclaim(f.log)) {
            reclaim_one(w);
        } else {
            usleep(100);
        }
        struct log_stats stats;
        log_stats(f.log, &stats);
        CHECK(stats.used_bytes <= f.device_bytes);
    }
    log_writer_destroy(&w);
    codec_destroy(&codec);
    return NULL;
}

static void run(const char *faults)
{
    pthread_t writers[N_WRITERS], others[N_READERS + 2];
    atomic_store(&is_stopping, false);
    for (uint32_t key = 0; key < N_KEYS; key++) {
        atomic_store(&published[key], 0);
    }
    fixture_begin(&f, 10);
    fixture_use_file(&f);
    ck_assert_int_eq(fault_arm(faults), OK);
    pthread_create(&others[0], NULL, maintain, NULL);
    pthread_create(&others[1], NULL, walk, NULL);
    for (uintptr_t i = 0; i < N_READERS; i++) {
        pthread_create(&others[2 + i], NULL, read_keys, (void *)i);
    }
    for (uintptr_t i = 0; i < N_WRITERS; i++) {
        pthread_create(&writers[i], NULL, write_keys, (void *)i);
    }
    for (int i = 0; i < N_WRITERS; i++) {
        pthread_join(writers[i], NULL);
    }
    atomic_store(&is_stopping, true);
    for (int i = 0; i < N_READERS + 2; i++) {
        pthread_join(others[i], NULL);
    }
    struct log_stats stats;
    log_stats(f.log, &stats);
    printf("reads %llu, raced %llu, walked %llu, failed %llu, moved %llu, reclaimed %.0f\n",
           (unsigned long long)n_reads_ok, (unsigned long long)n_reads_raced,
           (unsigned long long)n_walked, (unsigned long long)n_failed, (unsigned long long)n_moved,
           metric_value(M_SEGMENTS_RECLAIMED));
    ck_assert_uint_gt(n_reads_ok, 100);
    ck_assert_uint_gt(n_walked, 100);
    ck_assert(metric_value(M_SEGMENTS_RECLAIMED) > 2);
    fixture_end(&f);
}

START_TEST(everything_at_once)
{
    run(NULL);
    ck_assert_uint_eq(n_failed, 0);
    ck_assert_uint_gt(n_moved, 0);
    ck_assert(metric_value(M_DEVICE_ERRORS_CHECKSUM) <= (double)n_begun_late);
}
END_TEST

START_TEST(with_failing_writes)
{
    run("dev.write=IO@50");
}
END_TEST

UNIT_MAIN("log_threads", {everything_at_once}, {with_failing_writes})
