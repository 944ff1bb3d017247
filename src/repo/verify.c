#include "repo/verify.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/timefmt.h"
#include "codec/secret.h"
#include "repo/content_runs.h"
#include "repo/damage.h"
#include "repo/frames.h"
#include "repo/grant.h"
#include "repo/marker.h"
#include "repo/names.h"
#include "repo/plan.h"
#include "repo/repo_impl.h"
#include "repo/uuid.h"
#include "repo/verify_impl.h"

Error *verify_report(Verify *v, const char *object, Error *take) {
  if (!take) return NULL;
  ErrCode code = err_code(take);
  if (code == ERR_CANCELLED || code == ERR_UNREACHABLE || code == ERR_TEMPORARY || code == ERR_TIMEOUT) return take;
  LOCKED(&v->lock);
  v->stats->damaged++;
  v->hooks->damaged(v->hooks->ctx, object, take);
  err_free(take);
  return NULL;
}

static void count_object(Verify *v) {
  LOCKED(&v->lock);
  v->stats->objects++;
}

/* ---- level 0: small objects
 * ---------------------------------------------------------------------------------------------- */

static Error *check_marker(Verify *v) {
  AUTO_BUF Buf text = {0};
  Marker marker = {0};
  Error *err = store_get_all(v->repo->store, MARKER_KEY, MARKER_SIZE_MAX, &text, v->cancel);
  if (!err) err = marker_parse(buf_bytes(&text), &marker);
  if (!err) err = marker_verify(&marker, v->repo->keys);
  marker_free(&marker);
  count_object(v);
  return verify_report(v, MARKER_KEY, err);
}

/* *ours false: left by an init of another repository that was interrupted. */
static Error *read_slot(Verify *v, const char *key, Slot *out, bool *ours) {
  AUTO_BUF Buf text = {0};
  TRY(store_get_all(v->repo->store, key, SLOT_SIZE_MAX, &text, v->cancel));
  TRY(slot_parse(buf_bytes(&text), out));
  *ours = uuid_equal(&out->repo, &v->repo->keys->repo);
  return NULL;
}

static Error *open_slot(Verify *v, const char *key) {
  Slot slot;
  bool ours;
  TRY(read_slot(v, key, &slot, &ours));
  char id[UUID_TEXT_LEN];
  if (strcmp(strrchr(key, '/') + 1, uuid_text(&slot.id, id)) != 0)
    return err_new(ERR_CORRUPT, "holds another slot than its name says");
  bool granted;
  TRY(repo_slot_granted(v->repo, &slot.id, &granted, v->cancel));
  if (!ours && !granted) return NULL;
  if (!ours) return err_new(ERR_CORRUPT, "says it belongs to another repository");
  TRY(slot_verify(&slot, v->repo->keys));
  return granted ? NULL : err_new(ERR_CORRUPT, "the keyring has nothing for it: it opens nothing");
}

/* keyring/<epoch>/slots/<slot> of a slot that is gone or was never finished says nothing to anybody. */
static Error *grant_matters(Verify *v, const char *key, bool *matters) {
  char slot_key[96];
  const char *slot_text = strstr(key, "/slots/");
  *matters = true;
  if (!slot_text) return NULL;
  snprintf(slot_key, sizeof slot_key, "keys/%s", slot_text + strlen("/slots/"));
  Slot slot;
  Error *err = read_slot(v, slot_key, &slot, matters);
  if (err_is(err, ERR_NOT_FOUND)) *matters = false;
  if (!err_is(err, ERR_NOT_FOUND) && !err_is(err, ERR_CORRUPT)) return err;
  err_free(err); /* a damaged slot is reported as itself */
  return NULL;
}

static Error *open_grant(Verify *v, const char *key) {
  bool matters;
  TRY(grant_matters(v, key, &matters));
  if (!matters) return NULL;
  AUTO_BUF Buf body = {0};
  TRY(store_get_all(v->repo->store, key, OBJECT_BODY_MAX, &body, v->cancel));
  return grant_verify(v->repo->keys, key, buf_bytes(&body));
}

/* keyring/<epoch>/data/<id>, …/slots/<slot> or …/grant */
static Error *open_keyring(Verify *v, const char *key) {
  const char *id_text = strrchr(key, '/') + 1;
  uint8_t id[DATA_KEY_ID_LEN], secret[KEY_LEN];
  if (strstr(key, "/slots/") || str_ends(key, "/grant")) return open_grant(v, key);
  if (!strstr(key, "/data/") || strlen(id_text) != 2 * DATA_KEY_ID_LEN || !hex_decode(id_text, id, sizeof id))
    return NULL;
  Error *err = repo_data_key_fetch(v->repo, id, secret, v->cancel);
  secret_wipe(secret, sizeof secret);
  if (!err_is(err, ERR_CORRUPT)) return err;
  if (v->bad_keys_len == v->bad_keys_cap) {
    v->bad_keys_cap = v->bad_keys_cap ? v->bad_keys_cap * 2 : 16;
    v->bad_keys = (BadKey *)mem_resize(v->bad_keys, v->bad_keys_cap, sizeof *v->bad_keys);
  }
  BadKey *bad = &v->bad_keys[v->bad_keys_len++];
  *bad = (BadKey){.name = mem_strdup(key), .err = err};
  memcpy(bad->id.b, id, sizeof bad->id.b);
  return NULL;
}

