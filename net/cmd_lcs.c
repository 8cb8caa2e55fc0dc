/*
 * LCS: the longest common subsequence of two strings, with Redis' choice where several are equally
 * long, since IDX shows which one was taken.
 *
 * Redis keeps the whole table of lengths, 4 bytes per pair of positions, and refuses when that exceeds
 * proto-max-bulk-len. Walking back needs much less: where the bytes differ, one bit says which
 * neighbour was longer. So the table here is one bit per pair (at most 16 MB where Redis takes 512),
 * charged to `memory`, and lengths live in one row along the shorter string. The refusal is the same.
 *
 * The values are taken out of the key space first: no shard is locked while the table is computed.
 */
#include "net/cmd_data.h"

#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/options.h"
#include "net/args.h"

struct lcs_options {
    bool want_len;
    bool want_ranges;
    bool want_match_len;
    int64_t min_match_len;
};

struct lcs {
    const unsigned char *a;
    const unsigned char *b;
    size_t a_len;
    size_t b_len;
    uint32_t len;
    struct engine_blob *steps; /* bit (i, j): from there back goes i, else j; NULL: LEN alone */
};

struct lcs_range {
    size_t a_end; /* inclusive */
    size_t b_end;
    size_t len;
};

static bool lcs_options_parse(struct client *c, struct lcs_options *out)
{
    struct command_context *ctx = command_context(c);
    *out = (struct lcs_options){0};
    for (int i = 3; i < ctx->argc; i++) {
        const struct arg *a = &ctx->argv[i];
        if (arg_is(a, "IDX")) {
            out->want_ranges = true;
        } else if (arg_is(a, "LEN")) {
            out->want_len = true;
        } else if (arg_is(a, "WITHMATCHLEN")) {
            out->want_match_len = true;
        } else if (arg_is(a, "MINMATCHLEN") && i + 1 < ctx->argc) {
            if (!cmd_i64(c, &ctx->argv[++i], &out->min_match_len)) {
                return false;
            }
        } else {
            reply_syntax_error(c);
            return false;
        }
    }
    if (out->want_ranges && out->want_len) {
        reply_error(c, "ERR If you want both the length and indexes, please just use IDX.");
        return false;
    }
    return true;
}

/* Redis' limits, by the table it would need. */
static bool lcs_check_size(struct client *c, size_t a_len, size_t b_len)
{
    uint64_t table_bytes;
    if (a_len >= UINT32_MAX - 1 || b_len >= UINT32_MAX - 1) {
        reply_error(c, "ERR String too long for LCS");
        return false;
    }
    if (__builtin_mul_overflow((uint64_t)(a_len + 1) * (b_len + 1), sizeof(uint32_t),
                               &table_bytes) ||
        table_bytes > (uint64_t)option_i64(OPT_PROTO_MAX_BULK_LEN)) {
        reply_error(c, "ERR Insufficient memory, transient memory for LCS exceeds "
                       "proto-max-bulk-len");
        return false;
    }
    return true;
}

static void lcs_step_set(struct lcs *lcs, size_t i, size_t j)
{
    size_t bit = (i - 1) * lcs->b_len + (j - 1);
    lcs->steps->data[bit / 8] |= (char)(1U << (bit % 8));
}

static bool lcs_step_is_back_in_a(const struct lcs *lcs, size_t i, size_t j)
{
    size_t bit = (i - 1) * lcs->b_len + (j - 1);
    return ((unsigned char)lcs->steps->data[bit / 8] >> (bit % 8) & 1) != 0;
}

/* row[y] is the length for the prefixes x of the longer and y of the shorter string. */
static void lcs_fill(struct lcs *lcs, uint32_t *row)
{
    bool a_is_long = lcs->a_len >= lcs->b_len;
    const unsigned char *outer = a_is_long ? lcs->a : lcs->b;
    const unsigned char *inner = a_is_long ? lcs->b : lcs->a;
    size_t n_outer = a_is_long ? lcs->a_len : lcs->b_len;
    size_t n_inner = a_is_long ? lcs->b_len : lcs->a_len;
    for (size_t x = 1; x <= n_outer; x++) {
        uint32_t diagonal = 0;
        for (size_t y = 1; y <= n_inner; y++) {
            uint32_t less_outer = row[y];
            uint32_t less_inner = row[y - 1];
            uint32_t less_a = a_is_long ? less_outer : less_inner;
            uint32_t less_b = a_is_long ? less_inner : less_outer;
            if (outer[x - 1] == inner[y - 1]) {
                row[y] = diagonal + 1;
            } else if (less_a > less_b) {
                row[y] = less_a;
                if (lcs->steps != NULL) {
                    lcs_step_set(lcs, a_is_long ? x : y, a_is_long ? y : x);
                }
            } else {
                row[y] = less_b;
            }
            diagonal = less_outer;
        }
    }
    lcs->len = row[n_inner];
}

