#include "base/mem.h"
#include "base/timefmt.h"
#include "cli/args.h"
#include "cli/commands.h"
#include "cli/repositories.h"
#include "ops/select.h"
#include "repo/verify.h"

static const uint64_t DAY_NS = 86400 * NS_PER_SECOND;

typedef struct VerifyCommand {
  CliContext *ctx;
  Workspace w;
  Repositories repositories;
  const OpenRepository *current;
  uint64_t damaged; /* in all repositories */
  bool only_content;
  Error *first; /* the first repository that could not be verified */
} VerifyCommand;

/* ---- the ledger ----------------------------------------------------------------------------------------------------
 */

/* What the next backups store again. The rest must be brought back from a copy. */
static bool is_content(const char *object) {
  return str_starts(object, "packs/") || str_starts(object, "snapshots/") ||
         (str_starts(object, "keyring/") && strstr(object, "/data/"));
}

static void say_damaged(void *ctx, const char *object, const Error *err) {
  VerifyCommand *v = (VerifyCommand *)ctx;
  Output *out = v->ctx->output;
  const char *text = err_text(err);
  size_t named = strlen(object);
  if (strncmp(text, object, named) == 0 && strncmp(text + named, ": ", 2) == 0) text += named + 2;
  v->only_content = v->only_content && is_content(object);
  if (output_json_mode(out)) {
    json_t *doc = output_document("damaged");
    output_json_set_name(doc, "repository", bytes_str(v->current->place.name));
    json_object_set_new(doc, "object", output_json_name(bytes_str(object)));
    json_object_set_new(doc, "code", json_string(err_code_name(err_code(err))));
    json_object_set_new(doc, "reason", output_json_name(bytes_str(text)));
    output_json(out, doc);
    return;
  }
  AUTO_FREE char *shown = str_printable(bytes_str(object));
  AUTO_FREE char *reason = str_printable(bytes_str(text));
  output_text(out, "damaged: %s: %s\n", shown, reason);
}

static void pack_verified(void *ctx, const Uuid *pack, uint64_t size, unsigned level) {
  VerifyCommand *v = (VerifyCommand *)ctx;
  const Uuid *repo = &v->current->repo->keys->repo;
  uint64_t now = sys_now_ns(v->ctx->sys);
  workspace_catalog_result(&v->w, catalog_pack_verified(v->w.catalog, repo, pack, level, now, size));
}

static uint64_t last_verified(void *ctx, const Uuid *pack, unsigned level) {
  VerifyCommand *v = (VerifyCommand *)ctx;
  uint64_t when = 0;
  workspace_catalog_result(&v->w,
                           catalog_last_verified(v->w.catalog, &v->current->repo->keys->repo, pack, level, &when));
  return when;
}

/* ---- how much ------------------------------------------------------------------------------------------------------
 */

static Error *add_size(void *ctx, const char *key UNUSED, const StoreStat *stat) {
  *(uint64_t *)ctx += stat->size_bytes;
  return NULL;
}

/* Since the last verification of this repository that came to its end; a day when there was none. */
static uint64_t time_since_last(VerifyCommand *v, uint64_t now_ns) {
  JobList jobs = {0};
  uint64_t since = DAY_NS;
  if (!v->w.catalog) return since;
  Error *err = catalog_job_list(v->w.catalog, &(JobQuery){.kind = "verify", .limit = 100}, &jobs);
  for (size_t i = 0; i < jobs.len && !err; i++) {
    const Job *job = &jobs.items[i];
    if (job->result != JOB_OK || !job->repository || strcmp(job->repository, v->current->place.name) != 0) continue;
    if (now_ns > job->start_ns && now_ns - job->start_ns > since) since = now_ns - job->start_ns;
    break;
  }
  job_list_free(&jobs);
  workspace_catalog_result(&v->w, err);
  return since;
}

/* Every run reads its share of the coverage time: a daily one of 30d a thirtieth, one after a week's pause seven of
 * them. What was read within that time is left alone. */
