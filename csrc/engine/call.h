/*
 * call.h: the life of a call: submitted, waiting, attempted, asked about, settled.
 *
 * A call has one deadline over everything. C decides when, where and how often; its owner, outside, says what the bytes
 * mean by answering questions (sf_call_next). A question is repeated until it is answered; late answers are ignored.
 */
#ifndef SF_CALL_H
#define SF_CALL_H

#include "../wire/hints.h"
#include "client.h"
#include "memory.h"
#include "sink.h"
#include "stream.h"

enum { SF_TARGET_WORDS = SF_MAX_TARGETS / 64, SF_MESSAGE_BYTES = 192, SF_MAX_HEADERS = 96, SF_FIRST_TRAIL = 2 };

typedef struct sf_target_set {
  uint64_t words[SF_TARGET_WORDS];
} sf_target_set;

typedef enum { SF_VARIANT_WANTED, SF_VARIANT_ENCODED, SF_VARIANT_SKIPPED } sf_variant_state;

/* One encoded request; the bytes of `body` belong to the owner of the call and outlive it. */
typedef struct sf_variant {
  sf_variant_state state;
  sf_kind skipped; /* why */
  char *text;      /* one block: method, path, header lines; NULL-terminated each */
  const char *path, *header_text;
  size_t header_count;
  const char *body;
  size_t body_length;
} sf_variant;

typedef enum {
  SF_CALL_NEW,         /* made, not submitted */
  SF_CALL_WAITING,     /* in the queue */
  SF_CALL_BACKING_OFF, /* its wake timer runs */
  SF_CALL_ENCODING,    /* its owner is asked for a variant */
  SF_CALL_ACTIVE,      /* at least one attempt is out, or asked about */
  SF_CALL_SETTLED
} sf_call_state;

/* One line of the trail: what an attempt was and how it ended. */
typedef struct sf_trail {
  uint32_t endpoint, key, route, model;
  int status;
  sf_kind kind;
  sf_phase phase;
  bool ended, hedge, reused, restarted;
  int64_t waited_ns; /* from submit, or from the end of the attempt before, to the start */
  int64_t started_ns;
  int64_t latency_ns;    /* start to end */
  int64_t first_byte_ns; /* start to first body byte; < 0 = none came */
  const char *message;   /* see sf_message_set */
  sf_link link;          /* when it has ended */
} sf_trail;

/* Something to tell an observer. */
typedef enum {
  SF_EVENT_QUEUED,
  SF_EVENT_ATTEMPT_STARTED,
  SF_EVENT_FIRST_TOKEN,
  SF_EVENT_RETRIED,
  SF_EVENT_HEDGED,
  SF_EVENT_FAILED_OVER,
  SF_EVENT_BREAKER_CHANGED,
  SF_EVENT_RATE_CHANGED,
  SF_EVENT_SETTLED
} sf_event_name;

typedef struct sf_event {
  sf_event_name name;
  int64_t at_ns;
  uint32_t attempt;  /* 1-based, 0 = none */
  uint32_t endpoint; /* 0-based */
  sf_kind kind;
  int64_t wait_ns;
  double value; /* breaker state, or rate */
} sf_event;

