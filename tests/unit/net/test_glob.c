#include "net/glob.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/glob_reference.h"
#include "tests/support/unit.h"

static bool matches(const char *pattern, const char *text)
{
    return glob_match(pattern, strlen(pattern), text, strlen(text), false);
}

/* Each row was asked of redis-server 7.0.15 (SET text, KEYS pattern). */
START_TEST(answers_of_redis)
{
    static const struct row {
        const char *pattern, *text;
        bool is_match;
    } rows[] = {
        {"abc", "abc", true},
        {"abc", "ab", false},
        {"ab", "abc", false},
        {"a?c", "abc", true},
        {"a?c", "ac", false},
        {"a*c", "ac", true},
        {"a*c", "abbbc", true},
        {"a*c", "abbbd", false},
        {"*", "a", true},
        {"a*", "a", true},
        {"a**", "a", true},
        {"*a*b*", "xaxb", true},
        {"*ab", "aab", true},
        {"*aab", "aaaab", true},
        {"?*?", "a", false},
        {"?*?", "ab", true},
        {"[abc]", "b", true},
        {"[abc]", "d", false},
        {"[^abc]", "d", true},
        {"[^abc]", "a", false},
        {"[a-c]", "b", true},
        {"[c-a]", "b", true},
        {"[a-c]", "d", false},
        {"[a\\-c]", "-", true},
        {"[a\\-c]", "b", false},
        {"[\\]]", "]", true},
        {"\\*", "*", true},
        {"\\*", "a", false},
        {"\\\\", "\\", true},
        {"\\", "\\", true},
        {"a\\", "a\\", true},
        {"[", "[", false},
        {"[", "a", false},
        {"[^", "a", true},
        {"[a", "a", true},
        {"[a", "b", false},
        {"[]", "]", false},
        {"[]a]", "a]", false},
        {"[^]", "a", true},
        {"[^]a", "xa", true},
        {"[a-", "-", true},
        {"[a-", "a", true},
        {"[a-]", "]", true},
        {"[a-]", "-", false},
        {"[a-]", "_", true},
        {"[a-]]", "^]", false},
        {"[\\", "\\", true},
        {"[\\a]", "a", true},
        {"[\x80-\xff]", "\x90", true},
        {"[\x80-a]", "\x90", true},
        {"[b-\xff]", "c", false},
        {"]", "]", true},
        {"-", "-", true},
        {"^a", "^a", true},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        ck_assert_msg(matches(rows[i].pattern, rows[i].text) == rows[i].is_match,
                      "pattern %s text %s", rows[i].pattern, rows[i].text);
    }
}
END_TEST

START_TEST(empty_text_matches_only_the_empty_pattern)
{
    ck_assert(matches("", ""));
    ck_assert(!matches("*", ""));
    ck_assert(!matches("**", ""));
    ck_assert(!matches("?", ""));
    ck_assert(!matches("", "a"));
    ck_assert(glob_match(NULL, 0, NULL, 0, false)); /* an empty key has no bytes to point at */
    ck_assert(!glob_match("?", 1, NULL, 0, false));
    ck_assert(!glob_match(NULL, 0, "a", 1, false));
    ck_assert(glob_is_all("*", 1));
    ck_assert(!glob_is_all("**", 2));
    ck_assert(!glob_is_all("", 0));
}
END_TEST

START_TEST(nul_is_a_byte_like_any_other)
{
    ck_assert(glob_match("a\0*", 3, "a\0b", 3, false));
    ck_assert(!glob_match("a\0c", 3, "a\0b", 3, false));
    ck_assert(glob_match("[\0]", 3, "\0", 1, false));
    ck_assert(glob_match("*", 1, "\0", 1, false));
}
END_TEST

START_TEST(case_is_folded_on_demand)
{
    ck_assert(glob_match("MAX*", 4, "maxmemory", 9, true));
    ck_assert(!glob_match("MAX*", 4, "maxmemory", 9, false));
    ck_assert(glob_match("[A-C]x", 6, "bX", 2, true));
    ck_assert(glob_match("[^A]", 4, "b", 1, true));
    ck_assert(!glob_match("[^A]", 4, "a", 1, true));
    ck_assert(!glob_match("[\\A]", 4, "a", 1, true)); /* as Redis: not folded */
}
END_TEST

/* All patterns of 5 bytes of an alphabet of specials, and what they begin with, against many texts up
 * to 3 bytes. */
START_TEST(agrees_with_the_reference_on_all_short_patterns)
{
    static const char symbols[] = "*?[]^-\\aB";
    static const char letters[] = "ab]-\\";
    enum { N_SYMBOLS = sizeof(symbols) - 1, N_LETTERS = sizeof(letters) - 1 };
    static struct glob_reference reference;
    for (uint32_t p = 0; p < N_SYMBOLS * N_SYMBOLS * N_SYMBOLS * N_SYMBOLS * N_SYMBOLS; p++) {
        char pattern[5];
        size_t pattern_len = 0;
        for (uint32_t rest = p; pattern_len < 5; rest /= N_SYMBOLS) {
            pattern[pattern_len++] = symbols[rest % N_SYMBOLS];
        }
        size_t n = p % 3 == 0 ? 5 - p / 3 % 5 : 5;
        bool fold_case = (p & 1) != 0;
        glob_reference_parse(&reference, pattern, n, fold_case);
        for (uint32_t t = p % 7; t < N_LETTERS * N_LETTERS * N_LETTERS; t += 7) {
            char text[3] = {letters[t % N_LETTERS], letters[t / N_LETTERS % N_LETTERS],
                            letters[t / N_LETTERS / N_LETTERS]};
            size_t len = 1 + (p + t) % 3;
            bool is_match = glob_match(pattern, n, text, len, fold_case);
            if (is_match != glob_reference_match(&reference, text, len)) {
                ck_abort_msg("pattern %.*s text %.*s fold %d", (int)n, pattern, (int)len, text,
                             fold_case);
            }
        }
    }
}
END_TEST

/* What is exponential when every '*' tries everything; also no recursion, so no limit to the stars. */
START_TEST(many_stars_cost_no_more_than_the_product)
{
    enum { N_STARS = 2000, N_TEXT = 20000 };
    char *pattern = malloc(2 * N_STARS + 1);
    char *text = malloc(N_TEXT);
    for (size_t i = 0; i < N_STARS; i++) {
        memcpy(pattern + 2 * i, "*a", 2);
    }
    pattern[2 * N_STARS] = 'b';
    memset(text, 'a', N_TEXT);
    ck_assert(!glob_match(pattern, 2 * N_STARS + 1, text, N_TEXT, false));
    text[N_TEXT - 1] = 'b';
    ck_assert(glob_match(pattern, 2 * N_STARS + 1, text, N_TEXT, false));
    free(pattern);
    free(text);
}
END_TEST

UNIT_MAIN("glob", {answers_of_redis}, {empty_text_matches_only_the_empty_pattern},
          {nul_is_a_byte_like_any_other}, {case_is_folded_on_demand},
          {agrees_with_the_reference_on_all_short_patterns},
          {many_stars_cost_no_more_than_the_product})
