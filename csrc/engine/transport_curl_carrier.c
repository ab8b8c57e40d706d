/*
 * transport_curl_carrier.c: easy handles. A handle keeps its options from one exchange to the next; a fingerprint over all
 * that a line and a request ask for (but URL, headers and body, which always change) tells whether they still fit. If not,
 * the handle is reset and set anew. Nothing is copied from a request: header nodes and the body point at its strings.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "transport_curl.h"

enum {
  POOL_LEAST = 64,
  POOL_MOST = 1024,
  LOOKED_AT = 8,              /* idle handles compared before one is set anew */
  HTTP2_SOUND = 0x080600,     /* the first libcurl whose HTTP/2 neither loses nor stalls a body, nor invents its end */
  BLOCK_KEPT = 16 * 1024,     /* a larger header buffer is not kept */
  SENT_WITH_HEAD = 64 * 1024, /* for a larger body libcurl asks piece by piece */
  CONNECT_SECONDS = 7 * 24 * 3600, /* the engine owns time; libcurl's own default would end connects after 300 s */
};

/* ---- the libcurl we run with ---- */

#define IDENTITY "Accept-Encoding: identity"

static struct {
  unsigned version;
  char encodings[64]; /* a header line: what it decodes */
} runtime;

void sf_carrier_prepare(void)
{
  static const struct {
    int feature;
    const char *names;
  } codings[] = {
    { CURL_VERSION_LIBZ, "deflate, gzip" },
    { CURL_VERSION_BROTLI, "br" },
    { CURL_VERSION_ZSTD, "zstd" },
  };
  const curl_version_info_data *info = curl_version_info(CURLVERSION_NOW);
  runtime.version = info->version_num;
  int length = 0;
  for (size_t i = 0; i < sizeof codings / sizeof *codings; i++)
    if (info->features & codings[i].feature)
      length += snprintf(runtime.encodings + length, sizeof runtime.encodings - (size_t)length, "%s %s",
                         length > 0 ? "," : "Accept-Encoding:", codings[i].names);
  if (length == 0) strcpy(runtime.encodings, IDENTITY);
}

bool sf_carrier_http2_sound(void)
{
  return runtime.version >= HTTP2_SOUND;
}

/* ---- lists ---- */

static void detach(sf_carrier *carrier)
{
  if (carrier->link == NULL) return;
  *carrier->link = carrier->next;
  if (carrier->next != NULL) carrier->next->link = carrier->link;
  carrier->link = NULL;
}

void sf_carrier_move(sf_carrier *carrier, sf_carrier **list)
{
  detach(carrier);
  carrier->next = *list;
  if (carrier->next != NULL) carrier->next->link = &carrier->next;
  carrier->link = list;
  *list = carrier;
}

/* ---- what a handle is set to ---- */

/* Options of a line that are plain strings; NULL leaves libcurl's default, which a reset brings back. */
static const struct {
  CURLoption option;
  size_t offset;
} line_texts[] = {
  { CURLOPT_CAINFO, offsetof(sf_line, ca_file) },  { CURLOPT_PROXY_CAINFO, offsetof(sf_line, ca_file) },
  { CURLOPT_SSLKEY, offsetof(sf_line, key_file) }, { CURLOPT_SSLCERT, offsetof(sf_line, cert_file) },
  { CURLOPT_DOH_URL, offsetof(sf_line, doh_url) }, { CURLOPT_PROXY, offsetof(sf_line, proxy) },
};
enum { LINE_TEXTS = sizeof line_texts / sizeof *line_texts };

static const char *line_text(const sf_line *line, size_t i)
{
  return *(const char *const *)((const char *)line + line_texts[i].offset);
}

static uint64_t mix(uint64_t print, uint64_t word)
{
  print = (print ^ word) * UINT64_C(0x9e3779b97f4a7c15);
  return print ^ print >> 29;
}

