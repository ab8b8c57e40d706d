/*
 * attempt.c: one HTTP exchange of a call: its start, its phase timers and its up-calls.
 * Up-calls come from inside the transport: they only note what came and queue the attempt; judging is done in the turn.
 */
#include <string.h>
#include <strings.h>

#include "../wire/headers.h"
#include "attempt.h"

/* A timer that fires later than this was held up by the host, not by the provider: once, the phase goes on for as much. */
#define LATE_NS (50 * SF_MILLISECOND)

enum {
  BODY_LEAST = 4 * 1024,
  BUFFER_KEPT = 64 * 1024, /* a larger one is not kept for the next attempt */
};

void sf_attempt_say(sf_attempt *attempt, const char *message)
{
  size_t length = strlen(message);
  if (length >= sizeof attempt->message) length = sizeof attempt->message - 1;
  memcpy(attempt->message, message, length);
  attempt->message[length] = '\0';
}

/* The line's timeouts, where the call has none of its own. */
static sf_timeouts timeouts_of(const sf_attempt *attempt)
{
  sf_timeouts timeout = sf_attempt_endpoint(attempt)->timeout;
  if (!attempt->call->has_timeout) return timeout;
  const sf_timeouts *own = &attempt->call->timeout;
  if (own->connect >= 0) timeout.connect = own->connect;
  if (own->first_byte >= 0) timeout.first_byte = timeout.stream_first_byte = own->first_byte;
  if (own->first_token >= 0) timeout.first_token = own->first_token;
  if (own->idle >= 0) timeout.idle = own->idle;
  if (own->attempt >= 0) timeout.attempt = own->attempt;
  return timeout;
}

int64_t sf_attempt_patience(const sf_attempt *attempt)
{
  const sf_timeouts timeout = timeouts_of(attempt);
  int64_t own = attempt->request.stream ? timeout.first_token : timeout.first_byte;
  int64_t whole = sf_time_min(timeout.attempt, attempt->call->deadline_ns - attempt->started_ns);
  return own > 0 ? sf_time_min(own, whole) : whole;
}

/* ---- phases ---- */

static int64_t earlier(int64_t due, sf_phase *phase, int64_t other_due, sf_phase other)
{
  if (due < other_due) return due;
  *phase = other;
  return other_due;
}

/*
 * Events are wanted. Until the first content it is awaited, too, but for the time that the owner was asked; after it there
 * is only silence to fear, of a line that nobody keeps waiting.
 */
static int64_t stream_due(const sf_attempt *attempt, const sf_timeouts *timeout, int64_t whole, sf_phase *phase)
{
  const sf_stream *stream = &attempt->stream;
  int64_t idle = stream->finishing ? sf_time_min(SF_FAREWELL_NS, timeout->idle) : timeout->idle;
  int64_t silence = sf_time_add(sf_time_max(attempt->last_byte_ns, stream->answered_ns), idle);
  *phase = SF_PHASE_IDLE;
  if (stream->committed) return silence;
  whole = sf_time_add(whole, stream->waited_ns);
  int64_t token = sf_time_add(attempt->connected_ns + stream->waited_ns, timeout->first_token);
  if (attempt->first_byte)
    return earlier(earlier(silence, phase, token, SF_PHASE_FIRST_TOKEN), phase, whole, SF_PHASE_ATTEMPT);
  *phase = SF_PHASE_FIRST_BYTE;
  int64_t byte = sf_time_add(attempt->connected_ns, timeout->stream_first_byte);
  return earlier(earlier(byte, phase, token, SF_PHASE_FIRST_TOKEN), phase, whole, SF_PHASE_ATTEMPT);
}

/* The timer that counts now, and when it ends. */
static int64_t phase_due(const sf_attempt *attempt, sf_phase *phase)
{
  const sf_timeouts timeout = timeouts_of(attempt);
  int64_t whole = sf_time_add(attempt->started_ns, timeout.attempt);
  if (!attempt->connected) {
    *phase = SF_PHASE_CONNECT;
    return earlier(sf_time_add(attempt->connecting_ns, timeout.connect), phase, whole, SF_PHASE_ATTEMPT);
  }
  bool plain = attempt->any_response && !attempt->stream.on;
  if (attempt->request.stream && !plain) return stream_due(attempt, &timeout, whole, phase);
  if (attempt->first_byte) {
    *phase = SF_PHASE_IDLE;
    return earlier(sf_time_add(attempt->last_byte_ns, timeout.idle), phase, whole, SF_PHASE_ATTEMPT);
  }
  *phase = SF_PHASE_FIRST_BYTE;
  int64_t byte = timeout.first_byte > 0 ? sf_time_add(attempt->connected_ns, timeout.first_byte) : whole;
  return earlier(byte, phase, whole, SF_PHASE_ATTEMPT);
}

