/*
 * adaptive_rate.c: two buckets that must both agree: `told` follows the provider's headers, `bucket` paces at the rate that
 * CUBIC learned. The learned rate moves down at a throttle and up at a success, and how far up is a function of time alone.
 */
#include "adaptive_rate.h"

#include <math.h>
#include <string.h>

#define SF_TALLY_NS (SF_SECOND / 2)
#define SF_TALLY_SMOOTH 0.8
#define SF_PACE_BURST_SECONDS                                                                                          \
  0.1 /* after a throttle the rate is paced: a tenth of a second's worth at once, at least 1 */

static double sf_bits_load(const _Atomic uint64_t *word)
{
  uint64_t bits = atomic_load_explicit(word, memory_order_relaxed);
  double value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static void sf_bits_store(_Atomic uint64_t *word, double value)
{
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  atomic_store_explicit(word, bits, memory_order_relaxed);
}

static void sf_raise(_Atomic int64_t *word, int64_t value)
{
  int64_t old = atomic_load_explicit(word, memory_order_relaxed);
  while (old < value &&
         !atomic_compare_exchange_weak_explicit(word, &old, value, memory_order_relaxed, memory_order_relaxed)) {
  }
}

sf_adaptive_config sf_adaptive_config_default(void)
{
  return (sf_adaptive_config){ .beta = 0.7, .scale = 0.4, .min_rate = 0.5, .max_rate = 0 };
}

void sf_adaptive_init(sf_adaptive *state)
{
  memset(state, 0, sizeof *state);
  sf_quota_pace_init(&state->told, true);
}

double sf_cubic_rate(double wmax, double beta, double scale, double seconds)
{
  double k = cbrt(wmax * (1 - beta) / scale);
  double from_plateau = seconds - k;
  return scale * from_plateau * from_plateau * from_plateau + wmax;
}

static double sf_clamp_rate(const sf_adaptive_config *config, double rate)
{
  if (config->max_rate > 0) rate = fmin(rate, config->max_rate);
  return fmax(rate, config->min_rate);
}

/* Counts one admission. The first of a new half second closes the old one into the smoothed measure. */
static void sf_tally_add(sf_adaptive *state, int64_t now)
{
  uint32_t epoch = (uint32_t)(now / SF_TALLY_NS);
  uint64_t old = atomic_load_explicit(&state->tally, memory_order_relaxed);
  uint64_t next;
  int32_t passed;
  do {
    passed = (uint32_t)old > 0 ? (int32_t)(epoch - (uint32_t)(old >> 32)) : 1; /* the first one begins the count */
    if (passed > 0) next = (uint64_t)epoch << 32 | 1;
    else next = (uint32_t)old == UINT32_MAX ? old : old + 1;
  } while (
      !atomic_compare_exchange_weak_explicit(&state->tally, &old, next, memory_order_relaxed, memory_order_relaxed));
  uint32_t count = (uint32_t)old;
  if (passed <= 0 || count == 0) return;
  double rate = count / ((double)passed * SF_TALLY_NS / SF_SECOND);
  double before = sf_bits_load(&state->measured);
  sf_bits_store(&state->measured, SF_TALLY_SMOOTH * rate + (1 - SF_TALLY_SMOOTH) * before);
}

static void sf_tally_remove(sf_adaptive *state)
{
  uint64_t old = atomic_load_explicit(&state->tally, memory_order_relaxed);
  while ((uint32_t)old > 0 && !atomic_compare_exchange_weak_explicit(&state->tally, &old, old - 1, memory_order_relaxed,
                                                                     memory_order_relaxed)) {
  }
}

/* The open half second counts too, else a burst after an idle time would be measured as idleness. */
static double sf_measured_rate(const sf_adaptive *state)
{
  uint32_t open = (uint32_t)atomic_load_explicit(&state->tally, memory_order_relaxed);
  return fmax(sf_bits_load(&state->measured), open * ((double)SF_SECOND / SF_TALLY_NS));
}

static sf_gcra_config sf_pace_config(double rate)
{
  return sf_gcra_config_make(rate, rate * SF_PACE_BURST_SECONDS);
}

int64_t sf_adaptive_acquire(sf_adaptive *state, const sf_adaptive_config *config, int64_t now)
{
  (void)config;
  int64_t blocked = atomic_load_explicit(&state->blocked_until, memory_order_relaxed) - now;
  if (blocked > 0) return blocked;
  int64_t told = sf_quota_pace_acquire(&state->told, now, 1);
  if (told > 0) return told;
  double rate = sf_bits_load(&state->rate);
  if (rate > 0) {
    sf_gcra_config pace = sf_pace_config(rate);
    int64_t wait = sf_gcra_try(&state->bucket, &pace, now, 1);
    if (wait > 0) {
      sf_quota_pace_settle(&state->told, 1, 0);
      return wait;
    }
  }
  sf_tally_add(state, now);
  return 0;
}

void sf_adaptive_refund(sf_adaptive *state, const sf_adaptive_config *config)
{
  (void)config;
  double rate = sf_bits_load(&state->rate);
  sf_quota_pace_settle(&state->told, 1, 0);
  if (rate > 0) {
    sf_gcra_config pace = sf_pace_config(rate);
    sf_gcra_settle(&state->bucket, &pace, 1, 0);
  }
  sf_tally_remove(state);
}

int64_t sf_adaptive_peek(const sf_adaptive *state, const sf_adaptive_config *config, int64_t now)
{
  (void)config;
  int64_t wait = sf_time_max(0, atomic_load_explicit(&state->blocked_until, memory_order_relaxed) - now);
  wait = sf_time_max(wait, sf_quota_pace_peek(&state->told, now, 1));
  double rate = sf_bits_load(&state->rate);
  if (rate > 0) {
    sf_gcra_config pace = sf_pace_config(rate);
    wait = sf_time_max(wait, sf_gcra_peek(&state->bucket, &pace, now, 1));
  }
  return wait;
}

void sf_adaptive_success(sf_adaptive *state, const sf_adaptive_config *config, int64_t now)
{
  sf_quota_pace_answered(&state->told, now);
  if (sf_bits_load(&state->rate) <= 0) return;
  double ceiling = sf_bits_load(&state->ceiling);
  int64_t since = sf_time_max(0, now - atomic_load_explicit(&state->throttled_at, memory_order_relaxed));
  double grown = sf_cubic_rate(ceiling, config->beta, config->scale, (double)since / SF_SECOND);
  double rate = fmax(config->beta * ceiling, fmin(grown, 2 * sf_measured_rate(state)));
  sf_bits_store(&state->rate, sf_clamp_rate(config, rate));
}

void sf_adaptive_throttled(sf_adaptive *state, const sf_adaptive_config *config, int64_t now, int64_t retry_after_ns,
                           int64_t age_ns, double sent_since)
{
  if (retry_after_ns > 0) sf_raise(&state->blocked_until, sf_time_add(now, retry_after_ns));
  if (retry_after_ns > 0 && sf_quota_pace_refused(&state->told, now, retry_after_ns, age_ns, sent_since)) return;
  int64_t last = atomic_load_explicit(&state->throttled_at, memory_order_relaxed);
  int64_t at = sf_time_max(1, now);
  if (last > 0 && at < sf_time_add(last, SF_TALLY_NS)) return;
  if (!atomic_compare_exchange_strong_explicit(&state->throttled_at, &last, at, memory_order_relaxed,
                                               memory_order_relaxed))
    return;
  double rate = sf_bits_load(&state->rate), measured = sf_measured_rate(state);
  double ceiling = sf_clamp_rate(config, rate > 0 ? fmin(rate, measured) : measured);
  rate = sf_clamp_rate(config, config->beta * ceiling);
  sf_bits_store(&state->ceiling, ceiling);
  sf_bits_store(&state->rate, rate);
  sf_gcra_config pace = sf_pace_config(rate);
  sf_raise(&state->bucket.arrival, sf_time_add(now, sf_time_from(pace.burst * pace.period_ns)));
}

void sf_adaptive_headers(sf_adaptive *state, int64_t now, const sf_quota_word *requests, int64_t age_ns,
                         double sent_since)
{
  sf_quota_pace_told(&state->told, now, requests, age_ns, sent_since);
}

double sf_adaptive_rate(const sf_adaptive *state, const sf_adaptive_config *config, int64_t now)
{
  (void)config;
  double rate = sf_bits_load(&state->rate);
  if (rate <= 0) rate = INFINITY;
  return fmin(rate, sf_quota_pace_rate(&state->told, now));
}
