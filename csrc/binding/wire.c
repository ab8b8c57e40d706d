/*
 * wire.c: core.header, core.headers, core.retry_after, core.duration; what a status means: core.status_verdict, core.hinted,
 * core.kinds; core.members, values in a JSON text; core.base64_floats, a vector as APIs send it; and core.sse, the parser of
 * event streams. A header block is a string of "Name: value" lines.
 */
#include "../engine/memory.h"
#include "../policy/retry_rules.h"
#include "../wire/base64.h"
#include "../wire/hints.h"
#include "../wire/members.h"
#include "../wire/sse.h"
#include "objects.h"

#include <math.h>

/* core.header(block, name) -> value | nil */
static int sf_wire_header(lua_State *L)
{
  size_t length;
  const char *block = luaL_checklstring(L, 1, &length);
  sf_slice value;
  if (!sf_headers_find(block, length, luaL_checkstring(L, 2), &value)) return 0;
  lua_pushlstring(L, value.data, value.length);
  return 1;
}

static void sf_push_lower(lua_State *L, sf_slice name)
{
  luaL_Buffer buffer;
  luaL_buffinit(L, &buffer);
  for (size_t i = 0; i < name.length; i++) {
    char c = name.data[i];
    luaL_addchar(&buffer, c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c);
  }
  luaL_pushresult(&buffer);
}

/* core.headers(block) -> { name in lower case = value }, repeated ones joined by ", " */
static int sf_wire_headers(lua_State *L)
{
  size_t length, offset = 0;
  const char *block = luaL_checklstring(L, 1, &length);
  sf_slice name, value;
  lua_newtable(L);
  while (sf_headers_next(block, length, &offset, &name, &value)) {
    sf_push_lower(L, name);
    lua_pushvalue(L, -1);
    lua_rawget(L, -3);
    bool repeated = lua_isstring(L, -1);
    if (repeated) lua_pushliteral(L, ", ");
    else lua_pop(L, 1);
    lua_pushlstring(L, value.data, value.length);
    if (repeated) lua_concat(L, 3);
    lua_rawset(L, -3);
  }
  return 1;
}

/* core.retry_after(block, unix_now) -> seconds | nil, should_retry (true, false, nil) */
static int sf_wire_retry_after(lua_State *L)
{
  size_t length;
  const char *block = luaL_checklstring(L, 1, &length);
  sf_retry_hint hint = sf_hints_retry(block, length, luaL_optnumber(L, 2, -1));
  if (hint.after_ns > 0) lua_pushnumber(L, (double)hint.after_ns / SF_SECOND);
  else lua_pushnil(L);
  if (hint.should_retry >= 0) lua_pushboolean(L, hint.should_retry);
  else lua_pushnil(L);
  return 2;
}

/* core.duration(text) -> seconds | nil: "1m30s", "250ms", "20" */
static int sf_wire_duration(lua_State *L)
{
  sf_slice text;
  text.data = luaL_checklstring(L, 1, &text.length);
  int64_t ns = sf_duration_parse(text);
  if (ns < 0) return 0;
  lua_pushnumber(L, (double)ns / SF_SECOND);
  return 1;
}

/* core.status_verdict(status) -> class, kind */
static int sf_wire_status_verdict(lua_State *L)
{
  double status = luaL_checknumber(L, 1);
  sf_verdict verdict = sf_retry_rule_status(fabs(status) < 1e6 ? (int)status : 0, NULL);
  lua_pushstring(L, sf_class_name(verdict.cls));
  lua_pushstring(L, sf_kind_name(verdict.kind));
  return 2;
}

/* core.hinted(class, should_retry) -> class, after the server's word on whether */
static int sf_wire_hinted(lua_State *L)
{
  int cls = sf_class_by_name(luaL_checkstring(L, 1));
  luaL_argcheck(L, cls >= 0, 1, "no verdict class");
  sf_verdict verdict = { .cls = (sf_class)cls };
  int should_retry = lua_isnoneornil(L, 2) ? -1 : lua_toboolean(L, 2);
  lua_pushstring(L, sf_class_name(sf_retry_rule_hinted(verdict, should_retry).cls));
  return 1;
}

#define SF_MEMBERS_NAMES 32

/*
 * core.members(text, name1, name2 ...) -> first1, last1, first2, last2 ...: where the values of the object's members stand, false
 * twice for each that is not there | nil, what is wrong, position
 */
static int sf_wire_members(lua_State *L)
{
  const char *names[SF_MEMBERS_NAMES];
  sf_member found[SF_MEMBERS_NAMES];
  int count = lua_gettop(L) - 1;
  luaL_argcheck(L, count <= SF_MEMBERS_NAMES, SF_MEMBERS_NAMES + 2, "too many names");
  size_t length, offset;
  const char *text = luaL_checklstring(L, 1, &length);
  for (int i = 0; i < count; i++) names[i] = luaL_checkstring(L, i + 2);
  luaL_checkstack(L, 2 * SF_MEMBERS_NAMES, "members");
  /* cppcheck-suppress uninitvar; of no names none is read */
  const char *problem = sf_members_find(text, length, names, (size_t)(count > 0 ? count : 0), found, &offset);
  if (problem) {
    lua_pushnil(L);
    lua_pushstring(L, problem);
    sf_push_count(L, offset + 1);
    return 3;
  }
  for (int i = 0; i < count; i++) {
    if (found[i].end > 0) {
      sf_push_count(L, found[i].begin + 1);
      sf_push_count(L, found[i].end);
    } else {
      lua_pushboolean(L, false);
      lua_pushboolean(L, false);
    }
  }
  return 2 * count;
}

