/*
 * The commands of the load: a table of weights; each row makes a command, telling the judge that it
 * begins, and ends it with the reply. Keys are numbers: [0, n_keys) are registers (SET, DEL, EXPIRE …),
 * then come appended keys, counters, and, in database 1, registers that FLUSHDB empties.
 */
#include "tests/history/connection.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define LONG_SECONDS 100000
#define SHORT_TTL_MIN_MS 20
#define SHORT_TTL_SPAN_MS 300
#define CHUNKS_MAX 24 /* an appended key longer than this is deleted */

struct op_type {
    const char *name;
    unsigned weight;
    void (*make)(struct connection *c, struct op *op);
    void (*end)(struct connection *c, struct op *op, const struct reply *reply);
};

/* --- keys, values, versions ------------------------------------------------------------------------ */

static double random_unit(struct connection *c)
{
    return (double)(random_next(c) >> 11) * 0x1p-53;
}

/* Zipf, after Gray et al., as in YCSB. */
static uint32_t random_zipf(struct connection *c)
{
    const struct load *load = c->load;
    double u = random_unit(c), uz = u * load->zipf_zeta;
    if (uz < 1.0) {
        return 0;
    }
    if (uz < 1.0 + pow(0.5, load->options.zipf)) {
        return 1;
    }
    double n = load->options.n_keys;
    uint32_t key = (uint32_t)(n * pow(load->zipf_eta * u - load->zipf_eta + 1.0, load->zipf_alpha));
    return key < load->options.n_keys ? key : load->options.n_keys - 1;
}

static uint32_t random_key(struct connection *c)
{
    if (c->is_flusher) {
        return c->load->first_flushed + (uint32_t)(random_next(c) % LOAD_FLUSHED_KEYS);
    }
    return random_zipf(c);
}

static size_t random_len(struct connection *c)
{
    uint64_t r = random_next(c);
    size_t max = c->load->options.value_max;
    size_t len = HISTORY_HEADER + (size_t)((r >> 16) % 600);
    if (r % 64 == 0) {
        len += (size_t)((r >> 16) % 8000);
    }
    if (r % 8192 == 1) {
        len = max;
    }
    return len < max ? len : max;
}

/* The op's next key: everything the judge wants to know but the version. */
static struct history_op *key_add(struct connection *c, struct op *op, uint32_t key)
{
    struct history_op *h = &op->keys[op->n_keys++];
    memset(h, 0, sizeof(*h));
    h->key = key;
    h->conn = c->id;
    h->seq = c->seq;
    h->begin_ns = c->batch_ns;
    h->name = op->type->name;
    return h;
}

static void write_begin(struct connection *c, struct op *op, struct history_op *h,
                        enum history_kind kind)
{
    h->own_version = history_write_begin(c->load->history, h, kind, op->ttl_ms);
}

static void out_value(struct connection *c, const struct history_op *h)
{
    size_t len = random_len(c);
    history_value_fill(c->value, len, h->key, h->own_version, c->id);
    out_arg(c, c->value, len);
}

static void command(struct connection *c, unsigned n_args, const char *name, uint32_t key)
{
    out_begin(c, n_args);
    out_text(c, name);
    out_key(c, key);
}

/* --- how replies are judged ------------------------------------------------------------------------ */

static bool is_ok(const struct reply *reply)
{
    return reply->type == '+' && reply->len == 2 && memcmp(reply->data, "OK", 2) == 0;
}

static void bad_reply(struct connection *c, const struct history_op *h, const struct reply *reply)
{
    char text[120];
    snprintf(text, sizeof(text), "an answer that does not fit: %c%.*s", reply->type,
             (int)(reply->len < 80 ? (reply->len > 0 ? reply->len : 0) : 80), reply->data);
    history_accuse(c->load->history, h, text);
}

static void end_writes(struct connection *c, struct op *op, enum history_outcome outcome)
{
    for (uint32_t i = 0; i < op->n_keys; i++) {
        history_write_end(c->load->history, &op->keys[i], op->keys[i].own_version, outcome);
    }
}

static void judge_bulk(struct connection *c, const struct history_op *h, const char *data,
                       int64_t len)
{
    if (len < 0) {
        history_read_miss(c->load->history, h);
    } else {
        history_read_value(c->load->history, h, data, (size_t)len);
    }
}

