/*
 * members.c: a cursor over the text; each step leaves it behind what it read, or at the byte at fault and with a problem. Open
 * brackets are bits of a small stack: set for an object.
 */
#include "members.h"

#include "utf8.h"

#include <string.h>

typedef struct sf_scan {
  const char *at, *end;
  const char *problem;
  size_t depth; /* open brackets */
  uint64_t objects[SF_MEMBERS_DEPTH / 64];
} sf_scan;

static bool sf_refuse(sf_scan *scan, const char *problem)
{
  scan->problem = scan->at < scan->end ? problem : "the text ends early";
  return false;
}

static bool sf_next_is(const sf_scan *scan, char wanted)
{
  return scan->at < scan->end && *scan->at == wanted;
}

static void sf_skip_blank(sf_scan *scan)
{
  while (scan->at < scan->end) {
    char c = *scan->at;
    if (c != ' ' && c != '\n' && c != '\r' && c != '\t') return;
    scan->at++;
  }
}

/* --- strings */

#define SF_EACH_BYTE UINT64_C(0x0101010101010101)
#define SF_HIGH_BITS UINT64_C(0x8080808080808080)

/* Not 0 when one of eight bytes is a quote, a backslash or a control character. */
static uint64_t sf_is_special(uint64_t word)
{
  uint64_t quote = word ^ (SF_EACH_BYTE * '"'), backslash = word ^ (SF_EACH_BYTE * '\\');
  uint64_t below = (word - SF_EACH_BYTE * 0x20) & ~word;
  return (below | ((quote - SF_EACH_BYTE) & ~quote) | ((backslash - SF_EACH_BYTE) & ~backslash)) & SF_HIGH_BITS;
}

/* Goes to the next quote, backslash or control character, or to the end. */
static void sf_skip_plain(sf_scan *scan)
{
  const char *at = scan->at, *end = scan->end;
  uint64_t words[4];
  while ((size_t)(end - at) >= sizeof words) {
    memcpy(words, at, sizeof words);
    if (sf_is_special(words[0]) | sf_is_special(words[1]) | sf_is_special(words[2]) | sf_is_special(words[3])) break;
    at += sizeof words;
  }
  while ((size_t)(end - at) >= sizeof words[0]) {
    memcpy(words, at, sizeof words[0]);
    if (sf_is_special(words[0])) break;
    at += sizeof words[0];
  }
  while (at < end && *at != '"' && *at != '\\' && (unsigned char)*at >= 0x20) at++;
  scan->at = at;
}

