/* call.c: a call from its making to its end, and the questions in between; see call.h. */
#include "call.h"

#include <string.h>

enum { TIMERS = 3 }; /* of a call: deadline, wake, hedge */

static void deadline_fire(sf_timer *timer, int64_t now)
{
  (void)now;
  sf_call *call = (sf_call *)((char *)timer - offsetof(sf_call, deadline_timer));
  const char *message = "the deadline passed while waiting";
  if (call->live != NULL) message = "the deadline passed while an answer was awaited";
  else if (call->line_up != NULL && call->line_up->circuit)
    message = "the deadline passed while every circuit was open";
  if (call->unpaid) sf_retry_too_late(call);
  else sf_call_settle(call, false, SF_KIND_DEADLINE, 0, message);
}

/* The backoff is over; or somebody may pay. */
static void wake_fire(sf_timer *timer, int64_t now)
{
  (void)now;
  sf_call *call = (sf_call *)((char *)timer - offsetof(sf_call, wake_timer));
  if (call->unpaid) sf_retry_resume(call->client);
  else sf_queue_enter(call);
}

/* Copies "a: b\nc: d\n" as NUL-terminated lines to `to`, which has room for `length` + 1 bytes; returns how many. */
static size_t copy_lines(const char *text, size_t length, char *to)
{
  size_t count = 0;
  const char *end = text + length;
  for (const char *line = text; line < end;) {
    const char *stop = memchr(line, '\n', (size_t)(end - line));
    size_t size = (size_t)((stop != NULL ? stop : end) - line);
    if (size > 0) {
      memcpy(to, line, size);
      to[size] = '\0';
      to += size + 1;
      count++;
    }
    line += size + 1;
  }
  return count;
}

void sf_message_set(const char **message, const char *text)
{
  char *copy = text[0] != '\0' ? sf_copy_string(text, strnlen(text, SF_MESSAGE_BYTES - 1)) : NULL;
  if (copy == NULL && text[0] != '\0') return;
  if ((*message)[0] != '\0') sf_free((void *)*message);
  *message = copy != NULL ? copy : "";
}

static void free_trail(sf_call *call)
{
  for (uint32_t i = 0; i < call->attempt_count; i++) sf_message_set(&call->trail[i].message, "");
  if (call->trail != call->first_trail) sf_free(call->trail);
}

/* ---- memory: everything of a call but its first trail is cleared ---- */

static void call_discard(sf_call *call)
{
  if (call->variants != &call->variant) sf_free(call->variants);
  sf_free(call->header_text);
  if (call->engine->closed || !sf_pool_put(&call->engine->spare_calls, call)) sf_free(call);
}

static sf_call *call_create(sf_engine *engine, const sf_call_options *options)
{
  sf_call *call = sf_pool_take(&engine->spare_calls);
  if (call == NULL && (call = sf_alloc(sizeof *call)) == NULL) return NULL;
  memset(call, 0, offsetof(sf_call, first_trail));
  call->engine = engine;
  call->message = "";
  call->trail = call->first_trail;
  call->trail_capacity = SF_FIRST_TRAIL;
  call->variants = &call->variant;
  size_t count = options->plan->variant_count, length = options->headers_length;
  if (count > 1) call->variants = sf_alloc_zero(count * sizeof *call->variants);
  if (length > 0) call->header_text = sf_alloc(length + 1);
  if (call->variants != NULL && (length == 0 || call->header_text != NULL) &&
      sf_timers_reserve(&engine->timers, TIMERS))
    return call;
  call_discard(call);
  return NULL;
}

void sf_call_drain(sf_engine *engine)
{
  for (void *call; (call = sf_pool_take(&engine->spare_calls)) != NULL;) sf_free(call);
  for (void *attempt; (attempt = sf_pool_take(&engine->spare_attempts)) != NULL;) sf_attempt_discard(attempt);
}

/* ---- making ---- */

