/* lint.h: read before every source by `make lint`: Lua's header does not say that these never return. */
#ifndef SF_LINT_H
#define SF_LINT_H

#define _GNU_SOURCE /* as the sources that want it */
#include <lauxlib.h>
#include <lua.h>

LUALIB_API __attribute__((noreturn)) int(luaL_error)(lua_State *L, const char *format, ...);
LUALIB_API __attribute__((noreturn)) int(luaL_argerror)(lua_State *L, int arg, const char *message);
LUALIB_API __attribute__((noreturn)) int(luaL_typeerror)(lua_State *L, int arg, const char *wanted);

#endif
