/*
 * Purpose: a set of keys that grows within the clients' share of `memory`: what KEYS has found so far.
 * Threads: one thread at a time.
 * Errors: NO_MEMORY when the clients' share would be exceeded or malloc fails; the set stays as it was.
 */
#ifndef HEARTH_NET_KEY_SET_H
#define HEARTH_NET_KEY_SET_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"

struct key_set {
    char *arena;      /* u32 length, bytes; in order of arrival */
    size_t arena_len; /* used */
    size_t arena_cap;
    uint64_t *slots; /* offset in arena + 1 (40 bits), hash (24 bits); 0: empty */
    size_t n_slots;  /* a power of two, or 0 */
    size_t n_keys;
    uint64_t seed; /* of the hash: clients choose the keys */
};

void key_set_init(struct key_set *set);
void key_set_deinit(struct key_set *set);
/* Adds a copy; OK too when it is already there. */
MUST_CHECK enum status key_set_add(struct key_set *set, const char *data, uint32_t len);
/* Walks all keys: *at begins at 0; NULL: the end. */
const char *key_set_next(const struct key_set *set, size_t *at, uint32_t *len_out);

#endif
