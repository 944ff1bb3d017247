#include "cli/recovery.h"

#include <dirent.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "base/shell.h"
#include "base/timefmt.h"
#include "cli/args.h"
#include "cli/version.h"
#include "ops/backup.h"
#include "ops/select.h"
#include "sys/fs.h"

void recovery_free(Recovery *recovery) {
  cli_source_free(&recovery->source);
  snapshot_free(&recovery->snapshot);
  *recovery = (Recovery){0};
}

/* ---- whose place it is ---------------------------------------------------------------------------------------------
 */

static bool is_empty_dir(const char *path) {
  DIR *dir = opendir(path);
  if (!dir) return false;
  bool empty = true;
  for (struct dirent *entry; empty && (entry = readdir(dir));)
    empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
  closedir(dir);
  return empty;
}

bool recovery_holds_something(const char *path) { return fs_exists(path) && !is_empty_dir(path); }

/* "/srv/app" of "/srv/app/x*.db": where several databases are restored to. */
static bool is_base_of(const char *target, const char *pattern) {
  size_t end = strcspn(pattern, "*?[");
  while (end > 0 && pattern[end - 1] != '/') end--;
  return end > 1 && bytes_equal(bytes_str(target), bytes(pattern, end - 1));
}

static bool stands_at(const char *path, const char *target) {
  struct stat a, b;
  if (strcmp(path, target) == 0) return true;
  if (strpbrk(path, "*?[")) return glob_match(bytes_str(path), bytes_str(target)) || is_base_of(target, path);
  return stat(path, &a) == 0 && stat(target, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static bool source_stands_at(const CliSource *source, const char *target) {
  if (strcmp(source->spec.type, "command") == 0) return false;
  for (size_t i = 0; i < source->spec.paths.len; i++)
    if (stands_at(source->spec.paths.items[i], target)) return true;
  return false;
}

/* A series as something that can be backed up: as configured, else by its address. False: it cannot. */
static bool source_of(Workspace *w, const Series *series, CliSource *out) {
  Error *err = cli_source_resolve(w, config_source_find(w->config, series->name) ? series->name : series->address, out);
  bool usable = !err && strcmp(out->spec.type, series->engine) == 0;
  if (!err && !usable) cli_source_free(out);
  err_free(err);
  if (!usable) return false;
  free(out->name);
  out->name = mem_strdup(series->name);
  return true;
}

static bool consider(Workspace *w, const Series *series, const char *target, Recovery *out) {
  if (strcmp(series->host, w->host) != 0 || !source_of(w, series, &out->source)) return false;
  out->known = source_stands_at(&out->source, target);
  if (!out->known) cli_source_free(&out->source);
  return out->known;
}

Error *recovery_find(Workspace *w, Repo *repo, const char *name, const char *target, Recovery *out) {
  *out = (Recovery){0};
  SeriesList list = {0};
  TRY(series_list_readable(repo, &list, w->ctx->cancel));
  const Series *own = series_by_name(&list, name);
  bool found = own && consider(w, own, target, out);
  for (size_t i = 0; i < list.len && !found; i++) found = consider(w, &list.items[i], target, out);
  bool holds = recovery_holds_something(target);
  out->needed = found && holds;
  /* What stands there may be the source whose record is damaged: it would be overwritten without a recovery point. */
  Error *err = !found && holds ? STEAL(list.broken) : NULL;
  series_list_free(&list);
  return err_hint(err_wrap(err, "finding out whose %s is", target), "restore to a path that does not exist yet: --to");
}

/* ---- making it -----------------------------------------------------------------------------------------------------
 */

static Error *back_up(Workspace *w, Repo *repo, const JobStart *restore, const Snapshot *restored, Recovery *io) {
  char when[36], id[SHORT_ID_LEN];
  AUTO_FREE char *description =
      mem_printf("before restore of %s of %s", short_id(&restored->id, id), time_format_local(restored->time_ns, when));
  AUTO_FREE char *key = mem_strdup(RECOVERY_POINT_LABEL);
  AUTO_FREE char *value = mem_strdup(restore->id);
  Label label = {.key = key, .value = value};
  BackupRequest request = {.spec = &io->source.spec,
                           .name = io->source.name,
                           .address = io->source.address,
                           .mode = BACKUP_INCREMENTAL,
                           .compression = config_compression(w->config, io->source.config),
                           .any_identity = true,
                           .description = description,
                           .labels = &label,
                           .labels_len = 1,
                           .tool_version = version_text(),
                           .repos = &repo,
                           .repos_len = 1};
  BackupResult result = {0};
  progress_phase(&w->ctx->progress, "making a recovery point", true);
  Error *err = ops_backup(&w->ops, &request, &result);
  if (!err) {
    io->snapshot = result.targets[0].snapshot;
    result.targets[0].snapshot = (Snapshot){0};
    io->made = true;
    if (result.partial) output_warning(w->ctx->output, "the recovery point lacks what the warnings above name");
  }
  backup_result_free(&result);
  return err;
}

static void record(Workspace *w, const OpenRepository *into, const JobStart *job, const Recovery *recovery,
                   const Error *err) {
  JobOutcome outcome = {.result = recovery->made && recovery->snapshot.partial ? JOB_PARTIAL : JOB_RUNNING,
                        .repository_id = &into->repo->keys->repo};
  if (recovery->made) {
    outcome.snapshot = &recovery->snapshot.id;
    outcome.read_bytes = recovery->snapshot.stats.read_bytes;
    outcome.new_bytes = recovery->snapshot.stats.new_bytes;
    outcome.stored_bytes = recovery->snapshot.stats.stored_bytes;
    outcome.files = recovery->snapshot.stats.files;
  }
  workspace_job_end(w, job, &outcome, err);
}

/* The engine's hints are about backups, where --force and other options mean something else. */
static Error *explain(Error *take, const CliSource *source, const char *target) {
  if (!take || err_is(take, ERR_CANCELLED)) return take;
  AUTO_FREE char *shown = str_printable(bytes_str(target));
  AUTO_FREE char *quoted = shell_quote(source->config ? source->name : source->address);
  const char *why = err_text(take);
  size_t line = strcspn(why, "\n"); /* what integrity_check says may go on for pages */
  Error *err = err_new(err_code(take), "making a recovery point of %s: %.*s%s; nothing was overwritten", shown,
                       (int)line, why, why[line] ? " …" : "");
  err_free(take);
  return err_hint(
      err,
      "`holdfast backup %s` says what to do about it%s; restore with --force to go without a recovery point: "
      "what is there now is lost then",
      quoted, err_code(err) == ERR_DAMAGED ? ", and with its --force keeps the damaged state" : "");
}

static const char *last_part(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash && slash[1] ? slash + 1 : path;
}

/* "holdfast restore app@3f9c21d0 --in-place --confirm app --repo /backup" */
static char *way_back(const Workspace *w, const OpenRepository *into, const char *target, const Recovery *r) {
  char id[SHORT_ID_LEN];
  AUTO_BUF Buf text = {0};
  AUTO_FREE char *selector = mem_printf("%s@%s", r->source.name, short_id(&r->snapshot.id, id));
  AUTO_FREE char *what = shell_quote(selector);
  bool in_place = args_given(w->ctx->args, OPT_IN_PLACE);
  AUTO_FREE char *confirm = shell_quote(in_place ? r->source.name : last_part(target));
  buf_printf(&text, "holdfast restore %s ", what);
  AUTO_FREE char *to = shell_quote(target);
  if (in_place)
    buf_add_str(&text, "--in-place");
  else
    buf_printf(&text, "--to %s", to);
  buf_printf(&text, " --confirm %s", confirm);
  AUTO_FREE char *repository = shell_quote(into->place.name);
  buf_printf(&text, " --repo %s", repository);
  return buf_steal_str(&text);
}

static void say(const Workspace *w, const OpenRepository *into, const char *target, const Recovery *r) {
  Output *out = w->ctx->output;
  AUTO_FREE char *back = way_back(w, into, target, r);
  if (output_json_mode(out)) {
    json_t *doc = output_document("recovery_point");
    output_json_set_name(doc, "source", bytes_str(r->source.name));
    output_json_set_name(doc, "repository", bytes_str(into->place.name));
    json_object_set_new(doc, "snapshot", json_uuid(&r->snapshot.id));
    json_object_set_new(doc, "go_back", output_json_name(bytes_str(back)));
    output_json(out, doc);
    return;
  }
  char id[SHORT_ID_LEN];
  AUTO_FREE char *name = str_printable(bytes_str(r->source.name));
  AUTO_FREE char *shown = str_printable(bytes_str(back));
  if (output_verbosity(out) > VERBOSITY_QUIET)
    output_text(out, "%s: recovery point %s holds what was there before; to go back:\n  %s\n", name,
                short_id(&r->snapshot.id, id), shown);
}

Error *recovery_make(Workspace *w, const OpenRepository *into, const JobStart *restore, const Snapshot *restored,
                     const char *target, Recovery *io) {
  JobStart job;
  workspace_job_begin(w, "recovery point", io->source.name, into->place.name, &job);
  strlist_add(&io->source.spec.avoid, into->place.path);
  Error *err = explain(back_up(w, into->repo, restore, restored, io), &io->source, target);
  record(w, into, &job, io, err);
  if (!err) say(w, into, target, io);
  return err;
}
