/*
 * retry_rules.c: one table of statuses with a row for each hundred behind it, and one table from kinds to outcomes.
 */
#include "retry_rules.h"

#define SF_VERDICT(c, k, o) SF_CLASS_##c, SF_KIND_##k, SF_OUTCOME_##o

typedef struct sf_status_rule {
  int status;
  sf_verdict verdict;
} sf_status_rule;

static const sf_status_rule sf_status_rules[] = {
  { 401, { SF_VERDICT(KEY, UNAUTHORIZED, KEY_REFUSED) } },
  { 402, { SF_VERDICT(KEY, QUOTA, KEY_REFUSED) } },
  { 403, { SF_VERDICT(KEY, FORBIDDEN, KEY_REFUSED) } },
  { 404, { SF_VERDICT(ENDPOINT, NOT_FOUND, CALLER_ERROR) } },
  { 408, { SF_VERDICT(TRANSIENT, SERVER, CONFLICT) } },
  { 409, { SF_VERDICT(TRANSIENT, SERVER, CONFLICT) } },
  { 413, { SF_VERDICT(FINAL, TOO_LARGE, CALLER_ERROR) } },
  { 429, { SF_VERDICT(THROTTLED, RATE_LIMITED, THROTTLED) } },
  { 501, { SF_VERDICT(FINAL, INVALID_REQUEST, CALLER_ERROR) } },
  { 503, { SF_VERDICT(OVERLOADED, OVERLOADED, OVERLOADED) } },
  { 529, { SF_VERDICT(OVERLOADED, OVERLOADED, OVERLOADED) } },
};

/* By hundreds; a status that is none at all is an answer of the wrong form. */
static const sf_verdict sf_hundred_rules[] = {
  { SF_VERDICT(TRANSIENT, MALFORMED, SERVER_ERROR) },
  { SF_VERDICT(TRANSIENT, MALFORMED, SERVER_ERROR) },
  { SF_VERDICT(ACCEPT, OK, SUCCESS) },
  { SF_VERDICT(ENDPOINT, SERVER, SERVER_ERROR) },
  { SF_VERDICT(FINAL, INVALID_REQUEST, CALLER_ERROR) },
  { SF_VERDICT(TRANSIENT, SERVER, SERVER_ERROR) },
};

static const sf_outcome sf_kind_outcomes[SF_KIND_COUNT] = {
  [SF_KIND_OK] = SF_OUTCOME_SUCCESS,
  [SF_KIND_INVALID_REQUEST] = SF_OUTCOME_CALLER_ERROR,
  [SF_KIND_UNAUTHORIZED] = SF_OUTCOME_KEY_REFUSED,
  [SF_KIND_FORBIDDEN] = SF_OUTCOME_KEY_REFUSED,
  [SF_KIND_NOT_FOUND] = SF_OUTCOME_CALLER_ERROR,
  [SF_KIND_QUOTA] = SF_OUTCOME_KEY_REFUSED,
  [SF_KIND_CONTENT_FILTER] = SF_OUTCOME_CALLER_ERROR,
  [SF_KIND_CONTEXT_LENGTH] = SF_OUTCOME_CALLER_ERROR,
  [SF_KIND_TOO_LARGE] = SF_OUTCOME_CALLER_ERROR,
  [SF_KIND_RATE_LIMITED] = SF_OUTCOME_THROTTLED,
  [SF_KIND_OVERLOADED] = SF_OUTCOME_OVERLOADED,
  [SF_KIND_SERVER] = SF_OUTCOME_SERVER_ERROR,
  [SF_KIND_TIMEOUT] = SF_OUTCOME_TIMEOUT,
  [SF_KIND_DEADLINE] = SF_OUTCOME_DEADLINE,
  [SF_KIND_NETWORK] = SF_OUTCOME_LOST,
  [SF_KIND_TLS] = SF_OUTCOME_CONNECT_FAILED,
  [SF_KIND_TRUNCATED] = SF_OUTCOME_SERVER_ERROR,
  [SF_KIND_MALFORMED] = SF_OUTCOME_SERVER_ERROR,
  [SF_KIND_REJECTED] = SF_OUTCOME_UNSUITED,
  [SF_KIND_CIRCUIT_OPEN] = SF_OUTCOME_CANCELLED,
  [SF_KIND_QUEUE_FULL] = SF_OUTCOME_CANCELLED,
  [SF_KIND_CANCELLED] = SF_OUTCOME_CANCELLED,
  [SF_KIND_CLOSED] = SF_OUTCOME_CANCELLED,
};

