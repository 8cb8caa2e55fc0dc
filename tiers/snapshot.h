/*
 * Purpose: a checksummed file of tagged sections, written once at a clean stop and read once at the
 *   next start (the index, the segments' state). Described in tiers/FORMAT.md.
 * Threads: one.
 * Errors: IO, NO_SPACE, CORRUPT (truncated, flipped, foreign), NOT_FOUND (no such file).
 */
#ifndef HEARTH_TIERS_SNAPSHOT_H
#define HEARTH_TIERS_SNAPSHOT_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"

struct snapshot_writer;
struct snapshot_reader;

/* id (16 bytes, random) is stored in the header and compared by the reader: the catalogue's clean mark
 * names the one snapshot that is valid. Buffered; not on a worker. */
MUST_CHECK enum status snapshot_create(const char *path, const uint8_t id[16],
                                       struct snapshot_writer **out);
MUST_CHECK enum status snapshot_write(struct snapshot_writer *w, uint32_t tag, const void *data,
                                      size_t len);
/* End section, fsync, rename into place, fsync of the folder. Frees the writer whatever happens. */
MUST_CHECK enum status snapshot_finish(struct snapshot_writer **w);
void snapshot_abort(struct snapshot_writer **w);

MUST_CHECK enum status snapshot_open(const char *path, const uint8_t id[16],
                                     struct snapshot_reader **out);
/* Next section; *data_out is valid until the next call. NOT_FOUND: the end, and all was complete. */
MUST_CHECK enum status snapshot_next(struct snapshot_reader *r, uint32_t *tag_out,
                                     const void **data_out, size_t *len_out);
void snapshot_close(struct snapshot_reader **r);

#endif
