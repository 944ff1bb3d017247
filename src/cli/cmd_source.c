#include "base/mem.h"
#include "base/timefmt.h"
#include "cli/args.h"
#include "cli/commands.h"
#include "cli/repositories.h"
#include "cli/sources.h"
#include "ops/address.h"
#include "ops/backup.h"
#include "ops/select.h"

/* ---- add, rm -------------------------------------------------------------------------------------------------------
 */

/* The lists point to the source's own texts. */
static ConfigSource config_source_of(const CliSource *source, char *name, char *type) {
  const SourceSpec *spec = &source->spec;
  bool command = strcmp(type, "command") == 0;
  return (ConfigSource){
      .name = name,
      .type = type,
      .paths = command ? NULL : spec->paths.items,
      .paths_count = command ? 0 : (uint32_t)spec->paths.len,
      .command = command ? spec->paths.items[0] : NULL,
      .include = spec->include.items,
      .include_count = (uint32_t)spec->include.len,
      .exclude = spec->exclude.items,
      .exclude_count = (uint32_t)spec->exclude.len,
      .one_file_system = spec->one_file_system,
      .recover_copy = spec->recover_copy,
  };
}

/* An engine that does not take it says what is wrong with it before it is written down. */
static Error *try_engine(CliContext *ctx, const SourceSpec *spec) {
  Engine *engine;
  TRY(engine_open(ctx->sys, spec, &engine));
  engine_free(engine);
  return NULL;
}

static Error *add_source(Workspace *w, const char *name, const char *address) {
  CliContext *ctx = w->ctx;
  CliSource source;
  TRY(cli_source_resolve(w, address, &source));
  AUTO_FREE char *owned_name = mem_strdup(name);
  AUTO_FREE char *type = mem_strdup(source.spec.type);
  AUTO_FREE char *preset = mem_strdup(source.spec.preset);
  AUTO_FREE char *restore_command = mem_strdup(source.spec.restore_command);
  AUTO_FREE char *description = mem_strdup(args_text(ctx->args, OPT_DESCRIPTION));
  ConfigSource entry = config_source_of(&source, owned_name, type);
  entry.preset = preset;
  entry.restore_command = restore_command;
  entry.description = description;
  Error *err = source.config ? err_new(ERR_USAGE, "%s is a name already, not an address", address)
                             : try_engine(ctx, &source.spec);
  if (!err) err = config_add_source(w->config, ctx->state_dir, &entry);
  if (!err && output_json_mode(ctx->output)) {
    json_t *doc = output_document("source");
    json_object_set_new(doc, "name", json_string(name));
    json_object_set_new(doc, "engine", json_string(type));
    output_json_set_name(doc, "address", bytes_str(source.address));
    output_json(ctx->output, doc);
  } else if (!err) {
    AUTO_FREE char *shown = str_printable(bytes_str(source.address));
    output_text(ctx->output, "%s is %s from now on: `holdfast backup %s`\n", name, shown, name);
  }
  cli_source_free(&source);
  return err_is(err, ERR_EXISTS) ? err_recode(err, ERR_REFUSED) : err;
}

Error *cmd_source_add(CliContext *ctx, const Args *args) {
  Workspace w;
  TRY(workspace_open(ctx, &w));
  Error *err = add_source(&w, args_operand(args, 0), args_operand(args, 1));
  workspace_close(&w);
  return err;
}

Error *cmd_source_rm(CliContext *ctx, const Args *args) {
  const Config *config;
  const char *name = args_operand(args, 0);
  TRY(context_config(ctx, &config));
  TRY(config_remove_source(config, ctx->state_dir, name));
  if (output_json_mode(ctx->output)) {
    json_t *doc = output_document("source_removal");
    output_json_set_name(doc, "name", bytes_str(name));
    output_json(ctx->output, doc);
    return NULL;
  }
  AUTO_FREE char *shown = str_printable(bytes_str(name));
  output_text(ctx->output, "%s is forgotten here; its snapshots stay where they are\n", shown);
  return NULL;
}

/* ---- ls ------------------------------------------------------------------------------------------------------------
 */

typedef struct SourceRow {
  char *name, *engine, *address, *origin;
  uint64_t snapshots, last_ns;
} SourceRow;

typedef struct SourceRows {
  SourceRow *items;
  size_t len;
} SourceRows;

static void rows_free(SourceRows *rows) {
  for (size_t i = 0; i < rows->len; i++) {
    free(rows->items[i].name);
    free(rows->items[i].engine);
    free(rows->items[i].address);
    free(rows->items[i].origin);
  }
  free(rows->items);
}

static SourceRow *find_row(SourceRows *rows, const char *name) {
  for (size_t i = 0; i < rows->len; i++)
    if (strcmp(rows->items[i].name, name) == 0) return &rows->items[i];
  rows->items = (SourceRow *)mem_resize(rows->items, rows->len + 1, sizeof *rows->items);
  rows->items[rows->len] = (SourceRow){.name = mem_strdup(name)};
  return &rows->items[rows->len++];
}

