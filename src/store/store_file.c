#include "store/store_file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/mem.h"
#include "store/store_file_impl.h"
#include "sys/fs.h"

enum {
  READERS = 64,          /* descriptors kept open for reading */
  READ_SLICE = 16 << 20, /* read at once, between two looks at the Cancel */
};

/* Opens the object's file afresh; anything that is not a plain file is not an object. */
static Error *open_fresh(FileStore *fs, const char *key, CachedFd **out, struct stat *out_st) {
  AUTO_FD int dir = -1;
  TRY(file_open_dir(fs, key, &dir));
  /* O_NONBLOCK: a FIFO that somebody put there must not stop us. */
  AUTO_FD int fd = openat(dir, file_leaf(key), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return file_errno(errno == ENXIO ? ENOENT : errno, "opening");
  if (fstat(fd, out_st) < 0) return err_errno(errno, "looking at the open file");
  if (!S_ISREG(out_st->st_mode)) return err_new(ERR_NOT_FOUND, "no such object");
  *out = fdcache_add(fs->readers, key, fd_steal(&fd));
  return NULL;
}

static Error *open_object(FileStore *fs, const char *key, CachedFd **out, struct stat *out_st) {
  CachedFd *cached = fdcache_acquire(fs->readers, key);
  if (!cached) return open_fresh(fs, key, out, out_st);
  if (fstat(fdcache_fd(cached), out_st) == 0 && out_st->st_nlink > 0) {
    *out = cached;
    return NULL;
  }
  /* Removed or replaced, perhaps by another process: what the name means now is what counts. */
  fdcache_release(fs->readers, cached);
  fdcache_forget(fs->readers, key);
  return open_fresh(fs, key, out, out_st);
}

static Error *read_range(int fd, uint64_t off, uint64_t len, uint8_t *out, const Cancel *cancel) {
  while (len) {
    TRY(cancel_check(cancel));
    size_t want = len < READ_SLICE ? (size_t)len : READ_SLICE, got = 0;
    TRY(fs_read_some(fd, "the file", out, want, off, &got));
    uint64_t end = off + got;
    if (got < want) return err_new(ERR_CORRUPT, "shorter than expected: it ends at %llu", (unsigned long long)end);
    out += want;
    off += want;
    len -= want;
  }
  return NULL;
}

static Error *file_get(Store *store, const char *key, uint64_t off, uint64_t len, uint8_t *out, Cancel *cancel) {
  FileStore *fs = file_store_of(store);
  CachedFd *cached = NULL;
  struct stat st = {0};
  TRY(open_object(fs, key, &cached, &st));
  uint64_t size = (uint64_t)st.st_size;
  Error *err = NULL;
  if (off > size || len > size - off)
    err = err_new(ERR_CORRUPT, "shorter than expected: %llu bytes", (unsigned long long)size);
  else
    err = read_range(fdcache_fd(cached), off, len, out, cancel);
  fdcache_release(fs->readers, cached);
  return err;
}

static Error *file_stat(Store *store, const char *key, StoreStat *out, Cancel *cancel UNUSED) {
  AUTO_FD int dir = -1;
  TRY(file_open_dir(file_store_of(store), key, &dir));
  struct stat st;
  if (fstatat(dir, file_leaf(key), &st, AT_SYMLINK_NOFOLLOW) < 0) return file_errno(errno, "stat");
  if (!S_ISREG(st.st_mode)) return err_new(ERR_NOT_FOUND, "no such object");
  *out = (StoreStat){.size_bytes = (uint64_t)st.st_size, .modified_ns = file_modified_ns(&st)};
  return NULL;
}

static Error *remove_file(FileStore *fs, const char *key) {
  AUTO_FD int dir = -1;
  TRY(file_open_dir(fs, key, &dir));
  struct stat st;
  bool there = fstatat(dir, file_leaf(key), &st, AT_SYMLINK_NOFOLLOW) == 0;
  if (there && !S_ISREG(st.st_mode)) return NULL; /* not ours */
  if (unlinkat(dir, file_leaf(key), 0) < 0 && errno != ENOENT) return err_errno(errno, "unlinking");
  fdcache_forget(fs->readers, key);
  /* Also when it was gone: whoever removed it may have died before this. */
  return file_sync_dir(dir);
}

static Error *file_remove(Store *store, const char *key, Cancel *cancel UNUSED) {
  Error *err = remove_file(file_store_of(store), key);
  if (!err_is(err, ERR_NOT_FOUND)) return err;
  err_free(err);
  return NULL;
}

static void file_free(Store *take) {
  FileStore *fs = file_store_of(take);
  fdcache_free(fs->readers);
  map_free(fs->durable);
  mutex_free(&fs->lock);
  close(fs->root_fd);
  free(fs->base.name);
  free(fs);
}

static const StoreOps file_ops = {
    .put = file_put,
    .put_begin = file_put_begin,
    .put_write = file_put_write,
    .put_commit = file_put_commit,
    .put_abort = file_put_abort,
    .get = file_get,
    .stat = file_stat,
    .list = file_list,
    .remove = file_remove,
    .free = file_free,
};

/* Cuts the last component off an absolute path; false at "/". */
static bool cut_last(char *path) {
  char *slash = strrchr(path, '/');
  if (!slash || slash[1] == '\0') return false;
  slash[slash == path ? 1 : 0] = '\0';
  return true;
}

/* Makes the root with all that is missing above it, and makes their names durable. */
static Error *make_root(const char *path) {
  AUTO_FREE char *above = mem_strdup(path);
  size_t missing = 0;
  while (!fs_exists(above) && cut_last(above)) missing++;
  if (missing == 0) return NULL;
  TRY(fs_make_dirs(path, FILE_DIR_MODE));
  free(above);
  above = mem_strdup(path);
  for (; missing > 0 && cut_last(above); missing--) TRY(fs_sync_dir(above));
  return NULL;
}

static Error *open_root(const char *path, bool create, int *out_fd) {
  if (create) TRY(make_root(path));
  struct stat st;
  if (stat(path, &st) < 0) {
    Error *err = err_errno(errno, "%s", path);
    if (err_code(err) != ERR_NOT_FOUND) return err;
    return err_hint(err, "make a repository there with \"holdfast init\", or mount the disk that holds it");
  }
  if (!S_ISDIR(st.st_mode))
    return err_hint(err_new(ERR_USAGE, "%s: not a directory", path), "a repository is a directory");
  return fs_open(path, O_RDONLY | O_DIRECTORY, 0, out_fd);
}

Error *store_file_open(Sys *sys, const char *path, bool create, Store **out) {
  AUTO_FREE char *absolute = NULL;
  TRY(fs_absolute(path, &absolute));
  int root = -1;
  Error *err = open_root(absolute, create, &root);
  if (err) return err_wrap(err, "opening the store");
  FileStore *fs = NEW(FileStore);
  fs->base.ops = &file_ops;
  fs->base.name = STEAL(absolute);
  fs->sys = sys;
  fs->root_fd = root;
  fs->readers = fdcache_new(sys, READERS);
  fs->durable = map_new();
  mutex_init(&fs->lock, sys);
  *out = &fs->base;
  return NULL;
}
