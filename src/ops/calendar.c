#include "ops/calendar.h"

#include "base/mem.h"
#include "base/str.h"

enum { WORDS_MAX = 6 };

typedef struct Words {
  char *text; /* owned; cut into words */
  const char *word[WORDS_MAX];
  size_t len;
} Words;

static void words_free(Words *words) { free(words->text); }
#define AUTO_WORDS __attribute__((cleanup(words_free)))

static bool split(const char *text, Words *out) {
  char *at = out->text = mem_strdup(text);
  for (;;) {
    while (*at == ' ') at++;
    if (!*at) return out->len > 0;
    if (out->len == WORDS_MAX) return false;
    out->word[out->len++] = at;
    at += strcspn(at, " ");
    if (*at) *at++ = '\0';
  }
}

static bool number(const char *text, size_t len, unsigned min, unsigned max) {
  if (len == 0 || len > 2) return false;
  unsigned n = 0;
  for (size_t i = 0; i < len; i++) {
    if (text[i] < '0' || text[i] > '9') return false;
    n = n * 10 + (unsigned)(text[i] - '0');
  }
  return n >= min && n <= max;
}

static Error *check_time(const char *text) {
  const char *colon = strchr(text, ':');
  if (colon && number(text, (size_t)(colon - text), 0, 23) && strlen(colon + 1) == 2 && number(colon + 1, 2, 0, 59))
    return NULL;
  AUTO_FREE char *shown = str_printable(bytes_str(text));
  return err_new(ERR_USAGE, "\"%s\" is not a time of day like 02:30", shown);
}

static const char *const day_names[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat", NULL};
static const char *const month_names[] = {"jan", "feb", "mar", "apr", "may", "jun", "jul",
                                          "aug", "sep", "oct", "nov", "dec", NULL};

static bool is_name(const char *text, size_t len, const char *const *names) {
  for (size_t i = 0; names && names[i]; i++)
    if (strlen(names[i]) == len && strncasecmp(names[i], text, len) == 0) return true;
  return false;
}

typedef struct CronField {
  const char *name;
  unsigned min, max;
  const char *const *names;
} CronField;

static bool cron_value(const CronField *f, const char *text, size_t len) {
  return number(text, len, f->min, f->max) || is_name(text, len, f->names);
}

/* One of the parts between commas: a, a-b or *, with /step. */
static bool cron_part(const CronField *f, const char *text, size_t len) {
  const char *slash = (const char *)memchr(text, '/', len);
  size_t range = slash ? (size_t)(slash - text) : len;
  if (slash && !number(slash + 1, len - range - 1, 1, f->max)) return false;
  if (range == 1 && text[0] == '*') return true;
  const char *dash = (const char *)memchr(text, '-', range);
  if (!dash) return cron_value(f, text, range);
  size_t first = (size_t)(dash - text);
  return cron_value(f, text, first) && cron_value(f, dash + 1, range - first - 1);
}

static Error *check_cron(const Words *words) {
  static const CronField fields[] = {{"minute", 0, 59, NULL},
                                     {"hour", 0, 23, NULL},
                                     {"day", 1, 31, NULL},
                                     {"month", 1, 12, month_names},
                                     {"weekday", 0, 7, day_names}};
  if (words->len != 1 + NELEMS(fields)) return err_new(ERR_USAGE, "cron needs minute, hour, day, month and weekday");
  for (size_t i = 0; i < NELEMS(fields); i++) {
    for (const char *at = words->word[i + 1];; at++) {
      size_t len = strcspn(at, ",");
      if (!cron_part(&fields[i], at, len)) {
        AUTO_FREE char *shown = str_printable(bytes_str(words->word[i + 1]));
        return err_new(ERR_USAGE, "\"%s\" is no cron %s", shown, fields[i].name);
      }
      at += len;
      if (!*at) break;
    }
  }
  return NULL;
}

static Error *too_many(const char *word) { return err_new(ERR_USAGE, "there is too much after \"%s\"", word); }

static Error *check_weekly(const Words *words) {
  if (words->len > 3) return too_many("weekly");
  if (words->len > 1 && !is_name(words->word[1], strlen(words->word[1]), day_names)) {
    AUTO_FREE char *shown = str_printable(bytes_str(words->word[1]));
    return err_new(ERR_USAGE, "\"%s\" is none of Mon, Tue, Wed, Thu, Fri, Sat, Sun", shown);
  }
  return words->len > 2 ? check_time(words->word[2]) : NULL;
}

static Error *check_monthly(const Words *words) {
  if (words->len > 3) return too_many("monthly");
  if (words->len > 1 && !number(words->word[1], strlen(words->word[1]), 1, 31)) {
    AUTO_FREE char *shown = str_printable(bytes_str(words->word[1]));
    return err_new(ERR_USAGE, "\"%s\" is not a day from 1 to 31", shown);
  }
  return words->len > 2 ? check_time(words->word[2]) : NULL;
}

Error *calendar_check(const char *text) {
  AUTO_WORDS Words words = {0};
  bool any = split(text, &words);
  const char *first = any ? words.word[0] : "";
  if (strcmp(first, "cron") == 0) return check_cron(&words);
  if (strcmp(first, "weekly") == 0) return check_weekly(&words);
  if (strcmp(first, "monthly") == 0) return check_monthly(&words);
  if (strcmp(first, "hourly") == 0) return words.len > 1 ? too_many(first) : NULL;
  if (strcmp(first, "daily") == 0) {
    if (words.len > 2) return too_many(first);
    return words.len > 1 ? check_time(words.word[1]) : NULL;
  }
  if (strcmp(first, "every") == 0 && words.len == 2) {
    uint64_t ns = 0;
    TRY(str_parse_duration(words.word[1], &ns));
    return ns > 0 ? NULL : err_new(ERR_USAGE, "every %s: that is no time at all", words.word[1]);
  }
  AUTO_FREE char *shown = str_printable(bytes_str(text));
  return err_hint(err_new(ERR_USAGE, "\"%s\" is not a schedule", shown),
                  "write hourly, daily 02:30, weekly Sun 04:00, monthly 1 03:00, every 15m or cron 0 */6 * * *");
}
