/*
 * timers.c: a four-ary heap ordered by (due, order); see timers.h.
 *
 * A timer that is set while timers run is filed at their `now` or later. Since its order is newer, everything that was due
 * before the turn began comes before it, and the first newer timer at the top ends the turn.
 */
#include "timers.h"

#include "memory.h"

enum { ARITY = 4, FIRST_CAPACITY = 64 };

void sf_timers_init(sf_timers *timers)
{
  *timers = (sf_timers){ .floor = INT64_MIN };
}

void sf_timers_fini(sf_timers *timers)
{
  sf_free(timers->heap);
  sf_timers_init(timers);
}

bool sf_timers_reserve(sf_timers *timers, size_t count)
{
  size_t needed = timers->reserved + count;
  if (needed > timers->capacity) {
    size_t capacity = timers->capacity * 2 > FIRST_CAPACITY ? timers->capacity * 2 : FIRST_CAPACITY;
    if (capacity < needed) capacity = needed;
    sf_timer **heap = sf_realloc(timers->heap, capacity * sizeof(sf_timer *));
    if (heap == NULL) return false;
    timers->heap = heap;
    timers->capacity = capacity;
  }
  timers->reserved = needed;
  return true;
}

void sf_timers_unreserve(sf_timers *timers, size_t count)
{
  timers->reserved -= count;
}

static bool earlier(const sf_timer *a, const sf_timer *b)
{
  return a->due_ns < b->due_ns || (a->due_ns == b->due_ns && a->order < b->order);
}

static void put(sf_timers *timers, size_t at, sf_timer *timer)
{
  timers->heap[at] = timer;
  timer->place = (uint32_t)at + 1;
}

static void sift_up(sf_timers *timers, size_t at, sf_timer *timer)
{
  for (; at > 0; at = (at - 1) / ARITY) {
    sf_timer *parent = timers->heap[(at - 1) / ARITY];
    if (!earlier(timer, parent)) break;
    put(timers, at, parent);
  }
  put(timers, at, timer);
}

static void sift_down(sf_timers *timers, size_t at, sf_timer *timer)
{
  for (;;) {
    size_t child = at * ARITY + 1, end = child + ARITY < timers->count ? child + ARITY : timers->count;
    if (child >= end) break;
    for (size_t other = child + 1; other < end; other++)
      if (earlier(timers->heap[other], timers->heap[child])) child = other;
    if (!earlier(timers->heap[child], timer)) break;
    put(timers, at, timers->heap[child]);
    at = child;
  }
  put(timers, at, timer);
}

static void settle(sf_timers *timers, size_t at, sf_timer *timer)
{
  if (at > 0 && earlier(timer, timers->heap[(at - 1) / ARITY])) sift_up(timers, at, timer);
  else sift_down(timers, at, timer);
}

void sf_timers_set(sf_timers *timers, sf_timer *timer, int64_t due_ns)
{
  if (due_ns == SF_NEVER) {
    sf_timers_clear(timers, timer);
    return;
  }
  timer->due_ns = sf_time_max(due_ns, timers->floor);
  timer->order = ++timers->order;
  if (timer->place != 0) settle(timers, timer->place - 1, timer);
  else sift_up(timers, timers->count++, timer);
}

void sf_timers_clear(sf_timers *timers, sf_timer *timer)
{
  timer->due_ns = SF_NEVER;
  if (timer->place == 0) return;
  size_t at = timer->place - 1;
  timer->place = 0;
  sf_timer *last = timers->heap[--timers->count];
  if (last != timer) settle(timers, at, last);
}

int64_t sf_timers_next(const sf_timers *timers)
{
  return timers->count > 0 ? timers->heap[0]->due_ns : SF_NEVER;
}

size_t sf_timers_run(sf_timers *timers, int64_t now)
{
  uint64_t newest = timers->order;
  size_t fired = 0;
  timers->floor = now;
  while (timers->count > 0) {
    sf_timer *timer = timers->heap[0];
    if (timer->due_ns > now || timer->order > newest) break;
    sf_timers_clear(timers, timer);
    timer->fire(timer, now);
    fired++;
  }
  timers->floor = INT64_MIN;
  return fired;
}
