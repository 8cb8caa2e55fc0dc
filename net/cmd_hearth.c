/*
 * HEARTH: what Redis has no word for. EXPLAIN tells where a key is and why; DEMOTE and PROMOTE move it,
 * which tests and operators use to bring a key into a known state.
 */
#include <string.h>

#include "net/cmd_data.h"
#include "net/loop.h"
#include "net/table.h"

static void field_bool(struct client *c, const char *name, bool value)
{
    reply_bulk_text(c, name);
    reply_bool(c, value);
}

static void field_integer(struct client *c, const char *name, int64_t value)
{
    reply_bulk_text(c, name);
    reply_integer(c, value);
}

static void field_text(struct client *c, const char *name, const char *value)
{
    reply_bulk_text(c, name);
    reply_bulk_text(c, value);
}

static const char *tier_name(const struct engine_explain *e)
{
    if (!e->exists) {
        return "none";
    }
    if (e->is_hot) {
        return e->is_warm ? "both" : "hot";
    }
    return "warm";
}

void cmd_hearth_explain(struct client *c)
{
    struct engine_explain e;
    memset(&e, 0, sizeof(e));
    engine_explain(&c->context.op, 0, &e);
    reply_map(c, 15);
    field_text(c, "tier", tier_name(&e));
    field_bool(c, "exists", e.exists);
    field_bool(c, "hot", e.is_hot);
    field_bool(c, "warm", e.is_warm);
    field_bool(c, "dirty", e.is_dirty);
    field_integer(c, "hot_bytes", (int64_t)e.hot_bytes);
    field_integer(c, "stored_bytes", (int64_t)e.stored_bytes);
    field_integer(c, "raw_bytes", (int64_t)e.raw_bytes);
    field_integer(c, "frequency", e.frequency);
    field_text(c, "queue", e.queue != NULL ? e.queue : "none");
    field_integer(c, "segment", (int64_t)e.segment);
    field_integer(c, "offset", (int64_t)e.offset);
    field_integer(c, "expire_at_ms", e.expire_at_ms);
    field_integer(c, "version", (int64_t)e.version);
    field_text(c, "why", e.why != NULL ? e.why : "");
}

static void move_reply(struct client *c, enum status st, const char *refusal)
{
    switch (st) {
    case AGAIN:
        command_park(c);
        break;
    case OK:
        reply_integer(c, 1);
        break;
    case NOT_FOUND:
        reply_integer(c, 0);
        break;
    case REJECTED:
        reply_error(c, refusal);
        break;
    default:
        reply_status(c, st);
        break;
    }
}

static struct engine_op *one_key_op(struct client *c)
{
    cmd_key(c, cmd_take_keys(c, 1), 2, ENGINE_VALUE);
    return &c->context.op;
}

void cmd_hearth_demote(struct client *c)
{
    move_reply(c, engine_demote(one_key_op(c)),
               "ERR the key stays in RAM: there is no warm tier, or the device refused it");
}

void cmd_hearth_promote(struct client *c)
{
    move_reply(c, engine_promote(one_key_op(c)),
               "ERR the key stays on NVMe: it does not fit into the hot tier");
}
