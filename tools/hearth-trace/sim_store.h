/*
 * Purpose: what the baseline policies share: per-key state and queues of keys linked through it.
 * Threads: none. Errors: sim_store_init returns NO_MEMORY.
 *
 * A key is in one queue at most; queues of one store share the links.
 */
#ifndef HEARTH_TOOLS_SIM_STORE_H
#define HEARTH_TOOLS_SIM_STORE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "engine/base/status.h"

#define SIM_NIL UINT32_MAX

struct sim_object {
    uint32_t newer, older; /* neighbours in the queue */
    uint32_t size;         /* while in a queue */
    uint8_t queue;         /* the policy's own numbering, 0: in none */
    uint8_t bits;          /* the policy's own */
};

struct sim_store {
    struct sim_object *objects; /* [n_keys] */
};

struct sim_queue {
    uint8_t number;
    uint32_t newest, oldest;
    uint64_t bytes;
};

static inline enum status sim_store_init(struct sim_store *store, uint32_t n_keys)
{
    store->objects = calloc((size_t)n_keys + 1, sizeof *store->objects);
    return store->objects == NULL ? NO_MEMORY : OK;
}

static inline void sim_store_deinit(struct sim_store *store)
{
    free(store->objects);
}

static inline struct sim_queue sim_queue_make(uint8_t number)
{
    return (struct sim_queue){.number = number, .newest = SIM_NIL, .oldest = SIM_NIL};
}

static inline void sim_push(struct sim_store *store, struct sim_queue *queue, uint32_t id,
                            uint32_t size)
{
    struct sim_object *object = &store->objects[id];
    object->queue = queue->number;
    object->size = size;
    object->newer = SIM_NIL;
    object->older = queue->newest;
    if (queue->newest != SIM_NIL) {
        store->objects[queue->newest].newer = id;
    } else {
        queue->oldest = id;
    }
    queue->newest = id;
    queue->bytes += size;
}

static inline void sim_take(struct sim_store *store, struct sim_queue *queue, uint32_t id)
{
    struct sim_object *object = &store->objects[id];
    if (object->newer != SIM_NIL) {
        store->objects[object->newer].older = object->older;
    } else {
        queue->newest = object->older;
    }
    if (object->older != SIM_NIL) {
        store->objects[object->older].newer = object->newer;
    } else {
        queue->oldest = object->newer;
    }
    object->queue = 0;
    queue->bytes -= object->size;
}

/* Takes the oldest key and returns it. The queue is not empty. */
static inline uint32_t sim_pop(struct sim_store *store, struct sim_queue *queue)
{
    uint32_t id = queue->oldest;
    sim_take(store, queue, id);
    return id;
}

static inline void sim_move(struct sim_store *store, struct sim_queue *from, struct sim_queue *to,
                            uint32_t id)
{
    sim_take(store, from, id);
    sim_push(store, to, id, store->objects[id].size);
}

#endif
