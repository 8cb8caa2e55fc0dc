#include "tiers/record.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support/unit.h"
#include "tiers/crc32c.h"

#define SEED 12345u

static struct record example(void)
{
    return (struct record){
        .seq = UINT64_C(0xabcdef012345),
        .ns = 7,
        .expire_at_ms = RECORD_NO_EXPIRY,
        .key = "the key",
        .key_len = 7,
        .stored = "some stored bytes",
        .stored_len = 17,
        .raw_len = 17,
        .kind = RECORD_VALUE,
    };
}

static void assert_same(const struct record *a, const struct record *b)
{
    ck_assert_uint_eq(a->seq, b->seq);
    ck_assert_uint_eq(a->ns, b->ns);
    ck_assert_uint_eq(a->chunk_no, b->chunk_no);
    ck_assert_int_eq(a->expire_at_ms, b->expire_at_ms);
    ck_assert_uint_eq(a->key_len, b->key_len);
    ck_assert_uint_eq(a->stored_len, b->stored_len);
    ck_assert_uint_eq(a->raw_len, b->raw_len);
    ck_assert_uint_eq(a->kind, b->kind);
    ck_assert_uint_eq(a->codec, b->codec);
    ck_assert(a->key_len == 0 || memcmp(a->key, b->key, a->key_len) == 0);
    ck_assert(a->stored_len == 0 || memcmp(a->stored, b->stored, a->stored_len) == 0);
}

/* Encodes, decodes, compares; returns the encoded bytes. */
static char *round_trip(const struct record *r)
{
    struct record out;
    size_t size = record_size(r);
    char *buf = malloc(size);
    ck_assert_uint_eq(size % RECORD_ALIGN, 0);
    record_encode(r, SEED, buf);
    ck_assert_int_eq(record_decode(buf, size, SEED, &out), OK);
    assert_same(r, &out);
    ck_assert_uint_eq(out.hash, 0);
    ck_assert_ptr_eq(out.stored, buf + record_payload_offset(r->key_len, r->expire_at_ms, r->kind));
    ck_assert_int_eq(record_decode(buf, size - 1, SEED, &out), CORRUPT);
    return buf;
}

START_TEST(kinds)
{
    struct record r = example();
    free(round_trip(&r));
    ck_assert_uint_eq(record_size(&r), 48); /* 24 + 7 + 17 */
    r.expire_at_ms = INT64_C(1700000000000);
    free(round_trip(&r));
    r.kind = RECORD_HEAD;
    r.codec = 1;
    r.raw_len = RECORD_STORED_MAX;
    free(round_trip(&r));
    r.kind = RECORD_CHUNK;
    r.key_len = 0;
    r.chunk_no = UINT32_MAX;
    free(round_trip(&r));
    r.expire_at_ms = RECORD_NO_EXPIRY;
    free(round_trip(&r));
}
END_TEST

START_TEST(limits)
{
    char *key = calloc(1, RECORD_KEY_MAX), *value = calloc(1, RECORD_STORED_MAX);
    memset(key, 'k', RECORD_KEY_MAX);
    memset(value, 'v', RECORD_STORED_MAX);
    struct record r = example();
    r.key = key;
    r.stored = value;
    for (int i = 0; i < 8; i++) {
        r.key_len = (i & 1) != 0 ? RECORD_KEY_MAX : 0;
        r.stored_len = r.raw_len = (i & 2) != 0 ? RECORD_STORED_MAX : 0;
        r.seq = (i & 4) != 0 ? (UINT64_C(1) << 48) - 1 : 0;
        free(round_trip(&r));
    }
    free(key);
    free(value);
}
END_TEST

START_TEST(payload_in_place)
{
    struct record r = example(), out;
    char buf[128];
    size_t at = record_payload_offset(r.key_len, r.expire_at_ms, r.kind);
    memcpy(buf + at, "some stored bytes", 17);
    r.stored = buf + at;
    record_encode(&r, SEED, buf);
    ck_assert_int_eq(record_decode(buf, record_size(&r), SEED, &out), OK);
    ck_assert_int_eq(memcmp(out.stored, "some stored bytes", 17), 0);
    /* Moved 16 bytes on, as a record that goes to the next page is. */
    r = out;
    record_encode(&r, SEED + 1, buf + 16);
    ck_assert_int_eq(record_decode(buf + 16, record_size(&r), SEED + 1, &out), OK);
    ck_assert_int_eq(memcmp(out.stored, "some stored bytes", 17), 0);
}
END_TEST

START_TEST(every_bit_counts)
{
    struct record r = example(), out;
    r.expire_at_ms = 5;
    char *buf = round_trip(&r);
    size_t size = record_size(&r);
    for (size_t bit = 0; bit < size * 8; bit++) {
        buf[bit / 8] = (char)(buf[bit / 8] ^ 1 << bit % 8);
        ck_assert_int_eq(record_decode(buf, size, SEED, &out), CORRUPT);
        buf[bit / 8] = (char)(buf[bit / 8] ^ 1 << bit % 8);
    }
    ck_assert_int_eq(record_decode(buf, size, SEED, &out), OK);
    free(buf);
}
END_TEST

START_TEST(place_counts)
{
    ck_assert_uint_ne(record_seed(1, 1, 1), record_seed(2, 1, 1));
    ck_assert_uint_ne(record_seed(1, 1, 1), record_seed(1, 2, 1));
    ck_assert_uint_ne(record_seed(1, 1, 1), record_seed(1, 1, 2));
    struct record r = example(), out;
    char buf[64];
    record_encode(&r, record_seed(3, 4, 5), buf);
    ck_assert_int_eq(record_decode(buf, 64, record_seed(3, 4, 5), &out), OK);
    ck_assert_int_eq(record_decode(buf, 64, record_seed(3, 5, 5), &out), CORRUPT);
    ck_assert_int_eq(record_decode(buf, 64, record_seed(3, 4, 6), &out), CORRUPT);
}
END_TEST

/* A CRC that fits does not excuse fields that cannot be. */
static enum status decode_forged(size_t at, uint8_t set)
{
    struct record r = example(), out;
    char buf[64] = {0};
    record_encode(&r, SEED, buf);
    buf[at] = (char)set;
    uint32_t crc = crc32c(SEED, buf + 4, record_size(&r) - 4);
    memcpy(buf, &crc, 4);
    return record_decode(buf, sizeof(buf), SEED, &out);
}

START_TEST(forged_fields)
{
    ck_assert_int_eq(decode_forged(4, 99), OK);         /* namespace: any */
    ck_assert_int_eq(decode_forged(14, 0x03), CORRUPT); /* kind 3 */
    ck_assert_int_eq(decode_forged(14, 0x02), CORRUPT); /* a chunk with a key */
    ck_assert_int_eq(decode_forged(15, 0x02), CORRUPT); /* unknown flag */
    ck_assert_int_eq(decode_forged(23, 0x04), CORRUPT); /* spare bits */
    ck_assert_int_eq(decode_forged(17, 0x01), CORRUPT); /* key beyond the buffer */
    ck_assert_int_eq(decode_forged(20, 0x10), CORRUPT); /* stored_len over the maximum */
}
END_TEST

START_TEST(short_buffers)
{
    struct record r = example(), out;
    char buf[64];
    record_encode(&r, SEED, buf);
    for (size_t len = 0; len < record_size(&r); len++) {
        ck_assert_int_eq(record_decode(buf, len, SEED, &out), CORRUPT);
    }
}
END_TEST

UNIT_MAIN("record", {kinds}, {limits}, {payload_in_place}, {every_bit_counts}, {place_counts},
          {forged_fields}, {short_buffers})
