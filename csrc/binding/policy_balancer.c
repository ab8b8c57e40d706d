/*
 * policy_balancer.c: the balancer as a Lua object: its lines, what is in flight on each, and the scratch of one pick live in
 * one userdata. Lines are numbered from 1.
 */
#include "../policy/balancer.h"
#include "policy.h"

#define SF_BALANCER "surefoot.balancer"

typedef struct sf_lua_line {
  sf_ewma ewma;
  double weight;
  uint32_t priority;
  uint32_t in_flight;
} sf_lua_line;

typedef struct sf_lua_balancer {
  sf_routing_config config;
  _Atomic uint64_t turn;
  size_t count;
  sf_candidate *candidates; /* scratch, behind the lines */
  sf_lua_line lines[];
} sf_lua_balancer;

static void sf_read_lines(lua_State *L, sf_lua_balancer *self)
{
  static const sf_option options[] = {
    { "weight", SF_OPTION_NUMBER, offsetof(sf_lua_line, weight), NULL },
    { "priority", SF_OPTION_COUNT, offsetof(sf_lua_line, priority), NULL },
  };
  lua_getfield(L, 1, "endpoints");
  for (size_t i = 0; i < self->count; i++) {
    lua_rawgeti(L, -1, (int)i + 1);
    sf_ewma_init(&self->lines[i].ewma);
    sf_policy_read(L, lua_gettop(L), options, 2, &self->lines[i]);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

static int sf_balancer_new(lua_State *L)
{
  static const char *const strategies[] = { "latency", "weighted", "round_robin", "priority", NULL };
  static const sf_option options[] = {
    { "strategy", SF_OPTION_ENUM, offsetof(sf_routing_config, strategy), strategies },
    { "decay", SF_OPTION_SECONDS, offsetof(sf_routing_config, decay_ns), NULL },
    { "penalty", SF_OPTION_SECONDS, offsetof(sf_routing_config, penalty_ns), NULL },
    { "explore", SF_OPTION_NUMBER, offsetof(sf_routing_config, explore), NULL },
  };
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_getfield(L, 1, "endpoints");
  size_t count = lua_rawlen(L, -1);
  lua_pop(L, 1);
  size_t lines = sizeof(sf_lua_balancer) + count * sizeof(sf_lua_line);
  sf_lua_balancer *self = sf_policy_new(L, lines + count * sizeof(sf_candidate), SF_BALANCER);
  self->count = count;
  self->candidates = (sf_candidate *)(void *)((char *)self + lines);
  sf_policy_read(L, 1, options, sizeof options / sizeof *options, &self->config);
  sf_read_lines(L, self);
  return 1;
}

/* A seed for one pick from the object's random function: that is how a test decides what is drawn. */
static sf_random sf_seeded(lua_State *L)
{
  sf_random random;
  sf_random_seed(&random, (uint64_t)(int64_t)(sf_policy_random(L, 1) * 0x1p53));
  return random;
}

static int sf_balancer_pick_one(lua_State *L)
{
  sf_lua_balancer *self = luaL_checkudata(L, 1, SF_BALANCER);
  bool some = !lua_isnoneornil(L, 2);
  if (some && !lua_istable(L, 2)) sf_policy_arg_error(L, 2, "excluded", "a table { [line] = true }");
  size_t eligible = 0;
  for (size_t i = 0; i < self->count; i++) {
    const sf_lua_line *line = &self->lines[i];
    self->candidates[i] = (sf_candidate){
      .priority = line->priority, .weight = line->weight, .in_flight = line->in_flight, .ewma = &line->ewma
    };
    if (!some) continue;
    lua_rawgeti(L, 2, (int)i + 1);
    if (!lua_isnil(L, -1) && !lua_isboolean(L, -1))
      sf_policy_arg_error(L, 2, "excluded", "{ [line] = true }, no list,");
    self->candidates[i].excluded = lua_toboolean(L, -1);
    lua_pop(L, 1);
  }
  for (size_t i = 0; i < self->count; i++) eligible += !self->candidates[i].excluded;
  sf_random random = { { 0 } };
  if (eligible > 1) random = sf_seeded(L);
  int picked = sf_balancer_pick(self->candidates, self->count, &self->config, sf_policy_now(L, 1), &random,
                                &self->turn);
  if (picked < 0) lua_pushnil(L);
  else lua_pushinteger(L, picked + 1);
  return 1;
}

static sf_lua_line *sf_arg_line(lua_State *L, sf_lua_balancer *self)
{
  double i = sf_policy_arg_number(L, 2, "i", 1);
  if (i > (double)self->count || i != (double)(size_t)i)
    sf_policy_arg_error(L, 2, "i", lua_pushfstring(L, "a line from 1 to %d", (int)self->count));
  return &self->lines[(size_t)i - 1];
}

static int sf_balancer_started(lua_State *L)
{
  sf_lua_balancer *self = luaL_checkudata(L, 1, SF_BALANCER);
  sf_arg_line(L, self)->in_flight++;
  return 0;
}

/* finished(i, seconds, failed): seconds until the first token, nil when nothing was measured. */
static int sf_balancer_finished(lua_State *L)
{
  sf_lua_balancer *self = luaL_checkudata(L, 1, SF_BALANCER);
  sf_lua_line *line = sf_arg_line(L, self);
  int64_t sample = lua_isnoneornil(L, 3) ? -1 : sf_policy_arg_seconds(L, 3, "seconds");
  if (!lua_isnoneornil(L, 4) && !lua_isboolean(L, 4)) sf_policy_arg_error(L, 4, "failed", "true or false");
  if (lua_toboolean(L, 4)) sample = sf_time_max(sample, self->config.penalty_ns);
  int64_t now = sf_policy_now(L, 1);
  if (line->in_flight == 0) return luaL_error(L, "finished without started");
  line->in_flight--;
  if (sample >= 0) sf_ewma_sample(&line->ewma, now, sample, self->config.decay_ns);
  return 0;
}

void sf_open_policy_balancer(lua_State *L)
{
  static const luaL_Reg methods[] = { { "pick", sf_balancer_pick_one },
                                      { "started", sf_balancer_started },
                                      { "finished", sf_balancer_finished },
                                      { NULL, NULL } };
  sf_policy_class(L, SF_BALANCER, methods, NULL);
  lua_pushcfunction(L, sf_balancer_new);
  lua_setfield(L, -2, "balancer");
}
