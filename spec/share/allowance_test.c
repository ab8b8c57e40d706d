/* allowance_test.c: what one holder may do, alone and by several processes, some of which are killed; the time is made up. */
#define _GNU_SOURCE /* usleep */
#include "../../csrc/share/allowance.h"

#include <math.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../engine/check.h"

enum { PROCESSES = 4 };

#define NOON (INT64_C(1774958400) * SF_SECOND) /* 2026-03-31 12:00:00 UTC */
#define WALL NOON

static const sf_allowance_config requests_only = { .has_requests = true, .requests = { 1e8, 5 } }; /* 10/s, 5 at once */
static const sf_allowance_config tokens_only = { .has_tokens = true, .tokens = { 1e7, 1000 } };    /* 100/s */
static const sf_allowance_config three_at_a_time = { .concurrency = 3 }, one_at_a_time = { .concurrency = 1 };

static char name[64], problem[SF_REGION_PROBLEM];

static sf_region *fresh_region(void)
{
  static int count;
  snprintf(name, sizeof name, "allowance_test-%d-%d", (int)getpid(), count++);
  sf_region *region = sf_region_open(name, false, problem);
  CHECK(region != NULL);
  return region;
}

static void finish(sf_region *region)
{
  sf_region_release(region);
  CHECK(sf_region_unlink(name));
}

static sf_allowance_answer enter(sf_allowance *allowance, int64_t now, double tokens, int64_t *wait)
{
  sf_pass pass;
  return sf_allowance_enter(allowance, now, WALL + now, tokens, &pass, wait);
}

static sf_allowance_numbers numbers_at(const sf_allowance *allowance, int64_t now)
{
  sf_allowance_numbers numbers;
  sf_allowance_read(allowance, now, WALL + now, &numbers);
  return numbers;
}

/* ---- alone ---- */

static void test_requests(void)
{
  sf_allowance allowance;
  int64_t wait;
  sf_allowance_init(&allowance, &requests_only);
  for (int i = 0; i < 5; i++) CHECK_IS(enter(&allowance, 0, 0, &wait), SF_ALLOWED);
  for (int i = 0; i < 3; i++) {
    CHECK_IS(enter(&allowance, 0, 0, &wait), SF_REFUSED_REQUESTS); /* and nothing is taken */
    CHECK_IS(wait, SF_SECOND / 10);
  }
  CHECK_IS(sf_allowance_peek(&allowance, SF_SECOND / 10, WALL, 0, &wait), SF_ALLOWED);
  CHECK_IS(enter(&allowance, SF_SECOND / 10, 0, &wait), SF_ALLOWED);
  CHECK_IS(numbers_at(&allowance, SF_SECOND / 10).requests_left, 0);
  CHECK_IS(numbers_at(&allowance, SF_SECOND).requests_left, 5);
}

static void test_tokens(void)
{
  sf_allowance allowance;
  sf_pass pass, second;
  int64_t wait;
  sf_allowance_init(&allowance, &tokens_only);
  CHECK_IS(sf_allowance_enter(&allowance, 0, WALL, 600, &pass, &wait), SF_ALLOWED);
  CHECK_IS(numbers_at(&allowance, 0).tokens_left, 400);
  CHECK_IS(enter(&allowance, 0, 500, &wait), SF_REFUSED_TOKENS);
  CHECK_IS(wait, SF_SECOND);
  sf_allowance_leave(&allowance, &pass, 100); /* less than estimated */
  CHECK_IS(numbers_at(&allowance, 0).tokens_left, 900);
  CHECK_IS(sf_allowance_enter(&allowance, 0, WALL, 500, &pass, &wait), SF_ALLOWED);
  sf_allowance_leave(&allowance, &pass, 1100); /* more: a debt of 200 */
  CHECK_IS(enter(&allowance, 0, 0, &wait), SF_REFUSED_TOKENS);
  CHECK_IS(wait, 2 * SF_SECOND);
  CHECK_IS(sf_allowance_enter(&allowance, 3 * SF_SECOND, WALL, 100, &second, &wait), SF_ALLOWED);
  sf_allowance_leave(&allowance, &second, -1); /* as estimated */
  CHECK_IS(numbers_at(&allowance, 3 * SF_SECOND).tokens_left, 0);
  sf_allowance_leave(&allowance, &second, 0); /* once */
  CHECK_IS(numbers_at(&allowance, 3 * SF_SECOND).tokens_left, 0);
  CHECK_IS(numbers_at(&allowance, 3 * SF_SECOND).in_flight, 0);
}

