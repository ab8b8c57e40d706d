/*
 * memory.h: the one allocator seam. Everything the engine owns comes from here, so that a test build (SF_FAULTS) can let
 * every allocation fail in turn. All of it may return NULL; sf_free takes NULL.
 */
#ifndef SF_MEMORY_H
#define SF_MEMORY_H

#include <string.h>

#include "../policy/base.h"

/* Sanitizers and failing allocations shall see every block come and go, so their builds keep none. */
#if defined SF_FAULTS || defined __SANITIZE_ADDRESS__
#define SF_POOL_KEEPS false
#else
#define SF_POOL_KEEPS true
#endif

enum { SF_POOL_MOST = 64 };

/* A growing byte buffer. */
typedef struct sf_buffer {
  char *data;
  size_t length, capacity;
} sf_buffer;

/* Blocks of one kind that wait for their next use; the first word of each is the link. */
typedef struct sf_pool {
  void *first;
  size_t count;
} sf_pool;

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

/* Room for `length` more bytes, in steps of twice the capacity and at least `least` bytes in all. */
bool sf_buffer_reserve(sf_buffer *buffer, size_t length, size_t least);
void sf_buffer_free(sf_buffer *buffer);

static inline bool sf_buffer_append(sf_buffer *buffer, const char *data, size_t length)
{
  if (length > buffer->capacity - buffer->length && !sf_buffer_reserve(buffer, length, 256)) return false;
  if (length > 0) memcpy(buffer->data + buffer->length, data, length);
  buffer->length += length;
  return true;
}

/* NULL: none is kept. What is in the block is what was left there, but for its first word. */
static inline void *sf_pool_take(sf_pool *pool)
{
  void *block = pool->first;
  if (block == NULL) return NULL;
  pool->first = *(void **)block;
  pool->count--;
  return block;
}

/* False: enough are kept, the block is still the caller's. */
static inline bool sf_pool_put(sf_pool *pool, void *block)
{
  if (!SF_POOL_KEEPS || pool->count >= SF_POOL_MOST) return false;
  *(void **)block = pool->first;
  pool->first = block;
  pool->count++;
  return true;
}

SF_END_DECLS

#endif
