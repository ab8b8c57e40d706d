/*
 * transport_curl_link.c: the way to a connection: where names are looked up, what was tried and how long each step took,
 * and, when there is none, why: in words that name the proxy, but none of its credentials.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <unistd.h>

#include "transport_curl.h"

/* ---- names ---- */

struct sf_names {
  struct sf_names *next;
  CURLSH *share;
  char doh_url[];
};

/* A name server of one's own is asked because the other's word is not trusted: its answers are kept apart. */
CURLSH *sf_curl_names(sf_curl *curl, const char *doh_url)
{
  struct sf_names *names = curl->names;
  while (names != NULL && strcmp(names->doh_url, doh_url) != 0) names = names->next;
  if (names != NULL) return names->share;
  size_t size = strlen(doh_url) + 1;
  names = sf_alloc(sizeof *names + size);
  CURLSH *share = names != NULL ? curl_share_init() : NULL;
  if (share == NULL || curl_share_setopt(share, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS) != CURLSHE_OK) {
    curl_share_cleanup(share);
    sf_free(names);
    return NULL;
  }
  memcpy(names->doh_url, doh_url, size);
  names->share = share;
  names->next = curl->names;
  curl->names = names;
  return share;
}

void sf_curl_drop_names(sf_curl *curl, bool forsake)
{
  while (curl->names != NULL) {
    struct sf_names *names = curl->names;
    curl->names = names->next;
    if (!forsake) curl_share_cleanup(names->share);
    sf_free(names);
  }
}

/* ---- what was tried, and how long it took ---- */

void sf_carrier_tries(sf_carrier *carrier, const struct sockaddr *address)
{
  sf_link *link = &carrier->exchange->link;
  const void *bytes = address->sa_family == AF_INET ? (const void *)&((const struct sockaddr_in *)address)->sin_addr
                                                    : (const void *)&((const struct sockaddr_in6 *)address)->sin6_addr;
  char text[INET6_ADDRSTRLEN];
  if (inet_ntop(address->sa_family, bytes, text, sizeof text) == NULL) return;
  size_t have = strlen(link->addresses), more = strlen(text) + 1;
  if (have + more >= sizeof link->addresses) return;
  snprintf(link->addresses + have, sizeof link->addresses - have, "%s%s", have > 0 ? " " : "", text);
}

/* libcurl tells the time of TCP when all that comes after it has been done; until then it only waits to write. */
void sf_carrier_listens(sf_carrier *carrier)
{
  if (!carrier->opened || carrier->requested || carrier->exchange == NULL) return;
  sf_link *link = &carrier->exchange->link;
  if (link->connect_us == 0) link->connect_us = (uint32_t)((sf_clock_now() - carrier->started_ns) / 1000) + 1;
}

static uint32_t microseconds(const sf_carrier *carrier, CURLINFO info)
{
  curl_off_t value = 0;
  if (curl_easy_getinfo(carrier->easy, info, &value) != CURLE_OK || value < 0) return 0;
  return value < UINT32_MAX ? (uint32_t)value : UINT32_MAX;
}

void sf_carrier_note_link(const sf_carrier *carrier, const char *address)
{
  sf_link *link = &carrier->exchange->link;
  if (address != NULL && !carrier->opened) return; /* kept from an earlier exchange, which told of it */
  if (address != NULL) snprintf(link->addresses, sizeof link->addresses, "%s", address);
  link->resolve_us = microseconds(carrier, CURLINFO_NAMELOOKUP_TIME_T);
  uint32_t connect_us = microseconds(carrier, CURLINFO_CONNECT_TIME_T);
  if (connect_us > 0) link->connect_us = connect_us;
  link->tls_us = microseconds(carrier, CURLINFO_APPCONNECT_TIME_T);
}

/* ---- why there is none ---- */

enum { PLACE_BYTES = 96 };

static bool is_proxied(const sf_carrier *carrier)
{
  const char *proxy = carrier->exchange->request->line->proxy;
  return proxy != NULL && proxy[0] != '\0';
}

static bool is_socks(const sf_carrier *carrier)
{
  return is_proxied(carrier) && strncasecmp(carrier->exchange->request->line->proxy, "socks", 5) == 0;
}

bool sf_carrier_is_denied(const sf_carrier *carrier)
{
  bool passed_on = strncasecmp(carrier->exchange->request->url, "http:", 5) == 0 && !is_socks(carrier);
  return carrier->status == 407 && is_proxied(carrier) && passed_on;
}

/* "host:port" of a URL: what else is in it is nobody's business. */
static void place_of(const char *url, char *place)
{
  const char *start = strstr(url, "://");
  start = start != NULL ? start + 3 : url;
  size_t length = strcspn(start, "/?#"), at = length;
  while (at > 0 && start[at - 1] != '@') at--;
  snprintf(place, PLACE_BYTES, "%.*s", (int)(length - at), start + at);
}

