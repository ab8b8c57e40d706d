/*
 * policy_hedge.c: the hedging policy as a Lua object: samples in, the delay and the bucket of hedges out.
 */
#include "../policy/hedge.h"
#include "policy.h"

#define SF_HEDGE "surefoot.hedge"

typedef struct sf_lua_hedge {
  sf_hedge_config config;
  sf_hedge hedge;
} sf_lua_hedge;

static int sf_hedge_new(lua_State *L)
{
  static const sf_option options[] = {
    { "quantile", SF_OPTION_NUMBER, offsetof(sf_hedge_config, quantile), NULL },
    { "budget", SF_OPTION_NUMBER, offsetof(sf_hedge_config, budget), NULL },
    { "burst", SF_OPTION_NUMBER, offsetof(sf_hedge_config, burst), NULL },
    { "min_delay", SF_OPTION_SECONDS, offsetof(sf_hedge_config, min_delay_ns), NULL },
  };
  sf_lua_hedge *self = sf_policy_new(L, sizeof *self, SF_HEDGE);
  self->config.min_samples = SF_HEDGE_MIN_SAMPLES;
  sf_policy_read(L, 1, options, sizeof options / sizeof *options, &self->config);
  sf_hedge_init(&self->hedge, &self->config);
  return 1;
}

static int sf_hedge_answered_one(lua_State *L)
{
  sf_lua_hedge *self = luaL_checkudata(L, 1, SF_HEDGE);
  int64_t elapsed = sf_policy_arg_seconds(L, 2, "seconds");
  sf_hedge_answered(&self->hedge, sf_policy_now(L, 1), elapsed);
  return 0;
}

static int sf_hedge_censored_one(lua_State *L)
{
  sf_lua_hedge *self = luaL_checkudata(L, 1, SF_HEDGE);
  int64_t elapsed = sf_policy_arg_seconds(L, 2, "seconds");
  sf_hedge_censored(&self->hedge, sf_policy_now(L, 1), elapsed);
  return 0;
}

static int sf_hedge_delay_of(lua_State *L)
{
  sf_lua_hedge *self = luaL_checkudata(L, 1, SF_HEDGE);
  int64_t delay = sf_hedge_delay(&self->hedge, &self->config, sf_policy_now(L, 1));
  if (delay < 0) lua_pushnil(L);
  else sf_policy_push_seconds(L, delay);
  return 1;
}

static int sf_hedge_began_one(lua_State *L)
{
  sf_lua_hedge *self = luaL_checkudata(L, 1, SF_HEDGE);
  sf_hedge_began(&self->hedge, &self->config);
  return 0;
}

static int sf_hedge_withdraw_one(lua_State *L)
{
  sf_lua_hedge *self = luaL_checkudata(L, 1, SF_HEDGE);
  lua_pushboolean(L, sf_hedge_withdraw(&self->hedge, &self->config));
  return 1;
}

static int sf_hedge_refund_one(lua_State *L)
{
  sf_lua_hedge *self = luaL_checkudata(L, 1, SF_HEDGE);
  sf_hedge_refund(&self->hedge, &self->config);
  return 0;
}

static int sf_hedge_balance_of(lua_State *L)
{
  sf_lua_hedge *self = luaL_checkudata(L, 1, SF_HEDGE);
  lua_pushnumber(L, sf_hedge_balance(&self->hedge, &self->config));
  return 1;
}

void sf_open_policy_hedge(lua_State *L)
{
  static const luaL_Reg methods[] = { { "answered", sf_hedge_answered_one }, { "censored", sf_hedge_censored_one },
                                      { "delay", sf_hedge_delay_of },        { "began", sf_hedge_began_one },
                                      { "withdraw", sf_hedge_withdraw_one }, { "refund", sf_hedge_refund_one },
                                      { "balance", sf_hedge_balance_of },    { NULL, NULL } };
  sf_policy_class(L, SF_HEDGE, methods, NULL);
  lua_pushcfunction(L, sf_hedge_new);
  lua_setfield(L, -2, "hedge");
}
