/*
 * attempt.h: what the files of an attempt share.
 *
 *   attempt.c          start, phase timers, up-calls
 *   attempt_request.c  what it sends
 *   attempt_end.c      how it ends
 */
#ifndef SF_ATTEMPT_H
#define SF_ATTEMPT_H

#include "call.h"

SF_BEGIN_DECLS

/* attempt_request.c: fills attempt->request. False: out of memory, or too many headers. */
bool sf_attempt_fill_request(sf_attempt *attempt);

/* attempt.c: hands the request to the transport, and starts the timer of its phase. */
void sf_attempt_begin_exchange(sf_attempt *attempt, int64_t now);
/* Its bytes have ended: it is judged in this turn. */
void sf_attempt_ended(sf_attempt *attempt, int64_t now);
/* Gives its memory back to the engine, for the next one. */
void sf_attempt_recycle(sf_attempt *attempt);

SF_END_DECLS

#endif
