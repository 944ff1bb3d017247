/* Backups of a database that other processes write to, checkpoint, vacuum, convert and crash over. Every captured copy
 * must be one committed state, and not one from before the backup began.
 */
#include <signal.h>

#include "sqlite_fixture.h"

/* ---- the other processes ------------------------------------------------------------------------------------- */

typedef struct Writer {
  const char *path;
  Shared *shared;
  uint64_t seed;
  bool checkpoints, vacuum, schema, modes;
  unsigned pause_us;
  const char *setup; /* run by the writer's connection first */
} Writer;

static void writer_extra(const Writer *w, sqlite3 *db, uint64_t *random) {
  static const char *const CHECKPOINTS[] = {"PRAGMA wal_checkpoint(PASSIVE)", "PRAGMA wal_checkpoint(FULL)",
                                            "PRAGMA wal_checkpoint(RESTART)", "PRAGMA wal_checkpoint(TRUNCATE)"};
  static const char *const SCHEMA[] = {"CREATE TABLE IF NOT EXISTS extra(a, b TEXT, pad BLOB)",
                                       "INSERT INTO extra SELECT id, hex(pad), pad FROM account LIMIT 200",
                                       "CREATE INDEX IF NOT EXISTS extra_a ON extra(a)", "DROP TABLE IF EXISTS extra"};
  static const char *const MODES[] = {"PRAGMA journal_mode = DELETE",   "PRAGMA journal_mode = WAL",
                                      "PRAGMA journal_mode = TRUNCATE", "PRAGMA journal_mode = WAL",
                                      "PRAGMA journal_mode = PERSIST",  "PRAGMA journal_mode = WAL"};
  uint64_t pick = test_random(random);
  const char *text = NULL;
  if (w->checkpoints && pick % 4 == 0) text = CHECKPOINTS[(pick >> 8) % NELEMS(CHECKPOINTS)];
  if (w->vacuum && pick % 25 == 1) text = "VACUUM";
  if (w->schema && pick % 5 == 2) text = SCHEMA[(pick >> 8) % NELEMS(SCHEMA)];
  if (w->modes && pick % 6 == 3) text = MODES[(pick >> 8) % NELEMS(MODES)];
  /* Busy is what a backup may do to these; the transactions themselves must get through. */
  if (text) (void)sqlite3_exec(db, text, NULL, NULL, NULL);
}

/* Runs until told to stop; never returns. Other exit statuses than 0 are failures. */
_Noreturn static void writer_run(const Writer *w) {
  sqlite3 *db = NULL;
  uint64_t random = w->seed;
  if (sqlite3_open(w->path, &db) != SQLITE_OK) _exit(3);
  (void)sqlite3_busy_timeout(db, w->modes ? 50 : 30000);
  if (sqlite3_exec(db, "PRAGMA synchronous = OFF", NULL, NULL, NULL) != SQLITE_OK) _exit(4);
  if (w->setup && sqlite3_exec(db, w->setup, NULL, NULL, NULL) != SQLITE_OK) _exit(5);
  while (!w->shared->stop) {
    int rc = ledger_step(db, &random);
    int primary = rc & 0xff;
    if (rc != SQLITE_OK && !(w->modes && (primary == SQLITE_BUSY || primary == SQLITE_LOCKED))) _exit(6);
    if (rc == SQLITE_OK) {
      w->shared->committed++;
      w->shared->ready = 1;
    }
    writer_extra(w, db, &random);
    if (w->pause_us) usleep(w->pause_us);
  }
  _exit(sqlite3_close(db) == SQLITE_OK ? 0 : 7);
}

static pid_t writer_start(const Writer *w) {
  pid_t pid = child_fork();
  if (pid == 0) writer_run(w);
  return pid;
}

static void slow_sink(void *ctx, Bytes path, uint64_t offset) {
  (void)ctx, (void)path, (void)offset;
  usleep(1000);
}

/* ---- rounds of backups --------------------------------------------------------------------------------------- */

typedef struct Storm {
  const char *mode; /* how the database begins */
  Writer writer;    /* without path, shared, seed */
  unsigned writers, rounds;
  bool no_scratch;
} Storm;

