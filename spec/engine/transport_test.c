/*
 * transport_test.c: what comes back over the libcurl transport, against a scripted server: framings, endings, limits,
 * content codings, and the request as it goes over the wire.
 */
#include "probe.h"
#include "server.h"

enum { BIG = 8 * 1024 * 1024 };

static const unsigned char zipped[] = { 31, 139, 8,   0,   0,  0,  0,  0,  2,   3,   203, 72,  205, 201, 201, 215,
                                        81, 72,  206, 207, 45, 40, 74, 45, 46,  78,  77,  81,  40,  207, 47,  202,
                                        73, 177, 86,  200, 24, 90, 18, 0,  143, 239, 86,  199, 200, 0,   0,   0 };
static const char unzipped[] = "hello, compressed world; "; /* 8 times */

/* ---- what the server answers ---- */

static and_then answer_hello(int fd, const server_request *request)
{
  (void)request;
  say(fd, "HTTP/1.1 200 OK\r\nX-One: 1\r\nContent-Length: 5\r\nX-Two:  two \r\n\r\nhello");
  return AND_GO_ON;
}

static and_then answer_chunked(int fd, const server_request *request)
{
  (void)request;
  say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Late\r\n\r\n3\r\nhel\r\n");
  say(fd, "2;ext=1\r\nlo\r\n0\r\nX-Late: yes\r\n\r\n");
  return AND_GO_ON;
}

static and_then answer_until_close(int fd, const server_request *request)
{
  (void)request;
  say(fd, "HTTP/1.0 200 OK\r\n\r\nhello");
  return AND_CLOSE;
}

static and_then answer_bare(int fd, const server_request *request)
{
  (void)request;
  say(fd, "HTTP/1.1 200 OK\nContent-Length: 2\nX-Bare: yes\n\nok");
  return AND_GO_ON;
}

static and_then answer_empty(int fd, const server_request *request)
{
  (void)request;
  say(fd, "HTTP/1.1 204 No Content\r\n\r\n");
  return AND_GO_ON;
}

static and_then answer_not_modified(int fd, const server_request *request)
{
  (void)request;
  say(fd, "HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n");
  return AND_GO_ON;
}

static and_then answer_head(int fd, const server_request *request)
{
  (void)request;
  say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n");
  return AND_GO_ON;
}

static and_then answer_short_body(int fd, const server_request *request)
{
  (void)request;
  say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
  return AND_CLOSE;
}

static and_then answer_short_chunks(int fd, const server_request *request)
{
  (void)request;
  say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
  return AND_CLOSE;
}

static and_then answer_reset_in_body(int fd, const server_request *request)
{
  (void)request;
  say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
  return AND_RESET;
}

static and_then answer_close(int fd, const server_request *request)
{
  (void)fd, (void)request;
  return AND_CLOSE;
}

static and_then answer_reset(int fd, const server_request *request)
{
  (void)fd, (void)request;
  return AND_RESET;
}

static and_then answer_half_headers(int fd, const server_request *request)
{
  (void)request;
  say(fd, "HTTP/1.1 200 OK\r\nContent-Le");
  return AND_CLOSE;
}

static and_then answer_garbage(int fd, const server_request *request)
{
  (void)request;
  say(fd, "SSH-2.0-OpenSSH_9.2\r\n\r\n");
  return AND_CLOSE;
}

static and_then answer_early(int fd, const server_request *request)
{
  (void)request;
  say(fd, "HTTP/1.1 100 Continue\r\nX-Hint: a\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <b>\r\n\r\n");
  say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  return AND_GO_ON;
}

static and_then answer_redirect(int fd, const server_request *request)
{
  (void)request;
  say(fd, "HTTP/1.1 302 Found\r\nLocation: /hello\r\nContent-Length: 4\r\n\r\naway");
  return AND_GO_ON;
}

static and_then answer_many_headers(int fd, const server_request *request)
{
  (void)request;
  say(fd, "HTTP/1.1 200 OK\r\n");
  for (int i = 0; i < 200; i++) say(fd, "X-Filler: 0123456789012345678901234567890123456789\r\n");
  say(fd, "Content-Length: 2\r\n\r\nok");
  return AND_GO_ON;
}

static and_then answer_long_header(int fd, const server_request *request)
{
  (void)request;
  say(fd, "HTTP/1.1 200 OK\r\nX-Long: ");
  for (int i = 0; i < 8000; i++) say(fd, "0123456789012345678901234567890123456789");
  say(fd, "\r\nContent-Length: 2\r\n\r\nok");
  return AND_CLOSE;
}

