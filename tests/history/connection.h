/*
 * Purpose: one connection of the load: its sockets, buffers, commands under way.
 * Threads: each connection belongs to one thread.
 */
#ifndef HEARTH_TESTS_HISTORY_CONNECTION_H
#define HEARTH_TESTS_HISTORY_CONNECTION_H

#include "tests/history/load.h"

#define OP_MAX_KEYS 8

struct op_type;

/* A command under way. */
struct op {
    const struct op_type *type;
    uint32_t n_keys, ttl_ms;
    struct history_op keys[OP_MAX_KEYS]; /* with what the judge wants to know */
};

struct reply {
    char type; /* + - : $ *; for a null bulk, len is -1 */
    const char *data;
    int64_t len, number;
    uint32_t n_elements;
    struct {
        const char *data;
        int64_t len;
    } elements[OP_MAX_KEYS];
};

struct connection {
    struct load *load;
    int fd;
    uint32_t id;
    bool is_flusher; /* works on database 1 */
    uint64_t random, seq, batch_ns;
    char *out, *in;
    size_t out_len, out_done, out_cap, in_len, in_done, in_cap;
    struct op *ops;
    uint32_t n_ops, n_ended;
    bool has_flush; /* in this batch; its versions are below */
    uint32_t flush_versions[LOAD_FLUSHED_KEYS];
    char *value; /* scratch, value_max bytes */
};

/* Connects, authenticates, selects the database. */
bool connection_open(struct connection *c, struct load *load, uint32_t id);
void connection_close(struct connection *c);
/* Makes and queues the next n commands. */
void connection_fill(struct connection *c, uint32_t n);
/* Queues reads of the keys [first, first + n), n <= LOAD_MAX_PIPELINE, for the last look. */
void connection_fill_final(struct connection *c, uint32_t first, uint32_t n);
/* Sends what can be sent, reads what is there and judges it. False: the connection is lost. */
bool connection_step(struct connection *c);
/* As connection_step, until every reply has come. */
bool connection_finish(struct connection *c);

/* For ops.c: appends one command to the output. */
void out_begin(struct connection *c, unsigned n_args);
void out_arg(struct connection *c, const void *data, size_t len);
void out_text(struct connection *c, const char *text);
void out_number(struct connection *c, uint64_t number);
void out_key(struct connection *c, uint32_t key);

uint64_t random_next(struct connection *c);

/* ops.c: makes a random command, judges a reply. */
void op_make(struct connection *c, struct op *op);
void op_make_final(struct connection *c, struct op *op, uint32_t key);
void op_end(struct connection *c, struct op *op, const struct reply *reply, uint64_t now_ns);

#endif
