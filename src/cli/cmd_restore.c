#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/shell.h"
#include "base/timefmt.h"
#include "cli/args.h"
#include "cli/commands.h"
#include "cli/hooks.h"
#include "cli/pick.h"
#include "cli/prove.h"
#include "cli/recovery.h"
#include "cli/repositories.h"
#include "ops/address.h"
#include "ops/backup.h"
#include "ops/restore.h"
#include "sys/fs.h"

typedef struct RestoreCommand {
  CliContext *ctx;
  Workspace w;
  Repositories repositories;
  Picked picked;
  char *target;      /* absolute; NULL: into a command */
  char *source_path; /* what the copy is compared with; NULL: the record only */
  RestoreRequest request;
  Recovery recovery;
} RestoreCommand;

/* ---- where to ------------------------------------------------------------------------------------------------------
 */

static Error *check_host(const RestoreCommand *r) {
  const Snapshot *s = &r->picked.snapshot;
  if (strcmp(s->host, r->w.host) == 0) return NULL;
  return err_new(ERR_REFUSED, "%s was backed up on host %s, this is %s", s->source, s->host, r->w.host);
}

/* "sqlite:/srv/app.db" → "/srv/app.db"; NULL for what stands for several places. Owned. */
static char *single_place(const char *text) {
  SourceAddress address AUTO_ADDRESS = {0};
  Error *err = source_address_parse(text, &address);
  /* A "\\x" may stand for a byte or for itself (str.h). */
  bool path =
      !err && address.type && address.rest[0] == '/' && !strpbrk(address.rest, "*?[,") && !strstr(address.rest, "\\x");
  err_free(err);
  return path ? STEAL(address.rest) : NULL;
}

static Error *live_path(const RestoreCommand *r, char **out) {
  const Snapshot *s = &r->picked.snapshot;
  TRY(err_hint(check_host(r), "restore to a path: --to"));
  *out = single_place(s->address);
  if (*out) return NULL;
  return err_hint(err_new(ERR_USAGE, "%s is not one place, so it cannot be restored in place", s->address),
                  "restore to a path: --to");
}

static bool is_name_of(const char *typed, const char *name) { return typed && name && strcmp(typed, name) == 0; }

static const char *last_part(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash && slash[1] ? slash + 1 : path;
}

static Error *choose_in_place(RestoreCommand *r) {
  const char *confirm = args_text(r->ctx->args, OPT_CONFIRM);
  if (args_given(r->ctx->args, OPT_TO)) return err_new(ERR_USAGE, "--to and --in-place exclude each other");
  TRY(live_path(r, &r->target));
  bool named = is_name_of(confirm, r->picked.snapshot.source) || is_name_of(confirm, r->picked.snapshot.address);
  r->request.overwrite = named || args_given(r->ctx->args, OPT_PLAN);
  if (r->request.overwrite) return NULL;
  return err_hint(err_new(ERR_USAGE, "%s would be overwritten: its name was not typed", r->target),
                  "add --confirm '%s' when this is meant; --plan shows what would be done", r->picked.snapshot.source);
}

static Error *choose_target(RestoreCommand *r) {
  const Args *args = r->ctx->args;
  if (args_given(args, OPT_IN_PLACE)) return choose_in_place(r);
  const char *to = args_text(args, OPT_TO), *confirm = args_text(args, OPT_CONFIRM);
  if (!to && r->request.restore_command) return NULL;
  if (!to)
    return err_hint(err_new(ERR_USAGE, "where to is missing"), "--to PATH, or --in-place to overwrite the live source");
  TRY(fs_absolute(to, &r->target));
  if (!confirm) return NULL;
  if (strcmp(confirm, last_part(r->target)) != 0)
    return err_hint(err_new(ERR_USAGE, "--confirm %s is not the name of what would be overwritten", confirm),
                    "--confirm '%s'", last_part(r->target));
  r->request.overwrite = true;
  return NULL;
}

