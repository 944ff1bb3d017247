#include "repo/snapshot.h"

#include <stdio.h>

#include "base/mem.h"
#include "repo/json.h"
#include "repo/names.h"
#include "repo/uuid.h"

enum {
  SNAPSHOT_FACTS_MAX = 16 * 1024 * 1024,
  SNAPSHOT_TEXT_MAX = 64 * 1024,
  SNAPSHOT_LABELS_MAX = 256,
  SNAPSHOT_NOTICES_MAX = 1000,
  NOTICE_KEPT = 8 * 1024, /* of each, so that all of them fit an object whatever paths they name */
};

static const char *const kind_names[] = {
    [SNAPSHOT_FULL] = "full", [SNAPSHOT_INCREMENTAL] = "incremental", [SNAPSHOT_DIFFERENTIAL] = "differential"};

const char *snapshot_kind_name(SnapshotKind kind) { return kind_names[kind]; }

void snapshot_free(Snapshot *s) {
  char *texts[] = {s->source,       s->engine,      s->host,         s->address, s->facts_json,
                   s->log_position, s->description, s->tool_version, s->key};
  for (size_t i = 0; i < NELEMS(texts); i++) free(texts[i]);
  for (size_t i = 0; i < s->labels_len; i++) {
    free(s->labels[i].key);
    free(s->labels[i].value);
  }
  free(s->labels);
  for (size_t i = 0; i < s->notices_len; i++) free(s->notices[i]);
  free(s->notices);
  *s = (Snapshot){0};
}

void snapshot_list_free(SnapshotList *list) {
  for (size_t i = 0; i < list->len; i++) snapshot_free(&list->items[i]);
  free(list->items);
  *list = (SnapshotList){0};
}

/* ---- encoding
 * ---------------------------------------------------------------------------------------------------------- */

static json_t *stats_json(const SnapshotStats *stats) {
  json_t *doc = json_object();
  json_set_u64(doc, "files", stats->files);
  json_set_u64(doc, "entries", stats->entries);
  json_set_u64(doc, "source_bytes", stats->source_bytes);
  json_set_u64(doc, "read_bytes", stats->read_bytes);
  json_set_u64(doc, "new_bytes", stats->new_bytes);
  json_set_u64(doc, "stored_bytes", stats->stored_bytes);
  json_set_u64(doc, "duration_ns", stats->duration_ns);
  return doc;
}

static json_t *root_json(const TreeRoot *root) {
  json_t *doc = json_object();
  json_set_hex(doc, "id", root->id.b, sizeof root->id.b);
  json_set_u64(doc, "entries", root->entries);
  json_set_u64(doc, "bytes", root->bytes);
  return doc;
}

static json_t *notice_json(const char *notice) {
  AUTO_FREE char *text = str_printable(bytes_str(notice));
  size_t len = strlen(text);
  if (len > NOTICE_KEPT) {
    len = NOTICE_KEPT;
    while (len && ((uint8_t)text[len] & 0xc0) == 0x80) len--; /* between characters */
    text[len] = '\0';
  }
  return json_string(text);
}

void snapshot_encode(const Snapshot *s, Buf *out) {
  AUTO_JSON json_t *doc = json_object();
  char id[UUID_TEXT_LEN];
  json_set_u64(doc, "v", 1);
  json_set_str(doc, "id", uuid_text(&s->id, id));
  json_set_str(doc, "series", uuid_text(&s->series, id));
  json_set_str(doc, "source", s->source);
  json_set_str(doc, "engine", s->engine);
  json_set_str(doc, "host", s->host);
  json_set_str(doc, "address", s->address);
  json_set_str(doc, "kind", kind_names[s->kind]);
  json_set_u64(doc, "time_ns", s->time_ns);
  json_set_u64(doc, "end_ns", s->end_ns);
  json_object_set_new(doc, "zone_minutes", json_integer(s->zone_minutes));
  json_object_set_new(doc, "root", root_json(&s->root));
  json_set_str(doc, "facts", s->facts_json ? s->facts_json : "{}");
  json_set_str(doc, "log_position", s->log_position);
  json_set_str(doc, "description", s->description);
  json_object_set_new(doc, "damaged", json_boolean(s->damaged));
  json_object_set_new(doc, "partial", json_boolean(s->partial));
  json_set_str(doc, "parent", s->has_parent ? uuid_text(&s->parent, id) : NULL);
  json_set_str(doc, "tool_version", s->tool_version);
  json_object_set_new(doc, "stats", stats_json(&s->stats));
  json_t *labels = json_object();
  for (size_t i = 0; i < s->labels_len && i < SNAPSHOT_LABELS_MAX; i++)
    json_set_str(labels, s->labels[i].key, s->labels[i].value);
  json_object_set_new(doc, "labels", labels);
  json_t *notices = json_array();
  for (size_t i = 0; i < s->notices_len && i < SNAPSHOT_NOTICES_MAX; i++)
    json_array_append_new(notices, notice_json(s->notices[i]));
  json_object_set_new(doc, "notices", notices);
  json_dump_sorted(doc, out);
}

