/*
 * allowance.c: core.allowance{...}: what one holder may do, alone or together with other processes, and core.sha256.
 *
 *   core.allowance { shared = name, key = string,      in this region, under this key; without them it is private
 *                    rate = { requests_per_second, burst, tokens_per_minute, token_burst },
 *                    concurrency = n, budget = { limit = dollars, per = "hour" | "day" | "month" | "total" | seconds } }
 *     -> allowance | nil, message
 *   allowance:enter(tokens)      -> ticket | nil, kind, retry_after, code
 *   allowance:peek(tokens)       -> true | nil, kind, retry_after, code          what enter would say
 *   allowance:spend(dollars)                                                     counts a cost that has no ticket
 *   allowance:numbers()          -> { in_flight, concurrency, requests_left, tokens_left, spent, limit, resets_in }
 *   ticket:leave(tokens, cost)   settles, once; tokens nil: they were as estimated, cost nil: none
 *   core.sha256(text)            -> 64 hexadecimal digits
 *
 * All is optional: what is not given is not bounded, and an allowance may be a budget alone. kind and code: "rate_limited"
 * with "requests", "tokens" or "concurrency"; "quota" with "budget_spent". retry_after: seconds, nil where nobody knows. A
 * ticket that is collected is given back with the tokens that were estimated, and no cost; in the child of a fork those of
 * its parent do nothing. Tests and simulations give the time as a last argument more, in seconds since 1970: of enter,
 * peek, spend, numbers and leave. The values have been checked in Lua; here only what would corrupt C is.
 */
#define _GNU_SOURCE /* clock_gettime */
#include <math.h>
#include <string.h>
#include <time.h>

#include "../engine/commons.h"
#include "../share/allowance.h"
#include "../wire/sha256.h"
#include "objects.h"

#define SF_ALLOWANCE_TYPE "surefoot.allowance"
#define SF_TICKET_TYPE "surefoot.ticket"

typedef struct sf_lua_allowance {
  sf_allowance allowance;
  sf_region *region;        /* held open for `users` */
  unsigned users;           /* this object, and the tickets that are out */
  bool closed;              /* it was collected */
  unsigned long generation; /* of the process */
} sf_lua_allowance;

typedef struct sf_lua_ticket {
  sf_lua_allowance *owner; /* anchored by the uservalue */
  sf_pass pass;
  unsigned long generation;
} sf_lua_ticket;

typedef struct moment {
  int64_t now, wall;
} moment;

/* ---- arguments ---- */

static double argument(lua_State *L, int arg, double otherwise)
{
  if (lua_isnoneornil(L, arg)) return otherwise;
  double value = luaL_checknumber(L, arg);
  luaL_argcheck(L, value >= 0 && isfinite(value), arg, "a number expected, 0 or more");
  return value;
}

static moment moment_at(lua_State *L, int arg)
{
  struct timespec t;
  double given = argument(L, arg, -1);
  if (given >= 0) return (moment){ sf_time_from(given * 1e9), sf_time_from(given * 1e9) };
  clock_gettime(CLOCK_REALTIME, &t);
  return (moment){ sf_clock_now(), (int64_t)t.tv_sec * SF_SECOND + t.tv_nsec };
}

static sf_lua_allowance *check_allowance(lua_State *L)
{
  sf_lua_allowance *self = sf_check_object(L, 1, SF_ALLOWANCE_TYPE);
  luaL_argcheck(L, !self->closed, 1, "the allowance is gone");
  if (self->generation != sf_engine_forks()) sf_allowance_forked(&self->allowance);
  self->generation = sf_engine_forks();
  return self;
}

/* t[name] of the table on top of the stack, a number above 0; else `otherwise`. */
static double number_field(lua_State *L, const char *name, double otherwise)
{
  lua_getfield(L, -1, name);
  double value = lua_isnil(L, -1) ? otherwise : lua_tonumber(L, -1);
  lua_pop(L, 1);
  if (!(value >= 0) || (value == 0 && otherwise > 0)) luaL_error(L, "%s: a number above 0 expected", name);
  return value;
}

