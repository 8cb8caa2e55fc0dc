/*
 * The idea: replies of one batch are gathered in memory that all clients of a worker share, and
 * leave with one write(2). A client that reads as fast as it asks owns no output memory at all.
 *
 *     scratch mode: chunks empty,      [region … pos … limit) lies in the worker's scratch
 *     chunk mode:   head … tail,       [region … pos … limit) is the free rest of tail
 *     closed:       region == pos == limit
 *
 * Invariants
 *   1. The scratch is only open while its client is served, and only while no chunk is queued: the
 *      order of bytes is chunks, then open region.
 *   2. Bytes in [region, pos) are counted nowhere else; settle() moves them into tail->len.
 *   3. A blob is released when its last byte is sent or the client goes, not before.
 *
 * Rejected: a small buffer per client (10,000 idle clients would hold it for nothing), and one
 * iovec per value (below 32 KB copying costs less than the kernel's gathering).
 */
#include "net/output.h"

#include <errno.h>
#include <sys/uio.h>
#include <unistd.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"

#define CHUNK_MIN (16 * 1024)
#define CHUNK_MAX (256 * 1024)
#define CHUNK_BETWEEN_BLOBS 1024 /* room for the end of one bulk and the header of the next */
#define IOV_BATCH 64
#define FLUSH_MAX (1024 * 1024) /* bytes to one client before the others have their turn */

void output_init(struct output *o)
{
    memset(o, 0, sizeof(*o));
}

static void shut_region(struct output *o)
{
    o->pos = o->limit = o->region = NULL;
}

static bool in_scratch(const struct output *o)
{
    return o->head == NULL && o->pos != NULL;
}

/* Counts what was written into the tail chunk. */
static void settle(struct output *o)
{
    size_t n = (size_t)(o->pos - o->region);
    if (n > 0 && !o->is_broken) {
        DCHECK(!in_scratch(o));
        o->tail->len += n;
        o->queued_bytes += n;
        o->region = o->pos;
    }
}

static void chunk_free(struct output *o, struct output_chunk *chunk)
{
    o->memory_bytes -= sizeof(*chunk) + chunk->cap;
    o->n_chunks--;
    if (chunk->blob != NULL) {
        o->blob_bytes -= chunk->len;
        engine_blob_release(chunk->blob);
    }
    mem_free(chunk);
}

void output_deinit(struct output *o)
{
    struct output_chunk *next = NULL;
    for (struct output_chunk *chunk = o->head; chunk != NULL; chunk = next) {
        next = chunk->next;
        chunk_free(o, chunk);
    }
    o->head = o->tail = NULL;
    o->queued_bytes = 0;
    shut_region(o);
}

static struct output_chunk *chunk_add(struct output *o, size_t cap)
{
    struct output_chunk *chunk = mem_alloc(sizeof(*chunk) + cap);
    if (chunk == NULL) {
        o->is_broken = true;
        return NULL;
    }
    *chunk = (struct output_chunk){.data = chunk->store, .cap = cap};
    if (o->tail == NULL) {
        o->head = chunk;
    } else {
        o->tail->next = chunk;
    }
    o->tail = chunk;
    o->memory_bytes += sizeof(*chunk) + cap;
    o->n_chunks++;
    return chunk;
}

/* Opens a new tail chunk with at least n bytes of room; what lay in the scratch goes first. */
static bool open_chunk(struct output *o, size_t n)
{
    const char *spill = o->region;
    size_t n_spill = in_scratch(o) ? (size_t)(o->pos - o->region) : 0;
    if (n_spill == 0) {
        settle(o);
    }
    size_t cap = o->queued_bytes < CHUNK_MIN   ? CHUNK_MIN
                 : o->queued_bytes > CHUNK_MAX ? CHUNK_MAX
                                               : o->queued_bytes;
    if (o->tail != NULL && o->tail->blob != NULL) {
        cap = CHUNK_BETWEEN_BLOBS;
    }
    cap = n_spill + n > cap ? n_spill + n : cap;
    struct output_chunk *chunk = chunk_add(o, cap);
    if (chunk == NULL) {
        shut_region(o);
        return false;
    }
    if (n_spill > 0) {
        memcpy(chunk->store, spill, n_spill);
        chunk->len = n_spill;
        o->queued_bytes += n_spill;
    }
    o->pos = o->region = chunk->store + n_spill;
    o->limit = chunk->store + cap;
    return true;
}

void output_open(struct output *o, char *scratch, size_t cap)
{
    DCHECK(o->pos == NULL && !o->is_muted);
    o->is_open = true;
    o->scratch = scratch;
    o->scratch_cap = cap;
    if (o->head == NULL) {
        o->pos = o->region = scratch;
        o->limit = scratch + cap;
    } else if (o->tail->blob == NULL) {
        o->pos = o->region = o->tail->store + o->tail->len;
        o->limit = o->tail->store + o->tail->cap;
    }
}

