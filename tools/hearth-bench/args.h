/*
 * Purpose: turns the command line into a struct bench_config; the one table of options is in
 *   args.c and makes --help as well.
 * Threads: start-up only. Errors: dies with the option's name and what it takes.
 */
#ifndef HEARTH_BENCH_ARGS_H
#define HEARTH_BENCH_ARGS_H

#include "tools/hearth-bench/bench.h"

/* --help and --version print and exit 0. */
void args_parse(int argc, char **argv, struct bench_config *config_out);
/* "250", "10k" (1000), "64kb" (1024), also m, g; false if it is none. end_out gets the first
 * character not taken. */
bool args_parse_number(const char *text, uint64_t *value_out, const char **end_out);

#endif
