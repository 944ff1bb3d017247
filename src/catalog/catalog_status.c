#include "base/mem.h"
#include "catalog/catalog_impl.h"

enum { NAME_MAX_LEN = 4096 };

/* ---- which there are, and the counts ----------------------------------------------------------------------------- */

static Error *read_groups(Catalog *catalog, const char *source, uint64_t since_ns, SourceStatusList *out) {
  static const char sql[] =
      "SELECT source, repository, count(*) FILTER (WHERE counts), count(*) FILTER (WHERE counts AND state = 'ok'),"
      " count(*) FILTER (WHERE counts AND state = 'partial'), sum(stored_bytes) FILTER (WHERE counts)"
      " FROM (SELECT source, repository, stored_bytes, state, started >= ?2 AND state <> 'running' AS counts"
      "  FROM (SELECT source, repository, stored_bytes, started, " JOB_RESULT_SQL
      " AS state FROM jobs WHERE kind = 'backup' AND (?1 IS NULL OR source = ?1)))"
      " GROUP BY source, repository ORDER BY source, repository";
  AUTO_STMT sqlite3_stmt *stmt = NULL;
  TRY(sql_statement(catalog, sql, &stmt));
  sql_bind_text(stmt, 1, source, NAME_MAX_LEN);
  sql_bind_u64(stmt, 2, since_ns);
  for (;;) {
    bool row;
    TRY(sql_step(catalog, stmt, &row));
    if (!row) return NULL;
    MEM_ROOM(out->items, out->len, out->cap, 16);
    out->items[out->len++] = (SourceStatus){.source = sql_text(stmt, 0),
                                            .repository = sql_text(stmt, 1),
                                            .jobs = sql_u64(stmt, 2),
                                            .succeeded = sql_u64(stmt, 3),
                                            .partial = sql_u64(stmt, 4),
                                            .stored_bytes = sql_u64(stmt, 5)};
  }
}

/* ---- the last of each kind: one look-up in an index each -----------------------------------------------------------
 */

/* `sql` takes source and repository. */
static Error *find_last(Catalog *catalog, const char *sql, const SourceStatus *status, sqlite3_stmt **stmt, bool *row) {
  TRY(sql_statement(catalog, sql, stmt));
  sql_bind_text(*stmt, 1, status->source, NAME_MAX_LEN);
  sql_bind_text(*stmt, 2, status->repository, NAME_MAX_LEN);
  return sql_step(catalog, *stmt, row);
}

#define OF_SOURCE "kind = 'backup' AND source = ?1 AND repository = ?2"
#define NEWEST "ORDER BY started DESC, rowid DESC LIMIT 1"

static Error *read_last_attempt(Catalog *catalog, SourceStatus *status) {
  static const char sql[] = "SELECT started, error, " JOB_RESULT_SQL " FROM jobs WHERE " OF_SOURCE " " NEWEST;
  AUTO_STMT sqlite3_stmt *stmt = NULL;
  bool row;
  TRY(find_last(catalog, sql, status, &stmt, &row));
  if (!row) return NULL;
  status->last_attempt_ns = sql_u64(stmt, 0);
  status->last_error = sql_text(stmt, 1);
  status->last_result = job_result_parse((const char *)sqlite3_column_text(stmt, 2));
  return NULL;
}

static Error *read_last_success(Catalog *catalog, SourceStatus *status) {
  static const char sql[] = "SELECT started FROM jobs WHERE " OF_SOURCE " AND result = 'ok' " NEWEST;
  AUTO_STMT sqlite3_stmt *stmt = NULL;
  bool row;
  TRY(find_last(catalog, sql, status, &stmt, &row));
  if (row) status->last_success_ns = sql_u64(stmt, 0);
  return NULL;
}

static Error *read_last_snapshot(Catalog *catalog, SourceStatus *status) {
  static const char sql[] = "SELECT started, snapshot FROM jobs WHERE " OF_SOURCE
                            " AND result IN ('ok', 'partial') AND snapshot IS NOT NULL " NEWEST;
  AUTO_STMT sqlite3_stmt *stmt = NULL;
  bool row;
  TRY(find_last(catalog, sql, status, &stmt, &row));
  if (!row) return NULL;
  status->last_snapshot_ns = sql_u64(stmt, 0);
  status->last_snapshot = sql_text(stmt, 1);
  return NULL;
}

/* A copied snapshot has the same id in two repositories; a job that knew its repository's id tells them apart. */
static Error *read_last_check(Catalog *catalog, SourceStatus *status) {
  static const char sql[] =
      "SELECT c.snapshot, c.level, c.passed, c.total, c.time FROM jobs AS j JOIN checks AS c ON c.snapshot = j.snapshot"
      " WHERE j.kind = 'backup' AND j.source = ?1 AND j.repository = ?2 AND (j.repository_id IS NULL"
      "  OR c.repository = (SELECT number FROM repositories WHERE id = j.repository_id))"
      " ORDER BY c.time DESC, c.rowid DESC LIMIT 1";
  AUTO_STMT sqlite3_stmt *stmt = NULL;
  bool row;
  TRY(find_last(catalog, sql, status, &stmt, &row));
  if (!row) return NULL;
  status->last_check_snapshot = sql_text(stmt, 0);
  check_read(stmt, 1, &status->last_check);
  return NULL;
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

static Error *read_status(Catalog *catalog, const char *source, uint64_t since_ns, SourceStatusList *out) {
  TRY(read_groups(catalog, source, since_ns, out));
  for (size_t i = 0; i < out->len; i++) {
    TRY(read_last_attempt(catalog, &out->items[i]));
    TRY(read_last_success(catalog, &out->items[i]));
    TRY(read_last_snapshot(catalog, &out->items[i]));
    TRY(read_last_check(catalog, &out->items[i]));
  }
  return NULL;
}

/* One moment for all of it: a job that ends meanwhile is in every number or in none. */
static Error *read_in_transaction(Catalog *catalog, const char *source, uint64_t since_ns, SourceStatusList *out) {
  TRY(sql_exec(catalog->db, "BEGIN"));
  return sql_end(catalog, read_status(catalog, source, since_ns, out));
}

Error *catalog_status(Catalog *catalog, const char *source, uint64_t since_ns, SourceStatusList *out) {
  LOCKED(&catalog->lock);
  SourceStatusList list = {0};
  Error *err = catalog_enter(catalog);
  if (!err) err = read_in_transaction(catalog, source, since_ns, &list);
  if (err)
    source_status_list_free(&list);
  else
    *out = list;
  return catalog_leave(catalog, err, "reading the status");
}

void source_status_list_free(SourceStatusList *list) {
  for (size_t i = 0; i < list->len; i++) {
    free(list->items[i].source);
    free(list->items[i].repository);
    free(list->items[i].last_error);
    free(list->items[i].last_snapshot);
    free(list->items[i].last_check_snapshot);
  }
  free(list->items);
  *list = (SourceStatusList){0};
}
