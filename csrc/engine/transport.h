/*
 * transport.h: the seam between the engine and whatever carries bytes: libcurl, or a script with a virtual clock.
 *
 * Down: start, cancel, run_dry, pause, resume, can_pause, and what an engine turn needs (step, next_due).
 * Up: connected, headers, body, done. Up-calls only queue into the call; they never step it, so start and cancel may be
 * called from anywhere but an up-call. After `done`, or after cancel returns, the exchange is no longer the transport's.
 */
#ifndef SF_TRANSPORT_H
#define SF_TRANSPORT_H

#include "../policy/outcome.h"
#include "body.h"
#include "reactor.h"

typedef struct sf_transport sf_transport;
typedef struct sf_exchange sf_exchange;

typedef enum { SF_HTTP_AUTO, SF_HTTP_1_1, SF_HTTP_2 } sf_http_version;

/* How to reach a line. Strings are NULL when not given; they outlive every exchange on the line. */
typedef struct sf_line {
  const char *name; /* the endpoint's name (for scripts and logs) */
  const char *ca_file, *cert_file, *key_file;
  bool tls_insecure;          /* verify = false */
  const char *proxy;          /* "" = none, NULL = the environment's */
  const char *const *resolve; /* "host:port:address" entries, NULL-terminated; NULL = none */
  int64_t dns_cache_ns;       /* < 0 = libcurl's default */
  int ip_version;             /* 0 any, 4, 6 */
  const char *doh_url;
  sf_http_version http_version;
  int64_t keepalive_idle_ns; /* a connection idle for longer is not reused */
  int64_t keepalive_age_ns;  /* nor one older than this */
} sf_line;

typedef struct sf_request {
  const char *method;         /* "GET", "POST", ... */
  const char *url;            /* whole */
  const char *const *headers; /* "name: value" lines, header_count of them */
  size_t header_count;
  const char *body; /* NULL = none, or `upload`; outlives the exchange */
  size_t body_length;
  sf_body *upload; /* what is sent in segments instead; NULL = none; outlives the exchange */
  const sf_line *line;
  size_t header_limit; /* bytes of response headers */
  bool fresh;          /* use a new connection */
  bool stream;         /* an event stream is expected: ask for no compression */
} sf_request;

typedef enum {
  SF_RESULT_COMPLETE,       /* the framing agrees: the body is whole */
  SF_RESULT_RESOLVE_FAILED, /* DNS */
  SF_RESULT_CONNECT_FAILED, /* TCP or proxy */
  SF_RESULT_TLS_FAILED,     /* handshake */
  SF_RESULT_CERTIFICATE,    /* theirs was refused, or ours is missing: the same again is no help */
  SF_RESULT_NO_FILES,       /* too many are open here for a connection */
  SF_RESULT_PROXY_REFUSED,  /* it says no: the same again is no help */
  SF_RESULT_LOST,           /* the connection died (reset, closed, protocol error) */
  SF_RESULT_TRUNCATED,      /* headers came, the body ended before its end */
  SF_RESULT_UNDECODABLE,    /* content-encoding damaged or unknown */
  SF_RESULT_TOO_LARGE,      /* header limit, or on_headers / on_body refused */
  SF_RESULT_BAD_REQUEST,    /* the transport cannot do this (URL, option, memory), or `upload` has a problem */
} sf_result;

typedef struct sf_done {
  sf_result result;
  sf_phase phase;      /* how far it came: CONNECT, FIRST_BYTE (sent, no body byte yet), IDLE (in the body) */
  bool reused;         /* ran over a kept connection */
  bool any_response;   /* at least one byte of response came */
  uint64_t bytes_sent; /* request bytes that left, headers included */
  uint64_t bytes_received;
  const char *message; /* for people; valid during the up-call; never holds a key */
} sf_done;

