/*
 * What the data commands share: beginning an op by hand, storing, and keeping a value across its own
 * change. A command replies only when nothing can fail any more: a put may say NO_MEMORY, and two
 * replies to one request would shift every later one.
 */
#include "net/cmd_data.h"

#include <string.h>

#include "engine/api_control.h"
#include "engine/base/mem.h"

struct engine_key *cmd_take_keys(struct client *c, uint32_t n)
{
    bool is_resumed = command_context(c)->op.n_keys != 0;
    struct engine_key *keys = command_keys(c, n);
    if (!is_resumed) {
        memset(keys, 0, n * sizeof(*keys));
    }
    return keys;
}

void cmd_key(struct client *c, struct engine_key *key, int arg, enum engine_need need)
{
    struct command_context *ctx = command_context(c);
    key->data = ctx->argv[arg].data;
    key->len = (uint32_t)ctx->argv[arg].len;
    key->db = ctx->db;
    key->need = (uint8_t)need;
}

bool cmd_step(struct client *c, enum status st)
{
    if (st == AGAIN) {
        command_park(c);
    } else if (st != OK) {
        reply_status(c, st);
    }
    return st == OK;
}

bool cmd_begin(struct client *c, uint32_t more_flags)
{
    struct engine_op *op = &command_context(c)->op;
    op->flags |= more_flags;
    return cmd_step(c, engine_begin(op));
}

bool cmd_begin_one(struct client *c, int arg, enum engine_need need, uint32_t more_flags)
{
    cmd_key(c, cmd_take_keys(c, 1), arg, need);
    return cmd_begin(c, more_flags);
}

int64_t cmd_now_ms(struct client *c)
{
    return engine_worker_now_ms(command_context(c)->op.worker);
}

bool cmd_i64(struct client *c, const struct arg *a, int64_t *out)
{
    if (!arg_i64(a, out)) {
        reply_error(c, "ERR value is not an integer or out of range");
        return false;
    }
    return true;
}

bool cmd_i64_range(struct client *c, const struct arg *a, int64_t min, int64_t max, int64_t *out)
{
    if (!cmd_i64(c, a, out)) {
        return false;
    }
    if (*out < min || *out > max) {
        reply_errorf(c, "ERR value is out of range, value must between %lld and %lld",
                     (long long)min, (long long)max);
        return false;
    }
    return true;
}

bool cmd_put_arg(struct client *c, uint32_t i, struct arg *a, int64_t expire_at_ms)
{
    struct engine_put put = {.data = a->data,
                             .len = a->len,
                             .blob = a->blob,
                             .expire_at_ms = expire_at_ms};
    enum status st = engine_put(&command_context(c)->op, i, &put);
    if (st != OK) {
        reply_status(c, st);
        return false;
    }
    a->blob = NULL;
    return true;
}

bool cmd_put_value(struct client *c, uint32_t i, const struct engine_value *v, int64_t expire_at_ms)
{
    struct engine_put put = {.data = v->data,
                             .len = v->len,
                             .blob = v->blob,
                             .expire_at_ms = expire_at_ms};
    if (put.blob != NULL) {
        engine_blob_acquire(put.blob);
    }
    enum status st = engine_put(&command_context(c)->op, i, &put);
    if (st != OK) {
        engine_blob_release(put.blob);
        reply_status(c, st);
    }
    return st == OK;
}

bool cmd_save(struct client *c, struct cmd_saved *saved, const struct engine_value *v)
{
    *saved = (struct cmd_saved){.value = *v};
    if (v->blob != NULL) {
        engine_blob_acquire(v->blob);
        return true;
    }
    saved->copy = mem_alloc(v->len);
    if (saved->copy == NULL) {
        reply_status(c, NO_MEMORY);
        return false;
    }
    if (v->len > 0) {
        memcpy(saved->copy, v->data, v->len);
    }
    saved->value.data = saved->copy;
    return true;
}

void cmd_saved_release(struct cmd_saved *saved)
{
    engine_blob_release(saved->value.blob);
    mem_free(saved->copy);
    *saved = (struct cmd_saved){0};
}
