/*
 * retry_budget.h: a quota that keeps retries from becoming a storm. Retries are paid before the wait; a success after
 * retries gives back what the last one cost, a clean success earns 1; a floor of so many retries a second keeps a client of
 * low rate able to retry when the quota is spent. Shared by retries and hedges.
 * Source: AWS SDK retry quota of 2026 (500; 14 transient, 5 throttled), Finagle's floor.
 */
#ifndef SF_RETRY_BUDGET_H
#define SF_RETRY_BUDGET_H

#include "gcra.h"

typedef struct sf_budget_config {
  bool enabled;            /* false: every withdrawal is granted at cost 0 */
  uint32_t capacity;       /* 500 */
  uint32_t transient_cost; /* 14 */
  uint32_t throttled_cost; /* 5 */
  double floor_per_second; /* 1; 0 = no floor */
} sf_budget_config;

typedef struct sf_budget {
  _Atomic int64_t spent; /* capacity - balance, so that 0 is a full quota */
  sf_gcra floor;
} sf_budget;

#define SF_BUDGET_REFUSED (-1)

SF_BEGIN_DECLS

void sf_budget_init(sf_budget *budget);

/* Pays for one retry: the cost taken (0 when the floor paid, or the budget is off), or SF_BUDGET_REFUSED. */
int32_t sf_budget_withdraw(sf_budget *budget, const sf_budget_config *config, int64_t now, uint32_t cost);

/* Gives back a cost (never above the capacity). */
void sf_budget_refund(sf_budget *budget, const sf_budget_config *config, int32_t cost);

/* A success without a retry: +1. */
void sf_budget_reward(sf_budget *budget, const sf_budget_config *config);

int64_t sf_budget_balance(const sf_budget *budget, const sf_budget_config *config);

SF_END_DECLS

#endif
