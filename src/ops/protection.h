/* protection.h: is a source protected? What the configuration asks of it, held against what the catalog knows.
 *
 * A backup is overdue when the last good one is older than allowed: the source's `rpo`, else the longest pause of its
 * schedules and a tenth of it (at least an hour), else 26 hours. Where the configuration names repositories for a
 * source, each of them is held to it; else the newest backup in any of them counts.
 */
#ifndef HF_OPS_PROTECTION_H
#define HF_OPS_PROTECTION_H

#include "catalog/catalog.h"
#include "ops/config.h"

typedef enum ProtectionState {
  PROTECTED,
  PROTECTION_FAILING, /* not overdue yet, but the last attempt went wrong */
  PROTECTION_OVERDUE,
  PROTECTION_NEVER, /* no good backup is known */
} ProtectionState;
const char *protection_state_name(ProtectionState state); /* "protected", "failing", "overdue", "never" */

typedef struct ProtectionRow { /* one source in one repository */
  const SourceStatus *status;  /* borrowed from the list; NULL: no backup was ever tried */
  const char *repository;      /* borrowed; NULL: any */
  ProtectionState state;
  bool required; /* counts for the source's state by itself */
} ProtectionRow;

typedef struct Protection {       /* one source */
  const char *source;             /* borrowed */
  const ConfigSource *configured; /* NULL: only seen in the catalog */
  uint64_t allowed_ns;
  ProtectionState state;
  char *why; /* a sentence; owned */
  ProtectionRow *rows;
  size_t rows_len;
} Protection;

typedef struct ProtectionList {
  Protection *items;
  size_t len;
} ProtectionList;

/* Configured sources first, in their order, then those the catalog knows. Pure; everything in it borrows from `config`
 * and `statuses`. */
void protection_judge(const Config *config, const SourceStatusList *statuses, uint64_t now_ns, ProtectionList *out);
void protection_list_free(ProtectionList *list);

#endif
