/*
 * outcome.c: the matrix of who hears which outcome, and the names of kinds, classes and phases. Data only.
 */
#include "outcome.h"

#include <string.h>

/* clang-format off */
const sf_effects sf_outcome_effects[SF_OUTCOME_COUNT] = {
                                 /* breaker               slot              cost                ewma                    hedge */
  [SF_OUTCOME_SUCCESS]            = { SF_BREAKER_OK,        SF_SLOT_OK,      SF_COST_NONE,      SF_EWMA_FIRST_TOKEN,  SF_HEDGE_ANSWERED },
  [SF_OUTCOME_CUT_AFTER_COMMIT]   = { SF_BREAKER_BAD_RATIO, SF_SLOT_IGNORED, SF_COST_TRANSIENT, SF_EWMA_FIRST_TOKEN,  SF_HEDGE_ANSWERED },
  [SF_OUTCOME_CALLER_ERROR]       = { SF_BREAKER_IGNORE,    SF_SLOT_IGNORED, SF_COST_NONE,      SF_EWMA_NONE,         SF_HEDGE_NONE },
  [SF_OUTCOME_KEY_REFUSED]        = { SF_BREAKER_IGNORE,    SF_SLOT_IGNORED, SF_COST_NONE,      SF_EWMA_NONE,         SF_HEDGE_NONE },
  [SF_OUTCOME_CONFLICT]           = { SF_BREAKER_BAD,       SF_SLOT_IGNORED, SF_COST_TRANSIENT, SF_EWMA_PENALTY,      SF_HEDGE_NONE },
  [SF_OUTCOME_THROTTLED]          = { SF_BREAKER_BAD_RATIO, SF_SLOT_DROPPED, SF_COST_THROTTLED, SF_EWMA_PENALTY_HINT, SF_HEDGE_NONE },
  [SF_OUTCOME_OVERLOADED]         = { SF_BREAKER_BAD,       SF_SLOT_DROPPED, SF_COST_BY_HINT,   SF_EWMA_PENALTY_HINT, SF_HEDGE_NONE },
  [SF_OUTCOME_SERVER_ERROR]       = { SF_BREAKER_BAD,       SF_SLOT_IGNORED, SF_COST_TRANSIENT, SF_EWMA_PENALTY,      SF_HEDGE_NONE },
  [SF_OUTCOME_CONNECT_FAILED]     = { SF_BREAKER_BAD,       SF_SLOT_IGNORED, SF_COST_TRANSIENT, SF_EWMA_PENALTY,      SF_HEDGE_NONE },
  [SF_OUTCOME_LOST]               = { SF_BREAKER_BAD,       SF_SLOT_IGNORED, SF_COST_TRANSIENT, SF_EWMA_PENALTY,      SF_HEDGE_NONE },
  [SF_OUTCOME_TIMEOUT]            = { SF_BREAKER_BAD,       SF_SLOT_DROPPED, SF_COST_TRANSIENT, SF_EWMA_ELAPSED,      SF_HEDGE_CENSORED },
  [SF_OUTCOME_IDLE_AFTER_COMMIT]  = { SF_BREAKER_BAD,       SF_SLOT_IGNORED, SF_COST_TRANSIENT, SF_EWMA_ELAPSED,      SF_HEDGE_ANSWERED },
  [SF_OUTCOME_DEADLINE]           = { SF_BREAKER_IGNORE,    SF_SLOT_IGNORED, SF_COST_NONE,      SF_EWMA_ELAPSED,      SF_HEDGE_CENSORED },
  [SF_OUTCOME_CANCELLED]          = { SF_BREAKER_IGNORE,    SF_SLOT_IGNORED, SF_COST_NONE,      SF_EWMA_ELAPSED,      SF_HEDGE_CENSORED },
  [SF_OUTCOME_LOSER_SILENT]       = { SF_BREAKER_BAD_RUN,   SF_SLOT_IGNORED, SF_COST_NONE,      SF_EWMA_ELAPSED,      SF_HEDGE_CENSORED },
  [SF_OUTCOME_UNSUITED]           = { SF_BREAKER_OK,        SF_SLOT_OK,      SF_COST_TRANSIENT, SF_EWMA_FIRST_TOKEN,  SF_HEDGE_ANSWERED },
  [SF_OUTCOME_LACKING]            = { SF_BREAKER_IGNORE,    SF_SLOT_IGNORED, SF_COST_TRANSIENT, SF_EWMA_NONE,         SF_HEDGE_NONE },
};
/* clang-format on */

#define X(name, text) text,
static const char *const sf_kind_names[] = { SF_KIND_LIST(X) };
static const char *const sf_class_names[] = { SF_CLASS_LIST(X) };
static const char *const sf_phase_names[] = { SF_PHASE_LIST(X) };
#undef X

const char *sf_kind_name(sf_kind kind)
{
  return sf_kind_names[kind];
}

const char *sf_class_name(sf_class cls)
{
  return sf_class_names[cls];
}

const char *sf_phase_name(sf_phase phase)
{
  return sf_phase_names[phase];
}

static int sf_name_index(const char *const *names, int count, const char *name)
{
  for (int i = 0; i < count; i++) {
    if (strcmp(names[i], name) == 0) return i;
  }
  return -1;
}

int sf_kind_by_name(const char *name)
{
  return sf_name_index(sf_kind_names, SF_KIND_COUNT, name);
}

int sf_class_by_name(const char *name)
{
  return sf_name_index(sf_class_names, SF_CLASS_COUNT, name);
}
