#include "repo/seq.h"

#include "base/mem.h"
#include "repo/nodeio.h"

/* Nodes end where the id of the last reference says so, not at a count: an inserted or dropped leaf then moves one
 * node's end and leaves its neighbours as they are. */
enum { SEQ_NODE_MAX = 1024, SEQ_NODE_MIN = 128, SEQ_CUT_MASK = 255 };

/* ---- encoding -----------------------------------------------------------------------------------------------------
 */

void seq_root_encode(const SeqRoot *root, Buf *out) {
  buf_put_u8(out, root->depth);
  buf_put_var(out, root->count);
  if (root->count) buf_add(out, root->id.b, sizeof root->id.b);
}

/* Leaves that a sequence of this depth can hold: 1 for depth 0, else at least 2 (a single leaf needs no node). */
static bool seq_count_valid(uint8_t depth, uint64_t count) {
  if (depth > SEQ_DEPTH_MAX) return false;
  if (depth == 0) return count <= 1;
  return count >= 2 && count <= UINT64_C(1) << (10 * depth);
}

void seq_root_decode(Cursor *c, SeqRoot *out) {
  *out = (SeqRoot){0};
  SeqRoot root = {.depth = cursor_u8(c)};
  root.count = cursor_var(c);
  if (root.count) cursor_copy(c, root.id.b, sizeof root.id.b);
  if (!seq_count_valid(root.depth, root.count)) c->failed = true;
  if (!c->failed) *out = root;
}

static void seq_node_encode(uint8_t depth, const SeqRef *refs, size_t len, Buf *out) {
  buf_put_u8(out, MAP_SEQ_NODE);
  buf_put_u8(out, depth);
  buf_put_var(out, len);
  for (size_t i = 0; i < len; i++) buf_put_var(out, i ? refs[i].key - refs[i - 1].key : refs[i].key);
  for (size_t i = 0; i < len; i++) buf_add(out, refs[i].id.b, sizeof refs[i].id.b);
}

Error *seq_node_decode(Bytes raw, uint8_t *depth, SeqRef *refs, size_t refs_cap, size_t *out_len) {
  Cursor c = map_cursor(raw, MAP_SEQ_NODE);
  uint8_t level = cursor_u8(&c);
  size_t len = (size_t)cursor_var_max(&c, SEQ_NODE_MAX);
  if (level == 0 || level > SEQ_DEPTH_MAX || len == 0 || len > refs_cap) c.failed = true;
  uint64_t key = 0;
  for (size_t i = 0; i < len && !c.failed; i++) {
    uint64_t gap = cursor_var(&c);
    if ((i > 0 && gap == 0) || ADD_OVERFLOWS(key, gap, &key)) c.failed = true;
    refs[i].key = key;
  }
  for (size_t i = 0; i < len && !c.failed; i++) cursor_copy(&c, refs[i].id.b, sizeof refs[i].id.b);
  TRY(cursor_end(&c, "sequence node"));
  *depth = level;
  *out_len = len;
  return NULL;
}

/* ---- building -----------------------------------------------------------------------------------------------------
 */

typedef struct SeqPending {
  SeqRef *refs; /* SEQ_NODE_MAX, once in use */
  size_t len;
} SeqPending;

struct SeqBuilder {
  FrameSink *sink;
  uint64_t count;
  uint64_t last_key;
  size_t top;                           /* highest level with references */
  SeqPending levels[SEQ_DEPTH_MAX + 1]; /* levels[n]: references to nodes of depth n (0: leaves) */
  Buf scratch;
};

SeqBuilder *seq_builder_new(FrameSink *sink) {
  SeqBuilder *b = NEW(SeqBuilder);
  b->sink = sink;
  return b;
}

void seq_builder_free(SeqBuilder *take) {
  if (!take) return;
  for (size_t i = 0; i < NELEMS(take->levels); i++) free(take->levels[i].refs);
  buf_free(&take->scratch);
  free(take);
}

static bool seq_pending_full(const SeqPending *p) {
  if (p->len == SEQ_NODE_MAX) return true;
  return p->len >= SEQ_NODE_MIN && (p->refs[p->len - 1].id.b[0] & SEQ_CUT_MASK) == 0;
}

/* Writes the node of a level's references; *out refers to it. */
static Error *seq_flush(SeqBuilder *b, size_t level, SeqRef *out) {
  SeqPending *p = &b->levels[level];
  buf_clear(&b->scratch);
  seq_node_encode((uint8_t)(level + 1), p->refs, p->len, &b->scratch);
  out->key = p->refs[0].key;
  TRY(node_put(b->sink, FRAME_MAP, buf_bytes(&b->scratch), "a sequence node", &out->id));
  p->len = 0;
  return NULL;
}

