/* hedge_test.c: the hedge estimator against the definition, its window in count and time, and threads on one state. */
#include "../../csrc/policy/hedge.h"
#include "../../csrc/policy/random.h"

#include "../engine/check.h"

#include <math.h>
#include <pthread.h>

#define MS SF_MILLISECOND
#define WITHIN(got, low, high) CHECK((got) >= (low) && (got) <= (high))

static const sf_hedge_config usual = { .quantile = 0.95, .budget = 0.05, .burst = 20, .min_samples = 50 };
static const sf_hedge_config patient = { .quantile = 0.95, .min_delay_ns = 50 * MS, .min_samples = 50 };

static sf_hedge hedge;

static void answer(int count, int64_t ns)
{
  for (int i = 0; i < count; i++) sf_hedge_answered(&hedge, SF_SECOND, ns);
}

static void give_up(int count, int64_t ns)
{
  for (int i = 0; i < count; i++) sf_hedge_censored(&hedge, SF_SECOND, ns);
}

static int64_t delay(void)
{
  return sf_hedge_delay(&hedge, &usual, SF_SECOND);
}

/* An upper edge: above `ns`, by 1.6 % at most. */
static void about(int64_t got, int64_t ns)
{
  WITHIN(got, ns + 1, ns + ns / 62);
}

/* --- the estimate */

static void test_he7_needs_answers(void)
{
  sf_hedge_init(&hedge, &usual);
  CHECK_IS(delay(), -1);
  for (int i = 0; i < 49; i++) {
    answer(1, 100 * MS);
    give_up(1, 200 * MS);
    CHECK_IS(delay(), -1);
  }
  answer(1, 100 * MS); /* the fiftieth answer counts at once */
  about(delay(), 200 * MS);
  sf_hedge_config one = usual, none = usual, many = usual;
  one.min_samples = 1;
  none.min_samples = 0;
  many.min_samples = 100000;
  sf_hedge_init(&hedge, &one);
  CHECK_IS(sf_hedge_delay(&hedge, &none, 0), -1);
  give_up(1, MS);
  CHECK_IS(sf_hedge_delay(&hedge, &none, 0), -1);
  answer(1, 3 * MS);
  about(sf_hedge_delay(&hedge, &one, 0), 3 * MS);
  sf_hedge_init(&hedge, &many);
  answer(SF_HEDGE_WINDOW - 1, MS);
  CHECK_IS(sf_hedge_delay(&hedge, &many, 0), -1);
  answer(1, MS);
  about(sf_hedge_delay(&hedge, &many, 0), MS);
}

static void test_bounds_of_the_delay(void)
{
  sf_hedge_init(&hedge, &usual);
  answer(100, 20 * MS);
  about(delay(), 20 * MS);
  CHECK_IS(sf_hedge_delay(&hedge, &patient, SF_SECOND), 50 * MS);
  answer(20, SF_SECOND); /* the quantile is 1 s then, 2.5 medians are less */
  sf_hedge_init(&hedge, &usual);
  answer(100, 20 * MS);
  answer(20, SF_SECOND);
  WITHIN(delay(), 50 * MS, 51 * MS);
  sf_hedge_init(&hedge, &usual);
  answer(60, 30 * MS);
  answer(60, 100 * MS); /* the median is the lower of the two in the middle */
  WITHIN(delay(), 75 * MS, 77 * MS);
}

static void test_error_of_the_buckets(void)
{
  for (double ns = 530e3; ns < 4.3e12; ns *= 1.037) {
    sf_hedge_init(&hedge, &usual);
    answer(60, (int64_t)ns);
    about(delay(), (int64_t)ns);
  }
  sf_hedge_init(&hedge, &usual);
  answer(60, -5);
  WITHIN(delay(), 1, 10000);
  sf_hedge_init(&hedge, &usual);
  answer(60, INT64_MAX);
  WITHIN(delay(), 4000 * SF_SECOND, 5000 * SF_SECOND);
}

typedef struct sample {
  int64_t ns;
  bool answered;
} sample;

static int by_time_answers_first(const void *a, const void *b)
{
  const sample *x = a, *y = b;
  if (x->ns != y->ns) return x->ns < y->ns ? -1 : 1;
  return (int)y->answered - (int)x->answered;
}

/* The product limit as Kaplan and Meier wrote it: one factor per answer. */
static int64_t by_definition(sample *samples, int count, double share)
{
  double alive = 1;
  qsort(samples, (size_t)count, sizeof *samples, by_time_answers_first);
  for (int i = 0; i < count; i++) {
    if (samples[i].answered) alive *= 1 - 1.0 / (count - i);
    if (alive <= 1 - share + 1e-9) return samples[i].ns;
  }
  return samples[count - 1].ns;
}

