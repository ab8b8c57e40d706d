/*
 * spend.h: a sum of money that may be spent in a window of time, in one atomic word. What was spent is added once it is
 * known, so those who are let in while a little is left may together overshoot by what they have in flight.
 *
 * Windows of an hour, a day and a month are those of the calendar in UTC; others begin at multiples of their length since
 * 1970. The wall clock comes in; where it is set back by less than a window, what was spent stays spent.
 */
#ifndef SF_SPEND_H
#define SF_SPEND_H

#include "base.h"

typedef enum { SF_PER_TOTAL, SF_PER_HOUR, SF_PER_DAY, SF_PER_MONTH, SF_PER_SECONDS } sf_spend_per;

typedef struct sf_spend_config {
  uint64_t limit; /* micro-dollars, 1 .. SF_SPEND_MOST */
  sf_spend_per per;
  int64_t seconds; /* length of a window, >= 1; SF_PER_SECONDS only */
} sf_spend_config;

typedef struct sf_spend {
  _Atomic uint64_t word; /* number of the window 24 bits, micro-dollars 40 bits; 0 = nothing yet */
} sf_spend;

#define SF_SPEND_MOST ((UINT64_C(1) << 40) - 1) /* a million dollars and some; sums stay there */

SF_BEGIN_DECLS

void sf_spend_init(sf_spend *spend);

/* Times are ns since 1970. 0 = there is money left; > 0: spent, for so many ns more; SF_NEVER: for good. */
int64_t sf_spend_peek(const sf_spend *spend, const sf_spend_config *config, int64_t wall);

void sf_spend_add(sf_spend *spend, const sf_spend_config *config, int64_t wall, uint64_t micros);

/* Of the window of now: what was spent, and how long it lasts yet. */
uint64_t sf_spend_spent(const sf_spend *spend, const sf_spend_config *config, int64_t wall);
int64_t sf_spend_resets_in(const sf_spend *spend, const sf_spend_config *config, int64_t wall);

SF_END_DECLS

#endif
