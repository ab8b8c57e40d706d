/*
 * concurrency.h: how many attempts may be out at once: a fixed limit, or AIMD: +1 per round trip while the limit is used,
 * x 0.9 at most once per round trip on a drop (429, 529, timeout). Never a latency gradient: an LLM's total time follows the
 * answer's length, not the load. Source: Netflix concurrency-limits (AIMD), Vector ARC.
 */
#ifndef SF_CONCURRENCY_H
#define SF_CONCURRENCY_H

#include "outcome.h"

typedef struct sf_concurrency_config {
  bool adaptive;
  uint32_t limit; /* start value, or the fixed limit; 0 = unlimited */
  uint32_t min, max;
} sf_concurrency_config;

typedef struct sf_concurrency {
  _Atomic uint32_t limit; /* 0 = not yet started: the configured one */
  _Atomic uint32_t in_flight;
  _Atomic uint32_t peak;
  _Atomic int64_t lowered_at; /* time of the last decrease */
  _Atomic int64_t raised_at;  /* time of the last increase */
} sf_concurrency;

SF_BEGIN_DECLS

void sf_concurrency_init(sf_concurrency *limiter);
bool sf_concurrency_acquire(sf_concurrency *limiter, const sf_concurrency_config *config);
bool sf_concurrency_has_room(const sf_concurrency *limiter, const sf_concurrency_config *config);

/* Gives one slot back, exactly once per acquire. elapsed_ns: how long it was held (the round trip). */
void sf_concurrency_release(sf_concurrency *limiter, const sf_concurrency_config *config, int64_t now,
                            sf_slot_effect effect, int64_t elapsed_ns);

uint32_t sf_concurrency_limit(const sf_concurrency *limiter, const sf_concurrency_config *config);

SF_END_DECLS

#endif
