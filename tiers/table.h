/*
 * Purpose: the hot tier's hash table: cache-line buckets of seven tagged pointers, grown and shrunk one
 *   bucket at a time by linear hashing. The bucket bits beyond the first four come from the stored
 *   16-bit tag, so splitting a bucket touches no item.
 *
 *      bucket, 64 bytes  | slot 0 | slot 1 | ... | slot 6 | overflow bucket |
 *      slot              | tag 16 | item pointer 48 |
 *
 * Threads: none of its own: the owner's (shard's) lock guards it.
 * Errors: NO_MEMORY from table_insert; growth that fails for want of memory is simply put off.
 * Source: W. Litwin, "Linear hashing: a new tool for file and table addressing", VLDB 1980.
 */
#ifndef HEARTH_TIERS_TABLE_H
#define HEARTH_TIERS_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"
#include "tiers/item.h"

struct table_bucket;

struct table {
    struct table_bucket **chunks; /* TABLE_CHUNK buckets each */
    uint32_t n_buckets;
    uint32_t n_chunks;
    uint32_t chunks_cap;
    uint8_t level; /* n_buckets is in [2^level, 2^(level+1)) */
    uint64_t n_items;
    uint64_t bytes;
};

MUST_CHECK enum status table_init(struct table *t);
void table_deinit(struct table *t); /* items are the caller's */

/* The item with this key in this namespace slot, or NULL. */
struct item *table_find(const struct table *t, uint64_t hash, uint16_t ns_slot, const char *key,
                        uint32_t key_len);
/* The key must not be there yet. */
MUST_CHECK enum status table_insert(struct table *t, uint64_t hash, struct item *item);
/* By identity; false: not in the table. */
bool table_remove(struct table *t, uint64_t hash, const struct item *item);
/* Puts `to` where `from` is. */
bool table_replace(struct table *t, uint64_t hash, const struct item *from, struct item *to);
void table_prefetch(const struct table *t, uint64_t hash);

/* Walk that survives growth and shrinking: position 0 begins; calls fn for every item of one bucket
 * and returns the next position, TABLE_END after the last. fn may remove the item it is given. */
#define TABLE_POSITION_BITS 20
#define TABLE_END (1u << TABLE_POSITION_BITS)
typedef void (*table_visit_fn)(void *arg, struct item *item);
uint32_t table_visit(struct table *t, uint32_t position, table_visit_fn fn, void *arg);
/* An item near a random position; NULL when empty. */
struct item *table_random(const struct table *t, uint64_t random);

#endif
