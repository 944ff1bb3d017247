#include "repo/json.h"

#include "base/mem.h"
#include "base/str.h"

/* Values that the text can hold at most: each but the first follows one of these. What stands inside texts does not
 * count. Malformed input is the parser's to find. */
static size_t count_values(Bytes text) {
  size_t count = 1;
  bool inside = false;
  for (size_t i = 0; i < text.len; i++) {
    uint8_t c = text.data[i];
    if (c == '"') inside = !inside;
    if (inside && c == '\\') i++;
    if (!inside && (c == ',' || c == ':' || c == '[' || c == '{')) count++;
  }
  return count;
}

Error *json_parse_object(Bytes text, const char *what, json_t **out) {
  json_error_t at;
  /* A value of two bytes takes a hundred in memory. */
  if (count_values(text) > JSON_VALUES_MAX)
    return err_new(ERR_CORRUPT, "%s: more than %d values", what, JSON_VALUES_MAX);
  json_t *value = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES, &at);
  if (!value) return err_new(ERR_CORRUPT, "%s: not valid JSON at byte %d", what, at.position);
  if (!json_is_object(value)) {
    json_decref(value);
    return err_new(ERR_CORRUPT, "%s: not a JSON object", what);
  }
  *out = value;
  return NULL;
}

Error *json_check_form(Bytes text, const json_t *value, const char *what) {
  AUTO_BUF Buf form = {0};
  json_dump_sorted(value, &form);
  buf_put_u8(&form, '\n');
  return bytes_equal(text, buf_bytes(&form)) ? NULL
                                             : err_new(ERR_CORRUPT, "%s: not in the form it is written in", what);
}

static void reader_fail(JsonReader *r, const char *key, const char *why) {
  if (!r->err) r->err = err_new(ERR_CORRUPT, "%s: field %s %s", r->what, key, why);
}

const char *json_get_opt_str(JsonReader *r, const char *key, size_t max_len) {
  const json_t *value = json_object_get(r->object, key);
  if (!value || json_is_null(value)) return NULL;
  if (!json_is_string(value) || json_string_length(value) > max_len) {
    reader_fail(r, key, "is not a text of the allowed length");
    return NULL;
  }
  return json_string_value(value);
}

const char *json_get_str(JsonReader *r, const char *key, size_t max_len) {
  const char *text = json_get_opt_str(r, key, max_len);
  if (!text) {
    reader_fail(r, key, "is missing");
    return "";
  }
  return text;
}

uint64_t json_get_u64(JsonReader *r, const char *key, uint64_t max) {
  const json_t *value = json_object_get(r->object, key);
  if (!json_is_integer(value) || json_integer_value(value) < 0 || (uint64_t)json_integer_value(value) > max) {
    reader_fail(r, key, "is not a number in the allowed range");
    return 0;
  }
  return (uint64_t)json_integer_value(value);
}

bool json_get_bool(JsonReader *r, const char *key) {
  const json_t *value = json_object_get(r->object, key);
  if (!json_is_boolean(value)) reader_fail(r, key, "is not true or false");
  return json_is_true(value);
}

void json_get_hex(JsonReader *r, const char *key, void *out, size_t len) {
  const char *text = json_get_str(r, key, 2 * len);
  /* One spelling only: an authentication code covers what was read, and must not miss a flipped bit in a letter. */
  bool one_spelling = strpbrk(text, "ABCDEF") == NULL;
  if (!one_spelling || strlen(text) != 2 * len || !hex_decode(text, out, len)) {
    reader_fail(r, key, "is not a hexadecimal value of the right length");
    memset(out, 0, len);
  }
}

Uuid json_get_uuid(JsonReader *r, const char *key) {
  Uuid id;
  json_get_hex(r, key, id.b, sizeof id.b);
  return id;
}

const json_t *json_get_object(JsonReader *r, const char *key) {
  const json_t *value = json_object_get(r->object, key);
  if (!json_is_object(value)) {
    reader_fail(r, key, "is not an object");
    return NULL;
  }
  return value;
}

const json_t *json_get_array(JsonReader *r, const char *key) {
  const json_t *value = json_object_get(r->object, key);
  if (!json_is_array(value)) {
    reader_fail(r, key, "is not a list");
    return NULL;
  }
  return value;
}

Error *json_reader_end(JsonReader *r) { return STEAL(r->err); }

void json_set_hex(json_t *object, const char *key, const void *data, size_t len) {
  AUTO_FREE char *text = (char *)mem_alloc(2 * len + 1);
  hex_encode(data, len, text);
  json_object_set_new(object, key, json_string(text));
}

void json_set_u64(json_t *object, const char *key, uint64_t value) {
  CHECK(value <= INT64_MAX);
  json_object_set_new(object, key, json_integer((json_int_t)value));
}

void json_set_str(json_t *object, const char *key, const char *value) {
  if (!value) {
    json_object_set_new(object, key, json_null());
    return;
  }
  json_t *text = json_string(value);
  if (!text) {
    AUTO_FREE char *printable = str_printable(bytes_str(value));
    text = json_string(printable);
  }
  json_object_set_new(object, key, text);
}

void json_dump_sorted(const json_t *value, Buf *out) {
  char *text = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS);
  CHECK(text != NULL);
  buf_add_str(out, text);
  free(text);
}