/* ---- decoding
 * ---------------------------------------------------------------------------------------------------------- */

static Error *decode_stats(const json_t *doc, SnapshotStats *out) {
  JsonReader r = {.object = doc, .what = "snapshot stats"};
  *out = (SnapshotStats){.files = json_get_u64(&r, "files", INT64_MAX),
                         .entries = json_get_u64(&r, "entries", INT64_MAX),
                         .source_bytes = json_get_u64(&r, "source_bytes", INT64_MAX),
                         .read_bytes = json_get_u64(&r, "read_bytes", INT64_MAX),
                         .new_bytes = json_get_u64(&r, "new_bytes", INT64_MAX),
                         .stored_bytes = json_get_u64(&r, "stored_bytes", INT64_MAX),
                         .duration_ns = json_get_u64(&r, "duration_ns", INT64_MAX)};
  return json_reader_end(&r);
}

static Error *decode_root(const json_t *doc, TreeRoot *out) {
  JsonReader r = {.object = doc, .what = "snapshot root"};
  json_get_hex(&r, "id", out->id.b, sizeof out->id.b);
  out->entries = json_get_u64(&r, "entries", INT64_MAX);
  out->bytes = json_get_u64(&r, "bytes", INT64_MAX);
  return json_reader_end(&r);
}

static Error *decode_labels(const json_t *doc, Snapshot *out) {
  if (json_object_size(doc) > SNAPSHOT_LABELS_MAX) return err_new(ERR_LIMIT, "snapshot: too many labels");
  out->labels = NEW_ARRAY(Label, json_object_size(doc));
  for (void *it = json_object_iter((json_t *)(uintptr_t)doc); it;
       it = json_object_iter_next((json_t *)(uintptr_t)doc, it)) {
    const char *value = json_string_value(json_object_iter_value(it));
    if (!value || strlen(value) > SNAPSHOT_TEXT_MAX || strlen(json_object_iter_key(it)) > SNAPSHOT_TEXT_MAX)
      return err_new(ERR_CORRUPT, "snapshot: a label is no text of the allowed length");
    out->labels[out->labels_len++] = (Label){.key = mem_strdup(json_object_iter_key(it)), .value = mem_strdup(value)};
  }
  return NULL;
}

static Error *decode_notices(const json_t *doc, Snapshot *out) {
  if (json_array_size(doc) > SNAPSHOT_NOTICES_MAX) return err_new(ERR_LIMIT, "snapshot: too many notices");
  out->notices = NEW_ARRAY(char *, json_array_size(doc));
  size_t i;
  const json_t *item;
  json_array_foreach(doc, i, item) {
    if (!json_is_string(item) || json_string_length(item) > SNAPSHOT_TEXT_MAX)
      return err_new(ERR_CORRUPT, "snapshot: a notice is no text of the allowed length");
    out->notices[out->notices_len++] = mem_strdup(json_string_value(item));
  }
  return NULL;
}

static Error *decode_kind(JsonReader *r, SnapshotKind *out) {
  const char *kind = json_get_str(r, "kind", 32);
  for (size_t k = 0; k < NELEMS(kind_names); k++) {
    if (strcmp(kind, kind_names[k]) != 0) continue;
    *out = (SnapshotKind)k;
    return NULL;
  }
  return err_new(ERR_CORRUPT, "snapshot: unknown kind");
}

