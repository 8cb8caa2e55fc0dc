/*
 * Purpose: what the server costs, read from outside: CPU time of the whole process (all threads,
 *   ended ones too, user and system, in nanoseconds) and its resident memory.
 * Threads: any. Errors: false when the process is gone or not ours to see.
 */
#ifndef HEARTH_BENCH_PROC_H
#define HEARTH_BENCH_PROC_H

#include <stdbool.h>
#include <stdint.h>

struct proc_cpu {
    int64_t total_ns;  /* the process' CPU clock */
    int64_t system_ns; /* in ticks of 10 ms: for a ratio only */
};

bool proc_cpu(int64_t pid, struct proc_cpu *cpu_out);
bool proc_rss(int64_t pid, int64_t *bytes_out);

#endif
