#include "engine/policy/policy.h"

#include <pthread.h>
#include <string.h>

#include "tests/unit/engine/policy_driver.h"

static struct policy_node *take_victim(struct driver *d, enum policy_victim_kind *kind_out)
{
    return policy_victim(d->policy, accept_any, NULL, kind_out);
}

/* Puts the key into the cache with this count, in the window or moved on by what comes later. */
static void insert_counted(struct driver *d, uint32_t key, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        policy_record_miss(d->policy, d->things[key].hash);
    }
    policy_insert(d->policy, &d->things[key].node, d->things[key].size);
}

/* --- the queues ----------------------------------------------------------------------------- */

START_TEST(fills_without_evicting)
{
    struct driver d;
    struct policy_stats stats;
    driver_init(&d, 200, 100);
    for (uint32_t i = 0; i < 100; i++) {
        driver_request(&d, i);
    }
    ck_assert(!policy_needs_eviction(d.policy));
    for (uint32_t i = 0; i < 100; i++) {
        ck_assert(is_in(&d, i));
    }
    policy_stats(d.policy, &stats);
    ck_assert_uint_eq(stats.capacity_bytes, 100);
    ck_assert_uint_eq(stats.window_capacity_bytes, 10);
    ck_assert_uint_eq(stats.bytes[POLICY_WINDOW], 10);
    ck_assert_uint_eq(stats.items[POLICY_PROBATION], 90);
    ck_assert_uint_gt(stats.overhead_bytes, 200);
    driver_request(&d, 100);
    ck_assert(!policy_needs_eviction(d.policy));
    ck_assert_uint_eq(is_in(&d, 90), 0); /* the window's oldest lost against a tie */
    driver_deinit(&d);
}
END_TEST

START_TEST(candidate_needs_more_requests)
{
    struct driver d;
    enum policy_victim_kind kind;
    driver_init(&d, 200, 20); /* window of 2 */
    for (uint32_t i = 0; i < 20; i++) {
        insert_counted(&d, i, 3);
    }
    insert_counted(&d, 20, 1); /* candidate: 18, count 3 against 0's 3 */
    ck_assert_ptr_eq(take_victim(&d, &kind), &d.things[18].node);
    ck_assert_int_eq(kind, POLICY_REJECTED);
    ck_assert_uint_eq(queue_of_thing(&d.things[18]), POLICY_NONE);
    insert_counted(&d, 21, 7); /* 19 falls, likewise */
    ck_assert_ptr_eq(take_victim(&d, &kind), &d.things[19].node);
    insert_counted(&d, 22, 1); /* candidate 20, count 1 */
    ck_assert_ptr_eq(take_victim(&d, &kind), &d.things[20].node);
    insert_counted(&d, 23, 1); /* candidate 21, count 7: 0, 1, 2 have been rotated */
    ck_assert_ptr_eq(take_victim(&d, &kind), &d.things[3].node);
    ck_assert_int_eq(kind, POLICY_EVICTED);
    ck_assert_uint_eq(queue_of_thing(&d.things[21]), POLICY_PROBATION);
    ck_assert_uint_eq(queue_of_thing(&d.things[0]), POLICY_PROBATION);
    driver_deinit(&d);
}
END_TEST

/* A much requested victim at the tail must not turn away one candidate after another. */
START_TEST(winning_victim_is_rotated)
{
    struct driver d;
    enum policy_victim_kind kind;
    driver_init(&d, 200, 20);
    insert_counted(&d, 0, 7);
    for (uint32_t i = 1; i < 18; i++) {
        insert_counted(&d, i, 1);
    }
    for (uint32_t i = 18; i < 22; i++) {
        insert_counted(&d, i, 4);
        if (i >= 20) {
            ck_assert_ptr_eq(take_victim(&d, &kind), &d.things[i == 20 ? 18 : 1].node);
        }
    }
    driver_deinit(&d);
}
END_TEST

START_TEST(evicted_counts_come_back)
{
    struct driver d;
    enum policy_victim_kind kind;
    driver_init(&d, 200, 20);
    insert_counted(&d, 0, 2);
    policy_hit(d.policy, &d.things[0].node, d.things[0].hash);
    ck_assert_uint_eq(policy_node_frequency(d.policy, &d.things[0].node), 3);
    for (uint32_t i = 1; i < 30; i++) {
        insert_counted(&d, i, 4);
    }
    ck_assert_uint_eq(policy_frequency(d.policy, d.things[0].hash), 0); /* it is in the item */
    while (is_in(&d, 0)) {
        ck_assert_ptr_nonnull(take_victim(&d, &kind));
    }
    ck_assert_uint_eq(policy_frequency(d.policy, d.things[0].hash), 3);
    insert_counted(&d, 0, 1);
    ck_assert_uint_eq(policy_node_frequency(d.policy, &d.things[0].node), 4);
    driver_deinit(&d);
}
END_TEST

