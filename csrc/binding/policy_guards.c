/*
 * policy_guards.c: the policies that hand out something that must come back: circuit breaker and permit, concurrency limiter
 * and slot; and the adaptive rate. A permit or slot that is collected without a report is released and teaches nothing.
 */
#include "../policy/adaptive_rate.h"
#include "../policy/breaker.h"
#include "../policy/concurrency.h"
#include "../policy/retry_rules.h"
#include "../wire/hints.h"
#include "policy.h"

/* --- circuit breaker */

#define SF_BREAKER "surefoot.circuit_breaker"
#define SF_PERMIT "surefoot.permit"

typedef struct sf_lua_breaker {
  sf_breaker_config config;
  sf_breaker breaker;
} sf_lua_breaker;

typedef struct sf_lua_permit {
  sf_lua_breaker *owner;
  sf_permit permit;
} sf_lua_permit;

void sf_policy_read_breaker(lua_State *L, int index, sf_breaker_config *config)
{
  static const sf_option options[] = {
    { "failure_threshold", SF_OPTION_COUNT, offsetof(sf_breaker_config, failure_threshold), NULL },
    { "failure_ratio", SF_OPTION_NUMBER, offsetof(sf_breaker_config, failure_ratio), NULL },
    { "min_calls", SF_OPTION_COUNT, offsetof(sf_breaker_config, min_calls), NULL },
    { "window", SF_OPTION_SECONDS, offsetof(sf_breaker_config, window_ns), NULL },
    { "slow_call", SF_OPTION_SECONDS, offsetof(sf_breaker_config, slow_call_ns), NULL },
    { "slow_ratio", SF_OPTION_NUMBER, offsetof(sf_breaker_config, slow_ratio), NULL },
    { "recovery_timeout", SF_OPTION_SECONDS, offsetof(sf_breaker_config, recovery_ns), NULL },
    { "max_recovery_timeout", SF_OPTION_SECONDS, offsetof(sf_breaker_config, max_recovery_ns), NULL },
    { "half_open_requests", SF_OPTION_COUNT, offsetof(sf_breaker_config, half_open_requests), NULL },
    { "lease", SF_OPTION_SECONDS, offsetof(sf_breaker_config, lease_ns), NULL },
    { "jitter", SF_OPTION_NUMBER, offsetof(sf_breaker_config, jitter), NULL },
  };
  sf_policy_read(L, index, options, sizeof options / sizeof *options, config);
}

static int sf_breaker_new(lua_State *L)
{
  sf_lua_breaker *self = sf_policy_new(L, sizeof *self, SF_BREAKER);
  sf_breaker_init(&self->breaker);
  sf_policy_read_breaker(L, 1, &self->config);
  return 1;
}

/* The permit is made first: what can fail (memory, the clock) comes before anything is taken. */
static int sf_breaker_allow_one(lua_State *L)
{
  sf_lua_breaker *self = luaL_checkudata(L, 1, SF_BREAKER);
  int64_t now = sf_policy_now(L, 1), retry_in;
  sf_lua_permit *part = sf_policy_new_part(L, 1, sizeof *part, SF_PERMIT);
  part->owner = self;
  if (sf_breaker_allow(&self->breaker, &self->config, now, &part->permit, &retry_in)) return 1;
  lua_pushnil(L);
  sf_policy_push_seconds(L, retry_in);
  return 2;
}

static int sf_breaker_state_of(lua_State *L)
{
  sf_lua_breaker *self = luaL_checkudata(L, 1, SF_BREAKER);
  int64_t left;
  sf_breaker_state state = sf_breaker_state_at(&self->breaker, &self->config, sf_policy_now(L, 1), &left);
  lua_pushstring(L, sf_breaker_state_name(state));
  sf_policy_push_seconds(L, left);
  return 2;
}

static void sf_permit_report(lua_State *L, sf_lua_permit *part, sf_breaker_effect effect, int64_t first_token_ns)
{
  if (!part->permit.held) return;
  int64_t now = sf_policy_now(L, 1);
  double random = sf_policy_random(L, 1);
  sf_breaker_report(&part->owner->breaker, &part->owner->config, now, random, &part->permit, effect, first_token_ns);
}

static int sf_permit_success(lua_State *L)
{
  sf_lua_permit *part = luaL_checkudata(L, 1, SF_PERMIT);
  int64_t first_token = lua_isnoneornil(L, 2) ? -1 : sf_policy_arg_seconds(L, 2, "first_token_seconds");
  sf_permit_report(L, part, SF_BREAKER_OK, first_token);
  return 0;
}

/* A kind that the outcome matrix does not know teaches nothing. */
static sf_breaker_effect sf_effect_of_kind(const char *name)
{
  int kind = sf_kind_by_name(name);
  if (kind <= SF_KIND_OK) return SF_BREAKER_IGNORE;
  return sf_outcome_effects[sf_retry_rule_outcome(SF_CLASS_FINAL, (sf_kind)kind, 0)].breaker;
}

