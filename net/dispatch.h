/*
 * Purpose: runs the request that a client's parser holds.
 * Threads: the client's worker thread.
 * Errors: all of them are replies or close the client.
 */
#ifndef HEARTH_NET_DISPATCH_H
#define HEARTH_NET_DISPATCH_H

#include "net/client.h"

/* Runs c->in's request from its start. Afterwards the client is parked, marked for closing, or has
 * its reply. */
void dispatch_request(struct client *c);
/* Runs a parked command again. */
void dispatch_again(struct client *c);
/* Frees what the running command remembers (a client that closes while parked). */
void dispatch_forget(struct client *c);

#endif
