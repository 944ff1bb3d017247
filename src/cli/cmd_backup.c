#include "base/mem.h"
#include "base/str.h"
#include "cli/args.h"
#include "cli/backup_report.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/hooks.h"
#include "cli/prove.h"
#include "cli/repositories.h"
#include "cli/sources.h"
#include "cli/version.h"
#include "ops/backup.h"

typedef struct BackupCommand {
  CliContext *ctx;
  Workspace w;
  BackupMode mode;
  Label *labels; /* texts owned */
  size_t labels_len;
  /* Of one source after the other: the first failure decides the exit code. */
  Error *first;
  bool partial, damaged;
} BackupCommand;

/* ---- options -------------------------------------------------------------------------------------------------------
 */

static Error *read_labels(BackupCommand *b) {
  const StrList *given = args_list(b->ctx->args, OPT_LABEL);
  b->labels = NEW_ARRAY(Label, given->len + 1);
  for (size_t i = 0; i < given->len; i++) {
    const char *text = given->items[i], *equals = strchr(text, '=');
    if (!equals || equals == text)
      return err_hint(err_new(ERR_USAGE, "--label %s: not KEY=VALUE", text), "for example --label release=4.2");
    b->labels[b->labels_len++] = (Label){.key = str_printable(bytes(text, (size_t)(equals - text))),
                                         .value = str_printable(bytes_str(equals + 1))};
  }
  return NULL;
}

static Error *read_options(BackupCommand *b) {
  const Args *args = b->ctx->args;
  b->mode = args_given(args, OPT_FULL)           ? BACKUP_FULL
            : args_given(args, OPT_DIFFERENTIAL) ? BACKUP_DIFFERENTIAL
                                                 : BACKUP_INCREMENTAL;
  if (args_given(args, OPT_NAME) && args_operand_count(args) > 1)
    return err_hint(err_new(ERR_USAGE, "--name names one source, there are %zu", args_operand_count(args)),
                    "run one backup for each, or name them in the configuration");
  return read_labels(b);
}

static Error *choose_compression(const BackupCommand *b, const CliSource *source, Compression *out) {
  const char *said = args_text(b->ctx->args, OPT_COMPRESSION);
  if (said) return compression_parse(said, out);
  *out = config_compression(b->w.config, source->config);
  return NULL;
}

/* "quick" … of --verify, else what the configuration says. False: no check. */
static bool check_after(const BackupCommand *b, CheckLevel *out) {
  return prove_level(b->ctx, config_check_after_backup(b->w.config), out);
}

/* ---- one source ----------------------------------------------------------------------------------------------------
 */

typedef struct SourceRun {
  BackupCommand *b;
  CliSource source;
  Repositories repositories;
  OpenRepository **open; /* those that opened; borrowed, the array owned */
  Repo **repos;
  JobStart *jobs;
  size_t len;
} SourceRun;

static void run_free(SourceRun *run) {
  free(run->open);
  free(run->repos);
  free(run->jobs);
  repositories_close(&run->repositories);
  cli_source_free(&run->source);
}

static Error *open_repositories(SourceRun *run) {
  const ConfigSource *config = run->source.config;
  StrList names = {0};
  if (config) names = (StrList){.items = config->repositories, .len = config->repositories_count};
  TRY(repositories_open(&run->b->w, &names, REPOSITORIES_EACH, &run->repositories));
  size_t len = run->repositories.len;
  run->open = NEW_ARRAY(OpenRepository *, len);
  run->repos = NEW_ARRAY(Repo *, len);
  run->jobs = NEW_ARRAY(JobStart, len);
  for (size_t i = 0; i < len; i++) {
    OpenRepository *r = &run->repositories.items[i];
    strlist_add(&run->source.spec.avoid, r->place.path);
    if (!r->repo) continue;
    run->open[run->len] = r;
    run->repos[run->len++] = r->repo;
  }
  return NULL;
}

