/* only.h: the parts of a tree that `--only` names, by the same patterns everywhere (engine/files/filter.h). */
#ifndef HF_OPS_ONLY_H
#define HF_OPS_ONLY_H

#include "base/entry.h"
#include "base/str.h"

/* The entry, or a directory above it, matches; without patterns: everything. */
bool only_selects(const StrList *only, Bytes path, EntryType type);

#endif
