/* What a files backup reads, keeps, leaves out and reports. */
#include <sys/wait.h>

#include "base/timefmt.h"

#include "files_testing.h"

static const uint64_t HOUR_NS = 3600 * NS_PER_SECOND;

/* The parent as if it had been read an hour from now: all change times are old enough to be trusted. */
static MemoryTree *trusted(Job *job) {
  MemoryTree *tree = STEAL(job->tree);
  for (size_t i = 0; i < tree->len; i++) tree->nodes[i].read_ns = sys_now_ns(sys_real()) + HOUR_NS;
  job->parent = tree;
  return tree;
}

typedef struct Fixture {
  char *scratch;
  char *source;
  Job job;
} Fixture;

static Fixture fixture_new(void) {
  Fixture f = {.scratch = scratch_new()};
  f.source = at(f.scratch, "source");
  make_dir(f.scratch, "source");
  f.job = job_new(f.source);
  return f;
}

static void fixture_free(Fixture *f) {
  job_free(&f->job);
  free(f->source);
  scratch_free(f->scratch);
}

static bool kept(const Job *job, const char *path) {
  const MemoryNode *node = memory_tree_get(job->tree, path);
  assert_non_null(node);
  return node->kept;
}

/* ---- the unchanged rule ---- */

static void test_unchanged_is_not_read(void **state) {
  (void)state;
  Fixture f = fixture_new();
  make_dir(f.source, "d");
  put(f.source, "d/a", "same");
  put(f.source, "b", "grows");
  AUTO_FREE char *a = at(f.source, "d/a");
  assert_int_equal(setxattr(a, "user.note", "kept", 4, 0), 0);
  job_backup(&f.job);
  MemoryTree *parent = trusted(&f.job);
  put(f.source, "b", "grows and grew");
  job_backup(&f.job);
  assert_true(kept(&f.job, "d/a"));
  assert_int_equal(memory_tree_get(f.job.tree, "d/a")->entry->xattrs_len, 1);
  assert_false(kept(&f.job, "b"));
  assert_int_equal(job_fact(&f.job, "unchanged_files"), 1);
  assert_int_equal(job_fact(&f.job, "read_bytes"), strlen("grows and grew"));
  f.job.plan.mode = BACKUP_FULL;
  job_backup(&f.job);
  assert_false(kept(&f.job, "d/a"));
  memory_tree_free(parent);
  fixture_free(&f);
}

/* A change in the same tick of the clock as the reading leaves every attribute as it was. */
static void test_recent_change_is_not_trusted(void **state) {
  (void)state;
  Fixture f = fixture_new();
  put(f.source, "twice", "one");
  job_backup(&f.job);
  MemoryTree *parent = STEAL(f.job.tree);
  f.job.parent = parent;
  job_backup(&f.job); /* read within two seconds of the change */
  assert_false(kept(&f.job, "twice"));
  MemoryNode *node = &parent->nodes[1];
  node->read_ns = (uint64_t)node->entry->ctime_ns + 2 * NS_PER_SECOND;
  job_backup(&f.job);
  assert_false(kept(&f.job, "twice"));
  node->read_ns++;
  job_backup(&f.job);
  assert_true(kept(&f.job, "twice"));
  memory_tree_free(parent);
  fixture_free(&f);
}

/* Each attribute of the rule alone makes the difference. */
static void test_every_attribute_counts(void **state) {
  (void)state;
  Fixture f = fixture_new();
  put(f.source, "file", "content");
  job_backup(&f.job);
  MemoryTree *parent = trusted(&f.job);
  Entry *then = parent->nodes[1].entry;
  const Entry good = *then;
  for (int i = 0; i < 7; i++) {
    *then = good;
    if (i == 1) then->ctime_ns--;
    if (i == 2) then->mtime_ns++;
    if (i == 3) then->inode++;
    if (i == 4) then->device++;
    if (i == 5) then->type = ENTRY_SYMLINK;
    if (i == 6) then->size++;
    job_backup(&f.job);
    assert_int_equal(kept(&f.job, "file"), i == 0);
  }
  *then = good;
  memory_tree_free(parent);
  fixture_free(&f);
}

static void test_reading_leaves_no_trace(void **state) {
  (void)state;
  Fixture f = fixture_new();
  make_dir(f.source, "d");
  put(f.source, "d/file", "content");
  AUTO_FREE char *file = at(f.source, "d/file");
  AUTO_FREE char *dir = at(f.source, "d");
  const struct timespec old[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1500000000}};
  assert_int_equal(utimensat(AT_FDCWD, file, old, 0), 0);
  assert_int_equal(utimensat(AT_FDCWD, dir, old, 0), 0);
  f.job.plan.mode = BACKUP_FULL;
  job_backup(&f.job);
  struct stat st;
  assert_int_equal(stat(file, &st), 0);
  assert_int_equal(st.st_atim.tv_sec, 1000000000);
  assert_int_equal(stat(dir, &st), 0);
  assert_int_equal(st.st_atim.tv_sec, 1000000000);
  fixture_free(&f);
}

