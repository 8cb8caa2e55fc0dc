/*
 * Purpose: how often was this absent key asked for lately? Small counts of keys that are not in the
 *   hot tier, two bytes each, in a table of cache lines. Present items carry their own count.
 * Threads: history_add and history_count take no lock, any thread (an update lost to a race is
 *   fine). history_put, history_take and history_age: one thread at a time (the policy's lock).
 *   history_resize: one thread at a time, beside all others; see there.
 * Errors: creation and resizing return NO_MEMORY; nothing else fails or allocates.
 * Source: README.md (why not the count-min sketch of TinyLFU).
 */
#ifndef HEARTH_ENGINE_POLICY_HISTORY_H
#define HEARTH_ENGINE_POLICY_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"

struct history;
struct history_table;

#define HISTORY_COUNT_MAX 7

/* `bytes` is rounded to whole cache lines of 32 entries, at least one. */
MUST_CHECK enum status history_create(size_t bytes, struct history **history_out);
void history_destroy(struct history **history);

/* Hashes: 64 bits of good quality; they are mixed again, so the caller may have spent some on
 * choosing a shard. */

/* One more request for the key. False: its count was at its maximum already. */
bool history_add(struct history *history, uint64_t hash);
/* 0: not remembered. Another key's count in about 1 of 300 cases of a full line. */
unsigned history_count(const struct history *history, uint64_t hash);
/* The key leaves the tier with this count; 0 is not remembered. In a full line it takes the place of
 * a smallest count, if that is not larger. */
void history_put(struct history *history, uint64_t hash, unsigned count);
/* The key enters the tier: its count, which is no longer kept here. */
unsigned history_take(struct history *history, uint64_t hash);

/* Halves all counts (a count of 1 is forgotten) in small steps, 1/1024 of the table per call, at
 * least a line: history_age_begin starts a sweep (anew, if one is under way), history_age does a
 * step while there is one. */
void history_age_begin(struct history *history);
void history_age(struct history *history);

/* Another size; what fits is kept. The old table may still be read by threads inside another call:
 * it is handed to the caller, who frees it with history_table_free once none can be (say, after
 * locking and unlocking each lock under which this module is called). *retired_out is NULL if the
 * rounded size is the present one. */
MUST_CHECK enum status history_resize(struct history *history, size_t bytes,
                                      struct history_table **retired_out);
void history_table_free(struct history_table **table);

/* All memory of the history, itself included. */
size_t history_bytes(const struct history *history);

#endif
