/* sqlite_fixture.h: what the tests of the SQLite engine share: a private directory, SQL in one line, a backup into
 * memory, and a database whose every committed state can be told from a mixture of two.
 */
#ifndef HF_TESTS_SQLITE_FIXTURE_H
#define HF_TESTS_SQLITE_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine/sqlite/sqlite_engine.h"
#include "sys/fs.h"

#include "engine_memory.h"
#include "testing.h"

typedef struct Fixture {
  char dir[64];     /* where the databases are */
  char scratch[80]; /* below it */
  char db[96];      /* dir/app.db */
} Fixture;

static inline int fixture_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
  (void)st, (void)type, (void)ftw;
  return remove(path);
}

static inline int fixture_setup(void **state) {
  Fixture *f = NEW(Fixture);
  const char *tmp = getenv("TMPDIR");
  if (!tmp || strlen(tmp) > 30) tmp = "/tmp";
  (void)snprintf(f->dir, sizeof(f->dir), "%s/hf-sqlite-XXXXXX", tmp);
  if (!mkdtemp(f->dir)) return -1;
  (void)snprintf(f->scratch, sizeof(f->scratch), "%s/scratch", f->dir);
  (void)snprintf(f->db, sizeof(f->db), "%s/app.db", f->dir);
  if (mkdir(f->scratch, 0700) != 0) return -1;
  *state = f;
  return 0;
}

static inline int fixture_teardown(void **state) {
  Fixture *f = *state;
  (void)nftw(f->dir, fixture_remove_one, 16, FTW_DEPTH | FTW_PHYS);
  free(f);
  return 0;
}

/* ---- SQL ----------------------------------------------------------------------------------------------------- */

static inline sqlite3 *sql_open(const char *path) {
  sqlite3 *db = NULL;
  if (sqlite3_open(path, &db) != SQLITE_OK) fail_msg("opening %s: %s", path, sqlite3_errmsg(db));
  (void)sqlite3_busy_timeout(db, 20000);
  return db;
}

static inline void sql(sqlite3 *db, const char *text) {
  char *message = NULL;
  if (sqlite3_exec(db, text, NULL, NULL, &message) != SQLITE_OK) fail_msg("%s: %s", text, message);
}

static inline int64_t sql_int(sqlite3 *db, const char *text) {
  sqlite3_stmt *stmt = NULL;
  if (sqlite3_prepare_v2(db, text, -1, &stmt, NULL) != SQLITE_OK || sqlite3_step(stmt) != SQLITE_ROW)
    fail_msg("%s: %s", text, sqlite3_errmsg(db));
  int64_t value = sqlite3_column_int64(stmt, 0);
  (void)sqlite3_finalize(stmt);
  return value;
}

/* First column of the first row; owned. */
static inline char *sql_text(sqlite3 *db, const char *text) {
  sqlite3_stmt *stmt = NULL;
  if (sqlite3_prepare_v2(db, text, -1, &stmt, NULL) != SQLITE_OK || sqlite3_step(stmt) != SQLITE_ROW)
    fail_msg("%s: %s", text, sqlite3_errmsg(db));
  char *value = mem_strdup((const char *)sqlite3_column_text(stmt, 0));
  (void)sqlite3_finalize(stmt);
  return value;
}

/* Opens, runs, closes. */
static inline void sql_at(const char *path, const char *text) {
  sqlite3 *db = sql_open(path);
  sql(db, text);
  assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static inline void assert_integrity(const char *path) {
  sqlite3 *db = sql_open(path);
  char *text = sql_text(db, "PRAGMA integrity_check");
  assert_string_equal(text, "ok");
  free(text);
  assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* ---- files --------------------------------------------------------------------------------------------------- */

static inline Buf file_content(const char *path) {
  Buf out = {0};
  assert_ok(fs_read_file(path, (size_t)(256 * MIB), &out));
  return out;
}

static inline void file_put(const char *path, const void *data, size_t len) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, data, len), (ssize_t)len);
  close(fd);
}

static inline void file_copy(const char *from, const char *to) {
  Buf content = file_content(from);
  file_put(to, content.data, content.len);
  buf_free(&content);
}

static inline bool file_exists(const char *path) { return access(path, F_OK) == 0; }