sf_call *sf_call_new(sf_client *client, sf_engine *engine, const sf_call_options *options)
{
  sf_call *call = call_create(engine, options);
  if (call == NULL) return NULL;
  if (call->header_text != NULL)
    call->header_count = copy_lines(options->headers, options->headers_length, call->header_text);
  sf_waiter_init(engine, &call->waiter);
  call->client = client;
  sf_client_retain(client);
  call->plan = options->plan;
  call->priority = options->priority;
  call->max_attempts = options->max_attempts > 0 ? options->max_attempts : client->config.max_attempts;
  call->estimate = options->estimate;
  call->wants_events = options->events;
  call->streams = options->stream;
  call->upload = options->upload;
  call->sink = options->sink;
  call->submitted_ns = call->idle_since_ns = sf_engine_now(engine);
  call->deadline_ns = sf_time_add(call->submitted_ns, options->deadline_ns);
  call->deadline_timer = (sf_timer){ .due_ns = SF_NEVER, .fire = deadline_fire };
  call->wake_timer = (sf_timer){ .due_ns = SF_NEVER, .fire = wake_fire };
  sf_hedge_prepare(call, options->purpose, options->hedging);
  call->last_target = -1;
  call->retry_at_ns = SF_NEVER;
  call->first_token_ns = -1;
  if (options->timeout != NULL) {
    call->has_timeout = true;
    call->timeout = *options->timeout;
  }
  return call;
}

static void variant_free(sf_variant *variant)
{
  sf_free(variant->text);
  *variant = (sf_variant){ 0 };
}

static void free_variants(sf_call *call)
{
  for (uint32_t i = 0; i < call->plan->variant_count; i++) variant_free(&call->variants[i]);
  sf_body_close(call->upload);
  sf_sink_close(call->sink);
  call->upload = NULL;
  call->sink = NULL;
}

/* The owner has answered "encode": back to the queue, or beside what runs. */
static void after_encode(sf_call *call, uint32_t variant)
{
  bool awaited = call->state == SF_CALL_ENCODING || call->awaits_variant;
  if (!awaited || call->plan->targets[call->wanted].variant != variant) return;
  sf_waiter_quiet(call->engine, &call->waiter);
  if (call->awaits_variant) sf_hedge_encoded(call);
  else sf_queue_enter(call);
  sf_engine_turned(call->engine);
}

bool sf_call_encode(sf_call *call, uint32_t index, const char *method, const char *path, const char *headers,
                    size_t headers_length, const char *body, size_t body_length)
{
  sf_variant *variant = &call->variants[index];
  if (call->state == SF_CALL_SETTLED || variant->state != SF_VARIANT_WANTED) return true;
  size_t method_size = strlen(method) + 1, path_size = strlen(path) + 1;
  char *text = sf_alloc(method_size + path_size + headers_length + 1);
  if (text == NULL) {
    sf_call_skip(call, index, SF_KIND_INVALID_REQUEST);
    return false;
  }
  char *lines = text + method_size + path_size;
  variant->text = text;
  variant->path = memcpy(text + method_size, path, path_size);
  variant->header_text = lines;
  variant->header_count = copy_lines(headers, headers_length, lines);
  memcpy(text, method, method_size);
  variant->body = body;
  variant->body_length = body_length;
  variant->state = SF_VARIANT_ENCODED;
  after_encode(call, index);
  return true;
}

void sf_call_skip(sf_call *call, uint32_t index, sf_kind why)
{
  sf_variant *variant = &call->variants[index];
  if (call->state == SF_CALL_SETTLED || variant->state != SF_VARIANT_WANTED) return;
  variant->state = SF_VARIANT_SKIPPED;
  variant->skipped = why;
  after_encode(call, index);
}

void sf_call_leave_out(sf_call *call, uint32_t endpoint)
{
  for (uint32_t i = 0; i < call->plan->target_count; i++)
    if (call->plan->targets[i].endpoint == endpoint) sf_target_set_add(&call->excluded, i);
}

void sf_call_submit(sf_call *call)
{
  sf_client *client = call->client;
  sf_engine *engine = call->engine;
  client->numbers.requests++;
  client->numbers.in_flight++;
  engine->in_flight++;
  call->next = client->calls;
  if (call->next != NULL) call->next->prev = call;
  client->calls = call;
  if (client->closed || engine->closed) {
    sf_call_settle(call, false, SF_KIND_CLOSED, 0, "the client was closed");
    return;
  }
  sf_timers_set(&engine->timers, &call->deadline_timer, call->deadline_ns);
  sf_queue_enter(call);
  sf_engine_turned(engine);
}

