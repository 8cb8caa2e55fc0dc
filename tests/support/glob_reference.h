/*
 * Purpose: a second, slow glob matcher to hold net/glob.c against: the pattern becomes a row of byte
 *   sets, and all positions in the row are followed at once (no backtracking, unlike glob.c).
 * Threads: any. Errors: patterns longer than GLOB_REFERENCE_MAX do not fit.
 */
#ifndef HEARTH_TESTS_SUPPORT_GLOB_REFERENCE_H
#define HEARTH_TESTS_SUPPORT_GLOB_REFERENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define GLOB_REFERENCE_MAX 256

struct glob_reference {
    size_t n;
    bool is_star[GLOB_REFERENCE_MAX];
    bool takes[GLOB_REFERENCE_MAX][256];
};

static inline int glob_reference_lower(int ch)
{
    return ch >= 'A' && ch <= 'Z' ? ch - 'A' + 'a' : ch;
}

static inline void glob_reference_add(bool *takes, int low, int high, bool fold_case)
{
    for (int ch = -128; ch < 128; ch++) {
        int seen = fold_case ? glob_reference_lower(ch) : ch;
        takes[(unsigned char)ch] |= seen >= low && seen <= high;
    }
}

/* Reads the class that begins at p[i], behind the '['; returns where it ends. */
static inline size_t glob_reference_class(bool *takes, const signed char *p, size_t i, size_t n,
                                          bool fold_case)
{
    bool is_negated = i < n && p[i] == '^';
    i += is_negated;
    for (; i < n && p[i] != ']'; i++) {
        if (p[i] == '\\' && i + 1 < n) {
            takes[(unsigned char)p[++i]] = true;
        } else if (i + 2 < n && p[i + 1] == '-') {
            int a = p[i] < p[i + 2] ? p[i] : p[i + 2];
            int b = p[i] < p[i + 2] ? p[i + 2] : p[i];
            glob_reference_add(takes, fold_case ? glob_reference_lower(a) : a,
                               fold_case ? glob_reference_lower(b) : b, fold_case);
            i += 2;
        } else {
            int ch = fold_case ? glob_reference_lower(p[i]) : p[i];
            glob_reference_add(takes, ch, ch, fold_case);
        }
    }
    for (size_t ch = 0; ch < 256; ch++) {
        takes[ch] = takes[ch] != is_negated;
    }
    return i < n ? i + 1 : n;
}

static inline void glob_reference_parse(struct glob_reference *g, const char *pattern, size_t n,
                                        bool fold_case)
{
    const signed char *p = (const signed char *)pattern;
    g->n = 0;
    for (size_t i = 0; i < n; g->n++) {
        bool *takes = g->takes[g->n];
        memset(takes, false, 256);
        g->is_star[g->n] = false;
        signed char ch = p[i++];
        if (ch == '*') {
            g->is_star[g->n] = true;
        } else if (ch == '?') {
            memset(takes, true, 256);
        } else if (ch == '[') {
            i = glob_reference_class(takes, p, i, n, fold_case);
        } else {
            ch = ch == '\\' && i < n ? p[i++] : ch;
            int seen = fold_case ? glob_reference_lower(ch) : ch;
            glob_reference_add(takes, seen, seen, fold_case);
        }
    }
}

static inline bool glob_reference_match(const struct glob_reference *g, const char *text,
                                        size_t text_len)
{
    bool at[GLOB_REFERENCE_MAX + 1] = {true};
    if (text_len == 0) {
        return g->n == 0;
    }
    for (size_t t = 0; t <= text_len; t++) {
        bool next[GLOB_REFERENCE_MAX + 1] = {false};
        for (size_t e = 0; e < g->n; e++) {
            at[e + 1] |= at[e] && g->is_star[e];
        }
        if (t == text_len) {
            break;
        }
        for (size_t e = 0; e < g->n; e++) {
            next[e] |= at[e] && g->is_star[e];
            next[e + 1] |= at[e] && g->takes[e][(unsigned char)text[t]];
        }
        memcpy(at, next, g->n + 1);
    }
    return at[g->n];
}

#endif
