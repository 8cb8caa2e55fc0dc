/*
 * Design: one zstd context per direction and thread, made at first use (a context per operation costs
 * 6 to 9 us). A frame carries neither magic number, content size, checksum nor dictionary id: the
 * record's header knows the length and its CRC covers the bytes, so a 100-byte value pays 2 bytes of
 * frame instead of 9.
 *
 * Invariants
 *   1. What codec_compress stores is shorter than the input by at least an eighth, or the input itself:
 *      it never needs more room than the input.
 *   2. The window is at most 64 KiB and the tables 2^15 entries: context memory is bounded whatever
 *      level and length; inputs up to 16 KiB are compressed exactly as without these bounds.
 *
 * Cost, JSON-like input, both directions' contexts used once (codec_memory_bytes, KiB; busy machine, us):
 *
 *                  180 B   1000 B  4 KiB   16 KiB  64 KiB to 1 MiB
 *      level 1       121      130    166      307      487
 *      level 3       122      134    182      371      615      (without bounds 1367 at 1 MiB)
 *      level 1, ratio 1.4, 2.2, 3.0, 3.2, 3.4; compress 3, 6, 17, 29, 157 us; decompress 1, 3, 6, 11, 39
 */
#include "tiers/codec.h"

#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"

/* zstd.h names these two only for static linking; their numbers are the same since 1.4.0. */
#define PARAM_C_FORMAT ZSTD_c_experimentalParam2
#define PARAM_D_FORMAT ZSTD_d_experimentalParam1
#define FORMAT_MAGICLESS 1

#define TRY_MIN_BYTES 64u
#define SMALL_MAX_BYTES (16u << 10) /* zstd's own parameters for these need no bounds */
#define WINDOW_LOG_MAX 16
#define TABLE_LOG_MAX 15

struct codec {
    ZSTD_CCtx *compressor;   /* NULL until first used */
    ZSTD_DCtx *decompressor; /* NULL until first used */
    int level;               /* the compressor is set to */
    bool is_bounded;         /* its window and tables are */
};

enum status codec_create(struct codec **out)
{
    *out = mem_zalloc(1, sizeof(**out));
    return *out != NULL ? OK : NO_MEMORY;
}

void codec_destroy(struct codec **c)
{
    if (*c != NULL) {
        ZSTD_freeCCtx((*c)->compressor);
        ZSTD_freeDCtx((*c)->decompressor);
        mem_free(*c);
        *c = NULL;
    }
}

size_t codec_bound(size_t raw_len)
{
    return raw_len;
}

size_t codec_memory_bytes(const struct codec *c)
{
    return mem_usable_size(c) + ZSTD_sizeof_CCtx(c->compressor) + ZSTD_sizeof_DCtx(c->decompressor);
}

static bool set(ZSTD_CCtx *ctx, ZSTD_cParameter param, int value)
{
    return !ZSTD_isError(ZSTD_CCtx_setParameter(ctx, param, value));
}

static bool compressor_create(struct codec *c)
{
    ZSTD_CCtx *ctx = ZSTD_createCCtx();
    if (ctx == NULL) {
        return false;
    }
    if (!set(ctx, PARAM_C_FORMAT, FORMAT_MAGICLESS) || !set(ctx, ZSTD_c_contentSizeFlag, 0) ||
        !set(ctx, ZSTD_c_checksumFlag, 0) || !set(ctx, ZSTD_c_dictIDFlag, 0)) {
        ZSTD_freeCCtx(ctx);
        return false;
    }
    c->compressor = ctx;
    return true;
}

/* 0 leaves a parameter to the level. */
static bool compressor_prepare(struct codec *c, int level, bool is_bounded)
{
    if (c->compressor == NULL && !compressor_create(c)) {
        return false;
    }
    if (c->level == level && c->is_bounded == is_bounded) {
        return true;
    }
    c->level = 0; /* unknown, should one of them fail */
    bool is_set = set(c->compressor, ZSTD_c_compressionLevel, level) &&
                  set(c->compressor, ZSTD_c_windowLog, is_bounded ? WINDOW_LOG_MAX : 0) &&
                  set(c->compressor, ZSTD_c_hashLog, is_bounded ? TABLE_LOG_MAX : 0) &&
                  set(c->compressor, ZSTD_c_chainLog, is_bounded ? TABLE_LOG_MAX : 0);
    c->level = is_set ? level : 0;
    c->is_bounded = is_bounded;
    return is_set;
}

enum codec_kind codec_compress(struct codec *c, int level, const void *src, size_t len, void *dst,
                               size_t cap, size_t *stored_len_out)
{
    CHECK(cap >= len);
    if (level != 0 && len >= TRY_MIN_BYTES && compressor_prepare(c, level, len > SMALL_MAX_BYTES)) {
        size_t n = ZSTD_compress2(c->compressor, dst, len - len / 8, src, len);
        if (!ZSTD_isError(n)) {
            *stored_len_out = n;
            return CODEC_ZSTD;
        }
        /* It did not fit: the frame is left half done, and parameters could not be set any more. */
        (void)ZSTD_CCtx_reset(c->compressor, ZSTD_reset_session_only);
    }
    if (len != 0) {
        memcpy(dst, src, len);
    }
    *stored_len_out = len;
    return CODEC_RAW;
}

static bool decompressor_create(struct codec *c)
{
    ZSTD_DCtx *ctx = ZSTD_createDCtx();
    if (ctx != NULL &&
        ZSTD_isError(ZSTD_DCtx_setParameter(ctx, PARAM_D_FORMAT, FORMAT_MAGICLESS))) {
        ZSTD_freeDCtx(ctx);
        ctx = NULL;
    }
    c->decompressor = ctx;
    return ctx != NULL;
}

enum status codec_decompress(struct codec *c, unsigned kind, const void *src, size_t stored_len,
                             void *dst, size_t raw_len)
{
    if (kind == CODEC_RAW) {
        if (stored_len != raw_len) {
            return CORRUPT;
        }
        if (raw_len != 0) {
            memcpy(dst, src, raw_len);
        }
        return OK;
    }
    if (kind != CODEC_ZSTD) {
        return CORRUPT;
    }
    if (c->decompressor == NULL && !decompressor_create(c)) {
        return NO_MEMORY;
    }
    size_t n = ZSTD_decompressDCtx(c->decompressor, dst, raw_len, src, stored_len);
    if (ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation) {
        return NO_MEMORY;
    }
    return n == raw_len ? OK : CORRUPT;
}
