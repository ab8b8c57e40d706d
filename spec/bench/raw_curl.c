/*
 * raw_curl.c: libcurl alone (raw.h) under the load of the call benches: HTTP/1.1 keep-alive, answers of a known size.
 *
 *   cc -O2 -o raw_curl spec/bench/raw_curl.c -lcurl
 *   raw_curl URL BODY_FILE REQUESTS IN_FLIGHT        prints one line of JSON
 */
#include "raw.h"

static size_t left_to_start;
static load measured;

static size_t on_body(char *data, size_t one, size_t length, void *context)
{
  (void)data, (void)one;
  ((slot *)context)->bytes += length;
  return length;
}

static void start_another(slot *s)
{
  if (left_to_start == 0) return;
  left_to_start--;
  slot_start(s);
}

static void on_finished(slot *s, bool good)
{
  load_count(&measured, s->started, good);
  start_another(s);
}

static void run(size_t requests)
{
  load_begin(&measured, requests);
  left_to_start = requests;
  raw.now_ns = load_now();
  for (size_t i = 0; i < raw.slot_count; i++) start_another(&raw.slots[i]);
  while (raw.in_flight > 0) raw_turn(INT64_MAX);
}

int main(int argc, char **argv)
{
  static const char *const lines[] = { "Accept-Encoding: deflate, gzip, br, zstd", NULL };
  if (argc != 5) {
    fprintf(stderr, "usage: raw_curl URL BODY_FILE REQUESTS IN_FLIGHT\n");
    return 2;
  }
  size_t requests = strtoul(argv[3], NULL, 10), in_flight = strtoul(argv[4], NULL, 10);
  raw_open(argv[1], argv[2], in_flight, false, lines, on_body, on_finished);
  run(2 * in_flight); /* warms connections up */
  run(requests);
  load_report(&measured);
  raw_close();
  return 0;
}
