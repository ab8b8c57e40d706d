/*
 * front_load.c: callers of a gateway, as light as they can be: connections that are kept, one request on each at a time,
 * the bytes of a file. It also reads what the processes under test use, so that both are of the same window.
 *
 *   front_load PORT REQUEST_FILE CONNECTIONS RATE WARM_SECONDS SECONDS PID[,PID...]
 *
 * RATE 0: a connection asks again as soon as it was answered. Else so many requests a second, each at a moment of its
 * own; the latency of one runs from when it was due, whether or not its connection was free then. Answers may be event
 * streams, of any length: their events are counted. The window opens after WARM_SECONDS, and when it closes one line of
 * JSON is printed; streams that are open still end with the program. Errors are those of the warming up, too.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

enum { BATCH = 256, HEAD_MOST = 8192, READ_MOST = 65536, PIDS_MOST = 64 };

typedef enum { IN_HEAD, IN_BODY, IN_CHUNK_SIZE, IN_CHUNK, IN_CHUNK_END, IN_TRAILER } part;

typedef struct connection {
  int fd;
  bool busy, chunked, after_newline;
  part part;
  uint64_t left;            /* bytes of the body, or of the chunk */
  int64_t due_ns, began_ns; /* the next request's moment; that of the one under way */
  size_t head_length;
  char *head; /* NULL between answers: thousands are open */
} connection;

static struct {
  struct sockaddr_in address;
  char *request;
  size_t request_length, count;
  connection *connections;
  int64_t period_ns; /* between two requests of a connection; 0: at once */
  int epoll_set;
  long pids[PIDS_MOST];
  size_t pid_count;
} run;

static struct {
  size_t requests, errors, events, bytes, capacity;
  int64_t *latencies;
} seen;

static _Noreturn void fail(const char *what)
{
  perror(what);
  exit(1);
}

/* ---- what the processes under test use ---- */

static double number_in(const char *path, const char *name)
{
  char line[256];
  double number = 0;
  FILE *file = fopen(path, "r");
  if (file == NULL) return 0;
  while (fgets(line, sizeof line, file) != NULL) {
    if (strncmp(line, name, strlen(name)) != 0) continue;
    number = strtod(line + strlen(name), NULL);
    break;
  }
  fclose(file);
  return number;
}

