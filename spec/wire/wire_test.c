/* wire_test.c: header blocks, dates, durations, Retry-After and quota, as raw bytes that end where they end. */
#include "../../csrc/wire/hints.h"

#include "../engine/check.h"

#define NOW 1696004797.0 /* Fri, 29 Sep 2023 16:26:37 GMT */

/* The text in memory of its own, without a NUL: a read past the end is seen by the sanitizers. */
static sf_slice exact(const char *text)
{
  static char *last;
  free(last);
  size_t length = strlen(text);
  last = malloc(length > 0 ? length : 1);
  memcpy(last, text, length);
  return (sf_slice){ .data = last, .length = length };
}

static int64_t http_date(const char *text)
{
  return sf_http_date_parse(exact(text), NOW);
}

static int64_t rfc3339(const char *text)
{
  return sf_rfc3339_parse(exact(text));
}

static int64_t duration(const char *text)
{
  return sf_duration_parse(exact(text));
}

static bool same(sf_slice slice, const char *text)
{
  return slice.length == strlen(text) && memcmp(slice.data, text, slice.length) == 0;
}

static void test_headers(void)
{
  sf_slice block = exact("A: 1\r\nno colon\r\n: no name\r\nbad name: x\r\n folded: y\r\nB:\t two \t\r\nC:\nD:4");
  static const char *const wanted[][2] = { { "A", "1" }, { "B", "two" }, { "C", "" }, { "D", "4" } };
  size_t offset = 0, count = 0;
  sf_slice name, value;
  while (sf_headers_next(block.data, block.length, &offset, &name, &value)) {
    CHECK(count < 4);
    CHECK(same(name, wanted[count][0]) && same(value, wanted[count][1]));
    count++;
  }
  CHECK_IS(count, 4);
  CHECK_IS(offset, block.length);
  CHECK(sf_headers_find(block.data, block.length, "b", &value) && same(value, "two"));
  value = (sf_slice){ .data = NULL, .length = 7 };
  CHECK(!sf_headers_find(block.data, block.length, "E", &value));
  CHECK(value.data == NULL && value.length == 7);
  CHECK(!sf_headers_find(NULL, 0, "a", &value));
  CHECK(sf_slice_equals_nocase(exact("Retry-After"), "rETRY-aFTER"));
  CHECK(!sf_slice_equals_nocase(exact("Retry"), "Retry-After"));
  CHECK(!sf_slice_equals_nocase(exact("Retry-After"), "Retry"));
}

static void test_http_dates(void)
{
  CHECK_IS(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), 784111777);
  CHECK_IS(http_date("Sunday, 06-Nov-94 08:49:37 GMT"), 784111777);
  CHECK_IS(http_date("Sun Nov  6 08:49:37 1994"), 784111777);
  CHECK_IS(http_date("Sun Nov 16 08:49:37 1994"), 784975777);
  CHECK_IS(http_date("  Fri, 29 Sep 2023 16:26:37 GMT "), 1696004797);
  CHECK_IS(http_date("Thu, 01 Jan 1970 00:00:00 GMT"), 0);
  CHECK_IS(http_date("Thu, 29 Feb 2024 00:00:00 GMT"), 1709164800);
  CHECK_IS(http_date("Sat, 31 Dec 2016 23:59:60 GMT"), 1483228800);
  CHECK_IS(http_date("Friday, 29-Sep-50 16:26:37 GMT"), 2548081597); /* 2050: within 50 years */
  CHECK_IS(http_date("Friday, 29-Sep-73 16:26:37 GMT"), 3273927997); /* 2073: exactly 50 */
  CHECK_IS(http_date("Friday, 29-Sep-74 16:26:37 GMT"), 149703997);  /* 1974 */
  static const char *const wrong[] = {
    "",
    " ",
    "Zun, 29 Sep 2023 16:26:27 GMT",
    "Fri, 29 Sep 100000 16:26:57 GMT",
    "Fri, 30 Feb 2023 16:26:57 GMT",
    "Fri, 29 Feb 2023 00:00:00 GMT",
    "Fri, 29 Sep 2023 24:00:00 GMT",
    "Fri, 29 Sep 2023 16:60:00 GMT",
    "Fri, 29 Sep 2023 16:26:61 GMT",
    "Fri, 29 Sep 2023 16:26:37",
    "Fri, 29 Sep 2023 16:26:37 PST",
    "Fri, 29 Sep 2023 16:26:37 GMT+1",
    "Fri, 29-Sep 2023 16:26:37 GMT",
    "Fri 29 Sep 2023 16:26:37 GMT",
    "Fri, 29 Zep 2023 16:26:37 GMT",
    "Fri, 29 Sep 1969 16:26:37 GMT",
    "Fri,29 Sep 2023 16:26:37 GMT",
    "Sun Nov 6",
    "Fri",
    "Fri, 00 Sep 2023 16:26:37 GMT",
    "Wed, 2",
  };
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) CHECK_IS(http_date(wrong[i]), -1);
}

