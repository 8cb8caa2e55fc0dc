/*
 * Replies are written into the output's open region; the short ones in one piece behind one bounds
 * check. Error texts that clients match on are Redis' own. What a command says while its shards are
 * locked only copies or takes a reference: sending comes after the locks.
 */
#include "net/reply.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/mem.h"
#include "net/client.h"
#include "net/loop.h"
#include "net/table.h"

#define ERROR_TEXT_MAX 1024
#define HEADER_MAX 24      /* a type byte, 20 digits, \r\n */
#define SHORT_BULK_MAX 440 /* written with its header in one piece */

static const char digit_pairs[] = "00010203040506070809101112131415161718192021222324"
                                  "25262728293031323334353637383940414243444546474849"
                                  "50515253545556575859606162636465666768697071727374"
                                  "75767778798081828384858687888990919293949596979899";

static char *put_u64(char *p, uint64_t v)
{
    char digits[20];
    char *d = digits + sizeof(digits);
    while (v >= 100) {
        d -= 2;
        memcpy(d, digit_pairs + v % 100 * 2, 2);
        v /= 100;
    }
    if (v >= 10) {
        d -= 2;
        memcpy(d, digit_pairs + v * 2, 2);
    } else {
        *--d = (char)('0' + v);
    }
    size_t n = (size_t)(digits + sizeof(digits) - d);
    memcpy(p, d, n);
    return p + n;
}

static char *put_header(char *p, char type, uint64_t n)
{
    *p++ = type;
    if (n < 10) {
        *p++ = (char)('0' + n);
    } else {
        p = put_u64(p, n);
    }
    *p++ = '\r';
    *p++ = '\n';
    return p;
}

static void header(struct client *c, char type, uint64_t n)
{
    char *p = output_reserve(&c->out, HEADER_MAX);
    output_advance(&c->out, (size_t)(put_header(p, type, n) - p));
}

void reply_raw(struct client *c, const char *data, size_t len)
{
    output_append(&c->out, data, len);
}

void reply_ok(struct client *c)
{
    output_append(&c->out, "+OK\r\n", 5);
}

void reply_simple(struct client *c, const char *text)
{
    output_append(&c->out, "+", 1);
    output_append(&c->out, text, strlen(text));
    output_append(&c->out, "\r\n", 2);
}

/* --- errors ----------------------------------------------------------------------------------- */

void reply_error(struct client *c, const char *text)
{
    size_t len = strlen(text);
    c->flags |= CLIENT_HAS_ERROR;
    stats_error(&c->worker->stats, text, len);
    output_append(&c->out, "-", 1);
    output_append(&c->out, text, len);
    output_append(&c->out, "\r\n", 2);
}

void reply_errorf(struct client *c, const char *fmt, ...)
{
    char text[ERROR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    for (char *p = text; *p != '\0'; p++) {
        if (*p == '\r' || *p == '\n') {
            *p = ' ';
        }
    }
    reply_error(c, text);
}

void reply_status(struct client *c, enum status st)
{
    switch (st) {
    case NO_MEMORY:
    case NO_SPACE:
        reply_error(c, "OOM command not allowed when used memory > 'maxmemory'.");
        break;
    case TOO_BIG:
        reply_error(c, "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
        break;
    case CLOSED:
        reply_error(c, "ERR The server is shutting down");
        break;
    default:
        reply_errorf(c, "ERR %s", status_text(st));
        break;
    }
}

void reply_syntax_error(struct client *c)
{
    reply_error(c, "ERR syntax error");
}

void reply_arity_error(struct client *c)
{
    reply_errorf(c, "ERR wrong number of arguments for '%s' command", c->context.command->name);
}

/* --- strings ---------------------------------------------------------------------------------- */

static void bulk(struct client *c, char type, const char *data, size_t len)
{
    if (len <= SHORT_BULK_MAX) {
        char *begin = output_reserve(&c->out, HEADER_MAX + SHORT_BULK_MAX + 2);
        char *p = put_header(begin, type, len);
        if (len > 0) {
            memcpy(p, data, len);
            p += len;
        }
        *p++ = '\r';
        *p++ = '\n';
        output_advance(&c->out, (size_t)(p - begin));
    } else {
        header(c, type, len);
        output_append(&c->out, data, len);
        output_append(&c->out, "\r\n", 2);
    }
}

void reply_bulk(struct client *c, const char *data, size_t len)
{
    bulk(c, '$', data, len);
}

void reply_bulk_text(struct client *c, const char *text)
{
    bulk(c, '$', text, strlen(text));
}

void reply_verbatim(struct client *c, const char *data, size_t len)
{
    if (c->context.resp < 3) {
        bulk(c, '$', data, len);
        return;
    }
    header(c, '=', len + 4);
    output_append(&c->out, "txt:", 4);
    output_append(&c->out, data, len);
    output_append(&c->out, "\r\n", 2);
}

void reply_value_range(struct client *c, const struct engine_value *value, size_t offset,
                       size_t len)
{
    if (value->blob != NULL && len >= ENGINE_BLOB_MIN) {
        header(c, '$', len);
        output_append_blob(&c->out, value->blob, value->data + offset, len);
        output_append(&c->out, "\r\n", 2);
    } else {
        bulk(c, '$', len > 0 ? value->data + offset : NULL, len);
    }
}

void reply_value(struct client *c, const struct engine_value *value)
{
    reply_value_range(c, value, 0, value->len);
}

/* --- the rest --------------------------------------------------------------------------------- */

void reply_integer(struct client *c, int64_t value)
{
    char *begin = output_reserve(&c->out, HEADER_MAX);
    char *p = begin;
    *p++ = ':';
    if (value < 0) {
        *p++ = '-';
    }
    p = put_u64(p, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
    *p++ = '\r';
    *p++ = '\n';
    output_advance(&c->out, (size_t)(p - begin));
}

void reply_null(struct client *c)
{
    if (c->context.resp < 3) {
        output_append(&c->out, "$-1\r\n", 5);
    } else {
        output_append(&c->out, "_\r\n", 3);
    }
}

void reply_null_array(struct client *c)
{
    if (c->context.resp < 3) {
        output_append(&c->out, "*-1\r\n", 5);
    } else {
        output_append(&c->out, "_\r\n", 3);
    }
}

void reply_double(struct client *c, double value)
{
    char text[48];
    int n = isinf(value) ? snprintf(text, sizeof(text), "%s", value > 0 ? "inf" : "-inf")
                         : snprintf(text, sizeof(text), "%.17g", value);
    if (c->context.resp < 3) {
        bulk(c, '$', text, (size_t)n);
        return;
    }
    output_append(&c->out, ",", 1);
    output_append(&c->out, text, (size_t)n);
    output_append(&c->out, "\r\n", 2);
}

void reply_bool(struct client *c, bool value)
{
    if (c->context.resp < 3) {
        output_append(&c->out, value ? ":1\r\n" : ":0\r\n", 4);
    } else {
        output_append(&c->out, value ? "#t\r\n" : "#f\r\n", 4);
    }
}

void reply_array(struct client *c, size_t n)
{
    header(c, '*', n);
}

void reply_map(struct client *c, size_t n_pairs)
{
    if (c->context.resp < 3) {
        header(c, '*', n_pairs * 2);
    } else {
        header(c, '%', n_pairs);
    }
}

void reply_set(struct client *c, size_t n)
{
    header(c, c->context.resp < 3 ? '*' : '~', n);
}

void reply_push(struct client *c, size_t n)
{
    header(c, c->context.resp < 3 ? '*' : '>', n);
}
