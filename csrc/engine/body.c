/* body.c: segments of memory and of files, read by offset; see body.h. */
#define _FILE_OFFSET_BITS 64 /* files are larger than memory, also where a long is not */

#include "body.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory.h"

/* False, always. The path comes last: a long one is cut. */
static bool complain(sf_body *body, const char *path, const char *reason)
{
  snprintf(body->problem, sizeof body->problem, "a file of the body: %s: %s", reason, path);
  return false;
}

static int64_t modified(const struct stat *info)
{
  return (int64_t)info->st_mtim.tv_sec * SF_SECOND + info->st_mtim.tv_nsec;
}

static bool segment_is_intact(sf_body *body, const sf_segment *segment)
{
  struct stat info;
  if (segment->fd < 0) return true;
  if (fstat(segment->fd, &info) != 0) return complain(body, segment->part.path, strerror(errno));
  if ((uint64_t)info.st_size == segment->length && modified(&info) == segment->modified_ns) return true;
  return complain(body, segment->part.path, "changed since the request was made");
}

/* Not blocking, for a named pipe would wait for its writer. */
static bool open_file(sf_body *body, sf_segment *segment)
{
  struct stat info;
  char byte;
  const char *path = segment->part.path;
  segment->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (segment->fd < 0 || fstat(segment->fd, &info) != 0) return complain(body, path, strerror(errno));
  if (S_ISDIR(info.st_mode)) return complain(body, path, strerror(EISDIR));
  if (!S_ISREG(info.st_mode)) return complain(body, path, "not a regular file");
  ssize_t got = pread(segment->fd, &byte, 1, 0);
  if (got < 0) return complain(body, path, strerror(errno));
  if ((got > 0) != (info.st_size > 0)) return complain(body, path, "does not tell its size");
  segment->length = (uint64_t)info.st_size;
  segment->modified_ns = modified(&info);
  return true;
}

sf_body *sf_body_open(const sf_body_part *parts, size_t count)
{
  sf_body *body = sf_alloc_zero(sizeof *body + count * sizeof *body->segments);
  if (body == NULL) return NULL;
  while (body->count < count && body->problem[0] == '\0') {
    sf_segment *segment = &body->segments[body->count];
    segment->part = parts[body->count++];
    segment->start = body->length;
    segment->length = segment->part.length;
    segment->fd = -1;
    if (segment->part.bytes == NULL) open_file(body, segment);
    body->length += segment->length;
  }
  return body;
}

void sf_body_close(sf_body *body)
{
  if (body == NULL) return;
  for (size_t i = 0; i < body->count; i++)
    if (body->segments[i].fd >= 0) close(body->segments[i].fd);
  sf_free(body);
}

bool sf_body_is_intact(sf_body *body)
{
  for (size_t i = 0; i < body->count; i++)
    if (!segment_is_intact(body, &body->segments[i])) return false;
  return true;
}

/* Exactly `size` bytes of a segment. The last ones of a file are given only if it is still what it was. */
static bool read_segment(sf_body *body, const sf_segment *segment, uint64_t offset, char *to, size_t size)
{
  if (segment->fd < 0) {
    memcpy(to, segment->part.bytes + offset, size);
    return true;
  }
  for (size_t got = 0; got < size;) {
    ssize_t more = pread(segment->fd, to + got, size - got, (off_t)(offset + got));
    if (more < 0 && errno == EINTR) continue;
    if (more < 0) return complain(body, segment->part.path, strerror(errno));
    if (more == 0) return complain(body, segment->part.path, "became shorter while it was sent");
    got += (size_t)more;
  }
  return offset + size < segment->length || segment_is_intact(body, segment);
}

int64_t sf_body_read(sf_body *body, uint64_t offset, char *to, size_t size)
{
  size_t got = 0;
  for (size_t i = 0; i < body->count && got < size; i++) {
    const sf_segment *segment = &body->segments[i];
    if (offset >= segment->start + segment->length || segment->length == 0) continue;
    uint64_t within = offset - segment->start, left = segment->length - within;
    size_t part = left < size - got ? (size_t)left : size - got;
    if (!read_segment(body, segment, within, to + got, part)) return -1;
    got += part;
    offset += part;
  }
  return (int64_t)got;
}
