#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/mem.h"
#include "store/store_file.h"
#include "sys/fs.h"

#include "store_conformance.h"
#include "testing.h"

/* A directory for one test. */
static char *scratch(void) {
  char *dir = mem_strdup("/tmp/holdfast-store-XXXXXX");
  assert_non_null(mkdtemp(dir));
  return dir;
}

static void discard(char *take_dir) {
  assert_ok(fs_remove_tree(take_dir));
  free(take_dir);
}

static Store *open_store(const char *dir) {
  Store *store;
  assert_ok(store_file_open(sys_real(), dir, true, &store));
  return store;
}

static size_t files_in(const char *dir, const char *name) {
  AUTO_FREE char *path = fs_join(dir, name);
  DIR *stream = opendir(path);
  if (!stream) {
    assert_int_equal(errno, ENOENT);
    return 0;
  }
  size_t count = 0;
  for (const struct dirent *e; (e = readdir(stream));)
    count += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
  closedir(stream);
  return count;
}

static void put_text(Store *store, const char *key, const char *text) {
  assert_ok(store_put(store, key, bytes_str(text), PUT_NEW, NULL));
}

static Store *fresh(void *ctx) {
  unsigned *number = (unsigned *)((void **)ctx)[1];
  AUTO_FREE char *path = mem_printf("%s/%u", (const char *)((void **)ctx)[0], ++*number);
  return open_store(path);
}

static void test_conformance(void **state UNUSED) {
  char *dir = scratch();
  unsigned number = 0;
  void *ctx[] = {dir, &number};
  store_conformance(fresh, ctx);
  for (unsigned i = 1; i <= number; i++) {
    AUTO_FREE char *tmp = mem_printf("%u/tmp", i);
    assert_int_equal(files_in(dir, tmp), 0);
  }
  discard(dir);
}

static void test_open(void **state UNUSED) {
  char *dir = scratch();
  AUTO_FREE char *deep = mem_printf("%s/a/b/c", dir), *file = mem_printf("%s/file", dir);
  Store *store;
  Error *err = store_file_open(sys_real(), deep, false, &store);
  assert_true(err_is(err, ERR_NOT_FOUND));
  assert_non_null(strstr(err_hint_text(err), "holdfast init"));
  assert_non_null(strstr(err_text(err), deep));
  err_free(err);
  assert_false(fs_exists(deep));
  assert_ok(fs_replace_file(file, bytes_str("x"), 0600));
  assert_err(store_file_open(sys_real(), file, false, &store), ERR_USAGE);
  err_ignore(store_file_open(sys_real(), file, true, &store));
  AUTO_FREE char *below = mem_printf("%s/below", file);
  Error *refused = store_file_open(sys_real(), below, true, &store);
  assert_non_null(refused);
  err_free(refused);
  store_free(open_store(deep));
  assert_ok(store_file_open(sys_real(), deep, false, &store));
  assert_string_equal(store->name, deep);
  store_free(store);
  discard(dir);
}

static void expect_mode(const char *dir, const char *name, mode_t mode) {
  AUTO_FREE char *path = fs_join(dir, name);
  struct stat st;
  assert_int_equal(lstat(path, &st), 0);
  assert_int_equal(st.st_mode & 07777, mode);
}

static void test_modes(void **state UNUSED) {
  static const mode_t masks[] = {0, 022, 0777};
  for (size_t i = 0; i < NELEMS(masks); i++) {
    char *dir = scratch();
    AUTO_FREE char *root = fs_join(dir, "root");
    mode_t before = umask(masks[i] == 0777 ? 077 : masks[i]); /* the way to the root is not ours to mend */
    Store *store = open_store(root);
    umask(masks[i]);
    put_text(store, "packs/aa/1", "x");
    StorePut *put;
    assert_ok(store_put_begin(store, "packs/bb/2", PUT_REPLACE, &put, NULL));
    assert_ok(store_put_commit(put, NULL));
    umask(before);
    store_free(store);
    static const char *const dirs[] = {"", "tmp", "packs", "packs/aa", "packs/bb"};
    for (size_t d = 0; d < NELEMS(dirs); d++) expect_mode(root, dirs[d], 0700);
    expect_mode(root, "packs/aa/1", 0600);
    expect_mode(root, "packs/bb/2", 0600);
    discard(dir);
  }
}

