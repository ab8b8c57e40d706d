/*
 * queue.c: the one bounded queue of a client. Calls that want the same thing stand in one line-up, first in first out; the
 * head of a line-up speaks for all behind it, so a pump costs as many looks as there are line-ups, not calls.
 * Higher priorities go first; within one, the oldest head.
 *
 * Calls that open circuits have held are served the newest first while the oldest of them has used up half of its time:
 * else each would go when too little is left of it, and the line would work for nothing.
 */
#include "call.h"

static uint64_t line_up_key(const sf_call *call)
{
  uint64_t key = UINT64_C(0x9e3779b97f4a7c15) * (call->plan->id + 1);
  for (int i = 0; i < SF_TARGET_WORDS; i++) {
    key = (key ^ call->tried.words[i]) * UINT64_C(0xff51afd7ed558ccd);
    key = (key ^ (key >> 32) ^ call->excluded.words[i]) * UINT64_C(0xc4ceb9fe1a85ec53);
  }
  return key ^ (key >> 29);
}

static sf_line_up *find_line_up(sf_queue *queue, const sf_call *call)
{
  uint64_t key = line_up_key(call);
  for (sf_line_up *line_up = queue->line_ups; line_up != NULL; line_up = line_up->next)
    if (line_up->key == key && line_up->priority == call->priority) return line_up;
  sf_line_up *line_up = queue->spare;
  if (line_up != NULL) queue->spare = line_up->next;
  else if ((line_up = sf_alloc(sizeof *line_up)) == NULL) return NULL;
  *line_up = (sf_line_up){ .next = queue->line_ups, .key = key, .priority = call->priority, .wake_ns = SF_NEVER };
  queue->line_ups = line_up;
  return line_up;
}

static bool is_late(const sf_line_up *line_up, int64_t now)
{
  const sf_call *oldest = line_up->first;
  return line_up->held && now - oldest->submitted_ns >= oldest->deadline_ns - now;
}

static sf_call *next_of(const sf_line_up *line_up, int64_t now)
{
  return is_late(line_up, now) ? line_up->last : line_up->first;
}

/* Of the same priority. */
static bool goes_before(const sf_line_up *a, const sf_line_up *b, int64_t now)
{
  bool newest_first = is_late(a, now) && is_late(b, now);
  return newest_first ? a->last->arrival > b->last->arrival : next_of(a, now)->arrival < next_of(b, now)->arrival;
}

/* Older calls (retries) stand before younger ones. */
static void insert(sf_line_up *line_up, sf_call *call)
{
  sf_call *after = line_up->last;
  while (after != NULL && after->arrival > call->arrival) after = after->prev_waiting;
  call->prev_waiting = after;
  call->next_waiting = after != NULL ? after->next_waiting : line_up->first;
  if (call->next_waiting != NULL) call->next_waiting->prev_waiting = call;
  else line_up->last = call;
  if (after != NULL) after->next_waiting = call;
  else line_up->first = call;
}

static bool join(sf_queue *queue, sf_call *call)
{
  sf_line_up *line_up = find_line_up(queue, call);
  if (line_up == NULL) return false;
  insert(line_up, call);
  call->line_up = line_up;
  call->state = SF_CALL_WAITING;
  line_up->count++;
  queue->count++;
  queue->waiting[call->priority]++;
  return true;
}

static void drop_line_up(sf_queue *queue, sf_line_up *line_up)
{
  sf_line_up **place = &queue->line_ups;
  while (*place != line_up) place = &(*place)->next;
  *place = line_up->next;
  line_up->next = queue->spare;
  queue->spare = line_up;
}

static void leave(sf_queue *queue, sf_call *call)
{
  sf_line_up *line_up = call->line_up;
  if (call->prev_waiting != NULL) call->prev_waiting->next_waiting = call->next_waiting;
  else line_up->first = call->next_waiting;
  if (call->next_waiting != NULL) call->next_waiting->prev_waiting = call->prev_waiting;
  else line_up->last = call->prev_waiting;
  call->prev_waiting = call->next_waiting = NULL;
  call->line_up = NULL;
  line_up->count--;
  queue->count--;
  queue->waiting[call->priority]--;
  if (line_up->first == NULL && !queue->pumping) drop_line_up(queue, line_up);
}

