/* sqlite_dbfile.h: a database's main file, opened for reading through SQLite's own file layer.
 *
 * POSIX locks belong to the process: closing any descriptor of a database drops every lock the process has on it, those
 * of other connections included. SQLite's unix VFS knows about that and keeps such descriptors open until the locks are
 * gone; so the main file is never opened in another way here, not even to look at its header. The -wal and -journal
 * files carry no locks and are read with plain descriptors.
 */
#ifndef HF_ENGINE_SQLITE_DBFILE_H
#define HF_ENGINE_SQLITE_DBFILE_H

#include <sqlite3.h>

#include "base/str.h"
#include "sys/cancel.h"

/* ---- errors of SQLite ---------------------------------------------------------------------------------------- */

/* "doing PATH: MESSAGE"; the code follows the result: busy is ERR_UNREACHABLE, corrupt ERR_DAMAGED, and so on, with a
 * hint. message may be NULL. */
Error *sqlite_error(int rc, const char *message, const char *path, const char *doing) NODISCARD;
static inline bool sqlite_is_busy(int rc) {
  int primary = rc & 0xff;
  return primary == SQLITE_BUSY || primary == SQLITE_LOCKED || primary == SQLITE_PROTOCOL;
}
static inline bool sqlite_is_corrupt(int rc) {
  int primary = rc & 0xff;
  return primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB || primary == SQLITE_FORMAT;
}

/* ---- the file ------------------------------------------------------------------------------------------------ */

typedef struct DbFile DbFile;

typedef enum DbCompanion { DB_WAL, DB_SHM, DB_JOURNAL } DbCompanion;

/* path: absolute, as the caller knows it; symbolic links are followed as SQLite does. `writable`: for taking the
 * exclusive lock before replacing it; nothing is ever written. ERR_NOT_FOUND, ERR_DENIED, ERR_UNREACHABLE. */
Error *dbfile_open(const char *path, bool writable, DbFile **out) NODISCARD;
void dbfile_close(DbFile *take); /* releases the lock */
const char *dbfile_path(const DbFile *file);
const char *dbfile_real_path(const DbFile *file);
/* Beside the real file: NAME-wal and so on. Borrowed. */
const char *dbfile_companion_path(const DbFile *file, DbCompanion which);
bool dbfile_has_companion(const DbFile *file, DbCompanion which, uint64_t *out_size);

/* True when the path no longer leads to the file that was opened: another was put in its place. */
bool dbfile_has_moved(DbFile *file);
Error *dbfile_size(DbFile *file, uint64_t *out) NODISCARD;
/* Up to len bytes; what is behind the end of the file reads as zeros. */
Error *dbfile_read(DbFile *file, uint64_t offset, void *out, size_t len) NODISCARD;

/* One SQLITE_LOCK_* after the other up to `level`. Waits by polling up to wait_ms; then ERR_UNREACHABLE that names the
 * file. SQLITE_LOCK_NONE and lower levels than held never wait. */
Error *dbfile_lock(DbFile *file, Sys *sys, int level, uint64_t wait_ms, Cancel *cancel) NODISCARD;
void dbfile_unlock(DbFile *file);
/* Whether another connection has begun to write. */
bool dbfile_is_reserved(DbFile *file);
/* Whether another process holds any lock on it, as everybody does who has it open in WAL mode. */
bool dbfile_is_shared(const DbFile *file);
/* True when a journal beside it belongs to a transaction that nobody is going to finish: the main file alone is not a
 * committed state. To be asked while the shared lock is held. */
Error *dbfile_is_hot(DbFile *file, bool *out) NODISCARD;

#endif
