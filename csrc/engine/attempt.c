/*
 * attempt.c: one HTTP exchange of a call: its start, its phase timers, its up-calls and its end.
 * Up-calls come from inside the transport: they only note what came and queue the attempt; judging is done in the turn.
 */
#include <string.h>
#include <strings.h>

#include "../wire/headers.h"
#include "call.h"

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

/* ---- phases ---- */

static int64_t earlier(int64_t due, sf_phase *phase, int64_t other_due, sf_phase other)
{
  if (due < other_due) return due;
  *phase = other;
  return other_due;
}

/* Events are wanted. Until the first content it is awaited, too; after it there is only silence to fear. */
static int64_t stream_due(const sf_attempt *attempt, const sf_timeouts *timeout, int64_t whole, sf_phase *phase)
{
  const sf_stream *stream = &attempt->stream;
  int64_t idle = stream->finishing ? sf_time_min(SF_FAREWELL_NS, timeout->idle) : timeout->idle;
  int64_t silence = sf_time_add(attempt->last_byte_ns, idle);
  *phase = SF_PHASE_IDLE;
  if (stream->committed) return silence;
  int64_t token = sf_time_add(attempt->connected_ns, timeout->first_token);
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
  if (attempt->request.stream && !plain)
    return sf_time_add(stream_due(attempt, &timeout, whole, phase),
                       sf_stream_waited(&attempt->stream, sf_engine_now(attempt->call->engine)));
  if (attempt->first_byte) {
    *phase = SF_PHASE_IDLE;
    return earlier(sf_time_add(attempt->last_byte_ns, timeout.idle), phase, whole, SF_PHASE_ATTEMPT);
  }
  *phase = SF_PHASE_FIRST_BYTE;
  int64_t byte = timeout.first_byte > 0 ? sf_time_add(attempt->connected_ns, timeout.first_byte) : whole;
  return earlier(byte, phase, whole, SF_PHASE_ATTEMPT);
}

static void attempt_ended(sf_attempt *attempt, int64_t now)
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
void sf_attempt_phase_begins(sf_attempt *attempt)
{
  sf_phase phase;
  int64_t due = phase_due(attempt, &phase);
  if (due < attempt->armed_ns) arm(attempt, due);
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
  attempt_ended(attempt, now);
}

/* ---- up-calls ---- */

static void on_connected(sf_exchange *exchange)
{
  sf_attempt *attempt = (sf_attempt *)exchange;
  attempt->connected = attempt->sent = attempt->call->sent = true;
  attempt->connected_ns = sf_engine_now(attempt->call->engine);
  sf_attempt_phase_begins(attempt);
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
  if (!success) attempt->hint = sf_hints_retry(block, length, sf_clock_unix());
  else if (attempt->request.stream) sf_stream_open(attempt, block, length);
  if (endpoint->rate_config.adaptive) {
    sf_adaptive_config config = sf_adaptive_config_default();
    sf_quota_hint quota = sf_hints_quota(block, length, sf_clock_unix());
    sf_adaptive_headers(&attempt->lane->adaptive, &config, sf_engine_now(call->engine), &quota.requests);
  }
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
  if (length > attempt->call->client->config.response_limit - attempt->body.length) return false;
  if (attempt->body.capacity - attempt->body.length < length && !grow_body(attempt, length)) return false;
  return sf_buffer_append(&attempt->body, data, length);
}

