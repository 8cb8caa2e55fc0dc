/*
 * Purpose: an engine in a temporary directory with one worker driven by the test's own thread: every
 *   call blocks until its operation is done.
 * Threads: one. Errors: a call that fails unexpectedly ends the test (ck_assert).
 */
#ifndef HEARTH_TESTS_ENGINE_FIXTURE_H
#define HEARTH_TESTS_ENGINE_FIXTURE_H

#include "engine/api_control.h"
#include "engine/api_keyspace.h"

struct fixture {
    char dir[64];
    struct engine *engine;
    struct engine_worker *worker;
};

/* Options as name, value, …, NULL on top of memory 64mb, warm-size 256mb. */
void fixture_open(struct fixture *f, const char *const *options);
/* Clean stop and start on the same directory. */
void fixture_restart(struct fixture *f);
void fixture_close(struct fixture *f);

/* Turns the worker until the op is resumed. */
void fixture_wait(struct fixture *f, struct engine_op *op);
/* Turns the worker n times. */
void fixture_turn(struct fixture *f, unsigned n);

void fixture_set(struct fixture *f, unsigned db, const char *key, const char *value, size_t len,
                 int64_t expire_at_ms);
/* malloc'ed value or NULL. */
char *fixture_get(struct fixture *f, unsigned db, const char *key, size_t *len_out);
bool fixture_delete(struct fixture *f, unsigned db, const char *key);
void fixture_expire(struct fixture *f, unsigned db, const char *key, int64_t expire_at_ms);
uint64_t fixture_size(struct fixture *f, unsigned db);
enum status fixture_demote(struct fixture *f, unsigned db, const char *key);

#endif
