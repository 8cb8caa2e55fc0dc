/*
 * Purpose: the engine's life and its numbers.
 * Threads: open, start, stop and close from the main thread; worker functions on the worker's
 *   thread; the rest anywhere.
 * Errors: engine_open explains itself in one line of the log and in error_out.
 */
#ifndef HEARTH_ENGINE_API_CONTROL_H
#define HEARTH_ENGINE_API_CONTROL_H

#include "engine/engine.h"

#define ENGINE_ERROR_MAX 256

/* Reads the options (memory, dir, warm-*, …), opens the data directory, loads what a clean stop left.
 * Blocks. n_workers as the caller will create. */
MUST_CHECK enum status engine_open(unsigned n_workers, struct engine **out, char *error_out);
/* After all workers have stopped: drains the hot tier down (unless keep_data is false), writes the
 * index snapshot, sets the clean mark, closes. Progress goes to the log. */
enum status engine_close(struct engine **engine, bool keep_data);

struct engine_worker *engine_worker(struct engine *engine, unsigned id);
/* Binds the calling thread to the worker. */
MUST_CHECK enum status engine_worker_start(struct engine_worker *worker);
void engine_worker_stop(struct engine_worker *worker);
/* Readable whenever engine_worker_poll has something to do. */
int engine_worker_fd(const struct engine_worker *worker);
/* Handles completions and mail; calls resume of parked ops. */
void engine_worker_poll(struct engine_worker *worker);
/* Once per loop turn, after all clients were served: submits device I/O in one go. */
void engine_worker_turn(struct engine_worker *worker);
/* Every 100 ms: expiry, sweeping, partly filled write buffers. */
void engine_worker_tick(struct engine_worker *worker);
/* Before a client's batch of commands: what expires by then has expired. */
void engine_worker_refresh_clock(struct engine_worker *worker);
/* The worker's cached wall clock, refreshed by that, by poll and turn; milliseconds. */
int64_t engine_worker_now_ms(const struct engine_worker *worker);

/* Client buffers are charged to `memory`: net reports every change of their total. */
void engine_client_memory_add(int64_t delta_bytes);
/* What clients may use together (1/8 of memory) and use now. Over it net closes its largest. */
uint64_t engine_client_memory_limit(void);
uint64_t engine_client_memory_used(void);

struct engine_db_stats {
    uint64_t n_keys;    /* unsettled overwrites may be counted twice: engine_db_size is exact */
    uint64_t n_expires; /* keys with an expiry, hot ones only */
};

struct engine_stats {
    struct engine_db_stats db[ENGINE_DATABASES];
    uint64_t memory_limit, rss_bytes, peak_rss_bytes;
    uint64_t used_bytes; /* all that is charged: items, tables, index, buffers, clients, base */
    uint64_t hot_items, hot_bytes, hot_capacity_bytes, hot_table_bytes, policy_bytes;
    uint64_t warm_items, warm_live_bytes, warm_used_bytes, warm_capacity_bytes, index_bytes;
    uint64_t io_buffer_bytes, client_bytes, base_bytes;
    uint64_t segments_free, segments_open, segments_sealed, segment_bytes;
    const char *device_state; /* "ok", "degraded", "failed", "off" */
    const char *durability;
    bool is_loading;
    double loading_ratio;
};
void engine_stats(struct engine *engine, struct engine_stats *out);
/* One item's RAM beyond key and value, for MEMORY USAGE and the docs. */
size_t engine_item_bytes(size_t key_len, size_t value_len, bool has_expiry);

#endif
