/*
 * SIEVE: a FIFO with visited bits; a hand moves from the oldest key to the newest, spares and
 * unmarks visited keys and takes the first other; new keys enter at the newest end.
 * Source: Y. Zhang et al., "SIEVE is Simpler than LRU", NSDI 2024.
 */
#include "tools/hearth-trace/sim.h"

#include <string.h>

#include "tools/hearth-trace/sim_store.h"

static void evict(struct sim_store *store, struct sim_queue *queue, uint32_t *hand)
{
    uint32_t id = *hand != SIM_NIL ? *hand : queue->oldest;
    while (store->objects[id].bits != 0) {
        store->objects[id].bits = 0;
        id = store->objects[id].newer != SIM_NIL ? store->objects[id].newer : queue->oldest;
    }
    *hand = store->objects[id].newer;
    sim_take(store, queue, id);
}

enum status sim_sieve(const struct sim_setup *setup, struct sim_result *result_out)
{
    const struct trace *trace = setup->trace;
    struct sim_store store;
    struct sim_queue queue = sim_queue_make(1);
    uint32_t hand = SIM_NIL;
    memset(result_out, 0, sizeof *result_out);
    enum status st = sim_store_init(&store, trace->n_keys);
    for (uint64_t i = 0; st == OK && i < trace->n_requests; i++) {
        uint32_t id = trace->ids[i], size = sim_size(setup, i);
        if (store.objects[id].queue != 0) {
            sim_count_hit(setup, i, result_out);
            store.objects[id].bits = 1;
        } else if (size <= setup->capacity) {
            while (queue.bytes + size > setup->capacity) {
                evict(&store, &queue, &hand);
            }
            store.objects[id].bits = 0;
            sim_push(&store, &queue, id, size);
        }
    }
    sim_store_deinit(&store);
    return st;
}
