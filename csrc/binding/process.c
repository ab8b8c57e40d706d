/*
 * process.c: core.process: what the command line needs of the system and Lua does not have. Nothing here is used by clients.
 * What the system refuses comes back as nil and its words.
 */
#define _GNU_SOURCE /* initgroups */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <netdb.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "objects.h"

static int refuse(lua_State *L, const char *why)
{
  lua_pushnil(L);
  lua_pushstring(L, why);
  return 2;
}

/* ---- this process, and what it becomes */

/* process.exec(words, unset) -> nil, why: becomes another program, without these variables of the environment. */
static int process_exec(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TTABLE);
  int count = (int)lua_rawlen(L, 1), hidden = lua_istable(L, 2) ? (int)lua_rawlen(L, 2) : 0;
  luaL_argcheck(L, count > 0, 1, "a list of words expected");
  lua_settop(L, 2);
  luaL_checkstack(L, count + 2, NULL);
  char **words = lua_newuserdata(L, ((size_t)count + 1) * sizeof *words);
  for (int i = 0; i < count; i++) {
    lua_rawgeti(L, 1, i + 1);
    words[i] = (char *)(uintptr_t)luaL_checkstring(L, -1);
  }
  words[count] = NULL;
  for (int i = 1; i <= hidden; i++) {
    lua_rawgeti(L, 2, i);
    unsetenv(luaL_checkstring(L, -1));
    lua_pop(L, 1);
  }
  fflush(NULL);
  execvp(words[0], words);
  return refuse(L, strerror(errno));
}

/* process.directory() -> where it runs */
static int process_directory(lua_State *L)
{
  char path[PATH_MAX];
  if (getcwd(path, sizeof path) == NULL) return refuse(L, strerror(errno));
  lua_pushstring(L, path);
  return 1;
}

/* process.user(name) -> { id, name, group }: that user, or whom this process runs as */
static int process_user(lua_State *L)
{
  const char *name = luaL_optstring(L, 1, NULL);
  const struct passwd *user = name != NULL ? getpwnam(name) : getpwuid(geteuid());
  if (name != NULL && user == NULL) return refuse(L, "there is no such user");
  lua_createtable(L, 0, 3);
  sf_set_count(L, "id", user != NULL ? user->pw_uid : geteuid());
  if (user == NULL) return 1; /* in a container, say */
  sf_set_string(L, "name", user->pw_name);
  const struct group *group = getgrgid(user->pw_gid);
  if (group != NULL) sf_set_string(L, "group", group->gr_name);
  return 1;
}

/* In the child: becomes the user, and looks. */
static int look_as(const struct passwd *user, const char *path)
{
  if (initgroups(user->pw_name, user->pw_gid) != 0 || setgid(user->pw_gid) != 0 || setuid(user->pw_uid) != 0) return 2;
  return access(path, R_OK) == 0 ? 0 : 1;
}

/* process.can_read(path, name) -> whether that user can; who is not root can only ask for itself */
static int process_can_read(lua_State *L)
{
  const char *path = luaL_checkstring(L, 1);
  const struct passwd *user = getpwnam(luaL_checkstring(L, 2));
  if (user == NULL) return refuse(L, "there is no such user");
  if (user->pw_uid == geteuid()) {
    lua_pushboolean(L, access(path, R_OK) == 0);
    return 1;
  }
  int status = 0;
  pid_t child = fork();
  if (child == 0) _exit(look_as(user, path));
  if (child < 0) return refuse(L, strerror(errno));
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  if (!WIFEXITED(status) || WEXITSTATUS(status) == 2) return refuse(L, "only root can look as another user");
  lua_pushboolean(L, WEXITSTATUS(status) == 0);
  return 1;
}

/* ---- terminals */

/* process.is_terminal(fd) -> boolean */
static int process_is_terminal(lua_State *L)
{
  lua_pushboolean(L, isatty((int)luaL_checkinteger(L, 1)));
  return 1;
}

