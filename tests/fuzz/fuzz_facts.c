/* What engines recorded in a snapshot, as a hostile repository may say it: each engine checks a restored copy against
 * it, and it is shown to people. No name in it leads out of the copy. */
#include <jansson.h>
#include <sqlite3.h>
#include <stdlib.h>

#include "base/mem.h"
#include "cli/info_facts.h"
#include "engine/engine.h"
#include "sys/fs.h"
#include "sys/sys.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A folder with a database, a file and an empty database, made once and left to the system's clean-up. */
static const char *copy_folder(void) {
  static char folder[] = "/tmp/holdfast-fuzz-XXXXXX";
  static bool made;
  if (made) return folder;
  CHECK(mkdtemp(folder) != NULL);
  AUTO_FREE char *path = fs_join(folder, "a.db");
  AUTO_FREE char *text = fs_join(folder, "text");
  sqlite3 *db;
  CHECK(sqlite3_open(path, &db) == SQLITE_OK);
  CHECK(sqlite3_exec(db,
                     "create table t(a primary key, b); insert into t values(1, 'x'); create view v as select a from t",
                     NULL, NULL, NULL) == SQLITE_OK);
  CHECK(sqlite3_close(db) == SQLITE_OK);
  CHECK(fs_replace_file(text, bytes_str("text\n"), 0600) == NULL);
  made = true;
  return folder;
}

static void check(const char *type, const char *source, const char *path, const char *facts) {
  SourceSpec spec = {.type = type};
  strlist_add(&spec.paths, source);
  Engine *engine;
  CHECK(engine_open(sys_real(), &spec, &engine) == NULL);
  CheckReport report = {0};
  DrillTarget target = {.path = path, .facts_json = facts, .scratch_dir = "/tmp"};
  err_free(engine->ops->check(engine, &target, CHECK_STANDARD, &report, NULL));
  check_report_free(&report);
  engine_free(engine);
  strlist_free(&spec.paths);
}

static void show(const char *facts) {
  json_t *doc = json_loads(facts, 0, NULL);
  AUTO_BUF Buf out = {0};
  if (doc) info_facts_print(doc, &out);
  for (size_t i = 0; i < out.len; i++) CHECK(out.data[i] == '\n' || out.data[i] >= 0x20);
  json_decref(doc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size > 16 * 1024) return 0;
  const char *folder = copy_folder();
  AUTO_FREE char *facts = mem_strndup(size ? (const char *)data : "", size);
  AUTO_FREE char *db = fs_join(folder, "a.db");
  AUTO_FREE char *text = fs_join(folder, "text");
  check("sqlite", "/nowhere/a.db", folder, facts);
  check("sqlite", "/nowhere/a.db", db, facts);
  check("files", "/nowhere", folder, facts);
  check("command", "true", text, facts);
  show(facts);
  return 0;
}