/* Whether the copy is what the source holds now: only this machine can tell. */
static Error *compare_with_source(RestoreCommand *r) {
  const Snapshot *s = &r->picked.snapshot;
  if (!args_given(r->ctx->args, OPT_AGAINST_SOURCE)) return NULL;
  if (!r->request.check || strcmp(s->engine, "command") == 0)
    return err_new(ERR_USAGE, "--against-source: this restore is not checked, so nothing would be compared");
  TRY(err_wrap(check_host(r), "--against-source"));
  r->source_path = single_place(s->address);
  if (!r->source_path) r->source_path = mem_strdup("/");
  if (!fs_exists(r->source_path))
    return err_new(ERR_UNREACHABLE, "--against-source: %s: there is nothing to compare with", r->source_path);
  if (r->target && strcmp(r->target, r->source_path) == 0)
    return err_hint(err_new(ERR_USAGE, "--against-source: the live source itself would be overwritten"),
                    "restore to another path: --to");
  r->request.source_path = r->source_path;
  return NULL;
}

static Error *fill_request(RestoreCommand *r) {
  const Args *args = r->ctx->args;
  RestoreRequest *q = &r->request;
  q->repo = r->picked.from->repo;
  q->snapshot = &r->picked.snapshot;
  pick_only(args, &q->only);
  q->delta = args_given(args, OPT_DELTA);
  q->owners = geteuid() == 0 && !args_given(args, OPT_NO_OWNERS);
  q->restore_command = args_text(args, OPT_RESTORE_COMMAND);
  bool is_command = strcmp(r->picked.snapshot.engine, "command") == 0;
  const ConfigSource *config = config_source_find(r->w.config, r->picked.snapshot.source);
  if (is_command && !q->restore_command && !args_given(args, OPT_TO) && config)
    q->restore_command = config->restore_command;
  if (q->restore_command && !is_command)
    return err_new(ERR_USAGE, "--restore-command: %s is a source of type %s", r->picked.snapshot.source,
                   r->picked.snapshot.engine);
  q->check = prove_level(r->ctx, config_check_after_restore(r->w.config), &q->level);
  /* The record of a tree is of the whole; every byte was compared with its id all the same. */
  if (q->only.len && strcmp(r->picked.snapshot.engine, "sqlite") != 0) q->check = false;
  TRY(choose_target(r));
  q->target = r->target ? r->target : "";
  return compare_with_source(r);
}

/* ---- reporting -----------------------------------------------------------------------------------------------------
 */

static json_t *summary_json(const RestoreCommand *r, const JobStart *job, const RestoreResult *result,
                            const Error *err) {
  json_t *doc = output_document("summary");
  json_object_set_new(doc, "job", json_string(job->id));
  output_json_set_name(doc, "source", bytes_str(r->picked.snapshot.source));
  output_json_set_name(doc, "repository", bytes_str(r->picked.from->place.name));
  json_object_set_new(doc, "snapshot", json_uuid(&r->picked.snapshot.id));
  json_object_set_new(doc, "result", json_string(err ? "failed" : result->partial ? "partial" : "ok"));
  json_set_path(doc, "target", r->target);
  json_object_set_new(doc, "recovery_point", r->recovery.made ? json_uuid(&r->recovery.snapshot.id) : json_null());
  json_object_set_new(doc, "files", json_count(result->stats.files));
  json_object_set_new(doc, "bytes", json_count(result->stats.bytes));
  json_object_set_new(doc, "fetched_bytes", json_count(result->stats.fetched_bytes));
  json_object_set_new(doc, "kept_bytes", json_count(result->stats.kept_bytes));
  json_object_set_new(doc, "damaged_files", json_count(result->stats.damaged_files));
  json_object_set_new(doc, "partial", json_count(result->partial));
  json_object_set_new(doc, "duration_seconds", json_seconds(result->duration_ns));
  json_object_set_new(doc, "check_level",
                      result->checked ? json_string(check_level_name(r->request.level)) : json_null());
  json_object_set_new(doc, "checks_passed", json_count(check_report_passed(&result->report)));
  json_object_set_new(doc, "checks_total", json_count(result->report.len));
  return doc;
}