static void say_zipped(int fd, const char *coding, bool damaged)
{
  char head[256], body[sizeof zipped];
  memcpy(body, zipped, sizeof zipped);
  if (damaged) memset(body + 12, 0xff, 8);
  snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\nContent-Length: %zu\r\n\r\n", coding,
           sizeof body);
  say(fd, head);
  send_bytes(fd, body, sizeof body);
}

static and_then answer_zipped(int fd, const server_request *request)
{
  (void)request;
  say_zipped(fd, "gzip", false);
  return AND_GO_ON;
}

static and_then answer_damaged(int fd, const server_request *request)
{
  (void)request;
  say_zipped(fd, "gzip", true);
  return AND_GO_ON;
}

static and_then answer_unknown_coding(int fd, const server_request *request)
{
  (void)request;
  say_zipped(fd, "rot13", false);
  return AND_GO_ON;
}

static const server_route routes[] = {
  { "/hello", answer_hello },
  { "/chunked", answer_chunked },
  { "/until-close", answer_until_close },
  { "/bare", answer_bare },
  { "/empty", answer_empty },
  { "/not-modified", answer_not_modified },
  { "/head", answer_head },
  { "/short-body", answer_short_body },
  { "/short-chunks", answer_short_chunks },
  { "/reset-in-body", answer_reset_in_body },
  { "/close", answer_close },
  { "/reset", answer_reset },
  { "/half-headers", answer_half_headers },
  { "/garbage", answer_garbage },
  { "/early", answer_early },
  { "/redirect", answer_redirect },
  { "/many-headers", answer_many_headers },
  { "/long-header", answer_long_header },
  { "/zipped", answer_zipped },
  { "/damaged", answer_damaged },
  { "/unknown-coding", answer_unknown_coding },
};

static int port;

/* ---- tests ---- */

static void check_end(const probe *p, sf_result result, sf_phase phase)
{
  CHECK_IS(p->end.result, result);
  CHECK_IS(p->end.phase, phase);
  CHECK((result == SF_RESULT_COMPLETE) == (p->message[0] == '\0'));
  if (result != p->end.result) printf("    message: %s\n", p->message);
}

static void test_whole(void)
{
  static const struct {
    const char *method, *path, *block, *body;
    int status;
  } cases[] = {
    { "GET", "/hello", "X-One: 1\r\nContent-Length: 5\r\nX-Two:  two \r\n", "hello", 200 },
    { "GET", "/chunked", "Transfer-Encoding: chunked\r\nTrailer: X-Late\r\n", "hello", 200 },
    { "GET", "/until-close", "", "hello", 200 },
    { "GET", "/bare", "Content-Length: 2\r\nX-Bare: yes\r\n", "ok", 200 },
    { "GET", "/empty", "", NULL, 204 },
    { "GET", "/not-modified", "Content-Length: 500\r\n", NULL, 304 },
    { "HEAD", "/head", "Content-Length: 500\r\n", NULL, 200 },
    { "POST", "/early", "Content-Length: 2\r\n", "ok", 200 },
    { "GET", "/redirect", "Location: /hello\r\nContent-Length: 4\r\n", "away", 302 },
  };
  open_transport();
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    probe p;
    probe_init(&p, cases[i].method, port, cases[i].path);
    int requests = server_read(&server.requests);
    CHECK(probe_run(&p));
    check_end(&p, SF_RESULT_COMPLETE, cases[i].body != NULL ? SF_PHASE_IDLE : SF_PHASE_FIRST_BYTE);
    CHECK_IS(p.status, cases[i].status);
    CHECK(p.connected == 1 && p.headers == 1 && p.end.any_response);
    CHECK(strcmp(p.body != NULL ? p.body : "", cases[i].body != NULL ? cases[i].body : "") == 0);
    if (strcmp(p.block, cases[i].block) != 0) {
      CHECK(!"headers as expected");
      printf("    %s: %s", cases[i].path, p.block);
    }
    CHECK(p.end.bytes_received >= p.body_length + strlen(cases[i].block));
    CHECK_IS(server_read(&server.requests), requests + 1);
    probe_fini(&p);
  }
  close_transport();
}