static Error *open_session(Verify *v, const char *key) {
  const char *record = strrchr(key, '/') + 1;
  ObjectType type = strcmp(record, "begin") == 0 ? OBJECT_SESSION
                    : strcmp(record, "end") == 0 ? OBJECT_SESSION_END
                                                 : OBJECT_BEAT;
  AUTO_BUF Buf body = {0};
  return repo_get_object(v->repo, type, key, &body, NULL, v->cancel);
}

static Error *open_series(Verify *v, const char *key) {
  AUTO_BUF Buf body = {0};
  TRY(repo_get_object(v->repo, OBJECT_SERIES, key, &body, NULL, v->cancel));
  Series series;
  TRY(series_decode(buf_bytes(&body), &series));
  series_free(&series);
  return NULL;
}

static Error *open_plan(Verify *v, const char *key) {
  AUTO_BUF Buf body = {0};
  TRY(repo_get_object(v->repo, OBJECT_PLAN, key, &body, NULL, v->cancel));
  UuidSet plans = {0};
  Error *err = plan_decode(buf_bytes(&body), &plans);
  uuid_set_free(&plans);
  return err;
}

static Error *open_damage(Verify *v, const char *key) {
  Damage damage;
  TRY(damage_read(v->repo, key, &damage, v->cancel));
  damage_free(&damage);
  return NULL;
}

static Error *open_segment(Verify *v, const char *key) {
  AUTO_BUF Buf body = {0};
  Segment view;
  Error *err = repo_get_object(v->repo, OBJECT_SEGMENT, key, &body, NULL, v->cancel);
  if (!err) err = segment_open(buf_bytes(&body), &view);
  if (err) v->bad_segments++;
  return err;
}

/* An index reads on without a segment that was good a moment ago; whoever verifies must know. */
static Error *check_segments(Verify *v, const Index *index) {
  size_t broken = index_broken_segments(index);
  if (broken <= v->bad_segments) return NULL;
  return verify_report(v, "index/", err_new(ERR_IO, "%zu segment(s) could not be read", broken - v->bad_segments));
}

/* Readers do without, writers must not: what is in no segment does not count as stored. */
static Error *check_segments_missing(Verify *v, const Index *index) {
  size_t hits = index_salvage_hits(index);
  if (hits == 0 || index_broken_segments(index)) return NULL;
  return verify_report(v, "index/",
                       err_new(ERR_CORRUPT, "a segment is missing: snapshots need packs that no segment names"));
}

/* Without it all slots would fall back to an older epoch. */
static Error *check_newest_grant(Verify *v) {
  if (v->repo->keys->epochs < 2) return NULL;
  char key[96];
  snprintf(key, sizeof key, "keyring/%08u/grant", v->repo->keys->epochs - 1);
  StoreStat stat;
  count_object(v);
  return verify_report(v, key, store_stat(v->repo->store, key, &stat, v->cancel));
}

static Error *check_objects(Verify *v) {
  static const struct {
    const char *prefix;
    Error *(*open)(Verify *, const char *key);
  } kinds[] = {{"keys/", open_slot},  {"keyring/", open_keyring}, {"series/", open_series}, {"sessions/", open_session},
               {"plans/", open_plan}, {"index/", open_segment},   {"damaged/", open_damage}};
  TRY(check_marker(v));
  TRY(check_newest_grant(v));
  for (size_t k = 0; k < NELEMS(kinds); k++) {
    AUTO_STRLIST StrList keys = {0};
    TRY(repo_list_keys(v->repo, kinds[k].prefix, &keys, v->cancel));
    for (size_t i = 0; i < keys.len; i++) {
      TRY(cancel_check(v->cancel));
      if (!name_is_object(keys.items[i])) continue; /* somebody left it there: no damage */
      count_object(v);
      TRY(verify_report(v, keys.items[i], kinds[k].open(v, keys.items[i])));
    }
  }
  return NULL;
}

