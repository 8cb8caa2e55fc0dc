/*
 * A closed loop sends a connection's whole pipeline at once, waits for all of its replies, and sends
 * the next: as a client library's pipeline does, and with one send and about one receive per batch.
 * An open loop (--rate) has a timetable: the thread's i-th request is due at start + i / rate, goes
 * to the next connection with room, and its latency counts from the due time whether or not there
 * was room by then. A fill of look-aside mode follows the miss on the same connection at once and is
 * measured from the miss.
 *
 * Requests in flight stand in a ring per connection, in the order sent, which is the order of the
 * replies. What has been read and is not yet a whole reply stays in the connection's own buffer;
 * values nobody checks are skipped without being kept.
 */
#include "tools/hearth-bench/worker.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/hearth-bench/dial.h"

#define OUT_LIMIT (256u << 10)    /* stop encoding when so much waits for the socket */
#define IN_MIN (4u << 10)         /* of a connection's receive buffer */
#define IN_MAX (64u << 10)        /* to begin with; grows to a whole value if that is checked */
#define DRAIN_NS 10000000000ll    /* wait for replies when the time is up */
#define CLOSED_TURN_NS 50000000ll /* how long a loop sleeps at most: it looks at the clock then */

struct connection {
    int fd; /* -1: closed */
    struct buffer out;
    size_t out_sent;
    struct buffer in;
    size_t in_start;
    size_t skip; /* bytes of an unchecked value still to come */
    size_t skip_value;
    struct request *ring; /* in flight: [head, head + n_inflight) modulo ring_mask + 1 */
    uint32_t ring_mask;
    uint32_t head;
    uint32_t n_inflight;
    uint64_t quota; /* of this batch, still to be encoded */
    bool wants_write;
};

/* The state of one worker's loop. */
struct loop {
    struct worker *worker;
    struct workload *workload;
    const struct bench_config *config;
    struct rng rng;
    int epoll_fd;
    int64_t now_ns;
    int64_t measure_ns; /* a copy of the run's, taken once a turn */
    bool is_stopping;   /* no new requests */
    unsigned n_open;
    uint64_t n_inflight;
    /* open loop */
    double interval_ns; /* 0: closed */
    double due_ns;
    unsigned turn; /* the connection to try first */
};

void failure_note(struct failure *failure, const char *fmt, ...)
{
    if (failure->count++ == 0) {
        va_list args;
        va_start(args, fmt);
        vsnprintf(failure->first, sizeof(failure->first), fmt, args);
        va_end(args);
    }
}

static void close_connection(struct loop *loop, struct connection *c, const char *why)
{
    failure_note(&loop->worker->results.errors, "%s with %u requests unanswered", why,
                 c->n_inflight);
    loop->worker->results.errors.count += c->n_inflight > 0 ? c->n_inflight - 1 : 0;
    close(c->fd);
    c->fd = -1;
    loop->n_open--;
    loop->n_inflight -= c->n_inflight;
    c->n_inflight = 0;
    c->quota = 0;
}

