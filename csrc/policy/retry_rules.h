/*
 * retry_rules.h: what a status or a transport failure means, before anybody has looked at the body.
 *
 * 408 409 429 5xx 529 are worth another attempt; 400 405 410 413 422 501 never; 401 402 403 never on the same key; 404
 * never on the same line. `x-should-retry` from the server wins over the table for whether, never for where.
 * Source: OpenAI and Anthropic SDKs, design of the outcome matrix.
 */
#ifndef SF_RETRY_RULES_H
#define SF_RETRY_RULES_H

#include "outcome.h"

typedef struct sf_verdict {
  sf_class cls;
  sf_kind kind;
  sf_outcome outcome;
} sf_verdict;

/* A user's list of statuses worth a retry: replaces the rule for all statuses >= 300. */
typedef struct sf_status_set {
  uint64_t bits[10]; /* one bit per status 0..639 */
  bool given;        /* false: the built-in rule */
} sf_status_set;

SF_BEGIN_DECLS

/* The verdict on a finished response of this status (any status; 2xx gives ACCEPT). `set` may be NULL. */
sf_verdict sf_retry_rule_status(int status, const sf_status_set *set);

/* A verdict told from the body, under a user's list; what only the body knows (another route, the content) stands. */
sf_verdict sf_retry_rule_listed(sf_verdict verdict, int status, const sf_status_set *set);

/* The same after the server's `x-should-retry`: should_retry 1 = "true", 0 = "false", -1 = absent. */
sf_verdict sf_retry_rule_hinted(sf_verdict verdict, int should_retry);

/* The outcome row that goes with a verdict given by the caller (class and kind, as told from the body). */
sf_outcome sf_retry_rule_outcome(sf_class cls, sf_kind kind, int status);

void sf_status_set_add(sf_status_set *set, int status);
bool sf_status_set_has(const sf_status_set *set, int status);

SF_END_DECLS

#endif