void output_close(struct output *o)
{
    DCHECK(!o->is_muted);
    if (in_scratch(o) && o->pos > o->region) {
        (void)open_chunk(o, 0);
    }
    if (o->pos != NULL) {
        settle(o);
    }
    shut_region(o);
    o->is_open = false;
}

void output_mute(struct output *o)
{
    if (o->is_muted) {
        return;
    }
    output_close(o);
    o->is_muted = true;
    o->pos = o->region = o->scratch;
    o->limit = o->scratch + o->scratch_cap;
}

void output_unmute(struct output *o)
{
    if (o->is_muted) {
        o->is_muted = false;
        shut_region(o);
        output_open(o, o->scratch, o->scratch_cap);
    }
}

char *output_reserve_slow(struct output *o, size_t n)
{
    DCHECK(n <= OUTPUT_RESERVE_MAX);
    if (o->is_muted || o->is_broken || !open_chunk(o, n)) {
        /* Dropped: let it be written where nobody reads. */
        o->pos = o->region = o->scratch;
        o->limit = o->scratch + o->scratch_cap;
    }
    return o->pos;
}

void output_append_slow(struct output *o, const char *data, size_t len)
{
    if (o->is_muted || o->is_broken) {
        return;
    }
    size_t part = (size_t)(o->limit - o->pos);
    part = part < len ? part : len;
    if (part > 0) {
        memcpy(o->pos, data, part);
        o->pos += part;
    }
    if (part < len && open_chunk(o, len - part)) {
        memcpy(o->pos, data + part, len - part);
        o->pos += len - part;
    }
}

void output_append_blob(struct output *o, struct engine_blob *blob, const char *data, size_t len)
{
    if (o->is_muted || o->is_broken) {
        return;
    }
    if (in_scratch(o) && o->pos > o->region && !open_chunk(o, 0)) {
        return;
    }
    if (in_scratch(o)) {
        shut_region(o);
    } else if (o->pos != NULL) {
        settle(o);
    }
    struct output_chunk *chunk = chunk_add(o, 0);
    shut_region(o);
    if (chunk != NULL) {
        engine_blob_acquire(blob);
        chunk->blob = blob;
        chunk->data = data;
        chunk->len = len;
        o->blob_bytes += len;
        o->queued_bytes += len;
    }
}

/* --- to the socket ---------------------------------------------------------------------------- */

static enum status after_error(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? AGAIN : CLOSED;
}

static enum status flush_scratch(struct output *o, int fd, uint64_t *sent)
{
    size_t len = (size_t)(o->pos - o->region);
    if (len == 0) {
        return OK;
    }
    ssize_t n = write(fd, o->region, len);
    if (n < 0) {
        return after_error();
    }
    *sent += (uint64_t)n;
    o->region += n;
    if ((size_t)n < len) {
        return AGAIN;
    }
    o->pos = o->region = o->scratch;
    return OK;
}

static void drop_sent(struct output *o, size_t n)
{
    o->queued_bytes -= n;
    n += o->head_sent;
    while (o->head != NULL && n >= o->head->len) {
        struct output_chunk *chunk = o->head;
        n -= chunk->len;
        o->head = chunk->next;
        chunk_free(o, chunk);
    }
    o->head_sent = n;
    if (o->head == NULL) {
        o->tail = NULL;
    }
}

static enum status flush_chunks(struct output *o, int fd, uint64_t *sent)
{
    size_t total = 0;
    while (o->head != NULL) {
        struct iovec iov[IOV_BATCH];
        int n_iov = 0;
        size_t want = 0;
        size_t skip = o->head_sent;
        for (struct output_chunk *c = o->head; c != NULL && n_iov < IOV_BATCH; c = c->next) {
            iov[n_iov].iov_base = (void *)(uintptr_t)(c->data + skip);
            iov[n_iov++].iov_len = c->len - skip;
            want += c->len - skip;
            skip = 0;
        }
        ssize_t n = writev(fd, iov, n_iov);
        if (n < 0) {
            return after_error();
        }
        *sent += (uint64_t)n;
        total += (size_t)n;
        drop_sent(o, (size_t)n);
        if ((size_t)n < want || (total >= FLUSH_MAX && o->head != NULL)) {
            return AGAIN;
        }
    }
    return OK;
}

enum status output_flush(struct output *o, int fd, uint64_t *sent_out)
{
    if (o->is_broken) {
        return CLOSED;
    }
    if (in_scratch(o)) {
        return flush_scratch(o, fd, sent_out);
    }
    if (o->pos != NULL) {
        settle(o);
    }
    shut_region(o);
    enum status st = flush_chunks(o, fd, sent_out);
    if (o->is_open && st != CLOSED) {
        output_open(o, o->scratch, o->scratch_cap);
    }
    return st;
}