static void end_read(struct connection *c, struct op *op, const struct reply *reply)
{
    if (reply->type != '$') {
        bad_reply(c, &op->keys[0], reply);
    } else {
        judge_bulk(c, &op->keys[0], reply->data, reply->len);
    }
}

static void end_set(struct connection *c, struct op *op, const struct reply *reply)
{
    if (!is_ok(reply)) {
        bad_reply(c, &op->keys[0], reply);
    }
    end_writes(c, op, HISTORY_APPLIED);
}

/* The reply tells whether the key was there. */
static void judge_presence(struct connection *c, const struct history_op *h, bool was_there)
{
    if (was_there) {
        history_read_present(c->load->history, h);
    } else {
        history_read_miss(c->load->history, h);
    }
}

/* --- the commands ---------------------------------------------------------------------------------- */

static void make_get(struct connection *c, struct op *op)
{
    struct history_op *h = key_add(c, op, random_key(c));
    command(c, 2, "GET", h->key);
}

static void make_getrange(struct connection *c, struct op *op)
{
    struct history_op *h = key_add(c, op, random_key(c));
    command(c, 4, "GETRANGE", h->key);
    out_text(c, "0");
    out_number(c, HISTORY_HEADER - 1);
}

static void end_getrange(struct connection *c, struct op *op, const struct reply *reply)
{
    if (reply->type != '$' || reply->len < 0) {
        bad_reply(c, &op->keys[0], reply);
    } else if (reply->len == 0) {
        history_read_miss(c->load->history, &op->keys[0]);
    } else {
        history_read_header(c->load->history, &op->keys[0], reply->data, (size_t)reply->len);
    }
}

static void make_set(struct connection *c, struct op *op)
{
    struct history_op *h = key_add(c, op, random_key(c));
    write_begin(c, op, h, HISTORY_VALUE);
    command(c, 3, "SET", h->key);
    out_value(c, h);
}

static void make_set_px(struct connection *c, struct op *op)
{
    struct history_op *h = key_add(c, op, random_key(c));
    op->ttl_ms = SHORT_TTL_MIN_MS + (uint32_t)(random_next(c) % SHORT_TTL_SPAN_MS);
    write_begin(c, op, h, HISTORY_VALUE);
    command(c, 5, "SET", h->key);
    out_value(c, h);
    out_text(c, "PX");
    out_number(c, op->ttl_ms);
}

static void make_set_get(struct connection *c, struct op *op)
{
    struct history_op *h = key_add(c, op, random_key(c));
    write_begin(c, op, h, HISTORY_VALUE);
    command(c, 4, "SET", h->key);
    out_value(c, h);
    out_text(c, "GET");
}

/* The old value, and the write has happened. */
static void end_read_write(struct connection *c, struct op *op, const struct reply *reply)
{
    end_read(c, op, reply);
    end_writes(c, op, HISTORY_APPLIED);
}

static void make_set_nx(struct connection *c, struct op *op)
{
    struct history_op *h = key_add(c, op, random_key(c));
    write_begin(c, op, h, HISTORY_VALUE);
    command(c, 4, "SET", h->key);
    out_value(c, h);
    out_text(c, "NX");
}

static void end_set_nx(struct connection *c, struct op *op, const struct reply *reply)
{
    bool is_set = is_ok(reply);
    if (!is_set && (reply->type != '$' || reply->len >= 0)) {
        bad_reply(c, &op->keys[0], reply);
    }
    judge_presence(c, &op->keys[0], !is_set);
    end_writes(c, op, is_set ? HISTORY_APPLIED : HISTORY_NOT_APPLIED);
}

static void make_del(struct connection *c, struct op *op)
{
    struct history_op *h = key_add(c, op, random_key(c));
    write_begin(c, op, h, HISTORY_ABSENT);
    command(c, 2, random_next(c) % 2 == 0 ? "DEL" : "UNLINK", h->key);
}

static void end_del(struct connection *c, struct op *op, const struct reply *reply)
{
    if (reply->type != ':') {
        bad_reply(c, &op->keys[0], reply);
    }
    judge_presence(c, &op->keys[0], reply->number == 1);
    end_writes(c, op, HISTORY_APPLIED);
}

static void make_getdel(struct connection *c, struct op *op)
{
    struct history_op *h = key_add(c, op, random_key(c));
    write_begin(c, op, h, HISTORY_ABSENT);
    command(c, 2, "GETDEL", h->key);
}

