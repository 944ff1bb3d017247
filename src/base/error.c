#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"

struct Error {
  ErrCode code;
  char *text;
  char *hint;
};

static char *format_text(const char *fmt, va_list args) PRINTF_LIKE(1, 0);
static char *format_text(const char *fmt, va_list args) {
  char *text = NULL;
  CHECK(vasprintf(&text, fmt, args) >= 0);
  return text;
}

static Error *error_make(ErrCode code, char *take_text) {
  Error *err = NEW(Error);
  err->code = code;
  err->text = take_text;
  return err;
}

Error *err_new(ErrCode code, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  Error *err = error_make(code, format_text(fmt, args));
  va_end(args);
  return err;
}

static ErrCode code_of_errno(int errno_value) {
  switch (errno_value) {
    case ENOSPC:
    case EDQUOT: return ERR_NO_SPACE;
    case ENOENT: return ERR_NOT_FOUND;
    case EEXIST: return ERR_EXISTS;
    case EACCES:
    case EPERM:
    case EROFS: return ERR_DENIED;
    default: return ERR_IO;
  }
}

Error *err_errno(int errno_value, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  char *what = format_text(fmt, args);
  va_end(args);
  char reason[128];
  Error *err = error_make(code_of_errno(errno_value),
                          mem_printf("%s: %s", what, strerror_r(errno_value, reason, sizeof reason)));
  free(what);
  return err;
}

Error *err_wrap(Error *take, const char *fmt, ...) {
  if (!take) return NULL;
  va_list args;
  va_start(args, fmt);
  char *doing = format_text(fmt, args);
  va_end(args);
  char *text = mem_printf("%s: %s", doing, take->text);
  free(doing);
  free(take->text);
  take->text = text;
  return take;
}

Error *err_hint(Error *take, const char *fmt, ...) {
  if (!take || take->hint) return take;
  va_list args;
  va_start(args, fmt);
  take->hint = format_text(fmt, args);
  va_end(args);
  return take;
}

Error *err_recode(Error *take, ErrCode code) {
  if (take) take->code = code;
  return take;
}

Error *err_first(Error *first, Error *second) {
  if (!first) return second;
  err_free(second);
  return first;
}

ErrCode err_code(const Error *err) { return err->code; }

const char *err_text(const Error *err) { return err->text; }

const char *err_hint_text(const Error *err) { return err->hint; }

Error *err_copy(const Error *err) {
  if (!err) return NULL;
  Error *copy = error_make(err->code, mem_strdup(err->text));
  copy->hint = mem_strdup(err->hint);
  return copy;
}

const char *err_code_name(ErrCode code) {
  static const char *const names[] = {
      [ERR_INTERNAL] = "internal",
      [ERR_USAGE] = "usage",
      [ERR_IO] = "io",
      [ERR_NO_SPACE] = "no_space",
      [ERR_NOT_FOUND] = "not_found",
      [ERR_EXISTS] = "exists",
      [ERR_DENIED] = "denied",
      [ERR_TEMPORARY] = "temporary",
      [ERR_TIMEOUT] = "timeout",
      [ERR_CANCELLED] = "cancelled",
      [ERR_CORRUPT] = "corrupt",
      [ERR_LIMIT] = "limit",
      [ERR_UNSUPPORTED] = "unsupported",
      [ERR_NO_REPOSITORY] = "no_repository",
      [ERR_WRONG_KEY] = "wrong_key",
      [ERR_REFUSED] = "refused",
      [ERR_NOT_EMPTY] = "not_empty",
      [ERR_UNREACHABLE] = "unreachable",
      [ERR_PARTIAL] = "partial",
      [ERR_DAMAGED] = "damaged",
      [ERR_CHECK_FAILED] = "check_failed",
  };
  CHECK(code > 0 && (size_t)code < NELEMS(names));
  return names[code];
}

void err_free(Error *take) {
  if (!take) return;
  free(take->text);
  free(take->hint);
  free(take);
}
