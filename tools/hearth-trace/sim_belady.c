/*
 * Belady's MIN: on a miss with a full cache the key whose next request is farthest leaves (with
 * sizes: keys leave in that order until the new one fits, a good rule but no longer the optimum).
 * The new key is always inserted. A max-heap orders the cached keys by next request.
 * Source: L. Belady, "A study of replacement algorithms", IBM Systems Journal 5(2), 1966.
 */
#include "tools/hearth-trace/sim.h"

#include <stdlib.h>
#include <string.h>

#define NEVER UINT64_MAX
#define NOT_CACHED UINT32_MAX

struct belady {
    uint64_t *next_use; /* [n_requests] request that asks for the same key again */
    uint64_t *priority; /* [n_keys] next use of a cached key */
    uint32_t *size;     /* [n_keys] */
    uint32_t *position; /* [n_keys] in the heap */
    uint32_t *heap;     /* [n_keys] */
    uint32_t n_cached;
    uint64_t bytes;
};

static void put_at(struct belady *b, uint32_t position, uint32_t id)
{
    b->heap[position] = id;
    b->position[id] = position;
}

static void sift_up(struct belady *b, uint32_t position)
{
    uint32_t id = b->heap[position];
    while (position > 0) {
        uint32_t parent = (position - 1) / 2;
        if (b->priority[b->heap[parent]] >= b->priority[id]) {
            break;
        }
        put_at(b, position, b->heap[parent]);
        position = parent;
    }
    put_at(b, position, id);
}

static void sift_down(struct belady *b, uint32_t position)
{
    uint32_t id = b->heap[position];
    for (;;) {
        uint32_t child = 2 * position + 1;
        if (child >= b->n_cached) {
            break;
        }
        if (child + 1 < b->n_cached &&
            b->priority[b->heap[child + 1]] > b->priority[b->heap[child]]) {
            child++;
        }
        if (b->priority[b->heap[child]] <= b->priority[id]) {
            break;
        }
        put_at(b, position, b->heap[child]);
        position = child;
    }
    put_at(b, position, id);
}

static void evict_farthest(struct belady *b)
{
    uint32_t id = b->heap[0];
    b->position[id] = NOT_CACHED;
    b->bytes -= b->size[id];
    uint32_t last = b->heap[--b->n_cached];
    if (b->n_cached > 0) {
        put_at(b, 0, last);
        sift_down(b, 0);
    }
}

static void insert(struct belady *b, uint32_t id, uint32_t size)
{
    b->size[id] = size;
    b->bytes += size;
    put_at(b, b->n_cached++, id);
    sift_up(b, b->position[id]);
}

static enum status init(struct belady *b, const struct trace *trace)
{
    memset(b, 0, sizeof *b);
    b->next_use = malloc((trace->n_requests + 1) * sizeof *b->next_use);
    b->priority = malloc(((size_t)trace->n_keys + 1) * sizeof *b->priority);
    b->size = malloc(((size_t)trace->n_keys + 1) * sizeof *b->size);
    b->position = malloc(((size_t)trace->n_keys + 1) * sizeof *b->position);
    b->heap = malloc(((size_t)trace->n_keys + 1) * sizeof *b->heap);
    if (b->next_use == NULL || b->priority == NULL || b->size == NULL || b->position == NULL ||
        b->heap == NULL) {
        return NO_MEMORY;
    }
    for (uint32_t id = 0; id < trace->n_keys; id++) {
        b->priority[id] = NEVER;
        b->position[id] = NOT_CACHED;
    }
    for (uint64_t i = trace->n_requests; i-- > 0;) {
        b->next_use[i] = b->priority[trace->ids[i]];
        b->priority[trace->ids[i]] = i;
    }
    return OK;
}

static void deinit(struct belady *b)
{
    free(b->next_use);
    free(b->priority);
    free(b->size);
    free(b->position);
    free(b->heap);
}

enum status sim_belady(const struct sim_setup *setup, struct sim_result *result_out)
{
    enum status st;
    const struct trace *trace = setup->trace;
    struct belady b;
    memset(result_out, 0, sizeof *result_out);
    TRY(init(&b, trace));
    for (uint64_t i = 0; i < trace->n_requests; i++) {
        uint32_t id = trace->ids[i], size = sim_size(setup, i);
        b.priority[id] = b.next_use[i];
        if (b.position[id] != NOT_CACHED) {
            sim_count_hit(setup, i, result_out);
            sift_up(&b, b.position[id]);
        } else if (size <= setup->capacity) {
            while (b.bytes + size > setup->capacity) {
                evict_farthest(&b);
            }
            insert(&b, id, size);
        }
    }
out:
    deinit(&b);
    return st;
}
