/*
 * hearth-history: the value-history check. Loads a Redis-compatible server from many connections and
 * judges every reply against what was acknowledged (tests/support/history.h).
 *
 *   hearth-history --port 6379 --ops 10000000 --seed 7      exit status: 0 no violation, 1 violations,
 *   hearth-history --self-test                              2 could not be done
 */
#include "tests/history/fake.h"
#include "tests/history/load.h"

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SELF_TEST_OPS 150000

static void usage(void)
{
    puts("usage: hearth-history [options]\n"
         "  --host A --port N --unix PATH --password P   the server (127.0.0.1, 6379)\n"
         "  --ops N --seconds S       stop after so much, whichever comes first (1000000, no "
         "limit)\n"
         "  --seed N                  repeats the choice of commands\n"
         "  --connections N --threads N --pipeline N   (8, 2, 16: the deepest pipeline)\n"
         "  --keys N --zipf T         registers, and the skew of their use (50000, 0.99)\n"
         "  --value-max BYTES         longest value (65536)\n"
         "  --cache                   the server may evict: misses are counted, not accused\n"
         "  --tiers                   HEARTH DEMOTE and PROMOTE among the commands\n"
         "  --flush                   FLUSHDB of database 1 among the commands\n"
         "  --slack-ms N              by how much an expiry may be off (15)\n"
         "  --allow-errors            error replies are no failure\n"
         "  --self-test               against a fake server with and without bugs");
}

static void summary(const struct load *load)
{
    struct history_counts n;
    history_counts(load->history, &n);
    double seconds = (double)(load_now_ns() - load->started_ns) * 1e-9;
    printf("history: %" PRIu64 " operations in %.1f s (%.0f/s), %" PRIu64 " values read, %" PRIu64
           " misses (%" PRIu64 " unexplained), %" PRIu64 " error replies, %" PRIu64
           " refused shifts, %" PRIu64 " violations\n",
           load->n_ended, seconds, (double)load->n_ended / seconds, n.reads, n.misses,
           n.unexplained_misses, load->n_errors, load->n_refused, n.violations);
}

static int check(const struct load_options *options, bool allows_errors)
{
    struct load load = {.options = *options};
    printf("history: seed %" PRIu64 "\n", options->seed);
    bool is_done = load_run(&load);
    summary(&load);
    struct history_counts n;
    history_counts(load.history, &n);
    bool is_bad = n.violations > 0 || (load.n_errors > 0 && !allows_errors);
    load_deinit(&load);
    return !is_done ? 2 : is_bad ? 1 : 0;
}

static const char *const bug_names[] = {
#define X(id, text) #id " (" text ")",
    FAKE_BUGS(X)
#undef X
};

/* The judge must say nothing of a correct server and notice each bug. */
static int self_test(const struct load_options *options)
{
    int n_failed = 0;
    for (enum fake_bug bug = 0; bug < BUG_COUNT; bug++) {
        struct load_options o = *options;
        struct fake *fake = fake_start(bug, &o.port);
        bool is_slow = bug == BUG_EXPIRED || bug == BUG_LOST_EXPIRE; /* takes time to show */
        o.n_ops = bug == BUG_NONE || is_slow ? 6 * SELF_TEST_OPS : SELF_TEST_OPS;
        o.n_keys = 5000;
        o.value_max = 4096;
        o.has_flush = true;
        o.max_told = bug == BUG_NONE ? 10 : 0;
        struct load load = {.options = o};
        bool is_done = load_run(&load);
        struct history_counts n;
        history_counts(load.history, &n);
        bool is_right = is_done && (n.violations > 0) == (bug != BUG_NONE);
        printf("%-6s %-60s %6" PRIu64 " violations in %" PRIu64 " operations\n",
               is_right ? "ok" : "FAILED", bug_names[bug], n.violations, load.n_ended);
        n_failed += !is_right;
        load_deinit(&load);
        fake_stop(&fake);
    }
    printf("%d passed, %d failed\n", BUG_COUNT - n_failed, n_failed);
    return n_failed > 0;
}

