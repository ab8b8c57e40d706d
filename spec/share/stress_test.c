/*
 * stress_test.c: an allowance in a region while processes are killed at any moment and others come, and while threads of
 * one process share it. At every moment no more are inside than may be; what was spent is what they say that they have
 * spent, but for additions in which one was killed; no more are let in than the rate allows. SUREFOOT_STRESS=n makes n
 * times as many rounds.
 */
#define _GNU_SOURCE /* usleep, MAP_ANONYMOUS */
#include "../../csrc/policy/random.h"
#include "../../csrc/share/allowance.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../engine/check.h"

enum { WORKERS = 4, PLACES = 2, KILLS = 100, ROUNDS = 20, LOOPS = 500, ENOUGH = 100 };

#define WALL (INT64_C(1774958400) * SF_SECOND) /* 2026-03-31 12:00:00 UTC */
#define RATE 200000
#define BURST 50
#define TICK 700 /* ns between questions, on a clock that all share: more than the rate allows for */

static char name[64], problem[SF_REGION_PROBLEM];

/* What workers tell; in memory of its own, so that it outlives them. */
typedef struct board {
  _Atomic int64_t clock;
  _Atomic uint32_t inside; /* a bit for each worker */
  _Atomic int64_t entered, too_many;
  struct {
    _Atomic uint64_t begun, done; /* micro-dollars */
    char apart[48];
  } spent[WORKERS];
} board;

static const sf_allowance_config all_bounds = {
  .has_requests = true,
  .requests = { 1e9 / RATE, BURST },
  .has_tokens = true,
  .tokens = { 1, 1e6 },
  .has_budget = true,
  .budget = { SF_SPEND_MOST, SF_PER_DAY, 0 },
  .concurrency = PLACES,
};

static int times(int rounds)
{
  const char *factor = getenv("SUREFOOT_STRESS");
  return rounds * (factor != NULL && atoi(factor) > 0 ? atoi(factor) : 1);
}

static sf_region *fresh_region(void)
{
  static int count;
  snprintf(name, sizeof name, "stress_test-%d-%d", (int)getpid(), count++);
  sf_region *region = sf_region_open(name, false, problem);
  CHECK(region != NULL);
  return region;
}

static void finish(sf_region *region)
{
  sf_region_release(region);
  CHECK(sf_region_unlink(name));
}

