#include "engine/base/provider.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/unit.h"

static char seen[512];

static void add(const char *text)
{
    strncat(seen, text, sizeof(seen) - strlen(seen) - 1);
}

static void on_row_begin(void *arg)
{
    add("{");
}

static void on_text(void *arg, const char *name, const char *data, size_t len)
{
    char text[64];
    snprintf(text, sizeof(text), "%s=%.*s ", name, (int)len, data);
    add(text);
}

static void on_integer(void *arg, const char *name, int64_t value)
{
    char text[64];
    snprintf(text, sizeof(text), "%s=%lld ", name, (long long)value);
    add(text);
}

static void on_number(void *arg, const char *name, double value)
{
    char text[64];
    snprintf(text, sizeof(text), "%s=%.2f ", name, value);
    add(text);
}

static void on_boolean(void *arg, const char *name, bool value)
{
    char text[64];
    snprintf(text, sizeof(text), "%s=%s ", name, value ? "yes" : "no");
    add(text);
}

static void on_row_end(void *arg)
{
    add("}");
}

static const struct provider_visitor visitor = {on_row_begin, on_text,    on_integer, on_number,
                                                on_boolean,   on_row_end, NULL};

static char who[] = "x";

static enum status two_rows(void *arg, const struct provider_visitor *v)
{
    for (int i = 0; i < 2; i++) {
        v->row_begin(v->arg);
        v->integer(v->arg, "id", i);
        v->text(v->arg, "name", arg, strlen(arg));
        v->number(v->arg, "age", 0.5);
        v->boolean(v->arg, "idle", i == 1);
        v->row_end(v->arg);
    }
    return OK;
}

static enum status refuse(void *arg, const struct provider_visitor *v)
{
    return AGAIN;
}

START_TEST(reads_what_is_registered)
{
    ck_assert_int_eq(provider_read("clients", &visitor), NOT_FOUND);
    ck_assert_int_eq(provider_register("clients", two_rows, who), OK);
    ck_assert_int_eq(provider_register("clients", refuse, NULL), INVALID);
    ck_assert_int_eq(provider_register("slowlog", refuse, NULL), OK);
    ck_assert_int_eq(provider_read("clients", &visitor), OK);
    ck_assert_str_eq(seen, "{id=0 name=x age=0.50 idle=no }{id=1 name=x age=0.50 idle=yes }");
    ck_assert_int_eq(provider_read("slowlog", &visitor), AGAIN);
    ck_assert_str_eq(provider_name(0), "clients");
    ck_assert_str_eq(provider_name(1), "slowlog");
    ck_assert_ptr_null(provider_name(2));
    provider_unregister("clients");
    provider_unregister("unknown");
    ck_assert_int_eq(provider_read("clients", &visitor), NOT_FOUND);
    ck_assert_str_eq(provider_name(0), "slowlog");
    ck_assert_ptr_null(provider_name(1));
}
END_TEST

START_TEST(is_full_at_the_limit)
{
    static char names[PROVIDER_MAX + 1][8];
    for (int i = 0; i <= PROVIDER_MAX; i++) {
        snprintf(names[i], sizeof(names[i]), "p%d", i);
        ck_assert_int_eq(provider_register(names[i], refuse, NULL),
                         i < PROVIDER_MAX ? OK : NO_SPACE);
    }
    provider_unregister("p3");
    ck_assert_int_eq(provider_register("again", refuse, NULL), OK);
}
END_TEST

static _Atomic int alive;
static _Atomic bool is_over;

static enum status needs_alive(void *arg, const struct provider_visitor *v)
{
    for (int i = 0; i < 100; i++) {
        if (atomic_load((_Atomic int *)arg) != 1) {
            return CORRUPT;
        }
    }
    return OK;
}

static void *read_on(void *arg)
{
    while (!atomic_load(&is_over)) {
        enum status st = provider_read("racy", &visitor);
        if (st == CORRUPT) {
            return &alive; /* called after unregister had returned */
        }
    }
    return NULL;
}

START_TEST(unregister_waits_for_readers)
{
    pthread_t readers[3];
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(pthread_create(&readers[i], NULL, read_on, NULL), 0);
    }
    for (int i = 0; i < 2000; i++) {
        atomic_store(&alive, 1);
        ck_assert_int_eq(provider_register("racy", needs_alive, &alive), OK);
        provider_unregister("racy");
        atomic_store(&alive, 0);
    }
    atomic_store(&is_over, true);
    for (int i = 0; i < 3; i++) {
        void *complaint;
        pthread_join(readers[i], &complaint);
        ck_assert_ptr_null(complaint);
    }
}
END_TEST

UNIT_MAIN("provider", {reads_what_is_registered}, {is_full_at_the_limit},
          {unregister_waits_for_readers})