static void test_is_kaplan_and_meiers(void)
{
  sf_random random;
  sf_random_seed(&random, 3);
  int compared = 0;
  for (int round = 0; round < 400; round++) {
    sample samples[SF_HEDGE_WINDOW];
    int count = 100 + round;
    sf_hedge_config config = usual;
    config.quantile = 0.5 + 0.5 * sf_random_unit(&random);
    sf_hedge_init(&hedge, &config);
    double loss = 0.6 * sf_random_unit(&random);
    for (int i = 0; i < count; i++) {
      int64_t ns = (int64_t)(50e6 * pow(1.04, floor(40 * sf_random_unit(&random)))); /* a bucket for each */
      samples[i] = (sample){ ns, sf_random_unit(&random) >= loss };
      if (samples[i].answered) answer(1, ns);
      else give_up(1, ns);
    }
    int64_t got = sf_hedge_delay(&hedge, &config, SF_SECOND);
    if (got < 0) continue; /* too many were given up */
    int64_t median = by_definition(samples, count, 0.5), wanted = by_definition(samples, count, config.quantile);
    if (wanted > 2 * median) continue; /* 2.5 medians may be less */
    about(got, wanted);
    compared++;
  }
  CHECK(compared > 300);
}

static void test_without_losers_it_is_the_quantile(void)
{
  sf_hedge_init(&hedge, &usual);
  for (int i = 1; i <= 100; i++) answer(1, (400 + i) * MS);
  about(delay(), 495 * MS);
  sf_hedge_config median = usual, all = usual, nine_tenths = usual;
  median.quantile = 0.5;
  all.quantile = 1;
  about(sf_hedge_delay(&hedge, &median, SF_SECOND), 450 * MS); /* not the one of init */
  about(sf_hedge_delay(&hedge, &all, SF_SECOND), 500 * MS);
  about(delay(), 495 * MS);
  nine_tenths.quantile = 0.9; /* in doubles 1 - 0.9 is below 0.1, and it is the ninetieth answer all the same */
  sf_hedge_init(&hedge, &nine_tenths);
  for (int i = 1; i <= 10; i++) answer(10, (200 + 10 * i) * MS);
  about(sf_hedge_delay(&hedge, &nine_tenths, SF_SECOND), 290 * MS);
}

static void test_those_given_up(void)
{
  sf_hedge_init(&hedge, &usual);
  answer(60, 100 * MS);
  give_up(40, 10 * MS); /* before anybody answered: they say nothing */
  about(delay(), 100 * MS);
  sf_hedge_init(&hedge, &usual);
  answer(60, 100 * MS);
  give_up(40, 180 * MS); /* 0.6 is as far as the curve goes: the longest time stands for the quantile */
  about(delay(), 180 * MS);
  give_up(40, 170 * MS); /* 0.43: for the median as well */
  about(delay(), 180 * MS);
  give_up(60, 600 * MS); /* and an outage does not hide behind 2.5 unknown medians */
  about(delay(), 600 * MS);
  sf_hedge_init(&hedge, &usual);
  answer(60, 100 * MS);
  give_up(40, 600 * MS); /* the median is known: it caps */
  WITHIN(delay(), 250 * MS, 255 * MS);
}

/* --- the window */

/* Samples of `ns` that it takes until the delay is within `low` .. `high`, asked after each. */
static int until(int64_t ns, int64_t low, int64_t high)
{
  for (int count = 0; count <= 2000; count++) {
    int64_t got = delay();
    if (got >= low && got <= high) return count;
    answer(1, ns);
  }
  return -1;
}

/* Whatever the distance to the next reckoning is. */
static void test_regimes(void)
{
  for (int phase = 0; phase < 64; phase++) {
    sf_hedge_init(&hedge, &usual);
    answer(5000 + phase, 50 * MS);
    WITHIN(delay(), 50 * MS, 51 * MS);
    int quantile = until(500 * MS, 120 * MS, 130 * MS); /* it has moved; 2.5 medians hold it */
    WITHIN(quantile, 26, 26 + 63);
    WITHIN(quantile + until(500 * MS, 500 * MS, 510 * MS), 257, 257 + 63); /* so has the median */
    answer(5000 + phase, 500 * MS);
    WITHIN(delay(), 500 * MS, 510 * MS);
    int median = until(50 * MS, 120 * MS, 130 * MS);
    WITHIN(median, 256, 256 + 63);
    WITHIN(median + until(50 * MS, 50 * MS, 51 * MS), 486, 487 + 63);
  }
}

