/* region_test.c: shared places and counts, between real processes that end in every way. */
#include "../../csrc/share/region.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../engine/check.h"

static char name[64], problem[SF_REGION_PROBLEM];

static sf_region *fresh(void)
{
  static int count;
  snprintf(name, sizeof name, "region_test-%d-%d", (int)getpid(), count++);
  sf_region *region = sf_region_open(name, false, problem);
  CHECK(region != NULL);
  return region;
}

static void finish(sf_region *region)
{
  sf_region_release(region);
  CHECK(sf_region_unlink(name));
}

static sf_cells *cells_of(sf_region *region)
{
  return sf_region_place(region, 1, "cells", 5, sizeof(sf_cells), NULL);
}

/* A child that says it is ready, and waits to be killed, or ends by itself. */
static pid_t child(void (*run)(void *), void *context, bool stays)
{
  int ready[2];
  char byte;
  CHECK(pipe(ready) == 0);
  pid_t pid = fork();
  if (pid == 0) {
    run(context);
    if (write(ready[1], "x", 1) != 1) _exit(1);
    while (stays) pause();
    _exit(0);
  }
  close(ready[1]);
  CHECK_IS(read(ready[0], &byte, 1), 1);
  close(ready[0]);
  return pid;
}

static void ended(pid_t pid, int signal)
{
  if (signal != 0) kill(pid, signal);
  waitpid(pid, NULL, 0);
}

static void initialize(void *place)
{
  *(int *)place += 7; /* it was cleared */
}

static void test_places(void)
{
  sf_region *region = fresh();
  int *place = sf_region_place(region, 1, "a", 1, sizeof(int), initialize);
  CHECK_IS(*place, 7);
  *place = 8;
  CHECK(sf_region_place(region, 1, "a", 1, sizeof(int), initialize) == place);
  CHECK_IS(*place, 8);
  CHECK(sf_region_place(region, 2, "a", 1, sizeof(int), initialize) != place);
  CHECK(sf_region_place(region, 1, "a", 1, sizeof(int64_t), NULL) != (void *)place);
  CHECK(sf_region_place(region, 1, "ab", 2, sizeof(int), NULL) != (void *)place);
  CHECK(((uintptr_t)place & 63) == 0);
  sf_region *again = sf_region_open(name, false, problem);
  CHECK(again == region);
  sf_region_release(again);
  finish(region);
}

static void test_it_outlives_its_processes(void)
{
  sf_region *region = fresh();
  *(int *)sf_region_place(region, 1, "a", 1, sizeof(int), NULL) = 42;
  sf_region_release(region);
  region = sf_region_open(name, true, problem);
  CHECK(region != NULL);
  CHECK_IS(*(int *)sf_region_place(region, 1, "a", 1, sizeof(int), NULL), 42);
  finish(region);
  CHECK(sf_region_open(name, true, problem) == NULL);
  CHECK(strstr(problem, "No such file") != NULL);
}

static void hold_three(void *context)
{
  sf_region *region = context;
  for (int i = 0; i < 3; i++) sf_cells_add(region, cells_of(region), 1);
}

static void open_by_itself(void *context)
{
  sf_region_release(context); /* the inherited one: what follows is as in a program of its own */
  sf_region *region = sf_region_open(name, true, problem);
  if (region == NULL || *(int *)sf_region_place(region, 1, "a", 1, sizeof(int), NULL) != 42) _exit(1);
  hold_three(region);
}

static void test_many_have_it_open(void)
{
  sf_region *region = fresh();
  *(int *)sf_region_place(region, 1, "a", 1, sizeof(int), NULL) = 42;
  pid_t one = child(open_by_itself, region, true), two = child(open_by_itself, region, true);
  CHECK_IS(sf_cells_sum(region, cells_of(region)), 6);
  ended(one, SIGKILL);
  ended(two, SIGKILL);
  finish(region);
}

static void test_names(void)
{
  static const char *const wrong[] = {
    "", ".", "..", ".a", "a/b", "a b", "a\n", "12345678901234567890123456789012345678901234567890123456789012345"
  };
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    CHECK(sf_region_open(wrong[i], false, problem) == NULL);
    CHECK(strstr(problem, "expected a name") != NULL);
  }
}

