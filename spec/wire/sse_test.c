/*
 * sse_test.c: the event stream parser as its caller in C sees it: what is spent and dropped, where the limit bites, that the
 * buffer may move, and that the work is linear. What the lines mean is spec/wire/sse_spec.lua's.
 */
#include "../../csrc/wire/sse.h"
#include "../engine/check.h"

/* Holds exactly the bytes that it must, in a block of exactly that size, which moves with every byte that comes. */
typedef struct feeder {
  sf_sse sse;
  char *held;
  size_t length, most; /* most: the largest length at SF_SSE_MORE */
  char events[512];    /* "name=data|" of each */
} feeder;

static feeder feeder_make(size_t limit)
{
  feeder f = { .held = NULL };
  sf_sse_init(&f.sse, limit);
  return f;
}

static void feeder_resize(feeder *f, const char *from, size_t length, const char *more, size_t more_length)
{
  char *moved = length + more_length > 0 ? malloc(length + more_length) : NULL;
  if (length > 0) memcpy(moved, from, length);
  if (more_length > 0) memcpy(moved + length, more, more_length);
  free(f->held);
  f->held = moved;
  f->length = length + more_length;
}

static void note_slice(feeder *f, sf_slice slice)
{
  CHECK(slice.length == 0 || (slice.data >= f->held && slice.data + slice.length <= f->held + f->length));
  size_t used = strlen(f->events);
  if (slice.length < sizeof f->events - used) memcpy(f->events + used, slice.data, slice.length);
}

static sf_sse_status feeder_feed(feeder *f, const char *bytes, size_t length)
{
  feeder_resize(f, f->held, f->length, bytes, length);
  sf_sse_event event;
  sf_sse_status status;
  while ((status = sf_sse_next(&f->sse, f->held, f->length, &event)) == SF_SSE_EVENT) {
    note_slice(f, event.name);
    strcat(f->events, "=");
    note_slice(f, event.data);
    strcat(f->events, "|");
  }
  size_t spent = sf_sse_spent(&f->sse);
  CHECK(spent <= f->length);
  feeder_resize(f, f->held + spent, f->length - spent, NULL, 0);
  sf_sse_drop(&f->sse, spent);
  CHECK_IS(sf_sse_spent(&f->sse), 0);
  if (status == SF_SSE_MORE && f->length > f->most) f->most = f->length;
  return status;
}

/* Feeds pieces of this size; true when `wanted` came out, and the last answer was this. */
static bool gives(const char *stream, size_t length, size_t piece, size_t limit, sf_sse_status last, const char *wanted)
{
  feeder f = feeder_make(limit);
  sf_sse_status status = SF_SSE_MORE;
  for (size_t at = 0; at < length; at += piece)
    status = feeder_feed(&f, stream + at, length - at < piece ? length - at : piece);
  bool same = status == last && strcmp(f.events, wanted) == 0;
  if (!same) printf("  in pieces of %zu, limit %zu: status %d, %s\n", piece, limit, (int)status, f.events);
  free(f.held);
  return same;
}

static bool gives_always(const char *stream, size_t limit, sf_sse_status last, const char *wanted)
{
  bool same = true;
  for (size_t piece = 1; piece <= strlen(stream); piece++)
    same = gives(stream, strlen(stream), piece, limit, last, wanted) && same;
  return same;
}

static void test_events(void)
{
  CHECK(gives_always("event: a\ndata: 1\n\ndata: 2\r\rdata: 3\r\n\r\nevent: b\n\ndata", 100, SF_SSE_MORE,
                     "a=1|=2|=3|b=|"));
  CHECK(gives_always("\n\r\r\n:c\n\n", 100, SF_SSE_MORE, ""));
}

static void test_joined_lines(void)
{
  CHECK(gives_always("data: 1\ndata: 2\ndata: 3\n\n", 100, SF_SSE_MORE, "=1\n2\n3|"));
  CHECK(gives_always("data\ndata\r\ndata\rdata:\n\n", 100, SF_SSE_MORE, "=\n\n\n|"));
  CHECK(gives_always("data: 1\r\nevent: name\r\ndata: a line that reaches over it\r\n\r\ndata: 2\n\n", 100, SF_SSE_MORE,
                     "name=1\na line that reaches over it|=2|"));
  CHECK(gives_always("data:1\nevent: gone\ndata:2\nevent: name\nid\ndata:3\n: c\ndata:4\n\n", 100, SF_SSE_MORE,
                     "name=1\n2\n3\n4|"));
  CHECK(gives_always("data:1\ndata:2\nevent:name\n\n", 100, SF_SSE_MORE, "name=1\n2|"));
  CHECK(gives_always("data:1\nevent:name\ndata:2\nevent:\ndata:3\n\n", 100, SF_SSE_MORE, "=1\n2\n3|"));
  CHECK(gives_always("event:data: x\ndata:data: y\ndata:event: z\n\n", 100, SF_SSE_MORE, "data: x=data: y\nevent: z|"));
}

