/*
 * ramp.h: how many attempts at a time a line gets that has come back while calls wait for it. All of them at once would
 * put it down again. The window begins with as many as there were probes. An answer within a quarter of the time that it
 * was given adds one, so the window doubles with each round trip; a later one adds one a round trip; a failure halves it,
 * once a round trip. When nobody waits any more there is nothing to hold back, and the ramp ends.
 *
 * The measure is the time that an attempt was given, not what is usual: what is usual was learned in the trouble, too, and
 * what turns work into waste is that the line's own queue takes as long as its callers wait.
 *
 * Source: TCP's slow start and congestion avoidance (RFC 5681).
 */
#ifndef SF_RAMP_H
#define SF_RAMP_H

#include "outcome.h"

typedef struct sf_ramp {
  double window;    /* attempts at a time, at least 1 */
  int64_t since_ns; /* it began, or was last halved: what was begun before says nothing of this window */
} sf_ramp;

SF_BEGIN_DECLS

void sf_ramp_begin(sf_ramp *ramp, uint32_t probes, int64_t now);

/* May one more attempt go, beside so many? */
bool sf_ramp_admits(const sf_ramp *ramp, uint32_t in_flight);

/*
 * An attempt has ended that began at `began_ns`. OK: it was answered after elapsed_ns of the allowed_ns that it had;
 * IGNORE and BAD_RUN say nothing.
 */
void sf_ramp_report(sf_ramp *ramp, int64_t now, int64_t began_ns, sf_breaker_effect effect, int64_t elapsed_ns,
                    int64_t allowed_ns);

SF_END_DECLS

#endif
