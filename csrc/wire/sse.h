/*
 * sse.h: the events of a text/event-stream, parsed in place in the caller's buffer. No allocation, no pointers kept.
 *
 * Lines end with LF, CR or CRLF, mixed as they come; a CR ends its line at once, a LF that follows belongs to it. One
 * leading BOM is dropped, one space after a field's colon too. `data` lines are joined by LF, the last `event` wins, comments
 * and all other fields (`id` and `retry` too) are passed over. A blank line gives the event; what was not ended by one is
 * never given. Bytes have no further meaning: UTF-8 is not looked at, NUL is a byte.
 * Source: WHATWG HTML 9.2.6. Other than there, a named event without data is given (as the vendors' SDKs do: `ping`).
 *
 * Linear however the bytes come. The caller holds at most `limit` bytes beyond those spent when SF_SSE_MORE is returned.
 */
#ifndef SF_SSE_H
#define SF_SSE_H

#include "../policy/base.h"
#include "slice.h"

typedef enum { SF_SSE_MORE, SF_SSE_EVENT, SF_SSE_TOO_LARGE } sf_sse_status;

typedef struct sf_sse_event {
  sf_slice name; /* of the `event` field; length 0 = none given */
  sf_slice data; /* `data` lines joined by LF; may be empty */
} sf_sse_event;

/* A cursor over lines. */
typedef struct sf_sse_lines {
  size_t at;     /* start of the next line */
  size_t lf, cr; /* no LF, no CR from `at` up to here */
  bool after_cr; /* a LF at `at` belongs to the line before */
} sf_sse_lines;

/* Offsets into the buffer, never pointers. */
typedef struct sf_sse {
  size_t limit;
  size_t spent;
  sf_sse_lines lines;
  size_t name, name_length; /* of the event that is coming; length 0 = none */
  size_t data, data_length; /* value of its first `data` line */
  size_t data_lines;
  bool begun; /* past the place of a BOM */
  bool too_large;
} sf_sse;

SF_BEGIN_DECLS

/*
 * limit: bytes of one event from its first line that counts up to the blank line's first end character, comments and unknown
 * fields between included; one comment or unknown field alone may not be longer either.
 */
void sf_sse_init(sf_sse *sse, size_t limit);

/*
 * The next event in buffer[0..length): all bytes that came and were not yet dropped, in order; NULL is fine when none are. The
 * buffer may be moved between calls; the lines of an event are moved together inside it.
 *
 * SF_SSE_EVENT: one event; its slices point into the buffer and are valid until that changes or the next call.
 * SF_SSE_MORE: no whole event is left; append bytes and ask again. What was scanned is not scanned again.
 * SF_SSE_TOO_LARGE: the next event, finished or not, is larger than the limit; for good.
 */
sf_sse_status sf_sse_next(sf_sse *sse, char *buffer, size_t length, sf_sse_event *event);

/* Bytes at the front that are no longer needed: up to the last event given, and lines passed over before the next began. */
size_t sf_sse_spent(const sf_sse *sse);

/* The caller has dropped `count` bytes (at most those spent) from the front. */
void sf_sse_drop(sf_sse *sse, size_t count);

SF_END_DECLS

#endif
