/*
 * The three shapes hold the same facts. JSON names are part of the tool's contract: tools/bench and
 * tools/demo read them.
 */
#include "tools/hearth-bench/report.h"

#include <stdio.h>

#define MIB (1024.0 * 1024.0)

static double ratio(double a, double b)
{
    return b > 0 ? a / b : 0;
}

static double cpu_us_per_op(const struct report *report)
{
    return ratio(report->server.cpu_seconds * 1e6, (double)report->all.count);
}

static const char *protocol_name(const struct bench_config *config)
{
    static const char *const names[] = {"resp", "memcached", "meta"};
    return names[config->protocol];
}

static const char *workload_name_of(const struct bench_config *config)
{
    static const char *const names[] = {"mix", "load", "lookaside"};
    return config->trace_path != NULL ? "trace" : names[config->workload];
}

static const char *distribution_name(const struct bench_config *config)
{
    static const char *const names[] = {"uniform", "zipf", "sequential"};
    return names[config->distribution];
}

/* --- text -----------------------------------------------------------------------------------------*/

static void text_latency(const char *name, const struct hist *hist, double seconds)
{
    if (hist->count == 0) {
        return;
    }
    printf("%-5s %12llu %11.0f %9.0f %9.0f %9.0f %9.0f %9.0f\n", name,
           (unsigned long long)hist->count, ratio((double)hist->count, seconds),
           hist_quantile_us(hist, 0.5), hist_quantile_us(hist, 0.9), hist_quantile_us(hist, 0.99),
           hist_quantile_us(hist, 0.999), (double)hist->max_ns / 1000);
}

static void text_failure(const char *name, const struct failure *failure)
{
    if (failure->count > 0) {
        printf("%-12s%llu; the first: %s\n", name, (unsigned long long)failure->count,
               failure->first);
    }
}

static void text_head(const struct report *report)
{
    const struct bench_config *c = report->config;
    if (c->unix_path != NULL) {
        printf("target      %s %s\n", protocol_name(c), c->unix_path);
    } else {
        printf("target      %s %s:%u\n", protocol_name(c), c->host, (unsigned)c->port);
    }
    printf("load        %llu connections, pipeline %llu, %llu thread%s, %s",
           (unsigned long long)c->n_connections, (unsigned long long)c->pipeline,
           (unsigned long long)c->n_threads, c->n_threads == 1 ? "" : "s", workload_name_of(c));
    if (c->workload == WORKLOAD_MIX) {
        printf(" with %g %% reads", c->reads_pct);
    }
    if (c->rate > 0) {
        printf(", %g requests/s", c->rate);
    }
    if (c->trace_path != NULL) {
        printf("\nkeys        of %s", c->trace_path);
    } else {
        printf("\nkeys        %llu, %s", (unsigned long long)report->workload->keys.n_keys,
               distribution_name(c));
        if (c->distribution == KEYS_ZIPF) {
            printf(" %g", c->theta);
        }
    }
    printf(", seed %llu\n", (unsigned long long)c->seed);
    if (c->records_path != NULL) {
        printf("values      records of %s\n", c->records_path);
    } else {
        printf("values      %s bytes, zstd level 1 saves %.0f %%\n", c->value_size,
               report->workload->values.saved_share * 100);
    }
}

