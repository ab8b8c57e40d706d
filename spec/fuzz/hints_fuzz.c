/*
 * hints_fuzz.c: any bytes as a header block, and as each of the values in it. Nothing may be read past the end (the input has
 * no NUL behind it), and every answer must be within what hints.h promises.
 */
#include "policy/adaptive_rate.h"
#include "wire/hints.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#define NOW 1696004797.0

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
  if (!condition) abort();
}

static void check_word(sf_quota_word word)
{
  require(word.limit == -1 || (word.limit > 0 && isfinite(word.limit)));
  require(word.remaining == -1 || (word.remaining >= 0 && isfinite(word.remaining)));
  require(word.limit < 0 || word.remaining <= word.limit);
  require(word.reset_ns >= -1);
}

static void check_value(sf_slice value)
{
  double number = -1;
  require(sf_retry_after_parse(value, NOW) >= -1);
  require(sf_retry_after_parse(value, -1) >= -1);
  require(sf_http_date_parse(value, NOW) >= -1);
  require(sf_http_date_parse(value, -1) >= -1);
  require(sf_rfc3339_parse(value) >= -1);
  require(sf_duration_parse(value) >= -1);
  if (sf_number_parse(value, &number)) require(number >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  const char *block = (const char *)data;
  check_value((sf_slice){ .data = block, .length = size });
  size_t offset = 0;
  sf_slice name, value;
  while (sf_headers_next(block, size, &offset, &name, &value)) check_value(value);

  static const double clocks[] = { NOW, -1, 0, 1e300, NAN };
  for (size_t i = 0; i < sizeof clocks / sizeof *clocks; i++) {
    sf_retry_hint hint = sf_hints_retry(block, size, clocks[i]);
    require(hint.after_ns == -1 || hint.after_ns > 0);
    require(hint.should_retry >= -1 && hint.should_retry <= 1);
    sf_quota_hint quota = sf_hints_quota(block, size, clocks[i]);
    check_word(quota.requests);
    check_word(quota.tokens);
    sf_adaptive state;
    sf_adaptive_config config = sf_adaptive_config_default();
    sf_adaptive_init(&state);
    sf_adaptive_headers(&state, SF_SECOND, &quota.requests, SF_MILLISECOND, 3);
    require(sf_adaptive_acquire(&state, &config, SF_SECOND) >= 0);
    require(sf_adaptive_rate(&state, &config, SF_SECOND) > 0);
  }
  return 0;
}
