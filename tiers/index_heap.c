/*
 * Design: a pool is an array of equal cells, always full but for its end, in regions of address space,
 * each four times the one before; only the pages that cells stand in are touched. Freeing a cell copies
 * the last one of the pool over it, which costs as much as the copy that brought the cell to its class.
 *
 *      region 0 (256 KiB)            region 1 (1 MiB)
 *     +------+------+------+------+ +------+------+- - - - - - - - - -+
 *     | cell | cell | cell | cell | | cell | cell |  never touched    |
 *     +------+------+------+------+ +------+------+- - - - - - - - - -+
 *                                            last ^
 * Invariants
 *   1. Pages beyond the last cell's are not resident, but for 1/TRIM_SHARE of the region's.
 *   2. A region is mapped only while a cell stands in it.
 *
 * Cost: half a page per class in use, about ten of them in a uniformly filled index: 4 MiB in 128
 * indexes whatever they hold, 0.3 B per key at 10 M keys, 2.5 at 1 M.
 * Rejected: jemalloc (its slabs keep holes of cells that moved on: 9.0 B per key allocated became 9.9
 * resident when the index only grew, 11.1 after churn, 24 after nine of ten keys had gone).
 */
#include "tiers/index_heap.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/bytes.h"
#include "engine/base/check.h"
#include "engine/base/fault.h"
#include "engine/base/mem.h"

#define CLASSES 82    /* index_heap_room's, to INDEX_HEAP_WORDS_MAX */
#define REGIONS_MAX 8 /* each four times the one before: 5 GiB for the smallest classes */
#define REGION_BYTES_MIN ((size_t)256 << 10)
#define REGION_CELLS_MIN 8u
#define TRIM_SHARE 64u /* of a large pool may lie idle, so that it calls the kernel rarely */

struct pool {
    char *region[REGIONS_MAX];
    unsigned n_regions;
    size_t cell_bytes;
    size_t last_bytes;     /* of the last region's cells */
    size_t resident_bytes; /* of the last region: whole pages */
};

struct index_heap {
    size_t page_bytes;
    uint64_t bytes;
    struct pool *pools[CLASSES]; /* NULL until used */
};

/* Of the classes in index_heap_room's order. */
static unsigned class_of(uint32_t words)
{
    uint32_t room = index_heap_room(words);
    if (room <= 16) {
        return room / 2 - 1;
    }
    if (room <= 64) {
        return 8 + (room - 16) / 8 - 1;
    }
    if (room <= 256) {
        return 14 + (room - 64) / 16 - 1;
    }
    unsigned octave = 31 - (unsigned)__builtin_clz(room - 1);
    return 26 + (octave - 8) * 8 + ((room - (1u << octave)) >> (octave - 3)) - 1;
}

static size_t region_bytes(const struct index_heap *heap, const struct pool *p, unsigned i)
{
    size_t least = REGION_CELLS_MIN * p->cell_bytes;
    size_t first = least > REGION_BYTES_MIN ? least : REGION_BYTES_MIN;
    return bytes_align_up(first, heap->page_bytes) << 2 * i;
}

/* What whole cells fill of it. */
static size_t region_room(const struct index_heap *heap, const struct pool *p, unsigned i)
{
    size_t bytes = region_bytes(heap, p, i);
    return bytes - bytes % p->cell_bytes;
}

struct index_heap *index_heap_create(void)
{
    struct index_heap *heap = mem_zalloc(1, sizeof(*heap));
    if (heap != NULL) {
        heap->page_bytes = (size_t)sysconf(_SC_PAGESIZE);
        heap->bytes = sizeof(*heap);
    }
    return heap;
}

void index_heap_destroy(struct index_heap **heap)
{
    if (*heap == NULL) {
        return;
    }
    for (unsigned i = 0; i < CLASSES; i++) {
        struct pool *p = (*heap)->pools[i];
        while (p != NULL && p->n_regions > 0) {
            p->n_regions--;
            munmap(p->region[p->n_regions], region_bytes(*heap, p, p->n_regions));
        }
        mem_free(p);
    }
    mem_free(*heap);
    *heap = NULL;
}

uint64_t index_heap_bytes(const struct index_heap *heap)
{
    return heap->bytes;
}

/* The pool goes on in an empty region. */
static bool region_add(struct index_heap *heap, struct pool *p)
{
    if (p->n_regions == REGIONS_MAX || FAULT_POINT(ALLOC) != OK) {
        return false;
    }
    size_t bytes = region_bytes(heap, p, p->n_regions);
    void *region = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region == MAP_FAILED) {
        return false;
    }
    (void)madvise(region, bytes, MADV_NOHUGEPAGE); /* a pool's end would cost up to 2 MiB */
    p->region[p->n_regions++] = region;
    p->last_bytes = 0;
    p->resident_bytes = 0;
    return true;
}

static void region_drop(struct index_heap *heap, struct pool *p)
{
    p->n_regions--;
    munmap(p->region[p->n_regions], region_bytes(heap, p, p->n_regions));
    heap->bytes -= p->resident_bytes;
    p->last_bytes = p->n_regions > 0 ? region_room(heap, p, p->n_regions - 1) : 0;
    p->resident_bytes = bytes_align_up(p->last_bytes, heap->page_bytes);
}

static struct pool *pool_get(struct index_heap *heap, uint32_t words)
{
    struct pool **p = &heap->pools[class_of(words)];
    if (*p == NULL) {
        *p = mem_zalloc(1, sizeof(**p));
        if (*p != NULL) {
            (*p)->cell_bytes = index_heap_room(words) * sizeof(uint64_t);
            heap->bytes += sizeof(**p);
        }
    }
    return *p;
}

uint64_t *index_heap_alloc(struct index_heap *heap, uint32_t words)
{
    DCHECK(words > 0 && words <= INDEX_HEAP_WORDS_MAX);
    struct pool *p = pool_get(heap, words);
    if (p == NULL) {
        return NULL;
    }
    if ((p->n_regions == 0 || p->last_bytes == region_room(heap, p, p->n_regions - 1)) &&
        !region_add(heap, p)) {
        return NULL;
    }
    char *cell = p->region[p->n_regions - 1] + p->last_bytes;
    p->last_bytes += p->cell_bytes;
    if (p->last_bytes > p->resident_bytes) {
        size_t resident = bytes_align_up(p->last_bytes, heap->page_bytes);
        heap->bytes += resident - p->resident_bytes;
        p->resident_bytes = resident;
    }
    return (uint64_t *)cell;
}

/* Gives back what lies beyond the last cell. */
static void pool_trim(struct index_heap *heap, struct pool *p)
{
    if (p->last_bytes == 0) {
        region_drop(heap, p);
        return;
    }
    size_t needed = bytes_align_up(p->last_bytes, heap->page_bytes);
    size_t surplus = p->resident_bytes - needed;
    if (surplus > 0 && surplus >= p->last_bytes / TRIM_SHARE &&
        madvise(p->region[p->n_regions - 1] + needed, surplus, MADV_DONTNEED) == 0) {
        p->resident_bytes = needed;
        heap->bytes -= surplus;
    }
}

bool index_heap_free(struct index_heap *heap, uint64_t *cell, uint32_t words)
{
    struct pool *p = heap->pools[class_of(words)];
    p->last_bytes -= p->cell_bytes;
    uint64_t *last = (uint64_t *)(p->region[p->n_regions - 1] + p->last_bytes);
    bool is_moved = last != cell;
    if (is_moved) {
        memcpy(cell, last, p->cell_bytes);
    }
    pool_trim(heap, p);
    return is_moved;
}
