#include "ops/resolve.h"

#include "base/mem.h"
#include "base/str.h"
#include "base/suggest.h"
#include "ops/address.h"

/* ---- sources -------------------------------------------------------------------------------------------------------
 */

static void add_all(StrList *list, char *const *items, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) strlist_add(list, items[i]);
}

static bool is_command(const char *type) { return strcmp(type, "command") == 0; }

static char *configured_address(const ConfigSource *s) {
  if (is_command(s->type)) return source_command_address(s->command);
  const char *rest = s->paths_count > 0 ? s->paths[0] : s->dsn;
  const char *more = s->paths_count > 1 ? ",…" : "";
  return mem_printf("%s:%s%s", s->type, rest ? rest : "", more);
}

static void take_configured(const ConfigSource *s, ResolvedSource *out) {
  out->name = mem_strdup(s->name);
  out->address = configured_address(s);
  out->configured = s;
  SourceSpec *spec = &out->spec;
  spec->type = mem_strdup(s->type);
  spec->named = true;
  if (is_command(s->type))
    strlist_add(&spec->paths, s->command);
  else
    add_all(&spec->paths, s->paths, s->paths_count);
  add_all(&spec->include, s->include, s->include_count);
  add_all(&spec->exclude, s->exclude, s->exclude_count);
  spec->preset = mem_strdup(s->preset);
  spec->restore_command = mem_strdup(s->restore_command);
  spec->one_file_system = s->one_file_system;
  spec->recover_copy = s->recover_copy;
}

static Error *no_such_source(const Config *config, const char *text) {
  Suggestion s = {0};
  for (size_t i = 0; i < config_source_count(config); i++)
    suggest(&s, bytes_str(text), config_source_at(config, i)->name);
  AUTO_FREE char *shown = str_printable(bytes_str(text));
  Error *err = err_new(ERR_USAGE, "%s: there is no source of this name in the configuration", shown);
  if (s.best) return err_hint(err, "did you mean %s?", s.best);
  return err_hint(err, "write an address: sqlite:/srv/app.db, files:/etc, command:'pg_dumpall'");
}

Error *resolve_source(const Config *config, const char *host, const char *text, ResolvedSource *out) {
  *out = (ResolvedSource){0};
  const ConfigSource *configured = config_source_find(config, text);
  if (configured) {
    take_configured(configured, out);
    return NULL;
  }
  AUTO_ADDRESS SourceAddress address = {0};
  TRY(source_address_parse(text, &address));
  if (!address.type) return no_such_source(config, text);
  out->name = source_address_name(host, &address);
  out->address = source_address_text(&address);
  out->spec.type = mem_strdup(address.type);
  strlist_add(&out->spec.paths, address.rest);
  return NULL;
}

/* The struct owns what its SourceSpec only borrows by type. */
static void free_text(const char *text) { free((void *)(uintptr_t)text); }

void resolved_source_free(ResolvedSource *source) {
  free(source->name);
  free(source->address);
  free_text(source->spec.type);
  free_text(source->spec.preset);
  free_text(source->spec.restore_command);
  strlist_free(&source->spec.paths);
  strlist_free(&source->spec.include);
  strlist_free(&source->spec.exclude);
  *source = (ResolvedSource){0};
}

/* ---- repositories --------------------------------------------------------------------------------------------------
 */

Error *resolve_repository(const Config *config, const char *text, ResolvedRepository *out) {
  const ConfigRepository *configured = config_repository_find(config, text);
  char *path = NULL;
  TRY(err_wrap(repository_path(configured ? configured->url : text, &path), "repository %s", text));
  *out = (ResolvedRepository){.name = mem_strdup(text), .path = path, .configured = configured};
  return NULL;
}

void resolved_repository_free(ResolvedRepository *repository) {
  free(repository->name);
  free(repository->path);
  *repository = (ResolvedRepository){0};
}
