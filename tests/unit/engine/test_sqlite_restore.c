/* Restore and check: what was captured comes back byte for byte, nothing is overwritten that was not named, no old log
 * is left to be applied to a new file, and a copy that is not what the record says does not pass.
 */
#include "sqlite_fixture.h"

typedef struct RestoreCase {
  const char *target;
  const char *only;
  bool overwrite, delta, owners, no_sync;
  const char *fail_path;
  uint64_t *written;
  Cancel *cancel;
} RestoreCase;

static Error *try_restore(const Fixture *f, const Outcome *from, const RestoreCase *c) {
  Engine *engine = case_engine(f, &(BackupCase){0});
  MemorySource *source = memory_source_new(sys_real(), from->tree, from->facts.json, 3, 42);
  RestorePlan plan = {.target = c->target,
                      .overwrite = c->overwrite,
                      .delta = c->delta,
                      .owners = c->owners,
                      .no_sync = c->no_sync,
                      .scratch_dir = f->scratch};
  memory_source_fail_path(source, c->fail_path);
  if (c->only) strlist_add(&plan.only, c->only);
  Error *err = engine->ops->restore(engine, &plan, memory_source(source), c->cancel);
  if (c->written) *c->written = memory_source_written(source);
  strlist_free(&plan.only);
  memory_source_free(source);
  engine->ops->free(engine);
  return err;
}

