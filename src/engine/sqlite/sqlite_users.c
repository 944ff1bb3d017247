#include "engine/sqlite/sqlite_users.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_number(const char *text) { return *text && text[strspn(text, "0123456789")] == 0; }

/* Only what has the right name is looked at: asking about any file could wait for a server that is gone. */
static bool leads_to(int fds, const char *number, const struct stat *file, const char *name) {
  char path[PATH_MAX];
  struct stat st;
  ssize_t len = readlinkat(fds, number, path, sizeof(path) - 1);
  if (len <= 0 || path[0] != '/') return false;
  path[len] = 0;
  const char *last = strrchr(path, '/') + 1;
  if (strcmp(last, name) != 0) return false;
  return fstatat(fds, number, &st, 0) == 0 && st.st_dev == file->st_dev && st.st_ino == file->st_ino;
}

static bool has_open(const char *pid, const struct stat *file, const char *name) {
  char path[64];
  struct dirent *entry;
  bool found = false;
  (void)snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
  DIR *dir = opendir(path);
  if (!dir) return false; /* gone, or somebody else's */
  while (!found && (entry = readdir(dir)))
    found = is_number(entry->d_name) && leads_to(dirfd(dir), entry->d_name, file, name);
  closedir(dir);
  return found;
}

pid_t users_find(const struct stat *file, const char *name) {
  DIR *dir = opendir("/proc");
  struct dirent *entry;
  pid_t found = 0;
  while (dir && !found && (entry = readdir(dir))) {
    long pid = is_number(entry->d_name) ? strtol(entry->d_name, NULL, 10) : 0;
    if (pid > 0 && pid != getpid() && has_open(entry->d_name, file, name)) found = (pid_t)pid;
  }
  if (dir) closedir(dir);
  return found;
}
