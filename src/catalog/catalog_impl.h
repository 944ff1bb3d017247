/* catalog_impl.h: what the modules of the catalog share: the connection, its prepared statements, and the frame that
 * every public function runs in:
 *
 *   LOCKED(&catalog->lock);
 *   Error *err = catalog_enter(catalog);
 *   if (!err) err = …;
 *   return catalog_leave(catalog, err, "recording job %s", id);
 *
 * All functions here are called with the mutex held. */
#ifndef HF_CATALOG_CATALOG_IMPL_H
#define HF_CATALOG_CATALOG_IMPL_H

#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "catalog/catalog.h"

enum { CATALOG_STATEMENTS_MAX = 32, CATALOG_BATCH = 256 };

typedef struct PackRecord {
  Uuid repo, pack;
  unsigned level;
  uint64_t time_ns, size;
} PackRecord;

struct Catalog {
  Sys *sys;
  char *path;      /* catalog.db */
  char *lock_path; /* held (flock) while the file is opened, migrated or moved aside */
  unsigned lock_wait_ms;
  Mutex lock;             /* for everything below */
  sqlite3 *db;            /* NULL: closed, the next call opens it */
  dev_t dev;              /* which file that is, */
  ino_t inode;            /* should another process move it aside */
  struct stat guarded[2]; /* it and its -shm, which nobody here may open in another way (sys/lockguard.h) */
  size_t guarded_len;
  struct {
    const char *sql;
    sqlite3_stmt *stmt;
  } statements[CATALOG_STATEMENTS_MAX];
  char *moved_aside;
  PackRecord batch[CATALOG_BATCH];
  size_t batch_len;
  uint64_t batch_since_ns; /* sys_mono_ns of its first record */
};

/* ---- catalog.c: the frame ---- */
/* Opens the file again when it was closed or is another one now. */
Error *catalog_enter(Catalog *catalog) NODISCARD;
/* Prepends what was being done; moves a damaged file aside and begins a new one. */
Error *catalog_leave(Catalog *catalog, Error *take, const char *doing, ...) PRINTF_LIKE(3, 4) NODISCARD;

/* ---- catalog_sql.c ---- */
/* From sqlite3_errcode and friends of `db` (NULL: out of memory at opening). */
Error *sql_error(sqlite3 *db, int code) NODISCARD;
/* The last failure, of a statement that is right: SQLITE_ERROR (a table, a column or the file format is not what it has
 * to be) is damage too. */
Error *sql_file_error(sqlite3 *db) NODISCARD;
/* Statements without results. */
Error *sql_exec(sqlite3 *db, const char *sql) NODISCARD;
/* The first column of the first row; 0 without a row. */
Error *sql_number(sqlite3 *db, const char *sql, int64_t *out) NODISCARD;
/* Prepared once for each text, which lives for ever (found again by its address). Borrowed; reset by AUTO_STMT. */
Error *sql_statement(Catalog *catalog, const char *sql, sqlite3_stmt **out) NODISCARD;
void sql_statements_free(Catalog *catalog);
/* *row is false at the end. `row` may be NULL for statements without rows. */
Error *sql_step(Catalog *catalog, sqlite3_stmt *stmt, bool *row) NODISCARD;
/* One transaction that writes. sql_end commits when take is NULL, else rolls back; returns what went wrong first. */
Error *sql_begin(Catalog *catalog) NODISCARD;
Error *sql_end(Catalog *catalog, Error *take) NODISCARD;

/* Binding cannot fail but for memory, which aborts. Text is borrowed until the statement is reset. */
void sql_bind_text(sqlite3_stmt *stmt, int at, const char *text, size_t max_len); /* NULL: NULL; cut at max_len */
void sql_bind_u64(sqlite3_stmt *stmt, int at, uint64_t value);
void sql_bind_uuid(sqlite3_stmt *stmt, int at, const Uuid *id); /* as text; NULL: NULL */
char *sql_text(sqlite3_stmt *stmt, int at);                     /* owned; NULL when NULL */
uint64_t sql_u64(sqlite3_stmt *stmt, int at);                   /* 0 when negative or NULL */

static inline void sql_statement_cleanup(sqlite3_stmt **stmt) {
  if (!*stmt) return;
  sqlite3_reset(*stmt);
  sqlite3_clear_bindings(*stmt);
}
#define AUTO_STMT __attribute__((cleanup(sql_statement_cleanup)))

/* ---- catalog_schema.c ---- */
enum { CATALOG_APPLICATION_ID = 0x68664361 }; /* "hfCa" */
/* Makes or migrates the tables. ERR_UNSUPPORTED, ERR_REFUSED, ERR_CORRUPT when the tables are not what the version
 * says. */
Error *schema_prepare(sqlite3 *db) NODISCARD;

/* ---- catalog_ledger.c ---- */
Error *ledger_flush(Catalog *catalog) NODISCARD;
void check_read(sqlite3_stmt *stmt, int at, SnapshotCheck *out); /* columns level, passed, total, time from `at` on */

/* ---- catalog_jobs.c ---- */
/* The result of a row of jobs, as an SQL expression: a job without a result runs or died. */
#define JOB_RESULT_SQL "coalesce(result, iif(holdfast_alive(pid, process), 'running', 'died'))"
JobResult job_result_parse(const char *name);

/* ---- liveness.c: is that process still there? ---- */
enum { LIVENESS_LEN = 80 };
/* What tells a process from a later one with the same number: the machine's boot and the process's start. "" when
 * /proc does not tell. */
void liveness_mark(pid_t pid, char out[LIVENESS_LEN]);
/* False only when it is certain that the process is gone. */
bool liveness_check(pid_t pid, const char *mark);

#endif
