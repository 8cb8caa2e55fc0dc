/*
 * Commands on string values, with Redis 7.0's answers and its order of checks: arguments first, then
 * the key, then what depends on both. (GETEX alone looks at the key before it reads the time.)
 *
 * SET and its family choose by their options how much they must know of the old value: nothing (no read
 * from the device), whether it exists, or its bytes.
 */
#include "net/cmd_data.h"

#include <math.h>
#include <string.h>

#include "engine/base/options.h"
#include "net/args.h"

enum set_flags {
    SET_NX = 1,
    SET_XX = 2,
    SET_GET = 4,
    SET_KEEPTTL = 8,
    SET_PERSIST = 16,
    SET_EX = 32,
    SET_PX = 64,
    SET_EXAT = 128,
    SET_PXAT = 256,
};
#define SET_EXPIRES (SET_EX | SET_PX | SET_EXAT | SET_PXAT)
#define SET_ANY_TTL (SET_EXPIRES | SET_KEEPTTL | SET_PERSIST)

struct set_options {
    unsigned flags;
    const struct arg *expire; /* not NULL with one of SET_EXPIRES */
};

static const struct set_word {
    const char *text;
    unsigned flag;
    unsigned excludes; /* flags it does not go with */
} set_words[] = {
    {"NX", SET_NX, SET_XX},
    {"XX", SET_XX, SET_NX},
    {"GET", SET_GET, 0},
    {"KEEPTTL", SET_KEEPTTL, SET_ANY_TTL & ~SET_KEEPTTL},
    {"PERSIST", SET_PERSIST, SET_ANY_TTL & ~SET_PERSIST},
    {"EX", SET_EX, SET_ANY_TTL & ~SET_EX},
    {"PX", SET_PX, SET_ANY_TTL & ~SET_PX},
    {"EXAT", SET_EXAT, SET_ANY_TTL & ~SET_EXAT},
    {"PXAT", SET_PXAT, SET_ANY_TTL & ~SET_PXAT},
};

/* The option argv[i] is; NULL: none of `allowed`, or it does not go with the earlier ones. */
static const struct set_word *set_word_find(const struct arg *a, unsigned allowed, unsigned earlier)
{
    for (size_t w = 0; w < sizeof(set_words) / sizeof(set_words[0]); w++) {
        const struct set_word *word = &set_words[w];
        if ((word->flag & allowed) != 0 && (word->excludes & earlier) == 0 &&
            arg_is(a, word->text)) {
            return word;
        }
    }
    return NULL;
}

static bool set_options_parse(struct client *c, int first, unsigned allowed,
                              struct set_options *out)
{
    struct command_context *ctx = command_context(c);
    *out = (struct set_options){0};
    for (int i = first; i < ctx->argc; i++) {
        const struct set_word *word = set_word_find(&ctx->argv[i], allowed, out->flags);
        bool has_time = word != NULL && (word->flag & SET_EXPIRES) != 0;
        if (word == NULL || (has_time && i + 1 == ctx->argc)) {
            reply_syntax_error(c);
            return false;
        }
        out->flags |= word->flag;
        if (has_time) {
            out->expire = &ctx->argv[++i];
        }
    }
    return true;
}

/* The absolute time of EX, PX, EXAT or PXAT; without one of them ENGINE_NO_EXPIRY. */
static bool set_expiry_ms(struct client *c, const struct set_options *options, int64_t *out)
{
    int64_t ms = 0;
    *out = ENGINE_NO_EXPIRY;
    if (options->expire == NULL) {
        return true;
    }
    if (!cmd_i64(c, options->expire, &ms)) {
        return false;
    }
    bool is_valid = ms > 0;
    if (is_valid && (options->flags & (SET_EX | SET_EXAT)) != 0) {
        is_valid = !__builtin_mul_overflow(ms, 1000, &ms);
    }
    if (is_valid && (options->flags & (SET_EX | SET_PX)) != 0) {
        is_valid = !__builtin_add_overflow(ms, cmd_now_ms(c), &ms);
    }
    if (!is_valid) {
        reply_errorf(c, "ERR invalid expire time in '%s' command",
                     command_context(c)->command->name);
        return false;
    }
    *out = ms;
    return true;
}

