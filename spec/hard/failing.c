/*
 * failing.c: spec.hard.failing: lets an allocation of the Lua state itself fail, which the core's own fail_allocation does
 * not reach.
 *
 *   failing(n, f) -> how many were made, whether f came to its end, its result or what it threw
 *
 * The n-th request for more memory fails, and the one after it, by which Lua tries again once it has collected.
 */
#include <lauxlib.h>
#include <lua.h>

__attribute__((visibility("default"))) int luaopen_spec_hard_failing(lua_State *L);

typedef struct failing {
  lua_Alloc real;
  void *context;
  unsigned long made, fail_at;
} failing;

static void *allocate(void *context, void *block, size_t before, size_t after)
{
  failing *self = context;
  if (after > 0 && (block == NULL || after > before)) {
    self->made++;
    if (self->made == self->fail_at || self->made == self->fail_at + 1) return NULL;
  }
  return self->real(self->context, block, before, after);
}

static int fail(lua_State *L)
{
  failing self = { .fail_at = (unsigned long)luaL_checknumber(L, 1) };
  luaL_checktype(L, 2, LUA_TFUNCTION);
  lua_settop(L, 2);
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  self.real = lua_getallocf(L, &self.context);
  lua_setallocf(L, allocate, &self);
  int status = lua_pcall(L, 0, 1, 0);
  lua_setallocf(L, self.real, self.context);
  lua_pushnumber(L, (lua_Number)self.made);
  lua_pushboolean(L, status == 0);
  lua_pushvalue(L, 2);
  return 3;
}

int luaopen_spec_hard_failing(lua_State *L)
{
  lua_pushcfunction(L, fail);
  return 1;
}
