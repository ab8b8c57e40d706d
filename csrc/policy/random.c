/*
 * random.c: splitmix64 spreads the seed, xoshiro256** draws.
 */
#include "random.h"

static uint64_t sf_splitmix(uint64_t *state)
{
  uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

static inline uint64_t sf_rotate(uint64_t x, int bits)
{
  return (x << bits) | (x >> (64 - bits));
}

void sf_random_seed(sf_random *random, uint64_t seed)
{
  for (int i = 0; i < 4; i++) random->state[i] = sf_splitmix(&seed);
}

uint64_t sf_random_next(sf_random *random)
{
  uint64_t *s = random->state;
  uint64_t result = sf_rotate(s[1] * 5, 7) * 9;
  uint64_t t = s[1] << 17;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= t;
  s[3] = sf_rotate(s[3], 45);
  return result;
}

double sf_random_unit(sf_random *random)
{
  return (double)(sf_random_next(random) >> 11) * 0x1p-53;
}
