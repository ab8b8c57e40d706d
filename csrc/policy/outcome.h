/*
 * outcome.h: the words in which a call's fate is told: error kinds, verdict classes, outcomes, and the matrix that says
 * which policy hears which outcome. All of it is data; the engine looks up and obeys.
 *
 * Source of the matrix: Finagle, linkerd2-proxy, failsafe-go and the AWS SDK retry specification of 2026, distilled.
 */
#ifndef SF_OUTCOME_H
#define SF_OUTCOME_H

#include "base.h"

/* Error kinds: the one list. The names are public (`err.kind`). */
#define SF_KIND_LIST(X)                                                                                                \
  X(OK, "ok")                                                                                                          \
  X(INVALID_REQUEST, "invalid_request")                                                                                \
  X(UNAUTHORIZED, "unauthorized")                                                                                      \
  X(FORBIDDEN, "forbidden")                                                                                            \
  X(NOT_FOUND, "not_found")                                                                                            \
  X(QUOTA, "quota")                                                                                                    \
  X(CONTENT_FILTER, "content_filter")                                                                                  \
  X(CONTEXT_LENGTH, "context_length")                                                                                  \
  X(TOO_LARGE, "too_large")                                                                                            \
  X(RATE_LIMITED, "rate_limited")                                                                                      \
  X(OVERLOADED, "overloaded")                                                                                          \
  X(SERVER, "server")                                                                                                  \
  X(TIMEOUT, "timeout")                                                                                                \
  X(DEADLINE, "deadline")                                                                                              \
  X(NETWORK, "network")                                                                                                \
  X(TLS, "tls")                                                                                                        \
  X(TRUNCATED, "truncated")                                                                                            \
  X(MALFORMED, "malformed")                                                                                            \
  X(REJECTED, "rejected")                                                                                              \
  X(CIRCUIT_OPEN, "circuit_open")                                                                                      \
  X(QUEUE_FULL, "queue_full")                                                                                          \
  X(CANCELLED, "cancelled")                                                                                            \
  X(CLOSED, "closed")

typedef enum {
#define X(name, text) SF_KIND_##name,
  SF_KIND_LIST(X)
#undef X
      SF_KIND_COUNT
} sf_kind;

/* Verdict classes: what a kind of failure means for the next attempt. */
#define SF_CLASS_LIST(X)                                                                                               \
  X(NONE, "none")             /* no verdict: the status table decides */                                               \
  X(ACCEPT, "accept")         /* a whole, good answer */                                                               \
  X(TRANSIENT, "transient")   /* may go away: try again, another line first */                                         \
  X(THROTTLED, "throttled")   /* 429: another line first, this one after its Retry-After */                            \
  X(OVERLOADED, "overloaded") /* 503 529: as throttled, and the line is unwell */                                      \
  X(KEY, "key")               /* this key is refused or spent: another key or line */                                  \
  X(ENDPOINT, "endpoint")     /* this line cannot serve the call: another line */                                      \
  X(ROUTE, "route")           /* this model cannot serve the call: the next route */                                   \
  X(FINAL, "final")           /* no attempt can help */                                                                \
  X(AGAIN, "again")           /* the line is well, the answer will not do: ask again */

typedef enum {
#define X(name, text) SF_CLASS_##name,
  SF_CLASS_LIST(X)
#undef X
      SF_CLASS_COUNT
} sf_class;

/* Phases of an attempt, for timers and for `err.phase`. */
#define SF_PHASE_LIST(X)                                                                                               \
  X(NONE, "none")                                                                                                      \
  X(CONNECT, "connect")                                                                                                \
  X(FIRST_BYTE, "first_byte")                                                                                          \
  X(FIRST_TOKEN, "first_token")                                                                                        \
  X(IDLE, "idle")                                                                                                      \
  X(ATTEMPT, "attempt")

typedef enum {
#define X(name, text) SF_PHASE_##name,
  SF_PHASE_LIST(X)
#undef X
      SF_PHASE_COUNT
} sf_phase;

/* Rows of the outcome matrix. */
typedef enum {
  SF_OUTCOME_SUCCESS,           /* 2xx, complete */
  SF_OUTCOME_CUT_AFTER_COMMIT,  /* a stream cut after tokens were shown */
  SF_OUTCOME_CALLER_ERROR,      /* 400 404 413 422, content filter, context length */
  SF_OUTCOME_KEY_REFUSED,       /* 401 402 403, quota exhausted */
  SF_OUTCOME_CONFLICT,          /* 408 409 */
  SF_OUTCOME_THROTTLED,         /* 429 */
  SF_OUTCOME_OVERLOADED,        /* 503 529 */
  SF_OUTCOME_SERVER_ERROR,      /* other 5xx, 3xx; malformed, truncated bodies */
  SF_OUTCOME_CONNECT_FAILED,    /* DNS, connect, TLS handshake, connect timeout */
  SF_OUTCOME_LOST,              /* connection died while an answer was awaited */
  SF_OUTCOME_TIMEOUT,           /* no first byte or first token in time, attempt timeout */
  SF_OUTCOME_IDLE_AFTER_COMMIT, /* silence after tokens were shown */
  SF_OUTCOME_DEADLINE,          /* the caller's deadline ended it */
  SF_OUTCOME_CANCELLED,         /* the caller or the winner of a hedge ended it; bytes had come */
  SF_OUTCOME_LOSER_SILENT,      /* a hedge loser cancelled before any response byte */
  SF_OUTCOME_UNSUITED,          /* a whole answer that validation refused (`again`) */
  SF_OUTCOME_LACKING,           /* this machine lacked what an attempt needs: no word on the line */
  SF_OUTCOME_COUNT
} sf_outcome;

typedef enum {
  SF_BREAKER_IGNORE,
  SF_BREAKER_OK,
  SF_BREAKER_BAD,
  SF_BREAKER_BAD_RATIO,
  SF_BREAKER_BAD_RUN
} sf_breaker_effect;
typedef enum { SF_SLOT_IGNORED, SF_SLOT_OK, SF_SLOT_DROPPED } sf_slot_effect;
typedef enum { SF_COST_NONE, SF_COST_TRANSIENT, SF_COST_THROTTLED, SF_COST_BY_HINT } sf_cost_effect;
typedef enum {
  SF_EWMA_NONE,
  SF_EWMA_FIRST_TOKEN,
  SF_EWMA_PENALTY,
  SF_EWMA_PENALTY_HINT,
  SF_EWMA_ELAPSED
} sf_ewma_effect;
typedef enum { SF_HEDGE_NONE, SF_HEDGE_ANSWERED, SF_HEDGE_CENSORED } sf_hedge_effect;

typedef struct sf_effects {
  sf_breaker_effect breaker; /* BAD: ratio and run; BAD_RATIO: 429, also fails a probe; BAD_RUN: run only */
  sf_slot_effect slot;       /* what the concurrency limiter hears */
  sf_cost_effect cost;       /* what a retry after this outcome costs; BY_HINT: throttled if a hint was given */
  sf_ewma_effect ewma;       /* latency sample of the line */
  sf_hedge_effect hedge;     /* what the hedge delay estimator hears */
} sf_effects;

SF_BEGIN_DECLS

extern const sf_effects sf_outcome_effects[SF_OUTCOME_COUNT];

const char *sf_kind_name(sf_kind kind);
const char *sf_class_name(sf_class cls);
const char *sf_phase_name(sf_phase phase);

/* The value whose public name is `name`, or -1. */
int sf_kind_by_name(const char *name);
int sf_class_by_name(const char *name);

SF_END_DECLS

#endif
