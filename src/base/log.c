#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/timefmt.h"

struct Log {
  int fd;
  LogLevel level;
  LogFormat format;
  pthread_mutex_t lock; /* keeps lines whole when a write is short; base/ is below sys/ and its Mutex */
};

static const char *const level_names[] = {
    [LOG_DEBUG] = "debug", [LOG_INFO] = "info", [LOG_WARN] = "warn", [LOG_ERROR] = "error"};

Log *log_new(int fd, LogLevel level, LogFormat format) {
  Log *log = NEW(Log);
  log->fd = fd;
  log->level = level;
  log->format = format;
  CHECK(pthread_mutex_init(&log->lock, NULL) == 0);
  return log;
}

void log_free(Log *take) {
  if (!take) return;
  pthread_mutex_destroy(&take->lock);
  free(take);
}

static bool is_plain(const char *value) {
  if (!*value) return false;
  for (const char *p = value; *p; p++) {
    if (*p <= ' ' || *p >= 0x7f || *p == '"' || *p == '\\' || *p == '=') return false;
  }
  return true;
}

/* A quoted string both formats can read: `\"`, `\\`, `\n`, `\t` as in JSON; bytes that cannot be shown as a backslash
 * (itself escaped), x and two digits. */
static void add_quoted(Buf *out, const char *value) {
  buf_put_u8(out, '"');
  while (*value) {
    size_t run = strcspn(value, "\n\t\"\\");
    if (run) {
      AUTO_FREE char *shown = str_printable(bytes(value, run));
      for (const char *p = shown; *p; p++) {
        if (*p == '\\') buf_put_u8(out, '\\');
        buf_put_u8(out, (uint8_t)*p);
      }
      value += run;
      continue;
    }
    buf_put_u8(out, '\\');
    buf_put_u8(out, (uint8_t)(*value == '\n' ? 'n' : *value == '\t' ? 't' : *value));
    value++;
  }
  buf_put_u8(out, '"');
}

static void add_field(Buf *out, LogFormat format, const char *key, const char *value) {
  bool first = out->len == 0;
  if (!value) value = "";
  if (format == LOG_JSON) {
    buf_add_str(out, first ? "{" : ",");
    add_quoted(out, key);
    buf_put_u8(out, ':');
    add_quoted(out, value);
    return;
  }
  if (!first) buf_put_u8(out, ' ');
  buf_add_str(out, key);
  buf_put_u8(out, '=');
  if (is_plain(value))
    buf_add_str(out, value);
  else
    add_quoted(out, value);
}

/* There is nobody to tell when the log itself cannot be written. */
static void write_all(int fd, Bytes line) {
  while (line.len) {
    ssize_t n = write(fd, line.data, line.len);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    line = bytes(line.data + n, line.len - (size_t)n);
  }
}

void log_event(Log *log, LogLevel level, const char *event, const char *message, ...) {
  if (level < log->level) return;
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  char time_text[36];
  AUTO_BUF Buf line = {0};
  uint64_t ms = (uint64_t)now.tv_nsec / 1000000;
  time_format_utc((uint64_t)now.tv_sec * NS_PER_SECOND + ms * 1000000, time_text);
  add_field(&line, log->format, "time", time_text);
  add_field(&line, log->format, "level", level_names[level]);
  add_field(&line, log->format, "event", event);
  add_field(&line, log->format, "message", message);
  va_list args;
  va_start(args, message);
  for (const char *key; (key = va_arg(args, const char *)) != NULL;)
    add_field(&line, log->format, key, va_arg(args, const char *));
  va_end(args);
  buf_add_str(&line, log->format == LOG_JSON ? "}\n" : "\n");
  pthread_mutex_lock(&log->lock);
  write_all(log->fd, buf_bytes(&line));
  pthread_mutex_unlock(&log->lock);
}

bool log_level_parse(const char *text, LogLevel *out) {
  for (size_t i = 0; i < NELEMS(level_names); i++) {
    if (strcmp(text, level_names[i]) != 0) continue;
    *out = (LogLevel)i;
    return true;
  }
  return false;
}
