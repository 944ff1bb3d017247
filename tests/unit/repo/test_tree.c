#include "base/mem.h"
#include "repo/tree.h"

#include "frames_memory.h"
#include "testing.h"

/* A model: owned entries in order. */
typedef struct Model {
  TreeEntry *items;
  size_t len, cap;
} Model;

static void owned(Bytes *b) { b->data = (uint8_t *)mem_dup(b->data, b->len); }

static Bytes random_bytes(uint64_t *seed, size_t max) {
  static uint8_t out[5000];
  size_t len = test_random(seed) % (max + 1);
  for (size_t i = 0; i < len; i++) out[i] = (uint8_t)(1 + test_random(seed) % 255);
  return bytes(out, len);
}

static Content random_content(uint64_t *seed) {
  Content c;
  memset(&c, 0, sizeof c);
  switch (test_random(seed) % 5) {
    case 0: break;
    case 1:
      c.kind = CONTENT_SLICE;
      c.slice.offset = (uint32_t)(test_random(seed) % 1000);
      c.slice.len = (uint32_t)(1 + test_random(seed) % 1000);
      c.slice.id.b[3] = 7;
      c.slice.hash[3] = (uint8_t)test_random(seed);
      break;
    case 2:
      c.kind = CONTENT_LIST;
      c.list.len = 2;
      c.list.pieces[0].len = 17;
      c.list.pieces[0].id.b[1] = (uint8_t)(1 + test_random(seed) % 255);
      c.list.pieces[1].hole_len = 1 + test_random(seed) % (UINT64_C(1) << 40);
      break;
    case 3:
      c.kind = CONTENT_SEQ;
      c.seq = (SeqRoot){.depth = 1, .count = 5, .id = {{9}}};
      break;
    default:
      c.kind = CONTENT_PAGES;
      c.pages.b[0] = (uint8_t)(1 + test_random(seed) % 255);
      break;
  }
  return c;
}

static void fill_entry(TreeEntry *t, uint64_t *seed) {
  Entry *e = &t->entry;
  e->type = (EntryType)(1 + test_random(seed) % 8);
  if (test_random(seed) % 2) e->type = ENTRY_FILE;
  e->mode = (uint32_t)(test_random(seed) % 010000);
  if (test_random(seed) % 4 == 0) {
    e->uid = (uint32_t)test_random(seed);
    e->gid = (uint32_t)test_random(seed);
    e->user = random_bytes(seed, 9);
    owned(&e->user);
    e->group = random_bytes(seed, 9);
    owned(&e->group);
  }
  e->mtime_ns = (int64_t)test_random(seed);
  e->ctime_ns = test_random(seed) % 2 ? e->mtime_ns : (int64_t)test_random(seed);
  e->inode = test_random(seed);
  e->device = test_random(seed) % 3;
  if (e->type == ENTRY_FILE) {
    e->size = test_random(seed) % 100000;
    t->content = random_content(seed);
    t->read_ns = test_random(seed);
  }
  if (e->type == ENTRY_CHAR || e->type == ENTRY_BLOCK) e->rdev = test_random(seed);
  if (e->type == ENTRY_SYMLINK) {
    e->target = random_bytes(seed, 40);
    owned(&e->target);
  }
  if (e->type == ENTRY_HARDLINK) {
    e->target = bytes_str("some/where else");
    owned(&e->target);
  }
  if (test_random(seed) % 16 == 0) {
    Xattr *x = NEW_ARRAY(Xattr, 2);
    x[0].name = bytes_str("user.a");
    x[0].value = random_bytes(seed, 4000);
    owned(&x[0].value);
    x[1].name = bytes_str("user.b");
    e->xattrs = x;
    e->xattrs_len = 2;
  }
}