void sf_queue_leave(sf_call *call)
{
  if (call->state == SF_CALL_ENCODING) sf_comeback_encoded(call);
  else if (call->line_up != NULL) leave(&call->client->queue, call);
  else return;
  sf_client_touch(call->client);
}

static void refuse(sf_call *call, sf_kind kind, int64_t until_ns, const char *message)
{
  if (until_ns != SF_NEVER) call->retry_at_ns = until_ns;
  uint32_t last = call->attempt_count;
  if (last > 0 && (kind == SF_KIND_DEADLINE || kind == SF_KIND_CIRCUIT_OPEN)) kind = call->trail[last - 1].kind;
  else last = 0;
  sf_call_settle(call, false, kind, last, message);
}

static const char *const hopeless_messages[SF_KIND_COUNT] = {
  [SF_KIND_CIRCUIT_OPEN] = "every line's circuit is open until after the deadline",
  [SF_KIND_DEADLINE] = "the wait for rate or a free slot would pass the deadline",
};

static sf_admission try(sf_call *call, int64_t now, sf_blockage *blockage)
{
  sf_admission result = sf_admission_try(call, now, blockage);
  if (result != SF_BLOCKED && call->line_up != NULL) leave(&call->client->queue, call);
  if (result == SF_NEEDS_ENCODE) {
    call->state = SF_CALL_ENCODING;
    sf_comeback_encodes(call, now);
    sf_waiter_wake(call->engine, &call->waiter);
  } else if (result == SF_HOPELESS) {
    refuse(call, blockage->kind, blockage->until_ns,
           blockage->message != NULL ? blockage->message : hopeless_messages[blockage->kind]);
  }
  return result;
}

/* Circuits that stay open past its deadline: a call behind the head is told so at once, like the head. */
static bool refuse_hasty(sf_call *call)
{
  int64_t until_ns = call->line_up->shut_until_ns;
  if (call->deadline_ns > until_ns) return false;
  leave(&call->client->queue, call);
  refuse(call, SF_KIND_CIRCUIT_OPEN, until_ns, hopeless_messages[SF_KIND_CIRCUIT_OPEN]);
  return true;
}

/* The head of a line-up has to wait; returns until when at most. */
static int64_t note_blockage(sf_line_up *line_up, const sf_blockage *blockage, int64_t now)
{
  bool shut = blockage->kind == SF_KIND_CIRCUIT_OPEN && !blockage->hopeful && blockage->until_ns != SF_NEVER;
  bool longer = shut && blockage->until_ns > line_up->shut_until_ns;
  int64_t wake_ns = sf_commons_wake(line_up->first->client->region, now, blockage->until_ns);
  line_up->blocked = true;
  line_up->circuit = blockage->kind == SF_KIND_CIRCUIT_OPEN;
  line_up->held |= line_up->circuit;
  line_up->wake_ns = wake_ns;
  line_up->shut_until_ns = shut ? blockage->until_ns : 0;
  for (sf_call *call = longer ? line_up->first : NULL, *next; call != NULL; call = next) {
    next = call->next_waiting;
    refuse_hasty(call);
  }
  return wake_ns;
}

/* With a request rate for the whole client, the wait behind those before it is known: can it be in time? */
static bool would_miss_deadline(const sf_call *call, int64_t now)
{
  const sf_client *client = call->client;
  if (!client->config.rate.has_requests) return false;
  double ahead = 0;
  for (int i = 0; i <= call->priority; i++) ahead += client->queue.waiting[i];
  double wait = (double)sf_gcra_peek(&client->words->requests, &client->config.rate.requests, now, 1) +
                ahead * client->config.rate.requests.period_ns;
  return wait > (double)(call->deadline_ns - now);
}

static void set_timer(sf_client *client, int64_t wake_ns)
{
  if (wake_ns != client->queue.timer.due_ns) sf_timers_set(&client->engine->timers, &client->queue.timer, wake_ns);
}

