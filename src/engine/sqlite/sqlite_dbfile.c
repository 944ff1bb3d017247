#include "engine/sqlite/sqlite_dbfile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine/sqlite/sqlite_format.h"
#include "sys/fs.h"
#include "sys/lockguard.h"

enum { LOCK_POLL_MS = 5, HOT_LOOKS = 3 };

static const char *const SUFFIX[] = {[DB_WAL] = "-wal", [DB_SHM] = "-shm", [DB_JOURNAL] = "-journal"};

struct DbFile {
  char *path;
  char *companions[NELEMS(SUFFIX)];
  const char *name; /* the real path in the form SQLite's file layer wants: parameters may follow */
  sqlite3_file *file;
  int level;
  bool guarded; /* nobody in this process opens it in another way: it would drop the locks */
  struct stat st;
};

/* ---- errors -------------------------------------------------------------------------------------------------- */

static ErrCode error_code(int rc) {
  switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
    case SQLITE_CANTOPEN: return ERR_UNREACHABLE;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_FORMAT: return ERR_DAMAGED;
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH: return ERR_DENIED;
    case SQLITE_FULL: return ERR_NO_SPACE;
    case SQLITE_INTERRUPT: return ERR_CANCELLED;
    default: return ERR_IO;
  }
}

Error *sqlite_error(int rc, const char *message, const char *path, const char *doing) {
  AUTO_FREE char *name = str_printable(bytes_str(path));
  Error *err = err_new(error_code(rc), "%s %s: %s", doing, name, message ? message : sqlite3_errstr(rc));
  if (sqlite_is_busy(rc))
    return err_hint(err, "another process holds the database locked; find it with `fuser -v %s` and try again", name);
  if ((rc & 0xff) == SQLITE_CANTOPEN || (rc & 0xff) == SQLITE_READONLY)
    return err_hint(err,
                    "reading a database in WAL mode needs its -shm file, or the right to create it: run as the "
                    "application's user, or as root");
  return err;
}

/* ---- opening ------------------------------------------------------------------------------------------------- */

static Error *open_failed(const char *path, int rc) {
  AUTO_FREE char *name = str_printable(bytes_str(path));
  int reason = errno;
  if ((rc & 0xff) != SQLITE_CANTOPEN || reason == 0) return sqlite_error(rc, NULL, path, "opening");
  Error *err = err_errno(reason, "opening %s", name);
  return err_is(err, ERR_DENIED)
             ? err_hint(err, "holdfast needs the right to read the database: run it as its owner or as root")
             : err;
}

Error *dbfile_open(const char *path, bool writable, DbFile **out) {
  AUTO_FREE char *name = str_printable(bytes_str(path));
  char *real = realpath(path, NULL);
  if (!real) return err_errno(errno, "opening %s", name);
  DbFile *file = NEW(DbFile);
  file->path = mem_strdup(path);
  for (size_t i = 0; i < NELEMS(SUFFIX); i++) file->companions[i] = mem_printf("%s%s", real, SUFFIX[i]);
  sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
  CHECK(vfs != NULL);
  file->name = sqlite3_create_filename(real, file->companions[DB_JOURNAL], file->companions[DB_WAL], 0, NULL);
  free(real);
  CHECK(file->name != NULL);
  file->file = mem_alloc((size_t)vfs->szOsFile);
  errno = 0;
  int flags = SQLITE_OPEN_MAIN_DB | (writable ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY), got = 0;
  int rc = vfs->xOpen(vfs, file->name, file->file, flags, &got);
  Error *err = rc == SQLITE_OK ? NULL : open_failed(path, rc);
  /* The file layer falls back to reading when it may not write. */
  if (!err && writable && !(got & SQLITE_OPEN_READWRITE))
    err = err_new(ERR_DENIED, "opening %s: no permission to write it", name);
  if (err) {
    dbfile_close(file);
    return err;
  }
  *out = file;
  return NULL;
}

void dbfile_close(DbFile *take) {
  if (!take) return;
  if (take->file && take->file->pMethods) {
    dbfile_unlock(take);
    (void)take->file->pMethods->xClose(take->file);
  }
  if (take->guarded) lockguard_release(&take->st);
  free(take->file);
  sqlite3_free_filename(take->name);
  for (size_t i = 0; i < NELEMS(SUFFIX); i++) free(take->companions[i]);
  free(take->path);
  free(take);
}

const char *dbfile_path(const DbFile *file) { return file->path; }
const char *dbfile_real_path(const DbFile *file) { return file->name; }
const char *dbfile_companion_path(const DbFile *file, DbCompanion which) { return file->companions[which]; }

