/*
 * policy.c: core.policy, the policies as Lua objects: backoff, rate limiter, retry budget, histogram; and what all of them
 * share. Also core.random: a number in [0, 1) from a generator seeded by the system, anew in every process.
 */
#include "policy.h"

#include "../policy/backoff.h"
#include "../policy/histogram.h"
#include "../policy/random.h"
#include "../policy/retry_budget.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum { SF_SLOT_CLOCK = 1, SF_SLOT_RANDOM, SF_SLOT_OBJECT }; /* of the uservalue */

/* --- configuration */

static int sf_enum_index(const char *const *names, const char *given)
{
  for (int i = 0; given != NULL && names[i] != NULL; i++) {
    if (strcmp(names[i], given) == 0) return i;
  }
  return -1;
}

static int64_t sf_ns(double seconds)
{
  return sf_time_from(floor(seconds * 1e9 + 0.5));
}

static void sf_store(lua_State *L, const sf_option *option, void *field)
{
  switch (option->type) {
  case SF_OPTION_SECONDS: *(int64_t *)field = sf_ns(lua_tonumber(L, -1)); return;
  case SF_OPTION_NUMBER: *(double *)field = lua_tonumber(L, -1); return;
  case SF_OPTION_COUNT: *(uint32_t *)field = (uint32_t)lua_tonumber(L, -1); return;
  case SF_OPTION_FLAG: *(bool *)field = lua_toboolean(L, -1); return;
  case SF_OPTION_ENUM: *(int *)field = sf_enum_index(option->values, lua_tostring(L, -1)); return;
  }
}

void sf_policy_read(lua_State *L, int index, const sf_option *options, size_t count, void *into)
{
  for (size_t i = 0; i < count; i++) {
    lua_getfield(L, index, options[i].name);
    if (!lua_isnil(L, -1)) sf_store(L, &options[i], (char *)into + options[i].offset);
    lua_pop(L, 1);
  }
}

/* --- objects */

void *sf_policy_new(lua_State *L, size_t size, const char *name)
{
  static const char *const parts[] = { "clock", "random" };
  luaL_checktype(L, 1, LUA_TTABLE);
  void *object = lua_newuserdata(L, size);
  memset(object, 0, size);
  lua_createtable(L, SF_SLOT_OBJECT, 0);
  for (int i = 0; i < 2; i++) {
    lua_getfield(L, 1, parts[i]);
    if (lua_isnil(L, -1)) luaL_error(L, "%s is missing", parts[i]);
    lua_rawseti(L, -2, SF_SLOT_CLOCK + i);
  }
  lua_pushvalue(L, -2);
  lua_rawseti(L, -2, SF_SLOT_OBJECT);
  lua_setuservalue(L, -2);
  luaL_getmetatable(L, name);
  lua_setmetatable(L, -2);
  return object;
}

void *sf_policy_new_part(lua_State *L, int owner, size_t size, const char *name)
{
  void *part = lua_newuserdata(L, size);
  memset(part, 0, size);
  lua_getuservalue(L, owner);
  lua_setuservalue(L, -2);
  luaL_getmetatable(L, name);
  lua_setmetatable(L, -2);
  return part;
}

static double sf_ask(lua_State *L, int index, int slot, const char *what)
{
  lua_getuservalue(L, index);
  lua_rawgeti(L, -1, slot);
  lua_call(L, 0, 1);
  double value = lua_tonumber(L, -1);
  if (lua_type(L, -1) != LUA_TNUMBER || !isfinite(value))
    luaL_error(L, "%s returned %s instead of a number", what,
               lua_tostring(L, -1) ? lua_tostring(L, -1) : luaL_typename(L, -1));
  lua_pop(L, 2);
  return value;
}

int64_t sf_policy_now(lua_State *L, int index)
{
  return sf_time_max(0, sf_ns(sf_ask(L, index, SF_SLOT_CLOCK, "clock")));
}

double sf_policy_random(lua_State *L, int index)
{
  return sf_ask(L, index, SF_SLOT_RANDOM, "random");
}

void sf_policy_class(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction gc)
{
  luaL_newmetatable(L, name);
  lua_newtable(L);
  luaL_setfuncs(L, methods, 0);
  lua_setfield(L, -2, "__index");
  lua_pushstring(L, name);
  lua_setfield(L, -2, "__name");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  if (gc != NULL) {
    lua_pushcfunction(L, gc);
    lua_setfield(L, -2, "__gc");
  }
  lua_pop(L, 1);
}

/* --- arguments and results */