static Error *choose_share(VerifyCommand *v, uint64_t coverage_ns, VerifyOptions *options) {
  uint64_t total = 0, now = sys_now_ns(v->ctx->sys);
  TRY(store_list(v->current->repo->store, "packs/", add_size, &total, v->ctx->cancel));
  uint64_t since = time_since_last(v, now);
  options->level = 3;
  options->older_than_ns = now > coverage_ns ? now - coverage_ns : 1;
  if (since >= coverage_ns) return NULL; /* everything that is due */
  double share = (double)total * (double)since / (double)coverage_ns;
  options->max_bytes = (uint64_t)share + 1;
  return NULL;
}

static Error *choose_options(VerifyCommand *v, const Uuid *snapshot, VerifyOptions *out) {
  const Args *args = v->ctx->args;
  *out = (VerifyOptions){.level = (unsigned)args_number(args, OPT_LEVEL, 1),
                         .workers = v->w.settings.cpus,
                         .snapshot = snapshot,
                         .progress = &v->ctx->progress};
  if (!args_given(args, OPT_COVERAGE)) return NULL;
  return choose_share(v, args_number(args, OPT_COVERAGE, 0), out);
}

/* ---- reporting -----------------------------------------------------------------------------------------------------
 */

static json_t *summary_json(const VerifyCommand *v, const JobStart *job, const VerifyOptions *o, const VerifyStats *s,
                            uint64_t duration_ns, const Error *err) {
  json_t *doc = output_document("summary");
  json_object_set_new(doc, "job", json_string(job->id));
  output_json_set_name(doc, "repository", bytes_str(v->current->place.name));
  json_object_set_new(doc, "result", json_string(err || s->damaged ? "failed" : "ok"));
  json_object_set_new(doc, "level", json_integer((json_int_t)o->level));
  json_object_set_new(doc, "objects", json_count(s->objects));
  json_object_set_new(doc, "snapshots", json_count(s->snapshots));
  json_object_set_new(doc, "packs", json_count(s->packs));
  json_object_set_new(doc, "packs_skipped", json_count(s->packs_skipped));
  json_object_set_new(doc, "frames", json_count(s->frames));
  json_object_set_new(doc, "bytes", json_count(s->bytes));
  json_object_set_new(doc, "damaged", json_count(s->damaged));
  json_object_set_new(doc, "replaced", json_count(s->replaced));
  json_object_set_new(doc, "mended", json_count(s->mended));
  json_object_set_new(doc, "unnoted", json_count(s->unnoted));
  json_object_set_new(doc, "duration_seconds", json_seconds(duration_ns));
  return doc;
}

static void print_text(const VerifyCommand *v, const VerifyOptions *o, const VerifyStats *s, uint64_t duration_ns) {
  Output *out = v->ctx->output;
  char size[16], took[16];
  AUTO_FREE char *name = str_printable(bytes_str(v->current->place.name));
  output_text(out, "%s: %s at level %u\n", name, s->damaged ? "DAMAGED" : "good", o->level);
  output_text(out, "  checked   %llu objects, %llu snapshot%s", (unsigned long long)s->objects,
              (unsigned long long)s->snapshots, s->snapshots == 1 ? "" : "s");
  if (o->level >= 2)
    output_text(out, ", %llu pack%s with %s read", (unsigned long long)s->packs, s->packs == 1 ? "" : "s",
                str_size(s->bytes, size));
  output_text(out, " in %s\n", str_duration(duration_ns, took));
  if (s->packs_skipped)
    output_text(out, "  not due   %llu pack%s\n", (unsigned long long)s->packs_skipped,
                s->packs_skipped == 1 ? "" : "s");
  if (s->damaged) output_text(out, "  damaged   %llu\n", (unsigned long long)s->damaged);
  if (s->replaced)
    output_text(out, "  replaced  %llu damaged pack%s: what is damaged in %s stands in others\n",
                (unsigned long long)s->replaced, s->replaced == 1 ? "" : "s", s->replaced == 1 ? "it" : "them");
  if (s->mended)
    output_text(out, "  mended    %llu pack%s found damaged before, whole now\n", (unsigned long long)s->mended,
                s->mended == 1 ? "" : "s");
}

