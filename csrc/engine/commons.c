/* commons.c: words and slots, private or common; see commons.h. */
#include "commons.h"

#include <stdio.h>
#include <string.h>

#include "client.h"

/* How often what others do is looked at by who waits for it. */
#define LOOK_EVERY_NS (20 * SF_MILLISECOND)

/* ---- words ---- */

void sf_client_words_init(sf_client_words *words)
{
  sf_gcra_init(&words->requests);
  sf_gcra_init(&words->tokens);
  sf_budget_init(&words->budget);
  sf_concurrency_level_init(&words->level);
}

void sf_endpoint_words_init(sf_endpoint_words *words)
{
  sf_breaker_init(&words->breaker);
  sf_ewma_init(&words->latency);
  sf_concurrency_level_init(&words->level);
}

void sf_lane_init(sf_lane *lane)
{
  sf_gcra_init(&lane->requests);
  sf_gcra_init(&lane->tokens);
  sf_adaptive_init(&lane->adaptive);
  sf_quota_pace_init(&lane->token_pace, false);
}

void sf_lane_block(sf_lane *lane, int64_t until_ns)
{
  int64_t told = atomic_load_explicit(&lane->blocked_until, memory_order_relaxed);
  while (told < until_ns && !atomic_compare_exchange_weak_explicit(&lane->blocked_until, &told, until_ns,
                                                                   memory_order_relaxed, memory_order_relaxed)) {
  }
}

/* ---- slots ---- */

uint32_t sf_slots_elsewhere(const sf_slots *slots, const sf_region *region)
{
  if (slots->cells == NULL) return 0;
  uint32_t all = sf_cells_sum(region, slots->cells), counted = sf_cells_own(region, slots->cells);
  uint32_t own = atomic_load_explicit(&slots->held.in_flight, memory_order_relaxed);
  return all - (own < counted ? own : counted); /* the rest of `counted` is other clients' of this process */
}

bool sf_slots_have_room(const sf_slots *slots, const sf_concurrency_config *config, const sf_region *region)
{
  uint32_t limit = sf_concurrency_limit(slots->level, config);
  return sf_concurrency_has_room(&slots->held, limit, limit > 0 ? sf_slots_elsewhere(slots, region) : 0);
}

bool sf_slots_acquire(sf_slots *slots, const sf_concurrency_config *config, sf_region *region)
{
  uint32_t limit = sf_concurrency_limit(slots->level, config);
  if (!sf_concurrency_acquire(&slots->held, limit, limit > 0 ? sf_slots_elsewhere(slots, region) : 0)) return false;
  if (slots->cells != NULL) sf_cells_add(region, slots->cells, 1);
  return true;
}

void sf_slots_release(sf_slots *slots, const sf_concurrency_config *config, sf_region *region, int64_t now,
                      sf_slot_effect effect, int64_t elapsed_ns)
{
  uint32_t elsewhere = config->adaptive ? sf_slots_elsewhere(slots, region) : 0;
  sf_concurrency_release(&slots->held, slots->level, config, elsewhere, now, effect, elapsed_ns);
  if (slots->cells != NULL) sf_cells_add(region, slots->cells, -1);
}

int64_t sf_commons_wake(sf_region *region, int64_t now, int64_t until_ns)
{
  if (region == NULL) return until_ns;
  sf_commons_reap(region, now);
  return sf_time_min(until_ns, sf_time_add(now, LOOK_EVERY_NS));
}

/* ---- places ---- */

static void init_client(void *place)
{
  sf_client_words_init(&((sf_common_client *)place)->words);
}

static void init_endpoint(void *place)
{
  sf_endpoint_words_init(&((sf_common_endpoint *)place)->words);
}

static void init_lane(void *place)
{
  sf_lane_init(place);
}

/* Who held a lease is not written anywhere: the probes of those that live are repeated at worst. */
void sf_commons_reap(sf_region *region, int64_t now)
{
  sf_region_entry entry;
  size_t cursor = 0;
  if (region == NULL || !sf_region_reap(region, now)) return;
  while (sf_region_next(region, &cursor, &entry))
    if (entry.kind == SF_PLACE_ENDPOINT && entry.size == sizeof(sf_common_endpoint))
      sf_breaker_expire(&((sf_common_endpoint *)entry.place)->words.breaker, now);
}

void sf_client_share(sf_client *client, sf_region *region)
{
  client->region = region;
  sf_common_client *whole = sf_region_place(region, SF_PLACE_CLIENT, "", 0, sizeof *whole, init_client);
  if (whole != NULL) {
    client->words = &whole->words;
    client->slots.level = &whole->words.level;
    client->slots.cells = &whole->cells;
  }
  for (uint32_t i = 0; i < client->endpoint_count; i++) {
    sf_endpoint *endpoint = &client->endpoints[i];
    char key[SF_REGION_KEY + 2];
    int length = snprintf(key, sizeof key, "%s\n%s", endpoint->line.name, endpoint->url);
    sf_common_endpoint *place = sf_region_place(region, SF_PLACE_ENDPOINT, key, (size_t)length, sizeof *place,
                                                init_endpoint);
    if (place == NULL) continue;
    endpoint->words = &place->words;
    endpoint->slots.level = &place->words.level;
    endpoint->slots.cells = &place->cells;
  }
}

/* Tells keys apart; what it was made of cannot be had from it. */
static uint64_t fingerprint(const char *text, size_t length)
{
  uint64_t hash = UINT64_C(0x9e3779b97f4a7c15) ^ length;
  for (size_t i = 0; i < length; i++) {
    hash = (hash ^ (unsigned char)text[i]) * UINT64_C(0xff51afd7ed558ccd);
    hash ^= hash >> 32;
  }
  return hash;
}

sf_lane *sf_commons_lane(const sf_client *client, uint32_t endpoint_index, uint32_t key, uint32_t model)
{
  const sf_endpoint *endpoint = &client->endpoints[endpoint_index];
  const sf_key *secret = key < endpoint->key_count ? &endpoint->keys[key] : NULL;
  uint64_t print = secret != NULL && secret->header != NULL ? fingerprint(secret->header, secret->length) : 0;
  char name[SF_REGION_KEY + 2];
  int length = snprintf(name, sizeof name, "%s\n%s\n%s\n%016llx", endpoint->line.name, endpoint->url,
                        client->models[model], (unsigned long long)print);
  return sf_region_place(client->region, SF_PLACE_LANE, name, (size_t)length, sizeof(sf_lane), init_lane);
}