static void make_at(int root, const char *name) {
  AUTO_FD int fd = openat(root, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, "foreign", 7), 7);
}

static void test_foreign_files(void **state UNUSED) {
  char *dir = scratch();
  Store *store = open_store(dir);
  put_text(store, "packs/aa/1", "x");
  AUTO_FD int root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  static const char *const names[] = {".DS_Store",   "read me",       "packs/.nfs0001",
                                      "packs/aa/~1", "packs/aa/\xff", "tmp/README"};
  for (size_t i = 0; i < NELEMS(names); i++) make_at(root, names[i]);
  assert_int_equal(mkdirat(root, "lost+found", 0), 0);
  assert_int_equal(mkdirat(root, ".snapshot", 0700), 0);
  make_at(root, ".snapshot/1");
  assert_int_equal(symlinkat("packs", root, "linked"), 0);
  assert_int_equal(symlinkat("1", root, "packs/aa/link"), 0);
  assert_int_equal(symlinkat("nowhere", root, "packs/aa/dangling"), 0);
  assert_int_equal(mkfifoat(root, "packs/aa/pipe", 0600), 0);
  assert_int_equal(mkdirat(root, "packs/bb", 0700), 0);
  assert_int_equal(store_count(store, ""), 1);
  assert_int_equal(store_count(store, "linked/"), 0);
  static const char *const not_objects[] = {"linked/aa/1",   "packs/aa/link",   "packs/aa/dangling",
                                            "packs/aa/pipe", "packs/bb",        "packs",
                                            "linked",        "packs/aa/1/below"};
  for (size_t i = 0; i < NELEMS(not_objects); i++) {
    StoreStat st;
    uint8_t byte;
    assert_err(store_get(store, not_objects[i], 0, 1, &byte, NULL), ERR_NOT_FOUND);
    assert_err(store_stat(store, not_objects[i], &st, NULL), ERR_NOT_FOUND);
    assert_ok(store_remove(store, not_objects[i], NULL));
  }
  static const char *const still[] = {"packs/aa/link", "packs/aa/dangling", "packs/aa/pipe", "packs/bb", "linked"};
  for (size_t i = 0; i < NELEMS(still); i++) {
    struct stat st;
    assert_int_equal(fstatat(root, still[i], &st, AT_SYMLINK_NOFOLLOW), 0);
  }
  assert_err(store_put(store, "packs/aa/link", bytes_str("y"), PUT_NEW, NULL), ERR_EXISTS);
  Error *err = store_put(store, "linked/aa/2", bytes_str("y"), PUT_NEW, NULL);
  assert_non_null(err);
  err_free(err);
  store_expect(store, "packs/aa/1", bytes_str("x"));
  assert_int_equal(store_count(store, ""), 1);
  assert_int_equal(files_in(dir, "tmp"), 1);
  store_free(store);
  assert_int_equal(fchmodat(root, "lost+found", 0700, 0), 0);
  discard(dir);
}

/* What another process, here another Store, does to an object shows through the open descriptors. */
static void test_changed_by_another(void **state UNUSED) {
  char *dir = scratch();
  Store *a = open_store(dir), *b = open_store(dir);
  put_text(a, "k", "0123456789");
  store_expect(b, "k", bytes_str("0123456789"));
  assert_ok(store_remove(a, "k", NULL));
  uint8_t byte;
  assert_err(store_get(b, "k", 0, 1, &byte, NULL), ERR_NOT_FOUND);
  put_text(a, "k", "anew");
  store_expect(b, "k", bytes_str("anew"));
  assert_ok(store_put(a, "k", bytes_str("replaced"), PUT_REPLACE, NULL));
  store_expect(b, "k", bytes_str("replaced"));
  AUTO_FREE char *path = fs_join(dir, "k");
  assert_int_equal(truncate(path, 3), 0);
  assert_err(store_get(b, "k", 0, 4, &byte, NULL), ERR_CORRUPT);
  store_free(a);
  store_free(b);
  discard(dir);
}

