/* plan.h: a collector's plans: packs it has condemned. Writers never reference what a visible plan condemns. Making
 * plans and sweeping come with collection; reading them is every writer's duty from the start. */
#ifndef HF_REPO_PLAN_H
#define HF_REPO_PLAN_H

#include "repo/repo.h"

typedef struct Plans {
  Uuid *packs; /* sorted */
  size_t len;
} Plans;

/* Lists and reads plans/. ERR_CORRUPT for a plan that does not open: what it condemns is unknown, so nobody may go on.
 */
Error *plans_load(Repo *repo, Plans *out, Cancel *cancel) NODISCARD;
void plans_free(Plans *plans);
bool plans_condemn(const Plans *plans, const Uuid *pack);

/* Body: u32 count, then the packs' uuids in ascending order. */
void plan_encode(const Uuid *packs, size_t len, Buf *out);
Error *plan_decode(Bytes in, Plans *io) NODISCARD; /* adds to io, unsorted */

#endif