static void test_unlinked(void)
{
  sf_region *region = fresh();
  *(int *)sf_region_place(region, 1, "a", 1, sizeof(int), NULL) = 42;
  CHECK(sf_region_unlink(name));
  sf_region *next = sf_region_open(name, false, problem);
  CHECK(next != NULL && next != region);
  CHECK_IS(*(int *)sf_region_place(next, 1, "a", 1, sizeof(int), NULL), 0);
  sf_region_release(region);
  finish(next);
}

/* Files that somebody else may have put there. */
static void test_distrust(void)
{
  char path[128], target[] = "/tmp/region_test_XXXXXX";
  sf_region *region = fresh();
  finish(region);
  CHECK(sf_region_path(name, path, sizeof path));
  int fd = open(path, O_CREAT | O_RDWR, 0600);
  CHECK(fchmod(fd, 0644) == 0);
  CHECK(sf_region_open(name, false, problem) == NULL);
  CHECK(strstr(problem, "others than its owner") != NULL);
  CHECK(fchmod(fd, 0600) == 0 && ftruncate(fd, 100) == 0);
  CHECK(sf_region_open(name, false, problem) == NULL);
  CHECK(strstr(problem, "another version") != NULL);
  close(fd);
  unlink(path);
  close(mkstemp(target));
  CHECK(symlink(target, path) == 0);
  CHECK(sf_region_open(name, false, problem) == NULL);
  unlink(path);
  unlink(target);
}

static void test_full(void)
{
  sf_region *region = fresh();
  char key[SF_REGION_KEY + 1];
  size_t made = 0, cursor = 0, listed = 0;
  sf_region_entry entry;
  for (int i = 0; i < 5000; i++) made += sf_region_place(region, 1, (char *)&i, sizeof i, 64, NULL) != NULL;
  CHECK_IS(made, 4096);
  CHECK_IS(sf_region_refused(region), 5000 - 4096);
  while (sf_region_next(region, &cursor, &entry)) listed += entry.size == 64 && entry.key_length == sizeof(int);
  CHECK_IS(listed, 4096);
  int first = 0;
  CHECK(sf_region_place(region, 1, (char *)&first, sizeof first, 64, NULL) !=
        NULL); /* those that are there are found */
  finish(region);
  region = fresh();
  memset(key, 'k', sizeof key);
  CHECK(sf_region_place(region, 1, key, SF_REGION_KEY + 1, 64, NULL) == NULL);
  CHECK(sf_region_place(region, 1, key, SF_REGION_KEY, 64, NULL) != NULL);
  CHECK(sf_region_place(region, 1, "big", 3, (size_t)1 << 40, NULL) == NULL);
  for (made = 0; sf_region_place(region, 1, (char *)&made, sizeof made, 1 << 20, NULL) != NULL;) made++;
  CHECK_IS(made, 15);
  finish(region);
}

/* Whoever lists the holders finds this one with so many. */
static bool is_held(const sf_region *region, const sf_cells *cells, pid_t wanted, uint32_t wanted_count)
{
  size_t cursor = 0;
  int32_t pid;
  uint32_t count;
  bool found = false;
  while (sf_cells_next(region, cells, &cursor, &pid, &count)) {
    if (pid != wanted) continue;
    CHECK(!found); /* once at most */
    CHECK_IS(count, wanted_count);
    found = true;
  }
  return found;
}

static void test_holders_are_listed(void)
{
  sf_region *region = fresh();
  sf_cells *cells = cells_of(region);
  CHECK(!is_held(region, cells, getpid(), 0));
  sf_cells_add(region, cells, 1);
  pid_t pid = child(hold_three, region, true);
  CHECK(is_held(region, cells, getpid(), 1));
  CHECK(is_held(region, cells, pid, 3));
  ended(pid, SIGKILL);
  CHECK(sf_region_reap(region, SF_SECOND));
  CHECK(!is_held(region, cells, pid, 0));
  sf_cells_add(region, cells, -1);
  CHECK(!is_held(region, cells, getpid(), 0)); /* who holds nothing is not listed */
  finish(region);
}