/* With several sources each failure is said when it happens, else once at the end. */
static void note_failure(BackupCommand *b, Error *take, const char *name) {
  take = err_wrap(take, "backup of %s", name);
  bool cancelled = err_is(take, ERR_CANCELLED);
  if ((args_operand_count(b->ctx->args) > 1 || b->first) && !cancelled)
    output_error(b->ctx->output, take, exit_code_of(take, b->ctx->cancel));
  b->first = cancelled ? err_first(take, b->first) : err_first(b->first, take);
}

/* One repository's result: what is printed, recorded and proven. */
static Error *finish_target(SourceRun *run, size_t i, BackupTarget *target, const BackupResult *result) {
  BackupCommand *b = run->b;
  Workspace *w = &b->w;
  Error *err = err_copy(target->err);
  BackupReport report = {.job = run->jobs[i].id,
                         .source = run->source.name,
                         .repository = run->open[i]->place.name,
                         .snapshot = target->err ? NULL : &target->snapshot,
                         .partial = result->partial,
                         .warnings = result->warnings};
  /* A damaged database was stored as it is, by --force: that is there, but no good backup. */
  bool damaged = !err && target->snapshot.damaged;
  if (damaged) b->damaged = true;
  CheckLevel level;
  if (!err && !damaged && check_after(b, &level)) {
    err = prove_snapshot(w, run->repos[i], &target->snapshot, level, &report.proof);
    report.proven = !err || err_code(err) == ERR_CHECK_FAILED;
  }
  report.failed = err;
  backup_report_print(b->ctx->output, &report);
  JobOutcome outcome = {.result = report.partial || damaged ? JOB_PARTIAL : JOB_RUNNING,
                        .repository_id = &run->repos[i]->keys->repo};
  AUTO_FREE char *json = backup_report_line(&report);
  outcome.summary_json = json;
  if (report.snapshot) {
    outcome.snapshot = &target->snapshot.id;
    outcome.read_bytes = target->snapshot.stats.read_bytes;
    outcome.new_bytes = target->snapshot.stats.new_bytes;
    outcome.stored_bytes = target->snapshot.stats.stored_bytes;
    outcome.files = target->snapshot.stats.files;
  }
  workspace_job_end(w, &run->jobs[i], &outcome, err);
  proof_free(&report.proof);
  return err;
}

static void fail_job(BackupCommand *b, const JobStart *job, const char *source, const OpenRepository *r,
                     const Error *err) {
  BackupReport report = {.job = job->id, .source = source, .repository = r->place.name, .failed = err};
  backup_report_print(b->ctx->output, &report);
  JobOutcome outcome = {.repository_id = r->repo ? &r->repo->keys->repo : NULL};
  workspace_job_end(&b->w, job, &outcome, err);
}

static Error *fail_jobs(SourceRun *run, Error *take) {
  for (size_t i = 0; i < run->len; i++) fail_job(run->b, &run->jobs[i], run->source.name, run->open[i], take);
  return take;
}

/* A repository that did not open got no snapshot: `status` and whoever reads the summaries shall know. */
static void fail_unopened(SourceRun *run) {
  BackupCommand *b = run->b;
  bool recorded = !args_given(b->ctx->args, OPT_PLAN);
  for (size_t i = 0; i < run->repositories.len; i++) {
    OpenRepository *r = &run->repositories.items[i];
    if (!r->err) continue;
    if (recorded) {
      JobStart job;
      workspace_job_begin(&b->w, "backup", run->source.name, r->place.name, &job);
      fail_job(b, &job, run->source.name, r, r->err);
    }
    note_failure(b, STEAL(r->err), run->source.name);
  }
}

