/*
 * Making bytes must cost next to nothing beside sending them, so they are made once: values are
 * slices of an 8 MiB pool, large enough that no trained dictionary or cache of a server can learn
 * it, taken at an offset that follows from key and version.
 *
 * Compressible text is random bytes with a constant filler in each 64-byte period. How much filler
 * gives the wanted share depends on the sizes (zstd's own overhead weighs more in 100 bytes than in
 * 10,000), so it is found by bisection with zstd itself on values as they will be sent.
 *
 * JSON values are whole fields from a pool of fields, then one padding field: valid JSON of exactly
 * the wanted length.
 */
#include "tools/hearth-bench/values.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>
#include <zstd.h>

#include "tools/hearth-bench/args.h"
#include "tools/hearth-bench/keys.h"

#define POOL_BYTES (8u << 20)
#define SAMPLE_MAX (256u << 10) /* of one value, while measuring its compressibility */
#define N_SAMPLES 64
#define PERIOD 64u

static void bad_size(const char *spec)
{
    bench_die("--value-size takes 100, 100:2000, lognormal:MEDIAN:SIGMA[:MAX] or 100@3,1kb@1, "
              "not '%s'",
              spec);
}

static void parse_lognormal(struct values *values, const char *spec, const char *at)
{
    uint64_t median;
    char *end;
    values->size_kind = SIZE_LOGNORMAL;
    if (!args_parse_number(at, &median, &at) || median == 0 || *at != ':') {
        bad_size(spec);
    }
    values->weight[0] = log((double)median);
    values->weight[1] = strtod(at + 1, &end);
    values->size[1] = 100 * median;
    if (end == at + 1 || !(values->weight[1] >= 0 && values->weight[1] < 10)) {
        bad_size(spec);
    }
    at = end;
    if (*at == ':' && !args_parse_number(at + 1, &values->size[1], &at)) {
        bad_size(spec);
    }
    if (*at != '\0') {
        bad_size(spec);
    }
}

static void parse_list(struct values *values, const char *spec)
{
    const char *at = spec;
    double sum = 0;
    do {
        at += *at == ',';
        unsigned i = values->n_sizes++;
        double weight = 1;
        if (i == VALUE_LIST_MAX || !args_parse_number(at, &values->size[i], &at)) {
            bad_size(spec);
        }
        if (*at == '@') {
            char *end;
            weight = strtod(at + 1, &end);
            if (end == at + 1 || !(weight >= 0)) {
                bad_size(spec);
            }
            at = end;
        }
        values->weight[i] = sum += weight;
    } while (*at == ',');
    if (*at != '\0' || sum <= 0) {
        bad_size(spec);
    }
    for (unsigned i = 0; i < values->n_sizes; i++) {
        values->weight[i] /= sum;
    }
}

static void parse_size(struct values *values, const char *spec)
{
    const char *at = spec;
    if (strncmp(spec, "lognormal:", 10) == 0) {
        parse_lognormal(values, spec, spec + 10);
    } else if (args_parse_number(spec, &values->size[0], &at) && *at == ':') {
        values->size_kind = SIZE_UNIFORM;
        if (!args_parse_number(at + 1, &values->size[1], &at) || *at != '\0' ||
            values->size[1] < values->size[0]) {
            bad_size(spec);
        }
    } else {
        parse_list(values, spec);
    }
    for (unsigned i = 0; i < VALUE_LIST_MAX; i++) {
        if (values->size[i] > 1u << 30) {
            bench_die("--value-size: no value above 1gb");
        }
    }
}

size_t values_size(const struct values *values, uint64_t key, uint64_t version)
{
    struct rng rng = {.state = key ^ mix64(version)};
    size_t n = 0;
    switch (values->size_kind) {
    case SIZE_UNIFORM:
        n = values->size[0] + rng_below(&rng, values->size[1] - values->size[0] + 1);
        break;
    case SIZE_LOGNORMAL: {
        double radius = sqrt(-2 * log(1 - rng_real(&rng)));
        double normal = radius * cos(2 * M_PI * rng_real(&rng));
        double size = exp(values->weight[0] + values->weight[1] * normal);
        n = size < (double)values->size[1] ? (size_t)size : values->size[1];
        break;
    }
    case SIZE_LIST: {
        double at = values->n_sizes > 1 ? rng_real(&rng) : 0;
        unsigned i = 0;
        while (i + 1 < values->n_sizes && at >= values->weight[i]) {
            i++;
        }
        n = values->size[i];
        break;
    }
    }
    return values->is_verified && n < sizeof(struct value_proof) ? sizeof(struct value_proof) : n;
}

