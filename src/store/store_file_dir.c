#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/mem.h"
#include "store/store_file_impl.h"
#include "sys/fs.h"

Error *file_errno(int errno_value, const char *doing) {
  if (errno_value == ENOENT || errno_value == ENOTDIR || errno_value == ELOOP)
    return err_new(ERR_NOT_FOUND, "no such object");
  return err_errno(errno_value, "%s", doing);
}

const char *file_leaf(const char *key) {
  const char *slash = strrchr(key, '/');
  return slash ? slash + 1 : key;
}

Error *file_sync_dir(int fd) {
  while (fsync(fd) < 0) {
    if (errno == EINTR) continue;
    /* Some network and user-space file systems cannot sync a directory; there is nothing better to ask them for. */
    if (errno == EINVAL || errno == ENOTSUP) return NULL;
    return err_errno(errno, "syncing the directory");
  }
  return NULL;
}

bool file_mode_matters(int errno_value) {
  return errno_value != EPERM && errno_value != ENOTSUP && errno_value != ENOSYS && errno_value != EINVAL;
}

/* Opens one directory below parent, making it when it is missing and `make` is set. */
static Error *open_child(int parent, const char *name, bool make, bool *out_made, int *out_fd) {
  *out_made = false;
  /* A directory may vanish between the two calls, but not for ever. */
  for (int tries = 0; tries < 8; tries++) {
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0) {
      *out_fd = fd;
      return NULL;
    }
    if (!make) return file_errno(errno, "opening the directory");
    if (errno != ENOENT) return err_errno(errno, "opening the directory %s", name);
    if (mkdirat(parent, name, FILE_DIR_MODE) == 0) {
      *out_made = true;
      if (fchmodat(parent, name, FILE_DIR_MODE, 0) < 0 && file_mode_matters(errno))
        return err_errno(errno, "setting the mode of %s", name);
    } else if (errno != EEXIST) {
      return err_errno(errno, "making the directory %s", name);
    }
  }
  return err_new(ERR_IO, "making the directory %s: it vanishes again and again", name);
}

static bool is_durable(FileStore *fs, Bytes dir) {
  LOCKED(&fs->lock);
  return map_get(fs->durable, dir) != NULL;
}

static void set_durable(FileStore *fs, Bytes dir) {
  LOCKED(&fs->lock);
  map_set(fs->durable, dir, fs);
}

static Error *walk(FileStore *fs, const char *key, bool make, int *out_fd) {
  AUTO_FD int fd = fcntl(fs->root_fd, F_DUPFD_CLOEXEC, 0);
  if (fd < 0) return err_errno(errno, "opening the directory");
  const char *at = key;
  for (const char *slash; (slash = strchr(at, '/')); at = slash + 1) {
    AUTO_FREE char *name = mem_strndup(at, (size_t)(slash - at));
    Bytes path = bytes(key, (size_t)(slash - key));
    bool made;
    int child = -1;
    TRY(open_child(fd, name, make, &made, &child));
    int parent = fd;
    fd = child;
    Error *err = NULL;
    if (make && (made || !is_durable(fs, path))) {
      /* Also when it was there: its maker may have died, or may not have come to this yet. */
      err = file_sync_dir(parent);
      if (!err) set_durable(fs, path);
    }
    close(parent);
    TRY(err);
  }
  *out_fd = fd_steal(&fd);
  return NULL;
}

Error *file_open_dir(FileStore *fs, const char *key, int *out_fd) { return walk(fs, key, false, out_fd); }

Error *file_make_dir(FileStore *fs, const char *key, int *out_fd) { return walk(fs, key, true, out_fd); }

Error *file_open_tmp(FileStore *fs, int *out_fd) {
  /* Need not be durable: what is in it means nothing after a crash. */
  bool made;
  return open_child(fs->root_fd, "tmp", true, &made, out_fd);
}
