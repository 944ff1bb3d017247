/* Includes, excludes, presets, and what they do to a walk. */
#include "engine/files/filter.h"

#include "files_testing.h"

static Filter *filter_with(const char *exclude, const char *preset) {
  StrList none = {0}, list = {0};
  if (exclude) strlist_add(&list, exclude);
  Filter *filter = NULL;
  assert_ok(filter_new(&none, &list, preset, &filter));
  strlist_free(&list);
  return filter;
}

static bool excludes(const char *pattern, const char *path, EntryType type) {
  Filter *filter = filter_with(pattern, NULL);
  AUTO_FREE char *absolute = mem_printf("/srv/app/%s", path);
  FilterItem item = {.path = bytes_str(path), .absolute = bytes_str(absolute), .type = type};
  bool result = filter_excludes(filter, &item);
  filter_free(filter);
  return result;
}

static void test_patterns(void **state) {
  (void)state;
  static const struct {
    const char *pattern, *path;
    EntryType type;
    bool matches;
  } cases[] = {
      {"*.tmp", "a.tmp", ENTRY_FILE, true},
      {"*.tmp", "deep/down/a.tmp", ENTRY_FILE, true}, /* no slash: any directory */
      {"*.tmp", "a.tmp/file", ENTRY_FILE, false},     /* the directory was excluded, not what is in it by name */
      {"cache", "x/cache", ENTRY_DIR, true},
      {"cache/", "x/cache", ENTRY_DIR, true},
      {"cache/", "x/cache", ENTRY_FILE, false},
      {"x/*.log", "x/a.log", ENTRY_FILE, true}, /* a slash: the whole path in the tree */
      {"x/*.log", "y/x/a.log", ENTRY_FILE, false},
      {"**/x/*.log", "y/x/a.log", ENTRY_FILE, true},
      {"**/x/*.log", "x/a.log", ENTRY_FILE, true},
      {"/srv/app/x", "x", ENTRY_FILE, true}, /* from the root of the machine */
      {"/x", "x", ENTRY_FILE, false},
      {"[ab]?", "dir/b1", ENTRY_FILE, true},
  };
  for (size_t i = 0; i < NELEMS(cases); i++) {
    if (excludes(cases[i].pattern, cases[i].path, cases[i].type) != cases[i].matches)
      fail_msg("'%s' on '%s'", cases[i].pattern, cases[i].path);
  }
}

static void test_bad_patterns(void **state) {
  (void)state;
  StrList none = {0}, list = {0};
  Filter *filter = NULL;
  assert_err(filter_new(&none, &none, "holiday", &filter), ERR_USAGE);
  strlist_add(&list, "");
  assert_err(filter_new(&none, &list, NULL, &filter), ERR_USAGE);
  assert_err(filter_new(&list, &none, NULL, &filter), ERR_USAGE);
  strlist_free(&list);
}

static void test_every_preset_opens(void **state) {
  (void)state;
  size_t count = 0;
  for (const char *const *name = filter_presets(); *name; name++, count++) filter_free(filter_with(NULL, *name));
  assert_int_equal(count, 3);
}

static void grow_tree(const char *source) {
  make_dir(source, "app/cache/deep");
  make_dir(source, "app/data");
  make_dir(source, "empty");
  make_dir(source, "other");
  put(source, "app/cache/deep/x", "x");
  put(source, "app/data/keep.conf", "k");
  put(source, "app/data/drop.tmp", "d");
  put(source, "other/also.conf", "a");
  put(source, "other/not", "n");
}

static void assert_paths(const Job *job, const char *const *paths, size_t len) {
  for (size_t i = 0; i < len; i++) {
    if (!memory_tree_get(job->tree, paths[i])) fail_msg("'%s' is missing", paths[i]);
  }
  assert_int_equal(job->tree->len, len);
}

static void test_exclude_prunes(void **state) {
  (void)state;
  char *scratch = scratch_new();
  grow_tree(scratch);
  Job job = job_new(scratch);
  strlist_add(&job.spec.exclude, "cache");
  strlist_add(&job.spec.exclude, "*.tmp");
  job_backup(&job);
  static const char *const expected[] = {"",      "app",   "app/data",        "app/data/keep.conf",
                                         "empty", "other", "other/also.conf", "other/not"};
  assert_paths(&job, expected, NELEMS(expected));
  assert_int_equal(job_fact(&job, "excluded"), 2);
  job_free(&job);
  scratch_free(scratch);
}

/* Directories come along only where something in them is wanted, in front of it. */
static void test_include_selects(void **state) {
  (void)state;
  char *scratch = scratch_new();
  grow_tree(scratch);
  Job job = job_new(scratch);
  strlist_add(&job.spec.include, "*.conf");
  job_backup(&job);
  static const char *const confs[] = {"", "app", "app/data", "app/data/keep.conf", "other", "other/also.conf"};
  assert_paths(&job, confs, NELEMS(confs));
  job_free(&job);
  job = job_new(scratch);
  strlist_add(&job.spec.include, "app/cache"); /* a directory brings all that is in it */
  strlist_add(&job.spec.include, "empty/");
  job_backup(&job);
  static const char *const dirs[] = {"", "app", "app/cache", "app/cache/deep", "app/cache/deep/x", "empty"};
  assert_paths(&job, dirs, NELEMS(dirs));
  job_free(&job);
  scratch_free(scratch);
}

static void test_tagged_caches(void **state) {
  (void)state;
  char *scratch = scratch_new();
  make_dir(scratch, "thumbs");
  make_dir(scratch, "liar");
  put(scratch, "thumbs/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n# comment\n");
  put(scratch, "thumbs/a", "a");
  put(scratch, "liar/CACHEDIR.TAG", "not a signature at all, and long enough to be one, though");
  put(scratch, "liar/b", "b");
  put(scratch, "run.pid", "1");
  AUTO_FREE char *sock = at(scratch, "listen");
  assert_int_equal(mknod(sock, S_IFSOCK | 0600, 0), 0);
  Job job = job_new(scratch);
  job.spec.preset = "application";
  job_backup(&job);
  static const char *const expected[] = {"", "liar", "liar/CACHEDIR.TAG", "liar/b", "thumbs", "thumbs/CACHEDIR.TAG"};
  assert_paths(&job, expected, NELEMS(expected));
  job_free(&job);
  scratch_free(scratch);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_patterns),           cmocka_unit_test(test_bad_patterns),
      cmocka_unit_test(test_every_preset_opens), cmocka_unit_test(test_exclude_prunes),
      cmocka_unit_test(test_include_selects),    cmocka_unit_test(test_tagged_caches),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
