/*
 * sink.h: a file that takes the body of an answer while it comes. It is written beside its place, as "path.part", and put
 * there when it is whole; whatever else happens nothing is left behind, and what stood there before stands there still.
 *
 * One writes at a time; another one that begins starts it anew. Writing blocks for as long as the page cache makes it wait.
 */
#ifndef SF_SINK_H
#define SF_SINK_H

#include <sys/types.h>

#include "../policy/base.h"

enum { SF_SINK_PROBLEM_BYTES = 192 };

typedef struct sf_sink {
  int fd;
  pid_t maker; /* a forked child leaves the file alone */
  bool ours;   /* the part is there, and to be removed */
  uint64_t length;
  char problem[SF_SINK_PROBLEM_BYTES]; /* for people; "" = none yet */
  const char *part;                    /* behind `path` */
  char path[];
} sf_sink;

SF_BEGIN_DECLS

/* NULL: out of memory. With a `problem` it is good for nothing but to be closed. */
sf_sink *sf_sink_open(const char *path);
void sf_sink_close(sf_sink *sink); /* takes NULL */

/* Empties it. As of the following, false: see `problem`. */
bool sf_sink_begin(sf_sink *sink);
bool sf_sink_write(sf_sink *sink, const char *data, size_t length);
bool sf_sink_keep(sf_sink *sink);

SF_END_DECLS

#endif
