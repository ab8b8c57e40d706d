/*
 * compat.h: one source for Lua 5.1, 5.2, 5.3, 5.4 and LuaJIT. Include this instead of lua.h.
 * What is not here is not used: no lua_yieldk, no lua_geti, no integer-only calls.
 */
#ifndef SF_COMPAT_H
#define SF_COMPAT_H

#include <lauxlib.h>
#include <lua.h>

#if LUA_VERSION_NUM < 502
#define lua_rawlen(L, i) lua_objlen(L, i)
#define lua_getuservalue(L, i) lua_getfenv(L, i)
#define lua_setuservalue(L, i) lua_setfenv(L, i)
#ifndef luaL_newlib
#define luaL_setfuncs(L, l, n) luaL_register(L, NULL, l) /* only ever used without upvalues */
#define luaL_newlibtable(L, l) lua_createtable(L, 0, (int)(sizeof(l) / sizeof((l)[0]) - 1))
#define luaL_newlib(L, l) (luaL_newlibtable(L, l), luaL_setfuncs(L, l, 0))
#endif
#elif LUA_VERSION_NUM >= 504
#undef lua_newuserdata
#define lua_newuserdata(L, size) lua_newuserdatauv(L, size, 1)
#undef lua_getuservalue
#undef lua_setuservalue
#define lua_getuservalue(L, i) lua_getiuservalue(L, i, 1)
#define lua_setuservalue(L, i) lua_setiuservalue(L, i, 1)
#endif

/* Is the value at `index` a userdata with this named metatable? Its address, or NULL. (luaL_testudata is missing in 5.1.) */
static inline void *sf_testudata(lua_State *L, int index, const char *name)
{
  void *object = lua_touserdata(L, index);
  if (object == NULL || !lua_getmetatable(L, index)) return NULL;
  luaL_getmetatable(L, name);
  if (!lua_rawequal(L, -1, -2)) object = NULL;
  lua_pop(L, 2);
  return object;
}

#endif