/* ---- configuration ---- */

static bool push_table(lua_State *L, const char *name)
{
  lua_getfield(L, 1, name);
  if (lua_istable(L, -1)) return true;
  if (!lua_isnil(L, -1)) luaL_error(L, "%s: a table expected", name);
  lua_pop(L, 1);
  return false;
}

static void read_rate(lua_State *L, sf_allowance_config *config)
{
  if (!push_table(L, "rate")) return;
  double requests = number_field(L, "requests_per_second", 0), tokens = number_field(L, "tokens_per_minute", 0);
  config->has_requests = requests > 0;
  config->has_tokens = tokens > 0;
  if (requests > 0) config->requests = sf_gcra_config_make(requests, number_field(L, "burst", requests));
  if (tokens > 0) config->tokens = sf_gcra_config_make(tokens / 60, number_field(L, "token_burst", tokens));
  lua_pop(L, 1);
}

static void read_per(lua_State *L, sf_spend_config *budget)
{
  static const char *const names[] = { "total", "hour", "day", "month" };
  lua_getfield(L, -1, "per");
  if (lua_type(L, -1) == LUA_TNUMBER) {
    double seconds = lua_tonumber(L, -1);
    if (!(seconds >= 1 && seconds < 1e10)) luaL_error(L, "per: 1 second or more expected");
    budget->per = SF_PER_SECONDS;
    budget->seconds = (int64_t)seconds;
  } else {
    const char *given = lua_tostring(L, -1);
    unsigned i = 0;
    while (i < 4 && (given == NULL || strcmp(given, names[i]) != 0)) i++;
    if (i == 4) luaL_error(L, "per: \"hour\", \"day\", \"month\", \"total\" or seconds expected");
    budget->per = (sf_spend_per)i; /* the names are in the order of the enum */
  }
  lua_pop(L, 1);
}

static void read_budget(lua_State *L, sf_allowance_config *config)
{
  if (!push_table(L, "budget")) return;
  double micros = number_field(L, "limit", 0) * 1e6;
  if (!(micros >= 1 && micros <= (double)SF_SPEND_MOST)) luaL_error(L, "limit: 0.000001 to 1099511 dollars expected");
  config->has_budget = true;
  config->budget.limit = (uint64_t)(micros + 0.5);
  read_per(L, &config->budget);
  lua_pop(L, 1);
}

static void read_config(lua_State *L, sf_allowance_config *config)
{
  *config = (sf_allowance_config){ 0 };
  read_rate(L, config);
  read_budget(L, config);
  lua_pushvalue(L, 1);
  double places = number_field(L, "concurrency", 0);
  lua_pop(L, 1);
  if (places >= UINT32_MAX) luaL_error(L, "concurrency: a smaller number expected");
  config->concurrency = (uint32_t)places;
}

/* Joins the others; else a message is pushed. */
static bool join(lua_State *L, sf_lua_allowance *self)
{
  char problem[SF_REGION_PROBLEM];
  size_t length;
  lua_getfield(L, 1, "shared");
  lua_getfield(L, 1, "key");
  const char *name = lua_tostring(L, -2), *key = lua_tolstring(L, -1, &length);
  if (name == NULL) {
    lua_pop(L, 2);
    return true;
  }
  if (key == NULL) luaL_error(L, "key: a string expected");
  self->region = sf_region_open(name, false, problem);
  if (self->region == NULL) {
    lua_pushfstring(L, "shared: %s", problem);
  } else if (!sf_allowance_share(&self->allowance, self->region, key, length)) {
    lua_pushfstring(L, "shared: no room is left in %s", name);
  } else {
    lua_pop(L, 2);
    return true;
  }
  return false;
}

