/*
 * One table says of every option its name, the field it fills, how its text is read and its help;
 * getopt_long's own table and --help are made from it. What options mean together is checked
 * afterwards, in one place.
 */
#include "tools/hearth-bench/args.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "tools/hearth-bench/wire.h"

enum arg_kind { ARG_GROUP, ARG_TEXT, ARG_NUMBER, ARG_REAL, ARG_FLAG, ARG_WORD };

struct arg {
    enum arg_kind kind;
    char letter; /* 0: none */
    const char *name;
    const char *value; /* how --help shows it; ARG_WORD: the words, in the enum's order */
    size_t offset;
    const char *help;
};

#define AT(field) offsetof(struct bench_config, field)
static const struct arg args[] = {
    {ARG_GROUP, 0, "Target", NULL, 0, NULL},
    {ARG_WORD, 0, "protocol", "resp|memcached|meta", AT(protocol),
     "what the server speaks (resp); memcached sends get and set, meta sends memcached's mg and "
     "ms, "
     "which it answers in batches"},
    {ARG_TEXT, 'h', "host", "NAME", AT(host), "host (127.0.0.1)"},
    {ARG_NUMBER, 'p', "port", "N", AT(port), "port (6379, memcached 11211)"},
    {ARG_TEXT, 0, "unix", "PATH", AT(unix_path), "Unix socket instead of host and port"},
    {ARG_TEXT, 'a', "auth", "PASSWORD", AT(password), "password; else from $REDISCLI_AUTH"},
    {ARG_NUMBER, 0, "db", "N", AT(database), "database to SELECT (0)"},
    {ARG_NUMBER, 0, "server-pid", "PID", AT(server_pid),
     "also report this process' CPU per operation and its memory"},

    {ARG_GROUP, 0, "Load", NULL, 0, NULL},
    {ARG_NUMBER, 'c', "connections", "N", AT(n_connections), "connections over all threads (50)"},
    {ARG_NUMBER, 'P', "pipeline", "N", AT(pipeline), "requests sent at once per connection (1)"},
    {ARG_NUMBER, 't', "threads", "N", AT(n_threads), "threads of the generator (1)"},
    {ARG_NUMBER, 'n', "requests", "N", AT(n_requests), "stop after so many requests"},
    {ARG_REAL, 's', "seconds", "S", AT(seconds), "stop after so many seconds (10)"},
    {ARG_REAL, 0, "warmup", "S", AT(warmup_seconds), "run so long before measuring (0)"},
    {ARG_REAL, 'r', "rate", "N", AT(rate),
     "requests per second over all connections; latency then counts from the moment a request "
     "was due, so that a stalled server cannot hide its queue"},
    {ARG_REAL, 0, "timeout", "S", AT(timeout_seconds), "give up when no reply comes so long (60)"},
    {ARG_NUMBER, 0, "seed", "N", AT(seed), "seed of the random choices; printed (from the clock)"},

    {ARG_GROUP, 0, "Workload", NULL, 0, NULL},
    {ARG_REAL, 0, "reads", "PCT", AT(reads_pct), "share of GETs, the rest are SETs (90)"},
    {ARG_FLAG, 0, "lookaside", NULL, AT(is_lookaside), "GET, and SET what was missed"},
    {ARG_FLAG, 0, "load", NULL, AT(is_load), "SET every key once, in order"},
    {ARG_TEXT, 0, "trace", "FILE[.zst]", AT(trace_path),
     "replay a trace, one `key` or `key,size` per line, in look-aside mode"},
    {ARG_TEXT, 0, "records", "FILE", AT(records_path),
     "keys and values from a file of records with an empty line between; the key is what follows "
     "the first colon (as in `Package: zstd`)"},
    {ARG_NUMBER, 0, "copies", "N", AT(n_copies),
     "with --records: store each N times, under the prefixes 0: 1: ..., with a last line "
     "`Copy: i` (1)"},
    {ARG_FLAG, 0, "verify", NULL, AT(is_verified),
     "check every byte read: each value carries its key, version, length and checksum, and a "
     "version older than one already acknowledged or seen is an error (this run must be the only "
     "writer of its keys)"},
    {ARG_NUMBER, 0, "ttl", "S", AT(ttl_seconds), "let what is SET expire (0: never)"},

    {ARG_GROUP, 0, "Keys", NULL, 0, NULL},
    {ARG_NUMBER, 'k', "keys", "N", AT(n_keys), "number of keys (1m)"},
    {ARG_WORD, 'd', "distribution", "uniform|zipf|sequential", AT(distribution),
     "how keys are chosen (uniform); zipf scatters the popular ones over the key space, always in "
     "the same way"},
    {ARG_REAL, 0, "theta", "X", AT(theta), "skew of zipf (0.99)"},
    {ARG_TEXT, 0, "key-prefix", "TEXT", AT(key_prefix),
     "what keys begin with (key:, records none)"},
    {ARG_NUMBER, 0, "key-size", "BYTES", AT(key_size), "length of a key, zeros between (16)"},

    {ARG_GROUP, 0, "Values", NULL, 0, NULL},
    {ARG_TEXT, 'v', "value-size", "SPEC", AT(value_size),
     "100 | 100:2000 (uniform) | lognormal:MEDIAN:SIGMA[:MAX] | 100@3,1kb@1 (weighted list) (100)"},
    {ARG_REAL, 0, "compressible", "SHARE", AT(compressible),
     "share of a value that zstd level 1 saves, 0 to 0.95 (0)"},
    {ARG_FLAG, 0, "json-values", NULL, AT(is_json_values), "values are JSON records"},

    {ARG_GROUP, 0, "Results", NULL, 0, NULL},
    {ARG_FLAG, 0, "csv", NULL, AT(is_csv), "one header line, one line"},
    {ARG_FLAG, 0, "json", NULL, AT(is_json), "one object"},
    {ARG_FLAG, 'q', "quiet", NULL, AT(is_quiet), "no progress on standard error"},
};
#undef AT

