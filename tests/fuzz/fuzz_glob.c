/* A byte of flags, a byte with the pattern's length, the pattern, the text: glob.c must read nothing
 * beyond either, and agree with the slow reference. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "net/glob.h"
#include "tests/support/glob_reference.h"

#define TEXT_MAX 512 /* keeps an execution short */

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

/* A copy of exactly that size: AddressSanitizer sees one byte too many. */
static char *exact_copy(const uint8_t *from, size_t len)
{
    char *copy = malloc(len == 0 ? 1 : len);
    if (copy == NULL) {
        abort();
    }
    memcpy(copy, from, len);
    return copy;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    if (size < 2) {
        return 0;
    }
    static struct glob_reference reference;
    bool fold_case = (input[0] & 1) != 0;
    size_t pattern_len = input[1] < size - 2 ? input[1] : size - 2;
    size_t text_len = size - 2 - pattern_len;
    text_len = text_len < TEXT_MAX ? text_len : TEXT_MAX;
    char *pattern = exact_copy(input + 2, pattern_len);
    char *text = exact_copy(input + 2 + pattern_len, text_len);
    glob_reference_parse(&reference, pattern, pattern_len, fold_case);
    if (glob_match(pattern, pattern_len, text, text_len, fold_case) !=
        glob_reference_match(&reference, text, text_len)) {
        abort();
    }
    free(pattern);
    free(text);
    return 0;
}
