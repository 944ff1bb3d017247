/* Check: a restored copy against what the backup recorded, and against the source when it is at hand. What cannot be
 * opened or read is a check that did not pass, not an error of the check. */
#include <stdlib.h>

#include "base/entry.h"
#include "base/mem.h"
#include "engine/sqlite/sqlite_dbfile.h"
#include "engine/sqlite/sqlite_engine.h"
#include "engine/sqlite/sqlite_inspect.h"
#include "sys/fs.h"

enum { PROGRESS_STEPS = 20000, NAME_SHOWN_MAX = 200 };

typedef struct Checks {
  const SqliteEngine *engine;
  const DrillTarget *target;
  CheckLevel level;
  CheckReport *report;
  Cancel *cancel;
} Checks;

/* One restored database. */
typedef struct Copy {
  const Checks *checks;
  const char *name;     /* of the member, for the items */
  const char *path;     /* of the restored file */
  const json_t *record; /* the member's facts */
  sqlite3 *db;
} Copy;

static void add(const Copy *copy, bool passed, const char *what, const char *expected, const char *found) {
  AUTO_FREE char *name = mem_printf("%.*s: %s", NAME_SHOWN_MAX, copy->name, what);
  check_report_add(copy->checks->report, passed, name, expected, found);
}

/* Takes an error as a check that did not pass; only being told to stop is an error. */
static Error *add_failure(const Copy *copy, const char *what, Error *take) {
  if (!take || err_is(take, ERR_CANCELLED)) return take;
  add(copy, false, what, NULL, err_text(take));
  err_free(take);
  return NULL;
}

/* A JSON value as text for a report; NULL for one that was not recorded. Owned. */
static char *value_text(const json_t *value) {
  if (json_is_string(value)) return mem_strdup(json_string_value(value));
  if (json_is_integer(value)) return mem_printf("%lld", (long long)json_integer_value(value));
  return NULL;
}

static void compare(const Copy *copy, const char *what, const json_t *expected, const json_t *found) {
  AUTO_FREE char *want = value_text(expected);
  AUTO_FREE char *have = value_text(found);
  if (!want && !have) return;
  add(copy, !want || (have && strcmp(want, have) == 0), what, want ? want : "(not recorded)", have);
}

/* ---- opening ------------------------------------------------------------------------------------------------- */

/* In a URI, so that a copy without a log is opened as immutable and nothing appears beside it. */
static char *database_uri(const char *path) {
  Buf uri = {0};
  AUTO_FREE char *wal = mem_printf("%s-wal", path);
  struct stat st;
  bool log = stat(wal, &st) == 0 && st.st_size > 0;
  buf_add_str(&uri, "file:");
  for (const char *p = path; *p; p++) {
    if (strchr("%?#", *p))
      buf_printf(&uri, "%%%02X", (unsigned)(unsigned char)*p);
    else
      buf_add(&uri, p, 1);
  }
  buf_add_str(&uri, log ? "?mode=ro" : "?mode=ro&immutable=1");
  return buf_steal_str(&uri);
}

static int on_progress(void *cancel) { return cancel_is_set(cancel); }