static void fill_random(char *to, size_t n, struct rng *rng)
{
    for (size_t i = 0; i < n; i += sizeof(uint64_t)) {
        uint64_t word = rng_next(rng);
        memcpy(to + i, &word, n - i < sizeof(word) ? n - i : sizeof(word));
    }
}

/* filler: of each 64-byte period, in bytes, a fraction included. */
static void fill_pool(struct values *values, double filler)
{
    struct rng rng = {.state = 1};
    fill_random(values->pool, values->pool_bytes, &rng);
    double owed = 0;
    for (size_t i = 0; i + PERIOD <= values->pool_bytes && filler > 0; i += PERIOD) {
        owed += filler;
        size_t n = (size_t)owed;
        owed -= (double)n;
        memset(values->pool + i, 'x', n);
    }
}

/* What zstd level 1 saves of values as they will be sent. */
static double measure_saved(const struct values *values)
{
    char *value = bench_alloc(SAMPLE_MAX);
    size_t bound = ZSTD_compressBound(SAMPLE_MAX);
    void *packed = bench_alloc(bound);
    size_t n_raw = 0;
    size_t n_packed = 0;
    for (uint64_t i = 0; i < N_SAMPLES; i++) {
        size_t n = values_size(values, i, 1);
        n = n < SAMPLE_MAX ? n : SAMPLE_MAX;
        values_write(values, value, n, i, i, 1);
        size_t got = ZSTD_compress(packed, bound, value, n, 1);
        n_raw += n;
        n_packed += ZSTD_isError(got) || got > n ? n : got;
    }
    free(value);
    free(packed);
    return n_raw == 0 ? 0 : 1 - (double)n_packed / (double)n_raw;
}

static void fill_compressible(struct values *values, double wanted)
{
    double low = 0;
    double high = PERIOD;
    for (int i = 0; i < 10 && wanted > 0; i++) {
        double middle = (low + high) / 2;
        fill_pool(values, middle);
        *(measure_saved(values) < wanted ? &low : &high) = middle;
    }
    fill_pool(values, wanted > 0 ? (low + high) / 2 : 0);
}

static void fill_json(struct values *values)
{
    static const char *const names[] = {"anna", "ben",  "carla", "dmitri", "elena", "farid",
                                        "gita", "hugo", "ines",  "jonas",  "kira",  "liam"};
    static const char *const words[] = {"pending", "shipped", "returned", "paid", "open", "closed"};
    struct rng rng = {.state = 1};
    size_t at = 0;
    values->field_start = bench_alloc(values->pool_bytes / 8 * sizeof(uint32_t));
    while (at + 128 < values->pool_bytes) {
        uint64_t r = rng_next(&rng);
        char *to = values->pool + at;
        const char *name = names[r % 12];
        unsigned a = (unsigned)(r >> 16) & 0xffffff;
        unsigned b = (unsigned)(r >> 40);
        int n = 0;
        values->field_start[values->n_fields++] = (uint32_t)at;
        switch ((r >> 8) % 8) {
        case 0:
            n = sprintf(to, "\"user_id\":%u,", a);
            break;
        case 1:
            n = sprintf(to, "\"email\":\"%s.%u@example.org\",", name, a % 10000);
            break;
        case 2:
            n = sprintf(to, "\"created_at\":\"20%02u-%02u-%02uT%02u:%02u:%02uZ\",", a % 30,
                        b % 12 + 1, b % 28 + 1, a % 24, b % 60, a % 60);
            break;
        case 3:
            n = sprintf(to, "\"session\":\"%08x%08x\",", (unsigned)r, b);
            break;
        case 4:
            n = sprintf(to, "\"status\":\"%s\",\"active\":%s,", words[a % 6],
                        b % 2 ? "true" : "false");
            break;
        case 5:
            n = sprintf(to, "\"amount\":%u.%02u,\"currency\":\"EUR\",", a % 5000, b % 100);
            break;
        case 6:
            n = sprintf(to, "\"tags\":[\"%s\",\"%s\"],", words[b % 6], name);
            break;
        default:
            n = sprintf(to, "\"address\":{\"street\":\"%s street %u\",\"zip\":\"%05u\"},", name,
                        a % 200, b % 100000);
            break;
        }
        at += (size_t)n;
    }
    values->field_start[values->n_fields] = (uint32_t)at;
}

