/* verify.h: proving that a repository is what it should be, without restoring it.
 *
 *   level 0  every object that must be there is there with its size; every small object opens
 *   level 1  and the metadata of every snapshot reads from root to leaf, and every frame it names is in the index
 *   level 2  and every pack's stripes have their checksums (no key would be needed)
 *   level 3  and every frame decrypts, decompresses and matches its id
 *
 * Levels 2 and 3 read packs, those verified longest ago first, on all cores, before they walk the snapshots, so that
 * the files that need a damaged frame are named. What is wrong is reported and does not stop the rest. A damaged pack
 * is noted in the repository (damage.h) so that the next backup stores again what it held; once all of that stands
 * elsewhere, the pack is no damage any more but `replaced`. A pack that is whole again loses its note.
 */
#ifndef HF_REPO_VERIFY_H
#define HF_REPO_VERIFY_H

#include "base/progress.h"
#include "repo/index.h"
#include "repo/snapshot.h"

typedef struct VerifyHooks {
  /* An object is damaged or missing. `object` is its key in the store; err borrowed. Called from any thread, one at a
   * time. */
  void (*damaged)(void *ctx, const char *object, const Error *err);
  /* A pack was read whole at this level and is good. One at a time. May be NULL. */
  void (*pack_verified)(void *ctx, const Uuid *pack, uint64_t size, unsigned level);
  /* UTC ns of the pack's last good verification at this level or above; 0: never. May be NULL. */
  uint64_t (*last_verified)(void *ctx, const Uuid *pack, unsigned level);
  void *ctx;
} VerifyHooks;

typedef struct VerifyOptions {
  unsigned level;
  unsigned workers;       /* 0: one a processor */
  uint64_t max_bytes;     /* levels 2 and 3: stop after so many bytes; 0: everything */
  uint64_t older_than_ns; /* only packs whose last verification is before this moment; 0: all */
  const Uuid *snapshot;   /* level 1: only this snapshot; NULL: all */
  Progress *progress;
} VerifyOptions;

typedef struct VerifyStats {
  uint64_t objects, snapshots, packs, frames, bytes;
  uint64_t packs_skipped; /* by max_bytes or older_than_ns */
  uint64_t damaged;
  uint64_t replaced; /* damaged packs that nothing needs: all they hold stands in others */
  uint64_t unnoted;  /* damaged packs that could not be noted: backups go on to count on them */
  uint64_t mended;   /* packs that were noted and are whole again */
} VerifyStats;

/* NULL when the verification ran to its end, whatever it found: look at stats->damaged. */
Error *repo_verify(Repo *repo, const VerifyOptions *options, const VerifyHooks *hooks, VerifyStats *stats,
                   Cancel *cancel) NODISCARD;

#endif
