/*
 * hints.c: collects the headers that speak of waiting and of quota in one pass over the block; a table says which header
 * means what.
 */
#include "hints.h"

#include <string.h>

#define SF_RESET_MAX (INT64_C(32) * 86400 * SF_SECOND) /* a later reset is a unix time or junk, not a span */

/* --- Retry-After and its kin */

/* Several numbers in one line (proxies join repeated headers with commas): the largest. -1 when there is none. */
static int64_t sf_largest_number(sf_slice value)
{
  int64_t largest = -1;
  const char *at = value.data, *end = value.data + value.length;
  while (at < end) {
    const char *comma = memchr(at, ',', (size_t)(end - at));
    const char *stop = comma ? comma : end;
    sf_slice piece = { .data = at, .length = (size_t)(stop - at) };
    double number;
    if (sf_number_parse(piece, &number)) largest = sf_time_max(largest, sf_time_from(number * 1e9));
    at = stop + (comma != NULL);
  }
  return largest;
}

int64_t sf_retry_after_parse(sf_slice value, double date_unix)
{
  if (value.length == 0) return -1;
  int64_t at = sf_http_date_parse(value, date_unix);
  if (at < 0) return sf_largest_number(value);
  if (!(date_unix >= 0)) return -1;
  double seconds = (double)at - date_unix;
  return seconds < 0 ? -1 : sf_time_from(seconds * 1e9);
}

/* The clock that dates are measured against: the server's own, else the caller's. */
static double sf_clock_of(const char *block, size_t length, double unix_now)
{
  sf_slice date;
  if (!sf_headers_find(block, length, "date", &date)) return unix_now;
  int64_t at = sf_http_date_parse(date, unix_now);
  return at >= 0 ? (double)at : unix_now;
}

static int sf_truth(sf_slice value, int before)
{
  if (sf_slice_equals_nocase(value, "true")) return 1;
  return sf_slice_equals_nocase(value, "false") ? 0 : before;
}

sf_retry_hint sf_hints_retry(const char *block, size_t length, double unix_now)
{
  static const char *const names[] = { "retry-after-ms", "x-ms-retry-after-ms", "retry-after" };
  int64_t found[] = { -1, -1, -1 };
  sf_retry_hint hint = { .after_ns = -1, .should_retry = -1 };
  double clock = sf_clock_of(block, length, unix_now);
  sf_slice name, value;
  for (size_t offset = 0; sf_headers_next(block, length, &offset, &name, &value);) {
    if (sf_slice_equals_nocase(name, "x-should-retry")) hint.should_retry = sf_truth(value, hint.should_retry);
    for (int i = 0; i < 3; i++) {
      if (!sf_slice_equals_nocase(name, names[i])) continue;
      int64_t ns = i == 2 ? sf_retry_after_parse(value, clock) : sf_largest_number(value);
      if (i != 2 && ns > 0 && ns < SF_NEVER) ns /= 1000;
      found[i] = sf_time_max(found[i], ns);
    }
  }
  for (int i = 0; i < 3 && hint.after_ns <= 0; i++) hint.after_ns = found[i];
  if (hint.after_ns <= 0) hint.after_ns = -1;
  return hint;
}

/* --- quota */

typedef enum {
  SF_QUOTA_REQUESTS,
  SF_QUOTA_TOKENS,
  SF_QUOTA_USAGE,
  SF_QUOTA_INPUT,
  SF_QUOTA_OUTPUT,
  SF_QUOTA_COUNT
} sf_quota_slot;
typedef enum { SF_QUOTA_LIMIT, SF_QUOTA_REMAINING, SF_QUOTA_SPAN, SF_QUOTA_TIME } sf_quota_field;

typedef struct sf_quota_row {
  const char *name;
  sf_quota_slot slot;
  sf_quota_field field;
} sf_quota_row;

#define SF_OPENAI_ROWS(what, slot)                                                                                     \
  { "x-ratelimit-limit-" what, slot, SF_QUOTA_LIMIT }, { "x-ratelimit-remaining-" what, slot, SF_QUOTA_REMAINING },    \
  {                                                                                                                    \
    "x-ratelimit-reset-" what, slot, SF_QUOTA_SPAN                                                                     \
  }