static void watch(struct loop *loop, struct connection *c, bool wants_write)
{
    if (c->wants_write == wants_write) {
        return;
    }
    c->wants_write = wants_write;
    struct epoll_event event = {.events = EPOLLIN | (wants_write ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, c->fd, &event);
}

/* --- sending --------------------------------------------------------------------------------------*/

static void enqueue(struct loop *loop, struct connection *c, const struct request *request)
{
    size_t n_value = workload_put(loop->workload, request, &c->out);
    if (request->start_ns >= loop->measure_ns) {
        loop->worker->results.value_bytes_written += n_value;
    }
    c->ring[(c->head + c->n_inflight++) & c->ring_mask] = *request;
    loop->n_inflight++;
}

/* Encodes one new request that starts at start_ns; false when there is none left. */
static bool encode_next(struct loop *loop, struct connection *c, int64_t start_ns)
{
    struct request request;
    if (loop->is_stopping || !workload_next(loop->workload, &loop->rng, &request)) {
        loop->is_stopping = true;
        return false;
    }
    request.start_ns = start_ns;
    enqueue(loop, c, &request);
    return true;
}

/* Sends what waits; true when nothing waits any more. */
static bool flush(struct loop *loop, struct connection *c)
{
    while (c->out_sent < c->out.length) {
        ssize_t n =
            send(c->fd, c->out.data + c->out_sent, c->out.length - c->out_sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            watch(loop, c, true);
            return false;
        }
        if (n < 0) {
            char why[96];
            snprintf(why, sizeof(why), "sending failed (%s)", strerror(errno));
            close_connection(loop, c, why);
            return false;
        }
        c->out_sent += (size_t)n;
    }
    c->out.length = 0;
    c->out_sent = 0;
    watch(loop, c, false);
    return true;
}

/* Encodes and sends the rest of the batch, as far as the socket takes it. */
static void pump(struct loop *loop, struct connection *c)
{
    do {
        while (c->quota > 0 && c->out.length - c->out_sent < OUT_LIMIT) {
            c->quota--;
            if (!encode_next(loop, c, loop->now_ns)) {
                c->quota = 0;
            }
        }
    } while (flush(loop, c) && c->quota > 0);
}

static void begin_batch(struct loop *loop, struct connection *c)
{
    if (c->fd >= 0 && c->n_inflight == 0 && !loop->is_stopping) {
        c->quota = loop->config->pipeline;
        pump(loop, c);
    }
}

/* --- receiving ------------------------------------------------------------------------------------*/

static void judge_value(struct loop *loop, const struct request *request, const struct reply *reply)
{
    struct worker_results *results = &loop->worker->results;
    bool is_stale;
    const char *wrong =
        workload_check(loop->workload, request, reply->data, reply->n_data, &is_stale);
    results->n_checked++;
    if (wrong != NULL) {
        char name[BENCH_KEY_MAX];
        size_t n_name = workload_name(loop->workload, request->key, name);
        failure_note(is_stale ? &results->stale : &results->wrong,
                     "value of '%.*s' (%zu bytes): %s", (int)n_name, name, reply->n_data, wrong);
    }
}

static void fill_miss(struct loop *loop, struct connection *c, struct request request)
{
    if (workload_fill(loop->workload, &request)) {
        request.start_ns = loop->now_ns;
        enqueue(loop, c, &request);
    } else {
        loop->worker->results.fills_left_out++;
    }
}

/* The oldest request in flight is answered. */
static void complete(struct loop *loop, struct connection *c, const struct reply *reply)
{
    struct worker_results *results = &loop->worker->results;
    struct request request = c->ring[c->head & c->ring_mask];
    bool is_measured = request.start_ns >= loop->measure_ns;
    c->head++;
    c->n_inflight--;
    loop->n_inflight--;
    if (request.op == OP_SET) {
        workload_stored(loop->workload, &request, reply->kind == REPLY_OK);
    }
    if (reply->kind == REPLY_ERROR) {
        failure_note(&results->errors, "the server answered: %.*s",
                     (int)(reply->n_data < 160 ? reply->n_data : 160), reply->data);
        return;
    }
    if (request.op == OP_SET) {
        if (is_measured) {
            hist_record(&results->set, loop->now_ns - request.start_ns);
        }
        return;
    }
    if (reply->kind == REPLY_VALUE && loop->config->is_verified) {
        judge_value(loop, &request, reply);
    }
    if (is_measured) {
        hist_record(&results->get, loop->now_ns - request.start_ns);
        results->hits += reply->kind == REPLY_VALUE;
        results->misses += reply->kind == REPLY_MISS;
        results->value_bytes_read += reply->kind == REPLY_VALUE ? reply->n_data : 0;
    }
    if (reply->kind == REPLY_MISS && loop->config->workload == WORKLOAD_LOOKASIDE) {
        fill_miss(loop, c, request);
    }
}

/* A reply of the kind that the oldest request can have? */
static bool is_fitting(const struct connection *c, enum reply_kind kind)
{
    if (c->n_inflight == 0 || kind == REPLY_GARBAGE) {
        return false;
    }
    uint8_t op = c->ring[c->head & c->ring_mask].op;
    return kind == REPLY_ERROR || (op == OP_SET) == (kind == REPLY_OK);
}

static void refuse_reply(struct loop *loop, struct connection *c, const char *data, size_t n)
{
    char shown[64];
    char why[128];
    size_t i = 0;
    for (; i < n && i < sizeof(shown) - 1 && data[i] != '\r' && data[i] != '\n'; i++) {
        shown[i] = data[i] >= ' ' && data[i] < 127 ? data[i] : '?';
    }
    shown[i] = '\0';
    snprintf(why, sizeof(why), "a reply that fits no request ('%s')", shown);
    close_connection(loop, c, why);
}

/* Takes whole replies out of the receive buffer; false when the connection was closed over them. */
static bool take_replies(struct loop *loop, struct connection *c)
{
    while (c->in.length > c->in_start) {
        const char *data = c->in.data + c->in_start;
        size_t n = c->in.length - c->in_start;
        struct reply reply;
        wire_parse(loop->config->protocol, data, n, &reply);
        if (reply.kind == REPLY_PARTIAL) {
            if (reply.length > n && !loop->config->is_verified && is_fitting(c, REPLY_VALUE)) {
                c->skip = reply.length - n;
                c->skip_value = reply.n_data;
                c->in_start = c->in.length;
            } else if (reply.length > n) {
                buffer_reserve(&c->in, reply.length - n);
            }
            break;
        }
        if (!is_fitting(c, reply.kind)) {
            refuse_reply(loop, c, data, n);
            return false;
        }
        complete(loop, c, &reply);
        c->in_start += reply.length;
    }
    if (c->in_start > 0) {
        c->in.length -= c->in_start;
        memmove(c->in.data, c->in.data + c->in_start, c->in.length);
        c->in_start = 0;
    }
    return true;
}

/* The n bytes just received end, or are all of, a value that is only counted. */
static size_t skip_value(struct loop *loop, struct connection *c, size_t n)
{
    size_t taken = n < c->skip ? n : c->skip;
    c->skip -= taken;
    if (c->skip == 0) {
        struct reply reply = {.kind = REPLY_VALUE, .n_data = c->skip_value};
        complete(loop, c, &reply);
    }
    return taken;
}

static void on_readable(struct loop *loop, struct connection *c)
{
    bool is_more = true;
    while (is_more && c->fd >= 0) {
        buffer_reserve(&c->in, 1);
        size_t room = c->in.capacity - c->in.length;
        ssize_t n = recv(c->fd, c->in.data + c->in.length, room, 0);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            break;
        }
        if (n <= 0) {
            char why[96];
            snprintf(why, sizeof(why), "the server closed the connection%s%s", n < 0 ? ": " : "",
                     n < 0 ? strerror(errno) : "");
            close_connection(loop, c, why);
            return;
        }
        is_more = (size_t)n == room;
        loop->now_ns = bench_now_ns();
        if (c->skip > 0) { /* the buffer is empty while skipping */
            c->in_start = skip_value(loop, c, (size_t)n);
        }
        c->in.length += (size_t)n;
        if (!take_replies(loop, c)) {
            return;
        }
    }
    if (c->out.length > c->out_sent && !c->wants_write) {
        flush(loop, c); /* fills */
    }
    if (loop->interval_ns == 0) {
        begin_batch(loop, c);
    }
}

