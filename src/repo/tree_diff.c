#include "repo/tree_cursor.h"

/* ---- what differs between two entries of one path -----------------------------------------------------------------
 */

static bool same_content(const Content *a, const Content *b) {
  if (a->kind != b->kind) return false;
  /* A small file may stand in another frame beside other files; its own hash tells. */
  if (a->kind == CONTENT_SLICE)
    return a->slice.len == b->slice.len && memcmp(a->slice.hash, b->slice.hash, sizeof a->slice.hash) == 0;
  Buf x AUTO_BUF = {0}, y AUTO_BUF = {0};
  content_encode(a, &x);
  content_encode(b, &y);
  return bytes_equal(buf_bytes(&x), buf_bytes(&y));
}

static bool same_attributes(const Entry *a, const Entry *b) {
  if (a->mode != b->mode || a->uid != b->uid || a->gid != b->gid || a->mtime_ns != b->mtime_ns) return false;
  if (!bytes_equal(a->user, b->user) || !bytes_equal(a->group, b->group)) return false;
  if (a->xattrs_len != b->xattrs_len) return false;
  for (size_t i = 0; i < a->xattrs_len; i++)
    if (!bytes_equal(a->xattrs[i].name, b->xattrs[i].name) || !bytes_equal(a->xattrs[i].value, b->xattrs[i].value))
      return false;
  return true;
}

static bool same_object(const TreeEntry *a, const TreeEntry *b) {
  return a->entry.type == b->entry.type && a->entry.size == b->entry.size && a->entry.rdev == b->entry.rdev &&
         bytes_equal(a->entry.target, b->entry.target) && same_content(&a->content, &b->content);
}

/* ---- both trees side by side --------------------------------------------------------------------------------------
 */

typedef struct Diff {
  TreeCursor *before, *after;
  TreeDiffVisit *visit;
  void *ctx;
} Diff;

static Error *diff_entries(const Diff *d, const TreeEntry *before, const TreeEntry *after) {
  if (!same_object(before, after)) return d->visit(d->ctx, TREE_CHANGED, before, after);
  if (!same_attributes(&before->entry, &after->entry)) return d->visit(d->ctx, TREE_TOUCHED, before, after);
  return NULL;
}

/* Only one of the trees has something here: its entry is the difference, its subtree must be looked into. */
static Error *diff_one(const Diff *d, TreeCursor *c, const TreeHead *head) {
  if (head->kind == TREE_HEAD_CHILD) return tree_cursor_descend(c);
  Error *err = c == d->before ? d->visit(d->ctx, TREE_REMOVED, head->entry, NULL)
                              : d->visit(d->ctx, TREE_ADDED, NULL, head->entry);
  tree_cursor_skip(c);
  return err;
}

/* Both stand before the same path. Of two subtrees of one level, equal ids mean equal content; of two levels, the
 * taller one is gone into until they meet. */
static Error *diff_both(const Diff *d, const TreeHead *before, const TreeHead *after) {
  bool child_before = before->kind == TREE_HEAD_CHILD, child_after = after->kind == TREE_HEAD_CHILD;
  if (child_before && child_after && before->level == after->level) {
    if (!frame_id_equal(&before->id, &after->id)) {
      TRY(tree_cursor_descend(d->before));
      return tree_cursor_descend(d->after);
    }
  } else if (child_before && (!child_after || before->level > after->level)) {
    return tree_cursor_descend(d->before);
  } else if (child_after) {
    return tree_cursor_descend(d->after);
  } else {
    TRY(diff_entries(d, before->entry, after->entry));
  }
  tree_cursor_skip(d->before);
  tree_cursor_skip(d->after);
  return NULL;
}

static Error *diff_run(const Diff *d) {
  for (;;) {
    TreeHead before, after;
    TRY(tree_cursor_head(d->before, &before));
    TRY(tree_cursor_head(d->after, &after));
    if (before.kind == TREE_HEAD_END && after.kind == TREE_HEAD_END) return NULL;
    int order = before.kind == TREE_HEAD_END  ? 1
                : after.kind == TREE_HEAD_END ? -1
                                              : entry_path_compare(before.path, after.path);
    if (order < 0)
      TRY(diff_one(d, d->before, &before));
    else if (order > 0)
      TRY(diff_one(d, d->after, &after));
    else
      TRY(diff_both(d, &before, &after));
  }
}

Error *tree_diff(FrameSource *source, const TreeRoot *before, const TreeRoot *after, TreeDiffVisit *visit, void *ctx) {
  Diff d = {
      .before = tree_cursor_new(source, before), .after = tree_cursor_new(source, after), .visit = visit, .ctx = ctx};
  Error *err = diff_run(&d);
  tree_cursor_free(d.before);
  tree_cursor_free(d.after);
  return err_wrap(err, "comparing two trees");
}

/* ---- every node ---------------------------------------------------------------------------------------------------
 */

/* Behind a node that cannot be read the cursor stands at what follows it. */
static Error *walk_down(TreeCursor *c, const TreeHead *head, const TreeWalk *walk, void *ctx) {
  if (!walk->broken) return tree_cursor_descend(c);
  AUTO_BUF Buf path = {0};
  buf_add(&path, head->path.data, head->path.len);
  Error *err = tree_cursor_descend(c);
  return err_is(err, ERR_CORRUPT) ? walk->broken(ctx, buf_bytes(&path), err) : err;
}

static Error *walk_run(TreeCursor *c, const TreeWalk *walk, void *ctx) {
  for (;;) {
    TreeHead head;
    TRY(tree_cursor_head(c, &head));
    if (head.kind == TREE_HEAD_END) return NULL;
    if (head.kind == TREE_HEAD_ENTRY) {
      if (walk->entry) TRY(walk->entry(ctx, head.entry));
      tree_cursor_skip(c);
    } else if (walk->skip && walk->skip(ctx, &head.id)) {
      tree_cursor_skip(c);
    } else {
      TRY(walk_down(c, &head, walk, ctx));
    }
  }
}

Error *tree_walk(FrameSource *source, const TreeRoot *root, const TreeWalk *walk, void *ctx) {
  TreeCursor *c = tree_cursor_new(source, root);
  Error *err = walk_run(c, walk, ctx);
  tree_cursor_free(c);
  return err;
}
