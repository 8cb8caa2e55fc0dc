/*
 * W-TinyLFU with lazy lists and counts in the items.
 *
 *     insert -> [ window 10 % ] -> tail -- hit ------------------> [ probation | protected 80 % ]
 *                                       \- not: contest by count ->     main space, 90 %
 *                                               loser leaves the tier
 *
 * The idea: a hit changes one byte of the item (hit bit, count, epoch), never a list. Recency is
 * applied when a node reaches the tail of its queue: with its hit bit set it is given its due
 * (window: to probation; probation: to protected; protected: another round) and the bit is cleared.
 * Frequency is exact for items present; of absent keys the ghost (ghost.h) remembers the count
 * that evicted items left with, and the requests since.
 *
 * Invariants:
 * 1. A node is in exactly one queue, named by its policy byte; bytes and items of a queue are the
 *    sums over its nodes (sizes as the caller gave them).
 * 2. The queue bits change under the policy lock only; a hit's update is one compare-and-swap of the
 *    whole byte that gives up when it fails, so it cannot undo a move.
 * 3. Nothing leaves the tier while used <= capacity; the window then overflows into probation.
 * 4. Contest: the window's tail against the victims whose room it needs, by requests per byte; ties
 *    go to the victim. A victim that wins goes to the MRU end of its queue, or it would turn away one candidate after
 *    another (shared/capacity.md 1.5.2).
 * 5. Limits are fractions of capacity; an epoch is a number of requests per item that the capacity
 *    holds; MOVES_MAX bounds the work of one eviction, not of a queue: all of it scales.
 * 6. A count is what it says if its epoch is the present one, halved per epoch since; the epoch has
 *    two bits, so a node not looked at for four epochs counts as current.
 */
#include "engine/policy/policy.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/policy/epoch.h"

#define PROTECTED_FRACTION 0.80
/* Effective requests per item and epoch. TinyLFU's is 10; counts limited to 7 last longer. */
#define SAMPLE_PER_ITEM 20
/* Lazy moves per eviction, a cache miss each: bounds its time, and gives better hit ratios than no
 * bound (README.md). */
#define MOVES_MAX 8
/* Victims looked at when a large candidate would displace several. */
#define CONTEST_MAX 8
/* Times the mean size: nodes that must contest even if hit in the window. */
#define LARGE 2
/* Insertions between two looks at the clock, and what part of the items at most. */
#define CLOCK_INTERVAL 64
#define CLOCK_INTERVAL_PART 1024

#define EPOCH_SHIFT 3
#define EPOCH_MASK 3u
#define COUNT_SHIFT 5
static_assert(POLICY_FREQUENCY_MAX << COUNT_SHIFT == 0xe0, "the count has the byte's top bits");

struct queue {
    struct policy_node head; /* head.next: most recent, head.prev: tail */
    size_t bytes, items;
    size_t limit_bytes; /* window and protected; unused for probation */
};

struct policy {
    struct ghost *ghost;   /* immutable pointer; its own threading */
    struct policy_ops ops; /* immutable after create */
    struct epoch epoch;    /* its own threading; epoch_advance under the policy lock */
    /* policy lock */
    size_t capacity_bytes;
    double window_fraction;
    uint64_t insertions_to_clock;
    struct queue queues[POLICY_QUEUES];
};

/* --- nodes and queues ----------------------------------------------------------------------- */

static _Atomic uint8_t *bits_of(const struct policy_node *node)
{
    return (_Atomic uint8_t *)((uintptr_t)node + POLICY_BITS_OFFSET);
}

static uint8_t load_bits(const struct policy_node *node)
{
    return atomic_load_explicit(bits_of(node), memory_order_relaxed);
}

static enum policy_queue queue_of(const struct policy_node *node)
{
    return load_bits(node) & POLICY_QUEUE_MASK;
}

static bool is_hit(const struct policy_node *node)
{
    return load_bits(node) & POLICY_HIT;
}

