/*
 * OBJECT and MEMORY USAGE: what a key looks like inside. Answers are those of a Redis with an LFU policy,
 * which is what this server has: FREQ works, IDLETIME refuses, and integers are not shared (REFCOUNT
 * is 1).
 *
 * The encoding is derived from the bytes as Redis would choose it for a SET: int for a canonical 64-bit
 * integer, embstr up to 44 bytes, raw above. That a string has once been changed by APPEND or SETRANGE
 * (Redis then says raw) or made by INCRBYFLOAT (embstr even for an integer) is not stored.
 */
#include "net/cmd_data.h"

#include "engine/api_control.h"
#include "net/args.h"

#define EMBSTR_MAX 44

/* False: no such key, null was replied. */
static bool inspect(struct client *c, struct engine_value *out)
{
    bool is_found = engine_find(&command_context(c)->op, 0, out);
    if (!is_found) {
        reply_null(c);
    }
    return is_found;
}

void cmd_object_encoding(struct client *c)
{
    struct engine_value v;
    int64_t n;
    if (!inspect(c, &v)) {
        return;
    }
    if (arg_parse_i64(v.data, v.len, &n)) {
        reply_bulk_text(c, "int");
    } else {
        reply_bulk_text(c, v.len <= EMBSTR_MAX ? "embstr" : "raw");
    }
}

void cmd_object_freq(struct client *c)
{
    struct engine_value v;
    struct engine_explain explain;
    if (inspect(c, &v)) {
        engine_explain(&command_context(c)->op, 0, &explain);
        reply_integer(c, explain.frequency);
    }
}

void cmd_object_idletime(struct client *c)
{
    struct engine_value v;
    if (inspect(c, &v)) {
        reply_error(c,
                    "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note "
                    "that when switching between policies at runtime LRU and LFU data will take "
                    "some time to adjust.");
    }
}

void cmd_object_refcount(struct client *c)
{
    struct engine_value v;
    if (inspect(c, &v)) {
        reply_integer(c, 1);
    }
}

/* SAMPLES is for nested values, of which there are none: checked, then ignored. */
static bool samples_parse(struct client *c)
{
    struct command_context *ctx = command_context(c);
    for (int i = 3; i < ctx->argc; i++) {
        int64_t n_samples = -1;
        bool is_known = arg_is(&ctx->argv[i], "SAMPLES") && i + 1 < ctx->argc;
        if (is_known && !cmd_i64(c, &ctx->argv[++i], &n_samples)) {
            return false;
        }
        if (n_samples < 0) {
            reply_syntax_error(c);
            return false;
        }
    }
    return true;
}

void cmd_memory_usage(struct client *c)
{
    struct command_context *ctx = command_context(c);
    struct engine_value v;
    if (!samples_parse(c) || !inspect(c, &v)) {
        return;
    }
    size_t key_len = ctx->argv[2].len;
    bool has_expiry = v.expire_at_ms != ENGINE_NO_EXPIRY;
    reply_integer(c, (int64_t)(key_len + v.len + engine_item_bytes(key_len, v.len, has_expiry)));
}
