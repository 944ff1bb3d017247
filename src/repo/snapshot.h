/* snapshot.h: the commit: the one object that makes a backup exist. It names the tree, the engine's facts and
 * everything an operator asks about a backup. */
#ifndef HF_REPO_SNAPSHOT_H
#define HF_REPO_SNAPSHOT_H

#include "repo/series.h"
#include "repo/session.h"
#include "repo/tree.h"

typedef enum SnapshotKind { SNAPSHOT_FULL, SNAPSHOT_INCREMENTAL, SNAPSHOT_DIFFERENTIAL } SnapshotKind;
const char *snapshot_kind_name(SnapshotKind kind); /* "full", … */

typedef struct SnapshotStats {
  uint64_t files, entries;
  uint64_t source_bytes; /* sum of file sizes */
  uint64_t read_bytes;   /* read from the source */
  uint64_t new_bytes;    /* raw bytes of frames not known before */
  uint64_t stored_bytes; /* what the repository grew by: packs, segments, the snapshot itself not counted */
  uint64_t duration_ns;
} SnapshotStats;

typedef struct Label {
  char *key, *value;
} Label;

typedef struct Snapshot { /* all text owned; the strings of an absent field are NULL */
  Uuid id;
  Uuid series;
  char *source; /* the series' name then */
  char *engine, *host, *address;
  SnapshotKind kind;
  uint64_t time_ns; /* UTC: when the backup began */
  uint64_t end_ns;
  int32_t zone_minutes;
  TreeRoot root;
  char *facts_json;
  char *log_position;
  char *description;
  Label *labels;
  size_t labels_len;
  bool damaged; /* kept by force: the source was corrupt */
  bool partial; /* something was left out; see notices */
  char **notices;
  size_t notices_len;
  bool has_parent;
  Uuid parent;
  char *tool_version;
  SnapshotStats stats;
  char *key; /* its key in the store; set on reading */
} Snapshot;

typedef struct SnapshotList {
  Snapshot *items;
  size_t len, cap;
} SnapshotList;

void snapshot_free(Snapshot *snapshot);
void snapshot_list_free(SnapshotList *list);

/* Writes the commit. A fence in its place is ERR_REFUSED; its own object there already (an answer was lost) is success.
 */
Error *snapshot_commit(Repo *repo, const Session *session, const Snapshot *snapshot, Cancel *cancel) NODISCARD;
/* Oldest first. series NULL: all. Snapshots that do not open are given to `broken` (key, error borrowed) if it is not
 * NULL, else fail. */
typedef void SnapshotBroken(void *ctx, const char *key, const Error *err);
Error *snapshot_list(Repo *repo, const Uuid *series, SnapshotList *out, SnapshotBroken *broken, void *ctx,
                     Cancel *cancel) NODISCARD;
/* Pure. */
void snapshot_encode(const Snapshot *snapshot, Buf *out);
Error *snapshot_decode(Bytes body, Snapshot *out) NODISCARD;

#endif
