/*
 * Purpose: the worker threads: each owns one libevent base, its connections and one engine worker.
 *   Worker 0 also accepts and deals new connections round robin.
 *
 *   A turn: wait for events; serve readable clients, handle the engine's completions (resuming
 *   parked clients); go on with clients that yielded; engine_worker_turn; free the dead.
 *
 * Threads: as each block of fields says.
 * Errors: a worker that cannot start makes net_start fail; afterwards none.
 */
#ifndef HEARTH_NET_LOOP_H
#define HEARTH_NET_LOOP_H

#include <pthread.h>

#include "engine/api_control.h"
#include "engine/base/lock.h"
#include "engine/base/mailbox.h"
#include "net/client.h"
#include "net/cycles.h"
#include "net/net.h"
#include "net/output_limit.h"
#include "net/slowlog.h"
#include "net/stats.h"

#define NET_LISTENERS_MAX 18 /* Redis: 16 addresses and the Unix socket */
#define NET_DOUBT_MAX 64
#define NET_TICK_MS 100

struct listener {
    struct event *event;
    int fd;
    bool is_unix;
    char address[CLIENT_ADDRESS_MAX];
};

/* An accepted connection for which there seemed to be no room. */
struct doubt {
    int fd;
    struct client_peer peer;
};

struct worker {
    /* immutable after start */
    struct net *net;
    unsigned id;
    struct engine_worker *engine;
    struct event_base *base;
    pthread_t thread;
    /* worker thread */
    char *scratch;  /* OUTPUT_SCRATCH_BYTES, of the client being served */
    int64_t now_ms; /* monotonic, as of the latest tick */
    struct client *yielded_head, **yielded_tail;
    struct client *dead;
    struct client *tick_next; /* where housekeeping goes on */
    struct event *wake_event, *engine_event, *tick_event;
    bool is_stopping;
    uint32_t sample;      /* every 64th command is observed */
    uint32_t n_failed;    /* commands of this batch that replied with an error */
    uint64_t slow_cycles; /* slowlog-log-slower-than as of this batch */
    uint64_t last_cycles; /* when the latest command ended */
    /* any thread */
    struct mailbox mailbox;
    struct mail stop_mail, kill_mail;
    _Atomic bool has_kill_mail; /* atomic: a mail waits already */
    struct worker_stats stats;  /* written by the worker, read by any */
    struct lock list_lock;
    /* list lock; only the worker itself changes them, and may read them without */
    struct client *clients;
    uint32_t n_clients;
};

struct net {
    /* immutable after start */
    struct net_config config;
    struct cycles cycles;
    struct worker *workers;
    unsigned n_workers;
    char run_id[41];
    int64_t started_wall_us, started_mono_us;
    struct listener listeners[NET_LISTENERS_MAX];
    unsigned n_listeners;
    /* worker 0 */
    unsigned next_worker;
    unsigned n_in_doubt;
    struct doubt in_doubt[NET_DOUBT_MAX];
    int spare_fd;             /* given up for a moment when descriptors run out */
    int64_t accept_paused_ms; /* monotonic; 0: accepting */
    /* atomic */
    _Atomic uint64_t n_clients;
    _Atomic uint64_t next_client_id;
    _Atomic uint64_t pinned_bytes; /* blobs kept alive by client buffers */
    _Atomic uint64_t n_rejected;   /* connections over maxclients */
    _Atomic bool is_relieving;     /* somebody is closing the largest clients */
    _Atomic bool is_shutting_down; /* SHUTDOWN was received */
    struct output_limit output_limit;
    struct slowlog slowlog;
    struct rates rates;
};

static inline struct net *client_net(const struct client *c)
{
    return c->worker->net;
}

/* Reads the options that every command needs; per batch and after CONFIG SET. */
void worker_refresh(struct worker *w);
/* Has c go on in the next turn. */
void worker_yield(struct worker *w, struct client *c);
/* Puts c on or takes it off the list. */
void worker_add(struct worker *w, struct client *c);
void worker_remove(struct worker *w, struct client *c);
/* Any thread: w closes its clients that have a kill_reason. */
void worker_post_kills(struct worker *w);
/* Any thread: client memory is over its limit; kills the largest until it is not. */
void net_relieve_memory(struct net *net);

/* Calls fn for every client of every worker, under its worker's list lock; false ends it. */
typedef bool (*net_visit_fn)(void *arg, struct client *c);
void net_visit_clients(struct net *net, net_visit_fn fn, void *arg);

/* listen.c */
MUST_CHECK enum status listen_open(struct net *net, char *error_out);
MUST_CHECK enum status listen_start(struct net *net, struct worker *w);
void listen_close(struct net *net);
void listen_tick(struct net *net, int64_t now_ms);

#endif
