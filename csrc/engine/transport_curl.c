/*
 * transport_curl.c: the transport on libcurl: one multi handle, driven by curl_multi_socket_action; see transport.h.
 *
 * libcurl's timer is a number and its sockets are interest in the reactor: neither callback makes a system call in the
 * steady state, and libcurl is never entered from a callback. What ends is collected in `turn`. An error of the multi handle
 * leaves every transfer uncertain: all are reported as lost, and the handle is made anew.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport_curl.h"

enum { STREAMS_PER_CONNECTION = 100, CONNECTIONS_SPARE = 16 };

/* An exchange whose end was told by its contents may have so much left, for so long. */
#define DRY_NS SF_SECOND
enum { DRY_BYTES = 16 * 1024 };

#define AT_ONCE INT64_C(0) /* a time that has always come */

/* ---- once per process ---- */

static CURLcode global_state = CURLE_FAILED_INIT;

static void ignore_signal(int number)
{
  (void)number;
}

/*
 * With NOSIGNAL set libcurl leaves SIGPIPE to us, and OpenSSL, pipes of resolver threads and old libcurls do raise it when a
 * peer is gone. Blocking it around every turn would cost two system calls each, so a process that would die of it gets an
 * empty handler instead, once. Not SIG_IGN: that would be inherited by the programs it starts, a handler is not.
 */
static void survive_broken_pipes(void)
{
  struct sigaction action;
  if (sigaction(SIGPIPE, NULL, &action) != 0 || (action.sa_flags & SA_SIGINFO) || action.sa_handler != SIG_DFL) return;
  memset(&action, 0, sizeof action);
  action.sa_handler = ignore_signal;
  action.sa_flags = SA_RESTART;
  sigaction(SIGPIPE, &action, NULL);
}

/* Never undone: other users of libcurl, and its resolver threads, may outlive us. */
static void init_global(void)
{
  global_state = curl_global_init(CURL_GLOBAL_DEFAULT);
  sf_carrier_prepare();
  survive_broken_pipes();
}

const char *sf_transport_curl_version(void)
{
  return curl_version();
}

/* ---- sockets ---- */

/* Of a socket that came to nothing libcurl 7.88 may not tell that it closed it, so fresh ones are looked at. */
enum { FRESH = 1, PROVEN };

static bool is_ours(const sf_curl *curl, int fd)
{
  return fd >= 0 && (size_t)fd < curl->opened_capacity && curl->opened[fd] != 0;
}

static bool note_opened(sf_curl *curl, int fd)
{
  if ((size_t)fd >= curl->opened_capacity) {
    size_t capacity = ((size_t)fd + 1) * 2;
    uint8_t *opened = sf_realloc(curl->opened, capacity);
    if (opened == NULL) return false;
    memset(opened + curl->opened_capacity, 0, capacity - curl->opened_capacity);
    curl->opened = opened;
    curl->opened_capacity = capacity;
  }
  curl->opened[fd] = FRESH;
  return true;
}

curl_socket_t sf_curl_on_open(void *context, curlsocktype purpose, struct curl_sockaddr *address)
{
  (void)purpose;
  sf_carrier *carrier = context;
  if (carrier->exchange == NULL) return CURL_SOCKET_BAD;
  if (carrier->requested) { /* a repetition of a request that died on a kept connection; see sf_carrier_on_connected */
    carrier->again = true;
    return CURL_SOCKET_BAD;
  }
  int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
  if (fd < 0) {
    if (errno == EMFILE || errno == ENFILE) carrier->unfiled = errno;
    return CURL_SOCKET_BAD;
  }
  if (!note_opened(carrier->owner, fd)) {
    close(fd);
    return CURL_SOCKET_BAD;
  }
  carrier->owner->reactor->ops->forget(carrier->owner->reactor, fd); /* whatever had the number before */
  carrier->opened = true;
  carrier->socket = fd;
  sf_carrier_tries(carrier, &address->addr);
  return fd;
}

int sf_curl_on_close(void *context, curl_socket_t fd)
{
  sf_curl *curl = context;
  curl->reactor->ops->forget(curl->reactor, fd);
  if (is_ours(curl, fd)) curl->opened[fd] = 0;
  return close(fd);
}