static int sf_permit_failure(lua_State *L)
{
  sf_lua_permit *part = luaL_checkudata(L, 1, SF_PERMIT);
  if (!lua_isnoneornil(L, 2) && lua_type(L, 2) != LUA_TSTRING) sf_policy_arg_error(L, 2, "kind", "a string");
  sf_permit_report(L, part, sf_effect_of_kind(luaL_optstring(L, 2, "server")), -1);
  return 0;
}

static int sf_permit_cancel(lua_State *L)
{
  sf_permit_report(L, luaL_checkudata(L, 1, SF_PERMIT), SF_BREAKER_IGNORE, -1);
  return 0;
}

/* No clock here: a finalizer runs no Lua, and a release needs no time. */
static int sf_permit_gc(lua_State *L)
{
  sf_lua_permit *part = lua_touserdata(L, 1);
  sf_breaker_report(&part->owner->breaker, &part->owner->config, 0, 0, &part->permit, SF_BREAKER_IGNORE, -1);
  return 0;
}

/* --- concurrency limiter */

#define SF_CONCURRENCY "surefoot.concurrency_limiter"
#define SF_SLOT "surefoot.slot"

typedef struct sf_lua_concurrency {
  sf_concurrency_config config;
  sf_concurrency_level level;
  sf_concurrency limiter;
} sf_lua_concurrency;

typedef struct sf_lua_slot {
  sf_lua_concurrency *owner;
  int64_t taken_at;
  bool held;
} sf_lua_slot;

static int sf_concurrency_new(lua_State *L)
{
  static const sf_option options[] = {
    { "adaptive", SF_OPTION_FLAG, offsetof(sf_concurrency_config, adaptive), NULL },
    { "limit", SF_OPTION_COUNT, offsetof(sf_concurrency_config, limit), NULL },
    { "min", SF_OPTION_COUNT, offsetof(sf_concurrency_config, min), NULL },
    { "max", SF_OPTION_COUNT, offsetof(sf_concurrency_config, max), NULL },
  };
  sf_lua_concurrency *self = sf_policy_new(L, sizeof *self, SF_CONCURRENCY);
  sf_concurrency_level_init(&self->level);
  sf_concurrency_init(&self->limiter);
  sf_policy_read(L, 1, options, sizeof options / sizeof *options, &self->config);
  return 1;
}

static int sf_concurrency_acquire_one(lua_State *L)
{
  sf_lua_concurrency *self = luaL_checkudata(L, 1, SF_CONCURRENCY);
  int64_t now = sf_policy_now(L, 1);
  sf_lua_slot *slot = sf_policy_new_part(L, 1, sizeof *slot, SF_SLOT);
  slot->owner = self;
  slot->taken_at = now;
  slot->held = sf_concurrency_acquire(&self->limiter, sf_concurrency_limit(&self->level, &self->config), 0);
  if (!slot->held) lua_pushnil(L);
  return 1;
}

static int sf_concurrency_limit_of(lua_State *L)
{
  sf_lua_concurrency *self = luaL_checkudata(L, 1, SF_CONCURRENCY);
  lua_pushinteger(L, sf_concurrency_limit(&self->level, &self->config));
  return 1;
}

static int sf_concurrency_in_flight(lua_State *L)
{
  sf_lua_concurrency *self = luaL_checkudata(L, 1, SF_CONCURRENCY);
  lua_pushinteger(L, atomic_load_explicit(&self->limiter.in_flight, memory_order_relaxed));
  return 1;
}

static int sf_concurrency_peak(lua_State *L)
{
  sf_lua_concurrency *self = luaL_checkudata(L, 1, SF_CONCURRENCY);
  lua_pushinteger(L, atomic_load_explicit(&self->limiter.peak, memory_order_relaxed));
  return 1;
}

static void sf_slot_end(sf_lua_slot *slot, int64_t now, sf_slot_effect effect)
{
  slot->held = false;
  sf_lua_concurrency *owner = slot->owner;
  sf_concurrency_release(&owner->limiter, &owner->level, &owner->config, 0, now, effect, now - slot->taken_at);
}

static int sf_slot_release(lua_State *L)
{
  static const char *const names[] = { "ignored", "ok", "dropped", NULL };
  sf_lua_slot *slot = luaL_checkudata(L, 1, SF_SLOT);
  sf_slot_effect effect = (sf_slot_effect)sf_policy_arg_enum(L, 2, "how", names, SF_SLOT_OK);
  if (slot->held) sf_slot_end(slot, sf_policy_now(L, 1), effect);
  return 0;
}

static int sf_slot_gc(lua_State *L)
{
  sf_lua_slot *slot = lua_touserdata(L, 1);
  if (slot->held) sf_slot_end(slot, slot->taken_at, SF_SLOT_IGNORED);
  return 0;
}

/* --- adaptive rate */

#define SF_ADAPTIVE "surefoot.adaptive_rate"