static void test_directory_vanishes(void **state UNUSED) {
  char *dir = scratch();
  Store *store = open_store(dir);
  put_text(store, "packs/aa/1", "x");
  AUTO_FREE char *packs = fs_join(dir, "packs"), *tmp = fs_join(dir, "tmp");
  assert_ok(fs_remove_tree(packs));
  assert_ok(fs_remove_tree(tmp));
  assert_int_equal(store_count(store, ""), 0);
  put_text(store, "packs/aa/1", "y");
  store_expect(store, "packs/aa/1", bytes_str("y"));
  store_free(store);
  discard(dir);
}

static size_t open_descriptors(void) { return files_in("/proc/self", "fd"); }

static void test_descriptors(void **state UNUSED) {
  char *dir = scratch();
  size_t before = open_descriptors();
  Store *store = open_store(dir);
  for (int i = 0; i < 150; i++) {
    char key[32];
    snprintf(key, sizeof key, "d/%03d", i);
    put_text(store, key, key);
    store_expect(store, key, bytes_str(key));
  }
  assert_true(open_descriptors() <= before + 64 + 1);
  assert_int_equal(store_count(store, ""), 150);
  uint8_t byte;
  assert_err(store_get(store, "absent/x", 0, 1, &byte, NULL), ERR_NOT_FOUND);
  assert_err(store_put(store, "d/001", bytes_str("x"), PUT_NEW, NULL), ERR_EXISTS);
  store_free(store);
  assert_int_equal(open_descriptors(), before);
  discard(dir);
}

/* ---- temporary files ---- */

static void age(int tmp, const char *name, time_t seconds) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  now.tv_sec -= seconds;
  struct timespec times[2] = {now, now};
  assert_int_equal(utimensat(tmp, name, times, 0), 0);
}

static void test_stale_temporaries(void **state UNUSED) {
  static const char *const names[] = {"00112233445566778899aabbccddeeff", "10112233445566778899aabbccddeeff",
                                      "20112233445566778899aabbccddeeff", "README"};
  char *dir = scratch();
  AUTO_FREE char *path = fs_join(dir, "tmp");
  assert_int_equal(mkdir(path, 0700), 0);
  AUTO_FD int tmp = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  for (size_t i = 0; i < NELEMS(names); i++) make_at(tmp, names[i]);
  age(tmp, names[0], 25 * 3600); /* goes */
  age(tmp, names[1], 23 * 3600); /* too young */
  age(tmp, names[2], 99 * 3600); /* its writer lives */
  age(tmp, names[3], 99 * 3600); /* not ours */
  AUTO_FD int held = openat(tmp, names[2], O_RDONLY | O_CLOEXEC);
  assert_int_equal(flock(held, LOCK_EX), 0);
  Store *store = open_store(dir);
  assert_int_equal(store_count(store, ""), 0);
  assert_int_equal(files_in(dir, "tmp"), 4); /* reading removes nothing */
  put_text(store, "a", "x");
  assert_int_equal(faccessat(tmp, names[0], F_OK, 0), -1);
  for (size_t i = 1; i < NELEMS(names); i++) assert_int_equal(faccessat(tmp, names[i], F_OK, 0), 0);
  store_free(store);
  discard(dir);
}

static void test_no_temporaries_left(void **state UNUSED) {
  char *dir = scratch();
  Store *store = open_store(dir);
  put_text(store, "a", "x");
  assert_err(store_put(store, "a", bytes_str("y"), PUT_NEW, NULL), ERR_EXISTS);
  Error *err = store_put(store, "a/b", bytes_str("y"), PUT_NEW, NULL); /* the way is barred by an object */
  assert_non_null(err);
  err_free(err);
  StorePut *put;
  Cancel cancel = {0};
  assert_ok(store_put_begin(store, "b", PUT_NEW, &put, NULL));
  assert_int_equal(files_in(dir, "tmp"), 1);
  cancel_set(&cancel, -1);
  assert_err(store_put_commit(put, &cancel), ERR_CANCELLED);
  assert_ok(store_put_begin(store, "b", PUT_NEW, &put, NULL));
  assert_ok(store_put_write(put, bytes_str("z"), NULL));
  store_put_abort(put);
  assert_ok(store_put(store, "b", bytes_str("z"), PUT_REPLACE, NULL));
  assert_int_equal(files_in(dir, "tmp"), 0);
  store_free(store);
  discard(dir);
}

