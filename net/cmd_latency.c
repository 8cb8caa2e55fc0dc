/*
 * LATENCY: the event monitor of Redis does not exist here (every command's latency is recorded all the
 * time instead), so its subcommands answer as a Redis whose monitor is off. HISTOGRAM is real.
 */
#include <string.h>

#include "engine/base/mem.h"
#include "net/args.h"
#include "net/loop.h"
#include "net/table.h"

#define HISTOGRAM_US_MAX (1 << 30)

void cmd_latency_doctor(struct client *c)
{
    static const char text[] = "I'm sorry, Dave, I can't do that. Latency monitoring is disabled "
                               "in this Redis instance. You "
                               "may use \"CONFIG SET latency-monitor-threshold <milliseconds>.\" "
                               "in order to enable it. If we "
                               "weren't in a deep space mission I'd suggest to take a look at "
                               "https://redis.io/topics/latency-monitor.\n";
    reply_verbatim(c, text, sizeof(text) - 1);
}

void cmd_latency_graph(struct client *c)
{
    const struct arg *event = &c->context.argv[2];
    reply_errorf(c, "ERR No samples available for event '%.*s'", (int)arg_text_len(event),
                 event->data);
}

void cmd_latency_history(struct client *c)
{
    reply_array(c, 0);
}

void cmd_latency_latest(struct client *c)
{
    reply_array(c, 0);
}

void cmd_latency_reset(struct client *c)
{
    reply_integer(c, 0);
}

/* --- HISTOGRAM ---------------------------------------------------------------------------------- */

static void totals_read(struct net *net, int16_t id, struct stats_totals *totals)
{
    memset(totals, 0, sizeof(*totals));
    for (unsigned i = 0; i < net->n_workers; i++) {
        stats_add(&net->workers[i].stats, id, totals);
    }
}

/* Calls that took at most us microseconds. */
static uint64_t count_within(const struct stats_totals *totals, uint64_t us)
{
    uint64_t n = 0;
    for (unsigned b = 0; b < STATS_BUCKETS && stats_bucket_ns(b) <= us * 1000; b++) {
        n += totals->hist[b];
    }
    return n;
}

/* Powers of two at which the cumulative count grows, as Redis prints them. */
static uint32_t histogram_points(const struct stats_totals *totals, uint64_t *us, uint64_t *n)
{
    uint32_t n_points = 0;
    uint64_t last = 0;
    for (uint64_t limit = 1; limit <= HISTOGRAM_US_MAX; limit *= 2) {
        uint64_t within = count_within(totals, limit);
        if (within > last) {
            us[n_points] = limit;
            n[n_points++] = within;
            last = within;
        }
    }
    return n_points;
}

static void histogram_reply(struct client *c, const char *name, const struct stats_totals *totals)
{
    uint64_t us[32];
    uint64_t n[32];
    uint32_t n_points = histogram_points(totals, us, n);
    reply_bulk_text(c, name);
    reply_map(c, 2);
    reply_bulk_text(c, "calls");
    reply_integer(c, (int64_t)totals->calls);
    reply_bulk_text(c, "histogram_usec");
    reply_map(c, n_points);
    for (uint32_t i = 0; i < n_points; i++) {
        reply_integer(c, (int64_t)us[i]);
        reply_integer(c, (int64_t)n[i]);
    }
}

/* Is the row named in the request: itself or its container; or is nothing named? */
static bool is_wanted(const struct command_context *ctx, const struct command_row *row)
{
    for (int i = 2; i < ctx->argc; i++) {
        const struct command_row *named =
            command_row_find_full(ctx->argv[i].data, ctx->argv[i].len);
        if (named != NULL && (named == row || named->id == row->parent)) {
            return true;
        }
    }
    return ctx->argc == 2;
}

void cmd_latency_histogram(struct client *c)
{
    struct net *net = client_net(c);
    struct stats_totals totals;
    size_t n = 0;
    bool is_shown[COMMAND_COUNT];
    for (int16_t id = 0; id < COMMAND_COUNT; id++) {
        is_shown[id] = is_wanted(&c->context, &command_rows[id]);
        if (is_shown[id]) {
            totals_read(net, id, &totals);
            is_shown[id] = totals.calls > 0;
        }
        n += is_shown[id];
    }
    reply_map(c, n);
    for (int16_t id = 0; id < COMMAND_COUNT; id++) {
        if (is_shown[id]) {
            totals_read(net, id, &totals);
            histogram_reply(c, command_rows[id].command.name, &totals);
        }
    }
}
