/*
 * Purpose: what comes from files: a trace of requests, or records with names and values. Either may
 *   be compressed with zstd.
 * Threads: read at start-up, immutable afterwards.
 * Errors: dies with file and line.
 */
#ifndef HEARTH_BENCH_INPUT_H
#define HEARTH_BENCH_INPUT_H

#include <stddef.h>
#include <stdint.h>

#include "tools/hearth-bench/bench.h"

struct trace_request {
    uint64_t key; /* the number in the file, or a hash of what is no number */
    uint32_t size;
    bool has_size;
};

struct trace {
    struct trace_request *requests;
    size_t n_requests;
};

struct record {
    const char *name, *data;
    uint32_t n_name, n_data;
    uint32_t repeat; /* this name's nth occurrence, from 0 */
};

struct records {
    struct record *list;
    size_t n_records;
    char *text;
};

void trace_read(struct trace *trace, const char *path);
void records_read(struct records *records, const char *path);

#endif
