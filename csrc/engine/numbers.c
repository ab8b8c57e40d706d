/* numbers.c: counters of a client and of its lines; see client.h. */
#include "client.h"
#include "memory.h"

void sf_numbers_latency(sf_histogram **histogram, int64_t ns)
{
  if (*histogram == NULL) {
    *histogram = sf_alloc(sizeof **histogram);
    if (*histogram == NULL) return; /* a sample is lost, nothing else */
    sf_histogram_init(*histogram);
  }
  sf_histogram_record(*histogram, ns);
}

void sf_numbers_enter(sf_numbers *numbers)
{
  if (++numbers->in_flight > numbers->peak_in_flight) numbers->peak_in_flight = numbers->in_flight;
}

void sf_numbers_leave(sf_numbers *numbers)
{
  numbers->in_flight--;
}

void sf_numbers_free(sf_numbers *numbers)
{
  sf_free(numbers->latency);
  sf_free(numbers->first_token);
  numbers->latency = numbers->first_token = NULL;
}
