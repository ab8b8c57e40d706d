/* policy_test.c: what the Lua face cannot show: pure curves, raw words, and threads that meet on one word. */
#include "../../csrc/policy/adaptive_rate.h"
#include "../../csrc/policy/balancer.h"
#include "../../csrc/policy/breaker.h"
#include "../../csrc/policy/retry_rules.h"

#include "../engine/check.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>

#define NEAR(got, wanted, off) CHECK(fabs((got) - (wanted)) <= (off))

/* --- threads: `count` of them begin one function together */

#define THREADS 20

static pthread_barrier_t gate;
static void (*gate_body)(int number);

static void *gate_thread(void *number)
{
  pthread_barrier_wait(&gate);
  gate_body((int)(intptr_t)number);
  return NULL;
}

static void together(int count, void (*body)(int number))
{
  pthread_t threads[THREADS];
  gate_body = body;
  pthread_barrier_init(&gate, NULL, (unsigned)count);
  for (int i = 0; i < count; i++) pthread_create(&threads[i], NULL, gate_thread, (void *)(intptr_t)i);
  for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
  pthread_barrier_destroy(&gate);
}

/* --- random */

static void test_random_is_xoshiro(void)
{
  /* The reference implementation with the state { 1, 2, 3, 4 }. */
  static const uint64_t wanted[] = { 11520, 0, 1509978240, UINT64_C(1215971899390074240) };
  sf_random random = { { 1, 2, 3, 4 } };
  for (int i = 0; i < 4; i++) CHECK(sf_random_next(&random) == wanted[i]);
  sf_random_seed(&random, 0);
  CHECK(random.state[0] == UINT64_C(0xe220a8397b1dcdaf)); /* splitmix64's first word for the seed 0 */
  for (int i = 0; i < 10000; i++) {
    double unit = sf_random_unit(&random);
    CHECK(unit >= 0 && unit < 1);
  }
}

/* --- GCRA */

static sf_gcra gcra_bucket;
static sf_gcra_config gcra_config;
static atomic_int gcra_granted;

static void gcra_body(int number)
{
  (void)number;
  for (int i = 0; i < 5; i++) atomic_fetch_add(&gcra_granted, sf_gcra_try(&gcra_bucket, &gcra_config, 1000, 1) == 0);
}

static void test_gc23_twenty_threads_on_a_frozen_clock(void)
{
  gcra_config = sf_gcra_config_make(20, 20);
  for (int round = 0; round < 50; round++) {
    sf_gcra_init(&gcra_bucket);
    atomic_store(&gcra_granted, 0);
    together(THREADS, gcra_body);
    CHECK_IS(atomic_load(&gcra_granted), 20);
  }
}

static void test_gc24_settle_moves_the_arrival(void)
{
  sf_gcra_config config = { .period_ns = 1, .burst = 1000 };
  sf_gcra bucket = { 0 };
  CHECK_IS(sf_gcra_try(&bucket, &config, 5000, 100), 0);
  sf_gcra_settle(&bucket, &config, 100, 40);
  CHECK_IS(bucket.arrival, 5040);
  sf_gcra_settle(&bucket, &config, 100, 500);
  CHECK_IS(bucket.arrival, 5440);
}

static void test_gcra_saturates(void)
{
  sf_gcra_config config = sf_gcra_config_make(1e-9, 10);
  sf_gcra bucket = { 0 };
  for (int i = 0; i < 100; i++) CHECK(sf_gcra_reserve(&bucket, &config, INT64_C(1) << 60, 10) >= 0);
  CHECK(bucket.arrival > 0);
  sf_gcra_settle(&bucket, &config, 1e30, 0);
  CHECK_IS(bucket.arrival, 0);
  CHECK_IS(sf_gcra_try(&bucket, &config, 0, NAN), SF_NEVER);
}

/* --- CUBIC */