/* Paths of any bytes, with many shared beginnings; up to three components. */
static Bytes random_path(uint64_t *seed) {
  static uint8_t out[600];
  size_t len = 0;
  size_t parts = 1 + test_random(seed) % 3;
  for (size_t p = 0; p < parts; p++) {
    if (p) out[len++] = '/';
    size_t n = 1 + test_random(seed) % (test_random(seed) % 50 ? 4 : 150);
    for (size_t i = 0; i < n; i++) {
      uint8_t v =
          test_random(seed) % 4 ? (uint8_t)('a' + test_random(seed) % 12) : (uint8_t)(1 + test_random(seed) % 255);
      out[len++] = v == '/' || v == '.' ? '_' : v;
    }
  }
  return bytes(out, len);
}

static int compare_entries(const void *a, const void *b) {
  return entry_path_compare(((const TreeEntry *)a)->entry.path, ((const TreeEntry *)b)->entry.path);
}

static void entry_clear(TreeEntry *t) {
  free((void *)(uintptr_t)t->entry.path.data);
  free((void *)(uintptr_t)t->entry.user.data);
  free((void *)(uintptr_t)t->entry.group.data);
  free((void *)(uintptr_t)t->entry.target.data);
  if (t->entry.xattrs_len) free((void *)(uintptr_t)t->entry.xattrs[0].value.data);
  free((void *)(uintptr_t)t->entry.xattrs);
}

static void model_free(Model *m) {
  for (size_t i = 0; i < m->len; i++) entry_clear(&m->items[i]);
  free(m->items);
  *m = (Model){0};
}

/* Sorts, drops paths met twice. */
static void model_settle(Model *m) {
  if (m->len == 0) return;
  qsort(m->items, m->len, sizeof m->items[0], compare_entries);
  size_t kept = 1;
  for (size_t i = 1; i < m->len; i++) {
    if (bytes_equal(m->items[i].entry.path, m->items[kept - 1].entry.path))
      entry_clear(&m->items[i]);
    else
      m->items[kept++] = m->items[i];
  }
  m->len = kept;
}

static Model model_random(uint64_t *seed, size_t len) {
  Model m = {.items = NEW_ARRAY(TreeEntry, len), .len = len, .cap = len};
  for (size_t i = 0; i < len; i++) {
    m.items[i].entry.path = random_path(seed);
    owned(&m.items[i].entry.path);
    fill_entry(&m.items[i], seed);
  }
  model_settle(&m);
  return m;
}

static Bytes dup_bytes(Bytes b) {
  owned(&b);
  return b;
}

static TreeEntry entry_dup(const TreeEntry *t) {
  TreeEntry out = *t;
  out.entry.path = dup_bytes(t->entry.path);
  out.entry.user = dup_bytes(t->entry.user);
  out.entry.group = dup_bytes(t->entry.group);
  out.entry.target = dup_bytes(t->entry.target);
  if (t->entry.xattrs_len) {
    Xattr *x = (Xattr *)mem_dup(t->entry.xattrs, t->entry.xattrs_len * sizeof *x);
    x[0].value = dup_bytes(x[0].value);
    out.entry.xattrs = x;
  }
  return out;
}

static const uint8_t SPLIT_KEY[32] = {42, 1};

static TreeRoot build(FramesMemory *frames, const Model *m, size_t memory, uint64_t shuffle) {
  TreeBuilderOptions options = {.scratch_dir = "/tmp", .memory_bytes = memory};
  memcpy(options.split_key, SPLIT_KEY, sizeof options.split_key);
  TreeBuilder *b = tree_builder_new(frames_memory_sink(frames), &options);
  size_t *order = NEW_ARRAY(size_t, m->len);
  for (size_t i = 0; i < m->len; i++) order[i] = i;
  for (size_t i = m->len; shuffle && i > 1; i--) {
    size_t j = test_random(&shuffle) % i, k = order[i - 1];
    order[i - 1] = order[j];
    order[j] = k;
  }
  for (size_t i = 0; i < m->len; i++) assert_ok(tree_builder_add(b, &m->items[order[i]]));
  TreeRoot root;
  assert_ok(tree_builder_finish(b, &root));
  free(order);
  tree_builder_free(b);
  return root;
}

