/*
 * reactor_epoll.c: the reactor on Linux: one epoll set with the sockets, a timerfd and an eventfd in it; see reactor.h.
 *
 * What the kernel watches and what is wanted are kept apart, in a table by fd, so that a socket which falls silent between
 * two requests costs nothing. An event names its fd and the fd's generation: one that was fetched together with the event
 * which closed its socket is told apart from an event of the next socket with that number.
 */
#include "reactor.h"

#include <errno.h>
#include <limits.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "memory.h"

enum { BATCH = 256, MOST_BATCHES = 16, FIRST_CAPACITY = 64 };

typedef struct sf_watch {
  uint32_t generation; /* how many sockets had this number before */
  uint8_t wanted;      /* what the owner waits for */
  uint8_t registered;  /* what the kernel watches; 0 = not in the set */
} sf_watch;

typedef struct sf_epoll {
  sf_reactor base;
  int set, timer, bell;
  int64_t armed_ns; /* what the timerfd is set to; SF_NEVER = nothing, or it has fired */
  bool rung;
  sf_watch *watches; /* by fd, capacity of them; all of it outside is {0} */
  size_t capacity;
  struct epoll_event events[BATCH];
} sf_epoll;

static int64_t clock_now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * SF_SECOND + t.tv_nsec;
}

static int epoll_fd(const sf_reactor *reactor)
{
  return ((const sf_epoll *)reactor)->set;
}

/* ---- interest ---- */

static sf_watch *find_watch(sf_epoll *epoll, int fd)
{
  return fd >= 0 && (size_t)fd < epoll->capacity ? &epoll->watches[fd] : NULL;
}

static sf_watch *make_watch(sf_epoll *epoll, int fd)
{
  if (fd < 0) {
    errno = EBADF;
    return NULL;
  }
  if ((size_t)fd < epoll->capacity) return &epoll->watches[fd];
  size_t capacity = epoll->capacity < FIRST_CAPACITY ? FIRST_CAPACITY : epoll->capacity;
  while (capacity <= (size_t)fd) capacity *= 2;
  sf_watch *watches = sf_realloc(epoll->watches, capacity * sizeof *watches);
  if (watches == NULL) {
    errno = ENOMEM;
    return NULL;
  }
  for (size_t i = epoll->capacity; i < capacity; i++) watches[i] = (sf_watch){ 0 };
  epoll->watches = watches;
  epoll->capacity = capacity;
  return &watches[fd];
}

static bool control(sf_epoll *epoll, int operation, int fd, const sf_watch *watch, unsigned events)
{
  struct epoll_event event = { .data.u64 = (uint64_t)watch->generation << 32 | (uint32_t)fd };
  if (events & SF_IO_READ) event.events |= EPOLLIN;
  if (events & SF_IO_WRITE) event.events |= EPOLLOUT;
  return epoll_ctl(epoll->set, operation, fd, &event) == 0;
}

/* Makes the kernel watch `events` (not 0). The fd may have been closed and made anew without our knowledge. */
static bool watch_for(sf_epoll *epoll, int fd, sf_watch *watch, unsigned events)
{
  bool known = watch->registered != 0;
  bool done = control(epoll, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, watch, events);
  if (!done && known && (errno == ENOENT || errno == EBADF)) done = control(epoll, EPOLL_CTL_ADD, fd, watch, events);
  else if (!done && !known && errno == EEXIST) done = control(epoll, EPOLL_CTL_MOD, fd, watch, events);
  watch->registered = done ? (uint8_t)events : 0;
  return done;
}

static void unwatch(sf_epoll *epoll, int fd, sf_watch *watch)
{
  if (watch->registered != 0) epoll_ctl(epoll->set, EPOLL_CTL_DEL, fd, NULL); /* fails when it was closed: as well */
  watch->registered = 0;
}

static bool epoll_want(sf_reactor *reactor, int fd, unsigned events)
{
  sf_epoll *epoll = (sf_epoll *)reactor;
  sf_watch *watch = events == 0 ? find_watch(epoll, fd) : make_watch(epoll, fd);
  if (watch == NULL) return events == 0;
  watch->wanted = (uint8_t)(events & (SF_IO_READ | SF_IO_WRITE));
  if ((watch->wanted & ~watch->registered) == 0) return true;
  return watch_for(epoll, fd, watch, watch->wanted);
}

static void epoll_forget(sf_reactor *reactor, int fd)
{
  sf_epoll *epoll = (sf_epoll *)reactor;
  sf_watch *watch = find_watch(epoll, fd);
  if (watch == NULL) return;
  unwatch(epoll, fd, watch); /* a forked child may hold the socket open, so closing would not do it */
  watch->wanted = 0;
  watch->generation++;
}

/* ---- waiting ---- */

static void drain(int fd)
{
  uint64_t count;
  while (read(fd, &count, sizeof count) < 0 && errno == EINTR) continue;
}

