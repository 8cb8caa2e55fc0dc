/*
 * Purpose: what op.c and mutate.c share: an op's view of a key while its shards are locked.
 */
#ifndef HEARTH_ENGINE_MUTATE_H
#define HEARTH_ENGINE_MUTATE_H

#include "engine/engine_impl.h"

/* The hot item (a tombstone too) or NULL, as it is now. */
struct item *op_item(struct engine_op *op, uint32_t i);
/* The fetched copy if the index still names it, else NULL. */
struct warm_value *op_warm(struct engine_op *op, uint32_t i);

#endif
