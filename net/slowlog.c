/*
 * Entries are few and rare: a list under one lock, each entry one allocation that holds its texts.
 * An argument that became a value (its blob was taken) is no longer the client's to read: only its
 * length is told.
 */
#include "net/slowlog.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/bytes.h"
#include "engine/base/clock.h"
#include "engine/base/mem.h"
#include "engine/base/options.h"

#define MORE_TEXT_MAX 64 /* "... (18446744073709551615 more arguments)" */

void slowlog_init(struct slowlog *log)
{
    memset(log, 0, sizeof(*log));
    lock_init(&log->lock, LOCK_RANK_LEAF);
}

static void unref(struct slowlog_entry *entry)
{
    if (atomic_fetch_sub_explicit(&entry->refs, 1, memory_order_acq_rel) == 1) {
        mem_free(entry);
    }
}

static void unref_list(struct slowlog_entry *entry)
{
    while (entry != NULL) {
        struct slowlog_entry *next = entry->next;
        unref(entry);
        entry = next;
    }
}

/* Takes what is older than the newest n off the list. */
static struct slowlog_entry *cut_locked(struct slowlog *log, uint32_t n) REQUIRES(log->lock)
{
    struct slowlog_entry **at = &log->newest;
    for (uint32_t i = 0; i < n && *at != NULL; i++) {
        at = &(*at)->next;
    }
    struct slowlog_entry *rest = *at;
    *at = NULL;
    log->n_entries = log->n_entries < n ? log->n_entries : n;
    return rest;
}

void slowlog_reset(struct slowlog *log)
{
    lock_acquire(&log->lock);
    struct slowlog_entry *all = cut_locked(log, 0);
    lock_release(&log->lock);
    unref_list(all);
}

void slowlog_deinit(struct slowlog *log)
{
    slowlog_reset(log);
}

static void set_text(struct slowlog_text *text, char **room, const char *data, size_t len)
{
    text->data = *room;
    text->len = len;
    if (len > 0) {
        memcpy(*room, data, len);
    }
    *room += len;
}

static void set_arg(struct slowlog_text *text, char **room, const struct arg *arg)
{
    char more[MORE_TEXT_MAX];
    if (arg->len >= ENGINE_BLOB_MIN && arg->blob == NULL) {
        int n = snprintf(more, sizeof(more), "(%zu bytes)", arg->len);
        set_text(text, room, more, (size_t)n);
        return;
    }
    size_t len = bytes_min_u64(arg->len, SLOWLOG_ARG_BYTES);
    set_text(text, room, arg->data, len);
    if (len < arg->len) {
        int n = snprintf(more, sizeof(more), "... (%zu more bytes)", arg->len - len);
        memcpy(*room, more, (size_t)n);
        *room += n;
        text->len += (size_t)n;
    }
}

static struct slowlog_entry *entry_create(const struct arg *argv, int argc, const char *peer,
                                          const char *name)
{
    size_t room = strlen(peer) + strlen(name) + MORE_TEXT_MAX;
    int n = argc < SLOWLOG_ARGS_MAX ? argc : SLOWLOG_ARGS_MAX;
    for (int i = 0; i < n; i++) {
        room += bytes_min_u64(argv[i].len, SLOWLOG_ARG_BYTES) + MORE_TEXT_MAX;
    }
    struct slowlog_entry *e = mem_alloc(sizeof(*e) + room);
    if (e == NULL) {
        return NULL;
    }
    char *at = e->text;
    atomic_init(&e->refs, 1);
    e->argc = n;
    for (int i = 0; i < n; i++) {
        if (i == SLOWLOG_ARGS_MAX - 1 && argc > n) {
            char more[MORE_TEXT_MAX];
            int len = snprintf(more, sizeof(more), "... (%d more arguments)", argc - n + 1);
            set_text(&e->argv[i], &at, more, (size_t)len);
        } else {
            set_arg(&e->argv[i], &at, &argv[i]);
        }
    }
    set_text(&e->peer, &at, peer, strlen(peer));
    set_text(&e->name, &at, name, strlen(name));
    return e;
}

void slowlog_add(struct slowlog *log, const struct arg *argv, int argc, uint64_t duration_us,
                 const char *peer, const char *name)
{
    struct slowlog_entry *e = entry_create(argv, argc, peer, name);
    if (e == NULL) {
        return;
    }
    e->duration_us = duration_us;
    e->at_s = clock_wall_ms() / 1000;
    lock_acquire(&log->lock);
    e->id = log->next_id++;
    e->next = log->newest;
    log->newest = e;
    log->n_entries++;
    struct slowlog_entry *old = cut_locked(log, (uint32_t)option_i64(OPT_SLOWLOG_MAX_LEN));
    lock_release(&log->lock);
    unref_list(old);
}

uint32_t slowlog_len(struct slowlog *log)
{
    lock_acquire(&log->lock);
    uint32_t n = log->n_entries;
    lock_release(&log->lock);
    return n;
}

enum status slowlog_read(struct slowlog *log, int64_t n, struct slowlog_entry ***out,
                         uint32_t *n_out)
{
    *n_out = 0;
    uint32_t cap = slowlog_len(log);
    if (n >= 0 && cap > n) {
        cap = (uint32_t)n;
    }
    *out = mem_alloc(cap * sizeof(struct slowlog_entry *));
    if (*out == NULL) {
        return NO_MEMORY;
    }
    lock_acquire(&log->lock);
    for (struct slowlog_entry *e = log->newest; e != NULL && *n_out < cap; e = e->next) {
        atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
        (*out)[(*n_out)++] = e;
    }
    lock_release(&log->lock);
    return OK;
}

void slowlog_release(struct slowlog_entry **entries, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        unref(entries[i]);
    }
    mem_free(entries);
}
