/* ramp.c: the window of a line that came back; see ramp.h. */
#include "ramp.h"

void sf_ramp_begin(sf_ramp *ramp, uint32_t probes, int64_t now)
{
  *ramp = (sf_ramp){ .window = probes > 1 ? probes : 1, .since_ns = now };
}

bool sf_ramp_admits(const sf_ramp *ramp, uint32_t in_flight)
{
  return (double)in_flight + 1 <= ramp->window;
}

void sf_ramp_report(sf_ramp *ramp, int64_t now, int64_t began_ns, sf_breaker_effect effect, int64_t elapsed_ns,
                    int64_t allowed_ns)
{
  if (began_ns < ramp->since_ns) return;
  if (effect == SF_BREAKER_OK) {
    ramp->window += elapsed_ns <= allowed_ns / 4 ? 1 : 1 / ramp->window;
  } else if (effect == SF_BREAKER_BAD || effect == SF_BREAKER_BAD_RATIO) {
    ramp->window = ramp->window > 2 ? ramp->window / 2 : 1;
    ramp->since_ns = now;
  }
}