#define N_ARGS (sizeof(args) / sizeof(args[0]))
#define FIRST_LONG 256 /* getopt's return value of args[i] is FIRST_LONG + i */
enum { GETOPT_HELP = FIRST_LONG + N_ARGS, GETOPT_VERSION };

static const char examples[] =
    "\nSizes and counts take k m g (1000) and kb mb gb (1024).\n"
    "Exit status: 0 all well, 1 errors or a failed check, 2 it could not run.\n"
    "\nExamples:\n"
    "  hearth-bench --load --keys 1m --value-size 100\n"
    "      fill a server on port 6379 with a million keys\n"
    "  hearth-bench --reads 100 -P 16 --seconds 10 --server-pid $(pidof redis-server)\n"
    "      GETs, 16 at a time on 50 connections, with the server's CPU per GET\n"
    "  hearth-bench -p 11211 --protocol memcached --lookaside -d zipf --value-size 1kb\n"
    "      a cache in front of something slow, on memcached\n"
    "  hearth-bench --rate 20k --reads 95 --json\n"
    "      latency at a given load, free of coordinated omission\n"
    "  hearth-bench --verify --reads 50 --value-size 32:4kb --requests 10m\n"
    "      is every value the one that was last acknowledged?\n"
    "  hearth-bench --trace cache2k-orm-night.csv.zst --value-size 1kb --compressible 0.5\n"
    "      the hit ratio of a real workload\n";

/* Prints `text` from column 30 on, broken at blanks so that lines stay under 100 columns. */
static void print_wrapped(const char *text)
{
    size_t column = 30;
    while (*text != '\0') {
        size_t word = strcspn(text, " ");
        if (column + word > 98) {
            printf("\n%30s", "");
            column = 30;
        }
        printf("%s%.*s", column > 30 ? " " : "", (int)word, text);
        column += word + 1;
        text += word + (text[word] == ' ');
    }
    putchar('\n');
}

