/*
 * S3-FIFO: new keys enter a small FIFO (10 %); those hit twice there go to the main FIFO, the
 * others leave but are remembered in a ghost FIFO (as long as the main one); a remembered key
 * enters the main FIFO at once. The main FIFO re-inserts what was hit, up to three times.
 * Source: J. Yang et al., "FIFO Queues are All You Need for Cache Eviction", SOSP 2023.
 */
#include "tools/hearth-trace/sim.h"

#include <string.h>

#include "tools/hearth-trace/sim_store.h"

#define FREQUENCY_MAX 3
#define TO_MAIN 2

enum { SMALL = 1, MAIN, GHOST };

struct s3fifo {
    struct sim_store store;
    struct sim_queue small, main_queue, ghost;
    uint64_t small_capacity, main_capacity;
};

static void remember(struct s3fifo *s, uint32_t id, uint32_t size)
{
    while (s->ghost.bytes > 0 && s->ghost.bytes + size > s->main_capacity) {
        sim_pop(&s->store, &s->ghost);
    }
    sim_push(&s->store, &s->ghost, id, size);
}

static bool evict_small(struct s3fifo *s)
{
    while (s->small.bytes > 0) {
        uint32_t id = sim_pop(&s->store, &s->small);
        struct sim_object *object = &s->store.objects[id];
        if (object->bits < TO_MAIN) {
            remember(s, id, object->size);
            return true;
        }
        object->bits = 0;
        sim_push(&s->store, &s->main_queue, id, object->size);
    }
    return false;
}

static bool evict_main(struct s3fifo *s)
{
    while (s->main_queue.bytes > 0) {
        uint32_t id = sim_pop(&s->store, &s->main_queue);
        struct sim_object *object = &s->store.objects[id];
        if (object->bits == 0) {
            return true;
        }
        object->bits--;
        sim_push(&s->store, &s->main_queue, id, object->size);
    }
    return false;
}

static void make_room(struct s3fifo *s, const struct sim_setup *setup, uint32_t size)
{
    while (s->small.bytes + s->main_queue.bytes + size > setup->capacity) {
        if (s->main_queue.bytes > s->main_capacity || s->small.bytes == 0) {
            evict_main(s);
        } else {
            evict_small(s);
        }
    }
}

static void insert(struct s3fifo *s, const struct sim_setup *setup, uint32_t id, uint32_t size)
{
    bool is_known = s->store.objects[id].queue == GHOST;
    if (is_known) {
        sim_take(&s->store, &s->ghost, id);
    }
    make_room(s, setup, size);
    s->store.objects[id].bits = 0;
    sim_push(&s->store, is_known || size > s->small_capacity ? &s->main_queue : &s->small, id,
             size);
}

enum status sim_s3fifo(const struct sim_setup *setup, struct sim_result *result_out)
{
    const struct trace *trace = setup->trace;
    uint64_t small_capacity = setup->capacity / 10 > 0 ? setup->capacity / 10 : 1;
    struct s3fifo s = {
        .small = sim_queue_make(SMALL),
        .main_queue = sim_queue_make(MAIN),
        .ghost = sim_queue_make(GHOST),
        .small_capacity = small_capacity,
        .main_capacity = setup->capacity - small_capacity,
    };
    memset(result_out, 0, sizeof *result_out);
    enum status st = sim_store_init(&s.store, trace->n_keys);
    for (uint64_t i = 0; st == OK && i < trace->n_requests; i++) {
        uint32_t id = trace->ids[i], size = sim_size(setup, i);
        struct sim_object *object = &s.store.objects[id];
        if (object->queue == SMALL || object->queue == MAIN) {
            sim_count_hit(setup, i, result_out);
            object->bits += object->bits < FREQUENCY_MAX;
        } else if (size <= setup->capacity) {
            insert(&s, setup, id, size);
        }
    }
    sim_store_deinit(&s.store);
    return st;
}
