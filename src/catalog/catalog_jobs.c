#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "catalog/catalog_impl.h"

enum { NAME_MAX_LEN = 4096, TEXT_MAX_LEN = 8192, SUMMARY_MAX_LEN = 64 * 1024 };

static const char *const RESULT_NAMES[] = {
    [JOB_RUNNING] = "running",     [JOB_OK] = "ok",     [JOB_PARTIAL] = "partial", [JOB_FAILED] = "failed",
    [JOB_CANCELLED] = "cancelled", [JOB_DIED] = "died",
};

const char *job_result_name(JobResult result) { return RESULT_NAMES[result]; }

JobResult job_result_parse(const char *name) {
  for (size_t i = 0; name && i < NELEMS(RESULT_NAMES); i++)
    if (strcmp(name, RESULT_NAMES[i]) == 0) return (JobResult)i;
  return JOB_FAILED;
}

/* ---- recording --------------------------------------------------------------------------------------------------- */

void job_start_init(Sys *sys, const char *kind, JobStart *out) {
  uint8_t random[(JOB_ID_LEN - 1) / 2];
  *out = (JobStart){.kind = kind, .start_ns = sys_now_ns(sys)};
  sys_random(sys, random, sizeof random);
  hex_encode(random, sizeof random, out->id);
}

/* Parameters 1 to 8, the same in both statements. `mark` is borrowed until the statement is reset. */
static void bind_start(sqlite3_stmt *stmt, const JobStart *job, const char *mark) {
  sql_bind_text(stmt, 1, job->id, JOB_ID_LEN);
  sql_bind_text(stmt, 2, job->kind, NAME_MAX_LEN);
  sql_bind_text(stmt, 3, job->source ? job->source : "", NAME_MAX_LEN);
  sql_bind_text(stmt, 4, job->repository ? job->repository : "", NAME_MAX_LEN);
  sql_bind_text(stmt, 5, job->command, TEXT_MAX_LEN);
  sql_bind_u64(stmt, 6, (uint64_t)getpid());
  sql_bind_text(stmt, 7, mark, LIVENESS_LEN);
  sql_bind_u64(stmt, 8, job->start_ns);
}

static Error *record_begin(Catalog *catalog, const JobStart *job) {
  static const char sql[] =
      "INSERT INTO jobs(id, kind, source, repository, command, pid, process, started)"
      " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
  char mark[LIVENESS_LEN];
  AUTO_STMT sqlite3_stmt *stmt = NULL;
  TRY(sql_statement(catalog, sql, &stmt));
  liveness_mark(getpid(), mark);
  bind_start(stmt, job, mark);
  return sql_step(catalog, stmt, NULL);
}

Error *catalog_job_begin(Catalog *catalog, const JobStart *job) {
  if (!catalog) return NULL;
  LOCKED(&catalog->lock);
  Error *err = catalog_enter(catalog);
  if (!err) err = record_begin(catalog, job);
  return catalog_leave(catalog, err, "recording the start of job %s", job->id);
}

static void bind_outcome(sqlite3_stmt *stmt, const JobOutcome *outcome, uint64_t start_ns, uint64_t now_ns) {
  bool fits = outcome->summary_json && strnlen(outcome->summary_json, SUMMARY_MAX_LEN + 1) <= SUMMARY_MAX_LEN;
  uint64_t by_clock_ns = now_ns > start_ns ? now_ns - start_ns : 0;
  if (outcome->repository) sql_bind_text(stmt, 4, outcome->repository, NAME_MAX_LEN);
  sql_bind_u64(stmt, 9, now_ns);
  sql_bind_text(stmt, 10, job_result_name(outcome->result), NAME_MAX_LEN);
  CHECK(sqlite3_bind_int(stmt, 11, outcome->exit_code) == SQLITE_OK);
  sql_bind_text(stmt, 12, outcome->error, TEXT_MAX_LEN);
  sql_bind_uuid(stmt, 13, outcome->repository_id);
  sql_bind_uuid(stmt, 14, outcome->snapshot);
  sql_bind_u64(stmt, 15, outcome->read_bytes);
  sql_bind_u64(stmt, 16, outcome->new_bytes);
  sql_bind_u64(stmt, 17, outcome->stored_bytes);
  sql_bind_u64(stmt, 18, outcome->files);
  sql_bind_u64(stmt, 19, outcome->duration_ns ? outcome->duration_ns : by_clock_ns);
  sql_bind_text(stmt, 20, fits ? outcome->summary_json : NULL, SUMMARY_MAX_LEN);
}

