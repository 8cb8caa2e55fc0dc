/*
 * Purpose: the slow log: the latest commands that took longer than slowlog-log-slower-than.
 * Threads: any; one lock. Errors: without memory an entry is not kept.
 */
#ifndef HEARTH_NET_SLOWLOG_H
#define HEARTH_NET_SLOWLOG_H

#include "engine/base/lock.h"
#include "net/command.h"

#define SLOWLOG_ARGS_MAX 32   /* as Redis: the last one then tells how many more there are */
#define SLOWLOG_ARG_BYTES 128 /* likewise */

struct slowlog_entry {
    _Atomic uint32_t refs;      /* the log's and its readers' */
    struct slowlog_entry *next; /* older; under the log's lock */
    /* immutable */
    int64_t id;
    int64_t at_s; /* Unix time */
    uint64_t duration_us;
    int argc;
    struct slowlog_text {
        char *data;
        size_t len;
    } argv[SLOWLOG_ARGS_MAX], peer, name;
    char text[];
};

struct slowlog {
    struct lock lock;
    /* lock */
    struct slowlog_entry *newest;
    uint32_t n_entries;
    int64_t next_id;
};

void slowlog_init(struct slowlog *log);
void slowlog_deinit(struct slowlog *log);
/* peer and name are NUL-terminated. */
void slowlog_add(struct slowlog *log, const struct arg *argv, int argc, uint64_t duration_us,
                 const char *peer, const char *name);
void slowlog_reset(struct slowlog *log);
uint32_t slowlog_len(struct slowlog *log);
/* The newest entries, at most n (all if negative), from new to old, each pinned; NO_MEMORY. Give them
 * back with slowlog_release. */
MUST_CHECK enum status slowlog_read(struct slowlog *log, int64_t n, struct slowlog_entry ***out,
                                    uint32_t *n_out);
void slowlog_release(struct slowlog_entry **entries, uint32_t n);

#endif
