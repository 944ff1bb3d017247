#include "base/mem.h"
#include "base/str.h"
#include "codec/blake3.h"
#include "repo/nodeio.h"
#include "repo/tree_node.h"
#include "repo/tree_runs.h"

enum {
  /* Bytes of stored records between two ends of leaves on average; in a leaf they shrink to about two thirds. */
  LEAF_DISTANCE = 48 * 1024,
  INNER_CUT_MASK = 255,
  INNER_MIN = 2,        /* children, or the tree would not get narrower upwards */
  INNER_MIN_LARGE = 16, /* children, before a node ends because of its size */
  /* A node ends while the longest item still fits. */
  INNER_RAW_MAX = FRAME_RAW_MAX - ENTRY_PATH_MAX - 128,
  INNER_PATHS_MAX = TREE_NODE_PATHS_MAX - ENTRY_PATH_MAX,
};

/* The node being filled at one level. */
typedef struct NodeDraft {
  Buf items;
  Buf first, last; /* paths; `last` outlives the node, for the order */
  uint64_t count;
  uint64_t paths_total;
  TreeContext context;
  Buf names;
  TreeChild sum;  /* entries and bytes below */
  TreeChild only; /* inner nodes: the child added last */
} NodeDraft;

struct TreeBuilder {
  FrameSink *sink;
  TreeBuilderOptions options;
  TreeRuns *runs;
  bool any; /* an entry has been written */
  NodeDraft drafts[TREE_DEPTH_MAX];
  Buf scratch;
};

TreeBuilder *tree_builder_new(FrameSink *sink, const TreeBuilderOptions *options) {
  TreeBuilder *b = NEW(TreeBuilder);
  b->sink = sink;
  b->options = *options;
  b->runs = tree_runs_new(options->scratch_dir, options->memory_bytes);
  return b;
}

void tree_builder_free(TreeBuilder *take) {
  if (!take) return;
  tree_runs_free(take->runs);
  for (size_t i = 0; i < NELEMS(take->drafts); i++) {
    buf_free(&take->drafts[i].items);
    buf_free(&take->drafts[i].first);
    buf_free(&take->drafts[i].last);
    buf_free(&take->drafts[i].names);
  }
  buf_free(&take->scratch);
  free(take);
}

static Error *entry_error(ErrCode code, Bytes path, const char *why) {
  char *name = str_printable(bytes(path.data, path.len < 400 ? path.len : 400));
  Error *err = err_new(code, "adding %s to the tree: %s", name, why);
  free(name);
  return err;
}

Error *tree_builder_add(TreeBuilder *b, const TreeEntry *entry) {
  const char *problem = tree_entry_problem(entry);
  if (problem) {
    Error *err = entry_error(ERR_LIMIT, entry->entry.path, "beyond the limits of the format");
    return err_wrap(err, "%s", problem);
  }
  buf_clear(&b->scratch);
  tree_entry_encode(entry, &(TreeContext){0}, &b->scratch);
  return tree_runs_add(b->runs, entry->entry.path, buf_bytes(&b->scratch));
}

/* ---- nodes --------------------------------------------------------------------------------------------------------
 */

static void put_path(const NodeDraft *d, Bytes path, Buf *out) {
  size_t shared = d->count ? tree_path_shared(buf_bytes(&d->last), path) : 0;
  buf_put_var(out, shared);
  buf_put_bytes(out, bytes(path.data ? path.data + shared : NULL, path.len - shared));
}

static void set_path(Buf *buf, Bytes path) {
  buf_clear(buf);
  buf_add(buf, path.data, path.len);
}

/* Appends an encoded item. */
static Error *draft_add(NodeDraft *d, Bytes path, Bytes item, uint64_t entries, uint64_t size) {
  if (ADD_OVERFLOWS(d->sum.entries, entries, &d->sum.entries) || ADD_OVERFLOWS(d->sum.bytes, size, &d->sum.bytes))
    return entry_error(ERR_LIMIT, path, "the sizes in the tree do not fit 64 bits");
  buf_add(&d->items, item.data, item.len);
  if (d->count == 0) set_path(&d->first, path);
  set_path(&d->last, path);
  d->paths_total += path.len;
  d->count++;
  return NULL;
}

/* Stores the node of a level and empties it; its first path stays in `first` until the next item. */
static Error *draft_write(TreeBuilder *b, size_t level, TreeChild *out) {
  NodeDraft *d = &b->drafts[level];
  Buf raw AUTO_BUF = {0};
  buf_reserve(&raw, d->items.len + 16);
  buf_put_u8(&raw, (uint8_t)level);
  buf_put_var(&raw, d->count);
  buf_add(&raw, d->items.data, d->items.len);
  *out = d->sum;
  TRY(node_put(b->sink, FRAME_TREE, buf_bytes(&raw), "a tree node", &out->id));
  buf_clear(&d->items);
  d->count = 0;
  d->paths_total = 0;
  d->context = (TreeContext){0};
  d->sum = (TreeChild){0};
  return NULL;
}