static void assert_same_entry(const TreeEntry *a, const TreeEntry *b) {
  const Entry *x = &a->entry, *y = &b->entry;
  assert_true(bytes_equal(x->path, y->path));
  assert_int_equal(x->type, y->type);
  assert_int_equal(x->mode, y->mode);
  assert_int_equal(x->uid, y->uid);
  assert_int_equal(x->gid, y->gid);
  assert_true(bytes_equal(x->user, y->user));
  assert_true(bytes_equal(x->group, y->group));
  assert_true(x->mtime_ns == y->mtime_ns && x->ctime_ns == y->ctime_ns);
  assert_true(x->inode == y->inode && x->device == y->device && x->size == y->size && x->rdev == y->rdev);
  assert_true(bytes_equal(x->target, y->target));
  assert_int_equal(x->xattrs_len, y->xattrs_len);
  for (size_t i = 0; i < x->xattrs_len; i++) {
    assert_true(bytes_equal(x->xattrs[i].name, y->xattrs[i].name));
    assert_true(bytes_equal(x->xattrs[i].value, y->xattrs[i].value));
  }
  assert_true(a->read_ns == b->read_ns);
  Buf p AUTO_BUF = {0}, q AUTO_BUF = {0};
  content_encode(&a->content, &p);
  content_encode(&b->content, &q);
  assert_true(bytes_equal(buf_bytes(&p), buf_bytes(&q)));
}

static void assert_reads(FramesMemory *frames, const TreeRoot *root, const Model *m) {
  assert_int_equal(root->entries, m->len);
  TreeCursor *c = tree_cursor_new(frames_memory_source(frames), root);
  uint64_t total = 0;
  for (size_t i = 0; i < m->len; i++) {
    TreeEntry entry;
    bool found = false;
    assert_ok(tree_cursor_next(c, &entry, &found));
    assert_true(found);
    assert_same_entry(&entry, &m->items[i]);
    total += entry.entry.size;
  }
  assert_true(total == root->bytes);
  for (int i = 0; i < 2; i++) {
    TreeEntry entry;
    bool found = true;
    assert_ok(tree_cursor_next(c, &entry, &found));
    assert_false(found);
  }
  tree_cursor_free(c);
}

static size_t model_lower_bound(const Model *m, Bytes path) {
  size_t i = 0;
  while (i < m->len && entry_path_compare(m->items[i].entry.path, path) < 0) i++;
  return i;
}

static void check_seek(TreeCursor *c, const Model *m, uint64_t *seed) {
  bool known = m->len && test_random(seed) % 2;
  Bytes path = known ? m->items[test_random(seed) % m->len].entry.path : random_path(seed);
  size_t at = model_lower_bound(m, path);
  TreeEntry entry;
  bool found;
  if (test_random(seed) % 2) {
    assert_ok(tree_cursor_find(c, path, &entry, &found));
    assert_true(found == (at < m->len && bytes_equal(m->items[at].entry.path, path)));
    if (found) assert_same_entry(&entry, &m->items[at]);
  } else {
    assert_ok(tree_cursor_seek(c, path));
  }
  for (size_t n = test_random(seed) % 4; n > 0; n--, at++) {
    assert_ok(tree_cursor_next(c, &entry, &found));
    assert_true(found == (at < m->len));
    if (!found) return;
    assert_same_entry(&entry, &m->items[at]);
  }
}

static void test_round_trip(void **state) {
  (void)state;
  uint64_t seed = 1;
  static const size_t sizes[] = {0, 1, 2, 10, 500, 3000};
  for (size_t i = 0; i < NELEMS(sizes); i++) {
    FramesMemory *frames = frames_memory_new();
    Model m = model_random(&seed, sizes[i]);
    TreeRoot root = build(frames, &m, 1 << 20, 0);
    TreeRoot spilled = build(frames, &m, 4096, 77 + i);
    assert_true(frame_id_equal(&root.id, &spilled.id));
    assert_reads(frames, &root, &m);
    TreeCursor *c = tree_cursor_new(frames_memory_source(frames), &root);
    for (int k = 0; k < 400; k++) check_seek(c, &m, &seed);
    tree_cursor_free(c);
    model_free(&m);
    frames_memory_free(frames);
  }
}