static void print_text(const RestoreCommand *r, const RestoreResult *result) {
  Output *out = r->ctx->output;
  char id[SHORT_ID_LEN], when[36], a[16], b[16], c[16];
  const RestoreStats *t = &result->stats;
  AUTO_FREE char *source = str_printable(bytes_str(r->picked.snapshot.source));
  AUTO_FREE char *target = str_printable(bytes_str(r->target ? r->target : r->request.restore_command));
  output_text(out, "%s: snapshot %s of %s\n", source, short_id(&r->picked.snapshot.id, id),
              time_format_local(r->picked.snapshot.time_ns, when));
  output_text(out, "  target    %s\n", target);
  output_text(out, "  restored  %s in %llu file%s, %s fetched, in %s", str_size(t->bytes, a),
              (unsigned long long)t->files, t->files == 1 ? "" : "s", str_size(t->fetched_bytes, b),
              str_duration(result->duration_ns, c));
  if (result->duration_ns && t->bytes) {
    double rate = (double)t->bytes * (double)NS_PER_SECOND / (double)result->duration_ns;
    output_text(out, ", %s/s", str_size((uint64_t)rate, a));
  }
  output_text(out, "\n");
  if (result->partial)
    output_text(out, "  NOT done  %llu thing%s, which the warnings name\n", (unsigned long long)result->partial,
                result->partial == 1 ? "" : "s");
  if (t->kept_bytes) output_text(out, "  kept      %s were right already\n", str_size(t->kept_bytes, a));
  if (r->picked.snapshot.partial)
    output_text(out, "  note      something was left out when this snapshot was made: `holdfast info` names it\n");
  if (r->picked.snapshot.damaged) output_text(out, "  note      the source was DAMAGED when this snapshot was made\n");
  if (r->request.only.len && !r->request.check)
    output_text(out, "  checks    none: the record is of the whole, and this is a part\n");
  if (result->checked)
    output_text(out, "  checks    %zu/%zu passed (%s)\n", check_report_passed(&result->report), result->report.len,
                check_level_name(r->request.level));
}

static void report(const RestoreCommand *r, const JobStart *job, const RestoreResult *result, const Error *err,
                   JobOutcome *outcome) {
  json_t *doc = summary_json(r, job, result, err);
  AUTO_FREE char *line = json_text(doc);
  bool told = !err || result->checked; /* a copy that fails its checks is there all the same */
  if (output_json_mode(r->ctx->output))
    output_json(r->ctx->output, json_incref(doc));
  else if (told && output_verbosity(r->ctx->output) > VERBOSITY_QUIET)
    print_text(r, result);
  json_decref(doc);
  *outcome = (JobOutcome){.result = result->partial ? JOB_PARTIAL : JOB_RUNNING,
                          .repository_id = &r->picked.from->repo->keys->repo,
                          .snapshot = &r->picked.snapshot.id,
                          .read_bytes = result->stats.fetched_bytes,
                          .files = result->stats.files,
                          .summary_json = line};
  workspace_job_end((Workspace *)(uintptr_t)&r->w, job, outcome, err);
}

/* ---- doing it ------------------------------------------------------------------------------------------------------
 */

/* It was put back where it came from. */
static bool is_same_source(const RestoreCommand *r) {
  if (args_given(r->ctx->args, OPT_IN_PLACE)) return true;
  return r->recovery.known && strcmp(r->recovery.source.name, r->picked.snapshot.source) == 0;
}

/* What was restored over the live source is another file, but no other source: its next backup shall not be refused. */
static void adopt(RestoreCommand *r) {
  SourceSpec own = {.type = r->picked.snapshot.engine, .scratch_dir = r->w.ops.scratch_dir};
  strlist_add(&own.paths, r->target);
  const SourceSpec *spec = r->recovery.known ? &r->recovery.source.spec : &own;
  for (size_t i = 0; i < r->repositories.len; i++) {
    const OpenRepository *known = &r->repositories.items[i];
    if (!known->repo || known->repo->read_only) continue;
    Error *err = ops_source_adopt(&r->w.ops, known->repo, spec, r->picked.snapshot.source);
    if (err && err_code(err) != ERR_NOT_FOUND)
      output_warning(r->ctx->output, "%s: the restored source was not adopted: %s (`holdfast source adopt`)",
                     known->place.name, err_text(err));
    err_free(err);
  }
  strlist_free(&own.paths);
}

/* Something that exists, without the word that it may go. Whether a database may go into a directory that holds others,
 * its engine knows. */
