/*
 * The smallest possible "net": one op at a time, parked ops are waited for by turning the worker.
 */
#include "tests/support/engine_fixture.h"

#include <check.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/options.h"

static void set_option(const char *name, const char *value)
{
    char error[OPTION_ERROR_MAX];
    enum option_id id;
    ck_assert_int_eq(option_lookup(name, &id), OK);
    ck_assert_msg(option_set(id, value, error) == OK, "%s", error);
}

static void start(struct fixture *f)
{
    char error[ENGINE_ERROR_MAX];
    enum status st = engine_open(1, &f->engine, error);
    ck_assert_msg(st == OK, "%s", error);
    f->worker = engine_worker(f->engine, 0);
    ck_assert_int_eq(engine_worker_start(f->worker), OK);
}

void fixture_open(struct fixture *f, const char *const *options)
{
    options_init();
    strcpy(f->dir, "/tmp/hearth-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(f->dir));
    set_option("dir", f->dir);
    set_option("memory", "64mb");
    set_option("warm-size", "256mb");
    for (; options != NULL && options[0] != NULL; options += 2) {
        set_option(options[0], options[1]);
    }
    start(f);
}

static void stop(struct fixture *f, bool keep_data)
{
    engine_worker_stop(f->worker);
    ck_assert_int_eq(engine_close(&f->engine, keep_data), OK);
}

void fixture_restart(struct fixture *f)
{
    stop(f, true);
    start(f);
}

void fixture_close(struct fixture *f)
{
    char command[128];
    stop(f, false);
    snprintf(command, sizeof(command), "rm -rf '%s'", f->dir);
    ck_assert_int_eq(system(command), 0);
}

static bool is_resumed;

static void resumed(struct engine_op *op)
{
    (void)op;
    is_resumed = true;
}

void fixture_turn(struct fixture *f, unsigned n)
{
    while (n-- != 0) {
        struct pollfd fd = {.fd = engine_worker_fd(f->worker), .events = POLLIN};
        engine_worker_turn(f->worker);
        (void)poll(&fd, 1, 1);
        engine_worker_poll(f->worker);
    }
}

void fixture_wait(struct fixture *f, struct engine_op *op)
{
    int64_t last_tick_us = clock_mono_us();
    (void)op;
    while (!is_resumed) {
        fixture_turn(f, 1);
        if (clock_mono_us() - last_tick_us > 20000) {
            engine_worker_tick(f->worker);
            last_tick_us = clock_mono_us();
        }
    }
}

static enum status begin(struct fixture *f, struct engine_op *op)
{
    enum status st;
    op->worker = f->worker;
    op->resume = resumed;
    for (;;) {
        is_resumed = false;
        st = engine_begin(op);
        if (st != AGAIN) {
            return st;
        }
        fixture_wait(f, op);
    }
}

static struct engine_key key_of(unsigned db, const char *key, enum engine_need need)
{
    return (struct engine_key){.data = key,
                               .len = (uint32_t)strlen(key),
                               .db = (uint8_t)db,
                               .need = (uint8_t)need};
}

void fixture_set(struct fixture *f, unsigned db, const char *key, const char *value, size_t len,
                 int64_t expire_at_ms)
{
    struct engine_key k = key_of(db, key, ENGINE_BLIND);
    struct engine_op op = {.keys = &k, .n_keys = 1, .flags = ENGINE_OP_WRITE};
    struct engine_put put = {.data = value, .len = len, .expire_at_ms = expire_at_ms};
    ck_assert_int_eq(begin(f, &op), OK);
    ck_assert_int_eq(engine_put(&op, 0, &put), OK);
    engine_end(&op);
}

char *fixture_get(struct fixture *f, unsigned db, const char *key, size_t *len_out)
{
    struct engine_key k = key_of(db, key, ENGINE_VALUE);
    struct engine_op op = {.keys = &k, .n_keys = 1, .flags = ENGINE_OP_READ};
    struct engine_value value;
    char *copy = NULL;
    ck_assert_int_eq(begin(f, &op), OK);
    if (engine_find(&op, 0, &value)) {
        copy = malloc(value.len + 1);
        memcpy(copy, value.data, value.len);
        copy[value.len] = '\0';
        if (len_out != NULL) {
            *len_out = value.len;
        }
    }
    engine_end(&op);
    return copy;
}

bool fixture_delete(struct fixture *f, unsigned db, const char *key)
{
    struct engine_key k = key_of(db, key, ENGINE_META);
    struct engine_op op = {.keys = &k, .n_keys = 1, .flags = ENGINE_OP_WRITE};
    ck_assert_int_eq(begin(f, &op), OK);
    bool existed = engine_remove(&op, 0);
    engine_end(&op);
    return existed;
}

void fixture_expire(struct fixture *f, unsigned db, const char *key, int64_t expire_at_ms)
{
    struct engine_key k = key_of(db, key, ENGINE_VALUE);
    struct engine_op op = {.keys = &k, .n_keys = 1, .flags = ENGINE_OP_WRITE};
    ck_assert_int_eq(begin(f, &op), OK);
    ck_assert_int_eq(engine_set_expiry(&op, 0, expire_at_ms), OK);
    engine_end(&op);
}

uint64_t fixture_size(struct fixture *f, unsigned db)
{
    struct engine_op op = {.worker = f->worker, .resume = resumed};
    uint64_t n = 0;
    for (;;) {
        is_resumed = false;
        enum status st = engine_db_size(&op, (int)db, &n);
        if (st == OK) {
            return n;
        }
        ck_assert_int_eq(st, AGAIN);
        fixture_wait(f, &op);
    }
}

enum status fixture_demote(struct fixture *f, unsigned db, const char *key)
{
    struct engine_key k = key_of(db, key, ENGINE_META);
    struct engine_op op = {.worker = f->worker, .resume = resumed, .keys = &k, .n_keys = 1};
    for (;;) {
        is_resumed = false;
        enum status st = engine_demote(&op);
        if (st != AGAIN) {
            return st;
        }
        fixture_wait(f, &op);
    }
}
