/* Threads, each with its share of the connections and one poll loop: whichever connection has all its
 * replies gets the next batch, of random depth. */
#include "tests/history/load.h"
#include "tests/history/connection.h"

#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STALL_SECONDS 60

uint64_t load_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

struct worker {
    struct load *load;
    pthread_t thread;
    struct connection *connections;
    struct pollfd *polls;
    uint32_t n_connections;
};

static void zipf_init(struct load *load)
{
    double n = load->options.n_keys, theta = load->options.zipf, zeta = 0;
    for (uint32_t i = 1; i <= load->options.n_keys; i++) {
        zeta += 1.0 / pow(i, theta);
    }
    load->zipf_zeta = zeta;
    load->zipf_alpha = 1.0 / (1.0 - theta);
    load->zipf_eta = (1.0 - pow(2.0 / n, 1.0 - theta)) / (1.0 - (1.0 + pow(0.5, theta)) / zeta);
}

/* Nothing that ended before the oldest batch under way began matters any more. */
static void forget(struct load *load)
{
    uint64_t oldest_ns = UINT64_MAX;
    for (uint32_t i = 0; i < load->options.n_connections; i++) {
        uint64_t begin_ns = atomic_load(&load->begin_ns[i]);
        oldest_ns = begin_ns < oldest_ns ? begin_ns : oldest_ns;
    }
    history_low_water(load->history, oldest_ns);
}

/* How many commands the next batch has; 0: enough. */
static uint32_t next_depth(struct load *load, struct connection *c)
{
    uint64_t r = random_next(c);
    uint32_t n = r % 4 == 0 ? 1 : 1 + (uint32_t)((r >> 8) % load->options.pipeline);
    uint64_t before = atomic_fetch_add(&load->n_started, n);
    bool is_over = before >= load->options.n_ops || atomic_load(&load->is_broken) ||
                   (load->deadline_ns != 0 && load_now_ns() > load->deadline_ns);
    return is_over ? 0 : n;
}

/* Serves one connection; false: it has nothing more to do. */
static bool serve(struct load *load, struct connection *c)
{
    for (;;) {
        if (!connection_step(c)) {
            fprintf(stderr, "connection %u was lost\n", c->id);
            atomic_store(&load->is_broken, true);
            return false;
        }
        if (c->n_ended < c->n_ops) {
            return true;
        }
        atomic_fetch_add(&load->n_ended, c->n_ops);
        uint32_t n = next_depth(load, c);
        if (n == 0) {
            c->n_ops = c->n_ended = 0;
            atomic_store(&load->begin_ns[c->id], UINT64_MAX); /* nothing under way any more */
            return false;
        }
        connection_fill(c, n);
    }
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    for (uint32_t i = 0; i < w->n_connections; i++) {
        struct connection *c = &w->connections[i];
        connection_fill(c, 1);
        w->polls[i].fd = c->fd;
    }
    for (uint32_t n_live = w->n_connections; n_live > 0;) {
        for (uint32_t i = 0; i < w->n_connections; i++) {
            const struct connection *c = &w->connections[i];
            w->polls[i].events = POLLIN | (c->out_done < c->out_len ? POLLOUT : 0);
        }
        if (poll(w->polls, w->n_connections, STALL_SECONDS * 1000) <= 0) {
            fprintf(stderr, "no reply for %d s\n", STALL_SECONDS);
            atomic_store(&w->load->is_broken, true);
            break;
        }
        for (uint32_t i = 0; i < w->n_connections; i++) {
            if (w->polls[i].fd >= 0 && w->polls[i].revents != 0 &&
                !serve(w->load, &w->connections[i])) {
                w->polls[i].fd = -1;
                n_live--;
            }
        }
        forget(w->load);
    }
    return NULL;
}

static bool empty_server(struct connection *c)
{
    out_begin(c, 1);
    out_text(c, "FLUSHALL");
    while (c->in_len < 5) {
        struct pollfd p = {.fd = c->fd, .events = POLLIN};
        if (!connection_step(c) || (c->in_len < 5 && poll(&p, 1, STALL_SECONDS * 1000) <= 0)) {
            return false;
        }
    }
    bool is_fine = memcmp(c->in, "+OK\r\n", 5) == 0;
    c->in_len = c->in_done = 0;
    return is_fine;
}

/* Reads every key once, on connections that work on the right database. */
static bool last_look(struct load *load, struct connection *all)
{
    struct connection *flusher = NULL, *plain = NULL;
    for (uint32_t i = 0; i < load->options.n_connections; i++) {
        *(all[i].is_flusher ? &flusher : &plain) = &all[i];
    }
    for (uint32_t first = 0; first < load->n_all;) {
        struct connection *c = first < load->first_flushed ? plain : flusher;
        uint32_t end = first < load->first_flushed ? load->first_flushed : load->n_all;
        uint32_t n = end - first < LOAD_MAX_PIPELINE ? end - first : LOAD_MAX_PIPELINE;
        if (c == NULL) {
            break;
        }
        connection_fill_final(c, first, n);
        if (!connection_finish(c)) {
            return false;
        }
        first += n;
    }
    return true;
}

static void load_init(struct load *load)
{
    const struct load_options *o = &load->options;
    load->first_appended = o->n_keys;
    load->n_appended = o->n_keys / 20 + 16;
    load->first_counter = load->first_appended + load->n_appended;
    load->first_flushed = load->first_counter + LOAD_COUNTERS;
    load->n_all = load->first_flushed + LOAD_FLUSHED_KEYS;
    struct history_options judge = {.n_keys = load->n_all,
                                    .is_cache = o->is_cache,
                                    .slack_ns = o->slack_ms * UINT64_C(1000000),
                                    .out = stdout,
                                    .max_told = o->max_told};
    load->history = history_create(&judge);
    load->begin_ns = calloc(o->n_connections, sizeof(*load->begin_ns));
    zipf_init(load);
    load->started_ns = load_now_ns();
    load->deadline_ns = o->seconds > 0 ? load->started_ns + (uint64_t)(o->seconds * 1e9) : 0;
}

bool load_run(struct load *load)
{
    load_init(load);
    uint32_t n = load->options.n_connections, n_threads = load->options.n_threads;
    struct connection *all = calloc(n, sizeof(*all));
    struct pollfd *polls = calloc(n, sizeof(*polls));
    struct worker *workers = calloc(n_threads, sizeof(*workers));
    bool is_fine = true;
    for (uint32_t i = 0; i < n; i++) {
        is_fine = connection_open(&all[i], load, i) && is_fine;
    }
    is_fine = is_fine && empty_server(&all[0]);
    if (is_fine) {
        for (uint32_t i = 0, first = 0; i < n_threads; i++) {
            uint32_t share = n / n_threads + (i < n % n_threads);
            workers[i] = (struct worker){.load = load,
                                         .connections = all + first,
                                         .polls = polls + first,
                                         .n_connections = share};
            first += share;
            pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]);
        }
        for (uint32_t i = 0; i < n_threads; i++) {
            pthread_join(workers[i].thread, NULL);
        }
        is_fine = !load->is_broken && last_look(load, all);
    } else {
        fprintf(stderr, "cannot connect, or the server does not answer as it should\n");
    }
    for (uint32_t i = 0; i < n; i++) {
        connection_close(&all[i]);
    }
    free(all);
    free(polls);
    free(workers);
    return is_fine;
}

void load_deinit(struct load *load)
{
    history_destroy(&load->history);
    free(load->begin_ns);
    load->begin_ns = NULL;
}
