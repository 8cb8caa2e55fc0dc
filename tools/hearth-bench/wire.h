/*
 * Purpose: the protocols: requests into a buffer, replies out of one. RESP2 (and RESP3's null) and
 *   memcached's text protocol in its classic and its meta form; only what a GET, a SET and the
 *   greeting need.
 * Threads: any; all state is the caller's.
 * Errors: replies come from outside and are never trusted: what cannot be one is REPLY_GARBAGE.
 */
#ifndef HEARTH_BENCH_WIRE_H
#define HEARTH_BENCH_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "tools/hearth-bench/bench.h"

struct buffer {
    char *data;
    size_t length;
    size_t capacity;
};

/* Makes room for `more` bytes behind `length`. */
void buffer_reserve(struct buffer *buffer, size_t more);

enum reply_kind {
    REPLY_PARTIAL, /* more bytes are needed; `length` may already say how many in all */
    REPLY_OK,
    REPLY_VALUE,
    REPLY_MISS,
    REPLY_ERROR, /* the server's own message */
    REPLY_GARBAGE,
};

struct reply {
    enum reply_kind kind;
    const char *data; /* VALUE: the bytes; ERROR: the line */
    size_t n_data;    /* PARTIAL: of the value, once known */
    size_t length;    /* of the whole reply; PARTIAL: once it is known to be a value, else 0 */
};

uint64_t wire_default_port(enum bench_protocol protocol);
void wire_put_get(enum bench_protocol protocol, struct buffer *out, const char *key, size_t n_key);
/* Appends a SET and returns where its n_value bytes go: the caller writes them before the next call
 * on this buffer. ttl_seconds 0: none. */
char *wire_put_set(enum bench_protocol protocol, struct buffer *out, const char *key, size_t n_key,
                   size_t n_value, uint64_t ttl_seconds);
void wire_parse(enum bench_protocol protocol, const char *data, size_t n_data,
                struct reply *reply_out);

#endif
