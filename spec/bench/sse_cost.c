/*
 * sse_cost.c: what parsing an event stream costs, in C: 64 KiB of it over and over, copied into the buffer in pieces of
 * 16 KiB as they come from the network, or byte by byte. The copy is in the figures; `copy` is its cost alone.
 *
 *   sse_cost MEGABYTES        prints one line of JSON, nanoseconds per event (`copy`: per 200 bytes)
 */
#include "../../csrc/wire/sse.h"

#include <string.h>

#include "load.h"

enum { STREAM = 64 << 10, PIECE = 16 << 10, HELD = 2 * STREAM };

typedef struct stream {
  char bytes[STREAM];
  size_t length, events;
} stream;

/* Events of `size` bytes: a name if wanted, `lines` lines of data, line ends of this kind. */
static void fill(stream *s, size_t size, const char *name, size_t lines, const char *end)
{
  char event[4096];
  size_t length = 0;
  if (name != NULL) length += (size_t)sprintf(event, "event: %s%s", name, end);
  for (size_t line = 1; line <= lines; line++) {
    size_t until = size * line / lines - (line == lines ? 2 : 1) * strlen(end);
    length += (size_t)sprintf(event + length, "data: {\"delta\":\"");
    while (length < until) event[length++] = 'x';
    length += (size_t)sprintf(event + length, "%s", end);
  }
  length += (size_t)sprintf(event + length, "%s", end);
  for (s->length = s->events = 0; s->length + length <= STREAM; s->events++, s->length += length)
    memcpy(s->bytes + s->length, event, length);
}

static double cost(const stream *s, size_t piece, size_t total)
{
  static char held[HELD];
  size_t length = 0, events = 0, rounds = total / s->length + 1;
  sf_sse sse;
  sf_sse_event event;
  sf_sse_init(&sse, SIZE_MAX);
  int64_t began = load_now();
  for (size_t round = 0; round < rounds; round++) {
    for (size_t at = 0; at < s->length; at += piece) {
      size_t count = s->length - at < piece ? s->length - at : piece;
      memcpy(held + length, s->bytes + at, count);
      length += count;
      while (sf_sse_next(&sse, held, length, &event) == SF_SSE_EVENT) events++;
      size_t spent = sf_sse_spent(&sse);
      if (spent > 0) memmove(held, held + spent, length -= spent);
      sf_sse_drop(&sse, spent);
    }
  }
  double taken = (double)(load_now() - began);
  if (events != rounds * s->events || length != 0) exit(1);
  return taken / (double)events;
}

static double copy(const stream *s, size_t total)
{
  static char held[PIECE];
  size_t bytes = 0;
  int64_t began = load_now();
  while (bytes < total) {
    for (size_t at = 0; at + PIECE <= STREAM; at += PIECE, bytes += PIECE) {
      memcpy(held, s->bytes + at, PIECE);
      __asm__ __volatile__("" : : "r"(held) : "memory");
    }
  }
  return (double)(load_now() - began) * 200 / (double)bytes;
}

int main(int argc, char **argv)
{
  size_t total = argc == 2 ? strtoul(argv[1], NULL, 10) << 20 : 0;
  if (total == 0) {
    fprintf(stderr, "usage: sse_cost MEGABYTES\n");
    return 2;
  }
  static stream s;
  fill(&s, 200, NULL, 1, "\n");
  printf("{\"copy\":%.2f,\"data\":%.2f", copy(&s, total), cost(&s, PIECE, total));
  printf(",\"byte_by_byte\":%.2f", cost(&s, 1, total / 64));
  fill(&s, 200, NULL, 1, "\r\n");
  printf(",\"crlf\":%.2f", cost(&s, PIECE, total));
  fill(&s, 200, "content_block_delta", 1, "\n");
  printf(",\"named\":%.2f", cost(&s, PIECE, total));
  fill(&s, 200, NULL, 4, "\n");
  printf(",\"four_lines\":%.2f", cost(&s, PIECE, total));
  fill(&s, 2000, NULL, 1, "\n");
  printf(",\"large\":%.2f}\n", cost(&s, PIECE, total));
  return 0;
}
