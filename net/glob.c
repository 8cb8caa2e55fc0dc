/*
 * Every element of a pattern but '*' consumes exactly one byte of the text. So when the text stops
 * matching, only the last '*' can help, by swallowing one byte more: what was matched before it need
 * never be tried again, and the work is at most pattern_len * text_len. (Redis recurses per '*'; until
 * 7.0.9 that was exponential.)
 *
 * Peculiarities of Redis, kept because keys that match today must match here:
 * 1. The empty text matches the empty pattern only, not even "*".
 * 2. "[]" is an empty class and matches nothing; "[^]" matches any byte. ']' cannot be a member unless
 *    escaped or the end of a range: "[a-]" goes from 'a' to ']' and is then still open.
 * 3. A class that is never closed ends with the pattern; "[" alone matches nothing, "[^" any byte.
 * 4. A range may be given backwards, and compares bytes as signed.
 * 5. A single trailing backslash is itself. An escaped byte in a class never folds its case.
 */
#include "net/glob.h"

struct cursor {
    const char *p;
    const char *end;
};

static int fold(int ch, bool fold_case)
{
    return fold_case && ch >= 'A' && ch <= 'Z' ? ch + ('a' - 'A') : ch;
}

static bool in_range(int a, int b, int ch, bool fold_case)
{
    int low = a < b ? a : b;
    int high = a < b ? b : a;
    ch = fold(ch, fold_case);
    return ch >= fold(low, fold_case) && ch <= fold(high, fold_case);
}

/* Behind the '[': consumes the class, tells whether it holds ch. */
static bool match_class(struct cursor *at, signed char ch, bool fold_case)
{
    bool is_negated = at->p < at->end && *at->p == '^';
    bool is_member = false;
    at->p += is_negated;
    while (at->p < at->end && *at->p != ']') {
        size_t left = (size_t)(at->end - at->p);
        signed char first = (signed char)at->p[0];
        if (first == '\\' && left >= 2) {
            is_member |= (signed char)at->p[1] == ch;
            at->p += 2;
        } else if (left >= 3 && at->p[1] == '-') {
            is_member |= in_range(first, (signed char)at->p[2], ch, fold_case);
            at->p += 3;
        } else {
            is_member |= fold(first, fold_case) == fold(ch, fold_case);
            at->p += 1;
        }
    }
    at->p += at->p < at->end; /* the ']' */
    return is_member != is_negated;
}

/* Consumes one element that is not '*'. */
static bool match_one(struct cursor *at, char ch, bool fold_case)
{
    char first = *at->p++;
    if (first == '?') {
        return true;
    }
    if (first == '[') {
        return match_class(at, (signed char)ch, fold_case);
    }
    if (first == '\\' && at->p < at->end) {
        first = *at->p++;
    }
    return fold(first, fold_case) == fold(ch, fold_case);
}

bool glob_match(const char *pattern, size_t pattern_len, const char *text, size_t text_len,
                bool fold_case)
{
    if (text_len == 0 || pattern_len == 0) { /* either pointer may be NULL then */
        return text_len == pattern_len;
    }
    struct cursor at = {pattern, pattern + pattern_len};
    const char *text_end = text + text_len;
    const char *star = NULL;      /* what follows the last '*' met */
    const char *star_text = NULL; /* first byte which that '*' has not swallowed */
    while (text < text_end) {
        if (at.p < at.end && *at.p == '*') {
            star = ++at.p;
            star_text = text;
            if (at.p == at.end) {
                return true;
            }
        } else if (at.p < at.end && match_one(&at, *text, fold_case)) {
            text++;
        } else if (star != NULL) {
            at.p = star;
            text = ++star_text;
        } else {
            return false;
        }
    }
    while (at.p < at.end && *at.p == '*') {
        at.p++;
    }
    return at.p == at.end;
}

bool glob_is_all(const char *pattern, size_t pattern_len)
{
    return pattern_len == 1 && pattern[0] == '*';
}
