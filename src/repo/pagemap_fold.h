/* pagemap_fold.h: neighbouring layers of a page map made into one. Metadata only: no data moves. What newer layers or
 * the end of the file hide is left out, and delta frames of which nothing shows any more.
 */
#ifndef HF_REPO_PAGEMAP_FOLD_H
#define HF_REPO_PAGEMAP_FOLD_H

#include "repo/pagemap.h"

typedef struct FoldRange {
  size_t first, end; /* layers [first, end) */
  uint64_t limit;    /* bytes of the file that they may speak of */
} FoldRange;
Error *pagemap_fold(FrameSink *sink, FrameSource *source, const PageMap *map, const FoldRange *range,
                    PageLayer *out) NODISCARD;

#endif
