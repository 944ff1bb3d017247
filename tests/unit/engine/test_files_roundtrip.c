/* restore(backup(x)) = x: generated trees, and what trees may hold that is out of the ordinary. */
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include "files_testing.h"

static void round_trip(Job *job, const char *source, const char *scratch) {
  AUTO_FREE char *target = at(scratch, "restored");
  job_backup(job);
  assert_int_equal(job->partial, 0);
  job_restore(job, target);
  assert_int_equal(job->partial, 0);
  AUTO_FREE char *before = describe(source);
  AUTO_FREE char *after = describe(target);
  assert_string_equal(after, before);
  assert_ok(fs_remove_tree(target));
}

static void set_time(const char *path, int64_t sec, long nsec) {
  struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = sec, .tv_nsec = nsec}};
  assert_int_equal(utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW), 0);
}

/* ---- generated trees ---- */

typedef struct Grower {
  uint64_t seed;
  unsigned files_left;
  char *some_file; /* for hard links */
} Grower;

static uint64_t below(Grower *g, uint64_t n) { return test_random(&g->seed) % n; }

/* A name of 1 to 12 arbitrary bytes but '/' and NUL. */
static char *random_name(Grower *g) {
  size_t len = 1 + below(g, 12);
  char *name = (char *)mem_alloc(len + 8);
  for (size_t i = 0; i < len; i++) {
    char c = (char)(1 + below(g, 255));
    name[i] = c == '/' ? '_' : c;
  }
  if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) name[0] = 'x';
  return name;
}

static void grow_file(Grower *g, const char *dir, const char *name) {
  static const size_t sizes[] = {0, 1, 100, 4096, 70000, 131072, 131073, 300000, 1 << 20, (1 << 20) + 5};
  put_random(dir, name, sizes[below(g, NELEMS(sizes))], g->seed);
  AUTO_FREE char *path = at(dir, name);
  assert_int_equal(chmod(path, (mode_t)below(g, 07777 + 1)), 0);
  if (below(g, 4) == 0) assert_int_equal(setxattr(path, "user.note", "a\0b", 3, 0), 0);
  set_time(path, (int64_t)below(g, 2000000000), (long)below(g, 1000000000));
  free(g->some_file);
  g->some_file = mem_strdup(path);
}

static void grow(Grower *g, const char *dir, unsigned depth) {
  unsigned count = 2 + (unsigned)below(g, 8);
  for (unsigned i = 0; i < count && g->files_left; i++) {
    AUTO_FREE char *name = random_name(g);
    AUTO_FREE char *path = at(dir, name);
    if (exists_at(dir, name)) continue;
    g->files_left--;
    switch (below(g, 6)) {
      case 0:
      case 1:
        assert_int_equal(mkdir(path, 0755), 0);
        if (depth < 6) grow(g, path, depth + 1);
        break;
      case 2: assert_int_equal(symlink("../somewhere/else", path), 0); break;
      case 3:
        if (g->some_file && link(g->some_file, path) == 0) break;
        __attribute__((fallthrough));
      default: grow_file(g, dir, name);
    }
  }
  assert_int_equal(chmod(dir, 0700 | (mode_t)below(g, 07777 + 1)), 0);
  set_time(dir, (int64_t)below(g, 2000000000), (long)below(g, 1000000000));
}

static void test_generated_trees(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 12; seed++) {
    char *scratch = scratch_new();
    AUTO_FREE char *source = at(scratch, "source");
    assert_int_equal(mkdir(source, 0755), 0);
    Grower g = {.seed = seed, .files_left = 150};
    grow(&g, source, 0);
    free(g.some_file);
    Job job = job_new(source);
    job.plan.readers = (unsigned)(seed % 3);
    round_trip(&job, source, scratch);
    job_free(&job);
    scratch_free(scratch);
  }
}

/* ---- out of the ordinary ---- */

