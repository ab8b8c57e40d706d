/* doorbell.c: the socket, the thread and their end; see doorbell.h. */
#define _GNU_SOURCE /* accept4, struct ucred */
#include "doorbell.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine.h"
#include "memory.h"

enum { BACKLOG = 16, STACK_BYTES = 128 * 1024 };

static const char DIRECTORY[] = "surefoot-XXXXXX", SOCKET[] = "/bell";

struct sf_doorbell {
  unsigned long generation; /* of forks: the process that made it */
  int fd;                   /* what is watched; not ours */
  int listener, line, set;  /* -1 = none. line: our end of the connection; set: the thread waits on it */
  bool watching;            /* there is a thread, to be joined */
  pthread_t thread;
  struct sockaddr_un address; /* an empty path: it was removed */
};

/* ---- the path ---- */

static void remove_path(sf_doorbell *bell)
{
  char *path = bell->address.sun_path;
  if (*path == '\0') return;
  unlink(path);
  path[strlen(path) - (sizeof SOCKET - 1)] = '\0';
  rmdir(path);
  *path = '\0';
}

/* Binds the listener in a new directory under `parent`; false: errno. */
static bool bind_under(sf_doorbell *bell, const char *parent)
{
  char *path = bell->address.sun_path;
  int length = snprintf(path, sizeof bell->address.sun_path, "%s/%s", parent, DIRECTORY);
  bool fits = length > 0 && (size_t)length + sizeof SOCKET <= sizeof bell->address.sun_path;
  if (!fits || mkdtemp(path) == NULL) {
    if (!fits) errno = ENAMETOOLONG;
    *path = '\0';
    return false;
  }
  memcpy(path + length, SOCKET, sizeof SOCKET);
  if (bind(bell->listener, (struct sockaddr *)&bell->address, sizeof bell->address) == 0 &&
      chmod(path, S_IRUSR | S_IWUSR) == 0)
    return true;
  int error = errno;
  remove_path(bell);
  errno = error;
  return false;
}

static bool bind_somewhere(sf_doorbell *bell)
{
  const char *own = getenv("TMPDIR");
  if (own != NULL && *own == '/' && bind_under(bell, own)) return true;
  return bind_under(bell, "/tmp") || bind_under(bell, "/dev/shm");
}

/* ---- the thread ---- */

/* Until the connection ends, by whichever side. */
static void *watch(void *argument)
{
  const sf_doorbell *bell = argument;
  const int set = bell->set, line = bell->line;
  prctl(PR_SET_NAME, "surefoot-bell");
  for (;;) {
    struct epoll_event events[2];
    int count = epoll_wait(set, events, 2, -1);
    if (count < 0 && errno != EINTR) return NULL;
    for (int i = 0; i < count; i++)
      if (events[i].data.fd == line) return NULL;
    if (count > 0 && send(line, "!", 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EAGAIN) return NULL;
  }
}

static bool begin_thread(sf_doorbell *bell)
{
  pthread_attr_t attributes;
  sigset_t all, before;
  sigfillset(&all);
  int error = pthread_attr_init(&attributes);
  if (error == 0) {
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&bell->thread, &attributes, watch, bell);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
  }
  bell->watching = error == 0;
  errno = error;
  return bell->watching;
}

static bool set_event(const sf_doorbell *bell, int operation, int fd, uint32_t events)
{
  struct epoll_event event = { .events = events, .data.fd = fd };
  return epoll_ctl(bell->set, operation, fd, &event) == 0;
}

/* ---- life ---- */

static void close_fd(int *fd)
{
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

static bool is_ours(int line)
{
  struct ucred peer = { 0 };
  socklen_t size = sizeof peer;
  return getsockopt(line, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid == getpid();
}

/* The connection of this process, else -1 (errno): whoever else has come is sent away. */
static int accept_ours(const sf_doorbell *bell)
{
  for (;;) {
    int line = accept4(bell->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (line < 0 && (errno == EINTR || errno == ECONNABORTED)) continue;
    if (line < 0 || is_ours(line)) return line;
    close(line);
  }
}

bool sf_doorbell_attach(sf_doorbell *bell)
{
  if (bell->generation != sf_engine_forks() || bell->listener < 0) {
    errno = bell->listener < 0 ? EISCONN : ESTALE;
    return false;
  }
  bell->line = accept_ours(bell);
  if (bell->line < 0) {
    if (errno == EAGAIN || errno == EWOULDBLOCK) errno = ENOTCONN;
    return false;
  }
  close_fd(&bell->listener);
  remove_path(bell);
  bell->set = epoll_create1(EPOLL_CLOEXEC);
  return bell->set >= 0 && set_event(bell, EPOLL_CTL_ADD, bell->line, 0) &&
         set_event(bell, EPOLL_CTL_ADD, bell->fd, EPOLLIN | EPOLLONESHOT) && begin_thread(bell);
}

bool sf_doorbell_arm(sf_doorbell *bell)
{
  if (bell->generation != sf_engine_forks() || !bell->watching) {
    errno = bell->watching ? ESTALE : ENOTCONN;
    return false;
  }
  return set_event(bell, EPOLL_CTL_MOD, bell->fd, EPOLLIN | EPOLLONESHOT);
}

const char *sf_doorbell_path(const sf_doorbell *bell)
{
  return bell->address.sun_path;
}

static void end_thread(sf_doorbell *bell)
{
  shutdown(bell->line, SHUT_RDWR); /* NOLINT(clang-analyzer-unix.StdCLibraryFunctions): who watches has a line */
  set_event(bell, EPOLL_CTL_MOD, bell->line, 0); /* a socket's own shutdown wakes nobody: let the set look again */
  pthread_join(bell->thread, NULL);
}

void sf_doorbell_free(sf_doorbell *bell)
{
  if (bell == NULL) return;
  if (bell->generation == sf_engine_forks()) {
    if (bell->watching) end_thread(bell);
    remove_path(bell);
  }
  close_fd(&bell->listener);
  close_fd(&bell->line);
  close_fd(&bell->set);
  sf_free(bell);
}

sf_doorbell *sf_doorbell_new(int fd)
{
  sf_doorbell *bell = sf_alloc_zero(sizeof *bell);
  if (bell == NULL) {
    errno = ENOMEM;
    return NULL;
  }
  bell->generation = sf_engine_forks();
  bell->fd = fd;
  bell->line = bell->set = -1;
  bell->address.sun_family = AF_UNIX;
  bell->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (bell->listener >= 0 && bind_somewhere(bell) && listen(bell->listener, BACKLOG) == 0) return bell;
  int error = errno;
  sf_doorbell_free(bell);
  errno = error;
  return NULL;
}
