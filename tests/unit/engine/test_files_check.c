/* Proving a restored tree: against the record alone, and against the live source. */
#include "base/timefmt.h"

#include "files_testing.h"

typedef struct Fixture {
  char *scratch, *source, *target;
  Job job;
  CheckReport report;
  bool amid;
} Fixture;

static Fixture fixture_new(void) {
  Fixture f = {.scratch = scratch_new()};
  f.source = at(f.scratch, "source");
  f.target = at(f.scratch, "target");
  make_dir(f.scratch, "source/d");
  put_random(f.source, "big", 600000, 5);
  put(f.source, "d/small", "small");
  put(f.source, "d/empty", "");
  AUTO_FREE char *link_path = at(f.source, "d/link");
  AUTO_FREE char *hard = at(f.source, "hard");
  AUTO_FREE char *big = at(f.source, "big");
  assert_int_equal(symlink("small", link_path), 0);
  assert_int_equal(link(big, hard), 0);
  f.job = job_new(f.source);
  f.job.plan.started_ns = sys_now_ns(sys_real()) + NS_PER_SECOND; /* later than all changes so far */
  job_backup(&f.job);
  job_restore(&f.job, f.target);
  return f;
}

static void fixture_free(Fixture *f) {
  check_report_free(&f->report);
  job_free(&f->job);
  free(f->source);
  free(f->target);
  scratch_free(f->scratch);
}

static void check(Fixture *f, CheckLevel level, bool with_source) {
  check_report_free(&f->report);
  Engine *engine;
  SourceSpec spec = {.type = "files"};
  assert_ok(files_engine_open(sys_real(), &spec, &engine));
  DrillTarget target = {.path = f->target,
                        .facts_json = f->job.facts.json,
                        .source_path = with_source ? f->source : NULL,
                        .amid = f->amid};
  assert_ok(engine->ops->check(engine, &target, level, &f->report, NULL));
  engine->ops->free(engine);
}

static const CheckItem *item(const Fixture *f, const char *name) {
  for (size_t i = 0; i < f->report.len; i++) {
    if (strcmp(f->report.items[i].name, name) == 0) return &f->report.items[i];
  }
  return NULL;
}

static void expect_failed(const Fixture *f, const char *name) {
  const CheckItem *found = item(f, name);
  if (!found) fail_msg("no item '%s'", name);
  if (found->passed) fail_msg("'%s' passed", name);
}

/* Restored into a tree that holds more: only what lacks is wrong. */
static void test_amid_other_files(void **state) {
  (void)state;
  Fixture f = fixture_new();
  put(f.target, "of somebody else", "x");
  check(&f, CHECK_QUICK, false);
  expect_failed(&f, "files");
  expect_failed(&f, "bytes");
  f.amid = true;
  check(&f, CHECK_STANDARD, false);
  assert_int_equal(check_report_passed(&f.report), f.report.len);
  AUTO_FREE char *extra = at(f.target, "of somebody else");
  assert_int_equal(unlink(extra), 0);
  AUTO_FREE char *lost = at(f.target, "d/small");
  assert_int_equal(unlink(lost), 0);
  check(&f, CHECK_QUICK, false);
  expect_failed(&f, "files");
  fixture_free(&f);
}

static void test_all_good(void **state) {
  (void)state;
  Fixture f = fixture_new();
  for (int level = CHECK_QUICK; level <= CHECK_COMPREHENSIVE; level++) {
    for (int with_source = 0; with_source < 2; with_source++) {
      check(&f, (CheckLevel)level, with_source);
      assert_true(f.report.len >= 6);
      for (size_t i = 0; i < f.report.len; i++) {
        if (!f.report.items[i].passed) fail_msg("%s: %s", f.report.items[i].name, f.report.items[i].found);
      }
    }
  }
  assert_non_null(item(&f, "content as in the source"));
  assert_string_equal(item(&f, "hard links")->found, "1");
  fixture_free(&f);
}

