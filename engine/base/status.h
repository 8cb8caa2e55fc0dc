/*
 * Purpose: the one error type of the project, and the shape of a function that can fail.
 * Threads: pure values; any thread.
 * Errors: errno and library errors are translated in the file that owns the library.
 */
#ifndef HEARTH_BASE_STATUS_H
#define HEARTH_BASE_STATUS_H

#define MUST_CHECK __attribute__((warn_unused_result))

enum status {
#define X(name, blame, text) name,
#include "engine/base/status.def"
#undef X
    STATUS_COUNT
};

enum status_blame { BLAME_NOBODY, BLAME_CLIENT, BLAME_SERVER };

/* Static text of a status; never NULL. */
const char *status_text(enum status st);
enum status_blame status_blame(enum status st);
/* IO, NO_SPACE, NO_MEMORY, INVALID … for an errno value (positive). */
enum status status_from_errno(int err);

/* Runs expr; on anything but OK jumps to the function's `out:` with `st` set. */
#define TRY(expr)                                                                                  \
    do {                                                                                           \
        st = (expr);                                                                               \
        if (st != OK) {                                                                            \
            goto out;                                                                              \
        }                                                                                          \
    } while (0)

/* The status does not matter here; say why beside it. */
#define IGNORE(expr)                                                                               \
    do {                                                                                           \
        enum status ignored_ = (expr);                                                             \
        (void)ignored_;                                                                            \
    } while (0)

#endif
