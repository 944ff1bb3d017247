/* What others do to a database's files with no regard for SQLite's locks while it is read: another file renamed over
 * it, its end cut off, something appended; and a database that is shorter than it should be, or that has two names.
 * What is stored is one committed state, or nothing is.
 */
#include "sqlite_fixture.h"

static void create_ledger(const char *path, const char *mode, int steps) {
  sqlite3 *db = sql_open(path);
  uint64_t random = 11;
  sql(db, mode);
  ledger_create(db);
  for (int i = 0; i < steps; i++) assert_int_equal(ledger_step(db, &random), SQLITE_OK);
  assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* A process that keeps the database open in WAL mode, with `text` in its log. */
static pid_t hold_open(const char *path, const char *text, Shared *shared) {
  shared->stop = shared->ready = 0;
  pid_t pid = child_fork();
  if (pid == 0) {
    sqlite3 *db = NULL;
    if (sqlite3_open(path, &db) != SQLITE_OK) _exit(3);
    if (sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK) _exit(4);
    shared->ready = 1;
    shared_wait(&shared->stop);
    (void)sqlite3_close(db);
    _exit(0);
  }
  shared_wait(&shared->ready);
  return pid;
}

static void let_go(pid_t pid, Shared *shared) {
  shared->stop = 1;
  child_join(pid);
}

/* ---- under the reader ------------------------------------------------------------------------------------------ */

typedef enum Deed { REPLACE, CUT, APPEND } Deed;

typedef struct Meddle {
  const Fixture *f;
  Deed deed;
  off_t keep; /* of CUT */
  bool done;
} Meddle;

/* From another process: closing a descriptor here would drop the locks. */
static void append_junk(const char *path) {
  pid_t pid = child_fork();
  if (pid == 0) {
    static const char junk[8192 + 5] = "junk";
    int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    _exit(fd >= 0 && write(fd, junk, sizeof(junk)) == (ssize_t)sizeof(junk) ? 0 : 3);
  }
  child_join(pid);
}

static void meddle(void *ctx, Bytes path, uint64_t offset) {
  Meddle *m = ctx;
  char other[160];
  (void)path;
  if (m->done || offset < 200 * 1024) return;
  m->done = true;
  if (m->deed == REPLACE) assert_int_equal(rename(path_in(m->f, "other", other), m->f->db), 0);
  if (m->deed == CUT) assert_int_equal(truncate(m->f->db, m->keep), 0);
  if (m->deed == APPEND) append_junk(m->f->db);
}

/* The state that was captured, or -1: refused as damaged. */
static int64_t run_meddled(const Fixture *f, Deed deed, Outcome *out) {
  char copy[160];
  struct stat st;
  assert_int_equal(stat(f->db, &st), 0);
  Meddle m = {.f = f, .deed = deed, .keep = st.st_size / 2};
  BackupCase c = {.pattern = f->db, .buffer_size = 128 * 1024, .on_buffer = meddle, .on_buffer_ctx = &m};
  Error *err = try_backup(f, &c, out);
  assert_true(m.done);
  if (!err) return ledger_verify(put_copy(f, out, "app.db", copy));
  if (!err_is(err, ERR_DAMAGED)) fail_msg("%s", err_text(err));
  err_free(err);
  return -1;
}

static const char *const MODES[] = {"PRAGMA journal_mode = DELETE", "PRAGMA journal_mode = WAL"};

/* The old file goes on to be one state of its own. */
static void test_replaced(void **state) {
  Fixture *f = *state;
  char other[160];
  for (size_t i = 0; i < NELEMS(MODES); i++) {
    Outcome out;
    create_ledger(f->db, MODES[i], 2);
    create_ledger(path_in(f, "other", other), MODES[1 - i], 7);
    int64_t seq = run_meddled(f, REPLACE, &out);
    if (seq != 2 && seq != 7) fail_msg("%s: captured %lld", MODES[i], (long long)seq);
    outcome_free(&out);
    assert_int_equal(unlink(f->db), 0);
  }
}

static void test_replaced_while_in_use(void **state) {
  Fixture *f = *state;
  char other[160];
  Outcome out;
  Shared *shared = shared_new();
  create_ledger(f->db, MODES[1], 2);
  create_ledger(path_in(f, "other", other), MODES[0], 7);
  pid_t pid = hold_open(f->db, "PRAGMA wal_autocheckpoint = 0; UPDATE account SET pad = randomblob(400)", shared);
  assert_int_equal(run_meddled(f, REPLACE, &out), 2);
  assert_true(fact_int(&out, "wal_frames") > 0);
  outcome_free(&out);
  let_go(pid, shared);
  munmap(shared, sizeof(Shared));
}

static void test_cut_off(void **state) {
  Fixture *f = *state;
  for (size_t i = 0; i < NELEMS(MODES); i++) {
    Outcome out;
    create_ledger(f->db, MODES[i], 2);
    assert_int_equal(run_meddled(f, CUT, &out), -1);
    assert_int_equal(out.aborted, 1);
    outcome_free(&out);
    assert_int_equal(unlink(f->db), 0);
  }
}

static void test_cut_off_while_in_use(void **state) {
  Fixture *f = *state;
  Outcome out;
  Shared *shared = shared_new();
  create_ledger(f->db, MODES[1], 2);
  pid_t pid = hold_open(f->db, "PRAGMA wal_autocheckpoint = 0; UPDATE account SET v = v WHERE id = 1", shared);
  assert_int_equal(run_meddled(f, CUT, &out), -1);
  assert_int_equal(out.aborted, 1);
  outcome_free(&out);
  child_crash(pid);
  munmap(shared, sizeof(Shared));
}

/* The database ends where its header says. */
static void test_appended_to(void **state) {
  Fixture *f = *state;
  for (size_t i = 0; i < NELEMS(MODES); i++) {
    Outcome out;
    create_ledger(f->db, MODES[i], 2);
    assert_int_equal(run_meddled(f, APPEND, &out), 2);
    outcome_free(&out);
    assert_int_equal(unlink(f->db), 0);
  }
}

/* ---- too short -------------------------------------------------------------------------------------------------- */

static Error *open_snapshot(const Fixture *f, Snapshot **out) {
  SnapshotOptions options = {.sys = sys_real(), .lock_wait_ms = 100};
  return snapshot_open(f->db, &options, out, NULL);
}

/* While a log waits to be copied into it the main file may end before the database does: with pages that the log holds,
 * and without free pages, in which there is nothing. Pages with content in them are missed. */
static void test_short_under_a_log(void **state) {
  Fixture *f = *state;
  Snapshot *snapshot = NULL;
  char copy[160];
  struct stat st;
  sqlite3 *db = sql_open(f->db);
  sql(db, "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0");
  ledger_create(db);
  sql(db,
      "CREATE TABLE gone(a); INSERT INTO gone VALUES(zeroblob(900000)); PRAGMA wal_checkpoint(TRUNCATE);"
      "INSERT INTO gone VALUES(zeroblob(900000))");
  assert_ok(open_snapshot(f, &snapshot));
  assert_true(snapshot_info(snapshot)->file_size + 800000 < snapshot_info(snapshot)->size);
  snapshot_close(snapshot);
  sql(db, "DELETE FROM gone; PRAGMA wal_checkpoint(TRUNCATE); UPDATE account SET pad = NULL WHERE id = 1");
  assert_int_equal(stat(f->db, &st), 0);
  assert_int_equal(truncate(f->db, st.st_size - 800000), 0);
  Outcome out = backup(f, f->db);
  assert_true(fact_int(&out, "wal_frames") > 0);
  assert_int_equal(ledger_verify(put_copy(f, &out, "app.db", copy)), 0);
  outcome_free(&out);
  assert_int_equal(truncate(f->db, st.st_size - 2000000), 0);
  assert_err(open_snapshot(f, &snapshot), ERR_DAMAGED);
  assert_int_equal(truncate(f->db, 4096), 0);
  assert_err(open_snapshot(f, &snapshot), ERR_DAMAGED);
  (void)sqlite3_close(db);
}

/* Written by a SQLite older than 3.7.0: its size is the file's, and half a page at the end is a page lost. */
static void test_half_a_page(void **state) {
  Fixture *f = *state;
  char copy[160];
  create_ledger(f->db, MODES[0], 3);
  Buf content = file_content(f->db);
  memset(content.data + 92, 0, 4);
  memset(content.data + 28, 0, 4);
  file_put(f->db, content.data, content.len);
  Outcome out = backup(f, f->db);
  assert_int_equal(ledger_verify(put_copy(f, &out, "app.db", copy)), 3);
  outcome_free(&out);
  file_put(f->db, content.data, content.len - 1000);
  Snapshot *snapshot = NULL;
  assert_err(open_snapshot(f, &snapshot), ERR_DAMAGED);
  buf_free(&content);
}

/* ---- two names -------------------------------------------------------------------------------------------------- */

/* The application's log lies beside the other name: without it this is an old state, or none. */
static void test_hard_link(void **state) {
  Fixture *f = *state;
  char name[160], copy[160];
  Outcome out;
  Shared *shared = shared_new();
  create_ledger(f->db, MODES[1], 2);
  assert_int_equal(link(f->db, path_in(f, "name.db", name)), 0);
  out = backup(f, name);
  assert_int_equal(ledger_verify(put_copy(f, &out, "name.db", copy)), 2);
  outcome_free(&out);
  pid_t pid = hold_open(f->db, "PRAGMA wal_autocheckpoint = 0; UPDATE account SET v = v + 1", shared);
  Error *err = try_backup(f, &(BackupCase){.pattern = name}, &out);
  assert_true(err_is(err, ERR_REFUSED));
  assert_non_null(strstr(err_text(err), "another of its names"));
  err_free(err);
  outcome_free(&out);
  out = backup(f, f->db);
  assert_int_equal(fact_int(&out, "wal_frames") > 0, true);
  outcome_free(&out);
  let_go(pid, shared);
  munmap(shared, sizeof(Shared));
}

/* It comes, writes, checkpoints and goes while we read: its log never shows at our name. Begun before anything is open
 * here, since SQLite's own record of locks must not be inherited. */
_Noreturn static void visitor_run(const char *path, Shared *shared) {
  sqlite3 *db = NULL;
  uint64_t random = 3;
  shared_wait(&shared->go);
  if (sqlite3_open(path, &db) != SQLITE_OK) _exit(3);
  for (int i = 0; i < 5; i++)
    if (ledger_step(db, &random) != SQLITE_OK) _exit(4);
  if (sqlite3_exec(db, "PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, NULL) != SQLITE_OK) _exit(5);
  int rc = sqlite3_close(db);
  shared->ready = 1;
  _exit(rc == SQLITE_OK ? 0 : 6);
}

static void let_visitor_in(void *ctx, Bytes path, uint64_t offset) {
  Shared *shared = ctx;
  (void)path;
  if (shared->go || offset < 200 * 1024) return;
  shared->go = 1;
  shared_wait(&shared->ready);
}

static void test_hard_link_written_through(void **state) {
  Fixture *f = *state;
  char name[160], copy[160];
  Outcome out;
  Shared *shared = shared_new();
  create_ledger(f->db, MODES[1], 2);
  assert_int_equal(link(f->db, path_in(f, "name.db", name)), 0);
  pid_t pid = child_fork();
  if (pid == 0) visitor_run(f->db, shared);
  BackupCase c = {.pattern = name, .buffer_size = 128 * 1024, .on_buffer = let_visitor_in, .on_buffer_ctx = shared};
  assert_ok(try_backup(f, &c, &out));
  child_join(pid);
  assert_int_equal(out.aborted, 1);
  assert_int_equal(ledger_verify(put_copy(f, &out, "name.db", copy)), 7);
  outcome_free(&out);
  munmap(shared, sizeof(Shared));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      CASE(test_replaced),
      CASE(test_replaced_while_in_use),
      CASE(test_cut_off),
      CASE(test_cut_off_while_in_use),
      CASE(test_appended_to),
      CASE(test_short_under_a_log),
      CASE(test_half_a_page),
      CASE(test_hard_link),
      CASE(test_hard_link_written_through),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