#define SF_ANTHROPIC_ROWS(what, slot)                                                                                  \
  { "anthropic-ratelimit-" what "-limit", slot, SF_QUOTA_LIMIT },                                                      \
      { "anthropic-ratelimit-" what "-remaining", slot, SF_QUOTA_REMAINING },                                          \
  {                                                                                                                    \
    "anthropic-ratelimit-" what "-reset", slot, SF_QUOTA_TIME                                                          \
  }

static const sf_quota_row sf_quota_rows[] = {
  SF_OPENAI_ROWS("requests", SF_QUOTA_REQUESTS),        SF_OPENAI_ROWS("tokens", SF_QUOTA_TOKENS),
  SF_OPENAI_ROWS("tokens_usage_based", SF_QUOTA_USAGE), SF_ANTHROPIC_ROWS("requests", SF_QUOTA_REQUESTS),
  SF_ANTHROPIC_ROWS("tokens", SF_QUOTA_TOKENS),         SF_ANTHROPIC_ROWS("input-tokens", SF_QUOTA_INPUT),
  SF_ANTHROPIC_ROWS("output-tokens", SF_QUOTA_OUTPUT),
};

static void sf_quota_read(sf_quota_word *word, sf_quota_field field, sf_slice value, double clock)
{
  double number;
  int64_t span = -1;
  switch (field) {
  case SF_QUOTA_LIMIT:
    if (sf_number_parse(value, &number)) word->limit = number;
    return;
  case SF_QUOTA_REMAINING:
    if (sf_number_parse(value, &number)) word->remaining = number;
    return;
  case SF_QUOTA_SPAN: span = sf_duration_parse(value); break;
  case SF_QUOTA_TIME: {
    int64_t at = sf_rfc3339_parse(value);
    if (at >= 0 && clock >= 0) span = sf_time_max(0, sf_time_from(((double)at - clock) * 1e9));
  }
  }
  word->reset_ns = span <= SF_RESET_MAX ? span : -1;
}

static const sf_quota_word sf_not_told = { .limit = -1, .remaining = -1, .reset_ns = -1 };

/* A limit of 0 is junk (Azure's Responses API sends it), and so is more left than the limit. */
static sf_quota_word sf_quota_checked(sf_quota_word word)
{
  if (word.limit == 0 || word.limit > 1e15 || word.remaining > 1e15) return sf_not_told;
  if (word.limit > 0 && word.remaining > word.limit) word.remaining = word.limit;
  return word;
}

static bool sf_quota_told(sf_quota_word word)
{
  return word.limit >= 0 || word.remaining >= 0;
}

static double sf_quota_share(sf_quota_word word)
{
  return word.limit > 0 && word.remaining >= 0 ? word.remaining / word.limit : 2;
}

sf_quota_hint sf_hints_quota(const char *block, size_t length, double unix_now)
{
  sf_quota_word words[SF_QUOTA_COUNT] = { sf_not_told, sf_not_told, sf_not_told, sf_not_told, sf_not_told };
  double clock = sf_clock_of(block, length, unix_now);
  sf_slice name, value;
  for (size_t offset = 0; sf_headers_next(block, length, &offset, &name, &value);) {
    for (size_t i = 0; i < sizeof sf_quota_rows / sizeof *sf_quota_rows; i++) {
      const sf_quota_row *row = &sf_quota_rows[i];
      if (sf_slice_equals_nocase(name, row->name)) sf_quota_read(&words[row->slot], row->field, value, clock);
    }
  }
  for (int i = 0; i < SF_QUOTA_COUNT; i++) words[i] = sf_quota_checked(words[i]);
  bool input_tighter = sf_quota_share(words[SF_QUOTA_INPUT]) <= sf_quota_share(words[SF_QUOTA_OUTPUT]);
  sf_quota_word parts = words[input_tighter ? SF_QUOTA_INPUT : SF_QUOTA_OUTPUT];
  sf_quota_hint hint = { .requests = words[SF_QUOTA_REQUESTS], .tokens = words[SF_QUOTA_TOKENS] };
  if (!sf_quota_told(hint.tokens)) hint.tokens = words[SF_QUOTA_USAGE];
  if (!sf_quota_told(hint.tokens)) hint.tokens = parts;
  return hint;
}
