/*
 * concurrency.c: a counter with a limit. The limit moves at most once per round trip, by causality: an attempt that began
 * before the last change says nothing about the limit of now.
 */
#include "concurrency.h"

static uint32_t sf_clamp_limit(const sf_concurrency_config *config, uint32_t limit)
{
  uint32_t least = config->min > 0 ? config->min : 1;
  if (config->max > 0 && limit > config->max) limit = config->max;
  return limit < least ? least : limit;
}

void sf_concurrency_level_init(sf_concurrency_level *level)
{
  atomic_store_explicit(&level->limit, 0, memory_order_relaxed);
  atomic_store_explicit(&level->lowered_at, 0, memory_order_relaxed);
  atomic_store_explicit(&level->raised_at, 0, memory_order_relaxed);
}

void sf_concurrency_init(sf_concurrency *limiter)
{
  atomic_store_explicit(&limiter->in_flight, 0, memory_order_relaxed);
  atomic_store_explicit(&limiter->peak, 0, memory_order_relaxed);
}

uint32_t sf_concurrency_limit(const sf_concurrency_level *level, const sf_concurrency_config *config)
{
  if (config->limit == 0 || !config->adaptive) return config->limit;
  uint32_t limit = atomic_load_explicit(&level->limit, memory_order_relaxed);
  return limit > 0 ? limit : sf_clamp_limit(config, config->limit);
}

static bool sf_fits(uint32_t count, uint32_t limit, uint32_t elsewhere)
{
  return limit == 0 || (uint64_t)count + elsewhere < limit;
}

bool sf_concurrency_has_room(const sf_concurrency *limiter, uint32_t limit, uint32_t elsewhere)
{
  return sf_fits(atomic_load_explicit(&limiter->in_flight, memory_order_relaxed), limit, elsewhere);
}

bool sf_concurrency_acquire(sf_concurrency *limiter, uint32_t limit, uint32_t elsewhere)
{
  uint32_t count = atomic_load_explicit(&limiter->in_flight, memory_order_relaxed);
  do {
    if (!sf_fits(count, limit, elsewhere)) return false;
  } while (!atomic_compare_exchange_weak_explicit(&limiter->in_flight, &count, count + 1, memory_order_relaxed,
                                                  memory_order_relaxed));
  uint32_t peak = atomic_load_explicit(&limiter->peak, memory_order_relaxed);
  while (peak < count + 1 && !atomic_compare_exchange_weak_explicit(&limiter->peak, &peak, count + 1,
                                                                    memory_order_relaxed, memory_order_relaxed)) {
  }
  return true;
}

/* Claims the right to change the limit once for this round trip. */
static bool sf_claim(_Atomic int64_t *changed_at, int64_t began, int64_t now)
{
  int64_t last = atomic_load_explicit(changed_at, memory_order_relaxed);
  return began >= last &&
         atomic_compare_exchange_strong_explicit(changed_at, &last, now, memory_order_relaxed, memory_order_relaxed);
}

static void sf_adapt(sf_concurrency_level *level, const sf_concurrency_config *config, int64_t now,
                     sf_slot_effect effect, int64_t elapsed_ns, uint64_t in_flight)
{
  uint32_t limit = sf_concurrency_limit(level, config);
  int64_t began = now - sf_time_max(0, elapsed_ns);
  if (effect == SF_SLOT_DROPPED) {
    if (!sf_claim(&level->lowered_at, began, now)) return;
    limit -= limit / 10 + (limit % 10 > 0);
  } else {
    bool used = in_flight * 2 >= limit;
    if (!used || began < atomic_load_explicit(&level->lowered_at, memory_order_relaxed)) return;
    if (!sf_claim(&level->raised_at, began, now)) return;
    limit++;
  }
  atomic_store_explicit(&level->limit, sf_clamp_limit(config, limit), memory_order_relaxed);
}

void sf_concurrency_release(sf_concurrency *limiter, sf_concurrency_level *level, const sf_concurrency_config *config,
                            uint32_t elsewhere, int64_t now, sf_slot_effect effect, int64_t elapsed_ns)
{
  uint32_t count = atomic_load_explicit(&limiter->in_flight, memory_order_relaxed);
  do {
    if (count == 0) return;
  } while (!atomic_compare_exchange_weak_explicit(&limiter->in_flight, &count, count - 1, memory_order_relaxed,
                                                  memory_order_relaxed));
  if (config->adaptive && config->limit > 0 && effect != SF_SLOT_IGNORED)
    sf_adapt(level, config, now, effect, elapsed_ns, (uint64_t)count + elsewhere);
}
