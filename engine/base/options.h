/*
 * Purpose: the one registry of options, in redis.conf form: `name value`, `--name value`,
 *   CONFIG GET/SET/REWRITE, --help and the docs all come from options.def.
 * Threads: setting under one internal lock; option_i64 is a relaxed atomic load, any thread;
 *   option_str copies.
 * Errors: INVALID with a message that names option, value and bounds (Redis' own wording for
 *   CONFIG SET lives in net).
 */
#ifndef HEARTH_BASE_OPTIONS_H
#define HEARTH_BASE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "engine/base/status.h"

enum option_type {
    OPTION_INT,    /* plain decimal */
    OPTION_BYTES,  /* 512, 64mb, 10gb (1024), 64k/m/g (1000, as Redis), case-blind */
    OPTION_BOOL,   /* yes no */
    OPTION_ENUM,   /* one of the words in `words`, value is its index */
    OPTION_STRING, /* may be empty */
};

enum option_flags {
    OPTION_MUTABLE = 1,   /* CONFIG SET at run time */
    OPTION_SECRET = 2,    /* never printed in INFO or logs */
    OPTION_PROTECTED = 4, /* CONFIG SET answers "can't set protected config" */
    OPTION_ALIAS = 8,     /* an old or Redis name of the option in `words`; not shown in --help */
    OPTION_LINES = 16,    /* several lines of a config file add up, separated by blanks */
};

enum option_id {
#define X(id, name, type, def, min, max, words, flags, help) OPT_##id,
#include "engine/base/options.def"
#undef X
    OPTION_COUNT
};

struct option_info {
    const char *name;
    enum option_type type;
    const char *default_text;
    int64_t min, max;  /* INT, BYTES */
    const char *words; /* ENUM: "a|b|c"; ALIAS: target's name; else "" */
    unsigned flags;
    const char *help;
};

#define OPTION_ERROR_MAX 256

/* Sets every option to its default. Call once before anything else. */
void options_init(void);
const struct option_info *option_info(enum option_id id);
/* NOT_FOUND: unknown name. Case-blind. Follows aliases. */
enum status option_lookup(const char *name, enum option_id *id_out);
/* The name a mistyped one most resembles; NULL when none is near. */
const char *option_nearest(const char *name);

/* Parses, checks bounds, stores, runs the change hook. error_out: OPTION_ERROR_MAX bytes. */
MUST_CHECK enum status option_set(enum option_id id, const char *value, char *error_out);
/* Checks without storing. */
MUST_CHECK enum status option_check(enum option_id id, const char *value, char *error_out);

int64_t option_i64(enum option_id id); /* INT, BYTES, BOOL (0/1), ENUM (index) */
/* Returns the full length (like snprintf). */
size_t option_str(enum option_id id, char *buf, size_t cap);
/* The value as CONFIG GET prints it. */
size_t option_text(enum option_id id, char *buf, size_t cap);

/* One hook per option, called after a change, in the setter's thread, without locks held.
 * A hook may refuse: anything but OK restores the old value and fails option_set. */
typedef enum status (*option_hook_fn)(enum option_id id, void *arg, char *error_out);
void option_on_change(enum option_id id, option_hook_fn fn, void *arg);

/* Reads a config file ("-" is stdin); error_out gets "file:line: why". `include` works. */
MUST_CHECK enum status options_load_file(const char *path, char *error_out);
/* argv[1] may be a config file, then --name value [value...] pairs, as redis-server. */
MUST_CHECK enum status options_load_args(int argc, char **argv, char *error_out);
/* The file given at start, "" when none. */
const char *options_file(void);
/* Rewrites that file: keeps comments and order, changes changed values, appends new ones;
 * temporary file, fsync, rename. NOT_FOUND: started without a file. */
MUST_CHECK enum status options_rewrite(char *error_out);
/* --help text of all options with default, bounds and help. */
void options_print_help(FILE *out);
/* 64-bit size with unit as BYTES parses it. */
MUST_CHECK enum status option_parse_bytes(const char *text, int64_t *bytes_out);

#endif
