/* A byte of flags, then a record as it might come from the device. With flag 1 its CRC is made right, so
 * that the fields behind it are judged: what decodes must lie within the buffer and encode to the same
 * bytes again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tiers/crc32c.h"
#include "tiers/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

#define SEED 0x1234567u
#define HEADER_BYTES 24

/* The size that the header claims. */
static size_t claimed_size(const char *bytes)
{
    uint64_t lengths, identity;
    memcpy(&identity, bytes + 8, sizeof(identity));
    memcpy(&lengths, bytes + 16, sizeof(lengths));
    size_t n = HEADER_BYTES + (identity >> 56 & 1) * 8 + ((identity >> 48 & 15) == 2 ? 8 : 0) +
               (lengths & 0xffff) + (lengths >> 16 & 0x1fffff);
    return (n + RECORD_ALIGN - 1) / RECORD_ALIGN * RECORD_ALIGN;
}

static void must(int is_true)
{
    if (!is_true) {
        abort();
    }
}

static void check(const char *bytes, size_t len)
{
    struct record r;
    if (record_decode(bytes, len, SEED, &r) != OK) {
        return;
    }
    size_t n = record_size(&r);
    must(n <= len && r.key >= bytes && r.key + r.key_len <= r.stored);
    must(r.stored + r.stored_len <= bytes + n);
    char *again = malloc(n);
    must(again != NULL);
    record_encode(&r, SEED, again);
    /* What a chunk has behind its number, and the padding, need not be zeros to verify. */
    struct record second;
    must(record_decode(again, n, SEED, &second) == OK);
    must(second.seq == r.seq && second.ns == r.ns && second.chunk_no == r.chunk_no);
    must(second.key_len == r.key_len && memcmp(second.key, r.key, r.key_len) == 0);
    must(second.stored_len == r.stored_len && second.raw_len == r.raw_len);
    must(memcmp(second.stored, r.stored, r.stored_len) == 0);
    must(second.kind == r.kind && second.codec == r.codec && second.expire_at_ms == r.expire_at_ms);
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    if (size < 1) {
        return 0;
    }
    size_t len = size - 1;
    char *exact = malloc(len == 0 ? 1 : len); /* AddressSanitizer sees one byte too many */
    must(exact != NULL);
    memcpy(exact, input + 1, len);
    if ((input[0] & 1) != 0 && len >= HEADER_BYTES && claimed_size(exact) <= len) {
        uint32_t crc = crc32c(SEED, exact + 4, claimed_size(exact) - 4);
        memcpy(exact, &crc, sizeof(crc));
    }
    check(exact, len);
    free(exact);
    return 0;
}
