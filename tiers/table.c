/*
 * Linear hashing over chunks of buckets. Bucket i of a table with n buckets, 2^L <= n < 2^(L+1):
 * a key goes to bucket b = low (L+1) hash bits, or, where that does not exist yet, b without its top
 * bit. Growing by one bucket splits bucket n - 2^L; shrinking merges the last one back.
 *
 *      hash   63 ... 56 | 55 ... 20 | 19 ............ 4 | 3 .. 0
 *             shard     |           | tag (stored)      | first buckets
 *
 * Low 20 bits of the hash are therefore known from (bucket, tag): 2^20 buckets, about 5 million items
 * per shard, is the most a table grows to; beyond, chains get longer.
 *
 * Load: split above 5.5 items per bucket, merge below 3. Measured at 1 M items: 12.6 bytes per item,
 * 15 % of look-ups read a second line. Rejected: doubling (a pause, and 9 to 18 bytes per item by turns).
 */
#include "tiers/table.h"

#include <stdlib.h>

#define TABLE_SLOTS 7
#define TABLE_BASE_BITS 4
#define TABLE_TAG_BITS 16
#define TABLE_CHUNK_BITS 6
#define TABLE_CHUNK (1u << TABLE_CHUNK_BITS)
#define TABLE_MAX_BUCKETS (1u << (TABLE_BASE_BITS + TABLE_TAG_BITS))
#define POINTER_MASK ((UINT64_C(1) << 48) - 1)

struct table_bucket {
    uint64_t slot[TABLE_SLOTS];
    struct table_bucket *overflow;
};
static_assert(sizeof(struct table_bucket) == 64, "a bucket is a cache line");
static_assert(TABLE_BASE_BITS + TABLE_TAG_BITS == TABLE_POSITION_BITS, "positions cover all bits");

static inline uint64_t tag_of(uint64_t hash)
{
    return (hash >> TABLE_BASE_BITS) & 0xffff;
}

static inline struct item *slot_item(uint64_t slot)
{
    return (struct item *)(uintptr_t)(slot & POINTER_MASK);
}

static inline uint64_t make_slot(uint64_t hash, const struct item *item)
{
    return tag_of(hash) << 48 | (uint64_t)(uintptr_t)item;
}

static inline uint32_t bucket_of(const struct table *t, uint64_t hash)
{
    uint32_t b = (uint32_t)hash & ((2u << t->level) - 1);
    return b < t->n_buckets ? b : b & ((1u << t->level) - 1);
}

static inline struct table_bucket *bucket_at(const struct table *t, uint32_t b)
{
    return &t->chunks[b >> TABLE_CHUNK_BITS][b & (TABLE_CHUNK - 1)];
}

static struct table_bucket *buckets_create(struct table *t, uint32_t n)
{
    void *p = aligned_alloc(64, n * sizeof(struct table_bucket));
    if (p != NULL) {
        memset(p, 0, n * sizeof(struct table_bucket));
        t->bytes += n * sizeof(struct table_bucket);
    }
    return p;
}

static void buckets_free(struct table *t, struct table_bucket *p, uint32_t n)
{
    t->bytes -= n * sizeof(struct table_bucket);
    free(p);
}

static bool chunk_add(struct table *t)
{
    if (t->n_chunks == t->chunks_cap) {
        uint32_t cap = t->chunks_cap == 0 ? 4 : t->chunks_cap * 2;
        void *p = realloc(t->chunks, cap * sizeof(*t->chunks));
        if (p == NULL) {
            return false;
        }
        t->bytes += (cap - t->chunks_cap) * sizeof(*t->chunks);
        t->chunks = p;
        t->chunks_cap = cap;
    }
    struct table_bucket *chunk = buckets_create(t, TABLE_CHUNK);
    if (chunk == NULL) {
        return false;
    }
    t->chunks[t->n_chunks++] = chunk;
    return true;
}

enum status table_init(struct table *t)
{
    memset(t, 0, sizeof(*t));
    if (!chunk_add(t)) {
        return NO_MEMORY;
    }
    t->level = TABLE_BASE_BITS;
    t->n_buckets = 1u << TABLE_BASE_BITS;
    return OK;
}

void table_deinit(struct table *t)
{
    for (uint32_t b = 0; b < t->n_buckets; b++) {
        struct table_bucket *o = bucket_at(t, b)->overflow;
        while (o != NULL) {
            struct table_bucket *next = o->overflow;
            free(o);
            o = next;
        }
    }
    for (uint32_t i = 0; i < t->n_chunks; i++) {
        free(t->chunks[i]);
    }
    free(t->chunks);
    memset(t, 0, sizeof(*t));
}

