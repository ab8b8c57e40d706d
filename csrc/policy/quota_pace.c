/* quota_pace.c: a GCRA bucket whose refill, size and fill are those of the last word; see quota_pace.h. */
#include "quota_pace.h"

#include <math.h>
#include <string.h>

static double sf_quota_load(const _Atomic uint64_t *word)
{
  uint64_t bits = atomic_load_explicit(word, memory_order_relaxed);
  double value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static void sf_quota_store(_Atomic uint64_t *word, double value)
{
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  atomic_store_explicit(word, bits, memory_order_relaxed);
}

#define SF_QUOTA_PATIENCE (2 * SF_SECOND)
#define SF_QUOTA_MARGIN_SHARE 50 /* of a window: ways differ in length, and its clock is not ours */
#define SF_QUOTA_MARGIN_MOST (50 * SF_MILLISECOND)

enum { SF_QUOTA_UNSEEN, SF_QUOTA_BUCKET, SF_QUOTA_WINDOW };

void sf_quota_pace_init(sf_quota_pace *pace, bool requests)
{
  memset(pace, 0, sizeof *pace);
  pace->logs = requests;
}

static bool sf_quota_is_window(const sf_quota_pace *pace)
{
  int form = atomic_load_explicit(&pace->form, memory_order_relaxed);
  return form == SF_QUOTA_WINDOW ||
         (form == SF_QUOTA_UNSEEN && atomic_load_explicit(&pace->reset, memory_order_relaxed) <= SF_QUOTA_PATIENCE);
}

/* --- the log: ours in a window */

static bool sf_quota_is_logged(const sf_quota_pace *pace)
{
  double limit = sf_quota_load(&pace->limit);
  return pace->logs && limit > 0 && limit <= SF_QUOTA_LOG && sf_quota_is_window(pace);
}

static void sf_quota_record(sf_quota_pace *pace, int64_t now)
{
  if (!pace->logs) return;
  uint64_t place = atomic_fetch_add_explicit(&pace->sent, 1, memory_order_relaxed) % SF_QUOTA_LOG;
  atomic_store_explicit(&pace->log[place], now, memory_order_relaxed);
}

/* When the n-th request from the end was sent; there are that many. */
static int64_t sf_quota_sent_at(const sf_quota_pace *pace, uint64_t sent, uint64_t n)
{
  return atomic_load_explicit(&pace->log[(sent - n) % SF_QUOTA_LOG], memory_order_relaxed);
}

/* Ours in the window that ended with the one sent at `at`, after which so many were sent. */
static double sf_quota_ours(const sf_quota_pace *pace, int64_t at, int64_t length, double sent_since)
{
  uint64_t sent = atomic_load_explicit(&pace->sent, memory_order_relaxed), first = (uint64_t)sent_since + 1, n = first;
  while (n <= sent && n <= SF_QUOTA_LOG && sf_quota_sent_at(pace, sent, n) > at - length) n++;
  return (double)(n - first);
}

/* How many of ours have left the window because it was reset. */
static uint64_t sf_quota_gone(const sf_quota_pace *pace, int64_t now)
{
  bool reset = now >= atomic_load_explicit(&pace->until, memory_order_relaxed);
  return atomic_load_explicit(reset ? &pace->known : &pace->gone, memory_order_relaxed);
}

static int64_t sf_quota_log_wait(const sf_quota_pace *pace, int64_t now)
{
  int64_t length = atomic_load_explicit(&pace->length, memory_order_relaxed);
  int64_t margin = sf_time_min(length / SF_QUOTA_MARGIN_SHARE, SF_QUOTA_MARGIN_MOST);
  uint64_t sent = atomic_load_explicit(&pace->sent, memory_order_relaxed);
  uint64_t share = (uint64_t)fmax(1, sf_quota_load(&pace->limit) - sf_quota_load(&pace->others));
  uint64_t gone = sf_quota_gone(pace, now);
  if (gone <= sent && sent - gone < share) return 0;
  return sf_time_max(0, sf_quota_sent_at(pace, sent, share) + length + margin - now);
}

/* --- the word */

/* Compares a word with an earlier one of which clearly less was used. */
static int sf_quota_form(sf_quota_pace *pace, double used, int64_t reset_ns)
{
  double before = sf_quota_load(&pace->used);
  int64_t reset_before = atomic_load_explicit(&pace->reset, memory_order_relaxed);
  int form = atomic_load_explicit(&pace->form, memory_order_relaxed);
  if (before > 0 && used > before && used < 1.5 * before) return form;
  if (before > 0 && used > before) {
    form = (double)reset_ns >= 1.25 * (double)reset_before ? SF_QUOTA_BUCKET : SF_QUOTA_WINDOW;
    atomic_store_explicit(&pace->form, form, memory_order_relaxed);
  }
  sf_quota_store(&pace->used, used);
  atomic_store_explicit(&pace->reset, reset_ns, memory_order_relaxed);
  return form;
}

bool sf_quota_pace_told(sf_quota_pace *pace, int64_t now, const sf_quota_word *word, int64_t age_ns, double sent_since)
{
  double used = word->limit - word->remaining;
  if (word->limit <= 0 || word->remaining < 0 || word->reset_ns <= 0 || used <= 0) return false;
  double seconds = (double)word->reset_ns / SF_SECOND;
  int form = sf_quota_form(pace, used, word->reset_ns);
  bool at_once = form == SF_QUOTA_WINDOW || (form == SF_QUOTA_UNSEEN && word->reset_ns <= SF_QUOTA_PATIENCE);
  if (at_once && age_ns >= word->reset_ns) return false;
  if (word->reset_ns > atomic_load_explicit(&pace->length, memory_order_relaxed))
    atomic_store_explicit(&pace->length, word->reset_ns, memory_order_relaxed);
  int64_t length = atomic_load_explicit(&pace->length, memory_order_relaxed);
  uint64_t sent = atomic_load_explicit(&pace->sent, memory_order_relaxed);
  uint64_t known = sent - (uint64_t)fmin(sent_since, (double)sent), gone = sf_quota_gone(pace, now);
  if (known > gone + (uint64_t)used) gone = known - (uint64_t)used; /* no more than `used` of them can still count */
  atomic_store_explicit(&pace->gone, gone, memory_order_relaxed);
  atomic_store_explicit(&pace->known, known, memory_order_relaxed);
  sf_quota_store(&pace->others, fmax(0, used - sf_quota_ours(pace, now - age_ns, length, sent_since)));
  double refill = at_once ? 1 / seconds : used / seconds;
  double back = at_once ? 0 : fmin(used + sent_since, refill * ((double)age_ns / SF_SECOND));
  double taken = fmin(word->limit, used + sent_since - back);
  sf_quota_store(&pace->rate, used / seconds);
  sf_quota_store(&pace->refill, refill);
  sf_quota_store(&pace->limit, word->limit);
  atomic_store_explicit(&pace->learned, 0, memory_order_relaxed);
  atomic_store_explicit(&pace->bucket.arrival, sf_time_add(now, sf_time_from(taken / refill * SF_SECOND)),
                        memory_order_relaxed);
  int64_t until = sf_time_add(now, word->reset_ns);
  if (at_once) until = sf_time_max(until - age_ns, atomic_load_explicit(&pace->until, memory_order_relaxed));
  atomic_store_explicit(&pace->until, until, memory_order_release);
  return true;
}

/* --- what refusals say */

#define SF_QUOTA_LEARN_LEAST (SF_SECOND / 2)
#define SF_QUOTA_LEARN_MOST SF_QUOTA_PATIENCE
#define SF_QUOTA_TRY_AFTER (10 * SF_SECOND)

bool sf_quota_pace_refused(sf_quota_pace *pace, int64_t now, int64_t retry_after_ns, int64_t age_ns, double sent_since)
{
  int64_t learned = atomic_load_explicit(&pace->learned, memory_order_relaxed), sent_at = now - age_ns;
  bool is_told = learned == 0 && sf_quota_load(&pace->limit) > 0;
  if (is_told || retry_after_ns < SF_QUOTA_LEARN_LEAST || retry_after_ns > SF_QUOTA_LEARN_MOST) return false;
  double before = sf_quota_ours(pace, sent_at, retry_after_ns, sent_since) - 1, limit = sf_quota_load(&pace->limit);
  if (before < 1 || before + sent_since > SF_QUOTA_LOG - 2) return false;
  bool obeyed = learned > 0 && sent_at >= learned;
  if (learned > 0) before = fmax(1, fmin(before, obeyed ? limit - 1 : limit));
  sf_quota_store(&pace->limit, before);
  if (learned > 0 && !obeyed) return true;
  sf_quota_store(&pace->others, 0);
  atomic_store_explicit(&pace->known, 0, memory_order_relaxed);
  atomic_store_explicit(&pace->gone, 0, memory_order_relaxed);
  atomic_store_explicit(&pace->length, retry_after_ns, memory_order_relaxed);
  atomic_store_explicit(&pace->form, SF_QUOTA_WINDOW, memory_order_relaxed);
  atomic_store_explicit(&pace->learned, sf_time_max(1, now), memory_order_relaxed);
  return !obeyed;
}

void sf_quota_pace_answered(sf_quota_pace *pace, int64_t now)
{
  int64_t learned = atomic_load_explicit(&pace->learned, memory_order_relaxed);
  int64_t length = atomic_load_explicit(&pace->length, memory_order_relaxed);
  if (learned == 0 || now < sf_time_add(learned, sf_time_max(SF_QUOTA_TRY_AFTER, length))) return;
  double limit = sf_quota_load(&pace->limit);
  sf_quota_store(&pace->limit, fmin(SF_QUOTA_LOG, limit + fmax(1, limit / 50)));
  atomic_store_explicit(&pace->learned, now, memory_order_relaxed);
}

/* --- taking */

static sf_gcra_config sf_quota_config(const sf_quota_pace *pace)
{
  return sf_gcra_config_make(sf_quota_load(&pace->refill), sf_quota_load(&pace->limit));
}

static bool sf_quota_counts(const sf_quota_pace *pace, int64_t now)
{
  return atomic_load_explicit(&pace->until, memory_order_acquire) > now;
}

/* After the reset of a window the next one begins with the first that is sent, and holds as many: else all who wait go. */
static bool sf_quota_rolls(sf_quota_pace *pace, int64_t now)
{
  int64_t until = atomic_load_explicit(&pace->until, memory_order_acquire);
  int64_t length = atomic_load_explicit(&pace->reset, memory_order_relaxed);
  if (until == 0 || length <= 0 || !sf_quota_is_window(pace)) return false;
  if (atomic_compare_exchange_strong_explicit(&pace->until, &until, sf_time_add(now, length), memory_order_acq_rel,
                                              memory_order_relaxed)) {
    sf_quota_store(&pace->refill, (double)SF_SECOND / (double)length);
    atomic_store_explicit(&pace->bucket.arrival, now, memory_order_relaxed);
  }
  return true;
}

static int64_t sf_quota_try(sf_quota_pace *pace, int64_t now, double cost)
{
  if (sf_quota_is_logged(pace)) return sf_quota_log_wait(pace, now);
  if (!sf_quota_counts(pace, now) && !sf_quota_rolls(pace, now)) return 0;
  sf_gcra_config config = sf_quota_config(pace);
  int64_t left = atomic_load_explicit(&pace->until, memory_order_relaxed) - now;
  return sf_time_min(left, sf_gcra_try(&pace->bucket, &config, now, fmin(cost, config.burst)));
}

int64_t sf_quota_pace_acquire(sf_quota_pace *pace, int64_t now, double cost)
{
  int64_t wait = sf_quota_try(pace, now, cost);
  if (wait == 0) sf_quota_record(pace, now);
  return wait;
}

int64_t sf_quota_pace_peek(const sf_quota_pace *pace, int64_t now, double cost)
{
  if (sf_quota_is_logged(pace)) return sf_quota_log_wait(pace, now);
  if (!sf_quota_counts(pace, now)) return 0;
  sf_gcra_config config = sf_quota_config(pace);
  int64_t left = atomic_load_explicit(&pace->until, memory_order_relaxed) - now;
  return sf_time_min(left, sf_gcra_peek(&pace->bucket, &config, now, fmin(cost, config.burst)));
}

void sf_quota_pace_settle(sf_quota_pace *pace, double taken, double actual)
{
  if (pace->logs && actual < taken) atomic_fetch_sub_explicit(&pace->sent, 1, memory_order_relaxed);
  if (sf_quota_load(&pace->refill) <= 0) return;
  sf_gcra_config config = sf_quota_config(pace);
  sf_gcra_settle(&pace->bucket, &config, fmin(taken, config.burst), fmin(actual, config.burst));
}

double sf_quota_pace_rate(const sf_quota_pace *pace, int64_t now)
{
  if (atomic_load_explicit(&pace->learned, memory_order_relaxed) > 0)
    return sf_quota_load(&pace->limit) * SF_SECOND / (double)atomic_load_explicit(&pace->length, memory_order_relaxed);
  return sf_quota_counts(pace, now) ? sf_quota_load(&pace->rate) : INFINITY;
}
