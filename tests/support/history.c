/*
 * The judge keeps, for each key, the writes that a read may still return.
 *
 * A write w PRECEDES an operation o if w's latest possible moment lies before o's earliest: w.end <
 * o.begin, or both are of one connection and w was sent first. A read r of w is STALE if there is a
 * write w2 with: w precedes w2, and w2 precedes r. That is sound for any number of writers; what it
 * does not see is an impossible order among writes that all overlap.
 *
 *   1. w.end shrinks to the end of any read that returned w: w had happened by then.
 *   2. A miss is explained by a deletion, or a value whose expiry may have come, that is not stale.
 *   3. A value whose expiry must have come before the read began is EXPIRED. Any expiry command that
 *      overlaps or follows makes that unknown again: it is then only allowed to be gone.
 *   4. A write that failed or has no reply never overwrites anything, and is never overwritten.
 *   5. Forgotten is a write that some later write precedes for every operation still under way
 *      (history_low_water): a read that returns it is stale whatever the rest may be.
 *
 * Appended values: every piece must be there once, in an order that their times allow, none from
 * before a deletion; a piece acknowledged before the read must be there if an older one is.
 */
#include "tests/support/history.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define NEVER UINT64_MAX
#define N_STRIPES 4096u
#define MAGIC 0x48495354u /* "HIST" */

struct write {
    uint64_t begin_ns, end_ns; /* end: NEVER while under way */
    uint64_t may_die_ns;       /* from here on a miss is explained by expiry */
    uint64_t must_die_ns;      /* an operation that begins after it may not see the value */
    uint64_t seq;
    uint32_t version, conn;
    uint32_t ttl_ms;     /* given with the write; 0: none */
    uint32_t ttl_starts; /* the key's, when the write began */
    uint8_t kind;
    bool is_maybe, is_seen;
};

struct key {
    struct write *writes;
    uint32_t n_writes, cap;
    uint32_t last_version;
    uint32_t ttl_starts, ttl_under_way;
    uint64_t ttl_may_die_ns; /* of the expiry commands under way */
    int64_t incr_begun, incr_acked, incr_max;
};

struct history {
    struct history_options options;
    struct key *keys;
    pthread_mutex_t stripes[N_STRIPES];
    pthread_mutex_t out_lock;
    _Atomic uint64_t low_water_ns;
    _Atomic uint64_t reads, misses, unexplained_misses, violations;
};

/* --- values -------------------------------------------------------------------------------------- */

struct header {
    uint32_t magic, key, version, writer;
    uint32_t len, reserved;
    uint64_t
        sum; /* of the fields above and the body's length; the body is checked by recomputing */
};
_Static_assert(sizeof(struct header) == HISTORY_HEADER, "a value's header is 32 bytes");

static uint64_t mix(uint64_t x)
{
    x ^= x >> 33;
    x *= UINT64_C(0xff51afd7ed558ccd);
    x ^= x >> 33;
    x *= UINT64_C(0xc4ceb9fe1a85ec53);
    return x ^ (x >> 33);
}

static uint64_t header_sum(const struct header *h)
{
    uint64_t sum = mix(((uint64_t)h->magic << 32 | h->key) + UINT64_C(0x9e3779b97f4a7c15));
    sum = mix(sum ^ ((uint64_t)h->version << 32 | h->writer));
    return mix(sum ^ ((uint64_t)h->len << 32 | h->reserved));
}

/* The body's word at an 8-byte position: every other one is a function of the key alone. */
static uint64_t body_word(const struct header *h, size_t i)
{
    return (i & 1) != 0 ? mix(h->sum + i) : h->key;
}

void history_value_fill(void *data, size_t len, uint32_t key, uint32_t version, uint32_t writer)
{
    struct header h = {MAGIC, key, version, writer, (uint32_t)len, 0, 0};
    h.sum = header_sum(&h);
    memcpy(data, &h, sizeof(h));
    char *body = (char *)data + sizeof(h);
    size_t n = len - sizeof(h);
    for (size_t i = 0; i * 8 < n; i++) {
        uint64_t word = body_word(&h, i);
        memcpy(body + i * 8, &word, n - i * 8 < 8 ? n - i * 8 : 8);
    }
}

