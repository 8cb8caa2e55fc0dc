/*
 * CONFIG on base's option registry, with Redis 7.0's words for what is wrong. SET of several options is
 * all or nothing: every name and value is checked before the first is stored, and if one is refused
 * after all (a hook may), those already stored get their old values back.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "engine/base/bytes.h"
#include "engine/base/mem.h"
#include "engine/base/metrics.h"
#include "engine/base/options.h"
#include "net/args.h"
#include "net/glob.h"
#include "net/loop.h"
#include "net/table.h"

#define VALUE_MAX 4096
#define NAME_MAX_LEN 64

/* Settings of Redis that clients and tools ask for; here they cannot be otherwise. */
static const struct {
    const char *name;
    const char *value;
} fixed[] = {
    {"appendonly", "no"},
    {"save", ""},
    {"cluster-enabled", "no"},
    {"notify-keyspace-events", ""},
};
#define N_FIXED (sizeof(fixed) / sizeof(fixed[0]))
#define N_SHOWN (OPTION_COUNT + N_FIXED)

static const char *shown_name(size_t i)
{
    return i < OPTION_COUNT ? option_info((enum option_id)i)->name : fixed[i - OPTION_COUNT].name;
}

/* The argument that asks for the option, or NULL. */
static const struct arg *asked_by(const struct command_context *ctx, const char *name)
{
    for (int i = 2; i < ctx->argc; i++) {
        if (glob_match(ctx->argv[i].data, ctx->argv[i].len, name, strlen(name), true)) {
            return &ctx->argv[i];
        }
    }
    return NULL;
}

/* A name that is no pattern is told as the client wrote it. */
static void reply_name(struct client *c, const struct arg *asked, const char *name)
{
    bool is_pattern = memchr(asked->data, '*', asked->len) != NULL ||
                      memchr(asked->data, '?', asked->len) != NULL ||
                      memchr(asked->data, '[', asked->len) != NULL;
    if (is_pattern) {
        reply_bulk_text(c, name);
    } else {
        reply_bulk(c, asked->data, asked->len);
    }
}

void cmd_config_get(struct client *c)
{
    size_t n = 0;
    for (size_t i = 0; i < N_SHOWN; i++) {
        n += asked_by(&c->context, shown_name(i)) != NULL;
    }
    reply_map(c, n);
    for (size_t i = 0; i < N_SHOWN; i++) {
        const struct arg *asked = asked_by(&c->context, shown_name(i));
        if (asked == NULL) {
            continue;
        }
        reply_name(c, asked, shown_name(i));
        if (i < OPTION_COUNT) {
            char value[VALUE_MAX];
            size_t len = option_text((enum option_id)i, value, sizeof(value));
            reply_bulk(c, value, len < sizeof(value) ? len : sizeof(value) - 1);
        } else {
            reply_bulk_text(c, fixed[i - OPTION_COUNT].value);
        }
    }
}

/* --- SET ---------------------------------------------------------------------------------------- */

struct setting {
    enum option_id id;
    char name[NAME_MAX_LEN]; /* as the client wrote it */
    char *value;
    char *old;
};

static char *copy_text(const char *data, size_t len)
{
    char *text = mem_alloc(len + 1);
    if (text != NULL) {
        memcpy(text, data, len);
        text[len] = '\0';
    }
    return text;
}

static char *current_text(enum option_id id)
{
    size_t len = option_text(id, NULL, 0);
    char *text = mem_alloc(len + 1);
    if (text != NULL) {
        (void)option_text(id, text, len + 1);
    }
    return text;
}

static void reply_failed(struct client *c, const struct setting *s, const char *why)
{
    reply_errorf(c, "ERR CONFIG SET failed (possibly related to argument '%s') - %s", s->name, why);
}

static void explain_enum(const char *words, char *out, size_t cap)
{
    size_t n = (size_t)snprintf(out, cap, "argument(s) must be one of the following: ");
    for (; *words != '\0' && n + 3 < cap; words++) {
        if (*words == '|') {
            out[n++] = ',';
            out[n++] = ' ';
        } else {
            out[n++] = *words;
        }
    }
    out[n] = '\0';
}

/* Redis' words for a value that base refused with base's own words in `why`. */
static void explain(const struct setting *s, char *why, size_t cap)
{
    const struct option_info *info = option_info(s->id);
    int64_t number = 0;
    bool is_number = info->type == OPTION_BYTES
                         ? option_parse_bytes(s->value, &number) == OK
                         : arg_parse_i64(s->value, strlen(s->value), &number);
    switch (info->type) {
    case OPTION_INT:
    case OPTION_BYTES:
        if (is_number) {
            (void)snprintf(why, cap, "argument must be between %lld and %lld inclusive",
                           (long long)info->min, (long long)info->max);
        } else {
            (void)snprintf(why, cap, "%s",
                           info->type == OPTION_INT ? "argument couldn't be parsed into an integer"
                                                    : "argument must be a memory value");
        }
        break;
    case OPTION_BOOL:
        (void)snprintf(why, cap, "argument must be 'yes' or 'no'");
        break;
    case OPTION_ENUM:
        explain_enum(info->words, why, cap);
        break;
    case OPTION_STRING:
        break;
    }
}

