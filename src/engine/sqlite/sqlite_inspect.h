/* sqlite_inspect.h: what a database holds, found by SQL, as JSON: the schema's hash, tables with row counts and content
 * hashes, violated foreign keys, what integrity_check says. Backups record it; checks find it again and compare.
 */
#ifndef HF_ENGINE_SQLITE_INSPECT_H
#define HF_ENGINE_SQLITE_INSPECT_H

#include <jansson.h>

#include "base/buf.h"
#include "engine/sqlite/sqlite_view.h"

/* A connection to look through: a snapshot's view, or a plain one to a restored copy (view is NULL). */
typedef struct Subject {
  sqlite3 *db;
  View *view;
  const char *path; /* for messages */
} Subject;

typedef enum InspectDepth {
  INSPECT_SCHEMA,  /* reads the schema only */
  INSPECT_ROWS,    /* counts every table */
  INSPECT_CONTENT, /* reads every table */
} InspectDepth;

/* Sets in `out`:
 *   "schema": {"hash": HEX, "tables": N, "indexes": N, "views": N, "triggers": N}
 *   "tables": [{"name": TEXT, "rows": N or null, "content": HEX or null}, …]   in order of name, virtual ones left out
 *   "foreign_key_violations": N or null
 * A table that this SQLite cannot read for lack of a function or collation has nulls. ERR_DAMAGED: corrupt. */
Error *inspect(const Subject *subject, InspectDepth depth, json_t *out) NODISCARD;

/* Runs integrity_check or quick_check for at most 10 findings. *ok is true when it said "ok"; else `findings` has its
 * lines, joined by "; ". ERR_UNSUPPORTED when it cannot run here (a missing collation or function). */
Error *inspect_integrity(const Subject *subject, bool quick, bool *ok, Buf *findings) NODISCARD;

/* The parts of a snapshot's structure that cost a few pages to look at: the roots of all tables and indexes and the
 * list of free pages. ERR_DAMAGED says which page is wrong. */
Error *inspect_structure(const Subject *subject, Snapshot *snapshot, Cancel *cancel) NODISCARD;

#endif