/* Complete by itself: the start may have failed to be recorded, or be in a catalog that was moved aside since. */
static Error *record_end(Catalog *catalog, const JobStart *job, const JobOutcome *outcome) {
  static const char sql[] =
      "INSERT INTO jobs(id, kind, source, repository, command, pid, process, started, ended, result, exit_code, error,"
      " repository_id, snapshot, read_bytes, new_bytes, stored_bytes, files, duration, summary)"
      " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)"
      " ON CONFLICT(id) DO UPDATE SET source = excluded.source, repository = excluded.repository,"
      " ended = excluded.ended, result = excluded.result, exit_code = excluded.exit_code, error = excluded.error,"
      " repository_id = excluded.repository_id, snapshot = excluded.snapshot, read_bytes = excluded.read_bytes,"
      " new_bytes = excluded.new_bytes, stored_bytes = excluded.stored_bytes, files = excluded.files,"
      " duration = excluded.duration, summary = excluded.summary";
  char mark[LIVENESS_LEN];
  AUTO_STMT sqlite3_stmt *stmt = NULL;
  TRY(sql_statement(catalog, sql, &stmt));
  liveness_mark(getpid(), mark);
  bind_start(stmt, job, mark);
  bind_outcome(stmt, outcome, job->start_ns, sys_now_ns(catalog->sys));
  return sql_step(catalog, stmt, NULL);
}

static Error *flush_and_record_end(Catalog *catalog, const JobStart *job, const JobOutcome *outcome) {
  TRY(catalog_enter(catalog));
  /* The job's record matters more than what was gathered before it. */
  Error *flush = ledger_flush(catalog);
  return err_first(record_end(catalog, job, outcome), flush);
}

