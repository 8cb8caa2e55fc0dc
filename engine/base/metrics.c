/*
 * Every thread counts in cells of its own, with plain loads and stores (relaxed atomics, no locked
 * instruction), and a reader adds up all threads. A thread's cells are never freed: when it ends they
 * are put aside with their counts and the next new thread goes on counting in them, so sums never
 * fall and thread churn costs no memory.
 *
 * Histograms need 8 KB per thread each, so a thread gets one when it first observes.
 *
 * RESETSTAT cannot write other threads' cells. It remembers the sums of that moment, and reading
 * subtracts them; the raw sums stay monotone for /metrics.
 */
#include "engine/base/metrics.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/lock.h"

#define METRICS_REFRESH_MAX 16

struct hist_cells {
    _Atomic uint64_t sum_us;
    _Atomic uint64_t bucket[METRIC_HIST_BUCKETS];
};

struct thread_cells {
    struct metric_cells cells;                       /* first: metric_cells_tl points here */
    _Atomic(struct hist_cells *) hist[METRIC_COUNT]; /* atomic: release publishes the zeroes */
    struct thread_cells *next;                       /* immutable once linked */
    _Atomic bool is_owned; /* atomic: acquire takes over the last owner's counts */
};

static const struct metric_info infos[METRIC_COUNT] = {
#define X(id, type, family, labels, unit, help)                                                    \
    [M_##id] = {METRIC_##type, family, labels, unit, help},
#include "engine/base/metrics.def"
#undef X
};

/* Where counts go when memory for a thread's own cells is refused: some may be lost, none is wrong
 * by more, and nothing fails. */
static struct thread_cells shared_cells;
static _Atomic(struct thread_cells *)
    all_cells;                                /* atomic: release publishes a block; never shrinks */
static _Atomic uint64_t gauges[METRIC_COUNT]; /* atomic, relaxed: bits of a double */

static struct lock registry_lock = {.rank = LOCK_RANK_LEAF};
/* registry lock */
static uint64_t baseline[METRIC_COUNT];
static struct metric_hist *hist_baseline[METRIC_COUNT];
static struct {
    metrics_refresh_fn fn;
    void *arg;
} refreshers[METRICS_REFRESH_MAX];
static unsigned n_refreshers;
static unsigned n_refreshing; /* metrics_refresh calls under way */

_Thread_local struct metric_cells *metric_cells_tl;
static pthread_key_t thread_end_key;
static pthread_once_t thread_end_once = PTHREAD_ONCE_INIT;

/* --- a thread's cells ---------------------------------------------------------------------------- */

static void give_back(void *arg)
{
    struct thread_cells *mine = arg;
    metric_cells_tl = NULL; /* a later destructor that counts registers anew */
    atomic_store_explicit(&mine->is_owned, false, memory_order_release);
}

static void create_key(void)
{
    CHECK(pthread_key_create(&thread_end_key, give_back) == 0);
}

static struct thread_cells *adopt_cells(void)
{
    struct thread_cells *t = atomic_load_explicit(&all_cells, memory_order_acquire);
    for (; t != NULL; t = t->next) {
        bool is_owned = false;
        if (atomic_compare_exchange_strong_explicit(&t->is_owned, &is_owned, true,
                                                    memory_order_acquire, memory_order_relaxed)) {
            return t;
        }
    }
    return NULL;
}

static struct thread_cells *create_cells(void)
{
    struct thread_cells *t = NULL;
    if (posix_memalign((void **)&t, 64, sizeof(*t)) != 0) {
        return NULL;
    }
    memset(t, 0, sizeof(*t));
    atomic_store_explicit(&t->is_owned, true, memory_order_relaxed);
    t->next = atomic_load_explicit(&all_cells, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&all_cells, &t->next, t, memory_order_release,
                                                  memory_order_relaxed)) {
    }
    return t;
}

struct metric_cells *metric_cells_register(void)
{
    pthread_once(&thread_end_once, create_key);
    struct thread_cells *mine = adopt_cells();
    if (mine == NULL) {
        mine = create_cells();
    }
    if (mine == NULL) {
        return &shared_cells.cells; /* not remembered: the next count tries again */
    }
    if (pthread_setspecific(thread_end_key, mine) != 0) {
        atomic_store_explicit(&mine->is_owned, false, memory_order_release);
        return &shared_cells.cells;
    }
    metric_cells_tl = &mine->cells;
    return metric_cells_tl;
}

