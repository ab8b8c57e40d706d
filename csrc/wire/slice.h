/* slice.h: bytes that somebody else owns. */
#ifndef SF_SLICE_H
#define SF_SLICE_H

#include <stddef.h>

typedef struct sf_slice {
  const char *data;
  size_t length;
} sf_slice;

#endif
