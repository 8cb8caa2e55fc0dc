/*
 * Purpose: the engine's inside: shards, workers, namespaces, and who may call whom.
 *
 *      op.c        a command: begin, find, put, remove, end          (worker)
 *      fetch.c     one cold key read, coalesced, settled, promoted    (worker)
 *      demote.c    victims down to NVMe                               (worker)
 *      large.c     values in chunks, both ways                        (background thread)
 *      reclaim.c   segments ready, reclaimed, swept                   (background thread)
 *      memory.c    the byte budget                                    (any)
 *      namespace.c databases, flushes, counts                         (any)
 *      keyspace.c  size, random key, demote, promote; scan.c          (worker)
 *      control.c   open, close, statistics; restart.c: what a clean stop keeps
 *
 * Threads: each block of fields says. Lock ranks: engine/LOCKING.md.
 */
#ifndef HEARTH_ENGINE_IMPL_H
#define HEARTH_ENGINE_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/api_control.h"
#include "engine/api_keyspace.h"
#include "engine/base/lock.h"
#include "engine/base/mailbox.h"
#include "engine/base/metrics.h"
#include "engine/engine.h"
#include "engine/policy/policy.h"
#include "tiers/index.h"
#include "tiers/item.h"
#include "tiers/log.h"
#include "tiers/table.h"

#define SHARD_BITS 5 /* enough for as many threads; 128 shards cost more index per key at 64 MB */
#define SHARDS (1u << SHARD_BITS)
#define POLICIES_MAX 16
#define NAMESPACES 4096 /* slots; one per database and flush not yet swept */

/* ---- namespaces ---- */
struct namespace
{
    uint64_t seed;             /* of the key hash; immutable while alive */
    uint32_t id;               /* stands in every record; immutable while alive */
    _Atomic bool is_alive;     /* cleared by a flush; checked under the shard lock */
    bool is_used;              /* flush lock */
    _Atomic int64_t n_keys;    /* relaxed counters: exact once n_unsettled is 0 */
    _Atomic int64_t n_expires; /* hot items with an expiry */
    _Atomic int64_t n_unsettled;
};

/* ---- shards ---- */
struct large_value;
struct shard {
    struct lock lock;
    uint16_t id;        /* immutable */
    uint16_t policy_id; /* immutable */
    /* shard lock: */
    uint32_t expire_position;
    struct table table;
    struct index index;
    uint64_t seq; /* last version given out */
    struct fetch *fetches;
    struct large_value *large;
    _Atomic uint64_t n_expires; /* relaxed: the tick looks without the lock */
} __attribute__((aligned(64)));

struct policy_instance {
    struct lock lock;
    struct policy *policy; /* pointer immutable after open; lists: policy lock */
} __attribute__((aligned(64)));

/* ---- what the device said of a key ---- */
struct warm_value {
    _Atomic uint32_t refs;
    uint8_t is_absent; /* none of `tried` is this key */
    uint8_t
        had_error; /* at least one could not be read: absent for readers, unsettled for writers */
    uint8_t head_only; /* a large value whose chunks were not read */
    uint8_t no_memory; /* does not fit into memory now */
    uint8_t len_class;
    uint8_t n_tried;
    uint64_t location;
    int64_t expire_at_ms;
    uint64_t seq;
    uint32_t raw_len;
    uint32_t stored_len;
    struct engine_blob *blob;
    uint64_t tried[INDEX_MATCH_MAX];
    char data[];
};
void warm_value_release(struct warm_value *v); /* NULL is fine */

struct fetch_waiter {
    struct mail mail;
    struct engine_worker *worker; /* whose op it is */
    struct engine_op *op;         /* that worker's thread; NULL: cancelled */
    struct engine_key *key;       /* that worker's thread */
    struct warm_value *result;
    struct fetch_waiter *next;
};

/* ---- workers ---- */
struct settle { /* a blind overwrite whose slots are to be settled */
    struct settle *next;
    struct shard *shard;
    uint64_t hash;
    uint32_t ns_id;
    uint16_t ns_slot;
    uint32_t key_len;
    char key[];
};