/* core.base64_floats(list) -> the numbers as 32-bit floats, least byte first, in base64 | nil: not all are numbers */
static int sf_wire_base64_floats(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TTABLE);
  size_t count = lua_rawlen(L, 1), length = 0;
  luaL_Buffer buffer;
  luaL_buffinit(L, &buffer);
  uint8_t bytes[12]; /* three floats are four whole groups of base64 */
  for (size_t i = 1; i <= count; i++) {
    lua_rawgeti(L, 1, (int)i);
    bool is_number = lua_type(L, -1) == LUA_TNUMBER;
    float value = (float)lua_tonumber(L, -1);
    lua_pop(L, 1);
    if (!is_number) return 0;
    uint32_t word;
    memcpy(&word, &value, sizeof word);
    for (int shift = 0; shift < 32; shift += 8) bytes[length++] = (uint8_t)(word >> shift);
    if (length < sizeof bytes && i < count) continue;
    char text[SF_BASE64_LENGTH(sizeof bytes)];
    luaL_addlstring(&buffer, text, sf_base64_encode(bytes, length, text));
    length = 0;
  }
  luaL_pushresult(&buffer);
  return 1;
}

/* --- event streams */

#define SF_SSE_TYPE "surefoot.sse"

typedef struct sf_lua_sse {
  sf_sse parser;
  sf_buffer buffer;
} sf_lua_sse;

/* core.sse(limit) -> parser; limit: bytes of one event */
static int sf_wire_sse(lua_State *L)
{
  double limit = luaL_checknumber(L, 1);
  luaL_argcheck(L, limit >= 1, 1, "a number of bytes expected, 1 or more");
  sf_lua_sse *self = lua_newuserdata(L, sizeof *self);
  *self = (sf_lua_sse){ 0 };
  sf_sse_init(&self->parser, limit < (double)(SIZE_MAX / 2) ? (size_t)limit : SIZE_MAX);
  luaL_getmetatable(L, SF_SSE_TYPE);
  lua_setmetatable(L, -2);
  return 1;
}

static void sf_push_event(lua_State *L, const sf_sse_event *event)
{
  lua_createtable(L, 0, 2);
  if (event->name.length > 0) {
    lua_pushlstring(L, event->name.data, event->name.length);
    lua_setfield(L, -2, "name");
  }
  lua_pushlstring(L, event->data.data, event->data.length);
  lua_setfield(L, -2, "data");
}

/* parser:feed(bytes) -> { { name (nil: none given), data } ... } | nil, "too_large", those that came before */
static int sf_sse_feed(lua_State *L)
{
  sf_lua_sse *self = sf_check_object(L, 1, SF_SSE_TYPE);
  sf_buffer *buffer = &self->buffer;
  size_t length;
  const char *bytes = luaL_checklstring(L, 2, &length);
  if (!sf_buffer_append(buffer, bytes, length)) return luaL_error(L, "not enough memory");
  lua_newtable(L);
  sf_sse_event event;
  sf_sse_status status;
  for (int i = 1; (status = sf_sse_next(&self->parser, buffer->data, buffer->length, &event)) == SF_SSE_EVENT; i++) {
    sf_push_event(L, &event);
    lua_rawseti(L, -2, i);
  }
  if (status == SF_SSE_TOO_LARGE) {
    sf_buffer_free(buffer);
    lua_pushnil(L);
    lua_pushliteral(L, "too_large");
    lua_pushvalue(L, -3);
    return 3;
  }
  size_t spent = sf_sse_spent(&self->parser);
  if (spent > 0) memmove(buffer->data, buffer->data + spent, buffer->length -= spent);
  sf_sse_drop(&self->parser, spent);
  return 1;
}

static int sf_sse_gc(lua_State *L)
{
  sf_lua_sse *self = luaL_checkudata(L, 1, SF_SSE_TYPE);
  sf_buffer_free(&self->buffer);
  self->parser.too_large = true; /* a finalizer of somebody else may still feed it: nothing is kept any more */
  return 0;
}

void sf_open_wire(lua_State *L)
{
  static const luaL_Reg sse_methods[] = { { "feed", sf_sse_feed }, { NULL, NULL } };
  sf_new_class(L, SF_SSE_TYPE, sse_methods, sf_sse_gc);
  static const luaL_Reg functions[] = { { "header", sf_wire_header },
                                        { "headers", sf_wire_headers },
                                        { "retry_after", sf_wire_retry_after },
                                        { "duration", sf_wire_duration },
                                        { "status_verdict", sf_wire_status_verdict },
                                        { "hinted", sf_wire_hinted },
                                        { "members", sf_wire_members },
                                        { "base64_floats", sf_wire_base64_floats },
                                        { "sse", sf_wire_sse },
                                        { NULL, NULL } };
  luaL_setfuncs(L, functions, 0);
  lua_createtable(L, SF_KIND_COUNT, 0);
  for (int i = 0; i < SF_KIND_COUNT; i++) {
    lua_pushstring(L, sf_kind_name((sf_kind)i));
    lua_rawseti(L, -2, i + 1);
  }
  lua_setfield(L, -2, "kinds");
}
