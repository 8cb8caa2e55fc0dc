#include "tiers/codec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/fault.h"
#include "tests/support/unit.h"

#define LEN_MAX ((size_t)1 << 20)

static const int levels[] = {-5, 1, 2, 3, 5, 9, 19};
#define LEVELS (sizeof(levels) / sizeof(levels[0]))

static uint64_t random_state = 1;

static uint32_t random_u32(void)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(random_state >> 32);
}

static char text[LEN_MAX];

static void text_make(void)
{
    static const char *const words[] = {"name", "email", "berlin", "street",
                                        "true", "null",  "1234"};
    size_t n = 0;
    while (n < LEN_MAX - 200) {
        n += (size_t)sprintf(text + n, "{\"id\":%u,\"%s\":\"%s\",\"%s\":%u}", random_u32(),
                             words[random_u32() % 7], words[random_u32() % 7],
                             words[random_u32() % 7], random_u32() % 1000);
    }
}

/* Through exact allocations; returns the kind. */
static enum codec_kind round_trip(struct codec *c, int level, const char *src, size_t len)
{
    char *stored = malloc(codec_bound(len) + 1);
    char *back = malloc(len + 1);
    size_t stored_len = 0;
    enum codec_kind kind =
        codec_compress(c, level, src, len, stored, codec_bound(len), &stored_len);
    ck_assert_uint_le(stored_len, len);
    ck_assert(kind == CODEC_RAW ? stored_len == len : stored_len <= len - len / 8);
    stored = realloc(stored, stored_len + 1);
    ck_assert_int_eq(codec_decompress(c, kind, stored, stored_len, back, len), OK);
    ck_assert_int_eq(memcmp(back, src, len), 0);
    free(stored);
    free(back);
    return kind;
}

START_TEST(text_of_every_size)
{
    struct codec *c;
    text_make();
    ck_assert_int_eq(codec_create(&c), OK);
    for (size_t k = 0; k < LEVELS; k++) {
        for (size_t len = 0; len < 600; len += 1 + len / 20) {
            enum codec_kind kind = round_trip(c, levels[k], text, len);
            ck_assert(len >= 64 || kind == CODEC_RAW);
        }
        ck_assert_int_eq(round_trip(c, levels[k], text, 4000), CODEC_ZSTD);
        ck_assert_int_eq(round_trip(c, levels[k], text, 16384), CODEC_ZSTD);
        ck_assert_int_eq(round_trip(c, levels[k], text, 16385), CODEC_ZSTD);
        ck_assert_int_eq(round_trip(c, levels[k], text, 100000), CODEC_ZSTD);
    }
    ck_assert_int_eq(round_trip(c, 1, text, LEN_MAX), CODEC_ZSTD);
    ck_assert_int_eq(round_trip(c, 3, text, LEN_MAX), CODEC_ZSTD);
    codec_destroy(&c);
    ck_assert_ptr_null(c);
    codec_destroy(&c);
}
END_TEST

START_TEST(level_0_is_raw)
{
    struct codec *c;
    text_make();
    ck_assert_int_eq(codec_create(&c), OK);
    size_t before = codec_memory_bytes(c);
    ck_assert_int_eq(round_trip(c, 0, text, 10000), CODEC_RAW);
    ck_assert_uint_eq(codec_memory_bytes(c), before); /* no contexts */
    ck_assert_uint_lt(before, 1000);
    codec_destroy(&c);
}
END_TEST

START_TEST(noise_stays_raw)
{
    static char noise[200000];
    struct codec *c;
    for (size_t i = 0; i < sizeof(noise); i++) {
        noise[i] = (char)random_u32();
    }
    ck_assert_int_eq(codec_create(&c), OK);
    for (size_t len = 64; len <= sizeof(noise); len = len * 3 / 2) {
        ck_assert_int_eq(round_trip(c, 1, noise, len), CODEC_RAW);
        ck_assert_int_eq(round_trip(c, 3, noise, len), CODEC_RAW);
    }
    codec_destroy(&c);
}
END_TEST

START_TEST(frames_carry_nothing_twice)
{
    struct codec *c;
    static const char zeros[200];
    char stored[200];
    size_t len;
    ck_assert_int_eq(codec_create(&c), OK);
    ck_assert_int_eq(codec_compress(c, 1, zeros, sizeof(zeros), stored, sizeof(stored), &len),
                     CODEC_ZSTD);
    ck_assert_uint_le(len, 16); /* a frame with magic, size and checksum has 9 bytes more */
    codec_destroy(&c);
}
END_TEST