typedef struct sf_reason {
  sf_cause cause;
  bool proxy;          /* it lies there */
  const char *problem; /* of the proxy, in our words; NULL: libcurl's will do */
  int status, error;   /* what is told behind it: an HTTP status, an errno; 0 = none */
} sf_reason;

static long number_of(const sf_carrier *carrier, CURLINFO info)
{
  long value = 0;
  return curl_easy_getinfo(carrier->easy, info, &value) == CURLE_OK ? value : 0;
}

/* What a proxy answers to CONNECT, or to a request that it should pass on. */
static sf_reason refused_by_http(const sf_carrier *carrier, int status)
{
  bool told = strchr(carrier->exchange->request->line->proxy, '@') != NULL;
  const char *problem = "refuses to connect to the line";
  if (status == 407) problem = told ? "does not accept the credentials" : "wants credentials";
  if (status == 407) return (sf_reason){ SF_CAUSE_CREDENTIALS, true, problem, status, 0 };
  if (status < 502 || status > 504) return (sf_reason){ SF_CAUSE_DENIED, true, problem, status, 0 };
  return (sf_reason){ SF_CAUSE_UNREACHABLE, false, "cannot reach the line", status, 0 };
}

static sf_reason refused_by_socks(long code)
{
  static const struct {
    CURLproxycode code;
    sf_reason reason;
  } replies[] = {
    { CURLPX_RESOLVE_HOST, { SF_CAUSE_NAME, false, NULL, 0, 0 } },
    { CURLPX_NO_AUTH, { SF_CAUSE_CREDENTIALS, true, "wants credentials", 0, 0 } },
    { CURLPX_USER_REJECTED, { SF_CAUSE_CREDENTIALS, true, "does not accept the credentials", 0, 0 } },
    { CURLPX_REPLY_NOT_ALLOWED, { SF_CAUSE_DENIED, true, "refuses to connect to the line", 0, 0 } },
    { CURLPX_REPLY_NETWORK_UNREACHABLE, { SF_CAUSE_UNREACHABLE, false, "cannot reach the line's network", 0, 0 } },
    { CURLPX_REPLY_HOST_UNREACHABLE, { SF_CAUSE_UNREACHABLE, false, "cannot reach the line", 0, 0 } },
    { CURLPX_REPLY_TTL_EXPIRED, { SF_CAUSE_UNREACHABLE, false, "cannot reach the line", 0, 0 } },
    { CURLPX_REPLY_GENERAL_SERVER_FAILURE, { SF_CAUSE_UNREACHABLE, false, "cannot reach the line", 0, 0 } },
    { CURLPX_REPLY_CONNECTION_REFUSED, { SF_CAUSE_REFUSED, false, "was refused by the line", 0, 0 } },
  };
  for (size_t i = 0; i < sizeof replies / sizeof *replies; i++)
    if ((long)replies[i].code == code) return replies[i].reason;
  return (sf_reason){ SF_CAUSE_NONE, true, NULL, 0, 0 };
}

/* libcurl's TLS backends say in words what few of them have a code for. */
static sf_cause tls_cause(const sf_carrier *carrier, CURLcode code)
{
  static const struct {
    const char *words;
    sf_cause cause;
  } known[] = {
    { "expire", SF_CAUSE_EXPIRED },
    { "expiration", SF_CAUSE_EXPIRED },
    { "not yet valid", SF_CAUSE_EXPIRED },
    { " match", SF_CAUSE_OTHER_NAME },
    { "wrong version number", SF_CAUSE_NOT_TLS },
    { "packet length too long", SF_CAUSE_NOT_TLS },
    { "unexpected TLS packet", SF_CAUSE_NOT_TLS },
  };
  if (code == CURLE_SSL_CACERT_BADFILE || code == CURLE_SSL_CERTPROBLEM) return SF_CAUSE_FILE;
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (strstr(carrier->error, known[i].words) != NULL) return known[i].cause;
  return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_ISSUER_ERROR ? SF_CAUSE_UNTRUSTED : SF_CAUSE_NONE;
}

static sf_reason unreached(const sf_carrier *carrier)
{
  static const int unreachable[] = { ENETUNREACH, EHOSTUNREACH, ENETDOWN, EADDRNOTAVAIL, EAFNOSUPPORT, EACCES, EPERM };
  int error = (int)number_of(carrier, CURLINFO_OS_ERRNO);
  bool proxied = is_proxied(carrier);
  sf_cause cause = error == ECONNREFUSED ? SF_CAUSE_REFUSED : SF_CAUSE_NONE;
  for (size_t i = 0; i < sizeof unreachable / sizeof *unreachable; i++)
    if (error == unreachable[i]) cause = SF_CAUSE_UNREACHABLE;
  return (sf_reason){ cause, proxied, proxied ? "cannot be reached" : NULL, 0, error };
}

