/*
 * The file is decompressed block by block into a line splitter; keys are numbered through an
 * open-addressing table that lives only while reading.
 */
#include "tools/hearth-trace/trace.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define ZSTD_MAGIC "\x28\xb5\x2f\xfd"
#define KEYS_MAX (UINT32_MAX / 2)

struct key_table {
    uint32_t *slots; /* id + 1, 0: empty */
    uint64_t mask;
};

struct reader {
    struct trace *trace;
    const char *path;
    struct key_table table;
    uint64_t requests_cap, keys_cap;
    uint64_t line_number;
    char line[64]; /* two decimal 64-bit numbers and a comma */
    size_t line_length;
};

static enum status grow(void **array, uint64_t *cap, size_t element_bytes)
{
    uint64_t fresh_cap = *cap == 0 ? 4096 : *cap * 2;
    void *fresh = realloc(*array, fresh_cap * element_bytes);
    if (fresh == NULL) {
        return NO_MEMORY;
    }
    *array = fresh;
    *cap = fresh_cap;
    return OK;
}

static uint64_t key_slot(const struct key_table *table, const struct trace *trace, uint64_t key)
{
    uint64_t i = (key ^ key >> 29) * 0x9e3779b97f4a7c15u;
    for (i ^= i >> 32;; i++) {
        uint32_t id = table->slots[i & table->mask];
        if (id == 0 || trace->keys[id - 1] == key) {
            return i & table->mask;
        }
    }
}

static enum status key_table_grow(struct key_table *table, const struct trace *trace)
{
    uint64_t n_slots = table->slots == NULL ? 8192 : (table->mask + 1) * 2;
    free(table->slots);
    table->slots = calloc(n_slots, sizeof *table->slots);
    if (table->slots == NULL) {
        return NO_MEMORY;
    }
    table->mask = n_slots - 1;
    for (uint32_t id = 0; id < trace->n_keys; id++) {
        table->slots[key_slot(table, trace, trace->keys[id])] = id + 1;
    }
    return OK;
}

static enum status find_or_add_key(struct reader *reader, uint64_t key, uint32_t *id_out)
{
    enum status st = OK;
    struct trace *trace = reader->trace;
    if (reader->table.slots == NULL || (uint64_t)trace->n_keys * 2 > reader->table.mask) {
        TRY(key_table_grow(&reader->table, trace));
    }
    uint64_t slot = key_slot(&reader->table, trace, key);
    if (reader->table.slots[slot] == 0) {
        if (trace->n_keys == reader->keys_cap) {
            TRY(grow((void **)&trace->keys, &reader->keys_cap, sizeof *trace->keys));
        }
        if (trace->n_keys == KEYS_MAX) {
            st = TOO_BIG;
            goto out;
        }
        trace->keys[trace->n_keys++] = key;
        reader->table.slots[slot] = trace->n_keys;
    }
    *id_out = reader->table.slots[slot] - 1;
out:
    return st;
}

static enum status add_request(struct reader *reader, uint64_t key, uint32_t size)
{
    enum status st;
    struct trace *trace = reader->trace;
    if (trace->n_requests == reader->requests_cap) {
        uint64_t cap = reader->requests_cap;
        TRY(grow((void **)&trace->ids, &cap, sizeof *trace->ids));
        TRY(grow((void **)&trace->sizes, &reader->requests_cap, sizeof *trace->sizes));
    }
    TRY(find_or_add_key(reader, key, &trace->ids[trace->n_requests]));
    trace->sizes[trace->n_requests++] = size;
out:
    return st;
}

static bool parse_number(const char **text, uint64_t max, uint64_t *number_out)
{
    char *end;
    if (**text < '0' || **text > '9') {
        return false;
    }
    errno = 0;
    *number_out = strtoull(*text, &end, 10);
    *text = end;
    return errno == 0 && *number_out <= max;
}