struct sf_attempt {
  sf_exchange exchange; /* first: the exchange is the attempt */
  sf_request request;
  sf_call *call;
  sf_attempt *next;       /* of the call's live attempts */
  sf_attempt *next_ended; /* in the engine's list of ended ones */
  sf_timer timer;         /* not later than the end of its phase */
  int64_t armed_ns;       /* what the timer was set to; SF_NEVER = never */
  sf_phase forgiven;      /* the phase that was prolonged because the host was late */
  uint32_t number;        /* 1-based place in the trail */
  uint32_t target, key;
  sf_lane *lane;
  sf_permit permit;
  double tokens; /* reserved */
  bool connected, first_byte, ended, asking, slots_held, timed_out, restarted, heard;
  bool tokens_told;                /* the provider's word on what is left was heard, and knows of its tokens */
  uint64_t lane_sent, lane_tokens; /* what its lane had sent with it */
  int64_t started_ns, connecting_ns, connected_ns, first_byte_ns, last_byte_ns, ended_ns;
  int64_t
      first_token_ns; /* plain answers: first byte of the body; streams: the event that was committed on; < 0 = none */
  int status;
  sf_retry_hint hint;
  sf_result result;
  sf_phase phase;
  bool reused, any_response, sent;
  bool explained; /* `message` says why it was refused: the transport need not */
  bool sinks;     /* its body goes to the call's sink */
  bool unwritten; /* the sink took no more of it */
  sf_stream stream;
  char *secret; /* the key's header, behind the URL: wiped with the attempt; NULL = none */
  size_t secret_bytes;
  sf_buffer headers, body; /* from here on memory is kept from use to use; all before is cleared */
  char *url;
  size_t url_capacity;
  char message[SF_MESSAGE_BYTES];
  const char *header_lines[SF_MAX_HEADERS];
};

/* What is known of a failed attempt. */
typedef struct sf_failure {
  sf_class cls;
  sf_kind kind;
  sf_phase phase;
  sf_outcome outcome;
  uint32_t attempt, target, key;
  int64_t hint_ns;  /* < 0 = none */
  bool pushed_back; /* the server says not to try again */
  const char *message;
} sf_failure;

struct sf_call {
  sf_waiter waiter;
  sf_engine *engine;
  sf_client *client;
  sf_call *prev, *next; /* of the client's calls */
  sf_call_state state;
  const sf_plan *plan;
  int priority; /* 0 high .. 2 low */
  sf_call *prev_waiting, *next_waiting;
  sf_line_up *line_up;
  uint64_t arrival;
  int64_t submitted_ns, deadline_ns;
  sf_timer deadline_timer, wake_timer;
  bool has_timeout; /* its own timeouts instead of the lines' */
  sf_timeouts timeout;
  uint32_t max_attempts;
  double estimate; /* tokens */
  bool streams;    /* its answer is wanted as events */
  char *header_text;
  size_t header_count;
  sf_variant *variants; /* plan->variant_count of them; a single one is `variant` */
  sf_variant variant;
  sf_body *upload; /* the body of all variants; NULL: each has its own */
  sf_sink *sink;   /* takes the body of a 2xx answer, of one attempt at a time: nothing is hedged; NULL: none does */
  uint32_t wanted; /* the target whose variant is asked for */
  uint64_t batch;  /* of the line's, while its variant is asked for out of the queue: see comeback.c */
  /* what was tried */
  sf_target_set tried, excluded;
  int32_t last_target;
  uint64_t round;        /* backoff rounds so far */
  int64_t last_delay_ns; /* for decorrelated backoff */
  int64_t idle_since_ns; /* end of the last attempt, or submit */
  int32_t last_cost;     /* of the last retry paid */
  bool refundable;       /* it was paid, and has not ended */
  bool unpaid;           /* the next one could not be paid: it stands in the client's list of such (prev_waiting) */
  sf_failure owed;       /* unpaid: what it is to be paid for, ... */
  int64_t owed_at_ns;    /* ... and when it would begin */
  /* attempts beside slow ones */
  sf_hedging hedging;
  sf_hedge *usual; /* the estimator of calls like it */
  sf_timer hedge_timer;
  uint32_t hedges;
  int32_t beside_cost;      /* what hedges cost the retry budget */
  int32_t silence_cost;     /* the same of what was sent because a line seemed to fail, and ... */
  uint32_t silence_attempt; /* ... the first such attempt; 0 = none */
  bool awaits_variant;      /* the next one needs the variant of target `wanted` */
  bool awaits_hedge;        /* it is a hedge */
  uint32_t first_loser;     /* the newest attempt that failed while others ran, if it was no hedge; 0 = none */
  /* attempts */
  sf_attempt *live;
  uint32_t attempt_count;
  sf_trail *trail; /* begins as first_trail */
  size_t trail_capacity;
  bool sent, committed; /* committed: something of a stream was shown */
  /* the end */
  bool ok;
  sf_kind kind;
  sf_phase phase;
  uint32_t deciding;               /* attempt that decided, 0 = none */
  int64_t settled_ns, retry_at_ns; /* SF_NEVER = no hint */
  int64_t first_token_ns;          /* since submit; < 0 = none */
  const char *message;             /* see sf_message_set */
  /* observers */
  bool wants_events;
  sf_event *events;
  size_t event_count, event_capacity;
  sf_trail first_trail[SF_FIRST_TRAIL]; /* last: each place is written when it is taken */
};

