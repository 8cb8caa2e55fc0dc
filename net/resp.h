/*
 * Purpose: RESP requests in: an incremental parser over its own input buffer. Arguments point into
 *   the buffer; one of ENGINE_BLOB_MIN bytes or more is read straight into a struct engine_blob.
 *   Limits and error texts are those of Redis 7.0.15.
 *
 *       n = resp_space(r, iov);          where the socket's bytes may go
 *       resp_filled(r, readv(fd, iov, n));
 *       while (resp_next(r) == RESP_REQUEST) { ... r->argc, r->argv ... }
 *
 *   The arguments of a request stay where they are until the next resp_next. resp_space moves
 *   them only while a request is incomplete.
 * Threads: one at a time; knows neither sockets nor clients.
 * Errors: malformed bytes yield RESP_ERROR with r->error; want of memory for a large argument
 *   yields a request with is_oom, its bytes swallowed; for the buffer itself resp_space says 0.
 * Source: https://redis.io/docs/reference/protocol-spec/ and the answers of Redis 7.0.15.
 */
#ifndef HEARTH_NET_RESP_H
#define HEARTH_NET_RESP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "net/command.h"

#define RESP_LINE_MAX (64 * 1024)     /* bytes of a header or inline request without its newline */
#define RESP_ARGS_MAX INT32_MAX       /* arguments of one request */
#define RESP_UNTRUSTED_ARGS_MAX 10    /* the same before AUTH */
#define RESP_UNTRUSTED_BULK_MAX 16384 /* bytes of one argument before AUTH */
#define RESP_FEW_ARGS 6               /* kept inside struct resp */

enum resp_result { RESP_REQUEST, RESP_MORE, RESP_ERROR };

struct resp {
    /* the caller's */
    uint64_t max_bulk_bytes; /* proto-max-bulk-len */
    bool is_trusted;         /* authenticated, or no password is set */
    /* the request: valid after RESP_REQUEST */
    bool is_oom; /* an argument was swallowed for want of memory: argv is incomplete */
    int argc;    /* may be 0: an empty request, to be ignored */
    struct arg *argv;
    const char *error; /* after RESP_ERROR: the reply without '-' and newline */
    /* the parser's */
    char *buf;
    size_t cap;
    size_t begin;      /* first byte not yet consumed by a finished request */
    size_t pos;        /* next byte to parse */
    size_t scan;       /* no newline in [pos, scan) */
    size_t end;        /* bytes read so far */
    int64_t args_left; /* of the multibulk request being read; 0 between requests */
    int64_t bulk_len;  /* of the argument being read; -1 before its header */
    uint64_t swallow_left;
    struct engine_blob *blob; /* being filled */
    size_t blob_fill;
    size_t blob_bytes; /* of all blobs of the request, the one being filled included */
    uint32_t argv_cap;
    bool wants_room; /* the last read filled the buffer */
    char error_text[48];
    struct arg few[RESP_FEW_ARGS];
};

void resp_init(struct resp *r);
void resp_deinit(struct resp *r);

/* Where the next bytes go: 1 or 2 pieces; 0: out of memory. */
int resp_space(struct resp *r, struct iovec iov[2]);
/* The same while the arguments of a finished request are still in use: 0 or 1 piece behind all that
 * was read; nothing moves. */
int resp_space_behind(struct resp *r, struct iovec iov[1]);
void resp_filled(struct resp *r, size_t n);
enum resp_result resp_next(struct resp *r);
/* Bytes held and not yet consumed. */
static inline size_t resp_backlog(const struct resp *r)
{
    return r->end - r->begin + r->blob_bytes;
}
/* Is a request half read? */
bool resp_is_partial(const struct resp *r);
/* Buffer and argument array; blobs (blob_bytes) are charged elsewhere. */
size_t resp_memory(const struct resp *r);
/* Gives the buffer back if nothing is in it. */
void resp_trim(struct resp *r);

/* Splits an inline request in place as redis-cli and Redis do: blanks separate, "…" with \n \r \t
 * \b \a \\ \" \xHH, '…' with \'. Returns false on unbalanced quotes. add is called per argument;
 * line is changed; stops at a NUL byte. */
typedef bool (*resp_word_fn)(void *arg, char *data, size_t len);
bool resp_split_line(char *line, size_t len, resp_word_fn add, void *arg);

#endif
