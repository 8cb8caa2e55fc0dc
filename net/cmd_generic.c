/*
 * Commands on keys whatever their value: existence, names, expiry. Answers and the order of checks are
 * Redis 7.0's.
 *
 * Times are absolute Unix milliseconds inside. An expiry that lies in the past deletes the key at once,
 * as in Redis, and EXPIRE accepts negative times; therefore the engine is only given times that lie
 * ahead (a negative one would mean something else to it: ENGINE_NO_EXPIRY).
 */
#include "net/cmd_data.h"

#include <limits.h>
#include <string.h>

#include "net/args.h"

/* How many of the op's keys exist; one named twice counts twice. */
static void count_found(struct client *c)
{
    struct engine_op *op = &command_context(c)->op;
    struct engine_value v;
    int64_t n = 0;
    for (uint32_t i = 0; i < op->n_keys; i++) {
        n += engine_find(op, i, &v);
    }
    reply_integer(c, n);
}

void cmd_exists(struct client *c)
{
    count_found(c);
}

void cmd_touch(struct client *c)
{
    count_found(c);
}

void cmd_del(struct client *c)
{
    struct engine_op *op = &command_context(c)->op;
    int64_t n = 0;
    for (uint32_t i = 0; i < op->n_keys; i++) {
        n += engine_remove(op, i);
    }
    reply_integer(c, n);
}

void cmd_unlink(struct client *c)
{
    cmd_del(c);
}

void cmd_type(struct client *c)
{
    struct engine_value v;
    reply_simple(c, engine_find(&command_context(c)->op, 0, &v) ? "string" : "none");
}

enum expire_flags { EXPIRE_NX = 1, EXPIRE_XX = 2, EXPIRE_GT = 4, EXPIRE_LT = 8 };

static bool expire_flags_parse(struct client *c, unsigned *out)
{
    struct command_context *ctx = command_context(c);
    static const char *const words[] = {"NX", "XX", "GT", "LT"};
    unsigned flags = 0;
    for (int i = 3; i < ctx->argc; i++) {
        const struct arg *a = &ctx->argv[i];
        size_t w = 0;
        while (w < 4 && !arg_is(a, words[w])) {
            w++;
        }
        if (w == 4) {
            reply_errorf(c, "ERR Unsupported option %.*s", (int)arg_text_len(a), a->data);
            return false;
        }
        flags |= 1U << w;
    }
    *out = flags;
    if ((flags & EXPIRE_NX) != 0 && flags != EXPIRE_NX) {
        reply_error(c, "ERR NX and XX, GT or LT options at the same time are not compatible");
        return false;
    }
    if ((flags & EXPIRE_GT) != 0 && (flags & EXPIRE_LT) != 0) {
        reply_error(c, "ERR GT and LT options at the same time are not compatible");
        return false;
    }
    return true;
}

/* argv[2], in units of unit_ms after base_ms. */
static bool expire_time_parse(struct client *c, int64_t base_ms, int64_t unit_ms, int64_t *out)
{
    struct command_context *ctx = command_context(c);
    int64_t when;
    if (!cmd_i64(c, &ctx->argv[2], &when)) {
        return false;
    }
    if (__builtin_mul_overflow(when, unit_ms, &when) ||
        __builtin_add_overflow(when, base_ms, &when)) {
        reply_errorf(c, "ERR invalid expire time in '%s' command", ctx->command->name);
        return false;
    }
    *out = when;
    return true;
}

/* Do the options allow `when` in place of `current`? No expiry counts as infinitely late. */
static bool expire_is_allowed(unsigned flags, int64_t current, int64_t when)
{
    bool has_expiry = current != ENGINE_NO_EXPIRY;
    if (((flags & EXPIRE_NX) != 0 && has_expiry) || ((flags & EXPIRE_XX) != 0 && !has_expiry)) {
        return false;
    }
    if ((flags & EXPIRE_GT) != 0 && (!has_expiry || when <= current)) {
        return false;
    }
    return (flags & EXPIRE_LT) == 0 || !has_expiry || when < current;
}

static void expire_run(struct client *c, bool is_relative, int64_t unit_ms)
{
    struct engine_op *op = &command_context(c)->op;
    struct engine_value v;
    unsigned flags;
    int64_t when;
    int64_t now_ms = cmd_now_ms(c);
    if (!expire_flags_parse(c, &flags) ||
        !expire_time_parse(c, is_relative ? now_ms : 0, unit_ms, &when)) {
        return;
    }
    if (!engine_find(op, 0, &v) || !expire_is_allowed(flags, v.expire_at_ms, when)) {
        reply_integer(c, 0);
        return;
    }
    enum status st = OK;
    if (when <= now_ms) {
        engine_remove(op, 0);
    } else if (when != v.expire_at_ms) {
        st = engine_set_expiry(op, 0, when);
    }
    if (st == OK) {
        reply_integer(c, 1);
    } else {
        reply_status(c, st);
    }
}

void cmd_expire(struct client *c)
{
    expire_run(c, true, 1000);
}

void cmd_pexpire(struct client *c)
{
    expire_run(c, true, 1);
}

void cmd_expireat(struct client *c)
{
    expire_run(c, false, 1000);
}

void cmd_pexpireat(struct client *c)
{
    expire_run(c, false, 1);
}