static void text_print(const struct report *report)
{
    const struct worker_results *r = &report->results;
    text_head(report);
    printf("\n%-5s %12s %11s %9s %9s %9s %9s %9s\n", "", "operations", "per second", "p50 µs",
           "p90 µs", "p99 µs", "p99.9 µs", "max µs");
    text_latency("GET", &r->get, report->seconds);
    text_latency("SET", &r->set, report->seconds);
    text_latency("all", &report->all, report->seconds);
    printf("\ntime        %.2f s\n", report->seconds);
    if (r->get.count > 0) {
        printf("hits        %llu of %llu (%.2f %%)\n", (unsigned long long)r->hits,
               (unsigned long long)(r->hits + r->misses),
               100 * ratio((double)r->hits, (double)(r->hits + r->misses)));
    }
    printf("values      %.1f MiB read, %.1f MiB written\n", (double)r->value_bytes_read / MIB,
           (double)r->value_bytes_written / MIB);
    if (report->config->is_verified) {
        printf("verified    %llu values, %llu wrong, %llu stale\n",
               (unsigned long long)r->n_checked, (unsigned long long)r->wrong.count,
               (unsigned long long)r->stale.count);
    }
    if (report->server.is_known) {
        printf("server      %.3f µs of CPU per operation (%.0f %% in the kernel), RSS %.1f MiB "
               "(max %.1f)\n",
               cpu_us_per_op(report), 100 * report->server.system_share,
               (double)report->server.rss_last / MIB, (double)report->server.rss_max / MIB);
    }
    printf("generator   %.3f µs of CPU per operation, %.0f %% of a core\n",
           ratio(report->own_cpu_seconds * 1e6, (double)report->all.count),
           100 * ratio(report->own_cpu_seconds, report->seconds));
    text_failure("errors", &r->errors);
    text_failure("wrong", &r->wrong);
    text_failure("stale", &r->stale);
}

/* --- CSV ------------------------------------------------------------------------------------------*/

static void csv_print(const struct report *report)
{
    const struct bench_config *c = report->config;
    const struct worker_results *r = &report->results;
    puts("protocol,workload,reads_pct,distribution,keys,value_size,connections,pipeline,threads,"
         "rate,"
         "seed,seconds,operations,ops_per_second,gets,sets,hits,misses,errors,wrong,stale,"
         "p50_us,p90_us,p99_us,p999_us,max_us,server_cpu_us_per_op,server_rss_bytes,"
         "server_rss_max_bytes");
    printf("%s,%s,%g,%s,%llu,\"%s\",%llu,%llu,%llu,%g,%llu,", protocol_name(c), workload_name_of(c),
           c->reads_pct, distribution_name(c), (unsigned long long)report->workload->keys.n_keys,
           c->value_size, (unsigned long long)c->n_connections, (unsigned long long)c->pipeline,
           (unsigned long long)c->n_threads, c->rate, (unsigned long long)c->seed);
    printf("%.6f,%llu,%.1f,%llu,%llu,%llu,%llu,%llu,%llu,%llu,", report->seconds,
           (unsigned long long)report->all.count, ratio((double)report->all.count, report->seconds),
           (unsigned long long)r->get.count, (unsigned long long)r->set.count,
           (unsigned long long)r->hits, (unsigned long long)r->misses,
           (unsigned long long)r->errors.count, (unsigned long long)r->wrong.count,
           (unsigned long long)r->stale.count);
    printf("%.1f,%.1f,%.1f,%.1f,%.1f,", hist_quantile_us(&report->all, 0.5),
           hist_quantile_us(&report->all, 0.9), hist_quantile_us(&report->all, 0.99),
           hist_quantile_us(&report->all, 0.999), (double)report->all.max_ns / 1000);
    if (report->server.is_known) {
        printf("%.4f,%lld,%lld\n", cpu_us_per_op(report), (long long)report->server.rss_last,
               (long long)report->server.rss_max);
    } else {
        puts(",,");
    }
}

/* --- JSON -----------------------------------------------------------------------------------------*/

static void json_text(const char *name, const char *text)
{
    printf("\"%s\": \"", name);
    for (; *text != '\0'; text++) {
        unsigned char ch = (unsigned char)*text;
        if (ch == '"' || ch == '\\') {
            printf("\\%c", ch);
        } else if (ch < ' ' || ch >= 127) {
            printf("\\u%04x", ch);
        } else {
            putchar(ch);
        }
    }
    fputs("\"", stdout);
}

static void json_latency(const char *name, const struct hist *hist, const char *end)
{
    printf("    \"%s\": {\"count\": %llu, \"mean\": %.2f, \"p50\": %.2f, \"p90\": %.2f, "
           "\"p99\": %.2f, \"p99.9\": %.2f, \"max\": %.2f}%s\n",
           name, (unsigned long long)hist->count, hist_mean_us(hist), hist_quantile_us(hist, 0.5),
           hist_quantile_us(hist, 0.9), hist_quantile_us(hist, 0.99), hist_quantile_us(hist, 0.999),
           (double)hist->max_ns / 1000, end);
}

