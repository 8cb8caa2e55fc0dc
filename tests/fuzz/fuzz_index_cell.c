/* Cells as a snapshot might hold them, each: position 2 bytes, depth 1, slots 1, then the slots, of which
 * the tag is given in full and the rest in 3 bytes. Whatever index_load_cell takes must leave an index
 * that saves the same slots and can be used. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tiers/index.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

#define BASE_DEPTH 3
#define DEPTH_MAX 16 /* deeper ones only take memory */
#define SLOT_BYTES 6

static void must(int is_true)
{
    if (!is_true) {
        abort();
    }
}

struct tally {
    uint64_t n, sum;
};

static enum status add(void *arg, uint32_t position, uint8_t depth, const uint64_t *slots,
                       uint32_t n_slots)
{
    struct tally *t = arg;
    must(position >> depth == 0 && n_slots > 0);
    for (uint32_t i = 0; i < n_slots; i++) {
        t->n++;
        t->sum += slots[i];
    }
    return OK;
}

/* Bytes used of the input; 0: none left. */
static size_t load(struct index *ix, const uint8_t *in, size_t size, struct tally *loaded)
{
    if (size < 4) {
        return 0;
    }
    uint32_t n = in[3];
    if (size < 4 + (size_t)n * SLOT_BYTES) {
        return 0;
    }
    uint64_t *slots = malloc(n * sizeof(*slots) + 1);
    must(slots != NULL);
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *s = in + 4 + (size_t)i * SLOT_BYTES;
        uint64_t tag = (uint64_t)(s[0] | s[1] << 8 | (s[2] & 15) << 16);
        slots[i] = tag << 44 | (uint64_t)(s[3] | s[4] << 8 | s[5] << 16);
    }
    uint32_t position = (uint32_t)(in[0] | in[1] << 8);
    uint8_t depth = in[2];
    if (depth <= DEPTH_MAX || depth > 40) {
        enum status st = index_load_cell(ix, position, depth, slots, n);
        must(st == OK || st == CORRUPT);
        if (st == OK) {
            must(add(loaded, position, depth, slots, n) == OK);
        }
    }
    free(slots);
    return 4 + (size_t)n * SLOT_BYTES;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    struct index ix;
    struct tally loaded = {0, 0};
    struct tally saved = {0, 0};
    must(index_init(&ix, BASE_DEPTH) == OK);
    for (size_t used; (used = load(&ix, input, size, &loaded)) != 0;) {
        input += used;
        size -= used;
    }
    must(ix.n_slots == loaded.n);
    must(index_save(&ix, add, &saved) == OK && saved.n == loaded.n && saved.sum == loaded.sum);
    for (uint64_t i = 1; i <= 300; i++) {
        uint64_t hash = i * UINT64_C(0x9E3779B97F4A7C15);
        struct index_slot slot = {.location = (UINT64_C(1) << 30) + i};
        struct index_slot dropped;
        must(index_insert(&ix, hash, slot, &dropped) == OK && index_has(&ix, hash, slot.location));
        must(i % 2 == 0 || index_remove(&ix, hash, slot.location));
    }
    index_deinit(&ix);
    return 0;
}
