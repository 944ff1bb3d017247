/* restore.h: bringing a snapshot back to a place, and proving the copy. */
#ifndef HF_OPS_RESTORE_H
#define HF_OPS_RESTORE_H

#include "ops/ops.h"
#include "repo/restore.h"
#include "repo/snapshot.h"

typedef struct RestoreRequest {
  Repo *repo;
  const Snapshot *snapshot;
  const char *target; /* absolute path */
  StrList only;       /* globs on tree paths; empty: everything */
  bool overwrite;     /* named by the operator */
  bool delta;         /* with overwrite: rewrite only what differs */
  bool owners;
  const char *restore_command; /* command sources: pipe into this instead of a file; may be NULL */
  bool check;
  CheckLevel level;
  const char *source_path; /* compare with the live source too: its path, "/" when it has several; may be NULL */
} RestoreRequest;

typedef struct RestoreResult {
  RestoreStats stats;
  uint64_t duration_ns;
  uint64_t partial, warnings;
  char **notices; /* owned */
  size_t notices_len;
  bool checked;
  CheckReport report; /* owned */
} RestoreResult;
void restore_result_free(RestoreResult *result);

/* ERR_NOT_EMPTY when the target holds something and overwrite is false; ERR_CHECK_FAILED when the copy does not pass,
 * with *out filled. */
Error *ops_restore(const Ops *ops, const RestoreRequest *request, RestoreResult *out) NODISCARD;

/* What ops_restore would do, without touching the target. */
typedef struct RestorePreview {
  RestoreEstimate estimate;
  bool target_exists;
  bool would_overwrite;
  uint64_t free_bytes; /* on the target's file system; 0: unknown */
} RestorePreview;
Error *ops_restore_plan(const Ops *ops, const RestoreRequest *request, RestorePreview *out) NODISCARD;

bool check_level_parse(const char *text, CheckLevel *out); /* "quick", "standard", "comprehensive" */
const char *check_level_name(CheckLevel level);

#endif
