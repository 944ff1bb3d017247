#include "engine/sqlite/sqlite_inspect.h"

#include <stdlib.h>

#include "base/mem.h"
#include "codec/blake3.h"
#include "engine/sqlite/sqlite_dbfile.h"

enum {
  FINDINGS_MAX = 10,
  HASH_BATCH = 64 * 1024,
  TRUNKS_MAX = 64, /* free-list pages looked at */
};

static Error *subject_error(const Subject *subject, int rc, const char *doing) {
  if (subject->view) return view_error(subject->view, rc, doing);
  return sqlite_error(rc, sqlite3_errmsg(subject->db), subject->path, doing);
}

/* Whether this library just lacks something the application has: nothing is wrong with the data. */
static bool lacks_something(int rc) { return (rc & 0xff) == SQLITE_ERROR || (rc & 0xff) == SQLITE_AUTH; }

static json_t *json_hash(const Blake3 *hash) {
  uint8_t out[BLAKE3_OUT_LEN];
  char hex[2 * BLAKE3_OUT_LEN + 1];
  blake3_final(hash, out);
  hex_encode(out, sizeof(out), hex);
  return json_string(hex);
}

/* ---- rows as bytes ------------------------------------------------------------------------------------------- */

/* Type, then the value: integers and reals as 8 bytes, text as UTF-8 and blobs after their length. */
static void add_value(Buf *out, sqlite3_stmt *stmt, int column) {
  int type = sqlite3_column_type(stmt, column);
  buf_put_u8(out, (uint8_t)type);
  if (type == SQLITE_INTEGER) {
    buf_put_u64(out, (uint64_t)sqlite3_column_int64(stmt, column));
  } else if (type == SQLITE_FLOAT) {
    double value = sqlite3_column_double(stmt, column);
    buf_add(out, &value, sizeof(value));
  } else if (type != SQLITE_NULL) {
    const void *data =
        type == SQLITE_TEXT ? (const void *)sqlite3_column_text(stmt, column) : sqlite3_column_blob(stmt, column);
    buf_put_bytes(out, bytes(data, data ? (size_t)sqlite3_column_bytes(stmt, column) : 0));
  }
}

/* Every row of the statement into the hash. Returns the last result: SQLITE_DONE when all is well. */
static int hash_rows(sqlite3_stmt *stmt, Blake3 *hash) {
  AUTO_BUF Buf batch = {0};
  int rc, columns = sqlite3_column_count(stmt);
  while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
    buf_put_u8(&batch, 0xff);
    for (int i = 0; i < columns; i++) add_value(&batch, stmt, i);
    if (batch.len < HASH_BATCH) continue;
    blake3_update(hash, batch.data, batch.len);
    buf_clear(&batch);
  }
  if (batch.len) blake3_update(hash, batch.data, batch.len);
  return rc;
}

/* ---- schema -------------------------------------------------------------------------------------------------- */

static Error *count_kinds(const Subject *subject, json_t *schema) {
  static const char *const KINDS[][2] = {
      {"table", "tables"}, {"index", "indexes"}, {"view", "views"}, {"trigger", "triggers"}};
  for (size_t i = 0; i < NELEMS(KINDS); i++) {
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(subject->db, "SELECT count(*) FROM sqlite_schema WHERE type = ?", -1, &stmt, NULL);
    if (rc == SQLITE_OK) rc = sqlite3_bind_text(stmt, 1, KINDS[i][0], -1, SQLITE_STATIC);
    if (rc == SQLITE_OK) rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) (void)json_object_set_new(schema, KINDS[i][1], json_integer(sqlite3_column_int64(stmt, 0)));
    (void)sqlite3_finalize(stmt);
    if (rc != SQLITE_ROW) return subject_error(subject, rc, "counting what the schema holds in");
  }
  return NULL;
}

static Error *inspect_schema(const Subject *subject, json_t *out) {
  static const char SQL[] = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name, tbl_name";
  json_t *schema = json_object();
  (void)json_object_set_new(out, "schema", schema);
  sqlite3_stmt *stmt = NULL;
  Blake3 hash;
  blake3_init(&hash);
  int rc = sqlite3_prepare_v2(subject->db, SQL, -1, &stmt, NULL);
  if (rc == SQLITE_OK) rc = hash_rows(stmt, &hash);
  Error *err = rc == SQLITE_DONE ? NULL : subject_error(subject, rc, "reading the schema of");
  (void)sqlite3_finalize(stmt);
  if (err) return err;
  (void)json_object_set_new(schema, "hash", json_hash(&hash));
  return count_kinds(subject, schema);
}

/* ---- tables -------------------------------------------------------------------------------------------------- */