static void test_broken(void)
{
  static const struct {
    const char *path;
    sf_result result;
    sf_phase phase;
    bool any_response;
  } cases[] = {
    { "/short-body", SF_RESULT_TRUNCATED, SF_PHASE_IDLE, true },
    { "/short-chunks", SF_RESULT_TRUNCATED, SF_PHASE_IDLE, true },
    { "/reset-in-body", SF_RESULT_TRUNCATED, SF_PHASE_FIRST_BYTE, true },
    { "/close", SF_RESULT_LOST, SF_PHASE_FIRST_BYTE, false },
    { "/reset", SF_RESULT_LOST, SF_PHASE_FIRST_BYTE, false },
    { "/half-headers", SF_RESULT_LOST, SF_PHASE_FIRST_BYTE, true },
    { "/garbage", SF_RESULT_LOST, SF_PHASE_FIRST_BYTE, false },
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    open_transport();
    probe p;
    probe_init(&p, "POST", port, cases[i].path);
    int failures = check_failures;
    CHECK(probe_run(&p));
    check_end(&p, cases[i].result, cases[i].phase);
    CHECK_IS(p.end.any_response, cases[i].any_response);
    CHECK(p.connected == 1 && !p.end.reused && p.end.bytes_sent > 0);
    CHECK(p.headers == (cases[i].result == SF_RESULT_TRUNCATED));
    if (check_failures > failures) printf("    %s: %s\n", cases[i].path, p.message);
    probe_fini(&p);
    close_transport();
  }
}

static void test_limits(void)
{
  static const struct {
    const char *path;
    size_t header_limit;
    bool refuse_headers, refuse_body;
    int headers, bodies;
  } cases[] = {
    { "/many-headers", 4096, false, false, 0, 0 },       { "/many-headers", 64 * 1024, false, false, 1, 1 },
    { "/long-header", 1024 * 1024, false, false, 0, 0 }, { "/hello", 64 * 1024, true, false, 1, 0 },
    { "/hello", 64 * 1024, false, true, 1, 1 },          { "/zipped", 64 * 1024, false, true, 1, 1 },
  };
  open_transport();
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    probe p;
    probe_init(&p, "GET", port, cases[i].path);
    p.request.header_limit = cases[i].header_limit;
    p.refuse_headers = cases[i].refuse_headers;
    p.refuse_body = cases[i].refuse_body;
    CHECK(probe_run(&p));
    CHECK_IS(p.end.result, i == 1 ? SF_RESULT_COMPLETE : SF_RESULT_TOO_LARGE);
    CHECK_IS(p.headers, cases[i].headers);
    CHECK_IS(p.bodies, cases[i].bodies);
    probe_fini(&p);
  }
  close_transport();
}

static void test_codings(void)
{
  open_transport();
  for (int stream = 0; stream < 2; stream++) {
    probe p;
    probe_init(&p, "GET", port, "/zipped");
    p.request.stream = stream != 0;
    CHECK(probe_run(&p));
    check_end(&p, SF_RESULT_COMPLETE, SF_PHASE_IDLE);
    CHECK_IS(p.body_length, 8 * (sizeof unzipped - 1));
    CHECK(p.body != NULL && strncmp(p.body, unzipped, sizeof unzipped - 1) == 0);
    const char *asked = find_header(server.last_head, "accept-encoding", NULL);
    CHECK(asked != NULL && (strcmp(asked, "identity") == 0) == (stream != 0));
    CHECK(asked != NULL && (strstr(asked, "gzip") != NULL) == (stream == 0));
    probe_fini(&p);
  }
  static const char *const broken[] = { "/damaged", "/unknown-coding" };
  for (int i = 0; i < 2; i++) {
    probe p;
    probe_init(&p, "GET", port, broken[i]);
    CHECK(probe_run(&p));
    CHECK_IS(p.end.result, SF_RESULT_UNDECODABLE);
    probe_fini(&p);
  }
  close_transport();
}

static void test_methods(void)
{
  static const struct {
    const char *method, *body;
    const char *length; /* as sent */
  } cases[] = {
    { "GET", NULL, NULL },     { "POST", NULL, "0" },   { "POST", "", "0" },      { "POST", "{}", "2" },
    { "PUT", "abc", "3" },     { "PATCH", "abc", "3" }, { "DELETE", NULL, NULL }, { "DELETE", "abc", "3" },
    { "OPTIONS", NULL, NULL }, { "GET", "ab", "2" },    { "GET", NULL, NULL },    { "POST", "again", "5" },
  };
  open_transport();
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    probe p;
    probe_init(&p, cases[i].method, port, "/hello");
    p.request.body = cases[i].body;
    p.request.body_length = cases[i].body != NULL ? strlen(cases[i].body) : 0;
    CHECK(probe_run(&p));
    check_end(&p, SF_RESULT_COMPLETE, SF_PHASE_IDLE);
    char line[64];
    snprintf(line, sizeof line, "%s /hello HTTP/1.1\r\n", cases[i].method);
    CHECK(strncmp(server.last_head, line, strlen(line)) == 0);
    const char *length = find_header(server.last_head, "content-length", NULL);
    CHECK((length == NULL) == (cases[i].length == NULL));
    CHECK(length == NULL || strcmp(length, cases[i].length) == 0);
    probe_fini(&p);
  }
  close_transport();
}

