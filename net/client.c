/*
 * The idea: a readable client is served to the end: one read, all complete requests, one write, all
 * within one callback. Nothing is deferred to a second event unless it must be: the socket is full
 * (write event), the engine has to ask the device (parked), or others wait (yielded).
 *
 * Bounds on what one client may cost the others
 *   time     BATCH_US in one go, then it yields to the end of the turn
 *   replies  above PAUSE_BYTES unread, requests wait, unless as much lies unread before us (a client
 *            that sends everything before it reads must not be locked out); the hard limit of
 *            client-output-buffer-limit is looked at before the next command, so that one
 *            reply of any size may be sent; the soft limit once a second
 *   memory   buffers are told to the engine; over the clients' share the largest are closed
 *
 * Invariants
 *   1. The worker's scratch is open between serve_begin() and serve_end() only.
 *   2. While parked the input buffer does not move: the engine holds pointers to keys in it.
 *   3. A closed client is on no list but those of the dead and of the yielded; its op is cancelled.
 */
#include "net/client.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/check.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/metrics.h"
#include "engine/base/options.h"
#include "net/dispatch.h"
#include "net/loop.h"

#define BATCH_US 1000           /* a turn over 50 busy clients stays below 50 ms */
#define FLUSH_BYTES (32 * 1024) /* replies sent before the batch is over: half the scratch */
#define PAUSE_BYTES (1024 * 1024)
#define LINGER_MS 2000
#define TRIM_AFTER_MS 2000 /* an input buffer unused for so long is given back; Redis' number */

/* --- memory ----------------------------------------------------------------------------------- */

static void account(struct client *c, uint64_t memory, uint64_t pinned)
{
    struct net *net = client_net(c);
    bool has_grown = memory > c->reported_bytes || pinned > c->pinned_bytes;
    if (memory != c->reported_bytes) {
        engine_client_memory_add((int64_t)(memory - c->reported_bytes));
        c->reported_bytes = memory;
    }
    if (pinned != c->pinned_bytes) {
        atomic_fetch_add_explicit(&net->pinned_bytes, pinned - c->pinned_bytes,
                                  memory_order_relaxed);
        c->pinned_bytes = pinned;
    }
    if (has_grown) {
        net_relieve_memory(net);
    }
}

static uint64_t memory_of(const struct client *c)
{
    size_t keys = c->keys != c->few_keys ? c->keys_cap * sizeof(struct engine_key) : 0;
    return sizeof(*c) + c->out.memory_bytes + resp_memory(&c->in) + keys;
}

/* What others may see of this client. */
static void publish(struct client *c)
{
    struct client_shown *s = &c->shown;
    uint64_t memory = memory_of(c);
    uint64_t pinned = c->out.blob_bytes + c->in.blob_bytes;
#define SHOW(field, value) atomic_store_explicit(&s->field, value, memory_order_relaxed)
    SHOW(flags, c->flags);
    SHOW(db, c->context.db);
    SHOW(resp, c->context.resp);
    SHOW(active_ms, c->worker->now_ms);
    SHOW(input_bytes, c->in.end - c->in.begin);
    SHOW(input_free, c->in.cap - c->in.end);
    SHOW(output_bytes, c->out.queued_bytes);
    SHOW(memory_bytes, memory);
    SHOW(pinned_bytes, pinned);
    SHOW(n_chunks, c->out.n_chunks);
#undef SHOW
    if (UNLIKELY(memory != c->reported_bytes || pinned != c->pinned_bytes)) {
        account(c, memory, pinned);
    }
}

static void note_progress(struct client *c)
{
    atomic_store_explicit(&c->shown.progress_ms, c->worker->now_ms, memory_order_relaxed);
}

/* --- authentication --------------------------------------------------------------------------- */

void client_set_authenticated(struct client *c, bool is_authenticated)
{
    c->flags = is_authenticated ? c->flags | CLIENT_AUTHENTICATED
                                : c->flags & ~(uint32_t)CLIENT_AUTHENTICATED;
    c->in.is_trusted = is_authenticated;
}

bool client_check_authenticated(struct client *c)
{
    char first[1];
    if ((c->flags & CLIENT_AUTHENTICATED) == 0 &&
        option_str(OPT_REQUIREPASS, first, sizeof(first)) == 0) {
        client_set_authenticated(c, true);
    }
    return (c->flags & CLIENT_AUTHENTICATED) != 0;
}

