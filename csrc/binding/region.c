/*
 * region.c: core.region: what processes share by name, for people to look at: which regions there are, and the words of one
 * as a table. Looking takes part in nothing, except that processes which are gone are found.
 */
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "../engine/client.h"
#include "../share/allowance.h"
#include "objects.h"

#define FOLDER "/dev/shm"

/* (DIR *) -> the list; protected, so that the folder is closed even if memory is short. */
static int fill_list(lua_State *L)
{
  DIR *folder = lua_touserdata(L, 1);
  const struct dirent *entry;
  lua_newtable(L);
  for (int count = 0; (entry = readdir(folder)) != NULL;) {
    unsigned uid;
    unsigned long namespace;
    char name[SF_REGION_NAME + 1], path[SF_REGION_NAME + 64];
    if (sscanf(entry->d_name, "surefoot-%u-%lx-%64s", &uid, &namespace, name) != 3) continue;
    lua_createtable(L, 0, 4);
    sf_set_string(L, "name", name);
    sf_set_count(L, "uid", uid);
    sf_set_count(L, "namespace", namespace);
    sf_set_flag(L, "own", sf_region_path(name, path, sizeof path) && strcmp(path + sizeof FOLDER, entry->d_name) == 0);
    lua_rawseti(L, -2, ++count);
  }
  return 1;
}

/* region.list() -> { { name, uid, namespace (of pids), own (this process can open it) } ... } */
static int region_list(lua_State *L)
{
  lua_settop(L, 0);
  lua_pushcfunction(L, fill_list);
  DIR *folder = opendir(FOLDER);
  if (folder == NULL) {
    lua_newtable(L);
    return 1;
  }
  lua_pushlightuserdata(L, folder);
  int status = lua_pcall(L, 1, 1, 0);
  closedir(folder);
  return status == 0 ? 1 : lua_error(L);
}

/* region.unlink(name) -> true | nil, why: who has it open keeps it, the next open makes a new one */
static int region_unlink(lua_State *L)
{
  if (sf_region_unlink(luaL_checkstring(L, 1))) {
    lua_pushboolean(L, true);
    return 1;
  }
  lua_pushnil(L);
  lua_pushstring(L, strerror(errno));
  return 2;
}

/* ---- the words of one */

/* t[name] = seconds from now until a time; not set where that has passed. */
static void set_until(lua_State *L, const char *name, const _Atomic int64_t *at, int64_t now)
{
  int64_t left = atomic_load_explicit(at, memory_order_relaxed) - now;
  if (left > 0) sf_set_number(L, name, (double)left / SF_SECOND);
}

/* t.in_flight, and t.by_process = { [pid] = count }. */
static void set_held(lua_State *L, const sf_region *region, const sf_cells *cells)
{
  size_t cursor = 0;
  int32_t pid;
  uint32_t count, sum = 0;
  lua_newtable(L);
  while (sf_cells_next(region, cells, &cursor, &pid, &count)) {
    lua_pushinteger(L, (lua_Integer)count);
    lua_rawseti(L, -2, pid);
    sum += count;
  }
  lua_setfield(L, -2, "by_process");
  sf_set_count(L, "in_flight", sum);
}

/* t.limit, where it adapts. */
static void set_limit(lua_State *L, const sf_concurrency_level *level)
{
  uint32_t limit = atomic_load_explicit(&level->limit, memory_order_relaxed);
  if (limit != 0) sf_set_count(L, "limit", limit);
}

static void push_client(lua_State *L, const sf_region *region, const sf_common_client *client, int64_t now)
{
  lua_createtable(L, 0, 6);
  set_held(L, region, &client->cells);
  set_limit(L, &client->words.level);
  sf_set_number(L, "retry_spent", (double)atomic_load_explicit(&client->words.budget.spent, memory_order_relaxed));
  set_until(L, "requests_full_in", &client->words.requests.arrival, now);
  set_until(L, "tokens_full_in", &client->words.tokens.arrival, now);
}

/* t[names...] = the lines of the key; the last name takes the rest. */
static void set_key(lua_State *L, const sf_region_entry *entry, const char *const *names)
{
  const char *from = entry->key, *end = entry->key + entry->key_length;
  for (; *names != NULL && from <= end; names++) {
    const char *stop = names[1] != NULL ? memchr(from, '\n', (size_t)(end - from)) : NULL;
    if (stop == NULL) stop = end;
    lua_pushlstring(L, from, (size_t)(stop - from));
    lua_setfield(L, -2, *names);
    from = stop + 1;
  }
}

