/*
 * The index beside a plain array: a model holds every slot that should be there, in order of insertion;
 * random operations go to both and the answers are compared. HEARTH_SEED repeats a run.
 */
#include "tiers/index.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/base/fault.h"
#include "tests/support/unit.h"

#define BASE_DEPTH 4

/* Check's own assertions cost a microsecond each when they hold. */
#define MUST(x)                                                                                    \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            ck_abort_msg("%s", #x);                                                                \
        }                                                                                          \
    } while (0)

static uint64_t seed_state;

static void seed(void)
{
    const char *given = getenv("HEARTH_SEED");
    seed_state = given != NULL ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
    printf("index: HEARTH_SEED=%llu\n", (unsigned long long)seed_state);
    fflush(stdout);
}

/* splitmix64 (S. Vigna). */
static uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

static uint64_t random_u64(void)
{
    seed_state += UINT64_C(0x9E3779B97F4A7C15);
    return mix(seed_state);
}

/* --- the model ----------------------------------------------------------------------------------- */

struct model_slot {
    uint64_t hash;
    struct index_slot slot;
};

struct model {
    struct model_slot *slots; /* in order of insertion */
    size_t n, cap;
};

static void model_add(struct model *m, uint64_t hash, struct index_slot slot)
{
    if (m->n == m->cap) {
        m->cap = m->cap * 2 + 64;
        m->slots = realloc(m->slots, m->cap * sizeof(*m->slots));
    }
    m->slots[m->n++] = (struct model_slot){hash, slot};
}

static void model_remove(struct model *m, uint64_t location)
{
    size_t i = 0;
    while (i < m->n && m->slots[i].slot.location != location) {
        i++;
    }
    ck_assert_uint_lt(i, m->n);
    m->n--;
    memmove(&m->slots[i], &m->slots[i + 1], (m->n - i) * sizeof(*m->slots));
}

static bool slots_equal(struct index_slot a, struct index_slot b)
{
    return a.location == b.location && a.hits == b.hits && a.len_class == b.len_class;
}

/* All slots inserted under `hash` are matched, in order; others only where the tag is shared. */
static void match_checks(const struct index *ix, const struct model *m, uint64_t hash)
{
    struct index_slot out[INDEX_MATCH_MAX];
    index_prefetch(ix, hash); /* of empty cells too */
    unsigned n = index_match(ix, hash, out);
    MUST(n <= INDEX_MATCH_MAX);
    unsigned at = 0;
    for (size_t i = 0; i < m->n; i++) {
        if (m->slots[i].hash == hash) {
            while (at < n && out[at].location != m->slots[i].slot.location) {
                at++;
            }
            MUST(at < n); /* else not matched, or out of order */
            MUST(slots_equal(out[at], m->slots[i].slot));
            MUST(index_has(ix, hash, out[at].location));
        }
    }
}

struct save_state {
    struct index *to;
    uint64_t n_slots;
    uint64_t next_start; /* cells come in order and do not overlap */
};

static enum status save_cell(void *arg, uint32_t position, uint8_t depth, const uint64_t *slots,
                             uint32_t n_slots)
{
    struct save_state *s = arg;
    uint64_t start = (uint64_t)position << (32 - depth);
    ck_assert_uint_ge(start, s->next_start);
    s->next_start = start + (UINT64_C(1) << (32 - depth));
    ck_assert_uint_gt(n_slots, 0);
    s->n_slots += n_slots;
    return s->to != NULL ? index_load_cell(s->to, position, depth, slots, n_slots) : OK;
}

static void whole_checks(const struct index *ix, const struct model *m)
{
    ck_assert_uint_eq(ix->n_slots, m->n);
    for (size_t i = 0; i < m->n; i += 1 + random_u64() % 8) {
        match_checks(ix, m, m->slots[i].hash);
    }
    struct save_state s = {0};
    ck_assert_int_eq(index_save(ix, save_cell, &s), OK);
    ck_assert_uint_eq(s.n_slots, m->n);
}

/* --- random operations --------------------------------------------------------------------------- */

struct shape { /* what hashes a run draws */
    uint64_t n_hashes;
    uint64_t keep; /* bits of the hash that vary */
    unsigned base_depth;
    unsigned ops;
    unsigned target; /* slots aimed at */
};