/* --- serving ---------------------------------------------------------------------------------- */

static void on_readable(evutil_socket_t fd, short what, void *arg);
static void on_writable(evutil_socket_t fd, short what, void *arg);

static void serve_begin(struct client *c)
{
    struct worker *w = c->worker;
    worker_refresh(w);
    engine_worker_refresh_clock(w->engine); /* the loop may have slept: expiry is exact */
    c->flags |= CLIENT_IS_SERVING;
    c->flags &= ~(uint32_t)CLIENT_IS_PAUSED;
    c->n_commands = 0;
    w->n_failed = 0;
    c->batch_end = 0;
    c->in.max_bulk_bytes = (uint64_t)option_i64(OPT_PROTO_MAX_BULK_LEN);
    if (UNLIKELY((c->flags & CLIENT_AUTHENTICATED) == 0)) {
        (void)client_check_authenticated(c);
    }
    output_open(&c->out, w->scratch, OUTPUT_SCRATCH_BYTES);
}

/* Sends what there is; false: the connection is broken. */
static bool flush(struct client *c)
{
    uint64_t sent = 0;
    enum status st = output_flush(&c->out, c->fd, &sent);
    if (sent > 0) {
        metric_add(M_NET_SENT, sent);
        stats_bump(&c->worker->stats.n_writes, 1);
        note_progress(c);
    }
    return st != CLOSED;
}

/* May the next request run, as far as unread replies go? */
static bool may_reply(struct client *c)
{
    if (LIKELY(output_pending(&c->out) < FLUSH_BYTES)) {
        return true;
    }
    if (!flush(c)) {
        c->flags |= CLIENT_CLOSE_NOW;
        return false;
    }
    size_t pending = output_pending(&c->out);
    if (pending < PAUSE_BYTES || c->in.begin == c->in.end) {
        return true;
    }
    if (output_limit_is_over_hard(&client_net(c)->output_limit, pending)) {
        log_warn("net", "client closed", "reason=output_buffer id=%lu unread_bytes=%zu",
                 (unsigned long)c->id, pending);
        client_kill(c, CLOSE_OUTPUT);
        c->flags |= CLIENT_CLOSE_NOW;
        return false;
    }
    if (resp_backlog(&c->in) < PAUSE_BYTES) {
        c->flags |= CLIENT_IS_PAUSED;
        return false;
    }
    return true;
}

static bool has_time(struct client *c)
{
    const struct worker *w = c->worker;
    if (c->n_commands == 0) {
        return true;
    }
    if (c->batch_end == 0) {
        c->batch_end = w->last_cycles + (uint64_t)(BATCH_US * w->net->cycles.per_us);
    }
    return w->last_cycles < c->batch_end || c->in.begin == c->in.end;
}

#define MUST_STOP (CLIENT_IS_PARKED | CLIENT_CLOSE_AFTER_REPLY | CLIENT_CLOSE_NOW)

/* All complete requests in the buffer, as far as the bounds allow. */
static void run_requests(struct client *c)
{
    while ((c->flags & MUST_STOP) == 0 && may_reply(c)) {
        if (UNLIKELY(!has_time(c))) {
            worker_yield(c->worker, c);
            return;
        }
        enum resp_result got = resp_next(&c->in);
        if (got == RESP_REQUEST) {
            dispatch_request(c);
        } else if (got == RESP_MORE) {
            return;
        } else {
            metric_add(M_CONN_CLOSED_PROTOCOL, 1);
            reply_error(c, c->in.error);
            c->flags |= CLIENT_CLOSE_AFTER_REPLY | CLIENT_IS_COUNTED_OUT | CLIENT_LINGERS;
        }
    }
}

static void write_event(struct client *c, bool on)
{
    if (on != ((c->flags & CLIENT_WRITE_ON) != 0)) {
        c->flags ^= CLIENT_WRITE_ON;
        (void)(on ? event_add(&c->write_event, NULL) : event_del(&c->write_event));
    }
}

static void read_event(struct client *c, bool on)
{
    if (on == ((c->flags & CLIENT_READ_OFF) != 0)) {
        c->flags ^= CLIENT_READ_OFF;
        (void)(on ? event_add(&c->read_event, NULL) : event_del(&c->read_event));
    }
}

