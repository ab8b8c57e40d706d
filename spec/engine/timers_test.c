/* timers_test.c: the timer heap against its promises, and at random against a model that looks at every timer. */
#include "../../csrc/engine/timers.h"

#include "check.h"

typedef struct entry {
  sf_timer timer;
  int number, fired;
  int64_t fired_at, again_ns; /* again_ns: set anew from inside the fire; SF_NEVER = no */
  struct entry *clears;       /* cleared from inside the fire */
} entry;

static sf_timers timers;
static int log_numbers[4096];
static size_t log_count;

static void fire(sf_timer *timer, int64_t now)
{
  entry *e = (entry *)timer;
  e->fired++;
  e->fired_at = now;
  if (log_count < 4096) log_numbers[log_count++] = e->number;
  if (e->clears != NULL) sf_timers_clear(&timers, &e->clears->timer);
  if (e->again_ns != SF_NEVER) sf_timers_set(&timers, &e->timer, e->again_ns);
}

static void prepare(entry *entries, size_t count)
{
  sf_timers_init(&timers);
  CHECK(sf_timers_reserve(&timers, count));
  log_count = 0;
  for (size_t i = 0; i < count; i++) {
    entries[i] = (entry){ .number = (int)i, .again_ns = SF_NEVER };
    entries[i].timer = (sf_timer){ .due_ns = SF_NEVER, .fire = fire };
  }
}

static void test_order(void)
{
  entry e[4];
  prepare(e, 4);
  CHECK(sf_timers_next(&timers) == SF_NEVER);
  sf_timers_set(&timers, &e[0].timer, 30);
  sf_timers_set(&timers, &e[1].timer, 10);
  sf_timers_set(&timers, &e[2].timer, 20);
  sf_timers_set(&timers, &e[3].timer, 10);
  CHECK_IS(sf_timers_next(&timers), 10);
  CHECK_IS(sf_timers_run(&timers, 9), 0);
  CHECK_IS(sf_timers_run(&timers, 20), 3);
  CHECK(log_numbers[0] == 1 && log_numbers[1] == 3 && log_numbers[2] == 2);
  CHECK(e[1].timer.due_ns == SF_NEVER && e[1].fired_at == 20);
  CHECK_IS(sf_timers_next(&timers), 30);
  sf_timers_fini(&timers);
}

static void test_move_and_clear(void)
{
  entry e[3];
  prepare(e, 3);
  for (int i = 0; i < 3; i++) sf_timers_set(&timers, &e[i].timer, 10 + i);
  sf_timers_set(&timers, &e[0].timer, 50);
  sf_timers_set(&timers, &e[1].timer, SF_NEVER);
  sf_timers_clear(&timers, &e[1].timer); /* idle: harmless */
  CHECK_IS(sf_timers_next(&timers), 12);
  CHECK_IS(sf_timers_run(&timers, 49), 1);
  CHECK(e[0].fired == 0 && e[1].fired == 0 && e[2].fired == 1);
  CHECK_IS(sf_timers_run(&timers, 50), 1);
  sf_timers_fini(&timers);
}

/* A timer set while timers run waits for the next turn, whatever its time, and hides nothing that was due. */
static void test_set_while_running(void)
{
  entry e[3];
  prepare(e, 3);
  e[0].again_ns = 1; /* long past */
  sf_timers_set(&timers, &e[0].timer, 10);
  sf_timers_set(&timers, &e[1].timer, 20);
  sf_timers_set(&timers, &e[2].timer, 100);
  CHECK_IS(sf_timers_run(&timers, 100), 3);
  CHECK(e[0].fired == 1 && e[1].fired == 1 && e[2].fired == 1);
  CHECK(sf_timers_next(&timers) <= 100);
  e[0].again_ns = SF_NEVER;
  CHECK_IS(sf_timers_run(&timers, 100), 1);
  CHECK_IS(e[0].fired, 2);
  CHECK(sf_timers_next(&timers) == SF_NEVER);
  sf_timers_fini(&timers);
}

static void test_clear_while_running(void)
{
  entry e[2];
  prepare(e, 2);
  e[0].clears = &e[1];
  sf_timers_set(&timers, &e[0].timer, 10);
  sf_timers_set(&timers, &e[1].timer, 10);
  CHECK_IS(sf_timers_run(&timers, 10), 1);
  CHECK_IS(e[1].fired, 0);
  sf_timers_fini(&timers);
}

static void test_reserve(void)
{
  entry e[300];
  prepare(e, 300);
  CHECK(timers.capacity >= 300);
  CHECK_IS(timers.reserved, 300);
  for (int i = 0; i < 300; i++) sf_timers_set(&timers, &e[i].timer, 300 - i);
  CHECK_IS(sf_timers_run(&timers, 1000), 300);
  sf_timers_unreserve(&timers, 300);
  CHECK_IS(timers.reserved, 0);
  sf_timers_fini(&timers);
  CHECK(timers.heap == NULL && timers.capacity == 0);
}

static uint64_t state = 88172645463325252u;

static uint32_t draw(uint32_t below)
{
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (uint32_t)(state >> 32) % below;
}

enum { MANY = 64 };

/* The model: due times and an order of setting, searched from end to end. */
static int64_t model_due[MANY];
static uint64_t model_order[MANY], model_clock;

static int model_first(int64_t now)
{
  int best = -1;
  for (int i = 0; i < MANY; i++) {
    if (model_due[i] > now) continue;
    if (best < 0 || model_due[i] < model_due[best] ||
        (model_due[i] == model_due[best] && model_order[i] < model_order[best]))
      best = i;
  }
  return best;
}

static void test_random(void)
{
  entry e[MANY];
  prepare(e, MANY);
  for (int i = 0; i < MANY; i++) model_due[i] = SF_NEVER;
  int64_t now = 0;
  for (int step = 0; step < 100000; step++) {
    int i = (int)draw(MANY);
    uint32_t what = draw(10);
    if (what < 6) {
      int64_t due = now + draw(40) - 5;
      sf_timers_set(&timers, &e[i].timer, due);
      model_due[i] = due;
      model_order[i] = ++model_clock;
    } else if (what < 8) {
      sf_timers_clear(&timers, &e[i].timer);
      model_due[i] = SF_NEVER;
    } else {
      now += draw(4);
      log_count = 0;
      size_t fired = sf_timers_run(&timers, now);
      for (size_t k = 0; k < fired; k++) {
        int first = model_first(now);
        if (first != log_numbers[k]) CHECK_IS(log_numbers[k], first);
        if (first >= 0) model_due[first] = SF_NEVER;
      }
      CHECK(model_first(now) < 0);
    }
    int64_t next = SF_NEVER;
    for (int k = 0; k < MANY; k++) next = sf_time_min(next, model_due[k]);
    if (sf_timers_next(&timers) != next) CHECK_IS(sf_timers_next(&timers), next);
    if (check_failures > 0) break;
  }
  sf_timers_fini(&timers);
}

static const check_test tests[] = {
  { "timers fire by time, then in the order they were set", test_order },
  { "a timer moves and is cleared", test_move_and_clear },
  { "a timer set while timers run waits for the next turn", test_set_while_running },
  { "a timer cleared while timers run does not fire", test_clear_while_running },
  { "promised places never need memory again", test_reserve },
  { "100,000 random steps agree with a model", test_random },
};

int main(int argc, char **argv)
{
  return check_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