void values_init(struct values *values, const struct bench_config *config)
{
    *values =
        (struct values){.is_verified = config->is_verified, .is_json = config->is_json_values};
    parse_size(values, config->value_size);
    values->pool_bytes = POOL_BYTES;
    values->pool = bench_alloc(POOL_BYTES);
    if (values->is_json) {
        fill_json(values);
    } else {
        fill_compressible(values, config->compressible);
    }
    values->saved_share = measure_saved(values);
}

static void write_slice(const struct values *values, char *to, size_t n, uint64_t choice)
{
    size_t at = choice % values->pool_bytes;
    while (n > 0) {
        size_t take = values->pool_bytes - at < n ? values->pool_bytes - at : n;
        memcpy(to, values->pool + at, take);
        to += take;
        n -= take;
        at = 0;
    }
}

/* {fields,"_":"....."} of exactly n bytes. */
static void write_json(const struct values *values, char *to, size_t n, uint64_t choice)
{
    static const char open[] = "\"_\":\"";
    static const char close[] = "\"}";
    const size_t n_frame = 1 + sizeof(open) - 1 + sizeof(close) - 1;
    if (n < n_frame) {
        memset(to, '7', n); /* too short for an object: a number */
        return;
    }
    size_t first = choice % (values->n_fields / 2);
    uint64_t limit = values->field_start[first] + (n - n_frame);
    size_t low = first; /* the last field that begins at or before limit: all before it fit */
    size_t high = values->n_fields;
    while (low < high) {
        size_t middle = (low + high + 1) / 2;
        if (values->field_start[middle] <= limit) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    size_t n_fields = values->field_start[low] - values->field_start[first];
    *to++ = '{';
    memcpy(to, values->pool + values->field_start[first], n_fields);
    memcpy(to + n_fields, open, sizeof(open) - 1);
    size_t n_pad = n - n_frame - n_fields;
    memset(to + n_fields + sizeof(open) - 1, '.', n_pad);
    memcpy(to + n_fields + sizeof(open) - 1 + n_pad, close, sizeof(close) - 1);
}

static uint64_t proof_checksum(const char *data, size_t n, uint64_t name_hash)
{
    return XXH3_64bits_withSeed(data + sizeof(uint64_t), n - sizeof(uint64_t), name_hash);
}

void values_write(const struct values *values, char *to, size_t n, uint64_t key, uint64_t name_hash,
                  uint64_t version)
{
    size_t n_proof = values->is_verified ? sizeof(struct value_proof) : 0;
    uint64_t choice = mix64(key * 0x9e3779b97f4a7c15ull + version);
    if (values->is_json) {
        write_json(values, to + n_proof, n - n_proof, choice);
    } else {
        write_slice(values, to + n_proof, n - n_proof, choice);
    }
    if (n_proof > 0) {
        struct value_proof proof = {.version = version,
                                    .key = key,
                                    .length = (uint32_t)n,
                                    .magic = VALUE_PROOF_MAGIC};
        memcpy(to, &proof, sizeof(proof));
        proof.checksum = proof_checksum(to, n, name_hash);
        memcpy(to, &proof.checksum, sizeof(proof.checksum));
    }
}

const char *values_check(const char *data, size_t n, uint64_t key, uint64_t name_hash,
                         uint64_t *version_out)
{
    struct value_proof proof;
    *version_out = 0;
    if (n < sizeof(proof)) {
        return "it is shorter than any value written with --verify";
    }
    memcpy(&proof, data, sizeof(proof));
    if (proof.magic != VALUE_PROOF_MAGIC) {
        return "it was not written with --verify, or its header is damaged";
    }
    if (proof.length != n) {
        return "its length is not the one it was written with";
    }
    if (proof.key != key) {
        return "it is the value of another key";
    }
    if (proof.checksum != proof_checksum(data, n, name_hash)) {
        return "its checksum does not match its bytes";
    }
    *version_out = proof.version;
    return NULL;
}
