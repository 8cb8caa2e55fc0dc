/*
 * Counts of absent keys, in lines of 32 tagged entries.
 *
 *     mixed hash:  high bits -> line (multiply-shift);  bits 0-12 -> tag;  bits 16-20 -> first slot
 *     line:        8 words x 4 lanes x 16 bits  = 64 bytes
 *     lane:        | tag 13 | count 3 |           0: empty (a tag is never 0)
 *
 * The idea: a count-min sketch spends most of its counters on keys that are present, and noise on
 * all. Present items count in themselves, exactly, so the table holds only absent keys that were
 * asked for: a tag tells them apart well enough, and a full line forgets the least asked for.
 *
 * Invariants:
 * 1. A line is floor(mixed * n_lines / 2^64): the size is proportional to what was asked for, not
 *    rounded to a power of two, so a miniature of the cache behaves as the cache does.
 * 2. That map is monotonic in the hash: when n_lines changes, the keys of a new line come from a
 *    contiguous run of old lines, whose largest counts it keeps.
 * 3. Words are read and written whole with relaxed atomics. A race loses an update in the same
 *    word, keeps a count from being halved once or stores a tag twice (the first is found, the
 *    other ages away): noise, never a wrong address.
 *
 * Cost: one cache miss and some 10 ns per look-up, none per hit of the tier.
 * Rejected (README.md has the figures): count-min sketches of 4-bit counters, shared by present and
 * absent keys; oldest instead of smallest count out.
 */
#include "engine/policy/ghost.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/check.h"

#define LINE_WORDS 8
#define LINE_ENTRIES 32
#define COUNT_BITS 3
#define TAG_MASK 0x1fffu
#define LANE_MASK 0xffffu
#define SWEEP_STEPS 1024

static_assert(GHOST_COUNT_MAX == (1 << COUNT_BITS) - 1, "counts fill their bits");
static_assert(TAG_MASK << COUNT_BITS == (LANE_MASK & ~(unsigned)GHOST_COUNT_MAX), "a lane");

struct line {
    _Atomic uint64_t word[LINE_WORDS]; /* atomic: relaxed, see invariant 3 */
};
static_assert(sizeof(struct line) == 64, "one cache line");

struct ghost_table {
    uint64_t n_lines; /* immutable */
    _Alignas(64) struct line lines[];
};

struct ghost {
    _Atomic(struct ghost_table *) table; /* atomic: release when a filled table is published */
    unsigned sweep_step;                 /* the ageing thread; SWEEP_STEPS: no sweep under way */
};

/* --- hashes and lanes ----------------------------------------------------------------------- */

static uint64_t mix(uint64_t hash)
{
    hash ^= hash >> 32;
    hash *= 0xd6e8feb86659fd93u;
    hash ^= hash >> 32;
    hash *= 0xd6e8feb86659fd93u;
    return hash ^ hash >> 32;
}

static struct ghost_table *table_of(const struct ghost *ghost)
{
    return atomic_load_explicit(&ghost->table, memory_order_acquire);
}

static struct line *line_of(const struct ghost *ghost, uint64_t mixed)
{
    struct ghost_table *table = table_of(ghost);
    return &table->lines[(unsigned __int128)mixed * table->n_lines >> 64];
}

static unsigned tag_of(uint64_t mixed)
{
    unsigned tag = mixed & TAG_MASK;
    return tag == 0 ? 1 : tag;
}

static uint64_t load(const struct line *line, unsigned word)
{
    return atomic_load_explicit(&line->word[word], memory_order_relaxed);
}

static unsigned lane_of(uint64_t word, unsigned slot)
{
    return word >> (slot & 3) * 16 & LANE_MASK;
}

static void set_lane(struct line *line, unsigned slot, unsigned lane)
{
    unsigned shift = (slot & 3) * 16;
    uint64_t word = load(line, slot / 4) & ~((uint64_t)LANE_MASK << shift);
    atomic_store_explicit(&line->word[slot / 4], word | (uint64_t)lane << shift,
                          memory_order_relaxed);
}

