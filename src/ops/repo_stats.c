#include "ops/repo_stats.h"

#include "base/timefmt.h"
#include "ops/select.h"
#include "repo/index.h"
#include "repo/marker.h"

static const uint64_t DAY_NS = 86400 * NS_PER_SECOND;

static const ObjectCount KINDS[OBJECT_KINDS] = {
    {.kind = "packs", .prefix = "packs/"},         {.kind = "index segments", .prefix = "index/"},
    {.kind = "snapshots", .prefix = "snapshots/"}, {.kind = "series", .prefix = "series/"},
    {.kind = "sessions", .prefix = "sessions/"},   {.kind = "key slots", .prefix = "keys/"},
    {.kind = "keyring", .prefix = "keyring/"},     {.kind = "notes of damage", .prefix = "damaged/"},
    {.kind = "marker", .prefix = MARKER_KEY},      {.kind = "other", .prefix = ""},
};

static Error *count_object(void *ctx, const char *key, const StoreStat *stat) {
  RepoStats *stats = (RepoStats *)ctx;
  size_t kind = 0;
  while (!str_starts(key, stats->kinds[kind].prefix)) kind++; /* the last is everything's */
  stats->kinds[kind].objects++;
  stats->kinds[kind].bytes += stat->size_bytes;
  stats->objects++;
  stats->bytes += stat->size_bytes;
  return NULL;
}

static bool is_newest_of_series(const SnapshotList *list, size_t at) {
  for (size_t i = at + 1; i < list->len; i++)
    if (uuid_equal(&list->items[i].series, &list->items[at].series)) return false;
  return true;
}

static void count_snapshot(const SnapshotList *list, size_t at, uint64_t now_ns, RepoStats *out) {
  const Snapshot *s = &list->items[at];
  uint64_t age = now_ns > s->time_ns ? now_ns - s->time_ns : 0;
  out->logical_bytes += s->root.bytes;
  out->new_bytes += s->stats.new_bytes;
  if (age <= 7 * DAY_NS) out->grown_week_bytes += s->stats.stored_bytes;
  if (age <= 30 * DAY_NS) out->grown_month_bytes += s->stats.stored_bytes;
  if (!is_newest_of_series(list, at)) return;
  out->series++;
  out->newest_bytes += s->root.bytes;
}

static Error *count_snapshots(const Ops *ops, Repo *repo, RepoStats *out) {
  SnapshotList list = {0};
  TRY(ops_list_snapshots(ops, repo, NULL, &list));
  uint64_t now = sys_now_ns(ops->sys);
  out->snapshots = list.len;
  for (size_t i = 0; i < list.len; i++) count_snapshot(&list, i, now, out);
  if (list.len) {
    out->oldest_ns = list.items[0].time_ns;
    out->newest_ns = list.items[list.len - 1].time_ns;
  }
  snapshot_list_free(&list);
  return NULL;
}

static Error *count_pack(void *ctx, const IndexPack *pack UNUSED) {
  ++*(uint64_t *)ctx;
  return NULL;
}

static Error *count_index(const Ops *ops, Repo *repo, RepoStats *out) {
  Index *index;
  TRY(index_open_reading(repo, &index, ops->cancel));
  out->frames = index_frames(index);
  out->segments = index_segments(index);
  out->packs_missing = index_lost_packs(index);
  Error *err = index_visit_packs(index, count_pack, &out->packs);
  index_free(index);
  return err;
}

Error *ops_repo_stats(const Ops *ops, Repo *repo, RepoStats *out) {
  RepoStats stats = {0};
  memcpy(stats.kinds, KINDS, sizeof KINDS);
  TRY(store_list(repo->store, "", count_object, &stats, ops->cancel));
  TRY(count_snapshots(ops, repo, &stats));
  TRY(count_index(ops, repo, &stats));
  *out = stats;
  return NULL;
}
