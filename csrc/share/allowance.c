/*
 * allowance.c: looks first, so that a refusal takes nothing; what others take in between is found out while taking, and
 * then all is given back. A place is counted before it is looked whether there was one: of those who meet at the last
 * place none may get it, but never two.
 */
#include "allowance.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { TRIES = 4 }; /* for a place that others were after, too */

#define MOST_BURSTS 60 /* what one pass is charged at most: a slip must not shut the bucket for days */

static void init_words(sf_allowance_words *words)
{
  sf_gcra_init(&words->requests);
  sf_gcra_init(&words->tokens);
}

static void init_common(void *place)
{
  init_words(&((sf_common_allowance *)place)->words);
}

static void init_spend(void *place)
{
  sf_spend_init(place);
}

void sf_allowance_init(sf_allowance *allowance, const sf_allowance_config *config)
{
  *allowance = (sf_allowance){ .config = *config };
  init_words(&allowance->own_words);
  sf_spend_init(&allowance->own_budget);
  allowance->words = &allowance->own_words;
  allowance->budget = &allowance->own_budget;
}

bool sf_allowance_share(sf_allowance *allowance, sf_region *region, const char *key, size_t key_length)
{
  char name[SF_REGION_KEY];
  if (key_length > sizeof name - 32) return false;
  sf_common_allowance *place = sf_region_place(region, SF_PLACE_ALLOWANCE, key, key_length, sizeof *place, init_common);
  if (place == NULL) return false;
  if (allowance->config.has_budget) {
    const sf_spend_config *budget = &allowance->config.budget;
    int tail = snprintf(name, 32, "%d %lld ", (int)budget->per,
                        budget->per == SF_PER_SECONDS ? (long long)budget->seconds : 0LL);
    memcpy(name + tail, key, key_length);
    sf_spend *spend = sf_region_place(region, SF_PLACE_SPEND, name, (size_t)tail + key_length, sizeof *spend,
                                      init_spend);
    if (spend == NULL) return false;
    allowance->budget = spend;
  }
  allowance->words = &place->words;
  allowance->cells = &place->cells;
  allowance->region = region;
  return true;
}

void sf_allowance_forked(sf_allowance *allowance)
{
  atomic_store_explicit(&allowance->held, 0, memory_order_relaxed);
  allowance->fraction = 0;
}

/* ---- places ---- */

static uint32_t in_flight(const sf_allowance *allowance)
{
  uint32_t own = atomic_load_explicit(&allowance->held, memory_order_relaxed);
  if (allowance->cells == NULL) return own;
  uint32_t all = sf_cells_sum(allowance->region, allowance->cells);
  uint32_t counted = sf_cells_own(allowance->region, allowance->cells);
  return all - (own < counted ? own : counted) + own; /* also where the region has no cell for this process */
}

static bool is_full(const sf_allowance *allowance)
{
  return allowance->config.concurrency > 0 && in_flight(allowance) >= allowance->config.concurrency;
}

static void give_place(sf_allowance *allowance)
{
  atomic_fetch_sub_explicit(&allowance->held, 1, memory_order_relaxed);
  if (allowance->cells != NULL) sf_cells_add(allowance->region, allowance->cells, -1);
}

/* The fence: whoever counts after it sees all who did so before theirs. */
static bool take_place(sf_allowance *allowance)
{
  uint32_t limit = allowance->config.concurrency;
  for (int i = 0; i < TRIES && !is_full(allowance); i++) {
    atomic_fetch_add_explicit(&allowance->held, 1, memory_order_relaxed);
    if (allowance->cells != NULL) sf_cells_add(allowance->region, allowance->cells, 1);
    atomic_thread_fence(memory_order_seq_cst);
    if (limit == 0 || in_flight(allowance) <= limit) return true;
    give_place(allowance);
  }
  return false;
}

/* ---- all of it ---- */

static double reserved(const sf_allowance *allowance, double tokens)
{
  if (!allowance->config.has_tokens) return 0;
  return fmin(fmax(tokens, 0), allowance->config.tokens.burst);
}

