/*
 * Purpose: glob patterns of KEYS, SCAN MATCH, CONFIG GET: * ? [a-z] [^a] and \ for the next byte,
 *   byte for byte what Redis' stringmatchlen accepts, its peculiarities included (glob.c).
 * Threads: pure. Errors: none; every byte string is a pattern.
 */
#ifndef HEARTH_NET_GLOB_H
#define HEARTH_NET_GLOB_H

#include <stdbool.h>
#include <stddef.h>

/* fold_case: ASCII letters match whatever their case. At most pattern_len * text_len steps. */
bool glob_match(const char *pattern, size_t pattern_len, const char *text, size_t text_len,
                bool fold_case);
/* The pattern "*", which unlike glob_match's takes the empty text too: KEYS and SCAN skip matching. */
bool glob_is_all(const char *pattern, size_t pattern_len);

#endif
