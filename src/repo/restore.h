/* restore.h: bringing a snapshot's content back: plan first, then read each pack in order, once, on all cores.
 *
 * The tree is walked in batches of bounded memory (files and frames). For each batch the frames are sorted by pack and
 * offset, neighbours are joined into ranges of up to 8 MiB (gaps up to 1 MiB are read over), and worker threads fetch a
 * range, open, decompress and verify its frames and write them wherever they belong. A damaged frame costs the files
 * that need it and nothing else: they are named, the rest is restored, and the call ends with ERR_CORRUPT.
 */
#ifndef HF_REPO_RESTORE_H
#define HF_REPO_RESTORE_H

#include "base/progress.h"
#include "repo/index.h"
#include "repo/tree.h"

/* Where content goes. select, create and finish are called from the calling thread; write, zero and read from workers.
 */
typedef struct RestoreOps {
  bool (*select)(void *ctx, const Entry *entry);
  Error *(*create)(void *ctx, const Entry *entry, void **out_file); /* entry lives until finish returned */
  Error *(*write)(void *ctx, void *file, uint64_t offset, Bytes data);
  Error *(*zero)(void *ctx, void *file, uint64_t offset, uint64_t len);
  Error *(*read)(void *ctx, void *file, uint64_t offset, uint8_t *out, size_t len, size_t *out_len); /* or NULL */
  Error *(*finish)(void *ctx, void *file, const Error *failed);
} RestoreOps;

typedef struct RestoreOptions {
  unsigned workers;        /* 0: one a processor */
  Progress *progress;      /* may be NULL */
  uint32_t max_open_files; /* created and not finished at the same time; 0: RESTORE_OPEN_FILES */
} RestoreOptions;
enum { RESTORE_OPEN_FILES = 256, RESTORE_WORKER_MEMORY = 12 * 1024 * 1024 };

typedef struct RestoreStats {
  uint64_t files, bytes;
  uint64_t fetched_bytes; /* read from the store */
  uint64_t kept_bytes;    /* already right at the target */
  uint64_t damaged_files;
} RestoreStats;

Error *restore_fetch(Repo *repo, Index *index, const TreeRoot *root, const RestoreOps *ops, void *ctx,
                     const RestoreOptions *options, RestoreStats *stats, Cancel *cancel) NODISCARD;

/* One file's content in order, for pipes. ERR_NOT_FOUND when the tree has no such file. */
Error *restore_stream(Repo *repo, Index *index, const TreeRoot *root, Bytes path,
                      Error *(*write)(void *ctx, Bytes part), void *ctx, Progress *progress, Cancel *cancel) NODISCARD;

/* What a restore would read: for `--plan`. select as above. */
typedef struct RestoreEstimate {
  uint64_t files, bytes;
  uint64_t packs, fetch_bytes, requests;
  uint64_t missing_frames;
} RestoreEstimate;
Error *restore_estimate(Repo *repo, Index *index, const TreeRoot *root, bool (*select)(void *ctx, const Entry *entry),
                        void *ctx, RestoreEstimate *out, Cancel *cancel) NODISCARD;

#endif
