/*
 * Purpose: the rows of commands.def as net sees them: struct command and what only the dispatcher,
 *   INFO and COMMAND need.
 * Threads: immutable; any.
 * Errors: none.
 */
#ifndef HEARTH_NET_TABLE_H
#define HEARTH_NET_TABLE_H

#include "net/command.h"

enum command_id {
#define X(id, ...) CMD_ID_##id,
#include "net/commands.def"
#undef X
    COMMAND_COUNT,
    CMD_ID_NONE = -1,
};

/* Beyond enum command_flags: what COMMAND INFO tells, and how INFO counts. */
enum command_row_flags {
    CMD_NO_MULTI = 1 << 16,
    CMD_ALLOW_BUSY = 1 << 17,
    CMD_COUNTS_HITS = 1 << 18, /* a write whose look-up counts as a hit or a miss, as in Redis */
};

struct command_row {
    struct command command; /* its name is "parent|sub" for a subcommand */
    int16_t id;
    int16_t parent;        /* CMD_ID_NONE: a command */
    const char *category;  /* "string", "keyspace", "connection" or "" */
    const char *tips;      /* comma-separated */
    const char *key_specs; /* see commands.def */
};

extern const struct command_row command_rows[COMMAND_COUNT];

static inline const struct command_row *command_row_of(const struct command *command)
{
    return (const struct command_row *)(const void *)command;
}

/* Case-blind. NULL: unknown. */
const struct command_row *command_row_find(const char *name, size_t len);
/* Of a CMD_CONTAINER. */
const struct command_row *command_row_find_sub(const struct command_row *parent, const char *name,
                                               size_t len);
/* "get" or "config|get". */
const struct command_row *command_row_find_full(const char *name, size_t len);
/* Does a request of argc arguments suit the row? */
static inline bool command_arity_fits(const struct command *command, int argc)
{
    return command->arity >= 0 ? argc == command->arity : argc >= -command->arity;
}
/* Number of its keys in a request of argc arguments (0: none); their positions begin at first_key. */
uint32_t command_key_count(const struct command *command, int argc);

/* Every function named in commands.def. */
#define X(id, parent, name, fn, ...) void fn(struct client *c);
#include "net/commands.def"
#undef X

#endif