struct engine_worker {
    struct engine *engine;
    unsigned id;
    int poll_fd;
    struct mailbox mailbox; /* any thread posts */
    /* worker thread: */
    struct device_queue *queue;
    struct codec *codec;
    struct log_writer *writer;
    _Atomic int64_t now_ms; /* relaxed: read by tests */
    uint32_t touched;       /* bit set of policies that may need eviction */
    uint32_t n_calls;       /* samples latency */
    uint32_t capacity_seen;
    int64_t sampled_us;
    struct engine_op *delayed, **delayed_tail; /* asked again every turn while not choked */
    struct engine_op *resuming;
    struct scan_footer *scan_footer; /* last footer read by SCAN */
    struct settle *settles, **settles_tail;
    struct fetch *fetches_waiting, **fetches_tail; /* for buffers of reads in flight */
    uint64_t reading_bytes;
    uint32_t n_fetches, n_settling, n_settles_queued;
    uint32_t tick_shard;
    bool is_choked;   /* victims cannot be written down just now: writers wait */
    struct mail wake; /* posted by the background when is_woken was clear */
    _Atomic bool is_woken;
    uint64_t random;
};

struct engine {
    unsigned n_workers, n_policies;
    struct engine_worker *workers;
    struct shard shards[SHARDS];
    struct policy_instance policies[POLICIES_MAX];
    uint64_t secret; /* of the hash seeds; immutable after open */
    unsigned index_depth;

    /* flush lock: */
    struct lock flush_lock;
    struct namespace namespaces[NAMESPACES];
    _Atomic uint16_t
        db_slot[ENGINE_DATABASES]; /* acquire: a new slot is complete before it shows */
    uint32_t next_ns_id;
    uint32_t ns_search;

    /* warm tier; NULL without one; immutable after open */
    struct device *device;
    struct rocks *catalog;
    struct log *log;
    char dir[512];
    int lock_fd;
    uint8_t uuid[16];

    /* background thread */
    struct background *background;
    struct reclaimer *reclaimer;
    struct warm_expiry *warm_expiry;
    _Atomic bool is_stopping;
    _Atomic bool refuses_writes;     /* nothing may be evicted and nothing fits: -OOM */
    _Atomic bool warm_is_full;       /* reclaim can free nothing more */
    _Atomic uint64_t demoting_bytes; /* RAM of items in write buffers */
    _Atomic uint64_t warm_items;
    int64_t started_us;
    _Atomic uint64_t peak_rss;
    _Atomic uint32_t capacity_changes; /* workers that saw fewer look for victims */
};

/* memory.c */
uint64_t memory_limit(void);
MUST_CHECK enum status memory_init(struct engine *e);
void memory_deinit(struct engine *e);
/* Blobs belong to an item (and are part of the hot tier) or float (clients, reads under way). */
void memory_blob_in_item(const struct engine_blob *blob, int n);
bool engine_blob_resize(struct engine_blob **blob, size_t len); /* false: shared or no room */
/* Measures RSS and moves the hot tier's capacity towards what is left of `memory`. */
void memory_control(struct engine *e);
uint64_t memory_item_max(void); /* largest value accepted: memory/8 */
uint64_t memory_demoting_limit(void);
uint64_t memory_hot_capacity(void);
uint64_t memory_rss(void);
uint64_t memory_index_bytes(struct engine *e);
uint64_t memory_table_bytes(struct engine *e);

/* namespace.c */
void namespace_init(struct engine *e);
/* The live namespace of a database. */
static inline uint16_t namespace_slot(struct engine *e, unsigned db)
{
    return atomic_load_explicit(&e->db_slot[db], memory_order_acquire);
}
static inline bool namespace_is_alive(const struct namespace *ns)
{
    return atomic_load_explicit(&ns->is_alive, memory_order_acquire);
}
void namespace_restore(struct engine *e, unsigned db, uint32_t id, int64_t n_keys);
/* The namespace with this id, if it is a database's; else NULL. */
struct namespace *namespace_of_id(struct engine *e, uint32_t id, uint16_t *slot_out);
/* One round of sweeping: items of dead namespaces leave the shard; after a whole round over all
 * shards their slots are free again. Background thread. */
void namespace_sweep(struct engine *e);
static inline void namespace_count(struct namespace *ns, int64_t n)
{
    atomic_fetch_add_explicit(&ns->n_keys, n, memory_order_relaxed);
}