/* A connection was made and used: from now on its end will be told. */
static void prove_socket(const sf_carrier *carrier)
{
  curl_socket_t fd;
  if (!carrier->opened || curl_easy_getinfo(carrier->easy, CURLINFO_ACTIVESOCKET, &fd) != CURLE_OK) return;
  if (is_ours(carrier->owner, fd)) carrier->owner->opened[fd] = PROVEN;
}

static bool closed_in_silence(sf_curl *curl, int fd)
{
  if (curl->opened[fd] != FRESH || fcntl(fd, F_GETFD) >= 0) return false;
  curl->opened[fd] = 0;
  return true;
}

/* What is paused is not read, though libcurl 8.5 asks for it. An HTTP/2 connection is not its streams' own. */
static unsigned watched(const sf_carrier *carrier)
{
  return carrier->paused && !carrier->http2 ? carrier->wanted & ~(unsigned)SF_IO_READ : carrier->wanted;
}

static bool watch_again(const sf_carrier *carrier)
{
  sf_reactor *reactor = carrier->owner->reactor;
  return carrier->socket == CURL_SOCKET_BAD || reactor->ops->want(reactor, carrier->socket, watched(carrier));
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *socket_context)
{
  (void)socket_context;
  static const unsigned wanted[] = {
    [CURL_POLL_IN] = SF_IO_READ,
    [CURL_POLL_OUT] = SF_IO_WRITE,
    [CURL_POLL_INOUT] = SF_IO_READ | SF_IO_WRITE,
    [CURL_POLL_REMOVE] = 0,
  };
  sf_curl *curl = context;
  sf_reactor *reactor = curl->reactor;
  sf_carrier *carrier = NULL; /* newer libcurls hand over handles of their own here */
  if (curl_easy_getinfo(easy, CURLINFO_PRIVATE, &carrier) == CURLE_OK && carrier != NULL) {
    carrier->socket = what != CURL_POLL_REMOVE ? fd : CURL_SOCKET_BAD;
    carrier->wanted = wanted[what];
    if (what & CURL_POLL_IN) sf_carrier_listens(carrier);
  }
  /* a resolver's will be closed without a word to us */
  if (what == CURL_POLL_REMOVE && (!is_ours(curl, fd) || closed_in_silence(curl, fd))) {
    reactor->ops->forget(reactor, fd);
    return 0;
  }
  return reactor->ops->want(reactor, fd, carrier != NULL ? watched(carrier) : wanted[what]) ? 0 : -1;
}

static int on_timer(CURLM *multi, long timeout_ms, void *context)
{
  (void)multi;
  sf_curl *curl = context;
  if (timeout_ms < 0) curl->due_ns = SF_NEVER;
  else curl->due_ns = timeout_ms == 0 ? AT_ONCE : curl->now_ns + timeout_ms * SF_MILLISECOND;
  return 0;
}

/* ---- the multi handle ---- */

static bool set_connection_cache(sf_curl *curl)
{
  long most = (long)(curl->expected + curl->expected / 4 + CONNECTIONS_SPARE);
  return curl_multi_setopt(curl->multi, CURLMOPT_MAXCONNECTS, most) == CURLM_OK;
}

static bool make_multi(sf_curl *curl)
{
  curl->due_ns = SF_NEVER;
  curl->capped = false;
  curl->multi = curl_multi_init();
  if (curl->multi == NULL) return false;
  if (curl_multi_setopt(curl->multi, CURLMOPT_SOCKETFUNCTION, on_socket) == CURLM_OK &&
      curl_multi_setopt(curl->multi, CURLMOPT_SOCKETDATA, curl) == CURLM_OK &&
      curl_multi_setopt(curl->multi, CURLMOPT_TIMERFUNCTION, on_timer) == CURLM_OK &&
      curl_multi_setopt(curl->multi, CURLMOPT_TIMERDATA, curl) == CURLM_OK &&
      curl_multi_setopt(curl->multi, CURLMOPT_MAX_CONCURRENT_STREAMS, (long)STREAMS_PER_CONNECTION) == CURLM_OK &&
      set_connection_cache(curl))
    return true;
  curl_multi_cleanup(curl->multi);
  curl->multi = NULL;
  return false;
}

/* A burst of HTTP/2 requests would open a connection each before the first one stands. Only lines that ask for HTTP/2 by
 * name count as sharing: a server that was merely offered it may refuse, and must not get a single connection. */
