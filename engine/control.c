/*
 * The engine's life: open the directory, the device, the catalogue; workers; ticks; numbers; close.
 *
 *      engine_open -> engine_worker_start x n -> (poll, turn, tick) ... -> engine_worker_stop x n
 *                  -> engine_close: wait for what is on its way down, drain, save, clean mark
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/bytes.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/options.h"
#include "engine/engine_impl.h"

#define QUEUE_DEPTH 256
#define FLUSH_AFTER_US 200000 /* a partly filled write buffer goes down after that */
#define STOP_WAIT_US 30000000

static enum status fail(char *error_out, enum status st, const char *what, const char *path)
{
    (void)snprintf(error_out, ENGINE_ERROR_MAX, "%.60s %.120s: %s", what, path, status_text(st));
    return st;
}

/* ---- the data directory ---- */

static enum status directory_lock(struct engine *e, char *error_out)
{
    char path[600];
    if (mkdir(e->dir, 0700) != 0 && errno != EEXIST) {
        return fail(error_out, status_from_errno(errno), "cannot create data directory", e->dir);
    }
    (void)snprintf(path, sizeof(path), "%s/LOCK", e->dir);
    e->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (e->lock_fd < 0) {
        return fail(error_out, status_from_errno(errno), "cannot open", path);
    }
    if (flock(e->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        (void)snprintf(error_out, ENGINE_ERROR_MAX,
                       "data directory %.150s is in use by another hearth-server", e->dir);
        return REJECTED;
    }
    return OK;
}

static const char uuid_key[] = "uuid";
static const char format_key[] = "format";
#define FORMAT_VERSION 1u

static enum status identity_create(struct engine *e)
{
    struct rocks_batch *b = rocks_batch_create();
    uint32_t version = FORMAT_VERSION;
    if (b == NULL || getrandom(e->uuid, sizeof(e->uuid), 0) != (ssize_t)sizeof(e->uuid)) {
        rocks_batch_destroy(&b);
        return NO_MEMORY;
    }
    rocks_batch_put(b, uuid_key, sizeof(uuid_key) - 1, e->uuid, sizeof(e->uuid));
    rocks_batch_put(b, format_key, sizeof(format_key) - 1, &version, sizeof(version));
    enum status st = rocks_write(e->catalog, b, true);
    rocks_batch_destroy(&b);
    return st;
}

static enum status identity_load(struct engine *e, char *error_out)
{
    void *uuid = NULL;
    void *format = NULL;
    size_t uuid_len = 0, format_len = 0;
    uint32_t version = 0;
    enum status st = rocks_get(e->catalog, uuid_key, sizeof(uuid_key) - 1, &uuid, &uuid_len);
    if (st == NOT_FOUND) {
        return identity_create(e);
    }
    TRY(st);
    TRY(rocks_get(e->catalog, format_key, sizeof(format_key) - 1, &format, &format_len));
    if (uuid_len != sizeof(e->uuid) || format_len != sizeof(version)) {
        st = CORRUPT;
        goto out;
    }
    memcpy(e->uuid, uuid, sizeof(e->uuid));
    memcpy(&version, format, sizeof(version));
    if (version != FORMAT_VERSION) {
        (void)snprintf(error_out, ENGINE_ERROR_MAX,
                       "data directory %.150s has format %u, this program knows %u", e->dir,
                       version, FORMAT_VERSION);
        st = INVALID;
    }
out:
    free(uuid);
    free(format);
    return st;
}

/* A catalogue that cannot be opened names nothing that could be trusted: it is put aside. */
static enum status catalog_open(struct engine *e, char *error_out)
{
    char path[600], aside[640];
    (void)snprintf(path, sizeof(path), "%s/catalog", e->dir);
    enum status st = rocks_open(path, &e->catalog);
    if (st == CORRUPT) {
        (void)snprintf(aside, sizeof(aside), "%s.damaged-%lld", path, (long long)clock_wall_ms());
        log_warn("engine", "catalogue damaged", "starting cold, kept as=%s", aside);
        if (rename(path, aside) == 0) {
            st = rocks_open(path, &e->catalog);
        }
    }
    return st == OK ? OK : fail(error_out, st, "cannot open catalogue", path);
}

static enum status warm_open(struct engine *e, char *error_out)
{
    uint64_t size = (uint64_t)option_i64(OPT_WARM_SIZE);
    char path[600];
    if (size == 0) {
        return OK;
    }
    if (option_str(OPT_WARM_PATH, path, sizeof(path)) == 0) {
        (void)snprintf(path, sizeof(path), "%s/warm.log", e->dir);
    }
    enum status st = device_open(path, size, &e->device);
    if (st != OK) {
        return fail(error_out, st, "cannot allocate warm tier", path);
    }
    st = catalog_open(e, error_out);
    if (st != OK) {
        return st;
    }
    st = identity_load(e, error_out);
    if (st != OK) {
        return error_out[0] != '\0' ? st : fail(error_out, st, "catalogue of", e->dir);
    }
    st = restart_open_log(e);
    return st == OK ? OK : fail(error_out, st, "cannot open warm tier", path);
}

/* ---- shards and workers ---- */

/* First cells for 512 KiB of the warm tier each; fuller ones split. Fewer would bring more false matches
 * (keys / 2^(25 + depth)), more would leave cells too empty for their headers. */
static unsigned index_depth_for(uint64_t warm_bytes)
{
    uint64_t cells = warm_bytes / (512 * 1024) / SHARDS;
    unsigned depth = 0;
    while (depth < 14 && (UINT64_C(2) << depth) <= cells) {
        depth++;
    }
    return depth;
}

static enum status shards_init(struct engine *e)
{
    e->index_depth = index_depth_for((uint64_t)option_i64(OPT_WARM_SIZE));
    for (unsigned i = 0; i < SHARDS; i++) {
        struct shard *s = &e->shards[i];
        s->id = (uint16_t)i;
        lock_init(&s->lock, LOCK_RANK_SHARD);
        enum status st = table_init(&s->table);
        if (st == OK) {
            st = index_init(&s->index, e->index_depth);
        }
        if (st != OK) {
            return st;
        }
    }
    return OK;
}

static void wake_run(struct mail *mail)
{
    struct engine_worker *w =
        (struct engine_worker *)(void *)((char *)mail - offsetof(struct engine_worker, wake));
    atomic_store_explicit(&w->is_woken, false, memory_order_release);
}

static enum status worker_watch(struct engine_worker *w, int fd)
{
    struct epoll_event ev = {.events = EPOLLIN};
    return epoll_ctl(w->poll_fd, EPOLL_CTL_ADD, fd, &ev) == 0 ? OK : status_from_errno(errno);
}

static enum status worker_init(struct engine *e, unsigned id)
{
    struct engine_worker *w = &e->workers[id];
    enum status st = OK;
    w->engine = e;
    w->id = id;
    w->delayed_tail = &w->delayed;
    w->settles_tail = &w->settles;
    w->fetches_tail = &w->fetches_waiting;
    w->wake.run = wake_run;
    w->random = (uint64_t)clock_mono_us() * 2654435761u + id + 1;
    atomic_store_explicit(&w->now_ms, clock_wall_ms(), memory_order_relaxed);
    w->poll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (w->poll_fd < 0) {
        return status_from_errno(errno);
    }
    TRY(mailbox_init(&w->mailbox));
    TRY(worker_watch(w, mailbox_fd(&w->mailbox)));
    if (e->log != NULL) {
        TRY(device_queue_create(e->device, QUEUE_DEPTH, &w->queue));
        TRY(worker_watch(w, device_queue_fd(w->queue)));
        TRY(codec_create(&w->codec));
        TRY(log_writer_create(e->log, w->queue, w->codec,
                              memory_limit() < UINT64_C(256) << 20 ? 1 : 3, false,
                              demote_block_done, w, &w->writer));
    }
out:
    return st;
}

static void worker_deinit(struct engine_worker *w)
{
    if (w->engine == NULL) {
        return;
    }
    scan_footer_destroy(w);
    log_writer_destroy(&w->writer);
    device_queue_destroy(&w->queue);
    codec_destroy(&w->codec);
    if (w->poll_fd > 0) {
        (void)close(w->poll_fd);
        mailbox_deinit(&w->mailbox);
    }
}

/* ---- open, close ---- */

static void refresh_metrics(void *arg);

static enum status open_parts(struct engine *e, unsigned n_workers, char *error_out)
{
    enum status st = OK;
    e->n_workers = n_workers;
    e->started_us = clock_mono_us();
    e->lock_fd = -1;
    (void)option_str(OPT_DIR, e->dir, sizeof(e->dir));
    if (getrandom(&e->secret, sizeof(e->secret), 0) != (ssize_t)sizeof(e->secret)) {
        return fail(error_out, IO, "no random numbers for", "hashing");
    }
    TRY(directory_lock(e, error_out));
    namespace_init(e);
    TRY(shards_init(e));
    TRY(warm_open(e, error_out));
    TRY(memory_init(e));
    e->workers = mem_zalloc(n_workers, sizeof(*e->workers));
    if (e->workers == NULL) {
        return fail(error_out, NO_MEMORY, "workers", "");
    }
    for (unsigned i = 0; i < n_workers; i++) {
        TRY(worker_init(e, i));
    }
    TRY(background_start(e));
    metrics_on_refresh(refresh_metrics, e);
out:
    if (st != OK && error_out[0] == '\0') {
        return fail(error_out, st, "cannot start in", e->dir);
    }
    return st;
}

/* A process that ends need not give back every item; a leak check wants it. */
#ifdef HEARTH_DEBUG
static void free_item(void *arg, struct item *it)
{
    (void)arg;
    item_destroy(it);
}

static void free_items(struct shard *s)
{
    uint32_t position = 0;
    while (s->table.chunks != NULL && position < TABLE_END) {
        position = table_visit(&s->table, position, free_item, NULL);
    }
}
#else
static void free_items(struct shard *s)
{
    (void)s;
}
#endif

static void close_parts(struct engine *e)
{
    metrics_off_refresh(refresh_metrics, e);
    background_stop(e);
    for (unsigned i = 0; e->workers != NULL && i < e->n_workers; i++) {
        worker_deinit(&e->workers[i]);
    }
    for (unsigned i = 0; i < SHARDS; i++) {
        struct shard *s = &e->shards[i];
        if (e->log != NULL) {
            large_clear(e, s);
        }
        free_items(s);
        table_deinit(&s->table);
        index_deinit(&s->index);
    }
    memory_deinit(e);
    log_close(&e->log);
    rocks_close(&e->catalog);
    device_close(&e->device);
    if (e->lock_fd >= 0) {
        (void)close(e->lock_fd);
    }
    mem_free(e->workers);
    free(e);
}

enum status engine_open(unsigned n_workers, struct engine **out, char *error_out)
{
    struct engine *e = aligned_alloc(64, bytes_align_up(sizeof(struct engine), 64));
    *out = NULL;
    error_out[0] = '\0';
    if (e == NULL) {
        return fail(error_out, NO_MEMORY, "engine", "");
    }
    memset(e, 0, sizeof(*e));
    enum status st = open_parts(e, n_workers, error_out);
    if (st != OK) {
        close_parts(e);
        return st;
    }
    *out = e;
    return OK;
}

/* Large values may still be on their way down by the background thread. */
static void wait_for_demotions(struct engine *e)
{
    static const struct timespec pause = {.tv_nsec = 5000000};
    int64_t until_us = clock_mono_us() + STOP_WAIT_US;
    while (atomic_load_explicit(&e->demoting_bytes, memory_order_acquire) != 0 &&
           clock_mono_us() < until_us) {
        (void)nanosleep(&pause, NULL);
    }
}

enum status engine_close(struct engine **engine, bool keep_data)
{
    struct engine *e = *engine;
    enum status st = OK;
    if (e == NULL) {
        return OK;
    }
    if (e->log != NULL && keep_data) {
        wait_for_demotions(e);
        restart_drain(e);
        atomic_store_explicit(&e->is_stopping, true, memory_order_relaxed);
        background_stop(e);
        st = restart_save(e);
        if (st != OK) {
            log_error("engine", "snapshot failed", "reason=\"%s\" the next start is cold",
                      status_text(st));
        }
    } else if (keep_data && option_i64(OPT_WARM_SIZE) == 0) {
        log_warn("engine", "no warm tier", "what is in RAM ends with the process");
    }
    atomic_store_explicit(&e->is_stopping, true, memory_order_relaxed);
    close_parts(e);
    *engine = NULL;
    return st;
}

/* ---- workers at work ---- */

struct engine_worker *engine_worker(struct engine *engine, unsigned id)
{
    return &engine->workers[id];
}

int engine_worker_fd(const struct engine_worker *worker)
{
    return worker->poll_fd;
}

int64_t engine_worker_now_ms(const struct engine_worker *worker)
{
    return atomic_load_explicit(&worker->now_ms, memory_order_relaxed);
}

void engine_worker_refresh_clock(struct engine_worker *w)
{
    atomic_store_explicit(&w->now_ms, clock_wall_ms(), memory_order_relaxed);
}

enum status engine_worker_start(struct engine_worker *worker)
{
    engine_worker_refresh_clock(worker);
    return OK;
}

void engine_worker_poll(struct engine_worker *worker)
{
    engine_worker_refresh_clock(worker);
    (void)mailbox_drain(&worker->mailbox);
    if (worker->queue != NULL) {
        (void)device_reap(worker->queue);
    }
}

void engine_worker_turn(struct engine_worker *worker)
{
    struct engine *e = worker->engine;
    engine_worker_refresh_clock(worker);
    uint32_t changes = atomic_load_explicit(&e->capacity_changes, memory_order_relaxed);
    if (UNLIKELY(changes != worker->capacity_seen)) {
        worker->capacity_seen = changes;
        worker->touched = (1u << e->n_policies) - 1;
    }
    if (worker->touched != 0 || worker->delayed != NULL || worker->is_choked) {
        demote_unchoke(worker);
    }
    if (worker->queue == NULL) {
        return;
    }
    if (worker->fetches_waiting != NULL) {
        fetch_start_waiting(worker);
    }
    if (worker->n_settles_queued != 0) {
        fetch_start_settles(worker);
    }
    device_submit(worker->queue);
}

void engine_worker_tick(struct engine_worker *worker)
{
    engine_worker_refresh_clock(worker);
    expire_tick(worker);
    if (worker->writer != NULL) {
        int64_t oldest_us = log_writer_oldest_us(worker->writer);
        if (worker->is_choked || (oldest_us != 0 && clock_mono_us() - oldest_us > FLUSH_AFTER_US)) {
            IGNORE(log_flush(worker->writer)); /* failures arrive in demote_block_done */
        }
    }
    if (worker->id == 0) {
        memory_control(worker->engine);
    }
}

/* All reads and writes this worker has begun end; all its blind overwrites are settled. */
void engine_worker_stop(struct engine_worker *worker)
{
    static const struct timespec pause = {.tv_nsec = 200000};
    int64_t until_us = clock_mono_us() + STOP_WAIT_US;
    worker->is_choked = true; /* no more promotions */
    while (worker->queue != NULL && clock_mono_us() < until_us &&
           (worker->n_fetches != 0 || worker->n_settles_queued != 0 ||
            log_writer_pending(worker->writer) != 0 || device_in_flight(worker->queue) != 0)) {
        IGNORE(log_flush(worker->writer));
        fetch_start_waiting(worker);
        fetch_start_settles(worker);
        device_submit(worker->queue);
        if (device_reap(worker->queue) + mailbox_drain(&worker->mailbox) == 0) {
            (void)nanosleep(&pause, NULL);
        }
    }
}

/* ---- numbers ---- */

static void db_stats(struct engine *e, struct engine_stats *out)
{
    for (unsigned db = 0; db < ENGINE_DATABASES; db++) {
        const struct namespace *ns = &e->namespaces[namespace_slot(e, db)];
        int64_t n = atomic_load_explicit(&ns->n_keys, memory_order_relaxed);
        int64_t expires = atomic_load_explicit(&ns->n_expires, memory_order_relaxed);
        out->db[db].n_keys = n > 0 ? (uint64_t)n : 0;
        out->db[db].n_expires = expires > 0 ? (uint64_t)expires : 0;
    }
}

static void hot_stats(struct engine *e, struct engine_stats *out)
{
    for (unsigned i = 0; i < e->n_policies; i++) {
        struct policy_stats stats;
        lock_acquire(&e->policies[i].lock);
        policy_stats(e->policies[i].policy, &stats);
        lock_release(&e->policies[i].lock);
        for (unsigned q = 0; q < POLICY_QUEUES; q++) {
            out->hot_bytes += stats.bytes[q];
        }
        out->policy_bytes += stats.overhead_bytes;
    }
    out->hot_bytes += atomic_load_explicit(&e->demoting_bytes, memory_order_relaxed);
    for (unsigned i = 0; i < SHARDS; i++) {
        struct shard *s = &e->shards[i];
        lock_acquire(&s->lock);
        out->hot_items += s->table.n_items;
        out->hot_table_bytes += s->table.bytes;
        out->index_bytes += s->index.bytes;
        lock_release(&s->lock);
    }
}

static void warm_stats(struct engine *e, struct engine_stats *out)
{
    static const char *const states[] = {"ok", "degraded", "failed"};
    struct log_stats stats;
    out->device_state = "off";
    if (e->log == NULL) {
        return;
    }
    log_stats(e->log, &stats);
    out->device_state = states[log_health(e->log)];
    out->warm_items = atomic_load_explicit(&e->warm_items, memory_order_relaxed);
    out->warm_live_bytes = stats.live_bytes;
    out->warm_used_bytes = stats.used_bytes;
    out->warm_capacity_bytes = stats.n_segments * stats.segment_bytes;
    out->segments_free = stats.n_free;
    out->segments_open = stats.n_open;
    out->segments_sealed = stats.n_sealed;
    out->segment_bytes = stats.segment_bytes;
    out->io_buffer_bytes = stats.memory_bytes + device_buffer_bytes();
}

void engine_stats(struct engine *e, struct engine_stats *out)
{
    memset(out, 0, sizeof(*out));
    db_stats(e, out);
    hot_stats(e, out);
    warm_stats(e, out);
    out->memory_limit = memory_limit();
    out->rss_bytes = mem_rss_bytes();
    out->peak_rss_bytes =
        bytes_max_u64(out->rss_bytes, atomic_load_explicit(&e->peak_rss, memory_order_relaxed));
    out->hot_capacity_bytes = memory_hot_capacity();
    out->client_bytes = engine_client_memory_used();
    uint64_t known = out->hot_bytes + out->hot_table_bytes + out->index_bytes + out->policy_bytes +
                     out->io_buffer_bytes + out->client_bytes;
    out->base_bytes = out->rss_bytes > known ? out->rss_bytes - known : 0;
    out->used_bytes = known + out->base_bytes;
    out->durability = "volatile";
    out->loading_ratio = 1;
}

static void refresh_metrics(void *arg)
{
    struct engine *e = arg;
    struct engine_stats s;
    engine_stats(e, &s);
    metric_set(M_UPTIME, (double)(clock_mono_us() - e->started_us) / 1e6);
    metric_set(M_MEMORY_LIMIT, (double)s.memory_limit);
    metric_set(M_MEMORY_RSS, (double)s.rss_bytes);
    metric_set(M_MEMORY_HOT, (double)s.hot_bytes);
    metric_set(M_MEMORY_HOT_TABLE, (double)s.hot_table_bytes);
    metric_set(M_MEMORY_INDEX, (double)s.index_bytes);
    metric_set(M_MEMORY_BUFFERS, (double)s.io_buffer_bytes);
    metric_set(M_MEMORY_CLIENTS, (double)s.client_bytes);
    metric_set(M_MEMORY_POLICY, (double)s.policy_bytes);
    metric_set(M_MEMORY_OTHER, (double)s.base_bytes);
    metric_set(M_HOT_CAPACITY, (double)s.hot_capacity_bytes);
    metric_set(M_WARM_CAPACITY, (double)s.warm_capacity_bytes);
    metric_set(M_HOT_BYTES, (double)s.hot_bytes);
    metric_set(M_WARM_BYTES, (double)s.warm_used_bytes);
    metric_set(M_WARM_LIVE_BYTES, (double)s.warm_live_bytes);
    metric_set(M_HOT_ITEMS, (double)s.hot_items);
    metric_set(M_WARM_ITEMS, (double)s.warm_items);
    metric_set(M_DEVICE_STATE, e->log == NULL ? 0 : (double)log_health(e->log));
    metric_set(M_SEGMENTS_FREE, (double)s.segments_free);
    metric_set(M_SEGMENTS_OPEN, (double)s.segments_open);
    metric_set(M_SEGMENTS_SEALED, (double)s.segments_sealed);
    double stored = metric_value_raw(M_STORED_BYTES);
    metric_set(M_COMPRESSION_RATIO, stored > 0 ? metric_value_raw(M_RAW_BYTES) / stored : 1);
}
