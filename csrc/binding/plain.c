/*
 * plain.c: core.is_plain, core.utf8_error, core.well_formed, core.between, core.unique_id: small questions about Lua
 * values that are asked for every request or event and cost too much in Lua.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "../engine/engine.h"
#include "../wire/utf8.h"
#include "binding.h"

enum { PLAIN_DEPTH = 60, EXACT_DIGITS = 14 };

#define EXACT_WHOLE 1e14 /* whole numbers below it have at most EXACT_DIGITS digits */

static bool is_plain(lua_State *L, int index, int depth);

static bool is_plain_number(lua_State *L, int index)
{
  double number = lua_tonumber(L, index);
  if (number == floor(number)) return fabs(number) < EXACT_WHOLE;
  char text[32];
  snprintf(text, sizeof text, "%.*g", EXACT_DIGITS, number);
  return isfinite(number) && strchr(text, ',') == NULL && strtod(text, NULL) == number;
}

/* A list without holes, or a table of names only; neither empty (which of the two would it be?) nor with a metatable. */
static bool is_plain_table(lua_State *L, int index, int depth)
{
  size_t elements = lua_rawlen(L, index), count = 0;
  if (depth == 0 || lua_getmetatable(L, index)) return false; /* what is pushed is popped by the outermost caller */
  luaL_checkstack(L, 4, NULL);
  for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1), count++) {
    int key = lua_type(L, -2);
    if (key != (elements > 0 ? LUA_TNUMBER : LUA_TSTRING)) return false;
    size_t length;
    const char *name = key == LUA_TSTRING ? lua_tolstring(L, -2, &length) : NULL;
    if (name != NULL && sf_utf8_check(name, length) != length) return false;
    if (!is_plain(L, lua_gettop(L), depth - 1)) return false;
  }
  return elements > 0 ? count == elements : count > 0;
}

static bool is_plain(lua_State *L, int index, int depth)
{
  size_t length;
  const char *text;
  switch (lua_type(L, index)) {
  case LUA_TSTRING: text = lua_tolstring(L, index, &length); return sf_utf8_check(text, length) == length;
  case LUA_TNUMBER: return is_plain_number(L, index);
  case LUA_TBOOLEAN: return true;
  case LUA_TLIGHTUSERDATA: return lua_touserdata(L, index) == NULL;
  case LUA_TTABLE: return is_plain_table(L, index, depth);
  default: return false;
  }
}

/* core.is_plain(value): would every JSON writer write it, and write it exactly? */
static int core_is_plain(lua_State *L)
{
  luaL_checkany(L, 1);
  lua_settop(L, 1);
  bool plain = is_plain(L, 1, PLAIN_DEPTH);
  lua_settop(L, 1);
  lua_pushboolean(L, plain);
  return 1;
}

/* core.utf8_error(text) -> position of the first byte at fault, or nothing */
static int core_utf8_error(lua_State *L)
{
  size_t length;
  const char *text = luaL_checklstring(L, 1, &length);
  size_t at = sf_utf8_check(text, length);
  if (at == length) return 0;
  lua_pushinteger(L, (lua_Integer)at + 1);
  return 1;
}

/* core.well_formed(text, replacement) -> the text with the replacement wherever it is no UTF-8 */
static int core_well_formed(lua_State *L)
{
  size_t length, width;
  const char *text = luaL_checklstring(L, 1, &length), *replacement = luaL_checklstring(L, 2, &width);
  size_t good = sf_utf8_check(text, length);
  if (good == length) {
    lua_pushvalue(L, 1);
    return 1;
  }
  luaL_Buffer buffer;
  luaL_buffinit(L, &buffer);
  while (good < length) {
    luaL_addlstring(&buffer, text, good);
    luaL_addlstring(&buffer, replacement, width);
    size_t gone = good + sf_utf8_subpart(text + good, length - good);
    text += gone;
    length -= gone;
    good = sf_utf8_check(text, length);
  }
  luaL_addlstring(&buffer, text, length);
  luaL_pushresult(&buffer);
  return 1;
}

/*
 * core.between(data, head, tail) -> what stands between the two, or nothing: data begins or ends otherwise, or what is
 * there is empty or more than the plain characters of a JSON string (a quote, an escape, a control character).
 */
static int core_between(lua_State *L)
{
  size_t length, head_length, tail_length;
  const char *data = luaL_checklstring(L, 1, &length);
  const char *head = luaL_checklstring(L, 2, &head_length), *tail = luaL_checklstring(L, 3, &tail_length);
  if (length <= tail_length || length - tail_length <= head_length) return 0;
  size_t end = length - tail_length;
  if (memcmp(data, head, head_length) != 0 || memcmp(data + end, tail, tail_length) != 0) return 0;
  for (size_t i = head_length; i < end; i++)
    if ((unsigned char)data[i] < 0x20 || data[i] == '"' || data[i] == '\\') return 0;
  lua_pushlstring(L, data + head_length, end - head_length);
  return 1;
}

/* Random bytes are drawn for many ids at a time; a forked child throws away what its parent has drawn. */
typedef struct sf_id_source {
  uint8_t bytes[512];
  size_t used;
  unsigned long generation;
  bool filled;
} sf_id_source;

static void refill(lua_State *L, sf_id_source *source)
{
  source->filled = false;
  for (size_t got = 0; got < sizeof source->bytes;) {
    ssize_t more = getrandom(source->bytes + got, sizeof source->bytes - got, 0);
    if (more < 0 && errno == EINTR) continue;
    if (more < 0) luaL_error(L, "surefoot: the system gives no random bytes");
    got += (size_t)more;
  }
  source->used = 0;
  source->generation = sf_engine_forks();
  source->filled = true;
}

/* core.unique_id() -> a UUID of version 4 */
static int core_unique_id(lua_State *L)
{
  static const char digits[] = "0123456789abcdef";
  sf_id_source *source = lua_touserdata(L, lua_upvalueindex(1));
  if (!source->filled || source->used == sizeof source->bytes || source->generation != sf_engine_forks())
    refill(L, source);
  uint8_t *bytes = source->bytes + source->used;
  char text[36], *to = text;
  source->used += 16;
  bytes[6] = (uint8_t)(0x40 | (bytes[6] & 0x0F));
  bytes[8] = (uint8_t)(0x80 | (bytes[8] & 0x3F));
  for (int i = 0; i < 16; i++) {
    if (i == 4 || i == 6 || i == 8 || i == 10) *to++ = '-';
    *to++ = digits[bytes[i] >> 4];
    *to++ = digits[bytes[i] & 15];
  }
  lua_pushlstring(L, text, sizeof text);
  return 1;
}

void sf_open_plain(lua_State *L)
{
  static const luaL_Reg functions[] = {
    { "is_plain", core_is_plain },
    { "utf8_error", core_utf8_error },
    { "well_formed", core_well_formed },
    { "between", core_between },
    { NULL, NULL },
  };
  luaL_setfuncs(L, functions, 0);
  memset(lua_newuserdata(L, sizeof(sf_id_source)), 0, sizeof(sf_id_source));
  lua_pushcclosure(L, core_unique_id, 1);
  lua_setfield(L, -2, "unique_id");
}
