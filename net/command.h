/*
 * Purpose: the command table (commands.def) and how a command runs. The dispatcher finds the keys of
 *   argv by the row's key specification, fills c->op, calls engine_begin, then the row's function
 *   with the shards locked, then engine_end. Rows with flag CMD_MANUAL drive c->op themselves (they
 *   choose keys, flags or needs by their arguments, or work on the whole key space): on AGAIN they
 *   return command_park(c), and are called again from the start when the op is resumed; what they
 *   must remember in between lies in c->scratch (freed by c->scratch_free).
 * Threads: the client's worker thread.
 */
#ifndef HEARTH_NET_COMMAND_H
#define HEARTH_NET_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/api_keyspace.h"
#include "engine/engine.h"
#include "net/reply.h"

enum command_flags {
    CMD_WRITE = 1,
    CMD_READONLY = 2,
    CMD_DENYOOM = 4,
    CMD_FAST = 8,
    CMD_ADMIN = 16,
    CMD_NO_AUTH = 32, /* allowed before AUTH */
    CMD_LOADING = 64,
    CMD_STALE = 128,
    CMD_MANUAL = 256, /* see above */
    CMD_NOSCRIPT = 512,
    CMD_DANGEROUS = 1024,
    CMD_CONTAINER = 2048, /* has subcommands */
    CMD_NO_TOUCH = 4096,  /* does not count as a use of the key */
};

typedef void (*command_fn)(struct client *c);

struct command {
    const char *name; /* lower case */
    command_fn run;
    int16_t arity; /* as Redis: negative is "at least" */
    int16_t first_key, last_key, key_step;
    uint8_t need; /* enum engine_need of its keys */
    uint32_t flags;
    const char *group; /* "string", "generic", "connection", "server" */
    const char *since;
    const char *summary;
    const char *complexity;
};

/* An argument: points into the client's input, or into a blob that became one (large values). */
struct arg {
    char *data;
    size_t len;
    struct engine_blob *blob; /* not NULL: the whole argument is this blob's data; a command that
                                 stores it takes it over and sets this to NULL */
};

/* What a command sees of its client (the rest is net/client.h). First member of struct client. */
struct command_context {
    int argc;
    struct arg *argv;
    struct engine_op op; /* keys[] filled by the dispatcher unless CMD_MANUAL */
    uint8_t db;
    uint8_t resp; /* 2 or 3 */
    const struct command *command;
    void *scratch;
    void (*scratch_free)(void *scratch);
};
static inline struct command_context *command_context(struct client *c)
{
    return (struct command_context *)(void *)c;
}

/* Case-blind; NULL: unknown. */
const struct command *command_find(const char *name, size_t len);
/* A CMD_MANUAL command got AGAIN. */
void command_park(struct client *c);
/* Fills op.keys[0..n) of a CMD_MANUAL command; the array lives until the command ends. */
struct engine_key *command_keys(struct client *c, uint32_t n);

/* Parsing of arguments, exactly as Redis does; false: not such a number. */
bool arg_i64(const struct arg *a, int64_t *out);
bool arg_long_double(const struct arg *a, long double *out);
bool arg_is(const struct arg *a, const char *word); /* case-blind */

#endif
