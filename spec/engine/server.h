/*
 * server.h: a scripted HTTP/1.1 server inside the test program. Each connection has a thread that reads whole requests and
 * hands them to the function of their path; that function writes whatever bytes it likes and says whether to go on.
 * What the server saw is counted; a test waits for a count instead of for time.
 */
#ifndef SF_TEST_SERVER_H
#define SF_TEST_SERVER_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"

typedef enum { AND_GO_ON, AND_CLOSE, AND_RESET } and_then;

typedef struct server_request {
  int number; /* of this connection, from 1 */
  char head[16384];
  size_t body_length;
  uint32_t body_sum;
} server_request;

typedef struct server_route {
  const char *path;
  and_then (*answer)(int fd, const server_request *request);
} server_route;

static struct {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  int connections, requests, given_up; /* so far; given up: the client closed what was still being answered */
  char last_head[16384];               /* of the last request */
  size_t last_body_length;
  uint32_t last_body_sum;
  char last_local[64]; /* the address it came to */
  const server_route *routes;
  size_t route_count;
} server = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static void server_count(int *counter)
{
  pthread_mutex_lock(&server.lock);
  ++*counter;
  pthread_cond_broadcast(&server.changed);
  pthread_mutex_unlock(&server.lock);
}

static int server_read(const int *counter)
{
  pthread_mutex_lock(&server.lock);
  int value = *counter;
  pthread_mutex_unlock(&server.lock);
  return value;
}

/* False when it does not happen within 20 seconds. */
static bool server_wait(const int *counter, int least)
{
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += 20;
  pthread_mutex_lock(&server.lock);
  while (*counter < least && pthread_cond_timedwait(&server.changed, &server.lock, &until) == 0) continue;
  bool came = *counter >= least;
  pthread_mutex_unlock(&server.lock);
  return came;
}

static bool send_bytes(int fd, const char *data, size_t length)
{
  while (length > 0) {
    ssize_t sent = send(fd, data, length, MSG_NOSIGNAL);
    if (sent <= 0) return false;
    data += sent;
    length -= (size_t)sent;
  }
  return true;
}

static bool say(int fd, const char *text)
{
  return send_bytes(fd, text, strlen(text));
}

/* Blocks until the client has closed, and counts it; what it still sends is dropped. */
static and_then await_close(int fd)
{
  char rest[4096];
  while (recv(fd, rest, sizeof rest, 0) > 0) continue;
  server_count(&server.given_up);
  return AND_CLOSE;
}

static uint32_t sum_bytes(uint32_t sum, const char *data, size_t length)
{
  for (size_t i = 0; i < length; i++) sum = sum * 31 + (unsigned char)data[i];
  return sum;
}

/* The value of a header in a request's head, or NULL; how often it is there goes to *count. */
static const char *find_header(const char *head, const char *name, int *count)
{
  static char value[512];
  const char *found = NULL;
  int times = 0;
  for (const char *line = strstr(head, "\r\n"); line != NULL && line[2] != '\0'; line = strstr(line + 2, "\r\n")) {
    size_t length = strlen(name);
    if (strncasecmp(line + 2, name, length) != 0 || line[2 + length] != ':') continue;
    const char *start = line + 3 + length + strspn(line + 3 + length, " ");
    if (times++ == 0) snprintf(value, sizeof value, "%.*s", (int)strcspn(start, "\r"), start);
    found = value;
  }
  if (count != NULL) *count = times;
  return found;
}

