/*
 * Purpose: little-endian loads and stores at any address, power-of-two alignment, min and max.
 * Threads: pure functions. Errors: none; alignments must be powers of two.
 */
#ifndef HEARTH_BASE_BYTES_H
#define HEARTH_BASE_BYTES_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t bytes_load_u16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof(v));
    return le16toh(v);
}

static inline uint32_t bytes_load_u32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return le32toh(v);
}

static inline uint64_t bytes_load_u64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return le64toh(v);
}

/* Six bytes: versions and locations are 48 bits. */
static inline uint64_t bytes_load_u48(const void *p)
{
    return bytes_load_u32(p) | (uint64_t)bytes_load_u16((const char *)p + 4) << 32;
}

static inline void bytes_store_u16(void *p, uint16_t v)
{
    v = htole16(v);
    memcpy(p, &v, sizeof(v));
}

static inline void bytes_store_u32(void *p, uint32_t v)
{
    v = htole32(v);
    memcpy(p, &v, sizeof(v));
}

static inline void bytes_store_u64(void *p, uint64_t v)
{
    v = htole64(v);
    memcpy(p, &v, sizeof(v));
}

/* The upper 16 bits of v are dropped. */
static inline void bytes_store_u48(void *p, uint64_t v)
{
    bytes_store_u32(p, (uint32_t)v);
    bytes_store_u16((char *)p + 4, (uint16_t)(v >> 32));
}

static inline bool bytes_is_power_of_two(uint64_t v)
{
    return v != 0 && (v & (v - 1)) == 0;
}

static inline uint64_t bytes_align_down(uint64_t v, uint64_t align)
{
    return v & ~(align - 1);
}

/* Wraps to 0 above UINT64_MAX - align + 1. */
static inline uint64_t bytes_align_up(uint64_t v, uint64_t align)
{
    return (v + align - 1) & ~(align - 1);
}

static inline bool bytes_is_aligned(const void *p, uint64_t align)
{
    return ((uintptr_t)p & (align - 1)) == 0;
}

static inline uint64_t bytes_min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t bytes_max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static inline int64_t bytes_min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t bytes_max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

#endif
