/*
 * client.c: core.client: reads the resolved configuration (checked and completed in Lua) into a client of the engine.
 * Here only what would corrupt C is checked again.
 */
#include <math.h>
#include <string.h>

#include "objects.h"
#include "policy.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const char *const strategies[] = { "exponential", "linear", "fibonacci", "decorrelated", NULL };
static const char *const jitters[] = { "full", "equal", "none", NULL };
static const char *const routings[] = { "latency", "weighted", "round_robin", "priority", NULL };

static const sf_option retry_options[] = {
  { "max_attempts", SF_OPTION_COUNT, offsetof(sf_client_config, max_attempts), NULL },
  { "strategy", SF_OPTION_ENUM, offsetof(sf_client_config, backoff.strategy), strategies },
  { "base_delay", SF_OPTION_SECONDS, offsetof(sf_client_config, backoff.base_ns), NULL },
  { "max_delay", SF_OPTION_SECONDS, offsetof(sf_client_config, backoff.max_ns), NULL },
  { "throttled_base_delay", SF_OPTION_SECONDS, offsetof(sf_client_config, throttled_base_ns), NULL },
  { "hint_cap", SF_OPTION_SECONDS, offsetof(sf_client_config, hint_cap_ns), NULL },
};

static const sf_option budget_options[] = {
  { "capacity", SF_OPTION_COUNT, offsetof(sf_budget_config, capacity), NULL },
  { "transient_cost", SF_OPTION_COUNT, offsetof(sf_budget_config, transient_cost), NULL },
  { "throttled_cost", SF_OPTION_COUNT, offsetof(sf_budget_config, throttled_cost), NULL },
  { "floor_per_second", SF_OPTION_NUMBER, offsetof(sf_budget_config, floor_per_second), NULL },
};

static const sf_option concurrency_options[] = {
  { "limit", SF_OPTION_COUNT, offsetof(sf_concurrency_config, limit), NULL },
  { "adaptive", SF_OPTION_FLAG, offsetof(sf_concurrency_config, adaptive), NULL },
  { "min", SF_OPTION_COUNT, offsetof(sf_concurrency_config, min), NULL },
  { "max", SF_OPTION_COUNT, offsetof(sf_concurrency_config, max), NULL },
};

static const sf_option routing_options[] = {
  { "strategy", SF_OPTION_ENUM, offsetof(sf_routing_config, strategy), routings },
  { "decay", SF_OPTION_SECONDS, offsetof(sf_routing_config, decay_ns), NULL },
  { "slow_start", SF_OPTION_SECONDS, offsetof(sf_routing_config, slow_start_ns), NULL },
  { "penalty", SF_OPTION_SECONDS, offsetof(sf_routing_config, penalty_ns), NULL },
  { "explore", SF_OPTION_NUMBER, offsetof(sf_routing_config, explore), NULL },
};

static const sf_option hedge_options[] = {
  { "max", SF_OPTION_COUNT, offsetof(sf_hedging, most), NULL },
  { "quantile", SF_OPTION_NUMBER, offsetof(sf_hedging, config.quantile), NULL },
  { "budget", SF_OPTION_NUMBER, offsetof(sf_hedging, config.budget), NULL },
  { "burst", SF_OPTION_NUMBER, offsetof(sf_hedging, config.burst), NULL },
  { "min_delay", SF_OPTION_SECONDS, offsetof(sf_hedging, config.min_delay_ns), NULL },
};

static const sf_option timeout_options[] = {
  { "connect", SF_OPTION_SECONDS, offsetof(sf_timeouts, connect), NULL },
  { "first_byte", SF_OPTION_SECONDS, offsetof(sf_timeouts, first_byte), NULL },
  { "first_token", SF_OPTION_SECONDS, offsetof(sf_timeouts, first_token), NULL },
  { "idle", SF_OPTION_SECONDS, offsetof(sf_timeouts, idle), NULL },
  { "attempt", SF_OPTION_SECONDS, offsetof(sf_timeouts, attempt), NULL },
  { "stream_first_byte", SF_OPTION_SECONDS, offsetof(sf_timeouts, stream_first_byte), NULL },
};

