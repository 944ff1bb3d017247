/* repo_stats.h: what a repository holds and what it costs. */
#ifndef HF_OPS_REPO_STATS_H
#define HF_OPS_REPO_STATS_H

#include "ops/ops.h"
#include "repo/repo.h"

typedef struct ObjectCount {
  const char *kind;   /* "packs", "index", …; lives for ever */
  const char *prefix; /* of their keys */
  uint64_t objects, bytes;
} ObjectCount;

enum { OBJECT_KINDS = 10 };

typedef struct RepoStats {
  ObjectCount kinds[OBJECT_KINDS]; /* the last: everything else */
  uint64_t objects, bytes;
  uint64_t snapshots, series;
  uint64_t logical_bytes; /* what restoring every snapshot would write */
  uint64_t newest_bytes;  /* the same of each series' newest only */
  uint64_t new_bytes;     /* raw bytes of everything that was ever stored, by the snapshots' own count */
  uint64_t oldest_ns, newest_ns;
  uint64_t grown_week_bytes, grown_month_bytes; /* stored by snapshots of the last 7 and 30 days */
  uint64_t frames, segments, packs, packs_missing;
} RepoStats;

/* Snapshots that do not open are notices. */
Error *ops_repo_stats(const Ops *ops, Repo *repo, RepoStats *out) NODISCARD;

#endif
