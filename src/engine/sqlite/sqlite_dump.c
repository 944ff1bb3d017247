#include "engine/sqlite/sqlite_dump.h"

#include "base/mem.h"
#include "base/str.h"
#include "engine/sqlite/sqlite_dbfile.h"

/* A statement may have 10^9 bytes where nobody compiled it otherwise; a blob needs two for each. */
enum { VALUE_MAX = 450 * 1000 * 1000, FLUSH_SIZE = 256 * 1024 };

typedef struct Dump {
  sqlite3 *db;
  const char *path;
  SqliteDumpWrite *write;
  void *ctx;
  const Cancel *cancel;
  sqlite3_stmt *cast;
  Buf text;             /* not yet written */
  bool counters;        /* a table has AUTOINCREMENT */
  bool writable_schema; /* was switched on */
} Dump;

typedef struct DumpTable {
  const char *name;
  StrList columns; /* those that are stored, not computed */
  const char
      *rowid; /* a name of the rowid to write; NULL: it is a column, or there is none, or it need not be written */
} DumpTable;

static Error *flush(Dump *d) {
  Error *err = d->text.len ? d->write(d->ctx, buf_bytes(&d->text)) : NULL;
  buf_clear(&d->text);
  return err;
}

static Error *sql_failed(const Dump *d, int rc, const char *doing) {
  Error *err = sqlite_error(rc, sqlite3_errmsg(d->db), d->path, doing);
  if ((rc & 0xff) != SQLITE_ERROR) return err;
  /* A module, function or collation of the application's own. */
  return err_hint(err_recode(err, ERR_UNSUPPORTED), "use --format db: the file holds everything");
}

static void stmt_cleanup(sqlite3_stmt **stmt) { (void)sqlite3_finalize(*stmt); }
#define AUTO_STMT __attribute__((cleanup(stmt_cleanup)))

/* `format` is sqlite3_mprintf's, with one argument. */
static Error *prepare(const Dump *d, sqlite3_stmt **out, const char *format, const char *name) {
  char *sql = sqlite3_mprintf(format, name);
  CHECK(sql != NULL);
  int rc = sqlite3_prepare_v2(d->db, sql, -1, out, NULL);
  sqlite3_free(sql);
  return rc == SQLITE_OK ? NULL : sql_failed(d, rc, "reading");
}

static Error *step(const Dump *d, sqlite3_stmt *stmt, bool *row) {
  TRY(cancel_check(d->cancel));
  int rc = sqlite3_step(stmt);
  *row = rc == SQLITE_ROW;
  return rc == SQLITE_ROW || rc == SQLITE_DONE ? NULL : sql_failed(d, rc, "reading");
}

/* The first column of the first row, or 0. */
static Error *number(const Dump *d, const char *sql, int64_t *out) {
  AUTO_STMT sqlite3_stmt *stmt = NULL;
  bool row;
  *out = 0;
  TRY(prepare(d, &stmt, sql, NULL));
  TRY(step(d, stmt, &row));
  if (row) *out = sqlite3_column_int64(stmt, 0);
  return NULL;
}

static const char *text_of(sqlite3_stmt *stmt, int at) {
  const char *text = (const char *)sqlite3_column_text(stmt, at);
  return text ? text : "";
}

/* "a ""quoted"" name" */
static void add_name(Buf *out, const char *name) {
  buf_add_str(out, "\"");
  for (const char *c = name; *c; c++) {
    if (*c == '"') buf_add_str(out, "\"");
    buf_add(out, c, 1);
  }
  buf_add_str(out, "\"");
}

/* The schema's own words. A comment may be open at their end. */
static void add_statement(Buf *out, const char *sql) {
  static const char *const ends[] = {";", "\n;", "*/;"};
  for (size_t i = 0; i < NELEMS(ends); i++) {
    AUTO_FREE char *whole = mem_printf("%s%s\n", sql, ends[i]);
    if (i + 1 < NELEMS(ends) && !sqlite3_complete(whole)) continue;
    buf_add_str(out, whole);
    return;
  }
}

/* ---- rows ----------------------------------------------------------------------------------------------------------
 */

static void add_blob(Bytes blob, Buf *out) {
  static const char digits[] = "0123456789abcdef";
  buf_add_str(out, "X'");
  uint8_t *to = buf_grow(out, 2 * blob.len);
  for (size_t i = 0; i < blob.len; i++) {
    *to++ = (uint8_t)digits[blob.data[i] >> 4];
    *to++ = (uint8_t)digits[blob.data[i] & 15];
  }
  buf_add_str(out, "'");
}

