/* memory.c: the allocator seam and the byte buffer; see memory.h. */
#include "memory.h"

#include <stdlib.h>

#ifdef SF_FAULTS
static unsigned long made, fail_at;

unsigned long sf_memory_fail(unsigned long n)
{
  unsigned long count = made;
  made = 0;
  fail_at = n;
  return count;
}

static bool refused(void)
{
  return ++made == fail_at;
}
#else
static inline bool refused(void)
{
  return false;
}
#endif

void *sf_alloc(size_t size)
{
  return refused() ? NULL : malloc(size);
}

void *sf_alloc_zero(size_t size)
{
  return refused() ? NULL : calloc(1, size);
}

void *sf_realloc(void *block, size_t size)
{
  return refused() ? NULL : realloc(block, size);
}

void sf_free(void *block)
{
  free(block);
}

char *sf_copy_string(const char *text, size_t length)
{
  char *copy = sf_alloc(length + 1);
  if (copy == NULL) return NULL;
  memcpy(copy, text, length);
  copy[length] = '\0';
  return copy;
}

void sf_wipe(char *secret, size_t length)
{
  memset(secret, 0, length);
  __asm__ __volatile__("" : : "r"(secret) : "memory"); /* somebody may look: the zeros have to be there */
}

bool sf_buffer_reserve(sf_buffer *buffer, size_t length, size_t least)
{
  size_t capacity = buffer->capacity < least ? least : buffer->capacity;
  while (capacity - buffer->length < length) {
    if (capacity > SIZE_MAX / 2) return false;
    capacity *= 2;
  }
  if (capacity == buffer->capacity) return true;
  char *grown = sf_realloc(buffer->data, capacity);
  if (grown == NULL) return false;
  buffer->data = grown;
  buffer->capacity = capacity;
  return true;
}

void sf_buffer_free(sf_buffer *buffer)
{
  sf_free(buffer->data);
  *buffer = (sf_buffer){ 0 };
}
