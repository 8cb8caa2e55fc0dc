/*
 * Purpose: the network layer as a program sees it: start it on an engine, stop it.
 * Threads: start and stop from the main thread.
 * Errors: net_start explains itself in error_out, one line.
 */
#ifndef HEARTH_NET_NET_H
#define HEARTH_NET_NET_H

#include <stdbool.h>

#include "engine/api_control.h"

#define NET_ERROR_MAX 256
#define NET_REDIS_VERSION "7.0.15" /* whose answers we give: clients choose features by it */

struct net;

struct net_config {
    struct engine *engine;
    unsigned n_workers; /* as the engine was opened with */
    /* SHUTDOWN was received: the program should stop. Called on a worker's thread, at most once;
     * it must only make a note. */
    void (*on_shutdown)(void *arg, bool keep_data);
    void *arg;
};

/* Opens the sockets that the options name, starts the workers. */
MUST_CHECK enum status net_start(const struct net_config *config, struct net **out,
                                 char *error_out);
/* Closes all connections, joins the workers. NULL is fine. */
void net_stop(struct net **net);
/* "127.0.0.1:6379 [::1]:6379 /path", for the banner. */
void net_addresses(const struct net *net, char *buf, size_t cap);

#endif
