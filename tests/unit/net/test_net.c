#include "net/net.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/base/options.h"
#include "engine/base/provider.h"
#include "tests/support/unit.h"

/* The network layer on a real engine, two workers, over a Unix socket. */
struct server {
    char dir[64];
    char socket_path[80];
    struct engine *engine;
    struct net *net;
    _Atomic int shutdowns; /* 1 + keep_data */
};

static void set_option(const char *name, const char *value)
{
    char error[OPTION_ERROR_MAX];
    enum option_id id;
    ck_assert_int_eq(option_lookup(name, &id), OK);
    ck_assert_msg(option_set(id, value, error) == OK, "%s", error);
}

static void on_shutdown(void *arg, bool keep_data)
{
    struct server *s = arg;
    s->shutdowns = 1 + keep_data;
}

static void server_open(struct server *s)
{
    char error[ENGINE_ERROR_MAX];
    (void)signal(SIGPIPE, SIG_IGN);
    memset(s, 0, sizeof(*s));
    options_init();
    strcpy(s->dir, "/tmp/hearth-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(s->dir));
    (void)snprintf(s->socket_path, sizeof(s->socket_path), "%s/socket", s->dir);
    set_option("dir", s->dir);
    set_option("memory", "64mb");
    set_option("warm-size", "64mb");
    set_option("port", "0");
    set_option("unixsocket", s->socket_path);
    ck_assert_msg(engine_open(2, &s->engine, error) == OK, "%s", error);
    struct net_config config = {.engine = s->engine,
                                .n_workers = 2,
                                .on_shutdown = on_shutdown,
                                .arg = s};
    ck_assert_msg(net_start(&config, &s->net, error) == OK, "%s", error);
}

static void server_close(struct server *s)
{
    char command[128];
    net_stop(&s->net);
    ck_assert_uint_eq(engine_client_memory_used(), 0);
    ck_assert_int_eq(engine_close(&s->engine, true), OK);
    (void)snprintf(command, sizeof(command), "rm -rf %s", s->dir);
    ck_assert_int_eq(system(command), 0);
}

static int dial(struct server *s)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, s->socket_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    size_t len = strlen(text);
    ck_assert_int_eq(write(fd, text, len), (ssize_t)len);
}

/* Reads exactly that. */
static void hear(int fd, const char *expected)
{
    char got[4096];
    size_t len = strlen(expected);
    size_t n = 0;
    while (n < len) {
        ssize_t part = read(fd, got + n, len - n);
        ck_assert_msg(part > 0, "after %zu bytes of %s", n, expected);
        n += (size_t)part;
    }
    got[n] = '\0';
    ck_assert_str_eq(got, expected);
}

static void hear_end(int fd)
{
    char byte;
    ssize_t n = read(fd, &byte, 1);
    ck_assert(n == 0 || (n < 0 && errno == ECONNRESET));
    close(fd);
}

START_TEST(serves_a_pipeline_in_one_go)
{
    struct server s;
    server_open(&s);
    int fd = dial(&s);
    say(fd, "SET k v\r\nGET k\r\nPING\r\nINCR n\r\nFOO\r\nMGET k x n\r\n");
    hear(fd,
         "+OK\r\n$1\r\nv\r\n+PONG\r\n:1\r\n-ERR unknown command 'FOO', with args beginning with: "
         "\r\n*3\r\n$1\r\nv\r\n$-1\r\n$1\r\n1\r\n");
    say(fd, "QUIT\r\nPING\r\n");
    hear(fd, "+OK\r\n");
    hear_end(fd);
    server_close(&s);
}
END_TEST

/* A pipeline of cold and hot keys, answered in order; the peer has finished sending. */
START_TEST(answers_parked_commands_in_order_and_after_eof)
{
    struct server s;
    server_open(&s);
    int fd = dial(&s);
    say(fd, "SET a 1\r\nSET b 2\r\nSET c 3\r\nHEARTH DEMOTE a\r\nHEARTH DEMOTE c\r\n");
    hear(fd, "+OK\r\n+OK\r\n+OK\r\n:1\r\n:1\r\n");
    say(fd, "GET a\r\nGET b\r\nGET c\r\nAPPEND a x\r\nGET a\r\n");
    ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
    hear(fd, "$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n:2\r\n$2\r\n1x\r\n");
    hear_end(fd);
    server_close(&s);
}
END_TEST

