/* client.c: making, attaching and closing a client; its keys, lanes, models and plans; see client.h. */
#include "client.h"

#include <string.h>

#include "call.h"

static void queue_fire(sf_timer *timer, int64_t now)
{
  (void)now;
  sf_client *client = (sf_client *)((char *)timer - offsetof(sf_client, queue.timer));
  sf_queue_pump(client);
}

static void endpoint_init(sf_endpoint *endpoint)
{
  endpoint->words = &endpoint->own_words;
  sf_endpoint_words_init(endpoint->words);
  sf_concurrency_init(&endpoint->slots.held);
  endpoint->slots.level = &endpoint->words->level;
}

sf_client *sf_client_new(const sf_client_config *config, uint32_t endpoint_count, uint32_t queue_capacity)
{
  sf_client *client = sf_alloc_zero(sizeof *client);
  if (client == NULL) return NULL;
  client->endpoints = sf_alloc_zero(endpoint_count * sizeof *client->endpoints);
  if (client->endpoints == NULL) {
    sf_free(client);
    return NULL;
  }
  client->config = *config;
  client->endpoint_count = endpoint_count;
  client->references = 1;
  client->queue.capacity = queue_capacity;
  client->queue.timer.due_ns = SF_NEVER;
  client->queue.timer.fire = queue_fire;
  client->words = &client->own_words;
  sf_client_words_init(client->words);
  sf_concurrency_init(&client->slots.held);
  client->slots.level = &client->words->level;
  sf_hedge_init(&client->hedge, &config->hedging.config);
  for (uint32_t i = 0; i < endpoint_count; i++) endpoint_init(&client->endpoints[i]);
  return client;
}

static void free_strings(char **strings)
{
  if (strings == NULL) return;
  for (char **each = strings; *each != NULL; each++) sf_free(*each);
  sf_free(strings);
}

static void wipe_keys(sf_endpoint *endpoint)
{
  for (size_t i = 0; i < endpoint->key_count; i++) {
    sf_key *key = &endpoint->keys[i];
    if (key->header == NULL) continue;
    sf_wipe(key->header, key->length);
    sf_free(key->header);
    key->header = NULL;
  }
}

/* Keyless endpoints have one place, for the lane without a key. */
static size_t key_places(const sf_endpoint *endpoint)
{
  return endpoint->key_count > 0 ? endpoint->key_count : 1;
}

static void endpoint_fini(sf_endpoint *endpoint)
{
  wipe_keys(endpoint);
  sf_free(endpoint->keys);
  free_strings(endpoint->headers);
  free_strings(endpoint->owned);
  free_strings((char **)endpoint->line.resolve);
  for (size_t i = 0; i < endpoint->lane_models * key_places(endpoint); i++) sf_free(endpoint->own_lanes[i]);
  sf_free(endpoint->own_lanes);
  sf_free(endpoint->lanes);
  sf_free(endpoint->url);
  sf_numbers_free(&endpoint->numbers);
}

void sf_client_retain(sf_client *client)
{
  client->references++;
}

void sf_client_release(sf_client *client)
{
  if (--client->references > 0) return;
  sf_client_detach(client);
  for (uint32_t i = 0; i < client->endpoint_count; i++) endpoint_fini(&client->endpoints[i]);
  for (size_t i = 0; i < client->model_count; i++) sf_free(client->models[i]);
  for (size_t i = 0; i < client->plan_count; i++) sf_free(client->plans[i]);
  sf_free(client->endpoints);
  sf_free(client->models);
  sf_free(client->plans);
  sf_queue_fini(&client->queue);
  for (sf_usual *each = client->usuals, *next; each != NULL; each = next) {
    next = each->next;
    sf_free(each);
  }
  sf_numbers_free(&client->numbers);
  sf_region_release(client->region);
  sf_free(client);
}

sf_hedge *sf_client_usual(sf_client *client, uint32_t purpose, uint32_t model, bool streams)
{
  for (sf_usual *each = client->usuals; each != NULL; each = each->next)
    if (each->purpose == purpose && each->model == model && each->streams == streams) return &each->hedge;
  sf_usual *usual = client->usual_count < SF_MAX_USUALS ? sf_alloc(sizeof *usual) : NULL;
  if (usual == NULL) return &client->hedge;
  usual->next = client->usuals;
  usual->purpose = purpose;
  usual->model = model;
  usual->streams = streams;
  sf_hedge_init(&usual->hedge, &client->config.hedging.config);
  client->usuals = usual;
  client->usual_count++;
  return &usual->hedge;
}

void sf_client_close(sf_client *client, sf_kind kind)
{
  client->closed = true;
  while (client->calls != NULL) sf_call_settle(client->calls, false, kind, 0, "the client was closed");
  for (uint32_t i = 0; i < client->endpoint_count; i++) wipe_keys(&client->endpoints[i]);
}