static void make_exists(struct connection *c, struct op *op)
{
    struct history_op *h = key_add(c, op, random_key(c));
    command(c, 2, "EXISTS", h->key);
}

static void end_exists(struct connection *c, struct op *op, const struct reply *reply)
{
    if (reply->type != ':') {
        bad_reply(c, &op->keys[0], reply);
    }
    judge_presence(c, &op->keys[0], reply->number == 1);
}

/* PEXPIRE, soon, or EXPIRE, far away. */
static void make_expire(struct connection *c, struct op *op)
{
    struct history_op *h = key_add(c, op, random_key(c));
    bool is_short = random_next(c) % 2 == 0;
    op->ttl_ms = is_short ? SHORT_TTL_MIN_MS + (uint32_t)(random_next(c) % SHORT_TTL_SPAN_MS) : 0;
    history_expiry_begin(c->load->history, h, op->ttl_ms);
    command(c, 3, is_short ? "PEXPIRE" : "EXPIRE", h->key);
    out_number(c, is_short ? op->ttl_ms : LONG_SECONDS);
}

static void make_persist(struct connection *c, struct op *op)
{
    struct history_op *h = key_add(c, op, random_key(c));
    history_expiry_begin(c->load->history, h, 0);
    command(c, 2, "PERSIST", h->key);
}

static void end_expire(struct connection *c, struct op *op, const struct reply *reply)
{
    if (reply->type != ':') {
        bad_reply(c, &op->keys[0], reply);
    }
    history_expiry_end(c->load->history, &op->keys[0], op->ttl_ms, reply->number == 1);
}

static void make_getex(struct connection *c, struct op *op)
{
    struct history_op *h = key_add(c, op, random_key(c));
    unsigned way = (unsigned)(random_next(c) % 3);
    op->ttl_ms = way == 0 ? SHORT_TTL_MIN_MS + (uint32_t)(random_next(c) % SHORT_TTL_SPAN_MS) : 0;
    history_expiry_begin(c->load->history, h, op->ttl_ms);
    command(c, way == 1 ? 3 : 4, "GETEX", h->key);
    if (way == 1) {
        out_text(c, "PERSIST");
    } else {
        out_text(c, way == 0 ? "PX" : "EX");
        out_number(c, way == 0 ? op->ttl_ms : LONG_SECONDS);
    }
}

static void end_getex(struct connection *c, struct op *op, const struct reply *reply)
{
    end_read(c, op, reply);
    history_expiry_end(c->load->history, &op->keys[0], op->ttl_ms,
                       reply->type == '$' && reply->len >= 0);
}

static void make_mget(struct connection *c, struct op *op)
{
    unsigned n = 2 + (unsigned)(random_next(c) % (OP_MAX_KEYS - 1));
    out_begin(c, n + 1);
    out_text(c, "MGET");
    for (unsigned i = 0; i < n; i++) {
        out_key(c, key_add(c, op, random_key(c))->key);
    }
}

static void end_mget(struct connection *c, struct op *op, const struct reply *reply)
{
    if (reply->type != '*' || reply->number != op->n_keys) {
        bad_reply(c, &op->keys[0], reply);
        return;
    }
    for (uint32_t i = 0; i < op->n_keys; i++) {
        judge_bulk(c, &op->keys[i], reply->elements[i].data, reply->elements[i].len);
    }
}

static void make_mset(struct connection *c, struct op *op)
{
    uint32_t keys[4], n = 0;
    for (unsigned i = 0; i < 4; i++) { /* distinct ones: the order within one MSET is not judged */
        uint32_t key = random_key(c), is_new = 1;
        for (uint32_t j = 0; j < n; j++) {
            is_new &= keys[j] != key;
        }
        keys[n] = key;
        n += is_new;
    }
    out_begin(c, 2 * n + 1);
    out_text(c, "MSET");
    for (uint32_t i = 0; i < n; i++) {
        struct history_op *h = key_add(c, op, keys[i]);
        write_begin(c, op, h, HISTORY_VALUE);
        out_key(c, h->key);
        out_value(c, h);
    }
}

static uint32_t appended_key(struct connection *c)
{
    return c->load->first_appended + (uint32_t)(random_next(c) % c->load->n_appended);
}

static void make_append(struct connection *c, struct op *op)
{
    struct history_op *h = key_add(c, op, appended_key(c));
    write_begin(c, op, h, HISTORY_APPEND);
    command(c, 3, "APPEND", h->key);
    history_value_fill(c->value, HISTORY_CHUNK, h->key, h->own_version, c->id);
    out_arg(c, c->value, HISTORY_CHUNK);
}

