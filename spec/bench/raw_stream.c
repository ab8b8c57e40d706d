/*
 * raw_stream.c: libcurl alone (raw.h) under the load of the stream benches: bytes and events are counted, nothing is read.
 *
 *   cc -O2 -o raw_stream spec/bench/raw_stream.c -lcurl
 *   raw_stream URL BODY_FILE IN_FLIGHT STREAMS       so many streams to their ends, after IN_FLIGHT that warm up
 *   raw_stream URL BODY_FILE IN_FLIGHT 0 SECONDS     IN_FLIGHT streams that outlast the window in which is measured
 *
 * Prints one line of JSON; an https URL is asked over HTTP/2. An event is what ends with a line's end: the server sends
 * each in an HTTP chunk, or a frame, of its own.
 */
#include "raw.h"

enum { SETTLING_S = 2 };

static size_t left_to_start, streams, errors, chunks, bytes, begun;

static size_t on_body(char *data, size_t one, size_t length, void *context)
{
  (void)one;
  slot *s = context;
  if (s->bytes == 0) begun++;
  if (length > 1 && data[length - 1] == '\n') chunks++;
  s->bytes += length;
  bytes += length;
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
  streams++;
  if (!good || s->bytes == 0) errors++;
  start_another(s);
}

static void start(size_t count)
{
  left_to_start = count;
  streams = errors = chunks = bytes = begun = 0;
  raw.now_ns = load_now();
  for (size_t i = 0; i < raw.slot_count; i++) start_another(&raw.slots[i]);
}

static void run_to_end(load *measured, size_t count)
{
  load_begin(measured, 0);
  start(count);
  while (raw.in_flight > 0) raw_turn(INT64_MAX);
}

static void run_until(int64_t until_ns)
{
  while (raw.now_ns < until_ns) raw_turn(until_ns);
}

/* A stream that ends meanwhile was not meant to. */
static void run_window(load *measured, int seconds)
{
  start(raw.slot_count);
  while (begun < raw.slot_count && streams == 0) raw_turn(INT64_MAX);
  run_until(load_now() + SETTLING_S * INT64_C(1000000000));
  errors = streams;
  chunks = bytes = 0;
  load_begin(measured, 0);
  run_until(load_now() + seconds * INT64_C(1000000000));
}

static long resident_kb(void)
{
  long size = 0, resident = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  if (file == NULL || fscanf(file, "%ld %ld", &size, &resident) != 2) exit(1);
  fclose(file);
  return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static void report(const load *measured)
{
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  double cpu = load_seconds(usage.ru_utime, measured->usage.ru_utime) +
               load_seconds(usage.ru_stime, measured->usage.ru_stime);
  printf("{\"streams\":%zu,\"errors\":%zu,\"chunks\":%zu,\"bytes\":%zu,\"wall_s\":%.6f,\"cpu_us_per_chunk\":%.3f,"
         "\"rss_kb\":%ld}\n",
         streams, errors, chunks, bytes, (double)(load_now() - measured->began) / 1e9,
         chunks > 0 ? cpu * 1e6 / (double)chunks : 0, resident_kb());
}

int main(int argc, char **argv)
{
  static const char *const lines[] = { "Accept: text/event-stream", "Accept-Encoding: identity", NULL };
  if (argc != 5 && argc != 6) {
    fprintf(stderr, "usage: raw_stream URL BODY_FILE IN_FLIGHT STREAMS [SECONDS]\n");
    return 2;
  }
  size_t in_flight = strtoul(argv[3], NULL, 10), count = strtoul(argv[4], NULL, 10);
  load measured = { 0 };
  raw_open(argv[1], argv[2], in_flight, strncmp(argv[1], "https:", 6) == 0, lines, on_body, on_finished);
  if (argc == 6) {
    run_window(&measured, atoi(argv[5]));
    report(&measured);
    return 0; /* the streams end with it */
  }
  run_to_end(&measured, in_flight);
  run_to_end(&measured, count);
  report(&measured);
  free(measured.latencies);
  raw_close();
  return 0;
}