static bool is_key(const struct item *it, uint16_t ns_slot, const char *key, uint32_t key_len)
{
    return it->ns_slot == ns_slot && item_key_len(it) == key_len &&
           memcmp(item_key(it), key, key_len) == 0;
}

struct item *table_find(const struct table *t, uint64_t hash, uint16_t ns_slot, const char *key,
                        uint32_t key_len)
{
    uint64_t tag = tag_of(hash);
    const struct table_bucket *b = bucket_at(t, bucket_of(t, hash));
    do {
        for (unsigned i = 0; i < TABLE_SLOTS; i++) {
            if (b->slot[i] >> 48 == tag && b->slot[i] != 0) {
                struct item *it = slot_item(b->slot[i]);
                if (is_key(it, ns_slot, key, key_len)) {
                    return it;
                }
            }
        }
        b = b->overflow;
    } while (b != NULL);
    return NULL;
}

void table_prefetch(const struct table *t, uint64_t hash)
{
    __builtin_prefetch(bucket_at(t, bucket_of(t, hash)));
}

static bool bucket_put(struct table *t, struct table_bucket *b, uint64_t slot)
{
    for (;;) {
        for (unsigned i = 0; i < TABLE_SLOTS; i++) {
            if (b->slot[i] == 0) {
                b->slot[i] = slot;
                return true;
            }
        }
        if (b->overflow == NULL) {
            b->overflow = buckets_create(t, 1);
            if (b->overflow == NULL) {
                return false;
            }
        }
        b = b->overflow;
    }
}

/* Frees overflow buckets that have become empty. */
static void bucket_trim(struct table *t, struct table_bucket *b)
{
    struct table_bucket **link = &b->overflow;
    while (*link != NULL) {
        struct table_bucket *o = *link;
        bool is_empty = true;
        for (unsigned i = 0; i < TABLE_SLOTS; i++) {
            is_empty = is_empty && o->slot[i] == 0;
        }
        if (is_empty) {
            *link = o->overflow;
            buckets_free(t, o, 1);
        } else {
            link = &o->overflow;
        }
    }
}

/* Low 20 hash bits of a slot in bucket b: all that was ever used to place it. */
static inline uint32_t known_bits(uint64_t slot, uint32_t b)
{
    return (uint32_t)(slot >> 48) << TABLE_BASE_BITS | (b & ((1u << TABLE_BASE_BITS) - 1));
}

/* Moves the slots of bucket `from` that now belong to bucket `to`. False: out of memory, undone. */
static bool slots_move(struct table *t, uint32_t from, uint32_t to)
{
    struct table_bucket *target = bucket_at(t, to);
    for (struct table_bucket *b = bucket_at(t, from); b != NULL; b = b->overflow) {
        for (unsigned i = 0; i < TABLE_SLOTS; i++) {
            if (b->slot[i] != 0 && bucket_of(t, known_bits(b->slot[i], from)) == to) {
                if (!bucket_put(t, target, b->slot[i])) {
                    return false;
                }
                b->slot[i] = 0;
            }
        }
    }
    bucket_trim(t, bucket_at(t, from));
    return true;
}

static void count_buckets(struct table *t, uint32_t n)
{
    t->n_buckets = n;
    t->level = (uint8_t)(31 - __builtin_clz(n));
}

static void grow(struct table *t)
{
    uint32_t n = t->n_buckets;
    if (n == TABLE_MAX_BUCKETS || (n == t->n_chunks * TABLE_CHUNK && !chunk_add(t))) {
        return;
    }
    uint32_t from = n & ((1u << t->level) - 1);
    count_buckets(t, n + 1);
    if (!slots_move(t, from, n)) {
        count_buckets(t, n);
        (void)slots_move(t, n, from); /* back into the slots just freed: cannot fail */
    }
}

static void shrink(struct table *t)
{
    uint32_t last = t->n_buckets - 1;
    if (last < 1u << TABLE_BASE_BITS) {
        return;
    }
    count_buckets(t, last);
    uint32_t to = last & ((1u << t->level) - 1);
    if (!slots_move(t, last, to)) {
        count_buckets(t, last + 1);
        (void)slots_move(t, to, last);
        return;
    }
    bucket_trim(t, bucket_at(t, to));
    if (t->n_buckets + TABLE_CHUNK <= (t->n_chunks - 1) * TABLE_CHUNK) {
        buckets_free(t, t->chunks[--t->n_chunks], TABLE_CHUNK);
    }
}

