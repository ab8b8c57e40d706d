/* stream.c: the event stream of an attempt; see stream.h. */
#include "stream.h"

#include <string.h>
#include <strings.h>

#include "../wire/headers.h"
#include "call.h"

static sf_transport *transport_of(const sf_attempt *attempt)
{
  return attempt->call->engine->transport;
}

static bool refuse(sf_attempt *attempt, const char *why)
{
  sf_attempt_say(attempt, why);
  attempt->explained = true;
  return false;
}

static bool contains(const sf_slice *text, const char *word)
{
  size_t length = strlen(word);
  for (size_t i = 0; i + length <= text->length; i++)
    if (strncasecmp(text->data + i, word, length) == 0) return true;
  return false;
}

/* Servers are careless with the type of a stream, but what is JSON or HTML says so. */
void sf_stream_open(sf_attempt *attempt, const char *headers, size_t length)
{
  sf_slice type;
  if (!sf_headers_find(headers, length, "content-type", &type)) type = (sf_slice){ "", 0 };
  if (contains(&type, "json") || contains(&type, "html")) return;
  attempt->stream.on = true;
  sf_sse_init(&attempt->stream.parser, attempt->call->client->config.event_limit);
}

static size_t unread(const sf_attempt *attempt)
{
  return attempt->body.length - sf_sse_spent(&attempt->stream.parser);
}

/* Spent bytes make room for new ones: at no cost when all are, else when they are the larger part. */
static void drop_spent(sf_attempt *attempt)
{
  sf_buffer *buffer = &attempt->body;
  size_t spent = sf_sse_spent(&attempt->stream.parser), rest = buffer->length - spent;
  if (spent == 0 || (rest > 0 && spent < rest)) return;
  if (rest > 0) memmove(buffer->data, buffer->data + spent, rest);
  sf_sse_drop(&attempt->stream.parser, spent);
  buffer->length = rest;
}

/* Looks for an event. False: one is too large. */
static bool parse(sf_attempt *attempt)
{
  sf_stream *stream = &attempt->stream;
  sf_sse_event event;
  sf_sse_status status = sf_sse_next(&stream->parser, attempt->body.data, attempt->body.length, &event);
  if (status == SF_SSE_MORE) return true;
  if (status == SF_SSE_TOO_LARGE) return refuse(attempt, "an event is larger than limits.event_bytes");
  stream->pending = true;
  stream->arrived_ns = attempt->last_byte_ns;
  stream->asked_ns = sf_engine_now(attempt->call->engine);
  stream->name_length = event.name.length;
  stream->data_length = event.data.length;
  stream->name_at = event.name.length > 0 ? (size_t)(event.name.data - attempt->body.data) : 0;
  stream->data_at = event.data.length > 0 ? (size_t)(event.data.data - attempt->body.data) : 0;
  sf_waiter_wake(attempt->call->engine, &attempt->call->waiter);
  return true;
}

/* A reader that is behind holds the exchange up, where that can be done. False: it cannot, and this is too much. */
static bool hold_up(sf_attempt *attempt)
{
  const sf_transport_ops *ops = transport_of(attempt)->ops;
  size_t waiting = unread(attempt);
  if (!attempt->stream.pending || waiting <= SF_STREAM_QUEUE) return true;
  if (ops->can_pause(transport_of(attempt), &attempt->exchange)) {
    if (!attempt->stream.paused) ops->pause(transport_of(attempt), &attempt->exchange);
    attempt->stream.paused = true;
    return true;
  }
  if (waiting <= attempt->call->client->config.stream_limit) return true;
  return refuse(attempt, "more is unread than limits.stream_buffer_bytes");
}

bool sf_stream_feed(sf_attempt *attempt, const char *data, size_t length)
{
  if (length > attempt->call->client->config.response_limit - attempt->stream.bytes)
    return refuse(attempt, "the stream is larger than limits.response_bytes");
  attempt->stream.bytes += length;
  if (!attempt->stream.pending) drop_spent(attempt);
  if (!sf_buffer_append(&attempt->body, data, length)) return false;
  return (attempt->stream.pending || parse(attempt)) && hold_up(attempt);
}

void sf_stream_take(sf_attempt *attempt, sf_slice *name, sf_slice *data)
{
  sf_stream *stream = &attempt->stream;
  const char *bytes = attempt->body.data;
  *name = (sf_slice){ bytes + stream->name_at, stream->name_length };
  *data = (sf_slice){ bytes + stream->data_at, stream->data_length };
  stream->pending = false;
  stream->taken_ns = stream->arrived_ns;
  stream->answered_ns = sf_engine_now(attempt->call->engine);
  stream->waited_ns += stream->answered_ns - stream->asked_ns;
  if (stream->committed) return;
  stream->held_events++;
  stream->held_bytes += data->length;
}

bool sf_stream_advance(sf_attempt *attempt)
{
  sf_stream *stream = &attempt->stream;
  drop_spent(attempt);
  if (!parse(attempt)) {
    sf_attempt_refuse(attempt);
    return true;
  }
  bool behind = stream->pending && unread(attempt) > SF_STREAM_QUEUE / 2; /* what is no whole event needs the rest */
  if (!stream->paused || behind || attempt->ended) return false;
  stream->paused = false;
  transport_of(attempt)->ops->resume(transport_of(attempt), &attempt->exchange);
  return true;
}

bool sf_stream_must_decide(const sf_stream *stream)
{
  return !stream->committed && (stream->held_events >= SF_HELD_EVENTS || stream->held_bytes >= SF_HELD_BYTES);
}
