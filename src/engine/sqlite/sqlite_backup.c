/* Backup: each member's committed state into the sink, and what is known about it into the facts. */
#include <stdlib.h>

#include "base/mem.h"
#include "base/timefmt.h"
#include "engine/sqlite/sqlite_engine.h"
#include "engine/sqlite/sqlite_inspect.h"
#include "engine/sqlite/sqlite_members.h"

/* Up to these sizes a database is checked and its rows counted, or its content hashed as well, before it is stored: the
 * whole of it is read once more for each, which costs a fraction of a second here and would cost much in a large one.
 */
#define CHECKED_MAX (64 * MIB)
#define HASHED_MAX (16 * MIB)

enum { ATTEMPTS = 6 };

/* A file's times say that it is unchanged only if it was older than this when its content was read. */
#define TRUST_AGE_NS (2 * NS_PER_SECOND)

typedef struct Backup {
  const SqliteEngine *engine;
  const BackupPlan *plan;
  Sink *sink;
  Cancel *cancel;
  bool sink_failed; /* an error came from the sink: no other member can be stored */
  bool damaged;
  json_t *members;
} Backup;

static Error *from_sink(Backup *backup, Error *err) {
  if (err) backup->sink_failed = true;
  return err;
}

static void report(const Backup *backup, NoticeLevel level, const Member *member, const char *message) {
  backup->sink->notices->report(backup->sink->notices, level, bytes_str(member->tree_path), message);
}

/* ---- damage -------------------------------------------------------------------------------------------------- */

static Error *damage_error(const Member *member, const char *findings) {
  AUTO_FREE char *name = str_printable(bytes_str(member->path));
  return err_hint(
      err_new(ERR_DAMAGED, "backing up %s: the database is damaged: %s", name, findings),
      "save what can be read with `sqlite3 %s .recover`, or restore an older snapshot; --force stores it as "
      "it is, marked as damaged",
      name);
}

/* What integrity_check says about a state that something is wrong with; adds to `findings`, which may stay empty. */
static Error *ask_integrity(const Backup *backup, const Member *member, Snapshot *snapshot, Buf *findings) {
  View *view = NULL;
  bool ok;
  if (!snapshot_info(snapshot)->header_valid) return NULL;
  Error *err = view_open(snapshot, member->path, &view, backup->cancel);
  if (err) return err;
  Subject subject = {.db = view_db(view), .view = view, .path = member->path};
  err = inspect_integrity(&subject, false, &ok, findings);
  view_close(view);
  return err;
}

/* `take` says what was found first. With force it becomes a warning and the record, else an error with more detail. */
static Error *judge_damage(Backup *backup, const Member *member, Snapshot *snapshot, Error *take, json_t *facts) {
  AUTO_BUF Buf findings = {0};
  AUTO_BUF Buf more = {0};
  buf_add_str(&findings, err_text(take));
  err_free(take);
  Error *err = snapshot ? ask_integrity(backup, member, snapshot, &more) : NULL;
  if (err && !err_is(err, ERR_DAMAGED) && !err_is(err, ERR_UNSUPPORTED)) return err;
  err_free(err);
  if (more.len) buf_printf(&findings, "; integrity_check: %.*s", (int)more.len, (const char *)more.data);
  AUTO_FREE char *text = buf_steal_str(&findings);
  if (!backup->plan->force) return damage_error(member, text);
  AUTO_FREE char *message = mem_printf("stored although it is damaged: %s", text);
  report(backup, NOTICE_WARNING, member, message);
  AUTO_FREE char *printable = str_printable(bytes_str(text));
  (void)json_object_set_new(facts, "damage", json_string(printable));
  backup->damaged = true;
  return NULL;
}

/* ---- facts --------------------------------------------------------------------------------------------------- */

static void set_int(json_t *object, const char *key, uint64_t value) {
  (void)json_object_set_new(object, key, json_integer((json_int_t)value));
}

static void set_text(json_t *object, const char *key, const char *text) {
  AUTO_FREE char *printable = str_printable(bytes_str(text));
  (void)json_object_set_new(object, key, json_string(printable));
}