/* process.window(fd) -> columns, rows; nothing where it is no terminal, or does not know */
static int process_window(lua_State *L)
{
  struct winsize size = { 0 };
  if (ioctl((int)luaL_checkinteger(L, 1), TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 0;
  lua_pushinteger(L, size.ws_col);
  lua_pushinteger(L, size.ws_row);
  return 2;
}

/* ---- folders */

/* process.make_folder(prefix) -> path of a new folder that begins so, for its owner alone */
static int process_make_folder(lua_State *L)
{
  char path[4096];
  int length = snprintf(path, sizeof path, "%sXXXXXX", luaL_checkstring(L, 1));
  if (length < 0 || (size_t)length >= sizeof path) return refuse(L, strerror(ENAMETOOLONG));
  if (mkdtemp(path) == NULL) return refuse(L, strerror(errno));
  lua_pushstring(L, path);
  return 1;
}

/* process.allow(path, mode) -> true: sets the permissions of a file or folder, as octal text like "711" */
static int process_allow(lua_State *L)
{
  const char *text = luaL_checkstring(L, 2);
  char *end;
  unsigned long mode = strtoul(text, &end, 8);
  luaL_argcheck(L, *text != '\0' && *end == '\0' && mode <= 0777, 2, "permissions expected, like \"700\"");
  if (chmod(luaL_checkstring(L, 1), (mode_t)mode) != 0) return refuse(L, strerror(errno));
  lua_pushboolean(L, true);
  return 1;
}

/*
 * Away from the terminal's signals and from everybody's pipes, it waits for the end of `holders`; then the folder goes, or
 * the socket, unless it is another one by then.
 */
static void remove_at_end(int holders, const char *path, const struct stat *was, int keeps)
{
  char byte;
  struct stat is;
  int nothing = open("/dev/null", O_RDWR);
  setsid();
  if (keeps >= 0) close(keeps);
  for (int signal_number = 1; signal_number <= SIGTERM; signal_number++) signal(signal_number, SIG_IGN);
  for (int fd = 0; nothing >= 0 && fd <= STDERR_FILENO; fd++) dup2(nothing, fd);
  while (read(holders, &byte, 1) < 0 && errno == EINTR) continue;
  if (S_ISSOCK(was->st_mode)) {
    if (lstat(path, &is) == 0 && is.st_dev == was->st_dev && is.st_ino == was->st_ino) unlink(path);
    _exit(0);
  }
  execlp("rm", "rm", "-rf", "--", path, (char *)NULL);
  _exit(127);
}

/*
 * process.remove_after(path, fd) -> true: the folder or socket is removed once this process, and whoever inherits from it,
 * has ended; the one who does that does not hold the fd
 */
static int process_remove_after(lua_State *L)
{
  const char *path = luaL_checkstring(L, 1);
  int keeps = (int)luaL_optinteger(L, 2, -1);
  struct stat was;
  int ends[2];
  luaL_argcheck(L, path[0] == '/' && path[1] != '\0', 1, "an absolute path expected");
  if (lstat(path, &was) != 0 || pipe(ends) != 0) return refuse(L, strerror(errno));
  pid_t child = fork();
  if (child == 0) {
    close(ends[1]);
    pid_t keeper = fork(); /* nobody has to wait for it */
    if (keeper == 0) remove_at_end(ends[0], path, &was, keeps);
    _exit(keeper > 0 ? 0 : 1);
  }
  int error = errno, status = 1;
  close(ends[0]);
  while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  if (child < 0 || status != 0) {
    close(ends[1]);
    return refuse(L, strerror(child < 0 ? error : EAGAIN));
  }
  lua_pushboolean(L, true); /* ends[1] stays open, in whatever this becomes and in its children */
  return 1;
}

/* ---- addresses */

static bool can_bind(const struct addrinfo *address)
{
  int yes = 1, fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (address->ai_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof yes);
  bool bound = bind(fd, address->ai_addr, address->ai_addrlen) == 0;
  int error = errno;
  close(fd);
  errno = error;
  return bound;
}

/* process.can_listen(host, port) -> true: nobody else does, and this process may */
static int process_can_listen(lua_State *L)
{
  const char *host = luaL_checkstring(L, 1), *port = luaL_checkstring(L, 2);
  const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
  struct addrinfo *list;
  int problem = getaddrinfo(host, port, &hints, &list);
  if (problem != 0) return refuse(L, gai_strerror(problem));
  int error = 0;
  for (const struct addrinfo *each = list; each != NULL && error == 0; each = each->ai_next)
    if (!can_bind(each)) error = errno;
  freeaddrinfo(list);
  if (error != 0) return refuse(L, strerror(error));
  lua_pushboolean(L, true);
  return 1;
}

/* Whether a socket lies there that nobody listens on: who did was killed. */
static bool is_deserted(const struct sockaddr_un *address)
{
  struct stat status;
  if (lstat(address->sun_path, &status) != 0 || !S_ISSOCK(status.st_mode)) return false;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); /* who is busy is not waited for */
  bool deserted = fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof *address) != 0 &&
                  errno == ECONNREFUSED;
  if (fd >= 0) close(fd);
  return deserted;
}

