/*
 * quota_pace.h: the pace that a provider's own words set (x-ratelimit-*, anthropic-ratelimit-*), for requests or tokens:
 * what is left, and until when. A word counts until its reset; a window then begins anew with the first that is sent.
 *
 * What was used comes back evenly from a bucket, and not before the reset from a window. The words do not say which it is,
 * but show it: with what is used the reset of a bucket grows, that of a window does not. Until that was seen a reset within
 * PATIENCE is waited for, a later one taken for a bucket's. Of a window of few requests it is known when each of ours leaves
 * it: so there what has left is sent anew, and what the word counts beyond ours is left to others.
 *
 * A word is as old as the request whose answer brings it. What was sent since is not in it, and is taken off what it
 * leaves; of a window that has passed meanwhile it says nothing. Junk (no limit, nothing used, no reset) is not heard.
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

#define SF_QUOTA_LOG 128 /* requests of which the times are kept */

typedef struct sf_quota_pace {
  sf_gcra bucket;
  _Atomic uint64_t rate;   /* double bits: cells per second that the last word amounts to; 0 = never told */
  _Atomic uint64_t refill; /* double bits: cells per second that come back before the reset */
  _Atomic uint64_t limit;  /* double bits: cells in all */
  _Atomic int64_t until;   /* the word counts until then */
  _Atomic uint64_t used;   /* double bits: the word that others are compared with: cells used, ... */
  _Atomic int64_t reset;   /* ... and its reset, ns */
  _Atomic int form;        /* of the quota, once it was seen */
  bool logs;               /* its cells are requests, whose times are kept */
  _Atomic int64_t length;  /* of the window: the longest reset, or Retry-After */
  _Atomic int64_t learned; /* when its limit was learned from refusals, or tried out; 0 = it is the word's */
  _Atomic uint64_t others; /* double bits: cells in the window that are not ours */
  _Atomic uint64_t known;  /* ours that the last word knew of: at its reset they are gone, ... */
  _Atomic uint64_t gone;   /* ... as those already are */
  _Atomic uint64_t sent;   /* requests ever; the next one's place is this % SF_QUOTA_LOG */
  _Atomic int64_t log[SF_QUOTA_LOG];
} sf_quota_pace;

SF_BEGIN_DECLS

void sf_quota_pace_init(sf_quota_pace *pace, bool requests); /* else tokens */

/* age_ns: of the request that brought the word; sent_since: cells of those after it. False: nothing was heard. */
bool sf_quota_pace_told(sf_quota_pace *pace, int64_t now, const sf_quota_word *word, int64_t age_ns, double sent_since);

/*
 * A 429 with Retry-After, after so many of ours, says as much where no other word does: so many, in a time so long, if that
 * is no more than PATIENCE: what one refusal says of a longer time is too little to go by for so long. age_ns
 * and sent_since: of the request that was refused. False: it was sent by what is known, so that is too much (or nothing can be learned).
 */
bool sf_quota_pace_refused(sf_quota_pace *pace, int64_t now, int64_t retry_after_ns, int64_t age_ns, double sent_since);
/* After an answer: what was learned long ago is tried to be a little more. */
void sf_quota_pace_answered(sf_quota_pace *pace, int64_t now);

/* 0 = go (taken, at most a whole window), else the wait, and nothing is taken. Nothing told, or no longer: 0. */
int64_t sf_quota_pace_acquire(sf_quota_pace *pace, int64_t now, double cost);
int64_t sf_quota_pace_peek(const sf_quota_pace *pace, int64_t now, double cost);
/* Gives back or charges `actual - taken`; of requests: one that was not sent after all, at once. */
void sf_quota_pace_settle(sf_quota_pace *pace, double taken, double actual);

/* Cells per second; infinity while nothing is told. */
double sf_quota_pace_rate(const sf_quota_pace *pace, int64_t now);

SF_END_DECLS

#endif
