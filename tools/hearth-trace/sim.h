/*
 * Purpose: cache simulations over a whole trace: cold start, one pass, a miss inserts.
 * Threads: none. Errors: NO_MEMORY.
 *
 * Capacity is in objects (every object counts 1) or, with is_bytes, in bytes. An object keeps the
 * size it was inserted with; one larger than the capacity is never inserted.
 */
#ifndef HEARTH_TOOLS_SIM_H
#define HEARTH_TOOLS_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/status.h"
#include "tools/hearth-trace/trace.h"

struct sim_setup {
    const struct trace *trace;
    uint64_t capacity;
    bool is_bytes;
};

struct sim_result {
    uint64_t hits;
    uint64_t hit_bytes;
};

typedef enum status (*sim_fn)(const struct sim_setup *setup, struct sim_result *result_out);

struct sim_policy {
    const char *name;
    sim_fn run;
    const char *help;
};
/* Ends with a NULL name; the first is the server's. */
extern const struct sim_policy sim_policies[];

enum status sim_tinylfu(const struct sim_setup *setup, struct sim_result *result_out);
enum status sim_lru(const struct sim_setup *setup, struct sim_result *result_out);
enum status sim_fifo(const struct sim_setup *setup, struct sim_result *result_out);
enum status sim_sieve(const struct sim_setup *setup, struct sim_result *result_out);
enum status sim_s3fifo(const struct sim_setup *setup, struct sim_result *result_out);
enum status sim_arc(const struct sim_setup *setup, struct sim_result *result_out);
enum status sim_belady(const struct sim_setup *setup, struct sim_result *result_out);

static inline uint32_t sim_size(const struct sim_setup *setup, uint64_t request)
{
    return setup->is_bytes ? setup->trace->sizes[request] : 1;
}

static inline void sim_count_hit(const struct sim_setup *setup, uint64_t request,
                                 struct sim_result *result)
{
    result->hits++;
    result->hit_bytes += setup->trace->sizes[request];
}

#endif