/* Reading makes sense unless nothing will come or be run; while parked it stays as it is. */
static void choose_events(struct client *c)
{
    write_event(c, c->out.queued_bytes > 0);
    if ((c->flags & (CLIENT_AT_EOF | CLIENT_CLOSE_AFTER_REPLY)) != 0) {
        read_event(c, false);
    } else if ((c->flags & CLIENT_IS_PARKED) == 0) {
        read_event(c, true);
    }
}

/* Has it been told everything before its end? As in Redis a client that wants no replies is not closed
 * for it: it closes by itself. */
static bool is_done(const struct client *c)
{
    bool is_ending =
        (c->flags & CLIENT_AT_EOF) != 0 ||
        (c->flags & (CLIENT_CLOSE_AFTER_REPLY | CLIENT_REPLY_OFF)) == CLIENT_CLOSE_AFTER_REPLY;
    return is_ending && c->out.queued_bytes == 0 &&
           (c->flags & (CLIENT_IS_PARKED | CLIENT_IS_YIELDED | CLIENT_IS_PAUSED)) == 0;
}

/* A client that is told of a protocol error may still be sending: closing now would answer those bytes
 * with a reset, and many a client would report that instead of the error. So our side is shut, and
 * what still comes is read and dropped until the client closes or LINGER_MS are over. */
static void linger(struct client *c)
{
    c->flags |= CLIENT_IS_LINGERING;
    c->linger_until_ms = c->worker->now_ms + LINGER_MS;
    (void)shutdown(c->fd, SHUT_WR);
    write_event(c, false);
    read_event(c, true);
    publish(c);
}

static void close_or_linger(struct client *c)
{
    if ((c->flags & (CLIENT_LINGERS | CLIENT_AT_EOF)) == CLIENT_LINGERS) {
        linger(c);
    } else {
        client_close(c, CLOSE_BY_CLIENT);
    }
}

static void drop_input(struct client *c)
{
    ssize_t n = read(c->fd, c->worker->scratch, OUTPUT_SCRATCH_BYTES);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        client_close(c, CLOSE_BY_CLIENT);
    }
}

static void serve_end(struct client *c)
{
    struct worker *w = c->worker;
    c->flags &= ~(uint32_t)CLIENT_IS_SERVING;
    if (c->n_commands > 0) {
        metric_add(M_COMMANDS, c->n_commands - w->n_failed);
        if (w->n_failed > 0) {
            metric_add(M_COMMAND_ERRORS, w->n_failed);
        }
    }
    bool is_alive = (c->flags & CLIENT_CLOSE_NOW) == 0;
    if (is_alive && output_pending(&c->out) > 0) {
        is_alive = flush(c);
    }
    output_close(&c->out);
    if (!is_alive || c->out.is_broken) {
        client_close(c, c->out.is_broken ? CLOSE_NO_MEMORY : CLOSE_BY_CLIENT);
        return;
    }
    if ((c->flags & CLIENT_IS_PAUSED) != 0 && c->out.queued_bytes < PAUSE_BYTES / 2) {
        worker_yield(c->worker, c); /* sent meanwhile: no write event will wake it */
    }
    if (is_done(c)) {
        close_or_linger(c);
        return;
    }
    choose_events(c);
    publish(c);
}

static void serve(struct client *c)
{
    serve_begin(c);
    run_requests(c);
    serve_end(c);
}

void client_continue(struct client *c)
{
    if ((c->flags & CLIENT_IS_PARKED) == 0) {
        serve(c);
    }
}

static void on_resume(struct engine_op *op)
{
    client_resumed(client_of_op(op));
}

void client_resumed(struct client *c)
{
    DCHECK((c->flags & CLIENT_IS_PARKED) != 0 && (c->flags & CLIENT_IS_CLOSED) == 0);
    c->flags &= ~(uint32_t)CLIENT_IS_PARKED;
    serve_begin(c);
    dispatch_again(c);
    run_requests(c);
    serve_end(c);
}

/* --- events ----------------------------------------------------------------------------------- */

