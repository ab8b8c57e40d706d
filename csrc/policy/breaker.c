/*
 * breaker.c: one state word carries state, generation, level, permits and deadline together, so every transition is one
 * compare-and-swap: six failures at once open it once. The run and the windows are beside it; a run belongs to one generation,
 * a window bucket to one epoch, so a late writer cannot spoil what came after it.
 */
#include "breaker.h"

#include <string.h>

typedef struct sf_word {
  sf_breaker_state state;
  uint32_t generation, level, permits;
  int64_t deadline; /* ms: end of the open time, or of the last lease */
} sf_word;

#define SF_GENERATION_MASK 0x3fffu
#define SF_LEVEL_MAX 31u
#define SF_PERMITS_MAX 63u
#define SF_DEADLINE_MASK ((UINT64_C(1) << 37) - 1)
#define SF_AHEAD_MS                                                                                                    \
  (INT64_C(1) << 35)        /* a deadline is at most a year ahead; what looks further has wrapped: it is past */
#define SF_EPOCHS 16777213u /* tags: a prime, so that no round number of epochs brings an old one back */
#define SF_COUNT_MAX 0xfffffu
#define SF_COUNTS_MASK ((UINT64_C(1) << 40) - 1)
#define SF_STALE_EPOCHS 65536 /* a bucket so far ahead of a stale `now` is newer; else its tag has wrapped */

static inline sf_word sf_unpack(uint64_t bits)
{
  return (sf_word){ .state = (sf_breaker_state)(bits >> 62),
                    .generation = (uint32_t)(bits >> 48) & SF_GENERATION_MASK,
                    .level = (uint32_t)(bits >> 43) & SF_LEVEL_MAX,
                    .permits = (uint32_t)(bits >> 37) & SF_PERMITS_MAX,
                    .deadline = (int64_t)(bits & SF_DEADLINE_MASK) };
}

static inline uint64_t sf_pack(sf_word word)
{
  return (uint64_t)word.state << 62 | (uint64_t)(word.generation & SF_GENERATION_MASK) << 48 |
         (uint64_t)word.level << 43 | (uint64_t)word.permits << 37 | ((uint64_t)word.deadline & SF_DEADLINE_MASK);
}

static inline bool sf_swap(sf_breaker *breaker, uint64_t *old, sf_word next)
{
  return atomic_compare_exchange_strong_explicit(&breaker->state, old, sf_pack(next), memory_order_acq_rel,
                                                 memory_order_acquire);
}

/* A time in whole milliseconds, rounded up: nothing ends early. */
static int64_t sf_deadline_ms(int64_t now, int64_t after)
{
  int64_t at = sf_time_add(now, sf_time_min(sf_time_max(after, 1), (SF_AHEAD_MS - 1) * SF_MILLISECOND));
  return at / SF_MILLISECOND + (at % SF_MILLISECOND > 0);
}

/* The word keeps the low bits of a deadline: clocks run on for longer than they last. */
static int64_t sf_left(sf_word word, int64_t now)
{
  int64_t ahead = (int64_t)(((uint64_t)word.deadline - (uint64_t)(now / SF_MILLISECOND)) & SF_DEADLINE_MASK);
  if (ahead > SF_AHEAD_MS) ahead -= (int64_t)SF_DEADLINE_MASK + 1;
  return ahead * SF_MILLISECOND - now % SF_MILLISECOND;
}

/* --- the window */

/* Does a bucket tagged `tag` still count for the turn `epoch` that owns its place, or is it newer? */
static inline bool sf_tag_counts(uint64_t word, uint64_t epoch)
{
  uint32_t ahead = ((uint32_t)(word >> 40) + SF_EPOCHS - (uint32_t)(epoch % SF_EPOCHS)) % SF_EPOCHS;
  return ahead <= SF_STALE_EPOCHS && ahead % SF_BREAKER_BUCKETS == 0 && (word & SF_COUNTS_MASK) != 0;
}

static inline uint64_t sf_window_epoch(int64_t window_ns, int64_t now)
{
  return (uint64_t)now / (uint64_t)sf_time_max(1, window_ns / SF_BREAKER_BUCKETS);
}

