/*
 * histogram.h: quantiles of durations from 1 us to 1 h, relative error at most 1 %, constant memory.
 * Log-linear buckets (64 per octave). Memory is the caller's: SF_HISTOGRAM_BUCKETS counters inside the struct.
 */
#ifndef SF_HISTOGRAM_H
#define SF_HISTOGRAM_H

#include "base.h"

#define SF_HISTOGRAM_SUB 64
#define SF_HISTOGRAM_BUCKETS (SF_HISTOGRAM_SUB * 33) /* the first SUB are linear, 16 ns each; then octaves to > 1 h */

typedef struct sf_histogram {
  _Atomic uint64_t count;
  _Atomic uint64_t sum_ns;
  _Atomic uint64_t max_ns;
  _Atomic uint32_t bucket[SF_HISTOGRAM_BUCKETS];
} sf_histogram;

SF_BEGIN_DECLS

void sf_histogram_init(sf_histogram *histogram);
void sf_histogram_record(sf_histogram *histogram, int64_t ns);
int64_t sf_histogram_quantile(const sf_histogram *histogram, double q); /* ns; 0 when empty */
int64_t sf_histogram_mean(const sf_histogram *histogram);
int64_t sf_histogram_max(const sf_histogram *histogram);
uint64_t sf_histogram_count(const sf_histogram *histogram);
uint64_t sf_histogram_sum(const sf_histogram *histogram); /* ns */

/*
 * Adds to counts[i] how many values lie above bounds_ns[i - 1] and up to bounds_ns[i], and to counts[size] those above the
 * last; the bounds are not negative, and ascend. A value up to 1/64 above a bound may be taken for one below it, never
 * the other way.
 */
void sf_histogram_rebucket(const sf_histogram *histogram, const int64_t *bounds_ns, size_t size, uint64_t *counts);

SF_END_DECLS

#endif
