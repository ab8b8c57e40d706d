/* call_report.c: what there is to know of a call: its trail, its numbers, what its observer is told. */
#include <string.h>

#include "objects.h"

/* Why there is no connection; "proxy_" stands before it where the cause lies there. */
static const char *const cause_names[] = {
  [SF_CAUSE_NAME] = "name_unknown",           [SF_CAUSE_REFUSED] = "refused",
  [SF_CAUSE_UNREACHABLE] = "unreachable",     [SF_CAUSE_UNTRUSTED] = "certificate_untrusted",
  [SF_CAUSE_EXPIRED] = "certificate_expired", [SF_CAUSE_OTHER_NAME] = "certificate_name",
  [SF_CAUSE_FILE] = "certificate_file",       [SF_CAUSE_NOT_TLS] = "not_tls",
  [SF_CAUSE_CREDENTIALS] = "credentials",     [SF_CAUSE_DENIED] = "denied",
  [SF_CAUSE_OPEN_FILES] = "open_files",
};

/* One step of the way to a connection: the seconds from the end of the one before, `*from`, to its own. */
static void set_step(lua_State *L, const char *name, uint32_t *from, uint32_t to)
{
  if (to < *from || to == 0) return;
  sf_set_number(L, name, (double)(to - *from) / 1e6);
  *from = to;
}

/* Into the table on top of the stack. */
static void set_link(lua_State *L, const sf_link *link)
{
  uint32_t from = 0;
  set_step(L, "dns", &from, link->resolve_us);
  set_step(L, "tcp", &from, link->connect_us);
  set_step(L, "tls", &from, link->tls_us);
  if (link->addresses[0] != '\0') sf_set_string(L, "address", link->addresses);
  if (link->cause == SF_CAUSE_NONE) return;
  lua_pushfstring(L, "%s%s", link->proxy ? "proxy_" : "", cause_names[link->cause]);
  lua_setfield(L, -2, "cause");
}

/*
 * What there is to know of a call that succeeded at once, as one string: most results are never asked for their trail, and
 * the call need not live on for those that are. Read by core.read_receipt.
 */
typedef struct sf_receipt {
  double waited, latency, first_byte; /* seconds */
  uint32_t endpoint, key, route;      /* 0-based */
  int status;
  bool reused, restarted;
  bool linked; /* a new connection: its sf_link follows, before the model's name */
} sf_receipt;

void sf_push_receipt(lua_State *L, const sf_call *call)
{
  const sf_trail *trail = &call->trail[0];
  const char *model = call->client->models[trail->model];
  size_t length = strlen(model), link = trail->link.connect_us > 0 ? sizeof trail->link : 0;
  char text[sizeof(sf_receipt) + sizeof(sf_link) + 128];
  if (call->attempt_count != 1 || length > 128) {
    lua_pushnil(L);
    return;
  }
  sf_receipt receipt;
  memset(&receipt, 0, sizeof receipt);
  receipt.waited = (double)trail->waited_ns / 1e9;
  receipt.latency = (double)trail->latency_ns / 1e9;
  receipt.first_byte = trail->first_byte_ns >= 0 ? (double)trail->first_byte_ns / 1e9 : -1;
  receipt.endpoint = trail->endpoint;
  receipt.key = trail->key;
  receipt.route = trail->route;
  receipt.status = trail->status;
  receipt.reused = trail->reused;
  receipt.restarted = trail->restarted;
  receipt.linked = link > 0;
  memcpy(text, &receipt, sizeof receipt);
  memcpy(text + sizeof receipt, &trail->link, link);
  memcpy(text + sizeof receipt + link, model, length); /* NOLINT(bugprone-not-null-terminated-result): a slice */
  lua_pushlstring(L, text, sizeof receipt + link + length);
}

/* core.read_receipt(receipt) -> the one entry of the trail, as call:trail gives it */
int sf_lua_read_receipt(lua_State *L)
{
  size_t length;
  const char *text = luaL_checklstring(L, 1, &length);
  sf_receipt receipt;
  luaL_argcheck(L, length >= sizeof receipt, 1, "no receipt");
  memcpy(&receipt, text, sizeof receipt);
  sf_link link = { 0 };
  size_t model = sizeof receipt;
  if (receipt.linked) {
    luaL_argcheck(L, length >= model + sizeof link, 1, "no receipt");
    memcpy(&link, text + model, sizeof link);
    model += sizeof link;
  }
  lua_createtable(L, 0, 18);
  sf_set_count(L, "endpoint", receipt.endpoint + 1);
  sf_set_count(L, "key", receipt.key + 1);
  sf_set_count(L, "route", receipt.route + 1);
  lua_pushlstring(L, text + model, length - model);
  lua_setfield(L, -2, "model");
  sf_set_count(L, "status", (uint64_t)receipt.status);
  sf_set_string(L, "kind", sf_kind_name(SF_KIND_OK));
  sf_set_number(L, "waited", receipt.waited);
  sf_set_number(L, "latency", receipt.latency);
  if (receipt.first_byte >= 0) sf_set_number(L, "first_byte", receipt.first_byte);
  set_link(L, &link);
  sf_set_flag(L, "hedge", false);
  sf_set_flag(L, "reused", receipt.reused);
  if (receipt.restarted) sf_set_flag(L, "restarted", true);
  return 1;
}

