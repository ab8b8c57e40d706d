/*
 * retry_budget.c: one word of what is spent, and a GCRA floor beside it for the time when nothing is left.
 */
#include "retry_budget.h"

void sf_budget_init(sf_budget *budget)
{
  atomic_store_explicit(&budget->spent, 0, memory_order_relaxed);
  sf_gcra_init(&budget->floor);
}

int32_t sf_budget_withdraw(sf_budget *budget, const sf_budget_config *config, int64_t now, uint32_t cost)
{
  if (!config->enabled) return 0;
  int64_t spent = atomic_load_explicit(&budget->spent, memory_order_relaxed);
  while (spent + cost <= config->capacity) {
    if (atomic_compare_exchange_weak_explicit(&budget->spent, &spent, spent + cost, memory_order_relaxed,
                                              memory_order_relaxed))
      return (int32_t)cost;
  }
  if (!(config->floor_per_second > 0)) return SF_BUDGET_REFUSED;
  sf_gcra_config trickle = sf_gcra_config_make(config->floor_per_second, config->floor_per_second);
  return sf_gcra_try(&budget->floor, &trickle, now, 1) == 0 ? 0 : SF_BUDGET_REFUSED;
}

void sf_budget_refund(sf_budget *budget, const sf_budget_config *config, int32_t cost)
{
  if (!config->enabled || cost <= 0) return;
  int64_t spent = atomic_load_explicit(&budget->spent, memory_order_relaxed);
  while (spent > 0 && !atomic_compare_exchange_weak_explicit(&budget->spent, &spent, spent > cost ? spent - cost : 0,
                                                             memory_order_relaxed, memory_order_relaxed)) {
  }
}

void sf_budget_reward(sf_budget *budget, const sf_budget_config *config)
{
  sf_budget_refund(budget, config, 1);
}

int64_t sf_budget_balance(const sf_budget *budget, const sf_budget_config *config)
{
  return config->capacity - atomic_load_explicit(&budget->spent, memory_order_relaxed);
}
