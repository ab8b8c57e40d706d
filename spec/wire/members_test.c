/* members_test.c: the members of a JSON text, found without decoding; texts end where they end. */
#include "../../csrc/wire/members.h"

#include "../engine/check.h"

static const char *const names[] = { "model", "stream", "tasks" };
#define COUNT (sizeof names / sizeof *names)

static sf_member found[COUNT];
static size_t problem;

/* In memory of its own, without a NUL: a read past the end is seen by the sanitizers. */
static const char *find_bytes(const char *text, size_t length)
{
  char *copy = malloc(length > 0 ? length : 1);
  memcpy(copy, text, length);
  const char *message = sf_members_find(copy, length, names, COUNT, found, &problem);
  free(copy);
  return message;
}

static const char *find(const char *text)
{
  return find_bytes(text, strlen(text));
}

/* Whether names[i] was found in the text with this value; NULL: is not there. */
static bool has(const char *text, size_t i, const char *value)
{
  if (value == NULL) return found[i].begin == 0 && found[i].end == 0;
  size_t length = found[i].end - found[i].begin;
  return length == strlen(value) && memcmp(text + found[i].begin, value, length) == 0;
}

#define FINDS(text, model, stream) CHECK(find(text) == NULL && has(text, 0, model) && has(text, 1, stream))

static void refuses(const char *text, const char *message, size_t at, int line)
{
  const char *got = find(text);
  if (got != NULL && strstr(got, message) != NULL && problem == at) return;
  check_failures++;
  printf("  line %d: %s: %s at %zu, not %s at %zu\n", line, text, got ? got : "nothing", problem, message, at);
}

#define REFUSES(text, message, at) refuses(text, message, at, __LINE__)

static void test_values(void)
{
  FINDS("{}", NULL, NULL);
  FINDS(" \t\r\n{ \n} \n", NULL, NULL);
  FINDS("{\"model\":\"m\",\"stream\":true}", "\"m\"", "true");
  FINDS(" { \"x\" : [ ] , \"stream\" : -1.5e+07 , \"model\" : { \"a\" : [ 1 , null ] } } ", "{ \"a\" : [ 1 , null ] }",
        "-1.5e+07");
  FINDS("{\"model\":\"a\\\"b\\\\\",\"stream\":false}", "\"a\\\"b\\\\\"", "false");
  FINDS("{\"model\":\"}]{[,:\",\"y\":{\"stream\":1,\"model\":2}}", "\"}]{[,:\"", NULL);
  FINDS("{\"x\":[{\"model\":1},[],{},[[{}]]],\"model\":0,\"x\":0}", "0", NULL);
  FINDS("{\"model\":\"\xff\xc3\x28\"}", "\"\xff\xc3\x28\"", NULL); /* UTF-8 of values is the receiver's business */
  FINDS("{\"\":1,\"mode\":2,\"models\":3,\"model \":4,\"m\xc3\xb6\x64\x65l\":5}", NULL, NULL);
}

static void test_scalars(void)
{
  static const char *const good[] = {
    "0", "-0", "10", "0.5", "1e9", "1E-9", "-2.25e+3", "true", "false", "null", "\"\""
  };
  static const char *const bad[] = { "",    "+1",      "01",          "-",      ".5",      "1.",       "1e",
                                     "1e+", "0x1",     "NaN",         "-inf",   "tru",     "truex",    "nul",
                                     "'a'", "\"\\x\"", "\"\\u12g4\"", "\"\t\"", "\"\n\"",  "1 2",      "[1",
                                     "{]",  "[1}",     "[1,]",        "[,1]",   "{\"a\"}", "{\"a\":}", "{a:1}",
                                     "{,}", "[:]",     "//",          "/**/1",  "\"\\" };
  char text[64];
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    snprintf(text, sizeof text, "{\"model\":%s}", good[i]);
    FINDS(text, good[i], NULL);
    snprintf(text, sizeof text, "{\"model\":[{\"a\":%s},%s]}", good[i], good[i]);
    CHECK(find(text) == NULL);
  }
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    for (int nested = 0; nested < 2; nested++) {
      snprintf(text, sizeof text, nested ? "{\"model\":[0,%s]}" : "{\"model\":%s}", bad[i]);
      if (find(text) == NULL) printf("  %s\n", text);
      CHECK(find(text) != NULL);
    }
  }
}

static void test_names(void)
{
  FINDS("{\"\\u006dod\\u0065\\u006C\":1,\"s\\u0074ream\":2}", "1", "2");
  FINDS("{\"\\/model\":1,\"model\\n\":1,\"\\\"model\":1,\"\\u4e2d\":1,\"\xe4\xb8\xad\":1}", NULL, NULL);
}

