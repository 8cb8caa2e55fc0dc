/*
 * Purpose: RESP2 and RESP3 out: every reply a command can give, written straight into the client's
 *   output buffer.
 * Threads: the client's worker thread.
 * Errors: none reach the command: a buffer over its limit marks the client for closing.
 */
#ifndef HEARTH_NET_REPLY_H
#define HEARTH_NET_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"

struct client;

void reply_raw(struct client *c, const char *data, size_t len);
void reply_ok(struct client *c);
void reply_simple(struct client *c, const char *text); /* +text */
void reply_error(struct client *c, const char *text);  /* "ERR …": code included, no '-' */
void reply_errorf(struct client *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void reply_integer(struct client *c, int64_t value);
void reply_bulk(struct client *c, const char *data, size_t len);
void reply_bulk_text(struct client *c, const char *text);
/* A value found between engine_begin and engine_end; large ones are sent by reference. */
void reply_value(struct client *c, const struct engine_value *value);
/* len bytes from offset of it (GETRANGE). */
void reply_value_range(struct client *c, const struct engine_value *value, size_t offset,
                       size_t len);
void reply_null(struct client *c);                                   /* $-1 or _ */
void reply_null_array(struct client *c);                             /* *-1 or _ */
void reply_double(struct client *c, double value);                   /* RESP3 ',' or bulk */
void reply_bool(struct client *c, bool value);                       /* RESP3 '#' or integer */
void reply_verbatim(struct client *c, const char *data, size_t len); /* RESP3 =txt: or bulk */
void reply_array(struct client *c, size_t n);
void reply_map(struct client *c, size_t n_pairs); /* RESP3 '%', else array of 2n */
void reply_set(struct client *c, size_t n);       /* RESP3 '~', else array */
void reply_push(struct client *c, size_t n);      /* RESP3 '>', else array */
/* Redis' texts for a status: -OOM, -LOADING, "ERR string exceeds maximum allowed size …". */
void reply_status(struct client *c, enum status st);
void reply_syntax_error(struct client *c);
void reply_arity_error(struct client *c);

#endif