/* True when the event went to the owner. */
static bool hand_over(sf_epoll *epoll, const struct epoll_event *event)
{
  int fd = (int)(uint32_t)event->data.u64;
  if (fd == epoll->bell) return false; /* drained by its flag */
  if (fd == epoll->timer) {
    drain(epoll->timer);
    epoll->armed_ns = SF_NEVER;
    return false;
  }
  sf_watch *watch = find_watch(epoll, fd);
  if (watch == NULL || watch->generation != (uint32_t)(event->data.u64 >> 32)) return false;
  unsigned ready = 0;
  if (event->events & EPOLLIN) ready |= SF_IO_READ;
  if (event->events & EPOLLOUT) ready |= SF_IO_WRITE;
  if (event->events & (EPOLLERR | EPOLLHUP)) ready |= SF_IO_ERROR | watch->registered;
  if (watch->wanted == 0) {
    unwatch(epoll, fd, watch);
    return false;
  }
  if (ready & ~watch->wanted & (SF_IO_READ | SF_IO_WRITE)) watch_for(epoll, fd, watch, watch->wanted);
  ready &= watch->wanted | SF_IO_ERROR;
  if (ready == 0) return false;
  epoll->base.on_ready(epoll->base.context, fd, ready);
  return true;
}

static int milliseconds(int64_t timeout_ns)
{
  if (timeout_ns == SF_NEVER) return -1;
  if (timeout_ns <= 0) return 0;
  int64_t whole = timeout_ns / SF_MILLISECOND + (timeout_ns % SF_MILLISECOND != 0);
  return whole < INT_MAX ? (int)whole : INT_MAX;
}

static bool epoll_hush(sf_reactor *reactor)
{
  sf_epoll *epoll = (sf_epoll *)reactor;
  if (!epoll->rung) return false;
  drain(epoll->bell);
  epoll->rung = false;
  return true;
}

static int epoll_poll(sf_reactor *reactor, int64_t timeout_ns)
{
  sf_epoll *epoll = (sf_epoll *)reactor;
  int count = epoll_wait(epoll->set, epoll->events, BATCH, milliseconds(timeout_ns));
  if (count < 0) return -1;
  epoll_hush(reactor);
  int handed = 0;
  for (int batch = 1; count > 0; batch++) {
    for (int i = 0; i < count; i++) handed += hand_over(epoll, &epoll->events[i]);
    if (count < BATCH || batch == MOST_BATCHES) break;
    count = epoll_wait(epoll->set, epoll->events, BATCH, 0);
  }
  return handed;
}

static void epoll_ring(sf_reactor *reactor)
{
  sf_epoll *epoll = (sf_epoll *)reactor;
  if (epoll->rung) return;
  uint64_t one = 1;
  epoll->rung = write(epoll->bell, &one, sizeof one) == (ssize_t)sizeof one;
}

static void epoll_arm(sf_reactor *reactor, int64_t due_ns)
{
  sf_epoll *epoll = (sf_epoll *)reactor;
  if (due_ns == SF_NEVER || due_ns >= epoll->armed_ns) return;
  /* Setting a timer that fires inside the system call costs tens of times more than any other. */
  if (due_ns <= clock_now()) {
    epoll_ring(reactor);
    return;
  }
  struct itimerspec when = { .it_value = { .tv_sec = due_ns / SF_SECOND, .tv_nsec = due_ns % SF_SECOND } };
  if (timerfd_settime(epoll->timer, TFD_TIMER_ABSTIME, &when, NULL) == 0) epoll->armed_ns = due_ns;
}

/* ---- life ---- */

/* Also right after a fork: closing an fd takes it from nobody else, and the set that is shared with the parent stays whole. */
static void epoll_free(sf_reactor *reactor)
{
  sf_epoll *epoll = (sf_epoll *)reactor;
  const int fds[] = { epoll->set, epoll->timer, epoll->bell };
  for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
    if (fds[i] >= 0) close(fds[i]);
  sf_free(epoll->watches);
  sf_free(epoll);
}

static const sf_reactor_ops epoll_ops = {
  .fd = epoll_fd,
  .want = epoll_want,
  .forget = epoll_forget,
  .poll = epoll_poll,
  .arm = epoll_arm,
  .ring = epoll_ring,
  .hush = epoll_hush,
  .free = epoll_free,
  .abandon = epoll_free,
};

sf_reactor *sf_reactor_epoll_new(void)
{
  sf_epoll *epoll = sf_alloc_zero(sizeof *epoll);
  if (epoll == NULL) {
    errno = ENOMEM;
    return NULL;
  }
  epoll->base.ops = &epoll_ops;
  epoll->armed_ns = SF_NEVER;
  epoll->set = epoll_create1(EPOLL_CLOEXEC);
  epoll->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  epoll->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  struct epoll_event timer = { .events = EPOLLIN, .data.u64 = (uint32_t)epoll->timer };
  struct epoll_event bell = { .events = EPOLLIN, .data.u64 = (uint32_t)epoll->bell };
  if (epoll->set >= 0 && epoll->timer >= 0 && epoll->bell >= 0 &&
      epoll_ctl(epoll->set, EPOLL_CTL_ADD, epoll->timer, &timer) == 0 &&
      epoll_ctl(epoll->set, EPOLL_CTL_ADD, epoll->bell, &bell) == 0)
    return &epoll->base;
  int error = errno;
  epoll_free(&epoll->base);
  errno = error;
  return NULL;
}
