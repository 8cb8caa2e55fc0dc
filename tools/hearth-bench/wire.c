/*
 * A reply is parsed only when it is whole; until then the parser says, as soon as the header tells,
 * how long it will be, so that the caller can make room at once or skip what it will not look at.
 * Nothing is remembered between calls: headers are short, and parsing one again costs less than
 * keeping a state.
 */
#include "tools/hearth-bench/wire.h"

#include <string.h>

#define REPLY_VALUE_MAX                                                                            \
    ((size_t)1 << 40) /* beyond any server's limit: a length above is nonsense */
#define REPLY_LINE_MAX 65536u

void buffer_reserve(struct buffer *buffer, size_t more)
{
    if (buffer->capacity - buffer->length >= more) {
        return;
    }
    size_t capacity = buffer->capacity * 2;
    if (capacity < buffer->length + more) {
        capacity = buffer->length + more;
    }
    buffer->data = bench_realloc(buffer->data, capacity);
    buffer->capacity = capacity;
}

uint64_t wire_default_port(enum bench_protocol protocol)
{
    return protocol == PROTOCOL_RESP ? 6379 : 11211;
}

static char *put(char *to, const char *bytes, size_t n)
{
    memcpy(to, bytes, n);
    return to + n;
}
#define PUT(to, literal) put(to, literal, sizeof(literal) - 1)

static char *put_number(char *to, uint64_t value)
{
    return to + bench_put_decimal(to, value);
}

static char *put_bulk(char *to, const char *bytes, size_t n)
{
    *to++ = '$';
    to = put_number(to, n);
    to = PUT(to, "\r\n");
    to = put(to, bytes, n);
    return PUT(to, "\r\n");
}

#define REQUEST_OVERHEAD 128u /* more than any fixed text and numbers around key and value */

void wire_put_get(enum bench_protocol protocol, struct buffer *out, const char *key, size_t n_key)
{
    buffer_reserve(out, n_key + REQUEST_OVERHEAD);
    char *to = out->data + out->length;
    if (protocol == PROTOCOL_RESP) {
        to = PUT(to, "*2\r\n$3\r\nGET\r\n");
        to = put_bulk(to, key, n_key);
    } else {
        bool is_meta = protocol == PROTOCOL_META;
        to = is_meta ? PUT(to, "mg ") : PUT(to, "get ");
        to = put(to, key, n_key);
        to = is_meta ? PUT(to, " v\r\n") : PUT(to, "\r\n");
    }
    out->length = (size_t)(to - out->data);
}

char *wire_put_set(enum bench_protocol protocol, struct buffer *out, const char *key, size_t n_key,
                   size_t n_value, uint64_t ttl_seconds)
{
    buffer_reserve(out, n_key + n_value + REQUEST_OVERHEAD);
    char *to = out->data + out->length;
    char *value;
    if (protocol == PROTOCOL_RESP) {
        to = ttl_seconds > 0 ? PUT(to, "*5\r\n") : PUT(to, "*3\r\n");
        to = PUT(to, "$3\r\nSET\r\n");
        to = put_bulk(to, key, n_key);
        *to++ = '$';
        to = put_number(to, n_value);
        value = to = PUT(to, "\r\n");
        to = PUT(to + n_value, "\r\n");
        if (ttl_seconds > 0) {
            char digits[20];
            to = PUT(to, "$2\r\nEX\r\n");
            to = put_bulk(to, digits, (size_t)(put_number(digits, ttl_seconds) - digits));
        }
    } else if (protocol == PROTOCOL_META) {
        to = PUT(to, "ms ");
        to = put(to, key, n_key);
        *to++ = ' ';
        to = put_number(to, n_value);
        to = PUT(to, " T");
        to = put_number(to, ttl_seconds);
        value = to = PUT(to, "\r\n");
        to = PUT(to + n_value, "\r\n");
    } else {
        to = PUT(to, "set ");
        to = put(to, key, n_key);
        to = PUT(to, " 0 ");
        to = put_number(to, ttl_seconds);
        *to++ = ' ';
        to = put_number(to, n_value);
        value = to = PUT(to, "\r\n");
        to = PUT(to + n_value, "\r\n");
    }
    out->length = (size_t)(to - out->data);
    return value;
}

/* Length of the line at data without its CRLF; SIZE_MAX when it has no end yet. */
static size_t line_length(const char *data, size_t n_data)
{
    const char *end = memchr(data, '\n', n_data < REPLY_LINE_MAX ? n_data : REPLY_LINE_MAX);
    if (end == NULL) {
        return SIZE_MAX;
    }
    size_t n = (size_t)(end - data);
    return n > 0 && data[n - 1] == '\r' ? n - 1 : n;
}

