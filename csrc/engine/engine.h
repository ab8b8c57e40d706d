/*
 * engine.h: one engine per Lua state: clock, timers, reactor, transport, and the list of waiters that have news.
 *
 * Contract: the engine's fd is readable whenever sf_engine_step has work or a waiter has news, also when the work was done
 * inside submit, answer or cancel. sf_engine_step never blocks. Every entry point ends with sf_engine_turned.
 */
#ifndef SF_ENGINE_H
#define SF_ENGINE_H

#include "../policy/random.h"
#include "memory.h"
#include "timers.h"
#include "transport.h"

typedef struct sf_engine sf_engine;
typedef struct sf_call sf_call;
typedef struct sf_client sf_client;
typedef struct sf_attempt sf_attempt;

/* Somebody outside who waits for news: a call's owner, or a sleeper. */
typedef struct sf_waiter {
  uint64_t id; /* unique in the engine, > 0 */
  struct sf_waiter *prev, *next;
  bool ready;   /* in the engine's list of news */
  bool sleeper; /* part of an sf_sleeper, which ends when it is popped */
} sf_waiter;

/* A timer that the outside sleeps on; lives until it fired and was popped, or was cancelled. */
typedef struct sf_sleeper {
  sf_waiter waiter;
  sf_timer timer;
  sf_engine *engine;
  struct sf_sleeper *prev, *next;
} sf_sleeper;

struct sf_engine {
  sf_timers timers;
  sf_reactor *reactor; /* NULL in a simulation */
  sf_transport *transport;
  sf_random random;
  unsigned long generation; /* of forks: the process that made it */
  bool simulated;
  int64_t virtual_now; /* the clock of a simulation */
  bool foreign;        /* somebody else waits on our fd: keep it honest after every entry */
  int64_t sent_ns;     /* when the transport was last turned outside of a turn; 0 = a turn has been since */
  bool closed;
  uint64_t last_id;
  sf_waiter news; /* list head: waiters that are ready, oldest first */
  size_t news_count;
  sf_attempt *ended, **ended_tail; /* attempts whose bytes ended, to be judged in this turn */
  sf_client *dirty;                /* clients whose queue may move */
  sf_client *clients;              /* every client with a call here */
  sf_sleeper *sleepers;
  size_t sleeper_count;
  size_t in_flight; /* unsettled calls */
  sf_pool spare_calls, spare_attempts;
};

SF_BEGIN_DECLS

/* The real engine; NULL: the system refused (errno, or memory). */
sf_engine *sf_engine_new(void);

/* An engine on the scripted transport, with a virtual clock that starts at 0. NULL: out of memory. */
sf_engine *sf_engine_new_simulated(uint64_t seed);

/* Ends every call as `closed` and gives everything back. In a forked child: touches nothing that the parent shares. */
void sf_engine_close(sf_engine *engine);
void sf_engine_free(sf_engine *engine); /* closes first; takes NULL */

/* How often this process was forked off its parent since the first look. */
unsigned long sf_engine_forks(void);

/* True in a forked child until renewed: sockets and epoll belong to the parent. */
bool sf_engine_is_stale(const sf_engine *engine);

/*
 * In a forked child: ends what the parent began as `closed` (in this process only), drops the inherited sockets without a
 * word to anybody, and goes on with a reactor and a transport of its own. Sleepers go on. False: the system refused; the
 * engine is then closed.
 */
bool sf_engine_renew(sf_engine *engine);

int64_t sf_engine_now(const sf_engine *engine);
int64_t sf_clock_now(void); /* CLOCK_MONOTONIC */
double sf_clock_unix(void); /* wall clock, seconds */
int64_t sf_engine_next_due(const sf_engine *engine);

/* The pollable fd; from the first call on it is kept honest (foreign mode). */
int sf_engine_fd(sf_engine *engine);

/* One turn: sockets, then timers, then what follows from them. Never blocks. Returns the number of waiters with news. */
size_t sf_engine_step(sf_engine *engine);

/* The same for who takes all news at once, by sf_engine_pop: the fd does not become readable for them. */
size_t sf_engine_turn(sf_engine *engine);

/* Blocks until there is news, at most timeout_ns. Returns like step; 0 also after a signal. */
size_t sf_engine_wait(sf_engine *engine, int64_t timeout_ns);

/* Simulation: moves the clock to the next event, at most span_ns ahead, and steps. False: nothing was due within it. */
bool sf_engine_advance(sf_engine *engine, int64_t span_ns);

/* Judges ended attempts and moves dirty queues, then keeps the fd honest. Ends every entry point. */
void sf_engine_turned(sf_engine *engine);

/* The same after an answer of this waiter's owner, who asks next what came of it: no news for him. */
void sf_engine_answered(sf_engine *engine, sf_waiter *waiter);

/* Leaves what follows to the next turn (nothing may be started from a finalizer) and keeps the fd honest. */
void sf_engine_postpone(sf_engine *engine);

/* News. */
void sf_waiter_init(sf_engine *engine, sf_waiter *waiter);
void sf_waiter_wake(sf_engine *engine, sf_waiter *waiter);
void sf_waiter_quiet(sf_engine *engine, sf_waiter *waiter);
uint64_t sf_engine_pop(sf_engine *engine); /* the id of the oldest waiter with news, 0 = none */

/* Sleepers: the id, or 0 when memory is short. */
uint64_t sf_engine_sleep(sf_engine *engine, int64_t duration_ns);
bool sf_engine_cancel_sleep(sf_engine *engine, uint64_t id);

SF_END_DECLS

#endif
