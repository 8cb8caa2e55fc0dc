/*
 * The idea: one function per request. Look the command up, refuse what may not run, give the engine
 * its keys, run it, count it. A parked command keeps its place: its arguments stay in the input
 * buffer, its keys in c->keys, and dispatch_again() begins at run_command().
 *
 *   dispatch_request -> find_row -> may_run -> run_command -> finish
 *                                      |           | AGAIN          ^
 *                                      v           v                |
 *                                   rejected     parked -> dispatch_again
 *
 * Order of refusals, as in Redis: unknown, arity, protected, no authentication, loading, memory.
 *
 * Cost: about 60 ns beyond the command itself, of which 2 x 9 are the time-stamp counter.
 */
#include "net/dispatch.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "engine/base/check.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/metrics.h"
#include "engine/base/options.h"
#include "net/loop.h"
#include "net/table.h"

#define UNKNOWN_ARGS_MAX 128 /* bytes of arguments quoted for an unknown command; Redis' number */
#define SAMPLE_EVERY 64      /* hot commands observed for COMMAND_DURATION */
#define KEPT_KEYS 64         /* a longer key array is freed with its command */

/* --- who may run ------------------------------------------------------------------------------ */

static void reject(struct client *c, const char *text)
{
    c->flags |= CLIENT_REJECTED;
    reply_error(c, text);
}

static void reply_unknown(struct client *c)
{
    char args[UNKNOWN_ARGS_MAX + 8] = "";
    size_t n = 0;
    for (int i = 1; i < c->context.argc && n < UNKNOWN_ARGS_MAX; i++) {
        const struct arg *a = &c->context.argv[i];
        size_t len =
            strnlen(a->data, a->len < UNKNOWN_ARGS_MAX - n ? a->len : UNKNOWN_ARGS_MAX - n);
        args[n++] = '\'';
        memcpy(args + n, a->data, len);
        n += len;
        memcpy(args + n, "' ", 3);
        n += 2;
    }
    const struct arg *name = &c->context.argv[0];
    reply_errorf(c, "ERR unknown command '%.*s', with args beginning with: %s",
                 (int)(name->len < UNKNOWN_ARGS_MAX ? name->len : UNKNOWN_ARGS_MAX), name->data,
                 args);
}

/* An HTTP request that a browser was tricked into sending. */
static bool is_cross_protocol(const struct arg *name)
{
    return (name->len == 4 && strncasecmp(name->data, "post", 4) == 0) ||
           (name->len == 5 && strncasecmp(name->data, "host:", 5) == 0);
}

static const struct command_row *find_row(struct client *c)
{
    const struct arg *name = &c->context.argv[0];
    const struct command_row *row = command_row_find(name->data, name->len);
    if (UNLIKELY(row == NULL)) {
        if (is_cross_protocol(name)) {
            log_warn("net", "cross-protocol request",
                     "text=\"POST or Host: where a command should be\" action=closed");
            c->flags |= CLIENT_CLOSE_NOW;
        } else {
            c->flags |= CLIENT_REJECTED;
            reply_unknown(c);
        }
        return NULL;
    }
    if (UNLIKELY((row->command.flags & CMD_CONTAINER) != 0 && c->context.argc > 1)) {
        const struct arg *sub = &c->context.argv[1];
        const struct command_row *found = command_row_find_sub(row, sub->data, sub->len);
        if (found == NULL) {
            c->flags |= CLIENT_REJECTED;
            c->context.command = &row->command;
            cmd_container(c);
        }
        return found;
    }
    return row;
}

static bool may_run(struct client *c, const struct command_row *row)
{
    const struct command *command = &row->command;
    if (UNLIKELY(!command_arity_fits(command, c->context.argc))) {
        c->flags |= CLIENT_REJECTED;
        reply_arity_error(c);
        return false;
    }
    if (UNLIKELY((c->flags & CLIENT_AUTHENTICATED) == 0 && (command->flags & CMD_NO_AUTH) == 0 &&
                 !client_check_authenticated(c))) {
        reject(c, "NOAUTH Authentication required.");
        return false;
    }
    if (UNLIKELY(c->in.is_oom)) {
        c->flags |= CLIENT_REJECTED;
        reply_status(c, NO_MEMORY);
        return false;
    }
    return true;
}

