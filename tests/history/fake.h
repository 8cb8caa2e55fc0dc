/*
 * Purpose: a tiny in-memory server with bugs to choose from, against which the judge proves itself.
 * Threads: one of its own, from start to stop.
 */
#ifndef HEARTH_TESTS_HISTORY_FAKE_H
#define HEARTH_TESTS_HISTORY_FAKE_H

#include <stdint.h>

/* X(ID, what the judge must notice): BUG_NONE must stay without a violation. */
#define FAKE_BUGS(X)                                                                               \
    X(NONE, "a correct server")                                                                    \
    X(STALE, "a read returns the value before the last one")                                       \
    X(LOST_SET, "an acknowledged SET did nothing")                                                 \
    X(LOST_DEL, "an acknowledged DEL did nothing")                                                 \
    X(RESURRECT, "a read of a deleted key returns what it once was")                               \
    X(TORN, "one byte of a reply is damaged")                                                      \
    X(FOREIGN, "a read returns another key's value")                                               \
    X(MISS, "a read misses a key that is there")                                                   \
    X(NX, "SET NX overwrites and says it did not")                                                 \
    X(EXPIRED, "an expired value is returned")                                                     \
    X(LOST_EXPIRE, "an acknowledged PEXPIRE did nothing")                                          \
    X(LOST_APPEND, "an acknowledged APPEND did nothing")                                           \
    X(DOUBLE_APPEND, "an APPEND happens twice")                                                    \
    X(STALE_APPEND, "an APPEND works on the value before the last one")                            \
    X(LOST_INCR, "an INCR answers but does not count")                                             \
    X(FLUSH, "FLUSHDB forgets a key")

enum fake_bug {
#define X(id, text) BUG_##id,
    FAKE_BUGS(X)
#undef X
        BUG_COUNT
};

struct fake;

/* Listens on a loopback port of its own choice. */
struct fake *fake_start(enum fake_bug bug, int *port_out);
void fake_stop(struct fake **fake);

#endif