static uint64_t shape_hash(const struct shape *shape)
{
    return (mix(random_u64() % shape->n_hashes + 1) & shape->keep) | UINT64_C(0x25) << 56;
}

static uint64_t next_location;

static void step_insert(struct index *ix, struct model *m, const struct shape *shape)
{
    struct index_slot slot = {.location = next_location,
                              .len_class = (uint8_t)(random_u64() % 64),
                              .hits = (uint8_t)(random_u64() % (INDEX_HITS_MAX + 1))};
    next_location += 1 + random_u64() % 100;
    struct index_slot dropped;
    uint64_t hash = shape_hash(shape);
    struct index_slot before[INDEX_MATCH_MAX];
    unsigned n_before = index_match(ix, hash, before);
    ck_assert_int_eq(index_insert(ix, hash, slot, &dropped), OK);
    ck_assert_int_eq(dropped.location != 0, n_before == INDEX_MATCH_MAX);
    if (dropped.location != 0) {
        bool was_there = false;
        for (unsigned i = 0; i < n_before; i++) {
            ck_assert_uint_le(dropped.location, before[i].location);
            was_there |= slots_equal(dropped, before[i]);
        }
        ck_assert(was_there);
        model_remove(m, dropped.location);
    }
    model_add(m, hash, slot);
}

static void step_change(struct index *ix, struct model *m, unsigned what)
{
    size_t i = random_u64() % m->n;
    struct model_slot *s = &m->slots[i];
    if (what == 0) {
        unsigned hits = index_hit(ix, s->hash, s->slot.location);
        s->slot.hits += s->slot.hits < INDEX_HITS_MAX;
        ck_assert_uint_eq(hits, s->slot.hits);
    } else if (what == 1) {
        struct index_slot fresh = {.location = next_location++, .len_class = 5, .hits = 1};
        ck_assert(!index_replace(ix, s->hash, next_location + 5, fresh));
        ck_assert(index_replace(ix, s->hash, s->slot.location, fresh));
        s->slot = fresh;
    } else {
        ck_assert(!index_remove(ix, s->hash, s->slot.location + (UINT64_C(1) << 35)));
        ck_assert(index_remove(ix, s->hash, s->slot.location));
        ck_assert(!index_has(ix, s->hash, s->slot.location));
        model_remove(m, s->slot.location);
    }
}

/* Few in the growing half, many in the shrinking one. */
static bool is_removal(const struct model *m, const struct shape *shape, unsigned op)
{
    bool is_growing = op < shape->ops / 2;
    return m->n > (is_growing ? shape->target : 0) || random_u64() % 100 < (is_growing ? 20 : 65);
}

static void run(const struct shape *shape)
{
    struct index ix;
    struct model m = {0};
    ck_assert_int_eq(index_init(&ix, shape->base_depth), OK);
    next_location = 1;
    for (unsigned op = 0; op < shape->ops; op++) {
        unsigned kind = (unsigned)(random_u64() % 4);
        if (m.n != 0 && kind == 0) {
            step_change(&ix, &m, (unsigned)(random_u64() % 2));
        } else if (m.n != 0 && is_removal(&m, shape, op)) {
            step_change(&ix, &m, 2);
        } else {
            step_insert(&ix, &m, shape);
        }
        match_checks(&ix, &m, shape_hash(shape));
        if (op % (shape->ops / 8) == 0) {
            whole_checks(&ix, &m);
        }
    }
    whole_checks(&ix, &m);
    while (m.n != 0) {
        step_change(&ix, &m, 2);
    }
    whole_checks(&ix, &m);
    index_deinit(&ix);
    ck_assert_ptr_null(ix.directory);
    free(m.slots);
}

START_TEST(model_uniform)
{
    seed();
    run(&(struct shape){UINT64_MAX, UINT64_MAX, BASE_DEPTH, 20000, 3000});
    run(&(struct shape){UINT64_MAX, UINT64_MAX, 0, 20000, 3000});
    run(&(struct shape){1000, UINT64_MAX, 0, 12000, 2000});
}
END_TEST