/* ---- full and read-only file systems ---- */

static void expect_no_room(Error *take, bool full) {
  assert_non_null(take);
  if (full) {
    assert_int_equal(err_code(take), ERR_NO_SPACE);
    assert_non_null(strstr(err_hint_text(take), "make room"));
  }
  err_free(take);
}

/* Nothing that does not fit becomes visible or stays behind; `full` when it is the disk that is too small. */
static void check_no_room(const char *dir, bool full) {
  enum { BIG = 3 << 20, PART = 256 << 10 };
  Store *store = open_store(dir);
  AUTO_FREE uint8_t *data = store_sample(9, BIG);
  put_text(store, "fits", "x");
  expect_no_room(store_put(store, "big", bytes(data, BIG), PUT_NEW, NULL), full);
  StorePut *put;
  assert_ok(store_put_begin(store, "big", PUT_NEW, &put, NULL));
  Error *err = NULL;
  for (size_t at = 0; at < BIG && !err; at += PART) err = store_put_write(put, bytes(data + at, PART), NULL);
  expect_no_room(err, full);
  store_put_abort(put);
  expect_no_room(store_put(store, "fits", bytes(data, BIG), PUT_REPLACE, NULL), full);
  assert_int_equal(files_in(dir, "tmp"), 0);
  assert_int_equal(store_count(store, ""), 1);
  store_expect(store, "fits", bytes_str("x"));
  assert_ok(store_put(store, "later", bytes(data, PART), PUT_NEW, NULL));
  store_expect(store, "later", bytes(data, PART));
  store_free(store);
}

static bool mount_small(const char *dir) {
  return geteuid() == 0 && mount("holdfast-test", dir, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=0700") == 0;
}

static void test_no_space(void **state UNUSED) {
  char *dir = scratch();
  if (mount_small(dir)) {
    check_no_room(dir, true);
    assert_int_equal(umount2(dir, MNT_DETACH), 0);
  } else {
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 1 << 20;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    check_no_room(dir, false);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, handler);
  }
  discard(dir);
}

static void check_read_only(const char *dir) {
  Store *store;
  assert_ok(store_file_open(sys_real(), dir, false, &store));
  store_expect(store, "packs/aa/1", bytes_str("x"));
  assert_int_equal(store_count(store, ""), 1);
  Error *err = store_put(store, "packs/aa/2", bytes_str("y"), PUT_NEW, NULL);
  assert_true(err_is(err, ERR_DENIED));
  assert_non_null(err_hint_text(err));
  err_free(err);
  assert_err(store_remove(store, "packs/aa/1", NULL), ERR_DENIED);
  assert_int_equal(store_count(store, ""), 1);
  store_free(store);
}

static void test_read_only(void **state UNUSED) {
  char *dir = scratch();
  bool mounted = mount_small(dir);
  if (!mounted && geteuid() == 0) skip(); /* modes do not bind root */
  AUTO_FREE char *aa = fs_join(dir, "packs/aa"), *packs = fs_join(dir, "packs"), *object = fs_join(aa, "1");
  assert_ok(fs_make_dirs(aa, 0700));
  assert_ok(fs_replace_file(object, bytes_str("x"), 0600));
  if (mounted) {
    assert_int_equal(mount(NULL, dir, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
  } else {
    assert_int_equal(chmod(aa, 0500) | chmod(packs, 0500) | chmod(dir, 0500), 0);
  }
  check_read_only(dir);
  assert_false(files_in(dir, "tmp"));
  if (mounted)
    assert_int_equal(umount2(dir, MNT_DETACH), 0);
  else
    assert_int_equal(chmod(dir, 0700) | chmod(packs, 0700) | chmod(aa, 0700), 0);
  discard(dir);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_conformance),
      cmocka_unit_test(test_open),
      cmocka_unit_test(test_modes),
      cmocka_unit_test(test_foreign_files),
      cmocka_unit_test(test_changed_by_another),
      cmocka_unit_test(test_directory_vanishes),
      cmocka_unit_test(test_descriptors),
      cmocka_unit_test(test_stale_temporaries),
      cmocka_unit_test(test_no_temporaries_left),
      cmocka_unit_test(test_no_space),
      cmocka_unit_test(test_read_only),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