static void test_memory_of_an_hour(void)
{
  int64_t hour = 3600 * SF_SECOND, start = 1000 * SF_SECOND;
  sf_hedge_init(&hedge, &usual);
  for (int i = 0; i < 60; i++) sf_hedge_answered(&hedge, start, 100 * MS);
  about(sf_hedge_delay(&hedge, &usual, start + hour - SF_SECOND), 100 * MS);
  CHECK_IS(sf_hedge_delay(&hedge, &usual, start + hour + 70 * SF_SECOND), -1);
  CHECK_IS(sf_hedge_delay(&hedge, &usual, start), -1); /* a stale now brings nothing back */
  sf_hedge_config median = usual;
  median.quantile = 0.5;
  CHECK_IS(sf_hedge_delay(&hedge, &median, start), -1);
  for (int i = 0; i < 50; i++) {
    CHECK_IS(sf_hedge_delay(&hedge, &usual, start + 2 * hour), -1);
    sf_hedge_answered(&hedge, start + 2 * hour, 200 * MS);
  }
  about(sf_hedge_delay(&hedge, &usual, start + 2 * hour), 200 * MS);
}

static void test_any_now(void)
{
  static const int64_t times[] = { 0, -SF_SECOND, INT64_MIN, SF_SECOND, INT64_MAX, 5 * SF_SECOND };
  sf_hedge_init(&hedge, &usual);
  for (int round = 0; round < 100; round++) {
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
      sf_hedge_answered(&hedge, times[i], times[i]);
      sf_hedge_censored(&hedge, times[i], times[i]);
      CHECK(sf_hedge_delay(&hedge, &usual, times[i]) >= -1);
    }
  }
}

/* --- the bucket */

static void test_bucket_arithmetic(void)
{
  static const double budgets[] = { 1.0 / 3, 0.2, 0.05, 0.03, 0.01, 1.0 / 7, 1 };
  for (size_t i = 0; i < sizeof budgets / sizeof *budgets; i++) {
    sf_hedge_config config = usual;
    config.budget = budgets[i];
    sf_hedge_init(&hedge, &config);
    for (int n = 0; n < 20; n++) CHECK(sf_hedge_withdraw(&hedge, &config));
    CHECK(!sf_hedge_withdraw(&hedge, &config));
    int attempts = (int)ceil(1 / budgets[i] - 1e-9);
    for (int n = 1; n < attempts; n++) sf_hedge_began(&hedge, &config);
    CHECK(!sf_hedge_withdraw(&hedge, &config));
    sf_hedge_began(&hedge, &config);
    CHECK(sf_hedge_withdraw(&hedge, &config));
    CHECK(!sf_hedge_withdraw(&hedge, &config));
  }
}

static void test_bucket_never_holds_more(void)
{
  sf_hedge_init(&hedge, &usual);
  for (int n = 0; n < 1000; n++) sf_hedge_began(&hedge, &usual);
  for (int n = 0; n < 1000; n++) sf_hedge_refund(&hedge, &usual);
  CHECK_IS(hedge.spent, 0);
  CHECK(sf_hedge_withdraw(&hedge, &usual));
  for (int n = 0; n < 19; n++) sf_hedge_began(&hedge, &usual);
  CHECK(hedge.spent > 0);
  sf_hedge_refund(&hedge, &usual); /* no more than what is missing */
  CHECK_IS(hedge.spent, 0);
  int granted = 0;
  while (sf_hedge_withdraw(&hedge, &usual)) granted++;
  CHECK_IS(granted, 20);
  sf_hedge_refund(&hedge, &usual);
  CHECK(sf_hedge_balance(&hedge, &usual) == 1);
  sf_hedge_config odd[] = { { .burst = 1.5, .budget = 0.05 }, { .burst = 0.5 }, { .burst = NAN }, { .burst = -1 } };
  for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
    sf_hedge_init(&hedge, &odd[i]);
    CHECK_IS(sf_hedge_withdraw(&hedge, &odd[i]), i == 0);
    CHECK(!sf_hedge_withdraw(&hedge, &odd[i]));
    sf_hedge_began(&hedge, &odd[i]);
  }
}