START_TEST(model_weak_hash)
{
    seed();
    /* 8-bit hashes, as HEARTH_WEAK_HASH makes them: the same byte eight times. */
    struct index ix;
    ck_assert_int_eq(index_init(&ix, 8), OK);
    uint64_t n = 0;
    for (unsigned i = 0; i < 100000; i++) {
        struct index_slot dropped;
        struct index_slot slot = {.location = i + 1};
        uint64_t hash = (random_u64() & 0xff) * UINT64_C(0x0101010101010101);
        MUST(index_insert(&ix, hash, slot, &dropped) == OK);
        n += dropped.location == 0;
        MUST(ix.n_slots == n);
    }
    ck_assert_uint_le(n, 256 * INDEX_MATCH_MAX);
    ck_assert_uint_ge(n, 128 * INDEX_MATCH_MAX);
    index_deinit(&ix);
    run(&(struct shape){100, UINT64_MAX, 2, 10000, 2000});
    run(&(struct shape){UINT64_MAX, UINT64_C(0xF) << 40, 2, 10000, 2000});
}
END_TEST

START_TEST(model_clustered)
{
    seed();
    /* The first 20 bits below the shard agree: cells split many times, or grow. */
    run(&(struct shape){UINT64_MAX, (UINT64_C(1) << 36) - 1, BASE_DEPTH, 10000, 2000});
    run(&(struct shape){UINT64_MAX, (UINT64_C(1) << 44) - 1, BASE_DEPTH, 10000, 2000});
    run(&(struct shape){UINT64_MAX, UINT64_C(0xFFF000FF) << 24, BASE_DEPTH, 10000, 2000});
}
END_TEST

/* --- what the model does not see ----------------------------------------------------------------- */

static void fill(struct index *ix, uint64_t first, uint64_t n)
{
    for (uint64_t i = first; i < first + n; i++) {
        struct index_slot dropped;
        struct index_slot slot = {.location = i + 1, .len_class = (uint8_t)(i % 64)};
        MUST(index_insert(ix, mix(i), slot, &dropped) == OK);
        MUST(dropped.location == 0);
    }
}

START_TEST(memory_comes_and_goes)
{
    const uint64_t n = 400000;
    struct index ix;
    ck_assert_int_eq(index_init(&ix, 10), OK);
    uint64_t empty = ix.bytes;
    ck_assert_uint_le(empty, 64 << 10);
    fill(&ix, 0, n);
    ck_assert_uint_eq(ix.n_slots, n);
    ck_assert_uint_ge(ix.bytes, n * 8);
    ck_assert_uint_le(ix.bytes, n * 95 / 10);
    uint64_t full = ix.bytes;
    for (uint64_t i = 0; i < n; i++) { /* churn: the same number, all others */
        MUST(index_remove(&ix, mix(i), i + 1));
        fill(&ix, n + i, 1);
    }
    ck_assert_uint_le(ix.bytes, full + full / 20);
    for (uint64_t i = n; i < 2 * n; i++) {
        MUST(index_remove(&ix, mix(i), i + 1));
        if (i == n * 19 / 10) {
            ck_assert_uint_le(ix.bytes, full / 4);
        }
    }
    ck_assert_uint_eq(ix.n_slots, 0);
    ck_assert_uint_le(ix.bytes, full / 50 + empty);
    index_deinit(&ix);
}
END_TEST

START_TEST(false_matches_are_rare)
{
    struct index ix;
    ck_assert_int_eq(index_init(&ix, 9), OK);
    fill(&ix, 0, 50000); /* about 100 per cell at first */
    struct index_slot out[INDEX_MATCH_MAX];
    unsigned n = 0;
    for (uint64_t i = 0; i < 1000000; i++) {
        n += index_match(&ix, mix(1000000 + i), out);
    }
    /* 50,000 of 2^29 tags and positions are taken: 93 of a million expected. */
    ck_assert_uint_le(n, 250);
    index_deinit(&ix);
}
END_TEST

