#include "sys/temporary.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "sys/fs.h"

enum { ATTEMPTS = 16 };

/* Somebody may sweep between the file's making and its locking, and holds the lock while it removes it. */
static bool keep(int fd) {
  struct stat st;
  while (flock(fd, LOCK_EX) != 0 && errno == EINTR) continue; /* without locks nobody can sweep either */
  return fstat(fd, &st) == 0 && st.st_nlink > 0;
}

int temporary_create(Sys *sys, int dir_fd, const char *prefix, char *out_name, size_t cap) {
  for (unsigned attempt = 0; attempt < ATTEMPTS; attempt++) {
    uint64_t random;
    sys_random(sys, &random, sizeof random);
    int len = snprintf(out_name, cap, "%s%016llx" TEMPORARY_SUFFIX, prefix, (unsigned long long)random);
    CHECK(len > 0 && (size_t)len < cap);
    int fd = openat(dir_fd, out_name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EEXIST) continue;
    if (fd < 0 || keep(fd)) return fd;
    close(fd);
  }
  errno = EEXIST;
  return -1;
}

static bool is_temporary(const char *name, const char *prefix) {
  if (!str_starts(name, prefix)) return false;
  const char *digits = name + strlen(prefix);
  return strspn(digits, "0123456789abcdef") == TEMPORARY_DIGITS &&
         strcmp(digits + TEMPORARY_DIGITS, TEMPORARY_SUFFIX) == 0;
}

static bool remove_abandoned(int dir_fd, const char *name) {
  struct stat held, named;
  AUTO_FD int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &held) != 0 || !S_ISREG(held.st_mode) || held.st_uid != geteuid()) return false;
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) return false;
  if (fstatat(dir_fd, name, &named, AT_SYMLINK_NOFOLLOW) != 0 || named.st_ino != held.st_ino) return false;
  return unlinkat(dir_fd, name, 0) == 0;
}

size_t temporary_sweep(int dir_fd, const char *prefix) {
  int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *dir = fd < 0 ? NULL : fdopendir(fd);
  if (!dir) {
    if (fd >= 0) close(fd);
    return 0;
  }
  size_t removed = 0;
  for (struct dirent *entry; (entry = readdir(dir));)
    if (is_temporary(entry->d_name, prefix)) removed += remove_abandoned(dir_fd, entry->d_name);
  closedir(dir);
  return removed;
}
