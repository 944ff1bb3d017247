#include "base/timefmt.h"
#include "catalog/catalog_impl.h"

enum { BATCH_SECONDS_MAX = 5 };

/* ---- repositories by number: a pack's row is small, and there may be millions -------------------------------------
 */

/* *out is 0 when the ledger has none of that id. */
static Error *repository_number(Catalog *catalog, const Uuid *repo, int64_t *out) {
  static const char sql[] = "SELECT number FROM repositories WHERE id = ?1";
  AUTO_STMT sqlite3_stmt *stmt = NULL;
  bool row;
  TRY(sql_statement(catalog, sql, &stmt));
  sql_bind_uuid(stmt, 1, repo);
  TRY(sql_step(catalog, stmt, &row));
  *out = row ? sqlite3_column_int64(stmt, 0) : 0;
  return NULL;
}

/* In a transaction that writes. */
static Error *repository_make(Catalog *catalog, const Uuid *repo, int64_t *out) {
  static const char sql[] = "INSERT INTO repositories(id) VALUES(?1)";
  AUTO_STMT sqlite3_stmt *stmt = NULL;
  TRY(repository_number(catalog, repo, out));
  if (*out != 0) return NULL;
  TRY(sql_statement(catalog, sql, &stmt));
  sql_bind_uuid(stmt, 1, repo);
  TRY(sql_step(catalog, stmt, NULL));
  *out = sqlite3_last_insert_rowid(catalog->db);
  return NULL;
}

static void bind_blob_id(sqlite3_stmt *stmt, int at, const Uuid *id) {
  CHECK(sqlite3_bind_blob(stmt, at, id->b, sizeof id->b, SQLITE_STATIC) == SQLITE_OK);
}

/* ---- packs ------------------------------------------------------------------------------------------------------- */

static Error *write_record(Catalog *catalog, int64_t repository, const PackRecord *record) {
  static const char sql[] =
      "INSERT INTO packs(repository, pack, level, time, size) VALUES(?1, ?2, ?3, ?4, ?5)"
      " ON CONFLICT DO UPDATE SET time = max(time, excluded.time), size = excluded.size";
  AUTO_STMT sqlite3_stmt *stmt = NULL;
  TRY(sql_statement(catalog, sql, &stmt));
  CHECK(sqlite3_bind_int64(stmt, 1, repository) == SQLITE_OK);
  bind_blob_id(stmt, 2, &record->pack);
  sql_bind_u64(stmt, 3, record->level);
  sql_bind_u64(stmt, 4, record->time_ns);
  sql_bind_u64(stmt, 5, record->size);
  return sql_step(catalog, stmt, NULL);
}

static Error *write_batch(Catalog *catalog) {
  const Uuid *last = NULL;
  int64_t repository = 0;
  for (size_t i = 0; i < catalog->batch_len; i++) {
    const PackRecord *record = &catalog->batch[i];
    if (!last || !uuid_equal(last, &record->repo)) TRY(repository_make(catalog, &record->repo, &repository));
    last = &record->repo;
    TRY(write_record(catalog, repository, record));
  }
  return NULL;
}

Error *ledger_flush(Catalog *catalog) {
  if (catalog->batch_len == 0) return NULL;
  Error *err = sql_begin(catalog);
  if (!err) err = sql_end(catalog, write_batch(catalog));
  /* Kept after a failure they would only make the next one; a pack that is verified once more costs less. */
  catalog->batch_len = 0;
  return err_wrap(err, "writing what was verified");
}

Error *catalog_flush(Catalog *catalog) {
  if (!catalog) return NULL;
  LOCKED(&catalog->lock);
  if (catalog->batch_len == 0) return NULL;
  Error *err = catalog_enter(catalog);
  if (!err) err = ledger_flush(catalog);
  return catalog_leave(catalog, err, "keeping the ledger");
}

