/*
 * doorbell_test.c: the doorbell, with this program as the loop: when it rings, who may connect, how it ends, and what of it
 * is left then: no thread, no fd, no file.
 */
#define _GNU_SOURCE
#include "../../csrc/engine/doorbell.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../csrc/engine/engine.h"
#include "check.h"

enum { SOON_MS = 2000, NEVER_MS = 30 };

static sf_doorbell *bell;
static int source, ours; /* what is watched; the loop's end of the connection */

/* ---- what there is ---- */

static int entries(const char *folder)
{
  DIR *directory = opendir(folder);
  int count = 0;
  if (directory == NULL) return -1;
  for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory))
    count += entry->d_name[0] != '.';
  closedir(directory);
  return count;
}

static int fds(void)
{
  return entries("/proc/self/fd");
}

static int threads(void)
{
  return entries("/proc/self/task");
}

/* A thread that was joined may still be listed for a moment. */
static bool threads_become(int wanted)
{
  for (int i = 0; i < 200 && threads() != wanted; i++) usleep(5000);
  return threads() == wanted;
}

/* ---- the loop ---- */

static int connect_to(const char *path)
{
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
  int error = errno;
  if (fd >= 0) close(fd);
  errno = error;
  return -1;
}

/* Whether a byte comes within the time. */
static bool rings(int timeout_ms)
{
  struct pollfd p = { .fd = ours, .events = POLLIN };
  char byte;
  return poll(&p, 1, timeout_ms) == 1 && recv(ours, &byte, 1, 0) == 1;
}

static bool ended(int fd)
{
  struct pollfd p = { .fd = fd, .events = POLLIN };
  char byte;
  return poll(&p, 1, SOON_MS) == 1 && recv(fd, &byte, 1, 0) == 0;
}

static void make_readable(void)
{
  uint64_t one = 1;
  CHECK(write(source, &one, sizeof one) == (ssize_t)sizeof one);
}

static void drain(void)
{
  uint64_t count;
  CHECK(read(source, &count, sizeof count) == (ssize_t)sizeof count);
}

static void prepare(void)
{
  source = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  bell = sf_doorbell_new(source);
  CHECK(bell != NULL);
  ours = -1;
}

static void attach(void)
{
  ours = connect_to(sf_doorbell_path(bell));
  CHECK(ours >= 0);
  CHECK(sf_doorbell_attach(bell));
}

static void finish(void)
{
  sf_doorbell_free(bell);
  bell = NULL;
  if (ours >= 0) close(ours);
  if (source >= 0) close(source);
}

/* ---- tests ---- */

static void test_rings(void)
{
  prepare();
  attach();
  CHECK(!rings(NEVER_MS));
  make_readable();
  CHECK(rings(SOON_MS));
  CHECK(!rings(NEVER_MS)); /* readable still, but not armed */
  CHECK(sf_doorbell_arm(bell));
  CHECK(rings(SOON_MS));
  drain();
  CHECK(sf_doorbell_arm(bell));
  CHECK(!rings(NEVER_MS));
  make_readable();
  CHECK(rings(SOON_MS));
  finish();
}

static void test_readable_before(void)
{
  prepare();
  make_readable();
  attach();
  CHECK(rings(SOON_MS));
  finish();
}

static void test_path(void)
{
  prepare();
  char path[128], folder[128];
  snprintf(path, sizeof path, "%s", sf_doorbell_path(bell));
  snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
  struct stat socket_status = { 0 }, folder_status = { 0 };
  CHECK(stat(path, &socket_status) == 0 && stat(folder, &folder_status) == 0);
  CHECK(S_ISSOCK(socket_status.st_mode));
  CHECK_IS(socket_status.st_mode & 0777, 0600);
  CHECK_IS(folder_status.st_mode & 0777, 0700);
  attach();
  CHECK(stat(folder, &folder_status) != 0 && errno == ENOENT);
  finish();
  prepare();
  snprintf(path, sizeof path, "%s", sf_doorbell_path(bell));
  snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
  finish(); /* nobody had connected */
  CHECK(stat(folder, &folder_status) != 0 && errno == ENOENT);
}

static void test_temporary_folder(void)
{
  char own[] = "/tmp/surefoot-test-XXXXXX";
  CHECK(mkdtemp(own) != NULL);
  setenv("TMPDIR", own, 1);
  prepare();
  CHECK(strncmp(sf_doorbell_path(bell), own, strlen(own)) == 0);
  finish();
  CHECK_IS(entries(own), 0);
  rmdir(own); /* now it is not there, and later it is too long */
  prepare();
  CHECK(bell != NULL && strncmp(sf_doorbell_path(bell), "/tmp/surefoot-", 14) == 0);
  finish();
  char lengthy[200];
  memset(lengthy, 'x', sizeof lengthy);
  memcpy(lengthy, "/tmp/", 5);
  lengthy[sizeof lengthy - 1] = '\0';
  setenv("TMPDIR", lengthy, 1);
  prepare();
  CHECK(bell != NULL && strncmp(sf_doorbell_path(bell), "/tmp/surefoot-", 14) == 0);
  finish();
  unsetenv("TMPDIR");
}

