/*
 * hedge.c: attempts beside one that is slow. While nothing of a call was shown, and its newest attempt has been silent for
 * longer than answers take, another line is asked too; who answers first wins. A hedge is paid for from a bucket of its own
 * and from the retry budget, which gets it back when the call succeeds; it waits for nothing: no slot, no rate, no hedge.
 * A call that was hedged in vain is late already: its further hedges wait less than half as long.
 *
 * A line that stays silent for half as long again is treated as failing, whatever the bucket says, once in a call and while
 * half of the retry budget is left: another one is asked as after a failure, or where all have been a silent one anew, only
 * that the silent attempts may still answer. So a bucket too small for the fault rate leaves no call hanging.
 *
 * What is usual is learned for each purpose and model: embeddings say nothing of chats, nor a small model of a large one.
 */
#include "attempt.h"

#define UNKNOWN_NS (50 * SF_MILLISECOND) /* while the usual time is not known, it is asked for so often */
#define FURTHER 0.4                      /* of the usual time, for further hedges of a call */

static sf_hedge *bucket(const sf_call *call)
{
  return &call->client->hedge;
}

/* A file takes one answer, and what was shown cannot be taken back. */
static bool may_hedge(const sf_call *call)
{
  return call->hedging.on && call->state == SF_CALL_ACTIVE && call->live != NULL && !call->committed &&
         call->sink == NULL && !call->awaits_variant && call->attempt_count < call->max_attempts;
}

static void look_again(sf_call *call, int64_t at)
{
  if (at < call->deadline_ns) sf_timers_set(&call->engine->timers, &call->hedge_timer, at);
}

/* How long the newest attempt may be silent; < 0: not known. */
static int64_t patience(const sf_call *call, int64_t now)
{
  const sf_hedge_config *config = &call->hedging.config;
  int64_t delay = sf_hedge_delay(call->usual, config, now);
  return call->hedges == 0 || delay < 0 ? delay : sf_time_max(config->min_delay_ns, (int64_t)(FURTHER * (double)delay));
}

/* Is an answer being weighed? Then the word on it decides what comes next. */
static bool is_asked(const sf_call *call)
{
  for (const sf_attempt *attempt = call->live; attempt != NULL; attempt = attempt->next)
    if (attempt->asking || attempt->stream.pending) return true;
  return false;
}

static int64_t newest_start(const sf_call *call)
{
  int64_t start = 0;
  for (const sf_attempt *attempt = call->live; attempt != NULL; attempt = attempt->next)
    start = sf_time_max(start, attempt->started_ns);
  return start;
}

/* For how long no attempt of the call has given a sign of life; of a stream that is content, and would have ended it. */
static int64_t silence(const sf_call *call, int64_t now)
{
  int64_t sign = newest_start(call);
  for (const sf_attempt *attempt = call->streams ? NULL : call->live; attempt != NULL; attempt = attempt->next)
    sign = sf_time_max(sign, attempt->last_byte_ns);
  return now - sign;
}

/* While nothing is known: soon, then less and less often. */
static void wait_for_knowledge(sf_call *call, int64_t now)
{
  look_again(call, sf_time_add(now, sf_time_max(UNKNOWN_NS, now - newest_start(call))));
}

/* For so long a line is slow; beyond it is taken for failing. */
static int64_t failing_after(int64_t delay)
{
  return sf_time_add(delay, delay / 2);
}

static bool has_other_lines(const sf_call *call)
{
  const sf_target *asked = &call->plan->targets[call->live->target];
  for (uint32_t i = 0; i < call->plan->target_count; i++) {
    const sf_target *target = &call->plan->targets[i];
    if (target->route == asked->route && target->endpoint != asked->endpoint) return true;
  }
  return false;
}

void sf_hedge_watch(sf_call *call, int64_t now)
{
  if (!call->hedging.on) return;
  if (call->attempt_count == 1) sf_hedge_began(bucket(call), &call->hedging.config);
  if (!may_hedge(call)) return;
  int64_t delay = patience(call, now);
  if (delay >= 0) look_again(call, sf_time_add(now, delay));
  else wait_for_knowledge(call, now);
}

/* Asks for the encoding of the variant that is missing, if that is what keeps it; the rest is for another time. */
static bool start(sf_call *call, bool hedge, bool again, int64_t now)
{
  sf_admission result = sf_admission_beside(call, hedge, false, now);
  if (result == SF_BLOCKED && again) result = sf_admission_beside(call, hedge, true, now);
  if (result == SF_NEEDS_ENCODE) {
    call->awaits_variant = true;
    call->awaits_hedge = hedge;
    sf_waiter_wake(call->engine, &call->waiter);
  }
  return result == SF_ADMITTED;
}

/* Half of the retry budget is kept for failures that are certain: silence may be slowness. */
static bool may_pay_for_silence(const sf_client *client)
{
  const sf_budget_config *budget = &client->config.budget;
  return 2 * sf_budget_balance(&client->words->budget, budget) >= (int64_t)budget->capacity;
}

/*
 * What a hedge costs the retry budget is given back by success: its own bucket bounds it. What is sent because a line seems
 * to fail is given back only when it, or what came after it, wins: when all lines are slow together, this is what ends it.
 */