static Error *add_configured(Workspace *w, SourceRows *rows) {
  for (size_t i = 0; i < config_source_count(w->config); i++) {
    const ConfigSource *c = config_source_at(w->config, i);
    SourceRow *row = find_row(rows, c->name);
    CliSource source;
    row->engine = mem_strdup(c->type);
    row->origin = mem_strdup(c->origin);
    Error *err = cli_source_resolve(w, c->name, &source);
    if (err) { /* a type of a later version: it is listed all the same */
      err_free(err);
      row->address = mem_strdup("");
      continue;
    }
    row->address = mem_strdup(source.address);
    cli_source_free(&source);
  }
  return NULL;
}

static Error *add_known(Workspace *w, const OpenRepository *r, SourceRows *rows) {
  SeriesList series = {0};
  SnapshotList snapshots = {0};
  TRY(series_list(r->repo, &series, w->ctx->cancel));
  Error *err = ops_list_snapshots(&w->ops, r->repo, NULL, &snapshots);
  for (size_t i = 0; i < series.len && !err; i++) {
    const Series *s = &series.items[i];
    SourceRow *row = find_row(rows, s->name);
    if (!row->engine) row->engine = mem_strdup(s->engine);
    if (!row->address) row->address = mem_strdup(s->address);
    if (!row->origin) row->origin = mem_printf("repository %s", r->place.name);
    for (size_t k = 0; k < snapshots.len; k++) {
      if (!uuid_equal(&snapshots.items[k].series, &s->id)) continue;
      row->snapshots++;
      if (snapshots.items[k].time_ns > row->last_ns) row->last_ns = snapshots.items[k].time_ns;
    }
  }
  snapshot_list_free(&snapshots);
  series_list_free(&series);
  return err;
}

/* Without a repository there is still what is configured; one that does not open is a warning. */
static Error *add_repositories(Workspace *w, SourceRows *rows) {
  Repositories repositories = {0};
  bool named = args_given(w->ctx->args, OPT_REPO);
  if (!named && config_repository_count(w->config) == 0) return NULL;
  Error *err = repositories_open(w, NULL, REPOSITORIES_ANY, &repositories);
  if (err && !named && err_code(err) != ERR_CANCELLED) {
    output_warning(w->ctx->output, "what repositories know is not shown: %s", err_text(err));
    err_free(err);
    return NULL;
  }
  if (!err) repositories_warn(w, &repositories);
  for (size_t i = 0; i < repositories.len && !err; i++)
    if (repositories.items[i].repo) err = add_known(w, &repositories.items[i], rows);
  repositories_close(&repositories);
  return err;
}

static void print_rows(Output *out, const SourceRows *rows) {
  static const char *const headings[] = {"NAME", "ENGINE", "ADDRESS", "SNAPSHOTS", "LAST", "STANDS IN"};
  Table *table = table_new(NELEMS(headings));
  char when[36];
  for (size_t i = 0; i < NELEMS(headings); i++) table_column(table, i, headings[i], i == 3 ? ALIGN_RIGHT : ALIGN_LEFT);
  for (size_t i = 0; i < rows->len; i++) {
    const SourceRow *r = &rows->items[i];
    table_cell(table, r->name);
    table_cell(table, r->engine);
    table_cell(table, r->address);
    table_cellf(table, "%llu", (unsigned long long)r->snapshots);
    table_cell(table, r->last_ns ? time_format_local(r->last_ns, when) : "");
    table_cell(table, r->origin);
  }
  if (rows->len) output_table(out, table);
  table_free(table);
}

static void print_rows_json(Output *out, const SourceRows *rows) {
  for (size_t i = 0; i < rows->len; i++) {
    const SourceRow *r = &rows->items[i];
    json_t *doc = output_document("source");
    output_json_set_name(doc, "name", bytes_str(r->name));
    json_object_set_new(doc, "engine", json_text_or_null(r->engine));
    json_object_set_new(doc, "address", json_text_or_null(r->address));
    json_object_set_new(doc, "origin", json_text_or_null(r->origin));
    json_object_set_new(doc, "snapshots", json_count(r->snapshots));
    json_object_set_new(doc, "last", r->last_ns ? json_time(r->last_ns) : json_null());
    output_json(out, doc);
  }
}

Error *cmd_source_ls(CliContext *ctx, const Args *args UNUSED) {
  Workspace w;
  SourceRows rows = {0};
  TRY(workspace_open(ctx, &w));
  Error *err = add_configured(&w, &rows);
  if (!err) err = add_repositories(&w, &rows);
  if (!err && output_json_mode(ctx->output)) {
    print_rows_json(ctx->output, &rows);
  } else if (!err) {
    print_rows(ctx->output, &rows);
    if (rows.len == 0)
      output_note(ctx->output, VERBOSITY_NORMAL, "no source is known: `holdfast source add NAME ADDRESS`");
  }
  rows_free(&rows);
  workspace_close(&w);
  return err;
}

/* ---- adopt ---------------------------------------------------------------------------------------------------------
 */

