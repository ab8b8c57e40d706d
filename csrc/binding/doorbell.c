/* doorbell.c: core.doorbell and its methods; see ../engine/doorbell.h. */
#include "../engine/doorbell.h"

#include <errno.h>
#include <string.h>

#include "objects.h"

#define SF_DOORBELL_TYPE "surefoot.doorbell"

typedef struct sf_lua_doorbell {
  sf_doorbell *bell;
} sf_lua_doorbell;

static sf_doorbell *check_bell(lua_State *L)
{
  sf_lua_doorbell *object = sf_check_object(L, 1, SF_DOORBELL_TYPE);
  if (object->bell == NULL) luaL_argerror(L, 1, "the doorbell is closed");
  return object->bell;
}

static int outcome(lua_State *L, bool done)
{
  if (done) {
    lua_pushboolean(L, true);
    return 1;
  }
  lua_pushnil(L);
  lua_pushstring(L, strerror(errno));
  return 2;
}

/* core.doorbell(engine) -> a bell that rings for the engine's fd, or nil and why there is none. */
static int core_doorbell(lua_State *L)
{
  sf_engine *engine = sf_check_engine(L, 1);
  if (engine->simulated) return luaL_error(L, "a simulation has no fd: its clock is virtual");
  sf_lua_doorbell *object = lua_newuserdata(L, sizeof *object);
  object->bell = NULL;
  luaL_getmetatable(L, SF_DOORBELL_TYPE);
  lua_setmetatable(L, -2);
  object->bell = sf_doorbell_new(sf_engine_fd(engine));
  return object->bell != NULL ? 1 : outcome(L, false);
}

static int bell_path(lua_State *L)
{
  lua_pushstring(L, sf_doorbell_path(check_bell(L)));
  return 1;
}

static int bell_attach(lua_State *L)
{
  return outcome(L, sf_doorbell_attach(check_bell(L)));
}

static int bell_arm(lua_State *L)
{
  return outcome(L, sf_doorbell_arm(check_bell(L)));
}

static int bell_close(lua_State *L)
{
  sf_lua_doorbell *object = sf_check_object(L, 1, SF_DOORBELL_TYPE);
  sf_doorbell_free(object->bell);
  object->bell = NULL;
  return 0;
}

void sf_open_doorbell(lua_State *L)
{
  static const luaL_Reg functions[] = { { "doorbell", core_doorbell }, { NULL, NULL } };
  static const luaL_Reg methods[] = {
    { "path", bell_path }, { "attach", bell_attach }, { "arm", bell_arm }, { "close", bell_close }, { NULL, NULL },
  };
  sf_new_class(L, SF_DOORBELL_TYPE, methods, bell_close);
  luaL_setfuncs(L, functions, 0);
}
