/*
 * Purpose: the option client-output-buffer-limit: how many unread replies a client may pile up.
 * Threads: set by the option's hook, read by any.
 * Errors: INVALID with Redis' text.
 */
#ifndef HEARTH_NET_OUTPUT_LIMIT_H
#define HEARTH_NET_OUTPUT_LIMIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"

/* Of class normal, the only one there is so far; 0: unlimited. */
struct output_limit {
    _Atomic uint64_t hard_bytes, soft_bytes, soft_ms;
};

/* "normal 64mb 16mb 10", perhaps with other classes of Redis, which are checked and ignored.
 * error_out may be NULL. */
MUST_CHECK enum status output_limit_set(struct output_limit *limit, const char *text,
                                        char *error_out, size_t cap);
bool output_limit_is_over_hard(const struct output_limit *limit, size_t bytes);
/* *since_ms: when it first was over, 0: it was not. */
bool output_limit_is_over_soft(const struct output_limit *limit, size_t bytes, int64_t now_ms,
                               int64_t *since_ms);
/* More than the soft limit's seconds. */
bool output_limit_is_too_long(const struct output_limit *limit, int64_t ms);

#endif