/* Requests lately, halved for each epoch since the node was last looked at. */
static unsigned aged_count(uint8_t bits, unsigned epoch)
{
    return bits >> COUNT_SHIFT >> ((epoch - (bits >> EPOCH_SHIFT)) & EPOCH_MASK);
}

static uint8_t make_bits(enum policy_queue queue, unsigned hit, unsigned epoch, unsigned count)
{
    return (uint8_t)(queue | hit | (epoch & EPOCH_MASK) << EPOCH_SHIFT | count << COUNT_SHIFT);
}

static unsigned count_of(const struct policy *policy, const struct policy_node *node)
{
    return aged_count(load_bits(node), epoch_now(&policy->epoch));
}

/* Whoever is moved has been looked at: the hit bit goes, count and epoch are brought up to date. */
static void stamp(const struct policy *policy, struct policy_node *node, enum policy_queue queue)
{
    unsigned epoch = epoch_now(&policy->epoch);
    uint8_t bits = load_bits(node);
    while (
        !atomic_compare_exchange_weak_explicit(bits_of(node), &bits,
                                               make_bits(queue, 0, epoch, aged_count(bits, epoch)),
                                               memory_order_relaxed, memory_order_relaxed)) {
    }
}

static void link_after(struct policy_node *at, struct policy_node *node)
{
    node->prev = at;
    node->next = at->next;
    at->next->prev = node;
    at->next = node;
}

static void unlink_node(struct policy_node *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
}

static struct policy_node *tail_of(const struct queue *queue)
{
    return queue->items == 0 ? NULL : queue->head.prev;
}

/* The tail of a queue that is not empty. */
static struct policy_node *oldest(const struct queue *queue)
{
    DCHECK(queue->items > 0);
    return queue->head.prev;
}

static void push_mru(struct policy *policy, enum policy_queue id, struct policy_node *node,
                     size_t size)
{
    struct queue *queue = &policy->queues[id];
    link_after(&queue->head, node);
    queue->bytes += size;
    queue->items++;
}

static void take(struct policy *policy, enum policy_queue id, struct policy_node *node, size_t size)
{
    struct queue *queue = &policy->queues[id];
    DCHECK(queue->items > 0 && queue->bytes >= size);
    unlink_node(node);
    queue->bytes -= size;
    queue->items--;
}

static void move_mru(struct policy *policy, struct policy_node *node, enum policy_queue to)
{
    enum policy_queue from = queue_of(node);
    if (from == to) {
        unlink_node(node);
        link_after(&policy->queues[to].head, node);
    } else {
        size_t size = policy->ops.size(node);
        take(policy, from, node, size);
        push_mru(policy, to, node, size);
    }
    stamp(policy, node, to);
}

static size_t used_bytes(const struct policy *policy)
{
    const struct queue *q = policy->queues;
    return q[POLICY_WINDOW].bytes + q[POLICY_PROBATION].bytes + q[POLICY_PROTECTED].bytes;
}

static size_t used_items(const struct policy *policy)
{
    const struct queue *q = policy->queues;
    return q[POLICY_WINDOW].items + q[POLICY_PROBATION].items + q[POLICY_PROTECTED].items;
}

static bool is_over(const struct queue *queue)
{
    return queue->bytes > queue->limit_bytes;
}

static void set_limits(struct policy *policy)
{
    double window = policy->window_fraction * (double)policy->capacity_bytes;
    double main_space = (double)policy->capacity_bytes - window;
    policy->queues[POLICY_WINDOW].limit_bytes = (size_t)window;
    policy->queues[POLICY_PROTECTED].limit_bytes = (size_t)(PROTECTED_FRACTION * main_space);
}

/* --- life ----------------------------------------------------------------------------------- */