static void end_append(struct connection *c, struct op *op, const struct reply *reply)
{
    if (reply->type != ':' || reply->number % HISTORY_CHUNK != 0 || reply->number <= 0) {
        bad_reply(c, &op->keys[0], reply);
    }
    end_writes(c, op, HISTORY_APPLIED);
}

/* Reads, or reads and deletes, an appended value; which of them keeps it from growing for ever. */
static void make_read_appended(struct connection *c, struct op *op)
{
    struct history_op *h = key_add(c, op, appended_key(c));
    if (random_next(c) % CHUNKS_MAX == 0) {
        write_begin(c, op, h, HISTORY_ABSENT);
        command(c, 2, "GETDEL", h->key);
    } else {
        command(c, 2, "GET", h->key);
    }
}

static void end_read_appended(struct connection *c, struct op *op, const struct reply *reply)
{
    struct history_op *h = &op->keys[0];
    if (reply->type != '$') {
        bad_reply(c, h, reply);
    } else if (reply->len < 0) {
        history_read_miss(c->load->history, h);
    } else {
        history_read_appended(c->load->history, h, reply->data, (size_t)reply->len);
    }
    if (h->own_version != 0) {
        end_writes(c, op, HISTORY_APPLIED);
    }
}

static void make_incr(struct connection *c, struct op *op)
{
    uint32_t key = c->load->first_counter + (uint32_t)(random_next(c) % LOAD_COUNTERS);
    struct history_op *h = key_add(c, op, key);
    history_incr_begin(c->load->history, h);
    command(c, 2, "INCR", h->key);
}

static void end_incr(struct connection *c, struct op *op, const struct reply *reply)
{
    if (reply->type != ':') {
        bad_reply(c, &op->keys[0], reply);
    }
    history_incr_end(c->load->history, &op->keys[0], reply->number);
}

/* HEARTH DEMOTE or PROMOTE: must not change anything that can be read. */
static void make_shift(struct connection *c, struct op *op)
{
    uint64_t r = random_next(c);
    uint32_t key = r % 8 == 0 && !c->is_flusher ? appended_key(c) : random_key(c);
    key_add(c, op, key);
    out_begin(c, 3);
    out_text(c, "HEARTH");
    out_text(c, r % 3 == 0 ? "PROMOTE" : "DEMOTE");
    out_key(c, key);
}

static void end_shift(struct connection *c, struct op *op, const struct reply *reply)
{
    if (reply->type != ':') {
        bad_reply(c, &op->keys[0], reply);
    }
}

static void make_flush(struct connection *c, struct op *op)
{
    struct history_op *h = key_add(c, op, c->load->first_flushed);
    for (uint32_t i = 0; i < LOAD_FLUSHED_KEYS; i++) {
        struct history_op one = *h;
        one.key = c->load->first_flushed + i;
        c->flush_versions[i] = history_write_begin(c->load->history, &one, HISTORY_ABSENT, 0);
    }
    c->has_flush = true;
    out_begin(c, 1);
    out_text(c, "FLUSHDB");
}

static void flush_ended(struct connection *c, struct op *op, enum history_outcome outcome)
{
    for (uint32_t i = 0; i < LOAD_FLUSHED_KEYS; i++) {
        struct history_op one = op->keys[0];
        one.key = c->load->first_flushed + i;
        history_write_end(c->load->history, &one, c->flush_versions[i], outcome);
    }
}

static void end_flush(struct connection *c, struct op *op, const struct reply *reply)
{
    if (!is_ok(reply)) {
        bad_reply(c, &op->keys[0], reply);
    }
    flush_ended(c, op, HISTORY_APPLIED);
}

static void end_final_count(struct connection *c, struct op *op, const struct reply *reply)
{
    int64_t value = 0;
    if (reply->type == '$' && reply->len > 0 && reply->len < 20) {
        for (int64_t i = 0; i < reply->len; i++) {
            value = value * 10 + (reply->data[i] - '0');
        }
    }
    history_final_count(c->load->history, &op->keys[0], value);
}

/* --- the table ------------------------------------------------------------------------------------- */

