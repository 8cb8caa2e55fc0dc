/* Non-blocking sockets, an output buffer filled with a batch of commands, and a RESP2 reader that
 * hands complete replies to op_end in order. */
#include "tests/history/connection.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define REPLY_SECONDS 60

uint64_t random_next(struct connection *c)
{
    uint64_t z = (c->random += UINT64_C(0x9e3779b97f4a7c15)); /* splitmix64 */
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* --- output --------------------------------------------------------------------------------------- */

static void out_reserve(struct connection *c, size_t n)
{
    if (c->out_len + n > c->out_cap) {
        c->out_cap = (c->out_len + n) * 2;
        c->out = realloc(c->out, c->out_cap);
        if (c->out == NULL) {
            abort();
        }
    }
}

void out_begin(struct connection *c, unsigned n_args)
{
    out_reserve(c, 32);
    c->out_len += (size_t)sprintf(c->out + c->out_len, "*%u\r\n", n_args);
}

void out_arg(struct connection *c, const void *data, size_t len)
{
    out_reserve(c, len + 32);
    c->out_len += (size_t)sprintf(c->out + c->out_len, "$%zu\r\n", len);
    memcpy(c->out + c->out_len, data, len);
    memcpy(c->out + c->out_len + len, "\r\n", 2);
    c->out_len += len + 2;
}

void out_text(struct connection *c, const char *text)
{
    out_arg(c, text, strlen(text));
}

void out_number(struct connection *c, uint64_t number)
{
    char text[24];
    int n = snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
    out_arg(c, text, (size_t)n);
}

void out_key(struct connection *c, uint32_t key)
{
    char text[24];
    int n = snprintf(text, sizeof(text), "history:%u", key);
    out_arg(c, text, (size_t)n);
}

/* --- life ----------------------------------------------------------------------------------------- */

static int dial(const struct load_options *options)
{
    int fd;
    if (options->unix_path != NULL) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        snprintf(address.sun_path, sizeof(address.sun_path), "%s", options->unix_path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
            close(fd);
            return -1;
        }
        return fd;
    }
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)options->port)};
    if (inet_pton(AF_INET, options->host, &address.sin_addr) != 1) {
        return -1;
    }
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        close(fd);
        return -1;
    }
    if (fd >= 0) {
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    }
    return fd;
}

bool connection_open(struct connection *c, struct load *load, uint32_t id)
{
    memset(c, 0, sizeof(*c));
    c->load = load;
    c->id = id;
    c->random = load->options.seed * UINT64_C(1000003) + id;
    c->is_flusher = load->options.has_flush && id % 4 == 3;
    c->out_cap = c->in_cap = 1 << 16;
    c->out = malloc(c->out_cap);
    c->in = malloc(c->in_cap);
    c->ops = calloc(LOAD_MAX_PIPELINE, sizeof(*c->ops));
    c->value = malloc(load->options.value_max + HISTORY_HEADER);
    c->fd = dial(&load->options);
    if (c->out == NULL || c->in == NULL || c->ops == NULL || c->value == NULL || c->fd < 0) {
        return false;
    }
    if (load->options.password != NULL) {
        out_begin(c, 2);
        out_text(c, "AUTH");
        out_text(c, load->options.password);
    }
    out_begin(c, 2);
    out_text(c, "SELECT");
    out_text(c, c->is_flusher ? "1" : "0");
    if (write(c->fd, c->out, c->out_len) != (ssize_t)c->out_len) {
        return false;
    }
    c->out_len = 0;
    size_t n_expected = load->options.password != NULL ? 10 : 5; /* +OK each */
    char answer[16] = "";
    for (size_t n = 0; n < n_expected;) {
        ssize_t got = read(c->fd, answer + n, n_expected - n);
        if (got <= 0) {
            return false;
        }
        n += (size_t)got;
    }
    return strncmp(answer, "+OK\r\n", 5) == 0 && fcntl(c->fd, F_SETFL, O_NONBLOCK) == 0;
}

void connection_close(struct connection *c)
{
    if (c->fd >= 0) {
        close(c->fd);
    }
    c->fd = -1;
    free(c->out);
    free(c->in);
    free(c->ops);
    free(c->value);
    c->out = c->in = c->value = NULL;
    c->ops = NULL;
}

/* --- replies -------------------------------------------------------------------------------------- */

/* A line's end, or NULL when it has not come yet. */
static const char *line_end(const char *p, const char *end)
{
    return memmem(p, (size_t)(end - p), "\r\n", 2);
}

