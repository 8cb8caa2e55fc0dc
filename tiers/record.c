/*
 * Design: a record proves by itself that it is the one that was asked for: the CRC is seeded with
 * segment, generation and location, so a record read from another place, or left over from an earlier
 * life of its segment, does not verify, and none of the three is stored.
 *
 *       0        4        8                14  15     16                                24
 *      +--------+--------+-----------------+---+------+---------------------------------+
 *      | crc32c | ns     | seq 48          |k c| flags| key_len 16  stored 21  raw 21  0 6 |
 *      +--------+--------+-----------------+---+------+---------------------------------+
 *      | expiry 8 (flag 1) | chunk_no 4, zero 4 (kind CHUNK) | key | payload | zeros to 16 |
 *      +-------------------+---------------------------------+-----+---------+-------------+
 *
 *   k: kind, c: codec, 4 bits each. Everything is little-endian.
 *
 * Invariants
 *   1. The CRC covers every byte behind it, padding included.
 *   2. Whatever decodes lies within `len` and within the limits of record.h; unknown kinds and flags
 *      do not decode (a later format has to raise the version in the block header).
 *
 * Cost: 24 bytes beside the key, 32 with an expiry.
 * Rejected: variable-length integers (save 4 bytes, cost a branch per field), the hash in the record
 *   (it follows from namespace and key; the footer has it for those who walk).
 */
#include "tiers/record.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "engine/base/bytes.h"
#include "engine/base/check.h"
#include "tiers/crc32c.h"

struct record_header {
    uint32_t crc32c;
    uint32_t ns;
    uint64_t identity; /* seq 48 | kind 4 | codec 4 | flags 8 */
    uint64_t lengths;  /* key_len 16 | stored_len 21 | raw_len 21 | zero 6 */
};
static_assert(sizeof(struct record_header) == 24, "on disk");
static_assert(offsetof(struct record_header, identity) == 8, "on disk");
static_assert(offsetof(struct record_header, lengths) == 16, "on disk");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the format is little-endian");
static_assert(RECORD_STORED_MAX < 1u << 21, "stored_len has 21 bits");

#define SEQ_BITS 48
#define KIND_SHIFT 48
#define CODEC_SHIFT 52
#define FLAGS_SHIFT 56
#define STORED_SHIFT 16
#define RAW_SHIFT 37
#define SPARE_SHIFT 58
#define LENGTH_MASK ((UINT64_C(1) << 21) - 1)

#define FLAG_EXPIRY 1u
#define EXPIRY_BYTES 8u
#define CHUNK_BYTES 8u

uint32_t record_seed(uint32_t segment, uint32_t generation, uint64_t location)
{
    struct {
        uint32_t segment, generation;
        uint64_t location;
    } place = {segment, generation, location};
    static_assert(sizeof(place) == 16, "on disk: no padding");
    return crc32c(0, &place, sizeof(place));
}

size_t record_payload_offset(uint32_t key_len, int64_t expire_at_ms, unsigned kind)
{
    return sizeof(struct record_header) + (expire_at_ms != RECORD_NO_EXPIRY ? EXPIRY_BYTES : 0) +
           (kind == RECORD_CHUNK ? CHUNK_BYTES : 0) + key_len;
}

size_t record_size(const struct record *r)
{
    return bytes_align_up(record_payload_offset(r->key_len, r->expire_at_ms, r->kind) +
                              r->stored_len,
                          RECORD_ALIGN);
}