void sf_attempt_ended(sf_attempt *attempt, int64_t now)
{
  sf_engine *engine = attempt->call->engine;
  sf_timers_clear(&engine->timers, &attempt->timer); /* both may be due in one run: it ends once */
  attempt->ended = true;
  attempt->ended_ns = now;
  attempt->next_ended = NULL;
  *engine->ended_tail = attempt;
  engine->ended_tail = &attempt->next_ended;
}

static void arm(sf_attempt *attempt, int64_t due)
{
  attempt->armed_ns = due;
  sf_timers_set(&attempt->call->engine->timers, &attempt->timer, due);
}

/* A phase has begun. A timer that is set for later than its end must not be waited for; an earlier one looks again. */
bool sf_attempt_phase_begins(sf_attempt *attempt)
{
  sf_phase phase;
  int64_t due = phase_due(attempt, &phase);
  if (due >= attempt->armed_ns) return false;
  arm(attempt, due);
  return true;
}

static void phase_fire(sf_timer *timer, int64_t now)
{
  sf_attempt *attempt = (sf_attempt *)((char *)timer - offsetof(sf_attempt, timer));
  sf_engine *engine = attempt->call->engine;
  sf_phase phase;
  if (attempt->stream.pending) { /* its owner is asked: looked at again when that has answered */
    arm(attempt, sf_time_add(now, timeouts_of(attempt).idle));
    return;
  }
  int64_t due = phase_due(attempt, &phase), late = now - attempt->armed_ns;
  if (due <= now && late > LATE_NS && attempt->forgiven != phase) {
    attempt->forgiven = phase;
    int64_t shift = now - due + late;
    attempt->started_ns += shift;
    attempt->connecting_ns += shift;
    attempt->connected_ns += shift;
    attempt->last_byte_ns += shift;
    due = phase_due(attempt, &phase);
  }
  if (due > now) {
    arm(attempt, due);
    return;
  }
  engine->transport->ops->cancel(engine->transport, &attempt->exchange);
  attempt->timed_out = true;
  attempt->phase = phase;
  sf_attempt_ended(attempt, now);
}

/* ---- up-calls ---- */

static void on_connected(sf_exchange *exchange)
{
  sf_attempt *attempt = (sf_attempt *)exchange;
  attempt->connected = attempt->sent = attempt->call->sent = true;
  attempt->connected_ns = sf_engine_now(attempt->call->engine);
  sf_attempt_phase_begins(attempt);
}

/* The call's file takes no more. */
static bool sink_failed(sf_attempt *attempt)
{
  sf_attempt_say(attempt, attempt->call->sink->problem);
  attempt->explained = attempt->unwritten = true;
  return false;
}

/* What the provider says is left of its windows. */
static void learn_pace(sf_attempt *attempt, const char *block, size_t length)
{
  sf_lane *lane = attempt->lane;
  int64_t now = sf_engine_now(attempt->call->engine);
  int64_t age = now - attempt->started_ns;
  sf_quota_hint quota = sf_hints_quota(block, length, sf_clock_unix());
  sf_adaptive_headers(&lane->adaptive, now, &quota.requests, age, (double)(lane->sent - attempt->lane_sent));
  attempt->tokens_told = sf_quota_pace_told(&lane->token_pace, now, &quota.tokens, age,
                                            (double)(lane->sent_tokens - attempt->lane_tokens));
}

/* When to come back. A 429 is heeded at once: until its owner has said what it means, others would be sent after it. */
static void heed(sf_attempt *attempt, const char *block, size_t length)
{
  sf_lane *lane = attempt->lane;
  attempt->hint = sf_hints_retry(block, length, sf_clock_unix());
  int64_t hint = sf_time_min(attempt->hint.after_ns, attempt->call->client->config.hint_cap_ns);
  if (attempt->status != 429 || hint <= 0) return;
  sf_lane_block(lane, sf_time_add(sf_engine_now(attempt->call->engine), hint));
}

static bool on_headers(sf_exchange *exchange, int status, const char *block, size_t length)
{
  sf_attempt *attempt = (sf_attempt *)exchange;
  sf_call *call = attempt->call;
  sf_endpoint *endpoint = sf_attempt_endpoint(attempt);
  attempt->status = status;
  attempt->any_response = true;
  if (length > call->client->config.header_limit || !sf_buffer_append(&attempt->headers, block, length)) return false;
  bool success = status >= 200 && status < 300;
  if (!success) heed(attempt, block, length);
  else if (attempt->request.stream) sf_stream_open(attempt, block, length);
  attempt->sinks = success && call->sink != NULL;
  if (attempt->sinks && !sf_sink_begin(call->sink)) return sink_failed(attempt);
  if (endpoint->rate_config.adaptive) learn_pace(attempt, block, length);
  return true;
}

