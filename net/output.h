/*
 * Purpose: one client's unsent replies. While a client is being served its replies go to the
 *   worker's scratch and from there to the socket; only what the socket does not take is copied
 *   into chunks of the client's own. Large values are queued by reference.
 *
 *       output_open(o, scratch, cap);   before the first command of a batch
 *       output_append(o, data, len); char *p = output_reserve(o, 32); … output_advance(o, n);
 *       output_flush(o, fd);            OK all sent, AGAIN the socket is full, CLOSED it is broken
 *       output_close(o);                after the batch: nothing stays in the scratch
 *
 * Threads: the client's worker thread.
 * Errors: without memory the output is_broken and drops what comes: the client must be closed.
 */
#ifndef HEARTH_NET_OUTPUT_H
#define HEARTH_NET_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "engine/engine.h"

#define OUTPUT_SCRATCH_BYTES (64 * 1024)
#define OUTPUT_RESERVE_MAX 512

struct output_chunk {
    struct output_chunk *next;
    struct engine_blob *blob; /* not NULL: data lies in it */
    const char *data;
    size_t len;
    size_t cap; /* of store */
    char store[];
};

struct output {
    char *pos; /* the open region: scratch or the rest of the tail chunk */
    char *limit;
    char *region; /* bytes of the open region not yet counted begin here */
    char *scratch;
    size_t scratch_cap;
    struct output_chunk *head, *tail;
    size_t head_sent;
    size_t queued_bytes; /* unsent in the chunks, the open region not counted */
    size_t blob_bytes;   /* kept alive by reference */
    size_t memory_bytes; /* of chunks */
    uint32_t n_chunks;
    bool is_open; /* between output_open and output_close */
    bool is_muted;
    bool is_broken;
};

void output_init(struct output *o);
void output_deinit(struct output *o);
void output_open(struct output *o, char *scratch, size_t cap);
void output_close(struct output *o);
/* *sent_out is increased by the bytes the socket took. At most about 1 MB a call, then AGAIN. */
MUST_CHECK enum status output_flush(struct output *o, int fd, uint64_t *sent_out);

/* From mute to unmute everything appended is dropped (CLIENT REPLY). */
void output_mute(struct output *o);
void output_unmute(struct output *o);

static inline size_t output_pending(const struct output *o)
{
    return o->queued_bytes + (size_t)(o->pos - o->region);
}

/* At least n (<= OUTPUT_RESERVE_MAX) bytes in one piece. */
char *output_reserve_slow(struct output *o, size_t n);
static inline char *output_reserve(struct output *o, size_t n)
{
    return (size_t)(o->limit - o->pos) >= n ? o->pos : output_reserve_slow(o, n);
}
static inline void output_advance(struct output *o, size_t n)
{
    o->pos += n;
}

void output_append_slow(struct output *o, const char *data, size_t len);
static inline void output_append(struct output *o, const char *data, size_t len)
{
    if ((size_t)(o->limit - o->pos) > len) {
        memcpy(o->pos, data, len);
        o->pos += len;
    } else {
        output_append_slow(o, data, len);
    }
}

/* Takes a reference of its own. */
void output_append_blob(struct output *o, struct engine_blob *blob, const char *data, size_t len);

#endif
