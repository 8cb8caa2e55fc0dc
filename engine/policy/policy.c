/*
 * W-TinyLFU with lazy lists.
 *
 *     insert -> [ window 10 % ] -> tail -> contest by frequency -> [ probation | protected 80 % ]
 *                                            loser leaves the tier     main space, 90 %
 *
 * The idea: a hit costs a bit in the node and a sketch counter, never a list. Recency is applied
 * when a node reaches the tail of its queue: with its hit bit set it is given its due (window and
 * protected: another round; probation: to protected) and the bit is cleared. Each such move was paid
 * by a hit, so the work is amortised O(1), and POLICY_MOVES bounds it per eviction.
 *
 * Invariants:
 * 1. A node is in exactly one queue, named by its policy byte; bytes and items of a queue are the
 *    sums over its nodes (sizes as the caller gave them).
 * 2. Nothing leaves the tier while used <= capacity; the window then overflows into probation.
 * 3. Contest: the window's tail against the victims whose room it needs; ties go to the victim. A
 *    victim that wins goes to the MRU end of its queue, or it would turn away one candidate after
 *    another (shared/capacity.md 1.5.2).
 * 4. Limits are fractions of capacity; the sketch ages by a sample proportional to the number of
 *    items the capacity holds.
 */
#include "engine/policy/policy.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/check.h"

#define PROTECTED_FRACTION 0.80
/* Effective increments per item between two ageings. */
#define SAMPLE_PER_ITEM 10
/* Lazy moves per eviction: far above the mean of at most one per hit between two evictions, small
 * enough (a cache miss each) to stay in microseconds. */
#define POLICY_MOVES 64
/* Victims looked at when a large candidate would displace several. */
#define CONTEST_MAX 8

struct queue {
    struct policy_node head; /* head.next: most recent, head.prev: tail */
    size_t bytes, items;
    size_t limit_bytes; /* window and protected; unused for probation */
};

struct policy {
    struct sketch *sketch; /* immutable pointer; its own threading */
    struct policy_ops ops; /* immutable after create */
    /* policy lock */
    size_t capacity_bytes;
    double window_fraction;
    struct queue queues[POLICY_QUEUES];
};

/* --- nodes and queues ----------------------------------------------------------------------- */

static _Atomic uint8_t *bits_of(const struct policy_node *node)
{
    return (_Atomic uint8_t *)((uintptr_t)node + POLICY_BITS_OFFSET);
}

static enum policy_queue queue_of(const struct policy_node *node)
{
    return atomic_load_explicit(bits_of(node), memory_order_relaxed) & POLICY_QUEUE_MASK;
}

static bool is_hit(const struct policy_node *node)
{
    return atomic_load_explicit(bits_of(node), memory_order_relaxed) & POLICY_HIT;
}

static void set_queue(struct policy_node *node, enum policy_queue from, enum policy_queue to)
{
    if (from != to) {
        atomic_fetch_xor_explicit(bits_of(node), (uint8_t)(from ^ to), memory_order_relaxed);
    }
}