/* --- the open loop --------------------------------------------------------------------------------*/

/* Sends what is due to the connections in turn; stops early when all of them are full. */
static void send_due(struct loop *loop)
{
    struct worker *worker = loop->worker;
    unsigned n_full = 0;
    while (!loop->is_stopping && loop->due_ns <= (double)loop->now_ns &&
           n_full < worker->n_connections) {
        struct connection *c = &worker->connections[loop->turn];
        loop->turn = (loop->turn + 1) % worker->n_connections;
        if (c->fd < 0 || c->n_inflight >= loop->config->pipeline) {
            n_full++;
            continue;
        }
        n_full = 0;
        if (encode_next(loop, c, (int64_t)loop->due_ns)) {
            loop->due_ns += loop->interval_ns;
            if (!c->wants_write) {
                flush(loop, c);
            }
        }
    }
}

/* --- the loop -------------------------------------------------------------------------------------*/

static void loop_init(struct loop *loop, struct worker *worker)
{
    const struct bench_config *config = worker->run->workload->config;
    *loop = (struct loop){
        .worker = worker,
        .workload = worker->run->workload,
        .config = config,
        .rng = {.state = mix64(config->seed * 1000003 + worker->index)},
        .n_open = worker->n_connections,
    };
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0) {
        bench_die("epoll_create1: %s", strerror(errno));
    }
    for (unsigned i = 0; i < worker->n_connections; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &worker->connections[i]};
        if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, worker->connections[i].fd, &event) != 0) {
            bench_die("epoll_ctl: %s", strerror(errno));
        }
    }
    if (config->rate > 0) {
        /* threads take turns: thread i of n sends requests i, i + n, ... of the timetable */
        loop->interval_ns = 1e9 * (double)config->n_threads / config->rate;
        loop->due_ns = (double)worker->run->start_ns + 1e9 * worker->index / config->rate;
        prctl(PR_SET_TIMERSLACK, 1000ul, 0, 0, 0); /* 1 µs instead of 50 */
    }
}

