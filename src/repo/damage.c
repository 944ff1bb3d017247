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

Error *damage_note(Repo *repo, const Uuid *pack, const char *reason, Cancel *cancel) {
  TRY(repo_check_writable(repo));
  char key[DAMAGE_KEY_LEN];
  AUTO_FREE char *shown = mem_printf("%.*s", DAMAGE_REASON_MAX / 4, reason); /* replaced bytes become longer */
  AUTO_JSON json_t *doc = json_object();
  json_set_u64(doc, "time_ns", sys_now_ns(repo->sys));
  json_set_str(doc, "reason", shown);
  AUTO_BUF Buf body = {0};
  json_dump_sorted(doc, &body);
  Error *err = repo_put_object(repo, OBJECT_DAMAGE, NULL, damage_key(pack, key), buf_bytes(&body), cancel);
  if (!err_is(err, ERR_EXISTS)) return err;
  err_free(err);
  return NULL;
}

Error *damage_clear(Repo *repo, const Uuid *pack, Cancel *cancel) {
  char key[DAMAGE_KEY_LEN];
  TRY(repo_check_writable(repo));
  return store_remove(repo->store, damage_key(pack, key), cancel);
}

Error *damage_decode(Bytes body, Damage *out) {
  AUTO_JSON json_t *doc = NULL;
  TRY(json_parse_object(body, "note of damage", &doc));
  JsonReader r = {.object = doc, .what = "note of damage"};
  uint64_t time_ns = json_get_u64(&r, "time_ns", INT64_MAX);
  const char *reason = json_get_str(&r, "reason", DAMAGE_REASON_MAX);
  TRY(json_reader_end(&r));
  *out = (Damage){.time_ns = time_ns, .reason = mem_strdup(reason)};
  return NULL;
}

Error *damage_read(Repo *repo, const char *key, Damage *out, Cancel *cancel) {
  AUTO_BUF Buf body = {0};
  TRY(repo_get_object(repo, OBJECT_DAMAGE, key, &body, NULL, cancel));
  return err_wrap(damage_decode(buf_bytes(&body), out), "%s", key);
}

void damage_free(Damage *damage) {
  free(damage->reason);
  *damage = (Damage){0};
}