void sf_queue_enter(sf_call *call)
{
  sf_client *client = call->client;
  sf_queue *queue = &client->queue;
  int64_t now = sf_engine_now(call->engine);
  sf_blockage blockage;
  bool first = queue->count == 0, encoded = call->state == SF_CALL_ENCODING;
  if (encoded) {
    sf_comeback_encoded(call);
    call->state = SF_CALL_WAITING;
  }
  queue->spell += first;
  if (call->arrival == 0) call->arrival = ++queue->order;
  if (first && try(call, now, &blockage) != SF_BLOCKED) return;
  if (call->attempt_count == 0 && would_miss_deadline(call, now)) {
    refuse(call, SF_KIND_DEADLINE, SF_NEVER, hopeless_messages[SF_KIND_DEADLINE]);
    return;
  }
  if (!join(queue, call)) {
    refuse(call, SF_KIND_TOO_LARGE, SF_NEVER, "out of memory");
    return;
  }
  if (first) {
    set_timer(client, note_blockage(call->line_up, &blockage, now));
  } else if (encoded || call->line_up->first == call) {
    sf_queue_pump(client);
  } else if (refuse_hasty(call)) {
    return;
  }
  if (call->line_up == NULL) return;
  if (queue->count > queue->capacity && call->attempt_count == 0) {
    leave(queue, call);
    refuse(call, SF_KIND_QUEUE_FULL, SF_NEVER, "the queue is full");
    return;
  }
  sf_call_event(call, SF_EVENT_QUEUED, 0, 0, SF_KIND_OK, 0, 0);
}

/* The line-up that is next. */
static sf_line_up *next_line_up(const sf_queue *queue, int64_t now)
{
  sf_line_up *best = NULL;
  for (sf_line_up *each = queue->line_ups; each != NULL; each = each->next) {
    if (each->blocked || each->first == NULL) continue;
    bool better = best == NULL || each->priority < best->priority ||
                  (each->priority == best->priority && goes_before(each, best, now));
    if (better) best = each;
  }
  return best;
}

/* Line-ups that emptied are put away; the rest say when to pump again. */
static int64_t tidy(sf_queue *queue)
{
  int64_t wake = SF_NEVER;
  for (sf_line_up *each = queue->line_ups, *next; each != NULL; each = next) {
    next = each->next;
    if (each->first == NULL) drop_line_up(queue, each);
    else wake = sf_time_min(wake, each->wake_ns);
  }
  return wake;
}

void sf_queue_pump(sf_client *client)
{
  sf_queue *queue = &client->queue;
  if (queue->pumping || client->engine == NULL) return;
  queue->pumping = true;
  int64_t now = sf_engine_now(client->engine);
  sf_blockage blockage = { .client_wide = false };
  sf_comeback_watch(client, now);
  for (sf_line_up *each = queue->line_ups; each != NULL; each = each->next) {
    each->blocked = false;
    each->wake_ns = SF_NEVER;
  }
  for (sf_line_up *line_up; !blockage.client_wide && (line_up = next_line_up(queue, now)) != NULL;)
    if (try(next_of(line_up, now), now, &blockage) == SF_BLOCKED) note_blockage(line_up, &blockage, now);
    else blockage.client_wide = false;
  queue->pumping = false;
  set_timer(client, tidy(queue));
}

static bool may_go_to(const sf_call *call, uint32_t endpoint)
{
  for (uint32_t i = 0; i < call->plan->target_count; i++)
    if (call->plan->targets[i].endpoint == endpoint && !sf_target_set_has(&call->excluded, i)) return true;
  return false;
}

uint32_t sf_queue_count_for(const sf_client *client, uint32_t endpoint)
{
  uint32_t count = 0;
  for (const sf_line_up *each = client->queue.line_ups; each != NULL; each = each->next)
    if (each->first != NULL && may_go_to(each->first, endpoint)) count += each->count;
  return count;
}

void sf_queue_fini(sf_queue *queue)
{
  for (sf_line_up *each = queue->spare, *next; each != NULL; each = next) {
    next = each->next;
    sf_free(each);
  }
  queue->spare = NULL;
}