static void test_special_files(void **state) {
  (void)state;
  char *scratch = scratch_new();
  AUTO_FREE char *source = at(scratch, "source");
  make_dir(scratch, "source/dir");
  AUTO_FREE char *fifo = at(source, "fifo");
  AUTO_FREE char *sock = at(source, "socket");
  AUTO_FREE char *null = at(source, "null");
  assert_int_equal(mkfifo(fifo, 0640), 0);
  assert_int_equal(mknod(sock, S_IFSOCK | 0600, 0), 0);
  if (geteuid() == 0) assert_int_equal(mknod(null, S_IFCHR | 0666, makedev(1, 3)), 0);
  Job job = job_new(source);
  round_trip(&job, source, scratch);
  assert_int_equal(job_fact(&job, "specials"), geteuid() == 0 ? 3 : 2);
  job_free(&job);
  scratch_free(scratch);
}

static void test_hard_links(void **state) {
  (void)state;
  char *scratch = scratch_new();
  AUTO_FREE char *source = at(scratch, "source");
  make_dir(scratch, "source/a");
  make_dir(scratch, "source/b");
  AUTO_FREE char *first = at(source, "a/first");
  AUTO_FREE char *second = at(source, "b/second");
  AUTO_FREE char *outside = at(scratch, "outside");
  put_random(source, "a/first", 200000, 3);
  assert_int_equal(link(first, second), 0);
  assert_int_equal(link(first, outside), 0); /* a third name that is not in the tree */
  Job job = job_new(source);
  job.plan.readers = 2;
  job_backup(&job);
  const MemoryNode *node = memory_tree_get(job.tree, "b/second");
  assert_non_null(node);
  assert_int_equal(node->entry->type, ENTRY_HARDLINK);
  assert_true(bytes_equal(node->entry->target, bytes_str("a/first")));
  assert_int_equal(job_fact(&job, "hardlinks"), 1);
  round_trip(&job, source, scratch);
  job_free(&job);
  scratch_free(scratch);
}

static void test_sparse(void **state) {
  (void)state;
  char *scratch = scratch_new();
  AUTO_FREE char *source = at(scratch, "source");
  make_dir(scratch, "source");
  AUTO_FREE char *path = at(source, "sparse");
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  assert_true(fd >= 0);
  const uint64_t size = 40 * MIB + 123;
  assert_int_equal(ftruncate(fd, (off_t)size), 0);
  assert_int_equal(pwrite(fd, "head", 4, 5), 4);
  assert_int_equal(pwrite(fd, "middle", 6, 20 * MIB + 777), 6);
  assert_int_equal(fsync(fd), 0);
  close(fd);
  Job job = job_new(source);
  job_backup(&job);
  const MemoryNode *node = memory_tree_get(job.tree, "sparse");
  assert_int_equal(node->written + node->hole_bytes, size);
  assert_true(node->written <= 3 * 128 * KIB); /* the frames that hold data, and no more */
  AUTO_FREE char *target = at(scratch, "restored");
  job_restore(&job, target);
  AUTO_FREE char *before = describe(source);
  AUTO_FREE char *after = describe(target);
  assert_string_equal(after, before);
  AUTO_FREE char *copy = at(target, "sparse");
  struct stat st;
  assert_int_equal(stat(copy, &st), 0);
  assert_true((uint64_t)st.st_blocks * 512 < MIB);
  job_free(&job);
  scratch_free(scratch);
}

