#include "engine/base/check.h"

#include "tests/support/unit.h"

START_TEST(true_passes)
{
    int n = 1;
    CHECK(n == 1);
    DCHECK(n == 1);
}
END_TEST

START_TEST(false_aborts)
{
    int n = 1;
    CHECK(n == 2);
}
END_TEST

START_TEST(dcheck_has_no_side_effect_without_debug)
{
    int n = 0;
    DCHECK(++n > 0);
#ifdef HEARTH_DEBUG
    ck_assert_int_eq(n, 1);
#else
    ck_assert_int_eq(n, 0);
#endif
}
END_TEST

UNIT_MAIN("check", {true_passes}, {false_aborts, SIGABRT},
          {dcheck_has_no_side_effect_without_debug})
