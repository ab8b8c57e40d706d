/*
 * raw_transport.c: the same load as raw_curl.c through surefoot's reactor and libcurl transport, without engine and Lua:
 * what the seam itself costs.
 *
 *   cc -O2 -o raw_transport spec/bench/raw_transport.c csrc/engine/transport_curl*.c csrc/engine/reactor_epoll.c \
 *      csrc/engine/memory.c -lcurl -lpthread
 *   raw_transport URL BODY_FILE REQUESTS IN_FLIGHT
 */
#include <errno.h>

#include "../../csrc/engine/transport.h"
#include "load.h"

typedef struct slot {
  sf_exchange exchange;
  sf_request request;
  int64_t started;
  size_t bytes;
  int status;
} slot;

static size_t left_to_start, in_flight, finished_count;
static slot **finished;
static sf_reactor *reactor;
static sf_transport *transport;
static load measured;

static void on_connected(sf_exchange *exchange)
{
  (void)exchange;
}

static bool on_headers(sf_exchange *exchange, int status, const char *block, size_t length)
{
  (void)block, (void)length;
  ((slot *)exchange)->status = status;
  return true;
}

static bool on_body(sf_exchange *exchange, const char *data, size_t length)
{
  (void)data;
  ((slot *)exchange)->bytes += length;
  return true;
}

static void on_done(sf_exchange *exchange, const sf_done *done)
{
  slot *s = (slot *)exchange;
  in_flight--;
  load_count(&measured, s->started, done->result == SF_RESULT_COMPLETE && s->status == 200);
  finished[finished_count++] = s;
}

static const sf_exchange_up up = { on_connected, on_headers, on_body, on_done };

static void slot_start(slot *s)
{
  if (left_to_start == 0) return;
  left_to_start--;
  in_flight++;
  s->bytes = 0;
  s->status = 0;
  s->started = load_now();
  if (!transport->ops->start(transport, &s->exchange, s->started)) exit(1);
}

static void on_ready(void *context, int fd, unsigned events)
{
  (void)context;
  transport->ops->ready(transport, fd, events);
}

static void run(slot *slots, size_t count, size_t requests)
{
  load_begin(&measured, requests);
  left_to_start = requests;
  for (size_t i = 0; i < count; i++) slot_start(&slots[i]);
  int64_t now = load_now();
  while (in_flight > 0) {
    int64_t due = transport->ops->next_due(transport);
    int64_t wait = due == SF_NEVER ? SF_NEVER : due > now ? due - now : 0;
    if (reactor->ops->poll(reactor, wait) < 0 && errno != EINTR) exit(1);
    now = load_now();
    if (transport->ops->next_due(transport) <= now) transport->ops->turn(transport, now);
    for (size_t i = 0; i < finished_count; i++) slot_start(finished[i]);
    finished_count = 0;
  }
}

int main(int argc, char **argv)
{
  if (argc != 5) {
    fprintf(stderr, "usage: raw_transport URL BODY_FILE REQUESTS IN_FLIGHT\n");
    return 2;
  }
  static const char *const lines[] = { "Content-Type: application/json", "Authorization: Bearer sk-0123456789abcdef" };
  static const sf_line line = {
    .name = "bench",
    .tls_insecure = true,
    .dns_cache_ns = -1,
    .http_version = SF_HTTP_1_1,
    .keepalive_idle_ns = 50 * SF_SECOND,
    .keepalive_age_ns = 600 * SF_SECOND,
  };
  sf_request request = { .method = "POST", .url = argv[1], .headers = lines, .header_count = 2, .line = &line };
  request.header_limit = 256 * 1024;
  request.body = load_file(argv[2], &request.body_length);
  size_t requests = strtoul(argv[3], NULL, 10), count = strtoul(argv[4], NULL, 10);
  slot *slots = calloc(count, sizeof *slots);
  finished = calloc(count, sizeof(slot *));
  reactor = sf_reactor_epoll_new();
  if (reactor != NULL) transport = sf_transport_curl_new(reactor);
  if (count == 0 || slots == NULL || finished == NULL || transport == NULL) return 2;
  reactor->on_ready = on_ready;
  transport->ops->expect(transport, count);
  for (size_t i = 0; i < count; i++) {
    slots[i].request = request;
    slots[i].exchange = (sf_exchange){ .up = &up, .request = &slots[i].request };
  }
  run(slots, count, 2 * count);
  run(slots, count, requests);
  load_report(&measured);
  transport->ops->free(transport);
  reactor->ops->free(reactor);
  free(slots);
  free(finished);
  free((char *)request.body);
  return 0;
}
