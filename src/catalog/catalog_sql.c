#include <errno.h>

#include "base/mem.h"
#include "catalog/catalog_impl.h"
#include "repo/uuid.h"

/* ---- errors ------------------------------------------------------------------------------------------------------ */

static ErrCode code_of(int sqlite_code) {
  switch (sqlite_code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL: return ERR_TEMPORARY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return ERR_CORRUPT;
    case SQLITE_FULL: return ERR_NO_SPACE;
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH: return ERR_DENIED;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN: return ERR_IO;
    case SQLITE_CONSTRAINT: return ERR_EXISTS;
    case SQLITE_TOOBIG: return ERR_LIMIT;
    default: return ERR_INTERNAL;
  }
}

Error *sql_error(sqlite3 *db, int code) {
  if (!db) return err_new(ERR_INTERNAL, "SQLite: %s", sqlite3_errstr(code));
  int os = sqlite3_system_errno(db);
  int basic = code & 0xff;
  if (os != 0 && (basic == SQLITE_CANTOPEN || basic == SQLITE_IOERR || basic == SQLITE_FULL))
    return err_errno(os, "%s", sqlite3_errmsg(db));
  Error *err = err_new(code_of(code), "%s", sqlite3_errmsg(db));
  return basic == SQLITE_BUSY ? err_hint(err, "another holdfast holds the catalog: see `holdfast job ls`") : err;
}

Error *sql_file_error(sqlite3 *db) {
  int code = sqlite3_extended_errcode(db);
  Error *err = sql_error(db, code);
  return (code & 0xff) == SQLITE_ERROR ? err_recode(err, ERR_CORRUPT) : err;
}

/* ---- statements -------------------------------------------------------------------------------------------------- */

Error *sql_exec(sqlite3 *db, const char *sql) {
  int code = sqlite3_exec(db, sql, NULL, NULL, NULL);
  return code == SQLITE_OK ? NULL : sql_error(db, sqlite3_extended_errcode(db));
}

Error *sql_number(sqlite3 *db, const char *sql, int64_t *out) {
  sqlite3_stmt *stmt = NULL;
  int code = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);
  if (code == SQLITE_OK) code = sqlite3_step(stmt);
  bool good = code == SQLITE_ROW || code == SQLITE_DONE;
  Error *err = good ? NULL : sql_file_error(db);
  if (good) *out = code == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : 0;
  sqlite3_finalize(stmt);
  return err;
}

Error *sql_statement(Catalog *catalog, const char *sql, sqlite3_stmt **out) {
  size_t i = 0;
  while (i < CATALOG_STATEMENTS_MAX && catalog->statements[i].sql && catalog->statements[i].sql != sql) i++;
  CHECK(i < CATALOG_STATEMENTS_MAX);
  if (!catalog->statements[i].sql) {
    sqlite3_stmt *stmt = NULL;
    int code = sqlite3_prepare_v3(catalog->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt, NULL);
    if (code != SQLITE_OK) return sql_file_error(catalog->db);
    catalog->statements[i].sql = sql;
    catalog->statements[i].stmt = stmt;
  }
  *out = catalog->statements[i].stmt;
  return NULL;
}

void sql_statements_free(Catalog *catalog) {
  for (size_t i = 0; i < CATALOG_STATEMENTS_MAX; i++) {
    sqlite3_finalize(catalog->statements[i].stmt);
    catalog->statements[i].sql = NULL;
    catalog->statements[i].stmt = NULL;
  }
}

Error *sql_step(Catalog *catalog, sqlite3_stmt *stmt, bool *row) {
  int code = sqlite3_step(stmt);
  if (code != SQLITE_ROW && code != SQLITE_DONE) return sql_error(catalog->db, sqlite3_extended_errcode(catalog->db));
  if (row) *row = code == SQLITE_ROW;
  return NULL;
}

/* ---- transactions ------------------------------------------------------------------------------------------------ */

Error *sql_begin(Catalog *catalog) {
  /* IMMEDIATE: the wait for other writers happens here, and what is read in it is not outdated when it is written. */
  return sql_exec(catalog->db, "BEGIN IMMEDIATE");
}

Error *sql_end(Catalog *catalog, Error *take) {
  if (!take) take = sql_exec(catalog->db, "COMMIT");
  /* Some failures have ended the transaction already. */
  if (take && !sqlite3_get_autocommit(catalog->db)) err_ignore(sql_exec(catalog->db, "ROLLBACK"));
  return take;
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

void sql_bind_text(sqlite3_stmt *stmt, int at, const char *text, size_t max_len) {
  if (!text) {
    CHECK(sqlite3_bind_null(stmt, at) == SQLITE_OK);
    return;
  }
  size_t len = strnlen(text, max_len);
  /* Cut before a character, not in it. */
  while (len > 0 && text[len] && ((uint8_t)text[len] & 0xc0) == 0x80) len--;
  CHECK(sqlite3_bind_text64(stmt, at, text, len, SQLITE_STATIC, SQLITE_UTF8) == SQLITE_OK);
}

void sql_bind_u64(sqlite3_stmt *stmt, int at, uint64_t value) {
  CHECK(sqlite3_bind_int64(stmt, at, value > INT64_MAX ? INT64_MAX : (int64_t)value) == SQLITE_OK);
}

void sql_bind_uuid(sqlite3_stmt *stmt, int at, const Uuid *id) {
  char text[UUID_TEXT_LEN];
  int code = id ? sqlite3_bind_text(stmt, at, uuid_text(id, text), -1, SQLITE_TRANSIENT) : sqlite3_bind_null(stmt, at);
  CHECK(code == SQLITE_OK);
}

char *sql_text(sqlite3_stmt *stmt, int at) {
  const char *text = (const char *)sqlite3_column_text(stmt, at);
  return mem_strdup(text);
}

uint64_t sql_u64(sqlite3_stmt *stmt, int at) {
  int64_t value = sqlite3_column_int64(stmt, at);
  return value < 0 ? 0 : (uint64_t)value;
}
