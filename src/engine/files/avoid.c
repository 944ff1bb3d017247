#include "engine/files/avoid.h"

#include "base/mem.h"

void avoid_find(const StrList *paths, AvoidDirs *out) {
  *out = (AvoidDirs){0};
  if (paths->len == 0) return;
  out->items = mem_alloc(paths->len * sizeof *out->items);
  for (size_t i = 0; i < paths->len; i++) {
    struct stat st;
    if (stat(paths->items[i], &st) != 0 || !S_ISDIR(st.st_mode)) continue;
    out->items[out->len].device = st.st_dev;
    out->items[out->len++].inode = st.st_ino;
  }
}

void avoid_free(AvoidDirs *avoid) {
  free(avoid->items);
  *avoid = (AvoidDirs){0};
}

bool avoid_is(const AvoidDirs *avoid, const struct stat *st) {
  for (size_t i = 0; i < avoid->len; i++)
    if (avoid->items[i].device == st->st_dev && avoid->items[i].inode == st->st_ino) return true;
  return false;
}

bool avoid_holds(const AvoidDirs *avoid, const char *absolute) {
  if (avoid->len == 0) return false;
  AUTO_FREE char *path = mem_strdup(absolute);
  for (char *slash; (slash = strrchr(path, '/'));) {
    struct stat st;
    if (stat(path, &st) == 0 && avoid_is(avoid, &st)) return true;
    *slash = '\0';
  }
  return false;
}