/* Adds a reference at a level and, while nodes fill up, at the levels above. */
static Error *seq_push(SeqBuilder *b, size_t level, SeqRef ref) {
  for (;; level++) {
    if (level > SEQ_DEPTH_MAX) return err_new(ERR_LIMIT, "building a sequence: deeper than %d levels", SEQ_DEPTH_MAX);
    SeqPending *p = &b->levels[level];
    if (!p->refs) p->refs = NEW_ARRAY(SeqRef, SEQ_NODE_MAX);
    p->refs[p->len++] = ref;
    if (level > b->top) b->top = level;
    if (!seq_pending_full(p)) return NULL;
    if (level == SEQ_DEPTH_MAX) return err_new(ERR_LIMIT, "building a sequence: too many leaves");
    TRY(seq_flush(b, level, &ref));
  }
}

Error *seq_builder_add(SeqBuilder *b, uint64_t key, const FrameId *leaf) {
  if (b->count && key <= b->last_key)
    return err_new(ERR_INTERNAL, "building a sequence: key %llu after %llu", (unsigned long long)key,
                   (unsigned long long)b->last_key);
  TRY(seq_push(b, 0, (SeqRef){.key = key, .id = *leaf}));
  b->last_key = key;
  b->count++;
  return NULL;
}

Error *seq_builder_finish(SeqBuilder *b, SeqRoot *out) {
  if (b->count == 0) {
    *out = (SeqRoot){0};
    return NULL;
  }
  for (size_t level = 0; level < b->top || b->levels[level].len > 1; level++) {
    if (b->levels[level].len == 0) continue;
    if (level == SEQ_DEPTH_MAX) return err_new(ERR_LIMIT, "building a sequence: too many leaves");
    SeqRef ref;
    TRY(seq_flush(b, level, &ref));
    TRY(seq_push(b, level + 1, ref));
  }
  *out = (SeqRoot){.depth = (uint8_t)b->top, .count = b->count, .id = b->levels[b->top].refs[0].id};
  return NULL;
}

/* ---- reading ------------------------------------------------------------------------------------------------------
 */

typedef struct SeqNode {
  SeqRef *refs;
  size_t len;
  size_t at;    /* depth 1: the next leaf; above: the child whose node is loaded below */
  uint64_t end; /* keys here are below it ... */
  bool bounded; /* ... when set */
} SeqNode;

struct SeqCursor {
  FrameSource *source;
  SeqRoot root;
  bool loaded;                      /* nodes[1..depth] form a path */
  bool done;                        /* depth 0: the only leaf was given */
  bool whole;                       /* no seek so far: the count must come out right */
  uint64_t given;                   /* leaves since the start, while whole */
  SeqNode nodes[SEQ_DEPTH_MAX + 1]; /* by depth; [0] unused */
  Buf raw;
  Error *(*visit)(void *ctx, const FrameId *id); /* NULL, or told of every node before it is read */
  void *visit_ctx;
};

SeqCursor *seq_cursor_new(FrameSource *source, const SeqRoot *root) {
  SeqCursor *c = NEW(SeqCursor);
  c->source = source;
  c->root = *root;
  c->whole = true;
  return c;
}

void seq_cursor_free(SeqCursor *take) {
  if (!take) return;
  for (size_t i = 0; i < NELEMS(take->nodes); i++) free(take->nodes[i].refs);
  buf_free(&take->raw);
  free(take);
}

static Error *seq_order_error(const FrameId *id) {
  char text[FRAME_TEXT_LEN];
  return err_new(ERR_CORRUPT, "sequence node %s…: it does not fit its place", frame_id_text(id, text));
}

/* Loads the node at `depth`. `first` is the key its parent gives it (NULL for the root). */
static Error *seq_load(SeqCursor *c, uint8_t depth, const FrameId *id, const uint64_t *first) {
  SeqNode *node = &c->nodes[depth];
  if (c->visit) TRY(c->visit(c->visit_ctx, id));
  TRY(node_get(c->source, FRAME_MAP, id, "sequence node", &c->raw));
  if (!node->refs) node->refs = NEW_ARRAY(SeqRef, SEQ_NODE_MAX);
  uint8_t found = 0;
  TRY(seq_node_decode(buf_bytes(&c->raw), &found, node->refs, SEQ_NODE_MAX, &node->len));
  bool fits = found == depth && (!first || node->refs[0].key == *first) &&
              (!node->bounded || node->refs[node->len - 1].key < node->end);
  if (!fits) return seq_order_error(id);
  node->at = 0;
  return NULL;
}