static void record_header(json_t *facts, const SnapshotInfo *info) {
  set_text(facts, "method", snapshot_method_name(info->method));
  set_int(facts, "size", info->size);
  if (info->recovered) (void)json_object_set_new(facts, "recovered", json_true());
  if (!info->header_valid) return;
  const DbHeader *h = &info->header;
  set_text(facts, "journal_mode", info->journal_mode[0] ? info->journal_mode : "rollback");
  set_int(facts, "page_size", h->page_size);
  set_int(facts, "page_count", info->page_count);
  set_int(facts, "wal_frames", info->wal_frames);
  set_int(facts, "change_counter", h->change_counter);
  set_int(facts, "schema_cookie", h->schema_cookie);
  set_int(facts, "user_version", h->user_version);
  set_int(facts, "application_id", h->application_id);
  set_text(facts, "encoding", db_encoding_name(h->encoding));
  set_text(facts, "auto_vacuum", db_auto_vacuum_name(h));
  set_int(facts, "writer_version", h->writer_version);
}

/* A schema that only a newer SQLite understands reads like a corrupt one. */
static bool is_from_the_future(const Snapshot *snapshot, const Error *err) {
  uint32_t writer = snapshot_info(snapshot)->header.writer_version;
  return err_is(err, ERR_DAMAGED) && writer > (uint32_t)sqlite3_libversion_number() &&
         strstr(err_text(err), "malformed database schema") != NULL;
}

static Error *check_small(const Subject *subject) {
  AUTO_BUF Buf findings = {0};
  bool ok = false;
  Error *err = inspect_integrity(subject, true, &ok, &findings);
  if (err_is(err, ERR_UNSUPPORTED)) { /* a collation or function of the application's: nothing is wrong */
    err_free(err);
    return NULL;
  }
  if (err || ok) return err;
  return err_new(ERR_DAMAGED, "quick_check: %.*s", (int)findings.len, (const char *)findings.data);
}

static Error *examine_view(const Backup *backup, const Subject *subject, Snapshot *snapshot, json_t *facts) {
  uint64_t size = snapshot_info(snapshot)->size;
  InspectDepth depth = size <= HASHED_MAX ? INSPECT_CONTENT : size <= CHECKED_MAX ? INSPECT_ROWS : INSPECT_SCHEMA;
  TRY(inspect_structure(subject, snapshot, backup->cancel));
  if (size <= CHECKED_MAX) TRY(check_small(subject));
  return inspect(subject, depth, facts);
}

/* Reads what tells whether the state is sound, and records it. */
static Error *examine(Backup *backup, const Member *member, Snapshot *snapshot, json_t *facts) {
  View *view = NULL;
  const SnapshotInfo *info = snapshot_info(snapshot);
  record_header(facts, info);
  if (info->method == SNAPSHOT_EMPTY) return NULL;
  if (!info->header_valid)
    return judge_damage(backup, member, NULL, err_new(ERR_DAMAGED, "its header is not one of a SQLite database"),
                        facts);
  if (info->truncated)
    return judge_damage(backup, member, snapshot, err_new(ERR_DAMAGED, "the file is shorter than the database"), facts);
  TRY(view_open(snapshot, member->path, &view, backup->cancel));
  Subject subject = {.db = view_db(view), .view = view, .path = member->path};
  Error *err = examine_view(backup, &subject, snapshot, facts);
  view_close(view);
  if (is_from_the_future(snapshot, err)) {
    AUTO_FREE char *message = mem_printf("stored, but not looked into: %s", err_text(err));
    report(backup, NOTICE_WARNING, member, message);
    err_free(err);
    return NULL;
  }
  return err_is(err, ERR_DAMAGED) ? judge_damage(backup, member, snapshot, err, facts) : err;
}

/* ---- content ------------------------------------------------------------------------------------------------- */

static int64_t time_ns(struct timespec t) { return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec; }

/* The change time is recorded only where the content is the main file's alone: it is what `keep` goes by. */
static Entry member_entry(const Member *member, const SnapshotInfo *info) {
  bool main_file = !info->overlaid && !info->recovered;
  return (Entry){
      .path = bytes_str(member->tree_path),
      .type = ENTRY_FILE,
      .mode = info->st.st_mode & 07777,
      .uid = info->st.st_uid,
      .gid = info->st.st_gid,
      .mtime_ns = time_ns(info->st.st_mtim),
      .ctime_ns = main_file ? time_ns(info->st.st_ctim) : 0,
      .inode = info->st.st_ino,
      .device = info->st.st_dev,
      .size = info->size,
  };
}

