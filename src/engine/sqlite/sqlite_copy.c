#include "engine/sqlite/sqlite_copy.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/mem.h"
#include "sys/fs.h"
#include "sys/process.h"

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif
#ifndef BTRFS_SUPER_MAGIC
#define BTRFS_SUPER_MAGIC 0x9123683E
#endif

enum { COPY_BUFFER = 1 << 20 };

static Error *check_room(const DbFile *file, const char *dir, uint64_t need) {
  uint64_t space;
  TRY(fs_free_space(dir, &space));
  if (space > need) return NULL;
  return err_hint(err_new(ERR_NO_SPACE, "copying %s to %s: it needs %llu bytes, %llu are free", dbfile_path(file), dir,
                          (unsigned long long)need, (unsigned long long)space),
                  "free some space there, or point the state directory to another file system");
}

static bool shares_blocks(const char *path) {
  struct statfs fs;
  if (statfs(path, &fs) != 0) return false;
  return (unsigned long)fs.f_type == XFS_SUPER_MAGIC || (unsigned long)fs.f_type == BTRFS_SUPER_MAGIC;
}

/* A copy that shares the file's blocks, in no time, where the file system can. By another process: cloning takes a
 * descriptor of the database, and closing one here would drop the locks. False: nothing was made. */
static bool clone_main(const DbFile *file, const CopyOptions *options, const char *path, Cancel *cancel) {
  const char *from = dbfile_real_path(file);
  const char *const argv[] = {"cp", "--reflink=always", "--", from, path, NULL};
  Buf output = {0};
  if (!shares_blocks(from) || !shares_blocks(options->dir)) return false;
  Error *err = process_output(options->sys, argv, COPY_BUFFER, &output, cancel);
  bool cloned = err == NULL;
  buf_free(&output);
  err_free(err);
  if (!cloned) (void)unlink(path);
  return cloned;
}

static Error *copy_main(DbFile *file, int out, const char *name, uint64_t size, Cancel *cancel) {
  uint8_t *buffer = mem_pages(COPY_BUFFER);
  Error *err = NULL;
  for (uint64_t at = 0; at < size && !err; at += COPY_BUFFER) {
    size_t len = size - at < COPY_BUFFER ? (size_t)(size - at) : COPY_BUFFER;
    err = cancel_check(cancel);
    if (!err) err = dbfile_read(file, at, buffer, len);
    if (!err) err = fs_write_at(out, name, buffer, len, at);
  }
  mem_free_pages(buffer, COPY_BUFFER);
  return err;
}

/* -journal and -wal: plain files. One that is not there is not copied. */
static Error *copy_companion(const char *from, const char *to, Cancel *cancel) {
  AUTO_FD int in = open(from, O_RDONLY | O_CLOEXEC);
  AUTO_FD int out = -1;
  if (in < 0 && errno == ENOENT) return NULL;
  if (in < 0) return err_errno(errno, "opening %s", from);
  TRY(fs_open(to, O_WRONLY | O_CREAT | O_EXCL, 0600, &out));
  uint8_t *buffer = mem_pages(COPY_BUFFER);
  Error *err = NULL;
  size_t got = COPY_BUFFER;
  for (uint64_t at = 0; got == COPY_BUFFER && !err; at += got) {
    err = cancel_check(cancel);
    if (!err) err = fs_read_some(in, from, buffer, COPY_BUFFER, at, &got);
    if (!err) err = fs_write_at(out, to, buffer, got, at);
  }
  mem_free_pages(buffer, COPY_BUFFER);
  return err;
}

/* Opening it for writing and reading once makes SQLite roll the journal back and, closing, checkpoint the log. */
static Error *recover(const char *path) {
  sqlite3 *db = NULL;
  int rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_EXRESCODE, NULL);
  if (rc == SQLITE_OK) rc = sqlite3_exec(db, "PRAGMA schema_version", NULL, NULL, NULL);
  Error *err =
      rc == SQLITE_OK ? NULL : sqlite_error(rc, db ? sqlite3_errmsg(db) : NULL, path, "recovering the private copy");
  (void)sqlite3_close(db);
  return err;
}

static Error *copy_into(DbFile *file, const CopyOptions *options, const char *path, int *out_fd, Cancel *cancel) {
  static const DbCompanion WITH[] = {DB_JOURNAL, DB_WAL};
  static const char *const SUFFIX[] = {"-journal", "-wal"};
  uint64_t size;
  AUTO_FD int fd = -1;
  TRY(dbfile_size(file, &size));
  if (clone_main(file, options, path, cancel)) {
    TRY(fs_open(path, O_RDWR, 0, &fd));
  } else {
    TRY(check_room(file, options->dir, size));
    TRY(fs_open(path, O_RDWR | O_CREAT | O_EXCL, 0600, &fd));
    TRY(copy_main(file, fd, path, size, cancel));
  }
  if (options->recover) {
    for (size_t i = 0; i < NELEMS(WITH); i++) {
      AUTO_FREE char *to = mem_printf("%s%s", path, SUFFIX[i]);
      TRY(copy_companion(dbfile_companion_path(file, WITH[i]), to, cancel));
    }
    TRY(recover(path));
  }
  *out_fd = fd;
  fd = -1;
  return NULL;
}

Error *copy_database(DbFile *file, const CopyOptions *options, int *out_fd, uint64_t *out_size, Cancel *cancel) {
  static const char *const LEFT[] = {"", "-journal", "-wal", "-shm"};
  uint64_t random;
  int fd = -1;
  sys_random(options->sys, &random, sizeof(random));
  if (!options->dir) return err_new(ERR_NO_SPACE, "copying %s: there is no scratch directory", dbfile_path(file));
  AUTO_FREE char *path = mem_printf("%s/sqlite-%016llx.db", options->dir, (unsigned long long)random);
  Error *err = copy_into(file, options, path, &fd, cancel);
  for (size_t i = 0; i < NELEMS(LEFT); i++) {
    AUTO_FREE char *left = mem_printf("%s%s", path, LEFT[i]);
    (void)unlink(left);
  }
  if (!err) {
    off_t end = lseek(fd, 0, SEEK_END);
    if (end < 0) err = err_errno(errno, "reading the size of %s", path);
    *out_size = end < 0 ? 0 : (uint64_t)end;
  }
  if (err && fd >= 0) close(fd);
  if (!err) *out_fd = fd;
  return err;
}