static const sf_option keepalive_options[] = {
  { "idle", SF_OPTION_SECONDS, offsetof(sf_line, keepalive_idle_ns), NULL },
  { "age", SF_OPTION_SECONDS, offsetof(sf_line, keepalive_age_ns), NULL },
};

sf_client *sf_check_client(lua_State *L, int arg)
{
  sf_lua_client *object = sf_check_object(L, arg, SF_CLIENT_TYPE);
  luaL_argcheck(L, object->client != NULL, arg, "the client is gone");
  return object->client;
}

/* ---- fields of the table on top of the stack ---- */

/* Pushes t[name] and says whether it is a table; pops it when it is not. */
static bool push_table(lua_State *L, const char *name)
{
  lua_getfield(L, -1, name);
  if (lua_istable(L, -1)) return true;
  lua_pop(L, 1);
  return false;
}

static void read_table(lua_State *L, const char *name, const sf_option *options, size_t count, void *into)
{
  if (!push_table(L, name)) return;
  sf_policy_read(L, lua_gettop(L), options, count, into);
  lua_pop(L, 1);
}

static double number_field(lua_State *L, const char *name, double otherwise)
{
  lua_getfield(L, -1, name);
  double value = lua_isnumber(L, -1) ? lua_tonumber(L, -1) : otherwise;
  lua_pop(L, 1);
  return value;
}

void sf_lua_read_hedging(lua_State *L, int index, sf_hedging *hedging)
{
  hedging->config.min_samples = SF_HEDGE_MIN_SAMPLES;
  hedging->on = lua_istable(L, index);
  if (hedging->on) sf_policy_read(L, index, hedge_options, COUNT(hedge_options), hedging);
}

static bool read_rate(lua_State *L, sf_rate_config *rate)
{
  if (!push_table(L, "rate")) return false;
  double requests = number_field(L, "requests_per_second", 0), tokens = number_field(L, "tokens_per_minute", 0) / 60;
  rate->given = true;
  rate->has_requests = requests > 0;
  rate->has_tokens = tokens > 0;
  if (rate->has_requests) rate->requests = sf_gcra_config_make(requests, number_field(L, "burst", requests));
  if (rate->has_tokens) rate->tokens = sf_gcra_config_make(tokens, number_field(L, "token_burst", tokens * 60));
  lua_getfield(L, -1, "adaptive");
  rate->adaptive = lua_isnil(L, -1) || lua_toboolean(L, -1);
  lua_pop(L, 2);
  return true;
}

static void read_jitter(lua_State *L, sf_backoff_config *backoff)
{
  lua_getfield(L, -1, "jitter");
  if (lua_type(L, -1) == LUA_TNUMBER) {
    backoff->jitter = SF_JITTER_FRACTION;
    backoff->fraction = lua_tonumber(L, -1);
  } else {
    static const sf_option option = { "jitter", SF_OPTION_ENUM, offsetof(sf_backoff_config, jitter), jitters };
    sf_policy_read(L, lua_gettop(L) - 1, &option, 1, backoff);
  }
  lua_pop(L, 1);
}