/* SET's work between begin and end. */
static void set_locked(struct client *c, unsigned flags, struct arg *value, int64_t expire_at_ms)
{
    struct engine_op *op = &command_context(c)->op;
    struct engine_value v;
    struct cmd_saved old = {0};
    bool must_know = (flags & (SET_NX | SET_XX | SET_GET)) != 0;
    bool is_found = must_know && engine_find(op, 0, &v);
    bool is_refused = ((flags & SET_NX) != 0 && is_found) || ((flags & SET_XX) != 0 && !is_found);

    if (is_refused && (flags & SET_GET) != 0 && is_found) {
        reply_value(c, &v);
        return;
    }
    if (is_refused) {
        reply_null(c);
        return;
    }
    if ((flags & SET_GET) != 0 && is_found && !cmd_save(c, &old, &v)) {
        return;
    }
    if (cmd_put_arg(c, 0, value, expire_at_ms)) {
        if ((flags & SET_GET) == 0) {
            reply_ok(c);
        } else if (is_found) {
            reply_value(c, &old.value);
        } else {
            reply_null(c);
        }
    }
    cmd_saved_release(&old);
}

void cmd_set(struct client *c)
{
    struct command_context *ctx = command_context(c);
    struct set_options options;
    enum engine_need need = ENGINE_BLIND;
    int64_t expire_at_ms;
    if (!set_options_parse(c, 3, ~(unsigned)SET_PERSIST, &options) ||
        !set_expiry_ms(c, &options, &expire_at_ms)) {
        return;
    }
    if ((options.flags & SET_KEEPTTL) != 0) {
        expire_at_ms = ENGINE_KEEP_EXPIRY;
    }
    if ((options.flags & SET_GET) != 0) {
        need = ENGINE_VALUE;
    } else if ((options.flags & (SET_NX | SET_XX | SET_KEEPTTL)) != 0) {
        need = ENGINE_META;
    }
    if (cmd_begin_one(c, 1, need, need == ENGINE_VALUE ? ENGINE_OP_READ : 0)) {
        set_locked(c, options.flags, &ctx->argv[2], expire_at_ms);
        engine_end(&ctx->op);
    }
}

static void setex_run(struct client *c, unsigned unit)
{
    struct arg *argv = command_context(c)->argv;
    struct set_options options = {.flags = unit, .expire = &argv[2]};
    int64_t expire_at_ms;
    if (set_expiry_ms(c, &options, &expire_at_ms)) {
        set_locked(c, 0, &argv[3], expire_at_ms);
    }
}

void cmd_setex(struct client *c)
{
    setex_run(c, SET_EX);
}

void cmd_psetex(struct client *c)
{
    setex_run(c, SET_PX);
}

void cmd_getset(struct client *c)
{
    set_locked(c, SET_GET, &command_context(c)->argv[2], ENGINE_NO_EXPIRY);
}

void cmd_setnx(struct client *c)
{
    struct command_context *ctx = command_context(c);
    struct engine_value v;
    if (engine_find(&ctx->op, 0, &v)) {
        reply_integer(c, 0);
    } else if (cmd_put_arg(c, 0, &ctx->argv[2], ENGINE_NO_EXPIRY)) {
        reply_integer(c, 1);
    }
}

static void reply_found(struct client *c, uint32_t i)
{
    struct engine_value v;
    if (engine_find(&command_context(c)->op, i, &v)) {
        reply_value(c, &v);
    } else {
        reply_null(c);
    }
}

void cmd_get(struct client *c)
{
    reply_found(c, 0);
}

void cmd_mget(struct client *c)
{
    uint32_t n = command_context(c)->op.n_keys;
    reply_array(c, n);
    for (uint32_t i = 0; i < n; i++) {
        reply_found(c, i);
    }
}

void cmd_getdel(struct client *c)
{
    reply_found(c, 0);
    engine_remove(&command_context(c)->op, 0);
}