bool sf_client_attach(sf_client *client, sf_engine *engine)
{
  if (client->engine == engine) return true;
  if (client->engine != NULL) {
    while (client->calls != NULL) sf_call_settle(client->calls, false, SF_KIND_CLOSED, 0, "begun on another engine");
    sf_client_detach(client);
  }
  if (!sf_timers_reserve(&engine->timers, 1)) return false;
  client->engine = engine;
  client->next = engine->clients;
  engine->clients = client;
  int64_t now = sf_engine_now(engine);
  for (uint32_t i = 0; i < client->endpoint_count; i++) {
    int64_t never = 0;
    atomic_compare_exchange_strong(&client->endpoints[i].words->started_at, &never, now);
  }
  engine->transport->ops->expect(engine->transport, client->config.concurrency.limit);
  return true;
}

void sf_client_detach(sf_client *client)
{
  sf_engine *engine = client->engine;
  if (engine == NULL) return;
  sf_timers_clear(&engine->timers, &client->queue.timer);
  sf_timers_unreserve(&engine->timers, 1);
  sf_client **place = &engine->clients;
  while (*place != client) place = &(*place)->next;
  *place = client->next;
  for (sf_client **dirty = &engine->dirty; *dirty != NULL; dirty = &(*dirty)->next_dirty)
    if (*dirty == client) {
      *dirty = client->next_dirty;
      break;
    }
  client->dirty = false;
  client->engine = NULL;
}

void sf_client_touch(sf_client *client)
{
  if (client->dirty || client->engine == NULL || (client->queue.count == 0 && client->unpaid == NULL)) return;
  client->dirty = true;
  client->next_dirty = client->engine->dirty;
  client->engine->dirty = client;
}

/* ---- models, lanes, plans, keys ---- */

static bool grow(void **array, size_t count, size_t size)
{
  if (count % 16 != 0) return true;
  void *grown = sf_realloc(*array, (count + 16) * size);
  if (grown == NULL) return false;
  *array = grown;
  return true;
}

int sf_client_model(sf_client *client, const char *name, size_t length)
{
  for (size_t i = 0; i < client->model_count; i++)
    if (strlen(client->models[i]) == length && memcmp(client->models[i], name, length) == 0) return (int)i;
  if (client->model_count == SF_MAX_MODELS) return SF_MAX_MODELS - 1;
  char *copy = sf_copy_string(name, length);
  if (copy == NULL || !grow((void **)&client->models, client->model_count, sizeof *client->models)) {
    sf_free(copy);
    return -1;
  }
  client->models[client->model_count] = copy;
  return (int)client->model_count++;
}

static bool grow_lanes(sf_endpoint *endpoint, uint32_t model)
{
  if (model < endpoint->lane_models) return true;
  size_t models = model + 8, old = endpoint->lane_models * key_places(endpoint), all = models * key_places(endpoint);
  sf_lane ***lists[] = { &endpoint->lanes, &endpoint->own_lanes };
  for (int i = 0; i < 2; i++) {
    sf_lane **grown = sf_realloc(*lists[i], all * sizeof *grown);
    if (grown == NULL) return false;
    memset(grown + old, 0, (all - old) * sizeof *grown);
    *lists[i] = grown;
  }
  endpoint->lane_models = models;
  return true;
}

sf_lane *sf_client_lane(sf_client *client, uint32_t endpoint_index, uint32_t key, uint32_t model)
{
  sf_endpoint *endpoint = &client->endpoints[endpoint_index];
  if (!grow_lanes(endpoint, model)) return NULL;
  size_t index = model * key_places(endpoint) + key;
  sf_lane *lane = endpoint->lanes[index];
  if (lane != NULL) return lane;
  if (client->region != NULL) lane = sf_commons_lane(client, endpoint_index, key, model);
  if (lane == NULL) {
    lane = endpoint->own_lanes[index] = sf_alloc_zero(sizeof *lane);
    if (lane == NULL) return NULL;
    sf_lane_init(lane);
  }
  endpoint->lanes[index] = lane;
  return lane;
}

sf_plan *sf_client_plan(sf_client *client, const sf_target *targets, uint32_t count)
{
  sf_plan *plan = sf_alloc_zero(sizeof *plan + count * sizeof *targets);
  if (plan == NULL || !grow((void **)&client->plans, client->plan_count, sizeof *client->plans)) {
    sf_free(plan);
    return NULL;
  }
  plan->target_count = count;
  for (uint32_t i = 0; i < count; i++) {
    plan->targets[i] = targets[i];
    if (targets[i].route >= plan->route_count) plan->route_count = targets[i].route + 1;
    if (targets[i].variant >= plan->variant_count) plan->variant_count = targets[i].variant + 1;
  }
  plan->id = (uint32_t)client->plan_count;
  client->plans[client->plan_count++] = plan;
  return plan;
}

bool sf_client_set_key(sf_client *client, uint32_t endpoint, uint32_t key, const char *header, size_t length)
{
  char *copy = sf_copy_string(header, length);
  if (copy == NULL) return false;
  sf_key *slot = &client->endpoints[endpoint].keys[key];
  if (slot->header != NULL) {
    sf_wipe(slot->header, slot->length);
    sf_free(slot->header);
  }
  *slot = (sf_key){ .header = copy, .length = length };
  return true;
}
