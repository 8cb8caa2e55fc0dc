/*
 * The idea: requests are parsed where read(2) put them. A finished request is consumed at once
 * (begin = pos), so that an empty buffer starts again at its first byte and a client that sends
 * one batch after the other always works in the same few cache lines.
 *
 *     buf          begin        pos      scan      end           cap
 *      |  consumed   | this request |  no newline | read | free    |
 *
 * Invariants
 *   1. begin <= pos <= scan <= end <= cap, but for scan when it is stale (scan < pos).
 *   2. While args_left > 0, argv[0..argc) is complete; those without a blob lie in [begin, pos).
 *   3. While the blob lacks bytes, pos == end: nothing lies between what was read and what is
 *      waited for.
 *   4. argv moves only in moved(), called while room is made.
 *
 * Cost: at one small request about 20 ns (two headers, no allocation). Memory: nothing for an idle
 * client after resp_trim; FIRST bytes for one that sends single requests; a buffer that once proved
 * too small grows to STEP, then doubles.
 *
 * Searching for the end of a header stops at a NUL byte, as Redis' strchr does: such a line never
 * ends and falls to RESP_LINE_MAX.
 */
#include "net/resp.h"

#include <ctype.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"
#include "net/args.h"

#define FIRST_BYTES 1024        /* a request at pipeline 1 is mostly below 200 B */
#define STEP_BYTES (16 * 1024)  /* Redis' PROTO_IOBUF_LEN */
#define LARGE_BYTES (64 * 1024) /* above this a buffer is given back as soon as it is empty */
#define ROOM_BYTES 512          /* a read(2) for less is not worth the call */
#define MANY_ARGS 1024          /* argument array of a long request begins here */
#define KEPT_ARGS 1024          /* and stays if not larger */

void resp_init(struct resp *r)
{
    memset(r, 0, sizeof(*r));
    r->argv = r->few;
    r->argv_cap = RESP_FEW_ARGS;
    r->bulk_len = -1;
    r->max_bulk_bytes = 512 * 1024 * 1024;
    r->is_trusted = true;
}

static void release_blobs(struct resp *r)
{
    if (r->blob_bytes == 0) {
        return;
    }
    for (int i = 0; i < r->argc; i++) {
        engine_blob_release(r->argv[i].blob);
        r->argv[i].blob = NULL;
    }
    engine_blob_release(r->blob);
    r->blob = NULL;
    r->blob_bytes = 0;
}

static void forget_argv(struct resp *r)
{
    if (r->argv != r->few) {
        mem_free(r->argv);
    }
    r->argv = r->few;
    r->argv_cap = RESP_FEW_ARGS;
}

void resp_deinit(struct resp *r)
{
    release_blobs(r);
    forget_argv(r);
    mem_free(r->buf);
    r->buf = NULL;
    r->cap = 0;
}

bool resp_is_partial(const struct resp *r)
{
    return r->args_left > 0 || r->begin < r->end;
}

size_t resp_memory(const struct resp *r)
{
    return r->cap + (r->argv != r->few ? r->argv_cap * sizeof(struct arg) : 0);
}

/* --- room for what comes ---------------------------------------------------------------------- */

/* The unconsumed bytes now begin at `to`. */
static void moved(struct resp *r, char *to)
{
    const char *from = r->buf + r->begin;
    size_t gap = r->begin;
    for (int i = 0; i < r->argc; i++) {
        if (r->argv[i].blob == NULL) {
            r->argv[i].data = to + (r->argv[i].data - from);
        }
    }
    r->begin = 0;
    r->pos -= gap;
    r->scan = r->scan > gap ? r->scan - gap : 0;
    r->end -= gap;
}

static void compact(struct resp *r)
{
    memmove(r->buf, r->buf + r->begin, r->end - r->begin);
    moved(r, r->buf);
}

/* `need`: all unconsumed bytes and those to come. */
static bool grow(struct resp *r, size_t need)
{
    size_t cap = r->cap == 0 ? FIRST_BYTES : r->cap < STEP_BYTES ? STEP_BYTES : r->cap * 2;
    while (cap < need) {
        cap = cap < STEP_BYTES ? STEP_BYTES : cap * 2;
    }
    char *buf = mem_alloc(cap);
    if (buf == NULL) {
        return false;
    }
    if (r->buf != NULL) {
        memcpy(buf, r->buf + r->begin, r->end - r->begin);
        moved(r, buf);
        mem_free(r->buf);
    }
    r->buf = buf;
    r->cap = cap;
    return true;
}

