/* One database or several, nobody else about: what is stored, under which name, with which facts. */
#include "sqlite_fixture.h"

/* ---- a state, byte for byte ---------------------------------------------------------------------------------- */

static void test_rollback_mode_is_the_file(void **state) {
  Fixture *f = *state;
  sql_at(f->db, "CREATE TABLE t(a, b); INSERT INTO t VALUES(1, 'x'), (2, 'y'); PRAGMA user_version = 7");
  Outcome out = backup(f, f->db);
  const MemoryNode *node = memory_tree_get(out.tree, "app.db");
  assert_non_null(node);
  assert_int_equal(node->kind, STREAM_PAGES);
  assert_true(file_equals(f->db, bytes(node->data, (size_t)node->entry->size)));
  assert_string_equal(fact_text(&out, "journal_mode"), "rollback");
  assert_int_equal(fact_int(&out, "user_version"), 7);
  assert_int_equal(fact_int(&out, "size"), (int64_t)node->entry->size);
  const json_t *table = json_array_get(json_object_get(member_facts(&out, 0), "tables"), 0);
  assert_string_equal(json_string_value(json_object_get(table, "name")), "t");
  assert_int_equal(json_integer_value(json_object_get(table, "rows")), 2);
  assert_int_equal(strlen(json_string_value(json_object_get(table, "content"))), 64);
  outcome_free(&out);
}

