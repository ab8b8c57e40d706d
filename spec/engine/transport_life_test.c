/*
 * transport_life_test.c: the life of exchanges and connections over the libcurl transport: reuse, death of a kept
 * connection, failures before a request, cancelling and pausing at every point, forks, and a multi handle that breaks.
 */
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "../../csrc/engine/transport_curl.h"
#include "probe.h"
#include "server.h"

enum { FLOOD = 4 * 1024 * 1024 };

/* ---- what the server answers ---- */

static and_then answer_hello(int fd, const server_request *request)
{
  (void)request;
  say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
  return AND_GO_ON;
}

static and_then answer_once(int fd, const server_request *request)
{
  return request->number > 1 ? AND_CLOSE : answer_hello(fd, request);
}

static and_then answer_once_then_reset(int fd, const server_request *request)
{
  return request->number > 1 ? AND_RESET : answer_hello(fd, request);
}

static int lasts; /* connections that answer_last ended */

static and_then answer_last(int fd, const server_request *request)
{
  answer_hello(fd, request);
  shutdown(fd, SHUT_WR);
  server_count(&lasts);
  return AND_CLOSE;
}

static and_then answer_never(int fd, const server_request *request)
{
  (void)request;
  return await_close(fd);
}

static and_then answer_half_a_body(int fd, const server_request *request)
{
  (void)request;
  say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
  return await_close(fd);
}

static and_then answer_flood(int fd, const server_request *request)
{
  (void)request;
  char head[128], block[16384];
  memset(block, 'z', sizeof block);
  snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", FLOOD);
  bool open = say(fd, head);
  for (int sent = 0; open && sent < FLOOD; sent += (int)sizeof block) open = send_bytes(fd, block, sizeof block);
  return open ? AND_GO_ON : AND_CLOSE;
}

static const server_route routes[] = {
  { "/hello", answer_hello },
  { "/once", answer_once },
  { "/last", answer_last },
  { "/never", answer_never },
  { "/once-then-reset", answer_once_then_reset },
  { "/flood", answer_flood },
  { "/half-a-body", answer_half_a_body },
};

static int port;

/* ---- helpers ---- */

/* Internet sockets that are not the server's. */
static int count_sockets(void)
{
  int count = 0;
  for (int fd = 3; fd < 1024; fd++) {
    int domain = 0;
    socklen_t size = sizeof domain;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0 || domain != AF_INET) continue;
    if (bound_port(fd) == port) continue;
    count++;
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
  }
  return count;
}

static void run_hello(bool reused)
{
  probe p;
  probe_init(&p, "POST", port, "/hello");
  CHECK(probe_run(&p));
  CHECK_IS(p.end.result, SF_RESULT_COMPLETE);
  CHECK_IS(p.end.reused, reused);
  probe_fini(&p);
}

/* Some turns in which nothing may come up. */
static void check_silence(const probe *p)
{
  int done = p->done, headers = p->headers, bodies = p->bodies;
  for (int i = 0; i < 5; i++) turn(5 * SF_MILLISECOND);
  CHECK(p->done == done && p->headers == headers && p->bodies == bodies);
}

/* ---- connections ---- */

static void test_reuse(void)
{
  open_transport();
  enum { CONCURRENT = 8, ROUNDS = 25 };
  transport->ops->expect(transport, CONCURRENT);
  int connections = server_read(&server.connections);
  for (int round = 0; round < ROUNDS; round++) {
    probe p[CONCURRENT];
    for (int i = 0; i < CONCURRENT; i++) {
      probe_init(&p[i], "POST", port, "/hello");
      p[i].request.body = "{}";
      p[i].request.body_length = 2;
      CHECK(probe_start(&p[i]));
    }
    for (int i = 0; i < CONCURRENT; i++) {
      CHECK(turn_until(&p[i].done, 1));
      CHECK_IS(p[i].end.result, SF_RESULT_COMPLETE);
      CHECK_IS(p[i].end.reused, round > 0);
      probe_fini(&p[i]);
    }
  }
  CHECK_IS(server_read(&server.connections) - connections, CONCURRENT);
  close_transport();
}

