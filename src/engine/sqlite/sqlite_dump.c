#include "engine/sqlite/sqlite_dump.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "engine/sqlite/sqlite_dbfile.h"

/* A statement may have 10^9 bytes where nobody compiled it otherwise; a blob needs two for each. */
#define VALUE_MAX ((size_t)450 * 1000 * 1000)

enum { FLUSH_SIZE = 256 * 1024, COLUMNS_MAX = 32767 };

typedef struct Dump {
  sqlite3 *db;
  const char *path;
  SqliteDumpWrite *write;
  void *ctx;
  const Cancel *cancel;
  Buf text;        /* not yet written */
  StrList counted; /* tables with AUTOINCREMENT */
  bool has_virtual;
} Dump;

static Error *flush(Dump *d) {
  Error *err = d->text.len ? d->write(d->ctx, buf_bytes(&d->text)) : NULL;
  buf_clear(&d->text);
  return err;
}

static Error *flush_full(Dump *d) { return d->text.len < FLUSH_SIZE ? NULL : flush(d); }

static Error *sql_failed(const Dump *d, int rc, const char *doing) {
  Error *err = sqlite_error(rc, sqlite3_errmsg(d->db), d->path, doing);
  /* A module, function or collation of the application's own. */
  if ((rc & 0xff) != SQLITE_ERROR) return err;
  return err_hint(err_recode(err, ERR_UNSUPPORTED), "use --format db: the file holds everything");
}

/* `format` is sqlite3_mprintf's. */
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

static void stmt_cleanup(sqlite3_stmt **stmt) { (void)sqlite3_finalize(*stmt); }
#define AUTO_STMT __attribute__((cleanup(stmt_cleanup)))

static const char *column(sqlite3_stmt *stmt, int at) {
  const char *text = (const char *)sqlite3_column_text(stmt, at);
  return text ? text : "";
}

/* ---- values --------------------------------------------------------------------------------------------------------
 */

/* How this SQLite reads the text; its own conversion differs from the C library's in the last place at times. */
static bool sqlite_reads_as(const char *text, double value) {
  sqlite3_str *unused = NULL;
  (void)unused;
  double back = strtod(text, NULL);
  return memcmp(&back, &value, sizeof value) == 0;
}

/* m * 2^e with every step exact: a whole number below 2^53, and powers of two that decimal text gives exactly. */
static void add_exact(double value, Buf *out) {
  int exponent;
  double mantissa = ldexp(frexp(fabs(value), &exponent), 53);
  exponent -= 53;
  buf_printf(out, "(%s%.1f", value < 0 ? "-" : "", mantissa);
  for (; exponent >= 30; exponent -= 30) buf_add_str(out, "*1073741824.0");
  for (; exponent > 0; exponent--) buf_add_str(out, "*2.0");
  for (; exponent <= -30; exponent += 30) buf_add_str(out, "/1073741824.0");
  for (; exponent < 0; exponent++) buf_add_str(out, "/2.0");
  buf_add_str(out, ")");
}
