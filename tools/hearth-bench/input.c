/*
 * Files are read whole: the largest trace at hand has 5 million lines, and a replay must not wait
 * for a disk. zstd is recognised by its magic number, not by the name.
 */
#include "tools/hearth-bench/input.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>
#include <zstd.h>

#include "tools/hearth-bench/wire.h"

#define NAME_MAX_BYTES 150u /* leaves 100 of BENCH_KEY_MAX to prefix, copy and repeat */

static struct buffer read_whole(const char *path)
{
    struct buffer text = {0};
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    if (file == NULL) {
        bench_die("cannot read %s: %s", path, strerror(errno));
    }
    size_t n;
    do {
        buffer_reserve(&text, 1u << 20);
        n = fread(text.data + text.length, 1, 1u << 20, file);
        text.length += n;
    } while (n > 0);
    if (ferror(file)) {
        bench_die("cannot read %s: %s", path, strerror(errno));
    }
    if (file != stdin) {
        fclose(file);
    }
    return text;
}

static struct buffer decompress(const struct buffer *packed, const char *path)
{
    struct buffer text = {0};
    ZSTD_DStream *stream = ZSTD_createDStream();
    ZSTD_inBuffer in = {packed->data, packed->length, 0};
    size_t left = 1;
    while (in.pos < in.size || left != 0) {
        buffer_reserve(&text, 1u << 20);
        ZSTD_outBuffer out = {text.data + text.length, text.capacity - text.length, 0};
        size_t before = in.pos;
        left = ZSTD_decompressStream(stream, &out, &in);
        text.length += out.pos;
        if (ZSTD_isError(left)) {
            bench_die("%s: %s", path, ZSTD_getErrorName(left));
        }
        if (in.pos == before && out.pos == 0) {
            bench_die("%s ends in the middle of its zstd data", path);
        }
    }
    ZSTD_freeDStream(stream);
    return text;
}

/* The file's text with a NUL behind it. */
static struct buffer read_text(const char *path)
{
    static const unsigned char magic[] = {0x28, 0xb5, 0x2f, 0xfd};
    struct buffer text = read_whole(path);
    if (text.length >= sizeof(magic) && memcmp(text.data, magic, sizeof(magic)) == 0) {
        struct buffer plain = decompress(&text, path);
        free(text.data);
        text = plain;
    }
    buffer_reserve(&text, 1);
    text.data[text.length] = '\0';
    return text;
}

/* A plain decimal number is itself, anything else its hash. */
static uint64_t trace_key(const char *text, size_t n)
{
    uint64_t value = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9' || n > 19) {
            return XXH3_64bits(text, n);
        }
        value = value * 10 + (uint64_t)(text[i] - '0');
    }
    return value;
}

void trace_read(struct trace *trace, const char *path)
{
    struct buffer text = read_text(path);
    size_t capacity = 0;
    size_t n_line = 0;
    *trace = (struct trace){0};
    for (const char *at = text.data, *next; *at != '\0'; at = next) {
        size_t n = strcspn(at, "\r\n");
        size_t n_key = strcspn(at, ",\r\n");
        next = at + n + (at[n] == '\r');
        next += *next == '\n';
        n_line++;
        if (n_key == 0 || at[0] == '#') {
            continue;
        }
        if (trace->n_requests == capacity) {
            capacity = capacity == 0 ? 1u << 16 : capacity * 2;
            trace->requests = bench_realloc(trace->requests, capacity * sizeof(*trace->requests));
        }
        struct trace_request *request = &trace->requests[trace->n_requests++];
        *request = (struct trace_request){.key = trace_key(at, n_key)};
        if (at[n_key] == ',') {
            char *end;
            unsigned long long size = strtoull(at + n_key + 1, &end, 10);
            if (end == at + n_key + 1 || size > 1u << 30) {
                bench_die("%s:%zu: '%.*s' has no size of at most 1 GiB after the comma", path,
                          n_line, (int)(n < 60 ? n : 60), at);
            }
            request->size = (uint32_t)size;
            request->has_size = true;
        }
    }
    free(text.data);
    if (trace->n_requests == 0) {
        bench_die("%s holds no requests", path);
    }
}

/* What follows the first line's colon, or the whole first line. */
static void name_record(struct record *record)
{
    const char *end = memchr(record->data, '\n', record->n_data);
    size_t n_line = end != NULL ? (size_t)(end - record->data) : record->n_data;
    const char *colon = memchr(record->data, ':', n_line);
    record->name = colon != NULL ? colon + 1 : record->data;
    while (record->name < record->data + n_line && *record->name == ' ') {
        record->name++;
    }
    size_t n = (size_t)(record->data + n_line - record->name);
    record->n_name = (uint32_t)(n < NAME_MAX_BYTES ? n : NAME_MAX_BYTES);
}

/* Numbers the occurrences of each name, so that names with their number are unique. */
static void count_repeats(struct records *records)
{
    size_t n_slots = 1;
    while (n_slots < 2 * records->n_records) {
        n_slots *= 2;
    }
    struct record **slots = bench_zalloc(n_slots, sizeof(*slots));
    for (size_t i = 0; i < records->n_records; i++) {
        struct record *record = &records->list[i];
        size_t at = XXH3_64bits(record->name, record->n_name) & (n_slots - 1);
        while (slots[at] != NULL && (slots[at]->n_name != record->n_name ||
                                     memcmp(slots[at]->name, record->name, record->n_name) != 0)) {
            at = (at + 1) & (n_slots - 1);
        }
        record->repeat = slots[at] != NULL ? slots[at]->repeat + 1 : 0;
        slots[at] = record;
    }
    free(slots);
}

/* Behind the last line of the record at `at`. (memmem would do, but under a sanitizer each call
 * looks at the whole rest of the file.) */
static const char *record_end(const char *at, const char *end)
{
    const char *newline;
    while ((newline = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        at = newline + 1;
        if (at < end && *at == '\n') {
            return at;
        }
    }
    return end;
}

void records_read(struct records *records, const char *path)
{
    struct buffer text = read_text(path);
    size_t capacity = 0;
    *records = (struct records){.text = text.data};
    const char *end = text.data + text.length;
    for (const char *at = text.data; at < end;) {
        while (at < end && *at == '\n') {
            at++;
        }
        const char *stop = record_end(at, end);
        if (stop == at) {
            break;
        }
        if ((size_t)(stop - at) > 1u << 30) {
            bench_die("%s: a record is longer than 1 GiB", path);
        }
        if (records->n_records == capacity) {
            capacity = capacity == 0 ? 1u << 12 : capacity * 2;
            records->list = bench_realloc(records->list, capacity * sizeof(*records->list));
        }
        struct record *record = &records->list[records->n_records++];
        *record = (struct record){.data = at, .n_data = (uint32_t)(stop - at)};
        name_record(record);
        at = stop;
    }
    if (records->n_records == 0) {
        bench_die("%s holds no records", path);
    }
    count_repeats(records);
}