static void test_a_killed_process_holds_nothing(void)
{
  sf_region *region = fresh();
  sf_cells *cells = cells_of(region);
  int32_t pids[4];
  sf_cells_add(region, cells, 1);
  pid_t pid = child(hold_three, region, true);
  CHECK_IS(sf_cells_sum(region, cells), 4);
  CHECK_IS(sf_region_processes(region, pids, 4), 2);
  CHECK(!sf_region_reap(region, SF_SECOND));
  kill(pid, SIGKILL);
  siginfo_t info;
  waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT); /* gone, and its parent has not looked yet */
  CHECK(!sf_region_reap(region, SF_SECOND + 400 * SF_MILLISECOND));
  CHECK(sf_region_reap(region, 2 * SF_SECOND));
  CHECK_IS(sf_cells_sum(region, cells), 1);
  ended(pid, 0);
  CHECK_IS(sf_region_processes(region, pids, 4), 1);
  sf_cells_add(region, cells, -1);
  CHECK_IS(sf_cells_sum(region, cells), 0);
  finish(region);
}

static void release_one(void *context)
{
  sf_region *region = context;
  sf_cells_add(region, cells_of(region), -1); /* what the parent held is not the child's to give back */
}

static void no_more_files(int *files, size_t *count)
{
  struct rlimit few = { 64, 64 };
  getrlimit(RLIMIT_NOFILE, &few);
  few.rlim_cur = 64;
  setrlimit(RLIMIT_NOFILE, &few);
  for (*count = 0; *count < 64 && (files[*count] = open("/dev/null", O_RDONLY)) >= 0;) ++*count;
}

/* Runs in a child, whose limit of files it lowers. */
static void reap_without_files(void *context)
{
  sf_region *region = context;
  int files[64];
  size_t count;
  sf_cells_add(region, cells_of(region), 1);
  no_more_files(files, &count);
  if (sf_region_reap(region, SF_SECOND)) _exit(1);
  while (count > 0) close(files[--count]);
}

static void test_who_cannot_look_takes_nobody_for_gone(void)
{
  sf_region *region = fresh();
  sf_cells *cells = cells_of(region);
  for (int i = 0; i < 5; i++) sf_cells_add(region, cells, 1);
  pid_t pid = child(reap_without_files, region, true);
  CHECK_IS(sf_cells_sum(region, cells), 6);
  ended(pid, SIGKILL);
  finish(region);
}

static void test_a_fork_is_another_process(void)
{
  sf_region *region = fresh();
  sf_cells *cells = cells_of(region);
  sf_cells_add(region, cells, 1);
  ended(child(release_one, region, false), 0);
  CHECK_IS(sf_cells_sum(region, cells), 1);
  ended(child(hold_three, region, false), 0);
  CHECK(sf_region_reap(region, SF_SECOND));
  CHECK_IS(sf_cells_sum(region, cells), 1);
  finish(region);
}

/* A place of the dead is taken by somebody new, whose cell begins at nothing. */
static void test_places_of_processes_are_used_again(void)
{
  sf_region *region = fresh();
  sf_cells *cells = cells_of(region);
  for (int i = 0; i < 2 * SF_REGION_PROCESSES + 10; i++) {
    ended(child(hold_three, region, true), SIGKILL);
    CHECK(sf_cells_sum(region, cells) <= 3 * SF_REGION_PROCESSES);
  }
  sf_region_reap(region, SF_SECOND);
  CHECK_IS(sf_cells_sum(region, cells), 0);
  sf_cells_add(region, cells, 1);
  CHECK_IS(sf_cells_sum(region, cells), 1);
  finish(region);
}

typedef struct race {
  sf_region *region;
  uintptr_t *offsets; /* shared: [process][key] */
  int process;
} race;

enum { RACERS = 4, KEYS = 400 };

static void make_places(void *context)
{
  race *r = context;
  uintptr_t base = (uintptr_t)sf_region_place(r->region, 9, "base", 4, 64, NULL);
  for (int i = 0; i < KEYS; i++) {
    int *place = sf_region_place(r->region, 1, (char *)&i, sizeof i, 64, initialize);
    if (place == NULL || *place != 7) _exit(1);
    r->offsets[r->process * KEYS + i] = (uintptr_t)place - base;
  }
}

