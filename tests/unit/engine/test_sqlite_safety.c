/* What must not happen to the user's files, and what is said when a database cannot be had: crashed applications, hot
 * journals, locks, no permission, read-only mounts, damage.
 */
#include <sched.h>
#include <sys/mount.h>

#include "sqlite_fixture.h"

/* ---- files before and after ------------------------------------------------------------------------------------ */

typedef struct Files {
  Buf parts[3];
  bool exists[3];
} Files;

static const char *const SUFFIXES[] = {"", "-wal", "-journal"};

static Files files_take(const char *db) {
  Files files = {0};
  for (size_t i = 0; i < 3; i++) {
    char path[176];
    (void)snprintf(path, sizeof(path), "%s%s", db, SUFFIXES[i]);
    files.exists[i] = file_exists(path);
    if (files.exists[i]) files.parts[i] = file_content(path);
  }
  return files;
}

static void assert_untouched(const char *db, Files *files) {
  for (size_t i = 0; i < 3; i++) {
    char path[176];
    (void)snprintf(path, sizeof(path), "%s%s", db, SUFFIXES[i]);
    if (file_exists(path) != files->exists[i]) fail_msg("%s %s", path, files->exists[i] ? "is gone" : "has appeared");
    if (files->exists[i] && !file_equals(path, buf_bytes(&files->parts[i]))) fail_msg("%s has changed", path);
    buf_free(&files->parts[i]);
  }
}

/* Runs SQL in another process, which then dies without closing anything. */
static void crash_after(const char *path, const char *text) {
  Shared *shared = shared_new();
  pid_t pid = child_fork();
  if (pid == 0) {
    sqlite3 *db = NULL;
    if (sqlite3_open(path, &db) != SQLITE_OK) _exit(3);
    if (sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK) _exit(4);
    shared->ready = 1;
    for (;;) pause();
  }
  shared_wait(&shared->ready);
  child_crash(pid);
  munmap(shared, sizeof(Shared));
}

