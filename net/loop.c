/*
 * The idea: threads that share nothing but the engine. A connection stays with the worker it was
 * dealt to; what another thread wants of it (a kill, the end) comes as mail.
 *
 * Dealing instead of SO_REUSEPORT: the kernel's hash leaves workers unevenly loaded (with 50
 * connections on 2 listeners one of them often has 30), and a round robin costs one mail per
 * connection, not per request.
 *
 * Invariants
 *   1. Only the worker changes its client list; under the lock, because others read it.
 *   2. A struct client outlives the turn in which it was closed, so that every callback of that turn
 *      may still look at it.
 */
#include "net/loop.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "engine/base/check.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/metrics.h"
#include "engine/base/options.h"
#include "net/output.h"
#include "net/provide.h"

#define TICK_SHARE 10   /* every client has its housekeeping once in so many ticks */
#define TICK_MIN 16     /* but at least so many per tick */
#define STALLED_MS 1000 /* no byte moved for so long: its pinned values may be taken away */

/* --- the list of clients ------------------------------------------------------------------------ */

void worker_add(struct worker *w, struct client *c)
{
    lock_acquire(&w->list_lock);
    c->next = w->clients;
    if (c->next != NULL) {
        c->next->prev = c;
    }
    w->clients = c;
    w->n_clients++;
    lock_release(&w->list_lock);
}

void worker_remove(struct worker *w, struct client *c)
{
    if (w->tick_next == c) {
        w->tick_next = c->next;
    }
    lock_acquire(&w->list_lock);
    *(c->prev != NULL ? &c->prev->next : &w->clients) = c->next;
    if (c->next != NULL) {
        c->next->prev = c->prev;
    }
    w->n_clients--;
    lock_release(&w->list_lock);
    atomic_fetch_sub_explicit(&w->net->n_clients, 1, memory_order_relaxed);
}

/* The callback runs under the lock: it formats a line or compares, no more. */
void net_visit_clients(struct net *net, net_visit_fn fn, void *arg)
{
    bool goes_on = true;
    for (unsigned i = 0; i < net->n_workers && goes_on; i++) {
        struct worker *w = &net->workers[i];
        lock_acquire(&w->list_lock);
        for (struct client *c = w->clients; c != NULL && goes_on; c = c->next) {
            goes_on = fn(arg, c);
        }
        lock_release(&w->list_lock);
    }
}

/* --- closing from elsewhere --------------------------------------------------------------------- */

void worker_post_kills(struct worker *w)
{
    if (!atomic_exchange_explicit(&w->has_kill_mail, true, memory_order_acq_rel)) {
        mailbox_post(&w->mailbox, &w->kill_mail);
    }
}

static void run_kills(struct mail *mail)
{
    struct worker *w = (struct worker *)((char *)mail - offsetof(struct worker, kill_mail));
    atomic_store_explicit(&w->has_kill_mail, false, memory_order_release);
    struct client *next = NULL;
    for (struct client *c = w->clients; c != NULL; c = next) {
        next = c->next;
        int reason = atomic_load_explicit(&c->kill_reason, memory_order_relaxed);
        if (reason != CLOSE_NOT_KILLED) {
            client_close(c, (enum client_close_reason)reason);
        }
    }
}

/* --- memory of all clients together ------------------------------------------------------------- */

struct offender {
    int64_t now_ms;
    bool by_pinned; /* judged by pinned values, if it stalls; else by its own memory */
    uint64_t dying; /* bytes of those already being closed */
    uint64_t bytes; /* of the largest */
    uint64_t id;
    struct client *largest;
};

static bool find_offender(void *arg, struct client *c)
{
    struct offender *o = arg;
    const struct client_shown *s = &c->shown;
    uint64_t bytes = o->by_pinned ? atomic_load_explicit(&s->pinned_bytes, memory_order_relaxed)
                                  : atomic_load_explicit(&s->memory_bytes, memory_order_relaxed);
    if (atomic_load_explicit(&c->kill_reason, memory_order_relaxed) != CLOSE_NOT_KILLED) {
        o->dying += bytes;
        return true;
    }
    int64_t idle = o->now_ms - atomic_load_explicit(&s->progress_ms, memory_order_relaxed);
    uint32_t flags = atomic_load_explicit(&s->flags, memory_order_relaxed);
    bool is_spared = (flags & CLIENT_NO_EVICT) != 0 || (o->by_pinned && idle < STALLED_MS);
    if (!is_spared && bytes > o->bytes) {
        o->bytes = bytes;
        o->id = c->id;
        o->largest = c;
    }
    return true;
}