static void test_fresh_and_keepalive(void)
{
  open_transport();
  run_hello(false);
  run_hello(true);
  probe p;
  probe_init(&p, "POST", port, "/hello");
  p.request.fresh = true;
  CHECK(probe_run(&p));
  CHECK(!p.end.reused);
  probe_fini(&p);
  run_hello(true); /* the wish for a new connection does not stick to the handle */
  sf_line once = plain_line;
  once.keepalive_idle_ns = 0;
  for (int i = 0; i < 2; i++) {
    probe_init(&p, "POST", port, "/hello");
    p.request.line = &once;
    CHECK(probe_run(&p));
    CHECK(!p.end.reused); /* neither what the other line kept, nor what this line made */
    probe_fini(&p);
  }
  run_hello(true); /* nor does that stick */
  close_transport();
}

/* Died before the first byte of the answer: told, not repeated behind the caller's back. */
static void test_stale_connection(void)
{
  static const char *const paths[] = { "/once", "/once-then-reset" };
  for (int i = 0; i < 2; i++) {
    open_transport();
    run_hello(false);
    int requests = server_read(&server.requests), connections = server_read(&server.connections);
    probe p;
    probe_init(&p, "POST", port, paths[i]);
    p.request.body = "{\"pay\":1}";
    p.request.body_length = 9;
    CHECK(probe_run(&p));
    CHECK_IS(p.end.result, SF_RESULT_LOST);
    CHECK(p.end.reused && !p.end.any_response && p.connected == 1);
    CHECK_IS(p.end.phase, SF_PHASE_FIRST_BYTE);
    CHECK(p.end.bytes_sent > 9);
    CHECK(strstr(p.message, "kept connection") != NULL);
    probe_fini(&p);
    CHECK_IS(server_read(&server.requests), requests + 1);
    CHECK_IS(server_read(&server.connections), connections);
    probe_init(&p, "POST", port, paths[i]);
    p.request.fresh = true;
    CHECK(probe_run(&p));
    CHECK_IS(p.end.result, SF_RESULT_COMPLETE);
    CHECK(!p.end.reused);
    probe_fini(&p);
    close_transport();
  }
}

/* The server closed an idle connection: seen before it is used, so nothing is lost. */
static void test_closed_while_idle(void)
{
  open_transport();
  probe p;
  probe_init(&p, "POST", port, "/last");
  CHECK(probe_run(&p));
  CHECK(server_wait(&lasts, 1));
  probe_fini(&p);
  run_hello(false);
  close_transport();
}

static void test_close_on_exec(void)
{
  open_transport();
  CHECK_IS(count_sockets(), 0);
  probe p;
  probe_init(&p, "POST", port, "/never");
  int given_up = server_read(&server.given_up);
  CHECK(probe_start(&p));
  CHECK(turn_until(&p.connected, 1));
  CHECK_IS(count_sockets(), 1); /* which looks at the flag, too */
  transport->ops->cancel(transport, &p.exchange);
  CHECK(server_wait(&server.given_up, given_up + 1));
  CHECK_IS(count_sockets(), 0);
  close_transport();
}

/* Lines of one host, each with its own address: no connection is taken for another's. */
static void test_addresses_of_one_host(void)
{
  static const char *const addresses[] = { "127.0.0.1", "127.0.0.2", "127.0.0.3,127.0.0.3" };
  char entries[3][64], url[64];
  const char *resolve[3][2] = { { entries[0] }, { entries[1] }, { entries[2] } };
  snprintf(url, sizeof url, "http://line.test:%d/hello", port);
  open_transport();
  for (int i = 0; i < 9; i++) {
    snprintf(entries[i % 3], sizeof entries[0], "line.test:%d:%s", port, addresses[i % 3]);
    sf_line line = plain_line;
    line.resolve = resolve[i % 3];
    probe p;
    probe_init(&p, "GET", port, "/hello");
    p.request.url = url;
    p.request.line = &line;
    CHECK(probe_run(&p));
    CHECK_IS(p.end.result, SF_RESULT_COMPLETE);
    CHECK_IS(p.end.reused, i >= 3);
    CHECK(strncmp(server.last_local, addresses[i % 3], strlen("127.0.0.x")) == 0);
    CHECK(strstr(server.last_head, "\r\nHost: line.test:") != NULL);
    probe_fini(&p);
  }
  close_transport();
}

static void test_ipv6(void)
{
  int port6 = serve(AF_INET6, routes, sizeof routes / sizeof *routes);
  if (port6 == 0) {
    printf("skipped: no IPv6 on this machine\n");
    return;
  }
  open_transport();
  probe p;
  probe_init(&p, "GET", port6, "/hello");
  snprintf(p.url, sizeof p.url, "http://[::1]:%d/hello", port6);
  CHECK(probe_run(&p));
  CHECK_IS(p.end.result, SF_RESULT_COMPLETE);
  probe_fini(&p);
  close_transport();
}

