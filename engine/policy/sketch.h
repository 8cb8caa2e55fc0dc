/*
 * Purpose: how often was this key asked for lately? A count-min sketch of 4-bit counters with
 *   ageing: the popularity filter of TinyLFU.
 * Threads: sketch_increment, sketch_frequency and sketch_prefetch take no lock and may be called
 *   by any thread (an update lost to a race is fine). sketch_maintain: one thread at a time.
 *   sketch_resize: one thread at a time, beside all others; see there.
 * Errors: creation and resizing return NO_MEMORY; nothing else fails or allocates.
 * Source: G. Einziger, R. Friedman, B. Manes, "TinyLFU: A Highly Efficient Cache Admission
 *   Policy", ACM ToS 13(4), 2017; blocked layout as in Caffeine's FrequencySketch.
 */
#ifndef HEARTH_ENGINE_POLICY_SKETCH_H
#define HEARTH_ENGINE_POLICY_SKETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"

struct sketch;
struct sketch_table;

/* Counters end here; a saturated one is only read, so a very hot key writes no shared line. */
#define SKETCH_COUNT_MAX 15

/* n_counters is rounded to whole 64-byte blocks of 128 counters (at least one): half a byte each. */
MUST_CHECK enum status sketch_create(uint64_t n_counters, struct sketch **sketch_out);
void sketch_destroy(struct sketch **sketch);

/* Any 64-bit hash of good quality; its bits are mixed again, so the caller may have spent some on
 * choosing a shard. */
void sketch_increment(struct sketch *sketch, uint64_t hash);
/* 0..SKETCH_COUNT_MAX; too high by chance collisions, too low never but by a lost race. */
unsigned sketch_frequency(const struct sketch *sketch, uint64_t hash);
/* Fetches the key's block, for callers that know a batch of keys in advance. */
void sketch_prefetch(const struct sketch *sketch, uint64_t hash);

/* Ages: once `sample` effective increments came together all counters are halved, a small part of
 * the table per call (1/1024, at least a block), and counting starts anew at half. Call it at
 * every insertion. */
void sketch_maintain(struct sketch *sketch, uint64_t sample);

/* Another number of counters; no key's estimate falls by it. The old table may still be read by
 * threads within sketch_increment or sketch_frequency: it is handed to the caller, who frees it
 * with sketch_table_free once none can be (say, after locking and unlocking every shard in turn).
 * *retired_out is NULL if the rounded number is the present one. */
MUST_CHECK enum status sketch_resize(struct sketch *sketch, uint64_t n_counters,
                                     struct sketch_table **retired_out);
void sketch_table_free(struct sketch_table **table);

uint64_t sketch_counters(const struct sketch *sketch);
/* All memory of the sketch, itself included. */
size_t sketch_bytes(const struct sketch *sketch);

#endif
