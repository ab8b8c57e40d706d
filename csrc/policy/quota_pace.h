/*
 * quota_pace.h: the pace that a provider's own words set (x-ratelimit-*, anthropic-ratelimit-*), for requests or tokens:
 * what is left of its window, and that the rest of it comes back evenly until the reset. It counts until that reset.
 *
 * A word is older than what was sent since: the cells of those whose answer is awaited may not be in it, so they are
 * taken off what it leaves. Junk (no limit, nothing used, no reset) is not heard.
 */
#ifndef SF_QUOTA_PACE_H
#define SF_QUOTA_PACE_H

#include "gcra.h"

/* What headers said of one dimension. Negative = not told. */
typedef struct sf_quota_word {
  double limit;     /* per window */
  double remaining; /* in this window */
  int64_t reset_ns; /* until it is full again, from now */
} sf_quota_word;

typedef struct sf_quota_pace {
  sf_gcra bucket;         /* its arrival time is when the window is full */
  _Atomic uint64_t rate;  /* double bits: cells that come back per second; 0 = never told */
  _Atomic uint64_t limit; /* double bits: cells of the window */
  _Atomic int64_t until;  /* the word counts until then */
} sf_quota_pace;

SF_BEGIN_DECLS

void sf_quota_pace_init(sf_quota_pace *pace);

/* awaited: cells of those that were sent and not answered, beside the one that brought the word. False: nothing heard. */
bool sf_quota_pace_told(sf_quota_pace *pace, int64_t now, const sf_quota_word *word, double awaited);

/* 0 = go (taken, at most a whole window), else the wait, and nothing is taken. Nothing told, or no longer: 0. */
int64_t sf_quota_pace_acquire(sf_quota_pace *pace, int64_t now, double cost);
int64_t sf_quota_pace_peek(const sf_quota_pace *pace, int64_t now, double cost);
/* Gives back or charges `actual - taken`. */
void sf_quota_pace_settle(sf_quota_pace *pace, double taken, double actual);

/* Cells per second; infinity while nothing is told. */
double sf_quota_pace_rate(const sf_quota_pace *pace, int64_t now);

SF_END_DECLS

#endif
