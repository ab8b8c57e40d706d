/* utf8.c: the check of well-formedness; see utf8.h. */
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

size_t sf_utf8_check(const char *text, size_t length)
{
  const uint8_t *bytes = (const uint8_t *)text;
  size_t at = 0;
  while (at < length) {
    uint64_t word;
    if (length - at >= sizeof word) {
      memcpy(&word, bytes + at, sizeof word);
      if ((word & UINT64_C(0x8080808080808080)) == 0) {
        at += sizeof word;
        continue;
      }
    }
    uint8_t low, high;
    int tail = lead(bytes[at], &low, &high);
    if (tail < 0 || (size_t)tail >= length - at) return at;
    for (int i = 1; i <= tail; i++) {
      if (bytes[at + (size_t)i] < low || bytes[at + (size_t)i] > high) return at;
      low = 0x80;
      high = 0xBF;
    }
    at += (size_t)tail + 1;
  }
  return length;
}
