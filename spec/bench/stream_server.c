/*
 * stream_server.c: answers every POST with an event stream of OpenAI's chat.completion.chunk, as light and as steady as
 * one thread can: HTTP/1.1, keep-alive, chunked, one HTTP chunk per event. The events: a role, CHUNKS texts, a finish
 * reason, usage, [DONE]; a text's is 195 bytes. What to send stands anywhere in the request's target:
 *
 *   chunks=200     texts of the stream
 *   delay_ms=20    from event to event; 0 sends as fast as the client reads
 *   spread=1       each stream at a moment of its own between two beats; 0: all that begin together stay together
 *   per_write=1    events in one write
 *
 *   stream_server PORT [PID]     listens on all addresses (0: on a free port), prints its port; ends with process PID
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
  TEXTS = 64, /* texts that differ */
  TEXT_MOST = 320,
  AROUND = 3, /* events beside the texts and [DONE]: role, finish, usage */
  BATCH = 256,
  REQUEST_MOST = 16 * 1024, /* bytes of a request's head */
  EVENTS_PER_WRITE_MOST = 64,
};

typedef struct text {
  char bytes[TEXT_MOST];
  size_t length;
} text;

typedef struct stream stream;
struct stream {
  int fd; /* -1: ended */
  stream *next_ended;
  unsigned watched;            /* what epoll knows */
  size_t body_left;            /* of the request */
  unsigned events, next;       /* of the answer: how many, and the next one; 0 = none is being answered */
  unsigned per_write;          /* events */
  int64_t delay_ns, due_ns;    /* due: when the next event is to be sent */
  size_t place;                /* in the heap, from 1; 0 = not there */
  size_t request_length, rest; /* bytes in `request`; bytes left of `answer`, at `answer_at` */
  size_t answer_at;
  char *request, *answer; /* NULL when nothing is kept */
};

static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
                           "x-request-id: req_bench\r\nTransfer-Encoding: chunked\r\n\r\n";
static text texts[TEXTS], role, finish, usage, done;
static stream *ended; /* freed at the end of the turn: until then an event may name it */
static int epoll_set, listening;
static uint64_t begun; /* streams so far */