static void test_nobody_connected(void)
{
  prepare();
  errno = 0;
  CHECK(!sf_doorbell_attach(bell) && errno == ENOTCONN);
  CHECK(!sf_doorbell_arm(bell) && errno == ENOTCONN);
  attach();
  CHECK(!sf_doorbell_attach(bell) && errno == EISCONN);
  make_readable();
  CHECK(rings(SOON_MS));
  finish();
}

/* Another process of the same user was quicker than the loop. */
static void test_stranger(void)
{
  prepare();
  int told[2];
  CHECK(pipe(told) == 0);
  pid_t child = fork();
  if (child == 0) {
    int fd = connect_to(sf_doorbell_path(bell));
    char word = fd >= 0 ? 'c' : 'n';
    _exit(write(told[1], &word, 1) == 1 && fd >= 0 && ended(fd) ? 0 : 1);
  }
  char word = 0;
  CHECK(read(told[0], &word, 1) == 1 && word == 'c');
  errno = 0;
  CHECK(!sf_doorbell_attach(bell) && errno == ENOTCONN);
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  attach();
  make_readable();
  CHECK(rings(SOON_MS));
  close(told[0]);
  close(told[1]);
  finish();
}

static void test_nothing_is_left(void)
{
  int fds_before = fds(), threads_before = threads();
  prepare();
  attach();
  CHECK_IS(threads(), threads_before + 1);
  int64_t began = check_now();
  sf_doorbell_free(bell);
  CHECK(check_now() - began < SF_SECOND / 5);
  bell = NULL;
  CHECK(ended(ours));
  finish();
  CHECK(threads_become(threads_before));
  CHECK_IS(fds(), fds_before);
  sf_doorbell_free(NULL);
}

static void test_loop_goes_first(void)
{
  int threads_before = threads();
  prepare();
  attach();
  close(ours);
  ours = -1;
  CHECK(threads_become(threads_before)); /* of itself */
  make_readable();
  CHECK(sf_doorbell_arm(bell)); /* rings for nobody */
  finish();
}

static void test_source_closed(void)
{
  prepare();
  attach();
  close(source);
  errno = 0;
  CHECK(!sf_doorbell_arm(bell) && errno == EBADF);
  int another = eventfd(1, EFD_CLOEXEC);
  CHECK_IS(another, source); /* the number has come again */
  CHECK(!sf_doorbell_arm(bell) && errno == ENOENT);
  finish();
}

static bool is_inherited(int fd)
{
  int flags = fcntl(fd, F_GETFD);
  return flags >= 0 && !(flags & FD_CLOEXEC);
}

/* Whoever started this test may have left it files that are. */
static void test_inheritance(void)
{
  bool before[64];
  for (int fd = 3; fd < 64; fd++) before[fd] = is_inherited(fd);
  prepare();
  attach();
  for (int fd = 3; fd < 64; fd++) CHECK(before[fd] || !is_inherited(fd));
  finish();
}

/* The signals that the thread blocks, as /proc shows them; 0: there is none of its name (yet). */
static unsigned long long blocked_signals(void)
{
  DIR *tasks = opendir("/proc/self/task");
  unsigned long long found = 0;
  for (struct dirent *task = readdir(tasks); task != NULL; task = readdir(tasks)) {
    char path[300], line[256], name[64] = "";
    unsigned long long blocked = 0;
    snprintf(path, sizeof path, "/proc/self/task/%s/status", task->d_name);
    FILE *file = task->d_name[0] != '.' ? fopen(path, "r") : NULL;
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
      sscanf(line, "Name: %63s", name);
      sscanf(line, "SigBlk: %llx", &blocked);
    }
    if (file != NULL) fclose(file);
    if (strcmp(name, "surefoot-bell") == 0) found = blocked;
  }
  closedir(tasks);
  return found;
}