static uint64_t mix_text(uint64_t print, const char *text)
{
  if (text == NULL) return mix(print, 256);
  for (; *text != '\0'; text++) print = (print ^ (unsigned char)*text) * UINT64_C(0x100000001b3); /* FNV-1a */
  return mix(print, 257);
}

static bool is_tls(const char *url)
{
  return strncasecmp(url, "https:", 6) == 0;
}

/* Does libcurl ask for the body while it sends it? */
static bool is_pulled(const sf_request *request)
{
  return request->upload != NULL || request->body_length > SENT_WITH_HEAD;
}

static uint64_t fingerprint(const sf_request *request)
{
  const sf_line *line = request->line;
  uint64_t print = mix_text(UINT64_C(0xcbf29ce484222325), request->method);
  for (size_t i = 0; i < LINE_TEXTS; i++) print = mix_text(print, line_text(line, i));
  for (const char *const *entry = line->resolve; entry != NULL && *entry != NULL; entry++)
    print = mix_text(print, *entry);
  uint64_t flags = (request->body != NULL) | (unsigned)is_pulled(request) << 1 | (unsigned)line->tls_insecure << 2 |
                   (unsigned)line->http_version << 3 | (unsigned)line->ip_version << 5 |
                   (unsigned)is_tls(request->url) << 8;
  print = mix(print, flags);
  print = mix(print, (uint64_t)line->dns_cache_ns);
  print = mix(print, (uint64_t)line->keepalive_idle_ns);
  print = mix(print, (uint64_t)line->keepalive_age_ns);
  return print != 0 ? print : 1;
}

static long whole_seconds(int64_t ns)
{
  return (long)(ns / SF_SECOND + (ns % SF_SECOND != 0));
}

/* Sets an option and remembers in `ok` whether it was taken. */
#define SET(easy, option, value) (ok = curl_easy_setopt(easy, option, value) == CURLE_OK && ok)