/* NULL: fine; else what is wrong with it. */
static const char *header_check(const void *data, size_t len, uint32_t key, struct header *out)
{
    if (len < sizeof(*out)) {
        return "is too short";
    }
    memcpy(out, data, sizeof(*out));
    if (out->magic != MAGIC || out->sum != header_sum(out)) {
        return "has a damaged header";
    }
    return out->key == key ? NULL : "belongs to another key";
}

static const char *value_check(const void *data, size_t len, uint32_t key, struct header *out)
{
    const char *wrong = header_check(data, len, key, out);
    if (wrong != NULL) {
        return wrong;
    }
    if (out->len != len) {
        return "has the wrong length";
    }
    const char *body = (const char *)data + sizeof(*out);
    size_t n = len - sizeof(*out);
    for (size_t i = 0; i * 8 < n; i++) {
        uint64_t word = body_word(out, i);
        if (memcmp(body + i * 8, &word, n - i * 8 < 8 ? n - i * 8 : 8) != 0) {
            return "is torn";
        }
    }
    return NULL;
}

/* --- life, locks, reports ------------------------------------------------------------------------ */

static struct write *write_add(struct key *key)
{
    if (key->n_writes == key->cap) {
        key->cap = key->cap == 0 ? 4 : key->cap * 2;
        key->writes = realloc(key->writes, key->cap * sizeof(*key->writes));
        if (key->writes == NULL) {
            abort();
        }
    }
    struct write *w = &key->writes[key->n_writes++];
    memset(w, 0, sizeof(*w));
    w->end_ns = w->may_die_ns = w->must_die_ns = NEVER;
    return w;
}

struct history *history_create(const struct history_options *options)
{
    struct history *h = calloc(1, sizeof(*h));
    if (h == NULL || (h->keys = calloc(options->n_keys, sizeof(*h->keys))) == NULL) {
        abort();
    }
    h->options = *options;
    for (unsigned i = 0; i < N_STRIPES; i++) {
        pthread_mutex_init(&h->stripes[i], NULL);
    }
    pthread_mutex_init(&h->out_lock, NULL);
    for (uint32_t i = 0; i < options->n_keys; i++) { /* in the beginning there is nothing */
        struct write *w = write_add(&h->keys[i]);
        w->kind = HISTORY_ABSENT;
        w->version = h->keys[i].last_version = 1;
        w->end_ns = 0;
        w->conn = UINT32_MAX;
        h->keys[i].ttl_may_die_ns = NEVER;
    }
    return h;
}

void history_destroy(struct history **history)
{
    struct history *h = *history;
    if (h == NULL) {
        return;
    }
    for (uint32_t i = 0; i < h->options.n_keys; i++) {
        free(h->keys[i].writes);
    }
    free(h->keys);
    free(h);
    *history = NULL;
}

void history_low_water(struct history *history, uint64_t time_ns)
{
    uint64_t old = atomic_load_explicit(&history->low_water_ns, memory_order_relaxed);
    while (old < time_ns && !atomic_compare_exchange_weak(&history->low_water_ns, &old, time_ns)) {
    }
}

static struct key *key_lock(struct history *h, uint32_t key)
{
    pthread_mutex_lock(&h->stripes[key % N_STRIPES]);
    return &h->keys[key];
}

static void key_unlock(struct history *h, uint32_t key)
{
    pthread_mutex_unlock(&h->stripes[key % N_STRIPES]);
}

static const char *kind_name(const struct write *w)
{
    static const char *const names[] = {"value", "absent", "append"};
    return names[w->kind];
}

static void tell_write(FILE *out, const struct write *w)
{
    fprintf(out, "    version %" PRIu32 " %s, connection %d op %" PRIu64 ", begin %" PRIu64,
            w->version, kind_name(w), (int)w->conn, w->seq, w->begin_ns);
    if (w->end_ns == NEVER) {
        fprintf(out, ", under way%s", w->is_maybe ? " for ever (maybe)" : "");
    } else {
        fprintf(out, ", end %" PRIu64 "%s", w->end_ns, w->is_seen ? " (seen)" : "");
    }
    if (w->may_die_ns != NEVER) {
        fprintf(out, ", may expire %" PRIu64, w->may_die_ns);
    }
    if (w->must_die_ns != NEVER) {
        fprintf(out, ", must have expired %" PRIu64, w->must_die_ns);
    }
    fputc('\n', out);
}

