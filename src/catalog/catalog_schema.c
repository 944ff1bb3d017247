#include <inttypes.h>

#include "catalog/catalog_impl.h"

/* Step n takes the file from version n to n + 1. A step that was ever released is never changed: the next one mends.
 */
static const char *const STEPS[] = {
    /* 0 -> 1: jobs. A row without a result is a job that runs, or whose process is gone. */
    "CREATE TABLE jobs("
    " id TEXT PRIMARY KEY, kind TEXT NOT NULL, source TEXT NOT NULL, repository TEXT NOT NULL, command TEXT,"
    " pid INTEGER NOT NULL, process TEXT NOT NULL, started INTEGER NOT NULL,"
    " ended INTEGER, result TEXT, exit_code INTEGER, error TEXT, repository_id TEXT, snapshot TEXT,"
    " read_bytes INTEGER, new_bytes INTEGER, stored_bytes INTEGER, files INTEGER, duration INTEGER, summary TEXT);"
    "CREATE INDEX jobs_by_start ON jobs(started);"
    "CREATE INDEX jobs_by_source ON jobs(kind, source, repository, started);",

    /* 1 -> 2: the ledger. */
    "CREATE TABLE repositories(number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE);"
    "CREATE TABLE packs("
    " repository INTEGER NOT NULL REFERENCES repositories, pack BLOB NOT NULL, level INTEGER NOT NULL,"
    " time INTEGER NOT NULL, size INTEGER NOT NULL, PRIMARY KEY(repository, pack, level)) WITHOUT ROWID;"
    "CREATE TABLE checks("
    " repository INTEGER NOT NULL REFERENCES repositories, snapshot TEXT NOT NULL, level TEXT NOT NULL,"
    " passed INTEGER NOT NULL, total INTEGER NOT NULL, time INTEGER NOT NULL);"
    "CREATE INDEX checks_by_snapshot ON checks(snapshot, time);",
};

enum { VERSION = NELEMS(STEPS) };

static Error *read_versions(sqlite3 *db, int64_t *application, int64_t *version) {
  TRY(sql_number(db, "PRAGMA application_id", application));
  return sql_number(db, "PRAGMA user_version", version);
}

static Error *migrate_from(sqlite3 *db, int64_t version) {
  char pragmas[128];
  for (int64_t step = version; step < VERSION; step++)
    TRY(err_wrap(sql_exec(db, STEPS[step]), "migrating to version %" PRId64, step + 1));
  sqlite3_snprintf(sizeof pragmas, pragmas, "PRAGMA application_id = %d; PRAGMA user_version = %d",
                   CATALOG_APPLICATION_ID, VERSION);
  return sql_exec(db, pragmas);
}

/* All steps or none. */
static Error *migrate(sqlite3 *db, int64_t version) {
  TRY(sql_exec(db, "BEGIN IMMEDIATE"));
  Error *err = migrate_from(db, version);
  if (!err) err = sql_exec(db, "COMMIT");
  if (err && !sqlite3_get_autocommit(db)) err_ignore(sql_exec(db, "ROLLBACK"));
  return err;
}

/* Damage can take a table away and leave a file that SQLite finds in order. */
static Error *check_tables(sqlite3 *db, int64_t version) {
  static const int64_t expected[] = {0, 1, 4};
  _Static_assert(NELEMS(expected) == VERSION + 1, "one number for each version");
  int64_t tables;
  TRY(sql_number(db,
                 "SELECT count(*) FROM sqlite_schema"
                 " WHERE type = 'table' AND name IN ('jobs', 'repositories', 'packs', 'checks')",
                 &tables));
  if (tables != expected[version]) return err_new(ERR_CORRUPT, "its tables are not those of version %" PRId64, version);
  return NULL;
}

Error *schema_prepare(sqlite3 *db) {
  int64_t application, version, objects;
  TRY(read_versions(db, &application, &version));
  TRY(sql_number(db, "SELECT count(*) FROM sqlite_schema", &objects));
  if (application != CATALOG_APPLICATION_ID && (application != 0 || version != 0 || objects != 0))
    return err_hint(err_new(ERR_REFUSED, "the file is a database of another program"),
                    "move it away, or name another directory with --state-dir");
  if (version > VERSION)
    return err_hint(
        err_new(ERR_UNSUPPORTED, "it is of version %" PRId64 ", this holdfast knows up to %d", version, (int)VERSION),
        "use the holdfast that wrote it, or a newer one");
  if (version < 0) return err_new(ERR_CORRUPT, "version %" PRId64 " cannot be", version);
  TRY(check_tables(db, version));
  return version == VERSION ? NULL : migrate(db, version);
}
