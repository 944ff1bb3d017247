/* pagemap_fold.h: several layers of a page map made into one. Metadata only: no data moves. What newer layers or the
 * end of the file hide is left out, and delta frames of which nothing shows any more.
 */
#ifndef HF_REPO_PAGEMAP_FOLD_H
#define HF_REPO_PAGEMAP_FOLD_H

#include "repo/pagemap.h"

/* Merges first_layer and all newer ones, cut to `limit` bytes of the file. */
Error *pagemap_fold(FrameSink *sink, FrameSource *source, const PageMap *map, size_t first_layer, uint64_t limit,
                    PageLayer *out) NODISCARD;

#endif
