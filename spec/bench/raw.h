/*
 * raw.h: libcurl alone, driven as well as it can be: the floor that surefoot is compared with. Slots POST one body by
 * curl_multi_socket_action and one epoll set; the timer is a number that becomes the timeout of epoll_wait; interest is
 * lazy (a keep-alive socket stays registered); every slot keeps its easy handle. The bytes on the wire are surefoot's;
 * certificates are not verified.
 */
#ifndef SF_BENCH_RAW_H
#define SF_BENCH_RAW_H

#include <curl/curl.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "load.h"

enum { RAW_MOST_FDS = 65536, RAW_BATCH = 256, RAW_STREAMS_PER_CONNECTION = 100 };

typedef struct slot {
  CURL *easy;
  int64_t started;
  size_t bytes; /* of the answer */
} slot;

/* How an exchange ended; the slot is free again. */
typedef void raw_finished(slot *s, bool good);

static struct {
  const char *url;
  char *body;
  size_t body_length, in_flight;
  bool http2;
  struct curl_slist *headers;
  CURLM *multi;
  slot *slots;
  size_t slot_count;
  int epoll_set;
  int64_t due_ns, now_ns;
  raw_finished *finished;
  struct {
    unsigned char wanted, registered;
  } watches[RAW_MOST_FDS];
} raw;

/* ---- sockets and the timer ---- */

static void raw_watch(int fd, unsigned events)
{
  struct epoll_event event = { .data.fd = fd };
  event.events = (events & CURL_POLL_IN ? EPOLLIN : 0u) | (events & CURL_POLL_OUT ? EPOLLOUT : 0u);
  int operation = events == 0 ? EPOLL_CTL_DEL : raw.watches[fd].registered != 0 ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
  if (epoll_ctl(raw.epoll_set, operation, fd, &event) != 0 && events != 0) {
    perror("epoll_ctl");
    exit(1);
  }
  raw.watches[fd].registered = (unsigned char)events;
}

static int raw_on_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *socket_context)
{
  (void)easy, (void)context, (void)socket_context;
  unsigned events = what == CURL_POLL_REMOVE ? 0 : (unsigned)what;
  if (fd >= RAW_MOST_FDS) exit(1);
  raw.watches[fd].wanted = (unsigned char)events;
  if (events & ~(unsigned)raw.watches[fd].registered) raw_watch(fd, events);
  return 0;
}

static int raw_on_close(void *context, curl_socket_t fd)
{
  (void)context;
  raw.watches[fd].wanted = raw.watches[fd].registered = 0;
  return close(fd);
}

static int raw_on_timer(CURLM *m, long timeout_ms, void *context)
{
  (void)m, (void)context;
  raw.due_ns = timeout_ms < 0 ? INT64_MAX : raw.now_ns + timeout_ms * 1000000;
  return 0;
}

/* ---- exchanges ---- */

static void slot_init(slot *s, curl_write_callback on_body)
{
  s->easy = curl_easy_init();
  if (s->easy == NULL) exit(1);
  curl_easy_setopt(s->easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(s->easy, CURLOPT_HTTP_VERSION, (long)(raw.http2 ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1));
  if (raw.http2) curl_easy_setopt(s->easy, CURLOPT_PIPEWAIT, 1L);
  curl_easy_setopt(s->easy, CURLOPT_SSL_VERIFYPEER, 0L);
  curl_easy_setopt(s->easy, CURLOPT_SSL_VERIFYHOST, 0L);
  curl_easy_setopt(s->easy, CURLOPT_PRIVATE, s);
  curl_easy_setopt(s->easy, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(s->easy, CURLOPT_WRITEDATA, s);
  curl_easy_setopt(s->easy, CURLOPT_CLOSESOCKETFUNCTION, raw_on_close);
  curl_easy_setopt(s->easy, CURLOPT_URL, raw.url);
}

static void slot_start(slot *s)
{
  raw.in_flight++;
  s->bytes = 0;
  s->started = load_now();
  curl_easy_setopt(s->easy, CURLOPT_POSTFIELDS, raw.body);
  curl_easy_setopt(s->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)raw.body_length);
  curl_easy_setopt(s->easy, CURLOPT_HTTPHEADER, raw.headers);
  curl_multi_add_handle(raw.multi, s->easy);
}

static void raw_collect(void)
{
  int left;
  CURLMsg *message;
  while ((message = curl_multi_info_read(raw.multi, &left)) != NULL) {
    CURL *easy = message->easy_handle;
    CURLcode code = message->data.result;
    slot *s;
    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &s);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    curl_multi_remove_handle(raw.multi, easy);
    raw.in_flight--;
    raw.finished(s, code == CURLE_OK && status == 200);
  }
}

