/* tree_node.h: one node of a snapshot's tree as bytes: reading it item by item, and encoding entries. Used by the
 * tree's own files only; everybody else uses tree.h.
 *
 * An entry's fields stand in relation to the entry before it in the node (owner, device, inode, read_ns), as its path
 * does; a TreeContext is what is remembered of that entry.
 */
#ifndef HF_REPO_TREE_NODE_H
#define HF_REPO_TREE_NODE_H

#include "repo/tree.h"

enum {
  /* Paths of a node written out in full. Prefix compression could make a small node name gigabytes of them. */
  TREE_NODE_PATHS_MAX = 16 * 1024 * 1024,
};

typedef struct TreeContext {
  bool started; /* there is an entry before */
  uint32_t uid, gid;
  Bytes user, group; /* borrowed */
  uint64_t device, inode, read_ns;
} TreeContext;

typedef struct TreeChild {
  FrameId id;
  uint64_t entries, bytes;
} TreeChild;

/* NULL, or what about the entry breaks the rules of entry.h or the limits ("path", "mode", …). */
const char *tree_entry_problem(const TreeEntry *entry);
/* Everything but the path. */
void tree_entry_encode(const TreeEntry *entry, const TreeContext *before, Buf *out);
/* Makes `context` that of `entry`; `names` keeps the owner's names. */
void tree_context_set(TreeContext *context, const TreeEntry *entry, Buf *names);

/* Decodes one entry's fields behind its path; context moves on. *xattrs grows as needed (owned by the caller). */
typedef struct XattrList {
  Xattr *items;
  size_t cap;
} XattrList;
void tree_entry_decode(Cursor *c, TreeContext *context, XattrList *xattrs, TreeEntry *out);

/* The bytes both paths begin with. */
size_t tree_path_shared(Bytes a, Bytes b);

/* Reads the items of a node in order. The node's bytes are borrowed until the next open. */
typedef struct TreeReader {
  Bytes raw;
  Cursor c;
  uint8_t level;
  uint64_t count; /* items in the node */
  uint64_t read;  /* of which were read */
  Buf path;       /* of the last item read */
  uint64_t paths_total;
  TreeContext context;
  XattrList xattrs;
} TreeReader;

Error *tree_reader_open(TreeReader *r, Bytes raw) NODISCARD;
void tree_reader_free(TreeReader *r);
/* The next item; read < count and the right level are the caller's to see to. Checks order, paths and limits, and with
 * the last item that nothing is left over. Entry bytes are borrowed until the next call. */
Error *tree_reader_entry(TreeReader *r, TreeEntry *out) NODISCARD;
Error *tree_reader_child(TreeReader *r, TreeChild *out) NODISCARD;

#endif
