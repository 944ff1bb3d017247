/* files.h: the files engine's own state, shared by its parts. */
#ifndef HF_ENGINE_FILES_FILES_H
#define HF_ENGINE_FILES_FILES_H

#include <jansson.h>

#include "engine/engine.h"
#include "engine/files/filter.h"
#include "engine/files/roots.h"

typedef struct FilesEngine {
  Engine engine;
  StrList paths;
  StrList avoid;
  Filter *filter;
  char *preset; /* NULL: none */
  bool one_file_system;
} FilesEngine;

static inline FilesEngine *files_engine(Engine *engine) { return (FilesEngine *)(void *)engine; }

/* What backup records (docs/files.md), read back. */
typedef struct FilesFacts {
  RootsLayout layout;
  uint64_t files, directories, symlinks, hardlinks, specials, bytes;
  uint64_t started_ns;
  uint64_t unpacked; /* gzip rotations stored as what they hold */
  bool logs;
} FilesFacts;
/* ERR_CORRUPT when it is not what a files backup writes. */
Error *files_facts_parse(const char *json, FilesFacts *out) NODISCARD;

Error *files_backup(Engine *engine, const BackupPlan *plan, Sink *sink, EngineFacts *out, Cancel *cancel) NODISCARD;
Error *files_restore(Engine *engine, const RestorePlan *plan, Source *source, Cancel *cancel) NODISCARD;
Error *files_check(Engine *engine, const DrillTarget *target, CheckLevel level, CheckReport *out,
                   Cancel *cancel) NODISCARD;

#endif
