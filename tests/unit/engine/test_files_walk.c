/* The walk and the directory cache under it: order, links, depth, wide directories. */
#include "engine/files/walk.h"

#include "files_testing.h"

typedef struct Seen {
  Buf last; /* path */
  size_t items, troubles;
  bool in_order;
} Seen;

static Error *on_item(void *ctx, const WalkItem *item, bool *descend) {
  Seen *seen = (Seen *)ctx;
  if (seen->items && entry_path_compare(buf_bytes(&seen->last), item->path) >= 0) seen->in_order = false;
  assert_true(item->absolute.len > item->path.len);
  if (item->path.len)
    assert_memory_equal(item->absolute.data + item->absolute.len - item->path.len, item->path.data, item->path.len);
  buf_clear(&seen->last);
  buf_add(&seen->last, item->path.data, item->path.len);
  seen->items++;
  *descend = true;
  return NULL;
}

static void on_trouble(void *ctx, Bytes path, const char *doing, int errno_value) {
  (void)path, (void)doing, (void)errno_value;
  ((Seen *)ctx)->troubles++;
}

static Seen walk(const char *root, Cancel *cancel, ErrCode expected) {
  static const WalkOps ops = {.item = on_item, .trouble = on_trouble};
  Seen seen = {.in_order = true};
  WalkSpec spec = {.take_root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC),
                   .absolute = bytes_str(root),
                   .ops = &ops,
                   .ctx = &seen,
                   .cancel = cancel};
  if (expected)
    assert_err(walk_tree(&spec), expected);
  else
    assert_ok(walk_tree(&spec));
  buf_free(&seen.last);
  return seen;
}

/* '-' sorts before '/' as a byte, but after everything that is in the directory "a". */
static void test_order(void **state) {
  (void)state;
  char *scratch = scratch_new();
  make_dir(scratch, "a/b");
  make_dir(scratch, "a-b");
  put(scratch, "a/b/c", "x");
  put(scratch, "a.txt", "x");
  put(scratch, "a-b/c", "x");
  put(scratch, "\xff\x01", "x");
  put(scratch, "\x01", "x");
  Seen seen = walk(scratch, NULL, (ErrCode)0);
  assert_true(seen.in_order);
  assert_int_equal(seen.items, 9);
  assert_int_equal(seen.troubles, 0);
  scratch_free(scratch);
}

static void test_wide_directory(void **state) {
  (void)state;
  enum { WIDE = 5000 };
  char *scratch = scratch_new();
  for (int i = 0; i < WIDE; i++) {
    char name[160];
    snprintf(name, sizeof name, "%0100d", i * 7919 % WIDE);
    put(scratch, name, "");
  }
  Seen seen = walk(scratch, NULL, (ErrCode)0);
  assert_true(seen.in_order);
  assert_int_equal(seen.items, WIDE + 1);
  scratch_free(scratch);
}

static void test_cancelled(void **state) {
  (void)state;
  char *scratch = scratch_new();
  for (int i = 0; i < 1000; i++) {
    char name[16];
    snprintf(name, sizeof name, "%d", i);
    put(scratch, name, "");
  }
  Cancel cancel = {0};
  cancel_set(&cancel, 15);
  Seen seen = walk(scratch, &cancel, ERR_CANCELLED);
  assert_true(seen.items < 1000);
  scratch_free(scratch);
}

static void test_names(void **state) {
  (void)state;
  char *scratch = scratch_new();
  put(scratch, "b", "");
  put(scratch, "a", "");
  put(scratch, "c", "");
  DirRef *dir = dirref_new(open(scratch, O_PATH | O_DIRECTORY | O_CLOEXEC));
  NameList names = {0};
  assert_int_equal(names_read(&names, dir), 0);
  assert_int_equal(names.len, 3);
  assert_string_equal(names_at(&names, 0), "a");
  assert_true(names_has(&names, "c"));
  assert_false(names_has(&names, "d"));
  names_keep_only(&names, "b");
  assert_int_equal(names.len, 1);
  assert_string_equal(names_at(&names, 0), "b");
  names_keep_only(&names, "z");
  assert_int_equal(names.len, 0);
  names_free(&names);
  dirref_drop(dir);
  scratch_free(scratch);
}

/* ---- the cache ---- */