START_TEST(removed_node_is_forgotten)
{
    struct driver d;
    struct policy_stats stats;
    driver_init(&d, 10, 20);
    insert_counted(&d, 0, 1);
    policy_remove(d.policy, &d.things[0].node, 1);
    ck_assert(!is_in(&d, 0));
    policy_remove(d.policy, &d.things[0].node, 1); /* nothing */
    policy_stats(d.policy, &stats);
    ck_assert_uint_eq(stats.items[POLICY_WINDOW], 0);
    enum policy_victim_kind kind;
    ck_assert_ptr_null(take_victim(&d, &kind));
    driver_deinit(&d);
}
END_TEST

START_TEST(replacement_inherits)
{
    struct driver d;
    struct policy_stats stats;
    driver_init(&d, 100, 20);
    for (uint32_t i = 0; i < 20; i++) {
        insert_counted(&d, i, 2);
    }
    policy_hit(d.policy, &d.things[0].node, d.things[0].hash);
    uint8_t bits = d.things[0].policy;
    d.things[50].size = 3;
    policy_replace(d.policy, &d.things[0].node, 1, &d.things[50].node, 3);
    ck_assert(!is_in(&d, 0));
    ck_assert_uint_eq(d.things[50].policy, bits);
    ck_assert_uint_eq(policy_node_frequency(d.policy, &d.things[50].node), 3);
    policy_stats(d.policy, &stats);
    ck_assert_uint_eq(stats.bytes[POLICY_PROBATION], 18 + 2);
    ck_assert_uint_eq(stats.items[POLICY_PROBATION], 18);
    d.things[1].size = 4;
    policy_update_size(d.policy, &d.things[1].node, 1, 4);
    policy_stats(d.policy, &stats);
    ck_assert_uint_eq(stats.bytes[POLICY_PROBATION], 18 + 2 + 3);
    driver_evict(&d);
    driver_deinit(&d);
}
END_TEST

/* --- refusals ------------------------------------------------------------------------------- */

struct refusal {
    unsigned n_calls, n_refused;
};

static bool refuse(struct policy_node *node, void *arg)
{
    struct refusal *refusal = arg;
    return ++refusal->n_calls > refusal->n_refused;
}

START_TEST(refused_victims_stay)
{
    struct driver d;
    enum policy_victim_kind kind;
    driver_init(&d, 200, 20);
    for (uint32_t i = 0; i < 21; i++) {
        insert_counted(&d, i, 1);
    }
    struct refusal all = {.n_refused = 1000};
    ck_assert_ptr_null(policy_victim(d.policy, refuse, &all, &kind));
    ck_assert_uint_eq(all.n_calls, POLICY_TRIES);
    for (uint32_t i = 0; i < 21; i++) {
        ck_assert(is_in(&d, i));
    }
    struct refusal some = {.n_refused = POLICY_TRIES - 1};
    struct policy_node *victim = policy_victim(d.policy, refuse, &some, &kind);
    ck_assert_ptr_nonnull(victim);
    ck_assert(!policy_needs_eviction(d.policy));
    driver_deinit(&d);
}
END_TEST

/* All nodes hit: an eviction still looks at a few only, at any number of nodes. */
START_TEST(eviction_is_bounded)
{
    struct driver d;
    enum policy_victim_kind kind;
    driver_init(&d, 50000, 40000);
    for (uint32_t i = 0; i < 40001; i++) {
        insert_counted(&d, i, 1);
        policy_hit(d.policy, &d.things[i].node, d.things[i].hash);
    }
    for (unsigned i = 0; i < 100; i++) {
        n_size_calls = 0;
        ck_assert_ptr_nonnull(take_victim(&d, &kind));
        ck_assert_uint_lt(n_size_calls, 80);
        insert_counted(&d, 40001 + i, 1);
        policy_hit(d.policy, &d.things[40001 + i].node, d.things[40001 + i].hash);
    }
    driver_deinit(&d);
}
END_TEST

/* --- sizes ---------------------------------------------------------------------------------- */

