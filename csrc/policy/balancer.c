/*
 * balancer.c: peak EWMA in one word, and the pick: lowest tier first, then one strategy of a table.
 */
#include "balancer.h"

#include <math.h>
#include <string.h>

#define SF_UNPROBED_BUSY 1e12    /* cost of a line without history that has its one request out */
#define SF_SLOW_START_FLOOR 0.1  /* Envoy's minimum weight */
#define SF_WRAPPED_MS (-3600000) /* no `now` is stale by an hour: such a step is the 49 day clock wrapping */

/* --- peak EWMA */

static uint64_t sf_ewma_pack(double seconds, uint32_t ms)
{
  float value = (float)(seconds > 1e-6 ? seconds : 1e-6);
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return (uint64_t)bits << 32 | ms;
}

static double sf_ewma_seconds(uint64_t word)
{
  uint32_t bits = (uint32_t)(word >> 32);
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/* exp(-age / decay): what is left of the old value. A stale `now` leaves all of it. */
static double sf_ewma_left(uint64_t word, uint32_t now_ms, int64_t decay_ns)
{
  int32_t age = (int32_t)(now_ms - (uint32_t)word);
  if (age <= 0) return age < SF_WRAPPED_MS ? 0 : 1;
  return decay_ns > 0 ? exp(-(double)age * SF_MILLISECOND / (double)decay_ns) : 0;
}

void sf_ewma_init(sf_ewma *ewma)
{
  atomic_store_explicit(&ewma->word, 0, memory_order_relaxed);
}

void sf_ewma_sample(sf_ewma *ewma, int64_t now, int64_t sample_ns, int64_t decay_ns)
{
  uint32_t now_ms = (uint32_t)(now / SF_MILLISECOND);
  double sample = (double)sf_time_max(0, sample_ns) / SF_SECOND;
  uint64_t old = atomic_load_explicit(&ewma->word, memory_order_relaxed);
  uint64_t next;
  do {
    double before = sf_ewma_seconds(old);
    double left = old == 0 ? 0 : sf_ewma_left(old, now_ms, decay_ns);
    double value = sample > before ? sample : before * left + sample * (1 - left);
    int32_t age = (int32_t)(now_ms - (uint32_t)old);
    bool stale = old != 0 && age < 0 && age >= SF_WRAPPED_MS;
    next = sf_ewma_pack(value, stale ? (uint32_t)old : now_ms);
  } while (!atomic_compare_exchange_weak_explicit(&ewma->word, &old, next, memory_order_relaxed, memory_order_relaxed));
}

int64_t sf_ewma_value(const sf_ewma *ewma, int64_t now, int64_t decay_ns)
{
  uint64_t word = atomic_load_explicit(&ewma->word, memory_order_relaxed);
  if (word == 0) return -1;
  double left = sf_ewma_left(word, (uint32_t)(now / SF_MILLISECOND), decay_ns);
  return sf_time_from(sf_ewma_seconds(word) * left * SF_SECOND);
}

double sf_slow_start(int64_t age_ns, int64_t window_ns, double aggression)
{
  if (window_ns <= 0 || age_ns >= window_ns) return 1;
  double part = (double)sf_time_max(age_ns, SF_SECOND) / (double)window_ns;
  return fmin(1, fmax(SF_SLOW_START_FLOOR, pow(part, 1 / aggression)));
}

/* --- the pick */

typedef struct sf_tier {
  const sf_candidate *candidates;
  size_t count;      /* of all candidates */
  size_t eligible;   /* not excluded, in the lowest tier */
  uint32_t priority; /* of that tier */
  const sf_routing_config *config;
  int64_t now;
} sf_tier;

static sf_tier sf_tier_make(const sf_candidate *candidates, size_t count, const sf_routing_config *config, int64_t now)
{
  sf_tier tier = { .candidates = candidates, .count = count, .config = config, .now = now };
  for (size_t i = 0; i < count; i++) {
    if (candidates[i].excluded) continue;
    if (tier.eligible == 0 || candidates[i].priority < tier.priority) {
      tier.priority = candidates[i].priority;
      tier.eligible = 0;
    }
    if (candidates[i].priority == tier.priority) tier.eligible++;
  }
  return tier;
}

static bool sf_in_tier(const sf_tier *tier, size_t i)
{
  return !tier->candidates[i].excluded && tier->candidates[i].priority == tier->priority;
}

/* Index of the k-th member, 0-based. */
static int sf_tier_member(const sf_tier *tier, size_t k)
{
  for (size_t i = 0; i < tier->count; i++) {
    if (sf_in_tier(tier, i) && k-- == 0) return (int)i;
  }
  return -1;
}

static double sf_weight(const sf_tier *tier, size_t i)
{
  const sf_candidate *candidate = &tier->candidates[i];
  if (candidate->started_at <= 0) return candidate->weight;
  return candidate->weight * sf_slow_start(tier->now - candidate->started_at, tier->config->slow_start_ns, 1);
}

static double sf_cost(const sf_tier *tier, size_t i)
{
  const sf_candidate *candidate = &tier->candidates[i];
  int64_t value = candidate->ewma ? sf_ewma_value(candidate->ewma, tier->now, tier->config->decay_ns) : -1;
  double seconds = (double)value / SF_SECOND;
  if (value < 0) seconds = candidate->in_flight > 0 ? SF_UNPROBED_BUSY : 0;
  return seconds * ((double)candidate->in_flight + 1) / sf_weight(tier, i);
}

/* No history yet, and its one request is out. */
static bool sf_is_awaited(const sf_tier *tier, size_t i)
{
  const sf_candidate *candidate = &tier->candidates[i];
  bool known = candidate->ewma && sf_ewma_value(candidate->ewma, tier->now, tier->config->decay_ns) >= 0;
  return !known && candidate->in_flight > 0;
}

/* By weight among the tier, or among those that may be explored; -1 where there are none. */
static int sf_pick_weighted(const sf_tier *tier, bool exploring, sf_random *random)
{
  double sum = 0;
  for (size_t i = 0; i < tier->count; i++) {
    if (sf_in_tier(tier, i) && !(exploring && sf_is_awaited(tier, i))) sum += sf_weight(tier, i);
  }
  double at = sf_random_unit(random) * sum;
  int last = -1;
  for (size_t i = 0; i < tier->count; i++) {
    if (!sf_in_tier(tier, i) || (exploring && sf_is_awaited(tier, i))) continue;
    last = (int)i;
    at -= sf_weight(tier, i);
    if (at < 0) break;
  }
  return last;
}

static int sf_pick_latency(const sf_tier *tier, sf_random *random)
{
  if (tier->config->explore > 0 && sf_random_unit(random) < tier->config->explore) {
    int explored = sf_pick_weighted(tier, true, random);
    if (explored >= 0) return explored;
  }
  size_t n = tier->eligible;
  size_t first = (size_t)(sf_random_unit(random) * (double)n);
  size_t second = (size_t)(sf_random_unit(random) * (double)(n - 1));
  if (second >= first) second++;
  int a = sf_tier_member(tier, first), b = sf_tier_member(tier, second);
  return sf_cost(tier, (size_t)b) < sf_cost(tier, (size_t)a) ? b : a;
}

int sf_balancer_pick(const sf_candidate *candidates, size_t count, const sf_routing_config *config, int64_t now,
                     sf_random *random, _Atomic uint64_t *turn)
{
  sf_tier tier = sf_tier_make(candidates, count, config, now);
  if (tier.eligible == 0) return -1;
  if (tier.eligible == 1) return sf_tier_member(&tier, 0);
  switch (config->strategy) {
  case SF_ROUTE_LATENCY: return sf_pick_latency(&tier, random);
  case SF_ROUTE_WEIGHTED: return sf_pick_weighted(&tier, false, random);
  case SF_ROUTE_ROUND_ROBIN:
    return sf_tier_member(&tier, atomic_fetch_add_explicit(turn, 1, memory_order_relaxed) % tier.eligible);
  case SF_ROUTE_PRIORITY: break;
  }
  return sf_tier_member(&tier, 0);
}
