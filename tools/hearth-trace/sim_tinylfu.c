/*
 * The server's own policy code, driven as the engine drives it: a hit touches no list, a miss is
 * counted and the key inserted, then victims are taken while the capacity is exceeded.
 */
#include "tools/hearth-trace/sim.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "engine/policy/policy.h"

/* Memory for the ghost: what the server has for items of 256 bytes, and in --bytes exactly. */
#define GHOST_BYTES_PER_OBJECT 2
#define CAPACITY_PER_GHOST_BYTE 128

struct item {
    struct policy_node node;
    uint8_t unused[7];
    _Atomic uint8_t policy;
    uint32_t size;
    uint64_t hash;
};
static_assert(offsetof(struct item, policy) == POLICY_BITS_OFFSET, "the policy's byte");

static uint64_t item_hash(const struct policy_node *node)
{
    return ((const struct item *)node)->hash;
}

static size_t item_size(const struct policy_node *node)
{
    return ((const struct item *)node)->size;
}

static bool accept_any(struct policy_node *node, void *arg)
{
    (void)node;
    (void)arg;
    return true;
}

static uint64_t key_hash(uint64_t key)
{
    key = (key ^ key >> 30) * 0xbf58476d1ce4e5b9u; /* splitmix64's finalizer */
    key = (key ^ key >> 27) * 0x94d049bb133111ebu;
    return key ^ key >> 31;
}

static void request(struct policy *policy, struct item *item, uint64_t i,
                    const struct sim_setup *setup, struct sim_result *result)
{
    if ((item->policy & POLICY_QUEUE_MASK) != POLICY_NONE) {
        sim_count_hit(setup, i, result);
        policy_hit(policy, &item->node, item->hash);
        return;
    }
    policy_record_miss(policy, item->hash);
    item->size = sim_size(setup, i);
    if (item->size > setup->capacity) {
        return;
    }
    policy_insert(policy, &item->node, item->size);
    enum policy_victim_kind kind;
    while (policy_needs_eviction(policy) &&
           policy_victim(policy, accept_any, NULL, &kind) != NULL) {
    }
}

enum status sim_tinylfu(const struct sim_setup *setup, struct sim_result *result_out)
{
    enum status st;
    const struct trace *trace = setup->trace;
    const struct policy_ops ops = {.hash = item_hash, .size = item_size};
    struct policy *policy = NULL;
    memset(result_out, 0, sizeof *result_out);
    struct item *items = calloc(trace->n_keys + 1, sizeof *items);
    if (items == NULL) {
        return NO_MEMORY;
    }
    TRY(policy_create(setup->capacity,
                      setup->is_bytes ? setup->capacity / CAPACITY_PER_GHOST_BYTE
                                      : setup->capacity * GHOST_BYTES_PER_OBJECT,
                      ops, &policy));
    for (uint32_t id = 0; id < trace->n_keys; id++) {
        items[id].hash = key_hash(trace->keys[id]);
    }
    for (uint64_t i = 0; i < trace->n_requests; i++) {
        request(policy, &items[trace->ids[i]], i, setup, result_out);
    }
out:
    policy_destroy(&policy);
    free(items);
    return st;
}