static bool is_in_the_way(const RestoreCommand *r) {
  struct stat st;
  if (!r->target || r->request.overwrite || stat(r->target, &st) != 0) return false;
  bool one_of_many = S_ISDIR(st.st_mode) && strcmp(r->picked.snapshot.engine, "sqlite") == 0;
  return !one_of_many && recovery_holds_something(r->target);
}

static Error *refuse(const RestoreCommand *r) {
  AUTO_FREE char *name = shell_quote(last_part(r->target));
  return err_hint(err_new(ERR_NOT_EMPTY, "restoring to %s: it exists", r->target),
                  "restore to another path, or allow it to be replaced: --confirm %s", name);
}

static bool wants_recovery_point(const RestoreCommand *r) {
  return r->recovery.needed && r->request.overwrite && !args_given(r->ctx->args, OPT_FORCE_RESTORE);
}

/* The recovery point is the newest snapshot now: the same command again would restore what it was to replace. */
static void say_what_to_repeat(const RestoreCommand *r) {
  char id[SHORT_ID_LEN];
  AUTO_FREE char *source = str_printable(bytes_str(r->picked.snapshot.source));
  output_warning(r->ctx->output,
                 "nothing was restored, and the newest snapshot is the recovery point now: to try again, say %s@%s",
                 source, short_id(&r->picked.snapshot.id, id));
}

static Error *hooked_restore(RestoreCommand *r, const JobStart *job, RestoreResult *result) {
  const ConfigSource *config = config_source_find(r->w.config, r->picked.snapshot.source);
  const ConfigHooks *hooks = config ? config->hooks : NULL;
  /* Said before a hook stops an application. */
  if (hooks && hooks->before_restore && is_in_the_way(r)) return refuse(r);
  if (hooks) TRY(hook_run(&r->w, "before_restore", hooks->before_restore));
  TRY(context_progress_start(r->ctx));
  /* After the hook, which may stop the application: then nothing is written between this and the restore. */
  if (wants_recovery_point(r))
    TRY(recovery_make(&r->w, r->picked.from, job, &r->picked.snapshot, r->target, &r->recovery));
  progress_phase(&r->ctx->progress, "restoring", true);
  Error *err = ops_restore(&r->w.ops, &r->request, result);
  context_progress_stop(r->ctx);
  if (!err && is_same_source(r)) adopt(r);
  if (err_is(err, ERR_REFUSED) && r->recovery.made) say_what_to_repeat(r);
  if (err || !hooks) return err;
  return hook_run(&r->w, "after_restore", hooks->after_restore);
}

static Error *restore(RestoreCommand *r) {
  JobStart job;
  JobOutcome outcome;
  workspace_job_begin(&r->w, "restore", r->picked.snapshot.source, r->picked.from->place.name, &job);
  RestoreResult result = {0};
  Error *err = hooked_restore(r, &job, &result);
  if (result.checked) {
    prove_record(&r->w, r->picked.from->repo, &r->picked.snapshot, r->request.level, &result.report);
    prove_say_failed(r->ctx, &result.report);
  }
  report(r, &job, &result, err, &outcome);
  uint64_t partial = result.partial;
  restore_result_free(&result);
  if (err || !partial) return err;
  return err_new(ERR_PARTIAL, "the restore is done, but %llu %s not as %s: see the warnings above",
                 (unsigned long long)partial, partial == 1 ? "thing is" : "things are",
                 partial == 1 ? "it was" : "they were");
}

/* ---- the plan ------------------------------------------------------------------------------------------------------
 */

static void plan_json(const RestoreCommand *r, const RestorePreview *p) {
  json_t *doc = output_document("plan");
  output_json_set_name(doc, "source", bytes_str(r->picked.snapshot.source));
  output_json_set_name(doc, "repository", bytes_str(r->picked.from->place.name));
  json_object_set_new(doc, "snapshot", json_uuid(&r->picked.snapshot.id));
  json_object_set_new(doc, "time", json_time(r->picked.snapshot.time_ns));
  json_set_path(doc, "target", r->target);
  json_object_set_new(doc, "target_exists", json_boolean(p->target_exists));
  json_object_set_new(doc, "would_overwrite", json_boolean(p->would_overwrite));
  json_object_set_new(doc, "recovery_point", json_boolean(p->would_overwrite && wants_recovery_point(r)));
  json_object_set_new(doc, "files", json_count(p->estimate.files));
  json_object_set_new(doc, "bytes", json_count(p->estimate.bytes));
  json_object_set_new(doc, "fetch_bytes", json_count(p->estimate.fetch_bytes));
  json_object_set_new(doc, "packs", json_count(p->estimate.packs));
  json_object_set_new(doc, "requests", json_count(p->estimate.requests));
  json_object_set_new(doc, "missing_frames", json_count(p->estimate.missing_frames));
  json_object_set_new(doc, "free_bytes", p->free_bytes ? json_count(p->free_bytes) : json_null());
  output_json(r->ctx->output, doc);
}

