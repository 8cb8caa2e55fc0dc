/*
 * Purpose: what is asked of the server: which request comes next, its bytes on the wire, and what a
 *   reply says about the server's honesty.
 * Threads: one workload is shared by all; what changes is atomic. A struct request is one thread's.
 * Errors: workload_init dies; a wrong reply is told by its description.
 */
#ifndef HEARTH_BENCH_WORKLOAD_H
#define HEARTH_BENCH_WORKLOAD_H

#include <stdatomic.h>

#include "tools/hearth-bench/bench.h"
#include "tools/hearth-bench/input.h"
#include "tools/hearth-bench/keys.h"
#include "tools/hearth-bench/values.h"
#include "tools/hearth-bench/wire.h"

enum request_op { OP_GET, OP_SET };

struct request {
    int64_t start_ns; /* sent, or with --rate due */
    uint64_t key;
    uint32_t size;   /* trace: bytes of the value */
    uint32_t number; /* verify: of this run's writes to the key; 0: none */
    uint32_t seen;   /* verify: the highest number known to be in force when this GET was sent */
    uint8_t op;
    bool has_size;
};

/* What is known of a key in this run. */
struct key_state {
    _Atomic uint32_t seen;   /* a write acknowledged or read back: nothing older may be read */
    _Atomic uint32_t issued; /* number of writes << 1 | one is in flight */
};

struct workload {
    const struct bench_config *config;
    struct keys keys;
    struct values values;
    struct trace trace;
    struct records records;
    struct key_state *states; /* verify of generated keys */
    uint64_t epoch;           /* of the versions of this run: later runs have higher ones */
    uint64_t n_total;         /* requests to make; UINT64_MAX: until time is up */
    _Atomic uint64_t next;
    _Atomic bool is_warming; /* n_total does not hold yet */
};

void workload_init(struct workload *workload, const struct bench_config *config);
/* Until workload_rewind, which starts counting requests from zero, their number is not limited. */
void workload_warm_up(struct workload *workload);
void workload_rewind(struct workload *workload);
/* false: all requests have been handed out. */
bool workload_next(struct workload *workload, struct rng *rng, struct request *request_out);
/* Turns a GET that missed into the SET that fills it; false if another fill of it is under way. */
bool workload_fill(struct workload *workload, struct request *request);
/* Appends the request; returns the number of value bytes in it. */
size_t workload_put(struct workload *workload, const struct request *request, struct buffer *out);
/* A SET has been answered. */
void workload_stored(struct workload *workload, const struct request *request, bool is_stored);
/* A GET has brought a value: NULL if it may be, else what is wrong; is_stale_out: an old version. */
const char *workload_check(struct workload *workload, const struct request *request,
                           const char *data, size_t n_data, bool *is_stale_out);
/* The key's name into BENCH_KEY_MAX bytes; returns its length. */
size_t workload_name(const struct workload *workload, uint64_t key, char *name_out);
/* true when the bytes of values read matter, false when counting them is enough. */
bool workload_checks_values(const struct workload *workload);

#endif
