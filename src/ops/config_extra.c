#include "base/mem.h"
#include "base/str.h"
#include "ops/config_internal.h"
#include "sys/fs.h"

/* What commands add: STATE/conf.d/NAME.yaml, one source or repository each. */

static char *extra_path(const char *state_dir, const char *name) {
  return mem_printf("%s/conf.d/%s.yaml", state_dir, name);
}

static Error *save(const char *state_dir, const char *name, const cyaml_schema_value_t *schema,
                   const ConfigFile *file) {
  AUTO_FREE char *dir = fs_join(state_dir, "conf.d");
  AUTO_FREE char *path = extra_path(state_dir, name);
  if (fs_exists(path)) return err_new(ERR_EXISTS, "%s is there already", path);
  static const cyaml_config_t settings = {.mem_fn = cyaml_mem, .flags = CYAML_CFG_STYLE_BLOCK};
  char *text = NULL;
  size_t len = 0;
  cyaml_err_t code = cyaml_save_data(&text, &len, &settings, schema, file, 0);
  if (code != CYAML_OK) return err_new(ERR_INTERNAL, "writing %s: %s", path, cyaml_strerror(code));
  /* What is written is read back by the same rules first: a bad address or glob never gets into the folder. */
  Config *probe = NULL;
  Error *err = config_parse(bytes(text, len), name, &probe);
  config_free(probe);
  if (!err) err = fs_make_dirs(state_dir, 0700);
  if (!err) err = fs_make_dirs(dir, 0700);
  if (!err) err = fs_replace_file(path, bytes(text, len), 0600);
  free(text);
  return err;
}

static Error *check_new_name(const char *name) {
  if (config_name_valid(name)) return NULL;
  AUTO_FREE char *shown = str_printable(bytes_str(name));
  return err_hint(err_new(ERR_USAGE, "\"%s\" is not a name", shown),
                  "use letters, digits, '.', '_' and '-', at most 64, beginning with a letter or digit");
}

Error *config_add_source(const Config *config, const char *state_dir, const ConfigSource *source) {
  TRY(check_new_name(source->name));
  const ConfigSource *before = config_source_find(config, source->name);
  if (before) return err_new(ERR_EXISTS, "source %s is there already, in %s", source->name, before->origin);
  ConfigSource copy = *source; /* the texts stay the caller's */
  ConfigFile file = {.sources = &copy, .sources_count = 1};
  return err_wrap(save(state_dir, source->name, &config_schema_sources, &file), "adding source %s", source->name);
}

Error *config_add_repository(const Config *config, const char *state_dir, const ConfigRepository *repo) {
  TRY(check_new_name(repo->name));
  const ConfigRepository *before = config_repository_find(config, repo->name);
  if (before) return err_new(ERR_EXISTS, "repository %s is there already, in %s", repo->name, before->origin);
  ConfigRepository copy = *repo;
  ConfigFile file = {.repositories = &copy, .repositories_count = 1};
  return err_wrap(save(state_dir, repo->name, &config_schema_repositories, &file), "adding repository %s", repo->name);
}

/* `origin` is the file that holds the entry: it goes when it is the one a command wrote for it. */
static Error *remove_extra(const char *state_dir, const char *what, const char *name, const char *origin) {
  AUTO_FREE char *path = extra_path(state_dir, name);
  AUTO_FREE char *shown = str_printable(bytes_str(name));
  if (!origin) return err_new(ERR_NOT_FOUND, "there is no %s \"%s\"", what, shown);
  if (strcmp(origin, path) != 0)
    return err_hint(err_new(ERR_REFUSED, "%s %s stands in %s", what, shown, origin), "take it out of that file");
  TRY(fs_remove_tree(path));
  AUTO_FREE char *dir = fs_join(state_dir, "conf.d");
  return fs_sync_dir(dir);
}

Error *config_remove_source(const Config *config, const char *state_dir, const char *name) {
  const ConfigSource *source = config_source_find(config, name);
  return remove_extra(state_dir, "source", name, source ? source->origin : NULL);
}

Error *config_remove_repository(const Config *config, const char *state_dir, const char *name) {
  const ConfigRepository *repo = config_repository_find(config, name);
  return remove_extra(state_dir, "repository", name, repo ? repo->origin : NULL);
}