static Error *open_copy(Copy *copy) {
  AUTO_FREE char *uri = database_uri(copy->path);
  int flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  int rc = sqlite3_open_v2(uri, &copy->db, flags, NULL);
  if (rc == SQLITE_OK) (void)sqlite3_db_config(copy->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
  if (rc == SQLITE_OK) (void)sqlite3_db_config(copy->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
  if (rc == SQLITE_OK) rc = sqlite3_exec(copy->db, "PRAGMA temp_store=MEMORY", NULL, NULL, NULL);
  if (rc == SQLITE_OK) rc = sqlite3_exec(copy->db, "SELECT count(*) FROM sqlite_schema", NULL, NULL, NULL);
  if (rc != SQLITE_OK)
    return sqlite_error(rc, copy->db ? sqlite3_errmsg(copy->db) : NULL, copy->path, "opening the restored");
  sqlite3_progress_handler(copy->db, PROGRESS_STEPS, on_progress, copy->checks->cancel);
  return NULL;
}

/* ---- against the record -------------------------------------------------------------------------------------- */

static void compare_pragma(const Copy *copy, const char *what, const char *sql, const json_t *expected) {
  sqlite3_stmt *stmt = NULL;
  int rc = sqlite3_prepare_v2(copy->db, sql, -1, &stmt, NULL);
  if (rc == SQLITE_OK) rc = sqlite3_step(stmt);
  json_t *found =
      rc == SQLITE_ROW ? json_integer(sqlite3_column_int64(stmt, 0)) : json_string(sqlite3_errmsg(copy->db));
  (void)sqlite3_finalize(stmt);
  compare(copy, what, expected, found);
  json_decref(found);
}

static void check_size(const Copy *copy) {
  struct stat st;
  if (stat(copy->path, &st) != 0) return;
  json_t *found = json_integer((json_int_t)st.st_size);
  compare(copy, "size in bytes", json_object_get(copy->record, "size"), found);
  json_decref(found);
}

static Error *check_integrity(const Copy *copy) {
  AUTO_BUF Buf findings = {0};
  bool ok = false;
  const Subject subject = {.db = copy->db, .path = copy->path};
  TRY(inspect_integrity(&subject, false, &ok, &findings));
  AUTO_FREE char *text = buf_steal_str(&findings);
  const char *damage = json_string_value(json_object_get(copy->record, "damage"));
  AUTO_FREE char *expected = damage ? mem_printf("ok (damaged when it was backed up: %s)", damage) : mem_strdup("ok");
  add(copy, ok, "integrity_check", expected, ok ? "ok" : text);
  return NULL;
}

/* The table of that name; NULL when there is none. */
static const json_t *find_table(const json_t *facts, const char *name) {
  size_t i;
  json_t *table;
  json_array_foreach(json_object_get(facts, "tables"), i, table) {
    const char *this = json_string_value(json_object_get(table, "name"));
    if (this && strcmp(this, name) == 0) return table;
  }
  return NULL;
}

static void compare_table(const Copy *copy, const json_t *expected, const json_t *found, const char *against) {
  const char *name = json_string_value(json_object_get(found, "name"));
  if (!name) return;
  const json_t *other = find_table(expected, name);
  AUTO_FREE char *rows = mem_printf("rows of %s%s", name, against);
  AUTO_FREE char *content = mem_printf("content of %s%s", name, against);
  compare(copy, rows, json_object_get(other, "rows"), json_object_get(found, "rows"));
  if (copy->checks->level >= CHECK_COMPREHENSIVE)
    compare(copy, content, json_object_get(other, "content"), json_object_get(found, "content"));
}

/* Every value that `expected` has against the same of `found`, which is the restored copy's. */
static void compare_facts(const Copy *copy, const json_t *expected, const json_t *found, const char *against) {
  static const char *const PARTS[][2] = {{"hash", "schema"},
                                         {"tables", "number of tables"},
                                         {"indexes", "number of indexes"},
                                         {"views", "number of views"},
                                         {"triggers", "number of triggers"}};
  const json_t *want = json_object_get(expected, "schema"), *have = json_object_get(found, "schema");
  for (size_t i = 0; i < NELEMS(PARTS); i++) {
    AUTO_FREE char *what = mem_printf("%s%s", PARTS[i][1], against);
    compare(copy, what, json_object_get(want, PARTS[i][0]), json_object_get(have, PARTS[i][0]));
  }
  if (copy->checks->level < CHECK_STANDARD) return;
  AUTO_FREE char *keys = mem_printf("violated foreign keys%s", against);
  compare(copy, keys, json_object_get(expected, "foreign_key_violations"),
          json_object_get(found, "foreign_key_violations"));
  size_t i;
  json_t *table;
  json_array_foreach(json_object_get(found, "tables"), i, table) compare_table(copy, expected, table, against);
  json_array_foreach(json_object_get(expected, "tables"), i, table) {
    const char *name = json_string_value(json_object_get(table, "name"));
    if (!name || find_table(found, name)) continue;
    AUTO_FREE char *what = mem_printf("table %s%s", name, against);
    add(copy, false, what, "present", "missing");
  }
}

/* ---- against the source -------------------------------------------------------------------------------------- */

static Error *inspect_snapshot(const Copy *copy, Snapshot *snapshot, const char *path, InspectDepth depth,
                               json_t *out) {
  View *view = NULL;
  if (snapshot_info(snapshot)->size == 0) return NULL;
  TRY(view_open(snapshot, path, &view, copy->checks->cancel));
  const Subject subject = {.db = view_db(view), .view = view, .path = path};
  Error *err = inspect(&subject, depth, out);
  view_close(view);
  return err ? err : snapshot_verify(snapshot, copy->checks->cancel);
}

/* A writer may spoil the first attempt; the second is made so that none can. */
static Error *inspect_source(const Copy *copy, const char *path, InspectDepth depth, json_t *out) {
  SnapshotOptions options = sqlite_engine_options(copy->checks->engine);
  if (copy->checks->target->scratch_dir) options.scratch_dir = copy->checks->target->scratch_dir;
  for (;;) {
    Snapshot *snapshot = NULL;
    Error *err = snapshot_open(path, &options, &snapshot, copy->checks->cancel);
    bool again = err_is(err, ERR_TEMPORARY);
    if (!err) {
      err = inspect_snapshot(copy, snapshot, path, depth, out);
      again = err && snapshot_changed(snapshot);
    }
    snapshot_close(snapshot);
    if (!again || options.settle) return err;
    err_free(err);
    (void)json_object_clear(out);
    options.settle = true;
  }
}

static Error *check_source(const Copy *copy, InspectDepth depth, const json_t *found) {
  const char *source = copy->checks->target->source_path;
  struct stat st;
  if (!source) return NULL;
  const char *member = json_string_value(json_object_get(copy->record, "path"));
  bool dir = stat(source, &st) == 0 && S_ISDIR(st.st_mode);
  /* Of several databases each is where the record says, if that is below the place given: a hostile record must not
   * have other files read. */
  const char *recorded = json_string_value(json_object_get(copy->record, "source"));
  const char *rest = dir && recorded && str_starts(recorded, source) ? recorded + strlen(source) : NULL;
  while (rest && *rest == '/') rest++;
  bool below = rest && rest > recorded && rest[-1] == '/' && entry_path_valid(bytes_str(rest));
  bool named = dir && member && entry_path_valid(bytes_str(member));
  AUTO_FREE char *path = below ? mem_strdup(recorded) : named ? fs_join(source, member) : mem_strdup(source);
  json_t *facts = json_object();
  Error *err = inspect_source(copy, path, depth, facts);
  if (!err) compare_facts(copy, facts, found, ", as in the source");
  json_decref(facts);
  return add_failure(copy, "reading the source", err);
}

/* ---- a copy -------------------------------------------------------------------------------------------------- */

static Error *check_open_copy(const Copy *copy) {
  static const InspectDepth DEPTH[] = {
      [CHECK_QUICK] = INSPECT_SCHEMA, [CHECK_STANDARD] = INSPECT_ROWS, [CHECK_COMPREHENSIVE] = INSPECT_CONTENT};
  const json_t *record = copy->record;
  compare_pragma(copy, "page size", "PRAGMA page_size", json_object_get(record, "page_size"));
  compare_pragma(copy, "pages", "PRAGMA page_count", json_object_get(record, "page_count"));
  compare_pragma(copy, "user version", "PRAGMA user_version", json_object_get(record, "user_version"));
  compare_pragma(copy, "application id", "PRAGMA application_id", json_object_get(record, "application_id"));
  if (copy->checks->level >= CHECK_STANDARD) TRY(add_failure(copy, "integrity_check", check_integrity(copy)));
  const Subject subject = {.db = copy->db, .path = copy->path};
  json_t *found = json_object();
  Error *err = inspect(&subject, DEPTH[copy->checks->level], found);
  if (!err) compare_facts(copy, record, found, "");
  bool readable = err == NULL;
  err = add_failure(copy, "reading schema and tables", err);
  if (!err && readable) err = check_source(copy, DEPTH[copy->checks->level], found);
  json_decref(found);
  return err;
}

static Error *check_copy(Copy *copy) {
  struct stat st;
  if (stat(copy->path, &st) != 0) {
    add(copy, false, "file", "present", "missing");
    return NULL;
  }
  check_size(copy);
  if (st.st_size == 0) return NULL;
  Error *err = open_copy(copy);
  bool opened = err == NULL;
  if (opened) add(copy, true, "opens", "yes", "yes");
  err = add_failure(copy, "opens", err);
  if (!err && opened) err = check_open_copy(copy);
  (void)sqlite3_close(copy->db);
  return err ? err : cancel_check(copy->checks->cancel);
}

static bool was_restored(const Checks *checks, const char *name) {
  const StrList *only = checks->target->only;
  if (!name) return false;
  bool found = !only || only->len == 0;
  for (size_t i = 0; !found && i < only->len; i++) found = glob_match(bytes_str(only->items[i]), bytes_str(name));
  return found;
}

/* Restored alone, a member has the name its target was given. */
static const json_t *record_of_single(const Checks *checks, const json_t *members) {
  const char *slash = strrchr(checks->target->path, '/');
  const json_t *first = NULL;
  size_t i;
  json_t *member;
  json_array_foreach(members, i, member) {
    const char *name = json_string_value(json_object_get(member, "path"));
    if (!was_restored(checks, name)) continue;
    const char *last = strrchr(name, '/');
    if (slash && strcmp(last ? last + 1 : name, slash + 1) == 0) return member;
    if (!first) first = member;
  }
  return first ? first : json_array_get(members, 0);
}

static Error *check_members(const Checks *checks, const json_t *members) {
  struct stat st;
  const char *path = checks->target->path;
  bool dir = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
  size_t i;
  json_t *member;
  if (!dir) {
    const json_t *record = record_of_single(checks, members);
    const char *name = json_string_value(json_object_get(record, "path"));
    Copy copy = {.checks = checks, .name = name ? name : path, .path = path, .record = record};
    return check_copy(&copy);
  }
  json_array_foreach(members, i, member) {
    const char *name = json_string_value(json_object_get(member, "path"));
    if (!name || !*name || !entry_path_valid(bytes_str(name))) /* a hostile record must not have other files read */
      return err_new(ERR_CORRUPT, "checking %s: the snapshot's record names what is not below it", path);
    if (!was_restored(checks, name)) continue;
    AUTO_FREE char *file = fs_join(path, name);
    Copy copy = {.checks = checks, .name = name, .path = file, .record = member};
    TRY(check_copy(&copy));
  }
  return NULL;
}

Error *sqlite_engine_check(Engine *engine, const DrillTarget *target, CheckLevel level, CheckReport *out,
                           Cancel *cancel) {
  const Checks checks = {
      .engine = (const SqliteEngine *)engine, .target = target, .level = level, .report = out, .cancel = cancel};
  json_t *facts = target->facts_json ? json_loads(target->facts_json, 0, NULL) : NULL;
  const json_t *members = json_object_get(facts, "members");
  if (!json_is_array(members) || json_array_size(members) == 0) {
    json_decref(facts);
    return err_new(ERR_CORRUPT, "checking %s: the snapshot's record names no database", target->path);
  }
  Error *err = check_members(&checks, members);
  json_decref(facts);
  return err;
}
