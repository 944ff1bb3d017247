#include "repo/damage.h"

#include <stdio.h>

#include "base/mem.h"
#include "repo/json.h"
#include "repo/uuid.h"

static const char PREFIX[] = "damaged/";

char *damage_key(const Uuid *pack, char out[DAMAGE_KEY_LEN]) {
  char text[UUID_TEXT_LEN];
  snprintf(out, DAMAGE_KEY_LEN, "%s%s", PREFIX, uuid_text(pack, text));
  return out;
}

Error *damage_list(Repo *repo, UuidSet *out, Cancel *cancel) {
  AUTO_STRLIST StrList keys = {0};
  TRY(repo_list_keys(repo, PREFIX, &keys, cancel));
  UuidSet set = {0};
  for (size_t i = 0; i < keys.len; i++) {
    Uuid pack;
    if (uuid_parse(keys.items[i] + strlen(PREFIX), &pack)) uuid_set_add(&set, &pack);
  }
  uuid_set_sort(&set);
  *out = set;
  return NULL;
}

/* A frame is a digit for its type and its id. */
enum { FRAME_TEXT_LEN = 1 + 64 };

static json_t *frames_json(const DamagedFrame *frames, size_t len) {
  json_t *list = json_array();
  for (size_t i = 0; i < len; i++) {
    char text[FRAME_TEXT_LEN + 1];
    text[0] = (char)('0' + frames[i].type);
    hex_encode(frames[i].id.b, sizeof frames[i].id.b, text + 1);
    json_array_append_new(list, json_string(text));
  }
  return list;
}

static Error *put_note(Repo *repo, const Uuid *pack, const char *reason, json_t *take_frames, Cancel *cancel) {
  char key[DAMAGE_KEY_LEN];
  AUTO_FREE char *shown = mem_printf("%.*s", DAMAGE_REASON_MAX / 4, reason); /* replaced bytes become longer */
  AUTO_JSON json_t *doc = json_object();
  json_set_u64(doc, "time_ns", sys_now_ns(repo->sys));
  json_set_str(doc, "reason", shown);
  json_object_set_new(doc, "exact", json_boolean(take_frames != NULL));
  json_object_set_new(doc, "frames", take_frames ? take_frames : json_array());
  AUTO_BUF Buf body = {0};
  json_dump_sorted(doc, &body);
  return repo_put_object(repo, OBJECT_DAMAGE, NULL, damage_key(pack, key), buf_bytes(&body), cancel);
}

Error *damage_note(Repo *repo, const Uuid *pack, const char *reason, Cancel *cancel) {
  TRY(repo_check_writable(repo));
  Error *err = put_note(repo, pack, reason, NULL, cancel);
  if (!err_is(err, ERR_EXISTS)) return err;
  err_free(err);
  return NULL;
}

Error *damage_note_exact(Repo *repo, const Uuid *pack, const char *reason, const DamagedFrame *frames, size_t len,
                         Cancel *cancel) {
  CHECK(len <= DAMAGE_FRAMES_MAX);
  TRY(damage_clear(repo, pack, cancel));
  return put_note(repo, pack, reason, frames_json(frames, len), cancel);
}

Error *damage_clear(Repo *repo, const Uuid *pack, Cancel *cancel) {
  char key[DAMAGE_KEY_LEN];
  TRY(repo_check_writable(repo));
  return store_remove(repo->store, damage_key(pack, key), cancel);
}

static Error *frame_parse(const json_t *value, DamagedFrame *out) {
  const char *text = json_string_value(value);
  bool good = text && strlen(text) == FRAME_TEXT_LEN && text[0] >= '1' && text[0] <= '0' + FRAME_TYPE_MAX &&
              hex_decode(text + 1, out->id.b, sizeof out->id.b);
  if (!good) return err_new(ERR_CORRUPT, "note of damage: a frame is malformed");
  out->type = (FrameType)(text[0] - '0');
  return NULL;
}

Error *damage_decode(Bytes body, Damage *out) {
  AUTO_JSON json_t *doc = NULL;
  TRY(json_parse_object(body, "note of damage", &doc));
  JsonReader r = {.object = doc, .what = "note of damage"};
  uint64_t time_ns = json_get_u64(&r, "time_ns", INT64_MAX);
  const char *reason = json_get_str(&r, "reason", DAMAGE_REASON_MAX);
  bool exact = json_get_bool(&r, "exact");
  const json_t *frames = json_get_array(&r, "frames");
  TRY(json_reader_end(&r));
  size_t len = json_array_size(frames);
  if (len > DAMAGE_FRAMES_MAX) return err_new(ERR_LIMIT, "note of damage: %zu frames are too many", len);
  Damage damage = {.time_ns = time_ns, .reason = mem_strdup(reason), .exact = exact, .frames_len = len};
  damage.frames = NEW_ARRAY(DamagedFrame, len ? len : 1);
  Error *err = NULL;
  for (size_t i = 0; i < len && !err; i++) err = frame_parse(json_array_get(frames, i), &damage.frames[i]);
  if (err)
    damage_free(&damage);
  else
    *out = damage;
  return err;
}

Error *damage_read(Repo *repo, const char *key, Damage *out, Cancel *cancel) {
  AUTO_BUF Buf body = {0};
  TRY(repo_get_object(repo, OBJECT_DAMAGE, key, &body, NULL, cancel));
  return err_wrap(damage_decode(buf_bytes(&body), out), "%s", key);
}

void damage_free(Damage *damage) {
  free(damage->reason);
  free(damage->frames);
  *damage = (Damage){0};
}