/* --- keys ------------------------------------------------------------------------------------- */

struct engine_key *command_keys(struct client *c, uint32_t n)
{
    if (n > c->keys_cap) {
        struct engine_key *keys = mem_alloc(n * sizeof(*keys));
        if (keys == NULL) {
            return NULL;
        }
        if (c->keys != c->few_keys) {
            mem_free(c->keys);
        }
        c->keys = keys;
        c->keys_cap = n;
    }
    c->context.op.keys = c->keys;
    c->context.op.n_keys = n;
    return c->keys;
}

static bool fill_keys(struct client *c, const struct command *command)
{
    uint32_t n = command_key_count(command, c->context.argc);
    struct engine_key *keys = command_keys(c, n);
    if (keys == NULL) {
        return false;
    }
    const struct arg *arg = &c->context.argv[command->first_key];
    for (uint32_t i = 0; i < n; i++, arg += command->key_step) {
        keys[i] = (struct engine_key){.data = arg->data,
                                      .len = (uint32_t)arg->len,
                                      .db = c->context.db,
                                      .need = command->need};
    }
    return true;
}

static uint32_t op_flags(const struct client *c, const struct command *command)
{
    uint32_t flags = 0;
    if ((command->flags & (CMD_READONLY | CMD_COUNTS_HITS)) != 0) {
        flags |= ENGINE_OP_READ;
    }
    if ((command->flags & CMD_DENYOOM) != 0) {
        flags |= ENGINE_OP_WRITE;
    }
    if ((command->flags & CMD_NO_TOUCH) != 0 || (c->flags & CLIENT_NO_TOUCH) != 0) {
        flags |= ENGINE_OP_NO_TOUCH;
    }
    return flags;
}

/* --- running ---------------------------------------------------------------------------------- */

void command_park(struct client *c)
{
    c->flags |= CLIENT_IS_PARKED;
}

static void finish(struct client *c);

/* From engine_begin on; again after every resume. */
static void run_command(struct client *c)
{
    const struct command *command = c->context.command;
    struct engine_op *op = &c->context.op;
    if (command->first_key == 0 || (command->flags & CMD_MANUAL) != 0) {
        command->run(c);
    } else {
        enum status st = engine_begin(op);
        if (st == AGAIN) {
            command_park(c);
        } else if (st != OK) {
            reply_status(c, st);
        } else {
            command->run(c);
            engine_end(op);
        }
    }
    if ((c->flags & CLIENT_IS_PARKED) == 0) {
        finish(c);
    }
}

static void begin_reply(struct client *c)
{
    if (UNLIKELY((c->flags & (CLIENT_REPLY_SKIP_NEXT | CLIENT_REPLY_OFF)) != 0)) {
        if ((c->flags & CLIENT_REPLY_SKIP_NEXT) != 0) {
            c->flags = (c->flags & ~(uint32_t)CLIENT_REPLY_SKIP_NEXT) | CLIENT_REPLY_SKIP;
        }
        output_mute(&c->out);
    }
}

static void end_reply(struct client *c)
{
    if (UNLIKELY(c->out.is_muted)) {
        output_unmute(&c->out);
    }
    c->flags &= ~(uint32_t)CLIENT_REPLY_SKIP;
}

void dispatch_forget(struct client *c)
{
    if (c->context.scratch != NULL && c->context.scratch_free != NULL) {
        c->context.scratch_free(c->context.scratch);
    }
    c->context.scratch = NULL;
    c->context.scratch_free = NULL;
    if (c->keys_cap > KEPT_KEYS) {
        mem_free(c->keys);
        c->keys = c->few_keys;
        c->keys_cap = CLIENT_FEW_KEYS;
    }
}

