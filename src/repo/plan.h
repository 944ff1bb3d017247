/* plan.h: a collector's plans: packs it has condemned. Writers never reference what a visible plan condemns. Making
 * plans and sweeping come with collection; reading them is every writer's duty from the start. */
#ifndef HF_REPO_PLAN_H
#define HF_REPO_PLAN_H

#include "repo/repo.h"
#include "repo/uuid_set.h"

/* Lists and reads plans/: the packs that any of them condemns, sorted; owned. ERR_CORRUPT for a plan that does not
 * open: what it condemns is unknown, so nobody may go on. */
Error *plans_load(Repo *repo, UuidSet *out, Cancel *cancel) NODISCARD;

/* Body: u32 count, then the packs' uuids in ascending order. */
void plan_encode(const Uuid *packs, size_t len, Buf *out);
Error *plan_decode(Bytes in, UuidSet *io) NODISCARD; /* adds to io, unsorted */

#endif
