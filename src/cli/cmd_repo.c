#include "base/mem.h"
#include "base/timefmt.h"
#include "cli/args.h"
#include "cli/commands.h"
#include "cli/repositories.h"
#include "ops/address.h"
#include "ops/repo_stats.h"
#include "repo/uuid.h"
#include "repo/verify.h"
#include "sys/fs.h"

/* ---- add, ls -------------------------------------------------------------------------------------------------------
 */

static Error *add_repository(CliContext *ctx, const Config *config, const char *name, const char *path) {
  const char *key_file = args_text(ctx->args, OPT_KEY_FILE);
  const char *passphrase_file = args_text(ctx->args, OPT_PASSPHRASE_FILE);
  ConfigKey key = {0};
  SecretSource passphrase = {0};
  AUTO_FREE char *owned_name = mem_strdup(name);
  AUTO_FREE char *url = mem_strdup(path);
  if (key_file) TRY(fs_absolute(key_file, &key.file));
  Error *err = passphrase_file ? fs_absolute(passphrase_file, &passphrase.file) : NULL;
  ConfigRepository repo = {.name = owned_name,
                           .url = url,
                           .key = key.file ? &key : NULL,
                           .passphrase = passphrase.file ? &passphrase : NULL};
  if (!err) err = config_add_repository(config, ctx->state_dir, &repo);
  free(key.file);
  free(passphrase.file);
  return err_is(err, ERR_EXISTS) ? err_recode(err, ERR_REFUSED) : err;
}

Error *cmd_repo_add(CliContext *ctx, const Args *args) {
  const Config *config;
  const char *name = args_operand(args, 0);
  AUTO_FREE char *path = NULL;
  TRY(context_config(ctx, &config));
  TRY(repository_path(args_operand(args, 1), &path));
  TRY(add_repository(ctx, config, name, path));
  AUTO_FREE char *shown = str_printable(bytes_str(path));
  AUTO_FREE char *marker = fs_join(path, "holdfast.json");
  bool there = fs_exists(marker);
  if (output_json_mode(ctx->output)) {
    json_t *doc = output_document("repository");
    json_object_set_new(doc, "name", json_string(name));
    json_object_set_new(doc, "url", output_json_name(bytes_str(path)));
    json_object_set_new(doc, "exists", json_boolean(there));
    output_json(ctx->output, doc);
    return NULL;
  }
  output_text(ctx->output, "%s is %s from now on\n", name, shown);
  if (!there) output_note(ctx->output, VERBOSITY_NORMAL, "there is no repository yet: `holdfast init --repo %s`", name);
  return NULL;
}

/* "file /etc/holdfast/key" */
static char *opened_by(const ConfigRepository *r) {
  if (r->key && r->key->kms) return mem_printf("key service %s", r->key->kms);
  if (r->key) {
    SecretSource key = config_key_source(r->key);
    AUTO_FREE char *where = secret_source_describe(&key);
    return mem_printf("key from %s", where);
  }
  if (!r->passphrase) return mem_strdup("asked for");
  AUTO_FREE char *where = secret_source_describe(r->passphrase);
  return mem_printf("passphrase from %s", where);
}

Error *cmd_repo_ls(CliContext *ctx, const Args *args UNUSED) {
  static const char *const headings[] = {"NAME", "URL", "OPENED BY", "STANDS IN"};
  const Config *config;
  TRY(context_config(ctx, &config));
  Table *table = table_new(NELEMS(headings));
  for (size_t i = 0; i < NELEMS(headings); i++) table_column(table, i, headings[i], ALIGN_LEFT);
  for (size_t i = 0; i < config_repository_count(config); i++) {
    const ConfigRepository *r = config_repository_at(config, i);
    AUTO_FREE char *by = opened_by(r);
    if (output_json_mode(ctx->output)) {
      json_t *doc = output_document("repository");
      json_object_set_new(doc, "name", json_string(r->name));
      json_object_set_new(doc, "url", output_json_name(bytes_str(r->url)));
      json_object_set_new(doc, "opened_by", json_string(by));
      json_object_set_new(doc, "origin", output_json_name(bytes_str(r->origin)));
      output_json(ctx->output, doc);
      continue;
    }
    table_cell(table, r->name);
    table_cell(table, r->url);
    table_cell(table, by);
    table_cell(table, r->origin);
  }
  if (config_repository_count(config) == 0)
    output_note(ctx->output, VERBOSITY_NORMAL, "no repository has a name: `holdfast repo add NAME URL`");
  else if (!output_json_mode(ctx->output))
    output_table(ctx->output, table);
  table_free(table);
  return NULL;
}

/* ---- check ---------------------------------------------------------------------------------------------------------
 */

typedef struct CheckCommand {
  CliContext *ctx;
  Workspace w;
  Repositories repositories;
  const OpenRepository *current;
} CheckCommand;

