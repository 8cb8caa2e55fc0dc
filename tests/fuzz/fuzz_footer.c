/* A byte of flags, then a block as it might come from the device: header, records, footer. With flag 1
 * the trailer, with flag 2 the header is made right, with flag 4 the records' CRCs too. Whatever is
 * listed must lie within the block. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tiers/crc32c.h"
#include "tiers/log_impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

#define SEGMENT 3
#define GENERATION 77
#define OFFSET (SEGMENT * UINT64_C(2097152) + 8192)

static uint32_t block_seed(void)
{
    return record_seed(SEGMENT, GENERATION, OFFSET / INDEX_UNIT_BYTES);
}

static void must(int is_true)
{
    if (!is_true) {
        abort();
    }
}

static void repair_trailer(char *bytes, uint32_t len)
{
    struct log_block_trailer t;
    memcpy(&t, bytes + len - sizeof(t), sizeof(t));
    t.magic = LOG_FOOTER_MAGIC;
    t.total_len = len;
    t.zero = 0;
    t.entries_len %= len - (uint32_t)sizeof(t) + 1;
    const char *entries = bytes + len - sizeof(t) - t.entries_len;
    size_t from = offsetof(struct log_block_trailer, n_records);
    t.crc32c =
        crc32c(crc32c(block_seed(), entries, t.entries_len), (char *)&t + from, sizeof(t) - from);
    memcpy(bytes + len - sizeof(t), &t, sizeof(t));
}

static void repair_header(char *bytes, uint32_t len)
{
    struct log_block_header h;
    memcpy(&h, bytes, sizeof(h));
    h.magic = LOG_BLOCK_MAGIC;
    h.format = LOG_FORMAT;
    h.segment = SEGMENT;
    h.generation = GENERATION;
    h.total_len = len;
    memset(h.uuid, 0, sizeof(h.uuid));
    size_t from = offsetof(struct log_block_header, format);
    h.crc32c = crc32c(block_seed(), (char *)&h + from, sizeof(h) - from);
    memcpy(bytes, &h, sizeof(h));
}

static void repair_record(char *bytes, const struct log_footer_entry *e)
{
    char *record = bytes + (e->location * INDEX_UNIT_BYTES - OFFSET);
    uint32_t crc =
        crc32c(record_seed(SEGMENT, GENERATION, e->location), record + 4, e->record_bytes - 4);
    memcpy(record, &crc, sizeof(crc));
}

static void walk(char *bytes, uint32_t len, bool has_records_repaired)
{
    static struct log log;
    struct log_block b = {.segment = SEGMENT, .generation = GENERATION, .offset = OFFSET};
    struct log_block_trailer t;
    struct log_footer_entry e;
    struct record r;
    memcpy(&t, bytes + len - sizeof(t), sizeof(t));
    uint32_t footer_len = t.entries_len < len ? t.entries_len + (uint32_t)sizeof(t) : len + 1;
    const char *footer = footer_len <= len ? bytes + len - footer_len : bytes;
    bool is_header_good = log_block_header_verify(&log, &b, bytes, len) == OK;
    if (log_footer_verify(&b, footer, footer_len, len) != OK) {
        return;
    }
    b.bytes = is_header_good ? bytes : NULL;
    for (uint32_t n = 0; log_block_next(&b, &e); n++) {
        must(n < b.n_records && e.key_len <= RECORD_KEY_MAX);
        must(e.key >= b.footer && e.key + e.key_len <= b.footer + b.footer_len);
        must(e.location * INDEX_UNIT_BYTES >= OFFSET + sizeof(struct log_block_header));
        must(e.location * INDEX_UNIT_BYTES + e.record_bytes <= OFFSET + len);
        if (has_records_repaired &&
            e.location * INDEX_UNIT_BYTES - OFFSET + e.record_bytes <= len - footer_len) {
            repair_record(bytes, &e);
        }
        if (log_block_record(&log, &b, &e, &r) == OK) {
            must(r.stored >= bytes && r.stored + r.stored_len <= bytes + len);
        }
    }
    must(!log_block_next(&b, &e));
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    size_t len = size - 1;
    if (size < 1 + sizeof(struct log_block_header) + sizeof(struct log_block_trailer) ||
        len > LOG_BLOCK_BYTES_MAX) {
        return 0;
    }
    char *bytes = malloc(len); /* AddressSanitizer sees one byte too many */
    must(bytes != NULL);
    memcpy(bytes, input + 1, len);
    if ((input[0] & 2) != 0) {
        repair_header(bytes, (uint32_t)len);
    }
    if ((input[0] & 1) != 0) {
        repair_trailer(bytes, (uint32_t)len);
    }
    walk(bytes, (uint32_t)len, (input[0] & 4) != 0);
    free(bytes);
    return 0;
}
