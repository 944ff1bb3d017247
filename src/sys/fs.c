#include "sys/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"

Error *fs_open(const char *path, int flags, mode_t mode, int *out_fd) {
  int fd;
  do fd = open(path, flags | O_CLOEXEC, mode);
  while (fd < 0 && errno == EINTR);
  if (fd < 0) return err_errno(errno, "opening %s", path);
  *out_fd = fd;
  return NULL;
}

static Error *check_range(const char *name, uint64_t offset, size_t len) {
  uint64_t end;
  if (ADD_OVERFLOWS(offset, len, &end) || end > INT64_MAX)
    return err_new(ERR_LIMIT, "%s: offset %" PRIu64 " is beyond what files can hold", name, offset);
  return NULL;
}

Error *fs_read_some(int fd, const char *name, void *out, size_t len, uint64_t offset, size_t *out_len) {
  TRY(check_range(name, offset, len));
  size_t done = 0;
  while (done < len) {
    ssize_t n = pread(fd, (uint8_t *)out + done, len - done, (off_t)(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return err_errno(errno, "reading %s at %" PRIu64, name, offset + done);
    if (n == 0) break;
    done += (size_t)n;
  }
  *out_len = done;
  return NULL;
}

Error *fs_read_at(int fd, const char *name, void *out, size_t len, uint64_t offset) {
  size_t done = 0;
  TRY(fs_read_some(fd, name, out, len, offset, &done));
  if (done < len) return err_new(ERR_IO, "reading %s: unexpected end at %" PRIu64, name, offset + done);
  return NULL;
}

Error *fs_write_at(int fd, const char *name, const void *data, size_t len, uint64_t offset) {
  TRY(check_range(name, offset, len));
  size_t done = 0;
  while (done < len) {
    ssize_t n = pwrite(fd, (const uint8_t *)data + done, len - done, (off_t)(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return err_errno(errno, "writing %s at %" PRIu64, name, offset + done);
    done += (size_t)n;
  }
  return NULL;
}

Error *fs_write(int fd, const char *name, const void *data, size_t len) {
  size_t done = 0;
  while (done < len) {
    ssize_t n = write(fd, (const uint8_t *)data + done, len - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return err_errno(errno, "writing %s", name);
    done += (size_t)n;
  }
  return NULL;
}

Error *fs_sync(int fd, const char *name) {
  /* After a failed sync the kernel may have dropped the pages, so only EINTR is tried again. */
  while (fdatasync(fd) != 0) {
    if (errno != EINTR) return err_errno(errno, "syncing %s", name);
  }
  return NULL;
}

void fs_write_behind(int fd, _Atomic uint64_t *written, uint64_t len) {
  const uint64_t step = 16 * MIB;
  uint64_t before = atomic_fetch_add_explicit(written, len, memory_order_relaxed);
  if (before / step != (before + len) / step) (void)sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

Error *fs_sync_dir(const char *path) {
  AUTO_FD int fd = -1;
  TRY(fs_open(path, O_RDONLY | O_DIRECTORY, 0, &fd));
  while (fsync(fd) != 0) {
    if (errno != EINTR) return err_errno(errno, "syncing directory %s", path);
  }
  return NULL;
}

Error *fs_read_file(const char *path, size_t max_len, Buf *out) {
  enum { STEP = 64 * 1024 };
  AUTO_FD int fd = -1;
  AUTO_BUF Buf body = {0};
  TRY(fs_open(path, O_RDONLY, 0, &fd));
  for (;;) {
    /* Read past the limit by one byte at most: enough to know that there is more. Not pread: pipes are files too. */
    size_t room = max_len - body.len < STEP ? max_len - body.len + 1 : STEP;
    buf_reserve(&body, room);
    ssize_t n = read(fd, body.data + body.len, room);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return err_errno(errno, "reading %s", path);
    if (n == 0) break;
    body.len += (size_t)n;
    if (body.len > max_len) return err_new(ERR_LIMIT, "reading %s: larger than %zu bytes", path, max_len);
  }
  buf_add(out, body.data, body.len);
  return NULL;
}

/* The directory a path's last component is in; owned. */
static char *parent_of(const char *path) {
  size_t len = strlen(path);
  while (len > 1 && path[len - 1] == '/') len--;
  while (len > 0 && path[len - 1] != '/') len--;
  if (len == 0) return mem_strdup(".");
  while (len > 1 && path[len - 1] == '/') len--;
  return mem_strndup(path, len);
}

static Error *write_temporary(const char *path, Bytes body, mode_t mode) {
  AUTO_FD int fd = -1;
  TRY(fs_open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600, &fd));
  TRY(fs_write(fd, path, body.data, body.len));
  if (fchmod(fd, mode) != 0) return err_errno(errno, "setting the mode of %s", path);
  /* fsync, not fdatasync: the mode counts too. */
  if (fsync(fd) != 0) return err_errno(errno, "syncing %s", path);
  return NULL;
}

Error *fs_replace_file(const char *path, Bytes body, mode_t mode) {
  /* Only the name's uniqueness matters, so this is not sys_random. */
  uint8_t random[8];
  char hex[2 * sizeof random + 1];
  CHECK(getrandom(random, sizeof random, 0) == (ssize_t)sizeof random);
  hex_encode(random, sizeof random, hex);
  AUTO_FREE char *dir = parent_of(path);
  AUTO_FREE char *name = mem_printf(".holdfast-%s.tmp", hex);
  AUTO_FREE char *temporary = fs_join(dir, name);
  Error *err = write_temporary(temporary, body, mode);
  if (!err && rename(temporary, path) != 0) err = err_errno(errno, "renaming %s to %s", temporary, path);
  if (err) {
    unlink(temporary);
    return err;
  }
  return fs_sync_dir(dir);
}

static Error *make_dir(const char *path, mode_t mode) {
  struct stat st;
  if (mkdir(path, mode) == 0) return NULL;
  int failed = errno;
  /* Whatever mkdir says (EROFS, EACCES), a directory that is there is fine. */
  if (stat(path, &st) == 0) {
    if (S_ISDIR(st.st_mode)) return NULL;
    failed = ENOTDIR;
  }
  return err_errno(failed, "creating directory %s", path);
}

Error *fs_make_dirs(const char *path, mode_t mode) {
  AUTO_FREE char *prefix = mem_strdup(path);
  for (char *p = prefix; *p; p++) {
    if (*p != '/' || p == prefix || p[-1] == '/') continue;
    *p = '\0';
    TRY(make_dir(prefix, mode));
    *p = '/';
  }
  return make_dir(path, mode);
}

bool fs_exists(const char *path) {
  struct stat st;
  return lstat(path, &st) == 0;
}

char *fs_join(const char *dir, const char *name) {
  if (!*dir) return mem_strdup(name);
  return mem_printf("%s%s%s", dir, str_ends(dir, "/") ? "" : "/", name);
}

char *fs_user_dir(const char *variable, const char *otherwise) {
  const char *base = getenv(variable);
  if (base && base[0] == '/') return mem_printf("%s/holdfast", base);
  const char *home = getenv("HOME");
  return home && home[0] == '/' ? mem_printf("%s/%s/holdfast", home, otherwise) : NULL;
}

Error *fs_absolute(const char *path, char **out) {
  AUTO_FREE char *cwd = NULL;
  if (*path != '/' && !(cwd = getcwd(NULL, 0))) return err_errno(errno, "finding the working directory");
  AUTO_FREE char *whole = cwd ? fs_join(cwd, path) : mem_strdup(path);
  Buf result = {0};
  for (const char *at = whole; *at;) {
    size_t len = strcspn(at, "/");
    bool up = len == 2 && memcmp(at, "..", 2) == 0;
    if (up) {
      while (result.len > 0 && result.data[--result.len] != '/') continue;
    } else if (len > 0 && !(len == 1 && *at == '.')) {
      buf_put_u8(&result, '/');
      buf_add(&result, at, len);
    }
    at += len + (at[len] == '/');
  }
  if (result.len == 0) buf_put_u8(&result, '/');
  *out = buf_steal_str(&result);
  return NULL;
}

Error *fs_free_space(const char *path, uint64_t *out_bytes) {
  struct statvfs st;
  if (statvfs(path, &st) != 0) return err_errno(errno, "asking for the free space at %s", path);
  uint64_t bytes_free;
  if (MUL_OVERFLOWS((uint64_t)st.f_bavail, (uint64_t)st.f_frsize, &bytes_free)) bytes_free = UINT64_MAX;
  *out_bytes = bytes_free;
  return NULL;
}

uint32_t fs_open_files_limit(void) {
  const rlim_t most = 64 * 1024, least = 256;
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return least;
  rlim_t want = limit.rlim_max < most ? limit.rlim_max : most;
  if (limit.rlim_cur < want) {
    struct rlimit raised = {.rlim_cur = want, .rlim_max = limit.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0) return (uint32_t)want;
  }
  return (uint32_t)(limit.rlim_cur < most ? limit.rlim_cur : most);
}
