/* Tree nodes: the pure parser over the whole input, then cursors, differences and walks over a tree cut from it. */
#include "base/mem.h"
#include "repo/tree.h"

#include "frames_slices.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static Error *use_entry(void *ctx, const TreeEntry *t) {
  uint64_t *sum = (uint64_t *)ctx;
  CHECK(entry_path_valid(t->entry.path));
  for (size_t i = 0; i < t->entry.path.len; i++) *sum += t->entry.path.data[i];
  for (size_t i = 0; i < t->entry.xattrs_len; i++)
    for (size_t k = 0; k < t->entry.xattrs[i].value.len; k++) *sum += t->entry.xattrs[i].value.data[k];
  Buf raw AUTO_BUF = {0};
  content_encode(&t->content, &raw); /* what was decoded can be encoded */
  return NULL;
}

/* Adds up what a root has to say for its node to be accepted. */
static Error *count_entry(void *ctx, const TreeEntry *t) {
  TreeRoot *root = (TreeRoot *)ctx;
  root->entries++;
  root->bytes += t->entry.size;
  return NULL;
}

static Error *count_child(void *ctx, Bytes path, const FrameId *id, uint64_t entries, uint64_t bytes_below) {
  (void)path;
  (void)id;
  TreeRoot *root = (TreeRoot *)ctx;
  root->entries += entries;
  root->bytes += bytes_below;
  return NULL;
}

static TreeRoot slice_root(FrameSlices *s, size_t which) {
  TreeRoot root = {.id = s->roots[which]};
  if (s->len == 0) return root;
  Bytes raw = s->frames[root.id.b[0] % s->len];
  if (raw.len) err_ignore(tree_node_decode(raw, raw.data[0], count_entry, count_child, &root));
  return root;
}

static Error *use_change(void *ctx, TreeChange change, const TreeEntry *before, const TreeEntry *after) {
  CHECK((before == NULL) == (change == TREE_ADDED) && (after == NULL) == (change == TREE_REMOVED));
  return use_entry(ctx, before ? before : after);
}

static void read_tree(FrameSlices *s, const TreeRoot *root, Bytes probe, uint64_t *sum) {
  TreeCursor *c = tree_cursor_new(&s->source, root);
  TreeEntry entry;
  bool found = true;
  Error *err = NULL;
  while (!err && found) {
    err = tree_cursor_next(c, &entry, &found);
    if (!err && found) err_ignore(use_entry(sum, &entry));
  }
  err_ignore(err);
  for (size_t len = 0; len <= probe.len; len++) {
    Bytes path = bytes(probe.data, len);
    err_ignore(tree_cursor_find(c, path, &entry, &found));
    err = tree_cursor_next(c, &entry, &found);
    if (!err && found) {
      CHECK(entry_path_compare(entry.entry.path, path) >= 0);
      err_ignore(use_entry(sum, &entry));
    }
    err_ignore(err);
  }
  tree_cursor_free(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  uint64_t sum = 0;
  if (size > 0) err_ignore(tree_node_decode(bytes(data, size), data[0], use_entry, NULL, &sum));
  FrameSlices *s = NEW(FrameSlices);
  slices_init(s, data, size);
  TreeRoot a = slice_root(s, 0), b = slice_root(s, 1);
  read_tree(s, &a, bytes(data, size < 8 ? size : 8), &sum);
  err_ignore(tree_diff(&s->source, &a, &b, use_change, &sum));
  err_ignore(tree_walk(&s->source, &a, &(TreeWalk){.entry = use_entry}, &sum));
  free(s);
  return 0;
}
