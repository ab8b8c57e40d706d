/* reactor_test.c: the epoll reactor: readiness, lazy interest, bell, timer, fds that are closed and come again. */
#include "../../csrc/engine/reactor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "check.h"

static sf_reactor *reactor;
static int ready_fd, ready_count;
static unsigned ready_events;
static void (*in_callback)(int fd);

static void on_ready(void *context, int fd, unsigned events)
{
  (void)context;
  ready_fd = fd;
  ready_events = events;
  ready_count++;
  if (in_callback != NULL) in_callback(fd);
}

static void prepare(void)
{
  reactor = sf_reactor_epoll_new();
  CHECK(reactor != NULL);
  reactor->on_ready = on_ready;
  in_callback = NULL;
}

static int turn(int64_t timeout_ns)
{
  ready_count = 0;
  ready_fd = -1;
  ready_events = 0;
  return reactor->ops->poll(reactor, timeout_ns);
}

static bool readable(int64_t timeout_ns)
{
  struct pollfd p = { .fd = reactor->ops->fd(reactor), .events = POLLIN };
  return poll(&p, 1, (int)(timeout_ns / SF_MILLISECOND)) == 1;
}

static void make_pair(int pair[2])
{
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
}

static void say(int fd)
{
  CHECK(write(fd, "x", 1) == 1);
}

static void hear(int fd)
{
  char byte;
  CHECK(read(fd, &byte, 1) == 1);
}

static void close_pair(const int pair[2])
{
  close(pair[0]);
  close(pair[1]);
}

static void test_ready(void)
{
  prepare();
  int pair[2];
  make_pair(pair);
  CHECK(reactor->ops->want(reactor, pair[0], SF_IO_READ));
  CHECK_IS(turn(0), 0);
  CHECK(!readable(0));
  say(pair[1]);
  CHECK(readable(0)); /* nested: another loop sees it */
  CHECK_IS(turn(SF_NEVER), 1);
  CHECK(ready_fd == pair[0] && ready_events == SF_IO_READ);
  CHECK_IS(turn(0), 1); /* level-triggered */
  CHECK(reactor->ops->want(reactor, pair[0], SF_IO_READ | SF_IO_WRITE));
  CHECK_IS(turn(0), 1);
  CHECK_IS(ready_events, SF_IO_READ | SF_IO_WRITE);
  close(pair[1]);
  CHECK_IS(turn(0), 1);
  CHECK_IS(ready_events, SF_IO_READ | SF_IO_WRITE | SF_IO_ERROR);
  reactor->ops->forget(reactor, pair[0]);
  CHECK_IS(turn(0), 0);
  close(pair[0]);
  reactor->ops->free(reactor);
}

static void test_unwanted(void)
{
  prepare();
  int pair[2];
  make_pair(pair);
  CHECK(reactor->ops->want(reactor, pair[0], SF_IO_READ | SF_IO_WRITE));
  CHECK(reactor->ops->want(reactor, pair[0], SF_IO_READ));
  CHECK(readable(0)); /* the kernel still watches for writing ... */
  CHECK_IS(turn(0), 0);
  CHECK(!readable(0)); /* ... until that has happened once */
  CHECK(reactor->ops->want(reactor, pair[0], 0));
  say(pair[1]);
  CHECK(readable(0));
  CHECK_IS(turn(0), 0);
  CHECK(!readable(0));
  CHECK(reactor->ops->want(reactor, pair[0], SF_IO_READ));
  CHECK_IS(turn(0), 1);
  close_pair(pair);
  reactor->ops->free(reactor);
}

static void test_bell(void)
{
  prepare();
  for (int round = 0; round < 2; round++) {
    CHECK(!readable(0));
    reactor->ops->ring(reactor);
    reactor->ops->ring(reactor);
    CHECK(readable(0));
    CHECK_IS(turn(SF_NEVER), 0); /* does not wait */
    CHECK(!readable(0));
    CHECK(!reactor->ops->hush(reactor));
    reactor->ops->ring(reactor);
    CHECK(reactor->ops->hush(reactor));
  }
  reactor->ops->free(reactor);
}

static void test_timer(void)
{
  prepare();
  reactor->ops->arm(reactor, SF_NEVER);
  CHECK(!readable(0));
  int64_t start = check_now();
  reactor->ops->arm(reactor, start + 3600 * SF_SECOND);
  reactor->ops->arm(reactor, start + 30 * SF_MILLISECOND); /* earlier: counts */
  reactor->ops->arm(reactor, start + 7200 * SF_SECOND);    /* later: does not */
  CHECK(!readable(0));
  CHECK(readable(10 * SF_SECOND));
  CHECK(check_now() >= start + 30 * SF_MILLISECOND);
  CHECK_IS(turn(0), 0);
  CHECK(!readable(0));
  reactor->ops->arm(reactor, check_now() + 20 * SF_MILLISECOND); /* fired: any time is earlier again */
  CHECK(readable(10 * SF_SECOND));
  CHECK_IS(turn(0), 0);
  reactor->ops->arm(reactor, check_now() - 1); /* due: rings */
  CHECK(readable(0));
  CHECK_IS(turn(0), 0);
  CHECK(!readable(0));
  reactor->ops->free(reactor);
}

static void test_timeout(void)
{
  prepare();
  int64_t start = check_now();
  CHECK_IS(turn(SF_MILLISECOND / 2), 0); /* rounded up: rounded down it would not wait at all */
  CHECK(check_now() - start >= SF_MILLISECOND / 2);
  reactor->ops->free(reactor);
}

static void on_alarm(int number)
{
  (void)number;
}