static void test_more_than_the_burst(void)
{
  sf_allowance allowance;
  sf_pass pass;
  int64_t wait;
  sf_allowance_init(&allowance, &tokens_only);
  CHECK_IS(enter(&allowance, 0, 100, &wait), SF_ALLOWED);
  CHECK_IS(enter(&allowance, 0, 50000, &wait), SF_REFUSED_TOKENS);
  CHECK_IS(wait, SF_SECOND); /* until the burst is whole */
  CHECK_IS(sf_allowance_enter(&allowance, SF_SECOND, WALL, 50000, &pass, &wait), SF_ALLOWED);
  CHECK_IS(pass.tokens, 1000);
  sf_allowance_leave(&allowance, &pass, 1e15); /* nobody's usage: 60 bursts at most */
  CHECK_IS(enter(&allowance, SF_SECOND, 0, &wait), SF_REFUSED_TOKENS);
  CHECK_IS(wait, 590 * SF_SECOND);
}

static void test_places(void)
{
  sf_allowance allowance;
  sf_pass passes[4];
  int64_t wait;
  sf_allowance_init(&allowance, &three_at_a_time);
  for (int i = 0; i < 3; i++) CHECK_IS(sf_allowance_enter(&allowance, 0, WALL, 0, &passes[i], &wait), SF_ALLOWED);
  CHECK_IS(sf_allowance_enter(&allowance, 0, WALL, 0, &passes[3], &wait), SF_REFUSED_CONCURRENCY);
  CHECK_IS(wait, 0);
  CHECK(!passes[3].held);
  sf_allowance_leave(&allowance, &passes[3], 5);
  CHECK_IS(sf_allowance_peek(&allowance, 0, WALL, 0, &wait), SF_REFUSED_CONCURRENCY);
  CHECK_IS(numbers_at(&allowance, 0).in_flight, 3);
  sf_allowance_leave(&allowance, &passes[0], 0);
  sf_allowance_leave(&allowance, &passes[0], 0);
  CHECK_IS(numbers_at(&allowance, 0).in_flight, 2);
  CHECK_IS(sf_allowance_enter(&allowance, 0, WALL, 0, &passes[0], &wait), SF_ALLOWED);
}

static void test_money(void)
{
  sf_allowance_config config = { .has_budget = true, .budget = { 2500000, SF_PER_DAY, 0 } };
  sf_allowance allowance;
  int64_t wait;
  sf_allowance_init(&allowance, &config);
  for (int i = 0; i < 5; i++) {
    CHECK_IS(enter(&allowance, 0, 0, &wait), SF_ALLOWED);
    sf_allowance_spend(&allowance, WALL, 0.5);
  }
  CHECK_IS(enter(&allowance, 0, 0, &wait), SF_REFUSED_BUDGET);
  CHECK_IS(wait, 12 * 3600 * SF_SECOND);
  CHECK_IS(numbers_at(&allowance, 0).spent, 2500000);
  CHECK_IS(enter(&allowance, 12 * 3600 * SF_SECOND, 0, &wait), SF_ALLOWED);
}

/* A call may cost less than is counted: nothing is lost of many. */
static void test_fractions(void)
{
  sf_allowance_config config = { .has_budget = true, .budget = { 2500000, SF_PER_DAY, 0 } };
  sf_allowance allowance;
  sf_allowance_init(&allowance, &config);
  for (int i = 0; i < 1000; i++) sf_allowance_spend(&allowance, WALL, 0.0000003);
  CHECK(numbers_at(&allowance, 0).spent >= 299 && numbers_at(&allowance, 0).spent <= 300);
  sf_allowance_spend(&allowance, WALL, -5);
  sf_allowance_spend(&allowance, WALL, (double)NAN);
  CHECK(numbers_at(&allowance, 0).spent <= 300);
  sf_allowance_spend(&allowance, WALL, (double)INFINITY);
  CHECK_IS(numbers_at(&allowance, 0).spent, SF_SPEND_MOST);
}

