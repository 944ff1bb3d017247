/* sqlite_engine.h: what the parts of the SQLite engine share. The engine itself is reached through engine/engine.h.
 */
#ifndef HF_ENGINE_SQLITE_ENGINE_H
#define HF_ENGINE_SQLITE_ENGINE_H

#include "engine/engine.h"
#include "engine/sqlite/sqlite_snapshot.h"

typedef struct SqliteEngine {
  Engine base;
  StrList paths;
  char *scratch_dir; /* or NULL */
  bool recover_copy;
  uint64_t lock_wait_ms;
} SqliteEngine;

/* How long a database locked by another process is waited for; the default is 10 s. */
void sqlite_engine_set_lock_wait(Engine *engine, uint64_t wait_ms);
SnapshotOptions sqlite_engine_options(const SqliteEngine *engine);

/* sqlite_backup.c, sqlite_restore.c, sqlite_check.c: as in EngineOps. */
Error *sqlite_engine_backup(Engine *engine, const BackupPlan *plan, Sink *sink, EngineFacts *out,
                            Cancel *cancel) NODISCARD;
Error *sqlite_engine_restore(Engine *engine, const RestorePlan *plan, Source *source, Cancel *cancel) NODISCARD;
Error *sqlite_engine_check(Engine *engine, const DrillTarget *target, CheckLevel level, CheckReport *out,
                           Cancel *cancel) NODISCARD;

#endif