/* Small answers get one small block; larger ones at once what they were announced with, as far as that is reasonable. */
static bool grow_body(sf_attempt *attempt, size_t length)
{
  size_t least = BODY_LEAST;
  sf_slice value;
  if (attempt->body.length + length > BODY_LEAST &&
      sf_headers_find(attempt->headers.data, attempt->headers.length, "content-length", &value)) {
    size_t announced = 0;
    for (size_t i = 0; i < value.length && announced < BUFFER_KEPT && value.data[i] >= '0' && value.data[i] <= '9'; i++)
      announced = announced * 10 + (size_t)(value.data[i] - '0');
    if (announced > least) least = announced < BUFFER_KEPT ? announced : BUFFER_KEPT;
  }
  return sf_buffer_reserve(&attempt->body, length, least);
}

static void first_byte(sf_attempt *attempt, int64_t now)
{
  attempt->first_byte = true;
  attempt->first_byte_ns = now;
  sf_attempt_phase_begins(attempt);
  if (attempt->stream.on || attempt->status < 200 || attempt->status >= 300) return;
  attempt->first_token_ns = now;
  sf_call_event(attempt->call, SF_EVENT_FIRST_TOKEN, attempt->number, sf_attempt_trail(attempt)->endpoint, SF_KIND_OK,
                now - attempt->started_ns, 0);
}

static bool on_body(sf_exchange *exchange, const char *data, size_t length)
{
  sf_attempt *attempt = (sf_attempt *)exchange;
  int64_t now = sf_engine_now(attempt->call->engine);
  attempt->last_byte_ns = now;
  if (!attempt->first_byte) first_byte(attempt, now);
  if (attempt->stream.on) return sf_stream_feed(attempt, data, length);
  if (attempt->sinks) return sf_sink_write(attempt->call->sink, data, length) || sink_failed(attempt);
  if (length > attempt->call->client->config.response_limit - attempt->body.length) return false;
  if (attempt->body.capacity - attempt->body.length < length && !grow_body(attempt, length)) return false;
  return sf_buffer_append(&attempt->body, data, length);
}

static void on_done(sf_exchange *exchange, const sf_done *done)
{
  sf_attempt *attempt = (sf_attempt *)exchange;
  attempt->result = attempt->unwritten ? SF_RESULT_BAD_REQUEST : done->result;
  attempt->phase = done->phase;
  attempt->reused = done->reused;
  attempt->any_response = attempt->any_response || done->any_response;
  attempt->sent = attempt->sent || done->bytes_sent > 0;
  if (attempt->sent) attempt->call->sent = true;
  if (!attempt->explained && done->message != NULL && done->message[0] != '\0') sf_attempt_say(attempt, done->message);
  sf_attempt_ended(attempt, sf_engine_now(attempt->call->engine));
}

static const sf_exchange_up up_calls = { on_connected, on_headers, on_body, on_done };

/* ---- start ---- */

static bool make_room_in_trail(sf_call *call)
{
  if (call->attempt_count < call->trail_capacity) return true;
  size_t capacity = call->trail_capacity * 2;
  bool first = call->trail == call->first_trail;
  sf_trail *grown = sf_realloc(first ? NULL : call->trail, capacity * sizeof *grown);
  if (grown == NULL) return false;
  if (first) memcpy(grown, call->first_trail, sizeof call->first_trail);
  call->trail = grown;
  call->trail_capacity = capacity;
  return true;
}

void sf_attempt_discard(sf_attempt *attempt)
{
  sf_free(attempt->url);
  sf_buffer_free(&attempt->headers);
  sf_buffer_free(&attempt->body);
  sf_free(attempt);
}

void sf_attempt_recycle(sf_attempt *attempt)
{
  sf_engine *engine = attempt->call->engine;
  sf_timers_unreserve(&engine->timers, 1);
  if (attempt->secret != NULL) sf_wipe(attempt->secret, attempt->secret_bytes);
  bool large = attempt->headers.capacity > BUFFER_KEPT || attempt->body.capacity > BUFFER_KEPT ||
               attempt->url_capacity > BUFFER_KEPT;
  if (engine->closed || large || !sf_pool_put(&engine->spare_attempts, attempt)) sf_attempt_discard(attempt);
}

static sf_attempt *attempt_create(sf_engine *engine)
{
  sf_attempt *attempt = sf_pool_take(&engine->spare_attempts);
  if (attempt == NULL) {
    attempt = sf_alloc(sizeof *attempt);
    if (attempt == NULL) return NULL;
    attempt->headers = attempt->body = (sf_buffer){ 0 };
    attempt->url = NULL;
    attempt->url_capacity = 0;
  }
  memset(attempt, 0, offsetof(sf_attempt, headers));
  attempt->headers.length = attempt->body.length = 0;
  attempt->message[0] = '\0';
  if (sf_timers_reserve(&engine->timers, 1)) return attempt;
  sf_attempt_discard(attempt);
  return NULL;
}

