/*
 * check.h: the smallest test harness: a table of named tests, CHECK, and one line per test. Exit status 1 when any failed.
 * An argument runs only the tests whose names contain it.
 */
#ifndef SF_CHECK_H
#define SF_CHECK_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct check_test {
  const char *name;
  void (*run)(void);
} check_test;

static int check_failures;

#define CHECK(condition)                                                                                               \
  ((condition) ? (void)0 : (void)(check_failures++, printf("  %s:%d: %s\n", __FILE__, __LINE__, #condition)))

/* For numbers: shows what came. */
#define CHECK_IS(got, wanted) check_is((int64_t)(got), (int64_t)(wanted), #got, __FILE__, __LINE__)

static inline void check_is(int64_t got, int64_t wanted, const char *what, const char *file, int line)
{
  if (got == wanted) return;
  check_failures++;
  printf("  %s:%d: %s is %lld, not %lld\n", file, line, what, (long long)got, (long long)wanted);
}

static inline int64_t check_now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline int check_main(const check_test *tests, size_t count, int argc, char **argv)
{
  setvbuf(stdout, NULL, _IOLBF, 0);
  int failed = 0;
  for (size_t i = 0; i < count; i++) {
    if (argc > 1 && strstr(tests[i].name, argv[1]) == NULL) continue;
    check_failures = 0;
    tests[i].run();
    printf("%s %s\n", check_failures == 0 ? "ok" : "FAILED", tests[i].name);
    failed += check_failures != 0;
  }
  return failed == 0 ? 0 : 1;
}

#endif
