#include "engine/sqlite/sqlite_publish.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine/sqlite/sqlite_dbfile.h"
#include "engine/sqlite/sqlite_users.h"
#include "sys/fs.h"
#include "sys/temporary.h"

enum { LOCK_WAIT_MS = 1000, COPY_BUFFER = 1 << 20, NAME_KEPT_MAX = 200 };

/* The order they are moved in: without its journal or log first. */
static const char *const COMPANIONS[] = {"-journal", "-wal", "-shm"};
enum { COMPANION_COUNT = NELEMS(COMPANIONS), STATEFUL_COUNT = 2 };

struct Publish {
  char *path, *dir, *name, *temp;
  int dir_fd, fd;
  bool overwrite, sync;
  bool temp_exists;
  DbFile *old; /* locked */
  char *aside[COMPANION_COUNT];
};

int publish_fd(const Publish *publish) { return publish->fd; }
const char *publish_path(const Publish *publish) { return publish->path; }

static bool name_exists(const Publish *p, const char *name) {
  struct stat st;
  return fstatat(p->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* ---- beginning ----------------------------------------------------------------------------------------------- */

static Error *refuse_existing(const Publish *p, const char *name) {
  return err_hint(err_new(ERR_NOT_EMPTY, "restoring to %s: %s/%s exists", p->path, p->dir, name),
                  "restore to another path, or allow it to be replaced: --confirm %s", p->name);
}

static Error *refuse_in_use(const Publish *p, const char *process) {
  return err_hint(err_new(ERR_REFUSED, "restoring to %s: %s uses the database there", p->path, process),
                  "stop the application (`fuser -v %s` shows it), or restore to another path", p->path);
}

/* With the exclusive lock held; an application that is idle holds none. */
static Error *check_users(const Publish *p) {
  struct stat st;
  if (!p->old || fstatat(p->dir_fd, p->name, &st, AT_SYMLINK_NOFOLLOW) != 0) return NULL;
  pid_t pid = users_find(&st, p->name);
  if (!pid) return NULL;
  AUTO_FREE char *process = mem_printf("process %ld", (long)pid);
  return refuse_in_use(p, process);
}

static Error *lock_old(Publish *p, Sys *sys, Cancel *cancel) {
  struct stat st;
  if (fstatat(p->dir_fd, p->name, &st, AT_SYMLINK_NOFOLLOW) != 0)
    return errno == ENOENT ? NULL : err_errno(errno, "looking at %s", p->path);
  if (!S_ISREG(st.st_mode)) return err_new(ERR_REFUSED, "restoring to %s: what is there is no regular file", p->path);
  TRY(dbfile_open(p->path, true, &p->old));
  Error *err = dbfile_lock(p->old, sys, SQLITE_LOCK_EXCLUSIVE, LOCK_WAIT_MS, cancel);
  if (!err) return check_users(p);
  if (!err_is(err, ERR_UNREACHABLE)) return err;
  err_free(err);
  return refuse_in_use(p, "another process");
}

/* A log or journal that SQLite would apply to the new file. */
static Error *check_companions(const Publish *p) {
  for (size_t i = 0; i < STATEFUL_COUNT; i++) {
    AUTO_FREE char *companion = mem_printf("%s%s", p->name, COMPANIONS[i]);
    if (name_exists(p, companion)) return refuse_existing(p, companion);
  }
  return NULL;
}

static Error *check_target(Publish *p, Sys *sys, Cancel *cancel) {
  if (p->overwrite) return lock_old(p, sys, cancel);
  return name_exists(p, p->name) ? refuse_existing(p, p->name) : check_companions(p);
}

/* All the room at once: a full disk shows now. Some file systems cannot do it; there the size alone is set. */
static Error *make_room(const Publish *p, uint64_t size) {
  if (size > INT64_MAX) return err_new(ERR_LIMIT, "restoring to %s: impossible size", p->path);
  if (size == 0 || fallocate(p->fd, 0, 0, (off_t)size) == 0) return NULL;
  if (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL)
    return err_errno(errno, "restoring to %s: reserving %llu bytes", p->path, (unsigned long long)size);
  return ftruncate(p->fd, (off_t)size) == 0 ? NULL : err_errno(errno, "restoring to %s", p->path);
}

/* Through SQLite's file layer: another descriptor would take the lock away when it is closed. */
static Error *copy_old_content(const Publish *p, uint64_t size, Cancel *cancel) {
  uint64_t have = 0;
  TRY(dbfile_size(p->old, &have));
  if (have > size) have = size;
  uint8_t *buffer = mem_pages(COPY_BUFFER);
  Error *err = NULL;
  for (uint64_t at = 0; at < have && !err; at += COPY_BUFFER) {
    size_t len = have - at < COPY_BUFFER ? (size_t)(have - at) : COPY_BUFFER;
    err = cancel_check(cancel);
    if (!err) err = dbfile_read(p->old, at, buffer, len);
    if (!err) err = fs_write_at(p->fd, p->path, buffer, len, at);
  }
  mem_free_pages(buffer, COPY_BUFFER);
  return err;
}

static Error *prepare(Publish *p, const PublishOptions *options, Cancel *cancel) {
  p->dir_fd = fcntl(options->dir_fd, F_DUPFD_CLOEXEC, 0);
  if (p->dir_fd < 0) return err_errno(errno, "restoring to %s", p->path);
  TRY(check_target(p, options->sys, cancel));
  bool long_name = strlen(p->name) > NAME_KEPT_MAX;
  AUTO_FREE char *prefix = long_name ? mem_strdup(TEMPORARY_PREFIX) : mem_printf(".%s" TEMPORARY_PREFIX, p->name);
  temporary_sweep(p->dir_fd, prefix); /* a log of the old database that a crash left under such a name stays */
  char temp[NAME_MAX + 1];
  p->fd = temporary_create(options->sys, p->dir_fd, prefix, temp, sizeof temp);
  if (p->fd < 0) return err_errno(errno, "restoring to %s: creating a file in %s", p->path, p->dir);
  p->temp = mem_strdup(temp);
  p->temp_exists = true;
  TRY(make_room(p, options->size));
  return options->copy_old && p->old ? copy_old_content(p, options->size, cancel) : NULL;
}

Error *publish_begin(const PublishOptions *options, Publish **out, Cancel *cancel) {
  Publish *p = NEW(Publish);
  p->path = fs_join(options->dir, options->name);
  p->dir = mem_strdup(options->dir);
  p->name = mem_strdup(options->name);
  p->dir_fd = p->fd = -1;
  p->overwrite = options->overwrite;
  p->sync = options->sync;
  Error *err = prepare(p, options, cancel);
  if (err) {
    publish_abort(p);
    return err;
  }
  *out = p;
  return NULL;
}

/* ---- ending -------------------------------------------------------------------------------------------------- */

static Error *sync_dir(const Publish *p) {
  if (!p->sync || fsync(p->dir_fd) == 0) return NULL;
  return err_errno(errno, "restoring to %s: making %s durable", p->path, p->dir);
}

static Error *move_aside(Publish *p) {
  uint64_t moved = 0;
  for (size_t i = 0; i < COMPANION_COUNT; i++) {
    AUTO_FREE char *from = mem_printf("%s%s", p->name, COMPANIONS[i]);
    if (!name_exists(p, from)) continue;
    AUTO_FREE char *to = mem_printf("%s%s", p->temp, COMPANIONS[i]);
    if (renameat(p->dir_fd, from, p->dir_fd, to) != 0)
      return err_errno(errno, "restoring to %s: moving %s aside", p->path, from);
    p->aside[i] = STEAL(to);
    moved++;
  }
  return moved ? sync_dir(p) : NULL;
}

static void move_back(Publish *p) {
  for (size_t i = 0; i < COMPANION_COUNT; i++) {
    if (!p->aside[i]) continue;
    AUTO_FREE char *to = mem_printf("%s%s", p->name, COMPANIONS[i]);
    (void)renameat(p->dir_fd, p->aside[i], p->dir_fd, to);
  }
}

static void remove_aside(Publish *p) {
  for (size_t i = 0; i < COMPANION_COUNT; i++)
    if (p->aside[i]) (void)unlinkat(p->dir_fd, p->aside[i], 0);
}

/* Somebody else's file of that name, created meanwhile, is not replaced either. */
static Error *put_in_place(Publish *p) {
  unsigned flags = p->overwrite ? 0 : RENAME_NOREPLACE;
  int rc = renameat2(p->dir_fd, p->temp, p->dir_fd, p->name, flags);
  if (rc != 0 && flags && (errno == EINVAL || errno == ENOSYS)) { /* a file system without the flag */
    rc = linkat(p->dir_fd, p->temp, p->dir_fd, p->name, 0);
    if (rc == 0) (void)unlinkat(p->dir_fd, p->temp, 0);
  }
  if (rc != 0) return errno == EEXIST ? refuse_existing(p, p->name) : err_errno(errno, "restoring to %s", p->path);
  p->temp_exists = false;
  return NULL;
}

/* With the old database's exclusive lock held nobody reads or writes its files. The old log goes first and durably, the
 * new file comes second: a crash in between leaves the old database, and its log under the temporary name. */
static Error *commit(Publish *p) {
  if (p->sync) TRY(fs_sync(p->fd, p->path));
  /* Fetching may have taken long: somebody may have come meanwhile. */
  TRY(p->overwrite ? check_users(p) : check_companions(p));
  if (p->overwrite) TRY(move_aside(p));
  TRY(put_in_place(p));
  return NULL;
}

static void publish_free(Publish *take) {
  dbfile_close(take->old);
  if (take->fd >= 0) close(take->fd);
  if (take->dir_fd >= 0) close(take->dir_fd);
  for (size_t i = 0; i < COMPANION_COUNT; i++) free(take->aside[i]);
  free(take->path);
  free(take->dir);
  free(take->name);
  free(take->temp);
  free(take);
}

Error *publish_commit(Publish *take) {
  Error *err = commit(take);
  if (err) {
    move_back(take);
    publish_abort(take);
    return err;
  }
  err = sync_dir(take);
  if (!err) remove_aside(take);
  publish_free(take);
  return err;
}

void publish_abort(Publish *take) {
  if (!take) return;
  if (take->temp_exists) (void)unlinkat(take->dir_fd, take->temp, 0);
  publish_free(take);
}