static void test_cu1_the_curve(void)
{
  static const double rows[][2] = { { 0, 7 },         { 0.5, 8.7617 }, { 1, 9.6489 }, { 1.5, 9.9617 },
                                    { 1.957434, 10 }, { 3, 10.4533 },  { 4, 13.4087 } };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    NEAR(sf_cubic_rate(10, 0.7, 0.4, rows[i][0]), rows[i][1], 1e-4);
  NEAR(sf_cubic_rate(8, 0.7, 0.4, 0), 5.6, 1e-9);
  NEAR(sf_cubic_rate(8, 0.7, 0.4, 1.817121), 8, 1e-9);
}

/* --- slow start, EWMA, picks */

static void test_lb7_slow_start(void)
{
  static const double rows[][3] = { { 0, 10, 12.9 },  { 3, 10, 22.4 },    { 6, 10, 31.6 },
                                    { 30, 50, 70.7 }, { 59, 98.3, 99.2 }, { 60, 100, 100 } };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    int64_t age = (int64_t)(rows[i][0] * SF_SECOND);
    NEAR(100 * sf_slow_start(age, 60 * SF_SECOND, 1), rows[i][1], 0.05);
    NEAR(100 * sf_slow_start(age, 60 * SF_SECOND, 2), rows[i][2], 0.05);
  }
}

static void test_lb1_peak_ewma(void)
{
  static const double rows[][3] = {
    { 1, 0.1, 0.914354 }, { 1, 0.1, 0.836858 }, { 1, 2, 2.0 }, { 5, 0.1, 1.252408 }, { 10, 0.1, 0.523947 }
  };
  int64_t decay = 10 * SF_SECOND, now = 100 * SF_SECOND;
  sf_ewma ewma;
  sf_ewma_init(&ewma);
  CHECK_IS(sf_ewma_value(&ewma, now, decay), -1);
  sf_ewma_sample(&ewma, now, SF_SECOND, decay);
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    now += (int64_t)(rows[i][0] * SF_SECOND);
    sf_ewma_sample(&ewma, now, (int64_t)(rows[i][1] * SF_SECOND), decay);
    NEAR((double)sf_ewma_value(&ewma, now, decay) / SF_SECOND, rows[i][2], 1e-6);
  }
  NEAR((double)sf_ewma_value(&ewma, now + 10 * SF_SECOND, decay) / SF_SECOND, 0.192749, 1e-6);
  CHECK_IS(sf_ewma_value(&ewma, now - SF_SECOND, decay), sf_ewma_value(&ewma, now, decay)); /* a stale now */
}

static void test_ewma_clock_wraps(void)
{
  sf_ewma ewma;
  sf_ewma_init(&ewma);
  int64_t decay = 10 * SF_SECOND;
  sf_ewma_sample(&ewma, SF_SECOND, 5 * SF_SECOND, decay);
  CHECK_IS(sf_ewma_value(&ewma, INT64_C(30) * 86400 * SF_SECOND, decay), 0); /* 30 days: past half of the 32 bits */
  sf_ewma_sample(&ewma, INT64_C(30) * 86400 * SF_SECOND, SF_SECOND, decay);
  NEAR((double)sf_ewma_value(&ewma, INT64_C(30) * 86400 * SF_SECOND, decay), 1e9, 100);
}

#define PICKS 100000

static void pick_shares(const sf_candidate *candidates, size_t count, const sf_routing_config *config, double *shares)
{
  sf_random random;
  _Atomic uint64_t turn = 0;
  sf_random_seed(&random, 42);
  memset(shares, 0, count * sizeof *shares);
  for (int i = 0; i < PICKS; i++) {
    int picked = sf_balancer_pick(candidates, count, config, 0, &random, &turn);
    CHECK(picked >= 0 && (size_t)picked < count);
    shares[picked] += 1.0 / PICKS;
  }
}