enum status table_insert(struct table *t, uint64_t hash, struct item *item)
{
    if (!bucket_put(t, bucket_at(t, bucket_of(t, hash)), make_slot(hash, item))) {
        return NO_MEMORY;
    }
    t->n_items++;
    if (t->n_items * 2 > (uint64_t)t->n_buckets * 11) {
        grow(t);
    }
    return OK;
}

static uint64_t *slot_find(const struct table *t, uint64_t hash, const struct item *item)
{
    uint64_t want = make_slot(hash, item);
    for (struct table_bucket *b = bucket_at(t, bucket_of(t, hash)); b != NULL; b = b->overflow) {
        for (unsigned i = 0; i < TABLE_SLOTS; i++) {
            if (b->slot[i] == want) {
                return &b->slot[i];
            }
        }
    }
    return NULL;
}

bool table_remove(struct table *t, uint64_t hash, const struct item *item)
{
    uint64_t *slot = slot_find(t, hash, item);
    if (slot == NULL) {
        return false;
    }
    *slot = 0;
    t->n_items--;
    struct table_bucket *b = bucket_at(t, bucket_of(t, hash));
    if (b->overflow != NULL) {
        bucket_trim(t, b);
    }
    if (t->n_items < (uint64_t)t->n_buckets * 3) {
        shrink(t);
    }
    return true;
}

bool table_replace(struct table *t, uint64_t hash, const struct item *from, struct item *to)
{
    uint64_t *slot = slot_find(t, hash, from);
    if (slot != NULL) {
        *slot = make_slot(hash, to);
    }
    return slot != NULL;
}

static uint32_t reverse_bits(uint32_t x)
{
    uint32_t r = 0;
    for (unsigned i = 0; i < TABLE_POSITION_BITS; i++) {
        r = r << 1 | ((x >> i) & 1);
    }
    return r;
}

/* Positions are bit-reversed hash prefixes: a bucket placed by `bits` low hash bits covers one aligned
 * range of 2^(20 - bits) positions, and splitting it halves the range. */
uint32_t table_visit(struct table *t, uint32_t position, table_visit_fn fn, void *arg)
{
    if (position >= TABLE_END) {
        return TABLE_END;
    }
    uint32_t hash_bits = reverse_bits(position);
    uint32_t b = bucket_of(t, hash_bits);
    uint32_t twin = b & ((1u << t->level) - 1);
    unsigned bits = t->level + (b != twin || (twin | 1u << t->level) < t->n_buckets ? 1u : 0u);
    struct item *items[64];
    uint32_t n = 0;
    uint32_t skip = 0;
    do { /* copies first, in pieces: fn may remove and so move slots */
        n = 0;
        b = bucket_of(t, hash_bits);
        uint32_t seen = 0;
        for (struct table_bucket *k = bucket_at(t, b); k != NULL; k = k->overflow) {
            for (unsigned i = 0; i < TABLE_SLOTS; i++) {
                if (k->slot[i] != 0 && seen++ >= skip && n < 64) {
                    items[n++] = slot_item(k->slot[i]);
                }
            }
        }
        uint64_t before = t->n_items;
        for (uint32_t i = 0; i < n; i++) {
            fn(arg, items[i]);
        }
        skip += n - (uint32_t)(before - t->n_items);
    } while (n == 64);
    uint32_t span = 1u << (TABLE_POSITION_BITS - bits);
    return (position & ~(span - 1)) + span;
}

struct item *table_random(const struct table *t, uint64_t random)
{
    if (t->n_items == 0) {
        return NULL;
    }
    for (uint32_t step = 0; step < t->n_buckets; step++) {
        uint32_t b = (uint32_t)((random + step) % t->n_buckets);
        struct item *found[64];
        unsigned n = 0;
        for (struct table_bucket *k = bucket_at(t, b); k != NULL; k = k->overflow) {
            for (unsigned i = 0; i < TABLE_SLOTS && n < 64; i++) {
                if (k->slot[i] != 0) {
                    found[n++] = slot_item(k->slot[i]);
                }
            }
        }
        if (n != 0) {
            return found[(random >> 32) % n];
        }
    }
    return NULL;
}
