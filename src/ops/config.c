#include "ops/config.h"

#include <dirent.h>
#include <errno.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "ops/config_internal.h"
#include "ops/yaml_schema.h"
#include "sys/fs.h"

/* No log function: what is wrong is said with its line before libcyaml sees the document. */
static const cyaml_config_t cyaml_settings = {
    .mem_fn = cyaml_mem,
    .flags = CYAML_CFG_NO_ALIAS,
};

/* ---- one file ------------------------------------------------------------------------------------------------------
 */

static void file_free(LoadedFile *file) {
  cyaml_free(&cyaml_settings, &config_schema, file->data, 0);
  yaml_tree_free(file->tree);
  free(file->name);
}

static Error *check_extra(const LoadedFile *file, Problems *problems) {
  for (size_t i = 0; i < file->tree->len; i++) {
    const YamlNode *part = file->tree->items[i];
    if (strcmp(part->key, "sources") != 0 && strcmp(part->key, "repositories") != 0)
      problem_add(problems, part->line, "%s: only sources and repositories may stand in conf.d", part->key);
  }
  return problems_finish(problems);
}

static Error *check_file(const LoadedFile *file) {
  Problems problems = {.file = file->name};
  static const cyaml_schema_field_t *const secrets[] = {config_secret_fields, config_key_fields, NULL};
  yaml_schema_check(file->tree, &config_schema, secrets, &problems);
  config_check_values(file->tree, &problems);
  TRY(problems_finish(&problems));
  return file->extra ? check_extra(file, &problems) : NULL;
}

static Error *read_file(LoadedFile *file, Bytes text) {
  TRY(yaml_tree_parse(text, file->name, &file->tree));
  if (!file->tree) {
    file->data = NEW(ConfigFile);
    return NULL;
  }
  TRY(check_file(file));
  cyaml_data_t *data = NULL;
  cyaml_err_t code = cyaml_load_data(text.data, text.len, &cyaml_settings, &config_schema, &data, NULL);
  if (code != CYAML_OK) return err_new(ERR_USAGE, "%s: %s", file->name, cyaml_strerror(code));
  file->data = (ConfigFile *)data;
  config_fill(file->data);
  return NULL;
}

/* Adds a file to the configuration. */
static Error *add_text(Config *config, Bytes text, const char *name, bool extra) {
  LoadedFile file = {.name = mem_strdup(name), .extra = extra};
  Error *err = read_file(&file, text);
  if (err) {
    file_free(&file);
    return err;
  }
  config->files = (LoadedFile *)mem_resize(config->files, config->files_len + 1, sizeof *config->files);
  config->files[config->files_len++] = file;
  return NULL;
}

static Error *add_file(Config *config, const char *path, bool extra) {
  AUTO_BUF Buf text = {0};
  TRY(fs_read_file(path, YAML_BYTES_MAX, &text));
  return add_text(config, buf_bytes(&text), path, extra);
}

/* ---- STATE/conf.d --------------------------------------------------------------------------------------------------
 */

static int is_extra(const struct dirent *entry) { return entry->d_name[0] != '.' && str_ends(entry->d_name, ".yaml"); }

static Error *add_extras(Config *config, const char *state_dir) {
  AUTO_FREE char *dir = fs_join(state_dir, "conf.d");
  struct dirent **entries = NULL;
  int count = scandir(dir, &entries, is_extra, alphasort);
  if (count < 0) return errno == ENOENT ? NULL : err_errno(errno, "reading %s", dir);
  Error *err = NULL;
  for (int i = 0; i < count; i++) {
    AUTO_FREE char *path = fs_join(dir, entries[i]->d_name);
    if (!err) err = add_file(config, path, true);
    free(entries[i]);
  }
  free(entries);
  return err;
}

/* ---- all of them ---------------------------------------------------------------------------------------------------
 */

