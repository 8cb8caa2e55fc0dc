/*
 * Purpose: COMMAND DOCS of one command, from commands.def and command_docs.def.
 * Threads: the client's worker thread. Errors: none.
 */
#ifndef HEARTH_NET_COMMAND_DOCS_H
#define HEARTH_NET_COMMAND_DOCS_H

#include "net/table.h"

/* Replies the map; with_subcommands leaves its last pair ("subcommands") to the caller. */
void command_docs_reply(struct client *c, const struct command_row *row, bool with_subcommands);

#endif
