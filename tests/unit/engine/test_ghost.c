#include "engine/policy/ghost.h"

#include <pthread.h>

#include "tests/support/unit.h"

#define LINE 64
#define LINE_KEYS 32

static uint64_t key(uint64_t i)
{
    return (i + 1) * 0x9e3779b97f4a7c15u;
}

static struct ghost *make(size_t bytes)
{
    struct ghost *ghost = NULL;
    ck_assert_int_eq(ghost_create(bytes, &ghost), OK);
    return ghost;
}

static void age_fully(struct ghost *ghost)
{
    ghost_age_begin(ghost);
    for (unsigned i = 0; i < 2048; i++) {
        ghost_age(ghost);
    }
}

START_TEST(counts_up_to_its_maximum)
{
    struct ghost *ghost = make(LINE);
    ck_assert_uint_eq(ghost_count(ghost, key(0)), 0);
    for (unsigned i = 1; i <= GHOST_COUNT_MAX; i++) {
        ck_assert(ghost_add(ghost, key(0)));
        ck_assert_uint_eq(ghost_count(ghost, key(0)), i);
    }
    ck_assert(!ghost_add(ghost, key(0)));
    ck_assert_uint_eq(ghost_count(ghost, key(0)), GHOST_COUNT_MAX);
    ck_assert_uint_eq(ghost_count(ghost, key(1)), 0);
    ghost_destroy(&ghost);
    ck_assert_ptr_null(ghost);
}
END_TEST

START_TEST(take_forgets)
{
    struct ghost *ghost = make(LINE);
    ghost_put(ghost, key(0), 5);
    ck_assert_uint_eq(ghost_take(ghost, key(0)), 5);
    ck_assert_uint_eq(ghost_take(ghost, key(0)), 0);
    ghost_put(ghost, key(0), 5);
    ghost_put(ghost, key(0), 2); /* not added: it left with that */
    ck_assert_uint_eq(ghost_count(ghost, key(0)), 2);
    ghost_put(ghost, key(0), 0);
    ck_assert_uint_eq(ghost_count(ghost, key(0)), 0);
    ghost_destroy(&ghost);
}
END_TEST

START_TEST(full_line_forgets_the_least_asked_for)
{
    struct ghost *ghost = make(LINE);
    for (unsigned i = 0; i < LINE_KEYS; i++) {
        ghost_put(ghost, key(i), i == 7 ? 2 : 4);
    }
    ghost_put(ghost, key(100), 1);
    ck_assert_uint_eq(ghost_count(ghost, key(100)), 0);
    ghost_put(ghost, key(101), 3);
    ck_assert_uint_eq(ghost_count(ghost, key(101)), 3);
    ck_assert_uint_eq(ghost_count(ghost, key(7)), 0);
    for (unsigned i = 0; i < LINE_KEYS; i++) {
        ck_assert_uint_eq(ghost_count(ghost, key(i)), i == 7 ? 0 : 4);
    }
    ghost_destroy(&ghost);
}
END_TEST

/* A new key gets in beside others asked for once. */
START_TEST(full_line_of_ones_takes_newcomers)
{
    struct ghost *ghost = make(LINE);
    for (unsigned i = 0; i < 2 * LINE_KEYS; i++) {
        ghost_add(ghost, key(i));
        ck_assert_uint_ge(ghost_count(ghost, key(i)), 1); /* 2 after another's tag */
    }
    ghost_destroy(&ghost);
}
END_TEST

START_TEST(ages_by_halving)
{
    const size_t sizes[] = {LINE, 3 * LINE, 1000 * LINE, 5000 * LINE};
    for (unsigned s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        struct ghost *ghost = make(sizes[s]);
        for (unsigned i = 0; i < 8; i++) {
            ghost_put(ghost, key(i), i);
        }
        ghost_age(ghost); /* no sweep under way: nothing */
        ck_assert_uint_eq(ghost_count(ghost, key(7)), 7);
        age_fully(ghost);
        for (unsigned i = 0; i < 8; i++) {
            ck_assert_uint_eq(ghost_count(ghost, key(i)), i / 2);
        }
        ghost_destroy(&ghost);
    }
}
END_TEST

/* No rounding to powers of two: what is remembered grows with each line. */
START_TEST(size_is_proportional)
{
    for (size_t n_lines = 100; n_lines <= 220; n_lines += 20) {
        struct ghost *ghost = make(n_lines * LINE);
        ck_assert_uint_ge(ghost_bytes(ghost), n_lines * LINE);
        ck_assert_uint_le(ghost_bytes(ghost), n_lines * LINE + 256);
        uint64_t n_asked = n_lines * LINE_KEYS * 20, n_known = 0;
        for (uint64_t i = 0; i < n_asked; i++) {
            ghost_put(ghost, key(i), 1);
        }
        for (uint64_t i = 0; i < n_asked; i++) {
            n_known += ghost_count(ghost, key(i)) != 0;
        }
        /* Every entry is used; keys taken for another's add 31 in 8191. */
        double per_line = (double)n_known / (double)n_lines;
        ck_assert_double_gt(per_line, LINE_KEYS);
        ck_assert_double_lt(per_line, LINE_KEYS * (1 + 20 * 32.0 / 8191) * 1.02);
        ghost_destroy(&ghost);
    }
}
END_TEST

