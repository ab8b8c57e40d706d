/*
 * hedge.c: a ring of the last 512 samples, and one reckoning per 64 of them.
 *
 * Why 512, by count: 26 of them lie beyond the 0.95 quantile, enough for a hedge rate of 5 % +- 1 % at any moment; a
 * new regime has the median after 257 answers and the window after 512: seconds to a minute of a busy client. Why an
 * hour: a lone agent asks a few times a minute, and a shorter memory would never hold its 50 answers. A delay that is
 * out of date costs little: too long is as if nothing were hedged, too short is bounded by the bucket.
 *
 * A record is two atomic words, whoever else records; nothing is counted before the delay is asked for. The reckoning
 * counts its own copy of the window into buckets of 64 per octave, so what threads do meanwhile cannot unbalance it.
 */
#include "hedge.h"

#include <math.h>
#include <string.h>

#define SF_HEDGE_STEP 64                   /* samples between two reckonings, once the window is full */
#define SF_HEDGE_FIRST_STEP 16             /* and before */
#define SF_HEDGE_RECHECK (60 * SF_SECOND)  /* time between two reckonings: samples age */
#define SF_HEDGE_MEMORY (3600 * SF_SECOND) /* older samples do not count */
#define SF_HEDGE_MEDIANS 2.5               /* the delay is at most so many medians */

/* Whole tokens are 2^32 units; a credit is rounded up, so that n credits of 1/n make one token. */
#define SF_HEDGE_TOKEN (INT64_C(1) << 32)

/* --- durations in buckets: 8 us each up to 0.5 ms, then 64 per octave up to 73 minutes */

#define SF_UNIT_BITS 13
#define SF_SUB_BITS 6
#define SF_SUB (1u << SF_SUB_BITS)
#define SF_BUCKETS (SF_SUB * 24)

static uint32_t sf_hedge_bucket(int64_t ns)
{
  uint64_t v = (uint64_t)sf_time_max(0, ns) >> SF_UNIT_BITS;
  if (v < SF_SUB) return (uint32_t)v;
  uint32_t octave = 63u - (uint32_t)__builtin_clzll(v) - SF_SUB_BITS;
  uint64_t bucket = (uint64_t)octave * SF_SUB + (v >> octave);
  return bucket < SF_BUCKETS ? (uint32_t)bucket : SF_BUCKETS - 1;
}

/* The first duration that is beyond the bucket: nothing in it waits so long. */
static int64_t sf_hedge_edge(uint32_t bucket)
{
  uint32_t next = bucket + 1;
  if (next < SF_SUB) return (int64_t)next << SF_UNIT_BITS;
  return (int64_t)(next % SF_SUB + SF_SUB) << (next / SF_SUB - 1 + SF_UNIT_BITS);
}

/* --- samples: time in 2^20 ns (48 bits), bucket (14 bits), kind (2 bits) */

#define SF_TICK_BITS 20
#define SF_CENSORED 1u
#define SF_ANSWERED 2u

static inline int64_t sf_hedge_tick(int64_t now)
{
  return sf_time_max(0, now) >> SF_TICK_BITS;
}

static inline void sf_hedge_record(sf_hedge *hedge, int64_t now, int64_t elapsed_ns, uint32_t kind)
{
  uint64_t sample = (uint64_t)sf_hedge_tick(now) << 16 | sf_hedge_bucket(elapsed_ns) << 2 | kind;
  uint64_t place = atomic_fetch_add_explicit(&hedge->taken, 1, memory_order_relaxed) % SF_HEDGE_WINDOW;
  atomic_store_explicit(&hedge->window[place], sample, memory_order_relaxed);
}

void sf_hedge_answered(sf_hedge *hedge, int64_t now, int64_t elapsed_ns)
{
  sf_hedge_record(hedge, now, elapsed_ns, SF_ANSWERED);
}

void sf_hedge_censored(sf_hedge *hedge, int64_t now, int64_t elapsed_ns)
{
  sf_hedge_record(hedge, now, elapsed_ns, SF_CENSORED);
}

/* --- the reckoning */

/* A window, counted: answers in the high half of a number, attempts given up in the low one. */
typedef struct sf_hedge_view {
  uint32_t total;
  uint32_t lowest, highest; /* buckets in use */
  uint32_t bucket[SF_BUCKETS];
} sf_hedge_view;

