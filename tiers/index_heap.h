/*
 * Purpose: memory for the cells of one index: a dense pool per size class. A freed cell's place is taken
 *   at once by the last cell of its pool, so nothing is ever lost to holes, whatever the history; the
 *   owner puts the one pointer to the moved cell right.
 * Threads: none of its own: the index's lock.
 * Errors: NULL when there is no memory.
 * Private: only index.c.
 */
#ifndef HEARTH_TIERS_INDEX_HEAP_H
#define HEARTH_TIERS_INDEX_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INDEX_HEAP_WORDS_MAX (UINT32_C(1) << 15) /* of one cell, 8 bytes each */

struct index_heap;

struct index_heap *index_heap_create(void);
void index_heap_destroy(struct index_heap **heap);
/* Pages touched, and the pools' own tables. */
uint64_t index_heap_bytes(const struct index_heap *heap);

/* Words of the smallest class that holds `words`, 0 < words <= INDEX_HEAP_WORDS_MAX. */
static inline uint32_t index_heap_room(uint32_t words)
{
    uint32_t step = words <= 16 ? 2 : words <= 64 ? 8 : words <= 256 ? 16 : words / 8;
    if (step > 16) { /* a power of two, as the classes must not depend on where one asks */
        step = UINT32_C(1) << (31 - __builtin_clz(step));
    }
    return (words + step - 1) & ~(step - 1);
}

/* A cell of index_heap_room(words), aligned to 16 bytes, not cleared. */
uint64_t *index_heap_alloc(struct index_heap *heap, uint32_t words);
/* words: as at alloc, or any of the same class. true: another cell, with what it held, now lives at
 * `cell`, and no longer where it was. */
bool index_heap_free(struct index_heap *heap, uint64_t *cell, uint32_t words);

#endif
