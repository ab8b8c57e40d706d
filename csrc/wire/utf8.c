/* utf8.c: well-formedness; see utf8.h. */
#include "utf8.h"

#include <string.h>

/* Continuation bytes after this lead byte, and the range of the first of them; -1: no lead byte. */
static int lead(uint8_t byte, uint8_t *low, uint8_t *high)
{
  *low = 0x80;
  *high = 0xBF;
  if (byte < 0x80) return 0;
  if (byte >= 0xC2 && byte <= 0xDF) return 1;
  if (byte >= 0xE0 && byte <= 0xEF) {
    if (byte == 0xE0) *low = 0xA0;
    if (byte == 0xED) *high = 0x9F;
    return 2;
  }
  if (byte >= 0xF0 && byte <= 0xF4) {
    if (byte == 0xF0) *low = 0x90;
    if (byte == 0xF4) *high = 0x8F;
    return 3;
  }
  return -1;
}

/* Whether a character stands at the beginning; *length: its bytes, or those of its beginning that may stand so (at least
 * one). */
static bool character(const uint8_t *bytes, size_t left, size_t *length)
{
  uint8_t low, high;
  int tail = lead(bytes[0], &low, &high);
  *length = 1;
  for (int i = 0; i < tail; i++) {
    if (*length == left || bytes[*length] < low || bytes[*length] > high) return false;
    *length += 1;
    low = 0x80;
    high = 0xBF;
  }
  return tail >= 0;
}

size_t sf_utf8_check(const char *text, size_t length)
{
  const uint8_t *bytes = (const uint8_t *)text;
  size_t at = 0, width;
  while (at < length) {
    uint64_t word;
    if (length - at >= sizeof word) {
      memcpy(&word, bytes + at, sizeof word);
      if ((word & UINT64_C(0x8080808080808080)) == 0) {
        at += sizeof word;
        continue;
      }
    }
    if (!character(bytes + at, length - at, &width)) return at;
    at += width;
  }
  return length;
}

size_t sf_utf8_subpart(const char *text, size_t length)
{
  size_t width = 0;
  if (length > 0) (void)character((const uint8_t *)text, length, &width);
  return width;
}
