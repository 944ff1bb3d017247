#include "engine/engine.h"

typedef struct EngineType {
  const char *name;
  Error *(*open)(Sys *sys, const SourceSpec *spec, Engine **out);
} EngineType;

static const EngineType types[] = {
    {"sqlite", sqlite_engine_open},
    {"files", files_engine_open},
    {"command", command_engine_open},
};

static const char *const type_names[] = {"sqlite", "files", "command", NULL};
_Static_assert(NELEMS(types) + 1 == NELEMS(type_names), "every type has a name in the list");

const char *const *engine_types(void) { return type_names; }

Error *engine_open(Sys *sys, const SourceSpec *spec, Engine **out) {
  for (size_t i = 0; spec->type && i < NELEMS(types); i++) {
    if (strcmp(types[i].name, spec->type) == 0) return types[i].open(sys, spec, out);
  }
  return err_hint(err_new(ERR_USAGE, "source type '%s': unknown", spec->type ? spec->type : ""),
                  "the types are sqlite, files and command");
}
