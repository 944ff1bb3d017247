/* Databases of every kind that turn up: under any name, behind links, beside logs and journals that are not theirs,
 * written by a newer SQLite, destroyed at their beginning; and restores over what an idle application has open.
 */
#include "engine/sqlite/sqlite_publish.h"

#include "sqlite_fixture.h"

static void create_ledger(const char *path, const char *mode, int steps) {
  sqlite3 *db = sql_open(path);
  uint64_t random = 11;
  sql(db, mode);
  ledger_create(db);
  for (int i = 0; i < steps; i++) assert_int_equal(ledger_step(db, &random), SQLITE_OK);
  assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* Runs SQL in another process, which then dies without closing anything. */
static void crash_after(const char *path, const char *text) {
  pid_t pid = child_fork();
  if (pid == 0) {
    sqlite3 *db = NULL;
    if (sqlite3_open(path, &db) != SQLITE_OK) _exit(3);
    _exit(sqlite3_exec(db, text, NULL, NULL, NULL) == SQLITE_OK ? 0 : 4);
  }
  child_join(pid);
}

static void assert_captured(const Fixture *f, const Outcome *out, const char *tree_path, int64_t seq) {
  char copy[160];
  assert_int_equal(ledger_verify(put_copy(f, out, tree_path, copy)), seq);
}

/* ---- names ------------------------------------------------------------------------------------------------------ */

/* With a log whose name follows from the database's. */
static void test_names_of_any_bytes(void **state) {
  Fixture *f = *state;
  static const char *const NAMES[] = {"a b.db",       "\xff\xfe.db",    "q?x#y%41&mode=rw.db", "new\nline.db",
                                      "-dash.db",     "quo'te\"s\\.db", "file:x.db",           "[a-z]*.db",
                                      "x.db-journal", ":memory:"};
  for (size_t i = 0; i < NELEMS(NAMES); i++) {
    char path[160];
    create_ledger(path_in(f, NAMES[i], path), "PRAGMA journal_mode = WAL", 2);
    crash_after(path, "PRAGMA wal_autocheckpoint = 0; UPDATE total SET seq = 3; INSERT INTO done VALUES(3, NULL)");
    Outcome out;
    BackupCase c = {.pattern = path};
    Error *err = try_backup(f, &c, &out);
    if (err) fail_msg("%s: %s", NAMES[i], err_text(err));
    assert_captured(f, &out, NAMES[i], 3);
    assert_true(fact_int(&out, "wal_frames") > 0);
    outcome_free(&out);
  }
}

/* The log lies beside what the link leads to. */
static void test_links(void **state) {
  Fixture *f = *state;
  char path[160], first[160], second[160], pattern[160];
  assert_int_equal(mkdir(path_in(f, "real", path), 0755), 0);
  create_ledger(path_in(f, "real/x.db", path), "PRAGMA journal_mode = WAL", 2);
  crash_after(path, "PRAGMA wal_autocheckpoint = 0; UPDATE total SET seq = 3; INSERT INTO done VALUES(3, NULL)");
  assert_int_equal(symlink("real/x.db", path_in(f, "one.db", first)), 0);
  assert_int_equal(symlink(first, path_in(f, "two.db", second)), 0);
  assert_int_equal(symlink("nowhere", path_in(f, "three.db", path)), 0);
  Outcome out = backup(f, second);
  assert_captured(f, &out, "two.db", 3);
  outcome_free(&out);
  out = backup(f, path_in(f, "[ot]*.db", pattern));
  assert_int_equal(out.tree->len, 2);
  assert_captured(f, &out, "one.db", 3);
  outcome_free(&out);
  assert_err(try_backup(f, &(BackupCase){.pattern = path}, &out), ERR_NOT_FOUND);
  outcome_free(&out);
}

/* One transaction over two databases: each is a committed state of its own. */
static void test_attached(void **state) {
  Fixture *f = *state;
  char other[160], pattern[160], text[400];
  create_ledger(f->db, "PRAGMA journal_mode = DELETE", 0);
  create_ledger(path_in(f, "other.db", other), "PRAGMA journal_mode = WAL", 0);
  sqlite3 *db = sql_open(f->db);
  (void)snprintf(text, sizeof(text),
                 "ATTACH '%s' AS o; BEGIN; UPDATE main.total SET seq = 1; INSERT INTO main.done VALUES(1, NULL);"
                 "UPDATE o.total SET seq = 1; INSERT INTO o.done VALUES(1, NULL); COMMIT",
                 other);
  sql(db, text);
  Outcome out = backup(f, path_in(f, "*.db", pattern));
  assert_captured(f, &out, "app.db", 1);
  assert_captured(f, &out, "other.db", 1);
  outcome_free(&out);
  assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* ---- logs and journals ------------------------------------------------------------------------------------------- */

static void test_logs_that_are_none(void **state) {
  Fixture *f = *state;
  char wal[160];
  static uint8_t junk[9000];
  memset(junk, 0xa5, sizeof(junk));
  create_ledger(f->db, "PRAGMA journal_mode = WAL", 2);
  Buf before = file_content(f->db);
  path_in(f, "app.db-wal", wal);
  for (size_t len = 0; len <= sizeof(junk); len += 1500) {
    file_put(wal, junk, len);
    Outcome out = backup(f, f->db);
    const MemoryNode *node = memory_tree_get(out.tree, "app.db");
    assert_true(bytes_equal(buf_bytes(&before), bytes(node->data, (size_t)node->entry->size)));
    outcome_free(&out);
    assert_true(file_equals(wal, bytes(junk, len)));
  }
  buf_free(&before);
}

static void patch(const char *path, size_t at, const void *data, size_t len) {
  Buf content = file_content(path);
  memcpy(content.data + at, data, len);
  file_put(path, content.data, content.len);
  buf_free(&content);
}

/* SQLite goes by the log that is there, not by what the header says of the journal mode; and so does whoever restores
 * its state. */
static void test_a_log_beside_a_rollback_header(void **state) {
  Fixture *f = *state;
  char other[160], from[176], to[176];
  create_ledger(f->db, "PRAGMA journal_mode = WAL", 2);
  crash_after(f->db, "PRAGMA wal_autocheckpoint = 0; UPDATE total SET seq = 3; INSERT INTO done VALUES(3, NULL)");
  patch(f->db, 18, "\x01\x01", 2);
  file_copy(f->db, path_in(f, "other.db", other));
  (void)snprintf(from, sizeof(from), "%s-wal", f->db);
  (void)snprintf(to, sizeof(to), "%s-wal", other);
  file_copy(from, to);
  Outcome out = backup(f, f->db);
  assert_captured(f, &out, "app.db", 3);
  outcome_free(&out);
  sqlite3 *db = sql_open(other);
  assert_int_equal(sql_int(db, "SELECT seq FROM total"), 3);
  assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void test_a_log_of_other_pages(void **state) {
  Fixture *f = *state;
  char other[160], from[176], to[176];
  Outcome out;
  create_ledger(f->db, "PRAGMA page_size = 4096; PRAGMA journal_mode = WAL", 2);
  create_ledger(path_in(f, "other.db", other), "PRAGMA page_size = 1024; PRAGMA journal_mode = WAL", 2);
  crash_after(other, "PRAGMA wal_autocheckpoint = 0; UPDATE account SET v = v + 1");
  (void)snprintf(from, sizeof(from), "%s-wal", other);
  (void)snprintf(to, sizeof(to), "%s-wal", f->db);
  file_copy(from, to);
  Error *err = try_backup(f, &(BackupCase){.pattern = f->db}, &out);
  assert_true(err_is(err, ERR_DAMAGED));
  assert_non_null(strstr(err_text(err), "-wal"));
  err_free(err);
  outcome_free(&out);
}

static void put_be32(uint8_t *p, uint32_t value) {
  for (int i = 0; i < 4; i++) p[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* A journal of a transaction over several databases ends with the name of its super-journal: it counts only while that
 * exists. */
static void name_super_journal(const char *journal, const char *name) {
  static const uint8_t MAGIC[8] = {0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7};
  Buf content = file_content(journal);
  size_t len = strlen(name);
  uint32_t sum = 0;
  uint8_t *p = buf_grow(&content, 4 + len + 16);
  put_be32(p, (uint32_t)(DB_LOCK_BYTE / 4096 + 1));
  memcpy(p + 4, name, len);
  for (size_t i = 0; i < len; i++) sum += (uint8_t)name[i]; /* ASCII */
  put_be32(p + 4 + len, (uint32_t)len);
  put_be32(p + 8 + len, sum);
  memcpy(p + 12 + len, MAGIC, sizeof(MAGIC));
  file_put(journal, content.data, content.len);
  buf_free(&content);
}

static void test_super_journal(void **state) {
  Fixture *f = *state;
  char journal[160], super[160];
  Outcome out;
  create_ledger(f->db, "PRAGMA journal_mode = DELETE", 0);
  crash_after(f->db,
              "PRAGMA cache_size = 2; PRAGMA synchronous = OFF; BEGIN IMMEDIATE;"
              "UPDATE account SET pad = randomblob(500)");
  path_in(f, "app.db-journal", journal);
  path_in(f, "app.db-mj0123456789", super);
  name_super_journal(journal, super);
  Buf main = file_content(f->db), log = file_content(journal);
  file_put(super, journal, strlen(journal) + 1);
  BackupCase c = {.pattern = f->db};
  assert_err(try_backup(f, &c, &out), ERR_REFUSED);
  outcome_free(&out);
  /* It exists: rolled back, in the copy alone, and the super-journal stays for the original. */
  c.recover_copy = true;
  assert_ok(try_backup(f, &c, &out));
  assert_captured(f, &out, "app.db", 0);
  const MemoryNode *node = memory_tree_get(out.tree, "app.db");
  assert_false(bytes_equal(buf_bytes(&main), bytes(node->data, (size_t)node->entry->size)));
  outcome_free(&out);
  assert_true(file_exists(super) && file_equals(f->db, buf_bytes(&main)) && file_equals(journal, buf_bytes(&log)));
  /* It is gone: the transaction was committed, and the journal says nothing. */
  assert_int_equal(unlink(super), 0);
  assert_ok(try_backup(f, &c, &out));
  node = memory_tree_get(out.tree, "app.db");
  assert_true(bytes_equal(buf_bytes(&main), bytes(node->data, (size_t)node->entry->size)));
  outcome_free(&out);
  assert_true(file_equals(f->db, buf_bytes(&main)) && file_equals(journal, buf_bytes(&log)));
  buf_free(&main);
  buf_free(&log);
}

/* ---- newer, and destroyed ---------------------------------------------------------------------------------------- */

/* A schema that this SQLite cannot read, by one that is newer: the bytes are kept, and what is not known is said. */
static void test_newer_schema(void **state) {
  Fixture *f = *state;
  Outcome out;
  uint8_t version[4];
  sql_at(f->db,
         "CREATE TABLE t(a); INSERT INTO t VALUES(1); PRAGMA writable_schema = ON;"
         "UPDATE sqlite_schema SET sql = 'CREATE FUTURE TABLE t(a)'");
  BackupCase c = {.pattern = f->db};
  assert_err(try_backup(f, &c, &out), ERR_DAMAGED);
  outcome_free(&out);
  c.force = true;
  assert_ok(try_backup(f, &c, &out));
  assert_true(out.facts.damaged);
  outcome_free(&out);
  put_be32(version, (uint32_t)sqlite3_libversion_number() + 1000);
  patch(f->db, 96, version, 4);
  out = backup(f, f->db);
  assert_int_equal(out.warnings, 1);
  assert_false(out.facts.damaged);
  const MemoryNode *node = memory_tree_get(out.tree, "app.db");
  assert_true(file_equals(f->db, bytes(node->data, (size_t)node->entry->size)));
  outcome_free(&out);
}

static void test_newer_format(void **state) {
  Fixture *f = *state;
  Outcome out;
  sql_at(f->db, "CREATE TABLE t(a)");
  patch(f->db, 19, "\x03", 1);
  Error *err = try_backup(f, &(BackupCase){.pattern = f->db}, &out);
  assert_true(err_is(err, ERR_UNSUPPORTED));
  assert_non_null(strstr(err_text(err), "newer"));
  err_free(err);
  outcome_free(&out);
  /* Only for writing: it can be read. */
  patch(f->db, 18, "\x03\x01", 2);
  out = backup(f, f->db);
  outcome_free(&out);
}

/* Found by a pattern, a database whose first bytes are gone looks like any other file: but it was one last time. */
static void test_a_lost_beginning_is_noticed(void **state) {
  Fixture *f = *state;
  char a[160], wal[160], pattern[160];
  Outcome out;
  sql_at(path_in(f, "a.db", a), "CREATE TABLE t(a)");
  sql_at(f->db, "CREATE TABLE t(a)");
  Outcome first = backup(f, path_in(f, "*.db", pattern));
  assert_int_equal(first.tree->len, 2);
  patch(a, 0, "encrypted bytes.", 16);
  BackupCase c = {.pattern = pattern, .parent = first.tree, .mode = BACKUP_INCREMENTAL};
  assert_ok(try_backup(f, &c, &out));
  assert_int_equal(out.tree->len, 1);
  assert_int_equal(out.partials, 1);
  assert_int_equal(out.infos, 0);
  outcome_free(&out);
  /* Never seen before: just another file, unless something lies beside it. */
  c.parent = NULL;
  assert_ok(try_backup(f, &c, &out));
  assert_int_equal(out.partials, 0);
  assert_int_equal(out.infos, 1);
  outcome_free(&out);
  file_put(path_in(f, "a.db-wal", wal), "log", 3);
  assert_ok(try_backup(f, &c, &out));
  assert_int_equal(out.partials, 1);
  outcome_free(&out);
  outcome_free(&first);
}

/* ---- restoring over what is open -----------------------------------------------------------------------------------
 */

static Error *try_restore(const Fixture *f, const Outcome *from) {
  Engine *engine = case_engine(f, &(BackupCase){0});
  MemorySource *source = memory_source_new(sys_real(), from->tree, from->facts.json, 3, 42);
  RestorePlan plan = {.target = f->db, .overwrite = true, .scratch_dir = f->scratch};
  Error *err = engine->ops->restore(engine, &plan, memory_source(source), NULL);
  memory_source_free(source);
  engine->ops->free(engine);
  return err;
}

/* An application that is idle holds no lock; it would write the old database's pages into the new one's log. */
static void check_idle(Fixture *f, const char *mode, const char *text) {
  Shared *shared = shared_new();
  create_ledger(f->db, mode, 2);
  Outcome out = backup(f, f->db);
  pid_t pid = child_fork();
  if (pid == 0) {
    sqlite3 *db = NULL;
    if (sqlite3_open(f->db, &db) != SQLITE_OK) _exit(3);
    if (text && sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK) _exit(4);
    shared->ready = 1;
    shared_wait(&shared->stop);
    uint64_t random = 4;
    _exit(ledger_step(db, &random) == SQLITE_OK && sqlite3_close(db) == SQLITE_OK ? 0 : 5);
  }
  shared_wait(&shared->ready);
  Error *err = try_restore(f, &out);
  assert_true(err_is(err, ERR_REFUSED));
  assert_non_null(strstr(err_text(err), f->db));
  err_free(err);
  shared->stop = 1;
  child_join(pid);
  assert_int_equal(ledger_verify(f->db), 3);
  assert_ok(try_restore(f, &out));
  assert_int_equal(ledger_verify(f->db), 2);
  outcome_free(&out);
  munmap(shared, sizeof(Shared));
  assert_int_equal(unlink(f->db), 0);
}

static void test_an_idle_application_is_in_the_way(void **state) {
  check_idle(*state, "PRAGMA journal_mode = DELETE", "SELECT * FROM total");
  check_idle(*state, "PRAGMA journal_mode = DELETE", NULL);
  check_idle(*state, "PRAGMA journal_mode = WAL", NULL);
}

/* While the content is fetched, which may take long, others may come: a log that would be applied to the new file, an
 * application that has opened the old one. */
static void test_others_come_while_we_fetch(void **state) {
  Fixture *f = *state;
  char path[160];
  Publish *publish = NULL;
  Shared *shared = shared_new();
  pid_t pid = child_fork();
  if (pid == 0) {
    sqlite3 *db = NULL;
    shared_wait(&shared->go);
    if (sqlite3_open(f->db, &db) != SQLITE_OK) _exit(3);
    int rc = sqlite3_exec(db, "SELECT * FROM total", NULL, NULL, NULL); /* the old one is locked all the while */
    shared->ready = 1;
    shared_wait(&shared->stop);
    (void)sqlite3_close(db);
    _exit(rc == SQLITE_BUSY ? 0 : 4);
  }
  int dir = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  PublishOptions options = {.sys = sys_real(), .dir_fd = dir, .dir = f->dir, .name = "new.db", .size = 4096};
  assert_ok(publish_begin(&options, &publish, NULL));
  file_put(path_in(f, "new.db-wal", path), "log", 3);
  assert_err(publish_commit(publish), ERR_NOT_EMPTY);
  assert_false(file_exists(path_in(f, "new.db", path)));
  options.name = "theirs.db";
  assert_ok(publish_begin(&options, &publish, NULL));
  file_put(path_in(f, "theirs.db", path), "precious", 8);
  assert_err(publish_commit(publish), ERR_NOT_EMPTY);
  assert_true(file_equals(path, bytes("precious", 8)));
  create_ledger(f->db, "PRAGMA journal_mode = WAL", 2);
  options.name = "app.db";
  options.overwrite = true;
  assert_ok(publish_begin(&options, &publish, NULL));
  shared->go = 1;
  shared_wait(&shared->ready);
  assert_err(publish_commit(publish), ERR_REFUSED);
  shared->stop = 1;
  child_join(pid);
  assert_int_equal(ledger_verify(f->db), 2);
  close(dir);
  munmap(shared, sizeof(Shared));
}

/* What was moved aside comes back when the new file does not get its name. */
static void test_a_log_comes_back_when_the_restore_fails(void **state) {
  Fixture *f = *state;
  char wal[160], away[160];
  Publish *publish = NULL;
  create_ledger(f->db, "PRAGMA journal_mode = WAL", 2);
  crash_after(f->db, "PRAGMA wal_autocheckpoint = 0; UPDATE total SET seq = 3; INSERT INTO done VALUES(3, NULL)");
  int dir = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  PublishOptions options = {
      .sys = sys_real(), .dir_fd = dir, .dir = f->dir, .name = "app.db", .size = 4096, .overwrite = true};
  assert_ok(publish_begin(&options, &publish, NULL));
  assert_int_equal(rename(f->db, path_in(f, "away", away)), 0);
  assert_int_equal(mkdir(f->db, 0700), 0);
  Error *err = publish_commit(publish);
  assert_non_null(err);
  err_free(err);
  assert_true(file_exists(path_in(f, "app.db-wal", wal)));
  assert_int_equal(rmdir(f->db), 0);
  assert_int_equal(rename(away, f->db), 0);
  assert_int_equal(ledger_verify(f->db), 3);
  close(dir);
}

/* ---- the same files as files, in the same process
 * -------------------------------------------------------------------- */

static void backup_as_files(const Fixture *f, size_t partials) {
  SourceSpec spec = {.type = "files"};
  Engine *engine = NULL;
  EngineFacts facts = {0};
  strlist_add(&spec.paths, f->dir);
  assert_ok(files_engine_open(sys_real(), &spec, &engine));
  MemorySink *sink = memory_sink_new(sys_real(), NULL);
  BackupPlan plan = {.mode = BACKUP_FULL, .readers = 2, .started_ns = sys_now_ns(sys_real())};
  assert_ok(engine->ops->backup(engine, &plan, memory_sink(sink), &facts, NULL));
  assert_int_equal(memory_sink_notices(sink, NOTICE_PARTIAL, "as a database at this moment"), partials);
  MemoryTree *tree = memory_sink_finish(sink);
  assert_non_null(memory_tree_get(tree, "plain"));
  assert_int_equal(memory_tree_get(tree, "app.db") != NULL, partials == 0);
  assert_int_equal(memory_tree_get(tree, "app.db-shm") != NULL, partials == 0);
  memory_tree_free(tree);
  engine_facts_free(&facts);
  engine->ops->free(engine);
  strlist_free(&spec.paths);
}

/* Another process, begun before this one opens anything (SQLite's own record of locks must not be inherited): each time
 * it is told to go, it tries to have the log begun anew, which only our read lock prevents. */
static pid_t prober_start(const char *path, Shared *shared) {
  pid_t pid = child_fork();
  if (pid != 0) return pid;
  for (;;) {
    sqlite3 *db = NULL;
    shared_wait(&shared->go);
    shared->go = 0;
    if (sqlite3_open(path, &db) != SQLITE_OK) _exit(3);
    int rc = sqlite3_exec(db, "SELECT count(*) FROM sqlite_schema", NULL, NULL, NULL); /* a checkpoint opens no log */
    if (rc == SQLITE_OK) rc = sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    shared->committed = rc;
    (void)sqlite3_close(db);
    shared->ready = 1;
  }
}

static bool log_can_be_reset(Shared *shared) {
  shared->ready = 0;
  shared->go = 1;
  shared_wait(&shared->ready);
  if (shared->committed != SQLITE_BUSY && shared->committed != SQLITE_OK)
    fail_msg("SQLite says %d", (int)shared->committed);
  return shared->committed == SQLITE_OK;
}

/* Closing a plain descriptor of the database or its index would drop our locks: both are left alone meanwhile. */
static void test_files_keep_away(void **state) {
  Fixture *f = *state;
  char path[160];
  Snapshot *snapshot = NULL;
  SnapshotOptions options = {.sys = sys_real(), .lock_wait_ms = 1000};
  create_ledger(f->db, "PRAGMA journal_mode = WAL", 2);
  crash_after(f->db, "PRAGMA wal_autocheckpoint = 0; UPDATE account SET v = v + 1");
  file_put(path_in(f, "plain", path), "plain", 5);
  Shared *shared = shared_new();
  pid_t prober = prober_start(f->db, shared);
  assert_ok(snapshot_open(f->db, &options, &snapshot, NULL));
  assert_int_equal(snapshot_info(snapshot)->method, SNAPSHOT_LIVE);
  assert_false(log_can_be_reset(shared));
  backup_as_files(f, 2);
  assert_false(log_can_be_reset(shared));
  assert_ok(snapshot_verify(snapshot, NULL));
  snapshot_close(snapshot);
  backup_as_files(f, 0);
  assert_true(log_can_be_reset(shared));
  child_crash(prober);
  munmap(shared, sizeof(Shared));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      CASE(test_names_of_any_bytes),
      CASE(test_links),
      CASE(test_attached),
      CASE(test_logs_that_are_none),
      CASE(test_a_log_beside_a_rollback_header),
      CASE(test_a_log_of_other_pages),
      CASE(test_super_journal),
      CASE(test_newer_schema),
      CASE(test_newer_format),
      CASE(test_a_lost_beginning_is_noticed),
      CASE(test_an_idle_application_is_in_the_way),
      CASE(test_others_come_while_we_fetch),
      CASE(test_a_log_comes_back_when_the_restore_fails),
      CASE(test_files_keep_away),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