static void json_failure(const char *name, const struct failure *failure)
{
    printf("  \"%s\": %llu,\n  ", name, (unsigned long long)failure->count);
    char first[64];
    snprintf(first, sizeof(first), "first_%s", name);
    json_text(first, failure->first);
    puts(",");
}

static void json_config(const struct report *report)
{
    const struct bench_config *c = report->config;
    fputs("  ", stdout);
    json_text("protocol", protocol_name(c));
    fputs(", ", stdout);
    json_text("workload", workload_name_of(c));
    fputs(", ", stdout);
    json_text("distribution", distribution_name(c));
    fputs(", ", stdout);
    json_text("value_size", c->records_path != NULL ? "records" : c->value_size);
    printf(",\n  \"keys\": %llu, \"connections\": %llu, \"pipeline\": %llu, \"threads\": %llu, "
           "\"reads_pct\": %g, \"theta\": %g, \"rate\": %g, \"seed\": %llu, "
           "\"zstd_saves\": %.4f,\n",
           (unsigned long long)report->workload->keys.n_keys, (unsigned long long)c->n_connections,
           (unsigned long long)c->pipeline, (unsigned long long)c->n_threads, c->reads_pct,
           c->theta, c->rate, (unsigned long long)c->seed, report->workload->values.saved_share);
}

static void json_print(const struct report *report)
{
    const struct worker_results *r = &report->results;
    puts("{");
    json_config(report);
    printf("  \"seconds\": %.6f, \"operations\": %llu, \"ops_per_second\": %.1f,\n",
           report->seconds, (unsigned long long)report->all.count,
           ratio((double)report->all.count, report->seconds));
    printf("  \"gets\": %llu, \"sets\": %llu, \"hits\": %llu, \"misses\": %llu, "
           "\"hit_ratio\": %.6f, \"fills_left_out\": %llu,\n",
           (unsigned long long)r->get.count, (unsigned long long)r->set.count,
           (unsigned long long)r->hits, (unsigned long long)r->misses,
           ratio((double)r->hits, (double)(r->hits + r->misses)),
           (unsigned long long)r->fills_left_out);
    printf("  \"value_bytes_read\": %llu, \"value_bytes_written\": %llu, \"verified\": %llu,\n",
           (unsigned long long)r->value_bytes_read, (unsigned long long)r->value_bytes_written,
           (unsigned long long)r->n_checked);
    json_failure("errors", &r->errors);
    json_failure("wrong", &r->wrong);
    json_failure("stale", &r->stale);
    puts("  \"latency_us\": {");
    json_latency("get", &r->get, ",");
    json_latency("set", &r->set, ",");
    json_latency("all", &report->all, "");
    puts("  },");
    if (report->server.is_known) {
        printf("  \"server\": {\"cpu_us_per_op\": %.5f, \"cpu_seconds\": %.6f, "
               "\"system_share\": %.4f, \"rss_first\": %lld, \"rss_last\": %lld, "
               "\"rss_max\": %lld, \"rss_mean\": %.0f},\n",
               cpu_us_per_op(report), report->server.cpu_seconds, report->server.system_share,
               (long long)report->server.rss_first, (long long)report->server.rss_last,
               (long long)report->server.rss_max, report->server.rss_mean);
    } else {
        puts("  \"server\": null,");
    }
    printf("  \"generator\": {\"cpu_us_per_op\": %.5f, \"cpu_seconds\": %.6f}\n}\n",
           ratio(report->own_cpu_seconds * 1e6, (double)report->all.count),
           report->own_cpu_seconds);
}

void report_print(const struct report *report)
{
    switch (report->config->output) {
    case OUTPUT_CSV:
        csv_print(report);
        break;
    case OUTPUT_JSON:
        json_print(report);
        break;
    case OUTPUT_TEXT:
        text_print(report);
        break;
    }
}
