/*
 * spend.c: the word holds a window and its sum; whoever finds another window than that of now begins anew. Numbers of
 * windows are cut to 24 bits: those of an hour last for 1900 years, those of a second for 194 days, after which a word
 * that nobody has touched since would be taken for one of now.
 */
#include "spend.h"

#define SUM_BITS 40
#define WINDOWS (UINT64_C(1) << (64 - SUM_BITS))
#define DAY INT64_C(86400)

typedef struct window {
  uint64_t number;
  int64_t end; /* seconds since 1970; SF_NEVER */
} window;

static int days_in_month(int64_t year, int month)
{
  static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
  bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  return days[month - 1] + (month == 2 && leap);
}

/* The month of a day, both counted from 1970. Source: Howard Hinnant, civil_from_days. */
static window month_at(int64_t day)
{
  int64_t shifted = day + 719468, era = shifted / 146097, of_era = shifted % 146097;
  int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
  int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
  int from_march = (int)((5 * of_year + 2) / 153);
  int64_t of_month = of_year - (153 * from_march + 2) / 5;
  int month = from_march < 10 ? from_march + 3 : from_march - 9;
  year += era * 400 + (month <= 2);
  window found = { .number = (uint64_t)((year - 1970) * 12 + month - 1),
                   .end = (day - of_month + days_in_month(year, month)) * DAY };
  return found;
}

static window window_of_length(int64_t seconds, int64_t length)
{
  window found = { .number = (uint64_t)(seconds / length), .end = (seconds / length + 1) * length };
  return found;
}

static window window_at(const sf_spend_config *config, int64_t seconds)
{
  window found = { .number = 0, .end = SF_NEVER };
  switch (config->per) {
  case SF_PER_HOUR: found = window_of_length(seconds, 3600); break;
  case SF_PER_DAY: found = window_of_length(seconds, DAY); break;
  case SF_PER_SECONDS: found = window_of_length(seconds, config->seconds); break;
  case SF_PER_MONTH: found = month_at(seconds / DAY); break;
  case SF_PER_TOTAL: break;
  }
  found.number %= WINDOWS;
  return found;
}

/* The window that counts: the next one where the word is in it already, since the clock was set back. */
static window window_now(uint64_t word, const sf_spend_config *config, int64_t wall)
{
  window now = window_at(config, sf_time_max(0, wall) / SF_SECOND);
  bool is_ahead = now.end != SF_NEVER && word >> SUM_BITS == (now.number + 1) % WINDOWS;
  return is_ahead ? window_at(config, now.end) : now;
}

static uint64_t sum_in(uint64_t word, const window *now)
{
  return word >> SUM_BITS == now->number ? word & SF_SPEND_MOST : 0;
}

static int64_t left_of(const window *now, int64_t wall)
{
  if (now->end > SF_NEVER / SF_SECOND) return SF_NEVER;
  return sf_time_max(1, now->end * SF_SECOND - sf_time_max(0, wall));
}

void sf_spend_init(sf_spend *spend)
{
  atomic_store_explicit(&spend->word, 0, memory_order_relaxed);
}

int64_t sf_spend_peek(const sf_spend *spend, const sf_spend_config *config, int64_t wall)
{
  uint64_t word = atomic_load_explicit(&spend->word, memory_order_relaxed);
  window now = window_now(word, config, wall);
  return sum_in(word, &now) < config->limit ? 0 : left_of(&now, wall);
}

void sf_spend_add(sf_spend *spend, const sf_spend_config *config, int64_t wall, uint64_t micros)
{
  uint64_t word = atomic_load_explicit(&spend->word, memory_order_relaxed), next;
  do {
    window now = window_now(word, config, wall);
    uint64_t sum = sum_in(word, &now), room = SF_SPEND_MOST - sum;
    next = now.number << SUM_BITS | (sum + (micros < room ? micros : room));
  } while (
      !atomic_compare_exchange_weak_explicit(&spend->word, &word, next, memory_order_relaxed, memory_order_relaxed));
}

uint64_t sf_spend_spent(const sf_spend *spend, const sf_spend_config *config, int64_t wall)
{
  uint64_t word = atomic_load_explicit(&spend->word, memory_order_relaxed);
  window now = window_now(word, config, wall);
  return sum_in(word, &now);
}

int64_t sf_spend_resets_in(const sf_spend *spend, const sf_spend_config *config, int64_t wall)
{
  window now = window_now(atomic_load_explicit(&spend->word, memory_order_relaxed), config, wall);
  return left_of(&now, wall);
}