static Error *merge(Config *config) {
  for (size_t f = 0; f < config->files_len; f++) {
    config->repositories_len += config->files[f].data->repositories_count;
    config->sources_len += config->files[f].data->sources_count;
  }
  config->repositories = NEW_ARRAY(const ConfigRepository *, config->repositories_len + 1);
  config->sources = NEW_ARRAY(const ConfigSource *, config->sources_len + 1);
  size_t repositories = 0, sources = 0;
  for (size_t f = 0; f < config->files_len; f++) {
    const LoadedFile *file = &config->files[f];
    for (uint32_t i = 0; i < file->data->repositories_count; i++) {
      file->data->repositories[i].origin = file->name;
      config->repositories[repositories++] = &file->data->repositories[i];
    }
    for (uint32_t i = 0; i < file->data->sources_count; i++) {
      file->data->sources[i].origin = file->name;
      config->sources[sources++] = &file->data->sources[i];
    }
  }
  return config_check_names(config);
}

static Config *config_new(void) {
  Config *config = NEW(Config);
  config->empty = NEW(ConfigFile);
  return config;
}

/* Variables that hold secrets are not for hooks and commands to see. */
static void hide_secrets(const ConfigRepository *repository) {
  secret_source_hide(repository->passphrase);
  if (!repository->key) return;
  SecretSource key = config_key_source(repository->key);
  secret_source_hide(&key);
}

static Error *finish(Config *take, Error *err, Config **out) {
  if (!err) err = merge(take);
  if (err) {
    config_free(take);
    if (err_is(err, ERR_LIMIT)) err = err_recode(err, ERR_USAGE); /* whoever wrote the file can mend it */
    return err_wrap(err, "reading the configuration");
  }
  for (size_t i = 0; i < take->repositories_len; i++) hide_secrets(take->repositories[i]);
  *out = take;
  return NULL;
}

Error *config_parse(Bytes text, const char *name, Config **out) {
  Config *config = config_new();
  Error *err = add_text(config, text, name, false);
  return finish(config, err, out);
}

Error *config_load(const char *path, const char *state_dir, Config **out) {
  Config *config = config_new();
  Error *err = path ? add_file(config, path, false) : NULL;
  if (!err && state_dir) err = add_extras(config, state_dir);
  return finish(config, err, out);
}

void config_free(Config *take) {
  if (!take) return;
  for (size_t i = 0; i < take->files_len; i++) file_free(&take->files[i]);
  free(take->files);
  free(take->empty);
  free(take->repositories);
  free(take->sources);
  free(take);
}

/* ---- where it is ---------------------------------------------------------------------------------------------------
 */

char *config_default_path(void) {
  static const char system_path[] = "/etc/holdfast/holdfast.yaml";
  if (geteuid() != 0) {
    AUTO_FREE char *dir = fs_user_dir("XDG_CONFIG_HOME", ".config");
    AUTO_FREE char *path = dir ? fs_join(dir, "holdfast.yaml") : NULL;
    if (path && fs_exists(path)) return STEAL(path);
  }
  return fs_exists(system_path) ? mem_strdup(system_path) : NULL;
}

/* ---- what it says --------------------------------------------------------------------------------------------------
 */

static const LoadedFile *main_file(const Config *config) {
  return config->files_len > 0 && !config->files[0].extra ? &config->files[0] : NULL;
}

const ConfigFile *config_main(const Config *config) {
  const LoadedFile *file = main_file(config);
  return file ? file->data : config->empty;
}

const char *config_path(const Config *config) {
  const LoadedFile *file = main_file(config);
  return file ? file->name : NULL;
}

size_t config_repository_count(const Config *config) { return config->repositories_len; }

const ConfigRepository *config_repository_at(const Config *config, size_t index) {
  CHECK(index < config->repositories_len);
  return config->repositories[index];
}