static void test_lb2_two_choices(void)
{
  static const double wanted[2][5] = { { 2.0 / 3, 1.0 / 3, 0 }, { 0.4, 0.3, 0.2, 0.1, 0 } };
  sf_routing_config config = { .strategy = SF_ROUTE_LATENCY, .decay_ns = 10 * SF_SECOND };
  for (int row = 0; row < 2; row++) {
    size_t count = row == 0 ? 3 : 5;
    sf_ewma ewma[5];
    sf_candidate candidates[5];
    double shares[5];
    for (size_t i = 0; i < count; i++) {
      sf_ewma_init(&ewma[i]);
      sf_ewma_sample(&ewma[i], 0, (int64_t)(i + 1) * SF_SECOND, config.decay_ns);
      candidates[i] = (sf_candidate){ .priority = 1, .weight = 1, .ewma = &ewma[i] };
    }
    pick_shares(candidates, count, &config, shares);
    for (size_t i = 0; i < count; i++) {
      double p = wanted[row][i];
      NEAR(shares[i], p, 4 * sqrt(p * (1 - p) / PICKS) + 1e-12);
    }
  }
}

static void test_lb3_weighted(void)
{
  sf_routing_config config = { .strategy = SF_ROUTE_WEIGHTED };
  sf_candidate candidates[] = { { .priority = 1, .weight = 5 },
                                { .priority = 1, .weight = 3 },
                                { .priority = 1, .weight = 2 } };
  double shares[3];
  pick_shares(candidates, 3, &config, shares);
  NEAR(shares[0], 0.5, 0.00632);
  NEAR(shares[1], 0.3, 0.0058);
  NEAR(shares[2], 0.2, 0.00506);
}

static void test_slow_start_thins_a_returning_line(void)
{
  sf_routing_config config = { .strategy = SF_ROUTE_WEIGHTED, .slow_start_ns = 60 * SF_SECOND };
  sf_candidate candidates[] = { { .priority = 1, .weight = 1 }, { .priority = 1, .weight = 1, .started_at = 1 } };
  double shares[2];
  pick_shares(candidates, 2, &config, shares);
  NEAR(shares[1], 0.1 / 1.1, 0.004);
}

/* --- breaker */

static const sf_breaker_config breaker_config = {
  .failure_threshold = 5,
  .failure_ratio = 0.5,
  .min_calls = 5,
  .window_ns = 10 * SF_SECOND,
  .recovery_ns = SF_SECOND,
  .max_recovery_ns = 100 * SF_SECOND,
  .half_open_requests = 1,
  .lease_ns = 10 * SF_SECOND,
};

static sf_breaker breaker;
static sf_permit permits[THREADS];
static atomic_int round_begun, round_ended, probes;

#define ROUNDS 30000
#define RACERS 3

/* Each round all racers fail at once at the threshold, then all ask for a probe at once. */
static void racing_body(int number)
{
  int64_t retry_in;
  for (int round = 1; round <= ROUNDS; round++) {
    while (atomic_load(&round_begun) < 2 * round - 1) sched_yield();
    sf_breaker_report(&breaker, &breaker_config, SF_SECOND, 0, &permits[number], SF_BREAKER_BAD, -1);
    atomic_fetch_add(&round_ended, 1);
    while (atomic_load(&round_begun) < 2 * round) sched_yield();
    atomic_fetch_add(&probes, sf_breaker_allow(&breaker, &breaker_config, 2 * SF_SECOND, &permits[number], &retry_in));
    atomic_fetch_add(&round_ended, 1);
  }
}

static void let_race(int half_round)
{
  atomic_store(&round_begun, half_round);
  while (atomic_load(&round_ended) < RACERS * half_round) sched_yield();
}

static void referee(void)
{
  for (int round = 1; round <= ROUNDS; round++) {
    int64_t left, retry_in;
    sf_breaker_init(&breaker);
    for (int i = 0; i < 4 + RACERS; i++) {
      CHECK(sf_breaker_allow(&breaker, &breaker_config, SF_SECOND, &permits[(i + RACERS) % (4 + RACERS)], &retry_in));
      if (i < 4) sf_breaker_report(&breaker, &breaker_config, SF_SECOND, 0, &permits[i + RACERS], SF_BREAKER_BAD, -1);
    }
    atomic_store(&probes, 0);
    let_race(2 * round - 1);
    CHECK(sf_breaker_state_at(&breaker, &breaker_config, SF_SECOND, &left) == SF_BREAKER_OPEN && left == SF_SECOND);
    let_race(2 * round);
    CHECK(atomic_load(&probes) == 1);
    sf_permit *probe = permits;
    while (!probe->held) probe++;
    sf_breaker_report(&breaker, &breaker_config, 2 * SF_SECOND, 0, probe, SF_BREAKER_BAD, -1);
    sf_breaker_state_at(&breaker, &breaker_config, 2 * SF_SECOND, &left);
    CHECK(left == 2 * SF_SECOND); /* the second opening: there was one transition before it, not three */
  }
}