static Error *seq_load_root(SeqCursor *c) {
  c->nodes[c->root.depth].bounded = false;
  return seq_load(c, c->root.depth, &c->root.id, NULL);
}

/* Loads the child that node `depth` stands at. */
static Error *seq_load_child(SeqCursor *c, uint8_t depth) {
  const SeqNode *node = &c->nodes[depth];
  SeqNode *child = &c->nodes[depth - 1];
  bool last = node->at + 1 == node->len;
  child->end = last ? node->end : node->refs[node->at + 1].key;
  child->bounded = last ? node->bounded : true;
  SeqRef ref = node->refs[node->at];
  return seq_load(c, (uint8_t)(depth - 1), &ref.id, &ref.key);
}

static Error *seq_descend(SeqCursor *c, uint8_t depth) {
  for (; depth > 1; depth--) TRY(seq_load_child(c, depth));
  return NULL;
}

static bool seq_node_covers(const SeqNode *node, uint64_t key) {
  return key >= node->refs[0].key && (!node->bounded || key < node->end);
}

/* The last reference whose key is <= key, or the first. */
static size_t seq_node_search(const SeqNode *node, uint64_t key) {
  size_t low = 0, high = node->len;
  while (high - low > 1) {
    size_t mid = low + (high - low) / 2;
    if (node->refs[mid].key <= key)
      low = mid;
    else
      high = mid;
  }
  return low;
}

Error *seq_cursor_seek(SeqCursor *c, uint64_t key) {
  c->done = false;
  c->whole = false;
  if (c->root.depth == 0) return NULL;
  uint8_t depth = 1;
  if (!c->loaded) {
    TRY(seq_load_root(c));
    depth = c->root.depth;
  } else {
    while (depth < c->root.depth && !seq_node_covers(&c->nodes[depth], key)) depth++;
  }
  c->loaded = false; /* until the path is whole again */
  for (; depth > 1; depth--) {
    c->nodes[depth].at = seq_node_search(&c->nodes[depth], key);
    TRY(seq_load_child(c, depth));
  }
  c->nodes[1].at = seq_node_search(&c->nodes[1], key);
  c->loaded = true;
  return NULL;
}

static Error *seq_end(SeqCursor *c, bool *found) {
  *found = false;
  if (c->whole && c->given != c->root.count)
    return err_new(ERR_CORRUPT, "reading a sequence: %llu leaves instead of %llu", (unsigned long long)c->given,
                   (unsigned long long)c->root.count);
  return NULL;
}

/* Moves to the next node of depth 1; *more is false behind the last. */
static Error *seq_next_node(SeqCursor *c, bool *more) {
  uint8_t depth = 2;
  while (depth <= c->root.depth && c->nodes[depth].at + 1 == c->nodes[depth].len) depth++;
  *more = depth <= c->root.depth;
  if (!*more) return NULL;
  c->nodes[depth].at++;
  c->loaded = false;
  TRY(seq_descend(c, depth));
  c->loaded = true;
  return NULL;
}

Error *seq_cursor_next(SeqCursor *c, uint64_t *key, FrameId *leaf, bool *found) {
  if (c->root.depth == 0) {
    *found = c->root.count > 0 && !c->done;
    if (*found) *key = 0, *leaf = c->root.id;
    c->done = true;
    return NULL;
  }
  if (!c->loaded) {
    TRY(seq_load_root(c));
    TRY(seq_descend(c, c->root.depth));
    c->loaded = true;
    c->given = 0;
  }
  SeqNode *node = &c->nodes[1];
  if (node->at == node->len) {
    bool more;
    TRY(seq_next_node(c, &more));
    if (!more) return seq_end(c, found);
  }
  if (c->whole && ++c->given > c->root.count)
    return err_new(ERR_CORRUPT, "reading a sequence: more leaves than its root says");
  *key = node->refs[node->at].key;
  *leaf = node->refs[node->at].id;
  node->at++;
  *found = true;
  return NULL;
}

Error *seq_visit_nodes(FrameSource *source, const SeqRoot *root, Error *(*visit)(void *ctx, const FrameId *id),
                       void *ctx) {
  SeqCursor *c = seq_cursor_new(source, root);
  c->visit = visit;
  c->visit_ctx = ctx;
  Error *err = NULL;
  bool found = true;
  while (!err && found) {
    uint64_t key;
    FrameId leaf;
    err = seq_cursor_next(c, &key, &leaf, &found);
  }
  seq_cursor_free(c);
  return err;
}