void cmd_persist(struct client *c)
{
    struct engine_op *op = &command_context(c)->op;
    struct engine_value v;
    if (!engine_find(op, 0, &v) || v.expire_at_ms == ENGINE_NO_EXPIRY) {
        reply_integer(c, 0);
        return;
    }
    enum status st = engine_set_expiry(op, 0, ENGINE_NO_EXPIRY);
    if (st == OK) {
        reply_integer(c, 1);
    } else {
        reply_status(c, st);
    }
}

/* -2: no such key; -1: no expiry; else milliseconds, rounded to the unit. */
static void ttl_run(struct client *c, bool is_relative, int64_t unit_ms)
{
    struct engine_value v;
    if (!engine_find(&command_context(c)->op, 0, &v)) {
        reply_integer(c, -2);
        return;
    }
    if (v.expire_at_ms == ENGINE_NO_EXPIRY) {
        reply_integer(c, -1);
        return;
    }
    int64_t ms = v.expire_at_ms - (is_relative ? cmd_now_ms(c) : 0);
    ms = ms < 0 ? 0 : ms;
    reply_integer(c, unit_ms == 1 ? ms : ms / 1000 + (ms % 1000 >= 500));
}

void cmd_ttl(struct client *c)
{
    ttl_run(c, true, 1000);
}

void cmd_pttl(struct client *c)
{
    ttl_run(c, true, 1);
}

void cmd_expiretime(struct client *c)
{
    ttl_run(c, false, 1000);
}

void cmd_pexpiretime(struct client *c)
{
    ttl_run(c, false, 1);
}

/* Between begin and end. */
static void rename_locked(struct client *c, bool is_nx, bool is_same)
{
    struct engine_op *op = &command_context(c)->op;
    struct engine_value from;
    struct engine_value to;
    if (!engine_find(op, 0, &from)) {
        reply_error(c, "ERR no such key");
        return;
    }
    bool is_refused = is_nx && (is_same || engine_find(op, 1, &to));
    if (!is_refused && !is_same) {
        if (!cmd_put_value(c, 1, &from, from.expire_at_ms)) {
            return;
        }
        engine_remove(op, 0);
    }
    if (is_nx) {
        reply_integer(c, !is_refused);
    } else {
        reply_ok(c);
    }
}

static void rename_run(struct client *c, bool is_nx)
{
    struct command_context *ctx = command_context(c);
    const struct arg *from = &ctx->argv[1];
    const struct arg *to = &ctx->argv[2];
    bool is_same = from->len == to->len && memcmp(from->data, to->data, from->len) == 0;
    struct engine_key *keys = cmd_take_keys(c, is_same ? 1 : 2);
    cmd_key(c, &keys[0], 1, is_same ? ENGINE_META : ENGINE_VALUE);
    if (!is_same) {
        cmd_key(c, &keys[1], 2, is_nx ? ENGINE_META : ENGINE_BLIND);
    }
    if (cmd_begin(c, is_same ? 0 : ENGINE_OP_WRITE)) {
        rename_locked(c, is_nx, is_same);
        engine_end(&ctx->op);
    }
}

void cmd_rename(struct client *c)
{
    rename_run(c, false);
}

void cmd_renamenx(struct client *c)
{
    rename_run(c, true);
}

struct copy_options {
    uint8_t db; /* of the destination */
    bool is_replace;
};

static bool copy_options_parse(struct client *c, struct copy_options *out)
{
    struct command_context *ctx = command_context(c);
    *out = (struct copy_options){.db = ctx->db};
    for (int i = 3; i < ctx->argc; i++) {
        int64_t db;
        if (arg_is(&ctx->argv[i], "REPLACE")) {
            out->is_replace = true;
        } else if (arg_is(&ctx->argv[i], "DB") && i + 1 < ctx->argc) {
            if (!cmd_i64_range(c, &ctx->argv[++i], INT_MIN, INT_MAX, &db)) {
                return false;
            }
            if (db < 0 || db >= ENGINE_DATABASES) {
                reply_error(c, "ERR DB index is out of range");
                return false;
            }
            out->db = (uint8_t)db;
        } else {
            reply_syntax_error(c);
            return false;
        }
    }
    const struct arg *from = &ctx->argv[1];
    const struct arg *to = &ctx->argv[2];
    if (out->db == ctx->db && from->len == to->len &&
        memcmp(from->data, to->data, from->len) == 0) {
        reply_error(c, "ERR source and destination objects are the same");
        return false;
    }
    return true;
}

void cmd_copy(struct client *c)
{
    struct engine_op *op = &command_context(c)->op;
    struct copy_options options;
    struct engine_value from;
    struct engine_value to;
    if (!copy_options_parse(c, &options)) {
        return;
    }
    struct engine_key *keys = cmd_take_keys(c, 2);
    cmd_key(c, &keys[0], 1, ENGINE_VALUE);
    cmd_key(c, &keys[1], 2, options.is_replace ? ENGINE_BLIND : ENGINE_META);
    keys[1].db = options.db;
    if (!cmd_begin(c, 0)) {
        return;
    }
    if (!engine_find(op, 0, &from) || (!options.is_replace && engine_find(op, 1, &to))) {
        reply_integer(c, 0);
    } else if (cmd_put_value(c, 1, &from, from.expire_at_ms)) {
        reply_integer(c, 1);
    }
    engine_end(op);
}
