/*
 * COMMAND: the table of commands as Redis 7.0.15 tells it. Flags, ACL categories and key specifications
 * are derived from commands.def, documentation from command_docs.def; tests/integration compares
 * both with a real Redis, command by command.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "net/args.h"
#include "net/client.h"
#include "net/command_docs.h"
#include "net/glob.h"
#include "net/table.h"

#define WORDS_MAX 16

struct words {
    const char *word[WORDS_MAX];
    int len[WORDS_MAX];
    size_t n;
};

static void add_word(struct words *w, const char *word)
{
    w->word[w->n] = word;
    w->len[w->n++] = (int)strlen(word);
}

/* Splits at `at`; empty text has no words. */
static void split(struct words *w, const char *text, char at)
{
    w->n = 0;
    while (*text != '\0' && w->n < WORDS_MAX) {
        const char *end = strchrnul(text, at);
        w->word[w->n] = text;
        w->len[w->n++] = (int)(end - text);
        text = *end == '\0' ? end : end + 1;
    }
}

static void reply_status_words(struct client *c, const struct words *w, const char *prefix)
{
    reply_set(c, w->n);
    for (size_t i = 0; i < w->n; i++) {
        char text[128];
        (void)snprintf(text, sizeof(text), "%s%.*s", prefix, w->len[i], w->word[i]);
        reply_simple(c, text);
    }
}

/* --- INFO --------------------------------------------------------------------------------------- */

static void flag_words(const struct command *command, struct words *w)
{
    static const struct {
        uint32_t flag;
        const char *word;
    } flags[] = {
        {CMD_WRITE, "write"},           {CMD_READONLY, "readonly"},
        {CMD_DENYOOM, "denyoom"},       {CMD_ADMIN, "admin"},
        {CMD_NOSCRIPT, "noscript"},     {CMD_LOADING, "loading"},
        {CMD_STALE, "stale"},           {CMD_FAST, "fast"},
        {CMD_NO_AUTH, "no_auth"},       {CMD_NO_MULTI, "no_multi"},
        {CMD_ALLOW_BUSY, "allow_busy"},
    };
    w->n = 0;
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        if ((command->flags & flags[i].flag) != 0) {
            add_word(w, flags[i].word);
        }
    }
}

/* In the order of Redis' category table. */
static void category_words(const struct command_row *row, struct words *w)
{
    uint32_t flags = row->command.flags;
    w->n = 0;
    if (strcmp(row->category, "keyspace") == 0) {
        add_word(w, "keyspace");
    }
    if ((flags & CMD_READONLY) != 0) {
        add_word(w, "read");
    }
    if ((flags & CMD_WRITE) != 0) {
        add_word(w, "write");
    }
    if (strcmp(row->category, "string") == 0) {
        add_word(w, "string");
    }
    if ((flags & CMD_ADMIN) != 0) {
        add_word(w, "admin");
    }
    add_word(w, (flags & CMD_FAST) != 0 ? "fast" : "slow");
    if ((flags & (CMD_ADMIN | CMD_DANGEROUS)) != 0) {
        add_word(w, "dangerous");
    }
    if (strcmp(row->category, "connection") == 0) {
        add_word(w, "connection");
    }
}

/* One "flags begin last step limit notes". */
struct key_spec {
    struct words flags;
    char flag_text[64];
    int begin, last, step, limit;
    const char *notes; /* to the end of the specification */
    int notes_len;
};

static void key_spec_parse(const char *text, int len, struct key_spec *s)
{
    int n = 0;
    memset(s, 0, sizeof(*s));
    (void)sscanf(text, "%63s %d %d %d %d%n", s->flag_text, &s->begin, &s->last, &s->step, &s->limit,
                 &n);
    split(&s->flags, s->flag_text, ',');
    s->notes = n < len ? text + n + 1 : NULL;
    s->notes_len = n < len ? len - n - 1 : 0;
}

static void reply_key_spec(struct client *c, const struct key_spec *s)
{
    reply_map(c, s->notes != NULL ? 4 : 3);
    if (s->notes != NULL) {
        reply_bulk_text(c, "notes");
        reply_bulk(c, s->notes, (size_t)s->notes_len);
    }
    reply_bulk_text(c, "flags");
    reply_status_words(c, &s->flags, "");
    reply_bulk_text(c, "begin_search");
    reply_map(c, 2);
    reply_bulk_text(c, "type");
    reply_bulk_text(c, "index");
    reply_bulk_text(c, "spec");
    reply_map(c, 1);
    reply_bulk_text(c, "index");
    reply_integer(c, s->begin);
    reply_bulk_text(c, "find_keys");
    reply_map(c, 2);
    reply_bulk_text(c, "type");
    reply_bulk_text(c, "range");
    reply_bulk_text(c, "spec");
    reply_map(c, 3);
    reply_bulk_text(c, "lastkey");
    reply_integer(c, s->last);
    reply_bulk_text(c, "keystep");
    reply_integer(c, s->step);
    reply_bulk_text(c, "limit");
    reply_integer(c, s->limit);
}

