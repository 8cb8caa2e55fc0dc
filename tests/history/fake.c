/* One thread, one poll loop, two databases that are plain arrays by key number: just the commands the
 * load sends. A bug strikes one time in some hundred where it can. */
#include "tests/history/fake.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BUG_RATE 300
#define EXPIRY_BUG_RATE 10 /* expiries are rare, and take their time */
#define MAX_KEYS 65536
#define MAX_PEERS 64
#define MAX_ARGS 32

struct bytes {
    char *data;
    size_t len, cap;
};

struct entry {
    bool exists;
    struct bytes value, old; /* old: what it was before the last change */
    int64_t expire_ms;       /* 0: never */
};

struct peer {
    int fd, db;
    struct bytes in, out;
};

struct arg {
    const char *data;
    size_t len;
};

struct fake {
    enum fake_bug bug;
    int listener;
    uint64_t random;
    pthread_t thread;
    _Atomic bool is_stopping;
    struct entry *entries[2];
    struct peer peers[MAX_PEERS];
    unsigned n_peers;
};

/* --- helpers --------------------------------------------------------------------------------------- */

static void bytes_add(struct bytes *b, const void *data, size_t len)
{
    if (b->len + len > b->cap) {
        b->cap = (b->len + len) * 2 + 64;
        b->data = realloc(b->data, b->cap);
        if (b->data == NULL) {
            abort();
        }
    }
    if (len != 0) {
        memcpy(b->data + b->len, data, len);
    }
    b->len += len;
}

