/*
 * random.h: a small random generator whose state the caller owns and seeds (splitmix64 into xoshiro256**).
 * Not for secrets. Seed per process, and again after a fork. Source: Blackman and Vigna, prng.di.unimi.it (public domain).
 */
#ifndef SF_RANDOM_H
#define SF_RANDOM_H

#include "base.h"

typedef struct sf_random {
  uint64_t state[4];
} sf_random;

SF_BEGIN_DECLS

void sf_random_seed(sf_random *random, uint64_t seed);
uint64_t sf_random_next(sf_random *random);
double sf_random_unit(sf_random *random); /* [0, 1) */

SF_END_DECLS

#endif
