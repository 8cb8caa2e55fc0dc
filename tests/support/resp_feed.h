/*
 * Purpose: feeds bytes to net/resp.h in pieces and writes down what came out, so that two ways of
 *   cutting one stream can be compared. Include it once per program (blob_double.h).
 * Threads: one. Errors: without memory the program aborts.
 */
#ifndef HEARTH_TESTS_RESP_FEED_H
#define HEARTH_TESTS_RESP_FEED_H

#include <stdlib.h>
#include <string.h>

#include "net/resp.h"
#include "tests/support/blob_double.h"

/* What the parser said: per request "argc oom" and its arguments, at last how it ended. */
struct story {
    char *text;
    size_t len, cap;
};

static void story_add(struct story *s, const void *data, size_t len)
{
    if (s->cap - s->len < len) {
        s->cap = (s->cap + len) * 2;
        s->text = realloc(s->text, s->cap);
        if (s->text == NULL) {
            abort();
        }
    }
    if (len > 0) {
        memcpy(s->text + s->len, data, len);
    }
    s->len += len;
}

static void story_add_request(struct story *s, const struct resp *r)
{
    story_add(s, &r->argc, r->is_oom ? 0 : sizeof(r->argc));
    story_add(s, &r->is_oom, sizeof(r->is_oom));
    for (int i = 0; i < r->argc && !r->is_oom; i++) {
        story_add(s, &r->argv[i].len, sizeof(r->argv[i].len));
        story_add(s, r->argv[i].data, r->argv[i].len);
    }
}

/* Reads the data in pieces of at most piece(arg) bytes; stops at a protocol error. */
typedef size_t (*feed_piece_fn)(void *arg);
static inline void feed(struct resp *r, const char *data, size_t len, feed_piece_fn piece,
                        void *arg, struct story *s)
{
    enum resp_result got = RESP_MORE;
    while (len > 0 && got != RESP_ERROR) {
        struct iovec iov[2];
        int n_iov = resp_space(r, iov);
        size_t left = piece(arg);
        left = left < len ? left : len;
        size_t taken = 0;
        for (int i = 0; i < n_iov && left > 0; i++) {
            size_t n = iov[i].iov_len < left ? iov[i].iov_len : left;
            memcpy(iov[i].iov_base, data, n);
            data += n;
            len -= n;
            left -= n;
            taken += n;
        }
        resp_filled(r, taken);
        while ((got = resp_next(r)) == RESP_REQUEST) {
            story_add_request(s, r);
        }
    }
    if (got == RESP_ERROR) {
        story_add(s, r->error, strlen(r->error));
    }
}

#endif
