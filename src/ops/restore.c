#include "ops/restore.h"

#include "base/mem.h"
#include "ops/only.h"
#include "ops/source.h"
#include "sys/fs.h"

static const char *const level_names[] = {
    [CHECK_QUICK] = "quick", [CHECK_STANDARD] = "standard", [CHECK_COMPREHENSIVE] = "comprehensive"};

const char *check_level_name(CheckLevel level) { return level_names[level]; }

bool check_level_parse(const char *text, CheckLevel *out) {
  for (size_t i = 0; i < NELEMS(level_names); i++) {
    if (strcmp(text, level_names[i]) != 0) continue;
    *out = (CheckLevel)i;
    return true;
  }
  return false;
}

void restore_result_free(RestoreResult *result) {
  for (size_t i = 0; i < result->notices_len; i++) free(result->notices[i]);
  free(result->notices);
  check_report_free(&result->report);
  *result = (RestoreResult){0};
}

static Error *open_engine(const Ops *ops, const Snapshot *snapshot, const char *restore_command, Engine **out) {
  SourceSpec spec = {.type = snapshot->engine, .restore_command = restore_command, .scratch_dir = ops->scratch_dir};
  return engine_open(ops->sys, &spec, out);
}

/* Against the snapshot's record, and the live source. */
static Error *check_copy(const Ops *ops, const RestoreRequest *request, CheckReport *out) {
  Engine *engine;
  TRY(open_engine(ops, request->snapshot, NULL, &engine));
  DrillTarget target = {.path = request->target,
                        .facts_json = request->snapshot->facts_json,
                        .source_path = request->source_path,
                        .only = &request->only,
                        .amid = request->overwrite,
                        .scratch_dir = ops->scratch_dir};
  progress_phase(ops->progress, "checking the copy", false);
  Error *err = engine->ops->check(engine, &target, request->level, out, ops->cancel);
  engine_free(engine);
  return err;
}

static bool select_only(void *ctx, const Entry *entry) {
  return only_selects((const StrList *)ctx, entry->path, entry->type);
}

Error *ops_restore_plan(const Ops *ops, const RestoreRequest *request, RestorePreview *out) {
  Index *index;
  TRY(index_open_reading(request->repo, &index, ops->cancel));
  *out = (RestorePreview){.target_exists = fs_exists(request->target)};
  out->would_overwrite = out->target_exists && request->overwrite;
  StrList only = request->only;
  Error *err =
      restore_estimate(request->repo, index, &request->snapshot->root, select_only, &only, &out->estimate, ops->cancel);
  index_free(index);
  AUTO_FREE char *parent = mem_strdup(request->target);
  while (!fs_exists(parent) && strrchr(parent, '/') > parent) *strrchr(parent, '/') = 0;
  err_ignore(fs_free_space(fs_exists(parent) ? parent : "/", &out->free_bytes));
  return err;
}

static Error *run(const Ops *ops, const RestoreRequest *request, NoticeList *notices, RestoreResult *out) {
  Index *index;
  progress_phase(ops->progress, "reading the index", false);
  TRY(index_open_reading(request->repo, &index, ops->cancel));
  size_t broken = index_broken_segments(index);
  if (broken) {
    AUTO_FREE char *text = mem_printf(
        "%zu index segment%s of the repository damaged; what %s said is taken from "
        "the packs themselves: run `holdfast verify`",
        broken, broken == 1 ? " is" : "s are", broken == 1 ? "it" : "they");
    ops->notice(ops->notice_ctx, NOTICE_WARNING, bytes(NULL, 0), text);
  }
  Engine *engine;
  Error *err = open_engine(ops, request->snapshot, request->restore_command, &engine);
  if (!err) {
    OpsSource *source = ops_source_new(ops, request->repo, index, request->snapshot, &notices->base);
    RestorePlan plan = {.target = request->target,
                        .only = request->only,
                        .overwrite = request->overwrite,
                        .delta = request->delta,
                        .owners = request->owners,
                        .scratch_dir = ops->scratch_dir};
    progress_phase(ops->progress, "restoring", false);
    if (ops->progress) progress_add(&ops->progress->total_bytes, request->snapshot->root.bytes);
    err = engine->ops->restore(engine, &plan, ops_source_base(source), ops->cancel);
    if (err_is(err, ERR_NO_SPACE)) err = err_hint(err, "make room, or restore to a roomier place: --to");
    out->stats = *ops_source_stats(source);
    out->stats.files += ops_source_base(source)->empty_files;
    ops_source_free(source);
    engine_free(engine);
  }
  index_free(index);
  return err;
}

static Error *check(const Ops *ops, const RestoreRequest *request, RestoreResult *out) {
  TRY(err_wrap(check_copy(ops, request, &out->report), "checking the restored copy"));
  out->checked = true;
  size_t passed = check_report_passed(&out->report);
  if (passed == out->report.len) return NULL;
  for (size_t i = 0; i < out->report.len; i++) {
    const CheckItem *item = &out->report.items[i];
    if (!item->passed)
      return err_new(ERR_CHECK_FAILED,
                     "the restored copy at %s passed %zu of %zu checks; the first that failed: %s (%s, found %s)",
                     request->target, passed, out->report.len, item->name, item->expected ? item->expected : "-",
                     item->found ? item->found : "-");
  }
  return NULL;
}

Error *ops_restore(const Ops *ops, const RestoreRequest *request, RestoreResult *out) {
  NoticeList notices;
  notice_list_init(&notices, ops);
  RestoreResult result = {0};
  uint64_t start = sys_mono_ns(ops->sys);
  Error *err = run(ops, request, &notices, &result);
  result.duration_ns = sys_mono_ns(ops->sys) - start;
  if (!err && request->check && !request->restore_command) err = check(ops, request, &result);
  result.notices = STEAL(notices.texts);
  result.notices_len = notices.len;
  notices.len = 0;
  result.partial = notices.partial;
  result.warnings = notices.warnings;
  notice_list_free(&notices);
  *out = result;
  return err;
}
