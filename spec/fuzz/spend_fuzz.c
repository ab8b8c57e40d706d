/*
 * spend_fuzz.c: any bytes as a budget and as what is spent of it, at any times. Whatever the clock does, sums stay in their
 * bits, money counts where it was added, waits end, and what is refused is free again when the window has ended.
 */
#include "policy/spend.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
  if (!condition) abort();
}

static bool take(const uint8_t **data, size_t *size, void *to, size_t bytes)
{
  if (*size < bytes) return false;
  memcpy(to, *data, bytes);
  *data += bytes;
  *size -= bytes;
  return true;
}

static bool read_config(const uint8_t **data, size_t *size, sf_spend_config *config)
{
  uint8_t per;
  uint64_t limit;
  uint32_t seconds;
  if (!take(data, size, &per, 1) || !take(data, size, &limit, sizeof limit) ||
      !take(data, size, &seconds, sizeof seconds))
    return false;
  config->per = (sf_spend_per)(per % (SF_PER_SECONDS + 1));
  config->limit = 1 + limit % SF_SPEND_MOST;
  config->seconds = 1 + (int64_t)(seconds * UINT64_C(4)) % INT64_C(10000000000);
  return true;
}

static void check_one(sf_spend *spend, const sf_spend_config *config, int64_t wall, uint64_t micros)
{
  uint64_t before = sf_spend_spent(spend, config, wall);
  sf_spend_add(spend, config, wall, micros);
  uint64_t after = sf_spend_spent(spend, config, wall), room = SF_SPEND_MOST - before;
  require(after == before + (micros < room ? micros : room) && after <= SF_SPEND_MOST);
  int64_t left = sf_spend_resets_in(spend, config, wall), wait = sf_spend_peek(spend, config, wall);
  require(left > 0 && wait == (after < config->limit ? 0 : left));
  require(config->per != SF_PER_TOTAL || left == SF_NEVER);
  if (left == SF_NEVER) return;
  int64_t end = sf_time_add(sf_time_max(0, wall), left);
  require(sf_spend_spent(spend, config, end - 1) == after);
  if (end < SF_NEVER) require(sf_spend_spent(spend, config, end) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  sf_spend_config config;
  sf_spend spend;
  int64_t wall;
  uint64_t micros;
  sf_spend_init(&spend);
  if (!read_config(&data, &size, &config)) return 0;
  while (take(&data, &size, &wall, sizeof wall) && take(&data, &size, &micros, sizeof micros))
    check_one(&spend, &config, wall, micros);
  return 0;
}
