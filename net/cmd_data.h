/*
 * Purpose: what the files of the commands on data (strings, keys, expiry, key space) share.
 *   Rows with CMD_MANUAL: SET GETEX LCS RENAME RENAMENX COPY KEYS SCAN RANDOMKEY DBSIZE FLUSHDB
 *   FLUSHALL. All others find their keys locked, with the need of their row in commands.def. Whether
 *   a key is faulted in for nothing when arguments turn out wrong does not matter; errors and their
 *   order are Redis'.
 * Threads: the client's worker thread.
 * Errors: every function replies; those that return bool return false after they have replied an
 *   error (or parked the command).
 */
#ifndef HEARTH_NET_CMD_DATA_H
#define HEARTH_NET_CMD_DATA_H

#include "net/table.h" /* declares the commands */

/* The keys of a CMD_MANUAL command: zeroed when it begins, as they were when it is resumed. At most
 * two, for which the client always has room. */
struct engine_key *cmd_take_keys(struct client *c, uint32_t n);
/* argv[arg] with this need, in the client's database. Touches the caller's fields only. */
void cmd_key(struct client *c, struct engine_key *key, int arg, enum engine_need need);
/* engine_begin, with these flags beside those of the command's row. False: parked, or an error was
 * replied; return at once. */
bool cmd_begin(struct client *c, uint32_t more_flags);
/* All of that for a single key. */
bool cmd_begin_one(struct client *c, int arg, enum engine_need need, uint32_t more_flags);
/* What a step over the key space (engine_scan, engine_flush, …) said. As cmd_begin. */
bool cmd_step(struct client *c, enum status st);
/* The worker's clock, Unix milliseconds. */
int64_t cmd_now_ms(struct client *c);

/* The argument as a number; false: "value is not an integer or out of range" (or "… value must between
 * min and max") was replied. */
bool cmd_i64(struct client *c, const struct arg *a, int64_t *out);
bool cmd_i64_range(struct client *c, const struct arg *a, int64_t min, int64_t max, int64_t *out);

/* Stores the argument (taking its blob over) or a copy of a found value under op.keys[i]. */
bool cmd_put_arg(struct client *c, uint32_t i, struct arg *a, int64_t expire_at_ms);
bool cmd_put_value(struct client *c, uint32_t i, const struct engine_value *v,
                   int64_t expire_at_ms);

/* A value that outlives the change of its key: it is replied after the change has succeeded. */
struct cmd_saved {
    struct engine_value value;
    char *copy;
};
bool cmd_save(struct client *c, struct cmd_saved *saved, const struct engine_value *v);
void cmd_saved_release(struct cmd_saved *saved); /* zeroed is fine */

#endif