static bool kill_offender(void *arg, struct client *c)
{
    struct offender *o = arg;
    if (c != o->largest || c->id != o->id) {
        return true;
    }
    (void)client_kill(c, CLOSE_OUTPUT);
    return false;
}

/* One round: true if a client was told to go and more have to. */
static bool relieve(struct net *net, bool by_pinned)
{
    uint64_t used = by_pinned ? atomic_load_explicit(&net->pinned_bytes, memory_order_relaxed)
                              : engine_client_memory_used();
    uint64_t limit = engine_client_memory_limit();
    if (used <= limit) {
        return false;
    }
    struct offender o = {.now_ms = clock_mono_us() / 1000, .by_pinned = by_pinned};
    net_visit_clients(net, find_offender, &o);
    if (o.largest == NULL || used - (o.dying < used ? o.dying : used) <= limit) {
        return false;
    }
    net_visit_clients(net, kill_offender, &o);
    log_warn("net", "client closed", "reason=client_memory id=%lu bytes=%lu", (unsigned long)o.id,
             (unsigned long)o.bytes);
    return true;
}

static bool is_over(struct net *net)
{
    uint64_t limit = engine_client_memory_limit();
    return engine_client_memory_used() > limit ||
           atomic_load_explicit(&net->pinned_bytes, memory_order_relaxed) > limit;
}

void net_relieve_memory(struct net *net)
{
    if (LIKELY(!is_over(net)) ||
        atomic_exchange_explicit(&net->is_relieving, true, memory_order_acquire)) {
        return;
    }
    while (relieve(net, false) || relieve(net, true)) {
    }
    atomic_store_explicit(&net->is_relieving, false, memory_order_release);
}

/* --- turns ------------------------------------------------------------------------------------ */

void worker_refresh(struct worker *w)
{
    int64_t slow_us = option_i64(OPT_SLOWLOG_SLOWER);
    w->slow_cycles = slow_us < 0 ? UINT64_MAX : (uint64_t)((double)slow_us * w->net->cycles.per_us);
}

void worker_yield(struct worker *w, struct client *c)
{
    if ((c->flags & CLIENT_IS_YIELDED) == 0) {
        c->flags |= CLIENT_IS_YIELDED;
        c->next_yielded = NULL;
        *w->yielded_tail = c;
        w->yielded_tail = &c->next_yielded;
    }
}

static void serve_yielded(struct worker *w)
{
    struct client *c = w->yielded_head;
    w->yielded_head = NULL;
    w->yielded_tail = &w->yielded_head;
    while (c != NULL) {
        struct client *next = c->next_yielded;
        c->flags &= ~(uint32_t)CLIENT_IS_YIELDED;
        if ((c->flags & CLIENT_IS_CLOSED) == 0) {
            client_continue(c);
        }
        c = next;
    }
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    struct worker *w = arg;
    (void)mailbox_drain(&w->mailbox);
}

static void on_engine(evutil_socket_t fd, short what, void *arg)
{
    struct worker *w = arg;
    engine_worker_poll(w->engine);
}

static void sample_rates(struct net *net)
{
    uint64_t totals[RATE_COUNT] = {
        [RATE_COMMANDS] = (uint64_t)(metric_value(M_COMMANDS) + metric_value(M_COMMAND_ERRORS)),
        [RATE_INPUT] = (uint64_t)metric_value(M_NET_RECEIVED),
        [RATE_OUTPUT] = (uint64_t)metric_value(M_NET_SENT),
    };
    rates_sample(&net->rates, clock_mono_us(), totals);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct worker *w = arg;
    w->now_ms = clock_mono_us() / 1000;
    engine_worker_tick(w->engine);
    uint32_t n = w->n_clients / TICK_SHARE;
    n = n > TICK_MIN ? n : TICK_MIN;
    struct client *c = w->tick_next != NULL ? w->tick_next : w->clients;
    for (uint32_t i = 0; i < n && c != NULL; i++) {
        w->tick_next = c->next;
        client_tick(c, w->now_ms);
        c = w->tick_next;
    }
    if (w->id == 0) {
        sample_rates(w->net);
        listen_tick(w->net, w->now_ms);
        net_relieve_memory(w->net);
    }
}

