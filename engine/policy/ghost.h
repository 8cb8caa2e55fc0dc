/*
 * Purpose: how often was this absent key asked for lately? Small counts of keys that are not in the
 *   hot tier, two bytes each, in a table of cache lines. Present items carry their own count.
 * Threads: ghost_add and ghost_count take no lock, any thread (an update lost to a race is
 *   fine). ghost_put, ghost_take and ghost_age: one thread at a time (the policy's lock).
 *   ghost_resize: one thread at a time, beside all others; see there.
 * Errors: creation and resizing return NO_MEMORY; nothing else fails or allocates.
 * Source: README.md (why not the count-min sketch of TinyLFU).
 */
#ifndef HEARTH_ENGINE_POLICY_GHOST_H
#define HEARTH_ENGINE_POLICY_GHOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"

struct ghost;
struct ghost_table;

#define GHOST_COUNT_MAX 7

/* `bytes` is rounded to whole cache lines of 32 entries, at least one. */
MUST_CHECK enum status ghost_create(size_t bytes, struct ghost **ghost_out);
void ghost_destroy(struct ghost **ghost);

/* Hashes: 64 bits of good quality; they are mixed again, so the caller may have spent some on
 * choosing a shard. */

/* One more request for the key. False: its count was at its maximum already. */
bool ghost_add(struct ghost *ghost, uint64_t hash);
/* 0: not remembered. Another key's count in about 1 of 300 cases of a full line. */
unsigned ghost_count(const struct ghost *ghost, uint64_t hash);
/* The key leaves the tier with this count; 0 is not remembered. In a full line it takes the place of
 * a smallest count, if that is not larger. */
void ghost_put(struct ghost *ghost, uint64_t hash, unsigned count);
/* The key enters the tier: its count, which is no longer kept here. */
unsigned ghost_take(struct ghost *ghost, uint64_t hash);

/* Halves all counts (a count of 1 is forgotten) in small steps, 1/1024 of the table per call, at
 * least a line: ghost_age_begin starts a sweep (anew, if one is under way), ghost_age does a
 * step while there is one. */
void ghost_age_begin(struct ghost *ghost);
void ghost_age(struct ghost *ghost);

/* Another size; what fits is kept. The old table may still be read by threads inside another call:
 * it is handed to the caller, who frees it with ghost_table_free once none can be (say, after
 * locking and unlocking each lock under which this module is called). *retired_out is NULL if the
 * rounded size is the present one. */
MUST_CHECK enum status ghost_resize(struct ghost *ghost, size_t bytes,
                                    struct ghost_table **retired_out);
void ghost_table_free(struct ghost_table **table);

/* All memory of the ghost, itself included. */
size_t ghost_bytes(const struct ghost *ghost);

#endif