static void say_damaged(void *ctx, const char *object, const Error *err) {
  const CheckCommand *c = (const CheckCommand *)ctx;
  if (output_json_mode(c->ctx->output)) {
    json_t *doc = output_document("damaged");
    output_json_set_name(doc, "repository", bytes_str(c->current->place.name));
    json_object_set_new(doc, "object", output_json_name(bytes_str(object)));
    json_object_set_new(doc, "reason", output_json_name(bytes_str(err_text(err))));
    output_json(c->ctx->output, doc);
    return;
  }
  AUTO_FREE char *shown = str_printable(bytes_str(object));
  AUTO_FREE char *reason = str_printable(bytes_str(err_text(err)));
  output_text(c->ctx->output, "damaged: %s: %s\n", shown, reason);
}

static void say_good(const CheckCommand *c, const VerifyStats *stats) {
  if (output_json_mode(c->ctx->output)) {
    json_t *doc = output_document("repo_check");
    output_json_set_name(doc, "repository", bytes_str(c->current->place.name));
    json_object_set_new(doc, "id", json_uuid(&c->current->repo->keys->repo));
    json_object_set_new(doc, "usable", json_boolean(stats->damaged == 0));
    json_object_set_new(doc, "writable", json_boolean(!c->current->repo->read_only));
    json_object_set_new(doc, "objects", json_count(stats->objects));
    json_object_set_new(doc, "snapshots", json_count(stats->snapshots));
    json_object_set_new(doc, "damaged", json_count(stats->damaged));
    output_json(c->ctx->output, doc);
    return;
  }
  AUTO_FREE char *name = str_printable(bytes_str(c->current->place.name));
  if (stats->damaged) {
    output_text(c->ctx->output, "%s: %llu object%s damaged or missing\n", name, (unsigned long long)stats->damaged,
                stats->damaged == 1 ? " is" : "s are");
    return;
  }
  output_text(c->ctx->output,
              "%s: usable. It opens, its %llu snapshot%s read from root to leaf, and everything they name is there.\n"
              "%s",
              name, (unsigned long long)stats->snapshots, stats->snapshots == 1 ? "" : "s",
              c->current->repo->read_only ? "A newer holdfast wrote it: this one can only read it.\n"
                                          : "The content itself is read by `holdfast verify --level 3`.\n");
}

static Error *check_one(CheckCommand *c) {
  VerifyOptions options = {.level = 1, .workers = c->w.settings.cpus, .progress = &c->ctx->progress};
  VerifyHooks hooks = {.damaged = say_damaged, .ctx = c};
  VerifyStats stats = {0};
  JobStart job;
  workspace_job_begin(&c->w, "check", NULL, c->current->place.name, &job);
  Error *err = repo_verify(c->current->repo, &options, &hooks, &stats, c->ctx->cancel);
  if (!err) say_good(c, &stats);
  if (!err && stats.damaged)
    err = err_hint(
        err_new(ERR_CORRUPT, "%s: %llu object%s damaged or missing", c->current->place.name,
                (unsigned long long)stats.damaged, stats.damaged == 1 ? " is" : "s are"),
        "`holdfast verify --level 3` finds all of it; then back up again: what the sources still have is stored anew");
  JobOutcome outcome = {.repository_id = &c->current->repo->keys->repo, .files = stats.objects};
  workspace_job_end(&c->w, &job, &outcome, err);
  return err;
}

static Error *check_all(CheckCommand *c) {
  TRY(repositories_open(&c->w, NULL, REPOSITORIES_ANY, &c->repositories));
  TRY(context_progress_start(c->ctx));
  Error *first = NULL;
  for (size_t i = 0; i < c->repositories.len && !err_is(first, ERR_CANCELLED); i++) {
    c->current = &c->repositories.items[i];
    if (c->current->repo) first = err_first(first, check_one(c));
  }
  context_progress_stop(c->ctx);
  return err_first(first, repositories_failure(&c->repositories));
}

Error *cmd_repo_check(CliContext *ctx, const Args *args UNUSED) {
  CheckCommand c = {.ctx = ctx};
  TRY(workspace_open(ctx, &c.w));
  Error *err = check_all(&c);
  repositories_close(&c.repositories);
  workspace_close(&c.w);
  return err;
}

/* ---- stats ---------------------------------------------------------------------------------------------------------
 */

/* Of two sizes, to two digits; 0 when there is nothing to divide by. */
static double ratio(uint64_t a, uint64_t b) {
  uint64_t hundredths = b ? a * 100 / b : 0;
  return (double)hundredths / 100.0;
}

