/*
 * Numbers as Redis 7.0 reads them. An integer has exactly one spelling (so that a value which is an
 * integer can be told from text without storing its type), a floating-point number has strtold's.
 * Arguments are not NUL-terminated here: everything is bounded by its length. Where Redis compares C
 * strings, what follows a NUL inside an argument is ignored (arg_is), and so it is here.
 */
#include "net/args.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define I64_DIGITS_MAX 20 /* with the sign */

bool arg_parse_i64(const char *data, size_t len, int64_t *out)
{
    if (len == 0 || len > I64_DIGITS_MAX) {
        return false;
    }
    if (len == 1 && data[0] == '0') {
        *out = 0;
        return true;
    }
    bool is_negative = data[0] == '-';
    size_t i = is_negative;
    if (i == len || data[i] < '1' || data[i] > '9') {
        return false;
    }
    uint64_t limit = is_negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX;
    uint64_t v = 0;
    for (; i < len; i++) {
        unsigned digit = (unsigned char)data[i] - (unsigned)'0';
        if (digit > 9 || v > (limit - digit) / 10) {
            return false;
        }
        v = v * 10 + digit;
    }
    *out = is_negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

static bool is_blank(char ch)
{
    return ch == ' ' || (ch >= '\t' && ch <= '\r');
}

bool arg_parse_long_double(const char *data, size_t len, long double *out)
{
    char text[ARG_LONG_DOUBLE_TEXT_MAX];
    if (len == 0 || len >= sizeof(text) || is_blank(data[0])) {
        return false;
    }
    memcpy(text, data, len);
    text[len] = '\0';
    errno = 0;
    char *end;
    long double v = strtold(text, &end);
    bool is_out_of_range = errno == ERANGE && (isinf(v) || v == 0);
    if (end != text + len || is_out_of_range || errno == EINVAL || isnan(v)) {
        return false;
    }
    *out = v;
    return true;
}

bool arg_parse_cursor(const char *data, size_t len, uint64_t *out)
{
    const char *nul = len > 0 ? memchr(data, '\0', len) : NULL;
    const char *end = nul != NULL ? nul : data + len;
    const char *p = data;
    if (p == end) {
        *out = 0;
        return true;
    }
    bool is_negative = *p == '-';
    p += is_negative || *p == '+';
    if (p == end) {
        return false;
    }
    uint64_t v = 0;
    for (; p < end; p++) {
        unsigned digit = (unsigned char)*p - (unsigned)'0';
        if (digit > 9 || __builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, digit, &v)) {
            return false;
        }
    }
    *out = is_negative ? 0 - v : v;
    return true;
}

size_t arg_format_i64(int64_t value, char out[ARG_I64_TEXT_MAX])
{
    char digits[I64_DIGITS_MAX];
    size_t n = 0;
    uint64_t v = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        digits[n++] = (char)('0' + v % 10);
        v /= 10;
    } while (v != 0);
    if (value < 0) {
        digits[n++] = '-';
    }
    for (size_t i = 0; i < n; i++) {
        out[i] = digits[n - 1 - i];
    }
    out[n] = '\0';
    return n;
}

size_t arg_format_long_double(long double value, char out[ARG_LONG_DOUBLE_TEXT_MAX])
{
    size_t n = (size_t)snprintf(out, ARG_LONG_DOUBLE_TEXT_MAX, "%.17Lf", value);
    while (out[n - 1] == '0') {
        n--;
    }
    n -= out[n - 1] == '.';
    if (n == 2 && out[0] == '-' && out[1] == '0') {
        out[0] = '0';
        n = 1;
    }
    out[n] = '\0';
    return n;
}

size_t arg_text_len(const struct arg *a)
{
    return strnlen(a->data, a->len);
}

bool arg_i64(const struct arg *a, int64_t *out)
{
    return arg_parse_i64(a->data, a->len, out);
}

bool arg_long_double(const struct arg *a, long double *out)
{
    return arg_parse_long_double(a->data, a->len, out);
}

bool arg_is(const struct arg *a, const char *word)
{
    size_t len = strlen(word);
    return a->len >= len && strncasecmp(a->data, word, len) == 0 &&
           (a->len == len || a->data[len] == '\0');
}
