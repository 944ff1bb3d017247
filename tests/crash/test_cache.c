/* The local cache of index segments may be lost, stale, torn or of another machine, and may be shared: it never changes
 * what a backup, a verification or a restore does. */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "codec/secret.h"
#include "store/store_file.h"
#include "sys/fs.h"

#include "repo_tools.h"
#include "seeds.h"
#include "testing.h"

typedef struct Fixture {
  char *dir, *repo_dir, *cache;
  Model model;
  uint64_t seed;
} Fixture;

static Store *open_store(const Fixture *f) {
  Store *store;
  assert_ok(store_file_open(sys_real(), f->repo_dir, true, &store));
  return store;
}

static Repo *open_repo(const Fixture *f) {
  Repo *repo;
  assert_ok(model_repo_open(sys_real(), open_store(f), f->cache, &repo));
  return repo;
}

static int setup(void **state) {
  Fixture *f = NEW(Fixture);
  char template[] = "/tmp/holdfast-cache-XXXXXX";
  assert_non_null(mkdtemp(template));
  f->dir = mem_strdup(template);
  f->repo_dir = fs_join(f->dir, "repo");
  f->cache = fs_join(f->dir, "cache");
  f->seed = seeds_begin(31);
  f->model = tools_model(&f->seed);
  Repo *repo;
  assert_ok(model_repo_init(sys_real(), open_store(f), f->cache, &repo));
  tools_backup(repo, &f->model, NULL);
  repo_free(repo);
  *state = f;
  return 0;
}

static int teardown(void **state) {
  Fixture *f = (Fixture *)*state;
  assert_ok(fs_remove_tree(f->dir));
  model_free(&f->model);
  free(f->dir);
  free(f->repo_dir);
  free(f->cache);
  free(f);
  return 0;
}

/* Everything works, and nothing known is stored again. */
static void expect_works(Fixture *f) {
  Repo *repo = open_repo(f);
  tools_expect_clean(repo);
  Snapshot s;
  tools_backup(repo, &f->model, &s);
  assert_int_equal(s.stats.new_bytes, 0);
  assert_ok(model_compare(repo, &s, &f->model, NULL));
  snapshot_free(&s);
  tools_change(&f->model, &f->seed);
  tools_backup(repo, &f->model, &s);
  assert_ok(model_compare(repo, &s, &f->model, NULL));
  snapshot_free(&s);
  tools_expect_clean(repo);
  repo_free(repo);
}

typedef void CacheFile(const char *path, Fixture *f);

static unsigned each_cached(Fixture *f, CacheFile *visit) {
  Repo *repo = open_repo(f);
  AUTO_FREE char *dir = fs_join(repo->cache_dir, "index");
  repo_free(repo);
  DIR *files = opendir(dir);
  assert_non_null(files);
  unsigned n = 0;
  for (struct dirent *file; (file = readdir(files));) {
    if (file->d_name[0] == '.') continue;
    AUTO_FREE char *path = fs_join(dir, file->d_name);
    visit(path, f);
    n++;
  }
  closedir(files);
  assert_true(n > 0);
  return n;
}

static void cut(const char *path, Fixture *f) {
  struct stat st;
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(truncate(path, (off_t)(test_random(&f->seed) % (uint64_t)st.st_size)), 0);
}

static void flip(const char *path, Fixture *f) {
  int fd = open(path, O_RDWR | O_CLOEXEC);
  struct stat st;
  assert_true(fd >= 0 && fstat(fd, &st) == 0);
  off_t at = (off_t)(test_random(&f->seed) % (uint64_t)st.st_size);
  uint8_t byte;
  assert_int_equal(pread(fd, &byte, 1, at), 1);
  byte ^= 0x10;
  assert_int_equal(pwrite(fd, &byte, 1, at), 1);
  close(fd);
}

static void make_empty(const char *path, Fixture *f UNUSED) { assert_int_equal(truncate(path, 0), 0); }

static void make_directory(const char *path, Fixture *f UNUSED) {
  assert_int_equal(unlink(path), 0);
  assert_int_equal(mkdir(path, 0700), 0);
}

