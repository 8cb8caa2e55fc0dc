/*
 * Purpose: the one registry of counters, gauges and histograms, read by INFO and by /metrics.
 *   Every row of metrics.def is one time series of a family; rows of one family stand together.
 * Threads: metric_add/metric_observe write the calling thread's own cells (a thread registers
 *   itself on first use, cells of ended threads are kept); reading sums over all threads and may
 *   be done anywhere. metric_set is for gauges and may come from any thread.
 * Errors: none.
 */
#ifndef HEARTH_BASE_METRICS_H
#define HEARTH_BASE_METRICS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

enum metric_id {
#define X(id, type, family, labels, unit, help) M_##id,
#include "engine/base/metrics.def"
#undef X
    METRIC_COUNT
};

struct metric_info {
    enum metric_type type;
    const char *family; /* without the prefix hearth_ and without _total */
    const char *labels; /* "tier=\"hot\"" or "" */
    const char *unit;   /* "bytes", "seconds", "ratio" or "" */
    const char *help;
};

/* Cells of one thread, indexed by metric_id; relaxed stores by the owner, relaxed loads by readers. */
struct metric_cells {
    _Atomic uint64_t value[METRIC_COUNT];
};
extern _Thread_local struct metric_cells *metric_cells_tl;
struct metric_cells *metric_cells_register(void);

static inline void metric_add(enum metric_id id, uint64_t n)
{
    struct metric_cells *cells = metric_cells_tl;
    if (__builtin_expect(cells == NULL, 0)) {
        cells = metric_cells_register();
    }
    uint64_t old = atomic_load_explicit(&cells->value[id], memory_order_relaxed);
    atomic_store_explicit(&cells->value[id], old + n, memory_order_relaxed);
}

void metric_set(enum metric_id id, double value);
/* Records one duration in microseconds (histograms count µs and are exposed in seconds). */
void metric_observe_us(enum metric_id id, uint64_t us);

const struct metric_info *metric_info(enum metric_id id);
/* Counter: sum since start or since metrics_reset; gauge: last set. */
double metric_value(enum metric_id id);

/* Log-linear: 64 powers of two in 16 steps each, at most 6.25 % wide. */
#define METRIC_HIST_BUCKETS 1024
struct metric_hist {
    uint64_t count;
    uint64_t sum_us;
    uint64_t bucket[METRIC_HIST_BUCKETS];
};
void metric_hist_read(enum metric_id id, struct metric_hist *out);
/* q in 0..1; microseconds, 0 when empty. */
double metric_hist_quantile(const struct metric_hist *hist, double q);
/* Observations of at most `us` microseconds (whole buckets below or equal). */
uint64_t metric_hist_count_le(const struct metric_hist *hist, uint64_t us);

/* CONFIG RESETSTAT: counters and histograms read 0 from here on; /metrics must not use it, so the
 * raw, monotone values stay available: */
void metrics_reset(void);
double metric_value_raw(enum metric_id id);
void metric_hist_read_raw(enum metric_id id, struct metric_hist *out);

/* Calls fn before every INFO or /metrics reading, to refresh gauges. At most 16. */
typedef void (*metrics_refresh_fn)(void *arg);
void metrics_on_refresh(metrics_refresh_fn fn, void *arg);
/* Returns when no refresh runs fn any more; so never from within a refresh. */
void metrics_off_refresh(metrics_refresh_fn fn, void *arg);
void metrics_refresh(void);

#endif