static int core_allowance(lua_State *L)
{
  sf_allowance_config config;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  read_config(L, &config);
  sf_lua_allowance *self = lua_newuserdata(L, sizeof *self);
  memset(self, 0, sizeof *self);
  sf_allowance_init(&self->allowance, &config);
  self->users = 1;
  self->generation = sf_engine_forks();
  luaL_getmetatable(L, SF_ALLOWANCE_TYPE);
  lua_setmetatable(L, -2);
  lua_createtable(L, 1, 0); /* the uservalue of its tickets */
  lua_pushvalue(L, -2);
  lua_rawseti(L, -2, 1);
  lua_setuservalue(L, -2);
  if (join(L, self)) return 1;
  lua_pushnil(L);
  lua_insert(L, -2);
  return 2;
}

/* ---- an allowance ---- */

static int push_refusal(lua_State *L, sf_allowance_answer answer, int64_t wait)
{
  static const char *const codes[] = { NULL, "budget_spent", "requests", "tokens", "concurrency" };
  lua_pushnil(L);
  lua_pushstring(L, answer == SF_REFUSED_BUDGET ? "quota" : "rate_limited");
  if (wait > 0 && wait != SF_NEVER) sf_push_seconds(L, wait);
  else lua_pushnil(L);
  lua_pushstring(L, codes[answer]);
  return 4;
}

static sf_lua_ticket *new_ticket(lua_State *L, sf_lua_allowance *owner)
{
  sf_lua_ticket *ticket = lua_newuserdata(L, sizeof *ticket);
  memset(ticket, 0, sizeof *ticket);
  ticket->owner = owner;
  ticket->generation = owner->generation;
  lua_getuservalue(L, 1);
  lua_setuservalue(L, -2);
  luaL_getmetatable(L, SF_TICKET_TYPE);
  lua_setmetatable(L, -2);
  return ticket;
}

/* The ticket is made first: what can fail comes before anything is taken. */
static int allowance_enter(lua_State *L)
{
  sf_lua_allowance *self = check_allowance(L);
  double tokens = argument(L, 2, 0);
  moment at = moment_at(L, 3);
  int64_t wait = 0;
  sf_lua_ticket *ticket = new_ticket(L, self);
  sf_allowance_answer answer = sf_allowance_enter(&self->allowance, at.now, at.wall, tokens, &ticket->pass, &wait);
  if (answer == SF_REFUSED_CONCURRENCY) {
    sf_commons_reap(self->region, sf_clock_now()); /* the dead need no place */
    answer = sf_allowance_enter(&self->allowance, at.now, at.wall, tokens, &ticket->pass, &wait);
  }
  if (answer != SF_ALLOWED) return push_refusal(L, answer, wait);
  self->users++;
  return 1;
}

static int allowance_peek(lua_State *L)
{
  sf_lua_allowance *self = check_allowance(L);
  double tokens = argument(L, 2, 0);
  moment at = moment_at(L, 3);
  int64_t wait = 0;
  sf_allowance_answer answer = sf_allowance_peek(&self->allowance, at.now, at.wall, tokens, &wait);
  if (answer == SF_REFUSED_CONCURRENCY) {
    sf_commons_reap(self->region, sf_clock_now());
    answer = sf_allowance_peek(&self->allowance, at.now, at.wall, tokens, &wait);
  }
  if (answer != SF_ALLOWED) return push_refusal(L, answer, wait);
  lua_pushboolean(L, true);
  return 1;
}

static int allowance_spend(lua_State *L)
{
  sf_lua_allowance *self = check_allowance(L);
  double dollars = argument(L, 2, 0);
  sf_allowance_spend(&self->allowance, moment_at(L, 3).wall, dollars);
  return 0;
}

