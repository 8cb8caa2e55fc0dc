/*
 * Purpose: the words a client may attach to its connection: its name, its library's name and
 *   version. Others read them, so they change under the worker's list lock.
 * Threads: the client's worker thread.
 * Errors: false: an error was replied.
 */
#ifndef HEARTH_NET_CLIENT_NAME_H
#define HEARTH_NET_CLIENT_NAME_H

#include "net/client.h"

/* An empty one removes the name. */
bool client_set_name(struct client *c, const struct arg *name);
bool client_set_library(struct client *c, const struct arg *attribute, const struct arg *value);

#endif
