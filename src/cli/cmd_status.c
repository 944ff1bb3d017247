#include "base/mem.h"
#include "base/timefmt.h"
#include "cli/args.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/workspace.h"
#include "ops/protection.h"
#include "repo/uuid.h"

enum { WINDOW_DAYS = 30, COVERAGE_LEVEL = 2 };

typedef struct StatusCommand {
  CliContext *ctx;
  Workspace w;
  uint64_t now_ns, since_ns;
  SourceStatusList statuses;
  ProtectionList list;
} StatusCommand;

/* ---- the first sentence --------------------------------------------------------------------------------------------
 */

static size_t count_state(const StatusCommand *s, ProtectionState state) {
  size_t n = 0;
  for (size_t i = 0; i < s->list.len; i++) n += s->list.items[i].state == state;
  return n;
}

static bool is_overdue(const StatusCommand *s) {
  return s->list.len == 0 || count_state(s, PROTECTION_OVERDUE) + count_state(s, PROTECTION_NEVER) > 0;
}

static char *sentence(const StatusCommand *s) {
  size_t all = s->list.len, late = count_state(s, PROTECTION_OVERDUE), never = count_state(s, PROTECTION_NEVER);
  size_t failing = count_state(s, PROTECTION_FAILING);
  if (all == 0) return mem_strdup("Nothing is protected: no source is configured and none was ever backed up.");
  AUTO_BUF Buf text = {0};
  if (late + never + failing == 0) {
    buf_printf(&text, all == 1 ? "The one source is protected." : "All %zu sources are protected.", all);
    return buf_steal_str(&text);
  }
  buf_printf(&text, "%zu of %zu source%s protected:", all - late - never, all, all == 1 ? " is" : "s are");
  const char *comma = " ";
  if (never) buf_printf(&text, "%s%zu never backed up", comma, never);
  if (never) comma = ", ";
  if (late) buf_printf(&text, "%s%zu overdue", comma, late);
  if (late) comma = ", ";
  if (failing) buf_printf(&text, "%s%zu failing", comma, failing);
  buf_add_str(&text, ".");
  return buf_steal_str(&text);
}

/* ---- what was proven -----------------------------------------------------------------------------------------------
 */

/* Of the repository that the source's newest backup went to. */
static bool coverage_of(StatusCommand *s, const SourceStatus *status, Coverage *out) {
  JobList jobs = {0};
  if (!s->w.catalog) return false;
  bool found = false;
  JobQuery query = {.source = status->source, .kind = "backup", .limit = 50};
  Error *err = catalog_job_list(s->w.catalog, &query, &jobs);
  for (size_t i = 0; i < jobs.len && !err && !found; i++) {
    const Job *job = &jobs.items[i];
    Uuid repo;
    if (!job->repository || strcmp(job->repository, status->repository) != 0) continue;
    if (!job->repository_id || !uuid_parse(job->repository_id, &repo)) continue;
    err = catalog_coverage(s->w.catalog, &repo, COVERAGE_LEVEL, s->since_ns, out);
    found = !err;
  }
  job_list_free(&jobs);
  workspace_catalog_result(&s->w, err);
  return found;
}

static char *coverage_text(StatusCommand *s, const SourceStatus *status) {
  Coverage c;
  if (!coverage_of(s, status, &c) || c.known_bytes == 0) return mem_strdup("never");
  return mem_printf("%llu %%", (unsigned long long)((double)c.verified_bytes * 100 / (double)c.known_bytes));
}

/* ---- JSON ----------------------------------------------------------------------------------------------------------
 */

static json_t *time_or_null(uint64_t ns) { return ns ? json_time(ns) : json_null(); }

static json_t *row_json(StatusCommand *s, const ProtectionRow *r) {
  const SourceStatus *t = r->status;
  json_t *doc = json_object();
  json_object_set_new(doc, "repository", json_text_or_null(r->repository));
  json_object_set_new(doc, "state", json_string(protection_state_name(r->state)));
  if (!t) return doc;
  json_object_set_new(doc, "last_attempt", time_or_null(t->last_attempt_ns));
  json_object_set_new(doc, "last_result", json_string(job_result_name(t->last_result)));
  json_object_set_new(doc, "last_error", json_text_or_null(t->last_error));
  json_object_set_new(doc, "last_success", time_or_null(t->last_success_ns));
  json_object_set_new(doc, "last_snapshot", json_text_or_null(t->last_snapshot));
  json_object_set_new(doc, "jobs", json_count(t->jobs));
  json_object_set_new(doc, "succeeded", json_count(t->succeeded));
  json_object_set_new(doc, "partial", json_count(t->partial));
  json_object_set_new(doc, "stored_bytes", json_count(t->stored_bytes));
  json_object_set_new(doc, "last_check", time_or_null(t->last_check.time_ns));
  json_object_set_new(doc, "last_check_level", t->last_check.time_ns ? json_string(t->last_check.level) : json_null());
  json_object_set_new(doc, "last_check_passed",
                      json_boolean(t->last_check.time_ns && t->last_check.passed == t->last_check.total));
  Coverage c;
  bool known = coverage_of(s, t, &c);
  json_object_set_new(doc, "verified_bytes", known ? json_count(c.verified_bytes) : json_null());
  json_object_set_new(doc, "known_bytes", known ? json_count(c.known_bytes) : json_null());
  return doc;
}

