/*
 * The value-history check. Versions of one key are numbered 1, 2, 3 by this run, and a key has at
 * most one SET in flight (a second one becomes a GET), so the order in which the server applies them
 * is known. A GET notes, when it is sent, the highest number `seen`: acknowledged, or read by
 * anyone. Its reply must be a miss or a version from `seen` to the last one issued. Versions carry
 * the run's start time above the number, so values of earlier runs are told apart: they may be read
 * only while this run has not written the key.
 */
#include "tools/hearth-bench/workload.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define NUMBER_BITS 24u
#define NUMBER_MAX ((1u << NUMBER_BITS) - 1u)
#define EPOCH_START_MS 1577836800000ull /* 2020: leaves 40 bits of milliseconds until 2054 */

void workload_init(struct workload *workload, const struct bench_config *config)
{
    *workload = (struct workload){.config = config};
    uint64_t n_keys = config->n_keys;
    if (config->trace_path != NULL) {
        trace_read(&workload->trace, config->trace_path);
    }
    if (config->records_path != NULL) {
        records_read(&workload->records, config->records_path);
        n_keys = workload->records.n_records * config->n_copies;
    }
    keys_init(&workload->keys, config, n_keys);
    values_init(&workload->values, config);

    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    workload->epoch =
        (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000 - EPOCH_START_MS;
    if (config->is_verified && config->trace_path == NULL && config->records_path == NULL) {
        workload->states = bench_zalloc(n_keys, sizeof(*workload->states));
    }

    workload->n_total = UINT64_MAX;
    if (config->n_requests > 0) {
        workload->n_total = config->n_requests;
    } else if (config->seconds == 0 && config->trace_path != NULL) {
        workload->n_total = workload->trace.n_requests;
    } else if (config->seconds == 0 &&
               (config->is_load || config->distribution == KEYS_SEQUENTIAL)) {
        workload->n_total = n_keys;
    }
}

void workload_warm_up(struct workload *workload)
{
    atomic_store(&workload->is_warming, true);
}

void workload_rewind(struct workload *workload)
{
    atomic_store(&workload->next, 0);
    atomic_store(&workload->is_warming, false);
}

/* Numbers a new version of the key; false while another one is in flight. */
static bool begin_write(struct workload *workload, struct request *request)
{
    request->number = 0;
    if (workload->states == NULL) {
        return true;
    }
    _Atomic uint32_t *issued = &workload->states[request->key].issued;
    uint32_t old = atomic_load_explicit(issued, memory_order_relaxed);
    do {
        if ((old & 1) != 0 || old >> 1 >= NUMBER_MAX) {
            return false;
        }
    } while (!atomic_compare_exchange_weak(issued, &old, (((old >> 1) + 1) << 1) | 1));
    request->number = (old >> 1) + 1;
    return true;
}

static void note_get(struct workload *workload, struct request *request)
{
    request->op = OP_GET;
    if (workload->states != NULL) {
        request->seen = atomic_load(&workload->states[request->key].seen);
    }
}

bool workload_next(struct workload *workload, struct rng *rng, struct request *request_out)
{
    uint64_t sequence = atomic_fetch_add_explicit(&workload->next, 1, memory_order_relaxed);
    if (sequence >= workload->n_total && !atomic_load(&workload->is_warming)) {
        return false;
    }
    *request_out = (struct request){0};
    if (workload->trace.n_requests > 0) {
        const struct trace_request *from =
            &workload->trace.requests[sequence % workload->trace.n_requests];
        request_out->key = from->key;
        request_out->size = from->size;
        request_out->has_size = from->has_size;
        note_get(workload, request_out);
        return true;
    }
    request_out->key = keys_next(&workload->keys, rng, sequence);
    bool is_read = workload->config->workload == WORKLOAD_LOOKASIDE ||
                   (workload->config->workload == WORKLOAD_MIX &&
                    rng_real(rng) * 100 < workload->config->reads_pct);
    request_out->op = OP_SET;
    if (is_read || !begin_write(workload, request_out)) {
        note_get(workload, request_out);
    }
    return true;
}

bool workload_fill(struct workload *workload, struct request *request)
{
    request->op = OP_SET;
    return begin_write(workload, request);
}

static uint64_t version_of(const struct workload *workload, const struct request *request)
{
    if (!workload->config->is_verified) {
        return 0;
    }
    return workload->epoch << NUMBER_BITS | request->number;
}

/* --- records as keys: number of copy, then name ---------------------------------------------------*/

static const struct record *record_of(const struct workload *workload, uint64_t key,
                                      uint64_t *copy_out)
{
    *copy_out = key / workload->records.n_records;
    return &workload->records.list[key % workload->records.n_records];
}

size_t workload_name(const struct workload *workload, uint64_t key, char *name_out)
{
    if (workload->records.n_records == 0) {
        return keys_name(&workload->keys, key, name_out);
    }
    uint64_t copy;
    const struct record *record = record_of(workload, key, &copy);
    size_t n = workload->keys.prefix_length;
    memcpy(name_out, workload->keys.prefix, n);
    if (workload->config->n_copies > 1) {
        n += bench_put_decimal(name_out + n, copy);
        name_out[n++] = ':';
    }
    memcpy(name_out + n, record->name, record->n_name);
    n += record->n_name;
    if (record->repeat > 0) {
        name_out[n++] = '#';
        n += bench_put_decimal(name_out + n, record->repeat + 1);
    }
    return n;
}

/* The line that tells the copies of a record apart; returns its length. */
static size_t copy_line(const struct workload *workload, uint64_t copy, char *line_out)
{
    static const char label[] = "Copy: ";
    if (workload->config->n_copies <= 1) {
        return 0;
    }
    size_t n = sizeof(label) - 1;
    memcpy(line_out, label, n);
    n += bench_put_decimal(line_out + n, copy);
    line_out[n++] = '\n';
    return n;
}

static const char *check_record(const struct workload *workload, uint64_t key, const char *data,
                                size_t n_data)
{
    char line[32];
    uint64_t copy;
    const struct record *record = record_of(workload, key, &copy);
    size_t n_line = copy_line(workload, copy, line);
    if (n_data != record->n_data + n_line) {
        return "its length is not the record's";
    }
    bool is_equal = memcmp(data, record->data, record->n_data) == 0 &&
                    memcmp(data + record->n_data, line, n_line) == 0;
    return is_equal ? NULL : "its bytes are not the record's";
}

/* --- values ---------------------------------------------------------------------------------------*/

size_t workload_put(struct workload *workload, const struct request *request, struct buffer *out)
{
    const struct bench_config *config = workload->config;
    char name[BENCH_KEY_MAX];
    size_t n_name = workload_name(workload, request->key, name);
    if (request->op == OP_GET) {
        wire_put_get(config->protocol, out, name, n_name);
        return 0;
    }
    if (workload->records.n_records > 0) {
        char line[32];
        uint64_t copy;
        const struct record *record = record_of(workload, request->key, &copy);
        size_t n_line = copy_line(workload, copy, line);
        char *to = wire_put_set(config->protocol, out, name, n_name, record->n_data + n_line,
                                config->ttl_seconds);
        memcpy(to, record->data, record->n_data);
        memcpy(to + record->n_data, line, n_line);
        return record->n_data + n_line;
    }
    uint64_t version = version_of(workload, request);
    size_t n = request->has_size ? request->size
                                 : values_size(&workload->values, request->key, request->number);
    if (config->is_verified && n < sizeof(struct value_proof)) {
        n = sizeof(struct value_proof);
    }
    char *to = wire_put_set(config->protocol, out, name, n_name, n, config->ttl_seconds);
    uint64_t name_hash = config->is_verified ? XXH3_64bits(name, n_name) : 0;
    values_write(&workload->values, to, n, request->key, name_hash, version);
    return n;
}

static void raise_seen(struct workload *workload, uint64_t key, uint32_t number)
{
    _Atomic uint32_t *seen = &workload->states[key].seen;
    uint32_t old = atomic_load(seen);
    while (old < number && !atomic_compare_exchange_weak(seen, &old, number)) {
    }
}

void workload_stored(struct workload *workload, const struct request *request, bool is_stored)
{
    if (workload->states == NULL) {
        return;
    }
    if (is_stored) {
        raise_seen(workload, request->key, request->number);
    }
    atomic_fetch_and(&workload->states[request->key].issued, ~1u);
}

/* Is this version one the server may still, or already, hold? */
static const char *check_version(struct workload *workload, const struct request *request,
                                 uint64_t version)
{
    uint64_t epoch = version >> NUMBER_BITS;
    if (epoch < workload->epoch) {
        return request->seen == 0 ? NULL : "it is from an earlier run, though written in this one";
    }
    if (epoch > workload->epoch) {
        return "another run writes the same keys: --verify needs them for itself";
    }
    uint32_t number = (uint32_t)(version & NUMBER_MAX);
    if (number > atomic_load(&workload->states[request->key].issued) >> 1) {
        return "its version was never written";
    }
    if (number < request->seen) {
        return "it is older than a version that was acknowledged or read before";
    }
    raise_seen(workload, request->key, number);
    return NULL;
}

const char *workload_check(struct workload *workload, const struct request *request,
                           const char *data, size_t n_data, bool *is_stale_out)
{
    *is_stale_out = false;
    if (workload->records.n_records > 0) {
        return check_record(workload, request->key, data, n_data);
    }
    char name[BENCH_KEY_MAX];
    size_t n_name = workload_name(workload, request->key, name);
    uint64_t version;
    const char *wrong =
        values_check(data, n_data, request->key, XXH3_64bits(name, n_name), &version);
    if (wrong == NULL && workload->states != NULL) {
        wrong = check_version(workload, request, version);
        *is_stale_out = wrong != NULL;
    }
    return wrong;
}

bool workload_checks_values(const struct workload *workload)
{
    return workload->config->is_verified;
}
