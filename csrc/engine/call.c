/* call.c: a call from its making to its end, and the questions in between; see call.h. */
#include "call.h"

#include <stdio.h>
#include <string.h>

static void deadline_fire(sf_timer *timer, int64_t now)
{
  (void)now;
  sf_call *call = (sf_call *)((char *)timer - offsetof(sf_call, deadline_timer));
  sf_call_settle(call, false, SF_KIND_DEADLINE, 0,
                 call->live != NULL ? "the deadline passed while an answer was awaited"
                                    : "the deadline passed while waiting");
}

/* The backoff is over. */
static void wake_fire(sf_timer *timer, int64_t now)
{
  (void)now;
  sf_call *call = (sf_call *)((char *)timer - offsetof(sf_call, wake_timer));
  sf_queue_enter(call);
}

/* Copies "a: b\nc: d\n" and cuts it into NUL-terminated lines; false: out of memory. */
static bool copy_lines(const char *text, size_t length, char **copy, size_t *count)
{
  *count = 0;
  *copy = NULL;
  if (length == 0) return true;
  *copy = sf_copy_string(text, length);
  if (*copy == NULL) return false;
  char *end = *copy + length, *to = *copy;
  for (char *line = *copy; line < end;) {
    char *stop = memchr(line, '\n', (size_t)(end - line));
    size_t size = (size_t)((stop != NULL ? stop : end) - line);
    if (size > 0) {
      memmove(to, line, size);
      to[size] = '\0';
      to += size + 1;
      ++*count;
    }
    line += size + 1;
  }
  return true;
}

sf_call *sf_call_new(sf_client *client, sf_engine *engine, const sf_call_options *options)
{
  sf_call *call = sf_alloc_zero(sizeof *call);
  if (call == NULL) return NULL;
  call->variants = sf_alloc_zero(options->plan->variant_count * sizeof *call->variants);
  bool whole = call->variants != NULL &&
               copy_lines(options->headers, options->headers_length, &call->header_text, &call->header_count) &&
               sf_timers_reserve(&engine->timers, 2);
  if (!whole) {
    sf_free(call->variants);
    sf_free(call->header_text);
    sf_free(call);
    return NULL;
  }
  sf_waiter_init(engine, &call->waiter);
  call->engine = engine;
  call->client = client;
  sf_client_retain(client);
  call->plan = options->plan;
  call->priority = options->priority;
  call->max_attempts = options->max_attempts > 0 ? options->max_attempts : client->config.max_attempts;
  call->estimate = options->estimate;
  call->wants_events = options->events;
  call->submitted_ns = call->idle_since_ns = sf_engine_now(engine);
  call->deadline_ns = sf_time_add(call->submitted_ns, options->deadline_ns);
  call->deadline_timer = (sf_timer){ .due_ns = SF_NEVER, .fire = deadline_fire };
  call->wake_timer = (sf_timer){ .due_ns = SF_NEVER, .fire = wake_fire };
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
  sf_free(variant->method);
  sf_free(variant->path);
  sf_free(variant->header_text);
  *variant = (sf_variant){ 0 };
}

static void free_variants(sf_call *call)
{
  for (uint32_t i = 0; i < call->plan->variant_count; i++) variant_free(&call->variants[i]);
}

/* The owner has answered "encode": back to the queue. */
static void after_encode(sf_call *call, uint32_t variant)
{
  if (call->state != SF_CALL_ENCODING || call->plan->targets[call->wanted].variant != variant) return;
  sf_waiter_quiet(call->engine, &call->waiter);
  sf_queue_enter(call);
  sf_engine_turned(call->engine);
}

