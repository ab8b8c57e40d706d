/*
 * proxy.c: a proxy for specs: HTTP (CONNECT, and http:// in absolute form), SOCKS5 and SOCKS5 by name on one port, over TLS
 * when it is given a certificate. Every name leads to 127.0.0.1. What was asked for goes to standard output, a line each:
 *
 *   port 40001
 *   connect api.example:443 user:password        http, socks5 (an address) or socks5h (a name) in place of connect
 *
 * proxy [--parent PID] [--user NAME:PASSWORD] [--refuse N] [--hang] [--tls CERTIFICATE KEY]
 *   --refuse N    answers so instead: a status, or for SOCKS a reply code
 *   --hang        takes connections and says nothing
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD = 16384, CHUNK = 65536 };

static struct {
  const char *credentials;
  int refusal;
  bool hangs;
  pid_t parent;
  void *tls; /* an SSL_CTX; NULL: plain */
} options;

/* ---- TLS: libssl as libcurl has brought it, without its headers ---- */

static void *(*tls_method)(void), *(*tls_context)(const void *), *(*tls_new)(void *);
static int (*tls_certificate)(void *, const char *), (*tls_key)(void *, const char *, int), (*tls_fd)(void *, int),
    (*tls_accept)(void *), (*tls_read)(void *, void *, int), (*tls_write)(void *, const void *, int),
    (*tls_pending)(const void *);

static void symbol(void *library, const char *name, void *place)
{
  void *found = library != NULL ? dlsym(library, name) : NULL;
  if (found == NULL) {
    fprintf(stderr, "no %s in libssl.so.3\n", name);
    exit(2);
  }
  memcpy(place, &found, sizeof found);
}

static void use_tls(const char *certificate, const char *key)
{
  void *library = dlopen("libssl.so.3", RTLD_NOW);
  symbol(library, "TLS_server_method", &tls_method);
  symbol(library, "SSL_CTX_new", &tls_context);
  symbol(library, "SSL_CTX_use_certificate_chain_file", &tls_certificate);
  symbol(library, "SSL_CTX_use_PrivateKey_file", &tls_key);
  symbol(library, "SSL_new", &tls_new);
  symbol(library, "SSL_set_fd", &tls_fd);
  symbol(library, "SSL_accept", &tls_accept);
  symbol(library, "SSL_read", &tls_read);
  symbol(library, "SSL_write", &tls_write);
  symbol(library, "SSL_pending", &tls_pending);
  options.tls = tls_context(tls_method());
  if (tls_certificate(options.tls, certificate) != 1 || tls_key(options.tls, key, 1) != 1) {
    fprintf(stderr, "the certificate or its key cannot be used\n");
    exit(2);
  }
}

/* ---- one side of a connection ---- */

typedef struct side {
  int fd;
  void *tls;
} side;

static ssize_t take(const side *from, void *to, size_t size)
{
  return from->tls != NULL ? tls_read(from->tls, to, (int)size) : recv(from->fd, to, size, 0);
}

