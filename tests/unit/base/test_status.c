#include "engine/base/status.h"

#include <errno.h>
#include <string.h>

#include "tests/support/unit.h"

START_TEST(every_status_has_a_text)
{
    for (int st = 0; st < STATUS_COUNT; st++) {
        ck_assert_ptr_nonnull(status_text((enum status)st));
        ck_assert_uint_gt(strlen(status_text((enum status)st)), 0);
    }
    ck_assert_str_eq(status_text(OK), "ok");
    ck_assert_str_eq(status_text((enum status)STATUS_COUNT), "unknown status");
    ck_assert_str_eq(status_text((enum status) - 1), "unknown status");
}
END_TEST

START_TEST(blame_follows_the_table)
{
    ck_assert_int_eq(status_blame(NOT_FOUND), BLAME_NOBODY);
    ck_assert_int_eq(status_blame(AGAIN), BLAME_NOBODY);
    ck_assert_int_eq(status_blame(TOO_BIG), BLAME_CLIENT);
    ck_assert_int_eq(status_blame(CORRUPT), BLAME_SERVER);
}
END_TEST

START_TEST(errno_is_translated)
{
    ck_assert_int_eq(status_from_errno(0), OK);
    ck_assert_int_eq(status_from_errno(ENOENT), NOT_FOUND);
    ck_assert_int_eq(status_from_errno(EINTR), AGAIN);
    ck_assert_int_eq(status_from_errno(ENOSPC), NO_SPACE);
    ck_assert_int_eq(status_from_errno(EDQUOT), NO_SPACE);
    ck_assert_int_eq(status_from_errno(ENOMEM), NO_MEMORY);
    ck_assert_int_eq(status_from_errno(EINVAL), INVALID);
    ck_assert_int_eq(status_from_errno(EFBIG), TOO_BIG);
    ck_assert_int_eq(status_from_errno(EPIPE), CLOSED);
    ck_assert_int_eq(status_from_errno(EIO), IO);
    ck_assert_int_eq(status_from_errno(99999), IO);
}
END_TEST

static int n_cleanups;

static enum status try_it(enum status first, enum status second)
{
    enum status st = OK;
    TRY(first);
    TRY(second);
out:
    n_cleanups++;
    return st;
}

START_TEST(try_stops_at_the_first_failure)
{
    ck_assert_int_eq(try_it(OK, OK), OK);
    ck_assert_int_eq(try_it(IO, CORRUPT), IO);
    ck_assert_int_eq(try_it(OK, CORRUPT), CORRUPT);
    ck_assert_int_eq(n_cleanups, 3);
}
END_TEST

UNIT_MAIN("status", {every_status_has_a_text}, {blame_follows_the_table}, {errno_is_translated},
          {try_stops_at_the_first_failure})