static void test_find_ascending(void **state) {
  (void)state;
  uint64_t seed = 5;
  FramesMemory *frames = frames_memory_new();
  Model m = model_random(&seed, 20000);
  TreeRoot root = build(frames, &m, 64 << 20, 0);
  uint64_t nodes = frames_memory_counts(frames, FRAME_TREE).stored;
  TreeCursor *c = tree_cursor_new(frames_memory_source(frames), &root);
  for (size_t i = 0; i < m.len; i += 3) {
    TreeEntry entry;
    bool found;
    assert_ok(tree_cursor_find(c, m.items[i].entry.path, &entry, &found));
    assert_true(found);
    assert_same_entry(&entry, &m.items[i]);
  }
  assert_true(frames_memory_counts(frames, FRAME_TREE).got <= nodes); /* each node at most once */
  tree_cursor_free(c);
  model_free(&m);
  frames_memory_free(frames);
}

static void test_duplicate(void **state) {
  (void)state;
  FramesMemory *frames = frames_memory_new();
  TreeBuilderOptions options = {.scratch_dir = "/tmp", .memory_bytes = 4096};
  TreeBuilder *b = tree_builder_new(frames_memory_sink(frames), &options);
  for (int i = 0; i < 500; i++) {
    char name[16];
    snprintf(name, sizeof name, "f%d", i % 499);
    TreeEntry entry = {.entry = {.path = bytes_str(name), .type = ENTRY_DIR}};
    assert_ok(tree_builder_add(b, &entry));
  }
  TreeRoot root;
  Error *err = tree_builder_finish(b, &root);
  assert_true(err_is(err, ERR_EXISTS));
  assert_non_null(strstr(err_text(err), "f0"));
  err_free(err);
  tree_builder_free(b);
  frames_memory_free(frames);
}

static void test_limits(void **state) {
  (void)state;
  FramesMemory *frames = frames_memory_new();
  TreeBuilderOptions options = {.scratch_dir = "/tmp", .memory_bytes = 4096};
  TreeBuilder *b = tree_builder_new(frames_memory_sink(frames), &options);
  TreeEntry entry = {.entry = {.path = bytes_str("a/../b"), .type = ENTRY_DIR}};
  assert_err(tree_builder_add(b, &entry), ERR_LIMIT);
  entry.entry.path = bytes_str("b");
  entry.entry.mode = 010000;
  assert_err(tree_builder_add(b, &entry), ERR_LIMIT);
  entry.entry.mode = 0;
  entry.entry.type = (EntryType)9;
  assert_err(tree_builder_add(b, &entry), ERR_LIMIT);
  tree_builder_free(b);
  frames_memory_free(frames);
}

/* Paths and xattrs of a megabyte: nodes stay within a frame and the tree can be read. */
static void test_huge_paths(void **state) {
  (void)state;
  FramesMemory *frames = frames_memory_new();
  enum { COUNT = 24, DEPTH_BYTES = 900000 };
  Model m = {.items = NEW_ARRAY(TreeEntry, COUNT), .len = COUNT, .cap = COUNT};
  uint8_t *path = (uint8_t *)mem_alloc(DEPTH_BYTES);
  for (size_t i = 0; i < DEPTH_BYTES; i++) path[i] = i % 200 == 199 ? '/' : 'x';
  for (size_t i = 0; i < COUNT; i++) {
    path[0] = (uint8_t)('a' + i / 8); /* eight share all but their end */
    path[DEPTH_BYTES - 1] = (uint8_t)('a' + i % 8);
    m.items[i].entry.path = bytes(path, DEPTH_BYTES);
    owned(&m.items[i].entry.path);
    m.items[i].entry.type = ENTRY_DIR;
  }
  free(path);
  TreeRoot root = build(frames, &m, 1 << 20, 3);
  assert_reads(frames, &root, &m);
  model_free(&m);
  frames_memory_free(frames);
}