START_TEST(rarely_mistakes_a_key)
{
    struct ghost *ghost = make(1000 * LINE);
    for (uint64_t i = 0; i < 100000; i++) {
        ghost_put(ghost, key(i), 3);
    }
    unsigned n_mistaken = 0;
    for (uint64_t i = 1000000; i < 1100000; i++) {
        n_mistaken += ghost_count(ghost, key(i)) != 0;
    }
    ck_assert_uint_lt(n_mistaken, 600); /* 32 of 8191 are 391 */
    ck_assert_uint_gt(n_mistaken, 200);
    ghost_destroy(&ghost);
}
END_TEST

START_TEST(resizing_keeps_counts)
{
    const size_t sizes[] = {1000, 1300, 1999, 700, 250, 251, 4000};
    struct ghost *ghost = make(1000 * LINE);
    struct ghost_table *retired;
    for (uint64_t i = 0; i < 2000; i++) { /* 8 to a line at the smallest */
        ghost_put(ghost, key(i), 1 + i % GHOST_COUNT_MAX);
    }
    ck_assert_int_eq(ghost_resize(ghost, 1000 * LINE, &retired), OK);
    ck_assert_ptr_null(retired);
    for (unsigned s = 1; s < sizeof sizes / sizeof sizes[0]; s++) {
        ck_assert_int_eq(ghost_resize(ghost, sizes[s] * LINE, &retired), OK);
        ck_assert_ptr_nonnull(retired);
        ghost_table_free(&retired);
        unsigned n_lost = 0;
        for (uint64_t i = 0; i < 2000; i++) {
            n_lost += ghost_count(ghost, key(i)) < 1 + i % GHOST_COUNT_MAX;
        }
        ck_assert_uint_lt(n_lost, 20); /* chance neighbours with the same tag, crowded lines */
    }
    ghost_destroy(&ghost);
}
END_TEST

#define RACERS 3

struct racer {
    pthread_t thread;
    struct ghost *ghost;
    uint64_t first;
};

static void *race(void *arg)
{
    struct racer *r = arg;
    for (unsigned round = 0; round < 4; round++) {
        for (uint64_t i = 0; i < 4000; i++) {
            ghost_add(r->ghost, key(r->first + i));
            ghost_count(r->ghost, key(i));
        }
    }
    return NULL;
}

static void race_begin(struct racer *racers, struct ghost *ghost)
{
    for (unsigned i = 0; i < RACERS; i++) {
        racers[i] = (struct racer){.ghost = ghost, .first = i * 4000};
        ck_assert_int_eq(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
    }
}

static void race_finish(struct racer *racers)
{
    for (unsigned i = 0; i < RACERS; i++) {
        pthread_join(racers[i].thread, NULL);
    }
}

/* Adds from several threads beside ageing and resizing by one: clean under TSan. */
START_TEST(threads_beside_resizing)
{
    struct ghost *ghost = make(4000 * LINE);
    struct ghost_table *retired[20];
    struct racer racers[RACERS];
    race_begin(racers, ghost);
    for (unsigned i = 0; i < 20; i++) {
        ck_assert_int_eq(ghost_resize(ghost, (4001 + i) * LINE, &retired[i]), OK);
        ghost_put(ghost, key(i), 1);
        ghost_take(ghost, key(i + 1));
        ghost_age_begin(ghost);
        ghost_age(ghost);
    }
    race_finish(racers);
    for (unsigned i = 0; i < 20; i++) {
        ghost_table_free(&retired[i]);
    }
    ghost_destroy(&ghost);
}
END_TEST

START_TEST(threads_lose_little)
{
    struct ghost *ghost = make(4000 * LINE);
    struct racer racers[RACERS];
    race_begin(racers, ghost);
    race_finish(racers);
    unsigned n_known = 0;
    for (uint64_t i = 0; i < RACERS * 4000; i++) {
        n_known += ghost_count(ghost, key(i)) >= 3;
    }
    ck_assert_uint_gt(n_known, RACERS * 3900);
    ghost_destroy(&ghost);
}
END_TEST

UNIT_MAIN("ghost", {counts_up_to_its_maximum, 0}, {take_forgets, 0},
          {full_line_forgets_the_least_asked_for, 0}, {full_line_of_ones_takes_newcomers, 0},
          {ages_by_halving, 0}, {size_is_proportional, 0}, {rarely_mistakes_a_key, 0},
          {resizing_keeps_counts, 0}, {threads_beside_resizing, 0}, {threads_lose_little, 0})
