#include "cli/backup_report.h"

#include "base/mem.h"
#include "base/timefmt.h"

static const char *result_name(const BackupReport *r) {
  if (r->failed) return "failed";
  return r->partial || (r->snapshot && r->snapshot->damaged) ? "partial" : "ok";
}

static void add_snapshot(json_t *doc, const Snapshot *s) {
  json_object_set_new(doc, "snapshot", json_uuid(&s->id));
  json_object_set_new(doc, "kind", json_string(snapshot_kind_name(s->kind)));
  json_object_set_new(doc, "read_bytes", json_count(s->stats.read_bytes));
  json_object_set_new(doc, "new_bytes", json_count(s->stats.new_bytes));
  json_object_set_new(doc, "stored_bytes", json_count(s->stats.stored_bytes));
  json_object_set_new(doc, "source_bytes", json_count(s->stats.source_bytes));
  json_object_set_new(doc, "files", json_count(s->stats.files));
  json_object_set_new(doc, "duration_seconds", json_seconds(s->stats.duration_ns));
  json_object_set_new(doc, "log_position", json_text_or_null(s->log_position));
  json_object_set_new(doc, "damaged", json_boolean(s->damaged));
}

static void add_nothing(json_t *doc) {
  static const char *const zeros[] = {"read_bytes", "new_bytes", "stored_bytes", "files", "duration_seconds"};
  json_object_set_new(doc, "snapshot", json_null());
  for (size_t i = 0; i < NELEMS(zeros); i++) json_object_set_new(doc, zeros[i], json_integer(0));
  json_object_set_new(doc, "log_position", json_null());
}

static json_t *report_json(const BackupReport *r) {
  json_t *doc = output_document("summary");
  json_object_set_new(doc, "job", json_string(r->job));
  output_json_set_name(doc, "source", bytes_str(r->source));
  output_json_set_name(doc, "repository", bytes_str(r->repository));
  json_object_set_new(doc, "result", json_string(result_name(r)));
  if (r->snapshot)
    add_snapshot(doc, r->snapshot);
  else
    add_nothing(doc);
  json_object_set_new(doc, "partial", json_count(r->partial));
  json_object_set_new(doc, "warnings", json_count(r->warnings));
  if (r->proven) {
    json_object_set_new(doc, "check_level", json_string(check_level_name(r->proof.level)));
    json_object_set_new(doc, "checks_passed", json_count(check_report_passed(&r->proof.report)));
    json_object_set_new(doc, "checks_total", json_count(r->proof.report.len));
  }
  return doc;
}

char *backup_report_line(const BackupReport *report) {
  json_t *doc = report_json(report);
  char *text = json_text(doc);
  json_decref(doc);
  return text;
}

/* ---- for people ----------------------------------------------------------------------------------------------------
 */

/* "12.3 MiB/s"; nothing is said of what took no time. */
static char *rate_text(uint64_t bytes_read, uint64_t ns) {
  char text[16];
  if (ns == 0 || bytes_read == 0) return mem_strdup("");
  double rate = (double)bytes_read * (double)NS_PER_SECOND / (double)ns;
  return mem_printf(", %s/s", str_size((uint64_t)rate, text));
}

static void print_amounts(Output *out, const Snapshot *s) {
  char a[16], b[16], c[16];
  const SnapshotStats *t = &s->stats;
  AUTO_FREE char *rate = rate_text(t->read_bytes, t->duration_ns);
  output_text(out, "  source    %s in %llu file%s\n", str_size(t->source_bytes, a), (unsigned long long)t->files,
              t->files == 1 ? "" : "s");
  output_text(out, "  read      %s in %s%s\n", str_size(t->read_bytes, a), str_duration(t->duration_ns, b), rate);
  output_text(out, "  new       %s, stored as %s", str_size(t->new_bytes, a), str_size(t->stored_bytes, c));
  if (t->stored_bytes > 0 && t->new_bytes > t->stored_bytes)
    output_text(out, " (%.1f : 1)", (double)t->new_bytes / (double)t->stored_bytes);
  output_text(out, "\n");
}