static void test_interrupted(void)
{
  prepare();
  struct sigaction action = { .sa_handler = on_alarm };
  CHECK(sigaction(SIGALRM, &action, NULL) == 0);
  struct itimerval soon = { .it_value = { .tv_usec = 20000 } };
  setitimer(ITIMER_REAL, &soon, NULL);
  CHECK_IS(turn(10 * SF_SECOND), -1);
  CHECK_IS(errno, EINTR);
  reactor->ops->free(reactor);
}

/* Closed behind our back, the number is soon another socket's: what the kernel forgot is told to it again. */
static void test_reused_number(void)
{
  prepare();
  int first[2], second[2];
  make_pair(first);
  CHECK(reactor->ops->want(reactor, first[0], SF_IO_READ));
  make_pair(second);
  CHECK(dup2(second[0], first[0]) == first[0]);
  CHECK(reactor->ops->want(reactor, first[0], SF_IO_READ | SF_IO_WRITE));
  CHECK_IS(turn(0), 1);
  CHECK_IS(ready_events, SF_IO_WRITE);
  close_pair(first);
  close_pair(second);
  reactor->ops->forget(reactor, first[0]);
  CHECK(!reactor->ops->want(reactor, first[0], SF_IO_READ)); /* no such fd */
  CHECK(!reactor->ops->want(reactor, -1, SF_IO_READ));
  CHECK(reactor->ops->want(reactor, 100000, 0));
  reactor->ops->forget(reactor, 100000);
  reactor->ops->free(reactor);
}

/* A forked child may hold a socket that was closed here: the kernel must not go on watching it for us. */
static void test_forgotten_but_open(void)
{
  prepare();
  int pair[2];
  make_pair(pair);
  CHECK(reactor->ops->want(reactor, pair[0], SF_IO_READ));
  int elsewhere = dup(pair[0]);
  reactor->ops->forget(reactor, pair[0]);
  close(pair[0]);
  say(pair[1]);
  CHECK(!readable(0));
  close(elsewhere);
  close(pair[1]);
  reactor->ops->free(reactor);
}

static int stale_pair[2], fresh_pair[2];

static void replace_other(int fd)
{
  in_callback = NULL;
  int other = fd == stale_pair[0] ? fresh_pair[0] : stale_pair[0];
  reactor->ops->forget(reactor, other);
  int silent[2];
  make_pair(silent);
  CHECK(dup2(silent[0], other) == other); /* another socket with that number, which is silent */
  close(silent[0]);
  CHECK(reactor->ops->want(reactor, other, SF_IO_READ));
}

static void test_stale_event(void)
{
  prepare();
  make_pair(stale_pair);
  make_pair(fresh_pair);
  CHECK(reactor->ops->want(reactor, stale_pair[0], SF_IO_READ));
  CHECK(reactor->ops->want(reactor, fresh_pair[0], SF_IO_READ));
  say(stale_pair[1]);
  say(fresh_pair[1]);
  in_callback = replace_other;
  CHECK_IS(turn(0), 1); /* the second event was for a socket that is gone */
  CHECK_IS(ready_count, 1);
  close_pair(stale_pair);
  close_pair(fresh_pair);
  reactor->ops->free(reactor);
}

enum { MANY = 600 };

static void test_many(void)
{
  prepare();
  static int pairs[MANY / 2][2];
  for (int i = 0; i < MANY / 2; i++) {
    make_pair(pairs[i]);
    say(pairs[i][0]);
    say(pairs[i][1]);
    CHECK(reactor->ops->want(reactor, pairs[i][0], SF_IO_READ) && reactor->ops->want(reactor, pairs[i][1], SF_IO_READ));
  }
  in_callback = hear;
  CHECK_IS(turn(0), MANY); /* more than one batch, each once */
  CHECK_IS(turn(0), 0);
  for (int i = 0; i < MANY / 2; i++) close_pair(pairs[i]);
  reactor->ops->free(reactor);
}

static int count_fds(bool check_cloexec)
{
  int count = 0;
  for (int fd = 0; fd < 4096; fd++) {
    int flags = fcntl(fd, F_GETFD);
    if (flags < 0) continue;
    count++;
    if (check_cloexec && fd > 2) CHECK(flags & FD_CLOEXEC);
  }
  return count;
}

static void test_fds(void)
{
  int before = count_fds(false);
  for (int i = 3; i < 4096; i++) /* whatever the parent left open is not ours to judge */
    if (fcntl(i, F_GETFD) >= 0) fcntl(i, F_SETFD, FD_CLOEXEC);
  prepare();
  CHECK_IS(count_fds(true), before + 3);
  reactor->ops->free(reactor);
  CHECK_IS(count_fds(false), before);
  prepare();
  reactor->ops->abandon(reactor);
  CHECK_IS(count_fds(false), before);
}

static const check_test tests[] = {
  { "a ready socket is handed over, and the fd is readable", test_ready },
  { "an event nobody wants is switched off when it comes", test_unwanted },
  { "the bell rings once, until the next poll", test_bell },
  { "the timer keeps the earliest time and forgets it when it fired", test_timer },
  { "timeouts are rounded up", test_timeout },
  { "a signal ends the wait", test_interrupted },
  { "a number that is another socket's now", test_reused_number },
  { "a forgotten socket that is open elsewhere", test_forgotten_but_open },
  { "an event that was fetched before its socket was closed", test_stale_event },
  { "600 sockets ready at once", test_many },
  { "three fds, close-on-exec, all closed in the end", test_fds },
};

int main(int argc, char **argv)
{
  return check_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
