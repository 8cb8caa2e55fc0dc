/*
 * Design: the device's health is what its recent transfers say; nothing else probes it.
 *
 *      OK -> DEGRADED   a write failed, or READ_BURST reads failed or did not verify within BURST_US
 *      * -> FAILED      WRITES_FAILED writes, or READS_FAILED reads, failed in a row
 *      FAILED -> OK     the write of a probe (one append a second is let through) succeeded
 *      DEGRADED -> OK   the next write that succeeds; after a burst, a read that succeeds BURST_US after
 *                       the last error
 *
 * Invariants
 *   1. A transfer that succeeds on a healthy device touches no shared cache line.
 *   2. Every change is logged once and set in DEVICE_STATE.
 */
#include "tiers/log_impl.h"

#include "engine/base/check.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/metrics.h"

#define BURST_US INT64_C(10000000)
#define PROBE_US INT64_C(1000000)
#define READ_BURST 8
#define WRITES_FAILED 3
#define READS_FAILED 64

static const char *health_name(int health)
{
    static const char *const names[] = {"ok", "degraded", "failed"};
    return names[health];
}

static void errors_count_locked(struct log *log, bool is_write, enum status st, int64_t now_us)
    REQUIRES(log->lock)
{
    if (st == OK) {
        if (is_write) {
            atomic_store_explicit(&log->write_failures, 0, memory_order_relaxed);
            if (atomic_load_explicit(&log->health, memory_order_relaxed) == LOG_FAILED) {
                atomic_store_explicit(&log->read_failures, 0, memory_order_relaxed);
            }
        } else {
            atomic_store_explicit(&log->read_failures, 0, memory_order_relaxed);
            if (now_us - log->last_error_us >= BURST_US) {
                log->burst_errors = 0;
            }
        }
        return;
    }
    if (is_write) {
        atomic_fetch_add_explicit(&log->write_failures, 1, memory_order_relaxed);
        return;
    }
    if (log->burst_errors == 0 ||
        (log->burst_errors < READ_BURST && now_us - log->burst_started_us >= BURST_US)) {
        log->burst_started_us = now_us;
        log->burst_errors = 0;
    }
    log->burst_errors++;
    log->last_error_us = now_us;
    if (st != CORRUPT) { /* bytes that came, though wrong, do not make a dead device */
        atomic_fetch_add_explicit(&log->read_failures, 1, memory_order_relaxed);
    }
}

static int health_judge_locked(const struct log *log) REQUIRES(log->lock)
{
    uint32_t writes = atomic_load_explicit(&log->write_failures, memory_order_relaxed);
    uint32_t reads = atomic_load_explicit(&log->read_failures, memory_order_relaxed);
    if (writes >= WRITES_FAILED || reads >= READS_FAILED) {
        return LOG_FAILED;
    }
    return writes > 0 || log->burst_errors >= READ_BURST ? LOG_DEGRADED : LOG_OK;
}

static bool is_routine(const struct log *log, bool is_write)
{
    if (atomic_load_explicit(&log->health, memory_order_relaxed) != LOG_OK) {
        return false;
    }
    return is_write || atomic_load_explicit(&log->read_failures, memory_order_relaxed) == 0;
}

void log_note_io(struct log *log, bool is_write, enum status st)
{
    if (LIKELY(st == OK && is_routine(log, is_write))) {
        return;
    }
    int64_t now_us = clock_mono_us();
    lock_acquire(&log->lock);
    errors_count_locked(log, is_write, st, now_us);
    int old = atomic_load_explicit(&log->health, memory_order_relaxed);
    int health = health_judge_locked(log);
    atomic_store_explicit(&log->health, health, memory_order_relaxed);
    if (health == LOG_FAILED && old != LOG_FAILED) {
        atomic_store_explicit(&log->next_probe_us, now_us + PROBE_US, memory_order_relaxed);
    }
    lock_release(&log->lock);
    if (health == old) {
        return;
    }
    metric_set(M_DEVICE_STATE, health);
    if (health > old) {
        log_warn("log", "device health", "state=%s was=%s after=%s status=\"%s\"",
                 health_name(health), health_name(old), is_write ? "write" : "read",
                 status_text(st));
    } else {
        log_info("log", "device health", "state=%s was=%s after=%s", health_name(health),
                 health_name(old), is_write ? "write" : "read");
    }
}

bool log_probe_begin(struct log *log)
{
    int64_t now_us = clock_mono_us();
    int64_t next_us = atomic_load_explicit(&log->next_probe_us, memory_order_relaxed);
    return now_us >= next_us &&
           atomic_compare_exchange_strong_explicit(&log->next_probe_us, &next_us, now_us + PROBE_US,
                                                   memory_order_relaxed, memory_order_relaxed);
}

enum log_health log_health(const struct log *log)
{
    return (enum log_health)atomic_load_explicit(&log->health, memory_order_relaxed);
}
