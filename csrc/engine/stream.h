/*
 * stream.h: the event stream of an attempt: bytes in, events out, one at a time.
 *
 * Events are parsed in the attempt's body buffer and given in order to the call's owner, who says what they mean: nothing
 * yet, the first content (commit), the end. Before the commit the call may still go elsewhere; the first commit wins. An
 * owner that does not read holds at most SF_STREAM_QUEUE bytes where the transport can pause, else stream_buffer bytes.
 */
#ifndef SF_STREAM_H
#define SF_STREAM_H

#include "../wire/sse.h"
#include "memory.h"
#include "timers.h"

typedef struct sf_attempt sf_attempt;

enum {
  SF_STREAM_QUEUE = 64 * 1024, /* unread bytes; more pause the exchange, half of it lets it go on */
  SF_HELD_EVENTS = 64,         /* before the commit: then the owner must decide */
  SF_HELD_BYTES = 256 * 1024,
};

/* After every choice has finished only usage and a farewell can come: so long is waited for them. */
#define SF_FAREWELL_NS (5 * SF_SECOND)

typedef struct sf_stream {
  bool on;        /* the answer is an event stream; all else counts only then */
  bool pending;   /* an event waits to be taken: the question is open, the attempt's timers wait */
  bool committed; /* content was shown */
  bool finishing; /* every choice has finished */
  bool paused;
  sf_sse parser;
  size_t name_at, name_length, data_at, data_length; /* the pending event, by its places in the buffer */
  size_t held_events, held_bytes;                    /* taken before the commit */
  size_t bytes;                                      /* that have come in all */
  int64_t arrived_ns;                                /* arrival of the pending event */
  int64_t asked_ns;                                  /* since when it is pending */
  int64_t taken_ns;                                  /* arrival of the event taken last */
  int64_t answered_ns;                               /* when it was taken */
  int64_t waited_ns;                                 /* how long questions were open, in all */
} sf_stream;

SF_BEGIN_DECLS

/* The headers of a 2xx answer to a request for events have come: is it one? */
void sf_stream_open(sf_attempt *attempt, const char *headers, size_t length);

/* Bytes have come. False: an event, or what waits to be read, is too large (attempt->message says which). */
bool sf_stream_feed(sf_attempt *attempt, const char *data, size_t length);

/* The pending event; its slices are valid until the next entry to the engine. */
void sf_stream_take(sf_attempt *attempt, sf_slice *name, sf_slice *data);

/* Looks for the event after the one that was taken, lets a paused exchange go on. True: the engine has to be turned. */
bool sf_stream_advance(sf_attempt *attempt);

/* Before the commit: has so much been held back that the owner must commit or fail? */
bool sf_stream_must_decide(const sf_stream *stream);

SF_END_DECLS

#endif
