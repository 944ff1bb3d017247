/* export.h: a snapshot in a format that needs no holdfast: SQL text, database files, a tar archive.
 *
 * SQL and database files are of sqlite snapshots; a tar holds any snapshot's tree. Several databases become a folder
 * with a file each; on standard output there is room for one.
 */
#ifndef HF_OPS_EXPORT_H
#define HF_OPS_EXPORT_H

#include "codec/compress.h"
#include "ops/ops.h"
#include "repo/snapshot.h"

typedef enum ExportFormat { EXPORT_SQL, EXPORT_DB, EXPORT_TAR } ExportFormat;

typedef struct ExportRequest {
  Repo *repo;
  const Snapshot *snapshot;
  ExportFormat format;
  Compression compression;
  StrList only;       /* globs on tree paths; what is below a match counts too; empty: everything */
  const char *target; /* absolute; NULL: `fd` */
  int fd;
} ExportRequest;

typedef struct ExportResult {
  uint64_t entries;       /* exported */
  uint64_t bytes;         /* their content */
  uint64_t written_bytes; /* what was written, compressed */
  uint64_t files;         /* written */
  uint64_t left_out;      /* entries that the format cannot hold; each was a notice */
} ExportResult;

/* ERR_NOT_EMPTY when the target exists, ERR_USAGE when the snapshot has nothing of that format, ERR_NOT_FOUND when
 * nothing is selected. Nothing is left when it fails (of several databases, those before the one that failed are). */
Error *ops_export(const Ops *ops, const ExportRequest *request, ExportResult *out) NODISCARD;

#endif