Error *catalog_pack_verified(Catalog *catalog, const Uuid *repo, const Uuid *pack, unsigned level, uint64_t time_ns,
                             uint64_t size_bytes) {
  if (!catalog) return NULL;
  LOCKED(&catalog->lock);
  uint64_t now_ns = sys_mono_ns(catalog->sys);
  if (catalog->batch_len == 0) catalog->batch_since_ns = now_ns;
  catalog->batch[catalog->batch_len++] =
      (PackRecord){.repo = *repo, .pack = *pack, .level = level, .time_ns = time_ns, .size = size_bytes};
  bool due = now_ns - catalog->batch_since_ns >= BATCH_SECONDS_MAX * NS_PER_SECOND;
  if (catalog->batch_len < CATALOG_BATCH && !due) return NULL;
  Error *err = catalog_enter(catalog);
  if (!err) err = ledger_flush(catalog);
  catalog->batch_len = 0;
  return catalog_leave(catalog, err, "keeping the ledger");
}

static Error *remove_pack(Catalog *catalog, const Uuid *repo, const Uuid *pack) {
  static const char sql[] =
      "DELETE FROM packs WHERE repository = (SELECT number FROM repositories WHERE id = ?1) AND pack = ?2";
  AUTO_STMT sqlite3_stmt *stmt = NULL;
  TRY(sql_statement(catalog, sql, &stmt));
  sql_bind_uuid(stmt, 1, repo);
  bind_blob_id(stmt, 2, pack);
  return sql_step(catalog, stmt, NULL);
}

Error *catalog_pack_removed(Catalog *catalog, const Uuid *repo, const Uuid *pack) {
  if (!catalog) return NULL;
  LOCKED(&catalog->lock);
  Error *err = catalog_enter(catalog);
  if (!err) err = ledger_flush(catalog);
  if (!err) err = remove_pack(catalog, repo, pack);
  return catalog_leave(catalog, err, "keeping the ledger");
}

static Error *read_last_verified(Catalog *catalog, const Uuid *repo, const Uuid *pack, unsigned level, uint64_t *out) {
  static const char sql[] =
      "SELECT max(time) FROM packs WHERE repository = (SELECT number FROM repositories WHERE id = ?1)"
      " AND pack = ?2 AND level >= ?3";
  AUTO_STMT sqlite3_stmt *stmt = NULL;
  bool row;
  TRY(sql_statement(catalog, sql, &stmt));
  sql_bind_uuid(stmt, 1, repo);
  bind_blob_id(stmt, 2, pack);
  sql_bind_u64(stmt, 3, level);
  TRY(sql_step(catalog, stmt, &row));
  *out = row ? sql_u64(stmt, 0) : 0;
  return NULL;
}

Error *catalog_last_verified(Catalog *catalog, const Uuid *repo, const Uuid *pack, unsigned level, uint64_t *out_ns) {
  *out_ns = 0;
  if (!catalog) return NULL;
  LOCKED(&catalog->lock);
  uint64_t last = 0;
  Error *err = catalog_enter(catalog);
  if (!err) err = read_last_verified(catalog, repo, pack, level, &last);
  for (size_t i = 0; i < catalog->batch_len; i++) {
    const PackRecord *record = &catalog->batch[i];
    if (record->level >= level && record->time_ns > last && uuid_equal(&record->pack, pack) &&
        uuid_equal(&record->repo, repo))
      last = record->time_ns;
  }
  if (!err) *out_ns = last;
  return catalog_leave(catalog, err, "reading the ledger");
}

static Error *read_coverage(Catalog *catalog, const Uuid *repo, unsigned level, uint64_t since_ns, Coverage *out) {
  static const char sql[] =
      "SELECT count(*), sum(bytes), count(*) FILTER (WHERE good), sum(bytes) FILTER (WHERE good) FROM"
      " (SELECT max(size) AS bytes, max(level >= ?2 AND time >= ?3) AS good FROM packs"
      "  WHERE repository = (SELECT number FROM repositories WHERE id = ?1) GROUP BY pack)";
  AUTO_STMT sqlite3_stmt *stmt = NULL;
  bool row;
  TRY(sql_statement(catalog, sql, &stmt));
  sql_bind_uuid(stmt, 1, repo);
  sql_bind_u64(stmt, 2, level);
  sql_bind_u64(stmt, 3, since_ns);
  TRY(sql_step(catalog, stmt, &row));
  *out = (Coverage){.known_packs = sql_u64(stmt, 0),
                    .known_bytes = sql_u64(stmt, 1),
                    .verified_packs = sql_u64(stmt, 2),
                    .verified_bytes = sql_u64(stmt, 3)};
  return NULL;
}

