/* The logs preset: compressed rotations of a known log. */
#include <zlib.h>

#include "base/timefmt.h"
#include "engine/files/rotate.h"

#include "files_testing.h"

typedef struct Fixture {
  char *scratch, *source, *target;
  Job job;
  MemoryTree *parent;
} Fixture;

static Fixture fixture_new(void) {
  Fixture f = {.scratch = scratch_new()};
  f.source = at(f.scratch, "source");
  f.target = at(f.scratch, "target");
  make_dir(f.scratch, "source");
  f.job = job_new(f.source);
  f.job.spec.preset = "logs";
  return f;
}

static void fixture_free(Fixture *f) {
  memory_tree_free(f->parent);
  job_free(&f->job);
  free(f->source);
  free(f->target);
  scratch_free(f->scratch);
}

/* Backs up, and makes the result the trusted parent of the next. */
static void next_day(Fixture *f) {
  job_backup(&f->job);
  assert_int_equal(f->job.partial, 0);
}

static void keep_as_parent(Fixture *f) {
  memory_tree_free(f->parent);
  f->parent = STEAL(f->job.tree);
  for (size_t i = 0; i < f->parent->len; i++)
    f->parent->nodes[i].read_ns = sys_now_ns(sys_real()) + 3600 * NS_PER_SECOND;
  f->job.parent = f->parent;
}

static char *log_text(unsigned lines) {
  Buf text = {0};
  for (unsigned i = 0; i < lines; i++)
    buf_printf(&text, "2026-11-20T09:%02u:%02u service[%u]: request done\n", i / 60 % 60, i % 60, i);
  return buf_steal_str(&text);
}

static void gzip_file(Fixture *f, const char *from, const char *to, const char *mode) {
  AUTO_FREE char *text = get_text(f->source, from);
  AUTO_FREE char *old = at(f->source, from);
  AUTO_FREE char *path = at(f->source, to);
  gzFile file = gzopen(path, mode);
  assert_int_equal(gzwrite(file, text, (unsigned)strlen(text)), (int)strlen(text));
  assert_int_equal(gzclose(file), Z_OK);
  assert_int_equal(unlink(old), 0);
}

static void rename_file(Fixture *f, const char *from, const char *to) {
  AUTO_FREE char *a = at(f->source, from);
  AUTO_FREE char *b = at(f->source, to);
  assert_int_equal(rename(a, b), 0);
}

/* x.log -> x.log.1 -> x.log.2.gz -> x.log.3.gz over four days. */
static void test_life_of_a_log(void **state) {
  (void)state;
  Fixture f = fixture_new();
  AUTO_FREE char *text = log_text(5000);
  put(f.source, "x.log", text);
  next_day(&f);
  keep_as_parent(&f);

  rename_file(&f, "x.log", "x.log.1");
  put(f.source, "x.log", "new day\n");
  next_day(&f);
  keep_as_parent(&f);

  gzip_file(&f, "x.log.1", "x.log.2.gz", "wb6");
  next_day(&f);
  assert_null(memory_tree_get(f.job.tree, "x.log.2.gz"));
  const MemoryNode *node = memory_tree_get(f.job.tree, "x.log.2");
  assert_non_null(node);
  assert_int_equal(node->entry->size, strlen(text));
  assert_memory_equal(node->data, text, strlen(text));
  assert_int_equal(job_fact(&f.job, "unpacked_rotations"), 1);
  keep_as_parent(&f);

  next_day(&f); /* nothing changed: not even read */
  assert_true(memory_tree_get(f.job.tree, "x.log.2")->kept);
  keep_as_parent(&f);

  rename_file(&f, "x.log.2.gz", "x.log.3.gz");
  next_day(&f);
  assert_non_null(memory_tree_get(f.job.tree, "x.log.3"));

  /* zlib wrote it and zlib writes it again: here even the compressed bytes are the same. */
  job_restore(&f.job, f.target);
  assert_int_equal(f.job.partial, 0);
  AUTO_FREE char *before = describe(f.source);
  AUTO_FREE char *after = describe(f.target);
  assert_string_equal(after, before);
  fixture_free(&f);
}

