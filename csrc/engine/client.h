/*
 * client.h: what belongs to one surefoot client: its lines with their policies, keys, rate lanes and plans, the one
 * bounded queue, and the numbers. Policy state survives a fork; what was in flight does not.
 *
 * Units of state: endpoint (breaker, latency, slots), endpoint + key + model (rate), key (refused or spent), client
 * (rate, concurrency, retry budget, queue).
 */
#ifndef SF_CLIENT_H
#define SF_CLIENT_H

#include "../policy/backoff.h"
#include "../policy/hedge.h"
#include "../policy/histogram.h"
#include "../policy/ramp.h"
#include "../policy/retry_rules.h"
#include "commons.h"
#include "engine.h"

enum {
  SF_MAX_TARGETS = 256, /* of one plan */
  SF_MAX_KEYS = 64,     /* of one endpoint */
  SF_MAX_MODELS = 1000, /* of one client: beyond it the last one is shared */
  SF_MAX_USUALS = 64,   /* estimators of one client */
  SF_PRIORITIES = 3,
};

typedef struct sf_timeouts {
  int64_t connect, first_byte, first_token, idle, attempt; /* ns; first_byte 0 = as attempt */
  int64_t stream_first_byte;                               /* of calls that want events */
} sf_timeouts;

typedef struct sf_rate_config {
  bool given, has_requests, has_tokens, adaptive;
  sf_gcra_config requests, tokens;
} sf_rate_config;

typedef struct sf_numbers {
  uint64_t requests, successes, attempts, retries, hedges, timeouts, fallbacks;
  uint64_t errors[SF_KIND_COUNT];
  uint32_t in_flight, peak_in_flight;
  sf_histogram *latency, *first_token; /* made with the first record; NULL before */
} sf_numbers;

typedef struct sf_key {
  char *header; /* "authorization: Bearer ..."; wiped when replaced and at close */
  size_t length;
  int64_t cooled_until; /* refused or spent: others first until then */
} sf_key;

/* A line that is away, or comes back, while calls wait for it; void in another spell of waiting. */
typedef enum { SF_COMEBACK_NONE, SF_COMEBACK_SHUT, SF_COMEBACK_RAMP } sf_comeback_stage;

typedef struct sf_comeback {
  sf_comeback_stage stage;
  uint64_t spell; /* of the queue's, in which this holds */
  sf_ramp ramp;
  uint32_t encoding;         /* calls that left the queue to be encoded for it, and come back */
  uint64_t batch;            /* those who took too long are of an earlier one, and count no more */
  int64_t encoding_until_ns; /* when these take too long */
  uint32_t answering;        /* of its exchanges, streams whose first token was shown */
} sf_comeback;

typedef struct sf_endpoint {
  sf_line line;
  char *url;      /* without a slash at the end */
  char **headers; /* NULL-terminated lines */
  sf_key *keys;
  size_t key_count, key_turn;
  uint32_t priority;
  double weight;
  sf_timeouts timeout;
  bool has_breaker, has_concurrency;
  sf_breaker_config breaker_config;
  sf_concurrency_config concurrency_config;
  sf_rate_config rate_config;
  char **owned; /* every string that `line` points to, NULL-terminated */
  /* state */
  sf_endpoint_words *words, own_words;
  sf_slots slots;
  sf_comeback comeback;
  sf_lane **lanes, **own_lanes; /* [model * key places + key], found on first use; own: those that are private */
  size_t lane_models;           /* models that `lanes` has room for */
  sf_numbers numbers;
} sf_endpoint;

typedef struct sf_target {
  uint32_t route, endpoint, variant, model; /* all 0-based; model: index of the client's table */
} sf_target;

typedef struct sf_plan {
  uint32_t id;
  uint32_t route_count, variant_count, target_count;
  sf_target targets[];
} sf_plan;

/* Calls that wait for the same thing, in order: same priority, plan and set of candidates. */
typedef struct sf_line_up {
  struct sf_line_up *next;
  sf_call *first, *last;
  uint64_t key;
  uint32_t count; /* of its calls */
  int priority;
  bool blocked;          /* in this pump */
  bool circuit;          /* by open circuits */
  bool held;             /* by open circuits, once at least since it stands */
  int64_t wake_ns;       /* when its head may go, as far as is known */
  int64_t shut_until_ns; /* every circuit of its lines is open until then; 0 = not so */
} sf_line_up;

