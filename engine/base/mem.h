/*
 * Purpose: what the process' memory is, and allocation that a test can make fail.
 * Threads: any.
 * Errors: allocation returns NULL, never aborts. Readings return 0 or NOT_FOUND when there is
 *   nothing to read (the sanitizer builds have no jemalloc).
 */
#ifndef HEARTH_BASE_MEM_H
#define HEARTH_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"

/* malloc, calloc, realloc, aligned_alloc (a power of two) behind the fault point "alloc". A size of 0
 * yields a pointer like any other. */
__attribute__((malloc)) void *mem_alloc(size_t size);
__attribute__((malloc)) void *mem_zalloc(size_t n, size_t size);
void *mem_realloc(void *p, size_t size);
__attribute__((malloc)) void *mem_aligned_alloc(size_t align, size_t size);
void mem_free(void *p);
/* What the allocator really spends on p, at least what was asked for; 0 for NULL. */
size_t mem_usable_size(const void *p);

/* Resident set size, from /proc/self/statm; 0 when it cannot be read. */
uint64_t mem_rss_bytes(void);

struct mem_stats {
    uint64_t allocated_bytes; /* handed out */
    uint64_t active_bytes;    /* pages with anything handed out */
    uint64_t metadata_bytes;
    uint64_t resident_bytes; /* physical pages the allocator holds */
    uint64_t mapped_bytes;
    uint64_t retained_bytes; /* address space kept without pages */
};

bool mem_has_jemalloc(void);
/* Refreshes jemalloc's figures first (takes microseconds). NOT_FOUND: no jemalloc. */
MUST_CHECK enum status mem_stats_read(struct mem_stats *out);
/* Gives unused pages of all arenas back to the kernel now; may take milliseconds. NOT_FOUND: no
 * jemalloc. */
MUST_CHECK enum status mem_purge(void);

#endif
