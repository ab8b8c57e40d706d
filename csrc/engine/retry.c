/*
 * retry.c: what follows from a failed attempt: another line at once, the same after a backoff, or the end.
 *
 * A line that failed is not asked again while another is untried in this call, and there is no backoff before an untried
 * one; delay(n) counts rounds over all lines, not hosts. Every retry is paid for before it waits. Where the budget is
 * spent, but paid retries are under way, it waits for how they end: success gives back what they cost. Nobody waits for the
 * floor: a fleet that did would keep a line down that has lost half of its speed.
 */
#include "call.h"

#define KEY_COOLING_NS (60 * SF_SECOND)

bool sf_retry_key_is_dead(const sf_call *call, uint32_t endpoint, uint32_t key)
{
  for (uint32_t i = 0; i < call->attempt_count; i++) {
    const sf_trail *trail = &call->trail[i];
    bool refused = trail->kind == SF_KIND_UNAUTHORIZED || trail->kind == SF_KIND_FORBIDDEN ||
                   trail->kind == SF_KIND_QUOTA;
    if (refused && trail->endpoint == endpoint && trail->key == key) return true;
  }
  return false;
}

static void exclude_key(sf_call *call, const sf_failure *failure)
{
  uint32_t index = call->plan->targets[failure->target].endpoint;
  sf_endpoint *endpoint = &call->client->endpoints[index];
  if (endpoint->key_count > 0) endpoint->keys[failure->key].cooled_until = sf_engine_now(call->engine) + KEY_COOLING_NS;
  for (uint32_t key = 0; key < endpoint->key_count; key++)
    if (!sf_retry_key_is_dead(call, index, key)) return;
  sf_call_leave_out(call, index);
}

static void exclude_route(sf_call *call, uint32_t route)
{
  for (uint32_t i = 0; i < call->plan->target_count; i++)
    if (call->plan->targets[i].route == route) sf_target_set_add(&call->excluded, i);
}

/* Marks what this failure rules out; true if what comes next must be paid for. */
static bool rule_out(sf_call *call, const sf_failure *failure)
{
  switch (failure->cls) {
  case SF_CLASS_KEY: exclude_key(call, failure); return false;
  case SF_CLASS_ROUTE: exclude_route(call, call->plan->targets[failure->target].route); return false;
  case SF_CLASS_ENDPOINT:
    if (failure->kind == SF_KIND_FORBIDDEN) sf_call_leave_out(call, call->plan->targets[failure->target].endpoint);
    else sf_target_set_add(&call->excluded, failure->target);
    return true;
  default: sf_target_set_add(&call->tried, failure->target); return true;
  }
}

static bool all_excluded(const sf_call *call)
{
  for (uint32_t i = 0; i < call->plan->target_count; i++)
    if (!sf_target_set_has(&call->excluded, i)) return false;
  return true;
}

static void expect_refund(sf_call *call, bool expected)
{
  if (call->refundable == expected) return;
  call->refundable = expected;
  call->client->refundable += expected ? 1 : -1;
}

/* floor: it may pay as well, beyond what is there. */
static bool pay(sf_call *call, const sf_failure *failure, bool floor)
{
  sf_client *client = call->client;
  sf_budget_config config = client->config.budget;
  const sf_budget_config *budget = &config;
  if (!floor) config.floor_per_second = 0;
  sf_cost_effect effect = sf_outcome_effects[failure->outcome].cost;
  bool throttled = effect == SF_COST_THROTTLED || (effect == SF_COST_BY_HINT && failure->hint_ns > 0);
  uint32_t cost = throttled ? budget->throttled_cost : budget->transient_cost;
  int32_t paid = sf_budget_withdraw(&client->words->budget, budget, sf_engine_now(call->engine), cost);
  if (paid == SF_BUDGET_REFUSED) return false;
  call->last_cost = paid;
  if (paid > 0) expect_refund(call, true);
  return true;
}

/* Of a race that nobody won it is told how the first failed, not the hedge. */
static void give_up(sf_call *call, const sf_failure *failure, const char *why)
{
  if (call->first_loser > 0 && failure->cls != SF_CLASS_FINAL && call->trail[failure->attempt - 1].hedge) {
    sf_call_settle(call, false, call->trail[call->first_loser - 1].kind, call->first_loser, why);
    return;
  }
  if (failure->hint_ns > 0) call->retry_at_ns = sf_time_add(sf_engine_now(call->engine), failure->hint_ns);
  sf_call_settle(call, false, failure->kind, failure->attempt, why);
}

/* Every line was tried: a new round, after the backoff and not before a server's word (`earliest`). */
static int64_t next_round(sf_call *call, const sf_failure *failure, int64_t earliest)
{
  sf_backoff_config config = call->client->config.backoff;
  bool throttled = failure->cls == SF_CLASS_THROTTLED || failure->cls == SF_CLASS_OVERLOADED;
  if (throttled) config.base_ns = call->client->config.throttled_base_ns;
  int64_t delay = sf_backoff_delay(&config, ++call->round, call->last_delay_ns, sf_random_unit(&call->engine->random));
  call->last_delay_ns = delay;
  call->tried = (sf_target_set){ 0 };
  return sf_time_add(earliest, delay);
}