typedef struct sf_lua_adaptive {
  sf_adaptive_config config;
  sf_adaptive state;
} sf_lua_adaptive;

static int sf_adaptive_new(lua_State *L)
{
  static const sf_option options[] = {
    { "beta", SF_OPTION_NUMBER, offsetof(sf_adaptive_config, beta), NULL },
    { "scale", SF_OPTION_NUMBER, offsetof(sf_adaptive_config, scale), NULL },
    { "min_rate", SF_OPTION_NUMBER, offsetof(sf_adaptive_config, min_rate), NULL },
    { "max_rate", SF_OPTION_NUMBER, offsetof(sf_adaptive_config, max_rate), NULL },
  };
  sf_lua_adaptive *self = sf_policy_new(L, sizeof *self, SF_ADAPTIVE);
  sf_adaptive_init(&self->state);
  self->config = sf_adaptive_config_default();
  sf_policy_read(L, 1, options, sizeof options / sizeof *options, &self->config);
  return 1;
}

static int sf_adaptive_acquire_one(lua_State *L)
{
  sf_lua_adaptive *self = luaL_checkudata(L, 1, SF_ADAPTIVE);
  sf_policy_push_seconds(L, sf_adaptive_acquire(&self->state, &self->config, sf_policy_now(L, 1)));
  return 1;
}

static int sf_adaptive_success_one(lua_State *L)
{
  sf_lua_adaptive *self = luaL_checkudata(L, 1, SF_ADAPTIVE);
  sf_adaptive_success(&self->state, &self->config, sf_policy_now(L, 1));
  return 0;
}

static int sf_adaptive_throttled_one(lua_State *L)
{
  sf_lua_adaptive *self = luaL_checkudata(L, 1, SF_ADAPTIVE);
  int64_t retry_after = lua_isnoneornil(L, 2) ? -1 : sf_policy_arg_seconds(L, 2, "retry_after");
  sf_adaptive_throttled(&self->state, &self->config, sf_policy_now(L, 1), retry_after, 0, 0);
  return 0;
}

/* quota(block, unix_now): what the headers method of Lua calls with its table as a header block. */
static int sf_adaptive_quota(lua_State *L)
{
  sf_lua_adaptive *self = luaL_checkudata(L, 1, SF_ADAPTIVE);
  size_t length;
  const char *block = luaL_checklstring(L, 2, &length);
  sf_quota_hint hint = sf_hints_quota(block, length, luaL_checknumber(L, 3));
  sf_adaptive_headers(&self->state, sf_policy_now(L, 1), &hint.requests, 0, 0);
  return 0;
}

static int sf_adaptive_rate_of(lua_State *L)
{
  sf_lua_adaptive *self = luaL_checkudata(L, 1, SF_ADAPTIVE);
  lua_pushnumber(L, sf_adaptive_rate(&self->state, &self->config, sf_policy_now(L, 1)));
  return 1;
}

/* --- registration */

void sf_open_policy_guards(lua_State *L)
{
  static const luaL_Reg constructors[] = { { "circuit_breaker", sf_breaker_new },
                                           { "concurrency_limiter", sf_concurrency_new },
                                           { "adaptive_rate", sf_adaptive_new },
                                           { NULL, NULL } };
  static const luaL_Reg breaker[] = { { "allow", sf_breaker_allow_one },
                                      { "state", sf_breaker_state_of },
                                      { NULL, NULL } };
  static const luaL_Reg permit[] = {
    { "success", sf_permit_success }, { "failure", sf_permit_failure }, { "cancel", sf_permit_cancel }, { NULL, NULL }
  };
  static const luaL_Reg concurrency[] = { { "acquire", sf_concurrency_acquire_one },
                                          { "limit", sf_concurrency_limit_of },
                                          { "in_flight", sf_concurrency_in_flight },
                                          { "peak", sf_concurrency_peak },
                                          { NULL, NULL } };
  static const luaL_Reg slot[] = { { "release", sf_slot_release }, { NULL, NULL } };
  static const luaL_Reg adaptive[] = { { "acquire", sf_adaptive_acquire_one },
                                       { "success", sf_adaptive_success_one },
                                       { "throttled", sf_adaptive_throttled_one },
                                       { "quota", sf_adaptive_quota },
                                       { "rate", sf_adaptive_rate_of },
                                       { NULL, NULL } };
  sf_policy_class(L, SF_BREAKER, breaker, NULL);
  sf_policy_class(L, SF_PERMIT, permit, sf_permit_gc);
  sf_policy_class(L, SF_CONCURRENCY, concurrency, NULL);
  sf_policy_class(L, SF_SLOT, slot, sf_slot_gc);
  sf_policy_class(L, SF_ADAPTIVE, adaptive, NULL);
  luaL_setfuncs(L, constructors, 0);
  luaL_getmetatable(L, SF_ADAPTIVE);
  lua_getfield(L, -1, "__index");
  lua_setfield(L, -3, "adaptive_methods");
  lua_pop(L, 1);
}