static void cap_connections(sf_curl *curl)
{
  bool capped = curl->together > 0 && !curl->cap_harms;
  if (!capped && !curl->capped) return;
  size_t shared = (curl->together + STREAMS_PER_CONNECTION - 1) / STREAMS_PER_CONNECTION;
  curl_multi_setopt(curl->multi, CURLMOPT_MAX_HOST_CONNECTIONS, capped ? (long)(curl->alone + shared) : 0L);
  curl->capped = capped;
}

/* Takes a carrier from libcurl; its exchange, if it had one, is nobody's now. */
static sf_exchange *take_back(sf_carrier *carrier)
{
  sf_curl *curl = carrier->owner;
  sf_exchange *exchange = carrier->exchange;
  if (curl->multi != NULL) curl_multi_remove_handle(curl->multi, carrier->easy);
  carrier->exchange = NULL;
  if (exchange != NULL) exchange->carrier = NULL;
  if (carrier->shared) curl->together--;
  else curl->alone--;
  return exchange;
}

/* libcurl (7.88 as 8.14) leaves the reset of a stream lying in its buffer, and the provider at work for nobody: closing the
 * connection tells it, unless others use it. */
static void abort_stream(sf_carrier *carrier)
{
  if (!carrier->requested || !carrier->http2) return;
  curl_easy_setopt(carrier->easy, CURLOPT_FORBID_REUSE, 1L);
  carrier->print = 0;
}

static void finish(sf_carrier *carrier, CURLcode code)
{
  sf_done done;
  bool ran_dry = carrier->dry_until_ns > 0 && code == CURLE_OK;
  if (carrier->exchange == NULL && !ran_dry) abort_stream(carrier);
  prove_socket(carrier);
  if (carrier->exchange != NULL) sf_carrier_report(carrier, code, &done);
  if (carrier->shared && carrier->any_response && !carrier->http2) carrier->owner->cap_harms = true;
  sf_exchange *exchange = take_back(carrier);
  if (exchange != NULL) exchange->up->done(exchange, &done);
  sf_carrier_put(carrier);
}

/* Ends what could not be ended while libcurl was on the stack. */
static void bury_fallen(sf_curl *curl)
{
  while (curl->fallen != NULL) finish(curl->fallen, curl->fallen->failure);
}

/* The multi handle is broken: everything in it is lost. */
static void start_over(sf_curl *curl, CURLMcode code)
{
  CURLM *broken = curl->multi;
  curl->inside = true;
  for (sf_carrier *carrier = curl->running; carrier != NULL; carrier = carrier->next)
    curl_multi_remove_handle(broken, carrier->easy);
  for (sf_carrier *carrier = curl->fallen; carrier != NULL; carrier = carrier->next)
    curl_multi_remove_handle(broken, carrier->easy);
  curl_multi_cleanup(broken);
  curl->inside = false;
  curl->multi = NULL;
  while (curl->running != NULL) {
    sf_carrier *carrier = curl->running;
    carrier->failure = CURLE_RECV_ERROR;
    strncpy(carrier->error, curl_multi_strerror(code), sizeof carrier->error - 1);
    sf_carrier_move(carrier, &curl->fallen);
  }
  bury_fallen(curl);
  while (curl->idle != NULL) sf_carrier_free(curl->idle);
  curl->idle_count = 0;
  make_multi(curl);
}

static void drive(sf_curl *curl, curl_socket_t fd, int events)
{
  if (curl->multi == NULL) return;
  int running;
  curl->inside = true;
  CURLMcode code = curl_multi_socket_action(curl->multi, fd, events, &running);
  curl->inside = false;
  curl->undrained = true;
  if (code != CURLM_OK) start_over(curl, code);
}

/* ---- what the engine calls ---- */

static bool transport_start(sf_transport *transport, sf_exchange *exchange, int64_t now)
{
  sf_curl *curl = (sf_curl *)transport;
  if (curl->inside || (curl->multi == NULL && !make_multi(curl))) return false;
  sf_carrier *carrier = sf_carrier_take(curl, exchange->request);
  if (carrier == NULL) return false;
  curl->now_ns = now;
  carrier->exchange = exchange;
  carrier->started_ns = now;
  exchange->carrier = carrier;
  exchange->link = (sf_link){ 0 };
  sf_carrier_move(carrier, &curl->running);
  if (carrier->shared) curl->together++;
  else curl->alone++;
  cap_connections(curl);
  if (curl_multi_add_handle(curl->multi, carrier->easy) != CURLM_OK) {
    take_back(carrier);
    sf_carrier_free(carrier);
    return false;
  }
  curl->due_ns = AT_ONCE;
  return true;
}

