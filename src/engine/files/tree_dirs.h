/* tree_dirs.h: directories on their way into the sink. Without include patterns each is added as it is met; with them,
 * only once something in it is wanted. Paths come in tree order. */
#ifndef HF_ENGINE_FILES_TREE_DIRS_H
#define HF_ENGINE_FILES_TREE_DIRS_H

#include "engine/engine.h"
#include "engine/files/filter.h"

typedef struct TreeDirs {
  const Filter *filter;
  Sink *sink;
  uint64_t added;
  Buf included; /* the directory last found to match an include pattern; all below it is wanted */
  bool has_included;
  Buf last;                   /* the directory last met; all pending ones are above it, or it */
  struct PendingDir *pending; /* on the way to here, not added so far */
  size_t len, cap;
} TreeDirs;

void tree_dirs_free(TreeDirs *dirs);
/* A directory is met. */
Error *tree_dirs_enter(TreeDirs *dirs, const Entry *entry, const FilterItem *item) NODISCARD;
/* Is this file (or link, …) wanted? */
bool tree_dirs_selects(const TreeDirs *dirs, const FilterItem *item);
/* Something at `path` will be added: so must be the directories above it. */
Error *tree_dirs_need(TreeDirs *dirs, Bytes path) NODISCARD;

#endif
