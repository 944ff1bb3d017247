/* tree_cursor.h: the inside of a tree cursor: it stands before an entry or before a whole subtree not read yet, and may
 * go into that or past it. tree_diff and tree_walk skip shared subtrees this way; everybody else uses tree.h.
 */
#ifndef HF_REPO_TREE_CURSOR_H
#define HF_REPO_TREE_CURSOR_H

#include "repo/tree_node.h"

typedef enum TreeHeadKind { TREE_HEAD_END, TREE_HEAD_ENTRY, TREE_HEAD_CHILD } TreeHeadKind;

enum { TREE_LEVEL_UNKNOWN = TREE_DEPTH_MAX }; /* of the root before it is read */

/* What comes next. Borrowed from the cursor until it moves. */
typedef struct TreeHead {
  TreeHeadKind kind;
  Bytes path;             /* of the entry, or of the first entry in the subtree */
  const TreeEntry *entry; /* TREE_HEAD_ENTRY */
  FrameId id;             /* TREE_HEAD_CHILD: the node ... */
  unsigned level;         /* ... and its level, 0 for a leaf */
} TreeHead;

Error *tree_cursor_head(TreeCursor *c, TreeHead *out) NODISCARD;
/* Reads the node at the head (TREE_HEAD_CHILD): its first item is the head then. */
Error *tree_cursor_descend(TreeCursor *c) NODISCARD;
/* Goes past the head, an entry or a subtree unread. */
void tree_cursor_skip(TreeCursor *c);

#endif
