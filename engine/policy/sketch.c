/*
 * Count-min sketch in 64-byte blocks.
 *
 * The idea: a key owns one block (one cache line) of 128 four-bit counters, laid out as 4 rows of
 * 32; in each row it owns one counter. Its frequency is the least of the four. Counting raises only
 * those counters that hold that least value ("conservative update"): the others already promise
 * more than this key's due.
 *
 *     block:  | row 0: 2 words x 16 counters | row 1 | row 2 | row 3 |      8 words, 64 bytes
 *     mixed hash:  high bits -> block (multiply-shift);  bits 0-4, 5-9, 10-14, 15-19 -> counters
 *
 * Invariants:
 * 1. The block is floor(mixed * n_blocks / 2^64): the width is proportional to what was asked for,
 *    not rounded to a power of two, so a miniature of the cache behaves as the cache does.
 * 2. That map is monotonic in the hash: when n_blocks changes, the keys of a new block come from
 *    a contiguous run of old blocks, and the run's counter-wise maximum never underestimates.
 * 3. Words are read and written whole with relaxed atomics. A race loses an increment or keeps one
 *    counter from being halved once; both are noise of the kind a sketch has anyway.
 * 4. Only effective increments count towards ageing (as in Caffeine): in a phase of hits on
 *    saturated keys nothing shared is written at all.
 *
 * Cost: one cache miss and about 5 ns per increment; half a byte per counter.
 */
#include "engine/policy/sketch.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/check.h"

#define ROWS 4
#define BLOCK_WORDS 8
#define BLOCK_COUNTERS (BLOCK_WORDS * 16)
/* Threads count their effective increments apart, on lines of their own. */
#define STRIPES 8
/* One call of sketch_maintain halves this part of the table: short in time at any size, and over
 * soon compared with the sample that set it off. */
#define SWEEP_PARTS 1024

struct block {
    _Atomic uint64_t word[BLOCK_WORDS]; /* atomic: relaxed, see invariant 3 */
};
static_assert(sizeof(struct block) == 64, "a block is one cache line");

struct sketch_table {
    uint64_t n_blocks; /* immutable */
    _Alignas(64) struct block blocks[];
};

struct stripe {
    _Alignas(64) _Atomic uint64_t n_additions; /* atomic: relaxed, nearly always one writer */
};

struct sketch {
    _Atomic(struct sketch_table *) table; /* atomic: release when a filled table is published */
    /* The one thread in sketch_maintain: */
    uint64_t n_additions_aged; /* additions up to this count are accounted for */
    uint64_t sweep_from;       /* next part to be halved, SWEEP_PARTS: no sweep under way */
    struct stripe stripes[STRIPES];
};

static uint64_t mix(uint64_t hash)
{
    hash ^= hash >> 32;
    hash *= 0xd6e8feb86659fd93u; /* D. Stafford's finalizers, variant of P. Evensen's "rrmxmx" */
    hash ^= hash >> 32;
    hash *= 0xd6e8feb86659fd93u;
    return hash ^ hash >> 32;
}

static struct block *block_of(struct sketch_table *table, uint64_t mixed)
{
    return &table->blocks[(unsigned __int128)mixed * table->n_blocks >> 64];
}

static unsigned word_index(uint64_t mixed, unsigned row)
{
    return row * 2 + (mixed >> (row * 5) & 1);
}

static unsigned counter_shift(uint64_t mixed, unsigned row)
{
    return (mixed >> (row * 5 + 1) & 15) * 4;
}

/* A thread keeps to one stripe: the address of a thread-local object tells threads apart. */
static struct stripe *own_stripe(struct sketch *sketch)
{
    static _Thread_local char anchor;
    return &sketch->stripes[((uintptr_t)&anchor * 0x9e3779b97f4a7c15u) >> 61];
}
static_assert(STRIPES == 8, "own_stripe takes 3 bits");

static enum status table_create(uint64_t n_counters, struct sketch_table **table_out)
{
    uint64_t n_blocks = (n_counters + BLOCK_COUNTERS / 2) / BLOCK_COUNTERS;
    if (n_blocks == 0) {
        n_blocks = 1;
    }
    size_t bytes = sizeof(struct sketch_table) + n_blocks * sizeof(struct block);
    struct sketch_table *table = aligned_alloc(64, bytes);
    *table_out = table;
    if (table == NULL) {
        return NO_MEMORY;
    }
    memset(table, 0, bytes);
    table->n_blocks = n_blocks;
    return OK;
}

enum status sketch_create(uint64_t n_counters, struct sketch **sketch_out)
{
    enum status st;
    struct sketch_table *table = NULL;
    *sketch_out = NULL;
    struct sketch *sketch = aligned_alloc(64, sizeof *sketch);
    if (sketch == NULL) {
        return NO_MEMORY;
    }
    memset(sketch, 0, sizeof *sketch);
    TRY(table_create(n_counters, &table));
    atomic_init(&sketch->table, table);
    sketch->sweep_from = SWEEP_PARTS;
    *sketch_out = sketch;
    sketch = NULL;
out:
    free(sketch);
    return st;
}

void sketch_destroy(struct sketch **sketch)
{
    if (*sketch != NULL) {
        free(atomic_load_explicit(&(*sketch)->table, memory_order_relaxed));
        free(*sketch);
        *sketch = NULL;
    }
}

static struct sketch_table *table_of(const struct sketch *sketch)
{
    return atomic_load_explicit(&sketch->table, memory_order_acquire);
}

static unsigned block_count(struct block *block, uint64_t mixed, uint64_t *words)
{
    unsigned least = SKETCH_COUNT_MAX;
    for (unsigned row = 0; row < ROWS; row++) {
        words[row] =
            atomic_load_explicit(&block->word[word_index(mixed, row)], memory_order_relaxed);
        unsigned count = words[row] >> counter_shift(mixed, row) & SKETCH_COUNT_MAX;
        least = count < least ? count : least;
    }
    return least;
}