static void at_eof(struct client *c)
{
    c->flags |= CLIENT_AT_EOF;
    if (is_done(c)) {
        client_close(c, CLOSE_BY_CLIENT);
    } else {
        choose_events(c);
    }
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct client *c = arg;
    struct iovec iov[2];
    if (UNLIKELY((c->flags & CLIENT_IS_LINGERING) != 0)) {
        drop_input(c);
        return;
    }
    if (UNLIKELY((c->flags & CLIENT_IS_YIELDED) != 0)) {
        return; /* what it sends beyond its share waits in the kernel; its turn comes at once */
    }
    bool is_parked = (c->flags & CLIENT_IS_PARKED) != 0;
    int n_iov = is_parked ? resp_space_behind(&c->in, iov) : resp_space(&c->in, iov);
    if (UNLIKELY(n_iov == 0)) {
        if (is_parked) {
            read_event(c, false);
        } else {
            client_close(c, CLOSE_NO_MEMORY);
        }
        return;
    }
    ssize_t n = n_iov == 1 ? read(fd, iov[0].iov_base, iov[0].iov_len) : readv(fd, iov, n_iov);
    if (UNLIKELY(n <= 0)) {
        if (n == 0) {
            at_eof(c);
        } else if (errno != EAGAIN && errno != EINTR) {
            client_close(c, CLOSE_BY_CLIENT);
        }
        return;
    }
    metric_add(M_NET_RECEIVED, (uint64_t)n);
    stats_bump(&c->worker->stats.n_reads, 1);
    note_progress(c);
    resp_filled(&c->in, (size_t)n);
    if (UNLIKELY(resp_backlog(&c->in) > (uint64_t)option_i64(OPT_QUERY_LIMIT))) {
        log_warn("net", "client closed", "reason=query_buffer id=%lu", (unsigned long)c->id);
        client_close(c, CLOSE_PROTOCOL);
    } else if (!is_parked) {
        serve(c);
    }
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct client *c = arg;
    if (!flush(c)) {
        client_close(c, CLOSE_BY_CLIENT);
        return;
    }
    bool may_go_on = (c->flags & CLIENT_IS_PAUSED) != 0 && c->out.queued_bytes < PAUSE_BYTES / 2;
    if (may_go_on) {
        serve(c);
        return;
    }
    if (is_done(c)) {
        close_or_linger(c);
        return;
    }
    choose_events(c);
    publish(c);
}

/* --- life ------------------------------------------------------------------------------------- */

