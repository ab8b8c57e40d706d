/*
 * report.c: who hears how an attempt ended: breaker, latency, rate, tokens, trail and numbers, as the outcome matrix says.
 * Every acquire of admission finds its one release here, or before it when the bytes end (slots).
 */
#include "call.h"

/* The latency sample that the routing learns from. */
static void sample_latency(sf_attempt *attempt, sf_outcome outcome, int64_t now)
{
  sf_ewma_effect effect = sf_outcome_effects[outcome].ewma;
  const sf_client_config *config = &attempt->call->client->config;
  const sf_routing_config *routing = &config->routing;
  int64_t elapsed = (attempt->ended ? attempt->ended_ns : now) - attempt->started_ns, sample;
  switch (effect) {
  case SF_EWMA_FIRST_TOKEN:
    sample = attempt->first_token_ns >= 0 ? attempt->first_token_ns - attempt->started_ns : elapsed;
    break;
  case SF_EWMA_PENALTY: sample = sf_time_max(routing->penalty_ns, elapsed); break;
  case SF_EWMA_PENALTY_HINT:
    sample = sf_time_max(routing->penalty_ns, sf_time_min(attempt->hint.after_ns, config->hint_cap_ns));
    break;
  case SF_EWMA_ELAPSED: sample = elapsed; break;
  default: return;
  }
  sf_ewma *latency = &sf_attempt_endpoint(attempt)->words->latency;
  int64_t known = sf_ewma_value(latency, now, routing->decay_ns);
  if (outcome == SF_OUTCOME_LOSER_SILENT) sample = sf_time_max(elapsed, sf_time_add(known, known));
  else if (effect == SF_EWMA_ELAPSED && elapsed <= known) return;
  sf_ewma_sample(latency, now, sample, routing->decay_ns);
}

/* Is there no other line whose circuit is closed? Then slowness is no reason to do without this one. */
static bool is_last_line(const sf_client *client, const sf_endpoint *endpoint, int64_t now)
{
  for (uint32_t i = 0; i < client->endpoint_count; i++) {
    const sf_endpoint *other = &client->endpoints[i];
    if (other == endpoint) continue;
    if (!other->has_breaker ||
        sf_breaker_state_at(&other->words->breaker, &other->breaker_config, now, NULL) == SF_BREAKER_CLOSED)
      return false;
  }
  return true;
}

static void report_breaker(sf_attempt *attempt, sf_breaker_effect effect, int64_t now)
{
  sf_call *call = attempt->call;
  sf_endpoint *endpoint = sf_attempt_endpoint(attempt);
  if (!endpoint->has_breaker) return;
  int64_t first_token = attempt->first_token_ns >= 0 ? attempt->first_token_ns - attempt->started_ns : -1;
  if (endpoint->breaker_config.slow_call_ns > 0 && is_last_line(call->client, endpoint, now)) first_token = -1;
  sf_breaker_state before = sf_breaker_state_at(&endpoint->words->breaker, &endpoint->breaker_config, now, NULL);
  sf_breaker_report(&endpoint->words->breaker, &endpoint->breaker_config, now, sf_random_unit(&call->engine->random),
                    &attempt->permit, effect, first_token);
  sf_breaker_state after = sf_breaker_state_at(&endpoint->words->breaker, &endpoint->breaker_config, now, NULL);
  if (attempt->permit.probe) sf_client_touch(call->client); /* whoever waits for a probe may be next */
  if (before == after) return;
  if (before == SF_BREAKER_HALF_OPEN && after == SF_BREAKER_CLOSED) endpoint->words->started_at = now;
  sf_call_event(call, SF_EVENT_BREAKER_CHANGED, attempt->number, sf_attempt_trail(attempt)->endpoint, SF_KIND_OK, 0,
                (double)after);
  sf_client_touch(call->client);
}