/* A process that has the database open, as `text` leaves it, until `stop`. */
static pid_t hold_open(const char *path, const char *text, Shared *shared) {
  pid_t pid = child_fork();
  if (pid == 0) {
    sqlite3 *db = NULL;
    if (sqlite3_open(path, &db) != SQLITE_OK) _exit(3);
    if (sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK) _exit(4);
    shared->ready = 1;
    shared_wait(&shared->stop);
    (void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    _exit(sqlite3_close(db) == SQLITE_OK ? 0 : 5);
  }
  shared_wait(&shared->ready);
  return pid;
}

static void create_ledger(const char *path, const char *mode) {
  sqlite3 *db = sql_open(path);
  sql(db, mode);
  ledger_create(db);
  assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static const char WAL_CRASH[] =
    "PRAGMA wal_autocheckpoint = 0;"
    "UPDATE total SET seq = 1; INSERT INTO done VALUES(1, NULL);"
    "PRAGMA cache_size = 2; BEGIN; UPDATE account SET pad = randomblob(600), v = v + 5";

/* ---- crashed applications -------------------------------------------------------------------------------------- */

static void test_crashed_wal_survives(void **state) {
  Fixture *f = *state;
  char copy[160], shm[160];
  create_ledger(f->db, "PRAGMA journal_mode = WAL");
  crash_after(f->db, WAL_CRASH);
  Files files = files_take(f->db);
  assert_true(files.exists[1] && files.parts[1].len > 1000);
  Outcome out = backup(f, f->db);
  assert_int_equal(ledger_verify(put_copy(f, &out, "app.db", copy)), 1);
  outcome_free(&out);
  assert_untouched(f->db, &files);
  /* Without the -shm nobody can be alive: nothing is created either. */
  files = files_take(f->db);
  assert_int_equal(unlink(path_in(f, "app.db-shm", shm)), 0);
  out = backup(f, f->db);
  assert_string_equal(fact_text(&out, "method"), "main file, not in use");
  assert_true(fact_int(&out, "wal_frames") > 0);
  assert_int_equal(ledger_verify(put_copy(f, &out, "app.db", copy)), 1);
  outcome_free(&out);
  assert_untouched(f->db, &files);
  assert_false(file_exists(shm));
  /* The application comes back to all it had committed. */
  assert_int_equal(ledger_verify(f->db), 1);
}

static const char JOURNAL_CRASH[] =
    "PRAGMA cache_size = 2; PRAGMA synchronous = OFF; BEGIN IMMEDIATE;"
    "UPDATE account SET pad = randomblob(600), v = v + 5; UPDATE total SET seq = 9";

static void test_hot_journal(void **state) {
  Fixture *f = *state;
  char copy[160];
  Outcome out;
  create_ledger(f->db, "PRAGMA journal_mode = DELETE");
  crash_after(f->db, JOURNAL_CRASH);
  Files files = files_take(f->db);
  assert_true(files.exists[2] && files.parts[2].len > 1000);
  BackupCase c = {.pattern = f->db};
  Error *err = try_backup(f, &c, &out);
  assert_true(err_is(err, ERR_REFUSED));
  assert_non_null(strstr(err_hint_text(err), "--recover-copy"));
  assert_non_null(strstr(err_text(err), f->db));
  err_free(err);
  outcome_free(&out);
  c.recover_copy = true;
  assert_ok(try_backup(f, &c, &out));
  assert_int_equal(ledger_verify(put_copy(f, &out, "app.db", copy)), 0);
  assert_int_equal(out.warnings, 1);
  outcome_free(&out);
  assert_untouched(f->db, &files);
  /* No copies are left behind. */
  assert_int_equal(rmdir(f->scratch), 0);
}

/* A journal that PERSIST has finished with, and the leftover of a writer that is alive, are not hot. */
static void test_journals_that_are_not_hot(void **state) {
  Fixture *f = *state;
  char copy[160];
  create_ledger(f->db, "PRAGMA journal_mode = PERSIST");
  char journal[160];
  assert_true(file_exists(path_in(f, "app.db-journal", journal)));
  Outcome out = backup(f, f->db);
  assert_int_equal(ledger_verify(put_copy(f, &out, "app.db", copy)), 0);
  outcome_free(&out);
  Shared *shared = shared_new();
  pid_t pid = hold_open(f->db, "BEGIN IMMEDIATE; UPDATE account SET v = v + 1 WHERE id < 100", shared);
  out = backup(f, f->db);
  assert_int_equal(ledger_verify(put_copy(f, &out, "app.db", copy)), 0);
  outcome_free(&out);
  shared->stop = 1;
  child_join(pid);
  munmap(shared, sizeof(Shared));
}

/* Reaches pages in the middle of the file only: neither its size nor page 1 tells. */
static const char QUIET_JOURNAL_CRASH[] =
    "PRAGMA cache_size = 2; PRAGMA synchronous = OFF; BEGIN IMMEDIATE; UPDATE account SET pad = randomblob(500)";

/* A writer dies between two of our reads, after its pages reached the file. */
typedef struct CrashBetween {
  const char *path;
  bool done;
} CrashBetween;

static void crash_between(void *ctx, Bytes path, uint64_t offset) {
  CrashBetween *crash = ctx;
  (void)path;
  if (crash->done || offset == 0) return;
  crash->done = true;
  crash_after(crash->path, QUIET_JOURNAL_CRASH);
}

static void test_writer_dies_while_we_read(void **state) {
  Fixture *f = *state;
  Outcome out;
  create_ledger(f->db, "PRAGMA journal_mode = DELETE");
  CrashBetween crash = {.path = f->db};
  BackupCase c = {.pattern = f->db, .buffer_size = 128 * 1024, .on_buffer = crash_between, .on_buffer_ctx = &crash};
  assert_err(try_backup(f, &c, &out), ERR_REFUSED);
  assert_true(crash.done);
  assert_int_equal(out.aborted, 1);
  outcome_free(&out);
}

/* ---- locked ---------------------------------------------------------------------------------------------------- */

static void check_locked(Fixture *f, const char *mode, const char *text) {
  Outcome out;
  Shared *shared = shared_new();
  create_ledger(f->db, mode);
  pid_t pid = hold_open(f->db, text, shared);
  Error *err = try_backup(f, &(BackupCase){.pattern = f->db}, &out);
  if (!err_is(err, ERR_UNREACHABLE)) fail_msg("%s: %s", mode, err ? err_text(err) : "succeeded");
  assert_non_null(strstr(err_text(err), f->db));
  assert_non_null(err_hint_text(err));
  err_free(err);
  outcome_free(&out);
  shared->stop = 1;
  child_join(pid);
  munmap(shared, sizeof(Shared));
  out = backup(f, f->db);
  outcome_free(&out);
}

static void test_locked_exclusively(void **state) {
  check_locked(*state, "PRAGMA journal_mode = DELETE", "BEGIN EXCLUSIVE");
}

static void test_wal_in_exclusive_mode(void **state) {
  check_locked(*state, "PRAGMA journal_mode = WAL",
               "PRAGMA locking_mode = EXCLUSIVE; UPDATE total SET sum = sum; BEGIN");
}

/* Of several found by a pattern, one that cannot be had is left out and reported. */
static void test_locked_among_others(void **state) {
  Fixture *f = *state;
  char other[160], pattern[160];
  Outcome out;
  Shared *shared = shared_new();
  create_ledger(f->db, "PRAGMA journal_mode = DELETE");
  sql_at(path_in(f, "other.db", other), "CREATE TABLE t(a)");
  pid_t pid = hold_open(f->db, "BEGIN EXCLUSIVE", shared);
  assert_ok(try_backup(f, &(BackupCase){.pattern = path_in(f, "*.db", pattern)}, &out));
  assert_int_equal(out.tree->len, 1);
  assert_int_equal(out.partials, 1);
  outcome_free(&out);
  shared->stop = 1;
  child_join(pid);
  munmap(shared, sizeof(Shared));
}

/* ---- permissions and mounts ------------------------------------------------------------------------------------ */

enum { NOBODY = 65534, NO_MOUNTS = 77 };

/* In a child without root's rights, or in a mount of its own; its exit status is the verdict. */
static void in_child(void (*run)(Fixture *), Fixture *f) {
  pid_t pid = child_fork();
  if (pid == 0) {
    run(f);
    _exit(0);
  }
  int status = 0;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  if (WIFEXITED(status) && WEXITSTATUS(status) == NO_MOUNTS) skip(); /* a container without that right */
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
}

static void drop_root(void) {
  if (setgid(NOBODY) != 0 || setuid(NOBODY) != 0) _exit(40);
}

#define MUST(cond)                                                     \
  do {                                                                 \
    if (!(cond)) {                                                     \
      (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond); \
      _exit(41);                                                       \
    }                                                                  \
  } while (0)

/* The backup's outcome as seen from a child: content is verified by its parent's rules, in memory. */
static Outcome child_backup(Fixture *f, ErrCode expected) {
  Outcome out;
  Error *err = try_backup(f, &(BackupCase){.pattern = f->db, .no_scratch = true}, &out);
  if (err) (void)fprintf(stderr, "%s", expected ? "" : err_text(err));
  MUST(expected ? err_is(err, expected) : err == NULL);
  err_free(err);
  return out;
}

/* What the last committed transaction was, read from the captured bytes. */
static int64_t captured_seq(const Outcome *out) {
  const MemoryNode *node = memory_tree_get(out->tree, "app.db");
  MUST(node != NULL);
  sqlite3 *db = NULL;
  MUST(sqlite3_open(":memory:", &db) == SQLITE_OK);
  uint8_t *image = sqlite3_malloc64(node->entry->size);
  memcpy(image, node->data, (size_t)node->entry->size);
  image[18] = image[19] = 1; /* in memory there is no log */
  MUST(sqlite3_deserialize(db, "main", image, (sqlite3_int64)node->entry->size, (sqlite3_int64)node->entry->size,
                           SQLITE_DESERIALIZE_FREEONCLOSE | SQLITE_DESERIALIZE_READONLY) == SQLITE_OK);
  char *verdict = sql_text(db, "PRAGMA integrity_check");
  MUST(strcmp(verdict, "ok") == 0);
  free(verdict);
  int64_t seq = sql_int(db, "SELECT seq FROM total");
  MUST(sqlite3_close(db) == SQLITE_OK);
  return seq;
}

static void as_nobody(Fixture *f) {
  drop_root();
  Outcome out = child_backup(f, 0);
  MUST(captured_seq(&out) == 0);
  outcome_free(&out);
}

static void as_nobody_after_crash(Fixture *f) {
  drop_root();
  Outcome out = child_backup(f, 0);
  MUST(captured_seq(&out) == 1);
  outcome_free(&out);
}

static void as_nobody_denied(Fixture *f) {
  drop_root();
  Outcome out = child_backup(f, ERR_DENIED);
  outcome_free(&out);
}

static void need_root(void) {
  if (geteuid() != 0) skip();
}

static void set_modes(const Fixture *f, mode_t dir, mode_t file) {
  static const char *const NAMES[] = {"app.db", "app.db-wal", "app.db-shm"};
  char path[160];
  for (size_t i = 0; i < 3; i++) (void)chmod(path_in(f, NAMES[i], path), file);
  assert_int_equal(chmod(f->dir, dir), 0);
}

static void test_unwritable_rollback(void **state) {
  need_root();
  create_ledger(((Fixture *)*state)->db, "PRAGMA journal_mode = DELETE");
  set_modes(*state, 0555, 0444);
  in_child(as_nobody, *state);
}

static void test_unwritable_wal_closed(void **state) {
  need_root();
  create_ledger(((Fixture *)*state)->db, "PRAGMA journal_mode = WAL");
  set_modes(*state, 0555, 0444);
  in_child(as_nobody, *state);
}

/* The log is there, its index is there but cannot be written, and nobody is alive to keep it. */
static void test_unwritable_wal_crashed(void **state) {
  Fixture *f = *state;
  need_root();
  create_ledger(f->db, "PRAGMA journal_mode = WAL");
  crash_after(f->db, WAL_CRASH);
  set_modes(f, 0555, 0444);
  Files files = files_take(f->db);
  in_child(as_nobody_after_crash, f);
  assert_untouched(f->db, &files);
  char shm[160];
  assert_int_equal(unlink(path_in(f, "app.db-shm", shm)), 0);
  files = files_take(f->db);
  in_child(as_nobody_after_crash, f);
  assert_untouched(f->db, &files);
}

/* The application is alive; we may read its files and no more. */
static void test_unwritable_wal_alive(void **state) {
  Fixture *f = *state;
  need_root();
  create_ledger(f->db, "PRAGMA journal_mode = WAL");
  Shared *shared = shared_new();
  pid_t pid = hold_open(f->db,
                        "PRAGMA wal_autocheckpoint = 0; UPDATE total SET seq = 1; INSERT INTO done VALUES(1, NULL);"
                        "SELECT count(*) FROM total",
                        shared);
  set_modes(f, 0555, 0444);
  in_child(as_nobody_after_crash, f);
  shared->stop = 1;
  child_join(pid);
  munmap(shared, sizeof(Shared));
}

/* A wal-index that we may not even read: SQLite cannot take part, and the error says what is needed. */
static void as_nobody_without_index(Fixture *f) {
  drop_root();
  Outcome out;
  Error *err = try_backup(f, &(BackupCase){.pattern = f->db, .no_scratch = true}, &out);
  MUST(err_is(err, ERR_UNREACHABLE) || err_is(err, ERR_DENIED));
  MUST(strstr(err_text(err), f->db) && strstr(err_hint_text(err), "-shm"));
  err_free(err);
  outcome_free(&out);
}

static void test_unreadable_index(void **state) {
  Fixture *f = *state;
  char shm[160];
  need_root();
  create_ledger(f->db, "PRAGMA journal_mode = WAL");
  crash_after(f->db, WAL_CRASH);
  set_modes(f, 0555, 0444);
  assert_int_equal(chmod(path_in(f, "app.db-shm", shm), 0600), 0);
  in_child(as_nobody_without_index, f);
}

static void test_unreadable(void **state) {
  need_root();
  create_ledger(((Fixture *)*state)->db, "PRAGMA journal_mode = DELETE");
  set_modes(*state, 0555, 0400);
  in_child(as_nobody_denied, *state);
}

/* A file system of its own, mounted read-only with the state a crash left. */
static void on_read_only_mount(Fixture *f) {
  if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) _exit(NO_MOUNTS);
  MUST(mount(f->dir, f->dir, NULL, MS_BIND, NULL) == 0);
  MUST(mount(NULL, f->dir, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) == 0);
  char probe[160];
  MUST(open(path_in(f, "probe", probe), O_WRONLY | O_CREAT | O_CLOEXEC, 0600) < 0 && errno == EROFS);
  Outcome out = child_backup(f, 0);
  MUST(captured_seq(&out) == 1);
  outcome_free(&out);
}

static void test_read_only_mount(void **state) {
  Fixture *f = *state;
  char shm[160];
  need_root();
  create_ledger(f->db, "PRAGMA journal_mode = DELETE");
  sql_at(f->db, "UPDATE total SET seq = 1");
  in_child(on_read_only_mount, f);
  sql_at(f->db, "PRAGMA journal_mode = WAL");
  in_child(on_read_only_mount, f);
  crash_after(f->db, WAL_CRASH);
  in_child(on_read_only_mount, f);
  assert_int_equal(unlink(path_in(f, "app.db-shm", shm)), 0);
  in_child(on_read_only_mount, f);
}

/* ---- damage ---------------------------------------------------------------------------------------------------- */

static void overwrite(const char *path, off_t at, const void *data, size_t len) {
  int fd = open(path, O_RDWR | O_CLOEXEC);
  assert_true(fd >= 0);
  assert_int_equal(pwrite(fd, data, len, at), (ssize_t)len);
  close(fd);
}

/* Fails without force and says why; with force it is stored as it is, and marked. */
static void check_damaged(Fixture *f, const char *said) {
  Outcome out;
  BackupCase c = {.pattern = f->db};
  Error *err = try_backup(f, &c, &out);
  if (!err_is(err, ERR_DAMAGED)) fail_msg("%s", err ? err_text(err) : "succeeded");
  if (!strstr(err_text(err), said)) fail_msg("'%s' is not in: %s", said, err_text(err));
  assert_non_null(strstr(err_hint_text(err), "--force"));
  err_free(err);
  outcome_free(&out);
  c.force = true;
  assert_ok(try_backup(f, &c, &out));
  assert_true(out.facts.damaged);
  assert_int_equal(out.warnings, 1);
  assert_true(strlen(fact_text(&out, "damage")) > 0);
  const MemoryNode *node = memory_tree_get(out.tree, "app.db");
  Buf content = file_content(f->db);
  size_t common = content.len < node->entry->size ? content.len : (size_t)node->entry->size;
  assert_memory_equal(content.data, node->data, common);
  buf_free(&content);
  outcome_free(&out);
}

static void test_damaged_tree_page(void **state) {
  Fixture *f = *state;
  uint8_t junk[64];
  memset(junk, 0xff, sizeof(junk));
  create_ledger(f->db, "PRAGMA journal_mode = DELETE");
  overwrite(f->db, 4096 * 30, junk, sizeof(junk));
  check_damaged(f, "integrity_check: ");
}

static void test_damaged_root(void **state) {
  Fixture *f = *state;
  sql_at(f->db, "CREATE TABLE t(a); INSERT INTO t VALUES(1)");
  overwrite(f->db, 4096, "Z", 1);
  check_damaged(f, "page 2");
}

static void test_damaged_index(void **state) {
  Fixture *f = *state;
  sql_at(f->db, "CREATE TABLE t(a); CREATE INDEX i ON t(a); INSERT INTO t VALUES(1), (2), (3)");
  /* The index loses an entry: its page then says that it holds two. */
  overwrite(f->db, 2 * 4096 + 4, "\x02", 1);
  check_damaged(f, "integrity_check");
}

static void test_truncated_file(void **state) {
  Fixture *f = *state;
  create_ledger(f->db, "PRAGMA journal_mode = DELETE");
  assert_int_equal(truncate(f->db, 4096 * 20 + 100), 0);
  check_damaged(f, "pages");
}

static void test_damaged_header(void **state) {
  Fixture *f = *state;
  sql_at(f->db, "CREATE TABLE t(a)");
  overwrite(f->db, 0, "XQLite", 6);
  check_damaged(f, "does not begin like a SQLite database");
}

static void test_damaged_page_size(void **state) {
  Fixture *f = *state;
  sql_at(f->db, "CREATE TABLE t(a)");
  overwrite(f->db, 16, "\x10\x01", 2);
  check_damaged(f, "page size");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      CASE(test_crashed_wal_survives),
      CASE(test_hot_journal),
      CASE(test_journals_that_are_not_hot),
      CASE(test_writer_dies_while_we_read),
      CASE(test_locked_exclusively),
      CASE(test_wal_in_exclusive_mode),
      CASE(test_locked_among_others),
      CASE(test_unwritable_rollback),
      CASE(test_unwritable_wal_closed),
      CASE(test_unwritable_wal_crashed),
      CASE(test_unwritable_wal_alive),
      CASE(test_unreadable_index),
      CASE(test_unreadable),
      CASE(test_read_only_mount),
      CASE(test_damaged_tree_page),
      CASE(test_damaged_root),
      CASE(test_damaged_index),
      CASE(test_truncated_file),
      CASE(test_damaged_header),
      CASE(test_damaged_page_size),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
