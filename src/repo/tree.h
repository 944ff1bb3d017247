/* tree.h: a snapshot's tree: all entries in entry_path_compare order, cut into content-addressed leaves of about 32 KiB
 * at places that depend only on the paths around them, under inner nodes of the same kind. A changed file rewrites one
 * leaf and the way to the root; everything else is shared with earlier snapshots.
 *
 * Node (FRAME_TREE): u8 level; var count; then per item a prefix-compressed path (var shared bytes with the previous
 * path, var-length rest) and, at level 0, the encoded entry and its Content; above, the child's FrameId, var entries
 * and var bytes below it. docs/format.md has every field.
 */
#ifndef HF_REPO_TREE_H
#define HF_REPO_TREE_H

#include "base/entry.h"
#include "repo/content.h"

typedef struct TreeRoot {
  FrameId id;
  uint64_t entries;
  uint64_t bytes; /* sum of file sizes */
} TreeRoot;

typedef struct TreeEntry {
  Entry entry; /* bytes borrowed from the cursor or decoder */
  Content content;
  uint64_t read_ns; /* when the backup that stored this content began to read it */
} TreeEntry;

/* ---- writing: entries in any order, ascending is fastest ------------------------------------------------------------
 */

typedef struct TreeBuilder TreeBuilder;
typedef struct TreeBuilderOptions {
  const char *scratch_dir; /* for sorted runs; borrowed */
  size_t memory_bytes;     /* before a run is spilled; e.g. 32 MiB */
  uint8_t split_key[32];   /* the repository's; decides where leaves end */
} TreeBuilderOptions;
TreeBuilder *tree_builder_new(FrameSink *sink, const TreeBuilderOptions *options);
void tree_builder_free(TreeBuilder *take);
/* Copies what it needs. Not thread-safe. */
Error *tree_builder_add(TreeBuilder *b, const TreeEntry *entry) NODISCARD;
/* Merges and writes the nodes. ERR_EXISTS names a path added twice. An empty tree is one empty leaf. */
Error *tree_builder_finish(TreeBuilder *b, TreeRoot *out) NODISCARD;

/* ---- reading --------------------------------------------------------------------------------------------------------
 */

typedef struct TreeCursor TreeCursor;
TreeCursor *tree_cursor_new(FrameSource *source, const TreeRoot *root);
void tree_cursor_free(TreeCursor *take);
/* The next entry in order, valid until the next call; *found false at the end. Checks order, path validity and limits.
 */
Error *tree_cursor_next(TreeCursor *c, TreeEntry *out, bool *found) NODISCARD;
/* The next call to tree_cursor_next yields the first entry >= path. Cheap within the current leaf. */
Error *tree_cursor_seek(TreeCursor *c, Bytes path) NODISCARD;
/* Exactly this path; keeps its place, so ascending look-ups cost about one pass. */
Error *tree_cursor_find(TreeCursor *c, Bytes path, TreeEntry *out, bool *found) NODISCARD;

typedef enum TreeChange { TREE_ADDED, TREE_REMOVED, TREE_CHANGED, TREE_TOUCHED /* attributes only */ } TreeChange;
typedef Error *TreeDiffVisit(void *ctx, TreeChange change, const TreeEntry *before, const TreeEntry *after);
/* What differs between two trees, in order; shared leaves and subtrees are skipped unread. inode, device, ctime and
 * read_ns alone are no difference. */
Error *tree_diff(FrameSource *source, const TreeRoot *before, const TreeRoot *after, TreeDiffVisit *visit,
                 void *ctx) NODISCARD;

/* Every node frame of the tree, parents first; `skip(ctx, id)` true leaves a subtree out (already seen). For
 * verification and collection. */
typedef struct TreeWalk {
  bool (*skip)(void *ctx, const FrameId *node);               /* may be NULL */
  Error *(*entry)(void *ctx, const TreeEntry *entry);         /* may be NULL */
  Error *(*broken)(void *ctx, Bytes first_path, Error *take); /* a subtree that cannot be read; NULL: ends the walk */
} TreeWalk;
Error *tree_walk(FrameSource *source, const TreeRoot *root, const TreeWalk *walk, void *ctx) NODISCARD;

/* The pure parser, for the fuzzer: visits what is in one node. */
Error *tree_node_decode(Bytes raw, uint8_t expect_level, Error *(*entry)(void *ctx, const TreeEntry *),
                        Error *(*child)(void *ctx, Bytes path, const FrameId *id, uint64_t entries, uint64_t bytes),
                        void *ctx) NODISCARD;

#endif
