/* Arguments in, CSV out; the policies are in sim_*.c. */
#include "tools/hearth-trace/simulate.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/hearth-trace/sim.h"

#define CAPACITIES_MAX 64
#define POLICIES_MAX 16

const struct sim_policy sim_policies[] = {
    {"tinylfu", sim_tinylfu, "the server's own code (default)"},
    {"lru", sim_lru, "least recently used"},
    {"fifo", sim_fifo, "first in, first out"},
    {"sieve", sim_sieve, "FIFO with a hand and visited bits"},
    {"s3fifo", sim_s3fifo, "small, main and ghost FIFO"},
    {"arc", sim_arc, "adaptive replacement cache"},
    {"belady", sim_belady, "the optimum, in hindsight (with --bytes: greedy)"},
    {NULL, NULL, NULL},
};

struct arguments {
    const char *trace_path;
    uint64_t capacities[CAPACITIES_MAX];
    unsigned n_capacities;
    const struct sim_policy *policies[POLICIES_MAX];
    unsigned n_policies;
    bool is_bytes;
};

static void print_help(FILE *out)
{
    fprintf(out,
            "usage: hearth-trace simulate --trace FILE[.zst] --capacity N[,N...]\n"
            "                             [--policy NAME[,NAME...]|all] [--bytes]\n\n"
            "Runs a trace (`key` or `key,size` a line, decimal; - is stdin) through a cache that\n"
            "starts empty and inserts on every miss; prints CSV.\n\n"
            "  --capacity N[,N...]  in objects, or in bytes with --bytes\n"
            "  --bytes              objects count with the sizes in the trace\n"
            "  --policy NAME[,...]  one or more of:\n");
    for (const struct sim_policy *p = sim_policies; p->name != NULL; p++) {
        fprintf(out, "      %-8s %s\n", p->name, p->help);
    }
}

static bool parse_capacities(struct arguments *arguments, char *list)
{
    char *rest = NULL;
    for (char *word = strtok_r(list, ",", &rest); word != NULL; word = strtok_r(NULL, ",", &rest)) {
        char *end;
        errno = 0;
        uint64_t capacity = strtoull(word, &end, 10);
        if (*word < '0' || *word > '9' || *end != '\0' || errno != 0 || capacity == 0 ||
            capacity > (uint64_t)1 << 48 || arguments->n_capacities == CAPACITIES_MAX) {
            fprintf(stderr, "hearth-trace: --capacity: '%s' is not a positive number\n", word);
            return false;
        }
        arguments->capacities[arguments->n_capacities++] = capacity;
    }
    return true;
}

static bool parse_policies(struct arguments *arguments, char *list)
{
    char *rest = NULL;
    for (char *word = strtok_r(list, ",", &rest); word != NULL; word = strtok_r(NULL, ",", &rest)) {
        unsigned n_before = arguments->n_policies;
        for (const struct sim_policy *p = sim_policies; p->name != NULL; p++) {
            if ((strcmp(word, p->name) == 0 || strcmp(word, "all") == 0) &&
                arguments->n_policies < POLICIES_MAX) {
                arguments->policies[arguments->n_policies++] = p;
            }
        }
        if (arguments->n_policies == n_before) {
            fprintf(stderr, "hearth-trace: --policy: unknown '%s'\n", word);
            return false;
        }
    }
    return true;
}

/* The exit code, or -1 to go on. */
static int parse_arguments(int argc, char **argv, struct arguments *arguments)
{
    static const struct option options[] = {
        {"trace", required_argument, NULL, 't'},  {"capacity", required_argument, NULL, 'c'},
        {"policy", required_argument, NULL, 'p'}, {"bytes", no_argument, NULL, 'b'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        bool is_valid = true;
        switch (option) {
        case 't':
            arguments->trace_path = optarg;
            break;
        case 'c':
            is_valid = parse_capacities(arguments, optarg);
            break;
        case 'p':
            is_valid = parse_policies(arguments, optarg);
            break;
        case 'b':
            arguments->is_bytes = true;
            break;
        case 'h':
            print_help(stdout);
            return 0;
        default:
            is_valid = false;
        }
        if (!is_valid) {
            return 2;
        }
    }
    if (optind < argc || arguments->trace_path == NULL || arguments->n_capacities == 0) {
        print_help(stderr);
        return 2;
    }
    if (arguments->n_policies == 0) {
        arguments->policies[arguments->n_policies++] = &sim_policies[0];
    }
    return -1;
}

static enum status simulate(const struct arguments *arguments, const struct trace *trace)
{
    enum status st = OK;
    printf("trace,capacity_objects,policy,requests,hits,hit_ratio\n");
    for (unsigned c = 0; c < arguments->n_capacities; c++) {
        for (unsigned p = 0; p < arguments->n_policies; p++) {
            struct sim_setup setup = {trace, arguments->capacities[c], arguments->is_bytes};
            struct sim_result result;
            TRY(arguments->policies[p]->run(&setup, &result));
            double ratio =
                trace->n_requests == 0 ? 0 : (double)result.hits / (double)trace->n_requests;
            printf("%s,%llu,%s,%llu,%llu,%.6f\n", trace->name, (unsigned long long)setup.capacity,
                   arguments->policies[p]->name, (unsigned long long)trace->n_requests,
                   (unsigned long long)result.hits, ratio);
        }
    }
    if (fflush(stdout) != 0) {
        st = IO;
    }
out:
    return st;
}

int simulate_main(int argc, char **argv)
{
    struct arguments arguments = {0};
    struct trace trace;
    int code = parse_arguments(argc, argv, &arguments);
    if (code >= 0) {
        return code;
    }
    enum status st = trace_read(arguments.trace_path, &trace);
    if (st == OK) {
        st = simulate(&arguments, &trace);
        trace_deinit(&trace);
    }
    if (st != OK) {
        fprintf(stderr, "hearth-trace: %s: %s\n", arguments.trace_path, status_text(st));
    }
    return st == OK ? 0 : 1;
}
