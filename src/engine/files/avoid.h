/* avoid.h: directories that a backup must not walk into, whatever its patterns say: the repositories it writes to.
 * Known by device and inode, so by whatever path they are met. Immutable once found. */
#ifndef HF_ENGINE_FILES_AVOID_H
#define HF_ENGINE_FILES_AVOID_H

#include <sys/stat.h>

#include "base/str.h"

typedef struct AvoidDirs {
  struct {
    dev_t device;
    ino_t inode;
  } * items;
  size_t len;
} AvoidDirs;

/* Paths that are not there are nothing to avoid. */
void avoid_find(const StrList *paths, AvoidDirs *out);
void avoid_free(AvoidDirs *avoid);

bool avoid_is(const AvoidDirs *avoid, const struct stat *st);
/* `absolute`, a path without symbolic links in it, is one of them or below one. */
bool avoid_holds(const AvoidDirs *avoid, const char *absolute);

#endif
