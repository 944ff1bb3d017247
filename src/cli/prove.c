#include "cli/prove.h"

#include <stdio.h>

#include "base/mem.h"
#include "cli/args.h"
#include "sys/fs.h"

void proof_free(Proof *proof) {
  check_report_free(&proof->report);
  *proof = (Proof){0};
}

bool prove_level(CliContext *ctx, ConfigCheck configured, CheckLevel *out) {
  if (args_given(ctx->args, OPT_VERIFY_AFTER)) {
    const char *said = args_text(ctx->args, OPT_VERIFY_AFTER);
    *out = CHECK_STANDARD;
    return !said || check_level_parse(said, out); /* "none" is no level */
  }
  switch (configured) {
    case CONFIG_CHECK_QUICK: *out = CHECK_QUICK; return true;
    case CONFIG_CHECK_STANDARD: *out = CHECK_STANDARD; return true;
    case CONFIG_CHECK_COMPREHENSIVE: *out = CHECK_COMPREHENSIVE; return true;
    case CONFIG_CHECK_UNSET:
    case CONFIG_CHECK_NONE: break;
  }
  return false;
}

void prove_record(Workspace *w, const Repo *repo, const Snapshot *snapshot, CheckLevel level,
                  const CheckReport *report) {
  SnapshotCheck check = {
      .passed = check_report_passed(report), .total = report->len, .time_ns = sys_now_ns(w->ctx->sys)};
  snprintf(check.level, sizeof check.level, "%s", check_level_name(level));
  workspace_catalog_result(w, catalog_snapshot_checked(w->catalog, &repo->keys->repo, &snapshot->id, &check));
}

void prove_say_failed(CliContext *ctx, const CheckReport *report) {
  enum { SHOWN = 20 };
  size_t shown = 0;
  for (size_t i = 0; i < report->len; i++) {
    const CheckItem *item = &report->items[i];
    if (item->passed || shown++ >= SHOWN) continue;
    output_warning(ctx->output, "check failed: %s: expected %s, found %s", item->name,
                   item->expected ? item->expected : "nothing", item->found ? item->found : "nothing");
  }
}

static Error *check_room(const char *path, uint64_t need) {
  uint64_t room = 0;
  TRY(fs_free_space(path, &room));
  if (room >= need) return NULL;
  char a[16], b[16];
  return err_hint(
      err_new(ERR_NO_SPACE, "%s: %s are free, the copy takes %s", path, str_size(room, a), str_size(need, b)),
      "name a roomier place with --state-dir, or check the repository with `holdfast verify --level 3`");
}

static Error *restore_copy(Workspace *w, Repo *repo, const Snapshot *snapshot, const char *dir, Proof *out) {
  TRY(check_room(w->scratch, snapshot->root.bytes));
  TRY(fs_make_dirs(dir, 0700));
  AUTO_FREE char *target = fs_join(dir, "copy");
  RestoreRequest request = {.repo = repo, .snapshot = snapshot, .target = target, .check = true, .level = out->level};
  RestoreResult result = {0};
  progress_phase(&w->ctx->progress, "restoring a copy", true);
  Error *err = ops_restore(&w->ops, &request, &result);
  out->report = result.report;
  result.report = (CheckReport){0};
  if (result.checked) prove_record(w, repo, snapshot, out->level, &out->report);
  restore_result_free(&result);
  return err;
}

Error *prove_snapshot(Workspace *w, Repo *repo, const Snapshot *snapshot, CheckLevel level, Proof *out) {
  *out = (Proof){.level = level};
  uint64_t random;
  sys_random(w->ctx->sys, &random, sizeof random);
  AUTO_FREE char *dir = mem_printf("%s/proof-%016llx", w->scratch, (unsigned long long)random);
  Error *err = restore_copy(w, repo, snapshot, dir, out);
  Error *removed = fs_remove_tree(dir);
  if (err_is(err, ERR_CHECK_FAILED)) prove_say_failed(w->ctx, &out->report);
  return err_wrap(err_first(err, removed), "proving the snapshot");
}
