#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "sys/fs.h"

#include "testing.h"

/* Each test has a folder of its own, the state. */
static int make_folder(void **state) {
  char path[] = "/tmp/holdfast-fs-XXXXXX";
  *state = mem_strdup(mkdtemp(path));
  return *state ? 0 : -1;
}

static int remove_folder(void **state) {
  Error *err = fs_remove_tree((const char *)*state);
  int failed = err || fs_exists((const char *)*state);
  err_free(err);
  free(*state);
  return failed;
}

static void write_text(const char *path, const char *text) {
  AUTO_FD int fd = -1;
  assert_ok(fs_open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644, &fd));
  assert_ok(fs_write(fd, path, text, strlen(text)));
}

static void assert_content(const char *path, const char *text) {
  AUTO_BUF Buf body = {0};
  assert_ok(fs_read_file(path, 1 << 20, &body));
  assert_true(bytes_equal(buf_bytes(&body), bytes_str(text)));
}

static void positioned_reads_and_writes(void **state) {
  AUTO_FREE char *path = fs_join((const char *)*state, "file");
  AUTO_FD int fd = -1;
  assert_ok(fs_open(path, O_RDWR | O_CREAT | O_EXCL, 0600, &fd));
  assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
  assert_ok(fs_write_at(fd, path, "world", 5, 6));
  assert_ok(fs_write_at(fd, path, "hello ", 6, 0));
  assert_ok(fs_sync(fd, path));
  char out[20];
  size_t len;
  assert_ok(fs_read_at(fd, path, out, 5, 6));
  assert_memory_equal(out, "world", 5);
  assert_ok(fs_read_some(fd, path, out, sizeof out, 6, &len));
  assert_int_equal(len, 5);
  assert_ok(fs_read_some(fd, path, out, sizeof out, 100, &len));
  assert_int_equal(len, 0);
  assert_ok(fs_read_at(fd, path, out, 0, 500));
  AUTO_ERR Error *err = fs_read_at(fd, path, out, 6, 6);
  assert_true(err_is(err, ERR_IO));
  assert_non_null(strstr(err_text(err), path));
  assert_non_null(strstr(err_text(err), "unexpected end at 11"));
  assert_err(fs_read_at(fd, path, out, 5, UINT64_MAX - 2), ERR_LIMIT);
  assert_err(fs_write_at(fd, path, out, 5, INT64_MAX), ERR_LIMIT);
}

static void errors_name_the_path(void **state) {
  AUTO_FREE char *path = fs_join((const char *)*state, "missing/file");
  int fd = -1;
  AUTO_ERR Error *err = fs_open(path, O_RDONLY, 0, &fd);
  assert_true(err_is(err, ERR_NOT_FOUND));
  assert_non_null(strstr(err_text(err), path));
  assert_int_equal(fd, -1);
  assert_err(fs_sync_dir(path), ERR_NOT_FOUND);
}

static void whole_files_have_a_limit(void **state) {
  AUTO_FREE char *path = fs_join((const char *)*state, "file");
  write_text(path, "12345");
  AUTO_BUF Buf body = {0};
  buf_add_str(&body, "kept ");
  assert_err(fs_read_file(path, 4, &body), ERR_LIMIT);
  assert_int_equal(body.len, 5);
  assert_ok(fs_read_file(path, 5, &body));
  assert_true(bytes_equal(buf_bytes(&body), bytes_str("kept 12345")));
  buf_clear(&body);
  assert_ok(fs_read_file("/proc/self/stat", 4096, &body)); /* says it is empty, is not */
  assert_true(body.len > 0);
  assert_err(fs_read_file((const char *)*state, 10, &body), ERR_IO);
}

/* The names in a directory, dots left out, as a count. */
static size_t count_entries(const char *path) {
  AUTO_FREE char *command = mem_printf("ls -A '%s' | wc -l", path);
  FILE *out = popen(command, "r");
  size_t count = 99;
  assert_int_equal(fscanf(out, "%zu", &count), 1);
  pclose(out);
  return count;
}

static void replacing_is_all_or_nothing(void **state) {
  const char *folder = (const char *)*state;
  AUTO_FREE char *path = fs_join(folder, "file");
  mode_t before = umask(077);
  assert_ok(fs_replace_file(path, bytes_str("one"), 0644));
  umask(before);
  struct stat st, second;
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_mode & 07777, 0644);
  AUTO_FD int old = -1;
  assert_ok(fs_open(path, O_RDONLY, 0, &old));
  assert_ok(fs_replace_file(path, bytes_str("second"), 0600));
  assert_content(path, "second");
  assert_int_equal(stat(path, &second), 0);
  assert_true(second.st_ino != st.st_ino);
  assert_int_equal(second.st_mode & 07777, 0600);
  char kept[3]; /* who has the old file open still sees it whole */
  assert_ok(fs_read_at(old, path, kept, 3, 0));
  assert_memory_equal(kept, "one", 3);
  assert_int_equal(count_entries(folder), 1);
}

static void a_failed_replacement_leaves_nothing(void **state) {
  const char *folder = (const char *)*state;
  AUTO_FREE char *path = fs_join(folder, "dir");
  assert_ok(fs_make_dirs(path, 0700));
  assert_err(fs_replace_file(path, bytes_str("x"), 0600), ERR_IO); /* a file cannot replace a directory */
  assert_int_equal(count_entries(folder), 1);
  AUTO_FREE char *file = fs_join(folder, "file");
  write_text(file, "old");
  struct rlimit limit, small;
  getrlimit(RLIMIT_FSIZE, &limit);
  small = limit;
  small.rlim_cur = 10;
  signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &small);
  Error *err = fs_replace_file(file, bytes_str("longer than ten bytes"), 0600);
  setrlimit(RLIMIT_FSIZE, &limit);
  assert_err(err, ERR_IO);
  assert_content(file, "old");
  assert_int_equal(count_entries(folder), 2);
}

