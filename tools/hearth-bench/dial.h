/*
 * Purpose: a connection that the server has greeted (AUTH, SELECT, PING or version), non-blocking
 *   from then on.
 * Threads: any. Errors: dies, and says what would help.
 */
#ifndef HEARTH_BENCH_DIAL_H
#define HEARTH_BENCH_DIAL_H

#include "tools/hearth-bench/bench.h"

int dial(const struct bench_config *config);

#endif