/* item handling shared by op.c, fetch.c, demote.c; all REQUIRES the shard's lock */
struct policy_instance *shard_policy(struct engine *e, const struct shard *s);
uint64_t item_hash(struct engine *e, const struct item *it);
size_t item_charge(const struct item *it);
void item_destroy(struct item *it); /* with its blob reference */
bool item_is_expired(const struct item *it, int64_t now_ms);
/* Takes the item out of table, policy and counts and frees it (or leaves it to its write buffer).
 * is_counted: the key ceases to exist. */
void item_drop_locked(struct engine *e, struct shard *s, uint64_t hash, struct item *it,
                      bool is_counted);
/* An expired or deleted item goes, with its warm copy; becomes a tombstone while unsettled. */
void item_remove_locked(struct engine_worker *w, struct shard *s, uint64_t hash, struct item *it);
/* The slot is removed and its bytes are dead; false: it was not there. */
bool warm_remove_locked(struct engine *e, struct shard *s, uint64_t hash, struct index_slot slot);
MUST_CHECK enum status warm_insert_locked(struct engine *e, struct shard *s, struct namespace *ns,
                                          uint64_t hash, struct index_slot slot);
/* A clean item is about to change: its slot goes; if that is ambiguous the item becomes unsettled. */
void item_unlink_warm_locked(struct engine_worker *w, struct shard *s, uint64_t hash,
                             struct item *it);
void policy_touch(struct engine_worker *w, const struct shard *s);
/* Puts `fresh` in the table's and the policy's place of `old`; flag UNSETTLED goes over. */
void item_replace_locked(struct engine_worker *w, struct shard *s, uint64_t hash, struct item *old,
                         struct item *fresh);
/* Links a new item into table, policy and counts. NO_MEMORY: not linked, still the caller's. */
MUST_CHECK enum status item_link_locked(struct engine_worker *w, struct shard *s, uint64_t hash,
                                        struct item *it);

/* op.c: unlocks nothing: the shard was released by somebody else; the op is as new. */
void op_reset(struct engine_op *op);
/* keyspace.c, scan.c */
void scan_footer_destroy(struct engine_worker *w);
void scan_cancel(struct engine_op *op);

/* fetch.c */
/* Starts or joins the device read of a cold key for key `i`; REQUIRES the shard's lock. */
MUST_CHECK enum status fetch_join_locked(struct engine_worker *w, struct shard *s,
                                         struct engine_op *op, struct engine_key *key);
/* Settles the slots of a key that has an unsettled item. REQUIRES the shard's lock. */
void fetch_settle_locked(struct engine_worker *w, struct shard *s, uint64_t hash, struct item *it);
void fetch_start_settles(struct engine_worker *w);
void fetch_start_waiting(struct engine_worker *w);
void fetch_cancel(struct engine_key *key);

/* demote.c */
void demote_evict(struct engine_worker *w, unsigned max_items);
/* One given item, whatever the policy thinks. REQUIRES the shard's lock, which it releases. */
enum status demote_item(struct engine_worker *w, struct shard *s, struct item *it);
void demote_block_done(void *arg, enum status st, const struct log_entry *entries, uint32_t n);
/* The op is resumed at one of the next turns. */
void op_delay(struct engine_op *op);
void op_undelay(struct engine_op *op); /* no-op unless it waits */
/* Looks whether victims can be written again; then evicts and resumes delayed writers. */
void demote_unchoke(struct engine_worker *w);
/* Undoes a demotion that did not happen: back into the policy, or dropped if it may be. */
void demote_abandon(struct engine *e, struct item *it, uint64_t hash, enum status why);
/* Publishes one record now on the device; false: the item had changed, the record is dead. */
bool demote_publish(struct engine *e, struct item *it, const struct log_entry *entry,
                    struct large_value *large);