static Error *back_up(SourceRun *run, const BackupRequest *request) {
  BackupCommand *b = run->b;
  Workspace *w = &b->w;
  for (size_t i = 0; i < run->len; i++)
    workspace_job_begin(w, "backup", run->source.name, run->open[i]->place.name, &run->jobs[i]);
  const ConfigHooks *hooks = run->source.config ? run->source.config->hooks : NULL;
  Error *err = hooks ? hook_run(w, "before_backup", hooks->before_backup) : NULL;
  if (err) return fail_jobs(run, err);
  TRY(context_progress_start(b->ctx));
  progress_phase(&b->ctx->progress, "opening", true);
  BackupResult result = {0};
  err = ops_backup(&w->ops, request, &result);
  if (result.len == 0) {
    context_progress_stop(b->ctx);
    backup_result_free(&result);
    return fail_jobs(run, err);
  }
  err_free(err); /* each target has its own */
  err = NULL;
  for (size_t i = 0; i < result.len; i++) err = err_first(err, finish_target(run, i, &result.targets[i], &result));
  context_progress_stop(b->ctx);
  if (result.partial) b->partial = true;
  backup_result_free(&result);
  if (hooks) err = err_first(err, hook_run(w, "after_backup", hooks->after_backup));
  return err;
}

static Error *plan(SourceRun *run, const BackupRequest *request) {
  BackupPreview preview;
  TRY(ops_backup_plan(&run->b->w.ops, request, &preview));
  for (size_t i = 0; i < run->len; i++)
    backup_plan_print(run->b->ctx->output, &run->source, &preview, i, run->open[i]->place.name);
  backup_preview_free(&preview);
  return NULL;
}

static Error *run_source(SourceRun *run, const char *text) {
  BackupCommand *b = run->b;
  TRY(cli_source_resolve(&b->w, text, &run->source));
  TRY(open_repositories(run));
  if (run->len == 0) return NULL; /* each says why */
  BackupRequest request = {.spec = &run->source.spec,
                           .name = run->source.name,
                           .address = run->source.address,
                           .mode = b->mode,
                           .force = args_given(b->ctx->args, OPT_FORCE),
                           .description = args_text(b->ctx->args, OPT_DESCRIPTION),
                           .labels = b->labels,
                           .labels_len = b->labels_len,
                           .tool_version = version_text(),
                           .repos = run->repos,
                           .repos_len = run->len};
  if (!request.description && run->source.config) request.description = run->source.config->description;
  TRY(choose_compression(b, &run->source, &request.compression));
  return args_given(b->ctx->args, OPT_PLAN) ? plan(run, &request) : back_up(run, &request);
}

static void backup_source(BackupCommand *b, const char *text) {
  SourceRun run = {.b = b};
  Error *err = run_source(&run, text);
  if (err) note_failure(b, err, run.source.name ? run.source.name : text);
  fail_unopened(&run);
  run_free(&run);
}

/* ---- all -----------------------------------------------------------------------------------------------------------
 */

static Error *outcome(BackupCommand *b, size_t sources) {
  Error *first = STEAL(b->first);
  if (first && sources > 1 && err_code(first) != ERR_CANCELLED) { /* it was printed */
    b->ctx->exit_code = exit_code_of(first, b->ctx->cancel);
    err_free(first);
    return NULL;
  }
  if (first) return first;
  if (b->damaged)
    return err_hint(
        err_new(ERR_PARTIAL, "the source is damaged, and was stored as it is"),
        "the snapshot is marked as damaged and may not open when it is restored; the one before may be better");
  if (!b->partial) return NULL;
  return err_hint(err_new(ERR_PARTIAL, "the backup is done, but something was left out"),
                  "the warnings above name it; they are kept with the snapshot: `holdfast info`");
}

static Error *run(BackupCommand *b) {
  const Args *args = b->ctx->args;
  TRY(read_options(b));
  size_t sources = args_operand_count(args);
  for (size_t i = 0; i < sources && !cancel_is_set(b->ctx->cancel); i++) backup_source(b, args_operand(args, i));
  return outcome(b, sources);
}

Error *cmd_backup(CliContext *ctx, const Args *args UNUSED) {
  BackupCommand b = {.ctx = ctx};
  TRY(workspace_open(ctx, &b.w));
  Error *err = run(&b);
  err_free(b.first);
  for (size_t i = 0; i < b.labels_len; i++) {
    free(b.labels[i].key);
    free(b.labels[i].value);
  }
  free(b.labels);
  workspace_close(&b.w);
  return err;
}