static struct hist_cells *own_hist(enum metric_id id)
{
    struct metric_cells *cells = metric_cells_tl;
    if (cells == NULL) {
        cells = metric_cells_register();
    }
    struct thread_cells *mine = (struct thread_cells *)cells;
    struct hist_cells *hist = atomic_load_explicit(&mine->hist[id], memory_order_relaxed);
    if (UNLIKELY(hist == NULL) && mine != &shared_cells) {
        hist = calloc(1, sizeof(*hist));
        atomic_store_explicit(&mine->hist[id], hist, memory_order_release);
    }
    return hist;
}

/* --- writing ------------------------------------------------------------------------------------- */

void metric_set(enum metric_id id, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    atomic_store_explicit(&gauges[id], bits, memory_order_relaxed);
}

/* Below 16 one bucket per value; above, the power of two and the four bits behind the leading one. */
static unsigned bucket_of(uint64_t us)
{
    if (us < 16) {
        return (unsigned)us;
    }
    unsigned power = 63 - (unsigned)__builtin_clzll(us);
    return (power - 3) * 16 + (unsigned)(us >> (power - 4) & 15);
}

static uint64_t bucket_low(unsigned bucket)
{
    if (bucket < 16) {
        return bucket;
    }
    return (uint64_t)(16 + bucket % 16) << (bucket / 16 - 1);
}

/* Inclusive. */
static uint64_t bucket_high(unsigned bucket)
{
    return bucket < 16 ? bucket : bucket_low(bucket) + ((UINT64_C(1) << (bucket / 16 - 1)) - 1);
}

/* Buckets that a 64-bit value can reach; the rest of the array stays 0. */
#define HIST_REACHABLE 976
_Static_assert(HIST_REACHABLE == (63 - 3) * 16 + 16, "the bucket of UINT64_MAX is the last one");
_Static_assert(HIST_REACHABLE <= METRIC_HIST_BUCKETS, "all buckets have a place");

static void bump(_Atomic uint64_t *cell, uint64_t n)
{
    uint64_t old = atomic_load_explicit(cell, memory_order_relaxed);
    atomic_store_explicit(cell, old + n, memory_order_relaxed);
}

void metric_observe_us(enum metric_id id, uint64_t us)
{
    struct hist_cells *hist = own_hist(id);
    if (hist != NULL) {
        bump(&hist->bucket[bucket_of(us)], 1);
        bump(&hist->sum_us, us);
    }
}

/* --- reading ------------------------------------------------------------------------------------- */

const struct metric_info *metric_info(enum metric_id id)
{
    return &infos[id];
}

static uint64_t sum_cells(enum metric_id id)
{
    uint64_t sum = atomic_load_explicit(&shared_cells.cells.value[id], memory_order_relaxed);
    struct thread_cells *t = atomic_load_explicit(&all_cells, memory_order_acquire);
    for (; t != NULL; t = t->next) {
        sum += atomic_load_explicit(&t->cells.value[id], memory_order_relaxed);
    }
    return sum;
}

