/*
 * Zipf by rejection-inversion: H is the integral of x^-theta; a uniform point between H(n + 1/2) and
 * H(3/2) - 1 is inverted, rounded, and rejected rarely (under 10 %) where the hat overestimates.
 * Both helpers keep their precision where theta is near 1 and the closed form would divide by zero.
 *
 * Ranks are scattered over the key space by multiplications with odd numbers and xor-shifts, each a
 * bijection of the smallest power of two not below n, walked until it lands below n. Popular keys
 * are thus neither neighbours nor the first ones loaded, and the same in every run: a warm-up in one
 * process serves the measurement in the next.
 */
#include "tools/hearth-bench/keys.h"

#include <math.h>
#include <string.h>

/* (e^x - 1) / x */
static double expm1_ratio(double x)
{
    return fabs(x) > 1e-8 ? expm1(x) / x : 1 + x / 2 * (1 + x / 3 * (1 + x / 4));
}

/* log(1 + x) / x */
static double log1p_ratio(double x)
{
    return fabs(x) > 1e-8 ? log1p(x) / x : 1 - x * (0.5 - x * (1.0 / 3 - x / 4));
}

static double h_integral(double theta, double x)
{
    double log_x = log(x);
    return expm1_ratio((1 - theta) * log_x) * log_x;
}

static double h_inverse(double theta, double y)
{
    double t = y * (1 - theta);
    return exp(log1p_ratio(t < -1 ? -1 : t) * y);
}

static double h(double theta, double x)
{
    return exp(-theta * log(x));
}

static uint64_t zipf_rank(const struct keys *keys, struct rng *rng)
{
    for (;;) {
        double u = keys->h_n + rng_real(rng) * (keys->h_x1 - keys->h_n);
        double x = h_inverse(keys->theta, u);
        double k = floor(x + 0.5);
        k = k < 1 ? 1 : k > (double)keys->n_keys ? (double)keys->n_keys : k;
        if (k - x <= keys->s || u >= h_integral(keys->theta, k + 0.5) - h(keys->theta, k)) {
            return (uint64_t)k - 1;
        }
    }
}

static size_t n_digits_of(uint64_t value)
{
    size_t n = 1;
    while (value >= 10) {
        value /= 10;
        n++;
    }
    return n;
}

void keys_init(struct keys *keys, const struct bench_config *config, uint64_t n_keys)
{
    *keys = (struct keys){
        .n_keys = n_keys,
        .distribution = config->distribution,
        .prefix = config->key_prefix,
        .prefix_length = strlen(config->key_prefix),
        .theta = config->theta,
    };
    /* a trace's numbers have any length, and records bring names of their own */
    if (config->trace_path == NULL && config->records_path == NULL) {
        size_t least = keys->prefix_length + n_digits_of(n_keys - 1);
        if (config->key_size < least || config->key_size > BENCH_KEY_MAX) {
            bench_die("--key-size %llu: %llu keys with prefix '%s' need %zu to %u bytes",
                      (unsigned long long)config->key_size, (unsigned long long)n_keys,
                      config->key_prefix, least, BENCH_KEY_MAX);
        }
        keys->n_digits = config->key_size - keys->prefix_length;
    } else if (keys->prefix_length > 50) {
        bench_die("--key-prefix: at most 50 bytes with --trace or --records");
    }
    keys->h_x1 = h_integral(keys->theta, 1.5) - 1;
    keys->h_n = h_integral(keys->theta, (double)n_keys + 0.5);
    keys->s = 2 - h_inverse(keys->theta, h_integral(keys->theta, 2.5) - h(keys->theta, 2));
    while (keys->scatter_bits < 63 && (1ull << keys->scatter_bits) < n_keys) {
        keys->scatter_bits++;
    }
}

uint64_t keys_scatter(const struct keys *keys, uint64_t rank)
{
    uint64_t mask = (1ull << keys->scatter_bits) - 1;
    unsigned shift = keys->scatter_bits / 2 + 1;
    uint64_t x = rank;
    do {
        x = (x * 0x9e3779b97f4a7c15ull + 0x7f4a7c15ull) & mask;
        x ^= x >> shift;
        x = (x * 0xbf58476d1ce4e5b9ull) & mask;
        x ^= x >> shift;
        x = (x * 0x94d049bb133111ebull) & mask;
        x ^= x >> shift;
    } while (x >= keys->n_keys);
    return x;
}

uint64_t keys_next(const struct keys *keys, struct rng *rng, uint64_t sequence)
{
    switch (keys->distribution) {
    case KEYS_ZIPF:
        return keys_scatter(keys, zipf_rank(keys, rng));
    case KEYS_SEQUENTIAL:
        return sequence % keys->n_keys;
    case KEYS_UNIFORM:
        break;
    }
    return rng_below(rng, keys->n_keys);
}

size_t keys_name(const struct keys *keys, uint64_t key, char *name_out)
{
    size_t n_digits = keys->n_digits != 0 ? keys->n_digits : n_digits_of(key);
    memcpy(name_out, keys->prefix, keys->prefix_length);
    char *digits = name_out + keys->prefix_length;
    for (size_t i = n_digits; i-- > 0;) {
        digits[i] = (char)('0' + key % 10);
        key /= 10;
    }
    return keys->prefix_length + n_digits;
}