static void clear_hit(struct policy_node *node)
{
    atomic_fetch_and_explicit(bits_of(node), (uint8_t)~POLICY_HIT, memory_order_relaxed);
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

static void move_mru(struct policy *policy, struct policy_node *node, enum policy_queue from,
                     enum policy_queue to)
{
    if (from == to) {
        unlink_node(node);
        link_after(&policy->queues[to].head, node);
        return;
    }
    size_t size = policy->ops.size(node);
    take(policy, from, node, size);
    push_mru(policy, to, node, size);
    set_queue(node, from, to);
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

enum status policy_create(size_t capacity_bytes, uint64_t n_counters, struct policy_ops ops,
                          struct policy **policy_out)
{
    enum status st;
    *policy_out = NULL;
    struct policy *policy = calloc(1, sizeof *policy);
    if (policy == NULL) {
        return NO_MEMORY;
    }
    TRY(sketch_create(n_counters, &policy->sketch));
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
        sketch_destroy(&(*policy)->sketch);
        free(*policy);
        *policy = NULL;
    }
}

void policy_resize(struct policy *policy, size_t capacity_bytes)
{
    policy->capacity_bytes = capacity_bytes;
    set_limits(policy);
}

enum status policy_resize_sketch(struct policy *policy, uint64_t n_counters,
                                 struct sketch_table **retired_out)
{
    return sketch_resize(policy->sketch, n_counters, retired_out);
}

void policy_set_window(struct policy *policy, double fraction)
{
    policy->window_fraction = fraction < 0.001 ? 0.001 : fraction > 0.999 ? 0.999 : fraction;
    set_limits(policy);
}

/* --- look-ups ------------------------------------------------------------------------------- */

void policy_hit(struct policy *policy, struct policy_node *node, uint64_t hash)
{
    if (!is_hit(node)) {
        atomic_fetch_or_explicit(bits_of(node), POLICY_HIT, memory_order_relaxed);
    }
    sketch_increment(policy->sketch, hash);
}

void policy_record_miss(struct policy *policy, uint64_t hash)
{
    sketch_increment(policy->sketch, hash);
}

unsigned policy_frequency(const struct policy *policy, uint64_t hash)
{
    return sketch_frequency(policy->sketch, hash);
}

void policy_prefetch(const struct policy *policy, uint64_t hash)
{
    sketch_prefetch(policy->sketch, hash);
}

/* --- lazy recency --------------------------------------------------------------------------- */

static void shrink_protected(struct policy *policy, unsigned *moves)
{
    struct queue *protected_queue = &policy->queues[POLICY_PROTECTED];
    while (is_over(protected_queue) && *moves > 0) {
        struct policy_node *tail = tail_of(protected_queue);
        --*moves;
        if (is_hit(tail)) {
            clear_hit(tail);
            move_mru(policy, tail, POLICY_PROTECTED, POLICY_PROTECTED);
        } else {
            move_mru(policy, tail, POLICY_PROTECTED, POLICY_PROBATION);
        }
    }
}

/* The queue's tail after nodes hit since they were last looked at have had their due. */
static struct policy_node *settled_tail(struct policy *policy, enum policy_queue id,
                                        unsigned *moves)
{
    struct policy_node *tail;
    while ((tail = tail_of(&policy->queues[id])) != NULL && is_hit(tail) && *moves > 0) {
        --*moves;
        clear_hit(tail);
        if (id == POLICY_PROBATION) {
            move_mru(policy, tail, POLICY_PROBATION, POLICY_PROTECTED);
            shrink_protected(policy, moves);
        } else {
            move_mru(policy, tail, id, id);
        }
    }
    return tail;
}

/* While there is room nobody contests: the window's surplus becomes main space. */
static void overflow_window(struct policy *policy)
{
    unsigned moves = POLICY_MOVES;
    struct queue *window = &policy->queues[POLICY_WINDOW];
    while (is_over(window) && moves > 0) {
        struct policy_node *tail = settled_tail(policy, POLICY_WINDOW, &moves);
        move_mru(policy, tail, POLICY_WINDOW, POLICY_PROBATION);
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

void policy_insert(struct policy *policy, struct policy_node *node, size_t size)
{
    struct queue *window = &policy->queues[POLICY_WINDOW];
    atomic_store_explicit(bits_of(node), POLICY_WINDOW, memory_order_relaxed);
    push_mru(policy, POLICY_WINDOW, node, size);
    if (size > window->limit_bytes && window->items > 1) {
        /* It would push all others out and then go itself: let it be the candidate at once. */
        unlink_node(node);
        link_after(window->head.prev, node);
    }
    if (!policy_needs_eviction(policy)) {
        overflow_window(policy);
    }
    sketch_maintain(policy->sketch, SAMPLE_PER_ITEM * capacity_items(policy));
}

void policy_remove(struct policy *policy, struct policy_node *node, size_t size)
{
    enum policy_queue id = queue_of(node);
    if (id != POLICY_NONE) {
        take(policy, id, node, size);
        set_queue(node, id, POLICY_NONE);
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
    uint8_t bits = atomic_load_explicit(bits_of(old), memory_order_relaxed);
    enum policy_queue id = bits & POLICY_QUEUE_MASK;
    DCHECK(id != POLICY_NONE);
    atomic_store_explicit(bits_of(fresh), bits, memory_order_relaxed);
    link_after(old, fresh);
    unlink_node(old);
    set_queue(old, id, POLICY_NONE);
    policy->queues[id].bytes += new_size - old_size;
}

/* --- eviction ------------------------------------------------------------------------------- */

bool policy_needs_eviction(const struct policy *policy)
{
    return used_bytes(policy) > policy->capacity_bytes;
}

static unsigned frequency_of(const struct policy *policy, const struct policy_node *node)
{
    return sketch_frequency(policy->sketch, policy->ops.hash(node));
}

/* Is the candidate asked for more often than all it would displace, from `victim` on? */
static bool candidate_wins(const struct policy *policy, const struct policy_node *candidate,
                           const struct policy_node *victim)
{
    unsigned frequency = frequency_of(policy, candidate);
    const struct policy_node *head = &policy->queues[queue_of(victim)].head;
    size_t needed = policy->ops.size(candidate);
    unsigned displaced = 0;
    for (unsigned i = 0; i < CONTEST_MAX && victim != head; i++, victim = victim->prev) {
        displaced += frequency_of(policy, victim);
        if (frequency <= displaced) {
            return false;
        }
        size_t size = policy->ops.size(victim);
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

static struct policy_node *main_tail(struct policy *policy, unsigned *moves)
{
    struct policy_node *tail = settled_tail(policy, POLICY_PROBATION, moves);
    return tail != NULL ? tail : settled_tail(policy, POLICY_PROTECTED, moves);
}

/* The node that should leave, still linked; the candidate it gives way to, or NULL. */
static struct policy_node *choose(struct policy *policy, unsigned *moves,
                                  struct policy_node **winner_out)
{
    struct queue *window = &policy->queues[POLICY_WINDOW];
    *winner_out = NULL;
    while (is_over(window)) {
        struct policy_node *candidate = settled_tail(policy, POLICY_WINDOW, moves);
        if (!has_main_room(policy, candidate)) {
            struct policy_node *victim = main_tail(policy, moves);
            if (victim == NULL) {
                return candidate;
            }
            if (candidate_wins(policy, candidate, victim)) {
                *winner_out = candidate;
                return victim;
            }
            move_mru(policy, victim, queue_of(victim), queue_of(victim));
            return candidate;
        }
        move_mru(policy, candidate, POLICY_WINDOW, POLICY_PROBATION);
    }
    struct policy_node *victim = main_tail(policy, moves);
    return victim != NULL ? victim : tail_of(window);
}

struct policy_node *policy_victim(struct policy *policy, policy_accept_fn accept, void *arg,
                                  enum policy_victim_kind *kind_out)
{
    unsigned moves = POLICY_MOVES;
    for (unsigned i = 0; i < POLICY_TRIES; i++) {
        struct policy_node *winner;
        struct policy_node *node = choose(policy, &moves, &winner);
        if (node == NULL) {
            return NULL;
        }
        enum policy_queue id = queue_of(node);
        if (!accept(node, arg)) {
            move_mru(policy, node, id, id);
            continue;
        }
        policy_remove(policy, node, policy->ops.size(node));
        if (winner != NULL) {
            move_mru(policy, winner, POLICY_WINDOW, POLICY_PROBATION);
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
    stats_out->overhead_bytes = sizeof *policy + sketch_bytes(policy->sketch);
}
