/* dircache.h: directories below one root by their tree path, at any depth, never through a symbolic link.
 *
 * Paths may be far longer than PATH_MAX: they are walked in pieces, by openat2 where the kernel has it and component by
 * component where not, and at most a few dozen ancestors of the last path are kept open, so that going through a tree
 * in order costs about one open a directory. Descriptors are O_PATH: good for the *at calls, not for reading; see
 * dirref_open_list. A DirCache belongs to one thread; DirRefs may be dropped from any.
 */
#ifndef HF_ENGINE_FILES_DIRCACHE_H
#define HF_ENGINE_FILES_DIRCACHE_H

#include <stdatomic.h>

#include "base/base.h"

/* A shared directory descriptor. */
typedef struct DirRef {
  int fd;
  atomic_uint refs;
} DirRef;

DirRef *dirref_new(int take_fd);
DirRef *dirref_hold(DirRef *ref); /* returns ref */
void dirref_drop(DirRef *take);   /* NULL is fine */
/* A descriptor to list the directory with, without touching its access time where allowed; -1 with errno set. */
int dirref_open_list(const DirRef *ref);

typedef struct DirCache DirCache;

/* `root_fd` is a directory, best O_PATH. */
DirCache *dircache_new(int take_root_fd);
void dircache_free(DirCache *take);
/* The directory at `path` below the root (empty: the root). 0 and a held reference, or an errno: ELOOP or ENOTDIR when
 * a component is a symbolic link or no directory. `path` must pass entry_path_valid. */
int dircache_open(DirCache *cache, Bytes path, DirRef **out);

/* The part of a path before its last '/', empty when there is none; the part after it. */
Bytes path_parent(Bytes path);
Bytes path_name(Bytes path);

#endif
