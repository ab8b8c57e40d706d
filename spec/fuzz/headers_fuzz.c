/*
 * headers_fuzz.c: any bytes as a header block. Names and values must be slices of the block, in order, trimmed; the walk
 * must end; what is walked must be found.
 */
#include "wire/headers.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
  if (!condition) abort();
}

static bool is_blank(char c)
{
  return c == ' ' || c == '\t';
}

static void check_slice(sf_slice slice, const char *from, const char *to)
{
  require(slice.data >= from && slice.data + slice.length <= to);
  require(slice.length == 0 || (!is_blank(slice.data[0]) && !is_blank(slice.data[slice.length - 1])));
  require(memchr(slice.data, '\n', slice.length) == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  const char *block = (const char *)data;
  size_t offset = 0, before = 0;
  sf_slice name, value, found;
  while (sf_headers_next(block, size, &offset, &name, &value)) {
    require(offset > before && offset <= size);
    check_slice(name, block + before, block + offset);
    check_slice(value, name.data + name.length + 1, block + offset);
    require(name.length > 0);
    char text[64];
    if (name.length < sizeof text && memchr(name.data, 0, name.length) == NULL) {
      memcpy(text, name.data, name.length);
      text[name.length] = '\0';
      require(sf_slice_equals_nocase(name, text));
      require(sf_headers_find(block, size, text, &found));
      require(found.data <= value.data);
    }
    before = offset;
  }
  require(offset == size);
  return 0;
}