/* Seconds of processor time of all threads, those that have ended too. */
static double cpu_of(long pid)
{
  clockid_t clock;
  struct timespec used;
  if (clock_getcpuclockid((pid_t)pid, &clock) != 0 || clock_gettime(clock, &used) != 0) fail("a process under test");
  return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

static double cpu_of_all(void)
{
  double total = 0;
  for (size_t i = 0; i < run.pid_count; i++) total += cpu_of(run.pids[i]);
  return total;
}

static double resident_kb(void)
{
  double total = 0;
  char path[64];
  for (size_t i = 0; i < run.pid_count; i++) {
    snprintf(path, sizeof path, "/proc/%ld/status", run.pids[i]);
    total += number_in(path, "VmRSS:");
  }
  return total;
}

/* ---- requests ---- */

static void open_connection(connection *c)
{
  struct epoll_event event = { .events = EPOLLIN, .data.ptr = c };
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (c->fd < 0) fail("socket");
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
  if (connect(c->fd, (struct sockaddr *)&run.address, sizeof run.address) != 0) fail("connect");
  if (epoll_ctl(run.epoll_set, EPOLL_CTL_ADD, c->fd, &event) != 0) fail("epoll_ctl");
}

static void ask(connection *c, int64_t due_ns)
{
  c->busy = true;
  c->began_ns = due_ns;
  c->part = IN_HEAD;
  c->head_length = 0;
  c->after_newline = false;
  if (send(c->fd, run.request, run.request_length, MSG_NOSIGNAL) != (ssize_t)run.request_length) fail("send");
}

static void count(const connection *c, bool good)
{
  int64_t now = load_now();
  if (seen.requests < seen.capacity) seen.latencies[seen.requests] = now - c->began_ns;
  seen.requests++;
  if (!good) seen.errors++;
}

static void ask_next(connection *c)
{
  if (run.period_ns == 0) ask(c, load_now());
  else if (c->due_ns <= load_now()) {
    ask(c, c->due_ns);
    c->due_ns += run.period_ns;
  }
}

static void on_answer(connection *c)
{
  c->busy = false;
  free(c->head);
  c->head = NULL;
  count(c, true);
  ask_next(c);
}

static void on_end(connection *c, const char *why)
{
  if (c->busy && seen.errors < 3) fprintf(stderr, "%s: %.*s\n", why, (int)c->head_length, c->head ? c->head : "");
  if (c->busy) count(c, false);
  close(c->fd);
  c->busy = false;
  open_connection(c);
  ask_next(c);
}

/* ---- answers ---- */

/* What follows a whole head; false: it is none that counts as an answer. */
static bool read_head(connection *c)
{
  c->head[c->head_length] = '\0';
  c->chunked = false;
  c->left = 0;
  for (char *line = c->head; (line = strchr(line, '\n')) != NULL;) {
    line++;
    if (strncasecmp(line, "content-length:", 15) == 0) c->left = strtoull(line + 15, NULL, 10);
    if (strncasecmp(line, "transfer-encoding: chunked", 26) == 0) c->chunked = true;
  }
  c->part = c->chunked ? IN_CHUNK_SIZE : IN_BODY;
  return strncmp(c->head, "HTTP/1.1 200", 12) == 0 && (c->chunked || c->left > 0);
}

/* Bytes taken; 0: the head is too long, or none. */
static size_t take_head(connection *c, const char *bytes, size_t length)
{
  if (c->head == NULL) c->head = malloc(HEAD_MOST + 1);
  if (c->head == NULL) abort();
  for (size_t i = 0; i < length && c->head_length < HEAD_MOST; i++) {
    c->head[c->head_length++] = bytes[i];
    if (bytes[i] != '\n' || c->head_length < 4 || memcmp(c->head + c->head_length - 4, "\r\n\r\n", 4) != 0) continue;
    return read_head(c) ? i + 1 : 0;
  }
  return c->head_length < HEAD_MOST ? length : 0;
}

static void count_events(connection *c, const char *bytes, size_t length)
{
  for (size_t i = 0; i < length; i++) {
    if (bytes[i] == '\n' && c->after_newline) seen.events++;
    c->after_newline = bytes[i] == '\n';
  }
}

static size_t take_body(connection *c, const char *bytes, size_t length)
{
  size_t taken = length < c->left ? length : (size_t)c->left;
  if (c->chunked) count_events(c, bytes, taken);
  c->left -= taken;
  if (c->left == 0 && c->chunked) c->part = IN_CHUNK_END;
  return taken;
}

/* Digits and a line's end; the end of a chunk and of the last one are line's ends, too. */
static size_t take_frame(connection *c, const char *bytes, size_t length)
{
  for (size_t i = 0; i < length; i++) {
    char digit = bytes[i];
    if (c->part == IN_CHUNK_SIZE && digit >= '0' && digit <= '9') c->left = c->left * 16 + (uint64_t)(digit - '0');
    if (c->part == IN_CHUNK_SIZE && digit >= 'a' && digit <= 'f') c->left = c->left * 16 + (uint64_t)(digit - 'a' + 10);
    if (bytes[i] != '\n') continue;
    if (c->part == IN_CHUNK_SIZE) c->part = c->left > 0 ? IN_CHUNK : IN_TRAILER;
    else if (c->part == IN_CHUNK_END) c->part = IN_CHUNK_SIZE;
    else c->part = IN_BODY; /* with nothing left of it */
    return i + 1;
  }
  return length;
}

static void take(connection *c, const char *bytes, size_t length)
{
  seen.bytes += length;
  while (length > 0) {
    size_t taken;
    if (!c->busy) return on_end(c, "bytes that nobody asked for");
    if (c->part == IN_HEAD) taken = take_head(c, bytes, length);
    else if (c->part == IN_BODY || c->part == IN_CHUNK) taken = take_body(c, bytes, length);
    else taken = take_frame(c, bytes, length);
    if (taken == 0) return on_end(c, "no answer");
    bytes += taken;
    length -= taken;
    if (c->part == IN_BODY && c->left == 0) on_answer(c);
  }
}

static void receive(connection *c)
{
  static char bytes[READ_MOST];
  ssize_t got = recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT);
  if (got > 0) take(c, bytes, (size_t)got);
  else if (got == 0 || (errno != EAGAIN && errno != EINTR)) on_end(c, "the connection ended");
}