static void sf_window_add(_Atomic uint64_t *ring, int64_t window_ns, int64_t now, bool bad)
{
  uint64_t epoch = sf_window_epoch(window_ns, now);
  _Atomic uint64_t *bucket = &ring[epoch % SF_BREAKER_BUCKETS];
  uint64_t fresh = (epoch % SF_EPOCHS) << 40;
  uint64_t old = atomic_load_explicit(bucket, memory_order_relaxed);
  uint64_t next;
  do {
    next = sf_tag_counts(old, epoch) ? old : fresh;
    uint64_t total = (next >> 20) & SF_COUNT_MAX, failed = next & SF_COUNT_MAX;
    if (total == SF_COUNT_MAX) next = (next & ~SF_COUNTS_MASK) | (total / 2) << 20 | failed / 2;
    next += UINT64_C(1) << 20 | bad;
  } while (!atomic_compare_exchange_weak_explicit(bucket, &old, next, memory_order_relaxed, memory_order_relaxed));
}

/* Does the window hold at least `min_calls`, and at least `ratio` of them bad? */
static bool sf_window_bad(const _Atomic uint64_t *ring, int64_t window_ns, int64_t now, uint32_t min_calls,
                          double ratio)
{
  uint64_t epoch = sf_window_epoch(window_ns, now);
  uint32_t at = (uint32_t)(epoch % SF_BREAKER_BUCKETS);
  uint64_t total = 0, bad = 0;
  for (uint32_t i = 0; i < SF_BREAKER_BUCKETS; i++) {
    uint64_t word = atomic_load_explicit(&ring[i], memory_order_relaxed);
    uint32_t age = (at + SF_BREAKER_BUCKETS - i) % SF_BREAKER_BUCKETS;
    if (!sf_tag_counts(word, epoch - age)) continue;
    total += (word >> 20) & SF_COUNT_MAX;
    bad += word & SF_COUNT_MAX;
  }
  return total > 0 && total >= min_calls && (double)bad >= ratio * (double)total;
}

static void sf_windows_clear(sf_breaker *breaker)
{
  for (int i = 0; i < SF_BREAKER_BUCKETS; i++) {
    atomic_store_explicit(&breaker->calls[i], 0, memory_order_relaxed);
    atomic_store_explicit(&breaker->slow[i], 0, memory_order_relaxed);
  }
}

/* --- the run: consecutive failures of a closed generation, successes of a half-open one */

static uint32_t sf_run_add(sf_breaker *breaker, uint32_t generation)
{
  uint64_t tag = (uint64_t)generation << 32;
  uint64_t old = atomic_load_explicit(&breaker->run, memory_order_relaxed);
  uint64_t next;
  do {
    uint32_t count = (old & ~(uint64_t)UINT32_MAX) == tag ? (uint32_t)old : 0;
    next = tag | (count == UINT32_MAX ? count : count + 1);
  } while (
      !atomic_compare_exchange_weak_explicit(&breaker->run, &old, next, memory_order_relaxed, memory_order_relaxed));
  return (uint32_t)next;
}

static void sf_run_forgive(sf_breaker *breaker, uint32_t generation)
{
  uint64_t tag = (uint64_t)generation << 32;
  uint64_t old = atomic_load_explicit(&breaker->run, memory_order_relaxed);
  while ((uint32_t)old > 0 && (old & ~(uint64_t)UINT32_MAX) == tag &&
         !atomic_compare_exchange_weak_explicit(&breaker->run, &old, tag, memory_order_relaxed, memory_order_relaxed)) {
  }
}

/* --- asking */

void sf_breaker_init(sf_breaker *breaker)
{
  atomic_store_explicit(&breaker->state, 0, memory_order_relaxed);
  atomic_store_explicit(&breaker->run, 0, memory_order_relaxed);
  sf_windows_clear(breaker);
}

static uint32_t sf_permits(const sf_breaker_config *config)
{
  uint32_t permits = config->half_open_requests;
  return permits < 1 ? 1 : permits > SF_PERMITS_MAX ? SF_PERMITS_MAX : permits;
}

