#include "cli/info_facts.h"

#include "base/mem.h"
#include "base/str.h"

enum { DEPTH_MAX = 16, LIST_SHOWN = 100 };

static void add_indent(Buf *out, unsigned depth) { buf_printf(out, "%*s", (int)(2 + 2 * depth), ""); }

static void add_scalar(const json_t *value, Buf *out) {
  switch (json_typeof(value)) {
    case JSON_STRING: {
      AUTO_FREE char *shown = str_printable(bytes(json_string_value(value), json_string_length(value)));
      buf_add_str(out, shown);
      break;
    }
    case JSON_INTEGER: buf_printf(out, "%lld", (long long)json_integer_value(value)); break;
    case JSON_REAL: buf_printf(out, "%g", json_real_value(value)); break;
    case JSON_TRUE: buf_add_str(out, "yes"); break;
    case JSON_FALSE: buf_add_str(out, "no"); break;
    case JSON_NULL: buf_add_str(out, "-"); break;
    case JSON_OBJECT:
    case JSON_ARRAY: buf_add_str(out, "…"); break;
  }
}

static bool is_nested(const json_t *value) { return json_is_object(value) || json_is_array(value); }

/* An object whose values are all plain fits a line: "name orders, rows 12". */
static bool is_flat(const json_t *value) {
  const char *key;
  json_t *field;
  if (!json_is_object(value)) return false;
  json_object_foreach((json_t *)(uintptr_t)value, key, field) {
    if (is_nested(field)) return false;
  }
  return json_object_size(value) <= 4;
}

static void add_flat(const json_t *object, Buf *out) {
  const char *key;
  json_t *field;
  const char *comma = "";
  json_object_foreach((json_t *)(uintptr_t)object, key, field) {
    if (json_is_null(field)) continue;
    AUTO_FREE char *name = str_printable(bytes_str(key));
    buf_printf(out, "%s%s ", comma, name);
    add_scalar(field, out);
    comma = ", ";
  }
}

/* Names in words: "page_size" is "page size". */
static void add_key(const char *key, Buf *out) {
  AUTO_FREE char *name = str_printable(bytes_str(key));
  for (char *c = name; *c; c++)
    if (*c == '_') *c = ' ';
  buf_printf(out, "%s:", name);
}

static void add_value(const json_t *value, unsigned depth, Buf *out);

static void add_list(const json_t *list, unsigned depth, Buf *out) {
  size_t len = json_array_size(list);
  for (size_t i = 0; i < len && i < LIST_SHOWN; i++) {
    const json_t *item = json_array_get(list, i);
    add_indent(out, depth);
    buf_add_str(out, "-");
    add_value(item, depth, out);
  }
  if (len <= LIST_SHOWN) return;
  add_indent(out, depth);
  buf_printf(out, "- and %zu more (--json shows all)\n", len - LIST_SHOWN);
}

static void add_fields(const json_t *object, unsigned depth, Buf *out) {
  const char *key;
  json_t *field;
  json_object_foreach((json_t *)(uintptr_t)object, key, field) {
    add_indent(out, depth);
    add_key(key, out);
    add_value(field, depth, out);
  }
}

/* Behind a key or a dash. */
static void add_value(const json_t *value, unsigned depth, Buf *out) {
  if (!is_nested(value)) {
    buf_add_str(out, " ");
    add_scalar(value, out);
    buf_add_str(out, "\n");
  } else if (is_flat(value)) {
    buf_add_str(out, " ");
    add_flat(value, out);
    buf_add_str(out, "\n");
  } else if (depth < DEPTH_MAX) {
    buf_add_str(out, "\n");
    if (json_is_array(value))
      add_list(value, depth + 1, out);
    else
      add_fields(value, depth + 1, out);
  } else {
    buf_add_str(out, " …\n");
  }
}

void info_facts_print(const json_t *facts, Buf *out) {
  if (json_is_object(facts))
    add_fields(facts, 0, out);
  else
    add_value(facts, 0, out);
}