static void test_smuggling(void)
{
  REFUSES("{\"model\":1,\"model\":2}", "twice", 11);
  REFUSES("{\"model\":1,\"mod\\u0065l\":2}", "twice", 11);
  REFUSES("{\"Model\":1}", "may take", 1);
  REFUSES("{\"model\":1,\"MODEL\":2}", "may take", 11);
  REFUSES("{\"mod\\u0045l\":1}", "may take", 1);
  REFUSES("{\"\xc5\xbftream\":1}", "may take", 1);
  REFUSES("{\"\\u017ftream\":1}", "may take", 1);
  REFUSES("{\"ta\xc5\xbf\xe2\x84\xaas\":1}", "may take", 1);
  REFUSES("{\"tas\\u212As\":1}", "may take", 1);
  REFUSES("{\"model\\u0000\":1}", "may take", 1);
  REFUSES("{\"model\\u0000x\":1}", "may take", 1);
  REFUSES("{\"m\xc1\xafxx\":1}", "no UTF-8", 1); /* an overlong o */
  CHECK(find("{\"x\":{\"model\":1,\"model\":2,\"Model\":3},\"y\":1,\"y\":2,\"Y\":3}") == NULL);
}

static void test_structure(void)
{
  REFUSES("", "ends early", 0);
  REFUSES("  ", "ends early", 2);
  REFUSES("[]", "an object", 0);
  REFUSES("\"{}\"", "an object", 0);
  REFUSES("\xef\xbb\xbf{}", "an object", 0);
  REFUSES("{} {}", "more after", 3);
  REFUSES("{}}", "more after", 2);
  REFUSES("{\"model\":1", "ends early", 10);
  REFUSES("{\"model", "ends early", 7);
  REFUSES("{\"a\" 1}", "a colon", 5);
  REFUSES("{\"a\":1 \"b\":2}", "a comma", 7);
  REFUSES("{\"a\":1,}", "a name", 7);
  REFUSES("{\"a\":[1}", "a comma or ]", 7);
  REFUSES("{\"a\":{\"b\":1]}", "a comma or }", 11);
  REFUSES("{\"a\":\"\\q\"}", "escape", 7);
  REFUSES("{\"a\":\"\x01\"}", "control", 6);
  CHECK(find_bytes("{\"a\":\"\0\"}", 9) != NULL && problem == 6);
  CHECK(find_bytes("{}\0", 3) != NULL && problem == 2);
  CHECK(find_bytes("{\"a\":\"\\\0\"}", 10) != NULL && problem == 7);
}

/* Every beginning of a good text is a bad one. */
static void test_cuts(void)
{
  static const char text[] = "{\"model\":\"a\\u00e9\\n\",\"m\":[1.5e-3,true,{\"x\":null,\"y\":[]},-0],\"stream\":{}}";
  CHECK(find_bytes(text, sizeof text - 1) == NULL);
  for (size_t length = 0; length < sizeof text - 1; length++) {
    CHECK(find_bytes(text, length) != NULL);
    CHECK_IS(problem, length);
  }
}

static const char *find_nested(size_t depth, const char *open, const char *close)
{
  static char text[8 * SF_MEMBERS_DEPTH];
  size_t size = (size_t)sprintf(text, "{\"model\":");
  for (size_t i = 1; i < depth; i++) size += (size_t)sprintf(text + size, "%s", open);
  size += (size_t)sprintf(text + size, "0");
  for (size_t i = 1; i < depth; i++) size += (size_t)sprintf(text + size, "%s", close);
  size += (size_t)sprintf(text + size, "}");
  return find_bytes(text, size);
}

static void test_depth(void)
{
  CHECK(find_nested(SF_MEMBERS_DEPTH, "[", "]") == NULL);
  CHECK(find_nested(SF_MEMBERS_DEPTH, "{\"\":", "}") == NULL);
  CHECK(strcmp(find_nested(SF_MEMBERS_DEPTH + 1, "[", "]"), "nested too deeply") == 0);
  CHECK(strcmp(find_nested(SF_MEMBERS_DEPTH + 1, "{\"\":", "}"), "nested too deeply") == 0);
}

/* Strings of all lengths, and what ends or breaks them at every place of a word. */
static void test_strings(void)
{
  char text[160];
  for (size_t length = 0; length <= 100; length++) {
    size_t size = length + 12;
    memset(text, '0', sizeof text);
    memcpy(text, "{\"model\":\"", 10);
    memcpy(text + 10 + length, "\"}", 2);
    CHECK(find_bytes(text, size) == NULL);
    CHECK_IS(found[0].end - found[0].begin, length + 2);
    for (size_t at = 0; at < length; at++) {
      char *place = text + 10 + at;
      for (const char *bad = "\x01\x1f\n\"\\"; *bad != '\0'; bad++) {
        *place = *bad;
        CHECK(find_bytes(text, size) != NULL);
      }
      for (const char *fine = " !#[]\x7f\x80\x9f\xa2\xdc\xff"; *fine != '\0'; fine++) {
        *place = *fine;
        CHECK(find_bytes(text, size) == NULL);
      }
      *place = '0';
    }
  }
}

int main(int argc, char **argv)
{
  static const check_test tests[] = {
    { "values", test_values },       { "scalars", test_scalars },     { "names", test_names },
    { "smuggling", test_smuggling }, { "structure", test_structure }, { "cuts", test_cuts },
    { "depth", test_depth },         { "strings", test_strings },
  };
  return check_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