static Error *decode_zone(const json_t *doc, int32_t *out) {
  const json_t *zone = json_object_get(doc, "zone_minutes");
  if (!json_is_integer(zone) || json_integer_value(zone) < -1440 || json_integer_value(zone) > 1440)
    return err_new(ERR_CORRUPT, "snapshot: bad time zone");
  *out = (int32_t)json_integer_value(zone);
  return NULL;
}

static Error *decode_parts(const json_t *doc, JsonReader *r, Snapshot *s) {
  TRY(decode_kind(r, &s->kind));
  TRY(decode_zone(doc, &s->zone_minutes));
  const json_t *root = json_get_object(r, "root"), *stats = json_get_object(r, "stats");
  const json_t *labels = json_get_object(r, "labels"), *notices = json_get_array(r, "notices");
  const char *parent = json_get_opt_str(r, "parent", 32);
  s->has_parent = parent != NULL;
  if (parent && !uuid_parse(parent, &s->parent)) return err_new(ERR_CORRUPT, "snapshot: bad parent");
  TRY(json_reader_end(r));
  TRY(decode_root(root, &s->root));
  TRY(decode_stats(stats, &s->stats));
  TRY(decode_labels(labels, s));
  return decode_notices(notices, s);
}

Error *snapshot_decode(Bytes body, Snapshot *out) {
  AUTO_JSON json_t *doc = NULL;
  TRY(json_parse_object(body, "snapshot", &doc));
  JsonReader r = {.object = doc, .what = "snapshot"};
  uint64_t v = json_get_u64(&r, "v", INT64_MAX);
  TRY(json_reader_end(&r));
  if (v != 1)
    return err_new(ERR_UNSUPPORTED, "snapshot: version %llu is not known to this program", (unsigned long long)v);
  Snapshot s = {.id = json_get_uuid(&r, "id"),
                .series = json_get_uuid(&r, "series"),
                .source = mem_strdup(json_get_str(&r, "source", SNAPSHOT_TEXT_MAX)),
                .engine = mem_strdup(json_get_str(&r, "engine", 64)),
                .host = mem_strdup(json_get_opt_str(&r, "host", SNAPSHOT_TEXT_MAX)),
                .address = mem_strdup(json_get_opt_str(&r, "address", SNAPSHOT_TEXT_MAX)),
                .time_ns = json_get_u64(&r, "time_ns", INT64_MAX),
                .end_ns = json_get_u64(&r, "end_ns", INT64_MAX),
                .facts_json = mem_strdup(json_get_str(&r, "facts", SNAPSHOT_FACTS_MAX)),
                .log_position = mem_strdup(json_get_opt_str(&r, "log_position", SNAPSHOT_TEXT_MAX)),
                .description = mem_strdup(json_get_opt_str(&r, "description", SNAPSHOT_TEXT_MAX)),
                .damaged = json_get_bool(&r, "damaged"),
                .partial = json_get_bool(&r, "partial"),
                .tool_version = mem_strdup(json_get_opt_str(&r, "tool_version", 256))};
  Error *err = decode_parts(doc, &r, &s);
  err = err_first(err, json_reader_end(&r));
  if (err)
    snapshot_free(&s);
  else
    *out = s;
  return err;
}

/* ---- in the store
 * --------------------------------------------------------------------------------------------------------- */

/* Whether the put may have happened although it failed. */
static bool may_be_there(const Error *err) {
  return err_is(err, ERR_EXISTS) || err_is(err, ERR_TEMPORARY) || err_is(err, ERR_TIMEOUT) || err_is(err, ERR_IO);
}

/* The commit key is taken, or may be: by a collector's fence, or by ourselves with the answer lost. */
static Error *resolve_taken(Repo *repo, const Session *session, Error *take, Cancel *cancel) {
  AUTO_BUF Buf body = {0};
  Error *err = repo_get_object(repo, OBJECT_SNAPSHOT, session->commit_key, &body, NULL, cancel);
  Snapshot found = {0};
  if (!err) err = snapshot_decode(buf_bytes(&body), &found);
  bool ours = !err && uuid_equal(&found.id, &session->snapshot);
  snapshot_free(&found);
  bool unread =
      err && err_is(take, ERR_EXISTS) && !err_is(err, ERR_CORRUPT); /* what a fence gives is not: it is no snapshot */
  if (unread) {
    err_free(take);
    return err_wrap(err, "looking at what stands in the place of the snapshot");
  }
  err_free(err);
  if (ours) {
    err_free(take);
    return NULL;
  }
  if (!err_is(take, ERR_EXISTS)) return take;
  return err_hint(err_recode(take, ERR_REFUSED),
                  "this backup was taken for dead and fenced off by a collector; nothing is lost, run it again");
}