static void push_endpoint(lua_State *L, const sf_region *region, const sf_region_entry *entry, int64_t now)
{
  static const char *const names[] = { "name", "url", NULL };
  const sf_common_endpoint *endpoint = entry->place;
  int64_t left = 0, latency = sf_ewma_value(&endpoint->words.latency, now, SF_NEVER);
  sf_breaker_state state = sf_breaker_state_at(&endpoint->words.breaker, NULL, now, &left);
  lua_createtable(L, 0, 10);
  set_key(L, entry, names);
  set_held(L, region, &endpoint->cells);
  set_limit(L, &endpoint->words.level);
  sf_set_string(L, "breaker", sf_breaker_state_name(state));
  if (state == SF_BREAKER_OPEN) sf_set_number(L, "breaker_seconds_left", (double)left / SF_SECOND);
  if (latency < 0) return;
  uint32_t at = (uint32_t)atomic_load_explicit(&endpoint->words.latency.word, memory_order_relaxed);
  int32_t age = (int32_t)((uint32_t)(now / SF_MILLISECOND) - at);
  sf_set_number(L, "latency", (double)latency / SF_SECOND);
  sf_set_number(L, "latency_age", age > 0 ? (double)age / 1e3 : 0);
}

static void push_lane(lua_State *L, const sf_region_entry *entry, int64_t now)
{
  static const char *const names[] = { "endpoint", "url", "model", "key", NULL };
  const sf_lane *lane = entry->place;
  const sf_adaptive_config config = sf_adaptive_config_default();
  double rate = sf_adaptive_rate(&lane->adaptive, &config, now), tokens = sf_quota_pace_rate(&lane->token_pace, now);
  lua_createtable(L, 0, 11);
  set_key(L, entry, names);
  sf_set_count(L, "sent", atomic_load_explicit(&lane->sent, memory_order_relaxed));
  sf_set_count(L, "sent_tokens", atomic_load_explicit(&lane->sent_tokens, memory_order_relaxed));
  if (isfinite(rate)) sf_set_number(L, "requests_per_second", rate);
  if (isfinite(tokens)) sf_set_number(L, "tokens_per_second", tokens);
  set_until(L, "blocked_for", &lane->blocked_until, now);
  set_until(L, "requests_full_in", &lane->requests.arrival, now);
  set_until(L, "tokens_full_in", &lane->tokens.arrival, now);
}

static void push_allowance(lua_State *L, const sf_region *region, const sf_region_entry *entry, int64_t now)
{
  static const char *const names[] = { "name", NULL };
  const sf_common_allowance *allowance = entry->place;
  lua_createtable(L, 0, 5);
  set_key(L, entry, names);
  set_held(L, region, &allowance->cells);
  set_until(L, "requests_full_in", &allowance->words.requests.arrival, now);
  set_until(L, "tokens_full_in", &allowance->words.tokens.arrival, now);
}

/* The key is "per seconds name", as in share/allowance.c. */
static void push_spend(lua_State *L, const sf_region_entry *entry)
{
  static const char *const names[] = { "total", "hour", "day", "month", "seconds" };
  char text[SF_REGION_KEY + 1];
  int per = 0, from = 0;
  long long seconds = 0;
  struct timespec wall;
  clock_gettime(CLOCK_REALTIME, &wall);
  snprintf(text, sizeof text, "%.*s", (int)entry->key_length, entry->key);
  lua_createtable(L, 0, 5);
  if (sscanf(text, "%d %lld %n", &per, &seconds, &from) < 2 || per < SF_PER_TOTAL || per > SF_PER_SECONDS) return;
  const sf_spend_config config = { .limit = SF_SPEND_MOST,
                                   .per = (sf_spend_per)per,
                                   .seconds = seconds > 0 ? seconds : 1 };
  int64_t at = (int64_t)wall.tv_sec * SF_SECOND + wall.tv_nsec, left = sf_spend_resets_in(entry->place, &config, at);
  sf_set_string(L, "name", text + from);
  sf_set_string(L, "per", names[per]);
  if (per == SF_PER_SECONDS) sf_set_number(L, "seconds", (double)seconds);
  sf_set_number(L, "spent", (double)sf_spend_spent(entry->place, &config, at) / 1e6);
  if (left != SF_NEVER) sf_set_number(L, "resets_in", (double)left / SF_SECOND);
}

