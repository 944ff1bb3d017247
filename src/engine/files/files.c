#include "engine/files/files.h"

#include <inttypes.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine/files/avoid.h"

static void files_free(Engine *take) {
  FilesEngine *self = files_engine(take);
  strlist_free(&self->paths);
  strlist_free(&self->avoid);
  filter_free(self->filter);
  free(self->preset);
  free(self);
}

/* The same tree tomorrow: its file system's lasting id, where there is one, and its inode. */
static char *identity_of(const Root *root) {
  struct stat st;
  struct statfs fs;
  uint64_t id = 0;
  if (stat(root->absolute, &st) != 0 || statfs(root->absolute, &fs) != 0) return mem_strdup("");
  memcpy(&id, &fs.f_fsid, sizeof id);
  if (id == 0) return mem_strdup("");
  return mem_printf("fs=%" PRIx64 " inode=%" PRIu64, id, (uint64_t)st.st_ino);
}

static uint64_t size_of(const Root *root) {
  struct stat st;
  return !root->directory && stat(root->absolute, &st) == 0 && st.st_size > 0 ? (uint64_t)st.st_size : 0;
}

/* A repository is no source of its own backups. */
static Error *refuse_repository(const FilesEngine *self, const Roots *roots) {
  AvoidDirs avoid;
  avoid_find(&self->avoid, &avoid);
  size_t inside = 0;
  for (size_t i = 0; i < roots->len; i++) inside += avoid_holds(&avoid, roots->items[i].absolute);
  avoid_free(&avoid);
  if (inside == 0 || inside < roots->len) return NULL;
  AUTO_FREE char *name = str_printable(bytes_str(roots->items[0].absolute));
  return err_hint(err_new(ERR_REFUSED, "files: %s is in the folder of the repository that the backup goes to", name),
                  "name what is to be backed up, or a repository somewhere else: --repo");
}

static Error *files_probe(Engine *engine, ServerInfo *out, Cancel *cancel) {
  (void)cancel;
  const FilesEngine *self = files_engine(engine);
  Roots roots;
  TRY(roots_resolve(&self->paths, &roots));
  Error *refused = refuse_repository(self, &roots);
  if (refused) {
    roots_free(&roots);
    return refused;
  }
  ServerInfo info = {.version = mem_strdup("files"), .members = roots.len};
  info.identity = roots.layout == LAYOUT_PATHS ? mem_strdup("") : identity_of(&roots.items[0]);
  bool sized = true;
  for (size_t i = 0; i < roots.len; i++) {
    uint64_t size = size_of(&roots.items[i]);
    info.size_bytes += size;
    sized = sized && size > 0;
  }
  if (!sized) info.size_bytes = 0; /* a directory's size is known only by walking it */
  strlist_add(&info.possible,
              "files are backed up with links, holes, owners, modes, ACLs, extended attributes and "
              "times; unchanged files are not read again");
  for (size_t i = 0; i < roots.missing.len; i++) strlist_add(&info.missing, roots.missing.items[i]);
  if (geteuid() != 0) {
    strlist_add(&info.missing,
                "not running as root: files this user cannot read are left out and reported, and a "
                "restore cannot give files to other users");
  }
  roots_free(&roots);
  *out = info;
  return NULL;
}

static const EngineOps files_ops = {
    .probe = files_probe,
    .backup = files_backup,
    .restore = files_restore,
    .check = files_check,
    .free = files_free,
};

Error *files_engine_open(Sys *sys, const SourceSpec *spec, Engine **out) {
  Filter *filter;
  TRY(filter_new(&spec->include, &spec->exclude, spec->preset, &filter));
  FilesEngine *self = NEW(FilesEngine);
  self->engine = (Engine){.ops = &files_ops, .sys = sys};
  for (size_t i = 0; i < spec->paths.len; i++) strlist_add(&self->paths, spec->paths.items[i]);
  for (size_t i = 0; i < spec->avoid.len; i++) strlist_add(&self->avoid, spec->avoid.items[i]);
  self->filter = filter;
  self->preset = mem_strdup(spec->preset);
  self->one_file_system = spec->one_file_system;
  *out = &self->engine;
  return NULL;
}

/* ---- the record ---- */

static bool read_count_field(const json_t *facts, const char *key, uint64_t *out) {
  const json_t *value = json_object_get(facts, key);
  if (!json_is_integer(value) || json_integer_value(value) < 0) return false;
  *out = (uint64_t)json_integer_value(value);
  return true;
}

static bool read_facts(const json_t *facts, FilesFacts *out) {
  const char *engine = json_string_value(json_object_get(facts, "engine"));
  const char *preset = json_string_value(json_object_get(facts, "preset"));
  out->logs = preset && strcmp(preset, "logs") == 0;
  return engine && strcmp(engine, "files") == 0 &&
         roots_layout_parse(json_string_value(json_object_get(facts, "layout")), &out->layout) &&
         read_count_field(facts, "files", &out->files) && read_count_field(facts, "directories", &out->directories) &&
         read_count_field(facts, "symlinks", &out->symlinks) && read_count_field(facts, "hardlinks", &out->hardlinks) &&
         read_count_field(facts, "specials", &out->specials) && read_count_field(facts, "bytes", &out->bytes) &&
         read_count_field(facts, "started_ns", &out->started_ns) &&
         read_count_field(facts, "unpacked_rotations", &out->unpacked);
}

Error *files_facts_parse(const char *json, FilesFacts *out) {
  json_t *facts = json ? json_loads(json, JSON_REJECT_DUPLICATES, NULL) : NULL;
  FilesFacts parsed = {0};
  bool good = facts && read_facts(facts, &parsed);
  json_decref(facts);
  if (!good) return err_new(ERR_CORRUPT, "files: the snapshot's record is not one of a files backup");
  *out = parsed;
  return NULL;
}
