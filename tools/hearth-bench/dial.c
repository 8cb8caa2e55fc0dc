/*
 * The greeting is done before the load begins and with blocking calls, so that a wrong port, a
 * missing password or another protocol ends the run with one line instead of a thousand errors.
 */
#include "tools/hearth-bench/dial.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "tools/hearth-bench/wire.h"

#define GREETING_SECONDS 10

static void name_target(const struct bench_config *config, char *out, size_t n)
{
    if (config->unix_path != NULL) {
        snprintf(out, n, "%s", config->unix_path);
    } else {
        snprintf(out, n, "%s port %u", config->host, (unsigned)config->port);
    }
}

static int dial_unix(const struct bench_config *config)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(config->unix_path) >= sizeof(address.sun_path)) {
        bench_die("--unix: the path is longer than %zu bytes", sizeof(address.sun_path) - 1);
    }
    strcpy(address.sun_path, config->unix_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static int dial_tcp(const struct bench_config *config)
{
    char port[8];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    snprintf(port, sizeof(port), "%u", (unsigned)config->port);
    int status = getaddrinfo(config->host, port, &hints, &found);
    if (status != 0) {
        bench_die("host '%s': %s", config->host, gai_strerror(status));
    }
    int fd = -1;
    int error = 0;
    for (struct addrinfo *at = found; at != NULL && fd < 0; at = at->ai_next) {
        fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);
        if (fd >= 0 && connect(fd, at->ai_addr, at->ai_addrlen) != 0) {
            error = errno;
            close(fd);
            fd = -1;
        } else if (fd < 0) {
            error = errno;
        }
    }
    freeaddrinfo(found);
    if (fd >= 0) {
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    }
    errno = error;
    return fd;
}

/* Sends one command and reads its one-line reply. */
static void ask(const struct bench_config *config, int fd, const char *what, const char *command)
{
    char target[160];
    char line[512];
    size_t n = 0;
    struct reply reply = {.kind = REPLY_PARTIAL};
    name_target(config, target, sizeof(target));
    if (send(fd, command, strlen(command), MSG_NOSIGNAL) != (ssize_t)strlen(command)) {
        bench_die("%s: %s: %s", target, what, strerror(errno));
    }
    while (reply.kind == REPLY_PARTIAL && n < sizeof(line)) {
        ssize_t got = recv(fd, line + n, sizeof(line) - n, 0);
        if (got <= 0) {
            bench_die("%s: no reply to %s: %s; does it speak %s?", target, what,
                      got == 0                                  ? "it closed the connection"
                      : errno == EAGAIN || errno == EWOULDBLOCK ? "timed out"
                                                                : strerror(errno),
                      config->protocol == PROTOCOL_RESP ? "Redis' protocol (--protocol)"
                                                        : "memcached's text protocol (--protocol)");
        }
        n += (size_t)got;
        wire_parse(config->protocol, line, n, &reply);
    }
    if (reply.kind == REPLY_ERROR) {
        bool wants_password = reply.n_data >= 6 && memcmp(reply.data, "NOAUTH", 6) == 0;
        bench_die("%s answered %s with: %.*s%s", target, what, (int)reply.n_data, reply.data,
                  wants_password ? " (give --auth)" : "");
    }
    if (reply.kind != REPLY_OK) {
        size_t shown = strcspn(line, "\r\n");
        bench_die("%s answered %s with '%.*s': not this protocol; see --protocol", target, what,
                  (int)(shown < n && shown < 80 ? shown
                        : n < 80                ? n
                                                : 80),
                  line);
    }
}

static void greet(const struct bench_config *config, int fd)
{
    char command[1024];
    if (config->protocol != PROTOCOL_RESP) {
        ask(config, fd, "version", "version\r\n");
        return;
    }
    if (config->password != NULL) {
        int n = snprintf(command, sizeof(command), "*2\r\n$4\r\nAUTH\r\n$%zu\r\n%s\r\n",
                         strlen(config->password), config->password);
        if (n < 0 || (size_t)n >= sizeof(command)) {
            bench_die("--auth: the password is too long");
        }
        ask(config, fd, "AUTH", command);
    }
    if (config->database != 0) {
        char number[24];
        int n = snprintf(number, sizeof(number), "%llu", (unsigned long long)config->database);
        snprintf(command, sizeof(command), "*2\r\n$6\r\nSELECT\r\n$%d\r\n%s\r\n", n, number);
        ask(config, fd, "SELECT", command);
    }
    ask(config, fd, "PING", "*1\r\n$4\r\nPING\r\n");
}

int dial(const struct bench_config *config)
{
    int fd = config->unix_path != NULL ? dial_unix(config) : dial_tcp(config);
    if (fd < 0) {
        char target[160];
        int error = errno;
        name_target(config, target, sizeof(target));
        bench_die("cannot connect to %s: %s%s", target, strerror(error),
                  error == ECONNREFUSED ? " (is the server running?)"
                  : error == EMFILE     ? " (raise ulimit -n)"
                                        : "");
    }
    struct timeval patience = {.tv_sec = GREETING_SECONDS};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    greet(config, fd);
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0) {
        bench_die("fcntl: %s", strerror(errno));
    }
    return fd;
}