START_TEST(random_slots_are_fair)
{
    seed();
    struct index ix;
    struct index_slot slot;
    ck_assert_int_eq(index_init(&ix, 3), OK);
    ck_assert(!index_random(&ix, 12345, &slot));
    const unsigned n = 1000;
    fill(&ix, 0, n);
    unsigned seen[1001] = {0};
    for (unsigned i = 0; i < 200 * n; i++) {
        /* The caller may have used bits of it: the top 7 are the shard's. */
        uint64_t random = random_u64() >> 7;
        MUST(index_random(&ix, random, &slot));
        MUST(slot.location >= 1 && slot.location <= n);
        seen[slot.location]++;
    }
    for (unsigned i = 1; i <= n; i++) { /* 200 expected */
        ck_assert_msg(seen[i] > 20, "slot %u was drawn %u times", i, seen[i]);
        ck_assert_msg(seen[i] < 1000, "slot %u was drawn %u times", i, seen[i]);
    }
    for (uint64_t i = 1; i < n; i++) {
        MUST(index_remove(&ix, mix(i), i + 1));
    }
    ck_assert(index_random(&ix, random_u64(), &slot));
    ck_assert_uint_eq(slot.location, 1);
    index_deinit(&ix);
}
END_TEST

START_TEST(save_and_load)
{
    const unsigned sizes[] = {0, 1, 100, 30000};
    for (unsigned k = 0; k < 4; k++) {
        struct index ix;
        struct index copy;
        ck_assert_int_eq(index_init(&ix, 5), OK);
        ck_assert_int_eq(index_init(&copy, 5), OK);
        fill(&ix, 0, sizes[k]);
        struct save_state s = {.to = &copy};
        ck_assert_int_eq(index_save(&ix, save_cell, &s), OK);
        ck_assert_uint_eq(copy.n_slots, ix.n_slots);
        for (uint64_t i = 0; i < sizes[k]; i++) {
            struct index_slot out[2][INDEX_MATCH_MAX];
            unsigned n = index_match(&ix, mix(i), out[0]);
            MUST(index_match(&copy, mix(i), out[1]) == n);
            for (unsigned j = 0; j < n; j++) {
                MUST(slots_equal(out[0][j], out[1][j]));
            }
        }
        fill(&copy, sizes[k], 20000); /* it lives on */
        for (uint64_t i = 0; i < sizes[k] + 20000; i++) {
            MUST(index_remove(&copy, mix(i), i + 1));
        }
        ck_assert_uint_eq(copy.n_slots, 0);
        index_deinit(&ix);
        index_deinit(&copy);
    }
}
END_TEST

static enum status refuse_third(void *arg, uint32_t position, uint8_t depth, const uint64_t *slots,
                                uint32_t n_slots)
{
    return ++*(unsigned *)arg == 3 ? NO_SPACE : OK;
}

START_TEST(save_stops_at_an_error)
{
    struct index ix;
    ck_assert_int_eq(index_init(&ix, 5), OK);
    fill(&ix, 0, 1000);
    unsigned n_calls = 0;
    ck_assert_int_eq(index_save(&ix, refuse_third, &n_calls), NO_SPACE);
    ck_assert_uint_eq(n_calls, 3);
    index_deinit(&ix);
}
END_TEST

static uint64_t raw(uint64_t tag, uint64_t location)
{
    return tag << 44 | location;
}

