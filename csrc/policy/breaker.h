/*
 * breaker.h: a circuit breaker in atomic words: closed, open, half-open.
 *
 * It opens on consecutive failures, OR a failure ratio, OR a slow-call ratio over a window of ten epoch-tagged buckets
 * (comparisons are >=). The open time grows, with jitter, while probes fail. A half-open probe is a lease with expiry and
 * generation: a lost prober cannot block it, a late report is ignored.
 * Source: linkerd2-proxy (trip rule), gobreaker (generation), Resilience4j (slow calls).
 */
#ifndef SF_BREAKER_H
#define SF_BREAKER_H

#include "outcome.h"

#define SF_BREAKER_BUCKETS 10

typedef struct sf_breaker_config {
  uint32_t failure_threshold;  /* consecutive failures that open it; 0 = off */
  double failure_ratio;        /* 0..1; 0 = off */
  uint32_t min_calls;          /* calls in the window before a ratio counts */
  int64_t window_ns;           /* length of the window */
  int64_t slow_call_ns;        /* a first token later than this is slow; 0 = off */
  double slow_ratio;           /* 0..1 */
  int64_t recovery_ns;         /* first open time */
  int64_t max_recovery_ns;     /* open times double up to this */
  uint32_t half_open_requests; /* probes at once, 1..63; so many successes close it */
  int64_t lease_ns;            /* life of a probe */
  double jitter;               /* 0..1: so much longer at most; 0 = none, else later open times are also shorter */
} sf_breaker_config;

typedef struct sf_breaker {
  _Atomic uint64_t state;                     /* state 2, generation 14, level 5, permits 6, deadline 37 bits (ms) */
  _Atomic uint64_t run;                       /* consecutive failures, tagged with the generation */
  _Atomic uint64_t calls[SF_BREAKER_BUCKETS]; /* epoch 24, total 20, failures 20 */
  _Atomic uint64_t slow[SF_BREAKER_BUCKETS];  /* epoch 24, total 20, slow 20 */
} sf_breaker;

typedef enum { SF_BREAKER_CLOSED, SF_BREAKER_OPEN, SF_BREAKER_HALF_OPEN } sf_breaker_state;

/* What an allowed call holds until it reports, exactly once. */
typedef struct sf_permit {
  uint32_t generation;
  bool probe;
  bool held; /* cleared by the report: a second one is a no-op */
} sf_permit;

SF_BEGIN_DECLS

void sf_breaker_init(sf_breaker *breaker);

/* May a call go now? true: `permit` is held. false: *retry_in_ns says when to ask again (> 0). */
bool sf_breaker_allow(sf_breaker *breaker, const sf_breaker_config *config, int64_t now, sf_permit *permit,
                      int64_t *retry_in_ns);

/* The same question without taking: 0 = it would be allowed, else the wait. */
int64_t sf_breaker_retry_in(const sf_breaker *breaker, const sf_breaker_config *config, int64_t now);

/*
 * Ends the permit. effect: SF_BREAKER_OK, BAD, BAD_RATIO, BAD_RUN, or IGNORE (released; of the call only a
 * first token later than slow_call_ns is remembered). A slow first token fails a probe. first_token_ns: < 0 = unknown.
 * random: [0, 1), for the jitter of the open time.
 */
void sf_breaker_report(sf_breaker *breaker, const sf_breaker_config *config, int64_t now, double random,
                       sf_permit *permit, sf_breaker_effect effect, int64_t first_token_ns);

/* Whoever holds a lease of a probe may be gone: it ends now, and the next caller is a probe. */
void sf_breaker_expire(sf_breaker *breaker, int64_t now);

/* Any byte from the line: forgives the consecutive run. */
void sf_breaker_alive(sf_breaker *breaker);

/* The state as a caller at `now` would find it; *left_ns (may be NULL): time until the next probe when open. */
sf_breaker_state sf_breaker_state_at(const sf_breaker *breaker, const sf_breaker_config *config, int64_t now,
                                     int64_t *left_ns);

const char *sf_breaker_state_name(sf_breaker_state state);

SF_END_DECLS

#endif