void resp_trim(struct resp *r)
{
    if (r->begin == r->end && r->args_left == 0) {
        r->argc = 0;
        release_blobs(r);
        mem_free(r->buf);
        r->buf = NULL;
        r->cap = r->begin = r->pos = r->scan = r->end = 0;
        r->wants_room = false;
        if (r->argv_cap > KEPT_ARGS) {
            forget_argv(r);
        }
    }
}

/* Makes at least ROOM_BYTES free, or all that the current argument still needs. */
static bool room(struct resp *r)
{
    if (r->begin == r->end && r->args_left == 0) {
        r->begin = r->pos = r->scan = r->end = 0;
        r->argc = 0;
        if (r->cap > LARGE_BYTES) {
            mem_free(r->buf);
            r->buf = NULL;
            r->cap = 0;
        }
    }
    size_t want = ROOM_BYTES;
    if (r->bulk_len >= 0 && r->blob == NULL && r->swallow_left == 0) {
        size_t have = r->end - r->pos;
        size_t whole = (size_t)r->bulk_len + 2;
        want = whole > have && whole - have > want ? whole - have : want;
    }
    if (r->wants_room && r->cap < LARGE_BYTES) {
        return grow(r, r->cap + want);
    }
    if (r->cap - r->end >= want) {
        return true;
    }
    if (r->begin > 0) {
        compact(r);
        if (r->cap - r->end >= want) {
            return true;
        }
    }
    return grow(r, r->end + want);
}

int resp_space(struct resp *r, struct iovec iov[2])
{
    if (!room(r)) {
        return 0;
    }
    int n = 0;
    if (r->blob != NULL && r->blob_fill < r->blob->len) {
        iov[n].iov_base = r->blob->data + r->blob_fill;
        iov[n++].iov_len = r->blob->len - r->blob_fill;
    }
    iov[n].iov_base = r->buf + r->end;
    iov[n++].iov_len = r->cap - r->end;
    return n;
}

int resp_space_behind(struct resp *r, struct iovec iov[1])
{
    iov[0].iov_base = r->buf + r->end;
    iov[0].iov_len = r->cap - r->end;
    return r->end < r->cap ? 1 : 0;
}

void resp_filled(struct resp *r, size_t n)
{
    if (r->blob != NULL && r->blob_fill < r->blob->len) {
        size_t part = r->blob->len - r->blob_fill;
        part = part < n ? part : n;
        r->blob_fill += part;
        n -= part;
    }
    r->end += n;
    DCHECK(r->end <= r->cap);
    r->wants_room = r->end == r->cap;
}

/* --- numbers and lines ------------------------------------------------------------------------ */

#define NOT_A_NUMBER INT64_MAX /* above every limit there is */

/* Position of `stop` in the unread bytes, or SIZE_MAX: not there (or behind a NUL). */
static size_t find_line_end(struct resp *r, char stop)
{
    size_t i = r->scan > r->pos ? r->scan : r->pos;
    for (; i < r->end && r->buf[i] != '\0'; i++) {
        if (r->buf[i] == stop) {
            return i;
        }
    }
    r->scan = i;
    return SIZE_MAX;
}

static enum resp_result fail(struct resp *r, const char *text)
{
    r->error = text;
    return RESP_ERROR;
}

/* Takes a header line: the number behind its first byte, or NOT_A_NUMBER. RESP_REQUEST: got it. */
static enum resp_result header(struct resp *r, const char *too_long, int64_t *out)
{
    /* Nearly always a digit or three and \r\n, all of it there. */
    const char *p = r->buf + r->pos + 1;
    size_t have = r->end - r->pos;
    if (have >= 6 && p[0] >= '1' && p[0] <= '9') {
        int64_t v = p[0] - '0';
        int i = 1;
        for (; i < 3 && p[i] >= '0' && p[i] <= '9'; i++) {
            v = v * 10 + (p[i] - '0');
        }
        if (p[i] == '\r') {
            *out = v;
            r->pos += (size_t)i + 3;
            return RESP_REQUEST;
        }
    }
    size_t line_end = find_line_end(r, '\r');
    if (line_end == SIZE_MAX) {
        return have > RESP_LINE_MAX ? fail(r, too_long) : RESP_MORE;
    }
    if (line_end + 2 > r->end) {
        return RESP_MORE;
    }
    if (!arg_parse_i64(p, line_end - r->pos - 1, out)) {
        *out = NOT_A_NUMBER;
    }
    r->pos = line_end + 2;
    return RESP_REQUEST;
}

/* --- multibulk -------------------------------------------------------------------------------- */

