/*
 * Purpose: what options.c and options_file.c share; nobody else includes it.
 * Threads: options_file_forget and everything in options_file.c run in the setters' turn.
 * Errors: none.
 */
#ifndef HEARTH_BASE_OPTIONS_INTERNAL_H
#define HEARTH_BASE_OPTIONS_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

/* Formats into error_out (OPTION_ERROR_MAX bytes), which may be NULL. */
__attribute__((format(printf, 2, 3))) void option_explain(char *error_out, const char *fmt, ...);
/* 67108864 as 64mb: the largest unit that divides it. */
void option_format_bytes(int64_t bytes, char *buf, size_t cap);
/* Setters and rewriters take turns; recursive. */
void options_turn_begin(void);
void options_turn_end(void);
/* options_init: no file, nothing loaded. */
void options_file_forget(void);

#endif
