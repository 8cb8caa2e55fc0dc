/*
 * Purpose: the judge of value histories. Clients of a key-value server tell it, for every operation,
 *   when they sent it (begin) and when its reply had come (end); it decides whether what they read
 *   can be explained: by a write that began before the read ended and was not certainly overwritten
 *   before the read began. It catches stale, resurrected, expired, torn and foreign values, lost
 *   acknowledged writes and lost or doubled appends. It never complains about a correct server.
 * Threads: any thread, any key; keys are locked one by one, in stripes.
 * Errors: a violation is printed to the history's stream and counted; the functions return false.
 *
 *   Every write gets a version, unique in its key, before it is sent; a value carries key, version,
 *   writer, length and a checksum of its own (history_value_fill). Times are nanoseconds of one
 *   monotonic clock. `conn` and `seq` name the connection and the operation's number in it: operations
 *   of one connection happen in that order even when they are pipelined.
 */
#ifndef HEARTH_TESTS_SUPPORT_HISTORY_H
#define HEARTH_TESTS_SUPPORT_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct history;

enum history_kind {
    HISTORY_VALUE,  /* SET: the key's value is now this version */
    HISTORY_ABSENT, /* DEL, FLUSHDB: the key is gone */
    HISTORY_APPEND, /* APPEND: this version stands at the end of the value */
};

enum history_outcome {
    HISTORY_APPLIED,     /* acknowledged */
    HISTORY_NOT_APPLIED, /* the reply says it changed nothing (SET NX) */
    HISTORY_MAYBE,       /* an error or no reply: it may show, now or later, or never */
};

/* Who does what, and when. */
struct history_op {
    uint32_t key, conn;
    uint64_t seq;
    uint64_t begin_ns, end_ns; /* end: when the reply had come */
    uint32_t own_version; /* of the operation's own write, which cannot explain its read; or 0 */
    const char *name;     /* for the report */
    uint64_t note;        /* the history's own, between a begin and its end */
};

struct history_options {
    uint32_t n_keys;
    bool is_cache;     /* misses are always allowed, and counted */
    uint64_t slack_ns; /* by how much an expiry may be off */
    FILE *out;         /* where violations are told */
    unsigned max_told; /* how many of them */
};

struct history_counts {
    uint64_t reads, misses, unexplained_misses, violations;
};

struct history *history_create(const struct history_options *options);
void history_destroy(struct history **history);

/* Operations that began before this time have all ended: what they could have seen is forgotten.
 * Call it with growing values. */
void history_low_water(struct history *history, uint64_t time_ns);

/* --- writes -------------------------------------------------------------------------------------- */

/* Before sending. Returns the version. ttl_ms: the value's life, 0 for ever. */
uint32_t history_write_begin(struct history *history, const struct history_op *op,
                             enum history_kind kind, uint32_t ttl_ms);
/* After the reply. */
bool history_write_end(struct history *history, const struct history_op *op, uint32_t version,
                       enum history_outcome outcome);

/* EXPIRE, GETEX, PERSIST: before sending; ttl_ms 0 for no or a far expiry. */
void history_expiry_begin(struct history *history, struct history_op *op, uint32_t ttl_ms);
/* After the reply; is_set: the reply says that the key existed. */
void history_expiry_end(struct history *history, const struct history_op *op, uint32_t ttl_ms,
                        bool is_set);

/* INCR on a key that is never deleted. */
void history_incr_begin(struct history *history, struct history_op *op);
bool history_incr_end(struct history *history, const struct history_op *op, int64_t reply);

/* --- reads: op is complete, end_ns included ------------------------------------------------------- */

bool history_read_value(struct history *history, const struct history_op *op, const void *data,
                        size_t len);
/* Only the value's first HISTORY_HEADER bytes. */
bool history_read_header(struct history *history, const struct history_op *op, const void *data,
                         size_t len);
bool history_read_miss(struct history *history, const struct history_op *op);
/* EXISTS :1 and the like: some value was there. */
bool history_read_present(struct history *history, const struct history_op *op);
/* A value made by APPEND. */
bool history_read_appended(struct history *history, const struct history_op *op, const void *data,
                           size_t len);

/* After everything has ended: every acknowledged INCR must show. */
bool history_final_count(struct history *history, const struct history_op *op, int64_t value);

void history_counts(const struct history *history, struct history_counts *out);
/* Reports something the caller found (a reply of the wrong type, say). */
void history_accuse(struct history *history, const struct history_op *op, const char *what);

/* --- values -------------------------------------------------------------------------------------- */

#define HISTORY_HEADER 32
#define HISTORY_CHUNK HISTORY_HEADER /* an appended piece is a header of its own */

/* Fills len (>= HISTORY_HEADER) bytes: a header and a body, about half compressible. */
void history_value_fill(void *data, size_t len, uint32_t key, uint32_t version, uint32_t writer);

#endif