static double read_gauge(enum metric_id id)
{
    uint64_t bits = atomic_load_explicit(&gauges[id], memory_order_relaxed);
    double value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

void metric_hist_read_raw(enum metric_id id, struct metric_hist *out)
{
    memset(out, 0, sizeof(*out));
    struct thread_cells *t = atomic_load_explicit(&all_cells, memory_order_acquire);
    for (; t != NULL; t = t->next) {
        struct hist_cells *hist = atomic_load_explicit(&t->hist[id], memory_order_acquire);
        for (unsigned b = 0; hist != NULL && b < HIST_REACHABLE; b++) {
            out->bucket[b] += atomic_load_explicit(&hist->bucket[b], memory_order_relaxed);
        }
        out->sum_us += hist != NULL ? atomic_load_explicit(&hist->sum_us, memory_order_relaxed) : 0;
    }
    /* Not a cell of its own: so it always agrees with the buckets. */
    for (unsigned b = 0; b < HIST_REACHABLE; b++) {
        out->count += out->bucket[b];
    }
}

/* A reading may have missed what the baseline, taken by another thread, already saw. */
static uint64_t minus(uint64_t value, uint64_t base)
{
    return value > base ? value - base : 0;
}

void metric_hist_read(enum metric_id id, struct metric_hist *out)
{
    metric_hist_read_raw(id, out);
    lock_acquire(&registry_lock);
    const struct metric_hist *base = hist_baseline[id];
    if (base != NULL) {
        out->count = 0;
        out->sum_us = minus(out->sum_us, base->sum_us);
        for (unsigned b = 0; b < HIST_REACHABLE; b++) {
            out->bucket[b] = minus(out->bucket[b], base->bucket[b]);
            out->count += out->bucket[b];
        }
    }
    lock_release(&registry_lock);
}

double metric_value_raw(enum metric_id id)
{
    switch (infos[id].type) {
    case METRIC_GAUGE:
        return read_gauge(id);
    case METRIC_HISTOGRAM: {
        struct metric_hist hist;
        metric_hist_read_raw(id, &hist);
        return (double)hist.count;
    }
    default:
        return (double)sum_cells(id);
    }
}

double metric_value(enum metric_id id)
{
    switch (infos[id].type) {
    case METRIC_GAUGE:
        return read_gauge(id);
    case METRIC_HISTOGRAM: {
        struct metric_hist hist;
        metric_hist_read(id, &hist);
        return (double)hist.count;
    }
    default: {
        uint64_t sum = sum_cells(id);
        lock_acquire(&registry_lock);
        uint64_t base = baseline[id];
        lock_release(&registry_lock);
        return (double)minus(sum, base);
    }
    }
}

double metric_hist_quantile(const struct metric_hist *hist, double q)
{
    if (hist->count == 0) {
        return 0;
    }
    q = q < 0 ? 0 : q > 1 ? 1 : q;
    double rank = q * (double)hist->count;
    double below = 0;
    unsigned last = 0;
    for (unsigned b = 0; b < HIST_REACHABLE; b++) {
        double n = (double)hist->bucket[b];
        if (n == 0) {
            continue;
        }
        last = b;
        if (below + n >= rank) {
            double low = (double)bucket_low(b);
            double high = (double)bucket_high(b);
            double share = rank > below ? (rank - below) / n : 0;
            return low + (high - low) * share;
        }
        below += n;
    }
    return (double)bucket_high(last); /* rounding of rank */
}

uint64_t metric_hist_count_le(const struct metric_hist *hist, uint64_t us)
{
    uint64_t count = 0;
    for (unsigned b = 0; b < HIST_REACHABLE && bucket_high(b) <= us; b++) {
        count += hist->bucket[b];
    }
    return count;
}

/* --- reset and refresh --------------------------------------------------------------------------- */

/* Keeps the old baseline when memory is refused: the histogram then is not reset. */
static void reset_hist(enum metric_id id)
{
    struct metric_hist *base = malloc(sizeof(*base));
    if (base == NULL) {
        return;
    }
    metric_hist_read_raw(id, base);
    lock_acquire(&registry_lock);
    struct metric_hist *old = hist_baseline[id];
    hist_baseline[id] = base;
    lock_release(&registry_lock);
    free(old);
}

void metrics_reset(void)
{
    for (unsigned id = 0; id < METRIC_COUNT; id++) {
        if (infos[id].type == METRIC_HISTOGRAM) {
            reset_hist((enum metric_id)id);
        } else if (infos[id].type == METRIC_COUNTER) {
            uint64_t sum = sum_cells((enum metric_id)id);
            lock_acquire(&registry_lock);
            baseline[id] = sum;
            lock_release(&registry_lock);
        }
    }
}

void metrics_on_refresh(metrics_refresh_fn fn, void *arg)
{
    lock_acquire(&registry_lock);
    CHECK(n_refreshers < METRICS_REFRESH_MAX);
    refreshers[n_refreshers].fn = fn;
    refreshers[n_refreshers].arg = arg;
    n_refreshers++;
    lock_release(&registry_lock);
}

void metrics_off_refresh(metrics_refresh_fn fn, void *arg)
{
    lock_acquire(&registry_lock);
    for (unsigned i = 0; i < n_refreshers; i++) {
        if (refreshers[i].fn == fn && refreshers[i].arg == arg) {
            memmove(&refreshers[i], &refreshers[i + 1],
                    (n_refreshers - i - 1) * sizeof(refreshers[0]));
            n_refreshers--;
            break;
        }
    }
    /* The caller frees arg next: wait for readings that still hold it. They take microseconds. */
    while (n_refreshing > 0) {
        lock_release(&registry_lock);
        sched_yield();
        lock_acquire(&registry_lock);
    }
    lock_release(&registry_lock);
}

void metrics_refresh(void)
{
    struct {
        metrics_refresh_fn fn;
        void *arg;
    } now[METRICS_REFRESH_MAX];
    lock_acquire(&registry_lock);
    unsigned n = n_refreshers;
    memcpy(now, refreshers, sizeof(now));
    n_refreshing++;
    lock_release(&registry_lock);
    for (unsigned i = 0; i < n; i++) {
        now[i].fn(now[i].arg);
    }
    lock_acquire(&registry_lock);
    n_refreshing--;
    lock_release(&registry_lock);
}
