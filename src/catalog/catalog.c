#include "catalog/catalog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/timefmt.h"
#include "catalog/catalog_impl.h"
#include "sys/cancel.h"
#include "sys/fs.h"
#include "sys/lockguard.h"

enum { LOCK_WAIT_MS = 10000, LOCK_RETRY_MS = 10, PRIVATE_FILE = 0600 };

/* ---- the lock over opening --------------------------------------------------------------------------------------- */

/* SQLite opens the database and its -wal by name, one after the other: a file moved aside between the two would leave
 * a connection with the halves of two databases. So both happen under this lock. flock cannot wait with a deadline,
 * and a stopped process must not stop every backup: hence the polling. */
static Error *lock_file(Catalog *catalog, int *out_fd) {
  AUTO_FD int fd = -1;
  uint64_t waited_ms = 0;
  TRY(fs_open(catalog->lock_path, O_RDWR | O_CREAT | O_NOFOLLOW, PRIVATE_FILE, &fd));
  while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) return err_errno(errno, "locking %s", catalog->lock_path);
    if (waited_ms >= catalog->lock_wait_ms)
      return err_new(ERR_TEMPORARY, "another process holds %s", catalog->lock_path);
    TRY(cancel_sleep_ms(catalog->sys, LOCK_RETRY_MS, NULL));
    waited_ms += LOCK_RETRY_MS;
  }
  *out_fd = fd_steal(&fd);
  return NULL;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static void alive_function(sqlite3_context *context, int count UNUSED, sqlite3_value **values) {
  int64_t pid = sqlite3_value_int64(values[0]);
  const char *mark = (const char *)sqlite3_value_text(values[1]);
  bool alive = pid > 0 && pid <= INT32_MAX && liveness_check((pid_t)pid, mark ? mark : "");
  sqlite3_result_int(context, alive);
}

static void close_database(Catalog *catalog) {
  sql_statements_free(catalog);
  sqlite3_close(catalog->db);
  catalog->db = NULL;
  while (catalog->guarded_len) lockguard_release(&catalog->guarded[--catalog->guarded_len]);
}

/* A backup of files may come upon the catalog itself. */
static Error *guard_files(Catalog *catalog) {
  static const char *const SUFFIXES[] = {"", "-shm"};
  for (size_t i = 0; i < NELEMS(SUFFIXES); i++) {
    AUTO_FREE char *path = mem_printf("%s%s", catalog->path, SUFFIXES[i]);
    struct stat *st = &catalog->guarded[catalog->guarded_len];
    if (stat(path, st) != 0) continue; /* without shared memory there is no -shm */
    TRY(lockguard_hold(catalog->sys, st, LOCKGUARD_OWN, catalog->lock_wait_ms, NULL));
    catalog->guarded_len++;
  }
  return NULL;
}

/* Made private before SQLite sees it; the -wal and -shm get the same mode. An existing file is never opened here:
 * closing it would drop the locks of this process's other connections to it (POSIX). */
static Error *make_private_file(const Catalog *catalog) {
  AUTO_FD int fd = -1;
  struct stat st;
  Error *err = fs_open(catalog->path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, PRIVATE_FILE, &fd);
  if (!err_is(err, ERR_EXISTS)) return err;
  err_free(err);
  if (stat(catalog->path, &st) != 0) return err_errno(errno, "looking at %s", catalog->path);
  if (!S_ISREG(st.st_mode)) return err_new(ERR_REFUSED, "it is not a file");
  if ((st.st_mode & 077) != 0 && chmod(catalog->path, PRIVATE_FILE) != 0)
    return err_errno(errno, "making %s private", catalog->path);
  return NULL;
}

static Error *configure(sqlite3 *db, unsigned lock_wait_ms) {
  sqlite3_extended_result_codes(db, 1);
  sqlite3_busy_timeout(db, (int)lock_wait_ms);
  sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
  sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
  int code = sqlite3_create_function_v2(db, "holdfast_alive", 2, SQLITE_UTF8 | SQLITE_DIRECTONLY, NULL, alive_function,
                                        NULL, NULL, NULL);
  if (code != SQLITE_OK) return sql_error(db, code);
  /* A file system without shared memory stays with a rollback journal, which is right too. NORMAL: a power cut may take
   * the newest records, never the file. */
  code = sqlite3_exec(db,
                      "PRAGMA cell_size_check = ON; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
                      "PRAGMA journal_size_limit = 16777216",
                      NULL, NULL, NULL);
  return code == SQLITE_OK ? NULL : sql_file_error(db);
}

/* SQLite reads a file that it must not write, be it for its mode or for what its header says. */
static Error *check_writable(const Catalog *catalog, Error *take) {
  if (sqlite3_db_readonly(catalog->db, "main") != 1) return take;
  err_free(take);
  if (access(catalog->path, W_OK) != 0) return err_errno(errno, "it cannot be written");
  return err_new(ERR_CORRUPT, "its header says that it is read-only");
}