Error *catalog_job_end(Catalog *catalog, const JobStart *job, const JobOutcome *outcome) {
  CHECK(outcome->result > JOB_RUNNING && outcome->result < JOB_DIED);
  if (!catalog) return NULL;
  LOCKED(&catalog->lock);
  Error *err = flush_and_record_end(catalog, job, outcome);
  bool damaged = err_is(err, ERR_CORRUPT);
  err = catalog_leave(catalog, err, "recording the end of job %s", job->id);
  /* The new catalog begins with this job: a status that does not know the last success would raise alarms. */
  if (damaged) err_ignore(flush_and_record_end(catalog, job, outcome));
  return err;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

#define JOB_COLUMNS                                                      \
  "id, kind, source, repository, command, pid, started, " JOB_RESULT_SQL \
  ", ended, exit_code, error, repository_id, snapshot, read_bytes, new_bytes, stored_bytes, files, duration, summary"

static char *text_or_null(sqlite3_stmt *stmt, int at) {
  AUTO_FREE char *text = sql_text(stmt, at);
  return text && *text ? STEAL(text) : NULL;
}

static void read_job(sqlite3_stmt *stmt, Job *out) {
  *out = (Job){
      .kind = sql_text(stmt, 1),
      .source = text_or_null(stmt, 2),
      .repository = text_or_null(stmt, 3),
      .command = sql_text(stmt, 4),
      .pid = sqlite3_column_int64(stmt, 5),
      .start_ns = sql_u64(stmt, 6),
      .result = job_result_parse((const char *)sqlite3_column_text(stmt, 7)),
      .end_ns = sql_u64(stmt, 8),
      .exit_code = sqlite3_column_int(stmt, 9),
      .error = sql_text(stmt, 10),
      .repository_id = sql_text(stmt, 11),
      .snapshot = sql_text(stmt, 12),
      .read_bytes = sql_u64(stmt, 13),
      .new_bytes = sql_u64(stmt, 14),
      .stored_bytes = sql_u64(stmt, 15),
      .files = sql_u64(stmt, 16),
      .duration_ns = sql_u64(stmt, 17),
      .summary_json = sql_text(stmt, 18),
  };
  AUTO_FREE char *id = sql_text(stmt, 0);
  if (id) strncpy(out->id, id, sizeof out->id - 1);
}

static Error *read_jobs(Catalog *catalog, sqlite3_stmt *stmt, JobList *out) {
  for (;;) {
    bool row;
    TRY(sql_step(catalog, stmt, &row));
    if (!row) return NULL;
    MEM_ROOM(out->items, out->len, out->cap, 16);
    read_job(stmt, &out->items[out->len++]);
  }
}

static Error *query_jobs(Catalog *catalog, const JobQuery *query, JobList *out) {
  static const char sql[] = "SELECT " JOB_COLUMNS
                            " FROM jobs WHERE (?1 IS NULL OR source = ?1) AND (?2 IS NULL OR kind = ?2)"
                            " AND started >= ?3 ORDER BY started DESC, rowid DESC LIMIT ?4";
  AUTO_STMT sqlite3_stmt *stmt = NULL;
  TRY(sql_statement(catalog, sql, &stmt));
  sql_bind_text(stmt, 1, query->source, NAME_MAX_LEN);
  sql_bind_text(stmt, 2, query->kind, NAME_MAX_LEN);
  sql_bind_u64(stmt, 3, query->since_ns);
  sql_bind_u64(stmt, 4, query->limit ? query->limit : INT64_MAX);
  return read_jobs(catalog, stmt, out);
}

Error *catalog_job_list(Catalog *catalog, const JobQuery *query, JobList *out) {
  LOCKED(&catalog->lock);
  static const JobQuery everything;
  JobList list = {0};
  Error *err = catalog_enter(catalog);
  if (!err) err = query_jobs(catalog, query ? query : &everything, &list);
  if (err)
    job_list_free(&list);
  else
    *out = list;
  return catalog_leave(catalog, err, "listing jobs");
}

static Error *find_jobs(Catalog *catalog, const char *id_prefix, JobList *out) {
  /* The prefix is hex digits only, so none of them means anything to GLOB. */
  static const char sql[] = "SELECT " JOB_COLUMNS " FROM jobs WHERE id GLOB ?1 || '*' LIMIT 2";
  AUTO_STMT sqlite3_stmt *stmt = NULL;
  TRY(sql_statement(catalog, sql, &stmt));
  sql_bind_text(stmt, 1, id_prefix, JOB_ID_LEN);
  return read_jobs(catalog, stmt, out);
}

Error *catalog_job_get(Catalog *catalog, const char *id_prefix, Job *out) {
  size_t len = strlen(id_prefix);
  if (len == 0 || len >= JOB_ID_LEN || strspn(id_prefix, "0123456789abcdef") != len)
    return err_hint(err_new(ERR_USAGE, "finding job %s: a job id is up to 12 hex digits", id_prefix),
                    "`holdfast job ls` shows them");
  LOCKED(&catalog->lock);
  JobList list = {0};
  Error *err = catalog_enter(catalog);
  if (!err) err = find_jobs(catalog, id_prefix, &list);
  if (!err && list.len == 0) err = err_hint(err_new(ERR_NOT_FOUND, "no such job"), "`holdfast job ls` shows them");
  if (!err && list.len > 1)
    err = err_hint(err_new(ERR_USAGE, "several jobs begin so"), "give more digits; `holdfast job ls` shows them");
  if (!err) {
    *out = list.items[0];
    list.len = 0;
  }
  job_list_free(&list);
  return catalog_leave(catalog, err, "finding job %s", id_prefix);
}

void job_free(Job *job) {
  free(job->kind);
  free(job->source);
  free(job->repository);
  free(job->command);
  free(job->error);
  free(job->repository_id);
  free(job->snapshot);
  free(job->summary_json);
  *job = (Job){0};
}

void job_list_free(JobList *list) {
  for (size_t i = 0; i < list->len; i++) job_free(&list->items[i]);
  free(list->items);
  *list = (JobList){0};
}
