/* tree_runs.h: sorts the records of a tree that may be larger than memory: they collect in an arena, full arenas are
 * sorted and spilled to an unnamed file, and reading them back merges. Records added in order are not sorted again.
 *
 * Not thread-safe.
 */
#ifndef HF_REPO_TREE_RUNS_H
#define HF_REPO_TREE_RUNS_H

#include "base/error.h"

typedef struct TreeRuns TreeRuns;

/* scratch_dir is borrowed until tree_runs_free. */
TreeRuns *tree_runs_new(const char *scratch_dir, size_t memory_bytes);
void tree_runs_free(TreeRuns *take);
/* Copies both. ERR_NO_SPACE when the scratch file does not fit. */
Error *tree_runs_add(TreeRuns *r, Bytes path, Bytes body) NODISCARD;
/* Nothing is added after this. */
Error *tree_runs_sort(TreeRuns *r) NODISCARD;
/* The next record in entry_path_compare order, equal paths one after the other; valid until the next call. */
Error *tree_runs_next(TreeRuns *r, Bytes *path, Bytes *body, bool *found) NODISCARD;

#endif