/* Others run: they go on, and another line takes the place of the one that failed, where there is one. */
static void go_on(sf_call *call, const sf_failure *failure, bool paid_step, int64_t now)
{
  int32_t paid_before = call->last_cost;
  bool expected_before = call->refundable;
  if (!call->trail[failure->attempt - 1].hedge) call->first_loser = failure->attempt;
  if (failure->pushed_back) call->max_attempts = call->attempt_count;
  if (call->awaits_variant || call->attempt_count >= call->max_attempts || (paid_step && !pay(call, failure, true)))
    return;
  if (sf_hedge_replace(call, now) || !paid_step) return;
  sf_budget_refund(&call->client->words->budget, &call->client->config.budget, call->last_cost);
  call->last_cost = paid_before;
  expect_refund(call, expected_before);
}

static void begin_again(sf_call *call, int64_t at, int64_t now)
{
  if (at <= now) {
    sf_queue_enter(call);
    return;
  }
  call->state = SF_CALL_BACKING_OFF;
  sf_timers_set(&call->engine->timers, &call->wake_timer, at);
}

/* Where other processes pay from the same budget, and give back to it, the first of those who wait looks now and then. */
static void watch_others(sf_client *client)
{
  if (client->region == NULL || client->unpaid == NULL) return;
  int64_t at = sf_commons_wake(client->region, sf_engine_now(client->engine), SF_NEVER);
  sf_timers_set(&client->engine->timers, &client->unpaid->wake_timer, at);
}

/* First come, first served. False: nobody holds anything that could be given back. */
static bool await_refund(sf_call *call, const sf_failure *failure, int64_t at)
{
  sf_client *client = call->client;
  if (client->refundable == 0) return false;
  call->state = SF_CALL_BACKING_OFF;
  call->unpaid = true;
  call->owed = *failure;
  call->owed.message = NULL;
  call->owed_at_ns = at;
  call->prev_waiting = client->last_unpaid;
  if (client->last_unpaid != NULL) client->last_unpaid->next_waiting = call;
  else client->unpaid = call;
  client->last_unpaid = call;
  if (client->unpaid == call) watch_others(client);
  return true;
}

static void leave_unpaid(sf_call *call)
{
  sf_client *client = call->client;
  if (call->prev_waiting != NULL) call->prev_waiting->next_waiting = call->next_waiting;
  else client->unpaid = call->next_waiting;
  if (call->next_waiting != NULL) call->next_waiting->prev_waiting = call->prev_waiting;
  else client->last_unpaid = call->prev_waiting;
  call->prev_waiting = call->next_waiting = NULL;
  call->unpaid = false;
  sf_timers_clear(&call->engine->timers, &call->wake_timer);
}

void sf_retry_settled(sf_call *call)
{
  expect_refund(call, false);
  if (!call->unpaid) return;
  bool first = call->client->unpaid == call;
  leave_unpaid(call);
  if (first) watch_others(call->client);
}

void sf_retry_too_late(sf_call *call)
{
  give_up(call, &call->owed, "the deadline passed before the retry budget allowed another attempt");
}

void sf_retry_resume(sf_client *client)
{
  for (sf_call *call; (call = client->unpaid) != NULL;) {
    bool paid = pay(call, &call->owed, false);
    if (!paid && client->refundable > 0) {
      watch_others(client);
      return;
    }
    leave_unpaid(call);
    if (paid) begin_again(call, call->owed_at_ns, sf_engine_now(call->engine));
    else give_up(call, &call->owed, "the retry budget is spent");
  }
}

void sf_retry_decide(sf_call *call, const sf_failure *failure)
{
  if (call->state == SF_CALL_SETTLED) return;
  int64_t now = sf_engine_now(call->engine);
  if (call->live == NULL) {
    expect_refund(call, false);
    sf_client_touch(call->client);
  }
  bool paid_step = rule_out(call, failure);
  if (call->live != NULL && (failure->cls != SF_CLASS_FINAL || failure->pushed_back)) {
    go_on(call, failure, paid_step, now);
    return;
  }
  call->awaits_variant = false; /* there is nothing left to be beside of */
  if (failure->cls == SF_CLASS_FINAL || all_excluded(call)) {
    give_up(call, failure, NULL);
    return;
  }
  if (call->attempt_count >= call->max_attempts) {
    give_up(call, failure, call->attempt_count > 1 ? "no attempts left" : NULL);
    return;
  }
  bool untried = sf_admission_has_untried(call, now);
  int64_t earliest = untried ? now : sf_admission_earliest(call, now);
  if (earliest > now && failure->hint_ns > call->client->config.hint_cap_ns) {
    give_up(call, failure, "the server asks for a longer wait than is allowed");
    return;
  }
  int64_t at = untried ? now : next_round(call, failure, earliest);
  if (at >= call->deadline_ns) {
    if (call->retry_at_ns == SF_NEVER) call->retry_at_ns = at;
    give_up(call, failure, "the deadline leaves no room for another attempt");
    return;
  }
  if (!paid_step || (call->client->unpaid == NULL && pay(call, failure, true))) begin_again(call, at, now);
  else if (!await_refund(call, failure, at)) give_up(call, failure, "the retry budget is spent");
}
