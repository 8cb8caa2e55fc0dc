#include "engine/base/lock.h"

#include <pthread.h>
#include <unistd.h>

#include "tests/support/unit.h"

#define N_THREADS 4
#define N_ROUNDS 20000

static struct lock shared;
static uint64_t counter; /* shared */

START_TEST(free_after_init)
{
    lock_init(&shared, LOCK_RANK_LEAF);
    ck_assert(lock_try(&shared));
    ck_assert(!lock_try(&shared));
    lock_release(&shared);
    ck_assert(lock_try(&shared));
    lock_release(&shared);
    ck_assert_uint_eq(shared.word, 0);
}
END_TEST

static void *count_up(void *arg)
{
    for (int i = 0; i < N_ROUNDS; i++) {
        lock_acquire(&shared);
        counter++;
        lock_release(&shared);
    }
    return NULL;
}

START_TEST(excludes)
{
    pthread_t threads[N_THREADS];
    lock_init(&shared, LOCK_RANK_SHARD);
    for (int i = 0; i < N_THREADS; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, count_up, NULL), 0);
    }
    for (int i = 0; i < N_THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    ck_assert_uint_eq(counter, (uint64_t)N_THREADS * N_ROUNDS);
    ck_assert_uint_eq(shared.word, 0);
}
END_TEST

/* Long holds drive the others past their spins into the futex. */
static void *hold_long(void *arg)
{
    for (int i = 0; i < 20; i++) {
        lock_acquire(&shared);
        counter++;
        usleep(1000);
        lock_release(&shared);
    }
    return NULL;
}

START_TEST(sleepers_are_woken)
{
    pthread_t threads[N_THREADS];
    lock_init(&shared, LOCK_RANK_SHARD);
    for (int i = 0; i < N_THREADS; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, hold_long, NULL), 0);
    }
    for (int i = 0; i < N_THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    ck_assert_uint_eq(counter, N_THREADS * 20);
    ck_assert_uint_eq(shared.word, 0);
}
END_TEST

START_TEST(try_fails_while_another_holds)
{
    pthread_t thread;
    lock_init(&shared, LOCK_RANK_SHARD);
    ck_assert_int_eq(pthread_create(&thread, NULL, hold_long, NULL), 0);
    int n_refused = 0;
    for (int i = 0; i < 1000000 && n_refused == 0; i++) {
        if (lock_try(&shared)) {
            lock_release(&shared);
        } else {
            n_refused++;
        }
    }
    pthread_join(thread, NULL);
    ck_assert_int_gt(n_refused, 0);
}
END_TEST

/* In the right order, released in another one. */
START_TEST(ranks_may_rise)
{
    struct lock shards[2];
    struct lock control;
    struct lock leaf;
    lock_init(&control, LOCK_RANK_CONTROL);
    lock_init(&shards[0], LOCK_RANK_SHARD);
    lock_init(&shards[1], LOCK_RANK_SHARD);
    lock_init(&leaf, LOCK_RANK_LEAF);
    lock_acquire(&control);
    lock_acquire(&shards[0]);
    lock_acquire(&shards[1]);
    lock_release(&shards[0]);
    lock_acquire(&leaf);
    lock_release(&control);
    lock_release(&leaf);
    lock_release(&shards[1]);
    lock_acquire(&control); /* nothing is held any more */
    lock_release(&control);
}
END_TEST

START_TEST(try_takes_in_any_order)
{
    struct lock leaf;
    struct lock shard;
    lock_init(&leaf, LOCK_RANK_LEAF);
    lock_init(&shard, LOCK_RANK_SHARD);
    lock_acquire(&leaf);
    ck_assert(lock_try(&shard));
    lock_release(&leaf);
    lock_release(&shard);
}
END_TEST

#ifdef HEARTH_DEBUG

START_TEST(a_tried_lock_hides_no_higher_one)
{
    struct lock leaf;
    struct lock shard;
    struct lock log;
    lock_init(&leaf, LOCK_RANK_LEAF);
    lock_init(&shard, LOCK_RANK_SHARD);
    lock_init(&log, LOCK_RANK_LOG);
    lock_acquire(&leaf);
    ck_assert(lock_try(&shard));
    lock_acquire(&log); /* above shard, below leaf */
    lock_release(&log);
    lock_release(&shard);
    lock_release(&leaf);
}
END_TEST

static void acquire_two(enum lock_rank first, enum lock_rank second)
{
    struct lock a;
    struct lock b;
    lock_init(&a, first);
    lock_init(&b, second);
    lock_acquire(&a);
    lock_acquire(&b);
    lock_release(&b);
    lock_release(&a);
}

START_TEST(falling_rank_aborts)
{
    acquire_two(LOCK_RANK_LOG, LOCK_RANK_SHARD);
}
END_TEST

START_TEST(equal_rank_aborts)
{
    acquire_two(LOCK_RANK_POLICY, LOCK_RANK_POLICY);
}
END_TEST

START_TEST(shards_in_falling_order_abort)
{
    struct lock shards[2];
    lock_init(&shards[0], LOCK_RANK_SHARD);
    lock_init(&shards[1], LOCK_RANK_SHARD);
    lock_acquire(&shards[1]);
    lock_acquire(&shards[0]);
    lock_release(&shards[0]);
    lock_release(&shards[1]);
}
END_TEST

static NO_TSA void release_unheld(void)
{
    struct lock a;
    lock_init(&a, LOCK_RANK_LEAF);
    lock_release(&a);
}

START_TEST(releasing_what_is_not_held_aborts)
{
    release_unheld();
}
END_TEST

UNIT_MAIN("lock", {free_after_init}, {excludes}, {sleepers_are_woken},
          {try_fails_while_another_holds}, {ranks_may_rise}, {try_takes_in_any_order},
          {a_tried_lock_hides_no_higher_one, SIGABRT}, {falling_rank_aborts, SIGABRT},
          {equal_rank_aborts, SIGABRT}, {shards_in_falling_order_abort, SIGABRT},
          {releasing_what_is_not_held_aborts, SIGABRT})

#else

UNIT_MAIN("lock", {free_after_init}, {excludes}, {sleepers_are_woken},
          {try_fails_while_another_holds}, {ranks_may_rise}, {try_takes_in_any_order})

#endif