static bool set_by_version(CURL *easy)
{
  bool ok = true;
#if LIBCURL_VERSION_NUM >= 0x075500
  SET(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
  SET(easy, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
#if LIBCURL_VERSION_NUM >= 0x075700
  SET(easy, CURLOPT_QUICK_EXIT, 1L); /* a stalled resolver must not stall a cancel */
#endif
  return ok;
}

static bool set_base(sf_carrier *carrier)
{
  CURL *easy = carrier->easy;
  bool ok = set_by_version(easy);
  SET(easy, CURLOPT_NOSIGNAL, 1L);
  SET(easy, CURLOPT_PRIVATE, carrier);
  SET(easy, CURLOPT_ERRORBUFFER, carrier->error);
  SET(easy, CURLOPT_FOLLOWLOCATION, 0L);
  SET(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  SET(easy, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
  SET(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  SET(easy, CURLOPT_OPENSOCKETFUNCTION, sf_curl_on_open);
  SET(easy, CURLOPT_OPENSOCKETDATA, carrier);
  SET(easy, CURLOPT_CLOSESOCKETFUNCTION, sf_curl_on_close);
  SET(easy, CURLOPT_CLOSESOCKETDATA, carrier->owner); /* a connection outlives the handle that made it */
  SET(easy, CURLOPT_PREREQFUNCTION, sf_carrier_on_connected);
  SET(easy, CURLOPT_PREREQDATA, carrier);
  SET(easy, CURLOPT_HEADERFUNCTION, sf_carrier_on_header);
  SET(easy, CURLOPT_HEADERDATA, carrier);
  SET(easy, CURLOPT_WRITEFUNCTION, sf_carrier_on_body);
  SET(easy, CURLOPT_WRITEDATA, carrier);
  return ok;
}

/* "host:port:address" as CURLOPT_CONNECT_TO says it, which binds one handle only: two lines may reach one host by two
 * addresses. NULL: an entry with several addresses or a wildcard, which only CURLOPT_RESOLVE can say. */
static char *connect_to_entry(const char *entry)
{
  const char *port = entry[0] == '[' ? strstr(entry, "]:") : strchr(entry, ':');
  if (port == NULL || strchr("*+-", entry[0]) != NULL || strchr(entry, ',') != NULL) return NULL;
  port += entry[0] == '[' ? 2 : 1;
  const char *address = strchr(port, ':');
  if (address == NULL) return NULL;
  int port_length = (int)(address - port);
  address++;
  bool bare = address[0] != '[' && strchr(address, ':') != NULL;
  size_t size = 2 * strlen(entry) + 8;
  char *text = sf_alloc(size);
  if (text == NULL) return NULL;
  const char *opening = bare ? "[" : "", *closing = bare ? "]" : "";
  snprintf(text, size, "%.*s:%s%s%s:%.*s", (int)(address - 1 - entry), entry, opening, address, closing, port_length,
           port);
  return text;
}

static bool append(struct curl_slist **list, const char *text)
{
  struct curl_slist *longer = curl_slist_append(*list, text);
  if (longer != NULL) *list = longer;
  return longer != NULL;
}

static bool set_addresses(sf_carrier *carrier, const sf_line *line)
{
  bool ok = true;
  for (const char *const *entry = line->resolve; entry != NULL && *entry != NULL && ok; entry++) {
    char *single = connect_to_entry(*entry);
    ok = single != NULL ? append(&carrier->connect_to, single) : append(&carrier->resolve, *entry);
    sf_free(single);
  }
  if (carrier->connect_to != NULL) SET(carrier->easy, CURLOPT_CONNECT_TO, carrier->connect_to);
  if (carrier->resolve != NULL) SET(carrier->easy, CURLOPT_RESOLVE, carrier->resolve);
  return ok;
}

/* Without TLS nothing negotiates: who asks for 2, and waits for the first connection, would wait for its answer, and the
 * sound libcurl has to be told that the server knows 2; an older one fails all requests but the first on such a one. */
static long http_version(const sf_request *request)
{
  sf_http_version version = request->line->http_version;
  bool tls = is_tls(request->url), sound = sf_carrier_http2_sound();
  if (version == SF_HTTP_1_1 || (version == SF_HTTP_AUTO && !(tls && sound))) return CURL_HTTP_VERSION_1_1;
  if (tls) return CURL_HTTP_VERSION_2TLS;
  return sound ? CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE : CURL_HTTP_VERSION_1_1;
}

/* The hosts to be reached without a proxy: none where one was given, whatever the environment says; all where there is
 * none, else libcurl would look through the environment for every request. NULL: the environment knows. */
static const char *without_proxy(const sf_line *line)
{
  static const char *const variables[] = { "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY" };
  if (line->proxy != NULL) return line->proxy[0] != '\0' ? "" : "*";
  for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
    if (getenv(variables[i]) != NULL) return NULL;
  return "*";
}

static bool set_proxy(CURL *easy, const sf_line *line)
{
  const char *without = without_proxy(line);
  bool ok = true;
  if (without != NULL) SET(easy, CURLOPT_NOPROXY, without);
  SET(easy, CURLOPT_PROXY_SSL_VERIFYPEER, line->tls_insecure ? 0L : 1L);
  SET(easy, CURLOPT_PROXY_SSL_VERIFYHOST, line->tls_insecure ? 0L : 2L);
  return ok;
}

/* A reset leaves it as it was. */
static bool set_names(sf_carrier *carrier, const sf_line *line)
{
  CURLSH *share = line->doh_url != NULL ? sf_curl_names(carrier->owner, line->doh_url) : NULL;
  bool ok = line->doh_url == NULL || share != NULL;
  SET(carrier->easy, CURLOPT_SHARE, share);
  return ok;
}

static bool set_line(sf_carrier *carrier, const sf_request *request)
{
  CURL *easy = carrier->easy;
  const sf_line *line = request->line;
  bool ok = set_addresses(carrier, line) && set_names(carrier, line) && set_proxy(easy, line);
  for (size_t i = 0; i < LINE_TEXTS; i++)
    if (line_text(line, i) != NULL) SET(easy, line_texts[i].option, line_text(line, i));
  long version = http_version(request);
  SET(easy, CURLOPT_HTTP_VERSION, version);
  SET(easy, CURLOPT_PIPEWAIT, (long)(version != CURL_HTTP_VERSION_1_1));
  SET(easy, CURLOPT_SSL_VERIFYPEER, line->tls_insecure ? 0L : 1L);
  SET(easy, CURLOPT_SSL_VERIFYHOST, line->tls_insecure ? 0L : 2L);
  if (line->ip_version != 0)
    SET(easy, CURLOPT_IPRESOLVE, line->ip_version == 4 ? (long)CURL_IPRESOLVE_V4 : (long)CURL_IPRESOLVE_V6);
  if (line->dns_cache_ns >= 0) SET(easy, CURLOPT_DNS_CACHE_TIMEOUT, whole_seconds(line->dns_cache_ns));
  if (line->keepalive_idle_ns > 0) SET(easy, CURLOPT_MAXAGE_CONN, whole_seconds(line->keepalive_idle_ns));
  else SET(easy, CURLOPT_FORBID_REUSE, 1L);
  SET(easy, CURLOPT_MAXLIFETIME_CONN, whole_seconds(line->keepalive_age_ns));
  return ok;
}

static bool is_method(const sf_request *request, const char *method)
{
  return strcmp(request->method, method) == 0;
}

static bool sends_body(const sf_request *request)
{
  return is_method(request, "POST") ||
         ((request->body != NULL || request->upload != NULL) && !is_method(request, "HEAD"));
}

bool sf_carrier_is_answered(const sf_carrier *carrier)
{
  char byte; /* an end, or an error, is no answer: sending on is what finds it */
  return carrier->socket != CURL_SOCKET_BAD && recv(carrier->socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

static int64_t read_body(const sf_request *request, uint64_t offset, char *to, size_t size)
{
  if (request->upload != NULL) return sf_body_read(request->upload, offset, to, size);
  uint64_t left = request->body_length - offset;
  size_t length = left < size ? (size_t)left : size;
  memcpy(to, request->body + offset, length);
  return (int64_t)length;
}

/*
 * libcurl takes what it sends next. A server that answers early, with an error, closes the connection on what still comes:
 * libcurl would send into that and lose the answer, so what has come is read first. Once there are headers libcurl knows.
 */
static size_t on_wanted(char *to, size_t one, size_t size, void *context)
{
  sf_carrier *carrier = context;
  if (carrier->exchange == NULL) return CURL_READFUNC_ABORT;
  int64_t got = read_body(carrier->exchange->request, carrier->body_offset, to, one * size);
  carrier->spoiled = got < 0;
  if (carrier->spoiled) return CURL_READFUNC_ABORT;
  if (!carrier->http2 && !carrier->headers_done && sf_carrier_is_answered(carrier)) {
    carrier->held = carrier->owner->holds = true;
    return CURL_READFUNC_PAUSE;
  }
  carrier->body_offset += (uint64_t)got;
  return (size_t)got;
}

static int on_seek(void *context, curl_off_t offset, int origin)
{
  sf_carrier *carrier = context;
  if (origin != SEEK_SET || offset < 0) return CURL_SEEKFUNC_FAIL;
  carrier->body_offset = (uint64_t)offset;
  return CURL_SEEKFUNC_OK;
}

static bool set_pulled(sf_carrier *carrier)
{
  CURL *easy = carrier->easy;
  bool ok = true;
  SET(easy, CURLOPT_READFUNCTION, on_wanted);
  SET(easy, CURLOPT_READDATA, carrier);
  SET(easy, CURLOPT_SEEKFUNCTION, on_seek);
  SET(easy, CURLOPT_SEEKDATA, carrier);
  return ok;
}

static bool set_method(sf_carrier *carrier, const sf_request *request)
{
  CURL *easy = carrier->easy;
  bool ok = !is_pulled(request) || set_pulled(carrier);
  if (sends_body(request)) SET(easy, CURLOPT_POST, 1L);
  if (is_method(request, "HEAD")) SET(easy, CURLOPT_NOBODY, 1L);
  else if (!is_method(request, sends_body(request) ? "POST" : "GET")) SET(easy, CURLOPT_CUSTOMREQUEST, request->method);
  SET(easy, CURLOPT_ACCEPT_ENCODING, ""); /* decodes all it can, whatever the request asks for */
  return ok;
}

static void drop_lists(sf_carrier *carrier)
{
  curl_slist_free_all(carrier->resolve);
  curl_slist_free_all(carrier->connect_to);
  carrier->resolve = carrier->connect_to = NULL;
}

static bool set_anew(sf_carrier *carrier, const sf_request *request, uint64_t print)
{
  curl_easy_reset(carrier->easy);
  drop_lists(carrier);
  carrier->url.length = 0;
  carrier->print = 0;
  carrier->fresh = false;
  if (!set_base(carrier) || !set_line(carrier, request) || !set_method(carrier, request)) return false;
  carrier->print = print;
  return true;
}

/* ---- the request ---- */

/* What is said where the request has no line of that name. As lines they cost libcurl half of what its options for them do.
 * Without a value: libcurl shall not add a Content-Type that is a guess, nor an Expect that costs a round trip. */
static bool has_header(const sf_request *request, const char *line)
{
  size_t name = (size_t)(strchr(line, ':') - line) + 1;
  for (size_t i = 0; i < request->header_count; i++)
    if ((request->headers[i][0] | 32) == (line[0] | 32) && strncasecmp(request->headers[i], line, name) == 0)
      return true;
  return false;
}

static void add_header(sf_carrier *carrier, size_t *count, const char *line)
{
  struct curl_slist *node = &carrier->headers[(*count)++];
  node->data = (char *)line; /* libcurl only reads it */
  node->next = node + 1;
}

static bool set_headers(sf_carrier *carrier, const sf_request *request)
{
  const char *const ours[] = { "Content-Type:", "Expect:", "User-Agent: " SF_USER_AGENT,
                               request->stream ? IDENTITY : runtime.encodings };
  enum { OURS = sizeof ours / sizeof *ours };
  if (request->header_count + OURS > carrier->header_capacity) {
    size_t capacity = request->header_count + OURS;
    struct curl_slist *headers = sf_realloc(carrier->headers, capacity * sizeof *headers);
    if (headers == NULL) return false;
    carrier->headers = headers;
    carrier->header_capacity = capacity;
  }
  size_t count = 0;
  for (size_t i = 0; i < request->header_count; i++) add_header(carrier, &count, request->headers[i]);
  for (size_t i = 0; i < OURS; i++)
    if (!has_header(request, ours[i])) add_header(carrier, &count, ours[i]);
  if (count > 0) carrier->headers[count - 1].next = NULL;
  bool ok = true;
  SET(carrier->easy, CURLOPT_HTTPHEADER, count > 0 ? carrier->headers : NULL);
  return ok;
}

/* Most requests of a handle go to the URL of the one before. Given it parsed, libcurl need not parse and print it each
 * time, which would be a tenth of all it does. What does not parse is left to libcurl to complain about. */
static bool set_url(sf_carrier *carrier, const char *url)
{
  size_t size = strlen(url) + 1;
  if (carrier->url.length == size && memcmp(carrier->url.data, url, size) == 0) return true;
  CURLU *parsed = curl_url();
  bool ok = true, parses = parsed != NULL && curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK;
  carrier->url.length = 0;
  SET(carrier->easy, CURLOPT_URL, url);
  SET(carrier->easy, CURLOPT_CURLU, parses ? parsed : NULL);
  curl_url_cleanup(carrier->parsed);
  carrier->parsed = parsed;
  return ok && (!parses || sf_buffer_append(&carrier->url, url, size));
}

static bool set_request(sf_carrier *carrier, const sf_request *request)
{
  CURL *easy = carrier->easy;
  bool ok = set_headers(carrier, request) && set_url(carrier, request->url);
  if (is_pulled(request)) {
    uint64_t length = request->upload != NULL ? request->upload->length : request->body_length;
    SET(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)length);
  } else if (sends_body(request)) {
    SET(easy, CURLOPT_POSTFIELDS, request->body != NULL ? request->body : "");
    SET(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)(request->body != NULL ? request->body_length : 0));
  }
  bool fresh = request->fresh || request->line->keepalive_idle_ns == 0;
  if (fresh != carrier->fresh) {
    SET(easy, CURLOPT_FRESH_CONNECT, fresh ? 1L : 0L);
    carrier->fresh = fresh;
  }
  return ok;
}

static void begin(sf_carrier *carrier, const sf_request *request)
{
  carrier->http2 = http_version(request) != CURL_HTTP_VERSION_1_1; /* until the status line tells */
  carrier->shared = carrier->http2 && request->line->http_version == SF_HTTP_2 && !request->fresh;
  carrier->opened = carrier->requested = carrier->again = carrier->refused = carrier->spoiled = carrier->held = false;
  carrier->paused = carrier->denied = false;
  carrier->unfiled = 0;
  carrier->any_response = carrier->headers_done = carrier->any_body = false;
  carrier->dry_until_ns = 0;
  carrier->body_offset = 0;
  carrier->socket = CURL_SOCKET_BAD;
  carrier->wanted = 0;
  carrier->status = 0;
  carrier->header_bytes = carrier->block.length = 0;
  carrier->failure = CURLE_OK;
  carrier->error[0] = '\0';
}

/* ---- the pool ---- */

static sf_carrier *carrier_new(sf_curl *curl)
{
  sf_carrier *carrier = sf_alloc_zero(sizeof *carrier);
  if (carrier == NULL) return NULL;
  carrier->owner = curl;
  carrier->easy = curl_easy_init();
  if (carrier->easy != NULL) return carrier;
  sf_free(carrier);
  return NULL;
}

static sf_carrier *find_idle(sf_curl *curl, uint64_t print)
{
  sf_carrier *carrier = curl->idle;
  for (int i = 0; carrier != NULL && i < LOOKED_AT; i++, carrier = carrier->next)
    if (carrier->print == print) break;
  if (carrier == NULL || carrier->print != print) carrier = curl->idle;
  if (carrier == NULL) return NULL;
  detach(carrier);
  curl->idle_count--;
  return carrier;
}

sf_carrier *sf_carrier_take(sf_curl *curl, const sf_request *request)
{
  uint64_t print = fingerprint(request);
  sf_carrier *carrier = find_idle(curl, print);
  if (carrier == NULL) carrier = carrier_new(curl);
  if (carrier == NULL) return NULL;
  if ((carrier->print == print || set_anew(carrier, request, print)) && set_request(carrier, request)) {
    begin(carrier, request);
    return carrier;
  }
  sf_carrier_free(carrier);
  return NULL;
}

void sf_carrier_put(sf_carrier *carrier)
{
  sf_curl *curl = carrier->owner;
  size_t most = curl->expected < POOL_LEAST ? POOL_LEAST : curl->expected > POOL_MOST ? POOL_MOST : curl->expected;
  if (curl->idle_count >= most) {
    sf_carrier_free(carrier);
    return;
  }
  if (carrier->block.capacity > BLOCK_KEPT) sf_buffer_free(&carrier->block);
  sf_carrier_move(carrier, &curl->idle);
  curl->idle_count++;
}

void sf_carrier_free(sf_carrier *carrier)
{
  curl_easy_cleanup(carrier->easy);
  drop_lists(carrier);
  sf_carrier_forsake(carrier);
}

void sf_carrier_forsake(sf_carrier *carrier)
{
  detach(carrier);
  sf_buffer_free(&carrier->block);
  sf_buffer_free(&carrier->url);
  curl_url_cleanup(carrier->parsed);
  sf_free(carrier->headers);
  sf_free(carrier);
}
