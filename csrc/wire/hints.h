/*
 * hints.h: what a server's headers say about when to come back and how much is left.
 *
 * Order: retry-after-ms > x-ms-retry-after-ms > Retry-After (seconds, then HTTP-date in its three forms, measured against
 * the Date header, else against the wall clock given). Numbers are strict ([0-9]+ with an optional fraction): signs, hex,
 * units, inf, nan and values in the past are no hint. Of several Retry-After values the largest valid one counts.
 * Source: RFC 9110 10.2.3 and 5.6.7, OpenAI and Anthropic SDKs.
 */
#ifndef SF_HINTS_H
#define SF_HINTS_H

#include "../policy/quota_pace.h"
#include "headers.h"

typedef struct sf_retry_hint {
  int64_t after_ns; /* > 0: come back after so long; -1: no hint (or 0, or past) */
  int should_retry; /* x-should-retry: 1 true, 0 false, -1 absent */
} sf_retry_hint;

typedef struct sf_quota_hint {
  sf_quota_word requests, tokens; /* x-ratelimit-*, anthropic-ratelimit-*; junk (-1, 0 limits) reads as not told */
} sf_quota_hint;

SF_BEGIN_DECLS

/* unix_now: wall clock in seconds, for dates without a Date header; < 0 = unknown (such dates are then no hint). */
sf_retry_hint sf_hints_retry(const char *block, size_t length, double unix_now);

/* unix_now: for RFC 3339 resets (anthropic), measured against Date when given. */
sf_quota_hint sf_hints_quota(const char *block, size_t length, double unix_now);

/* One Retry-After value (or several joined by commas): ns (>= 0), or -1 when it is none or past. date_unix: the Date header's time, < 0 = unknown. */
int64_t sf_retry_after_parse(sf_slice value, double date_unix);

/* Seconds since 1970 of an HTTP-date (IMF-fixdate, RFC 850, asctime), or -1. now_unix helps with two-digit years. */
int64_t sf_http_date_parse(sf_slice text, double now_unix);

/* Nanoseconds of a Go duration ("12ms", "1s", "6m0s", "1h2m3.5s") or of plain seconds, or -1. */
int64_t sf_duration_parse(sf_slice text);

/* A strict number ([0-9]+ with an optional fraction), spaces around it allowed. */
bool sf_number_parse(sf_slice text, double *value);

/* Seconds since 1970 of an RFC 3339 time, or -1. */
int64_t sf_rfc3339_parse(sf_slice text);

SF_END_DECLS

#endif