START_TEST(larger_than_the_window)
{
    struct driver d;
    enum policy_victim_kind kind;
    driver_init(&d, 200, 100); /* window of 10 */
    for (uint32_t i = 0; i < 100; i++) {
        insert_counted(&d, i, 2);
    }
    d.things[150].size = 12;
    insert_counted(&d, 150, 1);
    ck_assert_ptr_eq(take_victim(&d, &kind), &d.things[150].node);
    ck_assert_int_eq(kind, POLICY_REJECTED);
    for (uint32_t i = 0; i < 100; i++) {
        ck_assert(is_in(&d, i));
    }
    driver_deinit(&d);
}
END_TEST

/* It must be worth more than all it displaces: 3 requests against 2 each. */
START_TEST(large_candidate_beats_the_sum)
{
    struct driver d;
    enum policy_victim_kind kind;
    driver_init(&d, 200, 100);
    for (uint32_t i = 0; i < 100; i++) {
        insert_counted(&d, i, i < 3 ? 2 : 1);
    }
    d.things[150].size = 3;
    insert_counted(&d, 150, 3);
    for (uint32_t i = 151; i < 160; i++) { /* pushes it through the window */
        policy_insert(d.policy, &d.things[i].node, 1);
    }
    while (policy_needs_eviction(d.policy)) {
        ck_assert_ptr_nonnull(take_victim(&d, &kind));
    }
    ck_assert(!is_in(&d, 150));
    ck_assert(is_in(&d, 0) && is_in(&d, 1) && is_in(&d, 2));
    driver_deinit(&d);
}
END_TEST

/* And a small one need only be worth more a byte. */
START_TEST(small_candidate_is_measured_by_density)
{
    struct driver d;
    enum policy_victim_kind kind;
    driver_init(&d, 200, 100);
    d.things[0].size = 10;
    for (uint32_t i = 0; i < 91; i++) {
        insert_counted(&d, i, i == 0 ? 5 : 1);
    }
    insert_counted(&d, 150, 1); /* pushes 81, of count 1 and size 1, out of the window */
    ck_assert_ptr_eq(take_victim(&d, &kind), &d.things[0].node);
    ck_assert_int_eq(kind, POLICY_EVICTED);
    driver_deinit(&d);
}
END_TEST

/* --- a random life against plain bookkeeping ------------------------------------------------ */

static void check_books(const struct driver *d)
{
    struct policy_stats stats;
    size_t bytes[POLICY_QUEUES] = {0}, items[POLICY_QUEUES] = {0};
    policy_stats(d->policy, &stats);
    for (uint32_t i = 0; i < d->n_keys; i++) {
        unsigned queue = queue_of_thing(&d->things[i]);
        if (queue != POLICY_NONE) {
            bytes[queue] += d->things[i].size;
            items[queue]++;
        }
    }
    for (unsigned q = 0; q < POLICY_QUEUES; q++) {
        ck_assert_uint_eq(stats.bytes[q], bytes[q]);
        ck_assert_uint_eq(stats.items[q], items[q]);
    }
}

static void random_step(struct driver *d, uint64_t *state)
{
    uint64_t r = random_next(state);
    uint32_t key = (uint32_t)(r >> 32) % d->n_keys, other = (key + 1) % d->n_keys;
    struct thing *thing = &d->things[key];
    size_t size = 1 + (r >> 8) % ((r & 64) != 0 ? 40 : 2000);
    switch (r % 16) {
    case 0:
        policy_remove(d->policy, &thing->node, thing->size);
        break;
    case 1:
        if (is_in(d, key)) {
            policy_update_size(d->policy, &thing->node, thing->size, size);
            thing->size = size;
        }
        break;
    case 2:
        if (is_in(d, key) && !is_in(d, other)) {
            d->things[other].size = size;
            policy_replace(d->policy, &thing->node, thing->size, &d->things[other].node, size);
        }
        break;
    case 3:
        if (r % 64 == 3) {
            policy_resize(d->policy, 2000 + (r >> 12) % 20000);
            policy_set_window(d->policy, (double)((r >> 24) % 101) / 100);
        }
        break;
    default:
        if (!is_in(d, key)) {
            thing->size = size;
        }
        driver_request(d, key);
    }
    driver_evict(d);
}

START_TEST(books_balance)
{
    struct driver d;
    uint64_t state = 20240229;
    driver_init(&d, 1000, 10000);
    for (unsigned i = 0; i < 100000; i++) {
        random_step(&d, &state);
        if (i % 100 == 0) {
            check_books(&d);
        }
    }
    policy_resize(d.policy, 0);
    driver_evict(&d);
    for (uint32_t i = 0; i < d.n_keys; i++) {
        ck_assert(!is_in(&d, i));
    }
    driver_deinit(&d);
}
END_TEST