/* ---- the run ---- */

static void wait_and_receive(int64_t until_ns)
{
  struct epoll_event events[BATCH];
  int64_t left = until_ns - load_now();
  if (left < 0) left = 0;
  struct timespec timeout = { .tv_sec = left / 1000000000, .tv_nsec = left % 1000000000 };
  int ready = epoll_pwait2(run.epoll_set, events, BATCH, &timeout, NULL);
  if (ready < 0 && errno != EINTR) fail("epoll_pwait2");
  for (int i = 0; i < ready; i++) receive(events[i].data.ptr);
}

/* The connections are due in turn. */
static void run_until(int64_t until_ns)
{
  static size_t turn;
  static int64_t due_ns;
  int64_t step_ns = run.period_ns / (int64_t)run.count;
  if (due_ns == 0) due_ns = run.connections[0].due_ns;
  while (load_now() < until_ns) {
    for (; step_ns > 0 && due_ns <= load_now(); due_ns += step_ns) {
      connection *c = &run.connections[turn++ % run.count];
      if (!c->busy) ask_next(c);
    }
    wait_and_receive(step_ns > 0 && due_ns < until_ns ? due_ns : until_ns);
  }
}

static void start_all(double rate)
{
  run.connections = calloc(run.count, sizeof *run.connections);
  if (run.connections == NULL) abort();
  for (size_t i = 0; i < run.count; i++) open_connection(&run.connections[i]);
  run.period_ns = rate > 0 ? (int64_t)(1e9 / rate) * (int64_t)run.count : 0;
  int64_t now = load_now();
  for (size_t i = 0; i < run.count; i++) {
    run.connections[i].due_ns = now + run.period_ns / (int64_t)run.count * (int64_t)i;
    if (run.period_ns == 0) ask(&run.connections[i], now);
  }
}

static double latency(double share)
{
  size_t count = seen.requests < seen.capacity ? seen.requests : seen.capacity;
  return count > 0 ? (double)seen.latencies[(size_t)((double)(count - 1) * share)] / 1e3 : 0;
}

static void measure(double seconds)
{
  free(seen.latencies);
  seen.capacity = (size_t)(seconds * 200000);
  seen.latencies = calloc(seen.capacity, sizeof *seen.latencies);
  if (seen.latencies == NULL) abort();
  seen.requests = seen.events = seen.bytes = 0;
  double cpu = cpu_of_all();
  int64_t began = load_now();
  run_until(began + (int64_t)(seconds * 1e9));
  double wall = (double)(load_now() - began) / 1e9;
  cpu = cpu_of_all() - cpu;
  qsort(seen.latencies, seen.requests < seen.capacity ? seen.requests : seen.capacity, sizeof(int64_t), load_compare);
  printf("{\"requests\":%zu,\"errors\":%zu,\"events\":%zu,\"bytes\":%zu,\"wall_s\":%.6f,\"cpu_s\":%"
         ".6f,"
         "\"rss_kb\":%.0f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f}\n",
         seen.requests, seen.errors, seen.events, seen.bytes, wall, cpu, resident_kb(), latency(0.5), latency(0.99),
         latency(1));
}

static void read_pids(char *list)
{
  for (char *rest = NULL, *one = strtok_r(list, ",", &rest); one != NULL; one = strtok_r(NULL, ",", &rest)) {
    if (run.pid_count == PIDS_MOST) break;
    run.pids[run.pid_count++] = strtol(one, NULL, 10);
  }
}

int main(int argc, char **argv)
{
  if (argc != 8) {
    fprintf(stderr, "usage: front_load PORT REQUEST_FILE CONNECTIONS RATE WARM_SECONDS SECONDS PID[,PID...]\n");
    return 2;
  }
  prctl(PR_SET_TIMERSLACK, 1UL);
  run.address = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])) };
  run.address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  run.request = load_file(argv[2], &run.request_length);
  run.count = strtoul(argv[3], NULL, 10);
  read_pids(argv[7]);
  run.epoll_set = epoll_create1(EPOLL_CLOEXEC);
  if (run.epoll_set < 0) fail("epoll_create1");
  start_all(strtod(argv[4], NULL));
  run_until(load_now() + (int64_t)(strtod(argv[5], NULL) * 1e9));
  measure(strtod(argv[6], NULL));
  return 0;
}
