/*
 * histogram.c: a value of v units (16 ns) falls into one of 64 equal parts of its octave; a quantile is the middle of its
 * bucket, so it is off by at most 1/128.
 */
#include "histogram.h"

#include <math.h>
#include <string.h>

#define SF_UNIT_BITS 4 /* 16 ns: 64 of them are the first microsecond */
#define SF_SUB_BITS 6

static uint32_t sf_bucket_of(uint64_t ns)
{
  uint64_t v = ns >> SF_UNIT_BITS;
  if (v < SF_HISTOGRAM_SUB) return (uint32_t)v;
  uint32_t octave = 63u - (uint32_t)__builtin_clzll(v) - SF_SUB_BITS;
  uint64_t bucket = (uint64_t)octave * SF_HISTOGRAM_SUB + (v >> octave);
  return bucket < SF_HISTOGRAM_BUCKETS ? (uint32_t)bucket : SF_HISTOGRAM_BUCKETS - 1;
}

static int64_t sf_bucket_middle(uint32_t bucket)
{
  if (bucket < SF_HISTOGRAM_SUB) return ((int64_t)bucket * 2 + 1) << (SF_UNIT_BITS - 1);
  uint32_t octave = bucket / SF_HISTOGRAM_SUB - 1;
  int64_t part = bucket % SF_HISTOGRAM_SUB + SF_HISTOGRAM_SUB;
  return (part * 2 + 1) << (octave + SF_UNIT_BITS - 1);
}

void sf_histogram_init(sf_histogram *histogram)
{
  memset(histogram, 0, sizeof *histogram);
}

void sf_histogram_record(sf_histogram *histogram, int64_t ns)
{
  uint64_t value = ns > 0 ? (uint64_t)ns : 0;
  atomic_fetch_add_explicit(&histogram->bucket[sf_bucket_of(value)], 1, memory_order_relaxed);
  atomic_fetch_add_explicit(&histogram->count, 1, memory_order_relaxed);
  atomic_fetch_add_explicit(&histogram->sum_ns, value, memory_order_relaxed);
  uint64_t max = atomic_load_explicit(&histogram->max_ns, memory_order_relaxed);
  while (max < value && !atomic_compare_exchange_weak_explicit(&histogram->max_ns, &max, value, memory_order_relaxed,
                                                               memory_order_relaxed)) {
  }
}

int64_t sf_histogram_quantile(const sf_histogram *histogram, double q)
{
  uint64_t count = sf_histogram_count(histogram);
  if (count == 0) return 0;
  int64_t max = sf_histogram_max(histogram);
  double rank = ceil(q * (double)count);
  if (rank >= (double)count) return max;
  uint64_t seen = 0;
  for (uint32_t i = 0; i < SF_HISTOGRAM_BUCKETS; i++) {
    seen += atomic_load_explicit(&histogram->bucket[i], memory_order_relaxed);
    if (seen > 0 && (double)seen >= rank) return sf_time_min(sf_bucket_middle(i), max);
  }
  return max;
}

int64_t sf_histogram_mean(const sf_histogram *histogram)
{
  uint64_t count = sf_histogram_count(histogram);
  return count > 0 ? (int64_t)(atomic_load_explicit(&histogram->sum_ns, memory_order_relaxed) / count) : 0;
}

int64_t sf_histogram_max(const sf_histogram *histogram)
{
  return (int64_t)atomic_load_explicit(&histogram->max_ns, memory_order_relaxed);
}

uint64_t sf_histogram_count(const sf_histogram *histogram)
{
  return atomic_load_explicit(&histogram->count, memory_order_relaxed);
}

uint64_t sf_histogram_sum(const sf_histogram *histogram)
{
  return atomic_load_explicit(&histogram->sum_ns, memory_order_relaxed);
}

void sf_histogram_rebucket(const sf_histogram *histogram, const int64_t *bounds_ns, size_t size, uint64_t *counts)
{
  size_t place = 0;
  for (uint32_t i = 0; i < SF_HISTOGRAM_BUCKETS; i++) {
    uint32_t count = atomic_load_explicit(&histogram->bucket[i], memory_order_relaxed);
    if (count == 0) continue;
    while (place < size && sf_bucket_of((uint64_t)bounds_ns[place]) < i) place++;
    counts[place] += count;
  }
}
