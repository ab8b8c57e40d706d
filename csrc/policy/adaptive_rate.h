/*
 * adaptive_rate.h: the rate that a provider really admits. First its own word (rate-limit headers), else CUBIC after the
 * first 429: growth bounded by time since the last throttle, never per success, never above twice the measured rate.
 * Before the first throttle or header it never makes anybody wait; after both, both must agree. Of the throttles within
 * half a second only the first cuts, and idle time never costs more than the cut did.
 * Source: AWS SDK adaptive mode, CUBIC (RFC 9438).
 */
#ifndef SF_ADAPTIVE_RATE_H
#define SF_ADAPTIVE_RATE_H

#include "quota_pace.h"

typedef struct sf_adaptive_config {
  double beta;     /* 0.7: what is left of the rate after a throttle */
  double scale;    /* 0.4: C of the cubic */
  double min_rate; /* 0.5 per second */
  double max_rate; /* ceiling per second; 0 = none */
} sf_adaptive_config;

typedef struct sf_adaptive {
  sf_gcra bucket;                /* paces at the learned rate */
  _Atomic uint64_t rate;         /* double bits: learned rate per second; 0 = nothing learned */
  _Atomic uint64_t ceiling;      /* double bits: Wmax */
  _Atomic int64_t throttled_at;  /* time of the last throttle; 0 = never */
  _Atomic int64_t blocked_until; /* nothing may go before (Retry-After) */
  _Atomic uint64_t measured;     /* double bits: admitted rate, smoothed */
  _Atomic uint64_t tally;        /* epoch of 0.5 s (32 bits), count (32 bits) */
  sf_quota_pace told;            /* the headers' word */
} sf_adaptive;

SF_BEGIN_DECLS

sf_adaptive_config sf_adaptive_config_default(void);
void sf_adaptive_init(sf_adaptive *state);

/* 0 = go (one cell taken), else the wait. */
int64_t sf_adaptive_acquire(sf_adaptive *state, const sf_adaptive_config *config, int64_t now);
/* Undoes an acquire whose attempt was not sent. */
void sf_adaptive_refund(sf_adaptive *state, const sf_adaptive_config *config);
int64_t sf_adaptive_peek(const sf_adaptive *state, const sf_adaptive_config *config, int64_t now);

void sf_adaptive_success(sf_adaptive *state, const sf_adaptive_config *config, int64_t now);
/* retry_after_ns: < 0 = none told; age_ns: of the request that was refused; sent_since: how many were sent after it. */
void sf_adaptive_throttled(sf_adaptive *state, const sf_adaptive_config *config, int64_t now, int64_t retry_after_ns,
                           int64_t age_ns, double sent_since);
/* See sf_quota_pace_told. */
void sf_adaptive_headers(sf_adaptive *state, int64_t now, const sf_quota_word *requests, int64_t age_ns,
                         double sent_since);

/* The learned rate per second; infinity while nothing is learned. */
double sf_adaptive_rate(const sf_adaptive *state, const sf_adaptive_config *config, int64_t now);

/* The pure curve, for tests and plots: rate at t seconds after a throttle at which the ceiling was wmax. */
double sf_cubic_rate(double wmax, double beta, double scale, double seconds);

SF_END_DECLS

#endif