Error *verify_noted(Verify *v, Index *index, const Uuid *pack) {
  char name[PACK_NAME_LEN], key[DAMAGE_KEY_LEN], when[36] = "earlier";
  Damage damage = {0};
  err_ignore(damage_read(v->repo, damage_key(pack, key), &damage, v->cancel));
  bool replaced = damage.exact && verify_frames_elsewhere(index, damage.frames, damage.frames_len);
  Error *err = damage.exact ? NULL : verify_is_replaced(index, pack, &replaced);
  if (!err && replaced) v->stats->replaced++;
  if (!err && !replaced) {
    if (damage.reason) time_format_local(damage.time_ns, when);
    err = err_new(ERR_CORRUPT, "found damaged %s (%s), and what is damaged is not all stored elsewhere", when,
                  damage.reason ? damage.reason : "its note does not open");
    err = verify_report(v, pack_name(pack, name), err);
  }
  damage_free(&damage);
  return err;
}

typedef struct Presence {
  Verify *v;
  Index *index;
} Presence;

static Error *check_presence(void *ctx, const IndexPack *pack) {
  Verify *v = ((Presence *)ctx)->v;
  count_object(v);
  char name[PACK_NAME_LEN];
  pack_name(&pack->id, name);
  if (pack->present) {
    bool read_later = v->options->level >= 3; /* and is then judged by what it is today */
    return pack->doubted && !read_later ? verify_noted(v, ((Presence *)ctx)->index, &pack->id) : NULL;
  }
  bool replaced;
  TRY(verify_is_replaced(((Presence *)ctx)->index, &pack->id, &replaced));
  if (replaced) {
    v->stats->replaced++;
    return NULL;
  }
  StoreStat stat;
  Error *err = store_stat(v->repo->store, name, &stat, v->cancel);
  if (!err && stat.size_bytes == pack->size)
    err = err_new(ERR_CORRUPT, "its data key is gone from the keyring: nothing in it can be opened");
  else if (!err)
    err = err_new(ERR_CORRUPT, "%llu bytes, should be %llu", (unsigned long long)stat.size_bytes,
                  (unsigned long long)pack->size);
  return verify_report(v, name, err);
}

/* ---- level 1: the metadata graph
 * ------------------------------------------------------------------------------------------ */

typedef struct Graph {
  Verify *v;
  Index *index;
  FrameSource *source;
  Map *seen; /* tree nodes that are good */
  const char *snapshot_key;
  uint64_t missing;
  Error *first_missing;
} Graph;

static bool graph_seen(void *ctx, const FrameId *node) {
  Graph *g = (Graph *)ctx;
  return map_set(g->seen, bytes(node->b, sizeof node->b), g) != NULL;
}

static Error *graph_frame(void *ctx, FrameType type, const FrameId *id) {
  Graph *g = (Graph *)ctx;
  if (frame_id_is_hole(id)) return NULL;
  if (type == FRAME_MAP) {
    if (map_get(g->seen, bytes(id->b, sizeof id->b))) return NULL;
    AUTO_BUF Buf raw = {0};
    TRY(g->source->get(g->source, FRAME_MAP, id, &raw));
    map_set(g->seen, bytes(id->b, sizeof id->b), g);
    return NULL;
  }
  const char *bad_pack = (const char *)map_get(g->v->bad_frames, bytes(id->b, sizeof id->b));
  if (bad_pack && !index_find_good(g->index, type, id, NULL))
    return err_new(ERR_CORRUPT, "a part of it is damaged in %s", bad_pack);
  if (index_find(g->index, type, id, NULL)) return NULL;
  TRY(index_salvage(g->index, g->v->cancel));
  if (index_find(g->index, type, id, NULL)) return NULL; /* check_segments tells */
  return err_new(ERR_CORRUPT, "a part of it is in no pack that is present");
}

static Error *graph_entry(void *ctx, const TreeEntry *entry) {
  Graph *g = (Graph *)ctx;
  TRY(cancel_check(g->v->cancel));
  Error *err = content_visit(g->source, &entry->content, graph_frame, g);
  if (!err || err_is(err, ERR_CANCELLED)) return err;
  g->missing++;
  AUTO_FREE char *path = str_printable(entry->entry.path);
  err = err_wrap(err, "file %s", path);
  return verify_report(g->v, g->snapshot_key, err);
}

static Error *graph_broken(void *ctx, Bytes first_path, Error *take) {
  Graph *g = (Graph *)ctx;
  AUTO_FREE char *path = str_printable(first_path);
  return verify_report(g->v, g->snapshot_key, err_wrap(take, "what it has from \"%s\" on", path));
}

static uint64_t damage_so_far(Verify *v) {
  LOCKED(&v->lock);
  return v->stats->damaged;
}

static Error *check_snapshot(Graph *g, const Snapshot *s) {
  static const TreeWalk walk = {.skip = graph_seen, .entry = graph_entry, .broken = graph_broken};
  uint64_t before = damage_so_far(g->v);
  g->snapshot_key = s->key;
  TRY(verify_report(g->v, s->key, tree_walk(g->source, &s->root, &walk, g)));
  if (damage_so_far(g->v) == before) return NULL;
  /* What this snapshot shares with the next is damaged there as well: it must be looked at again. */
  map_free(g->seen);
  g->seen = map_new();
  return NULL;
}