/* ---- failures before a request ---- */

static void test_no_connection(void)
{
  int refusing = listen_on(AF_INET, 1), free_port = bound_port(refusing);
  close(refusing);
  char refused[64], tls[64];
  snprintf(refused, sizeof refused, "http://127.0.0.1:%d/", free_port);
  snprintf(tls, sizeof tls, "https://127.0.0.1:%d/", port);
  const struct {
    const char *url;
    sf_result result;
  } cases[] = {
    { refused, SF_RESULT_CONNECT_FAILED }, { "http://nonexistent.invalid/", SF_RESULT_RESOLVE_FAILED },
    { tls, SF_RESULT_TLS_FAILED },         { "ftp://127.0.0.1/", SF_RESULT_BAD_REQUEST },
    { "http://", SF_RESULT_BAD_REQUEST },  { "http://127.0.0.1:99999/", SF_RESULT_BAD_REQUEST },
  };
  open_transport();
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    probe p;
    probe_init(&p, "POST", port, "/");
    p.request.url = cases[i].url;
    int failures = check_failures;
    CHECK(probe_run(&p));
    CHECK_IS(p.end.result, cases[i].result);
    CHECK_IS(p.end.phase, SF_PHASE_CONNECT);
    CHECK(p.connected == 0 && p.headers == 0 && !p.end.reused && !p.end.any_response);
    CHECK_IS(p.end.bytes_sent, 0);
    CHECK(p.message[0] != '\0');
    if (check_failures > failures) printf("    %s: %s\n", cases[i].url, p.message);
    probe_fini(&p);
  }
  close_transport();
}

/* ---- cancel and pause ---- */

static void test_cancel_before_connected(void)
{
  int full = listen_on(AF_INET, 0), filled[4];
  int full_port = bound_port(full);
  struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)full_port) };
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  for (int i = 0; i < 4; i++) { /* nobody accepts: further connects are left waiting */
    filled[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    CHECK(connect(filled[i], (struct sockaddr *)&address, sizeof address) == 0 || errno == EINPROGRESS);
  }
  open_transport();
  int before = count_sockets();
  for (int turns = 0; turns < 4; turns++) { /* before the first turn, and while connecting */
    probe p;
    probe_init(&p, "POST", full_port, "/");
    CHECK(probe_start(&p));
    for (int i = 0; i < turns; i++) turn(SF_MILLISECOND);
    CHECK(turns < 2 || count_sockets() > before);
    transport->ops->cancel(transport, &p.exchange);
    CHECK(p.exchange.carrier == NULL);
    CHECK_IS(count_sockets(), before);
    check_silence(&p);
    transport->ops->cancel(transport, &p.exchange); /* nobody's: harmless */
    CHECK(p.connected == 0 && p.done == 0);
  }
  close_transport();
  for (int i = 0; i < 4; i++) close(filled[i]);
  close(full);
}

/* While a name is looked up in a thread, too. */
static void test_cancel_while_resolving(void)
{
  open_transport();
  for (int i = 0; i < 20; i++) {
    probe p;
    probe_init(&p, "POST", port, "/");
    p.request.url = "http://nonexistent.invalid/";
    CHECK(probe_start(&p));
    turn(0);
    int64_t start = check_now();
    if (p.done == 0) transport->ops->cancel(transport, &p.exchange);
    CHECK(check_now() - start < SF_SECOND);
    check_silence(&p);
  }
  close_transport();
}

static void test_cancel_after_connected(void)
{
  open_transport();
  for (int in_body = 0; in_body < 2; in_body++) {
    probe p;
    probe_init(&p, "POST", port, in_body ? "/half-a-body" : "/never");
    int given_up = server_read(&server.given_up), requests = server_read(&server.requests);
    CHECK(probe_start(&p));
    CHECK(turn_until(in_body ? &p.bodies : &p.connected, 1));
    CHECK(server_wait(&server.requests, requests + 1));
    transport->ops->cancel(transport, &p.exchange);
    CHECK(server_wait(&server.given_up, given_up + 1)); /* the line is given up at once */
    check_silence(&p);
    CHECK_IS(p.done, 0);
    probe_fini(&p);
  }
  run_hello(false);
  close_transport();
}

