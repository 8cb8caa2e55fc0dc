/*
 * Listening sockets and the first decision about a connection: too many, not from here, or which
 * worker. All of it runs on worker 0.
 *
 * When descriptors run out, accept(2) fails while the listener stays readable: a loop would spin.
 * One spare descriptor is kept to accept and close such connections at once; if even that fails the
 * listeners pause for a tick.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/metrics.h"
#include "engine/base/options.h"
#include "net/loop.h"

#define ACCEPTS_PER_EVENT 256 /* new connections before the served ones have their turn */
#define BIND_MAX 2048

static const char too_many[] = "-ERR max number of clients reached\r\n";
static const char protected_mode[] =
    "-DENIED Redis is running in protected mode because protected mode is enabled and no password "
    "is set for the default user. In this mode connections are only accepted from the loopback "
    "interface. If you want to connect from external computers to Redis you may adopt one of the "
    "following solutions: 1) Just disable protected mode sending the command 'CONFIG SET "
    "protected-mode no' from the loopback interface by connecting to Redis from the same host the "
    "server is running, however MAKE SURE Redis is not publicly accessible from internet if you do "
    "so. Use CONFIG REWRITE to make this change permanent. 2) Alternatively you can just disable "
    "the protected mode by editing the Redis configuration file, and setting the protected mode "
    "option to 'no', and then restarting the server. 3) If you started the server manually just "
    "for "
    "testing, restart it with the '--protected-mode no' option. 4) Setup a an authentication "
    "password for the default user. NOTE: You only need to do one of the above things in order for "
    "the server to start accepting connections from the outside.\r\n";

/* --- new connections ---------------------------------------------------------------------------- */

struct arrival {
    struct mail mail;
    struct worker *worker;
    struct client_peer peer;
    int fd;
};

static void run_arrival(struct mail *mail)
{
    struct arrival *a = (struct arrival *)mail;
    if (a->worker->is_stopping) {
        close(a->fd);
    } else {
        client_accept(a->worker, a->fd, &a->peer);
    }
    mem_free(a);
}

static void deal(struct net *net, int fd, const struct client_peer *peer)
{
    struct worker *w = &net->workers[net->next_worker];
    net->next_worker = (net->next_worker + 1) % net->n_workers;
    if (w->id == 0) {
        client_accept(w, fd, peer);
        return;
    }
    struct arrival *a = mem_zalloc(1, sizeof(*a));
    if (a == NULL) {
        close(fd);
        atomic_fetch_sub_explicit(&net->n_clients, 1, memory_order_relaxed);
        return;
    }
    a->mail.run = run_arrival;
    a->worker = w;
    a->peer = *peer;
    a->fd = fd;
    mailbox_post(&w->mailbox, &a->mail);
}

static void turn_away(int fd, const char *text, size_t len)
{
    /* Best effort: a fresh socket has room for a line. */
    if (write(fd, text, len) < 0) {
        log_debug("net", "refusal not sent", "errno=%d", errno);
    }
    close(fd);
}

static bool is_loopback(const struct client_peer *peer)
{
    if (peer->any.sa_family == AF_INET) {
        return (ntohl(peer->v4.sin_addr.s_addr) >> 24) == 127;
    }
    if (peer->any.sa_family == AF_INET6) {
        const struct in6_addr *a = &peer->v6.sin6_addr;
        return IN6_IS_ADDR_LOOPBACK(a) || (IN6_IS_ADDR_V4MAPPED(a) && a->s6_addr[12] == 127);
    }
    return true;
}

static bool is_protected(const struct client_peer *peer)
{
    char first[1];
    return option_i64(OPT_PROTECTED_MODE) != 0 && !is_loopback(peer) &&
           option_str(OPT_REQUIREPASS, first, sizeof(first)) == 0;
}

static void reject(struct net *net, int fd, const char *text, size_t len)
{
    atomic_fetch_add_explicit(&net->n_rejected, 1, memory_order_relaxed);
    metric_add(M_CONN_CLOSED_LIMIT, 1);
    turn_away(fd, text, len);
}

/* False: maxclients are there. */
static bool admit(struct net *net, int fd, const struct client_peer *peer)
{
    uint64_t n = atomic_fetch_add_explicit(&net->n_clients, 1, memory_order_relaxed);
    if (n >= (uint64_t)option_i64(OPT_MAXCLIENTS)) {
        atomic_fetch_sub_explicit(&net->n_clients, 1, memory_order_relaxed);
        return false;
    }
    deal(net, fd, peer);
    return true;
}

