#include "base/timefmt.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "base/mem.h"
#include "base/str.h"

enum { TIME_TEXT_SIZE = 36 };

/* Later seconds would not fit in 64 bits of nanoseconds. */
#define LAST_SECOND ((int64_t)(UINT64_MAX / NS_PER_SECOND) - 1)

static struct tm utc_fields(uint64_t ns) {
  time_t seconds = (time_t)(ns / NS_PER_SECOND);
  struct tm tm;
  CHECK(gmtime_r(&seconds, &tm));
  return tm;
}

static struct tm local_fields(int64_t seconds) {
  time_t at = (time_t)seconds;
  struct tm tm;
  CHECK(localtime_r(&at, &tm));
  return tm;
}

char *time_format_utc(uint64_t ns, char out[36]) {
  struct tm tm = utc_fields(ns);
  size_t n = strftime(out, TIME_TEXT_SIZE, "%Y-%m-%dT%H:%M:%S", &tm);
  uint64_t part = ns % NS_PER_SECOND;
  if (part) {
    n += (size_t)snprintf(out + n, TIME_TEXT_SIZE - n, ".%09" PRIu64, part);
    while (out[n - 1] == '0') n--;
  }
  memcpy(out + n, "Z", 2);
  return out;
}

char *time_format_local(uint64_t ns, char out[36]) {
  struct tm tm = local_fields((int64_t)(ns / NS_PER_SECOND));
  strftime(out, TIME_TEXT_SIZE, "%Y-%m-%d %H:%M:%S", &tm);
  return out;
}

char *time_format_key(uint64_t ns, char out[36]) {
  struct tm tm = utc_fields(ns);
  size_t n = strftime(out, TIME_TEXT_SIZE, "%Y%m%dT%H%M%S", &tm);
  snprintf(out + n, TIME_TEXT_SIZE - n, ".%09" PRIu64 "Z", ns % NS_PER_SECOND);
  return out;
}

/* Takes exactly `digits` decimal digits off *text into *out. */
static bool take_number(const char **text, int digits, int *out) {
  int v = 0;
  for (int i = 0; i < digits; i++) {
    char c = (*text)[i];
    if (c < '0' || c > '9') return false;
    v = v * 10 + (c - '0');
  }
  *text += digits;
  *out = v;
  return true;
}

static bool take_char(const char **text, char c) {
  if (**text != c) return false;
  ++*text;
  return true;
}

/* ".123" -> nanoseconds; more than nine digits are refused rather than rounded. */
static bool take_fraction(const char **text, uint64_t *out) {
  if (!take_char(text, '.')) return true;
  uint64_t v = 0, unit = NS_PER_SECOND;
  for (; isdigit((unsigned char)**text) && unit > 1; ++*text) {
    unit /= 10;
    v += (uint64_t)(**text - '0') * unit;
  }
  *out = v;
  return unit < NS_PER_SECOND;
}

static int days_in_month(int year, int month) {
  static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  return days[month - 1] + (leap && month == 2);
}

/* A date and time of day as written, before a zone is known. */
typedef struct Written {
  int year, month, day, hour, minute, second;
  uint64_t fraction_ns;
} Written;

static bool written_valid(const Written *w) {
  return w->year >= 1970 && w->month >= 1 && w->month <= 12 && w->day >= 1 &&
         w->day <= days_in_month(w->year, w->month) && w->hour <= 23 && w->minute <= 59 &&
         w->second <= 60; /* RFC 3339 allows leap seconds; :60 is the next second */
}

/* Seconds since 1970 as if the fields were UTC. */
static int64_t written_seconds(const Written *w) {
  struct tm tm = {
      .tm_year = w->year - 1900,
      .tm_mon = w->month - 1,
      .tm_mday = w->day,
      .tm_hour = w->hour,
      .tm_min = w->minute,
      .tm_sec = w->second,
  };
  return (int64_t)timegm(&tm);
}

static bool to_ns(int64_t seconds, uint64_t fraction_ns, uint64_t *out) {
  if (seconds < 0 || seconds > LAST_SECOND) return false;
  *out = (uint64_t)seconds * NS_PER_SECOND + fraction_ns;
  return true;
}