static void print_help(void)
{
    puts("usage: hearth-bench [options]\n"
         "Puts load on a cache server that speaks Redis' or memcached's protocol, checks what "
         "comes\n"
         "back and says what it cost: throughput, latency, hit ratio, server CPU and memory.");
    for (size_t i = 0; i < N_ARGS; i++) {
        const struct arg *arg = &args[i];
        if (arg->kind == ARG_GROUP) {
            printf("\n%s\n", arg->name);
            continue;
        }
        char left[64];
        int n = snprintf(left, sizeof(left), "  %c%c%s--%s %s", arg->letter ? '-' : ' ',
                         arg->letter ? arg->letter : ' ', arg->letter ? ", " : "  ", arg->name,
                         arg->value != NULL ? arg->value : "");
        printf("%-30s", left);
        if (n > 29) {
            printf("\n%30s", "");
        }
        print_wrapped(arg->help);
    }
    fputs(examples, stdout);
}

bool args_parse_number(const char *text, uint64_t *value_out, const char **end_out)
{
    static const char units[] = "kmg";
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    /* isdigit first: strtod also takes "nan", "inf" and signs */
    if (text[0] < '0' || text[0] > '9' || errno != 0) {
        return false;
    }
    const char *unit = *end != '\0' ? strchr(units, *end | 0x20) : NULL;
    if (unit != NULL) {
        end++;
        double base = 1000;
        if ((*end | 0x20) == 'b') {
            base = 1024;
            end++;
        }
        for (const char *u = units; u <= unit; u++) {
            value *= base;
        }
    }
    if (value >= 9e18) {
        return false;
    }
    *value_out = (uint64_t)value;
    *end_out = end;
    return true;
}

/* The index of `text` among "a|b|c"; -1 when it is none of them. */
static int word_index(const char *words, const char *text)
{
    int index = 0;
    for (const char *w = words; *w != '\0'; index++) {
        size_t n = strcspn(w, "|");
        if (strlen(text) == n && strncasecmp(w, text, n) == 0) {
            return index;
        }
        w += n + (w[n] == '|');
    }
    return -1;
}

static void store(const struct arg *arg, const char *text, struct bench_config *config)
{
    void *field = (char *)config + arg->offset;
    const char *end = "";
    uint64_t number;
    switch (arg->kind) {
    case ARG_TEXT:
        *(const char **)field = text;
        break;
    case ARG_FLAG:
        *(bool *)field = true;
        break;
    case ARG_NUMBER:
        if (!args_parse_number(text, &number, &end) || *end != '\0') {
            bench_die("--%s takes a number such as 250, 10k or 64kb, not '%s'", arg->name, text);
        }
        *(uint64_t *)field = number;
        break;
    case ARG_REAL: {
        char *stop;
        double real = strtod(text, &stop);
        if (args_parse_number(text, &number, &end) && *end == '\0' && *stop != '\0') {
            real = (double)number; /* with a unit: --rate 20k */
        } else if (stop == text || *stop != '\0' || !(real >= 0 && real < 1e15)) {
            bench_die("--%s takes a number, not '%s'", arg->name, text);
        }
        *(double *)field = real;
        break;
    }
    case ARG_WORD: {
        int index = word_index(arg->value, text);
        if (index < 0) {
            bench_die("--%s takes one of %s, not '%s'", arg->name, arg->value, text);
        }
        *(int *)field = index;
        break;
    }
    case ARG_GROUP:
        break;
    }
}

static void check_range(const char *name, double value, double low, double high)
{
    if (value < low || value > high) {
        bench_die("--%s must be from %g to %g, not %g", name, low, high, value);
    }
}