START_TEST(memory_is_bounded)
{
    const size_t bound[LEVELS] = {512 << 10, 512 << 10, 512 << 10, 640 << 10,
                                  640 << 10, 640 << 10, 1200 << 10};
    text_make();
    for (size_t k = 0; k < LEVELS; k++) {
        struct codec *c;
        ck_assert_int_eq(codec_create(&c), OK);
        (void)round_trip(c, levels[k], text, 1000);
        ck_assert_uint_le(codec_memory_bytes(c), 320 << 10);
        (void)round_trip(c, levels[k], text, 300000);
        if (levels[k] < 9) {
            (void)round_trip(c, levels[k], text, LEN_MAX);
        }
        ck_assert_uint_le(codec_memory_bytes(c), bound[k]);
        codec_destroy(&c);
    }
}
END_TEST

START_TEST(wrong_bytes_are_corrupt)
{
    struct codec *c;
    char stored[2000];
    char back[2001];
    size_t len;
    text_make();
    ck_assert_int_eq(codec_create(&c), OK);
    ck_assert_int_eq(codec_decompress(c, CODEC_RAW, text, 10, back, 11), CORRUPT);
    ck_assert_int_eq(codec_decompress(c, 2, text, 10, back, 10), CORRUPT);
    ck_assert_int_eq(codec_decompress(c, 15, text, 10, back, 10), CORRUPT);
    ck_assert_int_eq(codec_compress(c, 1, text, 2000, stored, sizeof(stored), &len), CODEC_ZSTD);
    ck_assert_int_eq(codec_decompress(c, CODEC_ZSTD, stored, len, back, 1999), CORRUPT);
    ck_assert_int_eq(codec_decompress(c, CODEC_ZSTD, stored, len, back, 2001), CORRUPT);
    ck_assert_int_eq(codec_decompress(c, CODEC_ZSTD, stored, 0, back, 2000), CORRUPT);
    ck_assert_int_eq(codec_decompress(c, CODEC_ZSTD, text, 2000, back, 2000), CORRUPT);
    for (size_t cut = 1; cut < len; cut++) {
        char *part = malloc(cut);
        memcpy(part, stored, cut);
        ck_assert_int_eq(codec_decompress(c, CODEC_ZSTD, part, cut, back, 2000), CORRUPT);
        free(part);
    }
    for (unsigned i = 0; i < 20000;
         i++) { /* any answer but a crash: the record's CRC finds these */
        size_t at = random_u32() % len;
        char was = stored[at];
        stored[at] = (char)random_u32();
        char *exact = malloc(2000);
        enum status st = codec_decompress(c, CODEC_ZSTD, stored, len, exact, 2000);
        ck_assert(st == OK || st == CORRUPT);
        free(exact);
        stored[at] = was;
    }
    ck_assert_int_eq(codec_decompress(c, CODEC_ZSTD, stored, len, back, 2000), OK);
    ck_assert_int_eq(memcmp(back, text, 2000), 0);
    codec_destroy(&c);
}
END_TEST

/* Contexts that were used for everything else before give the same bytes as fresh ones. */
START_TEST(history_leaves_no_trace)
{
    struct codec *used;
    text_make();
    ck_assert_int_eq(codec_create(&used), OK);
    for (unsigned i = 0; i < 300; i++) {
        struct codec *fresh;
        char stored[2][30000];
        size_t len[2];
        size_t n = 64 + random_u32() % (i % 3 == 0 ? 29000 : 1000);
        size_t at = random_u32() % 100000;
        int level = levels[random_u32() % 5];
        ck_assert_int_eq(codec_create(&fresh), OK);
        enum codec_kind a = codec_compress(used, level, text + at, n, stored[0], n, &len[0]);
        enum codec_kind b = codec_compress(fresh, level, text + at, n, stored[1], n, &len[1]);
        ck_assert_int_eq(a, b);
        ck_assert_uint_eq(len[0], len[1]);
        ck_assert_mem_eq(stored[0], stored[1], len[0]);
        codec_destroy(&fresh);
    }
    codec_destroy(&used);
}
END_TEST

START_TEST(room_is_checked)
{
    struct codec *c;
    char dst[99];
    size_t len;
    ck_assert_int_eq(codec_create(&c), OK);
    (void)codec_compress(c, 1, text, 100, dst, sizeof(dst), &len);
}
END_TEST

UNIT_MAIN("codec", {text_of_every_size}, {level_0_is_raw}, {noise_stays_raw},
          {frames_carry_nothing_twice}, {memory_is_bounded}, {wrong_bytes_are_corrupt},
          {history_leaves_no_trace}, {room_is_checked, SIGABRT})