/* Fills len, and steps if they are wanted. NO_MEMORY. */
static enum status lcs_compute(struct lcs *lcs, bool want_steps)
{
    size_t n_short = lcs->a_len < lcs->b_len ? lcs->a_len : lcs->b_len;
    uint32_t *row = mem_zalloc(n_short + 1, sizeof(*row));
    if (row == NULL) {
        return NO_MEMORY;
    }
    if (want_steps) {
        size_t n_bytes = (lcs->a_len * lcs->b_len + 7) / 8;
        lcs->steps = engine_blob_create(n_bytes);
        if (lcs->steps == NULL) {
            mem_free(row);
            return NO_MEMORY;
        }
        memset(lcs->steps->data, 0, n_bytes);
    }
    lcs_fill(lcs, row);
    mem_free(row);
    return OK;
}

/* Walks back from the end. text_out takes len bytes, ranges_out (may be NULL) up to len runs, in the
 * order met; returns their number. */
static size_t lcs_walk(const struct lcs *lcs, char *text_out, struct lcs_range *ranges_out)
{
    size_t i = lcs->a_len;
    size_t j = lcs->b_len;
    size_t left = lcs->len;
    size_t n_ranges = 0;
    bool in_run = false;
    while (i > 0 && j > 0) {
        bool is_match = lcs->a[i - 1] == lcs->b[j - 1];
        if (is_match) {
            if (ranges_out != NULL && !in_run) {
                ranges_out[n_ranges++] = (struct lcs_range){i - 1, j - 1, 0};
            }
            if (ranges_out != NULL) {
                ranges_out[n_ranges - 1].len++;
            }
            text_out[--left] = (char)lcs->a[i - 1];
            i--;
            j--;
        } else if (lcs_step_is_back_in_a(lcs, i, j)) {
            i--;
        } else {
            j--;
        }
        in_run = is_match;
    }
    return n_ranges;
}

static void reply_span(struct client *c, size_t end, size_t len)
{
    reply_array(c, 2);
    reply_integer(c, (int64_t)(end - len + 1));
    reply_integer(c, (int64_t)end);
}

static void reply_ranges(struct client *c, const struct lcs_options *options,
                         const struct lcs_range *ranges, size_t n_ranges, uint32_t lcs_len)
{
    size_t n_long = 0;
    for (size_t r = 0; r < n_ranges; r++) {
        n_long += (int64_t)ranges[r].len >= options->min_match_len;
    }
    reply_map(c, 2);
    reply_bulk_text(c, "matches");
    reply_array(c, n_long);
    for (size_t r = 0; r < n_ranges; r++) {
        if ((int64_t)ranges[r].len < options->min_match_len) {
            continue;
        }
        reply_array(c, options->want_match_len ? 3 : 2);
        reply_span(c, ranges[r].a_end, ranges[r].len);
        reply_span(c, ranges[r].b_end, ranges[r].len);
        if (options->want_match_len) {
            reply_integer(c, (int64_t)ranges[r].len);
        }
    }
    reply_bulk_text(c, "len");
    reply_integer(c, lcs_len);
}

static void lcs_run(struct client *c, const struct lcs_options *options,
                    const struct engine_value *a, const struct engine_value *b)
{
    struct lcs lcs = {.a = (const unsigned char *)a->data,
                      .b = (const unsigned char *)b->data,
                      .a_len = a->len,
                      .b_len = b->len};
    struct lcs_range *ranges = NULL;
    char *text = NULL;
    enum status st = OK;
    if (!lcs_check_size(c, a->len, b->len)) {
        return;
    }
    TRY(lcs_compute(&lcs, !options->want_len));
    if (options->want_len) {
        reply_integer(c, lcs.len);
        goto out;
    }
    text = mem_alloc(lcs.len);
    ranges = options->want_ranges ? mem_zalloc(lcs.len, sizeof(*ranges)) : NULL;
    if (text == NULL || (options->want_ranges && ranges == NULL)) {
        st = NO_MEMORY;
        goto out;
    }
    size_t n_ranges = lcs_walk(&lcs, text, ranges);
    if (options->want_ranges) {
        reply_ranges(c, options, ranges, n_ranges, lcs.len);
    } else {
        reply_bulk(c, text, lcs.len);
    }
out:
    if (st != OK) {
        reply_error(c, "ERR Insufficient memory, failed allocating transient memory for LCS");
    }
    engine_blob_release(lcs.steps);
    mem_free(ranges);
    mem_free(text);
}

static bool save_found(struct client *c, uint32_t i, struct cmd_saved *out)
{
    struct engine_value v;
    if (!engine_find(&command_context(c)->op, i, &v)) {
        v = (struct engine_value){.data = ""};
    }
    return cmd_save(c, out, &v);
}

void cmd_lcs(struct client *c)
{
    struct lcs_options options;
    struct cmd_saved a = {0};
    struct cmd_saved b = {0};
    if (!lcs_options_parse(c, &options)) {
        return;
    }
    struct engine_key *keys = cmd_take_keys(c, 2);
    cmd_key(c, &keys[0], 1, ENGINE_VALUE);
    cmd_key(c, &keys[1], 2, ENGINE_VALUE);
    if (!cmd_begin(c, 0)) {
        return;
    }
    bool is_saved = save_found(c, 0, &a) && save_found(c, 1, &b);
    engine_end(&command_context(c)->op);
    if (is_saved) {
        lcs_run(c, &options, &a.value, &b.value);
    }
    cmd_saved_release(&a);
    cmd_saved_release(&b);
}
