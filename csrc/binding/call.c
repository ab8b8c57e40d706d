/*
 * call.c: client:submit and the methods of a call. Arguments are checked before anything is made; the userdata stands
 * before the call it holds, so that an error leaks nothing.
 */
#include <string.h>

#include "objects.h"
#include "policy.h"

/* Of a call's uservalue; the body of variant i (0-based) is at ANCHOR_BODIES + i. */
enum { ANCHOR_CLIENT = 1, ANCHOR_ENGINE, ANCHOR_BODIES };

enum { SPARE_CALLS = 64 }; /* of a client */

sf_call *sf_check_call(lua_State *L)
{
  sf_lua_call *object = sf_check_object(L, 1, SF_CALL_TYPE);
  luaL_argcheck(L, object->call != NULL, 1, "the call is gone");
  return object->call;
}

/* The call at argument 1; after a fork its engine is renewed first, which ends it as `closed`. */
static sf_call *check_call(lua_State *L)
{
  sf_call *call = sf_check_call(L);
  if (call->state != SF_CALL_SETTLED && sf_engine_is_stale(call->engine)) sf_engine_renew(call->engine);
  return call;
}

/* ---- submit: (client, engine, plan, options) ---- */

static const char *string_field(lua_State *L, const char *name, size_t *length)
{
  lua_getfield(L, 4, name);
  const char *text = lua_tolstring(L, -1, length);
  if (text == NULL) *length = 0;
  lua_pop(L, 1); /* the options table keeps it */
  return text;
}

static double number_option(lua_State *L, const char *name, double otherwise)
{
  lua_getfield(L, 4, name);
  double value = lua_isnumber(L, -1) ? lua_tonumber(L, -1) : otherwise;
  lua_pop(L, 1);
  return value;
}