static void bytes_set(struct bytes *b, const void *data, size_t len)
{
    b->len = 0;
    bytes_add(b, data, len);
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Whether the chosen bug strikes here. */
static bool strikes(struct fake *f, enum fake_bug bug)
{
    if (f->bug != bug) {
        return false;
    }
    f->random = f->random * UINT64_C(6364136223846793005) + 1442695040888963407;
    unsigned rate = bug == BUG_EXPIRED || bug == BUG_LOST_EXPIRE ? EXPIRY_BUG_RATE : BUG_RATE;
    return (f->random >> 33) % rate == 0;
}

static void say(struct peer *p, const char *text)
{
    bytes_add(&p->out, text, strlen(text));
}

static void say_number(struct peer *p, int64_t n)
{
    char text[32];
    snprintf(text, sizeof(text), ":%lld\r\n", (long long)n);
    say(p, text);
}

static void say_bulk(struct peer *p, const struct bytes *b)
{
    char text[32];
    snprintf(text, sizeof(text), "$%zu\r\n", b->len);
    say(p, text);
    bytes_add(&p->out, b->data, b->len);
    say(p, "\r\n");
}

static struct entry *entry_of(struct fake *f, const struct peer *p, const struct arg *key)
{
    const char *colon = memchr(key->data, ':', key->len);
    unsigned long n = colon == NULL ? 0 : strtoul(colon + 1, NULL, 10);
    struct entry *e = &f->entries[p->db][n % MAX_KEYS];
    if (e->exists && e->expire_ms != 0 && e->expire_ms <= now_ms() && !strikes(f, BUG_EXPIRED)) {
        e->exists = false;
        bytes_set(&e->old, e->value.data, e->value.len);
    }
    return e;
}

static void entry_set(struct entry *e, const void *data, size_t len)
{
    if (e->exists) {
        bytes_set(&e->old, e->value.data, e->value.len);
    }
    bytes_set(&e->value, data, len);
    e->exists = true;
}

static void entry_remove(struct entry *e)
{
    if (e->exists) {
        bytes_set(&e->old, e->value.data, e->value.len);
    }
    e->exists = false;
}

static void say_value(struct fake *f, struct peer *p, struct entry *e)
{
    if (!e->exists && e->old.len != 0 && strikes(f, BUG_RESURRECT)) {
        say_bulk(p, &e->old);
    } else if (!e->exists || strikes(f, BUG_MISS)) {
        say(p, "$-1\r\n");
    } else if (e->old.len != 0 && strikes(f, BUG_STALE)) {
        say_bulk(p, &e->old);
    } else if (e[1].exists && strikes(f, BUG_FOREIGN)) {
        say_bulk(p, &e[1].value);
    } else {
        say_bulk(p, &e->value);
        if (strikes(f, BUG_TORN)) {
            p->out.data[p->out.len - 3 - (f->random >> 40) % e->value.len] ^= 0x40;
        }
    }
}

static bool is_word(const struct arg *a, const char *word)
{
    return a->len == strlen(word) && strncasecmp(a->data, word, a->len) == 0;
}

/* --- commands -------------------------------------------------------------------------------------- */

static void run_set(struct fake *f, struct peer *p, const struct arg *a, unsigned n)
{
    struct entry *e = entry_of(f, p, &a[1]);
    bool is_nx = n == 4 && is_word(&a[3], "NX"), is_get = n == 4 && is_word(&a[3], "GET");
    if (is_get) {
        say_value(f, p, e);
    }
    bool is_wrong = is_nx && e->exists && strikes(f, BUG_NX);
    if (is_nx && e->exists && !is_wrong) {
        say(p, "$-1\r\n");
        return;
    }
    if (!strikes(f, BUG_LOST_SET)) {
        entry_set(e, a[2].data, a[2].len);
        e->expire_ms = n == 5 ? now_ms() + strtoll(a[4].data, NULL, 10) : 0;
    }
    if (!is_get) {
        say(p, is_wrong ? "$-1\r\n" : "+OK\r\n");
    }
}

static void run_expire(struct fake *f, struct peer *p, const struct arg *a)
{
    struct entry *e = entry_of(f, p, &a[1]);
    int64_t unit_ms = is_word(&a[0], "PEXPIRE") ? 1 : 1000;
    if (e->exists && !strikes(f, BUG_LOST_EXPIRE)) {
        e->expire_ms = now_ms() + strtoll(a[2].data, NULL, 10) * unit_ms;
    }
    say_number(p, e->exists);
}

static void run_getex(struct fake *f, struct peer *p, const struct arg *a)
{
    struct entry *e = entry_of(f, p, &a[1]);
    say_value(f, p, e);
    if (is_word(&a[2], "PERSIST")) {
        e->expire_ms = 0;
    } else {
        e->expire_ms = now_ms() + strtoll(a[3].data, NULL, 10) * (is_word(&a[2], "PX") ? 1 : 1000);
    }
}

static void run_append(struct fake *f, struct peer *p, const struct arg *a)
{
    struct entry *e = entry_of(f, p, &a[1]);
    if (!e->exists) {
        entry_set(e, "", 0);
        e->expire_ms = 0;
    } else if (strikes(f, BUG_STALE_APPEND)) {
        bytes_set(&e->value, e->old.data, e->old.len);
    } else if (e->value.len > 0) {
        bytes_set(&e->old, e->value.data, e->value.len);
    }
    if (!strikes(f, BUG_LOST_APPEND) || e->value.len == 0) {
        bytes_add(&e->value, a[2].data, a[2].len);
    }
    if (strikes(f, BUG_DOUBLE_APPEND)) {
        bytes_add(&e->value, a[2].data, a[2].len);
    }
    say_number(p, (int64_t)e->value.len);
}

static void run_incr(struct fake *f, struct peer *p, const struct arg *a)
{
    struct entry *e = entry_of(f, p, &a[1]);
    char text[32] = "";
    if (e->exists) {
        memcpy(text, e->value.data, e->value.len);
    }
    int64_t n = strtoll(text, NULL, 10) + 1;
    int len = snprintf(text, sizeof(text), "%lld", (long long)n);
    if (!strikes(f, BUG_LOST_INCR)) {
        entry_set(e, text, (size_t)len);
    }
    say_number(p, n);
}

static void run_flush(struct fake *f, int db)
{
    for (unsigned i = 0; i < MAX_KEYS; i++) {
        if (f->entries[db][i].exists && !strikes(f, BUG_FLUSH)) {
            entry_remove(&f->entries[db][i]);
        }
    }
}

static void run_getrange(struct fake *f, struct peer *p, const struct arg *a)
{
    struct entry *e = entry_of(f, p, &a[1]);
    size_t end = strtoul(a[3].data, NULL, 10) + 1;
    struct bytes part = e->value;
    part.len = !e->exists ? 0 : end < part.len ? end : part.len;
    say_bulk(p, &part);
}

static void run_many(struct fake *f, struct peer *p, const struct arg *a, unsigned n)
{
    if (is_word(&a[0], "MGET")) {
        char text[32];
        snprintf(text, sizeof(text), "*%u\r\n", n - 1);
        say(p, text);
        for (unsigned i = 1; i < n; i++) {
            say_value(f, p, entry_of(f, p, &a[i]));
        }
        return;
    }
    for (unsigned i = 1; i + 1 < n; i += 2) {
        struct entry *e = entry_of(f, p, &a[i]);
        entry_set(e, a[i + 1].data, a[i + 1].len);
        e->expire_ms = 0;
    }
    say(p, "+OK\r\n");
}

static void run_key(struct fake *f, struct peer *p, const struct arg *a)
{
    struct entry *e = entry_of(f, p, &a[1]);
    if (is_word(&a[0], "GET")) {
        say_value(f, p, e);
    } else if (is_word(&a[0], "GETDEL")) {
        say_value(f, p, e);
        entry_remove(e);
    } else if (is_word(&a[0], "EXISTS")) {
        say_number(p, e->exists);
    } else if (is_word(&a[0], "PERSIST")) {
        say_number(p, e->exists && e->expire_ms != 0);
        e->expire_ms = 0;
    } else if (is_word(&a[0], "DEL") || is_word(&a[0], "UNLINK")) {
        say_number(p, e->exists);
        if (!strikes(f, BUG_LOST_DEL)) {
            entry_remove(e);
        }
    } else {
        say(p, "-ERR unknown command\r\n");
    }
}

static void run(struct fake *f, struct peer *p, const struct arg *a, unsigned n)
{
    if (is_word(&a[0], "SELECT")) {
        p->db = a[1].data[0] == '1';
        say(p, "+OK\r\n");
    } else if (is_word(&a[0], "FLUSHALL")) {
        run_flush(f, 0);
        run_flush(f, 1);
        say(p, "+OK\r\n");
    } else if (is_word(&a[0], "FLUSHDB")) {
        run_flush(f, p->db);
        say(p, "+OK\r\n");
    } else if (is_word(&a[0], "SET")) {
        run_set(f, p, a, n);
    } else if (is_word(&a[0], "EXPIRE") || is_word(&a[0], "PEXPIRE")) {
        run_expire(f, p, a);
    } else if (is_word(&a[0], "GETEX")) {
        run_getex(f, p, a);
    } else if (is_word(&a[0], "APPEND")) {
        run_append(f, p, a);
    } else if (is_word(&a[0], "INCR")) {
        run_incr(f, p, a);
    } else if (is_word(&a[0], "GETRANGE")) {
        run_getrange(f, p, a);
    } else if (is_word(&a[0], "MGET") || is_word(&a[0], "MSET")) {
        run_many(f, p, a, n);
    } else {
        run_key(f, p, a);
    }
}

/* --- the loop -------------------------------------------------------------------------------------- */

/* Length of the complete request at the buffer's beginning, or 0. */
static size_t request_read(const struct bytes *in, struct arg *args, unsigned *n_args)
{
    const char *p = in->data, *end = in->data + in->len;
    if (in->len == 0 || (p = memchr(p, '\n', in->len)) == NULL) {
        return 0;
    }
    *n_args = (unsigned)strtoul(in->data + 1, NULL, 10);
    p++;
    for (unsigned i = 0; i < *n_args && i < MAX_ARGS; i++) {
        const char *eol = p < end ? memchr(p, '\n', (size_t)(end - p)) : NULL;
        if (eol == NULL) {
            return 0;
        }
        args[i].len = strtoul(p + 1, NULL, 10);
        args[i].data = eol + 1;
        if ((size_t)(end - args[i].data) < args[i].len + 2) {
            return 0;
        }
        p = args[i].data + args[i].len + 2;
    }
    return (size_t)(p - in->data);
}

/* False: the peer has gone. */
static bool peer_serve(struct fake *f, struct peer *p)
{
    char buffer[65536];
    ssize_t n = recv(p->fd, buffer, sizeof(buffer), MSG_DONTWAIT);
    if (n == 0) {
        return false;
    }
    bytes_add(&p->in, buffer, n > 0 ? (size_t)n : 0);
    struct bytes rest = p->in;
    struct arg args[MAX_ARGS];
    unsigned n_args;
    for (size_t used; (used = request_read(&rest, args, &n_args)) != 0;) {
        run(f, p, args, n_args);
        rest.data += used;
        rest.len -= used;
    }
    memmove(p->in.data, rest.data, rest.len);
    p->in.len = rest.len;
    n = p->out.len == 0 ? 0 : send(p->fd, p->out.data, p->out.len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0) {
        memmove(p->out.data, p->out.data + n, p->out.len - (size_t)n);
        p->out.len -= (size_t)n;
    }
    return true;
}

static void peer_close(struct peer *p)
{
    close(p->fd);
    free(p->in.data);
    free(p->out.data);
    memset(p, 0, sizeof(*p));
    p->fd = -1;
}

static void *fake_main(void *arg)
{
    struct fake *f = arg;
    while (!f->is_stopping) {
        struct pollfd polls[MAX_PEERS + 1];
        for (unsigned i = 0; i < f->n_peers; i++) {
            polls[i].fd = f->peers[i].fd;
            polls[i].events = POLLIN | (f->peers[i].out.len > 0 ? POLLOUT : 0);
        }
        polls[f->n_peers] = (struct pollfd){.fd = f->listener, .events = POLLIN};
        if (poll(polls, f->n_peers + 1, 20) <= 0) {
            continue;
        }
        for (unsigned i = 0; i < f->n_peers; i++) {
            if (polls[i].fd >= 0 && polls[i].revents != 0 && !peer_serve(f, &f->peers[i])) {
                peer_close(&f->peers[i]);
            }
        }
        if (polls[f->n_peers].revents != 0 && f->n_peers < MAX_PEERS) {
            int fd = accept(f->listener, NULL, NULL);
            f->peers[f->n_peers++] = (struct peer){.fd = fd};
        }
    }
    return NULL;
}

struct fake *fake_start(enum fake_bug bug, int *port_out)
{
    struct fake *f = calloc(1, sizeof(*f));
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    if (f == NULL) {
        abort();
    }
    f->bug = bug;
    f->random = 88172645463325252u + bug;
    f->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(f->listener, (struct sockaddr *)&address, len) != 0 || listen(f->listener, 64) != 0 ||
        getsockname(f->listener, (struct sockaddr *)&address, &len) != 0) {
        perror("fake server");
        exit(2);
    }
    *port_out = ntohs(address.sin_port);
    for (unsigned db = 0; db < 2; db++) {
        f->entries[db] = calloc(MAX_KEYS + 1, sizeof(struct entry));
        if (f->entries[db] == NULL) {
            abort();
        }
    }
    pthread_create(&f->thread, NULL, fake_main, f);
    return f;
}

void fake_stop(struct fake **fake)
{
    struct fake *f = *fake;
    f->is_stopping = true;
    pthread_join(f->thread, NULL);
    for (unsigned i = 0; i < f->n_peers; i++) {
        if (f->peers[i].fd >= 0) {
            peer_close(&f->peers[i]);
        }
    }
    for (unsigned db = 0; db < 2; db++) {
        for (unsigned i = 0; i <= MAX_KEYS; i++) {
            free(f->entries[db][i].value.data);
            free(f->entries[db][i].old.data);
        }
        free(f->entries[db]);
    }
    close(f->listener);
    free(f);
    *fake = NULL;
}