static Error *add_value(Dump *d, sqlite3_stmt *stmt, int at) {
  int type = sqlite3_column_type(stmt, at);
  if (type == SQLITE_NULL) {
    buf_add_str(&d->text, "NULL");
  } else if (type == SQLITE_INTEGER) {
    buf_printf(&d->text, "%lld", (long long)sqlite3_column_int64(stmt, at));
  } else if (type == SQLITE_FLOAT) {
    sqlite_dump_real(d->cast, sqlite3_column_double(stmt, at), &d->text);
  } else {
    const void *data = type == SQLITE_BLOB ? sqlite3_column_blob(stmt, at) : sqlite3_column_text(stmt, at);
    Bytes value = bytes(data, (size_t)sqlite3_column_bytes(stmt, at));
    if (value.len > VALUE_MAX)
      return err_hint(
          err_new(ERR_LIMIT, "%s holds a value of %zu bytes: too large for an SQL statement", d->path, value.len),
          "use --format db");
    if (type == SQLITE_BLOB)
      add_blob(value, &d->text);
    else
      sqlite_dump_text(value, &d->text);
  }
  return NULL;
}

static void add_insert(const DumpTable *table, Buf *out) {
  buf_add_str(out, "INSERT INTO ");
  add_name(out, table->name);
  if (table->rowid) {
    buf_printf(out, "(%s", table->rowid);
    for (size_t i = 0; i < table->columns.len; i++) {
      buf_add_str(out, ",");
      add_name(out, table->columns.items[i]);
    }
    buf_add_str(out, ")");
  }
  buf_add_str(out, " VALUES(");
}

/* `from` stands behind FROM and may hold conditions. */
static Error *dump_rows(Dump *d, const DumpTable *table, const char *from) {
  AUTO_BUF Buf sql = {0}, head = {0};
  buf_printf(&sql, "SELECT %s", table->rowid ? table->rowid : "");
  for (size_t i = 0; i < table->columns.len; i++) {
    if (i || table->rowid) buf_add_str(&sql, ",");
    add_name(&sql, table->columns.items[i]);
  }
  buf_printf(&sql, " FROM %s", from);
  add_insert(table, &head);
  AUTO_FREE char *select = buf_steal_str(&sql);
  AUTO_STMT sqlite3_stmt *stmt = NULL;
  TRY(prepare(d, &stmt, "%s", select));
  int columns = sqlite3_column_count(stmt);
  for (;;) {
    bool row;
    TRY(step(d, stmt, &row));
    if (!row) return NULL;
    buf_add(&d->text, head.data, head.len);
    for (int i = 0; i < columns; i++) {
      if (i) buf_add_str(&d->text, ",");
      TRY(add_value(d, stmt, i));
    }
    buf_add_str(&d->text, ");\n");
    if (d->text.len >= FLUSH_SIZE) TRY(flush(d));
  }
}

/* ---- tables --------------------------------------------------------------------------------------------------------
 */

static bool has_column(const StrList *columns, const char *name) {
  for (size_t i = 0; i < columns->len; i++)
    if (sqlite3_stricmp(columns->items[i], name) == 0) return true;
  return false;
}

/* A key with an index of its own is not the rowid: INTEGER PRIMARY KEY DESC looks like it and is none. */
static Error *has_key_index(Dump *d, const char *table, bool *out) {
  AUTO_STMT sqlite3_stmt *stmt = NULL;
  TRY(prepare(d, &stmt, "SELECT 1 FROM pragma_index_list(%Q) WHERE origin = 'pk'", table));
  return step(d, stmt, out);
}