static inline uint32_t sf_hedge_answers(uint32_t counts)
{
  return counts >> 16;
}

static inline uint32_t sf_hedge_lost(uint32_t counts)
{
  return counts & 0xffff;
}

static void sf_hedge_look(const sf_hedge *hedge, int64_t now, sf_hedge_view *view)
{
  uint32_t total = 0, lowest = SF_BUCKETS - 1, highest = 0;
  int64_t oldest = sf_hedge_tick(now) - (SF_HEDGE_MEMORY >> SF_TICK_BITS);
  memset(view->bucket, 0, sizeof view->bucket);
  for (uint32_t i = 0; i < SF_HEDGE_WINDOW; i++) {
    uint64_t sample = atomic_load_explicit(&hedge->window[i], memory_order_relaxed);
    if (sample == 0 || (int64_t)(sample >> 16) < oldest) continue;
    uint32_t bucket = (uint32_t)(sample >> 2 & 0x3fff);
    uint32_t one = (uint32_t)((sample & SF_ANSWERED) << 15 | (sample & SF_CENSORED)); /* no branch to guess wrong */
    total += one;
    view->bucket[bucket] += one;
    lowest = bucket < lowest ? bucket : lowest;
    highest = bucket > highest ? bucket : highest;
  }
  view->total = total;
  view->lowest = lowest;
  view->highest = highest;
}

/*
 * The smaller of Kaplan and Meier's quantile and 2.5 of their medians. At the quantile the share 1 - q of all may
 * still wait; where some are given up, that number shrinks as the number of those who wait does (the product of
 * survival shares, rearranged). Those given up in a bucket waited through it.
 */
static int64_t sf_hedge_estimate(const sf_hedge_view *view, double quantile)
{
  int64_t waiting = sf_hedge_answers(view->total) + sf_hedge_lost(view->total), most = SF_NEVER;
  double may_wait = (1 - quantile + 1e-9) * (double)waiting, half = (0.5 + 1e-9) * (double)waiting;
  for (uint32_t i = view->lowest; i <= view->highest; i++) {
    uint32_t counts = view->bucket[i];
    if (counts == 0) continue;
    waiting -= sf_hedge_answers(counts);
    if (most == SF_NEVER && (double)waiting <= half) most = (int64_t)(SF_HEDGE_MEDIANS * (double)sf_hedge_edge(i));
    if ((double)waiting <= may_wait) return sf_time_min(sf_hedge_edge(i), most);
    if (sf_hedge_lost(counts) == 0) continue;
    double stay = 1 - (double)sf_hedge_lost(counts) / (double)waiting;
    may_wait *= stay;
    half *= stay;
    waiting -= sf_hedge_lost(counts);
  }
  return sf_time_min(sf_hedge_edge(view->highest), most);
}

/* The delay before min_delay, or 0 and how many answers are missing. */
static int64_t sf_hedge_reckon(const sf_hedge *hedge, const sf_hedge_config *config, int64_t now, uint32_t *missing)
{
  sf_hedge_view view;
  sf_hedge_look(hedge, now, &view);
  uint32_t needed = config->min_samples > 1 ? config->min_samples : 1, answers = sf_hedge_answers(view.total);
  if (needed > SF_HEDGE_WINDOW) needed = SF_HEDGE_WINDOW;
  *missing = answers < needed ? needed - answers : 0;
  if (*missing > 0) return 0;
  return sf_hedge_estimate(&view, config->quantile);
}

