/*
 * The byte budget. `memory` bounds the process' resident set. What the hot tier may hold is what is left
 * of it, found by measurement and not by belief:
 *
 *      overhead = RSS - bytes of hot items     (tables, index, buffers, clients, RocksDB, code, and what
 *                                               the allocator wastes)
 *      capacity = 98 % of memory - overhead - a third of what is empty, moved towards by at most 2 % of memory per 100 ms,
 *                                               downwards by 10 % when RSS is over the limit
 *
 * Large values that float (a client is still sending one, a reply still holds one) come on top of the
 * measurement at once, because they grow faster than it is taken. Pages the allocator keeps unused are
 * given back when RSS comes within 1.6 % of the limit; without that they would count as overhead and
 * squeeze the hot tier for nothing.
 *
 * Regime: everything is atomic and approximate; one control step runs at a time (worker 0's tick).
 */
#include <stdlib.h>

#include "engine/base/bytes.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/options.h"
#include "engine/engine_impl.h"

#define POLICY_BYTES (64u << 20) /* one instance per 64 MB of memory */
#define BYTES_PER_GHOST_BYTE 128 /* 0.8 % of memory; two bytes per item of 256 bytes */
#define RESERVE_PART 3 /* of the empty hot tier: index, tables, fragmentation, write buffers */
#define PURGE_INTERVAL_US 250000

static struct {
    _Atomic int64_t blob_bytes;         /* all blobs */
    _Atomic int64_t blob_in_item_bytes; /* those of hot items */
    _Atomic int64_t client_bytes;
    _Atomic int64_t steady_floating; /* floating bytes the last measurement already saw */
    _Atomic uint64_t capacity;       /* by measurement */
    _Atomic uint64_t rss;
    _Atomic int64_t applied_floating;
    int64_t purged_us; /* control step only */
    struct engine *engine;
} account;

uint64_t memory_limit(void)
{
    return (uint64_t)option_i64(OPT_MEMORY);
}

uint64_t memory_item_max(void)
{
    return memory_limit() / 8;
}

uint64_t memory_demoting_limit(void)
{
    return memory_limit() / 16 + LARGE_CHUNK;
}

uint64_t memory_rss(void)
{
    return atomic_load_explicit(&account.rss, memory_order_relaxed);
}

static int64_t floating_bytes(void)
{
    return atomic_load_explicit(&account.blob_bytes, memory_order_relaxed) -
           atomic_load_explicit(&account.blob_in_item_bytes, memory_order_relaxed) +
           atomic_load_explicit(&account.client_bytes, memory_order_relaxed);
}

uint64_t memory_hot_capacity(void)
{
    int64_t capacity = (int64_t)atomic_load_explicit(&account.capacity, memory_order_relaxed);
    int64_t fresh =
        floating_bytes() - atomic_load_explicit(&account.steady_floating, memory_order_relaxed);
    int64_t least = (int64_t)memory_limit() / 16;
    capacity -= fresh > 0 ? fresh : 0;
    return (uint64_t)(capacity > least ? capacity : least);
}

/* Tells the policies; their surplus is evicted by the workers' next turns. */
static void capacity_apply(struct engine *e)
{
    uint64_t capacity = memory_hot_capacity();
    uint64_t demoting = atomic_load_explicit(&e->demoting_bytes, memory_order_relaxed);
    uint64_t each = (capacity - bytes_min_u64(demoting, capacity / 2)) / e->n_policies;
    bool needs_eviction = false;
    for (unsigned i = 0; i < e->n_policies; i++) {
        struct policy_instance *p = &e->policies[i];
        lock_acquire(&p->lock);
        policy_resize(p->policy, each);
        needs_eviction = needs_eviction || policy_needs_eviction(p->policy);
        lock_release(&p->lock);
    }
    atomic_store_explicit(&account.applied_floating, floating_bytes(), memory_order_relaxed);
    if (needs_eviction) {
        atomic_fetch_add_explicit(&e->capacity_changes, 1, memory_order_relaxed);
    } else {
        atomic_store_explicit(&e->refuses_writes, false, memory_order_relaxed);
    }
}