static int allowance_numbers(lua_State *L)
{
  sf_lua_allowance *self = check_allowance(L);
  const sf_allowance_config *config = &self->allowance.config;
  moment at = moment_at(L, 2);
  sf_allowance_numbers numbers;
  sf_commons_reap(self->region, sf_clock_now());
  sf_allowance_read(&self->allowance, at.now, at.wall, &numbers);
  lua_createtable(L, 0, 7);
  sf_set_count(L, "in_flight", numbers.in_flight);
  if (config->concurrency > 0) sf_set_count(L, "concurrency", config->concurrency);
  if (config->has_requests) sf_set_count(L, "requests_left", (uint64_t)numbers.requests_left);
  if (config->has_tokens) sf_set_count(L, "tokens_left", (uint64_t)numbers.tokens_left);
  if (!config->has_budget) return 1;
  sf_set_number(L, "spent", (double)numbers.spent / 1e6);
  sf_set_number(L, "limit", (double)config->budget.limit / 1e6);
  if (numbers.resets_in != SF_NEVER) sf_set_number(L, "resets_in", (double)numbers.resets_in / 1e9);
  return 1;
}

/* The region stays until the last ticket is back. */
static void let_go(sf_lua_allowance *self)
{
  if (--self->users > 0) return;
  sf_region_release(self->region);
  self->region = NULL;
}

static int allowance_gc(lua_State *L)
{
  sf_lua_allowance *self = sf_check_object(L, 1, SF_ALLOWANCE_TYPE);
  if (!self->closed) let_go(self);
  self->closed = true;
  return 0;
}

/* ---- a ticket ---- */

/* What a parent let in is the parent's to settle: its child only forgets it. */
static void settle(sf_lua_ticket *ticket, double tokens)
{
  if (!ticket->pass.held) return;
  if (ticket->generation == sf_engine_forks()) sf_allowance_leave(&ticket->owner->allowance, &ticket->pass, tokens);
  ticket->pass.held = false;
  let_go(ticket->owner);
}

static int ticket_leave(lua_State *L)
{
  sf_lua_ticket *ticket = sf_check_object(L, 1, SF_TICKET_TYPE);
  double tokens = argument(L, 2, -1), dollars = argument(L, 3, 0);
  moment at = moment_at(L, 4);
  if (ticket->pass.held && ticket->generation == sf_engine_forks())
    sf_allowance_spend(&ticket->owner->allowance, at.wall, dollars);
  settle(ticket, tokens);
  return 0;
}

static int ticket_gc(lua_State *L)
{
  settle(sf_check_object(L, 1, SF_TICKET_TYPE), -1);
  return 0;
}

/* ---- the rest ---- */

static int core_sha256(lua_State *L)
{
  static const char digits[] = "0123456789abcdef";
  size_t length;
  const char *text = luaL_checklstring(L, 1, &length);
  uint8_t digest[SF_SHA256_BYTES];
  char hex[2 * SF_SHA256_BYTES];
  sf_sha256(text, length, digest);
  for (int i = 0; i < SF_SHA256_BYTES; i++) {
    hex[2 * i] = digits[digest[i] >> 4];
    hex[2 * i + 1] = digits[digest[i] & 15];
  }
  lua_pushlstring(L, hex, sizeof hex);
  return 1;
}

void sf_open_allowance(lua_State *L)
{
  static const luaL_Reg functions[] = { { "allowance", core_allowance }, { "sha256", core_sha256 }, { NULL, NULL } };
  static const luaL_Reg allowance[] = { { "enter", allowance_enter },
                                        { "peek", allowance_peek },
                                        { "spend", allowance_spend },
                                        { "numbers", allowance_numbers },
                                        { NULL, NULL } };
  static const luaL_Reg ticket[] = { { "leave", ticket_leave }, { NULL, NULL } };
  sf_new_class(L, SF_ALLOWANCE_TYPE, allowance, allowance_gc);
  sf_new_class(L, SF_TICKET_TYPE, ticket, ticket_gc);
  luaL_setfuncs(L, functions, 0);
}