static void test_differences_are_found(void **state) {
  (void)state;
  Fixture f = fixture_new();
  AUTO_FREE char *big = at(f.target, "big");
  struct stat st;
  assert_int_equal(stat(big, &st), 0);
  int fd = open(big, O_WRONLY | O_CLOEXEC);
  assert_int_equal(pwrite(fd, "?", 1, 300000), 1);
  struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, st.st_mtim};
  assert_int_equal(futimens(fd, times), 0);
  close(fd);
  check(&f, CHECK_STANDARD, true); /* attributes alone do not tell */
  assert_int_equal(check_report_passed(&f.report), f.report.len);
  check(&f, CHECK_COMPREHENSIVE, true);
  expect_failed(&f, "content as in the source");

  AUTO_FREE char *small = at(f.target, "d/small");
  assert_int_equal(chmod(small, 0600), 0);
  check(&f, CHECK_STANDARD, true);
  expect_failed(&f, "modes as in the source");
  assert_int_equal(truncate(small, 3), 0);
  check(&f, CHECK_QUICK, true);
  expect_failed(&f, "sizes as in the source");
  expect_failed(&f, "bytes");
  AUTO_FREE char *link_path = at(f.target, "d/link");
  assert_int_equal(unlink(link_path), 0);
  assert_int_equal(symlink("elsewhere", link_path), 0);
  check(&f, CHECK_QUICK, true);
  expect_failed(&f, "links as in the source");
  assert_int_equal(unlink(link_path), 0);
  check(&f, CHECK_QUICK, false);
  expect_failed(&f, "symbolic links");
  fixture_free(&f);
}

/* What changed in the source after the backup proves nothing against the copy. */
static void test_changed_since(void **state) {
  (void)state;
  Fixture f = fixture_new();
  f.job.plan.started_ns = 1; /* as if the backup had been long ago */
  job_backup(&f.job);
  put(f.source, "d/small", "changed since, and longer");
  check(&f, CHECK_COMPREHENSIVE, true);
  assert_int_equal(check_report_passed(&f.report), f.report.len);
  assert_string_equal(item(&f, "changed in the source since")->found, "6 not compared");
  fixture_free(&f);
}

static void test_single_file(void **state) {
  (void)state;
  Fixture f = fixture_new();
  char *scratch = f.scratch;
  put(scratch, "one", "content");
  AUTO_FREE char *one = at(scratch, "one");
  Job job = job_new(one);
  job.plan.started_ns = sys_now_ns(sys_real()) + NS_PER_SECOND;
  job_backup(&job);
  AUTO_FREE char *two = at(scratch, "two");
  job_restore(&job, two);
  Engine *engine;
  assert_ok(files_engine_open(sys_real(), &job.spec, &engine));
  DrillTarget target = {.path = two, .facts_json = job.facts.json, .source_path = one};
  assert_ok(engine->ops->check(engine, &target, CHECK_COMPREHENSIVE, &f.report, NULL));
  assert_int_equal(check_report_passed(&f.report), f.report.len);
  assert_non_null(item(&f, "content as in the source"));
  engine->ops->free(engine);
  job_free(&job);
  fixture_free(&f);
}

static void test_probe(void **state) {
  (void)state;
  Fixture f = fixture_new();
  Engine *engine;
  ServerInfo info = {0};
  assert_ok(files_engine_open(sys_real(), &f.job.spec, &engine));
  assert_ok(engine->ops->probe(engine, &info, NULL));
  assert_int_equal(info.members, 1);
  assert_true(info.possible.len > 0);
  AUTO_FREE char *identity = mem_strdup(info.identity);
  server_info_free(&info);
  assert_ok(engine->ops->probe(engine, &info, NULL));
  assert_string_equal(info.identity, identity);
  server_info_free(&info);
  engine->ops->free(engine);
  fixture_free(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_all_good),      cmocka_unit_test(test_differences_are_found),
      cmocka_unit_test(test_changed_since), cmocka_unit_test(test_single_file),
      cmocka_unit_test(test_probe),         cmocka_unit_test(test_amid_other_files),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
