/*
 * memory.h: the one allocator seam. Everything the engine owns comes from here, so that a test build (SF_FAULTS) can let
 * every allocation fail in turn. All of it may return NULL; sf_free takes NULL.
 */
#ifndef SF_MEMORY_H
#define SF_MEMORY_H

#include "../policy/base.h"

SF_BEGIN_DECLS

void *sf_alloc(size_t size);      /* not cleared */
void *sf_alloc_zero(size_t size); /* cleared */
void *sf_realloc(void *block, size_t size);
void sf_free(void *block);
char *sf_copy_string(const char *text, size_t length); /* NUL-terminated copy */
void sf_wipe(char *secret, size_t length);             /* overwrites; the compiler may not drop it */

#ifdef SF_FAULTS
/* The n-th allocation from now fails, once; 0 = none. Returns how many were made since the last call. */
unsigned long sf_memory_fail(unsigned long n);
#endif

/* A growing byte buffer. */
typedef struct sf_buffer {
  char *data;
  size_t length, capacity;
} sf_buffer;

bool sf_buffer_append(sf_buffer *buffer, const char *data, size_t length);
void sf_buffer_free(sf_buffer *buffer);

SF_END_DECLS

#endif