/* Nanoseconds to sleep: until the next request is due, but never without a look at the clock. */
static int64_t sleep_ns(const struct loop *loop)
{
    int64_t ns = CLOSED_TURN_NS;
    if (loop->interval_ns > 0 && !loop->is_stopping) {
        double until_due = loop->due_ns - (double)loop->now_ns;
        if (until_due > 0 && until_due < (double)ns) { /* overdue: all connections are full */
            ns = (int64_t)until_due;
        }
    }
    return ns;
}

static void turn(struct loop *loop, struct epoll_event *events, int n_events)
{
    loop->measure_ns = atomic_load_explicit(&loop->worker->run->measure_ns, memory_order_relaxed);
    if (loop->now_ns >= atomic_load_explicit(&loop->worker->run->stop_ns, memory_order_relaxed)) {
        loop->is_stopping = true;
    }
    for (int i = 0; i < n_events; i++) {
        struct connection *c = events[i].data.ptr;
        if (c->fd >= 0 && (events[i].events & EPOLLOUT) != 0) {
            pump(loop, c);
        }
        if (c->fd >= 0 && (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
            on_readable(loop, c);
        }
    }
    if (loop->interval_ns > 0) {
        send_due(loop);
    }
}

static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    struct loop loop;
    struct epoll_event events[256];
    loop_init(&loop, worker);
    loop.now_ns = bench_now_ns();
    turn(&loop, events, 0);
    for (unsigned i = 0; i < worker->n_connections && loop.interval_ns == 0; i++) {
        begin_batch(&loop, &worker->connections[i]);
    }
    int64_t heard_ns = loop.now_ns;
    int64_t timeout_ns = (int64_t)(loop.config->timeout_seconds * 1e9);
    while (loop.n_open > 0 && (loop.n_inflight > 0 || !loop.is_stopping)) {
        int64_t ns = sleep_ns(&loop);
        struct timespec wait = {.tv_sec = 0, .tv_nsec = ns};
        int n = epoll_pwait2(loop.epoll_fd, events, 256, &wait, NULL);
        loop.now_ns = bench_now_ns();
        turn(&loop, events, n > 0 ? n : 0);
        heard_ns = n > 0 || loop.n_inflight == 0 ? loop.now_ns : heard_ns;
        int64_t silence_ns = loop.now_ns - heard_ns;
        if (silence_ns > timeout_ns || (loop.is_stopping && silence_ns > DRAIN_NS)) {
            failure_note(&worker->results.errors, "no reply to %llu requests for %.0f s",
                         (unsigned long long)loop.n_inflight, (double)silence_ns / 1e9);
            worker->results.errors.count += loop.n_inflight - 1;
            break;
        }
        atomic_store_explicit(&worker->n_done,
                              worker->results.get.count + worker->results.set.count,
                              memory_order_relaxed);
    }
    close(loop.epoll_fd);
    worker->end_ns = bench_now_ns();
    atomic_store(&worker->is_over, true);
    return NULL;
}

void worker_init(struct worker *worker, struct run *run, unsigned index, unsigned n_connections)
{
    const struct bench_config *config = run->workload->config;
    *worker = (struct worker){.run = run, .index = index, .n_connections = n_connections};
    worker->connections = bench_zalloc(n_connections, sizeof(*worker->connections));
    uint32_t ring = 1;
    while (ring < config->pipeline) {
        ring *= 2;
    }
    /* room for a pipeline of small replies in one receive, and not much more: there may be many */
    size_t n_in = config->pipeline * 256;
    n_in = n_in < IN_MIN ? IN_MIN : n_in > IN_MAX ? IN_MAX : n_in;
    for (unsigned i = 0; i < n_connections; i++) {
        struct connection *c = &worker->connections[i];
        c->fd = dial(config);
        c->ring = bench_alloc(ring * sizeof(*c->ring));
        c->ring_mask = ring - 1;
        buffer_reserve(&c->in, n_in);
    }
}

void worker_start(struct worker *worker)
{
    int error = pthread_create(&worker->thread, NULL, worker_main, worker);
    if (error != 0) {
        bench_die("cannot start a thread: %s", strerror(error));
    }
}

void worker_join(struct worker *worker)
{
    pthread_join(worker->thread, NULL);
}

void worker_deinit(struct worker *worker)
{
    for (unsigned i = 0; i < worker->n_connections; i++) {
        struct connection *c = &worker->connections[i];
        if (c->fd >= 0) {
            close(c->fd);
        }
        free(c->out.data);
        free(c->in.data);
        free(c->ring);
    }
    free(worker->connections);
}
