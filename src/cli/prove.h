/* prove.h: a snapshot restored into the scratch directory, checked, and removed again: the proof behind
 * `backup --verify`. */
#ifndef HF_CLI_PROVE_H
#define HF_CLI_PROVE_H

#include "cli/workspace.h"
#include "ops/restore.h"

typedef struct Proof {
  CheckLevel level;
  CheckReport report; /* owned */
} Proof;
void proof_free(Proof *proof);

/* --verify, --verify=LEVEL, --verify=none, else what is configured. False: no check. */
bool prove_level(CliContext *ctx, ConfigCheck configured, CheckLevel *out);
/* ERR_CHECK_FAILED with *out filled; ERR_NO_SPACE when the copy does not fit. The result is recorded. */
Error *prove_snapshot(Workspace *w, Repo *repo, const Snapshot *snapshot, CheckLevel level, Proof *out) NODISCARD;
/* A check's result into the ledger. */
void prove_record(Workspace *w, const Repo *repo, const Snapshot *snapshot, CheckLevel level,
                  const CheckReport *report);
/* The checks that failed, on standard error. */
void prove_say_failed(CliContext *ctx, const CheckReport *report);

#endif
