#include "engine/base/fault.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "engine/base/clock.h"
#include "tests/support/unit.h"

START_TEST(unarmed_passes_and_counts)
{
    ck_assert_int_eq(fault_arm(NULL), OK);
    for (int i = 0; i < 5; i++) {
        ck_assert_int_eq(fault_point(FAULT_DEV_READ), OK);
    }
    fault_seq_point(FAULT_PROMOTE_AFTER_READ);
    fault_kill_point(FAULT_RECLAIM_AFTER_GENERATION);
    ck_assert_uint_eq(fault_passages(FAULT_DEV_READ), 5);
    ck_assert_uint_eq(fault_passages(FAULT_PROMOTE_AFTER_READ), 1);
    ck_assert_uint_eq(fault_passages(FAULT_RECLAIM_AFTER_GENERATION), 1);
    ck_assert_int_eq(fault_arm(""), OK);
    ck_assert_uint_eq(fault_passages(FAULT_DEV_READ), 0);
}
END_TEST

static void expect(const char *spec, enum fault_id id, const enum status *wanted, int n)
{
    ck_assert_int_eq(fault_arm(spec), OK);
    for (int i = 0; i < n; i++) {
        ck_assert_int_eq(fault_point(id), wanted[i]);
    }
}

START_TEST(every_third_and_onward)
{
    expect("dev.read=IO", FAULT_DEV_READ, (enum status[]){IO, IO, IO}, 3);
    expect("dev.read=CORRUPT@3", FAULT_DEV_READ, (enum status[]){OK, OK, CORRUPT, OK}, 4);
    expect("dev.write=NO_SPACE@2+", FAULT_DEV_WRITE, (enum status[]){OK, NO_SPACE, NO_SPACE}, 3);
}
END_TEST

START_TEST(several_rules)
{
    ck_assert_int_eq(fault_arm("dev.read=IO@1,dev.write=NO_SPACE@2,alloc=NO_MEMORY@1+"), OK);
    ck_assert_int_eq(fault_point(FAULT_DEV_WRITE), OK);
    ck_assert_int_eq(fault_point(FAULT_DEV_READ), IO);
    ck_assert_int_eq(fault_point(FAULT_DEV_WRITE), NO_SPACE);
    ck_assert_int_eq(fault_point(FAULT_ALLOC), NO_MEMORY);
    ck_assert_int_eq(fault_point(FAULT_DEV_SYNC), OK);
    /* A new spec replaces the old one. */
    ck_assert_int_eq(fault_arm("dev.sync=IO"), OK);
    ck_assert_int_eq(fault_point(FAULT_ALLOC), OK);
    ck_assert_int_eq(fault_point(FAULT_DEV_SYNC), IO);
}
END_TEST

START_TEST(bad_specs_change_nothing)
{
    static const char *const specs[] = {
        "dev.read",
        "dev.read=",
        "=IO",
        "dev.rea=IO",
        "dev.read2=IO",
        "DEV_READ=IO",
        "dev.read=OK",
        "dev.read=io",
        "dev.read=IOX",
        "dev.read=IO@",
        "dev.read=IO@0",
        "dev.read=IO@x",
        "dev.read=IO@-1",
        "dev.read=IO@3x",
        "dev.read=IO@3++",
        "dev.read=IO@16777216",
        "dev.read=IO@99999999999999999999",
        "dev.read=IO:3",
        "dev.read=DELAY",
        "dev.read=DELAY:",
        "dev.read=DELAY:0",
        "dev.read=DELAY:1048576",
        "dev.read=DELAY:10:0",
        "dev.read=DELAY:10:4096",
        "dev.read=KILL:1",
        "dev.read=IO,",
        ",dev.read=IO",
        "dev.write=IO,dev.read=nonsense",
    };
    ck_assert_int_eq(fault_arm("dev.read=CORRUPT"), OK);
    for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) {
        ck_assert_msg(fault_arm(specs[i]) == INVALID, "accepted: %s", specs[i]);
    }
    ck_assert_int_eq(fault_point(FAULT_DEV_READ), CORRUPT);
    ck_assert_int_eq(fault_point(FAULT_DEV_WRITE), OK);
}
END_TEST

