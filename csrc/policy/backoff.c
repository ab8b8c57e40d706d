/*
 * backoff.c: a table of growth curves, each saturating at the cap, and a table of jitters.
 */
#include "backoff.h"

static int64_t sf_grow_exponential(int64_t base, int64_t cap, uint64_t n)
{
  uint64_t shift = n - 1;
  return shift >= 62 || base > (cap >> shift) ? cap : base << shift;
}

static int64_t sf_grow_linear(int64_t base, int64_t cap, uint64_t n)
{
  return n > (uint64_t)(cap / base) ? cap : base * (int64_t)n;
}

static int64_t sf_grow_fibonacci(int64_t base, int64_t cap, uint64_t n)
{
  int64_t limit = cap / base, before = 0, now = 1;
  for (uint64_t i = 1; i < n; i++) {
    int64_t next = before + now;
    if (next > limit) return cap;
    before = now;
    now = next;
  }
  return now > limit ? cap : base * now;
}

static double sf_jitter_factor(const sf_backoff_config *config, double random)
{
  switch (config->jitter) {
  case SF_JITTER_FULL: return random;
  case SF_JITTER_EQUAL: return 0.5 + 0.5 * random;
  case SF_JITTER_FRACTION: return 1.0 - config->fraction * random;
  case SF_JITTER_NONE: break;
  }
  return 1.0;
}

static int64_t sf_decorrelated(int64_t base, int64_t cap, int64_t previous, double random)
{
  int64_t from = sf_time_min(base, cap);
  int64_t to = previous > cap / 3 ? cap : sf_time_min(cap, 3 * previous);
  return to <= from ? from : from + sf_time_from((double)(to - from) * random);
}

int64_t sf_backoff_delay(const sf_backoff_config *config, uint64_t n, int64_t previous_ns, double random)
{
  static int64_t (*const grow[])(int64_t, int64_t, uint64_t) = {
    [SF_BACKOFF_EXPONENTIAL] = sf_grow_exponential,
    [SF_BACKOFF_LINEAR] = sf_grow_linear,
    [SF_BACKOFF_FIBONACCI] = sf_grow_fibonacci,
  };
  int64_t base = config->base_ns, cap = config->max_ns;
  if (base <= 0 || cap <= 0) return 0;
  if (n == 0) n = 1;
  if (!(random > 0)) random = 0;
  if (random > 1) random = 1;
  if (config->strategy == SF_BACKOFF_DECORRELATED) {
    bool anew = n == 1 || previous_ns <= 0;
    return sf_decorrelated(base, cap, anew ? base : previous_ns, random);
  }
  double delay = (double)grow[config->strategy](base, cap, n) * sf_jitter_factor(config, random);
  return sf_time_min(cap, sf_time_from(delay));
}
