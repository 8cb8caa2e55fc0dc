/*
 * Purpose: a value in DRAM with its key: one allocation, 32 bytes of header. The layout is frozen:
 *
 *       0               8              16      20  22 23 24      28    30     32
 *      +---------------+---------------+-------+---+--+--+-------+-----+------+--------------------
 *      | prev          | next          | ver lo|hi |fl|po| vlen  | klen| ns   | [expiry 8] key value
 *      +---------------+---------------+-------+---+--+--+-------+-----+------+--------------------
 *
 *      prev, next  policy queue (policy lock)        fl  enum item_flags (shard lock)
 *      ver         48-bit version (shard lock)       po  the policy's byte: queue, hit bits (atomic)
 *      vlen, klen  lengths; klen ITEM_KLEN_ESCAPE: the real length is a uint32 before the key
 *      ns          slot of the namespace in the engine's table
 *      value       bytes, or (ITEM_BLOB) one pointer to a struct engine_blob
 *
 *   A hash table slot (tiers/table.h) costs about 12 bytes more.
 * Threads: as stated per field; an item flagged ITEM_DEMOTING or ITEM_DEAD is immutable but for fl.
 * Errors: item_create returns NULL when out of memory.
 */
#ifndef HEARTH_TIERS_ITEM_H
#define HEARTH_TIERS_ITEM_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ITEM_KLEN_ESCAPE 0xffffu
#define ITEM_NO_EXPIRY INT64_C(-1)

enum item_flags {
    ITEM_EXPIRY = 1, /* has an expiry */
    ITEM_BLOB = 2,   /* the value lies in a blob */
    ITEM_CLEAN = 4,  /* the same version lies on NVMe and the index names it */
    ITEM_UNSETTLED =
        8, /* slots with this tag may be older versions: not yet known; never demoted */
    ITEM_DEMOTING = 16, /* in a write buffer on its way down; in no policy queue */
    ITEM_DEAD = 32,     /* out of the table; freed by the write buffer that still names it */
    ITEM_TOMBSTONE = 64 /* the key is deleted; stays until its slots are settled */
};

struct item {
    void *prev, *next; /* struct policy_node of engine/policy */
    uint32_t version_lo;
    uint16_t version_hi;
    uint8_t flags;
    uint8_t policy; /* accessed atomically by the policy only */
    uint32_t value_len;
    uint16_t key_len16;
    uint16_t ns_slot;
    char data[];
};
static_assert(sizeof(struct item) == 32, "item header is frozen at 32 bytes");
static_assert(offsetof(struct item, policy) == 23, "the policy's byte");

struct item_spec {
    const char *key;
    uint32_t key_len;
    uint16_t ns_slot;
    uint64_t version;
    int64_t expire_at_ms; /* or ITEM_NO_EXPIRY */
    uint32_t value_len;
    void *blob;        /* not NULL: the value is this pointer, value_len its length */
    const void *value; /* copied unless NULL (then uninitialised) */
};
struct item *item_create(const struct item_spec *spec);
void item_free(struct item *item); /* the blob reference is the caller's */
/* Bytes the allocator takes for such an item. */
size_t item_bytes_for(uint32_t key_len, uint32_t value_len, bool has_expiry, bool is_blob);

/* Flags change under the shard's lock only. Relaxed atomics, because the owner of a DEMOTING item reads
 * the bits that do not change any more without it. */
static inline uint8_t item_flags(const struct item *it)
{
    return __atomic_load_n(&it->flags, __ATOMIC_RELAXED);
}

static inline void item_set_flag(struct item *it, enum item_flags flag)
{
    __atomic_store_n(&it->flags, (uint8_t)(item_flags(it) | flag), __ATOMIC_RELAXED);
}

static inline void item_clear_flag(struct item *it, enum item_flags flag)
{
    __atomic_store_n(&it->flags, (uint8_t)(item_flags(it) & ~flag), __ATOMIC_RELAXED);
}

static inline uint32_t item_prefix(const struct item *it)
{
    return ((item_flags(it) & ITEM_EXPIRY) != 0 ? 8u : 0u) +
           (it->key_len16 == ITEM_KLEN_ESCAPE ? 4u : 0u);
}

static inline uint32_t item_key_len(const struct item *it)
{
    if (__builtin_expect(it->key_len16 != ITEM_KLEN_ESCAPE, 1)) {
        return it->key_len16;
    }
    uint32_t len;
    memcpy(&len, it->data + ((item_flags(it) & ITEM_EXPIRY) != 0 ? 8 : 0), sizeof(len));
    return len;
}

static inline const char *item_key(const struct item *it)
{
    return it->data + item_prefix(it);
}

static inline char *item_inline_value(struct item *it)
{
    return it->data + item_prefix(it) + item_key_len(it);
}

static inline void *item_blob(const struct item *it)
{
    void *blob;
    memcpy(&blob, it->data + item_prefix(it) + item_key_len(it), sizeof(blob));
    return blob;
}

static inline void item_set_blob(struct item *it, void *blob)
{
    memcpy(it->data + item_prefix(it) + item_key_len(it), &blob, sizeof(blob));
}

static inline int64_t item_expiry(const struct item *it)
{
    int64_t at = ITEM_NO_EXPIRY;
    if ((item_flags(it) & ITEM_EXPIRY) != 0) {
        memcpy(&at, it->data, sizeof(at));
    }
    return at;
}

static inline uint64_t item_version(const struct item *it)
{
    return (uint64_t)it->version_hi << 32 | it->version_lo;
}

static inline void item_set_version(struct item *it, uint64_t version)
{
    it->version_lo = (uint32_t)version;
    it->version_hi = (uint16_t)(version >> 32);
}

/* Read by the policy without the shard's lock: relaxed. Changes in place stay within the size class. */
static inline uint32_t item_value_len(const struct item *it)
{
    return __atomic_load_n(&it->value_len, __ATOMIC_RELAXED);
}

static inline void item_set_value_len(struct item *it, uint32_t len)
{
    __atomic_store_n(&it->value_len, len, __ATOMIC_RELAXED);
}

/* Bytes charged: the item's allocation; a blob's bytes are added by its owner. */
static inline size_t item_bytes(const struct item *it)
{
    return item_bytes_for(item_key_len(it), item_value_len(it), (item_flags(it) & ITEM_EXPIRY) != 0,
                          (item_flags(it) & ITEM_BLOB) != 0);
}

#endif