static void test_all_or_none(void)
{
  sf_allowance_config config = {
    .has_requests = true, .requests = { 1e8, 5 }, .has_tokens = true, .tokens = { 1e7, 1000 }, .concurrency = 2
  };
  sf_allowance allowance;
  sf_pass one, two;
  int64_t wait;
  sf_allowance_init(&allowance, &config);
  CHECK_IS(sf_allowance_enter(&allowance, 0, WALL, 900, &one, &wait), SF_ALLOWED);
  for (int i = 0; i < 10; i++) CHECK_IS(enter(&allowance, 0, 200, &wait), SF_REFUSED_TOKENS);
  CHECK_IS(numbers_at(&allowance, 0).requests_left, 4);
  CHECK_IS(numbers_at(&allowance, 0).in_flight, 1);
  CHECK_IS(sf_allowance_enter(&allowance, 0, WALL, 50, &two, &wait), SF_ALLOWED);
  for (int i = 0; i < 10; i++) CHECK_IS(enter(&allowance, 0, 1, &wait), SF_REFUSED_CONCURRENCY);
  CHECK_IS(numbers_at(&allowance, 0).requests_left, 3);
  CHECK_IS(numbers_at(&allowance, 0).tokens_left, 50);
}

static void test_the_longest_wait(void)
{
  sf_allowance_config config = {
    .has_requests = true, .requests = { 1e9, 1 }, .has_tokens = true, .tokens = { 1e7, 1000 }
  };
  sf_allowance allowance;
  int64_t wait;
  sf_allowance_init(&allowance, &config);
  CHECK_IS(enter(&allowance, 0, 1000, &wait), SF_ALLOWED);
  CHECK_IS(enter(&allowance, 0, 10, &wait), SF_REFUSED_REQUESTS);
  CHECK_IS(wait, SF_SECOND);
  CHECK_IS(enter(&allowance, 0, 500, &wait), SF_REFUSED_TOKENS);
  CHECK_IS(wait, 5 * SF_SECOND);
}

/* ---- with others ---- */

static sf_allowance *share(sf_allowance *allowance, const sf_allowance_config *config, sf_region *region)
{
  sf_allowance_init(allowance, config);
  CHECK(sf_allowance_share(allowance, region, "team-a", 6));
  return allowance;
}

static void test_handles_of_one_process(void)
{
  sf_allowance_config config = three_at_a_time, other = three_at_a_time;
  config.has_budget = other.has_budget = true;
  config.budget = (sf_spend_config){ 1000000, SF_PER_DAY, 0 };
  other.budget = (sf_spend_config){ 1000000, SF_PER_MONTH, 0 };
  sf_region *region = fresh_region();
  sf_allowance one, two, stranger, monthly;
  sf_pass pass;
  int64_t wait;
  share(&one, &config, region);
  share(&two, &config, region);
  share(&monthly, &other, region);
  sf_allowance_init(&stranger, &config);
  CHECK(sf_allowance_share(&stranger, region, "team-b", 6));
  CHECK_IS(sf_allowance_enter(&one, 0, WALL, 0, &pass, &wait), SF_ALLOWED);
  CHECK_IS(enter(&two, 0, 0, &wait), SF_ALLOWED);
  CHECK_IS(enter(&two, 0, 0, &wait), SF_ALLOWED);
  CHECK_IS(enter(&one, 0, 0, &wait), SF_REFUSED_CONCURRENCY);
  CHECK_IS(numbers_at(&one, 0).in_flight, 3);
  CHECK_IS(numbers_at(&stranger, 0).in_flight, 0);
  sf_allowance_leave(&one, &pass, 0);
  sf_allowance_spend(&one, WALL, 1);
  CHECK_IS(enter(&two, 0, 0, &wait), SF_REFUSED_BUDGET);
  CHECK_IS(enter(&monthly, 0, 0, &wait), SF_ALLOWED); /* another window is another budget */
  CHECK_IS(numbers_at(&monthly, 0).in_flight, 3);
  CHECK_IS(enter(&stranger, 0, 0, &wait), SF_ALLOWED);
  finish(region);
}