/* Counts a violation and tells it, with all that is known of the key. Key locked. */
__attribute__((format(printf, 4, 5))) static bool accuse(struct history *h,
                                                         const struct history_op *op,
                                                         const struct key *key, const char *format,
                                                         ...)
{
    uint64_t n = atomic_fetch_add(&h->violations, 1);
    if (n >= h->options.max_told) {
        return false;
    }
    va_list args;
    va_start(args, format);
    pthread_mutex_lock(&h->out_lock);
    FILE *out = h->options.out;
    fprintf(out, "VIOLATION %" PRIu64 ": %s of key %" PRIu32 ": ", n + 1, op->name, op->key);
    vfprintf(out, format, args);
    fprintf(out,
            "\n    the operation: connection %" PRIu32 " op %" PRIu64 ", begin %" PRIu64
            ", end %" PRIu64 "\n  the key's writes that still count (last version %" PRIu32 "):\n",
            op->conn, op->seq, op->begin_ns, op->end_ns, key->last_version);
    for (uint32_t i = 0; i < key->n_writes; i++) {
        tell_write(out, &key->writes[i]);
    }
    fflush(out);
    pthread_mutex_unlock(&h->out_lock);
    va_end(args);
    return false;
}

void history_accuse(struct history *history, const struct history_op *op, const char *what)
{
    struct key *key = key_lock(history, op->key);
    accuse(history, op, key, "%s", what);
    key_unlock(history, op->key);
}

void history_counts(const struct history *history, struct history_counts *out)
{
    out->reads = history->reads;
    out->misses = history->misses;
    out->unexplained_misses = history->unexplained_misses;
    out->violations = history->violations;
}

/* --- order --------------------------------------------------------------------------------------- */

static bool precedes_write(const struct write *w, const struct write *later)
{
    if (w->is_maybe || later->is_maybe) {
        return false;
    }
    return w->end_ns < later->begin_ns || (w->conn == later->conn && w->seq < later->seq);
}

static bool precedes_op(const struct write *w, const struct history_op *op)
{
    return !w->is_maybe && (w->end_ns < op->begin_ns || (w->conn == op->conn && w->seq < op->seq));
}

/* A write that certainly came between w and op, or NULL. Appends do not overwrite. */
static const struct write *overwriter(const struct key *key, const struct write *w,
                                      const struct history_op *op)
{
    for (uint32_t i = 0; i < key->n_writes; i++) {
        const struct write *other = &key->writes[i];
        if (other->kind != HISTORY_APPEND && precedes_op(other, op) && precedes_write(w, other)) {
            return other;
        }
    }
    return NULL;
}

static struct write *write_find(struct key *key, uint32_t version)
{
    for (uint32_t i = 0; i < key->n_writes; i++) {
        if (key->writes[i].version == version) {
            return &key->writes[i];
        }
    }
    return NULL;
}

/* Forgets what no read may return any more. */
static void key_prune(struct key *key, uint64_t low_water_ns)
{
    uint64_t newest_begin_ns = 0; /* of the writes that precede everything under way */
    for (uint32_t i = 0; i < key->n_writes; i++) {
        const struct write *w = &key->writes[i];
        if (!w->is_maybe && w->kind != HISTORY_APPEND && w->end_ns < low_water_ns &&
            w->begin_ns > newest_begin_ns) {
            newest_begin_ns = w->begin_ns;
        }
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < key->n_writes; i++) {
        if (key->writes[i].is_maybe || key->writes[i].end_ns >= newest_begin_ns) {
            key->writes[n++] = key->writes[i];
        }
    }
    key->n_writes = n;
}

/* --- writes -------------------------------------------------------------------------------------- */

uint32_t history_write_begin(struct history *history, const struct history_op *op,
                             enum history_kind kind, uint32_t ttl_ms)
{
    struct key *key = key_lock(history, op->key);
    if (key->n_writes >= 8) {
        key_prune(key, atomic_load_explicit(&history->low_water_ns, memory_order_relaxed));
    }
    struct write *w = write_add(key);
    w->kind = (uint8_t)kind;
    w->version = ++key->last_version;
    w->conn = op->conn;
    w->seq = op->seq;
    w->begin_ns = op->begin_ns;
    w->may_die_ns = key->ttl_may_die_ns; /* an expiry command under way may hit it */
    /* Anything under way may change the expiry after us: then no death is certain. */
    w->ttl_starts = key->ttl_under_way == 0 ? key->ttl_starts : key->ttl_starts - 1;
    if (ttl_ms != 0) {
        uint64_t due_ns = op->begin_ns + ttl_ms * UINT64_C(1000000) - history->options.slack_ns;
        w->may_die_ns = due_ns < w->may_die_ns ? due_ns : w->may_die_ns;
        w->ttl_ms = ttl_ms;
    }
    uint32_t version = w->version;
    key_unlock(history, op->key);
    return version;
}

