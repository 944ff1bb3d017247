/* pagemap_layer.h: writes one layer of a page map, leaf by leaf: what a backup adds, and what folding makes of several
 * layers. Memory: one leaf of each kind. Not thread-safe.
 */
#ifndef HF_REPO_PAGEMAP_LAYER_H
#define HF_REPO_PAGEMAP_LAYER_H

#include "repo/pagemap_codec.h"

typedef struct LayerWriter LayerWriter;

LayerWriter *layer_writer_new(FrameSink *sink); /* borrowed */
void layer_writer_free(LayerWriter *take);
/* Frames ascending; pages ascending; deltas in the order of their index. prints: f->pages of them. */
Error *layer_writer_frame(LayerWriter *w, const MapFrame *f, const MapFramePrints *prints) NODISCARD;
Error *layer_writer_page(LayerWriter *w, const MapPage *page, uint64_t print) NODISCARD;
Error *layer_writer_delta(LayerWriter *w, const MapDelta *delta) NODISCARD;
/* *out gets everything but the floor, which is 0. */
Error *layer_writer_finish(LayerWriter *w, PageLayer *out) NODISCARD;

#endif