static TreeRoot build_regular(FramesMemory *frames, size_t len, size_t touched) {
  TreeBuilderOptions options = {.scratch_dir = "/tmp", .memory_bytes = 64 << 20};
  memcpy(options.split_key, SPLIT_KEY, sizeof options.split_key);
  TreeBuilder *b = tree_builder_new(frames_memory_sink(frames), &options);
  for (size_t i = 0; i < len; i++) {
    char name[64];
    snprintf(name, sizeof name, "usr/share/folder-%03zu/file-%06zu.txt", i / 500, i);
    TreeEntry entry = {.entry = {.path = bytes_str(name),
                                 .type = ENTRY_FILE,
                                 .mode = 0644,
                                 .uid = 1000,
                                 .gid = 1000,
                                 .user = bytes_str("somebody"),
                                 .group = bytes_str("staff"),
                                 .mtime_ns = INT64_C(1700000000000000000) + (int64_t)i * 77777777,
                                 .inode = 100000 + i,
                                 .device = 2049,
                                 .size = 5000},
                       .read_ns = UINT64_C(1800000000000000000) + i * 50000};
    entry.entry.ctime_ns = entry.entry.mtime_ns + 5000;
    entry.content.kind = CONTENT_SLICE;
    entry.content.slice.id.b[0] = (uint8_t)(1 + i / 50 % 200);
    entry.content.slice.len = 5000;
    entry.content.slice.hash[0] = (uint8_t)i;
    if (i == touched) entry.entry.mode = 0600;
    assert_ok(tree_builder_add(b, &entry));
  }
  TreeRoot root;
  assert_ok(tree_builder_finish(b, &root));
  tree_builder_free(b);
  return root;
}

static void test_sharing(void **state) {
  (void)state;
  FramesMemory *frames = frames_memory_new();
  TreeRoot first = build_regular(frames, 100000, SIZE_MAX);
  FramesMemoryCounts all = frames_memory_counts(frames, FRAME_TREE);
  assert_in_range(all.stored_bytes / all.stored, 12 * 1024, 64 * 1024);
  for (size_t touched = 0; touched < 100000; touched += 33333) {
    frames_memory_reset_counts(frames);
    TreeRoot second = build_regular(frames, 100000, touched);
    assert_in_range(frames_memory_counts(frames, FRAME_TREE).stored, 1, 4);
    assert_false(frame_id_equal(&first.id, &second.id));
  }
  frames_memory_free(frames);
}

/* ---- differences --------------------------------------------------------------------------------------------------
 */

typedef struct Seen {
  Buf log;
} Seen;

static void log_change(Buf *log, TreeChange change, Bytes path) {
  buf_put_u8(log, (uint8_t)('A' + (int)change));
  buf_put_bytes(log, path);
}

static Error *see(void *ctx, TreeChange change, const TreeEntry *before, const TreeEntry *after) {
  Seen *seen = (Seen *)ctx;
  assert_true((before == NULL) == (change == TREE_ADDED));
  assert_true((after == NULL) == (change == TREE_REMOVED));
  log_change(&seen->log, change, before ? before->entry.path : after->entry.path);
  return NULL;
}

/* The second state of a tree, and what must be found. */
static Model mutate(const Model *m, uint64_t *seed, size_t changes, Buf *expect) {
  Model out = {.items = NEW_ARRAY(TreeEntry, m->len + changes + 1), .len = 0};
  uint64_t odds = changes ? m->len / changes + 1 : UINT64_MAX;
  for (size_t i = 0; i < m->len; i++) {
    uint64_t what = test_random(seed) % odds ? 9 : test_random(seed) % 4;
    Bytes path = m->items[i].entry.path;
    if (what == 0) {
      log_change(expect, TREE_REMOVED, path);
      continue;
    }
    TreeEntry *t = &out.items[out.len++];
    *t = entry_dup(&m->items[i]);
    if (what == 1) {
      t->entry.mtime_ns++;
      log_change(expect, TREE_TOUCHED, path);
    } else if (what == 2 && t->entry.type == ENTRY_FILE) {
      t->entry.size++;
      log_change(expect, TREE_CHANGED, path);
    } else if (what == 3) {
      t->entry.inode++;
      t->entry.device++;
      t->entry.ctime_ns = 5;
      if (t->entry.type == ENTRY_FILE) t->read_ns = 5;
    }
  }
  return out;
}