/* Decimal number at `from`, at most to `end`; NULL when there is none or it is absurd. */
static const char *parse_size(const char *from, const char *end, size_t *value_out)
{
    size_t value = 0;
    const char *at = from;
    while (at < end && *at >= '0' && *at <= '9' && value < REPLY_VALUE_MAX) {
        value = value * 10 + (size_t)(*at++ - '0');
    }
    *value_out = value;
    return at > from && value < REPLY_VALUE_MAX ? at : NULL;
}

/* The value behind a header of n_header bytes, followed by `tail`. */
static void take_value(const char *data, size_t n_data, size_t n_header, size_t n_value,
                       const char *tail, struct reply *reply)
{
    size_t n_tail = strlen(tail);
    reply->length = n_header + n_value + n_tail;
    reply->n_data = n_value;
    if (n_data < reply->length) {
        reply->kind = REPLY_PARTIAL;
        return;
    }
    bool is_sound = memcmp(data + n_header + n_value, tail, n_tail) == 0;
    reply->kind = is_sound ? REPLY_VALUE : REPLY_GARBAGE;
    reply->data = data + n_header;
}

static void parse_resp(const char *data, size_t n_data, size_t n_line, struct reply *reply)
{
    const char *end = data + n_line;
    size_t n_value;
    switch (data[0]) {
    case '+':
    case ':':
        reply->kind = REPLY_OK;
        break;
    case '-':
        reply->kind = REPLY_ERROR;
        reply->data = data + 1;
        reply->n_data = n_line - 1;
        break;
    case '_':
        reply->kind = REPLY_MISS;
        break;
    case '$':
        if (n_line == 3 && data[1] == '-' && data[2] == '1') {
            reply->kind = REPLY_MISS;
        } else if (parse_size(data + 1, end, &n_value) == end) {
            take_value(data, n_data, n_line + 2, n_value, "\r\n", reply);
        }
        break;
    default:
        break;
    }
}

static bool line_begins(const char *line, size_t n_line, const char *word)
{
    size_t n = strlen(word);
    return n_line >= n && memcmp(line, word, n) == 0;
}

static bool line_is(const char *line, size_t n_line, const char *word)
{
    return n_line == strlen(word) && memcmp(line, word, n_line) == 0;
}

static void parse_memcached(const char *data, size_t n_data, size_t n_line, struct reply *reply)
{
    const char *end = data + n_line;
    if (line_begins(data, n_line, "VALUE ")) {
        const char *space = memrchr(data, ' ', n_line);
        size_t n_value;
        if (parse_size(space + 1, end, &n_value) == end) {
            take_value(data, n_data, n_line + 2, n_value, "\r\nEND\r\n", reply);
        }
    } else if (line_begins(data, n_line, "VA ")) {
        const char *size_end =
            memchr(data + 3, ' ', n_line - 3); /* before flags, if there are any */
        size_end = size_end != NULL ? size_end : end;
        size_t n_value;
        if (parse_size(data + 3, size_end, &n_value) == size_end) {
            take_value(data, n_data, n_line + 2, n_value, "\r\n", reply);
        }
    } else if (line_begins(data, n_line, "END") || line_is(data, n_line, "EN")) {
        reply->kind = REPLY_MISS;
    } else if (line_begins(data, n_line, "STORED") || line_begins(data, n_line, "VERSION") ||
               line_is(data, n_line, "HD")) {
        reply->kind = REPLY_OK;
    } else if (line_begins(data, n_line, "SERVER_ERROR") || line_begins(data, n_line, "ERROR") ||
               line_begins(data, n_line, "CLIENT_ERROR") ||
               line_begins(data, n_line, "NOT_STORED") || line_is(data, n_line, "NS")) {
        reply->kind = REPLY_ERROR;
        reply->data = data;
        reply->n_data = n_line;
    }
}

void wire_parse(enum bench_protocol protocol, const char *data, size_t n_data,
                struct reply *reply_out)
{
    *reply_out = (struct reply){.kind = REPLY_PARTIAL};
    size_t n_line = line_length(data, n_data);
    if (n_line == SIZE_MAX) {
        reply_out->kind = n_data >= REPLY_LINE_MAX ? REPLY_GARBAGE : REPLY_PARTIAL;
        return;
    }
    reply_out->kind = REPLY_GARBAGE;
    reply_out->length = n_line + 2;
    if (n_data < 2 || data[n_line] != '\r') {
        return;
    }
    if (protocol == PROTOCOL_RESP) {
        parse_resp(data, n_data, n_line, reply_out);
    } else {
        parse_memcached(data, n_data, n_line, reply_out);
    }
}