/* GETEX between begin and end; the time is looked at only when there is a key. */
static void getex_locked(struct client *c, const struct set_options *options)
{
    struct engine_op *op = &command_context(c)->op;
    struct engine_value v;
    struct cmd_saved old = {0};
    int64_t expire_at_ms;
    if (!engine_find(op, 0, &v)) {
        reply_null(c);
        return;
    }
    if ((options->flags & SET_ANY_TTL) == 0) {
        reply_value(c, &v);
        return;
    }
    if (!set_expiry_ms(c, options, &expire_at_ms) || !cmd_save(c, &old, &v)) {
        return;
    }
    enum status st = OK;
    if (expire_at_ms != ENGINE_NO_EXPIRY && expire_at_ms <= cmd_now_ms(c)) {
        engine_remove(op, 0);
    } else if (expire_at_ms != v.expire_at_ms) {
        st = engine_set_expiry(op, 0, expire_at_ms);
    }
    if (st == OK) {
        reply_value(c, &old.value);
    } else {
        reply_status(c, st);
    }
    cmd_saved_release(&old);
}

void cmd_getex(struct client *c)
{
    struct set_options options;
    if (!set_options_parse(c, 2, SET_EXPIRES | SET_PERSIST, &options)) {
        return;
    }
    if (cmd_begin_one(c, 1, ENGINE_VALUE, ENGINE_OP_READ)) {
        getex_locked(c, &options);
        engine_end(&command_context(c)->op);
    }
}

/* Stores argv's values under the op's keys. */
static bool mset_put(struct client *c)
{
    struct command_context *ctx = command_context(c);
    for (uint32_t i = 0; i < ctx->op.n_keys; i++) {
        if (!cmd_put_arg(c, i, &ctx->argv[2 + 2 * i], ENGINE_NO_EXPIRY)) {
            return false;
        }
    }
    return true;
}

void cmd_mset(struct client *c)
{
    if (command_context(c)->argc % 2 == 0) {
        reply_arity_error(c);
    } else if (mset_put(c)) {
        reply_ok(c);
    }
}

void cmd_msetnx(struct client *c)
{
    struct command_context *ctx = command_context(c);
    struct engine_value v;
    if (ctx->argc % 2 == 0) {
        reply_arity_error(c);
        return;
    }
    for (uint32_t i = 0; i < ctx->op.n_keys; i++) {
        if (engine_find(&ctx->op, i, &v)) {
            reply_integer(c, 0);
            return;
        }
    }
    if (mset_put(c)) {
        reply_integer(c, 1);
    }
}

void cmd_strlen(struct client *c)
{
    struct engine_value v;
    bool is_found = engine_find(&command_context(c)->op, 0, &v);
    reply_integer(c, is_found ? (int64_t)v.len : 0);
}