/* With the lock held. */
static Error *open_database(Catalog *catalog) {
  struct stat st;
  TRY(make_private_file(catalog));
  int code = sqlite3_open_v2(catalog->path, &catalog->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
  Error *err = code == SQLITE_OK ? configure(catalog->db, catalog->lock_wait_ms) : sql_error(catalog->db, code);
  if (code == SQLITE_OK) err = check_writable(catalog, err);
  if (!err) err = schema_prepare(catalog->db);
  if (!err) err = guard_files(catalog);
  if (!err && stat(catalog->path, &st) != 0) err = err_errno(errno, "looking at %s", catalog->path);
  if (err) {
    close_database(catalog);
    return err;
  }
  catalog->dev = st.st_dev;
  catalog->inode = st.st_ino;
  return NULL;
}

/* ---- damage ------------------------------------------------------------------------------------------------------ */

static Error *move_file(const char *from, const char *to, const char *suffix) {
  AUTO_FREE char *source = mem_printf("%s%s", from, suffix);
  AUTO_FREE char *target = mem_printf("%s%s", to, suffix);
  if (rename(source, target) != 0 && errno != ENOENT) return err_errno(errno, "renaming %s to %s", source, target);
  return NULL;
}

/* With the lock held. The -wal goes first: left beside a new database it would be replayed into it. */
static Error *move_aside(Catalog *catalog) {
  char time[36];
  AUTO_FREE char *target = mem_printf("%s.corrupt-%s", catalog->path, time_format_key(sys_now_ns(catalog->sys), time));
  TRY(move_file(catalog->path, target, "-wal"));
  TRY(move_file(catalog->path, target, "-shm"));
  TRY(move_file(catalog->path, target, ""));
  free(catalog->moved_aside);
  catalog->moved_aside = STEAL(target);
  return NULL;
}

/* Opens; a damaged file is replaced. `damaged` says that the file with the recorded inode was found to be. */
static Error *open_or_replace(Catalog *catalog, bool damaged) {
  AUTO_FD int lock = -1;
  struct stat st;
  close_database(catalog);
  TRY(lock_file(catalog, &lock));
  /* Another process may have replaced it meanwhile: then it is that one's new file that is here. */
  if (damaged && stat(catalog->path, &st) == 0 && st.st_dev == catalog->dev && st.st_ino == catalog->inode)
    TRY(move_aside(catalog));
  Error *err = open_database(catalog);
  if (!err_is(err, ERR_CORRUPT)) return err;
  Error *move = move_aside(catalog);
  if (move) return err_first(err, move);
  err_free(err);
  return open_database(catalog);
}

/* ---- the frame --------------------------------------------------------------------------------------------------- */

Error *catalog_enter(Catalog *catalog) {
  struct stat st;
  bool same = catalog->db && stat(catalog->path, &st) == 0 && st.st_dev == catalog->dev && st.st_ino == catalog->inode;
  return same ? NULL : open_or_replace(catalog, false);
}

Error *catalog_leave(Catalog *catalog, Error *take, const char *doing, ...) {
  if (!take) return NULL;
  if (err_is(take, ERR_CORRUPT)) {
    Error *err = open_or_replace(catalog, true);
    if (!err)
      take = err_hint(take, "a new catalog was begun; the damaged one is kept as %s",
                      catalog->moved_aside ? catalog->moved_aside : "another process named it");
    err_ignore(err);
  }
  va_list args;
  va_start(args, doing);
  AUTO_FREE char *text = mem_vprintf(doing, args);
  va_end(args);
  return err_wrap(take, "%s in %s", text, catalog->path);
}

/* ---- the catalog ------------------------------------------------------------------------------------------------- */

Error *catalog_open(Sys *sys, const State *state, Catalog **out) {
  Catalog *catalog = NEW(Catalog);
  catalog->sys = sys;
  catalog->path = fs_join(state_path(state), "catalog.db");
  catalog->lock_path = fs_join(state_path(state), "catalog.lock");
  catalog->lock_wait_ms = LOCK_WAIT_MS;
  mutex_init(&catalog->lock, sys);
  Error *err = sqlite3_initialize() == SQLITE_OK ? open_or_replace(catalog, false)
                                                 : err_new(ERR_INTERNAL, "SQLite does not initialise");
  if (err) {
    err = err_wrap(err, "opening the catalog %s", catalog->path);
    catalog_free(catalog);
    return err;
  }
  *out = catalog;
  return NULL;
}

void catalog_free(Catalog *take) {
  if (!take) return;
  err_ignore(catalog_flush(take));
  close_database(take);
  mutex_free(&take->lock);
  free(take->path);
  free(take->lock_path);
  free(take->moved_aside);
  free(take);
}

char *catalog_moved_aside(Catalog *catalog) {
  LOCKED(&catalog->lock);
  return mem_strdup(catalog->moved_aside);
}

void catalog_set_lock_wait(Catalog *catalog, unsigned wait_ms) {
  LOCKED(&catalog->lock);
  catalog->lock_wait_ms = wait_ms > INT32_MAX ? INT32_MAX : wait_ms;
  if (catalog->db) sqlite3_busy_timeout(catalog->db, (int)catalog->lock_wait_ms);
}
