#include "engine/base/mem.h"

#include <string.h>

#include "engine/base/bytes.h"
#include "engine/base/fault.h"
#include "tests/support/unit.h"

START_TEST(allocates_and_frees)
{
    char *p = mem_alloc(100);
    ck_assert_ptr_nonnull(p);
    ck_assert_uint_ge(mem_usable_size(p), 100);
    memset(p, 1, 100);
    p = mem_realloc(p, 100000);
    ck_assert_ptr_nonnull(p);
    ck_assert_int_eq(p[99], 1);
    mem_free(p);
    uint64_t *zeroes = mem_zalloc(100, sizeof(*zeroes));
    ck_assert_ptr_nonnull(zeroes);
    for (int i = 0; i < 100; i++) {
        ck_assert_uint_eq(zeroes[i], 0);
    }
    mem_free(zeroes);
    mem_free(NULL);
    ck_assert_uint_eq(mem_usable_size(NULL), 0);
}
END_TEST

START_TEST(size_zero_is_a_pointer)
{
    void *p = mem_alloc(0);
    ck_assert_ptr_nonnull(p);
    p = mem_realloc(p, 0); /* C's own would free it */
    ck_assert_ptr_nonnull(p);
    mem_free(p);
}
END_TEST

START_TEST(aligned)
{
    for (size_t align = 64; align <= 4096; align *= 2) {
        void *p = mem_aligned_alloc(align, 3 * 4096);
        ck_assert_ptr_nonnull(p);
        ck_assert(bytes_is_aligned(p, align));
        mem_free(p);
    }
}
END_TEST

static volatile size_t absurd = SIZE_MAX / 4; /* volatile: gcc warns of it otherwise */

START_TEST(too_much_is_null)
{
    ck_assert_ptr_null(mem_alloc(absurd));
    ck_assert_ptr_null(mem_zalloc(absurd, 16));
    ck_assert_ptr_null(mem_aligned_alloc(4096, absurd));
    char *p = mem_alloc(10);
    ck_assert_ptr_nonnull(p);
    ck_assert_ptr_null(mem_realloc(p, absurd));
    mem_free(p); /* the old block is still there */
}
END_TEST

START_TEST(rss_follows_touched_pages)
{
    const size_t size = 64 << 20;
    uint64_t before = mem_rss_bytes();
    ck_assert_uint_gt(before, 0);
    char *p = mem_alloc(size);
    ck_assert_ptr_nonnull(p);
    memset(p, 1, size);
    ck_assert_uint_ge(mem_rss_bytes(), before + size / 2);
    mem_free(p);
}
END_TEST

START_TEST(jemalloc_or_not_found)
{
    struct mem_stats stats;
#ifdef HEARTH_JEMALLOC /* the build links it: without it the byte budget does not hold */
    ck_assert(mem_has_jemalloc());
#endif
    if (!mem_has_jemalloc()) {
        ck_assert_int_eq(mem_stats_read(&stats), NOT_FOUND);
        ck_assert_int_eq(mem_purge(), NOT_FOUND);
        return;
    }
    void *p = mem_alloc(32 << 20);
    memset(p, 1, 32 << 20);
    ck_assert_int_eq(mem_stats_read(&stats), OK);
    ck_assert_uint_ge(stats.allocated_bytes, 32 << 20);
    ck_assert_uint_ge(stats.active_bytes, stats.allocated_bytes);
    ck_assert_uint_ge(stats.resident_bytes, stats.active_bytes);
    mem_free(p);
    ck_assert_int_eq(mem_purge(), OK);
    struct mem_stats after;
    ck_assert_int_eq(mem_stats_read(&after), OK);
    ck_assert_uint_lt(after.resident_bytes, stats.resident_bytes - (16 << 20));
}
END_TEST

#ifdef HEARTH_TEST
START_TEST(the_nth_allocation_fails)
{
    ck_assert_int_eq(fault_arm("alloc=NO_MEMORY@2"), OK);
    void *first = mem_alloc(1);
    void *second = mem_alloc(1);
    void *third = mem_zalloc(1, 1);
    ck_assert_ptr_nonnull(first);
    ck_assert_ptr_null(second);
    ck_assert_ptr_nonnull(third);
    ck_assert_int_eq(fault_arm("alloc=NO_MEMORY"), OK);
    ck_assert_ptr_null(mem_realloc(first, 50));
    ck_assert_ptr_null(mem_aligned_alloc(64, 64));
    ck_assert_int_eq(fault_arm(NULL), OK);
    mem_free(first);
    mem_free(third);
}
END_TEST
#else
START_TEST(the_nth_allocation_fails)
{
    /* Fault points are compiled out: an armed one changes nothing. */
    ck_assert_int_eq(fault_arm("alloc=NO_MEMORY"), OK);
    void *p = mem_alloc(1);
    ck_assert_ptr_nonnull(p);
    mem_free(p);
}
END_TEST
#endif

UNIT_MAIN("mem", {allocates_and_frees}, {size_zero_is_a_pointer}, {aligned}, {too_much_is_null},
          {rss_follows_touched_pages}, {jemalloc_or_not_found}, {the_nth_allocation_fails})
