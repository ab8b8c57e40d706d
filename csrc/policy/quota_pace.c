/* quota_pace.c: a GCRA bucket whose rate, size and fill are those of the last word; see quota_pace.h. */
#include "quota_pace.h"

#include <math.h>
#include <string.h>

static double sf_quota_load(const _Atomic uint64_t *word)
{
  uint64_t bits = atomic_load_explicit(word, memory_order_relaxed);
  double value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static void sf_quota_store(_Atomic uint64_t *word, double value)
{
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  atomic_store_explicit(word, bits, memory_order_relaxed);
}

void sf_quota_pace_init(sf_quota_pace *pace)
{
  memset(pace, 0, sizeof *pace);
}

/* Limit - remaining cells come back until the reset: so that is the rate, and the reset the arrival time. */
bool sf_quota_pace_told(sf_quota_pace *pace, int64_t now, const sf_quota_word *word, double awaited)
{
  double used = word->limit - word->remaining;
  if (word->limit <= 0 || word->remaining < 0 || word->reset_ns <= 0 || used <= 0) return false;
  double rate = used / ((double)word->reset_ns / SF_SECOND);
  int64_t full_at = sf_time_add(now, word->reset_ns);
  int64_t unheard = sf_time_from(fmin(awaited, word->remaining) / rate * SF_SECOND);
  sf_quota_store(&pace->rate, rate);
  sf_quota_store(&pace->limit, word->limit);
  atomic_store_explicit(&pace->bucket.arrival, sf_time_add(full_at, unheard), memory_order_relaxed);
  atomic_store_explicit(&pace->until, full_at, memory_order_release);
  return true;
}

static sf_gcra_config sf_quota_config(const sf_quota_pace *pace)
{
  return sf_gcra_config_make(sf_quota_load(&pace->rate), sf_quota_load(&pace->limit));
}

static bool sf_quota_counts(const sf_quota_pace *pace, int64_t now)
{
  return atomic_load_explicit(&pace->until, memory_order_acquire) > now;
}

int64_t sf_quota_pace_acquire(sf_quota_pace *pace, int64_t now, double cost)
{
  if (!sf_quota_counts(pace, now)) return 0;
  sf_gcra_config config = sf_quota_config(pace);
  return sf_gcra_try(&pace->bucket, &config, now, fmin(cost, config.burst));
}

int64_t sf_quota_pace_peek(const sf_quota_pace *pace, int64_t now, double cost)
{
  if (!sf_quota_counts(pace, now)) return 0;
  sf_gcra_config config = sf_quota_config(pace);
  return sf_gcra_peek(&pace->bucket, &config, now, fmin(cost, config.burst));
}

void sf_quota_pace_settle(sf_quota_pace *pace, double taken, double actual)
{
  if (sf_quota_load(&pace->rate) <= 0) return;
  sf_gcra_config config = sf_quota_config(pace);
  sf_gcra_settle(&pace->bucket, &config, fmin(taken, config.burst), fmin(actual, config.burst));
}

double sf_quota_pace_rate(const sf_quota_pace *pace, int64_t now)
{
  return sf_quota_counts(pace, now) ? sf_quota_load(&pace->rate) : INFINITY;
}