typedef struct sf_queue {
  sf_line_up *line_ups;
  sf_line_up *spare;
  uint32_t count, capacity;
  uint32_t waiting[SF_PRIORITIES]; /* count by priority */
  uint64_t order;                  /* arrival counter */
  uint64_t spell;                  /* times that it was no longer empty */
  sf_timer timer;
  bool pumping;
} sf_queue;

typedef struct sf_hedging {
  bool on;
  uint32_t most; /* hedges of one call */
  sf_hedge_config config;
} sf_hedging;

/* What is usual of calls that are alike: of one purpose and model, whole or in pieces. */
typedef struct sf_usual {
  struct sf_usual *next;
  uint32_t purpose, model;
  bool streams;
  sf_hedge hedge;
} sf_usual;

typedef struct sf_client_config {
  uint32_t max_attempts;
  sf_backoff_config backoff; /* base_ns: transient */
  int64_t throttled_base_ns;
  int64_t hint_cap_ns; /* a longer Retry-After is not waited for */
  sf_status_set on_status;
  sf_budget_config budget;
  sf_rate_config rate;
  sf_concurrency_config concurrency;
  sf_routing_config routing;
  sf_hedging hedging;
  size_t response_limit, header_limit;
  size_t event_limit, stream_limit; /* bytes of one event; unread, where the exchange cannot be paused */
} sf_client_config;

struct sf_client {
  sf_client_config config;
  sf_endpoint *endpoints;
  uint32_t endpoint_count;
  char **models;
  size_t model_count;
  sf_plan **plans;
  size_t plan_count;
  /* state */
  sf_engine *engine; /* where its calls run; NULL before the first */
  sf_client *next;   /* in engine->clients */
  bool closed, dirty;
  sf_client *next_dirty;
  sf_region *region; /* NULL = its words are private */
  sf_client_words *words, own_words;
  sf_slots slots;
  uint32_t refundable;           /* calls whose paid retry is under way */
  sf_call *unpaid, *last_unpaid; /* calls that wait for what those give back */
  sf_hedge hedge; /* its bucket is that of all calls; its estimator is for those that have none of their own */
  sf_usual *usuals;
  uint32_t usual_count;
  _Atomic uint64_t turn; /* round robin */
  sf_queue queue;
  sf_call *calls;      /* unsettled */
  sf_numbers numbers;  /* in flight: calls; their peak: exchanges, which are what the limit bounds */
  uint32_t exchanges;  /* that hold a slot */
  uint32_t references; /* the owner and each call */
};

SF_BEGIN_DECLS

sf_client *sf_client_new(const sf_client_config *config, uint32_t endpoint_count, uint32_t queue_capacity);
void sf_client_retain(sf_client *client);
void sf_client_release(sf_client *client);

/* Ends all calls with this kind, wipes the keys; later submits settle as `closed`. */
void sf_client_close(sf_client *client, sf_kind kind);

/* Binds the client to the engine that its calls run on. False: memory. */
bool sf_client_attach(sf_client *client, sf_engine *engine);
void sf_client_detach(sf_client *client);

/* Index of a model name (added when new; beyond SF_MAX_MODELS the last is shared), or -1 when memory is short. */
int sf_client_model(sf_client *client, const char *name, size_t length);

/* A new plan, owned by the client; NULL: memory. */
sf_plan *sf_client_plan(sf_client *client, const sf_target *targets, uint32_t count);

bool sf_client_set_key(sf_client *client, uint32_t endpoint, uint32_t key, const char *header, size_t length);

/* The lane, made on first use; NULL: memory. */
sf_lane *sf_client_lane(sf_client *client, uint32_t endpoint, uint32_t key, uint32_t model);

/* The hedge estimator of such calls, made on first use; beyond SF_MAX_USUALS, or without memory, that of the client. */
sf_hedge *sf_client_usual(sf_client *client, uint32_t purpose, uint32_t model, bool streams);

/* Its queue may move: pumped at the end of the turn. */
void sf_client_touch(sf_client *client);

/* numbers.c */
void sf_numbers_latency(sf_histogram **histogram, int64_t ns);
void sf_numbers_enter(sf_numbers *numbers);
void sf_numbers_leave(sf_numbers *numbers);
void sf_numbers_free(sf_numbers *numbers);

SF_END_DECLS

#endif
