/* Restores that meet something: hostile trees, what is there already, selections, failures on the way. */
#include "files_testing.h"

static const char FACTS[] =
    "{\"engine\":\"files\",\"layout\":\"directory\",\"files\":0,\"directories\":0,\"symlinks\":0,\"hardlinks\":0,"
    "\"specials\":0,\"bytes\":0,\"started_ns\":0,\"unpacked_rotations\":0}";

/* ---- trees made by hand ---- */

typedef struct Forged {
  MemoryTree tree;
  MemoryNode nodes[16];
} Forged;

static void forge(Forged *forged, const char *path, EntryType type, const char *text) {
  Entry entry = {.path = bytes_str(path), .type = type, .mode = 0755};
  bool file = type == ENTRY_FILE;
  if (file) entry.size = strlen(text);
  if (!file && text) entry.target = bytes_str(text);
  MemoryNode *node = &forged->nodes[forged->tree.len++];
  *node = (MemoryNode){.entry = entry_copy(&entry), .has_content = file};
  if (file) node->data = (uint8_t *)mem_strdup(text);
  forged->tree.nodes = forged->nodes;
}

static void forged_free(Forged *forged) {
  for (size_t i = 0; i < forged->tree.len; i++) {
    entry_free(forged->nodes[i].entry);
    free(forged->nodes[i].data);
  }
}

/* Restores it and returns how many PARTIAL notices there were. */
static size_t restore_forged(Forged *forged, const char *target, bool overwrite) {
  Engine *engine;
  SourceSpec spec = {.type = "files"};
  assert_ok(files_engine_open(sys_real(), &spec, &engine));
  MemorySource *source = memory_source_new(sys_real(), &forged->tree, FACTS, 1, 1);
  RestorePlan plan = {.target = target, .no_sync = true, .overwrite = overwrite};
  assert_ok(engine->ops->restore(engine, &plan, memory_source(source), NULL));
  size_t partial = memory_source_notices(source, NOTICE_PARTIAL, NULL);
  memory_source_free(source);
  engine->ops->free(engine);
  return partial;
}

static void test_hostile_paths(void **state) {
  (void)state;
  char *scratch = scratch_new();
  AUTO_FREE char *target = at(scratch, "a/b/target");
  put(scratch, "victim", "whole");
  AUTO_FREE char *absolute = at(scratch, "absolute");
  Forged forged = {0};
  forge(&forged, "", ENTRY_DIR, NULL);
  forge(&forged, "../escaped", ENTRY_FILE, "x");
  forge(&forged, "d/../../escaped", ENTRY_FILE, "x");
  forge(&forged, absolute, ENTRY_FILE, "x");
  forge(&forged, "d//x", ENTRY_FILE, "x");
  forge(&forged, "./y", ENTRY_FILE, "x");
  forge(&forged, "..", ENTRY_DIR, NULL);
  forge(&forged, "../link", ENTRY_SYMLINK, "x");
  forge(&forged, "../fifo", ENTRY_FIFO, NULL);
  forge(&forged, "../empty", ENTRY_FILE, "");
  forge(&forged, "hard", ENTRY_HARDLINK, "../../../victim");
  forge(&forged, "fine", ENTRY_FILE, "fine");
  assert_int_equal(restore_forged(&forged, target, false), 10);
  AUTO_FREE char *text = get_text(target, "fine");
  assert_string_equal(text, "fine");
  AUTO_FREE char *all = describe(scratch);
  assert_null(strstr(all, "escaped"));
  assert_null(strstr(all, "absolute|"));
  assert_null(strstr(all, "fifo"));
  assert_null(strstr(all, "empty"));
  assert_null(strstr(all, "hard"));
  forged_free(&forged);
  scratch_free(scratch);
}

/* A link in the tree, and then content "below" it. */
static void test_through_own_link(void **state) {
  (void)state;
  char *scratch = scratch_new();
  AUTO_FREE char *target = at(scratch, "target");
  make_dir(scratch, "outside");
  Forged forged = {0};
  forge(&forged, "", ENTRY_DIR, NULL);
  forge(&forged, "link", ENTRY_SYMLINK, "../outside");
  forge(&forged, "link/planted", ENTRY_FILE, "x");
  forge(&forged, "link/dir", ENTRY_DIR, NULL);
  assert_int_equal(restore_forged(&forged, target, false), 1); /* the link itself: a directory is in its place */
  assert_false(exists_at(scratch, "outside/planted"));
  assert_false(exists_at(scratch, "outside/dir"));
  assert_true(exists_at(target, "link/planted"));
  forged_free(&forged);
  scratch_free(scratch);
}