void record_encode(const struct record *r, uint32_t seed, void *dst)
{
    CHECK(r->key_len <= RECORD_KEY_MAX && r->stored_len <= RECORD_STORED_MAX);
    CHECK(r->raw_len <= RECORD_STORED_MAX && r->seq >> SEQ_BITS == 0);
    CHECK(r->kind <= RECORD_CHUNK && r->codec < 16);

    char *out = dst;
    char *p = out + sizeof(struct record_header);
    size_t payload = record_payload_offset(r->key_len, r->expire_at_ms, r->kind);
    size_t size = bytes_align_up(payload + r->stored_len, RECORD_ALIGN);
    /* The payload first: it may lie, shifted, in the bytes that the key is about to take. */
    if (r->stored_len != 0) {
        memmove(out + payload, r->stored, r->stored_len);
    }
    memset(out + payload + r->stored_len, 0, size - payload - r->stored_len);

    bool has_expiry = r->expire_at_ms != RECORD_NO_EXPIRY;
    if (has_expiry) {
        memcpy(p, &r->expire_at_ms, EXPIRY_BYTES);
        p += EXPIRY_BYTES;
    }
    if (r->kind == RECORD_CHUNK) {
        uint64_t chunk_no = r->chunk_no;
        memcpy(p, &chunk_no, CHUNK_BYTES);
        p += CHUNK_BYTES;
    }
    if (r->key_len != 0) {
        memmove(p, r->key, r->key_len);
    }
    struct record_header h = {
        .ns = r->ns,
        .identity = r->seq | (uint64_t)r->kind << KIND_SHIFT | (uint64_t)r->codec << CODEC_SHIFT |
                    (uint64_t)(has_expiry ? FLAG_EXPIRY : 0) << FLAGS_SHIFT,
        .lengths = r->key_len | (uint64_t)r->stored_len << STORED_SHIFT |
                   (uint64_t)r->raw_len << RAW_SHIFT,
    };
    memcpy(out, &h, sizeof(h));
    h.crc32c = crc32c(seed, out + sizeof(h.crc32c), size - sizeof(h.crc32c));
    memcpy(out, &h.crc32c, sizeof(h.crc32c));
}

/* Fields of a header whose CRC is not yet known to be right; false: cannot be one of ours. */
static bool header_unpack(const struct record_header *h, struct record *out, bool *has_expiry_out)
{
    unsigned flags = (unsigned)(h->identity >> FLAGS_SHIFT);
    *has_expiry_out = (flags & FLAG_EXPIRY) != 0;
    out->ns = h->ns;
    out->seq = h->identity & ((UINT64_C(1) << SEQ_BITS) - 1);
    out->kind = (uint8_t)(h->identity >> KIND_SHIFT & 15);
    out->codec = (uint8_t)(h->identity >> CODEC_SHIFT & 15);
    out->key_len = (uint32_t)(h->lengths & RECORD_KEY_MAX);
    out->stored_len = (uint32_t)(h->lengths >> STORED_SHIFT & LENGTH_MASK);
    out->raw_len = (uint32_t)(h->lengths >> RAW_SHIFT & LENGTH_MASK);
    if ((flags & ~FLAG_EXPIRY) != 0 || h->lengths >> SPARE_SHIFT != 0 || out->kind > RECORD_CHUNK ||
        (out->kind == RECORD_CHUNK && out->key_len != 0)) {
        return false;
    }
    return out->stored_len <= RECORD_STORED_MAX && out->raw_len <= RECORD_STORED_MAX;
}

enum status record_decode(const void *buf, size_t len, uint32_t seed, struct record *out)
{
    memset(out, 0, sizeof(*out));
    struct record_header h;
    if (len < sizeof(h)) {
        return CORRUPT;
    }
    memcpy(&h, buf, sizeof(h));
    struct record r = {.expire_at_ms = RECORD_NO_EXPIRY};
    bool has_expiry;
    if (!header_unpack(&h, &r, &has_expiry)) {
        return CORRUPT;
    }
    size_t payload = record_payload_offset(r.key_len, has_expiry ? 0 : RECORD_NO_EXPIRY, r.kind);
    size_t size = bytes_align_up(payload + r.stored_len, RECORD_ALIGN);
    if (size > len) {
        return CORRUPT;
    }
    const char *bytes = buf;
    if (crc32c(seed, bytes + sizeof(h.crc32c), size - sizeof(h.crc32c)) != h.crc32c) {
        return CORRUPT;
    }
    const char *p = bytes + sizeof(h);
    if (has_expiry) {
        memcpy(&r.expire_at_ms, p, EXPIRY_BYTES);
        p += EXPIRY_BYTES;
        if (r.expire_at_ms == RECORD_NO_EXPIRY) { /* would not encode to the same bytes */
            return CORRUPT;
        }
    }
    if (r.kind == RECORD_CHUNK) {
        memcpy(&r.chunk_no, p, sizeof(r.chunk_no));
        p += CHUNK_BYTES;
    }
    r.key = p;
    r.stored = bytes + payload;
    *out = r;
    return OK;
}