/* The slot that holds the tag, or LINE_ENTRIES. */
static unsigned find_tag(const struct line *line, unsigned tag, unsigned *count_out)
{
    const uint64_t ones = 0x0001000100010001u, low15 = ones * 0x7fff;
    for (unsigned w = 0; w < LINE_WORDS; w++) {
        uint64_t word = load(line, w);
        uint64_t differs = (word & ones * (TAG_MASK << COUNT_BITS)) ^ ones * (tag << COUNT_BITS);
        /* The top bit of each lane that is all zero. */
        uint64_t equal = ~(((differs & low15) + low15) | differs) & ~low15;
        if (equal != 0) {
            unsigned slot = w * 4 + (unsigned)__builtin_ctzll(equal) / 16;
            *count_out = lane_of(word, slot) & GHOST_COUNT_MAX;
            return slot;
        }
    }
    *count_out = 0;
    return LINE_ENTRIES;
}

/* A slot with the least count, from `first` on. */
static unsigned find_least(const struct line *line, unsigned first, unsigned *count_out)
{
    unsigned least_slot = 0, least = GHOST_COUNT_MAX + 1;
    for (unsigned i = 0; i < LINE_ENTRIES && least > 0; i++) {
        unsigned slot = (first + i) % LINE_ENTRIES;
        unsigned count = lane_of(load(line, slot / 4), slot) & GHOST_COUNT_MAX;
        if (count < least) {
            least = count;
            least_slot = slot;
        }
    }
    *count_out = least;
    return least_slot;
}

static void line_put(struct line *line, unsigned tag, unsigned first, unsigned count)
{
    unsigned present, least;
    unsigned slot = find_tag(line, tag, &present);
    if (slot == LINE_ENTRIES) {
        slot = find_least(line, first, &least);
        if (least > count) {
            return;
        }
    }
    set_lane(line, slot, count == 0 ? 0 : tag << COUNT_BITS | count);
}

static unsigned first_slot(uint64_t mixed)
{
    return mixed >> 16 & (LINE_ENTRIES - 1);
}

/* --- life ----------------------------------------------------------------------------------- */

static enum status table_create(size_t bytes, struct ghost_table **table_out)
{
    uint64_t n_lines = (bytes + sizeof(struct line) / 2) / sizeof(struct line);
    if (n_lines == 0) {
        n_lines = 1;
    }
    size_t table_bytes = sizeof(struct ghost_table) + n_lines * sizeof(struct line);
    struct ghost_table *table = aligned_alloc(64, table_bytes);
    *table_out = table;
    if (table == NULL) {
        return NO_MEMORY;
    }
    memset(table, 0, table_bytes);
    table->n_lines = n_lines;
    return OK;
}

enum status ghost_create(size_t bytes, struct ghost **ghost_out)
{
    enum status st;
    struct ghost_table *table = NULL;
    *ghost_out = NULL;
    struct ghost *ghost = calloc(1, sizeof *ghost);
    if (ghost == NULL) {
        return NO_MEMORY;
    }
    TRY(table_create(bytes, &table));
    atomic_init(&ghost->table, table);
    ghost->sweep_step = SWEEP_STEPS;
    *ghost_out = ghost;
    ghost = NULL;
out:
    free(ghost);
    return st;
}

void ghost_destroy(struct ghost **ghost)
{
    if (*ghost != NULL) {
        free(table_of(*ghost));
        free(*ghost);
        *ghost = NULL;
    }
}

size_t ghost_bytes(const struct ghost *ghost)
{
    return sizeof *ghost + sizeof(struct ghost_table) +
           table_of(ghost)->n_lines * sizeof(struct line);
}

/* --- counts --------------------------------------------------------------------------------- */

bool ghost_add(struct ghost *ghost, uint64_t hash)
{
    uint64_t mixed = mix(hash);
    struct line *line = line_of(ghost, mixed);
    unsigned count;
    unsigned slot = find_tag(line, tag_of(mixed), &count);
    if (count == GHOST_COUNT_MAX) {
        return false;
    }
    if (slot != LINE_ENTRIES) {
        set_lane(line, slot, tag_of(mixed) << COUNT_BITS | (count + 1));
    } else {
        line_put(line, tag_of(mixed), first_slot(mixed), 1);
    }
    return true;
}