/* Passwords do not belong into the slow log. */
static bool is_secret(const struct client *c)
{
    return c->row->id == CMD_ID_AUTH || c->row->id == CMD_ID_HELLO ||
           c->row->id == CMD_ID_CONFIG_SET;
}

static void note_slow(struct client *c, uint64_t us)
{
    metric_add(M_SLOW_COMMANDS, 1);
    char peer[CLIENT_ADDRESS_MAX];
    client_format_peer(c, peer);
    const struct arg *argv = c->context.argv;
    int argc = c->context.argc;
    struct arg hidden[2] = {argv[0], {.data = (char[]){"(redacted)"}, .len = 10, .blob = NULL}};
    if (is_secret(c) && argc > 1) {
        argv = hidden;
        argc = 2;
    }
    slowlog_add(&client_net(c)->slowlog, argv, argc, us, peer, c->name != NULL ? c->name : "");
}

/* Counts a command that ran, hides its traces. */
static void finish(struct client *c)
{
    struct worker *w = c->worker;
    const struct cycles *clock = &w->net->cycles;
    w->last_cycles = cycles_now(clock);
    uint64_t cycles = w->last_cycles - c->started;
    stats_record(&w->stats, clock, c->row->id, cycles);
    bool was_parked = (c->flags & CLIENT_IS_STARTED) != 0;
    if (UNLIKELY(was_parked || ++w->sample % SAMPLE_EVERY == 0)) {
        metric_observe_us(M_COMMAND_DURATION, cycles_to_us(clock, cycles));
    }
    if (UNLIKELY(cycles >= w->slow_cycles)) {
        note_slow(c, cycles_to_us(clock, cycles));
    }
    if (UNLIKELY((c->flags & CLIENT_HAS_ERROR) != 0)) {
        stats_bump(&w->stats.commands[c->row->id].failed, 1);
        w->n_failed++;
    }
    end_reply(c);
    c->n_commands++;
    c->context.op.n_keys = 0;
    if (UNLIKELY(c->context.scratch != NULL || c->keys_cap > KEPT_KEYS)) {
        dispatch_forget(c);
    }
    c->flags &= ~(uint32_t)(CLIENT_HAS_ERROR | CLIENT_REJECTED | CLIENT_IS_STARTED);
}

/* A request that was not let in. */
static void finish_rejected(struct client *c, const struct command_row *row)
{
    if (row != NULL) {
        stats_bump(&c->worker->stats.commands[row->id].rejected, 1);
    }
    end_reply(c);
    c->flags &= ~(uint32_t)(CLIENT_HAS_ERROR | CLIENT_REJECTED);
}

void dispatch_request(struct client *c)
{
    c->context.argc = c->in.argc;
    c->context.argv = c->in.argv;
    if (UNLIKELY(c->context.argc == 0)) {
        if (c->in.is_oom) {
            reply_status(c, NO_MEMORY);
        }
        return;
    }
    begin_reply(c);
    const struct command_row *row = find_row(c);
    if (row != NULL) {
        c->context.command = &row->command;
    }
    if (UNLIKELY(row == NULL || !may_run(c, row))) {
        finish_rejected(c, row);
        return;
    }
    c->row = row;
    atomic_store_explicit(&c->shown.row, row, memory_order_relaxed);
    c->started = cycles_now(&client_net(c)->cycles);
    c->context.op.flags = op_flags(c, &row->command);
    if (row->command.first_key != 0 && (row->command.flags & CMD_MANUAL) == 0 &&
        UNLIKELY(!fill_keys(c, &row->command))) {
        reply_status(c, NO_MEMORY);
        finish(c);
        return;
    }
    run_command(c);
}

void dispatch_again(struct client *c)
{
    c->flags |= CLIENT_IS_STARTED;
    run_command(c);
}
