/* sink_test.c: answers into files: put in their place when whole, else nothing is left, whoever else is about. */
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../csrc/engine/sink.h"
#include "check.h"

static char folder[] = "/tmp/surefoot-sink.XXXXXX", path[64], part[80];

static bool exists(const char *name)
{
  struct stat info;
  return lstat(name, &info) == 0;
}

static void write_file(const char *name, const char *text)
{
  FILE *file = fopen(name, "wb");
  fputs(text, file);
  fclose(file);
}

static bool holds(const char *name, const char *text)
{
  char got[256] = "";
  FILE *file = fopen(name, "rb");
  if (file == NULL) return false;
  size_t length = fread(got, 1, sizeof got - 1, file);
  fclose(file);
  return length == strlen(text) && strcmp(got, text) == 0;
}

static sf_sink *open_sink(const char *name)
{
  sf_sink *sink = sf_sink_open(name);
  if (sink == NULL) abort();
  return sink;
}

static void test_whole(void)
{
  write_file(path, "old");
  sf_sink *sink = open_sink(path);
  CHECK(sink->problem[0] == '\0');
  CHECK(sf_sink_begin(sink) && sf_sink_write(sink, "a first attempt", 15));
  CHECK(sf_sink_begin(sink) && sf_sink_write(sink, "new ", 4) && sf_sink_write(sink, "", 0));
  CHECK(sf_sink_write(sink, "and longer", 10));
  CHECK_IS(sink->length, 14);
  CHECK(holds(path, "old") && holds(part, "new and longer"));
  CHECK(sf_sink_keep(sink));
  CHECK(holds(path, "new and longer") && !exists(part));
  write_file(part, "another's by now");
  sf_sink_close(sink);
  CHECK(holds(path, "new and longer") && exists(part));
  remove(part), remove(path);
  sf_sink_close(NULL);
}

static void test_given_up(void)
{
  write_file(path, "old");
  sf_sink *sink = open_sink(path);
  CHECK(sf_sink_begin(sink) && sf_sink_write(sink, "new", 3));
  sf_sink_close(sink);
  CHECK(holds(path, "old") && !exists(part));
  remove(path);
  sf_sink_close(open_sink(path));
  CHECK(!exists(path) && !exists(part));
}

static void test_places_that_will_not_do(void)
{
  char missing[96], pipe[96];
  snprintf(missing, sizeof missing, "%s/no/file", folder);
  snprintf(pipe, sizeof pipe, "%s/pipe", folder);
  CHECK_IS(mkfifo(pipe, 0600), 0);
  const struct {
    const char *path, *why;
  } cases[] = {
    { folder, "Is a directory" },
    { missing, "No such file" },
    { "/dev/null", "not a regular file" },
    { pipe, "not a regular file" },
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    sf_sink *sink = open_sink(cases[i].path);
    CHECK(strstr(sink->problem, cases[i].why) != NULL && strstr(sink->problem, cases[i].path) != NULL);
    sf_sink_close(sink);
    CHECK(cases[i].path == missing || exists(cases[i].path));
  }
  remove(pipe);
  CHECK_IS(symlink(path, part), 0); /* somebody's trap */
  sf_sink *sink = open_sink(path);
  CHECK(sink->problem[0] != '\0' && !exists(path));
  sf_sink_close(sink);
  CHECK(exists(part));
  remove(part);
}

static void test_places_that_change(void)
{
  sf_sink *sink = open_sink(path);
  CHECK(sf_sink_begin(sink) && sf_sink_write(sink, "x", 1));
  CHECK_IS(mkdir(path, 0700), 0);
  CHECK(!sf_sink_keep(sink) && strstr(sink->problem, "Is a directory") != NULL);
  sf_sink_close(sink);
  CHECK(!exists(part));
  rmdir(path);
  sink = open_sink(path);
  CHECK(sf_sink_begin(sink));
  remove(part); /* somebody tidies up */
  write_file(part, "somebody else's");
  CHECK(!sf_sink_keep(sink) && strstr(sink->problem, "its part was removed") != NULL);
  sf_sink_close(sink);
  CHECK(!exists(path) && holds(part, "somebody else's"));
  remove(part);
}

static void test_two_at_once(void)
{
  sf_sink *first = open_sink(path), *second = open_sink(path);
  CHECK(first->problem[0] == '\0' && strstr(second->problem, "another answer is being written") != NULL);
  sf_sink_close(second);
  CHECK(sf_sink_begin(first) && sf_sink_write(first, "first", 5) && sf_sink_keep(first));
  second = open_sink(path); /* in its place: the next one may come */
  CHECK(second->problem[0] == '\0');
  sf_sink_close(first);
  CHECK(sf_sink_begin(second) && sf_sink_write(second, "second", 6) && sf_sink_keep(second));
  CHECK(holds(path, "second"));
  sf_sink_close(second);
  remove(path);
}

static void test_what_somebody_left(void)
{
  write_file(part, "half of what somebody wanted who is gone");
  sf_sink *sink = open_sink(path);
  CHECK(sink->problem[0] == '\0' && sf_sink_begin(sink) && sf_sink_write(sink, "all", 3) && sf_sink_keep(sink));
  CHECK(holds(path, "all") && !exists(part));
  sf_sink_close(sink);
  remove(path);
}

static void test_no_room(void)
{
  static char much[65536];
  struct rlimit before, small = { 100000, RLIM_INFINITY };
  signal(SIGXFSZ, SIG_IGN);
  getrlimit(RLIMIT_FSIZE, &before);
  small.rlim_max = before.rlim_max;
  setrlimit(RLIMIT_FSIZE, &small);
  sf_sink *sink = open_sink(path);
  CHECK(sf_sink_begin(sink) && sf_sink_write(sink, much, sizeof much));
  CHECK(!sf_sink_write(sink, much, sizeof much) && strstr(sink->problem, "File too large") != NULL);
  setrlimit(RLIMIT_FSIZE, &before);
  sf_sink_close(sink);
  CHECK(!exists(path) && !exists(part));
}

static void test_forked(void)
{
  sf_sink *sink = open_sink(path);
  CHECK(sf_sink_begin(sink) && sf_sink_write(sink, "x", 1));
  pid_t child = fork();
  if (child == 0) {
    sf_sink_close(sink);
    _exit(0);
  }
  int status;
  CHECK_IS(waitpid(child, &status, 0), child);
  CHECK(exists(part));
  sf_sink *second = open_sink(path);
  CHECK(second->problem[0] != '\0'); /* it is locked still */
  sf_sink_close(second);
  CHECK(sf_sink_keep(sink) && holds(path, "x"));
  sf_sink_close(sink);
  remove(path);
}

static const check_test tests[] = {
  { "what is whole comes into its place", test_whole },
  { "what is not leaves nothing", test_given_up },
  { "places that will not do", test_places_that_will_not_do },
  { "places that change meanwhile", test_places_that_change },
  { "two at once", test_two_at_once },
  { "a part that was left is taken over", test_what_somebody_left },
  { "no room", test_no_room },
  { "a forked child leaves it alone", test_forked },
};

int main(int argc, char **argv)
{
  if (mkdtemp(folder) == NULL) return 2;
  snprintf(path, sizeof path, "%s/out", folder);
  snprintf(part, sizeof part, "%s.part", path);
  int failed = check_main(tests, sizeof tests / sizeof *tests, argc, argv);
  rmdir(folder);
  return failed;
}