static Error *find_unchanged(Backup *backup, const Entry *entry, bool *out) {
  ParentEntry parent;
  bool found = false;
  *out = false;
  if (backup->plan->mode == BACKUP_FULL || entry->ctime_ns == 0) return NULL;
  TRY(from_sink(backup, backup->sink->ops->parent(backup->sink, entry->path, &parent, &found)));
  const Entry *p = &parent.entry;
  *out = found && p->type == ENTRY_FILE && p->ctime_ns == entry->ctime_ns && p->mtime_ns == entry->mtime_ns &&
         p->size == entry->size && p->inode == entry->inode && p->device == entry->device &&
         (uint64_t)entry->ctime_ns + TRUST_AGE_NS < parent.read_ns;
  return NULL;
}

static Error *copy_state(Backup *backup, Snapshot *snapshot, SinkStream *stream) {
  const SinkOps *ops = backup->sink->ops;
  uint64_t size = snapshot_info(snapshot)->size;
  for (uint64_t at = 0; at < size;) {
    uint8_t *buffer;
    size_t cap;
    TRY(cancel_check(backup->cancel));
    TRY(from_sink(backup, ops->buffer(stream, &buffer, &cap, backup->cancel)));
    size_t len = size - at < cap ? (size_t)(size - at) : cap;
    TRY(snapshot_read(snapshot, at, buffer, len, backup->cancel));
    TRY(from_sink(backup, ops->write(stream, len)));
    at += len;
  }
  return snapshot_verify(snapshot, backup->cancel);
}

static Error *store_stream(Backup *backup, const Entry *entry, Snapshot *snapshot) {
  const SinkOps *ops = backup->sink->ops;
  SinkStream *stream = NULL;
  TRY(from_sink(backup, ops->begin(backup->sink, entry, STREAM_PAGES, &stream, backup->cancel)));
  Error *err = copy_state(backup, snapshot, stream);
  if (!err) return from_sink(backup, ops->end(stream, entry));
  ops->abort(stream);
  return err;
}

static Error *store_state(Backup *backup, const Member *member, Snapshot *snapshot, json_t *facts) {
  bool unchanged;
  TRY(examine(backup, member, snapshot, facts));
  Entry entry = member_entry(member, snapshot_info(snapshot));
  if (entry.size == 0) return from_sink(backup, backup->sink->ops->add(backup->sink, &entry));
  TRY(find_unchanged(backup, &entry, &unchanged));
  if (!unchanged) return store_stream(backup, &entry, snapshot);
  TRY(snapshot_verify(snapshot, backup->cancel));
  return from_sink(backup, backup->sink->ops->keep(backup->sink, &entry));
}

/* ---- members ------------------------------------------------------------------------------------------------- */

/* A state that cannot even be opened is opened again as it is, for what integrity_check says about it. */
static Error *describe_unopened(Backup *backup, const Member *member, Error *take) {
  SnapshotOptions options = sqlite_engine_options(backup->engine);
  Snapshot *snapshot = NULL;
  options.raw = true;
  Error *err = snapshot_open(member->path, &options, &snapshot, backup->cancel);
  if (!err) take = judge_damage(backup, member, snapshot, take, NULL);
  err_free(err);
  snapshot_close(snapshot);
  return take;
}

/* One attempt. *again: a writer spoiled it. */
static Error *try_member(Backup *backup, const Member *member, bool settle, json_t *facts, bool *again) {
  SnapshotOptions options = sqlite_engine_options(backup->engine);
  Snapshot *snapshot = NULL;
  options.settle = settle;
  options.raw = backup->plan->force;
  Error *err = snapshot_open(member->path, &options, &snapshot, backup->cancel);
  *again = err_is(err, ERR_TEMPORARY);
  if (err_is(err, ERR_DAMAGED) && !options.raw) return describe_unopened(backup, member, err);
  if (!err) {
    err = store_state(backup, member, snapshot, facts);
    *again = err && snapshot_changed(snapshot) && !backup->sink_failed;
  }
  if (!err && snapshot_info(snapshot)->recovered)
    report(backup, NOTICE_WARNING, member,
           "an interrupted transaction was rolled back in a private copy; the original still waits for that");
  snapshot_close(snapshot);
  return err;
}

