/*
 * transport_sim.h: the scripted transport of simulations, on the engine's virtual clock.
 *
 * A started exchange waits in a list until the outside gives it a script; then its events come at the scripted times. No
 * socket, no thread, no real time: whole lifecycles run deterministically in microseconds.
 */
#ifndef SF_TRANSPORT_SIM_H
#define SF_TRANSPORT_SIM_H

#include "engine.h"

typedef enum {
  SF_FAULT_NONE,
  SF_FAULT_HANG,    /* connected, then nothing */
  SF_FAULT_RESET,   /* the connection dies before the first response byte */
  SF_FAULT_CUT,     /* the body ends before its end */
  SF_FAULT_RESOLVE, /* DNS fails */
  SF_FAULT_CONNECT, /* refused */
  SF_FAULT_TLS      /* handshake fails */
} sf_fault;

typedef struct sf_script_event {
  int64_t at_ns; /* since the start of the exchange */
  const char *data;
  size_t length;
} sf_script_event;

/* What the line does with one exchange. Copied. */
typedef struct sf_script {
  int64_t connect_ns; /* until connected */
  int64_t after_ns;   /* until the headers, and the body when there are no events */
  int status;
  const char *headers; /* "Name: value\r\n" lines */
  size_t headers_length;
  const sf_script_event *events; /* body chunks in order of time */
  size_t event_count;
  sf_fault fault;
  bool reused; /* runs over a kept connection (unless a fresh one is asked for) */
} sf_script;

SF_BEGIN_DECLS

sf_transport *sf_transport_sim_new(sf_engine *engine);

/* The oldest exchange that waits for its script: its id and its exchange; 0 = none. It is then no longer in the list. */
uint64_t sf_transport_sim_started(sf_transport *transport, sf_exchange **exchange);

/* Gives an exchange its script. False: it is gone (cancelled), has one already, or memory is short (it then fails as lost). */
bool sf_transport_sim_script(sf_transport *transport, uint64_t id, const sf_script *script);

SF_END_DECLS

#endif
