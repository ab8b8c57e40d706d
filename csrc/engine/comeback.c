/*
 * comeback.c: lines that come back while calls wait for them. Those who waited behind an open circuit do not all go when
 * it closes: they go on a ramp (policy/ramp.h), which ends when nobody waits for the line any more. A line that comes back
 * while nobody waits has none, so what an idle client begins with is never held back.
 *
 * A stream that has shown its first token takes no part of the window: it may go on for minutes, and tells already how
 * the line does. A call that is away to be encoded does: else all who wait would be, and come back to an empty queue.
 * Not for long: its owner may be busy with other things, and the line must not wait for him.
 *
 * The state is the client's own, also where the circuit is common to several processes: each has its own who wait.
 */
#include "call.h"

#define ENCODING_NS SF_SECOND /* from when the last of a batch left the queue */

void sf_comeback_shut(sf_client *client, sf_endpoint *endpoint)
{
  endpoint->comeback.stage = SF_COMEBACK_SHUT;
  endpoint->comeback.spell = client->queue.spell;
}

static bool is_closed(const sf_endpoint *endpoint, int64_t now)
{
  return sf_breaker_state_at(&endpoint->words->breaker, &endpoint->breaker_config, now, NULL) == SF_BREAKER_CLOSED;
}

static sf_comeback_stage stage_of(const sf_client *client, const sf_endpoint *endpoint)
{
  return endpoint->comeback.spell == client->queue.spell ? endpoint->comeback.stage : SF_COMEBACK_NONE;
}

static void give_up_late(sf_comeback *comeback, int64_t now)
{
  if (comeback->encoding == 0 || now < comeback->encoding_until_ns) return;
  comeback->encoding = 0;
  comeback->batch++;
}

void sf_comeback_watch(sf_client *client, int64_t now)
{
  for (uint32_t i = 0; i < client->endpoint_count; i++) {
    sf_endpoint *endpoint = &client->endpoints[i];
    sf_comeback_stage stage = stage_of(client, endpoint);
    give_up_late(&endpoint->comeback, now);
    if (stage == SF_COMEBACK_NONE || !is_closed(endpoint, now)) continue;
    if (!sf_admission_is_waited_for(client, i)) {
      endpoint->comeback.stage = SF_COMEBACK_NONE;
    } else if (stage == SF_COMEBACK_SHUT) {
      endpoint->comeback.stage = SF_COMEBACK_RAMP;
      sf_ramp_begin(&endpoint->comeback.ramp, endpoint->breaker_config.half_open_requests, now);
    }
  }
}

int64_t sf_comeback_wait(const sf_client *client, const sf_endpoint *endpoint, int64_t now)
{
  const sf_comeback *comeback = &endpoint->comeback;
  if (stage_of(client, endpoint) != SF_COMEBACK_RAMP) return 0;
  uint32_t out = endpoint->numbers.in_flight - comeback->answering;
  if (!sf_ramp_admits(&comeback->ramp, out)) return SF_NEVER;
  if (sf_ramp_admits(&comeback->ramp, out + comeback->encoding)) return 0;
  return sf_time_max(comeback->encoding_until_ns - now, 0);
}

/* Of the line that a call is encoded for. */
static sf_comeback *comeback_of(const sf_call *call)
{
  return &call->client->endpoints[call->plan->targets[call->wanted].endpoint].comeback;
}

void sf_comeback_encodes(sf_call *call, int64_t now)
{
  sf_comeback *comeback = comeback_of(call);
  comeback->encoding++;
  comeback->encoding_until_ns = sf_time_add(now, ENCODING_NS);
  call->batch = comeback->batch;
}

void sf_comeback_encoded(const sf_call *call)
{
  sf_comeback *comeback = comeback_of(call);
  if (call->batch == comeback->batch) comeback->encoding--;
}

void sf_comeback_answers(sf_attempt *attempt, int64_t now)
{
  if (attempt->slots_held) sf_attempt_endpoint(attempt)->comeback.answering++;
  sf_comeback_report(attempt, SF_BREAKER_OK, now);
}

void sf_comeback_report(sf_attempt *attempt, sf_breaker_effect effect, int64_t now)
{
  sf_client *client = attempt->call->client;
  sf_endpoint *endpoint = sf_attempt_endpoint(attempt);
  bool again = attempt->heard && effect == SF_BREAKER_OK;
  attempt->heard = true;
  if (again || stage_of(client, endpoint) != SF_COMEBACK_RAMP) return;
  int64_t end = attempt->first_token_ns >= 0 ? attempt->first_token_ns : attempt->ended ? attempt->ended_ns : now;
  sf_ramp_report(&endpoint->comeback.ramp, now, attempt->started_ns, effect, end - attempt->started_ns,
                 sf_attempt_patience(attempt));
  sf_client_touch(client);
}
