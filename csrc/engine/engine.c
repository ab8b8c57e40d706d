/* engine.c: the turn of the engine, its clock, its news and its sleepers; see engine.h. */
#include "engine.h"

#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "call.h"
#include "transport_sim.h"

#define QUICK_SUCCESSION_NS (SF_MILLISECOND / 4)

static unsigned long forks; /* how often this process was forked off */

static void count_fork(void)
{
  forks++;
}

static void watch_forks(void)
{
  pthread_atfork(NULL, NULL, count_fork);
}

int64_t sf_clock_now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * SF_SECOND + t.tv_nsec;
}

double sf_clock_unix(void)
{
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t fresh_seed(void)
{
  uint64_t seed;
  if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) == (ssize_t)sizeof seed) return seed;
  return (uint64_t)sf_clock_now() ^ ((uint64_t)getpid() << 32);
}

static void on_ready(void *context, int fd, unsigned events)
{
  sf_engine *engine = context;
  engine->transport->ops->ready(engine->transport, fd, events);
}

unsigned long sf_engine_forks(void)
{
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, watch_forks);
  return forks;
}

static sf_engine *engine_create(uint64_t seed)
{
  sf_engine *engine = sf_alloc_zero(sizeof *engine);
  if (engine == NULL) return NULL;
  sf_timers_init(&engine->timers);
  sf_random_seed(&engine->random, seed);
  engine->generation = sf_engine_forks();
  engine->news.prev = engine->news.next = &engine->news;
  engine->ended_tail = &engine->ended;
  return engine;
}

/* Reactor and transport of a real engine; false: the system refused (errno). */
static bool connect_to_system(sf_engine *engine)
{
  engine->reactor = sf_reactor_epoll_new();
  if (engine->reactor == NULL) return false;
  engine->transport = sf_transport_curl_new(engine->reactor);
  engine->reactor->on_ready = on_ready;
  engine->reactor->context = engine;
  return engine->transport != NULL;
}

sf_engine *sf_engine_new(void)
{
  sf_engine *engine = engine_create(fresh_seed());
  if (engine == NULL || connect_to_system(engine)) return engine;
  int error = errno;
  sf_engine_free(engine);
  errno = error;
  return NULL;
}

sf_engine *sf_engine_new_simulated(uint64_t seed)
{
  sf_engine *engine = engine_create(seed);
  if (engine == NULL) return NULL;
  engine->simulated = true;
  engine->transport = sf_transport_sim_new(engine);
  if (engine->transport != NULL) return engine;
  sf_engine_free(engine);
  return NULL;
}

bool sf_engine_is_stale(const sf_engine *engine)
{
  return engine->generation != forks && !engine->simulated;
}

/* The parent's transport and reactor are left alone. */
static void engine_abandon(sf_engine *engine)
{
  if (engine->transport != NULL) engine->transport->ops->abandon(engine->transport);
  if (engine->reactor != NULL) engine->reactor->ops->abandon(engine->reactor);
  engine->transport = NULL;
  engine->reactor = NULL;
}

static void sleeper_remove(sf_engine *engine, sf_sleeper *sleeper)
{
  sf_timers_clear(&engine->timers, &sleeper->timer);
  sf_waiter_quiet(engine, &sleeper->waiter);
  if (sleeper->prev != NULL) sleeper->prev->next = sleeper->next;
  else engine->sleepers = sleeper->next;
  if (sleeper->next != NULL) sleeper->next->prev = sleeper->prev;
  engine->sleeper_count--;
  sf_timers_unreserve(&engine->timers, 1);
  sf_free(sleeper);
}

bool sf_engine_renew(sf_engine *engine)
{
  engine_abandon(engine);
  engine->generation = forks;
  sf_random_seed(&engine->random, fresh_seed());
  for (sf_client *client = engine->clients; client != NULL; client = client->next)
    while (client->calls != NULL)
      sf_call_settle(client->calls, false, SF_KIND_CLOSED, 0, "begun before the process forked");
  if (!connect_to_system(engine)) {
    sf_engine_close(engine);
    return false;
  }
  for (sf_client *client = engine->clients; client != NULL; client = client->next)
    engine->transport->ops->expect(engine->transport, client->config.concurrency.limit);
  if (engine->foreign) sf_engine_turned(engine);
  return true;
}