static void reply_key_specs(struct client *c, const struct command_row *row)
{
    struct words specs;
    split(&specs, row->key_specs, '|');
    reply_set(c, specs.n);
    for (size_t i = 0; i < specs.n; i++) {
        struct key_spec s;
        key_spec_parse(specs.word[i], specs.len[i], &s);
        reply_key_spec(c, &s);
    }
}

static size_t count_subs(const struct command_row *row)
{
    size_t n = 0;
    for (int i = row->id + 1; i < COMMAND_COUNT && command_rows[i].parent == row->id; i++) {
        n++;
    }
    return n;
}

static void reply_info_flat(struct client *c, const struct command_row *row)
{
    struct words w;
    reply_array(c, 10);
    reply_bulk_text(c, row->command.name);
    reply_integer(c, row->command.arity);
    flag_words(&row->command, &w);
    reply_status_words(c, &w, "");
    reply_integer(c, row->command.first_key);
    reply_integer(c, row->command.last_key);
    reply_integer(c, row->command.key_step);
    category_words(row, &w);
    reply_status_words(c, &w, "@");
    split(&w, row->tips, ',');
    reply_set(c, w.n);
    for (size_t i = 0; i < w.n; i++) {
        reply_bulk(c, w.word[i], (size_t)w.len[i]);
    }
    reply_key_specs(c, row);
}

static void reply_info(struct client *c, const struct command_row *row)
{
    if (row == NULL) {
        reply_null(c);
        return;
    }
    size_t n_subs = count_subs(row);
    reply_info_flat(c, row);
    if (n_subs == 0) {
        reply_set(c, 0);
        return;
    }
    reply_array(c, n_subs);
    for (size_t i = 1; i <= n_subs; i++) {
        reply_info_flat(c, row + i);
        reply_set(c, 0);
    }
}

static size_t count_commands(void)
{
    size_t n = 0;
    for (int i = 0; i < COMMAND_COUNT; i++) {
        n += command_rows[i].parent == CMD_ID_NONE;
    }
    return n;
}

static void reply_info_all(struct client *c)
{
    reply_array(c, count_commands());
    for (int i = 0; i < COMMAND_COUNT; i++) {
        if (command_rows[i].parent == CMD_ID_NONE) {
            reply_info(c, &command_rows[i]);
        }
    }
}

void cmd_command(struct client *c)
{
    reply_info_all(c);
}

void cmd_command_count(struct client *c)
{
    reply_integer(c, (int64_t)count_commands());
}

void cmd_command_info(struct client *c)
{
    const struct command_context *ctx = &c->context;
    if (ctx->argc == 2) {
        reply_info_all(c);
        return;
    }
    reply_array(c, (size_t)ctx->argc - 2);
    for (int i = 2; i < ctx->argc; i++) {
        reply_info(c, command_row_find_full(ctx->argv[i].data, ctx->argv[i].len));
    }
}

/* --- DOCS --------------------------------------------------------------------------------------- */

static void reply_docs(struct client *c, const struct command_row *row)
{
    size_t n_subs = count_subs(row);
    reply_bulk_text(c, row->command.name);
    command_docs_reply(c, row, n_subs > 0);
    if (n_subs > 0) {
        reply_bulk_text(c, "subcommands");
        reply_map(c, n_subs);
        for (size_t i = 1; i <= n_subs; i++) {
            reply_docs(c, row + i);
        }
    }
}

void cmd_command_docs(struct client *c)
{
    const struct command_context *ctx = &c->context;
    if (ctx->argc == 2) {
        reply_map(c, count_commands());
        for (int i = 0; i < COMMAND_COUNT; i++) {
            if (command_rows[i].parent == CMD_ID_NONE) {
                reply_docs(c, &command_rows[i]);
            }
        }
        return;
    }
    size_t n = 0;
    for (int i = 2; i < ctx->argc; i++) {
        n += command_row_find_full(ctx->argv[i].data, ctx->argv[i].len) != NULL;
    }
    reply_map(c, n);
    for (int i = 2; i < ctx->argc; i++) {
        const struct command_row *row = command_row_find_full(ctx->argv[i].data, ctx->argv[i].len);
        if (row != NULL) {
            reply_docs(c, row);
        }
    }
}

/* --- LIST --------------------------------------------------------------------------------------- */

enum list_filter { FILTER_NONE, FILTER_MODULE, FILTER_CATEGORY, FILTER_PATTERN };

static bool is_category(const struct arg *a)
{
    static const char *const names[] = {
        "keyspace", "read",   "write",       "set",       "sortedset",  "list",        "hash",
        "string",   "bitmap", "hyperloglog", "geo",       "stream",     "pubsub",      "admin",
        "fast",     "slow",   "blocking",    "dangerous", "connection", "transaction", "scripting",
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (arg_is(a, names[i])) {
            return true;
        }
    }
    return false;
}

