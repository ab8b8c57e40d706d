/* transport_sim.c: scripted exchanges on the engine's timers; see transport_sim.h. */
#include "transport_sim.h"

#include <string.h>

#include "memory.h"

typedef enum { STAGE_UNSCRIPTED, STAGE_CONNECT, STAGE_HEADERS, STAGE_EVENTS, STAGE_HUNG } sf_sim_stage;

typedef struct sf_actor {
  struct sf_actor *prev, *next; /* of all exchanges in our hands */
  sf_transport *transport;
  sf_exchange *exchange;
  uint64_t id;
  sf_sim_stage stage;
  sf_timer timer;
  int64_t started_ns;
  sf_script script;
  char *block; /* headers and chunks of the script */
  sf_script_event *events;
  size_t event;         /* next one to come */
  bool paused, held_up; /* held_up: something was due meanwhile */
} sf_actor;

typedef struct sf_sim {
  sf_transport base; /* first */
  sf_engine *engine;
  sf_actor *first, *last;
  sf_actor *unseen; /* the oldest that the outside has not seen */
  sf_actor *seen;   /* the one seen last */
  uint64_t last_id;
} sf_sim;

static sf_sim *sim_of(sf_transport *transport)
{
  return (sf_sim *)transport;
}

static void actor_free(sf_actor *actor)
{
  sf_sim *sim = sim_of(actor->transport);
  sf_timers_clear(&sim->engine->timers, &actor->timer);
  sf_timers_unreserve(&sim->engine->timers, 1);
  if (sim->unseen == actor) sim->unseen = actor->next;
  if (sim->seen == actor) sim->seen = NULL;
  if (actor->prev != NULL) actor->prev->next = actor->next;
  else sim->first = actor->next;
  if (actor->next != NULL) actor->next->prev = actor->prev;
  else sim->last = actor->prev;
  actor->exchange->carrier = NULL;
  sf_free(actor->block);
  sf_free(actor->events);
  sf_free(actor);
}

static uint64_t bytes_of(const sf_request *request)
{
  return 1 + (request->upload != NULL ? request->upload->length : request->body_length);
}

static void finish(sf_actor *actor, sf_result result, sf_phase phase, const char *message)
{
  sf_exchange *exchange = actor->exchange;
  bool reused = actor->script.reused && !exchange->request->fresh;
  bool answered = actor->stage == STAGE_EVENTS;
  sf_done done = { .result = result,
                   .phase = phase,
                   .reused = reused,
                   .any_response = answered,
                   .message = message,
                   .bytes_sent = phase == SF_PHASE_CONNECT ? 0 : bytes_of(exchange->request) };
  actor_free(actor);
  exchange->up->done(exchange, &done);
}

static const struct {
  sf_result result;
  sf_cause cause;
  const char *message;
} connect_faults[] = {
  [SF_FAULT_RESOLVE] = { SF_RESULT_RESOLVE_FAILED, SF_CAUSE_NAME, "could not resolve host" },
  [SF_FAULT_CONNECT] = { SF_RESULT_CONNECT_FAILED, SF_CAUSE_REFUSED, "connection refused" },
  [SF_FAULT_TLS] = { SF_RESULT_TLS_FAILED, SF_CAUSE_NONE, "TLS handshake failed" },
};

static void schedule(sf_actor *actor, sf_sim_stage stage, int64_t at_ns)
{
  sf_sim *sim = sim_of(actor->transport);
  actor->stage = stage;
  int64_t due = sf_time_add(actor->started_ns, at_ns);
  sf_timers_set(&sim->engine->timers, &actor->timer, sf_time_max(due, sim->engine->virtual_now));
}

