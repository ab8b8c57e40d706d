/*
 * members_fuzz.c: any bytes as a JSON document. A member that is found lies inside the text, is a whole value by itself and
 * has its name and a colon before it; cutting a good document anywhere makes it a bad one; a repetition agrees.
 */
#include "wire/members.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = { "model", "stream", "a", "" };
#define COUNT (sizeof names / sizeof *names)

static void require(bool condition)
{
  if (!condition) abort();
}

/* The value as the only member of an object: must be found there, from end to end. */
static void check_alone(const char *value, size_t length)
{
  static const char *const alone[] = { "v" };
  char *text = malloc(length + 6);
  require(text != NULL);
  memcpy(text, "{\"v\":", 5);
  memcpy(text + 5, value, length);
  text[length + 5] = '}';
  sf_member found;
  size_t problem;
  require(sf_members_find(text, length + 6, alone, 1, &found, &problem) == NULL);
  require(found.begin == 5 && found.end == length + 5);
  free(text);
}

static void check_found(const char *text, size_t length, const sf_member *found)
{
  for (size_t i = 0; i < COUNT; i++) {
    if (found[i].end == 0) {
      require(found[i].begin == 0);
      continue;
    }
    require(found[i].begin < found[i].end && found[i].end < length);
    require(text[found[i].begin] != '\0' && strchr("{[\"-0123456789tfn", text[found[i].begin]) != NULL);
    size_t colon = found[i].begin - 1;
    while (colon > 0 && memchr(" \t\r\n", text[colon], 4) != NULL) colon--;
    require(text[colon] == ':');
    check_alone(text + found[i].begin, found[i].end - found[i].begin);
  }
}

/* A part of the text in memory of its own: reads beyond its end are seen. */
static const char *find_in(const uint8_t *data, size_t length, sf_member *found)
{
  char *text = malloc(length > 0 ? length : 1);
  require(text != NULL);
  if (length > 0) memcpy(text, data, length);
  size_t problem = SIZE_MAX;
  const char *message = sf_members_find(text, length, names, COUNT, found, &problem);
  require(message == NULL ? problem == SIZE_MAX : problem <= length && *message != '\0');
  if (message == NULL) check_found(text, length, found);
  free(text);
  return message;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  sf_member found[COUNT], again[COUNT];
  if (find_in(data, size, found) != NULL) return 0;
  require(find_in(data, size, again) == NULL && memcmp(found, again, sizeof found) == 0);
  size_t last = size;
  while (data[last - 1] != '}') last--;
  require(find_in(data, last, again) == NULL);
  for (size_t cut = 0; cut < last && last <= 256; cut++) require(find_in(data, cut, again) != NULL);
  return 0;
}