static sf_reason reason_of(const sf_carrier *carrier, CURLcode code, sf_result result)
{
  bool http = is_proxied(carrier) && !is_socks(carrier);
  int tunnel = http ? (int)number_of(carrier, CURLINFO_HTTP_CONNECTCODE) : 0;
  bool before = http && tunnel / 100 != 2; /* the proxy is all that there was to speak to */
  bool tls = result == SF_RESULT_TLS_FAILED || result == SF_RESULT_CERTIFICATE;
  if (carrier->denied) return refused_by_http(carrier, carrier->status);
  bool first = is_socks(carrier) && carrier->exchange->link.connect_us == 0; /* the line's name comes later */
  if (code == CURLE_COULDNT_RESOLVE_PROXY || (result == SF_RESULT_RESOLVE_FAILED && first))
    return (sf_reason){ SF_CAUSE_NAME, true, "has an unknown name", 0, 0 };
  if (result == SF_RESULT_RESOLVE_FAILED) return (sf_reason){ SF_CAUSE_NAME, false, NULL, 0, 0 };
  if (code == CURLE_PROXY) return refused_by_socks(number_of(carrier, CURLINFO_PROXY_ERROR));
  if (before && tunnel != 0) return refused_by_http(carrier, tunnel);
  if (code == CURLE_COULDNT_CONNECT) return unreached(carrier);
  return (sf_reason){ tls ? tls_cause(carrier, code) : SF_CAUSE_NONE, before, NULL, 0, 0 };
}

/* "the proxy 127.0.0.1:3128 cannot be reached"; "Failed to connect to api.example port 443 (::1 127.0.0.1)". */
static int say(const sf_carrier *carrier, const sf_reason *reason, const char *what, char *text, size_t size)
{
  char place[PLACE_BYTES], host[PLACE_BYTES];
  const sf_line *line = carrier->exchange->request->line;
  const char *addresses = carrier->exchange->link.addresses;
  const char *stop = reason->error != 0 ? strstr(what, " after ") : NULL; /* that is told elsewhere */
  int length = (int)(stop != NULL ? (size_t)(stop - what) : strlen(what));
  if (is_proxied(carrier)) place_of(line->proxy, place);
  if (reason->problem != NULL) return snprintf(text, size, "the proxy %s %s", place, reason->problem);
  if (reason->proxy) return snprintf(text, size, "the proxy %s: %s", place, what);
  if (reason->cause == SF_CAUSE_NAME && line->doh_url != NULL) {
    place_of(line->doh_url, place);
    place_of(carrier->exchange->request->url, host);
    host[strcspn(host, ":")] = '\0';
    return snprintf(text, size, "Could not resolve host: %s (asked %s over HTTPS)", host, place);
  }
  if (reason->error == 0 || strchr(addresses, ' ') == NULL) return snprintf(text, size, "%.*s", length, what);
  return snprintf(text, size, "%.*s (%s)", length, what, addresses);
}

/* Why no socket can be made, or too few for a lookup, which takes three of libcurl and the system: an errno; 0 = it can. */
static int lack_of_files(void)
{
  enum { LOOKUP = 3 };
  int fds[LOOKUP], count = 0, error = 0;
  while (count < LOOKUP && (fds[count] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) >= 0) count++;
  if (count < LOOKUP) error = errno;
  while (count > 0) close(fds[--count]);
  return error == EMFILE || error == ENFILE ? error : 0;
}

/* Of a lookup that fails, or certificates that cannot be read, nobody says that it was for lack of files: it is tried. */
bool sf_carrier_lacks_files(sf_carrier *carrier, sf_result result)
{
  bool silent = result == SF_RESULT_RESOLVE_FAILED || result == SF_RESULT_TLS_FAILED || result == SF_RESULT_CERTIFICATE;
  int lack = silent ? lack_of_files() : carrier->opened ? 0 : carrier->unfiled;
  if (lack == 0) return false;
  struct rlimit limit;
  carrier->exchange->link.cause = SF_CAUSE_OPEN_FILES;
  if (lack == EMFILE && getrlimit(RLIMIT_NOFILE, &limit) == 0)
    snprintf(carrier->error, sizeof carrier->error, "too many open files: this process may have %llu (ulimit -n)",
             (unsigned long long)limit.rlim_cur);
  else snprintf(carrier->error, sizeof carrier->error, "too many open files on this machine");
  return true;
}

void sf_carrier_explain(sf_carrier *carrier, CURLcode code, sf_result result)
{
  sf_reason reason = reason_of(carrier, code, result);
  carrier->exchange->link.cause = reason.cause;
  carrier->exchange->link.proxy = reason.proxy;
  char text[sizeof carrier->error];
  const char *what = carrier->error[0] != '\0' ? carrier->error : curl_easy_strerror(code);
  int length = say(carrier, &reason, what, text, sizeof text);
  size_t left = length >= 0 && (size_t)length < sizeof text ? sizeof text - (size_t)length : 0;
  if (reason.status != 0) snprintf(text + sizeof text - left, left, ": HTTP %d", reason.status);
  if (reason.error != 0) snprintf(text + sizeof text - left, left, ": %s", strerror(reason.error));
  memcpy(carrier->error, text, sizeof text);
}
