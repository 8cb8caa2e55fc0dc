/* A byte of flags, a byte that seeds how the stream is cut, the stream: whatever the cuts, the same
 * requests and the same error come out, and no blob is left. One error is exempt, as it is in Redis: a
 * line over 64 KB is refused while its end is missing, and accepted when it came in one piece. */
#include <stdint.h>

#include "tests/support/resp_feed.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

static size_t whole(void *arg)
{
    return SIZE_MAX;
}

static size_t cut(void *arg)
{
    uint32_t *seed = arg;
    *seed = *seed * 1103515245u + 12345u;
    unsigned kind = *seed >> 28;
    return kind < 10 ? 1 + (*seed >> 16) % 7 : 1 + (*seed >> 12) % 5000;
}

static struct story run(const uint8_t *input, size_t size, feed_piece_fn piece, void *arg)
{
    struct resp r;
    struct story s = {0};
    resp_init(&r);
    r.is_trusted = (input[0] & 1) == 0;
    r.max_bulk_bytes = (input[0] & 2) != 0 ? 100000 : 512u * 1024 * 1024;
    blob_double_limit = (input[0] & 4) != 0 ? 40000 : 1 << 20;
    feed(&r, (const char *)input + 2, size - 2, piece, arg, &s);
    resp_deinit(&r);
    return s;
}

/* Bytes before a final "too big …", or all. */
static size_t comparable(const struct story *s)
{
    const char *error =
        s->len == 0 ? NULL : memmem(s->text, s->len, "ERR Protocol error: too big", 27);
    return error != NULL ? (size_t)(error - s->text) : s->len;
}

static bool agree(const struct story *a, const struct story *b)
{
    size_t len_a = comparable(a);
    size_t len_b = comparable(b);
    size_t len = len_a < len_b ? len_a : len_b;
    bool is_exempt = len_a < a->len || len_b < b->len;
    return (is_exempt || a->len == b->len) && (len == 0 || memcmp(a->text, b->text, len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    if (size < 2) {
        return 0;
    }
    uint32_t seed = input[1];
    struct story a = run(input, size, whole, NULL);
    struct story b = run(input, size, cut, &seed);
    if (!agree(&a, &b) || blob_double_alive != 0) {
        abort();
    }
    free(a.text);
    free(b.text);
    return 0;
}
