/*
 * Purpose: the warm tier's index: for every warm key one 8-byte slot in RAM, no keys. A cell is one
 *   sorted array of slots; a directory of cells per index grows by splitting single cells by the next
 *   bit of the stored tag (extendible hashing), so nothing is ever rehashed at once and keys are never
 *   needed.
 *
 *      63                44 43    38 37  36 35                                   0
 *     +--------------------+--------+------+--------------------------------------+
 *     | tag 20             | len 6  |hits 2| location 36, in units of 16 bytes    |
 *     +--------------------+--------+------+--------------------------------------+
 *
 * Threads: none of its own: the owner's (shard's) lock guards it.
 * Errors: NO_MEMORY. A match means "maybe": another key may share the tag; the record decides.
 */
#ifndef HEARTH_TIERS_INDEX_H
#define HEARTH_TIERS_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"

#define INDEX_LOCATION_BITS 36
#define INDEX_UNIT_BYTES 16u /* 2^36 units = 1 TiB */
#define INDEX_MATCH_MAX 16   /* more equal tags than this are not kept: see index_insert */
#define INDEX_HITS_MAX 3
#define INDEX_BASE_DEPTH_MAX 20

struct index_heap;

struct index {
    uint64_t *directory; /* an entry per position; see index.c */
    struct index_heap *heap;
    uint8_t depth;      /* the directory has 2^depth entries */
    uint8_t base_depth; /* bits at creation, all from the hash; those beyond come from the tag */
    uint64_t n_slots;
    uint64_t bytes; /* resident */
};

struct index_slot {
    uint64_t location; /* in INDEX_UNIT_BYTES */
    uint8_t len_class;
    uint8_t hits;
};

/* Bytes a record of this class may have at most; classes grow by 2^(1/4) or finer from 32 B. */
uint32_t index_class_bytes(uint8_t len_class);
/* Smallest class that holds len. len <= 2 MiB. */
uint8_t index_class(uint32_t len);

/* 2^base_depth cells at first; hash bits used: see index.c (bits of the hash must be independent of
 * the shard's: the shard takes the top 8). INVALID: more than INDEX_BASE_DEPTH_MAX. Best is what makes
 * cells of 50 to 150 slots in the end: a smaller one costs false matches, a larger one memory. */
MUST_CHECK enum status index_init(struct index *ix, unsigned base_depth);
void index_deinit(struct index *ix); /* may take long for a large one: background */

/* All slots whose tag matches, newest insertion last. Returns how many (<= INDEX_MATCH_MAX). */
unsigned index_match(const struct index *ix, uint64_t hash, struct index_slot out[INDEX_MATCH_MAX]);
bool index_has(const struct index *ix, uint64_t hash, uint64_t location);
/* More than INDEX_MATCH_MAX equal tags: the lowest location gives way and is told in *dropped_out,
 * whose location is 0 otherwise (0 is never a record's: a block header comes first). */
MUST_CHECK enum status index_insert(struct index *ix, uint64_t hash, struct index_slot slot,
                                    struct index_slot *dropped_out);
/* The slot with exactly this location; false: not there. */
bool index_remove(struct index *ix, uint64_t hash, uint64_t location);
/* Compare-and-swap of a location; hits become those of `slot`. */
bool index_replace(struct index *ix, uint64_t hash, uint64_t old_location, struct index_slot slot);
/* Saturating; returns the new count. */
unsigned index_hit(struct index *ix, uint64_t hash, uint64_t location);
/* A slot chosen by `random` bits; false when empty. (RANDOMKEY) */
bool index_random(const struct index *ix, uint64_t random, struct index_slot *out);
void index_prefetch(const struct index *ix, uint64_t hash);

/* The slot of a raw 8-byte word as index_save gives it. */
static inline struct index_slot index_slot_unpack(uint64_t word)
{
    return (struct index_slot){.location = word & ((UINT64_C(1) << INDEX_LOCATION_BITS) - 1),
                               .hits = (uint8_t)(word >> INDEX_LOCATION_BITS & 3),
                               .len_class = (uint8_t)(word >> (INDEX_LOCATION_BITS + 2) & 63)};
}

/* Snapshot: calls fn for each cell's raw slots with the cell's directory position and depth;
 * index_load_cell puts them back into a fresh index of the same base_depth. */
typedef enum status (*index_cell_fn)(void *arg, uint32_t position, uint8_t depth,
                                     const uint64_t *slots, uint32_t n_slots);
enum status index_save(const struct index *ix, index_cell_fn fn, void *arg);
MUST_CHECK enum status index_load_cell(struct index *ix, uint32_t position, uint8_t depth,
                                       const uint64_t *slots, uint32_t n_slots);

#endif