/* What a new call is made of. Strings are copied, except bodies. */
typedef struct sf_call_options {
  const sf_plan *plan;
  int64_t deadline_ns; /* from now; SF_NEVER = none */
  int priority;        /* 0 high .. 2 low */
  const char *headers; /* "name: value\n" lines sent with every variant */
  size_t headers_length;
  double estimate;            /* tokens */
  uint32_t max_attempts;      /* 0 = the client's */
  const sf_timeouts *timeout; /* NULL: the lines' own; a field < 0: the line's own */
  bool events;                /* an observer wants to hear what happens */
  bool stream;                /* the answer is wanted as events */
  uint32_t purpose;           /* calls of another one take other times */
  const sf_hedging *hedging;  /* instead of the client's; NULL: as there */
  sf_body *upload;            /* the body of all variants, closed by the call; NULL: each has its own */
  sf_sink *sink;              /* takes the body of a 2xx answer, closed by the call; NULL: none does */
} sf_call_options;

typedef enum {
  SF_QUESTION_WAIT,
  SF_QUESTION_ENCODE,
  SF_QUESTION_RESPONSE, /* a finished body */
  SF_QUESTION_EVENT,    /* of a stream; it is given once, and saying nothing of it means: go on */
  SF_QUESTION_ENDED,    /* a stream ended that nobody has called complete */
  SF_QUESTION_SETTLED
} sf_question_name;

typedef struct sf_question {
  sf_question_name name;
  uint32_t target;            /* ENCODE: the target whose variant is wanted */
  const sf_attempt *attempt;  /* RESPONSE, EVENT, ENDED */
  sf_slice event_name, event; /* EVENT: valid until the next entry */
  bool must_decide;           /* EVENT: enough was held back: commit or fail */
} sf_question;

typedef struct sf_answer {
  sf_class cls; /* SF_CLASS_NONE: the status table decides */
  sf_kind kind;
  int64_t wait_ns;     /* a hint found in the body; < 0 = none */
  double tokens;       /* used, for the rate; < 0 = not told */
  const char *message; /* for the trail; may be NULL */
} sf_answer;

SF_BEGIN_DECLS

/* A call that is not yet submitted; NULL: out of memory, and nothing was taken. */
sf_call *sf_call_new(sf_client *client, sf_engine *engine, const sf_call_options *options);

/* Answers "encode" (or encodes ahead of it). False: out of memory or too many headers; the variant is then skipped. */
bool sf_call_encode(sf_call *call, uint32_t variant, const char *method, const char *path, const char *headers,
                    size_t headers_length, const char *body, size_t body_length);
void sf_call_skip(sf_call *call, uint32_t variant, sf_kind why);

/* Rules a line out for a call; before it is submitted, or when its failure is judged. */
void sf_call_leave_out(sf_call *call, uint32_t endpoint);

void sf_call_submit(sf_call *call);
sf_question sf_call_next(sf_call *call);

/* The owner's word on a body, an event, or the end of a stream. Accepting a stream whose bytes go on lets them run dry. */
void sf_call_answer(sf_call *call, uint32_t attempt, const sf_answer *answer);

/* The event taken last is content: the stream is the caller's now, its rivals are cancelled. */
void sf_call_commit(sf_call *call, uint32_t attempt);
/* Every choice has finished: only a farewell can come, and is waited for briefly. False: it was not so, more came. */
void sf_call_finishing(sf_call *call, uint32_t attempt, bool finishing);

