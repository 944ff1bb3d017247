#include "cli/findings.h"

#include <stdarg.h>

#include "base/mem.h"
#include "base/str.h"

static void append(Findings *list, FindingLevel level, const char *area, char *take_text) {
  list->items = (Finding *)mem_resize(list->items, list->len + 1, sizeof *list->items);
  list->items[list->len++] = (Finding){.level = level, .area = area, .text = take_text};
  list->warnings += level == FINDING_WARNING;
  list->problems += level == FINDING_PROBLEM;
}

void findings_add(Findings *list, FindingLevel level, const char *area, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  append(list, level, area, mem_vprintf(fmt, args));
  va_end(args);
}

void findings_hint(Findings *list, const char *fmt, ...) {
  CHECK(list->len > 0);
  Finding *last = &list->items[list->len - 1];
  va_list args;
  va_start(args, fmt);
  free(last->hint);
  last->hint = mem_vprintf(fmt, args);
  va_end(args);
}

void findings_add_error(Findings *list, FindingLevel level, const char *area, const Error *err) {
  append(list, level, area, mem_strdup(err_text(err)));
  if (err_hint_text(err)) findings_hint(list, "%s", err_hint_text(err));
}

static const char *level_name(FindingLevel level) {
  switch (level) {
    case FINDING_OK: return "ok";
    case FINDING_NOTE: return "note";
    case FINDING_WARNING: return "warning";
    case FINDING_PROBLEM: return "problem";
  }
  return "unknown";
}

static void print_json(Output *out, const Finding *f) {
  json_t *doc = output_document("finding");
  json_object_set_new(doc, "level", json_string(level_name(f->level)));
  json_object_set_new(doc, "area", json_string(f->area));
  json_object_set_new(doc, "text", output_json_name(bytes_str(f->text)));
  json_object_set_new(doc, "hint", f->hint ? output_json_name(bytes_str(f->hint)) : json_null());
  output_json(out, doc);
}

static void print_text(Output *out, const Finding *f) {
  AUTO_FREE char *text = str_printable(bytes_str(f->text));
  output_text(out, "%-8s %s: %s\n", level_name(f->level), f->area, text);
  if (!f->hint) return;
  AUTO_FREE char *hint = str_printable(bytes_str(f->hint));
  output_text(out, "%-8s   %s\n", "", hint);
}

void findings_print(Output *out, const Findings *list) {
  for (size_t i = 0; i < list->len; i++) {
    if (output_json_mode(out))
      print_json(out, &list->items[i]);
    else
      print_text(out, &list->items[i]);
  }
}

void findings_free(Findings *list) {
  for (size_t i = 0; i < list->len; i++) {
    free(list->items[i].text);
    free(list->items[i].hint);
  }
  free(list->items);
  *list = (Findings){0};
}