static void referee_or_racer(int number)
{
  if (number == RACERS) referee();
  else racing_body(number);
}

static void test_cb13_cb16_one_transition_one_probe(void)
{
  atomic_store(&round_begun, 0);
  atomic_store(&round_ended, 0);
  together(RACERS + 1, referee_or_racer);
}

static void fail_at(int64_t now, int count)
{
  int64_t retry_in;
  for (int i = 0; i < count; i++) {
    sf_permit permit;
    if (!sf_breaker_allow(&breaker, &breaker_config, now, &permit, &retry_in)) continue;
    sf_breaker_report(&breaker, &breaker_config, now, 0, &permit, SF_BREAKER_BAD_RATIO, -1);
  }
}

static bool is_open(int64_t now)
{
  return sf_breaker_state_at(&breaker, &breaker_config, now, NULL) == SF_BREAKER_OPEN;
}

static void test_sw5_sw6_far_and_stale_times(void)
{
  int64_t later = INT64_C(1) << 33; /* widths of 1 ns: the window is 10 ns then */
  sf_breaker_config tiny = breaker_config;
  tiny.window_ns = 10;
  sf_breaker_init(&breaker);
  for (int i = 0; i < 6; i++) {
    int64_t retry_in, now = i < 4 ? 0 : later;
    sf_permit permit;
    CHECK(sf_breaker_allow(&breaker, &tiny, now, &permit, &retry_in));
    sf_breaker_report(&breaker, &tiny, now, 0, &permit, SF_BREAKER_BAD_RATIO, -1);
  }
  CHECK_IS(sf_breaker_state_at(&breaker, &tiny, later, NULL), SF_BREAKER_CLOSED); /* two in the window, not six */
  sf_breaker_init(&breaker);
  fail_at(100 * SF_SECOND, 4);
  fail_at(99 * SF_SECOND, 1); /* a stale now clears nothing, and counts */
  CHECK(is_open(99 * SF_SECOND));
  sf_breaker_init(&breaker);
  fail_at(100 * SF_SECOND, 4);
  fail_at(90 * SF_SECOND, 1); /* one whole window back: the same bucket, which is newer */
  CHECK(is_open(90 * SF_SECOND));
}

static void test_counts_saturate(void)
{
  sf_breaker_config quiet = breaker_config;
  quiet.failure_threshold = 0;
  quiet.failure_ratio = 1;
  sf_breaker_init(&breaker);
  sf_permit permit;
  int64_t retry_in;
  for (int i = 0; i < 1100000; i++) {
    CHECK(sf_breaker_allow(&breaker, &quiet, 0, &permit, &retry_in));
    sf_breaker_report(&breaker, &quiet, 0, 0, &permit, i % 2 ? SF_BREAKER_BAD : SF_BREAKER_OK, -1);
  }
  uint64_t total = breaker.calls[0] >> 20 & 0xfffff, bad = breaker.calls[0] & 0xfffff;
  CHECK(total > 500000);
  NEAR((double)bad / (double)total, 0.5, 0.001);
}

/* --- rules */

