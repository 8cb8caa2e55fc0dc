/* LRU and FIFO: one queue; they differ in whether a hit renews the place in it. */
#include "tools/hearth-trace/sim.h"

#include <string.h>

#include "tools/hearth-trace/sim_store.h"

static enum status run(const struct sim_setup *setup, bool is_lru, struct sim_result *result_out)
{
    const struct trace *trace = setup->trace;
    struct sim_store store;
    struct sim_queue queue = sim_queue_make(1);
    memset(result_out, 0, sizeof *result_out);
    enum status st = sim_store_init(&store, trace->n_keys);
    for (uint64_t i = 0; st == OK && i < trace->n_requests; i++) {
        uint32_t id = trace->ids[i], size = sim_size(setup, i);
        if (store.objects[id].queue != 0) {
            sim_count_hit(setup, i, result_out);
            if (is_lru) {
                sim_move(&store, &queue, &queue, id);
            }
        } else if (size <= setup->capacity) {
            while (queue.bytes + size > setup->capacity) {
                sim_pop(&store, &queue);
            }
            sim_push(&store, &queue, id, size);
        }
    }
    sim_store_deinit(&store);
    return st;
}

enum status sim_lru(const struct sim_setup *setup, struct sim_result *result_out)
{
    return run(setup, true, result_out);
}

enum status sim_fifo(const struct sim_setup *setup, struct sim_result *result_out)
{
    return run(setup, false, result_out);
}
