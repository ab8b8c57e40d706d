/*
 * allowance.h: what one holder may do: requests a second, tokens a minute, so many at a time, and so much money in a window
 * of time. Let in is who has all of them, else nothing is taken, and the longest wait is told. Tokens are reserved by an
 * estimate and settled with what they were; money is counted once it is spent (policy/spend.h says what that allows).
 *
 * Private, or common to the processes that give the same key in the same region. Nothing locks, and a process that is
 * killed at any moment holds nothing: its places are cells, which count until the region was reaped; what it took of a
 * rate comes back with time. A handle belongs to one thread; after a fork the child begins with sf_allowance_forked.
 */
#ifndef SF_ALLOWANCE_H
#define SF_ALLOWANCE_H

#include "../policy/gcra.h"
#include "../policy/spend.h"
#include "region.h"

/* Kinds of places in a region, after those of engine/commons.h. */
enum { SF_PLACE_ALLOWANCE = 4, SF_PLACE_SPEND = 5 };

typedef struct sf_allowance_config {
  bool has_requests, has_tokens, has_budget;
  sf_gcra_config requests, tokens;
  uint32_t concurrency; /* at a time; 0 = any number */
  sf_spend_config budget;
} sf_allowance_config;

typedef struct sf_allowance_words {
  sf_gcra requests, tokens;
} sf_allowance_words;

/* The place of one in a region, but for its budget, which is one sf_spend. */
typedef struct sf_common_allowance {
  sf_allowance_words words;
  sf_cells cells;
} sf_common_allowance;

typedef struct sf_allowance {
  sf_allowance_config config;
  sf_allowance_words *words;
  sf_spend *budget;
  sf_region *region; /* NULL = private */
  sf_cells *cells;
  _Atomic uint32_t held; /* by this handle */
  double fraction;       /* of a micro-dollar, spent and not yet counted */
  sf_allowance_words own_words;
  sf_spend own_budget;
} sf_allowance;

/* What whoever was let in holds; given back once. */
typedef struct sf_pass {
  bool held;
  double tokens; /* reserved */
} sf_pass;

typedef enum {
  SF_ALLOWED,
  SF_REFUSED_BUDGET,
  SF_REFUSED_REQUESTS,
  SF_REFUSED_TOKENS,
  SF_REFUSED_CONCURRENCY,
} sf_allowance_answer;

typedef struct sf_allowance_numbers {
  uint32_t in_flight; /* of all processes */
  double requests_left, tokens_left;
  uint64_t spent;    /* micro-dollars, in the window of now */
  int64_t resets_in; /* SF_NEVER: not at all */
} sf_allowance_numbers;

SF_BEGIN_DECLS

/* Private; it must not move afterwards. */
void sf_allowance_init(sf_allowance *allowance, const sf_allowance_config *config);

/*
 * Makes a new one common to all who give the same key (at most SF_REGION_KEY - 32 bytes). The region is the caller's to
 * keep open. A budget of another window counts for itself. False: the region is full, and it stays private.
 */
bool sf_allowance_share(sf_allowance *allowance, sf_region *region, const char *key, size_t key_length);

/* The child of a fork holds nothing of what its parent does. */
void sf_allowance_forked(sf_allowance *allowance);

/*
 * Lets in, or says what is in the way and for how long (`wait`; 0: until somebody leaves, SF_NEVER: for good). An estimate
 * above the burst of tokens is let in when all of the burst is there. Where places are short, the caller may reap the
 * region and ask again.
 */
sf_allowance_answer sf_allowance_enter(sf_allowance *allowance, int64_t now, int64_t wall, double tokens, sf_pass *pass,
                                       int64_t *wait);

/* The same answer, and nothing is taken. */
sf_allowance_answer sf_allowance_peek(const sf_allowance *allowance, int64_t now, int64_t wall, double tokens,
                                      int64_t *wait);

/* Gives the place back and settles the tokens; tokens < 0: they were as estimated. Once: then the pass is not held. */
void sf_allowance_leave(sf_allowance *allowance, sf_pass *pass, double tokens);

/* Counts what was spent, also without a pass; nothing where there is no budget. */
void sf_allowance_spend(sf_allowance *allowance, int64_t wall, double dollars);

void sf_allowance_read(const sf_allowance *allowance, int64_t now, int64_t wall, sf_allowance_numbers *numbers);

SF_END_DECLS

#endif
