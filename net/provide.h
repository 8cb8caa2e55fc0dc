/*
 * Purpose: what other layers may read of net, through base's provider registry: "clients" (fields
 *   of CLIENT LIST) and "slowlog".
 * Threads: start and stop from the main thread; the providers run in the reader's.
 * Errors: a full registry is logged.
 */
#ifndef HEARTH_NET_PROVIDE_H
#define HEARTH_NET_PROVIDE_H

struct net;

void provide_start(struct net *net);
void provide_stop(struct net *net);

#endif