/* Events that were taken make room: the next one is looked for, a paused exchange goes on. */
static void advance_streams(sf_call *call)
{
  bool moved = false;
  for (sf_attempt *attempt = call->live; attempt != NULL; attempt = attempt->next) {
    if (!attempt->stream.on || attempt->stream.pending) continue;
    moved = sf_stream_advance(attempt) || moved;
    if (!attempt->ended && !attempt->stream.pending) moved = sf_attempt_phase_begins(attempt) || moved;
  }
  if (moved) sf_engine_turned(call->engine);
}

static sf_question event_question(sf_attempt *attempt)
{
  sf_question question = { .name = SF_QUESTION_EVENT, .attempt = attempt };
  sf_stream_take(attempt, &question.event_name, &question.event);
  question.must_decide = sf_stream_must_decide(&attempt->stream);
  return question;
}

sf_question sf_call_next(sf_call *call)
{
  if (call->streams) advance_streams(call);
  sf_waiter_quiet(call->engine, &call->waiter);
  if (call->state == SF_CALL_SETTLED) return (sf_question){ .name = SF_QUESTION_SETTLED };
  for (sf_attempt *attempt = call->live; attempt != NULL; attempt = attempt->next) {
    if (attempt->stream.pending) return event_question(attempt);
    if (!attempt->asking) continue;
    return (sf_question){ .name = attempt->stream.on ? SF_QUESTION_ENDED : SF_QUESTION_RESPONSE, .attempt = attempt };
  }
  if (call->state == SF_CALL_ENCODING || call->awaits_variant)
    return (sf_question){ .name = SF_QUESTION_ENCODE, .target = call->wanted };
  return (sf_question){ .name = SF_QUESTION_WAIT };
}

/* The live attempt that its owner may speak of: it is asked about, or an event of its was given. */
static sf_attempt *asked_attempt(sf_call *call, uint32_t number)
{
  for (sf_attempt *attempt = call->live; attempt != NULL; attempt = attempt->next)
    if (attempt->number == number) return attempt->asking || attempt->stream.on ? attempt : NULL;
  return NULL;
}

void sf_call_commit(sf_call *call, uint32_t number)
{
  sf_attempt *attempt = asked_attempt(call, number);
  if (attempt == NULL || !attempt->stream.on || call->committed) return;
  call->committed = attempt->stream.committed = true;
  attempt->first_token_ns = attempt->stream.taken_ns;
  sf_timers_clear(&call->engine->timers, &call->hedge_timer);
  call->awaits_variant = false;
  while (call->live != attempt || attempt->next != NULL) {
    sf_attempt *loser = call->live != attempt ? call->live : attempt->next;
    sf_attempt_drop(loser, sf_hedge_loser(loser), SF_KIND_CANCELLED, -1);
  }
  sf_comeback_answers(attempt, sf_engine_now(call->engine));
  sf_call_event(call, SF_EVENT_FIRST_TOKEN, number, sf_attempt_trail(attempt)->endpoint, SF_KIND_OK,
                attempt->first_token_ns - attempt->started_ns, 0);
  if (!attempt->ended) sf_attempt_phase_begins(attempt);
  sf_engine_turned(call->engine);
}

void sf_call_finishing(sf_call *call, uint32_t number, bool finishing)
{
  sf_attempt *attempt = asked_attempt(call, number);
  if (attempt == NULL || !attempt->stream.on) return;
  attempt->stream.finishing = finishing;
  if (!attempt->ended) sf_attempt_phase_begins(attempt);
  sf_engine_turned(call->engine);
}

