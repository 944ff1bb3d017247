/* Restore: the members of a snapshot as database files. One selected member becomes the file that the target names,
 * several become files below it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine/sqlite/sqlite_engine.h"
#include "engine/sqlite/sqlite_publish.h"
#include "sys/fs.h"

typedef struct Restore {
  const RestorePlan *plan;
  Sys *sys;
  Cancel *cancel;
  bool into_dir;
  int root_fd;
  char *root; /* the directory: the target itself, or the one it is in */
  char *name; /* of the one file; NULL with into_dir */
  size_t selected;
  uint64_t empty_files;
} Restore;

typedef struct RestoreFile {
  SourceFile base;
  Publish *publish;
  _Atomic uint64_t written;
} RestoreFile;

static RestoreFile *file_of(SourceFile *file) { return (RestoreFile *)file; }

static bool is_selected(const Restore *restore, const Entry *entry) {
  const StrList *only = &restore->plan->only;
  if (entry->type != ENTRY_FILE) return false;
  if (only->len == 0) return true;
  for (size_t i = 0; i < only->len; i++)
    if (glob_match(bytes_str(only->items[i]), entry->path)) return true;
  return false;
}

/* ---- where a member goes ------------------------------------------------------------------------------------- */

/* The directory below the root that a tree path's last component lies in, made as needed. No link is followed. */
static Error *open_parent(const Restore *restore, const char *tree_path, int *out_fd) {
  const char *at = tree_path, *slash;
  int fd = fcntl(restore->root_fd, F_DUPFD_CLOEXEC, 0);
  if (fd < 0) return err_errno(errno, "restoring to %s", restore->root);
  while ((slash = strchr(at, '/'))) {
    AUTO_FREE char *component = mem_strndup(at, (size_t)(slash - at));
    if (mkdirat(fd, component, 0755) != 0 && errno != EEXIST) break;
    int next = openat(fd, component, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (next < 0) break;
    close(fd);
    fd = next;
    at = slash + 1;
  }
  if (!slash) {
    *out_fd = fd;
    return NULL;
  }
  Error *err = err_errno(errno, "restoring to %s/%s", restore->root, tree_path);
  close(fd);
  return err;
}

static Error *begin_file(const Restore *restore, const Entry *entry, Publish **out) {
  if (!entry_path_valid(entry->path) || memchr(entry->path.data, 0, entry->path.len))
    return err_new(ERR_CORRUPT, "restoring to %s: the snapshot holds a path that cannot be", restore->root);
  AUTO_FREE char *tree_path = mem_strndup((const char *)entry->path.data, entry->path.len);
  const char *last = strrchr(tree_path, '/');
  AUTO_FREE char *below = restore->into_dir && last ? mem_strndup(tree_path, (size_t)(last - tree_path)) : NULL;
  AUTO_FREE char *dir = below ? fs_join(restore->root, below) : mem_strdup(restore->root);
  AUTO_FD int dir_fd = -1;
  TRY(open_parent(restore, restore->into_dir ? tree_path : "", &dir_fd));
  PublishOptions options = {
      .sys = restore->sys,
      .dir_fd = dir_fd,
      .dir = dir,
      .name = !restore->into_dir ? restore->name
              : last             ? last + 1
                                 : tree_path,
      .size = entry->size,
      .overwrite = restore->plan->overwrite,
      .copy_old = restore->plan->overwrite && restore->plan->delta,
      .sync = !restore->plan->no_sync,
  };
  return publish_begin(&options, out, restore->cancel);
}

/* ---- fetching ------------------------------------------------------------------------------------------------ */

static bool fetch_select(void *ctx, const Entry *entry) { return is_selected(ctx, entry); }

static Error *fetch_create(void *ctx, const Entry *entry, SourceFile **out) {
  Publish *publish = NULL;
  TRY(begin_file(ctx, entry, &publish));
  RestoreFile *file = NEW(RestoreFile);
  *file = (RestoreFile){.base = {.entry = entry}, .publish = publish};
  *out = &file->base;
  return NULL;
}

static Error *check_range(const SourceFile *file, uint64_t offset, uint64_t len) {
  if (offset <= file->entry->size && len <= file->entry->size - offset) return NULL;
  return err_new(ERR_CORRUPT, "restoring: content behind the end of the file");
}

static Error *fetch_write(void *ctx, SourceFile *file, uint64_t offset, Bytes data) {
  const Restore *restore = ctx;
  TRY(cancel_check(restore->cancel));
  TRY(check_range(file, offset, data.len));
  const Publish *publish = file_of(file)->publish;
  TRY(fs_write_at(publish_fd(publish), publish_path(publish), data.data, data.len, offset));
  fs_write_behind(publish_fd(publish), &file_of(file)->written, data.len);
  return NULL;
}

/* A new file reads as zeros already; one that began as a copy of the old must be told. */
static Error *fetch_zero(void *ctx, SourceFile *file, uint64_t offset, uint64_t len) {
  static const uint8_t zeros[64 * 1024];
  const Restore *restore = ctx;
  TRY(check_range(file, offset, len));
  if (!restore->plan->delta || !restore->plan->overwrite) return NULL;
  for (uint64_t done = 0; done < len;) {
    size_t part = len - done < sizeof(zeros) ? (size_t)(len - done) : sizeof(zeros);
    TRY(fetch_write(ctx, file, offset + done, bytes(zeros, part)));
    done += part;
  }
  return NULL;
}

static Error *fetch_read(void *ctx, SourceFile *file, uint64_t offset, uint8_t *out, size_t len, size_t *out_len) {
  (void)ctx;
  const Publish *publish = file_of(file)->publish;
  return fs_read_some(publish_fd(publish), publish_path(publish), out, len, offset, out_len);
}

static Error *set_attributes(const Restore *restore, const Entry *entry, const Publish *publish) {
  int fd = publish_fd(publish);
  const char *path = publish_path(publish);
  if (restore->plan->owners && fchown(fd, entry->uid, entry->gid) != 0)
    return err_hint(err_errno(errno, "restoring to %s: setting its owner", path), "setting owners needs root");
  if (fchmod(fd, entry->mode & 0777) != 0) return err_errno(errno, "restoring to %s: setting its mode", path);
  int64_t seconds = entry->mtime_ns / 1000000000, ns = entry->mtime_ns % 1000000000;
  if (ns < 0) seconds--, ns += 1000000000;
  struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = seconds, .tv_nsec = ns}};
  return futimens(fd, times) == 0 ? NULL : err_errno(errno, "restoring to %s: setting its time", path);
}

