/*
 * Design: extendible hashing whose buckets ("cells") are sorted arrays. The hash is used from the top:
 * the shard's bits; then, spread (see below), directory position at creation and tag. A cell that has
 * split u times has used up u bits of the tag, so its slots' tags share them, and the rest of the tag
 * says, since hashes are uniform, about where in the cell a slot lies: a look-up reads the directory
 * entry and one or two cache lines of slots, and nothing else.
 *
 *      63     56 55                                               0
 *     +---------+---------------------------------------------------+
 *     | shard   | x                                                 |   hash
 *     +---------+---------------------------------------------------+
 *      63                63-b                     43-b              0
 *     +---------------------+---------------------+-----------------+
 *     | base_depth = b bits | tag 20: u used,rest | not looked at   |   y = spread(x), b <= 20
 *     +---------------------+-------------+-------+-----------------+
 *     |<-- directory position, depth bits -->|
 *
 *     directory entry
 *      63          49 48     44 43                                                    0
 *     +--------------+---------+-------------------------------------------------------+
 *     | slots used   | u       | address of the cell / 16, 0: empty                    |
 *     +--------------+---------+-------------------------------------------------------+
 *
 *     cell (in index_heap.h's size classes)
 *     +-----------------------------+------+------+- - - - -+
 *     | start of its range | words  | slot | slot |         |
 *     +-----------------------------+------+------+- - - - -+
 *
 * A look-up needs no header: what a cell holds stands in its directory entries (2^(depth - b - u) equal
 * ones, side by side) and says what it has room for, the smallest class that fits. The header lets a
 * cell that the heap has moved be found in the directory.
 * Cells split at 223 slots. The hash is first spread unevenly (spread()), so that at any time cells of
 * all fills from 112 to 223 are there in the same proportions; else all would be equally full, and at
 * times all just too large for their class.
 *
 * Invariants
 *   1. A cell is sorted by tag; equal tags stand in order of insertion.
 *   2. The entries of a cell are equal, aligned and adjacent; an entry with address 0 has no slots.
 *   3. A cell with slots has room for cell_capacity() of them, or, where there was no memory to shrink
 *      it, more; the words in its header are those it was allocated with.
 *   4. At most INDEX_MATCH_MAX slots of a cell have one tag; so a cell with the whole tag used up
 *      (which splits no more) is small.
 *   5. Keys whose hashes were made to collide cannot blow up the directory: it doubles only while it
 *      has at most one entry per DIRECTORY_SHARE slots. Until then a cell grows, to CELL_SLOTS_MAX.
 *
 * Cost: 128 indexes, one thread, a machine shared with others (load 2 to 17); resident bytes per key once
 * grown, and after every key was replaced:
 *
 *      keys, base_depth   1 M, 6     3 M, 7    10 M, 9    10 M, 10   100 M, 12
 *      bytes per key      11.6 11.6  9.5 9.7   8.9 8.9    9.2 9.2    8.6 8.7
 *
 *   The 4 MiB of index_heap.c weigh on small ones. With nine of ten of 10 M keys removed: 14.6.
 *   10 M, base_depth 9: hit 0.11 us, miss 0.09, in prefetched batches of 16 0.05; insert and remove 0.26
 *   to 0.32. A miss matches a foreign slot in 1.5 of 10,000 cases, n / 2^(7 + base_depth + 20).
 *   Tails, 40 M inserts and 20 M removals in two runs: at most 0.27 and 0.18 ms of CPU time. By the wall
 *   clock some take over 1 ms, but as many as of a control that loads two words and calls nothing (255
 *   inserts, 276 controls): what the index adds cannot be told from the machine. Not measured: several
 *   threads, where madvise and page faults contend for the address space.
 * Rejected: 64-byte buckets of eight slots (10 B per key at load 0.8, and they cannot grow by parts);
 *   jemalloc for the cells (see index_heap.c); merging cells after removals (they shrink; the directory
 *   costs 0.1 B per key there ever were).
 */
