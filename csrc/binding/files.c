/*
 * files.c: core.file and its methods: files as a journal needs them, read anywhere, and appended to, locked, cut and flushed.
 * What the system refuses comes back as nil and its words. A file that is not closed is when it is collected.
 */
#define _FILE_OFFSET_BITS 64
#define _GNU_SOURCE /* O_CLOEXEC with flock */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../engine/memory.h"
#include "objects.h"

#define SF_FILE_TYPE "surefoot.file"

#define LARGEST_READ (16 << 20)
#define LARGEST_OFFSET 9007199254740992.0 /* 2^53: as far as every whole number is one */

typedef struct sf_lua_file {
  int fd;         /* -1: closed */
  char *room;     /* of the last read, to be used again */
  size_t reserve; /* its bytes */
} sf_lua_file;

static sf_lua_file *check_file(lua_State *L)
{
  sf_lua_file *file = sf_check_object(L, 1, SF_FILE_TYPE);
  if (file->fd < 0) luaL_argerror(L, 1, "the file is closed");
  return file;
}

static off_t check_offset(lua_State *L, int arg)
{
  double offset = luaL_checknumber(L, arg);
  luaL_argcheck(L, offset >= 0 && offset <= LARGEST_OFFSET, arg, "0 or more bytes expected");
  return (off_t)offset;
}

static int refused(lua_State *L)
{
  int code = errno;
  lua_pushnil(L);
  lua_pushstring(L, strerror(code));
  lua_pushinteger(L, code);
  return 3;
}

static int outcome(lua_State *L, bool done)
{
  if (!done) return refused(L);
  lua_pushboolean(L, true);
  return 1;
}

/* core.file(path, "read" | "append") -> file | nil, message, errno. To be appended to, it is made where there is none. */
static int core_file(lua_State *L)
{
  static const char *const modes[] = { "read", "append", NULL };
  static const int flags[] = { O_RDONLY, O_RDWR | O_CREAT | O_APPEND };
  const char *path = luaL_checkstring(L, 1);
  int mode = luaL_checkoption(L, 2, NULL, modes);
  sf_lua_file *file = lua_newuserdata(L, sizeof *file);
  *file = (sf_lua_file){ .fd = -1 };
  luaL_getmetatable(L, SF_FILE_TYPE);
  lua_setmetatable(L, -2);
  do file->fd = open(path, flags[mode] | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0666); /* a pipe shall not be waited for */
  while (file->fd < 0 && errno == EINTR);
  return file->fd >= 0 ? 1 : refused(L);
}

/* file:lock() -> true | false: somebody else holds it | nil, message. Held until it is closed, or the process is gone. */
static int file_lock(lua_State *L)
{
  sf_lua_file *file = check_file(L);
  if (flock(file->fd, LOCK_EX | LOCK_NB) == 0) return outcome(L, true);
  if (errno != EWOULDBLOCK) return refused(L);
  lua_pushboolean(L, false);
  return 1;
}

/* file:status() -> { size, modified (text, to the nanosecond), id (text: which file it is), is_regular } | nil, message */
static int file_status(lua_State *L)
{
  struct stat info;
  char text[64];
  if (fstat(check_file(L)->fd, &info) != 0) return refused(L);
  lua_createtable(L, 0, 4);
  sf_set_count(L, "size", (uint64_t)info.st_size);
  snprintf(text, sizeof text, "%lld.%09ld", (long long)info.st_mtim.tv_sec, (long)info.st_mtim.tv_nsec);
  sf_set_string(L, "modified", text);
  snprintf(text, sizeof text, "%llu:%llu", (unsigned long long)info.st_dev, (unsigned long long)info.st_ino);
  sf_set_string(L, "id", text);
  sf_set_flag(L, "is_regular", S_ISREG(info.st_mode));
  return 1;
}

static bool reserve(sf_lua_file *file, size_t bytes)
{
  if (bytes <= file->reserve) return true;
  char *room = sf_realloc(file->room, bytes);
  if (room == NULL) return false;
  file->room = room;
  file->reserve = bytes;
  return true;
}

/* file:read(offset, bytes) -> what stands there: at the end less, then "" | nil, message */
static int file_read(lua_State *L)
{
  sf_lua_file *file = check_file(L);
  off_t offset = check_offset(L, 2);
  lua_Integer bytes = luaL_checkinteger(L, 3);
  luaL_argcheck(L, bytes >= 0 && bytes <= LARGEST_READ, 3, "0 bytes to 16 MiB expected");
  if (!reserve(file, (size_t)bytes)) return luaL_error(L, "not enough memory");
  size_t got = 0;
  while (got < (size_t)bytes) {
    ssize_t more = pread(file->fd, file->room + got, (size_t)bytes - got, offset + (off_t)got);
    if (more < 0 && errno == EINTR) continue;
    if (more < 0) return refused(L);
    if (more == 0) break;
    got += (size_t)more;
  }
  lua_pushlstring(L, file->room != NULL ? file->room : "", got);
  return 1;
}

/* file:append(text) -> true | nil, message: then any part of it may have been written */
static int file_append(lua_State *L)
{
  sf_lua_file *file = check_file(L);
  size_t length;
  const char *text = luaL_checklstring(L, 2, &length);
  while (length > 0) {
    ssize_t written = write(file->fd, text, length);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return refused(L);
    text += written;
    length -= (size_t)written;
  }
  return outcome(L, true);
}

/* file:truncate(size) -> true | nil, message */
static int file_truncate(lua_State *L)
{
  sf_lua_file *file = check_file(L);
  off_t size = check_offset(L, 2);
  int code;
  do code = ftruncate(file->fd, size);
  while (code != 0 && errno == EINTR);
  return outcome(L, code == 0);
}

/* file:sync() -> true: it is on the disk | nil, message */
static int file_sync(lua_State *L)
{
  return outcome(L, fsync(check_file(L)->fd) == 0);
}

static int file_close(lua_State *L)
{
  sf_lua_file *file = sf_check_object(L, 1, SF_FILE_TYPE);
  if (file->fd >= 0) close(file->fd);
  file->fd = -1;
  sf_free(file->room);
  file->room = NULL;
  file->reserve = 0;
  return 0;
}

void sf_open_files(lua_State *L)
{
  static const luaL_Reg functions[] = { { "file", core_file }, { NULL, NULL } };
  static const luaL_Reg methods[] = {
    { "lock", file_lock },         { "status", file_status }, { "read", file_read },   { "append", file_append },
    { "truncate", file_truncate }, { "sync", file_sync },     { "close", file_close }, { NULL, NULL },
  };
  sf_new_class(L, SF_FILE_TYPE, methods, file_close);
  luaL_setfuncs(L, functions, 0);
}