/* ---- files that do not hold still ---- */

typedef struct Meddler {
  const char *path;
  unsigned times; /* how often to meddle */
  void (*meddle)(const char *path);
} Meddler;

static void on_buffer(void *ctx, Bytes path, uint64_t offset) {
  Meddler *m = (Meddler *)ctx;
  (void)offset;
  if (!bytes_equal(path, bytes_str(strrchr(m->path, '/') + 1)) || m->times == 0) return;
  m->times--;
  m->meddle(m->path);
}

static void prepare_meddler(Job *job, MemorySink *sink) {
  memory_sink_buffer_size(sink, 128 * KIB);
  memory_sink_on_buffer(sink, on_buffer, job->ctx);
}

static void grow_it(const char *path) {
  int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
  assert_int_equal(write(fd, "more", 4), 4);
  close(fd);
}

static void shrink_it(const char *path) { assert_int_equal(truncate(path, 200000), 0); }

static void remove_it(const char *path) { unlink(path); }

static void replace_it(const char *path) {
  AUTO_FREE char *other = mem_printf("%s.new", path);
  int fd = open(other, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  assert_int_equal(write(fd, "replaced", 8), 8);
  close(fd);
  assert_int_equal(rename(other, path), 0);
}

static void meddle(Fixture *f, unsigned times, void (*how)(const char *path)) {
  AUTO_FREE char *path = at(f->source, "busy");
  put_random(f->source, "busy", 400000, 9);
  Meddler m = {.path = path, .times = times, .meddle = how};
  f->job.ctx = &m;
  f->job.prepare = prepare_meddler;
  job_backup(&f->job);
}

static void test_changed_once_is_read_again(void **state) {
  (void)state;
  Fixture f = fixture_new();
  meddle(&f, 1, grow_it);
  assert_int_equal(f.job.partial, 0);
  assert_int_equal(f.job.aborted, 1);
  assert_int_equal(memory_tree_get(f.job.tree, "busy")->entry->size, 400004);
  fixture_free(&f);
}

static void test_always_changing_is_reported(void **state) {
  (void)state;
  Fixture f = fixture_new();
  meddle(&f, 1000, grow_it);
  assert_int_equal(f.job.partial, 1);
  assert_int_equal(job_fact(&f.job, "changed"), 1);
  assert_non_null(memory_tree_get(f.job.tree, "busy"));
  fixture_free(&f);
}

static void test_growing_log_is_complete(void **state) {
  (void)state;
  Fixture f = fixture_new();
  f.job.spec.preset = "logs";
  meddle(&f, 1000, grow_it);
  assert_int_equal(f.job.partial, 0);
  assert_int_equal(f.job.aborted, 0);
  assert_int_equal(memory_tree_get(f.job.tree, "busy")->entry->size, 400000);
  fixture_free(&f);
}

static void test_shrinking(void **state) {
  (void)state;
  Fixture f = fixture_new();
  meddle(&f, 1, shrink_it);
  assert_int_equal(f.job.partial, 0);
  assert_int_equal(memory_tree_get(f.job.tree, "busy")->entry->size, 200000);
  fixture_free(&f);
}

/* Once open, a removed or replaced file still has all its content; its change time moved, so it is read twice. */
static void test_removed_and_replaced_while_read(void **state) {
  (void)state;
  Fixture f = fixture_new();
  meddle(&f, 1, remove_it);
  assert_int_equal(f.job.partial, 0);
  assert_int_equal(memory_tree_get(f.job.tree, "busy")->entry->size, 400000);
  meddle(&f, 1, replace_it);
  assert_int_equal(f.job.partial, 0);
  assert_int_equal(memory_tree_get(f.job.tree, "busy")->entry->size, 400000);
  fixture_free(&f);
}

static void remove_sibling(const char *path) {
  AUTO_FREE char *other = mem_printf("%s.later", path);
  unlink(other);
}

static void test_vanished_before_reading(void **state) {
  (void)state;
  Fixture f = fixture_new();
  put(f.source, "busy.later", "x");
  meddle(&f, 1, remove_sibling);
  assert_int_equal(f.job.partial, 0);
  assert_int_equal(f.job.info, 1);
  assert_int_equal(job_fact(&f.job, "vanished"), 1);
  assert_null(memory_tree_get(f.job.tree, "busy.later"));
  fixture_free(&f);
}

static void swap_siblings(const char *path) {
  AUTO_FREE char *directory = mem_printf("%s.directory", path);
  AUTO_FREE char *fifo = mem_printf("%s.fifo", path);
  AUTO_FREE char *link = mem_printf("%s.link", path);
  assert_int_equal(unlink(directory) + unlink(fifo) + unlink(link), 0);
  assert_int_equal(mkdir(directory, 0755), 0);
  assert_int_equal(mkfifo(fifo, 0644), 0);
  assert_int_equal(symlink(path, link), 0);
}

/* Between the walk and the reading. A pipe that were opened would never be read to its end. */
static void test_other_types_before_reading(void **state) {
  (void)state;
  Fixture f = fixture_new();
  put(f.source, "busy.directory", "x");
  put(f.source, "busy.fifo", "x");
  put(f.source, "busy.link", "x");
  f.job.plan.readers =
      2; /* the files of one directory are handed to a reader together, after the walk looked at them */
  f.job.expect_notice = "left out";
  meddle(&f, 1, swap_siblings);
  assert_int_equal(f.job.partial, 3);
  assert_int_equal(job_fact(&f.job, "left_out"), 3);
  assert_int_equal(f.job.tree->len, 2); /* the root and the busy file */
  fixture_free(&f);
}

static void reuse_inode(const char *path) {
  struct stat before, after;
  AUTO_FREE char *first = mem_printf("%.*s/a", (int)(strlen(path) - strlen("/busy")), path);
  AUTO_FREE char *hidden = mem_printf("%s.hidden", path);
  AUTO_FREE char *later = mem_printf("%s.later", path);
  assert_int_equal(stat(first, &before), 0);
  assert_int_equal(unlink(first) + unlink(hidden) + unlink(later), 0);
  int fd = open(later, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  assert_int_equal(write(fd, "other", 5), 5);
  assert_int_equal(fstat(fd, &after), 0);
  close(fd);
  assert_int_equal(link(later, hidden), 0);
  if (after.st_ino != before.st_ino) print_message("this file system gave another inode number\n");
}

/* Another file that got the number of one that was removed meanwhile is no further name of that. */
static void test_reused_inode_is_no_hard_link(void **state) {
  (void)state;
  Fixture f = fixture_new();
  AUTO_FREE char *first = at(f.source, "a");
  AUTO_FREE char *hidden = at(f.source, "busy.hidden");
  put(f.source, "a", "first");
  assert_int_equal(link(first, hidden), 0);
  put(f.source, "busy.later", "x");
  strlist_add(&f.job.spec.exclude, "busy.hidden");
  meddle(&f, 1, reuse_inode);
  const MemoryNode *later = memory_tree_get(f.job.tree, "busy.later");
  assert_int_equal(later->entry->type, ENTRY_FILE);
  assert_memory_equal(later->data, "other", 5);
  assert_int_equal(job_fact(&f.job, "hardlinks"), 0);
  fixture_free(&f);
}

typedef struct Mover {
  char *from, *to;
  bool done;
} Mover;

static void move_once(void *ctx, Bytes path, uint64_t offset) {
  Mover *m = (Mover *)ctx;
  (void)path, (void)offset;
  if (!m->done) assert_int_equal(rename(m->from, m->to), 0);
  m->done = true;
}

static void prepare_mover(Job *job, MemorySink *sink) { memory_sink_on_buffer(sink, move_once, job->ctx); }

/* So deep that the directories above are no longer open: what was not seen of them is missing, not just gone. */
static void test_moved_away_while_below(void **state) {
  (void)state;
  enum { DEPTH = 200 };
  Fixture f = fixture_new();
  AUTO_BUF Buf path = {0};
  for (int i = 0; i < DEPTH; i++) {
    buf_add_str(&path, i ? "/d" : "d");
    AUTO_FREE char *dir = mem_strndup((const char *)path.data, path.len);
    make_dir(f.source, dir);
    AUTO_FREE char *later = mem_printf("%s/later", dir);
    put(f.source, later, "x");
  }
  AUTO_FREE char *deepest = mem_printf("%.*s/busy", (int)path.len, (char *)path.data);
  put(f.source, deepest, "busy");
  Mover m = {.from = at(f.source, "d"), .to = at(f.scratch, "moved")};
  f.job.ctx = &m;
  f.job.prepare = prepare_mover;
  f.job.expect_notice = "the rest of it";
  job_backup(&f.job);
  assert_true(m.done);
  assert_true(job_fact(&f.job, "files") < DEPTH + 1);
  assert_int_equal(job_fact(&f.job, "files") + job_fact(&f.job, "left_out"), DEPTH + 1);
  free(m.from);
  free(m.to);
  fixture_free(&f);
}

static void remove_all_siblings(const char *path) {
  for (int i = 0; i < 600; i++) {
    AUTO_FREE char *other = mem_printf("%s.%d", path, i);
    unlink(other);
  }
}

/* A million notices help nobody: 500 of a level, and how many more there are. */
static void test_notices_are_bounded(void **state) {
  (void)state;
  Fixture f = fixture_new();
  for (int i = 0; i < 600; i++) {
    AUTO_FREE char *name = mem_printf("busy.%d", i);
    put(f.source, name, "x");
  }
  meddle(&f, 1, remove_all_siblings);
  assert_int_equal(f.job.info, 501);
  assert_int_equal(job_fact(&f.job, "vanished"), 600);
  fixture_free(&f);
}

/* ---- what cannot be read ---- */

static void backup_unprivileged(Fixture *f) {
  if (setgid(65534) != 0 || setuid(65534) != 0) _exit(2);
  f->job.expect_notice = "left out";
  job_backup(&f->job);
  assert_int_equal(f->job.partial, 2);
  assert_null(memory_tree_get(f->job.tree, "secret"));
  assert_non_null(memory_tree_get(f->job.tree, "closed")); /* the directory itself is known */
  assert_null(memory_tree_get(f->job.tree, "closed/inside"));
  assert_non_null(memory_tree_get(f->job.tree, "open"));
  assert_int_equal(job_fact(&f->job, "left_out"), 2);
  /* With nothing else in it there would be an empty snapshot. */
  f->job.expect_notice = NULL;
  AUTO_FREE char *secret = at(f->source, "secret");
  AUTO_FREE char *closed = at(f->source, "closed");
  Job job = job_new(secret);
  assert_err(job_try_backup(&job), ERR_DENIED);
  job_free(&job);
  job = job_new(closed);
  assert_err(job_try_backup(&job), ERR_DENIED);
  job_free(&job);
}

static void test_unreadable(void **state) {
  (void)state;
  if (geteuid() != 0) skip();
  Fixture f = fixture_new();
  make_dir(f.source, "closed");
  put(f.source, "closed/inside", "x");
  put(f.source, "open", "x");
  put(f.source, "secret", "x");
  AUTO_FREE char *closed = at(f.source, "closed");
  AUTO_FREE char *secret = at(f.source, "secret");
  assert_int_equal(chmod(closed, 0), 0);
  assert_int_equal(chmod(secret, 0), 0);
  assert_int_equal(chmod(f.scratch, 0755), 0);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    backup_unprivileged(&f);
    _exit(0); /* a failed assertion ends the child in another way */
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(status, 0);
  fixture_free(&f);
}

/* ---- streams ---- */

static void test_sqlite_files_are_pages(void **state) {
  (void)state;
  Fixture f = fixture_new();
  uint8_t page[4096] = "SQLite format 3";
  put_bytes(f.source, "a.db", page, sizeof page);
  put_bytes(f.source, "b.db", page, sizeof page);
  put_bytes(f.source, "short.db", page, 1000);
  job_backup(&f.job);
  assert_int_equal(memory_tree_get(f.job.tree, "a.db")->kind, STREAM_PAGES);
  assert_int_equal(memory_tree_get(f.job.tree, "short.db")->kind, STREAM_BYTES);
  assert_int_equal(f.job.warnings, 1); /* once a backup */
  fixture_free(&f);
}

static void fail_third_write(Job *job, MemorySink *sink) {
  (void)job;
  memory_sink_fail_at(sink, 3);
}

static void test_sink_failure_ends_it(void **state) {
  (void)state;
  for (unsigned readers = 1; readers <= 3; readers += 2) {
    Fixture f = fixture_new();
    for (int i = 0; i < 100; i++) {
      char name[16];
      snprintf(name, sizeof name, "f%d", i);
      put(f.source, name, "text");
    }
    f.job.prepare = fail_third_write;
    f.job.plan.readers = readers;
    assert_err(job_try_backup(&f.job), ERR_IO);
    fixture_free(&f);
  }
}

static void test_cancelled(void **state) {
  (void)state;
  Fixture f = fixture_new();
  put_random(f.source, "a", 300000, 1);
  Engine *engine;
  assert_ok(files_engine_open(sys_real(), &f.job.spec, &engine));
  MemorySink *sink = memory_sink_new(sys_real(), NULL);
  Cancel cancel = {0};
  cancel_set(&cancel, 2);
  assert_err(engine->ops->backup(engine, &f.job.plan, memory_sink(sink), &f.job.facts, &cancel), ERR_CANCELLED);
  memory_tree_free(memory_sink_finish(sink));
  engine->ops->free(engine);
  fixture_free(&f);
}

/* ---- many ---- */

typedef struct CountingSink {
  Sink sink;
  Notices notices;
  atomic_size_t begun, ended, added;
  atomic_uint_least64_t bytes;
} CountingSink;

typedef struct CountingStream {
  SinkStream base;
  uint8_t buffer[128 * 1024];
} CountingStream;

static Error *count_parent(Sink *sink, Bytes path, ParentEntry *out, bool *found) {
  (void)sink, (void)path, (void)out;
  *found = false;
  return NULL;
}
static Error *count_add(Sink *sink, const Entry *entry) {
  (void)entry;
  atomic_fetch_add(&((CountingSink *)(void *)sink)->added, 1);
  return NULL;
}
static Error *count_begin(Sink *sink, const Entry *entry, StreamKind kind, SinkStream **out, Cancel *cancel) {
  (void)entry, (void)kind, (void)cancel;
  CountingStream *stream = NEW(CountingStream);
  stream->base.sink = sink;
  atomic_fetch_add(&((CountingSink *)(void *)sink)->begun, 1);
  *out = &stream->base;
  return NULL;
}
static Error *count_buffer(SinkStream *stream, uint8_t **out, size_t *cap, Cancel *cancel) {
  (void)cancel;
  *out = ((CountingStream *)(void *)stream)->buffer;
  *cap = sizeof((CountingStream *)(void *)stream)->buffer;
  return NULL;
}
static Error *count_write(SinkStream *stream, size_t len) {
  atomic_fetch_add(&((CountingSink *)(void *)stream->sink)->bytes, len);
  return NULL;
}
static Error *count_end(SinkStream *take, const Entry *final) {
  (void) final;
  atomic_fetch_add(&((CountingSink *)(void *)take->sink)->ended, 1);
  free(take);
  return NULL;
}

static void test_many_small_files(void **state) {
  (void)state;
  enum { DIRS = 20, FILES = 1000 };
  static const SinkOps ops = {.parent = count_parent,
                              .add = count_add,
                              .begin = count_begin,
                              .buffer = count_buffer,
                              .write = count_write,
                              .end = count_end};
  Fixture f = fixture_new();
  for (int d = 0; d < DIRS; d++) {
    char name[32];
    snprintf(name, sizeof name, "d%02d", d);
    make_dir(f.source, name);
    for (int i = 0; i < FILES; i++) {
      snprintf(name, sizeof name, "d%02d/f%04d", d, i);
      put(f.source, name, "0123456789");
    }
  }
  CountingSink sink = {.sink = {.ops = &ops}};
  Engine *engine;
  assert_ok(files_engine_open(sys_real(), &f.job.spec, &engine));
  f.job.plan.readers = 2;
  assert_ok(engine->ops->backup(engine, &f.job.plan, &sink.sink, &f.job.facts, NULL));
  assert_int_equal(sink.begun, DIRS * FILES);
  assert_int_equal(sink.ended, DIRS * FILES);
  assert_int_equal(sink.added, DIRS + 1);
  assert_int_equal(sink.bytes, DIRS * FILES * 10);
  assert_int_equal(job_fact(&f.job, "files"), DIRS * FILES);
  engine->ops->free(engine);
  fixture_free(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_unchanged_is_not_read),
      cmocka_unit_test(test_recent_change_is_not_trusted),
      cmocka_unit_test(test_every_attribute_counts),
      cmocka_unit_test(test_reading_leaves_no_trace),
      cmocka_unit_test(test_changed_once_is_read_again),
      cmocka_unit_test(test_always_changing_is_reported),
      cmocka_unit_test(test_growing_log_is_complete),
      cmocka_unit_test(test_shrinking),
      cmocka_unit_test(test_removed_and_replaced_while_read),
      cmocka_unit_test(test_vanished_before_reading),
      cmocka_unit_test(test_other_types_before_reading),
      cmocka_unit_test(test_reused_inode_is_no_hard_link),
      cmocka_unit_test(test_moved_away_while_below),
      cmocka_unit_test(test_notices_are_bounded),
      cmocka_unit_test(test_unreadable),
      cmocka_unit_test(test_sqlite_files_are_pages),
      cmocka_unit_test(test_sink_failure_ends_it),
      cmocka_unit_test(test_cancelled),
      cmocka_unit_test(test_many_small_files),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