static void run_stop(struct mail *mail)
{
    struct worker *w = (struct worker *)((char *)mail - offsetof(struct worker, stop_mail));
    w->is_stopping = true;
}

static void turn(struct worker *w)
{
    int flags = w->yielded_head != NULL ? EVLOOP_ONCE | EVLOOP_NONBLOCK : EVLOOP_ONCE;
    (void)event_base_loop(w->base, flags);
    if (w->yielded_head != NULL) {
        serve_yielded(w);
    }
    engine_worker_turn(w->engine);
    if (w->dead != NULL) {
        client_free_dead(w, false);
    }
}

/* --- a worker's life ---------------------------------------------------------------------------- */

static struct event *add_event(struct worker *w, int fd, short what, event_callback_fn fn,
                               const struct timeval *timeout)
{
    struct event *event = event_new(w->base, fd, (short)(what | EV_PERSIST), fn, w);
    if (event != NULL && event_add(event, timeout) != 0) {
        event_free(event);
        event = NULL;
    }
    return event;
}

static void free_event(struct event **event)
{
    if (*event != NULL) {
        event_free(*event);
        *event = NULL;
    }
}

static enum status worker_open(struct worker *w, struct net *net, unsigned id)
{
    enum status st = NO_MEMORY;
    w->net = net;
    w->id = id;
    w->engine = engine_worker(net->config.engine, id);
    w->yielded_tail = &w->yielded_head;
    w->stop_mail.run = run_stop;
    w->kill_mail.run = run_kills;
    w->mailbox.fd = -1;
    lock_init(&w->list_lock, LOCK_RANK_QUEUE);
    struct event_config *config = event_config_new();
    if (config == NULL) {
        return NO_MEMORY;
    }
    /* One thread per base: no locks; no environment variables either. */
    (void)event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV);
    w->base = event_base_new_with_config(config);
    event_config_free(config);
    w->scratch = mem_alloc(OUTPUT_SCRATCH_BYTES);
    if (w->base == NULL || w->scratch == NULL) {
        return NO_MEMORY;
    }
    TRY(mailbox_init(&w->mailbox));
    struct timeval tick = {.tv_usec = NET_TICK_MS * 1000};
    w->wake_event = add_event(w, mailbox_fd(&w->mailbox), EV_READ, on_wake, NULL);
    w->engine_event = add_event(w, engine_worker_fd(w->engine), EV_READ, on_engine, NULL);
    w->tick_event = add_event(w, -1, 0, on_tick, &tick);
    st = w->wake_event != NULL && w->engine_event != NULL && w->tick_event != NULL ? OK : NO_MEMORY;
out:
    return st;
}

static void worker_close(struct worker *w)
{
    free_event(&w->wake_event);
    free_event(&w->engine_event);
    free_event(&w->tick_event);
    if (w->base != NULL) {
        event_base_free(w->base);
        w->base = NULL;
    }
    if (w->mailbox.fd >= 0) {
        (void)mailbox_drain(&w->mailbox); /* connections dealt to a worker that had ended */
        mailbox_deinit(&w->mailbox);
    }
    stats_deinit(&w->stats);
    mem_free(w->scratch);
    w->scratch = NULL;
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    char name[16];
    (void)snprintf(name, sizeof(name), "hearth-w%u", w->id);
    (void)pthread_setname_np(pthread_self(), name);
    if (engine_worker_start(w->engine) != OK) {
        log_error("net", "worker cannot start", "id=%u", w->id);
        return NULL;
    }
    w->now_ms = clock_mono_us() / 1000;
    while (!w->is_stopping) {
        turn(w);
    }
    struct client *next = NULL;
    for (struct client *c = w->clients; c != NULL; c = next) {
        next = c->next;
        client_close(c, CLOSE_STOP);
    }
    client_free_dead(w, true);
    engine_worker_stop(w->engine);
    return NULL;
}

/* --- the whole -------------------------------------------------------------------------------- */