/* May a string be offset + n bytes long? */
static bool check_string_length(struct client *c, uint64_t offset, uint64_t n)
{
    uint64_t total;
    if (__builtin_add_overflow(offset, n, &total) ||
        total > (uint64_t)option_i64(OPT_PROTO_MAX_BULK_LEN)) {
        reply_error(c, "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
        return false;
    }
    return true;
}

/* Writes the argument at offset, lengthening the value to new_len. */
static bool edit_string(struct client *c, size_t new_len, size_t offset, const struct arg *a)
{
    char *data;
    enum status st = engine_edit(&command_context(c)->op, 0, new_len, &data);
    if (st != OK) {
        reply_status(c, st);
        return false;
    }
    memcpy(data + offset, a->data, a->len);
    return true;
}

void cmd_append(struct client *c)
{
    struct command_context *ctx = command_context(c);
    struct arg *tail = &ctx->argv[2];
    struct engine_value v;
    if (!engine_find(&ctx->op, 0, &v)) {
        size_t len = tail->len;
        if (cmd_put_arg(c, 0, tail, ENGINE_NO_EXPIRY)) {
            reply_integer(c, (int64_t)len);
        }
        return;
    }
    size_t new_len = v.len + tail->len;
    if (check_string_length(c, v.len, tail->len) &&
        (tail->len == 0 || edit_string(c, new_len, v.len, tail))) {
        reply_integer(c, (int64_t)new_len);
    }
}

void cmd_setrange(struct client *c)
{
    struct command_context *ctx = command_context(c);
    const struct arg *part = &ctx->argv[3];
    struct engine_value v;
    int64_t offset;
    if (!cmd_i64(c, &ctx->argv[2], &offset)) {
        return;
    }
    if (offset < 0) {
        reply_error(c, "ERR offset is out of range");
        return;
    }
    size_t old_len = engine_find(&ctx->op, 0, &v) ? v.len : 0;
    if (part->len == 0) {
        reply_integer(c, (int64_t)old_len);
        return;
    }
    if (!check_string_length(c, (uint64_t)offset, part->len)) {
        return;
    }
    size_t end = (size_t)offset + part->len;
    size_t new_len = end > old_len ? end : old_len;
    if (edit_string(c, new_len, (size_t)offset, part)) {
        reply_integer(c, (int64_t)new_len);
    }
}

/* Redis' GETRANGE: -1 is the last byte, bounds are inclusive and clamped; both negative and crossed is
 * empty before clamping would make it the first byte. */
static size_t range_clamp(int64_t start, int64_t end, int64_t len, size_t *offset_out)
{
    *offset_out = 0;
    if (len == 0 || (start < 0 && end < 0 && start > end)) {
        return 0;
    }
    start = start < 0 ? start + len : start;
    end = end < 0 ? end + len : end;
    start = start < 0 ? 0 : start;
    end = end < 0 ? 0 : end;
    end = end >= len ? len - 1 : end;
    if (start > end) {
        return 0;
    }
    *offset_out = (size_t)start;
    return (size_t)(end - start + 1);
}

void cmd_getrange(struct client *c)
{
    struct command_context *ctx = command_context(c);
    struct engine_value v;
    int64_t start;
    int64_t end;
    size_t offset;
    if (!cmd_i64(c, &ctx->argv[2], &start) || !cmd_i64(c, &ctx->argv[3], &end)) {
        return;
    }
    size_t len = 0;
    if (engine_find(&ctx->op, 0, &v)) {
        len = range_clamp(start, end, (int64_t)v.len, &offset);
    }
    if (len > 0) {
        reply_value_range(c, &v, offset, len);
    } else {
        reply_bulk(c, "", 0);
    }
}

void cmd_substr(struct client *c)
{
    cmd_getrange(c);
}

/* Keeps the expiry; false after an error. */
static bool put_text(struct client *c, const char *text, size_t len)
{
    struct engine_put put = {.data = text, .len = len, .expire_at_ms = ENGINE_KEEP_EXPIRY};
    enum status st = engine_put(&command_context(c)->op, 0, &put);
    if (st != OK) {
        reply_status(c, st);
    }
    return st == OK;
}

static void add_to_key(struct client *c, int64_t delta)
{
    struct engine_value v;
    int64_t n = 0;
    char text[ARG_I64_TEXT_MAX];
    if (engine_find(&command_context(c)->op, 0, &v) && !arg_parse_i64(v.data, v.len, &n)) {
        reply_error(c, "ERR value is not an integer or out of range");
        return;
    }
    if (__builtin_add_overflow(n, delta, &n)) {
        reply_error(c, "ERR increment or decrement would overflow");
        return;
    }
    size_t len = arg_format_i64(n, text);
    if (put_text(c, text, len)) {
        reply_integer(c, n);
    }
}

void cmd_incr(struct client *c)
{
    add_to_key(c, 1);
}

void cmd_decr(struct client *c)
{
    add_to_key(c, -1);
}

void cmd_incrby(struct client *c)
{
    int64_t delta;
    if (cmd_i64(c, &command_context(c)->argv[2], &delta)) {
        add_to_key(c, delta);
    }
}

void cmd_decrby(struct client *c)
{
    int64_t delta;
    if (!cmd_i64(c, &command_context(c)->argv[2], &delta)) {
        return;
    }
    if (delta == INT64_MIN) {
        reply_error(c, "ERR decrement would overflow");
        return;
    }
    add_to_key(c, -delta);
}

void cmd_incrbyfloat(struct client *c)
{
    struct command_context *ctx = command_context(c);
    struct engine_value v;
    long double n = 0;
    long double delta;
    char text[ARG_LONG_DOUBLE_TEXT_MAX];
    if ((engine_find(&ctx->op, 0, &v) && !arg_parse_long_double(v.data, v.len, &n)) ||
        !arg_long_double(&ctx->argv[2], &delta)) {
        reply_error(c, "ERR value is not a valid float");
        return;
    }
    n += delta;
    if (isnan(n) || isinf(n)) {
        reply_error(c, "ERR increment would produce NaN or Infinity");
        return;
    }
    size_t len = arg_format_long_double(n, text);
    if (put_text(c, text, len)) {
        reply_bulk(c, text, len);
    }
}