static void test_sent_headers(void)
{
  static const char *const lines[] = { "content-type: application/json", "USER-AGENT: mine/1", "X-Odd: a: b,c",
                                       "accept-encoding: br" };
  open_transport();
  for (int given = 0; given < 2; given++) {
    probe p;
    probe_init(&p, "POST", port, "/hello");
    p.request.headers = lines;
    p.request.header_count = given ? 4 : 0;
    CHECK(probe_run(&p));
    int count;
    const char *agent = find_header(server.last_head, "user-agent", &count);
    CHECK_IS(count, 1);
    CHECK(agent != NULL && strncmp(agent, given ? "mine/1" : "surefoot/", given ? 7 : 9) == 0);
    find_header(server.last_head, "content-type", &count);
    CHECK_IS(count, given);
    find_header(server.last_head, "accept-encoding", &count);
    CHECK_IS(count, 1);
    find_header(server.last_head, "expect", &count);
    CHECK_IS(count, 0);
    const char *odd = find_header(server.last_head, "x-odd", &count);
    CHECK(given ? odd != NULL && strcmp(odd, "a: b,c") == 0 : odd == NULL);
    probe_fini(&p);
  }
  close_transport();
}

static void test_big_body(void)
{
  char *body = malloc(BIG);
  for (size_t i = 0; i < BIG; i++) body[i] = (char)(i * 7 + i / 1000);
  open_transport();
  for (int round = 0; round < 2; round++) {
    probe p;
    probe_init(&p, "POST", port, "/hello");
    p.request.body = body;
    p.request.body_length = BIG - (size_t)round;
    CHECK(probe_run(&p));
    check_end(&p, SF_RESULT_COMPLETE, SF_PHASE_IDLE);
    CHECK_IS(server.last_body_length, BIG - round);
    CHECK(server.last_body_sum == sum_bytes(0, body, BIG - (size_t)round));
    CHECK(p.end.bytes_sent >= BIG && p.end.bytes_sent < BIG + 4096);
    CHECK(find_header(server.last_head, "expect", NULL) == NULL);
    probe_fini(&p);
  }
  close_transport();
  free(body);
}

static void test_counts_and_times(void)
{
  open_transport();
  for (int reused = 0; reused < 2; reused++) {
    probe p;
    probe_init(&p, "POST", port, "/hello");
    p.request.body = "0123456789";
    p.request.body_length = 10;
    CHECK(probe_run(&p));
    CHECK_IS(p.end.reused, reused);
    CHECK_IS(p.end.bytes_sent, strlen(server.last_head) + 2 + 10); /* the head was cut before its empty line */
    CHECK_IS(p.end.bytes_received,
             strlen("HTTP/1.1 200 OK\r\nX-One: 1\r\nContent-Length: 5\r\nX-Two:  two \r\n\r\nhello"));
    CHECK((p.exchange.link.connect_us > 0) == (reused == 0));
    CHECK(p.exchange.link.connect_us < 5000000 && p.exchange.link.tls_us == 0);
    CHECK(strcmp(p.exchange.link.addresses, reused ? "" : "127.0.0.1") == 0);
    probe_fini(&p);
  }
  close_transport();
}

static const check_test tests[] = {
  { "whole answers: every framing, no redirect followed, 1xx and trailers left out", test_whole },
  { "broken answers: cut, reset, nonsense", test_broken },
  { "limits: headers, and refusals from above", test_limits },
  { "content codings", test_codings },
  { "methods and bodies, also on handles used before", test_methods },
  { "headers as they are sent", test_sent_headers },
  { "a body of 8 MB, without Expect", test_big_body },
  { "bytes and times", test_counts_and_times },
};

int main(int argc, char **argv)
{
  port = serve(AF_INET, routes, sizeof routes / sizeof *routes);
  if (port == 0) return 2;
  return check_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