static int64_t now_ns(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static _Noreturn void fail(const char *what)
{
  perror(what);
  exit(1);
}

/* ---- the events ---- */

/* One HTTP chunk with one event. */
static void set_event(text *t, const char *data, size_t length)
{
  t->length = (size_t)snprintf(t->bytes, sizeof t->bytes, "%zx\r\ndata: %.*s\n\n\r\n", length + 8, (int)length, data);
}

static void set_chunk(text *t, const char *rest)
{
  char data[TEXT_MOST];
  int length = snprintf(data, sizeof data,
                        "{\"id\":\"chatcmpl-0123456789abcdefghij\",\"object\":\"chat.completion.chunk\","
                        "\"created\":1700000000,\"model\":\"sim-large\",\"choices\":[%s}",
                        rest);
  set_event(t, data, (size_t)length);
}

static void write_events(void)
{
  char rest[TEXT_MOST];
  for (int i = 0; i < TEXTS; i++) {
    snprintf(rest, sizeof rest, "{\"index\":0,\"delta\":{\"content\":\" word%02d\"},\"finish_reason\":null}]", i);
    set_chunk(&texts[i], rest);
  }
  set_chunk(&role, "{\"index\":0,\"delta\":{\"role\":\"assistant\"},\"finish_reason\":null}]");
  set_chunk(&finish, "{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]");
  set_chunk(&usage, "],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":200,\"total_tokens\":209}");
  set_event(&done, "[DONE]", 6);
}

static const text *event_at(const stream *s, unsigned i)
{
  if (i == 0) return &role;
  unsigned left = s->events - i;
  return left == 1 ? &done : left == 2 ? &usage : left == 3 ? &finish : &texts[i % TEXTS];
}

/* ---- a heap of streams by due time ---- */

static stream **heap;
static size_t heap_count, heap_capacity;

static void heap_set(size_t place, stream *s)
{
  heap[place] = s;
  s->place = place;
}

static void heap_sift(size_t place)
{
  stream *s = heap[place];
  for (; place > 1 && heap[place / 2]->due_ns > s->due_ns; place /= 2) heap_set(place, heap[place / 2]);
  for (size_t child; (child = place * 2) <= heap_count; place = child) {
    if (child < heap_count && heap[child + 1]->due_ns < heap[child]->due_ns) child++;
    if (heap[child]->due_ns >= s->due_ns) break;
    heap_set(place, heap[child]);
  }
  heap_set(place, s);
}

static void heap_put(stream *s)
{
  if (s->place == 0) {
    if (heap_count + 1 >= heap_capacity) {
      heap_capacity = heap_capacity * 2 + 64;
      heap = realloc(heap, heap_capacity * sizeof(stream *));
      if (heap == NULL) abort();
    }
    heap_set(++heap_count, s);
  }
  heap_sift(s->place);
}

static void heap_remove(stream *s)
{
  size_t place = s->place;
  if (place == 0) return;
  s->place = 0;
  stream *last = heap[heap_count--];
  if (last == s) return;
  heap_set(place, last);
  heap_sift(place);
}

/* ---- one connection ---- */

static void watch(stream *s, unsigned events)
{
  if (s->watched == events) return;
  struct epoll_event event = { .events = events, .data.ptr = s };
  if (epoll_ctl(epoll_set, s->watched == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, s->fd, &event) != 0) fail("epoll_ctl");
  s->watched = events;
}

static void end(stream *s)
{
  heap_remove(s);
  close(s->fd);
  s->fd = -1;
  s->next_ended = ended;
  ended = s;
}

static void free_ended(void)
{
  while (ended != NULL) {
    stream *s = ended;
    ended = s->next_ended;
    free(s->request);
    free(s->answer);
    free(s);
  }
}

/* What the socket did not take is kept, and sent when it does. */
static void keep_rest(stream *s, const char *bytes, size_t length)
{
  char *rest = malloc(length);
  if (rest == NULL) abort();
  memcpy(rest, bytes, length);
  free(s->answer);
  s->answer = rest;
  s->answer_at = 0;
  s->rest = length;
  watch(s, EPOLLIN | EPOLLOUT);
}

/* False: the connection is gone. */
static bool send_bytes(stream *s, const char *bytes, size_t length)
{
  ssize_t sent = send(s->fd, bytes, length, MSG_NOSIGNAL);
  if (sent < 0 && errno != EAGAIN && errno != EINTR) {
    end(s);
    return false;
  }
  size_t gone = sent < 0 ? 0 : (size_t)sent;
  if (gone < length) keep_rest(s, bytes + gone, length - gone);
  return true;
}

/* Sends what is due, and sets when there is more. */
static void send_events(stream *s)
{
  char bytes[sizeof head + (EVENTS_PER_WRITE_MOST + 1) * sizeof(text)];
  size_t length = 0;
  if (s->next == 0) {
    memcpy(bytes, head, sizeof head - 1);
    length = sizeof head - 1;
  }
  for (unsigned i = 0; i < s->per_write && s->next < s->events; i++) {
    const text *t = event_at(s, s->next++);
    memcpy(bytes + length, t->bytes, t->length);
    length += t->length;
  }
  bool over = s->next == s->events;
  if (over) {
    memcpy(bytes + length, "0\r\n\r\n", 5);
    length += 5;
    s->events = 0;
    heap_remove(s);
  }
  if (send_bytes(s, bytes, length) && !over && s->rest == 0) heap_put(s);
  else heap_remove(s);
}

static void send_rest(stream *s)
{
  ssize_t sent = send(s->fd, s->answer + s->answer_at, s->rest, MSG_NOSIGNAL);
  if (sent < 0 && errno != EAGAIN && errno != EINTR) {
    end(s);
    return;
  }
  s->answer_at += sent < 0 ? 0 : (size_t)sent;
  s->rest -= sent < 0 ? 0 : (size_t)sent;
  if (s->rest > 0) return;
  free(s->answer);
  s->answer = NULL;
  watch(s, EPOLLIN);
  if (s->events > 0) heap_put(s);
}

/* ---- requests ---- */

static unsigned long number_after(const char *line, const char *name, unsigned long otherwise)
{
  const char *found = strstr(line, name);
  return found != NULL ? strtoul(found + strlen(name), NULL, 10) : otherwise;
}

/* The first event goes at once. The golden ratio spreads however many streams evenly. */
static void answer(stream *s)
{
  char *line = s->request;
  line[strcspn(line, "\r\n")] = '\0';
  s->events = (unsigned)number_after(line, "chunks=", 200) + AROUND + 1;
  s->delay_ns = (int64_t)number_after(line, "delay_ms=", 0) * 1000000;
  s->per_write = (unsigned)number_after(line, "per_write=", 1);
  if (s->per_write < 1 || s->per_write > EVENTS_PER_WRITE_MOST) s->per_write = 1;
  uint64_t place = number_after(line, "spread=", 1) > 0 ? (++begun * UINT64_C(0x9e3779b97f4a7c15)) >> 32 : 0;
  s->due_ns = now_ns() + (int64_t)((uint64_t)s->delay_ns * place >> 32);
  s->next = 0;
  free(s->request); /* thousands of streams are open for long */
  s->request = NULL;
  send_events(s);
}

/* A whole head in s->request? Then its body may follow, and the next request behind it. False: it is none. */
static bool read_request(stream *s)
{
  s->request[s->request_length] = '\0';
  char *end_of_head = strstr(s->request, "\r\n\r\n");
  if (end_of_head == NULL) return s->request_length < REQUEST_MOST;
  size_t head_length = (size_t)(end_of_head - s->request) + 4, body = 0;
  *end_of_head = '\0';
  for (char *line = s->request; (line = strchr(line, '\n')) != NULL;) {
    line++;
    if (strncasecmp(line, "content-length:", 15) == 0) body = strtoul(line + 15, NULL, 10);
  }
  size_t here = s->request_length - head_length;
  if (here > body) return false; /* pipelined */
  s->body_left = body - here;
  s->request_length = 0;
  if (s->body_left == 0) answer(s);
  return true;
}

/* The target is kept in s->request until the body has come. */
static bool skip_body(stream *s)
{
  char bytes[REQUEST_MOST];
  ssize_t got = recv(s->fd, bytes, s->body_left < sizeof bytes ? s->body_left : sizeof bytes, 0);
  if (got <= 0) return got < 0 && (errno == EAGAIN || errno == EINTR);
  s->body_left -= (size_t)got;
  if (s->body_left == 0) answer(s);
  return true;
}

static bool receive(stream *s)
{
  if (s->body_left > 0) return skip_body(s);
  if (s->request == NULL) s->request = malloc(REQUEST_MOST + 1);
  if (s->request == NULL) abort();
  ssize_t got = recv(s->fd, s->request + s->request_length, REQUEST_MOST - s->request_length, 0);
  if (got <= 0) return got < 0 && (errno == EAGAIN || errno == EINTR);
  s->request_length += (size_t)got;
  return s->events == 0 && read_request(s);
}

static void accept_all(void)
{
  for (;;) {
    int fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)) return;
    if (fd < 0) fail("accept4");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
    stream *s = calloc(1, sizeof *s);
    if (s == NULL) abort();
    s->fd = fd;
    watch(s, EPOLLIN);
  }
}

