/*
 * module.c: luaopen_surefoot_core: opens every room, and pins the module in memory, since threads of libcurl's resolver may
 * outlive the Lua state that loaded it. Idempotent per state.
 */
#define _GNU_SOURCE /* dladdr */
#include <dlfcn.h>
#include <math.h>

#include "../engine/memory.h"
#include "../engine/transport.h"
#include "objects.h"

__attribute__((visibility("default"))) int luaopen_surefoot_core(lua_State *L);

/* Lua closes C modules with the state; code that runs after that must still be there. */
static void pin(void)
{
  Dl_info info;
  if (dladdr((void *)(uintptr_t)luaopen_surefoot_core, &info) != 0 && info.dli_fname != NULL)
    dlopen(info.dli_fname, RTLD_NOW | RTLD_NODELETE);
}

int64_t sf_check_seconds(lua_State *L, int arg, int64_t otherwise)
{
  if (lua_isnoneornil(L, arg)) return otherwise;
  double seconds = luaL_checknumber(L, arg);
  luaL_argcheck(L, seconds >= 0, arg, "seconds expected, 0 or more");
  return seconds < 9e9 ? (int64_t)(seconds * 1e9 + 0.5) : SF_NEVER;
}

void sf_push_seconds(lua_State *L, int64_t ns)
{
  lua_pushnumber(L, ns == SF_NEVER ? HUGE_VAL : (double)ns / 1e9);
}

void sf_set_number(lua_State *L, const char *name, double value)
{
  lua_pushnumber(L, value);
  lua_setfield(L, -2, name);
}

void sf_set_count(lua_State *L, const char *name, uint64_t value)
{
  sf_push_count(L, value);
  lua_setfield(L, -2, name);
}

void sf_set_string(lua_State *L, const char *name, const char *value)
{
  lua_pushstring(L, value);
  lua_setfield(L, -2, name);
}

void sf_set_flag(lua_State *L, const char *name, bool value)
{
  lua_pushboolean(L, value);
  lua_setfield(L, -2, name);
}

void *sf_check_object(lua_State *L, int arg, const char *type)
{
  void *object = lua_touserdata(L, arg);
  if (object != NULL && lua_getmetatable(L, arg)) {
    bool same = lua_rawequal(L, -1, lua_upvalueindex(1));
    lua_pop(L, 1);
    if (same) return object;
  }
  return luaL_checkudata(L, arg, type);
}

void sf_new_class(lua_State *L, const char *type, const luaL_Reg *methods, lua_CFunction gc)
{
  if (!luaL_newmetatable(L, type)) {
    lua_pop(L, 1);
    return;
  }
  lua_newtable(L);
  for (const luaL_Reg *method = methods; method->name != NULL; method++) {
    lua_pushvalue(L, -2);
    lua_pushcclosure(L, method->func, 1);
    lua_setfield(L, -2, method->name);
  }
  lua_setfield(L, -2, "__index");
  lua_pushvalue(L, -1);
  lua_pushcclosure(L, gc, 1);
  lua_setfield(L, -2, "__gc");
  lua_pushstring(L, type);
  lua_setfield(L, -2, "__name");
  lua_pushstring(L, type);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
}

#ifdef SF_FAULTS
/* core.fail_allocation(n): the n-th allocation of ours from now fails, once (0: none) -> how many were made before. */
static int fail_allocation(lua_State *L)
{
  lua_Integer n = luaL_checkinteger(L, 1);
  luaL_argcheck(L, n >= 0, 1, "0 or more expected");
  lua_pushinteger(L, (lua_Integer)sf_memory_fail((unsigned long)n));
  return 1;
}
#endif

int luaopen_surefoot_core(lua_State *L)
{
  pin();
  lua_newtable(L);
  sf_set_string(L, "libcurl", sf_transport_curl_version());
  if (lua_pushthread(L)) lua_setfield(L, -2, "main_thread"); /* where 5.1 says nil of it; absent if not loaded there */
  else lua_pop(L, 1);
  sf_open_wire(L);
  sf_open_policy(L);
  sf_open_plain(L);
  sf_open_engine(L);
  sf_open_doorbell(L);
  sf_open_client(L);
  sf_open_call(L);
  sf_open_region(L);
  sf_open_process(L);
  sf_open_files(L);
  sf_open_allowance(L);
#ifdef SF_FAULTS
  lua_pushcfunction(L, fail_allocation);
  lua_setfield(L, -2, "fail_allocation");
#endif
  return 1;
}
