/* pagemap_merge.h: the layers of a page map read side by side in frame order: for every frame, which layer's whole
 * frame shows and which pages lie over it. Restoring, the prints of a parent, folding and collection are all made of
 * this.
 *
 * Memory: one leaf of each kind and layer. Not thread-safe.
 */
#ifndef HF_REPO_PAGEMAP_MERGE_H
#define HF_REPO_PAGEMAP_MERGE_H

#include "repo/pagemap_codec.h"

typedef struct MergedPage {
  uint32_t layer;
  uint32_t delta;
  uint32_t slot;
  uint32_t len;   /* bytes of the page that count, 1…4096 */
  uint64_t print; /* MERGE_PRINTS */
} MergedPage;

typedef struct MergedFrame {
  uint64_t frame;
  bool has_base;              /* a whole frame shows */
  uint32_t base_layer;        /* the layer that names it */
  uint32_t base_len;          /* bytes of it that count, 1…128 KiB; without MERGE_IDS an upper bound */
  FrameId base_id;            /* MERGE_IDS; all zeros: a hole */
  MapFramePrints base_prints; /* MERGE_PRINTS; pages 0: as zeros */
  uint32_t pages_mask;        /* pages that lie over it */
  MergedPage pages[PAGES_PER_FRAME];
} MergedFrame;

/* At least one. MERGE_PAGES alone reads least: pages, and frames but those of the first layer, of which has_base does
 * not tell. */
enum { MERGE_IDS = 1, MERGE_PRINTS = 2, MERGE_PAGES = 4 };

typedef struct PageMerge PageMerge;
/* Layers first_layer and newer, as a file of at most `limit` bytes shows them. All borrowed. */
PageMerge *page_merge_new(FrameSource *source, const PageMap *map, size_t first_layer, uint64_t limit, unsigned flags);
void page_merge_free(PageMerge *take);
/* This frame; frame numbers must ascend over both functions. */
Error *page_merge_get(PageMerge *m, uint64_t frame, MergedFrame *out) NODISCARD;
/* The next frame that any layer names; *found false behind the last within the limit. */
Error *page_merge_next(PageMerge *m, MergedFrame *out, bool *found) NODISCARD;

#endif
