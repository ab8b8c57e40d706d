/*
 * commons.h: what is learned and what is held: of a client, of a line, of a lane. Private, or common to the processes that
 * have opened the same region: then the words live there, and what each process holds is counted in its cell.
 */
#ifndef SF_COMMONS_H
#define SF_COMMONS_H

#include "../policy/adaptive_rate.h"
#include "../policy/balancer.h"
#include "../policy/breaker.h"
#include "../policy/concurrency.h"
#include "../policy/gcra.h"
#include "../policy/quota_pace.h"
#include "../policy/retry_budget.h"
#include "../share/region.h"

typedef struct sf_client sf_client;

/* Kinds of places in a region. */
enum { SF_PLACE_CLIENT = 1, SF_PLACE_ENDPOINT = 2, SF_PLACE_LANE = 3 };

typedef struct sf_client_words {
  sf_gcra requests, tokens;
  sf_budget budget;
  sf_concurrency_level level;
} sf_client_words;

typedef struct sf_endpoint_words {
  sf_breaker breaker;
  sf_ewma latency;
  sf_concurrency_level level;
  _Atomic int64_t started_at; /* of its slow start; 0 = not yet */
} sf_endpoint_words;

/* One rate lane: endpoint + key + model. */
typedef struct sf_lane {
  sf_gcra requests, tokens;
  sf_adaptive adaptive;
  sf_quota_pace token_pace;
  _Atomic uint64_t sent, sent_tokens; /* attempts ever, and what they were taken for */
  _Atomic int64_t blocked_until;      /* the server said: not before */
} sf_lane;

/* A client, and an endpoint, as they are in a region. */
typedef struct sf_common_client {
  sf_client_words words;
  sf_cells cells;
} sf_common_client;

typedef struct sf_common_endpoint {
  sf_endpoint_words words;
  sf_cells cells;
} sf_common_endpoint;

/* Places for things at the same time. */
typedef struct sf_slots {
  sf_concurrency held; /* by this client */
  sf_concurrency_level *level;
  sf_cells *cells; /* by everybody; NULL = private */
} sf_slots;

SF_BEGIN_DECLS

void sf_client_words_init(sf_client_words *words);
void sf_endpoint_words_init(sf_endpoint_words *words);
void sf_lane_init(sf_lane *lane);

/* Nothing goes before; a later time that was told before stays. */
void sf_lane_block(sf_lane *lane, int64_t until_ns);

/* What others hold of the same slots. */
uint32_t sf_slots_elsewhere(const sf_slots *slots, const sf_region *region);
bool sf_slots_have_room(const sf_slots *slots, const sf_concurrency_config *config, const sf_region *region);
bool sf_slots_acquire(sf_slots *slots, const sf_concurrency_config *config, sf_region *region);
void sf_slots_release(sf_slots *slots, const sf_concurrency_config *config, sf_region *region, int64_t now,
                      sf_slot_effect effect, int64_t elapsed_ns);

/* Looks for processes that are gone, now and then: what they held is free, and their probes are over. */
void sf_commons_reap(sf_region *region, int64_t now); /* takes NULL */

/* No later than until_ns, and soon enough to see what others gave back or found out. */
int64_t sf_commons_wake(sf_region *region, int64_t now, int64_t until_ns);

/*
 * Moves the words of a client that is new, and of its lines, into a region, which is the client's from then on. What does
 * not fit stays private, and is counted by the region.
 */
void sf_client_share(sf_client *client, sf_region *region);

/* The common lane of an endpoint, key and model; NULL: it does not fit. */
sf_lane *sf_commons_lane(const sf_client *client, uint32_t endpoint, uint32_t key, uint32_t model);

SF_END_DECLS

#endif
