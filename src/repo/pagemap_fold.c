#include "repo/pagemap_fold.h"

#include "repo/pagemap_deltas.h"
#include "repo/pagemap_layer.h"
#include "repo/pagemap_merge.h"

typedef struct Fold {
  FrameSource *source;
  const PageMap *map;
  FoldRange range;
  DeltaUse *use;
  LayerWriter *writer;
} Fold;

/* The pages that come from the layers folded; what newer ones name only hides. */
static uint32_t fold_pages(const Fold *f, const MergedFrame *frame) {
  uint32_t mask = frame->pages_mask;
  for (uint32_t i = 0; i < PAGES_PER_FRAME; i++)
    if (mask >> i & 1 && frame->pages[i].layer >= f->range.end) mask &= ~(UINT32_C(1) << i);
  return mask;
}

static Error *fold_mark(const Fold *f, const MergedFrame *frame) {
  uint32_t mask = fold_pages(f, frame);
  for (uint32_t i = 0; i < PAGES_PER_FRAME; i++) {
    const MergedPage *p = &frame->pages[i];
    if (mask >> i & 1) TRY(delta_use_mark(f->use, p->layer, p->delta, p->slot));
  }
  return NULL;
}

static Error *fold_write(const Fold *f, const MergedFrame *frame) {
  uint32_t mask = fold_pages(f, frame);
  if (frame->has_base && frame->base_layer < f->range.end) {
    MapFrame item = {.frame = frame->frame, .len = frame->base_len, .id = frame->base_id};
    MapFramePrints prints = frame->base_prints;
    prints.frame = frame->frame;
    TRY(layer_writer_frame(f->writer, &item, &prints));
  }
  for (uint32_t i = 0; i < PAGES_PER_FRAME; i++) {
    const MergedPage *p = &frame->pages[i];
    if (!(mask >> i & 1)) continue;
    MapPage page = {.page = frame->frame * PAGES_PER_FRAME + i,
                    .delta = delta_use_new_index(f->use, p->layer, p->delta),
                    .slot = (uint8_t)p->slot};
    TRY(layer_writer_page(f->writer, &page, p->print));
  }
  return NULL;
}

/* One pass over all frames. */
static Error *fold_pass(const Fold *f, unsigned flags, Error *(*each)(const Fold *, const MergedFrame *)) {
  PageMerge *merge = page_merge_new(f->source, f->map, f->range.first, f->range.limit, flags);
  MergedFrame frame;
  bool found = true;
  Error *err = NULL;
  while (!err) {
    err = page_merge_next(merge, &frame, &found);
    if (err || !found) break;
    err = each(f, &frame);
  }
  page_merge_free(merge);
  return err;
}

static Error *fold_delta(void *ctx, size_t layer, uint32_t delta, const MapDelta *item) {
  const Fold *f = (const Fold *)ctx;
  return delta_use_marked(f->use, layer, delta) ? layer_writer_delta(f->writer, item) : NULL;
}

static Error *fold_run(Fold *f, PageLayer *out) {
  const FoldRange *range = &f->range;
  TRY(delta_use_new(f->source, f->map, range->first, &f->use));
  TRY(fold_pass(f, MERGE_IDS, fold_mark));
  delta_use_number(f->use);
  for (size_t i = range->first; i < range->end; i++) TRY(delta_walk(f->source, f->map, i, fold_delta, f));
  TRY(fold_pass(f, MERGE_IDS | MERGE_PRINTS, fold_write));
  TRY(layer_writer_finish(f->writer, out));
  if (range->first == 0) return NULL;
  out->floor = f->map->layers[range->first].floor;
  for (size_t i = range->first; i < range->end; i++)
    if (f->map->layers[i].floor < out->floor) out->floor = f->map->layers[i].floor;
  return NULL;
}

Error *pagemap_fold(FrameSink *sink, FrameSource *source, const PageMap *map, const FoldRange *range, PageLayer *out) {
  Fold f = {.source = source, .map = map, .range = *range, .writer = layer_writer_new(sink)};
  Error *err = fold_run(&f, out);
  layer_writer_free(f.writer);
  delta_use_free(f.use);
  return err_wrap(err, "folding a page map");
}
