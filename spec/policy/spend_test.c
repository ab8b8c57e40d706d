/* spend_test.c: windows against the C library's calendar, and sums that many add to at the same time. */
#define _GNU_SOURCE /* timegm */
#include "../../csrc/policy/random.h"
#include "../../csrc/policy/spend.h"

#include "../engine/check.h"

#include <pthread.h>

static const sf_spend_config hourly = { 1000000, SF_PER_HOUR, 0 }, daily = { 1000000, SF_PER_DAY, 0 },
                             monthly = { 1000000, SF_PER_MONTH, 0 }, total = { 1000000, SF_PER_TOTAL, 0 };

static int64_t at(int year, int month, int day, int hour, int minute, int second)
{
  struct tm civil = { .tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day };
  civil.tm_hour = hour;
  civil.tm_min = minute;
  civil.tm_sec = second;
  return (int64_t)timegm(&civil) * SF_SECOND;
}

static sf_spend fresh(void)
{
  sf_spend spend;
  sf_spend_init(&spend);
  return spend;
}

static void test_spent(void)
{
  sf_spend spend = fresh();
  int64_t noon = at(2026, 3, 31, 12, 0, 0);
  CHECK_IS(sf_spend_peek(&spend, &daily, noon), 0);
  sf_spend_add(&spend, &daily, noon, 999999);
  CHECK_IS(sf_spend_peek(&spend, &daily, noon), 0);
  sf_spend_add(&spend, &daily, noon, 5); /* the last one may go beyond */
  CHECK_IS(sf_spend_spent(&spend, &daily, noon), 1000004);
  CHECK_IS(sf_spend_peek(&spend, &daily, noon), 12 * 3600 * SF_SECOND);
  CHECK_IS(sf_spend_peek(&spend, &daily, at(2026, 3, 31, 23, 59, 59)), SF_SECOND);
  CHECK_IS(sf_spend_peek(&spend, &daily, at(2026, 4, 1, 0, 0, 0)), 0);
  CHECK_IS(sf_spend_spent(&spend, &daily, at(2026, 4, 1, 0, 0, 0)), 0);
  sf_spend_add(&spend, &daily, at(2026, 4, 1, 0, 0, 1), 7);
  CHECK_IS(sf_spend_spent(&spend, &daily, at(2026, 4, 1, 0, 0, 2)), 7);
}

static void test_ends(void)
{
  static const sf_spend_config of_90 = { 1, SF_PER_SECONDS, 90 };
  sf_spend spend = fresh();
  CHECK_IS(sf_spend_resets_in(&spend, &hourly, at(2026, 1, 1, 5, 59, 0)), 60 * SF_SECOND);
  CHECK_IS(sf_spend_resets_in(&spend, &hourly, at(2026, 1, 1, 5, 59, 59) + SF_SECOND / 4), 3 * SF_SECOND / 4);
  CHECK_IS(sf_spend_resets_in(&spend, &of_90, 100 * SF_SECOND), 80 * SF_SECOND);
  CHECK_IS(sf_spend_resets_in(&spend, &monthly, at(2024, 2, 28, 0, 0, 0)), 2 * 86400 * SF_SECOND);
  CHECK_IS(sf_spend_resets_in(&spend, &monthly, at(2100, 2, 28, 0, 0, 0)), 86400 * SF_SECOND);
  CHECK_IS(sf_spend_resets_in(&spend, &monthly, at(2025, 12, 31, 23, 59, 59)), SF_SECOND);
  CHECK_IS(sf_spend_resets_in(&spend, &monthly, -5), 31 * 86400 * SF_SECOND); /* a clock that was never set */
  CHECK(sf_spend_resets_in(&spend, &total, at(2026, 1, 1, 0, 0, 0)) == SF_NEVER);
}

static int64_t end_of_month(int64_t seconds)
{
  time_t time = (time_t)seconds;
  struct tm civil;
  gmtime_r(&time, &civil);
  return at(civil.tm_year + 1900, civil.tm_mon + 2, 1, 0, 0, 0);
}