static int reach(DirCache *cache, const char *path) {
  DirRef *dir = NULL;
  int rc = dircache_open(cache, bytes_str(path), &dir);
  dirref_drop(rc ? NULL : dir);
  return rc;
}

static void test_cache_refuses_links(void **state) {
  (void)state;
  char *scratch = scratch_new();
  make_dir(scratch, "a/b/c");
  put(scratch, "a/file", "");
  AUTO_FREE char *link_path = at(scratch, "a/link");
  assert_int_equal(symlink("b", link_path), 0);
  static const struct {
    const char *path;
    int rc;
  } cases[] = {{"a/b/c", 0},
               {"a/link/c", ELOOP},
               {"a/b", 0},
               {"a/none", ENOENT},
               {"a/file", ENOTDIR},
               {"a/file/x", ENOTDIR},
               {"a/b/c", 0},
               {"", 0},
               {"a", 0}};
  for (int fresh = 0; fresh < 2; fresh++) {
    DirCache *cache = dircache_new(open(scratch, O_PATH | O_DIRECTORY | O_CLOEXEC));
    for (size_t i = 0; i < NELEMS(cases); i++) {
      int rc = reach(cache, cases[i].path);
      /* A link as the last component is no directory; one in the middle is a link too many. */
      if (rc != cases[i].rc) fail_msg("'%s': %s", cases[i].path, strerror(rc));
      if (!fresh) continue;
      dircache_free(cache); /* every path from the root, in one piece */
      cache = dircache_new(open(scratch, O_PATH | O_DIRECTORY | O_CLOEXEC));
    }
    assert_int_not_equal(reach(cache, "a/link"), 0);
    dircache_free(cache);
  }
  scratch_free(scratch);
}

/* Up and down a path many times longer than the kernel takes at once, in an order that makes slots come and go. */
static void test_cache_at_depth(void **state) {
  (void)state;
  enum { DEPTH = 1200, NAME = 20 };
  char *scratch = scratch_new();
  AUTO_BUF Buf path = {0};
  DirCache *cache = dircache_new(open(scratch, O_PATH | O_DIRECTORY | O_CLOEXEC));
  ino_t inodes[DEPTH];
  for (int i = 0; i < DEPTH; i++) {
    DirRef *parent, *self;
    char name[NAME + 1];
    struct stat st;
    snprintf(name, sizeof name, "%0*d", NAME, i);
    assert_int_equal(dircache_open(cache, buf_bytes(&path), &parent), 0);
    assert_int_equal(mkdirat(parent->fd, name, 0755), 0);
    dirref_drop(parent);
    if (i) buf_put_u8(&path, '/');
    buf_add_str(&path, name);
    assert_int_equal(dircache_open(cache, buf_bytes(&path), &self), 0);
    assert_int_equal(fstat(self->fd, &st), 0);
    inodes[i] = st.st_ino;
    dirref_drop(self);
  }
  uint64_t seed = 4;
  for (int i = 0; i < 300; i++) {
    size_t depth = i < 100 ? (size_t)(DEPTH - 1 - i * 12) : (size_t)(test_random(&seed) % DEPTH);
    DirRef *dir;
    struct stat st;
    assert_int_equal(dircache_open(cache, bytes(path.data, (depth + 1) * (NAME + 1) - 1), &dir), 0);
    assert_int_equal(fstat(dir->fd, &st), 0);
    assert_int_equal(st.st_ino, inodes[depth]);
    dirref_drop(dir);
  }
  dircache_free(cache);
  scratch_free(scratch);
}

static void test_path_parts(void **state) {
  (void)state;
  assert_true(bytes_equal(path_parent(bytes_str("a/b/c")), bytes_str("a/b")));
  assert_true(bytes_equal(path_name(bytes_str("a/b/c")), bytes_str("c")));
  assert_int_equal(path_parent(bytes_str("a")).len, 0);
  assert_true(bytes_equal(path_name(bytes_str("a")), bytes_str("a")));
  assert_int_equal(path_name(bytes_str("")).len, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_order),
      cmocka_unit_test(test_wide_directory),
      cmocka_unit_test(test_cancelled),
      cmocka_unit_test(test_names),
      cmocka_unit_test(test_cache_refuses_links),
      cmocka_unit_test(test_cache_at_depth),
      cmocka_unit_test(test_path_parts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
