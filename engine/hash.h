/*
 * Purpose: the one hash of a key: XXH3, seeded by its namespace. Shard: top 5 bits. Hot table: low 20.
 *   Index: tiers/index.h. TinyLFU's sketch mixes all of it.
 * Threads: pure. Errors: none. HEARTH_WEAK_HASH (tests) keeps 8 bits, so that everything collides.
 */
#ifndef HEARTH_ENGINE_HASH_H
#define HEARTH_ENGINE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

static inline uint64_t hash_key(uint64_t seed, const char *key, size_t len)
{
    uint64_t h = XXH3_64bits_withSeed(key, len, seed);
#ifdef HEARTH_WEAK_HASH
    h = (h & 0xff) * UINT64_C(0x0101010101010101);
#endif
    return h;
}

#endif