static void test_rfc3339(void)
{
  CHECK_IS(rfc3339("2025-08-21T12:41:00Z"), 1755780060);
  CHECK_IS(rfc3339("2025-08-21T12:41:00.123456Z"), 1755780060);
  CHECK_IS(rfc3339("2025-08-21t14:41:00+02:00"), 1755780060);
  CHECK_IS(rfc3339("2025-08-21 07:11:00-05:30"), 1755780060);
  static const char *const wrong[] = { "",
                                       "2025-08-21",
                                       "2025-08-21T12:41:00",
                                       "2025-13-21T12:41:00Z",
                                       "2025-02-30T12:41:00Z",
                                       "2025-08-21T12:41:00.Z",
                                       "2025-08-21T12:41:00+2:00",
                                       "2025-08-21T12:41:00+25:00",
                                       "2025-08-21T12:41:00Zulu",
                                       "1969-12-31T23:59:59Z" };
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) CHECK_IS(rfc3339(wrong[i]), -1);
}

static void test_durations(void)
{
  CHECK_IS(duration("12ms"), 12 * SF_MILLISECOND);
  CHECK_IS(duration("1s"), SF_SECOND);
  CHECK_IS(duration("6m0s"), 360 * SF_SECOND);
  CHECK_IS(duration("1h2m3.5s"), 3723500 * SF_MILLISECOND);
  CHECK_IS(duration("1.5"), 1500 * SF_MILLISECOND);
  CHECK_IS(duration(" 59 "), 59 * SF_SECOND);
  CHECK_IS(duration("0s"), 0);
  CHECK_IS(duration("250us"), 250000);
  CHECK_IS(duration("250\xc2\xb5s"), 250000);
  CHECK_IS(duration("7ns"), 7);
  CHECK_IS(duration("99999999999999999999h"), SF_NEVER);
  static const char *const wrong[] = { "",    "-1",  "-1s", "s",   "1x",   "1s2", "1.s",
                                       ".5s", "1 s", "inf", "nan", "0x10", "1e3", "1h-2m" };
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) CHECK_IS(duration(wrong[i]), -1);
}

static int64_t after(const char *value)
{
  return sf_retry_after_parse(exact(value), NOW);
}

static void test_retry_after_values(void)
{
  CHECK_IS(after("20"), 20 * SF_SECOND);
  CHECK_IS(after("1.5"), 1500 * SF_MILLISECOND);
  CHECK_IS(after("0"), 0);
  CHECK_IS(after("20, 30"), 30 * SF_SECOND);
  CHECK_IS(after("junk, 7"), 7 * SF_SECOND);
  CHECK_IS(after("Fri, 29 Sep 2023 16:26:57 GMT"), 20 * SF_SECOND);
  CHECK_IS(after("Fri, 29 Sep 2023 16:26:37 GMT"), 0);
  CHECK_IS(after("Fri, 29 Sep 2023 16:26:27 GMT"), -1);
  CHECK(after("99999999999999999999999999999999999") > 120 * SF_SECOND);
  CHECK_IS(sf_retry_after_parse(exact("Fri, 29 Sep 2023 16:26:57 GMT"), -1), -1);
  static const char *const wrong[] = { "",    "-10", "+5", "0x10", "5s",  "1e3", "inf",
                                       "nan", "1.",  ".5", "1..2", "5 6", "," };
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) CHECK_IS(after(wrong[i]), -1);
}

static sf_retry_hint hint(const char *block)
{
  sf_slice slice = exact(block);
  return sf_hints_retry(slice.data, slice.length, NOW);
}