static sf_verdict sf_built_in_rule(int status)
{
  for (size_t i = 0; i < sizeof sf_status_rules / sizeof *sf_status_rules; i++) {
    if (sf_status_rules[i].status == status) return sf_status_rules[i].verdict;
  }
  return sf_hundred_rules[status >= 100 && status <= 599 ? status / 100 : 0];
}

/* Is the class an answer to "whether" (and not only to "where")? */
static bool sf_asks_again(sf_class cls)
{
  return cls == SF_CLASS_TRANSIENT || cls == SF_CLASS_THROTTLED || cls == SF_CLASS_OVERLOADED || cls == SF_CLASS_AGAIN;
}

/* An outside word on whether: it turns final into transient and back. The places (key, endpoint, route) stay closed. */
static sf_verdict sf_decide_whether(sf_verdict verdict, bool again)
{
  if (!again && sf_asks_again(verdict.cls)) verdict.cls = SF_CLASS_FINAL;
  if (again && verdict.cls == SF_CLASS_FINAL) {
    verdict.cls = SF_CLASS_TRANSIENT;
    if (verdict.outcome == SF_OUTCOME_CALLER_ERROR) verdict.outcome = SF_OUTCOME_CONFLICT;
  }
  return verdict;
}

sf_verdict sf_retry_rule_status(int status, const sf_status_set *set)
{
  return sf_retry_rule_listed(sf_built_in_rule(status), status, set);
}

sf_verdict sf_retry_rule_listed(sf_verdict verdict, int status, const sf_status_set *set)
{
  if (set == NULL || !set->given || status < 300) return verdict;
  if (verdict.cls == SF_CLASS_ACCEPT || verdict.cls == SF_CLASS_ROUTE || verdict.kind == SF_KIND_CONTENT_FILTER)
    return verdict;
  if (sf_status_set_has(set, status)) return sf_decide_whether(verdict, true);
  verdict.cls = SF_CLASS_FINAL;
  return verdict;
}

sf_verdict sf_retry_rule_hinted(sf_verdict verdict, int should_retry)
{
  return should_retry < 0 ? verdict : sf_decide_whether(verdict, should_retry == 1);
}

sf_outcome sf_retry_rule_outcome(sf_class cls, sf_kind kind, int status)
{
  switch (cls) {
  case SF_CLASS_NONE: return sf_built_in_rule(status).outcome;
  case SF_CLASS_ACCEPT: return SF_OUTCOME_SUCCESS;
  case SF_CLASS_THROTTLED: return SF_OUTCOME_THROTTLED;
  case SF_CLASS_OVERLOADED: return SF_OUTCOME_OVERLOADED;
  case SF_CLASS_KEY: return SF_OUTCOME_KEY_REFUSED;
  case SF_CLASS_ROUTE: return SF_OUTCOME_CALLER_ERROR;
  case SF_CLASS_AGAIN: return SF_OUTCOME_UNSUITED;
  default: break;
  }
  sf_outcome outcome = sf_kind_outcomes[kind];
  if (cls != SF_CLASS_TRANSIENT) return outcome;
  bool conflict = status == 408 || status == 409 || outcome == SF_OUTCOME_CALLER_ERROR;
  return conflict ? SF_OUTCOME_CONFLICT : kind == SF_KIND_OK ? SF_OUTCOME_SERVER_ERROR : outcome;
}

void sf_status_set_add(sf_status_set *set, int status)
{
  set->given = true;
  if (status >= 0 && status < 640) set->bits[status / 64] |= UINT64_C(1) << (status % 64);
}

bool sf_status_set_has(const sf_status_set *set, int status)
{
  return status >= 0 && status < 640 && (set->bits[status / 64] >> (status % 64) & 1);
}
