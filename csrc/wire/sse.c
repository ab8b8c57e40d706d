/*
 * sse.c: one pass finds lines and notes where the event's first data and its last name are; only an event of several data
 * lines is walked a second time, when it is whole, to move them together. So each byte is read a constant number of times.
 */
#include "sse.h"

#include <string.h>

void sf_sse_init(sf_sse *sse, size_t limit)
{
  *sse = (sf_sse){ .limit = limit };
}

size_t sf_sse_spent(const sf_sse *sse)
{
  return sse->spent;
}

static size_t rebased(size_t offset, size_t count)
{
  return offset > count ? offset - count : 0;
}

void sf_sse_drop(sf_sse *sse, size_t count)
{
  sse->spent = rebased(sse->spent, count);
  sse->lines.at = rebased(sse->lines.at, count);
  sse->lines.lf = rebased(sse->lines.lf, count);
  sse->lines.cr = rebased(sse->lines.cr, count);
  sse->name = rebased(sse->name, count);
  sse->data = rebased(sse->data, count);
}

/* The first `c` at or behind both offsets, or `to`. */
static inline size_t seek(const char *buffer, size_t at, size_t known, size_t to, char c)
{
  if (known < at) known = at;
  if (known >= to) return to;
  if (buffer[known] == c) return known;
  const char *found = memchr(buffer + known, c, to - known);
  return found ? (size_t)(found - buffer) : to;
}

static inline void swallow_lf(sf_sse_lines *lines, const char *buffer, size_t to)
{
  if (!lines->after_cr || lines->at >= to) return;
  lines->after_cr = false;
  lines->at += buffer[lines->at] == '\n';
}

/* The next whole line is buffer[start..end), and buffer[end] ends it. */
static inline bool next_line(sf_sse_lines *lines, const char *buffer, size_t to, size_t *start, size_t *end)
{
  swallow_lf(lines, buffer, to);
  lines->lf = seek(buffer, lines->at, lines->lf, to, '\n');
  lines->cr = seek(buffer, lines->at, lines->cr, to, '\r');
  *start = lines->at;
  *end = lines->lf < lines->cr ? lines->lf : lines->cr;
  if (*end >= to) return false;
  lines->at = *end + 1;
  lines->after_cr = lines->cr == *end;
  swallow_lf(lines, buffer, to);
  return true;
}

/* Where the line's value begins if its field is this one: behind the colon and one space, or at the end without colon. */
static inline bool read_field(const char *buffer, size_t start, size_t end, const char *key, size_t size, size_t *value)
{
  if (end - start < size || memcmp(buffer + start, key, size) != 0) return false;
  size_t at = start + size;
  if (at < end && buffer[at] != ':') return false;
  at += at < end;
  *value = at + (at < end && buffer[at] == ' ');
  return true;
}

static inline bool is_data(const char *buffer, size_t start, size_t end, size_t *value)
{
  return read_field(buffer, start, end, "data", 4, value);
}

static inline void take_line(sf_sse *sse, const char *buffer, size_t start, size_t end)
{
  size_t value;
  if (is_data(buffer, start, end, &value)) {
    if (sse->data_lines++ > 0) return;
    sse->data = value;
    sse->data_length = end - value;
  } else if (read_field(buffer, start, end, "event", 5, &value)) {
    sse->name = value;
    sse->name_length = end - value;
  }
}

static void reverse(char *data, size_t length)
{
  for (size_t i = 0; i < length / 2; i++) {
    char c = data[i];
    data[i] = data[length - 1 - i];
    data[length - 1 - i] = c;
  }
}

/*
 * Several data lines are joined from the first one on, over what stands between them; a name there is brought in front first.
 * Its line stays behind without it: the rest is as good a sequence of lines as before.
 */
static void bring_name_forward(sf_sse *sse, char *buffer)
{
  size_t skipped = sse->name - sse->data;
  reverse(buffer + sse->data, skipped);
  reverse(buffer + sse->name, sse->name_length);
  reverse(buffer + sse->data, skipped + sse->name_length);
  sse->name = sse->data;
  sse->data += sse->name_length;
}

static void join_data(sf_sse *sse, char *buffer, size_t to)
{
  if (sse->name_length > 0 && sse->name > sse->data) bring_name_forward(sse, buffer);
  size_t start, end, value, joined = sse->data + sse->data_length;
  sf_sse_lines rest = { .at = joined };
  while (next_line(&rest, buffer, to, &start, &end)) {
    if (!is_data(buffer, start, end, &value)) continue;
    buffer[joined++] = '\n';
    memmove(buffer + joined, buffer + value, end - value);
    joined += end - value;
  }
  sse->data_length = joined - sse->data;
}

static inline bool is_empty(const sf_sse *sse)
{
  return sse->data_lines == 0 && sse->name_length == 0;
}

static void give_event(sf_sse *sse, char *buffer, size_t blank, sf_sse_event *event)
{
  if (sse->data_lines > 1) join_data(sse, buffer, blank);
  event->name = (sf_slice){ .data = buffer + sse->name, .length = sse->name_length };
  event->data = (sf_slice){ .data = buffer + sse->data, .length = sse->data_length };
  sse->spent = sse->lines.at;
  sse->name = sse->name_length = sse->data = sse->data_length = sse->data_lines = 0;
}

/* False: it cannot be told yet. */
static bool skip_bom(sf_sse *sse, const char *buffer, size_t length)
{
  static const char bom[] = { '\xEF', '\xBB', '\xBF' };
  size_t here = length < sizeof bom ? length : sizeof bom;
  bool is_bom = here == 0 || memcmp(buffer, bom, here) == 0;
  if (is_bom && here < sizeof bom) return false;
  if (is_bom) sse->spent = sse->lines.at = sizeof bom;
  sse->begun = true;
  return true;
}

sf_sse_status sf_sse_next(sf_sse *sse, char *buffer, size_t length, sf_sse_event *event)
{
  if (sse->too_large) return SF_SSE_TOO_LARGE;
  if (!sse->begun && !skip_bom(sse, buffer, length)) return SF_SSE_MORE;
  size_t start, end;
  while (next_line(&sse->lines, buffer, length, &start, &end)) {
    if (is_empty(sse)) sse->spent = start;
    sse->too_large = end + 1 - sse->spent > sse->limit;
    if (sse->too_large) return SF_SSE_TOO_LARGE;
    if (start < end) {
      take_line(sse, buffer, start, end);
    } else if (!is_empty(sse)) {
      give_event(sse, buffer, end, event);
      return SF_SSE_EVENT;
    }
  }
  if (is_empty(sse)) sse->spent = sse->lines.at;
  sse->too_large = length - sse->spent > sse->limit;
  return sse->too_large ? SF_SSE_TOO_LARGE : SF_SSE_MORE;
}