static bool find_option(struct client *c, const struct arg *name, struct setting *s)
{
    (void)snprintf(s->name, sizeof(s->name), "%.*s", (int)bytes_min_u64(name->len, NAME_MAX_LEN),
                   name->data);
    if (name->len >= NAME_MAX_LEN || option_lookup(s->name, &s->id) != OK) {
        for (size_t i = 0; i < N_FIXED; i++) {
            if (strcasecmp(s->name, fixed[i].name) == 0) {
                reply_failed(c, s, "can't set immutable config");
                return false;
            }
        }
        reply_errorf(c, "ERR Unknown option or number of arguments for CONFIG SET - '%s'", s->name);
        return false;
    }
    unsigned flags = option_info(s->id)->flags;
    if ((flags & OPTION_PROTECTED) != 0) {
        reply_failed(c, s, "can't set protected config");
        return false;
    }
    if ((flags & OPTION_MUTABLE) == 0) {
        reply_failed(c, s, "can't set immutable config");
        return false;
    }
    return true;
}

/* Reads names and values of the request; false: an error was replied. */
static bool read_settings(struct client *c, struct setting *settings, size_t n)
{
    char why[OPTION_ERROR_MAX];
    for (size_t i = 0; i < n; i++) {
        struct setting *s = &settings[i];
        if (!find_option(c, &c->context.argv[2 + 2 * i], s)) {
            return false;
        }
        for (size_t j = 0; j < i; j++) {
            if (settings[j].id == s->id) {
                reply_failed(c, s, "duplicate parameter");
                return false;
            }
        }
    }
    for (size_t i = 0; i < n; i++) {
        struct setting *s = &settings[i];
        const struct arg *value = &c->context.argv[3 + 2 * i];
        s->value = copy_text(value->data, value->len);
        s->old = current_text(s->id);
        if (s->value == NULL || s->old == NULL) {
            reply_status(c, NO_MEMORY);
            return false;
        }
        if (option_check(s->id, s->value, why) != OK) {
            explain(s, why, sizeof(why));
            reply_failed(c, s, why);
            return false;
        }
    }
    return true;
}

static bool store_settings(struct client *c, struct setting *settings, size_t n)
{
    char why[OPTION_ERROR_MAX];
    for (size_t i = 0; i < n; i++) {
        if (option_set(settings[i].id, settings[i].value, why) == OK) {
            continue;
        }
        reply_failed(c, &settings[i], why);
        while (i-- > 0) {
            char ignored[OPTION_ERROR_MAX];
            IGNORE(option_set(settings[i].id, settings[i].old, ignored)); /* it was valid before */
        }
        return false;
    }
    return true;
}

void cmd_config_set(struct client *c)
{
    if (c->context.argc % 2 != 0) {
        reply_syntax_error(c);
        return;
    }
    size_t n = (size_t)(c->context.argc - 2) / 2;
    if (n > OPTION_COUNT) {
        n = OPTION_COUNT + 1; /* one more than there are: an unknown or a double one comes first */
    }
    struct setting *settings = mem_zalloc(n, sizeof(*settings));
    if (settings == NULL) {
        reply_status(c, NO_MEMORY);
        return;
    }
    if (read_settings(c, settings, n) && store_settings(c, settings, n)) {
        worker_refresh(c->worker);
        reply_ok(c);
    }
    for (size_t i = 0; i < n; i++) {
        mem_free(settings[i].value);
        mem_free(settings[i].old);
    }
    mem_free(settings);
}

/* --- the rest ----------------------------------------------------------------------------------- */

void cmd_config_rewrite(struct client *c)
{
    char why[OPTION_ERROR_MAX];
    enum status st = options_rewrite(why);
    if (st == OK) {
        reply_ok(c);
    } else if (st == NOT_FOUND) {
        reply_error(c, "ERR The server is running without a config file");
    } else {
        reply_errorf(c, "ERR Rewriting config file: %s", why);
    }
}

void cmd_config_resetstat(struct client *c)
{
    struct net *net = client_net(c);
    metrics_reset();
    for (unsigned i = 0; i < net->n_workers; i++) {
        stats_clear(&net->workers[i].stats);
    }
    atomic_store_explicit(&net->n_rejected, 0, memory_order_relaxed);
    reply_ok(c);
}
