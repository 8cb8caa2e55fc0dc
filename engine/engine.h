/*
 * Purpose: the engine as its callers (net, admin) see it: a key space over two tiers.
 *   A command fills a struct engine_op with its keys, calls engine_begin (which faults cold keys in
 *   and then locks the keys' shards), runs as plain synchronous code with engine_find/put/remove,
 *   and calls engine_end. Keyspace-wide operations are in engine/api_keyspace.h, start, stop and
 *   statistics in engine/api_control.h.
 *
 *       st = engine_begin(op);        AGAIN: parked; op->resume(op) comes later on this thread:
 *       if (st == AGAIN) return;             run the command again from engine_begin
 *       if (st != OK) reply error;    NO_MEMORY, NO_SPACE: -OOM; CLOSED: shutting down
 *       ... engine_find(op, 0, &v) ... engine_put(op, 0, &put) ...
 *       engine_end(op);
 *
 * Threads: an op belongs to one worker thread; begin/find/put/remove/end are called there only.
 * Errors: NO_MEMORY when a value may not be stored within `memory`; TOO_BIG over memory/8.
 *   Device faults are never returned: they read as misses and count in the metrics.
 */
#ifndef HEARTH_ENGINE_ENGINE_H
#define HEARTH_ENGINE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"

#define ENGINE_DATABASES 16
#define ENGINE_NO_EXPIRY INT64_C(-1)
#define ENGINE_KEEP_EXPIRY INT64_C(-2) /* put: as the key has it now */
#define ENGINE_BLOB_MIN (32 * 1024)    /* values from here on live in a struct engine_blob */

struct engine;
struct engine_worker;
struct engine_op;

/* A large value: shared by reference between the hot tier, the device path and client buffers.
 * Immutable while anybody else holds a reference. */
struct engine_blob {
    _Atomic uint32_t refs;
    uint32_t reserved;
    size_t len;
    char data[];
};

/* Charged to `memory`; NULL when it would not fit. refs is 1, data uninitialised. */
struct engine_blob *engine_blob_create(size_t len);
void engine_blob_acquire(struct engine_blob *blob);
void engine_blob_release(struct engine_blob *blob); /* NULL is fine */

enum engine_need {
    ENGINE_BLIND, /* will be overwritten whatever it is: no read from the device */
    ENGINE_META,  /* existence, expiry, length: read if cold, not promoted */
    ENGINE_VALUE, /* the bytes: read if cold, offered to the hot tier */
};

struct engine_key {
    /* the caller's; data stays valid until engine_end or engine_cancel */
    const char *data;
    uint32_t len;
    uint8_t db;
    uint8_t need; /* enum engine_need */
    /* the engine's */
    uint16_t ns_slot;
    uint32_t shard;
    uint64_t hash;
    struct item *item;           /* between begin and end: hot item or NULL */
    struct warm_value *warm;     /* what the device said of this key, or NULL */
    struct fetch_waiter *waiter; /* device read this key waits for, or NULL */
};

enum engine_op_flags {
    ENGINE_OP_READ = 1,  /* look-ups count as hits and misses */
    ENGINE_OP_WRITE = 2, /* may need memory: waits for write buffers, refused when out of memory */
    ENGINE_OP_NO_TOUCH = 4, /* does not count as a use (CLIENT NO-TOUCH, OBJECT, MEMORY USAGE) */
};

struct engine_op {
    /* the caller's */
    struct engine_worker *worker;
    struct engine_key *keys;
    uint32_t n_keys;
    uint32_t flags;
    void (*resume)(struct engine_op *op); /* after AGAIN; on the worker's thread, never from within
                                             the call that said AGAIN */
    /* the engine's; zeroed before the first call */
    uint32_t n_waiting;
    uint8_t is_parked;
    uint8_t is_cancelled;
    uint8_t is_locked;
    uint8_t phase;
    uint16_t n_tries;
    int64_t started_us; /* set when first parked: latency of the warm path */
    uint64_t shards[4]; /* bit set of the shards held */
    void *job;          /* keyspace-wide operations keep their state here */
    void (*job_cancel)(struct engine_op *op);
    struct engine_op *next;
};

/* OK: every key is resident or known absent and all shards are locked. AGAIN: see above.
 * On any other status nothing is held. n_keys may be 0. A key may occur twice. */
MUST_CHECK enum status engine_begin(struct engine_op *op);
/* Unlocks, releases fetched copies, lets evictions run. The op may be reused afterwards. */
void engine_end(struct engine_op *op);
/* The client has gone while the op is parked: resume is never called, the op and its keys may be
 * freed at once. */
void engine_cancel(struct engine_op *op);

struct engine_value {
    const char *data; /* valid until engine_end; NULL only if len is 0 */
    size_t len;
    struct engine_blob *blob; /* not NULL: data lies in it; acquire it to keep it longer */
    int64_t expire_at_ms;     /* Unix time, or ENGINE_NO_EXPIRY */
    uint64_t version;
    bool is_warm; /* served from NVMe */
};

/* False: the key does not exist (or has expired). Between begin and end only, need >= META. */
bool engine_find(struct engine_op *op, uint32_t i, struct engine_value *out);

struct engine_put {
    const char *data; /* copied */
    size_t len;
    struct engine_blob *blob; /* instead of data: ownership passes on OK */
    int64_t expire_at_ms;     /* ENGINE_KEEP_EXPIRY needs META or VALUE */
};

/* Creates or overwrites. An expiry in the past removes the key. NO_MEMORY, TOO_BIG. */
MUST_CHECK enum status engine_put(struct engine_op *op, uint32_t i, const struct engine_put *put);
/* Makes the value `len` bytes long (new bytes are zero) and gives it for writing, keeping bytes and
 * expiry; creates the key when absent. Needs VALUE. NO_MEMORY, TOO_BIG. */
MUST_CHECK enum status engine_edit(struct engine_op *op, uint32_t i, size_t len, char **data_out);
/* Sets or clears the expiry. NOT_FOUND. A time in the past removes the key. Needs VALUE: a cold key
 * becomes hot with its new expiry. */
MUST_CHECK enum status engine_set_expiry(struct engine_op *op, uint32_t i, int64_t expire_at_ms);
/* True if it existed. Needs META. */
bool engine_remove(struct engine_op *op, uint32_t i);

/* What HEARTH EXPLAIN tells. Between begin and end, need META. */
struct engine_explain {
    bool exists, is_hot, is_warm, is_dirty; /* dirty: hot, and not (or not yet) the same on NVMe */
    uint64_t hot_bytes;                     /* with all overhead */
    uint64_t stored_bytes, raw_bytes;       /* record on NVMe and value as the client sees it */
    uint32_t frequency;                     /* TinyLFU's count of late, 0..7 */
    const char *queue;                      /* "window", "probation", "protected" or "none" */
    const char *why;                        /* one sentence */
    uint64_t segment, offset;               /* of the record, when warm */
    int64_t expire_at_ms;
    uint64_t version;
};
void engine_explain(struct engine_op *op, uint32_t i, struct engine_explain *out);

#endif
