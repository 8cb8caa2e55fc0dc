/*
 * Purpose: operations over the whole key space, each one resumable: OK done, AGAIN parked (call
 *   again with the same arguments from op->resume), anything else an error.
 * Threads: the op's worker thread. The op's keys are not used unless it says so.
 */
#ifndef HEARTH_ENGINE_API_KEYSPACE_H
#define HEARTH_ENGINE_API_KEYSPACE_H

#include "engine/engine.h"

#define ENGINE_ALL_DATABASES (-1)

/* FLUSHDB, FLUSHALL: effective for every later command when it returns OK. */
MUST_CHECK enum status engine_flush(struct engine_op *op, int db);
MUST_CHECK enum status engine_swap(struct engine_op *op, int db_a, int db_b);
/* Exact: waits until all blind overwrites of cold keys are settled. */
MUST_CHECK enum status engine_db_size(struct engine_op *op, int db, uint64_t *n_keys_out);

struct engine_scan_key {
    const char *data;
    uint32_t len;
};

struct engine_scan {
    /* in */
    int db;
    uint64_t cursor; /* 0 begins */
    uint32_t count;  /* a hint */
    /* out */
    uint64_t next_cursor; /* 0: finished */
    struct engine_scan_key *found;
    uint32_t n_found;
    /* the engine's; zeroed before the first use */
    char *arena;
    size_t arena_used, arena_cap;
    uint32_t found_cap;
    void *state;
};

/* One step. A key that exists during the whole walk is returned at least once; promotes nothing.
 * INVALID: a cursor that never was one. */
MUST_CHECK enum status engine_scan(struct engine_op *op, struct engine_scan *scan);
/* Frees what a step returned; also after engine_cancel. */
void engine_scan_reset(struct engine_scan *scan);

/* A key chosen at random; *key_out is malloc'ed. NOT_FOUND: empty database. */
MUST_CHECK enum status engine_random_key(struct engine_op *op, int db, char **key_out,
                                         size_t *len_out);

/* keys[0] leaves the hot tier for NVMe. OK: now warm only. NOT_FOUND; REJECTED: no warm tier, or the
 * device refused. */
MUST_CHECK enum status engine_demote(struct engine_op *op);
/* keys[0] into the hot tier, the warm copy stays. OK: now hot. NOT_FOUND; REJECTED: does not fit. */
MUST_CHECK enum status engine_promote(struct engine_op *op);

#endif
