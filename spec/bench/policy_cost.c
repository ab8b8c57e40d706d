/*
 * policy_cost.c: what a policy costs per call, in C: one rate limiter check (granted and refused), one breaker permit with
 * its report, and one sample of the hedge estimator, without and with the delay being read after it (its reckonings are in
 * the figure). `now` moves by a microsecond per operation and is made, not read: no clock is in the figures.
 *
 *   policy_cost OPERATIONS        prints one line of JSON, nanoseconds per operation
 */
#include "../../csrc/policy/breaker.h"
#include "../../csrc/policy/gcra.h"
#include "../../csrc/policy/hedge.h"
#include "../../csrc/policy/random.h"
#include "load.h"

#include <math.h>

static size_t operations;

static double each(int64_t began)
{
  return (double)(load_now() - began) / (double)operations;
}

static double rate_limiter(double rate, bool granted)
{
  sf_gcra bucket;
  sf_gcra_config config = sf_gcra_config_make(rate, 1);
  size_t grants = 0;
  int64_t now = SF_SECOND;
  sf_gcra_init(&bucket);
  int64_t began = load_now();
  for (size_t i = 0; i < operations; i++) grants += sf_gcra_try(&bucket, &config, now += 1000, 1) == 0;
  double cost = each(began);
  if (granted ? grants != operations : grants > operations / 100 + 1) exit(1);
  return cost;
}

static double breaker(void)
{
  static const sf_breaker_config config = {
    .failure_threshold = 5,
    .failure_ratio = 0.5,
    .min_calls = 20,
    .window_ns = 30 * SF_SECOND,
    .slow_call_ns = 10 * SF_SECOND,
    .slow_ratio = 0.5,
    .recovery_ns = 5 * SF_SECOND,
    .max_recovery_ns = 60 * SF_SECOND,
    .half_open_requests = 1,
    .lease_ns = 120 * SF_SECOND,
    .jitter = 0.1,
  };
  sf_breaker state;
  int64_t now = SF_SECOND, retry_in;
  sf_breaker_init(&state);
  int64_t began = load_now();
  for (size_t i = 0; i < operations; i++) {
    sf_permit permit;
    if (!sf_breaker_allow(&state, &config, now += 1000, &permit, &retry_in)) exit(1);
    sf_breaker_report(&state, &config, now, 0.5, &permit, SF_BREAKER_OK, SF_MILLISECOND);
  }
  return each(began);
}

/* First tokens after 200 ms to 2 s, one in twenty given up: a window of many buckets. */
static double hedge(bool read)
{
  static const sf_hedge_config config = { .quantile = 0.95, .budget = 0.05, .burst = 20, .min_samples = 50 };
  enum { SAMPLES = 8192 };
  static int64_t samples[SAMPLES];
  sf_random random;
  sf_hedge state;
  int64_t now = SF_SECOND, sum = 0;
  sf_random_seed(&random, 1);
  for (size_t i = 0; i < SAMPLES; i++) samples[i] = (int64_t)(2e8 * exp(2.3 * sf_random_unit(&random)));
  sf_hedge_init(&state, &config);
  int64_t began = load_now();
  for (size_t i = 0; i < operations; i++) {
    if (i % 20 == 0) sf_hedge_censored(&state, now += 1000, samples[i % SAMPLES]);
    else sf_hedge_answered(&state, now += 1000, samples[i % SAMPLES]);
    if (read) sum += sf_hedge_delay(&state, &config, now);
  }
  double cost = each(began);
  if (read && sum < (int64_t)operations) exit(1);
  return cost;
}

int main(int argc, char **argv)
{
  operations = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
  if (operations == 0) {
    fprintf(stderr, "usage: policy_cost OPERATIONS\n");
    return 2;
  }
  double granted = rate_limiter(1e6, true), refused = rate_limiter(1, false), permit = breaker();
  double sample = hedge(false), delay = hedge(true);
  printf("{\"rate_limiter_granted\":%.2f,\"rate_limiter_refused\":%.2f,\"breaker\":%.2f,\"hedge_sample\":%.2f,"
         "\"hedge_sample_and_delay\":%.2f}\n",
         granted, refused, permit, sample, delay);
  return 0;
}
