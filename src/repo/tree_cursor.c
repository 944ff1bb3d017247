#include "repo/tree_cursor.h"

#include "base/mem.h"
#include "repo/nodeio.h"

/* A node on the way from the root. Its next item is read ahead: an entry, or a child whose path bounds what the node
 * below may hold. */
typedef struct TreeStep {
  Buf raw;
  TreeReader reader;
  bool have; /* the item read ahead; its path is reader.path */
  TreeEntry entry;
  TreeChild child;
  uint64_t expect_bytes; /* what the parent says is below */
  uint64_t bytes;        /* leaves: sum of the sizes read */
  Buf before;            /* leaves: the path before the item read ahead; inner nodes: of the child gone into */
  bool has_before;
} TreeStep;

struct TreeCursor {
  FrameSource *source;
  TreeRoot root;
  bool started;
  size_t depth; /* steps in use; 0 before the root is read and behind the end */
  TreeStep steps[TREE_DEPTH_MAX];
};

TreeCursor *tree_cursor_new(FrameSource *source, const TreeRoot *root) {
  TreeCursor *c = NEW(TreeCursor);
  c->source = source;
  c->root = *root;
  return c;
}

void tree_cursor_free(TreeCursor *take) {
  if (!take) return;
  for (size_t i = 0; i < NELEMS(take->steps); i++) {
    buf_free(&take->steps[i].raw);
    buf_free(&take->steps[i].before);
    tree_reader_free(&take->steps[i].reader);
  }
  free(take);
}

/* ---- one node -----------------------------------------------------------------------------------------------------
 */

static void step_remember(TreeStep *step) {
  buf_clear(&step->before);
  buf_add(&step->before, step->reader.path.data, step->reader.path.len);
  step->has_before = true;
}

/* Reads the next item ahead; have is false behind the last. Leaves remember the path before it. */
static Error *step_advance(TreeStep *step) {
  TreeReader *r = &step->reader;
  if (r->level == 0 && r->read > 0) step_remember(step);
  step->have = false;
  if (r->read == r->count) return NULL;
  if (r->level > 0) {
    TRY(tree_reader_child(r, &step->child));
  } else {
    TRY(tree_reader_entry(r, &step->entry));
    if (ADD_OVERFLOWS(step->bytes, step->entry.entry.size, &step->bytes))
      return err_new(ERR_CORRUPT, "tree node: its sizes do not fit 64 bits");
  }
  step->have = true;
  return NULL;
}

/* Back to before the first item. */
static Error *step_rewind(TreeStep *step) {
  step->has_before = false;
  step->bytes = 0;
  TRY(tree_reader_open(&step->reader, buf_bytes(&step->raw)));
  return step_advance(step);
}

/* What an inner node says of all its children together must be what its parent said of it. */
static Error *step_check_sums(TreeStep *step, const TreeChild *expect) {
  uint64_t entries = 0, size = 0;
  bool fits = true;
  while (step->have) {
    fits = fits && !ADD_OVERFLOWS(entries, step->child.entries, &entries) &&
           !ADD_OVERFLOWS(size, step->child.bytes, &size);
    TRY(step_advance(step));
  }
  if (!fits || entries != expect->entries || size != expect->bytes)
    return err_new(ERR_CORRUPT, "tree node: the counts are not those of its parent");
  return step_rewind(step);
}

static Error *node_error(const FrameId *id, const char *why) {
  char text[FRAME_TEXT_LEN];
  return err_new(ERR_CORRUPT, "tree node %s…: %s", frame_id_text(id, text), why);
}

/* Puts a node on the steps. `path`: its first entry's, NULL for the root. */
static Error *cursor_push(TreeCursor *c, const TreeChild *node, const Buf *path) {
  if (c->depth == TREE_DEPTH_MAX) return node_error(&node->id, "too deep");
  TreeStep *step = &c->steps[c->depth];
  TRY(node_get(c->source, FRAME_TREE, &node->id, "tree node", &step->raw));
  Error *err = step_rewind(step);
  if (err) {
    char text[FRAME_TEXT_LEN];
    return err_wrap(err, "reading tree node %s…", frame_id_text(&node->id, text));
  }
  step->expect_bytes = node->bytes;
  if (c->depth > 0 && step->reader.level + 1 != c->steps[c->depth - 1].reader.level)
    return node_error(&node->id, "not of the level its parent says");
  if (path && !(step->have && bytes_equal(buf_bytes(&step->reader.path), buf_bytes(path))))
    return node_error(&node->id, "it begins with another path than its parent says");
  if (step->reader.level == 0 && step->reader.count != node->entries)
    return node_error(&node->id, "not as many entries as its parent says");
  if (step->reader.level > 0) TRY(step_check_sums(step, node));
  c->depth++;
  return NULL;
}

static Error *cursor_push_root(TreeCursor *c) {
  c->started = true;
  c->depth = 0;
  TreeChild node = {.id = c->root.id, .entries = c->root.entries, .bytes = c->root.bytes};
  return cursor_push(c, &node, NULL);
}

/* Goes into the child read ahead at the last step. */
static Error *cursor_push_child(TreeCursor *c) {
  TreeStep *step = &c->steps[c->depth - 1];
  TreeChild child = step->child;
  step_remember(step);
  TRY(step_advance(step));
  return cursor_push(c, &child, &step->before);
}

