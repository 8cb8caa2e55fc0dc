#include "engine/base/bytes.h"

#include "tests/support/unit.h"

START_TEST(bytes_are_little_endian)
{
    unsigned char buf[8];
    bytes_store_u16(buf, 0x0102);
    ck_assert_mem_eq(buf, "\x02\x01", 2);
    bytes_store_u32(buf, 0x01020304);
    ck_assert_mem_eq(buf, "\x04\x03\x02\x01", 4);
    bytes_store_u48(buf, UINT64_C(0xFFFF010203040506));
    ck_assert_mem_eq(buf, "\x06\x05\x04\x03\x02\x01", 6);
    bytes_store_u64(buf, UINT64_C(0x0102030405060708));
    ck_assert_mem_eq(buf, "\x08\x07\x06\x05\x04\x03\x02\x01", 8);
}
END_TEST

START_TEST(loads_undo_stores_at_any_address)
{
    unsigned char buf[24];
    for (size_t at = 0; at < 8; at++) {
        bytes_store_u16(buf + at, 0xFEDC);
        ck_assert_uint_eq(bytes_load_u16(buf + at), 0xFEDC);
        bytes_store_u32(buf + at, 0xFEDCBA98);
        ck_assert_uint_eq(bytes_load_u32(buf + at), 0xFEDCBA98);
        bytes_store_u48(buf + at, UINT64_C(0xFEDCBA987654));
        ck_assert_uint_eq(bytes_load_u48(buf + at), UINT64_C(0xFEDCBA987654));
        bytes_store_u64(buf + at, UINT64_MAX - at);
        ck_assert_uint_eq(bytes_load_u64(buf + at), UINT64_MAX - at);
    }
}
END_TEST

START_TEST(alignment)
{
    ck_assert_uint_eq(bytes_align_up(0, 4096), 0);
    ck_assert_uint_eq(bytes_align_up(1, 4096), 4096);
    ck_assert_uint_eq(bytes_align_up(4096, 4096), 4096);
    ck_assert_uint_eq(bytes_align_down(8191, 4096), 4096);
    ck_assert_uint_eq(bytes_align_up(UINT64_C(1) << 40 | 1, 512), (UINT64_C(1) << 40) + 512);
    ck_assert(bytes_is_aligned((void *)(uintptr_t)4096, 4096));
    ck_assert(!bytes_is_aligned((void *)(uintptr_t)4097, 2));
    ck_assert(bytes_is_power_of_two(1));
    ck_assert(bytes_is_power_of_two(UINT64_C(1) << 63));
    ck_assert(!bytes_is_power_of_two(0));
    ck_assert(!bytes_is_power_of_two(6));
}
END_TEST

START_TEST(extremes)
{
    ck_assert_uint_eq(bytes_min_u64(1, UINT64_MAX), 1);
    ck_assert_uint_eq(bytes_max_u64(1, UINT64_MAX), UINT64_MAX);
    ck_assert_int_eq(bytes_min_i64(-1, 1), -1);
    ck_assert_int_eq(bytes_max_i64(INT64_MIN, -1), -1);
}
END_TEST

UNIT_MAIN("bytes", {bytes_are_little_endian}, {loads_undo_stores_at_any_address}, {alignment},
          {extremes})