enum status policy_create(size_t capacity_bytes, size_t ghost_bytes, struct policy_ops ops,
                          struct policy **policy_out)
{
    enum status st;
    *policy_out = NULL;
    struct policy *policy = aligned_alloc(64, sizeof *policy);
    if (policy == NULL) {
        return NO_MEMORY;
    }
    memset(policy, 0, sizeof *policy);
    TRY(ghost_create(ghost_bytes, &policy->ghost));
    policy->ops = ops;
    policy->capacity_bytes = capacity_bytes;
    policy->window_fraction = POLICY_WINDOW_DEFAULT;
    for (unsigned i = 0; i < POLICY_QUEUES; i++) {
        struct policy_node *head = &policy->queues[i].head;
        head->prev = head->next = head;
    }
    set_limits(policy);
    *policy_out = policy;
    policy = NULL;
out:
    free(policy);
    return st;
}

void policy_destroy(struct policy **policy)
{
    if (*policy != NULL) {
        ghost_destroy(&(*policy)->ghost);
        free(*policy);
        *policy = NULL;
    }
}

void policy_resize(struct policy *policy, size_t capacity_bytes)
{
    policy->capacity_bytes = capacity_bytes;
    set_limits(policy);
}

enum status policy_resize_ghost(struct policy *policy, size_t ghost_bytes,
                                struct ghost_table **retired_out)
{
    return ghost_resize(policy->ghost, ghost_bytes, retired_out);
}

void policy_set_window(struct policy *policy, double fraction)
{
    policy->window_fraction = fraction < 0.001 ? 0.001 : fraction > 0.999 ? 0.999 : fraction;
    set_limits(policy);
}

/* --- look-ups ------------------------------------------------------------------------------- */

void policy_hit(struct policy *policy, struct policy_node *node, uint64_t hash)
{
    (void)hash;
    unsigned epoch = epoch_now(&policy->epoch);
    uint8_t bits = load_bits(node);
    unsigned count = aged_count(bits, epoch);
    bool is_counted = count < POLICY_FREQUENCY_MAX;
    uint8_t fresh = make_bits(bits & POLICY_QUEUE_MASK, POLICY_HIT, epoch, count + is_counted);
    if (fresh != bits) {
        /* Lost against another thread: that one's update is as good. */
        atomic_compare_exchange_weak_explicit(bits_of(node), &bits, fresh, memory_order_relaxed,
                                              memory_order_relaxed);
    }
    if (is_counted) {
        epoch_tick(&policy->epoch);
    }
}

void policy_record_miss(struct policy *policy, uint64_t hash)
{
    if (ghost_add(policy->ghost, hash)) {
        epoch_tick(&policy->epoch);
    }
}

unsigned policy_frequency(const struct policy *policy, uint64_t hash)
{
    return ghost_count(policy->ghost, hash);
}

unsigned policy_node_frequency(const struct policy *policy, const struct policy_node *node)
{
    return count_of(policy, node);
}

/* --- lazy recency --------------------------------------------------------------------------- */

static void shrink_protected(struct policy *policy, unsigned *moves)
{
    struct queue *protected_queue = &policy->queues[POLICY_PROTECTED];
    while (is_over(protected_queue) && *moves > 0) {
        struct policy_node *tail = oldest(protected_queue);
        --*moves;
        move_mru(policy, tail, is_hit(tail) ? POLICY_PROTECTED : POLICY_PROBATION);
    }
}

static bool is_large(const struct policy *policy, const struct policy_node *node)
{
    double mean = (double)used_bytes(policy) / (double)used_items(policy);
    return (double)policy->ops.size(node) > LARGE * mean;
}

/* The node that leaves the window next, NULL if the window is not over its limit. Nodes hit in the
 * window have shown their worth: they enter the main space without a contest, unless large. */
static struct policy_node *window_candidate(struct policy *policy, unsigned *moves)
{
    struct queue *window = &policy->queues[POLICY_WINDOW];
    while (is_over(window)) {
        struct policy_node *tail = oldest(window);
        if (!is_hit(tail) || *moves == 0 || is_large(policy, tail)) {
            return tail;
        }
        --*moves;
        move_mru(policy, tail, POLICY_PROBATION);
        shrink_protected(policy, moves);
    }
    return NULL;
}

