/*
 * Purpose: CHECK guards what would corrupt data (always on); DCHECK guards the rest (debug and
 *   test builds). Neither may have side effects, nor see bytes from a socket or a device.
 * Threads: any. Errors: a failed check prints file, line and expression and aborts.
 */
#ifndef HEARTH_BASE_CHECK_H
#define HEARTH_BASE_CHECK_H

__attribute__((noreturn, cold)) void check_failed(const char *expr, const char *file, int line);

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define CHECK(x) (LIKELY(x) ? (void)0 : check_failed(#x, __FILE__, __LINE__))
#ifdef HEARTH_DEBUG
#define DCHECK(x) CHECK(x)
#else
#define DCHECK(x) ((void)sizeof(x))
#endif

#endif