/* The record that says whose snapshot it is. */
static Error *check_series(Verify *v, const Snapshot *s, const StrList *series) {
  char prefix[64], id[UUID_TEXT_LEN];
  snprintf(prefix, sizeof prefix, "series/%s/", uuid_text(&s->series, id));
  for (size_t i = 0; i < series->len; i++)
    if (str_starts(series->items[i], prefix)) return NULL;
  return verify_report(v, prefix, err_new(ERR_CORRUPT, "no record, but %s is of that series", s->key));
}

typedef struct BrokenSnapshot {
  Verify *v;
  Error *err;
} BrokenSnapshot;

static void snapshot_broken(void *ctx, const char *key, const Error *err) {
  BrokenSnapshot *b = (BrokenSnapshot *)ctx;
  count_object(b->v);
  b->err = err_first(b->err, verify_report(b->v, key, err_copy(err)));
}

static Error *check_snapshots(Verify *v, Index *index) {
  SnapshotList list = {0};
  BrokenSnapshot broken = {.v = v};
  TRY(snapshot_list(v->repo, NULL, &list, snapshot_broken, &broken, v->cancel));
  AUTO_STRLIST StrList series = {0};
  Error *err = err_first(broken.err, repo_list_keys(v->repo, "series/", &series, v->cancel));
  FrameReader *reader = frame_reader_new(v->repo, index, v->cancel);
  Graph g = {.v = v, .index = index, .source = frame_reader_source(reader), .seen = map_new()};
  for (size_t i = 0; i < list.len && !err; i++) {
    if (v->options->snapshot && !uuid_equal(v->options->snapshot, &list.items[i].id)) continue;
    count_object(v);
    v->stats->snapshots++;
    err = check_series(v, &list.items[i], &series);
    if (err) break;
    if (v->options->level >= 1) err = check_snapshot(&g, &list.items[i]);
  }
  map_free(g.seen);
  frame_reader_free(reader);
  snapshot_list_free(&list);
  return err;
}

/* ---- all
 * -----------------------------------------------------------------------------------------------------------------------
 */

/* The packs under a data key that does not open are as good as gone. */
static Error *check_bad_key(Verify *v, Index *index, BadKey *bad) {
  UuidSet packs = {0};
  index_packs_under(index, &bad->id, &packs);
  for (size_t i = 0; i < packs.len; i++) index_doubt(index, &packs.items[i], bad->err, v->cancel);
  bool replaced = packs.len > 0;
  Error *err = NULL;
  for (size_t i = 0; i < packs.len && replaced && !err; i++)
    err = verify_is_replaced(index, &packs.items[i], &replaced);
  uuid_set_free(&packs);
  return err || replaced ? err : verify_report(v, bad->name, STEAL(bad->err));
}

static Error *check_packs(Verify *v, Index *index) {
  Presence presence = {.v = v, .index = index};
  for (size_t i = 0; i < v->bad_keys_len; i++) TRY(check_bad_key(v, index, &v->bad_keys[i]));
  TRY(index_visit_packs(index, check_presence, &presence));
  progress_phase(v->options->progress, "reading packs", false);
  return v->options->level >= 2 ? verify_packs(v, index) : NULL;
}

static void bad_keys_free(Verify *v) {
  for (size_t i = 0; i < v->bad_keys_len; i++) {
    free(v->bad_keys[i].name);
    err_free(v->bad_keys[i].err);
  }
  free(v->bad_keys);
}

static Error *verify_run(Verify *v) {
  progress_phase(v->options->progress, "checking objects", false);
  TRY(check_objects(v));
  Index *index;
  Error *err = index_open_reading(v->repo, &index, v->cancel);
  if (err) return verify_report(v, "index/", err); /* without an index nothing more can be said */
  err = check_segments(v, index);
  if (!err) err = check_packs(v, index);
  progress_phase(v->options->progress, "checking snapshots", false);
  if (!err) err = check_snapshots(v, index);
  if (!err) err = check_segments_missing(v, index);
  v->stats->unnoted = index_unnoted_packs(index) + v->unnoted;
  index_free(index);
  return err;
}

Error *repo_verify(Repo *repo, const VerifyOptions *options, const VerifyHooks *hooks, VerifyStats *stats,
                   Cancel *cancel) {
  Verify v = {.repo = repo, .options = options, .hooks = hooks, .stats = stats, .cancel = cancel};
  *stats = (VerifyStats){0};
  mutex_init(&v.lock, repo->sys);
  v.bad_frames = map_new();
  Error *err = verify_run(&v);
  map_free(v.bad_frames);
  strlist_free(&v.bad_packs);
  bad_keys_free(&v);
  mutex_free(&v.lock);
  return err;
}