static board *fresh_board(void)
{
  void *memory = mmap(NULL, sizeof(board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  return memory;
}

static void share(sf_allowance *allowance, sf_region *region)
{
  sf_allowance_init(allowance, &all_bounds);
  CHECK(sf_allowance_share(allowance, region, "team-a", 6));
}

/* Amounts differ, so that a sum that was torn, lost or taken twice shows. */
static void spend(sf_allowance *allowance, board *common, int number, sf_random *random)
{
  uint64_t micros = 1 + sf_random_next(random) % 10000;
  atomic_fetch_add(&common->spent[number].begun, micros);
  sf_allowance_spend(allowance, WALL, (double)micros / 1e6);
  atomic_fetch_add(&common->spent[number].done, micros);
}

static void ask_once(sf_allowance *allowance, board *common, int number, sf_random *random)
{
  sf_pass pass;
  int64_t wait, now = atomic_fetch_add(&common->clock, TICK);
  if (sf_allowance_enter(allowance, now, WALL, 3, &pass, &wait) != SF_ALLOWED) return;
  uint32_t mine = UINT32_C(1) << number, inside = atomic_fetch_or(&common->inside, mine) | mine;
  if (__builtin_popcount(inside) > PLACES) atomic_fetch_add(&common->too_many, 1);
  atomic_fetch_add(&common->entered, 1);
  if (sf_random_next(random) % 8 == 0) sched_yield();
  spend(allowance, common, number, random);
  atomic_fetch_and(&common->inside, ~mine);
  sf_allowance_leave(allowance, &pass, 3);
}

/* handles: of each the last fraction of a micro-dollar is not counted. */
static void check_all(const sf_allowance *allowance, const board *common, uint64_t handles)
{
  sf_allowance_numbers numbers;
  uint64_t begun = 0, done = 0;
  sf_allowance_read(allowance, common->clock, WALL, &numbers);
  for (int i = 0; i < WORKERS; i++) begun += common->spent[i].begun, done += common->spent[i].done;
  CHECK(done <= numbers.spent + handles && numbers.spent <= begun + handles);
  CHECK_IS(numbers.in_flight, 0);
  CHECK_IS(common->too_many, 0);
  CHECK(common->entered > ENOUGH);
  CHECK(common->entered <= common->clock * RATE / SF_SECOND + BURST + 1);
}

/* ---- processes */

static pid_t worker(sf_region *region, board *common, int number, uint64_t seed)
{
  pid_t pid = fork();
  if (pid != 0) return pid;
  sf_allowance allowance;
  sf_random random;
  share(&allowance, region);
  sf_random_seed(&random, seed);
  for (int64_t i = 1;; i++) {
    ask_once(&allowance, common, number, &random);
    if (i % 32 == 0) sf_region_reap(region, i * SF_SECOND);
  }
}

/* Stopped first: while it is stopped it still holds its place, so that its bit can be cleared before others take it. */
static void kill_one(pid_t pid, board *common, int number)
{
  int status;
  kill(pid, SIGSTOP);
  waitpid(pid, &status, WUNTRACED);
  CHECK(WIFSTOPPED(status));
  atomic_fetch_and(&common->inside, ~(UINT32_C(1) << number));
  kill(pid, SIGKILL);
  waitpid(pid, &status, 0);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void test_processes_that_are_killed(void)
{
  sf_region *region = fresh_region();
  board *common = fresh_board();
  pid_t pids[WORKERS];
  sf_random random;
  sf_allowance allowance;
  uint64_t seed = (uint64_t)check_now();
  int kills = 0;
  sf_random_seed(&random, seed);
  for (int i = 0; i < WORKERS; i++) pids[i] = worker(region, common, i, seed + (uint64_t)i);
  for (; kills < times(KILLS) || common->entered <= ENOUGH; kills++) {
    int i = (int)(sf_random_next(&random) % WORKERS);
    usleep((useconds_t)(sf_random_next(&random) % 3000));
    kill_one(pids[i], common, i);
    pids[i] = worker(region, common, i, seed + (uint64_t)kills * WORKERS);
  }
  for (int i = 0; i < WORKERS; i++) kill_one(pids[i], common, i);
  sf_region_reap(region, INT64_MAX);
  share(&allowance, region);
  check_all(&allowance, common, (uint64_t)kills + WORKERS);
  if (check_failures > 0) printf("  seed %llu\n", (unsigned long long)seed);
  munmap(common, sizeof *common);
  finish(region);
}

/* ---- threads */

typedef struct member {
  sf_region *region;
  board *common;
  int number;
  pthread_barrier_t *start;
} member;

static void *ask_often(void *context)
{
  const member *self = context;
  sf_allowance allowance;
  sf_random random;
  share(&allowance, self->region);
  sf_random_seed(&random, (uint64_t)self->number);
  pthread_barrier_wait(self->start);
  for (int i = 0; i < LOOPS; i++) ask_once(&allowance, self->common, self->number, &random);
  CHECK_IS(allowance.held, 0);
  return NULL;
}

static void test_threads_that_begin_together(void)
{
  pthread_barrier_t start;
  pthread_barrier_init(&start, NULL, WORKERS);
  for (int round = 0; round < times(ROUNDS); round++) {
    sf_region *region = fresh_region();
    board *common = fresh_board();
    pthread_t threads[WORKERS];
    member members[WORKERS];
    sf_allowance allowance;
    for (int i = 0; i < WORKERS; i++) {
      members[i] = (member){ region, common, i, &start };
      CHECK(pthread_create(&threads[i], NULL, ask_often, &members[i]) == 0);
    }
    for (int i = 0; i < WORKERS; i++) pthread_join(threads[i], NULL);
    share(&allowance, region);
    check_all(&allowance, common, WORKERS);
    munmap(common, sizeof *common);
    finish(region);
  }
  pthread_barrier_destroy(&start);
}

int main(int argc, char **argv)
{
  static const check_test tests[] = {
    { "processes that are killed", test_processes_that_are_killed },
    { "threads that begin together", test_threads_that_begin_together },
  };
  return check_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