static void test_bucket_owes_what_is_charged(void)
{
  sf_hedge_init(&hedge, &usual);
  for (int n = 0; n < 25; n++) sf_hedge_charge(&hedge, &usual);
  CHECK(sf_hedge_balance(&hedge, &usual) == 0 && !sf_hedge_withdraw(&hedge, &usual));
  for (int n = 0; n < 5 * 20; n++) sf_hedge_began(&hedge, &usual); /* what is owed is earned first */
  CHECK(!sf_hedge_withdraw(&hedge, &usual));
  for (int n = 0; n < 20; n++) sf_hedge_began(&hedge, &usual);
  CHECK(sf_hedge_withdraw(&hedge, &usual) && !sf_hedge_withdraw(&hedge, &usual));
  for (int n = 0; n < 1000; n++) sf_hedge_charge(&hedge, &usual);
  for (int n = 0; n < 21 * 20; n++) sf_hedge_began(&hedge, &usual); /* no more than a burst of it is kept */
  CHECK(sf_hedge_withdraw(&hedge, &usual) && !sf_hedge_withdraw(&hedge, &usual));
  sf_hedge_config odd[] = { { .burst = 0 }, { .burst = NAN }, { .burst = -1 } };
  for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
    sf_hedge_init(&hedge, &odd[i]);
    sf_hedge_charge(&hedge, &odd[i]);
    CHECK_IS(hedge.spent, 0);
  }
}

/* --- threads */

#define ROUNDS 300000

static atomic_int granted_to_all, wild;
static const sf_hedge_config shared = { .quantile = 0.95, .budget = 0.25, .burst = 1e6, .min_samples = 50 };

/* Each thread has two durations of its own; a delay is one of the four, or 2.5 medians. */
static void *hammer(void *number)
{
  int64_t own = (40 + 20 * (int)(intptr_t)number) * MS;
  for (int i = 0; i < ROUNDS; i++) {
    sf_hedge_began(&hedge, &shared);
    if (i % 20 == 0) sf_hedge_censored(&hedge, i, own + 5 * MS);
    else sf_hedge_answered(&hedge, i, own);
    int64_t got = sf_hedge_delay(&hedge, &shared, i);
    if (got != -1 && (got < 40 * MS || got > 67 * MS)) atomic_fetch_add(&wild, 1);
    if (!sf_hedge_withdraw(&hedge, &shared)) continue;
    if (i % 3 == 0) sf_hedge_refund(&hedge, &shared);
    else atomic_fetch_add(&granted_to_all, 1);
  }
  return NULL;
}

static void test_two_threads(void)
{
  pthread_t other;
  sf_hedge_init(&hedge, &shared);
  for (int i = 0; i < 1000000; i++) CHECK(sf_hedge_withdraw(&hedge, &shared));
  CHECK(pthread_create(&other, NULL, hammer, (void *)(intptr_t)1) == 0);
  hammer(NULL);
  pthread_join(other, NULL);
  CHECK_IS(hedge.taken, 2 * ROUNDS);
  CHECK_IS(atomic_load(&wild), 0);
  CHECK(sf_hedge_balance(&hedge, &shared) + atomic_load(&granted_to_all) == 2 * ROUNDS * 0.25);
  for (int i = 0; i < SF_HEDGE_WINDOW; i++) CHECK(hedge.window[i] != 0);
  for (int i = 0; i < SF_HEDGE_WINDOW; i++) sf_hedge_answered(&hedge, ROUNDS, 70 * MS);
  about(sf_hedge_delay(&hedge, &shared, ROUNDS), 70 * MS);
}

int main(int argc, char **argv)
{
  static const check_test tests[] = {
    { "V-HE7 no delay before there are enough answers", test_he7_needs_answers },
    { "the delay is at least min_delay and at most 2.5 medians", test_bounds_of_the_delay },
    { "a delay is above its samples by 1.6 % at most", test_error_of_the_buckets },
    { "the curve is Kaplan and Meier's", test_is_kaplan_and_meiers },
    { "without losers it is the quantile of the sample", test_without_losers_it_is_the_quantile },
    { "attempts given up count until then", test_those_given_up },
    { "a new regime is followed within 320 samples", test_regimes },
    { "an hour is remembered, a stale now brings nothing back", test_memory_of_an_hour },
    { "any now and any duration are taken", test_any_now },
    { "so many first attempts earn one hedge", test_bucket_arithmetic },
    { "the bucket never holds more than its burst", test_bucket_never_holds_more },
    { "the bucket owes what is charged, a burst at most", test_bucket_owes_what_is_charged },
    { "two threads lose nothing", test_two_threads },
  };
  return check_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