int sf_policy_arg_error(lua_State *L, int arg, const char *name, const char *expected)
{
  char got[64];
  double number = lua_type(L, arg) == LUA_TNUMBER ? lua_tonumber(L, arg) : NAN;
  if (!isnan(number)) snprintf(got, sizeof got, "%.14g", number);
  else if (lua_type(L, arg) == LUA_TNUMBER) snprintf(got, sizeof got, "NaN");
  else if (lua_type(L, arg) == LUA_TSTRING) snprintf(got, sizeof got, "\"%.60s\"", lua_tostring(L, arg));
  else if (lua_isboolean(L, arg)) snprintf(got, sizeof got, "%s", lua_toboolean(L, arg) ? "true" : "false");
  else if (lua_isnoneornil(L, arg)) snprintf(got, sizeof got, "nothing");
  else snprintf(got, sizeof got, "a %s", luaL_typename(L, arg));
  return luaL_argerror(L, arg, lua_pushfstring(L, "%s: %s expected, got %s", name, expected, got));
}

double sf_policy_arg_number(lua_State *L, int arg, const char *name, double least)
{
  double value = lua_tonumber(L, arg);
  if (lua_type(L, arg) != LUA_TNUMBER || !(value >= least) || isinf(value)) {
    char expected[64];
    snprintf(expected, sizeof expected, "a finite number, %g or more,", least);
    sf_policy_arg_error(L, arg, name, expected);
  }
  return value;
}

int64_t sf_policy_arg_seconds(lua_State *L, int arg, const char *name)
{
  return sf_ns(sf_policy_arg_number(L, arg, name, 0));
}

int sf_policy_arg_enum(lua_State *L, int arg, const char *name, const char *const *names, int otherwise)
{
  if (otherwise >= 0 && lua_isnoneornil(L, arg)) return otherwise;
  int found = lua_type(L, arg) == LUA_TSTRING ? sf_enum_index(names, lua_tostring(L, arg)) : -1;
  if (found >= 0) return found;
  lua_settop(L, arg);
  lua_pushliteral(L, "one of");
  for (int i = 0; names[i] != NULL; i++) {
    lua_pushfstring(L, " \"%s\"", names[i]);
    lua_concat(L, 2);
  }
  return sf_policy_arg_error(L, arg, name, lua_tostring(L, -1));
}

void sf_policy_push_seconds(lua_State *L, int64_t ns)
{
  lua_pushnumber(L, ns == SF_NEVER ? HUGE_VAL : (double)ns / SF_SECOND);
}

/* --- backoff */

#define SF_BACKOFF "surefoot.backoff"

typedef struct sf_lua_backoff {
  sf_backoff_config config;
  int64_t previous_ns;
} sf_lua_backoff;

static void sf_read_jitter(lua_State *L, sf_backoff_config *config)
{
  static const char *const names[] = { "full", "equal", "none", NULL };
  lua_getfield(L, 1, "jitter");
  config->jitter = SF_JITTER_FRACTION;
  if (lua_type(L, -1) == LUA_TNUMBER) config->fraction = lua_tonumber(L, -1);
  else config->jitter = (sf_jitter)sf_enum_index(names, lua_tostring(L, -1));
  lua_pop(L, 1);
}

static int sf_backoff_new(lua_State *L)
{
  static const char *const strategies[] = { "exponential", "linear", "fibonacci", "decorrelated", NULL };
  static const sf_option options[] = {
    { "base_delay", SF_OPTION_SECONDS, offsetof(sf_backoff_config, base_ns), NULL },
    { "max_delay", SF_OPTION_SECONDS, offsetof(sf_backoff_config, max_ns), NULL },
    { "strategy", SF_OPTION_ENUM, offsetof(sf_backoff_config, strategy), strategies },
  };
  sf_lua_backoff *self = sf_policy_new(L, sizeof *self, SF_BACKOFF);
  sf_policy_read(L, 1, options, sizeof options / sizeof *options, &self->config);
  sf_read_jitter(L, &self->config);
  return 1;
}

static int sf_backoff_delay_of(lua_State *L)
{
  sf_lua_backoff *self = luaL_checkudata(L, 1, SF_BACKOFF);
  double n = sf_policy_arg_number(L, 2, "n", 1);
  luaL_argcheck(L, n == floor(n), 2, "a whole number expected: retries are counted 1, 2, 3");
  uint64_t count = n < 1e18 ? (uint64_t)n : UINT64_C(1000000000000000000);
  self->previous_ns = sf_backoff_delay(&self->config, count, self->previous_ns, sf_policy_random(L, 1));
  sf_policy_push_seconds(L, self->previous_ns);
  return 1;
}

/* --- rate limiter */

#define SF_RATE_LIMITER "surefoot.rate_limiter"

typedef struct sf_lua_rate {
  sf_gcra_config config;
  sf_gcra bucket;
} sf_lua_rate;