/* reclaim.c: the reclaimer's thread; background.c: the thread for everything else that blocks */
MUST_CHECK enum status background_start(struct engine *e);
void background_stop(struct engine *e);
/* Segments may have to be prepared, reclaimed, sealed: wakes the reclaimer. Any thread, cheap. */
void background_wake(void *engine);
/* Workers that are choked look again. */
void background_wake_workers(struct engine *e);
struct background_job {
    struct mail mail;
    struct engine *engine;
    void (*run)(struct engine *e, struct background_job *job);
};
void background_post(struct engine *e, struct background_job *job);
/* Of the background thread; large_block_done is the writer's. */
struct log_writer *background_writer(struct engine *e);
struct codec *background_codec(struct engine *e);
/* True if it may be worth asking again: a segment will come. Sleeps a little. Not on a worker. */
bool background_wait_for_space(struct engine *e, unsigned attempt);
void reclaim_run(struct engine *e); /* the reclaimer's turn: maintain, reclaim while wanted */
MUST_CHECK enum status reclaim_open(struct engine *e);
void reclaim_close(struct engine *e);

/* large.c: values from LARGE_MIN bytes on go down by the background thread, from LARGE_SINGLE on as
 * chunks under a head */
#define LARGE_MIN (64u * 1024)
#define LARGE_SINGLE (512u * 1024)
#define LARGE_CHUNK (256u * 1024)
struct large_chunk {
    uint64_t location;
    uint8_t len_class;
    bool is_written;
};
struct large_value {
    struct large_value *next; /* shard lock */
    uint64_t hash, seq, head_location;
    char *key; /* malloc'ed; reclaim meets chunks before their head */
    uint32_t key_len;
    uint32_t ns_id;
    uint32_t n_chunks;
    uint32_t total;
    struct large_chunk chunks[];
};
struct large_fetch { /* reads a head's chunks into a blob, then posts `mail` to the worker */
    struct background_job job;
    struct mail mail;
    struct engine_worker *worker;
    uint64_t hash;
    uint64_t seq;
    uint32_t ns_id;
    uint32_t head_len;
    char *head; /* payload of the head record, the caller's */
    struct engine_blob *blob;
    enum status st;
};
/* A DEMOTING item is handed to the background. */
MUST_CHECK enum status large_demote_begin(struct engine *e, struct shard *s, struct item *it);
/* Writes any DEMOTING item with a blocking writer whose done is large_block_done; undoes it on
 * failure. Published at the latest by log_flush. */
void large_demote(struct engine *e, struct log_writer *writer, struct item *it, uint64_t hash);
void large_block_done(void *engine, enum status st, const struct log_entry *entries, uint32_t n);
void large_fetch_begin(struct engine *e, struct large_fetch *lf);
MUST_CHECK enum status large_head_length(const char *head, uint32_t len, uint64_t *total_out);
/* All REQUIRE the shard's lock. */
void large_link_locked(struct engine *e, struct shard *s, struct large_value *lv,
                       const struct log_entry *head);
void large_forget_locked(struct engine *e, struct shard *s, uint64_t location);
struct large_value *large_find_locked(struct shard *s, uint64_t hash, uint64_t seq);
void large_clear(struct engine *e, struct shard *s);
/* Reclaim: the whole value into new places, as stored; writer as for large_demote. */
MUST_CHECK enum status large_move(struct engine *e, struct log_writer *writer, uint64_t hash,
                                  uint64_t seq);
#define LARGE_SNAPSHOT_TAG 0x4745524cu /* "LREG" */
MUST_CHECK enum status large_save(struct engine *e, struct snapshot_writer *w);
MUST_CHECK enum status large_load(struct engine *e, const void *data, size_t len);

/* restart.c */
/* Everything dirty goes down; what does not fit is said before it is dropped. Workers have stopped. */
void restart_drain(struct engine *e);
/* Index, namespaces and segments into the snapshot, then the clean mark. */
MUST_CHECK enum status restart_save(struct engine *e);
/* Opens the log: from the snapshot of a clean stop, or cold. The clean mark is gone afterwards. */
MUST_CHECK enum status restart_open_log(struct engine *e);

/* expire.c */
void expire_tick(struct engine_worker *w);
MUST_CHECK enum status expire_open(struct engine *e);
void expire_close(struct engine *e);
/* A record with this expiry (or none) has been published. */
void expire_note_warm(struct engine *e, uint64_t location, int64_t expire_at_ms);
void expire_warm(struct engine *e); /* the reclaimer's turn */

static inline struct shard *shard_of(struct engine *e, uint64_t hash)
{
    return &e->shards[hash >> (64 - SHARD_BITS)];
}

#endif