/* `format` has one %w for the table's name. */
static int prepare_for_table(const Subject *subject, const char *format, const char *table, sqlite3_stmt **out) {
  char *sql = sqlite3_mprintf(format, table);
  CHECK(sql != NULL);
  int rc = sqlite3_prepare_v2(subject->db, sql, -1, out, NULL);
  sqlite3_free(sql);
  return rc;
}

static Error *count_rows(const Subject *subject, const char *table, json_t *out) {
  static const char *const WAYS[] = {"SELECT count(*) FROM \"%w\"", "SELECT count(*) FROM \"%w\" NOT INDEXED"};
  int rc = SQLITE_ERROR;
  (void)json_object_set_new(out, "rows", json_null());
  /* An index on a collation that is not here is not needed for counting. */
  for (size_t i = 0; i < NELEMS(WAYS) && lacks_something(rc); i++) {
    sqlite3_stmt *stmt = NULL;
    rc = prepare_for_table(subject, WAYS[i], table, &stmt);
    if (rc == SQLITE_OK) rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) (void)json_object_set_new(out, "rows", json_integer(sqlite3_column_int64(stmt, 0)));
    (void)sqlite3_finalize(stmt);
  }
  return rc == SQLITE_ROW || lacks_something(rc) ? NULL : subject_error(subject, rc, "counting rows in");
}

/* The rows in the order of the table's own tree, which neither VACUUM nor an index changes. */
static Error *hash_table(const Subject *subject, const char *table, json_t *out) {
  sqlite3_stmt *stmt = NULL;
  Blake3 hash;
  blake3_init(&hash);
  int rc = prepare_for_table(subject, "SELECT * FROM \"%w\" NOT INDEXED", table, &stmt);
  if (rc == SQLITE_OK) rc = hash_rows(stmt, &hash);
  Error *err = rc == SQLITE_DONE || lacks_something(rc) ? NULL : subject_error(subject, rc, "reading rows from");
  (void)sqlite3_finalize(stmt);
  (void)json_object_set_new(out, "content", rc == SQLITE_DONE ? json_hash(&hash) : json_null());
  return err;
}

static Error *inspect_table(const Subject *subject, const char *table, InspectDepth depth, json_t *tables) {
  AUTO_FREE char *name = str_printable(bytes_str(table));
  json_t *out = json_object();
  (void)json_array_append_new(tables, out);
  (void)json_object_set_new(out, "name", json_string(name));
  if (depth < INSPECT_ROWS) {
    (void)json_object_set_new(out, "rows", json_null());
    (void)json_object_set_new(out, "content", json_null());
    return NULL;
  }
  TRY(count_rows(subject, table, out));
  if (depth >= INSPECT_CONTENT) return hash_table(subject, table, out);
  (void)json_object_set_new(out, "content", json_null());
  return NULL;
}

/* Virtual tables have no root; what they hold is in their shadow tables. */
static Error *inspect_tables(const Subject *subject, InspectDepth depth, json_t *out) {
  static const char SQL[] = "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 ORDER BY name";
  json_t *tables = json_array();
  (void)json_object_set_new(out, "tables", tables);
  AUTO_STRLIST StrList names = {0};
  sqlite3_stmt *stmt = NULL;
  int rc = sqlite3_prepare_v2(subject->db, SQL, -1, &stmt, NULL);
  while (rc == SQLITE_OK || rc == SQLITE_ROW) {
    rc = sqlite3_step(stmt);
    const char *name = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(stmt, 0) : NULL;
    if (name) strlist_add(&names, name);
  }
  Error *err = rc == SQLITE_DONE ? NULL : subject_error(subject, rc, "listing the tables of");
  (void)sqlite3_finalize(stmt);
  for (size_t i = 0; i < names.len && !err; i++) err = inspect_table(subject, names.items[i], depth, tables);
  return err;
}

static Error *inspect_foreign_keys(const Subject *subject, InspectDepth depth, json_t *out) {
  (void)json_object_set_new(out, "foreign_key_violations", json_null());
  if (depth < INSPECT_ROWS) return NULL;
  sqlite3_stmt *stmt = NULL;
  json_int_t violations = 0;
  int rc = sqlite3_prepare_v2(subject->db, "PRAGMA foreign_key_check", -1, &stmt, NULL);
  if (rc == SQLITE_OK)
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) violations++;
  Error *err = rc == SQLITE_DONE || lacks_something(rc) ? NULL : subject_error(subject, rc, "checking foreign keys in");
  (void)sqlite3_finalize(stmt);
  if (rc == SQLITE_DONE) (void)json_object_set_new(out, "foreign_key_violations", json_integer(violations));
  return err;
}