static Error *backup_member(Backup *backup, const Member *member) {
  Error *err = NULL;
  bool again = true;
  for (int attempt = 0; attempt < ATTEMPTS && again; attempt++) {
    err_free(err);
    json_t *facts = json_object();
    bool damaged = backup->damaged;
    set_text(facts, "path", member->tree_path);
    set_text(facts, "source", member->path);
    err = try_member(backup, member, attempt > 0, facts, &again);
    if (!err) {
      (void)json_array_append_new(backup->members, facts);
      return NULL;
    }
    backup->damaged = damaged;
    json_decref(facts);
  }
  return again ? err_hint(err_recode(err, ERR_UNREACHABLE),
                          "every attempt was overtaken by a writer; try again, or "
                          "give holdfast a scratch directory with room for a copy")
               : err;
}

/* What was named must be stored; what a glob found may be reported instead. */
static Error *backup_all(Backup *backup, const Members *members) {
  AUTO_ERR Error *first = NULL;
  size_t stored = 0;
  for (size_t i = 0; i < members->len; i++) {
    const Member *member = &members->items[i];
    Error *err = backup_member(backup, member);
    if (!err) {
      stored++;
      continue;
    }
    if (backup->sink_failed || !member->by_glob || err_is(err, ERR_CANCELLED)) return err;
    AUTO_FREE char *message = mem_printf("left out: %s", err_text(err));
    report(backup, NOTICE_PARTIAL, member, message);
    first = err_first(first, err);
  }
  return stored > 0 ? NULL : STEAL(first);
}

/* A file that a glob found is no database. It may have been one: then its beginning is destroyed, or somebody encrypted
 * it, and that must not pass for a database less. */
static Error *judge_other(Backup *backup, const Member *other) {
  static const char *const BESIDE[] = {"-wal", "-journal"};
  ParentEntry parent;
  bool was = false;
  TRY(from_sink(backup, backup->sink->ops->parent(backup->sink, bytes_str(other->tree_path), &parent, &was)));
  if (was && parent.entry.type == ENTRY_FILE) {
    report(backup, NOTICE_PARTIAL, other,
           "left out: it was a database when it was backed up last, and does not begin like one any more");
    return NULL;
  }
  for (size_t i = 0; i < NELEMS(BESIDE); i++) {
    AUTO_FREE char *path = mem_printf("%s%s", other->path, BESIDE[i]);
    struct stat st;
    if (stat(path, &st) != 0 || st.st_size == 0) continue;
    AUTO_FREE char *message = mem_printf(
        "left out: it has a %s like a database, but does not begin like one (damaged or encrypted)", BESIDE[i]);
    report(backup, NOTICE_PARTIAL, other, message);
    return NULL;
  }
  report(backup, NOTICE_INFO, other, "left out: matches the pattern, but is no SQLite database");
  return NULL;
}

static Error *judge_others(Backup *backup, const Members *members) {
  for (size_t i = 0; i < members->others_len; i++) TRY(judge_other(backup, &members->others[i]));
  return NULL;
}

Error *sqlite_engine_backup(Engine *base, const BackupPlan *plan, Sink *sink, EngineFacts *out, Cancel *cancel) {
  SqliteEngine *engine = (SqliteEngine *)base;
  Backup backup = {.engine = engine, .plan = plan, .sink = sink, .cancel = cancel, .members = json_array()};
  Members members = {0};
  if (engine->paths.len == 0) {
    json_decref(backup.members);
    return err_hint(err_new(ERR_USAGE, "backing up: no database is named"), "write sqlite:/srv/app.db");
  }
  Error *err = members_find(&engine->paths, sink->notices, &members, cancel);
  if (!err) err = judge_others(&backup, &members);
  if (!err) err = backup_all(&backup, &members);
  json_t *facts = json_pack("{s:s, s:s, s:o}", "engine", "sqlite", "sqlite_version", sqlite3_libversion(), "members",
                            backup.members);
  CHECK(facts != NULL);
  if (!err) {
    *out = (EngineFacts){.json = json_dumps(facts, JSON_COMPACT), .damaged = backup.damaged};
    CHECK(out->json != NULL);
  }
  json_decref(facts);
  members_free(&members);
  return err;
}
