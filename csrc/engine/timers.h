/*
 * timers.h: one heap of intrusive timers; its top is the next deadline of the whole engine.
 * A timer is embedded in its owner, costs nothing while idle, and fires at most once per set.
 */
#ifndef SF_TIMERS_H
#define SF_TIMERS_H

#include "../policy/base.h"

typedef struct sf_timer {
  int64_t due_ns; /* SF_NEVER when idle */
  uint32_t place; /* 1-based place in the heap, 0 when idle */
  uint64_t order; /* ties fire in the order in which they were set */
  void (*fire)(struct sf_timer *timer, int64_t now);
} sf_timer;

typedef struct sf_timers {
  sf_timer **heap; /* heap[0 .. count) */
  size_t count, capacity;
  size_t reserved; /* places promised to owners of timers */
  uint64_t order;
  int64_t floor; /* while timers run: their `now`; a time set then is not earlier, so that it waits for the next turn */
} sf_timers;

SF_BEGIN_DECLS

void sf_timers_init(sf_timers *timers);
void sf_timers_fini(sf_timers *timers);

/* Promises `count` more places (one per timer that its owner may set): false when memory is short. Setting a timer whose
 * place was promised never fails. */
bool sf_timers_reserve(sf_timers *timers, size_t count);
void sf_timers_unreserve(sf_timers *timers, size_t count); /* the owner is gone; its timers are cleared */

/* Sets or moves a timer; SF_NEVER clears it. */
void sf_timers_set(sf_timers *timers, sf_timer *timer, int64_t due_ns);
void sf_timers_clear(sf_timers *timers, sf_timer *timer);

int64_t sf_timers_next(const sf_timers *timers);

/* Fires every timer due at `now` that was set before this turn began; returns how many. */
size_t sf_timers_run(sf_timers *timers, int64_t now);

SF_END_DECLS

#endif