bool time_parse_key(const char *text, uint64_t *out_ns) {
  Written w = {0};
  int part;
  const char *at = text;
  bool ok = take_number(&at, 4, &w.year) && take_number(&at, 2, &w.month) && take_number(&at, 2, &w.day) &&
            take_char(&at, 'T') && take_number(&at, 2, &w.hour) && take_number(&at, 2, &w.minute) &&
            take_number(&at, 2, &w.second) && take_char(&at, '.') && take_number(&at, 9, &part) &&
            take_char(&at, 'Z') && *at == '\0' && written_valid(&w) && w.second <= 59;
  return ok && to_ns(written_seconds(&w), (uint64_t)part, out_ns);
}

/* "Z", "+01:00", "-0530" is refused: RFC 3339 wants the colon. */
static bool take_zone(const char **text, int64_t *out_seconds) {
  if (take_char(text, 'Z') || take_char(text, 'z')) {
    *out_seconds = 0;
    return true;
  }
  bool east = **text == '+';
  if (!east && **text != '-') return false;
  ++*text;
  int hours, minutes;
  if (!take_number(text, 2, &hours) || !take_char(text, ':') || !take_number(text, 2, &minutes)) return false;
  if (hours > 23 || minutes > 59) return false;
  *out_seconds = (east ? 1 : -1) * (hours * 3600 + minutes * 60);
  return true;
}

/* Finds the moment a local clock shows `local` (seconds as if UTC). Around a change of the zone's offset there are two
 * such moments or none; the offsets in force a day before and a day after are the only candidates. */
static bool local_to_seconds(int64_t local, int64_t *out) {
  enum { DAY = 86400 };
  bool found = false;
  for (int side = -1; side <= 1; side += 2) {
    int64_t offset = local_fields(local + side * DAY).tm_gmtoff;
    int64_t moment = local - offset;
    if (local_fields(moment).tm_gmtoff != offset || (found && moment >= *out)) continue;
    *out = moment;
    found = true;
  }
  return found;
}

static bool parse_written(const char *text, uint64_t *out_ns) {
  Written w = {0};
  bool date = take_number(&text, 4, &w.year) && take_char(&text, '-') && take_number(&text, 2, &w.month) &&
              take_char(&text, '-') && take_number(&text, 2, &w.day);
  if (!date) return false;
  bool has_seconds = false;
  if (*text) {
    if (!take_char(&text, 'T') && !take_char(&text, 't') && !take_char(&text, ' ')) return false;
    if (!take_number(&text, 2, &w.hour) || !take_char(&text, ':') || !take_number(&text, 2, &w.minute)) return false;
    has_seconds = take_char(&text, ':');
    if (has_seconds && (!take_number(&text, 2, &w.second) || !take_fraction(&text, &w.fraction_ns))) return false;
  }
  if (!written_valid(&w)) return false;
  int64_t seconds = written_seconds(&w);
  int64_t offset;
  if (*text == '\0') return local_to_seconds(seconds, &seconds) && to_ns(seconds, w.fraction_ns, out_ns);
  if (!has_seconds || !take_zone(&text, &offset) || *text) return false;
  return to_ns(seconds - offset, w.fraction_ns, out_ns);
}

static bool parse_relative(const char *text, uint64_t now_ns, uint64_t *out_ns) {
  uint64_t back;
  AUTO_ERR Error *err = str_parse_duration(text + 1, &back);
  if (err || back > now_ns) return false;
  *out_ns = now_ns - back;
  return true;
}

Error *time_parse(const char *text, uint64_t now_ns, uint64_t *out_ns) {
  bool ok = text[0] == '-' ? parse_relative(text, now_ns, out_ns) : parse_written(text, out_ns);
  if (ok) return NULL;
  AUTO_FREE char *shown = str_printable(bytes_str(text));
  return err_hint(err_new(ERR_USAGE, "\"%s\" is not a moment in time", shown),
                  "write 2026-11-20T09:30:00+01:00, \"2026-11-20 09:30\" (local time), or -15m for 15 minutes ago");
}

int32_t time_zone_minutes(uint64_t ns) { return (int32_t)(local_fields((int64_t)(ns / NS_PER_SECOND)).tm_gmtoff / 60); }
