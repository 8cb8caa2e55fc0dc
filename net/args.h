/*
 * Purpose: numbers and words as Redis reads and prints them (the arg_* of net/command.h work on
 *   arguments; these work on any bytes).
 * Threads: pure functions.
 * Errors: false: not such a number, nothing is written to *out.
 */
#ifndef HEARTH_NET_ARGS_H
#define HEARTH_NET_ARGS_H

#include "net/command.h"

#define ARG_I64_TEXT_MAX 21           /* "-9223372036854775808" and a NUL */
#define ARG_LONG_DOUBLE_TEXT_MAX 5120 /* LDBL_MAX has 4,933 digits; 5 KB is Redis' own limit */

/* Canonical decimal only: no blanks, no '+', no leading zeros, no "-0". */
bool arg_parse_i64(const char *data, size_t len, int64_t *out);
/* As strtold, without leading blanks, trailing bytes, NaN, overflow or underflow to zero. */
bool arg_parse_long_double(const char *data, size_t len, long double *out);
/* As SCAN reads a cursor: strtoul in base 10. */
bool arg_parse_cursor(const char *data, size_t len, uint64_t *out);

/* Decimal digits and a NUL; the length without it. */
size_t arg_format_i64(int64_t value, char out[ARG_I64_TEXT_MAX]);
/* %.17Lf without trailing zeros; "-0" is "0". */
size_t arg_format_long_double(long double value, char out[ARG_LONG_DOUBLE_TEXT_MAX]);

/* How many bytes of the argument C's string functions would see: up to a NUL. */
size_t arg_text_len(const struct arg *a);

#endif