Error *catalog_coverage(Catalog *catalog, const Uuid *repo, unsigned level, uint64_t since_ns, Coverage *out) {
  LOCKED(&catalog->lock);
  Error *err = catalog_enter(catalog);
  if (!err) err = ledger_flush(catalog);
  if (!err) err = read_coverage(catalog, repo, level, since_ns, out);
  return catalog_leave(catalog, err, "reading the ledger");
}

/* ---- snapshots --------------------------------------------------------------------------------------------------- */

static Error *write_check(Catalog *catalog, const Uuid *repo, const Uuid *snapshot, const SnapshotCheck *check) {
  static const char sql[] =
      "INSERT INTO checks(repository, snapshot, level, passed, total, time) VALUES(?1, ?2, ?3, ?4, ?5, ?6)";
  AUTO_STMT sqlite3_stmt *stmt = NULL;
  int64_t repository;
  TRY(repository_make(catalog, repo, &repository));
  TRY(sql_statement(catalog, sql, &stmt));
  CHECK(sqlite3_bind_int64(stmt, 1, repository) == SQLITE_OK);
  sql_bind_uuid(stmt, 2, snapshot);
  sql_bind_text(stmt, 3, check->level, CHECK_LEVEL_LEN - 1);
  sql_bind_u64(stmt, 4, check->passed);
  sql_bind_u64(stmt, 5, check->total);
  sql_bind_u64(stmt, 6, check->time_ns);
  return sql_step(catalog, stmt, NULL);
}

Error *catalog_snapshot_checked(Catalog *catalog, const Uuid *repo, const Uuid *snapshot, const SnapshotCheck *check) {
  if (!check->level[0] || !memchr(check->level, '\0', sizeof check->level))
    return err_new(ERR_USAGE, "recording a check: its level is empty or too long");
  if (!catalog) return NULL;
  LOCKED(&catalog->lock);
  Error *err = catalog_enter(catalog);
  if (!err) err = sql_begin(catalog);
  if (!err) err = sql_end(catalog, write_check(catalog, repo, snapshot, check));
  return catalog_leave(catalog, err, "recording a check");
}

static Error *read_check(Catalog *catalog, const Uuid *repo, const Uuid *snapshot, SnapshotCheck *out) {
  static const char sql[] =
      "SELECT level, passed, total, time FROM checks WHERE snapshot = ?2"
      " AND repository = (SELECT number FROM repositories WHERE id = ?1) ORDER BY time DESC, rowid DESC LIMIT 1";
  AUTO_STMT sqlite3_stmt *stmt = NULL;
  bool row;
  TRY(sql_statement(catalog, sql, &stmt));
  sql_bind_uuid(stmt, 1, repo);
  sql_bind_uuid(stmt, 2, snapshot);
  TRY(sql_step(catalog, stmt, &row));
  *out = (SnapshotCheck){0};
  if (row) check_read(stmt, 0, out);
  return NULL;
}

void check_read(sqlite3_stmt *stmt, int at, SnapshotCheck *out) {
  const char *level = (const char *)sqlite3_column_text(stmt, at);
  *out = (SnapshotCheck){
      .passed = sql_u64(stmt, at + 1), .total = sql_u64(stmt, at + 2), .time_ns = sql_u64(stmt, at + 3)};
  if (level) memcpy(out->level, level, strnlen(level, CHECK_LEVEL_LEN - 1));
}

Error *catalog_snapshot_last_check(Catalog *catalog, const Uuid *repo, const Uuid *snapshot, SnapshotCheck *out) {
  LOCKED(&catalog->lock);
  Error *err = catalog_enter(catalog);
  if (!err) err = read_check(catalog, repo, snapshot, out);
  return catalog_leave(catalog, err, "reading the ledger");
}
