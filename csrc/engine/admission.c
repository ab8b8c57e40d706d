/*
 * admission.c: which line, which key, and all or none of {breaker lease, concurrency slots, request cells, token cells}.
 *
 * Candidates come in stages: untried targets on lines that have not failed in this call, route by route; then the other
 * untried ones. A route whose lines are all open or put off by a server gives way to the next; one that is merely busy
 * (rate, slots) is waited for. A refusal is not an attempt: nothing is charged, no policy hears of it.
 */
#include "call.h"

typedef struct sf_stage {
  bool hedge;
  uint32_t targets[SF_MAX_TARGETS];
  sf_candidate candidates[SF_MAX_TARGETS];
  size_t count;
} sf_stage;

/* ---- what may be asked ---- */

static bool endpoint_failed(const sf_call *call, uint32_t endpoint)
{
  for (uint32_t i = 0; i < call->plan->target_count; i++)
    if (call->plan->targets[i].endpoint == endpoint &&
        (sf_target_set_has(&call->tried, i) || (int32_t)i == call->last_target))
      return true;
  return false;
}

static bool has_living_key(const sf_call *call, uint32_t endpoint)
{
  size_t keys = call->client->endpoints[endpoint].key_count;
  for (uint32_t key = 0; key < keys; key++)
    if (!sf_retry_key_is_dead(call, endpoint, key)) return true;
  return keys == 0 && !sf_retry_key_is_dead(call, endpoint, 0);
}

static bool is_open_to(const sf_call *call, uint32_t target)
{
  return !sf_target_set_has(&call->excluded, target) && !sf_target_set_has(&call->tried, target) &&
         has_living_key(call, call->plan->targets[target].endpoint);
}

static double token_cost(const sf_call *call, const sf_rate_config *rate)
{
  return call->estimate < rate->tokens.burst ? call->estimate : rate->tokens.burst;
}

/* When a lane's rate has room for a call. */
static int64_t has_room_at(const sf_call *call, const sf_endpoint *endpoint, const sf_lane *lane, int64_t now)
{
  const sf_rate_config *rate = &endpoint->rate_config;
  const sf_adaptive_config adaptive = sf_adaptive_config_default();
  int64_t wait = 0;
  if (rate->has_requests) wait = sf_gcra_peek(&lane->requests, &rate->requests, now, 1);
  if (rate->has_tokens)
    wait = sf_time_max(wait, sf_gcra_peek(&lane->tokens, &rate->tokens, now, token_cost(call, rate)));
  if (rate->adaptive) {
    wait = sf_time_max(wait, sf_adaptive_peek(&lane->adaptive, &adaptive, now));
    wait = sf_time_max(wait, sf_quota_pace_peek(&lane->token_pace, now, call->estimate));
  }
  return sf_time_add(now, wait);
}

/*
 * The key to use on a target: not refused in this call, rather one that is well, and whose lane is not put off or has room
 * first, in turn. Returns its index or -1, its lane, and when the lane may be used.
 */
static int choose_key(const sf_call *call, uint32_t target_index, int64_t now, sf_lane **lane, int64_t *free_at)
{
  const sf_target *target = &call->plan->targets[target_index];
  sf_endpoint *endpoint = &call->client->endpoints[target->endpoint];
  size_t keys = endpoint->key_count > 0 ? endpoint->key_count : 1;
  int chosen = -1;
  bool chosen_cool = false;
  int64_t chosen_at = SF_NEVER;
  *free_at = SF_NEVER;
  for (size_t i = 0; i < keys; i++) {
    uint32_t key = (uint32_t)((endpoint->key_turn + i) % keys);
    if (sf_retry_key_is_dead(call, target->endpoint, key)) continue;
    sf_lane *candidate = sf_client_lane(call->client, target->endpoint, key, target->model);
    if (candidate == NULL) return -1;
    bool cool = endpoint->key_count > 0 && endpoint->keys[key].cooled_until > now;
    int64_t open = sf_time_max(now, candidate->blocked_until), at = open;
    if (keys > 1) at = sf_time_max(at, has_room_at(call, endpoint, candidate, now));
    bool better = chosen < 0 || (chosen_cool && !cool) || (chosen_cool == cool && at < chosen_at);
    if (!better) continue;
    chosen = (int)key;
    chosen_cool = cool;
    chosen_at = at;
    *lane = candidate;
    *free_at = open;
  }
  return chosen;
}