static uint64_t hot_bytes(struct engine *e)
{
    uint64_t bytes = atomic_load_explicit(&e->demoting_bytes, memory_order_relaxed);
    for (unsigned i = 0; i < e->n_policies; i++) {
        struct policy_stats stats;
        lock_acquire(&e->policies[i].lock);
        policy_stats(e->policies[i].policy, &stats);
        lock_release(&e->policies[i].lock);
        for (unsigned q = 0; q < POLICY_QUEUES; q++) {
            bytes += stats.bytes[q];
        }
    }
    return bytes;
}

static void purge_if_near(uint64_t rss, uint64_t limit)
{
    int64_t now_us = clock_mono_us();
    int64_t interval_us = rss > limit ? PURGE_INTERVAL_US / 4 : PURGE_INTERVAL_US;
    if (rss > limit - limit / 64 && now_us - account.purged_us > interval_us) {
        account.purged_us = now_us;
        IGNORE(mem_purge());
    }
}

void memory_control(struct engine *e)
{
    uint64_t limit = memory_limit();
    uint64_t rss = mem_rss_bytes();
    purge_if_near(rss, limit);
    atomic_store_explicit(&account.rss, rss, memory_order_relaxed);
    if (rss > atomic_load_explicit(&e->peak_rss, memory_order_relaxed)) {
        atomic_store_explicit(&e->peak_rss, rss, memory_order_relaxed);
    }
    uint64_t hot = hot_bytes(e);
    int64_t overhead = (int64_t)rss - (int64_t)hot;
    int64_t capacity = (int64_t)atomic_load_explicit(&account.capacity, memory_order_relaxed);
    int64_t empty = capacity - (int64_t)hot; /* overhead is yet to come with what fills it */
    int64_t reserve = empty > 0 ? empty / RESERVE_PART : 0;
    int64_t target = (int64_t)(limit - limit / 50) - (overhead > 0 ? overhead : 0) - reserve;
    int64_t step = (int64_t)limit / 50;
    int64_t least = (int64_t)limit / 16;
    int64_t change = target - capacity;
    int64_t step_down = rss > limit ? (int64_t)limit / 10 : step;
    change = change > step ? step : change < -step_down ? -step_down : change;
    capacity = capacity + change > least ? capacity + change : least;
    atomic_store_explicit(&account.capacity, (uint64_t)capacity, memory_order_relaxed);
    atomic_store_explicit(&account.steady_floating, floating_bytes(), memory_order_relaxed);
    capacity_apply(e);
}

/* ---- the policies ---- */

static struct engine *hash_engine; /* policy_ops carries no argument; one engine per process */

static uint64_t node_hash(const struct policy_node *node)
{
    return item_hash(hash_engine, (const struct item *)(const void *)node);
}

static size_t node_size(const struct policy_node *node)
{
    return item_charge((const struct item *)(const void *)node);
}

static enum status policies_create(struct engine *e, uint64_t capacity)
{
    const struct policy_ops ops = {.hash = node_hash, .size = node_size};
    hash_engine = e;
    for (unsigned i = 0; i < e->n_policies; i++) {
        lock_init(&e->policies[i].lock, LOCK_RANK_POLICY);
        enum status st = policy_create(capacity / e->n_policies,
                                       memory_limit() / e->n_policies / BYTES_PER_GHOST_BYTE, ops,
                                       &e->policies[i].policy);
        if (st != OK) {
            return st;
        }
    }
    for (unsigned i = 0; i < SHARDS; i++) {
        e->shards[i].policy_id = (uint16_t)(i % e->n_policies);
    }
    return OK;
}

enum status memory_init(struct engine *e)
{
    uint64_t limit = memory_limit();
    uint64_t n = limit / POLICY_BYTES;
    e->n_policies = n < 1 ? 1 : n > POLICIES_MAX ? POLICIES_MAX : (unsigned)n;
    account.engine = e;
    uint64_t rss = mem_rss_bytes();
    uint64_t capacity = limit - limit / 50 > rss ? limit - limit / 50 - rss : limit / 16;
    capacity -= capacity / 3; /* tables, index, buffers and fragmentation are still to come */
    atomic_store_explicit(&account.capacity, capacity, memory_order_relaxed);
    return policies_create(e, capacity);
}

