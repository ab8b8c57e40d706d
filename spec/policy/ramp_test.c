/* ramp_test.c: the window of a line that came back: how it begins, doubles, creeps, halves, and what says nothing of it. */
#include "../../csrc/policy/ramp.h"

#include "../engine/check.h"

#define S SF_SECOND
#define ALLOWED (40 * S)

static sf_ramp ramp;

/* As many as fit are sent together at `now`; all end `elapsed` later. How many they were. */
static uint32_t round_trip(int64_t now, int64_t elapsed, sf_breaker_effect effect)
{
  uint32_t sent = 0;
  while (sent < 100000 && sf_ramp_admits(&ramp, sent)) sent++;
  for (uint32_t i = 0; i < sent; i++) sf_ramp_report(&ramp, now + elapsed, now, effect, elapsed, ALLOWED);
  return sent;
}

static void test_begins_as_probed(void)
{
  for (uint32_t probes = 0; probes <= 63; probes++) {
    sf_ramp_begin(&ramp, probes, 5);
    CHECK_IS(round_trip(5, 1, SF_BREAKER_IGNORE), probes > 1 ? probes : 1);
  }
}

static void test_doubles(void)
{
  sf_ramp_begin(&ramp, 1, 0);
  for (uint32_t wanted = 1, i = 0; i < 10; i++, wanted *= 2)
    CHECK_IS(round_trip(i * S, i % 2 == 0 ? S : ALLOWED / 4, SF_BREAKER_OK), wanted);
}

static void test_creeps(void)
{
  sf_ramp_begin(&ramp, 8, 0);
  uint32_t last = 8;
  for (int i = 0; i < 100; i++) {
    uint32_t sent = round_trip(i * ALLOWED, ALLOWED / 4 + 1, SF_BREAKER_OK);
    CHECK(sent == last || sent == last + 1);
    last = sent;
  }
  CHECK(last > 90 && last <= 8 + 100);
}

static void test_halves_once(void)
{
  sf_ramp_begin(&ramp, 40, 0);
  CHECK_IS(round_trip(S, S, SF_BREAKER_BAD), 40); /* all forty fail together */
  CHECK_IS(round_trip(2 * S, S, SF_BREAKER_BAD_RATIO), 20);
  CHECK_IS(round_trip(3 * S, S, SF_BREAKER_OK), 10);
  CHECK_IS(round_trip(4 * S, S, SF_BREAKER_IGNORE), 20);
}

static void test_is_at_least_one(void)
{
  sf_ramp_begin(&ramp, 3, 0);
  for (int i = 0; i < 10; i++) round_trip(i * S, S / 2, SF_BREAKER_BAD);
  CHECK_IS(round_trip(20 * S, S, SF_BREAKER_OK), 1);
  CHECK_IS(round_trip(22 * S, S, SF_BREAKER_OK), 2);
}

static void test_old_ones_are_not_heard(void)
{
  sf_ramp_begin(&ramp, 10, 100);
  for (int i = 0; i < 50; i++) sf_ramp_report(&ramp, 200, 99, SF_BREAKER_OK, 1, ALLOWED);
  for (int i = 0; i < 50; i++) sf_ramp_report(&ramp, 200, 99, SF_BREAKER_BAD, 1, ALLOWED);
  CHECK(sf_ramp_admits(&ramp, 9) && !sf_ramp_admits(&ramp, 10));
  sf_ramp_report(&ramp, 300, 150, SF_BREAKER_BAD, 1, ALLOWED);
  sf_ramp_report(&ramp, 400, 299, SF_BREAKER_OK, 1, ALLOWED); /* sent under the wider window */
  CHECK(sf_ramp_admits(&ramp, 4) && !sf_ramp_admits(&ramp, 5));
}

static void test_hearsay(void)
{
  sf_ramp_begin(&ramp, 4, 0);
  sf_ramp_report(&ramp, S, 0, SF_BREAKER_IGNORE, S, ALLOWED);
  sf_ramp_report(&ramp, S, 0, SF_BREAKER_BAD_RUN, S, ALLOWED);
  CHECK(sf_ramp_admits(&ramp, 3) && !sf_ramp_admits(&ramp, 4));
}

static void test_any_time(void)
{
  sf_ramp_begin(&ramp, 1, 0);
  sf_ramp_report(&ramp, 1, 0, SF_BREAKER_OK, SF_NEVER, SF_NEVER);
  CHECK_IS(round_trip(2, 1, SF_BREAKER_IGNORE), 2);
  sf_ramp_report(&ramp, 3, 2, SF_BREAKER_OK, -5, 0);
  CHECK_IS(round_trip(4, 1, SF_BREAKER_IGNORE), 3);
}

int main(int argc, char **argv)
{
  static const check_test tests[] = {
    { "it begins with as many as there were probes", test_begins_as_probed },
    { "it doubles with each round trip that is quick", test_doubles },
    { "it grows by one with each round trip that is not", test_creeps },
    { "failures halve it, those of one round trip once", test_halves_once },
    { "it is at least one", test_is_at_least_one },
    { "what began before says nothing of it", test_old_ones_are_not_heard },
    { "what says nothing of the line changes nothing", test_hearsay },
    { "any times are taken", test_any_time },
  };
  return check_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
