#include "repo/marker.h"

#include "codec/blake3.h"
#include "codec/secret.h"
#include "repo/json.h"
#include "repo/uuid.h"

void marker_free(Marker *marker) { buf_free(&marker->unsigned_text); }

void marker_create(const Keys *keys, uint64_t created_ns, Buf *out) {
  AUTO_JSON json_t *doc = json_object();
  char id[UUID_TEXT_LEN];
  json_set_u64(doc, "format", FORMAT_VERSION);
  json_set_str(doc, "repository", uuid_text(&keys->repo, id));
  json_set_u64(doc, "created_ns", created_ns);
  json_object_set_new(doc, "algorithms",
                      json_pack("{s:s,s:s,s:s,s:s}", "hash", "blake3-256", "aead", "aes-256-gcm", "kdf", "hkdf-sha256",
                                "box", "x25519-xsalsa20-poly1305"));
  json_object_set_new(doc, "features", json_pack("{s:[],s:[],s:[]}", "compatible", "read_only", "incompatible"));
  AUTO_BUF Buf text = {0};
  json_dump_sorted(doc, &text);
  uint8_t mac[32];
  blake3_keyed(keys->mac, text.data, text.len, mac);
  json_set_hex(doc, "mac", mac, sizeof mac);
  json_dump_sorted(doc, out);
  buf_put_u8(out, '\n');
}

/* This program knows no features yet: every name in the list is unknown. The first is named in *out. */
static Error *first_feature(const json_t *features, const char *list, const char **out) {
  *out = NULL;
  const json_t *names = json_object_get(features, list);
  if (!json_is_array(names) || json_array_size(names) > FEATURES_MAX)
    return err_new(ERR_CORRUPT, "holdfast.json: field features.%s is not a list", list);
  size_t i;
  const json_t *name;
  json_array_foreach(names, i, name) {
    if (!json_is_string(name)) return err_new(ERR_CORRUPT, "holdfast.json: features.%s holds no name", list);
    if (!*out) *out = json_string_value(name);
  }
  return NULL;
}

static Error *check_features(const json_t *features, Marker *out) {
  const char *name;
  TRY(first_feature(features, "compatible", &name));
  TRY(first_feature(features, "read_only", &name));
  out->read_only = name != NULL;
  TRY(first_feature(features, "incompatible", &name));
  if (name)
    return err_hint(
        err_new(ERR_UNSUPPORTED, "the repository uses the feature \"%.64s\", which this program does not know", name),
        "use a newer holdfast");
  return NULL;
}

static Error *check_algorithms(const json_t *algorithms) {
  static const char *const known[][2] = {
      {"hash", "blake3-256"}, {"aead", "aes-256-gcm"}, {"kdf", "hkdf-sha256"}, {"box", "x25519-xsalsa20-poly1305"}};
  for (size_t i = 0; i < NELEMS(known); i++) {
    const char *value = json_string_value(json_object_get(algorithms, known[i][0]));
    if (!value) return err_new(ERR_CORRUPT, "holdfast.json: algorithms.%s is missing", known[i][0]);
    if (strcmp(value, known[i][1]) != 0)
      return err_new(ERR_UNSUPPORTED,
                     "the repository uses the %s algorithm \"%.32s\", which this program does not know", known[i][0],
                     value);
  }
  return NULL;
}

static Error *parse_fields(json_t *doc, Marker *out) {
  JsonReader r = {.object = doc, .what = MARKER_KEY};
  out->format = json_get_u64(&r, "format", INT64_MAX);
  TRY(json_reader_end(&r));
  if (out->format != FORMAT_VERSION)
    return err_hint(err_new(ERR_UNSUPPORTED, "the repository has format version %llu, this program reads %d",
                            (unsigned long long)out->format, FORMAT_VERSION),
                    out->format > FORMAT_VERSION ? "use a newer holdfast" : "use the holdfast version that wrote it");
  out->repo = json_get_uuid(&r, "repository");
  out->created_ns = json_get_u64(&r, "created_ns", INT64_MAX);
  json_get_hex(&r, "mac", out->mac, sizeof out->mac);
  const json_t *features = json_get_object(&r, "features");
  const json_t *algorithms = json_get_object(&r, "algorithms");
  TRY(json_reader_end(&r));
  TRY(check_algorithms(algorithms));
  return check_features(features, out);
}

Error *marker_parse(Bytes text, Marker *out) {
  AUTO_JSON json_t *doc = NULL;
  TRY(json_parse_object(text, MARKER_KEY, &doc));
  Marker marker = {0};
  TRY(parse_fields(doc, &marker));
  TRY(json_check_form(text, doc, MARKER_KEY));
  json_object_del(doc, "mac");
  json_dump_sorted(doc, &marker.unsigned_text);
  *out = marker;
  return NULL;
}

Error *marker_verify(const Marker *marker, const Keys *keys) {
  uint8_t mac[32];
  blake3_keyed(keys->mac, marker->unsigned_text.data, marker->unsigned_text.len, mac);
  if (secret_equal(mac, marker->mac, sizeof mac)) return NULL;
  return err_hint(err_new(ERR_CORRUPT, "holdfast.json: not as it was written: its authentication code is wrong"),
                  "restore it from a copy of the repository; somebody or something changed it");
}
