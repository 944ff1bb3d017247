/* sqlite_view.h: a snapshot as a read-only SQLite database: a file layer of its own serves SQLite the very bytes that
 * the backup stores, so that the schema, the row counts and what integrity_check says are of that state and no other,
 * and nothing is created beside the user's files.
 */
#ifndef HF_ENGINE_SQLITE_VIEW_H
#define HF_ENGINE_SQLITE_VIEW_H

#include <sqlite3.h>

#include "engine/sqlite/sqlite_snapshot.h"

typedef struct View View;

/* The snapshot is borrowed; while the view is open it is read from the view's thread only. */
Error *view_open(Snapshot *snapshot, const char *path, View **out, Cancel *cancel) NODISCARD;
sqlite3 *view_db(View *view);
/* For an SQLite result: the failure of the snapshot behind it, if there was one (changed meanwhile, unreadable,
 * cancelled), else what SQLite says. Consumes the recorded failure. */
Error *view_error(View *view, int rc, const char *doing) NODISCARD;
void view_close(View *take);

#endif