static bool add_arg(struct resp *r, char *data, size_t len, struct engine_blob *blob)
{
    if ((uint32_t)r->argc == r->argv_cap) {
        uint32_t cap = r->argv_cap < MANY_ARGS / 8 ? r->argv_cap * 4 : r->argv_cap * 2;
        struct arg *argv = mem_alloc(cap * sizeof(struct arg));
        if (argv == NULL) {
            return false;
        }
        memcpy(argv, r->argv, (size_t)r->argc * sizeof(struct arg));
        forget_argv(r);
        r->argv = argv;
        r->argv_cap = cap;
    }
    r->argv[r->argc++] = (struct arg){.data = data, .len = len, .blob = blob};
    return true;
}

static enum resp_result multibulk_begin(struct resp *r)
{
    int64_t n = 0;
    enum resp_result got = header(r, "ERR Protocol error: too big mbulk count string", &n);
    if (got != RESP_REQUEST) {
        return got;
    }
    if (n > RESP_ARGS_MAX) {
        return fail(r, "ERR Protocol error: invalid multibulk length");
    }
    if (n > RESP_UNTRUSTED_ARGS_MAX && !r->is_trusted) {
        return fail(r, "ERR Protocol error: unauthenticated multibulk length");
    }
    r->args_left = n > 0 ? n : 0;
    r->bulk_len = -1;
    return RESP_REQUEST;
}

static enum resp_result bulk_begin(struct resp *r)
{
    if (r->pos == r->end) {
        return RESP_MORE;
    }
    int64_t len = 0;
    char first = r->buf[r->pos];
    enum resp_result got = header(r, "ERR Protocol error: too big bulk count string", &len);
    if (got != RESP_REQUEST) {
        return got;
    }
    if (first != '$') {
        static const char text[] = "ERR Protocol error: expected '$', got '";
        memcpy(r->error_text, text, sizeof(text) - 1);
        r->error_text[sizeof(text) - 1] = first == '\r' || first == '\n' ? ' ' : first;
        memcpy(r->error_text + sizeof(text), "'", 2);
        return fail(r, r->error_text);
    }
    if (len < 0 || (uint64_t)len > r->max_bulk_bytes) {
        return fail(r, "ERR Protocol error: invalid bulk length");
    }
    if (len > RESP_UNTRUSTED_BULK_MAX && !r->is_trusted) {
        return fail(r, "ERR Protocol error: unauthenticated bulk length");
    }
    r->bulk_len = len;
    return RESP_REQUEST;
}

static enum resp_result arg_done(struct resp *r, char *data, size_t len, struct engine_blob *blob)
{
    if (!add_arg(r, data, len, blob)) {
        r->is_oom = true;
        r->blob_bytes -= blob != NULL ? len : 0;
        engine_blob_release(blob);
    }
    r->pos += 2;
    r->bulk_len = -1;
    r->args_left--;
    return RESP_REQUEST;
}

/* A large argument leaves the buffer: what is there moves into the blob, the rest is read there. */
static void blob_begin(struct resp *r)
{
    size_t len = (size_t)r->bulk_len;
    r->blob = r->is_oom ? NULL : engine_blob_create(len);
    if (r->blob == NULL) {
        r->is_oom = true;
        r->swallow_left = len;
        return;
    }
    size_t have = r->end - r->pos;
    r->blob_bytes += len;
    r->blob_fill = have < len ? have : len;
    memcpy(r->blob->data, r->buf + r->pos, r->blob_fill);
    if (have < len) {
        r->end = r->pos;
    } else {
        r->pos += len;
    }
}

static enum resp_result blob_continue(struct resp *r)
{
    struct engine_blob *blob = r->blob;
    if (r->blob_fill < blob->len || r->end - r->pos < 2) {
        return RESP_MORE;
    }
    r->blob = NULL;
    return arg_done(r, blob->data, blob->len, blob);
}

/* Drops a large argument; an empty one takes its place. */
static enum resp_result swallow(struct resp *r)
{
    size_t have = r->end - r->pos;
    size_t part = r->swallow_left < have ? (size_t)r->swallow_left : have;
    memmove(r->buf + r->pos, r->buf + r->pos + part, have - part);
    r->end -= part;
    r->swallow_left -= part;
    r->bulk_len = r->swallow_left > 0 ? r->bulk_len : 0;
    return r->swallow_left > 0 ? RESP_MORE : RESP_REQUEST;
}

