/* verify_impl.h: what verify.c (objects and metadata) and verify_packs.c (levels 2 and 3) share. */
#ifndef HF_REPO_VERIFY_IMPL_H
#define HF_REPO_VERIFY_IMPL_H

#include "repo/verify.h"

typedef struct Verify {
  Repo *repo;
  const VerifyOptions *options;
  const VerifyHooks *hooks;
  VerifyStats *stats;
  Cancel *cancel;
  size_t bad_segments; /* reported already */
  Mutex lock;          /* hooks and stats */
} Verify;

/* Reports err (consumed) for object and goes on; a cancellation or a dead store is returned instead. */
Error *verify_report(Verify *v, const char *object, Error *take) NODISCARD;
Error *verify_packs(Verify *v, Index *index) NODISCARD;

#endif