/* process.listen(path, mode) -> fd of a new socket there, with the permissions that octal text says; it is inherited */
static int process_listen(lua_State *L)
{
  size_t length;
  const char *path = luaL_checklstring(L, 1, &length), *text = luaL_checkstring(L, 2);
  char *end;
  unsigned long mode = strtoul(text, &end, 8);
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  luaL_argcheck(L, *text != '\0' && *end == '\0' && mode <= 0777, 2, "permissions expected, like \"600\"");
  if (length >= sizeof address.sun_path) return refuse(L, strerror(ENAMETOOLONG));
  memcpy(address.sun_path, path, length);
  if (is_deserted(&address)) unlink(path);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  if (fd < 0) return refuse(L, strerror(errno));
  mode_t before = umask((mode_t)(~mode & 0777));
  bool bound = bind(fd, (const struct sockaddr *)&address, sizeof address) == 0 && listen(fd, SOMAXCONN) == 0;
  int error = errno;
  umask(before);
  if (!bound) {
    close(fd);
    return refuse(L, strerror(error));
  }
  lua_pushinteger(L, fd);
  return 1;
}

/* ---- interrupts */

static volatile sig_atomic_t interrupts, last_interrupt;

static void note(int signal_number)
{
  interrupts++;
  last_interrupt = signal_number;
}

/*
 * process.catch_interrupts(on): from now on SIGINT and SIGTERM are counted, and end a wait of the engine, instead of the
 * process; or no longer.
 */
static int process_catch_interrupts(lua_State *L)
{
  struct sigaction action = { .sa_handler = lua_toboolean(L, 1) ? note : SIG_DFL }; /* no SA_RESTART: waits shall end */
  sigemptyset(&action.sa_mask);
  interrupts = 0;
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
  return 0;
}

/* process.interrupts() -> how many came since, the number of the last one's signal */
static int process_interrupts(lua_State *L)
{
  lua_pushinteger(L, interrupts);
  lua_pushinteger(L, last_interrupt);
  return 2;
}

void sf_open_process(lua_State *L)
{
  static const luaL_Reg functions[] = {
    { "exec", process_exec },
    { "directory", process_directory },
    { "user", process_user },
    { "can_read", process_can_read },
    { "is_terminal", process_is_terminal },
    { "window", process_window },
    { "make_folder", process_make_folder },
    { "allow", process_allow },
    { "remove_after", process_remove_after },
    { "can_listen", process_can_listen },
    { "listen", process_listen },
    { "catch_interrupts", process_catch_interrupts },
    { "interrupts", process_interrupts },
    { NULL, NULL },
  };
  lua_newtable(L);
  luaL_setfuncs(L, functions, 0);
  lua_setfield(L, -2, "process");
}