static bool read_request(int fd, server_request *request)
{
  size_t have = 0;
  char *end = NULL;
  while (end == NULL) {
    ssize_t got = recv(fd, request->head + have, sizeof request->head - 1 - have, 0);
    if (got <= 0) return false;
    have += (size_t)got;
    request->head[have] = '\0';
    if (request->head[0] == 0x16) return false; /* TLS: not spoken here */
    end = strstr(request->head, "\r\n\r\n");
  }
  size_t head = (size_t)(end + 4 - request->head);
  const char *length = find_header(request->head, "content-length", NULL);
  size_t left = length != NULL ? strtoul(length, NULL, 10) : 0;
  request->body_length = left;
  request->body_sum = sum_bytes(0, end + 4, have - head);
  left -= have - head < left ? have - head : left;
  end[2] = '\0';
  char buffer[65536];
  while (left > 0) {
    ssize_t got = recv(fd, buffer, left < sizeof buffer ? left : sizeof buffer, 0);
    if (got <= 0) return false;
    request->body_sum = sum_bytes(request->body_sum, buffer, (size_t)got);
    left -= (size_t)got;
  }
  return true;
}

static void note_request(int fd, const server_request *request)
{
  struct sockaddr_storage local = { 0 };
  socklen_t size = sizeof local;
  getsockname(fd, (struct sockaddr *)&local, &size);
  pthread_mutex_lock(&server.lock);
  strcpy(server.last_head, request->head);
  server.last_body_length = request->body_length;
  server.last_body_sum = request->body_sum;
  if (local.ss_family == AF_INET)
    inet_ntop(AF_INET, &((struct sockaddr_in *)&local)->sin_addr, server.last_local, sizeof server.last_local);
  server.requests++;
  pthread_cond_broadcast(&server.changed);
  pthread_mutex_unlock(&server.lock);
}

static and_then dispatch(int fd, const server_request *request)
{
  const char *path = strchr(request->head, ' ');
  for (size_t i = 0; path != NULL && i < server.route_count; i++) {
    size_t length = strlen(server.routes[i].path);
    if (strncmp(path + 1, server.routes[i].path, length) == 0 && path[1 + length] == ' ')
      return server.routes[i].answer(fd, request);
  }
  say(fd, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
  return AND_GO_ON;
}

static void *serve_connection(void *context)
{
  int fd = (int)(intptr_t)context, one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  server_request *request = malloc(sizeof *request);
  and_then then = AND_GO_ON;
  for (int number = 1; then == AND_GO_ON && read_request(fd, request); number++) {
    request->number = number;
    note_request(fd, request);
    then = dispatch(fd, request);
  }
  free(request);
  struct linger hard = { .l_onoff = 1, .l_linger = 0 };
  if (then == AND_RESET) setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  close(fd);
  return NULL;
}

static void *accept_connections(void *context)
{
  int listener = (int)(intptr_t)context;
  for (;;) {
    int fd = accept(listener, NULL, NULL);
    if (fd < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) return NULL;
    server_count(&server.connections);
    pthread_t thread;
    if (pthread_create(&thread, NULL, serve_connection, (void *)(intptr_t)fd) == 0) pthread_detach(thread);
  }
}

static int bound_port(int fd)
{
  struct sockaddr_storage address;
  socklen_t size = sizeof address;
  if (getsockname(fd, (struct sockaddr *)&address, &size) != 0) return 0;
  return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                             : ((struct sockaddr_in *)&address)->sin_port);
}

/* A listening socket on loopback, any port (and on every address of it: 127.0.0.1, 127.0.0.2); -1: none to be had. */
static int listen_on(int family, int backlog)
{
  struct sockaddr_in v4 = { .sin_family = AF_INET };
  struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
  int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const struct sockaddr *address = family == AF_INET6 ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4;
  if (fd >= 0 && bind(fd, address, family == AF_INET6 ? sizeof v6 : sizeof v4) == 0 && listen(fd, backlog) == 0)
    return fd;
  if (fd >= 0) close(fd);
  return -1;
}

/* Serves for the rest of the program's life; returns the port, 0 when the family is not there. */
static int serve(int family, const server_route *routes, size_t count)
{
  server.routes = routes;
  server.route_count = count;
  int listener = listen_on(family, 256);
  pthread_t thread;
  if (listener < 0 || pthread_create(&thread, NULL, accept_connections, (void *)(intptr_t)listener) != 0) return 0;
  pthread_detach(thread);
  return bound_port(listener);
}

#endif
