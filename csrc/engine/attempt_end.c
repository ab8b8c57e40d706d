/* attempt_end.c: how an attempt ends, whatever the reason: judged, asked about, refused, let go or dropped. */
#include "attempt.h"

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
  sf_attempt_begin_exchange(attempt, now);
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
  [SF_RESULT_NO_FILES] = { SF_KIND_NETWORK, SF_CLASS_TRANSIENT, SF_OUTCOME_LACKING },
  [SF_RESULT_PROXY_REFUSED] = { SF_KIND_NETWORK, SF_CLASS_ENDPOINT, SF_OUTCOME_CONNECT_FAILED },
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
  bool farewell = attempt->timed_out && attempt->stream.finishing;
  if (attempt->timed_out && !farewell) {
    failure.cls = SF_CLASS_TRANSIENT;
    failure.kind = SF_KIND_TIMEOUT;
    failure.outcome = connecting ? SF_OUTCOME_CONNECT_FAILED
                      : shown    ? SF_OUTCOME_IDLE_AFTER_COMMIT
                                 : SF_OUTCOME_TIMEOUT;
  } else if (farewell || attempt->result == SF_RESULT_COMPLETE) { /* a stream that only stopped */
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

/* What can be said before its owner is asked. */
static const sf_effects *effects_so_far(const sf_attempt *attempt)
{
  bool connecting = attempt->phase == SF_PHASE_CONNECT;
  if (attempt->timed_out) return &sf_outcome_effects[connecting ? SF_OUTCOME_CONNECT_FAILED : SF_OUTCOME_TIMEOUT];
  if (attempt->result != SF_RESULT_COMPLETE) return &sf_outcome_effects[transport_verdicts[attempt->result].outcome];
  return &sf_outcome_effects[sf_retry_rule_status(attempt->status, NULL).outcome];
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
  const sf_effects *effects = effects_so_far(attempt);
  sf_comeback_report(attempt, effects->breaker, attempt->ended_ns);
  sf_admission_release(attempt, effects->slot, attempt->ended_ns);
  if (attempt->timed_out && attempt->stream.finishing) sf_attempt_say(attempt, "it has finished, but does not end");
  else if (attempt->timed_out) count_timeout(attempt);
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
  sf_attempt_ended(attempt, sf_engine_now(engine));
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
  sf_attempt_recycle(attempt);
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
