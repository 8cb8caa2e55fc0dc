/*
 * jemalloc is reached through a weak symbol: the same object links into programs, where jemalloc is
 * malloc, and into sanitizer builds, where the sanitizer is.
 */
#include "engine/base/mem.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/base/fault.h"

extern int mallctl(const char *name, void *old, size_t *old_len, void *new_value, size_t new_len)
    __attribute__((weak));

/* MALLCTL_ARENAS_ALL of jemalloc 5. */
#define MEM_PURGE_ALL "arena.4096.purge"

static bool may_allocate(void)
{
    return FAULT_POINT(ALLOC) == OK;
}

static size_t at_least_one(size_t size)
{
    return size > 0 ? size : 1;
}

void *mem_alloc(size_t size)
{
    return may_allocate() ? malloc(at_least_one(size)) : NULL;
}

void *mem_zalloc(size_t n, size_t size)
{
    return may_allocate() ? calloc(at_least_one(n), at_least_one(size)) : NULL;
}

void *mem_realloc(void *p, size_t size)
{
    return may_allocate() ? realloc(p, at_least_one(size)) : NULL;
}

void *mem_aligned_alloc(size_t align, size_t size)
{
    void *p = NULL;
    if (!may_allocate() || posix_memalign(&p, align, at_least_one(size)) != 0) {
        return NULL;
    }
    return p;
}

void mem_free(void *p)
{
    free(p);
}

size_t mem_usable_size(const void *p)
{
    return malloc_usable_size((void *)p);
}

uint64_t mem_rss_bytes(void)
{
    char text[128];
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n <= 0) {
        return 0;
    }
    text[n] = '\0';
    unsigned long long pages = 0;
    if (sscanf(text, "%*u %llu", &pages) != 1) {
        return 0;
    }
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

bool mem_has_jemalloc(void)
{
    return mallctl != NULL;
}

static uint64_t read_stat(const char *name)
{
    size_t value = 0;
    size_t len = sizeof(value);
    return mallctl(name, &value, &len, NULL, 0) == 0 ? value : 0;
}

enum status mem_stats_read(struct mem_stats *out)
{
    *out = (struct mem_stats){0};
    if (!mem_has_jemalloc()) {
        return NOT_FOUND;
    }
    uint64_t epoch = 1;
    size_t len = sizeof(epoch);
    mallctl("epoch", &epoch, &len, &epoch, len);
    out->allocated_bytes = read_stat("stats.allocated");
    out->active_bytes = read_stat("stats.active");
    out->metadata_bytes = read_stat("stats.metadata");
    out->resident_bytes = read_stat("stats.resident");
    out->mapped_bytes = read_stat("stats.mapped");
    out->retained_bytes = read_stat("stats.retained");
    return OK;
}

enum status mem_purge(void)
{
    if (!mem_has_jemalloc()) {
        return NOT_FOUND;
    }
    return mallctl(MEM_PURGE_ALL, NULL, NULL, NULL, 0) == 0 ? OK : INVALID;
}