static void test_months(void)
{
  sf_random random;
  sf_random_seed(&random, 7);
  for (int i = 0; i < 20000; i++) {
    int64_t seconds = (int64_t)(sf_random_next(&random) % (200 * UINT64_C(31556952))), wall = seconds * SF_SECOND;
    int64_t end = end_of_month(seconds);
    sf_spend spend = fresh();
    sf_spend_add(&spend, &monthly, wall, 3);
    CHECK_IS(sf_spend_resets_in(&spend, &monthly, wall), end - wall);
    CHECK_IS(sf_spend_spent(&spend, &monthly, end - 1), 3);
    CHECK_IS(sf_spend_spent(&spend, &monthly, end), 0);
  }
}

static void test_total(void)
{
  sf_spend spend = fresh();
  sf_spend_add(&spend, &total, at(2026, 1, 1, 0, 0, 0), 1000000);
  CHECK(sf_spend_peek(&spend, &total, at(2126, 1, 1, 0, 0, 0)) == SF_NEVER);
  CHECK_IS(sf_spend_spent(&spend, &total, at(2126, 1, 1, 0, 0, 0)), 1000000);
}

/* Otherwise each step over the edge would give the whole sum again. */
static void test_a_clock_that_is_set_back(void)
{
  sf_spend spend = fresh();
  int64_t edge = at(2026, 5, 1, 8, 0, 0);
  sf_spend_add(&spend, &hourly, edge, 1000000);
  CHECK_IS(sf_spend_spent(&spend, &hourly, edge - SF_SECOND), 1000000);
  CHECK_IS(sf_spend_peek(&spend, &hourly, edge - SF_SECOND), 3601 * SF_SECOND);
  sf_spend_add(&spend, &hourly, edge - SF_SECOND, 1);
  CHECK_IS(sf_spend_spent(&spend, &hourly, edge), 1000001);
  int64_t right = at(2026, 4, 1, 0, 0, 0); /* it was wrong by a month: what it said then is forgotten */
  CHECK_IS(sf_spend_peek(&spend, &hourly, right), 0);
  sf_spend_add(&spend, &hourly, right, 2);
  CHECK_IS(sf_spend_spent(&spend, &hourly, right), 2);
}

static void test_sums_stay_in_their_bits(void)
{
  sf_spend spend = fresh();
  sf_spend_config most = { SF_SPEND_MOST, SF_PER_DAY, 0 };
  int64_t wall = at(2026, 5, 1, 8, 0, 0);
  sf_spend_add(&spend, &most, wall, SF_SPEND_MOST - 1);
  CHECK_IS(sf_spend_peek(&spend, &most, wall), 0);
  sf_spend_add(&spend, &most, wall, UINT64_MAX);
  CHECK_IS(sf_spend_spent(&spend, &most, wall), SF_SPEND_MOST);
  CHECK_IS(sf_spend_peek(&spend, &most, wall), 16 * 3600 * SF_SECOND);
}

static sf_spend common;

static void *spend_a_lot(void *context)
{
  for (int i = 0; i < 20000; i++) sf_spend_add(&common, context, SF_SECOND, 3);
  return NULL;
}

static void test_many_spend(void)
{
  pthread_t threads[4];
  common = fresh();
  for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, spend_a_lot, (void *)(uintptr_t)&total);
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  CHECK_IS(sf_spend_spent(&common, &total, SF_SECOND), 4 * 20000 * 3);
}

int main(int argc, char **argv)
{
  static const check_test tests[] = {
    { "refuses until the window ends", test_spent },
    { "windows end with the calendar", test_ends },
    { "months are those of the C library", test_months },
    { "a total never begins anew", test_total },
    { "a clock that is set back", test_a_clock_that_is_set_back },
    { "sums stay in their bits", test_sums_stay_in_their_bits },
    { "many spend at a time", test_many_spend },
  };
  return check_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
