/*
 * Purpose: the admin port: HTTP for monitoring systems and operators, on a thread of its own.
 *     GET /metrics   every metric of the registry (Prometheus text, or OpenMetrics by Accept)
 *     GET /healthz   200 while the process runs its admin loop
 *     GET /readyz    200 when commands are served, 503 before and while stopping; JSON
 * Threads: start and stop from the main thread.
 * Errors: admin_start explains itself in error_out (ENGINE_ERROR_MAX bytes).
 */
#ifndef HEARTH_ADMIN_ADMIN_H
#define HEARTH_ADMIN_ADMIN_H

#include "engine/api_control.h"

struct admin;

/* Listens on admin-bind, admin-port. *out stays NULL when admin-port is 0. */
MUST_CHECK enum status admin_start(struct engine *engine, struct admin **out, char *error_out);
void admin_stop(struct admin **admin);

#endif
