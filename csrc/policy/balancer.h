/*
 * balancer.h: which line to ask: priority tiers first, then within the tier by strategy: weighted P2C on the peak EWMA of
 * the first-token time x (in flight + 1), weighted random, round robin, or simply the first. A new or returning line
 * starts slowly; one without history gets one request until it answers; a share of picks explores.
 * Source: Finagle/linkerd (peak EWMA, P2C), Envoy (slow start), Mitzenmacher (two choices).
 */
#ifndef SF_BALANCER_H
#define SF_BALANCER_H

#include "random.h"

typedef struct sf_ewma {
  /* f32 seconds in the high half, u32 milliseconds of the last sample in the low; 0 = no sample */
  _Atomic uint64_t word;
} sf_ewma;

typedef enum { SF_ROUTE_LATENCY, SF_ROUTE_WEIGHTED, SF_ROUTE_ROUND_ROBIN, SF_ROUTE_PRIORITY } sf_routing_strategy;

typedef struct sf_routing_config {
  sf_routing_strategy strategy;
  int64_t decay_ns;      /* 10 s: time constant of the EWMA */
  int64_t slow_start_ns; /* 60 s */
  int64_t penalty_ns;    /* 5 s: the sample that a failure records, at least */
  double explore;        /* 0.02: share of picks that ignore latency */
} sf_routing_config;

typedef struct sf_candidate {
  bool excluded;
  uint32_t priority; /* 1 is asked first */
  double weight;     /* > 0 */
  uint32_t in_flight;
  const sf_ewma *ewma;
  int64_t started_at; /* when the line was made or came back: slow start counts from here; <= 0: no slow start */
} sf_candidate;

SF_BEGIN_DECLS

void sf_ewma_init(sf_ewma *ewma);
/* A sample raises the value at once (peak) and lowers it with the time constant. */
void sf_ewma_sample(sf_ewma *ewma, int64_t now, int64_t sample_ns, int64_t decay_ns);
/* The value now in ns; decays towards 0 while nothing is heard; < 0 = no history. */
int64_t sf_ewma_value(const sf_ewma *ewma, int64_t now, int64_t decay_ns);

/* Envoy's slow start factor, 0.1 .. 1. */
double sf_slow_start(int64_t age_ns, int64_t window_ns, double aggression);

/* Index of the candidate to ask, or -1 when all are excluded. `turn` is the round robin counter (owned by the caller). */
int sf_balancer_pick(const sf_candidate *candidates, size_t count, const sf_routing_config *config, int64_t now,
                     sf_random *random, _Atomic uint64_t *turn);

SF_END_DECLS

#endif
