/* pagemap_live.h: how much of what a page map names still shows: of each layer, which tells what folding it would cost;
 * and of each frame, which tells what a restore fetches in vain and which pages are worth storing again with the next
 * backup. One pass over the page numbers of all layers, made only for maps that are large enough in these respects.
 *
 * A restore fetches a frame as long as one page of it shows. Where that makes it fetch more than PAGEMAP_FETCHED_GOAL
 * hundredths of the file, the frames of which least shows are *sparse*: as many of them as reach the goal, or as the
 * backup can afford to store again, and never one of which more than half shows.
 *
 * Immutable, thus thread-safe, once made.
 */
#ifndef HF_REPO_PAGEMAP_LIVE_H
#define HF_REPO_PAGEMAP_LIVE_H

#include "repo/pagemap.h"

enum { PAGEMAP_FETCHED_GOAL = 150 };

/* affordable: about how many pages the next backup may store again. Map and source borrowed until this returns. */
Error *pagemap_live_new(FrameSource *source, const PageMap *map, uint64_t affordable, PageMapLive **out) NODISCARD;

/* What a layer would weigh in a folded one, in pages named; an upper bound where there was no pass. */
uint64_t pagemap_live_weight(const PageMapLive *l, const PageMap *map, size_t layer);
/* NULL is fine: nothing is sparse. */
bool pagemap_live_sparse_delta(const PageMapLive *l, size_t layer, uint32_t delta);
bool pagemap_live_sparse_base(const PageMapLive *l, uint32_t pages_live);

#endif