static bool give(const side *to, const void *data, size_t size)
{
  const char *bytes = data;
  while (size > 0) {
    ssize_t sent = to->tls != NULL ? tls_write(to->tls, bytes, (int)size) : send(to->fd, bytes, size, MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes += sent;
    size -= (size_t)sent;
  }
  return true;
}

static bool take_all(const side *from, void *to, size_t size)
{
  uint8_t *bytes = to;
  while (size > 0) {
    ssize_t got = take(from, bytes, size);
    if (got <= 0) return false;
    bytes += got;
    size -= (size_t)got;
  }
  return true;
}

/* Passes bytes on in both directions until one side has ended. */
static void relay(const side *client, int server_fd)
{
  const side server = { server_fd, NULL }, *sides[] = { client, &server };
  static const size_t size = CHUNK;
  char *chunk = malloc(size);
  for (bool open = true; open && chunk != NULL;) {
    struct pollfd wanted[] = { { client->fd, POLLIN, 0 }, { server_fd, POLLIN, 0 } };
    bool held = client->tls != NULL && tls_pending(client->tls) > 0;
    if (!held && poll(wanted, 2, -1) < 0 && errno != EINTR) break;
    for (int i = 0; i < 2 && open; i++) {
      if (!(wanted[i].revents & (POLLIN | POLLHUP | POLLERR)) && !(i == 0 && held)) continue;
      ssize_t got = take(sides[i], chunk, size);
      open = got > 0 && give(sides[1 - i], chunk, (size_t)got);
    }
  }
  free(chunk);
}

static int reach(uint16_t port)
{
  struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
  if (fd >= 0) close(fd);
  return -1;
}

static void note(const char *how, const char *host, unsigned port, const char *credentials)
{
  printf("%s %s:%u %s\n", how, host, port, credentials);
  fflush(stdout);
}

/* ---- HTTP ---- */

static int digit_of(char letter)
{
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const char *found = letter != '\0' ? strchr(digits, letter) : NULL;
  return found != NULL ? (int)(found - digits) : -1;
}

static void decode_base64(const char *text, char *to, size_t size)
{
  unsigned bits = 0, count = 0;
  size_t length = 0;
  for (; digit_of(*text) >= 0 && length + 1 < size; text++) {
    bits = bits << 6 | (unsigned)digit_of(*text);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    to[length++] = (char)(bits >> count);
  }
  to[length] = '\0';
}

static void read_credentials(const char *head, char *to, size_t size)
{
  const char *found = strcasestr(head, "\r\nProxy-Authorization: Basic ");
  to[0] = '\0';
  if (found != NULL) decode_base64(found + strlen("\r\nProxy-Authorization: Basic "), to, size);
}

static bool are_welcome(const char *credentials)
{
  return options.credentials == NULL || strcmp(options.credentials, credentials) == 0;
}

static void answer(const side *client, int status)
{
  char text[256];
  const char *more = status == 407 ? "Proxy-Authenticate: Basic realm=\"spec\"\r\n" : "";
  snprintf(text, sizeof text, "HTTP/1.1 %d No\r\n%sContent-Length: 0\r\nConnection: close\r\n\r\n", status, more);
  give(client, text, strlen(text));
}

/* The head of a request, its first byte given; what came behind it stays in `head`, whose length is returned. */
static size_t read_head(const side *client, char first, char *head)
{
  size_t have = 1;
  head[0] = first;
  head[1] = '\0';
  while (strstr(head, "\r\n\r\n") == NULL && have < HEAD - 1) {
    ssize_t got = take(client, head + have, HEAD - 1 - have);
    if (got <= 0) return 0;
    have += (size_t)got;
    head[have] = '\0';
  }
  return have;
}

static void serve_http(const side *client, char first)
{
  char head[HEAD], method[16] = "", target[1024] = "", credentials[256];
  size_t length = read_head(client, first, head);
  if (length == 0 || sscanf(head, "%15s %1023s", method, target) != 2) return;
  bool tunnel = strcmp(method, "CONNECT") == 0;
  char *host = tunnel ? target : target + strlen("http://");
  if (!tunnel && strncmp(target, "http://", 7) != 0) return answer(client, 400);
  char *path = strchr(host, '/');
  if (path != NULL) *path = '\0';
  char *colon = strrchr(host, ':');
  unsigned port = colon != NULL ? (unsigned)atoi(colon + 1) : 80;
  if (colon != NULL) *colon = '\0';
  read_credentials(head, credentials, sizeof credentials);
  note(tunnel ? "connect" : "http", host, port, credentials);
  if (!are_welcome(credentials)) return answer(client, 407);
  if (options.refusal > 0) return answer(client, options.refusal);
  int server = reach((uint16_t)port);
  if (server < 0) return answer(client, 502);
  const side upstream = { server, NULL };
  const char established[] = "HTTP/1.1 200 Connection established\r\n\r\n";
  if (tunnel ? give(client, established, sizeof established - 1) : give(&upstream, head, length)) relay(client, server);
  close(server);
}

/* ---- SOCKS5 (RFC 1928, 1929) ---- */

static bool greet(const side *client, char *credentials, size_t size)
{
  uint8_t count, methods[255], wanted = options.credentials != NULL ? 2 : 0;
  credentials[0] = '\0';
  if (!take_all(client, &count, 1) || !take_all(client, methods, count)) return false;
  bool offered = memchr(methods, wanted, count) != NULL;
  const uint8_t choice[] = { 5, offered ? wanted : 0xff };
  if (!give(client, choice, 2) || !offered) return false;
  if (wanted == 0) return true;
  uint8_t version, lengths[2];
  char name[256] = "", password[256] = "";
  if (!take_all(client, &version, 1) || !take_all(client, &lengths[0], 1) || !take_all(client, name, lengths[0]) ||
      !take_all(client, &lengths[1], 1) || !take_all(client, password, lengths[1]))
    return false;
  snprintf(credentials, size, "%s:%s", name, password);
  const uint8_t verdict[] = { 1, are_welcome(credentials) ? 0 : 1 };
  return give(client, verdict, 2) && verdict[1] == 0;
}

static bool read_destination(const side *client, uint8_t type, char *host, uint16_t *port)
{
  uint8_t length = type == 1 ? 4 : 16, bytes[256] = { 0 };
  if (type == 3 && !take_all(client, &length, 1)) return false;
  if (!take_all(client, bytes, length) || !take_all(client, port, 2)) return false;
  if (type == 3) memcpy(host, bytes, (size_t)length + 1);
  else inet_ntop(type == 1 ? AF_INET : AF_INET6, bytes, host, INET6_ADDRSTRLEN);
  *port = ntohs(*port);
  return true;
}

static void serve_socks(const side *client)
{
  char credentials[600], host[256] = "";
  uint8_t request[4];
  uint16_t port;
  if (!greet(client, credentials, sizeof credentials) || !take_all(client, request, 4) ||
      !read_destination(client, request[3], host, &port))
    return;
  note(request[3] == 3 ? "socks5h" : "socks5", host, port, credentials);
  int server = options.refusal > 0 ? -1 : reach(port);
  uint8_t reply[] = { 5, server >= 0 ? 0 : options.refusal > 0 ? (uint8_t)options.refusal : 5, 0, 1, 0, 0, 0, 0, 0, 0 };
  if (give(client, reply, sizeof reply) && server >= 0) relay(client, server);
  if (server >= 0) close(server);
}

/* ---- connections ---- */

static void *serve(void *context)
{
  side client = { (int)(intptr_t)context, NULL };
  char first;
  while (options.hangs) pause();
  if (options.tls != NULL) {
    client.tls = tls_new(options.tls);
    tls_fd(client.tls, client.fd);
  }
  if ((client.tls == NULL || tls_accept(client.tls) == 1) && take(&client, &first, 1) == 1) {
    if (first == 5) serve_socks(&client);
    else if (first >= 'A' && first <= 'Z') serve_http(&client, first);
    else answer(&client, 400);
  }
  shutdown(client.fd, SHUT_WR);
  close(client.fd);
  return NULL;
}

static void *end_with_parent(void *context)
{
  while (kill(options.parent, 0) == 0) usleep(200000);
  (void)context;
  exit(0);
}

static void read_options(int count, char **words)
{
  for (int i = 1; i < count; i++) {
    const char *word = words[i], *value = i + 1 < count ? words[i + 1] : "";
    if (strcmp(word, "--hang") == 0) {
      options.hangs = true;
      continue;
    }
    if (strcmp(word, "--user") == 0) options.credentials = value;
    if (strcmp(word, "--refuse") == 0) options.refusal = atoi(value);
    if (strcmp(word, "--parent") == 0) options.parent = (pid_t)atoi(value);
    if (strcmp(word, "--tls") == 0) use_tls(value, i + 2 < count ? words[++i + 1] : "");
    i++;
  }
}

static void start(void *(*run)(void *), void *context)
{
  pthread_t thread;
  if (pthread_create(&thread, NULL, run, context) == 0) pthread_detach(thread);
}

int main(int count, char **words)
{
  read_options(count, words);
  signal(SIGPIPE, SIG_IGN);
  struct sockaddr_in address = { .sin_family = AF_INET };
  socklen_t size = sizeof address;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 64) != 0 ||
      getsockname(listener, (struct sockaddr *)&address, &size) != 0) {
    perror("proxy");
    return 1;
  }
  printf("port %u\n", ntohs(address.sin_port));
  fflush(stdout);
  if (options.parent > 0) start(end_with_parent, NULL);
  for (;;) {
    int fd = accept(listener, NULL, NULL);
    if (fd >= 0) start(serve, (void *)(intptr_t)fd);
    else if (errno != EINTR && errno != ECONNABORTED) return 1;
  }
}