static bool start_paid(sf_call *call, bool hedge, bool again, int64_t now)
{
  sf_client *client = call->client;
  const sf_budget_config *budget = &client->config.budget;
  if (!hedge && !may_pay_for_silence(client)) return false;
  int32_t paid = sf_budget_withdraw(&client->words->budget, budget, now, budget->transient_cost);
  if (paid == SF_BUDGET_REFUSED) return false;
  if (!start(call, hedge, again, now)) {
    sf_budget_refund(&client->words->budget, budget, paid);
    return false;
  }
  if (hedge) {
    call->beside_cost += paid;
    return true;
  }
  call->silence_cost += paid;
  sf_hedge_charge(bucket(call), &call->hedging.config);
  if (call->silence_attempt == 0) call->silence_attempt = call->attempt_count;
  return true;
}

static bool start_hedge(sf_call *call, int64_t now)
{
  if (call->hedges >= call->hedging.most || !sf_hedge_withdraw(bucket(call), &call->hedging.config)) return false;
  call->hedges++; /* its start looks ahead to the next */
  if (start_paid(call, true, false, now)) return true;
  call->hedges--;
  sf_hedge_refund(bucket(call), &call->hedging.config);
  return false;
}

/*
 * Where all lines have been asked, one is asked anew, and the newest has its whole time before that: its answer is on the
 * way. Only a call that several hedges did not help goes on as it did.
 */
static int64_t anew_after(const sf_call *call, int64_t delay, int64_t now)
{
  return failing_after(call->hedges > 1 ? delay : sf_hedge_delay(call->usual, &call->hedging.config, now));
}

/* What the silence calls for, if anything: another line, paid for as a hedge; or once as a retry, where none is left anew. */
static bool answer_silence(sf_call *call, int64_t silent, int64_t delay, int64_t now)
{
  if (silent < delay || is_asked(call)) return false;
  if (start_hedge(call, now) || call->awaits_variant) return true;
  bool may_fail = silent >= failing_after(delay) && call->silence_attempt == 0 && has_other_lines(call);
  bool anew = call->live->next != NULL && silent >= anew_after(call, delay, now);
  return may_fail && start_paid(call, false, anew, now);
}

/* A new attempt sets the timer by itself. */
static void consider(sf_call *call, int64_t now)
{
  if (!may_hedge(call)) return;
  int64_t delay = patience(call, now);
  if (delay < 0) {
    wait_for_knowledge(call, now);
    return;
  }
  if (call->hedges >= call->hedging.most && call->silence_attempt > 0) return;
  int64_t silent = silence(call, now);
  if (answer_silence(call, silent, delay, now)) return;
  int64_t next = silent < delay ? delay : silent < failing_after(delay) ? failing_after(delay) : silent + delay;
  int64_t anew = anew_after(call, delay, now);
  if (silent < anew) next = sf_time_min(next, anew);
  look_again(call, sf_time_add(now, next - silent));
}

static void hedge_fire(sf_timer *timer, int64_t now)
{
  consider((sf_call *)((char *)timer - offsetof(sf_call, hedge_timer)), now);
}

void sf_hedge_prepare(sf_call *call, uint32_t purpose, const sf_hedging *own)
{
  call->usual = sf_client_usual(call->client, purpose, call->plan->targets[0].model, call->streams);
  call->hedging = own != NULL ? *own : call->client->config.hedging;
  call->hedge_timer = (sf_timer){ .due_ns = SF_NEVER, .fire = hedge_fire };
}

void sf_hedge_encoded(sf_call *call)
{
  int64_t now = sf_engine_now(call->engine);
  call->awaits_variant = false;
  if (call->state != SF_CALL_ACTIVE || call->live == NULL || call->committed) return;
  bool owed = !call->awaits_hedge && call->attempt_count < call->max_attempts;
  if (!owed || !start_paid(call, false, false, now)) consider(call, now); /* the timer may have passed meanwhile */
}

bool sf_hedge_replace(sf_call *call, int64_t now)
{
  return call->attempt_count < call->max_attempts && start(call, false, false, now);
}

sf_outcome sf_hedge_loser(const sf_attempt *attempt)
{
  const sf_call *call = attempt->call;
  int64_t now = sf_engine_now(call->engine);
  if (attempt->any_response || attempt->ended || !call->hedging.on) return SF_OUTCOME_CANCELLED;
  int64_t delay = sf_hedge_delay(call->usual, &call->hedging.config, now);
  return delay >= 0 && now - attempt->started_ns >= delay ? SF_OUTCOME_LOSER_SILENT : SF_OUTCOME_CANCELLED;
}

void sf_hedge_sample(const sf_attempt *attempt, sf_hedge_effect effect, int64_t now)
{
  const sf_call *call = attempt->call;
  bool unlike = call->client->config.hedging.on && !call->hedging.on; /* not hedged: says nothing of those that are */
  if (effect == SF_HEDGE_NONE || unlike) return;
  int64_t end = attempt->ended ? attempt->ended_ns : now;
  if (attempt->first_token_ns >= 0) sf_hedge_answered(call->usual, now, attempt->first_token_ns - attempt->started_ns);
  else if (effect == SF_HEDGE_CENSORED) sf_hedge_censored(call->usual, now, end - attempt->started_ns);
}