static Error *finish_file(const Restore *restore, const Entry *entry, Publish *take) {
  Error *err = set_attributes(restore, entry, take);
  if (!err) return publish_commit(take);
  publish_abort(take);
  return err;
}

static Error *fetch_finish(void *ctx, SourceFile *take, const Error *failed) {
  RestoreFile *file = file_of(take);
  Error *err = NULL;
  if (failed)
    publish_abort(file->publish);
  else
    err = finish_file(ctx, take->entry, file->publish);
  free(file);
  return err;
}

/* ---- the whole ----------------------------------------------------------------------------------------------- */

static Error *count_selected(void *ctx, const Entry *entry) {
  Restore *restore = ctx;
  if (is_selected(restore, entry)) restore->selected++;
  return NULL;
}

/* Databases without a byte have no content to fetch. */
static Error *restore_empty(void *ctx, const Entry *entry) {
  Restore *restore = ctx;
  Publish *publish = NULL;
  if (entry->size != 0 || !is_selected(restore, entry)) return NULL;
  TRY(begin_file(restore, entry, &publish));
  restore->empty_files++;
  return finish_file(restore, entry, publish);
}

static Error *dir_is_empty(const char *path, bool *out) {
  DIR *dir = opendir(path);
  if (!dir) return err_errno(errno, "restoring to %s", path);
  struct dirent *entry;
  *out = true;
  while ((entry = readdir(dir)))
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) *out = false;
  closedir(dir);
  return NULL;
}

/* A directory that exists takes one member by its name; several want it empty. */
static Error *choose_place(Restore *restore) {
  const char *target = restore->plan->target;
  struct stat st;
  bool exists = stat(target, &st) == 0, empty = true;
  bool is_dir = exists && S_ISDIR(st.st_mode);
  restore->into_dir = restore->selected > 1 || is_dir || str_ends(target, "/");
  if (exists && !is_dir && restore->into_dir)
    return err_hint(err_new(ERR_REFUSED, "restoring to %s: %zu databases need a directory", target, restore->selected),
                    "name a directory, or select one database with --only");
  if (is_dir && restore->selected > 1 && !restore->plan->overwrite) {
    TRY(dir_is_empty(target, &empty));
    if (!empty)
      return err_hint(
          err_new(ERR_NOT_EMPTY, "restoring to %s: the directory is not empty", target),
          "restore to a new directory, or allow its files to be replaced by repeating its name with --confirm");
  }
  /* An operator who names a link means the file it leads to. */
  AUTO_FREE char *real = exists ? realpath(target, NULL) : NULL;
  AUTO_FREE char *whole = NULL;
  TRY(fs_absolute(real ? real : target, &whole));
  if (restore->into_dir) {
    restore->root = STEAL(whole);
  } else {
    char *slash = strrchr(whole, '/');
    restore->name = mem_strdup(slash + 1);
    restore->root = slash == whole ? mem_strdup("/") : mem_strndup(whole, (size_t)(slash - whole));
  }
  TRY(fs_make_dirs(restore->root, 0755));
  return fs_open(restore->root, O_RDONLY | O_DIRECTORY, 0, &restore->root_fd);
}

static Error *restore_all(Restore *restore, Source *source) {
  static const FetchOps NEW_FILE = {
      .select = fetch_select, .create = fetch_create, .write = fetch_write, .zero = fetch_zero, .finish = fetch_finish};
  static const FetchOps OVER_OLD = {.select = fetch_select,
                                    .create = fetch_create,
                                    .write = fetch_write,
                                    .zero = fetch_zero,
                                    .read = fetch_read,
                                    .finish = fetch_finish};
  TRY(source->ops->entries(source, count_selected, restore, restore->cancel));
  if (restore->selected == 0)
    return err_hint(
        err_new(ERR_NOT_FOUND, "restoring to %s: no database in the snapshot matches", restore->plan->target),
        "`holdfast ls` shows what it holds");
  TRY(choose_place(restore));
  bool delta = restore->plan->overwrite && restore->plan->delta;
  TRY(source->ops->fetch(source, delta ? &OVER_OLD : &NEW_FILE, restore, restore->cancel));
  TRY(source->ops->entries(source, restore_empty, restore, restore->cancel));
  source->empty_files += restore->empty_files;
  return NULL;
}

Error *sqlite_engine_restore(Engine *engine, const RestorePlan *plan, Source *source, Cancel *cancel) {
  Restore restore = {.plan = plan, .sys = engine->sys, .cancel = cancel, .root_fd = -1};
  if (!plan->target || plan->target[0] != '/') return err_new(ERR_USAGE, "restoring: the target must be absolute");
  Error *err = restore_all(&restore, source);
  if (restore.root_fd >= 0) close(restore.root_fd);
  free(restore.root);
  free(restore.name);
  return err;
}