/* A link that stands in the target already. */
static void test_through_existing_link(void **state) {
  (void)state;
  char *scratch = scratch_new();
  AUTO_FREE char *target = at(scratch, "target");
  make_dir(scratch, "outside");
  make_dir(scratch, "target");
  put(scratch, "outside/file", "whole");
  AUTO_FREE char *link = at(target, "link");
  AUTO_FREE char *leaf = at(target, "leaf");
  assert_int_equal(symlink("../outside", link), 0);
  assert_int_equal(symlink("../outside/file", leaf), 0);
  Forged forged = {0};
  forge(&forged, "", ENTRY_DIR, NULL);
  forge(&forged, "leaf", ENTRY_FILE, "replaced");
  forge(&forged, "link", ENTRY_DIR, NULL);
  forge(&forged, "link/planted", ENTRY_FILE, "x");
  assert_int_equal(restore_forged(&forged, target, true), 0); /* the link gives way to a directory */
  assert_false(exists_at(scratch, "outside/planted"));
  assert_true(exists_at(target, "link/planted"));
  AUTO_FREE char *whole = get_text(scratch, "outside/file");
  assert_string_equal(whole, "whole");
  AUTO_FREE char *replaced = get_text(target, "leaf"); /* the link itself was replaced */
  assert_string_equal(replaced, "replaced");
  forged_free(&forged);
  scratch_free(scratch);
}

/* ---- what is there already ---- */

typedef struct Fixture {
  char *scratch, *source, *target;
  Job job;
} Fixture;

static Fixture fixture_new(void) {
  Fixture f = {.scratch = scratch_new()};
  f.source = at(f.scratch, "source");
  f.target = at(f.scratch, "target");
  make_dir(f.scratch, "source/d");
  put_random(f.source, "big", 3 * MIB, 5);
  put(f.source, "d/small", "small");
  put(f.source, "d/empty", "");
  f.job = job_new(f.source);
  job_backup(&f.job);
  return f;
}

static void fixture_free(Fixture *f) {
  job_free(&f->job);
  free(f->source);
  free(f->target);
  scratch_free(f->scratch);
}

static void assert_same(const Fixture *f) {
  AUTO_FREE char *before = describe(f->source);
  AUTO_FREE char *after = describe(f->target);
  assert_string_equal(after, before);
}

static void test_refuses_what_is_not_empty(void **state) {
  (void)state;
  Fixture f = fixture_new();
  make_dir(f.scratch, "target");
  put(f.target, "precious", "p");
  assert_err(job_try_restore(&f.job, f.target), ERR_NOT_EMPTY);
  AUTO_FREE char *text = get_text(f.target, "precious");
  assert_string_equal(text, "p");
  assert_false(exists_at(f.target, "big"));
  AUTO_FREE char *file = at(f.target, "precious");
  assert_err(job_try_restore(&f.job, file), ERR_NOT_EMPTY);
  fixture_free(&f);
}

static void test_overwrites_when_told(void **state) {
  (void)state;
  Fixture f = fixture_new();
  make_dir(f.scratch, "target/d");
  put(f.target, "big", "old");
  put(f.target, "d/small", "old content, longer");
  put(f.target, "d/empty", "not empty");
  f.job.restore.overwrite = true;
  job_restore(&f.job, f.target);
  assert_int_equal(f.job.partial, 0);
  assert_same(&f);
  fixture_free(&f);
}

static void test_delta_writes_what_differs(void **state) {
  (void)state;
  Fixture f = fixture_new();
  job_restore(&f.job, f.target);
  AUTO_FREE char *big = at(f.target, "big");
  struct stat before, after;
  assert_int_equal(stat(big, &before), 0);
  int fd = open(big, O_WRONLY | O_CLOEXEC);
  assert_int_equal(pwrite(fd, "damaged", 7, 1000000), 7);
  assert_int_equal(ftruncate(fd, 4 * MIB), 0);
  close(fd);
  f.job.restore.overwrite = f.job.restore.delta = true;
  job_restore(&f.job, f.target);
  assert_int_equal(f.job.written, 128 * KIB);
  assert_int_equal(stat(big, &after), 0);
  assert_int_equal(after.st_ino, before.st_ino);
  assert_same(&f);
  fixture_free(&f);
}

/* Written in place, the other name would change too. */
static void test_delta_breaks_links(void **state) {
  (void)state;
  Fixture f = fixture_new();
  make_dir(f.scratch, "target/d");
  put(f.scratch, "shared", "shared content");
  AUTO_FREE char *shared = at(f.scratch, "shared");
  AUTO_FREE char *small = at(f.target, "d/small");
  assert_int_equal(link(shared, small), 0);
  f.job.restore.overwrite = f.job.restore.delta = true;
  job_restore(&f.job, f.target);
  AUTO_FREE char *text = get_text(f.scratch, "shared");
  assert_string_equal(text, "shared content");
  assert_same(&f);
  fixture_free(&f);
}

static void test_delta_makes_holes(void **state) {
  (void)state;
  Fixture f = fixture_new();
  AUTO_FREE char *path = at(f.source, "zeros");
  put(f.source, "zeros", "");
  assert_int_equal(truncate(path, 1 << 20), 0);
  job_backup(&f.job);
  make_dir(f.scratch, "target");
  put_random(f.target, "zeros", 1 << 20, 8);
  f.job.restore.overwrite = f.job.restore.delta = true;
  job_restore(&f.job, f.target);
  assert_same(&f);
  fixture_free(&f);
}