void sf_call_cancel(sf_call *call, sf_kind kind); /* the owner turns the engine, after all that it cancels */

/* Cancels what still runs, and frees. The caller ends with sf_engine_turned, or sf_engine_postpone. */
void sf_call_free(sf_call *call);

/* Gives back what the engine keeps of ended calls and attempts for the next ones. */
void sf_call_drain(sf_engine *engine);

/* ---- between the files of the lifecycle ---- */

/*
 * call.c: a message is never NULL: "", or a copy that belongs to where it stands, cut to SF_MESSAGE_BYTES. Without memory
 * it stays as it was.
 */
void sf_message_set(const char **message, const char *text);

/* call.c: the end of a call. `message` may be NULL. */
void sf_call_settle(sf_call *call, bool ok, sf_kind kind, uint32_t deciding, const char *message);
void sf_call_event(sf_call *call, sf_event_name name, uint32_t attempt, uint32_t endpoint, sf_kind kind,
                   int64_t wait_ns, double value);

/* attempt.c */
/* What admission took for an attempt; it is given back by the attempt's end. */
typedef struct sf_grant {
  uint32_t target, key;
  sf_lane *lane;
  sf_permit permit;
  double tokens;
  bool hedge;
} sf_grant;

/* Starts an attempt on what was granted. False: out of memory; nothing was kept, the grant is still the caller's. */
bool sf_attempt_start(sf_call *call, const sf_grant *grant, int64_t now);
void sf_attempt_judge(sf_attempt *attempt);   /* its bytes ended: decide, or ask */
void sf_attempt_free(sf_attempt *attempt);    /* after its report: it is no longer live */
void sf_attempt_discard(sf_attempt *attempt); /* one that is in no use: gives its memory back */
/* Takes a live attempt back: cancels its exchange, reports `outcome`, frees it. */
void sf_attempt_drop(sf_attempt *attempt, sf_outcome outcome, sf_kind kind, double tokens);
/* Its owner has taken an event, or said what one means: another phase may have begun. True: a timer was set earlier. */
bool sf_attempt_phase_begins(sf_attempt *attempt);
/* Ends the exchange because what comes is too much. */
void sf_attempt_refuse(sf_attempt *attempt);
/* Nothing more is wanted of it: its last bytes may come for a while, so that the connection can be used again. */
void sf_attempt_let_run_dry(sf_attempt *attempt);
void sf_attempt_say(sf_attempt *attempt, const char *message);
/* How long it may take until its first token, whatever ends it then. */
int64_t sf_attempt_patience(const sf_attempt *attempt);
/* How an exchange ended that brought no whole answer. */
sf_failure sf_attempt_failure(const sf_attempt *attempt);

/* hedge.c */
void sf_hedge_prepare(sf_call *call, uint32_t purpose,
                      const sf_hedging *own);    /* a new call; own: NULL = as the client */
void sf_hedge_watch(sf_call *call, int64_t now); /* an attempt has begun */
void sf_hedge_encoded(sf_call *call);            /* its variant is there now */
/* An attempt failed while others run: asks another line at once, already paid for. False: none is to be had. */
bool sf_hedge_replace(sf_call *call, int64_t now);
/* What is to be said of an attempt that lost against another. */
sf_outcome sf_hedge_loser(const sf_attempt *attempt);
void sf_hedge_sample(const sf_attempt *attempt, sf_hedge_effect effect, int64_t now);

/* report.c */
/* Reports to every policy what the matrix says, frees the attempt. */
void sf_attempt_report(sf_attempt *attempt, sf_outcome outcome, sf_kind kind, double tokens);

/* retry.c */
void sf_retry_decide(sf_call *call, const sf_failure *failure);
void sf_retry_settled(sf_call *call);    /* it has ended: it holds nothing of the budget, and waits for nothing */
void sf_retry_too_late(sf_call *call);   /* the deadline of one that could not be paid */
void sf_retry_resume(sf_client *client); /* the budget, or who may give something back to it, has changed */
/* Was this key refused or spent in this call? */
bool sf_retry_key_is_dead(const sf_call *call, uint32_t endpoint, uint32_t key);

