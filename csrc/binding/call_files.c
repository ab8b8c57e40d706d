/* call_files.c: the files of a call: what its body is read from, and where its answer goes. */
#include <string.h>

#include "objects.h"

/*
 * The parts of `upload`, a list of strings and of { file = path } on top of the stack, as memory of Lua's that is left there:
 * what throws has thrown before a file is open.
 */
static const sf_body_part *read_parts(lua_State *L, size_t *count)
{
  int list = lua_gettop(L);
  *count = lua_rawlen(L, list);
  sf_body_part *parts = lua_newuserdata(L, (*count + 1) * sizeof *parts);
  for (size_t i = 0; i < *count; i++) {
    parts[i] = (sf_body_part){ 0 };
    lua_rawgeti(L, list, (int)i + 1);
    if (lua_type(L, -1) == LUA_TSTRING) parts[i].bytes = lua_tolstring(L, -1, &parts[i].length);
    else if (lua_istable(L, -1)) {
      lua_getfield(L, -1, "file");
      if (lua_type(L, -1) == LUA_TSTRING) parts[i].path = lua_tostring(L, -1);
      lua_pop(L, 1);
    }
    lua_pop(L, 1); /* the list keeps it */
    if (parts[i].bytes == NULL && parts[i].path == NULL) luaL_error(L, "upload: strings and { file = path } expected");
  }
  return parts;
}

/* As sf_call_options wants them; NULL: all is well, else "" (memory) or what is wrong, valid until they are closed. */
static const char *open_them(sf_call_options *options, const sf_body_part *parts, size_t count, const char *output)
{
  if (parts != NULL) {
    options->upload = sf_body_open(parts, count);
    if (options->upload == NULL || options->upload->problem[0] != '\0')
      return options->upload != NULL ? options->upload->problem : "";
  }
  if (output == NULL) return NULL;
  options->sink = sf_sink_open(output);
  if (options->sink == NULL) return "";
  return options->sink->problem[0] != '\0' ? options->sink->problem : NULL;
}

void sf_lua_close_files(sf_call_options *options)
{
  sf_body_close(options->upload);
  sf_sink_close(options->sink);
  options->upload = NULL;
  options->sink = NULL;
}

bool sf_lua_open_files(lua_State *L, int table, sf_call_options *options)
{
  int top = lua_gettop(L);
  size_t count = 0;
  lua_getfield(L, table, "output");
  const char *output = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
  lua_getfield(L, table, "upload");
  const sf_body_part *parts = lua_istable(L, -1) ? read_parts(L, &count) : NULL;
  const char *problem = output != NULL || parts != NULL ? open_them(options, parts, count, output) : NULL;
  lua_settop(L, top);
  if (problem == NULL) return true;
  char text[SF_BODY_PROBLEM_BYTES + SF_SINK_PROBLEM_BYTES];
  strncpy(text, problem, sizeof text - 1);
  text[sizeof text - 1] = '\0';
  sf_lua_close_files(options);
  if (text[0] == '\0') return luaL_error(L, "not enough memory");
  lua_pushstring(L, text);
  return false;
}