/* The node that leaves the main space next, NULL if it is empty. */
static struct policy_node *main_victim(struct policy *policy, unsigned *moves)
{
    struct policy_node *tail;
    while ((tail = tail_of(&policy->queues[POLICY_PROBATION])) != NULL) {
        if (!is_hit(tail) || *moves == 0) {
            return tail;
        }
        --*moves;
        move_mru(policy, tail, POLICY_PROTECTED);
        shrink_protected(policy, moves);
    }
    while ((tail = tail_of(&policy->queues[POLICY_PROTECTED])) != NULL) {
        if (!is_hit(tail) || *moves == 0) {
            break;
        }
        --*moves;
        move_mru(policy, tail, POLICY_PROTECTED);
    }
    return tail;
}

/* While there is room nobody contests: the window's surplus becomes main space. */
static void overflow_window(struct policy *policy)
{
    struct queue *window = &policy->queues[POLICY_WINDOW];
    for (unsigned i = 0; i < MOVES_MAX && is_over(window); i++) {
        move_mru(policy, oldest(window), POLICY_PROBATION);
    }
}

/* --- insertion and removal ------------------------------------------------------------------ */

/* Items the capacity would hold at the present mean size. */
static uint64_t capacity_items(const struct policy *policy)
{
    size_t used = used_bytes(policy);
    double share = used == 0 ? 0 : (double)used_items(policy) / (double)used;
    return (uint64_t)(share * (double)policy->capacity_bytes) + 1;
}

/* Starts an epoch when it is time, and ages the ghost step by step. */
static void run_clock(struct policy *policy)
{
    ghost_age(policy->ghost);
    if (policy->insertions_to_clock > 0) {
        policy->insertions_to_clock--;
        return;
    }
    uint64_t n_items = capacity_items(policy);
    uint64_t interval = n_items / CLOCK_INTERVAL_PART;
    policy->insertions_to_clock = interval < CLOCK_INTERVAL ? interval : CLOCK_INTERVAL;
    if (epoch_advance(&policy->epoch, SAMPLE_PER_ITEM * n_items)) {
        ghost_age_begin(policy->ghost);
    }
}

void policy_insert(struct policy *policy, struct policy_node *node, size_t size)
{
    struct queue *window = &policy->queues[POLICY_WINDOW];
    unsigned count = ghost_take(policy->ghost, policy->ops.hash(node));
    atomic_store_explicit(bits_of(node),
                          make_bits(POLICY_WINDOW, 0, epoch_now(&policy->epoch),
                                    count == 0 ? 1 : count),
                          memory_order_relaxed);
    push_mru(policy, POLICY_WINDOW, node, size);
    if (size > window->limit_bytes && window->items > 1) {
        /* It would push all others out and then go itself: let it be the candidate at once. */
        unlink_node(node);
        link_after(window->head.prev, node);
    }
    if (!policy_needs_eviction(policy)) {
        overflow_window(policy);
    }
    run_clock(policy);
}

void policy_remove(struct policy *policy, struct policy_node *node, size_t size)
{
    enum policy_queue id = queue_of(node);
    if (id != POLICY_NONE) {
        take(policy, id, node, size);
        stamp(policy, node, POLICY_NONE);
    }
}

void policy_update_size(struct policy *policy, struct policy_node *node, size_t old_size,
                        size_t new_size)
{
    enum policy_queue id = queue_of(node);
    if (id != POLICY_NONE) {
        policy->queues[id].bytes += new_size - old_size;
    }
}

void policy_replace(struct policy *policy, struct policy_node *old, size_t old_size,
                    struct policy_node *fresh, size_t new_size)
{
    uint8_t bits = load_bits(old);
    enum policy_queue id = bits & POLICY_QUEUE_MASK;
    DCHECK(id != POLICY_NONE);
    atomic_store_explicit(bits_of(fresh), bits, memory_order_relaxed);
    link_after(old, fresh);
    unlink_node(old);
    stamp(policy, old, POLICY_NONE);
    policy->queues[id].bytes += new_size - old_size;
}

