/* Two bytes of length, a byte of kind, then what a record claims to be a stored value: decompressing
 * writes within the promised length, and what fills it exactly survives a round trip. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tiers/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

static void must(int is_true)
{
    if (!is_true) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    static struct codec *c;
    must(c != NULL || codec_create(&c) == OK);
    if (size < 3) {
        return 0;
    }
    size_t raw_len = (size_t)(input[0] | input[1] << 8);
    size_t len = size - 3;
    char *stored =
        malloc(len + 1); /* exact but for one byte: AddressSanitizer sees what is beyond */
    char *raw = malloc(raw_len + 1);
    must(stored != NULL && raw != NULL);
    memcpy(stored, input + 3, len);
    enum status st = codec_decompress(c, input[2] % 4, stored, len, raw, raw_len);
    must(st == OK || st == CORRUPT);
    if (st == OK) {
        char *again = malloc(raw_len + 1);
        char *back = malloc(raw_len + 1);
        size_t n = 0;
        must(again != NULL && back != NULL);
        enum codec_kind kind = codec_compress(c, 1, raw, raw_len, again, raw_len, &n);
        must(n <= raw_len && codec_decompress(c, kind, again, n, back, raw_len) == OK);
        must(memcmp(raw, back, raw_len) == 0);
        free(again);
        free(back);
    }
    free(stored);
    free(raw);
    return 0;
}
