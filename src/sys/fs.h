/* fs.h: files, done right: O_CLOEXEC everywhere, short reads and EINTR handled, durable publishing.
 *
 * All functions return ERR_* with the path in the text. Paths are C strings; for names of any bytes relative to an open
 * directory use the *at calls of the system directly (engine/files does).
 */
#ifndef HF_SYS_FS_H
#define HF_SYS_FS_H

#include <sys/stat.h>
#include <sys/types.h>

#include "base/buf.h"

static inline void fd_cleanup(int *fd) {
  extern int close(int);
  if (*fd >= 0) close(*fd);
}
#define AUTO_FD __attribute__((cleanup(fd_cleanup)))
/* What STEAL is for pointers. */
static inline int fd_steal(int *fd) {
  int stolen = *fd;
  *fd = -1;
  return stolen;
}

/* flags as open(2); O_CLOEXEC is added. */
Error *fs_open(const char *path, int flags, mode_t mode, int *out_fd) NODISCARD;
/* Exactly len bytes, else ERR_IO ("unexpected end"). `name` is for messages. */
Error *fs_read_at(int fd, const char *name, void *out, size_t len, uint64_t offset) NODISCARD;
/* Up to len bytes; *out_len < len only at the end of the file. */
Error *fs_read_some(int fd, const char *name, void *out, size_t len, uint64_t offset, size_t *out_len) NODISCARD;
Error *fs_write_at(int fd, const char *name, const void *data, size_t len, uint64_t offset) NODISCARD;
Error *fs_write(int fd, const char *name, const void *data, size_t len) NODISCARD;
Error *fs_sync(int fd, const char *name) NODISCARD; /* fdatasync */
/* After writing len bytes somewhere in fd: every 16 MiB the kernel is asked to begin writing them to disk, so that the
 * sync at the end has little left to do. *written counts them; thread-safe. Only a hint: errors show at the sync. */
void fs_write_behind(int fd, _Atomic uint64_t *written, uint64_t len);
Error *fs_sync_dir(const char *path) NODISCARD;
/* Whole file, at most max_len bytes (ERR_LIMIT above). */
Error *fs_read_file(const char *path, size_t max_len, Buf *out) NODISCARD;
/* Temporary name beside it, write, fdatasync, rename over, fsync of the directory. mode as given, whatever the umask.
 */
Error *fs_replace_file(const char *path, Bytes body, mode_t mode) NODISCARD;
/* mkdir -p; existing directories are fine and keep their mode. */
Error *fs_make_dirs(const char *path, mode_t mode) NODISCARD;
/* rm -r, not following links, never leaving the file system; absent is success. */
Error *fs_remove_tree(const char *path) NODISCARD;
bool fs_exists(const char *path);
/* Owned absolute path without "." and ".." and double slashes, resolved as text against the working directory. */
Error *fs_absolute(const char *path, char **out) NODISCARD;
char *fs_join(const char *dir, const char *name); /* owned */
/* A user's folder for holdfast: $VARIABLE/holdfast or $HOME/otherwise/holdfast (only absolute values count); NULL
 * without a home. Owned. */
char *fs_user_dir(const char *variable, const char *otherwise);
/* Raises the limit of open files as far as this process may (to 64 Ki at most); returns it. */
uint32_t fs_open_files_limit(void);
/* Bytes free for us on the file system that holds path. */
Error *fs_free_space(const char *path, uint64_t *out_bytes) NODISCARD;

#endif
