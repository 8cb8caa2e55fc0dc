/*
 * Purpose: named places where a test build can make an operation fail (FAULT_POINT), end the
 *   process (KILL_POINT) or widen a race (SEQ_POINT). The names live in fault.def.
 *   Without HEARTH_TEST all three compile to nothing.
 * Threads: any. Errors: fault_point returns the status the test asked for, else OK.
 *
 * Arming: fault_arm("log.write=IO@3") fails the third passage; "=IO@3+" from the third on;
 *   "promote.after_read=DELAY:200:10" sleeps up to 200 us in 1 of 10 passages (SEQ_POINT);
 *   "reclaim.before_generation=KILL@2" aborts at the second. Several separated by commas.
 *   hearth-server of a test build reads them from the environment variable HEARTH_FAULTS.
 */
#ifndef HEARTH_BASE_FAULT_H
#define HEARTH_BASE_FAULT_H

#include <stdint.h>

#include "engine/base/status.h"

enum fault_id {
#define X(id, name, help) FAULT_##id,
#include "engine/base/fault.def"
#undef X
    FAULT_COUNT
};

/* INVALID: unknown name or syntax. NULL or "" disarms all. */
MUST_CHECK enum status fault_arm(const char *spec);
enum status fault_point(enum fault_id id);
void fault_kill_point(enum fault_id id);
void fault_seq_point(enum fault_id id);
/* Passages counted since the last fault_arm. */
uint64_t fault_passages(enum fault_id id);

#ifdef HEARTH_TEST
#define FAULT_POINT(id) fault_point(FAULT_##id)
#define KILL_POINT(id) fault_kill_point(FAULT_##id)
#define SEQ_POINT(id) fault_seq_point(FAULT_##id)
#else
#define FAULT_POINT(id) OK
#define KILL_POINT(id) ((void)0)
#define SEQ_POINT(id) ((void)0)
#endif

#endif