static void print_text(Output *out, const BackupReport *r) {
  const Snapshot *s = r->snapshot;
  char id[SHORT_ID_LEN], when[36];
  AUTO_FREE char *source = str_printable(bytes_str(r->source));
  AUTO_FREE char *repository = str_printable(bytes_str(r->repository));
  output_text(out, "%s: snapshot %s in %s\n", source, short_id(&s->id, id), repository);
  output_text(out, "  kind      %s%s, of %s\n", snapshot_kind_name(s->kind), s->damaged ? ", of a DAMAGED source" : "",
              time_format_local(s->time_ns, when));
  print_amounts(out, s);
  if (s->log_position) {
    AUTO_FREE char *position = str_printable(bytes_str(s->log_position));
    output_text(out, "  log       %s\n", position);
  }
  if (r->partial || r->warnings)
    output_text(out, "  notices   %llu left out or changed while read, %llu warning%s\n",
                (unsigned long long)r->partial, (unsigned long long)r->warnings, plural(r->warnings));
  if (r->proven)
    output_text(out, "  checks    %zu of %zu passed (%s)\n", check_report_passed(&r->proof.report), r->proof.report.len,
                check_level_name(r->proof.level));
}

void backup_report_print(Output *out, const BackupReport *report) {
  if (output_json_mode(out)) {
    output_json(out, report_json(report));
    return;
  }
  if (report->snapshot && output_verbosity(out) > VERBOSITY_QUIET) print_text(out, report);
}

/* ---- the plan ------------------------------------------------------------------------------------------------------
 */

static void plan_json(Output *out, const CliSource *source, const BackupPreview *p, const BackupPreviewTarget *t,
                      const char *repository) {
  json_t *doc = output_document("plan");
  output_json_set_name(doc, "source", bytes_str(source->name));
  output_json_set_name(doc, "address", bytes_str(source->address));
  json_object_set_new(doc, "engine", json_string(source->spec.type));
  json_object_set_new(doc, "version", json_text_or_null(p->info.version));
  output_json_set_name(doc, "repository", bytes_str(repository));
  json_object_set_new(doc, "kind", json_string(snapshot_kind_name(t->kind)));
  json_object_set_new(doc, "parent", t->has_parent ? json_uuid(&t->parent) : json_null());
  json_object_set_new(doc, "size_bytes", json_count(p->info.size_bytes));
  json_object_set_new(doc, "members", json_count(p->info.members));
  json_set_texts(doc, "possible", p->info.possible.items, p->info.possible.len);
  json_set_texts(doc, "missing", p->info.missing.items, p->info.missing.len);
  output_json(out, doc);
}

static void say_all(Output *out, const char *heading, const StrList *texts) {
  for (size_t i = 0; i < texts->len; i++) {
    AUTO_FREE char *shown = str_printable(bytes_str(texts->items[i]));
    output_text(out, "  %s %s\n", i == 0 ? heading : "         ", shown);
  }
}

void backup_plan_print(Output *out, const CliSource *source, const BackupPreview *preview, size_t target,
                       const char *repository) {
  const BackupPreviewTarget *t = &preview->targets[target];
  if (output_json_mode(out)) {
    plan_json(out, source, preview, t, repository);
    return;
  }
  char size[16], id[SHORT_ID_LEN], when[36];
  AUTO_FREE char *name = str_printable(bytes_str(source->name));
  AUTO_FREE char *to = str_printable(bytes_str(repository));
  output_text(out, "%s would be backed up into %s\n", name, to);
  output_text(out, "  kind      %s", snapshot_kind_name(t->kind));
  if (t->has_parent)
    output_text(out, ", compared with %s of %s", short_id(&t->parent, id), time_format_local(t->parent_time_ns, when));
  output_text(out, "\n  source    %s, %llu member%s", source->spec.type, (unsigned long long)preview->info.members,
              preview->info.members == 1 ? "" : "s");
  if (preview->info.size_bytes) output_text(out, ", about %s", str_size(preview->info.size_bytes, size));
  output_text(out, "\n");
  say_all(out, "possible ", &preview->info.possible);
  say_all(out, "missing  ", &preview->info.missing);
}