static enum status on_output_limit(enum option_id id, void *arg, char *error_out)
{
    struct net *net = arg;
    char text[OPTION_ERROR_MAX];
    (void)option_str(id, text, sizeof(text));
    return output_limit_set(&net->output_limit, text, error_out, OPTION_ERROR_MAX);
}

static void refresh_gauges(void *arg)
{
    struct net *net = arg;
    metric_set(M_CONNECTIONS, (double)atomic_load_explicit(&net->n_clients, memory_order_relaxed));
}

static void make_run_id(char *out)
{
    unsigned char bytes[20] = {0};
    if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes)) {
        int64_t now = clock_wall_us();
        memcpy(bytes, &now, sizeof(now));
    }
    for (size_t i = 0; i < sizeof(bytes); i++) {
        (void)sprintf(out + 2 * i, "%02x", bytes[i]);
    }
}

static void stop_workers(struct net *net, unsigned n_started)
{
    for (unsigned i = 0; i < n_started; i++) {
        mailbox_post(&net->workers[i].mailbox, &net->workers[i].stop_mail);
    }
    for (unsigned i = 0; i < n_started; i++) {
        (void)pthread_join(net->workers[i].thread, NULL);
    }
}

static void net_free(struct net *net)
{
    option_on_change(OPT_OUTPUT_LIMIT, NULL, NULL);
    metrics_off_refresh(refresh_gauges, net);
    listen_close(net);
    for (unsigned i = 0; net->workers != NULL && i < net->n_workers; i++) {
        worker_close(&net->workers[i]);
    }
    slowlog_deinit(&net->slowlog);
    mem_free(net->workers);
    mem_free(net);
}

static enum status start_workers(struct net *net, char *error_out)
{
    for (unsigned i = 0; i < net->n_workers; i++) {
        int err = pthread_create(&net->workers[i].thread, NULL, worker_main, &net->workers[i]);
        if (err != 0) {
            (void)snprintf(error_out, NET_ERROR_MAX, "cannot start worker thread %u: %s", i,
                           strerror(err));
            stop_workers(net, i);
            return status_from_errno(err);
        }
    }
    return OK;
}

enum status net_start(const struct net_config *config, struct net **out, char *error_out)
{
    enum status st = NO_MEMORY;
    *out = NULL;
    (void)snprintf(error_out, NET_ERROR_MAX, "out of memory");
    struct net *net = mem_zalloc(1, sizeof(*net));
    if (net == NULL) {
        return NO_MEMORY;
    }
    net->config = *config;
    net->spare_fd = -1;
    cycles_init(&net->cycles);
    make_run_id(net->run_id);
    net->started_wall_us = clock_wall_us();
    net->started_mono_us = clock_mono_us();
    slowlog_init(&net->slowlog);
    metrics_on_refresh(refresh_gauges, net);
    option_on_change(OPT_OUTPUT_LIMIT, on_output_limit, net);
    TRY(on_output_limit(OPT_OUTPUT_LIMIT, net, error_out));
    net->workers = mem_zalloc(config->n_workers, sizeof(struct worker));
    if (net->workers == NULL) {
        goto out;
    }
    for (; net->n_workers < config->n_workers; net->n_workers++) {
        net->workers[net->n_workers].mailbox.fd = -1;
        TRY(worker_open(&net->workers[net->n_workers], net, net->n_workers));
    }
    TRY(listen_open(net, error_out));
    TRY(listen_start(net, &net->workers[0]));
    TRY(start_workers(net, error_out));
    provide_start(net);
    *out = net;
    net = NULL;
out:
    if (net != NULL) {
        /* worker_close of one that failed half way */
        net->n_workers += st != OK && net->workers != NULL && net->n_workers < config->n_workers;
        net_free(net);
    }
    return st;
}

void net_stop(struct net **net)
{
    if (*net == NULL) {
        return;
    }
    provide_stop(*net);
    stop_workers(*net, (*net)->n_workers);
    net_free(*net);
    *net = NULL;
}

void net_addresses(const struct net *net, char *buf, size_t cap)
{
    size_t n = 0;
    buf[0] = '\0';
    for (unsigned i = 0; i < net->n_listeners && n < cap; i++) {
        n +=
            (size_t)snprintf(buf + n, cap - n, "%s%s", i > 0 ? " " : "", net->listeners[i].address);
    }
}
