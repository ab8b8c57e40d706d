/*
 * dates.c: the times that servers write into headers: HTTP-dates in their three forms (RFC 9110 5.6.7), RFC 3339 times, Go
 * durations. A cursor over pointer and length, no locale, no allocation; anything unexpected is -1.
 */
#include "hints.h"

typedef struct sf_cursor {
  const char *at, *end;
} sf_cursor;

typedef struct sf_civil {
  int64_t year;
  int month, day, hour, minute, second; /* month and day 1-based */
} sf_civil;

static sf_cursor sf_cursor_make(sf_slice text)
{
  while (text.length > 0 && (*text.data == ' ' || *text.data == '\t')) {
    text.data++;
    text.length--;
  }
  while (text.length > 0 && (text.data[text.length - 1] == ' ' || text.data[text.length - 1] == '\t')) text.length--;
  return (sf_cursor){ .at = text.data, .end = text.data ? text.data + text.length : text.data };
}

static bool sf_is_digit(char c)
{
  return c >= '0' && c <= '9';
}

static bool sf_skip(sf_cursor *cursor, char c)
{
  if (cursor->at == cursor->end || *cursor->at != c) return false;
  cursor->at++;
  return true;
}

/* Exactly `width` digits. */
static bool sf_take_digits(sf_cursor *cursor, int width, int *value)
{
  int sum = 0;
  for (int i = 0; i < width; i++) {
    if (cursor->at == cursor->end || !sf_is_digit(*cursor->at)) return false;
    sum = sum * 10 + (*cursor->at++ - '0');
  }
  *value = sum;
  return true;
}

/* The letters at the cursor, compared with a table of names (any case): its index, or -1. */
static int sf_take_name(sf_cursor *cursor, const char *const *names, int count)
{
  sf_slice word = { .data = cursor->at, .length = 0 };
  while (cursor->at < cursor->end && ((*cursor->at | 0x20) >= 'a' && (*cursor->at | 0x20) <= 'z')) cursor->at++;
  word.length = (size_t)(cursor->at - word.data);
  for (int i = 0; i < count; i++) {
    if (sf_slice_equals_nocase(word, names[i])) return i;
  }
  return -1;
}