#include "tiers/index.h"

#include <assert.h>
#include <string.h>

#include "engine/base/bytes.h"
#include "engine/base/check.h"
#include "engine/base/mem.h"
#include "tiers/index_heap.h"

#define SHARD_BITS_MAX 8
#define TAG_BITS 20
#define TAG_SHIFT 44
#define CLASS_BITS 6
#define CLASS_SHIFT 38
#define HITS_SHIFT INDEX_LOCATION_BITS
#define LOCATION_MASK ((UINT64_C(1) << INDEX_LOCATION_BITS) - 1)

static_assert(TAG_SHIFT + TAG_BITS == 64 && CLASS_SHIFT + CLASS_BITS == TAG_SHIFT &&
                  HITS_SHIFT + 2 == CLASS_SHIFT,
              "picture in index.h");
static_assert(INDEX_HITS_MAX == 3, "2 bits");

#define ENTRY_ADDRESS_BITS 44
#define ENTRY_USED_BITS 5
#define ENTRY_COUNT_SHIFT (ENTRY_ADDRESS_BITS + ENTRY_USED_BITS)
#define ENTRY_COUNT_ONE (UINT64_C(1) << ENTRY_COUNT_SHIFT)
#define CELL_SLOTS_MAX ((1u << (64 - ENTRY_COUNT_SHIFT)) - 1)
#define HEADER_WORDS_BITS 24 /* the rest is the start, of at most base_depth + TAG_BITS bits */

static_assert(TAG_BITS < 1 << ENTRY_USED_BITS, "u may reach TAG_BITS");
static_assert(INDEX_BASE_DEPTH_MAX + TAG_BITS + HEADER_WORDS_BITS <= 64, "header");
static_assert(CELL_SLOTS_MAX < INDEX_HEAP_WORDS_MAX, "and the header");

#define DEPTH_MAX 28
#define DIRECTORY_FREE 4096u /* entries that are always allowed: 32 KiB */
#define DIRECTORY_SHARE 16u  /* slots per entry beyond; in practice there are 50 to 100 */
#define WALK_MAX 24u         /* slots; three deviations of the guess in a cell of 223 */

#define SPLIT_AT 223u /* slots: with the header a size class */

/* --- length classes ------------------------------------------------------------------------------ */

/* Multiples of 16, as records are: each to 128, then 57 to 2 MiB, 2^(14/57) = 1.186 apart. */
static const uint32_t class_bytes[1 << CLASS_BITS] = {
    32,     48,     64,     80,     96,      112,     128,     144,     160,     176,    208,
    240,    272,    320,    368,    432,     512,     608,     720,     848,     1008,   1200,
    1424,   1696,   2016,   2400,   2864,    3424,    4080,    4864,    5808,    6944,   8288,
    9904,   11840,  14144,  16896,  20192,   24128,   28848,   34480,   41216,   49264,  58896,
    70416,  84176,  100640, 120320, 143856,  171984,  205616,  245824,  293904,  351392, 420128,
    502304, 600560, 718032, 858480, 1026416, 1227200, 1467264, 1754288, 2097152,
};

uint32_t index_class_bytes(uint8_t len_class)
{
    return class_bytes[len_class & ((1 << CLASS_BITS) - 1)];
}

uint8_t index_class(uint32_t len)
{
    CHECK(len <= class_bytes[(1 << CLASS_BITS) - 1]);
    unsigned first = 0;
    for (unsigned half = 1 << (CLASS_BITS - 1); half > 0; half /= 2) {
        first += class_bytes[first + half - 1] < len ? half : 0;
    }
    return (uint8_t)first;
}

/* --- directory ----------------------------------------------------------------------------------- */

struct cell {         /* an unpacked entry */
    uint64_t *header; /* NULL: empty */
    uint64_t *slots;  /* header + 1 */
    unsigned n;
    unsigned used; /* bits of the tag */
};

