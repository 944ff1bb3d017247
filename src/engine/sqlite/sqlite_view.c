#include "engine/sqlite/sqlite_view.h"

#include <stdlib.h>

#include "base/mem.h"
#include "engine/sqlite/sqlite_dbfile.h"

enum { PROGRESS_STEPS = 20000 };

/* The file layer finds its view through pAppData; the name makes it unique among the process's file layers. */
struct View {
  sqlite3_vfs vfs;
  char name[48];
  char *path;
  Snapshot *snapshot;
  sqlite3 *db;
  Cancel *cancel;
  Error *failure;
};

typedef struct ViewFile {
  sqlite3_file base;
  View *view;
} ViewFile;

/* ---- the file ------------------------------------------------------------------------------------------------ */

static int file_close(sqlite3_file *file) {
  (void)file;
  return SQLITE_OK;
}

static int file_read(sqlite3_file *base, void *out, int amount, sqlite3_int64 offset) {
  View *view = ((ViewFile *)base)->view;
  uint64_t size = snapshot_info(view->snapshot)->size, at = (uint64_t)offset;
  size_t want = (size_t)amount, have = want;
  if (at >= size)
    have = 0;
  else if (want > size - at)
    have = (size_t)(size - at);
  Error *err = have ? snapshot_read(view->snapshot, at, out, have, view->cancel) : NULL;
  if (err) {
    view->failure = err_first(view->failure, err);
    return SQLITE_IOERR_READ;
  }
  memset((uint8_t *)out + have, 0, want - have);
  return have < want ? SQLITE_IOERR_SHORT_READ : SQLITE_OK;
}

static int file_write(sqlite3_file *file, const void *data, int amount, sqlite3_int64 offset) {
  (void)file, (void)data, (void)amount, (void)offset;
  return SQLITE_READONLY;
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 size) {
  (void)file, (void)size;
  return SQLITE_READONLY;
}

static int file_sync(sqlite3_file *file, int flags) {
  (void)file, (void)flags;
  return SQLITE_OK;
}

static int file_size(sqlite3_file *base, sqlite3_int64 *out) {
  *out = (sqlite3_int64)snapshot_info(((ViewFile *)base)->view->snapshot)->size;
  return SQLITE_OK;
}

static int file_lock(sqlite3_file *file, int level) {
  (void)file, (void)level;
  return SQLITE_OK;
}

static int file_check_reserved(sqlite3_file *file, int *out) {
  (void)file;
  *out = 0;
  return SQLITE_OK;
}

static int file_control(sqlite3_file *file, int op, void *arg) {
  (void)file, (void)op, (void)arg;
  return SQLITE_NOTFOUND;
}

static int file_sector_size(sqlite3_file *file) {
  (void)file;
  return DB_PAGE_MIN;
}

/* Immutable: SQLite looks for no journal and takes no WAL. */
static int file_characteristics(sqlite3_file *file) {
  (void)file;
  return SQLITE_IOCAP_IMMUTABLE;
}

static const sqlite3_io_methods FILE_METHODS = {
    .iVersion = 1,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_lock,
    .xCheckReservedLock = file_check_reserved,
    .xFileControl = file_control,
    .xSectorSize = file_sector_size,
    .xDeviceCharacteristics = file_characteristics,
};

/* ---- the file layer ------------------------------------------------------------------------------------------ */

static int vfs_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *file, int flags, int *out_flags) {
  (void)name;
  file->pMethods = NULL;
  /* Temporary tables and sorters live in memory (temp_store); nothing else is ever opened. */
  if (!(flags & SQLITE_OPEN_MAIN_DB)) return SQLITE_CANTOPEN;
  ((ViewFile *)file)->view = vfs->pAppData;
  file->pMethods = &FILE_METHODS;
  if (out_flags) *out_flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_MAIN_DB;
  return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *name, int sync_dir) {
  (void)vfs, (void)name, (void)sync_dir;
  return SQLITE_READONLY;
}

static int vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *out) {
  (void)vfs, (void)name, (void)flags;
  *out = 0;
  return SQLITE_OK;
}

static int vfs_full_path(sqlite3_vfs *vfs, const char *name, int cap, char *out) {
  (void)vfs;
  sqlite3_snprintf(cap, out, "%s", name);
  return SQLITE_OK;
}

static int vfs_randomness(sqlite3_vfs *vfs, int len, char *out) {
  (void)vfs;
  memset(out, 0, (size_t)len);
  return len;
}

static int vfs_sleep(sqlite3_vfs *vfs, int microseconds) {
  (void)vfs;
  return microseconds;
}

static int vfs_current_time(sqlite3_vfs *vfs, double *out) {
  (void)vfs;
  *out = 2440587.5; /* 1970: nothing here depends on the time */
  return SQLITE_OK;
}

static int vfs_last_error(sqlite3_vfs *vfs, int len, char *out) {
  (void)vfs, (void)len, (void)out;
  return 0;
}

static void vfs_init(View *view) {
  sqlite3_snprintf((int)sizeof(view->name), view->name, "holdfast-%p", (void *)view);
  view->vfs = (sqlite3_vfs){
      .iVersion = 1,
      .szOsFile = (int)sizeof(ViewFile),
      .mxPathname = 512,
      .zName = view->name,
      .pAppData = view,
      .xOpen = vfs_open,
      .xDelete = vfs_delete,
      .xAccess = vfs_access,
      .xFullPathname = vfs_full_path,
      .xRandomness = vfs_randomness,
      .xSleep = vfs_sleep,
      .xCurrentTime = vfs_current_time,
      .xGetLastError = vfs_last_error,
  };
}

/* ---- the view ------------------------------------------------------------------------------------------------ */

static int on_progress(void *arg) { return cancel_is_set(((View *)arg)->cancel); }

Error *view_open(Snapshot *snapshot, const char *path, View **out, Cancel *cancel) {
  View *view = NEW(View);
  view->snapshot = snapshot;
  view->path = mem_strdup(path);
  view->cancel = cancel;
  vfs_init(view);
  int rc = sqlite3_vfs_register(&view->vfs, 0);
  CHECK(rc == SQLITE_OK);
  int flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  rc = sqlite3_open_v2("snapshot", &view->db, flags, view->name);
  if (rc == SQLITE_OK)
    rc = sqlite3_exec(view->db, "PRAGMA temp_store=MEMORY; PRAGMA cell_size_check=ON", NULL, NULL, NULL);
  /* Needs the schema, and fails where that is damaged or newer: which whoever looks at it shall say. */
  if (rc == SQLITE_OK) (void)sqlite3_exec(view->db, "PRAGMA cache_size=-8192", NULL, NULL, NULL);
  if (rc == SQLITE_OK) {
    (void)sqlite3_db_config(view->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    (void)sqlite3_db_config(view->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_progress_handler(view->db, PROGRESS_STEPS, on_progress, view);
    *out = view;
    return NULL;
  }
  Error *err = view_error(view, rc, "reading");
  view_close(view);
  return err;
}

sqlite3 *view_db(View *view) { return view->db; }

Error *view_error(View *view, int rc, const char *doing) {
  if (view->failure) return STEAL(view->failure);
  TRY(cancel_check(view->cancel));
  return sqlite_error(rc, sqlite3_errmsg(view->db), view->path, doing);
}

void view_close(View *take) {
  if (!take) return;
  (void)sqlite3_close(take->db);
  (void)sqlite3_vfs_unregister(&take->vfs);
  err_free(take->failure);
  free(take->path);
  free(take);
}