/* Reads "$n\r\n<data>\r\n" or "$-1\r\n"; NULL: incomplete. */
static const char *bulk_read(const char *p, const char *end, const char **data, int64_t *len)
{
    const char *eol = line_end(p, end);
    if (eol == NULL) {
        return NULL;
    }
    *len = strtoll(p + 1, NULL, 10);
    *data = eol + 2;
    if (*len < 0) {
        return eol + 2;
    }
    return end - *data >= *len + 2 ? *data + *len + 2 : NULL;
}

/* The next reply; NULL: incomplete. Anything but RESP2's types is reported by op_end. */
static const char *reply_read(const char *p, const char *end, struct reply *reply)
{
    memset(reply, 0, sizeof(*reply));
    const char *eol = p < end ? line_end(p, end) : NULL;
    if (eol == NULL) {
        return NULL;
    }
    reply->type = *p;
    if (*p == '$') {
        return bulk_read(p, end, &reply->data, &reply->len);
    }
    reply->data = p + 1;
    reply->len = eol - p - 1;
    if (*p == ':' || *p == '*') {
        reply->number = strtoll(p + 1, NULL, 10);
    }
    p = eol + 2;
    if (reply->type == '*') {
        for (int64_t i = 0; i < reply->number; i++) {
            if (p >= end) {
                return NULL;
            }
            const char *data = NULL;
            int64_t len = 0;
            p = bulk_read(p, end, &data, &len);
            if (p == NULL) {
                return NULL;
            }
            if (i < OP_MAX_KEYS) {
                reply->elements[i].data = data;
                reply->elements[i].len = len;
                reply->n_elements++;
            }
        }
    }
    return p;
}

static void judge_replies(struct connection *c, uint64_t now_ns)
{
    while (c->n_ended < c->n_ops) {
        struct reply reply;
        const char *end = c->in + c->in_len;
        const char *next = reply_read(c->in + c->in_done, end, &reply);
        if (next == NULL) {
            break;
        }
        op_end(c, &c->ops[c->n_ended], &reply, now_ns);
        c->n_ended++;
        c->in_done = (size_t)(next - c->in);
    }
    if (c->in_done == c->in_len) {
        c->in_done = c->in_len = 0;
    } else if (c->in_done > c->in_cap / 2) {
        memmove(c->in, c->in + c->in_done, c->in_len - c->in_done);
        c->in_len -= c->in_done;
        c->in_done = 0;
    }
}

/* --- steps ---------------------------------------------------------------------------------------- */

static void fill_start(struct connection *c)
{
    c->n_ops = c->n_ended = 0;
    c->out_len = c->out_done = 0;
    c->has_flush = false;
    c->batch_ns = load_now_ns();
    atomic_store(&c->load->begin_ns[c->id], c->batch_ns);
}

void connection_fill(struct connection *c, uint32_t n)
{
    fill_start(c);
    for (uint32_t i = 0; i < n; i++) {
        op_make(c, &c->ops[c->n_ops++]);
    }
}

void connection_fill_final(struct connection *c, uint32_t first, uint32_t n)
{
    fill_start(c);
    for (uint32_t i = 0; i < n; i++) {
        op_make_final(c, &c->ops[c->n_ops++], first + i);
    }
}

bool connection_step(struct connection *c)
{
    if (c->out_done < c->out_len) {
        ssize_t n = write(c->fd, c->out + c->out_done, c->out_len - c->out_done);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            return false;
        }
        c->out_done += n > 0 ? (size_t)n : 0;
    }
    if (c->in_cap - c->in_len < 65536) {
        c->in_cap *= 2;
        c->in = realloc(c->in, c->in_cap);
        if (c->in == NULL) {
            abort();
        }
    }
    ssize_t n = read(c->fd, c->in + c->in_len, c->in_cap - c->in_len);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        return false;
    }
    if (n > 0) {
        c->in_len += (size_t)n;
        judge_replies(c, load_now_ns());
    }
    return true;
}

bool connection_finish(struct connection *c)
{
    while (c->n_ended < c->n_ops) {
        short events = POLLIN | (c->out_done < c->out_len ? POLLOUT : 0);
        struct pollfd p = {.fd = c->fd, .events = events};
        if (poll(&p, 1, REPLY_SECONDS * 1000) <= 0 || !connection_step(c)) {
            return false;
        }
    }
    return true;
}