START_TEST(load_refuses_nonsense)
{
    struct index ix;
    ck_assert_int_eq(index_init(&ix, 2), OK);
    uint64_t good[] = {raw(1, 7), raw(1, 9), raw(5, 1)};
    uint64_t unsorted[] = {raw(5, 7), raw(1, 9)};
    uint64_t nowhere[] = {raw(5, 0)};
    uint64_t foreign[] = {raw(1 << 19, 9)};
    uint64_t crowd[INDEX_MATCH_MAX + 1];
    for (unsigned i = 0; i <= INDEX_MATCH_MAX; i++) {
        crowd[i] = raw(3, i + 1);
    }
    ck_assert_int_eq(index_load_cell(&ix, 0, 1, good, 3), CORRUPT); /* above the base */
    ck_assert_int_eq(index_load_cell(&ix, 4, 2, good, 3), CORRUPT); /* beyond the directory */
    ck_assert_int_eq(index_load_cell(&ix, 0, 200, good, 3), CORRUPT);
    ck_assert_int_eq(index_load_cell(&ix, 0, 2, good, 0), CORRUPT);
    ck_assert_int_eq(index_load_cell(&ix, 0, 2, good, 1u << 30), CORRUPT);
    ck_assert_int_eq(index_load_cell(&ix, 0, 2, unsorted, 2), CORRUPT);
    ck_assert_int_eq(index_load_cell(&ix, 0, 2, nowhere, 1), CORRUPT);
    ck_assert_int_eq(index_load_cell(&ix, 0, 3, foreign, 1), CORRUPT); /* of the other half */
    ck_assert_int_eq(index_load_cell(&ix, 0, 2, crowd, INDEX_MATCH_MAX + 1), CORRUPT);
    ck_assert_uint_eq(ix.n_slots, 0);
    ck_assert_int_eq(index_load_cell(&ix, 2, 4, good, 3), CORRUPT); /* tag prefix 2 of 4 */
    ck_assert_int_eq(index_load_cell(&ix, 4, 4, good, 3), OK);
    ck_assert_int_eq(index_load_cell(&ix, 4, 4, good, 3), CORRUPT); /* twice */
    ck_assert_int_eq(index_load_cell(&ix, 1, 2, good, 3), CORRUPT); /* around the first */
    ck_assert_int_eq(index_load_cell(&ix, 2, 3, good, 3), CORRUPT);
    ck_assert_int_eq(index_load_cell(&ix, 3, 3, foreign, 1), OK); /* the other half of 1 */
    ck_assert_uint_eq(ix.n_slots, 4);
    index_deinit(&ix);
    ck_assert_int_eq(index_init(&ix, 40), INVALID);
}
END_TEST

START_TEST(classes_are_close_and_complete)
{
    ck_assert_uint_eq(index_class_bytes(63), 2 << 20);
    for (uint8_t c = 1; c < 64; c++) {
        uint32_t bytes = index_class_bytes(c);
        uint32_t below = index_class_bytes(c - 1);
        ck_assert_uint_eq(bytes % 16, 0);
        ck_assert_uint_gt(bytes, below);
        ck_assert(bytes <= below + 16 || bytes * 100ull <= below * 120ull);
        ck_assert_uint_eq(index_class(bytes), c);
        ck_assert_uint_eq(index_class(bytes - 1), c);
        ck_assert_uint_eq(index_class(below + 1), c);
    }
    ck_assert_uint_eq(index_class(0), 0);
    ck_assert_uint_le(index_class_bytes(0), 32);
}
END_TEST

START_TEST(too_long_for_a_class)
{
    (void)index_class((2 << 20) + 1);
}
END_TEST

#ifdef HEARTH_TEST
/* Fails the Nth allocation, then the next, until a run needs none of them. */
START_TEST(allocations_fail)
{
    for (unsigned nth = 1;; nth++) {
        struct index ix;
        struct model m = {0};
        char spec[64];
        snprintf(spec, sizeof(spec), "alloc=NO_MEMORY@%u", nth);
        ck_assert_int_eq(fault_arm(spec), OK);
        if (index_init(&ix, 2) == OK) {
            for (uint64_t i = 0; i < 3000; i++) {
                struct index_slot dropped;
                struct index_slot slot = {.location = i + 1};
                enum status st = index_insert(&ix, mix(i), slot, &dropped);
                MUST(st == OK || st == NO_MEMORY);
                if (st == OK) {
                    model_add(&m, mix(i), slot);
                }
            }
            for (size_t i = 0; i < m.n; i += 2) {
                MUST(index_remove(&ix, m.slots[i].hash, m.slots[i].slot.location));
            }
            for (size_t i = 1; i < m.n; i += 2) {
                MUST(index_has(&ix, m.slots[i].hash, m.slots[i].slot.location));
            }
            ck_assert_uint_eq(ix.n_slots, m.n / 2);
            index_deinit(&ix);
        }
        free(m.slots);
        if (fault_passages(FAULT_ALLOC) < nth) {
            break;
        }
    }
    ck_assert_int_eq(fault_arm(NULL), OK);
}
END_TEST
#else
START_TEST(allocations_fail)
{
}
END_TEST
#endif

UNIT_MAIN("index", {model_uniform}, {model_weak_hash}, {model_clustered}, {memory_comes_and_goes},
          {false_matches_are_rare}, {random_slots_are_fair}, {save_and_load},
          {save_stops_at_an_error}, {load_refuses_nonsense}, {classes_are_close_and_complete},
          {too_long_for_a_class, SIGABRT}, {allocations_fail})
