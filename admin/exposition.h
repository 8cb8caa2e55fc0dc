/*
 * Purpose: the metrics registry as text: Prometheus exposition format 0.0.4, or OpenMetrics 1.0.
 * Threads: any (reads the registry). Errors: NO_MEMORY.
 * Source: https://prometheus.io/docs/instrumenting/exposition_formats/, OpenMetrics 1.0.0.
 */
#ifndef HEARTH_ADMIN_EXPOSITION_H
#define HEARTH_ADMIN_EXPOSITION_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/status.h"

/* *text_out is malloc'ed, *len_out without the final NUL. */
MUST_CHECK enum status exposition_write(bool is_openmetrics, char **text_out, size_t *len_out);

#endif