static void test_all_find_the_same_place(void)
{
  sf_region *region = fresh();
  pid_t pids[RACERS];
  size_t bytes = sizeof(uintptr_t) * RACERS * KEYS;
  uintptr_t *offsets = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  for (int i = 0; i < RACERS; i++) {
    race r = { region, offsets, i };
    pids[i] = fork();
    if (pids[i] != 0) continue;
    make_places(&r);
    _exit(0);
  }
  for (int i = 0; i < RACERS; i++) {
    int status;
    waitpid(pids[i], &status, 0);
    CHECK_IS(status, 0);
    CHECK(memcmp(offsets, offsets + i * KEYS, KEYS * sizeof *offsets) == 0);
  }
  munmap(offsets, bytes);
  finish(region);
}

static pthread_barrier_t together;

static void *hold_one(void *context)
{
  sf_region *region = context;
  sf_cells *cells = cells_of(region);
  pthread_barrier_wait(&together);
  sf_cells_add(region, cells, 1);
  pthread_barrier_wait(&together);
  return NULL;
}

/* Their process has no seat yet, and all need it at the same moment. */
static void test_threads_that_begin_together(void)
{
  pthread_t threads[RACERS];
  pthread_barrier_init(&together, NULL, RACERS + 1);
  for (int round = 0; round < 200; round++) {
    sf_region *region = fresh();
    for (int i = 0; i < RACERS; i++) CHECK(pthread_create(&threads[i], NULL, hold_one, region) == 0);
    pthread_barrier_wait(&together);
    pthread_barrier_wait(&together);
    CHECK_IS(sf_cells_sum(region, cells_of(region)), RACERS);
    CHECK_IS(sf_cells_own(region, cells_of(region)), RACERS);
    for (int i = 0; i < RACERS; i++) pthread_join(threads[i], NULL);
    finish(region);
  }
  pthread_barrier_destroy(&together);
}

/* Killed at any moment while they make places and hold things: what is left is whole, and nothing is held. */
static void churn(void *context)
{
  sf_region *region = context;
  sf_cells *cells = cells_of(region);
  for (unsigned i = 0;; i++) {
    int key = (int)(i * 7919 % 1000);
    int *place = sf_region_place(region, 1, (char *)&key, sizeof key, 64, initialize);
    if (place == NULL || *place != 7) abort();
    sf_cells_add(region, cells, i % 3 == 2 ? -1 : 1);
    if (i == 50) return;
  }
}

static void churn_on(void *context)
{
  for (;;) churn(context);
}

static void test_killed_at_any_moment(void)
{
  sf_region *region = fresh();
  for (int round = 0; round < 60; round++) {
    pid_t pid = fork();
    if (pid == 0) churn_on(region);
    struct timespec a_little = { 0, 20000 + round * 30000 };
    nanosleep(&a_little, NULL);
    kill(pid, SIGKILL);
    int status;
    waitpid(pid, &status, 0);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    sf_region_reap(region, (round + 1) * SF_SECOND);
    CHECK_IS(sf_cells_sum(region, cells_of(region)), 0);
  }
  churn(region);
  finish(region);
}

int main(int argc, char **argv)
{
  static const check_test tests[] = {
    { "places are found by kind, key and size", test_places },
    { "a region outlives its processes", test_it_outlives_its_processes },
    { "many have it open", test_many_have_it_open },
    { "an unlinked region gives way to a new one", test_unlinked },
    { "names", test_names },
    { "foreign files are not trusted", test_distrust },
    { "a full region says so", test_full },
    { "holders are listed", test_holders_are_listed },
    { "a killed process holds nothing", test_a_killed_process_holds_nothing },
    { "who cannot look takes nobody for gone", test_who_cannot_look_takes_nobody_for_gone },
    { "a fork is another process", test_a_fork_is_another_process },
    { "places of processes are used again", test_places_of_processes_are_used_again },
    { "all find the same place", test_all_find_the_same_place },
    { "threads that begin together", test_threads_that_begin_together },
    { "killed at any moment", test_killed_at_any_moment },
  };
  return check_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