static bool read_timeouts(lua_State *L, sf_timeouts *timeout)
{
  static const struct {
    const char *name;
    size_t offset;
  } phases[] = {
    { "connect", offsetof(sf_timeouts, connect) },         { "first_byte", offsetof(sf_timeouts, first_byte) },
    { "first_token", offsetof(sf_timeouts, first_token) }, { "idle", offsetof(sf_timeouts, idle) },
    { "attempt", offsetof(sf_timeouts, attempt) },
  };
  lua_getfield(L, 4, "timeout");
  bool given = lua_istable(L, -1);
  for (size_t i = 0; given && i < sizeof phases / sizeof *phases; i++) {
    lua_getfield(L, -1, phases[i].name);
    *(int64_t *)((char *)timeout + phases[i].offset) = sf_check_seconds(L, lua_gettop(L), -1);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return given;
}

/* Keeps the body (on top of the stack, popped) of variant `index` alive with the call at `object`. */
static void anchor_body(lua_State *L, int object, uint32_t index)
{
  lua_getuservalue(L, object);
  lua_insert(L, -2);
  lua_rawseti(L, -2, ANCHOR_BODIES + (int)index);
  lua_pop(L, 1);
}

static void encode_first(lua_State *L, int object, sf_call *call)
{
  double variant = number_option(L, "variant", 0);
  if (variant < 1 || variant > call->plan->variant_count) {
    if (call->upload != NULL) luaL_error(L, "upload: variant expected");
    return;
  }
  size_t length, headers_length, body_length;
  const char *method = string_field(L, "method", &length), *path = string_field(L, "path", &length);
  const char *headers = string_field(L, "variant_headers", &headers_length),
             *body = string_field(L, "body", &body_length);
  if (method == NULL || path == NULL) luaL_error(L, "method and path expected");
  lua_getfield(L, 4, call->upload != NULL ? "upload" : "body");
  anchor_body(L, object, (uint32_t)variant - 1);
  sf_call_encode(call, (uint32_t)variant - 1, method, path, headers, headers_length, body, body_length);
}

/* `without`: a list of endpoints. */
static void leave_out(lua_State *L, sf_call *call)
{
  lua_getfield(L, 4, "without");
  size_t count = lua_istable(L, -1) ? lua_rawlen(L, -1) : 0;
  for (size_t i = 1; i <= count; i++) {
    lua_rawgeti(L, -1, (int)i);
    sf_call_leave_out(call, (uint32_t)lua_tointeger(L, -1) - 1);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

/*
 * Call objects are used again: a userdata with a finalizer costs the collector more than all the rest of a call. The spare
 * ones are a list in the client's uservalue.
 */
static bool push_spare(lua_State *L)
{
  lua_getuservalue(L, 1);
  size_t count = lua_rawlen(L, -1);
  if (count == 0) {
    lua_pop(L, 1);
    return false;
  }
  lua_rawgeti(L, -1, (int)count);
  lua_pushnil(L);
  lua_rawseti(L, -3, (int)count);
  lua_remove(L, -2);
  lua_getuservalue(L, -1);
  lua_rawgeti(L, -1, ANCHOR_ENGINE);
  bool same = lua_rawequal(L, -1, 2); /* an object older than its engine would be finalized after it */
  lua_pop(L, same ? 2 : 3);
  return same;
}

static sf_lua_call *push_call_object(lua_State *L)
{
  if (push_spare(L)) return lua_touserdata(L, -1);
  sf_lua_call *object = lua_newuserdata(L, sizeof *object);
  object->call = NULL;
  lua_createtable(L, ANCHOR_BODIES, 0);
  lua_pushvalue(L, 1);
  lua_rawseti(L, -2, ANCHOR_CLIENT);
  lua_pushvalue(L, 2);
  lua_rawseti(L, -2, ANCHOR_ENGINE);
  lua_setuservalue(L, -2);
  luaL_getmetatable(L, SF_CALL_TYPE);
  lua_setmetatable(L, -2);
  return object;
}

/* Lets the bodies of the call object at index 1 go, and puts it to the spare ones. */
static void spare_call_object(lua_State *L, uint32_t variants)
{
  lua_getuservalue(L, 1);
  for (uint32_t i = 0; i < variants; i++) {
    lua_pushnil(L);
    lua_rawseti(L, -2, ANCHOR_BODIES + (int)i);
  }
  lua_rawgeti(L, -1, ANCHOR_CLIENT);
  lua_getuservalue(L, -1);
  size_t count = lua_rawlen(L, -1);
  if (count < SPARE_CALLS) {
    lua_pushvalue(L, 1);
    lua_rawseti(L, -2, (int)count + 1);
  }
  lua_pop(L, 3);
}

/* -> call; or nil and what is wrong with one of its files */
int sf_lua_submit(lua_State *L)
{
  sf_client *client = sf_check_client(L, 1);
  sf_engine *engine = sf_check_engine(L, 2);
  lua_Integer plan = luaL_checkinteger(L, 3);
  luaL_checktype(L, 4, LUA_TTABLE);
  lua_settop(L, 4);
  luaL_argcheck(L, plan >= 1 && plan <= (lua_Integer)client->plan_count, 3, "no such plan");
  sf_timeouts timeout;
  lua_getfield(L, 4, "deadline");
  sf_call_options options = {
    .plan = client->plans[plan - 1],
    .deadline_ns = sf_check_seconds(L, lua_gettop(L), SF_NEVER),
    .estimate = number_option(L, "estimate", 0),
  };
  lua_pop(L, 1);
  double priority = number_option(L, "priority", 2);
  luaL_argcheck(L, priority >= 1 && priority <= SF_PRIORITIES, 4, "priority 1 to 3 expected");
  options.priority = (int)priority - 1;
  options.purpose = (uint32_t)number_option(L, "purpose", 0);
  double max_attempts = number_option(L, "max_attempts", 0);
  luaL_argcheck(L, max_attempts >= 0 && max_attempts < 1e6, 4, "max_attempts: 1 or more expected");
  options.max_attempts = (uint32_t)max_attempts;
  options.headers = string_field(L, "headers", &options.headers_length);
  options.timeout = read_timeouts(L, &timeout) ? &timeout : NULL;
  sf_hedging hedging = client->config.hedging;
  lua_getfield(L, 4, "hedge");
  if (!lua_isnil(L, -1)) {
    sf_lua_read_hedging(L, lua_gettop(L), &hedging);
    options.hedging = &hedging;
  }
  lua_pop(L, 1);
  lua_getfield(L, 4, "events");
  options.events = lua_toboolean(L, -1);
  lua_pop(L, 1);
  lua_getfield(L, 4, "stream");
  options.stream = lua_toboolean(L, -1);
  lua_pop(L, 1);
  sf_lua_call *object = push_call_object(L);
  if (!sf_client_attach(client, engine)) return luaL_error(L, "not enough memory");
  if (!sf_lua_open_files(L, 4, &options)) {
    lua_pushnil(L);
    lua_insert(L, -2);
    return 2;
  }
  object->call = sf_call_new(client, engine, &options); /* nothing throws while the files are nobody's */
  if (object->call == NULL) {
    sf_lua_close_files(&options);
    return luaL_error(L, "not enough memory");
  }
  leave_out(L, object->call);
  encode_first(L, 5, object->call);
  sf_call_submit(object->call);
  return 1;
}

/* ---- questions and answers ---- */

/* The body of an answer, or how many bytes of it are in the call's file. */
static void push_body(lua_State *L, const sf_attempt *attempt)
{
  if (attempt->sinks) sf_push_count(L, attempt->call->sink->length);
  else lua_pushlstring(L, attempt->body.data != NULL ? attempt->body.data : "", attempt->body.length);
}

static int push_response(lua_State *L, const sf_attempt *attempt)
{
  const sf_target *target = &attempt->call->plan->targets[attempt->target];
  lua_pushliteral(L, "response");
  lua_pushinteger(L, (lua_Integer)attempt->number);
  lua_pushinteger(L, (lua_Integer)target->endpoint + 1);
  lua_pushinteger(L, (lua_Integer)target->route + 1);
  lua_pushinteger(L, attempt->status);
  lua_pushlstring(L, attempt->headers.data != NULL ? attempt->headers.data : "", attempt->headers.length);
  push_body(L, attempt);
  lua_pushstring(L, attempt->result == SF_RESULT_COMPLETE ? "complete" : "truncated");
  return 8;
}

/* "event", attempt, endpoint, route, name or nil, data, must decide */
static int push_event(lua_State *L, const sf_question *question)
{
  const sf_target *target = &question->attempt->call->plan->targets[question->attempt->target];
  lua_pushliteral(L, "event");
  lua_pushinteger(L, (lua_Integer)question->attempt->number);
  lua_pushinteger(L, (lua_Integer)target->endpoint + 1);
  lua_pushinteger(L, (lua_Integer)target->route + 1);
  if (question->event_name.length > 0) lua_pushlstring(L, question->event_name.data, question->event_name.length);
  else lua_pushnil(L);
  lua_pushlstring(L, question->event.length > 0 ? question->event.data : "", question->event.length);
  lua_pushboolean(L, question->must_decide);
  return 7;
}

/* "ended", attempt, endpoint, route, kind, phase, message: a stream stopped, and nobody has called it complete. */
static int push_ended(lua_State *L, const sf_attempt *attempt)
{
  const sf_target *target = &attempt->call->plan->targets[attempt->target];
  sf_failure failure = sf_attempt_failure(attempt);
  lua_pushliteral(L, "ended");
  lua_pushinteger(L, (lua_Integer)attempt->number);
  lua_pushinteger(L, (lua_Integer)target->endpoint + 1);
  lua_pushinteger(L, (lua_Integer)target->route + 1);
  lua_pushstring(L, sf_kind_name(failure.kind));
  lua_pushstring(L, sf_phase_name(failure.phase));
  lua_pushstring(L, attempt->message);
  return 7;
}

/* "settled", ok, kind, deciding attempt; and of a success latency, time to first token, receipt (nil: see call:trail). */
static int push_settled(lua_State *L, const sf_call *call)
{
  lua_pushliteral(L, "settled");
  lua_pushboolean(L, call->ok);
  lua_pushstring(L, sf_kind_name(call->kind));
  lua_pushinteger(L, (lua_Integer)call->deciding);
  if (!call->ok) return 4;
  lua_pushnumber(L, (double)(call->settled_ns - call->submitted_ns) / 1e9);
  if (call->first_token_ns >= 0) lua_pushnumber(L, (double)call->first_token_ns / 1e9);
  else lua_pushnil(L);
  sf_push_receipt(L, call);
  return 7;
}

static int call_next(lua_State *L)
{
  sf_call *call = check_call(L);
  sf_question question = sf_call_next(call);
  switch (question.name) {
  case SF_QUESTION_ENCODE: {
    const sf_target *target = &call->plan->targets[question.target];
    lua_pushliteral(L, "encode");
    lua_pushinteger(L, (lua_Integer)target->variant + 1);
    lua_pushinteger(L, (lua_Integer)question.target + 1);
    lua_pushinteger(L, (lua_Integer)target->endpoint + 1);
    lua_pushinteger(L, (lua_Integer)target->route + 1);
    return 5;
  }
  case SF_QUESTION_RESPONSE: return push_response(L, question.attempt);
  case SF_QUESTION_EVENT: return push_event(L, &question);
  case SF_QUESTION_ENDED: return push_ended(L, question.attempt);
  case SF_QUESTION_SETTLED: return push_settled(L, call);
  default: lua_pushliteral(L, "wait"); return 1;
  }
}

static uint32_t check_variant(lua_State *L, const sf_call *call)
{
  lua_Integer variant = luaL_checkinteger(L, 2);
  luaL_argcheck(L, variant >= 1 && variant <= (lua_Integer)call->plan->variant_count, 2, "no such variant");
  return (uint32_t)variant - 1;
}

/* call:encode(variant, method, path, headers, body) */
static int call_encode(lua_State *L)
{
  sf_call *call = check_call(L);
  size_t headers_length, body_length;
  uint32_t variant = check_variant(L, call);
  const char *method = luaL_checkstring(L, 3), *path = luaL_checkstring(L, 4);
  const char *headers = luaL_optlstring(L, 5, "", &headers_length);
  const char *body = luaL_optlstring(L, 6, NULL, &body_length);
  lua_settop(L, 6);
  if (call->variants[variant].state != SF_VARIANT_WANTED) return 0; /* its bytes may be on their way */
  anchor_body(L, 1, variant);
  sf_call_encode(call, variant, method, path, headers, headers_length, body, body != NULL ? body_length : 0);
  return 0;
}

static int check_kind(lua_State *L, int arg, const char *otherwise)
{
  int kind = sf_kind_by_name(luaL_optstring(L, arg, otherwise));
  luaL_argcheck(L, kind >= 0, arg, "an error kind expected");
  return kind;
}

static int call_skip(lua_State *L)
{
  sf_call *call = check_call(L);
  sf_call_skip(call, check_variant(L, call), (sf_kind)check_kind(L, 3, "invalid_request"));
  return 0;
}

/* call:answer(attempt, class, kind, code, wait, tokens, message) */
static int call_answer(lua_State *L)
{
  sf_call *call = check_call(L);
  lua_Integer attempt = luaL_checkinteger(L, 2);
  int cls = sf_class_by_name(luaL_optstring(L, 3, "none"));
  luaL_argcheck(L, cls >= 0, 3, "a verdict class expected");
  sf_answer answer = {
    .cls = (sf_class)cls,
    .kind = (sf_kind)check_kind(L, 4, "ok"),
    .wait_ns = sf_check_seconds(L, 6, -1),
    .tokens = luaL_optnumber(L, 7, -1),
    .message = luaL_optstring(L, 8, NULL),
  };
  if (answer.cls > SF_CLASS_ACCEPT && answer.kind == SF_KIND_OK)
    return luaL_argerror(L, 4, "a failure needs an error kind");
  if (attempt > 0) sf_call_answer(call, (uint32_t)attempt, &answer);
  return 0;
}

/* call:head(attempt) -> status, headers: what a live attempt was answered with */
static int call_head(lua_State *L)
{
  const sf_call *call = check_call(L);
  lua_Integer number = luaL_checkinteger(L, 2);
  for (const sf_attempt *attempt = call->live; attempt != NULL; attempt = attempt->next) {
    if (attempt->number != (uint32_t)number) continue;
    lua_pushinteger(L, attempt->status);
    lua_pushlstring(L, attempt->headers.data != NULL ? attempt->headers.data : "", attempt->headers.length);
    return 2;
  }
  return 0;
}

/* call:commit(attempt): the event that was given last is content, and the caller's */
static int call_commit(lua_State *L)
{
  sf_call *call = check_call(L);
  lua_Integer attempt = luaL_checkinteger(L, 2);
  if (attempt > 0) sf_call_commit(call, (uint32_t)attempt);
  return 0;
}

/* call:finishing(attempt, whether): every choice has finished */
static int call_finishing(lua_State *L)
{
  sf_call *call = check_call(L);
  lua_Integer attempt = luaL_checkinteger(L, 2);
  if (attempt > 0) sf_call_finishing(call, (uint32_t)attempt, lua_toboolean(L, 3));
  return 0;
}

/* call:cancel(kind, more): with `more` nobody moves up yet, since other calls are about to be cancelled too. */
static int call_cancel(lua_State *L)
{
  sf_lua_call *object = sf_check_object(L, 1, SF_CALL_TYPE);
  if (object->call == NULL) return 0; /* finalized, but still in some weak table */
  sf_call *call = check_call(L);
  sf_call_cancel(call, (sf_kind)check_kind(L, 2, "cancelled"));
  if (!lua_toboolean(L, 3) && !sf_engine_is_stale(call->engine)) sf_engine_turned(call->engine);
  return 0;
}

static int call_id(lua_State *L)
{
  lua_pushnumber(L, (lua_Number)sf_check_call(L)->waiter.id);
  return 1;
}

/* Returns the engine that has to hear of it, NULL when the call had settled (its engine may be gone). */
static sf_engine *free_call(sf_call *call)
{
  sf_engine *engine = call->state != SF_CALL_SETTLED ? call->engine : NULL;
  if (engine != NULL && sf_engine_is_stale(engine)) sf_engine_renew(engine);
  sf_call_free(call);
  return engine;
}

/* The owner knows all it wants to know: the object may serve another call. */
static int call_free(lua_State *L)
{
  sf_lua_call *object = sf_check_object(L, 1, SF_CALL_TYPE);
  sf_call *call = object->call;
  if (call == NULL) return 0;
  uint32_t variants = call->plan->variant_count;
  object->call = NULL;
  sf_engine *engine = free_call(call);
  if (engine != NULL) sf_engine_turned(engine);
  spare_call_object(L, variants);
  return 0;
}

/* The owner is gone: what still runs is cancelled at once, before the strings that it points into may be collected. */
static int call_gc(lua_State *L)
{
  sf_lua_call *object = sf_check_object(L, 1, SF_CALL_TYPE);
  sf_call *call = object->call;
  object->call = NULL;
  sf_engine *engine = call != NULL ? free_call(call) : NULL;
  if (engine != NULL) sf_engine_postpone(engine);
  return 0;
}

void sf_open_call(lua_State *L)
{
  static const luaL_Reg methods[] = {
    { "id", call_id },
    { "next", call_next },
    { "encode", call_encode },
    { "skip", call_skip },
    { "answer", call_answer },
    { "head", call_head },
    { "commit", call_commit },
    { "finishing", call_finishing },
    { "cancel", call_cancel },
    { "trail", sf_lua_call_trail },
    { "info", sf_lua_call_info },
    { "events", sf_lua_call_events },
    { "free", call_free },
    { NULL, NULL },
  };
  sf_new_class(L, SF_CALL_TYPE, methods, call_gc);
  lua_pushcfunction(L, sf_lua_read_receipt);
  lua_setfield(L, -2, "read_receipt");
}
