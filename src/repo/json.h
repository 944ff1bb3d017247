/* json.h: strict reading of the JSON documents the repository holds (holdfast.json, slots, bodies of series, sessions,
 * snapshots): every getter records the first failure, as Cursor does. */
#ifndef HF_REPO_JSON_H
#define HF_REPO_JSON_H

#include <jansson.h>

#include "base/buf.h"
#include "repo/format.h"

typedef struct JsonReader {
  const json_t *object;
  const char *what; /* for messages */
  Error *err;       /* first failure; take it with json_reader_end */
} JsonReader;

/* In one object, at all depths. Far more than any of ours has. */
enum { JSON_VALUES_MAX = 1 << 16 };

/* ERR_CORRUPT unless `text` is exactly how this program writes `value`, with a newline: a code over the parsed values
 * would miss what changed between them. */
Error *json_check_form(Bytes text, const json_t *value, const char *what) NODISCARD;
/* Parses one object: depth and size are bounded, duplicate keys refused. *out is owned (json_decref). ERR_CORRUPT. */
Error *json_parse_object(Bytes text, const char *what, json_t **out) NODISCARD;
const char *json_get_str(JsonReader *r, const char *key, size_t max_len);     /* borrowed; "" on failure */
const char *json_get_opt_str(JsonReader *r, const char *key, size_t max_len); /* NULL when absent or null */
uint64_t json_get_u64(JsonReader *r, const char *key, uint64_t max);
bool json_get_bool(JsonReader *r, const char *key);
void json_get_hex(JsonReader *r, const char *key, void *out, size_t len);
Uuid json_get_uuid(JsonReader *r, const char *key);
const json_t *json_get_object(JsonReader *r, const char *key); /* NULL on failure */
const json_t *json_get_array(JsonReader *r, const char *key);
Error *json_reader_end(JsonReader *r) NODISCARD;

void json_set_hex(json_t *object, const char *key, const void *data, size_t len);
void json_set_u64(json_t *object, const char *key, uint64_t value); /* at most INT64_MAX */
void json_set_str(json_t *object, const char *key,
                  const char *value);                 /* NULL: null; bytes that are no UTF-8 are replaced */
void json_dump_sorted(const json_t *value, Buf *out); /* compact, keys sorted */

static inline void json_cleanup(json_t **value) { json_decref(*value); }
#define AUTO_JSON __attribute__((cleanup(json_cleanup)))

#endif