const ConfigRepository *config_repository_find(const Config *config, const char *name) {
  for (size_t i = 0; i < config->repositories_len; i++)
    if (strcmp(config->repositories[i]->name, name) == 0) return config->repositories[i];
  return NULL;
}

size_t config_source_count(const Config *config) { return config->sources_len; }

const ConfigSource *config_source_at(const Config *config, size_t index) {
  CHECK(index < config->sources_len);
  return config->sources[index];
}

const ConfigSource *config_source_find(const Config *config, const char *name) {
  for (size_t i = 0; i < config->sources_len; i++)
    if (strcmp(config->sources[i]->name, name) == 0) return config->sources[i];
  return NULL;
}

LogLevel config_log_level(const Config *config) {
  const ConfigFile *file = config_main(config);
  if (file->log && file->log->level > 0) return (LogLevel)(file->log->level - 1);
  return file->profile == PROFILE_DEVELOPMENT ? LOG_DEBUG : LOG_INFO;
}

LogFormat config_log_format(const Config *config) {
  const ConfigFile *file = config_main(config);
  return file->log && file->log->format > 0 ? (LogFormat)(file->log->format - 1) : LOG_TEXT;
}

Compression config_compression(const Config *config, const ConfigSource *source) {
  const char *text = source && source->compression ? source->compression : config_main(config)->compression;
  Compression result = {.codec = CODEC_ZSTD, .level = 1};
  if (text) err_ignore(compression_parse(text, &result)); /* checked when it was loaded */
  return result;
}

ConfigCheck config_check_after_backup(const Config *config) {
  const ConfigFile *file = config_main(config);
  if (file->verify && file->verify->after_backup) return (ConfigCheck)file->verify->after_backup;
  return file->profile == PROFILE_PRODUCTION ? CONFIG_CHECK_QUICK : CONFIG_CHECK_NONE;
}

ConfigCheck config_check_after_restore(const Config *config) {
  const ConfigFile *file = config_main(config);
  if (file->verify && file->verify->after_restore) return (ConfigCheck)file->verify->after_restore;
  return CONFIG_CHECK_STANDARD;
}

SecretSource config_key_source(const ConfigKey *key) {
  return (SecretSource){.file = key->file, .env = key->env, .command = key->command};
}

/* ---- numbers -------------------------------------------------------------------------------------------------------
 */

/* These texts have been checked: failing is not possible, and NULL means 0. */
static uint64_t duration(const char *text) {
  uint64_t ns = 0;
  if (text) err_ignore(str_parse_duration(text, &ns));
  return ns;
}

static uint64_t size(const char *text) {
  uint64_t n = 0;
  AUTO_FREE char *copy = mem_strdup(text);
  if (copy && str_ends(copy, "/s")) copy[strlen(copy) - 2] = '\0';
  if (copy) err_ignore(str_parse_size(copy, &n));
  return n;
}

static void fill_hook(ConfigHook *hook) {
  if (hook) hook->timeout_ns = duration(hook->timeout);
}

void config_fill(ConfigFile *file) {
  if (file->limits) {
    ConfigLimits *l = file->limits;
    l->memory_bytes = size(l->memory);
    l->read_bytes_per_second = size(l->read);
    l->upload_bytes_per_second = size(l->upload);
    l->timeout_ns = duration(l->timeout);
  }
  if (file->verify) file->verify->coverage_ns = duration(file->verify->coverage);
  for (uint32_t i = 0; i < file->repositories_count; i++)
    file->repositories[i].object_lock_ns = duration(file->repositories[i].object_lock);
  for (uint32_t i = 0; i < file->sources_count; i++) {
    ConfigSource *s = &file->sources[i];
    s->rpo_ns = duration(s->rpo);
    s->rto_ns = duration(s->rto);
    if (!s->hooks) continue;
    fill_hook(s->hooks->before_backup);
    fill_hook(s->hooks->after_backup);
    fill_hook(s->hooks->before_restore);
    fill_hook(s->hooks->after_restore);
  }
}
