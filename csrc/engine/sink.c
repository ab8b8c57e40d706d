/* sink.c: answers into files; see sink.h. */
#define _FILE_OFFSET_BITS 64

#include "sink.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory.h"

/* False, always. */
static bool complain(sf_sink *sink, const char *reason)
{
  snprintf(sink->problem, sizeof sink->problem, "the output's file: %s: %s", reason, sink->path);
  return false;
}

/* What stands there already may be replaced if it is a file as others are. */
static bool may_replace(sf_sink *sink)
{
  struct stat info;
  if (stat(sink->path, &info) != 0) return errno == ENOENT || complain(sink, strerror(errno));
  if (S_ISDIR(info.st_mode)) return complain(sink, strerror(EISDIR));
  return S_ISREG(info.st_mode) || complain(sink, "not a regular file");
}

/* The file that was opened may have been put in its place by the one who had it locked, or removed by anybody. */
static bool is_still_there(const sf_sink *sink)
{
  struct stat opened, named;
  return fstat(sink->fd, &opened) == 0 && lstat(sink->part, &named) == 0 && opened.st_ino == named.st_ino &&
         opened.st_dev == named.st_dev;
}

/* A part that somebody left who is gone is taken over; the lock tells. */
static bool open_part(sf_sink *sink)
{
  for (;;) {
    sink->fd = open(sink->part, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
    if (sink->fd < 0) return complain(sink, strerror(errno));
    if (flock(sink->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
      return complain(sink, "another answer is being written to it");
    sink->ours = is_still_there(sink);
    if (sink->ours) return true;
    close(sink->fd);
  }
}

sf_sink *sf_sink_open(const char *path)
{
  size_t length = strlen(path);
  size_t room = length + sizeof ".part";
  sf_sink *sink = sf_alloc_zero(sizeof *sink + length + 1 + room);
  if (sink == NULL) return NULL;
  char *part = sink->path + length + 1;
  memcpy(sink->path, path, length + 1);
  snprintf(part, room, "%s.part", path);
  sink->part = part;
  sink->fd = -1;
  sink->maker = getpid();
  if (may_replace(sink)) open_part(sink);
  return sink;
}

void sf_sink_close(sf_sink *sink)
{
  if (sink == NULL) return;
  if (sink->ours && sink->maker == getpid() && is_still_there(sink)) unlink(sink->part);
  if (sink->fd >= 0) close(sink->fd);
  sf_free(sink);
}

bool sf_sink_begin(sf_sink *sink)
{
  sink->length = 0;
  if (ftruncate(sink->fd, 0) == 0 && lseek(sink->fd, 0, SEEK_SET) == 0) return true;
  return complain(sink, strerror(errno));
}

bool sf_sink_write(sf_sink *sink, const char *data, size_t length)
{
  while (length > 0) {
    ssize_t written = write(sink->fd, data, length);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return complain(sink, strerror(errno));
    data += written;
    length -= (size_t)written;
    sink->length += (uint64_t)written;
  }
  return true;
}

bool sf_sink_keep(sf_sink *sink)
{
  if (!is_still_there(sink)) return complain(sink, "its part was removed");
  /* closing a copy lets a network file system say what it could not write; the lock stays until all is done */
  int copy = fcntl(sink->fd, F_DUPFD_CLOEXEC, 0);
  if (copy < 0 || close(copy) != 0 || !may_replace(sink) || rename(sink->part, sink->path) != 0)
    return sink->problem[0] != '\0' ? false : complain(sink, strerror(errno));
  sink->ours = false;
  return true;
}
