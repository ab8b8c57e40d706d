/*
 * body_test.c: bodies of segments: read from any place in pieces of any size, files that change or cannot be read, and the
 * way over libcurl, where every sending begins anew.
 */
#define _FILE_OFFSET_BITS 64

#include <dirent.h>
#include <sys/stat.h>
#include <sys/time.h>

#include "probe.h"
#include "server.h"

enum { MEGABYTE = 1024 * 1024 };

static int port;
static char folder[] = "/tmp/surefoot-body.XXXXXX", path_a[64], path_b[64];

static int open_files(void)
{
  int count = 0;
  DIR *dir = opendir("/proc/self/fd");
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;) count += entry->d_name[0] != '.';
  closedir(dir);
  return count;
}

static char byte_at(size_t i)
{
  return (char)(i * 7 + i / 1000);
}

/* A file of `length` bytes, each told by its place. */
static void write_file(const char *path, size_t length)
{
  FILE *file = fopen(path, "wb");
  for (size_t i = 0; i < length; i++) putc(byte_at(i), file);
  fclose(file);
}

static sf_body *open_body(const sf_body_part *parts, size_t count)
{
  sf_body *body = sf_body_open(parts, count);
  if (body == NULL) abort();
  return body;
}

static sf_body *open_file(const char *path)
{
  const sf_body_part part = { .path = path };
  return open_body(&part, 1);
}

/* ---- alone ---- */

static void test_segments(void)
{
  write_file(path_a, 10);
  write_file(path_b, 0);
  const sf_body_part parts[] = {
    { .bytes = "", .length = 0 }, { .bytes = "<\0>", .length = 3 },
    { .path = path_a },           { .bytes = "end of a", .length = 8 },
    { .path = path_b },           { .path = path_a },
    { .path = path_b },
  };
  char expected[64], got[64];
  size_t length = 0;
  memcpy(expected, "<\0>", 3), length += 3;
  for (size_t i = 0; i < 10; i++) expected[length++] = byte_at(i);
  memcpy(expected + length, "end of a", 8), length += 8;
  for (size_t i = 0; i < 10; i++) expected[length++] = byte_at(i);
  int before = open_files();
  sf_body *body = open_body(parts, sizeof parts / sizeof *parts);
  CHECK_IS(body->length, length);
  CHECK(body->problem[0] == '\0' && sf_body_is_intact(body));
  for (size_t from = 0; from <= length; from++) {
    for (size_t size = 1; size <= length + 2; size++) {
      size_t most = size < length - from ? size : length - from;
      memset(got, '?', sizeof got);
      CHECK_IS(sf_body_read(body, from, got, size), most);
      CHECK(memcmp(got, expected + from, most) == 0 && got[most] == '?');
    }
  }
  CHECK(open_files() > before);
  sf_body_close(body);
  CHECK_IS(open_files(), before);
  sf_body_close(NULL);
  body = open_body(NULL, 0);
  CHECK_IS(sf_body_read(body, 0, got, sizeof got), 0);
  sf_body_close(body);
}

static void test_files_that_will_not_do(void)
{
  char pipe[64];
  snprintf(pipe, sizeof pipe, "%s/pipe", folder);
  CHECK_IS(mkfifo(pipe, 0600), 0);
  write_file(path_a, 10);
  const struct {
    const char *path, *why;
  } cases[] = {
    { "/nowhere/at/all", "No such file" }, { folder, "Is a directory" },        { pipe, "not a regular file" },
    { "/dev/null", "not a regular file" }, { "/proc/self/status", "its size" },
  };
  int before = open_files();
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const sf_body_part parts[] = { { .path = path_a }, { .path = cases[i].path }, { .path = path_a } };
    sf_body *body = open_body(parts, 3);
    CHECK(strstr(body->problem, cases[i].why) != NULL && strstr(body->problem, cases[i].path) != NULL);
    sf_body_close(body);
  }
  CHECK_IS(open_files(), before);
  remove(pipe);
}

static void truncate_it(const char *path)
{
  CHECK_IS(truncate(path, 50), 0);
}

static void lengthen_it(const char *path)
{
  FILE *file = fopen(path, "ab");
  putc('x', file);
  fclose(file);
}

static void rewrite_it(const char *path)
{
  write_file(path, 100);
  struct timeval later[2] = { { .tv_sec = 2000000000 }, { .tv_sec = 2000000000 } };
  CHECK_IS(utimes(path, later), 0);
}