/* The path that everything in step `index` must be below; NULL when there is none. */
static const Buf *cursor_bound(const TreeCursor *c, size_t index) {
  while (index > 0)
    if (c->steps[--index].have) return &c->steps[index].reader.path;
  return NULL;
}

/* Leaves the last step, which has been read to its end. */
static Error *cursor_pop(TreeCursor *c) {
  const TreeStep *step = &c->steps[c->depth - 1];
  const Buf *bound = cursor_bound(c, c->depth - 1);
  if (bound && entry_path_compare(buf_bytes(&step->reader.path), buf_bytes(bound)) >= 0)
    return err_new(ERR_CORRUPT, "tree node: its entries reach into the next node");
  if (step->reader.level == 0 && step->bytes != step->expect_bytes)
    return err_new(ERR_CORRUPT, "tree node: its sizes are not those its parent says");
  c->depth--;
  return NULL;
}

/* ---- going forward ------------------------------------------------------------------------------------------------
 */

Error *tree_cursor_head(TreeCursor *c, TreeHead *out) {
  *out = (TreeHead){.kind = TREE_HEAD_END};
  if (!c->started) {
    *out = (TreeHead){.kind = TREE_HEAD_CHILD, .id = c->root.id, .level = TREE_LEVEL_UNKNOWN};
    return NULL;
  }
  while (c->depth > 0) {
    TreeStep *step = &c->steps[c->depth - 1];
    TreeReader *r = &step->reader;
    if (!step->have && r->read < r->count) TRY(step_advance(step));
    if (step->have) {
      out->path = buf_bytes(&r->path);
      out->kind = r->level ? TREE_HEAD_CHILD : TREE_HEAD_ENTRY;
      out->entry = r->level ? NULL : &step->entry;
      out->id = r->level ? step->child.id : (FrameId){0};
      out->level = r->level ? r->level - 1u : 0;
      return NULL;
    }
    TRY(cursor_pop(c));
  }
  return NULL;
}

Error *tree_cursor_descend(TreeCursor *c) { return c->started ? cursor_push_child(c) : cursor_push_root(c); }

void tree_cursor_skip(TreeCursor *c) {
  c->started = true;
  if (c->depth > 0) c->steps[c->depth - 1].have = false;
}

Error *tree_cursor_next(TreeCursor *c, TreeEntry *out, bool *found) {
  TreeHead head;
  TRY(tree_cursor_head(c, &head));
  while (head.kind == TREE_HEAD_CHILD) {
    TRY(tree_cursor_descend(c));
    TRY(tree_cursor_head(c, &head));
  }
  *found = head.kind == TREE_HEAD_ENTRY;
  if (!*found) return NULL;
  *out = *head.entry;
  tree_cursor_skip(c); /* the entry stays in place until the next one is read */
  return NULL;
}

/* ---- seeking ------------------------------------------------------------------------------------------------------
 */

/* Whether all entries >= path that the tree has from the first one on are in step `index` or behind it. */
static bool step_covers(const TreeCursor *c, size_t index, Bytes path) {
  if (index == 0) return true;
  const Buf *bound = cursor_bound(c, index);
  return entry_path_compare(buf_bytes(&c->steps[index - 1].before), path) <= 0 &&
         (!bound || entry_path_compare(path, buf_bytes(bound)) < 0);
}

/* Within a leaf: to the first entry >= path, from where the step is when that is possible. */
static Error *leaf_seek(TreeStep *step, Bytes path) {
  bool consumed = !step->have && step->reader.read > 0;
  Bytes low = consumed ? buf_bytes(&step->reader.path) : buf_bytes(&step->before);
  if ((consumed || step->has_before) && entry_path_compare(low, path) >= 0) TRY(step_rewind(step));
  if (!step->have) TRY(step_advance(step));
  while (step->have && entry_path_compare(buf_bytes(&step->reader.path), path) < 0) TRY(step_advance(step));
  return NULL;
}

/* Within an inner node: into the last child whose first path is <= path, or the first child. */
static Error *inner_seek(TreeCursor *c, Bytes path) {
  TreeStep *step = &c->steps[c->depth - 1];
  if (!step->have || entry_path_compare(path, buf_bytes(&step->reader.path)) < 0) TRY(step_rewind(step));
  TreeChild child;
  do {
    child = step->child;
    step_remember(step);
    TRY(step_advance(step));
  } while (step->have && entry_path_compare(buf_bytes(&step->reader.path), path) <= 0);
  return cursor_push(c, &child, &step->before);
}

Error *tree_cursor_seek(TreeCursor *c, Bytes path) {
  if (c->depth == 0) TRY(cursor_push_root(c));
  while (!step_covers(c, c->depth - 1, path)) c->depth--;
  while (c->steps[c->depth - 1].reader.level > 0) TRY(inner_seek(c, path));
  return leaf_seek(&c->steps[c->depth - 1], path);
}

Error *tree_cursor_find(TreeCursor *c, Bytes path, TreeEntry *out, bool *found) {
  TRY(tree_cursor_seek(c, path));
  const TreeStep *leaf = &c->steps[c->depth - 1];
  *found = leaf->have && bytes_equal(buf_bytes(&leaf->reader.path), path);
  if (*found) *out = leaf->entry;
  return NULL;
}
