#include "base/buf.h"
#include "base/entry.h"

#include "testing.h"

static void valid_paths(void **state) {
  (void)state;
  static const char *const good[] = {"", "a", "a/b", "...", ".a", "a.", "a/..b/c", "\x01\xff\n", " ", "a/.../b"};
  static const char *const bad[] = {"/",   "/a",   "a/",   "a//b", ".",      "..",
                                    "a/.", "a/..", "../a", "./a",  "a/../b", "a/./b"};
  for (size_t i = 0; i < NELEMS(good); i++) {
    if (!entry_path_valid(bytes_str(good[i]))) fail_msg("\"%s\" is refused", good[i]);
  }
  for (size_t i = 0; i < NELEMS(bad); i++) {
    if (entry_path_valid(bytes_str(bad[i]))) fail_msg("\"%s\" is accepted", bad[i]);
  }
  assert_false(entry_path_valid(bytes("a\0b", 3)));
  assert_false(entry_path_valid(bytes("\0", 1)));
}

static void path_limits(void **state) {
  (void)state;
  AUTO_BUF Buf path = {0};
  memset(buf_grow(&path, ENTRY_NAME_MAX), 'x', ENTRY_NAME_MAX);
  assert_true(entry_path_valid(buf_bytes(&path)));
  buf_add_str(&path, "x");
  assert_false(entry_path_valid(buf_bytes(&path)));
  buf_clear(&path);
  while (path.len < ENTRY_PATH_MAX) buf_add_str(&path, "y/");
  path.data[path.len - 1] = 'y';
  assert_true(entry_path_valid(buf_bytes(&path)));
  buf_add_str(&path, "z");
  assert_false(entry_path_valid(buf_bytes(&path)));
}

static void directories_come_right_before_what_they_hold(void **state) {
  (void)state;
  static const char *const sorted[] = {"",      "a",   "a/b", "a/b/c", "a/b\x01", "a/b.c", "a/bc",
                                       "a\x01", "a-b", "a.b", "a.b/c", "aa",      "b",     "\xff"};
  for (size_t i = 0; i < NELEMS(sorted); i++) {
    for (size_t j = 0; j < NELEMS(sorted); j++) {
      int got = entry_path_compare(bytes_str(sorted[i]), bytes_str(sorted[j]));
      int expected = (i > j) - (i < j);
      if ((got > 0) - (got < 0) != expected) fail_msg("\"%s\" against \"%s\": %d", sorted[i], sorted[j], got);
    }
  }
}

static void within(void **state) {
  (void)state;
  assert_true(entry_path_within(bytes_str("a/b"), bytes_str("")));
  assert_true(entry_path_within(bytes_str(""), bytes_str("")));
  assert_true(entry_path_within(bytes_str("a"), bytes_str("a")));
  assert_true(entry_path_within(bytes_str("a/b"), bytes_str("a")));
  assert_false(entry_path_within(bytes_str("ab"), bytes_str("a")));
  assert_false(entry_path_within(bytes_str("a"), bytes_str("a/b")));
  assert_false(entry_path_within(bytes_str(""), bytes_str("a")));
}

static void copies_own_everything(void **state) {
  (void)state;
  char path[] = "dir/file", user[] = "root", name[] = "user.x", value[] = "\0v";
  Xattr xattrs[2] = {{bytes_str(name), bytes(value, 2)}, {bytes_str("user.y"), bytes_str("")}};
  Entry entry = {
      .path = bytes_str(path),
      .type = ENTRY_FILE,
      .mode = 04755,
      .user = bytes_str(user),
      .mtime_ns = -5,
      .size = 77,
      .xattrs = xattrs,
      .xattrs_len = 2,
  };
  Entry *copy = entry_copy(&entry);
  memset(path, 'z', sizeof path);
  memset(user, 'z', sizeof user);
  memset(name, 'z', sizeof name);
  memset(value, 'z', sizeof value);
  memset(xattrs, 0, sizeof xattrs);
  assert_true(bytes_equal(copy->path, bytes_str("dir/file")));
  assert_true(bytes_equal(copy->user, bytes_str("root")));
  assert_int_equal(copy->group.len, 0);
  assert_int_equal(copy->mode, 04755);
  assert_true(copy->mtime_ns == -5 && copy->size == 77);
  assert_int_equal(copy->xattrs_len, 2);
  assert_true(bytes_equal(copy->xattrs[0].name, bytes_str("user.x")));
  assert_true(bytes_equal(copy->xattrs[0].value, bytes("\0v", 2)));
  assert_true(bytes_equal(copy->xattrs[1].name, bytes_str("user.y")));
  assert_int_equal(copy->xattrs[1].value.len, 0);
  entry_free(copy);
  entry_free(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(valid_paths),
      cmocka_unit_test(path_limits),
      cmocka_unit_test(directories_come_right_before_what_they_hold),
      cmocka_unit_test(within),
      cmocka_unit_test(copies_own_everything),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
