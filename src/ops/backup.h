/* backup.h: one backup of one source into one or several repositories. */
#ifndef HF_OPS_BACKUP_H
#define HF_OPS_BACKUP_H

#include "ops/ops.h"
#include "repo/writer.h"

typedef struct BackupRequest {
  const SourceSpec *spec;
  const char *name;    /* the series' name */
  const char *address; /* "sqlite:/srv/app.db", for people */
  BackupMode mode;
  Compression compression;
  bool force;              /* keep what can be had of a damaged source */
  bool any_identity;       /* what stands at the source's place now is wanted, whatever it is */
  const char *description; /* may be NULL */
  const Label *labels;
  size_t labels_len;
  const char *tool_version;
  Repo *const *repos;
  size_t repos_len;
} BackupRequest;

typedef struct BackupTarget {
  Snapshot snapshot; /* valid when err is NULL */
  Error *err;        /* this repository's failure while others succeeded; owned */
} BackupTarget;

typedef struct BackupResult {
  BackupTarget *targets; /* one a repository, in the request's order; owned */
  size_t len;
  char **notices; /* warnings and worse; owned */
  size_t notices_len;
  uint64_t partial, warnings;
} BackupResult;
void backup_result_free(BackupResult *result);

/* NULL when every repository has its snapshot (result->partial may be above 0: exit 3). When some have not, the first
 * failure is returned and *out is filled all the same; when none has, *out is empty. ERR_REFUSED: the source is another
 * than before. */
Error *ops_backup(const Ops *ops, const BackupRequest *request, BackupResult *out) NODISCARD;

/* What ops_backup would do, without doing it. */
typedef struct BackupPreviewTarget {
  SnapshotKind kind;
  bool has_parent;
  Uuid parent;
  uint64_t parent_time_ns;
} BackupPreviewTarget;
typedef struct BackupPreview {
  ServerInfo info;              /* owned */
  BackupPreviewTarget *targets; /* one a repository; owned */
} BackupPreview;
void backup_preview_free(BackupPreview *preview);
Error *ops_backup_plan(const Ops *ops, const BackupRequest *request, BackupPreview *out) NODISCARD;

/* Accepts that the source of this name now has another identity or lives on this host. ERR_NOT_FOUND without such a
 * series. */
Error *ops_source_adopt(const Ops *ops, Repo *repo, const SourceSpec *spec, const char *name) NODISCARD;

#endif