static void set_socket_options(int fd)
{
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    int idle = (int)option_i64(OPT_TCP_KEEPALIVE);
    if (idle > 0) {
        int interval = idle / 3 > 0 ? idle / 3 : 1;
        int probes = 3;
        (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
        (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
        (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
        (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
    }
}

void client_accept(struct worker *w, int fd, const struct client_peer *peer)
{
    struct client *c = mem_zalloc(1, sizeof(*c));
    if (c == NULL) {
        close(fd);
        atomic_fetch_sub_explicit(&w->net->n_clients, 1, memory_order_relaxed);
        return;
    }
    c->fd = fd;
    c->worker = w;
    c->peer = *peer;
    c->id = atomic_fetch_add_explicit(&w->net->next_client_id, 1, memory_order_relaxed) + 1;
    c->created_ms = w->now_ms;
    c->context.resp = 2;
    c->context.op.worker = w->engine;
    c->context.op.resume = on_resume;
    c->keys = c->few_keys;
    c->keys_cap = CLIENT_FEW_KEYS;
    atomic_init(&c->kill_reason, CLOSE_NOT_KILLED);
    output_init(&c->out);
    resp_init(&c->in);
    client_set_authenticated(c, false);
    (void)client_check_authenticated(c);
    if (peer->any.sa_family == AF_UNIX) {
        c->flags |= CLIENT_IS_UNIX;
    } else {
        set_socket_options(fd);
    }
    event_assign(&c->read_event, w->base, fd, EV_READ | EV_PERSIST, on_readable, c);
    event_assign(&c->write_event, w->base, fd, EV_WRITE | EV_PERSIST, on_writable, c);
    worker_add(w, c);
    note_progress(c);
    publish(c);
    if (event_add(&c->read_event, NULL) != 0) {
        client_close(c, CLOSE_NO_MEMORY);
    }
}

static void count_close(const struct client *c, enum client_close_reason reason)
{
    static const enum metric_id metric[] = {
        [CLOSE_BY_CLIENT] = M_CONN_CLOSED_CLIENT,  [CLOSE_IDLE] = M_CONN_CLOSED_IDLE,
        [CLOSE_PROTOCOL] = M_CONN_CLOSED_PROTOCOL, [CLOSE_OUTPUT] = M_CONN_CLOSED_OUTPUT,
        [CLOSE_KILLED] = M_CONN_CLOSED_KILLED,     [CLOSE_STOP] = M_CONN_CLOSED_KILLED,
        [CLOSE_NO_MEMORY] = M_CONN_CLOSED_LIMIT,
    };
    if ((c->flags & CLIENT_IS_COUNTED_OUT) == 0) {
        metric_add(metric[reason], 1);
    }
}

void client_close(struct client *c, enum client_close_reason reason)
{
    if ((c->flags & CLIENT_IS_CLOSED) != 0) {
        return;
    }
    int killed = atomic_load_explicit(&c->kill_reason, memory_order_relaxed);
    count_close(c, killed != CLOSE_NOT_KILLED ? (enum client_close_reason)killed : reason);
    c->flags |= CLIENT_IS_CLOSED;
    if ((c->flags & CLIENT_IS_PARKED) != 0) {
        engine_cancel(&c->context.op);
    }
    dispatch_forget(c);
    worker_remove(c->worker, c);
    (void)event_del(&c->read_event);
    (void)event_del(&c->write_event);
    close(c->fd);
    output_deinit(&c->out);
    resp_deinit(&c->in);
    if (c->keys != c->few_keys) {
        mem_free(c->keys);
    }
    account(c, 0, 0);
    c->next_dead = c->worker->dead;
    c->worker->dead = c;
}

void client_free_dead(struct worker *w, bool all)
{
    struct client **at = &w->dead;
    while (*at != NULL) {
        struct client *c = *at;
        if (!all && (c->flags & CLIENT_IS_YIELDED) != 0) {
            at = &c->next_dead;
            continue;
        }
        *at = c->next_dead;
        mem_free(c->name);
        mem_free(c->lib_name);
        mem_free(c->lib_version);
        mem_free(c);
    }
}

bool client_kill(struct client *c, enum client_close_reason reason)
{
    int none = CLOSE_NOT_KILLED;
    if (!atomic_compare_exchange_strong_explicit(&c->kill_reason, &none, reason,
                                                 memory_order_relaxed, memory_order_relaxed)) {
        return false;
    }
    (void)shutdown(c->fd, SHUT_RDWR); /* the peer need not wait for the worker's mail */
    worker_post_kills(c->worker);
    return true;
}

/* Over the soft limit for too long; or so long without reading anything while more is asked for. */
static bool reads_too_slowly(struct client *c, int64_t now_ms)
{
    const struct output_limit *limit = &client_net(c)->output_limit;
    int64_t progress_ms = atomic_load_explicit(&c->shown.progress_ms, memory_order_relaxed);
    return output_limit_is_over_soft(limit, c->out.queued_bytes, now_ms, &c->over_soft_since_ms) ||
           ((c->flags & CLIENT_IS_PAUSED) != 0 &&
            output_limit_is_too_long(limit, now_ms - progress_ms));
}

void client_tick(struct client *c, int64_t now_ms)
{
    int64_t idle_ms = now_ms - atomic_load_explicit(&c->shown.active_ms, memory_order_relaxed);
    int64_t timeout_s = option_i64(OPT_TIMEOUT);
    if (timeout_s > 0 && idle_ms > timeout_s * 1000 && (c->flags & CLIENT_IS_PARKED) == 0) {
        client_close(c, CLOSE_IDLE);
        return;
    }
    if ((c->flags & CLIENT_IS_LINGERING) != 0) {
        if (now_ms > c->linger_until_ms) {
            client_close(c, CLOSE_BY_CLIENT);
        }
        return;
    }
    if (reads_too_slowly(c, now_ms)) {
        log_warn("net", "client closed", "reason=output_buffer id=%lu unread_bytes=%zu",
                 (unsigned long)c->id, c->out.queued_bytes);
        client_close(c, CLOSE_OUTPUT);
        return;
    }
    if (idle_ms > TRIM_AFTER_MS && (c->flags & CLIENT_IS_PARKED) == 0 && c->in.cap > 0) {
        int64_t active_ms = now_ms - idle_ms;
        resp_trim(&c->in);
        publish(c);
        atomic_store_explicit(&c->shown.active_ms, active_ms, memory_order_relaxed);
    }
}