static void check_diff(uint64_t *seed, size_t len, size_t changes) {
  FramesMemory *frames = frames_memory_new();
  Model a = model_random(seed, len);
  Seen seen = {0};
  Buf expect AUTO_BUF = {0};
  Model b = mutate(&a, seed, changes, &expect);
  TreeRoot before = build(frames, &a, 1 << 20, 0), after = build(frames, &b, 1 << 20, 0);
  assert_ok(tree_diff(frames_memory_source(frames), &before, &after, see, &seen));
  assert_true(bytes_equal(buf_bytes(&seen.log), buf_bytes(&expect)));
  /* The other way round, what was removed was added. */
  size_t expected = 0, found = 0;
  Cursor c = cursor(buf_bytes(&expect));
  while (cursor_left(&c)) {
    cursor_u8(&c);
    cursor_bytes(&c, SIZE_MAX);
    expected++;
  }
  buf_clear(&seen.log);
  assert_ok(tree_diff(frames_memory_source(frames), &after, &before, see, &seen));
  c = cursor(buf_bytes(&seen.log));
  while (cursor_left(&c)) {
    assert_int_not_equal(cursor_u8(&c), 'A' + TREE_REMOVED);
    cursor_bytes(&c, SIZE_MAX);
    found++;
  }
  assert_int_equal(found, expected);
  buf_free(&seen.log);
  model_free(&a);
  model_free(&b);
  frames_memory_free(frames);
}

static void test_diff(void **state) {
  (void)state;
  uint64_t seed = 9;
  static const size_t sizes[] = {0, 1, 5, 300, 4000};
  for (size_t i = 0; i < NELEMS(sizes); i++) {
    check_diff(&seed, sizes[i], 0);
    check_diff(&seed, sizes[i], 3);
    check_diff(&seed, sizes[i], sizes[i] / 2);
    check_diff(&seed, sizes[i], sizes[i]);
  }
}

static void test_diff_skips_shared(void **state) {
  (void)state;
  FramesMemory *frames = frames_memory_new();
  TreeRoot a = build_regular(frames, 50000, SIZE_MAX), b = build_regular(frames, 50000, 20000);
  frames_memory_reset_counts(frames);
  Seen seen = {0};
  assert_ok(tree_diff(frames_memory_source(frames), &a, &b, see, &seen));
  Cursor c = cursor(buf_bytes(&seen.log));
  assert_int_equal(cursor_u8(&c), 'A' + TREE_TOUCHED);
  assert_true(bytes_equal(cursor_bytes(&c, 100), bytes_str("usr/share/folder-040/file-020000.txt")));
  assert_int_equal(cursor_left(&c), 0);
  assert_in_range(frames_memory_counts(frames, FRAME_TREE).got, 2, 12);
  buf_free(&seen.log);
  frames_memory_free(frames);
}

/* Trees of different heights still meet at the subtrees they share. */
static void test_diff_heights(void **state) {
  (void)state;
  FramesMemory *frames = frames_memory_new();
  TreeRoot small = build_regular(frames, 20000, SIZE_MAX);
  uint64_t small_nodes = frames_memory_counts(frames, FRAME_TREE).stored;
  TreeRoot large = build_regular(frames, 120000, SIZE_MAX);
  uint64_t more_nodes = frames_memory_counts(frames, FRAME_TREE).stored - small_nodes;
  Buf raw AUTO_BUF = {0};
  FrameSource *source = frames_memory_source(frames);
  assert_ok(source->get(source, FRAME_TREE, &small.id, &raw));
  uint8_t height = raw.data[0];
  assert_ok(source->get(source, FRAME_TREE, &large.id, &raw));
  assert_true(height >= 1 && raw.data[0] > height);
  frames_memory_reset_counts(frames);
  Seen seen = {0};
  assert_ok(tree_diff(source, &small, &large, see, &seen));
  assert_in_range(frames_memory_counts(frames, FRAME_TREE).got, 2, more_nodes + 5);
  buf_free(&seen.log);
  frames_memory_free(frames);
}

