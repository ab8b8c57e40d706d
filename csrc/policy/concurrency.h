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

/* The limit, where it adapts; processes may share it. */
typedef struct sf_concurrency_level {
  _Atomic uint32_t limit;     /* 0 = not yet started: the configured one */
  _Atomic int64_t lowered_at; /* time of the last decrease */
  _Atomic int64_t raised_at;  /* time of the last increase */
} sf_concurrency_level;

/* What is held here. What others hold of the same limit comes in as `elsewhere`. */
typedef struct sf_concurrency {
  _Atomic uint32_t in_flight;
  _Atomic uint32_t peak;
} sf_concurrency;

SF_BEGIN_DECLS

void sf_concurrency_level_init(sf_concurrency_level *level);
void sf_concurrency_init(sf_concurrency *limiter);

/* limit: as sf_concurrency_limit gives it, 0 = none. */
bool sf_concurrency_acquire(sf_concurrency *limiter, uint32_t limit, uint32_t elsewhere);
bool sf_concurrency_has_room(const sf_concurrency *limiter, uint32_t limit, uint32_t elsewhere);

/* Gives one slot back, exactly once per acquire. elapsed_ns: how long it was held (the round trip). */
void sf_concurrency_release(sf_concurrency *limiter, sf_concurrency_level *level, const sf_concurrency_config *config,
                            uint32_t elsewhere, int64_t now, sf_slot_effect effect, int64_t elapsed_ns);

uint32_t sf_concurrency_limit(const sf_concurrency_level *level, const sf_concurrency_config *config);

SF_END_DECLS

#endif