static void create_ledger(const char *path, const char *mode, int steps) {
  sqlite3 *db = sql_open(path);
  uint64_t random = 11;
  sql(db, mode);
  ledger_create(db);
  for (int i = 0; i < steps; i++) assert_int_equal(ledger_step(db, &random), SQLITE_OK);
  assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* Names in dir that a failed restore may have left. */
static int count_names(const char *dir, const char *part) {
  char command[256];
  (void)snprintf(command, sizeof(command), "ls -a %s | grep -c -- '%s'", dir, part);
  FILE *out = popen(command, "r");
  int count = -1;
  assert_int_equal(fscanf(out, "%d", &count), 1);
  (void)pclose(out);
  return count;
}

static bool same_as(const Outcome *from, const char *tree_path, const char *path) {
  const MemoryNode *node = memory_tree_get(from->tree, tree_path);
  return file_equals(path, bytes(node->data, (size_t)node->entry->size));
}

/* ---- one database ---------------------------------------------------------------------------------------------- */

static void test_to_a_new_file(void **state) {
  Fixture *f = *state;
  char target[160];
  create_ledger(f->db, "PRAGMA journal_mode = WAL", 4);
  assert_int_equal(chmod(f->db, 0640), 0);
  Outcome out = backup(f, f->db);
  assert_ok(try_restore(f, &out, &(RestoreCase){.target = path_in(f, "new/dir/back.db", target)}));
  assert_true(same_as(&out, "app.db", target));
  struct stat st;
  assert_int_equal(stat(target, &st), 0);
  assert_int_equal(st.st_mode & 07777, 0640);
  assert_int_equal(st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec,
                   memory_tree_get(out.tree, "app.db")->entry->mtime_ns);
  assert_int_equal(ledger_verify(target), 4);
  outcome_free(&out);
}

static void test_into_a_directory(void **state) {
  Fixture *f = *state;
  char dir[160], path[160];
  create_ledger(f->db, "PRAGMA journal_mode = DELETE", 1);
  Outcome out = backup(f, f->db);
  assert_int_equal(mkdir(path_in(f, "into", dir), 0755), 0);
  file_put(path_in(f, "into/else", path), "x", 1);
  assert_ok(try_restore(f, &out, &(RestoreCase){.target = dir}));
  assert_true(same_as(&out, "app.db", path_in(f, "into/app.db", path)));
  assert_err(try_restore(f, &out, &(RestoreCase){.target = dir}), ERR_NOT_EMPTY);
  outcome_free(&out);
}

static void test_never_overwrites(void **state) {
  Fixture *f = *state;
  char target[160], beside[160];
  create_ledger(f->db, "PRAGMA journal_mode = DELETE", 1);
  Outcome out = backup(f, f->db);
  file_put(path_in(f, "there.db", target), "precious", 8);
  assert_err(try_restore(f, &out, &(RestoreCase){.target = target}), ERR_NOT_EMPTY);
  assert_true(file_equals(target, bytes("precious", 8)));
  /* A log without its database would be applied to the restored one. */
  path_in(f, "gone.db", target);
  file_put(path_in(f, "gone.db-wal", beside), "log", 3);
  assert_err(try_restore(f, &out, &(RestoreCase){.target = target}), ERR_NOT_EMPTY);
  assert_false(file_exists(target));
  assert_int_equal(count_names(f->dir, "holdfast-"), 0);
  outcome_free(&out);
}

static void test_overwrite_takes_the_old_log_away(void **state) {
  Fixture *f = *state;
  char wal[160];
  create_ledger(f->db, "PRAGMA journal_mode = WAL", 3);
  Outcome out = backup(f, f->db);
  /* Another process adds transactions and dies: they are in the log alone. */
  pid_t pid = child_fork();
  if (pid == 0) {
    sqlite3 *db = NULL;
    uint64_t random = 1;
    if (sqlite3_open(f->db, &db) != SQLITE_OK) _exit(3);
    for (int i = 0; i < 5; i++)
      if (ledger_step(db, &random) != SQLITE_OK) _exit(4);
    _exit(0);
  }
  child_join(pid);
  assert_true(file_exists(path_in(f, "app.db-wal", wal)));
  assert_ok(try_restore(f, &out, &(RestoreCase){.target = f->db, .overwrite = true}));
  assert_false(file_exists(wal));
  assert_true(same_as(&out, "app.db", f->db));
  assert_int_equal(count_names(f->dir, "holdfast-"), 0);
  assert_int_equal(ledger_verify(f->db), 3);
  outcome_free(&out);
}

static void test_refuses_a_database_in_use(void **state) {
  Fixture *f = *state;
  Shared *shared = shared_new();
  create_ledger(f->db, "PRAGMA journal_mode = WAL", 2);
  Outcome out = backup(f, f->db);
  pid_t pid = child_fork();
  if (pid == 0) {
    sqlite3 *db = NULL;
    if (sqlite3_open(f->db, &db) != SQLITE_OK) _exit(3);
    if (sqlite3_exec(db, "SELECT * FROM total", NULL, NULL, NULL) != SQLITE_OK) _exit(4);
    shared->ready = 1;
    shared_wait(&shared->stop);
    _exit(sqlite3_close(db) == SQLITE_OK ? 0 : 5);
  }
  shared_wait(&shared->ready);
  Error *err = try_restore(f, &out, &(RestoreCase){.target = f->db, .overwrite = true});
  assert_true(err_is(err, ERR_REFUSED));
  assert_non_null(strstr(err_text(err), f->db));
  err_free(err);
  shared->stop = 1;
  child_join(pid);
  munmap(shared, sizeof(Shared));
  assert_ok(try_restore(f, &out, &(RestoreCase){.target = f->db, .overwrite = true}));
  outcome_free(&out);
}

static void test_failure_leaves_the_old(void **state) {
  Fixture *f = *state;
  char target[160];
  create_ledger(f->db, "PRAGMA journal_mode = DELETE", 2);
  Outcome out = backup(f, f->db);
  sql_at(f->db, "UPDATE total SET seq = 77");
  Buf before = file_content(f->db);
  assert_err(try_restore(f, &out, &(RestoreCase){.target = f->db, .overwrite = true, .fail_path = "app.db"}),
             ERR_CORRUPT);
  assert_true(file_equals(f->db, buf_bytes(&before)));
  assert_err(try_restore(f, &out, &(RestoreCase){.target = path_in(f, "new.db", target), .fail_path = "app.db"}),
             ERR_CORRUPT);
  assert_false(file_exists(target));
  Cancel cancel = {0};
  cancel_set(&cancel, -1);
  assert_err(try_restore(f, &out, &(RestoreCase){.target = target, .cancel = &cancel}), ERR_CANCELLED);
  assert_int_equal(count_names(f->dir, "holdfast-"), 0);
  buf_free(&before);
  outcome_free(&out);
}

static void test_delta_writes_what_differs(void **state) {
  Fixture *f = *state;
  create_ledger(f->db, "PRAGMA journal_mode = DELETE", 2);
  sql_at(f->db, "CREATE TABLE zeros AS SELECT zeroblob(600000) AS a");
  Outcome out = backup(f, f->db);
  uint64_t size = memory_tree_get(out.tree, "app.db")->entry->size, written = 0;
  sql_at(f->db, "UPDATE total SET seq = 77");
  RestoreCase c = {.target = f->db, .overwrite = true, .delta = true, .written = &written};
  assert_ok(try_restore(f, &out, &c));
  assert_true(same_as(&out, "app.db", f->db));
  assert_true(written > 0 && written < size / 2);
  /* Zeros that are none any more. */
  sql_at(f->db, "UPDATE zeros SET a = randomblob(600000)");
  assert_ok(try_restore(f, &out, &c));
  assert_true(same_as(&out, "app.db", f->db));
  /* Grown since, and shorter than the snapshot. */
  sql_at(f->db, "CREATE TABLE more AS SELECT * FROM account");
  assert_ok(try_restore(f, &out, &c));
  assert_true(same_as(&out, "app.db", f->db));
  sql_at(f->db, "DROP TABLE account; VACUUM");
  assert_ok(try_restore(f, &out, &c));
  assert_true(same_as(&out, "app.db", f->db));
  assert_int_equal(unlink(f->db), 0);
  assert_ok(try_restore(f, &out, &c));
  assert_int_equal(ledger_verify(f->db), 2);
  outcome_free(&out);
}

static void test_over_a_link(void **state) {
  Fixture *f = *state;
  char link[160];
  create_ledger(f->db, "PRAGMA journal_mode = DELETE", 1);
  Outcome out = backup(f, f->db);
  assert_int_equal(symlink(f->db, path_in(f, "link.db", link)), 0);
  sql_at(f->db, "UPDATE total SET seq = 77");
  assert_ok(try_restore(f, &out, &(RestoreCase){.target = link, .overwrite = true}));
  struct stat st;
  assert_int_equal(lstat(link, &st), 0);
  assert_true(S_ISLNK(st.st_mode));
  assert_int_equal(ledger_verify(f->db), 1);
  outcome_free(&out);
}

static void test_empty_database(void **state) {
  Fixture *f = *state;
  char target[160];
  file_put(f->db, "", 0);
  Outcome out = backup(f, f->db);
  assert_ok(try_restore(f, &out, &(RestoreCase){.target = path_in(f, "new.db", target)}));
  assert_true(file_equals(target, bytes(NULL, 0)));
  outcome_free(&out);
}

/* ---- several --------------------------------------------------------------------------------------------------- */

static Outcome backup_several(Fixture *f) {
  char path[160], pattern[160];
  assert_int_equal(mkdir(path_in(f, "src", path), 0755), 0);
  assert_int_equal(mkdir(path_in(f, "src/deep", path), 0755), 0);
  create_ledger(path_in(f, "src/a.db", path), "PRAGMA journal_mode = WAL", 1);
  create_ledger(path_in(f, "src/b.db", path), "PRAGMA journal_mode = DELETE", 2);
  create_ledger(path_in(f, "src/deep/c.db", path), "PRAGMA journal_mode = DELETE", 3);
  file_put(path_in(f, "src/empty.db", path), "", 0);
  return backup(f, path_in(f, "src/**", pattern));
}

static void test_several(void **state) {
  Fixture *f = *state;
  char target[160], path[160];
  Outcome out = backup_several(f);
  assert_ok(try_restore(f, &out, &(RestoreCase){.target = path_in(f, "back", target)}));
  assert_int_equal(ledger_verify(path_in(f, "back/a.db", path)), 1);
  assert_int_equal(ledger_verify(path_in(f, "back/b.db", path)), 2);
  assert_int_equal(ledger_verify(path_in(f, "back/deep/c.db", path)), 3);
  assert_true(file_exists(path_in(f, "back/empty.db", path)));
  assert_err(try_restore(f, &out, &(RestoreCase){.target = target}), ERR_NOT_EMPTY);
  assert_ok(try_restore(f, &out, &(RestoreCase){.target = target, .overwrite = true}));
  /* One of them, to a file of its own. */
  assert_ok(try_restore(f, &out, &(RestoreCase){.target = path_in(f, "one.db", target), .only = "deep/*"}));
  assert_int_equal(ledger_verify(target), 3);
  assert_err(try_restore(f, &out, &(RestoreCase){.target = path_in(f, "none.db", target), .only = "nothing*"}),
             ERR_NOT_FOUND);
  assert_err(try_restore(f, &out, &(RestoreCase){.target = f->scratch, .only = "nothing*"}), ERR_NOT_FOUND);
  outcome_free(&out);
}

/* A link in the target that leads out of it is not followed. */
static void test_no_way_out(void **state) {
  Fixture *f = *state;
  char target[160], path[160];
  Outcome out = backup_several(f);
  assert_int_equal(mkdir(path_in(f, "back", target), 0755), 0);
  assert_int_equal(symlink("/tmp", path_in(f, "back/deep", path)), 0);
  Error *err = try_restore(f, &out, &(RestoreCase){.target = target, .overwrite = true});
  assert_non_null(err);
  err_free(err);
  assert_false(file_exists("/tmp/c.db"));
  outcome_free(&out);
}

static void test_hostile_path(void **state) {
  Fixture *f = *state;
  char target[160];
  create_ledger(f->db, "PRAGMA journal_mode = DELETE", 1);
  Outcome out = backup(f, f->db);
  Entry hostile = *out.tree->nodes[0].entry;
  hostile.path = bytes_str("../escaped.db");
  entry_free(out.tree->nodes[0].entry);
  out.tree->nodes[0].entry = entry_copy(&hostile);
  assert_int_equal(mkdir(path_in(f, "back", target), 0755), 0);
  assert_err(try_restore(f, &out, &(RestoreCase){.target = target}), ERR_CORRUPT);
  outcome_free(&out);
}

/* ---- check ----------------------------------------------------------------------------------------------------- */

static CheckReport run_check(const Fixture *f, const Outcome *record, const char *path, const char *source,
                             CheckLevel level) {
  Engine *engine = case_engine(f, &(BackupCase){0});
  CheckReport report = {0};
  DrillTarget target = {
      .path = path, .facts_json = record->facts.json, .source_path = source, .scratch_dir = f->scratch};
  assert_ok(engine->ops->check(engine, &target, level, &report, NULL));
  engine->ops->free(engine);
  assert_true(report.len > 0);
  return report;
}

static const CheckItem *find_item(const CheckReport *report, const char *name) {
  for (size_t i = 0; i < report->len; i++)
    if (strcmp(report->items[i].name, name) == 0) return &report->items[i];
  return NULL;
}

static void assert_all_passed(CheckReport *report) {
  for (size_t i = 0; i < report->len; i++)
    if (!report->items[i].passed)
      fail_msg("%s: expected %s, found %s", report->items[i].name, report->items[i].expected, report->items[i].found);
  check_report_free(report);
}

static void test_check_passes(void **state) {
  Fixture *f = *state;
  char target[160], beside[160];
  create_ledger(f->db, "PRAGMA journal_mode = WAL", 3);
  Outcome out = backup(f, f->db);
  assert_ok(try_restore(f, &out, &(RestoreCase){.target = path_in(f, "back.db", target)}));
  for (CheckLevel level = CHECK_QUICK; level <= CHECK_COMPREHENSIVE; level++) {
    CheckReport report = run_check(f, &out, target, NULL, level);
    assert_non_null(find_item(&report, "app.db: schema"));
    assert_int_equal(find_item(&report, "app.db: integrity_check") != NULL, level >= CHECK_STANDARD);
    assert_int_equal(find_item(&report, "app.db: rows of account") != NULL, level >= CHECK_STANDARD);
    assert_int_equal(find_item(&report, "app.db: content of account") != NULL, level >= CHECK_COMPREHENSIVE);
    assert_all_passed(&report);
  }
  CheckReport report = run_check(f, &out, target, f->db, CHECK_COMPREHENSIVE);
  assert_non_null(find_item(&report, "app.db: content of account, as in the source"));
  assert_all_passed(&report);
  /* Nothing has appeared beside the copy, or beside the source. */
  assert_false(file_exists(path_in(f, "back.db-wal", beside)));
  assert_false(file_exists(path_in(f, "back.db-shm", beside)));
  assert_false(file_exists(path_in(f, "app.db-shm", beside)));
  outcome_free(&out);
}

static void test_check_of_several(void **state) {
  Fixture *f = *state;
  char target[160], path[160];
  Outcome out = backup_several(f);
  assert_ok(try_restore(f, &out, &(RestoreCase){.target = path_in(f, "back", target)}));
  CheckReport report = run_check(f, &out, target, path_in(f, "src", path), CHECK_COMPREHENSIVE);
  assert_non_null(find_item(&report, "deep/c.db: rows of done"));
  assert_all_passed(&report);
  assert_int_equal(unlink(path_in(f, "back/b.db", path)), 0);
  report = run_check(f, &out, target, NULL, CHECK_QUICK);
  assert_int_equal(check_report_passed(&report), report.len - 1);
  check_report_free(&report);
  outcome_free(&out);
}

/* What is wrong, and at which level it shows. */
static void check_fails(const char *change, CheckLevel level, const char *item, void **state) {
  Fixture *f = *state;
  char target[160];
  (void)unlink(f->db);
  create_ledger(f->db, "PRAGMA journal_mode = DELETE", 3);
  Outcome out = backup(f, f->db);
  assert_ok(try_restore(f, &out, &(RestoreCase){.target = path_in(f, "back.db", target)}));
  sql_at(target, change);
  CheckReport report = run_check(f, &out, target, NULL, level);
  const CheckItem *found = find_item(&report, item);
  if (!found || found->passed) fail_msg("%s: not noticed by '%s'", change, item);
  check_report_free(&report);
  assert_int_equal(unlink(target), 0);
  outcome_free(&out);
}

static void test_check_notices(void **state) {
  check_fails("CREATE TABLE new(a)", CHECK_QUICK, "app.db: schema", state);
  check_fails("DROP INDEX account_v", CHECK_QUICK, "app.db: number of indexes", state);
  check_fails("DROP TABLE done", CHECK_STANDARD, "app.db: table done", state);
  check_fails("DELETE FROM account WHERE id = 5", CHECK_STANDARD, "app.db: rows of account", state);
  check_fails("UPDATE account SET v = v + 1 WHERE id = 5", CHECK_COMPREHENSIVE, "app.db: content of account", state);
  check_fails("PRAGMA user_version = 9", CHECK_QUICK, "app.db: user version", state);
}

static void test_check_of_a_broken_copy(void **state) {
  Fixture *f = *state;
  char target[160];
  create_ledger(f->db, "PRAGMA journal_mode = DELETE", 3);
  Outcome out = backup(f, f->db);
  file_put(path_in(f, "back.db", target),
           "this is not a database at all, but text, for a hundred bytes or more, so "
           "that there is something to look at",
           100);
  CheckReport report = run_check(f, &out, target, NULL, CHECK_STANDARD);
  assert_false(find_item(&report, "app.db: opens")->passed);
  check_report_free(&report);
  /* One page of rubbish in the middle. */
  assert_int_equal(unlink(target), 0);
  assert_ok(try_restore(f, &out, &(RestoreCase){.target = target}));
  uint8_t junk[4096];
  memset(junk, 0xee, sizeof(junk));
  int fd = open(target, O_RDWR | O_CLOEXEC);
  assert_int_equal(pwrite(fd, junk, sizeof(junk), 40 * 4096), 4096);
  close(fd);
  report = run_check(f, &out, target, NULL, CHECK_STANDARD);
  assert_false(find_item(&report, "app.db: integrity_check")->passed);
  check_report_free(&report);
  assert_int_equal(unlink(target), 0);
  report = run_check(f, &out, target, NULL, CHECK_STANDARD);
  assert_false(find_item(&report, "app.db: file")->passed);
  check_report_free(&report);
  outcome_free(&out);
}

/* Tables of every kind, a collation that only the application has, broken foreign keys that were there before. */
static int any_order(void *ctx, int a_len, const void *a, int b_len, const void *b) {
  (void)ctx;
  int n = a_len < b_len ? a_len : b_len, c = memcmp(a, b, (size_t)n);
  return c ? -c : b_len - a_len;
}

static void test_check_of_many_kinds(void **state) {
  Fixture *f = *state;
  char target[160];
  sqlite3 *db = sql_open(f->db);
  sql(db,
      "CREATE TABLE w(a TEXT PRIMARY KEY, b) WITHOUT ROWID; INSERT INTO w VALUES('x', 1.5), ('y', x'00ff');"
      "CREATE TABLE g(a INTEGER, b AS (a * 2) VIRTUAL, c AS (a + 1) STORED); INSERT INTO g(a) VALUES(4);"
      "CREATE VIRTUAL TABLE ft USING fts5(t); INSERT INTO ft VALUES('some words');"
      "CREATE VIRTUAL TABLE rt USING rtree(id, x0, x1); INSERT INTO rt VALUES(1, 0, 1);"
      "CREATE VIEW v AS SELECT * FROM w; CREATE TRIGGER tr AFTER INSERT ON g BEGIN SELECT 1; END;"
      "CREATE TABLE p(id INTEGER PRIMARY KEY AUTOINCREMENT); CREATE TABLE c(p REFERENCES p(id));"
      "INSERT INTO c VALUES(5); CREATE TABLE \"odd \"\" name\"(x); INSERT INTO \"odd \"\" name\" VALUES(NULL)");
  Outcome out = backup(f, f->db);
  assert_int_equal(fact_int(&out, "foreign_key_violations"), 1);
  assert_ok(try_restore(f, &out, &(RestoreCase){.target = path_in(f, "back.db", target)}));
  CheckReport report = run_check(f, &out, target, f->db, CHECK_COMPREHENSIVE);
  assert_non_null(find_item(&report, "app.db: content of odd \" name"));
  assert_all_passed(&report);
  outcome_free(&out);
  /* A collation that is not here: what cannot be read is not recorded, and the backup is none the worse. */
  assert_int_equal(sqlite3_create_collation(db, "mine", SQLITE_UTF8, NULL, any_order), SQLITE_OK);
  sql(db, "CREATE TABLE m(a TEXT COLLATE mine UNIQUE); INSERT INTO m VALUES('a'), ('b')");
  assert_int_equal(sqlite3_close(db), SQLITE_OK);
  out = backup(f, f->db);
  assert_false(out.facts.damaged);
  outcome_free(&out);
}

/* ---- any database ---------------------------------------------------------------------------------------------- */

static void random_statement(sqlite3 *db, uint64_t *random) {
  static const char *const SHAPES[] = {
      "CREATE TABLE t%u(a INTEGER PRIMARY KEY, b TEXT, c BLOB)",
      "CREATE TABLE t%u(a TEXT PRIMARY KEY, b, c) WITHOUT ROWID",
      "CREATE INDEX i%u ON t0(b, c)",
      "DROP TABLE t%u",
      "INSERT INTO t%u SELECT NULL, hex(randomblob(9)), zeroblob(abs(random()) %% 9000) FROM t0 LIMIT 40",
      "INSERT INTO t%u VALUES(abs(random()), 'ein Text mit \xc3\xbc', randomblob(abs(random()) %% 3000))",
      "DELETE FROM t%u WHERE rowid %% 3 = 0",
      "UPDATE t%u SET c = randomblob(100)",
      "PRAGMA incremental_vacuum(%u)",
      "VACUUM",
  };
  char *text = sqlite3_mprintf(SHAPES[test_random(random) % NELEMS(SHAPES)], (unsigned)(test_random(random) % 4));
  /* Many make no sense at their moment, and fail. */
  (void)sqlite3_exec(db, text, NULL, NULL, NULL);
  sqlite3_free(text);
}

static sqlite3 *random_database(const char *path, uint64_t *random) {
  static const char *const ENCODINGS[] = {"UTF-8", "UTF-16le", "UTF-16be"};
  static const char *const MODES[] = {"DELETE", "WAL", "TRUNCATE", "PERSIST"};
  char text[256];
  sqlite3 *db = sql_open(path);
  (void)snprintf(text, sizeof(text),
                 "PRAGMA page_size = %u; PRAGMA encoding = '%s'; PRAGMA auto_vacuum = %u; PRAGMA journal_mode = %s;"
                 "PRAGMA synchronous = OFF;"
                 "CREATE TABLE t0(a INTEGER PRIMARY KEY, b TEXT, c BLOB)",
                 512u << (test_random(random) % 8), ENCODINGS[test_random(random) % 3],
                 (unsigned)(test_random(random) % 3), MODES[test_random(random) % 4]);
  sql(db, text);
  for (int i = 0; i < 60; i++) random_statement(db, random);
  return db;
}

/* A record that names files which are not the copy's: they are not read. */
static void test_check_stays_inside(void **state) {
  static const char *const records[] = {
      "{\"members\":[{\"path\":\"../app.db\"}]}", "{\"members\":[{\"path\":\"/etc/passwd\"}]}",
      "{\"members\":[{\"path\":\"a/../../app.db\"}]}", "{\"members\":[{\"path\":\"\"}]}"};
  Fixture *f = *state;
  char folder[160];
  sqlite3 *db = sql_open(f->db);
  sql(db, "CREATE TABLE t(a)");
  assert_int_equal(sqlite3_close(db), SQLITE_OK);
  assert_int_equal(mkdir(path_in(f, "copy", folder), 0700), 0);
  SourceSpec spec = {.type = "sqlite"};
  strlist_add(&spec.paths, f->db);
  Engine *engine;
  assert_ok(engine_open(sys_real(), &spec, &engine));
  for (size_t i = 0; i < NELEMS(records); i++) {
    CheckReport report = {0};
    DrillTarget target = {.path = folder, .facts_json = records[i]};
    Error *err = engine->ops->check(engine, &target, CHECK_QUICK, &report, NULL);
    assert_int_equal(check_report_passed(&report), 0);
    assert_true(err != NULL || report.len > 0);
    err_free(err);
    check_report_free(&report);
  }
  engine_free(engine);
  strlist_free(&spec.paths);
}

static void test_any_database(void **state) {
  Fixture *f = *state;
  for (uint64_t seed = 1; seed <= 25; seed++) {
    char target[160];
    uint64_t random = seed;
    sqlite3 *db = random_database(f->db, &random);
    Outcome out = backup(f, f->db); /* with the application's connection open */
    assert_ok(try_restore(f, &out, &(RestoreCase){.target = path_in(f, "back.db", target), .no_sync = true}));
    assert_true(same_as(&out, "app.db", target));
    CheckReport report = run_check(f, &out, target, f->db, CHECK_COMPREHENSIVE);
    assert_all_passed(&report);
    outcome_free(&out);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    assert_int_equal(unlink(f->db), 0);
    assert_int_equal(unlink(target), 0);
    char journal[160];
    (void)unlink(path_in(f, "app.db-journal", journal));
  }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      CASE(test_to_a_new_file),
      CASE(test_into_a_directory),
      CASE(test_never_overwrites),
      CASE(test_overwrite_takes_the_old_log_away),
      CASE(test_refuses_a_database_in_use),
      CASE(test_failure_leaves_the_old),
      CASE(test_delta_writes_what_differs),
      CASE(test_over_a_link),
      CASE(test_empty_database),
      CASE(test_several),
      CASE(test_no_way_out),
      CASE(test_hostile_path),
      CASE(test_check_passes),
      CASE(test_check_of_several),
      CASE(test_check_notices),
      CASE(test_check_of_a_broken_copy),
      CASE(test_check_of_many_kinds),
      CASE(test_check_stays_inside),
      CASE(test_any_database),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
