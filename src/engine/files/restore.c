/* A restore goes over the snapshot's entries twice: first directories (closed to others while they are filled) and
 * empty files; then, all content fetched, links, devices and hard links, and the attributes of each directory when the
 * last entry below it is done, so that nothing written later disturbs its times. Only what its owner may not enter or
 * change is closed at the very end, when this is not root: a hard link elsewhere may name a file in it. Symbolic links
 * are made after all content: nothing could be written through one even if a path were followed. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine/files/files.h"
#include "engine/files/target.h"

typedef struct OpenDir { /* on the way from the root to the entry at hand */
  size_t path_len;
  bool used;    /* it, or something in it, was wanted */
  Entry *entry; /* without its path */
} OpenDir;

typedef struct Restore {
  Target *target;
  Cancel *cancel;
  Buf path; /* of the last open directory */
  OpenDir *dirs;
  size_t len, cap;
  Entry **closed; /* directories that get their attributes at the end, inner ones before outer ones */
  size_t closed_len, closed_cap;
  uint64_t empty_files;
} Restore;

/* The owner of a directory has no more rights in it than its mode says. */
static bool closes_owner(uint32_t mode) { return geteuid() != 0 && (mode & 0700) != 0700; }

/* One that was there before, from an earlier restore, say: it is written into now, and closed again with the others. */
static void open_to_owner(const DirRef *dir) {
  struct stat st;
  if (fstat(dir->fd, &st) != 0 || st.st_uid != geteuid() || !closes_owner(st.st_mode)) return;
  char self[64];
  snprintf(self, sizeof self, "/proc/self/fd/%d", dir->fd);  /* fchmod does not take what was opened with O_PATH */
  if (chmod(self, (st.st_mode & 07777) | 0700) != 0) return; /* what is written into it says why */
}

static Error *make_directory(Restore *job, const Entry *entry) {
  DirRef *dir = NULL;
  int rc = target_directory(job->target, entry->path, &dir);
  if (rc == 0) open_to_owner(dir);
  if (rc == 0) target_sweep(job->target, dir->fd, entry->path);
  dirref_drop(rc ? NULL : dir);
  return rc ? target_failed(job->target, entry->path, "creating the directory", rc) : NULL;
}

/* Replaces a file or link that is there, if that was asked for; never a directory. */
static int make_way(const Target *target, const TargetPlace *place) {
  if (!target_is_shared(target)) return 0;
  return unlinkat(place->dir->fd, place->name, 0) == 0 || errno == ENOENT ? 0 : errno;
}

