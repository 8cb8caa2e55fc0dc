/*
 * CLIENT: the connections as seen by one of them. LIST and KILL look at the clients of all workers
 * under their list locks; a kill takes effect when the client's own worker gets the mail, so the
 * killed one may still finish what it is doing.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "engine/base/mem.h"
#include "net/args.h"
#include "net/client_name.h"
#include "net/cmd_data.h"
#include "net/loop.h"
#include "net/table.h"

void cmd_client_id(struct client *c)
{
    reply_integer(c, (int64_t)c->id);
}

void cmd_client_info(struct client *c)
{
    char line[CLIENT_LINE_MAX];
    size_t len = client_format(c, line);
    reply_verbatim(c, line, len);
}

void cmd_client_setname(struct client *c)
{
    if (client_set_name(c, &c->context.argv[2])) {
        reply_ok(c);
    }
}

void cmd_client_getname(struct client *c)
{
    if (c->name != NULL) {
        reply_bulk_text(c, c->name);
    } else {
        reply_null(c);
    }
}

void cmd_client_setinfo(struct client *c)
{
    if (client_set_library(c, &c->context.argv[2], &c->context.argv[3])) {
        reply_ok(c);
    }
}

/* ON or OFF sets or clears a flag. */
static void switch_flag(struct client *c, uint32_t flag)
{
    const struct arg *word = &c->context.argv[2];
    if (arg_is(word, "ON")) {
        c->flags |= flag;
    } else if (arg_is(word, "OFF")) {
        c->flags &= ~flag;
    } else {
        reply_syntax_error(c);
        return;
    }
    reply_ok(c);
}

void cmd_client_no_evict(struct client *c)
{
    switch_flag(c, CLIENT_NO_EVICT);
}

void cmd_client_no_touch(struct client *c)
{
    switch_flag(c, CLIENT_NO_TOUCH);
}

void cmd_client_reply(struct client *c)
{
    const struct arg *mode = &c->context.argv[2];
    if (arg_is(mode, "ON")) {
        c->flags &= ~(uint32_t)(CLIENT_REPLY_OFF | CLIENT_REPLY_SKIP_NEXT);
        output_unmute(&c->out);
        reply_ok(c);
    } else if (arg_is(mode, "OFF")) {
        c->flags |= CLIENT_REPLY_OFF;
    } else if (arg_is(mode, "SKIP")) {
        if ((c->flags & CLIENT_REPLY_OFF) == 0) {
            c->flags |= CLIENT_REPLY_SKIP_NEXT;
        }
    } else {
        reply_syntax_error(c);
    }
}

void cmd_client_getredir(struct client *c)
{
    reply_integer(c, -1);
}

void cmd_client_trackinginfo(struct client *c)
{
    reply_map(c, 3);
    reply_bulk_text(c, "flags");
    reply_set(c, 1);
    reply_bulk_text(c, "off");
    reply_bulk_text(c, "redirect");
    reply_integer(c, -1);
    reply_bulk_text(c, "prefixes");
    reply_array(c, 0);
}

/* No command blocks here: nobody can be unblocked. */
void cmd_client_unblock(struct client *c)
{
    const struct command_context *ctx = &c->context;
    int64_t id = 0;
    if (ctx->argc > 4) {
        reply_arity_error(c);
    } else if (ctx->argc == 4 && !arg_is(&ctx->argv[3], "TIMEOUT") &&
               !arg_is(&ctx->argv[3], "ERROR")) {
        reply_error(c, "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
    } else if (cmd_i64(c, &ctx->argv[2], &id)) {
        reply_integer(c, 0);
    }
}

/* --- which clients ------------------------------------------------------------------------------ */

enum client_type { TYPE_NORMAL, TYPE_REPLICA, TYPE_PUBSUB, TYPE_MASTER, TYPE_UNKNOWN };

static enum client_type type_of(const struct arg *a)
{
    static const struct {
        const char *word;
        enum client_type type;
    } types[] = {
        {"normal", TYPE_NORMAL}, {"slave", TYPE_REPLICA}, {"replica", TYPE_REPLICA},
        {"pubsub", TYPE_PUBSUB}, {"master", TYPE_MASTER},
    };
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (arg_is(a, types[i].word)) {
            return types[i].type;
        }
    }
    return TYPE_UNKNOWN;
}

static bool type_reply(struct client *c, const struct arg *a, enum client_type *out)
{
    *out = type_of(a);
    if (*out == TYPE_UNKNOWN) {
        reply_errorf(c, "ERR Unknown client type '%.*s'", (int)arg_text_len(a), a->data);
    }
    return *out != TYPE_UNKNOWN;
}

/* --- LIST --------------------------------------------------------------------------------------- */

struct listing {
    uint64_t id; /* 0: all */
    char *text;
    size_t len, cap;
    bool is_full; /* no memory for more */
};

static bool list_client(void *arg, struct client *c)
{
    struct listing *l = arg;
    bool is_going = atomic_load_explicit(&c->kill_reason, memory_order_relaxed) != CLOSE_NOT_KILLED;
    if (is_going || (l->id != 0 && c->id != l->id)) {
        return true;
    }
    if (l->cap - l->len < CLIENT_LINE_MAX) {
        size_t cap = l->cap * 2 + CLIENT_LINE_MAX;
        char *text = mem_realloc(l->text, cap);
        if (text == NULL) {
            l->is_full = true;
            return false;
        }
        l->text = text;
        l->cap = cap;
    }
    l->len += client_format(c, l->text + l->len);
    return l->id == 0;
}

