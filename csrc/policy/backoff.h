/*
 * backoff.h: how long to wait before retry n. Pure: configuration, n, the previous delay and a random number in.
 *
 * n is 1-based; the cap is applied before the jitter, so that clients at the cap do not march in step; every step
 * saturates, so n = 2^31 is as good as n = 20. Source: AWS SDK retry behaviour 2026, "Exponential backoff and jitter".
 */
#ifndef SF_BACKOFF_H
#define SF_BACKOFF_H

#include "base.h"

typedef enum {
  SF_BACKOFF_EXPONENTIAL, /* base * 2^(n-1) */
  SF_BACKOFF_LINEAR,      /* base * n */
  SF_BACKOFF_FIBONACCI,   /* base * 1 1 2 3 5 8 ... */
  SF_BACKOFF_DECORRELATED /* between base and 3 * previous; its own jitter, the jitter setting does not apply */
} sf_backoff_strategy;

typedef enum {
  SF_JITTER_FULL,    /* d * rand */
  SF_JITTER_EQUAL,   /* d / 2 + d / 2 * rand */
  SF_JITTER_NONE,    /* d */
  SF_JITTER_FRACTION /* d * (1 - fraction * rand) */
} sf_jitter;

typedef struct sf_backoff_config {
  sf_backoff_strategy strategy;
  sf_jitter jitter;
  double fraction; /* for SF_JITTER_FRACTION, 0..1 */
  int64_t base_ns; /* >= 0 */
  int64_t max_ns;  /* >= 0: the cap */
} sf_backoff_config;

SF_BEGIN_DECLS

/* Nanoseconds before retry n. previous_ns: the delay before (decorrelated; <= 0 or n == 1: starts anew). random: [0, 1). */
int64_t sf_backoff_delay(const sf_backoff_config *config, uint64_t n, int64_t previous_ns, double random);

SF_END_DECLS

#endif
