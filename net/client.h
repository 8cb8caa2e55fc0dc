/*
 * Purpose: one connection: what it has sent, what it waits for, what it has yet to read.
 *
 *                 +----------------------------- more requests, no time left: yielded ---+
 *                 v                                                                      |
 *   accept -> IDLE -- readable --> SERVING -- all requests done, replies sent -> IDLE    |
 *                                   |  ^  |                                              |
 *                    engine: AGAIN  v  |  +----------------------------------------------+
 *                                  PARKED -- op->resume: runs the command again
 *   any of them -> CLOSING: taken off the worker's list, op cancelled, freed at the turn's end
 *
 * Threads: everything belongs to the worker's thread but what stands under another heading.
 * Errors: a client that breaks a rule is closed; nothing it does ends the process.
 */
#ifndef HEARTH_NET_CLIENT_H
#define HEARTH_NET_CLIENT_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <netinet/in.h>
#include <stdatomic.h>

#include "net/command.h"
#include "net/output.h"
#include "net/resp.h"

struct worker;
struct command_row;

#define CLIENT_FEW_KEYS 2
#define CLIENT_ADDRESS_MAX 128

enum client_flags {
    CLIENT_AUTHENTICATED = 1 << 0,
    CLIENT_CLOSE_AFTER_REPLY = 1 << 1, /* no further requests; close when all is sent */
    CLIENT_CLOSE_NOW = 1 << 2,         /* close at the next opportunity, send nothing */
    CLIENT_REPLY_OFF = 1 << 3,
    CLIENT_REPLY_SKIP_NEXT = 1 << 4, /* CLIENT REPLY SKIP was just run */
    CLIENT_REPLY_SKIP = 1 << 5,      /* this command's reply is dropped */
    CLIENT_NO_EVICT = 1 << 6,
    CLIENT_NO_TOUCH = 1 << 7,
    CLIENT_IS_UNIX = 1 << 8,
    CLIENT_IS_PARKED = 1 << 9,
    CLIENT_IS_YIELDED = 1 << 10, /* on the worker's list of those to go on with */
    CLIENT_IS_SERVING = 1 << 11,
    CLIENT_IS_CLOSED = 1 << 12,      /* on the worker's list of the dead */
    CLIENT_READ_OFF = 1 << 13,       /* read event taken out of the loop */
    CLIENT_WRITE_ON = 1 << 14,       /* write event in the loop */
    CLIENT_HAS_ERROR = 1 << 15,      /* this command replied with an error */
    CLIENT_REJECTED = 1 << 16,       /* this command was refused before it ran */
    CLIENT_IS_STARTED = 1 << 17,     /* this command has run up to a park before */
    CLIENT_IS_PAUSED = 1 << 18,      /* too many unread replies: requests wait */
    CLIENT_AT_EOF = 1 << 19,         /* the peer sends no more: close when all is answered */
    CLIENT_IS_COUNTED_OUT = 1 << 20, /* why it goes is counted already */
    CLIENT_LINGERS = 1 << 21,        /* after a protocol error: see linger() */
    CLIENT_IS_LINGERING = 1 << 22,
};

enum client_close_reason {
    CLOSE_BY_CLIENT,
    CLOSE_IDLE,
    CLOSE_PROTOCOL,
    CLOSE_OUTPUT,
    CLOSE_KILLED,
    CLOSE_STOP,
    CLOSE_NO_MEMORY,
    CLOSE_NOT_KILLED = -1,
};

struct client_peer {
    union {
        struct sockaddr any; /* sa_family AF_UNIX: no address */
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    };
};

/* What CLIENT LIST shows of a client another thread serves; stored once per batch. */
struct client_shown {
    _Atomic uint32_t flags;
    _Atomic uint8_t db;
    _Atomic uint8_t resp;
    _Atomic(const struct command_row *) row;
    _Atomic int64_t active_ms; /* of the worker's clock: last request */
    _Atomic int64_t
        progress_ms; /* last byte read or written: what pins memory and stalls is closed */
    _Atomic size_t input_bytes, input_free, output_bytes, memory_bytes, pinned_bytes;
    _Atomic uint32_t n_chunks;
    _Atomic uint32_t argv_bytes;
};

struct client {
    struct command_context context; /* must be first */
    uint32_t flags;                 /* enum client_flags */
    int fd;
    struct worker *worker;         /* immutable */
    const struct command_row *row; /* running, or the latest */
    struct output out;
    struct resp in;
    struct engine_key *keys; /* few_keys, or a longer array */
    uint32_t keys_cap;
    uint32_t n_commands;        /* served in this batch */
    uint64_t started;           /* cycles, the running command */
    uint64_t batch_end;         /* cycles: yield after this */
    uint64_t reported_bytes;    /* memory told to the engine */
    uint64_t pinned_bytes;      /* blobs kept alive, told to the worker's sum */
    int64_t over_soft_since_ms; /* output over its soft limit; 0: is not */
    int64_t linger_until_ms;
    struct event read_event;
    struct event write_event;
    struct engine_key few_keys[CLIENT_FEW_KEYS];
    struct client *next_yielded;
    struct client *next_dead;
    /* immutable after creation */
    uint64_t id;
    int64_t created_ms;
    struct client_peer peer;
    /* atomic */
    struct client_shown shown;
    _Atomic int kill_reason; /* enum client_close_reason: whoever sets it first wins */
    /* worker's list lock */
    struct client *next, *prev;
    char *name, *lib_name, *lib_version; /* NULL: none */
};

static inline struct client *client_of_op(struct engine_op *op)
{
    return (struct client *)((char *)op - offsetof(struct client, context.op));
}

/* Takes over the connected, non-blocking socket (closes it when out of memory) and starts reading. */
void client_accept(struct worker *w, int fd, const struct client_peer *peer);
/* Idempotent. Stays allocated until the end of the turn. */
void client_close(struct client *c, enum client_close_reason reason);
/* At the end of a turn: frees what was closed. all: even what is still on the list of the yielded. */
void client_free_dead(struct worker *w, bool all);
/* Goes on with a client that yielded. */
void client_continue(struct client *c);
/* The engine's answer to a parked client is there. */
void client_resumed(struct client *c);
/* Idle timeout, buffers to give back, soft limit; about once a second. */
void client_tick(struct client *c, int64_t now_ms);
/* The connection is authenticated from now on, or no more. */
void client_set_authenticated(struct client *c, bool is_authenticated);
/* No password set, or given: a connection that needs none becomes authenticated. */
bool client_check_authenticated(struct client *c);

/* The owner closes it soon; its connection ends at once. By the owner, or by any thread under the list
 * lock. False: it is being closed already. */
bool client_kill(struct client *c, enum client_close_reason reason);

/* "127.0.0.1:4711", "[::1]:4711" or "/path:0", CLIENT_ADDRESS_MAX bytes. Any thread while c is on its
 * worker's list. */
void client_format_peer(const struct client *c, char *buf);
void client_format_local(const struct client *c, char *buf);
/* One line of CLIENT LIST with its newline; at most CLIENT_LINE_MAX bytes. List lock. */
#define CLIENT_LINE_MAX 2048
size_t client_format(const struct client *c, char *buf);

#endif