static void handle(stream *s, unsigned events)
{
  if ((events & EPOLLOUT) && s->rest > 0) send_rest(s);
  if (s->fd >= 0 && (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) && !receive(s)) end(s);
}

/* ---- the turn ---- */

static int wait_for_events(struct epoll_event *events)
{
  if (heap_count == 0) return epoll_wait(epoll_set, events, BATCH, -1);
  int64_t left = heap[1]->due_ns - now_ns();
  struct timespec timeout = { .tv_sec = left / 1000000000, .tv_nsec = left % 1000000000 };
  if (left <= 0) timeout = (struct timespec){ 0 };
  return epoll_pwait2(epoll_set, events, BATCH, &timeout, NULL);
}

/* Each stream once per turn, so that those without a delay go side by side. */
static void send_due(void)
{
  int64_t now = now_ns();
  for (size_t turns = heap_count; turns > 0 && heap_count > 0 && heap[1]->due_ns <= now; turns--) {
    stream *s = heap[1];
    s->due_ns = s->delay_ns > 0 ? s->due_ns + s->delay_ns : now;
    send_events(s);
  }
}

static void open_port(unsigned port)
{
  struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
  socklen_t size = sizeof address;
  listening = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (listening < 0) fail("socket");
  setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
  if (bind(listening, (struct sockaddr *)&address, size) != 0) fail("bind");
  if (listen(listening, 4096) != 0) fail("listen");
  if (getsockname(listening, (struct sockaddr *)&address, &size) != 0) fail("getsockname");
  printf("%d\n", ntohs(address.sin_port));
  fflush(stdout);
}

static void watch_other(int fd, void *name)
{
  struct epoll_event event = { .events = EPOLLIN, .data.ptr = name };
  if (fd < 0 || epoll_ctl(epoll_set, EPOLL_CTL_ADD, fd, &event) != 0) fail("epoll_ctl");
}

int main(int argc, char **argv)
{
  struct epoll_event events[BATCH];
  int parent = -1;
  write_events();
  prctl(PR_SET_TIMERSLACK, 1UL);
  epoll_set = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_set < 0) fail("epoll_create1");
  if (argc > 2) watch_other(parent = (int)syscall(SYS_pidfd_open, atoi(argv[2]), 0), &parent);
  open_port(argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 0);
  watch_other(listening, &listening);
  for (;;) {
    int ready = wait_for_events(events);
    if (ready < 0 && errno != EINTR) fail("epoll_wait");
    for (int i = 0; i < ready; i++) {
      if (events[i].data.ptr == &parent) return 0;
      if (events[i].data.ptr == &listening) accept_all();
      else handle(events[i].data.ptr, events[i].events);
    }
    send_due();
    free_ended();
  }
}