bool sf_call_encode(sf_call *call, uint32_t index, const char *method, const char *path, const char *headers,
                    size_t headers_length, const char *body, size_t body_length)
{
  sf_variant *variant = &call->variants[index];
  if (call->state == SF_CALL_SETTLED || variant->state != SF_VARIANT_WANTED) return true;
  variant->method = sf_copy_string(method, strlen(method));
  variant->path = sf_copy_string(path, strlen(path));
  bool whole = copy_lines(headers, headers_length, &variant->header_text, &variant->header_count);
  if (variant->method == NULL || variant->path == NULL || !whole) {
    variant_free(variant);
    sf_call_skip(call, index, SF_KIND_INVALID_REQUEST);
    return false;
  }
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

void sf_call_submit(sf_call *call)
{
  sf_client *client = call->client;
  sf_engine *engine = call->engine;
  client->numbers.requests++;
  sf_numbers_enter(&client->numbers);
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

sf_question sf_call_next(sf_call *call)
{
  sf_waiter_quiet(call->engine, &call->waiter);
  if (call->state == SF_CALL_SETTLED) return (sf_question){ .name = SF_QUESTION_SETTLED };
  for (sf_attempt *attempt = call->live; attempt != NULL; attempt = attempt->next)
    if (attempt->asking) return (sf_question){ .name = SF_QUESTION_RESPONSE, .attempt = attempt };
  if (call->state == SF_CALL_ENCODING) return (sf_question){ .name = SF_QUESTION_ENCODE, .target = call->wanted };
  return (sf_question){ .name = SF_QUESTION_WAIT };
}

static sf_attempt *asking_attempt(sf_call *call, uint32_t number)
{
  for (sf_attempt *attempt = call->live; attempt != NULL; attempt = attempt->next)
    if (attempt->number == number) return attempt->asking ? attempt : NULL;
  return NULL;
}

static void note(char *message, const char *text)
{
  snprintf(message, SF_MESSAGE_BYTES, "%s", text);
}

void sf_call_answer(sf_call *call, uint32_t number, const sf_answer *answer)
{
  sf_attempt *attempt = asking_attempt(call, number);
  if (attempt == NULL) return;
  const sf_status_set *listed = &call->client->config.on_status;
  sf_outcome told = sf_retry_rule_outcome(answer->cls, answer->kind, attempt->status);
  sf_verdict verdict = answer->cls == SF_CLASS_NONE
                           ? sf_retry_rule_status(attempt->status, listed)
                           : sf_retry_rule_listed((sf_verdict){ answer->cls, answer->kind, told }, attempt->status,
                                                  listed);
  if (verdict.cls != SF_CLASS_ACCEPT) verdict = sf_retry_rule_hinted(verdict, attempt->hint.should_retry);
  if (answer->message != NULL) note(call->trail[number - 1].message, answer->message);
  if (verdict.cls == SF_CLASS_ACCEPT) {
    sf_attempt_report(attempt, SF_OUTCOME_SUCCESS, SF_KIND_OK, answer->tokens);
    sf_call_settle(call, true, SF_KIND_OK, number, NULL);
  } else {
    sf_failure failure = {
      .cls = verdict.cls,
      .kind = verdict.kind,
      .outcome = verdict.outcome,
      .attempt = number,
      .target = attempt->target,
      .key = attempt->key,
      .hint_ns = attempt->hint.after_ns > 0 ? attempt->hint.after_ns : answer->wait_ns,
      .message = answer->message,
    };
    attempt->hint.after_ns = failure.hint_ns;
    sf_attempt_report(attempt, verdict.outcome, verdict.kind, answer->tokens);
    sf_retry_decide(call, &failure);
  }
  sf_engine_turned(call->engine);
}

/* What a success gives back to the retry budget: the cost of the last retry, or one for a clean call. */
static void reward(sf_call *call)
{
  sf_client *client = call->client;
  if (call->attempt_count <= 1) sf_budget_reward(&client->budget, &client->config.budget);
  else sf_budget_refund(&client->budget, &client->config.budget, call->last_cost);
}

static void count_end(sf_call *call)
{
  sf_numbers *numbers = &call->client->numbers;
  if (call->ok) {
    numbers->successes++;
    sf_numbers_latency(&numbers->latency, call->settled_ns - call->submitted_ns);
    if (call->first_token_ns >= 0) sf_numbers_latency(&numbers->first_token, call->first_token_ns);
    if (call->plan->targets[call->last_target].route > 0) numbers->fallbacks++;
    reward(call);
  } else {
    numbers->errors[call->kind]++;
  }
  sf_numbers_leave(numbers);
}

static sf_outcome outcome_of_end(sf_kind kind)
{
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
  while (call->live != NULL) sf_attempt_drop(call->live, outcome_of_end(kind), ok ? SF_KIND_CANCELLED : kind);
  call->state = SF_CALL_SETTLED;
  call->ok = ok;
  call->kind = kind;
  call->deciding = deciding;
  call->settled_ns = sf_engine_now(engine);
  if (deciding > 0) {
    call->phase = call->trail[deciding - 1].phase;
    if (message == NULL) message = call->trail[deciding - 1].message;
  }
  if (message != NULL && call->message[0] == '\0') note(call->message, message);
  count_end(call);
  sf_call_event(call, SF_EVENT_SETTLED, deciding, 0, kind, 0, 0);
  if (call->prev != NULL) call->prev->next = call->next;
  else client->calls = call->next;
  if (call->next != NULL) call->next->prev = call->prev;
  call->prev = call->next = NULL;
  engine->in_flight--;
  free_variants(call);
  sf_timers_unreserve(&engine->timers, 2);
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
  if (call->state != SF_CALL_SETTLED && call->state != SF_CALL_NEW) {
    sf_call_cancel(call, SF_KIND_CANCELLED);
    sf_engine_turned(call->engine);
  }
  if (call->state == SF_CALL_NEW) {
    free_variants(call);
    sf_timers_unreserve(&call->engine->timers, 2);
  }
  sf_waiter_quiet(call->engine, &call->waiter);
  sf_client_release(call->client);
  sf_free(call->variants);
  sf_free(call->header_text);
  sf_free(call->trail);
  sf_free(call->events);
  sf_free(call);
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
