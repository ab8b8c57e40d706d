/*
 * gcra.h: a rate limit in one atomic word, with weighted cost, refund and settlement. It returns the wait, it never
 * waits. Immune to a stale `now`: the theoretical arrival time only moves by max(). 0 = a full bucket.
 * Source: ITU-T I.371 GCRA; brandur/throttled and governor for the arithmetic.
 */
#ifndef SF_GCRA_H
#define SF_GCRA_H

#include "base.h"

typedef struct sf_gcra {
  _Atomic int64_t arrival; /* theoretical arrival time, ns */
} sf_gcra;

typedef struct sf_gcra_config {
  double period_ns; /* time of one cell: 1e9 / rate */
  double burst;     /* cells that fit at once, >= 1 */
} sf_gcra_config;

SF_BEGIN_DECLS

void sf_gcra_init(sf_gcra *bucket);

/* rate: cells per second, > 0; burst: cells, < 1 is taken as 1. */
sf_gcra_config sf_gcra_config_make(double rate, double burst);

/* Takes `cost` cells: 0 = granted, > 0 = refused, wait so many ns, SF_NEVER = can never fit. Refusal changes nothing. */
int64_t sf_gcra_try(sf_gcra *bucket, const sf_gcra_config *config, int64_t now, double cost);

/* The same answer, and nothing is taken. */
int64_t sf_gcra_peek(const sf_gcra *bucket, const sf_gcra_config *config, int64_t now, double cost);

/* Always takes, into debt if need be, and returns the wait; SF_NEVER when the cost exceeds the burst: nothing is taken. */
int64_t sf_gcra_reserve(sf_gcra *bucket, const sf_gcra_config *config, int64_t now, double cost);

/* Gives back or charges `actual - reserved`; a refund never makes the bucket hold more than its burst. */
void sf_gcra_settle(sf_gcra *bucket, const sf_gcra_config *config, double reserved, double actual);

/* Whole cells that are free now, 0 .. burst. */
double sf_gcra_remaining(const sf_gcra *bucket, const sf_gcra_config *config, int64_t now);

SF_END_DECLS

#endif