/* The wait before a probe may go, 0 = now. Expired leases make room again. */
static int64_t sf_probe_wait(sf_word word, const sf_breaker_config *config, int64_t now)
{
  if (word.state == SF_BREAKER_HALF_OPEN && word.permits < sf_permits(config)) return 0;
  return sf_time_max(0, sf_left(word, now));
}

bool sf_breaker_allow(sf_breaker *breaker, const sf_breaker_config *config, int64_t now, sf_permit *permit,
                      int64_t *retry_in_ns)
{
  uint64_t old = atomic_load_explicit(&breaker->state, memory_order_acquire);
  for (;;) {
    sf_word word = sf_unpack(old);
    *permit = (sf_permit){ .generation = word.generation, .held = true };
    if (word.state == SF_BREAKER_CLOSED) return true;
    *retry_in_ns = sf_probe_wait(word, config, now);
    if (*retry_in_ns > 0) {
      permit->held = false;
      return false;
    }
    bool room = word.state == SF_BREAKER_HALF_OPEN && word.permits < sf_permits(config);
    sf_word next = { .state = SF_BREAKER_HALF_OPEN, .level = word.level, .permits = 1 };
    next.generation = word.generation + 1;
    if (room) {
      next.permits = word.permits + 1;
      next.generation = word.generation;
    }
    next.deadline = sf_deadline_ms(now, config->lease_ns);
    if (room && sf_left(next, now) < sf_left(word, now)) next.deadline = word.deadline;
    if (sf_swap(breaker, &old, next)) {
      *permit = (sf_permit){ .generation = next.generation & SF_GENERATION_MASK, .probe = true, .held = true };
      return true;
    }
  }
}

int64_t sf_breaker_retry_in(const sf_breaker *breaker, const sf_breaker_config *config, int64_t now)
{
  sf_word word = sf_unpack(atomic_load_explicit(&breaker->state, memory_order_relaxed));
  return word.state == SF_BREAKER_CLOSED ? 0 : sf_probe_wait(word, config, now);
}

void sf_breaker_expire(sf_breaker *breaker, int64_t now)
{
  uint64_t old = atomic_load_explicit(&breaker->state, memory_order_acquire);
  for (;;) {
    sf_word word = sf_unpack(old);
    if (word.state != SF_BREAKER_HALF_OPEN || sf_left(word, now) <= 0) return;
    word.deadline = now / SF_MILLISECOND;
    if (sf_swap(breaker, &old, word)) return;
  }
}

/* --- telling */

/* Opens it, unless somebody else moved it on since `old` was read. */
static void sf_trip(sf_breaker *breaker, const sf_breaker_config *config, int64_t now, double random, uint64_t old)
{
  sf_word word = sf_unpack(old);
  uint32_t generation = word.generation;
  sf_breaker_state state = word.state;
  int64_t open = sf_time_max(config->recovery_ns, 0), most = sf_time_max(config->max_recovery_ns, open);
  int64_t whole = word.level >= SF_LEVEL_MAX || open > most >> word.level ? most : open << word.level;
  int64_t least = config->jitter > 0 ? sf_time_max(open, whole / 2) : whole;
  open = sf_time_from((double)least + ((double)(whole - least) + config->jitter * (double)whole) * random);
  do {
    word = sf_unpack(old);
    if (word.generation != generation || word.state != state) return;
    word.state = SF_BREAKER_OPEN;
    word.generation = generation + 1;
    word.level = word.level < SF_LEVEL_MAX ? word.level + 1 : word.level;
    word.permits = 0;
    word.deadline = sf_deadline_ms(now, open);
  } while (!sf_swap(breaker, &old, word));
}

static void sf_close(sf_breaker *breaker, uint64_t old)
{
  uint32_t generation = sf_unpack(old).generation;
  sf_windows_clear(breaker);
  sf_word closed = { .state = SF_BREAKER_CLOSED, .generation = generation + 1 };
  while (!sf_swap(breaker, &old, closed)) {
    sf_word word = sf_unpack(old);
    if (word.generation != generation || word.state != SF_BREAKER_HALF_OPEN) return;
  }
}

