/*
 * Purpose: life-cycle and fault messages, one line each, text or JSON (ECS fields).
 *   Nothing is logged per request; a fault that repeats is rate-limited per call site.
 * Threads: any; a line is written with one write(2).
 * Errors: none reach the caller.
 */
#ifndef HEARTH_BASE_LOG_H
#define HEARTH_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdatomic.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/* Redis' names: debug, verbose, notice, warning. Defaults: LOG_INFO, text, stderr. */
void log_set_level(enum log_level level);
void log_set_json(bool is_json);

struct log_site {
    _Atomic int64_t next_us; /* relaxed: a lost race prints one line more */
    _Atomic uint32_t suppressed;
};

/* event: a short noun phrase ("segment sealed"); fmt: "key=value key=value" pairs. */
void log_write(enum log_level level, struct log_site *site, const char *component,
               const char *event, const char *fmt, ...) __attribute__((format(printf, 5, 6)));

#define log_at(level, component, event, ...)                                                       \
    do {                                                                                           \
        static struct log_site site_;                                                              \
        log_write(level, &site_, component, event, __VA_ARGS__);                                   \
    } while (0)
#define log_error(component, event, ...) log_at(LOG_ERROR, component, event, __VA_ARGS__)
#define log_warn(component, event, ...) log_at(LOG_WARN, component, event, __VA_ARGS__)
#define log_info(component, event, ...) log_at(LOG_INFO, component, event, __VA_ARGS__)
#define log_debug(component, event, ...) log_at(LOG_DEBUG, component, event, __VA_ARGS__)

#endif