static void test_files_that_change(void)
{
  void (*const changes[])(const char *) = { truncate_it, lengthen_it, rewrite_it };
  char got[100];
  for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
    write_file(path_a, 100);
    sf_body *body = open_file(path_a);
    CHECK_IS(sf_body_read(body, 0, got, 40), 40);
    changes[i](path_a);
    CHECK_IS(sf_body_read(body, 40, got, 60), -1);
    CHECK(strstr(body->problem, changes[i] == truncate_it ? "shorter" : "changed") != NULL);
    CHECK(!sf_body_is_intact(body) && strstr(body->problem, path_a) != NULL);
    sf_body_close(body);
  }
}

static void test_names_that_change(void)
{
  char got[100];
  write_file(path_a, 100);
  write_file(path_b, 50);
  sf_body *body = open_file(path_a);
  CHECK_IS(rename(path_b, path_a), 0);
  CHECK_IS(sf_body_read(body, 0, got, 100), 100);
  CHECK(got[99] == byte_at(99) && sf_body_is_intact(body));
  remove(path_a);
  CHECK(sf_body_is_intact(body));
  sf_body_close(body);
}

static void test_more_than_four_gigabytes(void)
{
  const int64_t size = INT64_C(5) << 30;
  FILE *file = fopen(path_a, "wb");
  CHECK_IS(ftruncate(fileno(file), size), 0); /* sparse */
  CHECK_IS(fseeko(file, size - 3, SEEK_SET), 0);
  fputs("end", file);
  fclose(file);
  const sf_body_part parts[] = { { .bytes = "<", .length = 1 }, { .path = path_a }, { .bytes = ">", .length = 1 } };
  sf_body *body = open_body(parts, 3);
  char got[8];
  CHECK_IS(body->length, size + 2);
  CHECK_IS(sf_body_read(body, (uint64_t)size - 3, got, 8), 5);
  CHECK(memcmp(got, "\0end>", 5) == 0);
  sf_body_close(body);
  remove(path_a);
}

/* ---- over libcurl ---- */

static void (*change)(const char *); /* made when the connection stands */

static and_then answer_hello(int fd, const server_request *request)
{
  (void)request;
  say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
  return AND_GO_ON;
}

static and_then answer_then_close(int fd, const server_request *request)
{
  (void)request;
  say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  return AND_CLOSE;
}

static const server_route routes[] = { { "/hello", answer_hello }, { "/close", answer_then_close } };

static uint32_t sum_of(sf_body *body)
{
  static char piece[65536];
  uint32_t sum = 0;
  int64_t got;
  for (uint64_t at = 0; (got = sf_body_read(body, at, piece, sizeof piece)) > 0; at += (uint64_t)got)
    sum = sum_bytes(sum, piece, (size_t)got);
  return sum;
}

static void upload(const char *method, const char *path, sf_body *body, sf_result result)
{
  probe p;
  probe_init(&p, method, port, path);
  p.request.upload = body;
  CHECK(probe_run(&p));
  CHECK_IS(p.end.result, result);
  if (result == SF_RESULT_COMPLETE) {
    char length[32];
    snprintf(length, sizeof length, "%llu", (unsigned long long)body->length);
    const char *announced = find_header(server.last_head, "content-length", NULL);
    CHECK(announced != NULL && strcmp(announced, length) == 0);
    CHECK(find_header(server.last_head, "transfer-encoding", NULL) == NULL);
    CHECK(find_header(server.last_head, "expect", NULL) == NULL);
    CHECK_IS(server.last_body_length, body->length);
    CHECK_IS(server.last_body_sum, sum_of(body));
    CHECK(strncmp(server.last_head, method, strlen(method)) == 0);
    CHECK(p.end.bytes_sent >= body->length && p.end.bytes_sent < body->length + 4096);
  }
  probe_fini(&p);
}

static void test_sending(void)
{
  write_file(path_a, 3 * MEGABYTE);
  write_file(path_b, 0);
  const sf_body_part parts[] = { { .bytes = "head", .length = 4 },
                                 { .path = path_a },
                                 { .bytes = "tail", .length = 4 } };
  sf_body *form = open_body(parts, 3), *file = open_file(path_a), *empty = open_file(path_b),
          *none = open_body(NULL, 0);
  open_transport();
  for (int round = 0; round < 2; round++) {
    upload("POST", "/hello", form, SF_RESULT_COMPLETE);
    upload("PUT", "/hello", file, SF_RESULT_COMPLETE);
    upload("POST", "/hello", empty, SF_RESULT_COMPLETE);
    upload("PATCH", "/hello", none, SF_RESULT_COMPLETE);
    probe p; /* a plain one in between, on the same handles */
    probe_init(&p, "POST", port, "/hello");
    p.request.body = "plain";
    p.request.body_length = 5;
    CHECK(probe_run(&p));
    CHECK_IS(server.last_body_sum, sum_bytes(0, "plain", 5));
    probe_fini(&p);
  }
  close_transport();
  sf_body_close(form), sf_body_close(file), sf_body_close(empty), sf_body_close(none);
}

