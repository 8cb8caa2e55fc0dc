/*
 * Purpose: the engine's blobs without the engine: malloc with a limit, and a count of those alive.
 *   Include it once per program, which must not link the engine's own.
 * Threads: one. Errors: without memory the program aborts.
 */
#ifndef HEARTH_TESTS_BLOB_DOUBLE_H
#define HEARTH_TESTS_BLOB_DOUBLE_H

#include <stdatomic.h>
#include <stdlib.h>

#include "engine/engine.h"

static size_t blob_double_limit = 1 << 20; /* larger ones are refused */
static int blob_double_alive;

struct engine_blob *engine_blob_create(size_t len)
{
    if (len > blob_double_limit) {
        return NULL;
    }
    struct engine_blob *blob = malloc(sizeof(*blob) + len);
    if (blob == NULL) {
        abort();
    }
    atomic_init(&blob->refs, 1);
    blob->len = len;
    blob_double_alive++;
    return blob;
}

void engine_blob_acquire(struct engine_blob *blob)
{
    blob->refs++;
}

void engine_blob_release(struct engine_blob *blob)
{
    if (blob != NULL && --blob->refs == 0) {
        free(blob);
        blob_double_alive--;
    }
}

#endif