void sf_engine_close(sf_engine *engine)
{
  if (engine->closed) return;
  engine->closed = true;
  if (sf_engine_is_stale(engine)) engine_abandon(engine);
  while (engine->clients != NULL) {
    sf_client *client = engine->clients;
    while (client->calls != NULL) sf_call_settle(client->calls, false, SF_KIND_CLOSED, 0, "the engine was closed");
    sf_client_detach(client);
  }
  while (engine->sleepers != NULL) sleeper_remove(engine, engine->sleepers);
  while (engine->news_count > 0) sf_waiter_quiet(engine, engine->news.next);
  if (engine->transport != NULL) engine->transport->ops->free(engine->transport);
  if (engine->reactor != NULL) engine->reactor->ops->free(engine->reactor);
  engine->transport = NULL;
  engine->reactor = NULL;
  sf_call_drain(engine);
}

void sf_engine_free(sf_engine *engine)
{
  if (engine == NULL) return;
  sf_engine_close(engine);
  sf_timers_fini(&engine->timers);
  sf_free(engine);
}

/* ---- the turn ---- */

int64_t sf_engine_now(const sf_engine *engine)
{
  return engine->simulated ? engine->virtual_now : sf_clock_now();
}

int64_t sf_engine_next_due(const sf_engine *engine)
{
  if (engine->transport == NULL) return SF_NEVER;
  if (engine->ended != NULL || engine->dirty != NULL) return 0; /* postponed */
  return sf_time_min(sf_timers_next(&engine->timers), engine->transport->ops->next_due(engine->transport));
}

int sf_engine_fd(sf_engine *engine)
{
  if (engine->reactor == NULL) return -1;
  engine->foreign = true;
  sf_engine_turned(engine);
  return engine->reactor->ops->fd(engine->reactor);
}

/* Up-calls only queued; here their consequences are drawn, until nothing follows any more. */
static void draw_consequences(sf_engine *engine)
{
  while (engine->ended != NULL || engine->dirty != NULL) {
    sf_attempt *attempt = engine->ended;
    if (attempt != NULL) {
      engine->ended = attempt->next_ended;
      if (engine->ended == NULL) engine->ended_tail = &engine->ended;
      sf_attempt_judge(attempt);
      continue;
    }
    sf_client *client = engine->dirty;
    engine->dirty = client->next_dirty;
    client->dirty = false;
    sf_retry_resume(client);
    sf_queue_pump(client);
  }
}

static void keep_fd_honest(sf_engine *engine, bool news)
{
  if (!engine->foreign || engine->reactor == NULL) return;
  int64_t due = sf_engine_next_due(engine);
  if (news || due <= sf_clock_now()) engine->reactor->ops->ring(engine->reactor);
  else engine->reactor->ops->arm(engine->reactor, due);
}

void sf_engine_postpone(sf_engine *engine)
{
  if (!engine->closed) keep_fd_honest(engine, engine->news_count > 0);
}

static void turn_transport(sf_engine *engine, int64_t now)
{
  if (engine->transport->ops->next_due(engine->transport) <= now) engine->transport->ops->turn(engine->transport, now);
  draw_consequences(engine);
}

/*
 * In a loop that is not ours, what was handed to the transport is sent here and now: waking that loop for it would cost as
 * much again. Of several that come in quick succession only the first: the others go out together, in the next turn.
 */
static void draw_and_send(sf_engine *engine)
{
  draw_consequences(engine);
  if (!engine->foreign || engine->transport == NULL || engine->transport->ops->next_due(engine->transport) > 0) return;
  int64_t now = sf_clock_now();
  if (now - engine->sent_ns < QUICK_SUCCESSION_NS) return;
  engine->sent_ns = now;
  turn_transport(engine, now);
}

void sf_engine_turned(sf_engine *engine)
{
  if (engine->closed) return;
  draw_and_send(engine);
  keep_fd_honest(engine, engine->news_count > 0);
}

void sf_engine_answered(sf_engine *engine, sf_waiter *waiter)
{
  if (engine->closed) return;
  draw_and_send(engine);
  sf_waiter_quiet(engine, waiter);
  keep_fd_honest(engine, engine->news_count > 0);
}

/* Sockets were drained: now timers are judged, then everything that follows. */
static void finish_turn(sf_engine *engine)
{
  int64_t now = sf_engine_now(engine);
  engine->sent_ns = 0;
  turn_transport(engine, now);
  sf_timers_run(&engine->timers, now);
  draw_and_send(engine);
}