static void plan_text(const RestoreCommand *r, const RestorePreview *p) {
  Output *out = r->ctx->output;
  char id[SHORT_ID_LEN], when[36], a[16], b[16];
  const RestoreEstimate *e = &p->estimate;
  AUTO_FREE char *source = str_printable(bytes_str(r->picked.snapshot.source));
  AUTO_FREE char *target = str_printable(bytes_str(r->target ? r->target : r->request.restore_command));
  AUTO_FREE char *from = str_printable(bytes_str(r->picked.from->place.name));
  output_text(out, "%s: snapshot %s of %s would be restored from %s\n", source, short_id(&r->picked.snapshot.id, id),
              time_format_local(r->picked.snapshot.time_ns, when), from);
  output_text(out, "  target    %s%s\n", target,
              p->would_overwrite ? " (exists, would be OVERWRITTEN)"
              : is_in_the_way(r) ? " (exists: refused without --confirm and its name)"
              : p->target_exists ? " (exists)"
                                 : "");
  if (p->would_overwrite && r->recovery.needed)
    output_text(out, "  recovery  %s\n",
                wants_recovery_point(r) ? "what is there now would be backed up first, as a recovery point"
                                        : "NO recovery point would be made (--force): what is there now would be lost");
  output_text(out, "  content   %s in %llu file%s\n", str_size(e->bytes, a), (unsigned long long)e->files,
              e->files == 1 ? "" : "s");
  output_text(out, "  to fetch  %s of %llu pack%s in %llu request%s\n", str_size(e->fetch_bytes, a),
              (unsigned long long)e->packs, e->packs == 1 ? "" : "s", (unsigned long long)e->requests,
              e->requests == 1 ? "" : "s");
  if (p->free_bytes)
    output_text(out, "  free      %s%s\n", str_size(p->free_bytes, b), p->free_bytes < e->bytes ? ": NOT ENOUGH" : "");
  if (e->missing_frames)
    output_text(out, "  missing   %llu piece%s in no pack that is there: `holdfast verify`\n",
                (unsigned long long)e->missing_frames, e->missing_frames == 1 ? " is" : "s are");
}

static Error *plan(RestoreCommand *r) {
  RestorePreview preview;
  TRY(ops_restore_plan(&r->w.ops, &r->request, &preview));
  if (output_json_mode(r->ctx->output))
    plan_json(r, &preview);
  else
    plan_text(r, &preview);
  return NULL;
}

/* ---- all -----------------------------------------------------------------------------------------------------------
 */

static Error *run(RestoreCommand *r) {
  TRY(repositories_open(&r->w, NULL, REPOSITORIES_ANY, &r->repositories));
  repositories_warn(&r->w, &r->repositories);
  TRY(pick_snapshot(&r->w, &r->repositories, args_operand(r->ctx->args, 0), &r->picked));
  TRY(fill_request(r));
  if (r->target) TRY(repositories_spare(&r->repositories, r->target));
  if (r->target) TRY(recovery_find(&r->w, r->picked.from->repo, r->picked.snapshot.source, r->target, &r->recovery));
  return args_given(r->ctx->args, OPT_PLAN) ? plan(r) : restore(r);
}

Error *cmd_restore(CliContext *ctx, const Args *args UNUSED) {
  RestoreCommand r = {.ctx = ctx};
  TRY(workspace_open(ctx, &r.w));
  Error *err = run(&r);
  strlist_free(&r.request.only);
  free(r.target);
  free(r.source_path);
  recovery_free(&r.recovery);
  picked_free(&r.picked);
  repositories_close(&r.repositories);
  workspace_close(&r.w);
  return err;
}