static void stats_json(CliContext *ctx, const OpenRepository *r, const RepoStats *s) {
  json_t *doc = output_document("repo_stats");
  output_json_set_name(doc, "repository", bytes_str(r->place.name));
  json_object_set_new(doc, "id", json_uuid(&r->repo->keys->repo));
  json_t *kinds = json_object();
  for (size_t i = 0; i < OBJECT_KINDS; i++)
    json_object_set_new(
        kinds, s->kinds[i].kind,
        json_pack("{s:o, s:o}", "objects", json_count(s->kinds[i].objects), "bytes", json_count(s->kinds[i].bytes)));
  json_object_set_new(doc, "kinds", kinds);
  json_object_set_new(doc, "objects", json_count(s->objects));
  json_object_set_new(doc, "stored_bytes", json_count(s->bytes));
  json_object_set_new(doc, "snapshots", json_count(s->snapshots));
  json_object_set_new(doc, "sources", json_count(s->series));
  json_object_set_new(doc, "logical_bytes", json_count(s->logical_bytes));
  json_object_set_new(doc, "newest_bytes", json_count(s->newest_bytes));
  json_object_set_new(doc, "new_bytes", json_count(s->new_bytes));
  json_object_set_new(doc, "ratio", json_real(ratio(s->logical_bytes, s->bytes)));
  json_object_set_new(doc, "dedup_ratio", json_real(ratio(s->logical_bytes, s->new_bytes)));
  json_object_set_new(doc, "frames", json_count(s->frames));
  json_object_set_new(doc, "packs", json_count(s->packs));
  json_object_set_new(doc, "packs_missing", json_count(s->packs_missing));
  json_object_set_new(doc, "segments", json_count(s->segments));
  json_object_set_new(doc, "grown_7d_bytes", json_count(s->grown_week_bytes));
  json_object_set_new(doc, "grown_30d_bytes", json_count(s->grown_month_bytes));
  json_object_set_new(doc, "epochs", json_integer((json_int_t)r->repo->keys->epochs));
  output_json(ctx->output, doc);
}

static void stats_kinds(CliContext *ctx, const RepoStats *s) {
  Table *table = table_new(3);
  char size[16];
  table_column(table, 0, "  OBJECTS", ALIGN_LEFT);
  table_column(table, 1, "COUNT", ALIGN_RIGHT);
  table_column(table, 2, "SIZE", ALIGN_RIGHT);
  for (size_t i = 0; i < OBJECT_KINDS; i++) {
    if (s->kinds[i].objects == 0) continue;
    table_cellf(table, "  %s", s->kinds[i].kind);
    table_cellf(table, "%llu", (unsigned long long)s->kinds[i].objects);
    table_cell(table, str_size(s->kinds[i].bytes, size));
  }
  output_table(ctx->output, table);
  table_free(table);
}

static void stats_text(CliContext *ctx, const OpenRepository *r, const RepoStats *s) {
  char a[16], b[16], id[UUID_TEXT_LEN], oldest[36], newest[36];
  AUTO_FREE char *name = str_printable(bytes_str(r->place.name));
  Output *out = ctx->output;
  output_text(out, "%s (%s)\n", name, uuid_text(&r->repo->keys->repo, id));
  output_text(out, "  snapshots   %llu of %llu source%s", (unsigned long long)s->snapshots,
              (unsigned long long)s->series, s->series == 1 ? "" : "s");
  if (s->snapshots)
    output_text(out, ", %s to %s", time_format_local(s->oldest_ns, oldest), time_format_local(s->newest_ns, newest));
  output_text(out, "\n  they hold   %s, the newest alone %s\n", str_size(s->logical_bytes, a),
              str_size(s->newest_bytes, b));
  output_text(out, "  stored      %s in %llu object%s: %.2f times less\n", str_size(s->bytes, a),
              (unsigned long long)s->objects, plural(s->objects), ratio(s->logical_bytes, s->bytes));
  output_text(out, "              %.2f times by not storing twice, %.2f times by compressing\n",
              ratio(s->logical_bytes, s->new_bytes), ratio(s->new_bytes, s->bytes));
  output_text(out, "  growth      %s in 7 days, %s in 30 days\n", str_size(s->grown_week_bytes, a),
              str_size(s->grown_month_bytes, b));
  output_text(out, "  index       %llu frame%s in %llu pack%s, %llu segment%s%s\n", (unsigned long long)s->frames,
              plural(s->frames), (unsigned long long)s->packs, plural(s->packs), (unsigned long long)s->segments,
              plural(s->segments), s->packs_missing ? ", PACKS ARE MISSING OR DAMAGED: `holdfast verify`" : "");
  stats_kinds(ctx, s);
}

static Error *show_stats(CliContext *ctx, Workspace *w, Repositories *repositories) {
  TRY(repositories_open(w, NULL, REPOSITORIES_ANY, repositories));
  for (size_t i = 0; i < repositories->len; i++) {
    const OpenRepository *r = &repositories->items[i];
    RepoStats stats;
    if (!r->repo) continue;
    TRY(ops_repo_stats(&w->ops, r->repo, &stats));
    if (output_json_mode(ctx->output))
      stats_json(ctx, r, &stats);
    else
      stats_text(ctx, r, &stats);
  }
  return repositories_failure(repositories);
}

Error *cmd_repo_stats(CliContext *ctx, const Args *args UNUSED) {
  Workspace w;
  Repositories repositories = {0};
  TRY(workspace_open(ctx, &w));
  Error *err = show_stats(ctx, &w, &repositories);
  repositories_close(&repositories);
  workspace_close(&w);
  return err;
}