/* All columns, computed ones too, into `all`; the stored ones into the table. *alias: one of them is the rowid. */
static Error *read_columns(Dump *d, DumpTable *table, StrList *all, bool *alias) {
  AUTO_STMT sqlite3_stmt *stmt = NULL;
  *alias = false;
  TRY(prepare(d, &stmt, "SELECT name, hidden, pk, type FROM pragma_table_xinfo(%Q)", table->name));
  size_t keys = 0;
  bool integer_key = false;
  for (;;) {
    bool row;
    TRY(step(d, stmt, &row));
    if (!row) break;
    const char *name = text_of(stmt, 0);
    strlist_add(all, name);
    if (sqlite3_column_int(stmt, 1) == 0) strlist_add(&table->columns, name);
    if (sqlite3_column_int(stmt, 2) == 0) continue;
    keys++;
    integer_key = sqlite3_stricmp(text_of(stmt, 3), "INTEGER") == 0;
    int counter = 0;
    (void)sqlite3_table_column_metadata(d->db, "main", table->name, name, NULL, NULL, NULL, NULL, &counter);
    if (counter) d->counters = true;
  }
  bool has_index = false;
  if (keys == 1 && integer_key) TRY(has_key_index(d, table->name, &has_index));
  *alias = keys == 1 && integer_key && !has_index;
  return NULL;
}

/* Only a table WITHOUT ROWID does not know any of the rowid's names. */
static bool is_without_rowid(Dump *d, const char *table, const char *rowid) {
  char *sql = sqlite3_mprintf("SELECT %s FROM \"%w\"", rowid, table);
  CHECK(sql != NULL);
  sqlite3_stmt *stmt = NULL;
  int rc = sqlite3_prepare_v2(d->db, sql, -1, &stmt, NULL);
  sqlite3_free(sql);
  (void)sqlite3_finalize(stmt);
  return rc == SQLITE_ERROR;
}

/* Rows inserted into an empty table get the rowids 1, 2, 3, …: often what they had. */
static Error *rows_are_numbered(Dump *d, const DumpTable *table, const char *rowid, bool *out) {
  AUTO_BUF Buf sql = {0};
  buf_printf(&sql, "SELECT count(*) = coalesce(max(%s), 0) AND coalesce(min(%s), 1) = 1 FROM ", rowid, rowid);
  add_name(&sql, table->name);
  buf_add_str(&sql, " NOT INDEXED");
  AUTO_FREE char *text = buf_steal_str(&sql);
  AUTO_STMT sqlite3_stmt *stmt = NULL;
  bool row;
  TRY(prepare(d, &stmt, "%s", text));
  TRY(step(d, stmt, &row));
  *out = row && sqlite3_column_int(stmt, 0) != 0;
  return NULL;
}

/* A table whose rowid no column shows and whose rows would get another one. */
static Error *choose_rowid(Dump *d, DumpTable *table, const StrList *all, bool alias) {
  static const char *const names[] = {"rowid", "_rowid_", "oid"};
  if (alias) return NULL;
  for (size_t i = 0; i < NELEMS(names); i++) {
    bool numbered;
    if (has_column(all, names[i])) continue;
    if (is_without_rowid(d, table->name, names[i])) return NULL;
    TRY(rows_are_numbered(d, table, names[i], &numbered));
    if (!numbered) table->rowid = names[i];
    return NULL;
  }
  return NULL;
}

static Error *dump_content(Dump *d, const char *name) {
  DumpTable table = {.name = name};
  AUTO_STRLIST StrList all = {0};
  AUTO_BUF Buf from = {0};
  bool alias;
  Error *err = read_columns(d, &table, &all, &alias);
  if (!err) err = choose_rowid(d, &table, &all, alias);
  if (!err && table.columns.len) {
    add_name(&from, name);
    buf_add_str(&from, " NOT INDEXED");
    AUTO_FREE char *text = buf_steal_str(&from);
    err = dump_rows(d, &table, text);
  }
  strlist_free(&table.columns);
  return err;
}

/* Creating a virtual table would create its shadow tables too: its row in the schema is all there is to it. */
static void dump_virtual(Dump *d, const char *name, const char *sql) {
  if (!d->writable_schema) buf_add_str(&d->text, "PRAGMA writable_schema=ON;\n");
  d->writable_schema = true;
  buf_add_str(&d->text, "INSERT INTO sqlite_master(type,name,tbl_name,rootpage,sql) VALUES('table',");
  sqlite_dump_text(bytes_str(name), &d->text);
  buf_add_str(&d->text, ",");
  sqlite_dump_text(bytes_str(name), &d->text);
  buf_add_str(&d->text, ",0,");
  sqlite_dump_text(bytes_str(sql), &d->text);
  buf_add_str(&d->text, ");\n");
}

static Error *dump_table(Dump *d, const char *name, const char *sql, bool is_virtual) {
  if (is_virtual) {
    dump_virtual(d, name, sql);
    return NULL;
  }
  add_statement(&d->text, sql);
  return dump_content(d, name);
}

