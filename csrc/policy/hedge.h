/*
 * hedge.h: when a second attempt is worth its cost, and how many there may be. The delay is the Kaplan-Meier quantile
 * of the first-token times of the last 512 attempts, at most 2.5 x their median: attempts that were given up
 * unanswered (losers, timeouts) count as "longer than that". To learn from winners alone would lower the delay with
 * every hedge. Failed attempts are no samples. A bucket earns `budget` hedges per first attempt and starts full.
 *
 * Where so many were given up that the curve never falls to the quantile, the longest time seen stands for it (the
 * true one is beyond), still at most 2.5 medians; where it does not even fall to the median, nothing caps the longest
 * time.
 *
 * Source: Dean and Barroso, The Tail at Scale (quantile and share); Finagle's backup requests (a measured delay, a
 * budget of its own); Kaplan and Meier 1958 (censored samples).
 */
#ifndef SF_HEDGE_H
#define SF_HEDGE_H

#include "base.h"

#define SF_HEDGE_WINDOW 512     /* samples that count, the newest */
#define SF_HEDGE_MIN_SAMPLES 50 /* answers among them, for a delay to be known */

typedef struct sf_hedge_config {
  double quantile;      /* 0.95: hedge what is slower than this share */
  double budget;        /* 0.05: hedges earned per first attempt */
  double burst;         /* 20: hedges that the bucket holds */
  int64_t min_delay_ns; /* 50 ms: never earlier */
  uint32_t min_samples; /* SF_HEDGE_MIN_SAMPLES; 1 .. SF_HEDGE_WINDOW, beyond: the nearest; all callers alike */
} sf_hedge_config;

typedef struct sf_hedge {
  _Atomic int64_t spent;                    /* burst - balance in 2^-32 of a hedge, so that 0 is a full bucket */
  _Atomic uint64_t quantile;                /* double bits: what `known_ns` was reckoned for, since init */
  _Atomic int64_t known_ns;                 /* the delay before min_delay; 0 = too few answers */
  _Atomic uint64_t due;                     /* reckoned anew when so many samples were taken ... */
  _Atomic int64_t due_at;                   /* ... or at this time */
  _Atomic uint64_t taken;                   /* samples ever; the next one's place is this % SF_HEDGE_WINDOW */
  _Atomic uint64_t window[SF_HEDGE_WINDOW]; /* when, how long, answered or not; 0 = empty */
} sf_hedge;

SF_BEGIN_DECLS

void sf_hedge_init(sf_hedge *hedge, const sf_hedge_config *config);

/* One attempt answered (its first token came), or was given up unanswered, after `elapsed_ns` from its own start. */
void sf_hedge_answered(sf_hedge *hedge, int64_t now, int64_t elapsed_ns);
void sf_hedge_censored(sf_hedge *hedge, int64_t now, int64_t elapsed_ns);

/*
 * How long to wait for an attempt before another one, ns from its start; < 0: fewer than min_samples answers. From
 * 0.5 ms on at most 1.6 % above the sample's quantile, and never below it; up to 64 samples late (16 while the window
 * fills). Samples older than an hour do not count, and a stale `now` brings none back. A quantile other than init's
 * is answered as well, at the cost of a look at the whole window.
 */
int64_t sf_hedge_delay(sf_hedge *hedge, const sf_hedge_config *config, int64_t now);

/* A first attempt earns `budget`, up to `burst`; a hedge takes 1 or is refused; one not sent gives it back. */
void sf_hedge_began(sf_hedge *hedge, const sf_hedge_config *config);
bool sf_hedge_withdraw(sf_hedge *hedge, const sf_hedge_config *config);
void sf_hedge_refund(sf_hedge *hedge, const sf_hedge_config *config);

/* Takes 1 in any case: the bucket owes it, up to as many as it holds, and gives no hedge until that is earned. */
void sf_hedge_charge(sf_hedge *hedge, const sf_hedge_config *config);

/* Hedges that the bucket holds, 0 .. burst. */
double sf_hedge_balance(const sf_hedge *hedge, const sf_hedge_config *config);

SF_END_DECLS

#endif