unsigned sketch_frequency(const struct sketch *sketch, uint64_t hash)
{
    uint64_t words[ROWS];
    uint64_t mixed = mix(hash);
    return block_count(block_of(table_of(sketch), mixed), mixed, words);
}

void sketch_increment(struct sketch *sketch, uint64_t hash)
{
    uint64_t words[ROWS];
    uint64_t mixed = mix(hash);
    struct block *block = block_of(table_of(sketch), mixed);
    unsigned least = block_count(block, mixed, words);
    if (least == SKETCH_COUNT_MAX) {
        return;
    }
    for (unsigned row = 0; row < ROWS; row++) {
        unsigned shift = counter_shift(mixed, row);
        if ((words[row] >> shift & SKETCH_COUNT_MAX) == least) {
            atomic_store_explicit(&block->word[word_index(mixed, row)],
                                  words[row] + ((uint64_t)1 << shift), memory_order_relaxed);
        }
    }
    _Atomic uint64_t *n_additions = &own_stripe(sketch)->n_additions;
    uint64_t n = atomic_load_explicit(n_additions, memory_order_relaxed);
    atomic_store_explicit(n_additions, n + 1, memory_order_relaxed);
}

void sketch_prefetch(const struct sketch *sketch, uint64_t hash)
{
    __builtin_prefetch(block_of(table_of(sketch), mix(hash)), 1);
}

static void sweep_part(struct sketch_table *table, uint64_t part)
{
    uint64_t from = table->n_blocks * part / SWEEP_PARTS;
    uint64_t to = table->n_blocks * (part + 1) / SWEEP_PARTS;
    for (uint64_t i = from; i < to; i++) {
        for (unsigned w = 0; w < BLOCK_WORDS; w++) {
            _Atomic uint64_t *word = &table->blocks[i].word[w];
            uint64_t value = atomic_load_explicit(word, memory_order_relaxed);
            if (value != 0) {
                atomic_store_explicit(word, value >> 1 & 0x7777777777777777u, memory_order_relaxed);
            }
        }
    }
}

void sketch_maintain(struct sketch *sketch, uint64_t sample)
{
    if (sketch->sweep_from < SWEEP_PARTS) {
        struct sketch_table *table = table_of(sketch);
        /* A small table is swept in as many calls as it has blocks. */
        uint64_t n_parts = table->n_blocks < SWEEP_PARTS ? SWEEP_PARTS / table->n_blocks : 1;
        while (n_parts-- > 0 && sketch->sweep_from < SWEEP_PARTS) {
            sweep_part(table, sketch->sweep_from++);
        }
        return;
    }
    uint64_t n_additions = 0;
    for (unsigned i = 0; i < STRIPES; i++) {
        n_additions += atomic_load_explicit(&sketch->stripes[i].n_additions, memory_order_relaxed);
    }
    if (n_additions - sketch->n_additions_aged >= sample) {
        /* The halved counters stand for half a sample. */
        sketch->n_additions_aged = n_additions - sample / 2;
        sketch->sweep_from = 0;
    }
}

/* Counter-wise maximum of two words of 16 counters. */
static uint64_t max_counters(uint64_t a, uint64_t b)
{
    const uint64_t high = 0x8888888888888888u;
    /* Bit 3 of each counter of `ge`: a's low three bits >= b's. */
    uint64_t ge = ((a | high) - (b & ~high)) & high;
    uint64_t a_wins = ((a & ~b) | (~(a ^ b) & ge)) & high;
    uint64_t mask = (a_wins >> 3) * 15;
    return (a & mask) | (b & ~mask);
}

static void merge_into(struct block *to, const struct block *from)
{
    for (unsigned w = 0; w < BLOCK_WORDS; w++) {
        uint64_t a = atomic_load_explicit(&to->word[w], memory_order_relaxed);
        uint64_t b = atomic_load_explicit(&from->word[w], memory_order_relaxed);
        atomic_store_explicit(&to->word[w], max_counters(a, b), memory_order_relaxed);
    }
}

enum status sketch_resize(struct sketch *sketch, uint64_t n_counters,
                          struct sketch_table **retired_out)
{
    enum status st;
    struct sketch_table *fresh = NULL;
    struct sketch_table *table = table_of(sketch);
    *retired_out = NULL;
    TRY(table_create(n_counters, &fresh));
    if (fresh->n_blocks == table->n_blocks) {
        goto out;
    }
    for (uint64_t i = 0; i < fresh->n_blocks; i++) {
        /* Hashes of new block i: [i, i + 1) / n_fresh; the old blocks over that range. */
        uint64_t from = (unsigned __int128)i * table->n_blocks / fresh->n_blocks;
        uint64_t to =
            ((unsigned __int128)(i + 1) * table->n_blocks + fresh->n_blocks - 1) / fresh->n_blocks;
        for (uint64_t j = from; j < to; j++) {
            merge_into(&fresh->blocks[i], &table->blocks[j]);
        }
    }
    atomic_store_explicit(&sketch->table, fresh, memory_order_release);
    *retired_out = table;
    fresh = NULL;
out:
    sketch_table_free(&fresh);
    return st;
}

void sketch_table_free(struct sketch_table **table)
{
    free(*table);
    *table = NULL;
}

uint64_t sketch_counters(const struct sketch *sketch)
{
    return table_of(sketch)->n_blocks * BLOCK_COUNTERS;
}

size_t sketch_bytes(const struct sketch *sketch)
{
    return sizeof *sketch + sizeof(struct sketch_table) +
           table_of(sketch)->n_blocks * sizeof(struct block);
}