Error *snapshot_commit(Repo *repo, const Session *session, const Snapshot *snapshot, Cancel *cancel) {
  AUTO_BUF Buf body = {0};
  snapshot_encode(snapshot, &body);
  /* A snapshot beyond the limits must fail here, not whenever snapshots are listed. */
  Snapshot readable = {0};
  TRY(err_wrap(snapshot_decode(buf_bytes(&body), &readable), "the new snapshot could not be read back"));
  snapshot_free(&readable);
  Error *err = repo_put_object(repo, OBJECT_SNAPSHOT, &snapshot->series, session->commit_key, buf_bytes(&body), cancel);
  if (may_be_there(err)) err = resolve_taken(repo, session, err, cancel);
  return err_wrap(err, "committing the snapshot");
}

static Error *check_place(const Snapshot *s, const char *key, const ObjectHeader *header) {
  char series[UUID_TEXT_LEN], id[UUID_TEXT_LEN];
  uuid_text(&s->series, series);
  uuid_text(&s->id, id);
  bool right = strncmp(key + strlen("snapshots/"), series, 32) == 0 && str_ends(key, id) &&
               uuid_equal(&header->series, &s->series);
  return right ? NULL : err_new(ERR_CORRUPT, "%s: holds another snapshot than its name says", key);
}

/* *is_fence: the place is taken by a fence, there is no snapshot. */
static Error *read_snapshot(Repo *repo, const char *key, Snapshot *out, bool *is_fence, Cancel *cancel) {
  AUTO_BUF Buf sealed = {0}, body = {0};
  TRY(err_wrap(store_get_all(repo->store, key, (uint64_t)OBJECT_BODY_MAX + 4096, &sealed, cancel), "reading %s", key));
  *is_fence = sealed.len > 5 && sealed.data[5] == OBJECT_FENCE;
  ObjectHeader header;
  TRY(object_open(repo->keys, *is_fence ? OBJECT_FENCE : OBJECT_SNAPSHOT, key, buf_bytes(&sealed), &body, &header));
  if (*is_fence) return NULL;
  TRY(err_wrap(snapshot_decode(buf_bytes(&body), out), "%s", key));
  Error *err = check_place(out, key, &header);
  if (err)
    snapshot_free(out);
  else
    out->key = mem_strdup(key);
  return err;
}

static int snapshot_order(const void *a, const void *b) {
  const Snapshot *x = (const Snapshot *)a, *y = (const Snapshot *)b;
  if (x->time_ns != y->time_ns) return x->time_ns < y->time_ns ? -1 : 1;
  return memcmp(x->id.b, y->id.b, sizeof x->id.b);
}

Error *snapshot_list(Repo *repo, const Uuid *series, SnapshotList *out, SnapshotBroken *broken, void *ctx,
                     Cancel *cancel) {
  char prefix[64] = "snapshots/", id[UUID_TEXT_LEN];
  if (series) snprintf(prefix, sizeof prefix, "snapshots/%s/", uuid_text(series, id));
  AUTO_STRLIST StrList keys = {0};
  TRY(repo_list_keys(repo, prefix, &keys, cancel));
  SnapshotList list = {.items = NEW_ARRAY(Snapshot, keys.len)};
  for (size_t i = 0; i < keys.len; i++) {
    if (!name_is_object(keys.items[i])) continue; /* somebody's note or copy */
    bool is_fence;
    Error *err = read_snapshot(repo, keys.items[i], &list.items[list.len], &is_fence, cancel);
    if (!err && !is_fence) list.len++;
    if (!err) continue;
    if (!broken || err_is(err, ERR_CANCELLED)) {
      snapshot_list_free(&list);
      return err;
    }
    broken(ctx, keys.items[i], err);
    err_free(err);
  }
  if (list.len) qsort(list.items, list.len, sizeof *list.items, snapshot_order);
  *out = list;
  return NULL;
}
