/*
 * sse_fuzz.c: any bytes as an event stream. The first two bytes of the input are the limit and the seed of the cuts, the rest
 * is the stream: whole, cut, and byte by byte it must give the same events and the same end; these must be those of a plain
 * reading of the lines; and no more may be held than the limit and what just came.
 */
#include "wire/sse.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What came out: each event's name and data with their lengths in front; then how it ended. */
typedef struct outcome {
  char *bytes;
  size_t length;
  sf_sse_status last;
} outcome;

static void require(bool condition)
{
  if (!condition) abort();
}

static void *must(void *block)
{
  require(block != NULL);
  return block;
}

static void note(outcome *to, sf_slice slice)
{
  to->bytes = must(realloc(to->bytes, to->length + sizeof slice.length + slice.length));
  memcpy(to->bytes + to->length, &slice.length, sizeof slice.length);
  if (slice.length > 0) memcpy(to->bytes + to->length + sizeof slice.length, slice.data, slice.length);
  to->length += sizeof slice.length + slice.length;
}

static bool lies_in(sf_slice slice, const char *from, const char *to)
{
  return slice.length == 0 || (slice.data >= from && slice.data + slice.length <= to);
}

/* 0: the whole stream; otherwise pieces of 1 to `most` bytes. */
static size_t next_piece(size_t most, uint32_t *seed, size_t left)
{
  *seed = *seed * 1664525 + 1013904223;
  size_t piece = most == 0 ? left : 1 + (*seed >> 8) % most;
  return piece < left ? piece : left;
}

/* The buffer has exactly the size of what is held, and is another one for each piece. */
static outcome parse(const char *stream, size_t size, size_t limit, size_t most, uint32_t seed)
{
  sf_sse sse;
  sf_sse_event event;
  outcome out = { .last = SF_SSE_MORE };
  char *held = NULL;
  size_t length = 0;
  sf_sse_init(&sse, limit);
  for (size_t at = 0; at < size && out.last == SF_SSE_MORE;) {
    size_t piece = next_piece(most, &seed, size - at), spent = 0;
    char *grown = must(malloc(length + piece));
    if (length > 0) memcpy(grown, held, length);
    memcpy(grown + length, stream + at, piece);
    free(held);
    held = grown;
    length += piece;
    at += piece;
    while ((out.last = sf_sse_next(&sse, held, length, &event)) == SF_SSE_EVENT) {
      require(lies_in(event.name, held + spent, held + length) && lies_in(event.data, held + spent, held + length));
      require(sf_sse_spent(&sse) > spent && sf_sse_spent(&sse) <= length);
      spent = sf_sse_spent(&sse);
      note(&out, event.name);
      note(&out, event.data);
    }
    require(sf_sse_spent(&sse) >= spent && sf_sse_spent(&sse) <= length);
    spent = (seed & 1) != 0 ? sf_sse_spent(&sse) : sf_sse_spent(&sse) / 2; /* or drops fewer */
    require(out.last == SF_SSE_TOO_LARGE || length - sf_sse_spent(&sse) <= limit || length - sf_sse_spent(&sse) < 3);
    memmove(held, held + spent, length -= spent);
    sf_sse_drop(&sse, spent);
  }
  require(out.last == SF_SSE_MORE || sf_sse_next(&sse, held, length, &event) == SF_SSE_TOO_LARGE);
  free(held);
  return out;
}

/* A field's value: what is behind its name, a colon and one space. NULL: another field. */
static const char *value_of(const char *line, size_t *length, const char *name)
{
  size_t size = strlen(name);
  const char *colon = memchr(line, ':', *length);
  if ((colon ? (size_t)(colon - line) : *length) != size || memcmp(line, name, size) != 0) return NULL;
  if (colon == NULL) {
    *length = 0;
    return line;
  }
  size_t skipped = size + 1 + (*length > size + 1 && colon[1] == ' ');
  *length -= skipped;
  return line + skipped;
}

/* Byte by byte and with copies, without a limit. */
static outcome read_plainly(const char *stream, size_t size)
{
  outcome out = { .last = SF_SSE_MORE };
  size_t at = size >= 3 && memcmp(stream, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0, length = 0, lines = 0;
  char *data = must(malloc(size + 1));
  sf_slice name = { .length = 0 };
  for (size_t end = at; end < size; at = ++end) {
    while (end < size && stream[end] != '\n' && stream[end] != '\r') end++;
    if (end == size) break;
    const char *value;
    size_t count = end - at;
    if (count == 0 && (lines > 0 || name.length > 0)) {
      note(&out, name);
      note(&out, (sf_slice){ .data = data, .length = length });
      name.length = length = lines = 0;
    } else if ((value = value_of(stream + at, &count, "data")) != NULL) {
      if (lines++ > 0) data[length++] = '\n';
      memcpy(data + length, value, count);
      length += count;
    } else if (count = end - at, (value = value_of(stream + at, &count, "event")) != NULL) {
      name = (sf_slice){ .data = value, .length = count };
    }
    if (stream[end] == '\r' && end + 1 < size && stream[end + 1] == '\n') end++;
  }
  free(data);
  return out;
}

static void require_same(const outcome *a, outcome b)
{
  require(a->last == b.last && a->length == b.length);
  require(a->length == 0 || memcmp(a->bytes, b.bytes, a->length) == 0);
  free(b.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  if (size < 2) return 0;
  size_t limit = data[0] == 0xFF ? SIZE_MAX : data[0], most = 1 + data[1] % 32;
  const char *stream = (const char *)data + 2;
  size -= 2;
  outcome whole = parse(stream, size, limit, 0, 1);
  require_same(&whole, parse(stream, size, limit, most, data[1]));
  require_same(&whole, parse(stream, size, limit, 1, data[1] ^ 1u));
  outcome plain = read_plainly(stream, size);
  require(plain.length >= whole.length);
  require(whole.length == 0 || memcmp(plain.bytes, whole.bytes, whole.length) == 0);
  require(whole.last == SF_SSE_TOO_LARGE || plain.length == whole.length);
  free(plain.bytes);
  free(whole.bytes);
  return 0;
}