static sf_endpoint *endpoint_of(const sf_call *call, uint32_t target)
{
  return &call->client->endpoints[call->plan->targets[target].endpoint];
}

static int64_t circuit_wait(const sf_endpoint *endpoint, int64_t now)
{
  return endpoint->has_breaker ? sf_breaker_retry_in(&endpoint->words->breaker, &endpoint->breaker_config, now) : 0;
}

/* Half-open, and every probe is out: any moment may bring its answer, so the end of the lease is no wait to count on. */
static bool probe_is_out(const sf_endpoint *endpoint, int64_t now)
{
  return circuit_wait(endpoint, now) > 0 &&
         sf_breaker_state_at(&endpoint->words->breaker, &endpoint->breaker_config, now, NULL) == SF_BREAKER_HALF_OPEN;
}

/* When the target's key and lane would let a call through; SF_NEVER: no key is left. */
static int64_t lane_free_at(const sf_call *call, uint32_t target, int64_t now)
{
  sf_lane *lane;
  int64_t at;
  return choose_key(call, target, now, &lane, &at) < 0 ? SF_NEVER : at;
}

/* The same, and its breaker. */
static int64_t free_at(const sf_call *call, uint32_t target, int64_t now)
{
  int64_t wait = circuit_wait(endpoint_of(call, target), now);
  return sf_time_max(lane_free_at(call, target, now), sf_time_add(now, wait));
}

bool sf_admission_has_untried(const sf_call *call, int64_t now)
{
  for (uint32_t i = 0; i < call->plan->target_count; i++)
    if (is_open_to(call, i) && free_at(call, i, now) <= now) return true;
  return false;
}

int64_t sf_admission_earliest(const sf_call *call, int64_t now)
{
  int64_t earliest = SF_NEVER;
  for (uint32_t i = 0; i < call->plan->target_count; i++) {
    if (sf_target_set_has(&call->excluded, i)) continue;
    bool hopeful = probe_is_out(endpoint_of(call, i), now);
    earliest = sf_time_min(earliest, hopeful ? lane_free_at(call, i, now) : free_at(call, i, now));
  }
  return earliest;
}

/* ---- all or none ---- */

/* One thing to take: a bucket and its cost. */
typedef struct sf_toll {
  sf_gcra *bucket;
  const sf_gcra_config *config;
  double cost;
} sf_toll;

static size_t list_tolls(const sf_call *call, const sf_rate_config *rate, sf_gcra *requests, sf_gcra *tokens,
                         sf_toll *tolls)
{
  size_t count = 0;
  if (rate->has_requests) tolls[count++] = (sf_toll){ requests, &rate->requests, 1 };
  if (rate->has_tokens) tolls[count++] = (sf_toll){ tokens, &rate->tokens, token_cost(call, rate) };
  return count;
}

/* 0 = all taken; else the wait, and nothing is taken. */
static int64_t take_tolls(sf_toll *tolls, size_t count, int64_t now)
{
  for (size_t i = 0; i < count; i++) {
    int64_t wait = sf_gcra_try(tolls[i].bucket, tolls[i].config, now, tolls[i].cost);
    if (wait == 0) continue;
    while (i-- > 0) sf_gcra_settle(tolls[i].bucket, tolls[i].config, tolls[i].cost, 0);
    return wait;
  }
  return 0;
}

static void refund_tolls(sf_toll *tolls, size_t count)
{
  for (size_t i = 0; i < count; i++) sf_gcra_settle(tolls[i].bucket, tolls[i].config, tolls[i].cost, 0);
}

typedef struct sf_refusal {
  int64_t wait_ns; /* SF_NEVER: until something is released */
  bool away;       /* breaker open or put off by the server: not merely busy */
  bool breaker;
  bool hopeful;   /* it may end any moment before that */
  bool unwritten; /* nothing is in the way but that the request is not encoded yet */
} sf_refusal;

static bool take_slots(sf_client *client, sf_endpoint *endpoint)
{
  if (!sf_slots_acquire(&client->slots, &client->config.concurrency, client->region)) return false;
  if (sf_slots_acquire(&endpoint->slots, &endpoint->concurrency_config, client->region)) return true;
  sf_slots_release(&client->slots, &client->config.concurrency, client->region, 0, SF_SLOT_IGNORED, 0);
  return false;
}