static void open_trail(sf_attempt *attempt, bool hedge)
{
  sf_call *call = attempt->call;
  int64_t since = hedge ? call->trail[attempt->number - 2].started_ns : call->idle_since_ns;
  const sf_target *target = &call->plan->targets[attempt->target];
  call->trail[attempt->number - 1] = (sf_trail){
    .endpoint = target->endpoint,
    .key = attempt->key,
    .route = target->route,
    .model = target->model,
    .started_ns = attempt->started_ns,
    .hedge = hedge,
    .waited_ns = attempt->started_ns - since,
    .first_byte_ns = -1,
    .message = "",
  };
}

/* Which kind of step this attempt is, for the numbers and the observers. */
static void count_start(sf_attempt *attempt)
{
  sf_call *call = attempt->call;
  sf_endpoint *endpoint = sf_attempt_endpoint(attempt);
  uint32_t index = (uint32_t)(endpoint - call->client->endpoints);
  sf_numbers *all = &call->client->numbers;
  if (++call->client->exchanges > all->peak_in_flight) all->peak_in_flight = call->client->exchanges;
  all->attempts++;
  endpoint->numbers.attempts++;
  endpoint->numbers.requests++;
  sf_numbers_enter(&endpoint->numbers);
  if (sf_attempt_trail(attempt)->hedge) {
    all->hedges++;
    endpoint->numbers.hedges++;
    sf_call_event(call, SF_EVENT_HEDGED, attempt->number, index, SF_KIND_OK, sf_attempt_trail(attempt)->waited_ns, 0);
  } else if (attempt->number > 1) {
    const sf_trail *before = &call->trail[attempt->number - 2];
    all->retries++;
    endpoint->numbers.retries++;
    sf_call_event(call, before->endpoint == index ? SF_EVENT_RETRIED : SF_EVENT_FAILED_OVER, attempt->number, index,
                  before->kind, sf_attempt_trail(attempt)->waited_ns, 0);
  }
  sf_call_event(call, SF_EVENT_ATTEMPT_STARTED, attempt->number, index, SF_KIND_OK,
                sf_attempt_trail(attempt)->waited_ns, 0);
}

void sf_attempt_begin_exchange(sf_attempt *attempt, int64_t now)
{
  sf_engine *engine = attempt->call->engine;
  sf_body *upload = attempt->request.upload;
  sf_phase phase;
  attempt->connecting_ns = now;
  arm(attempt, phase_due(attempt, &phase));
  bool intact = upload == NULL || sf_body_is_intact(upload);
  if (intact && engine->transport->ops->start(engine->transport, &attempt->exchange, now)) return;
  attempt->result = SF_RESULT_BAD_REQUEST;
  sf_attempt_say(attempt, intact ? "the request could not be started" : upload->problem);
  sf_timers_clear(&engine->timers, &attempt->timer);
  sf_attempt_ended(attempt, now);
}

bool sf_attempt_start(sf_call *call, const sf_grant *grant, int64_t now)
{
  sf_attempt *attempt = attempt_create(call->engine);
  if (attempt == NULL) return false;
  attempt->call = call;
  attempt->target = grant->target;
  attempt->key = grant->key;
  attempt->exchange.up = &up_calls;
  if (!sf_attempt_fill_request(attempt) || !make_room_in_trail(call)) {
    sf_attempt_recycle(attempt);
    return false;
  }
  attempt->lane = grant->lane;
  attempt->permit = grant->permit;
  attempt->tokens = grant->tokens;
  attempt->slots_held = true;
  uint64_t tokens = (uint64_t)attempt->tokens;
  attempt->lane_sent = atomic_fetch_add_explicit(&attempt->lane->sent, 1, memory_order_relaxed) + 1;
  attempt->lane_tokens = atomic_fetch_add_explicit(&attempt->lane->sent_tokens, tokens, memory_order_relaxed) + tokens;
  attempt->timer = (sf_timer){ .due_ns = SF_NEVER, .fire = phase_fire };
  attempt->hint = (sf_retry_hint){ .after_ns = -1, .should_retry = -1 };
  attempt->started_ns = now;
  attempt->first_token_ns = -1;
  attempt->number = ++call->attempt_count;
  attempt->next = call->live;
  call->live = attempt;
  call->last_target = (int32_t)grant->target;
  call->state = SF_CALL_ACTIVE;
  open_trail(attempt, grant->hedge);
  count_start(attempt);
  sf_attempt_begin_exchange(attempt, now);
  sf_hedge_watch(call, now);
  return true;
}
