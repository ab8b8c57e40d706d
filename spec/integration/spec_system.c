/* spec_system.c: what specs need of the system and Lua has not: fork, poll, timers that interrupt, what it cost. Built by
 * spec/support/build.lua as the module "spec_system". */
#include <lauxlib.h>
#include <lua.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int luaopen_spec_system(lua_State *L);

static volatile sig_atomic_t ticks;

static void on_tick(int number)
{
  (void)number;
  ticks++;
}

static int system_fork(lua_State *L)
{
  lua_pushinteger(L, fork());
  return 1;
}

/* wait(pid) -> exit status, or 128 + the signal that ended it */
static int system_wait(lua_State *L)
{
  int status = 0;
  if (waitpid((pid_t)luaL_checkinteger(L, 1), &status, 0) < 0) return luaL_error(L, "no such child");
  lua_pushinteger(L, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
  return 1;
}

/* exit(status): at once, nothing is closed or flushed */
static int system_exit(lua_State *L)
{
  _exit((int)luaL_checkinteger(L, 1));
}

/* poll(fd, seconds) -> whether it became readable */
static int system_poll(lua_State *L)
{
  struct pollfd one = { .fd = (int)luaL_checkinteger(L, 1), .events = POLLIN };
  lua_pushboolean(L, poll(&one, 1, (int)(luaL_checknumber(L, 2) * 1000 + 0.999)) > 0);
  return 1;
}

/* nest(fd) -> an epoll fd that watches fd */
static int system_nest(lua_State *L)
{
  struct epoll_event event = { .events = EPOLLIN };
  int outer = epoll_create1(EPOLL_CLOEXEC);
  if (outer < 0 || epoll_ctl(outer, EPOLL_CTL_ADD, (int)luaL_checkinteger(L, 1), &event) != 0)
    return luaL_error(L, "epoll failed");
  lua_pushinteger(L, outer);
  return 1;
}

static int system_close(lua_State *L)
{
  lua_pushboolean(L, close((int)luaL_checkinteger(L, 1)) == 0);
  return 1;
}

/* tick(seconds): a signal every so often that interrupts system calls; 0 ends it. Returns how many came so far. */
static int system_tick(lua_State *L)
{
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = on_tick;
  sigaction(SIGALRM, &action, NULL);
  suseconds_t micro = (suseconds_t)(luaL_checknumber(L, 1) * 1e6);
  struct itimerval timer = { { 0, micro }, { 0, micro } };
  setitimer(ITIMER_REAL, &timer, NULL);
  lua_pushinteger(L, ticks);
  return 1;
}

/* cost() -> CPU seconds, voluntary context switches */
static int system_cost(lua_State *L)
{
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  lua_pushnumber(L, (lua_Number)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                        (lua_Number)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
  lua_pushinteger(L, usage.ru_nvcsw);
  return 2;
}

int luaopen_spec_system(lua_State *L)
{
  static const luaL_Reg functions[] = {
    { "fork", system_fork }, { "wait", system_wait },   { "exit", system_exit }, { "poll", system_poll },
    { "nest", system_nest }, { "close", system_close }, { "tick", system_tick }, { "cost", system_cost },
  };
  lua_newtable(L);
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    lua_pushcfunction(L, functions[i].func);
    lua_setfield(L, -2, functions[i].name);
  }
  return 1;
}
