/* stats.c: client:stats: the numbers of a client and of its lines as one table. */
#include "objects.h"

static void push_durations(lua_State *L, const sf_histogram *histogram)
{
  static const struct {
    const char *name;
    double q;
  } quantiles[] = { { "p50", 0.5 }, { "p90", 0.9 }, { "p99", 0.99 }, { "p999", 0.999 } };
  lua_createtable(L, 0, 7);
  sf_set_count(L, "count", histogram != NULL ? sf_histogram_count(histogram) : 0);
  if (histogram == NULL) return;
  sf_set_number(L, "mean", (double)sf_histogram_mean(histogram) / 1e9);
  sf_set_number(L, "max", (double)sf_histogram_max(histogram) / 1e9);
  for (size_t i = 0; i < sizeof quantiles / sizeof *quantiles; i++)
    sf_set_number(L, quantiles[i].name, (double)sf_histogram_quantile(histogram, quantiles[i].q) / 1e9);
}

static void push_numbers(lua_State *L, const sf_numbers *numbers)
{
  uint64_t failed = 0;
  lua_createtable(L, 0, 16);
  lua_newtable(L);
  for (int kind = 1; kind < SF_KIND_COUNT; kind++) {
    if (numbers->errors[kind] == 0) continue;
    sf_set_count(L, sf_kind_name((sf_kind)kind), numbers->errors[kind]);
    failed += numbers->errors[kind];
  }
  lua_setfield(L, -2, "errors");
  sf_set_count(L, "requests", numbers->requests);
  sf_set_count(L, "successes", numbers->successes);
  if (numbers->successes + failed > 0)
    sf_set_number(L, "success_rate", (double)numbers->successes / (double)(numbers->successes + failed));
  sf_set_count(L, "attempts", numbers->attempts);
  sf_set_count(L, "retries", numbers->retries);
  sf_set_count(L, "hedges", numbers->hedges);
  sf_set_count(L, "timeouts", numbers->timeouts);
  sf_set_count(L, "fallbacks", numbers->fallbacks);
  sf_set_count(L, "in_flight", numbers->in_flight);
  sf_set_count(L, "peak_in_flight", numbers->peak_in_flight);
  push_durations(L, numbers->latency);
  lua_setfield(L, -2, "latency");
  push_durations(L, numbers->first_token);
  lua_setfield(L, -2, "time_to_first_token");
}

static void push_endpoint(lua_State *L, const sf_client *client, const sf_endpoint *endpoint)
{
  int64_t now = client->engine != NULL ? sf_engine_now(client->engine) : sf_clock_now(), left = 0;
  push_numbers(L, &endpoint->numbers);
  sf_set_string(L, "name", endpoint->line.name);
  int64_t ewma = sf_ewma_value(&endpoint->words->latency, now, client->config.routing.decay_ns);
  if (ewma >= 0) sf_set_number(L, "ewma", (double)ewma / 1e9);
  if (endpoint->slots.cells != NULL)
    sf_set_count(L, "shared_in_flight", sf_cells_sum(client->region, endpoint->slots.cells));
  if (endpoint->has_concurrency)
    sf_set_count(L, "limit", sf_concurrency_limit(endpoint->slots.level, &endpoint->concurrency_config));
  if (!endpoint->has_breaker) return;
  sf_breaker_state state = sf_breaker_state_at(&endpoint->words->breaker, &endpoint->breaker_config, now, &left);
  sf_set_string(L, "breaker", sf_breaker_state_name(state));
  if (state == SF_BREAKER_OPEN) sf_set_number(L, "breaker_seconds_left", (double)left / 1e9);
}

/* What the processes that share its words hold, and what found no room in their region. */
static void push_shared(lua_State *L, const sf_client *client)
{
  int32_t pids[SF_REGION_PROCESSES];
  if (client->region == NULL) return;
  sf_commons_reap(client->region, sf_clock_now());
  lua_createtable(L, 0, 3);
  sf_set_count(L, "processes", sf_region_processes(client->region, pids, SF_REGION_PROCESSES));
  sf_set_count(L, "in_flight", client->slots.cells != NULL ? sf_cells_sum(client->region, client->slots.cells) : 0);
  sf_set_count(L, "refused", sf_region_refused(client->region));
  lua_setfield(L, -2, "shared");
}

int sf_lua_stats(lua_State *L)
{
  const sf_client *client = sf_check_client(L, 1);
  push_numbers(L, &client->numbers);
  sf_set_count(L, "queue", client->queue.count);
  sf_set_count(L, "limit", sf_concurrency_limit(client->slots.level, &client->config.concurrency));
  sf_set_count(L, "retry_budget", (uint64_t)sf_budget_balance(&client->words->budget, &client->config.budget));
  push_shared(L, client);
  lua_createtable(L, (int)client->endpoint_count, 0);
  for (uint32_t i = 0; i < client->endpoint_count; i++) {
    push_endpoint(L, client, &client->endpoints[i]);
    lua_rawseti(L, -2, (int)i + 1);
  }
  lua_setfield(L, -2, "endpoints");
  return 1;
}