static void test_retry_hints(void)
{
  CHECK_IS(hint("retry-after-ms: 1500\r\nretry-after: 9").after_ns, 1500 * SF_MILLISECOND);
  CHECK_IS(hint("Retry-After: 9\nX-MS-Retry-After-MS: 250").after_ns, 250 * SF_MILLISECOND);
  CHECK_IS(hint("retry-after-ms: 0\nretry-after: 9").after_ns, 9 * SF_SECOND);
  CHECK_IS(hint("retry-after-ms: soon\nretry-after: 9").after_ns, 9 * SF_SECOND);
  CHECK_IS(hint("retry-after: 9\nretry-after: 12\nretry-after: x").after_ns, 12 * SF_SECOND);
  CHECK_IS(hint("retry-after: 0").after_ns, -1);
  CHECK_IS(hint("").after_ns, -1);
  /* The server's clock is an hour behind: its Date counts, not ours. */
  CHECK_IS(hint("Date: Fri, 29 Sep 2023 15:26:37 GMT\nRetry-After: Fri, 29 Sep 2023 15:26:57 GMT").after_ns,
           20 * SF_SECOND);
  CHECK_IS(hint("x-should-retry: true").should_retry, 1);
  CHECK_IS(hint("x-should-retry: FALSE").should_retry, 0);
  CHECK_IS(hint("x-should-retry: maybe").should_retry, -1);
  CHECK_IS(hint("x-other: 1").should_retry, -1);
}

static sf_quota_hint quota(const char *block)
{
  sf_slice slice = exact(block);
  return sf_hints_quota(slice.data, slice.length, NOW);
}

static void check_word(sf_quota_word word, double limit, double remaining, int64_t reset_ns)
{
  CHECK_IS(word.limit, limit);
  CHECK_IS(word.remaining, remaining);
  CHECK_IS(word.reset_ns, reset_ns);
}

static void test_quota_of_openai_and_azure(void)
{
  sf_quota_hint told = quota("x-ratelimit-limit-requests: 5000\nx-ratelimit-remaining-requests: 4999\n"
                             "x-ratelimit-reset-requests: 12ms\nx-ratelimit-limit-tokens: 160000\n"
                             "x-ratelimit-remaining-tokens: 159976\nx-ratelimit-reset-tokens: 6m0s");
  check_word(told.requests, 5000, 4999, 12 * SF_MILLISECOND);
  check_word(told.tokens, 160000, 159976, 360 * SF_SECOND);
  told = quota("x-ratelimit-limit-tokens_usage_based: 10\nx-ratelimit-remaining-tokens_usage_based: 3");
  check_word(told.tokens, 10, 3, -1);
  told = quota("x-ratelimit-limit-requests: -1\nx-ratelimit-remaining-requests: -1\nx-ratelimit-reset-requests: 0");
  check_word(told.requests, -1, -1, 0);
  told = quota("x-ratelimit-limit-requests: 0\nx-ratelimit-remaining-requests: 0\nx-ratelimit-reset-requests: 0");
  check_word(told.requests, -1, -1, -1);
  told = quota("x-ratelimit-reset-tokens: 59\nx-ratelimit-remaining-tokens: 7\nx-ratelimit-reset-requests: 1696004800");
  check_word(told.tokens, -1, 7, 59 * SF_SECOND);
  check_word(told.requests, -1, -1, -1);
  told = quota("x-ratelimit-limit-requests: 10\nx-ratelimit-remaining-requests: 12");
  check_word(told.requests, 10, 10, -1);
}

static void test_quota_of_anthropic(void)
{
  sf_quota_hint told = quota(
      "date: Fri, 29 Sep 2023 16:26:37 GMT\nanthropic-ratelimit-requests-limit: 50\n"
      "anthropic-ratelimit-requests-remaining: 0\n"
      "anthropic-ratelimit-requests-reset: 2023-09-29T16:27:37Z\n"
      "anthropic-ratelimit-input-tokens-limit: 1000\nanthropic-ratelimit-input-tokens-remaining: 900\n"
      "anthropic-ratelimit-output-tokens-limit: 100\nanthropic-ratelimit-output-tokens-remaining: 10");
  check_word(told.requests, 50, 0, 60 * SF_SECOND);
  check_word(told.tokens, 100, 10, -1); /* the tighter of the two */
  told = quota("anthropic-ratelimit-requests-limit: 50\nanthropic-ratelimit-requests-reset: 2023-09-29T16:00:00Z");
  check_word(told.requests, 50, -1, 0);
  sf_slice slice = exact("anthropic-ratelimit-requests-reset: 2023-09-29T16:00:00Z");
  check_word(sf_hints_quota(slice.data, slice.length, -1).requests, -1, -1, -1);
}

int main(int argc, char **argv)
{
  static const check_test tests[] = {
    { "headers are walked and found, malformed lines skipped", test_headers },
    { "HTTP-dates in three forms", test_http_dates },
    { "RFC 3339 times", test_rfc3339 },
    { "durations", test_durations },
    { "Retry-After values", test_retry_after_values },
    { "retry hints and their order", test_retry_hints },
    { "quota of OpenAI and Azure", test_quota_of_openai_and_azure },
    { "quota of Anthropic", test_quota_of_anthropic },
  };
  return check_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