static void test_live_log_compressed_at_once(void **state) {
  (void)state;
  Fixture f = fixture_new();
  AUTO_FREE char *text = log_text(100);
  AUTO_FREE char *more = log_text(150);
  put(f.source, "app.log", text);
  next_day(&f);
  keep_as_parent(&f);
  put(f.source, "app.log", more); /* it grew until it was rotated */
  gzip_file(&f, "app.log", "app.log-20261119.gz", "wb9");
  next_day(&f);
  assert_non_null(memory_tree_get(f.job.tree, "app.log-20261119"));
  fixture_free(&f);
}

static void expect_as_it_is(Fixture *f, const char *name) {
  next_day(f);
  assert_non_null(memory_tree_get(f->job.tree, name));
  assert_int_equal(job_fact(&f->job, "unpacked_rotations"), 0);
}

static void test_not_recognised(void **state) {
  (void)state;
  Fixture f = fixture_new();
  AUTO_FREE char *text = log_text(100);
  put(f.source, "x.log.1", text);
  put(f.source, "y.log.1", text);
  next_day(&f);
  keep_as_parent(&f);

  /* Another log's; a name taken by a real file; damage; something behind the end; no gzip at all. */
  put(f.source, "z", text);
  gzip_file(&f, "z", "unknown.log.2.gz", "wb6");
  expect_as_it_is(&f, "unknown.log.2.gz");

  put(f.source, "z", text);
  gzip_file(&f, "z", "x.log.1.gz", "wb6");
  expect_as_it_is(&f, "x.log.1.gz");
  AUTO_FREE char *taken = at(f.source, "x.log.1.gz");
  assert_int_equal(unlink(taken), 0);

  put(f.source, "z", text);
  gzip_file(&f, "z", "x.log.2.gz", "wb6");
  AUTO_FREE char *path = at(f.source, "x.log.2.gz");
  int fd = open(path, O_RDWR | O_CLOEXEC);
  uint8_t byte;
  assert_int_equal(pread(fd, &byte, 1, 60), 1);
  byte ^= 0x10;
  assert_int_equal(pwrite(fd, &byte, 1, 60), 1);
  close(fd);
  expect_as_it_is(&f, "x.log.2.gz");

  put(f.source, "z", text);
  gzip_file(&f, "z", "x.log.2.gz", "wb6");
  put(f.source, "z", text);
  gzip_file(&f, "z", "x.log.2.gz", "ab6"); /* a second member */
  expect_as_it_is(&f, "x.log.2.gz");

  put(f.source, "x.log.2.gz", text);
  expect_as_it_is(&f, "x.log.2.gz");
  fixture_free(&f);
}

static void test_without_the_preset(void **state) {
  (void)state;
  Fixture f = fixture_new();
  f.job.spec.preset = NULL;
  put(f.source, "x.log.1", "some text\n");
  next_day(&f);
  keep_as_parent(&f);
  gzip_file(&f, "x.log.1", "x.log.2.gz", "wb6");
  expect_as_it_is(&f, "x.log.2.gz");
  fixture_free(&f);
}

static void test_record_parser(void **state) {
  (void)state;
  const uint8_t good[] = {1, 5, 1, 2, 3, 4, 2, 3, 1, 'x'};
  RotateRecord record;
  assert_true(rotate_record_parse(bytes(good, sizeof good), &record));
  assert_int_equal(record.size, 5);
  assert_int_equal(record.mtime, 0x04030201);
  assert_int_equal(record.name.len, 1);
  for (size_t len = 0; len < sizeof good; len++) assert_false(rotate_record_parse(bytes(good, len), &record));
  uint8_t bad[sizeof good + 1];
  memcpy(bad, good, sizeof good);
  bad[sizeof good] = 0;
  assert_false(rotate_record_parse(bytes(bad, sizeof bad), &record));
  bad[9] = 0; /* a NUL in the name */
  assert_false(rotate_record_parse(bytes(bad, sizeof good), &record));
  memcpy(bad, good, sizeof good);
  bad[0] = 2; /* another version */
  assert_false(rotate_record_parse(bytes(bad, sizeof good), &record));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_life_of_a_log),  cmocka_unit_test(test_live_log_compressed_at_once),
      cmocka_unit_test(test_not_recognised), cmocka_unit_test(test_without_the_preset),
      cmocka_unit_test(test_record_parser),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
