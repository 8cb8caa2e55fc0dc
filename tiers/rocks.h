/*
 * Purpose: the catalogue: a small ordered key-value store with atomic, durable batches, on RocksDB's
 *   C API. Holds format version, uuid, namespaces, segments with manifests, marks. hazards.md tells
 *   why each option is as it is (info_log_level 4, WAL recovery mode 0, ballast, reopen on error).
 * Threads: any background thread; one internal lock. Never on a worker: it blocks.
 * Errors: IO, NO_SPACE, CORRUPT. An error of a write is "maybe written"; the catalogue is then closed
 *   and reopened by the next call (ballast freed first when the disk is full). Counted in
 *   CATALOG_ERRORS and CATALOG_REOPENS.
 */
#ifndef HEARTH_TIERS_ROCKS_H
#define HEARTH_TIERS_ROCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"

struct rocks;
struct rocks_batch;

MUST_CHECK enum status rocks_open(const char *dir, struct rocks **out);
void rocks_close(struct rocks **r);

struct rocks_batch *rocks_batch_create(void);
void rocks_batch_destroy(struct rocks_batch **b);
void rocks_batch_put(struct rocks_batch *b, const void *key, size_t key_len, const void *value,
                     size_t value_len);
void rocks_batch_delete(struct rocks_batch *b, const void *key, size_t key_len);
/* Atomic; on disk when it returns OK if is_durable. */
MUST_CHECK enum status rocks_write(struct rocks *r, struct rocks_batch *b, bool is_durable);
/* *value_out is malloc'ed. NOT_FOUND. */
MUST_CHECK enum status rocks_get(struct rocks *r, const void *key, size_t key_len, void **value_out,
                                 size_t *value_len_out);
/* Calls fn for every key with the prefix, in order, until it returns other than OK. */
typedef enum status (*rocks_visit_fn)(void *arg, const void *key, size_t key_len, const void *value,
                                      size_t value_len);
MUST_CHECK enum status rocks_visit(struct rocks *r, const void *prefix, size_t prefix_len,
                                   rocks_visit_fn fn, void *arg);
uint64_t rocks_memory_bytes(struct rocks *r);

#endif
