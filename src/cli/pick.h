/* pick.h: what an operator picks: one snapshot out of the open repositories, paths in it. */
#ifndef HF_CLI_PICK_H
#define HF_CLI_PICK_H

#include "cli/repositories.h"
#include "repo/snapshot.h"

typedef struct Picked {
  const OpenRepository *from; /* borrowed */
  Snapshot snapshot;
} Picked;
void picked_free(Picked *picked);

/* An id, SRC or SRC@WHEN, as typed. The newest that fits, wherever it is; of the same one the repository named first.
 */
Error *pick_snapshot(Workspace *w, const Repositories *repositories, const char *text, Picked *out) NODISCARD;
/* Both in one repository: what can be compared. */
Error *pick_two(Workspace *w, const Repositories *repositories, const char *text_a, const char *text_b, Picked *out_a,
                Picked *out_b) NODISCARD;

/* --only a,b --only 'c\,d': the parts, three patterns. */
void pick_only(const Args *args, StrList *out);

#endif