static void let_go(sf_carrier *carrier)
{
  if (carrier->exchange != NULL) {
    if (!carrier->requested) sf_carrier_note_link(carrier, NULL);
    carrier->exchange->carrier = NULL;
  }
  carrier->exchange = NULL;
  if (carrier->owner->inside) sf_carrier_move(carrier, &carrier->owner->fallen);
  else finish(carrier, CURLE_OK);
}

static void transport_cancel(sf_transport *transport, sf_exchange *exchange)
{
  (void)transport;
  if (exchange->carrier != NULL) let_go(exchange->carrier);
}

static curl_off_t number_sent(const sf_carrier *carrier)
{
  curl_off_t sent = 0;
  return curl_easy_getinfo(carrier->easy, CURLINFO_SIZE_UPLOAD_T, &sent) == CURLE_OK ? sent : 0;
}

static void transport_run_dry(sf_transport *transport, sf_exchange *exchange)
{
  sf_curl *curl = (sf_curl *)transport;
  sf_carrier *carrier = exchange->carrier;
  if (carrier == NULL) return;
  bool sent = number_sent(carrier) >= (curl_off_t)exchange->request->body_length;
  if (!carrier->headers_done || !sent) { /* libcurl would go on to read a body that is nobody's any more */
    let_go(carrier);
    return;
  }
  exchange->carrier = NULL;
  carrier->exchange = NULL;
  carrier->dry_bytes = DRY_BYTES;
  carrier->dry_until_ns = sf_clock_now() + DRY_NS;
  curl->dry_ns = sf_time_min(curl->dry_ns, carrier->dry_until_ns);
}

/* Those that did not run dry in time are cancelled. */
static void end_dry(sf_curl *curl, int64_t now)
{
  curl->dry_ns = SF_NEVER;
  for (sf_carrier *carrier = curl->running, *next; carrier != NULL; carrier = next) {
    next = carrier->next;
    if (carrier->dry_until_ns == 0) continue;
    if (carrier->dry_until_ns > now) {
      curl->dry_ns = sf_time_min(curl->dry_ns, carrier->dry_until_ns);
      continue;
    }
    carrier->dry_until_ns = 0;
    let_go(carrier);
  }
}

/* libcurl keeps what it has read, and its socket is left alone. (For curl_easy_pause libcurl 8 reads on, or turns without
 * end.) */
static void transport_pause(sf_transport *transport, sf_exchange *exchange)
{
  (void)transport;
  sf_carrier *carrier = exchange->carrier;
  if (carrier == NULL) return;
  carrier->paused = true;
  watch_again(carrier); /* it cannot fail: it takes away */
}

/* What libcurl held back is handed up from here. */
static void go_on(sf_carrier *carrier)
{
  sf_curl *curl = carrier->owner;
  bool was_inside = curl->inside;
  curl->inside = true;
  CURLcode code = watch_again(carrier) ? curl_easy_pause(carrier->easy, CURLPAUSE_CONT) : CURLE_OUT_OF_MEMORY;
  curl->inside = was_inside;
  if (code == CURLE_OK || carrier->exchange == NULL) return;
  carrier->failure = code; /* libcurl does not end the transfer for it */
  sf_carrier_move(carrier, &curl->fallen);
}

static void transport_resume(sf_transport *transport, sf_exchange *exchange)
{
  (void)transport;
  sf_carrier *carrier = exchange->carrier;
  if (carrier == NULL) return;
  carrier->paused = false;
  carrier->owner->due_ns = AT_ONCE;
  go_on(carrier);
}

/* Those that were held up by what came, and it is read, send on. */
static void release_held(sf_curl *curl)
{
  curl->holds = false;
  for (sf_carrier *carrier = curl->running, *next; carrier != NULL; carrier = next) {
    next = carrier->next;
    if (!carrier->held) continue;
    carrier->held = !carrier->headers_done && sf_carrier_is_answered(carrier);
    if (carrier->held) curl->holds = true;
    else go_on(carrier);
  }
}

