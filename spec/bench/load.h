/*
 * load.h: what the load programs in C share: the clock, the sample of latencies, and the one JSON line they print.
 * CPU time and wall time run from load_begin to load_report; requests before load_begin warm up.
 */
#ifndef SF_BENCH_LOAD_H
#define SF_BENCH_LOAD_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

typedef struct load {
  size_t requests, errors, capacity;
  int64_t *latencies; /* of good answers, nanoseconds */
  int64_t began;
  struct rusage usage;
} load;

static inline int64_t load_now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline void load_begin(load *l, size_t requests)
{
  free(l->latencies);
  *l = (load){ .capacity = requests, .latencies = calloc(requests, sizeof(int64_t)) };
  if (l->latencies == NULL) abort();
  getrusage(RUSAGE_SELF, &l->usage);
  l->began = load_now();
}

static inline void load_count(load *l, int64_t started, int good)
{
  if (good && l->requests - l->errors < l->capacity) l->latencies[l->requests - l->errors] = load_now() - started;
  l->requests++;
  if (!good) l->errors++;
}

static inline int load_compare(const void *a, const void *b)
{
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

static inline double load_seconds(struct timeval end, struct timeval begin)
{
  return (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_usec - begin.tv_usec) / 1e6;
}

static inline void load_report(load *l)
{
  double wall = (double)(load_now() - l->began) / 1e9;
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  double user = load_seconds(usage.ru_utime, l->usage.ru_utime), sys = load_seconds(usage.ru_stime, l->usage.ru_stime);
  size_t good = l->requests - l->errors;
  qsort(l->latencies, good, sizeof(int64_t), load_compare);
  double p50 = good > 0 ? (double)l->latencies[good / 2] / 1e3 : 0;
  double p99 = good > 0 ? (double)l->latencies[good - 1 - good / 100] / 1e3 : 0;
  double each = l->requests > 0 ? (user + sys) * 1e6 / (double)l->requests : 0;
  printf("{\"requests\":%zu,\"errors\":%zu,\"wall_s\":%.6f,\"user_s\":%.6f,\"sys_s\":%.6f,\"cpu_us_per_request\":%.3f,"
         "\"rps\":%.1f,\"p50_us\":%.1f,\"p99_us\":%.1f}\n",
         l->requests, l->errors, wall, user, sys, each, wall > 0 ? (double)l->requests / wall : 0, p50, p99);
  free(l->latencies);
}

/* The whole file; ends the program when it cannot be read. */
static inline char *load_file(const char *path, size_t *length)
{
  FILE *file = fopen(path, "rb");
  if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
    perror(path);
    exit(2);
  }
  *length = (size_t)ftell(file);
  rewind(file);
  char *data = malloc(*length + 1);
  if (data == NULL || fread(data, 1, *length, file) != *length) {
    perror(path);
    exit(2);
  }
  fclose(file);
  return data;
}

#endif