/* Committed frames that no checkpoint has copied yet, an application alive. */
static void test_wal_overlay(void **state) {
  Fixture *f = *state;
  char copy[160];
  sqlite3 *db = sql_open(f->db);
  sql(db, "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0");
  ledger_create(db);
  sql(db, "PRAGMA wal_checkpoint(TRUNCATE)");
  uint64_t random = 1;
  for (int i = 0; i < 20; i++) assert_int_equal(ledger_step(db, &random), SQLITE_OK);
  /* An open transaction's pages may be in the log; they are not committed. */
  sql(db, "PRAGMA cache_size = 5; BEGIN; UPDATE account SET v = v + 1000, pad = randomblob(600)");
  Outcome out = backup(f, f->db);
  assert_string_equal(fact_text(&out, "journal_mode"), "wal");
  assert_string_equal(fact_text(&out, "method"), "read transaction");
  assert_true(fact_int(&out, "wal_frames") > 0);
  assert_int_equal(ledger_verify(put_copy(f, &out, "app.db", copy)), 20);
  /* Its content is not the main file's: no later backup may take the file's times for it. */
  assert_int_equal(memory_tree_get(out.tree, "app.db")->entry->ctime_ns, 0);
  outcome_free(&out);
  sql(db, "ROLLBACK");
  assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* Closed by its application: nothing but the main file, and nothing else appears. */
static void test_wal_quiet(void **state) {
  Fixture *f = *state;
  char path[160];
  sql_at(f->db, "PRAGMA journal_mode = WAL; CREATE TABLE t(a); INSERT INTO t VALUES(1)");
  assert_false(file_exists(path_in(f, "app.db-wal", path)));
  Outcome out = backup(f, f->db);
  const MemoryNode *node = memory_tree_get(out.tree, "app.db");
  assert_true(file_equals(f->db, bytes(node->data, (size_t)node->entry->size)));
  assert_string_equal(fact_text(&out, "method"), "main file, not in use");
  assert_false(file_exists(path_in(f, "app.db-wal", path)));
  assert_false(file_exists(path_in(f, "app.db-shm", path)));
  outcome_free(&out);
}

/* Everything backfilled: the reader gets lock 0, and only the main file counts. */
static void test_wal_lock_zero(void **state) {
  Fixture *f = *state;
  char copy[160];
  sqlite3 *db = sql_open(f->db);
  sql(db, "PRAGMA journal_mode = WAL");
  ledger_create(db);
  uint64_t random = 2;
  assert_int_equal(ledger_step(db, &random), SQLITE_OK);
  sql(db, "PRAGMA wal_checkpoint(PASSIVE)");
  Outcome out = backup(f, f->db);
  assert_int_equal(fact_int(&out, "wal_frames"), 0);
  assert_int_equal(ledger_verify(put_copy(f, &out, "app.db", copy)), 1);
  outcome_free(&out);
  assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* ---- formats ------------------------------------------------------------------------------------------------- */

static void check_format(Fixture *f, const char *pragmas, bool wal) {
  char text[512], copy[160];
  (void)unlink(f->db);
  sqlite3 *db = sql_open(f->db);
  sql(db, pragmas);
  if (wal) sql(db, "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0");
  ledger_create(db);
  sql(db, "CREATE TABLE gone AS SELECT * FROM account; DROP TABLE gone");
  uint64_t random = 3;
  for (int i = 0; i < 3; i++) assert_int_equal(ledger_step(db, &random), SQLITE_OK);
  Outcome out = backup(f, f->db);
  assert_int_equal(ledger_verify(put_copy(f, &out, "app.db", copy)), 3);
  (void)snprintf(text, sizeof(text), "%s", fact_text(&out, "encoding"));
  char *encoding = sql_text(db, "PRAGMA encoding");
  assert_string_equal(text, encoding);
  free(encoding);
  assert_int_equal(fact_int(&out, "page_size"), sql_int(db, "PRAGMA page_size"));
  assert_int_equal(fact_int(&out, "page_count"), sql_int(db, "PRAGMA page_count"));
  outcome_free(&out);
  assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void test_every_page_size(void **state) {
  for (int size = 512; size <= 65536; size *= 2) {
    char pragma[64];
    (void)snprintf(pragma, sizeof(pragma), "PRAGMA page_size = %d", size);
    check_format(*state, pragma, false);
    check_format(*state, pragma, true);
  }
}

static void test_auto_vacuum_and_encodings(void **state) {
  check_format(*state, "PRAGMA auto_vacuum = FULL", false);
  check_format(*state, "PRAGMA auto_vacuum = FULL", true);
  check_format(*state, "PRAGMA auto_vacuum = INCREMENTAL", true);
  check_format(*state, "PRAGMA encoding = 'UTF-16le'", true);
  check_format(*state, "PRAGMA encoding = 'UTF-16be'", false);
}

static void test_reserved_bytes(void **state) {
  Fixture *f = *state;
  char copy[160];
  int reserve = 32;
  sqlite3 *db = sql_open(f->db);
  assert_int_equal(sqlite3_file_control(db, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserve), SQLITE_OK);
  ledger_create(db);
  uint64_t random = 4;
  assert_int_equal(ledger_step(db, &random), SQLITE_OK);
  assert_int_equal(sqlite3_close(db), SQLITE_OK);
  Buf content = file_content(f->db);
  assert_int_equal(content.data[20], 32);
  buf_free(&content);
  Outcome out = backup(f, f->db);
  assert_int_equal(ledger_verify(put_copy(f, &out, "app.db", copy)), 1);
  outcome_free(&out);
}

static void test_empty_database(void **state) {
  Fixture *f = *state;
  file_put(f->db, "", 0);
  Outcome out = backup(f, f->db);
  const MemoryNode *node = memory_tree_get(out.tree, "app.db");
  assert_false(node->has_content);
  assert_int_equal(fact_int(&out, "size"), 0);
  assert_string_equal(fact_text(&out, "method"), "empty");
  outcome_free(&out);
}

static void test_only_a_header(void **state) {
  Fixture *f = *state;
  sql_at(f->db, "PRAGMA user_version = 3");
  Outcome out = backup(f, f->db);
  assert_int_equal(fact_int(&out, "page_count"), 1);
  outcome_free(&out);
}

/* Over 1 GiB: the page of SQLite's locks lies in between, and whatever is in it is not content. */
static void test_lock_byte_page(void **state) {
  Fixture *f = *state;
  sql_at(f->db, "PRAGMA page_size = 4096; CREATE TABLE t(a)");
  const uint32_t pages = (uint32_t)(GIB / 4096 + 16);
  const uint64_t lock_page = GIB;
  int fd = open(f->db, O_RDWR | O_CLOEXEC);
  uint8_t count[4] = {(uint8_t)(pages >> 24), (uint8_t)(pages >> 16), (uint8_t)(pages >> 8), (uint8_t)pages};
  assert_int_equal(ftruncate(fd, (off_t)pages * 4096), 0);
  assert_int_equal(pwrite(fd, count, 4, 28), 4);
  assert_int_equal(pwrite(fd, "before", 6, (off_t)lock_page - 6), 6);
  assert_int_equal(pwrite(fd, "garbage", 7, (off_t)lock_page + 100), 7);
  assert_int_equal(pwrite(fd, "after", 5, (off_t)lock_page + 4096), 5);
  close(fd);
  SnapshotOptions options = {.sys = sys_real(), .lock_wait_ms = 100};
  Snapshot *snapshot = NULL;
  assert_ok(snapshot_open(f->db, &options, &snapshot, NULL));
  assert_int_equal(snapshot_info(snapshot)->size, (uint64_t)pages * 4096);
  uint8_t got[3 * 4096];
  assert_ok(snapshot_read(snapshot, lock_page - 4096, got, sizeof(got), NULL));
  assert_memory_equal(got + 4096 - 6, "before", 6);
  assert_memory_equal(got + 2 * 4096, "after", 5);
  for (size_t i = 0; i < 4096; i++) assert_int_equal(got[4096 + i], 0);
  snapshot_close(snapshot);
}

/* ---- names --------------------------------------------------------------------------------------------------- */

static void test_globs(void **state) {
  Fixture *f = *state;
  char a[160], pattern[160];
  sql_at(path_in(f, "b.db", a), "PRAGMA journal_mode = WAL; CREATE TABLE t(a)");
  sql_at(path_in(f, "a.db", a), "CREATE TABLE t(a)");
  file_put(path_in(f, "notes.db", a), "these are my notes, not a database", 34);
  file_put(path_in(f, "a.db-journal", a), "", 0);
  file_put(path_in(f, "empty.db", a), "", 0);
  Outcome out = backup(f, path_in(f, "*.db", pattern));
  assert_int_equal(out.tree->len, 3);
  assert_non_null(memory_tree_get(out.tree, "a.db"));
  assert_non_null(memory_tree_get(out.tree, "b.db"));
  assert_non_null(memory_tree_get(out.tree, "empty.db"));
  assert_int_equal(out.infos, 1); /* notes.db */
  outcome_free(&out);
  /* Everything: companions are never members. */
  out = backup(f, path_in(f, "*", pattern));
  assert_int_equal(out.tree->len, 3);
  outcome_free(&out);
}

static void test_globs_in_directories(void **state) {
  Fixture *f = *state;
  char path[160], pattern[160];
  assert_int_equal(mkdir(path_in(f, "one", path), 0755), 0);
  assert_int_equal(mkdir(path_in(f, "two", path), 0755), 0);
  assert_int_equal(mkdir(path_in(f, "two/deep", path), 0755), 0);
  sql_at(path_in(f, "one/x.db", path), "CREATE TABLE t(a)");
  sql_at(path_in(f, "two/x.db", path), "CREATE TABLE t(a)");
  sql_at(path_in(f, "two/deep/x.db", path), "CREATE TABLE t(a)");
  Outcome out = backup(f, path_in(f, "*/x.db", pattern));
  assert_int_equal(out.tree->len, 2);
  assert_non_null(memory_tree_get(out.tree, "one/x.db"));
  outcome_free(&out);
  out = backup(f, path_in(f, "**/x.db", pattern));
  assert_int_equal(out.tree->len, 3);
  assert_non_null(memory_tree_get(out.tree, "two/deep/x.db"));
  outcome_free(&out);
}

static void test_colliding_names(void **state) {
  Fixture *f = *state;
  char one[160], two[160], dir[160];
  assert_int_equal(mkdir(path_in(f, "one", dir), 0755), 0);
  assert_int_equal(mkdir(path_in(f, "two", dir), 0755), 0);
  sql_at(path_in(f, "one/x.db", one), "CREATE TABLE one(a)");
  sql_at(path_in(f, "two/x.db", two), "CREATE TABLE two(a)");
  Outcome out;
  assert_ok(try_backup(f, &(BackupCase){.pattern = one, .pattern2 = two}, &out));
  assert_int_equal(out.tree->len, 2);
  assert_non_null(memory_tree_get(out.tree, one + 1));
  assert_non_null(memory_tree_get(out.tree, two + 1));
  outcome_free(&out);
}

static void test_nothing_matches(void **state) {
  Fixture *f = *state;
  char pattern[160];
  Outcome out;
  assert_err(try_backup(f, &(BackupCase){.pattern = f->db}, &out), ERR_NOT_FOUND);
  outcome_free(&out);
  assert_err(try_backup(f, &(BackupCase){.pattern = path_in(f, "*.sqlite", pattern)}, &out), ERR_NOT_FOUND);
  outcome_free(&out);
  assert_err(try_backup(f, &(BackupCase){.pattern = f->dir}, &out), ERR_USAGE);
  outcome_free(&out);
}

/* A name with a wildcard in it that exists as it stands. */
static void test_literal_brackets(void **state) {
  Fixture *f = *state;
  char path[160];
  sql_at(path_in(f, "a[1]?.db", path), "CREATE TABLE t(a)");
  Outcome out = backup(f, path);
  assert_non_null(memory_tree_get(out.tree, "a[1]?.db"));
  outcome_free(&out);
}

/* ---- unchanged ----------------------------------------------------------------------------------------------- */

static void age_parent(Outcome *parent) {
  for (size_t i = 0; i < parent->tree->len; i++) parent->tree->nodes[i].read_ns += 10 * UINT64_C(1000000000);
}

static void test_keep_unchanged(void **state) {
  Fixture *f = *state;
  sql_at(f->db, "CREATE TABLE t(a); INSERT INTO t VALUES(1)");
  Outcome first = backup(f, f->db), out;
  /* Stored in the same second as the change: not to be trusted. */
  BackupCase c = {.pattern = f->db, .parent = first.tree, .mode = BACKUP_INCREMENTAL};
  assert_ok(try_backup(f, &c, &out));
  assert_false(memory_tree_get(out.tree, "app.db")->kept);
  outcome_free(&out);
  age_parent(&first);
  assert_ok(try_backup(f, &c, &out));
  assert_true(memory_tree_get(out.tree, "app.db")->kept);
  assert_int_equal(
      json_integer_value(json_object_get(json_array_get(json_object_get(member_facts(&out, 0), "tables"), 0), "rows")),
      1);
  outcome_free(&out);
  c.mode = BACKUP_FULL;
  assert_ok(try_backup(f, &c, &out));
  assert_false(memory_tree_get(out.tree, "app.db")->kept);
  outcome_free(&out);
  c.mode = BACKUP_INCREMENTAL;
  sql_at(f->db, "INSERT INTO t VALUES(2)");
  assert_ok(try_backup(f, &c, &out));
  assert_false(memory_tree_get(out.tree, "app.db")->kept);
  outcome_free(&out);
  outcome_free(&first);
}

/* The main file is as it was, but the log has grown since. */
static void test_keep_is_not_fooled_by_a_log(void **state) {
  Fixture *f = *state;
  sql_at(f->db, "PRAGMA journal_mode = WAL; CREATE TABLE t(a)");
  Outcome first = backup(f, f->db), out;
  age_parent(&first);
  sqlite3 *db = sql_open(f->db);
  sql(db, "PRAGMA wal_autocheckpoint = 0; INSERT INTO t VALUES(1)");
  BackupCase c = {.pattern = f->db, .parent = first.tree, .mode = BACKUP_INCREMENTAL};
  assert_ok(try_backup(f, &c, &out));
  assert_false(memory_tree_get(out.tree, "app.db")->kept);
  outcome_free(&out);
  outcome_free(&first);
  assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* ---- failures of others -------------------------------------------------------------------------------------- */

static void test_sink_fails(void **state) {
  Fixture *f = *state;
  char pattern[160], path[160];
  sql_at(path_in(f, "a.db", path), "CREATE TABLE t(a)");
  sql_at(path_in(f, "b.db", path), "CREATE TABLE t(a)");
  Outcome out;
  assert_err(try_backup(f, &(BackupCase){.pattern = path_in(f, "*.db", pattern), .fail_at = 1}, &out), ERR_IO);
  assert_int_equal(out.aborted, 1);
  assert_int_equal(out.partials, 0);
  outcome_free(&out);
}

static void test_cancelled(void **state) {
  Fixture *f = *state;
  Cancel cancel = {0};
  Outcome out;
  sql_at(f->db, "CREATE TABLE t(a)");
  cancel_set(&cancel, -1);
  assert_err(try_backup(f, &(BackupCase){.pattern = f->db, .cancel = &cancel}, &out), ERR_CANCELLED);
  outcome_free(&out);
}

static void test_probe(void **state) {
  Fixture *f = *state;
  char pattern[160], other[160];
  sql_at(f->db, "CREATE TABLE t(a)");
  sql_at(path_in(f, "b.db", other), "PRAGMA journal_mode = WAL; CREATE TABLE t(a)");
  Engine *engine = case_engine(f, &(BackupCase){.pattern = f->db});
  ServerInfo info = {0};
  assert_ok(engine->ops->probe(engine, &info, NULL));
  assert_int_equal(info.members, 1);
  assert_int_equal(info.size_bytes, 8192);
  assert_int_equal(info.possible.len, 1);
  struct stat st;
  char expected[64];
  assert_int_equal(stat(f->db, &st), 0);
  (void)snprintf(expected, sizeof(expected), " inode=%llu", (unsigned long long)st.st_ino);
  assert_true(str_ends(info.identity, expected) && str_starts(info.identity, "fs="));
  server_info_free(&info);
  engine->ops->free(engine);
  engine = case_engine(f, &(BackupCase){.pattern = path_in(f, "*.db", pattern)});
  assert_ok(engine->ops->probe(engine, &info, NULL));
  assert_int_equal(info.members, 2);
  assert_int_equal(stat(f->dir, &st), 0);
  (void)snprintf(expected, sizeof(expected), " inode=%llu", (unsigned long long)st.st_ino);
  assert_true(str_ends(info.identity, expected));
  server_info_free(&info);
  engine->ops->free(engine);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      CASE(test_rollback_mode_is_the_file),
      CASE(test_wal_overlay),
      CASE(test_wal_quiet),
      CASE(test_wal_lock_zero),
      CASE(test_every_page_size),
      CASE(test_auto_vacuum_and_encodings),
      CASE(test_reserved_bytes),
      CASE(test_empty_database),
      CASE(test_only_a_header),
      CASE(test_lock_byte_page),
      CASE(test_globs),
      CASE(test_globs_in_directories),
      CASE(test_colliding_names),
      CASE(test_nothing_matches),
      CASE(test_literal_brackets),
      CASE(test_keep_unchanged),
      CASE(test_keep_is_not_fooled_by_a_log),
      CASE(test_sink_fails),
      CASE(test_cancelled),
      CASE(test_probe),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