/* Appends the value on top to the list below it. */
static void append(lua_State *L, int list)
{
  lua_rawseti(L, list, (int)lua_rawlen(L, list) + 1);
}

static void push_processes(lua_State *L, const sf_region *region)
{
  int32_t pids[SF_REGION_PROCESSES];
  size_t count = sf_region_processes(region, pids, SF_REGION_PROCESSES);
  lua_createtable(L, (int)count, 0);
  for (size_t i = 0; i < count; i++) {
    lua_pushinteger(L, pids[i]);
    lua_rawseti(L, -2, (int)i + 1);
  }
}

enum { DOCUMENT = 2, ENDPOINTS, LANES, ALLOWANCES, SPENDS }; /* places on the stack */

/* Puts a place into its list; false: it is of a kind that is not known here. */
static bool add_entry(lua_State *L, const sf_region *region, const sf_region_entry *entry, int64_t now)
{
  if (entry->kind == SF_PLACE_CLIENT && entry->size == sizeof(sf_common_client)) {
    push_client(L, region, entry->place, now);
    lua_setfield(L, DOCUMENT, "client");
  } else if (entry->kind == SF_PLACE_ENDPOINT && entry->size == sizeof(sf_common_endpoint)) {
    push_endpoint(L, region, entry, now);
    append(L, ENDPOINTS);
  } else if (entry->kind == SF_PLACE_LANE && entry->size == sizeof(sf_lane)) {
    push_lane(L, entry, now);
    append(L, LANES);
  } else if (entry->kind == SF_PLACE_ALLOWANCE && entry->size == sizeof(sf_common_allowance)) {
    push_allowance(L, region, entry, now);
    append(L, ALLOWANCES);
  } else if (entry->kind == SF_PLACE_SPEND && entry->size == sizeof(sf_spend)) {
    push_spend(L, entry);
    append(L, SPENDS);
  } else {
    return false;
  }
  return true;
}

/* (region) -> the document; protected, so that the region is released even if memory is short. */
static int fill(lua_State *L)
{
  sf_region *region = lua_touserdata(L, 1);
  int64_t now = sf_clock_now();
  sf_region_entry entry;
  size_t cursor = 0;
  uint64_t others = 0;
  sf_commons_reap(region, now);
  lua_settop(L, 1);
  for (int i = DOCUMENT; i <= SPENDS; i++) lua_newtable(L);
  while (sf_region_next(region, &cursor, &entry))
    if (!add_entry(L, region, &entry, now)) others++;
  lua_setfield(L, DOCUMENT, "spends");
  lua_setfield(L, DOCUMENT, "allowances");
  lua_setfield(L, DOCUMENT, "lanes");
  lua_setfield(L, DOCUMENT, "endpoints");
  push_processes(L, region);
  lua_setfield(L, DOCUMENT, "processes");
  sf_set_count(L, "refused", sf_region_refused(region));
  sf_set_count(L, "others", others);
  return 1;
}

/*
 * region.read(name) -> a table | nil, why: processes (ids), client, endpoints, lanes (rates by endpoint, key and model),
 * allowances and spends (of those who call a gateway), refused (what found no room), others (places of other kinds).
 */
static int region_read(lua_State *L)
{
  char problem[SF_REGION_PROBLEM];
  sf_region *region = sf_region_open(luaL_checkstring(L, 1), true, problem);
  if (region == NULL) {
    lua_pushnil(L);
    lua_pushstring(L, problem);
    return 2;
  }
  lua_pushcfunction(L, fill);
  lua_pushlightuserdata(L, region);
  int status = lua_pcall(L, 1, 1, 0);
  sf_region_release(region);
  return status == 0 ? 1 : lua_error(L);
}

void sf_open_region(lua_State *L)
{
  static const luaL_Reg functions[] = {
    { "list", region_list }, { "read", region_read }, { "unlink", region_unlink }, { NULL, NULL }
  };
  lua_newtable(L);
  luaL_setfuncs(L, functions, 0);
  lua_setfield(L, -2, "region");
}