static void test_what_is_spent(void)
{
  sf_sse sse;
  sf_sse_event event;
  char stream[] = "\xEF\xBB\xBF: c\nid: 7\ndata: 1\n: c\n\ndata: 2\r\n\r\n: c\ndata: 3\n";
  size_t length = strlen(stream);
  sf_sse_init(&sse, 100);
  CHECK_IS(sf_sse_next(&sse, NULL, 0, &event), SF_SSE_MORE);
  CHECK_IS(sf_sse_next(&sse, stream, 3, &event), SF_SSE_MORE);
  CHECK_IS(sf_sse_spent(&sse), 3);
  CHECK_IS(sf_sse_next(&sse, stream, 6, &event), SF_SSE_MORE);
  CHECK_IS(sf_sse_spent(&sse), 3); /* the comment's line has not ended */
  CHECK_IS(sf_sse_next(&sse, stream, 7, &event), SF_SSE_MORE);
  CHECK_IS(sf_sse_spent(&sse), 7);
  CHECK_IS(sf_sse_next(&sse, stream, 25, &event), SF_SSE_MORE);
  CHECK_IS(sf_sse_spent(&sse), 13); /* an event is open */
  CHECK_IS(sf_sse_next(&sse, stream, length, &event), SF_SSE_EVENT);
  CHECK_IS(sf_sse_spent(&sse), 26);
  CHECK(event.data.length == 1 && event.data.data == stream + 19);
  CHECK_IS(sf_sse_next(&sse, stream, length, &event), SF_SSE_EVENT);
  CHECK_IS(sf_sse_spent(&sse), 37); /* both bytes of the last CRLF */
  CHECK_IS(sf_sse_next(&sse, stream, length, &event), SF_SSE_MORE);
  CHECK_IS(sf_sse_spent(&sse), 41);

  sf_sse_drop(&sse, 30); /* fewer than spent */
  CHECK_IS(sf_sse_spent(&sse), 11);
  memmove(stream, stream + 30, length -= 30);
  CHECK_IS(sf_sse_next(&sse, stream, length, &event), SF_SSE_MORE);
  stream[length++] = '\n';
  CHECK_IS(sf_sse_next(&sse, stream, length, &event), SF_SSE_EVENT);
  CHECK(event.name.length == 0 && event.data.length == 1 && event.data.data[0] == '3');
  CHECK_IS(sf_sse_spent(&sse), length);
}

static void test_an_event_does_not_wait(void)
{
  sf_sse sse;
  sf_sse_event event;
  char stream[] = "data: 1\r\n\r\ndata: 2\r\r\r\n";
  sf_sse_init(&sse, 100);
  CHECK_IS(sf_sse_next(&sse, stream, 9, &event), SF_SSE_MORE);
  CHECK_IS(sf_sse_next(&sse, stream, 10, &event), SF_SSE_EVENT); /* at the CR */
  CHECK_IS(sf_sse_spent(&sse), 10);
  CHECK_IS(sf_sse_next(&sse, stream, 11, &event), SF_SSE_MORE);
  CHECK_IS(sf_sse_spent(&sse), 11);
  CHECK_IS(sf_sse_next(&sse, stream, 20, &event), SF_SSE_EVENT);
  CHECK_IS(sf_sse_next(&sse, stream, 22, &event), SF_SSE_MORE);
  CHECK_IS(sf_sse_spent(&sse), 22);
}

static void test_limit(void)
{
  static const char *const streams[] = { "data: 12345\n\n", "data: 12345\r\n\r\n", "event: 1\r: 34\ndata\r\n\n" };
  static const size_t sizes[] = { 13, 14, 21 }; /* up to the first character that ends the blank line */
  static const char *const wanted[] = { "=12345|", "=12345|", "1=|" };
  for (size_t i = 0; i < 3; i++) {
    CHECK(gives_always(streams[i], sizes[i], SF_SSE_MORE, wanted[i]));
    CHECK(gives_always(streams[i], sizes[i] - 1, SF_SSE_TOO_LARGE, ""));
  }
  CHECK(gives_always("data: 1\n\ndata: 2\n\ndata: 345678\n\ndata: 4\n\n", 13, SF_SSE_TOO_LARGE, "=1|=2|"));
  CHECK(gives_always("data: 1\n\n: 34567890123", 13, SF_SSE_MORE, "=1|"));
  CHECK(gives_always("data: 1\n\n: 345678901234", 13, SF_SSE_TOO_LARGE, "=1|"));
  CHECK(gives_always("data: 1\n\nunknown: 01234\ndata: 1\n\n", 13, SF_SSE_TOO_LARGE, "=1|"));
  CHECK(gives_always("\xEF\xBB\xBF: 34\n: 34\ndata\n\n", 6, SF_SSE_MORE, "=|"));
  CHECK(gives_always("data: 1\n\n", SIZE_MAX, SF_SSE_MORE, "=1|"));
  CHECK(gives_always("\n", 0, SF_SSE_TOO_LARGE, ""));
}

