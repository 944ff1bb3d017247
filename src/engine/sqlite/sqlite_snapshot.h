/* sqlite_snapshot.h: one committed state of a database, as bytes to be read at any offset, while its application goes
 * on. Nothing is ever written to the user's files.
 *
 * How the state is held still depends on what the database is at the time:
 *
 *   live      WAL mode in use: a read transaction. Writers and checkpoints go on; the WAL cannot be reset meanwhile.
 *   quiet     WAL mode, but no -wal or no -shm beside it, so nobody uses it: the shared lock on the main file, and our
 *             own reading of the -wal. Needs no right to write anywhere. Somebody who begins meanwhile has to create
 *             those files first and cannot remove them while we hold the lock, so a look at the end proves that none
 * did. journal   rollback-journal modes: the shared lock for each read only, so that a writer waits for one buffer and
 * no longer; every read compares what changes with each commit, and a commit in between ends the attempt. held      the
 * same with the lock kept from beginning to end: writers wait at commit until it is closed. copy      a private copy in
 * the scratch directory, made under the shared lock at the speed of the disk.
 *
 * `journal` and `quiet` can turn out to have changed under us: read and verify then fail with ERR_TEMPORARY and
 * snapshot_changed says so; the caller begins again with `settle`, which picks a way that cannot.
 */
#ifndef HF_ENGINE_SQLITE_SNAPSHOT_H
#define HF_ENGINE_SQLITE_SNAPSHOT_H

#include <sys/stat.h>

#include "engine/sqlite/sqlite_format.h"
#include "sys/cancel.h"

typedef struct Snapshot Snapshot;

typedef enum SnapshotMethod {
  SNAPSHOT_EMPTY, /* no bytes: a database nobody wrote to yet */
  SNAPSHOT_LIVE,
  SNAPSHOT_QUIET,
  SNAPSHOT_JOURNAL,
  SNAPSHOT_HELD,
  SNAPSHOT_COPY,
} SnapshotMethod;

typedef struct SnapshotOptions {
  Sys *sys;
  const char *scratch_dir; /* NULL: no copies can be made */
  uint64_t lock_wait_ms;
  bool recover_copy; /* a hot journal: roll it back on a copy */
  bool settle;       /* an attempt was spoiled by a writer: pick a way that cannot be */
  bool raw;          /* accept a header that cannot be: the bytes are wanted as they are */
} SnapshotOptions;

typedef struct SnapshotInfo {
  SnapshotMethod method;
  bool header_valid; /* false: raw; then size is the file's */
  DbHeader header;   /* of page 1 in this state */
  char journal_mode[12];
  uint64_t page_count;
  uint64_t size;       /* bytes of the state: page count times page size */
  uint64_t file_size;  /* of the main file, when it was opened */
  uint32_t wal_frames; /* of the -wal that belong to the state */
  bool overlaid;       /* the state is not the main file's bytes alone */
  bool truncated;      /* raw: the main file is shorter than the state; the rest reads as zeros */
  bool recovered;      /* a hot journal was rolled back on the copy */
  struct stat st;      /* of the main file, from before reading */
} SnapshotInfo;

/* ERR_NOT_FOUND, ERR_DENIED; ERR_UNREACHABLE: locked for longer than lock_wait_ms; ERR_REFUSED: a hot journal;
 * ERR_DAMAGED: the header cannot be; ERR_UNSUPPORTED: newer. */
Error *snapshot_open(const char *path, const SnapshotOptions *options, Snapshot **out, Cancel *cancel) NODISCARD;
const SnapshotInfo *snapshot_info(const Snapshot *snapshot);
/* Exactly len bytes of the state; offset + len is at most its size. From one thread at a time. */
Error *snapshot_read(Snapshot *snapshot, uint64_t offset, uint8_t *out, size_t len, Cancel *cancel) NODISCARD;
/* After the last read: everything that was read belongs to one state. */
Error *snapshot_verify(Snapshot *snapshot, Cancel *cancel) NODISCARD;
bool snapshot_changed(const Snapshot *snapshot);
/* "read transaction", "private copy", … */
const char *snapshot_method_name(SnapshotMethod method);
void snapshot_close(Snapshot *take);

#endif