static void welcome(struct net *net, int fd, const struct client_peer *peer)
{
    metric_add(M_CONNECTIONS_ACCEPTED, 1);
    if (is_protected(peer)) {
        reject(net, fd, protected_mode, sizeof(protected_mode) - 1);
    } else if (!admit(net, fd, peer)) {
        if (net->n_in_doubt < NET_DOUBT_MAX) {
            net->in_doubt[net->n_in_doubt++] = (struct doubt){.fd = fd, .peer = *peer};
        } else {
            reject(net, fd, too_many, sizeof(too_many) - 1);
        }
    }
}

/* A client that closes one connection and opens the next may be seen here before the worker of the old
 * one has seen it go: whoever is one too many has a second chance at the next tick. */
static void settle_doubts(struct net *net)
{
    for (unsigned i = 0; i < net->n_in_doubt; i++) {
        const struct doubt *d = &net->in_doubt[i];
        if (!admit(net, d->fd, &d->peer)) {
            reject(net, d->fd, too_many, sizeof(too_many) - 1);
        }
    }
    net->n_in_doubt = 0;
}

/* --- without descriptors -------------------------------------------------------------------------- */

static void take_spare(struct net *net)
{
    net->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void pause_accepting(struct net *net)
{
    net->accept_paused_ms = net->workers[0].now_ms;
    for (unsigned i = 0; i < net->n_listeners; i++) {
        (void)event_del(net->listeners[i].event);
    }
}

/* True: one connection was shed, try the next. */
static bool shed(struct net *net, int listen_fd)
{
    log_warn("net", "out of file descriptors", "clients=%lu action=closing new connections",
             (unsigned long)atomic_load_explicit(&net->n_clients, memory_order_relaxed));
    if (net->spare_fd >= 0) {
        close(net->spare_fd);
        int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            atomic_fetch_add_explicit(&net->n_rejected, 1, memory_order_relaxed);
            turn_away(fd, too_many, sizeof(too_many) - 1);
        }
        take_spare(net);
        if (fd >= 0 && net->spare_fd >= 0) {
            return true;
        }
    }
    pause_accepting(net);
    return false;
}

void listen_tick(struct net *net, int64_t now_ms)
{
    settle_doubts(net);
    if (net->accept_paused_ms != 0 && now_ms > net->accept_paused_ms) {
        net->accept_paused_ms = 0;
        if (net->spare_fd < 0) {
            take_spare(net);
        }
        for (unsigned i = 0; i < net->n_listeners; i++) {
            (void)event_add(net->listeners[i].event, NULL);
        }
    }
}

static void on_connection(evutil_socket_t listen_fd, short what, void *arg)
{
    struct net *net = arg;
    for (int i = 0; i < ACCEPTS_PER_EVENT; i++) {
        struct client_peer peer;
        memset(&peer, 0, sizeof(peer));
        peer.any.sa_family = AF_UNIX;
        socklen_t len = sizeof(peer);
        int fd = accept4(listen_fd, &peer.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            welcome(net, fd, &peer);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            if (!shed(net, listen_fd)) {
                return;
            }
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        } /* ECONNABORTED, EINTR and what the network did to it meanwhile: the next one */
    }
}

/* --- sockets ------------------------------------------------------------------------------------ */

static struct listener *add_listener(struct net *net, int fd, bool is_unix)
{
    struct listener *l = &net->listeners[net->n_listeners++];
    l->fd = fd;
    l->is_unix = is_unix;
    return l;
}

/* Returns the descriptor or -errno. */
static int open_tcp(const struct addrinfo *ai)
{
    int one = 1;
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (ai->ai_family == AF_INET6) {
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    }
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) != 0 ||
        listen(fd, (int)option_i64(OPT_TCP_BACKLOG)) != 0) {
        int err = errno;
        close(fd);
        return -err;
    }
    return fd;
}

static bool is_no_such_protocol(int err)
{
    return err == EAFNOSUPPORT || err == EPROTONOSUPPORT || err == ESOCKTNOSUPPORT ||
           err == EPFNOSUPPORT || err == ENOPROTOOPT;
}

/* May the server start without this address? ::1 is missing in many containers. */
static bool is_missable(const char *host, bool is_optional, int err)
{
    return is_no_such_protocol(err) ||
           (err == EADDRNOTAVAIL && (is_optional || strcmp(host, "::1") == 0));
}