static void read_statuses(lua_State *L, sf_status_set *set)
{
  if (!push_table(L, "on_status")) return;
  set->given = true;
  for (size_t i = 1; i <= lua_rawlen(L, -1); i++) {
    lua_rawgeti(L, -1, (int)i);
    sf_status_set_add(set, (int)luaL_checkinteger(L, -1));
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

static void read_config(lua_State *L, sf_client_config *config, uint32_t *queue)
{
  *config = (sf_client_config){
    .response_limit = SIZE_MAX, .header_limit = SIZE_MAX, .event_limit = SIZE_MAX, .stream_limit = SIZE_MAX
  };
  sf_policy_read(L, lua_gettop(L), retry_options, COUNT(retry_options), config);
  read_jitter(L, &config->backoff);
  read_statuses(L, &config->on_status);
  read_rate(L, &config->rate);
  read_table(L, "routing", routing_options, COUNT(routing_options), &config->routing);
  read_table(L, "concurrency", concurrency_options, COUNT(concurrency_options), &config->concurrency);
  if (push_table(L, "concurrency")) {
    *queue = (uint32_t)number_field(L, "queue", 0);
    lua_pop(L, 1);
  }
  if (push_table(L, "budget")) {
    config->budget.enabled = true;
    sf_policy_read(L, lua_gettop(L), budget_options, COUNT(budget_options), &config->budget);
    lua_pop(L, 1);
  }
  lua_getfield(L, -1, "hedge");
  sf_lua_read_hedging(L, lua_gettop(L), &config->hedging);
  lua_pop(L, 1);
  if (push_table(L, "limits")) {
    config->response_limit = (size_t)number_field(L, "response_bytes", 0);
    config->header_limit = (size_t)number_field(L, "header_bytes", 0);
    config->event_limit = (size_t)number_field(L, "event_bytes", 16e6);
    config->stream_limit = (size_t)number_field(L, "stream_buffer_bytes", 1e6);
    lua_pop(L, 1);
  }
}

/* ---- endpoints ---- */

enum { OWNED_STRINGS = 16 };

/* A copy of t[name] that the endpoint owns, or NULL. */
static const char *own_string(lua_State *L, sf_endpoint *endpoint, const char *name)
{
  size_t length, used = 0;
  lua_getfield(L, -1, name);
  const char *text = lua_tolstring(L, -1, &length);
  char *copy = NULL;
  if (text != NULL) {
    copy = sf_copy_string(text, length);
    if (copy == NULL) luaL_error(L, "not enough memory");
    while (endpoint->owned[used] != NULL) used++;
    endpoint->owned[used] = copy;
  }
  lua_pop(L, 1);
  return copy;
}

static void out_of_memory_if(lua_State *L, bool failed)
{
  if (failed) luaL_error(L, "not enough memory");
}

/* A NULL-terminated list of copies of t[1 ..]; what is made so far hangs in *list, so an error leaks nothing. */
static void copy_list(lua_State *L, char ***list)
{
  size_t count = lua_rawlen(L, -1);
  *list = sf_alloc_zero((count + 1) * sizeof **list);
  out_of_memory_if(L, *list == NULL);
  for (size_t i = 0; i < count; i++) {
    size_t length;
    lua_rawgeti(L, -1, (int)i + 1);
    const char *text = luaL_checklstring(L, -1, &length);
    (*list)[i] = sf_copy_string(text, length);
    out_of_memory_if(L, (*list)[i] == NULL);
    lua_pop(L, 1);
  }
}

/* "name: value\n" lines as a list. */
static void read_header_lines(lua_State *L, sf_endpoint *endpoint)
{
  lua_getfield(L, -1, "headers");
  const char *text = lua_tostring(L, -1);
  size_t count = 0;
  for (const char *each = text; each != NULL && *each != '\0'; each++) count += *each == '\n';
  luaL_argcheck(L, count < SF_MAX_HEADERS / 2, 1, "too many headers");
  endpoint->headers = sf_alloc_zero((count + 1) * sizeof *endpoint->headers);
  out_of_memory_if(L, endpoint->headers == NULL);
  for (size_t i = 0; i < count; i++) {
    const char *end = strchr(text, '\n');
    endpoint->headers[i] = sf_copy_string(text, (size_t)(end - text));
    out_of_memory_if(L, endpoint->headers[i] == NULL);
    text = end + 1;
  }
  lua_pop(L, 1);
}

static void read_keys(lua_State *L, sf_client *client, uint32_t index)
{
  sf_endpoint *endpoint = &client->endpoints[index];
  if (!push_table(L, "keys")) return;
  size_t count = lua_rawlen(L, -1);
  luaL_argcheck(L, count <= SF_MAX_KEYS, 1, "too many keys on one endpoint");
  endpoint->keys = sf_alloc_zero((count + 1) * sizeof *endpoint->keys);
  out_of_memory_if(L, endpoint->keys == NULL);
  endpoint->key_count = count;
  for (uint32_t i = 0; i < count; i++) {
    size_t length;
    lua_rawgeti(L, -1, (int)i + 1);
    const char *header = luaL_checklstring(L, -1, &length);
    out_of_memory_if(L, !sf_client_set_key(client, index, i, header, length));
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

static void read_line(lua_State *L, sf_endpoint *endpoint)
{
  static const char *const versions[] = { "auto", "1.1", "2", NULL };
  static const sf_option version = { "http_version", SF_OPTION_ENUM, offsetof(sf_line, http_version), versions };
  sf_line *line = &endpoint->line;
  sf_policy_read(L, lua_gettop(L), &version, 1, line);
  line->name = own_string(L, endpoint, "name");
  line->proxy = own_string(L, endpoint, "proxy");
  line->doh_url = own_string(L, endpoint, "doh_url");
  line->ip_version = (int)number_field(L, "ip_version", 0);
  line->dns_cache_ns = (int64_t)(number_field(L, "dns_cache", -1) * 1e9);
  read_table(L, "keepalive", keepalive_options, COUNT(keepalive_options), line);
  if (push_table(L, "tls")) {
    line->ca_file = own_string(L, endpoint, "ca_file");
    line->cert_file = own_string(L, endpoint, "cert");
    line->key_file = own_string(L, endpoint, "key");
    lua_getfield(L, -1, "verify");
    line->tls_insecure = lua_isboolean(L, -1) && !lua_toboolean(L, -1);
    lua_pop(L, 2);
  }
  if (push_table(L, "resolve")) {
    copy_list(L, (char ***)&line->resolve);
    lua_pop(L, 1);
  }
}

static void read_endpoint(lua_State *L, sf_client *client, uint32_t index)
{
  sf_endpoint *endpoint = &client->endpoints[index];
  size_t length;
  endpoint->owned = sf_alloc_zero((OWNED_STRINGS + 1) * sizeof *endpoint->owned);
  out_of_memory_if(L, endpoint->owned == NULL);
  lua_getfield(L, -1, "url");
  const char *url = luaL_checklstring(L, -1, &length);
  while (length > 0 && url[length - 1] == '/') length--;
  endpoint->url = sf_copy_string(url, length);
  out_of_memory_if(L, endpoint->url == NULL);
  lua_pop(L, 1);
  endpoint->priority = (uint32_t)number_field(L, "priority", 1);
  endpoint->weight = number_field(L, "weight", 1);
  read_line(L, endpoint);
  read_header_lines(L, endpoint);
  read_keys(L, client, index);
  endpoint->timeout = (sf_timeouts){ SF_NEVER, 0, SF_NEVER, SF_NEVER, SF_NEVER, SF_NEVER };
  read_table(L, "timeout", timeout_options, COUNT(timeout_options), &endpoint->timeout);
  endpoint->has_breaker = push_table(L, "breaker");
  if (endpoint->has_breaker) {
    sf_policy_read_breaker(L, lua_gettop(L), &endpoint->breaker_config);
    lua_pop(L, 1);
    if (endpoint->breaker_config.lease_ns == 0) endpoint->breaker_config.lease_ns = endpoint->timeout.attempt;
  }
  endpoint->has_concurrency = push_table(L, "concurrency");
  if (endpoint->has_concurrency) {
    sf_policy_read(L, lua_gettop(L), concurrency_options, COUNT(concurrency_options), &endpoint->concurrency_config);
    lua_pop(L, 1);
  }
  if (!read_rate(L, &endpoint->rate_config))
    endpoint->rate_config.adaptive = client->config.rate.given && client->config.rate.adaptive;
}

static void read_shared(lua_State *L, sf_client *client)
{
  char problem[SF_REGION_PROBLEM];
  lua_getfield(L, 1, "shared");
  const char *name = lua_tostring(L, -1);
  sf_region *region = name != NULL ? sf_region_open(name, false, problem) : NULL;
  if (name != NULL && region == NULL) {
    lua_pushfstring(L, "shared: %s", problem);
    lua_error(L);
  }
  if (region != NULL) sf_client_share(client, region);
  lua_pop(L, 1);
}

static int core_client(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  lua_getfield(L, 1, "endpoints");
  luaL_argcheck(L, lua_istable(L, -1) && lua_rawlen(L, -1) > 0 && lua_rawlen(L, -1) <= SF_MAX_TARGETS, 1,
                "1 to 256 endpoints expected");
  uint32_t count = (uint32_t)lua_rawlen(L, -1), queue = 0;
  sf_lua_client *object = lua_newuserdata(L, sizeof *object);
  object->client = NULL;
  lua_newtable(L); /* spare call objects, see call.c */
  lua_setuservalue(L, -2);
  luaL_getmetatable(L, SF_CLIENT_TYPE);
  lua_setmetatable(L, -2);
  sf_client_config config;
  lua_pushvalue(L, 1);
  read_config(L, &config, &queue);
  lua_pop(L, 1);
  object->client = sf_client_new(&config, count, queue);
  out_of_memory_if(L, object->client == NULL);
  for (uint32_t i = 0; i < count; i++) {
    lua_rawgeti(L, 2, (int)i + 1);
    luaL_checktype(L, -1, LUA_TTABLE);
    read_endpoint(L, object->client, i);
    lua_pop(L, 1);
  }
  read_shared(L, object->client);
  return 1;
}

/* ---- methods ---- */

static int client_gc(lua_State *L)
{
  sf_lua_client *object = sf_check_object(L, 1, SF_CLIENT_TYPE);
  if (object->client != NULL) sf_client_release(object->client);
  object->client = NULL;
  return 0;
}

/* A 1-based index field of the target on top of the stack, 0-based. */
static uint32_t index_field(lua_State *L, const char *name, double limit)
{
  double value = number_field(L, name, 0);
  if (!(value >= 1 && value <= limit && value == floor(value)))
    luaL_error(L, "target.%s: a number from 1 on expected", name);
  return (uint32_t)value - 1;
}

static int client_plan(lua_State *L)
{
  sf_client *client = sf_check_client(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  size_t count = lua_rawlen(L, 2);
  luaL_argcheck(L, count > 0 && count <= SF_MAX_TARGETS, 2, "1 to 256 targets (routes x endpoints) expected");
  sf_target targets[SF_MAX_TARGETS];
  for (size_t i = 0; i < count; i++) {
    size_t length;
    lua_rawgeti(L, 2, (int)i + 1);
    targets[i].route = index_field(L, "route", SF_MAX_TARGETS);
    targets[i].endpoint = index_field(L, "endpoint", client->endpoint_count);
    targets[i].variant = index_field(L, "variant", SF_MAX_TARGETS);
    lua_getfield(L, -1, "model");
    const char *model = luaL_optlstring(L, -1, "", &length);
    int index = sf_client_model(client, model, length);
    out_of_memory_if(L, index < 0);
    targets[i].model = (uint32_t)index;
    lua_pop(L, 2);
  }
  sf_plan *plan = sf_client_plan(client, targets, (uint32_t)count);
  out_of_memory_if(L, plan == NULL);
  lua_pushinteger(L, (lua_Integer)plan->id + 1);
  return 1;
}

static int client_set_key(lua_State *L)
{
  sf_client *client = sf_check_client(L, 1);
  lua_Integer endpoint = luaL_checkinteger(L, 2), key = luaL_checkinteger(L, 3);
  size_t length;
  const char *header = luaL_checklstring(L, 4, &length);
  luaL_argcheck(L, endpoint >= 1 && endpoint <= (lua_Integer)client->endpoint_count, 2, "no such endpoint");
  luaL_argcheck(L, key >= 1 && key <= (lua_Integer)client->endpoints[endpoint - 1].key_count, 3, "no such key");
  luaL_argcheck(L, memchr(header, '\n', length) == NULL && memchr(header, '\r', length) == NULL, 4,
                "a key may not hold a line break");
  if (client->closed) return 0;
  out_of_memory_if(L, !sf_client_set_key(client, (uint32_t)endpoint - 1, (uint32_t)key - 1, header, length));
  return 0;
}

static int client_in_flight(lua_State *L)
{
  lua_pushinteger(L, sf_check_client(L, 1)->numbers.in_flight);
  return 1;
}

/*
 * client:withdraw("transient" | "throttled", n): pays for a retry that is made above the calls, the n-th of its kind. What
 * it cost and the seconds to wait before a line is asked again that has failed; false: the budget is spent.
 */
static int client_withdraw(lua_State *L)
{
  static const char *const names[] = { "transient", "throttled", NULL };
  sf_client *client = sf_check_client(L, 1);
  bool throttled = luaL_checkoption(L, 2, NULL, names) == 1;
  double count = luaL_checknumber(L, 3);
  luaL_argcheck(L, client->engine != NULL, 1, "no call was made");
  const sf_budget_config *budget = &client->config.budget;
  int32_t cost = sf_budget_withdraw(&client->words->budget, budget, sf_engine_now(client->engine),
                                    throttled ? budget->throttled_cost : budget->transient_cost);
  if (cost == SF_BUDGET_REFUSED) {
    lua_pushboolean(L, 0);
    return 1;
  }
  sf_backoff_config backoff = client->config.backoff;
  if (throttled) backoff.base_ns = client->config.throttled_base_ns;
  uint64_t n = count >= 1 && count < 1e9 ? (uint64_t)count : 1;
  lua_pushinteger(L, cost);
  sf_push_seconds(L, sf_backoff_delay(&backoff, n, 0, sf_random_unit(&client->engine->random)));
  return 2;
}

/* Gives back what a withdrawal cost: the retry led to a success, or was never sent. */
static int client_refund(lua_State *L)
{
  sf_client *client = sf_check_client(L, 1);
  double cost = luaL_checknumber(L, 2);
  luaL_argcheck(L, cost >= 0 && cost <= INT32_MAX, 2, "a cost expected");
  sf_budget_refund(&client->words->budget, &client->config.budget, (int32_t)cost);
  return 0;
}

static int client_close(lua_State *L)
{
  sf_client *client = sf_check_client(L, 1);
  int kind = sf_kind_by_name(luaL_optstring(L, 2, "closed"));
  luaL_argcheck(L, kind > 0, 2, "an error kind expected");
  sf_engine *engine = client->engine;
  if (engine != NULL && sf_engine_is_stale(engine)) sf_engine_renew(engine);
  sf_client_close(client, (sf_kind)kind);
  if (engine != NULL) sf_engine_turned(engine);
  return 0;
}

void sf_open_client(lua_State *L)
{
  static const luaL_Reg methods[] = {
    { "plan", client_plan },
    { "set_key", client_set_key },
    { "submit", sf_lua_submit },
    { "stats", sf_lua_stats },
    { "close", client_close },
    { "in_flight", client_in_flight },
    { "withdraw", client_withdraw },
    { "refund", client_refund },
    { "histograms", sf_lua_histograms },
    { NULL, NULL },
  };
  sf_new_class(L, SF_CLIENT_TYPE, methods, client_gc);
  lua_pushcfunction(L, core_client);
  lua_setfield(L, -2, "client");
}