/* What the owner's word and the status make of an answer. */
static sf_verdict verdict_on(const sf_attempt *attempt, const sf_answer *answer)
{
  const sf_status_set *listed = &attempt->call->client->config.on_status;
  sf_outcome told = sf_retry_rule_outcome(answer->cls, answer->kind, attempt->status);
  sf_verdict verdict = answer->cls == SF_CLASS_NONE
                           ? sf_retry_rule_status(attempt->status, listed)
                           : sf_retry_rule_listed((sf_verdict){ answer->cls, answer->kind, told }, attempt->status,
                                                  listed);
  if (verdict.cls != SF_CLASS_ACCEPT) verdict = sf_retry_rule_hinted(verdict, attempt->hint.should_retry);
  return verdict;
}

static sf_failure failure_told(const sf_attempt *attempt, sf_verdict verdict, const sf_answer *answer)
{
  sf_failure failure = {
    .cls = verdict.cls,
    .kind = verdict.kind,
    .outcome = verdict.outcome,
    .attempt = attempt->number,
    .target = attempt->target,
    .key = attempt->key,
    .hint_ns = attempt->hint.after_ns > 0 ? attempt->hint.after_ns : answer->wait_ns,
    .pushed_back = attempt->hint.should_retry == 0 && sf_outcome_effects[verdict.outcome].cost != SF_COST_NONE,
    .message = answer->message,
  };
  if (!attempt->stream.on) return failure;
  sf_failure end = sf_attempt_failure(attempt);
  if (attempt->asking && verdict.kind == end.kind) { /* as the transport, or a timer, ended it */
    failure.outcome = end.outcome;
    failure.phase = end.phase;
  } else if (attempt->stream.committed && verdict.outcome == SF_OUTCOME_SERVER_ERROR) {
    failure.outcome = SF_OUTCOME_CUT_AFTER_COMMIT;
  }
  if (attempt->stream.committed) failure.cls = SF_CLASS_FINAL; /* what was shown cannot be taken back */
  return failure;
}

static void refused(sf_attempt *attempt, sf_verdict verdict, const sf_answer *answer)
{
  sf_call *call = attempt->call;
  sf_failure failure = failure_told(attempt, verdict, answer);
  attempt->hint.after_ns = failure.hint_ns;
  sf_attempt_trail(attempt)->phase = failure.phase;
  sf_attempt_drop(attempt, failure.outcome, failure.kind, answer->tokens);
  sf_retry_decide(call, &failure);
}

void sf_call_answer(sf_call *call, uint32_t number, const sf_answer *answer)
{
  sf_attempt *attempt = asked_attempt(call, number);
  if (attempt == NULL) return;
  sf_engine *engine = call->engine;
  sf_verdict verdict = verdict_on(attempt, answer);
  if (answer->message != NULL) sf_message_set(&call->trail[number - 1].message, answer->message);
  if (verdict.cls == SF_CLASS_ACCEPT && attempt->sinks && !sf_sink_keep(call->sink)) {
    verdict = (sf_verdict){ SF_CLASS_FINAL, SF_KIND_INVALID_REQUEST, SF_OUTCOME_CANCELLED };
    sf_message_set(&call->trail[number - 1].message, call->sink->problem);
  }
  if (verdict.cls == SF_CLASS_ACCEPT) {
    sf_attempt_let_run_dry(attempt);
    sf_attempt_report(attempt, SF_OUTCOME_SUCCESS, SF_KIND_OK, answer->tokens);
    sf_call_settle(call, true, SF_KIND_OK, number, NULL);
  } else {
    refused(attempt, verdict, answer);
  }
  sf_engine_answered(engine, &call->waiter);
}

/*
 * What a success gives back to the retry budget: what hedges and the last retry cost, and what silence did where it was a
 * failure; or one for a clean call.
 */
static void reward(sf_call *call)
{
  sf_client *client = call->client;
  const sf_budget_config *budget = &client->config.budget;
  if (call->attempt_count <= 1) {
    sf_budget_reward(&client->words->budget, budget);
    return;
  }
  bool failed = call->silence_attempt > 0 && call->deciding >= call->silence_attempt;
  int32_t cost = call->last_cost + call->beside_cost + (failed ? call->silence_cost : 0);
  sf_budget_refund(&client->words->budget, budget, cost);
}

