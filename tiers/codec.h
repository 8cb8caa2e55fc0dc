/*
 * Purpose: zstd for single values: one context per thread, values that do not shrink by an eighth
 *   stay raw. Place for trained dictionaries: a stored value names its codec and dictionary.
 * Threads: a struct codec belongs to one thread.
 * Errors: CORRUPT when bytes do not decompress to exactly the promised length.
 */
#ifndef HEARTH_TIERS_CODEC_H
#define HEARTH_TIERS_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"

struct codec;

enum codec_kind { CODEC_RAW = 0, CODEC_ZSTD = 1 }; /* on disk; never renumber */

MUST_CHECK enum status codec_create(struct codec **out);
void codec_destroy(struct codec **c);
size_t codec_bound(size_t raw_len); /* room codec_compress needs at most */
/* level 0: raw. Returns the kind; *stored_len_out bytes are in dst. Raw is copied. Values under 64
 * bytes are never tried. */
enum codec_kind codec_compress(struct codec *c, int level, const void *src, size_t len, void *dst,
                               size_t cap, size_t *stored_len_out);
/* dst has raw_len bytes. INVALID kinds are CORRUPT. */
MUST_CHECK enum status codec_decompress(struct codec *c, unsigned kind, const void *src,
                                        size_t stored_len, void *dst, size_t raw_len);
size_t codec_memory_bytes(const struct codec *c);

#endif
