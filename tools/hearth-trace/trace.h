/*
 * Purpose: a request trace in memory: keys as dense numbers, sizes, in order.
 * Threads: none. Errors: INVALID with a message on stderr naming file and line; IO; NO_MEMORY.
 *
 * File: one request per line, `key` or `key,size`, both decimal; empty lines and lines that begin
 * with '#' are skipped. Plain or zstd-compressed, told apart by zstd's magic number. "-" is stdin.
 */
#ifndef HEARTH_TOOLS_TRACE_H
#define HEARTH_TOOLS_TRACE_H

#include <stdint.h>

#include "engine/base/status.h"

struct trace {
    char *name; /* file name without folder, .zst and .csv */
    uint64_t n_requests;
    uint32_t n_keys;
    uint32_t *ids;   /* [n_requests] 0..n_keys-1, by first appearance */
    uint32_t *sizes; /* [n_requests] bytes, at least 1; 1 where the file has none */
    uint64_t *keys;  /* [n_keys] as in the file */
};

MUST_CHECK enum status trace_read(const char *path, struct trace *trace_out);
void trace_deinit(struct trace *trace);

#endif