Error *inspect(const Subject *subject, InspectDepth depth, json_t *out) {
  TRY(inspect_schema(subject, out));
  TRY(inspect_tables(subject, depth, out));
  return inspect_foreign_keys(subject, depth, out);
}

/* ---- integrity ----------------------------------------------------------------------------------------------- */

Error *inspect_integrity(const Subject *subject, bool quick, bool *ok, Buf *findings) {
  sqlite3_stmt *stmt = NULL;
  size_t lines = 0;
  *ok = false;
  int rc =
      sqlite3_prepare_v2(subject->db, quick ? "PRAGMA quick_check(10)" : "PRAGMA integrity_check(10)", -1, &stmt, NULL);
  while (rc == SQLITE_OK || rc == SQLITE_ROW) {
    rc = sqlite3_step(stmt);
    if (rc != SQLITE_ROW) break;
    const char *text = (const char *)sqlite3_column_text(stmt, 0);
    if (lines == 0 && text && strcmp(text, "ok") == 0)
      *ok = true;
    else if (lines < FINDINGS_MAX)
      buf_printf(findings, "%s%s", findings->len ? "; " : "", text ? text : "?");
    lines++;
  }
  Error *err = rc == SQLITE_DONE ? NULL : subject_error(subject, rc, "checking the integrity of");
  (void)sqlite3_finalize(stmt);
  if (err && lacks_something(rc)) return err_recode(err, ERR_UNSUPPORTED);
  if (!err_is(err, ERR_DAMAGED)) return err;
  /* Too damaged for the check itself: that is the finding. */
  buf_printf(findings, "%s%s", findings->len ? "; " : "", sqlite3_errmsg(subject->db));
  err_free(err);
  *ok = false;
  return NULL;
}

/* ---- structure ----------------------------------------------------------------------------------------------- */

static Error *wrong_page(const Subject *subject, uint32_t page, const char *what) {
  return err_new(ERR_DAMAGED, "reading %s: page %u: %s", subject->path, page, what);
}

/* A root begins with the kind of its tree: 2 and 10 for indexes, 5 and 13 for tables. */
static Error *check_root(const Subject *subject, Snapshot *snapshot, uint32_t page, Cancel *cancel) {
  const SnapshotInfo *info = snapshot_info(snapshot);
  uint8_t kind = 0;
  if (page < 1 || page > info->page_count) return wrong_page(subject, page, "a root that the database does not have");
  uint64_t at = (uint64_t)(page - 1) * info->header.page_size + (page == 1 ? DB_HEADER_SIZE : 0);
  TRY(snapshot_read(snapshot, at, &kind, 1, cancel));
  if (kind == 2 || kind == 5 || kind == 10 || kind == 13) return NULL;
  return wrong_page(subject, page, "the root of a table or index is no page of a tree");
}

static Error *check_free_pages(const Subject *subject, Snapshot *snapshot, Cancel *cancel) {
  const SnapshotInfo *info = snapshot_info(snapshot);
  const DbHeader *h = &info->header;
  uint32_t page = h->freelist_trunk, limit = (h->page_size - h->reserved) / 4 - 2;
  for (int i = 0; page != 0 && i < TRUNKS_MAX; i++) {
    uint8_t head[8];
    if (page > info->page_count) return wrong_page(subject, page, "a free page that the database does not have");
    TRY(snapshot_read(snapshot, (uint64_t)(page - 1) * h->page_size, head, sizeof(head), cancel));
    if (load_be32(head + 4) > limit) return wrong_page(subject, page, "the list of free pages names too many");
    page = load_be32(head);
  }
  return NULL;
}

Error *inspect_structure(const Subject *subject, Snapshot *snapshot, Cancel *cancel) {
  static const char SQL[] = "SELECT DISTINCT rootpage FROM sqlite_schema WHERE rootpage <> 0 AND rootpage IS NOT NULL";
  sqlite3_stmt *stmt = NULL;
  Error *err = check_root(subject, snapshot, 1, cancel);
  if (err) return err;
  int rc = sqlite3_prepare_v2(subject->db, SQL, -1, &stmt, NULL);
  while (!err && (rc == SQLITE_OK || rc == SQLITE_ROW)) {
    rc = sqlite3_step(stmt);
    sqlite3_int64 root = rc == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : 1;
    err = check_root(subject, snapshot, root < 1 || root > UINT32_MAX ? 0 : (uint32_t)root, cancel);
  }
  if (!err && rc != SQLITE_DONE) err = subject_error(subject, rc, "reading the schema of");
  (void)sqlite3_finalize(stmt);
  return err ? err : check_free_pages(subject, snapshot, cancel);
}
