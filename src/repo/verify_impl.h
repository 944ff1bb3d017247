/* verify_impl.h: what verify.c (objects and metadata) and verify_packs.c (levels 2 and 3) share. */
#ifndef HF_REPO_VERIFY_IMPL_H
#define HF_REPO_VERIFY_IMPL_H

#include "base/map.h"
#include "repo/damage.h"
#include "repo/verify.h"

typedef struct BadKey {
  Uuid id;
  char *name; /* owned, as is err */
  Error *err;
} BadKey;

typedef struct Verify {
  Repo *repo;
  const VerifyOptions *options;
  const VerifyHooks *hooks;
  VerifyStats *stats;
  Cancel *cancel;
  size_t bad_segments; /* reported already */
  BadKey *bad_keys;    /* data keys that do not open; judged when it is known what needs them */
  size_t bad_keys_len, bad_keys_cap;
  Mutex lock;      /* hooks, stats and what is below */
  size_t unnoted;  /* packs whose exact note could not be written */
  Map *bad_frames; /* frames that are damaged where they were read: id -> name of the pack, in bad_packs */
  StrList bad_packs;
} Verify;

enum { BAD_FRAMES_MAX = 1 << 18 }; /* the files that need more than these are not named */

/* Reports err (consumed) for object and goes on; a cancellation or a dead store is returned instead. */
Error *verify_report(Verify *v, const char *object, Error *take) NODISCARD;
/* Levels 2 and 3. What is damaged is doubted in the index and remembered in bad_frames. */
Error *verify_packs(Verify *v, Index *index) NODISCARD;
/* Reports a pack that was found damaged before, unless it is replaced. */
Error *verify_noted(Verify *v, Index *index, const Uuid *pack) NODISCARD;
/* All these frames have copies in packs that are not known to be damaged. */
bool verify_frames_elsewhere(Index *index, const DamagedFrame *frames, size_t len);
/* Every frame of this pack has a copy in another: nothing is lost with it. */
Error *verify_is_replaced(Index *index, const Uuid *pack, bool *out) NODISCARD;

#endif