static bool transport_can_pause(sf_transport *transport, const sf_exchange *exchange)
{
  (void)transport;
  const sf_carrier *carrier = exchange->carrier;
  return carrier != NULL && (!carrier->http2 || sf_carrier_http2_sound());
}

static void transport_ready(sf_transport *transport, int fd, unsigned events)
{
  /* An error is found, and named, by reading or writing. */
  int mask = (events & SF_IO_READ ? CURL_CSELECT_IN : 0) | (events & SF_IO_WRITE ? CURL_CSELECT_OUT : 0);
  drive((sf_curl *)transport, fd, mask != 0 ? mask : CURL_CSELECT_ERR);
}

static void transport_turn(sf_transport *transport, int64_t now)
{
  sf_curl *curl = (sf_curl *)transport;
  curl->now_ns = now;
  if (curl->due_ns <= now) {
    curl->due_ns = SF_NEVER;
    drive(curl, CURL_SOCKET_TIMEOUT, 0);
  }
  bury_fallen(curl);
  if (curl->dry_ns <= now) end_dry(curl, now);
  if (curl->holds) release_held(curl);
  curl->undrained = false;
  int left;
  const CURLMsg *message;
  while (curl->multi != NULL && (message = curl_multi_info_read(curl->multi, &left)) != NULL) {
    sf_carrier *carrier = NULL;
    if (message->msg == CURLMSG_DONE && curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &carrier) == CURLE_OK)
      finish(carrier, message->data.result);
  }
}

static int64_t transport_next_due(const sf_transport *transport)
{
  const sf_curl *curl = (const sf_curl *)transport;
  return curl->undrained || curl->fallen != NULL ? AT_ONCE : sf_time_min(curl->due_ns, curl->dry_ns);
}

static void transport_expect(sf_transport *transport, size_t concurrent)
{
  sf_curl *curl = (sf_curl *)transport;
  if (concurrent <= curl->expected) return;
  curl->expected = concurrent;
  if (curl->multi != NULL) set_connection_cache(curl);
}

/* ---- life ---- */

static void transport_free(sf_transport *transport)
{
  sf_curl *curl = (sf_curl *)transport;
  while (curl->running != NULL) let_go(curl->running);
  while (curl->fallen != NULL) let_go(curl->fallen);
  while (curl->idle != NULL) sf_carrier_free(curl->idle);
  if (curl->multi != NULL) curl_multi_cleanup(curl->multi);
  sf_curl_drop_names(curl, false);
  sf_free(curl->opened);
  sf_free(curl);
}

static void forsake_all(sf_carrier **list)
{
  while (*list != NULL) {
    if ((*list)->exchange != NULL) (*list)->exchange->carrier = NULL;
    sf_carrier_forsake(*list);
  }
}

/*
 * In a forked child: closing its copies of the sockets tells nobody anything, while libcurl would say goodbye over them
 * (TLS alerts, HTTP/2 GOAWAY) and wait for resolver threads that exist in the parent only. So its handles are leaked.
 */
static void transport_abandon(sf_transport *transport)
{
  sf_curl *curl = (sf_curl *)transport;
  for (size_t fd = 0; fd < curl->opened_capacity; fd++)
    if (curl->opened[fd] != 0) close((int)fd);
  forsake_all(&curl->running);
  forsake_all(&curl->fallen);
  forsake_all(&curl->idle);
  sf_curl_drop_names(curl, true);
  sf_free(curl->opened);
  sf_free(curl);
}

static const sf_transport_ops curl_ops = {
  .start = transport_start,
  .cancel = transport_cancel,
  .run_dry = transport_run_dry,
  .pause = transport_pause,
  .resume = transport_resume,
  .can_pause = transport_can_pause,
  .ready = transport_ready,
  .turn = transport_turn,
  .next_due = transport_next_due,
  .expect = transport_expect,
  .free = transport_free,
  .abandon = transport_abandon,
};

sf_transport *sf_transport_curl_new(sf_reactor *reactor)
{
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, init_global);
  if (global_state != CURLE_OK) return NULL;
  sf_curl *curl = sf_alloc_zero(sizeof *curl);
  if (curl == NULL) return NULL;
  curl->base.ops = &curl_ops;
  curl->dry_ns = SF_NEVER;
  curl->reactor = reactor;
  if (make_multi(curl)) return &curl->base;
  sf_free(curl);
  return NULL;
}