/* Connections that go while their command waits for the device. */
START_TEST(clients_go_while_parked)
{
    struct server s;
    server_open(&s);
    for (int i = 0; i < 300; i++) {
        int fd = dial(&s);
        char text[128]; /* a key each: what is received is run, although its client has gone */
        (void)snprintf(text, sizeof(text), "SET k%d value\r\nHEARTH DEMOTE k%d\r\n", i, i);
        say(fd, text);
        hear(fd, "+OK\r\n:1\r\n");
        (void)snprintf(text, sizeof(text), "GET k%d\r\nGET k%d\r\nDEL k%d\r\n", i, i, i);
        say(fd, text);
        struct linger reset = {.l_onoff = 1, .l_linger = 0};
        if (i % 2 == 0) {
            (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        }
        close(fd);
    }
    int fd = dial(&s);
    say(fd, "PING\r\n");
    hear(fd, "+PONG\r\n");
    close(fd);
    server_close(&s);
}
END_TEST

/* More replies than the socket takes, requests that come before anything is read: nothing is lost. */
START_TEST(a_late_reader_gets_everything)
{
    enum { N = 400, SIZE = 20000 };
    struct server s;
    server_open(&s);
    int fd = dial(&s);
    char *value = malloc(SIZE + 1);
    memset(value, 'v', SIZE);
    value[SIZE] = '\0';
    say(fd, "SET k ");
    say(fd, value);
    say(fd, "\r\n");
    hear(fd, "+OK\r\n");
    for (int i = 0; i < N; i++) {
        say(fd, "GET k\r\n");
    }
    usleep(200000);
    size_t want = (size_t)N * (SIZE + strlen("$20000\r\n\r\n"));
    char *got = malloc(want);
    for (size_t n = 0; n < want;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ck_assert_int_eq(poll(&p, 1, 10000), 1);
        ssize_t part = read(fd, got + n, want - n);
        ck_assert_int_gt(part, 0);
        n += (size_t)part;
    }
    ck_assert_mem_eq(got + want - SIZE - 12, "\r\n$20000\r\nvv", 12);
    close(fd);
    free(got);
    free(value);
    server_close(&s);
}
END_TEST

START_TEST(protocol_errors_are_heard)
{
    struct server s;
    server_open(&s);
    int fd = dial(&s);
    say(fd, "*1\r\n$536870913\r\n");
    hear(fd, "-ERR Protocol error: invalid bulk length\r\n");
    hear_end(fd);
    fd = dial(&s);
    say(fd, "POST / HTTP/1.1\r\nHost: x\r\n");
    hear_end(fd);
    server_close(&s);
}
END_TEST

START_TEST(kills_reach_other_workers)
{
    struct server s;
    server_open(&s);
    int fds[6];
    for (int i = 0; i < 6; i++) {
        fds[i] = dial(&s);
        say(fds[i], "PING\r\n");
        hear(fds[i], "+PONG\r\n");
    }
    say(fds[0], "CLIENT KILL TYPE normal\r\n");
    hear(fds[0], ":5\r\n");
    for (int i = 1; i < 6; i++) {
        hear_end(fds[i]);
    }
    say(fds[0], "CLIENT KILL TYPE normal SKIPME no\r\n");
    hear(fds[0], ":1\r\n");
    hear_end(fds[0]);
    server_close(&s);
}
END_TEST

static void *churn(void *arg)
{
    struct server *s = arg;
    for (int i = 0; i < 150; i++) {
        int fd = dial(s);
        char reply[64];
        say(fd, i % 3 == 0 ? "CLIENT LIST\r\n" : "CLIENT SETNAME me\r\nINCR n\r\nCLIENT INFO\r\n");
        if (i % 2 == 0) {
            (void)!read(fd, reply, sizeof(reply));
        }
        close(fd);
    }
    return NULL;
}

/* Connections come and go while others list, kill and count them. */
START_TEST(many_threads_at_once)
{
    struct server s;
    pthread_t threads[4];
    server_open(&s);
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, churn, &s), 0);
    }
    for (int i = 0; i < 20; i++) {
        int fd = dial(&s);
        char reply[100000];
        say(fd, "INFO everything\r\nCLIENT LIST\r\nCONFIG SET slowlog-log-slower-than 0\r\n"
                "CONFIG RESETSTAT\r\nSLOWLOG GET\r\n");
        ck_assert_int_gt(read(fd, reply, sizeof(reply)), 0);
        close(fd);
    }
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    }
    server_close(&s);
}
END_TEST