/* ---- the turn ---- */

static void raw_handle(const struct epoll_event *event)
{
  int fd = event->data.fd, running, mask = 0;
  unsigned wanted = raw.watches[fd].wanted;
  if (event->events & (EPOLLIN | EPOLLERR | EPOLLHUP)) mask |= CURL_CSELECT_IN;
  if (event->events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) mask |= CURL_CSELECT_OUT;
  if (wanted != raw.watches[fd].registered) raw_watch(fd, wanted);
  mask &= (int)wanted; /* CURL_POLL_IN and _OUT are CURL_CSELECT_IN and _OUT */
  if (mask != 0) curl_multi_socket_action(raw.multi, fd, mask, &running);
}

static int raw_timeout_ms(int64_t until_ns)
{
  int64_t due = raw.due_ns < until_ns ? raw.due_ns : until_ns;
  if (due == INT64_MAX) return -1;
  return due <= raw.now_ns ? 0 : (int)((due - raw.now_ns + 999999) / 1000000);
}

/* Waits for whatever comes first, `until_ns` at the latest, and handles it. */
static void raw_turn(int64_t until_ns)
{
  struct epoll_event events[RAW_BATCH];
  int ready = epoll_wait(raw.epoll_set, events, RAW_BATCH, raw_timeout_ms(until_ns)), running;
  if (ready < 0 && errno != EINTR) exit(1);
  for (int i = 0; i < ready; i++) raw_handle(&events[i]);
  raw.now_ns = load_now();
  if (raw.due_ns <= raw.now_ns) {
    raw.due_ns = INT64_MAX;
    curl_multi_socket_action(raw.multi, CURL_SOCKET_TIMEOUT, 0, &running);
  }
  raw_collect();
}

/* ---- life ---- */

/* `lines`: header lines of every request, beside surefoot's own; NULL-terminated. */
static void raw_open(const char *url, const char *body_path, size_t slot_count, bool http2, const char *const *lines,
                     curl_write_callback on_body, raw_finished *finished)
{
  static const char *const own[] = { "Content-Type: application/json", "Authorization: Bearer sk-0123456789abcdef",
                                     "User-Agent: surefoot/0.1.0", "Expect:" };
  raw.url = url;
  raw.body = load_file(body_path, &raw.body_length);
  raw.http2 = http2;
  raw.finished = finished;
  raw.due_ns = INT64_MAX;
  raw.now_ns = load_now();
  raw.slot_count = slot_count;
  raw.slots = calloc(slot_count, sizeof *raw.slots);
  curl_global_init(CURL_GLOBAL_DEFAULT);
  raw.multi = curl_multi_init();
  raw.epoll_set = epoll_create1(EPOLL_CLOEXEC);
  if (slot_count == 0 || raw.slots == NULL || raw.multi == NULL || raw.epoll_set < 0) exit(2);
  curl_multi_setopt(raw.multi, CURLMOPT_SOCKETFUNCTION, raw_on_socket);
  curl_multi_setopt(raw.multi, CURLMOPT_TIMERFUNCTION, raw_on_timer);
  curl_multi_setopt(raw.multi, CURLMOPT_MAXCONNECTS, (long)slot_count + 16);
  if (http2)
    curl_multi_setopt(raw.multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)(slot_count / RAW_STREAMS_PER_CONNECTION + 1));
  for (size_t i = 0; i < sizeof own / sizeof *own; i++) raw.headers = curl_slist_append(raw.headers, own[i]);
  for (; *lines != NULL; lines++) raw.headers = curl_slist_append(raw.headers, *lines);
  for (size_t i = 0; i < slot_count; i++) slot_init(&raw.slots[i], on_body);
}

static void raw_close(void)
{
  for (size_t i = 0; i < raw.slot_count; i++) curl_easy_cleanup(raw.slots[i].easy);
  curl_multi_cleanup(raw.multi);
  curl_slist_free_all(raw.headers);
  free(raw.slots);
  free(raw.body);
  close(raw.epoll_set);
}

#endif
