#include <unistd.h>

#include "base/mem.h"
#include "cli/args.h"
#include "cli/commands.h"
#include "cli/pick.h"
#include "codec/compress_stream.h"
#include "ops/export.h"
#include "sys/fs.h"

typedef struct ExportCommand {
  CliContext *ctx;
  Workspace w;
  Repositories repositories;
  Picked picked;
  char *target; /* NULL: standard output */
  ExportRequest request;
} ExportCommand;

/* --compression, else what the file's name ends in, at the codec's usual level. */
static Error *choose_compression(ExportCommand *e) {
  const char *given = args_text(e->ctx->args, OPT_COMPRESSION);
  const char *by_name = e->target ? codec_name(compress_stream_codec_of(e->target)) : "none";
  return compression_parse(given ? given : by_name, &e->request.compression);
}

static Error *read_options(ExportCommand *e) {
  const Args *args = e->ctx->args;
  const char *to = args_text(args, OPT_TO_FILE);
  e->request.format = (ExportFormat)args_number(args, OPT_FORMAT, EXPORT_TAR);
  pick_only(args, &e->request.only);
  if (strcmp(to, "-") != 0) {
    TRY(fs_absolute(to, &e->target));
    return choose_compression(e);
  }
  if (output_json_mode(e->ctx->output)) return err_new(ERR_USAGE, "--json: standard output is where the export goes");
  if (isatty(STDOUT_FILENO) && e->request.format != EXPORT_SQL)
    return err_hint(err_new(ERR_USAGE, "this is not written to a terminal"), "--to FILE, or pipe it into a program");
  return choose_compression(e);
}

static json_t *summary(const ExportCommand *e, const JobStart *job, const ExportResult *r) {
  static const char *const formats[] = {[EXPORT_SQL] = "sql", [EXPORT_DB] = "db", [EXPORT_TAR] = "tar"};
  char compression[16];
  json_t *doc = output_document("summary");
  json_object_set_new(doc, "job", json_string(job->id));
  output_json_set_name(doc, "source", bytes_str(e->picked.snapshot.source));
  json_object_set_new(doc, "snapshot", json_uuid(&e->picked.snapshot.id));
  json_object_set_new(doc, "result", json_string(r->left_out ? "partial" : "ok"));
  json_object_set_new(doc, "format", json_string(formats[e->request.format]));
  json_object_set_new(doc, "compression", json_string(compression_format(e->request.compression, compression)));
  json_set_path(doc, "target", e->target);
  json_object_set_new(doc, "entries", json_count(r->entries));
  json_object_set_new(doc, "files", json_count(r->files));
  json_object_set_new(doc, "bytes", json_count(r->bytes));
  json_object_set_new(doc, "written_bytes", json_count(r->written_bytes));
  json_object_set_new(doc, "left_out", json_count(r->left_out));
  return doc;
}

/* On standard error when standard output is taken. */
static void say_done(const ExportCommand *e, const ExportResult *r) {
  char content[16], written[16], id[SHORT_ID_LEN];
  AUTO_FREE char *shown = str_printable(bytes_str(e->target ? e->target : "standard output"));
  AUTO_FREE char *text = mem_printf("%s: %s of snapshot %s, %s written", shown, str_size(r->bytes, content),
                                    short_id(&e->picked.snapshot.id, id), str_size(r->written_bytes, written));
  if (e->target && output_verbosity(e->ctx->output) > VERBOSITY_QUIET)
    output_text(e->ctx->output, "%s\n", text);
  else
    output_note(e->ctx->output, VERBOSITY_NORMAL, "%s", text);
}

static Error *export_snapshot(ExportCommand *e) {
  JobStart job;
  ExportResult result;
  e->request.repo = e->picked.from->repo;
  e->request.snapshot = &e->picked.snapshot;
  e->request.target = e->target;
  e->request.fd = STDOUT_FILENO;
  workspace_job_begin(&e->w, "export", e->picked.snapshot.source, e->picked.from->place.name, &job);
  TRY(context_progress_start(e->ctx));
  Error *err = ops_export(&e->w.ops, &e->request, &result);
  context_progress_stop(e->ctx);
  json_t *doc = summary(e, &job, &result);
  AUTO_FREE char *line = json_text(doc);
  JobOutcome outcome = {.result = result.left_out ? JOB_PARTIAL : JOB_OK,
                        .repository_id = &e->request.repo->keys->repo,
                        .snapshot = &e->picked.snapshot.id,
                        .read_bytes = result.bytes,
                        .stored_bytes = result.written_bytes,
                        .files = result.entries,
                        .summary_json = err ? NULL : line};
  workspace_job_end(&e->w, &job, &outcome, err);
  if (!err && output_json_mode(e->ctx->output))
    output_json(e->ctx->output, json_incref(doc));
  else if (!err)
    say_done(e, &result);
  json_decref(doc);
  if (!err && result.left_out)
    err = err_new(ERR_PARTIAL, "%llu %s left out", (unsigned long long)result.left_out,
                  result.left_out == 1 ? "entry was" : "entries were");
  return err;
}

static Error *run(ExportCommand *e) {
  TRY(read_options(e));
  TRY(repositories_open(&e->w, NULL, REPOSITORIES_ANY, &e->repositories));
  if (e->target) TRY(repositories_spare(&e->repositories, e->target));
  TRY(pick_snapshot(&e->w, &e->repositories, args_operand(e->ctx->args, 0), &e->picked));
  return export_snapshot(e);
}

Error *cmd_export(CliContext *ctx, const Args *args UNUSED) {
  ExportCommand e = {.ctx = ctx};
  TRY(workspace_open(ctx, &e.w));
  Error *err = run(&e);
  picked_free(&e.picked);
  repositories_close(&e.repositories);
  workspace_close(&e.w);
  strlist_free(&e.request.only);
  free(e.target);
  return err;
}