static bool inner_full(const NodeDraft *d, const TreeChild *last) {
  if (d->count < INNER_MIN) return false;
  if (d->items.len > INNER_RAW_MAX || d->paths_total > INNER_PATHS_MAX) return true;
  return (last->id.b[0] & INNER_CUT_MASK) == 0 || (d->count >= INNER_MIN_LARGE && d->items.len >= NODE_SIZE);
}

/* Stores the node of a level and refers to it in the level above; a node that fills up there is stored in turn. */
static Error *draft_flush(TreeBuilder *b, size_t level) {
  for (;; level++) {
    if (level + 1 == TREE_DEPTH_MAX)
      return err_new(ERR_LIMIT, "building the tree: deeper than %d levels", TREE_DEPTH_MAX);
    TreeChild child;
    TRY(draft_write(b, level, &child));
    Bytes path = buf_bytes(&b->drafts[level].first);
    NodeDraft *up = &b->drafts[level + 1];
    Buf item AUTO_BUF = {0};
    put_path(up, path, &item);
    buf_add(&item, child.id.b, sizeof child.id.b);
    buf_put_var(&item, child.entries);
    buf_put_var(&item, child.bytes);
    TRY(draft_add(up, path, buf_bytes(&item), child.entries, child.bytes));
    up->only = child;
    if (!inner_full(up, &child)) return NULL;
  }
}

/* Whether a leaf ends behind this entry: it depends on the entry alone, so that a change elsewhere does not move it.
 * The larger the entry, the likelier. */
static bool leaf_ends(const TreeBuilder *b, Bytes path, size_t body_len) {
  size_t name_len = 0;
  while (name_len < path.len && path.data[path.len - 1 - name_len] != '/') name_len++;
  uint64_t weight = (uint64_t)body_len + name_len;
  if (weight >= LEAF_DISTANCE) return true;
  uint8_t hash[BLAKE3_OUT_LEN];
  blake3_keyed(b->options.split_key, path.data, path.len, hash);
  return load_u64(hash) < weight * (UINT64_MAX / LEAF_DISTANCE);
}

static void encode_item(const NodeDraft *d, const TreeEntry *entry, Buf *out) {
  buf_clear(out);
  put_path(d, entry->entry.path, out);
  tree_entry_encode(entry, &d->context, out);
}

/* Entries arrive in order. */
static Error *leaf_add(TreeBuilder *b, const TreeEntry *entry, size_t body_len) {
  NodeDraft *d = &b->drafts[0];
  Bytes path = entry->entry.path;
  if (b->any && bytes_equal(buf_bytes(&d->last), path)) return entry_error(ERR_EXISTS, path, "it is there already");
  b->any = true;
  Buf *item = &b->scratch;
  encode_item(d, entry, item);
  if (d->count > 0 && (d->items.len + item->len > NODE_SIZE || d->paths_total + path.len > TREE_NODE_PATHS_MAX)) {
    TRY(draft_flush(b, 0));
    encode_item(d, entry, item);
  }
  TRY(draft_add(d, path, buf_bytes(item), 1, entry->entry.type == ENTRY_FILE ? entry->entry.size : 0));
  tree_context_set(&d->context, entry, &d->names);
  return leaf_ends(b, path, body_len) ? draft_flush(b, 0) : NULL;
}

/* Closes the open nodes from the leaf upwards. */
static Error *drafts_finish(TreeBuilder *b, TreeChild *root) {
  size_t top = 0;
  for (size_t level = 0; level < TREE_DEPTH_MAX; level++)
    if (b->drafts[level].count) top = level;
  for (size_t level = 0; level < top; level++) {
    if (b->drafts[level].count) TRY(draft_flush(b, level));
    while (top + 1 < TREE_DEPTH_MAX && b->drafts[top + 1].count) top++;
  }
  if (top > 0 && b->drafts[top].count == 1) {
    *root = b->drafts[top].only;
    return NULL;
  }
  return draft_write(b, top, root);
}

Error *tree_builder_finish(TreeBuilder *b, TreeRoot *out) {
  TRY(tree_runs_sort(b->runs));
  XattrList xattrs = {0};
  Error *err = NULL;
  bool found = true;
  while (!err) {
    Bytes path, body;
    err = tree_runs_next(b->runs, &path, &body, &found);
    if (err || !found) break;
    Cursor c = cursor(body);
    TreeEntry entry;
    tree_entry_decode(&c, &(TreeContext){0}, &xattrs, &entry);
    entry.entry.path = path;
    err = cursor_end(&c, "scratch record");
    if (!err) err = leaf_add(b, &entry, body.len);
  }
  free(xattrs.items);
  if (err) return err;
  TreeChild root;
  TRY(drafts_finish(b, &root));
  *out = (TreeRoot){.id = root.id, .entries = root.entries, .bytes = root.bytes};
  return NULL;
}