unsigned ghost_count(const struct ghost *ghost, uint64_t hash)
{
    uint64_t mixed = mix(hash);
    unsigned count;
    find_tag(line_of(ghost, mixed), tag_of(mixed), &count);
    return count;
}

void ghost_put(struct ghost *ghost, uint64_t hash, unsigned count)
{
    uint64_t mixed = mix(hash);
    DCHECK(count <= GHOST_COUNT_MAX);
    line_put(line_of(ghost, mixed), tag_of(mixed), first_slot(mixed), count);
}

unsigned ghost_take(struct ghost *ghost, uint64_t hash)
{
    uint64_t mixed = mix(hash);
    struct line *line = line_of(ghost, mixed);
    unsigned count;
    unsigned slot = find_tag(line, tag_of(mixed), &count);
    if (slot != LINE_ENTRIES) {
        set_lane(line, slot, 0);
    }
    return count;
}

/* --- ageing --------------------------------------------------------------------------------- */

static void halve(struct line *line)
{
    for (unsigned w = 0; w < LINE_WORDS; w++) {
        uint64_t word = load(line, w), halved = 0;
        for (unsigned lane = 0; word != 0 && lane < 4; lane++) {
            unsigned value = lane_of(word, lane);
            unsigned count = (value & GHOST_COUNT_MAX) / 2;
            if (count != 0) {
                halved |= (uint64_t)((value & ~(unsigned)GHOST_COUNT_MAX) | count) << lane * 16;
            }
        }
        if (word != 0) {
            atomic_store_explicit(&line->word[w], halved, memory_order_relaxed);
        }
    }
}

void ghost_age_begin(struct ghost *ghost)
{
    ghost->sweep_step = 0;
}

void ghost_age(struct ghost *ghost)
{
    if (ghost->sweep_step == SWEEP_STEPS) {
        return;
    }
    struct ghost_table *table = table_of(ghost);
    /* A small table is swept in as many calls as it has lines. */
    uint64_t n_steps = table->n_lines < SWEEP_STEPS ? SWEEP_STEPS / table->n_lines : 1;
    for (; n_steps > 0 && ghost->sweep_step < SWEEP_STEPS; n_steps--) {
        uint64_t from = table->n_lines * ghost->sweep_step / SWEEP_STEPS;
        uint64_t to = table->n_lines * (ghost->sweep_step + 1) / SWEEP_STEPS;
        for (uint64_t i = from; i < to; i++) {
            halve(&table->lines[i]);
        }
        ghost->sweep_step++;
    }
}

/* --- resizing ------------------------------------------------------------------------------- */

static void merge_into(struct line *to, const struct line *from)
{
    for (unsigned slot = 0; slot < LINE_ENTRIES; slot++) {
        unsigned lane = lane_of(load(from, slot / 4), slot);
        unsigned tag = lane >> COUNT_BITS, count = lane & GHOST_COUNT_MAX, present;
        if (lane != 0) {
            find_tag(to, tag, &present);
            line_put(to, tag, slot, count > present ? count : present);
        }
    }
}

enum status ghost_resize(struct ghost *ghost, size_t bytes, struct ghost_table **retired_out)
{
    enum status st;
    struct ghost_table *fresh = NULL;
    struct ghost_table *table = table_of(ghost);
    *retired_out = NULL;
    TRY(table_create(bytes, &fresh));
    if (fresh->n_lines == table->n_lines) {
        goto out;
    }
    for (uint64_t i = 0; i < fresh->n_lines; i++) {
        /* Hashes of new line i: [i, i + 1) / n_fresh; the old lines over that range. */
        uint64_t from = (unsigned __int128)i * table->n_lines / fresh->n_lines;
        uint64_t to =
            ((unsigned __int128)(i + 1) * table->n_lines + fresh->n_lines - 1) / fresh->n_lines;
        for (uint64_t j = from; j < to; j++) {
            merge_into(&fresh->lines[i], &table->lines[j]);
        }
    }
    atomic_store_explicit(&ghost->table, fresh, memory_order_release);
    *retired_out = table;
    fresh = NULL;
out:
    ghost_table_free(&fresh);
    return st;
}

void ghost_table_free(struct ghost_table **table)
{
    free(*table);
    *table = NULL;
}
