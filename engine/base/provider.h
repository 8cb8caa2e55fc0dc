/*
 * Purpose: the registry by which one top layer reads what another one knows (admin reads net's
 *   clients and slow log) without either including the other. A provider has a name and a callback
 *   that describes rows of named fields to a visitor; the visitor decides on the form (JSON, …).
 *
 *       net:   provider_register("clients", list_clients, server);
 *              static enum status list_clients(void *arg, const struct provider_visitor *v)
 *              {
 *                  for (each client) {
 *                      v->row_begin(v->arg);
 *                      v->integer(v->arg, "id", c->id);
 *                      v->text(v->arg, "addr", c->addr, strlen(c->addr));
 *                      v->row_end(v->arg);
 *                  }
 *                  return OK;
 *              }
 *       admin: st = provider_read("clients", &json_visitor);
 *
 * Threads: any. A provider is called in the reader's thread, perhaps by several at once, with no lock
 *   of the registry held: it brings its own locks.
 * Errors: provider_read returns what the provider did; rows already visited stay visited.
 */
#ifndef HEARTH_BASE_PROVIDER_H
#define HEARTH_BASE_PROVIDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"

#define PROVIDER_MAX 16

/* All functions must be set. Names are static ASCII words; text is any bytes, copied if kept. */
struct provider_visitor {
    void (*row_begin)(void *arg);
    void (*text)(void *arg, const char *name, const char *data, size_t len);
    void (*integer)(void *arg, const char *name, int64_t value);
    void (*number)(void *arg, const char *name, double value);
    void (*boolean)(void *arg, const char *name, bool value);
    void (*row_end)(void *arg);
    void *arg;
};

typedef enum status (*provider_fn)(void *arg, const struct provider_visitor *visitor);

/* name: a static string. INVALID: taken. NO_SPACE: PROVIDER_MAX are there. */
MUST_CHECK enum status provider_register(const char *name, provider_fn fn, void *arg);
/* Returns when no reader is inside the provider any more: its arg may be freed. Unknown names are
 * ignored. Never from within a provider. */
void provider_unregister(const char *name);
/* NOT_FOUND: nobody provides this. */
MUST_CHECK enum status provider_read(const char *name, const struct provider_visitor *visitor);
/* The i-th name in the order of registering, NULL behind the last. */
const char *provider_name(size_t i);

#endif