static inline bool file_equals(const char *path, Bytes expected) {
  Buf content = file_content(path);
  bool same = bytes_equal(buf_bytes(&content), expected);
  buf_free(&content);
  return same;
}

/* dir/name, in a buffer of the caller's. */
static inline char *path_in(const Fixture *f, const char *name, char out[160]) {
  (void)snprintf(out, 160, "%s/%s", f->dir, name);
  return out;
}

/* ---- backup -------------------------------------------------------------------------------------------------- */

typedef struct Outcome {
  MemoryTree *tree;
  EngineFacts facts;
  json_t *json;
  size_t aborted;
  size_t infos, warnings, partials;
} Outcome;

typedef struct BackupCase {
  const char *pattern, *pattern2;
  const MemoryTree *parent;
  BackupMode mode;
  bool force, recover_copy, no_scratch;
  uint64_t lock_wait_ms; /* 0: 200 */
  size_t buffer_size;    /* 0: 1 MiB */
  void (*on_buffer)(void *ctx, Bytes path, uint64_t offset);
  void *on_buffer_ctx;
  uint64_t fail_at;
  Cancel *cancel;
} BackupCase;

static inline Engine *case_engine(const Fixture *f, const BackupCase *c) {
  SourceSpec spec = {
      .type = "sqlite", .scratch_dir = c->no_scratch ? NULL : f->scratch, .recover_copy = c->recover_copy};
  Engine *engine = NULL;
  if (c->pattern) strlist_add(&spec.paths, c->pattern);
  if (c->pattern2) strlist_add(&spec.paths, c->pattern2);
  assert_ok(sqlite_engine_open(sys_real(), &spec, &engine));
  strlist_free(&spec.paths);
  sqlite_engine_set_lock_wait(engine, c->lock_wait_ms ? c->lock_wait_ms : 200);
  return engine;
}

static inline Error *try_backup(const Fixture *f, const BackupCase *c, Outcome *out) {
  Engine *engine = case_engine(f, c);
  MemorySink *sink = memory_sink_new(sys_real(), c->parent);
  if (c->buffer_size) memory_sink_buffer_size(sink, c->buffer_size);
  if (c->on_buffer) memory_sink_on_buffer(sink, c->on_buffer, c->on_buffer_ctx);
  memory_sink_fail_at(sink, c->fail_at);
  BackupPlan plan = {.mode = c->mode, .force = c->force, .readers = 2, .started_ns = sys_now_ns(sys_real())};
  *out = (Outcome){0};
  Error *err = engine->ops->backup(engine, &plan, memory_sink(sink), &out->facts, c->cancel);
  out->aborted = memory_sink_aborted(sink);
  out->infos = memory_sink_notices(sink, NOTICE_INFO, NULL);
  out->warnings = memory_sink_notices(sink, NOTICE_WARNING, NULL);
  out->partials = memory_sink_notices(sink, NOTICE_PARTIAL, NULL);
  out->tree = memory_sink_finish(sink);
  if (out->facts.json) out->json = json_loads(out->facts.json, 0, NULL);
  engine->ops->free(engine);
  return err;
}

static inline void outcome_free(Outcome *outcome) {
  memory_tree_free(outcome->tree);
  engine_facts_free(&outcome->facts);
  json_decref(outcome->json);
  *outcome = (Outcome){0};
}

static inline Outcome backup(const Fixture *f, const char *pattern) {
  Outcome out;
  assert_ok(try_backup(f, &(BackupCase){.pattern = pattern}, &out));
  return out;
}

static inline const json_t *member_facts(const Outcome *outcome, size_t index) {
  return json_array_get(json_object_get(outcome->json, "members"), index);
}

static inline const char *fact_text(const Outcome *outcome, const char *key) {
  const char *text = json_string_value(json_object_get(member_facts(outcome, 0), key));
  return text ? text : "";
}

static inline int64_t fact_int(const Outcome *outcome, const char *key) {
  return json_integer_value(json_object_get(member_facts(outcome, 0), key));
}