static struct cell cell_unpack(uint64_t entry)
{
    uint64_t address = (entry & ((UINT64_C(1) << ENTRY_ADDRESS_BITS) - 1)) << 4;
    return (struct cell){
        .header = (uint64_t *)(uintptr_t)address,
        .slots = (uint64_t *)(uintptr_t)(address + sizeof(uint64_t)), /* no cell: never used */
        .n = (unsigned)(entry >> ENTRY_COUNT_SHIFT),
        .used = (unsigned)(entry >> ENTRY_ADDRESS_BITS) & ((1u << ENTRY_USED_BITS) - 1),
    };
}

static uint64_t cell_pack(struct cell c)
{
    uint64_t address = (uint64_t)(uintptr_t)c.header;
    DCHECK((address & 15) == 0 && address >> (ENTRY_ADDRESS_BITS + 4) == 0);
    DCHECK(c.n <= CELL_SLOTS_MAX && (c.header == NULL) == (c.n == 0));
    return address >> 4 | (uint64_t)c.used << ENTRY_ADDRESS_BITS |
           (uint64_t)c.n << ENTRY_COUNT_SHIFT;
}

/* y = log2(1 + x) to 0.9 %, its slope to 1 %, as x + x (1 - x) (a - b x); all fractions. */
static uint64_t spread(uint64_t hash)
{
    const uint64_t a = UINT64_C(0x71547652); /* 1 / ln 2 - 1 */
    const uint64_t b = UINT64_C(0x29FEB17C); /* 1.5 / ln 2 - 2 */
    uint64_t x = hash << SHARD_BITS_MAX;
    uint64_t high = x >> 32;
    uint64_t bulge = high * ((UINT64_C(1) << 32) - high) >> 32;
    return x + bulge * (a - (b * high >> 32));
}

static uint64_t position_at(const struct index *ix, uint64_t y)
{
    return y >> 1 >> (63 - ix->depth);
}

static uint64_t position_of(const struct index *ix, uint64_t hash)
{
    return position_at(ix, spread(hash));
}

static uint64_t tag_of(const struct index *ix, uint64_t hash)
{
    return spread(hash) >> (64 - TAG_BITS - ix->base_depth) & ((1u << TAG_BITS) - 1);
}

static uint64_t directory_entries(const struct index *ix)
{
    return UINT64_C(1) << ix->depth;
}

/* Bits of a directory position that do not choose the cell. */
static unsigned free_bits(const struct index *ix, struct cell c)
{
    return ix->depth - ix->base_depth - c.used;
}

/* Writes all entries of the cell that `position` belongs to. */
static void cell_store(struct index *ix, uint64_t position, struct cell c)
{
    uint64_t run = UINT64_C(1) << free_bits(ix, c);
    uint64_t *entry = &ix->directory[position & ~(run - 1)];
    uint64_t packed = cell_pack(c);
    for (uint64_t i = 0; i < run; i++) {
        entry[i] = packed;
    }
}

static void bytes_update(struct index *ix)
{
    ix->bytes = directory_entries(ix) * sizeof(*ix->directory) + index_heap_bytes(ix->heap);
}

static enum status directory_double(struct index *ix)
{
    uint64_t n = directory_entries(ix);
    uint64_t *wider = mem_alloc(2 * n * sizeof(*wider));
    if (wider == NULL) {
        return NO_MEMORY;
    }
    for (uint64_t i = 0; i < n; i++) {
        wider[2 * i] = ix->directory[i];
        wider[2 * i + 1] = ix->directory[i];
    }
    mem_free(ix->directory);
    ix->directory = wider;
    ix->depth++;
    bytes_update(ix);
    return OK;
}

static bool directory_may_double(const struct index *ix)
{
    uint64_t entries = 2 * directory_entries(ix);
    return ix->depth < DEPTH_MAX &&
           (entries <= DIRECTORY_FREE || entries <= ix->n_slots / DIRECTORY_SHARE);
}