static size_t turn(sf_engine *engine, int64_t timeout_ns, bool taken)
{
  if (engine->closed || engine->transport == NULL) return engine->news_count;
  if (engine->reactor != NULL) engine->reactor->ops->poll(engine->reactor, timeout_ns);
  finish_turn(engine);
  keep_fd_honest(engine, !taken && engine->news_count > 0);
  return engine->news_count;
}

size_t sf_engine_step(sf_engine *engine)
{
  return turn(engine, 0, false);
}

size_t sf_engine_turn(sf_engine *engine)
{
  return turn(engine, 0, true);
}

size_t sf_engine_wait(sf_engine *engine, int64_t timeout_ns)
{
  if (engine->closed || engine->reactor == NULL) return engine->news_count;
  if (engine->news_count > 0) timeout_ns = 0;
  if (timeout_ns > 0) {
    int64_t now = sf_clock_now(), due = sf_engine_next_due(engine);
    if (due != SF_NEVER) timeout_ns = sf_time_min(timeout_ns, due > now ? due - now : 0);
  }
  return turn(engine, timeout_ns, false);
}

bool sf_engine_advance(sf_engine *engine, int64_t span_ns)
{
  if (!engine->simulated || engine->closed) return false;
  int64_t end = sf_time_add(engine->virtual_now, span_ns);
  int64_t due = sf_engine_next_due(engine);
  if (due > end) {
    if (end != SF_NEVER) engine->virtual_now = end;
    return false;
  }
  engine->virtual_now = sf_time_max(engine->virtual_now, due);
  finish_turn(engine);
  return true;
}

/* ---- news ---- */

void sf_waiter_init(sf_engine *engine, sf_waiter *waiter)
{
  *waiter = (sf_waiter){ .id = ++engine->last_id };
}

void sf_waiter_wake(sf_engine *engine, sf_waiter *waiter)
{
  if (waiter->ready) return;
  waiter->ready = true;
  waiter->prev = engine->news.prev;
  waiter->next = &engine->news;
  waiter->prev->next = waiter->next->prev = waiter;
  engine->news_count++;
}

void sf_waiter_quiet(sf_engine *engine, sf_waiter *waiter)
{
  if (!waiter->ready) return;
  waiter->ready = false;
  waiter->prev->next = waiter->next;
  waiter->next->prev = waiter->prev;
  engine->news_count--;
}

uint64_t sf_engine_pop(sf_engine *engine)
{
  if (engine->news_count == 0) return 0;
  sf_waiter *waiter = engine->news.next;
  uint64_t id = waiter->id;
  sf_waiter_quiet(engine, waiter);
  if (waiter->sleeper) sleeper_remove(engine, (sf_sleeper *)waiter);
  /* It rang for the news: a loop that arms or looks only now would turn once for nothing. */
  if (engine->news_count == 0 && engine->reactor != NULL && engine->reactor->ops->hush(engine->reactor))
    keep_fd_honest(engine, false);
  return id;
}

/* ---- sleepers ---- */

static void sleeper_fire(sf_timer *timer, int64_t now)
{
  (void)now;
  sf_sleeper *sleeper = (sf_sleeper *)((char *)timer - offsetof(sf_sleeper, timer));
  sf_waiter_wake(sleeper->engine, &sleeper->waiter);
}

uint64_t sf_engine_sleep(sf_engine *engine, int64_t duration_ns)
{
  sf_sleeper *sleeper = sf_alloc_zero(sizeof *sleeper);
  if (sleeper == NULL || !sf_timers_reserve(&engine->timers, 1)) {
    sf_free(sleeper);
    return 0;
  }
  sf_waiter_init(engine, &sleeper->waiter);
  sleeper->waiter.sleeper = true;
  sleeper->engine = engine;
  sleeper->timer.due_ns = SF_NEVER;
  sleeper->timer.fire = sleeper_fire;
  sleeper->next = engine->sleepers;
  if (sleeper->next != NULL) sleeper->next->prev = sleeper;
  engine->sleepers = sleeper;
  engine->sleeper_count++;
  sf_timers_set(&engine->timers, &sleeper->timer, sf_time_add(sf_engine_now(engine), duration_ns));
  sf_engine_turned(engine);
  return sleeper->waiter.id;
}

bool sf_engine_cancel_sleep(sf_engine *engine, uint64_t id)
{
  for (sf_sleeper *sleeper = engine->sleepers; sleeper != NULL; sleeper = sleeper->next)
    if (sleeper->waiter.id == id) {
      sleeper_remove(engine, sleeper);
      return true;
    }
  return false;
}