static void test_signals(void)
{
  sigset_t before, after;
  sigemptyset(&before);
  sigemptyset(&after);
  pthread_sigmask(SIG_SETMASK, NULL, &before);
  prepare();
  attach();
  pthread_sigmask(SIG_SETMASK, NULL, &after);
  unsigned long long blocked = 0;
  for (int i = 0; i < 200 && blocked == 0; i++, usleep(5000)) blocked = blocked_signals();
  for (int signal = 1; signal < 32; signal++) {
    CHECK_IS(sigismember(&after, signal), sigismember(&before, signal)); /* ours are as they were */
    if (signal != SIGKILL && signal != SIGSTOP) CHECK(blocked >> (signal - 1) & 1);
  }
  finish();
}

/* The child may do what it likes with its copies: the parent's bells ring on, and their paths stay. */
static void test_fork(void)
{
  prepare();
  attach();
  sf_doorbell *waiting = sf_doorbell_new(source);
  CHECK(waiting != NULL);
  pid_t child = fork();
  if (child == 0) {
    bool right = !sf_doorbell_arm(bell) && errno == ESTALE && !sf_doorbell_attach(waiting) && errno == ESTALE;
    int before = fds();
    sf_doorbell_free(bell);
    sf_doorbell_free(waiting);
    _exit(right && fds() == before - 3 ? 0 : 1);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  make_readable();
  CHECK(rings(SOON_MS));
  CHECK(sf_doorbell_arm(bell));
  CHECK(rings(SOON_MS));
  int other = connect_to(sf_doorbell_path(waiting));
  CHECK(other >= 0 && sf_doorbell_attach(waiting));
  sf_doorbell_free(waiting);
  close(other);
  finish();
}

static void test_engine(void)
{
  sf_engine *engine = sf_engine_new();
  source = -1;
  bell = sf_doorbell_new(sf_engine_fd(engine));
  attach();
  for (int i = 0; i < 5; i++) {
    while (rings(0)) CHECK(sf_doorbell_arm(bell)); /* the engine's own news */
    CHECK(sf_engine_sleep(engine, 5 * SF_MILLISECOND) != 0);
    uint64_t id = 0;
    while (id == 0 && rings(SOON_MS)) {
      sf_engine_step(engine);
      id = sf_engine_pop(engine);
      sf_engine_turned(engine);
      CHECK(sf_doorbell_arm(bell));
    }
    CHECK(id != 0);
  }
  sf_engine_free(engine);
  CHECK(!sf_doorbell_arm(bell));
  finish();
}

/* Whoever makes it readable does so at any moment, also between the loop's looking and its arming. */
enum { RINGS = 20000 };

static void *make_readable_often(void *argument)
{
  (void)argument;
  uint64_t one = 1;
  for (int i = 0; i < RINGS; i++) {
    while (write(source, &one, sizeof one) < 0) continue;
    if (i % 64 == 0) usleep(50);
  }
  return NULL;
}

static void test_no_ring_is_lost(void)
{
  prepare();
  attach();
  pthread_t feeder;
  CHECK(pthread_create(&feeder, NULL, make_readable_often, NULL) == 0);
  uint64_t seen = 0;
  while (seen < RINGS && rings(SOON_MS)) {
    uint64_t count = 0;
    if (read(source, &count, sizeof count) == (ssize_t)sizeof count) seen += count;
    CHECK(sf_doorbell_arm(bell));
  }
  CHECK_IS(seen, RINGS);
  pthread_join(feeder, NULL);
  finish();
}

static void test_ends_at_any_moment(void)
{
  int fds_before = fds(), threads_before = threads();
  for (int i = 0; i < 300; i++) {
    prepare();
    if (i % 3 == 0) make_readable();
    attach();
    if (i % 3 == 1) make_readable();
    if (i % 5 == 0) usleep(100);
    if (i % 7 == 0) {
      close(ours);
      ours = -1;
    }
    finish();
  }
  CHECK(threads_become(threads_before));
  CHECK_IS(fds(), fds_before);
}

static const check_test tests[] = {
  { "it rings once, and again only when it is armed", test_rings },
  { "it rings for what was readable before", test_readable_before },
  { "its path is private, and goes with the connection or with the bell", test_path },
  { "its path is in TMPDIR, where that will do", test_temporary_folder },
  { "without a connection it tells so, and listens on", test_nobody_connected },
  { "it sends strangers away", test_stranger },
  { "it ends at once, and nothing is left", test_nothing_is_left },
  { "its thread ends with the loop's end of the connection", test_loop_goes_first },
  { "it tells that the fd was closed", test_source_closed },
  { "programs that are started inherit nothing of it", test_inheritance },
  { "its thread takes no signals", test_signals },
  { "a forked child leaves it alone", test_fork },
  { "it rings for an engine's timers, until the engine is gone", test_engine },
  { "no ring is lost in 20,000", test_no_ring_is_lost },
  { "it ends at any moment", test_ends_at_any_moment },
};

int main(int argc, char **argv)
{
  return check_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
