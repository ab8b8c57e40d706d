/*
 * two_states.c: a host with two Lua states, each with an engine of its own, and calls in both at the same time. Arguments: a
 * base URL, and "finish" or "abandon": whether the states are closed after their calls or in the midst of them.
 */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

static const char begin[] = "require 'spec.helper' surefoot = require 'surefoot'\n"
                            "client = surefoot.new { base_url = url, api_key = 'sk-test-0123456789', model = 'm' }\n"
                            "fd, left = surefoot.pollfd(), 5\n"
                            "for i = 1, 5 do surefoot.spawn(function()\n"
                            "  local said = name .. i\n"
                            "  assert(assert(client:chat(said)).text == 'echo: ' .. said) left = left - 1\n"
                            "end) end\n"
                            "surefoot.step()\n";

static int fail(lua_State *L)
{
  fprintf(stderr, "%s\n", lua_tostring(L, -1));
  return 1;
}

static int number(lua_State *L, const char *name)
{
  lua_getglobal(L, name);
  int value = (int)lua_tonumber(L, -1);
  lua_pop(L, 1);
  return value;
}

int main(int argc, char **argv)
{
  static const char *const names[] = { "one", "two" };
  lua_State *states[2];
  if (argc < 3) return 2;
  for (int i = 0; i < 2; i++) {
    states[i] = luaL_newstate();
    luaL_openlibs(states[i]);
    lua_pushstring(states[i], argv[1]);
    lua_setglobal(states[i], "url");
    lua_pushstring(states[i], names[i]);
    lua_setglobal(states[i], "name");
    if (luaL_dostring(states[i], begin)) return fail(states[i]);
  }
  while (strcmp(argv[2], "finish") == 0 && number(states[0], "left") + number(states[1], "left") > 0) {
    struct pollfd fds[2];
    for (int i = 0; i < 2; i++) fds[i] = (struct pollfd){ .fd = number(states[i], "fd"), .events = POLLIN };
    if (poll(fds, 2, 5000) <= 0) return 3;
    for (int i = 0; i < 2; i++)
      if (fds[i].revents != 0 && luaL_dostring(states[i], "surefoot.step()")) return fail(states[i]);
  }
  lua_close(states[0]);
  if (luaL_dostring(states[1], "assert(surefoot.now() > 0) left = left") != 0) return fail(states[1]);
  if (strcmp(argv[2], "finish") == 0 && luaL_dostring(states[1], "assert(client:chat('again').text == 'echo: again')"))
    return fail(states[1]);
  lua_close(states[1]);
  puts("done");
  return 0;
}