/* A directory where a file belongs is never removed. */
static void test_directory_in_the_way(void **state) {
  (void)state;
  Fixture f = fixture_new();
  make_dir(f.target, "big/inside");
  f.job.restore.overwrite = true;
  job_restore(&f.job, f.target);
  assert_int_equal(f.job.partial, 1);
  assert_true(exists_at(f.target, "big/inside"));
  assert_true(exists_at(f.target, "d/small"));
  AUTO_FREE char *all = describe(f.target);
  assert_null(strstr(all, ".holdfast-"));
  fixture_free(&f);
}

/* ---- selections ---- */

static void restore_only(Fixture *f, const char *pattern) {
  strlist_free(&f->job.restore.only);
  strlist_add(&f->job.restore.only, pattern);
  assert_ok(fs_remove_tree(f->target));
  job_restore(&f->job, f->target);
}

static void test_only(void **state) {
  (void)state;
  Fixture f = fixture_new();
  restore_only(&f, "d");
  assert_true(exists_at(f.target, "d/small"));
  assert_true(exists_at(f.target, "d/empty"));
  assert_false(exists_at(f.target, "big"));
  restore_only(&f, "d/sm*");
  assert_true(exists_at(f.target, "d/small"));
  assert_false(exists_at(f.target, "d/empty"));
  struct stat before, after;
  AUTO_FREE char *from = at(f.source, "d");
  AUTO_FREE char *to = at(f.target, "d");
  assert_int_equal(stat(from, &before), 0);
  assert_int_equal(stat(to, &after), 0);
  assert_int_equal(after.st_mode, before.st_mode);
  assert_int_equal(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
  restore_only(&f, "empty");
  assert_true(exists_at(f.target, "d/empty"));
  assert_false(exists_at(f.target, "d/small"));
  strlist_add(&f.job.restore.only, "big");
  f.job.restore.overwrite = true;
  job_restore(&f.job, f.target);
  assert_true(exists_at(f.target, "big"));
  strlist_free(&f.job.restore.only);
  strlist_add(&f.job.restore.only, "nothing-like-this");
  assert_err(job_try_restore(&f.job, f.target), ERR_NOT_FOUND);
  fixture_free(&f);
}

/* A hard link alone brings the file that holds its content. */
static void test_only_a_hard_link(void **state) {
  (void)state;
  Fixture f = fixture_new();
  make_dir(f.source, "z");
  AUTO_FREE char *from = at(f.source, "d/small");
  AUTO_FREE char *to = at(f.source, "z/other");
  assert_int_equal(link(from, to), 0);
  job_backup(&f.job);
  restore_only(&f, "z");
  assert_int_equal(f.job.partial, 0);
  AUTO_FREE char *text = get_text(f.target, "z/other");
  assert_string_equal(text, "small");
  fixture_free(&f);
}

/* ---- failures ---- */

static void test_corrupt_content_leaves_nothing_half(void **state) {
  (void)state;
  Fixture f = fixture_new();
  Engine *engine;
  SourceSpec spec = {.type = "files"};
  assert_ok(files_engine_open(sys_real(), &spec, &engine));
  MemorySource *source = memory_source_new(sys_real(), f.job.tree, f.job.facts.json, 2, 1);
  memory_source_fail_path(source, "big");
  f.job.restore.target = f.target;
  assert_err(engine->ops->restore(engine, &f.job.restore, memory_source(source), NULL), ERR_CORRUPT);
  assert_false(exists_at(f.target, "big"));
  memory_source_free(source);
  engine->ops->free(engine);
  fixture_free(&f);
}

static void test_bad_record(void **state) {
  (void)state;
  static const char *const bad[] = {"", "{}", "[]", "{\"engine\":\"sqlite\"}", "not json"};
  Fixture f = fixture_new();
  for (size_t i = 0; i < NELEMS(bad); i++) {
    free(f.job.facts.json);
    f.job.facts.json = mem_strdup(bad[i]);
    assert_err(job_try_restore(&f.job, f.target), ERR_CORRUPT);
  }
  fixture_free(&f);
}

static void test_durable(void **state) {
  (void)state;
  Fixture f = fixture_new();
  f.job.restore.no_sync = false;
  job_restore(&f.job, f.target);
  assert_same(&f);
  fixture_free(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_hostile_paths),
      cmocka_unit_test(test_through_own_link),
      cmocka_unit_test(test_through_existing_link),
      cmocka_unit_test(test_refuses_what_is_not_empty),
      cmocka_unit_test(test_overwrites_when_told),
      cmocka_unit_test(test_delta_writes_what_differs),
      cmocka_unit_test(test_delta_breaks_links),
      cmocka_unit_test(test_delta_makes_holes),
      cmocka_unit_test(test_directory_in_the_way),
      cmocka_unit_test(test_only),
      cmocka_unit_test(test_only_a_hard_link),
      cmocka_unit_test(test_corrupt_content_leaves_nothing_half),
      cmocka_unit_test(test_bad_record),
      cmocka_unit_test(test_durable),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