static void test_cancel_in_up_call(void)
{
  open_transport();
  for (int in_body = 0; in_body < 2; in_body++) {
    probe p;
    probe_init(&p, "POST", port, "/half-a-body");
    p.cancel_in_headers = !in_body;
    p.cancel_in_body = in_body;
    int given_up = server_read(&server.given_up);
    CHECK(probe_start(&p));
    CHECK(turn_until(in_body ? &p.bodies : &p.headers, 1));
    CHECK(p.exchange.carrier == NULL);
    check_silence(&p);
    CHECK(p.done == 0 && p.bodies == in_body);
    CHECK(server_wait(&server.given_up, given_up + 1));
    probe_fini(&p);
  }
  const sf_curl *curl = (const sf_curl *)transport;
  CHECK(curl->alone == 0 && curl->idle_count == 1); /* let go once, and only when libcurl had returned */
  run_hello(false);
  close_transport();
}

static void test_pause(void)
{
  open_transport();
  for (int in_up_call = 0; in_up_call < 2; in_up_call++) {
    probe p;
    probe_init(&p, "POST", port, "/flood");
    p.pause_in_body = in_up_call;
    CHECK(probe_start(&p));
    CHECK(turn_until(&p.bodies, 1));
    CHECK(transport->ops->can_pause(transport, &p.exchange));
    transport->ops->pause(transport, &p.exchange);
    size_t had = p.body_length;
    int ready = 0;
    for (int i = 0; i < 20; i++) ready += turn(5 * SF_MILLISECOND);
    CHECK_IS(p.body_length, had);
    CHECK(ready <= 1); /* the socket is full of bytes, and nobody is woken for them */
    CHECK(had < FLOOD && p.done == 0);
    transport->ops->resume(transport, &p.exchange);
    CHECK(transport->ops->next_due(transport) <= check_now());
    CHECK(turn_until(&p.done, 1));
    CHECK_IS(p.end.result, SF_RESULT_COMPLETE);
    CHECK_IS(p.body_length, FLOOD);
    probe_fini(&p);
  }
  probe p; /* cancelled while paused */
  probe_init(&p, "POST", port, "/half-a-body");
  CHECK(probe_start(&p));
  CHECK(turn_until(&p.bodies, 1));
  transport->ops->pause(transport, &p.exchange);
  int given_up = server_read(&server.given_up);
  transport->ops->cancel(transport, &p.exchange);
  CHECK(server_wait(&server.given_up, given_up + 1));
  check_silence(&p);
  probe_fini(&p);
  close_transport();
}

/* ---- the process ---- */

