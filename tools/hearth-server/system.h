/*
 * Purpose: what hearth-server wants of the machine before it starts, and what it says when it has.
 * Threads: the main thread. Errors: logged; the server starts with what it can get.
 */
#ifndef HEARTH_TOOLS_SERVER_SYSTEM_H
#define HEARTH_TOOLS_SERVER_SYSTEM_H

struct net;

/* The option threads, or one per core this process may use. */
unsigned system_worker_count(void);
/* Descriptors for maxclients (which is lowered if there are not enough), no huge pages. */
void system_prepare(unsigned n_workers);
/* Where it listens, its budget, how to try it; to stdout, or as a log line with log-format json. */
void system_print_banner(const struct net *net, unsigned n_workers);

#endif