static void push_trail(lua_State *L, const sf_call *call, const sf_trail *trail)
{
  int64_t latency = trail->ended ? trail->latency_ns : sf_engine_now(call->engine) - trail->started_ns;
  lua_createtable(L, 0, 18);
  sf_set_count(L, "endpoint", trail->endpoint + 1);
  sf_set_count(L, "key", trail->key + 1);
  sf_set_count(L, "route", trail->route + 1);
  sf_set_string(L, "model", call->client->models[trail->model]);
  if (trail->status > 0) sf_set_count(L, "status", (uint64_t)trail->status);
  if (trail->ended) sf_set_string(L, "kind", sf_kind_name(trail->kind));
  if (trail->phase != SF_PHASE_NONE) sf_set_string(L, "phase", sf_phase_name(trail->phase));
  sf_set_number(L, "waited", (double)trail->waited_ns / 1e9);
  sf_set_number(L, "latency", (double)latency / 1e9);
  if (trail->first_byte_ns >= 0) sf_set_number(L, "first_byte", (double)trail->first_byte_ns / 1e9);
  set_link(L, &trail->link);
  sf_set_flag(L, "hedge", trail->hedge);
  sf_set_flag(L, "reused", trail->reused);
  if (trail->restarted) sf_set_flag(L, "restarted", true);
  if (trail->message[0] != '\0') sf_set_string(L, "message", trail->message);
}

int sf_lua_call_trail(lua_State *L)
{
  sf_call *call = sf_check_call(L);
  lua_createtable(L, (int)call->attempt_count, 0);
  for (uint32_t i = 0; i < call->attempt_count; i++) {
    push_trail(L, call, &call->trail[i]);
    lua_rawseti(L, -2, (int)i + 1);
  }
  return 1;
}

static double waited_seconds(const sf_call *call)
{
  double waited = 0;
  for (uint32_t i = 0; i < call->attempt_count; i++) waited += (double)call->trail[i].waited_ns / 1e9;
  return waited;
}

static void set_retry_at(lua_State *L, const sf_call *call)
{
  if (call->retry_at_ns == SF_NEVER) return;
  double after = (double)(call->retry_at_ns - call->settled_ns) / 1e9;
  sf_set_number(L, "retry_after", after > 0 ? after : 0);
  sf_set_number(L, "retry_at", (call->engine->simulated ? (double)call->settled_ns / 1e9 : sf_clock_unix()) + after);
}

int sf_lua_call_info(lua_State *L)
{
  sf_call *call = sf_check_call(L);
  bool settled = call->state == SF_CALL_SETTLED;
  const sf_trail *deciding = settled && call->deciding > 0 ? &call->trail[call->deciding - 1] : NULL;
  lua_createtable(L, 0, 12);
  sf_set_number(L, "latency",
                (double)((settled ? call->settled_ns : sf_engine_now(call->engine)) - call->submitted_ns) / 1e9);
  sf_set_number(L, "waited", waited_seconds(call));
  if (call->first_token_ns >= 0) sf_set_number(L, "time_to_first_token", (double)call->first_token_ns / 1e9);
  sf_set_count(L, "attempts", call->attempt_count);
  sf_set_flag(L, "sent", call->sent);
  if (settled) set_retry_at(L, call);
  if (deciding != NULL) {
    sf_set_count(L, "endpoint", deciding->endpoint + 1);
    sf_set_count(L, "route", deciding->route + 1);
  }
  if (call->phase != SF_PHASE_NONE) sf_set_string(L, "phase", sf_phase_name(call->phase));
  if (call->message[0] != '\0') sf_set_string(L, "message", call->message);
  return 1;
}

int sf_lua_call_events(lua_State *L)
{
  static const char *const names[] = {
    [SF_EVENT_QUEUED] = "queued",
    [SF_EVENT_ATTEMPT_STARTED] = "attempt_started",
    [SF_EVENT_FIRST_TOKEN] = "first_token",
    [SF_EVENT_RETRIED] = "retried",
    [SF_EVENT_HEDGED] = "hedged",
    [SF_EVENT_FAILED_OVER] = "failed_over",
    [SF_EVENT_BREAKER_CHANGED] = "breaker_changed",
    [SF_EVENT_RATE_CHANGED] = "rate_changed",
    [SF_EVENT_SETTLED] = "settled",
  };
  sf_call *call = sf_check_call(L);
  lua_createtable(L, (int)call->event_count, 0);
  for (size_t i = 0; i < call->event_count; i++) {
    const sf_event *event = &call->events[i];
    lua_createtable(L, 2, 0);
    lua_pushstring(L, names[event->name]);
    lua_rawseti(L, -2, 1);
    lua_createtable(L, 0, 6);
    sf_set_number(L, "at", (double)event->at_ns / 1e9);
    if (event->attempt > 0) {
      sf_set_count(L, "attempt", event->attempt);
      sf_set_count(L, "endpoint", event->endpoint + 1);
    }
    if (event->kind != SF_KIND_OK || event->name == SF_EVENT_SETTLED)
      sf_set_string(L, "kind", sf_kind_name(event->kind));
    sf_set_number(L, "wait", (double)event->wait_ns / 1e9);
    if (event->name == SF_EVENT_BREAKER_CHANGED)
      sf_set_string(L, "breaker", sf_breaker_state_name((sf_breaker_state)event->value));
    if (event->name == SF_EVENT_RATE_CHANGED) sf_set_number(L, "rate", event->value);
    lua_rawseti(L, -2, 2);
    lua_rawseti(L, -2, (int)i + 1);
  }
  call->event_count = 0;
  return 1;
}