static sf_allowance_answer look(const sf_allowance *allowance, int64_t now, int64_t wall, double tokens, int64_t *wait)
{
  const sf_allowance_config *config = &allowance->config;
  int64_t requests = 0, minutes = 0;
  *wait = config->has_budget ? sf_spend_peek(allowance->budget, &config->budget, wall) : 0;
  if (*wait > 0) return SF_REFUSED_BUDGET;
  if (config->has_requests) requests = sf_gcra_peek(&allowance->words->requests, &config->requests, now, 1);
  if (config->has_tokens) minutes = sf_gcra_peek(&allowance->words->tokens, &config->tokens, now, tokens);
  *wait = sf_time_max(requests, minutes);
  if (*wait == 0) return SF_ALLOWED;
  return requests >= minutes ? SF_REFUSED_REQUESTS : SF_REFUSED_TOKENS;
}

/* Both rates, or none. */
static sf_allowance_answer take_rates(sf_allowance *allowance, int64_t now, double tokens, int64_t *wait)
{
  const sf_allowance_config *config = &allowance->config;
  *wait = config->has_requests ? sf_gcra_try(&allowance->words->requests, &config->requests, now, 1) : 0;
  if (*wait > 0) return SF_REFUSED_REQUESTS;
  *wait = config->has_tokens ? sf_gcra_try(&allowance->words->tokens, &config->tokens, now, tokens) : 0;
  if (*wait == 0) return SF_ALLOWED;
  if (config->has_requests) sf_gcra_settle(&allowance->words->requests, &config->requests, 1, 0);
  return SF_REFUSED_TOKENS;
}

sf_allowance_answer sf_allowance_peek(const sf_allowance *allowance, int64_t now, int64_t wall, double tokens,
                                      int64_t *wait)
{
  sf_allowance_answer answer = look(allowance, now, wall, reserved(allowance, tokens), wait);
  return answer == SF_ALLOWED && is_full(allowance) ? SF_REFUSED_CONCURRENCY : answer;
}

sf_allowance_answer sf_allowance_enter(sf_allowance *allowance, int64_t now, int64_t wall, double tokens, sf_pass *pass,
                                       int64_t *wait)
{
  *pass = (sf_pass){ .held = false, .tokens = reserved(allowance, tokens) };
  sf_allowance_answer answer = look(allowance, now, wall, pass->tokens, wait);
  if (answer != SF_ALLOWED) return answer;
  if (!take_place(allowance)) return SF_REFUSED_CONCURRENCY;
  answer = take_rates(allowance, now, pass->tokens, wait);
  pass->held = answer == SF_ALLOWED;
  if (!pass->held) give_place(allowance);
  return answer;
}

void sf_allowance_leave(sf_allowance *allowance, sf_pass *pass, double tokens)
{
  const sf_allowance_config *config = &allowance->config;
  if (!pass->held) return;
  pass->held = false;
  give_place(allowance);
  if (config->has_tokens && tokens >= 0)
    sf_gcra_settle(&allowance->words->tokens, &config->tokens, pass->tokens,
                   fmin(tokens, MOST_BURSTS * config->tokens.burst));
}

void sf_allowance_spend(sf_allowance *allowance, int64_t wall, double dollars)
{
  if (!allowance->config.has_budget || !(dollars > 0)) return;
  double micros = fmin(dollars * 1e6, (double)SF_SPEND_MOST) + allowance->fraction;
  allowance->fraction = micros - floor(micros);
  if (micros >= 1) sf_spend_add(allowance->budget, &allowance->config.budget, wall, (uint64_t)micros);
}

void sf_allowance_read(const sf_allowance *allowance, int64_t now, int64_t wall, sf_allowance_numbers *numbers)
{
  const sf_allowance_config *config = &allowance->config;
  *numbers = (sf_allowance_numbers){ .in_flight = in_flight(allowance) };
  if (config->has_requests)
    numbers->requests_left = sf_gcra_remaining(&allowance->words->requests, &config->requests, now);
  if (config->has_tokens) numbers->tokens_left = sf_gcra_remaining(&allowance->words->tokens, &config->tokens, now);
  if (!config->has_budget) return;
  numbers->spent = sf_spend_spent(allowance->budget, &config->budget, wall);
  numbers->resets_in = sf_spend_resets_in(allowance->budget, &config->budget, wall);
}