/* Why there is no connection: what somebody would have to change. */
typedef enum {
  SF_CAUSE_NONE, /* not known, or time was up */
  SF_CAUSE_NAME, /* nobody knows it */
  SF_CAUSE_REFUSED,
  SF_CAUSE_UNREACHABLE,
  SF_CAUSE_UNTRUSTED,   /* a certificate of an issuer that is not trusted */
  SF_CAUSE_EXPIRED,     /* or not yet valid */
  SF_CAUSE_OTHER_NAME,  /* a certificate for another host */
  SF_CAUSE_FILE,        /* of ours: certificates or a key that cannot be read */
  SF_CAUSE_NOT_TLS,     /* the other side speaks something else */
  SF_CAUSE_CREDENTIALS, /* the proxy wants some, or others */
  SF_CAUSE_DENIED,      /* the proxy does not want to */
  SF_CAUSE_OPEN_FILES,  /* this process, or the machine, may open no more */
} sf_cause;

enum { SF_ADDRESSES_BYTES = 64 };

/* The way to a new connection, as far as it was gone. Times are since the start; 0 = not done. */
typedef struct sf_link {
  uint32_t resolve_us, connect_us, tls_us;
  sf_cause cause;
  bool proxy;                         /* the cause lies with the proxy */
  char addresses[SF_ADDRESSES_BYTES]; /* tried, with spaces between; with a connection: the one that it goes to */
} sf_link;

/* The caller's half of an exchange: embed it, fill `up` and `request` before start. */
typedef struct sf_exchange_up {
  void (*connected)(sf_exchange *exchange); /* the connection stands, the request is about to leave */
  /* The final response's headers ("Name: value\r\n" lines without the status line). False refuses: TOO_LARGE. */
  bool (*headers)(sf_exchange *exchange, int status, const char *block, size_t length);
  /* Decoded body bytes, in order. False refuses: the exchange ends as TOO_LARGE. */
  bool (*body)(sf_exchange *exchange, const char *data, size_t length);
  void (*done)(sf_exchange *exchange, const sf_done *done); /* exactly once, unless cancelled */
} sf_exchange_up;

struct sf_exchange {
  const sf_exchange_up *up;
  const sf_request *request; /* outlives the exchange */
  void *carrier;             /* the transport's own; NULL when not in its hands */
  sf_link link;              /* written by the transport: final with connected, done or cancel */
};

typedef struct sf_transport_ops {
  /* False: could not even start (no up-call will come). */
  bool (*start)(sf_transport *transport, sf_exchange *exchange, int64_t now);
  void (*cancel)(sf_transport *transport, sf_exchange *exchange);
  /* As cancel; but what is left of the answer, if it is little and comes soon, is read away, so that the connection can be
   * used again. The request must have been sent. */
  void (*run_dry)(sf_transport *transport, sf_exchange *exchange);
  void (*pause)(sf_transport *transport, sf_exchange *exchange);
  void (*resume)(sf_transport *transport, sf_exchange *exchange);
  bool (*can_pause)(sf_transport *transport, const sf_exchange *exchange);
  /* A socket of ours is ready. */
  void (*ready)(sf_transport *transport, int fd, unsigned events);
  /* Runs what is due; called once per turn, after sockets. */
  void (*turn)(sf_transport *transport, int64_t now);
  /* When `turn` wants to be called: SF_NEVER, or a monotonic time (<= now: at once). */
  int64_t (*next_due)(const sf_transport *transport);
  /* More exchanges than before may run at once (connection cache). */
  void (*expect)(sf_transport *transport, size_t concurrent);
  void (*free)(sf_transport *transport);    /* no exchange is left in its hands */
  void (*abandon)(sf_transport *transport); /* after a fork: touch nothing that is shared with the parent */
} sf_transport_ops;

struct sf_transport {
  const sf_transport_ops *ops;
};

SF_BEGIN_DECLS

/* The real one. Sockets are watched through `reactor`. NULL: libcurl or memory failed. */
sf_transport *sf_transport_curl_new(sf_reactor *reactor);

/* "libcurl/7.88.1 OpenSSL/3.0.19 ...": what carries the bytes. */
const char *sf_transport_curl_version(void);

SF_END_DECLS

#endif
