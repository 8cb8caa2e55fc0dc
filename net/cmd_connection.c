/*
 * Commands about the connection itself: PING ECHO QUIT RESET AUTH HELLO SELECT. Answers are Redis
 * 7.0's. There is one user, "default"; passwords are compared in constant time.
 */
#include <stdio.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/options.h"
#include "net/args.h"
#include "net/client_name.h"
#include "net/cmd_data.h"
#include "net/loop.h"
#include "net/table.h"

#define PASSWORD_MAX 1024 /* a longer one is no match */

void cmd_ping(struct client *c)
{
    const struct command_context *ctx = &c->context;
    if (ctx->argc > 2) {
        reply_arity_error(c);
    } else if (ctx->argc == 2) {
        reply_bulk(c, ctx->argv[1].data, ctx->argv[1].len);
    } else {
        reply_simple(c, "PONG");
    }
}

void cmd_echo(struct client *c)
{
    reply_bulk(c, c->context.argv[1].data, c->context.argv[1].len);
}

void cmd_quit(struct client *c)
{
    c->flags |= CLIENT_CLOSE_AFTER_REPLY;
    reply_ok(c);
}

void cmd_select(struct client *c)
{
    int64_t db = 0;
    if (!cmd_i64_range(c, &c->context.argv[1], INT32_MIN, INT32_MAX, &db)) {
        return;
    }
    if (db < 0 || db >= ENGINE_DATABASES) {
        reply_error(c, "ERR DB index is out of range");
        return;
    }
    c->context.db = (uint8_t)db;
    reply_ok(c);
}

/* --- passwords -------------------------------------------------------------------------------- */

static bool has_password(void)
{
    char first[1];
    return option_str(OPT_REQUIREPASS, first, sizeof(first)) > 0;
}

/* Time depends on the lengths of the stored and of the given password only. */
static bool is_password(const struct arg *given)
{
    char wanted[PASSWORD_MAX] = "";
    size_t len = option_str(OPT_REQUIREPASS, wanted, sizeof(wanted));
    unsigned differs = len != given->len || len >= sizeof(wanted);
    for (size_t i = 0; i < given->len && i < sizeof(wanted); i++) {
        differs |= (unsigned char)(wanted[i] ^ given->data[i]);
    }
    return differs == 0;
}

static bool authenticate(struct client *c, const struct arg *user, const struct arg *password)
{
    bool is_default = user == NULL || (user->len == 7 && memcmp(user->data, "default", 7) == 0);
    if (!is_default || (has_password() && !is_password(password))) {
        reply_error(c, "WRONGPASS invalid username-password pair or user is disabled.");
        return false;
    }
    client_set_authenticated(c, true);
    return true;
}

void cmd_auth(struct client *c)
{
    const struct command_context *ctx = &c->context;
    if (ctx->argc > 3) {
        reply_syntax_error(c);
        return;
    }
    if (ctx->argc == 2 && !has_password()) {
        reply_error(c, "ERR AUTH <password> called without any password configured for the default "
                       "user. Are you sure your configuration is correct?");
        return;
    }
    const struct arg *user = ctx->argc == 3 ? &ctx->argv[1] : NULL;
    if (authenticate(c, user, &ctx->argv[ctx->argc - 1])) {
        reply_ok(c);
    }
}

/* --- HELLO and RESET --------------------------------------------------------------------------- */

struct hello {
    int64_t version; /* 0: as it is */
    const struct arg *user, *password, *name;
};

static bool hello_parse(struct client *c, struct hello *h)
{
    const struct command_context *ctx = &c->context;
    if (ctx->argc >= 2) {
        if (!arg_i64(&ctx->argv[1], &h->version)) {
            reply_error(c, "ERR Protocol version is not an integer or out of range");
            return false;
        }
        if (h->version < 2 || h->version > 3) {
            reply_error(c, "NOPROTO unsupported protocol version");
            return false;
        }
    }
    for (int i = 2; i < ctx->argc; i++) {
        int n_more = ctx->argc - 1 - i;
        if (arg_is(&ctx->argv[i], "AUTH") && n_more >= 2) {
            h->user = &ctx->argv[i + 1];
            h->password = &ctx->argv[i + 2];
            i += 2;
        } else if (arg_is(&ctx->argv[i], "SETNAME") && n_more >= 1) {
            h->name = &ctx->argv[++i];
        } else {
            reply_errorf(c, "ERR Syntax error in HELLO option '%.*s'",
                         (int)arg_text_len(&ctx->argv[i]), ctx->argv[i].data);
            return false;
        }
    }
    return true;
}

static void hello_reply(struct client *c)
{
    reply_map(c, 7);
    reply_bulk_text(c, "server");
    reply_bulk_text(c, "redis");
    reply_bulk_text(c, "version");
    reply_bulk_text(c, NET_REDIS_VERSION);
    reply_bulk_text(c, "proto");
    reply_integer(c, c->context.resp);
    reply_bulk_text(c, "id");
    reply_integer(c, (int64_t)c->id);
    reply_bulk_text(c, "mode");
    reply_bulk_text(c, "standalone");
    reply_bulk_text(c, "role");
    reply_bulk_text(c, "master");
    reply_bulk_text(c, "modules");
    reply_array(c, 0);
}

void cmd_hello(struct client *c)
{
    struct hello h = {0};
    if (!hello_parse(c, &h)) {
        return;
    }
    if (h.user != NULL && !authenticate(c, h.user, h.password)) {
        return;
    }
    if (!client_check_authenticated(c)) {
        reply_error(c,
                    "NOAUTH HELLO must be called with the client already authenticated, otherwise "
                    "the HELLO "
                    "AUTH <user> <pass> option can be used to authenticate the client and select "
                    "the RESP protocol version at the same time");
        return;
    }
    if (h.name != NULL && !client_set_name(c, h.name)) {
        return;
    }
    if (h.version != 0) {
        c->context.resp = (uint8_t)h.version;
    }
    hello_reply(c);
}

void cmd_reset(struct client *c)
{
    static char nothing[1];
    const struct arg no_name = {.data = nothing, .len = 0, .blob = NULL};
    c->context.db = 0;
    c->context.resp = 2;
    c->flags &= ~(uint32_t)(CLIENT_REPLY_OFF | CLIENT_REPLY_SKIP_NEXT);
    output_unmute(&c->out);
    (void)client_set_name(c, &no_name);
    client_set_authenticated(c, !has_password());
    reply_simple(c, "RESET");
}