static int sf_rate_new(lua_State *L)
{
  sf_lua_rate *self = sf_policy_new(L, sizeof *self, SF_RATE_LIMITER);
  lua_getfield(L, 1, "rate");
  lua_getfield(L, 1, "burst");
  self->config = sf_gcra_config_make(lua_tonumber(L, -2), lua_tonumber(L, -1));
  lua_pop(L, 2);
  return 1;
}

static double sf_arg_cost(lua_State *L)
{
  return lua_isnoneornil(L, 2) ? 1 : sf_policy_arg_number(L, 2, "cost", 0);
}

static int sf_rate_try(lua_State *L)
{
  sf_lua_rate *self = luaL_checkudata(L, 1, SF_RATE_LIMITER);
  double cost = sf_arg_cost(L);
  int64_t wait = sf_gcra_try(&self->bucket, &self->config, sf_policy_now(L, 1), cost);
  lua_pushboolean(L, wait == 0);
  if (wait == 0) return 1;
  sf_policy_push_seconds(L, wait);
  return 2;
}

static int sf_rate_reserve(lua_State *L)
{
  sf_lua_rate *self = luaL_checkudata(L, 1, SF_RATE_LIMITER);
  double cost = sf_arg_cost(L);
  sf_policy_push_seconds(L, sf_gcra_reserve(&self->bucket, &self->config, sf_policy_now(L, 1), cost));
  return 1;
}

static int sf_rate_settle(lua_State *L)
{
  sf_lua_rate *self = luaL_checkudata(L, 1, SF_RATE_LIMITER);
  double reserved = sf_policy_arg_number(L, 2, "reserved", 0);
  double actual = sf_policy_arg_number(L, 3, "actual", 0);
  sf_gcra_settle(&self->bucket, &self->config, reserved, actual);
  return 0;
}

static int sf_rate_remaining(lua_State *L)
{
  sf_lua_rate *self = luaL_checkudata(L, 1, SF_RATE_LIMITER);
  lua_pushinteger(L, (lua_Integer)sf_gcra_remaining(&self->bucket, &self->config, sf_policy_now(L, 1)));
  return 1;
}

/* --- retry budget */

#define SF_BUDGET "surefoot.retry_budget"

typedef struct sf_lua_budget {
  sf_budget_config config;
  sf_budget budget;
  int32_t last_cost;
} sf_lua_budget;

static int sf_budget_new(lua_State *L)
{
  static const sf_option options[] = {
    { "capacity", SF_OPTION_COUNT, offsetof(sf_budget_config, capacity), NULL },
    { "transient_cost", SF_OPTION_COUNT, offsetof(sf_budget_config, transient_cost), NULL },
    { "throttled_cost", SF_OPTION_COUNT, offsetof(sf_budget_config, throttled_cost), NULL },
    { "floor_per_second", SF_OPTION_NUMBER, offsetof(sf_budget_config, floor_per_second), NULL },
  };
  sf_lua_budget *self = sf_policy_new(L, sizeof *self, SF_BUDGET);
  sf_policy_read(L, 1, options, sizeof options / sizeof *options, &self->config);
  self->config.enabled = true;
  return 1;
}

static int sf_budget_withdraw_one(lua_State *L)
{
  static const char *const names[] = { "transient", "throttled", NULL };
  sf_lua_budget *self = luaL_checkudata(L, 1, SF_BUDGET);
  int which = sf_policy_arg_enum(L, 2, "what", names, -1);
  uint32_t cost = which == 0 ? self->config.transient_cost : self->config.throttled_cost;
  int32_t taken = sf_budget_withdraw(&self->budget, &self->config, sf_policy_now(L, 1), cost);
  if (taken == SF_BUDGET_REFUSED) lua_pushboolean(L, 0);
  else lua_pushinteger(L, self->last_cost = taken);
  return 1;
}

/* A cost, true for the last one (once), or false for a success that needed no retry. */
static int sf_budget_success(lua_State *L)
{
  sf_lua_budget *self = luaL_checkudata(L, 1, SF_BUDGET);
  if (lua_type(L, 2) == LUA_TNUMBER) {
    double cost = sf_policy_arg_number(L, 2, "cost", 0);
    sf_budget_refund(&self->budget, &self->config, (int32_t)fmin(cost, INT32_MAX));
  } else if (lua_isnoneornil(L, 2) || lua_type(L, 2) == LUA_TBOOLEAN) {
    if (lua_toboolean(L, 2)) sf_budget_refund(&self->budget, &self->config, self->last_cost);
    else sf_budget_reward(&self->budget, &self->config);
    if (lua_toboolean(L, 2)) self->last_cost = 0;
  } else {
    return sf_policy_arg_error(L, 2, "cost", "a number, true or false");
  }
  return 0;
}

