/*
 * Purpose: one thread of the generator: an epoll loop over its connections.
 * Threads: worker_start runs worker->thread; counters marked atomic may be read while it runs, the
 *   rest after worker_join.
 * Errors: what the server says is counted, with the first message kept; what breaks the connection
 *   closes it. Connecting dies.
 */
#ifndef HEARTH_BENCH_WORKER_H
#define HEARTH_BENCH_WORKER_H

#include <pthread.h>
#include <stdatomic.h>

#include "tools/hearth-bench/hist.h"
#include "tools/hearth-bench/workload.h"

#define WORKER_MESSAGE_MAX 256

/* A failure seldom comes alone: how many, and what the first one was. */
struct failure {
    uint64_t count;
    char first[WORKER_MESSAGE_MAX];
};
void failure_note(struct failure *failure, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

struct worker_results {
    struct hist get;
    struct hist set;
    uint64_t hits, misses;
    uint64_t fills_left_out; /* look-aside: somebody else was filling the key */
    uint64_t value_bytes_read, value_bytes_written;
    uint64_t n_checked;
    struct failure errors, wrong, stale;
};

/* What all threads share, set by the main one. */
struct run {
    struct workload *workload;
    int64_t start_ns;
    _Atomic int64_t measure_ns; /* requests that start earlier belong to the warm-up */
    _Atomic int64_t stop_ns;    /* INT64_MAX: when the requests are used up */
};

struct connection;

struct worker {
    struct run *run;
    unsigned index;
    pthread_t thread;
    struct connection *connections;
    unsigned n_connections;
    _Atomic uint64_t n_done; /* atomic: the progress line reads it */
    _Atomic bool is_over;    /* atomic: the main thread waits for it */
    int64_t end_ns;          /* when the last reply came */
    struct worker_results results;
};

/* Connects and greets, on the calling thread. */
void worker_init(struct worker *worker, struct run *run, unsigned index, unsigned n_connections);
void worker_start(struct worker *worker);
void worker_join(struct worker *worker);
void worker_deinit(struct worker *worker);

#endif
