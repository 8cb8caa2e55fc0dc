/*
 * Purpose: who stays in the hot tier: W-TinyLFU over intrusive nodes. Pure code over hashes and
 *   sizes: no clock, no I/O, no allocation after creation, every threshold a fraction of capacity.
 * Threads: policy_hit, policy_record_miss, policy_frequency and policy_node_frequency take no lock,
 *   any thread; a node given to them must stay alive during the call (its shard's lock does it).
 *   All others: the caller holds the policy's lock (policy_resize_ghost: see there).
 * Errors: creation and resizing return NO_MEMORY; nothing else fails.
 * Source: G. Einziger, R. Friedman, B. Manes, "TinyLFU: A Highly Efficient Cache Admission Policy",
 *   ACM ToS 13(4), 2017; Caffeine; README.md for what differs and was measured.
 */
#ifndef HEARTH_ENGINE_POLICY_POLICY_H
#define HEARTH_ENGINE_POLICY_POLICY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"
#include "engine/policy/ghost.h"

struct policy_node {
    struct policy_node *prev, *next; /* policy lock */
};

/* The owner embeds the node at the start of its item and gives the policy one byte at this offset
 * from the node (static_assert it). The owner only reads it, or clears POLICY_HIT.
 *
 *      7 6 5   4 3    2    1 0
 *     |count |epoch| hit |queue|     queue: policy lock; the rest: any thread, whole-byte CAS
 */
#define POLICY_BITS_OFFSET 23

enum policy_queue { POLICY_NONE, POLICY_WINDOW, POLICY_PROBATION, POLICY_PROTECTED, POLICY_QUEUES };
#define POLICY_QUEUE_MASK 0x03
#define POLICY_HIT 0x04 /* hit since it was last looked at */

/* Counts of requests end here. */
#define POLICY_FREQUENCY_MAX GHOST_COUNT_MAX

/* Called at insertion and eviction only. Both must be stable while the node is inserted, but for
 * policy_update_size. */
struct policy_ops {
    uint64_t (*hash)(const struct policy_node *node);
    size_t (*size)(const struct policy_node *node); /* charged bytes, at least 1 */
};

struct policy;

/* ghost_bytes: memory for what is known of absent keys, in proportion to capacity; two bytes for
 * each item the capacity holds is ample, half a byte is usable (README.md). */
MUST_CHECK enum status policy_create(size_t capacity_bytes, size_t ghost_bytes,
                                     struct policy_ops ops, struct policy **policy_out);
/* Nodes still inserted are forgotten, not touched. */
void policy_destroy(struct policy **policy);

/* The look-up found the node, or its value is being written: sets its hit bit and counts. Touches
 * the policy byte only (and, while the count grows, a counter of the calling thread). */
void policy_hit(struct policy *policy, struct policy_node *node, uint64_t hash);
/* The look-up found no node, or a key without one is being written; once per request, before
 * policy_insert. */
void policy_record_miss(struct policy *policy, uint64_t hash);
/* Requests lately, 0..POLICY_FREQUENCY_MAX: of a key without a node, of a node. */
unsigned policy_frequency(const struct policy *policy, uint64_t hash);
unsigned policy_node_frequency(const struct policy *policy, const struct policy_node *node);

/* A new node; size as ops->size gives it. Evict afterwards while policy_needs_eviction: the node
 * itself may be the victim. The policy byte is initialised here. */
void policy_insert(struct policy *policy, struct policy_node *node, size_t size);
/* No-op unless inserted. */
void policy_remove(struct policy *policy, struct policy_node *node, size_t size);
void policy_update_size(struct policy *policy, struct policy_node *node, size_t old_size,
                        size_t new_size);
/* `fresh` takes the place of `old` (an overwritten value), with its queue and hit bits. */
void policy_replace(struct policy *policy, struct policy_node *old, size_t old_size,
                    struct policy_node *fresh, size_t new_size);

bool policy_needs_eviction(const struct policy *policy);

enum policy_victim_kind {
    POLICY_REJECTED, /* came out of the window and lost against the main space */
    POLICY_EVICTED,  /* left the main space */
};
/* May the engine take this node now? Called under the policy lock; must not call the policy. */
typedef bool (*policy_accept_fn)(struct policy_node *node, void *arg);
/* The next victim, unlinked (queue POLICY_NONE), or NULL: empty, or POLICY_TRIES nodes in a row
 * were refused. A refused node goes to the far end of its queue. Does a bounded amount of work. */
#define POLICY_TRIES 8
struct policy_node *policy_victim(struct policy *policy, policy_accept_fn accept, void *arg,
                                  enum policy_victim_kind *kind_out);

/* Takes effect through the caller's evictions. Follow it with policy_resize_ghost. */
void policy_resize(struct policy *policy, size_t capacity_bytes);
/* Without the policy lock (it copies the table), one thread at a time. The caller frees the retired
 * table (NULL: none) with ghost_table_free after it has held, in turn, each lock under which it
 * calls this module: every shard's and the policy's. */
MUST_CHECK enum status policy_resize_ghost(struct policy *policy, size_t ghost_bytes,
                                           struct ghost_table **retired_out);
/* Share of the window, 0.001..0.999; POLICY_WINDOW_DEFAULT at creation. Takes effect gradually. */
#define POLICY_WINDOW_DEFAULT 0.10
void policy_set_window(struct policy *policy, double fraction);

struct policy_stats {
    size_t capacity_bytes;
    size_t window_capacity_bytes;
    size_t bytes[POLICY_QUEUES]; /* by enum policy_queue */
    size_t items[POLICY_QUEUES];
    size_t overhead_bytes; /* the ghost and the policy itself */
};
void policy_stats(const struct policy *policy, struct policy_stats *stats_out);

#endif