static void print_json(StatusCommand *s, const char *first) {
  json_t *doc = output_document("status");
  json_object_set_new(doc, "sentence", json_string(first));
  json_object_set_new(doc, "overdue", json_boolean(is_overdue(s)));
  json_t *sources = json_array();
  for (size_t i = 0; i < s->list.len; i++) {
    const Protection *p = &s->list.items[i];
    json_t *item = json_object();
    output_json_set_name(item, "source", bytes_str(p->source));
    json_object_set_new(item, "configured", json_boolean(p->configured != NULL));
    json_object_set_new(item, "state", json_string(protection_state_name(p->state)));
    json_object_set_new(item, "why", output_json_name(bytes_str(p->why)));
    json_object_set_new(item, "allowed_seconds", json_seconds(p->allowed_ns));
    json_t *rows = json_array();
    for (size_t k = 0; k < p->rows_len; k++) json_array_append_new(rows, row_json(s, &p->rows[k]));
    json_object_set_new(item, "repositories", rows);
    json_array_append_new(sources, item);
  }
  json_object_set_new(doc, "sources", sources);
  output_json(s->ctx->output, doc);
}

/* ---- text ----------------------------------------------------------------------------------------------------------
 */

static void age_cell(Table *table, uint64_t now_ns, uint64_t then_ns) {
  char text[16];
  if (then_ns == 0)
    table_cell(table, "never");
  else
    table_cellf(table, "%s ago", str_duration(now_ns > then_ns ? now_ns - then_ns : 0, text));
}

static void add_row(StatusCommand *s, Table *table, const Protection *p, const ProtectionRow *r) {
  static const SourceStatus none;
  const SourceStatus *t = r->status ? r->status : &none;
  char size[16];
  table_cell(table, p->source);
  table_cell(table, r->repository);
  table_cell(table, protection_state_name(r->state));
  age_cell(table, s->now_ns, t->last_success_ns > t->last_snapshot_ns ? t->last_success_ns : t->last_snapshot_ns);
  table_cellf(table, "%llu", (unsigned long long)t->jobs);
  if (t->jobs)
    table_cellf(table, "%llu %%", (unsigned long long)((t->succeeded + t->partial) * 100 / t->jobs));
  else
    table_cell(table, "");
  table_cell(table, str_size(t->stored_bytes, size));
  if (t->last_check.time_ns)
    table_cellf(table, "%s %llu/%llu", t->last_check.level, (unsigned long long)t->last_check.passed,
                (unsigned long long)t->last_check.total);
  else
    table_cell(table, "never");
  AUTO_FREE char *coverage = r->status ? coverage_text(s, t) : mem_strdup("never");
  table_cell(table, coverage);
}

static void print_text(StatusCommand *s, const char *first) {
  static const char *const headings[] = {"SOURCE", "REPOSITORY", "STATE",   "LAST GOOD", "BACKUPS",
                                         "GOOD",   "STORED",     "CHECKED", "VERIFIED"};
  Output *out = s->ctx->output;
  output_text(out, "%s\n", first);
  for (size_t i = 0; i < s->list.len; i++) {
    const Protection *p = &s->list.items[i];
    if (p->state == PROTECTED) continue;
    AUTO_FREE char *source = str_printable(bytes_str(p->source));
    AUTO_FREE char *why = str_printable(bytes_str(p->why));
    output_text(out, "  %s: %s\n", source, why);
  }
  if (s->list.len == 0) return;
  Table *table = table_new(NELEMS(headings));
  for (size_t i = 0; i < NELEMS(headings); i++)
    table_column(table, i, headings[i], i >= 4 && i != 7 ? ALIGN_RIGHT : ALIGN_LEFT);
  for (size_t i = 0; i < s->list.len; i++) {
    const Protection *p = &s->list.items[i];
    ProtectionRow nothing = {.state = p->state};
    for (size_t k = 0; k < p->rows_len; k++) add_row(s, table, p, &p->rows[k]);
    if (p->rows_len == 0) add_row(s, table, p, &nothing);
  }
  output_text(out, "\n");
  output_table(out, table);
  table_free(table);
  output_text(out, "\nBackups, their success, what they stored and what was verified are of the last %d days.\n",
              WINDOW_DAYS);
}

/* ---- all -----------------------------------------------------------------------------------------------------------
 */

/* What cannot be asked is not green. */
static Error *run(StatusCommand *s) {
  uint64_t window = WINDOW_DAYS * 86400 * NS_PER_SECOND;
  if (!s->w.catalog)
    return err_hint(err_new(ERR_IO, "the catalog in %s cannot be read: nothing is known", s->ctx->state_dir),
                    "run it as the user who makes the backups, or give --state-dir");
  s->now_ns = sys_now_ns(s->ctx->sys);
  s->since_ns = s->now_ns > window ? s->now_ns - window : 0;
  TRY(catalog_status(s->w.catalog, NULL, s->since_ns, &s->statuses));
  protection_judge(s->w.config, &s->statuses, s->now_ns, &s->list);
  AUTO_FREE char *first = sentence(s);
  if (output_json_mode(s->ctx->output))
    print_json(s, first);
  else
    print_text(s, first);
  if (args_given(s->ctx->args, OPT_CHECK) && is_overdue(s)) s->ctx->exit_code = EXIT_OVERDUE;
  return NULL;
}

Error *cmd_status(CliContext *ctx, const Args *args UNUSED) {
  StatusCommand s = {.ctx = ctx};
  TRY(workspace_open(ctx, &s.w));
  Error *err = run(&s);
  protection_list_free(&s.list);
  source_status_list_free(&s.statuses);
  workspace_close(&s.w);
  return err;
}
