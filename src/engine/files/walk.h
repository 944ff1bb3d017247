/* walk.h: a directory tree in tree order (entry_path_compare), of any depth and width, with names of any bytes.
 *
 * The walk holds one open listing at a time, a few dozen directory descriptors, and the names of the directories on the
 * way down: nothing grows with the number of files but the names of one directory. Links are never followed.
 */
#ifndef HF_ENGINE_FILES_WALK_H
#define HF_ENGINE_FILES_WALK_H

#include <sys/stat.h>

#include "base/buf.h"
#include "engine/files/dircache.h"
#include "sys/cancel.h"

/* The names in a directory, sorted by bytes. */
typedef struct NameList {
  Buf text; /* NUL-terminated, one after the other */
  size_t *offsets;
  size_t len, cap;
} NameList;

/* 0 or an errno. `names` must be empty. */
int names_read(NameList *names, const DirRef *dir);
void names_free(NameList *names);
static inline const char *names_at(const NameList *names, size_t i) {
  return (const char *)names->text.data + names->offsets[i];
}
bool names_has(const NameList *names, const char *name);
/* Only `name` stays (if it is there). */
void names_keep_only(NameList *names, const char *name);

typedef struct WalkItem {
  Bytes path;     /* in the tree: the walk's base, then the path below its root */
  Bytes absolute; /* on this machine */
  DirRef *dir;    /* the directory that holds it; for the root of the walk: the root itself, and name is NULL */
  const char *name;
  const NameList *siblings; /* all names in dir; NULL for the root */
  const struct stat *st;
} WalkItem;

typedef struct WalkOps {
  /* Every item that is a file, directory, link or device; set *descend for a directory to be walked into. */
  Error *(*item)(void *ctx, const WalkItem *item, bool *descend);
  /* What a directory holds, before it is walked; may take names away. May be NULL. */
  void (*listed)(void *ctx, Bytes path, const DirRef *self, NameList *names);
  /* Something could not be looked at: `doing` is "listing it", "looking at it", … */
  void (*trouble)(void *ctx, Bytes path, const char *doing, int errno_value);
} WalkOps;

typedef struct WalkSpec {
  int take_root_fd; /* an O_PATH directory */
  Bytes base;       /* tree path of the root */
  Bytes absolute;   /* where the root is, without a '/' at the end ("/" itself is empty) */
  const WalkOps *ops;
  void *ctx;
  Cancel *cancel;
} WalkSpec;

Error *walk_tree(const WalkSpec *spec) NODISCARD;

#endif