static void test_rules_agree_with_themselves(void)
{
  for (int status = -1; status < 1000; status++) {
    sf_verdict verdict = sf_retry_rule_status(status, NULL);
    CHECK(verdict.cls != SF_CLASS_NONE);
    CHECK_IS(sf_retry_rule_outcome(SF_CLASS_NONE, verdict.kind, status), verdict.outcome);
    if (verdict.outcome != SF_OUTCOME_CONFLICT && verdict.cls != SF_CLASS_FINAL)
      CHECK_IS(sf_retry_rule_outcome(verdict.cls, verdict.kind, status), verdict.outcome);
  }
  for (int kind = 0; kind < SF_KIND_COUNT; kind++) CHECK_IS(sf_kind_by_name(sf_kind_name((sf_kind)kind)), kind);
  for (int cls = 0; cls < SF_CLASS_COUNT; cls++) CHECK_IS(sf_class_by_name(sf_class_name((sf_class)cls)), cls);
  CHECK_IS(sf_kind_by_name("no such kind"), -1);
  CHECK_IS(sf_class_by_name(""), -1);
}

static void test_status_set_replaces_whether(void)
{
  sf_status_set set = { .given = false };
  sf_status_set_add(&set, 418);
  sf_status_set_add(&set, 401);
  sf_status_set_add(&set, 700); /* out of range: nothing */
  CHECK_IS(sf_retry_rule_status(418, &set).cls, SF_CLASS_TRANSIENT);
  CHECK_IS(sf_retry_rule_status(401, &set).cls, SF_CLASS_KEY); /* where stays where */
  CHECK_IS(sf_retry_rule_status(500, &set).cls, SF_CLASS_FINAL);
  CHECK_IS(sf_retry_rule_status(500, &set).kind, SF_KIND_SERVER);
  CHECK_IS(sf_retry_rule_status(404, &set).cls, SF_CLASS_FINAL);
  CHECK_IS(sf_retry_rule_status(200, &set).cls, SF_CLASS_ACCEPT);
  CHECK(!sf_status_set_has(&set, 700) && !sf_status_set_has(&set, -1));
}

static void test_should_retry_decides_whether(void)
{
  sf_verdict refused = sf_retry_rule_hinted(sf_retry_rule_status(500, NULL), 0);
  CHECK_IS(refused.cls, SF_CLASS_FINAL);
  CHECK_IS(refused.outcome, SF_OUTCOME_SERVER_ERROR);
  sf_verdict asked = sf_retry_rule_hinted(sf_retry_rule_status(400, NULL), 1);
  CHECK_IS(asked.cls, SF_CLASS_TRANSIENT);
  CHECK_IS(asked.outcome, SF_OUTCOME_CONFLICT); /* so that the retry is paid for */
  CHECK_IS(sf_retry_rule_hinted(sf_retry_rule_status(401, NULL), 0).cls, SF_CLASS_KEY);
  CHECK_IS(sf_retry_rule_hinted(sf_retry_rule_status(429, NULL), -1).cls, SF_CLASS_THROTTLED);
}

int main(int argc, char **argv)
{
  static const check_test tests[] = {
    { "random is xoshiro256** seeded by splitmix64", test_random_is_xoshiro },
    { "V-GC23 twenty threads on a frozen clock get exactly twenty cells", test_gc23_twenty_threads_on_a_frozen_clock },
    { "V-GC24 settlement moves the arrival by the difference", test_gc24_settle_moves_the_arrival },
    { "GCRA saturates instead of overflowing", test_gcra_saturates },
    { "V-CU1 V-CU2 the cubic curve", test_cu1_the_curve },
    { "V-LB7 slow start", test_lb7_slow_start },
    { "V-LB1 peak EWMA", test_lb1_peak_ewma },
    { "EWMA outlives its 49 day clock", test_ewma_clock_wraps },
    { "V-LB2 two choices", test_lb2_two_choices },
    { "V-LB3 weighted random", test_lb3_weighted },
    { "slow start thins a returning line", test_slow_start_thins_a_returning_line },
    { "V-CB13 V-CB16 one transition and one probe among threads", test_cb13_cb16_one_transition_one_probe },
    { "V-SW5 V-SW6 far and stale times", test_sw5_sw6_far_and_stale_times },
    { "window counts saturate and keep their ratio", test_counts_saturate },
    { "status rules agree with the outcome table", test_rules_agree_with_themselves },
    { "a list of statuses replaces whether, not where", test_status_set_replaces_whether },
    { "x-should-retry decides whether, not where", test_should_retry_decides_whether },
  };
  return check_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