static enum status end_line(struct reader *reader)
{
    uint64_t key, size = 1;
    const char *text = reader->line;
    reader->line_number++;
    if (reader->line_length > 0 && reader->line[reader->line_length - 1] == '\r') {
        reader->line_length--;
    }
    reader->line[reader->line_length] = '\0';
    bool is_skipped = reader->line_length == 0 || reader->line[0] == '#';
    reader->line_length = 0;
    if (is_skipped) {
        return OK;
    }
    bool is_valid = parse_number(&text, UINT64_MAX, &key);
    if (is_valid && *text == ',') {
        text++;
        is_valid = parse_number(&text, UINT32_MAX, &size);
    }
    if (!is_valid || *text != '\0') {
        fprintf(stderr, "hearth-trace: %s:%llu: not `key` or `key,size`\n", reader->path,
                (unsigned long long)reader->line_number);
        return INVALID;
    }
    return add_request(reader, key, size == 0 ? 1 : (uint32_t)size);
}

static enum status take_bytes(struct reader *reader, const char *bytes, size_t n)
{
    enum status st = OK;
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] == '\n') {
            TRY(end_line(reader));
        } else if (reader->line_length < sizeof reader->line - 1) {
            reader->line[reader->line_length++] = bytes[i];
        } else if (reader->line[0] != '#') {
            reader->line[0] = 'x'; /* too long: end_line refuses it */
        }
    }
out:
    return st;
}

static enum status take_zstd(struct reader *reader, ZSTD_DStream *stream, const char *bytes,
                             size_t n, size_t *pending_out)
{
    enum status st = OK;
    char out_bytes[1 << 16];
    ZSTD_inBuffer in = {bytes, n, 0};
    bool is_full = false; /* the decoder may hold more than one out buffer of text */
    while (in.pos < in.size || is_full) {
        ZSTD_outBuffer out_buffer = {out_bytes, sizeof out_bytes, 0};
        *pending_out = ZSTD_decompressStream(stream, &out_buffer, &in);
        if (ZSTD_isError(*pending_out)) {
            fprintf(stderr, "hearth-trace: %s: %s\n", reader->path,
                    ZSTD_getErrorName(*pending_out));
            return CORRUPT;
        }
        is_full = out_buffer.pos == out_buffer.size;
        TRY(take_bytes(reader, out_bytes, out_buffer.pos));
    }
out:
    return st;
}

static enum status read_stream(struct reader *reader, FILE *file)
{
    enum status st = OK;
    char bytes[1 << 16];
    ZSTD_DStream *stream = NULL;
    size_t n, pending = 0;
    bool is_first = true;
    while ((n = fread(bytes, 1, sizeof bytes, file)) > 0) {
        if (is_first && n >= 4 && memcmp(bytes, ZSTD_MAGIC, 4) == 0) {
            stream = ZSTD_createDStream();
            if (stream == NULL) {
                st = NO_MEMORY;
                goto out;
            }
        }
        is_first = false;
        TRY(stream != NULL ? take_zstd(reader, stream, bytes, n, &pending)
                           : take_bytes(reader, bytes, n));
    }
    if (ferror(file)) {
        st = IO;
    } else if (pending != 0) {
        fprintf(stderr, "hearth-trace: %s: truncated\n", reader->path);
        st = CORRUPT;
    } else if (reader->line_length > 0) {
        st = end_line(reader);
    }
out:
    ZSTD_freeDStream(stream);
    return st;
}

static char *base_name(const char *path)
{
    static const char *const endings[] = {".zst", ".csv"};
    const char *slash = strrchr(path, '/');
    char *name = strdup(slash == NULL ? path : slash + 1);
    for (unsigned i = 0; name != NULL && i < 2; i++) {
        size_t length = strlen(name), ending = strlen(endings[i]);
        if (length > ending && strcmp(name + length - ending, endings[i]) == 0) {
            name[length - ending] = '\0';
        }
    }
    return name;
}

enum status trace_read(const char *path, struct trace *trace_out)
{
    enum status st;
    struct reader reader = {.trace = trace_out, .path = path};
    memset(trace_out, 0, sizeof *trace_out);
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    if (file == NULL) {
        fprintf(stderr, "hearth-trace: %s: %s\n", path, strerror(errno));
        return status_from_errno(errno);
    }
    trace_out->name = base_name(path);
    st = trace_out->name == NULL ? NO_MEMORY : read_stream(&reader, file);
    free(reader.table.slots);
    if (file != stdin) {
        fclose(file);
    }
    if (st != OK) {
        trace_deinit(trace_out);
    }
    return st;
}

void trace_deinit(struct trace *trace)
{
    free(trace->name);
    free(trace->ids);
    free(trace->sizes);
    free(trace->keys);
    memset(trace, 0, sizeof *trace);
}