static void test_too_large_is_for_good(void)
{
  feeder f = feeder_make(10);
  CHECK_IS(feeder_feed(&f, "data: 12345\n", 12), SF_SSE_TOO_LARGE);
  CHECK_IS(feeder_feed(&f, "\n", 1), SF_SSE_TOO_LARGE);
  CHECK_IS(feeder_feed(&f, "data\n\n", 6), SF_SSE_TOO_LARGE);
  CHECK_IS(strlen(f.events), 0);
  free(f.held);
}

static void test_comments_take_no_memory(void)
{
  feeder f = feeder_make(64);
  for (size_t i = 0; i < 100000; i++) CHECK_IS(feeder_feed(&f, ": ping\r\n\r\nretry: 1\n", 19), SF_SSE_MORE);
  CHECK_IS(f.most, 0);
  CHECK_IS(feeder_feed(&f, "data: 1\n", 8), SF_SSE_MORE);
  for (size_t i = 0; i < 8; i++) CHECK_IS(feeder_feed(&f, ": ping\n", 7), SF_SSE_MORE);
  CHECK_IS(feeder_feed(&f, ": ping\n", 7), SF_SSE_TOO_LARGE); /* they count once an event is open */
  CHECK(f.most <= 64);
  free(f.held);
}

static double seconds_since(int64_t began)
{
  return (double)(check_now() - began) / 1e9;
}

/* Gives the parser the first byte, the first two, ..., and the number of events. Slow only when bytes are read again. */
static size_t one_byte_at_a_time(char *stream, size_t length)
{
  sf_sse sse;
  sf_sse_event event;
  size_t events = 0;
  sf_sse_init(&sse, SIZE_MAX);
  for (size_t i = 1; i <= length; i++) {
    while (sf_sse_next(&sse, stream, i, &event) == SF_SSE_EVENT) events++;
  }
  return events;
}

static char *repeated(const char *unit, size_t times)
{
  size_t size = strlen(unit);
  char *stream = malloc(size * times + 1);
  for (size_t i = 0; i < times; i++) memcpy(stream + i * size, unit, size);
  return stream;
}

/* Eight megabytes in each way that could be quadratic: if one is, it takes minutes. */
static void test_linear(void)
{
  enum { SIZE = 8 << 20 };
  static const struct {
    const char *unit;
    size_t events;
  } streams[] = {
    { "x", 0 },
    { "data: x\n", 0 },
    { "data:\nevent:\r", 0 },
    { "data: x\n\n", SIZE / 9 },
    { "data: x\r\r", SIZE / 9 },
    { "data:x\r\n\n", SIZE / 9 },
  };
  int64_t began = check_now();
  for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
    size_t times = SIZE / strlen(streams[i].unit);
    char *stream = repeated(streams[i].unit, times);
    CHECK_IS(one_byte_at_a_time(stream, times * strlen(streams[i].unit)), streams[i].events);
    free(stream);
  }
  CHECK(seconds_since(began) < 30);
}

/* Far line ends of the other kind are looked for once; a long name is moved once. */
static void test_linear_in_one_piece(void)
{
  enum { LINES = 1 << 20, NAME = 4 << 20 };
  sf_sse sse;
  sf_sse_event event;
  static const char *const units[] = { "data:\n", "data:\r" };
  int64_t began = check_now();
  for (size_t i = 0; i < 2; i++) {
    size_t head = NAME + 13, size = head + (size_t)LINES * 6;
    char *lines = repeated(units[i], LINES), *stream = malloc(size + 1);
    memcpy(stream, "data:\nevent:", 12);
    memset(stream + 12, 'n', NAME);
    stream[head - 1] = '\n';
    memcpy(stream + head, lines, size - head);
    stream[size] = units[i][5];
    sf_sse_init(&sse, SIZE_MAX);
    CHECK_IS(sf_sse_next(&sse, stream, size + 1, &event), SF_SSE_EVENT);
    CHECK_IS(event.name.length, NAME);
    CHECK(event.name.data[0] == 'n' && event.name.data[NAME - 1] == 'n');
    CHECK_IS(event.data.length, LINES);
    CHECK(event.data.data[0] == '\n' && event.data.data[LINES - 1] == '\n');
    free(lines);
    free(stream);
  }
  CHECK(seconds_since(began) < 30);
}

int main(int argc, char **argv)
{
  static const check_test tests[] = {
    { "events come at any split", test_events },
    { "data lines are joined in place, whatever stands between", test_joined_lines },
    { "what is spent, and dropping it", test_what_is_spent },
    { "an event does not wait for the LF of its CRLF", test_an_event_does_not_wait },
    { "the limit bites at the same byte at any split", test_limit },
    { "too large is for good", test_too_large_is_for_good },
    { "comments take no memory", test_comments_take_no_memory },
    { "one byte at a time is linear", test_linear },
    { "so is one large piece", test_linear_in_one_piece },
  };
  return check_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