/* The connection is kept, and dead: libcurl must not repeat what it has begun to send; whoever asked may. */
static void test_stale_connections(void)
{
  write_file(path_a, MEGABYTE);
  sf_body *body = open_file(path_a);
  open_transport();
  int requests = server_read(&server.requests);
  upload("POST", "/close", body, SF_RESULT_COMPLETE);
  probe p;
  probe_init(&p, "POST", port, "/hello");
  p.request.upload = body;
  CHECK(probe_run(&p));
  if (p.end.result != SF_RESULT_COMPLETE) {
    CHECK_IS(p.end.result, SF_RESULT_LOST);
    CHECK(p.end.reused && !p.end.any_response);
    CHECK_IS(server_read(&server.requests), requests + 1);
    p.request.fresh = true;
    p.done = 0;
    CHECK(probe_run(&p));
  }
  CHECK_IS(p.end.result, SF_RESULT_COMPLETE);
  CHECK_IS(server.last_body_sum, sum_of(body));
  CHECK_IS(server_read(&server.requests), requests + 2);
  probe_fini(&p);
  close_transport();
  sf_body_close(body);
}

static void connected_then_changed(sf_exchange *exchange)
{
  probe_up.connected(exchange);
  change(path_a);
}

static void test_changes_while_sending(void)
{
  void (*const changes[])(const char *) = { truncate_it, lengthen_it, rewrite_it };
  open_transport();
  int requests = server_read(&server.requests);
  for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
    write_file(path_a, 2 * MEGABYTE);
    sf_body *body = open_file(path_a);
    sf_exchange_up up = probe_up;
    up.connected = connected_then_changed;
    change = changes[i];
    probe p;
    probe_init(&p, "POST", port, "/hello");
    p.request.upload = body;
    p.exchange.up = &up;
    CHECK(probe_run(&p));
    CHECK_IS(p.end.result, SF_RESULT_BAD_REQUEST);
    CHECK(strcmp(p.message, body->problem) == 0 && strstr(p.message, path_a) != NULL);
    CHECK(!p.end.any_response);
    probe_fini(&p);
    sf_body_close(body);
  }
  CHECK_IS(server_read(&server.requests), requests); /* none was whole */
  close_transport();
}

static void test_cancelling(void)
{
  write_file(path_a, 0);
  CHECK_IS(truncate(path_a, 256 * MEGABYTE), 0); /* sparse */
  sf_body *body = open_file(path_a);
  open_transport();
  for (int turns = 0; turns < 12; turns++) {
    probe p;
    probe_init(&p, "POST", port, "/hello");
    p.request.upload = body;
    CHECK(probe_start(&p));
    for (int i = 0; i < turns && p.done == 0; i++) turn(SF_SECOND);
    CHECK_IS(p.done, 0);
    transport->ops->cancel(transport, &p.exchange);
    CHECK(p.exchange.carrier == NULL);
    probe_fini(&p);
  }
  sf_body_close(body); /* nobody reads it any more */
  for (int i = 0; i < 5; i++) turn(SF_MILLISECOND);
  close_transport();
}

static const check_test tests[] = {
  { "segments of bytes and files, from any place in any pieces", test_segments },
  { "files that will not do are named, and none stays open", test_files_that_will_not_do },
  { "files that change while they are read", test_files_that_change },
  { "files whose names change or vanish are still theirs", test_names_that_change },
  { "more than four gigabytes", test_more_than_four_gigabytes },
  { "sent with their length, on new and used handles", test_sending },
  { "sent anew after a kept connection was dead", test_stale_connections },
  { "a change while they are sent ends the exchange", test_changes_while_sending },
  { "cancelled at any turn", test_cancelling },
};

int main(int argc, char **argv)
{
  port = serve(AF_INET, routes, sizeof routes / sizeof *routes);
  if (port == 0 || mkdtemp(folder) == NULL) return 2;
  snprintf(path_a, sizeof path_a, "%s/a", folder);
  snprintf(path_b, sizeof path_b, "%s/b", folder);
  int failed = check_main(tests, sizeof tests / sizeof *tests, argc, argv);
  remove(path_a), remove(path_b), remove(folder);
  return failed;
}
