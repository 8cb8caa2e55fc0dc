/*
 * Commands over the whole key space. Each may be parked between two steps of its walk (cold keys are
 * read from segments), so its state lies in the client's scratch and not on the stack.
 *
 * SCAN is one step of the engine's walk, filtered; like Redis it may return a key twice, or none.
 * KEYS is the whole walk; since a key may be met twice while tiers change hands, it collects into a set
 * and replies at the end. The set is charged to the clients' share of memory: too many keys are an error
 * and not an outage.
 */
#include "net/cmd_data.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "engine/base/mem.h"
#include "net/args.h"
#include "net/glob.h"
#include "net/key_set.h"

#define KEYS_STEP 1024 /* keys asked of the engine at once */
#define SCAN_COUNT_DEFAULT 10
#define SCAN_COUNT_MAX 65536 /* a hint anyway; bounds what one step holds in memory */

struct walk {
    struct engine_scan scan;
    struct key_set found; /* KEYS */
};

static void walk_free(void *scratch)
{
    struct walk *walk = scratch;
    engine_scan_reset(&walk->scan);
    key_set_deinit(&walk->found);
    mem_free(walk);
}

/* The walk this command began before it was parked, or a new one. NULL: an error was replied. */
static struct walk *walk_get(struct client *c, uint64_t cursor, uint32_t count)
{
    struct command_context *ctx = command_context(c);
    struct walk *walk = ctx->scratch;
    if (walk != NULL) {
        return walk;
    }
    walk = mem_zalloc(1, sizeof(*walk));
    if (walk == NULL) {
        reply_status(c, NO_MEMORY);
        return NULL;
    }
    walk->scan = (struct engine_scan){.db = ctx->db, .cursor = cursor, .count = count};
    key_set_init(&walk->found);
    ctx->scratch = walk;
    ctx->scratch_free = walk_free;
    return walk;
}

static void walk_end(struct client *c)
{
    struct command_context *ctx = command_context(c);
    walk_free(ctx->scratch);
    ctx->scratch = NULL;
    ctx->scratch_free = NULL;
}

static bool is_wanted(const struct arg *pattern, const struct engine_scan_key *key)
{
    return pattern == NULL || glob_is_all(pattern->data, pattern->len) ||
           glob_match(pattern->data, pattern->len, key->data, key->len, false);
}

/* One step, collected. */
static enum status keys_step(struct client *c, struct walk *walk, const struct arg *pattern)
{
    enum status st = engine_scan(&command_context(c)->op, &walk->scan);
    for (uint32_t i = 0; st == OK && i < walk->scan.n_found; i++) {
        const struct engine_scan_key *key = &walk->scan.found[i];
        if (is_wanted(pattern, key)) {
            st = key_set_add(&walk->found, key->data, key->len);
        }
    }
    return st;
}

void cmd_keys(struct client *c)
{
    struct walk *walk = walk_get(c, 0, KEYS_STEP);
    if (walk == NULL) {
        return;
    }
    do {
        enum status st = keys_step(c, walk, &command_context(c)->argv[1]);
        if (!cmd_step(c, st)) {
            if (st != AGAIN) {
                walk_end(c);
            }
            return;
        }
        walk->scan.cursor = walk->scan.next_cursor;
        engine_scan_reset(&walk->scan);
    } while (walk->scan.cursor != 0);

    size_t at = 0;
    uint32_t len;
    const char *data;
    reply_array(c, walk->found.n_keys);
    while ((data = key_set_next(&walk->found, &at, &len)) != NULL) {
        reply_bulk(c, data, len);
    }
    walk_end(c);
}

struct scan_options {
    uint64_t cursor;
    uint32_t count;
    const struct arg *pattern; /* NULL: all */
    const struct arg *type;    /* NULL: all */
};