/* Days since 1970-01-01 of a date in the proleptic Gregorian calendar. Source: Howard Hinnant, days_from_civil. */
static int64_t sf_days(int64_t year, int month, int day)
{
  if (month <= 2) year--;
  int64_t era = (year >= 0 ? year : year - 399) / 400;
  int64_t of_era = year - era * 400;
  int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static int sf_days_in_month(int64_t year, int month)
{
  static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
  bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  return days[month - 1] + (month == 2 && leap);
}

/* A second of 60 is a leap second. Times before 1970 are -1 like any nonsense. */
static int64_t sf_civil_unix(const sf_civil *civil)
{
  if (civil->month < 1 || civil->month > 12 || civil->hour > 23 || civil->minute > 59 || civil->second > 60) return -1;
  if (civil->day < 1 || civil->day > sf_days_in_month(civil->year, civil->month)) return -1;
  int64_t seconds = sf_days(civil->year, civil->month, civil->day) * 86400 + civil->hour * 3600 + civil->minute * 60 +
                    civil->second;
  return seconds < 0 ? -1 : seconds;
}

static bool sf_take_clock(sf_cursor *cursor, sf_civil *civil)
{
  return sf_take_digits(cursor, 2, &civil->hour) && sf_skip(cursor, ':') && sf_take_digits(cursor, 2, &civil->minute) &&
         sf_skip(cursor, ':') && sf_take_digits(cursor, 2, &civil->second);
}

/* --- HTTP-date */

static const char *const sf_weekdays[] = {
  "Mon",    "Tue",     "Wed",       "Thu",      "Fri",    "Sat",      "Sun",
  "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"
};
static const char *const sf_months[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };

static bool sf_take_month(sf_cursor *cursor, sf_civil *civil)
{
  civil->month = sf_take_name(cursor, sf_months, 12) + 1;
  return civil->month > 0;
}

static bool sf_take_gmt(sf_cursor *cursor)
{
  static const char *const zones[] = { "GMT", "UTC" };
  return sf_skip(cursor, ' ') && sf_take_name(cursor, zones, 2) >= 0 && cursor->at == cursor->end;
}

/* Two digits that seem more than 50 years ahead are of the century before (RFC 9110). */
static int64_t sf_full_year(int year, double now_unix)
{
  int64_t this_year = 1970 + (int64_t)((now_unix > 0 && now_unix < 1e12 ? now_unix : 0) / 31556952);
  int64_t full = this_year - this_year % 100 + year;
  if (full > this_year + 50) return full - 100;
  return full + 50 <= this_year ? full + 100 : full;
}

/* "06 Nov 1994 08:49:37 GMT" and "06-Nov-94 08:49:37 GMT", after "Sun, ". */
static bool sf_take_day_first(sf_cursor *cursor, sf_civil *civil, double now_unix)
{
  int year;
  if (!sf_take_digits(cursor, 2, &civil->day)) return false;
  char dash = sf_skip(cursor, '-') ? '-' : ' ';
  if (dash == ' ' && !sf_skip(cursor, ' ')) return false;
  if (!sf_take_month(cursor, civil) || !sf_skip(cursor, dash)) return false;
  if (!sf_take_digits(cursor, dash == '-' ? 2 : 4, &year)) return false;
  civil->year = dash == '-' ? sf_full_year(year, now_unix) : year;
  return sf_skip(cursor, ' ') && sf_take_clock(cursor, civil) && sf_take_gmt(cursor);
}

/* "Nov  6 08:49:37 1994", after "Sun ". */
static bool sf_take_asctime(sf_cursor *cursor, sf_civil *civil)
{
  int year;
  if (!sf_take_month(cursor, civil) || !sf_skip(cursor, ' ')) return false;
  if (!sf_take_digits(cursor, sf_skip(cursor, ' ') ? 1 : 2, &civil->day) || !sf_skip(cursor, ' ')) return false;
  if (!sf_take_clock(cursor, civil) || !sf_skip(cursor, ' ') || !sf_take_digits(cursor, 4, &year)) return false;
  civil->year = year;
  return cursor->at == cursor->end;
}

int64_t sf_http_date_parse(sf_slice text, double now_unix)
{
  sf_cursor cursor = sf_cursor_make(text);
  sf_civil civil = { 0 };
  if (sf_take_name(&cursor, sf_weekdays, 14) < 0) return -1;
  bool comma = sf_skip(&cursor, ',');
  if (!sf_skip(&cursor, ' ')) return -1;
  bool whole = comma ? sf_take_day_first(&cursor, &civil, now_unix) : sf_take_asctime(&cursor, &civil);
  return whole ? sf_civil_unix(&civil) : -1;
}

/* --- RFC 3339 */

static bool sf_take_offset(sf_cursor *cursor, int64_t *seconds)
{
  *seconds = 0;
  if (sf_skip(cursor, 'Z') || sf_skip(cursor, 'z')) return true;
  int sign = sf_skip(cursor, '+') ? 1 : sf_skip(cursor, '-') ? -1 : 0;
  int hours, minutes;
  if (sign == 0 || !sf_take_digits(cursor, 2, &hours) || !sf_skip(cursor, ':')) return false;
  if (!sf_take_digits(cursor, 2, &minutes) || hours > 23 || minutes > 59) return false;
  *seconds = sign * (hours * 3600 + minutes * 60);
  return true;
}

int64_t sf_rfc3339_parse(sf_slice text)
{
  sf_cursor cursor = sf_cursor_make(text);
  sf_civil civil = { 0 };
  int year;
  int64_t offset;
  if (!sf_take_digits(&cursor, 4, &year) || !sf_skip(&cursor, '-')) return -1;
  if (!sf_take_digits(&cursor, 2, &civil.month) || !sf_skip(&cursor, '-')) return -1;
  if (!sf_take_digits(&cursor, 2, &civil.day)) return -1;
  if (!sf_skip(&cursor, 'T') && !sf_skip(&cursor, 't') && !sf_skip(&cursor, ' ')) return -1;
  if (!sf_take_clock(&cursor, &civil)) return -1;
  if (sf_skip(&cursor, '.')) {
    const char *start = cursor.at;
    while (cursor.at < cursor.end && sf_is_digit(*cursor.at)) cursor.at++;
    if (cursor.at == start) return -1;
  }
  if (!sf_take_offset(&cursor, &offset) || cursor.at != cursor.end) return -1;
  civil.year = year;
  int64_t seconds = sf_civil_unix(&civil);
  return seconds < 0 ? -1 : sf_time_max(-1, seconds - offset);
}

/* --- durations */

/* [0-9]+ with an optional fraction. Infinity when there are more digits than a double holds. */
static bool sf_take_number(sf_cursor *cursor, double *value)
{
  const char *start = cursor->at;
  double whole = 0, part = 0, scale = 1;
  while (cursor->at < cursor->end && sf_is_digit(*cursor->at)) whole = whole * 10 + (*cursor->at++ - '0');
  if (cursor->at == start) return false;
  if (sf_skip(cursor, '.')) {
    start = cursor->at;
    for (; cursor->at < cursor->end && sf_is_digit(*cursor->at); cursor->at++) {
      if (scale >= 1e15) continue;
      part = part * 10 + (*cursor->at - '0');
      scale *= 10;
    }
    if (cursor->at == start) return false;
  }
  *value = whole + part / scale;
  return true;
}

bool sf_number_parse(sf_slice text, double *value)
{
  sf_cursor cursor = sf_cursor_make(text);
  return sf_take_number(&cursor, value) && cursor.at == cursor.end;
}

/* Nanoseconds of the unit at the cursor; 0 = none. */
static double sf_take_unit(sf_cursor *cursor)
{
  static const struct {
    const char *text;
    size_t length;
    double ns;
  } units[] = {
    { "ms", 2, 1e6 }, { "us", 2, 1e3 },   { "\xc2\xb5s", 3, 1e3 }, { "\xce\xbcs", 3, 1e3 },
    { "ns", 2, 1 },   { "h", 1, 3.6e12 }, { "m", 1, 6e10 },        { "s", 1, 1e9 },
  };
  for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
    size_t k = 0;
    while (k < units[i].length && k < (size_t)(cursor->end - cursor->at) && cursor->at[k] == units[i].text[k]) k++;
    if (k < units[i].length) continue;
    cursor->at += k;
    return units[i].ns;
  }
  return 0;
}

int64_t sf_duration_parse(sf_slice text)
{
  sf_cursor cursor = sf_cursor_make(text);
  double seconds, sum = 0;
  if (cursor.at == cursor.end) return -1;
  if (sf_number_parse(text, &seconds)) return sf_time_from(seconds * 1e9);
  while (cursor.at < cursor.end) {
    double amount;
    if (!sf_take_number(&cursor, &amount)) return -1;
    double unit = sf_take_unit(&cursor);
    if (unit == 0) return -1;
    sum += amount * unit;
  }
  return sf_time_from(sum);
}