static void directories_are_made(void **state) {
  AUTO_FREE char *path = fs_join((const char *)*state, "a//b/c/");
  assert_ok(fs_make_dirs(path, 0750));
  assert_ok(fs_make_dirs(path, 0700));
  struct stat st;
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_mode & 07777, 0750);
  assert_ok(fs_make_dirs("/", 0700));
  AUTO_FREE char *file = fs_join(path, "file");
  write_text(file, "");
  AUTO_FREE char *below = fs_join(file, "x");
  assert_err(fs_make_dirs(below, 0700), ERR_IO);
  assert_err(fs_make_dirs(file, 0700), ERR_IO);
}

static void removal_does_not_follow_links(void **state) {
  const char *folder = (const char *)*state;
  AUTO_FREE char *tree = fs_join(folder, "tree/sub");
  AUTO_FREE char *root = fs_join(folder, "tree");
  AUTO_FREE char *outside = fs_join(folder, "outside");
  AUTO_FREE char *precious = fs_join(outside, "precious");
  AUTO_FREE char *link = fs_join(tree, "link");
  AUTO_FREE char *file = fs_join(tree, "a\nname\xff");
  AUTO_FREE char *sealed = fs_join(tree, "fifo");
  assert_ok(fs_make_dirs(tree, 0700));
  assert_ok(fs_make_dirs(outside, 0700));
  write_text(precious, "keep me");
  write_text(file, "x");
  assert_int_equal(symlink(outside, link), 0);
  assert_int_equal(mkfifo(sealed, 0600), 0);
  assert_ok(fs_remove_tree(root));
  assert_false(fs_exists(root));
  assert_content(precious, "keep me");
  assert_ok(fs_remove_tree(root)); /* absent is success */

  AUTO_FREE char *top_link = fs_join(folder, "top");
  AUTO_FREE char *with_slash = fs_join(folder, "top/");
  assert_int_equal(symlink(outside, top_link), 0);
  assert_ok(fs_remove_tree(with_slash));
  assert_false(fs_exists(top_link));
  assert_content(precious, "keep me");
}

/* Deeper than PATH_MAX and than the limit of open files; wide enough for several reads of the directory. */
static void deep_and_wide_trees_are_removed(void **state) {
  AUTO_FREE char *root = fs_join((const char *)*state, "deep");
  assert_ok(fs_make_dirs(root, 0700));
  int at = open(root, O_RDONLY | O_DIRECTORY);
  for (int i = 0; i < 3000; i++) {
    assert_int_equal(mkdirat(at, "directory", 0700), 0);
    int next = openat(at, "directory", O_RDONLY | O_DIRECTORY);
    assert_true(next >= 0);
    close(at);
    at = next;
  }
  for (int i = 0; i < 2000; i++) {
    char name[16];
    snprintf(name, sizeof name, "%d", i);
    if (i % 4 == 0)
      assert_int_equal(mkdirat(at, name, 0700), 0);
    else
      close(openat(at, name, O_WRONLY | O_CREAT, 0600));
  }
  close(at);
  assert_ok(fs_remove_tree(root));
  assert_false(fs_exists(root));
}

static void assert_absolute(const char *path, const char *expected) {
  AUTO_FREE char *got = NULL;
  assert_ok(fs_absolute(path, &got));
  assert_string_equal(got, expected);
}

static void paths_become_absolute(void **state) {
  (void)state;
  assert_absolute("/", "/");
  assert_absolute("/a/./b//c/", "/a/b/c");
  assert_absolute("/a/b/../c", "/a/c");
  assert_absolute("/../../x", "/x");
  assert_absolute("/a/..", "/");
  assert_absolute("/a/...", "/a/...");
  AUTO_FREE char *cwd = getcwd(NULL, 0);
  AUTO_FREE char *inside = fs_join(cwd, "x/y");
  assert_absolute("x/./y", inside);
  assert_absolute("", cwd);
}

static void paths_join(void **state) {
  (void)state;
  static const char *const cases[][3] = {{"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"", "b", "b"}, {"/", "b", "/b"}};
  for (size_t i = 0; i < NELEMS(cases); i++) {
    AUTO_FREE char *joined = fs_join(cases[i][0], cases[i][1]);
    assert_string_equal(joined, cases[i][2]);
  }
}

static void free_space(void **state) {
  uint64_t bytes = 0;
  assert_ok(fs_free_space((const char *)*state, &bytes));
  assert_true(bytes > 0);
  assert_err(fs_free_space("/no/such/folder", &bytes), ERR_NOT_FOUND);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(positioned_reads_and_writes),
      TEST(errors_name_the_path),
      TEST(whole_files_have_a_limit),
      TEST(replacing_is_all_or_nothing),
      TEST(a_failed_replacement_leaves_nothing),
      TEST(directories_are_made),
      TEST(removal_does_not_follow_links),
      TEST(deep_and_wide_trees_are_removed),
      TEST(free_space),
      cmocka_unit_test(paths_become_absolute),
      cmocka_unit_test(paths_join),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
