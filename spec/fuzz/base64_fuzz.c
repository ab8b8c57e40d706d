/*
 * base64_fuzz.c: any bytes are written as base64: into as much memory as was promised, in the alphabet of RFC 4648, so that
 * an independent reader gets them back; and groups of three bytes may be written one after the other.
 */
#include "wire/base64.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
  if (!condition) abort();
}

static uint32_t value_of(char c)
{
  if (c >= 'A' && c <= 'Z') return (uint32_t)(c - 'A');
  if (c >= 'a' && c <= 'z') return (uint32_t)(c - 'a') + 26;
  if (c >= '0' && c <= '9') return (uint32_t)(c - '0') + 52;
  require(c == '+' || c == '/');
  return c == '+' ? 62 : 63;
}

/* In memory of its own, of the promised size: a byte too many is seen. */
static char *encode(const uint8_t *data, size_t size)
{
  char *text = malloc(SF_BASE64_LENGTH(size) + (size == 0));
  require(text != NULL);
  require(sf_base64_encode(data, size, text) == SF_BASE64_LENGTH(size));
  return text;
}

static void check_back(const uint8_t *data, size_t size, const char *text)
{
  size_t length = SF_BASE64_LENGTH(size), padding = (3 - size % 3) % 3;
  uint32_t bits = 0;
  int have = 0;
  for (size_t i = 0; i < length - padding; i++) {
    bits = bits << 6 | value_of(text[i]);
    have += 6;
    if (have < 8) continue;
    have -= 8;
    require(size-- > 0 && *data++ == (uint8_t)(bits >> have));
  }
  require(size == 0 && (bits & ((1U << have) - 1)) == 0);
  for (size_t i = length - padding; i < length; i++) require(text[i] == '=');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  char *whole = encode(data, size);
  size_t cut = size > 0 ? data[0] % (size + 1) / 3 * 3 : 0;
  char *first = encode(data, cut), *second = encode(data + cut, size - cut);
  check_back(data, size, whole);
  require(memcmp(whole, first, SF_BASE64_LENGTH(cut)) == 0);
  require(memcmp(whole + SF_BASE64_LENGTH(cut), second, SF_BASE64_LENGTH(size - cut)) == 0);
  free(whole);
  free(first);
  free(second);
  return 0;
}