/* Gives the permit of a probe back; the state stays half-open. */
static void sf_probe_release(sf_breaker *breaker, uint64_t old)
{
  uint32_t generation = sf_unpack(old).generation;
  for (;;) {
    sf_word word = sf_unpack(old);
    if (word.generation != generation || word.state != SF_BREAKER_HALF_OPEN || word.permits == 0) return;
    word.permits--;
    if (sf_swap(breaker, &old, word)) return;
  }
}

static void sf_report_probe(sf_breaker *breaker, const sf_breaker_config *config, int64_t now, double random,
                            uint64_t old, sf_breaker_effect effect, bool slow)
{
  if (effect == SF_BREAKER_IGNORE) {
    sf_probe_release(breaker, old);
  } else if (effect != SF_BREAKER_OK || slow) {
    sf_trip(breaker, config, now, random, old);
  } else if (sf_run_add(breaker, sf_unpack(old).generation) >= sf_permits(config)) {
    sf_close(breaker, old);
  } else {
    sf_probe_release(breaker, old);
  }
}

static void sf_report_closed(sf_breaker *breaker, const sf_breaker_config *config, int64_t now, double random,
                             uint64_t old, sf_breaker_effect effect, bool told, bool slow)
{
  bool in_ratio = effect != SF_BREAKER_IGNORE && effect != SF_BREAKER_BAD_RUN;
  bool bad = in_ratio && effect != SF_BREAKER_OK;
  bool trips = false;
  if (in_ratio && config->failure_ratio > 0) {
    sf_window_add(breaker->calls, config->window_ns, now, bad);
    trips = bad && sf_window_bad(breaker->calls, config->window_ns, now, config->min_calls, config->failure_ratio);
  }
  if (told) {
    sf_window_add(breaker->slow, config->window_ns, now, slow);
    trips |= slow && sf_window_bad(breaker->slow, config->window_ns, now, config->min_calls, config->slow_ratio);
  }
  uint32_t generation = sf_unpack(old).generation;
  if (effect == SF_BREAKER_OK) sf_run_forgive(breaker, generation);
  if (effect == SF_BREAKER_BAD || effect == SF_BREAKER_BAD_RUN) {
    uint32_t run = sf_run_add(breaker, generation);
    trips |= config->failure_threshold > 0 && run >= config->failure_threshold;
  }
  if (trips) sf_trip(breaker, config, now, random, old);
}

void sf_breaker_report(sf_breaker *breaker, const sf_breaker_config *config, int64_t now, double random,
                       sf_permit *permit, sf_breaker_effect effect, int64_t first_token_ns)
{
  if (!permit->held) return;
  permit->held = false;
  uint64_t old = atomic_load_explicit(&breaker->state, memory_order_acquire);
  sf_word word = sf_unpack(old);
  if (word.generation != permit->generation) return;
  bool measured = config->slow_call_ns > 0 && first_token_ns >= 0;
  bool slow = measured && first_token_ns >= config->slow_call_ns;
  bool told = measured && (slow || effect != SF_BREAKER_IGNORE);
  if (permit->probe) sf_report_probe(breaker, config, now, random, old, effect, slow);
  else sf_report_closed(breaker, config, now, random, old, effect, told, slow);
}

void sf_breaker_alive(sf_breaker *breaker)
{
  sf_word word = sf_unpack(atomic_load_explicit(&breaker->state, memory_order_relaxed));
  if (word.state == SF_BREAKER_CLOSED) sf_run_forgive(breaker, word.generation);
}

/* --- looking */

sf_breaker_state sf_breaker_state_at(const sf_breaker *breaker, const sf_breaker_config *config, int64_t now,
                                     int64_t *left_ns)
{
  (void)config;
  sf_word word = sf_unpack(atomic_load_explicit(&breaker->state, memory_order_relaxed));
  int64_t left = word.state == SF_BREAKER_OPEN ? sf_time_max(0, sf_left(word, now)) : 0;
  if (left_ns != NULL) *left_ns = left;
  return word.state == SF_BREAKER_OPEN && left == 0 ? SF_BREAKER_HALF_OPEN : word.state;
}

const char *sf_breaker_state_name(sf_breaker_state state)
{
  static const char *const names[] = { "closed", "open", "half_open" };
  return names[state];
}