static void test_a_full_region(void)
{
  sf_region *region = fresh_region();
  sf_allowance allowance;
  char key[SF_REGION_KEY] = { 0 };
  int64_t wait;
  for (int i = 0; sf_region_place(region, 9, (char *)&i, sizeof i, 1 << 20, NULL) != NULL;) i++;
  for (int i = 0; sf_region_place(region, 9, (char *)&i, sizeof i, 1 << 12, NULL) != NULL;) i++;
  sf_allowance_init(&allowance, &three_at_a_time);
  CHECK(!sf_allowance_share(&allowance, region, "team-a", 6));
  CHECK(!sf_allowance_share(&allowance, region, key, sizeof key - 31));
  for (int i = 0; i < 3; i++) CHECK_IS(enter(&allowance, 0, 0, &wait), SF_ALLOWED);
  CHECK_IS(enter(&allowance, 0, 0, &wait), SF_REFUSED_CONCURRENCY);
  finish(region);
}

/* What the processes of a test tell each other. */
typedef struct board {
  _Atomic int64_t clock;
  _Atomic int ready, inside, most_inside;
  _Atomic int64_t admitted, tokens, answers[SF_REFUSED_CONCURRENCY + 1];
} board;

static board *fresh_board(void)
{
  void *memory = mmap(NULL, sizeof(board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  return memory;
}

typedef void process_body(sf_allowance *allowance, board *common, int number);

/* They begin together, each with a handle of its own. */
static void in_processes(process_body *body, const sf_allowance_config *config, sf_region *region, board *common)
{
  pid_t pids[PROCESSES];
  for (int i = 0; i < PROCESSES; i++) {
    pids[i] = fork();
    if (pids[i] != 0) continue;
    sf_allowance allowance;
    share(&allowance, config, region);
    atomic_fetch_add(&common->ready, 1);
    while (atomic_load(&common->ready) < PROCESSES) usleep(100);
    body(&allowance, common, i);
    _exit(check_failures == 0 ? 0 : 1);
  }
  for (int i = 0; i < PROCESSES; i++) {
    int status;
    waitpid(pids[i], &status, 0);
    CHECK_IS(status, 0);
  }
}

/* Ten seconds of a clock that goes on by 50 us with each question. */
static void ask_for_ten_seconds(sf_allowance *allowance, board *common, int number)
{
  (void)number;
  for (;;) {
    sf_pass pass;
    int64_t wait, now = atomic_fetch_add(&common->clock, 50000);
    if (now > 10 * SF_SECOND) return;
    if (sf_allowance_enter(allowance, now, WALL, 7, &pass, &wait) != SF_ALLOWED) continue;
    atomic_fetch_add(&common->admitted, 1);
    atomic_fetch_add(&common->tokens, 7);
    sf_allowance_leave(allowance, &pass, -1);
  }
}

static void test_processes_share_a_rate(void)
{
  sf_allowance_config config = { .has_requests = true, .requests = sf_gcra_config_make(500, 20) };
  sf_region *region = fresh_region();
  board *common = fresh_board();
  in_processes(ask_for_ten_seconds, &config, region, common);
  CHECK(common->admitted <= 500 * 10 + 20);
  CHECK(common->admitted >= 500 * 10); /* and nothing is lost */
  munmap(common, sizeof *common);
  finish(region);
}

static void test_processes_share_tokens(void)
{
  sf_allowance_config config = { .has_tokens = true, .tokens = sf_gcra_config_make(3500, 700) };
  sf_region *region = fresh_region();
  board *common = fresh_board();
  in_processes(ask_for_ten_seconds, &config, region, common);
  CHECK(common->tokens <= 3500 * 10 + 700);
  CHECK(common->tokens >= 3500 * 10);
  munmap(common, sizeof *common);
  finish(region);
}

/* A clock that stands still, and few tokens, which come back: what is taken and not given back stays visible. */
static void ask_for_the_same(sf_allowance *allowance, board *common, int number)
{
  (void)number;
  for (int i = 0; i < 40000; i++) {
    sf_pass pass;
    int64_t wait;
    sf_allowance_answer answer = sf_allowance_enter(allowance, 0, WALL, 40, &pass, &wait);
    atomic_fetch_add(&common->answers[answer], 1);
    if (answer != SF_ALLOWED) continue;
    if (i % 64 == 0) sched_yield();
    sf_allowance_leave(allowance, &pass, 0);
  }
  CHECK_IS(allowance->held, 0);
}

static void test_a_race_takes_all_or_none(void)
{
  sf_allowance_config config = {
    .has_requests = true, .requests = { 1e9, 200000 }, .has_tokens = true, .tokens = { 1e9, 100 }, .concurrency = 4
  };
  sf_region *region = fresh_region();
  board *common = fresh_board();
  sf_allowance allowance;
  in_processes(ask_for_the_same, &config, region, common);
  share(&allowance, &config, region);
  sf_allowance_numbers left = numbers_at(&allowance, 0);
  CHECK_IS(left.requests_left, 200000 - common->answers[SF_ALLOWED]);
  CHECK_IS(left.tokens_left, 100);
  CHECK(common->answers[SF_ALLOWED] > 1000 && common->answers[SF_REFUSED_TOKENS] > 0);
  munmap(common, sizeof *common);
  finish(region);
}

static void come_and_go(sf_allowance *allowance, board *common, int number)
{
  (void)number;
  for (int i = 0; i < 20000; i++) {
    sf_pass pass;
    int64_t wait;
    sf_allowance_answer answer = sf_allowance_enter(allowance, 0, WALL, 0, &pass, &wait);
    atomic_fetch_add(&common->answers[answer], 1);
    if (answer != SF_ALLOWED) continue;
    int inside = atomic_fetch_add(&common->inside, 1) + 1, most = atomic_load(&common->most_inside);
    while (most < inside && !atomic_compare_exchange_weak(&common->most_inside, &most, inside)) {
    }
    if (i % 16 == 0) sched_yield();
    atomic_fetch_sub(&common->inside, 1);
    sf_allowance_leave(allowance, &pass, -1);
  }
}

static void test_processes_share_places(void)
{
  sf_region *region = fresh_region();
  board *common = fresh_board();
  in_processes(come_and_go, &one_at_a_time, region, common);
  CHECK_IS(common->most_inside, 1);
  CHECK(common->answers[SF_ALLOWED] > 1000);
  munmap(common, sizeof *common);
  finish(region);
}

static void spend_together(sf_allowance *allowance, board *common, int number)
{
  (void)common, (void)number;
  for (int i = 0; i < 5000; i++) sf_allowance_spend(allowance, WALL, 0.000002);
}

static void test_processes_share_a_budget(void)
{
  sf_allowance_config config = { .has_budget = true, .budget = { 40000, SF_PER_DAY, 0 } };
  sf_region *region = fresh_region();
  board *common = fresh_board();
  sf_allowance allowance;
  int64_t wait;
  in_processes(spend_together, &config, region, common);
  share(&allowance, &config, region);
  CHECK(numbers_at(&allowance, 0).spent >= 40000 - PROCESSES && numbers_at(&allowance, 0).spent <= 40000);
  sf_allowance_spend(&allowance, WALL, 0.00001);
  CHECK_IS(enter(&allowance, 0, 0, &wait), SF_REFUSED_BUDGET);
  munmap(common, sizeof *common);
  finish(region);
}

/* ---- the dead ---- */

static pid_t holder(sf_region *region, const sf_allowance_config *config, int places)
{
  int ready[2];
  char byte;
  CHECK(pipe(ready) == 0);
  pid_t pid = fork();
  if (pid == 0) {
    sf_allowance allowance;
    int64_t wait;
    share(&allowance, config, region);
    for (int i = 0; i < places; i++)
      if (enter(&allowance, 0, 0, &wait) != SF_ALLOWED) _exit(1);
    if (write(ready[1], "x", 1) != 1) _exit(1);
    for (;;) pause();
  }
  close(ready[1]);
  CHECK_IS(read(ready[0], &byte, 1), 1);
  close(ready[0]);
  return pid;
}

static void test_a_killed_holder(void)
{
  sf_region *region = fresh_region();
  sf_allowance allowance;
  int64_t wait;
  share(&allowance, &three_at_a_time, region);
  CHECK_IS(enter(&allowance, 0, 0, &wait), SF_ALLOWED);
  pid_t pid = holder(region, &three_at_a_time, 2);
  CHECK_IS(enter(&allowance, 0, 0, &wait), SF_REFUSED_CONCURRENCY);
  CHECK(!sf_region_reap(region, SF_SECOND));
  kill(pid, SIGKILL);
  waitpid(pid, NULL, 0);
  CHECK(sf_region_reap(region, 2 * SF_SECOND));
  CHECK_IS(enter(&allowance, 0, 0, &wait), SF_ALLOWED);
  CHECK_IS(enter(&allowance, 0, 0, &wait), SF_ALLOWED);
  CHECK_IS(enter(&allowance, 0, 0, &wait), SF_REFUSED_CONCURRENCY);
  finish(region);
}

static void test_a_fork_holds_nothing(void)
{
  sf_region *region = fresh_region();
  sf_allowance allowance;
  sf_pass pass;
  int64_t wait;
  int status;
  share(&allowance, &three_at_a_time, region);
  CHECK_IS(sf_allowance_enter(&allowance, 0, WALL, 0, &pass, &wait), SF_ALLOWED);
  CHECK_IS(enter(&allowance, 0, 0, &wait), SF_ALLOWED);
  pid_t pid = fork();
  if (pid == 0) {
    sf_allowance_forked(&allowance);
    bool counts_the_parents = numbers_at(&allowance, 0).in_flight == 2;
    bool takes_the_last = enter(&allowance, 0, 0, &wait) == SF_ALLOWED;
    bool is_full = enter(&allowance, 0, 0, &wait) == SF_REFUSED_CONCURRENCY;
    _exit(counts_the_parents && takes_the_last && is_full ? 0 : 1);
  }
  waitpid(pid, &status, 0);
  CHECK_IS(status, 0);
  CHECK(sf_region_reap(region, SF_SECOND));
  CHECK_IS(numbers_at(&allowance, 0).in_flight, 2);
  finish(region);
}

static void come_and_go_for_ever(sf_region *region, const sf_allowance_config *config, board *common)
{
  sf_allowance allowance;
  share(&allowance, config, region);
  for (;;) come_and_go(&allowance, common, 0);
}

static void test_killed_at_any_moment(void)
{
  sf_allowance_config config = {
    .has_requests = true, .requests = { 1, 1e6 }, .has_tokens = true, .tokens = { 1, 1e6 }, .concurrency = 3
  };
  sf_region *region = fresh_region();
  board *common = fresh_board();
  for (int round = 0; round < 40; round++) {
    pid_t pids[2];
    for (int i = 0; i < 2; i++) {
      pids[i] = fork();
      if (pids[i] == 0) come_and_go_for_ever(region, &config, common);
    }
    usleep(50 + (useconds_t)round * 40);
    for (int i = 0; i < 2; i++) kill(pids[i], SIGKILL);
    for (int i = 0; i < 2; i++) waitpid(pids[i], NULL, 0);
    sf_allowance allowance;
    int64_t wait, now = (round + 1) * SF_SECOND;
    share(&allowance, &config, region);
    sf_region_reap(region, now);
    CHECK_IS(numbers_at(&allowance, now).in_flight, 0);
    sf_pass passes[3];
    for (int i = 0; i < 3; i++) CHECK_IS(sf_allowance_enter(&allowance, now, WALL, 1, &passes[i], &wait), SF_ALLOWED);
    for (int i = 0; i < 3; i++) sf_allowance_leave(&allowance, &passes[i], 1);
  }
  munmap(common, sizeof *common);
  finish(region);
}

int main(int argc, char **argv)
{
  static const check_test tests[] = {
    { "requests", test_requests },
    { "tokens are reserved and settled", test_tokens },
    { "an estimate above the burst", test_more_than_the_burst },
    { "places", test_places },
    { "money", test_money },
    { "fractions of what is counted", test_fractions },
    { "all or none", test_all_or_none },
    { "the longest wait is told", test_the_longest_wait },
    { "handles of one process", test_handles_of_one_process },
    { "a full region", test_a_full_region },
    { "processes share a rate", test_processes_share_a_rate },
    { "processes share tokens", test_processes_share_tokens },
    { "a race takes all or none", test_a_race_takes_all_or_none },
    { "processes share places", test_processes_share_places },
    { "processes share a budget", test_processes_share_a_budget },
    { "a killed holder", test_a_killed_holder },
    { "a fork holds nothing", test_a_fork_holds_nothing },
    { "killed at any moment", test_killed_at_any_moment },
  };
  return check_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