static void test_fork(void)
{
  open_transport();
  run_hello(false);
  probe p;
  probe_init(&p, "POST", port, "/half-a-body");
  CHECK(probe_start(&p));
  CHECK(turn_until(&p.bodies, 1));
  int given_up = server_read(&server.given_up);
  pid_t child = fork();
  if (child == 0) {
    transport->ops->abandon(transport);
    reactor->ops->abandon(reactor);
    _exit(count_sockets() == 0 && p.exchange.carrier == NULL ? 0 : 1);
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
  CHECK_IS(WEXITSTATUS(status), 0);
  CHECK_IS(server_read(&server.given_up), given_up); /* the parent's connection stands ... */
  CHECK(p.done == 0 && p.exchange.carrier != NULL);
  transport->ops->cancel(transport, &p.exchange);
  CHECK(server_wait(&server.given_up, given_up + 1)); /* ... and is the parent's alone */
  probe_fini(&p);
  run_hello(false);
  run_hello(true);
  close_transport();
}

static void test_sigpipe(void)
{
  open_transport(); /* the process is prepared by now */
  struct sigaction action;
  CHECK(sigaction(SIGPIPE, NULL, &action) == 0);
  CHECK(action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN);
  raise(SIGPIPE);
  close_transport();
}

/* ---- a multi handle that breaks ---- */

static sf_reactor_ops refusing_ops;
static bool (*real_want)(sf_reactor *, int, unsigned);
static int wants_to_refuse;

static bool refusing_want(sf_reactor *of, int fd, unsigned events)
{
  if (events != 0 && wants_to_refuse > 0) {
    wants_to_refuse--;
    return false;
  }
  return real_want(of, fd, events);
}

static void test_rebirth(void)
{
  open_transport();
  refusing_ops = *reactor->ops;
  real_want = refusing_ops.want;
  refusing_ops.want = refusing_want;
  reactor->ops = &refusing_ops;
  run_hello(false);
  int given_up = server_read(&server.given_up);
  probe waiting, p;
  probe_init(&waiting, "POST", port, "/never");
  CHECK(probe_start(&waiting));
  CHECK(turn_until(&waiting.connected, 1));
  wants_to_refuse = 1;
  probe_init(&p, "POST", port, "/hello");
  CHECK(probe_run(&p));
  CHECK(p.end.result == SF_RESULT_CONNECT_FAILED || p.end.result == SF_RESULT_LOST);
  CHECK(p.message[0] != '\0');
  CHECK(turn_until(&waiting.done, 1)); /* it was in the same handle */
  CHECK_IS(waiting.end.result, SF_RESULT_LOST);
  CHECK_IS(wants_to_refuse, 0);
  CHECK_IS(count_sockets(), 0);
  CHECK(server_wait(&server.given_up, given_up + 1));
  run_hello(false);
  run_hello(true);
  probe_fini(&p);
  close_transport();
}

#ifdef SF_FAULTS
/* Each allocation of ours fails in turn: the exchange ends, or does not start, and the next one is served. */
static void test_memory(void)
{
  for (unsigned long n = 1; n <= 40; n++) {
    reactor = NULL;
    transport = NULL;
    sf_memory_fail(n);
    reactor = sf_reactor_epoll_new();
    if (reactor != NULL) transport = sf_transport_curl_new(reactor);
    if (transport == NULL) {
      CHECK(n <= 2);
      if (reactor != NULL) reactor->ops->free(reactor);
      continue;
    }
    reactor->on_ready = probe_ready;
    probe p;
    probe_init(&p, "POST", port, "/hello");
    if (probe_start(&p)) {
      CHECK(turn_until(&p.done, 1));
      CHECK(p.end.result == SF_RESULT_COMPLETE || p.message[0] != '\0');
    }
    CHECK(p.exchange.carrier == NULL);
    probe_fini(&p);
    sf_memory_fail(0);
    probe_init(&p, "POST", port, "/hello");
    CHECK(probe_run(&p));
    CHECK_IS(p.end.result, SF_RESULT_COMPLETE);
    probe_fini(&p);
    close_transport();
  }
}
#endif

static void test_free_with_work(void)
{
  open_transport();
  int given_up = server_read(&server.given_up), requests = server_read(&server.requests);
  probe p[3];
  for (int i = 0; i < 3; i++) {
    probe_init(&p[i], "POST", port, "/never");
    CHECK(probe_start(&p[i]));
  }
  for (int i = 0; i < 3; i++) CHECK(turn_until(&p[i].connected, 1));
  CHECK(server_wait(&server.requests, requests + 3));
  close_transport();
  CHECK_IS(count_sockets(), 0);
  CHECK(server_wait(&server.given_up, given_up + 3));
  for (int i = 0; i < 3; i++) CHECK(p[i].done == 0 && p[i].exchange.carrier == NULL);
}

static const check_test tests[] = {
  { "200 exchanges, 8 at a time, over 8 connections", test_reuse },
  { "a fresh connection, and one that is not kept", test_fresh_and_keepalive },
  { "a kept connection that dies is told and not repeated", test_stale_connection },
  { "a connection that was closed while idle is not used", test_closed_while_idle },
  { "sockets are close-on-exec", test_close_on_exec },
  { "pinned addresses belong to their line", test_addresses_of_one_host },
  { "IPv6", test_ipv6 },
  { "failures before a request could leave", test_no_connection },
  { "cancel while connecting", test_cancel_before_connected },
  { "cancel while resolving", test_cancel_while_resolving },
  { "cancel while waiting, and in the body", test_cancel_after_connected },
  { "cancel from inside an up-call", test_cancel_in_up_call },
  { "pause and resume", test_pause },
  { "fork", test_fork },
  { "SIGPIPE does not kill", test_sigpipe },
  { "a broken multi handle loses its exchanges and is made anew", test_rebirth },
#ifdef SF_FAULTS
  { "any allocation may fail", test_memory },
#endif
  { "free while exchanges run", test_free_with_work },
};

int main(int argc, char **argv)
{
  signal(SIGPIPE, SIG_DFL); /* who started this may have had it ignored */
  port = serve(AF_INET, routes, sizeof routes / sizeof *routes);
  if (port == 0) return 2;
  return check_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
