/* sqlite_dump.h: a database as SQL text that `sqlite3 new.db < file` turns into an equal one.
 *
 * One transaction: tables with their rows (virtual tables by their row in the schema, their content by their shadow
 * tables), AUTOINCREMENT counters, indexes, views, triggers. Values keep their type and every bit: reals as the
 * shortest text that reads back as the same number, text with NULs or carriage returns by replace(), infinities as
 * 9e999. Generated columns are computed anew; rowids that the rows' order would not give again are written out.
 * Statistics of ANALYZE beyond sqlite_stat1 are left to the next ANALYZE.
 */
#ifndef HF_ENGINE_SQLITE_DUMP_H
#define HF_ENGINE_SQLITE_DUMP_H

#include <sqlite3.h>

#include "base/buf.h"
#include "sys/cancel.h"

typedef Error *SqliteDumpWrite(void *ctx, Bytes part);

/* `path` is a private copy: it may be written to (its -wal and -shm). ERR_DAMAGED, ERR_UNSUPPORTED (a module or
 * collation that reading needs), ERR_LIMIT (a value larger than an SQL statement may be), and what `write` returns. */
Error *sqlite_dump(const char *path, SqliteDumpWrite *write, void *ctx, const Cancel *cancel) NODISCARD;

/* ---- the parts, for tests ---- */

/* An expression that reads as exactly this number; NaN is NULL. `cast` is SQLITE_DUMP_CAST, prepared: how SQLite reads
 * numbers. */
#define SQLITE_DUMP_CAST "SELECT CAST(?1 AS REAL)"
void sqlite_dump_real(sqlite3_stmt *cast, double value, Buf *out);
/* An expression that reads as exactly this text. */
void sqlite_dump_text(Bytes text, Buf *out);

#endif
