/*
 * Purpose: one value on NVMe: a header that proves the record's identity, the full key, the stored
 *   bytes. Every byte is described in tiers/FORMAT.md.
 * Threads: pure functions.
 * Errors: CORRUPT for anything that does not verify; bytes from the device are never trusted.
 */
#ifndef HEARTH_TIERS_RECORD_H
#define HEARTH_TIERS_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"

#define RECORD_ALIGN 16u
#define RECORD_KEY_MAX 65535u
#define RECORD_STORED_MAX (1u << 20) /* payload; larger values are chunks under a head */
#define RECORD_NO_EXPIRY INT64_C(-1)

enum record_kind { /* on disk; never renumber */
                   RECORD_VALUE = 0,
                   RECORD_HEAD = 1, /* payload: total length and the locations of the chunks */
                   RECORD_CHUNK =
                       2, /* payload: part chunk_no of the value of (hash, seq); key is empty */
};

struct record {
    uint64_t hash; /* not stored in the record itself, but in the block's footer */
    uint64_t seq;  /* 48 bits */
    uint32_t ns;
    uint32_t chunk_no; /* RECORD_CHUNK only */
    int64_t expire_at_ms;
    const char *key;
    uint32_t key_len;
    const char *stored; /* payload as stored */
    uint32_t stored_len;
    uint32_t raw_len;
    uint8_t kind;
    uint8_t codec; /* enum codec_kind */
};

/* Bytes of the encoded record, padding to RECORD_ALIGN included. */
size_t record_size(const struct record *r);
/* Encodes into dst (record_size bytes); `stored` may already lie at its place in dst. seed binds the
 * CRC to place and generation: record_seed(). */
void record_encode(const struct record *r, uint32_t seed, void *dst);
size_t record_payload_offset(uint32_t key_len, int64_t expire_at_ms, unsigned kind);
/* Verifies and points into buf. len: bytes available. hash is 0. */
MUST_CHECK enum status record_decode(const void *buf, size_t len, uint32_t seed,
                                     struct record *out);
uint32_t record_seed(uint32_t segment, uint32_t generation, uint64_t location);

#endif
