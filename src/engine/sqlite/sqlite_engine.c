#include "engine/sqlite/sqlite_engine.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/vfs.h>

#include "base/mem.h"
#include "engine/sqlite/sqlite_members.h"

enum { LOCK_WAIT_MS = 10000, PROBE_WAIT_MS = 1000, PROBE_SENTENCES_MAX = 20 };

static SqliteEngine *engine_of(Engine *engine) { return (SqliteEngine *)engine; }

void sqlite_engine_set_lock_wait(Engine *engine, uint64_t wait_ms) { engine_of(engine)->lock_wait_ms = wait_ms; }

SnapshotOptions sqlite_engine_options(const SqliteEngine *engine) {
  return (SnapshotOptions){.sys = engine->base.sys,
                           .scratch_dir = engine->scratch_dir,
                           .lock_wait_ms = engine->lock_wait_ms,
                           .recover_copy = engine->recover_copy};
}

/* ---- probe --------------------------------------------------------------------------------------------------- */

/* The database when one is named, else the directory that is searched. */
static Error *probe_identity(const SqliteEngine *engine, const Members *members, char **out) {
  bool one = engine->paths.len == 1 && members->len == 1 && !members->items[0].by_glob;
  AUTO_FREE char *path = one ? mem_strdup(members->items[0].path) : members_base_dir(engine->paths.items[0]);
  struct statfs fs;
  struct stat st;
  uint32_t fsid[2];
  _Static_assert(sizeof(fsid) == sizeof(fs.f_fsid), "a file system's id has 8 bytes");
  if (stat(path, &st) != 0 || statfs(path, &fs) != 0) return err_errno(errno, "looking at %s", path);
  memcpy(fsid, &fs.f_fsid, sizeof(fsid));
  *out = mem_printf("fs=%08x%08x inode=%llu", fsid[0], fsid[1], (unsigned long long)st.st_ino);
  return NULL;
}

static void describe_member(const Member *member, const Snapshot *snapshot, StrList *possible) {
  const SnapshotInfo *info = snapshot_info(snapshot);
  char size[16];
  AUTO_FREE char *name = str_printable(bytes_str(member->path));
  const char *how = info->method == SNAPSHOT_JOURNAL
                        ? "is read while writers go on; a commit in between makes a private copy necessary"
                    : info->method == SNAPSHOT_LIVE ? "is read in one transaction while writers and checkpoints go on"
                                                    : "is read in place";
  AUTO_FREE char *text = mem_printf("%s: %s, %s journal, %s", name, str_size(info->size, size),
                                    info->journal_mode[0] ? info->journal_mode : "no", how);
  strlist_add(possible, text);
}

static Error *probe_member(const SqliteEngine *engine, const Member *member, ServerInfo *out, Cancel *cancel) {
  Snapshot *snapshot = NULL;
  SnapshotOptions options = sqlite_engine_options(engine);
  options.recover_copy = false;
  /* The backup that follows waits in earnest. */
  if (options.lock_wait_ms > PROBE_WAIT_MS) options.lock_wait_ms = PROBE_WAIT_MS;
  Error *err = snapshot_open(member->path, &options, &snapshot, cancel);
  if (err_is(err, ERR_CANCELLED)) return err;
  if (err && out->missing.len < PROBE_SENTENCES_MAX) {
    const char *hint = err_hint_text(err);
    AUTO_FREE char *text = mem_printf("%s%s%s", err_text(err), hint ? ": " : "", hint ? hint : "");
    strlist_add(&out->missing, text);
  }
  if (!err) {
    out->size_bytes += snapshot_info(snapshot)->size;
    if (out->possible.len < PROBE_SENTENCES_MAX) describe_member(member, snapshot, &out->possible);
  }
  err_free(err);
  snapshot_close(snapshot);
  return NULL;
}

static Error *sqlite_engine_probe(Engine *base, ServerInfo *out, Cancel *cancel) {
  SqliteEngine *engine = engine_of(base);
  Members members = {0};
  ServerInfo info = {0};
  if (engine->paths.len == 0) return err_new(ERR_USAGE, "probing: no database is named");
  TRY(members_find(&engine->paths, NULL, &members, cancel));
  Error *err = probe_identity(engine, &members, &info.identity);
  for (size_t i = 0; i < members.len && !err; i++) err = probe_member(engine, &members.items[i], &info, cancel);
  info.version = mem_printf("SQLite %s", sqlite3_libversion());
  info.members = members.len;
  members_free(&members);
  if (err) {
    server_info_free(&info);
    return err;
  }
  *out = info;
  return NULL;
}

/* ---- the engine ---------------------------------------------------------------------------------------------- */

static void sqlite_engine_free(Engine *take) {
  SqliteEngine *engine = engine_of(take);
  strlist_free(&engine->paths);
  free(engine->scratch_dir);
  free(engine);
}

static const EngineOps SQLITE_OPS = {
    .probe = sqlite_engine_probe,
    .backup = sqlite_engine_backup,
    .restore = sqlite_engine_restore,
    .check = sqlite_engine_check,
    .free = sqlite_engine_free,
};

Error *sqlite_engine_open(Sys *sys, const SourceSpec *spec, Engine **out) {
  for (size_t i = 0; i < spec->paths.len; i++)
    if (spec->paths.items[i][0] != '/')
      return err_hint(err_new(ERR_USAGE, "opening sqlite:%s: the path must be absolute", spec->paths.items[i]),
                      "write sqlite:/srv/app.db");
  if (sqlite3_initialize() != SQLITE_OK) return err_new(ERR_INTERNAL, "starting SQLite: it does not initialise");
  SqliteEngine *engine = NEW(SqliteEngine);
  engine->base = (Engine){.ops = &SQLITE_OPS, .sys = sys};
  for (size_t i = 0; i < spec->paths.len; i++) strlist_add(&engine->paths, spec->paths.items[i]);
  engine->scratch_dir = mem_strdup(spec->scratch_dir);
  engine->recover_copy = spec->recover_copy;
  engine->lock_wait_ms = LOCK_WAIT_MS;
  *out = &engine->base;
  return NULL;
}