static void create_ledger(const char *path, const char *mode) {
  sqlite3 *db = sql_open(path);
  sql(db, mode);
  ledger_create(db);
  assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void storm_round(const Fixture *f, const Storm *storm, const Shared *shared) {
  char copy[160];
  Outcome out;
  BackupCase c = {.pattern = f->db,
                  .lock_wait_ms = 20000,
                  .buffer_size = 128 * 1024,
                  .on_buffer = slow_sink,
                  .no_scratch = storm->no_scratch};
  int64_t before = shared->committed;
  assert_ok(try_backup(f, &c, &out));
  /* A writer counts after its commit, so there may be one more for each. */
  int64_t after = shared->committed + storm->writers;
  int64_t seq = ledger_verify(put_copy(f, &out, "app.db", copy));
  if (seq < before || seq > after)
    fail_msg("captured transaction %lld, committed were %lld to %lld", (long long)seq, (long long)before,
             (long long)after);
  const json_t *tables = json_object_get(member_facts(&out, 0), "tables");
  size_t i;
  json_t *table;
  sqlite3 *db = sql_open(copy);
  json_array_foreach(tables, i, table) {
    char text[200];
    (void)snprintf(text, sizeof(text), "SELECT count(*) FROM \"%s\"",
                   json_string_value(json_object_get(table, "name")));
    assert_int_equal(json_integer_value(json_object_get(table, "rows")), sql_int(db, text));
  }
  assert_int_equal(sqlite3_close(db), SQLITE_OK);
  outcome_free(&out);
}

static void storm_run(const Fixture *f, const Storm *storm) {
  pid_t pids[4];
  Shared *shared = shared_new();
  create_ledger(f->db, storm->mode);
  for (unsigned i = 0; i < storm->writers; i++) {
    Writer writer = storm->writer;
    writer.path = f->db;
    writer.shared = shared;
    writer.seed = 77 + i;
    pids[i] = writer_start(&writer);
  }
  shared_wait(&shared->ready);
  for (unsigned round = 0; round < storm->rounds; round++) storm_round(f, storm, shared);
  shared->stop = 1;
  for (unsigned i = 0; i < storm->writers; i++) child_join(pids[i]);
  assert_int_equal(ledger_verify(f->db), shared->committed);
  munmap(shared, sizeof(Shared));
}

#define WAL_SMALL "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 50"

static void test_wal_writers(void **state) {
  storm_run(*state, &(Storm){.mode = "PRAGMA journal_mode = WAL", .writers = 2, .rounds = 10});
}

static void test_wal_checkpoints(void **state) {
  storm_run(*state, &(Storm){.mode = WAL_SMALL,
                             .writer = {.checkpoints = true, .setup = "PRAGMA wal_autocheckpoint = 20"},
                             .writers = 2,
                             .rounds = 15});
}

static void test_wal_vacuum_and_schema(void **state) {
  storm_run(*state, &(Storm){.mode = WAL_SMALL,
                             .writer = {.checkpoints = true, .vacuum = true, .schema = true},
                             .writers = 2,
                             .rounds = 10});
}

static void test_delete_mode_writers(void **state) {
  storm_run(*state, &(Storm){.mode = "PRAGMA journal_mode = DELETE",
                             .writer = {.schema = true, .vacuum = true, .pause_us = 500},
                             .writers = 2,
                             .rounds = 10});
}

/* Seldom enough that some backups get through without a copy, often enough that some do not. */
static void test_persist_mode_writer(void **state) {
  storm_run(*state, &(Storm){.mode = "PRAGMA journal_mode = DELETE",
                             .writer = {.pause_us = 30000, .setup = "PRAGMA journal_mode = PERSIST"},
                             .writers = 1,
                             .rounds = 10});
}

static void test_truncate_mode_without_scratch(void **state) {
  storm_run(*state, &(Storm){.mode = "PRAGMA journal_mode = DELETE",
                             .writer = {.setup = "PRAGMA journal_mode = TRUNCATE", .pause_us = 500},
                             .writers = 2,
                             .rounds = 8,
                             .no_scratch = true});
}

static void test_memory_journal_writer(void **state) {
  storm_run(*state, &(Storm){.mode = "PRAGMA journal_mode = DELETE",
                             .writer = {.setup = "PRAGMA journal_mode = MEMORY", .pause_us = 2000},
                             .writers = 1,
                             .rounds = 8});
}

static void test_journal_mode_changes(void **state) {
  storm_run(*state, &(Storm){.mode = "PRAGMA journal_mode = WAL",
                             .writer = {.modes = true, .schema = true, .checkpoints = true, .pause_us = 300},
                             .writers = 1,
                             .rounds = 15});
}

/* ---- single interleavings ------------------------------------------------------------------------------------ */

/* A process that opens, writes, and closes again and again: the log's files come and go. */
_Noreturn static void come_and_go(const char *path, Shared *shared) {
  uint64_t random = 5;
  while (!shared->stop) {
    sqlite3 *db = NULL;
    if (sqlite3_open(path, &db) != SQLITE_OK) _exit(3);
    (void)sqlite3_busy_timeout(db, 30000);
    if (ledger_step(db, &random) != SQLITE_OK) _exit(4);
    shared->committed++;
    shared->ready = 1;
    if (sqlite3_close(db) != SQLITE_OK) _exit(5);
    usleep(200);
  }
  _exit(0);
}

static void test_wal_files_come_and_go(void **state) {
  Fixture *f = *state;
  Shared *shared = shared_new();
  create_ledger(f->db, "PRAGMA journal_mode = WAL");
  pid_t pid = child_fork();
  if (pid == 0) come_and_go(f->db, shared);
  shared_wait(&shared->ready);
  for (int round = 0; round < 10; round++) storm_round(f, &(Storm){.writers = 1}, shared);
  shared->stop = 1;
  child_join(pid);
  assert_int_equal(ledger_verify(f->db), shared->committed);
  munmap(shared, sizeof(Shared));
}

/* The state is chosen; then, in the middle of reading it, another process gets to do its worst. */
typedef struct Meddle {
  Shared *shared;
  uint64_t at;
  bool done;
} Meddle;

static void meddle(void *ctx, Bytes path, uint64_t offset) {
  Meddle *m = ctx;
  (void)path;
  if (m->done || offset < m->at) return;
  m->done = true;
  m->shared->ready = 0;
  m->shared->go = 1;
  shared_wait(&m->shared->ready);
}

_Noreturn static void meddler_run(const char *path, Shared *shared, const char *setup, const char *text) {
  sqlite3 *db = NULL;
  if (sqlite3_open(path, &db) != SQLITE_OK) _exit(3);
  if (setup && sqlite3_exec(db, setup, NULL, NULL, NULL) != SQLITE_OK) _exit(4);
  shared->ready = 1;
  shared_wait(&shared->go);
  uint64_t random = 9;
  for (int i = 0; i < 5; i++)
    if (ledger_step(db, &random) != SQLITE_OK) _exit(5);
  if (text) (void)sqlite3_exec(db, text, NULL, NULL, NULL);
  for (int i = 0; i < 5; i++)
    if (ledger_step(db, &random) != SQLITE_OK) _exit(6);
  shared->committed = 10;
  shared->ready = 1;
  shared_wait(&shared->stop);
  _exit(sqlite3_close(db) == SQLITE_OK ? 0 : 7);
}

/* Returns the number of the captured transaction; the meddler commits 1 to 10 after the first quarter was read. */
static int64_t run_meddled(const Fixture *f, const char *setup, const char *text, Outcome *out) {
  char copy[160];
  Shared *shared = shared_new();
  pid_t pid = child_fork();
  if (pid == 0) meddler_run(f->db, shared, setup, text);
  shared_wait(&shared->ready);
  struct stat st;
  assert_int_equal(stat(f->db, &st), 0);
  Meddle m = {.shared = shared, .at = (uint64_t)st.st_size / 4};
  assert_ok(try_backup(
      f, &(BackupCase){.pattern = f->db, .buffer_size = 128 * 1024, .on_buffer = meddle, .on_buffer_ctx = &m}, out));
  assert_true(m.done);
  int64_t seq = ledger_verify(put_copy(f, out, "app.db", copy));
  shared->stop = 1;
  child_join(pid);
  munmap(shared, sizeof(Shared));
  assert_int_equal(ledger_verify(f->db), 10);
  return seq;
}

/* Fully backfilled at the beginning: the reader is on lock 0, and the writer begins the log anew under it. */
static void test_log_reset_under_reader(void **state) {
  Fixture *f = *state;
  Outcome out;
  create_ledger(f->db, "PRAGMA journal_mode = WAL");
  int64_t seq = run_meddled(f,
                            "PRAGMA wal_autocheckpoint = 0; INSERT INTO account(id, v) VALUES(9999, 0);"
                            "DELETE FROM account WHERE id = 9999; PRAGMA wal_checkpoint(PASSIVE)",
                            "PRAGMA wal_checkpoint(PASSIVE)", &out);
  assert_int_equal(seq, 0);
  assert_string_equal(fact_text(&out, "method"), "read transaction");
  assert_int_equal(fact_int(&out, "wal_frames"), 0);
  assert_int_equal(out.aborted, 0);
  outcome_free(&out);
}

/* Frames up to our mark are copied into the main file while we read it; ours come from the log either way. */
static void test_checkpoint_under_reader(void **state) {
  Fixture *f = *state;
  Outcome out;
  create_ledger(f->db, "PRAGMA journal_mode = WAL");
  int64_t seq = run_meddled(f, "PRAGMA wal_autocheckpoint = 0; UPDATE account SET pad = randomblob(600)",
                            "PRAGMA wal_checkpoint(TRUNCATE)", &out);
  assert_int_equal(seq, 0);
  assert_true(fact_int(&out, "wal_frames") > 0);
  assert_int_equal(out.aborted, 0);
  outcome_free(&out);
}

/* Nobody had it open when the backup began. */
static void test_first_writer_arrives(void **state) {
  Fixture *f = *state;
  Outcome out;
  create_ledger(f->db, "PRAGMA journal_mode = WAL");
  int64_t seq = run_meddled(f, NULL, "PRAGMA wal_checkpoint(PASSIVE)", &out);
  assert_int_equal(seq, 10); /* the first attempt is given up, the second reads in a transaction */
  assert_int_equal(out.aborted, 1);
  assert_string_equal(fact_text(&out, "method"), "read transaction");
  outcome_free(&out);
}

static void test_commit_under_journal_reader(void **state) {
  Fixture *f = *state;
  Outcome out;
  create_ledger(f->db, "PRAGMA journal_mode = DELETE");
  int64_t seq = run_meddled(f, NULL, NULL, &out);
  assert_int_equal(seq, 10);
  assert_int_equal(out.aborted, 1);
  assert_string_equal(fact_text(&out, "method"), "private copy");
  outcome_free(&out);
}

/* A writer that has begun, but not committed, spoils nothing; and it was not kept waiting. */
static void test_open_transaction_is_no_change(void **state) {
  Fixture *f = *state;
  create_ledger(f->db, "PRAGMA journal_mode = DELETE");
  Shared *shared = shared_new();
  pid_t pid = child_fork();
  if (pid == 0) {
    sqlite3 *db = NULL;
    if (sqlite3_open(f->db, &db) != SQLITE_OK) _exit(3);
    if (sqlite3_exec(db, "BEGIN; UPDATE account SET v = v + 1 WHERE id < 10", NULL, NULL, NULL) != SQLITE_OK) _exit(4);
    shared->ready = 1;
    shared_wait(&shared->stop);
    _exit(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL) == SQLITE_OK && sqlite3_close(db) == SQLITE_OK ? 0 : 5);
  }
  shared_wait(&shared->ready);
  Outcome out = backup(f, f->db);
  char copy[160];
  assert_int_equal(ledger_verify(put_copy(f, &out, "app.db", copy)), 0);
  assert_string_equal(fact_text(&out, "method"), "main file, unchanged while read");
  outcome_free(&out);
  shared->stop = 1;
  child_join(pid);
  munmap(shared, sizeof(Shared));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      CASE(test_wal_writers),
      CASE(test_wal_checkpoints),
      CASE(test_wal_vacuum_and_schema),
      CASE(test_delete_mode_writers),
      CASE(test_persist_mode_writer),
      CASE(test_truncate_mode_without_scratch),
      CASE(test_memory_journal_writer),
      CASE(test_journal_mode_changes),
      CASE(test_wal_files_come_and_go),
      CASE(test_log_reset_under_reader),
      CASE(test_checkpoint_under_reader),
      CASE(test_first_writer_arrives),
      CASE(test_commit_under_journal_reader),
      CASE(test_open_transaction_is_no_change),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