static void report_rate(sf_attempt *attempt, sf_outcome outcome, int64_t now)
{
  sf_call *call = attempt->call;
  int64_t hint = sf_time_min(attempt->hint.after_ns, call->client->config.hint_cap_ns);
  if (hint > 0 && sf_outcome_effects[outcome].cost != SF_COST_NONE)
    sf_lane_block(attempt->lane, sf_time_add(attempt->ended_ns, hint));
  if (!sf_attempt_endpoint(attempt)->rate_config.adaptive) return;
  sf_adaptive_config config = sf_adaptive_config_default();
  double before = sf_adaptive_rate(&attempt->lane->adaptive, &config, now);
  if (outcome == SF_OUTCOME_SUCCESS) sf_adaptive_success(&attempt->lane->adaptive, &config, now);
  if (outcome == SF_OUTCOME_THROTTLED)
    sf_adaptive_throttled(&attempt->lane->adaptive, &config, now, hint, now - attempt->started_ns,
                          (double)(attempt->lane->sent - attempt->lane_sent));
  double after = sf_adaptive_rate(&attempt->lane->adaptive, &config, now);
  if (outcome == SF_OUTCOME_THROTTLED && after != before)
    sf_call_event(call, SF_EVENT_RATE_CHANGED, attempt->number, sf_attempt_trail(attempt)->endpoint, SF_KIND_OK, 0,
                  after);
}

static void close_trail(sf_attempt *attempt, sf_kind kind, int64_t now)
{
  sf_trail *trail = sf_attempt_trail(attempt);
  sf_numbers *numbers = &sf_attempt_endpoint(attempt)->numbers;
  trail->ended = true;
  trail->kind = kind;
  trail->status = attempt->status;
  trail->reused = attempt->reused;
  trail->restarted = attempt->restarted;
  trail->link = attempt->exchange.link;
  trail->latency_ns = (attempt->ended ? attempt->ended_ns : now) - trail->started_ns;
  if (attempt->first_byte) trail->first_byte_ns = attempt->first_byte_ns - trail->started_ns;
  if (kind == SF_KIND_OK) {
    numbers->successes++;
    sf_numbers_latency(&numbers->latency, trail->latency_ns);
    if (attempt->first_token_ns >= 0)
      sf_numbers_latency(&numbers->first_token, attempt->first_token_ns - attempt->started_ns);
  } else {
    numbers->errors[kind]++;
  }
}

static const bool tokens_unused[SF_OUTCOME_COUNT] = {
  [SF_OUTCOME_CALLER_ERROR] = true, [SF_OUTCOME_KEY_REFUSED] = true,    [SF_OUTCOME_THROTTLED] = true,
  [SF_OUTCOME_OVERLOADED] = true,   [SF_OUTCOME_CONNECT_FAILED] = true, [SF_OUTCOME_LACKING] = true,
};

void sf_attempt_report(sf_attempt *attempt, sf_outcome outcome, sf_kind kind, double tokens)
{
  sf_call *call = attempt->call;
  const sf_effects *effects = &sf_outcome_effects[outcome];
  int64_t now = sf_engine_now(call->engine);
  sf_admission_release(attempt, effects->slot, now);
  sf_comeback_report(attempt, effects->breaker, now);
  report_breaker(attempt, effects->breaker, now);
  if (outcome == SF_OUTCOME_CANCELLED && attempt->any_response)
    sf_breaker_alive(&sf_attempt_endpoint(attempt)->words->breaker);
  sample_latency(attempt, outcome, now);
  sf_hedge_sample(attempt, effects->hedge, now);
  report_rate(attempt, outcome, now);
  if (tokens >= 0 || tokens_unused[outcome]) sf_admission_settle_tokens(attempt, tokens >= 0 ? tokens : 0);
  close_trail(attempt, kind, now);
  bool shown = outcome == SF_OUTCOME_SUCCESS || attempt->stream.committed;
  if (shown && attempt->first_token_ns >= 0) call->first_token_ns = attempt->first_token_ns - call->submitted_ns;
  call->idle_since_ns = now;
  sf_attempt_free(attempt);
}