enum status index_init(struct index *ix, unsigned base_depth)
{
    *ix = (struct index){0};
    if (base_depth > INDEX_BASE_DEPTH_MAX) {
        return INVALID;
    }
    ix->depth = ix->base_depth = (uint8_t)base_depth;
    ix->directory = mem_zalloc(directory_entries(ix), sizeof(*ix->directory));
    ix->heap = index_heap_create();
    if (ix->directory == NULL || ix->heap == NULL) {
        index_deinit(ix);
        return NO_MEMORY;
    }
    bytes_update(ix);
    return OK;
}

void index_deinit(struct index *ix)
{
    index_heap_destroy(&ix->heap);
    mem_free(ix->directory);
    *ix = (struct index){0};
}

/* --- cells' memory ------------------------------------------------------------------------------- */

/* Slots that fit beside the header in the class that n slots need. */
static unsigned cell_capacity(unsigned n)
{
    return n == 0 ? 0 : index_heap_room(n + 1) - 1;
}

/* Room for n slots of the range that begins at `start`; NULL: no memory. */
static uint64_t *cell_alloc(struct index *ix, uint64_t start, unsigned n)
{
    uint64_t *header = index_heap_alloc(ix->heap, n + 1);
    if (header != NULL) {
        DCHECK((start & ((1u << HEADER_WORDS_BITS) - 1)) == 0);
        *header = start | (n + 1);
        bytes_update(ix);
    }
    return header;
}

static uint64_t cell_start(const uint64_t *header)
{
    return *header >> HEADER_WORDS_BITS << HEADER_WORDS_BITS;
}

/* No entry may refer to it any more, and every other cell must be in the directory. */
static void cell_free(struct index *ix, uint64_t *header)
{
    if (header == NULL) {
        return;
    }
    uint32_t words = *header & ((1u << HEADER_WORDS_BITS) - 1);
    if (index_heap_free(ix->heap, header, words)) {
        uint64_t position = position_at(ix, cell_start(header));
        struct cell moved = cell_unpack(ix->directory[position]);
        moved.header = header;
        cell_store(ix, position, moved);
    }
    bytes_update(ix);
}

/* --- searching ----------------------------------------------------------------------------------- */

static uint64_t slot_pack(uint64_t tag, struct index_slot slot)
{
    DCHECK(slot.location != 0 && slot.location <= LOCATION_MASK);
    DCHECK(slot.len_class < 1 << CLASS_BITS && slot.hits <= INDEX_HITS_MAX);
    return tag << TAG_SHIFT | (uint64_t)slot.len_class << CLASS_SHIFT |
           (uint64_t)slot.hits << HITS_SHIFT | slot.location;
}

static unsigned guess(struct cell c, uint64_t tag)
{
    unsigned rest_bits = TAG_BITS - c.used;
    return (unsigned)((tag & ((UINT64_C(1) << rest_bits) - 1)) * c.n >> rest_bits);
}

