/* stats.c: client:stats and client:histograms: the numbers of a client and of its lines as tables. */
#include "objects.h"

#include <string.h>

enum { SF_MAX_BOUNDS = 1000 };

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
  sf_set_count(L, "queue", sf_queue_count_for(client, (uint32_t)(endpoint - client->endpoints)));
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

/* { count, sum (seconds), counts = { [i] = how many, where any } }; nothing where nothing was recorded. */
static void set_buckets(lua_State *L, const char *name, const sf_histogram *histogram, const int64_t *bounds_ns,
                        size_t size, uint64_t *counts)
{
  uint64_t total = 0;
  if (histogram == NULL) return;
  memset(counts, 0, (size + 1) * sizeof *counts);
  sf_histogram_rebucket(histogram, bounds_ns, size, counts);
  lua_createtable(L, 0, 3);
  lua_newtable(L);
  for (size_t i = 0; i <= size; i++) {
    if (counts[i] == 0) continue;
    lua_pushinteger(L, (lua_Integer)counts[i]);
    lua_rawseti(L, -2, (int)i + 1);
    total += counts[i];
  }
  lua_setfield(L, -2, "counts");
  sf_set_count(L, "count", total);
  sf_set_number(L, "sum", (double)sf_histogram_sum(histogram) / 1e9);
  lua_setfield(L, -2, name);
}

static void push_buckets(lua_State *L, const sf_numbers *numbers, const int64_t *bounds_ns, size_t size,
                         uint64_t *counts)
{
  lua_createtable(L, 0, 3);
  set_buckets(L, "latency", numbers->latency, bounds_ns, size, counts);
  set_buckets(L, "time_to_first_token", numbers->first_token, bounds_ns, size, counts);
}

/* client:histograms(bounds): how the durations of successes spread between these seconds; they ascend. */
int sf_lua_histograms(lua_State *L)
{
  const sf_client *client = sf_check_client(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  size_t size = lua_rawlen(L, 2);
  luaL_argcheck(L, size > 0 && size <= SF_MAX_BOUNDS, 2, "1 to 1000 bounds expected");
  int64_t *bounds_ns = lua_newuserdata(L, size * sizeof *bounds_ns);
  uint64_t *counts = lua_newuserdata(L, (size + 1) * sizeof *counts);
  for (size_t i = 0; i < size; i++) {
    lua_rawgeti(L, 2, (int)i + 1);
    double seconds = lua_tonumber(L, -1);
    luaL_argcheck(L, lua_isnumber(L, -1) && seconds >= 0 && seconds < 1e9, 2, "a bound is no number of seconds");
    bounds_ns[i] = (int64_t)(seconds * 1e9 + 0.5);
    luaL_argcheck(L, i == 0 || bounds_ns[i] > bounds_ns[i - 1], 2, "the bounds do not ascend");
    lua_pop(L, 1);
  }
  push_buckets(L, &client->numbers, bounds_ns, size, counts);
  lua_createtable(L, (int)client->endpoint_count, 0);
  for (uint32_t i = 0; i < client->endpoint_count; i++) {
    push_buckets(L, &client->endpoints[i].numbers, bounds_ns, size, counts);
    lua_rawseti(L, -2, (int)i + 1);
  }
  lua_setfield(L, -2, "endpoints");
  return 1;
}