static enum resp_result bulk_continue(struct resp *r)
{
    if (UNLIKELY(r->blob != NULL)) {
        return blob_continue(r);
    }
    if (UNLIKELY(r->swallow_left > 0)) {
        return swallow(r);
    }
    if (UNLIKELY(r->bulk_len >= ENGINE_BLOB_MIN)) {
        blob_begin(r);
        return RESP_REQUEST;
    }
    size_t len = (size_t)r->bulk_len;
    if (r->end - r->pos < len + 2) {
        return RESP_MORE;
    }
    char *data = r->buf + r->pos;
    r->pos += len;
    return arg_done(r, data, len, NULL);
}

/* --- inline ----------------------------------------------------------------------------------- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* What a backslash in "…" stands for; *p is behind the backslash and moves on. */
static char unescape(const char **p, const char *end)
{
    const char *s = *p;
    if (*s == 'x' && end - s > 2 && hex_digit(s[1]) >= 0 && hex_digit(s[2]) >= 0) {
        *p = s + 3;
        return (char)(hex_digit(s[1]) << 4 | hex_digit(s[2]));
    }
    *p = s + 1;
    switch (*s) {
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'b':
        return '\b';
    case 'a':
        return '\a';
    default:
        return *s;
    }
}

static bool is_blank(char c)
{
    return isspace((unsigned char)c) != 0;
}

/* Not quite the same set: \v and \f end no word. */
static bool ends_word(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* From behind the opening quote to behind the closing one; *out grows. False: unbalanced. */
static bool quoted(const char **pp, const char *end, char **out)
{
    const char *p = *pp;
    char quote = p[-1];
    while (p < end && *p != quote) {
        if (*p == '\\' && quote == '"' && p + 1 < end) {
            p++;
            *(*out)++ = unescape(&p, end);
        } else if (*p == '\\' && quote == '\'' && p + 1 < end && p[1] == '\'') {
            *(*out)++ = '\'';
            p += 2;
        } else {
            *(*out)++ = *p++;
        }
    }
    if (p == end || (p + 1 < end && !is_blank(p[1]))) {
        return false;
    }
    *pp = p + 1;
    return true;
}

bool resp_split_line(char *line, size_t len, resp_word_fn add, void *arg)
{
    const char *p = line;
    const char *end = line + strnlen(line, len);
    for (;;) {
        while (p < end && is_blank(*p)) {
            p++;
        }
        if (p == end) {
            return true;
        }
        /* The result is never longer than its source: it may overwrite it. */
        char *word = line + (p - line);
        char *out = word;
        while (p < end && !ends_word(*p)) {
            char c = *p++;
            if (c != '"' && c != '\'') {
                *out++ = c;
            } else if (!quoted(&p, end, &out)) {
                return false;
            } else {
                break;
            }
        }
        if (!add(arg, word, (size_t)(out - word))) {
            return true;
        }
    }
}

static bool add_word(void *arg, char *data, size_t len)
{
    struct resp *r = arg;
    if (!add_arg(r, data, len, NULL)) {
        r->is_oom = true;
        return false;
    }
    return true;
}

static enum resp_result inline_request(struct resp *r)
{
    size_t line_end = find_line_end(r, '\n');
    if (line_end == SIZE_MAX) {
        return r->end - r->pos > RESP_LINE_MAX
                   ? fail(r, "ERR Protocol error: too big inline request")
                   : RESP_MORE;
    }
    char *line = r->buf + r->pos;
    size_t len = line_end - r->pos;
    if (len > 0 && line[len - 1] == '\r') {
        len--;
    }
    r->pos = line_end + 1;
    if (!resp_split_line(line, len, add_word, r)) {
        return fail(r, "ERR Protocol error: unbalanced quotes in request");
    }
    return RESP_REQUEST;
}

/* --- the whole -------------------------------------------------------------------------------- */

static enum resp_result request_begin(struct resp *r)
{
    release_blobs(r);
    r->argc = 0;
    r->is_oom = false;
    if (r->argv_cap > KEPT_ARGS) {
        forget_argv(r);
    }
    if (r->pos == r->end) {
        return RESP_MORE;
    }
    return r->buf[r->pos] == '*' ? multibulk_begin(r) : inline_request(r);
}

enum resp_result resp_next(struct resp *r)
{
    if (r->args_left == 0) {
        enum resp_result got = request_begin(r);
        if (got != RESP_REQUEST) {
            return got;
        }
    }
    while (r->args_left > 0) {
        enum resp_result got = r->bulk_len < 0 ? bulk_begin(r) : bulk_continue(r);
        if (got != RESP_REQUEST) {
            return got;
        }
    }
    r->begin = r->pos;
    return RESP_REQUEST;
}