static Error *dump_tables(Dump *d) {
  static const char query[] =
      "SELECT name, sql, rootpage FROM sqlite_master WHERE type = 'table' AND sql NOT NULL"
      " AND name NOT LIKE 'sqlite\\_%%' ESCAPE '\\' ORDER BY rowid";
  AUTO_STMT sqlite3_stmt *stmt = NULL;
  TRY(prepare(d, &stmt, query, NULL));
  for (;;) {
    bool row;
    TRY(step(d, stmt, &row));
    if (!row) return NULL;
    TRY(dump_table(d, text_of(stmt, 0), text_of(stmt, 1), sqlite3_column_int64(stmt, 2) == 0));
  }
}

/* ---- what SQLite keeps for itself ----------------------------------------------------------------------------------
 */

static Error *has_table(Dump *d, const char *name, bool *out) {
  AUTO_STMT sqlite3_stmt *stmt = NULL;
  TRY(prepare(d, &stmt, "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = %Q", name));
  return step(d, stmt, out);
}

/* `head` brings the table about in a new database. */
static Error *dump_own(Dump *d, const char *name, const char *head) {
  bool there;
  TRY(has_table(d, name, &there));
  if (!there) return NULL;
  buf_printf(&d->text, "%sDELETE FROM %s;\n", head, name);
  return dump_content(d, name);
}

/* ---- the rest of the schema ----------------------------------------------------------------------------------------
 */

static Error *dump_others(Dump *d, const char *type) {
  AUTO_STMT sqlite3_stmt *stmt = NULL;
  TRY(prepare(d, &stmt, "SELECT sql FROM sqlite_master WHERE type = %Q AND sql NOT NULL ORDER BY rowid", type));
  for (;;) {
    bool row;
    TRY(step(d, stmt, &row));
    if (!row) return NULL;
    add_statement(&d->text, text_of(stmt, 0));
    if (d->text.len >= FLUSH_SIZE) TRY(flush(d));
  }
}

static Error *dump_head(Dump *d) {
  AUTO_STMT sqlite3_stmt *stmt = NULL;
  bool row;
  int64_t version, application;
  TRY(prepare(d, &stmt, "PRAGMA encoding", NULL));
  TRY(step(d, stmt, &row));
  const char *encoding = row ? text_of(stmt, 0) : "UTF-8";
  TRY(number(d, "PRAGMA user_version", &version));
  TRY(number(d, "PRAGMA application_id", &application));
  if (strcmp(encoding, "UTF-8") != 0) buf_printf(&d->text, "PRAGMA encoding='%s';\n", encoding);
  buf_add_str(&d->text, "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n");
  if (version) buf_printf(&d->text, "PRAGMA user_version=%lld;\n", (long long)version);
  if (application) buf_printf(&d->text, "PRAGMA application_id=%lld;\n", (long long)application);
  return NULL;
}

static Error *dump_all(Dump *d) {
  TRY(dump_head(d));
  TRY(dump_tables(d));
  if (d->counters) TRY(dump_own(d, "sqlite_sequence", ""));
  TRY(dump_others(d, "index"));
  TRY(dump_others(d, "view"));
  TRY(dump_others(d, "trigger"));
  TRY(dump_own(d, "sqlite_stat1", "ANALYZE sqlite_master;\n"));
  buf_add_str(&d->text, "COMMIT;\n");
  if (d->writable_schema) buf_add_str(&d->text, "PRAGMA writable_schema=RESET;\n");
  return flush(d);
}

Error *sqlite_dump(const char *path, SqliteDumpWrite *write, void *ctx, const Cancel *cancel) {
  Dump d = {.path = path, .write = write, .ctx = ctx, .cancel = cancel};
  int rc = sqlite3_open_v2(path, &d.db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
  CHECK(d.db != NULL);
  /* What a schema may do while it is only read: nothing. */
  (void)sqlite3_db_config(d.db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
  if (rc == SQLITE_OK) rc = sqlite3_prepare_v2(d.db, SQLITE_DUMP_CAST, -1, &d.cast, NULL);
  Error *err = rc == SQLITE_OK ? dump_all(&d) : sql_failed(&d, rc, "opening");
  buf_free(&d.text);
  (void)sqlite3_finalize(d.cast);
  (void)sqlite3_close(d.db);
  return err_wrap(err, "writing SQL");
}