static uint64_t sf_double_bits(double value)
{
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

/* The latest time that a reckoning has seen, or `now`: what was too old once stays so. */
static int64_t sf_hedge_time(const sf_hedge *hedge, int64_t now)
{
  return sf_time_max(now, atomic_load_explicit(&hedge->due_at, memory_order_relaxed) - SF_HEDGE_RECHECK);
}

/* One thread reckons, others go on with what is known. Where answers are missing, no fewer samples can bring them. */
static void sf_hedge_renew(sf_hedge *hedge, const sf_hedge_config *config, int64_t now, uint64_t due)
{
  uint64_t taken = atomic_load_explicit(&hedge->taken, memory_order_relaxed);
  uint64_t next = taken + (taken < SF_HEDGE_WINDOW ? SF_HEDGE_FIRST_STEP : SF_HEDGE_STEP);
  if (!atomic_compare_exchange_strong_explicit(&hedge->due, &due, next, memory_order_relaxed, memory_order_relaxed))
    return;
  int64_t later = sf_time_add(now, SF_HEDGE_RECHECK), at = atomic_load_explicit(&hedge->due_at, memory_order_relaxed);
  while (at < later && !atomic_compare_exchange_weak_explicit(&hedge->due_at, &at, later, memory_order_relaxed,
                                                              memory_order_relaxed)) {
  }
  uint32_t missing;
  int64_t known = sf_hedge_reckon(hedge, config, sf_hedge_time(hedge, now), &missing);
  atomic_store_explicit(&hedge->known_ns, known, memory_order_relaxed);
  if (missing > 0) atomic_store_explicit(&hedge->due, taken + missing, memory_order_relaxed);
}

void sf_hedge_init(sf_hedge *hedge, const sf_hedge_config *config)
{
  memset(hedge, 0, sizeof *hedge);
  atomic_store_explicit(&hedge->quantile, sf_double_bits(config->quantile), memory_order_relaxed);
}

int64_t sf_hedge_delay(sf_hedge *hedge, const sf_hedge_config *config, int64_t now)
{
  int64_t known;
  if (atomic_load_explicit(&hedge->quantile, memory_order_relaxed) == sf_double_bits(config->quantile)) {
    uint64_t due = atomic_load_explicit(&hedge->due, memory_order_relaxed);
    if (atomic_load_explicit(&hedge->taken, memory_order_relaxed) >= due ||
        now >= atomic_load_explicit(&hedge->due_at, memory_order_relaxed))
      sf_hedge_renew(hedge, config, now, due);
    known = atomic_load_explicit(&hedge->known_ns, memory_order_relaxed);
  } else {
    uint32_t missing;
    known = sf_hedge_reckon(hedge, config, sf_hedge_time(hedge, now), &missing);
  }
  return known > 0 ? sf_time_max(known, config->min_delay_ns) : -1;
}

/* --- the bucket */

static void sf_hedge_credit(sf_hedge *hedge, int64_t units)
{
  int64_t spent = atomic_load_explicit(&hedge->spent, memory_order_relaxed);
  while (spent > 0 && !atomic_compare_exchange_weak_explicit(&hedge->spent, &spent, sf_time_max(0, spent - units),
                                                             memory_order_relaxed, memory_order_relaxed)) {
  }
}

void sf_hedge_began(sf_hedge *hedge, const sf_hedge_config *config)
{
  if (config->budget > 0) sf_hedge_credit(hedge, sf_time_from(ceil(config->budget * (double)SF_HEDGE_TOKEN)));
}

bool sf_hedge_withdraw(sf_hedge *hedge, const sf_hedge_config *config)
{
  int64_t room = sf_time_from(config->burst * (double)SF_HEDGE_TOKEN);
  int64_t spent = atomic_load_explicit(&hedge->spent, memory_order_relaxed);
  while (spent + SF_HEDGE_TOKEN <= room) {
    if (atomic_compare_exchange_weak_explicit(&hedge->spent, &spent, spent + SF_HEDGE_TOKEN, memory_order_relaxed,
                                              memory_order_relaxed))
      return true;
  }
  return false;
}

void sf_hedge_refund(sf_hedge *hedge, const sf_hedge_config *config)
{
  (void)config;
  sf_hedge_credit(hedge, SF_HEDGE_TOKEN);
}

void sf_hedge_charge(sf_hedge *hedge, const sf_hedge_config *config)
{
  int64_t most = sf_time_from(2 * config->burst * (double)SF_HEDGE_TOKEN);
  int64_t spent = atomic_load_explicit(&hedge->spent, memory_order_relaxed);
  while (spent < most &&
         !atomic_compare_exchange_weak_explicit(&hedge->spent, &spent, sf_time_min(most, spent + SF_HEDGE_TOKEN),
                                                memory_order_relaxed, memory_order_relaxed)) {
  }
}

double sf_hedge_balance(const sf_hedge *hedge, const sf_hedge_config *config)
{
  double spent = (double)atomic_load_explicit(&hedge->spent, memory_order_relaxed) / (double)SF_HEDGE_TOKEN;
  return fmax(0, config->burst - spent);
}
