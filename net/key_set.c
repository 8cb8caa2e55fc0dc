/*
 * Keys lie one behind the other in an arena, in the order in which they came; an open-addressed table of
 * 8-byte slots finds duplicates. A key costs its bytes, 4, and 11 to 22 for slots. The hash is seeded
 * at random, since an adversary chooses the keys.
 *
 * Invariants: 1. at most 3/4 of the slots are used. 2. what arena and slots take is charged as client
 * memory, to the byte. 3. an arena is under 2^40 bytes (a slot has 40 bits for offset + 1).
 */
#include "net/key_set.h"

#include <string.h>
#include <sys/random.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "engine/api_control.h"
#include "engine/base/bytes.h"
#include "engine/base/check.h"
#include "engine/base/clock.h"
#include "engine/base/mem.h"

#define KEY_HEADER_BYTES sizeof(uint32_t)
#define OFFSET_BITS 40
#define OFFSET_MASK ((UINT64_C(1) << OFFSET_BITS) - 1)
#define SLOTS_MIN 256
#define ARENA_MIN 4096

void key_set_init(struct key_set *set)
{
    *set = (struct key_set){0};
    if (getrandom(&set->seed, sizeof(set->seed), GRND_NONBLOCK) != sizeof(set->seed)) {
        set->seed = (uint64_t)clock_mono_us() ^ (uint64_t)(uintptr_t)set;
    }
}

void key_set_deinit(struct key_set *set)
{
    engine_client_memory_add(-(int64_t)(set->arena_cap + set->n_slots * sizeof(*set->slots)));
    mem_free(set->arena);
    mem_free(set->slots);
    *set = (struct key_set){0};
}

static bool charge(size_t bytes)
{
    if (engine_client_memory_used() + bytes > engine_client_memory_limit()) {
        return false;
    }
    engine_client_memory_add((int64_t)bytes);
    return true;
}

static void uncharge(size_t bytes)
{
    engine_client_memory_add(-(int64_t)bytes);
}

static enum status arena_reserve(struct key_set *set, size_t more)
{
    size_t need = set->arena_len + more;
    if (need <= set->arena_cap) {
        return OK;
    }
    size_t cap = bytes_max_u64(ARENA_MIN, bytes_max_u64(need, set->arena_cap + set->arena_cap / 2));
    if (cap > OFFSET_MASK || !charge(cap - set->arena_cap)) {
        return NO_MEMORY;
    }
    char *arena = mem_realloc(set->arena, cap);
    if (arena == NULL) {
        uncharge(cap - set->arena_cap);
        return NO_MEMORY;
    }
    set->arena = arena;
    set->arena_cap = cap;
    return OK;
}

static const char *key_at(const struct key_set *set, size_t offset, uint32_t *len_out)
{
    *len_out = bytes_load_u32(set->arena + offset);
    return set->arena + offset + KEY_HEADER_BYTES;
}

static uint64_t key_hash(const struct key_set *set, const char *data, uint32_t len)
{
    return XXH3_64bits_withSeed(data, len, set->seed);
}

static void slot_put(uint64_t *slots, size_t n_slots, uint64_t hash, size_t offset)
{
    size_t i = hash & (n_slots - 1);
    while (slots[i] != 0) {
        i = (i + 1) & (n_slots - 1);
    }
    slots[i] = (hash & ~OFFSET_MASK) | (offset + 1);
}

static enum status slots_reserve(struct key_set *set)
{
    if (set->n_keys < set->n_slots / 4 * 3) {
        return OK;
    }
    size_t n_slots = set->n_slots == 0 ? SLOTS_MIN : set->n_slots * 2;
    if (!charge(n_slots * sizeof(*set->slots))) {
        return NO_MEMORY;
    }
    uint64_t *slots = mem_zalloc(n_slots, sizeof(*slots));
    if (slots == NULL) {
        uncharge(n_slots * sizeof(*slots));
        return NO_MEMORY;
    }
    size_t at = 0;
    while (at < set->arena_len) {
        uint32_t len;
        const char *data = key_at(set, at, &len);
        slot_put(slots, n_slots, key_hash(set, data, len), at);
        at += KEY_HEADER_BYTES + len;
    }
    uncharge(set->n_slots * sizeof(*slots));
    mem_free(set->slots);
    set->slots = slots;
    set->n_slots = n_slots;
    return OK;
}

static bool slots_find(const struct key_set *set, uint64_t hash, const char *data, uint32_t len)
{
    size_t i = hash & (set->n_slots - 1);
    for (; set->slots[i] != 0; i = (i + 1) & (set->n_slots - 1)) {
        uint32_t other_len;
        if (((set->slots[i] ^ hash) & ~OFFSET_MASK) != 0) {
            continue;
        }
        const char *other = key_at(set, (set->slots[i] & OFFSET_MASK) - 1, &other_len);
        if (other_len == len && (len == 0 || memcmp(other, data, len) == 0)) {
            return true;
        }
    }
    return false;
}

enum status key_set_add(struct key_set *set, const char *data, uint32_t len)
{
    enum status st = slots_reserve(set);
    if (st != OK) {
        return st;
    }
    uint64_t hash = key_hash(set, data, len);
    if (slots_find(set, hash, data, len)) {
        return OK;
    }
    st = arena_reserve(set, KEY_HEADER_BYTES + len);
    if (st != OK) {
        return st;
    }
    slot_put(set->slots, set->n_slots, hash, set->arena_len);
    bytes_store_u32(set->arena + set->arena_len, len);
    if (len > 0) {
        memcpy(set->arena + set->arena_len + KEY_HEADER_BYTES, data, len);
    }
    set->arena_len += KEY_HEADER_BYTES + len;
    set->n_keys++;
    DCHECK(set->n_keys <= set->n_slots / 4 * 3);
    return OK;
}

const char *key_set_next(const struct key_set *set, size_t *at, uint32_t *len_out)
{
    if (*at >= set->arena_len) {
        return NULL;
    }
    const char *data = key_at(set, *at, len_out);
    *at += KEY_HEADER_BYTES + *len_out;
    return data;
}