static void test_acls(void **state) {
  (void)state;
  /* user::rw-, user:1000:r--, group::r--, mask::r--, other::--- as the kernel stores it. */
  static const uint8_t acl[] = {2, 0,    0,    0,    1,    0,    6,  0, 0xff, 0xff, 0xff, 0xff, 2,    0,   4,
                                0, 0xe8, 3,    0,    0,    4,    0,  4, 0,    0xff, 0xff, 0xff, 0xff, 16,  0,
                                4, 0,    0xff, 0xff, 0xff, 0xff, 32, 0, 0,    0,    0xff, 0xff, 0xff, 0xff};
  char *scratch = scratch_new();
  AUTO_FREE char *source = at(scratch, "source");
  make_dir(scratch, "source/dir");
  put(source, "file", "text");
  AUTO_FREE char *file = at(source, "file");
  AUTO_FREE char *dir = at(source, "dir");
  if (setxattr(file, "system.posix_acl_access", acl, sizeof acl, 0) != 0) {
    print_message("no ACLs on this file system: %s\n", strerror(errno));
    scratch_free(scratch);
    skip();
  }
  assert_int_equal(setxattr(dir, "system.posix_acl_default", acl, sizeof acl, 0), 0);
  Job job = job_new(source);
  round_trip(&job, source, scratch);
  const MemoryNode *node = memory_tree_get(job.tree, "file");
  assert_int_equal(node->entry->xattrs_len, 1);
  job_free(&job);
  scratch_free(scratch);
}

static void test_set_id_needs_the_owner(void **state) {
  (void)state;
  char *scratch = scratch_new();
  AUTO_FREE char *source = at(scratch, "source");
  AUTO_FREE char *target = at(scratch, "restored");
  make_dir(scratch, "source");
  put(source, "tool", "#!/bin/sh\n");
  AUTO_FREE char *tool = at(source, "tool");
  assert_int_equal(chmod(tool, 04755), 0);
  Job job = job_new(source);
  job.restore.owners = false;
  job_backup(&job);
  job_restore(&job, target);
  AUTO_FREE char *copy = at(target, "tool");
  struct stat st;
  assert_int_equal(stat(copy, &st), 0);
  assert_int_equal(st.st_mode & 07777, 0755);
  job_free(&job);
  scratch_free(scratch);
}

static void test_times_before_1970(void **state) {
  (void)state;
  char *scratch = scratch_new();
  AUTO_FREE char *source = at(scratch, "source");
  make_dir(scratch, "source");
  put(source, "old", "old");
  AUTO_FREE char *old = at(source, "old");
  set_time(old, -86400, 250000001);
  Job job = job_new(source);
  round_trip(&job, source, scratch);
  job_free(&job);
  scratch_free(scratch);
}

/* Deeper than PATH_MAX by far. */
enum { DEEP = 3000 };