static void on_connect(sf_actor *actor)
{
  const sf_script *script = &actor->script;
  if (script->fault >= SF_FAULT_RESOLVE) {
    actor->exchange->link.cause = connect_faults[script->fault].cause;
    finish(actor, connect_faults[script->fault].result, SF_PHASE_CONNECT, connect_faults[script->fault].message);
    return;
  }
  actor->exchange->link.connect_us = (uint32_t)(script->connect_ns / 1000);
  actor->exchange->up->connected(actor->exchange);
  sf_body *upload = actor->exchange->request->upload;
  if (upload != NULL && !sf_body_is_intact(upload)) {
    finish(actor, SF_RESULT_BAD_REQUEST, SF_PHASE_FIRST_BYTE, upload->problem);
    return;
  }
  if (script->fault == SF_FAULT_HANG) actor->stage = STAGE_HUNG;
  else schedule(actor, STAGE_HEADERS, script->after_ns);
}

static void on_headers(sf_actor *actor)
{
  const sf_script *script = &actor->script;
  if (script->fault == SF_FAULT_RESET) {
    finish(actor, SF_RESULT_LOST, SF_PHASE_FIRST_BYTE, "connection reset by peer");
    return;
  }
  actor->stage = STAGE_EVENTS;
  if (!actor->exchange->up->headers(actor->exchange, script->status, script->headers, script->headers_length)) {
    finish(actor, SF_RESULT_TOO_LARGE, SF_PHASE_FIRST_BYTE, "response headers too large");
    return;
  }
  schedule(actor, STAGE_EVENTS, actor->event < script->event_count ? actor->events[0].at_ns : script->after_ns);
}

static void on_event(sf_actor *actor)
{
  const sf_script *script = &actor->script;
  while (actor->event < script->event_count) {
    const sf_script_event *event = &actor->events[actor->event];
    if (actor->started_ns + event->at_ns > sim_of(actor->transport)->engine->virtual_now) {
      schedule(actor, STAGE_EVENTS, event->at_ns);
      return;
    }
    if (actor->paused) {
      actor->held_up = true;
      return;
    }
    actor->event++;
    if (event->length > 0 && !actor->exchange->up->body(actor->exchange, event->data, event->length)) {
      finish(actor, SF_RESULT_TOO_LARGE, SF_PHASE_IDLE, "response body too large");
      return;
    }
  }
  if (script->fault == SF_FAULT_CUT)
    finish(actor, SF_RESULT_TRUNCATED, SF_PHASE_IDLE, "the connection closed before the end");
  else finish(actor, SF_RESULT_COMPLETE, SF_PHASE_IDLE, NULL);
}

static void actor_fire(sf_timer *timer, int64_t now)
{
  (void)now;
  sf_actor *actor = (sf_actor *)((char *)timer - offsetof(sf_actor, timer));
  if (actor->paused) {
    actor->held_up = true;
    return;
  }
  switch (actor->stage) {
  case STAGE_CONNECT: on_connect(actor); break;
  case STAGE_HEADERS: on_headers(actor); break;
  case STAGE_EVENTS: on_event(actor); break;
  default: break;
  }
}

/* ---- the vtable ---- */

static bool sim_start(sf_transport *transport, sf_exchange *exchange, int64_t now)
{
  sf_sim *sim = sim_of(transport);
  sf_actor *actor = sf_alloc_zero(sizeof *actor);
  if (actor == NULL || !sf_timers_reserve(&sim->engine->timers, 1)) {
    sf_free(actor);
    return false;
  }
  actor->transport = transport;
  actor->exchange = exchange;
  actor->id = ++sim->last_id;
  actor->started_ns = now;
  actor->timer = (sf_timer){ .due_ns = SF_NEVER, .fire = actor_fire };
  actor->prev = sim->last;
  if (sim->last != NULL) sim->last->next = actor;
  else sim->first = actor;
  sim->last = actor;
  if (sim->unseen == NULL) sim->unseen = actor;
  exchange->carrier = actor;
  exchange->link = (sf_link){ 0 };
  return true;
}

static void sim_cancel(sf_transport *transport, sf_exchange *exchange)
{
  (void)transport;
  if (exchange->carrier != NULL) actor_free(exchange->carrier);
}

