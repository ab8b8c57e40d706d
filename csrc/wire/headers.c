/*
 * headers.c: walks the block line by line; a line is a header when a name of visible characters stands before its colon.
 */
#include "headers.h"

#include <string.h>

static char sf_lower(char c)
{
  return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

bool sf_slice_equals_nocase(sf_slice slice, const char *text)
{
  for (size_t i = 0; i < slice.length; i++) {
    if (text[i] == '\0' || sf_lower(slice.data[i]) != sf_lower(text[i])) return false;
  }
  return text[slice.length] == '\0';
}

static sf_slice sf_trim(const char *data, size_t length)
{
  while (length > 0 && (data[0] == ' ' || data[0] == '\t')) {
    data++;
    length--;
  }
  while (length > 0 && (data[length - 1] == ' ' || data[length - 1] == '\t' || data[length - 1] == '\r')) length--;
  return (sf_slice){ .data = data, .length = length };
}

static bool sf_is_name(const char *data, size_t length)
{
  for (size_t i = 0; i < length; i++) {
    if (data[i] <= ' ' || data[i] == 0x7f) return false;
  }
  return length > 0;
}

bool sf_headers_next(const char *block, size_t length, size_t *offset, sf_slice *name, sf_slice *value)
{
  while (*offset < length) {
    const char *line = block + *offset;
    size_t left = length - *offset;
    const char *end = memchr(line, '\n', left);
    size_t size = end ? (size_t)(end - line) : left;
    *offset += end ? size + 1 : size;
    const char *colon = memchr(line, ':', size);
    if (colon == NULL || !sf_is_name(line, (size_t)(colon - line))) continue;
    *name = (sf_slice){ .data = line, .length = (size_t)(colon - line) };
    *value = sf_trim(colon + 1, size - name->length - 1);
    return true;
  }
  return false;
}

bool sf_headers_find(const char *block, size_t length, const char *name, sf_slice *value)
{
  size_t offset = 0;
  sf_slice at, found;
  while (sf_headers_next(block, length, &offset, &at, &found)) {
    if (!sf_slice_equals_nocase(at, name)) continue;
    *value = found;
    return true;
  }
  return false;
}
