/*
 * Rows of one family stand together in metrics.def, so a family's header is written when its name
 * changes. Histograms are exposed with 1-2-5 bounds from 1 us to 10 s, counted from the registry's
 * finer buckets; everything is in base units.
 */
#include "admin/exposition.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>

#include "engine/base/clock.h"
#include "engine/base/mem.h"
#include "engine/base/metrics.h"

static const uint64_t bounds_us[] = {1,       2,       5,       10,      20,     50,
                                     100,     200,     500,     1000,    2000,   5000,
                                     10000,   20000,   50000,   100000,  200000, 500000,
                                     1000000, 2000000, 5000000, 10000000};
#define N_BOUNDS (sizeof(bounds_us) / sizeof(bounds_us[0]))

struct writer {
    FILE *out;
    bool is_openmetrics;
};

static const char *type_name(enum metric_type type)
{
    static const char *const names[] = {"counter", "gauge", "histogram"};
    return names[type];
}

static void header(struct writer *w, const char *prefix, const char *family, enum metric_type type,
                   const char *unit, const char *help)
{
    const char *suffix = type == METRIC_COUNTER && !w->is_openmetrics ? "_total" : "";
    fprintf(w->out, "# TYPE %s%s%s %s\n", prefix, family, suffix, type_name(type));
    if (w->is_openmetrics && unit[0] != '\0') {
        fprintf(w->out, "# UNIT %s%s %s\n", prefix, family, unit);
    }
    fprintf(w->out, "# HELP %s%s%s %s\n", prefix, family, suffix, help);
}

static void histogram(struct writer *w, enum metric_id id, const struct metric_info *info)
{
    struct metric_hist hist;
    const char *comma = info->labels[0] != '\0' ? "," : "";
    metric_hist_read_raw(id, &hist);
    for (size_t i = 0; i < N_BOUNDS; i++) {
        fprintf(w->out, "hearth_%s_bucket{%s%sle=\"%.6g\"} %llu\n", info->family, info->labels,
                comma, (double)bounds_us[i] / 1e6,
                (unsigned long long)metric_hist_count_le(&hist, bounds_us[i]));
    }
    fprintf(w->out, "hearth_%s_bucket{%s%sle=\"+Inf\"} %llu\n", info->family, info->labels, comma,
            (unsigned long long)hist.count);
    const char *open = info->labels[0] != '\0' ? "{" : "";
    const char *close = info->labels[0] != '\0' ? "}" : "";
    fprintf(w->out, "hearth_%s_sum%s%s%s %.6f\n", info->family, open, info->labels, close,
            (double)hist.sum_us / 1e6);
    fprintf(w->out, "hearth_%s_count%s%s%s %llu\n", info->family, open, info->labels, close,
            (unsigned long long)hist.count);
}

static void sample(struct writer *w, enum metric_id id, const struct metric_info *info)
{
    const char *open = info->labels[0] != '\0' ? "{" : "";
    const char *close = info->labels[0] != '\0' ? "}" : "";
    const char *suffix = info->type == METRIC_COUNTER ? "_total" : "";
    fprintf(w->out, "hearth_%s%s%s%s%s %.17g\n", info->family, suffix, open, info->labels, close,
            metric_value_raw(id));
}

static void registry(struct writer *w)
{
    const char *family = "";
    for (int id = 0; id < METRIC_COUNT; id++) {
        const struct metric_info *info = metric_info((enum metric_id)id);
        if (strcmp(info->family, family) != 0) {
            family = info->family;
            header(w, "hearth_", family, info->type, info->unit, info->help);
        }
        if (info->type == METRIC_HISTOGRAM) {
            histogram(w, (enum metric_id)id, info);
        } else {
            sample(w, (enum metric_id)id, info);
        }
    }
}

static unsigned open_fds(void)
{
    unsigned n = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (dir != NULL && readdir(dir) != NULL) {
        n++;
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return n > 3 ? n - 3 : 0; /* ".", ".." and the directory itself */
}

/* The names every client library gives these. */
static void process(struct writer *w)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    double cpu_s = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                   (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    header(w, "", "hearth_build_info", METRIC_GAUGE, "", "Version of the server; always 1");
    fprintf(w->out, "hearth_build_info{version=\"%s\"} 1\n", HEARTH_VERSION);
    header(w, "process_", "cpu_seconds", METRIC_COUNTER, "seconds", "User and system CPU time");
    fprintf(w->out, "process_cpu_seconds_total %.6f\n", cpu_s);
    header(w, "process_", "resident_memory_bytes", METRIC_GAUGE, "bytes", "Resident memory");
    fprintf(w->out, "process_resident_memory_bytes %llu\n", (unsigned long long)mem_rss_bytes());
    header(w, "process_", "open_fds", METRIC_GAUGE, "", "Open file descriptors");
    fprintf(w->out, "process_open_fds %u\n", open_fds());
    header(w, "process_", "start_time_seconds", METRIC_GAUGE, "seconds", "Unix time of the start");
    fprintf(w->out, "process_start_time_seconds %.3f\n",
            (double)clock_wall_ms() / 1e3 - metric_value_raw(M_UPTIME));
}

enum status exposition_write(bool is_openmetrics, char **text_out, size_t *len_out)
{
    struct writer w = {.is_openmetrics = is_openmetrics};
    *text_out = NULL;
    *len_out = 0;
    w.out = open_memstream(text_out, len_out);
    if (w.out == NULL) {
        return NO_MEMORY;
    }
    metrics_refresh();
    registry(&w);
    process(&w);
    if (is_openmetrics) {
        fputs("# EOF\n", w.out);
    }
    bool failed = ferror(w.out) != 0;
    if (fclose(w.out) != 0 || failed) {
        free(*text_out);
        *text_out = NULL;
        return NO_MEMORY;
    }
    return OK;
}