static bool passes(const struct command_row *row, enum list_filter filter, const struct arg *value)
{
    struct words w;
    switch (filter) {
    case FILTER_NONE:
        return row->parent == CMD_ID_NONE;
    case FILTER_MODULE:
        return false;
    case FILTER_CATEGORY:
        category_words(row, &w);
        for (size_t i = 0; i < w.n; i++) {
            if (arg_is(value, w.word[i])) {
                return true;
            }
        }
        return false;
    case FILTER_PATTERN:
        return glob_match(value->data, value->len, row->command.name, strlen(row->command.name),
                          true);
    }
    return false;
}

static bool list_filter_parse(const struct command_context *ctx, enum list_filter *out)
{
    *out = FILTER_NONE;
    if (ctx->argc == 2) {
        return true;
    }
    if (ctx->argc != 5 || !arg_is(&ctx->argv[2], "FILTERBY")) {
        return false;
    }
    *out = arg_is(&ctx->argv[3], "MODULE")    ? FILTER_MODULE
           : arg_is(&ctx->argv[3], "ACLCAT")  ? FILTER_CATEGORY
           : arg_is(&ctx->argv[3], "PATTERN") ? FILTER_PATTERN
                                              : FILTER_NONE;
    return *out != FILTER_NONE;
}

void cmd_command_list(struct client *c)
{
    const struct command_context *ctx = &c->context;
    enum list_filter filter = FILTER_NONE;
    if (!list_filter_parse(ctx, &filter)) {
        reply_syntax_error(c);
        return;
    }
    const struct arg *value = ctx->argc == 5 ? &ctx->argv[4] : NULL;
    if (filter == FILTER_CATEGORY && !is_category(value)) {
        reply_array(c, 0);
        return;
    }
    size_t n = 0;
    for (int i = 0; i < COMMAND_COUNT; i++) {
        n += passes(&command_rows[i], filter, value);
    }
    reply_array(c, n);
    for (int i = 0; i < COMMAND_COUNT; i++) {
        if (passes(&command_rows[i], filter, value)) {
            reply_bulk_text(c, command_rows[i].command.name);
        }
    }
}

/* --- GETKEYS ------------------------------------------------------------------------------------ */

/* The command that argv[2…] is; NULL: an error was replied. */
static const struct command_row *inner_command(struct client *c)
{
    const struct command_context *ctx = &c->context;
    const struct arg *name = &ctx->argv[2];
    const struct command_row *row = command_row_find(name->data, name->len);
    if (row != NULL && (row->command.flags & CMD_CONTAINER) != 0 && ctx->argc > 3) {
        row = command_row_find_sub(row, ctx->argv[3].data, ctx->argv[3].len);
    }
    if (row == NULL) {
        reply_error(c, "ERR Invalid command specified");
        return NULL;
    }
    if (row->key_specs[0] == '\0') {
        reply_error(c, "ERR The command has no key arguments");
        return NULL;
    }
    if (!command_arity_fits(&row->command, ctx->argc - 2)) {
        reply_error(c, "ERR Invalid number of arguments specified for command");
        return NULL;
    }
    return row;
}

/* SET's flags depend on its arguments: with GET it also reads. */
static void resolve_variable_flags(struct key_spec *s, int argc, const struct arg *argv)
{
    const char *last = s->flags.word[s->flags.n - 1];
    if (strcmp(last, "variable_flags") != 0) {
        return;
    }
    bool reads = false;
    for (int i = 3; i < argc; i++) {
        reads |= arg_is(&argv[i], "GET");
    }
    split(&s->flags, reads ? "RW,access,update" : "OW,update", ',');
}

/* Calls for every key of every specification; returns how many there are. c NULL: only counts. */
static size_t each_key(struct client *c, const struct command_row *row, int argc,
                       const struct arg *argv, bool with_flags)
{
    struct words specs;
    size_t n = 0;
    split(&specs, row->key_specs, '|');
    for (size_t i = 0; i < specs.n; i++) {
        struct key_spec s;
        key_spec_parse(specs.word[i], specs.len[i], &s);
        resolve_variable_flags(&s, argc, argv);
        int last = s.last >= 0 ? s.begin + s.last : argc + s.last;
        for (int k = s.begin; k <= last && k < argc; k += s.step, n++) {
            if (c == NULL) {
                continue;
            }
            if (with_flags) {
                reply_array(c, 2);
            }
            reply_bulk(c, argv[k].data, argv[k].len);
            if (with_flags) {
                reply_status_words(c, &s.flags, "");
            }
        }
    }
    return n;
}

static void getkeys(struct client *c, bool with_flags)
{
    const struct command_context *ctx = &c->context;
    const struct command_row *row = inner_command(c);
    if (row == NULL) {
        return;
    }
    int argc = ctx->argc - 2;
    const struct arg *argv = ctx->argv + 2;
    size_t n = each_key(NULL, row, argc, argv, with_flags);
    if (n == 0) {
        reply_error(c, "ERR Invalid arguments specified for command");
        return;
    }
    reply_array(c, n);
    (void)each_key(c, row, argc, argv, with_flags);
}

void cmd_command_getkeys(struct client *c)
{
    getkeys(c, false);
}

void cmd_command_getkeysandflags(struct client *c)
{
    getkeys(c, true);
}
