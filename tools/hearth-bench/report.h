/*
 * Purpose: what a run found, as a table, one CSV line or one JSON object on standard output.
 * Threads: after all workers have ended. Errors: none.
 */
#ifndef HEARTH_BENCH_REPORT_H
#define HEARTH_BENCH_REPORT_H

#include "tools/hearth-bench/worker.h"

struct server_use {
    bool is_known;
    double cpu_seconds, system_share;
    int64_t rss_first, rss_last, rss_max;
    double rss_mean;
};

struct report {
    const struct bench_config *config;
    const struct workload *workload;
    double seconds;
    struct worker_results results; /* of all workers */
    struct hist all;
    struct server_use server;
    double own_cpu_seconds;
};

void report_print(const struct report *report);

#endif
