/*
 * base.h: what every floor shares: time, visibility, small helpers.
 *
 * Time is int64_t nanoseconds on a monotonic clock that the caller owns; nothing here ever reads one.
 * Symbols stay inside the shared object: declarations stand between SF_BEGIN_DECLS and SF_END_DECLS, because LuaRocks'
 * builtin build passes no visibility flag.
 */
#ifndef SF_BASE_H
#define SF_BASE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SF_BEGIN_DECLS _Pragma("GCC visibility push(hidden)")
#define SF_END_DECLS _Pragma("GCC visibility pop")

#define SF_NEVER INT64_MAX /* a wait that does not end, a time that does not come */
#define SF_SECOND INT64_C(1000000000)
#define SF_MILLISECOND INT64_C(1000000)

/* a + b for times and waits: saturates at SF_NEVER instead of overflowing. */
static inline int64_t sf_time_add(int64_t a, int64_t b)
{
  return b > 0 && a > SF_NEVER - b ? SF_NEVER : a + b;
}

/* A double as a time: saturates on both sides, NaN is 0. */
static inline int64_t sf_time_from(double ns)
{
  if (ns >= 9.2233720368547748e18) return SF_NEVER;
  if (ns <= -9.2233720368547748e18) return -SF_NEVER;
  return ns == ns ? (int64_t)ns : 0;
}

static inline int64_t sf_time_min(int64_t a, int64_t b)
{
  return a < b ? a : b;
}

static inline int64_t sf_time_max(int64_t a, int64_t b)
{
  return a > b ? a : b;
}

#endif
