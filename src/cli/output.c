#include "cli/output.h"

#include <errno.h>
#include <stdarg.h>

#include "base/mem.h"
#include "base/str.h"
#include "sys/sys.h"

struct Output {
  OutputOptions options;
  Mutex mutex; /* guards both streams and what follows */
  bool bar_shown;
  int lost_errno; /* why data could not be written; 0: all is well */
};

Output *output_new(const OutputOptions *options) {
  Output *out = NEW(Output);
  out->options = *options;
  mutex_init(&out->mutex, sys_real());
  return out;
}

void output_free(Output *take) {
  if (!take) return;
  mutex_free(&take->mutex);
  free(take);
}

bool output_json_mode(const Output *out) { return out->options.json; }

Verbosity output_verbosity(const Output *out) { return out->options.verbosity; }

/* ---- data ----------------------------------------------------------------------------------------------------------
 */

/* Before anything else is written where the bar may stand: on a terminal both streams are one screen. */
static void clear_bar(Output *out) {
  if (!out->bar_shown) return;
  fputs("\r\033[K", out->options.notes);
  fflush(out->options.notes);
  out->bar_shown = false;
}

static void write_data(Output *out, const void *data, size_t len) {
  if (len == 0) return;
  LOCKED(&out->mutex);
  clear_bar(out);
  if (fwrite(data, 1, len, out->options.data) != len && out->lost_errno == 0) out->lost_errno = errno ? errno : EIO;
}

void output_bytes(Output *out, Bytes data) { write_data(out, data.data, data.len); }

void output_text(Output *out, const char *fmt, ...) {
  AUTO_FREE char *text = NULL;
  va_list args;
  va_start(args, fmt);
  CHECK(vasprintf(&text, fmt, args) >= 0);
  va_end(args);
  write_data(out, text, strlen(text));
}

json_t *output_document(const char *type) {
  json_t *doc = json_pack("{s:s, s:i}", "type", type, "v", 1);
  CHECK(doc);
  return doc;
}

json_t *output_json_name(Bytes name) {
  AUTO_FREE char *shown = str_printable(name);
  json_t *string = json_string(shown);
  CHECK(string);
  return string;
}

void output_json_set_name(json_t *object, const char *key, Bytes name) {
  json_t *shown = output_json_name(name);
  bool exact = bytes_equal(bytes_str(json_string_value(shown)), name);
  json_object_set_new(object, key, shown);
  if (exact) return;
  AUTO_FREE char *hex = (char *)mem_alloc(2 * name.len + 1);
  AUTO_FREE char *hex_key = mem_printf("%s_hex", key);
  hex_encode(name.data, name.len, hex);
  json_object_set_new(object, hex_key, json_string(hex));
}

static char *json_line(json_t *take) {
  char *text = json_dumps(take, JSON_COMPACT | JSON_REAL_PRECISION(15)); /* 0.037 stays 0.037 */
  json_decref(take);
  CHECK(text);
  return text;
}

void output_json(Output *out, json_t *take) {
  AUTO_FREE char *text = json_line(take);
  size_t len = strlen(text);
  text[len] = '\n'; /* over the terminator: the line goes out in one piece */
  write_data(out, text, len + 1);
}

Error *output_finish(Output *out) {
  LOCKED(&out->mutex);
  if (fflush(out->options.data) != 0 && out->lost_errno == 0) out->lost_errno = errno;
  if (out->lost_errno == 0 || out->lost_errno == EPIPE) return NULL; /* `| head`: the reader has what it wanted */
  return err_errno(out->lost_errno, "writing to standard output");
}

/* ---- everything else -----------------------------------------------------------------------------------------------
 */

/* Best effort: when standard error is gone there is nobody to tell. */
static void write_notes(Output *out, const char *text) {
  LOCKED(&out->mutex);
  clear_bar(out);
  fputs(text, out->options.notes);
  fflush(out->options.notes);
}

void output_bar(Output *out, const char *line) {
  LOCKED(&out->mutex);
  clear_bar(out);
  if (line) {
    fputs(line, out->options.notes);
    out->bar_shown = true;
  }
  fflush(out->options.notes);
}

static void note_line(Output *out, const char *prefix, const char *fmt, va_list args) PRINTF_LIKE(3, 0);
static void note_line(Output *out, const char *prefix, const char *fmt, va_list args) {
  AUTO_FREE char *text = NULL;
  CHECK(vasprintf(&text, fmt, args) >= 0);
  AUTO_FREE char *line = mem_printf("%s%s\n", prefix, text);
  write_notes(out, line);
}

void output_note(Output *out, Verbosity from, const char *fmt, ...) {
  if (out->options.verbosity < from) return;
  va_list args;
  va_start(args, fmt);
  note_line(out, "", fmt, args);
  va_end(args);
}

void output_warning(Output *out, const char *fmt, ...) {
  if (out->options.verbosity < VERBOSITY_NORMAL) return;
  va_list args;
  va_start(args, fmt);
  note_line(out, "holdfast: warning: ", fmt, args);
  va_end(args);
}

void output_json_note(Output *out, json_t *take) {
  AUTO_FREE char *text = json_line(take);
  AUTO_FREE char *line = mem_printf("%s\n", text);
  if (out->options.verbosity >= VERBOSITY_NORMAL) write_notes(out, line);
}

/* Texts of errors may have several lines and quote anything; JSON can hold all of it that is UTF-8. */
static json_t *json_text(const char *text) {
  json_t *string = json_string(text);
  return string ? string : output_json_name(bytes_str(text));
}

static char *error_json(const Error *err, int exit_code) {
  json_t *doc = output_document("error");
  json_object_set_new(doc, "code", json_string(err_code_name(err_code(err))));
  json_object_set_new(doc, "message", json_text(err_text(err)));
  const char *hint = err_hint_text(err);
  json_object_set_new(doc, "hint", hint ? json_text(hint) : json_null());
  json_object_set_new(doc, "exit", json_integer(exit_code));
  AUTO_FREE char *text = json_line(doc);
  return mem_printf("%s\n", text);
}

/* An error's text may quote bytes from anywhere: no control characters reach the terminal, line ends excepted. */
static void add_safe_lines(Buf *buf, const char *first, const char *rest, const char *text) {
  const char *prefix = first;
  for (const char *at = text; *at;) {
    size_t len = strcspn(at, "\n");
    AUTO_FREE char *shown = str_printable(bytes(at, len));
    buf_printf(buf, "%s%s\n", prefix, shown);
    prefix = rest;
    at += len + (at[len] == '\n');
  }
}

static char *error_lines(const Error *err) {
  AUTO_BUF Buf buf = {0};
  add_safe_lines(&buf, "holdfast: ", "  ", err_text(err));
  if (err_hint_text(err)) add_safe_lines(&buf, "hint: ", "  ", err_hint_text(err));
  return buf_steal_str(&buf);
}

void output_error(Output *out, const Error *err, int exit_code) {
  AUTO_FREE char *text = out->options.json ? error_json(err, exit_code) : error_lines(err);
  write_notes(out, text);
}