/* SRC as for a backup, or the name that the repository knows it by (which a refusal names). */
static Error *resolve_for_adopt(Workspace *w, Repo *repo, const SeriesList *known, const char *text, CliSource *out) {
  Error *err = cli_source_resolve(w, text, out);
  const Series *series;
  if (!err) return NULL;
  Error *missing = ops_find_series(&w->ops, repo, known, text, &series);
  if (missing) {
    err_free(missing);
    return err;
  }
  err_free(err);
  TRY(cli_source_resolve(w, series->address, out));
  free(out->name);
  out->name = mem_strdup(series->name);
  return NULL;
}

static Error *probe_identity(CliContext *ctx, const CliSource *source, char **out) {
  Engine *engine;
  ServerInfo info = {0};
  TRY(engine_open(ctx->sys, &source->spec, &engine));
  Error *err = engine->ops->probe(engine, &info, ctx->cancel);
  engine_free(engine);
  if (!err) *out = mem_strdup(info.identity ? info.identity : "");
  server_info_free(&info);
  return err;
}

typedef struct Adoption {
  Workspace *w;
  const OpenRepository *from;
  const CliSource *source;
  const Series *before;
  const char *identity; /* now */
} Adoption;

static void say_adoption(const Adoption *a, bool done) {
  Output *out = a->w->ctx->output;
  bool same = strcmp(a->before->identity, a->identity) == 0 && strcmp(a->before->host_id, a->w->host_id) == 0 &&
              strcmp(a->before->host, a->w->host) == 0;
  if (output_json_mode(out)) {
    json_t *doc = output_document("adoption");
    output_json_set_name(doc, "source", bytes_str(a->before->name));
    output_json_set_name(doc, "repository", bytes_str(a->from->place.name));
    json_object_set_new(doc, "host_before", json_text_or_null(a->before->host));
    json_object_set_new(doc, "host", json_string(a->w->host));
    json_object_set_new(doc, "identity_before", json_text_or_null(a->before->identity));
    json_object_set_new(doc, "identity", json_text_or_null(a->identity));
    json_object_set_new(doc, "changed", json_boolean(!same));
    json_object_set_new(doc, "adopted", json_boolean(done && !same));
    output_json(out, doc);
    return;
  }
  AUTO_FREE char *name = str_printable(bytes_str(a->before->name));
  AUTO_FREE char *before = str_printable(bytes_str(a->before->identity));
  AUTO_FREE char *now = str_printable(bytes_str(a->identity));
  AUTO_FREE char *host = str_printable(bytes_str(a->before->host));
  if (same) {
    output_text(out, "%s is the same source as before: nothing to adopt\n", name);
    return;
  }
  output_text(out, "%s %s in repository %s\n  was  %s on host %s\n  is   %s on host %s\n",
              done ? "adopted" : "would adopt", name, a->from->place.name, *before ? before : "(nothing stable)", host,
              *now ? now : "(nothing stable)", a->w->host);
}

static Error *adopt_in(Workspace *w, const OpenRepository *r, const char *text) {
  SeriesList known = {0};
  CliSource source = {0};
  AUTO_FREE char *identity = NULL;
  TRY(series_list(r->repo, &known, w->ctx->cancel));
  Error *err = resolve_for_adopt(w, r->repo, &known, text, &source);
  const Series *before = err ? NULL : series_by_name(&known, source.name);
  if (!err && !before) {
    const Series *other;
    err = ops_find_series(&w->ops, r->repo, &known, source.name, &other);
    if (!err) before = other;
  }
  if (!err) err = probe_identity(w->ctx, &source, &identity);
  if (!err) {
    Adoption adoption = {.w = w, .from = r, .source = &source, .before = before, .identity = identity};
    bool plan = args_given(w->ctx->args, OPT_PLAN);
    if (!plan) err = ops_source_adopt(&w->ops, r->repo, &source.spec, before->name);
    if (!err) say_adoption(&adoption, !plan);
  }
  cli_source_free(&source);
  series_list_free(&known);
  return err;
}

/* In every repository that knows it. */
static Error *adopt_all(Workspace *w, Repositories *repositories, const char *text) {
  TRY(repositories_open(w, NULL, REPOSITORIES_ANY, repositories));
  Error *missing = NULL;
  size_t adopted = 0;
  for (size_t i = 0; i < repositories->len; i++) {
    if (!repositories->items[i].repo) continue;
    Error *err = adopt_in(w, &repositories->items[i], text);
    if (err && err_code(err) != ERR_NOT_FOUND) return err_first(err, missing);
    if (!err) adopted++;
    missing = err_first(missing, err);
  }
  if (adopted == 0) return missing;
  err_free(missing);
  return repositories_failure(repositories);
}

Error *cmd_source_adopt(CliContext *ctx, const Args *args) {
  Workspace w;
  Repositories repositories = {0};
  TRY(workspace_open(ctx, &w));
  Error *err = adopt_all(&w, &repositories, args_operand(args, 0));
  repositories_close(&repositories);
  workspace_close(&w);
  return err;
}
