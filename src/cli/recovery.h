/* recovery.h: the way back from a restore: before a live source that the repository knows is overwritten, its state of
 * now becomes a snapshot among its others, the recovery point. */
#ifndef HF_CLI_RECOVERY_H
#define HF_CLI_RECOVERY_H

#include "cli/repositories.h"
#include "cli/sources.h"
#include "repo/snapshot.h"

typedef struct Recovery {
  bool known;       /* what stands at the target is a source of the repository */
  bool needed;      /* and there is something that would be overwritten */
  CliSource source; /* then: which */
  bool made;
  Snapshot snapshot; /* then: the recovery point */
} Recovery;
void recovery_free(Recovery *recovery);

/* Whether there is anything at a path that could be lost: an empty directory is nothing. */
bool recovery_holds_something(const char *path);
/* Whose place `target` (absolute) is: the source of that name first, then any other of this host. */
Error *recovery_find(Workspace *w, Repo *repo, const char *name, const char *target, Recovery *out) NODISCARD;
/* Backs the source up into the repository, labelled with the restore's job. Says so at once, with the command line that
 * goes back: whatever happens to the restore, the operator has it. The error says that nothing was overwritten. */
Error *recovery_make(Workspace *w, const OpenRepository *into, const JobStart *restore, const Snapshot *restored,
                     const char *target, Recovery *io) NODISCARD;

#endif
