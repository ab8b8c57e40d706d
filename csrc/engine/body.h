/*
 * body.h: a request body of segments, bytes in memory and whole files, which is read while it is sent and may be read
 * again from any place: every attempt sends the same bytes. Its length is known beforehand.
 *
 * A file is opened once; that its name vanishes later does no harm. One that changes while it is needed is a problem, never
 * a body that is shorter or half new. Files are read where the caller stands: a regular file's bytes are there, or a disk
 * away, which is short beside the line they are sent over.
 */
#ifndef SF_BODY_H
#define SF_BODY_H

#include "../policy/base.h"

enum { SF_BODY_PROBLEM_BYTES = 192 };

/* What a body is made of: bytes, or a file. Both, the path too, outlive the body. */
typedef struct sf_body_part {
  const char *bytes; /* NULL: the file at `path` */
  size_t length;
  const char *path;
} sf_body_part;

typedef struct sf_segment {
  sf_body_part part;
  int fd; /* -1: bytes */
  uint64_t start, length;
  int64_t modified_ns; /* the file's time of change when it was opened */
} sf_segment;

typedef struct sf_body {
  uint64_t length;
  char problem[SF_BODY_PROBLEM_BYTES]; /* for people; "" = none yet */
  size_t count;
  sf_segment segments[];
} sf_body;

SF_BEGIN_DECLS

/* Opens the files. NULL: out of memory. With a `problem` it is good for nothing but to be closed. */
sf_body *sf_body_open(const sf_body_part *parts, size_t count);
void sf_body_close(sf_body *body); /* takes NULL */

/* Is every file what it was? Else `problem` says which is not. */
bool sf_body_is_intact(sf_body *body);

/* Up to `size` bytes from `offset` on; how many, 0 only at the end (or for none). -1: see `problem`. */
int64_t sf_body_read(sf_body *body, uint64_t offset, char *to, size_t size);

SF_END_DECLS

#endif
