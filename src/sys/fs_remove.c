/* Removing a tree that may be deeper than there are descriptors and longer than PATH_MAX, and that may be hostile: each
 * step is relative to an open directory, one level of which is open at a time; the way back up is "..", checked to be
 * the directory we came from. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "sys/fs.h"

typedef struct Level {
  char *name; /* in the level above */
  ino_t inode;
} Level;

typedef struct Removal {
  const char *path; /* for messages */
  dev_t device;
  int fd; /* the directory being emptied */
  Level *levels;
  size_t depth;
  size_t cap;
} Removal;

static Error *removal_error(const Removal *r, int errno_value, const char *name) {
  AUTO_FREE char *shown = str_printable(bytes_str(name));
  return err_errno(errno_value, "removing %s: \"%s\"", r->path, shown);
}

/* Opens `name` relative to r->fd, which it replaces. With `must_be` not 0 it must be that inode. */
static Error *move_to(Removal *r, const char *name, int flags, ino_t must_be, ino_t *out_inode) {
  struct stat st;
  Error *err = NULL;
  int fd = openat(r->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | flags);
  if (fd < 0) return removal_error(r, errno, name);
  if (fstat(fd, &st) != 0) {
    err = removal_error(r, errno, name);
  } else if (must_be && (st.st_ino != must_be || st.st_dev != r->device)) {
    err = err_new(ERR_REFUSED, "removing %s: a directory inside was moved meanwhile", r->path);
  } else if (st.st_dev != r->device) {
    AUTO_FREE char *shown = str_printable(bytes_str(name));
    err = err_hint(err_new(ERR_REFUSED, "removing %s: \"%s\" is another file system", r->path, shown), "unmount it");
  }
  if (err) {
    close(fd);
    return err;
  }
  close(r->fd);
  r->fd = fd;
  *out_inode = st.st_ino;
  return NULL;
}

/* Who is not root cannot empty a directory of his own that is closed to himself. Best effort, never through a link. */
static void unclose(const Removal *r, const char *name) {
  struct stat st;
  char self[64];
  if (geteuid() == 0) return;
  AUTO_FD int fd = openat(r->fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &st) != 0 || st.st_uid != geteuid() || (st.st_mode & 0700) == 0700) return;
  snprintf(self, sizeof self, "/proc/self/fd/%d", fd); /* fchmod does not take what was opened with O_PATH */
  if (chmod(self, 0700) != 0) return;                  /* then opening it says why */
}

/* Makes the directory `name` the one being emptied. */
static Error *descend(Removal *r, const char *name) {
  ino_t inode = 0;
  unclose(r, name);
  TRY(move_to(r, name, O_NOFOLLOW, 0, &inode));
  if (r->depth == r->cap) {
    r->cap = r->cap ? 2 * r->cap : 16;
    r->levels = (Level *)mem_resize(r->levels, r->cap, sizeof *r->levels);
  }
  r->levels[r->depth++] = (Level){.name = mem_strdup(name), .inode = inode};
  return NULL;
}

/* Removes the directory just emptied from the one above, which becomes the one being emptied. */
static Error *ascend(Removal *r, ino_t inode_above) {
  AUTO_FREE char *name = r->levels[--r->depth].name;
  TRY(move_to(r, "..", 0, inode_above, &inode_above));
  if (unlinkat(r->fd, name, AT_REMOVEDIR) != 0 && errno != ENOENT) return removal_error(r, errno, name);
  return NULL;
}

static bool is_dots(const char *name) { return strcmp(name, ".") == 0 || strcmp(name, "..") == 0; }

/* Removes what is not a directory; *out_dir is the first directory met (owned), NULL when nothing is left. */
static Error *remove_files(Removal *r, char **out_dir) {
  int fd = openat(r->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *dir = fd < 0 ? NULL : fdopendir(fd);
  if (!dir) {
    Error *err = removal_error(r, errno, ".");
    if (fd >= 0) close(fd);
    return err;
  }
  Error *err = NULL;
  char *found = NULL;
  const struct dirent *entry;
  while (!err && !found && (errno = 0, entry = readdir(dir)) != NULL) {
    if (is_dots(entry->d_name) || unlinkat(r->fd, entry->d_name, 0) == 0 || errno == ENOENT) continue;
    struct stat st;
    int failed = errno;
    bool is_dir = fstatat(r->fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
    if (is_dir)
      found = mem_strdup(entry->d_name);
    else
      err = removal_error(r, failed, entry->d_name);
  }
  if (!err && !found && errno) err = removal_error(r, errno, ".");
  closedir(dir);
  *out_dir = found;
  return err;
}

static Error *empty_root(Removal *r, ino_t root_inode) {
  for (;;) {
    AUTO_FREE char *dir = NULL;
    TRY(remove_files(r, &dir));
    if (dir)
      TRY(descend(r, dir));
    else if (r->depth > 0)
      TRY(ascend(r, r->depth > 1 ? r->levels[r->depth - 2].inode : root_inode));
    else
      return NULL;
  }
}

static Error *remove_dir_tree(const char *path) {
  struct stat st;
  Removal r = {.path = path, .fd = -1};
  TRY(fs_open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, &r.fd));
  Error *err = NULL;
  if (fstat(r.fd, &st) != 0) {
    err = err_errno(errno, "removing %s", path);
  } else {
    r.device = st.st_dev;
    err = empty_root(&r, st.st_ino);
  }
  close(r.fd);
  for (size_t i = 0; i < r.depth; i++) free(r.levels[i].name);
  free(r.levels);
  if (!err && rmdir(path) != 0 && errno != ENOENT) err = err_errno(errno, "removing %s", path);
  return err;
}

Error *fs_remove_tree(const char *path) {
  /* With a slash behind it the name of a link would mean the link's target. */
  size_t len = strlen(path);
  while (len > 1 && path[len - 1] == '/') len--;
  AUTO_FREE char *plain = mem_strndup(path, len);
  struct stat st;
  if (unlink(plain) == 0 || errno == ENOENT) return NULL;
  int failed = errno;
  if (lstat(plain, &st) != 0 || !S_ISDIR(st.st_mode)) return err_errno(failed, "removing %s", plain);
  return remove_dir_tree(plain);
}