static int sf_budget_balance_of(lua_State *L)
{
  sf_lua_budget *self = luaL_checkudata(L, 1, SF_BUDGET);
  lua_pushinteger(L, (lua_Integer)sf_budget_balance(&self->budget, &self->config));
  return 1;
}

/* --- histogram */

#define SF_HISTOGRAM "surefoot.histogram"

static int sf_histogram_new(lua_State *L)
{
  sf_histogram *self = lua_newuserdata(L, sizeof *self);
  sf_histogram_init(self);
  luaL_getmetatable(L, SF_HISTOGRAM);
  lua_setmetatable(L, -2);
  return 1;
}

static int sf_histogram_record_one(lua_State *L)
{
  sf_histogram_record(luaL_checkudata(L, 1, SF_HISTOGRAM), sf_policy_arg_seconds(L, 2, "seconds"));
  return 0;
}

static int sf_histogram_quantile_of(lua_State *L)
{
  sf_histogram *self = luaL_checkudata(L, 1, SF_HISTOGRAM);
  double q = sf_policy_arg_number(L, 2, "q", 0);
  if (q > 1) sf_policy_arg_error(L, 2, "q", "a number from 0 to 1");
  sf_policy_push_seconds(L, sf_histogram_quantile(self, q));
  return 1;
}

static int sf_histogram_mean_of(lua_State *L)
{
  sf_policy_push_seconds(L, sf_histogram_mean(luaL_checkudata(L, 1, SF_HISTOGRAM)));
  return 1;
}

static int sf_histogram_max_of(lua_State *L)
{
  sf_policy_push_seconds(L, sf_histogram_max(luaL_checkudata(L, 1, SF_HISTOGRAM)));
  return 1;
}

static int sf_histogram_count_of(lua_State *L)
{
  sf_push_count(L, sf_histogram_count(luaL_checkudata(L, 1, SF_HISTOGRAM)));
  return 1;
}

/* --- random */

typedef struct sf_process_random {
  sf_random random;
  pid_t process;
} sf_process_random;

/* A fork inherits the generator's state, so every process draws its own seed. */
static int sf_random_draw(lua_State *L)
{
  sf_process_random *self = lua_touserdata(L, lua_upvalueindex(1));
  pid_t process = getpid();
  if (self->process != process) {
    uint64_t seed = (uint64_t)process << 32 ^ (uint64_t)(uintptr_t)self;
    uint64_t noise;
    if (getrandom(&noise, sizeof noise, GRND_NONBLOCK) == sizeof noise) seed ^= noise;
    sf_random_seed(&self->random, seed);
    self->process = process;
  }
  lua_pushnumber(L, sf_random_unit(&self->random));
  return 1;
}

/* --- registration */

void sf_open_policy(lua_State *L)
{
  static const luaL_Reg constructors[] = { { "backoff", sf_backoff_new },
                                           { "rate_limiter", sf_rate_new },
                                           { "retry_budget", sf_budget_new },
                                           { "histogram", sf_histogram_new },
                                           { NULL, NULL } };
  static const luaL_Reg backoff[] = { { "delay", sf_backoff_delay_of }, { NULL, NULL } };
  static const luaL_Reg rate[] = { { "try", sf_rate_try },
                                   { "reserve", sf_rate_reserve },
                                   { "settle", sf_rate_settle },
                                   { "remaining", sf_rate_remaining },
                                   { NULL, NULL } };
  static const luaL_Reg budget[] = { { "withdraw", sf_budget_withdraw_one },
                                     { "success", sf_budget_success },
                                     { "balance", sf_budget_balance_of },
                                     { NULL, NULL } };
  static const luaL_Reg histogram[] = { { "record", sf_histogram_record_one }, { "quantile", sf_histogram_quantile_of },
                                        { "mean", sf_histogram_mean_of },      { "max", sf_histogram_max_of },
                                        { "count", sf_histogram_count_of },    { NULL, NULL } };
  sf_policy_class(L, SF_BACKOFF, backoff, NULL);
  sf_policy_class(L, SF_RATE_LIMITER, rate, NULL);
  sf_policy_class(L, SF_BUDGET, budget, NULL);
  sf_policy_class(L, SF_HISTOGRAM, histogram, NULL);
  lua_newtable(L);
  luaL_setfuncs(L, constructors, 0);
  sf_open_policy_guards(L);
  sf_open_policy_balancer(L);
  sf_open_policy_hedge(L);
  lua_setfield(L, -2, "policy");
  memset(lua_newuserdata(L, sizeof(sf_process_random)), 0, sizeof(sf_process_random));
  lua_pushcclosure(L, sf_random_draw, 1);
  lua_setfield(L, -2, "random");
}