/* ---- one repository ------------------------------------------------------------------------------------------------
 */

static Error *damage_error(const VerifyCommand *v, const VerifyStats *stats) {
  const char *name = v->current->place.name;
  Error *err = err_new(ERR_CORRUPT, "%s: %llu damaged or missing", name, (unsigned long long)stats->damaged);
  if (stats->unnoted)
    return err_hint(err,
                    "%llu damaged pack%s could not be noted in the repository, so backups go on to count on %s: verify "
                    "again where the repository can be written, then back up",
                    (unsigned long long)stats->unnoted, stats->unnoted == 1 ? "" : "s",
                    stats->unnoted == 1 ? "it" : "them");
  if (!v->only_content)
    return err_hint(err,
                    "copy the objects named above that are neither packs nor snapshots back from a copy of the "
                    "repository (docs/verify.md says what each is for); what content is lost, the next backup of "
                    "each source stores again");
  return err_hint(err,
                  "back up again: the next backup of each source reads everything and stores anew what was lost; "
                  "what no source has any more is named above, and `holdfast restore` brings back all the rest");
}

static Error *verify_repository(VerifyCommand *v, const Uuid *snapshot) {
  JobStart job;
  VerifyOptions options;
  VerifyStats stats = {0};
  VerifyHooks hooks = {
      .damaged = say_damaged, .pack_verified = pack_verified, .last_verified = last_verified, .ctx = v};
  v->only_content = true;
  workspace_job_begin(&v->w, "verify", NULL, v->current->place.name, &job);
  progress_phase(&v->ctx->progress, "verifying", true);
  uint64_t start = sys_mono_ns(v->ctx->sys);
  Error *err = choose_options(v, snapshot, &options);
  if (!err) err = repo_verify(v->current->repo, &options, &hooks, &stats, v->ctx->cancel);
  uint64_t duration = sys_mono_ns(v->ctx->sys) - start;
  workspace_catalog_result(&v->w, catalog_flush(v->w.catalog));
  json_t *doc = summary_json(v, &job, &options, &stats, duration, err);
  AUTO_FREE char *line = json_text(doc);
  if (output_json_mode(v->ctx->output))
    output_json(v->ctx->output, json_incref(doc));
  else if (!err && output_verbosity(v->ctx->output) > VERBOSITY_QUIET)
    print_text(v, &options, &stats, duration);
  json_decref(doc);
  if (!err && stats.damaged) err = damage_error(v, &stats);
  JobOutcome outcome = {.repository_id = &v->current->repo->keys->repo,
                        .read_bytes = stats.bytes,
                        .files = stats.objects,
                        .summary_json = line};
  workspace_job_end(&v->w, &job, &outcome, err);
  return err;
}

static Error *find_and_verify(VerifyCommand *v, const char *text) {
  if (!text) return verify_repository(v, NULL);
  Snapshot snapshot;
  TRY(ops_find_snapshot(&v->w.ops, v->current->repo, text, &snapshot));
  Error *err = verify_repository(v, &snapshot.id);
  snapshot_free(&snapshot);
  return err;
}

static Error *run(VerifyCommand *v) {
  const char *text = args_operand(v->ctx->args, 0);
  TRY(repositories_open(&v->w, NULL, REPOSITORIES_ANY, &v->repositories));
  TRY(context_progress_start(v->ctx));
  Error *first = NULL;
  for (size_t i = 0; i < v->repositories.len; i++) {
    v->current = &v->repositories.items[i];
    Error *err = v->current->repo ? find_and_verify(v, text) : err_copy(v->current->err);
    first = err_first(first, err);
    if (err_is(first, ERR_CANCELLED)) break;
  }
  context_progress_stop(v->ctx);
  return first;
}

Error *cmd_verify(CliContext *ctx, const Args *args UNUSED) {
  VerifyCommand v = {.ctx = ctx};
  TRY(workspace_open(ctx, &v.w));
  Error *err = run(&v);
  repositories_close(&v.repositories);
  workspace_close(&v.w);
  return err;
}