static bool scan_options_parse(struct client *c, struct scan_options *out)
{
    struct command_context *ctx = command_context(c);
    *out = (struct scan_options){.count = SCAN_COUNT_DEFAULT};
    if (!arg_parse_cursor(ctx->argv[1].data, ctx->argv[1].len, &out->cursor)) {
        reply_error(c, "ERR invalid cursor");
        return false;
    }
    for (int i = 2; i < ctx->argc; i += 2) {
        const struct arg *word = &ctx->argv[i];
        const struct arg *value = i + 1 < ctx->argc ? &ctx->argv[i + 1] : NULL;
        int64_t count = SCAN_COUNT_DEFAULT;
        bool is_known = value != NULL;
        if (is_known && arg_is(word, "COUNT")) {
            if (!cmd_i64(c, value, &count)) {
                return false;
            }
            out->count = (uint32_t)(count < SCAN_COUNT_MAX ? count : SCAN_COUNT_MAX);
            is_known = count >= 1;
        } else if (is_known && arg_is(word, "MATCH")) {
            out->pattern = value;
        } else if (is_known && arg_is(word, "TYPE")) {
            out->type = value;
        } else {
            is_known = false;
        }
        if (!is_known) {
            reply_syntax_error(c);
            return false;
        }
    }
    return true;
}

static void scan_reply(struct client *c, const struct engine_scan *scan,
                       const struct scan_options *options)
{
    bool has_type = options->type == NULL || arg_is(options->type, "string");
    char cursor[ARG_I64_TEXT_MAX];
    size_t n = 0;
    for (uint32_t i = 0; has_type && i < scan->n_found; i++) {
        n += is_wanted(options->pattern, &scan->found[i]);
    }
    int cursor_len = snprintf(cursor, sizeof(cursor), "%" PRIu64, scan->next_cursor);
    reply_array(c, 2);
    reply_bulk(c, cursor, (size_t)cursor_len);
    reply_array(c, n);
    for (uint32_t i = 0; n > 0 && i < scan->n_found; i++) {
        if (is_wanted(options->pattern, &scan->found[i])) {
            reply_bulk(c, scan->found[i].data, scan->found[i].len);
        }
    }
}

void cmd_scan(struct client *c)
{
    struct scan_options options;
    if (!scan_options_parse(c, &options)) {
        return;
    }
    struct walk *walk = walk_get(c, options.cursor, options.count);
    if (walk == NULL) {
        return;
    }
    enum status st = engine_scan(&command_context(c)->op, &walk->scan);
    if (st == AGAIN) {
        command_park(c);
        return;
    }
    if (st == OK) {
        scan_reply(c, &walk->scan, &options);
    } else if (st == INVALID) {
        reply_error(c, "ERR invalid cursor");
    } else {
        reply_status(c, st);
    }
    walk_end(c);
}

void cmd_randomkey(struct client *c)
{
    char *key = NULL;
    size_t len = 0;
    enum status st = engine_random_key(&command_context(c)->op, command_context(c)->db, &key, &len);
    if (st == NOT_FOUND) {
        reply_null(c);
    } else if (cmd_step(c, st)) {
        reply_bulk(c, key, len);
        free(key);
    }
}

void cmd_dbsize(struct client *c)
{
    uint64_t n_keys = 0;
    if (cmd_step(c, engine_db_size(&command_context(c)->op, command_context(c)->db, &n_keys))) {
        reply_integer(c, (int64_t)n_keys);
    }
}

/* SYNC and ASYNC are the same here: what is left behind is always swept in the background. */
static void flush_run(struct client *c, int db)
{
    struct command_context *ctx = command_context(c);
    bool is_known =
        ctx->argc == 1 ||
        (ctx->argc == 2 && (arg_is(&ctx->argv[1], "SYNC") || arg_is(&ctx->argv[1], "ASYNC")));
    if (!is_known) {
        reply_syntax_error(c);
    } else if (cmd_step(c, engine_flush(&command_context(c)->op, db))) {
        reply_ok(c);
    }
}

void cmd_flushdb(struct client *c)
{
    flush_run(c, command_context(c)->db);
}

void cmd_flushall(struct client *c)
{
    flush_run(c, ENGINE_ALL_DATABASES);
}