static void return_slots(sf_client *client, sf_endpoint *endpoint, int64_t now, sf_slot_effect effect, int64_t elapsed)
{
  sf_slots_release(&client->slots, &client->config.concurrency, client->region, now, effect, elapsed);
  sf_slots_release(&endpoint->slots, &endpoint->concurrency_config, client->region, now, effect, elapsed);
}

static bool take_rate(sf_call *call, sf_endpoint *endpoint, sf_lane *lane, int64_t now, sf_toll *tolls,
                      size_t *toll_count, int64_t *wait)
{
  sf_client *client = call->client;
  sf_adaptive_config adaptive = sf_adaptive_config_default();
  size_t count = list_tolls(call, &client->config.rate, &client->words->requests, &client->words->tokens, tolls);
  count += list_tolls(call, &endpoint->rate_config, &lane->requests, &lane->tokens, tolls + count);
  *toll_count = count;
  *wait = take_tolls(tolls, count, now);
  if (*wait != 0) return false;
  if (!endpoint->rate_config.adaptive) return true;
  *wait = sf_adaptive_acquire(&lane->adaptive, &adaptive, now);
  if (*wait == 0) {
    *wait = sf_quota_pace_acquire(&lane->token_pace, now, call->estimate);
    if (*wait == 0) return true;
    sf_adaptive_refund(&lane->adaptive, &adaptive);
  }
  refund_tolls(tolls, count);
  return false;
}

static void return_rate(const sf_call *call, const sf_endpoint *endpoint, sf_lane *lane, sf_toll *tolls, size_t count)
{
  sf_adaptive_config adaptive = sf_adaptive_config_default();
  refund_tolls(tolls, count);
  if (!endpoint->rate_config.adaptive) return;
  sf_adaptive_refund(&lane->adaptive, &adaptive);
  sf_quota_pace_settle(&lane->token_pace, call->estimate, 0);
}

/* Takes everything for one target and starts the attempt, or takes nothing and says why. */
static bool admit(sf_call *call, uint32_t target_index, bool hedge, int64_t now, sf_refusal *refusal,
                  bool *out_of_memory)
{
  sf_client *client = call->client;
  sf_endpoint *endpoint = &client->endpoints[call->plan->targets[target_index].endpoint];
  sf_grant grant = { .target = target_index, .hedge = hedge };
  sf_toll tolls[4];
  size_t toll_count;
  int64_t lane_free, wait = SF_NEVER;
  *refusal = (sf_refusal){ .wait_ns = SF_NEVER };
  int key = choose_key(call, target_index, now, &grant.lane, &lane_free);
  *out_of_memory = key < 0; /* a stage holds only targets with a key left: a lane could not be made */
  if (key < 0 || lane_free > now) {
    *refusal = (sf_refusal){ .wait_ns = lane_free - now, .away = true };
    return false;
  }
  grant.key = (uint32_t)key;
  if ((wait = circuit_wait(endpoint, now)) > 0) {
    *refusal = (sf_refusal){ .wait_ns = wait, .away = true, .breaker = true, .hopeful = probe_is_out(endpoint, now) };
    sf_comeback_shut(client, endpoint);
    return false;
  }
  if ((wait = sf_comeback_wait(client, endpoint, now)) > 0) {
    *refusal = (sf_refusal){ .wait_ns = wait, .away = true, .hopeful = true };
    return false;
  }
  if (call->variants[call->plan->targets[target_index].variant].state == SF_VARIANT_WANTED) {
    refusal->unwritten = true;
    return false;
  }
  if (!take_slots(client, endpoint)) return false;
  if (!take_rate(call, endpoint, grant.lane, now, tolls, &toll_count, &wait)) {
    return_slots(client, endpoint, now, SF_SLOT_IGNORED, 0);
    refusal->wait_ns = wait;
    return false;
  }
  bool allowed = !endpoint->has_breaker ||
                 sf_breaker_allow(&endpoint->words->breaker, &endpoint->breaker_config, now, &grant.permit, &wait);
  grant.tokens = call->estimate;
  *out_of_memory = allowed && !sf_attempt_start(call, &grant, now);
  if (allowed && !*out_of_memory) {
    endpoint->key_turn = endpoint->key_count > 0 ? (grant.key + 1) % endpoint->key_count : 0;
    return true;
  }
  if (allowed && endpoint->has_breaker)
    sf_breaker_report(&endpoint->words->breaker, &endpoint->breaker_config, now, 0, &grant.permit, SF_BREAKER_IGNORE,
                      -1);
  return_rate(call, endpoint, grant.lane, tolls, toll_count);
  return_slots(client, endpoint, now, SF_SLOT_IGNORED, 0);
  *refusal = (sf_refusal){ .wait_ns = wait, .away = true, .breaker = true };
  return false;
}

