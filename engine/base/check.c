/*
 * A failed check speaks with plain write(2) to stderr, since the heap, the log and every lock may be
 * what is broken, and then aborts: the core shows the rest.
 */
#include "engine/base/check.h"

#include <execinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CHECK_FRAMES 32

void check_failed(const char *expr, const char *file, int line)
{
    dprintf(STDERR_FILENO, "CHECK failed: %s (%s:%d)\n", expr, file, line);
    void *frames[CHECK_FRAMES];
    backtrace_symbols_fd(frames, backtrace(frames, CHECK_FRAMES), STDERR_FILENO);
    abort();
}
