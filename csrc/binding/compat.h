/*
 * compat.h: one source for Lua 5.1, 5.2, 5.3, 5.4 and LuaJIT. Include this instead of lua.h.
 * What is not here is not used: no lua_yieldk, no lua_geti, no integer-only calls.
 */
#ifndef SF_COMPAT_H
#define SF_COMPAT_H

#include <lauxlib.h>
#include <lua.h>
#include <stdint.h>

#if LUA_VERSION_NUM < 502 /* only what PUC 5.1 has: so each build for 5.1 or LuaJIT loads in the other as well */
#define lua_rawlen(L, i) lua_objlen(L, i)
#define lua_getuservalue(L, i) lua_getfenv(L, i)
#define lua_setuservalue(L, i) lua_setfenv(L, i)
#define luaL_setfuncs(L, l, n) luaL_register(L, NULL, l) /* only ever used without upvalues */
#elif LUA_VERSION_NUM >= 504
#undef lua_newuserdata
#define lua_newuserdata(L, size) lua_newuserdatauv(L, size, 1)
#undef lua_getuservalue
#undef lua_setuservalue
#define lua_getuservalue(L, i) lua_getiuservalue(L, i, 1)
#define lua_setuservalue(L, i) lua_setiuservalue(L, i, 1)
#endif

/* Pushes a count that may be beyond 2^31: an integer since 5.3, before that a number, whose integers may have 32 bits. */
static inline void sf_push_count(lua_State *L, uint64_t count)
{
#if LUA_VERSION_NUM < 503
  lua_pushnumber(L, (lua_Number)count);
#else
  lua_pushinteger(L, (lua_Integer)count);
#endif
}

#endif