static void on_done(sf_exchange *exchange, const sf_done *done)
{
  sf_attempt *attempt = (sf_attempt *)exchange;
  attempt->result = done->result;
  attempt->phase = done->phase;
  attempt->reused = done->reused;
  attempt->any_response = attempt->any_response || done->any_response;
  attempt->sent = attempt->sent || done->bytes_sent > 0;
  if (attempt->sent) attempt->call->sent = true;
  if (!attempt->explained && done->message != NULL && done->message[0] != '\0') sf_attempt_say(attempt, done->message);
  attempt_ended(attempt, sf_engine_now(attempt->call->engine));
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

/* One block for the URL and the key's header: the key may be replaced or wiped while the attempt is out. */
static bool copy_url_and_key(sf_attempt *attempt, const sf_endpoint *endpoint, const sf_variant *variant)
{
  const sf_key *key = endpoint->key_count > 0 ? &endpoint->keys[attempt->key] : NULL;
  size_t base = strlen(endpoint->url), path = strlen(variant->path);
  size_t secret = key != NULL && key->header != NULL ? key->length + 1 : 0;
  size_t size = base + path + 1 + secret;
  if (size > attempt->url_capacity) {
    sf_free(attempt->url);
    attempt->url = sf_alloc(size);
    attempt->url_capacity = attempt->url != NULL ? size : 0;
    if (attempt->url == NULL) return false;
  }
  memcpy(attempt->url, endpoint->url, base);
  memcpy(attempt->url + base, variant->path, path + 1);
  if (secret > 0) {
    attempt->secret = memcpy(attempt->url + base + path + 1, key->header, secret);
    attempt->secret_bytes = secret;
    attempt->header_lines[attempt->request.header_count++] = attempt->secret;
  }
  return true;
}

static bool has_name(const char *line, const char *name, size_t length)
{
  return (line[0] | 32) == (name[0] | 32) && strncasecmp(line, name, length) == 0 && line[length] == ':';
}

/* A later line replaces an earlier one of the same name. */
static bool add_line(sf_attempt *attempt, const char *line)
{
  size_t place = 0, name = strcspn(line, ":");
  while (place < attempt->request.header_count && !has_name(attempt->header_lines[place], line, name)) place++;
  if (place == SF_MAX_HEADERS) return false;
  attempt->header_lines[place] = line;
  if (place == attempt->request.header_count) attempt->request.header_count++;
  return true;
}

static bool add_lines(sf_attempt *attempt, const char *lines, size_t count)
{
  for (; count > 0; count--, lines += strlen(lines) + 1)
    if (!add_line(attempt, lines)) return false;
  return true;
}

static bool fill_request(sf_attempt *attempt)
{
  sf_call *call = attempt->call;
  const sf_endpoint *endpoint = sf_attempt_endpoint(attempt);
  const sf_variant *variant = &call->variants[call->plan->targets[attempt->target].variant];
  attempt->exchange.up = &up_calls;
  attempt->exchange.request = &attempt->request;
  if (!copy_url_and_key(attempt, endpoint, variant)) return false;
  for (char **line = endpoint->headers; line != NULL && *line != NULL; line++)
    if (!add_line(attempt, *line)) return false;
  if (!add_lines(attempt, variant->header_text, variant->header_count)) return false;
  if (!add_lines(attempt, call->header_text, call->header_count)) return false;
  attempt->request.method = variant->text;
  attempt->request.url = attempt->url;
  attempt->request.headers = attempt->header_lines;
  attempt->request.body = variant->body;
  attempt->request.body_length = variant->body_length;
  attempt->request.upload = call->upload;
  attempt->request.line = &endpoint->line;
  attempt->request.header_limit = call->client->config.header_limit;
  attempt->request.stream = call->streams;
  return true;
}

void sf_attempt_discard(sf_attempt *attempt)
{
  sf_free(attempt->url);
  sf_buffer_free(&attempt->headers);
  sf_buffer_free(&attempt->body);
  sf_free(attempt);
}

static void attempt_free(sf_attempt *attempt)
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

static void open_trail(sf_attempt *attempt)
{
  sf_call *call = attempt->call;
  const sf_target *target = &call->plan->targets[attempt->target];
  call->trail[attempt->number - 1] = (sf_trail){
    .endpoint = target->endpoint,
    .key = attempt->key,
    .route = target->route,
    .model = target->model,
    .started_ns = attempt->started_ns,
    .waited_ns = attempt->started_ns - call->idle_since_ns,
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
  call->client->numbers.attempts++;
  endpoint->numbers.attempts++;
  endpoint->numbers.requests++;
  sf_numbers_enter(&endpoint->numbers);
  if (attempt->number > 1) {
    const sf_trail *before = &call->trail[attempt->number - 2];
    call->client->numbers.retries++;
    endpoint->numbers.retries++;
    sf_call_event(call, before->endpoint == index ? SF_EVENT_RETRIED : SF_EVENT_FAILED_OVER, attempt->number, index,
                  before->kind, sf_attempt_trail(attempt)->waited_ns, 0);
  }
  sf_call_event(call, SF_EVENT_ATTEMPT_STARTED, attempt->number, index, SF_KIND_OK,
                sf_attempt_trail(attempt)->waited_ns, 0);
}

static void exchange_start(sf_attempt *attempt, int64_t now)
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
  attempt_ended(attempt, now);
}

bool sf_attempt_start(sf_call *call, const sf_grant *grant, int64_t now)
{
  sf_attempt *attempt = attempt_create(call->engine);
  if (attempt == NULL) return false;
  attempt->call = call;
  attempt->target = grant->target;
  attempt->key = grant->key;
  if (!fill_request(attempt) || !make_room_in_trail(call)) {
    attempt_free(attempt);
    return false;
  }
  attempt->lane = grant->lane;
  attempt->permit = grant->permit;
  attempt->tokens = grant->tokens;
  attempt->slots_held = true;
  attempt->timer = (sf_timer){ .due_ns = SF_NEVER, .fire = phase_fire };
  attempt->hint = (sf_retry_hint){ .after_ns = -1, .should_retry = -1 };
  attempt->started_ns = now;
  attempt->first_token_ns = -1;
  attempt->number = ++call->attempt_count;
  attempt->next = call->live;
  call->live = attempt;
  call->last_target = (int32_t)grant->target;
  call->state = SF_CALL_ACTIVE;
  open_trail(attempt);
  count_start(attempt);
  exchange_start(attempt, now);
  return true;
}

/* ---- the end ---- */

/* A kept connection that died before the first response byte says nothing about the line: once, at once, free of charge. */
static bool restart_stale(sf_attempt *attempt)
{
  if (attempt->result != SF_RESULT_LOST || !attempt->reused || attempt->any_response || attempt->restarted)
    return false;
  int64_t now = sf_engine_now(attempt->call->engine);
  attempt->restarted = true;
  attempt->ended = attempt->connected = false;
  attempt->request.fresh = true;
  attempt->message[0] = '\0';
  exchange_start(attempt, now);
  return true;
}

/* What a transport result means when there is no answer to ask about. */
static const struct {
  sf_kind kind;
  sf_class cls;
  sf_outcome outcome;
} transport_verdicts[] = {
  [SF_RESULT_RESOLVE_FAILED] = { SF_KIND_NETWORK, SF_CLASS_TRANSIENT, SF_OUTCOME_CONNECT_FAILED },
  [SF_RESULT_CONNECT_FAILED] = { SF_KIND_NETWORK, SF_CLASS_TRANSIENT, SF_OUTCOME_CONNECT_FAILED },
  [SF_RESULT_TLS_FAILED] = { SF_KIND_TLS, SF_CLASS_TRANSIENT, SF_OUTCOME_CONNECT_FAILED },
  [SF_RESULT_CERTIFICATE] = { SF_KIND_TLS, SF_CLASS_ENDPOINT, SF_OUTCOME_CONNECT_FAILED },
  [SF_RESULT_LOST] = { SF_KIND_NETWORK, SF_CLASS_TRANSIENT, SF_OUTCOME_LOST },
  [SF_RESULT_TRUNCATED] = { SF_KIND_TRUNCATED, SF_CLASS_TRANSIENT, SF_OUTCOME_SERVER_ERROR },
  [SF_RESULT_UNDECODABLE] = { SF_KIND_MALFORMED, SF_CLASS_TRANSIENT, SF_OUTCOME_SERVER_ERROR },
  [SF_RESULT_TOO_LARGE] = { SF_KIND_TOO_LARGE, SF_CLASS_FINAL, SF_OUTCOME_CALLER_ERROR },
  [SF_RESULT_BAD_REQUEST] = { SF_KIND_INVALID_REQUEST, SF_CLASS_FINAL, SF_OUTCOME_CANCELLED },
};

sf_failure sf_attempt_failure(const sf_attempt *attempt)
{
  bool connecting = attempt->phase == SF_PHASE_CONNECT, shown = attempt->stream.committed;
  sf_failure failure = {
    .cls = transport_verdicts[attempt->result].cls,
    .kind = transport_verdicts[attempt->result].kind,
    .outcome = transport_verdicts[attempt->result].outcome,
    .phase = attempt->phase,
    .attempt = attempt->number,
    .target = attempt->target,
    .key = attempt->key,
    .hint_ns = attempt->hint.after_ns,
  };
  if (attempt->timed_out) {
    failure.cls = SF_CLASS_TRANSIENT;
    failure.kind = SF_KIND_TIMEOUT;
    failure.outcome = connecting ? SF_OUTCOME_CONNECT_FAILED
                      : shown    ? SF_OUTCOME_IDLE_AFTER_COMMIT
                                 : SF_OUTCOME_TIMEOUT;
  } else if (attempt->result == SF_RESULT_COMPLETE) { /* a stream that only stopped */
    failure.cls = SF_CLASS_TRANSIENT;
    failure.kind = SF_KIND_TRUNCATED;
    failure.outcome = SF_OUTCOME_SERVER_ERROR;
  }
  if (shown && failure.outcome == SF_OUTCOME_SERVER_ERROR) failure.outcome = SF_OUTCOME_CUT_AFTER_COMMIT;
  return failure;
}

static void fail(sf_attempt *attempt)
{
  sf_call *call = attempt->call;
  sf_trail *trail = sf_attempt_trail(attempt);
  sf_failure failure = sf_attempt_failure(attempt);
  trail->phase = failure.phase;
  sf_message_set(&trail->message, attempt->message);
  sf_attempt_report(attempt, failure.outcome, failure.kind, -1);
  sf_retry_decide(call, &failure);
}

static void count_timeout(sf_attempt *attempt)
{
  sf_attempt_endpoint(attempt)->numbers.timeouts++;
  attempt->call->client->numbers.timeouts++;
  sf_attempt_say(attempt, attempt->phase == SF_PHASE_CONNECT ? "no connection in time" : "no answer in time");
}

static sf_slot_effect slot_effect(const sf_attempt *attempt)
{
  bool connecting = attempt->phase == SF_PHASE_CONNECT;
  if (attempt->timed_out) return sf_outcome_effects[connecting ? SF_OUTCOME_CONNECT_FAILED : SF_OUTCOME_TIMEOUT].slot;
  if (attempt->result != SF_RESULT_COMPLETE) return SF_SLOT_IGNORED;
  return sf_outcome_effects[sf_retry_rule_status(attempt->status, NULL).outcome].slot;
}

static void unlink_ended(sf_engine *engine, sf_attempt *attempt)
{
  for (sf_attempt **place = &engine->ended; *place != NULL; place = &(*place)->next_ended) {
    if (*place != attempt) continue;
    *place = attempt->next_ended;
    if (*place == NULL) engine->ended_tail = place;
    return;
  }
}

/* Must the owner say what this means? Of a stream it may have taken a part, and has yet to take the rest. */
static bool must_ask(const sf_attempt *attempt)
{
  if (attempt->stream.on)
    return attempt->stream.committed || attempt->stream.pending ||
           (!attempt->timed_out && attempt->result == SF_RESULT_COMPLETE);
  bool cut_error = attempt->result == SF_RESULT_TRUNCATED && attempt->status >= 300;
  return !attempt->timed_out && (attempt->result == SF_RESULT_COMPLETE || cut_error);
}

void sf_attempt_judge(sf_attempt *attempt)
{
  sf_call *call = attempt->call;
  sf_timers_clear(&call->engine->timers, &attempt->timer);
  if (!attempt->timed_out && restart_stale(attempt)) return;
  sf_admission_release(attempt, slot_effect(attempt), attempt->ended_ns);
  if (attempt->timed_out && !attempt->stream.finishing) count_timeout(attempt);
  if (!must_ask(attempt)) {
    fail(attempt);
    return;
  }
  attempt->asking = true;
  sf_waiter_wake(call->engine, &call->waiter);
}

void sf_attempt_refuse(sf_attempt *attempt)
{
  sf_engine *engine = attempt->call->engine;
  attempt->result = SF_RESULT_TOO_LARGE;
  attempt->timed_out = false;
  attempt->phase = SF_PHASE_IDLE;
  if (attempt->ended) return; /* its end is being asked about */
  engine->transport->ops->cancel(engine->transport, &attempt->exchange);
  attempt_ended(attempt, sf_engine_now(engine));
}

void sf_attempt_let_run_dry(sf_attempt *attempt)
{
  sf_engine *engine = attempt->call->engine;
  sf_timers_clear(&engine->timers, &attempt->timer);
  if (attempt->ended) {
    if (!attempt->asking) unlink_ended(engine, attempt);
    return;
  }
  engine->transport->ops->run_dry(engine->transport, &attempt->exchange);
  attempt->ended = true;
  attempt->ended_ns = sf_engine_now(engine);
}

static void unlink_live(sf_attempt *attempt)
{
  sf_attempt **place = &attempt->call->live;
  while (*place != attempt) place = &(*place)->next;
  *place = attempt->next;
}

void sf_attempt_free(sf_attempt *attempt)
{
  unlink_live(attempt);
  attempt_free(attempt);
}

void sf_attempt_drop(sf_attempt *attempt, sf_outcome outcome, sf_kind kind, double tokens)
{
  sf_engine *engine = attempt->call->engine;
  sf_timers_clear(&engine->timers, &attempt->timer);
  if (!attempt->ended && engine->transport != NULL)
    engine->transport->ops->cancel(engine->transport, &attempt->exchange);
  if (attempt->ended && !attempt->asking) unlink_ended(engine, attempt);
  sf_attempt_report(attempt, outcome, kind, tokens);
}
