/*
 * gcra.c: one word, the theoretical arrival time. Every update is one relaxed compare-and-swap of max(arrival, now) + cost,
 * so a stale `now` can only refuse more. A cost is cut down to whole nanoseconds: `burst` single cells always fit.
 */
#include "gcra.h"

#include <math.h>

static inline int64_t sf_gcra_room(const sf_gcra_config *config)
{
  return sf_time_from(config->burst * config->period_ns);
}

static inline int64_t sf_gcra_span(const sf_gcra_config *config, double cost)
{
  if (!(cost > 0)) return 0;
  int64_t span = sf_time_from(cost * config->period_ns);
  return span > 0 ? span : 1;
}

void sf_gcra_init(sf_gcra *bucket)
{
  atomic_store_explicit(&bucket->arrival, 0, memory_order_relaxed);
}

sf_gcra_config sf_gcra_config_make(double rate, double burst)
{
  sf_gcra_config config = { .period_ns = 1e9 / rate, .burst = burst >= 1 ? burst : 1 };
  return config;
}

int64_t sf_gcra_try(sf_gcra *bucket, const sf_gcra_config *config, int64_t now, double cost)
{
  if (!(cost <= config->burst)) return SF_NEVER;
  int64_t span = sf_gcra_span(config, cost);
  int64_t latest = sf_time_add(now, sf_gcra_room(config));
  int64_t arrival = atomic_load_explicit(&bucket->arrival, memory_order_relaxed);
  int64_t next;
  do {
    next = sf_time_add(sf_time_max(arrival, now), span);
    if (next > latest) return next - latest;
  } while (!atomic_compare_exchange_weak_explicit(&bucket->arrival, &arrival, next, memory_order_relaxed,
                                                  memory_order_relaxed));
  return 0;
}

int64_t sf_gcra_peek(const sf_gcra *bucket, const sf_gcra_config *config, int64_t now, double cost)
{
  if (!(cost <= config->burst)) return SF_NEVER;
  int64_t arrival = atomic_load_explicit(&bucket->arrival, memory_order_relaxed);
  int64_t next = sf_time_add(sf_time_max(arrival, now), sf_gcra_span(config, cost));
  return sf_time_max(0, next - sf_time_add(now, sf_gcra_room(config)));
}

int64_t sf_gcra_reserve(sf_gcra *bucket, const sf_gcra_config *config, int64_t now, double cost)
{
  if (!(cost <= config->burst)) return SF_NEVER;
  int64_t span = sf_gcra_span(config, cost);
  int64_t arrival = atomic_load_explicit(&bucket->arrival, memory_order_relaxed);
  int64_t next;
  do {
    next = sf_time_add(sf_time_max(arrival, now), span);
  } while (!atomic_compare_exchange_weak_explicit(&bucket->arrival, &arrival, next, memory_order_relaxed,
                                                  memory_order_relaxed));
  return sf_time_max(0, next - sf_time_add(now, sf_gcra_room(config)));
}

void sf_gcra_settle(sf_gcra *bucket, const sf_gcra_config *config, double reserved, double actual)
{
  int64_t change = sf_gcra_span(config, actual) - sf_gcra_span(config, reserved);
  if (change == 0) return;
  int64_t arrival = atomic_load_explicit(&bucket->arrival, memory_order_relaxed);
  int64_t next;
  do {
    next = sf_time_max(0, sf_time_add(arrival, change));
  } while (!atomic_compare_exchange_weak_explicit(&bucket->arrival, &arrival, next, memory_order_relaxed,
                                                  memory_order_relaxed));
}

/* The largest n whose span still fits: spans are cut to whole ns, so n * period < room + 1. */
double sf_gcra_remaining(const sf_gcra *bucket, const sf_gcra_config *config, int64_t now)
{
  int64_t arrival = atomic_load_explicit(&bucket->arrival, memory_order_relaxed);
  int64_t room = sf_gcra_room(config) - sf_time_max(0, arrival - now);
  if (room <= 0) return 0;
  double cells = ceil(((double)room + 1) / config->period_ns) - 1;
  return fmin(fmax(cells, 0), floor(config->burst));
}