static void count_end(sf_call *call)
{
  sf_numbers *numbers = &call->client->numbers;
  if (call->ok) {
    numbers->successes++;
    sf_numbers_latency(&numbers->latency, call->settled_ns - call->submitted_ns);
    if (call->first_token_ns >= 0) sf_numbers_latency(&numbers->first_token, call->first_token_ns);
    if (call->trail[call->deciding - 1].route > 0) numbers->fallbacks++;
    reward(call);
  } else {
    numbers->errors[call->kind]++;
  }
  sf_numbers_leave(numbers);
}

static sf_outcome outcome_of_end(const sf_attempt *attempt, sf_kind kind)
{
  if (kind == SF_KIND_OK) return sf_hedge_loser(attempt);
  return kind == SF_KIND_DEADLINE ? SF_OUTCOME_DEADLINE : SF_OUTCOME_CANCELLED;
}

void sf_call_settle(sf_call *call, bool ok, sf_kind kind, uint32_t deciding, const char *message)
{
  if (call->state == SF_CALL_SETTLED) return;
  sf_engine *engine = call->engine;
  sf_client *client = call->client;
  sf_queue_leave(call);
  sf_timers_clear(&engine->timers, &call->deadline_timer);
  sf_timers_clear(&engine->timers, &call->wake_timer);
  sf_timers_clear(&engine->timers, &call->hedge_timer);
  int64_t answered_ns = call->idle_since_ns;
  while (call->live != NULL)
    sf_attempt_drop(call->live, outcome_of_end(call->live, kind), deciding > 0 ? SF_KIND_CANCELLED : kind, -1);
  call->state = SF_CALL_SETTLED;
  call->ok = ok;
  call->kind = kind;
  call->deciding = deciding;
  call->settled_ns = ok ? answered_ns : sf_engine_now(engine); /* an answer was taken just now */
  if (deciding > 0) {
    call->phase = call->trail[deciding - 1].phase;
    if (message == NULL) message = call->trail[deciding - 1].message;
  }
  if (message != NULL) sf_message_set(&call->message, message);
  count_end(call);
  sf_retry_settled(call);
  sf_call_event(call, SF_EVENT_SETTLED, deciding, deciding > 0 ? call->trail[deciding - 1].endpoint : 0, kind, 0, 0);
  if (call->prev != NULL) call->prev->next = call->next;
  else client->calls = call->next;
  if (call->next != NULL) call->next->prev = call->prev;
  call->prev = call->next = NULL;
  engine->in_flight--;
  free_variants(call);
  sf_timers_unreserve(&engine->timers, TIMERS);
  sf_client_touch(client);
  if (!engine->closed) sf_waiter_wake(engine, &call->waiter);
}

void sf_call_cancel(sf_call *call, sf_kind kind)
{
  if (call->state == SF_CALL_SETTLED || call->state == SF_CALL_NEW) return;
  sf_call_settle(call, false, kind, 0, kind == SF_KIND_CLOSED ? "the client was closed" : "cancelled by the caller");
}

void sf_call_free(sf_call *call)
{
  sf_call_cancel(call, SF_KIND_CANCELLED);
  if (call->state == SF_CALL_NEW) {
    free_variants(call);
    sf_timers_unreserve(&call->engine->timers, TIMERS);
  }
  sf_waiter_quiet(call->engine, &call->waiter);
  sf_client_release(call->client);
  free_trail(call);
  sf_message_set(&call->message, "");
  sf_free(call->events);
  call_discard(call);
}

void sf_call_event(sf_call *call, sf_event_name name, uint32_t attempt, uint32_t endpoint, sf_kind kind,
                   int64_t wait_ns, double value)
{
  if (!call->wants_events) return;
  if (call->event_count == call->event_capacity) {
    size_t capacity = call->event_capacity == 0 ? 8 : call->event_capacity * 2;
    sf_event *grown = sf_realloc(call->events, capacity * sizeof *grown);
    if (grown == NULL) return; /* an observer misses one, the call goes on */
    call->events = grown;
    call->event_capacity = capacity;
  }
  call->events[call->event_count++] = (sf_event){
    .name = name,
    .at_ns = sf_engine_now(call->engine),
    .attempt = attempt,
    .endpoint = endpoint,
    .kind = kind,
    .wait_ns = wait_ns,
    .value = value,
  };
}