/* What single options cannot say: bounds, contradictions, and what follows from what. */
static void settle(struct bench_config *c)
{
    check_range("threads", (double)c->n_threads, 1, 256);
    check_range("connections", (double)c->n_connections, 1, 1e6);
    check_range("pipeline", (double)c->pipeline, 1, 1e5);
    check_range("keys", (double)c->n_keys, 1, 1e12);
    check_range("reads", c->reads_pct, 0, 100);
    check_range("compressible", c->compressible, 0, 0.95);
    check_range("theta", c->theta, 0.01, 10);
    check_range("port", (double)c->port, 0, 65535);
    check_range("copies", (double)c->n_copies, 1, 1e9);
    check_range("timeout", c->timeout_seconds, 0.1, 1e6);
    if (c->is_load && (c->is_lookaside || c->trace_path != NULL)) {
        bench_die("--load goes neither with --lookaside nor with --trace");
    }
    if (c->trace_path != NULL && c->records_path != NULL) {
        bench_die("choose one of --trace and --records");
    }
    if (c->is_csv && c->is_json) {
        bench_die("choose one of --csv and --json");
    }
    if (c->is_json_values && c->compressible > 0) {
        bench_die("--json-values have a compressibility of their own; leave out --compressible");
    }
    if (c->protocol != PROTOCOL_RESP && (c->password != NULL || c->database != 0)) {
        bench_die("--auth and --db are for RESP servers");
    }
    if (c->n_threads > c->n_connections) {
        bench_die("--threads %llu needs at least as many --connections",
                  (unsigned long long)c->n_threads);
    }
    c->workload = c->is_load                                 ? WORKLOAD_LOAD
                  : c->is_lookaside || c->trace_path != NULL ? WORKLOAD_LOOKASIDE
                                                             : WORKLOAD_MIX;
    c->output = c->is_csv ? OUTPUT_CSV : c->is_json ? OUTPUT_JSON : OUTPUT_TEXT;
    if (c->workload == WORKLOAD_LOAD) {
        c->distribution = KEYS_SEQUENTIAL;
    }
    if (c->key_prefix == NULL) {
        c->key_prefix = c->records_path == NULL ? "key:" : "";
    }
    if (c->port == 0) {
        c->port = wire_default_port(c->protocol);
    }
}

void args_parse(int argc, char **argv, struct bench_config *config_out)
{
    *config_out = (struct bench_config){
        .host = "127.0.0.1",
        .n_threads = 1,
        .n_connections = 50,
        .pipeline = 1,
        .timeout_seconds = 60,
        .reads_pct = 90,
        .n_keys = 1000000,
        .key_size = 16,
        .theta = 0.99,
        .value_size = "100",
        .n_copies = 1,
    };
    struct option longs[N_ARGS + 3];
    char shorts[2 * N_ARGS + 1];
    int letter_index[128];
    size_t n_longs = 0;
    size_t n_shorts = 0;
    for (size_t i = 0; i < N_ARGS; i++) {
        if (args[i].kind == ARG_GROUP) {
            continue;
        }
        int has_arg = args[i].kind == ARG_FLAG ? no_argument : required_argument;
        longs[n_longs++] = (struct option){args[i].name, has_arg, NULL, FIRST_LONG + (int)i};
        if (args[i].letter != 0) {
            letter_index[(int)args[i].letter] = (int)i;
            shorts[n_shorts++] = args[i].letter;
            if (has_arg == required_argument) {
                shorts[n_shorts++] = ':';
            }
        }
    }
    longs[n_longs++] = (struct option){"help", no_argument, NULL, GETOPT_HELP};
    longs[n_longs++] = (struct option){"version", no_argument, NULL, GETOPT_VERSION};
    longs[n_longs] = (struct option){0};
    shorts[n_shorts] = '\0';

    int got;
    while ((got = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        if (got == '?') {
            bench_die("see hearth-bench --help");
        }
        if (got == GETOPT_HELP || got == GETOPT_VERSION) {
            if (got == GETOPT_HELP) {
                print_help();
            } else {
                puts("hearth-bench " HEARTH_VERSION);
            }
            exit(0);
        }
        const struct arg *arg = &args[got >= FIRST_LONG ? got - FIRST_LONG : letter_index[got]];
        store(arg, optarg, config_out);
        config_out->has_seed |= arg->offset == offsetof(struct bench_config, seed);
    }
    if (optind < argc) {
        bench_die("'%s' is no option; see hearth-bench --help", argv[optind]);
    }
    if (config_out->password == NULL && config_out->protocol == PROTOCOL_RESP) {
        config_out->password = getenv("REDISCLI_AUTH");
    }
    if (!config_out->has_seed) {
        config_out->seed = (uint64_t)time(NULL);
    }
    settle(config_out);
}