/* The value of a hexadecimal digit, -1 for other bytes. */
static int sf_hex(char c)
{
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

static bool sf_escapes(char c)
{
  switch (c) {
  case '"':
  case '\\':
  case '/':
  case 'b':
  case 'f':
  case 'n':
  case 'r':
  case 't':
  case 'u': return true;
  default: return false;
  }
}

/* At a backslash. */
static bool sf_skip_escape(sf_scan *scan)
{
  scan->at++;
  if (scan->at == scan->end || !sf_escapes(*scan->at)) return sf_refuse(scan, "an unknown escape");
  bool unicode = *scan->at++ == 'u';
  for (int i = 0; unicode && i < 4; i++) {
    if (scan->at == scan->end || sf_hex(*scan->at) < 0) return sf_refuse(scan, "four hexadecimal digits expected");
    scan->at++;
  }
  return true;
}

/* At a quote. */
static bool sf_skip_string(sf_scan *scan)
{
  scan->at++;
  for (;;) {
    sf_skip_plain(scan);
    if (sf_next_is(scan, '"')) {
      scan->at++;
      return true;
    }
    if (!sf_next_is(scan, '\\')) return sf_refuse(scan, "a control character in a string");
    if (!sf_skip_escape(scan)) return false;
  }
}

/* --- numbers and literals */

static bool sf_skip_digits(sf_scan *scan)
{
  const char *first = scan->at;
  while (scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9') scan->at++;
  return scan->at > first || sf_refuse(scan, "a digit expected");
}

static bool sf_skip_number(sf_scan *scan)
{
  if (sf_next_is(scan, '-')) scan->at++;
  if (sf_next_is(scan, '0')) scan->at++;
  else if (!sf_skip_digits(scan)) return false;
  if (sf_next_is(scan, '.')) {
    scan->at++;
    if (!sf_skip_digits(scan)) return false;
  }
  if (sf_next_is(scan, 'e') || sf_next_is(scan, 'E')) {
    scan->at++;
    if (sf_next_is(scan, '+') || sf_next_is(scan, '-')) scan->at++;
    return sf_skip_digits(scan);
  }
  return true;
}

static bool sf_skip_literal(sf_scan *scan, const char *literal)
{
  for (; *literal != '\0'; literal++, scan->at++) {
    if (!sf_next_is(scan, *literal)) return sf_refuse(scan, "a value expected");
  }
  return true;
}

static bool sf_skip_scalar(sf_scan *scan)
{
  switch (scan->at < scan->end ? *scan->at : '\0') {
  case '"': return sf_skip_string(scan);
  case 't': return sf_skip_literal(scan, "true");
  case 'f': return sf_skip_literal(scan, "false");
  case 'n': return sf_skip_literal(scan, "null");
  case '-': return sf_skip_number(scan);
  default:
    if (scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9') return sf_skip_number(scan);
    return sf_refuse(scan, "a value expected");
  }
}

/* --- arrays and objects */

static bool sf_in_object(const sf_scan *scan)
{
  size_t top = scan->depth - 1;
  return scan->objects[top / 64] >> (top % 64) & 1;
}

/* At a bracket that opens. */
static bool sf_open(sf_scan *scan)
{
  if (scan->depth == SF_MEMBERS_DEPTH) return sf_refuse(scan, "nested too deeply");
  uint64_t bit = UINT64_C(1) << (scan->depth % 64), *word = &scan->objects[scan->depth / 64];
  *word = *scan->at == '{' ? *word | bit : *word & ~bit;
  scan->depth++;
  scan->at++;
  sf_skip_blank(scan);
  return true;
}

static bool sf_close(sf_scan *scan)
{
  if (!sf_next_is(scan, sf_in_object(scan) ? '}' : ']')) return false;
  scan->depth--;
  scan->at++;
  return true;
}

/* A member's name and its colon, up to the value. */
static bool sf_skip_name(sf_scan *scan)
{
  if (!sf_next_is(scan, '"')) return sf_refuse(scan, "a name in quotes expected");
  if (!sf_skip_string(scan)) return false;
  sf_skip_blank(scan);
  if (!sf_next_is(scan, ':')) return sf_refuse(scan, "a colon expected");
  scan->at++;
  sf_skip_blank(scan);
  return true;
}

/* Behind a value: closes what ends there, down to `base` open brackets or up to the next value of one that goes on. */
static bool sf_skip_ends(sf_scan *scan, size_t base)
{
  while (scan->depth > base) {
    sf_skip_blank(scan);
    if (sf_close(scan)) continue;
    if (!sf_next_is(scan, ',')) {
      return sf_refuse(scan, sf_in_object(scan) ? "a comma or } expected" : "a comma or ] expected");
    }
    scan->at++;
    sf_skip_blank(scan);
    return !sf_in_object(scan) || sf_skip_name(scan);
  }
  return true;
}

/* A whole value, from its first byte to behind its last. */
static bool sf_skip_value(sf_scan *scan)
{
  size_t base = scan->depth;
  do {
    bool opens = sf_next_is(scan, '{') || sf_next_is(scan, '[');
    if (opens) {
      if (!sf_open(scan)) return false;
      if (!sf_close(scan)) {
        if (sf_in_object(scan) && !sf_skip_name(scan)) return false;
        continue;
      }
    } else if (!sf_skip_scalar(scan)) return false;
    if (!sf_skip_ends(scan, base)) return false;
  } while (scan->depth > base);
  return true;
}

/* --- names of the outermost object */

typedef enum { SF_NAME_OTHER, SF_NAME_SAME, SF_NAME_NEARLY } sf_likeness;

/* The next character of a well-formed name; those beyond ASCII matter only where some other case of theirs is ASCII. */
static uint32_t sf_name_character(const char **at)
{
  static const char plain[] = "bfnrt", meant[] = "\b\f\n\r\t";
  const char *text = *at;
  *at += 1;
  if (text[0] == '\xC5' && text[1] == '\xBF') return *at += 1, 0x17F;                       /* a long s */
  if (text[0] == '\xE2' && text[1] == '\x84' && text[2] == '\xAA') return *at += 2, 0x212A; /* the kelvin */
  if (text[0] != '\\') return (unsigned char)text[0] < 0x80 ? (uint32_t)text[0] : 0xFFFD;
  *at += 1;
  if (text[1] == 'u') {
    *at += 4;
    return (uint32_t)(sf_hex(text[2]) << 12 | sf_hex(text[3]) << 8 | sf_hex(text[4]) << 4 | sf_hex(text[5]));
  }
  for (size_t i = 0; i < sizeof plain - 1; i++) {
    if (plain[i] == text[1]) return (uint32_t)meant[i];
  }
  return (uint32_t)text[1];
}

static uint32_t sf_fold(uint32_t character)
{
  if (character >= 'A' && character <= 'Z') return character + ('a' - 'A');
  if (character == 0x17F) return 's';
  return character == 0x212A ? 'k' : character;
}

/* What a name is to a wanted one. Parsers of C strings end it at a NUL. */
static sf_likeness sf_name_like(const char *at, const char *end, const char *wanted)
{
  sf_likeness likeness = SF_NAME_SAME;
  for (; at < end; wanted++) {
    uint32_t character = sf_name_character(&at);
    if (character == 0 && *wanted == '\0') return SF_NAME_NEARLY;
    if (*wanted == '\0' || sf_fold(character) != sf_fold((unsigned char)*wanted)) return SF_NAME_OTHER;
    if (character != (unsigned char)*wanted) likeness = SF_NAME_NEARLY;
  }
  return *wanted == '\0' ? likeness : SF_NAME_OTHER;
}

/* Reads a name, its colon too: *which becomes its place among the wanted, `count` for others. */
static bool sf_read_name(sf_scan *scan, const char *const *names, size_t count, const sf_member *found, size_t *which)
{
  const char *first = scan->at;
  if (!sf_next_is(scan, '"')) return sf_refuse(scan, "a name in quotes expected");
  if (!sf_skip_string(scan)) return false;
  const char *begin = first + 1, *end = scan->at - 1;
  size_t length = (size_t)(end - begin);
  scan->at = first;
  if (sf_utf8_check(begin, length) < length) return sf_refuse(scan, "a name that is no UTF-8");
  for (*which = 0; *which < count; *which += 1) {
    sf_likeness likeness = sf_name_like(begin, end, names[*which]);
    if (likeness == SF_NAME_OTHER) continue;
    if (likeness == SF_NAME_NEARLY) return sf_refuse(scan, "a name that others may take for another");
    if (found[*which].end > 0) return sf_refuse(scan, "a name that stands twice");
    break;
  }
  return sf_skip_name(scan);
}

static bool sf_find(sf_scan *scan, const char *text, const char *const *names, size_t count, sf_member *found)
{
  sf_skip_blank(scan);
  if (!sf_next_is(scan, '{')) return sf_refuse(scan, "an object expected");
  if (!sf_open(scan)) return false;
  while (!sf_close(scan)) {
    size_t which;
    if (!sf_read_name(scan, names, count, found, &which)) return false;
    size_t begin = (size_t)(scan->at - text);
    if (!sf_skip_value(scan)) return false;
    if (which < count) found[which] = (sf_member){ .begin = begin, .end = (size_t)(scan->at - text) };
    sf_skip_blank(scan);
    if (sf_next_is(scan, '}')) continue;
    if (!sf_next_is(scan, ',')) return sf_refuse(scan, "a comma or } expected");
    scan->at++;
    sf_skip_blank(scan);
    if (!sf_next_is(scan, '"')) return sf_refuse(scan, "a name in quotes expected");
  }
  sf_skip_blank(scan);
  return scan->at == scan->end || sf_refuse(scan, "more after the object's end");
}

const char *sf_members_find(const char *text, size_t length, const char *const *names, size_t count, sf_member *found,
                            size_t *problem)
{
  sf_scan scan = { .at = text, .end = text + length };
  memset(found, 0, count * sizeof *found);
  if (sf_find(&scan, text, names, count, found)) return NULL;
  *problem = (size_t)(scan.at - text);
  return scan.problem;
}