void sf_admission_release(sf_attempt *attempt, sf_slot_effect effect, int64_t now)
{
  if (!attempt->slots_held) return;
  attempt->slots_held = false;
  sf_call *call = attempt->call;
  sf_endpoint *endpoint = sf_attempt_endpoint(attempt);
  return_slots(call->client, endpoint, now, effect, now - attempt->started_ns);
  sf_numbers_leave(&endpoint->numbers);
  if (attempt->stream.committed) endpoint->comeback.answering--;
  call->client->exchanges--;
  sf_client_touch(call->client);
}

/* A provider's slip must not shut the bucket for days: one call is charged so many bursts at most. */
static double believable(double used, const sf_gcra_config *tokens)
{
  double most = 60 * tokens->burst;
  return used < most ? used : most;
}

void sf_admission_settle_tokens(sf_attempt *attempt, double used)
{
  sf_call *call = attempt->call;
  sf_client *client = call->client;
  const sf_rate_config *whole = &client->config.rate;
  const sf_rate_config *own = &sf_attempt_endpoint(attempt)->rate_config;
  if (whole->has_tokens)
    sf_gcra_settle(&client->words->tokens, &whole->tokens, token_cost(call, whole), believable(used, &whole->tokens));
  if (own->has_tokens)
    sf_gcra_settle(&attempt->lane->tokens, &own->tokens, token_cost(call, own), believable(used, &own->tokens));
  if (own->adaptive && !attempt->tokens_told) sf_quota_pace_settle(&attempt->lane->token_pace, call->estimate, used);
  if (whole->has_tokens || own->has_tokens) sf_client_touch(client);
}

/* ---- stages ---- */

static void add_candidate(const sf_call *call, uint32_t index, sf_stage *stage)
{
  const sf_endpoint *endpoint = endpoint_of(call, index);
  stage->targets[stage->count] = index;
  stage->candidates[stage->count++] = (sf_candidate){
    .priority = endpoint->priority,
    .weight = endpoint->weight,
    .in_flight = endpoint->numbers.in_flight + sf_slots_elsewhere(&endpoint->slots, call->client->region),
    .ewma = &endpoint->words->latency,
    .started_at = endpoint->words->started_at,
  };
}

static void build_stage(const sf_call *call, uint32_t route, bool fresh_lines, sf_stage *stage)
{
  stage->hedge = false;
  stage->count = 0;
  for (uint32_t i = 0; i < call->plan->target_count; i++) {
    const sf_target *target = &call->plan->targets[i];
    bool fresh = !fresh_lines || !endpoint_failed(call, target->endpoint);
    if (target->route == route && fresh && is_open_to(call, i)) add_candidate(call, i, stage);
  }
}

/* Asks the candidates of a stage in the balancer's order. */
static sf_admission try_stage(sf_call *call, sf_stage *stage, int64_t now, sf_blockage *blockage, bool *busy)
{
  sf_client *client = call->client;
  for (size_t left = stage->count; left > 0; left--) {
    int pick = sf_balancer_pick(stage->candidates, stage->count, &client->config.routing, now, &call->engine->random,
                                &client->turn);
    if (pick < 0) break;
    uint32_t target = stage->targets[pick];
    const sf_variant *variant = &call->variants[call->plan->targets[target].variant];
    stage->candidates[pick].excluded = true;
    if (variant->state == SF_VARIANT_SKIPPED) {
      sf_target_set_add(&call->excluded, target);
      blockage->kind = variant->skipped;
      continue;
    }
    sf_refusal refusal;
    bool out_of_memory = false;
    if (admit(call, target, stage->hedge, now, &refusal, &out_of_memory)) return SF_ADMITTED;
    if (out_of_memory) {
      *blockage = (sf_blockage){ .kind = SF_KIND_TOO_LARGE, .message = "out of memory, or more headers than fit" };
      return SF_HOPELESS;
    }
    if (refusal.unwritten) {
      call->wanted = target;
      return SF_NEEDS_ENCODE;
    }
    if (!refusal.away) *busy = true;
    if (!refusal.breaker) blockage->kind = SF_KIND_DEADLINE;
    if (refusal.hopeful || refusal.wait_ns == SF_NEVER) blockage->hopeful = true;
    blockage->until_ns = sf_time_min(blockage->until_ns, sf_time_add(now, refusal.wait_ns));
  }
  return SF_BLOCKED;
}

