/*
 * raw_curl.c: the floor that surefoot is compared with: libcurl alone, driven as well as it can be. POSTs a body over
 * HTTP/1.1 keep-alive by curl_multi_socket_action and one epoll set; the timer is a number that becomes the timeout of
 * epoll_wait; interest is lazy (a keep-alive socket stays registered); every slot keeps its easy handle.
 *
 *   cc -O2 -o raw_curl spec/bench/raw_curl.c -lcurl
 *   raw_curl URL BODY_FILE REQUESTS IN_FLIGHT        prints one line of JSON; certificates are not verified
 */
#include <curl/curl.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "load.h"

enum { MOST_FDS = 65536, BATCH = 256 };

typedef struct slot {
  CURL *easy;
  int64_t started;
  size_t bytes;
} slot;

static const char *url;
static char *body;
static size_t body_length, left_to_start, in_flight;
static struct curl_slist *headers;
static CURLM *multi;
static int epoll_set;
static int64_t due_ns = INT64_MAX, now_ns;
static struct {
  unsigned char wanted, registered;
} watches[MOST_FDS];
static load measured;

static void watch(int fd, unsigned events)
{
  struct epoll_event event = { .data.fd = fd };
  event.events = (events & CURL_POLL_IN ? EPOLLIN : 0u) | (events & CURL_POLL_OUT ? EPOLLOUT : 0u);
  int operation = events == 0 ? EPOLL_CTL_DEL : watches[fd].registered != 0 ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
  if (epoll_ctl(epoll_set, operation, fd, &event) != 0 && events != 0) {
    perror("epoll_ctl");
    exit(1);
  }
  watches[fd].registered = (unsigned char)events;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *socket_context)
{
  (void)easy, (void)context, (void)socket_context;
  unsigned events = what == CURL_POLL_REMOVE ? 0 : (unsigned)what;
  watches[fd].wanted = (unsigned char)events;
  if (events & ~(unsigned)watches[fd].registered) watch(fd, events);
  return 0;
}

static int on_close(void *context, curl_socket_t fd)
{
  (void)context;
  watches[fd].wanted = watches[fd].registered = 0;
  return close(fd);
}

static int on_timer(CURLM *m, long timeout_ms, void *context)
{
  (void)m, (void)context;
  due_ns = timeout_ms < 0 ? INT64_MAX : now_ns + timeout_ms * 1000000;
  return 0;
}

static size_t on_body(char *data, size_t one, size_t length, void *context)
{
  (void)data, (void)one;
  ((slot *)context)->bytes += length;
  return length;
}

static void slot_init(slot *s)
{
  s->easy = curl_easy_init();
  if (s->easy == NULL) exit(1);
  curl_easy_setopt(s->easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(s->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
  curl_easy_setopt(s->easy, CURLOPT_SSL_VERIFYPEER, 0L);
  curl_easy_setopt(s->easy, CURLOPT_SSL_VERIFYHOST, 0L);
  curl_easy_setopt(s->easy, CURLOPT_PRIVATE, s);
  curl_easy_setopt(s->easy, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(s->easy, CURLOPT_WRITEDATA, s);
  curl_easy_setopt(s->easy, CURLOPT_CLOSESOCKETFUNCTION, on_close);
  curl_easy_setopt(s->easy, CURLOPT_URL, url);
}

static void slot_start(slot *s)
{
  if (left_to_start == 0) return;
  left_to_start--;
  in_flight++;
  s->bytes = 0;
  s->started = load_now();
  curl_easy_setopt(s->easy, CURLOPT_POSTFIELDS, body);
  curl_easy_setopt(s->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body_length);
  curl_easy_setopt(s->easy, CURLOPT_HTTPHEADER, headers);
  curl_multi_add_handle(multi, s->easy);
}

static void collect(void)
{
  int left;
  CURLMsg *message;
  while ((message = curl_multi_info_read(multi, &left)) != NULL) {
    CURL *easy = message->easy_handle;
    CURLcode code = message->data.result;
    slot *s;
    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &s);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    curl_multi_remove_handle(multi, easy);
    in_flight--;
    load_count(&measured, s->started, code == CURLE_OK && status == 200);
    slot_start(s);
  }
}

static void handle(const struct epoll_event *event)
{
  int fd = event->data.fd, running, mask = 0;
  unsigned wanted = watches[fd].wanted;
  if (event->events & (EPOLLIN | EPOLLERR | EPOLLHUP)) mask |= CURL_CSELECT_IN;
  if (event->events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) mask |= CURL_CSELECT_OUT;
  if (wanted != watches[fd].registered) watch(fd, wanted);
  mask &= (int)wanted; /* CURL_POLL_IN and _OUT are CURL_CSELECT_IN and _OUT */
  if (mask != 0) curl_multi_socket_action(multi, fd, mask, &running);
}

static int timeout_ms(void)
{
  if (due_ns == INT64_MAX) return -1;
  return due_ns <= now_ns ? 0 : (int)((due_ns - now_ns + 999999) / 1000000);
}

static void run(slot *slots, size_t count, size_t requests)
{
  struct epoll_event events[BATCH];
  load_begin(&measured, requests);
  left_to_start = requests;
  now_ns = load_now();
  for (size_t i = 0; i < count; i++) slot_start(&slots[i]);
  while (in_flight > 0) {
    int ready = epoll_wait(epoll_set, events, BATCH, timeout_ms()), running;
    if (ready < 0 && errno != EINTR) exit(1);
    for (int i = 0; i < ready; i++) handle(&events[i]);
    now_ns = load_now();
    if (due_ns <= now_ns) {
      due_ns = INT64_MAX;
      curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running);
    }
    collect();
  }
}

int main(int argc, char **argv)
{
  if (argc != 5) {
    fprintf(stderr, "usage: raw_curl URL BODY_FILE REQUESTS IN_FLIGHT\n");
    return 2;
  }
  url = argv[1];
  body = load_file(argv[2], &body_length);
  size_t requests = strtoul(argv[3], NULL, 10), count = strtoul(argv[4], NULL, 10);
  slot *slots = calloc(count, sizeof *slots);
  curl_global_init(CURL_GLOBAL_DEFAULT);
  multi = curl_multi_init();
  epoll_set = epoll_create1(EPOLL_CLOEXEC);
  if (count == 0 || slots == NULL || multi == NULL || epoll_set < 0) return 2;
  curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
  curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);
  curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)count + 16);
  /* the same bytes on the wire as surefoot's */
  const char *const lines[] = { "Content-Type: application/json", "Authorization: Bearer sk-0123456789abcdef",
                                "User-Agent: surefoot/0.1.0", "Accept-Encoding: deflate, gzip, br, zstd", "Expect:" };
  for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) headers = curl_slist_append(headers, lines[i]);
  for (size_t i = 0; i < count; i++) slot_init(&slots[i]);
  run(slots, count, 2 * count); /* warms connections up */
  run(slots, count, requests);
  load_report(&measured);
  for (size_t i = 0; i < count; i++) curl_easy_cleanup(slots[i].easy);
  curl_multi_cleanup(multi);
  curl_slist_free_all(headers);
  free(slots);
  free(body);
  close(epoll_set);
  return 0;
}