void memory_deinit(struct engine *e)
{
    account.engine = NULL;
    for (unsigned i = 0; i < e->n_policies; i++) {
        policy_destroy(&e->policies[i].policy);
    }
}

uint64_t memory_index_bytes(struct engine *e)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < SHARDS; i++) {
        lock_acquire(&e->shards[i].lock);
        bytes += e->shards[i].index.bytes;
        lock_release(&e->shards[i].lock);
    }
    return bytes;
}

uint64_t memory_table_bytes(struct engine *e)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < SHARDS; i++) {
        lock_acquire(&e->shards[i].lock);
        bytes += e->shards[i].table.bytes;
        lock_release(&e->shards[i].lock);
    }
    return bytes;
}

/* ---- blobs ---- */

static size_t blob_charge(size_t len)
{
    return sizeof(struct engine_blob) + len;
}

/* Room for `bytes` more that float. Makes the hot tier give way at once when they are many. */
static bool floating_add(size_t bytes)
{
    int64_t floating = floating_bytes() + (int64_t)bytes;
    if (bytes > memory_item_max() + 65536 || floating > (int64_t)(memory_limit() / 4)) {
        return false;
    }
    atomic_fetch_add_explicit(&account.blob_bytes, (int64_t)bytes, memory_order_relaxed);
    int64_t applied = atomic_load_explicit(&account.applied_floating, memory_order_relaxed);
    if (account.engine != NULL && floating - applied > (int64_t)(memory_limit() / 256)) {
        capacity_apply(account.engine);
    }
    return true;
}

struct engine_blob *engine_blob_create(size_t len)
{
    if (!floating_add(blob_charge(len))) {
        return NULL;
    }
    struct engine_blob *blob = mem_alloc(blob_charge(len));
    if (blob == NULL) {
        atomic_fetch_sub_explicit(&account.blob_bytes, (int64_t)blob_charge(len),
                                  memory_order_relaxed);
        return NULL;
    }
    atomic_init(&blob->refs, 1);
    blob->reserved = 0;
    blob->len = len;
    return blob;
}

void engine_blob_acquire(struct engine_blob *blob)
{
    atomic_fetch_add_explicit(&blob->refs, 1, memory_order_relaxed);
}

void engine_blob_release(struct engine_blob *blob)
{
    if (blob != NULL && atomic_fetch_sub_explicit(&blob->refs, 1, memory_order_acq_rel) == 1) {
        atomic_fetch_sub_explicit(&account.blob_bytes, (int64_t)blob_charge(blob->len),
                                  memory_order_relaxed);
        mem_free(blob);
    }
}

/* The blob of an item, shard locked: with one reference nobody else can be looking at it. */
bool engine_blob_resize(struct engine_blob **blob, size_t len)
{
    struct engine_blob *b = *blob;
    if (atomic_load_explicit(&b->refs, memory_order_acquire) != 1) {
        return false;
    }
    int64_t change = (int64_t)len - (int64_t)b->len;
    struct engine_blob *moved = mem_realloc(b, blob_charge(len));
    if (moved == NULL) {
        return false;
    }
    moved->len = len;
    *blob = moved;
    atomic_fetch_add_explicit(&account.blob_bytes, change, memory_order_relaxed);
    atomic_fetch_add_explicit(&account.blob_in_item_bytes, change, memory_order_relaxed);
    return true;
}

void memory_blob_in_item(const struct engine_blob *blob, int n)
{
    atomic_fetch_add_explicit(&account.blob_in_item_bytes, n * (int64_t)blob_charge(blob->len),
                              memory_order_relaxed);
}

/* ---- clients ---- */

void engine_client_memory_add(int64_t delta_bytes)
{
    atomic_fetch_add_explicit(&account.client_bytes, delta_bytes, memory_order_relaxed);
}

uint64_t engine_client_memory_limit(void)
{
    return memory_limit() / 8;
}

uint64_t engine_client_memory_used(void)
{
    int64_t used = atomic_load_explicit(&account.client_bytes, memory_order_relaxed);
    return used > 0 ? (uint64_t)used : 0;
}