bool history_write_end(struct history *history, const struct history_op *op, uint32_t version,
                       enum history_outcome outcome)
{
    struct key *key = key_lock(history, op->key);
    struct write *w = write_find(key, version);
    bool is_fine = true;
    if (w == NULL) {
        abort(); /* the caller's mistake: a write under way is never forgotten */
    }
    switch (outcome) {
    case HISTORY_APPLIED:
        w->end_ns = op->end_ns < w->end_ns ? op->end_ns : w->end_ns;
        if (w->ttl_ms != 0 && w->ttl_starts == key->ttl_starts) {
            w->must_die_ns = op->end_ns + w->ttl_ms * UINT64_C(1000000) + history->options.slack_ns;
        }
        break;
    case HISTORY_NOT_APPLIED:
        if (w->is_seen) {
            is_fine =
                accuse(history, op, key, "refused, but version %" PRIu32 " was read", version);
        }
        *w = key->writes[--key->n_writes];
        break;
    case HISTORY_MAYBE:
        w->is_maybe = true;
        w->end_ns = NEVER;
        break;
    }
    key_unlock(history, op->key);
    return is_fine;
}

void history_expiry_begin(struct history *history, struct history_op *op, uint32_t ttl_ms)
{
    struct key *key = key_lock(history, op->key);
    uint64_t due_ns = NEVER;
    if (ttl_ms != 0) {
        due_ns = op->begin_ns + ttl_ms * UINT64_C(1000000) - history->options.slack_ns;
    }
    key->ttl_starts++;
    op->note = key->ttl_under_way++ == 0 ? key->ttl_starts : 0;
    key->ttl_may_die_ns = due_ns < key->ttl_may_die_ns ? due_ns : key->ttl_may_die_ns;
    for (uint32_t i = 0; i < key->n_writes; i++) {
        struct write *w = &key->writes[i];
        w->may_die_ns = due_ns < w->may_die_ns ? due_ns : w->may_die_ns;
        w->must_die_ns = NEVER;
    }
    key_unlock(history, op->key);
}

void history_expiry_end(struct history *history, const struct history_op *op, uint32_t ttl_ms,
                        bool is_set)
{
    struct key *key = key_lock(history, op->key);
    bool was_alone = op->note == key->ttl_starts;
    if (--key->ttl_under_way == 0) {
        key->ttl_may_die_ns = NEVER;
    }
    for (uint32_t i = 0; is_set && ttl_ms != 0 && was_alone && i < key->n_writes; i++) {
        struct write *w = &key->writes[i];
        if (w->kind == HISTORY_VALUE && precedes_op(w, op)) {
            w->must_die_ns = op->end_ns + ttl_ms * UINT64_C(1000000) + history->options.slack_ns;
        }
    }
    key_unlock(history, op->key);
}

void history_incr_begin(struct history *history, struct history_op *op)
{
    struct key *key = key_lock(history, op->key);
    op->note = (uint64_t)key->incr_max;
    key->incr_begun++;
    key_unlock(history, op->key);
}

bool history_incr_end(struct history *history, const struct history_op *op, int64_t reply)
{
    struct key *key = key_lock(history, op->key);
    bool is_fine = true;
    key->incr_acked++;
    if (!history->options.is_cache && (reply <= (int64_t)op->note || reply > key->incr_begun)) {
        is_fine = accuse(history, op, key,
                         "answered %" PRId64 ": had reached %" PRIu64 " before, %" PRId64 " begun",
                         reply, op->note, key->incr_begun);
    }
    key->incr_max = reply > key->incr_max ? reply : key->incr_max;
    key_unlock(history, op->key);
    return is_fine;
}

