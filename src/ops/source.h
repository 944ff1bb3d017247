/* source.h: a snapshot as an engine's Source. */
#ifndef HF_OPS_SOURCE_H
#define HF_OPS_SOURCE_H

#include "ops/ops.h"
#include "repo/restore.h"
#include "repo/snapshot.h"

typedef struct OpsSource OpsSource;
/* Everything is borrowed. */
OpsSource *ops_source_new(const Ops *ops, Repo *repo, Index *index, const Snapshot *snapshot, Notices *notices);
void ops_source_free(OpsSource *take);
Source *ops_source_base(OpsSource *source);
const RestoreStats *ops_source_stats(const OpsSource *source); /* sums of all fetches */

#endif