static bool anything_left(const sf_call *call)
{
  for (uint32_t i = 0; i < call->plan->target_count; i++)
    if (is_open_to(call, i)) return true;
  return false;
}

static bool has_attempt_on(const sf_call *call, uint32_t endpoint)
{
  for (const sf_attempt *attempt = call->live; attempt != NULL; attempt = attempt->next)
    if (call->plan->targets[attempt->target].endpoint == endpoint) return true;
  return false;
}

/* All of a line-up want the same. */
bool sf_admission_is_waited_for(const sf_client *client, uint32_t endpoint)
{
  for (const sf_line_up *each = client->queue.line_ups; each != NULL; each = each->next) {
    const sf_call *head = each->first;
    for (uint32_t i = 0; head != NULL && i < head->plan->target_count; i++)
      if (head->plan->targets[i].endpoint == endpoint && is_open_to(head, i)) return true;
  }
  return false;
}

/*
 * A line that is well: its circuit is closed, nobody waits for it, since those who wait for their first come first, and
 * unless `again` it has nothing of this call.
 */
static bool is_free_beside(const sf_call *call, uint32_t target, bool again, int64_t now)
{
  const sf_endpoint *endpoint = endpoint_of(call, target);
  bool closed = !endpoint->has_breaker || sf_breaker_state_at(&endpoint->words->breaker, &endpoint->breaker_config, now,
                                                              NULL) == SF_BREAKER_CLOSED;
  uint32_t index = call->plan->targets[target].endpoint;
  bool unused = again || !has_attempt_on(call, index);
  return closed && unused && is_open_to(call, target) && !sf_admission_is_waited_for(call->client, index);
}

sf_admission sf_admission_beside(sf_call *call, bool hedge, bool again, int64_t now)
{
  sf_stage stage;
  sf_blockage blockage = { .until_ns = SF_NEVER };
  bool busy;
  uint32_t route = call->plan->targets[call->live->target].route;
  stage.hedge = hedge;
  stage.count = 0;
  for (uint32_t i = 0; i < call->plan->target_count; i++)
    if (call->plan->targets[i].route == route && is_free_beside(call, i, again, now)) add_candidate(call, i, &stage);
  return try_stage(call, &stage, now, &blockage, &busy);
}

sf_admission sf_admission_try(sf_call *call, int64_t now, sf_blockage *blockage)
{
  sf_client *client = call->client;
  sf_commons_reap(client->region, now);
  *blockage = (sf_blockage){ .until_ns = SF_NEVER, .kind = SF_KIND_CIRCUIT_OPEN };
  if (now >= call->deadline_ns) {
    *blockage = (sf_blockage){ .until_ns = SF_NEVER, .kind = SF_KIND_DEADLINE, .message = "the deadline has passed" };
    return SF_HOPELESS;
  }
  if (!sf_slots_have_room(&client->slots, &client->config.concurrency, client->region)) {
    *blockage = (sf_blockage){ .until_ns = SF_NEVER, .kind = SF_KIND_DEADLINE, .client_wide = true };
    return SF_BLOCKED;
  }
  sf_stage stage;
  bool busy = false;
  for (int fresh_lines = call->attempt_count > 0; fresh_lines >= 0 && !busy; fresh_lines--)
    for (uint32_t route = 0; route < call->plan->route_count && !busy; route++) {
      build_stage(call, route, fresh_lines, &stage);
      sf_admission result = try_stage(call, &stage, now, blockage, &busy);
      if (result != SF_BLOCKED) return result;
    }
  if (!anything_left(call)) return SF_HOPELESS;
  if (busy && client->config.rate.has_requests &&
      sf_gcra_peek(&client->words->requests, &client->config.rate.requests, now, 1) > 0)
    blockage->client_wide = true;
  bool too_late = blockage->until_ns != SF_NEVER && blockage->until_ns >= call->deadline_ns;
  return too_late && !blockage->hopeful ? SF_HOPELESS : SF_BLOCKED;
}