static void test_lost(void **state) {
  Fixture *f = (Fixture *)*state;
  assert_ok(fs_remove_tree(f->cache));
  expect_works(f);
}

static void test_torn(void **state) {
  Fixture *f = (Fixture *)*state;
  CacheFile *const damages[] = {cut, flip, make_empty, cut, flip, make_directory};
  unsigned rounds = seeds_rounds(NELEMS(damages));
  for (unsigned i = 0; i < rounds; i++) {
    if (i && i % NELEMS(damages) == 0) { /* the last left a directory, which stays */
      assert_ok(fs_remove_tree(f->cache));
      expect_works(f);
    }
    each_cached(f, damages[i % NELEMS(damages)]);
    expect_works(f);
  }
}

/* One segment's cache under another's name: the bytes are right in themselves. */
static void test_exchanged(void **state) {
  Fixture *f = (Fixture *)*state;
  expect_works(f);
  Repo *repo = open_repo(f);
  AUTO_STRLIST StrList segments = tools_keys(repo->store, "index/");
  assert_true(segments.len >= 2);
  AUTO_FREE char *a = fs_join(repo->cache_dir, segments.items[0]), *b = fs_join(repo->cache_dir, segments.items[1]);
  AUTO_FREE char *swap = fs_join(f->dir, "swap");
  repo_free(repo);
  assert_int_equal(rename(a, swap), 0);
  assert_int_equal(rename(b, a), 0);
  assert_int_equal(rename(swap, b), 0);
  expect_works(f);
}

static void test_unwritable(void **state) {
  Fixture *f = (Fixture *)*state;
  assert_ok(fs_remove_tree(f->cache));
  int fd = open(f->cache, O_CREAT | O_WRONLY | O_CLOEXEC, 0600); /* a file where the folder should be */
  assert_true(fd >= 0);
  close(fd);
  expect_works(f);
}

/* A cache that survived a sweep: the segment is gone from the store, and with it what it named. */
static void test_removed_segment(void **state) {
  Fixture *f = (Fixture *)*state;
  Repo *repo = open_repo(f);
  AUTO_STRLIST StrList segments = tools_keys(repo->store, "index/");
  for (size_t i = 0; i < segments.len; i++) assert_ok(store_remove(repo->store, segments.items[i], NULL));
  Index *index;
  assert_ok(index_open(repo, &index, NULL));
  assert_int_equal(index_segments(index), 0);
  assert_int_equal(index_frames(index), 0);
  index_free(index);
  AUTO_FREE char *cached = fs_join(repo->cache_dir, segments.items[0]);
  assert_false(fs_exists(cached)); /* nor does it stay on the disk for ever */
  ModelBackup how = {.source = "m", .full = true};
  Snapshot s;
  assert_ok(model_backup(repo, &f->model, &how, &s, NULL));
  assert_true(s.stats.new_bytes > 0);
  assert_ok(model_compare(repo, &s, &f->model, NULL));
  snapshot_free(&s);
  repo_free(repo);
}

/* Two processes with one cache, one of them starting while the other publishes. */
static void test_shared(void **state) {
  Fixture *f = (Fixture *)*state;
  Repo *a = open_repo(f), *b = open_repo(f);
  for (unsigned i = seeds_rounds(4); i > 0; i--) {
    Index *index;
    assert_ok(index_open(b, &index, NULL));
    tools_change(&f->model, &f->seed);
    tools_backup(a, &f->model, NULL);
    Snapshot s;
    tools_backup(b, &f->model, &s);
    assert_int_equal(s.stats.new_bytes, 0);
    snapshot_free(&s);
    index_free(index);
  }
  tools_expect_clean(a);
  repo_free(a);
  repo_free(b);
}

int main(void) {
  seeds_say();
  secret_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_lost, setup, teardown),
      cmocka_unit_test_setup_teardown(test_torn, setup, teardown),
      cmocka_unit_test_setup_teardown(test_exchanged, setup, teardown),
      cmocka_unit_test_setup_teardown(test_unwritable, setup, teardown),
      cmocka_unit_test_setup_teardown(test_removed_segment, setup, teardown),
      cmocka_unit_test_setup_teardown(test_shared, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