bool dbfile_has_companion(const DbFile *file, DbCompanion which, uint64_t *out_size) {
  struct stat st;
  if (stat(file->companions[which], &st) != 0) return false;
  if (out_size) *out_size = (uint64_t)st.st_size;
  return true;
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

bool dbfile_has_moved(DbFile *file) {
  int moved = 0;
  return file->file->pMethods->xFileControl(file->file, SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK && moved != 0;
}

Error *dbfile_size(DbFile *file, uint64_t *out) {
  sqlite3_int64 size = 0;
  int rc = file->file->pMethods->xFileSize(file->file, &size);
  if (rc != SQLITE_OK) return sqlite_error(rc, NULL, file->path, "reading the size of");
  *out = (uint64_t)size;
  return NULL;
}

Error *dbfile_read(DbFile *file, uint64_t offset, void *out, size_t len) {
  CHECK(len <= INT_MAX && offset <= INT64_MAX);
  int rc = file->file->pMethods->xRead(file->file, out, (int)len, (sqlite3_int64)offset);
  if (rc == SQLITE_OK || rc == SQLITE_IOERR_SHORT_READ) return NULL;
  return sqlite_error(rc, NULL, file->path, "reading");
}

/* ---- locks --------------------------------------------------------------------------------------------------- */

static Error *lock_step(DbFile *file, Sys *sys, int level, uint64_t deadline_ns, Cancel *cancel) {
  for (;;) {
    int rc = file->file->pMethods->xLock(file->file, level);
    if (rc == SQLITE_OK) {
      file->level = level;
      return NULL;
    }
    if (!sqlite_is_busy(rc) || sys_mono_ns(sys) >= deadline_ns)
      return sqlite_error(rc, sqlite_is_busy(rc) ? "it is locked by another process" : NULL, file->path, "locking");
    TRY(cancel_sleep_ms(sys, LOCK_POLL_MS, cancel));
  }
}

static Error *guard(DbFile *file, Sys *sys, uint64_t wait_ms, Cancel *cancel) {
  if (file->guarded) return NULL;
  if (stat(file->name, &file->st) != 0) return err_errno(errno, "locking %s", file->path);
  TRY(err_wrap(lockguard_hold(sys, &file->st, LOCKGUARD_SOURCE, wait_ms, cancel), "locking %s", file->path));
  file->guarded = true;
  return NULL;
}

Error *dbfile_lock(DbFile *file, Sys *sys, int level, uint64_t wait_ms, Cancel *cancel) {
  static const int STEPS[] = {SQLITE_LOCK_SHARED, SQLITE_LOCK_RESERVED, SQLITE_LOCK_EXCLUSIVE};
  if (file->level >= level) return NULL;
  uint64_t deadline_ns = sys_mono_ns(sys) + wait_ms * 1000000;
  int before = file->level;
  TRY(guard(file, sys, wait_ms, cancel));
  CHECK(before <= SQLITE_LOCK_SHARED);
  for (size_t i = 0; i < NELEMS(STEPS); i++) {
    if (STEPS[i] <= file->level || STEPS[i] > level) continue;
    Error *err = lock_step(file, sys, STEPS[i], deadline_ns, cancel);
    if (!err) continue;
    /* A half-taken lock would keep writers out. */
    (void)file->file->pMethods->xUnlock(file->file, before);
    file->level = before;
    return err;
  }
  return NULL;
}

void dbfile_unlock(DbFile *file) {
  if (file->level == SQLITE_LOCK_NONE) return;
  (void)file->file->pMethods->xUnlock(file->file, SQLITE_LOCK_NONE);
  file->level = SQLITE_LOCK_NONE;
}

bool dbfile_is_reserved(DbFile *file) {
  int reserved = 0;
  return file->file->pMethods->xCheckReservedLock(file->file, &reserved) == SQLITE_OK && reserved != 0;
}

/* SQLite's descriptor of the file: to ask about locks, and never to close. -1: there is none. */
static int find_descriptor(const struct stat *wanted) {
  DIR *dir = opendir("/proc/self/fd");
  struct dirent *entry;
  int found = -1;
  while (dir && found < 0 && (entry = readdir(dir))) {
    char *end;
    struct stat st;
    long number = strtol(entry->d_name, &end, 10);
    if (*end || end == entry->d_name || number > INT_MAX || fstat((int)number, &st) != 0) continue;
    if (st.st_dev == wanted->st_dev && st.st_ino == wanted->st_ino) found = (int)number;
  }
  if (dir) closedir(dir);
  return found;
}

bool dbfile_is_shared(const DbFile *file) {
  struct stat st;
  int fd = stat(file->name, &st) == 0 ? find_descriptor(&st) : -1;
  /* Of the bytes that SQLite locks: pending, reserved, and the range of the shared lock. Our own do not count. */
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = DB_LOCK_BYTE, .l_len = 512};
  return fd >= 0 && fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* A journal whose first byte is zero was finished (PERSIST mode), as was one that is empty or gone. */
static Error *journal_looks_valid(const DbFile *file, bool *out) {
  AUTO_FD int fd = open(file->companions[DB_JOURNAL], O_RDONLY | O_CLOEXEC);
  AUTO_FREE char *name = str_printable(bytes_str(file->companions[DB_JOURNAL]));
  uint8_t first = 0;
  size_t got = 0;
  *out = false;
  if (fd < 0 && errno == ENOENT) return NULL;
  if (fd < 0) return err_errno(errno, "opening %s", name);
  TRY(fs_read_some(fd, name, &first, 1, 0, &got));
  *out = got == 1 && first != 0;
  return NULL;
}

Error *dbfile_is_hot(DbFile *file, bool *out) {
  CHECK(file->level >= SQLITE_LOCK_SHARED);
  /* A live writer holds RESERVED from before its journal exists until after it is gone, so "valid journal, then no
   * RESERVED" is true for a dead one only, but for a writer that ended between the two looks and another that began:
   * hence more than one look. */
  for (int look = 0; look < HOT_LOOKS; look++) {
    bool valid;
    *out = false;
    if (!dbfile_has_companion(file, DB_JOURNAL, NULL)) return NULL;
    TRY(journal_looks_valid(file, &valid));
    if (!valid || dbfile_is_reserved(file)) return NULL;
  }
  *out = true;
  return NULL;
}