/* What stands where a directory belongs; what cannot be removed is reported when the directory is made. */
static void make_way_for_directory(Target *target, Bytes path) {
  TargetPlace place;
  struct stat st;
  if (path.len == 0 || !target_is_shared(target) || target_place(target, path, &place) != 0) return;
  if (fstatat(place.dir->fd, place.name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(st.st_mode))
    (void)unlinkat(place.dir->fd, place.name, 0);
  dirref_drop(place.dir);
}

static Error *make_empty_file(Restore *job, const Entry *entry) {
  TargetPlace place;
  target_yield_mark(job->target, entry->path);
  int rc = target_place(job->target, entry->path, &place);
  if (rc) return target_failed(job->target, entry->path, "creating it", rc);
  rc = make_way(job->target, &place);
  int fd = -1;
  if (rc == 0) {
    fd = openat(place.dir->fd, place.name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) rc = errno;
  }
  dirref_drop(place.dir);
  if (rc) return target_failed(job->target, entry->path, "creating it", rc);
  target_apply(job->target, &(AttrPlace){.fd = fd, .dir_fd = -1}, entry);
  close(fd);
  job->empty_files++;
  return NULL;
}

static Error *visit_first(void *ctx, const Entry *entry) {
  Restore *job = (Restore *)ctx;
  TRY(cancel_check(job->cancel));
  if (entry->type == ENTRY_FILE && entry->size > 0) return NULL; /* asked for by fetch */
  if (!target_wants(job->target, entry)) return NULL;            /* reports paths that are none, of any type */
  if (entry->type == ENTRY_FILE) return make_empty_file(job, entry);
  if (entry->type == ENTRY_HARDLINK && entry_path_valid(entry->target)) target_needs(job->target, entry->target);
  if (entry->type != ENTRY_DIR) return NULL;
  make_way_for_directory(job->target, entry->path);
  return make_directory(job, entry);
}

/* ---- the second time ---- */

static int make_symlink(const TargetPlace *place, const Entry *entry) {
  if (entry->target.len == 0 || memchr(entry->target.data, 0, entry->target.len)) return EINVAL;
  AUTO_FREE char *text = mem_strndup((const char *)entry->target.data, entry->target.len);
  return symlinkat(text, place->dir->fd, place->name) ? errno : 0;
}

static int make_special(const TargetPlace *place, const Entry *entry) {
  mode_t type = entry->type == ENTRY_FIFO     ? S_IFIFO
                : entry->type == ENTRY_SOCKET ? S_IFSOCK
                : entry->type == ENTRY_CHAR   ? S_IFCHR
                                              : S_IFBLK;
  return mknodat(place->dir->fd, place->name, type | 0600, (dev_t)entry->rdev) ? errno : 0;
}

static int make_hard_link(Restore *job, const TargetPlace *place, const Entry *entry) {
  if (entry->target.len == 0 || !entry_path_valid(entry->target) || bytes_equal(entry->target, entry->path))
    return EINVAL;
  TargetPlace from;
  int rc = target_place(job->target, entry->target, &from);
  if (rc) return rc;
  rc = linkat(from.dir->fd, from.name, place->dir->fd, place->name, 0) ? errno : 0;
  dirref_drop(from.dir);
  return rc;
}

static Error *make_other(Restore *job, const Entry *entry) {
  TargetPlace place;
  int rc = target_place(job->target, entry->path, &place);
  if (rc) return target_failed(job->target, entry->path, "creating it", rc);
  rc = make_way(job->target, &place);
  if (rc == 0) {
    rc = entry->type == ENTRY_HARDLINK  ? make_hard_link(job, &place, entry)
         : entry->type == ENTRY_SYMLINK ? make_symlink(&place, entry)
                                        : make_special(&place, entry);
  }
  if (rc == 0 && entry->type != ENTRY_HARDLINK) /* a hard link has its attributes from the file it names */
    target_apply(job->target, &(AttrPlace){.fd = -1, .dir_fd = place.dir->fd, .name = place.name}, entry);
  dirref_drop(place.dir);
  return rc ? target_failed(job->target, entry->path, "creating it", rc) : NULL;
}

static void apply_directory(Restore *job, const Entry *entry) {
  DirRef *ref = NULL;
  int rc = target_directory(job->target, entry->path, &ref);
  int fd = rc ? -1 : dirref_open_list(ref);
  if (!rc && fd < 0) rc = errno;
  if (rc)
    target_report(job->target, entry->path, "its attributes", rc);
  else
    target_apply(job->target, &(AttrPlace){.fd = fd, .dir_fd = -1}, entry);
  if (fd >= 0) close(fd);
  dirref_drop(ref);
}

static void finish_directory(Restore *job, const OpenDir *dir) {
  Entry entry = *dir->entry;
  entry.path = bytes(job->path.data, dir->path_len);
  if (!closes_owner(entry.mode)) {
    apply_directory(job, &entry);
    return;
  }
  if (job->closed_len == job->closed_cap) {
    job->closed_cap = job->closed_cap ? job->closed_cap * 2 : 16;
    job->closed = (Entry **)mem_resize(job->closed, job->closed_cap, sizeof *job->closed);
  }
  job->closed[job->closed_len++] = entry_copy(&entry);
}

static void leave_last(Restore *job) {
  OpenDir *dir = &job->dirs[--job->len];
  if (dir->used) {
    finish_directory(job, dir);
    if (job->len) job->dirs[job->len - 1].used = true;
  }
  entry_free(dir->entry);
}

/* Directories that are not above `path` are done. */
static void leave_others(Restore *job, Bytes path) {
  while (job->len > 0) {
    size_t len = job->dirs[job->len - 1].path_len;
    if (entry_path_within(path, bytes(job->path.data, len))) return;
    leave_last(job);
  }
}

static void push_directory(Restore *job, const Entry *entry, bool used) {
  MEM_ROOM(job->dirs, job->len, job->cap, 16);
  Entry bare = *entry;
  bare.path = bytes(NULL, 0);
  job->dirs[job->len++] = (OpenDir){.path_len = entry->path.len, .used = used, .entry = entry_copy(&bare)};
  buf_clear(&job->path);
  buf_add(&job->path, entry->path.data, entry->path.len);
}

static Error *visit_second(void *ctx, const Entry *entry) {
  Restore *job = (Restore *)ctx;
  TRY(cancel_check(job->cancel));
  if (!entry_path_valid(entry->path)) return NULL; /* reported the first time */
  leave_others(job, entry->path);
  bool wanted = target_wants(job->target, entry);
  if (entry->type == ENTRY_DIR) {
    push_directory(job, entry, wanted);
    return NULL;
  }
  if (!wanted) return NULL;
  if (job->len) job->dirs[job->len - 1].used = true;
  return entry->type == ENTRY_FILE ? NULL : make_other(job, entry);
}

static Error *restore_all(Restore *job, Source *source) {
  Target *target = job->target;
  TRY(source->ops->entries(source, visit_first, job, job->cancel));
  source->empty_files += job->empty_files;
  TRY(source->ops->fetch(source, target_fetch_ops(target), target, job->cancel));
  TRY(source->ops->entries(source, visit_second, job, job->cancel));
  while (job->len > 0) leave_last(job);
  for (size_t i = 0; i < job->closed_len; i++) apply_directory(job, job->closed[i]);
  if (target_wanted(target) == 0 && target_plan(target)->only.len > 0) {
    return err_hint(
        err_new(ERR_NOT_FOUND, "restoring to %s: nothing in the snapshot matches", target_plan(target)->target),
        "list what it holds with 'holdfast ls' and give paths as shown there");
  }
  return target_finish(target);
}

Error *files_restore(Engine *engine, const RestorePlan *plan, Source *source, Cancel *cancel) {
  Restore job = {.cancel = cancel};
  TRY(target_open(engine->sys, plan, source, &job.target));
  Error *err = restore_all(&job, source);
  while (job.len > 0) entry_free(job.dirs[--job.len].entry);
  free(job.dirs);
  while (job.closed_len > 0) entry_free(job.closed[--job.closed_len]);
  free(job.closed);
  buf_free(&job.path);
  target_free(job.target);
  return err;
}
