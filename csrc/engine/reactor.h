/*
 * reactor.h: one pollable fd for sockets, a timer and a doorbell, behind a vtable (epoll today, kqueue may follow).
 *
 * Interest is lazy. A socket that is no longer wanted (events 0) stays registered, so that a keep-alive connection costs
 * no system call per request; it is removed only when it becomes ready while nobody wants it, or is closed. Level-triggered.
 */
#ifndef SF_REACTOR_H
#define SF_REACTOR_H

#include "../policy/base.h"

enum { SF_IO_READ = 1, SF_IO_WRITE = 2, SF_IO_ERROR = 4 };

typedef struct sf_reactor sf_reactor;

typedef struct sf_reactor_ops {
  /* The pollable fd: readable whenever a watched socket is ready, the armed time has come, or the bell was rung. */
  int (*fd)(const sf_reactor *reactor);
  /* What to wait for on a socket; 0 = nothing for now. False: the system refused (errno). */
  bool (*want)(sf_reactor *reactor, int fd, unsigned events);
  /* The socket is about to be closed. */
  void (*forget)(sf_reactor *reactor, int fd);
  /*
   * Waits at most timeout_ns (0 = looks only, SF_NEVER = as long as it takes), then hands each ready socket to on_ready.
   * Returns the number of sockets handed over, or -1 (errno; EINTR is returned, not hidden).
   */
  int (*poll)(sf_reactor *reactor, int64_t timeout_ns);
  /* Makes fd readable at `due_ns` (monotonic); only an earlier time costs a system call. SF_NEVER is ignored. */
  void (*arm)(sf_reactor *reactor, int64_t due_ns);
  /* Makes fd readable now, until the next poll. Rung twice, it rings once. */
  void (*ring)(sf_reactor *reactor);
  /* Takes a ring back. False: it was not rung. */
  bool (*hush)(sf_reactor *reactor);
  void (*free)(sf_reactor *reactor);
  /* After a fork: closes every inherited fd without telling anybody, frees the memory. */
  void (*abandon)(sf_reactor *reactor);
} sf_reactor_ops;

struct sf_reactor {
  const sf_reactor_ops *ops;
  void (*on_ready)(void *context, int fd, unsigned events); /* set by the owner */
  void *context;
};

SF_BEGIN_DECLS

/* NULL: the system refused (errno). */
sf_reactor *sf_reactor_epoll_new(void);

SF_END_DECLS

#endif