/* --- eviction ------------------------------------------------------------------------------- */

bool policy_needs_eviction(const struct policy *policy)
{
    return used_bytes(policy) > policy->capacity_bytes;
}

/* Is the candidate asked for more often, byte for byte, than what it would displace? A small one is
 * measured by the victim's density, a large one by the sum of all victims from `victim` on. */
static bool candidate_wins(const struct policy *policy, const struct policy_node *candidate,
                           const struct policy_node *victim)
{
    const struct policy_node *head = &policy->queues[queue_of(victim)].head;
    unsigned count = count_of(policy, candidate), displaced = 0;
    size_t needed = policy->ops.size(candidate), size = policy->ops.size(victim);
    if (size >= needed) {
        return (double)count * (double)size > (double)count_of(policy, victim) * (double)needed;
    }
    for (unsigned i = 0; i < CONTEST_MAX && victim != head; i++, victim = victim->prev) {
        displaced += count_of(policy, victim);
        if (count <= displaced) {
            return false;
        }
        size = policy->ops.size(victim);
        if (size >= needed) {
            break;
        }
        needed -= size;
    }
    return true;
}

static bool has_main_room(const struct policy *policy, const struct policy_node *candidate)
{
    size_t main_bytes =
        policy->queues[POLICY_PROBATION].bytes + policy->queues[POLICY_PROTECTED].bytes;
    return main_bytes + policy->ops.size(candidate) <=
           policy->capacity_bytes - policy->queues[POLICY_WINDOW].limit_bytes;
}

/* The node that should leave, still linked, and the candidate that it gives way to (or NULL). */
static struct policy_node *choose(struct policy *policy, unsigned *moves,
                                  struct policy_node **winner_out)
{
    struct policy_node *candidate = window_candidate(policy, moves);
    *winner_out = NULL;
    while (candidate != NULL && has_main_room(policy, candidate) && *moves > 0) {
        --*moves;
        move_mru(policy, candidate, POLICY_PROBATION);
        candidate = window_candidate(policy, moves);
    }
    struct policy_node *victim = main_victim(policy, moves);
    if (victim == NULL) {
        return tail_of(&policy->queues[POLICY_WINDOW]);
    }
    if (candidate == NULL) {
        return victim;
    }
    if (candidate_wins(policy, candidate, victim)) {
        *winner_out = candidate;
        return victim;
    }
    move_mru(policy, victim, queue_of(victim));
    return candidate;
}

struct policy_node *policy_victim(struct policy *policy, policy_accept_fn accept, void *arg,
                                  enum policy_victim_kind *kind_out)
{
    unsigned moves = MOVES_MAX;
    for (unsigned i = 0; i < POLICY_TRIES; i++) {
        struct policy_node *winner;
        struct policy_node *node = choose(policy, &moves, &winner);
        if (node == NULL) {
            return NULL;
        }
        enum policy_queue id = queue_of(node);
        if (!accept(node, arg)) {
            move_mru(policy, node, id);
            continue;
        }
        ghost_put(policy->ghost, policy->ops.hash(node), count_of(policy, node));
        policy_remove(policy, node, policy->ops.size(node));
        if (winner != NULL) {
            move_mru(policy, winner, POLICY_PROBATION);
        }
        *kind_out = id == POLICY_WINDOW ? POLICY_REJECTED : POLICY_EVICTED;
        return node;
    }
    return NULL;
}

void policy_stats(const struct policy *policy, struct policy_stats *stats_out)
{
    memset(stats_out, 0, sizeof *stats_out);
    stats_out->capacity_bytes = policy->capacity_bytes;
    stats_out->window_capacity_bytes = policy->queues[POLICY_WINDOW].limit_bytes;
    for (unsigned i = 0; i < POLICY_QUEUES; i++) {
        stats_out->bytes[i] = policy->queues[i].bytes;
        stats_out->items[i] = policy->queues[i].items;
    }
    stats_out->overhead_bytes = sizeof *policy + ghost_bytes(policy->ghost);
}