/* ---- walking ------------------------------------------------------------------------------------------------------
 */

typedef struct Walked {
  uint64_t nodes, entries;
  bool skip_all;
} Walked;

static bool walk_skip(void *ctx, const FrameId *node) {
  (void)node;
  Walked *w = (Walked *)ctx;
  w->nodes++;
  return w->skip_all && w->nodes > 1;
}

static Error *walk_entry(void *ctx, const TreeEntry *entry) {
  (void)entry;
  ((Walked *)ctx)->entries++;
  return NULL;
}

static void test_walk(void **state) {
  (void)state;
  FramesMemory *frames = frames_memory_new();
  TreeRoot root = build_regular(frames, 20000, SIZE_MAX);
  TreeWalk walk = {.skip = walk_skip, .entry = walk_entry};
  Walked all = {0};
  assert_ok(tree_walk(frames_memory_source(frames), &root, &walk, &all));
  assert_int_equal(all.nodes, frames_memory_counts(frames, FRAME_TREE).stored);
  assert_int_equal(all.entries, 20000);
  frames_memory_reset_counts(frames);
  Walked none = {.skip_all = true};
  assert_ok(tree_walk(frames_memory_source(frames), &root, &walk, &none));
  assert_int_equal(none.entries, 0);
  assert_int_equal(frames_memory_counts(frames, FRAME_TREE).got, 1);
  frames_memory_free(frames);
}

/* ---- damage -------------------------------------------------------------------------------------------------------
 */

static void test_damage(void **state) {
  (void)state;
  uint64_t seed = 3;
  FramesMemory *frames = frames_memory_new();
  Model m = model_random(&seed, 300);
  TreeRoot root = build(frames, &m, 1 << 20, 0);
  Buf raw AUTO_BUF = {0};
  assert_ok(frames_memory_source(frames)->get(frames_memory_source(frames), FRAME_TREE, &root.id, &raw));
  uint8_t level = raw.data[0];
  assert_ok(tree_node_decode(buf_bytes(&raw), level, NULL, NULL, NULL));
  assert_err(tree_node_decode(buf_bytes(&raw), (uint8_t)(level + 1), NULL, NULL, NULL), ERR_CORRUPT);
  for (size_t len = 0; len < raw.len; len += 1 + raw.len / 300)
    assert_err(tree_node_decode(bytes(raw.data, len), level, NULL, NULL, NULL), ERR_CORRUPT);
  buf_put_u8(&raw, 0);
  assert_err(tree_node_decode(buf_bytes(&raw), level, NULL, NULL, NULL), ERR_CORRUPT);
  /* What the root says of the tree must be so. */
  TreeRoot wrong = root;
  wrong.entries++;
  TreeCursor *c = tree_cursor_new(frames_memory_source(frames), &wrong);
  TreeEntry entry;
  bool found;
  assert_err(tree_cursor_next(c, &entry, &found), ERR_CORRUPT);
  tree_cursor_free(c);
  model_free(&m);
  frames_memory_free(frames);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_round_trip),   cmocka_unit_test(test_find_ascending),
      cmocka_unit_test(test_duplicate),    cmocka_unit_test(test_limits),
      cmocka_unit_test(test_huge_paths),   cmocka_unit_test(test_sharing),
      cmocka_unit_test(test_diff),         cmocka_unit_test(test_diff_skips_shared),
      cmocka_unit_test(test_diff_heights), cmocka_unit_test(test_walk),
      cmocka_unit_test(test_damage),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