START_TEST(shutdown_is_told_once)
{
    struct server s;
    server_open(&s);
    int fd = dial(&s);
    say(fd, "SHUTDOWN ABORT\r\nSHUTDOWN NOSAVE SAVE\r\nSHUTDOWN NOSAVE\r\nPING\r\n");
    hear(fd, "-ERR No shutdown in progress.\r\n-ERR syntax error\r\n+PONG\r\n");
    ck_assert_int_eq(s.shutdowns, 1);
    close(fd);
    server_close(&s);
}
END_TEST

/* --- providers ---------------------------------------------------------------------------------- */

struct seen {
    int rows;
    char names[256];
};

static void row_begin(void *arg)
{
    ((struct seen *)arg)->rows++;
}

static void row_end(void *arg)
{
}

static void text(void *arg, const char *name, const char *data, size_t len)
{
    struct seen *seen = arg;
    if (strcmp(name, "name") == 0 && len > 0) {
        strncat(seen->names, data, len);
    }
}

static void integer(void *arg, const char *name, int64_t value)
{
}

static void number(void *arg, const char *name, double value)
{
}

static void boolean(void *arg, const char *name, bool value)
{
}

START_TEST(others_may_read_clients_and_slow_log)
{
    struct server s;
    server_open(&s);
    int fd = dial(&s);
    say(fd, "CONFIG SET slowlog-log-slower-than 0\r\nCLIENT SETNAME me\r\nPING\r\n");
    hear(fd, "+OK\r\n+OK\r\n+PONG\r\n");
    struct seen seen = {0};
    struct provider_visitor v = {row_begin, text, integer, number, boolean, row_end, &seen};
    ck_assert_int_eq(provider_read("clients", &v), OK);
    ck_assert_int_eq(seen.rows, 1);
    ck_assert_str_eq(seen.names, "me");
    seen.rows = 0;
    ck_assert_int_eq(provider_read("slowlog", &v), OK);
    ck_assert_int_ge(seen.rows, 2);
    close(fd);
    server_close(&s);
    ck_assert_int_eq(provider_read("clients", &v), NOT_FOUND);
}
END_TEST

START_TEST(a_taken_address_is_refused_in_words)
{
    struct server s;
    char error[NET_ERROR_MAX];
    server_open(&s);
    set_option("unixsocket", "");
    set_option("bind", "256.1.1.1");
    set_option("port", "1");
    net_stop(&s.net);
    struct net_config config = {.engine = s.engine,
                                .n_workers = 2,
                                .on_shutdown = on_shutdown,
                                .arg = &s};
    ck_assert_int_ne(net_start(&config, &s.net, error), OK);
    ck_assert_ptr_null(s.net);
    ck_assert_ptr_nonnull(strstr(error, "256.1.1.1"));
    server_close(&s);
}
END_TEST

UNIT_MAIN("net", {serves_a_pipeline_in_one_go}, {answers_parked_commands_in_order_and_after_eof},
          {clients_go_while_parked}, {a_late_reader_gets_everything}, {protocol_errors_are_heard},
          {kills_reach_other_workers}, {many_threads_at_once}, {shutdown_is_told_once},
          {others_may_read_clients_and_slow_log}, {a_taken_address_is_refused_in_words})