/* Writes a captured database to dir/copy.db, without anything beside it. */
static inline char *put_copy(const Fixture *f, const Outcome *outcome, const char *tree_path, char out[160]) {
  const MemoryNode *node = memory_tree_get(outcome->tree, tree_path);
  if (!node) fail_msg("nothing captured for %s", tree_path);
  path_in(f, "copy.db", out);
  char beside[176];
  static const char *const BESIDE[] = {"-wal", "-shm", "-journal"};
  for (size_t i = 0; i < 3; i++) {
    (void)snprintf(beside, sizeof(beside), "%s%s", out, BESIDE[i]);
    (void)unlink(beside);
  }
  file_put(out, node->data, (size_t)node->entry->size);
  return out;
}

/* ---- a ledger whose states are recognisable -------------------------------------------------------------------- */

enum { LEDGER_ROWS = 1500 };

/* Many rows over many pages; every transaction changes some, and the total and the number of the transaction with
 * them. A copy made of two states has a wrong sum, or a gap, or is corrupt. */
static inline void ledger_create(sqlite3 *db) {
  sql(db,
      "PRAGMA synchronous = OFF;"
      "CREATE TABLE account(id INTEGER PRIMARY KEY, v INTEGER NOT NULL, pad BLOB);"
      "CREATE INDEX account_v ON account(v);"
      "CREATE TABLE total(id INTEGER PRIMARY KEY, seq INTEGER, sum INTEGER);"
      "CREATE TABLE done(seq INTEGER PRIMARY KEY, pad BLOB);"
      "INSERT INTO total VALUES(1, 0, 0);"
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500) "
      "INSERT INTO account SELECT i, 0, randomblob(500) FROM n;");
}

/* SQLITE_OK, or what failed (the transaction is rolled back). */
static inline int ledger_step(sqlite3 *db, uint64_t *random) {
  char text[512];
  unsigned from = (unsigned)(test_random(random) % LEDGER_ROWS), step = 1 + (unsigned)(test_random(random) % 97);
  (void)snprintf(text, sizeof(text),
                 "BEGIN IMMEDIATE;"
                 "UPDATE account SET v = v + 1, pad = randomblob(500) WHERE id >= %u AND id %% %u = 0;"
                 "UPDATE total SET seq = seq + 1, sum = sum + changes() WHERE id = 1;"
                 "INSERT INTO done SELECT seq, randomblob(200) FROM total; COMMIT;",
                 from, step);
  int rc = sqlite3_exec(db, text, NULL, NULL, NULL);
  if (rc != SQLITE_OK) (void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
  return rc;
}

/* Asserts that the file is one committed state, and returns its number. */
static inline int64_t ledger_verify(const char *path) {
  assert_integrity(path);
  sqlite3 *db = sql_open(path);
  int64_t seq = sql_int(db, "SELECT seq FROM total");
  assert_int_equal(sql_int(db, "SELECT sum(v) FROM account"), sql_int(db, "SELECT sum FROM total"));
  assert_int_equal(sql_int(db, "SELECT count(*) FROM account"), LEDGER_ROWS);
  assert_int_equal(sql_int(db, "SELECT count(*) FROM done"), seq);
  assert_int_equal(sql_int(db, "SELECT coalesce(max(seq), 0) FROM done"), seq);
  assert_int_equal(sqlite3_close(db), SQLITE_OK);
  return seq;
}

/* ---- another process ----------------------------------------------------------------------------------------- */

typedef struct Shared { /* between a test and its children */
  _Atomic int stop;
  _Atomic int ready;
  _Atomic int go;
  _Atomic int64_t committed; /* the ledger's number, at least this */
} Shared;

static inline Shared *shared_new(void) {
  Shared *shared = mmap(NULL, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  assert_true(shared != MAP_FAILED);
  return shared;
}

static inline void shared_wait(_Atomic int *flag) {
  while (!*flag) usleep(500);
}

/* A child that ends with the test, however that ends. */
static inline pid_t child_fork(void) {
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) _exit(99);
  return pid;
}

/* Its exit status must be 0. */
static inline void child_join(pid_t pid) {
  int status = 0;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
}

/* Kills it wherever it is, as a crash would. */
static inline void child_crash(pid_t pid) {
  assert_int_equal(kill(pid, SIGKILL), 0);
  assert_int_equal(waitpid(pid, NULL, 0), pid);
}

#endif