static void test_deep_tree(void **state) {
  (void)state;
  char *scratch = scratch_new();
  AUTO_FREE char *source = at(scratch, "source");
  AUTO_FREE char *target = at(scratch, "restored");
  make_dir(scratch, "source");
  int fd = open(source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  for (int i = 0; i < DEEP; i++) {
    assert_int_equal(mkdirat(fd, "0123456789", 0755), 0);
    int next = openat(fd, "0123456789", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(next >= 0);
    if (i % 500 == 0) {
      int file = openat(fd, "z-after", O_WRONLY | O_CREAT | O_CLOEXEC, 0600); /* met on the way back up */
      assert_int_equal(write(file, "up", 2), 2);
      close(file);
    }
    close(fd);
    fd = next;
  }
  int file = openat(fd, "bottom", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  assert_int_equal(write(file, "deep", 4), 4);
  close(file);
  close(fd);
  Job job = job_new(source);
  job_backup(&job);
  assert_int_equal(job.partial, 0);
  assert_int_equal(job.tree->len, 1 + DEEP + 6 + 1);
  job_restore(&job, target);
  assert_int_equal(job.partial, 0);
  fd = open(target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  for (int i = 0; i < DEEP; i++) {
    assert_int_equal(faccessat(fd, "z-after", R_OK, 0), i % 500 == 0 ? 0 : -1);
    int next = openat(fd, "0123456789", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(next >= 0);
    struct stat st;
    assert_int_equal(fstat(next, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
    close(fd);
    fd = next;
  }
  char text[8] = {0};
  file = openat(fd, "bottom", O_RDONLY | O_CLOEXEC);
  assert_int_equal(read(file, text, sizeof text), 4);
  assert_string_equal(text, "deep");
  close(file);
  close(fd);
  job_free(&job);
  scratch_free(scratch);
}

static void test_single_file(void **state) {
  (void)state;
  char *scratch = scratch_new();
  put_random(scratch, "one.bin", 500000, 1);
  AUTO_FREE char *path = at(scratch, "one.bin");
  AUTO_FREE char *target = at(scratch, "new/other.bin");
  Job job = job_new(path);
  job.restore.no_sync = false;
  job_backup(&job);
  assert_int_equal(job.tree->len, 1);
  job_restore(&job, target);
  AUTO_FREE char *before = describe(path);
  AUTO_FREE char *after = describe(target);
  assert_string_equal(after, before);
  assert_err(job_try_restore(&job, target), ERR_NOT_EMPTY);
  job_free(&job);
  scratch_free(scratch);
}

static void test_several_paths(void **state) {
  (void)state;
  char *scratch = scratch_new();
  make_dir(scratch, "srv/a/deep");
  make_dir(scratch, "srv/b");
  put(scratch, "srv/a/deep/x.conf", "x");
  put(scratch, "srv/b/y.conf", "y");
  put(scratch, "srv/b/ignored", "n");
  AUTO_FREE char *a = at(scratch, "srv/a");
  AUTO_FREE char *nested = at(scratch, "srv/a/deep");
  AUTO_FREE char *glob = at(scratch, "srv/b/*.conf");
  AUTO_FREE char *missing = at(scratch, "srv/none");
  Job job = job_new(a);
  strlist_add(&job.spec.paths, nested);
  strlist_add(&job.spec.paths, glob);
  job_backup(&job);
  assert_int_equal(job.partial, 0);
  AUTO_FREE char *target = at(scratch, "restored");
  job_restore(&job, target);
  AUTO_FREE char *copy = at(target, scratch + 1);
  AUTO_FREE char *text = get_text(copy, "srv/a/deep/x.conf");
  assert_string_equal(text, "x");
  assert_true(exists_at(copy, "srv/b/y.conf"));
  assert_false(exists_at(copy, "srv/b/ignored"));
  strlist_add(&job.spec.paths, missing);
  job_backup(&job);
  assert_int_equal(job.partial, 1);
  job_free(&job);
  job = job_new(missing);
  assert_err(job_try_backup(&job), ERR_UNREACHABLE);
  job_free(&job);
  job = job_new("relative/path");
  assert_err(job_try_backup(&job), ERR_USAGE);
  job_free(&job);
  scratch_free(scratch);
}

/* A link named by the operator stands for what it points to; one found by the walk is a link. */
static void test_links_as_roots(void **state) {
  (void)state;
  char *scratch = scratch_new();
  make_dir(scratch, "v2");
  put(scratch, "v2/file", "2");
  AUTO_FREE char *current = at(scratch, "current");
  AUTO_FREE char *loop = at(scratch, "v2/up");
  assert_int_equal(symlink("v2", current), 0);
  assert_int_equal(symlink("..", loop), 0);
  Job job = job_new(current);
  job_backup(&job);
  assert_non_null(memory_tree_get(job.tree, "file"));
  assert_int_equal(memory_tree_get(job.tree, "up")->entry->type, ENTRY_SYMLINK);
  assert_int_equal(job.tree->len, 3);
  job_free(&job);
  scratch_free(scratch);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_generated_trees),
      cmocka_unit_test(test_special_files),
      cmocka_unit_test(test_hard_links),
      cmocka_unit_test(test_sparse),
      cmocka_unit_test(test_acls),
      cmocka_unit_test(test_set_id_needs_the_owner),
      cmocka_unit_test(test_times_before_1970),
      cmocka_unit_test(test_deep_tree),
      cmocka_unit_test(test_single_file),
      cmocka_unit_test(test_several_paths),
      cmocka_unit_test(test_links_as_roots),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