/* --- threads -------------------------------------------------------------------------------- */

struct hitter {
    pthread_t thread;
    struct driver *driver;
    uint64_t seed;
};

static void *hit_at_random(void *arg)
{
    struct hitter *h = arg;
    for (unsigned i = 0; i < 100000; i++) {
        struct thing *thing = &h->driver->things[random_next(&h->seed) % h->driver->n_keys];
        policy_hit(h->driver->policy, &thing->node, thing->hash);
        if (i % 8 == 0) {
            policy_record_miss(h->driver->policy, thing->hash);
            policy_frequency(h->driver->policy, thing->hash);
        }
    }
    return NULL;
}

/* Hits need no lock: beside them the lists stay whole and every node keeps its queue. */
START_TEST(hits_beside_evictions)
{
    struct driver d;
    struct hitter hitters[3];
    struct ghost_table *retired[8];
    uint64_t state = 7;
    driver_init(&d, 2000, 1000);
    for (unsigned i = 0; i < 3; i++) {
        hitters[i] = (struct hitter){.driver = &d, .seed = i};
        ck_assert_int_eq(pthread_create(&hitters[i].thread, NULL, hit_at_random, &hitters[i]), 0);
    }
    for (unsigned i = 0; i < 50000; i++) {
        driver_request(&d, (uint32_t)(random_next(&state) % d.n_keys));
        if (i % 6250 == 0) {
            ck_assert_int_eq(policy_resize_ghost(d.policy, 3000 + i, &retired[i / 6250]), OK);
        }
    }
    for (unsigned i = 0; i < 3; i++) {
        pthread_join(hitters[i].thread, NULL);
    }
    for (unsigned i = 0; i < 8; i++) {
        ghost_table_free(&retired[i]);
    }
    check_books(&d);
    driver_deinit(&d);
}
END_TEST

/* --- hit ratios ----------------------------------------------------------------------------- */

START_TEST(scan_leaves_the_popular)
{
    struct driver d;
    uint64_t state = 1;
    driver_init(&d, 21000, 1000);
    for (unsigned i = 0; i < 20000; i++) {
        driver_request(&d, (uint32_t)(random_next(&state) % 500));
    }
    for (uint32_t i = 1000; i < 21000; i++) {
        driver_request(&d, i);
    }
    unsigned n_left = 0;
    for (uint32_t i = 0; i < 500; i++) {
        n_left += is_in(&d, i);
    }
    ck_assert_uint_ge(n_left, 480);
    driver_deinit(&d);
}
END_TEST

/* LRU scores 0; the optimum is (capacity - 1) / (keys - 1). */
START_TEST(loop_larger_than_the_cache)
{
    struct driver d;
    driver_init(&d, 1500, 1000);
    for (unsigned i = 0; i < 200 * 1500; i++) {
        driver_request(&d, i % 1500);
    }
    double ratio = driver_ratio(&d);
    ck_assert_double_gt(ratio, 0.45);
    driver_deinit(&d);
}
END_TEST

/* Fresh keys asked for a few times in a row and never again: the window's work. */
START_TEST(bursts_hit_in_the_window)
{
    struct driver d;
    uint64_t state = 3;
    driver_init(&d, 300000, 1000);
    for (uint32_t i = 0; i < 300000; i++) {
        uint32_t back = (uint32_t)(random_next(&state) % 50);
        driver_request(&d, i);
        driver_request(&d, i > back ? i - back : i);
    }
    ck_assert_double_gt(driver_ratio(&d), 0.49); /* all that can be */
    driver_deinit(&d);
}
END_TEST

static double zipf_ratio(uint32_t n_keys, size_t capacity, double alpha, unsigned n_requests,
                         uint32_t stride)
{
    struct driver d;
    struct zipf zipf;
    uint64_t state = 42;
    zipf_init(&zipf, n_keys, alpha);
    driver_init(&d, n_keys / stride + 1, capacity / stride);
    for (unsigned i = 0; i < n_requests / stride; i++) {
        if (i == n_requests / stride / 5) {
            driver_ratio(&d); /* warm */
        }
        driver_request(&d, zipf_next(&zipf, &state) / stride);
    }
    double ratio = driver_ratio(&d);
    driver_deinit(&d);
    zipf_deinit(&zipf);
    return ratio;
}