static enum status listen_tcp(struct net *net, const char *word, char *error_out)
{
    bool is_optional = word[0] == '-';
    const char *host = word + is_optional;
    const char *numeric = strcmp(host, "*") == 0     ? "0.0.0.0"
                          : strcmp(host, "::*") == 0 ? "::"
                                                     : host;
    char port[8];
    (void)snprintf(port, sizeof(port), "%d", (int)option_i64(OPT_PORT));
    struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM};
    struct addrinfo *ai = NULL;
    int err = getaddrinfo(numeric, port, &hints, &ai);
    if (err != 0) {
        (void)snprintf(error_out, NET_ERROR_MAX,
                       "bind: \"%.64s\" is no address of this machine: %s", host,
                       gai_strerror(err));
        return is_optional ? NOT_FOUND : INVALID;
    }
    int fd = open_tcp(ai);
    int family = ai->ai_family;
    freeaddrinfo(ai);
    if (fd < 0) {
        (void)snprintf(error_out, NET_ERROR_MAX, "cannot listen on %.64s port %s: %s%s", host, port,
                       strerror(-fd),
                       fd == -EADDRINUSE ? " (is a server running there? choose another --port)"
                                         : "");
        return is_missable(host, is_optional, -fd) ? NOT_FOUND : status_from_errno(-fd);
    }
    struct listener *l = add_listener(net, fd, false);
    (void)snprintf(l->address, sizeof(l->address), family == AF_INET6 ? "[%.64s]:%s" : "%.64s:%s",
                   numeric, port);
    return OK;
}

static enum status listen_unix(struct net *net, char *error_out)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = option_str(OPT_UNIXSOCKET, address.sun_path, sizeof(address.sun_path));
    if (len == 0) {
        return OK;
    }
    if (len >= sizeof(address.sun_path)) {
        (void)snprintf(error_out, NET_ERROR_MAX, "unixsocket: the path is longer than %zu bytes",
                       sizeof(address.sun_path) - 1);
        return INVALID;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    (void)unlink(address.sun_path); /* what a crash left */
    char perm[16];
    (void)option_text(OPT_UNIXSOCKETPERM, perm, sizeof(perm));
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        chmod(address.sun_path, (mode_t)strtoul(perm, NULL, 8)) != 0 ||
        listen(fd, (int)option_i64(OPT_TCP_BACKLOG)) != 0) {
        int err = errno;
        (void)snprintf(error_out, NET_ERROR_MAX, "cannot listen on %s: %s", address.sun_path,
                       strerror(err));
        if (fd >= 0) {
            close(fd);
        }
        return status_from_errno(err);
    }
    struct listener *l = add_listener(net, fd, true);
    (void)snprintf(l->address, sizeof(l->address), "%s", address.sun_path);
    return OK;
}

enum status listen_open(struct net *net, char *error_out)
{
    enum status st = OK;
    char text[BIND_MAX];
    char last_error[NET_ERROR_MAX] = "";
    size_t len = option_str(OPT_BIND, text, sizeof(text));
    if (len >= sizeof(text)) {
        (void)snprintf(error_out, NET_ERROR_MAX, "bind: too long");
        return INVALID;
    }
    char *save = NULL;
    char *word = option_i64(OPT_PORT) == 0 ? NULL : strtok_r(text, " ", &save);
    for (; word != NULL; word = strtok_r(NULL, " ", &save)) {
        if (net->n_listeners == NET_LISTENERS_MAX - 1) {
            (void)snprintf(error_out, NET_ERROR_MAX, "bind: too many addresses");
            return INVALID;
        }
        st = listen_tcp(net, word, error_out);
        if (st == NOT_FOUND) {
            log_warn("net", "address skipped", "why=\"%s\"", error_out);
            memcpy(last_error, error_out, sizeof(last_error));
            st = OK;
        }
        if (st != OK) {
            return st;
        }
    }
    TRY(listen_unix(net, error_out));
    if (net->n_listeners == 0 && option_i64(OPT_PORT) != 0) {
        (void)snprintf(error_out, NET_ERROR_MAX, "%s",
                       last_error[0] != '\0' ? last_error : "bind: no address");
        st = INVALID;
    }
    take_spare(net);
out:
    return st;
}

enum status listen_start(struct net *net, struct worker *w)
{
    for (unsigned i = 0; i < net->n_listeners; i++) {
        struct listener *l = &net->listeners[i];
        l->event = event_new(w->base, l->fd, EV_READ | EV_PERSIST, on_connection, net);
        if (l->event == NULL || event_add(l->event, NULL) != 0) {
            return NO_MEMORY;
        }
    }
    return OK;
}

void listen_close(struct net *net)
{
    for (; net->n_in_doubt > 0; net->n_in_doubt--) {
        close(net->in_doubt[net->n_in_doubt - 1].fd);
    }
    for (unsigned i = 0; i < net->n_listeners; i++) {
        struct listener *l = &net->listeners[i];
        if (l->event != NULL) {
            event_free(l->event);
        }
        close(l->fd);
        if (l->is_unix) {
            (void)unlink(l->address);
        }
    }
    net->n_listeners = 0;
    if (net->spare_fd >= 0) {
        close(net->spare_fd);
    }
}