START_TEST(kills_at_the_second_passage)
{
    ck_assert_int_eq(fault_arm("reclaim.before_generation=KILL@2"), OK);
    fault_kill_point(FAULT_RECLAIM_BEFORE_GENERATION);
    fault_kill_point(FAULT_RECLAIM_BEFORE_GENERATION);
    ck_abort_msg("still alive");
}
END_TEST

START_TEST(delays_at_most_what_is_asked)
{
    ck_assert_int_eq(fault_arm("promote.after_read=DELAY:2000"), OK);
    int64_t start = clock_mono_us();
    for (int i = 0; i < 50; i++) {
        ck_assert_int_eq(fault_point(FAULT_PROMOTE_AFTER_READ), OK);
    }
    /* 50 draws of 0..2000 us; below 5 ms together once in more years than there were. */
    ck_assert_int_ge(clock_mono_us() - start, 5000);
    ck_assert_int_eq(fault_arm("promote.after_read=DELAY:1000000:4095@2000"), OK);
    start = clock_mono_us();
    for (int i = 0; i < 1999; i++) {
        fault_seq_point(FAULT_PROMOTE_AFTER_READ); /* not yet due */
    }
    ck_assert_int_lt(clock_mono_us() - start, 1000000);
}
END_TEST

static _Atomic bool is_over;
static _Atomic uint64_t n_others;

static void *pass_on(void *arg)
{
    uint64_t n = 0;
    while (!atomic_load(&is_over)) {
        enum status st = fault_point(FAULT_DEV_READ);
        atomic_fetch_add(&n_others, st != OK && st != IO && st != CORRUPT);
        n++;
    }
    return (void *)(uintptr_t)n;
}

START_TEST(arming_beside_passing)
{
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, pass_on, NULL), 0);
    }
    for (int i = 0; i < 5000; i++) {
        ck_assert_int_eq(fault_arm(i % 2 == 0 ? "dev.read=IO@2+" : "dev.read=CORRUPT@5"), OK);
    }
    atomic_store(&is_over, true);
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    ck_assert_uint_eq(n_others, 0);
}
END_TEST

static void *pass_thousand(void *arg)
{
    uintptr_t n_failed = 0;
    for (int i = 0; i < 1000; i++) {
        n_failed += fault_point(FAULT_DEV_READ) != OK;
    }
    return (void *)n_failed;
}

START_TEST(one_passage_fails_in_one_thread_only)
{
    pthread_t threads[4];
    ck_assert_int_eq(fault_arm("dev.read=IO@2500"), OK);
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, pass_thousand, NULL), 0);
    }
    uintptr_t n_failed = 0;
    for (int i = 0; i < 4; i++) {
        void *result;
        pthread_join(threads[i], &result);
        n_failed += (uintptr_t)result;
    }
    ck_assert_uint_eq(n_failed, 1);
    ck_assert_uint_eq(fault_passages(FAULT_DEV_READ), 4000);
}
END_TEST

START_TEST(macros_follow_the_build)
{
    ck_assert_int_eq(fault_arm("dev.read=IO"), OK);
    enum status st = FAULT_POINT(DEV_READ);
    KILL_POINT(DEV_WRITE);
    SEQ_POINT(DEV_SYNC);
#ifdef HEARTH_TEST
    ck_assert_int_eq(st, IO);
    ck_assert_uint_eq(fault_passages(FAULT_DEV_WRITE) + fault_passages(FAULT_DEV_SYNC), 2);
#else
    ck_assert_int_eq(st, OK);
    ck_assert_uint_eq(fault_passages(FAULT_DEV_READ), 0);
#endif
}
END_TEST

UNIT_MAIN("fault", {unarmed_passes_and_counts}, {every_third_and_onward}, {several_rules},
          {bad_specs_change_nothing}, {kills_at_the_second_passage, SIGKILL},
          {delays_at_most_what_is_asked}, {arming_beside_passing},
          {one_passage_fails_in_one_thread_only}, {macros_follow_the_build})