START_TEST(popular_keys_stay)
{
    /* LRU: .36, .12; Belady: .55, .32 */
    ck_assert_double_gt(zipf_ratio(200000, 2000, 0.9, 1000000, 1), 0.46);
    ck_assert_double_gt(zipf_ratio(200000, 2000, 0.7, 1000000, 1), 0.20);
}
END_TEST

/* The forecasts depend on it: a tenth of the keys, a tenth of the capacity and of the requests give
 * the same ratio. Every ten neighbours in popularity become one key, a sample without luck. */
START_TEST(behaves_the_same_at_a_tenth)
{
    const struct {
        size_t capacity;
        double alpha;
    } cells[] = {{10000, 0.7}, {40000, 0.9}, {20000, 1.1}};
    for (unsigned i = 0; i < sizeof cells / sizeof cells[0]; i++) {
        double whole = zipf_ratio(200000, cells[i].capacity, cells[i].alpha, 2000000, 1);
        double tenth = zipf_ratio(200000, cells[i].capacity, cells[i].alpha, 2000000, 10);
        ck_assert_msg(fabs(whole - tenth) <= 0.006, "capacity %zu alpha %g: %.4f and %.4f",
                      cells[i].capacity, cells[i].alpha, whole, tenth);
    }
}
END_TEST

/* After the popular keys have all changed, the new ones are in soon. */
START_TEST(follows_a_phase_change)
{
    struct driver d;
    struct zipf zipf;
    uint64_t state = 5;
    zipf_init(&zipf, 20000, 1.0);
    driver_init(&d, 40000, 1000);
    for (unsigned i = 0; i < 200000; i++) {
        driver_request(&d, zipf_next(&zipf, &state));
    }
    double before = driver_ratio(&d);
    for (unsigned i = 0; i < 40000; i++) {
        driver_request(&d, 20000 + zipf_next(&zipf, &state));
    }
    driver_ratio(&d);
    for (unsigned i = 0; i < 40000; i++) {
        driver_request(&d, 20000 + zipf_next(&zipf, &state));
    }
    double after = driver_ratio(&d);
    ck_assert_msg(after > before - 0.03, "%.4f before, %.4f after", before, after);
    driver_deinit(&d);
    zipf_deinit(&zipf);
}
END_TEST

START_TEST(shrinks_and_grows)
{
    struct driver d;
    struct zipf zipf;
    struct policy_stats stats;
    struct ghost_table *retired;
    uint64_t state = 9;
    zipf_init(&zipf, 20000, 0.9);
    driver_init(&d, 20000, 4000);
    for (unsigned step = 0; step < 8; step++) {
        size_t capacity = step < 4 ? 4000 - step * 900 : 1300 + (step - 4) * 900;
        policy_resize(d.policy, capacity);
        ck_assert_int_eq(policy_resize_ghost(d.policy, capacity * 2, &retired), OK);
        ghost_table_free(&retired);
        for (unsigned i = 0; i < 20000; i++) {
            driver_request(&d, zipf_next(&zipf, &state));
        }
        policy_stats(d.policy, &stats);
        ck_assert_uint_eq(stats.bytes[POLICY_WINDOW] + stats.bytes[POLICY_PROBATION] +
                              stats.bytes[POLICY_PROTECTED],
                          capacity);
        ck_assert_uint_le(stats.bytes[POLICY_WINDOW], capacity / 10 + 1);
    }
    ck_assert_double_gt(driver_ratio(&d), 0.5);
    driver_deinit(&d);
    zipf_deinit(&zipf);
}
END_TEST

UNIT_MAIN("policy", {fills_without_evicting, 0}, {candidate_needs_more_requests, 0},
          {winning_victim_is_rotated, 0}, {evicted_counts_come_back, 0},
          {removed_node_is_forgotten, 0}, {replacement_inherits, 0}, {refused_victims_stay, 0},
          {eviction_is_bounded, 0}, {larger_than_the_window, 0}, {large_candidate_beats_the_sum, 0},
          {small_candidate_is_measured_by_density, 0}, {books_balance, 0},
          {hits_beside_evictions, 0}, {scan_leaves_the_popular, 0}, {loop_larger_than_the_cache, 0},
          {bursts_hit_in_the_window, 0}, {popular_keys_stay, 0}, {behaves_the_same_at_a_tenth, 0},
          {follows_a_phase_change, 0}, {shrinks_and_grows, 0})
