/*
 * transport_curl.h: what the four files of the libcurl transport share.
 *
 *   transport_curl.c          the multi handle: sockets, timer, turns, start and cancel, life and rebirth
 *   transport_curl_carrier.c  easy handles: options of a line, the request, the pool
 *   transport_curl_link.c     the way to a connection: names, addresses, times, and why there is none
 *   transport_curl_answer.c   what comes back: headers, body, and how it ended
 */
#ifndef SF_TRANSPORT_CURL_H
#define SF_TRANSPORT_CURL_H

#include <curl/curl.h>

#include "engine.h"
#include "memory.h"
#include "transport.h"

_Static_assert(LIBCURL_VERSION_NUM >= 0x075000, "surefoot needs libcurl 7.80 or newer");

#ifndef SF_VERSION
#define SF_VERSION "0.1.0"
#endif
#define SF_USER_AGENT "surefoot/" SF_VERSION

typedef struct sf_curl sf_curl;

/* An easy handle and what it carries now. It is in exactly one of its owner's lists. */
typedef struct sf_carrier {
  struct sf_carrier *next, **link; /* the list: `*link` points here */
  sf_curl *owner;
  CURL *easy;
  sf_exchange *exchange; /* NULL: idle, or cancelled while libcurl was on the stack */
  /* kept from exchange to exchange */
  uint64_t print;             /* of all it is set to but URL, headers and body; 0 = nothing is set */
  struct curl_slist *resolve; /* what the handle refers to */
  struct curl_slist *connect_to;
  struct curl_slist *headers; /* nodes that point at the request's strings */
  size_t header_capacity;
  CURLU *parsed; /* the URL it is set to, and its text; no length: the text does not say */
  sf_buffer url;
  bool fresh; /* as the handle is set */
  /* of this exchange */
  bool shared;    /* HTTP/2 was asked for by name: many on one connection */
  bool opened;    /* a socket was opened for it */
  bool requested; /* the request was handed to a connection */
  bool again;     /* libcurl wanted to send the request a second time */
  bool refused;   /* a limit, or the other side of the seam, said no */
  bool denied;    /* the proxy answered for itself */
  bool spoiled;   /* the body that is sent has a problem */
  bool held;      /* sending waits until what has come is read */
  bool paused;    /* what comes of the body waits in libcurl */
  bool any_response, headers_done, any_body, http2;
  int64_t started_ns;
  int64_t dry_until_ns; /* what is left is read away until then; 0 = it is not */
  size_t dry_bytes;     /* that may still be read away */
  uint64_t body_offset; /* what libcurl takes next of a body that it asks for */
  int unfiled;          /* errno, where too many files were open for a socket */
  curl_socket_t socket; /* that was opened, or libcurl watches, for it */
  unsigned wanted;      /* SF_IO_*: what libcurl waits for there */
  int status;           /* of the header block that is being read; 0 = a status line comes next */
  size_t header_bytes;  /* all that came, in all blocks */
  sf_buffer block;      /* header lines without the status line */
  CURLcode failure;     /* in the list of the fallen: why */
  char error[CURL_ERROR_SIZE];
} sf_carrier;

struct sf_curl {
  sf_transport base;
  sf_reactor *reactor;
  CURLM *multi;   /* NULL: it broke and could not be made anew yet */
  int64_t now_ns; /* of the last start or turn: never later than the clock */
  int64_t due_ns; /* when libcurl's own timer is due */
  int64_t dry_ns; /* when the first exchange that runs dry has had its time; SF_NEVER = none */
  bool undrained; /* there may be finished transfers to collect */
  bool holds;     /* there may be a carrier that is held */
  bool inside;    /* libcurl is on the stack: nothing may be taken from it now */
  sf_carrier *running, *fallen, *idle;
  size_t idle_count, expected;
  size_t alone, together; /* running exchanges on a connection of their own; sharing HTTP/2 connections */
  bool capped;            /* connections per host are limited, for HTTP/2 */
  bool cap_harms;         /* a server that was said to speak HTTP/2 does not */
  uint8_t *opened;        /* by fd: a socket that libcurl had from us; see transport_curl.c */
  size_t opened_capacity;
  struct sf_names *names; /* addresses that were asked of name servers of lines' own */
};

SF_BEGIN_DECLS

void sf_carrier_prepare(void); /* once per process, before all else here */
bool sf_carrier_http2_sound(void);
void sf_carrier_move(sf_carrier *carrier, sf_carrier **list);

/* A carrier ready for this request, in no list; NULL: memory, or an option that this libcurl cannot do. */
sf_carrier *sf_carrier_take(sf_curl *curl, const sf_request *request);
void sf_carrier_put(sf_carrier *carrier); /* back into the pool; libcurl is done with it */
void sf_carrier_free(sf_carrier *carrier);
bool sf_carrier_is_answered(const sf_carrier *carrier); /* something has come over its connection that is unread */
void sf_carrier_forsake(sf_carrier *carrier);           /* frees our memory, leaves libcurl's alone */

/* How it ended, in our words; `done->message` points into the carrier or at a constant. */
void sf_carrier_report(sf_carrier *carrier, CURLcode code, sf_done *done);
size_t sf_carrier_on_header(char *line, size_t one, size_t length, void *context);
size_t sf_carrier_on_body(char *data, size_t one, size_t length, void *context);
int sf_carrier_on_connected(void *context, char *remote_ip, char *local_ip, int remote_port, int local_port);

/* The addresses that this name server gave, apart from all others; NULL: memory. */
CURLSH *sf_curl_names(sf_curl *curl, const char *doh_url);
void sf_curl_drop_names(sf_curl *curl, bool forsake);

/* Into the exchange's link: an address that is tried; when its socket was first read; all there is to know, `address` NULL
 * before there is a connection; why there is none, which carrier->error then says, too. */
void sf_carrier_tries(sf_carrier *carrier, const struct sockaddr *address);
void sf_carrier_listens(sf_carrier *carrier);
void sf_carrier_note_link(const sf_carrier *carrier, const char *address);
void sf_carrier_explain(sf_carrier *carrier, CURLcode code, sf_result result);
bool sf_carrier_lacks_files(sf_carrier *carrier, sf_result result); /* that is why; then carrier->error says so */
bool sf_carrier_is_denied(const sf_carrier *carrier);               /* the status is the proxy's own, not the line's */

curl_socket_t sf_curl_on_open(void *carrier, curlsocktype purpose, struct curl_sockaddr *address);
int sf_curl_on_close(void *curl, curl_socket_t fd);

SF_END_DECLS

#endif
