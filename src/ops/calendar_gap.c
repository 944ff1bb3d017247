#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/timefmt.h"
#include "ops/calendar.h"

enum { MINUTES_A_DAY = 24 * 60, DAYS_LOOKED_AT = 5 * 366 };
static const uint64_t MINUTE_NS = 60 * NS_PER_SECOND;
static const uint64_t DAY_NS = 86400 * NS_PER_SECOND;

/* Which values a cron field allows, bit by bit; its text was checked before. */
typedef struct CronSet {
  uint64_t bits;
  bool any; /* "*" */
} CronSet;

static unsigned value_of(const char *text, size_t len) {
  static const char names[] = "sunmontuewedthufrisat", months[] = "janfebmaraprmayjunjulaugsepoctnovdec";
  if (text[0] >= '0' && text[0] <= '9') return (unsigned)strtoul(text, NULL, 10);
  for (size_t i = 0; len == 3 && i + 3 <= sizeof names - 1; i += 3)
    if (strncasecmp(text, names + i, 3) == 0) return (unsigned)(i / 3);
  for (size_t i = 0; len == 3 && i + 3 <= sizeof months - 1; i += 3)
    if (strncasecmp(text, months + i, 3) == 0) return (unsigned)(i / 3) + 1;
  return 0;
}

static void add_part(CronSet *set, const char *text, size_t len, unsigned min, unsigned max) {
  const char *slash = (const char *)memchr(text, '/', len);
  size_t range = slash ? (size_t)(slash - text) : len;
  unsigned step = slash ? (unsigned)strtoul(slash + 1, NULL, 10) : 1, first = min, last = max;
  const char *dash = (const char *)memchr(text, '-', range);
  if (dash) {
    first = value_of(text, (size_t)(dash - text));
    last = value_of(dash + 1, range - (size_t)(dash - text) - 1);
  } else if (text[0] != '*') {
    first = value_of(text, range);
    last = slash ? max : first;
  }
  for (unsigned v = first; v <= last && v < 64 && step > 0; v += step) set->bits |= UINT64_C(1) << v;
}

static CronSet read_field(const char *text, unsigned min, unsigned max) {
  CronSet set = {.any = strcmp(text, "*") == 0};
  for (const char *at = text;; at++) {
    size_t len = strcspn(at, ",");
    add_part(&set, at, len, min, max);
    at += len;
    if (!*at) return set;
  }
}

static bool has(const CronSet *set, unsigned value) { return (set->bits >> value & 1) != 0; }

/* Where both day and weekday are given, either is enough: cron's rule. */
static bool is_day(const CronSet sets[5], time_t when) {
  struct tm parts;
  if (!gmtime_r(&when, &parts)) return false;
  bool day = has(&sets[2], (unsigned)parts.tm_mday);
  bool weekday = has(&sets[4], (unsigned)parts.tm_wday) || (parts.tm_wday == 0 && has(&sets[4], 7));
  if (!has(&sets[3], (unsigned)parts.tm_mon + 1)) return false;
  return sets[2].any || sets[4].any ? day && weekday : day || weekday;
}

/* Minutes of the day that come, first and last, and the longest pause between two of them. */
static bool minutes_of_day(const CronSet sets[5], unsigned *first, unsigned *last, unsigned *pause) {
  bool any = false;
  *pause = 0;
  for (unsigned m = 0; m < MINUTES_A_DAY; m++) {
    if (!has(&sets[0], m % 60) || !has(&sets[1], m / 60)) continue;
    if (!any) *first = m;
    if (any && m - *last > *pause) *pause = m - *last;
    *last = m;
    any = true;
  }
  return any;
}

static uint64_t cron_gap(const char *fields) {
  static const unsigned limits[5][2] = {{0, 59}, {0, 23}, {1, 31}, {1, 12}, {0, 7}};
  AUTO_FREE char *copy = mem_strdup(fields);
  CronSet sets[5] = {{0}};
  char *rest = copy;
  for (size_t i = 0; i < NELEMS(sets); i++) {
    const char *word = strsep(&rest, " ");
    while (word && !*word) word = strsep(&rest, " ");
    if (!word) return 0;
    sets[i] = read_field(word, limits[i][0], limits[i][1]);
  }
  unsigned first = 0, last = 0, pause = 0, longest = 0;
  if (!minutes_of_day(sets, &first, &last, &pause)) return 0;
  bool any = false;
  for (unsigned day = 0, before = 0; day < DAYS_LOOKED_AT; day++) {
    if (!is_day(sets, (time_t)day * 86400)) continue;
    if (any && (day - before) * MINUTES_A_DAY + first - last > longest)
      longest = (day - before) * MINUTES_A_DAY + first - last;
    before = day;
    any = true;
  }
  return (uint64_t)(longest > pause ? longest : pause) * MINUTE_NS;
}

uint64_t calendar_longest_gap_ns(const char *text) {
  Error *err = calendar_check(text);
  bool valid = !err;
  err_free(err);
  while (*text == ' ') text++;
  if (!valid) return 0;
  if (str_starts(text, "hourly")) return 60 * MINUTE_NS;
  if (str_starts(text, "daily")) return DAY_NS;
  if (str_starts(text, "weekly")) return 7 * DAY_NS;
  if (str_starts(text, "monthly")) return 31 * DAY_NS;
  if (str_starts(text, "cron")) return cron_gap(text + strlen("cron"));
  uint64_t ns = 0;
  const char *duration = text + strlen("every");
  while (*duration == ' ') duration++;
  AUTO_FREE char *word = mem_strndup(duration, strcspn(duration, " "));
  err_ignore(str_parse_duration(word, &ns));
  return ns;
}
