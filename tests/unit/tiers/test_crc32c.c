#include "tiers/crc32c.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support/unit.h"

typedef uint32_t (*crc_fn)(uint32_t crc, const void *data, size_t len);
static const crc_fn implementations[] = {crc32c, crc32c_portable};

static void random_fill(unsigned char *p, size_t len)
{
    uint64_t state = 1;
    for (size_t i = 0; i < len; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        p[i] = (unsigned char)(state >> 56);
    }
}

/* Bit by bit, as the definition has it. */
static uint32_t by_definition(uint32_t crc, const unsigned char *p, size_t len)
{
    crc = ~crc;
    for (size_t i = 0; i < len; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc & 1) != 0 ? crc >> 1 ^ 0x82F63B78 : crc >> 1;
        }
    }
    return ~crc;
}

START_TEST(published_vectors)
{
    /* RFC 3720, B.4. */
    unsigned char bytes[32];
    for (int k = 0; k < 2; k++) {
        crc_fn crc = implementations[k];
        ck_assert_uint_eq(crc(0, "123456789", 9), 0xE3069283);
        ck_assert_uint_eq(crc(0, "", 0), 0);
        ck_assert_uint_eq(crc(77, NULL, 0), 77);
        memset(bytes, 0, sizeof(bytes));
        ck_assert_uint_eq(crc(0, bytes, sizeof(bytes)), 0x8A9136AA);
        memset(bytes, 0xff, sizeof(bytes));
        ck_assert_uint_eq(crc(0, bytes, sizeof(bytes)), 0x62A8AB43);
        for (unsigned i = 0; i < 32; i++) {
            bytes[i] = (unsigned char)i;
        }
        ck_assert_uint_eq(crc(0, bytes, sizeof(bytes)), 0x46DD794E);
        for (unsigned i = 0; i < 32; i++) {
            bytes[i] = (unsigned char)(31 - i);
        }
        ck_assert_uint_eq(crc(0, bytes, sizeof(bytes)), 0x113FDB5C);
    }
}
END_TEST

/* Exact allocations, so that a sanitizer sees a byte read beyond either end. */
START_TEST(every_length_and_alignment)
{
    static unsigned char source[70000];
    random_fill(source, sizeof(source));
    for (size_t len = 0; len < 7000; len = len < 1500 ? len + 1 : len + 61) {
        size_t shift = len % 17;
        unsigned char *copy = malloc(shift + len + 1);
        memcpy(copy + shift, source + len % 100, len);
        uint32_t start = (uint32_t)len * 2654435761u;
        uint32_t expected = by_definition(start, copy + shift, len);
        ck_assert_uint_eq(crc32c(start, copy + shift, len), expected);
        ck_assert_uint_eq(crc32c_portable(start, copy + shift, len), expected);
        free(copy);
    }
    ck_assert_uint_eq(crc32c(5, source, sizeof(source)), by_definition(5, source, sizeof(source)));
}
END_TEST

START_TEST(chains)
{
    static unsigned char source[20000];
    random_fill(source, sizeof(source));
    for (int k = 0; k < 2; k++) {
        uint32_t whole = implementations[k](9, source, sizeof(source));
        for (size_t cut = 0; cut <= sizeof(source); cut += 173) {
            uint32_t part = implementations[k](9, source, cut);
            /* Either continues what the other began. */
            ck_assert_uint_eq(implementations[!k](part, source + cut, sizeof(source) - cut), whole);
        }
    }
}
END_TEST

START_TEST(every_bit_counts)
{
    static unsigned char source[1000];
    random_fill(source, sizeof(source));
    uint32_t whole = crc32c(0, source, sizeof(source));
    for (size_t bit = 0; bit < 8 * sizeof(source); bit++) {
        source[bit / 8] ^= (unsigned char)(1u << bit % 8);
        ck_assert_uint_ne(crc32c(0, source, sizeof(source)), whole);
        source[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
}
END_TEST

UNIT_MAIN("crc32c", {published_vectors}, {every_length_and_alignment}, {chains}, {every_bit_counts})