bool history_final_count(struct history *history, const struct history_op *op, int64_t value)
{
    struct key *key = key_lock(history, op->key);
    bool is_fine = true;
    if (!history->options.is_cache && (value < key->incr_acked || value > key->incr_begun)) {
        is_fine = accuse(history, op, key,
                         "the counter ended at %" PRId64 ", with %" PRId64
                         " acknowledged and %" PRId64 " begun",
                         value, key->incr_acked, key->incr_begun);
    }
    key_unlock(history, op->key);
    return is_fine;
}

/* --- reads --------------------------------------------------------------------------------------- */

static void write_seen(struct write *w, const struct history_op *op)
{
    w->is_seen = true;
    w->is_maybe = false;
    w->end_ns = op->end_ns < w->end_ns ? op->end_ns : w->end_ns;
}

/* Whether a read may return this version, key locked. */
static bool judge_version(struct history *h, struct key *key, const struct history_op *op,
                          uint32_t version)
{
    struct write *w = write_find(key, version);
    if (w == NULL && version > key->last_version) {
        return accuse(h, op, key, "returned version %" PRIu32 ", never written", version);
    }
    if (w == NULL || version == op->own_version) {
        return accuse(h, op, key, "returned version %" PRIu32 ", %s", version,
                      w == NULL ? "overwritten or refused long ago" : "which it writes itself");
    }
    const struct write *newer = overwriter(key, w, op);
    if (newer != NULL) {
        return accuse(h, op, key,
                      "returned version %" PRIu32 ": %s, version %" PRIu32 " came after", version,
                      newer->kind == HISTORY_ABSENT ? "RESURRECTED" : "STALE", newer->version);
    }
    if (op->begin_ns > w->must_die_ns) {
        return accuse(h, op, key, "returned version %" PRIu32 ": EXPIRED", version);
    }
    write_seen(w, op);
    return true;
}

static bool read_checked(struct history *history, const struct history_op *op, const char *wrong,
                         const struct header *header)
{
    struct key *key = key_lock(history, op->key);
    bool is_fine;
    history->reads++;
    if (wrong != NULL) {
        is_fine = accuse(history, op, key,
                         "the value %s (it says: key %" PRIu32 ", version %" PRIu32
                         ", length %" PRIu32 ")",
                         wrong, header->key, header->version, header->len);
    } else {
        is_fine = judge_version(history, key, op, header->version);
    }
    key_unlock(history, op->key);
    return is_fine;
}

bool history_read_value(struct history *history, const struct history_op *op, const void *data,
                        size_t len)
{
    struct header header = {0};
    const char *wrong = value_check(data, len, op->key, &header);
    return read_checked(history, op, wrong, &header);
}

bool history_read_header(struct history *history, const struct history_op *op, const void *data,
                         size_t len)
{
    struct header header = {0};
    const char *wrong = header_check(data, len, op->key, &header);
    return read_checked(history, op, wrong, &header);
}

/* Whether something certainly stood in the key between w (a deletion) and op. */
static bool is_refilled(const struct key *key, const struct write *w, const struct history_op *op)
{
    for (uint32_t i = 0; i < key->n_writes; i++) {
        const struct write *other = &key->writes[i];
        if (other->kind != HISTORY_ABSENT && precedes_op(other, op) && precedes_write(w, other)) {
            return true;
        }
    }
    return false;
}

bool history_read_miss(struct history *history, const struct history_op *op)
{
    struct key *key = key_lock(history, op->key);
    struct write *only = NULL;
    unsigned n_reasons = 0;
    history->misses++;
    for (uint32_t i = 0; i < key->n_writes; i++) {
        struct write *w = &key->writes[i];
        bool is_expiry = w->kind == HISTORY_VALUE && w->may_die_ns <= op->end_ns;
        bool is_deletion = w->kind == HISTORY_ABSENT && !is_refilled(key, w, op);
        if (w->version != op->own_version && (is_expiry || is_deletion) &&
            overwriter(key, w, op) == NULL) {
            n_reasons++;
            only = is_deletion ? w : NULL;
        }
    }
    if (n_reasons == 1 && only != NULL && !history->options.is_cache) {
        write_seen(only, op);
    }
    bool is_fine = true;
    if (n_reasons == 0) {
        history->unexplained_misses++;
        if (!history->options.is_cache) {
            is_fine = accuse(history, op, key, "missed: LOST, nothing can have removed it");
        }
    }
    key_unlock(history, op->key);
    return is_fine;
}

