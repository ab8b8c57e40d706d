/* simulation.c: the outside's half of scripted exchanges: engine:started and engine:script. */
#include <string.h>

#include "../engine/transport_sim.h"
#include "objects.h"

static sf_engine *check_simulation(lua_State *L)
{
  sf_engine *engine = sf_check_engine(L, 1);
  if (!engine->simulated) luaL_error(L, "not a simulation");
  return engine;
}

/* The body as one string, files included: a script sees what was sent, whatever it was made of. */
static void push_body(lua_State *L, const sf_request *request)
{
  sf_body *upload = request->upload;
  if (upload == NULL) {
    if (request->body != NULL) lua_pushlstring(L, request->body, request->body_length);
    else lua_pushnil(L);
    return;
  }
  luaL_Buffer text;
  luaL_buffinit(L, &text);
  for (uint64_t offset = 0; offset < upload->length;) { /* a problem is met again, and told, by the exchange itself */
    char piece[LUAL_BUFFERSIZE];
    int64_t got = sf_body_read(upload, offset, piece, sizeof piece);
    if (got <= 0) break;
    luaL_addlstring(&text, piece, (size_t)got);
    offset += (uint64_t)got;
  }
  luaL_pushresult(&text);
}

/* -> id, endpoint name, method, url, headers block, body; nothing when no exchange waits for its script. */
int sf_lua_started(lua_State *L)
{
  sf_engine *engine = check_simulation(L);
  sf_exchange *exchange;
  uint64_t id = sf_transport_sim_started(engine->transport, &exchange);
  if (id == 0) return 0;
  const sf_request *request = exchange->request;
  lua_pushnumber(L, (lua_Number)id);
  lua_pushstring(L, request->line->name);
  lua_pushstring(L, request->method);
  lua_pushstring(L, request->url);
  luaL_Buffer headers;
  luaL_buffinit(L, &headers);
  for (size_t i = 0; i < request->header_count; i++) {
    luaL_addstring(&headers, request->headers[i]);
    luaL_addstring(&headers, "\r\n");
  }
  luaL_pushresult(&headers);
  push_body(L, request);
  return 6;
}

/* script[name] in seconds, or `otherwise`. */
static int64_t field_seconds(lua_State *L, int index, const char *name, int64_t otherwise)
{
  lua_getfield(L, index, name);
  int64_t ns = sf_check_seconds(L, lua_gettop(L), otherwise);
  lua_pop(L, 1);
  return ns;
}

static sf_fault read_fault(lua_State *L)
{
  static const struct {
    const char *field, *name;
    sf_fault fault;
  } faults[] = {
    { "fault", "hang", SF_FAULT_HANG },      { "fault", "reset", SF_FAULT_RESET },    { "fault", "cut", SF_FAULT_CUT },
    { "fail", "resolve", SF_FAULT_RESOLVE }, { "fail", "connect", SF_FAULT_CONNECT }, { "fail", "tls", SF_FAULT_TLS },
  };
  sf_fault found = SF_FAULT_NONE;
  for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
    lua_getfield(L, 3, faults[i].field);
    const char *given = lua_tostring(L, -1);
    if (given != NULL && strcmp(given, faults[i].name) == 0) found = faults[i].fault;
    lua_pop(L, 1);
  }
  return found;
}

/* The string on top of the stack. A number will not do: made a string, it would be anchored nowhere. */
static const char *check_string(lua_State *L, const char *name, size_t *length)
{
  if (lua_type(L, -1) != LUA_TSTRING) luaL_error(L, "script.%s: a string expected, got %s", name, luaL_typename(L, -1));
  return lua_tolstring(L, -1, length);
}

/* The chunks of script.events, or script.body as one chunk at the time of the headers; strings stay anchored in the script. */
static const sf_script_event *read_events(lua_State *L, sf_script *script)
{
  lua_getfield(L, 3, "events");
  bool list = lua_istable(L, -1);
  size_t count = list ? lua_rawlen(L, -1) : 1;
  sf_script_event *events = lua_newuserdata(L, (count + 1) * sizeof *events);
  script->event_count = count;
  for (size_t i = 0; list && i < count; i++) {
    lua_rawgeti(L, -2, (int)i + 1);
    luaL_checktype(L, -1, LUA_TTABLE);
    events[i].at_ns = sf_time_max(field_seconds(L, lua_gettop(L), "at", 0), script->after_ns);
    if (i > 0) events[i].at_ns = sf_time_max(events[i].at_ns, events[i - 1].at_ns);
    lua_getfield(L, -1, "data");
    events[i].data = check_string(L, "events[].data", &events[i].length);
    lua_pop(L, 2);
  }
  if (list) return events;
  lua_getfield(L, 3, "body");
  events[0].at_ns = script->after_ns;
  if (lua_isnil(L, -1)) script->event_count = 0;
  else events[0].data = check_string(L, "body", &events[0].length);
  lua_pop(L, 1);
  return events;
}

/* script.headers: lines as they are, or { [name] = value } as lines; left on the stack. */
static const char *read_headers(lua_State *L, size_t *length)
{
  luaL_Buffer block;
  lua_getfield(L, 3, "headers");
  if (lua_type(L, -1) == LUA_TSTRING) return lua_tolstring(L, -1, length);
  if (!lua_istable(L, -1)) {
    *length = 0;
    return "";
  }
  int headers = lua_gettop(L);
  lua_newtable(L);
  int lines = lua_gettop(L), count = 0;
  for (lua_pushnil(L); lua_next(L, headers) != 0; lua_pop(L, 1)) {
    lua_pushvalue(L, -2);
    lua_pushliteral(L, ": ");
    lua_pushvalue(L, -3);
    lua_pushliteral(L, "\r\n");
    lua_concat(L, 4);
    lua_rawseti(L, lines, ++count);
  }
  luaL_buffinit(L, &block);
  for (int i = 1; i <= count; i++) {
    lua_rawgeti(L, lines, i);
    luaL_addvalue(&block);
  }
  luaL_pushresult(&block);
  return lua_tolstring(L, -1, length);
}

/* engine:script(id, script) -> was it still wanted? */
int sf_lua_script(lua_State *L)
{
  sf_engine *engine = check_simulation(L);
  uint64_t id = (uint64_t)luaL_checknumber(L, 2);
  luaL_checktype(L, 3, LUA_TTABLE);
  sf_script script = { .status = 200 };
  script.connect_ns = field_seconds(L, 3, "connect", 0);
  script.after_ns = sf_time_max(field_seconds(L, 3, "after", 0), script.connect_ns);
  lua_getfield(L, 3, "status");
  if (!lua_isnil(L, -1)) script.status = (int)luaL_checkinteger(L, -1);
  lua_getfield(L, 3, "reused");
  script.reused = lua_toboolean(L, -1);
  script.fault = read_fault(L);
  script.events = read_events(L, &script);
  script.headers = read_headers(L, &script.headers_length);
  lua_pushboolean(L, sf_transport_sim_script(engine->transport, id, &script));
  return 1;
}