static const struct op_type type_get = {"GET", 36, make_get, end_read};
static const struct op_type type_flush = {"FLUSHDB", 0, make_flush, end_flush};
static const struct op_type type_shift = {"HEARTH DEMOTE/PROMOTE", 0, make_shift, end_shift};
static const struct op_type type_get_appended = {"GET appended", 0, make_read_appended,
                                                 end_read_appended};
static const struct op_type type_count = {"GET counter", 0, make_get, end_final_count};

static const struct op_type register_types[] = {
    {"SET", 18, make_set, end_set},
    {"SET PX", 3, make_set_px, end_set},
    {"SET GET", 2, make_set_get, end_read_write},
    {"SET NX", 4, make_set_nx, end_set_nx},
    {"DEL", 4, make_del, end_del},
    {"GETDEL", 2, make_getdel, end_read_write},
    {"GETRANGE", 2, make_getrange, end_getrange},
    {"EXISTS", 2, make_exists, end_exists},
    {"EXPIRE", 3, make_expire, end_expire},
    {"PERSIST", 1, make_persist, end_expire},
    {"GETEX", 2, make_getex, end_getex},
    {"MGET", 4, make_mget, end_mget},
    {"MSET", 3, make_mset, end_set},
};
static const struct op_type other_types[] = {
    {"APPEND", 5, make_append, end_append},
    {"GET appended", 4, make_read_appended, end_read_appended},
    {"INCR", 3, make_incr, end_incr},
};

static const struct op_type *pick(const struct op_type *types, size_t n, unsigned *at)
{
    for (size_t i = 0; i < n; i++) {
        if (*at < types[i].weight) {
            return &types[i];
        }
        *at -= types[i].weight;
    }
    return NULL;
}

static const struct op_type *random_type(struct connection *c)
{
    unsigned at = (unsigned)(random_next(c) % 100);
    const struct op_type *type =
        pick(register_types, sizeof(register_types) / sizeof(*register_types), &at);
    if (type == NULL && !c->is_flusher) {
        type = pick(other_types, sizeof(other_types) / sizeof(*other_types), &at);
    }
    if (type != NULL) {
        return type;
    }
    uint64_t r = random_next(c);
    if (c->is_flusher && !c->has_flush && r % 256 == 0) {
        return &type_flush;
    }
    return c->load->options.has_tiers && r % 6 == 1 ? &type_shift : &type_get;
}

static void op_start(struct connection *c, struct op *op, const struct op_type *type)
{
    op->type = type;
    op->n_keys = 0;
    op->ttl_ms = 0;
    c->seq++;
}

void op_make(struct connection *c, struct op *op)
{
    op_start(c, op, random_type(c));
    op->type->make(c, op);
}

void op_make_final(struct connection *c, struct op *op, uint32_t key)
{
    const struct load *load = c->load;
    bool is_appended = key >= load->first_appended && key < load->first_counter;
    bool is_counter = key >= load->first_counter && key < load->first_flushed;
    op_start(c, op, is_appended ? &type_get_appended : is_counter ? &type_count : &type_get);
    key_add(c, op, key);
    command(c, 2, "GET", key);
}

/* An error: whatever was to be written may or may not have been. */
static void end_error(struct connection *c, struct op *op, const struct reply *reply)
{
    if (op->type == &type_shift) { /* wrote nothing; may be refused for want of room */
        atomic_fetch_add(&c->load->n_refused, 1);
        return;
    }
    if (atomic_fetch_add(&c->load->n_errors, 1) < c->load->options.max_told) {
        fprintf(stderr, "error reply to %s: %.*s\n", op->type->name, (int)reply->len, reply->data);
    }
    if (op->type == &type_flush) {
        flush_ended(c, op, HISTORY_MAYBE);
        return;
    }
    if (op->type->end == end_expire || op->type->end == end_getex) {
        history_expiry_end(c->load->history, &op->keys[0], 0, false);
        return;
    }
    for (uint32_t i = 0; i < op->n_keys; i++) {
        if (op->keys[i].own_version != 0) {
            history_write_end(c->load->history, &op->keys[i], op->keys[i].own_version,
                              HISTORY_MAYBE);
        }
    }
}

void op_end(struct connection *c, struct op *op, const struct reply *reply, uint64_t now_ns)
{
    for (uint32_t i = 0; i < op->n_keys; i++) {
        op->keys[i].end_ns = now_ns;
    }
    if (reply->type == '-') {
        end_error(c, op, reply);
    } else {
        op->type->end(c, op, reply);
    }
}