bool history_read_present(struct history *history, const struct history_op *op)
{
    struct key *key = key_lock(history, op->key);
    bool is_fine = false;
    history->reads++;
    for (uint32_t i = 0; i < key->n_writes && !is_fine; i++) {
        const struct write *w = &key->writes[i];
        is_fine = w->kind != HISTORY_ABSENT && w->version != op->own_version &&
                  op->begin_ns <= w->must_die_ns && overwriter(key, w, op) == NULL;
    }
    if (!is_fine) {
        accuse(history, op, key, "found a key that cannot be there");
    }
    key_unlock(history, op->key);
    return is_fine;
}

/* --- appended values ------------------------------------------------------------------------------- */

#define MAX_CHUNKS 4096

/* Reads the pieces: found[i] is the i-th one's write. NULL: fine; else what is wrong. Key locked. */
static const char *chunks_find(struct key *key, const struct history_op *op, const char *data,
                               size_t n, struct write **found)
{
    for (size_t i = 0; i < n; i++) {
        struct header header;
        const char *wrong = header_check(data + i * HISTORY_CHUNK, HISTORY_CHUNK, op->key, &header);
        if (wrong != NULL) {
            return "holds a damaged or foreign piece";
        }
        struct write *w = found[i] = write_find(key, header.version);
        if (w == NULL || w->kind != HISTORY_APPEND || overwriter(key, w, op) != NULL) {
            return "holds a piece from before a deletion: RESURRECTED";
        }
        for (size_t j = 0; j < i; j++) {
            if (found[j] == w) {
                return "holds a piece twice";
            }
        }
        if (i > 0 && precedes_write(w, found[i - 1])) {
            return "holds pieces out of order";
        }
    }
    return NULL;
}

static bool is_among(const struct write *w, struct write *const *found, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (found[i] == w) {
            return true;
        }
    }
    return false;
}

/* A deletion that can explain why the acknowledged append w does not show. */
static bool is_deletable(const struct key *key, const struct write *w, const struct history_op *op)
{
    for (uint32_t i = 0; i < key->n_writes; i++) {
        const struct write *d = &key->writes[i];
        if (d->kind == HISTORY_ABSENT && d->version != op->own_version && !precedes_write(d, w) &&
            d->begin_ns <= op->end_ns) {
            return true;
        }
    }
    return false;
}

/* An acknowledged append that should be there and is not, or NULL. */
static const struct write *chunk_lost(const struct history *h, const struct key *key,
                                      const struct history_op *op, struct write *const *found,
                                      size_t n)
{
    for (uint32_t i = 0; i < key->n_writes; i++) {
        const struct write *w = &key->writes[i];
        if (w->kind != HISTORY_APPEND || !precedes_op(w, op) || is_among(w, found, n)) {
            continue;
        }
        if (!h->options.is_cache && !is_deletable(key, w, op)) {
            return w;
        }
        for (size_t j = 0; j < n; j++) {
            if (precedes_write(found[j], w)) {
                return w; /* what removed w would have removed the older piece too */
            }
        }
    }
    return NULL;
}

bool history_read_appended(struct history *history, const struct history_op *op, const void *data,
                           size_t len)
{
    struct write *found[MAX_CHUNKS];
    size_t n = len / HISTORY_CHUNK;
    struct key *key = key_lock(history, op->key);
    bool is_fine;
    history->reads++;
    if (len % HISTORY_CHUNK != 0 || n > MAX_CHUNKS) {
        is_fine = accuse(history, op, key, "the appended value is %zu bytes long: torn", len);
    } else {
        const char *wrong = chunks_find(key, op, data, n, found);
        const struct write *lost = wrong == NULL ? chunk_lost(history, key, op, found, n) : NULL;
        if (lost != NULL) {
            is_fine = accuse(history, op, key, "the appended value lacks version %" PRIu32 ": LOST",
                             lost->version);
        } else if (wrong != NULL) {
            is_fine = accuse(history, op, key, "the appended value %s", wrong);
        } else {
            is_fine = true;
            for (size_t i = 0; i < n; i++) {
                write_seen(found[i], op);
            }
        }
    }
    key_unlock(history, op->key);
    return is_fine;
}