enum { OPT_CACHE = 256, OPT_TIERS, OPT_FLUSH, OPT_ERRORS, OPT_SELF_TEST };

static const struct option long_options[] = {
    {"host", 1, NULL, 'h'},
    {"port", 1, NULL, 'p'},
    {"unix", 1, NULL, 'u'},
    {"password", 1, NULL, 'a'},
    {"ops", 1, NULL, 'n'},
    {"seconds", 1, NULL, 's'},
    {"seed", 1, NULL, 'r'},
    {"connections", 1, NULL, 'c'},
    {"threads", 1, NULL, 't'},
    {"pipeline", 1, NULL, 'P'},
    {"keys", 1, NULL, 'k'},
    {"zipf", 1, NULL, 'z'},
    {"value-max", 1, NULL, 'v'},
    {"cache", 0, NULL, OPT_CACHE},
    {"tiers", 0, NULL, OPT_TIERS},
    {"flush", 0, NULL, OPT_FLUSH},
    {"slack-ms", 1, NULL, 'S'},
    {"allow-errors", 0, NULL, OPT_ERRORS},
    {"self-test", 0, NULL, OPT_SELF_TEST},
    {NULL, 0, NULL, 0},
};

static uint32_t number(const char *text, uint32_t min, uint32_t max)
{
    char *end;
    unsigned long long n = strtoull(text, &end, 10);
    if (*end != '\0' || n < min || n > max) {
        fprintf(stderr, "not a number from %u to %u: %s\n", min, max, text);
        exit(2);
    }
    return (uint32_t)n;
}

int main(int argc, char **argv)
{
    struct load_options o = {.host = "127.0.0.1",
                             .port = 6379,
                             .n_ops = 1000000,
                             .seed = 0,
                             .n_connections = 8,
                             .n_threads = 2,
                             .pipeline = 16,
                             .n_keys = 50000,
                             .value_max = 65536,
                             .zipf = 0.99,
                             .slack_ms = 15,
                             .max_told = 10};
    bool allows_errors = false, is_self_test = false;
    o.seed = (uint64_t)time(NULL);
    signal(SIGPIPE, SIG_IGN);
    for (int c; (c = getopt_long(argc, argv, "", long_options, NULL)) != -1;) {
        switch (c) {
        case 'h':
            o.host = optarg;
            break;
        case 'p':
            o.port = (int)number(optarg, 1, 65535);
            break;
        case 'u':
            o.unix_path = optarg;
            break;
        case 'a':
            o.password = optarg;
            break;
        case 'n':
            o.n_ops = strtoull(optarg, NULL, 10);
            break;
        case 's':
            o.seconds = atof(optarg);
            break;
        case 'r':
            o.seed = strtoull(optarg, NULL, 10);
            break;
        case 'c':
            o.n_connections = number(optarg, 1, 1000);
            break;
        case 't':
            o.n_threads = number(optarg, 1, 64);
            break;
        case 'P':
            o.pipeline = number(optarg, 1, LOAD_MAX_PIPELINE);
            break;
        case 'k':
            o.n_keys = number(optarg, 16, 100000000);
            break;
        case 'z':
            o.zipf = atof(optarg);
            break;
        case 'v':
            o.value_max = number(optarg, 64, 1u << 30);
            break;
        case 'S':
            o.slack_ms = number(optarg, 0, 10000);
            break;
        case OPT_CACHE:
            o.is_cache = true;
            break;
        case OPT_TIERS:
            o.has_tiers = true;
            break;
        case OPT_FLUSH:
            o.has_flush = true;
            break;
        case OPT_ERRORS:
            allows_errors = true;
            break;
        case OPT_SELF_TEST:
            is_self_test = true;
            break;
        default:
            usage();
            return 2;
        }
    }
    if (o.n_threads > o.n_connections) {
        o.n_threads = o.n_connections;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    return is_self_test ? self_test(&o) : check(&o, allows_errors);
}