/* First slot in [low, high) that is not less than `word`; high if none. */
static unsigned bisect(const uint64_t *slots, unsigned low, unsigned high, uint64_t word)
{
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (slots[middle] < word) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* First slot with this tag or a higher one; c.n if none. */
static unsigned lower_bound(struct cell c, uint64_t tag)
{
    if (c.n == 0) {
        return 0;
    }
    uint64_t word = tag << TAG_SHIFT;
    unsigned i = guess(c, tag);
    if (c.slots[i] < word) {
        unsigned end = i + WALK_MAX < c.n ? i + WALK_MAX : c.n;
        do {
            i++;
        } while (i < end && c.slots[i] < word);
        return i < end || end == c.n ? i : bisect(c.slots, end, c.n, word);
    }
    unsigned end = i > WALK_MAX ? i - WALK_MAX : 0;
    while (i > end && c.slots[i - 1] >= word) {
        i--;
    }
    return i > end || end == 0 ? i : bisect(c.slots, 0, end, word);
}

static bool has_tag(struct cell c, unsigned i, uint64_t tag)
{
    return i < c.n && c.slots[i] >> TAG_SHIFT == tag;
}

/* The slot of this location, NULL if there is none. */
static uint64_t *find(const struct index *ix, uint64_t hash, uint64_t location)
{
    struct cell c = cell_unpack(ix->directory[position_of(ix, hash)]);
    uint64_t tag = tag_of(ix, hash);
    for (unsigned i = lower_bound(c, tag); has_tag(c, i, tag); i++) {
        if ((c.slots[i] & LOCATION_MASK) == location) {
            return &c.slots[i];
        }
    }
    return NULL;
}

unsigned index_match(const struct index *ix, uint64_t hash, struct index_slot out[INDEX_MATCH_MAX])
{
    struct cell c = cell_unpack(ix->directory[position_of(ix, hash)]);
    uint64_t tag = tag_of(ix, hash);
    unsigned n = 0;
    for (unsigned i = lower_bound(c, tag); has_tag(c, i, tag); i++) {
        DCHECK(n < INDEX_MATCH_MAX);
        out[n++] = index_slot_unpack(c.slots[i]);
    }
    return n;
}

bool index_has(const struct index *ix, uint64_t hash, uint64_t location)
{
    return find(ix, hash, location) != NULL;
}

void index_prefetch(const struct index *ix, uint64_t hash)
{
    struct cell c = cell_unpack(ix->directory[position_of(ix, hash)]);
    if (c.n == 0) {
        return;
    }
    unsigned i = guess(c, tag_of(ix, hash));
    __builtin_prefetch(&c.slots[i > 3 ? i - 3 : 0]);
    __builtin_prefetch(&c.slots[i + 3 < c.n ? i + 3 : c.n - 1]);
}

bool index_random(const struct index *ix, uint64_t random, struct index_slot *out)
{
    if (ix->n_slots == 0) {
        return false;
    }
    random *= UINT64_C(0x9E3779B97F4A7C15); /* its upper bits may have chosen the shard */
    random ^= random >> 32;
    uint64_t entries = directory_entries(ix);
    uint64_t at = random & (entries - 1);
    while (cell_unpack(ix->directory[at]).n == 0) {
        at = (at + 1) & (entries - 1);
    }
    struct cell c = cell_unpack(ix->directory[at]);
    *out = index_slot_unpack(c.slots[(random >> 32) * c.n >> 32]);
    return true;
}

/* --- changing ------------------------------------------------------------------------------------ */

/* A new cell with the n slots at `from`; none with n == 0. */
static bool cell_copy(struct index *ix, uint64_t start, const uint64_t *from, struct cell *c)
{
    if (c->n == 0) {
        return true;
    }
    c->header = cell_alloc(ix, start, c->n);
    if (c->header == NULL) {
        return false;
    }
    c->slots = c->header + 1;
    memcpy(c->slots, from, c->n * sizeof(*from));
    return true;
}

/* Divides the cell by the next bit of the tag. false: it may not, or there is no memory. */
static bool cell_split(struct index *ix, uint64_t hash)
{
    struct cell c = cell_unpack(ix->directory[position_of(ix, hash)]);
    if (c.used == TAG_BITS) {
        return false;
    }
    if (free_bits(ix, c) == 0 && (!directory_may_double(ix) || directory_double(ix) != OK)) {
        return false;
    }
    uint64_t start = cell_start(c.header);
    uint64_t middle = start | UINT64_C(1) << (63 - ix->base_depth - c.used);
    uint64_t middle_tag = middle >> (64 - TAG_BITS - ix->base_depth) & ((1u << TAG_BITS) - 1);
    unsigned n_low = bisect(c.slots, 0, c.n, middle_tag << TAG_SHIFT);
    struct cell low = {.n = n_low, .used = c.used + 1};
    struct cell high = {.n = c.n - n_low, .used = c.used + 1};
    if (!cell_copy(ix, start, c.slots, &low) || !cell_copy(ix, middle, c.slots + n_low, &high)) {
        cell_free(ix, low.header);
        return false;
    }
    cell_store(ix, position_at(ix, start), low);
    cell_store(ix, position_at(ix, middle), high);
    cell_free(ix, c.header);
    return true;
}

/* The lowest location of the tag's slots, which end before `end`, makes room for `word`. */
static void replace_lowest(struct cell c, unsigned end, uint64_t word,
                           struct index_slot *dropped_out)
{
    unsigned lowest = end - INDEX_MATCH_MAX;
    for (unsigned i = lowest + 1; i < end; i++) {
        if ((c.slots[i] & LOCATION_MASK) < (c.slots[lowest] & LOCATION_MASK)) {
            lowest = i;
        }
    }
    *dropped_out = index_slot_unpack(c.slots[lowest]);
    memmove(&c.slots[lowest], &c.slots[lowest + 1], (end - lowest - 1) * sizeof(word));
    c.slots[end - 1] = word;
}

/* Puts word at place i of the cell that `hash` belongs to. */
static enum status cell_put(struct index *ix, uint64_t hash, struct cell c, unsigned i,
                            uint64_t word)
{
    uint64_t *outgrown = NULL;
    if (c.n < cell_capacity(c.n)) {
        memmove(&c.slots[i + 1], &c.slots[i], (c.n - i) * sizeof(word));
    } else {
        uint64_t *from = c.slots;
        outgrown = c.header;
        uint64_t start = spread(hash) >> 1 >> (63 - ix->base_depth - c.used)
                                                  << (63 - ix->base_depth - c.used) << 1;
        c.header = c.n < CELL_SLOTS_MAX ? cell_alloc(ix, start, c.n + 1) : NULL;
        if (c.header == NULL) {
            return NO_MEMORY;
        }
        c.slots = c.header + 1;
        if (c.n != 0) {
            memcpy(c.slots, from, i * sizeof(word));
            memcpy(c.slots + i + 1, from + i, (c.n - i) * sizeof(word));
        }
    }
    c.slots[i] = word;
    c.n++;
    cell_store(ix, position_of(ix, hash), c);
    cell_free(ix, outgrown);
    return OK;
}

enum status index_insert(struct index *ix, uint64_t hash, struct index_slot slot,
                         struct index_slot *dropped_out)
{
    *dropped_out = (struct index_slot){0};
    uint64_t tag = tag_of(ix, hash);
    struct cell c;
    do {
        c = cell_unpack(ix->directory[position_of(ix, hash)]);
    } while (c.n >= SPLIT_AT && cell_split(ix, hash));
    unsigned i = lower_bound(c, tag);
    unsigned n_equal = 0;
    for (; has_tag(c, i, tag); i++) {
        n_equal++;
    }
    if (n_equal == INDEX_MATCH_MAX) {
        replace_lowest(c, i, slot_pack(tag, slot), dropped_out);
        return OK;
    }
    enum status st = cell_put(ix, hash, c, i, slot_pack(tag, slot));
    ix->n_slots += st == OK;
    return st;
}

bool index_remove(struct index *ix, uint64_t hash, uint64_t location)
{
    uint64_t *slot = find(ix, hash, location);
    if (slot == NULL) {
        return false;
    }
    struct cell c = cell_unpack(ix->directory[position_of(ix, hash)]);
    uint64_t *outgrown = NULL;
    c.n--;
    memmove(slot, slot + 1, (size_t)(c.slots + c.n - slot) * sizeof(*slot));
    if (c.n == 0 || cell_capacity(c.n) < cell_capacity(c.n + 1)) {
        struct cell smaller = {.n = c.n, .used = c.used};
        if (cell_copy(ix, cell_start(c.header), c.slots,
                      &smaller)) { /* else the large one will do */
            outgrown = c.header;
            c = smaller;
        }
    }
    cell_store(ix, position_of(ix, hash), c);
    cell_free(ix, outgrown);
    ix->n_slots--;
    return true;
}

bool index_replace(struct index *ix, uint64_t hash, uint64_t old_location, struct index_slot slot)
{
    uint64_t *word = find(ix, hash, old_location);
    if (word != NULL) {
        *word = slot_pack(tag_of(ix, hash), slot);
    }
    return word != NULL;
}

unsigned index_hit(struct index *ix, uint64_t hash, uint64_t location)
{
    uint64_t *word = find(ix, hash, location);
    if (word == NULL) {
        return 0;
    }
    unsigned hits = (unsigned)(*word >> HITS_SHIFT) & INDEX_HITS_MAX;
    if (hits < INDEX_HITS_MAX) {
        *word += UINT64_C(1) << HITS_SHIFT;
        hits++;
    }
    return hits;
}

/* --- snapshot ------------------------------------------------------------------------------------ */

enum status index_save(const struct index *ix, index_cell_fn fn, void *arg)
{
    enum status st = OK;
    for (uint64_t at = 0; st == OK && at < directory_entries(ix);) {
        struct cell c = cell_unpack(ix->directory[at]);
        unsigned free = free_bits(ix, c);
        if (c.n != 0) {
            st = fn(arg, (uint32_t)(at >> free), (uint8_t)(ix->base_depth + c.used), c.slots, c.n);
        }
        at += UINT64_C(1) << free;
    }
    return st;
}

static bool is_loadable(const struct index *ix, uint32_t position, uint8_t depth,
                        const uint64_t *slots, uint32_t n_slots)
{
    if (depth < ix->base_depth || depth > ix->base_depth + TAG_BITS || depth > DEPTH_MAX ||
        position >> depth != 0 || n_slots == 0 || n_slots > CELL_SLOTS_MAX) {
        return false;
    }
    unsigned used = depth - ix->base_depth;
    uint64_t prefix = position & ((UINT64_C(1) << used) - 1);
    for (uint32_t i = 0; i < n_slots; i++) {
        uint64_t tag = slots[i] >> TAG_SHIFT;
        if ((slots[i] & LOCATION_MASK) == 0 || tag >> (TAG_BITS - used) != prefix ||
            (i > 0 && tag < slots[i - 1] >> TAG_SHIFT) ||
            (i >= INDEX_MATCH_MAX && tag == slots[i - INDEX_MATCH_MAX] >> TAG_SHIFT)) {
            return false;
        }
    }
    return true;
}

enum status index_load_cell(struct index *ix, uint32_t position, uint8_t depth,
                            const uint64_t *slots, uint32_t n_slots)
{
    if (!is_loadable(ix, position, depth, slots, n_slots)) {
        return CORRUPT;
    }
    while (ix->depth < depth) {
        if (directory_double(ix) != OK) {
            return NO_MEMORY;
        }
    }
    uint64_t at = (uint64_t)position << (ix->depth - depth);
    unsigned used = depth - ix->base_depth;
    struct cell c = cell_unpack(ix->directory[at]);
    if (c.n != 0 || c.used > used) {
        return CORRUPT; /* a cell twice, or two that overlap */
    }
    struct cell loaded = {.n = n_slots, .used = used};
    uint64_t start = position == 0 ? 0 : (uint64_t)position << (64 - depth);
    if (!cell_copy(ix, start, slots, &loaded)) {
        return NO_MEMORY;
    }
    for (; c.used < used; c.used++) { /* splits the empty cell around it */
        struct cell half = {.used = c.used + 1};
        uint64_t first = at & ~((UINT64_C(1) << free_bits(ix, c)) - 1);
        cell_store(ix, first, half);
        cell_store(ix, first + (UINT64_C(1) << free_bits(ix, half)), half);
    }
    cell_store(ix, at, loaded);
    ix->n_slots += n_slots;
    return OK;
}
