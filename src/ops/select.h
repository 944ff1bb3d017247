/* select.h: from what an operator types to snapshots: `SRC`, `SRC@WHEN`, a snapshot's id or its first digits. */
#ifndef HF_OPS_SELECT_H
#define HF_OPS_SELECT_H

#include "ops/ops.h"
#include "repo/snapshot.h"

/* Of the snapshot that is made of what a restore overwrites; its value is the restore's job. */
#define RECOVERY_POINT_LABEL "recovery-point"

/* The series a text names: its name, its address, or its name on this host. ERR_NOT_FOUND lists those that have
 * snapshots. *out is borrowed from the list, which is of this repository. */
Error *ops_find_series(const Ops *ops, Repo *repo, const SeriesList *list, const char *text,
                       const Series **out) NODISCARD;
/* Exactly one snapshot: the newest that fits; *out owned. Without a moment, or for "latest", recovery points and
 * snapshots marked damaged are passed over, with a notice, as long as there is another. ERR_NOT_FOUND says what is
 * there; ERR_USAGE for an ambiguous id. */
Error *ops_find_snapshot(const Ops *ops, Repo *repo, const char *text, Snapshot *out) NODISCARD;
/* Nothing of the whole name was found, and what stood behind the "@" (source_when_split; may be NULL) is no moment:
 * that is what the hint should say. Other errors are passed on. */
Error *ops_suspect_moment(Error *take, const char *suspect) NODISCARD;
/* All snapshots of a source (text NULL: of all), oldest first. Those that do not open are reported as notices. */
Error *ops_list_snapshots(const Ops *ops, Repo *repo, const char *text, SnapshotList *out) NODISCARD;

#endif
