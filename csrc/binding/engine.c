/*
 * engine.c: core.engine, core.simulation, core.now and the methods of an engine.
 * The state's one real engine is made on first use and kept in the registry; a fork renews it in place.
 */
#include <errno.h>
#include <string.h>

#include "objects.h"

#define REGISTRY_KEY "surefoot.the_engine"

static sf_lua_engine *new_engine_object(lua_State *L)
{
  sf_lua_engine *object = lua_newuserdata(L, sizeof *object);
  object->engine = NULL;
  luaL_getmetatable(L, SF_ENGINE_TYPE);
  lua_setmetatable(L, -2);
  return object;
}

sf_engine *sf_check_engine(lua_State *L, int arg)
{
  sf_lua_engine *object = sf_check_object(L, arg, SF_ENGINE_TYPE);
  if (object->engine == NULL) luaL_argerror(L, arg, "the engine is closed");
  if (sf_engine_is_stale(object->engine) && !sf_engine_renew(object->engine))
    luaL_error(L, "surefoot: cannot make an engine after the fork: %s", strerror(errno));
  if (object->engine->closed) luaL_argerror(L, arg, "the engine is closed");
  return object->engine;
}

static int core_engine(lua_State *L)
{
  lua_getfield(L, LUA_REGISTRYINDEX, REGISTRY_KEY);
  if (!lua_isnil(L, -1)) return 1;
  sf_lua_engine *object = new_engine_object(L);
  object->engine = sf_engine_new();
  if (object->engine == NULL) return luaL_error(L, "surefoot: cannot make an engine: %s", strerror(errno));
  lua_pushvalue(L, -1);
  lua_setfield(L, LUA_REGISTRYINDEX, REGISTRY_KEY);
  return 1;
}

static int core_simulation(lua_State *L)
{
  double seed = luaL_optnumber(L, 1, 1);
  sf_lua_engine *object = new_engine_object(L);
  uint64_t bits;
  memcpy(&bits, &seed, sizeof bits);
  object->engine = sf_engine_new_simulated(bits);
  return object->engine != NULL ? 1 : luaL_error(L, "not enough memory");
}

static int core_now(lua_State *L)
{
  sf_push_seconds(L, sf_clock_now());
  return 1;
}

static int engine_gc(lua_State *L)
{
  sf_lua_engine *object = sf_check_object(L, 1, SF_ENGINE_TYPE);
  sf_engine_free(object->engine);
  object->engine = NULL;
  return 0;
}

static int engine_close(lua_State *L)
{
  sf_lua_engine *object = sf_check_object(L, 1, SF_ENGINE_TYPE);
  if (object->engine != NULL) sf_engine_close(object->engine);
  lua_getfield(L, LUA_REGISTRYINDEX, REGISTRY_KEY);
  if (lua_rawequal(L, 1, -1)) {
    lua_pushnil(L);
    lua_setfield(L, LUA_REGISTRYINDEX, REGISTRY_KEY);
  }
  return 0;
}

static int engine_fd(lua_State *L)
{
  int fd = sf_engine_fd(sf_check_engine(L, 1));
  if (fd < 0) return luaL_error(L, "a simulation has no fd: its clock is virtual");
  lua_pushinteger(L, fd);
  return 1;
}

static int engine_step(lua_State *L)
{
  lua_pushinteger(L, (lua_Integer)sf_engine_step(sf_check_engine(L, 1)));
  return 1;
}

/*
 * engine:turn(ids) -> how many: one turn, and the ids of all that have news. The table gets its places before any is
 * taken: should memory end there, the fd tells of all of them.
 */
static int engine_turn(lua_State *L)
{
  sf_engine *engine = sf_check_engine(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  size_t count = sf_engine_turn(engine), places = lua_rawlen(L, 2);
  if (count > places) sf_engine_postpone(engine);
  for (size_t i = places + 1; i <= count; i++) {
    lua_pushnumber(L, 0);
    lua_rawseti(L, 2, (int)i);
  }
  for (size_t i = 1; i <= count; i++) {
    lua_pushnumber(L, (lua_Number)sf_engine_pop(engine));
    lua_rawseti(L, 2, (int)i);
  }
  lua_pushinteger(L, (lua_Integer)count);
  return 1;
}

static int engine_wait(lua_State *L)
{
  sf_engine *engine = sf_check_engine(L, 1);
  if (engine->simulated) return luaL_error(L, "a simulation does not wait: advance its clock");
  lua_pushinteger(L, (lua_Integer)sf_engine_wait(engine, sf_check_seconds(L, 2, SF_NEVER)));
  return 1;
}

static int engine_advance(lua_State *L)
{
  sf_engine *engine = sf_check_engine(L, 1);
  if (!engine->simulated) return luaL_error(L, "only a simulation's clock can be advanced");
  lua_pushboolean(L, sf_engine_advance(engine, sf_check_seconds(L, 2, SF_NEVER)));
  return 1;
}

static int engine_ready(lua_State *L)
{
  uint64_t id = sf_engine_pop(sf_check_engine(L, 1));
  if (id == 0) return 0;
  lua_pushnumber(L, (lua_Number)id);
  return 1;
}

static int engine_now(lua_State *L)
{
  sf_push_seconds(L, sf_engine_now(sf_check_engine(L, 1)));
  return 1;
}

static int engine_timer(lua_State *L)
{
  sf_engine *engine = sf_check_engine(L, 1);
  uint64_t id = sf_engine_sleep(engine, sf_check_seconds(L, 2, SF_NEVER));
  if (id == 0) return luaL_error(L, "not enough memory");
  lua_pushnumber(L, (lua_Number)id);
  return 1;
}

static int engine_cancel_timer(lua_State *L)
{
  lua_pushboolean(L, sf_engine_cancel_sleep(sf_check_engine(L, 1), (uint64_t)luaL_checknumber(L, 2)));
  return 1;
}

static int engine_in_flight(lua_State *L)
{
  lua_pushinteger(L, (lua_Integer)sf_check_engine(L, 1)->in_flight);
  return 1;
}

static int engine_pending(lua_State *L)
{
  lua_pushinteger(L, (lua_Integer)sf_check_engine(L, 1)->sleeper_count);
  return 1;
}

void sf_open_engine(lua_State *L)
{
  static const luaL_Reg functions[] = {
    { "engine", core_engine },
    { "simulation", core_simulation },
    { "now", core_now },
    { NULL, NULL },
  };
  static const luaL_Reg methods[] = {
    { "fd", engine_fd },
    { "step", engine_step },
    { "turn", engine_turn },
    { "wait", engine_wait },
    { "ready", engine_ready },
    { "now", engine_now },
    { "timer", engine_timer },
    { "cancel_timer", engine_cancel_timer },
    { "in_flight", engine_in_flight },
    { "pending", engine_pending },
    { "close", engine_close },
    { "advance", engine_advance },
    { "started", sf_lua_started },
    { "script", sf_lua_script },
    { NULL, NULL },
  };
  sf_new_class(L, SF_ENGINE_TYPE, methods, engine_gc);
  luaL_setfuncs(L, functions, 0);
}