static bool list_ids(struct client *c, struct listing *l)
{
    const struct command_context *ctx = &c->context;
    for (int i = 3; i < ctx->argc; i++) {
        int64_t id = 0;
        if (!arg_i64(&ctx->argv[i], &id)) {
            reply_error(c, "ERR Invalid client ID");
            return false;
        }
        l->id = id > 0 ? (uint64_t)id : UINT64_MAX;
        net_visit_clients(client_net(c), list_client, l);
    }
    return true;
}

void cmd_client_list(struct client *c)
{
    const struct command_context *ctx = &c->context;
    struct listing l = {0};
    enum client_type type = TYPE_NORMAL;
    bool is_ok = true;
    if (ctx->argc == 4 && arg_is(&ctx->argv[2], "TYPE")) {
        is_ok = type_reply(c, &ctx->argv[3], &type);
        if (is_ok && type == TYPE_NORMAL) {
            net_visit_clients(client_net(c), list_client, &l);
        }
    } else if (ctx->argc > 3 && arg_is(&ctx->argv[2], "ID")) {
        is_ok = list_ids(c, &l);
    } else if (ctx->argc == 2) {
        net_visit_clients(client_net(c), list_client, &l);
    } else {
        is_ok = false;
        reply_syntax_error(c);
    }
    if (is_ok && l.is_full) {
        reply_status(c, NO_MEMORY);
    } else if (is_ok) {
        reply_verbatim(c, l.text != NULL ? l.text : "", l.len);
    }
    mem_free(l.text);
}

/* --- KILL --------------------------------------------------------------------------------------- */

struct killing {
    struct client *self;
    const struct arg *peer, *local;
    uint64_t id; /* 0: any */
    bool is_other_type;
    bool skips_self;
    bool hits_self;
    int64_t n_killed;
};

static bool is_address(const struct arg *a, const char *address)
{
    return a->len == strlen(address) && memcmp(a->data, address, a->len) == 0;
}

static bool kill_matching(void *arg, struct client *c)
{
    struct killing *k = arg;
    char address[CLIENT_ADDRESS_MAX];
    if (k->is_other_type || (k->id != 0 && c->id != k->id) || (c == k->self && k->skips_self)) {
        return true;
    }
    if (k->peer != NULL) {
        client_format_peer(c, address);
        if (!is_address(k->peer, address)) {
            return true;
        }
    }
    if (k->local != NULL) {
        client_format_local(c, address);
        if (!is_address(k->local, address)) {
            return true;
        }
    }
    if (c == k->self) {
        k->hits_self = true;
        k->n_killed++;
    } else {
        k->n_killed += client_kill(c, CLOSE_KILLED);
    }
    return true;
}

/* One "OPTION value" of the new form. */
static bool kill_option(struct client *c, struct killing *k, const struct arg *a)
{
    const struct arg *value = a + 1;
    enum client_type type = TYPE_NORMAL;
    int64_t id = 0;
    if (arg_is(a, "ID")) {
        if (!arg_i64(value, &id) || id < 1) {
            reply_error(c, "ERR client-id should be greater than 0");
            return false;
        }
        k->id = (uint64_t)id;
    } else if (arg_is(a, "TYPE")) {
        if (!type_reply(c, value, &type)) {
            return false;
        }
        k->is_other_type = type != TYPE_NORMAL;
    } else if (arg_is(a, "ADDR")) {
        k->peer = value;
    } else if (arg_is(a, "LADDR")) {
        k->local = value;
    } else if (arg_is(a, "USER")) {
        if (!(value->len == 7 && memcmp(value->data, "default", 7) == 0)) {
            reply_errorf(c, "ERR No such user '%.*s'", (int)arg_text_len(value), value->data);
            return false;
        }
    } else if (arg_is(a, "SKIPME") && (arg_is(value, "YES") || arg_is(value, "NO"))) {
        k->skips_self = arg_is(value, "YES");
    } else {
        reply_syntax_error(c);
        return false;
    }
    return true;
}

void cmd_client_kill(struct client *c)
{
    const struct command_context *ctx = &c->context;
    struct killing k = {.self = c, .skips_self = true};
    bool is_old_form = ctx->argc == 3;
    if (is_old_form) {
        k.peer = &ctx->argv[2];
        k.skips_self = false;
    } else {
        for (int i = 2; i < ctx->argc; i += 2) {
            if (i + 1 == ctx->argc) {
                reply_syntax_error(c);
                return;
            }
            if (!kill_option(c, &k, &ctx->argv[i])) {
                return;
            }
        }
    }
    net_visit_clients(client_net(c), kill_matching, &k);
    if (!is_old_form) {
        reply_integer(c, k.n_killed);
    } else if (k.n_killed == 0) {
        reply_error(c, "ERR No such client");
    } else {
        reply_ok(c);
    }
    if (k.hits_self) {
        c->flags |= CLIENT_CLOSE_AFTER_REPLY;
    }
}