static void sim_pause(sf_transport *transport, sf_exchange *exchange)
{
  (void)transport;
  sf_actor *actor = exchange->carrier;
  if (actor != NULL) actor->paused = true;
}

static void sim_resume(sf_transport *transport, sf_exchange *exchange)
{
  sf_actor *actor = exchange->carrier;
  if (actor == NULL || !actor->paused) return;
  actor->paused = false;
  if (!actor->held_up) return;
  actor->held_up = false;
  schedule(actor, actor->stage, sim_of(transport)->engine->virtual_now - actor->started_ns);
}

static bool sim_can_pause(sf_transport *transport, const sf_exchange *exchange)
{
  (void)transport;
  return exchange->carrier != NULL;
}

static void sim_ready(sf_transport *transport, int fd, unsigned events)
{
  (void)transport;
  (void)fd;
  (void)events;
}

static void sim_turn(sf_transport *transport, int64_t now)
{
  (void)transport;
  (void)now;
}

static int64_t sim_next_due(const sf_transport *transport)
{
  (void)transport;
  return SF_NEVER;
}

static void sim_expect(sf_transport *transport, size_t concurrent)
{
  (void)transport;
  (void)concurrent;
}

static void sim_free(sf_transport *transport)
{
  sf_sim *sim = sim_of(transport);
  while (sim->first != NULL) actor_free(sim->first);
  sf_free(sim);
}

static const sf_transport_ops sim_ops = {
  .start = sim_start,
  .cancel = sim_cancel,
  .run_dry = sim_cancel,
  .pause = sim_pause,
  .resume = sim_resume,
  .can_pause = sim_can_pause,
  .ready = sim_ready,
  .turn = sim_turn,
  .next_due = sim_next_due,
  .expect = sim_expect,
  .free = sim_free,
  .abandon = sim_free,
};

sf_transport *sf_transport_sim_new(sf_engine *engine)
{
  sf_sim *sim = sf_alloc_zero(sizeof *sim);
  if (sim == NULL) return NULL;
  sim->base.ops = &sim_ops;
  sim->engine = engine;
  return &sim->base;
}

uint64_t sf_transport_sim_started(sf_transport *transport, sf_exchange **exchange)
{
  sf_sim *sim = sim_of(transport);
  sf_actor *actor = sim->unseen;
  if (actor == NULL) return 0;
  sim->unseen = actor->next;
  sim->seen = actor;
  *exchange = actor->exchange;
  return actor->id;
}

static size_t script_bytes(const sf_script *script)
{
  size_t bytes = script->headers_length;
  for (size_t i = 0; i < script->event_count; i++) bytes += script->events[i].length;
  return bytes;
}

static bool copy_script(sf_actor *actor, const sf_script *script)
{
  actor->block = sf_alloc(script_bytes(script) + 1);
  actor->events = sf_alloc_zero((script->event_count + 1) * sizeof *actor->events);
  if (actor->block == NULL || actor->events == NULL) return false;
  actor->script = *script;
  char *to = actor->block;
  if (script->headers_length > 0) memcpy(to, script->headers, script->headers_length);
  actor->script.headers = to;
  to += script->headers_length;
  for (size_t i = 0; i < script->event_count; i++) {
    actor->events[i] = script->events[i];
    if (script->events[i].length > 0) memcpy(to, script->events[i].data, script->events[i].length);
    actor->events[i].data = to;
    to += script->events[i].length;
  }
  return true;
}

bool sf_transport_sim_script(sf_transport *transport, uint64_t id, const sf_script *script)
{
  sf_actor *actor = sim_of(transport)->seen;
  if (actor == NULL || actor->id != id) actor = sim_of(transport)->first;
  while (actor != NULL && actor->id != id) actor = actor->next;
  if (actor == NULL || actor->stage != STAGE_UNSCRIPTED) return false;
  bool copied = copy_script(actor, script);
  if (!copied) actor->script = (sf_script){ .fault = SF_FAULT_RESET };
  schedule(actor, STAGE_CONNECT, copied ? script->connect_ns : 0);
  return copied;
}
