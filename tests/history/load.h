/*
 * Purpose: the load of the value-history check: connections that send random commands in pipelines
 *   and tell the judge (tests/support/history.h) what they sent and what came back.
 * Threads: load_run starts and joins its own; everything in struct load but the counters is constant
 *   while they run.
 */
#ifndef HEARTH_TESTS_HISTORY_LOAD_H
#define HEARTH_TESTS_HISTORY_LOAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "tests/support/history.h"

#define LOAD_MAX_PIPELINE 256
#define LOAD_COUNTERS 64
#define LOAD_FLUSHED_KEYS 256 /* in database 1 */

struct load_options {
    const char *host, *unix_path, *password;
    int port;
    uint64_t n_ops, seed;
    double seconds; /* 0: no limit */
    uint32_t n_connections, n_threads, pipeline, n_keys;
    uint32_t value_max; /* bytes; most values are much smaller */
    double zipf;
    bool is_cache;     /* keys may be missing: the server evicts */
    bool has_tiers;    /* HEARTH DEMOTE and PROMOTE among the commands */
    bool has_flush;    /* FLUSHDB of database 1 among the commands */
    uint32_t slack_ms; /* by how much an expiry may be off */
    unsigned max_told;
};

struct load {
    struct load_options options;
    struct history *history;
    uint32_t n_appended, first_appended, first_counter, first_flushed, n_all; /* key numbers */
    double zipf_zeta, zipf_eta, zipf_alpha;
    uint64_t started_ns, deadline_ns;
    _Atomic uint64_t *begin_ns; /* by connection: when its oldest command under way began */
    _Atomic uint64_t n_started, n_ended, n_errors;
    _Atomic uint64_t n_refused; /* HEARTH DEMOTE and PROMOTE that were answered with an error */
    _Atomic bool is_broken;     /* a connection failed: all stop */
};

uint64_t load_now_ns(void);

/* Connects, empties the server's databases 0 and 1, runs the load, then reads every key once more.
 * False: it could not be done (connection lost). The judge's counts are in load->history. */
bool load_run(struct load *load);
void load_deinit(struct load *load);

#endif
