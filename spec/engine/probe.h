/*
 * probe.h: the client's half of a transport test: an exchange that remembers everything it is told, and the loop that an
 * engine would run: poll the reactor, then turn the transport when it is due.
 */
#ifndef SF_TEST_PROBE_H
#define SF_TEST_PROBE_H

#include "../../csrc/engine/transport.h"
#include "check.h"

typedef struct probe {
  sf_exchange exchange;
  sf_request request;
  char url[256];
  int connected, headers, bodies, done; /* how often each came */
  int status;
  char block[4096];
  char *body;
  size_t body_length;
  sf_done end;
  char message[512];
  bool refuse_headers, refuse_body;
  bool cancel_in_headers, cancel_in_body, pause_in_body; /* told from inside the up-call */
} probe;

static sf_reactor *reactor;
static sf_transport *transport;
static sf_line plain_line = {
  .name = "line",
  .proxy = "",
  .dns_cache_ns = -1,
  .keepalive_idle_ns = 50 * SF_SECOND,
  .keepalive_age_ns = 600 * SF_SECOND,
};

static void probe_connected(sf_exchange *exchange)
{
  ((probe *)exchange)->connected++;
}

static bool probe_headers(sf_exchange *exchange, int status, const char *block, size_t length)
{
  probe *p = (probe *)exchange;
  p->headers++;
  p->status = status;
  snprintf(p->block, sizeof p->block, "%.*s", (int)length, block);
  if (p->cancel_in_headers) transport->ops->cancel(transport, exchange);
  return !p->refuse_headers;
}

static bool probe_body(sf_exchange *exchange, const char *data, size_t length)
{
  probe *p = (probe *)exchange;
  p->bodies++;
  p->body = realloc(p->body, p->body_length + length + 1);
  memcpy(p->body + p->body_length, data, length);
  p->body_length += length;
  p->body[p->body_length] = '\0';
  if (p->cancel_in_body) transport->ops->cancel(transport, exchange);
  if (p->pause_in_body && p->bodies == 1) transport->ops->pause(transport, exchange);
  return !p->refuse_body;
}

static void probe_done(sf_exchange *exchange, const sf_done *done)
{
  probe *p = (probe *)exchange;
  p->done++;
  p->end = *done;
  snprintf(p->message, sizeof p->message, "%s", done->message);
  p->end.message = p->message;
}

static const sf_exchange_up probe_up = { probe_connected, probe_headers, probe_body, probe_done };

static void probe_ready(void *context, int fd, unsigned events)
{
  (void)context;
  transport->ops->ready(transport, fd, events);
}

static void open_transport(void)
{
  reactor = sf_reactor_epoll_new();
  transport = reactor != NULL ? sf_transport_curl_new(reactor) : NULL;
  if (transport == NULL) abort();
  reactor->on_ready = probe_ready;
}

static void close_transport(void)
{
  transport->ops->free(transport);
  reactor->ops->free(reactor);
  transport = NULL;
  reactor = NULL;
}

/* A request for http://127.0.0.1:port/path; change `request` before it is started. */
static void probe_init(probe *p, const char *method, int port, const char *path)
{
  *p = (probe){ .exchange = { .up = &probe_up, .request = &p->request } };
  snprintf(p->url, sizeof p->url, "http://127.0.0.1:%d%s", port, path);
  p->request = (sf_request){ .method = method, .url = p->url, .line = &plain_line, .header_limit = 64 * 1024 };
}

static void probe_fini(probe *p)
{
  free(p->body);
  p->body = NULL;
}

static bool probe_start(probe *p)
{
  return transport->ops->start(transport, &p->exchange, check_now());
}

/* One turn that waits at most `most_ns`; returns how many sockets were ready. */
static int turn(int64_t most_ns)
{
  int64_t now = check_now(), due = transport->ops->next_due(transport);
  int64_t wait = due == SF_NEVER ? most_ns : due <= now ? 0 : sf_time_min(due - now, most_ns);
  int ready = reactor->ops->poll(reactor, wait);
  now = check_now();
  if (transport->ops->next_due(transport) <= now) transport->ops->turn(transport, now);
  return ready;
}

/* Turns until *counter is at least `least`; false after 30 seconds. */
static bool turn_until(const int *counter, int least)
{
  int64_t end = check_now() + 30 * SF_SECOND;
  while (*counter < least && check_now() < end) turn(SF_SECOND);
  return *counter >= least;
}

/* From start to done; false when it did not end. */
static bool probe_run(probe *p)
{
  if (!probe_start(p)) return false;
  bool ended = turn_until(&p->done, 1);
  CHECK_IS(p->done, 1);
  CHECK(p->exchange.carrier == NULL);
  if (!ended) transport->ops->cancel(transport, &p->exchange);
  return ended;
}

#endif