/* admission.c: all or none. */
typedef enum { SF_ADMITTED, SF_BLOCKED, SF_NEEDS_ENCODE, SF_HOPELESS } sf_admission;

typedef struct sf_blockage {
  int64_t until_ns; /* when to ask again; SF_NEVER = when something is released */
  sf_kind kind;     /* if nothing comes of it: CIRCUIT_OPEN, DEADLINE, or a skipped variant's kind */
  bool client_wide; /* what is missing belongs to the whole client: nobody behind gets it either */
  bool hopeful;     /* somebody else's end may come first: worth waiting for, whatever until_ns says */
  const char *message;
} sf_blockage;

/* Starts the next attempt of a call, or says what is in the way. NEEDS_ENCODE: call->wanted says which target. */
sf_admission sf_admission_try(sf_call *call, int64_t now, sf_blockage *blockage);
/*
 * The same beside what runs: on the route of it, on a line that is well, another one unless `again`; what is in the way is
 * not told.
 */
sf_admission sf_admission_beside(sf_call *call, bool hedge, bool again, int64_t now);
/* Gives the slots of an attempt back: its bytes have ended. */
void sf_admission_release(sf_attempt *attempt, sf_slot_effect effect, int64_t now);
/* Settles the tokens of an attempt with what was used. */
void sf_admission_settle_tokens(sf_attempt *attempt, double used);
/* Could an untried target of this call be asked now, as far as its breaker, its lane and its keys go? */
bool sf_admission_has_untried(const sf_call *call, int64_t now);
/* The earliest time at which a target that is not excluded may be asked (server hints); `now` if one may at once. */
int64_t sf_admission_earliest(const sf_call *call, int64_t now);

/* Does a call wait that this line could serve? */
bool sf_admission_is_waited_for(const sf_client *client, uint32_t endpoint);

/* comeback.c: lines that come back while calls wait for them. */
void sf_comeback_shut(sf_client *client, sf_endpoint *endpoint); /* a call was refused: its circuit is not closed */
void sf_comeback_watch(sf_client *client, int64_t now);          /* before those who wait are looked at */
/* How long until the line may have one more: 0 = it may; SF_NEVER = until one of its own ends. */
int64_t sf_comeback_wait(const sf_client *client, const sf_endpoint *endpoint, int64_t now);
void sf_comeback_encodes(sf_call *call, int64_t now); /* it leaves the queue to be encoded for the line, ... */
void sf_comeback_encoded(const sf_call *call);        /* ... and comes back, or never will */
/* Its first token was shown. */
void sf_comeback_answers(sf_attempt *attempt, int64_t now);
/* First when its slot is given back, so that no other takes its place before a failure is heard; then when it is judged. */
void sf_comeback_report(sf_attempt *attempt, sf_breaker_effect effect, int64_t now);

/* queue.c: the one bounded queue of a client. */
void sf_queue_enter(sf_call *call); /* admits at once, waits in line, or settles the call */
void sf_queue_leave(sf_call *call);
void sf_queue_pump(sf_client *client);
/* How many calls wait that may go to this endpoint. */
uint32_t sf_queue_count_for(const sf_client *client, uint32_t endpoint);
void sf_queue_fini(sf_queue *queue);

static inline sf_trail *sf_attempt_trail(const sf_attempt *attempt)
{
  return &attempt->call->trail[attempt->number - 1];
}

static inline sf_endpoint *sf_attempt_endpoint(const sf_attempt *attempt)
{
  return &attempt->call->client->endpoints[attempt->call->plan->targets[attempt->target].endpoint];
}

static inline bool sf_target_set_has(const sf_target_set *set, uint32_t index)
{
  return (set->words[index / 64] >> (index % 64)) & 1u;
}

static inline void sf_target_set_add(sf_target_set *set, uint32_t index)
{
  set->words[index / 64] |= UINT64_C(1) << (index % 64);
}

SF_END_DECLS

#endif
